//! A guest's configuration file: sections of `key: value` lines, as text and as data.
//!
//! Proxmox works on the file, not on values: each step of a change reads it, edits it and writes it, and
//! what is read is not always what was written (white space goes, an empty value becomes one blank, the end
//! of a description is cut). [`Config`] keeps what was written; [`Config::reread`] gives what is read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use sha1::{Digest, Sha1};

use crate::pve::schema::{ValueType, catalog};
use crate::pve::text::{decode_text, encode_text};
use crate::pve::value::GuestKind;

/// One section: values by key. The description is under `description`, decoded.
pub(super) type Section = BTreeMap<String, String>;

/// A configuration file.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Config {
    pub(super) kind: GuestKind,
    /// What holds now.
    pub(super) current: Section,
    /// What is set and waits.
    pub(super) pending: Section,
    /// What is deleted and waits; true where a volume goes with it.
    pub(super) deletes: BTreeMap<String, bool>,
    /// The keys of cloud-init that changed since its drive was made: what stood there before.
    pub(super) cloudinit: Section,
    /// The sections of the snapshots.
    pub(super) snapshots: BTreeMap<String, Section>,
    /// The raw lines of a container (`lxc.…`), in order.
    pub(super) raw: Vec<(String, String)>,
    /// The text that was read, until something is written.
    verbatim: Option<String>,
}

impl Config {
    pub(super) fn new(kind: GuestKind) -> Self {
        Self {
            kind,
            current: Section::new(),
            pending: Section::new(),
            deletes: BTreeMap::new(),
            cloudinit: Section::new(),
            snapshots: BTreeMap::new(),
            raw: Vec::new(),
            verbatim: None,
        }
    }

