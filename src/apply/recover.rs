//! What follows from a write that did not simply succeed: a pure decision from two reads of the guest.

use std::time::Duration;

use super::moved;
use super::outcome::GuestResult;
use super::state::{self, Held};
use crate::live::{LiveGuest, Read};
use crate::plan::{Change, Hole, Step, StepKind, Template};
use crate::pve::compare;
use crate::pve::http::{ApiError, classify_text};
use crate::pve::value;

/// Why a write did not simply succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) kind: TroubleKind,
    /// Proxmox's text, or the connection's.
    pub(super) text: String,
}

/// Kinds of trouble, by what they say about the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TroubleKind {
    /// Nothing reached the server.
    NotSent,
    /// Sent, and no answer came.
    AnswerLost,
    /// A task was started, and its end is not known.
    TaskLost,
    /// A lock was not to be had in time.
    Busy,
    /// The configuration is not the one that was read.
    Conflict,
    /// What should be made is there.
    Exists,
    /// It is not where it was.
    Moved,
    /// The guest is in the wanted state already, says the server.
    State,
    /// Refused, or its task failed.
    Refused,
}

impl Trouble {
    /// What a guest comes to that stops at this.
    pub(super) const fn result(&self) -> GuestResult {
        match self.kind {
            TroubleKind::AnswerLost | TroubleKind::TaskLost => GuestResult::Undetermined,
            _ => GuestResult::Failed,
        }
    }

    /// Of a write's error.
    pub(super) fn of_error(error: &ApiError) -> Self {
        let text = error.to_string();
        let kind = match error {
            ApiError::Connection(_) => TroubleKind::NotSent,
            // The node may have taken the call before the way to it broke.
            ApiError::Undetermined(_) | ApiError::NodeUnreachable(_) => TroubleKind::AnswerLost,
            // A lock that a task holds goes away with it; one that stays is reported when the tries are used up.
            ApiError::Busy(_) | ApiError::Locked(..) => TroubleKind::Busy,
            ApiError::Conflict(_) => TroubleKind::Conflict,
            ApiError::Exists(_) => TroubleKind::Exists,
            ApiError::NotFound(_) => TroubleKind::Moved,
            _ if is_state(&text) => TroubleKind::State,
            _ => TroubleKind::Refused,
        };
        Self { kind, text }
    }

    /// Of a task's exit status, with the end of its log.
    pub(super) fn of_task(exit_status: &str, log: &[String]) -> Self {
        let kind = match classify_text(exit_status) {
            Some(error) => Self::of_error(&error).kind,
            None if is_state(exit_status) => TroubleKind::State,
            None => TroubleKind::Refused,
        };
        let lines: Vec<&str> = log
            .iter()
            .map(|line| line.trim())
            .filter(|line| !line.is_empty() && !line.starts_with("TASK ERROR") && *line != exit_status)
            .collect();
        let text = if lines.is_empty() {
            exit_status.to_owned()
        } else {
            format!("{exit_status}; the task's last lines: {}", lines.join(" / "))
        };
        Self { kind, text }
    }
}

fn is_state(text: &str) -> bool {
    ["already running", "not running", "already at specified size", "already a template"]
        .iter()
        .any(|part| text.contains(part))
}

/// How often a step was repeated, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tries {
    pub(super) busy: u32,
    pub(super) other: u32,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// The step is done; why that is known.
    Done(&'static str),
    /// Send it once more after a while, filled anew.
    Again(Duration),
    /// Stop at this guest.
    Stop(GuestResult, String),
}

