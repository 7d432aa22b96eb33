//! What should be: the fleet after routing, merging and defaults, per cluster, each value with its origin.

pub mod model;

pub use model::*;
