//! Who worked on a guest last, as far as the task list of its node knows.

use std::sync::Arc;

use serde_json::Value;
use tokio::task::JoinSet;

use super::read::Readers;
use crate::apply::journal;
use crate::client::Reader;
use crate::plan::{Change, Class, Plan};
use crate::pve::http::Request;
use crate::pve::value::Upid;

/// Guests of a cluster that are asked for; a fleet that drifts as a whole has another story than single hands.
const GUESTS: usize = 50;

/// Notes at each guest that is there and differs which task worked on it last, when, and by whom. An option that is set
/// without a task (`PUT …/config`) leaves no trace there.
pub async fn note_last_tasks(plan: &mut Plan, readers: &Readers) {
    let mut running = JoinSet::new();
    for (name, part) in &plan.clusters {
        let Some(Ok(reader)) = readers.get(name) else { continue };
        let asked: Vec<(usize, Request)> = part
            .changes
            .iter()
            .enumerate()
            .filter(|(_, change)| differs(change))
            .filter_map(|(index, change)| Some((index, last_task(change)?)))
            .take(GUESTS)
            .collect();
        let (name, reader) = (name.clone(), Arc::clone(reader));
        running.spawn(async move {
            let mut found = Vec::new();
            for (index, request) in asked {
                found.extend(read(reader.as_ref(), &request).await.map(|words| (index, words)));
            }
            (name, found)
        });
    }
    while let Some(ended) = running.join_next().await {
        let Ok((name, found)) = ended else { continue };
        let Some(part) = plan.clusters.get_mut(&name) else { continue };
        for (index, words) in found {
            if let Some(change) = part.changes.get_mut(index) {
                change.notes.push(words);
            }
        }
    }
}

fn differs(change: &Change) -> bool {
    matches!(change.class, Some(Class::Changed | Class::Orphan | Class::Pending)) || change.has_steps()
}

fn last_task(change: &Change) -> Option<Request> {
    let (node, vmid) = (change.node.as_ref()?, change.address.vmid?);
    let is_there = change.base.exists || change.class == Some(Class::Orphan);
    let request = Request::get(format!("/nodes/{node}/tasks")).with("vmid", vmid.to_string()).with("limit", "1");
    is_there.then_some(request)
}

async fn read(reader: &dyn Reader, request: &Request) -> Option<String> {
    // A token that may not list tasks, or a node that does not answer, only means that nothing is known.
    let answer = reader.read(request).await.ok()?;
    let upids = answer.as_array()?.iter().filter_map(|row| row.get("upid").and_then(Value::as_str)?.parse().ok());
    let last: Upid = upids.max_by_key(|upid: &Upid| upid.starttime)?;
    Some(format!("last task: {} by {} at {}", last.kind, last.user, journal::timestamp(last.starttime)))
}
