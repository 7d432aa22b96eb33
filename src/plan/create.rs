//! Making a guest: from nothing, from a container template, or from another guest.

use std::collections::{BTreeMap, BTreeSet};

use super::clone;
use super::defaults;
use super::demands::Guest;
use super::document::{
    Action, Call, Change, Class, Effect, Expect, FieldChange, Reason, ReasonCode, State, Step, StepKind,
};
use super::drives::new_drive_value;
use super::given;
use super::ha;
use super::mark;
use super::options::{self, Write};
use super::planner::Cluster;
use super::preflight::Needs;
use super::restore;
use super::steps::Target;
use super::tags;
use super::template::{Hole, Template};
use super::update::{plain_field, secret_versions, wanted_text};
use super::versions::{self, Fit};
use super::vmids::NewIds;
use crate::desired::{DesiredGuest, DesiredOption, Drive, DriveForm, OptionValue, Power};
use crate::live::LiveConfig;
use crate::pve::compare::{is_default, stem};
use crate::pve::http::Method;
use crate::pve::property;
use crate::pve::schema::catalog;
use crate::pve::value::{GuestKind, Vmid, print_tags};

/// The option that holds the guest's name.
pub const fn name_option(kind: GuestKind) -> &'static str {
    match kind {
        GuestKind::Qemu => "name",
        GuestKind::Lxc => "hostname",
    }
}

/// Plans a guest that is not there.
pub fn create(cluster: &Cluster<'_>, guest: &DesiredGuest, ids: &mut NewIds) -> Change {
    let mut change = cluster.change(cluster.address(guest, guest.vmid), guest);
    change.action = match guest {
        DesiredGuest { archive: Some(_), .. } => Action::Restore,
        DesiredGuest { clone: Some(_), .. } => Action::Clone,
        _ => Action::Create,
    };
    change.class = Some(Class::Missing);
    if guest.adopt {
        let others: Vec<String> =
            cluster.named(guest.kind, &guest.name).iter().map(|live| live.vmid.to_string()).collect();
        let named = if others.is_empty() { String::new() } else { format!("; {} has the name", others.join(", ")) };
        change.state = State::Blocked;
        change.reason = Some(Reason {
            code: ReasonCode::NotFound,
            words: format!("there is no guest to adopt{named}"),
            hint: Some("correct name and vmid, or remove `adopt` to have it made".to_owned()),
        });
        return change;
    }
    if let Some((state, reason)) = cluster.why_not_created(guest) {
        change.state = state;
        if state == State::Unknown {
            change.class = Some(Class::Unknown);
        }
        change.reason = Some(reason);
        return change;
    }
    let made = make(cluster, guest, &mut change, ids).and_then(|()| {
        let to_be = Guest { kind: guest.kind, vmid: guest.vmid, pool: guest.pool.as_deref(), config: None };
        cluster.why_not_sent(&to_be, &change.steps).map_or(Ok(()), |reason| Err((State::Blocked, reason)))
    });
    if let Err((state, reason)) = made {
        change.state = state;
        change.reason = Some(reason);
        change.steps.clear();
    }
    change
}

/// The fields and steps that make a guest.
pub(super) fn make(
    cluster: &Cluster<'_>,
    guest: &DesiredGuest,
    change: &mut Change,
    ids: &mut NewIds,
) -> Result<(), Refusal> {
    match (&guest.archive, &guest.clone) {
        (Some(archive), _) => restore::from_backup(cluster, guest, archive, change, ids),
        (None, Some(source)) => clone::from_guest(cluster, guest, source, change, ids),
        (None, None) => from_nothing(cluster, guest, change, ids),
    }
}

pub(super) type Refusal = (State, Reason);

pub(super) fn refuse<T>(code: ReasonCode, words: String, hint: Option<String>) -> Result<T, Refusal> {
    Err((State::Blocked, Reason { code, words, hint }))
}

