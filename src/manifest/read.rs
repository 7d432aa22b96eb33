//! Reads the files of a manifest into one fleet.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::decode::Problems;
use super::each;
use super::files::{belongs, left_out};
use super::guests::guests;
use super::include::{self, File, ReadInclude};
use super::keys::{self, Level};
use super::layers::{agree, defaults, layer, twice};
use super::model::{Cluster, Defaults, Fleet, Guards, Guest, Layer, Spanned};
use super::references::{self, ReadFile};
use super::source::{self, Node, NodeKind};
use super::template::{self, Scope};
use crate::diagnostics::{Diagnostic, Place};
use crate::pve::schema::nearest;
use crate::pve::value::{GuestKind, parse_vmid_range};

/// What a manifest takes from outside its own text.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    /// Values of variables, stronger than the manifest's own.
    pub vars: &'a [(String, String)],
    /// Fetches the files that options refer to by `{file: …}`.
    pub file: &'a ReadFile<'a>,
    /// Fetches included files.
    pub include: &'a ReadInclude<'a>,
}

impl Default for Outside<'_> {
    /// Nothing.
    fn default() -> Self {
        Self {
            vars: &[],
            file: &|_, _| Err("files are not read here".to_owned()),
            include: &|_| Err("files are not read here".to_owned()),
        }
    }
}

/// Reads a manifest from its files, given as name and text, together and in name order.
///
/// Of several files, those that hold none of a manifest's keys are left out, with a warning. The fleet is
/// there even where there are errors, but then not [`Fleet::complete`], so that resolving it finds the rest
/// of them; it is missing only where a file is no YAML.
///
/// References to other files are refused; [`read_with`] reads them.
pub fn read(files: &[(String, String)]) -> (Option<Fleet>, Vec<Diagnostic>) {
    read_with(files, &Outside::default())
}

/// Reads a manifest as [`read`] does, with what it takes from outside.
pub fn read_with(files: &[(String, String)], outside: &Outside<'_>) -> (Option<Fleet>, Vec<Diagnostic>) {
    let mut reader = Reader::default();
    let mut files: Vec<&(String, String)> = files.iter().collect();
    files.sort();
    let several = files.len() > 1;
    let mut own: Vec<File> = Vec::new();
    for (name, text) in &files {
        let parsed = source::parse(name, text);
        if several && !belongs(parsed.as_ref().ok(), text) {
            reader.problems.list.push(left_out(name));
            continue;
        }
        match parsed {
            Ok(root) => own.push((name.clone(), root)),
            Err(problems) => {
                reader.broken = true;
                reader.problems.list.extend(problems);
            }
        }
    }
    let loaded = include::load(own, outside.include, &mut reader.problems);
    reader.broken |= loaded.broken;
    reader.variables(&loaded, outside.vars);
    for (_, root) in &loaded.included {
        reader.included(root);
    }
    for (_, root) in loaded.own {
        reader.file(&root);
    }
    reader.references(outside.file);
    reader.finish(files.first().map(|(name, _)| name.as_str()))
}

#[derive(Default)]
struct Reader {
    problems: Problems,
    /// A file is no YAML.
    broken: bool,
    name: Option<Spanned<String>>,
    /// A name was given and refused.
    named: bool,
    scope: Option<Spanned<String>>,
    guards: Guards,
    included: Vec<Defaults>,
    defaults: Defaults,
    profiles: BTreeMap<String, Layer>,
    clusters: BTreeMap<String, Cluster>,
    guests: Vec<Guest>,
}

