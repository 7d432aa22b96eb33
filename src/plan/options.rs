//! Options compared: which of a guest's options differ, what must be written, and what that costs.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::document::{Address, Effect, FieldChange, Reason, ReasonCode};
use super::drives::{self, holds_data, volume_of};
use super::planner::Cluster;
use super::template::{Hole, Template};
use super::versions;
use crate::desired::{DesiredGuest, DesiredOption, OptionValue};
use crate::live::LiveConfig;
use crate::pve::compare::{differing_keys, is_assigned, is_default, is_drive, same_value, stem};
use crate::pve::effect::{Takes, takes};
use crate::pve::facts::Kept;
use crate::pve::property::{self, Properties};
use crate::pve::root_only::is_root_only;
use crate::pve::schema::{PropertyFormat, catalog};
use crate::pve::value::{self, GuestKind, Size};

/// The guest that desired options are compared with.
pub struct Seen<'a> {
    /// Its configuration; for a clone that is not made yet, the one it will have.
    pub config: &'a LiveConfig,
    /// It runs, so some changes wait for a reboot.
    pub running: bool,
    /// It is a clone not made yet: MAC addresses and volumes are not known.
    pub foretold: bool,
    /// Drives whose detaching was accepted.
    pub accepted_detach: &'a BTreeSet<String>,
    /// Why it may not be off for a while; nothing where it may, or is off. Asked only where something needs that.
    pub kept_on: &'a dyn Fn() -> Option<Reason>,
    /// It is moved to another node first, where its volumes may have other names.
    pub relocates: bool,
    /// `root@pam` itself can log in, so nothing is kept from it.
    pub as_root: bool,
    /// The cluster's version of Proxmox VE.
    pub version: &'a str,
    /// The guest, as acceptances name it.
    pub address: &'a Address,
}

impl<'a> Seen<'a> {
    /// A guest that is not made yet, as it will be then.
    pub fn of_new(cluster: &Cluster<'a>, config: &'a LiveConfig, address: &'a Address) -> Self {
        static NONE: BTreeSet<String> = BTreeSet::new();
        Self {
            config,
            running: false,
            foretold: true,
            accepted_detach: &NONE,
            kept_on: &|| None,
            relocates: false,
            as_root: cluster.desired.as_root,
            version: &cluster.live.version,
            address,
        }
    }
}

/// One thing to write.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Set an option.
    Set {
        /// The option.
        option: String,
        /// What is sent.
        value: Template,
        /// What must be read back, by meaning.
        expect: String,
        /// A volume is allocated.
        allocates: bool,
        /// What it costs.
        effect: Effect,
    },
    /// Remove an option.
    Delete {
        /// The option.
        option: String,
        /// What it costs.
        effect: Effect,
    },
    /// Take what is pending back.
    Revert {
        /// The option.
        option: String,
        /// What must be read back; empty where the option must not be set.
        expect: String,
    },
    /// Grow a disk to this size.
    Resize {
        /// The drive.
        option: String,
        /// The new size.
        size: Size,
    },
    /// Copy a disk to another storage.
    Move {
        /// The drive.
        option: String,
        /// The storage.
        storage: String,
        /// A snapshot holds the source, so it stays, detached.
        keeps_source: bool,
    },
    /// Give a drive the disk of another one, which goes.
    Rekey {
        /// The drive that goes.
        from: String,
        /// The drive that comes.
        option: String,
        /// What is sent for it.
        value: Template,
        /// What must be read back, by meaning.
        expect: String,
    },
    /// Destroy a detached volume.
    Destroy {
        /// Its key, `unused0`.
        option: String,
    },
}

impl Write {
    /// The option that is written.
    pub fn option(&self) -> &str {
        match self {
            Self::Set { option, .. }
            | Self::Delete { option, .. }
            | Self::Revert { option, .. }
            | Self::Resize { option, .. }
            | Self::Move { option, .. }
            | Self::Rekey { option, .. }
            | Self::Destroy { option } => option,
        }
    }

    /// What it costs.
    pub const fn effect(&self) -> Effect {
        match self {
            Self::Set { effect, .. } | Self::Delete { effect, .. } => *effect,
            Self::Destroy { .. } => Effect::DataLoss,
            Self::Revert { .. } | Self::Resize { .. } | Self::Move { .. } | Self::Rekey { .. } => Effect::None,
        }
    }

