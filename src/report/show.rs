//! The resolved fleet as a manifest: what every template, profile and default comes to, each guest under its cluster.
//!
//! Read again, it gives the same fleet. Secrets that stand in the manifest itself are left out.

use std::collections::BTreeMap;

use super::yaml::{Entry, Tree};
use crate::desired::{
    CloneFrom, Desired, DesiredCluster, DesiredGuest, DesiredOption, Drive, DriveForm, HaState, OptionValue, Unlisted,
};
use crate::diagnostics::Place;
use crate::pve::http::percent_decode;
use crate::pve::property;
use crate::pve::schema::{ValueSpec, ValueType, catalog};
use crate::pve::text::encode_keys;
use crate::pve::value::{GuestKind, Size, parse_tags};

/// The profile of guests that have both our `reboot` and Proxmox's: one map has room for one of them.
const MAY_REBOOT: &str = "may-reboot";

/// Which guests are shown, and whether the origin of values is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Show<'a> {
    /// Only this guest, `GUEST` or `CLUSTER/GUEST`.
    pub guest: Option<&'a str>,
    /// Say where each value came from.
    pub origin: bool,
}

/// The fleet as the entries of a manifest; nothing where no guest has the name asked for.
pub fn entries(desired: &Desired, show: Show<'_>) -> Option<Vec<Entry>> {
    let wanted = |cluster: &str, guest: &DesiredGuest| match show.guest {
        None => true,
        Some(wanted) => match wanted.split_once('/') {
            Some((of, name)) => of == cluster && name == guest.name,
            None => wanted == guest.name,
        },
    };
    let mut found = show.guest.is_none();
    let mut entries = vec![Entry::new("fleet", text(&desired.fleet))];
    if !desired.scope.is_empty() {
        entries.push(Entry::new("scope", text(&desired.scope)));
    }
    let guards = desired.guards;
    let number = |key, value: u32| Entry::new(key, Tree::Number(value.into()));
    entries.push(Entry::new(
        "guards",
        Tree::Inline(vec![
            number("max_deletes", guards.max_deletes),
            number("max_delete_percent", guards.max_delete_percent),
            number("max_reboots", guards.max_reboots),
        ]),
    ));
    let mut clusters = Vec::new();
    let mut routed: BTreeMap<GuestKind, Vec<Tree>> = BTreeMap::new();
    for (name, cluster) in &desired.clusters {
        let mut of_kind: BTreeMap<GuestKind, Vec<Tree>> = BTreeMap::new();
        for one in cluster.guests.iter().filter(|guest| wanted(name, guest)) {
            found = true;
            // A cluster without a key of its own keeps none: orphans are not sought there.
            let (into, named) =
                if cluster.declared { (&mut of_kind, None) } else { (&mut routed, Some(name.as_str())) };
            into.entry(one.kind).or_default().push(Tree::Map(guest(one, named, show.origin)));
        }
        if cluster.declared && (show.guest.is_none() || !of_kind.is_empty()) {
            clusters.push(Entry::new(name, Tree::Map(of_cluster(cluster, of_kind))));
        }
    }
    let mut guests = desired.clusters.values().flat_map(|cluster| &cluster.guests);
    if guests.any(|guest| guest.reboot && guest.options.contains_key("reboot")) {
        let allow = Tree::Inline(vec![Entry::new("reboot", Tree::Text("allow".to_owned()))]);
        entries.push(Entry::new("profiles", Tree::Map(vec![Entry::new(MAY_REBOOT, allow)])));
    }
    if !clusters.is_empty() {
        entries.push(Entry::new("clusters", Tree::Map(clusters)));
    }
    entries.extend(lists(routed));
    found.then_some(entries)
}

fn of_cluster(cluster: &DesiredCluster, guests: BTreeMap<GuestKind, Vec<Tree>>) -> Vec<Entry> {
    let range = cluster.vmids.map(|range| Entry::new("vmids", text(&format!("{}-{}", range.first, range.last))));
    range.into_iter().chain(lists(guests)).collect()
}

