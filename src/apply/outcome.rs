//! What a run came to: one document, and the exit code that follows from it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::plan::{Action, Address, Change, Plan, State, Unread};

/// Version of the document: a new minor adds, another major is refused.
pub const OUTCOME_VERSION: &str = "1.0";

/// How it ended for one guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestResult {
    /// Every step was carried out.
    Done,
    /// Everything was as after the last step before anything was sent.
    AlreadyDone,
    /// A step was refused, or its task failed.
    Failed,
    /// Not begun: something that it needs is not done, or the run stopped at an error.
    Skipped,
    /// The guest is not as it was when planned; nothing more was sent.
    Stale,
    /// A step may or may not have been carried out, and reading the guest does not tell.
    Undetermined,
    /// The run was told to stop before the guest was done.
    Interrupted,
    /// The plan refuses this change.
    Blocked,
    /// The plan puts this change off until something else has ended.
    Waiting,
    /// The plan could not read this guest.
    Unknown,
    /// The plan has nothing to do here.
    NoChange,
}

impl GuestResult {
    /// All of them, in order.
    pub const ALL: [Self; 11] = [
        Self::Done,
        Self::AlreadyDone,
        Self::Failed,
        Self::Skipped,
        Self::Stale,
        Self::Undetermined,
        Self::Interrupted,
        Self::Blocked,
        Self::Waiting,
        Self::Unknown,
        Self::NoChange,
    ];

    /// Its word in documents and on screens.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::AlreadyDone => "already-done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Stale => "stale",
            Self::Undetermined => "undetermined",
            Self::Interrupted => "interrupted",
            Self::Blocked => "blocked",
            Self::Waiting => "waiting",
            Self::Unknown => "unknown",
            Self::NoChange => "no-change",
        }
    }

    /// True when the guest is as the plan wants it, so that others may build on it.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Done | Self::AlreadyDone | Self::NoChange)
    }

    /// True for what plan and apply agree on leaving for later.
    const fn is_put_off(self) -> bool {
        matches!(self, Self::Blocked | Self::Waiting)
    }
}

impl fmt::Display for GuestResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// How it went with one guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestOutcome {
    /// Which guest.
    pub address: Address,
    /// What the plan does with it.
    pub action: Action,
    /// How it ended.
    pub result: GuestResult,
    /// Steps that are done, by this run or an earlier one.
    pub steps_done: usize,
    /// Steps of the plan.
    pub steps_total: usize,
    /// Writes that reached the cluster, or may have.
    pub sent: u32,
    /// Why it ended so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub words: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// What Proxmox warned of, and what was noticed on the way.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub warnings: Vec<String>,
    /// Fields that the plan blocks while the rest of the guest goes on, each with its reason.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub blocked: Vec<String>,
    /// What still differs from the plan's end, read after everything had ended.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub left: Vec<String>,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// [`OUTCOME_VERSION`].
    pub format_version: String,
    /// The plan that was applied.
    pub plan_id: String,
    /// Owner of the guests.
    pub fleet: String,
    /// Why nothing was begun at all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refused: Option<String>,
    /// Every change of the plan, in its order.
    pub guests: Vec<GuestOutcome>,
    /// What the plan could not read, by cluster.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub unread: BTreeMap<String, Vec<Unread>>,
}

/// The fields of a change that the plan blocks, each with its reason.
pub fn blocked_fields(change: &Change) -> Vec<String> {
    let fields = change.fields.iter().filter_map(|field| Some((field, field.blocked.as_ref()?)));
    fields.map(|(field, reason)| format!("{}: {}", field.name, reason.words)).collect()
}

impl Outcome {
    /// True when a write reached a cluster, or may have.
    pub fn sent(&self) -> bool {
        self.guests.iter().any(|guest| guest.sent > 0)
    }

    /// How many guests ended so.
    pub fn count(&self, result: GuestResult) -> usize {
        self.guests.iter().filter(|guest| guest.result == result).count()
    }

