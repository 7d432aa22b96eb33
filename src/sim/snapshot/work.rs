//! Snapshots, of either kind of guest: what their workers do.

use super::missing;
use crate::pve::value::GuestKind;
use crate::sim::cluster::Cluster;
use crate::sim::config::{Config, Section, is_true};
use crate::sim::guest::{check_lock, is_drive, is_mount, is_unused, sub_key, volume_of};
use crate::sim::qemu::vmstate;
use crate::sim::volume::{Family, is_cloudinit};
use crate::sim::{lxc, qemu, task};

/// What a task does with a snapshot.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(in crate::sim) struct Work {
    pub(in crate::sim) vmid: u32,
    kind: GuestKind,
    name: String,
    action: Action,
}

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) enum Action {
    Take { description: Option<String>, vmstate: bool },
    Rollback { start: bool },
    Delete,
}

impl Work {
    pub(super) fn new(vmid: u32, kind: GuestKind, name: &str, action: Action) -> Self {
        Self { vmid, kind, name: name.to_owned(), action }
    }
}

/// The volumes that a snapshot is taken of; a path of the host where a container has one mounted.
fn volumes(kind: GuestKind, section: &Section) -> Vec<String> {
    let of_guest = |key: &str| if kind == GuestKind::Qemu { is_drive(key) } else { is_mount(key) };
    section
        .iter()
        .filter(|(key, value)| of_guest(key) && sub_key(value, "media") != Some("cdrom"))
        .map(|(_, value)| volume_of(value).unwrap_or_default().to_owned())
        .collect()
}

/// Keys that are about the file and not about the guest at that time.
fn is_own(key: &str) -> bool {
    is_unused(key)
        || vmstate::KEYS.contains(&key)
        || matches!(key, "lock" | "parent" | "snaptime" | "snapstate" | "description" | "template")
}

pub(in crate::sim) fn begin(cluster: &mut Cluster, task: usize, work: &Work) -> Result<u64, String> {
    let node = cluster.tasks[task].node.clone();
    let guest = cluster.guest(work.kind, work.vmid, &node).map_err(|failure| failure.text())?;
    let runs = guest.running.is_some();
    let mut config = guest.config.reread();
    let name = &work.name;
    let locked = |config: &Config| check_lock(config).map_err(|failure| failure.text());
    let template = config.flag("template");
    let lock = match &work.action {
        Action::Take { description, vmstate } => {
            if template {
                return Err("you can't take a snapshot if it's a template".to_owned());
            }
            locked(&config)?;
            if config.snapshots.contains_key(name) {
                return Err(format!("snapshot name '{name}' already used"));
            }
            if !volumes(work.kind, &config.current).iter().all(|volid| cluster.storages.can_snapshot(volid)) {
                return Err("snapshot feature is not available".to_owned());
            }
            let mut section: Section = config.current.clone();
            section.retain(|key, _| !is_own(key));
            if *vmstate && runs && work.kind == GuestKind::Qemu {
                let storage = vmstate::storage(cluster, &config);
                vmstate::save(cluster, (&node, work.vmid), &config, &mut section, (&storage, name))
                    .map_err(|failure| failure.text())?;
                cluster.log(task, format!("saving VM state and RAM using storage '{storage}'"));
            }
            if let Some(parent) = config.current.get("parent") {
                section.insert("parent".to_owned(), parent.clone());
            }
            if let Some(description) = description {
                section.insert("description".to_owned(), description.clone());
            }
            section.insert("snapstate".to_owned(), "prepare".to_owned());
            section.insert("snaptime".to_owned(), cluster.unix_time().to_string());
            // A parent of this name that is long gone must not become one now.
            for other in config.snapshots.values_mut().filter(|other| other.get("parent") == Some(name)) {
                other.remove("parent");
            }
            config.snapshots.insert(name.clone(), section);
            "snapshot"
        }
        Action::Rollback { .. } => {
            if template {
                return Err("you can't rollback if vm is a template".to_owned());
            }
            check_rollback(cluster, work, &config)?;
            locked(&config)?;
            stop(cluster, &node, work);
            if let Some(guest) = cluster.guests.get(&work.vmid) {
                config = guest.config.reread();
            }
            "rollback"
        }
        Action::Delete => {
            if !config.snapshots.contains_key(name) {
                return Err(missing(name).text());
            }
            locked(&config)?;
            if template {
                return Err("you can't delete a snapshot if vm is a template".to_owned());
            }
            if let Some(section) = config.snapshots.get_mut(name) {
                section.insert("snapstate".to_owned(), "delete".to_owned());
            }
            "snapshot-delete"
        }
    };
    config.current.insert("lock".to_owned(), lock.to_owned());
    store(cluster, work.vmid, config);
    Ok(cluster.spec.tasks.snapshot)
}

fn check_rollback(cluster: &Cluster, work: &Work, config: &Config) -> Result<(), String> {
    let name = &work.name;
    let section = config.snapshots.get(name).ok_or_else(|| missing(name).text())?;
    let taken = |section: &Section| section.get("snaptime").and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    for volid in volumes(work.kind, section) {
        if cluster.storages.family(volid.split(':').next().unwrap_or_default()) != Family::Zfs {
            continue;
        }
        // ZFS goes back to the newest snapshot only.
        let newer = |other: &Section| {
            let descends = other.get("parent") == Some(name) || taken(other) > taken(section);
            descends && volumes(work.kind, other).contains(&volid)
        };
        if config.snapshots.iter().any(|(other, section)| other != name && newer(section)) {
            return Err(format!("can't rollback, '{name}' is not most recent snapshot on '{volid}'"));
        }
    }
    match section.get("snapstate") {
        Some(state) => Err(format!("unable to rollback to incomplete snapshot (snapstate = {state})")),
        None => Ok(()),
    }
}

