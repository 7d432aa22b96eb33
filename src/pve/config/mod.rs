//! A guest's configuration file: read as the server reads it, and written as it writes it.
//!
//! What is read is not always what was written: values are normalised or dropped, sections are sorted, a
//! description loses its end. [`GuestFile::parse`] tells what the server would log about it.

mod keys;
mod raw;
mod read;
mod write;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::schema::ValueType;
use super::value::GuestKind;

pub use keys::{check_value, internal_format, spec_of};

/// One section: what holds now, what waits, a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section {
    /// The values by key. The description is under `description`, decoded; removals that wait are under `delete`.
    pub values: BTreeMap<String, String>,
    /// The lines of a container that are LXC's own (`lxc.…`), in order.
    pub raw: Vec<(String, String)>,
}

/// A configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFile {
    /// What the guest is.
    pub kind: GuestKind,
    /// What holds now.
    pub current: Section,
    /// What is set and waits.
    pub pending: Section,
    /// What a VM's server keeps for itself: `cloudinit`, `fleecing`.
    pub special: BTreeMap<String, Section>,
    /// The snapshots by name.
    pub snapshots: BTreeMap<String, Section>,
}

/// What the server says about a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Its text, with the end of the line.
    pub text: String,
    /// A strict reading ends here; else it is only logged.
    pub is_error: bool,
}

impl GuestFile {
    /// A file without content.
    pub fn new(kind: GuestKind) -> Self {
        Self {
            kind,
            current: Section::default(),
            pending: Section::default(),
            special: BTreeMap::new(),
            snapshots: BTreeMap::new(),
        }
    }

    /// Reads a file; what cannot be used is left out or kept as the server does it, and told.
    pub fn parse(kind: GuestKind, vmid: u32, text: &str) -> (Self, Vec<Remark>) {
        match kind {
            GuestKind::Qemu => read::vm(vmid, text),
            GuestKind::Lxc => read::container(vmid, text),
        }
    }

    /// Reads a file in which everything has to be usable.
    ///
    /// # Errors
    ///
    /// The first line that is not; the error is the server's text.
    pub fn parse_strict(kind: GuestKind, vmid: u32, text: &str) -> Result<Self, String> {
        let (file, remarks) = Self::parse(kind, vmid, text);
        match remarks.into_iter().find(|remark| remark.is_error) {
            Some(error) => Err(error.text),
            None => Ok(file),
        }
    }

    /// The text that the server writes.
    ///
    /// # Errors
    ///
    /// A VM's value that its option does not take; the error is the server's text.
    pub fn print(&self) -> Result<String, String> {
        match self.kind {
            GuestKind::Qemu => write::vm(self),
            GuestKind::Lxc => Ok(write::container(self)),
        }
    }

    /// The file as data: whole numbers and booleans as numbers, all else as text.
    pub fn to_json(&self) -> Value {
        let section = |section: &Section| Value::Object(self.section_json(section));
        let mut object = self.section_json(&self.current);
        object.insert("pending".to_owned(), section(&self.pending));
        let snapshots = self.snapshots.iter().map(|(name, snapshot)| (name.clone(), section(snapshot)));
        object.insert("snapshots".to_owned(), snapshots.collect());
        if self.kind == GuestKind::Qemu {
            // Their values are not checked when they are read, and stay text.
            let sections = self.special.iter().map(|(name, special)| (name.clone(), json!(special.values)));
            object.insert("special-sections".to_owned(), sections.collect());
        }
        Value::Object(object)
    }

    fn section_json(&self, section: &Section) -> Map<String, Value> {
        let mut object = Map::new();
        for (key, value) in &section.values {
            let ty = spec_of(self.kind, key).map(|spec| spec.ty);
            let is_number = matches!(ty, Some(ValueType::Integer | ValueType::Boolean));
            let number = value.bytes().all(|b| b.is_ascii_digit()).then(|| value.parse::<u64>().ok()).flatten();
            object.insert(key.clone(), number.filter(|_| is_number).map_or_else(|| json!(value), |n| json!(n)));
        }
        if !section.raw.is_empty() {
            object.insert("lxc".to_owned(), json!(section.raw));
        }
        object
    }
}

#[cfg(test)]
mod tests;
