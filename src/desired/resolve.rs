//! From the fleet as written to the fleet as it should be: routed, merged, checked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::checks;
use super::merge::{Merged, lay};
use super::model::{
    CloneSource, Desired, DesiredCluster, DesiredGuest, DesiredOption, Guards, HaState, OptionValue, Origin, Power,
    Routing, Unlisted,
};
use super::options::{self, Refusal};
use super::values::{self, Context, Draft};
use crate::clusters::{Registry, SelectError, VmidRange};
use crate::diagnostics::{Diagnostic, Place};
use crate::manifest::model::{CloneSetting, Defaults, Fleet, Guest, HaSetting, Layer, Setting, Spanned};
use crate::manifest::source::{Key, Node, NodeKind};
use crate::manifest::without_doubles;
use crate::pve::property::{Properties, PropertyError};
use crate::pve::schema::{catalog, nearest};
use crate::pve::value::{GuestKind, Vmid};

/// Routes every guest, merges its layers and checks the result.
///
/// The fleet is missing where one of the problems is an error, or reading the manifest met one; the problems
/// are sorted by place.
pub fn resolve(fleet: &Fleet, registry: &Registry) -> (Option<Desired>, Vec<Diagnostic>) {
    let mut resolver =
        Resolver { fleet, registry, problems: Vec::new(), used: BTreeSet::new(), shared: BTreeMap::new() };
    let desired = resolver.fleet();
    let problems = tidy(resolver.problems);
    let sound = fleet.complete && !problems.iter().any(Diagnostic::is_error);
    (sound.then_some(desired), problems)
}

/// Sorts by place and drops doubles: a layer is read once for each guest that it reaches.
fn tidy(problems: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut tidy = without_doubles(problems);
    tidy.sort_by(|a, b| a.place.cmp(&b.place));
    tidy
}

struct Resolver<'a> {
    fleet: &'a Fleet,
    registry: &'a Registry,
    problems: Vec<Diagnostic>,
    /// The layers that reach a guest, by name and place.
    used: BTreeSet<(&'a str, &'a Option<Place>)>,
    /// What the guest before had, by option: the next one mostly has the same.
    shared: BTreeMap<String, Arc<DesiredOption>>,
}

impl<'a> Resolver<'a> {
    fn fleet(&mut self) -> Desired {
        let fleet = self.fleet;
        let mut clusters: BTreeMap<String, DesiredCluster> = BTreeMap::new();
        for (name, cluster) in &fleet.clusters {
            if self.registry.get(name).is_some() {
                self.cluster(&mut clusters, name).declared = true;
            } else {
                self.unknown_cluster(name, &cluster.place);
            }
        }
        let mut seen: BTreeMap<(String, String), &Guest> = BTreeMap::new();
        let mut ids: BTreeMap<(String, Vmid), &Guest> = BTreeMap::new();
        for guest in &fleet.guests {
            let routed = self.route(guest);
            if let Some((cluster, _)) = &routed {
                self.same_name(&mut seen, cluster, guest);
                self.same_id(&mut ids, cluster, guest);
            }
            let cluster = routed.as_ref().map(|(cluster, _)| cluster.as_str());
            let before = self.problems.len();
            let resolved = self.guest(guest, cluster);
            name_instance(guest, &mut self.problems[before..]);
            if let Some((cluster, routing)) = routed {
                self.cluster(&mut clusters, &cluster).guests.push(DesiredGuest { routing, ..resolved });
            }
        }
        self.unused_layers();
        for (name, cluster) in &mut clusters {
            cluster.guests.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
            checks::dependencies(name, cluster, fleet.complete, &mut self.problems);
        }
        let limit = |given: &Option<Spanned<u32>>, default| given.as_ref().map_or(default, |given| given.value);
        let defaults = Guards::default();
        Desired {
            fleet: fleet.name.value.clone(),
            scope: fleet.scope.as_ref().map(|scope| scope.value.clone()).unwrap_or_default(),
            guards: Guards {
                max_deletes: limit(&fleet.guards.max_deletes, defaults.max_deletes),
                max_delete_percent: limit(&fleet.guards.max_delete_percent, defaults.max_delete_percent),
                max_reboots: limit(&fleet.guards.max_reboots, defaults.max_reboots),
            },
            clusters,
        }
    }

