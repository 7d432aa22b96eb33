//! A problem as a value: what is wrong, where, and what to do about it.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A point in an input file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// The file as the user named it.
    #[serde(with = "shared_text")]
    #[schemars(with = "String")]
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Length of the text meant, in characters; at least 1.
    pub length: u32,
}

/// The name of a file, which all places in it share: a fleet has many places and few files.
mod shared_text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
        String::deserialize(deserializer).map(Into::into)
    }
}

impl fmt::Display for Place {
    /// `file:line`, as plans show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The input cannot be used.
    Error,
    /// The input is used, and this should be looked at.
    Warning,
    /// The input is used as it is; there is a better way to write it.
    Note,
}

/// One problem of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name of this kind of problem, `unknown-option`.
    pub code: String,
    /// What is wrong, without a full stop.
    pub message: String,
    /// Where, if it is somewhere.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub place: Option<Place>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// Other places that belong to it, each with a word on what is there.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub related: Vec<(Place, String)>,
}

impl Diagnostic {
    /// An error with a code.
    pub fn error(code: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code: code.to_owned(),
            message: message.into(),
            place: None,
            hint: None,
            related: Vec::new(),
        }
    }

    /// A warning with a code.
    pub fn warning(code: &str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// A note with a code.
    pub fn note(code: &str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(code, message) }
    }

    /// The same at a place.
    #[must_use]
    pub fn at(mut self, place: &Place) -> Self {
        self.place = Some(place.clone());
        self
    }

    /// The same with what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with one more place that belongs to it.
    #[must_use]
    pub fn also(mut self, place: &Place, words: impl Into<String>) -> Self {
        self.related.push((place.clone(), words.into()));
        self
    }

    /// The same, said of one of the guests that an `each` makes: `n = 3`.
    #[must_use]
    pub fn with(self, instance: &Place, words: &str) -> Self {
        if self.is_of_instance() { self } else { self.also(instance, format!("with {words}")) }
    }

    /// True where it is said of one of the guests of an `each`; of the others the same is true.
    pub fn is_of_instance(&self) -> bool {
        self.related.last().is_some_and(|(_, words)| words.starts_with("with "))
    }

    /// True for a note.
    pub fn is_note(&self) -> bool {
        self.severity == Severity::Note
    }

    /// True for an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// Every code of a problem in a manifest or in the settings, with what it says in general.
pub const CODES: &[(&str, &str)] = &[
    ("access", "What the tool may do in a cluster is neither `apply` nor `read`."),
    ("alias", "A YAML alias that expands to too much, or stands in its own anchor."),
    ("ambiguous-cluster", "Several clusters could take this guest."),
    ("api-url", "The address of a cluster cannot be used."),
    ("boolean", "A setting is neither true nor false."),
    ("clone-of-itself", "A guest that is cloned from itself."),
    ("cluster-name", "A name that no cluster can have."),
    ("cluster-twice", "Two clusters of one name."),
    ("cluster-unread", "A cluster that a snapshot does not hold."),
    ("default-cluster", "The default cluster is not configured."),
    ("dependency-cycle", "Guests that wait for each other."),
    ("disagreement", "Two files that say different things of one matter."),
    ("duplicate-key", "A key, a profile or a setting that is given twice."),
    ("each", "An `each` that is not one variable with its values."),
    ("empty", "A manifest without guests and clusters."),
    ("encoding", "A file that is no UTF-8 text."),
    ("env-line", "A line of a settings file that is none."),
    ("env-twice", "A setting that stands twice in one file."),
    ("fingerprint", "A certificate's fingerprint that is none."),
    ("include", "A file that cannot be included, or holds what an included file may not."),
    ("include-cycle", "Files that include each other."),
    ("incomplete", "Something that is to be made and lacks a part."),
    ("literal-secret", "A secret that stands in the manifest itself."),
    ("merge-key", "A YAML merge key."),
    ("misplaced-key", "A key of a guest in a profile or among defaults."),
    ("misplaced-reference", "A reference to a variable where no secret stands."),
    ("misplaced-template", "A template where none may stand."),
    ("missing-secret", "A secret's variable that is not set here."),
    ("missing-variable", "A setting that a cluster lacks."),
    ("no-cluster", "No cluster is configured, or none fits."),
    ("no-fleet", "A manifest that does not say which fleet it is."),
    ("no-name", "A guest without a name."),
    ("no-rootfs", "A container without a root disk."),
    ("no-settings", "No cluster is configured; the names in the manifest are taken for granted."),
    ("no-source", "A container that does not say what it is made from."),
    ("not-a-manifest", "A YAML file in the manifest's folder that holds none of its keys."),
    ("not-found", "A node, storage, bridge, pool or clone source that the cluster does not have."),
    ("not-settable", "An option of Proxmox that a manifest does not set."),
    ("number", "A setting that is no number."),
    ("pattern", "A pattern that routes nothing, or is none."),
    ("prune-ignored", "Orphans are not sought in a part of a fleet."),
    ("same-cluster", "Two names of one cluster."),
    ("same-guest", "One guest that stands twice."),
    ("same-name", "A VM and a container of one name in one cluster."),
    ("same-vmid", "Two guests that claim one id."),
    ("settings-conflict", "Settings that exclude each other."),
    ("several-documents", "A file with more than one YAML document."),
    ("spelling", "A value that has a more usual spelling."),
    ("template", "A template without a value."),
    ("template-state", "A template that is to run."),
    ("token-id", "The name of an API token that is none."),
    ("too-deep", "Maps and lists nested without end."),
    ("too-large", "A file that is too large to be a manifest."),
    ("two-sources", "A guest that is made from two things."),
    ("unknown-cluster", "A cluster that is not configured."),
    ("unknown-dependency", "A guest that is waited for and is not there."),
    ("unknown-key", "A key that is neither ours nor Proxmox's."),
    ("unknown-option", "An option that the kind of guest lacks."),
    ("unknown-profile", "A profile that is not defined."),
    ("unknown-setting", "A setting that is not known."),
    ("unknown-target", "A guest or cluster that was asked for and is not in the manifest."),
    ("unknown-variable", "A value for a variable that the manifest does not have."),
    ("unquoted-template", "A template without quotes, which YAML takes for a map."),
    ("unreadable", "A file that cannot be read."),
    ("unused-acceptance", "A permission that nothing asks for."),
    ("username", "A user's name that is none."),
    ("version", "An option that the cluster's version of Proxmox VE does not have."),
    ("vmid-range", "A range of guest ids that is none, or overlaps another."),
    ("wrong-cluster", "A guest that names another cluster than it stands under."),
    ("wrong-type", "A value of the wrong kind: a list, a map, a single value."),
    ("wrong-value", "A value that is not allowed."),
    ("yaml", "Text that is no YAML."),
    ("yaml-key", "A YAML map without a key."),
    ("yaml-tag", "A YAML tag, which has no meaning in a manifest."),
];
