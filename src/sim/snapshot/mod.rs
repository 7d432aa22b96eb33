//! Snapshots, of either kind of guest: the calls.

mod work;

pub(super) use work::{Work, abort, begin, finish};

use serde_json::{Value, json};

use super::answer::{Answer, Failure, Outcome};
use super::cluster::Cluster;
use super::guest::check_lock;
use super::qemu::vmstate;
use super::route::Call;
use super::task;
use crate::pve::value::GuestKind;
use work::Action;

fn spawn(cluster: &mut Cluster, call: &Call, kind: GuestKind, verb: &str, action: Action) -> Outcome {
    let vmid = call.vmid();
    let name = call.get("snapname").unwrap_or_default();
    let prefix = if kind == GuestKind::Qemu { "qm" } else { "vz" };
    let work = task::Work::Snapshot(Work::new(vmid, kind, name, action));
    Ok(cluster.start_task(&call.subject, &call.node, &format!("{prefix}{verb}"), &vmid.to_string(), work))
}

pub(super) fn take(cluster: &mut Cluster, call: &Call, kind: GuestKind) -> Outcome {
    let name = call.get("snapname").unwrap_or_default();
    let reserved = match kind {
        GuestKind::Qemu => name == "current" || name.eq_ignore_ascii_case("pending"),
        GuestKind::Lxc => matches!(name, "current" | "vzdump"),
    };
    if reserved {
        let shown = name.to_ascii_lowercase();
        return Err(Failure::die(format!("unable to use snapshot name '{shown}' (reserved name)")));
    }
    let vmstate = call.flag("vmstate");
    if kind == GuestKind::Qemu {
        let guest = cluster.guest(kind, call.vmid(), &call.node)?;
        if vmstate {
            vmstate::check(&guest.config)?;
        }
    }
    let description = call.get("description").filter(|text| !matches!(*text, "" | "0")).map(str::to_owned);
    spawn(cluster, call, kind, "snapshot", Action::Take { description, vmstate })
}

pub(super) fn rollback(cluster: &mut Cluster, call: &Call, kind: GuestKind) -> Outcome {
    if call.flag("start") && cluster.is_at_least(9, 2) {
        let path = format!("/vms/{}", call.vmid());
        cluster.check_for(&call.subject, &path).need(&path, &["VM.PowerMgmt"])?;
    }
    spawn(cluster, call, kind, "rollback", Action::Rollback { start: call.flag("start") })
}

pub(super) fn delete(cluster: &mut Cluster, call: &Call, kind: GuestKind) -> Outcome {
    spawn(cluster, call, kind, "delsnapshot", Action::Delete)
}

/// What can be done with a snapshot.
pub(super) fn index(_: &mut Cluster, _: &Call) -> Outcome {
    Ok(Answer::from(json!([{ "cmd": "rollback" }, { "cmd": "config" }])))
}

pub(super) fn list(cluster: &mut Cluster, call: &Call, kind: GuestKind) -> Outcome {
    let guest = cluster.guest(kind, call.vmid(), &call.node)?;
    let mut rows = Vec::new();
    for (name, section) in &guest.config.snapshots {
        let time = section.get("snaptime").and_then(|text| text.parse::<u64>().ok());
        let mut row = json!({
            "name": name, "description": section.get("description").map_or("", String::as_str),
            "snaptime": time.unwrap_or(0),
        });
        if kind == GuestKind::Qemu {
            row["vmstate"] = json!(u8::from(section.contains_key("vmstate")));
        }
        for key in ["parent", "snapstate"] {
            if let Some(value) = section.get(key) {
                row[key] = json!(value);
            }
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

pub(super) fn read(cluster: &mut Cluster, call: &Call, kind: GuestKind) -> Outcome {
    let config = cluster.guest(kind, call.vmid(), &call.node)?.config.reread();
    let name = call.get("snapname").unwrap_or_default();
    let section = config.snapshots.get(name).ok_or_else(|| missing(name))?;
    Ok(Answer::from(Value::Object(config.section_json(section))))
}

pub(super) fn describe(cluster: &mut Cluster, call: &Call, kind: GuestKind) -> Outcome {
    let vmid = call.vmid();
    // Without anything to write nothing is looked at.
    let Some(description) = call.get("description") else { return Ok(Answer::from(Value::Null)) };
    let delay = cluster.await_lock(vmid)?;
    let guest = cluster.guest_mut(kind, vmid, &call.node)?;
    check_lock(&guest.config)?;
    let mut config = guest.config.reread();
    let name = call.get("snapname").unwrap_or_default();
    let section = config.snapshots.get_mut(name).ok_or_else(|| missing(name))?;
    section.insert("description".to_owned(), description.to_owned());
    guest.config = config;
    Ok(Answer { delay, ..Answer::from(Value::Null) })
}
