//! A call as its handler gets it.

use std::collections::BTreeMap;

use super::access::Subject;
use super::answer::Failure;
use super::params::BETWEEN_ITEMS;

/// A call that was understood so far.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) subject: Subject,
    /// The node that carries it out.
    pub(super) node: String,
    /// The variables of the path.
    pub(super) vars: BTreeMap<String, String>,
    /// The checked parameters.
    pub(super) params: BTreeMap<String, String>,
}

impl Call {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.params.get(name).or_else(|| self.vars.get(name)).map(String::as_str)
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.get(name) == Some("1")
    }

    /// The items of a parameter that is a list.
    pub(super) fn list(&self, name: &str) -> Option<Vec<&str>> {
        self.get(name).map(|text| text.split(BETWEEN_ITEMS).collect())
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// The guest that the path names; the check of the variables made sure that it is an id.
    pub(super) fn vmid(&self) -> u32 {
        self.vars.get("vmid").and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

/// Refuses what Proxmox does and the simulator does not.
pub(super) fn unsupported<T>() -> Result<T, Failure> {
    Err(Failure::Unsupported)
}
