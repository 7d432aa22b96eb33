//! Moving a VM's disk: to another storage, or to another VM.

use super::{What, Work, apply, drive, of_task, update};
use crate::pve::value::GuestKind;
use crate::sim::answer::{Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::config::{Config, Section};
use crate::sim::guest::{check_lock, is_drive, is_unused, sub_key, volume_of};
use crate::sim::progress;
use crate::sim::route::Call;
use crate::sim::task::Work as TaskWork;
use crate::sim::volume::{Family, Purpose, format_of};

/// Where a disk goes.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(in crate::sim) struct Move {
    disk: String,
    storage: String,
    format: Option<String>,
    delete: bool,
    digest: Option<String>,
    bwlimit: Option<u64>,
    /// The volume that the worker made, and the command that fills it.
    made: Option<(String, String)>,
}

impl Move {
    pub(super) fn storage(&self) -> &str {
        &self.storage
    }
}

/// Which VM a disk is given to, and under which key.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(in crate::sim) struct Reassign {
    disk: String,
    pub(super) target: u32,
    target_disk: String,
    digest: Option<String>,
    target_digest: Option<String>,
}

const MODIFIED: &str = "detected modified configuration - file changed by other user? Try again.";

pub(in crate::sim) fn move_disk(cluster: &mut Cluster, call: &Call) -> Outcome {
    let both = |text: &str| {
        let names = ["storage", "target-vmid"].map(|name| (name.to_owned(), text.to_owned()));
        Err(Failure::Parameters(names.into()))
    };
    match (call.get("storage"), call.get("target-vmid")) {
        (None, None) => both("both 'storage' and 'target-vmid' missing, either needs to be set"),
        (Some(_), Some(_)) => both("either set 'storage' or 'target-vmid', but not both"),
        (None, Some(_)) => reassign(cluster, call),
        (Some(_), None) => to_storage(cluster, call),
    }
}

fn to_storage(cluster: &mut Cluster, call: &Call) -> Outcome {
    let text = |name: &str| call.get(name).unwrap_or_default().to_owned();
    let plan = Move {
        disk: text("disk"),
        storage: text("storage"),
        format: call.get("format").map(str::to_owned),
        delete: call.flag("delete"),
        digest: call.get("digest").map(str::to_owned),
        bwlimit: call.number("bwlimit").filter(|limit| *limit > 0),
        made: None,
    };
    let path = format!("/storage/{}", plan.storage);
    cluster.check_for(&call.subject, &path).need(&path, &["Datastore.AllocateSpace"])?;
    let vmid = call.vmid();
    check_move(cluster, &call.node, vmid, &plan)?;
    let work = TaskWork::Qemu(Work { vmid, what: What::Move(plan) });
    Ok(cluster.start_task(&call.subject, &call.node, "qmmove", &vmid.to_string(), work))
}

/// True where a snapshot names the volume.
fn in_snapshot(config: &Config, volid: &str) -> bool {
    let names = |section: &Section| section.iter().any(|(key, value)| is_drive(key) && volume_of(value) == Some(volid));
    config.snapshots.values().any(names)
}

/// What is checked before the answer and again by the worker; the drive's value.
fn check_move(cluster: &Cluster, node: &str, vmid: u32, plan: &Move) -> Result<String, Failure> {
    let config = &cluster.guest(GuestKind::Qemu, vmid, node)?.config;
    check_lock(config)?;
    if plan.digest.as_ref().is_some_and(|digest| *digest != config.digest()) {
        return Err(Failure::die(MODIFIED));
    }
    let missing = || Failure::die(format!("disk '{}' does not exist", plan.disk));
    let value = config.current.get(&plan.disk).ok_or_else(missing)?;
    if drive::is_cdrom(value) && !drive::is_cloudinit_drive(value) {
        return Err(Failure::die("you can't move a cdrom"));
    }
    let volid = volume_of(value).unwrap_or_default();
    let storage = plan.storage.as_str();
    let same_format = plan.format.as_ref().is_none_or(|format| format == format_of(volid));
    if volid.split(':').next() == Some(storage) && same_format {
        return Err(Failure::die("you can't move to the same storage with same format"));
    }
    let spec = cluster.storages.find_on(storage, node)?;
    if !spec.content.iter().any(|kind| kind == "images") {
        return Err(Failure::parameter("storage", format!("storage '{storage}' does not support vm images")));
    }
    if plan.delete && in_snapshot(config, volid) {
        return Err(Failure::die("you can't move a disk with snapshots and delete the source"));
    }
    Ok(value.clone())
}

