//! What is known of an option, as text.

use super::explain::{self, Found};
use super::style::{Ink, Layout, wrap};
use crate::manifest::keys::KeySpec;
use crate::pve::compare::is_drive;
use crate::pve::facts::{OptionFacts, RootOnly, TakesHold};
use crate::pve::schema::{
    OptionSpec, PropertyFormat, SubKey, ValueSpec, ValueType, catalog, known_versions, version_number,
};
use crate::pve::value::{GuestKind, parse_boolean};

/// More names than these are counted, not listed.
const MOST_CHOICES: usize = 24;

/// The explanation.
pub fn text(found: Found, layout: Layout) -> String {
    let mut page = Page { layout, text: String::new() };
    match found {
        Found::Guest(kind) => page.guest(kind),
        Found::Key(kind, spec) => page.key(kind, spec),
        Found::Option(kind, name, spec) => page.option(kind, name, spec),
        Found::SubKey(kind, name, option, key, spec) => page.sub_key(kind, name, option, key, spec),
        Found::ReadOnly(kind, name, is) => {
            page.head(name, &format!("shown by Proxmox for a {}", kind.noun()));
            page.sentence(is);
            page.line("Set by", "Proxmox itself; it cannot be written");
        }
    }
    page.text
}

struct Page {
    layout: Layout,
    text: String,
}

impl Page {
    fn head(&mut self, name: &str, what: &str) {
        self.text.push_str(&format!("{}  {}\n\n", self.layout.paint(Ink::Strong, name), what));
    }

    fn sentence(&mut self, text: &str) {
        self.text.push_str(&format!("  {}\n\n", wrap(text, self.layout.width, 2, 2)));
    }

    /// A fact: what, and how it is.
    fn line(&mut self, what: &str, text: &str) {
        let label = self.layout.paint(Ink::Faint, &format!("{what:<10}"));
        self.text.push_str(&format!("  {label}  {}\n", wrap(text, self.layout.width, 14, 14)));
    }

    fn title(&mut self, text: &str) {
        self.text.push_str(&format!("\n{}\n", self.layout.paint(Ink::Strong, text)));
    }

    const fn width(&self, indent: usize) -> usize {
        let width = self.layout.width.saturating_sub(indent);
        if width < 20 { 20 } else { width }
    }

