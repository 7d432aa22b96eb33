//! What QEMU on a node can do: machine types and processor models, by its release.

use serde_json::{Value, json};

use super::rows;
use crate::pve::schema::catalog;
use crate::pve::value::GuestKind;
use crate::sim::answer::Outcome;
use crate::sim::cluster::Cluster;
use crate::sim::route::Call;

/// Releases of QEMU that machine types are named after, newest first.
const RELEASES: &[(u32, u32)] = &[
    (11, 0),
    (10, 2),
    (10, 1),
    (10, 0),
    (9, 2),
    (9, 1),
    (9, 0),
    (8, 2),
    (8, 1),
    (8, 0),
    (7, 2),
    (7, 1),
    (7, 0),
    (6, 2),
    (6, 1),
    (6, 0),
    (5, 2),
    (5, 1),
    (5, 0),
    (4, 2),
    (4, 1),
    (4, 0),
    (3, 1),
    (3, 0),
    (2, 12),
    (2, 11),
    (2, 10),
    (2, 9),
    (2, 8),
    (2, 7),
    (2, 6),
    (2, 5),
    (2, 4),
];

/// Machine types of Proxmox's own between those.
const REVISIONS: &[((u32, u32), &str, &str)] = &[
    ((10, 0), "+pve1", "Set host_mtu vNIC option even with default value for migration compat."),
    ((9, 2), "+pve1", "Disables S3/S4 power states by default."),
];

pub(in crate::sim) fn machines(cluster: &mut Cluster, _: &Call) -> Outcome {
    let mut own = cluster.spec.qemu_version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let own = (own.next().unwrap_or(10), own.next().unwrap_or(0));
    let mut list: Vec<Value> = Vec::new();
    for release in RELEASES.iter().filter(|release| **release <= own) {
        let (major, minor) = release;
        let version = format!("{major}.{minor}");
        let revision = REVISIONS.iter().find(|(of, ..)| of == release);
        for (kind, stem) in [("i440fx", "pc-i440fx"), ("q35", "pc-q35")] {
            if let Some((_, revision, changes)) = revision {
                list.push(json!({
                    "changes": changes, "id": format!("{stem}-{version}{revision}"), "type": kind,
                    "version": format!("{version}{revision}"),
                }));
            }
        }
        for (kind, stem) in [("i440fx", "pc-i440fx"), ("q35", "pc-q35")] {
            list.push(json!({ "id": format!("{stem}-{version}"), "type": kind, "version": version }));
        }
    }
    // Before release 9 one kind came after the other.
    if cluster.access.release() < 9 {
        list.sort_by_key(|row| row["type"] != json!("q35"));
    }
    Ok(rows(list))
}

/// The vendor that a model's name stands for.
fn vendor(name: &str) -> &'static str {
    let amd = ["EPYC", "Opteron", "athlon", "phenom"];
    let neutral = ["host", "max", "kvm", "qemu", "x86-64"];
    if amd.iter().any(|start| name.starts_with(start)) {
        "AuthenticAMD"
    } else if neutral.iter().any(|start| name.starts_with(start)) {
        "default"
    } else {
        "GenuineIntel"
    }
}

pub(in crate::sim) fn cpu_models(_: &mut Cluster, _: &Call) -> Outcome {
    let format = catalog(GuestKind::Qemu).find("cpu").and_then(|spec| spec.value.properties.as_ref());
    let known = format.and_then(|format| format.keys.get("reported-model")?.value.choices.clone()).unwrap_or_default();
    let more = ["x86-64-v2", "x86-64-v2-AES", "x86-64-v3", "x86-64-v4"].map(str::to_owned);
    let mut names: Vec<String> = known.into_iter().chain(more).collect();
    names.sort();
    names.dedup();
    let list = names.iter().map(|name| json!({ "custom": 0, "name": name, "vendor": vendor(name) }));
    Ok(rows(list.collect()))
}

pub(in crate::sim) fn capability_index(_: &mut Cluster, _: &Call) -> Outcome {
    Ok(rows(vec![json!({ "name": "qemu" })]))
}

pub(in crate::sim) fn qemu_capability_index(_: &mut Cluster, _: &Call) -> Outcome {
    Ok(rows(["cpu", "cpu-flags", "machines", "migration"].iter().map(|name| json!({ "name": name })).collect()))
}
