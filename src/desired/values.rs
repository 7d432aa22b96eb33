//! From what is written under an option to its value, by the option's own Proxmox type.

use std::collections::BTreeMap;

use super::drives::{self, DriveDraft};
use super::model::SecretReference;
use super::options::{is_drive, is_mebibytes, is_secret, joiner};
use super::refusal::{Refused, refused};
use crate::diagnostics::{Diagnostic, Place};
use crate::manifest::source::{Node, NodeKind};
use crate::pve::property::{self, PropertyError};
use crate::pve::schema::{
    OptionSpec, PropertyFormat, Spelling, SubKey, ValueSpec, ValueType, catalog_for, known_versions, nearest,
};
use crate::pve::text::encode_keys;
use crate::pve::value::{GuestKind, Size, is_tag, parse_boolean, parse_tags, print_tags};

/// Characters of the description that the mark may need.
const MARK_RESERVE: usize = 512;

/// A value of one layer, before it is merged.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Draft {
    Absent,
    Text(String),
    Properties {
        whole: bool,
        keys: BTreeMap<String, Option<String>>,
    },
    Drive(DriveDraft),
    Secret(SecretReference),
    /// It was refused, and the problem is reported.
    Refused,
}

/// One option that is being read.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub kind: GuestKind,
    pub name: &'a str,
    pub spec: &'a OptionSpec,
}

impl Context<'_> {
    /// An error about the option at a place.
    pub fn wrong(&self, reason: impl std::fmt::Display, place: &Place) -> Diagnostic {
        Diagnostic::error("wrong-value", format!("`{}`: {reason}", self.name)).at(place)
    }

    /// The same about a value, with what may have been meant.
    pub fn refused(&self, refused: Refused, place: &Place) -> Diagnostic {
        let problem = self.wrong(refused.reason, place);
        match refused.hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }

    /// A note about a value that is written otherwise than usual.
    fn spelling(&self, sub_key: Option<&str>, node: &Node, usual: &str) -> Diagnostic {
        let key = sub_key.map(|key| format!("`{key}`: ")).unwrap_or_default();
        let text = node.text().unwrap_or_default();
        let message = format!("`{}`: {key}the usual spelling of `{text}` is `{usual}`", self.name);
        Diagnostic::note("spelling", message).at(&node.place())
    }

    fn wrong_type(&self, expected: &str, node: &Node) -> Diagnostic {
        let message = format!("`{}` is {expected}, and {} stands here", self.name, node.noun());
        Diagnostic::error("wrong-type", message).at(&node.place())
    }
}

/// Reads the value of an option.
pub(super) fn read(context: Context<'_>, node: &Node, problems: &mut Vec<Diagnostic>) -> Option<Draft> {
    if node.is_null() {
        return Some(Draft::Absent);
    }
    if is_drive(context.kind, context.name) {
        return drives::read(context, node, problems).map(Draft::Drive);
    }
    if let Some(format) = &context.spec.value.properties {
        return properties(context, format, node, problems);
    }
    if is_secret(context.kind, context.name) {
        return secret(context, node, problems).map(Draft::Secret);
    }
    match plain(context, node) {
        Ok(text) => {
            let items = match &node.kind {
                NodeKind::List(items) => items.as_slice(),
                _ => std::slice::from_ref(node),
            };
            for item in items {
                let usual = item.text().and_then(|text| usual(&context.spec.value, context.name, text));
                problems.extend(usual.map(|usual| context.spelling(None, item, &usual)));
            }
            Some(Draft::Text(text))
        }
        Err(problem) => {
            problems.push(*problem);
            None
        }
    }
}

/// The usual spelling of a value that is written in another one.
fn usual(spec: &ValueSpec, name: &str, text: &str) -> Option<String> {
    let usual = match spec.ty {
        ValueType::Boolean if matches!(text, "0" | "1") => return None,
        ValueType::Boolean => parse_boolean(text)?.to_string(),
        _ if name == "tags" && text.bytes().any(|b| b.is_ascii_uppercase()) => text.to_ascii_lowercase(),
        _ if spec.format.as_deref() == Some("mac-addr") => text.to_ascii_uppercase(),
        _ if spec.form.as_deref().is_some_and(|form| form.starts_with("MiB")) && text.ends_with("iB") => {
            format!("{}iB", Size::parse(text)?)
        }
        _ => return None,
    };
    (usual != text).then_some(usual)
}

