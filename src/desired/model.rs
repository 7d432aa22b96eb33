//! The types of the resolved fleet.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clusters::{Access, VmidRange};
use crate::diagnostics::Place;
pub use crate::manifest::model::{CloneFrom, Spanned};
use crate::pve::value::{GuestKind, Size, Vmid};

/// The resolved fleet.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// The owner's name.
    pub fleet: String,
    /// Part of the fleet that this manifest is; empty by default.
    pub scope: String,
    /// Limits on what one run may destroy or interrupt.
    pub guards: Guards,
    /// By settings name. Only clusters that the manifest declares or routes guests to.
    pub clusters: BTreeMap<String, DesiredCluster>,
}

/// Limits on what one run may destroy or interrupt, per cluster and over all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guards {
    /// Guests that may be deleted.
    pub max_deletes: u32,
    /// Percent of the owned guests of a cluster that may be deleted, rounded up.
    pub max_delete_percent: u32,
    /// Guests that may be rebooted.
    pub max_reboots: u32,
}

impl Default for Guards {
    fn default() -> Self {
        Self { max_deletes: 1, max_delete_percent: 10, max_reboots: 5 }
    }
}

/// What should be in one cluster.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DesiredCluster {
    /// It has a key under `clusters:`, so orphans are sought there.
    pub declared: bool,
    /// Where new ids come from; nothing means Proxmox's own range.
    pub vmids: Option<VmidRange>,
    /// Node for a new guest that names none.
    pub default_node: Option<String>,
    /// Storage for a new disk that names none; never a reason to move one.
    pub default_storage: Option<String>,
    /// Bridge for a new NIC that names none; never a reason to change one.
    pub default_bridge: Option<String>,
    /// What this tool may do there.
    pub access: Access,
    /// It can log in as `root@pam` with a password, so options that are for root alone can be set.
    pub as_root: bool,
    /// Sorted by kind, then name.
    pub guests: Vec<DesiredGuest>,
}

/// How a guest came to its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Routing {
    /// It stands under the cluster's key, or names it.
    Named,
    /// A pattern of `PROXMOX_CLUSTER_PATTERNS`.
    Pattern,
    /// The cluster's name begins its own.
    NamePrefix,
    /// Its vmid lies in a range of `PROXMOX_CLUSTER_VMID_RANGES`.
    VmidRange,
    /// Nothing else applied: the default cluster.
    Default,
}

/// One guest as it should be.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredGuest {
    /// VM or container.
    pub kind: GuestKind,
    /// Its name (`name` or `hostname` in Proxmox).
    pub name: String,
    /// Its id, where the manifest gives one.
    pub vmid: Option<Vmid>,
    /// How it came to its cluster.
    pub routing: Routing,
    /// Where its `name` stands.
    pub place: Place,
    /// Nodes where it may live, in order of preference; empty means anywhere.
    pub nodes: Vec<String>,
    /// What it is cloned from.
    pub clone: Option<CloneSource>,
    /// Power state; nothing means not managed after creation.
    pub state: Option<Power>,
    /// Convert it to a template at the end.
    pub template: bool,
    /// Reboot it where a change needs that.
    pub reboot: bool,
    /// What to do with options that are set live and not listed.
    pub unlisted: Unlisted,
    /// Options taken out of plan and apply; `*` stands for any text.
    pub ignore: Vec<String>,
    /// Take over a guest that matches and is not ours.
    pub adopt: bool,
    /// Let the guest go: remove the mark, do nothing else.
    pub released: bool,
    /// Names of guests of the same cluster that must be done before it.
    pub depends_on: Vec<String>,
    /// Resource pool; nothing means not managed.
    pub pool: Option<String>,
    /// Seconds that a shutdown may take.
    pub shutdown_timeout: Option<u32>,
    /// High availability; nothing means not managed.
    pub ha: Option<Spanned<HaState>>,
    /// The backup that it is restored from.
    pub archive: Option<Spanned<String>>,
    /// Delete it and make it anew where a change needs that.
    pub recreate: Option<Spanned<bool>>,
    /// Its former name.
    pub renamed_from: Option<Spanned<String>>,
    /// Where the settings above came from, by their keys.
    pub origins: BTreeMap<&'static str, Origin>,
    /// Proxmox's options by name; neither the name nor what stands above is among them. A container's
    /// `ostemplate` is.
    /// Guests that get the same value from the same place share it: a fleet is mostly defaults and profiles.
    pub options: BTreeMap<String, Arc<DesiredOption>>,
}

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Which layer decided it, in words: `guest`, `profile web`, `defaults.vm`.
    pub layer: String,
    /// Where it stands.
    pub place: Place,
}

