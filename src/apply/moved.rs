//! What changed between two reads of a guest, beside what a step of ours brings about: somebody else was at it.

use std::collections::BTreeSet;

use super::meaning::as_planned;
use super::state::{Held, held, is_making, short, written_options};
use crate::live::{LiveGuest, Read};
use crate::plan::{Change, StepKind};
use crate::pve::compare;

/// True when nothing that this change is about differs between two reads, but for what the step itself writes.
///
/// With `partly`, an option that already is as the step wants counts as unmoved: a write of options is not atomic.
pub(super) fn unmoved(
    change: &Change,
    index: usize,
    before: &Read<LiveGuest>,
    now: &Read<LiveGuest>,
    partly: bool,
) -> bool {
    moved(change, index, before, now, partly).is_empty()
}

/// What of the things that this change is about differs between two reads, in words; as [`unmoved`].
pub(super) fn moved(
    change: &Change,
    index: usize,
    before: &Read<LiveGuest>,
    now: &Read<LiveGuest>,
    partly: bool,
) -> Vec<String> {
    let (before, now_guest) = match (before, now) {
        (Read::Absent, Read::Absent) => return Vec::new(),
        (Read::Known(before), Read::Known(now)) => (before, now),
        (Read::Known(_), Read::Absent) => return vec!["the guest is gone".to_owned()],
        (_, Read::Known(_)) => return vec!["the guest is there now".to_owned()],
        _ => return vec!["the guest could not be read".to_owned()],
    };
    let (Some(old), Some(new)) = (before.config.known(), now_guest.config.known()) else {
        return vec!["its configuration could not be read".to_owned()];
    };
    let Some(step) = change.steps.get(index) else { return Vec::new() };
    let mut found = Vec::new();
    let mut compare = |what: &str, same: bool| {
        if !same {
            found.push(format!("{what} changed meanwhile"));
        }
    };
    compare("its HA resource", before.ha == now_guest.ha);
    compare("its power state", before.power == now_guest.power);
    compare("whether it is a template", before.template == now_guest.template);
    compare("its lock", before.lock == now_guest.lock);
    for option in concerned(change) {
        let unchanged =
            old.current.get(option) == new.current.get(option) && old.pending.get(option) == new.pending.get(option);
        let written = || {
            let promises = step.expect.iter().filter(|expect| expect.option() == Some(option));
            partly && promises.clone().any(|expect| held(change.address.kind, expect, now) == Held::Yes)
        };
        if !unchanged && !written() {
            found.push(differs(option, old.effective(option), new.effective(option)));
        }
    }
    found
}

/// The options that a change rests on or writes.
fn concerned(change: &Change) -> BTreeSet<&str> {
    let mut options: BTreeSet<&str> = written_options(&change.steps);
    options.extend(change.base.current.keys().map(String::as_str));
    options.extend(change.base.pending.keys().map(String::as_str));
    options.insert("description");
    options
}

fn differs(option: &str, old: Option<&str>, new: Option<&str>) -> String {
    let show = |value: Option<&str>| value.map_or_else(|| "not set".to_owned(), |value| format!("'{}'", short(value)));
    format!("{option} was {} and is {} now", show(old), show(new))
}

