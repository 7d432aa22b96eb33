//! Moving a guest to another node.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::answer::{Answer, Failure, Outcome};
use super::cluster::Cluster;
use super::config::Config;
use super::guest::{check_lock, is_drive, is_mount, is_unused, sub_key, volume_of};
use super::route::{Call, unsupported};
use super::task;
use super::volume::{is_base, is_cloudinit, owner};
use crate::pve::value::{GuestKind, Size};

/// What a task moves.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) vmid: u32,
    kind: GuestKind,
    target: String,
    restart: bool,
}

/// A volume on a storage that only its node sees.
struct Local {
    key: String,
    value: String,
    volid: String,
}

fn local_volumes(cluster: &Cluster, config: &Config) -> Vec<Local> {
    let named = |key: &str| is_drive(key) || is_mount(key) || is_unused(key);
    let entries = config.current.iter().filter(|(key, _)| named(key));
    entries
        .filter_map(|(key, value)| {
            let volid = volume_of(value)?;
            let storage = volid.split(':').next()?;
            let local = Local { key: key.clone(), value: value.clone(), volid: volid.to_owned() };
            (!cluster.storages.is_shared(storage)).then_some(local)
        })
        .collect()
}

/// The answer of `GET …/migrate` for a VM.
pub(super) fn check(cluster: &mut Cluster, call: &Call) -> Outcome {
    let guest = cluster.guest(GuestKind::Qemu, call.vmid(), &call.node)?;
    let mut disks = Vec::new();
    for local in local_volumes(cluster, &guest.config) {
        let unused = is_unused(&local.key);
        let cdrom = sub_key(&local.value, "media") == Some("cdrom");
        let mut row = json!({
            "cdrom": u8::from(cdrom), "is_attached": u8::from(!unused), "is_cloudinit": u8::from(is_cloudinit(&local.volid)),
            "is_tpmstate": u8::from(local.key == "tpmstate0"), "is_unused": u8::from(unused), "is_vmstate": 0,
            "replicate": 1, "shared": 0, "volid": local.volid,
        });
        if cluster.access.release() < 9
            && let Some(object) = row.as_object_mut()
        {
            object.remove("is_cloudinit");
        }
        if !unused {
            row["drivename"] = json!(local.key);
            if let Some(size) = sub_key(&local.value, "size").and_then(Size::parse_proxmox) {
                row["size"] = json!(size.0);
            }
        }
        disks.push(row);
    }
    let others: Vec<&str> =
        cluster.spec.nodes.iter().map(|node| node.name.as_str()).filter(|name| *name != call.node).collect();
    let runs = guest.running.is_some();
    let mut answer = json!({
        "allowed_nodes": [], "has-dbus-vmstate": 1, "local_disks": disks, "local_resources": [],
        "mapped-resource-info": {}, "mapped-resources": [], "not_allowed_nodes": {}, "running": u8::from(runs),
    });
    if cluster.access.release() < 9
        && let Some(object) = answer.as_object_mut()
    {
        object.remove("has-dbus-vmstate");
    }
    if !runs {
        answer["not_allowed_nodes"] = others.iter().map(|name| ((*name).to_owned(), json!({}))).collect::<Value>();
        answer["allowed_nodes"] = json!(others);
    }
    Ok(Answer::from(answer))
}