/// Makes the new volume and begins to copy.
pub(super) fn begin(cluster: &mut Cluster, task: usize, vmid: u32, plan: &mut Move) -> Result<u64, String> {
    let node = cluster.tasks[task].node.clone();
    let old = check_move(cluster, &node, vmid, plan).map_err(super::text)?;
    let runs = cluster.guests.get(&vmid).is_some_and(|guest| guest.running.is_some());
    let volid = volume_of(&old).unwrap_or_default().to_owned();
    let from = volid.split(':').next().unwrap_or_default();
    let to = plan.storage.as_str();
    cluster.log(task, format!("copying volume '{volid}' from current storage '{from}' to target storage '{to}'"));
    let failed = |text: String| format!("storage migration failed: {text}");
    let size = cluster.storages.size_of(&volid, &node);
    let size = size.ok_or_else(|| failed(format!("volume '{volid}' does not exist")))?;
    let size = drive::copied_size(&plan.disk, size);
    let format = plan.format.clone().unwrap_or_else(|| format_of(&volid).to_owned());
    let purpose = if drive::is_cloudinit_drive(&old) { Purpose::CloudInit } else { Purpose::Disk };
    let ctime = cluster.unix_time();
    let made = cluster.storages.allocate((to, &node), vmid, purpose, Some(&format), (size, ctime));
    let made = made.map_err(|failure| failed(failure.text()))?;
    if cluster.guests.get(&vmid).is_some_and(|guest| in_snapshot(&guest.config, &volid)) {
        cluster.log(task, "moving disk with snapshots, snapshots will not be moved!");
    }
    let mut lines = vec![format!("create full clone of drive {} ({volid})", plan.disk)];
    if cluster.storages.family(to) != Family::Files && format != "raw" && plan.format.is_some() {
        lines.push(format!("format '{format}' is not supported by the target storage '{to}' - using 'raw' instead"));
    }
    lines.extend(cluster.storages.made_text(&made, size));
    if cluster.access.release() >= 9 {
        lines.push(format!("allocated target volume '{made}'"));
    }
    if runs {
        lines.push(format!("drive mirror is starting for drive-{}", plan.disk));
    }
    let command = cluster.storages.convert_command(&volid, &made, plan.bwlimit);
    let limited = plan.bwlimit.map_or(0, |limit| size / 10 * 1000 / (limit * 1024));
    let duration = cluster.spec.tasks.move_volume.max(limited);
    let figures = (!runs).then_some(size);
    cluster.tasks[task].progress = progress::spread(vec![(lines, figures)], cluster.clock, duration);
    plan.made = Some((made, command));
    Ok(duration)
}

/// A move that is stopped leaves nothing.
pub(super) fn abort(cluster: &mut Cluster, node: &str, vmid: u32, plan: &Move) -> String {
    let Some((made, command)) = &plan.made else { return "received interrupt".to_owned() };
    cluster.storages.remove(made, node);
    if cluster.guests.get(&vmid).is_some_and(|guest| guest.running.is_some()) {
        return "storage migration failed: mirroring error: interrupted by signal".to_owned();
    }
    format!("storage migration failed: copy failed: command '{command}' failed: interrupted by signal")
}

