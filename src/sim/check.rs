//! What is wrong with a world, or with faults, before anything is simulated.

use std::collections::{BTreeMap, BTreeSet};

use super::config::Config;
use super::faults::{Fault, FaultKind};
use super::guest::{is_drive, is_mount, is_unused, volume_of};
use super::world::{ClusterSpec, GuestSpec, World};
use crate::pve::schema::{Spelling, ValueType, catalog_for, nearest};
use crate::pve::value::{GuestKind, Vmid, is_dns_name, parse_boolean};

/// Something that cannot be simulated, or not as it was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The way to the value: keys, and positions in lists.
    pub path: Vec<String>,
    /// What is wrong with it.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The types of storages whose volumes are simulated.
const STORAGE_TYPES: [&str; 9] = ["dir", "nfs", "cifs", "btrfs", "cephfs", "lvm", "lvmthin", "zfspool", "rbd"];

/// What a storage can hold.
const CONTENT: [&str; 7] = ["images", "rootdir", "iso", "vztmpl", "backup", "snippets", "import"];

/// What stands in a guest's file and is no option.
const IN_FILES: [&str; 7] = ["digest", "lock", "parent", "snaptime", "runningmachine", "runningcpu", "meta"];

/// Collects problems, knowing where it stands.
struct Finder {
    at: Vec<String>,
    found: Vec<Problem>,
}

impl Finder {
    fn within(&mut self, step: impl ToString, look: impl FnOnce(&mut Self)) {
        self.at.push(step.to_string());
        look(self);
        self.at.pop();
    }

    fn report(&mut self, key: &str, message: impl Into<String>, hint: Option<String>) {
        let mut path = self.at.clone();
        path.extend((!key.is_empty()).then(|| key.to_owned()));
        self.found.push(Problem { path, message: message.into(), hint });
    }

    /// Reports a name that is not among those that there are.
    fn unknown(&mut self, key: &str, what: &str, name: &str, known: &[&str]) {
        let near = nearest(name, known).map(|near| format!("did you mean `{near}`?"));
        let all = || (!known.is_empty()).then(|| format!("there is {}", known.join(", ")));
        self.report(key, format!("there is no {what} `{name}`"), near.or_else(all));
    }

    /// Checks a name, and that it stands once.
    fn name<'a>(&mut self, key: &str, what: &str, name: &'a str, seen: &mut BTreeSet<&'a str>, valid: bool) {
        if !valid {
            self.report(key, format!("`{name}` cannot be the name of a {what}"), None);
        } else if !seen.insert(name) {
            self.report(key, format!("there are two {what}s `{name}`"), None);
        }
    }
}

/// Everything that is wrong with a world.
#[must_use]
pub fn world(world: &World) -> Vec<Problem> {
    let mut finder = Finder { at: vec!["clusters".to_owned()], found: Vec::new() };
    if world.clusters.is_empty() {
        finder.report("", "there is no cluster", None);
    }
    let mut names = BTreeSet::new();
    for (index, spec) in world.clusters.iter().enumerate() {
        finder.within(index, |finder| {
            let valid = spec.name.starts_with(|c: char| c.is_ascii_alphabetic())
                && spec.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            finder.name("name", "cluster", &spec.name, &mut names, valid);
            cluster(finder, spec);
        });
    }
    finder.found
}

