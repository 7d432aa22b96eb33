//! Reading VMs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::drive;
use crate::pve::schema::split_index;
use crate::pve::value::GuestKind;
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::config::Section;
use crate::sim::guest::volume_of;
use crate::sim::route::Call;

pub(in crate::sim) fn list(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut sees = cluster.sees(&call.subject);
    let mine = cluster
        .guests
        .iter()
        .filter(|(vmid, guest)| guest.kind() == GuestKind::Qemu && guest.node == call.node && sees(**vmid));
    let rows = mine.map(|(vmid, guest)| Value::Object(cluster.status_row(*vmid, guest, call.flag("full"))));
    Ok(Answer::from(Value::Array(rows.collect())))
}

fn subdirs(names: &[&str]) -> Answer {
    Answer::from(names.iter().map(|name| json!({ "subdir": name })).collect::<Value>())
}

pub(in crate::sim) fn index(_: &mut Cluster, _: &Call) -> Outcome {
    Ok(subdirs(&[
        "config",
        "cloudinit",
        "pending",
        "status",
        "unlink",
        "vncproxy",
        "termproxy",
        "migrate",
        "resize",
        "move",
        "rrd",
        "rrddata",
        "monitor",
        "agent",
        "snapshot",
        "spiceproxy",
        "sendkey",
        "firewall",
        "mtunnel",
        "remote_migrate",
    ]))
}

pub(in crate::sim) fn status_index(_: &mut Cluster, _: &Call) -> Outcome {
    Ok(subdirs(&["current", "start", "stop", "reset", "shutdown", "suspend", "reboot"]))
}

/// The answer of `GET …/config` for either kind of guest.
pub(in crate::sim) fn config(cluster: &Cluster, kind: GuestKind, call: &Call) -> Outcome {
    let config = cluster.guest(kind, call.vmid(), &call.node)?.config.clone();
    // An untouched file is shown by what is read of it, under the digest of its text.
    let (digest, read) = (config.digest(), config.reread());
    let mut value = match call.get("snapshot") {
        Some(_) if call.flag("current") => {
            let text = "cannot use 'snapshot' parameter with 'current'".to_owned();
            let both = BTreeMap::from([("snapshot".to_owned(), text.clone()), ("current".to_owned(), text)]);
            return Err(Failure::Parameters(both));
        }
        Some(name) => {
            let section = read.snapshots.get(name);
            read.json(section.ok_or_else(|| Failure::die(format!("snapshot '{name}' does not exist")))?)
        }
        None if call.flag("current") => read.json(&read.current),
        None => read.json(&read.with_pending()),
    };
    value["digest"] = json!(digest);
    Ok(Answer::from(value))
}

/// The answer of `GET …/pending` for either kind of guest.
pub(in crate::sim) fn pending(cluster: &Cluster, kind: GuestKind, call: &Call) -> Outcome {
    let config = cluster.guest(kind, call.vmid(), &call.node)?.config.clone();
    let digest = config.digest();
    let mut value = config.reread().pending_json();
    for entry in value.as_array_mut().into_iter().flatten() {
        if entry["key"] == json!("digest") {
            entry["value"] = json!(digest);
        }
    }
    Ok(Answer::from(value))
}

pub(in crate::sim) fn read_config(cluster: &mut Cluster, call: &Call) -> Outcome {
    config(cluster, GuestKind::Qemu, call)
}

pub(in crate::sim) fn read_pending(cluster: &mut Cluster, call: &Call) -> Outcome {
    pending(cluster, GuestKind::Qemu, call)
}

pub(in crate::sim) fn status(cluster: &mut Cluster, call: &Call) -> Outcome {
    let guest = cluster.guest(GuestKind::Qemu, call.vmid(), &call.node)?;
    Ok(Answer::from(cluster.current_status(call.vmid(), guest)))
}

const CLOUDINIT: &[&str] =
    &["cicustom", "cipassword", "citype", "ciupgrade", "ciuser", "nameserver", "searchdomain", "sshkeys"];

pub(in crate::sim) fn read_cloudinit(cluster: &mut Cluster, call: &Call) -> Outcome {
    let config = cluster.guest(GuestKind::Qemu, call.vmid(), &call.node)?.config.reread();
    let shown = |key: &str, value: &str| if key == "cipassword" { json!("**********") } else { json!(value) };
    let added: Vec<&str> = config.cloudinit.get("added").map(|list| list.split(',').collect()).unwrap_or_default();
    let mut rows = Vec::new();
    // Addresses are listed only where they differ from those on the drive.
    let changed = |key: &str| added.contains(&key) || config.cloudinit.contains_key(key);
    let mut keys: Vec<&str> = config.current.keys().map(String::as_str).collect();
    keys.retain(|key| {
        CLOUDINIT.contains(key) || (split_index(key).is_some_and(|(stem, _)| stem == "ipconfig") && changed(key))
    });
    for key in keys {
        let value = shown(key, &config.current[key]);
        rows.push(match config.cloudinit.get(key) {
            Some(old) => json!({ "key": key, "value": shown(key, old), "pending": value }),
            None if added.contains(&key) => json!({ "key": key, "pending": value }),
            None => json!({ "key": key, "value": value }),
        });
    }
    Ok(Answer::from(Value::Array(rows)))
}

pub(in crate::sim) fn make_cloudinit(cluster: &mut Cluster, call: &Call) -> Outcome {
    let guest = cluster.guest_mut(GuestKind::Qemu, call.vmid(), &call.node)?;
    if !guest.config.cloudinit.is_empty() {
        let mut config = guest.config.reread();
        config.cloudinit.clear();
        guest.config = config;
    }
    Ok(Answer::from(Value::Null))
}

pub(in crate::sim) fn feature(cluster: &mut Cluster, call: &Call) -> Outcome {
    let config = &cluster.guest(GuestKind::Qemu, call.vmid(), &call.node)?.config;
    let section: &Section = match call.get("snapname") {
        Some(name) => {
            let section = config.snapshots.get(name);
            section.ok_or_else(|| Failure::die(format!("snapshot '{name}' does not exist")))?
        }
        None => &config.current,
    };
    let disks = section.iter().filter(|(key, value)| crate::sim::guest::is_drive(key) && !drive::is_cdrom(value));
    let volumes: Vec<&str> = disks.filter_map(|(_, value)| volume_of(value)).collect();
    let has = match call.get("feature") {
        Some("snapshot") => volumes.iter().all(|volid| cluster.storages.can_snapshot(volid)),
        Some("clone") => volumes.iter().all(|volid| cluster.storages.can_link(GuestKind::Qemu, volid)),
        _ => true,
    };
    let shared = volumes.iter().all(|volid| cluster.storages.is_shared(volid.split(':').next().unwrap_or(volid)));
    let nodes: Vec<&str> = cluster
        .spec
        .nodes
        .iter()
        .map(|spec| spec.name.as_str())
        .filter(|name| *name == call.node || (shared && !volumes.is_empty()))
        .collect();
    Ok(Answer::from(json!({ "hasFeature": u8::from(has), "nodes": nodes })))
}

/// No simulated VM has an agent in it.
pub(in crate::sim) fn agent(cluster: &mut Cluster, call: &Call) -> Outcome {
    let guest = cluster.guest(GuestKind::Qemu, call.vmid(), &call.node)?;
    if !guest.config.current.contains_key("agent") {
        return Err(Failure::die("No QEMU guest agent configured"));
    }
    if guest.running.is_none() {
        return Err(Failure::die(format!("VM {} is not running", call.vmid())));
    }
    Err(Failure::DieAfter(3000, "QEMU guest agent is not running".to_owned()))
}
