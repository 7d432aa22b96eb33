//! How a cluster is.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;

use crate::client::{ClusterError, MultiClusterClient, Reader};
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

/// Compares the cluster's clock with ours, which says `now` in seconds since 1970; one request.
///
/// A ticket is refused where the clocks are five minutes apart, a certificate by more.
pub async fn check_clock(client: &dyn Reader, health: &mut Health, now: u64) {
    let Some(node) = health.nodes.iter().find(|node| node.online).map(|node| node.name.clone()) else { return };
    let Ok(answer) = client.read(&Request::get(format!("/nodes/{node}/time"))).await else { return };
    let time = answer.get("time").and_then(|time| time.as_i64().or_else(|| time.as_str()?.parse().ok()));
    let Some(ahead) = time.zip(i64::try_from(now).ok()).map(|(theirs, ours)| theirs - ours) else { return };
    health.clock_ahead = Some(ahead);
    if ahead.abs() > CLOCK_TOLERANCE {
        let way = if ahead > 0 { "ahead of" } else { "behind" };
        health.problems.push(format!("the clock of node {node} is {} s {way} this machine's", ahead.abs()));
        health.degrade();
    }
}

/// Seconds that two clocks may differ without a word.
const CLOCK_TOLERANCE: i64 = 60;

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A cluster with what it has, in the words of an earlier client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClusterInfo {
    /// Its name in our settings.
    pub cluster_name: String,
    /// Its first address.
    pub api_url: String,
    /// As set.
    pub region: Option<String>,
    /// As set.
    pub tier: Option<String>,
    /// Its nodes.
    pub nodes_count: usize,
    /// VMs that the credential sees.
    pub vms_count: usize,
    /// Containers that the credential sees.
    pub lxc_count: usize,
    /// Storages that the credential sees.
    pub storage_count: usize,
    /// Each node.
    pub nodes: Vec<NodeInfo>,
    /// `online`, `degraded`, `unauthorized`, `offline`.
    pub status: HealthStatus,
    /// The first error in words.
    pub error: Option<String>,
}

/// A node in a [`ClusterInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeInfo {
    /// Its name.
    pub name: String,
    /// `online` or `offline`.
    pub status: &'static str,
}

impl MultiClusterClient {
    /// How every cluster is; one that is down hides no other.
    pub async fn health(&self) -> BTreeMap<String, Health> {
        let names: Vec<&str> = self.names().collect();
        self.health_of(&names).await
    }

    /// How these clusters are.
    pub async fn health_of(&self, names: &[&str]) -> BTreeMap<String, Health> {
        let checked = self.each_of(names, |client| async move { Ok(check(&client).await) }).await;
        let or_offline = |(name, health): (String, Result<Health, _>)| {
            let health = health.unwrap_or_else(|error| Health::offline(&name, format!("{error}")));
            (name, health)
        };
        checked.into_iter().map(or_offline).collect()
    }

    /// Which clusters can be written to now; for the others, why not.
    pub async fn validate(&self) -> BTreeMap<String, Result<(), String>> {
        let names: Vec<&str> = self.names().collect();
        self.validate_of(&names).await
    }

    /// Which of these clusters can be written to now; for the others, why not.
    pub async fn validate_of(&self, names: &[&str]) -> BTreeMap<String, Result<(), String>> {
        self.health_of(names).await.into_iter().map(|(name, health)| (name, health.is_writable())).collect()
    }

    /// Every cluster with its counts.
    pub async fn list_all_clusters_info(&self) -> Vec<ClusterInfo> {
        let mut health = self.health().await;
        self.names().filter_map(|name| ClusterInfo::of(self, name, health.remove(name)?)).collect()
    }

    /// One cluster with its counts.
    ///
    /// # Errors
    ///
    /// An unknown name. One that is down is described as such.
    pub async fn describe(&self, name: &str) -> Result<ClusterInfo, ClusterError> {
        let health = self.health_of(&[name]).await.remove(name);
        let info = health.and_then(|health| ClusterInfo::of(self, name, health));
        info.ok_or_else(|| ClusterError::ClusterNotFound(name.to_owned()))
    }
}

impl ClusterInfo {
    /// Nothing where no cluster bears the name.
    fn of(clients: &MultiClusterClient, name: &str, health: Health) -> Option<Self> {
        let settings = clients.registry().get(name)?;
        let node =
            |node: NodeHealth| NodeInfo { name: node.name, status: if node.online { "online" } else { "offline" } };
        Some(Self {
            cluster_name: settings.name.clone(),
            api_url: settings.endpoints.first().cloned().unwrap_or_default(),
            region: settings.region.clone(),
            tier: settings.tier.clone(),
            nodes_count: health.nodes.len(),
            vms_count: health.vms.unwrap_or(0),
            lxc_count: health.containers.unwrap_or(0),
            storage_count: health.storages.unwrap_or(0),
            nodes: health.nodes.into_iter().map(node).collect(),
            status: health.status,
            error: health.error,
        })
    }
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
    use crate::client::ClusterClient;
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

    #[tokio::test(start_paused = true)]
    async fn clocks_that_differ_are_told() {
        for (time, ahead, words) in [
            (json!(1_000_030), Some(30), None),
            (json!("999900"), Some(-100), Some("the clock of node b1 is 100 s behind this machine's")),
            (json!(1_000_400), Some(400), Some("the clock of node b1 is 400 s ahead of this machine's")),
            (json!(null), None, None),
        ] {
            let (client, _) = cluster(1, 1).on("GET /nodes/b1/time", data(json!({ "time": time }))).client();
            let mut health = check(&client).await;
            check_clock(&client, &mut health, 1_000_000).await;
            assert_eq!((health.clock_ahead, health.problems.first().map(String::as_str)), (ahead, words));
            assert_eq!(health.status == HealthStatus::Degraded, words.is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_cluster_is_told_with_the_keys_of_old() {
        let of = |name: &str, fake: Fake| ClusterClient::new(name, std::sync::Arc::new(fake));
        let clients = MultiClusterClient::from_clients([
            of("a", cluster(0, 1)),
            of("b", Fake::default().on("GET /version", never_sent())),
            of("c", cluster(1, 0)),
        ]);
        let info = serde_json::to_value(clients.list_all_clusters_info().await).unwrap();
        let expected = json!({
            "cluster_name": "a", "api_url": "", "region": null, "tier": null, "nodes_count": 2, "vms_count": 1,
            "lxc_count": 0, "storage_count": 3, "status": "degraded", "error": null,
            "nodes": [{"name": "b1", "status": "online"}, {"name": "b2", "status": "offline"}],
        });
        assert_eq!(info[0], expected);
        assert_eq!((&info[1]["status"], &info[1]["nodes_count"]), (&json!("offline"), &json!(0)));
        assert!(info[1]["error"].as_str().unwrap().contains("refuses the connection"));
        for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
            assert_eq!(serde_json::to_value(clients.describe(name).await.unwrap()).unwrap(), info[number]);
        }
        assert_eq!(clients.describe("d").await, Err(ClusterError::ClusterNotFound("d".to_owned())));
        let valid = clients.validate().await;
        // A node that is off is no reason to leave a cluster out; a quorum that is missing is.
        assert_eq!(valid["a"], Ok(()));
        assert!(
            valid["b"].as_ref().unwrap_err().contains("refuses") && valid["c"].as_ref().unwrap_err().contains("quorum")
        );
    }
}