    /// The cluster's entry, made from its settings where it is new.
    fn cluster<'c>(&self, clusters: &'c mut BTreeMap<String, DesiredCluster>, name: &str) -> &'c mut DesiredCluster {
        clusters.entry(name.to_owned()).or_insert_with(|| {
            let written = self.fleet.clusters.get(name).and_then(|cluster| cluster.vmids.as_ref());
            let written = written.map(|range| VmidRange { first: range.value.0, last: range.value.1 });
            let range = self.registry.ranges.iter().find(|(_, owner)| owner == name).map(|(range, _)| *range);
            let settings = self.registry.get(name);
            DesiredCluster {
                declared: false,
                vmids: written.or(range),
                default_node: settings.and_then(|settings| settings.default_node.clone()),
                default_storage: settings.and_then(|settings| settings.default_storage.clone()),
                default_bridge: settings.and_then(|settings| settings.default_bridge.clone()),
                access: settings.map(|settings| settings.access).unwrap_or_default(),
                as_root: settings.is_some_and(|settings| settings.credentials.as_root()),
                guests: Vec::new(),
            }
        })
    }

    /// The option as the guest before had it, where that is the same.
    fn share(&mut self, name: &str, option: DesiredOption) -> Arc<DesiredOption> {
        if let Some(known) = self.shared.get(name).filter(|known| ***known == option) {
            return Arc::clone(known);
        }
        let option = Arc::new(option);
        self.shared.insert(name.to_owned(), Arc::clone(&option));
        option
    }

    fn unknown_cluster(&mut self, name: &str, place: &Place) {
        let known: Vec<&str> = self.registry.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        let hint = match nearest(name, &known) {
            Some(near) => format!("did you mean `{near}`? configured: {}", known.join(", ")),
            None => format!("configured: {}", known.join(", ")),
        };
        let message = format!("the cluster `{name}` is not configured");
        self.problems.push(Diagnostic::error("unknown-cluster", message).at(place).hint(hint));
    }

    fn route(&mut self, guest: &Guest) -> Option<(String, Routing)> {
        let named = guest.cluster.as_ref();
        let vmid = guest.vmid.as_ref().map(|vmid| vmid.value);
        match self.registry.select(named.map(|name| name.value.as_str()), Some(&guest.name.value), vmid) {
            Ok(selection) => Some((selection.cluster, selection.routing)),
            Err(SelectError::ClusterNotFound(name)) => {
                self.unknown_cluster(&name, named.map_or(&guest.name.place, |name| &name.place));
                None
            }
            Err(error) => {
                self.problems.push(
                    Diagnostic::error("ambiguous-cluster", error.to_string())
                        .at(&guest.name.place)
                        .hint("name it with `cluster:`, or put the guest under the cluster's key"),
                );
                None
            }
        }
    }

    fn same_name(&mut self, seen: &mut BTreeMap<(String, String), &'a Guest>, cluster: &str, guest: &'a Guest) {
        let name = &guest.name.value;
        let key = (cluster.to_owned(), name.to_ascii_lowercase());
        let Some(first) = seen.get(&key) else {
            seen.insert(key, guest);
            return;
        };
        let place = &first.name.place;
        let told = |problem: &Diagnostic| problem.code == "same-guest" && problem.place.as_ref() == Some(place);
        // Of many guests that one `each` makes, two are enough.
        if *place == guest.name.place && self.problems.iter().any(told) {
            return;
        }
        self.problems.push(if first.kind != guest.kind {
            Diagnostic::error("same-name", format!("a VM and a container are both called `{name}` in {cluster}"))
                .at(&guest.name.place)
                .also(place, "the other one")
        } else if let (Some(one), Some(other), true) = (&first.instance, &guest.instance, *place == guest.name.place) {
            let message = format!(
                "the {} `{name}` is made twice in {cluster}, with {} and with {}",
                guest.kind.noun(),
                one.words,
                other.words
            );
            Diagnostic::error("same-guest", message)
                .at(place)
                .hint("put the variable of `each` into the name, as a template")
        } else {
            Diagnostic::error("same-guest", format!("the {} `{name}` stands twice in {cluster}", guest.kind.noun()))
                .at(&guest.name.place)
                .also(place, "first here")
        });
    }

    fn same_id(&mut self, ids: &mut BTreeMap<(String, Vmid), &'a Guest>, cluster: &str, guest: &'a Guest) {
        let Some(vmid) = &guest.vmid else { return };
        let Some(first) = ids.insert((cluster.to_owned(), vmid.value), guest) else { return };
        let with = |guest: &Guest| match &guest.instance {
            Some(instance) => format!("`{}` ({})", guest.name.value, instance.words),
            None => format!("`{}`", guest.name.value),
        };
        let message = format!("{} and {} both claim the id {} in {cluster}", with(first), with(guest), vmid.value);
        let problem = Diagnostic::error("same-vmid", message).at(&vmid.place);
        self.problems.push(match &first.vmid {
            Some(other) if other.place == vmid.place => problem.hint("make it a template of the variable of `each`"),
            Some(other) => problem.also(&other.place, "the other one"),
            None => problem,
        });
    }

    fn guest(&mut self, guest: &'a Guest, cluster: Option<&str>) -> DesiredGuest {
        let layers = self.layers(guest, cluster);
        let mut merged: BTreeMap<String, Merged> = BTreeMap::new();
        for (layer, named_at) in &layers {
            self.used.insert((&layer.name, &layer.place));
            for (key, node) in &layer.options {
                let at_guest = |problem, other_kind| blame(problem, other_kind, guest, layer, *named_at, key);
                // An option that was refused is still said, so that it is not reported missing as well.
                let draft = self.option(guest.kind, key, node, at_guest).unwrap_or(Draft::Refused);
                let place = node_place(key, node);
                lay(&mut merged, &key.text, Merged { draft, place, layer: layer.name.clone() });
            }
        }
        let mut strongest = Strongest::new(layers.iter().map(|(layer, _)| *layer).collect(), guest);
        let clone = self.clone_source(&mut strongest, guest);
        let default_storage =
            cluster.and_then(|name| self.registry.get(name)).and_then(|settings| settings.default_storage.as_deref());
        let brought = clone.is_some() || guest.adopt || guest.archive.is_some();
        let mut desired = BTreeMap::new();
        for (name, merged) in merged {
            let place = merged.place.clone();
            match finish(guest.kind, &name, merged, brought, default_storage) {
                Ok(option) => {
                    let option = self.share(&name, option);
                    desired.insert(name, option);
                }
                Err(lacking) => {
                    let value = OptionValue::Text(String::new());
                    let refused = DesiredOption { value, place: place.clone(), layer: String::new() };
                    desired.insert(name.clone(), Arc::new(refused));
                    self.problems.extend(lacking.into_iter().map(|(message, hint)| {
                        let problem = Diagnostic::error("incomplete", format!("`{name}` {message}")).at(&place);
                        let problem = if hint.is_empty() { problem } else { problem.hint(hint) };
                        problem.also(&guest.name.place, "of this guest")
                    }));
                }
            }
        }
        let resolved = DesiredGuest {
            kind: guest.kind,
            name: guest.name.value.clone(),
            vmid: guest.vmid.as_ref().map(|vmid| vmid.value),
            routing: Routing::Default,
            place: guest.name.place.clone(),
            nodes: strongest.value("node", |layer| &layer.node).unwrap_or_default(),
            clone,
            state: strongest
                .value("state", |layer| &layer.state)
                .map(|state| if state == "running" { Power::Running } else { Power::Stopped }),
            template: strongest.value("template", |layer| &layer.template).unwrap_or_default(),
            reboot: strongest.value("reboot", |layer| &layer.reboot).as_deref() == Some("allow"),
            unlisted: match strongest.value("unlisted", |layer| &layer.unlisted).as_deref() {
                Some("remove") => Unlisted::Remove,
                Some("ignore") => Unlisted::Ignore,
                _ => Unlisted::Report,
            },
            ignore: strongest.value("ignore", |layer| &layer.ignore).unwrap_or_default(),
            adopt: guest.adopt,
            released: guest.released,
            depends_on: strongest.value("depends_on", |layer| &layer.depends_on).unwrap_or_default(),
            pool: strongest.value("pool", |layer| &layer.pool),
            shutdown_timeout: strongest.value("shutdown_timeout", |layer| &layer.shutdown_timeout),
            ha: strongest.ha(),
            archive: guest.archive.clone(),
            recreate: guest.recreate.clone(),
            renamed_from: guest.renamed_from.clone(),
            origins: strongest.origins,
            options: desired,
        };
        checks::guest(&resolved, &mut self.problems);
        resolved
    }

    /// The layers of a guest, weakest first, each profile with the place that names it.
    fn layers(&mut self, guest: &'a Guest, cluster: Option<&str>) -> Vec<(&'a Layer, Option<&'a Place>)> {
        let of = |defaults: &'a Defaults| {
            let kind = if guest.kind == GuestKind::Qemu { &defaults.vm } else { &defaults.container };
            [(&defaults.guest, None), (kind, None)]
        };
        let own = self.fleet.included.iter().chain([&self.fleet.defaults]);
        let mut layers: Vec<(&Layer, Option<&Place>)> = own.flat_map(of).collect();
        if let Some(cluster) = cluster.and_then(|name| self.fleet.clusters.get(name)) {
            layers.extend(of(&cluster.defaults));
        }
        for name in &guest.profiles {
            match self.fleet.profiles.get(&name.value) {
                Some(profile) => layers.push((profile, Some(&name.place))),
                None if !self.fleet.complete => {}
                None => {
                    let message = format!("there is no profile `{}`", name.value);
                    let known: Vec<&String> = self.fleet.profiles.keys().collect();
                    let hint = match nearest(&name.value, &known) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None if known.is_empty() => "define it under `profiles:`".to_owned(),
                        None => {
                            format!("defined: {}", self.fleet.profiles.keys().cloned().collect::<Vec<_>>().join(", "))
                        }
                    };
                    self.problems.push(Diagnostic::error("unknown-profile", message).at(&name.place).hint(hint));
                }
            }
        }
        layers.push((&guest.layer, None));
        layers
    }

    /// Reads one option of one layer for one kind of guest.
    fn option(
        &mut self,
        kind: GuestKind,
        key: &Key,
        node: &Node,
        change: impl FnOnce(Diagnostic, bool) -> Diagnostic,
    ) -> Option<Draft> {
        let name = key.text.as_str();
        if node.kind == NodeKind::Refused {
            return None;
        }
        match options::find(kind, name) {
            Ok(spec) => values::read(Context { kind, name, spec }, node, &mut self.problems),
            Err(refusal) => {
                self.refuse(refusal, kind, key, change);
                None
            }
        }
    }

    fn refuse(
        &mut self,
        refusal: Refusal,
        kind: GuestKind,
        key: &Key,
        change: impl FnOnce(Diagnostic, bool) -> Diagnostic,
    ) {
        let name = &key.text;
        let problem = match refusal {
            Refusal::NotSettable(hint) => {
                let problem = Diagnostic::error("not-settable", format!("`{name}` cannot be set in a manifest"));
                problem.at(&key.mark.place()).hint(hint)
            }
            Refusal::Unknown(near, other_kind) => {
                let problem = Diagnostic::error("unknown-option", format!("a {} has no option `{name}`", kind.noun()))
                    .at(&key.mark.place());
                let ours = nearest(name, crate::manifest::keys::names(crate::manifest::keys::Level::Guest));
                let problem = match near.or(ours) {
                    _ if options::index_range(kind, name).is_some() => {
                        let [first, last] = options::index_range(kind, name).unwrap_or_default();
                        problem.hint(format!("`{}` goes from {first} to {last}", options::stem(name)))
                    }
                    _ if other_kind => problem.hint(match kind {
                        GuestKind::Qemu => "containers have it; move it to `defaults.container` or the containers",
                        GuestKind::Lxc => "VMs have it; move it to `defaults.vm` or the VMs",
                    }),
                    Some(near) => problem.hint(format!("did you mean `{near}`?")),
                    None => problem.hint("options are those of qm.conf(5) and pct.conf(5)"),
                };
                change(problem, other_kind)
            }
        };
        self.problems.push(problem);
    }

    /// Reads layers that no guest uses, so that their mistakes are seen too.
    fn unused_layers(&mut self) {
        let fleet = self.fleet;
        let both = &GuestKind::ALL[..];
        let mut layers: Vec<(&Layer, &[GuestKind])> = fleet.profiles.values().map(|layer| (layer, both)).collect();
        let own = fleet.included.iter().chain(std::iter::once(&fleet.defaults));
        for defaults in own.chain(fleet.clusters.values().map(|cluster| &cluster.defaults)) {
            layers.push((&defaults.guest, both));
            layers.push((&defaults.vm, &both[..1]));
            layers.push((&defaults.container, &both[1..]));
        }
        for (layer, kinds) in layers {
            if self.used.contains(&(layer.name.as_str(), &layer.place)) {
                continue;
            }
            // Meant for the kind that it fits better.
            let readings = kinds.iter().map(|kind| {
                let mut reader = Resolver {
                    fleet,
                    registry: self.registry,
                    problems: Vec::new(),
                    used: BTreeSet::new(),
                    shared: BTreeMap::new(),
                };
                for (key, node) in &layer.options {
                    reader.option(*kind, key, node, |problem, _| problem);
                }
                reader.problems
            });
            self.problems.extend(readings.min_by_key(Vec::len).unwrap_or_default());
        }
    }

    fn clone_source(&mut self, strongest: &mut Strongest<'_>, guest: &Guest) -> Option<CloneSource> {
        let clone: CloneSetting = strongest.clone_setting()?;
        let Some(from) = clone.from else {
            if clone.refused {
                return None;
            }
            self.problems.push(
                Diagnostic::error("incomplete", "`clone` does not say from what")
                    .at(&guest.name.place)
                    .hint("write `clone: {from: NAME}`"),
            );
            return None;
        };
        if let (Some(storage), Some(false)) = (&clone.storage, clone.full) {
            self.problems.push(
                Diagnostic::error("wrong-value", "a linked clone's disks stay on the storage of its source")
                    .at(&storage.place)
                    .hint("leave `storage` out, or write `full: true`"),
            );
        }
        Some(CloneSource {
            from: from.value,
            full: clone.full,
            storage: clone.storage.map(|storage| storage.value),
            snapname: clone.snapname,
            place: from.place,
        })
    }
}

