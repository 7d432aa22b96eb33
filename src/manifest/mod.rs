//! The manifest: YAML text to a typed fleet, with the place of everything.

mod decode;
mod files;
pub mod keys;
pub mod model;
mod read;
mod references;
pub mod source;

pub use files::{is_manifest, is_yaml_name};
pub use model::Fleet;
pub use read::{read, read_with};
pub use references::ReadFile;
