//! Changing a container's options.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{mount, root_only};
use crate::pve::schema::{ValueType, catalog, split_index};
use crate::pve::value::{GuestKind, allocation, split_list, storage_of};
use crate::sim::access::Check;
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::config::Config;
use crate::sim::guest::{check_lock, is_mount, is_unused, sub_key, volume_of};
use crate::sim::qemu::tags;
use crate::sim::route::Call;
use crate::sim::volume::owner;

pub(in crate::sim) fn update(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (vmid, node) = (call.vmid(), call.node.as_str());
    let list = |name: &str| split_list(call.get(name).unwrap_or_default()).map(str::to_owned).collect::<Vec<_>>();
    let (delete, revert) = (list("delete"), list("revert"));
    let mut set: BTreeMap<String, String> = call.params.clone();
    set.retain(|name, _| !matches!(name.as_str(), "digest" | "delete" | "revert"));
    if set.is_empty() && delete.is_empty() && revert.is_empty() {
        return Err(Failure::die("no options specified"));
    }
    let unprivileged = cluster.guests.get(&vmid).is_some_and(|guest| guest.config.flag("unprivileged"));
    let check = cluster.check_guest(&call.subject, vmid);
    for name in &delete {
        if set.contains_key(name) {
            let text = format!("you can't use '-{name}' and -delete {name}' at the same time");
            return Err(Failure::parameter("delete", text));
        }
    }
    for (name, keys) in [("revert", &revert), ("delete", &delete)] {
        if let Some(key) = keys.iter().find(|key| catalog(GuestKind::Lxc).find(key).is_none_or(|spec| !spec.update)) {
            return Err(Failure::parameter(name, format!("unknown option '{key}'")));
        }
    }
    for key in delete.iter().chain(&revert) {
        permit(check, vmid, key, None, unprivileged)?;
    }
    if set.contains_key("tags") || delete.iter().any(|key| key == "tags") {
        let old = cluster.guests.get(&vmid).and_then(|guest| guest.config.current.get("tags"));
        cluster.permit_tags(&call.subject, old.map(String::as_str), set.get("tags").map(String::as_str))?;
    }
    for (key, value) in &set {
        permit(check, vmid, key, Some(value), unprivileged)?;
    }
    for (key, value) in set.iter().filter(|(key, _)| is_mount(key)) {
        check_storage(cluster, check, key, value)?;
    }
    for (key, value) in &set {
        check_bridge(check, key, value)?;
    }
    let delay = cluster.await_lock(vmid)?;
    let guest = cluster.guest(GuestKind::Lxc, vmid, node)?;
    check_lock(&guest.config)?;
    if call.get("digest").is_some_and(|digest| digest != guest.config.digest()) {
        return Err(Failure::die("detected modified configuration - file changed by other user? Try again."));
    }
    let runs = guest.running.is_some();
    let mut config = guest.config.reread();
    // Everything is gathered first; nothing is written unless all of it can be read.
    for key in &revert {
        config.pending.remove(key);
        config.deletes.remove(key);
    }
    for key in &delete {
        if matches!(key.as_str(), "memory" | "rootfs" | "ostype") {
            return Err(Failure::die(format!("unable to delete required option '{key}'")));
        }
        if key == "unprivileged" {
            return Err(Failure::die("unable to delete read-only option: 'unprivileged'"));
        }
        if !config.current.contains_key(key) {
            continue;
        }
        if is_mount(key) || is_unused(key) {
            protect(&config, &format!("can't remove CT {vmid} drive '{key}'"))?;
        }
        config.deletes.insert(key.clone(), false);
    }
    for (key, value) in &set {
        if key == "unprivileged" {
            return Err(Failure::die("unable to modify read-only option: 'unprivileged'"));
        }
        if is_mount(key) {
            protect(&config, &format!("can't update CT {vmid} drive '{key}'"))?;
        }
        let stored = normalised(cluster, key, value)?;
        config.set_pending(key, stored);
    }
    config.clean_pending();
    let mut errors = BTreeMap::new();
    for key in delete.iter().filter(|key| config.deletes.contains_key(*key)).cloned().collect::<Vec<_>>() {
        if !runs || is_live_removal(&key) {
            commit_delete(cluster, node, vmid, &mut config, &key);
        }
    }
    for key in set.keys().filter(|key| config.pending.contains_key(*key)).cloned().collect::<Vec<_>>() {
        if (!runs || is_live(&config, &key))
            && let Err(failure) = commit_set(cluster, node, vmid, &mut config, &key)
        {
            errors.insert(key.clone(), format!("unable to apply pending change {key} : {}\n", failure.text()));
        }
    }
    cluster.guest_mut(GuestKind::Lxc, vmid, node)?.config = config;
    if errors.is_empty() { Ok(Answer { delay, ..Answer::from(Value::Null) }) } else { Err(Failure::Parameters(errors)) }
}