impl Reader {
    fn finish(mut self, first_file: Option<&str>) -> (Option<Fleet>, Vec<Diagnostic>) {
        // A file that could not be read may well hold the name.
        if self.name.is_none() && !self.broken && !self.named {
            let mut problem = Diagnostic::error("no-fleet", "the manifest does not say which fleet it is")
                .hint("write `fleet: NAME` at the top; it marks the guests that this manifest owns");
            if let Some(file) = first_file {
                problem = problem.at(&Place { file: (*file).into(), line: 1, column: 1, length: 1 });
            }
            self.problems.list.push(problem);
        }
        let problems = without_doubles(self.problems.list);
        if self.broken {
            return (None, problems);
        }
        let complete = !problems.iter().any(Diagnostic::is_error);
        let nowhere = Place { file: "".into(), line: 1, column: 1, length: 1 };
        let fleet = Fleet {
            complete,
            name: self.name.unwrap_or(Spanned { value: String::new(), place: nowhere }),
            scope: self.scope,
            guards: self.guards,
            included: self.included,
            defaults: self.defaults,
            profiles: self.profiles,
            clusters: self.clusters,
            guests: self.guests,
        };
        (Some(fleet), problems)
    }

    /// Gathers the variables of all files, and those given from outside.
    fn variables(&mut self, loaded: &include::Loaded, given: &[(String, String)]) {
        let mut known: BTreeMap<String, (Node, u8)> = BTreeMap::new();
        // Of included files a later one is stronger, so each has a rank of its own; there are at most 64.
        let included = loaded.included.iter().enumerate().map(|(rank, file)| (u8::try_from(rank).unwrap_or(254), file));
        for (rank, (_, root)) in included.chain(loaded.own.iter().map(|file| (255, file))) {
            if let Some(node) = root.get("vars") {
                each::variables(&mut self.problems, node, rank, &mut known);
            }
        }
        let mut values: BTreeMap<_, _> =
            known.iter().map(|(name, (node, _))| (name.clone(), template::to_value(node))).collect();
        for (name, text) in given {
            match values.get_mut(name) {
                Some(value) => *value = template::typed(text),
                None => {
                    let message = format!("--var {name}: the manifest has no such variable");
                    let hint = match nearest(name, known.keys()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("declare it: `vars: {{{name}: null}}`"),
                    };
                    self.problems.list.push(Diagnostic::error("unknown-variable", message).hint(hint));
                }
            }
        }
        self.problems.scope = Scope::new(values);
    }

    /// Puts the texts of files in the place of references to them.
    fn references(&mut self, read_file: &ReadFile<'_>) {
        let Self { problems, included, defaults, profiles, clusters, guests, .. } = self;
        let blocks = included
            .iter_mut()
            .chain(std::iter::once(defaults))
            .chain(clusters.values_mut().map(|cluster| &mut cluster.defaults));
        let layers = blocks
            .flat_map(|block| [&mut block.guest, &mut block.vm, &mut block.container])
            .chain(profiles.values_mut())
            .chain(guests.iter_mut().map(|guest| &mut guest.layer));
        for layer in layers {
            for (key, node) in &mut layer.options {
                references::resolve(problems, &key.text, node, read_file);
            }
        }
    }

