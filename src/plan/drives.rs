//! Drives compared: which volume, which options, which size; and never a new, empty disk in place of a detached one.

use super::document::{Effect, Reason, ReasonCode};
use super::options::{Comparison, Write, has_parts, is_ignored};
use super::template::Template;
use crate::desired::{DesiredOption, Drive, DriveForm};
use crate::pve::compare::{self, differing_keys, is_drive, stem, volume_key};
use crate::pve::effect::is_live_drive_key;
use crate::pve::property::{self, Properties};
use crate::pve::schema::PropertyFormat;
use crate::pve::value::{GuestKind, Size, storage_of};

impl Comparison<'_> {
    pub(super) fn drive(
        &mut self,
        name: &str,
        desired: &DesiredOption,
        format: &PropertyFormat,
        drive: &Drive,
        live: Option<&str>,
    ) {
        let Some(text) = live else {
            match drive.moved_from.as_ref().map(|from| from.value.as_str()) {
                Some(from) => self.rekey(name, desired, format, drive, from),
                None => self.new_drive(name, desired, format, drive),
            }
            return;
        };
        let Ok(seen) = property::split(text, format) else {
            self.unreadable(name, desired, text);
            return;
        };
        if let Some(from) = drive.moved_from.as_ref().map(|from| from.value.as_str())
            && self.source_is_left(name, from, desired)
        {
            return;
        }
        let volume = seen.get(volume_key(self.kind())).cloned().unwrap_or_default();
        let is_cdrom = seen.get("media").is_some_and(|media| media == "cdrom");
        let wants_cdrom = matches!(drive.form, DriveForm::Iso(_) | DriveForm::CloudInit { .. } | DriveForm::Empty);
        let is_cloudinit = is_cdrom && is_cloudinit(&volume);
        let replaced = match &drive.form {
            DriveForm::Inherited => None,
            DriveForm::Allocate { storage } if !is_cdrom => {
                (storage_of(&volume) != Some(storage)).then(|| format!("{storage}:…"))
            }
            // Once it is attached, no number stands for it any more.
            DriveForm::Volume(wanted) if stem(wanted) == "unused" => None,
            DriveForm::Volume(wanted) => (*wanted != volume).then(|| wanted.clone()),
            DriveForm::Iso(wanted) => (*wanted != volume).then(|| wanted.clone()),
            DriveForm::Empty => (volume != "none").then(|| "none".to_owned()),
            DriveForm::CloudInit { storage } => {
                (!is_cloudinit || storage_of(&volume) != Some(storage)).then(|| format!("{storage}:cloudinit"))
            }
            DriveForm::Allocate { storage } => Some(format!("{storage}:…")),
        };
        if let Some(wanted) = replaced {
            let field = format!("{name}.{}", volume_key(self.kind()));
            if let Some(storage) = moves_to(&drive.form, &volume, is_cdrom) {
                self.move_volume(name, &field, desired, &volume, storage);
            } else {
                let exchangeable = is_cdrom && !is_cloudinit && wants_cdrom;
                if !exchangeable {
                    let reason = self.why_not_replaced(name, &volume);
                    self.blocked(&field, Some(volume), Some(wanted), desired, reason);
                    return;
                }
                let (value, expect, allocates) = new_drive_value(self.kind(), name, format, drive);
                // Another medium in a CD-ROM drive is a change without a reboot.
                let effect = if allocates { self.effect(name, live, Some("x")) } else { Effect::None };
                self.field(&field, Some(volume), Some(wanted), effect, desired);
                self.set(name, value, &expect, allocates, effect);
                return;
            }
        }
        let sized = !is_cdrom && !matches!(stem(name), "efidisk" | "tpmstate");
        // Grown first: what is written of a drive that waits holds the size that it has then.
        let grows =
            drive.size.filter(|_| sized).is_some_and(|size| self.size(name, desired, size, self.size_now(name, &seen)));
        let waits = matches!(self.seen.config.pending.get(name), Some(Some(_)));
        self.drive_options(name, desired, format, drive, live, &seen);
        if grows
            && waits
            && !self.out.writes.iter().any(|write| matches!(write, Write::Set { option, .. } if option == name))
        {
            let (value, expect) = self.written(name, format, &seen, &seen);
            self.set(name, value, &expect, false, Effect::None);
        }
    }

    /// The size of a drive. What waits for a reboot has the size that the disk had when it was written.
    fn size_now(&self, name: &str, seen: &Properties) -> Option<Size> {
        let volume = seen.get(volume_key(self.kind()));
        let current =
            self.seen.config.current.get(name).filter(|text| volume.is_some_and(|volume| volume_of(text) == volume));
        let of_current = current.and_then(|text| text.split(',').find_map(|part| part.strip_prefix("size=")));
        of_current.or_else(|| seen.get("size").map(String::as_str)).and_then(Size::parse_proxmox)
    }

    fn why_not_replaced(&self, name: &str, volume: &str) -> Reason {
        Reason {
            code: ReasonCode::NeedsAccept,
            words: format!("{name} holds {volume}; another volume in its place would detach it"),
            hint: Some(format!(
                "detach it first (`{name}: null` and --accept detach:{}/{name}), or use another key",
                self.seen.address
            )),
        }
    }

    pub(super) fn drive_options(
        &mut self,
        name: &str,
        desired: &DesiredOption,
        format: &PropertyFormat,
        drive: &Drive,
        live: Option<&str>,
        seen: &Properties,
    ) {
        let mut wanted = drive.keys.clone();
        if drive.whole {
            // `media=cdrom` belongs to the form, not to the options.
            if let Some(media) = seen.get("media") {
                wanted.entry("media".to_owned()).or_insert_with(|| Some(media.clone()));
            }
        }
        let changed: Vec<String> = differing_keys(self.kind(), name, format, &wanted, drive.whole, seen)
            .into_iter()
            .filter(|key| !is_ignored(&self.guest.ignore, &format!("{name}.{key}")))
            .collect();
        if changed.is_empty() {
            return;
        }
        let mut result = seen.clone();
        for key in &changed {
            match wanted.get(key).cloned().flatten() {
                Some(value) => result.insert(key.clone(), value),
                None => result.remove(key),
            };
        }
        let mut effect = self.effect(name, live, Some(&property::print(&result, format)));
        if self.kind() == GuestKind::Qemu && self.seen.running && !changed.iter().all(|key| is_live_drive_key(key)) {
            effect = effect.max(Effect::Reboot);
        }
        for key in &changed {
            self.field(&format!("{name}.{key}"), seen.get(key).cloned(), result.get(key).cloned(), effect, desired);
        }
        let (value, expect) = self.written(name, format, &result, seen);
        self.set(name, value, &expect, false, effect);
    }

    /// Grows a disk; true where it is to grow.
    pub(super) fn size(&mut self, name: &str, desired: &DesiredOption, wanted: Size, live: Option<Size>) -> bool {
        let Some(live) = live else {
            self.out.notes.push(format!("the size of {name} is not known, so it is left as it is"));
            return false;
        };
        let field = format!("{name}.size");
        let (before, after) = (Some(live.human()), Some(wanted.human()));
        if compare::size_matches(Some(wanted), Some(live)) {
            return false;
        }
        if wanted < live {
            let words = format!("{name} has {}; Proxmox does not shrink disks", live.human());
            let hint = Some(format!("write `size: {}iB`, or make a smaller disk by hand", live));
            self.blocked(&field, before, after, desired, Reason { code: ReasonCode::Shrink, words, hint });
            return false;
        }
        self.field(&field, before, after, Effect::None, desired);
        self.out.writes.push(Write::Resize { option: name.to_owned(), size: wanted });
        true
    }

    fn new_drive(&mut self, name: &str, desired: &DesiredOption, format: &PropertyFormat, drive: &Drive) {
        let resolved = match self.attached(drive) {
            Ok(resolved) => resolved,
            Err(reason) => {
                let shown = Some(describe_drive(drive, ""));
                self.blocked(name, None, shown, desired, reason);
                return;
            }
        };
        let attached_size = resolved.as_ref().and(drive.size);
        let drive = resolved.as_ref().unwrap_or(drive);
        let (value, expect, allocates) = new_drive_value(self.kind(), name, format, drive);
        let shown = Some(describe_drive(drive, &expect));
        if drive.form == DriveForm::Inherited {
            let words = format!("there is no {name} to size");
            let hint = Some(format!("write `{name}: {{storage: …, size: …}}` for a new disk"));
            self.blocked(name, None, shown, desired, Reason { code: ReasonCode::NotFound, words, hint });
            return;
        }
        if let Some(reason) = self.might_be_another(name, drive) {
            self.blocked(name, None, shown, desired, reason);
            return;
        }
        let effect = self.effect(name, None, Some(&expect));
        self.field(name, None, shown, effect, desired);
        self.set(name, value, &expect, allocates, effect);
        if let (Some(size), true) = (drive.size, drive.import.is_some()) {
            // An image is as large as it is; the disk is grown to the size that was asked for.
            self.out.writes.push(Write::Resize { option: name.to_owned(), size });
        }
        if let Some(size) = attached_size {
            let reason = Reason {
                code: ReasonCode::Dependency,
                words: format!("the size of {name} is known once it is attached"),
                hint: Some("apply, then plan again".to_owned()),
            };
            self.blocked(&format!("{name}.size"), None, Some(size.human()), desired, reason);
        }
    }
}

