//! Cloning a VM.

use super::{What, Work, drive, of_task, permit};
use crate::pve::schema::split_index;
use crate::pve::value::{GuestKind, Size, storage_of};
use crate::sim::answer::{Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::config::{Config, Section, is_true};
use crate::sim::guest::{Guest, check_lock, is_drive, is_unused, sub_key, volume_of};
use crate::sim::progress;
use crate::sim::route::Call;
use crate::sim::task::Work as TaskWork;
use crate::sim::volume::{Family, Purpose, format_of};

/// What a clone is to become.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(in crate::sim) struct Plan {
    pub(super) newid: u32,
    full: bool,
    target: String,
    name: Option<String>,
    description: Option<String>,
    pool: Option<String>,
    storage: Option<String>,
    format: Option<String>,
    bwlimit: Option<u64>,
    source: Section,
    /// The volumes that were made, the drives as they will stand, and what copies them.
    made: Vec<String>,
    drives: Section,
    commands: Vec<String>,
}

pub(in crate::sim) fn clone(cluster: &mut Cluster, call: &Call) -> Outcome {
    let vmid = call.vmid();
    let newid = u32::try_from(call.number("newid").unwrap_or(0)).unwrap_or(0);
    let node = call.node.clone();
    if let Some(pool) = call.get("pool").filter(|pool| !cluster.pools.contains_key(*pool)) {
        return Err(Failure::Permission(format!("pool '{pool}' does not exist")));
    }
    let target = call.get("target").unwrap_or(&node).to_owned();
    if !cluster.spec.nodes.iter().any(|spec| spec.name == target) {
        return Err(Failure::die(format!("no such cluster node '{target}'")));
    }
    if let Some(storage) = call.get("storage") {
        let path = format!("/storage/{storage}");
        cluster.check_for(&call.subject, &path).need(&path, &["Datastore.AllocateSpace"])?;
        cluster.storages.find(storage)?;
        if target != node && !cluster.storages.is_shared(storage) {
            return Err(Failure::die(format!("can't clone to non-shared storage '{storage}'")));
        }
    }
    let missing = || Failure::die(format!("unable to find configuration file for VM {vmid} on node '{node}'"));
    let guest = cluster.guest(GuestKind::Qemu, vmid, &node).map_err(|_| missing())?;
    check_lock(&guest.config)?;
    let source = match call.get("snapname") {
        Some(name) => guest.config.snapshots.get(name).cloned(),
        None => Some(guest.config.current.clone()),
    };
    let snapname = call.get("snapname").unwrap_or_default();
    let source = source.ok_or_else(|| Failure::die(format!("snapshot '{snapname}' does not exist")))?;
    let full = call.get("full").map_or(!guest.config.flag("template"), |full| full == "1");
    for name in ["storage", "format"] {
        if !full && call.get(name).is_some() {
            return Err(Failure::die(format!("parameter '{name}' not allowed for linked clones")));
        }
    }
    if cluster.guests.get(&newid).is_some_and(|guest| guest.node == node) {
        return Err(Failure::die(format!("unable to create VM {newid}: config file already exists")));
    }
    let check = cluster.check_guest(&call.subject, vmid);
    for (key, value) in &source {
        let stem = split_index(key).map_or("", |(stem, _)| stem);
        // Raw devices of the host are root's, also by way of a copy.
        if matches!(stem, "usb" | "hostpci") {
            permit::option(check, vmid, key, Some(value), None)?;
        }
        permit::bridge(check, key, value)?;
    }
    for (key, value) in &source {
        let Some(volid) = volume_of(value).filter(|_| is_drive(key)) else { continue };
        if drive::is_cdrom(value) && !drive::is_cloudinit_drive(value) {
            continue;
        }
        let storage = volid.split(':').next().unwrap_or(volid);
        if target != node && !cluster.storages.is_shared(storage) {
            return Err(Failure::die(format!("can't clone VM to node '{target}' (VM uses local storage)")));
        }
        let copied = full || key == "tpmstate0" || drive::is_cloudinit_drive(value);
        let from_snapshot = call.get("snapname").is_some() && cluster.storages.can_link_snapshot(volid);
        if !copied && !from_snapshot && !cluster.storages.can_link(GuestKind::Qemu, volid) {
            return Err(Failure::die(format!("Linked clone feature is not supported for '{volid}' ({key})")));
        }
        let path = format!("/storage/{}", call.get("storage").unwrap_or(storage));
        cluster.check_for(&call.subject, &path).need(&path, &["Datastore.AllocateSpace"])?;
    }
    let text = |name: &str| call.get(name).map(str::to_owned);
    let plan = Plan {
        newid,
        full,
        target,
        name: text("name"),
        description: text("description"),
        pool: text("pool"),
        storage: text("storage"),
        format: text("format"),
        bwlimit: call.number("bwlimit").filter(|limit| *limit > 0),
        source,
        made: Vec::new(),
        drives: Section::new(),
        commands: Vec::new(),
    };
    let work = TaskWork::Qemu(Work { vmid, what: What::Clone(Box::new(plan)) });
    Ok(cluster.start_task(&call.subject, &node, "qmclone", &vmid.to_string(), work))
}

