//! How a cluster is.

use serde_json::Value;

use crate::client::Reader;
use crate::live::{Health, HealthStatus, NodeHealth};
use crate::pve::http::{ApiError, Request};

/// Asks a cluster how it is, in four requests, or in one where it does not answer.
pub async fn check(client: &dyn Reader) -> Health {
    let mut health = Health::online(client.name());
    match client.read(&Request::get("/version")).await {
        Ok(answer) => health.version = answer.get("version").and_then(Value::as_str).map(str::to_owned),
        Err(error) => {
            health.status = match &error {
                ApiError::Authentication(_) => HealthStatus::Unauthorized,
                ApiError::Connection(_) | ApiError::Undetermined(_) | ApiError::Tls(_) => HealthStatus::Offline,
                _ => HealthStatus::Degraded,
            };
            health.failed("/version", &error);
            return health;
        }
    }
    let status = Request::get("/cluster/status");
    let [guests, storages] = ["vm", "storage"].map(|kind| Request::get("/cluster/resources").with("type", kind));
    let (status, guests, storages) = tokio::join!(client.read(&status), client.read(&guests), client.read(&storages));
    match status {
        Ok(answer) => health.read_status(&answer),
        Err(error) => health.failed("/cluster/status", &error),
    }
    match guests {
        Ok(answer) => {
            let count = |kind: &str| list(&answer).iter().filter(|row| row["type"] == kind).count();
            (health.vms, health.containers) = (Some(count("qemu")), Some(count("lxc")));
        }
        Err(error) => health.failed("/cluster/resources", &error),
    }
    match storages {
        Ok(answer) => health.storages = Some(storage_count(&answer)),
        Err(error) => health.failed("/cluster/resources?type=storage", &error),
    }
    if !health.problems.is_empty() {
        health.status = HealthStatus::Degraded;
    }
    health
}

/// What the answers add to a report.
trait Told {
    fn failed(&mut self, what: &str, error: &ApiError);
    fn read_status(&mut self, answer: &Value);
}

impl Told for Health {
    fn failed(&mut self, what: &str, error: &ApiError) {
        // The first call fails where nothing works, and its path would only distract.
        let words = if what == "/version" { error.to_string() } else { format!("{what}: {error}") };
        self.problems.push(words);
        if self.error.is_none() {
            (self.error_kind, self.error) = (Some(error.kind().to_owned()), Some(error.to_string()));
        }
    }

    fn read_status(&mut self, answer: &Value) {
        let is_set = |row: &Value, name: &str| row.get(name).is_some_and(|value| *value == 1 || *value == "1");
        for row in list(answer) {
            if row["type"] == "cluster" {
                self.quorate = Some(is_set(row, "quorate"));
            } else if let Some(name) = row.get("name").and_then(Value::as_str) {
                self.nodes.push(NodeHealth { name: name.to_owned(), online: is_set(row, "online") });
            }
        }
        self.nodes.sort_by(|a, b| a.name.cmp(&b.name));
        let offline = self.nodes.iter().filter(|node| !node.online);
        self.problems.extend(offline.map(|node| format!("node {} is offline", node.name)));
        if self.quorate == Some(false) {
            self.problems.push("the cluster has no quorum: nothing can be changed".to_owned());
        }
    }
}

fn list(answer: &Value) -> &[Value] {
    answer.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A shared storage has a row for each node, and is one storage.
fn storage_count(answer: &Value) -> usize {
    let mut names: Vec<String> = list(answer)
        .iter()
        .map(|row| {
            let shared = row["shared"] == 1 || row["shared"] == "1";
            let node = if shared { "" } else { row["node"].as_str().unwrap_or_default() };
            format!("{node}/{}", row["storage"].as_str().unwrap_or_default())
        })
        .collect();
    names.sort();
    names.dedup();
    names.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::fake::{Fake, data, never_sent, refusal};

    fn cluster(online: u8, quorate: u8) -> Fake {
        let rows = json!([
            {"id": "cluster", "name": "bcluster", "nodes": 2, "quorate": quorate, "type": "cluster", "version": 3},
            {"id": "node/b2", "name": "b2", "online": online, "type": "node"},
            {"id": "node/b1", "name": "b1", "online": 1, "type": "node"},
        ]);
        let storages = json!([
            {"type": "storage", "storage": "local", "node": "b1", "shared": 0},
            {"type": "storage", "storage": "local", "node": "b2", "shared": 0},
            {"type": "storage", "storage": "nfs", "node": "b1", "shared": 1},
            {"type": "storage", "storage": "nfs", "node": "b2", "shared": 1},
        ]);
        Fake::default()
            .on("GET /version", data(json!({"version": "9.1.9", "release": "9.1"})))
            .on("GET /cluster/status", data(rows))
            .on("GET /cluster/resources?type=vm", data(json!([{"type": "qemu", "vmid": 100}])))
            .on("GET /cluster/resources?type=storage", data(storages))
    }

    #[tokio::test]
    async fn a_cluster_that_is_well_is_online() {
        let health = check(&cluster(1, 1).client().0).await;
        assert_eq!((health.status, health.version.as_deref()), (HealthStatus::Online, Some("9.1.9")));
        assert_eq!((health.vms, health.containers, health.storages), (Some(1), Some(0), Some(3)));
        assert_eq!(health.nodes[0], NodeHealth { name: "b1".to_owned(), online: true });
        assert_eq!((health.quorate, health.error), (Some(true), None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_status_says_what_is_wrong() {
        let health = check(&cluster(0, 0).client().0).await;
        assert_eq!(health.status, HealthStatus::Degraded);
        assert_eq!(health.problems, ["node b2 is offline", "the cluster has no quorum: nothing can be changed"]);
        let denied = refusal(403, "Permission check failed (/, Sys.Audit)");
        let health = check(&cluster(1, 1).on("GET /cluster/status", denied).client().0).await;
        assert_eq!((health.status, health.error_kind.as_deref()), (HealthStatus::Degraded, Some("permission")));
        for (answer, status, kind) in [
            (refusal(401, "No ticket"), HealthStatus::Unauthorized, "authentication"),
            (never_sent(), HealthStatus::Offline, "connection"),
        ] {
            let health = check(&Fake::default().on("GET /version", answer).client().0).await;
            assert_eq!((health.status, health.error_kind.as_deref()), (status, Some(kind)));
        }
    }
}
