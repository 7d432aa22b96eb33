//! The plan document: one JSON value that every output is rendered from.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::identity;
use super::template::Template;
use crate::desired::{Power, Routing};
use crate::diagnostics::{Diagnostic, Place};
use crate::live::Identity;
use crate::pve::http::Method;
use crate::pve::value::{GuestKind, Vmid};

/// Version of the document: a new minor adds, another major is refused.
pub const FORMAT_VERSION: &str = "1.0";

/// The whole plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`FORMAT_VERSION`].
    pub format_version: String,
    /// Owner of the guests.
    pub fleet: String,
    /// Part of the fleet; empty by default.
    pub scope: String,
    /// SHA-256 over everything that would be sent and what it rests on.
    pub plan_id: String,
    /// False when something selected could not be read.
    pub complete: bool,
    /// By settings name.
    pub clusters: BTreeMap<String, ClusterPlan>,
    /// Warnings that belong to no single change.
    pub warnings: Vec<Diagnostic>,
}

/// The plan for one cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterPlan {
    /// SHA-256 over this cluster's part.
    pub cluster_id: String,
    /// Who the cluster is; nothing when it could not be reached.
    pub identity: Option<Identity>,
    /// What could not be read: what, and why.
    pub unread: Vec<Unread>,
    /// One per guest, in the order in which they may run.
    pub changes: Vec<Change>,
    /// Guests that are neither in the manifest nor owned by this fleet.
    pub unmanaged: u32,
}

/// Something that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unread {
    /// What: `cluster`, `node pve2`, `guest 110`.
    pub what: String,
    /// Why.
    pub reason: String,
}

/// Which guest of which cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The cluster's name in our settings.
    pub cluster: String,
    /// VM or container.
    pub kind: GuestKind,
    /// The manifest's name; for an orphan its live name.
    pub name: String,
    /// Its id: live, given, or chosen by this plan.
    pub vmid: Option<Vmid>,
}

impl fmt::Display for Address {
    /// `production/prod-web-01`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.name)
    }
}

/// Everything about one guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Which guest.
    pub address: Address,
    /// What is done with it.
    pub action: Action,
    /// Whether it can be done.
    pub state: State,
    /// Why it cannot, or why nothing is done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    /// What kind of difference this is, for drift; nothing where there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub class: Option<Class>,
    /// The node it is on or will be on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node: Option<String>,
    /// Where the manifest has it; an orphan stands nowhere.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub place: Option<Place>,
    /// How it came to this cluster.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub routing: Option<Routing>,
    /// Field by field.
    pub fields: Vec<FieldChange>,
    /// What is sent, in order.
    pub steps: Vec<Step>,
    /// What the plan rests on: checked again just before the first write.
    pub base: Base,
    /// Options that are set live, not listed and left alone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub unlisted: BTreeMap<String, String>,
    /// Options whose new value waits for a reboot.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub pending: Vec<String>,
    /// What is destroyed with it: volume and size.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub destroys: Vec<String>,
    /// Worth knowing, in words.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
    /// Names of the guests of this cluster that must be done before.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub after: Vec<String>,
}

impl Action {
    /// True for those that make a guest which is not there.
    pub const fn makes(self) -> bool {
        matches!(self, Self::Create | Self::Clone | Self::Restore)
    }
}

impl Change {
    /// True when something would be sent.
    pub fn has_steps(&self) -> bool {
        !self.steps.is_empty()
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+ }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its word in documents and on screens.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.word())
            }
        }
    };
}

words! {
    /// What is done with a guest.
    Action {
        /// Made from nothing, or from a container template.
        Create = "create",
        /// Made from another guest.
        Clone = "clone",
        /// Made of a backup.
        Restore = "restore",
        /// Destroyed, and made anew under its id.
        Recreate = "recreate",
        /// Taken over: marked as ours, and changed where it differs.
        Adopt = "adopt",
        /// Let go: the mark is removed.
        Release = "release",
        /// Changed in place.
        Update = "update",
        /// Moved to another node.
        Migrate = "migrate",
        /// Destroyed.
        Delete = "delete",
        /// Nothing.
        None = "none",
    }
}

