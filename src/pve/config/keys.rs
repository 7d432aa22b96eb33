//! Which keys a configuration file has, and what they take: the options of the API, and those that only the
//! server itself sets.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::pve::cpu;
use crate::pve::format::check_format;
use crate::pve::property::{self, PropertyError, Refusal};
use crate::pve::schema::{PropertyFormat, ValueSpec, ValueType, catalog, split_index};
use crate::pve::value::{GuestKind, parse_boolean};

/// What is in no description of the API: keys and formats of Proxmox VE 9 that only its own code names.
static INTERNAL: LazyLock<Internal> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the file is part of the program, and a test reads it")]
    serde_json::from_str(include_str!("../../../schemas/pve/internal-9.json"))
        .expect("schemas/pve/internal-9.json is well formed")
});

/// The options of VMs that have more sub-keys than the tables know, by their names without numbers.
static NEWER: LazyLock<BTreeMap<String, ValueSpec>> = LazyLock::new(|| {
    let with_more = |(stem, more): (&String, &PropertyFormat)| {
        let mut spec = catalog(GuestKind::Qemu).find(&format!("{stem}0"))?.value.clone();
        let keys = &mut spec.properties.as_mut()?.keys;
        for (name, key) in &more.keys {
            keys.entry(name.clone()).or_insert_with(|| key.clone());
        }
        Some((stem.clone(), spec))
    };
    INTERNAL.newer.iter().filter_map(with_more).collect()
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Internal {
    qemu: BTreeMap<String, ValueSpec>,
    lxc: BTreeMap<String, ValueSpec>,
    fleecing: BTreeMap<String, ValueSpec>,
    /// Sub-keys that came with a release after that of the tables.
    newer: BTreeMap<String, PropertyFormat>,
    formats: BTreeMap<String, PropertyFormat>,
}

/// A property string's format that is no guest's option: `bwlimit`.
pub fn internal_format(name: &str) -> Option<&'static PropertyFormat> {
    INTERNAL.formats.get(name)
}

/// What a key of a guest's file takes; nothing where there is no such key.
pub fn spec_of(kind: GuestKind, key: &str) -> Option<&'static ValueSpec> {
    let internal = match kind {
        GuestKind::Qemu => &INTERNAL.qemu,
        GuestKind::Lxc => &INTERNAL.lxc,
    };
    if let Some(spec) = internal.get(key) {
        return Some(spec);
    }
    let key = if kind == GuestKind::Qemu && key == "runningmachine" { "machine" } else { key };
    // What can only be given when a guest is made is not kept.
    let known = catalog(kind).find(key).filter(|spec| spec.update)?;
    let newer = split_index(key).filter(|_| kind == GuestKind::Qemu).and_then(|(stem, _)| NEWER.get(stem));
    Some(newer.unwrap_or(&known.value))
}

/// What a key of a VM's section of backups takes.
pub(super) fn spec_of_fleecing(key: &str) -> Option<&'static ValueSpec> {
    INTERNAL.fleecing.get(key)
}

/// Checks a value as the file's reader and writer do, and gives it in the form in which it is kept.
///
/// This is less than the check of a parameter: neither ranges nor enumerations nor lengths.
///
/// # Errors
///
/// A value that the key does not take; the error is the server's text.
pub fn check_value(kind: GuestKind, key: &str, value: &str) -> Result<String, String> {
    check(kind, key, spec_of(kind, key), value)
}

pub(super) fn check(kind: GuestKind, key: &str, spec: Option<&ValueSpec>, value: &str) -> Result<String, String> {
    let spec = spec.ok_or_else(|| format!("unknown setting '{key}'\n"))?;
    if value.contains(['\n', '\r']) {
        return Err("property contains a line feed\n".to_owned());
    }
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let wrong_type = || format!("type check ('{}') failed - got '{value}'\n", spec.ty.name());
    match spec.ty {
        ValueType::Boolean => {
            parse_boolean(value).map(|is| if is { "1" } else { "0" }.to_owned()).ok_or_else(wrong_type)
        }
        ValueType::Integer if is_digits(value) => {
            let number = value.trim_start_matches('0');
            Ok(if number.is_empty() { "0" } else { number }.to_owned())
        }
        ValueType::Number => {
            let is_number = match value.split_once('.') {
                Some((whole, fraction)) => is_digits(whole) && is_digits(fraction),
                None => is_digits(value),
            };
            if is_number { Ok(value.to_owned()) } else { Err(wrong_type()) }
        }
        ValueType::Integer => Err(wrong_type()),
        ValueType::String => check_text(kind, key, spec, value),
    }
}

fn check_text(kind: GuestKind, key: &str, spec: &ValueSpec, value: &str) -> Result<String, String> {
    // The drive of a VM's old key has the format of the one that it stands for.
    let key = if kind == GuestKind::Qemu && key == "cdrom" { "ide2" } else { key };
    if let Some(format) = &spec.format {
        check_format(format, value)?;
    } else if let Some(format) = &spec.properties {
        let refused = |errors: Vec<PropertyError>| Refusal::of(&errors, "").to_string();
        let mut found = property::split(value, format).map_err(refused)?;
        let mut errors = property::check(&mut found, format);
        // Only a request may ask for an import.
        if found.contains_key("import-from") {
            errors.retain(|error| !matches!(error, PropertyError::Value(name, _) if name == "import-from"));
            errors.push(PropertyError::Unknown("import-from".to_owned()));
        }
        if !errors.is_empty() {
            return Err(refused(errors));
        }
        if kind == GuestKind::Qemu && key == "cpu" {
            cpu::check(&found, format, None)?;
        }
    } else if kind == GuestKind::Qemu {
        let unquoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        return Ok(unquoted.unwrap_or(value).to_owned());
    }
    Ok(value.to_owned())
}
