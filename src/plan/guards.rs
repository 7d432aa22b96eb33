//! The guards: all or nothing, on what one run may destroy or interrupt.

use std::collections::BTreeMap;

use super::accept::AcceptanceKind;
use super::document::{Action, Change, ClusterPlan, Reason, ReasonCode, State, StepKind};
use super::planner::{Cluster, PlanOptions, matches_address};
use crate::desired::Guards;

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
    let reboots_guest = |change: &Change| change.steps.iter().any(|step| step.kind == StepKind::Reboot);
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
        change.steps.clear();
        change.state = State::Blocked;
        change.reason = Some(Reason {
            code: ReasonCode::Guard,
            words: words.to_owned(),
            hint: Some(format!("--accept {kind}:{}, or raise the guard in the manifest", change.address)),
        });
    }
}

/// The guards hold for all clusters together, too.
pub fn over_all(guards: Guards, options: &PlanOptions, clusters: &mut BTreeMap<String, ClusterPlan>) {
    let deletes = |change: &Change| change.action == Action::Delete && change.has_steps();
    let reboots = |change: &Change| change.steps.iter().any(|step| step.kind == StepKind::Reboot);
    guard_class(options, clusters, AcceptanceKind::Delete, "deleted", "max_deletes", guards.max_deletes, &deletes);
    guard_class(options, clusters, AcceptanceKind::Reboot, "rebooted", "max_reboots", guards.max_reboots, &reboots);
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
        change.steps.clear();
        change.state = State::Blocked;
        change.reason = Some(Reason {
            code: ReasonCode::Guard,
            words: format!("{total} guests would be {verb} in all; the guards allow {limit} ({guard})"),
            hint: Some(format!("--accept {}:{}, or raise the guard in the manifest", kind.word(), change.address)),
        });
    }
}
