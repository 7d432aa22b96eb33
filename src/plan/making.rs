//! What Proxmox asks of who makes a guest, checked before one is destroyed to be made anew: what cannot be made again
//! must not be taken away.
//!
//! Rights on the guest itself do not count. Proxmox removes them, and its place in a pool, when it destroys a guest
//! (`remove_vm_access`, with `purge` or without); what is left is what the token holds on all guests, or on the pool
//! that the call names.

use std::collections::BTreeSet;

use super::document::{Change, Reason, ReasonCode, State, Step, StepKind};
use super::drives::{is_cloudinit, volume_of};
use super::planner::Cluster;
use super::preflight::{self, holds};
use crate::live::{LiveGuest, Read};
use crate::pve::compare::{is_drive, stem};
use crate::pve::http::Method;
use crate::pve::property::{self, Properties};
use crate::pve::schema::{catalog, version_number};
use crate::pve::value::{GuestKind, allocation, parse_boolean, storage_of};

/// Any guest that has no rights of its own.
const ANY_GUEST: &str = "/vms/new";

/// Why the guest cannot be made once it is destroyed, whose steps to make it these are; nothing where it can.
pub fn why_not_anew(cluster: &Cluster<'_>, live: &LiveGuest, change: &Change) -> Option<(State, Reason)> {
    let blocked = |reason| Some((State::Blocked, reason));
    if let Some(why) = cluster.live.permissions.unread() {
        let words = format!("what this token may do could not be read ({why}), so it may not be able to make it again");
        return Some((State::Unknown, Reason { code: ReasonCode::Unread, words, hint: None }));
    }
    // Nor is anything destroyed that would not be again as it was asked for.
    if let Some(reason) = change.fields.iter().find_map(|field| field.blocked.clone()) {
        return blocked(reason);
    }
    let pool = change.steps.iter().find_map(|step| step.call.params.get("pool")).map(ToString::to_string);
    let making = Making { cluster, kind: live.kind, pool };
    if let Some(reason) = making.lacking(change.steps.iter().filter(|step| step.call.method != Method::Delete)) {
        return blocked(reason);
    }
    let own: BTreeSet<&str> = change.destroys.iter().filter_map(|volume| volume.split([' ', ',']).nth(1)).collect();
    let texts = change.steps.iter().flat_map(|step| &step.call.params).map(|(name, text)| (name, text.to_string()));
    for (name, text) in texts {
        if let Some(volume) = text.split([',', '=']).find(|part| own.contains(part)) {
            return blocked(Reason {
                code: ReasonCode::NotInPlace,
                words: format!("{name} is to be {volume}, which is destroyed with the guest"),
                hint: Some("write `storage` and `size` for a new volume, or keep the guest as it is".to_owned()),
            });
        }
    }
    None
}

/// The making of a guest that has no rights of its own yet.
struct Making<'a> {
    cluster: &'a Cluster<'a>,
    kind: GuestKind,
    pool: Option<String>,
}

