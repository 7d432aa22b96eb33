//! Making a guest from another: which one, on which node, and what is left to change.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::create::{
    Refusal, candidates, choose_id, description, description_field, finish, mark_write, name_option, refuse, tags_field,
};
use super::defaults;
use super::document::{Call, Change, Effect, Expect, FieldChange, Reason, ReasonCode, State, Step, StepKind};
use super::drives;
use super::given;
use super::migrate::{self, Move};
use super::options::{self, Seen, Write};
use super::planner::Cluster;
use super::preflight::Needs;
use super::steps::Target;
use super::tags;
use super::template::Template;
use super::update::{no_room, secret_versions};
use super::vmids::NewIds;
use crate::desired::{CloneFrom, CloneSource, DesiredGuest};
use crate::live::{LiveConfig, LiveGuest, Read};
use crate::pve::compare::{is_drive, stem, volume_key};
use crate::pve::http::Method;
use crate::pve::property;
use crate::pve::schema::catalog;
use crate::pve::value::{GuestKind, Vmid, parse_tags, print_tags, storage_of};

/// A source that was chosen, and where the clone will be.
struct Chosen<'a> {
    source: &'a LiveGuest,
    /// As it is, or was at the snapshot that is cloned.
    config: Cow<'a, LiveConfig>,
    /// The node that it is cloned to.
    node: String,
    /// The node that it is moved to afterwards: Proxmox does not clone local disks to another one.
    then: Option<String>,
}

fn choose_source<'a>(cluster: &Cluster<'a>, guest: &DesiredGuest, source: &CloneSource) -> Result<Chosen<'a>, Refusal> {
    let matching: Vec<&LiveGuest> = match &source.from {
        CloneFrom::Named(name) => cluster.named(guest.kind, name),
        CloneFrom::Tagged(tag) => {
            let bears = |live: &&LiveGuest| live.kind == guest.kind && live.tags.contains(tag);
            cluster.live.guests.values().filter(bears).collect()
        }
    };
    let from = source.from.to_string();
    if matching.is_empty() {
        let is_made = match &source.from {
            CloneFrom::Named(name) => cluster.is_listed(guest.kind, name),
            CloneFrom::Tagged(_) => false,
        };
        if is_made {
            let words = format!("{from} is made by this plan; its clones are planned once it is there");
            let hint = Some("apply, then plan again".to_owned());
            return Err((State::Waiting, Reason { code: ReasonCode::Dependency, words, hint }));
        }
        let words = match &source.from {
            CloneFrom::Named(name) => format!("there is no {} {name} to clone in {}", guest.kind.noun(), cluster.name),
            CloneFrom::Tagged(tag) => format!("no {} in {} bears the tag {tag}", guest.kind.noun(), cluster.name),
        };
        return refuse(ReasonCode::NotFound, words, Some(format!("named at {}", source.place)));
    }
    let needs = Needs::of(guest);
    // Without a list of its own, a clone may be wherever a source is.
    let mut nodes = candidates(cluster, guest);
    if guest.nodes.is_empty() && cluster.desired.default_node.is_none() {
        nodes = matching.iter().map(|live| live.node.clone()).collect();
    }
    let mut why = None;
    let mut fitting: Vec<&String> = Vec::new();
    for node in &nodes {
        match needs.missing_on(node, cluster.live) {
            Some(reason) => why = why.or(Some(reason)),
            None => fitting.push(node),
        }
    }
    // On the target node itself, then on shared storage, then the lowest id, in two steps.
    for node in &fitting {
        let here = matching.iter().find(|live| live.node == **node);
        let shared = || matching.iter().find(|live| is_shared(cluster, live));
        if let Some(live) = here.or_else(shared) {
            return with_config(live, source, (*node).clone(), None);
        }
    }
    for node in fitting {
        for live in &matching {
            match why_not_moved(cluster, guest, source, live, node) {
                None => return with_config(live, source, live.node.clone(), Some(node.clone())),
                Some(reason) => why = why.or(Some(reason)),
            }
        }
    }
    let none = Reason { code: ReasonCode::NoNode, words: "no node fits".to_owned(), hint: None };
    Err((State::Blocked, why.unwrap_or(none)))
}

