//! Where a guest stands in its change: as planned, after some of the steps, or elsewhere.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::meaning::{as_planned, has_size};
use crate::live::{LiveConfig, LiveGuest, Read};
use crate::plan::{Change, Expect, Part, Step, StepKind, Template, mark};
use crate::pve::schema::catalog;
use crate::pve::value::{GuestKind, allocation, storage_of};
use crate::pve::{compare, ha};

/// Whether something that a step promises holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    Yes,
    /// It does not; in words, what is seen.
    No(String),
    /// It could not be read.
    Unread(String),
}

/// Where a guest stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// As after this many steps; none is as planned.
    After(usize),
    /// Its creation or clone was begun and has not ended.
    Unfinished(String),
    /// Nowhere in the plan; what differs, in words.
    Stale(Vec<String>),
    /// It could not be read.
    Unread(String),
}

/// Locks of a guest that is being made.
pub(super) fn is_being_made(lock: Option<&str>) -> bool {
    matches!(lock, Some("create" | "clone"))
}

/// True for a step that makes a guest.
pub(super) fn is_making(step: &Step) -> bool {
    matches!(step.kind, StepKind::Create | StepKind::Clone)
}

/// True for a change that makes a guest, be it in place of one that it destroys.
pub(super) fn makes(change: &Change) -> bool {
    change.steps.iter().any(is_making)
}

/// Checks one promise.
pub(super) fn held(kind: GuestKind, expect: &Expect, live: &Read<LiveGuest>) -> Held {
    let guest = match live {
        Read::Unread(reason) => return Held::Unread(reason.clone()),
        Read::Absent if *expect == Expect::Gone => return Held::Yes,
        Read::Absent => return Held::No("the guest is not there".to_owned()),
        Read::Known(guest) => guest,
    };
    let check = |holds: bool, words: &dyn Fn() -> String| if holds { Held::Yes } else { Held::No(words()) };
    match expect {
        Expect::Exists => check(!is_being_made(guest.lock.as_deref()), &|| {
            format!("the guest still bears the lock '{}'", guest.lock.as_deref().unwrap_or_default())
        }),
        Expect::Gone => Held::No("the guest is still there".to_owned()),
        Expect::Option { name, value } => with_config(guest, |config| match config.effective(name) {
            Some(live) if compare::same_value(kind, name, value, live) => Held::Yes,
            Some(live) => Held::No(format!("{name} is '{}' instead of '{}'", short(live), short(value))),
            // What is the default anyway is not always written down.
            None if catalog(kind).find(name).is_some_and(|spec| compare::is_default(kind, name, spec, value)) => {
                Held::Yes
            }
            None => Held::No(format!("{name} is not set; expected is '{}'", short(value))),
        }),
        Expect::NoOption { name } => with_config(guest, |config| match config.effective(name) {
            None => Held::Yes,
            Some(live) => Held::No(format!("{name} is still set to '{}'", short(live))),
        }),
        Expect::Power(power) => match &guest.power {
            Read::Known(live) if live == power => Held::Yes,
            Read::Known(live) => Held::No(format!("the guest is {} instead of {}", word(*live), word(*power))),
            Read::Absent => Held::No("the guest has no power state".to_owned()),
            Read::Unread(reason) => Held::Unread(reason.clone()),
        },
        Expect::Size { drive, size } => with_config(guest, |config| match config.effective(drive) {
            Some(live) if has_size(live, size) => Held::Yes,
            // What waits for a reboot has the size that the disk had when it was written.
            Some(live)
                if config
                    .current
                    .get(drive)
                    .is_some_and(|now| volume_of(now) == volume_of(live) && has_size(now, size)) =>
            {
                Held::Yes
            }
            Some(live) => Held::No(format!("{drive} is '{}'; its size should be {size}", short(live))),
            None => Held::No(format!("there is no {drive}; its size should be {size}")),
        }),
        Expect::Storage { drive, storage } => with_config(guest, |config| match config.effective(drive) {
            Some(live) if volume_of(live).is_some_and(|volume| storage_of(volume) == Some(storage)) => Held::Yes,
            Some(live) => Held::No(format!("{drive} is '{}'; it should be on {storage}", short(live))),
            None => Held::No(format!("there is no {drive}; it should be on {storage}")),
        }),
        Expect::NothingPending => with_config(guest, |config| match config.pending.keys().next() {
            None => Held::Yes,
            Some(option) => Held::No(format!("{option} still waits for a reboot")),
        }),
        // A container's flag is set while its task still renames volumes.
        Expect::Template => check(guest.template && guest.lock.is_none(), &|| "the guest is not a template".to_owned()),
        Expect::Pool(pool) => check(guest.pool.as_ref() == Some(pool), &|| match &guest.pool {
            Some(live) => format!("the guest is in pool '{live}' instead of '{pool}'"),
            None => format!("the guest is not in pool '{pool}'"),
        }),
        Expect::Ha(wanted) => has_ha(wanted.as_ref(), guest.ha.as_ref()),
        Expect::Node(node) => {
            check(guest.node == *node, &|| format!("the guest is on node '{}' instead of '{node}'", guest.node))
        }
    }
}