pub(super) fn finish(cluster: &mut Cluster, task: usize, vmid: u32, plan: &Move) -> Result<(), String> {
    let node = cluster.tasks[task].node.clone();
    let Some((made, _)) = plan.made.clone() else { return Ok(()) };
    let guest = of_task(cluster, task, vmid)?;
    let (runs, mut config) = (guest.running.is_some(), guest.config.reread());
    let parsed = config.current.get(&plan.disk).and_then(|old| Some((old.clone(), drive::parse(&plan.disk, old)?)));
    let Some((old, mut parsed)) = parsed else {
        cluster.storages.remove(&made, &node);
        return Err(format!("storage migration failed: disk '{}' does not exist", plan.disk));
    };
    if runs {
        let name = format!("drive-{}", plan.disk);
        cluster.log(task, "all 'mirror' jobs are ready");
        cluster.log(task, format!("{name}: Completing block job..."));
        cluster.log(task, format!("{name}: Completed successfully."));
        cluster.log(task, format!("{name}: mirror-job finished"));
    }
    let volid = volume_of(&old).unwrap_or_default().to_owned();
    let made = if config.flag("template") { cluster.storages.make_base(&made, &node) } else { made };
    parsed.insert("file".to_owned(), made);
    drive::with_size(cluster, &node, &mut parsed);
    if sub_key(&old, "format").is_some() {
        parsed.remove("format");
    }
    config.current.insert(plan.disk.clone(), drive::print(&plan.disk, &parsed));
    if drive::is_cloudinit_drive(&old) && !plan.delete {
        cluster.log(task, format!("found unused cloudinit disk '{volid}', removing it"));
        cluster.storages.remove(&volid, &node);
    } else if plan.delete {
        cluster.log(task, format!("removing source volume '{volid}' after successful copy"));
        if cluster.storages.is_in_use(&volid, &node) {
            let name = volid.split_once(':').map_or("", |(_, name)| name);
            cluster.log(task, format!("base volume '{name}' is still in use by linked clones"));
        } else {
            cluster.storages.remove(&volid, &node);
        }
    } else {
        // Unlike with a change of options, a snapshot that names the volume does not matter.
        let key = apply::add_unused(&mut config, &volid);
        cluster.log(task, format!("adding source volume '{volid}' as '{}' to config", key.unwrap_or_default()));
    }
    apply::store(cluster, vmid, config);
    Ok(())
}

fn reassign(cluster: &mut Cluster, call: &Call) -> Outcome {
    let vmid = call.vmid();
    let target = u32::try_from(call.number("target-vmid").unwrap_or(0)).unwrap_or(0);
    let disk = call.get("disk").unwrap_or_default().to_owned();
    let plan = Reassign {
        target,
        target_disk: call.get("target-disk").map_or_else(|| disk.clone(), str::to_owned),
        disk,
        digest: call.get("digest").map(str::to_owned),
        target_digest: call.get("target-digest").map(str::to_owned),
    };
    cluster.check_guest(&call.subject, target).need(&format!("/vms/{target}"), &["VM.Config.Disk"])?;
    if target == vmid {
        return Err(Failure::parameter("target-vmid", "must be different than source VMID to reassign disk"));
    }
    let value = check_reassign(cluster, &call.node, vmid, &plan)?;
    let path = format!("/storage/{}", value.split(':').next().unwrap_or_default());
    cluster.check_for(&call.subject, &path).need(&path, &["Datastore.AllocateSpace"])?;
    let id = format!("{vmid}-{}>{target}-{}", plan.disk, plan.target_disk);
    let work = TaskWork::Qemu(Work { vmid, what: What::Reassign(plan) });
    Ok(cluster.start_task(&call.subject, &call.node, "qmmove", &id, work))
}