    /// Rows of cells, each cell wrapped in its column; the last takes what is left.
    fn table(&mut self, rows: &[Vec<String>], limits: &[usize]) {
        let columns: Vec<usize> = limits
            .iter()
            .enumerate()
            .map(|(at, limit)| {
                let longest = rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
                longest.min(*limit)
            })
            .collect();
        let used: usize = columns.iter().map(|width| width + 2).sum();
        for row in rows {
            let cells: Vec<Vec<String>> = row
                .iter()
                .enumerate()
                .map(|(at, cell)| {
                    let width = columns.get(at).copied().unwrap_or_else(|| self.width(used + 2));
                    wrap(cell, width, 0, 0).lines().map(str::to_owned).collect()
                })
                .collect();
            for line in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
                let mut text = String::from("  ");
                for (at, cell) in cells.iter().enumerate() {
                    let part = cell.get(line).map_or("", String::as_str);
                    match columns.get(at) {
                        Some(width) => {
                            let padded = format!("{part:<width$}  ");
                            text.push_str(&if at == 0 { self.layout.paint(Ink::Strong, &padded) } else { padded });
                        }
                        None => text.push_str(part),
                    }
                }
                self.text.push_str(&format!("{}\n", text.trim_end()));
            }
        }
    }

    fn guest(&mut self, kind: GuestKind) {
        let noun = kind.noun();
        let word = if kind == GuestKind::Qemu { "vm" } else { "container" };
        self.head(noun, &format!("`pvefleet explain {word} NAME` says more of each"));
        self.text.push_str(&self.layout.paint(Ink::Strong, "pvefleet's own keys"));
        self.text.push('\n');
        let keys = explain::own_keys(kind);
        let rows: Vec<Vec<String>> = keys.map(|spec| vec![spec.name.to_owned(), spec.doc.to_owned()]).collect();
        self.table(&rows, &[24]);
        self.title("Proxmox's options");
        let options: Vec<(&str, &OptionSpec)> =
            catalog(kind).iter().filter(|(_, spec)| explain::is_settable(&spec.facts)).collect();
        let row = |(name, spec): &(&str, &OptionSpec)| {
            let since = spec.facts.since.as_ref().map_or_else(String::new, |since| format!(" Since {since}."));
            vec![short_range(name, spec), format!("{}{since}", spec.facts.is)]
        };
        self.table(&options.iter().map(row).collect::<Vec<_>>(), &[24]);
        self.title("Shown by Proxmox, and set by nobody");
        let read_only = &catalog(kind).read_only;
        let rows: Vec<Vec<String>> = read_only.iter().map(|(name, is)| vec![name.clone(), is.clone()]).collect();
        self.table(&rows, &[24]);
    }

    fn key(&mut self, kind: GuestKind, spec: &KeySpec) {
        self.head(spec.name, &format!("pvefleet's own key of a {}", kind.noun()));
        self.sentence(spec.doc);
        self.line("Value", &explain::key_type(spec.ty));
        let rows: Vec<Vec<String>> = explain::keys_below(spec)
            .map(|key| vec![key.name.to_owned(), explain::key_type(key.ty), key.doc.to_owned()])
            .collect();
        if !rows.is_empty() {
            self.title("Keys");
            self.table(&rows, &[20, 34]);
        }
        if let Some(example) = explain::key_example(spec.name) {
            self.title("Example");
            self.text.push_str(&format!("  {example}\n"));
        }
    }

    fn option(&mut self, kind: GuestKind, name: &str, spec: &OptionSpec) {
        let facts = &spec.facts;
        self.head(&explain::range_of_names(name, spec), &format!("option of a {}", kind.noun()));
        self.sentence(&facts.is);
        match &spec.value.properties {
            Some(format) if format.keys.len() > 1 => {
                let bare = format.default_key();
                let bare = bare.map_or_else(String::new, |key| format!("; `{key}` may stand without its name"));
                self.line("Value", &format!("sub-keys{bare}"));
            }
            Some(format) => {
                if let Some(key) = format.keys.values().find(|key| key.alias.is_none()) {
                    self.value(&key.value, facts.absent.as_deref());
                }
            }
            None => self.value(&spec.value, facts.absent.as_deref()),
        }
        if spec.value.properties.as_ref().is_some_and(|format| format.keys.len() > 1)
            && let Some(absent) = &facts.absent
        {
            self.line("Default", absent);
        }
        self.line("Change", &change(kind, spec));
        self.line("Set by", &who(facts));
        if let Some(rule) = facts.root_only.filter(|rule| *rule != RootOnly::Always) {
            self.line("Root only", root_only(rule));
        }
        if let Some(kept) = facts.kept {
            self.line("Removal", &format!("refused by Proxmox: {}", kept.proxmox_text(name)));
        }
        self.line("Versions", &versions(facts.since.as_deref(), facts.until.as_deref()));
        if let Some(instead) = &facts.instead {
            let words = if instead.is_empty() { "not set by a manifest" } else { instead };
            self.line("Manifest", words);
        } else if !explain::is_settable(facts) {
            self.line("Manifest", "not set by a manifest: it is a parameter of one call");
        } else if facts.secret {
            self.line("Manifest", "a secret: the name of a variable stands in its place");
        }
        if let Some(format) = spec.value.properties.as_ref().filter(|format| format.keys.len() > 1) {
            self.sub_keys(kind, name, format);
        }
        if let Some(example) = explain::example(kind, name, spec) {
            self.title("Example");
            self.text.push_str(&format!("  {}\n", example.yaml));
            if let Some(text) = example.text {
                self.text.push_str(&format!("  or, in Proxmox's own text\n  {text}\n"));
            }
        }
    }

    fn value(&mut self, value: &ValueSpec, absent: Option<&str>) {
        self.line("Value", &kind_of_value(value));
        let default = value.default.as_deref().map(|default| shown(value, default));
        if let Some(default) = absent.map(str::to_owned).or(default) {
            self.line("Default", &default);
        }
    }

    fn sub_keys(&mut self, kind: GuestKind, name: &str, format: &PropertyFormat) {
        let mut keys: Vec<(&String, &SubKey)> = format.keys.iter().filter(|(_, key)| key.alias.is_none()).collect();
        keys.sort_by_key(|(name, key)| (!key.default_key, key.optional, name.as_str()));
        let row = |(name, key): &(&String, &SubKey)| {
            let mut ty = kind_of_value(&key.value);
            if let Some(default) = &key.value.default {
                ty.push_str(&format!("; default {}", shown(&key.value, default)));
            } else if let Some(absent) = &key.facts.absent {
                ty.push_str(&format!("; default {}", shown(&key.value, absent)));
            }
            let mut is = key.facts.is.clone();
            let notes = [
                (!key.optional).then(|| "Required.".to_owned()),
                key.requires.as_ref().map(|needed| format!("Needs {needed}.")),
                (key.facts.assigned && key.optional).then(|| "Left out, Proxmox fills it in.".to_owned()),
                key.facts.since.as_ref().map(|since| format!("Since {since}.")),
            ];
            for note in notes.into_iter().flatten() {
                is.push(' ');
                is.push_str(&note);
            }
            vec![(*name).clone(), ty, is]
        };
        self.title("Sub-keys");
        self.table(&keys.iter().map(row).collect::<Vec<_>>(), &[20, 34]);
        let aliases = |by_key: bool| {
            let names =
                format.keys.iter().filter(move |(_, key)| key.alias.is_some() && key.key_alias.is_some() == by_key);
            names.map(|(name, key)| (name.clone(), key.alias.clone().unwrap_or_default())).collect::<Vec<_>>()
        };
        let others: Vec<String> = aliases(false).iter().map(|(name, target)| format!("{name} for {target}")).collect();
        if !others.is_empty() {
            self.text.push_str(&format!(
                "\n  {}\n",
                wrap(&format!("Other names: {}.", others.join(", ")), self.layout.width, 2, 2)
            ));
        }
        if is_drive(kind, &explain::first_name(name)) {
            self.title("In a manifest, in place of the volume");
            let is_sized = !matches!(name, "efidisk0" | "tpmstate0");
            let has_media = format.keys.contains_key("media");
            let rows = [
                (true, "storage", "Where a new volume is made."),
                (is_sized, "size", "Size with its unit, 32GiB; a larger one grows what is there."),
                (true, "volume", "A volume that exists."),
                (has_media, "iso", "An image in the CD-ROM drive, local:iso/debian.iso; `volume: none` empties it."),
                (has_media, "cloudinit", "true: the drive that hands cloud-init its data."),
                (true, "new", "true: a new volume, though a detached one may be the one meant."),
            ];
            let rows: Vec<Vec<String>> = rows
                .iter()
                .filter(|(applies, ..)| *applies)
                .map(|(_, name, is)| vec![(*name).to_owned(), (*is).to_owned()])
                .collect();
            self.table(&rows, &[20]);
        }
    }

    fn sub_key(&mut self, kind: GuestKind, name: &str, option: &OptionSpec, key: &str, spec: &SubKey) {
        let of = explain::range_of_names(name, option);
        self.head(&format!("{}.{key}", explain::first_name(name)), &format!("sub-key of {of} of a {}", kind.noun()));
        self.sentence(&spec.facts.is);
        let absent = spec.facts.absent.as_deref().map(|absent| shown(&spec.value, absent));
        self.value(&spec.value, absent.as_deref());
        if !spec.optional {
            self.line("Required", "yes");
        }
        if let Some(needed) = &spec.requires {
            self.line("Needs", needed);
        }
        if spec.facts.assigned {
            self.line("Left out", "Proxmox fills it in");
        }
        let since = spec.facts.since.as_deref().or(option.facts.since.as_deref());
        self.line("Versions", &versions(since, spec.facts.until.as_deref()));
        let word = if kind == GuestKind::Qemu { "vm" } else { "container" };
        self.text.push_str(&format!("\n  `pvefleet explain {word} {}` says the rest.\n", explain::first_name(name)));
    }
}