fn with_config<'a>(
    live: &'a LiveGuest,
    source: &CloneSource,
    node: String,
    then: Option<String>,
) -> Result<Chosen<'a>, Refusal> {
    let from = &source.from;
    let unread = |words: String| Err((State::Unknown, Reason { code: ReasonCode::Unread, words, hint: None }));
    let config = match &live.config {
        Read::Known(config) => config,
        Read::Unread(words) => return unread(format!("the configuration of {from} could not be read: {words}")),
        Read::Absent => return unread(format!("the configuration of {from} was not read")),
    };
    let Some(snapshot) = source.snapname.as_ref() else {
        return Ok(Chosen { source: live, config: Cow::Borrowed(config), node, then });
    };
    let name = &snapshot.value;
    match live.snapshots.get(name) {
        Some(Read::Known(current)) => {
            let then_it_was = LiveConfig { current: current.clone(), ..LiveConfig::default() };
            Ok(Chosen { source: live, config: Cow::Owned(then_it_was), node, then })
        }
        Some(Read::Unread(why)) => unread(format!("the snapshot {name} of {from} could not be read: {why}")),
        Some(Read::Absent) | None => {
            let words = format!("{from} ({}) has no snapshot {name}", live.vmid);
            refuse(ReasonCode::NotFound, words, Some(format!("named at {}", snapshot.place)))
        }
    }
}

/// Why a clone cannot be made where its source is, and be moved from there.
fn why_not_moved(
    cluster: &Cluster<'_>,
    guest: &DesiredGuest,
    source: &CloneSource,
    live: &LiveGuest,
    node: &str,
) -> Option<Reason> {
    let Read::Known(config) = &live.config else { return None };
    let full = source.full.unwrap_or(!live.template);
    let copy = foretell(guest, config, source.storage.as_deref());
    // What the copy stands on, there and here.
    let needs = Needs::of_config(guest.kind, &copy);
    let lacking = needs.missing_on(node, cluster.live).or_else(|| needs.missing_on(&live.node, cluster.live));
    let stays = || {
        let stands = LiveGuest { template: false, ..live.clone() };
        migrate::why_it_stays(cluster, &stands, &copy, false)
    };
    let linked = (!full).then(|| Reason {
        code: ReasonCode::NoNode,
        words: format!("{} is on {} with local disks, and a linked clone stays with them", source.from, live.node),
        hint: Some(format!("write `full: true`, add {} to `node`, or put a copy of it on {node}", live.node)),
    });
    linked.or(lacking).or_else(stays)
}

/// True when every volume of a guest is on shared storage.
fn is_shared(cluster: &Cluster<'_>, live: &LiveGuest) -> bool {
    let Read::Known(config) = &live.config else {
        return false;
    };
    let storages = cluster.live.storages.get(&live.node).and_then(Read::known);
    config.current.iter().filter(|(name, _)| is_drive(live.kind, name)).all(|(_, text)| {
        let storage = storage_of(drives::volume_of(text));
        storage.is_none_or(|storage| storages.and_then(|all| all.get(storage)).is_some_and(|known| known.shared))
    })
}

pub(super) fn from_guest(
    cluster: &Cluster<'_>,
    guest: &DesiredGuest,
    source: &CloneSource,
    change: &mut Change,
    ids: &mut NewIds,
) -> Result<(), Refusal> {
    let Chosen { source: live, config, node, then } = choose_source(cluster, guest, source)?;
    let config = config.as_ref();
    let full = source.full.unwrap_or(!live.template);
    if !full && !live.template && source.snapname.is_none() {
        let words = format!("{} is not a template, so it cannot have linked clones", source.from);
        return refuse(ReasonCode::NotInPlace, words, Some("write `full: true`, or make it a template".to_owned()));
    }
    if let Some(storage) = source.storage.as_ref().filter(|_| !full) {
        let words = format!("a linked clone stays on its template's storage; it cannot go to {storage}");
        return refuse(
            ReasonCode::NotInPlace,
            words,
            Some("write `full: true`, or leave `clone.storage` out".to_owned()),
        );
    }
    if let Some(reason) = cluster.locked(live) {
        let state = if reason.code == ReasonCode::TaskRunning { State::Waiting } else { State::Blocked };
        return Err((state, reason));
    }
    if let Some(reason) = guest.pool.as_ref().and_then(|pool| cluster.missing_pool(pool)) {
        return Err((State::Blocked, reason));
    }
    let (vmid, vmid_text) = choose_id(cluster, guest, ids, &mut change.notes)?;
    change.address.vmid = Some(vmid);
    change.node = Some(then.clone().unwrap_or_else(|| node.clone()));
    // A source of this manifest is brought up to date before its clones are made.
    if let Some(name) = live.name.known()
        && cluster.is_listed(guest.kind, name)
        && !change.after.contains(name)
    {
        change.after.push(name.clone());
    }
    let kind = if full { "full" } else { "linked" };
    let from = live.name.known().map_or_else(|| live.vmid.to_string(), |name| format!("{name} ({})", live.vmid));
    let at = source.snapname.as_ref().map_or_else(String::new, |snapshot| format!(", as of {}", snapshot.value));
    let moved = then.as_ref().map_or_else(String::new, |then| format!(", then moved to {then}"));
    change.fields.push(FieldChange {
        name: "clone".to_owned(),
        before: None,
        after: Some(format!("{from} on {}, {kind}{at}{moved}", live.node)),
        effect: Effect::None,
        place: Some(source.place.clone()),
        layer: None,
        blocked: None,
    });

    let inherited = config.effective("description").unwrap_or_default();
    let (text, text_expect) = description(cluster, guest, vmid, inherited, BTreeMap::new());
    if let Some(mut reason) = no_room(&text_expect) {
        reason.hint = reason.hint.map(|hint| format!("{hint} in {from}, or give this guest a description of its own"));
        return Err((State::Blocked, reason));
    }
    let mut params = BTreeMap::from([
        ("newid".to_owned(), vmid_text.clone()),
        (name_option(guest.kind).to_owned(), Template::text(&guest.name)),
        ("description".to_owned(), text),
        ("full".to_owned(), Template::text(if full { "1" } else { "0" })),
    ]);
    let optional = [
        ("storage", source.storage.as_ref()),
        ("pool", guest.pool.as_ref()),
        ("snapname", source.snapname.as_ref().map(|snapshot| &snapshot.value)),
        ("target", Some(&node).filter(|node| **node != live.node)),
    ];
    params.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Template::text(value?)))));
    let path = Template::text(format!("/nodes/{}/{}/{}/clone", live.node, guest.kind, live.vmid));
    change.steps.push(Step {
        kind: StepKind::Clone,
        words: format!("clone {from}, {kind}"),
        call: Call { method: Method::Post, path, params },
        effect: Effect::None,
        expect: vec![
            Expect::Exists,
            Expect::Option { name: name_option(guest.kind).to_owned(), value: guest.name.clone() },
            Expect::Option { name: "description".to_owned(), value: text_expect },
        ],
    });

    let mut config = foretell(guest, config, source.storage.as_deref());
    given::to_a_clone(guest.kind, &mut config);
    if let Some(reason) = cluster.why_not_copied(guest.kind, &config) {
        return Err((State::Blocked, reason));
    }
    let moves_to = then.map(|node| Move { node, copies: true });
    change_after(cluster, guest, change, Likeness { config, inherited, vmid, vmid_text, moves_to })
}

