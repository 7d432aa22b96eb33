//! Drives, `rootfs` and mount points: which volume is meant, and its size.

use std::collections::BTreeMap;

use super::model::{Drive, DriveForm};
use super::options::{find, is_drive, is_sizeless_drive};
use super::values::{Context, property_text, sub_keys};
use crate::diagnostics::Diagnostic;
use crate::manifest::model::Spanned;
use crate::manifest::source::{Key, Node, NodeKind};
use crate::pve::value::{Size, allocation, parse_boolean, storage_of};

/// A drive of one layer, before it is merged.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct DriveDraft {
    /// Which volume; nothing where the layer speaks of size and sub-keys only.
    pub form: Option<Form>,
    pub size: Option<Size>,
    pub whole: bool,
    pub keys: BTreeMap<String, Option<String>>,
    pub new: bool,
    pub moved_from: Option<Spanned<String>>,
}

/// Which volume a layer means.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Form {
    Allocate(String),
    Volume(String),
    Import(Spanned<String>, Option<String>),
    Iso(String),
    CloudInit(Option<String>),
    Empty,
}

/// Our own sub-keys of a drive, and Proxmox's that are read here.
const OURS: [&str; 12] = [
    "storage",
    "size",
    "volume",
    "file",
    "iso",
    "cloudinit",
    "new",
    "media",
    "import",
    "import-from",
    "moved_from",
    "none",
];

/// Reads a drive.
pub(super) fn read(context: Context<'_>, node: &Node, problems: &mut Vec<Diagnostic>) -> Option<DriveDraft> {
    match &node.kind {
        NodeKind::Scalar { text, .. } => from_text(context, text, node, problems),
        NodeKind::Map(entries) => from_map(context, entries, node, problems),
        _ => {
            problems.push(context.wrong(format!("{} cannot describe a disk", node.noun()), &node.place()));
            None
        }
    }
}

/// Proxmox's own text: `local-lvm:32,discard=on`.
fn from_text(context: Context<'_>, text: &str, node: &Node, problems: &mut Vec<Diagnostic>) -> Option<DriveDraft> {
    let format = context.spec.value.properties.as_ref()?;
    let place = node.place();
    let mut keys = property_text(context, format, text, &place, problems)?;
    let import = keys.remove("import-from").map(|value| Spanned { value, place: place.clone() });
    let media = keys.remove("media");
    let size = keys.remove("size").and_then(|size| Size::parse_proxmox(&size));
    let volume = keys.remove("file").or_else(|| keys.remove("volume")).unwrap_or_default();
    let (form, size) = match allocation(&volume) {
        Some((_, number)) if size.is_some() => {
            problems.push(context.wrong(format!("the size is given twice, by `{number}` and by `size`"), &place));
            return None;
        }
        Some((storage, _)) if import.is_some() => {
            let import = import.unwrap_or_else(|| Spanned { value: String::new(), place: place.clone() });
            (Form::Import(import, Some(storage.to_owned())), None)
        }
        None if import.is_some() => {
            let reason = format!("`import-from` fills a new volume, and `{volume}` is none");
            problems.push(context.wrong(reason, &place).hint("write STORAGE:0,import-from=IMAGE"));
            return None;
        }
        Some((storage, number)) => {
            let size = Size::parse_proxmox(&format!("{number}G")).filter(|size| size.0 > 0);
            (Form::Allocate(storage.to_owned()), size)
        }
        None => (volume_form(&volume, media.as_deref()), size),
    };
    restore_media(&form, media, &mut keys);
    let keys = keys.into_iter().map(|(key, value)| (key, Some(value))).collect();
    Some(DriveDraft { form: Some(form), size, whole: true, keys, new: false, moved_from: None })
}

/// What a volume's name says: an ISO image, the cloud-init drive, nothing, or a disk.
fn volume_form(volume: &str, media: Option<&str>) -> Form {
    let content = storage_of(volume).map(|storage| (storage, &volume[storage.len() + 1..]));
    match content {
        _ if volume == "none" => Form::Empty,
        Some((storage, "cloudinit")) => Form::CloudInit(Some(storage.to_owned())),
        Some((_, path)) if media == Some("cdrom") && path.starts_with("iso/") => Form::Iso(volume.to_owned()),
        _ => Form::Volume(volume.to_owned()),
    }
}

/// Puts `media` back for forms that do not imply it.
fn restore_media(form: &Form, media: Option<String>, keys: &mut BTreeMap<String, String>) {
    let implied = matches!(form, Form::Iso(_) | Form::CloudInit(_) | Form::Empty);
    if let Some(media) = media.filter(|_| !implied) {
        keys.insert("media".to_owned(), media);
    }
}

