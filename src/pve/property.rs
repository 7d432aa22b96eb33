//! Property strings: `virtio,bridge=vmbr0,tag=20` read into sub-keys and printed back.
//!
//! The rules are those of Proxmox's own reader: parts between commas, empty parts ignored, at most
//! one bare value (for the default key, in any position), no sub-key twice, aliases resolved.

use std::collections::BTreeMap;
use std::fmt;

use super::schema::{PropertyFormat, Spelling, SubKey, ValueError, ValueType};
use super::value::{self, is_space};

/// A property string as sub-keys, by canonical name.
///
/// Booleans are `1` or `0`; all other values are as they were written.
pub type Properties = BTreeMap<String, String>;

/// Why a property string is refused.
#[derive(Debug, Clone, PartialEq)]
pub enum PropertyError {
    /// A part has no `=` and there is no default key.
    NoDefaultKey(String),
    /// A part has an `=` with nothing before or after it.
    Incomplete(String),
    /// A sub-key stands twice, also by way of an alias.
    Duplicate(String),
    /// A sub-key is there when its alias comes.
    Aliased(String),
    /// The sub-key that an alias' name would set is there already: `virtio=MAC` after `e1000=MAC`.
    NameTaken(String),
    /// The format has no such sub-key.
    Unknown(String),
    /// A sub-key that must be there is not.
    Missing(String),
    /// A sub-key needs another one, the second.
    Requires(String, String),
    /// A sub-key's value is refused.
    Value(String, ValueError),
}

impl PropertyError {
    /// Proxmox's text where the string cannot be taken apart, so that no sub-key is at fault.
    fn whole_text(&self) -> Option<String> {
        match self {
            Self::NoDefaultKey(_) => Some("value without key, but schema does not define a default key\n".to_owned()),
            Self::Incomplete(_) => Some("missing key in comma-separated list property\n".to_owned()),
            Self::Duplicate(key) => Some(format!("duplicate key in comma-separated list property: {key}\n")),
            Self::Aliased(key) => Some(format!("key '{key}' is already defined (via alias)\n")),
            Self::NameTaken(key) => Some(format!("key alias '{key}' is already defined\n")),
            Self::Unknown(_) | Self::Missing(_) | Self::Requires(..) | Self::Value(..) => None,
        }
    }

    /// The sub-key at fault and Proxmox's text for it; `path` gives a sub-key the name by which texts call it.
    fn key_text(&self, path: impl Fn(&str) -> String) -> Option<(String, String)> {
        let (key, text) = match self {
            Self::Unknown(key) => (
                key,
                "property is not defined in schema and the schema does not allow additional properties".to_owned(),
            ),
            Self::Missing(key) => (key, "property is missing and it is not optional".to_owned()),
            Self::Requires(key, needed) => (needed, format!("missing property required by '{}'", path(key))),
            Self::Value(key, error) => (key, error.proxmox_text(&path(key))),
            _ => return None,
        };
        Some((path(key), text))
    }

    /// The reason in this program's words.
    pub fn reason(&self) -> String {
        match self {
            Self::NoDefaultKey(part) => format!("`{part}` has no sub-key; write sub-key=value"),
            Self::Incomplete(part) => format!("`{part}` is not of the form sub-key=value"),
            Self::Duplicate(key) | Self::Aliased(key) | Self::NameTaken(key) => format!("`{key}` stands twice"),
            Self::Unknown(key) => format!("there is no sub-key `{key}`"),
            Self::Missing(key) => format!("`{key}` is missing"),
            Self::Requires(key, needed) => format!("`{key}` needs `{needed}` beside it"),
            Self::Value(key, error) => format!("`{key}`: {}", error.reason()),
        }
    }
}

/// A refused property string in Proxmox's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The string as a whole is wrong.
    Whole(String),
    /// Sub-keys are wrong: text by sub-key.
    Keys(BTreeMap<String, String>),
}

impl Refusal {
    /// What Proxmox says of these errors; sub-keys are named `option.key` where there is an option.
    pub fn of(errors: &[PropertyError], option: &str) -> Self {
        if let Some(text) = errors.iter().find_map(PropertyError::whole_text) {
            return Self::Whole(text);
        }
        let path = |key: &str| if option.is_empty() { key.to_owned() } else { format!("{option}.{key}") };
        let mut texts = BTreeMap::<String, String>::new();
        for (key, text) in errors.iter().filter_map(|error| error.key_text(path)) {
            // Two texts are joined by these two characters, not by the end of a line.
            texts.entry(key).and_modify(|first| *first = format!("{first}\\n{text}")).or_insert(text);
        }
        Self::Keys(texts)
    }
}

