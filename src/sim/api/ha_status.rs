//! What the HA manager says of itself and its resources.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::rows;
use crate::sim::answer::{Answer, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::guest::Guest;
use crate::sim::route::Call;
use crate::sim::section::calendar;

/// One resource as the manager sees it.
struct Service<'a> {
    sid: &'a str,
    options: &'a BTreeMap<String, String>,
    guest: Option<&'a Guest>,
    /// What was asked for.
    request: &'a str,
}

impl Service<'_> {
    fn runs(&self) -> bool {
        self.guest.is_some_and(|guest| guest.running.is_some())
    }

    /// The manager's own word for what is.
    fn crm_state(&self) -> &'static str {
        match (self.runs(), self.request) {
            (true, "started") => "started",
            (true, _) => "request_stop",
            (false, "started") => "started",
            (false, _) => "stopped",
        }
    }

    /// The word for people.
    fn state(&self, managed: bool) -> &'static str {
        match (self.runs(), self.request) {
            (_, "ignored") => "ignored",
            _ if self.guest.is_none() => "not found",
            _ if !managed => "queued",
            (true, "started") => "started",
            (true, _) => "stopping",
            (false, "started") => "starting",
            (false, "disabled") => "disabled",
            (false, _) => "stopped",
        }
    }
}

fn services(cluster: &Cluster) -> Vec<Service<'_>> {
    cluster
        .ha
        .iter()
        .map(|(sid, options)| {
            let guest = sid.split_once(':').and_then(|(_, vmid)| cluster.guests.get(&vmid.parse().ok()?));
            let request = match options.get("state").map_or("started", String::as_str) {
                "enabled" => "started",
                state => state,
            };
            Service { sid, options, guest, request }
        })
        .collect()
}

/// The node that the manager runs on, where it has something to do.
fn master(cluster: &Cluster) -> Option<&str> {
    let first = cluster.spec.nodes.iter().filter(|node| node.online).map(|node| node.name.as_str()).min();
    first.filter(|_| cluster.spec.ha_manager && !cluster.ha.is_empty())
}

fn quorate(cluster: &Cluster) -> bool {
    cluster.spec.nodes.iter().filter(|node| node.online).count() * 2 > cluster.spec.nodes.len()
}

/// `GET /cluster/ha/status/current`.
pub(in crate::sim) fn ha_status(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (release, now) = (cluster.access.release(), cluster.unix_time());
    let quorate = quorate(cluster);
    let status = if quorate { "OK".to_owned() } else { format!("No quorum on node '{}'!", call.node) };
    let mut list = vec![json!({
        "id": "quorum", "node": call.node, "quorate": u8::from(quorate), "status": status, "type": "quorum",
    })];
    let (master, when) = (master(cluster), calendar::shown(now));
    if let Some(node) = master {
        let status = format!("{node} (active, {when})");
        list.push(json!({ "id": "master", "node": node, "status": status, "timestamp": now, "type": "master" }));
    }
    if release >= 9 {
        let (armed, watchdog) = if master.is_some() { ("armed", "active") } else { ("standby", "standby") };
        list.push(json!({
            "armed-state": armed, "id": "fencing", "node": master.unwrap_or(&call.node),
            "status": format!("{armed} (CRM watchdog {watchdog})"), "type": "fencing",
        }));
    }
    let services = services(cluster);
    for node in cluster.spec.nodes.iter().filter(|_| master.is_some()) {
        let name = &node.name;
        let busy = services.iter().any(|service| service.guest.is_some_and(|guest| guest.node == *name));
        let (state, watchdog) = match (node.online, busy) {
            (false, _) => ("old timestamp - dead?", "watchdog standby"),
            (true, true) => ("active", "watchdog active"),
            (true, false) => ("idle", "watchdog standby"),
        };
        let timestamp = if node.online { now } else { now.saturating_sub(60) };
        let status = match release {
            9.. => format!("{name} ({state}, {watchdog}, {})", calendar::shown(timestamp)),
            _ => format!("{name} ({state}, {})", calendar::shown(timestamp)),
        };
        list.push(json!({
            "id": format!("lrm:{name}"), "node": name, "status": status, "timestamp": timestamp, "type": "lrm",
        }));
    }
    list.extend(services.iter().map(|service| row(service, master.is_some(), release)));
    Ok(rows(list))
}

fn row(service: &Service, managed: bool, release: u32) -> Value {
    let (sid, state) = (service.sid, service.state(managed));
    let node = service.guest.map(|guest| guest.node.as_str());
    let mut row = Map::from_iter([
        ("id".to_owned(), json!(format!("service:{sid}"))),
        ("node".to_owned(), json!(node)),
        ("request_state".to_owned(), json!(service.request)),
        ("sid".to_owned(), json!(sid)),
        ("state".to_owned(), json!(state)),
        ("status".to_owned(), json!(format!("{sid} ({}, {state})", node.unwrap_or("---")))),
        ("type".to_owned(), json!("service")),
    ]);
    if node.is_none() {
        row.remove("node");
    }
    if managed && service.request != "ignored" && node.is_some() {
        row.insert("crm_state".to_owned(), json!(service.crm_state()));
    }
    let numbers: &[&str] =
        if release >= 9 { &["failback", "max_relocate", "max_restart"] } else { &["max_relocate", "max_restart"] };
    for name in numbers {
        let number = service.options.get(*name).and_then(|text| text.parse::<i64>().ok()).unwrap_or(1);
        row.insert((*name).to_owned(), json!(number));
    }
    for name in ["comment", "group"] {
        if let Some(text) = service.options.get(name) {
            row.insert(name.to_owned(), json!(text));
        }
    }
    Value::Object(row)
}

/// `GET /cluster/ha/status/manager_status`.
pub(in crate::sim) fn ha_manager_status(cluster: &mut Cluster, call: &Call) -> Outcome {
    let now = cluster.unix_time();
    let quorum = json!({ "node": call.node, "quorate": u8::from(quorate(cluster)) });
    let Some(master) = master(cluster) else {
        return Ok(Answer::from(json!({ "manager_status": {}, "quorum": quorum })));
    };
    let services = services(cluster);
    let (mut nodes, mut lrm, mut states) = (Map::new(), Map::new(), Map::new());
    for node in &cluster.spec.nodes {
        let busy = services.iter().any(|service| service.guest.is_some_and(|guest| guest.node == node.name));
        let state = if busy { "active" } else { "wait_for_agent_lock" };
        let timestamp = if node.online { now } else { now.saturating_sub(60) };
        nodes.insert(node.name.clone(), json!(if node.online { "online" } else { "unknown" }));
        let status = json!({ "mode": "active", "results": {}, "state": state, "timestamp": timestamp });
        lrm.insert(node.name.clone(), status);
    }
    for service in services.iter().filter(|service| service.request != "ignored") {
        let Some(guest) = service.guest else { continue };
        let mut state = json!({ "node": guest.node, "state": service.crm_state() });
        if service.runs() {
            state["running"] = json!(1);
        }
        states.insert(service.sid.to_owned(), state);
    }
    let status = json!({ "master_node": master, "node_status": nodes, "service_status": states, "timestamp": now });
    Ok(Answer::from(json!({ "lrm_status": lrm, "manager_status": status, "quorum": quorum })))
}
