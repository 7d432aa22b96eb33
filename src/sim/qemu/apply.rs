//! Applying what waits: at once on a stopped VM, as far as it goes on a running one.

use std::collections::{BTreeMap, BTreeSet};

use super::{drive, update};
use crate::pve::property::Properties;
use crate::pve::schema::{catalog, split_index};
use crate::pve::value::GuestKind;
use crate::sim::answer::Failure;
use crate::sim::cluster::Cluster;
use crate::sim::config::{Config, Section};
use crate::sim::guest::{is_drive, is_unused, sub_key, volume_of};

/// Writes a VM's file.
pub(super) fn store(cluster: &mut Cluster, vmid: u32, config: Config) {
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        guest.config = config;
    }
}

/// True where another key or a snapshot names the volume.
fn is_in_use(config: &Config, except: &str, volid: &str) -> bool {
    let names = |section: &Section, except: &str| {
        section.iter().any(|(key, value)| key != except && is_drive(key) && volume_of(value) == Some(volid))
    };
    names(&config.current, except) || config.snapshots.values().any(|section| names(section, ""))
}

/// Removes a volume that only this key names, where it is the VM's own.
pub(super) fn destroy_volume(cluster: &mut Cluster, node: &str, vmid: u32, config: &Config, key: &str, value: &str) {
    let Some(volid) = volume_of(value) else { return };
    if update::owns(vmid, value) && !is_in_use(config, key, volid) {
        cluster.storages.remove(volid, node);
    }
}

/// Keeps a disk that leaves its key under the lowest free `unusedN`; a drive of cloud-init is removed.
pub(super) fn register_unused(
    cluster: &mut Cluster,
    node: &str,
    vmid: u32,
    config: &mut Config,
    key: &str,
    value: &str,
) {
    let Some(volid) = volume_of(value) else { return };
    if drive::is_cloudinit_drive(value) {
        destroy_volume(cluster, node, vmid, config, key, value);
        return;
    }
    let known = config.current.iter().any(|(key, value)| is_unused(key) && value == volid);
    if drive::is_cdrom(value) || !update::owns(vmid, value) || is_in_use(config, key, volid) || known {
        return;
    }
    // A volume that is still there under the same key in what waits is not unused.
    let free = (0..256).map(|n| format!("unused{n}")).find(|key| !config.current.contains_key(key));
    if let Some(free) = free {
        config.current.insert(free, volid.to_owned());
    }
}

/// Keeps a volume under the lowest free `unusedN`, unless it is under one already; the key.
pub(super) fn add_unused(config: &mut Config, volid: &str) -> Option<String> {
    if config.current.iter().any(|(key, value)| is_unused(key) && value == volid) {
        return None;
    }
    let free = (0..256).map(|n| format!("unused{n}")).find(|key| !config.current.contains_key(key))?;
    config.current.insert(free.clone(), volid.to_owned());
    Some(free)
}

/// Takes a key away, with what that means for its volume.
fn commit_delete(cluster: &mut Cluster, node: &str, vmid: u32, config: &mut Config, key: &str, force: bool) {
    if let Some(value) = config.current.get(key).cloned().filter(|_| is_drive(key)) {
        if force && !drive::is_cdrom(&value) {
            destroy_volume(cluster, node, vmid, config, key, &value);
        } else {
            register_unused(cluster, node, vmid, config, key, &value);
        }
    }
    config.current.remove(key);
    config.deletes.remove(key);
}

/// Makes a value that waits the current one.
fn commit_set(cluster: &mut Cluster, node: &str, vmid: u32, config: &mut Config, key: &str, value: &str) {
    if is_drive(key) {
        let new = volume_of(value).map(str::to_owned);
        if let Some(old) = config.current.get(key).cloned().filter(|old| volume_of(old) != new.as_deref()) {
            register_unused(cluster, node, vmid, config, key, &old);
        }
        config.current.retain(|key, value| !is_unused(key) || Some(value.as_str()) != new.as_deref());
    }
    if key == "boot" {
        config.current.remove("bootdisk");
    }
    config.current.insert(key.to_owned(), value.to_owned());
    config.pending.remove(key);
}

/// Applies everything that waits: the VM is stopped.
pub(in crate::sim) fn apply_pending(cluster: &mut Cluster, node: &str, vmid: u32) -> Result<(), Failure> {
    let mut config = cluster.guest(GuestKind::Qemu, vmid, node)?.config.clone();
    if config.pending.is_empty() && config.deletes.is_empty() && config.cloudinit.is_empty() {
        return Ok(());
    }
    config = config.reread();
    for (key, force) in config.deletes.clone() {
        commit_delete(cluster, node, vmid, &mut config, &key, force);
    }
    for (key, value) in config.pending.clone() {
        commit_set(cluster, node, vmid, &mut config, &key, &value);
    }
    config.cloudinit.clear();
    config.pending.clear();
    config.deletes.clear();
    store(cluster, vmid, config);
    Ok(())
}

