//! Clients for the commands, and the log of what they send.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::arguments::{Global, LogFormat};
use super::environment;
use crate::client::{ClusterClient, Connect, Exchange, MultiClusterClient, Observer, ReadOnlyClient, Reader};
use crate::clusters::Registry;
use crate::ops::Readers;

/// How requests are logged on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Log {
    /// 0 not at all; 1 a line for each request; 2 with the names of its parameters.
    pub verbosity: u8,
    /// As JSON.
    pub json: bool,
}

impl Log {
    /// What the options say.
    pub fn of(global: &Global) -> Self {
        Self { verbosity: global.verbose, json: global.log_format == LogFormat::Json }
    }

    fn observer(self) -> Option<Observer> {
        (self.verbosity > 0).then(|| -> Observer {
            // That nobody reads it is no reason to stop.
            Arc::new(move |exchange| drop(writeln!(std::io::stderr().lock(), "{}", self.line(exchange))))
        })
    }

    /// One request: method, path, status, time, endpoint, attempt. No value of a parameter is in it.
    fn line(self, exchange: &Exchange<'_>) -> String {
        let milliseconds = exchange.elapsed.as_millis();
        if self.json {
            let mut line = json!({
                "cluster": exchange.cluster, "method": exchange.method, "path": exchange.path,
                "status": exchange.status, "ms": u64::try_from(milliseconds).unwrap_or(u64::MAX),
                "endpoint": exchange.endpoint, "attempt": exchange.attempt,
            });
            if let Some(trouble) = exchange.trouble {
                line["trouble"] = json!(trouble);
            }
            if self.verbosity > 1 {
                line["parameters"] = json!(exchange.names);
            }
            return line.to_string();
        }
        let Exchange { cluster, method, path, endpoint, attempt, .. } = exchange;
        let status = exchange.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        let mut line = format!("{cluster}: {method} {path} {status} {milliseconds} ms {endpoint} attempt {attempt}");
        if self.verbosity > 1 && !exchange.names.is_empty() {
            line.push_str(&format!(" [{}]", exchange.names.join(" ")));
        }
        line.extend(exchange.trouble.map(|trouble| format!(": {trouble}")));
        line
    }
}

/// A client for each configured cluster; credentials are read anew from where they came from.
pub fn clients(registry: &Registry, env_files: &[PathBuf], log: Log) -> MultiClusterClient {
    let mut connect = Connect::new(environment::ca_file);
    connect.http.observer = log.observer();
    let env_files = env_files.to_vec();
    connect.reload = Some(Box::new(move |name| {
        let variables = environment::variables(&env_files).map_err(|error| format!("{error:#}"))?;
        let registry = environment::registry(&variables).map_err(|problems| {
            let first = problems.first().map(|problem| problem.message.clone());
            first.unwrap_or_else(|| "the settings cannot be read any more".to_owned())
        })?;
        registry.get(name).cloned().ok_or_else(|| "it is not configured any more".to_owned())
    }));
    MultiClusterClient::connect_with(registry, connect)
}

/// The same, able only to read.
pub fn readers(clients: &MultiClusterClient) -> Readers {
    let reader = |client: ClusterClient| Arc::new(ReadOnlyClient::from(client)) as Arc<dyn Reader>;
    clients
        .names()
        .map(|name| (name.to_owned(), clients.get(name).map(reader).map_err(|error| error.to_string())))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pve::http::Method;

    #[test]
    fn a_request_is_one_line() {
        let mut exchange = Exchange {
            cluster: "a",
            endpoint: "pve1:8006",
            method: Method::Put,
            path: "/nodes/n/qemu/100/config",
            names: vec!["cores", "cipassword"],
            attempt: 2,
            status: Some(500),
            trouble: Some("VM is locked (backup)"),
            elapsed: Duration::from_millis(12),
        };
        let text = |verbosity, exchange: &Exchange<'_>| Log { verbosity, json: false }.line(exchange);
        let begin = "a: PUT /nodes/n/qemu/100/config 500 12 ms pve1:8006 attempt 2";
        assert_eq!(text(1, &exchange), format!("{begin}: VM is locked (backup)"));
        assert_eq!(text(2, &exchange), format!("{begin} [cores cipassword]: VM is locked (backup)"));
        let line: serde_json::Value = serde_json::from_str(&Log { verbosity: 2, json: true }.line(&exchange)).unwrap();
        let expected = json!({
            "cluster": "a", "method": "PUT", "path": "/nodes/n/qemu/100/config", "status": 500, "ms": 12,
            "endpoint": "pve1:8006", "attempt": 2, "trouble": "VM is locked (backup)",
            "parameters": ["cores", "cipassword"],
        });
        assert_eq!(line, expected);
        (exchange.status, exchange.trouble) = (None, Some("pve1:8006 did not answer in time"));
        assert!(text(1, &exchange).contains("config no answer 12 ms"), "{}", text(1, &exchange));
    }
}
