//! What is asked about the whole cluster.

use serde_json::{Map, Value, json};

use super::rows;
use crate::pve::value::{Size, split_list};
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::route::Call;

pub(in crate::sim) fn version(cluster: &mut Cluster, _: &Call) -> Outcome {
    let version = cluster.full_version();
    let release = version.rsplit_once('.').map_or(version.as_str(), |(release, _)| release);
    Ok(Answer::from(json!({ "release": release, "repoid": "f40095996bcb6bf7", "version": version })))
}

pub(in crate::sim) fn cluster_status(cluster: &mut Cluster, call: &Call) -> Outcome {
    let nodes = &cluster.spec.nodes;
    let mut list = Vec::new();
    if !cluster.spec.standalone {
        list.push(json!({
            "id": "cluster", "type": "cluster", "name": cluster.spec.name, "nodes": nodes.len(),
            "quorate": u8::from(cluster.has_quorum()), "version": nodes.len(),
        }));
    }
    for (index, node) in nodes.iter().enumerate() {
        list.push(json!({
            "id": format!("node/{}", node.name), "type": "node", "name": node.name, "level": "",
            "ip": cluster.address(&node.name), "local": u8::from(node.name == call.node),
            "nodeid": if cluster.spec.standalone { 0 } else { index + 1 }, "online": u8::from(node.online),
        }));
    }
    Ok(rows(list))
}

/// The row of a node; without `Sys.Audit` it has no figures.
fn node_row(cluster: &Cluster, index: usize, call: &Call) -> Map<String, Value> {
    let node = &cluster.spec.nodes[index];
    let path = format!("/nodes/{}", node.name);
    let audit = cluster.check_for(&call.subject, &path).any(&path, &["Sys.Audit"]);
    if !cluster.spec.broadcasts {
        let row =
            json!({ "id": format!("node/{}", node.name), "node": node.name, "status": "unknown", "type": "node" });
        return row.as_object().cloned().unwrap_or_default();
    }
    let mut row = Map::from_iter([
        ("id".to_owned(), json!(format!("node/{}", node.name))),
        ("level".to_owned(), json!("")),
        ("node".to_owned(), json!(node.name)),
        ("status".to_owned(), json!(if node.online { "online" } else { "offline" })),
        ("type".to_owned(), json!("node")),
    ]);
    if audit {
        let running =
            cluster.guests.values().filter(|guest| guest.node == node.name && guest.running.is_some()).count();
        row.insert("maxcpu".to_owned(), json!(node.cpus));
        row.insert("maxdisk".to_owned(), json!(128 * Size::GIB));
        row.insert("maxmem".to_owned(), json!(node.memory_gib * Size::GIB));
        if node.online {
            row.insert("cpu".to_owned(), json!(0.02));
            row.insert("disk".to_owned(), json!(12 * Size::GIB));
            row.insert("mem".to_owned(), json!((2 + running as u64) * Size::GIB));
            row.insert("uptime".to_owned(), json!(3600 + cluster.clock / 1000));
        }
    }
    row
}

/// The fingerprint of a node's certificate.
pub(super) fn fingerprint(index: usize) -> String {
    let octets: Vec<String> = (0..32).map(|n: usize| format!("{:02X}", (n * 37 + index * 11 + 7) % 256)).collect();
    octets.join(":")
}

pub(in crate::sim) fn nodes(cluster: &mut Cluster, call: &Call) -> Outcome {
    let list = (0..cluster.spec.nodes.len()).map(|index| {
        let mut row = node_row(cluster, index, call);
        row.insert("ssl_fingerprint".to_owned(), json!(fingerprint(index)));
        Value::Object(row)
    });
    Ok(rows(list.collect()))
}