/// The storage that a drive's disk is to be moved to; nothing where it is not the storage that differs.
fn moves_to<'a>(form: &'a DriveForm, volume: &str, is_cdrom: bool) -> Option<&'a str> {
    let wanted = match form {
        DriveForm::Allocate { storage } if !is_cdrom => storage,
        DriveForm::CloudInit { storage } if is_cloudinit(volume) => storage,
        _ => return None,
    };
    storage_of(volume).is_some_and(|storage| storage != wanted).then_some(wanted)
}

/// True where the live text is a disk of the form, size and options that are wanted, letter for letter, so that nothing
/// need be taken apart. That it is false says nothing.
pub(super) fn is_the_same(drive: &Drive, live: &str) -> bool {
    let volume = live.split(',').next().unwrap_or_default();
    let is_there = match &drive.form {
        DriveForm::Allocate { storage } => storage_of(volume) == Some(storage),
        DriveForm::Inherited => storage_of(volume).is_some(),
        _ => false,
    };
    let size = live.split(',').find_map(|part| part.strip_prefix("size=")).and_then(Size::parse_proxmox);
    is_there
        && !drive.whole
        && drive.moved_from.is_none()
        && !volume.contains('=')
        && !live.contains("media=")
        && drive.size.is_none_or(|wanted| compare::size_matches(Some(wanted), size) && size.is_some())
        && has_parts(&drive.keys, live)
}