/// Applies one key that waits, as far as it goes while the container runs; what it said where it did not go.
pub(super) fn apply_one(
    cluster: &mut Cluster,
    node: &str,
    vmid: u32,
    config: &mut Config,
    key: &str,
    runs: bool,
) -> Option<String> {
    if runs && !is_live(config, key) {
        return None;
    }
    commit_set(cluster, node, vmid, config, key).err().map(|failure| failure.text())
}

fn protect(config: &Config, what: &str) -> Result<(), Failure> {
    if config.flag("protection") { Err(Failure::die(format!("{what} - protection mode enabled"))) } else { Ok(()) }
}

/// Options that a running container takes at once.
fn is_live(config: &Config, key: &str) -> bool {
    let stem = split_index(key).map_or(key, |(stem, _)| stem);
    match stem {
        "description" | "onboot" | "startup" | "protection" | "hostname" | "hookscript" | "cores" | "tags" | "lock"
        | "cpulimit" | "cpuunits" | "memory" | "swap" | "net" | "unused" => true,
        // A mount point that is there already changes at the next start only.
        "mp" | "dev" => !config.current.contains_key(key),
        _ => false,
    }
}

fn is_live_removal(key: &str) -> bool {
    let stem = split_index(key).map_or(key, |(stem, _)| stem);
    !matches!(stem, "mp" | "dev")
        && is_live(&Config::new(GuestKind::Lxc), key)
        && split_index(key).is_none_or(|(stem, index)| stem != "net" || index < 10)
}

fn commit_delete(cluster: &mut Cluster, node: &str, vmid: u32, config: &mut Config, key: &str) {
    if let Some(value) = config.current.get(key).cloned() {
        if is_unused(key) {
            if let Some(volid) = volume_of(&value).filter(|volid| owner(volid) == Some(vmid)) {
                cluster.storages.remove(volid, node);
            }
        } else if is_mount(key) {
            mount::register_unused(vmid, config, key, &value);
        }
    }
    config.current.remove(key);
    config.deletes.remove(key);
}

fn commit_set(cluster: &mut Cluster, node: &str, vmid: u32, config: &mut Config, key: &str) -> Result<(), Failure> {
    let Some(value) = config.pending.get(key).cloned() else { return Ok(()) };
    // The root is kept word for word; only other mount points are read and printed anew.
    let stored = if is_mount(key) && key != "rootfs" {
        let stored = mount::place(cluster, node, vmid, (key, &value), &mut Vec::new())?;
        let new = volume_of(&stored).map(str::to_owned);
        if let Some(old) = config.current.get(key).cloned().filter(|old| volume_of(old) != new.as_deref()) {
            mount::register_unused(vmid, config, key, &old);
        }
        config.current.retain(|key, value| !is_unused(key) || Some(value.as_str()) != new.as_deref());
        stored
    } else {
        value
    };
    config.current.insert(key.to_owned(), stored);
    config.pending.remove(key);
    Ok(())
}

/// Applies everything that waits; at a start, and after a stop.
pub(in crate::sim) fn apply_pending(cluster: &mut Cluster, node: &str, vmid: u32) {
    let Some(mut config) = cluster.guests.get(&vmid).map(|guest| guest.config.reread()) else { return };
    if config.pending.is_empty() && config.deletes.is_empty() {
        return;
    }
    for key in config.deletes.keys().cloned().collect::<Vec<_>>() {
        commit_delete(cluster, node, vmid, &mut config, &key);
    }
    for key in config.pending.keys().cloned().collect::<Vec<_>>() {
        // What cannot be applied goes on waiting.
        drop(commit_set(cluster, node, vmid, &mut config, &key));
    }
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        guest.config = config;
    }
}

