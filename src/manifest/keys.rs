//! The one table of our own keys: name, where it may stand, type, meaning. All other keys are Proxmox's.

use crate::pve::value::parse_boolean;

/// Where a key may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// At the top of a manifest.
    Top,
    /// Under `clusters.NAME`.
    Cluster,
    /// In a guest.
    Guest,
    /// In a guest, a profile or a block of defaults.
    Layer,
    /// Under `defaults`.
    Defaults,
    /// Under `guards`.
    Guards,
    /// Under a guest's `clone`.
    Clone,
    /// Under a guest's `ha`.
    Ha,
}

/// What a key's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// Text.
    Text,
    /// A DNS name.
    Name,
    /// True or false.
    Boolean,
    /// A whole number.
    Number,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A value or a list of values.
    Texts,
    /// A range of guest ids, `1000-1999`.
    Range,
    /// A map with keys of its own.
    Map,
    /// A list of guests.
    Guests,
    /// A map with one variable and its values.
    Each,
}

/// One of our keys.
#[derive(Debug, Clone, Copy)]
pub struct KeySpec {
    /// Its name.
    pub name: &'static str,
    /// Where it may stand.
    pub level: Level,
    /// What its value is.
    pub ty: KeyType,
    /// What it means, in a line.
    pub doc: &'static str,
}

const fn key(name: &'static str, level: Level, ty: KeyType, doc: &'static str) -> KeySpec {
    KeySpec { name, level, ty, doc }
}

