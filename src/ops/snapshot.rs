//! Clusters as they were read at one moment, as a document: what a plan needs of them where nobody may ask them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::read::{Readers, wanted};
use crate::clusters::settings::{Pattern, TicketLogin};
use crate::clusters::{Access, ClusterSettings, Registry, VmidRange};
use crate::desired::Desired;
use crate::gather::{self, Wanted};
use crate::live::{Live, Read};
use crate::secret::Secret;

/// Version of the document: a reader takes what has its own major number.
pub const SNAPSHOT_VERSION: &str = "1.0";

/// Every guest that the credentials see and every list that a plan checks against, with the settings that route guests.
/// There are no credentials in it, and what Proxmox keeps secret it does not show to readers either.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// [`SNAPSHOT_VERSION`].
    pub format_version: String,
    /// Version of pvefleet that made it.
    pub pvefleet: String,
    /// When it was made, in UTC.
    pub made_at: String,
    /// Which cluster a guest belongs to, and what a cluster's guests have by default.
    pub settings: Settings,
    /// What was read.
    pub live: Live,
}

/// The settings that a manifest is resolved with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// In their order; the first is the default one.
    pub clusters: Vec<Cluster>,
    /// Patterns and the clusters that they route to.
    pub patterns: Vec<(String, String)>,
    /// Ranges of ids and the clusters that they belong to.
    pub vmid_ranges: Vec<(VmidRange, String)>,
}

/// One cluster's settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Its name in the settings.
    pub name: String,
    /// Node for a new guest that names none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub default_node: Option<String>,
    /// Storage for a new disk that names none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub default_storage: Option<String>,
    /// Bridge for a new NIC that names none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub default_bridge: Option<String>,
    /// For selectors.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub region: Option<String>,
    /// For selectors.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tier: Option<String>,
    /// What may be done there.
    pub access: Access,
    /// `root@pam` can log in with a password, so that options which are for root alone can be set.
    pub as_root: bool,
}

impl Settings {
    /// What of the settings is no secret and decides about a plan.
    pub fn of(registry: &Registry) -> Self {
        let cluster = |settings: &ClusterSettings| Cluster {
            name: settings.name.clone(),
            default_node: settings.default_node.clone(),
            default_storage: settings.default_storage.clone(),
            default_bridge: settings.default_bridge.clone(),
            region: settings.region.clone(),
            tier: settings.tier.clone(),
            access: settings.access,
            as_root: settings.credentials.as_root(),
        };
        let pattern = |pattern: &Pattern| {
            let text = &pattern.text;
            (if pattern.regex.is_some() { format!("re:{text}") } else { text.clone() }, pattern.cluster.clone())
        };
        Self {
            clusters: registry.clusters.iter().map(cluster).collect(),
            patterns: registry.patterns.iter().map(pattern).collect(),
            vmid_ranges: registry.ranges.clone(),
        }
    }

    /// The same as a registry that no client can be made of.
    ///
    /// # Errors
    ///
    /// There is no cluster, or a pattern is no regular expression.
    pub fn registry(&self) -> Result<Registry, String> {
        if self.clusters.is_empty() {
            return Err("it holds no cluster".to_owned());
        }
        let mut registry = Registry::of_names(self.clusters.iter().map(|cluster| cluster.name.clone()));
        for (settings, cluster) in registry.clusters.iter_mut().zip(&self.clusters) {
            settings.default_node.clone_from(&cluster.default_node);
            settings.default_storage.clone_from(&cluster.default_storage);
            settings.default_bridge.clone_from(&cluster.default_bridge);
            settings.region.clone_from(&cluster.region);
            settings.tier.clone_from(&cluster.tier);
            settings.access = cluster.access;
            // Planning asks only whether there is one.
            settings.credentials.login = cluster
                .as_root
                .then(|| TicketLogin { username: "root@pam".to_owned(), password: Secret::new(String::new()) });
        }
        for (text, cluster) in &self.patterns {
            registry.patterns.push(Pattern::read(text, cluster)?);
        }
        registry.ranges.clone_from(&self.vmid_ranges);
        Ok(registry)
    }
}

/// Reads clusters whole, all at once.
pub async fn snapshot(readers: &Readers, only: &[String]) -> Live {
    let mut live = Live::default();
    let mut running = JoinSet::new();
    for (name, reader) in readers.iter().filter(|(name, _)| only.is_empty() || only.contains(name)) {
        // Replaced when the reading ends.
        live.clusters.insert(name.clone(), Read::Unread("reading it ended early".to_owned()));
        match reader {
            Ok(reader) => {
                let (name, reader) = (name.clone(), Arc::clone(reader));
                running.spawn(async move { (name, gather::snapshot(reader.as_ref(), &Wanted::default()).await) });
            }
            Err(why) => drop(live.clusters.insert(name.clone(), Read::Unread(why.clone()))),
        }
    }
    while let Some(ended) = running.join_next().await {
        if let Ok((name, cluster)) = ended {
            live.clusters.insert(name, cluster);
        }
    }
    live
}

/// Of what was read, what a fleet would have read itself: the same plan comes of it, with the same id.
pub fn for_fleet(mut live: Live, desired: &Desired, only: &[String]) -> Live {
    live.clusters.retain(|name, _| desired.clusters.contains_key(name) && (only.is_empty() || only.contains(name)));
    for (name, cluster) in &mut live.clusters {
        let Read::Known(cluster) = cluster else { continue };
        let wanted = wanted(desired, name);
        for guest in cluster.guests.values_mut().filter(|guest| !wanted.matters(guest)) {
            guest.config = Read::Absent;
        }
    }
    live
}
