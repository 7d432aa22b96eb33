//! The manifest: YAML text to a typed fleet, with the place of everything.

mod bounded;
mod decode;
mod each;
mod files;
mod guests;
mod include;
pub mod keys;
mod layers;
pub mod model;
mod read;
mod references;
pub mod source;
mod template;

pub use files::{is_manifest, is_yaml_name};
pub use include::ReadInclude;
pub use model::Fleet;
pub(crate) use read::without_doubles;
pub use read::{Outside, read, read_with};
pub use references::ReadFile;