/// Options that change nothing about the running process.
const FAST: &[&str] = &[
    "description",
    "hookscript",
    "lock",
    "migrate_downtime",
    "migrate_speed",
    "name",
    "onboot",
    "protection",
    "shares",
    "startup",
    "tags",
    "vmstatestorage",
];

/// Options of cloud-init: they are in force as soon as its drive is made anew.
fn is_cloudinit_option(key: &str) -> bool {
    matches!(
        key,
        "cicustom" | "cipassword" | "citype" | "ciupgrade" | "ciuser" | "nameserver" | "searchdomain" | "sshkeys"
    ) || split_index(key).is_some_and(|(stem, _)| stem == "ipconfig")
}

/// What the VM says may be plugged while it runs.
fn classes(config: &Config) -> Vec<&str> {
    match config.current.get("hotplug").map_or("1", String::as_str) {
        "0" => Vec::new(),
        "1" => vec!["network", "disk", "usb"],
        list => crate::pve::value::split_list(list).collect(),
    }
}

/// What a change of one key on a running VM comes to.
enum Plug {
    /// It is in force.
    Live,
    /// It waits.
    Later,
    /// It is refused, and waits.
    Problem(String),
}

/// Applies what a running VM takes of the keys that a call touched; the rest waits, also what waited before.
pub(super) fn hotplug(cluster: &mut Cluster, node: &str, vmid: u32, touched: &BTreeSet<String>) -> Result<(), Failure> {
    let mut config = cluster.guest(GuestKind::Qemu, vmid, node)?.config.reread();
    let classes: Vec<String> = classes(&config).into_iter().map(str::to_owned).collect();
    let has = |class: &str| classes.iter().any(|c| c == class);
    let bridges = cluster.spec.nodes.iter().find(|spec| spec.name == node).map(|spec| spec.bridges.clone());
    let bridges = bridges.unwrap_or_default();
    let mut errors = BTreeMap::new();
    for (key, force) in config.deletes.clone().into_iter().filter(|(key, _)| touched.contains(key)) {
        if is_cloudinit_option(&key) {
            note_cloudinit(&mut config, &key, None);
        }
        if matches!(unplug(&config, &key, &has), Plug::Live) {
            commit_delete(cluster, node, vmid, &mut config, &key, force);
        }
    }
    for (key, value) in config.pending.clone().into_iter().filter(|(key, _)| touched.contains(key)) {
        if is_cloudinit_option(&key) {
            note_cloudinit(&mut config, &key, Some(&value));
        }
        let unplugged = !config.current.contains_key(&key) && split_index(&key).is_some_and(|(stem, _)| stem == "net");
        let lacks_bridge = sub_key(&value, "bridge").is_some_and(|name| !bridges.iter().any(|bridge| bridge == name));
        let plugged = match plug(&config, &key, &value, &has) {
            Plug::Live if unplugged && lacks_bridge => Plug::Problem(format!(
                "VM {vmid} qmp command 'netdev_add' failed - network script \
                 /usr/libexec/qemu-server/pve-bridge-hotplug failed with status 512"
            )),
            other => other,
        };
        match plugged {
            Plug::Live => commit_set(cluster, node, vmid, &mut config, &key, &value),
            Plug::Later => {}
            Plug::Problem(text) => drop(errors.insert(key.clone(), format!("hotplug problem - {text}\n"))),
        }
    }
    store(cluster, vmid, config);
    if errors.is_empty() { Ok(()) } else { Err(Failure::Parameters(errors)) }
}

/// Remembers what the drive of cloud-init does not have yet.
fn note_cloudinit(config: &mut Config, key: &str, value: Option<&str>) {
    if !drive::of(config).any(|(_, value)| drive::is_cloudinit_drive(value)) {
        return;
    }
    let mut added: Vec<String> =
        config.cloudinit.get("added").map(|list| list.split(',').map(str::to_owned).collect()).unwrap_or_default();
    let was_added = added.iter().any(|other| other == key);
    match (config.current.get(key).cloned(), value) {
        (None, Some(_)) if !was_added => added.push(key.to_owned()),
        (Some(old), _) if !was_added && !config.cloudinit.contains_key(key) => {
            config.cloudinit.insert(key.to_owned(), old);
        }
        (_, None) => added.retain(|other| other != key),
        _ => {}
    }
    added.sort();
    config.cloudinit.remove("added");
    if !added.is_empty() {
        config.cloudinit.insert("added".to_owned(), added.join(","));
    }
}

