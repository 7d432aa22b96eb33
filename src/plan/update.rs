//! Changing a guest that is there (or that a clone is about to make): from differences to calls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::accept::AcceptanceKind;
use super::course::Course;
use super::defaults;
use super::demands::Guest;
use super::document::{
    Action, Address, Base, Change, Class, Effect, Expect, FieldChange, Reason, ReasonCode, State, Step, StepKind,
};
use super::drives::{is_cloudinit, volume_of};
use super::ha::{self, HaChange};
use super::mark::{self, Mark};
use super::migrate;
use super::options::{self, Differences, Seen, Write};
use super::planner::Cluster;
use super::preflight::Needs;
use super::protection;
use super::steps::{Sequence, Target};
use super::tags;
use super::template::Template;
use crate::desired::{DesiredGuest, DesiredOption, OptionValue, Power};
use crate::live::{LiveConfig, LiveGuest, Read};
use crate::pve::compare::{same_value, stem};
use crate::pve::value::{GuestKind, Vmid, parse_tags, print_tags};

/// Versions of secrets that a guest should have been given, by option.
pub fn secret_versions(guest: &DesiredGuest) -> BTreeMap<String, u32> {
    let version = |(name, option): (&String, &Arc<DesiredOption>)| match &option.value {
        OptionValue::Secret(reference) => Some((name.clone(), reference.version?)),
        _ => None,
    };
    guest.options.iter().filter_map(version).collect()
}

/// A field that no option stands behind.
pub fn plain_field(
    name: &str,
    before: Option<String>,
    after: Option<String>,
    effect: Effect,
    guest: &DesiredGuest,
) -> FieldChange {
    FieldChange {
        name: name.to_owned(),
        before,
        after,
        effect,
        place: Some(guest.place.clone()),
        layer: None,
        blocked: None,
    }
}

/// People's own text of a description, as the manifest wants it or as it is.
pub fn wanted_text(guest: &DesiredGuest, live: &str) -> String {
    match guest.options.get("description").map(|option| &option.value) {
        _ if options::is_ignored(&guest.ignore, "description") => mark::strip(live),
        Some(OptionValue::Text(text)) => text.clone(),
        Some(OptionValue::Absent) => String::new(),
        _ => mark::strip(live),
    }
}

