//! Virtual machines: the calls and the work behind them.

mod apply;
mod clone;
mod cloudinit;
mod create;
mod drive;
mod moving;
mod permit;
mod power;
mod read;
mod update;
pub(super) mod vmstate;
mod volumes;

pub(super) use apply::apply_pending;
pub(super) use clone::clone;
pub(super) use cloudinit::dump as dump_cloudinit;
pub(super) use create::create;
pub(super) use moving::move_disk;
pub(super) use power::resume_from_state;
pub(super) use power::{reboot, reset, resume, shutdown, start, stop, suspend};
pub(super) use read::{
    agent, feature, index, list, make_cloudinit, read_cloudinit, read_config, read_pending, status, status_index,
};
pub(super) use read::{config, pending};
pub(super) use update::{normalised, tags};
pub(super) use update::{unlink, update, update_in_task};
pub(super) use volumes::{destroy, resize, template};
pub(super) use volumes::{forget, refresh_sizes, wanted_size};

use std::collections::BTreeMap;

use super::answer::Failure;
use super::cluster::Cluster;
use super::guest::Guest;
use super::task::LOCK_WAIT;
use crate::pve::value::GuestKind;

/// What a task of a VM does.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(in crate::sim) struct Work {
    pub(super) vmid: u32,
    pub(super) what: What,
}

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) enum What {
    Create { options: BTreeMap<String, String>, pool: Option<String>, start: bool, ha: bool },
    Change(update::Change),
    Clone(Box<clone::Plan>),
    Template { disk: Option<String> },
    Resize { disk: String, size: String, digest: Option<String> },
    Destroy { purge: bool, unreferenced: bool },
    Move(moving::Move),
    Reassign(moving::Reassign),
    Power(power::Power),
}

impl Work {
    /// Starting a VM.
    pub(in crate::sim) const fn start(vmid: u32) -> Self {
        Self { vmid, what: What::Power(power::Power::Start) }
    }

    /// Shutting one down.
    pub(in crate::sim) const fn shutdown(vmid: u32) -> Self {
        Self { vmid, what: What::Power(power::Power::Shutdown { patience: 60_000, force: false }) }
    }
}

/// The lock files that a worker takes, and how long it waits for them.
pub(in crate::sim) fn locks(cluster: &Cluster, work: &Work) -> (Vec<(u32, bool)>, u64) {
    match &work.what {
        What::Clone(plan) => {
            let runs = cluster.guests.get(&work.vmid).is_some_and(|guest| guest.running.is_some());
            // A clone that cannot have the source's lock gives up after a second.
            (vec![(work.vmid, runs), (plan.newid, true)], 1000)
        }
        What::Create { .. } => (vec![(work.vmid, true)], 1000),
        What::Reassign(plan) => (vec![(work.vmid, true), (plan.target, true)], LOCK_WAIT),
        _ => (vec![(work.vmid, true)], LOCK_WAIT),
    }
}

/// The storages on which a worker makes volumes, once for each.
pub(in crate::sim) fn made_on(cluster: &Cluster, work: &Work) -> Vec<String> {
    match &work.what {
        What::Create { options, .. } => drive::made_on(options),
        What::Change(change) => drive::made_on(change.set()),
        What::Clone(plan) => clone::made_on(plan),
        What::Move(plan) => vec![plan.storage().to_owned()],
        What::Template { disk } => volumes::bases_on(cluster, work.vmid, disk.as_deref()),
        What::Resize { .. } | What::Destroy { .. } | What::Reassign(_) | What::Power(_) => Vec::new(),
    }
}

/// How a worker ends that has made its volumes when it begins, and could not.
pub(in crate::sim) fn exit_of_making(work: &Work, text: &str) -> Option<String> {
    match &work.what {
        What::Clone(_) => Some(format!("clone failed: {text}")),
        What::Move(_) => Some(format!("storage migration failed: {text}")),
        _ => None,
    }
}

/// What a worker does as soon as it has its locks; how long it then takes.
pub(in crate::sim) fn begin(cluster: &mut Cluster, task: usize, work: &mut Work) -> Result<u64, String> {
    let vmid = work.vmid;
    let times = cluster.spec.tasks.clone();
    match &mut work.what {
        What::Create { .. } => Ok(times.create),
        What::Change(change) => update::begin(cluster, task, vmid, change),
        What::Clone(plan) => clone::begin(cluster, task, vmid, plan),
        What::Template { .. } => Ok(times.template),
        What::Resize { disk, size, digest } => {
            volumes::check_resize(cluster, task, vmid, disk, size, digest.as_deref())
        }
        What::Destroy { .. } => volumes::begin_destroy(cluster, task, vmid),
        What::Move(plan) => moving::begin(cluster, task, vmid, plan),
        What::Reassign(_) => Ok(times.config),
        What::Power(power) => power::begin(cluster, task, vmid, power),
    }
}

/// What a worker has done when its time is over.
pub(in crate::sim) fn finish(cluster: &mut Cluster, task: usize, work: Work) -> Result<(), String> {
    let vmid = work.vmid;
    match work.what {
        What::Create { options, pool, start, ha } => create::finish(cluster, task, vmid, options, pool, (start, ha)),
        What::Change(change) => update::finish(cluster, task, vmid, &change),
        What::Clone(plan) => clone::finish(cluster, task, vmid, &plan),
        What::Template { disk } => volumes::finish_template(cluster, task, vmid, disk.as_deref()),
        What::Resize { disk, size, .. } => volumes::finish_resize(cluster, task, vmid, &disk, &size),
        What::Destroy { purge, unreferenced } => volumes::finish_destroy(cluster, task, vmid, purge, unreferenced),
        What::Move(plan) => moving::finish(cluster, task, vmid, &plan),
        What::Reassign(plan) => moving::finish_reassign(cluster, task, vmid, &plan),
        What::Power(power) => power::finish(cluster, task, vmid, power),
    }
}

/// What is left of a worker that was stopped: its exit status, after it cleaned up.
pub(in crate::sim) fn abort(cluster: &mut Cluster, node: &str, work: Work) -> String {
    match work.what {
        What::Create { .. } => {
            cluster.guests.remove(&work.vmid);
            format!("unable to create VM {} - received interrupt", work.vmid)
        }
        What::Clone(plan) => clone::abort(cluster, node, &plan),
        What::Power(power::Power::Hibernate(_)) => {
            vmstate::forget(cluster, node, work.vmid);
            "received interrupt".to_owned()
        }
        What::Move(plan) => moving::abort(cluster, node, work.vmid, &plan),
        _ => "received interrupt".to_owned(),
    }
}

/// The VM that a worker is about, on its task's node.
fn of_task(cluster: &Cluster, task: usize, vmid: u32) -> Result<&Guest, String> {
    let node = cluster.tasks[task].node.clone();
    cluster.guest(GuestKind::Qemu, vmid, &node).map_err(|failure| failure.text())
}

/// The text of a failure inside a worker.
fn text(failure: Failure) -> String {
    failure.text()
}
