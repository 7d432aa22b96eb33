//! Files of a node that calls read and write: its options, name servers, hosts and network devices.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha1::{Digest, Sha1};

use super::{nothing, rows};
use crate::pve::value::split_list;
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::route::Call;
use crate::sim::task::Work;
use crate::sim::world::NodeSpec;

/// What was written on a node.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(in crate::sim) struct Settings {
    options: BTreeMap<String, String>,
    dns: BTreeMap<String, String>,
    hosts: String,
    interfaces: BTreeMap<String, Map<String, Value>>,
    /// Devices as they are to become.
    planned: Option<BTreeMap<String, Map<String, Value>>>,
}

impl Settings {
    pub(in crate::sim) fn new(spec: &NodeSpec, address: &str) -> Self {
        let mut interfaces = spec.interfaces.clone();
        if interfaces.is_empty() {
            let count = spec.bridges.len();
            for (index, bridge) in spec.bridges.iter().enumerate() {
                let port = format!("eno{}", index + 1);
                let device = json!({
                    "active": 1, "exists": 1, "families": ["inet"], "method": "manual", "method6": "manual",
                    "priority": 3 + index, "type": "eth",
                });
                let over = json!({
                    "active": 1, "autostart": 1, "bridge_fd": "0", "bridge_ports": port, "bridge_stp": "off",
                    "families": ["inet"], "method": "manual", "method6": "manual", "priority": 3 + count + index,
                    "type": "bridge",
                });
                for (name, value) in [(&port, device), (bridge, over)] {
                    interfaces.insert(name.clone(), value.as_object().cloned().unwrap_or_default());
                }
            }
        }
        let hosts = format!("127.0.0.1 localhost.localdomain localhost\n{address} {0}.example.net {0}\n", spec.name);
        Self { options: BTreeMap::new(), dns: spec.dns.clone(), hosts, interfaces, planned: None }
    }
}

fn digest(text: &str) -> String {
    Sha1::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn settings<'a>(cluster: &'a mut Cluster, call: &Call) -> Result<&'a mut Settings, Failure> {
    let missing = || Failure::die(format!("no such cluster node '{}'", call.node));
    cluster.settings.get_mut(&call.node).ok_or_else(missing)
}

/// The text of a node's options, of which the digest is made.
fn options_text(options: &BTreeMap<String, String>) -> String {
    options.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
}

/// Numbers as numbers.
fn shown(value: &str) -> Value {
    value.parse::<i64>().map_or_else(|_| json!(value), |number| json!(number))
}

pub(in crate::sim) fn node_config(cluster: &mut Cluster, call: &Call) -> Outcome {
    let options = &settings(cluster, call)?.options;
    let wanted = call.get("property").filter(|name| *name != "all");
    let list = options.iter().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name));
    let mut object: Map<String, Value> = list.map(|(name, value)| (name.clone(), shown(value))).collect();
    // Of a file that is not there nothing is told, not even a digest.
    if wanted.is_none() && !options.is_empty() {
        object.insert("digest".to_owned(), json!(digest(&options_text(options))));
    }
    Ok(Answer::from(Value::Object(object)))
}

pub(in crate::sim) fn set_node_config(cluster: &mut Cluster, call: &Call) -> Outcome {
    let options = &mut settings(cluster, call)?.options;
    if call.get("digest").is_some_and(|given| !options.is_empty() && given != digest(&options_text(options))) {
        return Err(Failure::die("detected modified configuration - file changed by other user? Try again."));
    }
    for (name, value) in call.params.iter().filter(|(name, _)| !matches!(name.as_str(), "digest" | "delete")) {
        let ended = if name == "description" { format!("{}\n", value.trim_end_matches('\n')) } else { value.clone() };
        options.insert(name.clone(), ended);
    }
    for name in split_list(call.get("delete").unwrap_or_default()) {
        options.remove(name);
    }
    Ok(nothing())
}

pub(in crate::sim) fn dns(cluster: &mut Cluster, call: &Call) -> Outcome {
    let dns = &settings(cluster, call)?.dns;
    Ok(Answer::from(json!(dns)))
}

