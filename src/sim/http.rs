//! HTTP as `pveproxy` speaks it, without a socket: which requests it takes, how it reads them, how it answers.

use serde_json::{Map, Value, json};

use super::cluster::IncomingRequest;
use crate::pve::http::{Response, percent_decode};

/// The largest body that is taken.
pub(super) const BODY_LIMIT: usize = 512 * 1024;
/// Lines of a header, with the empty one at its end, that are refused.
pub(super) const HEADER_LINES: usize = 64;
/// Bytes of a header that are refused.
pub(super) const HEADER_BYTES: usize = 8 * 1024;

/// The forms in which answers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `/api2/json`.
    Json,
    /// `/api2/extjs`: always status 200, with the real one inside.
    ExtJs,
}

/// A request without its body.
pub(super) struct Head {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) content_type: Option<String>,
    pub(super) authorization: Option<String>,
    pub(super) cookie: Option<String>,
    pub(super) csrf_token: Option<String>,
    pub(super) transfer_encoding: Option<String>,
    pub(super) length: Option<usize>,
}

/// A refusal before any call: status and text; the text is the body too where the flag says so.
pub(super) type Refusal = (u16, String, bool);

impl Head {
    /// What can be said before the body is there, in the order in which `pveproxy` looks.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if !matches!(self.method.as_str(), "GET" | "POST" | "PUT" | "DELETE") {
            return Err((501, format!("method '{}' not available", self.method), false));
        }
        match self.transfer_encoding.as_deref() {
            Some(coding) if coding.eq_ignore_ascii_case("chunked") => {
                return Err((501, "chunked transfer encoding not supported".to_owned(), true));
            }
            Some(coding) => return Err((501, format!("Unknown transfer encoding '{coding}'"), true)),
            None => {}
        }
        self.format()?;
        let Some(length) = self.length.filter(|length| *length > 0) else { return Ok(()) };
        if !matches!(self.method.as_str(), "POST" | "PUT") {
            return Err((501, format!("Unexpected content for method '{}'", self.method), true));
        }
        if length > BODY_LIMIT {
            return Err((501, "for data too large".to_owned(), true));
        }
        let declared = self.content_type.as_deref().unwrap_or_default();
        match media_type(declared) {
            "" | "application/x-www-form-urlencoded" | "application/json" => Ok(()),
            _ => Err((506, format!("upload 'Content-Type '{declared}' not implemented"), true)),
        }
    }

    /// The form that the path asks for, and the path below it.
    pub(super) fn format(&self) -> Result<(Format, &str), Refusal> {
        let Some(rest) = self.path.strip_prefix("/api2") else {
            // Pages and files of the web interface, of which there is none here.
            let page = matches!(self.path.as_str(), "/" | "/index.html") || self.path.starts_with("/pve2/");
            return Err(if page && self.method == "GET" {
                (501, "the web interface is not simulated".to_owned(), true)
            } else {
                (500, format!("no such file '{}'", self.path), true)
            });
        };
        let rest = rest.trim_start_matches('/');
        let end = rest.find('/').unwrap_or(rest.len());
        let (name, path) = rest.split_at(end);
        let named = name.len() > 1
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        match name {
            "json" => Ok((Format::Json, path)),
            "extjs" => Ok((Format::ExtJs, path)),
            // Real ones, which nobody needs to drive a cluster.
            "html" | "htmljs" | "spiceconfig" | "png" => {
                Err((501, format!("format '{name}' is not simulated; use /api2/json"), true))
            }
            _ if named => {
                Err((501, format!("no formatter for uri {}, {name}", if path.is_empty() { "/" } else { path }), true))
            }
            _ => Err((501, "no such uri".to_owned(), true)),
        }
    }

    /// Reads the request with its body.
    pub(super) fn read(self, body: &[u8], node: &str) -> Result<IncomingRequest, Refusal> {
        self.check()?;
        let (_, path) = self.format()?;
        let path = path.to_owned();
        let mut params = decode_form(&self.query);
        if !body.is_empty() {
            let from_body = match media_type(self.content_type.as_deref().unwrap_or_default()) {
                "application/json" => decode_json(body)?,
                _ => decode_form(&String::from_utf8_lossy(body)),
            };
            // What stands in the query wins.
            let named: Vec<String> = params.iter().map(|(name, _)| name.clone()).collect();
            params.extend(from_body.into_iter().filter(|(name, _)| !named.contains(name)));
        }
        Ok(IncomingRequest {
            method: self.method,
            path,
            params,
            authorization: self.authorization,
            cookie: self.cookie,
            csrf_token: self.csrf_token,
            node: node.to_owned(),
        })
    }
}

/// A content type without its parameters.
fn media_type(declared: &str) -> &str {
    declared.split([';', ',']).next().unwrap_or_default().trim()
}

/// Decodes a form by the rules of `pveproxy`: pairs end at `&` and `;`, of `a=b=c` only `b` is kept, and a
/// name without `=` has no value and counts as absent.
pub(super) fn decode_form(text: &str) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode(&text.replace('+', " "));
    text.split(['&', ';'])
        .filter_map(|pair| {
            let mut fields = pair.split('=');
            let (name, value) = (fields.next().filter(|name| !name.is_empty())?, fields.next()?);
            Some((decode(name), decode(value)))
        })
        .collect()
}