fn lists(guests: BTreeMap<GuestKind, Vec<Tree>>) -> impl Iterator<Item = Entry> {
    guests.into_iter().map(|(kind, guests)| {
        let key = if kind == GuestKind::Qemu { "vms" } else { "containers" };
        Entry::new(key, Tree::Items(guests))
    })
}

fn text(text: &str) -> Tree {
    // A literal `{{` would be read as a template.
    Tree::Text(text.replace("{{", "{{ '{{' }}"))
}

fn texts<'a>(items: impl IntoIterator<Item = &'a String>) -> Tree {
    Tree::List(items.into_iter().map(|item| text(item)).collect())
}

fn origin_of(layer: &str, place: &Place) -> String {
    format!("{layer}, {place}")
}

/// One guest's entries.
fn guest(guest: &DesiredGuest, cluster: Option<&str>, origin: bool) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut put = |key: &'static str, value: Option<Tree>| {
        entries.extend(value.map(|value| {
            let from = guest.origins.get(key).map(|from| origin_of(&from.layer, &from.place));
            Entry { comment: from.filter(|_| origin), ..Entry::new(key, value) }
        }));
    };
    let flag = |value: bool| value.then_some(Tree::Boolean(true));
    let word = |word: &str| Tree::Text(word.to_owned());
    put("name", Some(text(&guest.name)));
    put("vmid", guest.vmid.map(|vmid| Tree::Number(vmid.get().into())));
    put("cluster", cluster.map(text));
    put("node", (!guest.nodes.is_empty()).then(|| texts(&guest.nodes)));
    put(
        "clone",
        guest.clone.as_ref().map(|clone| {
            let from = match &clone.from {
                CloneFrom::Named(name) => text(name),
                CloneFrom::Tagged(tag) => Tree::Map(vec![Entry::new("tag", text(tag))]),
            };
            let mut keys = vec![Entry::new("from", from)];
            keys.extend(clone.full.map(|full| Entry::new("full", Tree::Boolean(full))));
            keys.extend(clone.storage.as_ref().map(|storage| Entry::new("storage", text(storage))));
            keys.extend(clone.snapname.as_ref().map(|name| Entry::new("snapname", text(&name.value))));
            Tree::Inline(keys)
        }),
    );
    put("archive", guest.archive.as_ref().map(|archive| text(&archive.value)));
    put("renamed_from", guest.renamed_from.as_ref().map(|name| text(&name.value)));
    put("recreate", guest.recreate.as_ref().map(|recreate| Tree::Boolean(recreate.value)));
    put("adopt", flag(guest.adopt));
    put("released", flag(guest.released));
    put(
        "state",
        guest.state.map(|state| word(if state == crate::desired::Power::Running { "running" } else { "stopped" })),
    );
    put("template", flag(guest.template));
    let both = guest.reboot && guest.options.contains_key("reboot");
    put("profiles", both.then(|| Tree::List(vec![word(MAY_REBOOT)])));
    put("reboot", (guest.reboot && !both).then(|| word("allow")));
    put(
        "unlisted",
        match guest.unlisted {
            Unlisted::Report => None,
            Unlisted::Remove => Some(word("remove")),
            Unlisted::Ignore => Some(word("ignore")),
        },
    );
    put("ignore", (!guest.ignore.is_empty()).then(|| texts(&guest.ignore)));
    put("depends_on", (!guest.depends_on.is_empty()).then(|| texts(&guest.depends_on)));
    put("pool", guest.pool.as_deref().map(text));
    put("shutdown_timeout", guest.shutdown_timeout.map(|seconds| Tree::Number(seconds.into())));
    put("ha", guest.ha.as_ref().map(|ha| high_availability(&ha.value)));
    for (name, option) in &guest.options {
        let value = value(guest.kind, name, option);
        let comment = match &value {
            None => Some(": a secret that stands in the manifest".to_owned()),
            Some(_) => origin.then(|| origin_of(&option.layer, &option.place)),
        };
        entries.push(Entry { key: name.clone(), value, comment });
    }
    entries
}

