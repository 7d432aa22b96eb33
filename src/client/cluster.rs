//! The client of one cluster: what may be repeated, and what may be sent at all.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

pub use super::backoff::Schedule;
use super::observe;
use crate::clusters::Access;
use crate::pve::http::{ApiError, Request, SendError, Transport, classify};

/// What a client may do, and how long it tries.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// `Read` refuses every write before the wire.
    pub access: Access,
    /// A call is tried at most this often.
    pub attempts: u32,
    /// No new try begins after this time.
    pub retry_within: Duration,
    /// The waits between tries.
    pub retry: Schedule,
    /// A read ends after this time, whatever happens; longer than one try of the transport may take.
    pub read_deadline: Duration,
    /// The waits between two looks at a task.
    pub poll: Schedule,
    /// A task whose state cannot be read for this long is undetermined: long enough for a node to start again.
    pub task_patience: Duration,
    /// A task that runs longer than this has its log read too, for the progress that is shown.
    pub task_log_after: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            access: Access::Apply,
            attempts: 5,
            retry_within: Duration::from_secs(15),
            retry: Schedule { first: Duration::from_millis(250), longest: Duration::from_secs(4) },
            read_deadline: Duration::from_secs(90),
            poll: Schedule { first: Duration::from_millis(100), longest: Duration::from_secs(2) },
            task_patience: Duration::from_secs(300),
            task_log_after: Duration::from_secs(3),
        }
    }
}

/// One cluster. Cloning is cheap; all clones are the same client.
#[derive(Clone)]
pub struct ClusterClient {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    transport: Arc<dyn Transport>,
    options: ClientOptions,
    /// Counts waits, as the seed of their jitter.
    waits: AtomicU32,
    /// The server did not know us; credentials may have changed since.
    unauthorized: AtomicBool,
}

impl ClusterClient {
    /// A client with default options.
    pub fn new(name: impl Into<String>, transport: Arc<dyn Transport>) -> Self {
        Self::with_options(name, transport, ClientOptions::default())
    }

    /// A client with options of one's own.
    pub fn with_options(name: impl Into<String>, transport: Arc<dyn Transport>, options: ClientOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                name: name.into(),
                transport,
                options,
                waits: AtomicU32::new(0),
                unauthorized: AtomicBool::new(false),
            }),
        }
    }

    /// The cluster's name in our settings.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What it was made with.
    pub fn options(&self) -> &ClientOptions {
        &self.shared.options
    }

    /// False where the settings allow only reading: every write is refused before the wire.
    pub fn may_write(&self) -> bool {
        self.options().access == Access::Apply
    }

    /// True once the server refused the credentials: a client with fresh ones is worth making.
    pub fn is_unauthorized(&self) -> bool {
        self.shared.unauthorized.load(Ordering::Relaxed)
    }

    /// Remembers a refusal of the credentials.
    fn noted(&self, result: Result<Value, ApiError>) -> Result<Value, ApiError> {
        if let Err(ApiError::Authentication(_)) = &result {
            self.shared.unauthorized.store(true, Ordering::Relaxed);
        }
        result
    }

    /// Sends a `GET`, and repeats it where no answer came.
    ///
    /// A node that cannot be reached through the one asked is tried once more: a connection that was closed
    /// between nodes looks the same, but a node that is off stays off.
    ///
    /// # Errors
    ///
    /// The last try's, when the tries or the time are used up; a request that is not a `GET` is refused.
    pub async fn read(&self, request: &Request) -> Result<Value, ApiError> {
        self.noted(observe::counted(self.read_again(request)).await)
    }

    async fn read_again(&self, request: &Request) -> Result<Value, ApiError> {
        if request.method.is_write() {
            return Err(ApiError::Permission(format!("{} {} is not a read", request.method, request.path)));
        }
        let options = &self.shared.options;
        let started = Instant::now();
        let mut round = 0;
        let mut unreachable = 0;
        loop {
            let left = options.read_deadline.saturating_sub(started.elapsed());
            let error = match timeout(left, self.shared.transport.send(request)).await {
                Ok(answer) => match classify(request.method, answer) {
                    Ok(value) => return Ok(value),
                    Err(error) => error,
                },
                Err(_) => {
                    let seconds = options.read_deadline.as_secs();
                    return Err(ApiError::Connection(format!("no answer within {seconds} s")));
                }
            };
            let again = match &error {
                ApiError::Connection(_) | ApiError::Undetermined(_) => true,
                ApiError::NodeUnreachable(_) => {
                    unreachable += 1;
                    unreachable <= 1
                }
                _ => false,
            };
            if !again || !self.wait_for_retry(round, started).await {
                // Whether a read was carried out is of no consequence.
                return Err(match error {
                    ApiError::Undetermined(reason) => ApiError::Connection(reason),
                    error => error,
                });
            }
            round += 1;
        }
    }

    /// Sends a call that changes something, once. It is repeated only where it provably never left.
    ///
    /// # Errors
    ///
    /// Every refusal; [`ApiError::Undetermined`] where it may have been carried out;
    /// [`ApiError::Permission`] before the wire where this client may only read.
    pub async fn write(&self, request: &Request) -> Result<Value, ApiError> {
        let options = &self.shared.options;
        if options.access == Access::Read {
            return Err(ApiError::Permission(format!("the settings allow only reading cluster '{}'", self.name())));
        }
        self.noted(observe::counted(self.write_where_safe(request)).await)
    }

    async fn write_where_safe(&self, request: &Request) -> Result<Value, ApiError> {
        let started = Instant::now();
        let mut round = 0;
        loop {
            match self.shared.transport.send(request).await {
                Err(SendError::NeverSent(reason)) => {
                    if !self.wait_for_retry(round, started).await {
                        return Err(ApiError::Connection(reason));
                    }
                }
                answer => return classify(request.method, answer),
            }
            round += 1;
        }
    }

    /// Waits before another try; false where there is to be none.
    async fn wait_for_retry(&self, round: u32, started: Instant) -> bool {
        let options = &self.shared.options;
        if round + 1 >= options.attempts {
            return false;
        }
        let seed = self.shared.waits.fetch_add(1, Ordering::Relaxed);
        let wait = options.retry.jittered(round, seed);
        if started.elapsed() + wait > options.retry_within {
            return false;
        }
        sleep(wait).await;
        true
    }
}

