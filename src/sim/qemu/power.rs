//! Starting and stopping VMs.

use super::{What, Work, apply, of_task, vmstate};
use crate::pve::value::GuestKind;
use crate::sim::answer::{Failure, Outcome};
use crate::sim::calendar;
use crate::sim::cluster::Cluster;
use crate::sim::guest::{Running, check_lock, sub_key};
use crate::sim::route::Call;
use crate::sim::section::mapping;
use crate::sim::task::{HaOrder, Work as TaskWork};

/// What is done to a VM's process.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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
    /// Saving the state on a storage and ending the process.
    Hibernate(String),
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
    let (kind, order, word) =
        if start { ("hastart", HaOrder::Start, "start") } else { ("hastop", HaOrder::Stop, "stop") };
    let work = TaskWork::Ha { vmid, order, text: format!("Requesting HA {word} for VM {vmid}") };
    Ok(cluster.start_task(&call.subject, &call.node, kind, &vmid.to_string(), work))
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
    let guest = cluster.guest(GuestKind::Qemu, call.vmid(), &call.node);
    if guest.is_ok_and(|guest| guest.running.as_ref().is_some_and(|running| running.paused)) {
        return Err(Failure::die("VM is paused - cannot shutdown"));
    }
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
    if call.flag("skiplock") && !call.subject.is_root() {
        return Err(Failure::parameter("skiplock", "Only root may use this option."));
    }
    if !call.flag("todisk") {
        return spawn(cluster, call, "qmpause", Power::Pause);
    }
    let vmid = call.vmid();
    if cluster.is_ha_managed(GuestKind::Qemu, vmid) {
        return Err(Failure::die("Cannot suspend HA managed VM to disk"));
    }
    cluster.check_guest(&call.subject, vmid).need(&format!("/vms/{vmid}"), &["VM.Config.Disk"])?;
    let config = &cluster.guest(GuestKind::Qemu, vmid, &call.node)?.config;
    if config.current.keys().any(|key| key.starts_with("hostpci")) {
        let text = "cannot suspend VM to disk due to passed-through PCI device(s), which lack the possibility to \
                    save/restore their internal state";
        return Err(Failure::die(text));
    }
    let storage = call.get("statestorage").map_or_else(|| vmstate::storage(cluster, config), str::to_owned);
    let path = format!("/storage/{storage}");
    cluster.check_for(&call.subject, &path).need(&path, &["Datastore.AllocateSpace"])?;
    spawn(cluster, call, "qmsuspend", Power::Hibernate(storage))
}

pub(in crate::sim) fn resume(cluster: &mut Cluster, call: &Call) -> Outcome {
    for name in ["skiplock", "nocheck"] {
        if call.flag(name) && !call.subject.is_root() {
            return Err(Failure::parameter(name, "Only root may use this option."));
        }
    }
    let guest = cluster.guests.get(&call.vmid());
    if guest.is_some_and(|guest| guest.node == call.node && guest.config.lock() == Some("suspended")) {
        return spawn(cluster, call, "qmresume", Power::Start);
    }
    need_running(cluster, call)?;
    spawn(cluster, call, "qmresume", Power::Resume)
}

pub(super) fn begin(cluster: &mut Cluster, task: usize, vmid: u32, power: &Power) -> Result<u64, String> {
    let times = cluster.spec.tasks.clone();
    if *power == Power::Start {
        let guest = of_task(cluster, task, vmid)?;
        if guest.config.flag("template") {
            return Err("you can't start a vm if it's a template".to_owned());
        }
        // Starting is how a VM comes out of hibernation.
        if guest.config.lock() != Some("suspended") {
            check_lock(&guest.config).map_err(super::text)?;
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
    if let Power::Hibernate(storage) = power {
        vmstate::check(&guest.config).map_err(super::text)?;
        let (node, mut config) = (guest.node.clone(), guest.config.reread());
        let mut section = config.current.clone();
        let name = format!("suspend-{}", calendar::day(cluster.unix_time()));
        vmstate::save(cluster, (&node, vmid), &config, &mut section, (storage, &name)).map_err(super::text)?;
        section.insert("lock".to_owned(), "suspending".to_owned());
        config.current = section;
        apply::store(cluster, vmid, config);
        return Ok(times.snapshot);
    }
    Ok(match power {
        Power::Shutdown { patience, .. } => times.shutdown.min(*patience),
        Power::Reboot { patience } if times.shutdown > *patience => *patience,
        Power::Reboot { .. } => times.shutdown + times.start,
        Power::Stop => times.stop,
        _ => times.config,
    })
}

pub(super) fn finish(cluster: &mut Cluster, task: usize, vmid: u32, power: Power) -> Result<(), String> {
    let node = cluster.tasks[task].node.clone();
    let now = cluster.clock;
    if power == Power::Start {
        return start_now(cluster, task, &node, vmid);
    }
    let takes = cluster.spec.tasks.shutdown;
    let Some(guest) = cluster.guests.get_mut(&vmid).filter(|guest| guest.running.is_some()) else { return Ok(()) };
    if let Power::Shutdown { patience, force: false } | Power::Reboot { patience } = power
        && takes > patience
    {
        return Err("VM quit/powerdown failed - got timeout".to_owned());
    }
    match power {
        Power::Hibernate(_) => {
            guest.running = None;
            let mut config = guest.config.reread();
            config.current.insert("lock".to_owned(), "suspended".to_owned());
            guest.config = config;
            cluster.log(task, "State saved, quitting");
        }
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

/// Starts a VM; one that hibernated goes on where it was, and its state is removed.
fn start_now(cluster: &mut Cluster, task: usize, node: &str, vmid: u32) -> Result<(), String> {
    let config = &of_task(cluster, task, vmid)?.config;
    let state = config.current.get("vmstate").cloned();
    let now = cluster.clock;
    if state.is_none() && config.lock() != Some("suspended") {
        apply::apply_pending(cluster, node, vmid).map_err(super::text)?;
        boot(cluster, vmid, now);
        return Ok(());
    }
    cluster.log(task, "Resuming suspended VM");
    if let Some(state) = state {
        cluster.log(task, format!("activating and using '{state}' as vmstate"));
        cluster.storages.remove(&state, node);
    }
    cluster.log(task, "Resumed VM, removing state");
    let mut config = of_task(cluster, task, vmid)?.config.reread();
    config.current.retain(|key, _| key != "lock" && !vmstate::KEYS.contains(&key.as_str()));
    apply::store(cluster, vmid, config);
    boot(cluster, vmid, now);
    Ok(())
}

/// Starts a VM from a snapshot's state, which stays.
pub(in crate::sim) fn resume_from_state(cluster: &mut Cluster, vmid: u32) {
    let now = cluster.clock;
    boot(cluster, vmid, now);
}

fn boot(cluster: &mut Cluster, vmid: u32, now: u64) {
    cluster.next_pid += 1;
    let pid = cluster.next_pid;
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        guest.running = Some(Running { since: now, pid, paused: false });
    }
}
