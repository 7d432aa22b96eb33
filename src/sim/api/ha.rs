//! High availability: resources, and what the manager does when it is asked.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{nothing, rows};
use crate::pve::value::{GuestKind, split_list};
use crate::sim::access::Subject;
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::route::Call;
use crate::sim::section::{check_digest, ha_groups, ha_rules, sha1_hex};
use crate::sim::task::{HaOrder, Work};
use crate::sim::{lxc, migrate, qemu};

impl Cluster {
    fn ha_digest(&self) -> String {
        let mut text = String::new();
        for (sid, options) in &self.ha {
            text.push_str(&format!("{}\n", sid.replacen(':', ": ", 1)));
            for (name, value) in options {
                text.push_str(&format!("\t{name} {value}\n"));
            }
            text.push('\n');
        }
        sha1_hex(&text)
    }

    fn ha_row(&self, sid: &str, options: &BTreeMap<String, String>) -> Value {
        let mut row = Map::from_iter([
            ("digest".to_owned(), json!(self.ha_digest())),
            ("sid".to_owned(), json!(sid)),
            ("type".to_owned(), json!(sid.split(':').next())),
        ]);
        for (name, value) in options {
            let number = value
                .parse::<i64>()
                .ok()
                .filter(|_| matches!(name.as_str(), "failback" | "max_restart" | "max_relocate"));
            row.insert(name.clone(), number.map_or_else(|| json!(value), |number| json!(number)));
        }
        // A group that was migrated is not shown any more.
        if self.access.release() >= 9 {
            row.remove("group");
        }
        row.entry("state").or_insert_with(|| json!("started"));
        Value::Object(row)
    }

    /// `100` as `vm:100` or `ct:100`, by what there is.
    fn sid(&self, text: &str) -> Result<String, Failure> {
        let Ok(vmid) = text.parse::<u32>() else { return Ok(text.to_owned()) };
        match self.guests.get(&vmid) {
            Some(guest) => Ok(format!("{}:{text}", guest.kind().ha_prefix())),
            None => Err(Failure::die(format!("unable to detect SID from VMID - VM/CT {text} does not exist"))),
        }
    }

    /// What the manager does some time after a command: it sets the state, and starts, stops or moves the guest.
    pub(in crate::sim) fn ha_request(&mut self, vmid: u32, order: &HaOrder) {
        let Some(guest) = self.guests.get(&vmid) else { return };
        let (kind, node, runs) = (guest.kind(), guest.node.clone(), guest.running.is_some());
        let (start, state) = match order {
            HaOrder::Migrate(target) => {
                if *target != node {
                    let verb = if kind == GuestKind::Qemu { "qmigrate" } else { "vzmigrate" };
                    let work = Work::Migrate(migrate::Work::by_ha(vmid, kind, target));
                    self.spawn(&Subject::root(), &node, verb, &vmid.to_string(), work);
                }
                return;
            }
            HaOrder::Start => (true, "started"),
            HaOrder::Stop => (false, "stopped"),
        };
        if let Some(options) = self.ha.get_mut(&format!("{}:{vmid}", kind.ha_prefix())) {
            options.insert("state".to_owned(), state.to_owned());
        }
        if start != runs && self.spec.ha_manager {
            self.ha_act(vmid, start);
        }
    }

    /// Starts or shuts down a guest in the manager's name.
    fn ha_act(&mut self, vmid: u32, start: bool) {
        let Some(guest) = self.guests.get(&vmid) else { return };
        let (kind, node) = (guest.kind(), guest.node.clone());
        let (name, work) = match (kind, start) {
            (GuestKind::Qemu, true) => ("qmstart", Work::Qemu(qemu::Work::start(vmid))),
            (GuestKind::Qemu, false) => ("qmshutdown", Work::Qemu(qemu::Work::shutdown(vmid))),
            (GuestKind::Lxc, true) => ("vzstart", Work::Lxc(lxc::Work::start(vmid))),
            (GuestKind::Lxc, false) => ("vzshutdown", Work::Lxc(lxc::Work::shutdown(vmid))),
        };
        self.spawn(&Subject::root(), &node, name, &vmid.to_string(), work);
    }

    /// What the manager does at every round: it starts and stops what is not as it was asked for.
    pub(in crate::sim) fn ha_round(&mut self) {
        if !self.spec.ha_manager {
            return;
        }
        let asked: Vec<(u32, bool)> = self
            .ha
            .iter()
            .filter_map(|(sid, options)| {
                let start = match options.get("state").map_or("started", String::as_str) {
                    "started" | "enabled" => true,
                    "stopped" | "disabled" => false,
                    _ => return None,
                };
                let vmid = sid.split_once(':')?.1.parse().ok()?;
                let guest = self.guests.get(&vmid)?;
                // What carries a lock, or is a template, cannot be started; what a task is at, is left to it.
                let ready = guest.config.lock().is_none() && !guest.config.flag("template");
                let busy = self.active.iter().any(|task| self.tasks[*task].is_about(vmid));
                let due = guest.running.is_some() != start && ready && !busy && self.node_online(&guest.node);
                due.then_some((vmid, start))
            })
            .collect();
        for (vmid, start) in asked {
            self.ha_act(vmid, start);
        }
    }

