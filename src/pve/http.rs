//! Requests built and answers classified without sending anything.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The methods that Proxmox's API knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Reads.
    Get,
    /// Creates, or starts an action.
    Post,
    /// Changes.
    Put,
    /// Removes.
    Delete,
}

impl Method {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    /// True for all but `GET`.
    pub const fn is_write(self) -> bool {
        !matches!(self, Self::Get)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One call of the API, as data.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// How.
    pub method: Method,
    /// Where, below `/api2/json`: `/nodes/pve1/qemu`. Segments are percent-encoded already.
    pub path: String,
    /// Parameters in sending order; in the query of `GET` and `DELETE`, else in the body.
    pub params: Vec<(String, String)>,
}

impl Request {
    /// A call without parameters.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), params: Vec::new() }
    }

    /// A `GET` of a path.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::Get, path)
    }

    /// The same with one more parameter.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.params.push((name.into(), value.into()));
        self
    }

    /// The path with the query, where the method carries its parameters there.
    pub fn target(&self) -> String {
        match self.method {
            Method::Get | Method::Delete if !self.params.is_empty() => format!("{}?{}", self.path, self.form()),
            _ => self.path.clone(),
        }
    }

    /// The body, where the method has one.
    pub fn body(&self) -> Option<String> {
        matches!(self.method, Method::Post | Method::Put).then(|| self.form())
    }

    /// The parameters as a form. Proxmox splits at `;` too and drops what follows a second `=`, so everything
    /// but unreserved characters is percent-encoded.
    fn form(&self) -> String {
        let pairs =
            self.params.iter().map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

impl fmt::Debug for Request {
    /// Method, path and parameter *names*: a value may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.params.iter().map(|(name, _)| name.as_str()).collect();
        write!(f, "{} {} {names:?}", self.method, self.path)
    }
}

/// Encodes all but the unreserved characters of RFC 3986.
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Decodes percent escapes; what is not a valid escape stays as it is.
pub fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(escape.unwrap_or(bytes[at]));
        at += if escape.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// An answer as it came over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code; also Proxmox's own 595, 596, 597 and 599.
    pub status: u16,
    /// Reason phrase. Proxmox puts the error's text there; before 2025 it is the only place.
    pub reason: String,
    /// Body, text as it came.
    pub body: String,
}

/// Why no answer came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Nothing reached the server: names, connection, TLS. Trying again is safe.
    #[error("{0}")]
    NeverSent(String),
    /// Nothing reached the server, and trying again is pointless: its certificate is not to be trusted.
    #[error("{0}")]
    Refused(String),
    /// The request may have been received and carried out.
    #[error("{0}")]
    MaybeApplied(String),
}

/// A future that a [`Transport`] returns.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<Response, SendError>> + Send + 'a>>;

/// Sends one request to one cluster, once.
pub trait Transport: Send + Sync {
    /// Sends the request and waits for the answer; never repeats it.
    fn send<'a>(&'a self, request: &'a Request) -> Sending<'a>;
}

/// An answer of the API that is not a success, or none at all, by kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// No connection: names, connect, TLS, time-out. Nothing was sent.
    #[error("cannot connect: {0}")]
    Connection(String),
    /// The server's certificate is not to be trusted. Nothing was sent.
    #[error("{0}")]
    Tls(String),
    /// Sent, and no answer came: the call may have been carried out.
    #[error("no answer: {0}; the call may have been carried out")]
    Undetermined(String),
    /// 401: the credential is wrong or ended.
    #[error("authentication failed: {0} (check TOKEN_ID and TOKEN_SECRET, or USERNAME and PASSWORD, of this cluster)")]
    Authentication(String),
    /// 403, or one of the refusals that are for `root@pam` alone.
    #[error("permission denied: {0}")]
    Permission(String),
    /// 400: a parameter is refused; by parameter.
    #[error("{}", validation_text(message, errors))]
    Validation {
        /// The first line.
        message: String,
        /// Text by parameter.
        errors: BTreeMap<String, String>,
    },
    /// The digest is not the one of the configuration as it is now.
    #[error("{0}")]
    Conflict(String),
    /// The guest bears a lock, the first; the second is the text.
    #[error("{1}")]
    Locked(String, String),
    /// A lock file was not to be had in time; nothing was done.
    #[error("{0}")]
    Busy(String),
    /// 595, or a name that does not resolve: the node behind the one asked.
    #[error("node unreachable: {0}")]
    NodeUnreachable(String),
    /// What the path names is not there.
    #[error("{0}")]
    NotFound(String),
    /// What should be made is there already.
    #[error("{0}")]
    Exists(String),
    /// Any other refusal.
    #[error("{1} (status {0})")]
    Other(u16, String),
}

