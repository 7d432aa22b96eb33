//! The guards: all or nothing, on what one run may destroy or interrupt.

use std::collections::BTreeMap;

use super::accept::{Acceptance, AcceptanceKind};
use super::document::{Action, Change, ClusterPlan, Expect, Reason, ReasonCode, State, Step, StepKind};
use super::orphans::PURGES;
use super::planner::{Cluster, PlanOptions, matches_address};
use crate::desired::{Desired, Guards, Power};

/// Blocks every deletion, or every reboot, of a cluster when there are more than the guards allow.
pub fn of_cluster(cluster: &Cluster<'_>, guards: Guards, owned: usize, changes: &mut [Change]) {
    let accepted = |change: &Change, kind| cluster.is_accepted(kind, &change.address);
    let deletes = changes
        .iter()
        .filter(|change| {
            change.action == Action::Delete && change.has_steps() && !accepted(change, AcceptanceKind::Delete)
        })
        .count();
    let percent = (owned * guards.max_delete_percent as usize).div_ceil(100);
    let limit = (guards.max_deletes as usize).min(percent);
    if deletes > limit {
        let words = format!(
            "{deletes} guests would be deleted; the guards allow {limit} here (max_deletes {}, max_delete_percent {} of {owned})",
            guards.max_deletes, guards.max_delete_percent
        );
        block(changes, &words, "delete", |change| {
            change.action == Action::Delete && !accepted(change, AcceptanceKind::Delete)
        });
    }
    let reboots =
        changes.iter().filter(|change| reboots_guest(change) && !accepted(change, AcceptanceKind::Reboot)).count();
    if reboots > guards.max_reboots as usize {
        let words =
            format!("{reboots} guests would be rebooted; the guards allow {} (max_reboots)", guards.max_reboots);
        block(changes, &words, "reboot", |change| reboots_guest(change) && !accepted(change, AcceptanceKind::Reboot));
    }
}

fn block(changes: &mut [Change], words: &str, kind: &str, of_class: impl Fn(&Change) -> bool) {
    for change in changes.iter_mut().filter(|change| change.has_steps() && of_class(change)) {
        let hint = format!("--accept {kind}:{}, or raise the guard in the manifest", change.address);
        hold_back(change, words.to_owned(), hint);
    }
}

/// Nothing is done to the guest, so nothing is told of what that would have taken with it.
fn hold_back(change: &mut Change, words: String, hint: String) {
    change.steps.clear();
    change.notes.retain(|note| note != PURGES);
    change.state = State::Blocked;
    change.reason = Some(Reason { code: ReasonCode::Guard, words, hint: Some(hint) });
}

/// The guards hold for all clusters together, too.
pub fn over_all(guards: Guards, options: &PlanOptions, clusters: &mut BTreeMap<String, ClusterPlan>) {
    let deletes = |change: &Change| change.action == Action::Delete && change.has_steps();
    guard_class(options, clusters, AcceptanceKind::Delete, "deleted", "max_deletes", guards.max_deletes, &deletes);
    guard_class(
        options,
        clusters,
        AcceptanceKind::Reboot,
        "rebooted",
        "max_reboots",
        guards.max_reboots,
        &reboots_guest,
    );
}

/// True for a change that reboots its guest, or shuts it down and starts it again.
fn reboots_guest(change: &Change) -> bool {
    // Making a guest anew is accepted by name.
    if change.action == Action::Recreate {
        return false;
    }
    let turns = |step: &Step, power| step.expect.contains(&Expect::Power(power));
    let off = change.steps.iter().position(|step| turns(step, Power::Stopped));
    let on_again = |off: usize| change.steps.iter().skip(off + 1).any(|step| turns(step, Power::Running));
    change.steps.iter().any(|step| step.kind == StepKind::Reboot) || off.is_some_and(on_again)
}

/// A manifest without any guest is more often a mistake than a wish: nothing is pruned then, unless that is accepted.
pub fn of_nothing(
    desired: &Desired,
    options: &PlanOptions,
    clusters: &mut BTreeMap<String, ClusterPlan>,
) -> Option<Acceptance> {
    let orphans =
        || clusters.values().flat_map(|cluster| &cluster.changes).filter(|change| change.action == Action::Delete);
    let total = orphans().count();
    if total == 0 || desired.clusters.values().any(|cluster| !cluster.guests.is_empty()) {
        return None;
    }
    let is_it = |accept: &&Acceptance| accept.kind == AcceptanceKind::Empty && accept.cluster == desired.fleet;
    if let Some(accepted) = options.accept.iter().find(is_it) {
        return Some(accepted.clone());
    }
    let by_name = |change: &Change| {
        let is_it =
            |accept: &Acceptance| accept.kind == AcceptanceKind::Delete && matches_address(accept, &change.address);
        options.accept.iter().any(is_it)
    };
    let changes = clusters.values_mut().flat_map(|cluster| &mut cluster.changes);
    for change in changes.filter(|change| change.action == Action::Delete && change.has_steps() && !by_name(change)) {
        let words = format!("the manifest has no guest, and fleet {} owns {total}", desired.fleet);
        hold_back(change, words, format!("--accept empty:{}, or see that the whole manifest was read", desired.fleet));
    }
    None
}

fn guard_class(
    options: &PlanOptions,
    clusters: &mut BTreeMap<String, ClusterPlan>,
    kind: AcceptanceKind,
    verb: &str,
    guard: &str,
    limit: u32,
    is_of_class: &dyn Fn(&Change) -> bool,
) {
    let accepted = |change: &Change| {
        options.accept.iter().any(|accept| accept.kind == kind && matches_address(accept, &change.address))
    };
    let is_counted = |change: &Change| is_of_class(change) && !accepted(change);
    let total = clusters.values().flat_map(|cluster| &cluster.changes).filter(|change| is_counted(change)).count();
    if total <= limit as usize {
        return;
    }
    for change in clusters.values_mut().flat_map(|cluster| &mut cluster.changes).filter(|change| is_counted(change)) {
        let words = format!("{total} guests would be {verb} in all; the guards allow {limit} ({guard})");
        let hint = format!("--accept {}:{}, or raise the guard in the manifest", kind.word(), change.address);
        hold_back(change, words, hint);
    }
}
