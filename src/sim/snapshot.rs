//! Snapshots, of either kind of guest.

use serde_json::{Value, json};

use super::answer::{Answer, Failure, Outcome};
use super::cluster::Cluster;
use super::config::{Config, Section, is_true};
use super::guest::{check_lock, is_drive, is_mount, is_unused, sub_key, volume_of};
use super::route::Call;
use super::task;
use crate::pve::value::GuestKind;

/// What a task does with a snapshot.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) vmid: u32,
    kind: GuestKind,
    name: String,
    action: Action,
}

#[derive(Debug, Clone)]
enum Action {
    Take { description: Option<String> },
    Rollback { start: bool },
    Delete,
}

/// The kind of the guest in a path.
fn kind_of(cluster: &Cluster, call: &Call) -> GuestKind {
    cluster.guests.get(&call.vmid()).map_or(GuestKind::Qemu, super::guest::Guest::kind)
}

fn spawn(cluster: &mut Cluster, call: &Call, verb: &str, action: Action) -> Outcome {
    let (vmid, kind) = (call.vmid(), kind_of(cluster, call));
    cluster.guest(kind, vmid, &call.node)?;
    let name = call.get("snapname").unwrap_or_default().to_owned();
    let prefix = if kind == GuestKind::Qemu { "qm" } else { "vz" };
    let work = task::Work::Snapshot(Work { vmid, kind, name, action });
    Ok(cluster.start_task(&call.subject, &call.node, &format!("{prefix}{verb}"), &vmid.to_string(), work))
}

pub(super) fn take(cluster: &mut Cluster, call: &Call) -> Outcome {
    let name = call.get("snapname").unwrap_or_default();
    if matches!(name, "current" | "pending") {
        return Err(Failure::die(format!("unable to use snapshot name '{name}' (reserved name)")));
    }
    if call.flag("vmstate") {
        return super::route::unsupported();
    }
    let description = call.get("description").map(str::to_owned);
    spawn(cluster, call, "snapshot", Action::Take { description })
}

pub(super) fn rollback(cluster: &mut Cluster, call: &Call) -> Outcome {
    spawn(cluster, call, "rollback", Action::Rollback { start: call.flag("start") })
}

pub(super) fn delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    spawn(cluster, call, "delsnapshot", Action::Delete)
}

pub(super) fn list(cluster: &mut Cluster, call: &Call) -> Outcome {
    let guest = cluster.guest(kind_of(cluster, call), call.vmid(), &call.node)?;
    let mut rows = Vec::new();
    for (name, section) in &guest.config.snapshots {
        let mut row = json!({ "name": name, "description": section.get("description").map_or("", String::as_str) });
        if guest.kind() == GuestKind::Qemu {
            row["vmstate"] = json!(u8::from(section.contains_key("vmstate")));
        }
        if let Some(parent) = section.get("parent") {
            row["parent"] = json!(parent);
        }
        if let Some(time) = section.get("snaptime").and_then(|text| text.parse::<u64>().ok()) {
            row["snaptime"] = json!(time);
        }
        rows.push(row);
    }
    let mut current = json!({
        "description": "You are here!", "digest": guest.config.digest(), "name": "current",
        "running": u8::from(guest.running.is_some()),
    });
    if let Some(parent) = guest.config.current.get("parent") {
        current["parent"] = json!(parent);
    }
    rows.push(current);
    Ok(Answer::from(Value::Array(rows)))
}

fn missing(name: &str) -> Failure {
    Failure::die(format!("snapshot '{name}' does not exist"))
}

pub(super) fn read(cluster: &mut Cluster, call: &Call) -> Outcome {
    let config = cluster.guest(kind_of(cluster, call), call.vmid(), &call.node)?.config.reread();
    let name = call.get("snapname").unwrap_or_default();
    let section = config.snapshots.get(name).ok_or_else(|| missing(name))?;
    Ok(Answer::from(Value::Object(config.section_json(section))))
}

pub(super) fn describe(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (vmid, kind) = (call.vmid(), kind_of(cluster, call));
    let delay = cluster.await_lock(vmid)?;
    let guest = cluster.guest_mut(kind, vmid, &call.node)?;
    check_lock(&guest.config)?;
    let mut config = guest.config.reread();
    let name = call.get("snapname").unwrap_or_default();
    let section = config.snapshots.get_mut(name).ok_or_else(|| missing(name))?;
    if let Some(description) = call.get("description") {
        section.insert("description".to_owned(), description.to_owned());
    }
    guest.config = config;
    Ok(Answer { data: Value::Null, total: None, delay })
}

/// The volumes that a snapshot is taken of.
fn volumes(kind: GuestKind, section: &Section) -> Vec<String> {
    let of_guest = |key: &str| if kind == GuestKind::Qemu { is_drive(key) } else { is_mount(key) };
    section
        .iter()
        .filter(|(key, value)| of_guest(key) && sub_key(value, "media") != Some("cdrom"))
        .filter_map(|(_, value)| volume_of(value).map(str::to_owned))
        .collect()
}