fn high_availability(ha: &HaState) -> Tree {
    let HaState::Managed { state, max_restart, max_relocate, group } = ha else { return Tree::Null };
    let number = |key: &str, value: &Option<u32>| value.map(|value| Entry::new(key, Tree::Number(value.into())));
    let mut keys: Vec<Entry> = state.iter().map(|state| Entry::new("state", text(state))).collect();
    keys.extend(number("max_restart", max_restart));
    keys.extend(number("max_relocate", max_relocate));
    keys.extend(group.iter().map(|group| Entry::new("group", text(group))));
    Tree::Inline(keys)
}

/// An option's value; nothing for a secret that stands in the manifest.
fn value(kind: GuestKind, name: &str, option: &DesiredOption) -> Option<Tree> {
    let spec = catalog(kind).find(name);
    Some(match &option.value {
        OptionValue::Absent => Tree::Null,
        OptionValue::Text(words) => match (kind, name) {
            (_, "tags") => Tree::List(parse_tags(words).iter().map(|tag| text(tag)).collect()),
            (GuestKind::Qemu, "sshkeys") => {
                let decoded = percent_decode(words);
                if encode_keys(&decoded) == *words { text(&decoded) } else { text(words) }
            }
            _ => scalar(spec.map(|spec| &spec.value), words),
        },
        OptionValue::Secret(reference) => {
            if reference.written_at().is_some() {
                return None;
            }
            let mut keys = vec![Entry::new("env", Tree::Text(reference.env.clone()))];
            keys.extend(reference.version.map(|version| Entry::new("version", Tree::Number(version.into()))));
            Tree::Inline(keys)
        }
        OptionValue::Properties { whole: true, keys } => text(&whole(kind, name, keys)),
        OptionValue::Properties { whole: false, keys } => Tree::Inline(sub_keys(kind, name, keys).collect()),
        OptionValue::Drive(drive) if drive.whole => text(&drive_text(kind, name, drive)),
        OptionValue::Drive(drive) => Tree::Inline(drive_keys(kind, name, drive)),
    })
}

fn scalar(spec: Option<&ValueSpec>, words: &str) -> Tree {
    match (spec.map(|spec| spec.ty), words) {
        (Some(ValueType::Boolean), "1") => Tree::Boolean(true),
        (Some(ValueType::Boolean), "0") => Tree::Boolean(false),
        _ => text(words),
    }
}

fn whole(kind: GuestKind, name: &str, keys: &BTreeMap<String, Option<String>>) -> String {
    let given = keys.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect();
    let format = catalog(kind).find(name).and_then(|spec| spec.value.properties.as_ref());
    format.map(|format| property::print(&given, format)).unwrap_or_default()
}

fn sub_keys<'a>(
    kind: GuestKind,
    name: &str,
    keys: &'a BTreeMap<String, Option<String>>,
) -> impl Iterator<Item = Entry> + use<'a> {
    let format = catalog(kind).find(name).and_then(|spec| spec.value.properties.as_ref());
    keys.iter().map(move |(key, value)| {
        let spec = format.and_then(|format| format.keys.get(key)).map(|key| &key.value);
        Entry::new(key, value.as_deref().map_or(Tree::Null, |value| scalar(spec, value)))
    })
}