/// True when the HA resource is as a step leaves it, whatever its manager has made of it yet.
pub(super) fn ha_held(step: &Step, live: &Read<LiveGuest>) -> bool {
    let promise =
        step.expect.iter().find_map(|expect| if let Expect::Ha(wanted) = expect { Some(wanted) } else { None });
    matches!((promise, live), (Some(wanted), Read::Known(guest)) if has_ha(wanted.as_ref(), guest.ha.as_ref()) == Held::Yes)
}

/// Checks a promise about the HA resource.
fn has_ha(wanted: Option<&BTreeMap<String, String>>, live: Option<&Read<BTreeMap<String, String>>>) -> Held {
    match (wanted, live) {
        (_, None) => Held::Unread("its HA resource was not read".to_owned()),
        (_, Some(Read::Unread(reason))) => Held::Unread(reason.clone()),
        (None, Some(Read::Absent)) => Held::Yes,
        (None, Some(Read::Known(_))) => Held::No("it is an HA resource".to_owned()),
        (Some(_), Some(Read::Absent)) => Held::No("it is no HA resource".to_owned()),
        (Some(wanted), Some(Read::Known(live))) => {
            let get = |name: &str| live.get(name).map(String::as_str);
            match wanted.iter().find(|(name, value)| !ha::same(name, Some(value), get(name))) {
                None => Held::Yes,
                Some((name, value)) => {
                    let now = get(name).unwrap_or("not set");
                    Held::No(format!("{name} of its HA resource is '{now}' instead of '{value}'"))
                }
            }
        }
    }
}

/// The volume in the text of a drive.
fn volume_of(text: &str) -> Option<&str> {
    let first = text.split(',').next()?;
    Some(first.strip_prefix("file=").or_else(|| first.strip_prefix("volume=")).unwrap_or(first))
}

fn with_config(guest: &LiveGuest, check: impl FnOnce(&LiveConfig) -> Held) -> Held {
    match &guest.config {
        Read::Known(config) => check(config),
        Read::Absent => Held::Unread("its configuration was not read".to_owned()),
        Read::Unread(reason) => Held::Unread(reason.clone()),
    }
}

/// Checks all promises of one step; the first that does not hold decides.
pub(super) fn step_held(change: &Change, index: usize, live: &Read<LiveGuest>) -> Held {
    let Some(step) = change.steps.get(index) else { return Held::Yes };
    first_unheld(step.expect.iter().map(|expect| held(change.address.kind, expect, live)))
}

fn first_unheld(answers: impl Iterator<Item = Held>) -> Held {
    answers.filter(|held| *held != Held::Yes).min_by_key(|held| matches!(held, Held::No(_))).unwrap_or(Held::Yes)
}

pub(super) fn written_options(steps: &[Step]) -> BTreeSet<&str> {
    steps.iter().flat_map(|step| &step.expect).filter_map(Expect::option).collect()
}

/// What must hold after these steps: the last promise about each thing. Once a guest is gone nothing else counts.
pub(super) fn promises(steps: &[Step]) -> Vec<Cow<'_, Expect>> {
    let mut last: BTreeMap<(u8, &str), Cow<'_, Expect>> = BTreeMap::new();
    for expect in steps.iter().flat_map(|step| &step.expect) {
        let key = match expect {
            Expect::Exists | Expect::Gone => (0, ""),
            Expect::Option { name, .. } | Expect::NoOption { name } => (1, name.as_str()),
            Expect::Power(_) => (2, ""),
            Expect::Size { drive, .. } => (6, drive.as_str()),
            Expect::Storage { drive, .. } => (8, drive.as_str()),
            Expect::NothingPending => (7, ""),
            Expect::Template => (3, ""),
            Expect::Pool(_) => (4, ""),
            Expect::Node(_) => (5, ""),
            Expect::Ha(_) => (9, ""),
        };
        if *expect == Expect::Gone {
            last.clear();
        }
        if let Expect::NoOption { name } = expect {
            // A drive that went is of no size, and nowhere.
            last.remove(&(6, name.as_str()));
            last.remove(&(8, name.as_str()));
        }
        if let Expect::Size { drive, .. } = expect
            && let Some(made) = last.get_mut(&(1, drive.as_str()))
            && let Expect::Option { value, .. } = made.as_ref()
            && let Some(value) = without_allocation(value)
        {
            // The disk was grown since it was made.
            *made = Cow::Owned(Expect::Option { name: drive.clone(), value });
        }
        last.insert(key, Cow::Borrowed(expect));
    }
    last.into_values().collect()
}

