//! Joins what an earlier run left running: what a creation makes is not visible until it has ended.

use std::collections::BTreeMap;

use crate::client::ClusterClient;
use crate::live::{Live, Read};
use crate::pve::value::Upid;

/// Tasks that make guests and run now, by cluster.
pub fn running_creations(live: &Live) -> BTreeMap<String, Vec<Upid>> {
    let makes = |task: &Upid| {
        matches!(task.kind.as_str(), "qmcreate" | "qmclone" | "qmrestore" | "vzcreate" | "vzclone" | "vzrestore")
    };
    let tasks = |tasks: &Read<Vec<String>>| {
        let texts = tasks.known().cloned().unwrap_or_default();
        texts.iter().filter_map(|text| text.parse().ok()).filter(makes).collect::<Vec<Upid>>()
    };
    live.clusters
        .iter()
        .filter_map(|(name, cluster)| {
            let found: Vec<Upid> = cluster.known()?.active_tasks.values().flat_map(tasks).collect();
            (!found.is_empty()).then(|| (name.clone(), found))
        })
        .collect()
}

/// Waits until these tasks have ended, well or not; what cannot be asked is not waited for.
pub async fn wait_for(tasks: &BTreeMap<String, Vec<Upid>>, clients: &BTreeMap<String, ClusterClient>) {
    for (cluster, upids) in tasks {
        let Some(client) = clients.get(cluster) else { continue };
        for upid in upids {
            // How it ended is for the plan to see; only that it ended matters here.
            drop(client.wait_task(upid, &|_| {}).await);
        }
    }
}
