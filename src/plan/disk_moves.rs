//! Disks that go elsewhere: to another storage, to another key of the guest, back from `unusedN`.

use super::document::{Effect, Reason, ReasonCode};
use super::drives::{holds_data, volume_of};
use super::options::{Comparison, Write, is_ignored};
use super::template::Template;
use crate::desired::{DesiredOption, Drive, DriveForm, OptionValue};
use crate::pve::compare::{is_drive, size_matches, stem, volume_key};
use crate::pve::property::{self, Properties};
use crate::pve::schema::{PropertyFormat, catalog};
use crate::pve::value::{Size, storage_of};

impl Comparison<'_> {
    /// Moves a drive's disk to another storage.
    pub(super) fn move_volume(
        &mut self,
        name: &str,
        field: &str,
        desired: &DesiredOption,
        volume: &str,
        storage: &str,
    ) {
        let (before, after) = (Some(volume.to_owned()), Some(format!("{storage}:…")));
        let keeps_source = self.has_snapshots();
        let write = Write::Move { option: name.to_owned(), storage: storage.to_owned(), keeps_source };
        let reason = if self.seen.foretold {
            // A full clone puts its disks where it is told, and nowhere else in that call.
            None
        } else if let Some(option) = self.waits(&[name]) {
            Some(waiting(&option))
        } else {
            Some(()).filter(|()| write.needs_off(self.kind())).and_then(|()| (self.seen.kept_on)())
        };
        if let Some(reason) = reason {
            self.blocked(field, before, after, desired, reason);
            return;
        }
        let effect = if self.seen.running && write.needs_off(self.kind()) { Effect::Downtime } else { Effect::None };
        self.field(field, before, after, effect, desired);
        self.out.writes.push(write);
        if keeps_source {
            self.out.notes.push(format!("snapshots hold {volume}, so it stays, detached, when {name} is moved"));
        }
    }

    /// Gives a drive the disk of another one: the same volume under another key, in one call.
    pub(super) fn rekey(
        &mut self,
        name: &str,
        desired: &DesiredOption,
        format: &PropertyFormat,
        drive: &Drive,
        from: &str,
    ) {
        let found = match self.source_of(name, from) {
            Ok(found) => found,
            Err(reason) => {
                let shown = Some(format!("the disk of {from}"));
                self.blocked(name, None, shown, desired, reason);
                return;
            }
        };
        let key = volume_key(self.kind());
        let volume = found.get(key).cloned().unwrap_or_default();
        let running = self.seen.running;
        let effect = if running { Effect::Downtime } else { Effect::None };
        self.field(name, None, Some(format!("the disk of {from}, {volume}")), effect, desired);
        if let DriveForm::Allocate { storage } = &drive.form
            && storage_of(&volume).is_some_and(|now| now != storage)
        {
            self.move_volume(from, &format!("{name}.{key}"), desired, &volume, storage);
        }
        // What the other bus has no word for stays behind.
        let mut result: Properties = found
            .iter()
            .filter(|(key, _)| format.keys.contains_key(*key))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        for (key, value) in
            drive.keys.iter().filter(|(key, _)| !is_ignored(&self.guest.ignore, &format!("{name}.{key}")))
        {
            let before = result.get(key).cloned();
            match value {
                Some(value) => result.insert(key.clone(), value.clone()),
                None => result.remove(key),
            };
            if before != result.get(key).cloned() {
                self.field(&format!("{name}.{key}"), before, result.get(key).cloned(), effect, desired);
            }
        }
        let (value, expect) = self.written_from(name, from, format, &result, &found);
        self.out.writes.push(Write::Rekey { from: from.to_owned(), option: name.to_owned(), value, expect });
        self.boot_order_follows(name, from, desired, effect);
        if let Some(size) = drive.size {
            // Grown when it has its new key.
            self.size(name, desired, size, found.get("size").and_then(|text| Size::parse_proxmox(text)));
        }
    }

    /// The drive whose disk becomes another's, taken apart.
    fn source_of(&self, name: &str, from: &str) -> Result<Properties, Reason> {
        let not_found = |words: String| Reason {
            code: ReasonCode::NotFound,
            words,
            hint: Some(format!("take `moved_from` away; `{name}: {{storage: …, size: …}}` is a new disk")),
        };
        let Some(text) = self.seen.config.effective(from) else {
            return Err(not_found(format!("there is no {from} whose disk could become {name}")));
        };
        if !holds_data(self.kind(), from, text) {
            return Err(not_found(format!("{from} holds no disk")));
        }
        let is_listed = |option: &DesiredOption| option.value != OptionValue::Absent;
        if let Some(other) = self.guest.options.get(from).filter(|option| is_listed(option)) {
            let words = format!("{from} is listed too, at {}", other.place);
            let hint = Some(format!("take {from} away, or write `{from}: null`"));
            return Err(Reason { code: ReasonCode::Conflict, words, hint });
        }
        if let Some(option) = self.waits(&[name, from]) {
            return Err(waiting(&option));
        }
        if let Some(reason) = (self.seen.kept_on)() {
            return Err(reason);
        }
        let format = catalog(self.kind()).find(from).and_then(|spec| spec.value.properties.as_ref());
        let found = format.and_then(|format| property::split(text, format).ok());
        found.ok_or_else(|| Reason {
            code: ReasonCode::Unread,
            words: format!("{from} is `{text}`, which this version cannot take apart"),
            hint: None,
        })
    }

    /// A boot order that names the old key, and that nobody listed, names the new one.
    fn boot_order_follows(&mut self, name: &str, from: &str, desired: &DesiredOption, effect: Effect) {
        if self.guest.options.contains_key("boot") {
            return;
        }
        // Two disks may change their keys: the second goes on from what the first made of the order.
        let planned = self.out.writes.iter().find_map(|write| match write {
            Write::Set { option, expect, .. } if option == "boot" => Some(expect.clone()),
            _ => None,
        });
        let Some(boot) = planned.or_else(|| self.seen.config.effective("boot").map(str::to_owned)) else { return };
        let Some((before, order)) = boot.split_once("order=") else { return };
        let (order, rest) = order.split_once(',').map_or((order, None), |(order, rest)| (order, Some(rest)));
        if !order.split(';').any(|device| device == from) {
            return;
        }
        let devices: Vec<&str> = order.split(';').map(|device| if device == from { name } else { device }).collect();
        let mut text = format!("{before}order={}", devices.join(";"));
        if let Some(rest) = rest {
            text.push_str(&format!(",{rest}"));
        }
        self.out.writes.retain(|write| write.option() != "boot");
        self.out.fields.retain(|field| field.name != "boot");
        let live = self.seen.config.effective("boot").map(str::to_owned);
        self.field("boot", live, Some(text.clone()), effect, desired);
        self.out.writes.push(Write::Set {
            option: "boot".to_owned(),
            value: Template::text(&text),
            expect: text,
            allocates: false,
            effect: Effect::None,
        });
    }

    /// True, and said, where a drive has a disk of its own and the one that should become it is still there.
    pub(super) fn source_is_left(&mut self, name: &str, from: &str, desired: &DesiredOption) -> bool {
        let left = self.seen.config.effective(from).is_some_and(|text| holds_data(self.kind(), from, text));
        if left && !self.guest.options.contains_key(from) {
            let reason = Reason {
                code: ReasonCode::Conflict,
                words: format!("both {from} and {name} hold disks"),
                hint: Some("take `moved_from` away, or detach one of them".to_owned()),
            };
            self.blocked(name, None, Some(format!("the disk of {from}")), desired, reason);
            return true;
        }
        self.out.notes.push(format!("{name} holds its disk; `moved_from: {from}` is no longer needed"));
        false
    }

    /// True where the manifest makes another drive of this one's disk: it is not lost.
    pub(super) fn becomes_another(&self, name: &str) -> bool {
        self.guest.options.iter().any(|(other, option)| match &option.value {
            OptionValue::Drive(drive) => {
                drive.moved_from.as_ref().is_some_and(|from| from.value == name)
                    && self.seen.config.effective(other).is_none()
            }
            _ => false,
        })
    }

    /// The drive with the volume that `unusedN` stands for; nothing where it stands for none.
    pub(super) fn attached(&self, drive: &Drive) -> Result<Option<Drive>, Reason> {
        let DriveForm::Volume(key) = &drive.form else { return Ok(None) };
        if stem(key) != "unused" {
            return Ok(None);
        }
        match self.seen.config.effective(key) {
            Some(text) => {
                let form = DriveForm::Volume(volume_of(text).to_owned());
                Ok(Some(Drive { form, ..drive.clone() }))
            }
            None => Err(Reason {
                code: ReasonCode::NotFound,
                words: format!("there is no {key} to attach"),
                hint: Some("name the volume itself, or ask for a new disk".to_owned()),
            }),
        }
    }

    /// Why a new disk might be meant to be one that is there: detached, about to be, or unlisted and just as large.
    pub(super) fn might_be_another(&self, name: &str, drive: &Drive) -> Option<Reason> {
        let DriveForm::Allocate { storage } = &drive.form else { return None };
        if drive.new || self.seen.foretold || drive.import.is_some() {
            return None;
        }
        let config = self.seen.config;
        let holds = |other: &str| config.effective(other).filter(|live| holds_data(self.kind(), other, live));
        if let Some((option, volume)) = config.current.iter().find(|(option, _)| stem(option) == "unused") {
            return Some(Reason {
                code: ReasonCode::DetachedDisk,
                words: format!("{name} would be a new, empty disk, while {option} holds {}", volume_of(volume)),
                hint: Some(format!(
                    "write `{name}: {{volume: {option}}}` to attach that one, or `new: true` for an empty disk"
                )),
            });
        }
        let lost = self.guest.options.iter().filter(|(_, option)| option.value == OptionValue::Absent);
        let lost = lost.filter(|(other, _)| is_drive(self.kind(), other) && !self.becomes_another(other));
        let lost = lost.map(|(other, _)| other).find(|other| holds(other).is_some());
        let alike = |other: &&String| {
            let unlisted = is_drive(self.kind(), other) && !self.guest.options.contains_key(*other);
            let text = holds(other).filter(|_| unlisted && *other != "rootfs");
            text.is_some_and(|text| {
                let size = text.split(',').find_map(|part| part.strip_prefix("size=")).and_then(Size::parse_proxmox);
                storage_of(volume_of(text)) == Some(storage) && drive.size.is_some() && size_matches(drive.size, size)
            })
        };
        let other = lost.or_else(|| config.current.keys().find(alike))?;
        let volume = volume_of(holds(other).unwrap_or_default()).to_owned();
        Some(Reason {
            code: ReasonCode::DetachedDisk,
            words: format!("{name} would be a new, empty disk, while {other} holds {volume}"),
            hint: Some(format!(
                "write `{name}: {{moved_from: {other}}}` to keep that disk, or `new: true` for an empty one"
            )),
        })
    }

    /// The first of these options that waits for a reboot. A value that waits names the volume as it is now, and
    /// would bring it back.
    fn waits(&self, options: &[&str]) -> Option<String> {
        let waits = |option: &&&str| self.seen.config.pending.contains_key(**option);
        options.iter().find(waits).map(|option| (*option).to_owned())
    }

    /// True where the guest has snapshots. Source: `parent` names the one that the present state goes back to.
    fn has_snapshots(&self) -> bool {
        self.seen.config.current.contains_key("parent")
    }
}

fn waiting(option: &str) -> Reason {
    Reason {
        code: ReasonCode::Dependency,
        words: format!("a change of {option} waits for a reboot, and names the disk as it is now"),
        hint: Some("reboot the guest, then plan again".to_owned()),
    }
}