/// `local-lvm:32,ssd=1` as `ssd=1`; nothing where no volume is asked for.
fn without_allocation(value: &str) -> Option<String> {
    let is_asked = |part: &&str| allocation(part.split_once('=').map_or(part, |(_, volume)| volume)).is_some();
    let asked = value.split(',').find(is_asked)?;
    Some(value.split(',').filter(|part| *part != asked).collect::<Vec<_>>().join(","))
}

/// What still differs from the end of the change, in words.
pub(super) fn left(change: &Change, live: &Read<LiveGuest>) -> Vec<String> {
    let mut left: Vec<String> = Vec::new();
    for expect in promises(&change.steps) {
        let words = match held(change.address.kind, &expect, live) {
            Held::Yes => continue,
            Held::No(words) => words,
            Held::Unread(reason) => format!("could not be read: {reason}"),
        };
        if !left.contains(&words) {
            left.push(words);
        }
    }
    left
}

/// Finds where a guest stands in its change: the first number of steps after which it would look like this.
///
/// The first, because a step that shows in nothing (a password) must rather be repeated than left out.
pub(super) fn standing(change: &Change, live: &Read<LiveGuest>) -> Standing {
    if let Read::Unread(reason) = live {
        return Standing::Unread(reason.clone());
    }
    if let Read::Known(guest) = live
        && let Some(reason) = guest.config.unread().or(guest.power.unread())
    {
        return Standing::Unread(reason.to_owned());
    }
    let from_plan = differences(change, live);
    if from_plan.is_empty() {
        return Standing::After(0);
    }
    for done in 1..=change.steps.len() {
        if fits_after(change, done, live) {
            return Standing::After(done);
        }
    }
    match live {
        Read::Known(guest) if makes(change) && is_being_made(guest.lock.as_deref()) => {
            Standing::Unfinished(guest.lock.clone().unwrap_or_default())
        }
        _ => Standing::Stale(from_plan),
    }
}

/// What differs from what the plan rests on, in words.
fn differences(change: &Change, live: &Read<LiveGuest>) -> Vec<String> {
    let base = &change.base;
    let kind = change.address.kind;
    let guest = match live {
        Read::Known(guest) => guest,
        _ if base.exists => return vec!["the guest is gone".to_owned()],
        _ => return Vec::new(),
    };
    if !base.exists {
        return vec![taken(change, guest)];
    }
    let mut found = Vec::new();
    let mut differ = |what: &str, planned: Option<&str>, now: Option<&str>| {
        let show =
            |value: Option<&str>| value.map_or_else(|| "not set".to_owned(), |value| format!("'{}'", short(value)));
        found.push(format!("{what} was {} when planned and is {} now", show(planned), show(now)));
    };
    if base.lock != guest.lock {
        differ("lock", base.lock.as_deref(), guest.lock.as_deref());
    }
    if let (Some(planned), Some(now)) = (base.power, guest.power.known())
        && planned != *now
    {
        differ("power", Some(word(planned)), Some(word(*now)));
    }
    let Some(config) = guest.config.known() else { return found };
    if !bears(guest, base.mark.as_deref()) {
        differ("the ownership line", base.mark.as_deref(), mark_line(guest));
    }
    let same_or_absent = |option: &str, planned: Option<&str>, now: Option<&str>| match (planned, now) {
        (None, None) => true,
        (Some(planned), Some(now)) => as_planned(kind, option, planned, now),
        _ => false,
    };
    for (option, planned) in &base.current {
        let now = config.current.get(option).map(String::as_str);
        if !same_or_absent(option, planned.as_deref(), now) {
            differ(option, planned.as_deref(), now);
        }
    }
    for option in base.current.keys().chain(base.pending.keys()).collect::<BTreeSet<_>>() {
        let (planned, now) = (base.pending.get(option), config.pending.get(option));
        let equal = match (planned, now) {
            (None, None) => true,
            (Some(planned), Some(now)) => same_or_absent(option, planned.as_deref(), now.as_deref()),
            _ => false,
        };
        if !equal {
            let words = |value: Option<&Option<String>>| match value {
                None => None,
                Some(None) => Some("to be removed".to_owned()),
                Some(Some(value)) => Some(value.clone()),
            };
            differ(&format!("pending {option}"), words(planned).as_deref(), words(now).as_deref());
        }
    }
    found
}