/// Keys that are about the file and not about the guest at that time.
fn is_own(key: &str) -> bool {
    is_unused(key)
        || matches!(key, "lock" | "parent" | "snaptime" | "snapstate" | "vmstate" | "description" | "template")
}

pub(super) fn begin(cluster: &mut Cluster, task: usize, work: &Work) -> Result<u64, String> {
    let node = cluster.tasks[task].node.clone();
    let guest = cluster.guest(work.kind, work.vmid, &node).map_err(|failure| failure.text())?;
    let mut config = guest.config.reread();
    let name = &work.name;
    let lock = match &work.action {
        Action::Take { description } => {
            check_lock(&config).map_err(|failure| failure.text())?;
            if config.flag("template") {
                return Err("you can't take a snapshot if it's a template".to_owned());
            }
            if config.snapshots.contains_key(name) {
                return Err(format!("snapshot name '{name}' already used"));
            }
            if !volumes(work.kind, &config.current).iter().all(|volid| cluster.storages.can_snapshot(volid)) {
                return Err("snapshot feature is not available".to_owned());
            }
            let mut section: Section = config.current.clone();
            section.retain(|key, _| !is_own(key));
            if let Some(parent) = config.current.get("parent") {
                section.insert("parent".to_owned(), parent.clone());
            }
            if let Some(description) = description {
                section.insert("description".to_owned(), description.clone());
            }
            section.insert("snapstate".to_owned(), "prepare".to_owned());
            section.insert("snaptime".to_owned(), cluster.unix_time().to_string());
            config.snapshots.insert(name.clone(), section);
            "snapshot"
        }
        Action::Rollback { .. } | Action::Delete => {
            if !config.snapshots.contains_key(name) {
                return Err(format!("snapshot '{name}' does not exist"));
            }
            check_lock(&config).map_err(|failure| failure.text())?;
            if matches!(work.action, Action::Delete) { "snapshot-delete" } else { "rollback" }
        }
    };
    config.current.insert("lock".to_owned(), lock.to_owned());
    store(cluster, work.vmid, config);
    Ok(cluster.spec.tasks.snapshot)
}

fn store(cluster: &mut Cluster, vmid: u32, config: Config) {
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        guest.config = config;
    }
}

pub(super) fn finish(cluster: &mut Cluster, task: usize, work: &Work) -> Result<(), String> {
    let node = cluster.tasks[task].node.clone();
    let guest = cluster.guest(work.kind, work.vmid, &node).map_err(|failure| failure.text())?;
    let mut config = guest.config.reread();
    config.current.remove("lock");
    let name = &work.name;
    match &work.action {
        Action::Take { .. } => {
            if let Some(section) = config.snapshots.get_mut(name) {
                section.remove("snapstate");
            }
            config.current.insert("parent".to_owned(), name.clone());
            store(cluster, work.vmid, config);
        }
        Action::Delete => {
            let parent = config.snapshots.remove(name).and_then(|section| section.get("parent").cloned());
            let heirs = config.snapshots.values_mut().chain([&mut config.current]);
            for section in heirs.filter(|section| section.get("parent") == Some(name)) {
                match &parent {
                    Some(parent) => drop(section.insert("parent".to_owned(), parent.clone())),
                    None => drop(section.remove("parent")),
                }
            }
            store(cluster, work.vmid, config);
        }
        Action::Rollback { start } => {
            let Some(section) = config.snapshots.get(name).cloned() else { return Err(missing(name).text()) };
            // The description is the guest's own, and what lies unused stays.
            config.current.retain(|key, _| key == "description" || is_unused(key));
            config.current.extend(section.into_iter().filter(|(key, _)| !is_own(key)));
            config.current.insert("parent".to_owned(), name.clone());
            config.pending.clear();
            config.deletes.clear();
            if config.current.get("vmgenid").is_some_and(|value| is_true(value)) {
                let uuid = cluster.chance.uuid();
                config.current.insert("vmgenid".to_owned(), uuid);
            }
            store(cluster, work.vmid, config);
            if let Some(guest) = cluster.guests.get_mut(&work.vmid) {
                guest.running = None;
            }
            if *start {
                let (subject, id) = (cluster.tasks[task].subject.clone(), work.vmid.to_string());
                let (verb, then) = match work.kind {
                    GuestKind::Qemu => ("qmstart", task::Work::Qemu(super::qemu::Work::start(work.vmid))),
                    GuestKind::Lxc => ("vzstart", task::Work::Lxc(super::lxc::Work::start(work.vmid))),
                };
                cluster.spawn(&subject, &node, verb, &id, then);
            }
        }
    }
    Ok(())
}

/// What is left of a worker that was stopped: the lock stays, as there.
pub(super) fn abort(_: &Work) -> String {
    "received interrupt".to_owned()
}
