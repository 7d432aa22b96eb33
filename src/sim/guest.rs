//! Guests, and the rows in which lists show them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::access::Subject;
use super::answer::Failure;
use super::cluster::Cluster;
use super::config::{Config, is_true};
use crate::pve::schema::split_index;
use crate::pve::value::{GuestKind, Size, parse_boolean};

/// How often the nodes tell each other their guests' names, power states and figures.
pub(super) const BROADCAST_EVERY: u64 = 10_000;

/// A guest.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Guest {
    pub(super) node: String,
    pub(super) config: Config,
    pub(super) running: Option<Running>,
}

/// A guest's process.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Running {
    pub(super) since: u64,
    pub(super) pid: u32,
    pub(super) paused: bool,
}

/// The sub-keys of a comma list, without any checks: for reading what is stored.
pub(super) fn sub_key<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split(',').find_map(|part| part.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
}

/// The bare value of a comma list, or that of its named default key.
pub(super) fn default_of<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split(',').find(|part| !part.is_empty() && !part.contains('=')).or_else(|| sub_key(value, name))
}

/// True for the keys of a VM's drives.
pub(super) fn is_drive(key: &str) -> bool {
    matches!(key, "efidisk0" | "tpmstate0")
        || split_index(key).is_some_and(|(stem, _)| matches!(stem, "ide" | "sata" | "scsi" | "virtio"))
}

/// True for `unused0` and its like.
pub(super) fn is_unused(key: &str) -> bool {
    split_index(key).is_some_and(|(stem, _)| stem == "unused")
}

/// True for the keys of a container's volumes.
pub(super) fn is_mount(key: &str) -> bool {
    key == "rootfs" || split_index(key).is_some_and(|(stem, _)| stem == "mp")
}

/// The volume that the value of a drive or a mount point names; nothing for an empty drive or a path.
pub(super) fn volume_of(value: &str) -> Option<&str> {
    let file = default_of(value, "file").or_else(|| sub_key(value, "volume"))?;
    (!file.starts_with('/') && file.contains(':')).then_some(file)
}

impl Guest {
    pub(super) const fn kind(&self) -> GuestKind {
        self.config.kind
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.config.current.get(key).map(String::as_str)
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.text(key)?.parse().ok()
    }

    pub(super) fn name(&self, vmid: u32) -> String {
        match self.kind() {
            GuestKind::Qemu => self.text("name").map_or_else(|| format!("VM {vmid}"), str::to_owned),
            GuestKind::Lxc => self.text("hostname").map_or_else(|| format!("CT{vmid}"), str::to_owned),
        }
    }

    fn cpus(&self) -> u64 {
        match self.kind() {
            GuestKind::Qemu => self
                .number("vcpus")
                .filter(|n| *n > 0)
                .unwrap_or_else(|| self.number("sockets").unwrap_or(1) * self.number("cores").unwrap_or(1)),
            GuestKind::Lxc => self.number("cores").unwrap_or(16),
        }
    }

    fn memory(&self) -> u64 {
        let megabytes = self.text("memory").and_then(|text| default_of(text, "current")).and_then(|n| n.parse().ok());
        megabytes.unwrap_or(512u64) * Size::MIB
    }

    /// The size of the disk that it boots from, as the configuration says.
    fn disk(&self) -> u64 {
        let size = |key: &str| {
            let value = self.text(key)?;
            (sub_key(value, "media") != Some("cdrom"))
                .then(|| sub_key(value, "size").and_then(Size::parse_proxmox).map(|size| size.0))
                .flatten()
        };
        if self.kind() == GuestKind::Lxc {
            return size("rootfs").unwrap_or(0);
        }
        let order = self.text("boot").and_then(|boot| sub_key(boot, "order")).unwrap_or_default();
        let first = order.split(';').filter(|key| is_drive(key)).find_map(size);
        first
            .or_else(|| {
                let mut drives = self.config.current.keys().filter(|key| is_drive(key) && !key.ends_with("disk0"));
                drives.find_map(|key| size(key))
            })
            .unwrap_or(0)
    }

    fn agent(&self) -> bool {
        self.text("agent").and_then(|text| default_of(text, "enabled")).and_then(parse_boolean) == Some(true)
    }
}

impl Cluster {
    /// The guest with this id, of this kind, on this node; else what Proxmox says about its file.
    pub(super) fn guest(&self, kind: GuestKind, vmid: u32, node: &str) -> Result<&Guest, Failure> {
        self.guests
            .get(&vmid)
            .filter(|guest| guest.kind() == kind && guest.node == node)
            .ok_or_else(|| Failure::die(missing_text(kind, vmid, node)))
    }