fn drive_keys(kind: GuestKind, name: &str, drive: &Drive) -> Vec<Entry> {
    let mut entries = Vec::new();
    match &drive.form {
        DriveForm::Allocate { storage } => entries.push(Entry::new("storage", text(storage))),
        DriveForm::Inherited => {}
        DriveForm::Volume(volume) => entries.push(Entry::new("volume", text(volume))),
        DriveForm::Iso(image) => entries.push(Entry::new("iso", text(image))),
        DriveForm::CloudInit { storage } => {
            entries.push(Entry::new("cloudinit", Tree::Boolean(true)));
            entries.push(Entry::new("storage", text(storage)));
        }
        DriveForm::Empty => entries.push(Entry::new("volume", text("none"))),
    }
    entries.extend(drive.import.as_ref().map(|image| Entry::new("import", text(&image.value))));
    entries.extend(drive.moved_from.as_ref().map(|from| Entry::new("moved_from", text(&from.value))));
    entries.extend(drive.size.map(|size| Entry::new("size", Tree::Text(size_text(size)))));
    entries.extend(drive.new.then(|| Entry::new("new", Tree::Boolean(true))));
    entries.extend(sub_keys(kind, name, &drive.keys));
    entries
}

fn size_text(size: Size) -> String {
    match size.to_string() {
        printed if printed.ends_with(|c: char| c.is_ascii_digit()) => format!("{}G", gibibytes(size)),
        printed => format!("{printed}iB"),
    }
}

/// The number of GiB, exactly.
fn gibibytes(size: Size) -> String {
    let mut rest = size.0 % Size::GIB;
    let mut digits = String::new();
    while rest > 0 {
        rest *= 10;
        digits.push_str(&(rest / Size::GIB).to_string());
        rest %= Size::GIB;
    }
    let whole = size.0 / Size::GIB;
    if digits.is_empty() { whole.to_string() } else { format!("{whole}.{digits}") }
}

/// A drive as Proxmox's own text.
fn drive_text(kind: GuestKind, name: &str, drive: &Drive) -> String {
    let volume_key = if kind == GuestKind::Qemu { "file" } else { "volume" };
    let mut keys = drive.keys.clone();
    let mut media = false;
    let mut size = drive.size;
    let volume = match &drive.form {
        DriveForm::Allocate { storage } => {
            let number = size.take().map_or_else(|| "0".to_owned(), gibibytes);
            format!("{storage}:{number}")
        }
        DriveForm::Inherited => String::new(),
        DriveForm::Volume(volume) => volume.clone(),
        DriveForm::Iso(image) => {
            media = true;
            image.clone()
        }
        DriveForm::CloudInit { storage } => format!("{storage}:cloudinit"),
        DriveForm::Empty => {
            media = true;
            "none".to_owned()
        }
    };
    keys.insert(volume_key.to_owned(), Some(volume));
    if media {
        keys.insert("media".to_owned(), Some("cdrom".to_owned()));
    }
    if let Some(size) = size {
        keys.insert("size".to_owned(), Some(size.to_string()));
    }
    if let Some(image) = &drive.import {
        keys.insert("import-from".to_owned(), Some(image.value.clone()));
    }
    whole(kind, name, &keys)
}

/// Where each value of the shown guests came from, for programs: by cluster, guest and option.
pub fn origins(desired: &Desired, show: Show<'_>) -> serde_json::Value {
    let mut all: BTreeMap<&str, BTreeMap<&str, BTreeMap<&str, serde_json::Value>>> = BTreeMap::new();
    for (name, cluster) in &desired.clusters {
        for guest in &cluster.guests {
            let full = format!("{name}/{}", guest.name);
            if show.guest.is_some_and(|wanted| wanted != guest.name && wanted != full) {
                continue;
            }
            let own = guest.origins.iter().map(|(key, from)| (*key, &from.layer, &from.place));
            let options = guest.options.iter().map(|(key, option)| (key.as_str(), &option.layer, &option.place));
            let of_guest = all.entry(name).or_default().entry(&guest.name).or_default();
            of_guest.extend(
                own.chain(options)
                    .map(|(key, layer, place)| (key, serde_json::json!({"layer": layer, "place": place}))),
            );
        }
    }
    serde_json::json!(all)
}
