//! Reads the files of a manifest into one fleet.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::decode::Problems;
use super::files::{is_manifest, left_out};
use super::keys::{self, Level};
use super::model::{CloneSetting, Cluster, Defaults, Fleet, Guards, Guest, Layer, Setting, Spanned};
use super::references::{self, ReadFile};
use super::source::{self, Key, Mark, Node, NodeKind};
use crate::diagnostics::{Diagnostic, Place};
use crate::pve::value::{GuestKind, Vmid, is_dns_name, parse_vmid_range};

/// Reads a manifest from its files, given as name and text, together and in name order.
///
/// Of several files, those that hold none of a manifest's keys are left out, with a warning. The fleet is
/// there even where there are errors, but then not [`Fleet::complete`], so that resolving it finds the rest
/// of them; it is missing only where a file is no YAML.
///
/// References to files are refused; [`read_with`] reads them.
pub fn read(files: &[(String, String)]) -> (Option<Fleet>, Vec<Diagnostic>) {
    read_with(files, &|_, _| Err("files are not read here".to_owned()))
}

/// Reads a manifest as [`read`] does, and the files that its options refer to by `{file: …}`.
pub fn read_with(files: &[(String, String)], read_file: &ReadFile<'_>) -> (Option<Fleet>, Vec<Diagnostic>) {
    let mut reader = Reader::default();
    let mut files: Vec<&(String, String)> = files.iter().collect();
    files.sort();
    let several = files.len() > 1;
    for (name, text) in &files {
        if several && !is_manifest(text) {
            reader.problems.0.push(left_out(name));
            continue;
        }
        match source::parse(name, text) {
            Ok(root) => reader.file(&root),
            Err(problems) => {
                reader.broken = true;
                reader.problems.0.extend(problems);
            }
        }
    }
    reader.references(read_file);
    reader.finish(files.first().map(|(name, _)| name.as_str()))
}

#[derive(Default)]
struct Reader {
    problems: Problems,
    /// A file is no YAML.
    broken: bool,
    name: Option<Spanned<String>>,
    scope: Option<Spanned<String>>,
    guards: Guards,
    defaults: Defaults,
    profiles: BTreeMap<String, Layer>,
    clusters: BTreeMap<String, Cluster>,
    guests: Vec<Guest>,
}

impl Reader {
    fn finish(mut self, first_file: Option<&str>) -> (Option<Fleet>, Vec<Diagnostic>) {
        let told = self.problems.0.iter().any(|problem| problem.message.ends_with("name of a fleet"));
        // A file that could not be read may well hold the name.
        if self.name.is_none() && !self.broken && !told {
            let mut problem = Diagnostic::error("no-fleet", "the manifest does not say which fleet it is")
                .hint("write `fleet: NAME` at the top; it marks the guests that this manifest owns");
            if let Some(file) = first_file {
                problem = problem.at(&Place { file: file.to_owned(), line: 1, column: 1, length: 1 });
            }
            self.problems.0.push(problem);
        }
        if self.broken {
            return (None, self.problems.0);
        }
        let complete = !self.problems.0.iter().any(Diagnostic::is_error);
        let nowhere = Place { file: String::new(), line: 1, column: 1, length: 1 };
        let fleet = Fleet {
            complete,
            name: self.name.unwrap_or(Spanned { value: String::new(), place: nowhere }),
            scope: self.scope,
            guards: self.guards,
            defaults: self.defaults,
            profiles: self.profiles,
            clusters: self.clusters,
            guests: self.guests,
        };
        (Some(fleet), self.problems.0)
    }

    /// Puts the texts of files in the place of references to them.
    fn references(&mut self, read_file: &ReadFile<'_>) {
        let Self { problems, defaults, profiles, clusters, guests, .. } = self;
        let blocks = std::iter::once(defaults).chain(clusters.values_mut().map(|cluster| &mut cluster.defaults));
        let layers = blocks
            .flat_map(|block| [&mut block.guest, &mut block.vm, &mut block.container])
            .chain(profiles.values_mut())
            .chain(guests.iter_mut().map(|guest| &mut guest.layer));
        for layer in layers {
            layer.options.retain_mut(|(key, node)| references::resolve(problems, &key.text, node, read_file));
        }
    }

    fn file(&mut self, root: &Node) {
        if !matches!(root.kind, NodeKind::Map(_) | NodeKind::Null) {
            let message = format!("a manifest is a map, and this file holds {}", root.noun());
            self.problems.error("wrong-type", message, &root.mark);
            return;
        }
        for (key, node) in self.problems.map("manifest", root) {
            if !self.problems.key(Level::Top, key) {
                continue;
            }
            match key.text.as_str() {
                "fleet" => {
                    if let Some(name) = self.label("fleet", node) {
                        agree(&mut self.problems, "fleet", &mut self.name, name);
                    }
                }
                "scope" => {
                    if let Some(scope) = self.label("scope", node) {
                        agree(&mut self.problems, "scope", &mut self.scope, scope);
                    }
                }
                "defaults" => defaults(&mut self.problems, "", node, &mut self.defaults),
                "profiles" => self.profiles(node),
                "guards" => self.guards(node),
                "clusters" => self.clusters(node),
                "vms" => self.guests(GuestKind::Qemu, "vms", None, node),
                "containers" => self.guests(GuestKind::Lxc, "containers", None, node),
                _ => {}
            }
        }
    }