/// The id is taken only now, by the worker; the new volumes are made before anything is copied.
pub(super) fn begin(cluster: &mut Cluster, task: usize, vmid: u32, plan: &mut Plan) -> Result<u64, String> {
    let (node, newid) = (cluster.tasks[task].node.clone(), plan.newid);
    match cluster.guests.get(&newid) {
        Some(other) if other.node == node => {
            return Err(format!("unable to create VM {newid}: config file already exists"));
        }
        Some(_) => {
            return Err(format!("unable to open file '/etc/pve/nodes/{node}/qemu-server/{newid}.conf' - File exists"));
        }
        None => {}
    }
    let mut config = Config::new(GuestKind::Qemu);
    config.current.insert("description".to_owned(), " qmclone temporary file".to_owned());
    config.current.insert("lock".to_owned(), "clone".to_owned());
    cluster.guests.insert(newid, Guest { node: node.clone(), config, running: None });
    if cluster.access.release() >= 9 {
        cluster.log(task, format!("creating a clone of VM {vmid} with ID {newid}"));
    }
    let times = &cluster.spec.tasks;
    let duration = match plan.bwlimit.filter(|_| plan.full) {
        Some(limit) => times.clone_full.max(copied_bytes(plan) * 1000 / (limit * Size::KIB)),
        None if plan.full => times.clone_full,
        None => times.clone_linked,
    };
    let mut copies = Vec::new();
    for (key, value) in plan.source.clone() {
        if is_drive(&key)
            && let Err(text) = copy_drive(cluster, &node, plan, &key, &value, &mut copies)
        {
            drop(abort(cluster, &node, plan));
            return Err(text);
        }
    }
    cluster.tasks[task].progress = progress::spread(copies, cluster.clock, duration);
    Ok(duration)
}

/// The storages of the copies, once for each.
pub(super) fn made_on(plan: &Plan) -> Vec<String> {
    let drives = plan.source.iter().filter(|(key, _)| is_drive(key));
    let copied = drives.filter(|(_, value)| drive::is_cloudinit_drive(value) || !drive::is_cdrom(value));
    let storages = copied.filter_map(|(_, value)| storage_of(volume_of(value)?));
    storages.map(|own| plan.storage.as_deref().unwrap_or(own).to_owned()).collect()
}

/// What a full copy moves: disks are a tenth full here.
fn copied_bytes(plan: &Plan) -> u64 {
    let sizes = plan.source.iter().filter(|(key, _)| is_drive(key)).filter_map(|(_, value)| sub_key(value, "size"));
    sizes.filter_map(Size::parse_proxmox).map(|size| size.0).sum::<u64>() / 10
}

/// What is taken away when the worker is stopped, or fails.
pub(super) fn abort(cluster: &mut Cluster, node: &str, plan: &Plan) -> String {
    let temporary = cluster.guests.get(&plan.newid).is_some_and(|guest| guest.config.lock() == Some("clone"));
    if temporary {
        cluster.guests.remove(&plan.newid);
        for volid in &plan.made {
            cluster.storages.remove(volid, node);
        }
    }
    match plan.commands.first() {
        Some(command) => format!("clone failed: copy failed: command '{command}' failed: interrupted by signal"),
        None => "clone failed: interrupted by signal".to_owned(),
    }
}