    /// True for what Proxmox does only while the guest is off, or what pulls a disk out of one that runs.
    pub fn needs_off(&self, kind: GuestKind) -> bool {
        match self {
            Self::Move { option, .. } => kind == GuestKind::Lxc || stem(option) == "tpmstate",
            Self::Rekey { .. } => true,
            _ => false,
        }
    }
}

/// The result of a comparison.
#[derive(Debug, Default)]
pub struct Differences {
    /// Field by field, for people.
    pub fields: Vec<FieldChange>,
    /// What to send.
    pub writes: Vec<Write>,
    /// Options that already have their new value, waiting for a reboot.
    pub pending: Vec<String>,
    /// Options that are set live, not listed and left alone.
    pub unlisted: BTreeMap<String, String>,
    /// Worth knowing.
    pub notes: Vec<String>,
}

/// True when an `ignore` pattern covers the option or one of its sub-keys.
pub fn is_ignored(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| matches_pattern(pattern.as_bytes(), name.as_bytes()))
}

/// `*` stands for any text.
fn matches_pattern(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skip| matches_pattern(rest, &text[skip..])),
        Some((byte, rest)) => {
            text.split_first().is_some_and(|(first, others)| first == byte && matches_pattern(rest, others))
        }
    }
}

/// Compares every listed option but `tags`, `description` and the name, which have rules of their own.
pub fn compare(guest: &DesiredGuest, seen: &Seen<'_>, secrets: &BTreeMap<String, u32>) -> Differences {
    let mut comparison = Comparison { guest, seen, out: Differences::default() };
    // Both are in order, so they are walked side by side: nearly every option is as it should be.
    let mut live = seen.config.current.iter().peekable();
    for (name, desired) in &guest.options {
        let current = loop {
            let Some((other, text)) = live.peek() else { break None };
            match other.as_str().cmp(name) {
                Ordering::Less => drop(live.next()),
                Ordering::Equal => break Some(text.as_str()),
                Ordering::Greater => break None,
            }
        };
        if seen.config.pending.is_empty() && is_the_same(desired, current) {
            continue;
        }
        if matches!(name.as_str(), "tags" | "description" | "ostemplate") || is_ignored(&guest.ignore, name) {
            continue;
        }
        comparison.option(name, desired, secrets);
    }
    comparison.unlisted();
    comparison.out
}

/// True where the live value has every part that is wanted, letter for letter, so that nothing need be taken apart.
/// That it is false says nothing.
fn is_the_same(desired: &DesiredOption, live: Option<&str>) -> bool {
    match (&desired.value, live) {
        (OptionValue::Absent, None) => true,
        (OptionValue::Text(wanted), Some(live)) => wanted == live,
        (OptionValue::Properties { whole: false, keys }, Some(live)) => has_parts(keys, live),
        (OptionValue::Drive(drive), Some(live)) => drives::is_the_same(drive, live),
        _ => false,
    }
}

/// True where the text has each of these sub-keys with its value, letter for letter.
pub(super) fn has_parts(keys: &BTreeMap<String, Option<String>>, text: &str) -> bool {
    keys.iter().all(|(key, value)| {
        let Some(value) = value else { return false };
        text.split(',').any(|part| match part.split_once('=') {
            // The model of a NIC stands before its MAC address.
            Some((first, _)) if key == "model" && first == value => true,
            pair => pair == Some((key, value)),
        })
    })
}

/// A comparison under way; the files `drives` and `unlisted` hold its other rules.
pub(super) struct Comparison<'a> {
    pub(super) guest: &'a DesiredGuest,
    pub(super) seen: &'a Seen<'a>,
    pub(super) out: Differences,
}

