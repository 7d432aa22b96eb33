//! Pure renderers: documents in, text out.

pub mod annotations;
pub mod clusters_text;
pub mod explain;
pub mod explain_text;
pub mod findings;
pub mod journal_text;
pub mod json_schema;
pub mod outcome_text;
pub mod plan_compare;
pub mod plan_diff;
pub mod plan_guest;
pub mod plan_markdown;
pub mod plan_text;
pub mod show;
pub mod style;
pub mod yaml;

pub use style::Layout;