/// An option without sub-keys.
fn plain(context: Context<'_>, node: &Node) -> Result<String, Box<Diagnostic>> {
    let Context { kind, name, spec } = context;
    let text = match &node.kind {
        NodeKind::Scalar { text, .. } => text.clone(),
        NodeKind::List(items) => {
            let Some(joiner) = joiner(kind, name) else {
                return Err(context.wrong_type("one value", node).into());
            };
            if let Some(bad) = items.iter().find(|item| name == "tags" && !item.text().is_some_and(is_tag)) {
                let text = bad.text().unwrap_or_else(|| bad.noun());
                let reason = format!("`{text}` is no tag; letters, digits, `_`, `+`, `-` and `.` are allowed");
                return Err(context.wrong(reason, &bad.place()).into());
            }
            let texts: Option<Vec<&str>> = items.iter().map(Node::text).collect();
            texts.ok_or_else(|| Box::new(context.wrong_type("a list of single values", node)))?.join(joiner)
        }
        NodeKind::Map(entries) => {
            let env = entries.iter().find(|(key, _)| key.text == "env");
            return Err(Box::new(match env {
                Some((key, _)) => Diagnostic::error(
                    "misplaced-reference",
                    format!("`{name}` holds no secret, so it takes no `env` reference"),
                )
                .at(&key.mark.place())
                .hint("write the value itself, or `{file: PATH}`"),
                None => context.wrong_type("one value", node),
            }));
        }
        NodeKind::Null | NodeKind::Refused => return Err(context.wrong_type("one value", node).into()),
    };
    let text = match (kind, name) {
        (_, "tags") => {
            spec.value.check(&text, Spelling::Parameter).map_err(|e| context.wrong(e.reason(), &node.place()))?;
            print_tags(&parse_tags(&text))
        }
        (GuestKind::Qemu, "sshkeys") => encode_keys(text.trim_end()),
        (_, "description") if text.chars().count() > 8192 - MARK_RESERVE => {
            let limit = 8192 - MARK_RESERVE;
            let reason = format!("at most {limit} characters are allowed; the mark of ownership needs the rest");
            return Err(context.wrong(reason, &node.place()).into());
        }
        _ => text,
    };
    scalar(&spec.value, &text, is_mebibytes(kind, name, None), Spelling::Parameter)
        .map_err(|refused| context.refused(refused, &node.place()).into())
}

/// Checks one text by its type and brings it into Proxmox's spelling.
pub(super) fn scalar(spec: &ValueSpec, text: &str, mebibytes: bool, spelling: Spelling) -> Result<String, Refused> {
    let text = match spec.ty {
        ValueType::Boolean => match parse_boolean(text) {
            Some(value) => if value { "1" } else { "0" }.to_owned(),
            None => text.to_owned(),
        },
        ValueType::Integer | ValueType::Number if mebibytes && text.ends_with(|c: char| c.is_ascii_alphabetic()) => {
            match Size::parse(text) {
                Some(size) if size.0.is_multiple_of(Size::MIB) => (size.0 / Size::MIB).to_string(),
                Some(_) => return Err(format!("`{text}` is not a whole number of MiB").into()),
                None => return Err(format!("`{text}` is no size; write 4GiB, 512MiB, or a number of MiB").into()),
            }
        }
        ValueType::Integer => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let leading_zero =
                digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
            if leading_zero || text.starts_with('+') {
                return Err(format!(
                    "`{text}` is read by some as another number; write it without a leading zero or sign"
                )
                .into());
            }
            text.to_owned()
        }
        _ => text.to_owned(),
    };
    match spec.check(&text, spelling) {
        Ok(()) => Ok(text),
        Err(error) => Err(refused(spec, &text, &error)),
    }
}