fn cluster(finder: &mut Finder, spec: &ClusterSpec) {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = spec.version.split('.').collect();
    if !(2..=3).contains(&parts.len()) || !parts.iter().all(|part| digits(part)) || !matches!(parts[0], "8" | "9") {
        let hint = "a release of Proxmox VE 8 or 9: 8.4, 9.1, 9.1.9".to_owned();
        finder.report("version", format!("`{}` is not simulated", spec.version), Some(hint));
    }
    if spec.nodes.is_empty() {
        finder.report("nodes", "there is no node", None);
    }
    if spec.standalone && spec.nodes.len() > 1 {
        finder.report("standalone", "several nodes are a cluster", None);
    }
    if !(spec.time_scale.is_finite() && (0.0..=1e6).contains(&spec.time_scale)) {
        finder.report("time_scale", "a number from 0 to 1000000 is needed", None);
    }
    if spec.workers.is_some_and(|workers| !(1..=127).contains(&workers)) {
        finder.report("workers", "a node has 1 to 127 workers", None);
    }
    for (key, value) in [("latency", spec.latency), ("unauthorized_delay", spec.unauthorized_delay)] {
        if value > 3_600_000 {
            finder.report(key, "no more than an hour, 3600000", None);
        }
    }
    if spec.connections.requests == 0 || spec.connections.idle == 0 {
        finder.report("connections", "a connection serves one request and lives a millisecond, at least", None);
    }
    let mut seen = BTreeSet::new();
    for (index, node) in spec.nodes.iter().enumerate() {
        finder.within("nodes", |finder| {
            finder.within(index, |finder| {
                let valid = is_dns_name(&node.name) && !node.name.contains('.');
                finder.name("name", "node", &node.name, &mut seen, valid);
                if !(1..=8192).contains(&node.cpus) {
                    finder.report("cpus", "a node has 1 to 8192 processors", None);
                }
                if !(1..=1 << 20).contains(&node.memory_gib) {
                    finder.report("memory_gib", "a node has 1 to 1048576 GiB", None);
                }
            });
        });
    }
    let nodes: Vec<&str> = seen.into_iter().collect();
    let storages = finder_storages(finder, spec, &nodes);
    for (index, token) in spec.tokens.iter().enumerate() {
        finder.within("tokens", |finder| {
            finder.within(index, |finder| {
                // A user's own name lets the user in without a ticket, which only tests of the simulator want.
                let (user, name) = token.id.split_once('!').unwrap_or((&token.id, "ok"));
                if !user.contains('@') || name.len() < 2 {
                    finder.report("id", "a token is called USER@REALM!NAME, NAME of two characters or more", None);
                }
                for (index, grant) in token.grants.iter().enumerate().filter(|(_, grant)| !grant.path.starts_with('/'))
                {
                    finder.within("grants", |finder| {
                        finder.within(index, |finder| {
                            finder.report("path", format!("`{}` does not begin with /", grant.path), None);
                        });
                    });
                }
            });
        });
    }
    for (index, volume) in spec.volumes.iter().enumerate() {
        finder.within("volumes", |finder| {
            finder.within(index, |finder| {
                place(finder, "volid", &volume.volid, &volume.node, spec, &storages);
                if !nodes.contains(&volume.node.as_str()) {
                    finder.unknown("node", "node", &volume.node, &nodes);
                }
            });
        });
    }
    let mut vmids = BTreeMap::new();
    for (index, guest) in spec.guests.iter().enumerate() {
        finder.within("guests", |finder| {
            finder.within(index, |finder| {
                if let Some(first) = vmids.insert(guest.vmid, index) {
                    let hint = format!("the other is number {} of the list", first + 1);
                    finder.report("vmid", format!("two guests have the id {}", guest.vmid), Some(hint));
                }
                self::guest(finder, guest, spec, &nodes, &storages);
            });
        });
    }
    for sid in spec.ha.keys() {
        let number =
            sid.split_once(':').filter(|(kind, _)| matches!(*kind, "vm" | "ct")).and_then(|(_, id)| id.parse().ok());
        if !number.is_some_and(|vmid: u32| vmids.contains_key(&vmid)) {
            finder.within("ha", |finder| finder.report(sid, format!("`{sid}` is no guest of this cluster"), None));
        }
    }
}

/// Checks the storages; their names.
fn finder_storages<'a>(finder: &mut Finder, spec: &'a ClusterSpec, nodes: &[&str]) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    for (index, storage) in spec.storages.iter().enumerate() {
        finder.within("storages", |finder| {
            finder.within(index, |finder| {
                let valid = storage.name.len() > 1
                    && storage.name.starts_with(|c: char| c.is_ascii_alphabetic())
                    && storage.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
                finder.name("name", "storage", &storage.name, &mut seen, valid);
                if !STORAGE_TYPES.contains(&storage.kind.as_str()) {
                    finder.unknown("type", "type of storage", &storage.kind, &STORAGE_TYPES);
                }
                if storage.capacity_gib == 0 {
                    finder.report("capacity_gib", "it has no room at all", None);
                }
                for (index, content) in storage.content.iter().enumerate() {
                    if !CONTENT.contains(&content.as_str()) {
                        finder.within("content", |finder| {
                            finder.unknown(&index.to_string(), "kind of content", content, &CONTENT);
                        });
                    }
                }
                for (index, node) in
                    storage.nodes.iter().enumerate().filter(|(_, node)| !nodes.contains(&node.as_str()))
                {
                    finder.within("nodes", |finder| finder.unknown(&index.to_string(), "node", node, nodes));
                }
            });
        });
    }
    seen.into_iter().collect()
}

/// Checks that a volume is where it can be.
fn place(finder: &mut Finder, key: &str, volid: &str, node: &str, spec: &ClusterSpec, storages: &[&str]) {
    let Some((storage, name)) = volid.split_once(':').filter(|(_, name)| !name.is_empty()) else {
        finder.report(key, format!("`{volid}` is no volume; one is called STORAGE:NAME"), None);
        return;
    };
    match spec.storages.iter().find(|spec| spec.name == storage) {
        None => finder.unknown(key, "storage", storage, storages),
        Some(found) if !found.nodes.is_empty() && !found.nodes.iter().any(|other| other == node) => {
            finder.report(key, format!("storage {storage}, which `{name}` is on, is not on node {node}"), None);
        }
        Some(_) => {}
    }
}

