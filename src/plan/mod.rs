//! The planner: a pure function of desired, live and options that gives the plan document.

pub mod accept;
mod clone;
mod course;
pub mod create;
mod defaults;
mod disk_moves;
pub mod document;
mod drives;
mod guards;
mod ha;
mod identify;
mod identity;
mod lint;
mod making;
pub mod mark;
mod migrate;
mod options;
mod order;
mod orphans;
mod planner;
mod preflight;
pub mod privileges;
mod protection;
mod recreate;
mod restore;
mod steps;
pub mod template;
mod unlisted;
mod update;
mod versions;
mod vmids;

pub use accept::{Acceptance, AcceptanceKind};
pub use document::*;
pub use lint::lint;
pub use planner::{PlanOptions, plan};
pub use template::{Hole, Part, Template};