pub(super) fn finish(cluster: &mut Cluster, task: usize, vmid: u32, plan: &Plan) -> Result<(), String> {
    let node = cluster.tasks[task].node.clone();
    if let Err(text) = of_task(cluster, task, vmid) {
        drop(abort(cluster, &node, plan));
        return Err(format!("clone failed: {text}"));
    }
    let mut config = Config::new(GuestKind::Qemu);
    for (key, value) in &plan.source {
        let dropped = is_unused(key)
            || matches!(
                key.as_str(),
                "parent" | "template" | "lock" | "vmstate" | "snaptime" | "snapstate" | "runningmachine" | "runningcpu"
            );
        if !dropped {
            let copied = plan.drives.get(key).unwrap_or(value).clone();
            config.current.insert(key.clone(), copied);
        }
    }
    if cluster.guests.get(&vmid).is_some_and(|guest| !guest.config.pending.is_empty()) {
        cluster.log(task, "found pending changes, discarding for clone");
    }
    for (key, value) in config.current.iter_mut() {
        if split_index(key).is_some_and(|(stem, _)| stem == "net") {
            let prefix = cluster.spec.datacenter.get("mac_prefix").map_or("BC:24:11", String::as_str);
            let mac = cluster.chance.mac(prefix);
            *value = with_mac(value, &mac);
        }
    }
    let uuid = cluster.chance.uuid();
    let smbios = config.current.get("smbios1").cloned().unwrap_or_default();
    let mut parts: Vec<String> =
        smbios.split(',').filter(|part| !part.is_empty() && !part.starts_with("uuid=")).map(str::to_owned).collect();
    parts.push(format!("uuid={uuid}"));
    parts.sort();
    config.current.insert("smbios1".to_owned(), parts.join(","));
    if config.current.get("vmgenid").is_some_and(|value| is_true(value)) {
        let uuid = cluster.chance.uuid();
        config.current.insert("vmgenid".to_owned(), uuid);
    }
    let old_name = plan.source.get("name").cloned().unwrap_or_else(|| vmid.to_string());
    config.current.insert("name".to_owned(), plan.name.clone().unwrap_or_else(|| format!("Copy-of-VM-{old_name}")));
    if let Some(description) = &plan.description {
        config.current.insert("description".to_owned(), description.clone());
    }
    cluster.clone_firewall(vmid, plan.newid);
    cluster.guests.insert(plan.newid, Guest { node: plan.target.clone(), config, running: None });
    if let Some(pool) = plan.pool.as_ref().and_then(|pool| cluster.pools.get_mut(pool)) {
        pool.guests.insert(plan.newid);
    }
    Ok(())
}

/// A network device with another address, which stands after the model.
fn with_mac(value: &str, mac: &str) -> String {
    let parts = value.split(',').enumerate().map(|(index, part)| match part.split_once('=') {
        Some((model, _)) if index == 0 => format!("{model}={mac}"),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join(",")
}

/// Makes the volume of one drive's copy and notes what copying it will say.
fn copy_drive(
    cluster: &mut Cluster,
    node: &str,
    plan: &mut Plan,
    key: &str,
    value: &str,
    copies: &mut Vec<(Vec<String>, Option<u64>)>,
) -> Result<(), String> {
    let cloudinit = drive::is_cloudinit_drive(value);
    let Some(volid) = volume_of(value).filter(|_| cloudinit || !drive::is_cdrom(value)) else { return Ok(()) };
    let Some(mut copy) = drive::parse(key, value) else { return Ok(()) };
    let ctime = cluster.unix_time();
    let made = if !plan.full && !cloudinit && key != "tpmstate0" {
        let made = cluster.storages.link(volid, node, plan.newid, ctime);
        copies.push((vec![format!("create linked clone of drive {key} ({volid})")], None));
        made
    } else {
        let (own, name) = volid.split_once(':').unwrap_or((volid, ""));
        let storage = plan.storage.clone().unwrap_or_else(|| own.to_owned());
        let size = match cluster.storages.size_of(volid, node) {
            Some(size) => size,
            None if cloudinit => 4 * Size::MIB,
            None => return Err(format!("clone failed: volume '{volid}' does not exist")),
        };
        let wanted = plan.format.clone().unwrap_or_else(|| format_of(name).to_owned());
        let purpose = if cloudinit { Purpose::CloudInit } else { Purpose::Disk };
        let format = if cloudinit { None } else { Some(wanted.as_str()) };
        let made = cluster.storages.allocate((&storage, node), plan.newid, purpose, format, (size, ctime));
        let made = made.map_err(|failure| format!("clone failed: {}", failure.text()))?;
        let mut lines = vec![format!("create full clone of drive {key} ({volid})")];
        if cluster.storages.family(&storage) != Family::Files && wanted != "raw" && plan.format.is_some() {
            lines.push(format!(
                "format '{wanted}' is not supported by the target storage '{storage}' - using 'raw' instead"
            ));
        }
        lines.extend(cluster.storages.made_text(&made, size));
        if cluster.access.release() >= 9 {
            lines.push(format!("allocated target volume '{made}'"));
        }
        plan.commands.push(cluster.storages.convert_command(volid, &made, plan.bwlimit));
        copies.push((lines, Some(size)));
        made
    };
    plan.made.push(made.clone());
    copy.insert("file".to_owned(), made);
    // What the copy is on decides its size; a drive of cloud-init gets one too by this way.
    drive::with_size(cluster, node, &mut copy);
    if sub_key(value, "format").is_some() {
        copy.remove("format");
    }
    plan.drives.insert(key.to_owned(), drive::print(key, &copy));
    Ok(())
}
