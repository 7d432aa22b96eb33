//! Carries out plans.
//!
//! [`run`] takes a [`Plan`](crate::plan::Plan) and a client for each cluster, and makes no call that the plan does not
//! hold. Every guest is read just before its first write and compared with what the plan rests on; every step is
//! checked by reading the guest again. What happens is told as [`Event`]s, and the [`Outcome`] is these folded.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clusters::Allocations;

pub mod events;
mod fill;
mod gate;
mod guest;
mod join;
pub mod journal;
mod meaning;
mod moved;
pub mod outcome;
mod recover;
mod run;
mod schedule;
mod send;
mod state;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use events::{Event, Events, Folding};
pub use fill::SecretSource;
pub use journal::Journal;
pub use outcome::{GuestOutcome, GuestResult, OUTCOME_VERSION, Outcome};
pub use run::run;

/// How a run is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Guests at once, in all clusters; nothing for as many as suit the nodes: [`Options::PER_NODE`] for each.
    pub parallel: Option<usize>,
    /// By cluster, how many steps that make or destroy volumes may be under way at once; the default for others.
    pub allocations: BTreeMap<String, Allocations>,
    /// Begin no other guest after one that failed.
    pub stop_on_error: bool,
    /// One step may take this long, its task and its repetitions included.
    pub timeout: Duration,
}

impl Options {
    /// How many guests are worked on at once for each node where nothing else is said. Most of them wait for an answer or
    /// a task: with fewer the workers of a node are idle at times, and with more the calls for guests that are made wait
    /// behind those for others, while the locks that they need are idle. Measured with `examples/apply_bench.rs`.
    pub const PER_NODE: usize = 12;
    /// The fewest and the most that come of that.
    pub const PARALLEL: std::ops::RangeInclusive<usize> = 16..=256;
}

impl Default for Options {
    fn default() -> Self {
        Self {
            parallel: None,
            allocations: BTreeMap::new(),
            stop_on_error: false,
            // A full clone of a large disk takes its time.
            timeout: Duration::from_secs(3600),
        }
    }
}

/// What the person at the terminal wants of a run that goes on. It only ever rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Cancel {
    /// Nothing.
    #[default]
    No,
    /// Send nothing new, and wait for what runs.
    Finish,
    /// Leave at once, and say what still runs.
    Leave,
}
