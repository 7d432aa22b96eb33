//! Mount points and network devices: reading, printing, making volumes.

use std::collections::BTreeMap;

use crate::pve::property::{self, Properties};
use crate::pve::schema::catalog;
use crate::pve::value::{GuestKind, Size, allocation, storage_of};
use crate::sim::answer::Failure;
use crate::sim::cluster::Cluster;
use crate::sim::config::Config;
use crate::sim::guest::{default_of, is_mount, is_unused, volume_of};
use crate::sim::volume::{Purpose, owner};

/// A property string's sub-keys, or nothing where it cannot be read.
pub(super) fn parse(key: &str, value: &str) -> Option<Properties> {
    property::parse(value, catalog(GuestKind::Lxc).find(key)?.value.properties.as_ref()?).ok()
}

/// The value that is stored for sub-keys.
pub(super) fn print(key: &str, properties: &Properties) -> String {
    let format = catalog(GuestKind::Lxc).find(key).and_then(|spec| spec.value.properties.as_ref());
    format.map(|format| property::print(properties, format)).unwrap_or_default()
}

/// True for a mount of a path of the host: no volume.
pub(super) fn is_bind(value: &str) -> bool {
    default_of(value, "volume").is_some_and(|volume| volume.starts_with('/'))
}

/// What is said where a mount point is named that is not there: its text is read all the same, and is empty.
pub(super) fn missing() -> Failure {
    let missing = "property is missing and it is not optional".to_owned();
    let errors = [("mp".to_owned(), missing.clone()), ("volume".to_owned(), missing)].into();
    Failure::DieWith("format error".to_owned(), errors)
}

/// The value of a mount point as it is stored, its volume made where one is asked for.
pub(in crate::sim) fn place(
    cluster: &mut Cluster,
    node: &str,
    vmid: u32,
    (key, value): (&str, &str),
    made: &mut Vec<String>,
) -> Result<String, Failure> {
    let Some(mut mount) = parse(key, value) else { return Ok(value.to_owned()) };
    let volume = mount.get("volume").cloned().unwrap_or_default();
    if volume.starts_with('/') {
        return Ok(print(key, &mount));
    }
    if let Some((storage, number)) = allocation(&volume) {
        cluster.storages.find(storage)?;
        let size = Size::parse_proxmox(&format!("{number}G")).map_or(0, |size| size.0 / 1024 * 1024);
        let ctime = cluster.unix_time();
        let volid = cluster.storages.allocate((storage, node), vmid, Purpose::Mount, None, (size, ctime))?;
        made.push(volid.clone());
        mount.insert("volume".to_owned(), volid);
        mount.insert("size".to_owned(), Size(size).to_string());
        return Ok(print(key, &mount));
    }
    let storage = volume.split(':').next().unwrap_or_default();
    cluster.storages.find(storage)?;
    let size = cluster.storages.size_of(&volume, node);
    let size = size.ok_or_else(|| Failure::die(format!("volume '{volume}' does not exist")))?;
    mount.insert("size".to_owned(), Size(size).to_string());
    Ok(print(key, &mount))
}

/// The storages on which mount points that are asked for get new volumes.
pub(super) fn made_on(options: &BTreeMap<String, String>) -> Vec<String> {
    let mounts = options.iter().filter(|(key, _)| is_mount(key));
    let made = mounts.filter_map(|(_, value)| allocation(default_of(value, "volume")?));
    made.map(|(storage, _)| storage.to_owned()).collect()
}

/// The storages of the volumes that are there, once for each.
pub(super) fn volumes_on(options: &BTreeMap<String, String>) -> Vec<String> {
    let mounts = options.iter().filter(|(key, _)| is_mount(key));
    mounts.filter_map(|(_, value)| storage_of(volume_of(value)?)).map(str::to_owned).collect()
}

/// A network device as it is stored: with a MAC address, a new one where none was given, and its type.
pub(super) fn net(cluster: &mut Cluster, key: &str, value: &str) -> Result<String, Failure> {
    let Some(mut net) = parse(key, value) else { return Ok(value.to_owned()) };
    if let Some(mtu) = net.get("mtu").and_then(|text| text.parse::<u32>().ok()).filter(|mtu| *mtu > 1500) {
        return Err(Failure::die(format!("{key}: MTU size '{mtu}' is bigger than bridge MTU '1500'")));
    }
    if !net.contains_key("hwaddr") {
        net.insert("hwaddr".to_owned(), cluster.fresh_mac());
    }
    net.insert("type".to_owned(), "veth".to_owned());
    Ok(print(key, &net))
}

/// Keeps a volume under the lowest free `unusedN`, unless it is under one already.
pub(super) fn add_unused(config: &mut Config, volid: &str) {
    let known = config.current.iter().any(|(key, value)| is_unused(key) && value == volid);
    let free = (0..256).map(|n| format!("unused{n}")).find(|key| !config.current.contains_key(key));
    if let Some(free) = free.filter(|_| !known) {
        config.current.insert(free, volid.to_owned());
    }
}

/// Keeps a volume that leaves its key under the lowest free `unusedN`.
pub(super) fn register_unused(vmid: u32, config: &mut Config, key: &str, value: &str) {
    let Some(volid) = volume_of(value).filter(|volid| owner(volid) == Some(vmid)) else { return };
    let elsewhere = config
        .current
        .iter()
        .any(|(other, value)| other != key && (is_mount(other) || is_unused(other)) && volume_of(value) == Some(volid));
    let free = (0..256).map(|n| format!("unused{n}")).find(|key| !config.current.contains_key(key));
    if let Some(free) = free.filter(|_| !elsewhere) {
        config.current.insert(free, volid.to_owned());
    }
}