/// What somebody else changed while a step was carried out, in words: of the things that this change is about, what
/// the step neither writes nor brings about.
pub(super) fn meddled(change: &Change, index: usize, before: &Read<LiveGuest>, now: &Read<LiveGuest>) -> Vec<String> {
    let (Some(before), Some(now_guest), Some(step)) = (before.known(), now.known(), change.steps.get(index)) else {
        return Vec::new();
    };
    let (Some(old), Some(new)) = (before.config.known(), now_guest.config.known()) else { return Vec::new() };
    if is_making(step) {
        return Vec::new();
    }
    // Converting and moving rename volumes.
    let renames = matches!(step.kind, StepKind::Template | StepKind::Migrate | StepKind::Move);
    let kind = change.address.kind;
    let is_touched = |option: &str| {
        let written = step.expect.iter().any(|expect| expect.option() == Some(option));
        // Proxmox itself takes a detached drive out of the boot order and lists it as unused.
        let side_effect =
            option == "boot" || option.starts_with("unused") || renames && compare::is_drive(kind, option);
        // It pins the board of a VM whose guest system becomes Windows.
        let pinned = option == "machine" && step.call.params.contains_key("ostype");
        written || side_effect || pinned || step.call.params.contains_key(option)
    };
    let same = |option: &str| match (old.effective(option), new.effective(option)) {
        (None, None) => true,
        (Some(old), Some(new)) => as_planned(kind, option, old, new),
        _ => false,
    };
    let options = concerned(change).into_iter().filter(|option| !is_touched(option) && !same(option));
    options.map(|option| differs(option, old.effective(option), new.effective(option))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::testing;
    use crate::live::{LiveConfig, Power};
    use crate::plan::{Base, Expect, Template};
    use crate::pve::http::Method;
    use crate::pve::value::{GuestKind, Vmid};

    fn guest(options: &[(&str, &str)]) -> Read<LiveGuest> {
        let current = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Read::Known(LiveGuest {
            vmid: Vmid::new(100).unwrap(),
            kind: GuestKind::Qemu,
            node: "pve1".to_owned(),
            name: Read::Known("web".to_owned()),
            power: Read::Known(Power::Stopped),
            template: false,
            tags: BTreeSet::new(),
            lock: None,
            pool: None,
            snapshots: Default::default(),
            paused: false,
            ha: None,
            config: Read::Known(LiveConfig { current, ..LiveConfig::default() }),
        })
    }

    /// A change that detaches a drive, then sets its cores.
    fn change() -> Change {
        let mut change = testing::change("a", "web", 100);
        let step = |expect| testing::step(StepKind::Configure, Method::Put, Template::text("/x"), vec![expect]);
        change.base = Base { exists: true, ..Base::default() };
        change.base.current.insert("boot".to_owned(), Some("order=scsi1".to_owned()));
        change.steps = vec![
            step(Expect::NoOption { name: "scsi1".to_owned() }),
            step(Expect::Option { name: "cores".to_owned(), value: "4".to_owned() }),
        ];
        change
    }

    #[test]
    fn what_somebody_else_changed_is_named_and_what_the_step_brings_about_is_not() {
        let before = guest(&[("cores", "2"), ("scsi1", "a:vm-100-disk-1"), ("boot", "order=scsi1")]);
        let detached = [("unused0", "a:vm-100-disk-1"), ("boot", "order=net0")];
        let now = |cores| guest(&[&detached[..], &[("cores", cores), ("sockets", "9")]].concat());
        assert!(meddled(&change(), 0, &before, &now("2")).is_empty(), "sockets are none of its matter");
        assert_eq!(meddled(&change(), 0, &before, &now("7")), ["cores was '2' and is '7' now"]);
        assert!(meddled(&change(), 1, &now("2"), &now("4")).is_empty(), "the step itself");
    }

    #[test]
    fn all_that_moved_is_named() {
        let before = guest(&[("cores", "2"), ("boot", "order=scsi1")]);
        let mut now = guest(&[("cores", "7"), ("description", "mine")]);
        if let Read::Known(guest) = &mut now {
            guest.lock = Some("backup".to_owned());
        }
        let words = [
            "its lock changed meanwhile",
            "boot was 'order=scsi1' and is not set now",
            "cores was '2' and is '7' now",
            "description was not set and is 'mine' now",
        ];
        assert_eq!(moved(&change(), 1, &before, &now, false), words);
        assert_eq!(moved(&change(), 1, &before, &Read::Absent, false), ["the guest is gone"]);
        assert!(unmoved(&change(), 1, &before, &before, false));
        // A write of options is not atomic: what is there already is no change of somebody else's.
        let partly = guest(&[("cores", "4"), ("boot", "order=scsi1")]);
        assert!(unmoved(&change(), 1, &before, &partly, true) && !unmoved(&change(), 1, &before, &partly, false));
    }
}