/// An option with sub-keys.
fn properties(
    context: Context<'_>,
    format: &PropertyFormat,
    node: &Node,
    problems: &mut Vec<Diagnostic>,
) -> Option<Draft> {
    match &node.kind {
        NodeKind::Scalar { text, .. } => {
            let keys = property_text(context, format, text, &node.place(), problems)?;
            let bare = format.default_key().filter(|_| !text.contains([',', '='])).and_then(|key| format.keys.get(key));
            let usual = bare.and_then(|key| usual(&key.value, "", text));
            problems.extend(usual.map(|usual| context.spelling(None, node, &usual)));
            Some(Draft::Properties {
                whole: true,
                keys: keys.into_iter().map(|(key, value)| (key, Some(value))).collect(),
            })
        }
        NodeKind::Map(_) => {
            let (keys, sound) = sub_keys(context, format, node, &[], problems);
            sound.then_some(Draft::Properties { whole: false, keys })
        }
        _ => {
            problems.push(context.wrong_type("text or a map of its sub-keys", node));
            None
        }
    }
}

/// Reads Proxmox's own text of a property string.
pub(super) fn property_text(
    context: Context<'_>,
    format: &PropertyFormat,
    text: &str,
    place: &Place,
    problems: &mut Vec<Diagnostic>,
) -> Option<BTreeMap<String, String>> {
    let bare_default = format.default_key().filter(|_| !text.contains([',', '=']));
    let mebibytes = bare_default.filter(|key| is_mebibytes(context.kind, context.name, Some(key)));
    let text = match mebibytes.and_then(|key| format.keys.get(key)) {
        Some(key) => match scalar(&key.value, text, true, Spelling::SubKey) {
            Ok(text) => text,
            Err(refused) => {
                problems.push(context.refused(refused, place));
                return None;
            }
        },
        None => text.to_owned(),
    };
    match property::parse(&text, format) {
        Ok(keys) => Some(keys),
        Err(errors) => {
            for error in errors {
                let value = |key: &str| property::split(&text, format).ok()?.get(key).cloned();
                problems.push(match &error {
                    PropertyError::Unknown(key) => near_sub_key(context, format, key, place),
                    PropertyError::Value(key, why) => match (format.keys.get(key), value(key)) {
                        (Some(known), Some(text)) => {
                            context.refused(refused(&known.value, &text, why).of_sub_key(key), place)
                        }
                        _ => context.wrong(error.reason(), place),
                    },
                    _ => context.wrong(error.reason(), place),
                });
            }
            None
        }
    }
}

fn near_sub_key(context: Context<'_>, format: &PropertyFormat, key: &str, place: &Place) -> Diagnostic {
    let problem = context.wrong(format!("there is no sub-key `{key}`"), place);
    let [oldest, newest] = known_versions();
    let former = catalog_for(context.kind, oldest).find(context.name).and_then(|spec| spec.value.properties.as_ref());
    if former.is_some_and(|former| former.keys.contains_key(key)) {
        return problem.hint(format!("Proxmox VE {oldest} had it, {newest} has not; leave it out"));
    }
    let names = || format.keys.iter().filter(|(_, key)| key.alias.is_none()).map(|(name, _)| name);
    match nearest(key, names()) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem.hint(format!("known here: {}", names().cloned().collect::<Vec<_>>().join(", "))),
    }
}

/// Reads the sub-keys of a map, without those that the caller reads itself; false where one was refused.
pub(super) fn sub_keys(
    context: Context<'_>,
    format: &PropertyFormat,
    node: &Node,
    skipped: &[&str],
    problems: &mut Vec<Diagnostic>,
) -> (BTreeMap<String, Option<String>>, bool) {
    let mut keys: BTreeMap<String, Option<String>> = BTreeMap::new();
    let NodeKind::Map(entries) = &node.kind else { return (keys, false) };
    let mut sound = true;
    let mut notes = Vec::new();
    for (key, node) in entries.iter().filter(|(key, _)| !skipped.contains(&key.text.as_str())) {
        let Some(sub_key) = format.keys.get(&key.text) else {
            problems.push(near_sub_key(context, format, &key.text, &key.mark.place()));
            sound = false;
            continue;
        };
        let mut insert = |name: &str, value: Option<String>| {
            if keys.insert(name.to_owned(), value).is_some() {
                problems.push(context.wrong(format!("`{name}` stands twice"), &key.mark.place()));
                sound = false;
            }
        };
        // `virtio: AA:BB:…` names the model and the address at once.
        if let SubKey { alias: Some(_), key_alias: Some(model), .. } = sub_key {
            insert(model, Some(key.text.clone()));
        }
        let name = sub_key.alias.as_deref().unwrap_or(&key.text);
        let spec = format.keys.get(name).map(|key| &key.value).unwrap_or(&sub_key.value);
        match sub_value(context, name, spec, node) {
            Ok(value) => {
                insert(name, value);
                let usual = node.text().and_then(|text| usual(spec, "", text));
                notes.extend(usual.map(|usual| context.spelling(Some(name), node, &usual)));
            }
            Err(problem) => {
                problems.push(*problem);
                sound = false;
            }
        }
    }
    problems.extend(notes);
    (keys, sound)
}

