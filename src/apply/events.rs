//! What happens during a run, as one stream; the [`Outcome`] is that stream folded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::outcome::{GuestOutcome, OUTCOME_VERSION, Outcome};
use crate::plan::{Address, Unread};

/// Something that happened. As JSON `{"event": NAME, "data": …}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "kebab-case")]
pub enum Event {
    /// The first.
    RunStarted {
        /// The plan that is applied.
        plan_id: String,
        /// Owner of the guests.
        fleet: String,
        /// Every change of the plan, in its order.
        order: Vec<Address>,
        /// What the plan could not read, by cluster.
        unread: BTreeMap<String, Vec<Unread>>,
        /// Guests that have something to run.
        guests: usize,
        /// Their steps.
        steps: usize,
    },
    /// Nothing is begun, and why.
    Refused(String),
    /// A guest is read, to compare it with the plan.
    GuestStarted(Address),
    /// A step begins.
    StepStarted {
        /// Which guest.
        address: Address,
        /// Its number, from 1.
        step: usize,
        /// Of how many.
        of: usize,
        /// What it does.
        words: String,
    },
    /// The step's write is handed to the client now.
    Sending(Address),
    /// Proxmox works on the step.
    TaskStarted {
        /// Which guest.
        address: Address,
        /// The task's id.
        upid: String,
    },
    /// Proxmox told how far it is.
    TaskProgress {
        /// Which guest.
        address: Address,
        /// Percent done, where the task tells.
        percent: Option<f64>,
        /// Last line of its log.
        line: Option<String>,
    },
    /// The cluster does not answer for the step's task just now; it is asked on.
    Silent {
        /// Which guest.
        address: Address,
        /// Why.
        words: String,
    },
    /// The step is tried again after a while.
    Repeating {
        /// Which guest.
        address: Address,
        /// Why.
        words: String,
    },
    /// A step ended well.
    StepDone {
        /// Which guest.
        address: Address,
        /// Its number, from 1.
        step: usize,
        /// Where nothing was sent for it, or its answer was lost.
        note: Option<String>,
    },
    /// The end for one guest.
    GuestDone(Box<GuestOutcome>),
    /// A guest was read after everything had ended.
    Checked {
        /// Which guest.
        address: Address,
        /// What still differs.
        left: Vec<String>,
    },
    /// Worth knowing, and of no guest.
    Warning(String),
    /// The last.
    RunDone,
}

impl Event {
    /// True for the events that the [`Outcome`] is folded of.
    pub const fn is_folded(&self) -> bool {
        matches!(
            self,
            Self::RunStarted { .. } | Self::Refused(_) | Self::GuestDone(_) | Self::Checked { .. } | Self::RunDone
        )
    }
}

/// Takes the events of a run, in order.
pub trait Events: Send + Sync {
    /// Takes one.
    fn event(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync> Events for F {
    fn event(&self, event: &Event) {
        self(event);
    }
}

/// Folds events to the outcome.
#[derive(Debug, Default)]
pub struct Folding {
    order: Vec<Address>,
    outcome: Outcome,
}

impl Folding {
    /// Takes the next event in.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted { plan_id, fleet, order, unread, .. } => {
                self.order.clone_from(order);
                self.outcome = Outcome {
                    format_version: OUTCOME_VERSION.to_owned(),
                    plan_id: plan_id.clone(),
                    fleet: fleet.clone(),
                    unread: unread.clone(),
                    ..Outcome::default()
                };
            }
            Event::Refused(words) => self.outcome.refused = Some(words.clone()),
            Event::GuestDone(guest) => self.outcome.guests.push((**guest).clone()),
            Event::Checked { address, left } => {
                let found = self.outcome.guests.iter_mut().find(|guest| guest.address == *address);
                if let Some(guest) = found {
                    guest.left.clone_from(left);
                }
            }
            Event::RunDone => {
                let order = &self.order;
                self.outcome.guests.sort_by_key(|guest| order.iter().position(|address| *address == guest.address));
            }
            Event::GuestStarted(_)
            | Event::StepStarted { .. }
            | Event::Sending(_)
            | Event::TaskStarted { .. }
            | Event::TaskProgress { .. }
            | Event::Silent { .. }
            | Event::Repeating { .. }
            | Event::StepDone { .. }
            | Event::Warning(_) => {}
        }
    }

    /// The outcome of what was taken in.
    pub fn finish(self) -> Outcome {
        self.outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::outcome::GuestResult;
    use crate::apply::testing;
    use crate::plan::Action;

    #[test]
    fn guests_stand_in_the_order_of_the_plan() {
        let (first, second) = (testing::address("c1", "a", 100), testing::address("c1", "b", 101));
        let done = |address: &Address| {
            Event::GuestDone(Box::new(GuestOutcome {
                address: address.clone(),
                action: Action::Update,
                result: GuestResult::Done,
                steps_done: 1,
                steps_total: 1,
                sent: 1,
                words: None,
                hint: None,
                warnings: Vec::new(),
                blocked: Vec::new(),
                left: Vec::new(),
            }))
        };
        let mut folding = Folding::default();
        for event in [
            Event::RunStarted {
                plan_id: "p".to_owned(),
                fleet: "f".to_owned(),
                order: vec![first.clone(), second.clone()],
                unread: BTreeMap::new(),
                guests: 2,
                steps: 2,
            },
            done(&second),
            done(&first),
            Event::Checked { address: second.clone(), left: vec!["memory".to_owned()] },
            Event::RunDone,
        ] {
            folding.event(&event);
        }
        let outcome = folding.finish();
        assert_eq!(outcome.plan_id, "p");
        assert_eq!(outcome.guests[0].address, first);
        assert_eq!(outcome.guests[1].left, ["memory"]);
    }
}