impl Making<'_> {
    fn holds(&self, path: &str, privilege: &str) -> bool {
        holds(&self.cluster.live.permissions, path, privilege) == Some(true)
    }

    fn needs(&self, path: &str, privileges: &[&str]) -> Option<Reason> {
        let lacks = !privileges.iter().any(|privilege| self.holds(path, privilege));
        lacks.then(|| preflight::lacking(path, &privileges.join(" or ")))
    }

    /// A privilege on the new guest: on all guests, or through the pool that it is made in.
    fn needs_on_guest(&self, privileges: &[&str]) -> Option<Reason> {
        let pool = self.pool.as_ref().map(|pool| format!("/pool/{pool}"));
        let on = |path: &str| privileges.iter().any(|privilege| self.holds(path, privilege));
        if on(ANY_GUEST) || pool.is_some_and(|pool| on(&pool)) {
            return None;
        }
        let mut reason = preflight::lacking("/vms", &privileges.join(" or "));
        reason.words.push_str("; its rights on the guest itself go when that is destroyed");
        Some(reason)
    }

    /// The first thing that any of the steps needs and that is not held.
    fn lacking<'a>(&self, mut steps: impl Iterator<Item = &'a Step>) -> Option<Reason> {
        steps.find_map(|step| match step.kind {
            StepKind::Ha => self.needs("/", &["Sys.Console"]),
            StepKind::Start | StepKind::Shutdown | StepKind::Reboot => self.needs_on_guest(&["VM.PowerMgmt"]),
            StepKind::Migrate => self.needs_on_guest(&["VM.Migrate"]),
            StepKind::Create => self.needs_on_guest(&["VM.Allocate"]).or_else(|| self.options(step)),
            StepKind::Clone => self.needs_on_guest(&["VM.Allocate"]).or_else(|| self.copies(step)),
            _ => self.options(step),
        })
    }

    /// The storages that a clone's disks are made on.
    fn copies(&self, step: &Step) -> Option<Reason> {
        let on = |storage: &str| self.needs(&format!("/storage/{storage}"), &["Datastore.AllocateSpace"]);
        if let Some(storage) = step.call.params.get("storage") {
            return on(&storage.to_string());
        }
        let path = step.call.path.to_string();
        let source = path.split('/').nth(4).and_then(|vmid| vmid.parse().ok());
        let Some(Read::Known(config)) =
            source.and_then(|vmid| self.cluster.live.guests.get(&vmid)).map(|live| &live.config)
        else {
            return None;
        };
        let drives =
            config.current.iter().filter(|(name, _)| is_drive(self.kind, name)).map(|(_, text)| volume_of(text));
        drives.filter(|volume| !volume.contains(":iso/")).filter_map(storage_of).find_map(on)
    }

    fn options(&self, step: &Step) -> Option<Reason> {
        step.call.params.iter().find_map(|(name, text)| self.option(step.kind, name, &text.to_string()))
    }

    fn option(&self, step: StepKind, name: &str, text: &str) -> Option<Reason> {
        let storage = |volume: &str, privileges: &[&str]| {
            self.needs(&format!("/storage/{}", storage_of(volume).unwrap_or_default()), privileges)
        };
        match name {
            "ostemplate" => return storage(text, &["Datastore.AllocateSpace", "Datastore.Audit"]),
            "storage" => return self.needs(&format!("/storage/{text}"), &["Datastore.AllocateSpace"]),
            // Before 9, anybody who may make a container may make a privileged one.
            "unprivileged" => {
                let is_newer = version_number(&self.cluster.live.version) >= version_number("9.0");
                let asks = is_newer && step == StepKind::Create && parse_boolean(text) == Some(false);
                return if asks { self.needs("/", &["Sys.Modify"]) } else { None };
            }
            _ => {}
        }
        let spec = catalog(self.kind).find(name)?;
        let keys = spec.value.properties.as_ref().and_then(|format| property::split(text, format).ok());
        if is_drive(self.kind, name) {
            return self.drive(volume_of(text));
        }
        let of_guest = || {
            let privileges: Vec<&str> = spec.facts.privilege.iter().map(String::as_str).collect();
            // Who may set a feature is decided with what only root may set.
            let counts = !privileges.is_empty() && name != "features";
            counts.then(|| self.needs_on_guest(&privileges)).flatten()
        };
        let besides = || match spec.facts.also.as_deref() {
            Some("Sys.Modify on /") => self.needs("/", &["Sys.Modify"]),
            _ if stem(name) == "net" => self.network(keys.as_ref()?),
            _ => None,
        };
        of_guest().or_else(besides)
    }

    fn drive(&self, volume: &str) -> Option<Reason> {
        let path = format!("/storage/{}", storage_of(volume).unwrap_or_default());
        let makes = || self.needs(&path, &["Datastore.AllocateSpace"]);
        if is_cloudinit(volume) || volume.ends_with(":cloudinit") {
            let both = self.needs_on_guest(&["VM.Config.Cloudinit"]);
            return both.or_else(|| self.needs_on_guest(&["VM.Config.CDROM"])).or_else(makes);
        }
        if volume.contains(":iso/") || matches!(volume, "none" | "cdrom") {
            let reads = || self.needs(&path, &["Datastore.Audit", "Datastore.AllocateSpace"]);
            let reads = || storage_of(volume).and_then(|_| reads());
            return self.needs_on_guest(&["VM.Config.CDROM"]).or_else(reads);
        }
        let makes = || allocation(volume).and_then(|_| makes());
        self.needs_on_guest(&["VM.Config.Disk"]).or_else(makes)
    }

    /// A bridge belongs to the zone `localnetwork`; a virtual network of that name to another one, which is not read.
    fn network(&self, keys: &Properties) -> Option<Reason> {
        let bridge = keys.get("bridge")?;
        let mut path = format!("/sdn/zones/localnetwork/{bridge}");
        if let Some(tag) = keys.get("tag") {
            path.push_str(&format!("/{tag}"));
        }
        let zones = self.cluster.live.permissions.known().into_iter().flat_map(|paths| paths.keys());
        let mut others = zones.filter(|zone| zone.starts_with("/sdn/zones/") && !zone.contains("/localnetwork"));
        if others.any(|zone| self.holds(zone, "SDN.Use")) { None } else { self.needs(&path, &["SDN.Use"]) }
    }
}