    /// The fleet's or scope's name: it becomes a tag and part of a mark.
    fn label(&mut self, what: &str, node: &Node) -> Option<Spanned<String>> {
        let value = self.problems.text(what, node)?;
        let valid = value.len() <= 32
            && value.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !valid {
            self.problems.error_hint(
                "wrong-value",
                format!("`{value}` cannot be the name of a {what}"),
                &node.mark,
                "up to 32 lower-case letters, digits and hyphens, no hyphen first",
            );
            return None;
        }
        Some(Spanned { value, place: node.place() })
    }

    fn profiles(&mut self, node: &Node) {
        for (key, node) in self.problems.map("profiles", node) {
            let mut profile =
                Layer { name: format!("profile {}", key.text), place: Some(key.mark.place()), ..Layer::default() };
            layer(&mut self.problems, node, &mut profile);
            match self.profiles.entry(key.text.clone()) {
                Entry::Vacant(entry) => {
                    entry.insert(profile);
                }
                Entry::Occupied(entry) => {
                    let first = entry.get().place.clone();
                    twice(&mut self.problems, &format!("the profile `{}`", key.text), &key.mark, first);
                }
            }
        }
    }

    fn guards(&mut self, node: &Node) {
        for (key, node) in self.problems.map("guards", node) {
            if !self.problems.key(Level::Guards, key) {
                continue;
            }
            let Some(value) = self.problems.number(&key.text, node) else { continue };
            let slot = match key.text.as_str() {
                "max_deletes" => &mut self.guards.max_deletes,
                "max_delete_percent" => &mut self.guards.max_delete_percent,
                _ => &mut self.guards.max_reboots,
            };
            if key.text == "max_delete_percent" && value > 100 {
                self.problems.error("wrong-value", "a percentage is at most 100", &node.mark);
            }
            agree(&mut self.problems, &key.text, slot, Spanned { value, place: node.place() });
        }
    }

    fn clusters(&mut self, node: &Node) {
        for (key, node) in self.problems.map("clusters", node) {
            let cluster = self.clusters.entry(key.text.clone()).or_insert_with(|| Cluster {
                place: key.mark.place(),
                vmids: None,
                defaults: Defaults::default(),
            });
            let mut lists = Vec::new();
            for (inner, node) in self.problems.map(&key.text, node) {
                if !self.problems.key(Level::Cluster, inner) {
                    continue;
                }
                match inner.text.as_str() {
                    "vmids" => {
                        let Some(text) = self.problems.text("vmids", node) else { continue };
                        match parse_vmid_range(&text) {
                            Ok(value) => {
                                let range = Spanned { value, place: node.place() };
                                agree(&mut self.problems, "vmids", &mut cluster.vmids, range);
                            }
                            Err(reason) => self.problems.error("wrong-value", reason, &node.mark),
                        }
                    }
                    "defaults" => {
                        let prefix = format!("clusters.{}.", key.text);
                        defaults(&mut self.problems, &prefix, node, &mut cluster.defaults);
                    }
                    "vms" => lists.push((GuestKind::Qemu, "vms", node)),
                    _ => lists.push((GuestKind::Lxc, "containers", node)),
                }
            }
            for (kind, what, node) in lists {
                self.guests(kind, what, Some(key), node);
            }
        }
    }

    fn guests(&mut self, kind: GuestKind, what: &str, under: Option<&Key>, node: &Node) {
        for item in self.problems.list(what, node) {
            let NodeKind::Map(entries) = &item.kind else {
                let message = format!("a guest is a map, and {} stands here", item.noun());
                self.problems.error_hint("wrong-type", message, &item.mark, "write `- name: …`");
                continue;
            };
            if let Some(guest) = self.guest(kind, under, item, entries) {
                self.guests.push(guest);
            }
        }
    }

