//! Which files of a folder are a manifest's.

use super::keys::{self, Level};
use super::source::{self, Node, NodeKind};
use crate::diagnostics::{Diagnostic, Place};

/// True for YAML text that holds one of a manifest's top-level keys.
pub fn is_manifest(text: &str) -> bool {
    belongs(source::parse("", text).as_ref().ok(), text)
}

/// The same of text that was read already, or could not be.
pub(super) fn belongs(root: Option<&Node>, text: &str) -> bool {
    let is_top = |key: &str| keys::find(Level::Top, key).is_some();
    match root.map(|root| &root.kind) {
        Some(NodeKind::Map(entries)) => entries.iter().any(|(key, _)| is_top(&key.text)),
        Some(_) => false,
        // A broken file counts, for its problem to be seen, where a line of it looks like a manifest's.
        None => text.lines().any(|line| line.split_once(':').is_some_and(|(key, _)| is_top(key.trim_end()))),
    }
}

/// The warning about a YAML file that is none.
pub(super) fn left_out(file: &str) -> Diagnostic {
    let start = Place { file: file.into(), line: 1, column: 1, length: 1 };
    Diagnostic::warning("not-a-manifest", "this file holds none of a manifest's keys and is left out")
        .at(&start)
        .hint("move it elsewhere if it has nothing to do with the manifest")
}

/// True for a name that YAML files bear.
pub fn is_yaml_name(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    matches!(extension.as_deref(), Some("yaml" | "yml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_told_from_other_yaml() {
        for (text, expected) in [
            ("vms: []\n", true),
            ("fleet: x\n", true),
            ("vms: [\n", true),
            ("services: {}\n", false),
            ("x: [\n", false),
            ("- 1\n", false),
            ("", false),
        ] {
            assert_eq!(is_manifest(text), expected, "{text}");
        }
        assert!(is_yaml_name("x.YML") && !is_yaml_name("yaml") && !is_yaml_name("x.yaml.bak"));
    }
}
