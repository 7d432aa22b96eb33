//! Reading containers.

use serde_json::{Value, json};

use super::mount;
use crate::pve::schema::split_index;
use crate::pve::value::GuestKind;
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::guest::{is_mount, sub_key, volume_of};
use crate::sim::route::Call;

fn subdirs(names: &[&str]) -> Answer {
    Answer::from(names.iter().map(|name| json!({ "subdir": name })).collect::<Value>())
}

pub(in crate::sim) fn index(cluster: &mut Cluster, call: &Call) -> Outcome {
    cluster.guest(GuestKind::Lxc, call.vmid(), &call.node)?;
    Ok(subdirs(&[
        "config",
        "pending",
        "status",
        "vncproxy",
        "termproxy",
        "vncwebsocket",
        "spiceproxy",
        "migrate",
        "clone",
        "initlog",
        "rrd",
        "rrddata",
        "firewall",
        "snapshot",
        "resize",
        "interfaces",
    ]))
}

pub(in crate::sim) fn status_index(cluster: &mut Cluster, call: &Call) -> Outcome {
    cluster.guest(GuestKind::Lxc, call.vmid(), &call.node)?;
    Ok(subdirs(&["current", "start", "stop", "shutdown", "migrate"]))
}

/// The network devices of a running container: addresses are those of the configuration. Nothing answers DHCP here.
pub(in crate::sim) fn interfaces(cluster: &mut Cluster, call: &Call) -> Outcome {
    let guest = cluster.guest(GuestKind::Lxc, call.vmid(), &call.node)?;
    if guest.running.is_none() {
        return Ok(Answer::from(Value::Null));
    }
    let device = |name: &str, mac: &str, addresses: Vec<(&str, &str)>| {
        let mut row = json!({ "hardware-address": mac, "hwaddr": mac, "name": name });
        let mut list = Vec::new();
        for (family, cidr) in addresses {
            let (address, prefix) = cidr.split_once('/').unwrap_or((cidr, "0"));
            row[family] = json!(cidr);
            list.push(json!({
                "ip-address": address, "ip-address-type": family, "prefix": prefix.parse::<u32>().unwrap_or(0),
            }));
        }
        row["ip-addresses"] = json!(list);
        row
    };
    let nets: Vec<&String> = guest
        .config
        .current
        .iter()
        .filter(|(key, _)| split_index(key).is_some_and(|(stem, _)| stem == "net"))
        .map(|(_, value)| value)
        .collect();
    // The loopback device comes up with the first other one.
    let own = if nets.is_empty() { Vec::new() } else { vec![("inet", "127.0.0.1/8"), ("inet6", "::1/128")] };
    let mut rows = vec![device("lo", "00:00:00:00:00:00", own)];
    for value in nets {
        let part = |name: &str| sub_key(value, name);
        let addresses = [("inet", part("ip")), ("inet6", part("ip6"))];
        let fixed = addresses.into_iter().filter_map(|(family, cidr)| Some((family, cidr?)));
        let fixed = fixed.filter(|(_, cidr)| cidr.contains('/')).collect();
        let mac = part("hwaddr").unwrap_or_default().to_lowercase();
        rows.push(device(part("name").unwrap_or("eth0"), &mac, fixed));
    }
    Ok(Answer::from(Value::Array(rows)))
}

pub(in crate::sim) fn feature(cluster: &mut Cluster, call: &Call) -> Outcome {
    let config = &cluster.guest(GuestKind::Lxc, call.vmid(), &call.node)?.config;
    let section = match call.get("snapname") {
        Some(name) => {
            let section = config.snapshots.get(name);
            section.ok_or_else(|| Failure::die(format!("snapshot '{name}' does not exist")))?
        }
        None => &config.current,
    };
    let from_snapshot = call.get("snapname").is_some();
    let has = section.iter().filter(|(key, _)| is_mount(key)).all(|(_, value)| {
        let volid = volume_of(value).filter(|_| !mount::is_bind(value));
        volid.is_some_and(|volid| match call.get("feature") {
            Some("snapshot") => cluster.storages.can_snapshot(volid),
            Some("clone") => {
                cluster.storages.can_link(GuestKind::Lxc, volid)
                    || (from_snapshot && cluster.storages.can_link_snapshot(volid))
            }
            _ => true,
        })
    });
    Ok(Answer::from(json!({ "hasFeature": u8::from(has) })))
}