pub(super) fn migrate(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (vmid, target) = (call.vmid(), call.get("target").unwrap_or_default().to_owned());
    let kind = cluster.guests.get(&vmid).map_or(GuestKind::Qemu, super::guest::Guest::kind);
    if target == call.node {
        return Err(Failure::parameter("target", "target is local node."));
    }
    if !cluster.spec.nodes.iter().any(|node| node.name == target) {
        return Err(Failure::die(format!("no such cluster node '{target}'")));
    }
    if !call.subject.is_root() {
        let only: BTreeMap<String, String> = ["force", "migration_type", "migration_network"]
            .into_iter()
            .filter(|name| call.get(name).is_some())
            .map(|name| (name.to_owned(), "Only root may use this option.".to_owned()))
            .collect();
        if !only.is_empty() {
            return Err(Failure::Parameters(only));
        }
    }
    let guest = cluster.guest(kind, vmid, &call.node)?;
    check_lock(&guest.config)?;
    let (runs, restart) = (guest.running.is_some(), call.flag("restart"));
    if runs && kind == GuestKind::Qemu && !call.flag("online") {
        return Err(Failure::die("can't migrate running VM without --online"));
    }
    if call.get("targetstorage").or_else(|| call.get("target-storage")).is_some() || cluster.is_ha_managed(kind, vmid) {
        return unsupported();
    }
    let verb = if kind == GuestKind::Qemu { "qmigrate" } else { "vzmigrate" };
    let work = task::Work::Migrate(Work { vmid, kind, target, restart });
    Ok(cluster.start_task(&call.subject, &call.node, verb, &vmid.to_string(), work))
}

pub(super) fn begin(cluster: &mut Cluster, id: usize, work: &Work) -> Result<u64, String> {
    let node = cluster.tasks[id].node.clone();
    let guest = cluster.guest(work.kind, work.vmid, &node).map_err(|failure| failure.text())?;
    check_lock(&guest.config).map_err(|failure| failure.text())?;
    let runs = guest.running.is_some();
    let problem = if !cluster.node_online(&work.target) {
        Some("Can't connect to destination address using public key".to_owned())
    } else if runs && work.kind == GuestKind::Lxc && !work.restart {
        Some("lxc live migration is currently not implemented".to_owned())
    } else {
        let problem = |local: &Local| {
            let storage = local.volid.split(':').next().unwrap_or_default();
            let name = local.volid.split_once(':').map_or("", |(_, name)| name);
            if owner(name) != Some(work.vmid) {
                return Some(format!("can't migrate local disk '{}': owned by other VM", local.volid));
            }
            if !cluster.storages.on_node(storage, &work.target) {
                return Some(format!("storage '{storage}' is not available on node '{}'", work.target));
            }
            let base = cluster.storages.is_in_use(&local.volid, &node);
            let linked = !is_base(name) && name.contains("base-");
            (base || linked).then(|| format!("can't migrate local disk '{}': clone or base volume", local.volid))
        };
        local_volumes(cluster, &guest.config).iter().find_map(problem)
    };
    if let Some(problem) = problem {
        cluster.log(id, format!("ERROR: migration aborted (duration 00:00:00): {problem}"));
        return Err("migration aborted".to_owned());
    }
    let mut config = guest.config.reread();
    config.current.insert("lock".to_owned(), "migrate".to_owned());
    if let Some(guest) = cluster.guests.get_mut(&work.vmid) {
        guest.config = config;
    }
    cluster.log(id, format!("starting migration of {} {} to node '{}'", work.kind.noun(), work.vmid, work.target));
    Ok(cluster.spec.tasks.migrate)
}

pub(super) fn finish(cluster: &mut Cluster, id: usize, work: &Work) -> Result<(), String> {
    let node = cluster.tasks[id].node.clone();
    let guest = cluster.guest(work.kind, work.vmid, &node).map_err(|failure| failure.text())?;
    let mut config = guest.config.reread();
    config.current.remove("lock");
    for local in local_volumes(cluster, &config) {
        if let Some(volume) = cluster.storages.remove(&local.volid, &node) {
            cluster.storages.insert(&local.volid, &work.target, volume);
        }
    }
    if let Some(guest) = cluster.guests.get_mut(&work.vmid) {
        guest.config = config;
        guest.node.clone_from(&work.target);
    }
    cluster.log(id, "migration finished successfully (duration 00:00:01)");
    Ok(())
}

/// A migration that is stopped leaves the guest where it was, without its lock.
pub(super) fn abort(cluster: &mut Cluster, work: &Work) -> String {
    if let Some(guest) = cluster.guests.get_mut(&work.vmid) {
        let mut config = guest.config.reread();
        config.current.remove("lock");
        guest.config = config;
    }
    "migration aborted".to_owned()
}
