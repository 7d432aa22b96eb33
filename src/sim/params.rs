//! The check of a call's parameters, in Proxmox's words.

use std::collections::BTreeMap;

use super::route::Route;
use crate::pve::format::check_format;
use crate::pve::schema::{Spelling, ValueError, ValueSpec, ValueType, catalog_for};
use crate::pve::value::{GuestKind, Vmid, split_list};

/// What a parameter takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Any text up to so many characters; zero for no limit.
    Text(usize),
    /// `0` or `1`.
    Bool,
    /// A whole number from, to.
    Int(i64, i64),
    /// A number.
    Number,
    /// One of these.
    Choice(&'static [&'static str]),
    /// One of Proxmox's named formats.
    Format(&'static str),
    /// A text that matches.
    Pattern(&'static str),
    /// A key of a volume, as one kind of guest has them.
    Disk(GuestKind),
}

/// A parameter of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) required: bool,
}

/// A parameter that must be there.
pub(super) const fn need(name: &'static str, kind: Kind) -> Param {
    Param { name, kind, required: true }
}

/// A parameter that may be there.
pub(super) const fn may(name: &'static str, kind: Kind) -> Param {
    Param { name, kind, required: false }
}

/// The options of a guest that a call takes beside its own parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Options {
    /// None.
    No,
    /// Those for making one.
    Create(GuestKind),
    /// Those for changing one.
    Update(GuestKind),
}

/// Parameters by name; a list holds what was given more than once.
pub(super) type Given = BTreeMap<String, Vec<String>>;

/// Checks everything and joins lists; the errors by parameter.
pub(super) fn check(
    route: &Route,
    given: &Given,
    release: u32,
) -> Result<BTreeMap<String, String>, BTreeMap<String, String>> {
    let mut errors = BTreeMap::new();
    let mut values = BTreeMap::new();
    // A release does not know what came after it, and still knows what was dropped.
    let version = release.to_string();
    for (name, list) in given {
        let found = route.params.iter().find(|param| param.name == name);
        let option = match route.options {
            Options::No => None,
            Options::Create(kind) => {
                catalog_for(kind, &version).find(name).filter(|spec| spec.create).map(|spec| (kind, &spec.value))
            }
            Options::Update(kind) => {
                catalog_for(kind, &version).find(name).filter(|spec| spec.update).map(|spec| (kind, &spec.value))
            }
        };
        let is_list = match (&found, &option) {
            (Some(param), _) => matches!(param.kind, Kind::Format(format) if format.ends_with("-list")),
            (None, Some((_, spec))) => spec.format.as_deref().is_some_and(|format| format.ends_with("-list")),
            (None, None) => true,
        };
        if list.len() > 1 && !is_list {
            let ty = match (&found, &option) {
                (Some(param), _) => kind_type(param.kind),
                (None, Some((_, spec))) => spec.ty,
                (None, None) => ValueType::String,
            };
            errors.insert(name.clone(), format!("type check ('{}') failed - got ARRAY", ty.name()));
            continue;
        }
        let value = list.join(",");
        let found = found.filter(|_| release >= 9 || !SINCE_9.contains(&name.as_str()));
        let problem = match (found, option) {
            (Some(param), _) => check_kind(param.kind, &value, name),
            (None, Some((kind, spec))) => check_option(kind, name, spec, &value),
            (None, None) => {
                Some("property is not defined in schema and the schema does not allow additional properties".to_owned())
            }
        };
        match problem {
            Some(text) => drop(errors.insert(name.clone(), text)),
            None => drop(values.insert(name.clone(), value)),
        }
    }
    for param in route.params.iter().filter(|param| param.required && !given.contains_key(param.name)) {
        errors.insert(param.name.to_owned(), "property is missing and it is not optional".to_owned());
    }
    for (name, needed) in requirements(route.options) {
        if given.contains_key(*name) && !given.contains_key(*needed) {
            let text = match release {
                9.. => format!("missing property required by '{name}'"),
                _ => format!("missing property - '{name}' requires this property"),
            };
            errors.insert((*needed).to_owned(), text);
        }
    }
    if errors.is_empty() { Ok(values) } else { Err(errors) }
}

/// Parameters of calls that came with release 9; the options' tables know of theirs.
const SINCE_9: &[&str] = &["failback", "ha-managed", "with-conntrack-state"];

/// Parameters of making a guest that need another one.
const fn requirements(options: Options) -> &'static [(&'static str, &'static str)] {
    match options {
        Options::Create(GuestKind::Qemu) => &[("force", "archive"), ("live-restore", "archive"), ("unique", "archive")],
        Options::Create(GuestKind::Lxc) => &[("unique", "restore")],
        _ => &[],
    }
}

const fn kind_type(kind: Kind) -> ValueType {
    match kind {
        Kind::Bool => ValueType::Boolean,
        Kind::Int(..) => ValueType::Integer,
        Kind::Number => ValueType::Number,
        Kind::Format(format) if matches!(format.as_bytes(), b"pve-vmid") => ValueType::Integer,
        _ => ValueType::String,
    }
}

/// Checks a value of a call's own parameter; the text of the problem.
pub(super) fn check_kind(kind: Kind, value: &str, name: &str) -> Option<String> {
    let mut spec = ValueSpec { ty: kind_type(kind), ..ValueSpec::default() };
    match kind {
        Kind::Text(limit) => spec.max_length = (limit > 0).then_some(limit),
        Kind::Bool | Kind::Number => {}
        Kind::Int(from, to) => {
            #[expect(clippy::cast_precision_loss, reason = "limits of parameters are small")]
            let (from, to) = (from as f64, to as f64);
            (spec.minimum, spec.maximum) = (Some(from), Some(to));
        }
        Kind::Choice(choices) => spec.choices = Some(choices.iter().map(|&choice| choice.to_owned()).collect()),
        Kind::Pattern(pattern) => spec.pattern = Some(pattern.to_owned()),
        Kind::Disk(guest) => spec.choices = Some(disk_keys(guest)),
        Kind::Format(format) => {
            if let Err(error) = spec.check(value, Spelling::Parameter) {
                return Some(error.proxmox_text(name));
            }
            return check_named(format, value).err().map(|text| ValueError::Format(text).proxmox_text(name));
        }
    }
    spec.check(value, Spelling::Parameter).err().map(|error| error.proxmox_text(name))
}

