//! A plan as a file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::apply::journal;
use crate::plan::{FORMAT_VERSION, Plan};

/// A plan as a file: the document, and what is not part of it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Version of pvefleet that made it.
    pub pvefleet: String,
    /// When it was made, in UTC.
    pub made_at: String,
    /// The document.
    pub plan: Plan,
}

impl Envelope {
    /// Puts a plan into an envelope, now.
    pub fn new(plan: &Plan) -> Self {
        Self { pvefleet: env!("CARGO_PKG_VERSION").to_owned(), made_at: journal::now(), plan: plan.clone() }
    }

    /// Reads one from its text.
    ///
    /// # Errors
    ///
    /// When it is no plan, has another format, or was changed after it was made; in words that follow the file's name.
    pub fn read(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
        let version = value.pointer("/plan/format_version").and_then(Value::as_str);
        let version = version.ok_or("is not a saved plan; make one with `pvefleet plan PATH -o json=FILE`")?;
        let major = |version: &str| version.split('.').next().map(str::to_owned);
        if major(version) != major(FORMAT_VERSION) {
            return Err(format!("has format {version}; this version reads {FORMAT_VERSION}; plan again"));
        }
        let envelope: Self =
            serde_json::from_value(value).map_err(|error| format!("cannot be read as a plan: {error}"))?;
        if !envelope.plan.is_genuine() {
            return Err("was changed after it was made: its ids do not fit what it holds; plan again".to_owned());
        }
        Ok(envelope)
    }
}