/// What a guest will be when the call that makes it has ended.
pub(super) struct Likeness<'a> {
    /// Its configuration, with the volumes and MAC addresses of what it is made of.
    pub config: LiveConfig,
    /// The notes of what it is made of.
    pub inherited: &'a str,
    /// Its id.
    pub vmid: Vmid,
    /// The same as it is sent.
    pub vmid_text: Template,
    /// Where it is moved to before anything else.
    pub moves_to: Option<Move>,
}

/// Plans what is left to change of a guest when the call that makes it has ended.
pub(super) fn change_after(
    cluster: &Cluster<'_>,
    guest: &DesiredGuest,
    change: &mut Change,
    like: Likeness<'_>,
) -> Result<(), Refusal> {
    let Likeness { config: foretold, inherited, vmid, vmid_text, moves_to } = like;
    let guest = &defaults::fill(guest, cluster.desired, &foretold);
    let seen = Seen::of_new(cluster, &foretold, &change.address);
    let mut found = options::compare(guest, &seen, &BTreeMap::new());
    let inherited_tags = foretold.effective("tags").map(parse_tags).unwrap_or_default();
    let tags = tags::wanted(guest, cluster.fleet, &inherited_tags);
    if let Some(reason) = cluster.why_not_tagged(&inherited_tags, &tags) {
        return Err((State::Blocked, reason));
    }
    change.fields.push(tags_field(guest, None, &print_tags(&tags)));
    change.fields.extend(description_field(guest));
    found.writes.push(Write::Set {
        option: "tags".to_owned(),
        value: Template::text(print_tags(&tags)),
        expect: print_tags(&tags),
        allocates: false,
        effect: Effect::None,
    });
    let versions = secret_versions(guest);
    if !versions.is_empty() {
        found.writes.push(mark_write(cluster, guest, vmid, inherited, versions));
    }
    if let Some(field) = found.fields.iter().find(|field| field.blocked.is_some()) {
        // A clone that would not be as asked is not begun.
        let reason = field.blocked.clone();
        change.fields.append(&mut found.fields);
        return match reason {
            Some(reason) => Err((State::Blocked, reason)),
            None => Ok(()),
        };
    }
    change.fields.append(&mut found.fields);
    change.notes.append(&mut found.notes);
    if let Some(making) = change.steps.last_mut() {
        making.expect.extend(inherits(guest.kind, making, &foretold, &found.writes));
    }
    let target = Target::new(guest.kind, vmid_text, false);
    change.steps.extend(moves_to.map(|to| migrate::step(&target, &to, guest.kind, false, None)));
    change.steps.extend(target.steps(found.writes));
    finish(cluster, guest, change, &target);
    Ok(())
}

