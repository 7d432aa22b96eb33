//! Reading a configuration file, line by line.

use super::keys::{check, spec_of, spec_of_fleecing};
use super::raw::{self, RawKey};
use super::{GuestFile, Remark, Section};
use crate::pve::pattern::{captures, pattern};
use crate::pve::text::decode_text;
use crate::pve::value::{GuestKind, is_space};

pattern!(PENDING, r"^\[(?i:PENDING)\](?-u:\s)*$");
pattern!(CONTAINER_PENDING, r"^\[(?i:pve:pending)\](?-u:\s)*$");
pattern!(SPECIAL, r"^\[(?i:special):(cloudinit|fleecing)\](?-u:\s)*$");
pattern!(SNAPSHOT, r"^\[([a-zA-Z][a-zA-Z0-9_-]+)\](?-u:\s)*$");
pattern!(OTHER_SECTION, r"^\[([^\]]*)\](?-u:\s)*$");
pattern!(DESCRIPTION, r"^description:(?-u:\s)*(.*\S)(?-u:\s)*$");
pattern!(SNAPSHOT_STATE, r"snapstate:(?-u:\s)*(prepare|delete)(?-u:\s)*$");
pattern!(VM_LINE, r"^([a-z][a-z_-]*[0-9]*):(?-u:\s)*(.+?)(?-u:\s)*$");
pattern!(CONTAINER_LINE, r"^([a-z][a-z_]*[0-9]*):(?-u:\s)*(.+?)(?-u:\s)*$");
pattern!(RAW_LINE, r"^(lxc\.[a-z0-9_.-]+)(?::|(?-u:\s)*=)(?-u:\s)*(.*?)(?-u:\s)*$");

/// The section that the lines belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Current,
    Pending,
    Special(String),
    Snapshot(String),
    /// A section that the server does not know: its lines are passed over.
    Nowhere,
}

struct Reader {
    vmid: u32,
    file: GuestFile,
    place: Place,
    has_pending: bool,
    description: Option<String>,
    remarks: Vec<Remark>,
}

impl Reader {
    fn new(kind: GuestKind, vmid: u32) -> Self {
        Self {
            vmid,
            file: GuestFile::new(kind),
            place: Place::Current,
            has_pending: false,
            description: None,
            remarks: Vec::new(),
        }
    }

    fn error(&mut self, text: &str) {
        self.remarks.push(Remark { text: format!("vm {} - {text}", self.vmid), is_error: true });
    }

    fn section(&mut self) -> &mut Section {
        match &self.place {
            Place::Current | Place::Nowhere => &mut self.file.current,
            Place::Pending => &mut self.file.pending,
            Place::Special(name) => self.file.special.entry(name.clone()).or_default(),
            Place::Snapshot(name) => self.file.snapshots.entry(name.clone()).or_default(),
        }
    }

    fn set(&mut self, key: &str, value: &str) {
        self.section().values.insert(key.to_owned(), value.to_owned());
    }

    /// Ends a section: what was collected of its description is kept with it.
    fn end_section(&mut self) {
        let Some(text) = self.description.take() else { return };
        match self.file.kind {
            GuestKind::Qemu if self.place != Place::Nowhere => self.set("description", text.trim_end_matches(is_space)),
            GuestKind::Lxc if !matches!(text.as_str(), "" | "0") => self.set("description", &text),
            _ => {}
        }
    }

    fn begin_section(&mut self, place: Place) {
        self.end_section();
        self.place = place;
        *self.section() = Section::default();
    }

    /// What both kinds of guests have in common; false where the line is something else.
    fn common_line(&mut self, line: &str) -> bool {
        if let Some(comment) = line.strip_prefix('#') {
            let text = self.description.get_or_insert_default();
            text.push_str(&decode_text(comment));
            text.push('\n');
        } else if let Some([Some(text)]) = captures(&DESCRIPTION, line) {
            self.description.get_or_insert_default().push_str(&decode_text(text));
        } else if let Some([Some(state)]) = captures(&SNAPSHOT_STATE, line) {
            self.set("snapstate", state);
        } else {
            return false;
        }
        true
    }

    fn finish(mut self) -> (GuestFile, Vec<Remark>) {
        self.end_section();
        self.file.current.values.remove("snapstate");
        (self.file, self.remarks)
    }