fn taken(change: &Change, guest: &LiveGuest) -> String {
    let vmid = guest.vmid;
    let name = guest.name.known().map(|name| format!(" by '{name}'")).unwrap_or_default();
    let mark = mark_after(change, 1);
    if mark.is_some() && bears(guest, mark.as_deref()) {
        return format!(
            "vmid {vmid} exists and bears this guest's mark, but is not as any step of this plan leaves it"
        );
    }
    format!("vmid {vmid} was taken meanwhile{name}")
}

/// True when the guest is as these steps leave it: their promises hold, and what they do not touch is as planned.
fn fits_after(change: &Change, done: usize, live: &Read<LiveGuest>) -> bool {
    let kind = change.address.kind;
    let steps = &change.steps[..done];
    let promises = promises(steps);
    if promises.is_empty() || promises.iter().any(|expect| held(kind, expect, live) != Held::Yes) {
        return false;
    }
    let Read::Known(guest) = live else { return true };
    let Some(config) = guest.config.known() else { return false };
    let locked = change.base.exists && guest.lock != change.base.lock;
    if locked || !bears(guest, mark_after(change, done).as_deref()) {
        return false;
    }
    if makes(change) && steps.iter().any(is_making) {
        // Nothing of what was there before is there any more.
        return true;
    }
    let promised: BTreeSet<&str> = promises.iter().filter_map(|expect| expect.option()).collect();
    if !promises.iter().any(|expect| matches!(**expect, Expect::Power(_)))
        && let (Some(planned), Some(now)) = (change.base.power, guest.power.known())
        && planned != *now
    {
        return false;
    }
    // Converting and moving rename volumes.
    let renames = steps.iter().any(|step| matches!(step.kind, StepKind::Template | StepKind::Migrate));
    change.base.current.iter().all(|(option, planned)| {
        // Proxmox itself takes a detached drive out of the boot order and lists it as unused.
        let side_effect =
            option == "boot" || option.starts_with("unused") || renames && compare::is_drive(kind, option);
        if side_effect || promised.contains(option.as_str()) {
            return true;
        }
        // A shutdown, a start or a write may have applied what was pending.
        let planned = change.base.pending.get(option).unwrap_or(planned).as_deref();
        match (planned, config.effective(option)) {
            (None, None) => true,
            (Some(planned), Some(now)) => as_planned(kind, option, planned, now),
            _ => false,
        }
    })
}

/// True when the guest bears this ownership line. None in the plan asks for nothing: a guest that is adopted may
/// bear the line of the guest that it was copied from.
pub(super) fn bears(guest: &LiveGuest, line: Option<&str>) -> bool {
    let Some(line) = line else { return true };
    mark::read(description(guest)) == mark::read(line)
}

fn description(guest: &LiveGuest) -> &str {
    let text = guest.config.known().and_then(|config| config.current.get("description"));
    text.map_or("", String::as_str)
}

fn mark_line(guest: &LiveGuest) -> Option<&str> {
    mark_in(description(guest))
}

fn mark_in(description: &str) -> Option<&str> {
    description.lines().map(str::trim).find(|line| line.starts_with("<!-- pvefleet "))
}

/// The ownership line that the guest bears after these steps.
fn mark_after(change: &Change, done: usize) -> Option<String> {
    let mut mark = change.base.mark.as_deref().map(|mark| mark.trim().to_owned());
    for step in &change.steps[..done.min(change.steps.len())] {
        if let Some(description) = step.call.params.get("description") {
            mark = mark_in(&with_vmid(change, description)).map(str::to_owned);
        } else if step.expect.contains(&Expect::NoOption { name: "description".to_owned() }) {
            mark = None;
        }
    }
    mark
}

/// A text whose only hole is the guest's own id.
fn with_vmid(change: &Change, template: &Template) -> String {
    let vmid = change.address.vmid.map(|vmid| vmid.to_string()).unwrap_or_default();
    template.0.iter().map(|part| if let Part::Text(text) = part { text.as_str() } else { vmid.as_str() }).collect()
}

/// The word for a power state.
pub(super) const fn word(power: crate::live::Power) -> &'static str {
    match power {
        crate::live::Power::Running => "running",
        crate::live::Power::Stopped => "stopped",
    }
}

/// A value as it fits in a line.
pub(super) fn short(value: &str) -> String {
    let line = value.replace('\n', " ");
    if line.chars().count() <= 80 { line } else { format!("{}…", line.chars().take(79).collect::<String>()) }
}