/// Plans the changes of a guest that is ours, or that is adopted.
pub fn update(cluster: &Cluster<'_>, guest: &DesiredGuest, live: &LiveGuest, mark: Option<&Mark>) -> Change {
    let address = cluster.address(guest, Some(live.vmid));
    let mut change = cluster.change(address, guest);
    change.node = Some(live.node.clone());
    let config = match &live.config {
        Read::Known(config) => config,
        Read::Absent => return cluster.unread(change, "its configuration was not read"),
        Read::Unread(why) => return cluster.unread(change, why),
    };
    let guest = &defaults::fill(guest, cluster.desired, config);
    let power = match &live.power {
        Read::Known(power) => *power,
        Read::Absent => return cluster.unread(change, "its power state was not read"),
        Read::Unread(why) => return cluster.unread(change, why),
    };
    change.base.exists = true;
    let mark_line = || mark.map(Mark::line);
    if let Some(reason) = cluster.locked(live) {
        (change.base.lock, change.base.mark) = (live.lock.clone(), mark_line());
        change.state = if reason.code == ReasonCode::TaskRunning { State::Waiting } else { State::Blocked };
        change.class = Some(Class::Unknown);
        change.reason = Some(reason);
        return change;
    }
    let running = power == Power::Running;
    let mut target = Target::new(guest.kind, Template::text(live.vmid.to_string()), running);
    target.hard = cluster.is_accepted(AcceptanceKind::Stop, &change.address);
    let ha = ha::plan(cluster, guest, Some(live), &target);
    target.by_ha = ha.manages;
    let wanted_power = guest.state.or(ha.power);
    let goes =
        migrate::is_outside(guest, live).then(|| migrate::choose(cluster, guest, live, config, running, ha.manages));
    let to = goes.as_ref().and_then(|goes| goes.as_ref().ok());
    let detach = cluster.accepted_devices(AcceptanceKind::Detach, &change.address);
    let seen = Seen {
        config,
        running,
        foretold: false,
        accepted_detach: &detach,
        kept_on: &|| why_kept_on(cluster, guest, live, wanted_power, &target),
        relocates: to.is_some_and(|to| to.copies),
        as_root: cluster.desired.as_root,
        version: &cluster.live.version,
        address: &change.address,
    };
    let recorded = mark.map(|mark| mark.secrets.clone()).unwrap_or_default();
    let mut found = options::compare(guest, &seen, &recorded);
    let node = to.map_or(live.node.as_str(), |to| to.node.as_str());
    block_what_the_node_lacks(cluster, guest, node, config, &mut found);
    block_what_the_token_lacks(cluster, &target, live, &mut found);
    let (mut fields, mut writes) = (Vec::new(), Vec::new());

    let name_option = match guest.kind {
        GuestKind::Qemu => "name",
        GuestKind::Lxc => "hostname",
    };
    let set = |option: &str, value: &str| Write::Set {
        option: option.to_owned(),
        value: Template::text(value),
        expect: value.to_owned(),
        allocates: false,
        effect: Effect::None,
    };
    let live_name = config.effective(name_option).unwrap_or_default();
    if live_name != guest.name {
        let mut field = plain_field("name", Some(live_name.to_owned()), Some(guest.name.clone()), Effect::None, guest);
        let write = set(name_option, &guest.name);
        field.blocked = cluster.why_not_sent(&Guest::of_live(live), &target.steps(vec![write.clone()]));
        if field.blocked.is_none() {
            writes.push(write);
        }
        fields.push(field);
    }
    let live_tags = config.effective("tags").unwrap_or_default();
    let retagged = (!tags::are_there(guest, cluster.fleet, live_tags)).then(|| {
        let live_tags = parse_tags(live_tags);
        (tags::wanted(guest, cluster.fleet, &live_tags), live_tags)
    });
    if let Some((tags, live_tags)) = retagged.filter(|(tags, live_tags)| tags != live_tags) {
        let show = |tags: &BTreeSet<String>| Some(print_tags(tags)).filter(|text| !text.is_empty());
        let mut field = plain_field("tags", show(&live_tags), show(&tags), Effect::None, guest);
        if let Some(option) = guest.options.get("tags") {
            field.place = Some(option.place.clone());
            field.layer = Some(option.layer.clone());
        }
        field.blocked = cluster.why_not_tagged(&live_tags, &tags);
        if field.blocked.is_none() {
            writes.push(set("tags", &print_tags(&tags)));
        }
        fields.push(field);
    }
    let mut versions = recorded.clone();
    let wanted_versions = secret_versions(guest);
    let written: Vec<&str> = found.writes.iter().map(Write::option).collect();
    versions.retain(|option, _| wanted_versions.contains_key(option));
    versions.extend(wanted_versions.into_iter().filter(|(option, _)| written.contains(&option.as_str())));
    let new_mark = cluster.mark(guest, live.vmid, versions);
    let live_text = config.effective("description").unwrap_or_default();
    let stripped = mark::strip(live_text);
    let text = wanted_text(guest, &stripped);
    let kept = text.trim_end() == stripped;
    // However the line is spaced, what it says is what counts.
    let is_said = kept && mark == Some(&new_mark);
    let description = match is_said {
        true => String::new(),
        false => mark::exchange(live_text, &new_mark.line())
            .filter(|_| kept)
            .unwrap_or_else(|| mark::embed(&text, &new_mark.line())),
    };
    let writes_description = !is_said && !same_value(guest.kind, "description", &description, live_text);
    if writes_description && let Some(reason) = no_room(&description) {
        change.state = State::Blocked;
        change.class = Some(if mark.is_some() { Class::Changed } else { Class::Unknown });
        change.reason = Some(reason);
        return change;
    }
    if writes_description {
        let before = Some(stripped).filter(|text| !text.is_empty());
        if before.as_deref().unwrap_or_default() != text {
            let after = Some(text.clone()).filter(|text| !text.is_empty());
            let mut field = plain_field("description", before, after, Effect::None, guest);
            if let Some(option) = guest.options.get("description") {
                field.place = Some(option.place.clone());
                field.layer = Some(option.layer.clone());
            }
            fields.push(field);
        }
        if mark.is_none() {
            fields.push(plain_field("owner", None, Some(format!("fleet {}", cluster.fleet)), Effect::None, guest));
        }
        // Nothing is written that no field tells of: here the line alone is brought up to date.
        let is_told = |field: &FieldChange| matches!(field.name.as_str(), "description" | "owner");
        if let Some(mark) = mark.filter(|_| !fields.iter().any(is_told) && found.writes.is_empty()) {
            fields.push(plain_field("owner", Some(mark.words()), Some(new_mark.words()), Effect::None, guest));
        }
        writes.push(set("description", &description));
    }
    fields.append(&mut found.fields);
    writes.append(&mut found.writes);
    change.pending = found.pending;
    change.unlisted = found.unlisted;
    change.notes.append(&mut found.notes);

    for key in cluster.accepted_devices(AcceptanceKind::Destroy, &change.address) {
        let Some(volume) = config.current.get(&key).filter(|_| stem(&key) == "unused") else { continue };
        cluster.uses(AcceptanceKind::Destroy, &change.address, &key);
        fields.push(plain_field(&key, Some(volume.clone()), None, Effect::DataLoss, guest));
        change.destroys.push(format!("{key} {volume}"));
        writes.push(Write::Destroy { option: key });
    }
    if protection::block(guest.kind, config, &mut fields, &mut writes) {
        change.destroys.clear();
    }
    let writes_any = !writes.is_empty();
    let Sequence { now: mut steps, off, last } = target.sequence(writes);
    if let Some(pool) = guest.pool.as_ref().filter(|pool| live.pool.as_ref() != Some(*pool)) {
        let mut field = plain_field("pool", live.pool.clone(), Some(pool.clone()), Effect::None, guest);
        let step = target.pool(pool);
        let may_not = || cluster.why_not_sent(&Guest::of_live(live), std::slice::from_ref(&step));
        field.blocked = cluster.missing_pool(pool).or_else(may_not);
        if field.blocked.is_none() {
            steps.push(step);
        }
        fields.push(field);
    }
    if let Some(goes) = &goes {
        let after = goes.as_ref().map_or_else(|_| guest.nodes.join(" or "), |to| to.node.clone());
        let restarts = running && guest.kind == GuestKind::Lxc;
        let effect = if restarts { Effect::Downtime } else { Effect::Migration };
        let mut field = plain_field("node", Some(live.node.clone()), Some(after), effect, guest);
        field.blocked = goes.as_ref().err().cloned();
        fields.push(field);
    }
    fields.extend(ha.fields.iter().cloned());
    let mut template = None;
    if guest.template != live.template {
        let show = |template: bool| Some(if template { "yes" } else { "no" }.to_owned());
        let mut field = plain_field("template", show(live.template), show(guest.template), Effect::None, guest);
        if live.template {
            field.blocked = Some(Reason {
                code: ReasonCode::NotInPlace,
                words: "a template does not become a guest again".to_owned(),
                hint: Some("write `template: true`, or make a clone of it under another name".to_owned()),
            });
        } else if running {
            field.blocked = Some(Reason {
                code: ReasonCode::NeedsOff,
                words: "a guest that runs cannot become a template".to_owned(),
                hint: Some("shut it down first".to_owned()),
            });
        } else {
            let step = target.template();
            field.blocked = cluster.why_not_sent(&Guest::of_live(live), std::slice::from_ref(&step));
            template = Some(step).filter(|_| field.blocked.is_none());
        }
        fields.push(field);
    }
    let mut turns = wanted_power.filter(|wanted| *wanted != power && !live.template);
    if let Some(wanted) = turns {
        let show = |power: Power| Some(if power == Power::Running { "running" } else { "stopped" }.to_owned());
        let effect = if wanted == Power::Stopped { Effect::Downtime } else { Effect::None };
        let mut field = plain_field("state", show(power), show(wanted), effect, guest);
        field.blocked = why_not_turned(live, &ha, wanted).or_else(|| cluster.why_not_turned(live.vmid, target.by_ha));
        if field.blocked.is_some() {
            turns = None;
        }
        fields.push(field);
    }
    let takes = |effect: Effect| {
        let of_effect = |field: &&FieldChange| field.effect == effect && field.blocked.is_none();
        running && fields.iter().any(|field| of_effect(&field))
    };
    let mut may = |wanted: bool, step: &dyn Fn() -> Step| {
        let refused = if wanted { cluster.why_not_sent(&Guest::of_live(live), &[step()]) } else { None };
        change.notes.extend(refused.as_ref().map(|reason| format!("{}; left to be done by hand", reason.words)));
        wanted && refused.is_none()
    };
    let waits = takes(Effect::Reboot) || !change.pending.is_empty();
    let reboots = may(running && guest.reboot && !live.paused && waits, &|| target.reboot(None));
    let reads_cloud_init = guest.kind == GuestKind::Qemu && takes(Effect::NextBoot) && has_cloud_init(config);
    let reads_cloud_init = may(reads_cloud_init && !reboots, &|| target.cloud_init());
    let course = Course {
        target: &target,
        leaves: ha.leaves,
        moves_to: to,
        now: steps,
        off,
        joins: ha.joins,
        last,
        template,
        turns,
        reboots,
        reads_cloud_init,
        timeout: guest.shutdown_timeout,
    };
    let mut steps = course.steps();
    let ends_off_and_on = |step: &Step| {
        matches!(step.kind, StepKind::Reboot) || running && step.expect.contains(&Expect::Power(Power::Stopped))
    };
    if steps.iter().any(ends_off_and_on) {
        change.pending.clear();
    }
    if live.paused {
        change.notes.push("it is paused; nothing turns it on or off until it is resumed by hand".to_owned());
    }

    change.base.power = (!steps.is_empty()).then_some(power);
    let changes_anything = !fields.is_empty() || !steps.is_empty();
    // What nothing rests on is not kept: most guests of a large fleet are as they should be.
    if changes_anything {
        let mut compared: BTreeSet<&str> =
            guest.options.keys().map(String::as_str).filter(|name| *name != "ostemplate").collect();
        compared.extend(["tags", name_option]);
        if writes_any {
            // Written options that the manifest does not list (removed ones) count too.
            compared.extend(steps.iter().flat_map(|step| &step.expect).filter_map(Expect::option));
        }
        if !writes_description {
            compared.remove("description");
        }
        for name in compared {
            change.base.current.insert(name.to_owned(), config.current.get(name).cloned());
            if let Some(pending) = config.pending.get(name) {
                change.base.pending.insert(name.to_owned(), pending.clone());
            }
        }
        (change.base.lock, change.base.mark) = (live.lock.clone(), mark_line());
    }
    change.action = match mark {
        None => Action::Adopt,
        Some(_) if steps.is_empty() && fields.is_empty() => Action::None,
        // Where it moves, that is what happens to it; what changes besides is told by the fields.
        Some(_) if to.is_some() => Action::Migrate,
        Some(_) => Action::Update,
    };
    change.class = match (&change.action, change.pending.is_empty()) {
        (Action::None, true) => None,
        (Action::None, false) => Some(Class::Pending),
        _ => Some(Class::Changed),
    };
    let may_not = || cluster.why_not_sent(&Guest::of_live(live), &steps);
    let refused = Some(()).filter(|()| changes_anything).and_then(|()| cluster.may_change(live.vmid));
    if let Some(reason) = refused.or_else(may_not) {
        steps.clear();
        change.reason = Some(reason);
        change.state = State::Blocked;
    } else if steps.is_empty()
        && let Some(blocked) = fields.iter().find_map(|field| field.blocked.clone())
    {
        change.reason = Some(blocked);
        change.state = State::Blocked;
    }
    change.fields = fields;
    change.steps = steps;
    change
}

