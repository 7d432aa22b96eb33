//! Starting and stopping containers. Unlike with VMs, the state is checked before the answer.

use super::{What, Work, of_task, update};
use crate::pve::value::GuestKind;
use crate::sim::answer::{Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::guest::{Running, check_lock};
use crate::sim::route::Call;
use crate::sim::task::{HaOrder, Work as TaskWork};

/// What is done to a container's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(in crate::sim) enum Power {
    Start,
    Stop,
    /// Asking it to end, for so many milliseconds; then stopping it, or giving up.
    Shutdown {
        patience: u64,
        force: bool,
    },
    Reboot,
}

fn runs(cluster: &Cluster, call: &Call) -> bool {
    cluster.guests.get(&call.vmid()).is_some_and(|guest| guest.node == call.node && guest.running.is_some())
}

fn spawn(cluster: &mut Cluster, call: &Call, kind: &str, power: Power) -> Outcome {
    let vmid = call.vmid();
    if call.flag("skiplock") && !call.subject.is_root() {
        return Err(Failure::parameter("skiplock", "Only root may use this option."));
    }
    if power == Power::Start && runs(cluster, call) {
        return Err(Failure::die(format!("CT {vmid} already running")));
    }
    if power != Power::Start && !runs(cluster, call) {
        // Proxmox's own word at a reboot.
        let noun = if power == Power::Reboot { "VM" } else { "CT" };
        return Err(Failure::die(format!("{noun} {vmid} not running")));
    }
    if power != Power::Reboot && cluster.is_ha_managed(GuestKind::Lxc, vmid) {
        let start = power == Power::Start;
        let (kind, order, word) =
            if start { ("hastart", HaOrder::Start, "start") } else { ("hastop", HaOrder::Stop, "stop") };
        let work = TaskWork::Ha { vmid, order, text: format!("Requesting HA {word} for CT {vmid}") };
        return Ok(cluster.start_task(&call.subject, &call.node, kind, &vmid.to_string(), work));
    }
    let work = TaskWork::Lxc(Work { vmid, what: What::Power(power) });
    Ok(cluster.start_task(&call.subject, &call.node, kind, &vmid.to_string(), work))
}

pub(in crate::sim) fn start(cluster: &mut Cluster, call: &Call) -> Outcome {
    spawn(cluster, call, "vzstart", Power::Start)
}

pub(in crate::sim) fn stop(cluster: &mut Cluster, call: &Call) -> Outcome {
    spawn(cluster, call, "vzstop", Power::Stop)
}

pub(in crate::sim) fn shutdown(cluster: &mut Cluster, call: &Call) -> Outcome {
    let patience = call.number("timeout").unwrap_or(60) * 1000;
    spawn(cluster, call, "vzshutdown", Power::Shutdown { patience, force: call.flag("forceStop") })
}

pub(in crate::sim) fn reboot(cluster: &mut Cluster, call: &Call) -> Outcome {
    spawn(cluster, call, "vzreboot", Power::Reboot)
}

pub(super) fn begin(cluster: &mut Cluster, task: usize, vmid: u32, power: Power) -> Result<u64, String> {
    let guest = of_task(cluster, task, vmid)?;
    check_lock(&guest.config).map_err(|failure| failure.text())?;
    if power == Power::Start {
        if guest.config.flag("template") {
            return Err("you can't start a CT if it's a template".to_owned());
        }
        if guest.running.is_some() {
            return Err(format!("CT {vmid} already running"));
        }
    }
    let times = &cluster.spec.tasks;
    Ok(match power {
        Power::Start => times.start,
        Power::Stop => times.stop,
        Power::Shutdown { patience, .. } => times.shutdown.min(patience),
        Power::Reboot => times.shutdown + times.start,
    })
}

pub(super) fn finish(cluster: &mut Cluster, task: usize, vmid: u32, power: Power) -> Result<(), String> {
    let node = cluster.tasks[task].node.clone();
    if let Power::Shutdown { patience, force: false } = power
        && cluster.spec.tasks.shutdown > patience
    {
        return Err(format!("command 'lxc-stop -n {vmid} --timeout {}' failed: exit code 1", patience / 1000));
    }
    if power != Power::Start
        && let Some(guest) = cluster.guests.get_mut(&vmid)
    {
        guest.running = None;
    }
    update::apply_pending(cluster, &node, vmid);
    if matches!(power, Power::Start | Power::Reboot) {
        cluster.next_pid += 1;
        let (pid, since) = (cluster.next_pid, cluster.clock);
        if let Some(guest) = cluster.guests.get_mut(&vmid) {
            guest.running = Some(Running { since, pid, paused: false });
        }
    }
    Ok(())
}
