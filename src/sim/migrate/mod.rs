//! Moving a guest to another node: the calls.

mod scan;
mod work;

pub(super) use work::{Work, abort, begin, finish};

use serde_json::{Map, Value, json};

use super::answer::{Answer, Failure, Outcome};
use super::cluster::Cluster;
use super::guest::{check_lock, is_drive};
use super::route::Call;
use super::section::mapping;
use super::task::{self, HaOrder};
use crate::pve::value::GuestKind;
use scan::StorageMap;

fn others<'a>(cluster: &'a Cluster, call: &Call) -> Vec<&'a str> {
    cluster.spec.nodes.iter().map(|node| node.name.as_str()).filter(|name| *name != call.node).collect()
}

/// The answer of `GET …/migrate` for a VM.
pub(super) fn check(cluster: &mut Cluster, call: &Call) -> Outcome {
    let guest = cluster.guest(GuestKind::Qemu, call.vmid(), &call.node)?;
    check_lock(&guest.config)?;
    let release = cluster.access.release();
    let runs = guest.running.is_some();
    let devices = scan::devices(&guest.config, runs);
    let mut disks = Vec::new();
    for (file, named) in scan::named(&guest.config) {
        let on_shared = scan::storage(&file).is_some_and(|storage| cluster.storages.is_shared(storage));
        if !on_shared && !named.is_nowhere(&file) {
            disks.push(named.row(&file, release));
        }
    }
    let mapped: Map<String, Value> =
        devices.mapped.iter().map(|(key, name)| (key.clone(), mapped_row(cluster, key, name))).collect();
    let mut answer = json!({
        "allowed_nodes": [], "local_disks": disks, "local_resources": devices.local,
        "mapped-resource-info": mapped, "mapped-resources": devices.mapped.keys().collect::<Vec<_>>(),
        "not_allowed_nodes": {}, "running": u8::from(runs),
    });
    if release >= 9 {
        answer["has-dbus-vmstate"] = json!(1);
        if cluster.is_ha_managed(GuestKind::Qemu, call.vmid()) {
            answer["dependent-ha-resources"] = json!([]);
        }
    }
    // Before release 9 only a VM that is off was told where it may go.
    if release >= 9 || !runs {
        let mut allowed = Vec::new();
        for node in others(cluster, call) {
            let lacking = scan::lacking(cluster, &guest.config, node);
            let mut row = Map::new();
            if !lacking.is_empty() {
                row.insert("unavailable_storages".to_owned(), json!(lacking));
            }
            let missing = missing_mappings(cluster, &devices, node);
            if !missing.is_empty() {
                row.insert("unavailable-resources".to_owned(), json!(missing));
            }
            if row.is_empty() {
                allowed.push(node);
            }
            answer["not_allowed_nodes"][node] = Value::Object(row);
        }
        answer["allowed_nodes"] = json!(allowed);
    }
    Ok(Answer::from(answer))
}

/// What is told of a mapped device.
fn mapped_row(cluster: &Cluster, key: &str, name: &str) -> Value {
    let mut row = json!({ "name": name });
    if mapping::moves_live(cluster, key, name) {
        row["live-migration"] = json!(1);
    }
    row
}

/// Keys of devices whose mapping says nothing about a node.
fn missing_mappings(cluster: &Cluster, devices: &scan::Devices, node: &str) -> Vec<String> {
    let missing = devices.mapped.iter().filter(|(key, name)| !mapping::is_on(cluster, key, name, node));
    missing.map(|(key, _)| key.clone()).collect()
}

/// The answer of `GET …/migrate` for a container.
pub(super) fn check_container(cluster: &mut Cluster, call: &Call) -> Outcome {
    let guest = cluster.guest(GuestKind::Lxc, call.vmid(), &call.node)?;
    check_lock(&guest.config)?;
    let mut answer = json!({
        "allowed-nodes": others(cluster, call), "not-allowed-nodes": {}, "running": u8::from(guest.running.is_some()),
    });
    if cluster.is_ha_managed(GuestKind::Lxc, call.vmid()) {
        answer["dependent-ha-resources"] = json!([]);
    }
    Ok(Answer::from(answer))
}