/// Why the ownership line cannot be written: people's notes leave no room for it, and are never cut.
pub fn no_room(description: &str) -> Option<Reason> {
    let excess = mark::excess(description);
    (excess > 0).then(|| Reason {
        code: ReasonCode::NotInPlace,
        words: "its notes leave no room for the line of ownership: Proxmox takes 8192 characters".to_owned(),
        hint: Some(format!("shorten the notes by {excess} characters")),
    })
}

/// A device that comes, or goes to another bridge, needs a storage or bridge that the guest's node has.
///
/// What is there already is not asked about: it works, whatever the storage takes nowadays.
fn block_what_the_node_lacks(
    cluster: &Cluster<'_>,
    guest: &DesiredGuest,
    node: &str,
    config: &LiveConfig,
    found: &mut Differences,
) {
    let fields = &mut found.fields;
    found.writes.retain(|write| {
        let (Write::Set { option, .. } | Write::Move { option, .. }) = write else { return true };
        let Some(listed) = guest.options.get(option) else { return true };
        let own = |field: &&mut FieldChange| field.name.split('.').next() == Some(option.as_str());
        let comes = !config.current.contains_key(option);
        let moves = |name: &str| matches!(name.split_once('.'), Some((_, "bridge" | "file" | "volume")));
        if !comes && !fields.iter().any(|field| field.name.split('.').next() == Some(option) && moves(&field.name)) {
            return true;
        }
        let needs = Needs::of_option(guest.kind, option, &listed.value);
        let Some(reason) = needs.missing_on(node, cluster.live) else { return true };
        fields.iter_mut().filter(own).for_each(|field| field.blocked = Some(reason.clone()));
        false
    });
}