fn unplug(config: &Config, key: &str, has: &dyn Fn(&str) -> bool) -> Plug {
    let stem = split_index(key).map_or(key, |(stem, _)| stem);
    let live = match stem {
        _ if FAST.contains(&key) || is_cloudinit_option(key) => true,
        "cpulimit" | "cpuunits" => true,
        // Turning the balloon on or off needs a new process.
        "balloon" => config.current.get("balloon").is_none_or(|value| value != "0"),
        "net" => has("network"),
        "usb" | "tablet" => has("usb"),
        "scsi" | "virtio" => has("disk"),
        "vcpus" => has("cpu"),
        "hotplug" => !has("memory"),
        _ => false,
    };
    if live { Plug::Live } else { Plug::Later }
}

fn plug(config: &Config, key: &str, value: &str, has: &dyn Fn(&str) -> bool) -> Plug {
    let stem = split_index(key).map_or(key, |(stem, _)| stem);
    let old = config.current.get(key).map(String::as_str);
    let when = |live: bool| if live { Plug::Live } else { Plug::Later };
    match stem {
        _ if FAST.contains(&key) || is_cloudinit_option(key) => Plug::Live,
        "cpulimit" | "cpuunits" => Plug::Live,
        // Memory that can be plugged needs another process.
        "hotplug" => when(!has("memory") && !value.contains("memory")),
        "balloon" => when(old != Some("0") && value != "0"),
        "usb" | "tablet" => when(has("usb")),
        "vcpus" => when(has("cpu")),
        "memory" => when(has("memory") && config.flag("numa")),
        "net" => plug_net(old, value, has("network")),
        "agent" => {
            let without = |text: &str| {
                let parts: Vec<&str> =
                    text.split(',').filter(|part| !part.starts_with("fstrim_cloned_disks=")).collect();
                parts.join(",")
            };
            when(old.is_some_and(|old| without(old) == without(value)))
        }
        _ if is_drive(key) => plug_drive(key, old, value, has("disk")),
        _ => Plug::Later,
    }
}

/// Bridge, tag and their like change on a device that stays; model and address need a new one.
fn plug_net(old: Option<&str>, value: &str, allowed: bool) -> Plug {
    let read = |text: &str| {
        let format = catalog(GuestKind::Qemu).find("net0")?.value.properties.as_ref()?;
        crate::pve::property::parse(text, format).ok()
    };
    let fixed = |net: Properties| ["model", "macaddr", "queues", "mtu", "host_mtu"].map(|name| net.get(name).cloned());
    let same = match (old.and_then(read), read(value)) {
        (Some(old), Some(new)) => fixed(old) == fixed(new),
        _ => false,
    };
    if same || allowed { Plug::Live } else { Plug::Later }
}

/// Sub-keys of a drive that a running VM takes.
fn is_live_sub_key(name: &str) -> bool {
    name.starts_with("mbps")
        || name.starts_with("iops")
        || name.starts_with("bps")
        || matches!(name, "backup" | "replicate" | "size")
}

fn plug_drive(key: &str, old: Option<&str>, value: &str, allowed: bool) -> Plug {
    let pluggable = key.starts_with("scsi") || key.starts_with("virtio");
    let when = |live: bool| if live { Plug::Live } else { Plug::Later };
    let Some(old) = old else { return when(pluggable && allowed) };
    if drive::is_cdrom(old) != drive::is_cdrom(value) {
        return Plug::Problem("unable to change media type".to_owned());
    }
    if drive::is_cdrom(value) {
        // A medium is changed in place, on any bus.
        let is_cloudinit = drive::is_cloudinit_drive(old) || drive::is_cloudinit_drive(value);
        return when(!is_cloudinit);
    }
    if volume_of(old) != volume_of(value) {
        return when(pluggable && allowed);
    }
    let (Some(old), Some(new)) = (drive::parse(key, old), drive::parse(key, value)) else { return Plug::Later };
    let fixed = |drive: &Properties| {
        drive.iter().filter(|(name, _)| !is_live_sub_key(name)).map(|(n, v)| (n.clone(), v.clone())).collect::<Vec<_>>()
    };
    when(fixed(&old) == fixed(&new) && !matches!(key, "efidisk0" | "tpmstate0"))
}