pub(in crate::sim) fn set_dns(cluster: &mut Cluster, call: &Call) -> Outcome {
    let dns = &mut settings(cluster, call)?.dns;
    dns.insert("search".to_owned(), call.get("search").unwrap_or_default().to_owned());
    // Servers that are not named stay.
    for name in ["dns1", "dns2", "dns3"] {
        if let Some(value) = call.get(name) {
            dns.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(nothing())
}

pub(in crate::sim) fn hosts(cluster: &mut Cluster, call: &Call) -> Outcome {
    let text = &settings(cluster, call)?.hosts;
    Ok(Answer::from(json!({ "data": text, "digest": digest(text) })))
}

pub(in crate::sim) fn set_hosts(cluster: &mut Cluster, call: &Call) -> Outcome {
    let text = &mut settings(cluster, call)?.hosts;
    if call.get("digest").is_some_and(|given| given != digest(text)) {
        return Err(Failure::die("detected modified configuration - file changed by other user? Try again."));
    }
    call.get("data").unwrap_or_default().clone_into(text);
    Ok(nothing())
}

pub(in crate::sim) fn networks(cluster: &mut Cluster, call: &Call) -> Outcome {
    let node = settings(cluster, call)?.clone();
    let (list, changed) = (node.planned.as_ref().unwrap_or(&node.interfaces), node.planned.is_some());
    let wanted = |kind: &str| match call.get("type") {
        None | Some("include_sdn") => true,
        Some("any_bridge" | "any_local_bridge") => matches!(kind, "bridge" | "OVSBridge"),
        Some(wanted) => wanted == kind,
    };
    let mut found = Vec::new();
    for (name, options) in list.iter().filter(|(name, _)| *name != "lo") {
        let kind = options.get("type").and_then(Value::as_str).unwrap_or_default();
        if !wanted(kind) {
            continue;
        }
        if kind.ends_with("ridge") {
            let (path, node) = (format!("/sdn/zones/localnetwork/{name}"), format!("/nodes/{}", call.node));
            let check = cluster.check_for(&call.subject, &path);
            // The whole list is for whoever may see the node.
            let by_node = call.get("type").is_none() && check.any(&node, &["Sys.Audit"]);
            if !by_node && !check.any(&path, &["SDN.Audit", "SDN.Use"]) {
                continue;
            }
        }
        let mut row = options.clone();
        row.insert("iface".to_owned(), json!(name));
        found.push(Value::Object(row));
    }
    let mut answer = rows(found);
    answer.changes = changed.then(|| changes(&node.interfaces, list));
    Ok(answer)
}

/// What is planned, as a difference of two files.
fn changes(old: &BTreeMap<String, Map<String, Value>>, new: &BTreeMap<String, Map<String, Value>>) -> String {
    let mut text = "--- /etc/network/interfaces\n+++ /etc/network/interfaces.new\n".to_owned();
    for name in old.keys().chain(new.keys()).collect::<std::collections::BTreeSet<_>>() {
        if old.get(name) == new.get(name) {
            continue;
        }
        for (sign, side) in [('-', old), ('+', new)] {
            if let Some(options) = side.get(name) {
                text.push_str(&file(name, options).lines().map(|line| format!("{sign}{line}\n")).collect::<String>());
            }
        }
    }
    text
}

/// A device as its lines in the file.
fn file(name: &str, options: &Map<String, Value>) -> String {
    let text = |key: &str| options.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut lines = Vec::new();
    if options.get("autostart") == Some(&json!(1)) {
        lines.push(format!("auto {name}"));
    }
    lines.push(format!(
        "iface {name} inet {}",
        if text("method").is_empty() { "manual".to_owned() } else { text("method") }
    ));
    for (key, word) in [
        ("cidr", "address"),
        ("gateway", "gateway"),
        ("bridge_ports", "bridge-ports"),
        ("bridge_stp", "bridge-stp"),
        ("bridge_fd", "bridge-fd"),
        ("slaves", "bond-slaves"),
        ("bond_mode", "bond-mode"),
        ("vlan-raw-device", "vlan-raw-device"),
        ("mtu", "mtu"),
    ] {
        if !text(key).is_empty() {
            lines.push(format!("\t{word} {}", text(key)));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Dots of a prefix: `24` as `255.255.255.0` is not what newer releases keep; they keep the number.
fn split_cidr(options: &mut Map<String, Value>) {
    for (cidr, address, netmask) in [("cidr", "address", "netmask"), ("cidr6", "address6", "netmask6")] {
        let given = options
            .get(cidr)
            .and_then(Value::as_str)
            .and_then(|text| text.split_once('/'))
            .map(|(a, m)| (a.to_owned(), m.to_owned()));
        if let Some((host, mask)) = given {
            options.insert(address.to_owned(), json!(host));
            options.insert(netmask.to_owned(), if cidr == "cidr6" { shown(&mask) } else { json!(mask) });
        } else if let (Some(host), Some(mask)) = (options.get(address).and_then(Value::as_str), options.get(netmask)) {
            let mask = mask.as_str().map_or_else(|| mask.to_string(), str::to_owned);
            let joined = format!("{host}/{mask}");
            options.insert(cidr.to_owned(), json!(joined));
        }
    }
}

fn device(call: &Call) -> Map<String, Value> {
    let given = call.params.iter().filter(|(name, _)| !matches!(name.as_str(), "iface" | "delete" | "node"));
    let number = |name: &str| matches!(name, "autostart" | "bridge_vlan_aware" | "netmask6" | "vlan-id" | "ovs_tag");
    let mut options: Map<String, Value> =
        given.map(|(name, value)| (name.clone(), if number(name) { shown(value) } else { json!(value) })).collect();
    split_cidr(&mut options);
    options
}

/// Ways of addressing, as they follow from the addresses.
fn addressed(options: &mut Map<String, Value>) {
    let (four, six) = (options.contains_key("address"), options.contains_key("address6"));
    let way = |set: bool| json!(if set { "static" } else { "manual" });
    options.insert("method".to_owned(), way(four));
    options.insert("method6".to_owned(), way(six));
    let families: Vec<&str> =
        [(four || !six, "inet"), (six, "inet6")].into_iter().filter(|(set, _)| *set).map(|(_, n)| n).collect();
    options.insert("families".to_owned(), json!(families));
}

fn check_duplicates(
    all: &BTreeMap<String, Map<String, Value>>,
    name: &str,
    options: &Map<String, Value>,
) -> Result<(), Failure> {
    for (key, what) in [("gateway", "Default gateway"), ("gateway6", "Default ipv6 gateway")] {
        let taken = |(other, had): &(&String, &Map<String, Value>)| *other != name && had.contains_key(key);
        if options.contains_key(key)
            && let Some((other, _)) = all.iter().find(taken)
        {
            return Err(Failure::parameter(key, format!("{what} already exists on interface '{other}'.")));
        }
    }
    let ports = |options: &Map<String, Value>| -> Vec<(String, String)> {
        let keys = ["bridge_ports", "ovs_ports", "slaves", "ovs_bonds"];
        let list = keys.iter().filter_map(|key| Some((*key, options.get(*key)?.as_str()?)));
        list.flat_map(|(key, text)| split_list(text).map(move |port| (key.to_owned(), port.to_owned()))).collect()
    };
    for (key, port) in ports(options) {
        for (other, had) in all.iter().filter(|(other, _)| *other != name) {
            if ports(had).iter().any(|(_, taken)| *taken == port) {
                return Err(Failure::parameter(&key, format!("{port} is already used on interface '{other}'.")));
            }
        }
    }
    Ok(())
}

/// The devices as they are planned; what is there where nothing is.
fn planned(settings: &mut Settings) -> &mut BTreeMap<String, Map<String, Value>> {
    let now = settings.interfaces.clone();
    settings.planned.get_or_insert(now)
}

pub(in crate::sim) fn network_create(cluster: &mut Cluster, call: &Call) -> Outcome {
    let node = settings(cluster, call)?;
    let name = call.get("iface").unwrap_or_default().to_owned();
    let all = node.planned.as_ref().unwrap_or(&node.interfaces);
    if all.contains_key(&name) {
        return Err(Failure::parameter("iface", "interface already exists"));
    }
    let mut options = device(call);
    check_duplicates(all, &name, &options)?;
    if call.get("type").is_some_and(|kind| kind.starts_with("OVS")) {
        return Err(Failure::die("Open VSwitch is not installed (need package 'openvswitch-switch')"));
    }
    addressed(&mut options);
    let priority = all.values().filter_map(|options| options.get("priority")?.as_u64()).max().unwrap_or(2) + 1;
    options.insert("priority".to_owned(), json!(priority));
    if options.get("type") == Some(&json!("bridge")) {
        options.entry("bridge_ports").or_insert_with(|| json!(""));
        options.entry("bridge_stp").or_insert_with(|| json!("off"));
        options.entry("bridge_fd").or_insert_with(|| json!("0"));
    }
    planned(node).insert(name, options);
    Ok(nothing())
}

fn missing() -> Failure {
    Failure::parameter("iface", "interface does not exist")
}

pub(in crate::sim) fn network_read(cluster: &mut Cluster, call: &Call) -> Outcome {
    let node = settings(cluster, call)?;
    let all = node.planned.as_ref().unwrap_or(&node.interfaces);
    let options = all.get(call.get("iface").unwrap_or_default()).ok_or_else(missing)?;
    Ok(Answer::from(Value::Object(options.clone())))
}

pub(in crate::sim) fn network_update(cluster: &mut Cluster, call: &Call) -> Outcome {
    let node = settings(cluster, call)?;
    let name = call.get("iface").unwrap_or_default().to_owned();
    let all = node.planned.as_ref().unwrap_or(&node.interfaces);
    let mut options = all.get(&name).cloned().ok_or_else(missing)?;
    for key in split_list(call.get("delete").unwrap_or_default()) {
        options.remove(key);
        let parts: &[&str] = match key {
            "cidr" => &["address", "netmask"],
            "cidr6" => &["address6", "netmask6"],
            _ => &[],
        };
        for part in parts {
            options.remove(*part);
        }
    }
    let given = device(call);
    check_duplicates(all, &name, &given)?;
    options.extend(given);
    addressed(&mut options);
    planned(node).insert(name, options);
    Ok(nothing())
}

pub(in crate::sim) fn network_delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    let node = settings(cluster, call)?;
    let name = call.get("iface").unwrap_or_default().to_owned();
    let all = node.planned.as_ref().unwrap_or(&node.interfaces);
    if !all.contains_key(&name) {
        return Err(missing());
    }
    planned(node).remove(&name);
    Ok(nothing())
}

pub(in crate::sim) fn network_revert(cluster: &mut Cluster, call: &Call) -> Outcome {
    settings(cluster, call)?.planned = None;
    Ok(nothing())
}

pub(in crate::sim) fn network_apply(cluster: &mut Cluster, call: &Call) -> Outcome {
    settings(cluster, call)?;
    Ok(cluster.start_task(&call.subject, &call.node, "srvreload", "networking", Work::ApplyNetwork))
}

/// What the task of applying does: what was planned is, and the node's bridges with it.
pub(in crate::sim) fn apply_network(cluster: &mut Cluster, node: &str) {
    let Some(settings) = cluster.settings.get_mut(node) else { return };
    let Some(mut planned) = settings.planned.take() else { return };
    for options in planned.values_mut().filter(|options| options.get("type") != Some(&json!("eth"))) {
        if options.get("autostart") == Some(&json!(1)) {
            options.insert("active".to_owned(), json!(1));
        }
    }
    let is_bridge = |options: &Map<String, Value>| {
        options.get("type").and_then(Value::as_str).is_some_and(|kind| matches!(kind, "bridge" | "OVSBridge"))
    };
    let bridges = planned.iter().filter(|(_, options)| is_bridge(options)).map(|(name, _)| name.clone()).collect();
    settings.interfaces = planned;
    if let Some(spec) = cluster.spec.nodes.iter_mut().find(|spec| spec.name == node) {
        spec.bridges = bridges;
    }
}

impl Cluster {
    /// Search domains and name servers of a node.
    pub(in crate::sim) fn resolver(&self, node: &str) -> (Vec<String>, Vec<String>) {
        let Some(settings) = self.settings.get(node) else { return (Vec::new(), Vec::new()) };
        let get = |name: &str| settings.dns.get(name).filter(|text| !text.is_empty()).cloned();
        let search = get("search").map(|text| text.split_whitespace().map(str::to_owned).collect());
        (search.unwrap_or_default(), ["dns1", "dns2", "dns3"].into_iter().filter_map(get).collect())
    }
}
