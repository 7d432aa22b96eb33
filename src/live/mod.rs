//! What was read from the clusters.
//!
//! Every item is a [`Read`]: known, absent, or unread with the reason. There is no way from unread to absent.

mod health;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::health::{EndpointHealth, Health, HealthStatus, NodeHealth};
pub use crate::desired::Power;
use crate::pve::value::{GuestKind, Vmid};

/// What reading one thing gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Read<T> {
    /// It was read.
    Known(T),
    /// The server said that it is not there.
    Absent,
    /// It could not be read; the reason in words. Nothing may be concluded from it.
    Unread(String),
}

impl<T> Read<T> {
    /// The value, where it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::Unread(_) => None,
        }
    }

    /// The reason, where it was not read.
    pub fn unread(&self) -> Option<&str> {
        match self {
            Self::Unread(reason) => Some(reason),
            Self::Known(_) | Self::Absent => None,
        }
    }

    /// The same with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Read<U> {
        match self {
            Self::Known(value) => Read::Known(change(value)),
            Self::Absent => Read::Absent,
            Self::Unread(reason) => Read::Unread(reason),
        }
    }
}

/// Everything that was read.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Live {
    /// By settings name.
    pub clusters: BTreeMap<String, Read<LiveCluster>>,
}

/// One cluster as it was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveCluster {
    /// Who it is.
    pub identity: Identity,
    /// `version` of `/version`, `9.1.9`.
    pub version: String,
    /// By name.
    pub nodes: BTreeMap<String, LiveNode>,
    /// By vmid: every guest that the token sees. Only those that matter have a configuration.
    pub guests: BTreeMap<Vmid, LiveGuest>,
    /// Storages by node, then name.
    pub storages: BTreeMap<String, Read<BTreeMap<String, LiveStorage>>>,
    /// Bridges by node.
    pub bridges: BTreeMap<String, Read<BTreeSet<String>>>,
    /// Pool names.
    pub pools: Read<BTreeSet<String>>,
    /// HA resources by id (`vm:100`) with their options.
    pub ha: Read<BTreeMap<String, BTreeMap<String, String>>>,
    /// Where HA keeps its resources: rules about nodes, and in Proxmox VE 8 groups.
    #[serde(default = "not_read")]
    pub ha_rules: Read<Vec<HaRule>>,
    /// This token's privileges by path.
    pub permissions: Read<BTreeMap<String, BTreeMap<String, bool>>>,
    /// The datacenter's rules for tags; absent where nothing is changed that they could stand in the way of.
    #[serde(default = "absent", skip_serializing_if = "is_absent")]
    pub tag_rules: Read<TagRules>,
    /// What `/cluster/nextid?vmid=` said of ids that the manifest names and no visible guest has: true means free.
    pub free_ids: BTreeMap<Vmid, Read<bool>>,
    /// The configurations in backups that guests are to be restored from, by volume.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub archives: BTreeMap<String, Read<BTreeMap<String, String>>>,
    /// Whether what guests may be made anew of is there, images and templates by volume, then node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, BTreeMap<String, Read<bool>>>,
    /// The ids that volumes and backups bear, by storage, a local one as `pve1/local-lvm`. Read where a new guest
    /// gets its id from the range.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volume_ids: BTreeMap<String, Read<BTreeSet<Vmid>>>,
    /// Tasks that run now (`source=active`), per node.
    pub active_tasks: BTreeMap<String, Read<Vec<String>>>,
}

const fn absent<T>() -> Read<T> {
    Read::Absent
}

fn is_absent<T>(read: &Read<T>) -> bool {
    matches!(read, Read::Absent)
}

/// Which tags a token may set and remove that may not change the datacenter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagRules {
    /// Any tag that is not registered.
    pub free: bool,
    /// These certainly.
    pub allowed: BTreeSet<String>,
    /// These never.
    pub registered: BTreeSet<String>,
}

fn not_read<T>() -> Read<T> {
    Read::Unread("it was not read".to_owned())
}

/// Nodes that HA keeps resources on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaRule {
    /// The rule's or group's name.
    pub name: String,
    /// The resources, `vm:100`.
    pub resources: BTreeSet<String>,
    /// The nodes with their priorities; of those that are online, the highest are used.
    pub nodes: BTreeMap<String, u32>,
}

/// Who a cluster is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    /// Its name in our settings.
    pub settings: String,
    /// The cluster's own name; a standalone node has none.
    pub cluster: Option<String>,
    /// Its nodes, sorted.
    pub nodes: Vec<String>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveNode {
    /// As `/cluster/status` says.
    pub online: bool,
    /// Whether its own guest lists were read.
    pub lists: Read<()>,
}

/// One storage on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveStorage {
    /// Plugin type, `lvmthin`.
    pub kind: String,
    /// Content types, `images`.
    pub content: BTreeSet<String>,
    /// On every node the same.
    pub shared: bool,
    /// Usable now.
    pub active: bool,
    /// Free bytes.
    pub available: Option<u64>,
}

/// One guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveGuest {
    /// Its id.
    pub vmid: Vmid,
    /// VM or container.
    pub kind: GuestKind,
    /// Where it is.
    pub node: String,
    /// From the node's own list or its configuration; never from `/cluster/resources`.
    pub name: Read<String>,
    /// Power state, from the node's own list.
    pub power: Read<Power>,
    /// True for a template.
    pub template: bool,
    /// Its tags.
    pub tags: BTreeSet<String>,
    /// The lock that it bears.
    pub lock: Option<String>,
    /// The pool that it is in.
    pub pool: Option<String>,
    /// Its configuration as of those snapshots that clones are to be made of, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub snapshots: BTreeMap<String, Read<BTreeMap<String, String>>>,
    /// It is frozen: it counts as running, and does nothing.
    #[serde(default)]
    pub paused: bool,
    /// Its HA resource with its options; nothing where that was not asked for.
    #[serde(default)]
    pub ha: Option<Read<BTreeMap<String, String>>>,
    /// Its configuration; absent where the guest does not matter to this fleet.
    pub config: Read<LiveConfig>,
}

/// A guest's configuration as `/pending` gives it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LiveConfig {
    /// Current values by option, in Proxmox's text (numbers too); `digest` is not among them.
    pub current: BTreeMap<String, String>,
    /// Pending values; nothing means that the option is to be deleted.
    pub pending: BTreeMap<String, Option<String>>,
    /// The configuration's digest.
    pub digest: String,
}

impl LiveConfig {
    /// The value that the option will have when all that is pending is applied.
    pub fn effective(&self, option: &str) -> Option<&str> {
        // Nearly always nothing waits.
        let pending = if self.pending.is_empty() { None } else { self.pending.get(option) };
        match pending {
            Some(value) => value.as_deref(),
            None => self.current.get(option).map(String::as_str),
        }
    }
}