words! {
    /// Whether a change can be done.
    State {
        /// It can.
        Ready = "ready",
        /// Something refuses it; the reason says what would lift that.
        Blocked = "blocked",
        /// Something else must end first; a later run goes on.
        Waiting = "waiting",
        /// It could not be read.
        Unknown = "unknown",
    }
}

words! {
    /// Kind of difference, for drift.
    Class {
        /// Options differ.
        Changed = "changed",
        /// In the manifest, not there.
        Missing = "missing",
        /// There, bears our mark, not in the manifest.
        Orphan = "orphan",
        /// Could not be read.
        Unknown = "unknown",
        /// Only waits for a reboot.
        Pending = "pending",
        /// Only options that are set and not listed.
        Unlisted = "unlisted",
    }
}

words! {
    /// What a field or step costs.
    Effect {
        /// Takes hold at once, interrupts nothing.
        None = "none",
        /// Stored at once; the guest reads it when it boots.
        NextBoot = "next-boot",
        /// Waits for a reboot, pending.
        Reboot = "reboot",
        /// The guest is off for a while, or can be changed only while it is off.
        Downtime = "downtime",
        /// The guest moves to another node.
        Migration = "migration",
        /// Data is destroyed.
        DataLoss = "data-loss",
    }
}

words! {
    /// Why a change or field is not done.
    ReasonCode {
        /// A live guest matches, and nothing proves that it is ours.
        NotOwned = "not-owned",
        /// The mark names another cluster or fleet.
        Foreign = "foreign",
        /// Two live guests, or two marks, claim one manifest guest.
        Conflict = "conflict",
        /// The id is taken by another guest.
        VmidTaken = "vmid-taken",
        /// The id or kind of a guest cannot change.
        Immutable = "immutable",
        /// It lives in another cluster than the one it is routed to.
        LivesElsewhere = "lives-elsewhere",
        /// Deletion needs `--prune`.
        NeedsPrune = "needs-prune",
        /// The guards allow fewer.
        Guard = "guard",
        /// `protection` is set.
        Protected = "protected",
        /// The guest bears a lock.
        Locked = "locked",
        /// A task of Proxmox still works on it.
        TaskRunning = "task-running",
        /// A create or clone that never ended, and no task explains it.
        Unfinished = "unfinished",
        /// It could not be read.
        Unread = "unread",
        /// Absence cannot be proved with this token.
        AbsenceUnproved = "absence-unproved",
        /// Smaller than it is.
        Shrink = "shrink",
        /// A detached disk waits; a new one might be meant to be that one.
        DetachedDisk = "detached-disk",
        /// A disk would be detached or destroyed.
        NeedsAccept = "needs-accept",
        /// Proxmox cannot change this in place.
        NotInPlace = "not-in-place",
        /// The guest must be off for this, and may not be.
        NeedsOff = "needs-off",
        /// The clone source, template, storage, bridge, pool or node is not there.
        NotFound = "not-found",
        /// No node fits.
        NoNode = "no-node",
        /// The range has no free id.
        NoFreeVmid = "no-free-vmid",
        /// The token may not do a step.
        Permission = "permission",
        /// Only root@pam may set it, with a password.
        RootOnly = "root-only",
        /// The cluster's version of Proxmox VE does not have it.
        Version = "version",
        /// The settings allow reading only.
        ReadOnly = "read-only",
        /// Another guest that it needs is not done.
        Dependency = "dependency",
    }
}

/// Why something is not done, and what would change that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// The kind.
    pub code: ReasonCode,
    /// The reason in words.
    pub words: String,
    /// What would unblock it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

/// One field of one guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldChange {
    /// `memory`, `net0.tag`, `tags`, `state`.
    pub name: String,
    /// As it is; nothing means absent.
    pub before: Option<String>,
    /// As it will be; nothing means absent.
    pub after: Option<String>,
    /// What it costs.
    pub effect: Effect,
    /// Where the manifest says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub place: Option<Place>,
    /// Which layer it came from: `guest`, `profile web`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub layer: Option<String>,
    /// Why this field alone is not done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub blocked: Option<Reason>,
}

