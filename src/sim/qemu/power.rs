//! Starting and stopping VMs.

use super::{What, Work, apply, of_task};
use crate::pve::value::GuestKind;
use crate::sim::answer::{Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::guest::{Running, check_lock, sub_key};
use crate::sim::route::{Call, unsupported};
use crate::sim::section::mapping;
use crate::sim::task::Work as TaskWork;

/// What is done to a VM's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sim) enum Power {
    Start,
    Stop,
    /// Asking the guest to end, for so many milliseconds; then stopping it, or giving up.
    Shutdown {
        patience: u64,
        force: bool,
    },
    Reboot {
        patience: u64,
    },
    Reset,
    Pause,
    Resume,
}

fn spawn(cluster: &mut Cluster, call: &Call, kind: &str, power: Power) -> Outcome {
    let vmid = call.vmid();
    if call.flag("skiplock") && !call.subject.is_root() {
        return Err(Failure::parameter("skiplock", "Only root may use this option."));
    }
    let work = TaskWork::Qemu(Work { vmid, what: What::Power(power) });
    Ok(cluster.start_task(&call.subject, &call.node, kind, &vmid.to_string(), work))
}

/// What HA manages is only asked of its manager.
fn by_ha(cluster: &mut Cluster, call: &Call, start: bool) -> Outcome {
    let vmid = call.vmid();
    let kind = if start { "hastart" } else { "hastop" };
    Ok(cluster.start_task(&call.subject, &call.node, kind, &vmid.to_string(), TaskWork::Ha { vmid, start }))
}

pub(in crate::sim) fn start(cluster: &mut Cluster, call: &Call) -> Outcome {
    if cluster.is_ha_managed(GuestKind::Qemu, call.vmid()) {
        return by_ha(cluster, call, true);
    }
    spawn(cluster, call, "qmstart", Power::Start)
}

pub(in crate::sim) fn stop(cluster: &mut Cluster, call: &Call) -> Outcome {
    if cluster.is_ha_managed(GuestKind::Qemu, call.vmid()) {
        return by_ha(cluster, call, false);
    }
    spawn(cluster, call, "qmstop", Power::Stop)
}

pub(in crate::sim) fn shutdown(cluster: &mut Cluster, call: &Call) -> Outcome {
    let vmid = call.vmid();
    if cluster.is_ha_managed(GuestKind::Qemu, vmid) {
        return by_ha(cluster, call, false);
    }
    let paused =
        cluster.guests.get(&vmid).and_then(|guest| guest.running.as_ref()).is_some_and(|running| running.paused);
    if paused && !call.flag("forceStop") {
        return Err(Failure::die("VM is paused - cannot shutdown"));
    }
    let asked = Power::Shutdown { patience: patience(cluster, call), force: call.flag("forceStop") };
    spawn(cluster, call, "qmshutdown", if paused { Power::Stop } else { asked })
}

/// How long a guest may take to end: as the call says, or its own `startup`, or a minute.
fn patience(cluster: &Cluster, call: &Call) -> u64 {
    let own = cluster.guests.get(&call.vmid()).and_then(|guest| sub_key(guest.config.current.get("startup")?, "down"));
    call.number("timeout").or_else(|| own?.parse().ok()).unwrap_or(60) * 1000
}

/// Refuses unless the VM runs.
fn need_running(cluster: &Cluster, call: &Call) -> Result<(), Failure> {
    let (vmid, node) = (call.vmid(), &call.node);
    let missing = || Failure::die(format!("unable to find configuration file for VM {vmid} on node '{node}'"));
    let guest = cluster.guest(GuestKind::Qemu, vmid, node).map_err(|_| missing())?;
    if guest.running.is_some() { Ok(()) } else { Err(Failure::die(format!("VM {vmid} not running"))) }
}

pub(in crate::sim) fn reboot(cluster: &mut Cluster, call: &Call) -> Outcome {
    need_running(cluster, call)?;
    let patience = patience(cluster, call);
    spawn(cluster, call, "qmreboot", Power::Reboot { patience })
}

pub(in crate::sim) fn reset(cluster: &mut Cluster, call: &Call) -> Outcome {
    need_running(cluster, call)?;
    spawn(cluster, call, "qmreset", Power::Reset)
}

pub(in crate::sim) fn suspend(cluster: &mut Cluster, call: &Call) -> Outcome {
    need_running(cluster, call)?;
    if call.flag("todisk") {
        return unsupported();
    }
    spawn(cluster, call, "qmpause", Power::Pause)
}

pub(in crate::sim) fn resume(cluster: &mut Cluster, call: &Call) -> Outcome {
    need_running(cluster, call)?;
    spawn(cluster, call, "qmresume", Power::Resume)
}

pub(super) fn begin(cluster: &mut Cluster, task: usize, vmid: u32, power: Power) -> Result<u64, String> {
    let times = cluster.spec.tasks.clone();
    if power == Power::Start {
        let guest = of_task(cluster, task, vmid)?;
        check_lock(&guest.config).map_err(super::text)?;
        if guest.config.flag("template") {
            return Err("you can't start a vm if it's a template".to_owned());
        }
        if guest.running.is_some() {
            return Err(format!("VM {vmid} already running"));
        }
        mapping::check_start(cluster, &guest.node, &guest.config.current)?;
        return Ok(times.start);
    }
    // Stopping what is not there, or does not run, is done at once.
    let Some(guest) = cluster.guests.get(&vmid) else { return Ok(0) };
    if guest.running.is_none() {
        return Ok(0);
    }
    check_lock(&guest.config).map_err(super::text)?;
    Ok(match power {
        Power::Shutdown { patience, .. } => times.shutdown.min(patience),
        Power::Reboot { patience } if times.shutdown > patience => patience,
        Power::Reboot { .. } => times.shutdown + times.start,
        Power::Stop => times.stop,
        _ => times.config,
    })
}

pub(super) fn finish(cluster: &mut Cluster, task: usize, vmid: u32, power: Power) -> Result<(), String> {
    let node = cluster.tasks[task].node.clone();
    let now = cluster.clock;
    if power == Power::Start {
        apply::apply_pending(cluster, &node, vmid).map_err(super::text)?;
        boot(cluster, vmid, now);
        return Ok(());
    }
    let takes = cluster.spec.tasks.shutdown;
    let Some(guest) = cluster.guests.get_mut(&vmid).filter(|guest| guest.running.is_some()) else { return Ok(()) };
    if let Power::Shutdown { patience, force: false } | Power::Reboot { patience } = power
        && takes > patience
    {
        return Err("VM quit/powerdown failed - got timeout".to_owned());
    }
    match power {
        Power::Pause | Power::Resume => {
            if let Some(running) = guest.running.as_mut() {
                running.paused = power == Power::Pause;
            }
        }
        Power::Reset => {
            if let Some(running) = guest.running.as_mut() {
                running.since = now;
            }
        }
        Power::Stop | Power::Shutdown { .. } => {
            guest.running = None;
            apply::apply_pending(cluster, &node, vmid).map_err(super::text)?;
        }
        Power::Reboot { .. } | Power::Start => {
            guest.running = None;
            apply::apply_pending(cluster, &node, vmid).map_err(super::text)?;
            boot(cluster, vmid, now);
        }
    }
    Ok(())
}

fn boot(cluster: &mut Cluster, vmid: u32, now: u64) {
    cluster.next_pid += 1;
    let pid = cluster.next_pid;
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        guest.running = Some(Running { since: now, pid, paused: false });
    }
}
