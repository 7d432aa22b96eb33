//! Making a guest of a backup.

use std::collections::BTreeMap;

use super::Work;
use crate::pve::schema::split_index;
use crate::pve::value::{GuestKind, Size, allocation, storage_of};
use crate::sim::answer::{Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::config::Config;
use crate::sim::guest::{Guest, check_lock, is_drive, is_mount, is_unused, sub_key, volume_of};
use crate::sim::route::Call;
use crate::sim::task;
use crate::sim::volume::{Archive, Purpose, format_of, owner};
use crate::sim::{lxc, qemu};

/// What is to be made of which backup.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(in crate::sim) struct Plan {
    vmid: u32,
    kind: GuestKind,
    archive: String,
    storage: Option<String>,
    pool: Option<String>,
    unique: bool,
    start: bool,
    live: bool,
    /// What the call says beside the backup.
    options: BTreeMap<String, String>,
    unprivileged: Option<bool>,
    /// True where a guest of this id was there before.
    replaces: bool,
}

impl Plan {
    pub(super) const fn vmid(&self) -> u32 {
        self.vmid
    }

    /// The storages on which volumes will be made, once for each.
    pub(super) fn made_on(&self, cluster: &Cluster) -> Vec<String> {
        let node = cluster.guests.get(&self.vmid).map_or("", |guest| &guest.node);
        let archive = cluster.storages.get(&self.archive, node).and_then(|volume| volume.archive.as_ref());
        let mounts = self.options.iter().filter(|(key, _)| is_mount(key));
        let asked =
            mounts.filter_map(|(_, value)| allocation(volume_of(value)?)).map(|(storage, _)| storage.to_owned());
        let Some(archive) = archive.filter(|_| !self.options.contains_key("rootfs")) else { return asked.collect() };
        let config = Config::parse(self.kind, &archive.config);
        let volumes = config.current.iter().filter(|(key, _)| archive.sizes.contains_key(*key));
        let own = volumes.filter_map(|(_, value)| storage_of(volume_of(value)?));
        own.map(|own| self.storage.as_deref().unwrap_or(own).to_owned()).chain(asked).collect()
    }

    fn emsg(&self) -> String {
        let noun = if self.kind == GuestKind::Qemu { "VM" } else { "CT" };
        format!("unable to restore {noun} {} -", self.vmid)
    }
}

fn check_archive(cluster: &Cluster, call: &Call, vmid: u32, volid: &str) -> Result<(), Failure> {
    if volid == "-" {
        return Err(Failure::die("pipe requires cli environment"));
    }
    let Some((storage, name)) = volid.split_once(':').filter(|_| !volid.starts_with('/')) else {
        return if call.subject.is_root() {
            Err(Failure::die(format!("volume '{volid}' does not exist")))
        } else {
            Err(Failure::die("Only root can pass arbitrary filesystem paths."))
        };
    };
    cluster.storages.find(storage)?;
    if !name.starts_with("backup/") {
        return Err(Failure::die(format!("unable to use volume {volid} - content type needs to be 'backup'")));
    }
    crate::sim::api::check_access(cluster, call, Some(vmid), volid)
}

/// Takes the id; with `force` also where a guest of this kind has it on this node.
fn take_id(cluster: &mut Cluster, call: &Call, kind: GuestKind, vmid: u32) -> Result<bool, Failure> {
    let same = cluster.guest(kind, vmid, &call.node).is_ok();
    if let Some(text) = cluster.taken_text(vmid).filter(|_| !(same && call.flag("force"))) {
        return Err(Failure::die(text));
    }
    match cluster.guests.get_mut(&vmid) {
        Some(guest) => {
            check_lock(&guest.config)?;
            let mut config = guest.config.reread();
            config.current.insert("lock".to_owned(), "create".to_owned());
            guest.config = config;
        }
        None => {
            let mut config = Config::new(kind);
            config.current.insert("lock".to_owned(), "create".to_owned());
            cluster.guests.insert(vmid, Guest { node: call.node.clone(), config, running: None });
        }
    }
    Ok(same)
}

fn plan(call: &Call, kind: GuestKind, vmid: u32, archive: &str, options: BTreeMap<String, String>) -> Plan {
    Plan {
        vmid,
        kind,
        archive: archive.to_owned(),
        storage: call.get("storage").map(str::to_owned),
        pool: call.get("pool").map(str::to_owned),
        unique: call.flag("unique"),
        start: call.flag("start"),
        live: call.flag("live-restore"),
        options,
        unprivileged: call.get("unprivileged").map(|value| value == "1"),
        replaces: false,
    }
}