words! {
    /// What a step does.
    StepKind {
        /// Makes the guest.
        Create = "create",
        /// Makes the guest from another.
        Clone = "clone",
        /// Sets and removes options.
        Configure = "configure",
        /// Grows a disk.
        Resize = "resize",
        /// Copies a disk to another storage.
        Move = "move",
        /// Destroys a detached volume.
        Destroy = "destroy",
        /// Starts the guest.
        Start = "start",
        /// Shuts the guest down.
        Shutdown = "shutdown",
        /// Reboots the guest.
        Reboot = "reboot",
        /// Makes a template of it.
        Template = "template",
        /// Puts the guest into a pool or takes it out.
        Pool = "pool",
        /// Moves the guest to another node.
        Migrate = "migrate",
        /// Makes, changes or removes its HA resource.
        Ha = "ha",
        /// Makes its cloud-init drive anew.
        CloudInit = "cloud-init",
        /// Destroys the guest.
        Delete = "delete",
    }
}

/// One API call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What it does.
    pub kind: StepKind,
    /// The same in words, for progress: `grow scsi0 to 48 GiB`.
    pub words: String,
    /// The call.
    pub call: Call,
    /// What it costs.
    pub effect: Effect,
    /// What must be true of the guest afterwards.
    pub expect: Vec<Expect>,
}

/// A call of the API with holes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// How.
    pub method: Method,
    /// Where, below `/api2/json`.
    pub path: Template,
    /// Parameters by name.
    pub params: BTreeMap<String, Template>,
}

/// Something that is true of the guest after a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Expect {
    /// The guest is there (and finished: no lock of its making).
    Exists,
    /// The guest is gone.
    Gone,
    /// An option's value, current or pending, compared by meaning. Sub-keys that Proxmox assigns are not compared
    /// where `value` leaves them out.
    Option {
        /// The option.
        name: String,
        /// Its value.
        value: String,
    },
    /// An option is not set, or its removal is pending.
    NoOption {
        /// The option.
        name: String,
    },
    /// A drive has this size, or is larger by less than a storage rounds up.
    Size {
        /// The drive.
        drive: String,
        /// Its size as Proxmox spells it.
        size: String,
    },
    /// A drive is on this storage.
    Storage {
        /// The drive.
        drive: String,
        /// The storage.
        storage: String,
    },
    /// Power state.
    Power(Power),
    /// No change waits for a reboot.
    NothingPending,
    /// It is a template.
    Template,
    /// It is in this pool.
    Pool(String),
    /// It is on this node.
    Node(String),
    /// It is an HA resource with at least these options, or none.
    Ha(Option<BTreeMap<String, String>>),
}

impl Expect {
    /// The option that it is about, if it is about one.
    pub fn option(&self) -> Option<&str> {
        match self {
            Self::Option { name, .. }
            | Self::NoOption { name }
            | Self::Size { drive: name, .. }
            | Self::Storage { drive: name, .. } => Some(name),
            _ => None,
        }
    }
}

/// What the plan rests on, in canonical form. A difference makes the guest stale.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// The guest was there.
    pub exists: bool,
    /// Values that were compared or will be written; nothing means absent.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub current: BTreeMap<String, Option<String>>,
    /// Pending values of the same options; nothing means a pending removal.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub pending: BTreeMap<String, Option<String>>,
    /// The lock it bore.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lock: Option<String>,
    /// Power state.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub power: Option<Power>,
    /// The ownership line, where there was one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mark: Option<String>,
}

impl Plan {
    /// Every change of every cluster, in order.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.clusters.values().flat_map(|cluster| &cluster.changes)
    }

    /// True when the ids are those of what the plan holds: nobody changed it after it was made.
    pub fn is_genuine(&self) -> bool {
        let parts = self
            .clusters
            .values()
            .all(|cluster| cluster.cluster_id == identity::cluster_id(cluster.identity.as_ref(), &cluster.changes));
        let ids = self.clusters.iter().map(|(name, cluster)| (name.as_str(), cluster.cluster_id.as_str()));
        parts && self.plan_id == identity::plan_id(&self.fleet, ids)
    }

    /// True when no change has steps.
    pub fn is_empty(&self) -> bool {
        self.changes().all(|change| !change.has_steps())
    }
}