    /// The exit code; the first row that fits decides.
    ///
    /// | nothing was sent | | something was sent | |
    /// |---|---|---|---|
    /// | 64 | refused as a whole | 5 | a change is not done, or something could not be read |
    /// | 1 | an error, or something could not be read | 6 | differences are left |
    /// | 4 | stale | 3 | only blocked changes remain |
    /// | 3 | all that is left is blocked | 0 | done |
    /// | 0 | nothing to do | | |
    pub fn exit_code(&self, plan: &Plan) -> u8 {
        use GuestResult as R;
        let has = |results: &[R]| self.guests.iter().any(|guest| results.contains(&guest.result));
        let unread = !plan.complete || !self.unread.is_empty() || has(&[R::Unknown]);
        // A guest can be done while one of its fields is blocked.
        let put_off = self.guests.iter().any(|guest| guest.result.is_put_off())
            || plan.changes().any(|change| {
                change.state == State::Blocked || change.fields.iter().any(|field| field.blocked.is_some())
            });
        if self.sent() {
            return match () {
                () if unread || has(&[R::Failed, R::Skipped, R::Stale, R::Undetermined, R::Interrupted]) => 5,
                () if self.guests.iter().any(|guest| !guest.left.is_empty()) => 6,
                () if put_off => 3,
                () => 0,
            };
        }
        match () {
            () if self.refused.is_some() => 64,
            () if unread || has(&[R::Failed, R::Undetermined, R::Interrupted]) => 1,
            () if has(&[R::Stale]) => 4,
            () if put_off || has(&[R::Skipped]) => 3,
            () => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::testing;

    fn outcome(guests: &[(GuestResult, u32)]) -> Outcome {
        let guest = |(result, sent): &(GuestResult, u32)| GuestOutcome {
            address: testing::address("c1", "web", 100),
            action: Action::Update,
            result: *result,
            steps_done: 0,
            steps_total: 1,
            sent: *sent,
            words: None,
            hint: None,
            warnings: Vec::new(),
            blocked: Vec::new(),
            left: Vec::new(),
        };
        Outcome { guests: guests.iter().map(guest).collect(), ..Outcome::default() }
    }

    #[test]
    fn the_exit_code_follows_the_table() {
        use GuestResult as R;
        let plan = testing::plan("c1", Vec::new());
        let rows: &[(&[(R, u32)], u8)] = &[
            (&[], 0),
            (&[(R::NoChange, 0), (R::AlreadyDone, 0)], 0),
            (&[(R::Blocked, 0)], 3),
            (&[(R::Waiting, 0), (R::AlreadyDone, 0)], 3),
            (&[(R::Stale, 0)], 4),
            (&[(R::Stale, 0), (R::Skipped, 0), (R::Blocked, 0)], 4),
            (&[(R::Failed, 0), (R::Stale, 0)], 1),
            (&[(R::Unknown, 0)], 1),
            (&[(R::Interrupted, 0)], 1),
            (&[(R::Undetermined, 1)], 5),
            (&[(R::Done, 1)], 0),
            (&[(R::Done, 1), (R::Blocked, 0)], 3),
            (&[(R::Done, 1), (R::Failed, 0)], 5),
            (&[(R::Done, 1), (R::Stale, 0)], 5),
            (&[(R::Done, 1), (R::Skipped, 0)], 5),
            (&[(R::Done, 1), (R::Interrupted, 0)], 5),
            (&[(R::Done, 1), (R::Unknown, 0)], 5),
        ];
        for (guests, code) in rows {
            assert_eq!(outcome(guests).exit_code(&plan), *code, "{guests:?}");
        }
    }

    #[test]
    fn a_refusal_is_an_input_error() {
        let refused = Outcome { refused: Some("no DB_PASSWORD".to_owned()), ..outcome(&[(GuestResult::Skipped, 0)]) };
        assert_eq!(refused.exit_code(&testing::plan("c1", Vec::new())), 64);
    }

    #[test]
    fn what_is_left_shows_only_when_all_is_done() {
        let plan = testing::plan("c1", Vec::new());
        let mut done = outcome(&[(GuestResult::Done, 1), (GuestResult::Blocked, 0)]);
        done.guests[0].left.push("memory is 1024 instead of 2048".to_owned());
        assert_eq!(done.exit_code(&plan), 6);
        done.guests[1].result = GuestResult::Failed;
        assert_eq!(done.exit_code(&plan), 5);
    }

    #[test]
    fn a_cluster_that_is_down_counts_by_whether_something_was_sent() {
        let plan = Plan { complete: false, ..testing::plan("c1", Vec::new()) };
        assert_eq!(outcome(&[(GuestResult::Done, 2)]).exit_code(&plan), 5);
        assert_eq!(outcome(&[(GuestResult::NoChange, 0)]).exit_code(&plan), 1);
        assert_eq!(outcome(&[]).exit_code(&plan), 1);
    }

    #[test]
    fn a_blocked_field_of_a_guest_that_is_done_remains() {
        let mut change = testing::change("c1", "web", 100);
        change.fields.push(testing::blocked_field("scsi0.size"));
        let plan = testing::plan("c1", vec![change]);
        assert_eq!(outcome(&[(GuestResult::Done, 1)]).exit_code(&plan), 3);
    }

    #[test]
    fn words_are_those_of_the_document() {
        for result in GuestResult::ALL {
            assert_eq!(serde_json::to_string(&result).unwrap(), format!("\"{}\"", result.word()));
        }
    }
}
