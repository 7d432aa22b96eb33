//! Simulated clusters that hold what was read from the real ones.

use std::collections::{BTreeMap, BTreeSet};

use crate::live::{Live, LiveCluster, LiveConfig, LiveGuest, LiveStorage, Power, Read};
use crate::plan::{ClusterPlan, Template};
use crate::pve::compare::is_drive;
use crate::pve::http::percent_encode;
use crate::pve::value::{GuestKind, Size, storage_of};
use crate::sim::world::{GrantSpec, GuestSpec, NodeSpec, StorageSpec, TokenSpec, UserSpec, VolumeSpec};
use crate::sim::{Cluster, ClusterSpec, World};

/// The token that the rehearsal asks with; it may what the real one may.
pub const TOKEN: &str = "rehearsal@pve!pvefleet";
/// Its secret, and the password of the simulated root. A simulated cluster guards nothing.
pub const SECRET: &str = "rehearsal";

/// Files of this size stand for images and templates that a plan names.
const FILE: u64 = 256 << 20;

/// The clusters by the names of the settings and their nodes: what faults may speak of.
pub fn names(live: &Live) -> anyhow::Result<World> {
    let known = live.clusters.iter().filter_map(|(name, cluster)| Some((name, cluster.known()?)));
    let clusters = known.map(|(name, cluster)| {
        let nodes = cluster.nodes.keys().map(|node| serde_json::json!({ "name": node }));
        let text = serde_json::json!({ "name": name, "nodes": nodes.collect::<Vec<_>>() });
        let spec: ClusterSpec = serde_json::from_value(text)?;
        Ok(ClusterSpec { storages: storages(cluster), ..spec })
    });
    Ok(World { clusters: clusters.collect::<anyhow::Result<_>>()? })
}

/// A simulated cluster that is like what was read; `plan` says which files must be there for it.
pub fn simulated(live: &LiveCluster, plan: &ClusterPlan) -> Result<Cluster, String> {
    let name = live.identity.cluster.clone();
    let text = serde_json::json!({
        "name": name.as_deref().unwrap_or("rehearsal"), "version": live.version, "standalone": name.is_none(),
        "nodes": [],
    });
    let mut spec: ClusterSpec = serde_json::from_value(text).map_err(|error| error.to_string())?;
    spec.nodes = live.nodes.keys().map(|node| self::node(live, node)).collect::<Result<_, _>>()?;
    spec.storages = storages(live);
    for (storage, file) in files(plan) {
        if let Some(storage) = spec.storages.iter_mut().find(|spec| spec.name == storage) {
            storage.files.insert(file, FILE);
        }
    }
    spec.pools = live.pools.known().into_iter().flatten().map(|pool| (pool.clone(), String::new())).collect();
    let readable = |guest: &&LiveGuest| guest.config.known().is_some();
    spec.guests = live.guests.values().filter(readable).map(guest).collect();
    let token = TokenSpec::new(TOKEN, SECRET, grants(live));
    spec.tokens = vec![token];
    let root = serde_json::json!({ "id": "root@pam", "password": SECRET });
    spec.users = vec![serde_json::from_value::<UserSpec>(root).map_err(|error| error.to_string())?];
    spec.ha = ha(live);
    spec.volumes = backups(live);
    spec.service_times = crate::sim::ServiceTimes::Measured;
    let mut cluster = Cluster::new(spec, 1);
    for live in live.guests.values() {
        let Read::Known(config) = &live.config else { continue };
        let pending = pending(config);
        if let Some((kind, node, file)) = cluster.guest_file(live.vmid).filter(|_| !pending.is_empty()) {
            let (node, text) = (node.to_owned(), format!("{file}\n[PENDING]\n{pending}"));
            cluster.write_guest_file(kind, live.vmid, &node, &text);
        }
    }
    Ok(cluster)
}

fn node(live: &LiveCluster, name: &str) -> Result<NodeSpec, String> {
    // A node whose lists could not be read is as good as down: nothing is planned there either way.
    let online = live.nodes.get(name).is_some_and(|node| node.online && node.lists.unread().is_none());
    let text = serde_json::json!({ "name": name, "online": online });
    let mut spec: NodeSpec = serde_json::from_value(text).map_err(|error| error.to_string())?;
    if let Some(Read::Known(bridges)) = live.bridges.get(name) {
        spec.bridges = bridges.iter().cloned().collect();
    }
    Ok(spec)
}