impl fmt::Debug for ClusterClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClusterClient").field(&self.shared.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::fake::{Answer, Fake, data, maybe_applied, never_sent, refusal};
    use crate::client::{ReadOnlyClient, Reader};
    use crate::pve::http::{Method, Response};

    fn put() -> Request {
        Request::new(Method::Put, "/nodes/pve1/qemu/100/config").with("cores", "2")
    }

    async fn writes(answers: Vec<Answer>) -> (Result<Value, ApiError>, usize) {
        let (client, fake) = Fake::default().on_each("PUT /nodes/pve1/qemu/100/config", answers).client();
        (client.write(&put()).await, fake.log().len())
    }

    async fn reads(answers: Vec<Answer>) -> (Result<Value, ApiError>, usize) {
        let (client, fake) = Fake::default().on_each("GET /version", answers).client();
        (client.read(&Request::get("/version")).await, fake.log().len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_may_have_arrived_is_never_repeated() {
        let fine = || data(Value::Null);
        let lost = [
            maybe_applied(),
            refusal(596, "Connection timed out"),
            refusal(595, "Connection refused"),
            refusal(500, "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout"),
            refusal(500, ""),
            Ok(Response { status: 502, reason: "Bad Gateway".to_owned(), body: "<html>".to_owned() }),
            Err(SendError::Refused("pin".to_owned())),
        ];
        for answer in lost {
            let (result, sent) = writes(vec![answer.clone(), fine()]).await;
            assert!(result.is_err(), "{answer:?}");
            assert_eq!(sent, 1, "{answer:?}");
        }
        let (result, sent) = writes(vec![never_sent(), maybe_applied(), fine()]).await;
        assert!(matches!(result, Err(ApiError::Undetermined(_))));
        assert_eq!(sent, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_never_left_is_repeated_for_a_while() {
        assert_eq!(writes(vec![never_sent(), never_sent(), data(Value::Null)]).await, (Ok(Value::Null), 3));
        let (result, sent) = writes(vec![never_sent()]).await;
        assert!(matches!(result, Err(ApiError::Connection(_))));
        assert_eq!(sent, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn reads_are_repeated_where_no_answer_came() {
        let fine = || data(json!("9.1.9"));
        assert_eq!(reads(vec![never_sent(), maybe_applied(), fine()]).await, (Ok(json!("9.1.9")), 3));
        assert_eq!(reads(vec![maybe_applied()]).await.1, 5);
        // A node behind the one asked is tried once more.
        let unreachable = || refusal(595, "Connection refused");
        assert_eq!(reads(vec![unreachable(), fine()]).await, (Ok(json!("9.1.9")), 2));
        assert_eq!(reads(vec![unreachable(), unreachable(), fine()]).await.1, 2);
        // An answer is an answer.
        for answer in [refusal(401, "No ticket"), refusal(500, "x"), refusal(403, "x"), refusal(503, "x")] {
            assert_eq!(reads(vec![answer, fine()]).await.1, 1);
        }
        assert_eq!(reads(vec![Err(SendError::Refused("pin".to_owned())), fine()]).await.1, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_ends_at_its_deadline() {
        let started = Instant::now();
        let (client, _) = Fake::slow(Duration::from_secs(3600)).client();
        let error = client.read(&Request::get("/version")).await.unwrap_err();
        assert_eq!(error, ApiError::Connection("no answer within 90 s".to_owned()));
        assert_eq!(started.elapsed().as_secs(), 90);
        // No new try begins late: one that took its time is not followed by four more.
        let (client, fake) = Fake::slow(Duration::from_secs(60)).on("GET /version", maybe_applied()).client();
        client.read(&Request::get("/version")).await.unwrap_err();
        assert_eq!(fake.log().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_only_read_does_not_reach_the_wire_with_a_write() {
        let options = ClientOptions { access: Access::Read, ..ClientOptions::default() };
        let (client, fake) = Fake::default().client_with(options);
        assert!(matches!(client.write(&put()).await, Err(ApiError::Permission(_))));
        let reader = ReadOnlyClient::from(client);
        assert!(matches!(reader.read(&put()).await, Err(ApiError::Permission(_))));
        assert_eq!((reader.name(), fake.log()), ("test", vec![]));
    }
}
