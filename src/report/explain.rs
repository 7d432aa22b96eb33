//! What is known of an option or of one of our keys, found by the name that a person gives.

use serde::Serialize;
use serde_json::{Value, json};

use crate::manifest::keys::{self, KeySpec, KeyType, Level};
use crate::pve::compare::{is_drive, volume_key};
use crate::pve::facts::OptionFacts;
use crate::pve::http::percent_decode;
use crate::pve::property;
use crate::pve::schema::{OptionSpec, SubKey, ValueSpec, ValueType, catalog, nearest};
use crate::pve::value::{GuestKind, allocation, parse_boolean, parse_tags, storage_of};

/// What a name stands for.
#[derive(Debug, Clone, Copy)]
pub enum Found {
    /// A whole kind of guest.
    Guest(GuestKind),
    /// One of our own keys.
    Key(GuestKind, &'static KeySpec),
    /// An option of Proxmox's, by its table name.
    Option(GuestKind, &'static str, &'static OptionSpec),
    /// One sub-key of an option.
    SubKey(GuestKind, &'static str, &'static OptionSpec, &'static str, &'static SubKey),
    /// What Proxmox shows and nobody sets, with what it is.
    ReadOnly(GuestKind, &'static str, &'static str),
}

/// An example, as a manifest and as Proxmox have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// A line of a manifest.
    pub yaml: String,
    /// Proxmox's own text, where a manifest may hold that too and it differs.
    pub text: Option<String>,
}

/// Finds what a name stands for: `scsi0`, `net`, `net0.tag`, `state`; no name is the guest as a whole.
///
/// # Errors
///
/// That there is no such name, and the one that might be meant.
pub fn find(kind: GuestKind, name: Option<&str>) -> Result<Found, String> {
    let Some(name) = name else {
        return Ok(Found::Guest(kind));
    };
    if let Some(found) = own_key(kind, name).or_else(|| proxmox_name(kind, name)) {
        return Ok(found);
    }
    let noun = kind.noun();
    if let Some((option, key)) = name.split_once('.')
        && let Some((_, spec)) = catalog(kind).entry(option)
    {
        let keys = spec.value.properties.iter().flat_map(|format| format.keys.keys());
        let near = nearest(key, keys).map(|near| format!("; did you mean `{option}.{near}`?"));
        return Err(format!("`{option}` of a {noun} has no sub-key `{key}`{}", near.unwrap_or_default()));
    }
    let other = if kind == GuestKind::Qemu { GuestKind::Lxc } else { GuestKind::Qemu };
    let near = [catalog(kind).nearest(name), nearest(name, names(kind))];
    let more = if let Some(near) = nearest(name, near.into_iter().flatten()) {
        format!("; did you mean `{near}`?")
    } else if proxmox_name(other, name).is_some() {
        format!("; a {} has it", other.noun())
    } else {
        let word = if kind == GuestKind::Qemu { "vm" } else { "container" };
        format!("; `pvefleet explain {word}` lists what there is")
    };
    Err(format!("a {noun} has no option `{name}`{more}"))
}

fn names(kind: GuestKind) -> impl Iterator<Item = &'static str> {
    own_keys(kind).map(|spec| spec.name).chain(catalog(kind).read_only.keys().map(String::as_str))
}

/// Our own keys of a guest, by name.
pub fn own_keys(kind: GuestKind) -> impl Iterator<Item = &'static KeySpec> {
    let name = move |spec: &&KeySpec| spec.name != "hostname" || kind == GuestKind::Lxc;
    let mut found: Vec<&KeySpec> =
        keys::KEYS.iter().filter(|spec| matches!(spec.level, Level::Guest | Level::Layer)).filter(name).collect();
    found.sort_by_key(|spec| spec.name);
    found.into_iter()
}

fn own_key(kind: GuestKind, name: &str) -> Option<Found> {
    own_keys(kind).find(|spec| spec.name == name).map(|spec| Found::Key(kind, spec))
}

fn proxmox_name(kind: GuestKind, name: &str) -> Option<Found> {
    let known: &'static _ = catalog(kind);
    if let Some((table_name, spec)) = known.entry(name) {
        return Some(Found::Option(kind, table_name, spec));
    }
    if let Some((name, is)) = known.read_only.get_key_value(name) {
        return Some(Found::ReadOnly(kind, name, is));
    }
    let (option, key) = name.split_once('.')?;
    let (table_name, spec) = known.entry(option)?;
    let format = spec.value.properties.as_ref()?;
    let (key, sub_key) = format.keys.get_key_value(format.canonical(key))?;
    Some(Found::SubKey(kind, table_name, spec, key, sub_key))
}