/// Every storage once, on the nodes that list it, with room for what is free and for what the guests have.
fn storages(live: &LiveCluster) -> Vec<StorageSpec> {
    let mut used: BTreeMap<&str, u64> = BTreeMap::new();
    for guest in live.guests.values() {
        let options = guest.config.known().map(|config| &config.current);
        for (_, text) in options.into_iter().flatten().filter(|(option, _)| is_drive(guest.kind, option)) {
            let volume = text.split(',').next().unwrap_or_default();
            let size = text.split(',').find_map(|part| part.strip_prefix("size=")).and_then(Size::parse_proxmox);
            if let (Some(storage), Some(size)) = (storage_of(volume), size) {
                *used.entry(storage).or_default() += size.0;
            }
        }
    }
    let mut found: BTreeMap<&String, (&LiveStorage, Vec<String>)> = BTreeMap::new();
    for (node, storages) in &live.storages {
        for (name, storage) in storages.known().into_iter().flatten().filter(|(_, storage)| storage.active) {
            found.entry(name).or_insert_with(|| (storage, Vec::new())).1.push(node.clone());
        }
    }
    let spec = |(name, (storage, nodes)): (&String, (&LiveStorage, Vec<String>))| StorageSpec {
        name: name.clone(),
        kind: storage.kind.clone(),
        content: storage.content.iter().cloned().collect(),
        shared: storage.shared,
        nodes: if nodes.len() == live.nodes.len() { Vec::new() } else { nodes },
        capacity_gib: match storage.available {
            Some(bytes) => (bytes + used.get(name.as_str()).copied().unwrap_or_default()).div_ceil(Size::GIB),
            None => StorageSpec::default().capacity_gib,
        },
        ..StorageSpec::default()
    };
    found.into_iter().map(spec).collect()
}

/// Files that the plan's calls name, by storage: whether they are there, only the real cluster knows.
fn files(plan: &ClusterPlan) -> BTreeSet<(String, String)> {
    let texts = plan.changes.iter().flat_map(|change| &change.steps).flat_map(|step| step.call.params.values());
    let volumes = texts.map(Template::to_string).flat_map(|text| {
        let parts: Vec<String> = text.split([',', '=']).map(str::to_owned).collect();
        parts
    });
    volumes
        .filter_map(|text| {
            let (storage, file) = text.split_once(':')?;
            let is_file = ["iso/", "vztmpl/", "import/", "snippets/"].iter().any(|kind| file.starts_with(kind));
            is_file.then(|| (storage.to_owned(), file.to_owned()))
        })
        .collect()
}

fn guest(live: &LiveGuest) -> GuestSpec {
    GuestSpec {
        kind: live.kind,
        vmid: live.vmid.get(),
        node: live.node.clone(),
        config: live.config.known().map(|config| config.current.clone()).unwrap_or_default(),
        file: None,
        running: live.power.known() == Some(&Power::Running),
        pool: live.pool.clone(),
    }
}

/// The backups that guests are restored from, on every node: the one that has it is not known.
fn backups(live: &LiveCluster) -> Vec<VolumeSpec> {
    let known = live.archives.iter().filter_map(|(volume, inside)| Some((volume, inside.known()?)));
    known
        .flat_map(|(volume, inside)| {
            let lines: Vec<String> = inside
                .iter()
                .map(|(name, value)| match name.as_str() {
                    "description" => format!("#{}", percent_encode(value)),
                    _ => format!("{name}: {value}"),
                })
                .collect();
            let archive = Some(lines.join("\n") + "\n");
            let nodes = live.nodes.keys().cloned();
            nodes.map(move |node| VolumeSpec { volid: volume.clone(), node, size: FILE, archive: archive.clone() })
        })
        .collect()
}

/// What waits in a guest's file, as its section has it.
fn pending(config: &LiveConfig) -> String {
    let mut text = String::new();
    let removed: Vec<&str> =
        config.pending.iter().filter(|(_, value)| value.is_none()).map(|(option, _)| option.as_str()).collect();
    if !removed.is_empty() {
        text.push_str(&format!("delete: {}\n", removed.join(",")));
    }
    for (option, value) in config.pending.iter().filter_map(|(option, value)| Some((option, value.as_ref()?))) {
        text.push_str(&format!("{option}: {value}\n"));
    }
    text
}

/// What the real credential may do, path by path.
fn grants(live: &LiveCluster) -> Vec<GrantSpec> {
    let Some(paths) = live.permissions.known() else { return Vec::new() };
    let grant = |path: &str, role: Option<&str>, privileges: Vec<String>, propagate: bool| GrantSpec {
        path: path.to_owned(),
        role: role.map(str::to_owned),
        privileges,
        propagate,
    };
    let mut grants = Vec::new();
    for (path, privileges) in paths {
        if privileges.is_empty() {
            grants.push(grant(path, Some("NoAccess"), Vec::new(), true));
        }
        for propagate in [true, false] {
            let these: Vec<String> =
                privileges.iter().filter(|(_, below)| **below == propagate).map(|(name, _)| name.clone()).collect();
            if !these.is_empty() {
                grants.push(grant(path, None, these, propagate));
            }
        }
    }
    grants
}

fn ha(live: &LiveCluster) -> BTreeMap<String, BTreeMap<String, String>> {
    let kind_of = |sid: &str| if sid.starts_with("ct:") { GuestKind::Lxc } else { GuestKind::Qemu };
    live.ha
        .known()
        .into_iter()
        .flatten()
        .map(|(sid, options)| {
            let kind = if kind_of(sid) == GuestKind::Lxc { "ct" } else { "vm" };
            let mut options = options.clone();
            options.insert("type".to_owned(), kind.to_owned());
            (sid.clone(), options)
        })
        .collect()
}
