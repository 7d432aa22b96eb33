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

/// What counts as drift.
#[derive(Debug, Clone, Default)]
pub struct DriftOptions {
    /// What waits for a reboot and options that are not listed count too.
    pub strict: bool,
    /// Only these classes count; empty means all.
    pub fail_on: Vec<Class>,
}

impl DriftOptions {
    fn counts(&self, change: &Change) -> bool {
        let class = change.class.or_else(|| (!change.unlisted.is_empty()).then_some(Class::Unlisted));
        let also = !change.unlisted.is_empty() && self.fail_on.contains(&Class::Unlisted);
        match class {
            Some(class) if !self.fail_on.is_empty() => also || self.fail_on.contains(&class),
            Some(Class::Pending | Class::Unlisted) => self.strict || change.has_steps(),
            Some(_) => true,
            None => change.has_steps() && self.fail_on.is_empty(),
        }
    }
}

/// Exit code of `drift`. An orphan is drift whether or not a plan would delete it.
pub fn drift_exit(plan: &Plan, options: &DriftOptions) -> u8 {
    let counted = || plan.changes().filter(|change| options.counts(change));
    if is_unread(plan) {
        1
    } else if counted().any(is_blocked) {
        3
    } else if counted().next().is_some() {
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