    /// The same for changing it.
    pub(super) fn guest_mut(&mut self, kind: GuestKind, vmid: u32, node: &str) -> Result<&mut Guest, Failure> {
        self.guests
            .get_mut(&vmid)
            .filter(|guest| guest.kind() == kind && guest.node == node)
            .ok_or_else(|| Failure::die(missing_text(kind, vmid, node)))
    }

    /// The pool that a guest is in.
    pub(super) fn pool_of(&self, vmid: u32) -> Option<&str> {
        self.pools.iter().find(|(_, pool)| pool.guests.contains(&vmid)).map(|(name, _)| name.as_str())
    }

    /// Tells of one guest after another whether somebody may see it.
    pub(super) fn sees<'a>(&'a self, subject: &'a Subject) -> impl FnMut(u32) -> bool + 'a {
        let look = |vmid: u32| self.check_guest(subject, vmid).any(&format!("/vms/{vmid}"), &["VM.Audit"]);
        // Of guests that have no entry of their own and are in no pool, one is seen like the other.
        let mut others = None;
        move |vmid| {
            if self.pool_of(vmid).is_some() || self.access.has_entry(&format!("/vms/{vmid}")) {
                return look(vmid);
            }
            *others.get_or_insert_with(|| look(vmid))
        }
    }

    /// The figures of a guest, as `status/current` and the node's list show them.
    pub(super) fn status_row(&self, vmid: u32, guest: &Guest, full: bool) -> Map<String, Value> {
        let is_qemu = guest.kind() == GuestKind::Qemu;
        let uptime = guest.running.as_ref().map_or(0, |running| (self.clock - running.since.min(self.clock)) / 1000);
        let mem = if guest.running.is_some() { guest.memory() / 3 } else { 0 };
        let mut row = json!({
            "cpu": 0, "cpus": guest.cpus(), "disk": 0, "maxdisk": guest.disk(), "maxmem": guest.memory(), "mem": mem,
            "name": guest.name(vmid), "netin": 0, "netout": 0, "uptime": uptime, "vmid": vmid,
            "status": if guest.running.is_some() { "running" } else { "stopped" },
        });
        if is_qemu {
            if self.access.release() >= 9 {
                row["memhost"] = json!(mem);
            }
            if guest.config.current.keys().any(|key| split_index(key).is_some_and(|(stem, _)| stem == "serial")) {
                row["serial"] = json!(1);
            }
        } else {
            let swap = guest.number("swap").unwrap_or(512) * Size::MIB;
            for (key, value) in [
                ("diskread", json!(0)),
                ("diskwrite", json!(0)),
                ("maxswap", json!(swap)),
                ("swap", json!(0)),
                ("type", json!("lxc")),
            ] {
                row[key] = value;
            }
        }
        for key in ["lock", "tags"] {
            if let Some(value) = guest.text(key) {
                row[key] = json!(value);
            }
        }
        if guest.config.flag("template") {
            row["template"] = json!(1);
        }
        if let Some(running) = &guest.running {
            row["pid"] = json!(running.pid);
            if self.access.release() >= 9 {
                for (what, how) in ["cpu", "io", "memory"].iter().flat_map(|w| ["full", "some"].map(|h| (w, h))) {
                    row[format!("pressure{what}{how}")] = if is_qemu { json!(0) } else { Value::Null };
                }
            }
        }
        if full && is_qemu {
            row["qmpstatus"] = json!(qmp_status(guest));
        }
        match row {
            Value::Object(object) => object,
            _ => Map::new(),
        }
    }

    /// The answer of `GET …/status/current`.
    pub(super) fn current_status(&self, vmid: u32, guest: &Guest) -> Value {
        let mut row = self.status_row(vmid, guest, true);
        let sid = format!("{}:{vmid}", guest.kind().ha_prefix());
        row.insert(
            "ha".to_owned(),
            match self.ha.get(&sid) {
                Some(resource) if self.access.release() >= 9 => {
                    json!({ "managed": 1, "state": self.hastate(resource) })
                }
                Some(resource) => {
                    json!({ "group": resource.get("group"), "managed": 1, "state": self.hastate(resource) })
                }
                None => json!({ "managed": 0 }),
            },
        );
        if guest.kind() == GuestKind::Qemu {
            if guest.agent() {
                row.insert("agent".to_owned(), json!(1));
            }
            if let Some(vga) = guest.text("vga") {
                row.insert("clipboard".to_owned(), json!(sub_key(vga, "clipboard")));
            }
        }
        Value::Object(row)
    }

