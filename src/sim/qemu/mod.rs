//! Virtual machines: the calls and the work behind them.

mod apply;
mod clone;
mod create;
mod drive;
mod permit;
mod power;
mod read;
mod update;
mod volumes;

pub(super) use clone::clone;
pub(super) use create::create;
pub(super) use power::{reboot, reset, resume, shutdown, start, stop, suspend};
pub(super) use read::{
    agent, feature, index, list, make_cloudinit, read_cloudinit, read_config, read_pending, status, status_index,
};
pub(super) use read::{config, pending};
pub(super) use update::tags;
pub(super) use update::{unlink, update, update_in_task};
pub(super) use volumes::{destroy, move_disk, resize, template};
pub(super) use volumes::{forget, wanted_size};

use std::collections::BTreeMap;

use super::answer::Failure;
use super::cluster::Cluster;
use super::guest::Guest;
use super::task::LOCK_WAIT;
use crate::pve::value::GuestKind;

/// What a task of a VM does.
#[derive(Debug, Clone)]
pub(in crate::sim) struct Work {
    pub(super) vmid: u32,
    pub(super) what: What,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    Create { options: BTreeMap<String, String>, pool: Option<String>, start: bool },
    Change(update::Change),
    Clone(Box<clone::Plan>),
    Template { disk: Option<String> },
    Resize { disk: String, size: String, digest: Option<String> },
    Destroy { purge: bool, unreferenced: bool },
    Move(volumes::Move),
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
        _ => (vec![(work.vmid, true)], LOCK_WAIT),
    }
}

/// What a worker does as soon as it has its locks; how long it then takes.
pub(in crate::sim) fn begin(cluster: &mut Cluster, task: usize, work: &mut Work) -> Result<u64, String> {
    let vmid = work.vmid;
    let times = cluster.spec.tasks.clone();
    match &mut work.what {
        What::Create { .. } => Ok(times.create),
        What::Change(_) => Ok(times.config),
        What::Clone(plan) => clone::begin(cluster, task, vmid, plan),
        What::Template { .. } => Ok(times.template),
        What::Resize { disk, size, digest } => {
            volumes::check_resize(cluster, task, vmid, disk, size, digest.as_deref())
        }
        What::Destroy { .. } => volumes::begin_destroy(cluster, task, vmid),
        What::Move(_) => Ok(times.move_volume),
        What::Power(power) => power::begin(cluster, task, vmid, *power),
    }
}

/// What a worker has done when its time is over.
pub(in crate::sim) fn finish(cluster: &mut Cluster, task: usize, work: Work) -> Result<(), String> {
    let vmid = work.vmid;
    match work.what {
        What::Create { options, pool, start } => create::finish(cluster, task, vmid, options, pool, start),
        What::Change(change) => update::finish(cluster, task, vmid, &change),
        What::Clone(plan) => clone::finish(cluster, task, vmid, &plan),
        What::Template { disk } => volumes::finish_template(cluster, task, vmid, disk.as_deref()),
        What::Resize { disk, size, .. } => volumes::finish_resize(cluster, task, vmid, &disk, &size),
        What::Destroy { purge, unreferenced } => volumes::finish_destroy(cluster, task, vmid, purge, unreferenced),
        What::Move(plan) => volumes::finish_move(cluster, task, vmid, &plan),
        What::Power(power) => power::finish(cluster, task, vmid, power),
    }
}

/// What is left of a worker that was stopped: its exit status, after it cleaned up.
pub(in crate::sim) fn abort(cluster: &mut Cluster, work: Work) -> String {
    match work.what {
        What::Create { .. } => {
            cluster.guests.remove(&work.vmid);
            format!("unable to create VM {} - received interrupt", work.vmid)
        }
        What::Clone(plan) => clone::abort(cluster, &plan),
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