/// Decodes a JSON body: numbers become text, truth values 1 and 0, lists repeated names.
fn decode_json(body: &[u8]) -> Result<Vec<(String, String)>, Refusal> {
    let at = "at character offset 0 at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line 934.";
    let malformed =
        |_| (500, format!("malformed JSON string, neither tag, array, object, number, string or atom, {at}"), true);
    let object: Map<String, Value> = serde_json::from_slice(body).map_err(malformed)?;
    let text = |value: Value| match value {
        Value::String(text) => Some(text),
        Value::Bool(truth) => Some(u8::from(truth).to_string()),
        Value::Null => None,
        other => Some(other.to_string()),
    };
    let mut params = Vec::new();
    for (name, value) in object {
        match value {
            Value::Array(list) => {
                params.extend(list.into_iter().filter_map(text).map(|value| (name.clone(), value)));
            }
            value => params.extend(text(value).map(|value| (name, value))),
        }
    }
    Ok(params)
}

/// An answer in the form that was asked for. A refused credential, and what another node's absence makes of a call,
/// are answered before any form is looked at.
pub(super) fn in_format(format: Format, answer: Response) -> Response {
    if format == Format::Json || answer.body.is_empty() {
        return answer;
    }
    let mut body: Map<String, Value> = serde_json::from_str(&answer.body).unwrap_or_default();
    let failed = answer.status >= 400;
    body.insert("success".to_owned(), json!(u8::from(!failed)));
    if failed {
        body.insert("status".to_owned(), json!(answer.status));
        body.entry("message").or_insert_with(|| json!(answer.reason));
    } else {
        body.remove("message");
    }
    Response { status: 200, reason: "OK".to_owned(), body: Value::Object(body).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, path: &str, content_type: &str, length: usize) -> Head {
        Head {
            method: method.to_owned(),
            path: path.to_owned(),
            query: String::new(),
            content_type: Some(content_type.to_owned()).filter(|text| !text.is_empty()),
            authorization: None,
            cookie: None,
            csrf_token: None,
            transfer_encoding: None,
            length: Some(length),
        }
    }

    #[test]
    fn forms_are_read_as_proxmox_reads_them() {
        let pairs = |text: &str| decode_form(text).into_iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>();
        assert_eq!(pairs("a=b=c;d=e+f&g&h=%C3%A9%3D"), ["a=b", "d=e f", "h=é="]);
        let body = br#"{"cores":"2","memory":1024,"onboot":true,"tags":["b","a"],"x":null}"#;
        let mut pairs = decode_json(body).unwrap();
        pairs.sort();
        let text: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(text, ["cores=2", "memory=1024", "onboot=1", "tags=a", "tags=b"]);
    }

    #[test]
    fn requests_are_refused_where_proxmox_refuses_them() {
        let told = |head: Head, body: &[u8]| match head.read(body, "a") {
            Ok(request) => (200, format!("{} {}", request.path, request.params.len())),
            Err((status, text, _)) => (status, text),
        };
        let cases: [(Head, &[u8], u16, &str); 13] = [
            (head("DELETE", "/api2/json/x", "", 7), b"purge=1", 501, "Unexpected content for method 'DELETE'"),
            (
                head("PUT", "/api2/json/x", "text/plain", 3),
                b"a=1",
                506,
                "upload 'Content-Type 'text/plain' not implemented",
            ),
            (head("PUT", "/api2/json/x", "application/json; charset=utf-8", 7), b"{\"a\":1}", 200, "/x 1"),
            (head("POST", "/api2/extjs/x", "", 3), b"a=1", 200, "/x 1"),
            (head("POST", "/api2/json/x", "", BODY_LIMIT + 1), b"", 501, "for data too large"),
            (head("GET", "/api2/json", "", 0), b"", 200, " 0"),
            (head("HEAD", "/api2/json/x", "", 0), b"", 501, "method 'HEAD' not available"),
            (head("OPTIONS", "/api2/json/x", "", 0), b"", 501, "method 'OPTIONS' not available"),
            (head("GET", "/api2/html/nodes", "", 0), b"", 501, "format 'html' is not simulated; use /api2/json"),
            (head("GET", "/api2/xml/nodes", "", 0), b"", 501, "no formatter for uri /nodes, xml"),
            (head("GET", "/api2/", "", 0), b"", 501, "no such uri"),
            (head("GET", "/", "", 0), b"", 501, "the web interface is not simulated"),
            (head("GET", "/favicon.ico", "", 0), b"", 500, "no such file '/favicon.ico'"),
        ];
        for (head, body, status, text) in cases {
            let name = format!("{} {}", head.method, head.path);
            assert_eq!(told(head, body), (status, text.to_owned()), "{name}");
        }
        let mut chunked = head("POST", "/api2/json/x", "", 0);
        chunked.transfer_encoding = Some("Chunked".to_owned());
        assert_eq!(told(chunked, b"").1, "chunked transfer encoding not supported");
        assert_eq!(told(head("PUT", "/api2/json/x", "application/json", 4), b"{bad").0, 500);
    }

    #[test]
    fn extjs_answers_with_200_and_the_status_inside() {
        let answer = |status: u16, reason: &str, body: &str| {
            let (reason, body) = (reason.to_owned(), body.to_owned());
            in_format(Format::ExtJs, Response { status, reason, body })
        };
        let failed =
            answer(400, "Parameter verification failed.", r#"{"data":null,"errors":{"a":"b"},"message":"x\n"}"#);
        assert_eq!(failed.status, 200);
        let body: Value = serde_json::from_str(&failed.body).unwrap();
        assert_eq!(
            body,
            json!({ "data": null, "errors": { "a": "b" }, "message": "x\n", "status": 400, "success": 0 })
        );
        assert_eq!(answer(200, "OK", r#"{"data":1}"#).body, r#"{"data":1,"success":1}"#);
        assert_eq!(answer(401, "No ticket", "").status, 401);
    }
}
