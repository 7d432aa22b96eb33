//! Pure renderers: documents in, text out.

pub mod clusters_text;
pub mod explain;
pub mod explain_text;
pub mod findings;
pub mod outcome_text;
pub mod plan_text;
pub mod style;

pub use style::Layout;