pub(in crate::sim) fn resources(cluster: &mut Cluster, call: &Call) -> Outcome {
    let wanted = call.get("type");
    let is = |kind: &str| wanted.is_none_or(|wanted| wanted == kind);
    let mut list = Vec::new();
    if wanted.is_none() {
        for name in cluster.pools.keys() {
            let path = format!("/pool/{name}");
            if cluster.check_for(&call.subject, &path).any(&path, &["Pool.Audit"]) {
                list.push(json!({ "id": format!("/pool/{name}"), "pool": name, "type": "pool" }));
            }
        }
    }
    if is("vm") {
        let mut sees = cluster.sees(&call.subject);
        let seen = cluster.guests.iter().filter(|(vmid, _)| sees(**vmid));
        list.extend(seen.map(|(vmid, guest)| cluster.resource_row(*vmid, guest)));
    }
    if is("node") {
        for index in 0..cluster.spec.nodes.len() {
            let mut row = node_row(cluster, index, call);
            if cluster.spec.broadcasts {
                row.insert("cgroup-mode".to_owned(), json!(2));
            }
            list.push(Value::Object(row));
        }
    }
    if is("storage") {
        for node in &cluster.spec.nodes {
            for storage in &cluster.storages.specs {
                let path = format!("/storage/{}", storage.name);
                let check = cluster.check_for(&call.subject, &path);
                if !cluster.storages.on_node(&storage.name, &node.name)
                    || !check.any(&path, &["Datastore.Audit", "Datastore.AllocateSpace"])
                {
                    continue;
                }
                let remembered = cluster.is_remembered(&node.name);
                let mut row = json!({
                    "content": storage.content.join(","), "id": format!("storage/{}/{}", node.name, storage.name),
                    "node": node.name, "plugintype": storage.kind, "shared": u8::from(storage.shared),
                    "status": if remembered { "available" } else { "unknown" },
                    "storage": storage.name, "type": "storage",
                });
                if remembered {
                    row["disk"] = json!(cluster.storages.used(&storage.name, &node.name));
                    row["maxdisk"] = json!(storage.capacity_gib * Size::GIB);
                }
                list.push(row);
            }
        }
    }
    let path = "/sdn/zones/localnetwork";
    let zones = wanted.is_none() || wanted == Some("sdn");
    if zones && cluster.check_for(&call.subject, path).any(path, &["SDN.Audit"]) {
        let known = |name: &str| !cluster.spec.broadcasts || cluster.is_remembered(name);
        for node in cluster.spec.nodes.iter().filter(|node| known(&node.name)) {
            if cluster.access.release() < 9 {
                list.push(json!({
                    "id": format!("sdn/{}/localnetwork", node.name), "node": node.name, "sdn": "localnetwork",
                    "status": "ok", "type": "sdn",
                }));
                continue;
            }
            list.push(json!({
                "id": format!("network/{}/zone/localnetwork", node.name), "network": "localnetwork",
                "network-type": "zone", "node": node.name, "status": "ok", "type": "network",
            }));
        }
    }
    Ok(rows(list))
}

pub(in crate::sim) fn next_id(cluster: &mut Cluster, call: &Call) -> Outcome {
    if let Some(vmid) = call.get("vmid") {
        let taken = vmid.parse().ok().and_then(|number: u32| cluster.guests.get(&number));
        return match taken {
            Some(_) => Err(Failure::parameter("vmid", format!("VM {vmid} already exists"))),
            None => Ok(Answer::from(json!(vmid))),
        };
    }
    let range = cluster.spec.datacenter.get("next-id").cloned().unwrap_or_default();
    let limit =
        |name: &str, or: u32| crate::sim::guest::sub_key(&range, name).and_then(|n| n.parse().ok()).unwrap_or(or);
    let (lower, upper) = (limit("lower", 100), limit("upper", 1_000_000));
    match (lower..upper).find(|vmid| !cluster.guests.contains_key(vmid)) {
        Some(vmid) => Ok(Answer::from(json!(vmid.to_string()))),
        None => Err(Failure::die(format!("unable to get any free VMID in range [{lower}, {upper}]"))),
    }
}

pub(in crate::sim) fn cluster_options(cluster: &mut Cluster, call: &Call) -> Outcome {
    let options = &cluster.spec.datacenter;
    if !cluster.check_for(&call.subject, "/").any("/", &["Sys.Audit"]) {
        return Ok(Answer::from(json!({ "allowed-tags": [] })));
    }
    let mut object = Map::from_iter([
        ("allowed-tags".to_owned(), json!([])),
        ("description".to_owned(), json!("")),
        ("mac_prefix".to_owned(), json!("BC:24:11")),
    ]);
    for (name, value) in options {
        // Property strings come taken apart.
        let parsed = match name.as_str() {
            "tag-style" | "next-id" | "migration" | "ha" | "crs" | "user-tag-access" | "bwlimit" => {
                let parts = value.split(',').map(|part| part.split_once('=').unwrap_or(("type", part)));
                let number = |text: &str| match name.as_str() {
                    "tag-style" => text.parse::<i64>().map_or_else(|_| json!(text), |n| json!(n)),
                    _ => json!(text),
                };
                Value::Object(parts.map(|(key, value)| (key.to_owned(), number(value))).collect())
            }
            "registered-tags" => json!(split_list(value).collect::<Vec<_>>()),
            _ => json!(value),
        };
        object.insert(name.clone(), parsed);
    }
    if !cluster.sets_every_tag(&call.subject) {
        object.insert("allowed-tags".to_owned(), json!(cluster.allowed_tags(&call.subject)));
    } else if let Some(tags) = options.get("registered-tags") {
        let mut tags: Vec<&str> = split_list(tags).collect();
        tags.sort_unstable();
        object.insert("allowed-tags".to_owned(), json!(tags));
    }
    Ok(Answer::from(Value::Object(object)))
}

pub(in crate::sim) fn set_cluster_options(cluster: &mut Cluster, call: &Call) -> Outcome {
    let options = &mut cluster.spec.datacenter;
    for name in split_list(call.get("delete").unwrap_or_default()) {
        options.remove(name);
    }
    for (name, value) in call.params.iter().filter(|(name, _)| *name != "delete") {
        let ended = if name == "description" { format!("{}\n", value.trim_end_matches('\n')) } else { value.clone() };
        options.insert(name.clone(), ended);
    }
    Ok(super::nothing())
}
