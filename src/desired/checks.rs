//! What must hold of a resolved guest, and between the guests of one cluster.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{CloneFrom, DesiredCluster, DesiredGuest, HaState, OptionValue, Power};
use crate::diagnostics::Diagnostic;
use crate::pve::schema::nearest;
use crate::pve::value::GuestKind;

/// Checks one guest by itself.
pub(super) fn guest(guest: &DesiredGuest, problems: &mut Vec<Diagnostic>) {
    let mut report = |code: &str, message: String, hint: &str| {
        problems.push(Diagnostic::error(code, message).at(&guest.place).hint(hint));
    };
    let name = &guest.name;
    let set = |option: &str| guest.options.get(option).filter(|option| option.value != OptionValue::Absent);
    if guest.kind == GuestKind::Lxc && !guest.adopt && !guest.released {
        match (&guest.clone, set("ostemplate")) {
            (Some(_), Some(_)) => report(
                "two-sources",
                format!("the container `{name}` has both `clone` and `ostemplate`"),
                "keep the one that it is made from",
            ),
            (None, None) if guest.archive.is_none() => report(
                "no-source",
                format!("the container `{name}` does not say what it is made from"),
                "add `ostemplate: STORAGE:vztmpl/FILE` or `clone: {from: NAME}`",
            ),
            _ => {}
        }
        if guest.clone.is_none() && guest.archive.is_none() && set("rootfs").is_none() {
            report(
                "no-rootfs",
                format!("the container `{name}` has no root disk"),
                "add `rootfs: {storage: …, size: 8GiB}`",
            );
        }
    }
    if guest.template && guest.state.is_some() {
        report(
            "template-state",
            format!("`{name}` is to become a template, which never runs"),
            "take `state` away, or `template: true`; `state: null` ends what a default or profile says",
        );
    }
    if let Some(ha) = guest.ha.as_ref().filter(|ha| guest.template && ha.value != HaState::Absent) {
        let message = format!("`{name}` is to become a template, which HA has nothing to keep of");
        let problem = Diagnostic::error("template-state", message).at(&ha.place);
        problems.push(problem.hint("take `ha` away; `ha: null` ends what a default or profile says"));
    }
    if let (Some(power), Some(ha)) = (guest.state, &guest.ha)
        && let HaState::Managed { state: Some(state), .. } = &ha.value
        && crate::pve::ha::runs(state).is_some_and(|runs| runs != (power == Power::Running))
    {
        let message = format!("`state` and `ha.state` of `{name}` contradict each other");
        let problem = Diagnostic::error("wrong-value", message).at(&ha.place);
        problems
            .push(problem.hint("HA turns the guest on and off; leave `state` out").also(&guest.place, "this guest"));
    }
    let made_from = guest.clone.as_ref().map(|_| "clone").or_else(|| set("ostemplate").map(|_| "ostemplate"));
    if let (Some(archive), Some(other)) = (&guest.archive, made_from) {
        let message = format!("`{name}` has both `archive` and `{other}`");
        let problem = Diagnostic::error("two-sources", message).at(&archive.place);
        problems.push(problem.hint("keep the one that it is made from").also(&guest.place, "this guest"));
    }
    if let Some(former) = guest.renamed_from.as_ref().filter(|former| former.value == *name) {
        let problem = Diagnostic::error("wrong-value", format!("`{name}` is its name already")).at(&former.place);
        problems.push(problem.hint("`renamed_from` is the former name; leave it out once it is renamed"));
    }
    let vmid = guest.vmid.map(|vmid| vmid.to_string());
    if let Some(clone) = guest.clone.as_ref().filter(|clone| match &clone.from {
        CloneFrom::Named(from) => from == name || Some(from) == vmid.as_ref(),
        CloneFrom::Tagged(_) => false,
    }) {
        problems.push(
            Diagnostic::error("clone-of-itself", format!("`{name}` is cloned from itself"))
                .at(&clone.place)
                .also(&guest.place, "this guest"),
        );
    }
}

/// Checks that what guests depend on is there, and that nothing waits for itself.
pub(super) fn dependencies(name: &str, cluster: &DesiredCluster, complete: bool, problems: &mut Vec<Diagnostic>) {
    let by_name: BTreeMap<&str, &DesiredGuest> =
        cluster.guests.iter().map(|guest| (guest.name.as_str(), guest)).collect();
    for guest in &cluster.guests {
        for needed in guest.depends_on.iter().filter(|needed| complete && !by_name.contains_key(needed.as_str())) {
            let message = format!("`{}` depends on `{needed}`, which is not among the guests of {name}", guest.name);
            let problem = Diagnostic::error("unknown-dependency", message).at(&guest.place);
            problems.push(match nearest(needed, by_name.keys()) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem.hint("`depends_on` names guests of the same cluster and manifest"),
            });
        }
    }
    // Guests that end every chain are taken away until none is left, or only cycles are.
    let mut left: BTreeSet<&str> = by_name.keys().copied().collect();
    loop {
        let free: Vec<&str> = left
            .iter()
            .copied()
            .filter(|guest| {
                by_name
                    .get(guest)
                    .is_none_or(|guest| guest.depends_on.iter().all(|needed| !left.contains(needed.as_str())))
            })
            .collect();
        if free.is_empty() {
            break;
        }
        for guest in free {
            left.remove(guest);
        }
    }
    while let Some(start) = left.first().copied() {
        let mut path = vec![start];
        let cycle = loop {
            let last = path.last().copied().unwrap_or(start);
            let next = by_name
                .get(last)
                .and_then(|guest| guest.depends_on.iter().map(String::as_str).find(|needed| left.contains(needed)));
            let Some(next) = next else { break Vec::new() };
            if let Some(begin) = path.iter().position(|seen| *seen == next) {
                break path.split_off(begin);
            }
            path.push(next);
        };
        for guest in path.iter().chain(&cycle) {
            left.remove(guest);
        }
        if let Some(first) = cycle.first().and_then(|first| by_name.get(first)) {
            let mut words: Vec<String> = cycle.iter().map(|guest| format!("`{guest}`")).collect();
            words.push(format!("`{}`", first.name));
            let message = format!("guests depend on each other in a circle: {}", words.join(" → "));
            problems.push(Diagnostic::error("dependency-cycle", message).at(&first.place));
        }
    }
}