/// Says of which of the guests of one `each` a problem is, where a template made the value.
fn name_instance(guest: &Guest, problems: &mut [Diagnostic]) {
    let Some(instance) = &guest.instance else { return };
    for problem in problems {
        let made = |place: &Place| guest.rendered.iter().any(|mark| mark.holds(place));
        if problem.place.as_ref().is_some_and(made) {
            *problem = problem.clone().with(&instance.place, &instance.words);
        }
    }
}

/// Says where an option that the guest's kind lacks is to be mended: where a profile is named, or at the default.
fn blame(
    problem: Diagnostic,
    other_kind: bool,
    guest: &Guest,
    layer: &Layer,
    named_at: Option<&Place>,
    key: &Key,
) -> Diagnostic {
    let (name, noun) = (&key.text, guest.kind.noun());
    match named_at {
        _ if !other_kind || layer.name == "guest" => problem,
        // The profile is right in itself; naming it in this guest is not.
        Some(place) => {
            let message = format!("{} sets `{name}`, an option that a {noun} has not", layer.name);
            Diagnostic { message, ..problem }.at(place).also(&key.mark.place(), "set here")
        }
        None => problem.also(&guest.name.place, format!("reaches this {noun}")),
    }
}

/// The place of an option's value; of nothing written, its key.
fn node_place(key: &Key, node: &Node) -> Place {
    if node.is_null() { key.mark.place() } else { node.place() }
}