/// Restores a VM; what may be asked for beside the backup was checked before.
pub(in crate::sim) fn restore_vm(cluster: &mut Cluster, call: &Call, options: BTreeMap<String, String>) -> Outcome {
    let vmid = u32::try_from(call.number("vmid").unwrap_or(0)).unwrap_or(0);
    let archive = call.get("archive").unwrap_or_default().to_owned();
    if let Some(key) = options.keys().find(|key| is_drive(key)) {
        return Err(Failure::parameter(key, "option conflicts with option 'archive'"));
    }
    check_archive(cluster, call, vmid, &archive)?;
    let mut plan = plan(call, GuestKind::Qemu, vmid, &archive, options);
    plan.replaces = take_id(cluster, call, GuestKind::Qemu, vmid)
        .map_err(|failure| Failure::die(format!("{} {}", plan.emsg(), failure.text())))?;
    let work = task::Work::Backup(Work::Restore(Box::new(plan)));
    Ok(cluster.start_task(&call.subject, &call.node, "qmrestore", &vmid.to_string(), work))
}

/// Restores a container; what may be asked for beside the backup was checked before.
pub(in crate::sim) fn restore_container(
    cluster: &mut Cluster,
    call: &Call,
    options: BTreeMap<String, String>,
) -> Outcome {
    let vmid = u32::try_from(call.number("vmid").unwrap_or(0)).unwrap_or(0);
    let archive = call.get("ostemplate").unwrap_or_default().to_owned();
    if call.flag("force")
        && let Ok(guest) = cluster.guest(GuestKind::Lxc, vmid, &call.node)
    {
        if guest.running.is_some() {
            return Err(Failure::die("can't overwrite running container"));
        }
        if guest.config.flag("protection") {
            return Err(Failure::die(format!("unable to restore CT {vmid} - protection mode enabled")));
        }
    } else if let Some(text) = cluster.taken_text(vmid) {
        return Err(Failure::die(text));
    }
    check_archive(cluster, call, vmid, &archive)?;
    if !options.contains_key("rootfs") {
        let storage = call.get("storage").unwrap_or("local");
        let spec = cluster.storages.find_on(storage, &call.node)?;
        if !spec.content.iter().any(|kind| kind == "rootdir") {
            let text = format!("storage '{storage}' does not support container directories");
            return Err(Failure::parameter("storage", text));
        }
        let path = format!("/storage/{storage}");
        cluster.check_for(&call.subject, &path).need(&path, &["Datastore.AllocateSpace"])?;
    }
    let mut plan = plan(call, GuestKind::Lxc, vmid, &archive, options);
    plan.storage = plan.storage.or_else(|| Some("local".to_owned()));
    plan.replaces = take_id(cluster, call, GuestKind::Lxc, vmid)
        .map_err(|failure| Failure::die(format!("{} {}", plan.emsg(), failure.text())))?;
    let work = task::Work::Backup(Work::Restore(Box::new(plan)));
    Ok(cluster.start_task(&call.subject, &call.node, "vzrestore", &vmid.to_string(), work))
}

/// Gives the id back where nothing was changed yet.
fn give_up(cluster: &mut Cluster, plan: &Plan) {
    if !plan.replaces && plan.kind == GuestKind::Lxc {
        cluster.guests.remove(&plan.vmid);
    } else if let Some(guest) = cluster.guests.get_mut(&plan.vmid) {
        let mut config = guest.config.reread();
        config.current.remove("lock");
        guest.config = config;
    }
}

pub(super) fn begin(cluster: &mut Cluster, task: usize, plan: &Plan) -> Result<u64, String> {
    match check(cluster, task, plan) {
        Ok(()) => Ok(cluster.spec.tasks.clone_full),
        Err(text) => {
            give_up(cluster, plan);
            Err(text)
        }
    }
}

fn check(cluster: &Cluster, task: usize, plan: &Plan) -> Result<(), String> {
    let node = cluster.tasks[task].node.clone();
    let guest = cluster.guest(plan.kind, plan.vmid, &node).map_err(|failure| failure.text())?;
    if plan.kind == GuestKind::Qemu {
        if guest.config.flag("protection") {
            return Err(format!("{} - protection mode enabled", plan.emsg()));
        }
        if guest.running.is_some() {
            return Err(format!("{} vm is running", plan.emsg()));
        }
        if plan.live {
            let text = "live-restore is only compatible with backup images from a Proxmox Backup Server";
            return Err(text.to_owned());
        }
    }
    let missing = || format!("volume '{}' does not exist", plan.archive);
    let volume = cluster.storages.get(&plan.archive, &node).ok_or_else(missing)?;
    match &volume.archive {
        Some(archive) if archive.kind == plan.kind => Ok(()),
        // A file that is no backup, or one of the other kind.
        _ => Err(format!("{} unable to restore '{}': no configuration found in it", plan.emsg(), plan.archive)),
    }
}