    fn guest(&mut self, kind: GuestKind, under: Option<&Key>, item: &Node, entries: &[(Key, Node)]) -> Option<Guest> {
        let problems = &mut self.problems;
        let mut name: Option<Option<Spanned<String>>> = None;
        let cluster = under.map(|key| Spanned { value: key.text.clone(), place: key.mark.place() });
        let mut guest = Guest {
            kind,
            name: Spanned { value: String::new(), place: item.place() },
            vmid: None,
            cluster,
            profiles: Vec::new(),
            adopt: false,
            released: false,
            layer: Layer { name: "guest".to_owned(), place: Some(item.place()), ..Layer::default() },
        };
        for (key, node) in entries {
            match keys::find(Level::Guest, &key.text) {
                Some(spec) if !spec.supported => problems.unsupported(key),
                Some(spec) if spec.level == Level::Guest => match spec.name {
                    "hostname" if kind == GuestKind::Qemu => {
                        problems.error_hint("unknown-key", "a VM has no `hostname`", &key.mark, "write `name`");
                        name.get_or_insert(None);
                    }
                    "name" | "hostname" if name.is_some() => {
                        problems.error(
                            "duplicate-key",
                            "the guest is named twice, by `name` and `hostname`",
                            &key.mark,
                        );
                    }
                    "name" | "hostname" => name = Some(guest_name(problems, spec.name, node)),
                    "vmid" => guest.vmid = vmid(problems, node),
                    "cluster" => named_cluster(problems, under, node, &mut guest),
                    "profiles" => guest.profiles = problems.texts("profiles", node),
                    "adopt" => guest.adopt = problems.boolean("adopt", node).unwrap_or_default(),
                    "released" => guest.released = problems.boolean("released", node).unwrap_or_default(),
                    _ => {}
                },
                _ => layer_entry(problems, key, node, &mut guest.layer),
            }
        }
        if name.is_none() {
            let key = if kind == GuestKind::Lxc { "hostname" } else { "name" };
            let first = entries.first().map_or(&item.mark, |(key, _)| &key.mark);
            problems.error_hint(
                "no-name",
                format!("this {} has no name", kind.noun()),
                first,
                format!("write `name: …`{}", if key == "name" { "" } else { " or `hostname: …`" }),
            );
        }
        guest.name = name??;
        guest.layer.place = Some(guest.name.place.clone());
        Some(guest)
    }
}

fn guest_name(problems: &mut Problems, what: &str, node: &Node) -> Option<Spanned<String>> {
    let value = problems.text(what, node)?;
    if !is_dns_name(&value) || value.len() > 255 {
        problems.error_hint(
            "wrong-value",
            format!("`{value}` cannot be a guest's name"),
            &node.mark,
            "Proxmox takes DNS names: letters, digits and hyphens, in parts joined by dots",
        );
        return None;
    }
    Some(Spanned { value, place: node.place() })
}

fn vmid(problems: &mut Problems, node: &Node) -> Option<Spanned<Vmid>> {
    let text = problems.text("vmid", node)?;
    let value = text.parse::<Vmid>().ok();
    if value.is_none() {
        let message =
            format!("`{text}` is no guest id; they go from {} to {}, without a leading zero", Vmid::MIN, Vmid::MAX);
        problems.error("wrong-value", message, &node.mark);
    }
    value.map(|value| Spanned { value, place: node.place() })
}

fn named_cluster(problems: &mut Problems, under: Option<&Key>, node: &Node, guest: &mut Guest) {
    let Some(value) = problems.text("cluster", node) else { return };
    match under {
        Some(key) if key.text != value => problems.0.push(
            Diagnostic::error(
                "wrong-cluster",
                format!("the guest names the cluster `{value}` and stands under another"),
            )
            .at(&node.place())
            .also(&key.mark.place(), "it stands under this one"),
        ),
        _ => guest.cluster = Some(Spanned { value, place: node.place() }),
    }
}

fn defaults(problems: &mut Problems, prefix: &str, node: &Node, into: &mut Defaults) {
    for (key, node) in problems.map("defaults", node) {
        if !problems.key(Level::Defaults, key) {
            continue;
        }
        let target = match key.text.as_str() {
            "guest" => &mut into.guest,
            "vm" => &mut into.vm,
            _ => &mut into.container,
        };
        target.name = format!("{prefix}defaults.{}", key.text);
        target.place.get_or_insert_with(|| key.mark.place());
        layer(problems, node, target);
    }
}

fn layer(problems: &mut Problems, node: &Node, into: &mut Layer) {
    for (key, node) in problems.map("layer", node) {
        if let Some(spec) = keys::find(Level::Guest, &key.text).filter(|spec| spec.level == Level::Guest) {
            if !spec.supported {
                problems.unsupported(key);
                continue;
            }
            let message = format!("`{}` belongs to a guest itself, not to {}", key.text, into.name);
            let hint = match spec.name {
                "profiles" => "profiles name no profiles; name them in the guest, the weakest first",
                _ => "move it to the guest",
            };
            problems.error_hint("misplaced-key", message, &key.mark, hint);
            continue;
        }
        layer_entry(problems, key, node, into);
    }
}

