//! High availability: resources, and what the manager does when it is asked.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha1::{Digest, Sha1};

use super::{nothing, rows};
use crate::pve::value::{GuestKind, split_list};
use crate::sim::access::Subject;
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::route::Call;
use crate::sim::task::Work;
use crate::sim::{lxc, qemu};

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
        Sha1::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn ha_row(&self, sid: &str, options: &BTreeMap<String, String>) -> Value {
        let mut row = Map::from_iter([
            ("digest".to_owned(), json!(self.ha_digest())),
            ("sid".to_owned(), json!(sid)),
            ("type".to_owned(), json!(sid.split(':').next())),
        ]);
        for (name, value) in options {
            row.insert(name.clone(), value.parse::<i64>().map_or_else(|_| json!(value), |number| json!(number)));
        }
        row.entry("state").or_insert_with(|| json!("started"));
        Value::Object(row)
    }

    /// `100` as `vm:100` or `ct:100`, by what there is.
    fn sid(&self, text: &str) -> String {
        match text.parse::<u32>().ok().map(|vmid| self.guests.get(&vmid)) {
            Some(guest) => {
                let kind = guest.map_or(GuestKind::Qemu, crate::sim::guest::Guest::kind);
                format!("{}:{text}", kind.ha_prefix())
            }
            None => text.to_owned(),
        }
    }

    /// What the manager does some time after a command: it sets the state and starts or stops the guest.
    pub(in crate::sim) fn ha_request(&mut self, vmid: u32, start: bool) {
        let Some(guest) = self.guests.get(&vmid) else { return };
        let (kind, node, runs) = (guest.kind(), guest.node.clone(), guest.running.is_some());
        if let Some(options) = self.ha.get_mut(&format!("{}:{vmid}", kind.ha_prefix())) {
            options.insert("state".to_owned(), if start { "started" } else { "stopped" }.to_owned());
        }
        if start == runs {
            return;
        }
        let (name, work) = match (kind, start) {
            (GuestKind::Qemu, true) => ("qmstart", Work::Qemu(qemu::Work::start(vmid))),
            (GuestKind::Qemu, false) => ("qmshutdown", Work::Qemu(qemu::Work::shutdown(vmid))),
            (GuestKind::Lxc, true) => ("vzstart", Work::Lxc(lxc::Work::start(vmid))),
            (GuestKind::Lxc, false) => ("vzshutdown", Work::Lxc(lxc::Work::shutdown(vmid))),
        };
        self.spawn(&Subject::root(), &node, name, &vmid.to_string(), work);
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
    let sid = cluster.sid(call.get("sid").unwrap_or_default());
    match cluster.ha.get(&sid) {
        Some(options) => Ok(Answer::from(cluster.ha_row(&sid, options))),
        None => Err(Failure::die(format!("no such resource '{sid}'"))),
    }
}

const OPTIONS: &[&str] = &["state", "comment", "max_restart", "max_relocate", "failback"];

/// A group is refused since groups became rules.
fn refuse_group(cluster: &Cluster, call: &Call) -> Result<(), Failure> {
    if call.get("group").is_some() && cluster.access.release() >= 9 {
        return Err(Failure::die("invalid parameter 'group': ha groups have been migrated to rules"));
    }
    Ok(())
}

pub(in crate::sim) fn ha_create(cluster: &mut Cluster, call: &Call) -> Outcome {
    refuse_group(cluster, call)?;
    let sid = cluster.sid(call.get("sid").unwrap_or_default());
    let guest = sid.split_once(':').and_then(|(kind, vmid)| {
        let guest = cluster.guests.get(&vmid.parse().ok()?)?;
        (guest.kind().ha_prefix() == kind).then_some(guest)
    });
    if guest.is_none() {
        return Err(Failure::die(format!("resource '{sid}' does not exist in cluster")));
    }
    if cluster.ha.contains_key(&sid) {
        return Err(Failure::die(format!("create resource failed: resource ID '{sid}' already defined")));
    }
    let given = OPTIONS.iter().filter_map(|name| call.get(name).map(|value| ((*name).to_owned(), value.to_owned())));
    cluster.ha.insert(sid, given.collect());
    Ok(nothing())
}

pub(in crate::sim) fn ha_update(cluster: &mut Cluster, call: &Call) -> Outcome {
    refuse_group(cluster, call)?;
    let sid = cluster.sid(call.get("sid").unwrap_or_default());
    let failed = |text: &str| Failure::die(format!("update resources config failed: {text}"));
    if call.get("digest").is_some_and(|digest| digest != cluster.ha_digest()) {
        return Err(failed("detected modified configuration - file changed by other user? Try again."));
    }
    let Some(options) = cluster.ha.get_mut(&sid) else {
        return Err(failed(&format!("no such resource '{sid}'")));
    };
    for name in OPTIONS {
        if let Some(value) = call.get(name) {
            options.insert((*name).to_owned(), value.to_owned());
        }
    }
    for name in split_list(call.get("delete").unwrap_or_default()) {
        options.remove(name);
    }
    Ok(nothing())
}

pub(in crate::sim) fn ha_delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    let sid = cluster.sid(call.get("sid").unwrap_or_default());
    match cluster.ha.remove(&sid) {
        Some(_) => Ok(nothing()),
        None => Err(Failure::die(format!("cannot delete service '{sid}', not HA managed!"))),
    }
}

pub(in crate::sim) fn ha_rules(_: &mut Cluster, _: &Call) -> Outcome {
    // Making one is not simulated, so there are none.
    Ok(rows(Vec::new()))
}

pub(in crate::sim) fn ha_groups(cluster: &mut Cluster, _: &Call) -> Outcome {
    if cluster.access.release() >= 9 {
        return Err(Failure::die("cannot index groups: ha groups have been migrated to rules"));
    }
    Ok(rows(Vec::new()))
}

pub(in crate::sim) fn ha_status(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut list = vec![json!({ "id": "quorum", "node": call.node, "quorate": 1, "status": "OK", "type": "quorum" })];
    if cluster.access.release() >= 9 {
        list.push(json!({
            "armed-state": "standby", "id": "fencing", "node": call.node, "status": "standby (CRM watchdog standby)",
            "type": "fencing",
        }));
    }
    for (sid, options) in &cluster.ha {
        let number = |name: &str| options.get(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or(1);
        let state = options.get("state").map_or("started", String::as_str);
        let guest = sid.split_once(':').and_then(|(_, vmid)| cluster.guests.get(&vmid.parse().ok()?));
        let node = guest.map_or("", |guest| guest.node.as_str());
        let now = if guest.is_some_and(|guest| guest.running.is_some()) { "started" } else { "stopped" };
        list.push(json!({
            "failback": number("failback"), "id": format!("service:{sid}"), "max_relocate": number("max_relocate"),
            "max_restart": number("max_restart"), "node": node, "request_state": state, "sid": sid, "state": now,
            "status": format!("{sid} ({node}, {now})"), "type": "service",
        }));
    }
    Ok(rows(list))
}