    /// Reads a file's text.
    pub(super) fn parse(kind: GuestKind, text: &str) -> Self {
        let mut config = Self::new(kind);
        let mut section = String::new();
        let mut values = Section::new();
        let mut comment: Option<String> = None;
        for line in text.lines().chain(["[end]"]) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.trim_end().strip_suffix(']')) {
                if let Some(text) = comment.take() {
                    values.insert("description".to_owned(), read_description(kind, &text));
                }
                config.keep_section(&section, std::mem::take(&mut values));
                name.clone_into(&mut section);
            } else if let Some(rest) = line.strip_prefix('#') {
                let comment = comment.get_or_insert_default();
                comment.push_str(&decode_text(rest));
                comment.push('\n');
            } else if let Some((key, value)) = line.split_once(':') {
                if key.starts_with("lxc.") && section.is_empty() {
                    config.raw.push((key.to_owned(), value.trim().to_owned()));
                } else {
                    values.insert(key.to_owned(), read_value(value));
                }
            }
        }
        config.verbatim = Some(text.to_owned());
        config
    }

    fn keep_section(&mut self, name: &str, mut values: Section) {
        match name {
            "" => self.current = values,
            "PENDING" | "pve:pending" => {
                for entry in values.remove("delete").unwrap_or_default().split(',').filter(|entry| !entry.is_empty()) {
                    let key = entry.trim_start_matches('!');
                    self.deletes.insert(key.to_owned(), entry.starts_with('!'));
                }
                self.pending = values;
            }
            "special:cloudinit" => self.cloudinit = values,
            _ => {
                self.snapshots.insert(name.to_owned(), values);
            }
        }
    }

    /// The file's text.
    pub(super) fn render(&self) -> String {
        if let Some(text) = &self.verbatim {
            return text.clone();
        }
        let mut text = render_section(&self.current);
        for (key, value) in &self.raw {
            text.push_str(&format!("{key}: {value}\n"));
        }
        if !self.pending.is_empty() || !self.deletes.is_empty() {
            let mut section = self.pending.clone();
            if !self.deletes.is_empty() {
                let list = self.deletes.iter().map(|(key, force)| if *force { format!("!{key}") } else { key.clone() });
                section.insert("delete".to_owned(), list.collect::<Vec<_>>().join(","));
            }
            let name = if self.kind == GuestKind::Qemu { "PENDING" } else { "pve:pending" };
            text.push_str(&format!("\n[{name}]\n{}", render_section(&section)));
        }
        if !self.cloudinit.is_empty() {
            text.push_str(&format!("\n[special:cloudinit]\n{}", render_section(&self.cloudinit)));
        }
        for (name, section) in &self.snapshots {
            text.push_str(&format!("\n[{name}]\n{}", render_section(section)));
        }
        text
    }

    /// The digest that a client may send back: the SHA-1 of the text.
    pub(super) fn digest(&self) -> String {
        let mut text = String::with_capacity(40);
        for byte in Sha1::digest(self.render().as_bytes()) {
            // Writing to a text does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// What is read after this was written, ready for editing.
    pub(super) fn reread(&self) -> Self {
        let mut read = self.clone();
        read.verbatim = None;
        let kind = self.kind;
        let sections = [&mut read.current, &mut read.pending].into_iter().chain(read.snapshots.values_mut());
        for section in sections {
            section.retain(|key, value| key != "description" || !matches!(value.as_str(), "" | "0"));
            for (key, value) in section.iter_mut() {
                *value = if key == "description" {
                    let lines: String = description_lines(value).iter().map(|line| format!("{line}\n")).collect();
                    // A file that was only read keeps what it says under the plain key.
                    if self.verbatim.is_some() { value.clone() } else { read_description(kind, &lines) }
                } else {
                    read_value(value)
                };
            }
        }
        read
    }

    /// The values with those that wait applied, which is what Proxmox shows by default.
    pub(super) fn with_pending(&self) -> Section {
        let mut section = self.current.clone();
        for key in self.deletes.keys() {
            // A value that counts as false stays visible: Proxmox asks whether it is true, not whether it is there.
            if section.get(key).is_some_and(|value| is_true(value)) {
                section.remove(key);
            }
        }
        section.extend(self.pending.iter().map(|(key, value)| (key.clone(), value.clone())));
        section
    }

    /// A section as the answer of a read shows it, without the digest.
    pub(super) fn section_json(&self, section: &Section) -> Map<String, Value> {
        section.iter().map(|(key, value)| (key.clone(), value_json(self.kind, key, value))).collect()
    }

    /// The answer of `GET …/config`.
    pub(super) fn json(&self, section: &Section) -> Value {
        let mut object = self.section_json(section);
        mask(&mut object);
        object.insert("digest".to_owned(), json!(self.digest()));
        if !self.raw.is_empty() {
            object.insert("lxc".to_owned(), json!(self.raw));
        }
        Value::Object(object)
    }

    /// The answer of `GET …/pending`: one entry per key.
    pub(super) fn pending_json(&self) -> Value {
        let mut entries = BTreeMap::new();
        for (key, value) in &self.current {
            let mut entry = Map::from_iter([("key".to_owned(), json!(key))]);
            entry.insert("value".to_owned(), shown(self.kind, key, value));
            entries.insert(key.clone(), entry);
        }
        for (key, value) in &self.pending {
            let entry = entries.entry(key.clone()).or_insert_with(|| Map::from_iter([("key".to_owned(), json!(key))]));
            entry.insert("pending".to_owned(), shown(self.kind, key, value));
        }
        for (key, force) in &self.deletes {
            let in_current = self.current.contains_key(key);
            if !in_current && self.pending.contains_key(key) {
                continue;
            }
            let entry = entries.entry(key.clone()).or_insert_with(|| Map::from_iter([("key".to_owned(), json!(key))]));
            entry.insert("delete".to_owned(), json!(if *force || !in_current { 2 } else { 1 }));
        }
        entries.insert("digest".to_owned(), {
            Map::from_iter([("key".to_owned(), json!("digest")), ("value".to_owned(), json!(self.digest()))])
        });
        Value::Array(entries.into_values().map(Value::Object).collect())
    }

    /// Sets a value that waits, and forgets a waiting removal of it.
    pub(super) fn set_pending(&mut self, key: &str, value: String) {
        self.deletes.remove(key);
        self.pending.insert(key.to_owned(), value);
    }

    /// Drops what waits and would change nothing.
    pub(super) fn clean_pending(&mut self) {
        let current = &self.current;
        self.pending.retain(|key, value| current.get(key) != Some(value));
        self.deletes.retain(|key, _| current.contains_key(key));
    }

    /// The lock that the guest bears.
    pub(super) fn lock(&self) -> Option<&str> {
        self.current.get("lock").map(String::as_str)
    }

    /// True where a boolean option is set and true.
    pub(super) fn flag(&self, key: &str) -> bool {
        self.current.get(key).is_some_and(|value| is_true(value))
    }
}

/// Perl's idea of truth.
pub(super) fn is_true(value: &str) -> bool {
    !value.is_empty() && value != "0"
}

/// A value as the parser of the file reads it: without white space around it, but never empty.
fn read_value(value: &str) -> String {
    let trimmed = value.trim();
    if trimmed.is_empty() { " ".to_owned() } else { trimmed.to_owned() }
}

/// What is read of a description; the lines come with their ends.
fn read_description(kind: GuestKind, lines: &str) -> String {
    match kind {
        GuestKind::Qemu => lines.trim_end().to_owned(),
        GuestKind::Lxc => lines.to_owned(),
    }
}

/// The lines that are written of a description: empty ones at the end are not.
fn description_lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.split('\n').collect();
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    lines
}

