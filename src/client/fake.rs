//! A transport of canned answers, for tests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::{ClientOptions, ClusterClient};
use crate::pve::http::{Request, Response, SendError, Sending, Transport};

/// One canned answer.
pub(crate) type Answer = Result<Response, SendError>;

/// Answers by method and target; the last answer of a target is given again and again.
#[derive(Default)]
pub(crate) struct Fake {
    answers: Mutex<BTreeMap<String, VecDeque<Answer>>>,
    log: Mutex<Vec<String>>,
    delay: Duration,
}

/// `200` with this `data`.
pub(crate) fn data(data: Value) -> Answer {
    Ok(Response { status: 200, reason: "OK".to_owned(), body: json!({ "data": data }).to_string() })
}

/// A refusal as Proxmox sends it.
pub(crate) fn refusal(status: u16, message: &str) -> Answer {
    let body = json!({ "data": null, "message": format!("{message}\n") }).to_string();
    Ok(Response { status, reason: message.to_owned(), body })
}

/// A refusal of a parameter.
pub(crate) fn invalid(name: &str, text: &str) -> Answer {
    let message = "Parameter verification failed.";
    let body = json!({ "data": null, "message": format!("{message}\n"), "errors": { name: text } }).to_string();
    Ok(Response { status: 400, reason: message.to_owned(), body })
}

pub(crate) fn never_sent() -> Answer {
    Err(SendError::NeverSent("pve1:8006 refuses the connection".to_owned()))
}

pub(crate) fn maybe_applied() -> Answer {
    Err(SendError::MaybeApplied("the connection broke".to_owned()))
}

impl Fake {
    /// Answers after this time.
    pub(crate) fn slow(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// Adds an answer: `GET /version`.
    pub(crate) fn on(self, call: &str, answer: Answer) -> Self {
        self.set(call, [answer]);
        self
    }

    /// Adds several answers, given one after the other.
    pub(crate) fn on_each(self, call: &str, answers: impl IntoIterator<Item = Answer>) -> Self {
        self.set(call, answers);
        self
    }

    fn set(&self, call: &str, answers: impl IntoIterator<Item = Answer>) {
        self.answers.lock().unwrap().insert(call.to_owned(), answers.into_iter().collect());
    }

    /// A client of it, and itself for its log.
    pub(crate) fn client(self) -> (ClusterClient, Arc<Self>) {
        self.client_with(ClientOptions::default())
    }

    pub(crate) fn client_with(self, options: ClientOptions) -> (ClusterClient, Arc<Self>) {
        let fake = Arc::new(self);
        let transport: Arc<dyn Transport> = Arc::<Self>::clone(&fake);
        (ClusterClient::with_options("test", transport, options), fake)
    }

    /// What was sent.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    fn answer(&self, request: &Request) -> Answer {
        let call = format!("{} {}", request.method, request.target());
        self.log.lock().unwrap().push(call.clone());
        match self.answers.lock().unwrap().get_mut(&call) {
            Some(answers) if answers.len() > 1 => answers.pop_front().unwrap(),
            Some(answers) => answers.front().unwrap().clone(),
            None => refusal(501, &format!("Method '{call}' not implemented")),
        }
    }
}

impl Transport for Fake {
    fn send<'a>(&'a self, request: &'a Request) -> Sending<'a> {
        Box::pin(async move {
            tokio::time::sleep(self.delay).await;
            self.answer(request)
        })
    }
}
