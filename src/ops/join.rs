//! Plans when what an earlier run left running has ended: what a creation makes is not visible before, and what a plan
//! rests on changes under it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::read::{Readers, read};
use crate::client::ClusterClient;
use crate::desired::Desired;
use crate::diagnostics::Diagnostic;
use crate::live::{Live, LiveCluster, Read};
use crate::plan::{self, Change, Plan, PlanOptions, ReasonCode};
use crate::pve::value::Upid;

/// How often a plan is made again because something was still at work.
const ROUNDS: usize = 20;
/// HA acts in rounds of some ten seconds; how long each look at it waits.
const HA_WAIT: Duration = Duration::from_secs(5);

/// Reads and plans, as often as something that ends by itself works on the guests of the plan.
///
/// What it waits for is told, in words.
///
/// # Errors
///
/// What is wrong with the manifest or the options, as [`plan::plan`] says it.
pub async fn plan_in_peace(
    desired: &Desired,
    readers: &Readers,
    clients: &BTreeMap<String, ClusterClient>,
    options: &PlanOptions,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Plan, Vec<Diagnostic>> {
    let mut rounds = 0;
    let mut told = String::new();
    let mut tell = |words: String| {
        if words != told {
            tell(&words);
            told = words;
        }
    };
    loop {
        let live = read(desired, readers, &options.clusters).await;
        rounds += 1;
        let mut tasks = tasks(&live, |_, task| task.makes_guest());
        if tasks.is_empty() || rounds > ROUNDS {
            let plan = plan::plan(desired, &live, options)?;
            if rounds > ROUNDS {
                return Ok(plan);
            }
            tasks = running_work(&live, &plan);
            if tasks.is_empty() {
                let Some(guest) = plan.changes().find(|change| waits_for_ha(change)) else { return Ok(plan) };
                tell(format!("waiting for HA, which was asked to turn {} on or off", guest.address));
                tokio::time::sleep(HA_WAIT).await;
                continue;
            }
        }
        let named: Vec<String> = tasks.values().flatten().map(|task| format!("{} {}", task.kind, task.id)).collect();
        tell(format!("waiting for what an earlier run, or somebody else, began: {}", named.join(", ")));
        wait_for(&tasks, clients).await;
    }
}

/// True where nothing but HA keeps a field from being as it should.
fn waits_for_ha(change: &Change) -> bool {
    let waits = |reason: &plan::Reason| reason.code == ReasonCode::TaskRunning;
    change.fields.iter().filter_map(|field| field.blocked.as_ref()).any(waits)
}

/// Tasks that work on guests which the plan is about to change, or puts off for their sake: an earlier run began them,
/// or high availability, and what the plan rests on changes under it until they have ended.
fn running_work(live: &Live, plan: &Plan) -> BTreeMap<String, Vec<Upid>> {
    let waits = |change: &Change| {
        change.has_steps() || change.reason.as_ref().is_some_and(|reason| reason.code == ReasonCode::TaskRunning)
    };
    let busy: BTreeSet<(&str, String)> = plan
        .changes()
        .filter(|change| waits(change))
        .filter_map(|change| Some((change.address.cluster.as_str(), change.address.vmid?.to_string())))
        .collect();
    tasks(live, |cluster, task| task.changes_guest() && busy.contains(&(cluster, task.id.clone())))
}

fn tasks(live: &Live, wanted: impl Fn(&str, &Upid) -> bool) -> BTreeMap<String, Vec<Upid>> {
    let of_cluster = |(name, cluster): (&String, &Read<LiveCluster>)| {
        let texts = cluster.known()?.active_tasks.values().filter_map(Read::known).flatten();
        let found: Vec<Upid> = texts.filter_map(|text| text.parse().ok()).filter(|task| wanted(name, task)).collect();
        (!found.is_empty()).then(|| (name.clone(), found))
    };
    live.clusters.iter().filter_map(of_cluster).collect()
}

/// Waits until these tasks have ended, well or not; what cannot be asked is not waited for.
async fn wait_for(tasks: &BTreeMap<String, Vec<Upid>>, clients: &BTreeMap<String, ClusterClient>) {
    for (cluster, upids) in tasks {
        let Some(client) = clients.get(cluster) else { continue };
        for upid in upids {
            // How it ended is for the plan to see; only that it ended matters here.
            drop(client.wait_task(upid, &|_| {}).await);
        }
    }
}
