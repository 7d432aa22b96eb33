//! Defects, each planted where it would be: in what is read, in what is planned. Only tests plant them.
//!
//! Each stands for a mistake that was made, or nearly: the properties must notice every one of them.

use pvefleet::desired::{Desired, Power};
use pvefleet::live::{Live, LiveCluster, Read};
use pvefleet::plan::{Action, Part, Plan, StepKind, Template};

macro_rules! defects {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// What is done wrongly.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Defect { $($(#[$doc])* $name,)+ }

        impl Defect {
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

defects! {
    /// Whoever bears the name or the tag counts as ours, whatever its line says.
    SkipTheMarkCheck,
    /// A guest that may not be read counts as gone.
    TakeForbiddenForAbsent,
    /// A list that could not be read counts as empty.
    CountAFailedReadAsEmpty,
    /// A NIC is written without the MAC address that it has.
    DropTheMac,
    /// A new disk is made although a detached one waits.
    ForgetDetachedDisks,
    /// Every guest counts as stopped, as in a list that is behind.
    StartFromTheCachedPowerState,
    /// Protection counts for nothing.
    IgnoreProtection,
    /// A guest's name is what a list says, which has a predecessor's.
    TakeTheListsNameForTruth,
    /// Locks count for nothing.
    IgnoreLocks,
    /// Orphans are deleted although nobody asked.
    PruneUnasked,
    /// The guards count for nothing.
    ForgetTheGuards,
    /// Whoever matches is taken over.
    AdoptAnybody,
    /// Writes go without the digest.
    DropTheDigest,
    /// A detaching needs no acceptance.
    DetachUnasked,
    /// The last step of a change is forgotten.
    ForgetAStep,
    /// Guests stand in the order in which they were answered.
    KeepTheOrderOfTheAnswers,
    /// What waits for a reboot is seen as not written.
    ForgetPendingValues,
    /// What a step must lead to is said wrongly.
    ExpectSomethingElse,
    /// Half of the fleet counts as all of it.
    TakeAPartForTheWhole,
}

fn clusters(live: &mut Live) -> impl Iterator<Item = &mut LiveCluster> {
    live.clusters.values_mut().filter_map(|cluster| match cluster {
        Read::Known(cluster) => Some(cluster),
        _ => None,
    })
}

impl Defect {
    /// In what was read.
    pub fn in_live(self, live: &mut Live, desired: &Desired) {
        let names: Vec<(String, String)> = desired
            .clusters
            .iter()
            .flat_map(|(cluster, wanted)| wanted.guests.iter().map(|guest| (cluster.clone(), guest.name.clone())))
            .collect();
        for cluster in clusters(live) {
            let name = cluster.identity.settings.clone();
            match self {
                Self::TakeForbiddenForAbsent => {
                    cluster.guests.retain(|_, guest| guest.config.unread().is_none());
                }
                Self::CountAFailedReadAsEmpty => {
                    let failed: Vec<String> = cluster
                        .nodes
                        .iter()
                        .filter(|(_, node)| node.lists.unread().is_some())
                        .map(|(name, _)| name.clone())
                        .collect();
                    cluster.nodes.values_mut().for_each(|node| node.lists = Read::Known(()));
                    cluster.guests.retain(|_, guest| !failed.contains(&guest.node));
                }
                _ => {}
            }
            for guest in cluster.guests.values_mut() {
                let Read::Known(config) = &mut guest.config else { continue };
                match self {
                    Self::SkipTheMarkCheck => {
                        if let Some(own) = guest.name.known() {
                            let line = format!(
                                "<!-- pvefleet v1 cluster={name} fleet=homelab guest={}/{own} vmid={} -->",
                                guest.kind, guest.vmid
                            );
                            config.current.insert("description".to_owned(), line);
                        }
                    }
                    Self::ForgetDetachedDisks => config.current.retain(|option, _| !option.starts_with("unused")),
                    Self::StartFromTheCachedPowerState => guest.power = Read::Known(Power::Stopped),
                    Self::IgnoreProtection => {
                        config.current.remove("protection");
                    }
                    Self::TakeTheListsNameForTruth => {
                        let predecessor = names.iter().find(|(cluster, _)| *cluster == name);
                        if let Some((_, predecessor)) = predecessor {
                            guest.name = Read::Known(predecessor.clone());
                        }
                    }
                    Self::IgnoreLocks => {
                        guest.lock = None;
                        config.current.remove("lock");
                    }
                    Self::ForgetPendingValues => config.pending.clear(),
                    _ => {}
                }
            }
        }
    }

    /// In what is wanted.
    pub fn in_desired(self, desired: &mut Desired) {
        match self {
            Self::ForgetTheGuards => {
                desired.guards.max_deletes = u32::MAX;
                desired.guards.max_delete_percent = 100;
                desired.guards.max_reboots = u32::MAX;
            }
            Self::AdoptAnybody => {
                let guests = desired.clusters.values_mut().flat_map(|cluster| &mut cluster.guests);
                guests.for_each(|guest| guest.adopt = true);
            }
            _ => {}
        }
    }

    /// In what is planned. `again` is true for the plan of the same answers in another order.
    pub fn in_plan(self, plan: &mut Plan, again: bool) {
        for change in plan.clusters.values_mut().flat_map(|cluster| &mut cluster.changes) {
            match self {
                Self::ForgetAStep if change.action == Action::Update && change.steps.len() > 1 => {
                    change.steps.pop();
                }
                Self::DropTheDigest => {
                    change.steps.iter_mut().for_each(|step| {
                        step.call.params.remove("digest");
                    });
                }
                Self::DropTheMac => {
                    let nics = change.steps.iter_mut().flat_map(|step| &mut step.call.params);
                    for (_, value) in nics.filter(|(name, _)| name.starts_with("net")) {
                        let text: String = value.0.iter().map(without_mac).collect();
                        *value = Template::text(text);
                    }
                }
                Self::ExpectSomethingElse => {
                    for step in change.steps.iter_mut().filter(|step| step.kind == StepKind::Start) {
                        step.expect = vec![pvefleet::plan::Expect::Power(Power::Stopped)];
                    }
                }
                _ => {}
            }
        }
        if self == Self::KeepTheOrderOfTheAnswers && again {
            plan.clusters.values_mut().for_each(|cluster| cluster.changes.reverse());
        }
    }
}

/// A piece of a NIC's value without its MAC address.
fn without_mac(part: &Part) -> String {
    let Part::Text(text) = part else { return String::new() };
    let is_mac = |text: &str| text.matches(':').count() == 5;
    let pieces = text
        .split(',')
        .filter(|piece| !piece.split_once('=').is_some_and(|(key, mac)| key.ends_with("addr") && is_mac(mac)));
    let pieces = pieces.map(|piece| match piece.split_once('=') {
        Some((model, mac)) if is_mac(mac) => model,
        Some((model, "")) => model,
        _ => piece,
    });
    pieces.collect::<Vec<_>>().join(",")
}