/// `net0…31`.
fn short_range(name: &str, spec: &OptionSpec) -> String {
    match (name.strip_suffix("[n]"), spec.index) {
        (Some(stem), Some([first, last])) => format!("{stem}{first}…{last}"),
        _ => name.to_owned(),
    }
}

/// Type and range in words.
fn kind_of_value(value: &ValueSpec) -> String {
    if let Some(choices) = &value.choices {
        return match choices.as_slice() {
            [only] => only.clone(),
            many if many.len() > MOST_CHOICES => {
                format!(
                    "one of {} names, such as {}",
                    many.len(),
                    many.iter().take(3).cloned().collect::<Vec<_>>().join(", ")
                )
            }
            [before @ .., last] => format!("{} or {last}", before.join(", ")),
            [] => String::new(),
        };
    }
    let mut text = match (&value.form, value.ty) {
        (Some(form), _) => form.clone(),
        (None, ValueType::Boolean) => "boolean".to_owned(),
        (None, ValueType::Integer) => "whole number".to_owned(),
        (None, ValueType::Number) => "number".to_owned(),
        (None, ValueType::String) => "text".to_owned(),
    };
    // A form says how long its text may be.
    if let Some(range) = value.range().filter(|_| value.form.is_none() || value.ty != ValueType::String) {
        text.push_str(&format!(", {range}"));
    }
    text
}