/// A difference that the token may not write is told and left; the others are written.
fn block_what_the_token_lacks(cluster: &Cluster<'_>, target: &Target, live: &LiveGuest, found: &mut Differences) {
    if found.writes.is_empty() {
        return;
    }
    let moved = |option: &str| {
        let is_move = |write: &Write| matches!(write, Write::Move { option: moved, .. } if moved == option);
        found.writes.iter().any(is_move)
    };
    let refused: Vec<Option<Reason>> = found
        .writes
        .iter()
        .map(|write| {
            // It grows where it will be then.
            let grows_elsewhere = matches!(write, Write::Resize { option, .. } if moved(option));
            let mut guest = Guest::of_live(live);
            guest.config = guest.config.filter(|_| !grows_elsewhere);
            cluster.why_not_sent(&guest, &target.steps(vec![write.clone()]))
        })
        .collect();
    let mut refused = refused.into_iter();
    let mut gone: Vec<(String, Reason)> = Vec::new();
    found.writes.retain(|write| match refused.next().flatten() {
        None => true,
        Some(reason) => {
            if let Write::Rekey { from, .. } = write {
                gone.push((from.clone(), reason.clone()));
            }
            gone.push((write.option().to_owned(), reason));
            false
        }
    });
    // The boot order names no device that does not come.
    found.writes.retain(|write| {
        let Write::Set { option, expect, .. } = write else { return true };
        let names = |(device, _): &&(String, Reason)| {
            let is_new = live.config.known().is_some_and(|config| !config.current.contains_key(device));
            is_new && expect.split([';', '=', ',']).any(|part| part == device)
        };
        let Some((_, reason)) = gone.iter().find(names).filter(|_| option == "boot").cloned() else { return true };
        gone.push((option.clone(), reason));
        false
    });
    for field in &mut found.fields {
        let option = field.name.split('.').next();
        if let Some((_, reason)) = gone.iter().find(|(name, _)| option == Some(name.as_str())) {
            field.blocked.get_or_insert_with(|| reason.clone());
        }
    }
}

