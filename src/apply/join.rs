//! What works on a guest already: tasks that an earlier run began, or high availability, are waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::fill;
use super::guest::Runner;
use super::recover::Trouble;
use crate::client::ClusterClient;
use crate::plan::StepKind;
use crate::pve::http::Request;
use crate::pve::value::Upid;

/// What ran on a node, read once.
type Running = Arc<OnceCell<Vec<Upid>>>;

/// The tasks that ran on each node when the run came to it first: one request a node, however many guests it has.
#[derive(Debug, Default)]
pub(super) struct Earlier(Mutex<BTreeMap<(String, String), Running>>);

impl Earlier {
    async fn on(&self, client: &ClusterClient, node: &str) -> Vec<Upid> {
        let cell = {
            let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            cells.entry((client.name().to_owned(), node.to_owned())).or_default().clone()
        };
        cell.get_or_init(|| active(client, node)).await.clone()
    }
}

/// The tasks that run on a node; none where it cannot be asked: reading the guest tells then.
async fn active(client: &ClusterClient, node: &str) -> Vec<Upid> {
    let request = Request::get(format!("/nodes/{node}/tasks")).with("limit", "500").with("source", "active");
    let Ok(Value::Array(rows)) = client.read(&request).await else { return Vec::new() };
    rows.iter()
        .filter(|row| row.get("endtime").is_none())
        .filter_map(|row| row.get("upid")?.as_str()?.parse::<Upid>().ok())
        .collect()
}

impl Runner {
    /// Waits for what worked on this guest already when the run began.
    pub(super) async fn join_earlier(&mut self, deadline: Instant) {
        let shared = self.shared.clone();
        for node in self.nodes() {
            let tasks = shared.earlier.on(&self.client, &node).await;
            self.join(tasks, 0, deadline).await;
        }
    }

    /// The nodes on which something may work on this guest: where it is, and where its steps are sent and lead to.
    pub(super) fn nodes(&self) -> BTreeSet<String> {
        let sent = self.change.steps.iter().filter_map(|step| {
            let path = step.call.path.to_string();
            Some(fill::target(&path)?.node.to_owned())
        });
        let led = self.change.steps.iter().filter_map(|step| Some(step.call.params.get("target")?.to_string()));
        sent.chain(led).chain(self.node.clone()).filter(|node| !node.starts_with('<')).collect()
    }

    /// Waits for the tasks that run on a node for this guest, or clone the guest that this step clones.
    pub(super) async fn join_tasks(
        &mut self,
        node: &str,
        index: usize,
        deadline: Instant,
    ) -> Vec<(Upid, Result<(), Trouble>)> {
        if node.is_empty() {
            return Vec::new();
        }
        let tasks = active(&self.client, node).await;
        self.join(tasks, index, deadline).await
    }

    async fn join(&mut self, tasks: Vec<Upid>, index: usize, deadline: Instant) -> Vec<(Upid, Result<(), Trouble>)> {
        let path = self.change.steps.get(index).map(|step| (step.kind, step.call.path.to_string()));
        let source = match &path {
            Some((StepKind::Clone, path)) => fill::target(path).and_then(|target| target.id),
            _ => None,
        };
        let vmid = self.vmid.to_string();
        let is_ours = |upid: &Upid| {
            let clones = Some(upid.id.as_str()) == source && upid.kind.ends_with("clone");
            clones || upid.id == vmid && upid.changes_guest()
        };
        let mut ends = Vec::new();
        for upid in tasks.into_iter().filter(is_ours) {
            // A list may show a task for a while that has ended: it is waited for once.
            if !self.joined.insert(upid.to_string()) {
                continue;
            }
            let end = self.task(&upid, deadline).await;
            ends.push((upid, end));
        }
        ends
    }
}