    /// True where the HA manager decides whether the guest runs.
    pub(in crate::sim) fn is_ha_managed(&self, kind: GuestKind, vmid: u32) -> bool {
        let state = self.ha.get(&format!("{}:{vmid}", kind.ha_prefix())).map(|options| options.get("state"));
        state.is_some_and(|state| state.is_none_or(|state| state != "ignored"))
    }
}

pub(in crate::sim) fn ha_resources(cluster: &mut Cluster, call: &Call) -> Outcome {
    let wanted = call.get("type");
    let list = cluster.ha.iter().filter(|(sid, _)| wanted.is_none_or(|kind| sid.split(':').next() == Some(kind)));
    Ok(rows(list.map(|(sid, options)| cluster.ha_row(sid, options)).collect()))
}

pub(in crate::sim) fn ha_read(cluster: &mut Cluster, call: &Call) -> Outcome {
    let sid = cluster.sid(call.get("sid").unwrap_or_default())?;
    match cluster.ha.get(&sid) {
        Some(options) => Ok(Answer::from(cluster.ha_row(&sid, options))),
        None => Err(Failure::die(format!("no such resource '{sid}'"))),
    }
}

const OPTIONS: &[&str] = &["state", "comment", "max_restart", "max_relocate", "failback", "group"];

/// The type of a resource may be named beside its id, and says the same.
fn check_type(call: &Call, sid: &str) -> Result<(), Failure> {
    match call.get("type") {
        Some(kind) if !sid.starts_with(&format!("{kind}:")) => Err(Failure::die("types does not match")),
        _ => Ok(()),
    }
}

/// A group is refused since groups became rules.
fn refuse_group(cluster: &Cluster, call: &Call) -> Result<(), Failure> {
    if call.get("group").is_some() && cluster.access.release() >= 9 {
        return Err(Failure::die("invalid parameter 'group': ha groups have been migrated to rules"));
    }
    Ok(())
}

pub(in crate::sim) fn ha_create(cluster: &mut Cluster, call: &Call) -> Outcome {
    let sid = cluster.sid(call.get("sid").unwrap_or_default())?;
    check_type(call, &sid)?;
    refuse_group(cluster, call)?;
    let guest = sid.split_once(':').and_then(|(kind, vmid)| {
        let guest = cluster.guests.get(&vmid.parse().ok()?)?;
        Some((guest, kind))
    });
    match guest {
        None => return Err(Failure::die(format!("resource '{sid}' does not exist in cluster"))),
        Some((guest, kind)) if guest.kind().ha_prefix() != kind => {
            let (vmid, what) = (sid.rsplit(':').next().unwrap_or_default(), if kind == "vm" { "VM" } else { "CT" });
            return Err(Failure::die(format!("resource '{sid}' - guest with ID {vmid} is not a {what}")));
        }
        Some(_) => {}
    }
    if cluster.ha.contains_key(&sid) {
        return Err(Failure::die(format!("create resource failed: resource ID '{sid}' already defined")));
    }
    let given = OPTIONS.iter().filter_map(|name| call.get(name).map(|value| ((*name).to_owned(), value.to_owned())));
    cluster.ha.insert(sid, given.collect());
    Ok(nothing())
}

pub(in crate::sim) fn ha_update(cluster: &mut Cluster, call: &Call) -> Outcome {
    let sid = cluster.sid(call.get("sid").unwrap_or_default())?;
    check_type(call, &sid)?;
    refuse_group(cluster, call)?;
    if let Some(group) = call.get("group").filter(|group| !ha_groups::exists(cluster, group)) {
        return Err(Failure::die(format!("HA group '{group}' does not exist")));
    }
    let failed = |text: &str| Failure::die(format!("update resources config failed: {text}"));
    check_digest(call.get("digest"), || cluster.ha_digest()).map_err(|failure| failed(&failure.text()))?;
    if !cluster.ha.contains_key(&sid) {
        return Err(failed(&format!("no such resource '{sid}'")));
    }
    let delete: Vec<&str> = split_list(call.get("delete").unwrap_or_default()).collect();
    for name in &delete {
        if !OPTIONS.contains(name) {
            return Err(failed(&format!("no such option '{name}'")));
        }
        if call.params.contains_key(*name) {
            return Err(failed(&format!("cannot set and delete property '{name}' at the same time!")));
        }
    }
    let Some(options) = cluster.ha.get_mut(&sid) else {
        return Err(failed(&format!("no such resource '{sid}'")));
    };
    for name in OPTIONS {
        if let Some(value) = call.get(name) {
            options.insert((*name).to_owned(), value.to_owned());
        }
    }
    for name in delete {
        options.remove(name);
    }
    Ok(nothing())
}

pub(in crate::sim) fn ha_delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    let sid = cluster.sid(call.get("sid").unwrap_or_default())?;
    if cluster.ha.remove(&sid).is_none() {
        return Err(Failure::die(format!("cannot delete service '{sid}', not HA managed!")));
    }
    if cluster.access.release() >= 9 && call.get("purge") != Some("0") {
        ha_rules::purge(cluster, &sid);
    }
    Ok(nothing())
}