    /// The entries of a file; none, with a problem, where it is no map.
    fn entries<'n>(&mut self, root: &'n Node) -> &'n [(source::Key, Node)] {
        if !matches!(root.kind, NodeKind::Map(_) | NodeKind::Null) {
            let message = format!("a manifest is a map, and this file holds {}", root.noun());
            self.problems.error("wrong-type", message, &root.mark);
            // That it names no fleet goes without saying.
            self.named = true;
            return &[];
        }
        self.problems.literal_keys(root);
        self.problems.map("manifest", root)
    }

    fn included(&mut self, root: &Node) {
        let mut block = Defaults::default();
        for (key, node) in self.entries(root) {
            match key.text.as_str() {
                // Both were read before.
                "include" | "vars" => {}
                "defaults" => defaults(&mut self.problems, "", node, &mut block),
                "profiles" => self.profiles(node),
                _ if self.problems.key(Level::Top, key) => {
                    let message = format!("`{}` cannot stand in an included file", key.text);
                    let hint = "an included file holds only include, vars, defaults and profiles";
                    self.problems.error_hint("include", message, &key.mark, hint);
                }
                _ => {}
            }
        }
        self.included.push(block);
    }

    fn file(&mut self, root: &Node) {
        for (key, node) in self.entries(root) {
            if !self.problems.key(Level::Top, key) {
                continue;
            }
            let problems = &mut self.problems;
            match key.text.as_str() {
                "fleet" => {
                    self.named = true;
                    if let Some(name) = problems.literal("`fleet`", node).then(|| label(problems, "fleet", node)) {
                        name.into_iter().for_each(|name| agree(problems, "fleet", &mut self.name, name));
                    }
                }
                "scope" => {
                    let node = problems.render(node);
                    if let Some(scope) = label(problems, "scope", &node) {
                        agree(problems, "scope", &mut self.scope, scope);
                    }
                }
                "defaults" => defaults(problems, "", node, &mut self.defaults),
                "profiles" => self.profiles(node),
                "guards" => self.guards(node),
                "clusters" => self.clusters(node),
                "vms" => guests(problems, GuestKind::Qemu, "vms", None, node, &mut self.guests),
                "containers" => guests(problems, GuestKind::Lxc, "containers", None, node, &mut self.guests),
                _ => {}
            }
        }
    }

    fn profiles(&mut self, node: &Node) {
        for (key, node) in self.problems.map("profiles", node) {
            let name = format!("profile {}", key.text);
            let mut profile = Layer { name: name.clone(), place: Some(key.mark.place()), ..Layer::default() };
            layer(&mut self.problems, &name, node, &mut profile);
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
            let node = &*self.problems.render(node);
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
            if keys::find(Level::Cluster, &key.text).is_some() {
                let message = format!("`{}` stands beside the clusters, and belongs into one", key.text);
                self.problems.error_hint("misplaced-key", message, &key.mark, "indent it below its cluster's name");
                continue;
            }
            let cluster = self.clusters.entry(key.text.clone()).or_insert_with(|| Cluster {
                place: key.mark.place(),
                vmids: None,
                defaults: Defaults::default(),
            });
            for (inner, node) in self.problems.map(&key.text, node) {
                let problems = &mut self.problems;
                if !problems.key(Level::Cluster, inner) {
                    continue;
                }
                match inner.text.as_str() {
                    "vmids" => {
                        let node = problems.render(node);
                        let Some(text) = problems.text("vmids", &node) else { continue };
                        match parse_vmid_range(&text) {
                            Ok(value) => {
                                let range = Spanned { value, place: node.place() };
                                agree(problems, "vmids", &mut cluster.vmids, range);
                            }
                            Err(reason) => problems.error("wrong-value", reason, &node.mark),
                        }
                    }
                    "defaults" => {
                        let prefix = format!("clusters.{}.", key.text);
                        defaults(problems, &prefix, node, &mut cluster.defaults);
                    }
                    "vms" => guests(problems, GuestKind::Qemu, "vms", Some(key), node, &mut self.guests),
                    _ => guests(problems, GuestKind::Lxc, "containers", Some(key), node, &mut self.guests),
                }
            }
        }
    }
}

/// The fleet's or scope's name: it becomes a tag and part of a mark.
fn label(problems: &mut Problems, what: &str, node: &Node) -> Option<Spanned<String>> {
    let name = problems.spanned(what, node)?;
    let value = &name.value;
    let valid = value.len() <= 32
        && value.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !valid {
        let message = format!("`{value}` cannot be the name of a {what}");
        let hint = "up to 32 lower-case letters, digits and hyphens, no hyphen first";
        problems.error_hint("wrong-value", message, &node.mark, hint);
        return None;
    }
    Some(name)
}

/// Drops what is said twice of one place: the guests of one `each` are read from one text, and the first stands for all.
pub(crate) fn without_doubles(problems: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut seen: BTreeSet<(String, Option<Place>, String)> = BTreeSet::new();
    problems
        .into_iter()
        .filter(|problem| {
            let message = if problem.is_of_instance() { String::new() } else { problem.message.clone() };
            seen.insert((problem.code.clone(), problem.place.clone(), message))
        })
        .collect()
}