/// The id of the new guest: its own, or the next of the range as a hole.
pub(super) fn choose_id(
    cluster: &Cluster<'_>,
    guest: &DesiredGuest,
    ids: &mut NewIds,
    notes: &mut Vec<String>,
) -> Result<(Vmid, Template), Refusal> {
    if let Some(vmid) = guest.vmid {
        return Ok((vmid, Template::text(vmid.to_string())));
    }
    match ids.next() {
        Some(vmid) => {
            notes.extend(ids.doubt());
            Ok((vmid, Template::hole(Hole::Vmid)))
        }
        None => {
            let hint = Some(format!("widen `vmids` of cluster {}", cluster.name));
            let range = cluster.desired.vmids.map(|range| format!(" of {}-{}", range.first, range.last));
            refuse(ReasonCode::NoFreeVmid, format!("no id{} is free", range.unwrap_or_default()), hint)
        }
    }
}

/// The description of a new guest: people's text and the mark, and the same with the id filled in.
pub(super) fn description(
    cluster: &Cluster<'_>,
    guest: &DesiredGuest,
    vmid: Vmid,
    inherited: &str,
    secrets: BTreeMap<String, u32>,
) -> (Template, String) {
    let mark = cluster.mark(guest, vmid, secrets);
    let text = wanted_text(guest, inherited);
    let expect = mark::embed(&text, &mark.line());
    if guest.vmid.is_some() {
        return (Template::text(&expect), expect);
    }
    // A character that no description holds marks where the id goes.
    let with_gap = mark::embed(&text, &mark.line_with("\u{1}"));
    let mut template = Template::default();
    for (position, piece) in with_gap.split('\u{1}').enumerate() {
        if position > 0 {
            template = template.then_hole(Hole::Vmid);
        }
        template = template.then(piece);
    }
    (template, expect)
}

