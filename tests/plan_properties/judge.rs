//! What a plan may hold, and what may have come of it, judged from the simulator's own state.

use std::collections::{BTreeMap, BTreeSet};

use pvefleet::apply::{GuestResult, Outcome};
use pvefleet::live::{Live, Power, Read};
use pvefleet::plan::{Acceptance, AcceptanceKind, Action, Change, Expect, Plan, Step, StepKind};
use pvefleet::pve::compare::{same_value, size_matches};
use pvefleet::pve::value::{GuestKind, Size};

use crate::case::Case;
use crate::observer::{Guest, Snapshot};
use crate::reading::Fault;
use crate::run::{Violation, brief, violated};
use crate::support::{World, text};

pub struct Judge<'a> {
    pub case: &'a Case,
    pub before: &'a Snapshot,
    pub accept: &'a [Acceptance],
}

fn is_drive(key: &str) -> bool {
    ["scsi", "virtio", "sata", "ide", "mp"].iter().any(|stem| {
        key.strip_prefix(stem).is_some_and(|index| !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

fn makes(action: Action) -> bool {
    matches!(action, Action::Create | Action::Clone | Action::Restore)
}

impl Judge<'_> {
    fn accepted(&self, kind: AcceptanceKind, change: &Change, device: Option<&str>) -> bool {
        self.accept.iter().any(|accept| {
            let vmid = change.address.vmid.map(|vmid| vmid.to_string());
            accept.kind == kind
                && accept.cluster == change.address.cluster
                && (accept.guest == change.address.name || Some(&accept.guest) == vmid.as_ref())
                && device.is_none_or(|device| accept.device.as_deref() == Some(device))
        })
    }

    /// The entry of the manifest with this name in the cluster.
    fn entry(&self, change: &Change) -> &str {
        let named = format!("name: {}\n", change.address.name);
        let entities = self.case.entities.iter().filter(|entity| entity.listed_in == change.address.cluster);
        entities
            .filter(|entity| entity.kind == change.address.kind)
            .filter_map(|entity| entity.entry.as_deref())
            .find(|entry| entry.contains(&named))
            .unwrap_or_default()
    }

    fn guest(&self, change: &Change) -> Option<(u32, &Guest)> {
        let vmid = change.address.vmid?.get();
        Some((vmid, self.before.guests.get(&(change.address.cluster.clone(), vmid))?))
    }

    /// (b), of a plan.
    pub fn plan(&self, plan: &Plan) -> Result<(), Violation> {
        let mut deletes: BTreeMap<&str, usize> = BTreeMap::new();
        for change in plan.changes().filter(|change| change.has_steps()) {
            let wrong = |words: &str| violated("b", format!("{words}: {}\n{}", brief(change), text(plan)));
            let Some((vmid, guest)) = self.guest(change) else {
                if makes(change.action) {
                    continue;
                }
                return wrong("a guest that is not there is changed");
            };
            if makes(change.action) {
                return wrong("a guest is made where one is");
            }
            let proven = guest.proven(&change.address.cluster, vmid);
            if proven.is_none() {
                let asked =
                    self.entry(change).contains("adopt: true") || self.accepted(AcceptanceKind::Adopt, change, None);
                let foreign = guest.file.contains("fleet=other") || guest.file.contains("cluster=elsewhere");
                if change.action != Action::Adopt || !asked || foreign || guest.name() != change.address.name {
                    return wrong("a guest that is not proven to be ours is changed");
                }
            }
            if guest.option("lock").is_some() {
                return wrong("a locked guest is touched");
            }
            if change.action == Action::Recreate {
                let asked = self.entry(change).contains("recreate: true")
                    && self.accepted(AcceptanceKind::Recreate, change, None);
                if guest.is_protected() || !asked {
                    return wrong("a guest is made anew that is protected, or that nobody asked for");
                }
            }
            if change.action == Action::Delete {
                let by_name = self.accepted(AcceptanceKind::Delete, change, None);
                let listed = proven.as_ref().is_some_and(|name| {
                    let named = format!("name: {name}\n");
                    let entities = self.case.entities.iter().filter(|entity| entity.kind == change.address.kind);
                    entities.filter_map(|entity| entity.entry.as_deref()).any(|entry| entry.contains(&named))
                });
                if guest.is_protected() || listed || self.case.partial || !(self.case.prune || by_name) {
                    return wrong("a guest is deleted that is protected, listed, or not asked for");
                }
                let tagged = guest.option("tags").is_some_and(|tags| tags.split(';').any(|tag| tag == "fleet-homelab"));
                if !by_name && !tagged {
                    return wrong("a guest without the tag is deleted");
                }
                *deletes.entry(&change.address.cluster).or_default() += usize::from(!by_name);
            }
            for step in &change.steps {
                self.step(change, guest, step)?;
            }
        }
        let most = match self.case.guards {
            guards if guards.contains("max_deletes: 5") => 5,
            guards if guards.contains("max_deletes: 0") => 0,
            _ => 1,
        };
        if deletes.values().sum::<usize>() > most {
            return violated("b", format!("more is deleted than the guards allow\n{}", text(plan)));
        }
        Ok(())
    }

    fn step(&self, change: &Change, guest: &Guest, step: &Step) -> Result<(), Violation> {
        let wrong = |words: String| violated("b", format!("{words}: {}", brief(change)));
        let params = &step.call.params;
        if matches!(step.kind, StepKind::Configure | StepKind::Resize) && !params.contains_key("digest") {
            return wrong("a write goes without the digest".to_owned());
        }
        let removed = params.get("delete").map(ToString::to_string).unwrap_or_default();
        for key in removed.split(',').filter(|key| is_drive(key)) {
            let holds = guest.option(key).is_some_and(|value| !value.contains("media=cdrom"));
            let volume = guest.option(key).and_then(|value| value.split(',').next()).unwrap_or_default();
            // Under another key in the same call, it stays; moved before, by the name that it has then.
            let then = format!("<{key}.file>");
            let names = |text: &str| text.contains(volume) || text.contains(&then);
            let is_kept = params.iter().any(|(other, value)| other != key && names(&value.to_string()));
            if holds && !is_kept && !self.accepted(AcceptanceKind::Detach, change, Some(key)) {
                return wrong(format!("{key} is detached unasked"));
            }
        }
        let waits = guest.current().lines().any(|line| line.starts_with("unused"));
        for (key, value) in params.iter().filter(|(key, _)| is_drive(key) && guest.option(key).is_none()) {
            let value = value.to_string();
            let volume = value.split(',').next().unwrap_or_default();
            let allocates = volume.rsplit(':').next().is_some_and(|size| size.parse::<f64>().is_ok());
            let line = self.entry(change).lines().find(|line| line.trim_start().starts_with(&format!("{key}:")));
            if waits && allocates && !line.is_some_and(|line| line.contains("new: true")) {
                return wrong(format!("{key} is a new disk although a detached one waits"));
            }
        }
        Ok(())
    }

    /// (b), of what was done.
    pub fn done(&self, plan: &Plan, after: &Snapshot) -> Result<(), Violation> {
        let changed: BTreeMap<(String, u32), &Change> = plan
            .changes()
            .filter(|change| change.has_steps())
            .filter_map(|change| Some(((change.address.cluster.clone(), change.address.vmid?.get()), change)))
            .collect();
        for (key, guest) in &self.before.guests {
            let change = changed.get(key);
            match after.guests.get(key) {
                None if change.is_some_and(|change| change.action == Action::Delete) => {}
                None => return violated("b", format!("{key:?} is gone\n{}", text(plan))),
                Some(now) if change.is_none() => {
                    let same = (&now.node, now.running, now.kind) == (&guest.node, guest.running, guest.kind)
                        && now.without_lock() == guest.without_lock();
                    if !same {
                        return violated("b", format!("{key:?} changed without a plan: {guest:#?}\n{now:#?}"));
                    }
                }
                Some(now) => {
                    let macs = now.macs();
                    let lost = guest.macs().into_iter().find(|(nic, mac)| macs.get(nic).is_some_and(|now| now != mac));
                    let anew = change.is_some_and(|change| change.action == Action::Recreate);
                    if let Some((nic, mac)) = lost.filter(|_| !anew) {
                        return violated(
                            "b",
                            format!(
                                "{nic} of {key:?} lost its MAC address {mac}: {}",
                                change.map_or_else(String::new, |change| brief(change))
                            ),
                        );
                    }
                }
            }
        }
        let lost: BTreeSet<&(String, String)> = self.before.volumes.difference(&after.volumes).collect();
        for (cluster, volume) in lost {
            let name = volume.rsplit([':', '/']).next().unwrap_or_default();
            let owner: Option<u32> = name.split('-').nth(1).and_then(|vmid| vmid.parse().ok());
            let change = owner.and_then(|vmid| changed.get(&(cluster.clone(), vmid)));
            // A template's disk is renamed, a cloud-init drive is made anew, a moved one is elsewhere.
            let explained = volume.contains("cloudinit")
                || change.is_some_and(|change| {
                    change.action == Action::Delete
                        || change.steps.iter().any(|step| {
                            !matches!(
                                step.kind,
                                StepKind::Configure | StepKind::Resize | StepKind::Start | StepKind::Shutdown
                            )
                        })
                });
            if !explained {
                return violated(
                    "b",
                    format!(
                        "{cluster} lost {volume}: {}\n{}",
                        change.map_or_else(String::new, |change| brief(change)),
                        text(plan)
                    ),
                );
            }
        }
        Ok(())
    }

    /// (d)
    pub fn unread(&self, plan: &Plan, cluster: &str, node: &str, fault: &Fault) -> Result<(), Violation> {
        let path = fault.start.as_str();
        let wrong = |words: &str, change: &Change| {
            violated("d", format!("{fault:?}: {words}: {}\n{}", brief(change), text(plan)))
        };
        let reads_guests =
            path.ends_with("qemu") || path.ends_with("lxc") || path.ends_with("pending") || path.ends_with('/');
        // A guest that nobody wants to know of is not read, and its faults are met by nobody.
        let unread = plan.clusters.get(cluster).map(|cluster| cluster.unread.as_slice()).unwrap_or_default();
        let met = !unread.is_empty();
        // It might be the one that is to be made: of its kind, with the fleet's tag; or the whole list is not known.
        let might_be = |kind: GuestKind| {
            unread.iter().any(|item| match item.what.split_once(' ') {
                Some(("node", _)) => true,
                Some((noun, vmid)) if noun == kind.noun() => {
                    let vmid = vmid.parse().unwrap_or_default();
                    let guest = self.before.guests.get(&(cluster.to_owned(), vmid));
                    guest.is_some_and(|guest| guest.option("tags").is_some_and(|tags| tags.contains("fleet-homelab")))
                }
                _ => false,
            })
        };
        for change in plan.clusters.get(cluster).into_iter().flat_map(|cluster| &cluster.changes) {
            let makes = change.has_steps() && makes(change.action);
            let deletes = change.has_steps() && change.action == Action::Delete;
            let has_id = self.entry(change).contains("vmid: ");
            if (path.ends_with("status") || path.ends_with("resources")) && change.has_steps() {
                return wrong("nothing is known of the cluster, and something is done", change);
            }
            if reads_guests && met && (deletes || makes && !has_id && might_be(change.address.kind)) {
                return wrong("guests were not read, and one is made or deleted", change);
            }
            if path.ends_with("nextid") && makes && has_id {
                return wrong("whether the id is free is not known", change);
            }
            if path.ends_with("permissions") && makes && !has_id {
                return wrong("whether all guests are seen is not known", change);
            }
            let on_node = change.node.as_deref() == Some(node);
            if path.ends_with("storage") && makes && on_node && change.address.kind.to_string() == "lxc" {
                return wrong("whether there is room for it is not known", change);
            }
        }
        Ok(())
    }
}

/// (e): what the steps of a change say they lead to, each thing as the last step has it.
pub fn expectations(plan: &Plan, outcome: &Outcome, live: &Live, world: &World) -> Result<(), Violation> {
    let after = Snapshot::of(world);
    for guest in outcome.guests.iter().filter(|guest| guest.result == GuestResult::Done) {
        let Some(change) = plan.changes().find(|change| {
            change.address.name == guest.address.name
                && change.address.cluster == guest.address.cluster
                && change.address.kind == guest.address.kind
                && change.has_steps()
        }) else {
            continue;
        };
        let Some(vmid) = guest.address.vmid else { continue };
        let held = after.guests.get(&(guest.address.cluster.clone(), vmid.get()));
        let seen = match live.clusters.get(&guest.address.cluster) {
            Some(Read::Known(cluster)) => cluster.guests.get(&vmid),
            _ => None,
        };
        let mut last: BTreeMap<String, &Expect> = BTreeMap::new();
        for expect in change.steps.iter().flat_map(|step| &step.expect) {
            let about = match expect {
                Expect::Size { drive, .. } => format!("size {drive}"),
                Expect::Storage { drive, .. } => format!("storage {drive}"),
                Expect::Option { name, .. } | Expect::NoOption { name } => name.clone(),
                Expect::Exists | Expect::Gone => "exists".to_owned(),
                Expect::Power(_) => "power".to_owned(),
                Expect::Ha(_) => "ha".to_owned(),
                other => format!("{other:?}"),
            };
            last.insert(about, expect);
        }
        // A disk that grew is not of the size that it was made with.
        let grown: BTreeSet<String> =
            last.keys().filter_map(|about| Some(about.strip_prefix("size ")?.to_owned())).collect();
        last.retain(|about, _| !grown.contains(about));
        // A template's volumes bear other names.
        if last.values().any(|expect| **expect == Expect::Template) {
            last.retain(|about, _| !is_drive(about));
        }
        if last.get("exists") == Some(&&Expect::Gone) {
            last.retain(|about, _| about == "exists");
        }
        let config = seen.and_then(|seen| seen.config.known());
        for expect in last.values() {
            let holds = match expect {
                Expect::Exists => held.is_some_and(|held| held.option("lock").is_none()),
                Expect::Gone => held.is_none(),
                Expect::Power(power) => held.is_some_and(|held| held.running == (*power == Power::Running)),
                Expect::Template => held.is_some_and(|held| held.option("template") == Some("1")),
                Expect::NothingPending => {
                    held.is_some_and(|held| !held.file.contains("[PENDING]") && !held.file.contains("[pve:pending]"))
                }
                Expect::Node(node) => held.is_some_and(|held| held.node == *node),
                Expect::Option { name, value } => config.is_none_or(|config| {
                    config.effective(name).is_some_and(|live| same_value(change.address.kind, name, value, live))
                }),
                Expect::NoOption { name } => config.is_none_or(|config| config.effective(name).is_none()),
                Expect::Size { drive, size } => config.is_none_or(|config| {
                    let live = config.effective(drive).unwrap_or_default();
                    let live =
                        live.split(',').find_map(|part| part.strip_prefix("size=")).and_then(Size::parse_proxmox);
                    size_matches(Size::parse_proxmox(size), live)
                }),
                Expect::Storage { drive, storage } => held.is_some_and(|held| {
                    held.option(drive).is_some_and(|value| value.starts_with(&format!("{storage}:")))
                }),
                Expect::Ha(wanted) => {
                    let prefix = if change.address.kind == GuestKind::Qemu { "vm" } else { "ct" };
                    let resources = match live.clusters.get(&guest.address.cluster) {
                        Some(Read::Known(cluster)) => cluster.ha.known(),
                        _ => None,
                    };
                    let held = resources.and_then(|all| all.get(&format!("{prefix}:{vmid}")));
                    match (wanted, held) {
                        (None, held) => held.is_none(),
                        (Some(wanted), Some(held)) => wanted.iter().all(|(key, value)| held.get(key) == Some(value)),
                        (Some(_), None) => resources.is_none(),
                    }
                }
                Expect::Pool(pool) => seen.is_none_or(|seen| seen.pool.as_ref() == Some(pool)),
            };
            if !holds {
                return violated("e", format!("{expect:?} of {held:#?}\n{}", brief(change)));
            }
        }
    }
    Ok(())
}