fn render_section(section: &Section) -> String {
    let mut text = String::new();
    if let Some(description) = section.get("description").filter(|text| !matches!(text.as_str(), "" | "0")) {
        for line in description_lines(description) {
            text.push_str(&format!("#{}\n", encode_text(line)));
        }
    }
    for (key, value) in section {
        if key != "description" {
            text.push_str(&format!("{key}: {value}\n"));
        }
    }
    text
}

fn mask(object: &mut Map<String, Value>) {
    if let Some(password) = object.get_mut("cipassword") {
        *password = json!("**********");
    }
}

fn shown(kind: GuestKind, key: &str, value: &str) -> Value {
    if key == "cipassword" { json!("**********") } else { value_json(kind, key, value) }
}

/// A value in an answer: whole numbers and booleans as numbers, all else as text.
pub(super) fn value_json(kind: GuestKind, key: &str, value: &str) -> Value {
    let is_number = key == "snaptime"
        || catalog(kind).find(key).is_some_and(|spec| matches!(spec.value.ty, ValueType::Integer | ValueType::Boolean));
    match value.parse::<i64>() {
        Ok(number) if is_number => json!(number),
        _ => json!(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_written_alike() {
        let text = "#line1\n#line2%3A x\nboot: order=scsi0\ncores: 2\n\n[PENDING]\ncores: 4\ndelete: !scsi1,vga\n\n\
                    [s1]\n#d\ncores: 1\nsnaptime: 1700000000\n";
        let config = Config::parse(GuestKind::Qemu, text);
        assert_eq!(config.current["description"], "line1\nline2: x");
        assert!(config.deletes["scsi1"]);
        let mut again = config.reread();
        again.set_pending("cores", "4".to_owned());
        assert_eq!(again.render(), text);
        assert_eq!(config.with_pending()["cores"], "4");
    }

    #[test]
    fn what_is_read_is_not_what_was_written() {
        let mut config = Config::new(GuestKind::Qemu);
        config.current.insert("boot".to_owned(), String::new());
        config.current.insert("description".to_owned(), "a\nb \n\n".to_owned());
        assert_eq!(config.render(), "#a\n#b \nboot: \n");
        assert_eq!(config.reread().current["boot"], " ");
        assert_eq!(config.reread().render(), "#a\n#b\nboot:  \n");
        config.current.insert("description".to_owned(), "0".to_owned());
        assert!(!config.reread().current.contains_key("description"));
        let mut container = Config::new(GuestKind::Lxc);
        container.current.insert("description".to_owned(), "x\n\n".to_owned());
        assert_eq!(container.reread().current["description"], "x\n");
    }

    #[test]
    fn digests_are_those_of_proxmox() {
        let text = "boot: order=scsi0;ide2;net0\ncores: 2\nide2: local:iso/debian.iso,media=cdrom,size=4K\nmemory: 2048\n\
                    meta: creation-qemu=10.1.2,ctime=1750000000\nname: web1\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr0\n\
                    ostype: l26\nscsi0: local-lvm:vm-100-disk-0,size=32G\nscsihw: virtio-scsi-single\n\
                    smbios1: uuid=00000000-0000-4000-8000-000000000001\nvmgenid: 00000000-0000-4000-8000-000000000002\n";
        let config = Config::parse(GuestKind::Qemu, text).reread();
        assert_eq!(config.render(), text);
        assert_eq!(config.digest(), "733968dc971ed703c1dd51c84433e37ca43686c8");
    }
}
