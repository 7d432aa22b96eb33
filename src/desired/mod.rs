//! What should be: the fleet after routing, merging and defaults, per cluster, each value with its origin.

mod checks;
mod drives;
mod merge;
pub mod model;
mod options;
mod refusal;
mod resolve;
#[cfg(test)]
mod tests;
mod values;

pub use model::*;
pub use resolve::resolve;