pub(super) fn abort(cluster: &mut Cluster, _: usize, plan: &Plan) -> String {
    give_up(cluster, plan);
    format!("{} interrupted by signal", plan.emsg())
}

pub(super) fn finish(cluster: &mut Cluster, task: usize, plan: Plan) -> Result<(), String> {
    let node = cluster.tasks[task].node.clone();
    let archive = cluster.storages.get(&plan.archive, &node).and_then(|volume| volume.archive.clone());
    let Some(archive) = archive else {
        give_up(cluster, &plan);
        return Err(format!("volume '{}' does not exist", plan.archive));
    };
    let mut made = Vec::new();
    let config = match build(cluster, task, &node, &plan, &archive, &mut made) {
        Ok(config) => config,
        Err(failure) => {
            for volid in made {
                cluster.storages.remove(&volid, &node);
            }
            give_up(cluster, &plan);
            return Err(format!("{} {}", plan.emsg(), failure.text()));
        }
    };
    let old = cluster.guests.get(&plan.vmid).map(|guest| guest.config.clone());
    cluster.guests.insert(plan.vmid, Guest { node: node.clone(), config, running: None });
    // What the guest had before goes; what belongs to nobody any more is not left behind.
    for volid in old.iter().flat_map(volumes_of) {
        if owner(&volid) == Some(plan.vmid) && !made.contains(&volid) {
            cluster.storages.remove(&volid, &node);
        }
    }
    if let Some(pool) = plan.pool.as_ref().and_then(|pool| cluster.pools.get_mut(pool)) {
        pool.guests.insert(plan.vmid);
    }
    if plan.start {
        let (subject, id) = (cluster.tasks[task].subject.clone(), plan.vmid.to_string());
        let (verb, work) = match plan.kind {
            GuestKind::Qemu => ("qmstart", task::Work::Qemu(qemu::Work::start(plan.vmid))),
            GuestKind::Lxc => ("vzstart", task::Work::Lxc(lxc::Work::start(plan.vmid))),
        };
        cluster.spawn(&subject, &node, verb, &id, work);
    }
    Ok(())
}

/// Every volume that a guest's file names.
fn volumes_of(config: &Config) -> Vec<String> {
    let is_volume = |key: &str| is_drive(key) || is_mount(key) || is_unused(key) || key == "vmstate";
    let sections = [&config.current, &config.pending].into_iter().chain(config.snapshots.values());
    let values = sections.flat_map(|section| section.iter().filter(|(key, _)| is_volume(key)).map(|(_, value)| value));
    values.filter_map(|value| volume_of(value).map(str::to_owned)).collect()
}