/// What a guest is cloned from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloneSource {
    /// Which guest: an id or a name, or a tag.
    pub from: CloneFrom,
    /// Copy everything; nothing means Proxmox's default (linked from a template, full from any other).
    pub full: Option<bool>,
    /// Storage for the disks of a full clone.
    pub storage: Option<String>,
    /// The snapshot that is cloned.
    pub snapname: Option<Spanned<String>>,
    /// Where it stands.
    pub place: Place,
}

/// Whether the cluster keeps a guest running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HaState {
    /// It must not be among the resources that high availability manages.
    Absent,
    /// It is one of them; nothing means Proxmox's default.
    Managed {
        /// The state asked for.
        state: Option<String>,
        /// Attempts to start it again on its node.
        max_restart: Option<u32>,
        /// Attempts to start it on another node.
        max_relocate: Option<u32>,
        /// Its group, in Proxmox VE 8.
        group: Option<String>,
    },
}

/// Power state of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// Runs.
    Running,
    /// Does not.
    Stopped,
}

/// What to do with options that are set live and not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unlisted {
    /// Show them, folded.
    #[default]
    Report,
    /// Remove the plain ones.
    Remove,
    /// Say nothing.
    Ignore,
}

/// One option with the place that decided it.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredOption {
    /// The value.
    pub value: OptionValue,
    /// Where the deciding value stands.
    pub place: Place,
    /// Which layer it came from, in words: `guest`, `profile web`, `defaults.vm`.
    pub layer: String,
}

/// The value of one option.
#[derive(Debug, Clone, PartialEq)]
pub enum OptionValue {
    /// `null`: the option must not be set.
    Absent,
    /// Plain text in Proxmox's own spelling (numbers and booleans too).
    Text(String),
    /// A property string.
    Properties {
        /// The value was written as text: sub-keys that are not listed are to be absent. Otherwise they are left alone.
        whole: bool,
        /// Sub-keys by canonical name; nothing means the sub-key must not be set.
        keys: BTreeMap<String, Option<String>>,
    },
    /// A drive, `rootfs` or mount point.
    Drive(Drive),
    /// A reference that apply alone resolves.
    Secret(SecretReference),
}

/// A drive, `rootfs` or mount point.
#[derive(Debug, Clone, PartialEq)]
pub struct Drive {
    /// Which volume.
    pub form: DriveForm,
    /// Its size.
    pub size: Option<Size>,
    /// Written as text: sub-keys that are not listed are to be absent.
    pub whole: bool,
    /// All other sub-keys by canonical name (never `file`, `volume`, `size`).
    pub keys: BTreeMap<String, Option<String>>,
    /// Certainly a new, empty disk (`new: true`), even where a detached one waits.
    pub new: bool,
    /// The image that fills it when it is made; boxed, because few drives have one and there are many drives.
    pub import: Option<Box<Spanned<String>>>,
    /// The drive of this guest whose disk becomes this one.
    pub moved_from: Option<Box<Spanned<String>>>,
}

/// Which volume a drive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriveForm {
    /// A new volume on this storage; its size is [`Drive::size`] (absent for `efidisk0`, `tpmstate0`).
    Allocate {
        /// The storage.
        storage: String,
    },
    /// The one that is there already, from the clone or image, wherever it is. Where none is there, a new one
    /// on the cluster's default storage.
    Inherited,
    /// This volume.
    Volume(String),
    /// This ISO image, in a CD-ROM drive.
    Iso(String),
    /// The cloud-init drive, on this storage.
    CloudInit {
        /// The storage.
        storage: String,
    },
    /// An empty CD-ROM drive.
    Empty,
}

/// Where a secret is read, by apply alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct SecretReference {
    /// The environment variable that holds it, or `manifest:FILE:LINE:COLUMN` where it is written in the manifest.
    pub env: String,
    /// Raised by hand when the secret changed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<u32>,
}

/// Begins the reference to a secret that stands in the manifest; no variable's name holds a colon.
const WRITTEN: &str = "manifest:";

impl SecretReference {
    /// The reference to a secret that is written in the manifest itself.
    pub fn written(place: &Place) -> Self {
        Self { env: format!("{WRITTEN}{}:{}:{}", place.file, place.line, place.column), version: None }
    }

    /// Where it stands, `FILE:LINE:COLUMN`, of a secret that is written in the manifest itself.
    pub fn written_at(&self) -> Option<&str> {
        self.env.strip_prefix(WRITTEN)
    }
}