/// Every key of ours.
pub const KEYS: &[KeySpec] = &[
    key("fleet", Level::Top, KeyType::Text, "The owner's name, written on each guest that it owns."),
    key("scope", Level::Top, KeyType::Text, "Which part of a fleet this manifest is; orphans are sought in it alone."),
    key("include", Level::Top, KeyType::Texts, "Files with only vars, defaults and profiles, weaker than this one."),
    key("vars", Level::Top, KeyType::Map, "Variables for templates; --var NAME=VALUE overrides them."),
    key("defaults", Level::Top, KeyType::Map, "Options merged under every guest."),
    key("profiles", Level::Top, KeyType::Map, "Named partial guests."),
    key("guards", Level::Top, KeyType::Map, "Limits on what one run may destroy or interrupt."),
    key("clusters", Level::Top, KeyType::Map, "Guests by cluster; the clusters named here are searched for orphans."),
    key("vms", Level::Top, KeyType::Guests, "VMs that find their cluster by name."),
    key("containers", Level::Top, KeyType::Guests, "Containers that find their cluster by name."),
    key("vmids", Level::Cluster, KeyType::Range, "Where new guest ids come from."),
    key("defaults", Level::Cluster, KeyType::Map, "Options merged under every guest of the cluster."),
    key("vms", Level::Cluster, KeyType::Guests, "The cluster's VMs."),
    key("containers", Level::Cluster, KeyType::Guests, "The cluster's containers."),
    key("guest", Level::Defaults, KeyType::Map, "For VMs and containers."),
    key("vm", Level::Defaults, KeyType::Map, "For VMs."),
    key("container", Level::Defaults, KeyType::Map, "For containers."),
    key("max_deletes", Level::Guards, KeyType::Number, "Guests that one run may delete."),
    key(
        "max_delete_percent",
        Level::Guards,
        KeyType::Number,
        "Percent of a cluster's owned guests that one run may delete.",
    ),
    key("max_reboots", Level::Guards, KeyType::Number, "Guests that one run may reboot."),
    key("name", Level::Guest, KeyType::Name, "The guest's name, a DNS name."),
    key("hostname", Level::Guest, KeyType::Name, "A container's name."),
    key("vmid", Level::Guest, KeyType::Number, "The guest's id; left out, a free one is taken."),
    key("cluster", Level::Guest, KeyType::Text, "The cluster it belongs to, where its name does not say so."),
    key("profiles", Level::Guest, KeyType::Texts, "Profiles to start from, the weakest first."),
    key("adopt", Level::Guest, KeyType::Boolean, "Take over a guest that exists and is nobody's."),
    key("released", Level::Guest, KeyType::Boolean, "Let the guest go: remove the mark, do nothing else."),
    key("each", Level::Guest, KeyType::Each, "One guest for each value of a variable: a list, or a range, 1..3."),
    key("renamed_from", Level::Guest, KeyType::Name, "The guest's former name."),
    key("archive", Level::Guest, KeyType::Text, "The backup to restore it from, STORAGE:PATH."),
    key("recreate", Level::Guest, KeyType::Boolean, "Delete and make anew where a change needs that."),
    key("node", Level::Layer, KeyType::Texts, "Nodes where it may live, in order of preference; left out, anywhere."),
    key("clone", Level::Layer, KeyType::Map, "What it is cloned from."),
    key(
        "state",
        Level::Layer,
        KeyType::Choice(&["running", "stopped"]),
        "Power state; left out, not managed after creation.",
    ),
    key("template", Level::Layer, KeyType::Boolean, "Convert it to a template at the end."),
    key(
        "reboot",
        Level::Layer,
        KeyType::Choice(&["allow", "never"]),
        "Whether a change may reboot it; never by default. With true or false it is Proxmox's option of a VM.",
    ),
    key(
        "unlisted",
        Level::Layer,
        KeyType::Choice(&["report", "remove", "ignore"]),
        "What to do with options that are set and not listed here.",
    ),
    key("ignore", Level::Layer, KeyType::Texts, "Options taken out of plan and apply; `*` stands for any text."),
    key("depends_on", Level::Layer, KeyType::Texts, "Guests of the same cluster that must be done before it."),
    key("pool", Level::Layer, KeyType::Text, "Resource pool; left out, not managed."),
    key("shutdown_timeout", Level::Layer, KeyType::Number, "Seconds that a shutdown may take."),
    key("ha", Level::Layer, KeyType::Map, "High availability; null ends it, left out it is not managed."),
    key("from", Level::Clone, KeyType::Text, "A guest's id or name, or {tag: NAME}."),
    key(
        "full",
        Level::Clone,
        KeyType::Boolean,
        "Copy everything; left out, linked from a template and full from any other.",
    ),
    key("storage", Level::Clone, KeyType::Text, "Storage for the disks of a full clone."),
    key("snapname", Level::Clone, KeyType::Text, "The snapshot to clone."),
    key(
        "state",
        Level::Ha,
        KeyType::Choice(&["started", "stopped", "disabled", "ignored"]),
        "What the cluster keeps it in.",
    ),
    key("max_restart", Level::Ha, KeyType::Number, "Attempts to start it again on its node."),
    key("max_relocate", Level::Ha, KeyType::Number, "Attempts to start it on another node."),
    key("group", Level::Ha, KeyType::Text, "Its group; Proxmox VE 8 only."),
];

/// The key of this name at this level; a guest has those of a layer too.
pub fn find(level: Level, name: &str) -> Option<&'static KeySpec> {
    let fits = |spec: &KeySpec| spec.level == level || (level == Level::Guest && spec.level == Level::Layer);
    KEYS.iter().find(|spec| spec.name == name && fits(spec))
}

/// True where a key of ours, with this value, is Proxmox's option of the same name: `reboot: false` keeps a VM from
/// rebooting itself, `reboot: allow` lets a change reboot it.
pub fn is_option(name: &str, value: Option<&str>) -> bool {
    name == "reboot" && value.and_then(parse_boolean).is_some()
}

/// The names of all keys at this level.
pub fn names(level: Level) -> impl Iterator<Item = &'static str> {
    let fits = move |spec: &&KeySpec| spec.level == level || (level == Level::Guest && spec.level == Level::Layer);
    KEYS.iter().filter(fits).map(|spec| spec.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_stands_twice() {
        for (index, spec) in KEYS.iter().enumerate() {
            let same = |other: &KeySpec| other.name == spec.name && other.level == spec.level;
            assert!(!KEYS[..index].iter().any(same), "{}", spec.name);
            assert!(spec.doc.ends_with('.'), "{}", spec.name);
        }
        assert!(find(Level::Guest, "state").is_some() && find(Level::Layer, "vmid").is_none());
    }
}
