//! What Proxmox sets by itself when it makes a guest: it goes again where the manifest wants it absent, before the
//! guest is started.

use std::collections::BTreeMap;

use super::document::Address;
use super::options::{self, Comparison, Differences, Seen};
use super::planner::Cluster;
use crate::desired::{DesiredGuest, OptionValue, Unlisted};
use crate::live::LiveConfig;
use crate::pve::property::{self, Properties};
use crate::pve::schema::catalog;
use crate::pve::value::GuestKind;

/// What people read in the place of a value that Proxmox makes up.
const ITS_OWN: &str = "(set by Proxmox)";

/// Options that a guest has once it is made from nothing, whether it was asked for or not. Those that are set to their
/// default (a container's memory and swap) are as good as absent.
fn given(guest: &DesiredGuest) -> &'static [&'static str] {
    let is_arm = matches!(guest.options.get("arch").map(|option| &option.value),
        Some(OptionValue::Text(arch)) if arch == "aarch64");
    match guest.kind {
        GuestKind::Qemu if is_arm => &["boot", "smbios1"],
        GuestKind::Qemu => &["boot", "smbios1", "vmgenid"],
        GuestKind::Lxc => &["ostype"],
    }
}

/// What must be removed of a guest that was just made from nothing, and why something cannot be.
pub fn unwanted(cluster: &Cluster<'_>, guest: &DesiredGuest, address: &Address) -> Differences {
    let is_unwanted = |name: &&str| guest.options.get(*name).is_some_and(|option| option.value == OptionValue::Absent);
    let unwanted: Vec<&str> = given(guest).iter().copied().filter(is_unwanted).collect();
    if unwanted.is_empty() {
        return Differences::default();
    }
    let mut config = LiveConfig::default();
    config.current.extend(unwanted.iter().map(|name| ((*name).to_owned(), ITS_OWN.to_owned())));
    let mut only = DesiredGuest { unlisted: Unlisted::Ignore, ..guest.clone() };
    only.options.retain(|name, _| unwanted.contains(&name.as_str()));
    options::compare(&only, &Seen::of_new(cluster, &config, address), &BTreeMap::new())
}

/// A clone has an id of its own, whether its source has one or not.
pub fn to_a_clone(kind: GuestKind, config: &mut LiveConfig) {
    if kind == GuestKind::Qemu {
        config
            .current
            .entry("smbios1".to_owned())
            .or_insert_with(|| "uuid=00000000-0000-0000-0000-000000000000".to_owned());
    }
}

/// How the names of boards with a version begin that Proxmox chooses for this one; nothing for one that has a version.
fn pinned_names(board: Option<&str>) -> Option<&'static str> {
    match board {
        None | Some("pc") => Some("pc-i440fx-"),
        Some("q35") => Some("pc-q35-"),
        Some(_) => None,
    }
}

/// The guest system that the manifest wants, or the one that is there.
fn is_windows(guest: &DesiredGuest, live: Option<&str>) -> bool {
    let listed = guest.options.get("ostype").map(|option| &option.value);
    let ostype = match listed.filter(|_| !options::is_ignored(&guest.ignore, "ostype")) {
        Some(OptionValue::Text(ostype)) => Some(ostype.as_str()),
        Some(OptionValue::Absent) => None,
        _ => live,
    };
    ostype.is_some_and(|ostype| ostype.starts_with('w'))
}

fn machine(text: &str) -> Option<Properties> {
    let format = catalog(GuestKind::Qemu).find("machine")?.value.properties.as_ref()?;
    property::split(text, format).ok()
}

/// True for the board of a new VM that Proxmox gives a version.
pub fn is_pinned_when_made(guest: &DesiredGuest, name: &str, text: &str) -> bool {
    let is_machine = guest.kind == GuestKind::Qemu && name == "machine";
    let board = || machine(text).map(|mut keys| keys.remove("type"));
    is_machine && is_windows(guest, None) && board().is_some_and(|board| pinned_names(board.as_deref()).is_some())
}

impl Comparison<'_> {
    /// The board that Proxmox chose for Windows where the manifest names none or one without a version: the newest
    /// when the VM was made, so that Windows finds the same board for ever.
    fn pinned_board(&self, wanted: Option<&str>) -> Option<String> {
        let board = self.machine()?.remove("type")?;
        let is_its_choice = board.starts_with(pinned_names(wanted)?);
        (is_its_choice && is_windows(self.guest, self.seen.config.effective("ostype"))).then_some(board)
    }

    fn machine(&self) -> Option<Properties> {
        self.seen.config.effective("machine").and_then(machine)
    }

    /// True for a board that Proxmox pinned and nothing else: no different from none.
    pub(super) fn is_pinned_by_proxmox(&self, name: &str) -> bool {
        self.kind() == GuestKind::Qemu
            && name == "machine"
            && self.machine().is_some_and(|keys| keys.len() == 1)
            && self.pinned_board(None).is_some()
    }

    /// The wanted sub-keys of a machine, with the version that Proxmox pinned.
    pub(super) fn with_pinned_board(
        &self,
        name: &str,
        whole: bool,
        keys: &BTreeMap<String, Option<String>>,
    ) -> Option<BTreeMap<String, Option<String>>> {
        if self.kind() != GuestKind::Qemu || name != "machine" || !whole && !keys.contains_key("type") {
            return None;
        }
        let board = self.pinned_board(keys.get("type").and_then(Option::as_deref))?;
        let mut keys = keys.clone();
        keys.insert("type".to_owned(), Some(board));
        Some(keys)
    }
}
