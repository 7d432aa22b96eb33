//! The saved state of a running VM: where it lies, how big it is, what the file says of it.

use super::drive;
use crate::pve::value::Size;
use crate::sim::answer::Failure;
use crate::sim::cluster::Cluster;
use crate::sim::config::{Config, Section};
use crate::sim::guest::{default_of, volume_of};
use crate::sim::volume::{Family, Volume};

/// Keys that belong to a saved state.
pub(in crate::sim) const KEYS: &[&str] = &["vmstate", "runningmachine", "runningcpu", "running-nets-host-mtu"];

/// The storage for a VM's state: its own choice, else a shared one that it has a disk on, else a local one.
pub(in crate::sim) fn storage(cluster: &Cluster, config: &Config) -> String {
    if let Some(storage) = config.current.get("vmstatestorage") {
        return storage.clone();
    }
    let disks = drive::of(config).filter(|(_, value)| !drive::is_cdrom(value));
    let mut names: Vec<&str> = disks.filter_map(|(_, value)| volume_of(value)?.split(':').next()).collect();
    names.sort_unstable();
    names.dedup();
    let (mut shared, mut local) = (None, None);
    for name in names {
        let place = if cluster.storages.is_shared(name) { &mut shared } else { &mut local };
        // One that keeps files is preferred.
        if place.is_none() || cluster.storages.family(name) == Family::Files {
            *place = Some(name);
        }
    }
    shared.or(local).unwrap_or("local").to_owned()
}

/// Makes the volume of a state and writes down in a section what goes with it.
pub(in crate::sim) fn save(
    cluster: &mut Cluster,
    (node, vmid): (&str, u32),
    config: &Config,
    section: &mut Section,
    (storage, name): (&str, &str),
) -> Result<String, Failure> {
    let memory = config.current.get("memory").and_then(|text| default_of(text, "current"));
    let memory: u64 = memory.and_then(|text| text.parse().ok()).unwrap_or(512);
    // Twice the memory, and room for the devices.
    let size = (memory * 2 + 500) * Size::MIB;
    cluster.storages.find_on(storage, node)?;
    let volid = match cluster.storages.family(storage) {
        Family::Files => format!("{storage}:{vmid}/vm-{vmid}-state-{name}.raw"),
        _ => format!("{storage}:vm-{vmid}-state-{name}"),
    };
    let ctime = cluster.unix_time();
    cluster.storages.make(&volid, node, Volume::new(size, ctime))?;
    let machine = config.current.get("machine").map_or("", String::as_str);
    let release: Vec<&str> = cluster.spec.qemu_version.split('.').take(2).collect();
    let machine = match default_of(machine, "type") {
        Some("q35") => format!("pc-q35-{}+pve0", release.join(".")),
        Some(pinned) if pinned.contains('.') => format!("{pinned}+pve0"),
        _ => format!("pc-i440fx-{}+pve0", release.join(".")),
    };
    let model = config.current.get("cpu").and_then(|text| default_of(text, "cputype")).unwrap_or("kvm64");
    section.insert("vmstate".to_owned(), volid.clone());
    section.insert("runningmachine".to_owned(), machine);
    section.insert("runningcpu".to_owned(), format!("{model},enforce,+kvm_pv_eoi,+kvm_pv_unhalt"));
    Ok(volid)
}

/// Removes a state that was not finished; the mark in the file stays, to tell that something went wrong.
pub(super) fn forget(cluster: &mut Cluster, node: &str, vmid: u32) {
    let Some(guest) = cluster.guests.get_mut(&vmid) else { return };
    let mut config = guest.config.reread();
    let state = config.current.get("vmstate").cloned();
    config.current.retain(|key, _| !KEYS.contains(&key.as_str()));
    guest.config = config;
    if let Some(state) = state {
        cluster.storages.remove(&state, node);
    }
}

/// What keeps a VM's state from being saved.
pub(in crate::sim) fn check(config: &Config) -> Result<(), Failure> {
    let mut blockers: Vec<&str> =
        ["amd-sev", "intel-tdx"].into_iter().filter(|key| config.current.contains_key(*key)).collect();
    if config.current.keys().any(|key| key.starts_with("virtiofs")) {
        blockers.push("virtiofs");
    }
    if blockers.is_empty() {
        return Ok(());
    }
    let text = format!("Cannot live-migrate, snapshot (with RAM), or hibernate a VM with: {}", blockers.join(", "));
    Err(Failure::die(text))
}