/// The keys that `resize` and its like take, in the order in which Proxmox lists them.
fn disk_keys(guest: GuestKind) -> Vec<String> {
    let numbered = |stem: &str, count: u32| (0..count).map(|n| format!("{stem}{n}")).collect::<Vec<_>>();
    match guest {
        GuestKind::Qemu => {
            let mut keys = numbered("ide", 4);
            keys.extend(numbered("scsi", 31));
            keys.extend(numbered("virtio", 16));
            keys.extend(numbered("sata", 6));
            keys.extend(["efidisk0".to_owned(), "tpmstate0".to_owned()]);
            keys
        }
        GuestKind::Lxc => {
            let mut keys = vec!["rootfs".to_owned()];
            keys.extend(numbered("mp", 256));
            keys
        }
    }
}

/// The named formats of calls; those of options are in the schema.
fn check_named(format: &str, value: &str) -> Result<(), String> {
    if let Some(item) = format.strip_suffix("-list") {
        return split_list(value).try_for_each(|part| check_named(item, part));
    }
    let name_like = |least: usize, extra: &[u8]| {
        value.len() >= least
            && value.starts_with(|c: char| c.is_ascii_alphabetic())
            && value.bytes().all(|b| b.is_ascii_alphanumeric() || extra.contains(&b))
    };
    match format {
        "pve-vmid" => value.parse::<Vmid>().map(drop).map_err(|()| "value does not look like a valid VM ID".to_owned()),
        "pve-configid" if name_like(2, b"_-") => Ok(()),
        "pve-configid" => Err(format!("invalid configuration ID '{value}'")),
        "pve-storage-id" if name_like(2, b"-_.") => Ok(()),
        "pve-storage-id" => Err(format!("storage ID '{value}' contains illegal characters")),
        "pve-node" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => Ok(()),
        "pve-node" => Err("value does not look like a valid node name".to_owned()),
        "pve-poolid" => {
            let fits = !value.is_empty()
                && value.split('/').all(|part| {
                    !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
                });
            if fits { Ok(()) } else { Err(format!("invalid pool name '{value}'")) }
        }
        "mac-prefix" => {
            let octets: Vec<&str> = value.split(':').collect();
            let hex = |octet: &&str| octet.len() == 2 && octet.bytes().all(|b| b.is_ascii_hexdigit());
            let unicast = u8::from_str_radix(octets[0], 16).is_ok_and(|first| first & 1 == 0);
            let fits = (1..=5).contains(&octets.len()) && octets.iter().all(hex) && unicast;
            if fits { Ok(()) } else { Err("value is not a valid unicast MAC address prefix".to_owned()) }
        }
        _ => check_format(format, value),
    }
}

/// Checks an option of a guest: by the tables, and by the rules that only the server's code has.
pub(super) fn check_option(kind: GuestKind, name: &str, spec: &ValueSpec, value: &str) -> Option<String> {
    // An empty text is never taken apart.
    if value.is_empty() && spec.ty == ValueType::String && spec.choices.is_none() && spec.pattern.is_none() {
        return None;
    }
    if let Err(error) = spec.check(value, Spelling::Parameter) {
        return Some(error.proxmox_text(name));
    }
    let format_error = |text: String| Some(ValueError::Format(text).proxmox_text(name));
    match (kind, name) {
        (GuestKind::Qemu, "hotplug") if !matches!(value, "0" | "1") => {
            let bad = split_list(value)
                .find(|part| !matches!(*part, "network" | "disk" | "cpu" | "memory" | "usb" | "cloudinit"))?;
            format_error(format!("invalid hotplug feature '{bad}'"))
        }
        (GuestKind::Qemu, "cpu") => {
            let model = super::guest::default_of(value, "cputype")?;
            if let Some(custom) = model.strip_prefix("custom-") {
                return format_error(format!("Custom cputype '{custom}' not found"));
            }
            let known = spec.properties.as_ref()?.keys.get("reported-model")?.value.choices.as_ref()?;
            let known =
                known.iter().any(|choice| choice == model) || matches!(model, "host" | "max" | "kvm64" | "qemu64");
            if known || model.starts_with("x86-64-v") {
                return None;
            }
            format_error(format!("Built-in cputype '{model}' is not defined (missing 'custom-' prefix?)"))
        }
        (GuestKind::Qemu, _) if super::guest::is_drive(name) || name == "cdrom" => {
            let file = super::guest::volume_of(value)?;
            let is_iso = file.split_once(':').is_some_and(|(_, rest)| rest.starts_with("iso/"));
            let bare = is_iso && name != "cdrom" && super::guest::sub_key(value, "media") != Some("cdrom");
            bare.then(|| "explicit 'media=cdrom' is required for iso images".to_owned())
        }
        (GuestKind::Lxc, "timezone") if value != "host" => {
            let fits = value == "UTC"
                || value.split_once('/').is_some_and(|(area, _)| {
                    matches!(
                        area,
                        "Africa" | "America" | "Asia" | "Atlantic" | "Australia" | "Etc" | "Europe" | "Pacific"
                    )
                });
            if fits { None } else { format_error(format!("invalid time zone '{value}'")) }
        }
        _ => None,
    }
}