fn from_map(
    context: Context<'_>,
    entries: &[(Key, Node)],
    node: &Node,
    problems: &mut Vec<Diagnostic>,
) -> Option<DriveDraft> {
    let format = context.spec.value.properties.as_ref()?;
    let before = problems.len();
    let (keys, _) = sub_keys(context, format, node, &OURS, problems);
    let mut draft = DriveDraft { keys, ..DriveDraft::default() };
    let mut storage: Option<String> = None;
    let mut forms: Vec<(&Key, Form)> = Vec::new();
    let mut media: Option<String> = None;
    let has_media = format.keys.contains_key("media");
    for (key, value) in entries.iter().filter(|(key, _)| OURS.contains(&key.text.as_str())) {
        let name = key.text.as_str();
        if name == "none" || (!has_media && matches!(name, "iso" | "cloudinit" | "media" | "import" | "import-from")) {
            let problem = context.wrong(format!("there is no sub-key `{name}`"), &key.mark.place());
            problems.push(if name == "none" { problem.hint("an empty drive is `volume: none`") } else { problem });
            continue;
        }
        let Some(text) = value.text() else {
            let reason = format!("`{name}` is one value, and {} stands here", value.noun());
            problems.push(context.wrong(reason, &value.place()));
            continue;
        };
        match name {
            "storage" if is_storage(text) => storage = Some(text.to_owned()),
            "storage" => problems.push(context.wrong(format!("`{text}` is no storage's name"), &value.place())),
            "size" => match size(text) {
                Ok(size) => draft.size = Some(size),
                Err(reason) => problems.push(context.wrong(reason, &value.place())),
            },
            "new" | "cloudinit" => match (parse_boolean(text), name) {
                (Some(new), "new") => draft.new = new,
                (Some(true), _) => forms.push((key, Form::CloudInit(None))),
                (Some(false), _) => problems.push(
                    context
                        .wrong("`cloudinit: false` says nothing", &value.place())
                        .hint(format!("leave it out; `{}: null` removes the drive", context.name)),
                ),
                (None, _) => {
                    problems.push(context.wrong(format!("`{name}`: `{text}` is not a boolean"), &value.place()))
                }
            },
            "import" | "import-from" if storage_of(text).is_some() || text.starts_with('/') => {
                let source = Spanned { value: text.to_owned(), place: value.place() };
                forms.push((key, Form::Import(source, None)));
            }
            "import" | "import-from" => problems.push(
                context.wrong(format!("`{text}` is no image"), &value.place()).hint("write storage:import/name.qcow2"),
            ),
            "moved_from" => match moved_from(context, text) {
                Ok(()) => draft.moved_from = Some(Spanned { value: text.to_owned(), place: value.place() }),
                Err(reason) => problems.push(context.wrong(reason, &value.place())),
            },
            "iso" if storage_of(text).is_some() => forms.push((key, Form::Iso(text.to_owned()))),
            "media" if matches!(text, "cdrom" | "disk") => media = Some(text.to_owned()),
            "media" => problems.push(context.wrong(format!("`{text}` is not one of cdrom, disk"), &value.place())),
            "iso" => problems.push(
                context.wrong(format!("`{text}` is no image"), &value.place()).hint("write storage:iso/name.iso"),
            ),
            _ if text.contains(',') || text.is_empty() => {
                problems.push(context.wrong(format!("`{text}` is no volume"), &value.place()));
            }
            _ if allocation(text).is_some() => problems.push(
                context
                    .wrong(format!("`{text}` asks for a new volume"), &value.place())
                    .hint("write `{storage: …, size: …}`"),
            ),
            _ => forms.push((key, Form::Volume(text.to_owned()))),
        }
    }
    if let [(first, _), (second, _), ..] = forms.as_slice() {
        let problem =
            context.wrong(format!("`{}` and `{}` exclude each other", first.text, second.text), &second.mark.place());
        problems.push(problem.also(&first.mark.place(), "the other one"));
    }
    draft.form = match (forms.pop(), storage) {
        (None, storage) => storage.map(Form::Allocate),
        (Some((_, Form::CloudInit(_))), storage) => Some(Form::CloudInit(storage)),
        (Some((_, Form::Import(source, _))), storage) => Some(Form::Import(source, storage)),
        (Some((_, Form::Volume(volume))), None) => Some(volume_form(&volume, media.as_deref())),
        (Some((_, form)), None) => Some(form),
        (Some((key, form)), Some(_)) => {
            let problem = context.wrong(format!("`storage` and `{}` exclude each other", key.text), &key.mark.place());
            problems.push(problem.hint("a volume's name says where it is"));
            Some(form)
        }
    };
    if let Some(media) = media {
        let implied = matches!(draft.form, Some(Form::Iso(_) | Form::CloudInit(_) | Form::Empty));
        if !implied {
            draft.keys.insert("media".to_owned(), Some(media));
        }
    }
    if draft.size.is_some() && matches!(draft.form, Some(Form::Iso(_) | Form::CloudInit(_) | Form::Empty)) {
        problems.push(context.wrong("a CD-ROM drive has no size of its own", &node.place()));
    }
    (problems.len() == before).then_some(draft)
}