/// What the new guest has from what it is made of, of the options that are written next: found otherwise, somebody was
/// faster. Drives and NICs are other ones than those of the source.
fn inherits(kind: GuestKind, making: &Step, foretold: &LiveConfig, writes: &[Write]) -> Vec<Expect> {
    let option = |write: &Write| match write {
        Write::Set { option, .. } | Write::Delete { option, .. } => Some(option.clone()),
        _ => None,
    };
    let told = |name: &str| making.call.params.get(name).map(ToString::to_string);
    let is_other =
        |name: &String| is_drive(kind, name) || stem(name) == "net" || name == "cipassword" || is_made_anew(name);
    let names: BTreeSet<String> =
        writes.iter().filter_map(option).filter(|name| name != "description" && !is_other(name)).collect();
    let expect = |name: String| match told(&name).or_else(|| foretold.effective(&name).map(str::to_owned)) {
        Some(value) => Expect::Option { name, value },
        None => Expect::NoOption { name },
    };
    names.into_iter().map(expect).collect()
}

/// True for what Proxmox sets by itself for each guest that it makes.
fn is_made_anew(name: &str) -> bool {
    matches!(name, "smbios1" | "vmgenid" | "meta" | "boot")
}

/// Puts off each clone whose source this plan changes: a clone is as its source is, and what is left to change of it
/// can only be told once that is done. Of a snapshot, nothing changes; notes and tags are written with the clone, which
/// then may have those of before or after.
pub fn wait_for_sources(changes: &mut [Change]) {
    let inherits = |name: &str| !matches!(name, "name" | "hostname" | "description" | "tags");
    let sources = changed_sources(changes, inherits);
    let tagged = changed_sources(changes, |name| name == "tags");
    for change in changes {
        let of_now = |step: &&mut Step| step.kind == StepKind::Clone && !step.call.params.contains_key("snapname");
        let Some(step) = change.steps.iter_mut().find(of_now) else { continue };
        let path = step.call.path.to_string();
        let Some(source) = path.strip_suffix("/clone").and_then(|path| path.splitn(4, '/').nth(3)) else { continue };
        if tagged.contains_key(source) {
            step.expect.retain(|expect| expect.option() != Some("tags"));
        }
        let Some(name) = sources.get(source) else { continue };
        let words = format!("{name} is changed by this plan; its clones are planned once that is done");
        let hint = Some("apply, then plan again".to_owned());
        change.steps.clear();
        change.state = State::Waiting;
        change.reason = Some(Reason { code: ReasonCode::Dependency, words, hint });
    }
}

/// The guests of which such an option is changed, by kind and id, with their names.
fn changed_sources(changes: &[Change], is_meant: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let alters = |step: &Step| step.expect.iter().filter_map(Expect::option).any(&is_meant);
    let sources = changes.iter().filter(|change| !change.action.makes() && change.steps.iter().any(alters));
    sources
        .filter_map(|change| {
            Some((format!("{}/{}", change.address.kind, change.address.vmid?), change.address.name.clone()))
        })
        .collect()
}

/// The configuration that a clone will have, with the source's volumes and MAC addresses standing in for its own.
pub(super) fn foretell(guest: &DesiredGuest, source: &LiveConfig, storage: Option<&str>) -> LiveConfig {
    let mut config = LiveConfig::default();
    for name in source.current.keys() {
        // Snapshots, locks, detached disks and pending values stay with the source.
        let dropped = matches!(
            name.as_str(),
            "template"
                | "lock"
                | "parent"
                | "digest"
                | "vmstate"
                | "snaptime"
                | "snapstate"
                | "runningmachine"
                | "runningcpu"
        ) || stem(name) == "unused";
        if dropped {
            continue;
        }
        if let Some(text) = source.current.get(name) {
            let text = match storage {
                // The cloud-init drive is made anew, there too; only other media stay.
                Some(storage)
                    if drives::holds_data(guest.kind, name, text)
                        || is_drive(guest.kind, name) && drives::is_cloudinit(drives::volume_of(text)) =>
                {
                    on_storage(guest.kind, name, text, storage)
                }
                _ => text.clone(),
            };
            config.current.insert(name.clone(), text);
        }
    }
    config.current.insert(name_option(guest.kind).to_owned(), guest.name.clone());
    config
}

/// A drive as it will be when a full clone puts it on another storage.
fn on_storage(kind: GuestKind, name: &str, text: &str, storage: &str) -> String {
    let Some(format) = catalog(kind).find(name).and_then(|spec| spec.value.properties.as_ref()) else {
        return text.to_owned();
    };
    let Ok(mut keys) = property::split(text, format) else {
        return text.to_owned();
    };
    if let Some(volume) = keys.get_mut(volume_key(kind)) {
        *volume = format!("{storage}:{}", volume.split_once(':').map_or("", |(_, path)| path));
    }
    property::print(&keys, format)
}
