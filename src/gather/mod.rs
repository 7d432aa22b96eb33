//! Reads clusters into [`Live`](crate::live::Live).
//!
//! Everything here takes a [`Reader`], so nothing here can change a cluster. What cannot be read is
//! [`Read::Unread`] with the reason, at its own place; it never looks absent.

mod cluster;
mod config;
mod guest;
pub mod health;
mod nodes;
mod rows;
#[cfg(test)]
mod tests;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub use self::cluster::{cluster, ha_resources, identity, permissions, snapshot};
pub use self::guest::{guest, is_free};
use self::rows::{Listed, Resource};
pub use self::volumes::local_storages;
use crate::client::Reader;
use crate::live::{LiveConfig, LiveGuest, Read};
use crate::pve::http::{ApiError, Request};
use crate::pve::value::{GuestKind, Vmid, parse_boolean, parse_tags};

/// What a fleet wants to know about one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The tag that marks the fleet's own guests.
    pub fleet_tag: String,
    /// Ids that the manifest names, clone sources among them.
    pub vmids: BTreeSet<Vmid>,
    /// Names of guests in the manifest, and of clone sources.
    pub names: BTreeSet<String>,
    /// Tags of clone sources.
    pub tags: BTreeSet<String>,
    /// Names of snapshots that are cloned.
    pub snapshots: BTreeSet<String>,
    /// Backups that guests are to be restored from, each with the guest's name and id: read where it is not there.
    pub archives: BTreeMap<String, (String, Option<Vmid>)>,
    /// Backups that guests may be made anew of, so that they are read in any case.
    pub archives_anew: BTreeSet<String>,
    /// Images and templates of guests that may be made anew.
    pub files_anew: BTreeSet<FileAnew>,
    /// The tags that guests are to bear, and whether they bear others besides.
    pub tagged: BTreeMap<(GuestKind, String), (BTreeSet<String>, bool)>,
    /// Guests of the manifest without an id. Where one is not there, the ids that volumes bear are read.
    pub unnumbered: BTreeSet<(GuestKind, String)>,
    /// Also read what only a plan's checks beforehand need: storages, bridges, running tasks.
    pub preflight: bool,
}

/// A file that a guest is made anew of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileAnew {
    /// The volume, `local:vztmpl/debian-12.tar.zst`.
    pub volume: String,
    /// Its content type.
    pub content: &'static str,
    /// The nodes that the guest may be on; empty means any.
    pub nodes: Vec<String>,
}

impl Wanted {
    /// True for a guest whose configuration is read: it bears the fleet's tag, the manifest names it, or what it is
    /// is not known.
    pub fn matters(&self, guest: &LiveGuest) -> bool {
        guest.tags.contains(&self.fleet_tag.to_lowercase())
            || self.vmids.contains(&guest.vmid)
            || self.tags.iter().any(|tag| guest.tags.contains(tag))
            || matches!(guest.lock.as_deref(), Some("create" | "clone"))
            || guest.name.known().is_none_or(|name| self.names.contains(name))
    }
}

/// Reads one thing; the error is in words and says what was asked.
async fn get<T>(
    client: &dyn Reader,
    request: &Request,
    understand: impl FnOnce(&Value) -> Option<T>,
) -> Result<T, String> {
    match client.read(request).await {
        Ok(answer) => understand(&answer).ok_or_else(|| unclear(request)),
        Err(error @ (ApiError::Connection(_) | ApiError::Tls(_) | ApiError::Authentication(_))) => {
            Err(error.to_string())
        }
        Err(error) => Err(format!("{}: {error}", request.path)),
    }
}

fn unclear(request: &Request) -> String {
    format!("the answer of {} is not understood", request.path)
}

fn read<T>(result: Result<T, String>) -> Read<T> {
    match result {
        Ok(value) => Read::Known(value),
        Err(reason) => Read::Unread(reason),
    }
}

/// Puts a guest together. The configuration, where it was read, is the last word; then its node's list; the
/// cluster's list only says where the guest is, and its pool.
fn assemble(row: &Resource, listed: Option<&Listed>, config: Read<LiveConfig>) -> LiveGuest {
    let not_listed = || format!("the list of node {} does not show it", row.node);
    let current = |option: &str| config.known().map(|config| config.current.get(option));
    let name_option = match row.kind {
        GuestKind::Qemu => "name",
        GuestKind::Lxc => "hostname",
    };
    let name = match (current(name_option), listed) {
        (Some(Some(name)), _) => Read::Known(name.clone()),
        (Some(None), _) => Read::Absent,
        (None, Some(Listed { name: Some(name), .. })) => Read::Known(name.clone()),
        (None, Some(Listed { name: None, .. })) => match config.unread() {
            Some(reason) => Read::Unread(reason.to_owned()),
            None => Read::Absent,
        },
        (None, None) => Read::Unread(config.unread().map_or_else(not_listed, str::to_owned)),
    };
    let power = listed.and_then(|listed| listed.power).map_or_else(|| Read::Unread(not_listed()), Read::Known);
    let is_set = |value: Option<&String>| value.and_then(|value| parse_boolean(value)).unwrap_or(false);
    LiveGuest {
        vmid: row.vmid,
        kind: row.kind,
        node: row.node.clone(),
        name,
        power,
        template: current("template").map_or_else(|| listed.is_some_and(|listed| listed.template), is_set),
        tags: current("tags")
            .map_or_else(|| row.tags.clone(), |tags| tags.map(|tags| parse_tags(tags)).unwrap_or_default()),
        lock: current("lock").map_or_else(|| row.lock.clone(), Option::<&String>::cloned),
        pool: row.pool.clone(),
        snapshots: BTreeMap::new(),
        paused: row.paused,
        ha: None,
        config,
    }
}