/// Going back stops a guest that runs.
fn stop(cluster: &mut Cluster, node: &str, work: &Work) {
    let Some(guest) = cluster.guests.get_mut(&work.vmid).filter(|guest| guest.running.is_some()) else { return };
    guest.running = None;
    match work.kind {
        GuestKind::Qemu => drop(qemu::apply_pending(cluster, node, work.vmid)),
        GuestKind::Lxc => lxc::apply_pending(cluster, node, work.vmid),
    }
}

fn store(cluster: &mut Cluster, vmid: u32, config: Config) {
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        guest.config = config;
    }
}

/// Keeps volumes that nothing names any more under `unusedN`; drives of cloud-init are removed.
fn keep_unused(cluster: &mut Cluster, node: &str, config: &mut Config, volids: Vec<String>) {
    for volid in volids.into_iter().filter(|volid| !volid.is_empty()) {
        let used = [&config.current, &config.pending].into_iter().any(|section| {
            section.iter().any(|(key, value)| {
                (is_drive(key) || is_mount(key) || is_unused(key)) && volume_of(value) == Some(volid.as_str())
            })
        });
        if used {
            continue;
        }
        if is_cloudinit(&volid) {
            cluster.storages.remove(&volid, node);
            continue;
        }
        let free = (0..256).map(|n| format!("unused{n}")).find(|key| !config.current.contains_key(key));
        if let Some(free) = free {
            config.current.insert(free, volid);
        }
    }
}

pub(in crate::sim) fn finish(cluster: &mut Cluster, task: usize, work: &Work) -> Result<(), String> {
    let node = cluster.tasks[task].node.clone();
    let guest = cluster.guest(work.kind, work.vmid, &node).map_err(|failure| failure.text())?;
    let mut config = guest.config.reread();
    config.current.remove("lock");
    let name = &work.name;
    match &work.action {
        Action::Take { .. } => {
            let section = config.snapshots.get_mut(name).ok_or_else(|| missing(name).text())?;
            section.remove("snapstate");
            if work.kind == GuestKind::Qemu {
                for (key, value) in section.iter().filter(|(key, _)| is_drive(key)) {
                    if let Some(volid) = volume_of(value).filter(|_| sub_key(value, "media") != Some("cdrom")) {
                        cluster.log(task, format!("snapshotting 'drive-{key}' ({volid})"));
                    }
                }
            }
            config.current.insert("parent".to_owned(), name.clone());
            store(cluster, work.vmid, config);
        }
        Action::Delete => {
            let section = config.snapshots.remove(name).unwrap_or_default();
            let heirs = config.snapshots.values_mut().chain([&mut config.current]);
            for heir in heirs.filter(|heir| heir.get("parent") == Some(name)) {
                match section.get("parent") {
                    Some(parent) => drop(heir.insert("parent".to_owned(), parent.clone())),
                    None => drop(heir.remove("parent")),
                }
            }
            if let Some(state) = section.get("vmstate") {
                cluster.storages.remove(state, &node);
            }
            keep_unused(cluster, &node, &mut config, volumes(work.kind, &section));
            store(cluster, work.vmid, config);
        }
        Action::Rollback { start } => {
            let Some(section) = config.snapshots.get(name).cloned() else { return Err(missing(name).text()) };
            let before = volumes(work.kind, &config.current);
            // The description is the guest's own, and what lies unused stays.
            config.current.retain(|key, _| key == "description" || is_unused(key));
            config.current.extend(section.clone().into_iter().filter(|(key, _)| !is_own(key)));
            config.current.insert("parent".to_owned(), name.clone());
            config.pending.clear();
            config.deletes.clear();
            config.cloudinit.clear();
            if config.current.get("vmgenid").is_some_and(|value| is_true(value)) {
                let uuid = cluster.chance.uuid();
                config.current.insert("vmgenid".to_owned(), uuid);
            }
            // What the snapshot names is in use again, what only the guest had since is not.
            let again = volumes(work.kind, &section);
            config.current.retain(|key, value| !is_unused(key) || !again.contains(value));
            keep_unused(cluster, &node, &mut config, before);
            store(cluster, work.vmid, config);
            if section.contains_key("vmstate") {
                qemu::resume_from_state(cluster, work.vmid);
            } else if *start {
                let (subject, id) = (cluster.tasks[task].subject.clone(), work.vmid.to_string());
                let (verb, then) = match work.kind {
                    GuestKind::Qemu => ("qmstart", task::Work::Qemu(qemu::Work::start(work.vmid))),
                    GuestKind::Lxc => ("vzstart", task::Work::Lxc(lxc::Work::start(work.vmid))),
                };
                cluster.spawn(&subject, &node, verb, &id, then);
            }
        }
    }
    Ok(())
}

/// What is left of a worker that was stopped: the lock stays, as there.
pub(in crate::sim) fn abort(_: &Work) -> String {
    "received interrupt".to_owned()
}
