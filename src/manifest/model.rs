//! The fleet as written: decoded and checked in form, not yet routed or merged.

use std::collections::BTreeMap;

use super::source::{Key, Mark, Node};
use crate::diagnostics::Place;
use crate::pve::value::{GuestKind, Vmid};

/// A value with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// A setting that `null` can take back: left out, `null`, or a value.
pub type Setting<T> = Option<Spanned<Option<T>>>;

/// A manifest: all its files together.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// False where something was refused in reading; what seems to be missing may have been that.
    pub complete: bool,
    /// The owner's name.
    pub name: Spanned<String>,
    /// Part of the fleet that this manifest is; empty by default.
    pub scope: Option<Spanned<String>>,
    /// Limits.
    pub guards: Guards,
    /// The defaults of included files, the weakest first.
    pub included: Vec<Defaults>,
    /// What is merged under every guest.
    pub defaults: Defaults,
    /// Partial guests by name.
    pub profiles: BTreeMap<String, Layer>,
    /// By settings name.
    pub clusters: BTreeMap<String, Cluster>,
    /// All guests, in the order of the files.
    pub guests: Vec<Guest>,
}

/// Limits on what one run may destroy or interrupt.
#[derive(Debug, Clone, Default)]
pub struct Guards {
    /// Guests that may be deleted.
    pub max_deletes: Option<Spanned<u32>>,
    /// Percent of the owned guests of a cluster that may be deleted.
    pub max_delete_percent: Option<Spanned<u32>>,
    /// Guests that may be rebooted.
    pub max_reboots: Option<Spanned<u32>>,
}

/// A block of defaults.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    /// For VMs and containers.
    pub guest: Layer,
    /// For VMs.
    pub vm: Layer,
    /// For containers.
    pub container: Layer,
}

/// One entry of `clusters`.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Where its key stands.
    pub place: Place,
    /// Where new ids come from: the first and the last.
    pub vmids: Option<Spanned<(Vmid, Vmid)>>,
    /// What is merged under its guests.
    pub defaults: Defaults,
}

/// One guest as written.
#[derive(Debug, Clone)]
pub struct Guest {
    /// VM or container.
    pub kind: GuestKind,
    /// Its name.
    pub name: Spanned<String>,
    /// Its id.
    pub vmid: Option<Spanned<Vmid>>,
    /// The cluster that it stands under or names.
    pub cluster: Option<Spanned<String>>,
    /// Profiles, the weakest first.
    pub profiles: Vec<Spanned<String>>,
    /// Take over a guest that matches and is not ours.
    pub adopt: bool,
    /// Let the guest go.
    pub released: bool,
    /// A backup that it is restored from.
    pub archive: Option<Spanned<String>>,
    /// Delete it and make it anew.
    pub recreate: Option<Spanned<bool>>,
    /// Its former name.
    pub renamed_from: Option<Spanned<String>>,
    /// Which of several it is, where `each` makes more than one.
    pub instance: Option<Instance>,
    /// Where templates stood, of a guest that `each` makes.
    pub rendered: Vec<Mark>,
    /// Everything that defaults and profiles may say too.
    pub layer: Layer,
}

/// One of the guests that `each` makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The variable and its value: `n = 3`.
    pub words: String,
    /// Where the value stands.
    pub place: Place,
}

/// What defaults, profiles and guests have in common: one layer of the merge.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    /// In words: `guest`, `profile web`, `defaults.vm`.
    pub name: String,
    /// Where it begins.
    pub place: Option<Place>,
    /// Nodes where it may live.
    pub node: Setting<Vec<String>>,
    /// What it is cloned from.
    pub clone: Setting<CloneSetting>,
    /// `running` or `stopped`.
    pub state: Setting<String>,
    /// Convert it to a template.
    pub template: Setting<bool>,
    /// `allow` or `never`.
    pub reboot: Setting<String>,
    /// `report`, `remove` or `ignore`.
    pub unlisted: Setting<String>,
    /// Options taken out of plan and apply.
    pub ignore: Setting<Vec<String>>,
    /// Guests that must be done before it.
    pub depends_on: Setting<Vec<String>>,
    /// Resource pool.
    pub pool: Setting<String>,
    /// Seconds that a shutdown may take.
    pub shutdown_timeout: Setting<u32>,
    /// High availability; `null` means that it is not managed by it.
    pub ha: Setting<HaSetting>,
    /// Proxmox's options, not yet checked.
    pub options: Vec<(Key, Node)>,
}

/// Which guest is cloned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloneFrom {
    /// The one of this id or name.
    Named(String),
    /// One that bears this tag.
    Tagged(String),
}

impl std::fmt::Display for CloneFrom {
    /// As people read it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Tagged(tag) => write!(f, "the tag {tag}"),
        }
    }
}

/// A layer's `clone`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CloneSetting {
    /// Which guest.
    pub from: Option<Spanned<CloneFrom>>,
    /// Copy everything.
    pub full: Option<bool>,
    /// Storage for the disks of a full clone.
    pub storage: Option<Spanned<String>>,
    /// The snapshot that is cloned.
    pub snapname: Option<Spanned<String>>,
    /// A part of it was refused; what is missing may have been that.
    pub refused: bool,
}

/// A layer's `ha`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HaSetting {
    /// The state asked for.
    pub state: Setting<String>,
    /// Attempts to start it again on its node.
    pub max_restart: Setting<u32>,
    /// Attempts to start it on another node.
    pub max_relocate: Setting<u32>,
    /// Its group, in Proxmox VE 8.
    pub group: Setting<String>,
}
