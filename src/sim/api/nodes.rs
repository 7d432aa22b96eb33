//! What is asked about one node.

use serde_json::json;

use crate::pve::value::Size;
use crate::sim::answer::{Answer, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::route::Call;

pub(in crate::sim) fn node_status(cluster: &mut Cluster, call: &Call) -> Outcome {
    let spec = cluster.spec.nodes.iter().find(|spec| spec.name == call.node);
    let (cpus, memory) = spec.map_or((1, Size::GIB), |spec| (spec.cpus, spec.memory_gib * Size::GIB));
    let used = 2 * Size::GIB;
    let disk = 128 * Size::GIB;
    Ok(Answer::from(json!({
        "boot-info": { "mode": "efi", "secureboot": 0 },
        "cpu": 0.02,
        "cpuinfo": {
            "cores": cpus, "cpus": cpus, "family": "25", "flags": "fpu vme de pse tsc msr", "hvm": "1",
            "mhz": "2600.000", "model": "Simulated CPU", "sockets": 1, "user_hz": 100, "vendor": "AuthenticAMD",
        },
        "current-kernel": {
            "machine": "x86_64", "release": "6.14.11-4-pve", "sysname": "Linux", "version": "#1 SMP PREEMPT_DYNAMIC",
        },
        "idle": 0,
        "ksm": { "shared": 0 },
        "kversion": "Linux 6.14.11-4-pve #1 SMP PREEMPT_DYNAMIC",
        "loadavg": ["0.10", "0.12", "0.09"],
        "memory": { "available": memory - used, "free": memory - used, "total": memory, "used": used },
        "pveversion": format!("pve-manager/{}/f40095996bcb6bf7", cluster.full_version()),
        "rootfs": { "avail": disk - 12 * Size::GIB, "free": disk - 12 * Size::GIB, "total": disk, "used": 12 * Size::GIB },
        "swap": { "free": 0, "total": 0, "used": 0 },
        "uptime": 3600 + cluster.clock / 1000,
        "wait": 0,
    })))
}

pub(in crate::sim) fn node_time(cluster: &mut Cluster, call: &Call) -> Outcome {
    let now = cluster.unix_time();
    let spec = cluster.spec.nodes.iter().find(|spec| spec.name == call.node);
    let zone = spec.map_or("UTC", |spec| spec.timezone.as_str());
    Ok(Answer::from(json!({ "localtime": now, "time": now, "timezone": zone })))
}