impl ApiError {
    /// The kind in one word, for documents and counters.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Connection(_) => "connection",
            Self::Tls(_) => "tls",
            Self::Undetermined(_) => "undetermined",
            Self::Authentication(_) => "authentication",
            Self::Permission(_) => "permission",
            Self::Validation { .. } => "validation",
            Self::Conflict(_) => "conflict",
            Self::Locked(..) => "locked",
            Self::Busy(_) => "busy",
            Self::NodeUnreachable(_) => "node-unreachable",
            Self::NotFound(_) => "not-found",
            Self::Exists(_) => "exists",
            Self::Other(..) => "other",
        }
    }
}

fn validation_text(message: &str, errors: &BTreeMap<String, String>) -> String {
    let mut text = message.to_owned();
    for (name, error) in errors {
        text.push_str(&format!(" {name}: {}", error.trim_end()));
    }
    text
}

/// Reads an answer: the value of `data`, or the kind of error.
///
/// # Errors
///
/// Every status but 200, and a 200 whose body is not the API's JSON.
pub fn classify(method: Method, answer: Result<Response, SendError>) -> Result<Value, ApiError> {
    let response = match answer {
        Ok(response) => response,
        Err(SendError::NeverSent(text)) => return Err(ApiError::Connection(text)),
        Err(SendError::Refused(text)) => return Err(ApiError::Tls(text)),
        Err(SendError::MaybeApplied(text)) => return Err(ApiError::Undetermined(text)),
    };
    let body: Option<Value> = serde_json::from_str(&response.body).ok();
    if response.status == 200 {
        return match body {
            Some(Value::Object(mut object)) if object.contains_key("data") => {
                Ok(object.remove("data").unwrap_or(Value::Null))
            }
            _ => Err(ApiError::Other(200, "the answer is not that of a Proxmox API".to_owned())),
        };
    }
    let message = body
        .as_ref()
        .and_then(|body| body.get("message")?.as_str())
        .map(|text| text.trim_end().to_owned())
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| response.reason.clone());
    let mut errors = BTreeMap::new();
    if let Some(map) = body.as_ref().and_then(|body| body.get("errors")?.as_object()) {
        for (name, text) in map {
            errors.insert(name.clone(), text.as_str().map_or_else(|| text.to_string(), str::to_owned));
        }
    }
    Err(classify_refusal(method, response.status, message, errors))
}

fn classify_refusal(method: Method, status: u16, message: String, errors: BTreeMap<String, String>) -> ApiError {
    match status {
        401 => return ApiError::Authentication(message),
        403 => return ApiError::Permission(message),
        595 => return ApiError::NodeUnreachable(message),
        // Passed on between nodes and cut off: the node goes on with it.
        596 | 597 | 599 if method.is_write() => return ApiError::Undetermined(format!("{message} (status {status})")),
        596 | 597 | 599 => return ApiError::NodeUnreachable(format!("{message} (status {status})")),
        400 => return ApiError::Validation { message, errors },
        // A proxy in between: Proxmox itself never answers so. Whether the call reached it is not known.
        502 | 504 => return ApiError::Undetermined(format!("{message} (status {status})")),
        _ => {}
    }
    if message.is_empty() && status >= 500 && method.is_write() {
        return ApiError::Undetermined(format!("an empty answer (status {status})"));
    }
    classify_text(&message).unwrap_or(ApiError::Other(status, message))
}

