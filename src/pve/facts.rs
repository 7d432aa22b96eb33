//! What is known of an option beyond its type: what it is, who may set it, when a change takes hold, since when.
//!
//! Kept by hand in `schemas/pve/facts.yaml`; the option tables carry it.

use serde::{Deserialize, Serialize};

/// What is known of an option.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptionFacts {
    /// What it is, in a line.
    pub is: String,
    /// What it means when it is not set, where no default says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
    /// Privileges on the guest, any of which allows a change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub privilege: Vec<String>,
    /// What a change needs besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub also: Option<String>,
    /// When a change takes hold in a guest that runs.
    #[serde(skip_serializing_if = "is_default")]
    pub takes: TakesHold,
    /// What only root@pam itself may set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_only: Option<RootOnly>,
    /// Why it cannot be removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    /// It cannot change once the guest exists.
    #[serde(skip_serializing_if = "is_default")]
    pub unchanged: bool,
    /// It is never shown.
    #[serde(skip_serializing_if = "is_default")]
    pub secret: bool,
    /// A parameter of the call that makes a guest, not part of its configuration.
    #[serde(skip_serializing_if = "is_default")]
    pub call: bool,
    /// What a manifest has in its place; empty text where nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
    /// A value in Proxmox's own text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
    /// The minor release that brought it; nothing where 8.4 has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The minor release that dropped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// What is known of a sub-key.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyFacts {
    /// What it is, in a line.
    pub is: String,
    /// What it means when it is not set, where no default says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
    /// Proxmox fills it in by itself.
    #[serde(skip_serializing_if = "is_default")]
    pub assigned: bool,
    /// The minor release that brought it; nothing where 8.4 has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The minor release that dropped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// When a changed option takes hold in a guest that runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TakesHold {
    /// At once.
    Now,
    /// Stored at once; the guest reads it when it boots.
    AtBoot,
    /// Waits, pending, until the guest is stopped and started.
    #[default]
    Reboot,
    /// At once where `hotplug` has `disk`.
    HotplugDisk,
    /// At once where `hotplug` has `network`.
    HotplugNetwork,
    /// At once where `hotplug` has `usb`.
    HotplugUsb,
    /// At once where `hotplug` has `cpu`.
    HotplugCpu,
    /// At once where `hotplug` has `memory`.
    HotplugMemory,
    /// At once, unless it comes from or goes to 0.
    UnlessZero,
    /// At once, unless its list has or had `memory`.
    UnlessMemory,
    /// At once when it is added; a change or removal waits.
    WhenNew,
}

impl TakesHold {
    /// The class of the VM's option `hotplug` that decides.
    pub const fn hotplug_class(self) -> Option<&'static str> {
        match self {
            Self::HotplugDisk => Some("disk"),
            Self::HotplugNetwork => Some("network"),
            Self::HotplugUsb => Some("usb"),
            Self::HotplugCpu => Some("cpu"),
            Self::HotplugMemory => Some("memory"),
            _ => None,
        }
    }
}

/// What only root@pam itself may set: no token can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootOnly {
    /// Any value.
    Always,
    /// A device of the host that is not named by a mapping.
    UnlessMapped,
    /// The same, and not `spice` either.
    UnlessMappedOrSpice,
    /// Anything but `socket`.
    UnlessSocket,
    /// A path of the node in place of a volume.
    Path,
    /// Any feature in a privileged container; others than nesting in an unprivileged one.
    Features,
}

/// Why an option cannot be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// The guest cannot be without it.
    Required,
    /// It is fixed when the guest is made.
    ReadOnly,
}

impl Kept {
    /// Proxmox's own refusal to remove the option.
    pub fn proxmox_text(self, option: &str) -> String {
        match self {
            Self::Required => format!("unable to delete required option '{option}'"),
            Self::ReadOnly => format!("unable to delete read-only option: '{option}'"),
        }
    }
}