fn guest(finder: &mut Finder, guest: &GuestSpec, spec: &ClusterSpec, nodes: &[&str], storages: &[&str]) {
    if Vmid::new(guest.vmid).is_none() {
        finder.report("vmid", format!("{} is no id of a guest: 100 to 999999999", guest.vmid), None);
    }
    if !nodes.contains(&guest.node.as_str()) {
        finder.unknown("node", "node", &guest.node, nodes);
    }
    if let Some(pool) = guest.pool.as_ref().filter(|pool| !spec.pools.contains_key(*pool)) {
        finder.unknown("pool", "pool", pool, &spec.pools.keys().map(String::as_str).collect::<Vec<_>>());
    }
    if guest.file.is_some() && !guest.config.is_empty() {
        finder.report("file", "a guest has either `config` or `file`", None);
    }
    let parsed = guest.file.as_ref().map(|text| Config::parse(guest.kind, text));
    let (step, values) = match &parsed {
        Some(config) => ("file", &config.current),
        None => ("config", &guest.config),
    };
    let options = catalog_for(guest.kind, &spec.version);
    finder.within(step, |finder| {
        for (key, value) in values {
            // A text has no places within it.
            let at = if parsed.is_some() { "" } else { key.as_str() };
            let is_volume = is_drive(key) || is_mount(key) || is_unused(key);
            if let Some(volid) = volume_of(value).filter(|_| is_volume) {
                place(finder, at, volid, &guest.node, spec, storages);
            }
            let free = is_volume || IN_FILES.contains(&key.as_str()) || key == "description";
            match options.find(key) {
                Some(option) if !free && option.value.ty == ValueType::Boolean => {
                    let problem = format!("{key} is 0 or 1, not `{value}`");
                    let wrong = parse_boolean(value).is_none().then_some(problem);
                    wrong.into_iter().for_each(|problem| finder.report(at, problem, None));
                }
                Some(option) if !free => {
                    if let Err(error) = option.value.check(value, Spelling::SubKey) {
                        finder.report(at, format!("{key}: {}", error.reason()), None);
                    }
                }
                None if !free => {
                    let what = if guest.kind == GuestKind::Qemu { "VM" } else { "container" };
                    let hint = options.nearest(key).map(|near| format!("did you mean `{near}`?"));
                    finder.report(at, format!("a {what} has no option `{key}` in release {}", spec.version), hint);
                }
                _ => {}
            }
        }
    });
}

/// Everything that is wrong with faults for these clusters.
#[must_use]
pub fn faults(faults: &[Fault], clusters: &[ClusterSpec]) -> Vec<Problem> {
    let mut finder = Finder { at: vec!["faults".to_owned()], found: Vec::new() };
    let names: Vec<&str> = clusters.iter().map(|spec| spec.name.as_str()).collect();
    for (index, fault) in faults.iter().enumerate() {
        let meant = clusters.iter().filter(|spec| fault.cluster.as_ref().is_none_or(|name| *name == spec.name));
        let meant: Vec<&ClusterSpec> = meant.collect();
        finder.within(index, |finder| {
            if let Some(name) = fault.cluster.as_ref().filter(|_| meant.is_empty()) {
                finder.unknown("cluster", "cluster", name, &names);
                return;
            }
            if let Some(method) = &fault.method
                && !matches!(method.to_ascii_uppercase().as_str(), "GET" | "POST" | "PUT" | "DELETE")
            {
                finder.unknown("method", "method", method, &["GET", "POST", "PUT", "DELETE"]);
            }
            if !fault.path.starts_with(['/', '*']) {
                let hint = "paths are below /api2/json: /nodes/*/qemu/*/config".to_owned();
                finder.report("path", format!("`{}` fits no path", fault.path), Some(hint));
            }
            if fault.chance.is_some_and(|chance| !(0.0..=1.0).contains(&chance)) {
                finder.report("chance", "a chance is a number from 0 to 1", None);
            }
            if fault.times == Some(0) || fault.from.zip(fault.until).is_some_and(|(from, until)| from >= until) {
                let key = if fault.times == Some(0) { "times" } else { "until" };
                finder.report(key, "this fault never happens", None);
            }
            let nodes = || meant.iter().flat_map(|spec| &spec.nodes).map(|node| node.name.as_str());
            let storages = || meant.iter().flat_map(|spec| &spec.storages).map(|storage| storage.name.as_str());
            match &fault.kind {
                FaultKind::Status { code, .. } if !(200..=599).contains(code) => {
                    finder.report("kind", format!("{code} is no status that Proxmox answers with: 200 to 599"), None);
                }
                FaultKind::NodeOffline { node } if !nodes().any(|name| name == node) => {
                    finder.unknown("kind", "node", node, &nodes().collect::<Vec<_>>());
                }
                FaultKind::StorageFull { storage } if !storages().any(|name| name == storage) => {
                    finder.unknown("kind", "storage", storage, &storages().collect::<Vec<_>>());
                }
                _ => {}
            }
        });
    }
    finder.found
}