/// Repeats of a write that found a lock.
const BUSY_TRIES: u32 = 6;
/// Repeats of a write that lost its answer or its precondition.
const OTHER_TRIES: u32 = 3;
/// Waits between them double from here up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Decides, from the guest as it was before the write and as it is now.
pub(super) fn decide(
    change: &Change,
    index: usize,
    before: &Read<LiveGuest>,
    now: &Read<LiveGuest>,
    trouble: &Trouble,
    tries: Tries,
) -> Decision {
    use TroubleKind as T;
    let Some(step) = change.steps.get(index) else { return Decision::Done("there is no such step") };
    let text = &trouble.text;
    let stop = |result, words: String| Decision::Stop(result, words);
    match (trouble.kind, now) {
        (T::NotSent, _) => return stop(GuestResult::Failed, format!("{text}; nothing was sent")),
        (T::TaskLost, _) => return stop(GuestResult::Undetermined, format!("{text}{}", seen(change, index, now))),
        (T::Refused, _) => return stop(GuestResult::Failed, text.clone()),
        (T::AnswerLost, Read::Unread(reason)) => {
            return stop(GuestResult::Undetermined, format!("{text}; the guest could not be read since: {reason}"));
        }
        (_, Read::Unread(reason)) => {
            return stop(GuestResult::Failed, format!("{text}; the guest could not be read since: {reason}"));
        }
        _ => {}
    }
    let was = state::step_held(change, index, before);
    let is = state::step_held(change, index, now);
    let makes = matches!(step.kind, StepKind::Create | StepKind::Clone);
    // A guest that appeared is ours only where it is exactly as this step leaves it, mark and all.
    let is_done = is == Held::Yes
        && !step.expect.is_empty()
        && (!makes || matches!(state::standing(change, now), state::Standing::After(done) if done > index));
    if is_done && (was != Held::Yes || trouble.kind == T::State) {
        return Decision::Done(match trouble.kind {
            T::AnswerLost => "the answer was lost; found done",
            T::State => "was so already",
            _ => "found done",
        });
    }
    let options = step.kind == StepKind::Configure;
    let unmoved = moved::unmoved(change, index, before, now, options && !allocates(change, step));
    let waits = |tried: u32, limit: u32| {
        (tried < limit).then(|| FIRST_WAIT.saturating_mul(1 << tried.min(8)).min(LONGEST_WAIT)).map(Decision::Again)
    };
    let moved = || {
        let words =
            format!("{text}; the guest is neither as before this step nor as after it{}", seen(change, index, now));
        stop(GuestResult::Undetermined, words)
    };
    match trouble.kind {
        T::Busy if unmoved => waits(tries.busy, BUSY_TRIES)
            .unwrap_or_else(|| stop(GuestResult::Failed, format!("{text} (tried {} times)", tries.busy + 1))),
        T::Busy => match now.known().and_then(|guest| guest.lock.as_ref()) {
            Some(lock) => stop(GuestResult::Stale, format!("{text}; it bears the lock '{lock}' now")),
            None => moved(),
        },
        T::Conflict if unmoved => waits(tries.other, OTHER_TRIES)
            .unwrap_or_else(|| stop(GuestResult::Stale, format!("{text}; its configuration keeps changing"))),
        T::Conflict => {
            let seen = moved::moved(change, index, before, now, options && !allocates(change, step));
            stop(GuestResult::Stale, format!("{text}; {}", seen.join("; ")))
        }
        T::AnswerLost if unmoved && may_repeat(step) => waits(tries.other, OTHER_TRIES)
            .unwrap_or_else(|| stop(GuestResult::Undetermined, format!("{text}; the guest is as before"))),
        T::AnswerLost => moved(),
        T::Moved => match (before.known(), now.known()) {
            // High availability may move a guest at any time.
            (Some(old), Some(new)) if old.node != new.node && unmoved => waits(tries.other, OTHER_TRIES)
                .unwrap_or_else(|| stop(GuestResult::Failed, format!("{text}; the guest keeps moving"))),
            (Some(_), None) => stop(GuestResult::Stale, format!("{text}; the guest is gone")),
            _ => stop(GuestResult::Failed, text.clone()),
        },
        T::Exists if makes => match state::standing(change, now) {
            state::Standing::Stale(words) => stop(GuestResult::Stale, format!("{text}; {}", words.join("; "))),
            state::Standing::Unfinished(lock) => stop(GuestResult::Undetermined, unfinished(&lock)),
            _ => stop(GuestResult::Failed, text.clone()),
        },
        T::NotSent | T::TaskLost | T::Refused | T::Exists | T::State => stop(GuestResult::Failed, text.clone()),
    }
}

/// Words for a guest whose making ended without an end.
pub(super) fn unfinished(lock: &str) -> String {
    format!("the guest bears the lock '{lock}', and no running task explains it")
}

fn seen(change: &Change, index: usize, now: &Read<LiveGuest>) -> String {
    match state::step_held(change, index, now) {
        Held::Yes => "; the guest looks as it should after this step".to_owned(),
        Held::No(words) => format!("; {words}"),
        Held::Unread(reason) => format!("; the guest could not be read since: {reason}"),
    }
}

/// True when sending this again, after nothing was seen to have happened, can double nothing.
fn may_repeat(step: &Step) -> bool {
    match step.kind {
        // The id is fixed: a second guest of this id is refused.
        StepKind::Create | StepKind::Clone => true,
        StepKind::Start | StepKind::Shutdown | StepKind::Template | StepKind::Pool | StepKind::Delete => true,
        // The server refuses the second where the first arrived after all.
        StepKind::Configure | StepKind::Move | StepKind::Destroy => {
            step.call.params.values().any(|template| *template == Template::hole(Hole::Digest))
        }
        // An absolute size is the same twice.
        StepKind::Resize => step.call.params.get("size").is_some_and(|size| !size.to_string().starts_with('+')),
        // It is done when the guest is there; while the first goes on, the second meets its lock.
        StepKind::Migrate | StepKind::Ha | StepKind::CloudInit => true,
        StepKind::Reboot => false,
    }
}

/// True when the step makes volumes.
fn allocates(change: &Change, step: &Step) -> bool {
    step.call.params.iter().any(|(name, template)| is_allocation(change, name, template))
}

/// True for a parameter that asks for a new volume.
pub(super) fn is_allocation(change: &Change, name: &str, template: &Template) -> bool {
    let text = template.to_string();
    let volume = text.split(',').next().unwrap_or_default();
    let volume = volume.split_once('=').map_or(volume, |(_, volume)| volume);
    compare::is_drive(change.address.kind, name)
        && (value::allocation(volume).is_some() || volume.ends_with(":cloudinit") || text.contains("import-from="))
}