/// The value of a drive that is not there yet: what is sent, what is read back, and whether a volume is allocated.
pub fn new_drive_value(
    kind: GuestKind,
    name: &str,
    format: &PropertyFormat,
    drive: &Drive,
) -> (Template, String, bool) {
    let mut keys: Properties =
        drive.keys.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect();
    let (volume, allocates) = match &drive.form {
        DriveForm::Allocate { storage } => {
            let fixed = matches!(stem(name), "efidisk" | "tpmstate");
            let gib = if drive.import.is_some() {
                // The image says how large it is.
                "0".to_owned()
            } else if fixed {
                "1".to_owned()
            } else {
                drive.size.map_or_else(|| "1".to_owned(), gib_text)
            };
            (format!("{storage}:{gib}"), true)
        }
        DriveForm::Inherited => (String::new(), false),
        DriveForm::Volume(volume) => (volume.clone(), false),
        DriveForm::Iso(volume) => {
            keys.insert("media".to_owned(), "cdrom".to_owned());
            (volume.clone(), false)
        }
        DriveForm::CloudInit { storage } => {
            keys.insert("media".to_owned(), "cdrom".to_owned());
            (format!("{storage}:cloudinit"), true)
        }
        DriveForm::Empty => {
            keys.insert("media".to_owned(), "cdrom".to_owned());
            ("none".to_owned(), false)
        }
    };
    keys.insert(volume_key(kind).to_owned(), volume);
    let text = property::print(&keys, format);
    // The image is not read back.
    let sent = drive.import.as_ref().map(|import| format!("{text},import-from={}", import.value));
    (Template::text(sent.as_ref().unwrap_or(&text)), text, allocates)
}

/// A size in GiB as `STORAGE:N` takes it: whole, or with a fraction.
fn gib_text(size: Size) -> String {
    if size.0.is_multiple_of(Size::GIB) {
        return (size.0 / Size::GIB).to_string();
    }
    // Binary fractions of a GiB are exact in thirty decimal digits; ten are exact to a tenth of a byte.
    let fraction = u128::from(size.0 % Size::GIB) * 10_000_000_000 / u128::from(Size::GIB);
    format!("{}.{fraction:010}", size.0 / Size::GIB).trim_end_matches('0').to_owned()
}

fn describe_drive(drive: &Drive, text: &str) -> String {
    if let (DriveForm::Allocate { storage }, Some(import)) = (&drive.form, &drive.import) {
        let size = drive.size.map_or_else(String::new, |size| format!(", {}", size.human()));
        return format!("{}{size} on {storage}", import.value);
    }
    match (&drive.form, drive.size) {
        (DriveForm::Volume(volume), _) if text.is_empty() => volume.clone(),
        (DriveForm::Allocate { storage }, Some(size)) => format!("new disk, {} on {storage}", size.human()),
        (DriveForm::Allocate { storage }, None) => format!("new disk on {storage}"),
        (DriveForm::CloudInit { storage }, _) => format!("cloud-init drive on {storage}"),
        _ => text.to_owned(),
    }
}

/// True for the volume of a cloud-init drive, `local-lvm:vm-100-cloudinit`; an image may be called anything.
pub fn is_cloudinit(volume: &str) -> bool {
    let name = volume.rsplit(['/', ':']).next().unwrap_or(volume);
    let digits = name.strip_prefix("vm-").map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    digits.is_some_and(|rest| rest == "-cloudinit" || rest.starts_with("-cloudinit."))
}

/// True when detaching the drive would lose sight of data.
pub fn holds_data(kind: GuestKind, name: &str, live: &str) -> bool {
    let volume = volume_of(live);
    is_drive(kind, name) && storage_of(volume).is_some() && !live.contains("media=cdrom")
}

/// The volume in a drive's text: its first part.
pub fn volume_of(text: &str) -> &str {
    let first =
        text.split(',').find(|part| !part.contains('=') || part.starts_with("file=") || part.starts_with("volume="));
    let first = first.unwrap_or(text);
    first.strip_prefix("file=").or_else(|| first.strip_prefix("volume=")).unwrap_or(first)
}