/// Proxmox has no error codes: most of its refusals are told apart by their text (also as a task's exit status).
pub fn classify_text(message: &str) -> Option<ApiError> {
    let text = || message.to_owned();
    let has = |part: &str| message.contains(part);
    if has("checksum mismatch (file change by other user?)") || has("detected modified configuration") {
        return Some(ApiError::Conflict(text()));
    }
    if let Some(lock) = message.split_once(" is locked (").and_then(|(_, rest)| rest.split_once(')')) {
        return Some(ApiError::Locked(lock.0.to_owned(), text()));
    }
    if (has("can't lock file") && has("got timeout"))
        || has("got lock request timeout")
        || has("-locked command timed out")
    {
        return Some(ApiError::Busy(text()));
    }
    if has("already exists") || has("- File exists") || has("already defined") {
        return Some(ApiError::Exists(text()));
    }
    if has("hostname lookup '") || has("no such cluster node") {
        return Some(ApiError::NodeUnreachable(text()));
    }
    let missing = (has("Configuration file '") && has("' does not exist"))
        || has("unable to find configuration file for ")
        || has("no such resource")
        || (has("storage '") && has("' does not exist"))
        || (has("snapshot '") && has("' does not exist"))
        || (has("pool '") && has("' does not exist"));
    if missing {
        return Some(ApiError::NotFound(text()));
    }
    let root_only = has("only root can ") || has("Only root ");
    root_only.then(|| ApiError::Permission(text()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, reason: &str, body: &str) -> Result<Response, SendError> {
        Ok(Response { status, reason: reason.to_owned(), body: body.to_owned() })
    }

    #[test]
    fn values_are_encoded_against_proxmox_form_rules() {
        let request = Request::new(Method::Put, "/x").with("scsi0", "a:8,ssd=1;b").with("delete", "é");
        assert_eq!(request.body().as_deref(), Some("scsi0=a%3A8%2Cssd%3D1%3Bb&delete=%C3%A9"));
        assert_eq!(request.target(), "/x");
        let request = Request::new(Method::Post, "/x").with("a=b;c", "x=y=z&");
        assert_eq!(request.body().as_deref(), Some("a%3Db%3Bc=x%3Dy%3Dz%26"));
        let request = Request::new(Method::Delete, "/x").with("purge", "1");
        assert_eq!((request.target().as_str(), request.body()), ("/x?purge=1", None));
        assert_eq!(percent_decode("a%3A%zz%C3%A9"), "a:%zzé");
    }

    #[test]
    fn answers_keep_their_kind() {
        let get = |status, reason, body| classify(Method::Get, answer(status, reason, body)).unwrap_err();
        assert!(matches!(get(401, "No ticket", ""), ApiError::Authentication(_)));
        assert!(matches!(get(595, "Connection refused", ""), ApiError::NodeUnreachable(_)));
        let conflict = r#"{"data":null,"message":"checksum mismatch (file change by other user?)\n"}"#;
        assert!(matches!(get(500, "x", conflict), ApiError::Conflict(_)));
        // A server before 2025 has no message: the reason phrase is read.
        assert_eq!(
            get(500, "VM is locked (backup)", r#"{"data":null}"#),
            ApiError::Locked("backup".to_owned(), "VM is locked (backup)".to_owned())
        );
        assert!(matches!(get(500, "only root can set 'args' config", "{}"), ApiError::Permission(_)));
        assert!(matches!(get(200, "OK", "<html>"), ApiError::Other(200, _)));
    }

    #[test]
    fn a_write_that_was_cut_off_is_undetermined() {
        let refused = classify(Method::Put, answer(596, "Connection timed out", "")).unwrap_err();
        assert!(matches!(refused, ApiError::Undetermined(_)));
        let gateway = classify(Method::Post, answer(504, "Gateway Time-out", "<html>")).unwrap_err();
        assert!(matches!(gateway, ApiError::Undetermined(_)));
        let lost = classify(Method::Post, Err(SendError::MaybeApplied("reset".to_owned()))).unwrap_err();
        assert!(matches!(lost, ApiError::Undetermined(_)));
    }

    #[test]
    fn debug_output_holds_no_values() {
        let request = Request::new(Method::Put, "/x").with("cipassword", "hunter2");
        assert_eq!(format!("{request:?}"), r#"PUT /x ["cipassword"]"#);
    }
}