fn build(
    cluster: &mut Cluster,
    task: usize,
    node: &str,
    plan: &Plan,
    archive: &Archive,
    made: &mut Vec<String>,
) -> Result<Config, Failure> {
    let (vmid, ctime) = (plan.vmid, cluster.unix_time());
    let mut config = Config::parse(plan.kind, &archive.config).reread();
    config.pending.clear();
    config.deletes.clear();
    config.snapshots.clear();
    config.cloudinit.clear();
    config.current.retain(|key, _| !is_unused(key) && !matches!(key.as_str(), "lock" | "parent"));
    if plan.kind == GuestKind::Lxc && plan.options.contains_key("rootfs") {
        config.current.retain(|key, _| !is_mount(key));
    }
    for (key, value) in config.current.clone() {
        let stem = split_index(&key).map_or(key.as_str(), |(stem, _)| stem);
        let is_volume = if plan.kind == GuestKind::Qemu { is_drive(&key) } else { is_mount(&key) };
        if is_volume {
            let restored = volume(cluster, (task, node), plan, archive, (&key, &value), ctime)?;
            match restored {
                Some((value, volid)) => {
                    made.push(volid);
                    config.current.insert(key, value);
                }
                // A disk that is not in the backup is not in the guest either.
                None if plan.kind == GuestKind::Qemu && sub_key(&value, "backup") == Some("0") => {
                    config.current.remove(&key);
                }
                None => {}
            }
        } else if stem == "net" && plan.unique {
            let mac = cluster.fresh_mac();
            config.current.insert(key, with_mac(plan.kind, &value, &mac));
        } else if key == "vmgenid" && value != "0" {
            let uuid = cluster.chance.uuid();
            config.current.insert(key, uuid);
        } else if key == "smbios1" && plan.unique {
            let uuid = cluster.chance.uuid();
            let mut parts: Vec<String> =
                value.split(',').filter(|part| !part.starts_with("uuid=")).map(str::to_owned).collect();
            parts.push(format!("uuid={uuid}"));
            config.current.insert(key, parts.join(","));
        }
    }
    let template = config.flag("template");
    for (key, value) in &plan.options {
        if is_mount(key) {
            let stored = lxc::place(cluster, node, vmid, (key, value), made)?;
            config.current.insert(key.clone(), stored);
            continue;
        }
        let stored = match plan.kind {
            GuestKind::Qemu => qemu::normalised(cluster, key, value)?,
            GuestKind::Lxc => lxc::normalised(cluster, key, value)?,
        };
        config.current.insert(key.clone(), stored);
    }
    if plan.kind == GuestKind::Lxc {
        match plan.unprivileged {
            Some(true) => drop(config.current.insert("unprivileged".to_owned(), "1".to_owned())),
            Some(false) => drop(config.current.remove("unprivileged")),
            None => {}
        }
    }
    if template {
        cluster.log(task, "Convert to template.");
        let keys: Vec<String> = config.current.keys().filter(|key| is_drive(key) || is_mount(key)).cloned().collect();
        for key in keys {
            let Some(volid) = config.current.get(&key).and_then(|value| volume_of(value)).map(str::to_owned) else {
                continue;
            };
            let base = cluster.storages.make_base(&volid, node);
            if let Some(place) = made.iter_mut().find(|made| **made == volid) {
                place.clone_from(&base);
            }
            if let Some(value) = config.current.get_mut(&key) {
                *value = value.replacen(&volid, &base, 1);
            }
        }
    }
    Ok(config)
}

/// Makes the volume of one key and returns its value with the volume's name; nothing where the backup has none.
fn volume(
    cluster: &mut Cluster,
    (task, node): (usize, &str),
    plan: &Plan,
    archive: &Archive,
    (key, value): (&str, &str),
    ctime: u64,
) -> Result<Option<(String, String)>, Failure> {
    let Some(old) = volume_of(value).map(str::to_owned) else { return Ok(None) };
    let size = match archive.sizes.get(key) {
        Some(size) => *size,
        // A container's other mount points are made anew, empty.
        None if plan.kind == GuestKind::Lxc => {
            sub_key(value, "size").and_then(Size::parse_proxmox).map_or(0, |size| size.0)
        }
        None if crate::sim::volume::is_cloudinit(&old) => 4 * Size::MIB,
        None => return Ok(None),
    };
    let own = old.split(':').next().unwrap_or_default().to_owned();
    let storage = plan.storage.clone().unwrap_or(own);
    let content = if plan.kind == GuestKind::Qemu { "images" } else { "rootdir" };
    let spec = cluster.storages.find_on(&storage, node)?;
    if !spec.content.iter().any(|kind| kind == content) {
        return Err(Failure::die(format!("Content type '{content}' is not available on storage '{storage}'")));
    }
    let purpose = match plan.kind {
        GuestKind::Lxc => Purpose::Mount,
        GuestKind::Qemu if crate::sim::volume::is_cloudinit(&old) => Purpose::CloudInit,
        GuestKind::Qemu => Purpose::Disk,
    };
    let format = (purpose == Purpose::Disk).then(|| format_of(&old));
    let made = cluster.storages.allocate((&storage, node), plan.vmid, purpose, format, (size, ctime))?;
    if let Some(text) = cluster.storages.made_text(&made, size) {
        cluster.log(task, text);
    }
    if plan.kind == GuestKind::Qemu {
        cluster.log(task, format!("new volume ID is '{made}'"));
    }
    let value: Vec<String> = value
        .split(',')
        .filter(|part| !part.starts_with("format="))
        .map(|part| part.replacen(&old, &made, 1))
        .collect();
    Ok(Some((value.join(","), made)))
}

/// A network device with another address.
fn with_mac(kind: GuestKind, value: &str, mac: &str) -> String {
    let parts = value.split(',').enumerate().map(|(index, part)| match part.split_once('=') {
        Some((model, _)) if index == 0 && kind == GuestKind::Qemu => format!("{model}={mac}"),
        Some(("hwaddr", _)) => format!("hwaddr={mac}"),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join(",")
}