/// A value as people write it.
fn shown(value: &ValueSpec, text: &str) -> String {
    match value.ty {
        ValueType::Boolean => (parse_boolean(text) == Some(true)).to_string(),
        _ => text.to_owned(),
    }
}

/// What a change costs.
fn change(kind: GuestKind, spec: &OptionSpec) -> String {
    let facts = &spec.facts;
    if facts.unchanged {
        return format!("never, once the {} exists", kind.noun());
    }
    if facts.call || !spec.update {
        return format!("only when the {} is made", kind.noun());
    }
    match facts.takes {
        TakesHold::Now => "at once".to_owned(),
        TakesHold::AtBoot => "read at the next boot".to_owned(),
        TakesHold::UnlessMemory => "at once; with memory in it, before or after, it waits for a reboot".to_owned(),
        TakesHold::UnlessZero => "at once; to or from 0 it waits for a reboot".to_owned(),
        TakesHold::WhenNew => "at once when it is added; otherwise it waits for a reboot".to_owned(),
        TakesHold::Reboot => "waits for a reboot".to_owned(),
        hot => {
            let class = hot.hotplug_class().unwrap_or_default();
            let default = if matches!(class, "cpu" | "memory") { "not by default" } else { "as it has by default" };
            format!("at once where `hotplug` has {class} ({default}); otherwise it waits for a reboot")
        }
    }
}

/// Who may set it.
fn who(facts: &OptionFacts) -> String {
    let mut parts = Vec::new();
    if facts.root_only == Some(RootOnly::Always) {
        parts.push("root@pam only, with its password; no token can".to_owned());
    } else if !facts.privilege.is_empty() {
        parts.push(format!("{} on /vms/ID", facts.privilege.join(" or ")));
    } else {
        parts.push("who may make the guest: VM.Allocate".to_owned());
    }
    parts.extend(facts.also.clone());
    parts.join("; ")
}

const fn root_only(rule: RootOnly) -> &'static str {
    match rule {
        RootOnly::Always => "any value",
        RootOnly::UnlessMapped => "a device that `mapping` does not name; no token can set it",
        RootOnly::UnlessMappedOrSpice => "a device that `mapping` does not name, but for spice; no token can set it",
        RootOnly::UnlessSocket => "anything but socket; no token can set it",
        RootOnly::Path => "a path of the node in place of a volume; no token can set it",
        RootOnly::Features => {
            "any feature but nesting, and in a privileged container nesting too; no token can set them"
        }
    }
}

fn versions(since: Option<&str>, until: Option<&str>) -> String {
    let [oldest, newest] = known_versions().map(version_number);
    match (since, until) {
        (Some(since), _) => format!("Proxmox VE {since} and newer"),
        (None, Some(until)) => format!("Proxmox VE before {until}"),
        (None, None) => format!("Proxmox VE {}.{} to {}.{}", oldest.0, oldest.1, newest.0, newest.1),
    }
}