/// Reads one key that defaults, profiles and guests have in common.
fn layer_entry(problems: &mut Problems, key: &Key, node: &Node, into: &mut Layer) {
    let name = key.text.as_str();
    let Some(spec) = keys::find(Level::Layer, name).filter(|_| !keys::is_option(name, node.text())) else {
        if refuse_templates(problems, node) {
            return;
        }
        if let Some((first, _)) = into.options.iter().find(|(known, _)| known.text == *name) {
            let first = first.mark.place();
            twice(problems, &format!("`{name}` of {}", into.name), &key.mark, Some(first));
        } else {
            into.options.push((key.clone(), node.clone()));
        }
        return;
    };
    if !spec.supported {
        problems.unsupported(key);
        return;
    }
    let texts = |problems: &mut Problems, node: &Node| {
        Some(problems.texts(name, node).into_iter().map(|text| text.value).collect())
    };
    let choice = |problems: &mut Problems, node: &Node| problems.choice(Level::Layer, name, node);
    match name {
        "node" => {
            let value = problems.setting(node, texts);
            once(problems, key, &mut into.node, value);
        }
        "clone" => {
            let value = problems.setting(node, clone);
            once(problems, key, &mut into.clone, value);
        }
        "state" => {
            let value = problems.setting(node, choice);
            once(problems, key, &mut into.state, value);
        }
        "template" => {
            let value = problems.setting(node, |problems, node| problems.boolean(name, node));
            once(problems, key, &mut into.template, value);
        }
        "reboot" => {
            let value = problems.setting(node, choice);
            once(problems, key, &mut into.reboot, value);
        }
        "unlisted" => {
            let value = problems.setting(node, choice);
            once(problems, key, &mut into.unlisted, value);
        }
        "ignore" => {
            let value = problems.setting(node, texts);
            once(problems, key, &mut into.ignore, value);
        }
        "depends_on" => {
            let value = problems.setting(node, texts);
            once(problems, key, &mut into.depends_on, value);
        }
        "pool" => {
            let value = problems.setting(node, |problems, node| problems.text(name, node));
            once(problems, key, &mut into.pool, value);
        }
        _ => {
            let value = problems.setting(node, |problems, node| problems.number(name, node));
            once(problems, key, &mut into.shutdown_timeout, value);
        }
    }
}

fn clone(problems: &mut Problems, node: &Node) -> Option<CloneSetting> {
    let NodeKind::Map(entries) = &node.kind else {
        let message = format!("`clone` is a map, and {} stands here", node.noun());
        problems.error_hint("wrong-type", message, &node.mark, "write `clone: {from: NAME}`");
        return None;
    };
    let mut clone = CloneSetting::default();
    for (key, node) in entries {
        if !problems.key(Level::Clone, key) {
            continue;
        }
        match key.text.as_str() {
            "from" => clone.from = problems.text("from", node).map(|value| Spanned { value, place: node.place() }),
            "full" => clone.full = problems.boolean("full", node),
            _ => clone.storage = problems.text("storage", node).map(|value| Spanned { value, place: node.place() }),
        }
    }
    Some(clone)
}

/// Reports every template in a value; true where there is one.
fn refuse_templates(problems: &mut Problems, node: &Node) -> bool {
    match &node.kind {
        NodeKind::Null => false,
        NodeKind::Scalar { text, .. } => {
            let found = text.contains("{{");
            if found {
                problems.error("unsupported", "templates (`{{ }}`) are not supported by this version", &node.mark);
            }
            found
        }
        NodeKind::List(items) => items.iter().fold(false, |found, item| refuse_templates(problems, item) | found),
        NodeKind::Map(entries) => {
            entries.iter().fold(false, |found, (_, node)| refuse_templates(problems, node) | found)
        }
    }
}

/// Stores a setting that another file may have given already.
fn once<T>(problems: &mut Problems, key: &Key, slot: &mut Setting<T>, value: Setting<T>) {
    match slot {
        Some(first) => {
            let first = first.place.clone();
            twice(problems, &format!("`{}`", key.text), &key.mark, Some(first));
        }
        None => *slot = value,
    }
}

/// Stores a value of which several files may speak as long as they agree.
fn agree<T: PartialEq>(problems: &mut Problems, what: &str, slot: &mut Option<Spanned<T>>, value: Spanned<T>) {
    match slot {
        Some(first) if first.value != value.value => problems.0.push(
            Diagnostic::error("disagreement", format!("`{what}` is given twice, and differs"))
                .at(&value.place)
                .also(&first.place, "first given here"),
        ),
        Some(_) => {}
        None => *slot = Some(value),
    }
}

fn twice(problems: &mut Problems, what: &str, mark: &Mark, first: Option<Place>) {
    let mut problem = Diagnostic::error("duplicate-key", format!("{what} is given twice")).at(&mark.place());
    if let Some(first) = first {
        problem = problem.also(&first, "first given here");
    }
    problems.0.push(problem);
}