impl fmt::Display for Refusal {
    /// The text that stands in logs and answers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(text) => f.write_str(text),
            Self::Keys(texts) => {
                f.write_str("format error\n")?;
                texts.iter().try_for_each(|(key, text)| writeln!(f, "{key}: {text}"))
            }
        }
    }
}

/// Reads a property string and checks it.
///
/// # Errors
///
/// A part that cannot be taken apart ends the reading; of the sub-keys, all problems are returned.
pub fn parse(text: &str, format: &PropertyFormat) -> Result<Properties, Vec<PropertyError>> {
    let mut found = split(text, format)?;
    let errors = check(&mut found, format);
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

/// Takes a property string apart without checking the values or asking for what is missing.
///
/// # Errors
///
/// The first part that cannot be taken apart.
pub fn split(text: &str, format: &PropertyFormat) -> Result<Properties, Vec<PropertyError>> {
    split_without(text, format, &[])
}

/// The same, passing over the sub-keys of these names.
///
/// # Errors
///
/// The first part that cannot be taken apart.
pub fn split_without(text: &str, format: &PropertyFormat, skip: &[&str]) -> Result<Properties, Vec<PropertyError>> {
    let mut found = Properties::new();
    let mut bare = false;
    for part in text.split(',').filter(|part| !part.chars().all(is_space)) {
        let Some((name, value)) = part.split_once('=') else {
            let key = format.default_key().ok_or_else(|| vec![PropertyError::NoDefaultKey(part.to_owned())])?;
            // What counts as false is replaced, which Proxmox takes for not there.
            if bare || found.get(key).is_some_and(|value| !is_false(value, format, key)) {
                return Err(vec![PropertyError::Duplicate(key.to_owned())]);
            }
            bare = true;
            found.insert(key.to_owned(), part.to_owned());
            continue;
        };
        if name.is_empty() || value.is_empty() || value.contains('\n') {
            return Err(vec![PropertyError::Incomplete(part.to_owned())]);
        }
        if !skip.contains(&name) {
            insert(&mut found, format, name, value).map_err(|error| vec![error])?;
        }
    }
    Ok(found)
}

fn insert(found: &mut Properties, format: &PropertyFormat, name: &str, value: &str) -> Result<(), PropertyError> {
    if found.contains_key(name) {
        return Err(PropertyError::Duplicate(name.to_owned()));
    }
    let mut target = name;
    if let Some(SubKey { alias: Some(alias), key_alias, .. }) = format.keys.get(name) {
        if let Some(key) = key_alias {
            if found.contains_key(key) {
                return Err(PropertyError::NameTaken(key.clone()));
            }
            found.insert(key.clone(), name.to_owned());
        }
        if found.contains_key(alias) {
            return Err(PropertyError::Aliased(alias.clone()));
        }
        target = alias;
    }
    found.insert(target.to_owned(), value.to_owned());
    Ok(())
}

fn is_false(text: &str, format: &PropertyFormat, key: &str) -> bool {
    let is_boolean = format.keys.get(key).is_some_and(|key| key.value.ty == ValueType::Boolean);
    text == "0" || is_boolean && value::parse_boolean(text) == Some(false)
}

/// Checks sub-keys against their format and normalises booleans; returns every problem.
pub fn check(properties: &mut Properties, format: &PropertyFormat) -> Vec<PropertyError> {
    let mut errors = Vec::new();
    for (name, value) in properties.iter_mut() {
        let Some(key) = format.keys.get(name).filter(|key| key.alias.is_none()) else {
            errors.push(PropertyError::Unknown(name.clone()));
            continue;
        };
        if let Err(error) = key.value.check(value, Spelling::SubKey) {
            errors.push(PropertyError::Value(name.clone(), error));
        } else if key.value.ty == ValueType::Boolean {
            *value = if value::parse_boolean(value) == Some(true) { "1" } else { "0" }.to_owned();
        }
    }
    for (name, key) in &format.keys {
        let present = properties.contains_key(name);
        if !present && !key.optional && key.alias.is_none() {
            errors.push(PropertyError::Missing(name.clone()));
        }
        if let Some(needed) = key.requires.as_ref().filter(|needed| present && !properties.contains_key(*needed)) {
            errors.push(PropertyError::Requires(name.clone(), needed.clone()));
        }
    }
    errors
}

/// Prints sub-keys in Proxmox's order: the default key bare and first, the required ones, the others.
///
/// A name-valued alias is printed as Proxmox does (`virtio=MAC`), where both its parts are there.
pub fn print(properties: &Properties, format: &PropertyFormat) -> String {
    let default_key = format.default_key();
    let mut parts = Vec::new();
    let mut used = Vec::new();
    if let Some((key, value)) = default_key.and_then(|key| properties.get_key_value(key)) {
        let joined = format.keys.get(value.as_str()).and_then(|alias| {
            let target = alias.alias.as_ref()?;
            (alias.key_alias.as_ref() == Some(key)).then_some(target)
        });
        used.push(key.as_str());
        match joined.and_then(|target| properties.get_key_value(target)) {
            Some((target, second)) => {
                used.push(target.as_str());
                parts.push(format!("{value}={second}"));
            }
            None => parts.push(value.clone()),
        }
    }
    for required in [true, false] {
        for (name, value) in properties {
            let is_required = format.keys.get(name).is_some_and(|key| !key.optional);
            if is_required == required && !used.contains(&name.as_str()) {
                parts.push(format!("{name}={value}"));
            }
        }
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pve::schema::catalog;
    use crate::pve::value::GuestKind;

    fn format_of(kind: GuestKind, option: &str) -> &'static PropertyFormat {
        catalog(kind).find(option).unwrap().value.properties.as_ref().unwrap()
    }

    #[test]
    fn key_aliases_set_two_sub_keys_and_print_as_one() {
        let format = format_of(GuestKind::Qemu, "net0");
        let net = parse("bridge=vmbr0,virtio=AA:BB:CC:DD:EE:0F,firewall=on", format).unwrap();
        assert_eq!(net["model"], "virtio");
        assert_eq!(net["firewall"], "1");
        assert_eq!(print(&net, format), "virtio=AA:BB:CC:DD:EE:0F,bridge=vmbr0,firewall=1");
        assert_eq!(parse("model=virtio,bridge=vmbr0,macaddr=AA:BB:CC:DD:EE:0F,firewall=1", format).unwrap(), net);
    }

    #[test]
    fn aliases_and_the_bare_value() {
        let format = format_of(GuestKind::Qemu, "scsi0");
        let disk = parse("size=32G,volume=local-lvm:vm-100-disk-0,,ssd=yes", format).unwrap();
        assert_eq!(print(&disk, format), "local-lvm:vm-100-disk-0,size=32G,ssd=1");
        assert_eq!(parse("local:1,file=local:2", format), Err(vec![PropertyError::Duplicate("file".into())]));
        assert_eq!(parse("file=local:1,volume=local:2", format), Err(vec![PropertyError::Aliased("file".into())]));
    }

    #[test]
    fn texts_are_those_of_proxmox() {
        let text = |option: &str, value: &str| {
            let spec = &catalog(GuestKind::Qemu).find(option).unwrap().value;
            spec.check(value, Spelling::Parameter).unwrap_err().proxmox_text(option)
        };
        assert_eq!(
            text("scsi0", "8"),
            "invalid format - format error\nscsi0.file: invalid format - unable to parse volume ID '8'\n\n"
        );
        assert_eq!(
            text("ipconfig0", "gw=10.0.0.1"),
            "invalid format - format error\nipconfig0.ip: missing property required by 'ipconfig0.gw'\n"
        );
    }

    #[test]
    fn all_problems_are_reported() {
        let format = format_of(GuestKind::Qemu, "net0");
        let errors = parse("model=foo,tag=5000,bogus=1", format).unwrap_err();
        assert_eq!(errors.len(), 3, "{errors:?}");
        let format = format_of(GuestKind::Lxc, "net0");
        assert_eq!(parse("bridge=vmbr0", format), Err(vec![PropertyError::Missing("name".into())]));
    }
}