    fn vm_line(&mut self, line: &str) {
        if PENDING.is_match(line) {
            if self.has_pending {
                self.error("duplicate section: pending\n");
            }
            self.has_pending = true;
            return self.begin_section(Place::Pending);
        }
        if let Some([Some(name)]) = captures(&SPECIAL, line) {
            if self.file.special.contains_key(name) {
                self.error(&format!("duplicate special section: {name}\n"));
            }
            return self.begin_section(Place::Special(name.to_owned()));
        }
        if let Some([Some(name)]) = captures(&SNAPSHOT, line) {
            if self.file.snapshots.contains_key(name) {
                self.error(&format!("duplicate snapshot section: {name}\n"));
            }
            return self.begin_section(Place::Snapshot(name.to_owned()));
        }
        if let Some([Some(name)]) = captures(&OTHER_SECTION, line) {
            self.end_section();
            self.place = Place::Nowhere;
            return self.error(&format!("skipping unknown section: '{name}'\n"));
        }
        if self.place == Place::Nowhere || self.common_line(line) {
            return;
        }
        let Some([Some(key), Some(value)]) = captures(&VM_LINE, line) else {
            return self.error(&format!("unable to parse config: {line}\n"));
        };
        let is_blank = value.chars().all(is_space);
        if key == "args" && !is_blank {
            self.set(key, value);
        } else if key == "delete" && !is_blank {
            self.removal(value, "[PENDING]");
        } else if self.place == Place::Special("cloudinit".to_owned()) {
            self.set(key, value);
        } else {
            let is_fleecing = matches!(self.place, Place::Special(_));
            let spec = if is_fleecing { spec_of_fleecing(key) } else { spec_of(GuestKind::Qemu, key) };
            match check(GuestKind::Qemu, key, spec, value) {
                Ok(value) => self.set(if key == "cdrom" { "ide2" } else { key }, &value),
                Err(text) => self.error(&format!("unable to parse value of '{key}' - {text}")),
            }
        }
    }

    fn removal(&mut self, value: &str, section: &str) {
        if self.place == Place::Pending {
            self.set("delete", value);
        } else {
            self.error(&format!("property 'delete' is only allowed in {section}\n"));
        }
    }

    fn container_line(&mut self, line: &str) {
        if CONTAINER_PENDING.is_match(line) {
            return self.begin_section(Place::Pending);
        }
        if let Some([Some(name)]) = captures(&SNAPSHOT, line) {
            return self.begin_section(Place::Snapshot(name.to_owned()));
        }
        if line.starts_with('#') {
            self.common_line(line);
            return;
        }
        if let Some([Some(key), Some(value)]) = captures(&RAW_LINE, line) {
            return self.raw_line(line, key, value);
        }
        if self.common_line(line) {
            return;
        }
        let Some([Some(key), Some(value)]) = captures(&CONTAINER_LINE, line) else {
            return self.error(&format!("unable to parse config: {line}\n"));
        };
        if key == "delete" && !value.chars().all(is_space) {
            return self.removal(value, "[pve:pending]");
        }
        match check(GuestKind::Lxc, key, spec_of(GuestKind::Lxc, key), value) {
            Ok(value) => self.set(key, &value),
            Err(text) => {
                self.error(&format!("unable to parse value of '{key}' - {text}"));
                self.set(key, value);
            }
        }
    }

    fn raw_line(&mut self, line: &str, key: &str, value: &str) {
        match raw::judge(self.vmid, key) {
            RawKey::Kept if key == "lxc.environment.runtime" => {
                let variables = &mut self.section().values;
                match variables.get_mut("env") {
                    Some(env) => {
                        env.push('\0');
                        env.push_str(value);
                    }
                    None => drop(variables.insert("env".to_owned(), value.to_owned())),
                }
            }
            RawKey::Kept => self.section().raw.push((key.to_owned(), value.to_owned())),
            RawKey::Old(text) => {
                self.remarks.push(Remark { text, is_error: false });
                self.section().raw.push((key.to_owned(), value.to_owned()));
            }
            RawKey::Refused(reason) => self.error(&format!("{key}: {reason}\n")),
            RawKey::Unknown => self.error(&format!("unable to parse config: {line}\n")),
        }
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').filter(|line| !line.chars().all(is_space))
}

pub(super) fn vm(vmid: u32, text: &str) -> (GuestFile, Vec<Remark>) {
    let mut reader = Reader::new(GuestKind::Qemu, vmid);
    lines(text).for_each(|line| reader.vm_line(line));
    reader.finish()
}

pub(super) fn container(vmid: u32, text: &str) -> (GuestFile, Vec<Remark>) {
    let mut reader = Reader::new(GuestKind::Lxc, vmid);
    lines(text).for_each(|line| reader.container_line(line));
    reader.finish()
}