/// True for options that a manifest can set.
pub fn is_settable(facts: &OptionFacts) -> bool {
    facts.instead.is_none() && (!facts.call || facts.example.is_some())
}

/// The first name that a table name stands for: `net0` for `net[n]`.
pub fn first_name(table_name: &str) -> String {
    table_name.replace("[n]", "0")
}

/// Examples of an option, the first the usual one.
pub fn example(kind: GuestKind, table_name: &str, spec: &OptionSpec) -> Option<Example> {
    if !is_settable(&spec.facts) {
        return None;
    }
    let name = first_name(table_name);
    if spec.facts.secret {
        return Some(Example { yaml: format!("{name}: {{env: WEB_PASSWORD, version: 1}}"), text: None });
    }
    let text = spec.facts.example.clone().or_else(|| other_than_default(&spec.value))?;
    let value = in_manifest(kind, &name, &spec.value, &text);
    let plain = quoted(&text, false);
    let text = (value != plain).then(|| format!("{name}: {plain}"));
    Some(Example { yaml: format!("{name}: {value}"), text })
}

/// A value that is not the default, as an example.
fn other_than_default(value: &ValueSpec) -> Option<String> {
    let default = value.default.as_deref();
    match value.ty {
        ValueType::Boolean => Some(if default.and_then(parse_boolean) == Some(true) { "0" } else { "1" }.to_owned()),
        _ => {
            let choice = value.choices.iter().flatten().find(|choice| Some(choice.as_str()) != default);
            choice.cloned().or_else(|| value.default.clone())
        }
    }
}

/// A value of Proxmox's as a manifest has it: sub-keys as a map, sizes with units, booleans as words.
fn in_manifest(kind: GuestKind, name: &str, value: &ValueSpec, text: &str) -> String {
    match name {
        "tags" => return list(parse_tags(text).iter().map(String::as_str)),
        "sshkeys" => return list(percent_decode(text).lines()),
        "ssh-public-keys" => return list(text.lines()),
        _ => {}
    }
    let Some(keys) = value.properties.as_ref().and_then(|format| property::split(text, format).ok()) else {
        return scalar(value, text, false);
    };
    let Some(format) = &value.properties else { return text.to_owned() };
    if let (1, Some((key, text))) = (format.keys.len(), keys.first_key_value()) {
        return format.keys.get(key).map_or_else(|| text.clone(), |key| scalar(&key.value, text, false));
    }
    let mut pairs = Vec::new();
    let volume = keys.get(volume_key(kind)).filter(|_| is_drive(kind, name));
    if let Some(volume) = volume {
        let image = keys.get("media").is_some_and(|media| media == "cdrom");
        match allocation(volume) {
            Some((storage, gib)) => {
                pairs.push(format!("storage: {storage}"));
                if !matches!(name, "efidisk0" | "tpmstate0") {
                    pairs.push(format!("size: {gib}GiB"));
                }
            }
            None if image && storage_of(volume).is_some() => pairs.push(format!("iso: {}", quoted(volume, true))),
            None => pairs.push(format!("volume: {}", quoted(volume, true))),
        }
    }
    let first = format.default_key().filter(|key| volume.is_none() && keys.contains_key(*key));
    let rest = keys.keys().map(String::as_str).filter(|key| Some(*key) != first);
    for key in first.into_iter().chain(rest) {
        let is_read = volume.is_some() && (key == volume_key(kind) || key == "media");
        if let (Some(text), Some(spec)) = (keys.get(key).filter(|_| !is_read), format.keys.get(key)) {
            pairs.push(format!("{key}: {}", scalar(&spec.value, text, true)));
        }
    }
    format!("{{{}}}", pairs.join(", "))
}

fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", items.map(|item| quoted(item, true)).collect::<Vec<_>>().join(", "))
}

fn scalar(value: &ValueSpec, text: &str, in_map: bool) -> String {
    let mebibytes = value.form.as_deref().is_some_and(|form| form.starts_with("MiB"));
    match (value.ty, text.parse::<u64>()) {
        (ValueType::Boolean, _) => (parse_boolean(text) == Some(true)).to_string(),
        (_, Ok(number)) if mebibytes && number >= 1024 && number % 1024 == 0 => format!("{}GiB", number / 1024),
        (_, Ok(number)) if mebibytes => format!("{number}MiB"),
        _ => quoted(text, in_map),
    }
}

