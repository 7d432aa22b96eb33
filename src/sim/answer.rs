//! What a call comes to: data, or one of the ways in which Proxmox refuses.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::pve::http::Response;

/// The data of a call that succeeded, with the members that stand beside it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) data: Value,
    /// The number of rows before paging; Proxmox leaves it out where it is zero.
    pub(super) total: Option<usize>,
    /// What is planned and not in force, where a call tells that beside its rows.
    pub(super) changes: Option<String>,
    /// How long the server took beyond the ordinary.
    pub(super) delay: u64,
}

impl From<Value> for Answer {
    fn from(data: Value) -> Self {
        Self { data, total: None, changes: None, delay: 0 }
    }
}

/// What every handler returns.
pub(super) type Outcome = Result<Answer, Failure>;

/// The ways in which a call fails.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Failure {
    /// 400 with a text by parameter.
    Parameters(BTreeMap<String, String>),
    /// 403; the text goes between the brackets, or there are none.
    Permission(String),
    /// 500 with a text.
    Die(String),
    /// 500 with a text and texts by parameter.
    DieWith(String, BTreeMap<String, String>),
    /// 500 after waiting.
    DieAfter(u64, String),
    /// Another status with a text.
    Refused(u16, String),
    /// Another status, with an empty body.
    Empty(u16, String),
    /// 501 in Proxmox's words: its release has no such call.
    NotImplemented,
    /// 501 in the simulator's: Proxmox does it, the simulator does not.
    Unsupported,
}

impl Failure {
    /// A refusal of one parameter.
    pub(super) fn parameter(name: &str, text: impl Into<String>) -> Self {
        Self::Parameters(BTreeMap::from([(name.to_owned(), text.into())]))
    }

    /// A plain failure of the handler.
    pub(super) fn die(text: impl Into<String>) -> Self {
        Self::Die(text.into())
    }

    /// A missing privilege on a path.
    pub(super) fn privilege(path: &str, privileges: &str) -> Self {
        Self::Permission(format!("{path}, {privileges}"))
    }

    /// The text alone, as the exit status of a task shows it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Parameters(errors) => {
                let mut text = "400 Parameter verification failed.".to_owned();
                for (name, error) in errors {
                    text.push_str(&format!(" {name}: {}", error.trim_end()));
                }
                text
            }
            Self::Permission(what) => permission_text(what),
            Self::Die(text)
            | Self::DieWith(text, _)
            | Self::DieAfter(_, text)
            | Self::Refused(_, text)
            | Self::Empty(_, text) => text.clone(),
            Self::NotImplemented => "not implemented".to_owned(),
            Self::Unsupported => "not simulated".to_owned(),
        }
    }
}

fn permission_text(what: &str) -> String {
    if what.is_empty() { "Permission check failed".to_owned() } else { format!("Permission check failed ({what})") }
}

/// The answer on the wire, and how long it takes.
pub(super) fn response(outcome: &Outcome, method: &str, path: &str) -> (Response, u64) {
    let failure = match outcome {
        Ok(answer) => {
            // A long list is written once, not copied first.
            let mut body = String::from("{");
            if let Some(changes) = &answer.changes {
                body.push_str(&format!("\"changes\":{},", json!(changes)));
            }
            body.push_str(&format!("\"data\":{}", answer.data));
            if let Some(total) = answer.total.filter(|total| *total > 0) {
                body.push_str(&format!(",\"total\":{total}"));
            }
            body.push('}');
            return (Response { status: 200, reason: "OK".to_owned(), body }, answer.delay);
        }
        Err(failure) => failure,
    };
    let with_message = |status: u16, text: &str, line_end: &str| {
        let body = json!({ "data": null, "message": format!("{text}{line_end}") });
        // A phrase is one line; the body has the rest.
        let reason = text.lines().next().unwrap_or_default().to_owned();
        Response { status, reason, body: body.to_string() }
    };
    let response = match failure {
        Failure::Parameters(errors) => {
            let text = "Parameter verification failed.";
            let body = json!({ "data": null, "errors": errors, "message": format!("{text}\n") });
            Response { status: 400, reason: text.to_owned(), body: body.to_string() }
        }
        Failure::Permission(what) => with_message(403, &permission_text(what), "\n"),
        Failure::Die(text) => with_message(500, text, "\n"),
        Failure::DieAfter(delay, text) => return (with_message(500, text, "\n"), *delay),
        Failure::DieWith(text, errors) => {
            let body = json!({ "data": null, "errors": errors, "message": format!("{text}\n") });
            Response { status: 500, reason: text.clone(), body: body.to_string() }
        }
        Failure::Refused(status, text) => with_message(*status, text, "\n"),
        Failure::Empty(status, reason) => Response { status: *status, reason: reason.clone(), body: String::new() },
        Failure::NotImplemented => {
            let path = crate::pve::http::percent_decode(path);
            with_message(501, &format!("Method '{method} {path}' not implemented"), "")
        }
        Failure::Unsupported => {
            let path = crate::pve::http::percent_decode(path);
            with_message(501, &format!("The simulator does not do this: {method} {path}"), "\n")
        }
    };
    (response, 0)
}
