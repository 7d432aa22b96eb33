//! Options that are set live and not listed: shown, removed where that was asked for, never hidden.

use std::collections::BTreeSet;

use super::document::FieldChange;
use super::options::{Comparison, is_ignored};
use crate::desired::Unlisted;
use crate::pve::compare::{is_default, is_drive, stem};
use crate::pve::schema::catalog;
use crate::pve::value::GuestKind;

impl Comparison<'_> {
    pub(super) fn unlisted(&mut self) {
        if self.guest.unlisted == Unlisted::Ignore || self.seen.foretold && self.guest.unlisted == Unlisted::Report {
            return;
        }
        let config = self.seen.config;
        // Nearly always nothing waits, and the names are those of the current values.
        if config.pending.is_empty() {
            return self.unlisted_of(config.current.keys());
        }
        let names: BTreeSet<&String> = config.current.keys().chain(config.pending.keys()).collect();
        self.unlisted_of(names.into_iter());
    }

    /// The names are in order.
    fn unlisted_of<'n>(&mut self, names: impl Iterator<Item = &'n String>) {
        let config = self.seen.config;
        let mut options = self.guest.options.keys().peekable();
        for name in names {
            // In the same order, so they are walked side by side.
            while options.next_if(|other| *other < name).is_some() {}
            let listed = options.peek() == Some(&name) || is_ignored(&self.guest.ignore, name);
            let Some(live) = config.effective(name).filter(|_| !listed) else { continue };
            if is_bookkeeping(self.kind(), name, live) {
                continue;
            }
            let Some(spec) = catalog(self.kind()).find(name) else { continue };
            if is_default(self.kind(), name, spec, live) || self.is_pinned_by_proxmox(name) {
                continue;
            }
            let removable = is_plain(self.kind(), name) && self.only_root_removes(name, live).is_none();
            if self.guest.unlisted == Unlisted::Remove && removable {
                let effect = self.effect(name, Some(live), None);
                self.out.fields.push(FieldChange {
                    name: name.clone(),
                    before: Some(live.to_owned()),
                    after: None,
                    effect,
                    place: Some(self.guest.place.clone()),
                    layer: Some("unlisted: remove".to_owned()),
                    blocked: None,
                });
                let write = self.removal(name, effect);
                self.out.writes.push(write);
            } else {
                self.out.unlisted.insert(name.clone(), live.to_owned());
            }
        }
    }
}

/// What Proxmox keeps for itself, and what has rules of its own.
fn is_bookkeeping(kind: GuestKind, name: &str, live: &str) -> bool {
    let own = matches!(
        name,
        "digest"
            | "meta"
            | "vmgenid"
            | "lock"
            | "parent"
            | "snaptime"
            | "snapstate"
            | "template"
            | "name"
            | "hostname"
            | "tags"
            | "description"
            | "running-nets-host-mtu"
            | "runningmachine"
            | "runningcpu"
            | "vmstate"
    );
    own || stem(name) == "unused"
        || (name == "smbios1" && live.strip_prefix("uuid=").is_some_and(|rest| !rest.contains(',')))
        || (kind == GuestKind::Lxc && matches!(name, "arch" | "ostype" | "lxc"))
}

/// Plain options are those that `unlisted: remove` may remove: no devices, nothing that Proxmox set at creation.
fn is_plain(kind: GuestKind, name: &str) -> bool {
    let device = is_drive(kind, name)
        || matches!(stem(name), "net" | "hostpci" | "usb" | "serial" | "parallel" | "dev" | "virtiofs");
    let by_proxmox = match kind {
        GuestKind::Qemu => name == "boot",
        GuestKind::Lxc => matches!(name, "arch" | "ostype" | "memory" | "swap" | "hostname" | "unprivileged"),
    };
    !device && !by_proxmox
}