impl Comparison<'_> {
    pub(super) fn kind(&self) -> GuestKind {
        self.guest.kind
    }

    fn option(&mut self, name: &str, desired: &DesiredOption, secrets: &BTreeMap<String, u32>) {
        let Some(spec) = catalog(self.kind()).find(name) else {
            return;
        };
        if let OptionValue::Secret(reference) = &desired.value {
            self.secret(name, desired, reference, secrets);
            return;
        }
        if !spec.update {
            // Meant for creation only: nothing of it can be read back.
            return;
        }
        let live = self.seen.config.effective(name).map(str::to_owned).filter(|text| !text.trim().is_empty());
        let text_differs = |wanted: &str| match live.as_deref() {
            Some(live) => !same_value(self.kind(), name, wanted, live),
            None => !is_default(self.kind(), name, spec, wanted),
        };
        let writes_before = self.out.writes.len();
        let fields_before = self.out.fields.len();
        match &desired.value {
            OptionValue::Absent => {
                let is_set = live.as_deref().is_some_and(|live| !is_default(self.kind(), name, spec, live));
                if is_set && !self.is_pinned_by_proxmox(name) {
                    self.remove(name, desired, live.as_deref());
                }
            }
            OptionValue::Text(wanted) => {
                if text_differs(wanted) && spec.facts.unchanged {
                    self.immutable(name, live.clone(), Some(wanted.clone()), desired);
                } else if text_differs(wanted) {
                    let effect = self.effect(name, live.as_deref(), Some(wanted));
                    self.field(name, live.clone(), Some(wanted.clone()), effect, desired);
                    self.set(name, Template::text(wanted), wanted, false, effect);
                }
            }
            OptionValue::Properties { whole, keys } => {
                if let Some(format) = &spec.value.properties {
                    let queued = self.queued_removal(name);
                    let pinned = self.with_pinned_board(name, *whole, keys);
                    let keys = pinned.as_ref().unwrap_or(keys);
                    self.properties(name, desired, format, *whole, keys, live.as_deref().or(queued.as_deref()));
                    self.take_back_removal(name, desired, queued, fields_before);
                }
            }
            OptionValue::Drive(drive) => {
                if let Some(format) = &spec.value.properties {
                    let queued = self.queued_removal(name);
                    self.drive(name, desired, format, drive, live.as_deref().or(queued.as_deref()));
                    self.take_back_removal(name, desired, queued, fields_before);
                }
            }
            OptionValue::Secret(_) => {}
        }
        self.tell_queued(name, fields_before);
        let same = self.out.writes.len() == writes_before && self.out.fields.len() == fields_before;
        if same && self.seen.config.pending.contains_key(name) {
            self.out.pending.push(name.to_owned());
        }
    }

    /// What a device is until a removal that somebody queued is carried out: its volume and MAC address are still
    /// there, and must not give way to new ones.
    fn queued_removal(&self, name: &str) -> Option<String> {
        let is_queued = self.seen.config.pending.get(name) == Some(&None);
        self.seen.config.current.get(name).filter(|text| is_queued && !text.trim().is_empty()).cloned()
    }

    /// Takes such a removal back, where nothing else is written to the option and nothing stands in the way.
    fn take_back_removal(&mut self, name: &str, desired: &DesiredOption, queued: Option<String>, fields_before: usize) {
        let Some(current) = queued else { return };
        let sets = |write: &Write| write.option() == name && !matches!(write, Write::Resize { .. });
        let refuses = |field: &FieldChange| field.blocked.as_ref().is_some_and(|why| why.code != ReasonCode::Shrink);
        if self.out.fields.iter().skip(fields_before).any(refuses) {
            return;
        }
        let grows = |write: &Write| write.option() == name && matches!(write, Write::Resize { .. });
        if self.out.writes.iter().any(sets) {
            // Written anew it stays; but what is on its way out does not grow.
            if self.out.writes.iter().any(grows) {
                self.out.writes.push(Write::Revert { option: name.to_owned(), expect: current });
            }
            return;
        }
        self.field(name, Some("to be removed".to_owned()), Some(current.clone()), Effect::None, desired);
        // Before it grows.
        self.out.writes.push(Write::Revert { option: name.to_owned(), expect: current });
    }

    /// A live value that cannot be taken apart is never written over: what it holds would be lost.
    pub(super) fn unreadable(&mut self, name: &str, desired: &DesiredOption, live: &str) {
        let words = format!("{name} is `{live}`, which this version cannot take apart");
        let hint = Some("correct it by hand, or leave it out".to_owned());
        let reason = Reason { code: ReasonCode::Unread, words, hint };
        self.blocked(name, Some(live.to_owned()), None, desired, reason);
    }

    /// What somebody queued is not what runs: a field shows both.
    fn tell_queued(&mut self, name: &str, fields_before: usize) {
        let config = self.seen.config;
        let (Some(current), Some(Some(queued))) = (config.current.get(name), config.pending.get(name)) else {
            return;
        };
        for field in self.out.fields[fields_before..].iter_mut().filter(|field| field.name == name) {
            field.before = Some(format!("{current} ({queued} queued)"));
        }
    }

    /// When desired is what is current and somebody queued another value, that is taken back: the fields show it.
    fn taken_back(&self, name: &str, expect: &str) -> Option<Write> {
        let current = self.seen.config.current.get(name)?;
        match self.seen.config.pending.get(name)? {
            None if same_value(self.kind(), name, expect, current) => {
                Some(Write::Revert { option: name.to_owned(), expect: current.clone() })
            }
            // Set to the very text that is current, the pending value is dropped.
            Some(_) if same_value(self.kind(), name, expect, current) => Some(Write::Set {
                option: name.to_owned(),
                value: Template::text(current),
                expect: current.clone(),
                allocates: false,
                effect: Effect::None,
            }),
            _ => None,
        }
    }

    pub(super) fn set(&mut self, name: &str, value: Template, expect: &str, allocates: bool, effect: Effect) {
        let mut value = value;
        let fit = versions::fit(self.kind(), name, expect, self.seen.version);
        if let versions::Fit::Written(text) = &fit
            && value == Template::text(expect)
        {
            value = Template::text(text);
        }
        let refused = match fit {
            versions::Fit::Refused(reason) => Some(reason),
            _ if self.seen.as_root => None,
            _ => root_only(self.guest, Some(self.seen.config), name, expect),
        };
        if let Some(reason) = refused {
            // The fields of this option were pushed just before.
            let own = |field: &&mut FieldChange| field.name.split('.').next() == Some(name);
            self.out.fields.iter_mut().filter(own).for_each(|field| field.blocked = Some(reason.clone()));
            return;
        }
        let write = self.taken_back(name, expect).unwrap_or_else(|| Write::Set {
            option: name.to_owned(),
            value,
            expect: expect.to_owned(),
            allocates,
            effect,
        });
        self.out.writes.push(write);
    }

    pub(super) fn effect(&self, name: &str, before: Option<&str>, after: Option<&str>) -> Effect {
        let current = |option: &str| self.seen.config.current.get(option).map(String::as_str);
        // Memory is plugged in by NUMA node: without NUMA it waits, whatever `hotplug` lists.
        let plugs = name != "memory" || current("numa").and_then(value::parse_boolean) == Some(true);
        let hotplug = if plugs { current("hotplug") } else { Some("0") };
        match takes(self.kind(), name, before, after, hotplug) {
            _ if !self.seen.running => Effect::None,
            // Setting back what runs: nothing waits any more.
            _ if self.seen.config.current.get(name).map(String::as_str) == after => Effect::None,
            Takes::Now => Effect::None,
            Takes::AtBoot => Effect::NextBoot,
            Takes::Reboot => Effect::Reboot,
        }
    }

    pub(super) fn field(
        &mut self,
        name: &str,
        before: Option<String>,
        after: Option<String>,
        effect: Effect,
        desired: &DesiredOption,
    ) {
        self.out.fields.push(FieldChange {
            name: name.to_owned(),
            before,
            after,
            effect,
            place: Some(desired.place.clone()),
            layer: Some(desired.layer.clone()),
            blocked: None,
        });
    }

    pub(super) fn blocked(
        &mut self,
        name: &str,
        before: Option<String>,
        after: Option<String>,
        desired: &DesiredOption,
        reason: Reason,
    ) {
        self.field(name, before, after, Effect::None, desired);
        if let Some(field) = self.out.fields.last_mut() {
            field.blocked = Some(reason);
        }
    }

    fn remove(&mut self, name: &str, desired: &DesiredOption, live: Option<&str>) {
        let before = live.map(str::to_owned);
        let kept = catalog(self.kind()).find(name).and_then(|spec| spec.facts.kept);
        if kept == Some(Kept::Required) {
            let words = format!("Proxmox does not let {name} be removed");
            let hint = Some("give it a value, or leave it out".to_owned());
            self.blocked(name, before, None, desired, Reason { code: ReasonCode::NotInPlace, words, hint });
            return;
        }
        if kept == Some(Kept::ReadOnly) {
            self.immutable(name, before, None, desired);
            return;
        }
        if self.becomes_another(name) {
            return;
        }
        if holds_data(self.kind(), name, live.unwrap_or_default()) && !self.seen.accepted_detach.contains(name) {
            let words = format!("this detaches the disk {}", volume_of(live.unwrap_or_default()));
            let hint = Some(format!("--accept detach:{}/{name}", self.seen.address));
            self.blocked(name, before, None, desired, Reason { code: ReasonCode::NeedsAccept, words, hint });
            return;
        }
        if let Some(reason) = self.only_root_removes(name, live.unwrap_or_default()) {
            self.blocked(name, before, None, desired, reason);
            return;
        }
        let effect = self.effect(name, live, None);
        self.field(name, before, None, effect, desired);
        let write = self.removal(name, effect);
        self.out.writes.push(write);
    }

    /// Removes an option. What only waits in a container is taken back: a removal there leaves it waiting.
    pub(super) fn removal(&self, name: &str, effect: Effect) -> Write {
        let config = self.seen.config;
        if self.kind() == GuestKind::Lxc && config.pending.contains_key(name) && !config.current.contains_key(name) {
            return Write::Revert { option: name.to_owned(), expect: String::new() };
        }
        Write::Delete { option: name.to_owned(), effect }
    }

    /// Why no token may remove this: in a VM, what only root sets only root removes.
    pub(super) fn only_root_removes(&self, name: &str, live: &str) -> Option<Reason> {
        let refused =
            !self.seen.as_root && self.kind() == GuestKind::Qemu && is_root_only(self.kind(), name, live, false);
        refused.then(|| Reason {
            code: ReasonCode::RootOnly,
            words: format!("Proxmox lets only root@pam, with its password, remove {name}"),
            hint: Some("leave it out, or remove it by hand".to_owned()),
        })
    }

    fn immutable(&mut self, name: &str, before: Option<String>, after: Option<String>, desired: &DesiredOption) {
        let words = format!("Proxmox cannot change {name} once the {} exists", self.kind().noun());
        let hint = Some("change the manifest back, or make a new guest under another name".to_owned());
        self.blocked(name, before, after, desired, Reason { code: ReasonCode::NotInPlace, words, hint });
    }

    fn properties(
        &mut self,
        name: &str,
        desired: &DesiredOption,
        format: &PropertyFormat,
        whole: bool,
        keys: &BTreeMap<String, Option<String>>,
        live: Option<&str>,
    ) {
        let seen_or_empty = match live.map(|text| (text, property::split(text, format))) {
            None => Properties::new(),
            Some((_, Ok(seen))) => seen,
            Some((text, Err(_))) => return self.unreadable(name, desired, text),
        };
        let ignored = |key: &String| is_ignored(&self.guest.ignore, &format!("{name}.{key}"));
        let changed: Vec<String> = differing_keys(self.kind(), name, format, keys, whole, &seen_or_empty)
            .into_iter()
            .filter(|key| !ignored(key))
            .collect();
        if changed.is_empty() {
            return;
        }
        let mut result = if whole { Properties::new() } else { seen_or_empty.clone() };
        for (key, value) in keys.iter().filter(|(key, _)| !ignored(key)) {
            match value {
                Some(value) => result.insert(key.clone(), value.clone()),
                None => result.remove(key),
            };
        }
        for (key, value) in &seen_or_empty {
            if is_assigned(self.kind(), name, key) && !keys.contains_key(key) || ignored(key) {
                result.insert(key.clone(), value.clone());
            }
        }
        let after_text = property::print(&result, format);
        let effect = self.effect(name, live, Some(&after_text));
        let new = live.is_none();
        if new {
            self.field(name, live.map(str::to_owned), Some(after_text), effect, desired);
        } else {
            for key in &changed {
                let before = seen_or_empty.get(key).cloned();
                // `memory` has one sub-key only, which nobody writes.
                let field = if format.keys.len() == 1 { name.to_owned() } else { format!("{name}.{key}") };
                self.field(&field, before, result.get(key).cloned(), effect, desired);
            }
        }
        let (value, expect) = self.written(name, format, &result, &seen_or_empty);
        self.set(name, value, &expect, false, effect);
    }

    /// What is sent for sub-keys, with holes for what a clone will be assigned, and what must be read back.
    pub(super) fn written(
        &self,
        name: &str,
        format: &PropertyFormat,
        result: &Properties,
        seen: &Properties,
    ) -> (Template, String) {
        self.written_from(name, name, format, result, seen)
    }

    /// The same with the holes filled from another option, whose disk it is until then.
    pub(super) fn written_from(
        &self,
        name: &str,
        source: &str,
        format: &PropertyFormat,
        result: &Properties,
        seen: &Properties,
    ) -> (Template, String) {
        // A disk that is moved or grown first has another name or size when this is sent.
        let moved = self.out.writes.iter().any(|write| match write {
            Write::Move { option, .. } | Write::Resize { option, .. } => option == source,
            _ => false,
        });
        let moved = moved || self.seen.relocates && is_drive(self.kind(), name);
        if !self.seen.foretold && !moved {
            let text = property::print(result, format);
            return (Template::text(&text), text);
        }
        let is_hole = |key: &str, value: &str| {
            is_assigned(self.kind(), name, key) && seen.get(key).map(String::as_str) == Some(value) && key != "type"
        };
        let mut marked = result.clone();
        let mut holes = Vec::new();
        for (key, value) in &mut marked {
            if is_hole(key, value) {
                // A stand-in that no value can be, so that the printed text can be cut at it.
                *value = format!("\u{1}{}\u{1}", holes.len());
                holes.push(key.clone());
            }
        }
        let mut template = Template::default();
        for (position, piece) in property::print(&marked, format).split('\u{1}').enumerate() {
            match (position % 2, piece.parse::<usize>().ok().and_then(|index| holes.get(index))) {
                (1, Some(key)) => {
                    template = template.then_hole(Hole::Live { option: source.to_owned(), key: key.clone() });
                }
                _ if !piece.is_empty() => template = template.then(piece),
                _ => {}
            }
        }
        let mut known = result.clone();
        known.retain(|key, value| !is_hole(key, value));
        (template, property::print(&known, format))
    }

    fn secret(
        &mut self,
        name: &str,
        desired: &DesiredOption,
        reference: &crate::desired::SecretReference,
        secrets: &BTreeMap<String, u32>,
    ) {
        let can_update = catalog(self.kind()).find(name).is_some_and(|spec| spec.update);
        let is_set = self.seen.config.effective(name).is_some();
        let recorded = secrets.get(name).copied();
        let show = |version: Option<u32>| match version {
            Some(version) => format!("(secret, version {version})"),
            None => "(secret)".to_owned(),
        };
        let changed = reference.version.is_some() && reference.version != recorded;
        if !can_update {
            if changed && !self.seen.foretold {
                let words = format!("Proxmox takes {name} only when the {} is made", self.kind().noun());
                let hint = Some("change it inside the guest, then write the old version again".to_owned());
                self.blocked(
                    name,
                    Some(show(recorded)),
                    Some(show(reference.version)),
                    desired,
                    Reason { code: ReasonCode::NotInPlace, words, hint },
                );
            }
            return;
        }
        if is_set && !changed && !self.seen.foretold {
            if reference.version.is_none() {
                self.out.notes.push(format!(
                    "{name} is set at creation and cannot be compared; give it a `version` to change it"
                ));
            }
            return;
        }
        let effect = self.effect(name, None, None);
        self.field(name, is_set.then(|| show(recorded)), Some(show(reference.version)), effect, desired);
        self.out.writes.push(Write::Set {
            option: name.to_owned(),
            value: Template::hole(Hole::Secret(reference.clone())),
            expect: String::new(),
            allocates: false,
            effect,
        });
    }
}

/// Why no token may set this. Whether a container is unprivileged never changes: where it is there, it says so itself.
pub fn root_only(guest: &DesiredGuest, live: Option<&LiveConfig>, name: &str, value: &str) -> Option<Reason> {
    let listed = match guest.options.get("unprivileged").map(|option| &option.value) {
        Some(OptionValue::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let unprivileged = live.map_or(listed, |live| live.effective("unprivileged"));
    let unprivileged = unprivileged.and_then(value::parse_boolean) == Some(true);
    is_root_only(guest.kind, name, value, unprivileged).then(|| Reason {
        code: ReasonCode::RootOnly,
        words: format!("Proxmox lets only root@pam, with its password, set {name} to {value}"),
        hint: Some(
            "set USERNAME=root@pam and PASSWORD beside this cluster's token, or leave it out and set it by hand"
                .to_owned(),
        ),
    })
}