    /// What the HA manager wants a resource to be; nothing while no manager looked at it.
    fn hastate(&self, resource: &BTreeMap<String, String>) -> Option<&'static str> {
        match resource.get("state").map_or("started", String::as_str) {
            _ if !self.spec.ha_manager => None,
            "ignored" => Some("ignored"),
            "stopped" | "disabled" => Some("stopped"),
            _ => Some("started"),
        }
    }

    /// The columns that come by broadcast.
    fn broadcast_row(&self, vmid: u32, guest: &Guest) -> Map<String, Value> {
        let status = self.status_row(vmid, guest, true);
        let mut row = Map::new();
        for (name, source) in [
            ("cpu", "cpu"),
            ("disk", "disk"),
            ("maxcpu", "cpus"),
            ("maxdisk", "maxdisk"),
            ("maxmem", "maxmem"),
            ("mem", "mem"),
            ("memhost", "memhost"),
            ("name", "name"),
            ("netin", "netin"),
            ("netout", "netout"),
            ("uptime", "uptime"),
        ] {
            if let Some(value) = status.get(source) {
                row.insert(name.to_owned(), value.clone());
            }
        }
        row.insert("diskread".to_owned(), json!(0));
        row.insert("diskwrite".to_owned(), json!(0));
        let status = status.get("qmpstatus").or_else(|| status.get("status")).cloned();
        row.insert("status".to_owned(), status.unwrap_or_else(|| json!("unknown")));
        row.insert("template".to_owned(), json!(u8::from(guest.config.flag("template"))));
        row
    }

    /// Tells all nodes what the guests of the nodes that are up are like now.
    pub(super) fn broadcast(&mut self) {
        if !self.spec.broadcasts {
            return;
        }
        let rows = self
            .guests
            .iter()
            .filter(|(_, guest)| self.node_online(&guest.node))
            .map(|(vmid, guest)| (*vmid, self.broadcast_row(*vmid, guest)))
            .collect();
        self.cached = rows;
    }

    /// One guest's row in `/cluster/resources`: some columns live, the others as last broadcast.
    pub(super) fn resource_row(&self, vmid: u32, guest: &Guest) -> Value {
        let known = if self.spec.list_lag || !self.spec.broadcasts {
            self.cached.get(&vmid).cloned()
        } else {
            self.node_online(&guest.node).then(|| self.broadcast_row(vmid, guest))
        };
        let mut row = known.unwrap_or_else(|| Map::from_iter([("status".to_owned(), json!("unknown"))]));
        row.insert("id".to_owned(), json!(format!("{}/{vmid}", guest.kind())));
        row.insert("type".to_owned(), json!(guest.kind().segment()));
        row.insert("node".to_owned(), json!(guest.node));
        row.insert("vmid".to_owned(), json!(vmid));
        for key in ["lock", "tags"] {
            if let Some(value) = guest.text(key) {
                row.insert(key.to_owned(), json!(value));
            }
        }
        if let Some(pool) = self.pool_of(vmid) {
            row.insert("pool".to_owned(), json!(pool));
        }
        let sid = format!("{}:{vmid}", guest.kind().ha_prefix());
        if let Some(state) = self.ha.get(&sid).and_then(|resource| self.hastate(resource)) {
            row.insert("hastate".to_owned(), json!(state));
        }
        Value::Object(row)
    }
}

/// QEMU's own word for its state.
fn qmp_status(guest: &Guest) -> &'static str {
    match &guest.running {
        Some(running) if running.paused => "paused",
        Some(_) => "running",
        None => "stopped",
    }
}

pub(super) fn missing_text(kind: GuestKind, vmid: u32, node: &str) -> String {
    let folder = if kind == GuestKind::Qemu { "qemu-server" } else { "lxc" };
    format!("Configuration file 'nodes/{node}/{folder}/{vmid}.conf' does not exist")
}

/// Refuses where the guest bears a lock.
pub(super) fn check_lock(config: &Config) -> Result<(), Failure> {
    let what = if config.kind == GuestKind::Qemu { "VM" } else { "CT" };
    match config.lock() {
        Some(lock) if is_true(lock) => Err(Failure::die(format!("{what} is locked ({lock})"))),
        _ => Ok(()),
    }
}
