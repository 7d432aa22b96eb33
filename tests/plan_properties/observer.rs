//! Looks at the simulator's own state, never through client or plan, and judges what was planned and done.

use std::collections::{BTreeMap, BTreeSet};

use pvefleet::pve::http::percent_decode;
use pvefleet::pve::value::GuestKind;
use pvefleet::sim::transport::lock;

use crate::support::World;

/// One guest as the simulator holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Guest {
    pub kind: GuestKind,
    pub node: String,
    pub file: String,
    pub running: bool,
}

/// Every guest and volume of every cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub guests: BTreeMap<(String, u32), Guest>,
    pub volumes: BTreeSet<(String, String)>,
}

impl Snapshot {
    pub fn of(world: &World) -> Self {
        let (mut guests, mut volumes) = (BTreeMap::new(), BTreeSet::new());
        for (name, cluster) in &world.clusters {
            let cluster = lock(cluster);
            for id in cluster.guest_ids() {
                if let Some((kind, node, file)) = cluster.guest_file(id) {
                    let guest = Guest { kind, node: node.to_owned(), file, running: cluster.is_running(id) };
                    guests.insert((name.clone(), id.get()), guest);
                }
            }
            volumes.extend(cluster.volume_ids().into_iter().map(|(_, volume)| (name.clone(), volume)));
        }
        Self { guests, volumes }
    }
}

impl Guest {
    /// The current section of its file, without snapshots and pending values, and without locks.
    pub fn current(&self) -> String {
        let lines = self.file.lines().take_while(|line| !line.starts_with('['));
        lines.filter(|line| !line.starts_with("lock: ")).map(|line| format!("{line}\n")).collect()
    }

    /// All of the file but locks, which a backup takes and gives back.
    pub fn without_lock(&self) -> String {
        self.file.lines().filter(|line| !line.starts_with("lock: ")).map(|line| format!("{line}\n")).collect()
    }

    pub fn option(&self, name: &str) -> Option<&str> {
        let current = self.file.lines().take_while(|line| !line.starts_with('['));
        current.filter_map(|line| line.split_once(": ")).find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        let option = if self.kind == GuestKind::Qemu { "name" } else { "hostname" };
        self.option(option).unwrap_or_default()
    }

    pub fn is_protected(&self) -> bool {
        self.option("protection") == Some("1")
    }

    /// The guest of the manifest that its one valid line names, by a reading of this observer's own.
    pub fn proven(&self, cluster: &str, vmid: u32) -> Option<String> {
        let notes =
            self.file.lines().take_while(|line| !line.starts_with('[')).filter_map(|line| line.strip_prefix('#'));
        let lines: BTreeSet<String> =
            notes.map(percent_decode).filter(|line| line.contains("<!-- pvefleet ")).collect();
        let line = lines.first().filter(|_| lines.len() == 1)?;
        let fields: BTreeMap<&str, &str> = line.split_whitespace().filter_map(|word| word.split_once('=')).collect();
        let is = |key: &str, value: &str| fields.get(key) == Some(&value);
        let ours = is("cluster", cluster) && is("fleet", "homelab") && is("vmid", &vmid.to_string());
        let (kind, guest) = fields.get("guest")?.split_once('/')?;
        (ours && !fields.contains_key("scope") && kind == self.kind.to_string()).then(|| guest.to_owned())
    }

    /// The MAC address of each NIC.
    pub fn macs(&self) -> BTreeMap<String, String> {
        let nics = self.file.lines().take_while(|line| !line.starts_with('['));
        let nics = nics.filter_map(|line| line.split_once(": ")).filter(|(key, _)| key.starts_with("net"));
        nics.filter_map(|(key, value)| {
            let mac = value.split([',', '=']).find(|part| part.matches(':').count() == 5)?;
            Some((key.to_owned(), mac.to_uppercase()))
        })
        .collect()
    }
}
