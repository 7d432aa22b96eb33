//! The use cases, as a program that embeds this library calls them.
//!
//! Clients come from outside, so the same code runs against real clusters, simulated ones and recordings.

mod envelope;
mod exit;
mod join;
mod read;
mod snapshot;
mod touched;

pub use envelope::Envelope;
pub use exit::{DriftOptions, drift_exit, plan_exit};
pub use join::plan_in_peace;
pub use read::{Readers, read};
pub use snapshot::{SNAPSHOT_VERSION, Settings, Snapshot, for_fleet, snapshot};
pub use touched::note_last_tasks;
