//! What can be checked before anything is sent: nodes, storages, bridges, pools, privileges.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Reason, ReasonCode};
use super::drives::volume_of;
use crate::desired::{DesiredGuest, DriveForm, OptionValue};
use crate::live::{LiveCluster, LiveConfig, Read};
use crate::pve::compare::{is_drive, stem};
use crate::pve::property;
use crate::pve::schema::catalog;
use crate::pve::value::{GuestKind, storage_of};

/// What a guest needs of the node it lives on.
#[derive(Debug, Default)]
pub struct Needs {
    /// Storages, each with the content type it must take.
    pub storages: BTreeSet<(String, &'static str)>,
    /// Volumes that must be there, each with its content type: images, templates, disks by name.
    pub volumes: BTreeSet<(String, &'static str)>,
    /// Bridges.
    pub bridges: BTreeSet<String>,
}

impl Needs {
    /// What a guest's own options need.
    pub fn of(guest: &DesiredGuest) -> Self {
        let mut needs = Self::default();
        for (name, option) in &guest.options {
            needs.option(guest.kind, name, &option.value);
        }
        if let Some(storage) = guest.clone.as_ref().and_then(|clone| clone.storage.as_ref()) {
            needs.storage(storage, disk_content(guest.kind));
        }
        needs
    }

    /// What a guest that is there needs on another node: the storages of its volumes, and its bridges.
    pub fn of_config(kind: GuestKind, config: &LiveConfig) -> Self {
        let mut needs = Self::default();
        for name in config.current.keys().chain(config.pending.keys()) {
            let Some(text) = config.effective(name) else { continue };
            if is_drive(kind, name) || stem(name) == "unused" {
                let volume = volume_of(text);
                let is_image = volume.split_once(':').is_some_and(|(_, path)| path.starts_with("iso/"));
                needs.volume(volume, if is_image { "iso" } else { disk_content(kind) });
            } else if stem(name) == "net" {
                needs.net_text(kind, name, text);
            }
        }
        needs
    }

    /// What one option of a guest needs.
    pub fn of_option(kind: GuestKind, name: &str, value: &OptionValue) -> Self {
        let mut needs = Self::default();
        needs.option(kind, name, value);
        needs
    }

    fn option(&mut self, kind: GuestKind, name: &str, value: &OptionValue) {
        match value {
            OptionValue::Drive(drive) => {
                match &drive.form {
                    DriveForm::Allocate { storage } => self.storage(storage, disk_content(kind)),
                    DriveForm::CloudInit { storage } => self.storage(storage, "images"),
                    DriveForm::Iso(volume) => self.volume(volume, "iso"),
                    DriveForm::Volume(volume) => self.volume(volume, disk_content(kind)),
                    DriveForm::Inherited | DriveForm::Empty => {}
                }
                if let Some(import) = &drive.import {
                    let is_image = import.value.split_once(':').is_some_and(|(_, name)| name.starts_with("import/"));
                    self.volume(&import.value, if is_image { "import" } else { "images" });
                }
            }
            OptionValue::Properties { keys, .. } if stem(name) == "net" => {
                self.bridges.extend(keys.get("bridge").cloned().flatten());
            }
            OptionValue::Text(text) if stem(name) == "net" => self.net_text(kind, name, text),
            OptionValue::Text(volume) if name == "ostemplate" => self.volume(volume, "vztmpl"),
            _ => {}
        }
    }

    /// What restoring this backup needs besides.
    pub fn backup(&mut self, volume: &str) {
        self.volume(volume, "backup");
    }

    /// What another one needs, too.
    pub fn extend(&mut self, other: Self) {
        self.storages.extend(other.storages);
        self.volumes.extend(other.volumes);
        self.bridges.extend(other.bridges);
    }

    fn storage(&mut self, storage: &str, content: &'static str) {
        self.storages.insert((storage.to_owned(), content));
    }

    fn volume(&mut self, volume: &str, content: &'static str) {
        if stem(volume) != "unused" {
            self.volumes.insert((volume.to_owned(), content));
        }
        if let Some(storage) = storage_of(volume) {
            self.storage(storage, content);
        }
    }

    fn net_text(&mut self, kind: GuestKind, name: &str, text: &str) {
        let format = catalog(kind).find(name).and_then(|spec| spec.value.properties.as_ref());
        if let Some(keys) = format.and_then(|format| property::split(text, format).ok()) {
            self.bridges.extend(keys.get("bridge").cloned());
        }
    }

    /// Why this node does not do; nothing when it does.
    pub fn missing_on(&self, node: &str, live: &LiveCluster) -> Option<Reason> {
        let reason = |code, words: String, hint: Option<String>| Some(Reason { code, words, hint });
        match live.nodes.get(node) {
            None => {
                let known: Vec<&str> = live.nodes.keys().map(String::as_str).collect();
                return reason(
                    ReasonCode::NotFound,
                    format!("there is no node {node}"),
                    Some(format!("nodes: {}", known.join(", "))),
                );
            }
            Some(state) if !state.online => {
                return reason(
                    ReasonCode::NoNode,
                    format!("node {node} is offline"),
                    Some("bring it back, or list another node".to_owned()),
                );
            }
            Some(_) => {}
        }
        match live.storages.get(node) {
            Some(Read::Known(storages)) => {
                for (name, content) in &self.storages {
                    let Some(storage) = storages.get(name) else {
                        let known: Vec<&str> = storages.keys().map(String::as_str).collect();
                        let hint = Some(format!("storages on {node}: {}", known.join(", ")));
                        return reason(ReasonCode::NotFound, format!("node {node} has no storage {name}"), hint);
                    };
                    if !storage.active {
                        return reason(ReasonCode::NotFound, format!("storage {name} is not active on {node}"), None);
                    }
                    if !storage.content.contains(*content) {
                        let kinds: Vec<&str> = storage.content.iter().map(String::as_str).collect();
                        let words = format!("storage {name} on {node} takes no {content}, only {}", kinds.join(", "));
                        return reason(ReasonCode::NotFound, words, None);
                    }
                }
            }
            Some(Read::Unread(why)) if !self.storages.is_empty() => {
                return reason(ReasonCode::Unread, format!("the storages of {node} could not be read: {why}"), None);
            }
            _ => {}
        }
        if let Some(Read::Known(bridges)) = live.bridges.get(node)
            && let Some(bridge) =
                self.bridges.iter().find(|bridge| !bridges.contains(*bridge) && would_see_bridge(live, bridge))
        {
            let known: Vec<&str> = bridges.iter().map(String::as_str).collect();
            let hint = Some(format!("bridges on {node}: {}", known.join(", ")));
            return reason(ReasonCode::NotFound, format!("node {node} has no bridge {bridge}"), hint);
        }
        None
    }
}

/// False for a bridge that is hidden from the token: that it is not listed says nothing.
fn would_see_bridge(live: &LiveCluster, bridge: &str) -> bool {
    let path = format!("/sdn/zones/localnetwork/{bridge}");
    let sees = |privilege| holds(&live.permissions, &path, privilege) != Some(false);
    sees("SDN.Use") || sees("SDN.Audit")
}

/// The content type that a storage must take for a guest's disks.
const fn disk_content(kind: GuestKind) -> &'static str {
    match kind {
        GuestKind::Qemu => "images",
        GuestKind::Lxc => "rootdir",
    }
}

/// Whether the token holds a privilege on a path; nothing when the privileges could not be read.
///
/// Source: `/access/permissions` lists paths with their privileges, each 1 where it reaches what is below.
pub fn holds(
    permissions: &Read<BTreeMap<String, BTreeMap<String, bool>>>,
    path: &str,
    privilege: &str,
) -> Option<bool> {
    let paths = permissions.known()?;
    let mut at = path;
    loop {
        if let Some(privileges) = paths.get(at) {
            // A listed path is decided there: below it, only what propagates counts.
            return Some(privileges.get(privilege).is_some_and(|propagates| *propagates || at == path));
        }
        if at == "/" {
            return Some(false);
        }
        at = match at.rfind('/') {
            Some(0) | None => "/",
            Some(slash) => &at[..slash],
        };
    }
}

/// True when this token provably sees every guest, so that a guest it does not see is not there.
pub fn sees_every_guest(live: &LiveCluster) -> bool {
    let below_hidden = live.permissions.known().is_some_and(|paths| {
        paths.iter().any(|(path, privileges)| path.starts_with("/vms/") && !privileges.contains_key("VM.Audit"))
    });
    // Asked one level down, so that only a privilege that propagates counts.
    holds(&live.permissions, "/vms/100", "VM.Audit") == Some(true) && !below_hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_reach_down_where_they_propagate() {
        let entry = |privilege: &str, propagates| BTreeMap::from([(privilege.to_owned(), propagates)]);
        let permissions = Read::Known(BTreeMap::from([
            ("/".to_owned(), entry("VM.Audit", true)),
            ("/vms".to_owned(), entry("VM.Audit", false)),
            ("/pool/x".to_owned(), BTreeMap::new()),
        ]));
        assert_eq!(holds(&permissions, "/nodes/pve1", "VM.Audit"), Some(true));
        assert_eq!(holds(&permissions, "/vms", "VM.Audit"), Some(true));
        assert_eq!(holds(&permissions, "/vms/100", "VM.Audit"), Some(false));
        assert_eq!(holds(&permissions, "/pool/x", "VM.Audit"), Some(false));
        assert_eq!(holds(&Read::Unread("x".to_owned()), "/", "VM.Audit"), None);
    }
}
