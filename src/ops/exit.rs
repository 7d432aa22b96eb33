//! Exit codes of `plan` and `drift`, computed once from the whole plan; the first row that fits decides.

use crate::plan::{Change, Class, Plan, State};

/// Exit code of `plan`.
pub fn plan_exit(plan: &Plan, detailed: bool) -> u8 {
    if is_unread(plan) {
        1
    } else if plan.changes().any(is_blocked) {
        3
    } else if detailed && plan.changes().any(Change::has_steps) {
        2
    } else {
        0
    }
}

/// Exit code of `drift`. An orphan is drift whether or not a plan would delete it.
pub fn drift_exit(plan: &Plan) -> u8 {
    if is_unread(plan) {
        1
    } else if plan.changes().any(is_blocked) {
        3
    } else if plan.changes().any(is_difference) {
        2
    } else {
        0
    }
}

fn is_unread(plan: &Plan) -> bool {
    !plan.complete || plan.changes().any(|change| change.state == State::Unknown)
}

fn is_blocked(change: &Change) -> bool {
    matches!(change.state, State::Blocked | State::Waiting) || change.fields.iter().any(|field| field.blocked.is_some())
}

/// What only waits for a reboot is no difference.
fn is_difference(change: &Change) -> bool {
    change.has_steps() || matches!(change.class, Some(Class::Changed | Class::Missing | Class::Orphan))
}
