//! Containers: the calls and the work behind them.

mod clone;
mod create;
mod mount;
mod moving;
mod power;
mod read;
mod update;
mod volumes;

pub(super) use clone::clone;
pub(super) use create::create;
pub(super) use mount::place;
pub(super) use moving::move_volume;
pub(super) use power::{reboot, shutdown, start, stop};
pub(super) use read::{feature, index, interfaces, status_index};
pub(super) use update::{apply_pending, normalised, update};
pub(super) use volumes::{destroy, resize, template};

use std::collections::BTreeMap;

use serde_json::Value;

use super::answer::{Answer, Failure, Outcome};
use super::cluster::Cluster;
use super::guest::Guest;
use super::qemu::{config, pending};
use super::route::Call;
use super::task::LOCK_WAIT;
use crate::pve::value::GuestKind;

/// What a task of a container does.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(in crate::sim) struct Work {
    pub(super) vmid: u32,
    pub(super) what: What,
}

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) enum What {
    Create { options: BTreeMap<String, String>, template: String, pool: Option<String>, start: bool, ha: bool },
    Clone(Box<clone::Plan>),
    Template,
    Move(moving::Plan),
    Reassign(moving::Reassign),
    Resize { disk: String, size: u64 },
    Destroy { purge: bool, unreferenced: bool, forced: bool },
    Power(power::Power),
}

impl Work {
    /// Starting a container.
    pub(in crate::sim) const fn start(vmid: u32) -> Self {
        Self { vmid, what: What::Power(power::Power::Start) }
    }

    /// Shutting one down.
    pub(in crate::sim) const fn shutdown(vmid: u32) -> Self {
        Self { vmid, what: What::Power(power::Power::Shutdown { patience: 60_000, force: false }) }
    }
}

/// The lock files that a worker takes; a clone has put its marks into the configurations instead.
pub(in crate::sim) fn locks(work: &Work) -> (Vec<(u32, bool)>, u64) {
    match &work.what {
        What::Clone(_) | What::Move(_) => (Vec::new(), LOCK_WAIT),
        What::Reassign(plan) if plan.target != work.vmid => (vec![(work.vmid, true), (plan.target, true)], LOCK_WAIT),
        _ => (vec![(work.vmid, true)], LOCK_WAIT),
    }
}

/// The storages on which a worker makes volumes, once for each.
pub(in crate::sim) fn made_on(cluster: &Cluster, work: &Work) -> Vec<String> {
    match &work.what {
        What::Create { options, .. } => mount::made_on(options),
        What::Clone(plan) => plan.made_on(),
        What::Move(plan) => vec![plan.storage().to_owned()],
        What::Template => {
            let config = cluster.guests.get(&work.vmid).map(|guest| &guest.config.current);
            config.map(mount::volumes_on).unwrap_or_default()
        }
        What::Reassign(_) | What::Resize { .. } | What::Destroy { .. } | What::Power(_) => Vec::new(),
    }
}

/// How a worker ends that has made its volumes when it begins, and could not.
pub(in crate::sim) fn exit_of_making(work: &Work, text: &str) -> Option<String> {
    matches!(work.what, What::Move(_)).then(|| text.to_owned())
}

/// What a worker does as soon as it has its locks; how long it then takes.
pub(in crate::sim) fn begin(cluster: &mut Cluster, task: usize, work: &mut Work) -> Result<u64, String> {
    let times = cluster.spec.tasks.clone();
    match &mut work.what {
        What::Create { .. } => Ok(times.create_container),
        What::Clone(plan) => Ok(if plan.full { times.clone_full } else { times.clone_linked }),
        What::Template => Ok(times.template),
        What::Move(plan) => moving::begin(cluster, task, work.vmid, plan),
        What::Reassign(_) => Ok(times.config),
        What::Resize { .. } => Ok(times.resize),
        What::Destroy { .. } => volumes::begin_destroy(cluster, task, work.vmid),
        What::Power(power) => power::begin(cluster, task, work.vmid, *power),
    }
}

/// What a worker has done when its time is over.
pub(in crate::sim) fn finish(cluster: &mut Cluster, task: usize, work: Work) -> Result<(), String> {
    let vmid = work.vmid;
    match work.what {
        What::Create { options, template, pool, start, ha } => {
            create::finish(cluster, task, vmid, options, &template, pool, (start, ha))
        }
        What::Clone(plan) => clone::finish(cluster, task, vmid, &plan),
        What::Template => volumes::finish_template(cluster, task, vmid),
        What::Move(plan) => moving::finish(cluster, task, vmid, &plan),
        What::Reassign(plan) => moving::finish_reassign(cluster, task, vmid, &plan),
        What::Resize { disk, size } => volumes::finish_resize(cluster, task, vmid, &disk, size),
        What::Destroy { purge, unreferenced, forced } => {
            volumes::finish_destroy(cluster, task, vmid, purge, unreferenced, forced)
        }
        What::Power(power) => power::finish(cluster, task, vmid, power),
    }
}

/// What is left of a worker that was stopped: its exit status, after it cleaned up.
pub(in crate::sim) fn abort(cluster: &mut Cluster, node: &str, work: Work) -> String {
    match work.what {
        What::Create { .. } => {
            cluster.guests.remove(&work.vmid);
            format!("unable to create CT {} - received interrupt", work.vmid)
        }
        What::Clone(plan) => {
            cluster.guests.remove(&plan.newid);
            unlock(cluster, work.vmid);
            "clone failed: received interrupt".to_owned()
        }
        What::Move(plan) => moving::abort(cluster, node, work.vmid, &plan),
        _ => "received interrupt".to_owned(),
    }
}

/// Takes the lock out of a container's configuration.
fn unlock(cluster: &mut Cluster, vmid: u32) {
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        let mut config = guest.config.reread();
        config.current.remove("lock");
        guest.config = config;
    }
}

fn of_task(cluster: &Cluster, task: usize, vmid: u32) -> Result<&Guest, String> {
    let node = cluster.tasks[task].node.clone();
    cluster.guest(GuestKind::Lxc, vmid, &node).map_err(|failure| failure.text())
}

/// Refuses in the way of containers: 403 with a sentence.
fn root_only<T>(what: &str) -> Result<T, Failure> {
    Err(Failure::Permission(format!("{what} is only allowed for root@pam")))
}

pub(super) fn list(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut sees = cluster.sees(&call.subject);
    let mine = cluster
        .guests
        .iter()
        .filter(|(vmid, guest)| guest.kind() == GuestKind::Lxc && guest.node == call.node && sees(**vmid));
    let rows = mine.map(|(vmid, guest)| Value::Object(cluster.status_row(*vmid, guest, false)));
    Ok(Answer::from(Value::Array(rows.collect())))
}

pub(super) fn read_config(cluster: &mut Cluster, call: &Call) -> Outcome {
    config(cluster, GuestKind::Lxc, call)
}

pub(super) fn read_pending(cluster: &mut Cluster, call: &Call) -> Outcome {
    pending(cluster, GuestKind::Lxc, call)
}

pub(super) fn status(cluster: &mut Cluster, call: &Call) -> Outcome {
    let guest = cluster.guest(GuestKind::Lxc, call.vmid(), &call.node)?;
    Ok(Answer::from(cluster.current_status(call.vmid(), guest)))
}