fn sub_value(
    context: Context<'_>,
    name: &str,
    spec: &ValueSpec,
    node: &Node,
) -> Result<Option<String>, Box<Diagnostic>> {
    let text = match &node.kind {
        NodeKind::Null => return Ok(None),
        NodeKind::Scalar { text, .. } => text.clone(),
        NodeKind::List(items) if items.iter().all(|item| item.text().is_some()) => {
            items.iter().filter_map(Node::text).collect::<Vec<_>>().join(";")
        }
        _ => {
            let reason = format!("`{name}` is one value, and {} stands here", node.noun());
            return Err(context.wrong(reason, &node.place()).into());
        }
    };
    if text.contains(',') {
        let reason = format!("`{name}`: a comma ends a sub-key in Proxmox's text, so its value holds none");
        return Err(context.wrong(reason, &node.place()).into());
    }
    let mebibytes = is_mebibytes(context.kind, context.name, Some(name));
    let refusal = |refused: Refused| context.refused(refused.of_sub_key(name), &node.place()).into();
    scalar(spec, &text, mebibytes, Spelling::SubKey).map(Some).map_err(refusal)
}

/// A reference in a field that holds a secret.
fn secret(context: Context<'_>, node: &Node, problems: &mut Vec<Diagnostic>) -> Option<SecretReference> {
    let name = context.name;
    let entries = match &node.kind {
        NodeKind::Map(entries) => entries,
        NodeKind::Scalar { text, .. } if !text.is_empty() => {
            let message = format!("the secret `{name}` is written in the manifest itself");
            let hint = "write `{env: NAME}` and set the variable NAME where this program runs";
            problems.push(Diagnostic::warning("literal-secret", message).at(&node.place()).hint(hint));
            return Some(SecretReference::written(&node.place()));
        }
        _ => {
            problems.push(context.wrong_type("a secret", node).hint("write `{env: NAME}`"));
            return None;
        }
    };
    let mut reference = SecretReference { env: String::new(), version: None };
    let before = problems.len();
    for (key, node) in entries {
        let text = node.text().unwrap_or_default();
        match key.text.as_str() {
            "env" => {
                let valid = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                    && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                if !valid {
                    problems.push(context.wrong("`env` is not the name of a variable", &node.place()));
                } else if text.starts_with("PROXMOX_") {
                    let reason = "variables that begin with PROXMOX_ are this program's own";
                    problems.push(context.wrong(reason, &node.place()));
                }
                text.clone_into(&mut reference.env);
            }
            "version" => match text.parse() {
                Ok(version) if text == "0" || !text.starts_with(['0', '+']) => reference.version = Some(version),
                _ => problems.push(context.wrong(format!("`version`: `{text}` is not a whole number"), &node.place())),
            },
            "file" => problems.push(
                context.wrong("a secret is not read from a file here", &key.mark.place()).hint("write `{env: NAME}`"),
            ),
            other => problems.push(
                context
                    .wrong(format!("a reference has no `{other}`"), &key.mark.place())
                    .hint("known here: env, version"),
            ),
        }
    }
    if reference.env.is_empty() && problems.len() == before {
        problems.push(context.wrong("the reference names no variable", &node.place()).hint("write `{env: NAME}`"));
    }
    (problems.len() == before).then_some(reference)
}