/// Text as YAML takes it for that text.
fn quoted(text: &str, in_map: bool) -> String {
    let special = text.is_empty()
        || text.starts_with(|c: char| "!&*-?|>@`\"'%#{}[],: ".contains(c))
        || text.contains(": ")
        || text.contains(" #")
        || text.ends_with([':', ' '])
        || in_map && text.contains(['{', '}', '[', ']', ',']);
    if special { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) } else { text.to_owned() }
}

/// An example of one of our keys.
pub fn key_example(name: &str) -> Option<&'static str> {
    Some(match name {
        "name" => "name: prod-web-01",
        "hostname" => "hostname: prod-dns-01",
        "vmid" => "vmid: 1101",
        "cluster" => "cluster: production",
        "profiles" => "profiles: [base, web]",
        "adopt" => "adopt: true",
        "released" => "released: true",
        "node" => "node: [pve1, pve2]",
        "clone" => "clone: {from: debian-12, full: true, storage: local-lvm}",
        "state" => "state: running",
        "template" => "template: true",
        "reboot" => "reboot: allow",
        "unlisted" => "unlisted: remove",
        "ignore" => "ignore: [net0.rate, \"usb*\"]",
        "depends_on" => "depends_on: [prod-db-01]",
        "pool" => "pool: web",
        "shutdown_timeout" => "shutdown_timeout: 120",
        "each" => "each: {n: 1..3}",
        "ha" => "ha: {state: started, max_restart: 2}",
        "archive" => "archive: backup:backup/vzdump-qemu-100-2026_01_31-01_00_00.vma.zst",
        "recreate" => "recreate: true",
        "renamed_from" => "renamed_from: prod-web-1",
        _ => return None,
    })
}

/// The type of one of our keys, in words.
pub fn key_type(ty: KeyType) -> String {
    match ty {
        KeyType::Text => "text".to_owned(),
        KeyType::Name => "DNS name".to_owned(),
        KeyType::Boolean => "boolean".to_owned(),
        KeyType::Number => "whole number".to_owned(),
        KeyType::Choice(words) => words.join(", "),
        KeyType::Texts => "a value or a list of values".to_owned(),
        KeyType::Range => "range of ids, 1000-1999".to_owned(),
        KeyType::Map => "map".to_owned(),
        KeyType::Guests => "list of guests".to_owned(),
        KeyType::Each => "map of one variable to its values".to_owned(),
    }
}

/// The keys below one of our keys.
pub fn keys_below(spec: &KeySpec) -> impl Iterator<Item = &'static KeySpec> {
    let below = match spec.name {
        "clone" => Some(Level::Clone),
        "ha" => Some(Level::Ha),
        _ => None,
    };
    keys::KEYS.iter().filter(move |key| Some(key.level) == below)
}

/// The explanation as a document for programs.
pub fn document(found: Found) -> Value {
    let own = |spec: &KeySpec| {
        json!({
            "name": spec.name,
            "type": key_type(spec.ty),
            "is": spec.doc,
            "example": key_example(spec.name),
        })
    };
    let option = |kind: GuestKind, name: &str, spec: &OptionSpec| {
        json!({
            "name": name,
            "settable": is_settable(&spec.facts),
            "value": spec.value,
            "index": spec.index,
            "create": spec.create,
            "update": spec.update,
            "facts": spec.facts,
            "refusal_to_remove": spec.facts.kept.map(|kept| kept.proxmox_text(name)),
            "example": example(kind, name, spec),
        })
    };
    match found {
        Found::Guest(kind) => json!({
            "kind": kind,
            "keys": own_keys(kind).map(own).collect::<Vec<_>>(),
            "options": catalog(kind).iter().map(|(name, spec)| option(kind, name, spec)).collect::<Vec<_>>(),
            "read_only": catalog(kind).read_only,
        }),
        Found::Key(kind, spec) => {
            json!({"kind": kind, "key": own(spec), "keys": keys_below(spec).map(own).collect::<Vec<_>>()})
        }
        Found::Option(kind, name, spec) => json!({"kind": kind, "option": option(kind, name, spec)}),
        Found::SubKey(kind, name, _, key, spec) => {
            json!({"kind": kind, "option": name, "sub_key": {"name": key, "spec": spec}})
        }
        Found::ReadOnly(kind, name, is) => json!({"kind": kind, "read_only": {"name": name, "is": is}}),
    }
}

/// The names that a table name stands for: `net0 to net31`.
pub fn range_of_names(table_name: &str, spec: &OptionSpec) -> String {
    match (table_name.strip_suffix("[n]"), spec.index) {
        (Some(stem), Some([first, last])) => format!("{stem}{first} to {stem}{last}"),
        _ => table_name.to_owned(),
    }
}
