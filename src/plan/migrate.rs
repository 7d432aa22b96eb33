//! A guest on a node that the manifest does not list: moved to one that it does.

use std::collections::BTreeMap;

use super::demands;
use super::document::{Call, Effect, Expect, Reason, ReasonCode, Step, StepKind};
use super::drives::{is_cloudinit, volume_of};
use super::ha;
use super::planner::Cluster;
use super::preflight::Needs;
use super::steps::Target;
use super::template::Template;
use crate::desired::{DesiredGuest, Power};
use crate::live::{LiveConfig, LiveGuest, LiveStorage, Read};
use crate::pve::compare::{is_drive, stem};
use crate::pve::http::Method;
use crate::pve::value::{GuestKind, storage_of};

/// Where a guest goes, and how.
pub struct Move {
    /// The node.
    pub node: String,
    /// Its disks are copied, and may have other names there.
    pub copies: bool,
}

/// True where the guest is on a node that the manifest does not list.
pub fn is_outside(guest: &DesiredGuest, live: &LiveGuest) -> bool {
    !guest.nodes.is_empty() && !guest.nodes.contains(&live.node)
}

/// Chooses the first listed node that takes the guest.
///
/// # Errors
///
/// Why none does.
pub fn choose(
    cluster: &Cluster<'_>,
    guest: &DesiredGuest,
    live: &LiveGuest,
    config: &LiveConfig,
    runs: bool,
    by_ha: bool,
) -> Result<Move, Reason> {
    if cluster.lacks(&format!("/vms/{}", live.vmid), "VM.Migrate") {
        return Err(demands::lacking(&format!("/vms/{}", live.vmid), "VM.Migrate"));
    }
    let kept = if by_ha { ha::kept_on(cluster, live.kind, live.vmid) } else { None };
    let mut first = None;
    for node in &guest.nodes {
        if let Some((rule, nodes)) = kept.as_ref().filter(|(_, nodes)| !nodes.contains(&node.as_str())) {
            first = first.or_else(|| {
                let words = format!(
                    "the manifest lists {}, and the HA rule {rule} keeps it on {}",
                    guest.nodes.join(", "),
                    nodes.join(", ")
                );
                let hint = Some("change the rule, or the `node` list".to_owned());
                Some(Reason { code: ReasonCode::NoNode, words, hint })
            });
            continue;
        }
        let needs = Needs::of_config(live.kind, config);
        let why = needs.missing_on(node, cluster.live).or_else(|| why_it_stays(cluster, live, config, runs));
        match why {
            None => return Ok(Move { node: node.clone(), copies: copies(cluster, live, config) }),
            Some(reason) => first = first.or(Some(reason)),
        }
    }
    Err(first.unwrap_or(Reason { code: ReasonCode::NoNode, words: "no node fits".to_owned(), hint: None }))
}

/// The call that moves a guest.
pub fn step(target: &Target, to: &Move, kind: GuestKind, runs: bool, timeout: Option<u32>) -> Step {
    let mut params = BTreeMap::from([("target".to_owned(), Template::text(&to.node))]);
    let mut flag = |name: &str| drop(params.insert(name.to_owned(), Template::text("1")));
    let effect = match kind {
        GuestKind::Qemu if runs => {
            flag("online");
            if to.copies {
                flag("with-local-disks");
            }
            Effect::Migration
        }
        GuestKind::Lxc if runs => {
            flag("restart");
            if let Some(seconds) = timeout {
                params.insert("timeout".to_owned(), Template::text(seconds.to_string()));
            }
            Effect::Downtime
        }
        _ => Effect::Migration,
    };
    let words = match (kind, runs) {
        (GuestKind::Lxc, true) => format!("shut it down, move it to {}, start it there", to.node),
        _ => format!("move it to {}", to.node),
    };
    let call = Call { method: Method::Post, path: target.path("/migrate"), params };
    let power = runs.then_some(Expect::Power(Power::Running));
    let expect = [Expect::Node(to.node.clone())].into_iter().chain(power).collect();
    Step { kind: StepKind::Migrate, words, call, effect, expect }
}

