//! What should be: the fleet after routing, merging and defaults, per cluster, each value with its origin.

mod checks;
mod drives;
mod merge;
pub mod model;
mod options;
mod refusal;
mod resolve;
mod secrets;
#[cfg(test)]
mod tests;
mod values;

pub use model::*;
pub(crate) use options::{is_drive, joiner};
pub use resolve::resolve;
pub use secrets::written_secrets;