fn from_nothing(
    cluster: &Cluster<'_>,
    guest: &DesiredGuest,
    change: &mut Change,
    ids: &mut NewIds,
) -> Result<(), Refusal> {
    let guest = &defaults::fill(guest, cluster.desired, &LiveConfig::default());
    if guest.kind == GuestKind::Lxc && !guest.options.contains_key("ostemplate") {
        let words = "it is not there, and the manifest does not say how to make it".to_owned();
        let hint = Some("add `ostemplate` and `rootfs`, or `clone`".to_owned());
        return refuse(ReasonCode::NotFound, words, hint);
    }
    let node = choose_node(cluster, guest)?;
    if let Some(pool) = &guest.pool
        && let Some(reason) = cluster.missing_pool(pool)
    {
        return Err((State::Blocked, reason));
    }
    let (vmid, vmid_text) = choose_id(cluster, guest, ids, &mut change.notes)?;
    change.address.vmid = Some(vmid);
    change.node = Some(node.clone());
    let (mut params, mut expect) = (BTreeMap::new(), vec![Expect::Exists]);
    let (mut later, mut sizes) = (Vec::new(), Vec::new());
    let mut secrets = BTreeMap::new();
    params.insert("vmid".to_owned(), vmid_text.clone());
    params.insert(name_option(guest.kind).to_owned(), Template::text(&guest.name));
    expect.push(Expect::Option { name: name_option(guest.kind).to_owned(), value: guest.name.clone() });
    for (name, option) in &guest.options {
        if matches!(name.as_str(), "tags" | "description") || options::is_ignored(&guest.ignore, name) {
            continue;
        }
        let Some((mut value, text)) = creation_value(guest.kind, name, option) else {
            continue;
        };
        let mut field = listed_field(name, &text, option);
        if !cluster.desired.as_root {
            field.blocked = options::root_only(guest, None, name, &text);
        }
        match versions::fit(guest.kind, name, &text, &cluster.live.version) {
            Fit::Refused(reason) => field.blocked = Some(reason),
            Fit::Written(former) if value == Template::text(&text) => value = Template::text(former),
            Fit::Written(_) | Fit::AsItIs => {}
        }
        if let OptionValue::Drive(Drive { form: DriveForm::Volume(volume), .. }) = &option.value
            && stem(volume) == "unused"
        {
            let words = format!("there is no {volume}: the guest is not there yet");
            let hint = Some("name the volume itself, or write `storage` and `size` for a new one".to_owned());
            field.blocked = Some(Reason { code: ReasonCode::NotFound, words, hint });
        }
        change.fields.push(field);
        let readable = catalog(guest.kind).find(name).is_some_and(|spec| spec.update);
        if let OptionValue::Secret(reference) = &option.value {
            if readable {
                // Given in the call that makes the guest, it would be stored in clear.
                later.push((name.clone(), value));
                continue;
            }
            secrets.extend(reference.version.map(|version| (name.clone(), version)));
        } else if readable && !is_at_default(guest.kind, name, &text) && !given::is_pinned_when_made(guest, name, &text)
        {
            expect.push(Expect::Option { name: name.clone(), value: text });
        }
        if let OptionValue::Drive(Drive { import: Some(_), size: Some(size), .. }) = &option.value {
            // An image is as large as it is.
            sizes.push(Write::Resize { option: name.clone(), size: *size });
        }
        params.insert(name.clone(), value);
    }
    let mut unwanted = given::unwanted(cluster, guest, &change.address);
    change.fields.append(&mut unwanted.fields);
    if let Some(reason) = change.fields.iter().find_map(|field| field.blocked.clone()) {
        return Err((State::Blocked, reason));
    }
    let tags = tags::wanted(guest, cluster.fleet, &BTreeSet::new());
    if let Some(reason) = cluster.why_not_tagged(&BTreeSet::new(), &tags) {
        return Err((State::Blocked, reason));
    }
    let tags = print_tags(&tags);
    change.fields.push(tags_field(guest, None, &tags));
    expect.push(Expect::Option { name: "tags".to_owned(), value: tags.clone() });
    params.insert("tags".to_owned(), Template::text(&tags));
    let (text, text_expect) = description(cluster, guest, vmid, "", secrets.clone());
    params.insert("description".to_owned(), text);
    expect.push(Expect::Option { name: "description".to_owned(), value: text_expect });
    change.fields.extend(description_field(guest));
    if let Some(pool) = &guest.pool {
        params.insert("pool".to_owned(), Template::text(pool));
    }
    let call = Call { method: Method::Post, path: Template::text(format!("/nodes/{node}/{}", guest.kind)), params };
    let words = format!("create {} {}", guest.kind.noun(), guest.name);
    change.steps.push(Step { kind: StepKind::Create, words, call, effect: Effect::None, expect });
    let target = Target::new(guest.kind, vmid_text, false);
    change.steps.extend(target.steps(sizes));
    let mut writes = unwanted.writes;
    if !later.is_empty() {
        writes.extend(later.into_iter().map(|(option, value)| secret_write(option, value)));
        writes.push(mark_write(cluster, guest, vmid, "", secret_versions(guest)));
    }
    change.steps.extend(target.steps(writes));
    finish(cluster, guest, change, &target);
    Ok(())
}

fn secret_write(option: String, value: Template) -> Write {
    Write::Set { option, value, expect: String::new(), allocates: false, effect: Effect::None }
}

/// Rewrites the description so that the mark records the secrets that were written.
pub(super) fn mark_write(
    cluster: &Cluster<'_>,
    guest: &DesiredGuest,
    vmid: Vmid,
    inherited: &str,
    secrets: BTreeMap<String, u32>,
) -> Write {
    let (value, expect) = description(cluster, guest, vmid, inherited, secrets);
    Write::Set { option: "description".to_owned(), value, expect, allocates: false, effect: Effect::None }
}

/// What comes last: template or power, and the fields that say so.
pub(super) fn finish(cluster: &Cluster<'_>, guest: &DesiredGuest, change: &mut Change, target: &Target) {
    let ha = ha::plan(cluster, guest, None, target);
    change.fields.extend(ha.fields);

    if guest.template {
        change.fields.push(plain_field("template", None, Some("yes".to_owned()), Effect::None, guest));
        change.steps.push(target.template());
    } else if guest.state == Some(Power::Running) {
        change.fields.push(plain_field("state", None, Some("running".to_owned()), Effect::None, guest));
        if ha.joins.is_none() {
            change.steps.push(target.power(Power::Running, None));
        }
    }
    // HA starts what it is to keep running.
    change.steps.extend(ha.joins);
}