fn paused() -> Reason {
    Reason {
        code: ReasonCode::NeedsOff,
        words: "it is paused, and Proxmox does not shut down what is paused".to_owned(),
        hint: Some("resume it by hand, then plan again".to_owned()),
    }
}

/// Why a guest is not turned on or off.
fn why_not_turned(live: &LiveGuest, ha: &HaChange, wanted: Power) -> Option<Reason> {
    if live.paused {
        return Some(paused());
    }
    let asked = ha.state.as_deref().filter(|_| ha.manages)?;
    if ha::power_of(asked) != Some(wanted) {
        return None;
    }
    Some(Reason {
        code: ReasonCode::TaskRunning,
        words: format!("HA was asked to keep it {asked}, and has not done so yet"),
        hint: Some(
            "run again soon; where it stays so, its HA resource is in an error that is cleared by hand".to_owned(),
        ),
    })
}

/// True for a VM with a cloud-init drive.
fn has_cloud_init(config: &LiveConfig) -> bool {
    config.current.values().any(|text| is_cloudinit(volume_of(text)))
}

/// Why a guest that runs may not be off for a while, even where a change needs that. What is shut down must be sure
/// to be started again, whenever a run ends early.
fn why_kept_on(
    cluster: &Cluster<'_>,
    guest: &DesiredGuest,
    live: &LiveGuest,
    wanted: Option<Power>,
    target: &Target,
) -> Option<Reason> {
    let running = target.running;
    if live.paused {
        return Some(paused());
    }
    let may_be_off = wanted == Some(Power::Stopped) || wanted == Some(Power::Running) && guest.reboot;
    if !running {
        return None;
    }
    if may_be_off {
        return cluster.why_not_turned(live.vmid, target.by_ha);
    }
    Some(Reason {
        code: ReasonCode::NeedsOff,
        words: "it runs, and must be off for this".to_owned(),
        hint: Some("shut it down, or write `state: running` and `reboot: allow`".to_owned()),
    })
}