/// The value that is stored, for all but mount points.
pub(in crate::sim) fn normalised(cluster: &mut Cluster, key: &str, value: &str) -> Result<String, Failure> {
    let stem = split_index(key).map_or(key, |(stem, _)| stem);
    let is_integer = catalog(GuestKind::Lxc).find(key).is_some_and(|spec| spec.value.ty == ValueType::Integer);
    Ok(match stem {
        "net" => mount::net(cluster, key, value)?,
        "tags" => tags(cluster, value),
        "nameserver" | "searchdomain" => split_list(value).collect::<Vec<_>>().join(" "),
        _ if is_integer => {
            let number = value.trim_start_matches('0');
            if number.is_empty() { "0" } else { number }.to_owned()
        }
        _ => value.to_owned(),
    })
}

/// Checks the privilege for setting or removing one option.
pub(super) fn permit(
    check: Check,
    vmid: u32,
    key: &str,
    value: Option<&str>,
    unprivileged: bool,
) -> Result<(), Failure> {
    if check.subject.is_root() {
        return Ok(());
    }
    let path = format!("/vms/{vmid}");
    let need = |privilege: &str| check.need(&path, &[privilege]);
    match split_index(key).map_or(key, |(stem, _)| stem) {
        "cores" | "cpuunits" | "cpulimit" => need("VM.Config.CPU"),
        "memory" | "swap" => need("VM.Config.Memory"),
        "net" | "nameserver" | "searchdomain" | "hostname" => need("VM.Config.Network"),
        "rootfs" | "mp" => {
            need("VM.Config.Disk")?;
            if value.is_some_and(mount::is_bind) { root_only("mount point type bind") } else { Ok(()) }
        }
        "unused" => need("VM.Config.Disk"),
        "features" => {
            need("VM.Config.Options")?;
            let flags = value.unwrap_or_default().split(',').filter(|flag| !flag.is_empty());
            if flags.clone().any(|flag| !flag.starts_with("nesting=")) || (flags.count() > 0 && !unprivileged) {
                return root_only("changing feature flags (except nesting)");
            }
            Ok(())
        }
        "hookscript" => root_only("changing the hookscript"),
        "dev" => root_only("configuring device passthrough"),
        "lock" => root_only("changing the lock"),
        "startup" => {
            need("VM.Config.Options")?;
            check.need("/", &["Sys.Modify"])
        }
        _ => need("VM.Config.Options"),
    }
}

/// Checks that the storage of a mount point exists, holds containers and may be written to.
pub(super) fn check_storage(cluster: &Cluster, check: Check, key: &str, value: &str) -> Result<(), Failure> {
    let Some(volid) = volume_of(value) else { return Ok(()) };
    let storage = storage_of(volid).unwrap_or_default();
    let path = format!("/storage/{storage}");
    let spec = cluster.storages.find(storage)?;
    if allocation(volid).is_none() {
        return Ok(());
    }
    check.need(&path, &["Datastore.AllocateSpace"])?;
    if spec.content.iter().any(|kind| kind == "rootdir") {
        Ok(())
    } else {
        let text = format!("storage '{storage}' does not support container directories");
        Err(Failure::parameter(if key == "rootfs" { "storage" } else { key }, text))
    }
}

/// Checks that the bridge of a network device may be used.
pub(super) fn check_bridge(check: Check, key: &str, value: &str) -> Result<(), Failure> {
    if split_index(key).is_none_or(|(stem, _)| stem != "net") {
        return Ok(());
    }
    let Some(bridge) = sub_key(value, "bridge") else { return Ok(()) };
    let mut path = format!("/sdn/zones/localnetwork/{bridge}");
    if let Some(tag) = sub_key(value, "tag") {
        path.push_str(&format!("/{tag}"));
    }
    check.need(&path, &["SDN.Use"])
}