/// The layers of a guest, weakest first, asked for the strongest word.
struct Strongest<'a> {
    layers: Vec<&'a Layer>,
    /// Where the words came from.
    origins: BTreeMap<&'static str, Origin>,
}

impl<'a> Strongest<'a> {
    fn new(layers: Vec<&'a Layer>, guest: &Guest) -> Self {
        let of_guest = |place: &Place| Origin { layer: "guest".to_owned(), place: place.clone() };
        let mut origins = BTreeMap::from([("name", of_guest(&guest.name.place))]);
        origins.extend(guest.vmid.as_ref().map(|vmid| ("vmid", of_guest(&vmid.place))));
        Self { layers, origins }
    }

    fn found(&mut self, key: &'static str, layer: &str, place: &Place) {
        self.origins.insert(key, Origin { layer: layer.to_owned(), place: place.clone() });
    }

    /// The strongest layer's value; `null` takes back what weaker ones said.
    fn value<T: Clone>(&mut self, key: &'static str, field: impl Fn(&Layer) -> &Setting<T>) -> Option<T> {
        let (layer, setting) = self.layers.iter().rev().find_map(|layer| Some((*layer, field(layer).as_ref()?)))?;
        let (value, place) = (setting.value.clone()?, setting.place.clone());
        self.found(key, &layer.name, &place);
        Some(value)
    }