fn listed_field(name: &str, text: &str, option: &DesiredOption) -> FieldChange {
    FieldChange {
        name: name.to_owned(),
        before: None,
        after: Some(text.to_owned()),
        effect: Effect::None,
        place: Some(option.place.clone()),
        layer: Some(option.layer.clone()),
        blocked: None,
    }
}

/// People's own text, where the manifest has one.
pub(super) fn description_field(guest: &DesiredGuest) -> Option<FieldChange> {
    let option = guest.options.get("description")?;
    match &option.value {
        OptionValue::Text(text) if !text.trim().is_empty() => Some(listed_field("description", text, option)),
        _ => None,
    }
}

pub(super) fn tags_field(guest: &DesiredGuest, before: Option<String>, tags: &str) -> FieldChange {
    let mut field = plain_field("tags", before, Some(tags.to_owned()), Effect::None, guest);
    if let Some(option) = guest.options.get("tags") {
        field.place = Some(option.place.clone());
        field.layer = Some(option.layer.clone());
    }
    field
}

/// True for a value that Proxmox may as well not store: nothing need be read back.
fn is_at_default(kind: GuestKind, name: &str, text: &str) -> bool {
    catalog(kind).find(name).is_some_and(|spec| is_default(kind, name, spec, text))
}

/// What an option is when the guest is made: what is sent, and what people read and must be read back.
pub(super) fn creation_value(kind: GuestKind, name: &str, option: &DesiredOption) -> Option<(Template, String)> {
    let format = catalog(kind).find(name).and_then(|spec| spec.value.properties.as_ref());
    match &option.value {
        // Not told, it would be unprivileged.
        OptionValue::Absent if kind == GuestKind::Lxc && name == "unprivileged" => {
            Some((Template::text("0"), "0".to_owned()))
        }
        OptionValue::Absent => None,
        OptionValue::Text(text) => Some((Template::text(text), text.clone())),
        OptionValue::Properties { keys, .. } => {
            let known = keys.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect();
            let text = property::print(&known, format?);
            Some((Template::text(&text), text))
        }
        OptionValue::Drive(drive) => {
            let (value, expect, _) = new_drive_value(kind, name, format?, drive);
            Some((value, expect))
        }
        OptionValue::Secret(reference) => {
            let version = reference
                .version
                .map_or_else(|| "(secret)".to_owned(), |version| format!("(secret, version {version})"));
            Some((Template::hole(Hole::Secret(reference.clone())), version))
        }
    }
}

/// The first node of the list that is online and has what the guest needs.
fn choose_node(cluster: &Cluster<'_>, guest: &DesiredGuest) -> Result<String, Refusal> {
    first_fitting(cluster, &candidates(cluster, guest), &Needs::of(guest))
}

/// The first of these nodes that is online and has what is needed.
pub(super) fn first_fitting(cluster: &Cluster<'_>, candidates: &[String], needs: &Needs) -> Result<String, Refusal> {
    let mut first = None;
    for node in candidates {
        match needs.missing_on(node, cluster.live) {
            None => return Ok(node.clone()),
            Some(reason) => first = first.or(Some(reason)),
        }
    }
    match (first, candidates.len()) {
        (Some(reason), 1) => Err((State::Blocked, reason)),
        (Some(reason), _) => {
            let words = format!("none of {} fits; the first: {}", candidates.join(", "), reason.words);
            refuse(ReasonCode::NoNode, words, reason.hint)
        }
        (None, _) => refuse(ReasonCode::NoNode, "the cluster has no node".to_owned(), None),
    }
}

pub(super) fn candidates(cluster: &Cluster<'_>, guest: &DesiredGuest) -> Vec<String> {
    if !guest.nodes.is_empty() {
        return guest.nodes.clone();
    }
    match &cluster.desired.default_node {
        Some(node) => vec![node.clone()],
        None => cluster.live.nodes.keys().cloned().collect(),
    }
}
