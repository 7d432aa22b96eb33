//! A problem as a value: what is wrong, where, and what to do about it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A point in an input file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The file as the user named it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Length of the text meant, in characters; at least 1.
    pub length: u32,
}

impl fmt::Display for Place {
    /// `file:line`, as plans show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The input cannot be used.
    Error,
    /// The input is used, and this should be looked at.
    Warning,
}

/// One problem of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

    /// True for an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