    /// `clone` is merged key by key.
    fn clone_setting(&mut self) -> Option<CloneSetting> {
        let mut merged: Option<CloneSetting> = None;
        for layer in self.layers.clone() {
            let Some(setting) = &layer.clone else { continue };
            self.found("clone", &layer.name, &setting.place);
            merged = setting.value.clone().map(|strong| {
                let weak = merged.unwrap_or_default();
                CloneSetting {
                    from: strong.from.or(weak.from),
                    full: strong.full.or(weak.full),
                    storage: strong.storage.or(weak.storage),
                    snapname: strong.snapname.or(weak.snapname),
                    refused: strong.refused || weak.refused,
                }
            });
        }
        merged
    }

    /// `ha` too; its `null` means absent.
    fn ha(&mut self) -> Option<Spanned<HaState>> {
        let mut merged: Option<Spanned<Option<HaSetting>>> = None;
        for layer in self.layers.clone() {
            let Some(setting) = &layer.ha else { continue };
            self.found("ha", &layer.name, &setting.place);
            let weak = merged.and_then(|merged| merged.value).unwrap_or_default();
            let value = setting.value.clone().map(|strong| HaSetting {
                state: strong.state.or(weak.state),
                max_restart: strong.max_restart.or(weak.max_restart),
                max_relocate: strong.max_relocate.or(weak.max_relocate),
                group: strong.group.or(weak.group),
            });
            merged = Some(Spanned { value, place: setting.place.clone() });
        }
        fn given<T>(setting: Setting<T>) -> Option<T> {
            setting.and_then(|setting| setting.value)
        }
        merged.map(|Spanned { value, place }| {
            let value = value.map_or(HaState::Absent, |ha| HaState::Managed {
                state: given(ha.state),
                max_restart: given(ha.max_restart),
                max_relocate: given(ha.max_relocate),
                group: given(ha.group),
            });
            Spanned { value, place }
        })
    }
}

