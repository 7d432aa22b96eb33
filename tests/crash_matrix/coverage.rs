//! How often each word was met: during which kinds of steps something happened, which faults, which results.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use pvefleet::apply::{GuestResult, Outcome};
use pvefleet::plan::{Action, Plan, StepKind};
use pvefleet::sim::FaultKind;

use crate::mishap::Watch;
use crate::runs::fault_kinds;

/// Counts by table and word.
static MET: Mutex<BTreeMap<(&str, &str), usize>> = Mutex::new(BTreeMap::new());

fn add(table: &'static str, word: &'static str) {
    *MET.lock().unwrap_or_else(PoisonError::into_inner).entry((table, word)).or_default() += 1;
}

fn steps(table: &'static str, watch: &Watch) {
    let met = watch.met.lock().unwrap_or_else(PoisonError::into_inner);
    met.iter().for_each(|kind| add(table, kind.word()));
}

pub fn stopped(watch: &Watch) {
    steps("stopped during", watch);
}

pub fn faulted(watch: &Watch, kind: &FaultKind) {
    let met = watch.met.lock().unwrap_or_else(PoisonError::into_inner);
    if !met.is_empty() {
        add("fault", word(kind));
    }
    met.iter().for_each(|kind| add("fault during", kind.word()));
}

pub fn edited(watch: &Watch) {
    steps("edited during", watch);
}

pub fn doubled(watch: &Watch) {
    steps("a second apply during", watch);
}

pub fn outcome(outcome: &Outcome) {
    outcome.guests.iter().for_each(|guest| add("result", guest.result.word()));
}

pub fn planned(plan: &Plan) {
    for change in plan.changes() {
        add("action", change.action.word());
        change.steps.iter().for_each(|step| add("step", step.kind.word()));
    }
}

/// The word for a fault.
pub const fn word(kind: &FaultKind) -> &'static str {
    match kind {
        FaultKind::Refuse => "refuse",
        FaultKind::RequestCut => "request_cut",
        FaultKind::AnswerLost => "answer_lost",
        FaultKind::Hang { .. } => "hang",
        FaultKind::Status { .. } => "status",
        FaultKind::Slow(_) => "slow",
        FaultKind::LockTimeout => "lock_timeout",
        FaultKind::TaskFailure { .. } => "task_failure",
        FaultKind::TicketExpired => "ticket_expired",
        FaultKind::NodeOffline { .. } => "node_offline",
        FaultKind::StorageFull { .. } => "storage_full",
        FaultKind::QuorumLost => "quorum_lost",
    }
}

/// The whole table, and the words that were never met.
pub fn table() -> (String, Vec<String>) {
    let met = MET.lock().unwrap_or_else(PoisonError::into_inner);
    let kinds: Vec<&str> = StepKind::ALL.iter().map(|kind| kind.word()).collect();
    let mut faults: Vec<&str> = fault_kinds().iter().map(word).collect();
    faults.dedup();
    faults.sort_unstable();
    faults.dedup();
    // What a plan that is ready in all its parts cannot come to.
    let never = [GuestResult::Blocked, GuestResult::Waiting, GuestResult::Unknown, GuestResult::Interrupted];
    let results = GuestResult::ALL.iter().filter(|result| !never.contains(result)).map(|result| result.word());
    let tables = [
        ("action", Action::ALL.iter().map(|action| action.word()).collect::<Vec<_>>()),
        ("step", kinds.clone()),
        ("stopped during", kinds.clone()),
        ("fault during", kinds.clone()),
        ("edited during", kinds.clone()),
        ("a second apply during", kinds),
        ("fault", faults),
        ("result", results.collect()),
    ];
    let (mut text, mut missed) = (String::new(), Vec::new());
    for (table, words) in tables {
        text.push_str(&format!("{table}\n"));
        for word in words {
            let count = met.get(&(table, word)).copied().unwrap_or_default();
            text.push_str(&format!("  {word:<18} {count}\n"));
            if count == 0 {
                missed.push(format!("{table} {word}"));
            }
        }
    }
    (text, missed)
}