/// What is checked before the answer and again by the worker; the drive's value.
fn check_reassign(cluster: &Cluster, node: &str, vmid: u32, plan: &Reassign) -> Result<String, Failure> {
    let die = |text: String| Err(Failure::die(text));
    let Reassign { disk, target, target_disk, .. } = plan;
    let place = |id: u32| cluster.guests.get(&id).map(|guest| guest.node.as_str());
    let Some(source_node) = place(vmid) else { return die(format!("could not find VM {vmid}")) };
    let Some(target_node) = place(*target) else { return die(format!("could not find target VM {target}")) };
    if source_node != target_node {
        return die(format!("Both VMs need to be on the same node ({source_node} != {target_node})"));
    }
    let guest = cluster.guest(GuestKind::Qemu, vmid, node)?;
    check_lock(&guest.config)?;
    let other = cluster.guest(GuestKind::Qemu, *target, node)?;
    check_lock(&other.config)?;
    if guest.config.flag("template") || other.config.flag("template") {
        return die("Can't move disks from or to template VMs".to_owned());
    }
    for (id, digest, config) in [(vmid, &plan.digest, &guest.config), (*target, &plan.target_digest, &other.config)] {
        if digest.as_ref().is_some_and(|digest| *digest != config.digest()) {
            return die(format!("VM {id}: {MODIFIED}"));
        }
    }
    let Some(value) = guest.config.current.get(disk) else {
        return die(format!("Disk '{disk}' for VM '{vmid}' does not exist"));
    };
    if other.config.current.contains_key(target_disk) {
        return die(format!("Target disk key '{target_disk}' is already in use for VM '{target}'"));
    }
    if drive::is_cdrom(value) {
        return die("CD drive contents can't be moved to another VM".to_owned());
    }
    let file = value.split(',').next().unwrap_or_default();
    let Some(volid) = volume_of(value) else { return die(format!("Volume '{file}' not managed by PVE")) };
    if in_snapshot(&guest.config, volid) {
        return die("Can't move disk used by a snapshot to another VM".to_owned());
    }
    if !cluster.storages.can_rename(volid) {
        return die("Storage does not support moving of this disk to another VM".to_owned());
    }
    if guest.running.is_some() && !is_unused(disk) {
        return die("Cannot move disk to another VM while the source VM is running - detach first".to_owned());
    }
    if !is_unused(target_disk) && drive::parse(target_disk, value).is_none() {
        return die("failed to parse source disk for target disk format - ".to_owned());
    }
    Ok(value.clone())
}

pub(super) fn finish_reassign(cluster: &mut Cluster, task: usize, vmid: u32, plan: &Reassign) -> Result<(), String> {
    let node = cluster.tasks[task].node.clone();
    let value = check_reassign(cluster, &node, vmid, plan).map_err(super::text)?;
    let Reassign { disk, target, target_disk, .. } = plan;
    cluster.log(task, format!("reassign disk '{disk}' from VM '{vmid}' as '{target_disk}' to VM '{target}'"));
    let volid = volume_of(&value).unwrap_or_default().to_owned();
    let given = cluster.storages.give(&volid, &node, *target);
    let mut config = of_task(cluster, task, vmid)?.config.reread();
    if let Some(mut order) = update::boot_order(&config).filter(|order| order.contains(disk)) {
        cluster.log(task, format!("removing disk '{disk}' from boot order config"));
        order.retain(|key| key != disk);
        config.current.insert("boot".to_owned(), update::print_order(&order));
    }
    config.current.remove(disk);
    cluster.log(task, format!("removing disk '{disk}' from VM '{vmid}' config"));
    apply::store(cluster, vmid, config);
    if is_unused(target_disk) {
        let mut config = cluster.guest(GuestKind::Qemu, *target, &node).map_err(super::text)?.config.reread();
        config.current.insert(target_disk.clone(), given);
        apply::store(cluster, *target, config);
        return Ok(());
    }
    let mut parsed = drive::parse(target_disk, &value).unwrap_or_default();
    parsed.insert("file".to_owned(), given);
    let mut log = Vec::new();
    let change = update::Change::setting(target_disk, drive::print(target_disk, &parsed));
    let done = update::carry_out(cluster, &node, *target, &change, &mut log);
    for line in log {
        cluster.log(task, line);
    }
    done.map_err(super::text)
}