/// Plans letting a guest go: the mark and the tag are removed, nothing else.
pub fn release(cluster: &Cluster<'_>, guest: &DesiredGuest, live: &LiveGuest, mark: &Mark) -> Change {
    let mut change = cluster.change(cluster.address(guest, Some(live.vmid)), guest);
    change.node = Some(live.node.clone());
    let Read::Known(config) = &live.config else {
        return cluster.unread(change, "its configuration was not read");
    };
    change.base = Base { exists: true, lock: live.lock.clone(), mark: Some(mark.line()), ..Base::default() };
    if let Some(reason) = cluster.locked(live).or_else(|| cluster.may_change(live.vmid)) {
        change.state = if reason.code == ReasonCode::TaskRunning { State::Waiting } else { State::Blocked };
        change.reason = Some(reason);
        return change;
    }
    let text = mark::strip(config.effective("description").unwrap_or_default());
    let live_tags = config.effective("tags").map(parse_tags).unwrap_or_default();
    let mut tags = live_tags.clone();
    tags.remove(&mark::fleet_tag(cluster.fleet));
    if let Some(reason) = cluster.why_not_tagged(&live_tags, &tags) {
        change.state = State::Blocked;
        change.reason = Some(reason);
        return change;
    }
    let write = |option: &str, value: String| {
        if value.is_empty() {
            return Write::Delete { option: option.to_owned(), effect: Effect::None };
        }
        let expect = value.clone();
        Write::Set {
            option: option.to_owned(),
            value: Template::text(value),
            expect,
            allocates: false,
            effect: Effect::None,
        }
    };
    let target = Target::new(guest.kind, Template::text(live.vmid.to_string()), false);
    for option in ["description", "tags"] {
        change.base.current.insert(option.to_owned(), config.current.get(option).cloned());
    }
    change.steps = target.steps(vec![write("description", text), write("tags", print_tags(&tags))]);
    change.fields = vec![plain_field("owner", Some(format!("fleet {}", cluster.fleet)), None, Effect::None, guest)];
    change.action = Action::Release;
    change.class = Some(Class::Changed);
    change
}

impl Cluster<'_> {
    /// The address of a manifest guest here.
    pub fn address(&self, guest: &DesiredGuest, vmid: Option<Vmid>) -> Address {
        Address { cluster: self.name.to_owned(), kind: guest.kind, name: guest.name.clone(), vmid }
    }

    /// A change of this guest that does nothing yet.
    pub fn change(&self, address: Address, guest: &DesiredGuest) -> Change {
        Change {
            address,
            action: Action::None,
            state: State::Ready,
            reason: None,
            class: None,
            node: None,
            place: Some(guest.place.clone()),
            routing: Some(guest.routing),
            fields: Vec::new(),
            steps: Vec::new(),
            base: Base::default(),
            unlisted: BTreeMap::new(),
            pending: Vec::new(),
            destroys: Vec::new(),
            notes: Vec::new(),
            after: guest.depends_on.clone(),
        }
    }

    /// The same as unknown: nothing is planned for what could not be read.
    pub fn unread(&self, mut change: Change, why: &str) -> Change {
        change.state = State::Unknown;
        change.class = Some(Class::Unknown);
        change.reason = Some(Reason { code: ReasonCode::Unread, words: why.to_owned(), hint: None });
        change
    }

    /// The mark of a guest of ours.
    pub fn mark(&self, guest: &DesiredGuest, vmid: Vmid, secrets: BTreeMap<String, u32>) -> Mark {
        Mark {
            cluster: self.name.to_owned(),
            fleet: self.fleet.to_owned(),
            scope: self.scope.to_owned(),
            kind: guest.kind,
            guest: guest.name.clone(),
            vmid,
            secrets,
        }
    }
}