/// Makes the final value of an option, or says what it lacks.
fn finish(
    kind: GuestKind,
    name: &str,
    merged: Merged,
    brought: bool,
    default_storage: Option<&str>,
) -> Result<DesiredOption, Vec<(String, String)>> {
    let format = catalog(kind).find(name).and_then(|spec| spec.value.properties.as_ref());
    let mut lacking: Vec<(String, String)> = Vec::new();
    let mut check = |keys: &BTreeMap<String, Option<String>>, drive: bool| {
        let Some(format) = format.filter(|_| !brought) else { return };
        let mut present: Properties =
            keys.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect();
        for error in crate::pve::property::check(&mut present, format) {
            let volume = matches!(&error, PropertyError::Missing(key) if key == "file" || key == "volume");
            if !(drive && volume) {
                lacking.push((format!("cannot be created: {}", error.reason()), String::new()));
            }
        }
    };
    let value = match merged.draft {
        Draft::Absent => OptionValue::Absent,
        Draft::Text(text) => OptionValue::Text(text),
        Draft::Refused => OptionValue::Text(String::new()),
        Draft::Secret(reference) => OptionValue::Secret(reference),
        Draft::Properties { whole, mut keys } => {
            check(&keys, false);
            if whole {
                keys.retain(|_, value| value.is_some());
            }
            OptionValue::Properties { whole, keys }
        }
        Draft::Drive(draft) => {
            check(&draft.keys, true);
            match draft.finish(name, brought, default_storage) {
                Ok(drive) => OptionValue::Drive(drive),
                Err(reason) => {
                    lacking.push(reason);
                    return Err(lacking);
                }
            }
        }
    };
    if lacking.is_empty() {
        Ok(DesiredOption { value, place: merged.place, layer: merged.layer })
    } else {
        Err(lacking)
    }
}
