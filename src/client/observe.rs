//! Who watches the wire: one call for each request that was sent, with nothing secret in it.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use crate::pve::http::{Method, Request, Response, SendError};

/// One request and what came of it. Values of parameters are not among it, headers neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange<'a> {
    /// The cluster's name in our settings.
    pub cluster: &'a str,
    /// `host:8006`, whom it was sent to.
    pub endpoint: &'a str,
    /// How.
    pub method: Method,
    /// Where, below `/api2/json`, without the query.
    pub path: &'a str,
    /// Names of the parameters.
    pub names: Vec<&'a str>,
    /// From 1; the same call is sent again where that is safe.
    pub attempt: u32,
    /// The answer's status; nothing where none came.
    pub status: Option<u16>,
    /// Why no answer came, or why it is a refusal, in words.
    pub trouble: Option<&'a str>,
    /// From sending to the end of the answer.
    pub elapsed: Duration,
}

/// Takes each exchange as it ends.
pub type Observer = Arc<dyn Fn(&Exchange<'_>) + Send + Sync>;

tokio::task_local! {
    /// How often the call that runs in this task has been sent.
    static SENT: Cell<u32>;
}

/// Runs one call; what is sent in it is counted together.
pub(crate) async fn counted<T>(call: impl Future<Output = T>) -> T {
    SENT.scope(Cell::new(0), call).await
}

/// The number of the attempt that begins now.
pub(crate) fn next_attempt() -> u32 {
    SENT.try_with(|sent| {
        sent.set(sent.get() + 1);
        sent.get()
    })
    .unwrap_or(1)
}

/// Tells the observer, if there is one.
pub(crate) fn tell(
    observer: Option<&Observer>,
    (cluster, endpoint): (&str, &str),
    request: &Request,
    (attempt, elapsed): (u32, Duration),
    outcome: &Result<Response, SendError>,
) {
    let Some(observer) = observer else { return };
    let (status, trouble) = match outcome {
        Ok(answer) => (Some(answer.status), (answer.status >= 400).then(|| answer.reason.clone())),
        Err(error) => (None, Some(error.to_string())),
    };
    observer(&Exchange {
        cluster,
        endpoint,
        method: request.method,
        path: &request.path,
        names: request.params.iter().map(|(name, _)| name.as_str()).collect(),
        attempt,
        status,
        trouble: trouble.as_deref(),
        elapsed,
    });
}