pub(super) fn migrate(cluster: &mut Cluster, call: &Call, kind: GuestKind) -> Outcome {
    let (vmid, target) = (call.vmid(), call.get("target").unwrap_or_default().to_owned());
    if target == call.node {
        return Err(Failure::parameter("target", "target is local node."));
    }
    if !cluster.spec.nodes.iter().any(|node| node.name == target) {
        return Err(Failure::die(format!("no such cluster node '{target}'")));
    }
    if !call.subject.is_root() {
        for name in ["force", "migration_type", "migration_network"] {
            if call.get(name).is_some_and(|value| value != "0") {
                return Err(Failure::parameter(name, "Only root may use this option."));
            }
        }
    }
    let guest = cluster.guest(kind, vmid, &call.node)?;
    let runs = guest.running.is_some();
    match kind {
        GuestKind::Qemu => {
            check_lock(&guest.config)?;
            if runs && !call.flag("online") {
                return Err(Failure::die("can't migrate running VM without --online"));
            }
        }
        GuestKind::Lxc if runs && !call.flag("online") && !call.flag("restart") => {
            return Err(Failure::die("can't migrate running container without --online or --restart"));
        }
        GuestKind::Lxc => {}
    }
    let storages = storage_map(cluster, call, kind, &target)?;
    let noun = if kind == GuestKind::Qemu { "VM" } else { "CT" };
    if cluster.is_ha_managed(kind, vmid) {
        let text = format!("Requesting HA migration for {noun} {vmid} to node {target}");
        let work = task::Work::Ha { vmid, order: HaOrder::Migrate(target), text };
        return Ok(cluster.start_task(&call.subject, &call.node, "hamigrate", &vmid.to_string(), work));
    }
    let verb = if kind == GuestKind::Qemu { "qmigrate" } else { "vzmigrate" };
    let work = Work::new(vmid, kind, &target, storages)
        .online(runs && call.flag("online"), call.flag("with-local-disks"))
        .restarting(call.flag("restart"), call.number("timeout").unwrap_or(180))
        .forced(call.flag("force"));
    Ok(cluster.start_task(&call.subject, &call.node, verb, &vmid.to_string(), task::Work::Migrate(work)))
}

/// The map of storages, where one is given, checked as far as the answer waits for it.
fn storage_map(cluster: &Cluster, call: &Call, kind: GuestKind, target: &str) -> Result<StorageMap, Failure> {
    let name = if kind == GuestKind::Qemu { "targetstorage" } else { "target-storage" };
    let vmid = call.vmid();
    let Some(text) = call.get(name).filter(|text| !text.is_empty()) else {
        if kind == GuestKind::Qemu {
            check_availability(cluster, vmid, target)?;
        }
        return Ok(StorageMap::default());
    };
    let map = StorageMap::parse(text);
    let map = map.map_err(|text| Failure::parameter(name, format!("failed to parse storage map: {text}")))?;
    if !map.identity {
        cluster.check_guest(&call.subject, vmid).need(&format!("/vms/{vmid}"), &["VM.Config.Disk"])?;
    }
    for storage in map.targets() {
        let spec = cluster.storages.find_on(storage, target)?;
        let path = format!("/storage/{storage}");
        cluster.check_for(&call.subject, &path).need(&path, &["Datastore.AllocateSpace"])?;
        let (wanted, what) = match kind {
            GuestKind::Qemu => ("images", "vm images"),
            GuestKind::Lxc => ("rootdir", "CT rootdirs"),
        };
        if !spec.content.iter().any(|content| content == wanted) {
            return Err(Failure::die(format!("storage '{storage}' does not support {what}")));
        }
    }
    if map.identity && kind == GuestKind::Qemu {
        check_availability(cluster, vmid, target)?;
    }
    Ok(map)
}

/// Refuses where the target lacks a storage of the VM's drives.
fn check_availability(cluster: &Cluster, vmid: u32, target: &str) -> Result<(), Failure> {
    let Some(guest) = cluster.guests.get(&vmid) else { return Ok(()) };
    for (_, value) in guest.config.current.iter().filter(|(key, _)| is_drive(key)) {
        let file = scan::file_of(value);
        let Some(storage) = scan::storage(file) else { continue };
        cluster.storages.find_on(storage, &guest.node)?;
        let spec = cluster.storages.find_on(storage, target)?;
        let content = scan::content(GuestKind::Qemu, file);
        if !spec.content.iter().any(|kind| kind == content) {
            let text = format!("{file}: content type '{content}' is not available on storage '{storage}'");
            return Err(Failure::die(text));
        }
    }
    Ok(())
}