/// A disk is moved from another drive of the same guest.
fn moved_from(context: Context<'_>, text: &str) -> Result<(), String> {
    if text == context.name {
        return Err("a disk cannot move to where it is".to_owned());
    }
    if !is_drive(context.kind, text) || find(context.kind, text).is_err() || matches!(text, "rootfs") {
        return Err(format!("`moved_from`: `{text}` is no drive of a {}", context.kind.noun()));
    }
    Ok(())
}

fn is_storage(text: &str) -> bool {
    storage_of(&format!("{text}:x")) == Some(text)
}

/// A disk's size; a bare number could be GiB to one reader and bytes to another.
fn size(text: &str) -> Result<Size, String> {
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && !text.is_empty() {
        return Err(format!("`{text}` has no unit; write {text}GiB or {text}G"));
    }
    match Size::parse(text) {
        Some(size) if size.0 > 0 => Ok(size),
        _ => Err(format!("`{text}` is no size; write 32GiB or 32G")),
    }
}

impl DriveDraft {
    /// Lays a stronger layer over this one; another form replaces the whole device.
    pub fn under(self, stronger: Self) -> Self {
        let other_form = match (&self.form, &stronger.form) {
            (Some(weak), Some(strong)) => std::mem::discriminant(weak) != std::mem::discriminant(strong),
            _ => false,
        };
        if stronger.whole || other_form {
            return stronger;
        }
        let mut merged = self;
        merged.form = match (merged.form, stronger.form) {
            // Another image for the same disk, on the storage that was named.
            (Some(Form::Import(_, storage)), Some(Form::Import(source, None))) => Some(Form::Import(source, storage)),
            (weak, strong) => strong.or(weak),
        };
        merged.moved_from = stronger.moved_from.or(merged.moved_from);
        merged.size = stronger.size.or(merged.size);
        merged.new |= stronger.new;
        merged.keys.extend(stronger.keys);
        merged
    }

    /// The drive as it should be. `brought` says that a clone or an adopted guest may have it already.
    ///
    /// # Errors
    ///
    /// What is missing, and what to do.
    pub fn finish(self, name: &str, brought: bool, default_storage: Option<&str>) -> Result<Drive, (String, String)> {
        let no_storage = || {
            (
                "names no storage, and the cluster has no default".to_owned(),
                "write `{storage: …, size: …}`, or set DEFAULT_STORAGE of the cluster".to_owned(),
            )
        };
        let sizeless = is_sizeless_drive(name);
        let mut import = None;
        let form = match self.form {
            Some(Form::Import(source, storage)) => {
                import = Some(Box::new(source));
                let storage = storage.as_deref().or(default_storage).ok_or_else(no_storage)?;
                DriveForm::Allocate { storage: storage.to_owned() }
            }
            Some(Form::Allocate(storage)) => DriveForm::Allocate { storage },
            Some(Form::Volume(volume)) => DriveForm::Volume(volume),
            Some(Form::Iso(image)) => DriveForm::Iso(image),
            Some(Form::Empty) => DriveForm::Empty,
            Some(Form::CloudInit(Some(storage))) => DriveForm::CloudInit { storage },
            Some(Form::CloudInit(None)) => {
                DriveForm::CloudInit { storage: default_storage.ok_or_else(no_storage)?.to_owned() }
            }
            None if self.new => DriveForm::Allocate { storage: default_storage.ok_or_else(no_storage)?.to_owned() },
            None if !brought && self.moved_from.is_none() && default_storage.is_none() => return Err(no_storage()),
            None => DriveForm::Inherited,
        };
        let filled = import.is_some() || self.moved_from.is_some();
        let needs_size = match form {
            _ if filled => false,
            DriveForm::Allocate { .. } => !sizeless,
            DriveForm::Inherited => !sizeless && !brought,
            _ => false,
        };
        if needs_size && self.size.is_none() {
            return Err(("is a new disk and has no size".to_owned(), "add `size: …`, such as 32GiB".to_owned()));
        }
        // Of a disk that is made or moved here, nothing is there that could be unlisted.
        let whole = self.whole && !self.new && self.moved_from.is_none();
        let moved_from = self.moved_from.map(Box::new);
        let mut keys = self.keys;
        if whole {
            keys.retain(|_, value| value.is_some());
        }
        Ok(Drive { form, size: self.size, whole, keys, new: self.new, import, moved_from })
    }
}