/// The storage of a volume on the guest's node.
fn storage<'a>(cluster: &Cluster<'a>, live: &LiveGuest, volume: &str) -> Option<&'a LiveStorage> {
    cluster.live.storages.get(&live.node).and_then(Read::known)?.get(storage_of(volume)?)
}

/// The volumes of a guest that only its node has, each with its key.
fn local<'a>(cluster: &Cluster<'_>, live: &LiveGuest, config: &'a LiveConfig) -> Vec<(&'a str, &'a str)> {
    let queued = config.pending.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    config
        .current
        .iter()
        .chain(queued)
        .filter(|(name, _)| is_drive(live.kind, name) || stem(name) == "unused")
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .filter(|(_, text)| {
            let volume = volume_of(text);
            let shared = storage(cluster, live, volume).is_some_and(|storage| storage.shared);
            !shared && !matches!(volume, "none" | "") && !text.split(',').any(|part| part == "shared=1")
        })
        .collect()
}

fn copies(cluster: &Cluster<'_>, live: &LiveGuest, config: &LiveConfig) -> bool {
    !local(cluster, live, config).is_empty()
}

/// Types of storage whose volumes Proxmox copies to another node.
const COPIED: [&str; 5] = ["dir", "btrfs", "zfspool", "lvmthin", "lvm"];

/// Why Proxmox would not move the guest to any node. Source: the checks before a migration, for VMs and containers.
pub fn why_it_stays(cluster: &Cluster<'_>, live: &LiveGuest, config: &LiveConfig, runs: bool) -> Option<Reason> {
    let reason =
        |words: String, hint: &str| Some(Reason { code: ReasonCode::NotInPlace, words, hint: Some(hint.to_owned()) });
    let by_hand = "move it by hand, or add its node to `node`";
    if live.kind == GuestKind::Qemu
        && let Some(device) = config.current.iter().find(|(name, text)| is_of_the_node(name, text, runs))
    {
        let words = format!("{} is a device of {}, which cannot move with it", device.0, live.node);
        return reason(words, "use a mapped device, or add its node to `node`");
    }
    let local = local(cluster, live, config);
    for (name, text) in &local {
        let volume = volume_of(text);
        if volume.starts_with('/') {
            return reason(format!("{name} is {volume} of {}, which cannot move with it", live.node), by_hand);
        }
        if text.split(',').any(|part| part == "media=cdrom") && !is_cloudinit(volume) {
            let hint = "take the image out, or put it on shared storage";
            return reason(format!("{name} holds {volume}, which only {} has", live.node), hint);
        }
        if volume
            .split_once(':')
            .is_some_and(|(_, path)| path.contains("base-") && path.contains('/') && !live.template)
        {
            return reason(format!("{name} is a linked clone on local storage, which stays with its base"), by_hand);
        }
        let kind = storage(cluster, live, volume).map(|storage| storage.kind.as_str());
        if let Some(kind) = kind.filter(|kind| !COPIED.contains(kind)) {
            return reason(format!("{name} is on storage of type {kind}, which Proxmox does not copy"), by_hand);
        }
        let has_snapshots = config.current.contains_key("parent");
        let goes_along = !runs
            && (matches!(kind, Some("zfspool" | "btrfs"))
                || live.kind == GuestKind::Qemu && volume.ends_with(".qcow2"));
        if has_snapshots && !goes_along {
            let words = format!("it has snapshots, and Proxmox does not copy those of {name} to another node");
            return reason(words, "delete the snapshots, or move it by hand");
        }
    }
    None
}

/// True for a device that only this node has, as far as a migration asks.
fn is_of_the_node(name: &str, text: &str, runs: bool) -> bool {
    let has = |key: &str| text.split(',').any(|part| part.starts_with(key));
    match stem(name) {
        "hostpci" => !has("mapping=") || runs,
        "usb" => !has("mapping=") && !text.contains("spice"),
        "serial" => text != "socket",
        "parallel" => true,
        "virtiofs" => runs,
        _ => name == "ivshmem",
    }
}
