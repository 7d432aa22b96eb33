//! Makes the tables of `schemas/pve/`: the guests' options (`options-8.json`, `options-9.json`) and the calls
//! (`calls-8.json`, `calls-9.json`).
//!
//! ```text
//! cargo run --example pve_tables                               # the tables, of source/ and facts.yaml
//! cargo run --example pve_tables -- trim apidoc.js 9.2.3 > schemas/pve/source/api-9.json
//! cargo run --example pve_tables -- trim-formats formats.json > schemas/pve/source/formats.json
//! ```
//!
//! `apidoc.js` is what any node serves at `https://NODE:8006/pve-docs/api-viewer/apidoc.js`; a JSON file
//! `{"version": …, "paths": {PATH: {METHOD: {"parameters": …, "permissions": …}}}}` will do as well. `formats.json`
//! holds the nested formats that the description only names. Only facts are taken over: names, types, ranges,
//! defaults, privileges. No descriptions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use pvefleet::pve::facts::{KeyFacts, OptionFacts};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[path = "pve_tables/calls.rs"]
mod calls;

/// The calls whose parameters are a guest's options; the tables of options are made of them.
const CALLS: [(&str, &str); 4] = [
    ("/nodes/{node}/lxc", "POST"),
    ("/nodes/{node}/lxc/{vmid}/config", "PUT"),
    ("/nodes/{node}/qemu", "POST"),
    ("/nodes/{node}/qemu/{vmid}/config", "PUT"),
];

/// What is kept of a parameter's description.
const KEPT: [&str; 18] = [
    "alias",
    "default",
    "default_key",
    "enum",
    "format",
    "instance-types",
    "items",
    "keyAlias",
    "maxLength",
    "maximum",
    "minLength",
    "minimum",
    "oneOf",
    "optional",
    "pattern",
    "requires",
    "type",
    "type-property",
];

/// The first minor release of the newer tables: what only they have came with it, where the facts say nothing better.
const NEWER: &str = "9.0";

/// Does what the arguments say.
pub fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/pve");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {
            for (name, text) in generate(&folder)? {
                std::fs::write(folder.join(name), text)?;
            }
        }
        ["trim", input] => print!("{}", trim(&std::fs::read_to_string(input)?, None)?),
        ["trim", input, version] => print!("{}", trim(&std::fs::read_to_string(input)?, Some(version))?),
        ["trim-formats", input] => print!("{}", trim_formats(&std::fs::read_to_string(input)?)?),
        _ => bail!("usage: pve_tables [trim APIDOC [VERSION] | trim-formats FORMATS]"),
    }
    Ok(())
}

/// The tables as they should be in the folder, by file name.
pub fn generate(folder: &Path) -> Result<[(&'static str, String); 4]> {
    let read = |name: &str| -> Result<(PathBuf, String)> {
        let path = folder.join(name);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok((path, text))
    };
    let json = |name: &str| -> Result<Value> {
        let (path, text) = read(name)?;
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
    };
    let (path, text) = read("facts.yaml")?;
    let facts: Facts = serde_yaml::from_str(&text).with_context(|| path.display().to_string())?;
    let mut formats = json("source/formats.json")?;
    // Sub-keys that Proxmox reads with code of its own, and so describes nowhere.
    if let Some(known) = formats.as_object_mut() {
        known.extend(facts.formats.iter().map(|(name, keys)| (name.clone(), json!(keys))));
    }
    let (older, newer) = (json("source/api-8.json")?, json("source/api-9.json")?);
    let makers = [(&older, &newer, false), (&newer, &older, true)].map(|(api, other, is_newer)| Maker {
        api,
        other,
        formats: &formats,
        facts: &facts,
        is_newer,
    });
    facts.check_used(&older, &newer, &formats)?;
    let [older, newer] = &makers;
    Ok([
        ("options-8.json", older.tables()?),
        ("options-9.json", newer.tables()?),
        ("calls-8.json", calls::table(older)?),
        ("calls-9.json", calls::table(newer)?),
    ])
}

/// The facts of `facts.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    qemu: BTreeMap<String, Fact>,
    lxc: BTreeMap<String, Fact>,
    read_only: BTreeMap<String, BTreeMap<String, String>>,
    groups: BTreeMap<String, BTreeMap<String, KeyFact>>,
    formats: BTreeMap<String, BTreeMap<String, Value>>,
}

/// One option's.
#[derive(Debug, Deserialize)]
struct Fact {
    #[serde(default)]
    index: Option<u32>,
    #[serde(default)]
    form: Option<String>,
    #[serde(default)]
    keys: BTreeMap<String, KeyFact>,
    #[serde(default)]
    keys_of: Vec<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, serde_yaml::Value>,
}

/// One sub-key's: its line alone, or more.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum KeyFact {
    Line(String),
    More {
        #[serde(default)]
        form: Option<String>,
        #[serde(flatten)]
        rest: BTreeMap<String, serde_yaml::Value>,
    },
}

impl KeyFact {
    fn parts(&self) -> Result<(KeyFacts, Option<&String>)> {
        match self {
            Self::Line(line) => Ok((KeyFacts { is: line.clone(), ..KeyFacts::default() }, None)),
            Self::More { form, rest } => Ok((serde_yaml::from_value(serde_yaml::to_value(rest)?)?, form.as_ref())),
        }
    }
}

impl Facts {
    fn of(&self, kind: &str) -> &BTreeMap<String, Fact> {
        if kind == "qemu" { &self.qemu } else { &self.lxc }
    }

    fn key(&self, fact: &Fact, key: &str) -> Option<KeyFact> {
        let groups = fact.keys_of.iter().filter_map(|group| self.groups.get(group));
        fact.keys.get(key).or_else(|| groups.into_iter().find_map(|group| group.get(key))).cloned()
    }

    /// Facts about what no version has are mistakes.
    fn check_used(&self, older: &Value, newer: &Value, formats: &Value) -> Result<()> {
        for kind in ["qemu", "lxc"] {
            for (name, fact) in self.of(kind) {
                let schemas: Vec<&Value> = [older, newer]
                    .into_iter()
                    .filter_map(|api| calls(api, kind).ok())
                    .flat_map(|calls| calls.into_iter().filter_map(|call| call.get(name)))
                    .collect();
                ensure!(!schemas.is_empty(), "facts.yaml: {kind} has no {name}");
                for key in fact.keys.keys() {
                    let known =
                        schemas.iter().any(|schema| nested(schema, formats).is_some_and(|keys| keys.contains_key(key)));
                    ensure!(known, "facts.yaml: {kind} {name} has no {key}");
                }
                for group in &fact.keys_of {
                    ensure!(self.groups.contains_key(group), "facts.yaml: {name}: there is no group {group}");
                }
            }
        }
        Ok(())
    }
}

/// What makes one version's tables.
struct Maker<'a> {
    api: &'a Value,
    other: &'a Value,
    formats: &'a Value,
    facts: &'a Facts,
    is_newer: bool,
}

impl Maker<'_> {
    fn tables(&self) -> Result<String> {
        let mut text = format!("{{\n\"version\": {}", self.api["version"]);
        for kind in ["qemu", "lxc"] {
            let read_only: Vec<String> =
                self.facts.read_only[kind].iter().map(|(name, is)| format!("{}: {}", json!(name), json!(is))).collect();
            text.push_str(&format!(
                ",\n\"{kind}\": {{\n\"options\": {{\n{}\n}},\n\"read_only\": {{\n{}\n}}\n}}",
                self.options(kind)?.join(",\n"),
                read_only.join(",\n")
            ));
        }
        text.push_str("\n}\n");
        Ok(text)
    }

    /// One line an option, so that a new version's difference reads well.
    fn options(&self, kind: &str) -> Result<Vec<String>> {
        let [create, update] = calls(self.api, kind)?;
        let others = calls(self.other, kind)?;
        let mut options = BTreeMap::new();
        for (name, schema) in create.iter().chain(update) {
            if is_of_the_call(name) {
                continue;
            }
            let fact = self.facts.of(kind).get(name).with_context(|| format!("facts.yaml lacks {kind} {name}"))?;
            let mut facts: OptionFacts = serde_yaml::from_value(serde_yaml::to_value(&fact.rest)?)
                .with_context(|| format!("facts.yaml: {kind} {name}"))?;
            ensure!(facts.is.ends_with('.'), "facts.yaml: {kind} {name}: `is` is a sentence");
            let elsewhere = others.iter().find_map(|call| call.get(name));
            self.versions(elsewhere.is_some(), &mut facts.since, &mut facts.until);
            let context = Subject { kind, name, fact, elsewhere };
            let mut value = self.value(schema, Some(&context))?;
            if let Some(form) = &fact.form {
                value.insert("form".to_owned(), json!(form));
            }
            let mut option = Map::new();
            option.insert("value".to_owned(), Value::Object(value));
            ensure!(fact.index.is_some() == name.ends_with("[n]"), "facts.yaml: {kind} {name}: index");
            if let Some(last) = fact.index {
                option.insert("index".to_owned(), json!([0, last]));
            }
            for (key, calls) in [("create", create), ("update", update)] {
                if calls.contains_key(name) {
                    option.insert(key.to_owned(), json!(true));
                }
            }
            option.insert("facts".to_owned(), serde_json::to_value(facts)?);
            options.insert(name.clone(), Value::Object(option));
        }
        Ok(options.iter().map(|(name, option)| format!("{}: {option}", json!(name))).collect())
    }

    /// Which release brought or dropped what only one of the tables has.
    fn versions(&self, in_both: bool, since: &mut Option<String>, until: &mut Option<String>) {
        match (in_both, self.is_newer) {
            (true, _) => {}
            (false, true) => *since = since.take().or_else(|| Some(NEWER.to_owned())),
            (false, false) => *until = Some(NEWER.to_owned()),
        }
    }

    /// A schema of the description as the type, range and sub-keys of our tables.
    fn value(&self, schema: &Value, option: Option<&Subject<'_>>) -> Result<Map<String, Value>> {
        let mut spec = Map::new();
        spec.insert("type".to_owned(), schema.get("type").cloned().unwrap_or_else(|| json!("string")));
        for (from, to) in
            [("minimum", "minimum"), ("maximum", "maximum"), ("minLength", "min_length"), ("maxLength", "max_length")]
        {
            if let Some(limit) = schema.get(from) {
                let number = limit.as_f64().or_else(|| limit.as_str()?.parse().ok()).context("a limit is a number")?;
                #[expect(clippy::cast_possible_truncation, reason = "limits that are whole are printed as such")]
                let number = if number.fract() == 0.0 { json!(number as i64) } else { json!(number) };
                spec.insert(to.to_owned(), number);
            }
        }
        if let Some(choices) = schema.get("enum") {
            spec.insert("choices".to_owned(), choices.clone());
        }
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
            spec.insert("pattern".to_owned(), json!(portable(pattern)));
        }
        match schema.get("default") {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => {
                spec.insert("default".to_owned(), json!(text));
            }
            Some(other) => {
                spec.insert("default".to_owned(), json!(other.to_string()));
            }
        }
        match (nested(schema, self.formats), option) {
            (Some(keys), Some(option)) => {
                let mut properties = Map::new();
                for (key, schema) in keys {
                    if let Some(key_spec) = self.sub_key(schema, option, key)? {
                        properties.insert(key.clone(), key_spec);
                    }
                }
                spec.insert("properties".to_owned(), Value::Object(properties));
                // Such a text is checked by its format; the sub-keys are for writing it as a map.
                let own = schema.get("format").and_then(Value::as_str);
                if let Some(format) = own.filter(|format| self.facts.formats.contains_key(*format)) {
                    spec.insert("format".to_owned(), json!(format));
                }
            }
            _ => match schema.get("format") {
                Some(Value::String(format)) => drop(spec.insert("format".to_owned(), json!(format))),
                Some(Value::Object(keys)) => drop(spec.insert("properties".to_owned(), self.plain_keys(keys)?)),
                _ => {}
            },
        }
        Ok(spec)
    }

    /// The sub-keys of a parameter that is no option; nothing more is known of them.
    fn plain_keys(&self, keys: &Map<String, Value>) -> Result<Value> {
        let mut properties = Map::new();
        for (name, schema) in keys {
            let mut key = match alias(schema) {
                Some(alias) => alias,
                None => Map::from_iter([("value".to_owned(), Value::Object(self.value(schema, None)?))]),
            };
            flags(schema, &mut key);
            properties.insert(name.clone(), Value::Object(key));
        }
        Ok(Value::Object(properties))
    }

    fn sub_key(&self, schema: &Value, option: &Subject<'_>, name: &str) -> Result<Option<Value>> {
        if let Some(alias) = alias(schema) {
            return Ok(Some(Value::Object(alias)));
        }
        let mut key = Map::new();
        let place = || format!("facts.yaml: {} {}.{name}", option.kind, option.name);
        let fact = self.facts.key(option.fact, name).with_context(|| format!("{} is missing", place()))?;
        let (mut facts, form) = fact.parts().with_context(place)?;
        ensure!(facts.is.ends_with('.'), "{}: `is` is a sentence", place());
        // A format that is named only is the newer version's; the facts say what the older one lacks.
        let is_named = schema_is_named(option, self.api);
        if is_named && !self.is_newer && facts.since.is_some() {
            return Ok(None);
        }
        if let Some(elsewhere) = option.elsewhere.filter(|_| !is_named) {
            let in_both = nested(elsewhere, self.formats).is_some_and(|keys| keys.contains_key(name));
            self.versions(in_both, &mut facts.since, &mut facts.until);
        }
        let mut value = self.value(schema, None)?;
        if let Some(form) = form {
            value.insert("form".to_owned(), json!(form));
        }
        key.insert("value".to_owned(), Value::Object(value));
        flags(schema, &mut key);
        key.insert("facts".to_owned(), serde_json::to_value(facts)?);
        Ok(Some(Value::Object(key)))
    }
}

/// A sub-key that is only another name.
fn alias(schema: &Value) -> Option<Map<String, Value>> {
    let names = [("alias", "alias"), ("keyAlias", "key_alias")];
    schema.get("alias")?;
    Some(names.iter().filter_map(|(from, to)| Some(((*to).to_owned(), schema.get(*from)?.clone()))).collect())
}

/// What a sub-key's or a parameter's schema says besides the type.
fn flags(schema: &Value, key: &mut Map<String, Value>) {
    for name in ["optional", "default_key"].into_iter().filter(|name| is_set(schema, name)) {
        key.insert(name.to_owned(), json!(true));
    }
    if let Some(requires) = schema.get("requires") {
        key.insert("requires".to_owned(), requires.clone());
    }
}

/// Proxmox writes what is true in several ways.
fn is_set(schema: &Value, name: &str) -> bool {
    schema.get(name).is_some_and(|flag| flag == 1 || flag == "1" || flag == true)
}

/// The option whose sub-keys are made.
struct Subject<'a> {
    kind: &'a str,
    name: &'a str,
    fact: &'a Fact,
    elsewhere: Option<&'a Value>,
}

/// True when the description gives the option's format by name alone.
fn schema_is_named(option: &Subject<'_>, api: &Value) -> bool {
    let of = |call: &Map<String, Value>| call.get(option.name)?.get("format").map(Value::is_string);
    calls(api, option.kind).is_ok_and(|calls| calls.into_iter().find_map(of) == Some(true))
}

/// True for a parameter of making or changing a guest that is none of its options.
fn is_of_the_call(name: &str) -> bool {
    matches!(name, "node" | "vmid" | "digest" | "delete" | "revert" | "skiplock" | "force" | "background_delay")
}

/// The parameters of making and of changing a guest.
fn calls<'a>(api: &'a Value, kind: &str) -> Result<[&'a Map<String, Value>; 2]> {
    let properties = |path: &str, method: &str| {
        api["paths"][path][method]["parameters"]["properties"]
            .as_object()
            .with_context(|| format!("no {method} {path}"))
    };
    Ok([
        properties(&format!("/nodes/{{node}}/{kind}"), "POST")?,
        properties(&format!("/nodes/{{node}}/{kind}/{{vmid}}/config"), "PUT")?,
    ])
}

/// The sub-keys of a property string, given in place or by name.
fn nested<'a>(schema: &'a Value, formats: &'a Value) -> Option<&'a Map<String, Value>> {
    match schema.get("format") {
        Some(Value::Object(keys)) => Some(keys),
        Some(Value::String(format)) => formats.get(format).and_then(Value::as_object),
        _ => None,
    }
}

/// Perl's pattern in the syntax of the `regex` crate.
fn portable(pattern: &str) -> String {
    pattern
        .replace("(?^u:", "(?:")
        .replace("(?^i:", "(?i:")
        .replace("(?^:", "(?:")
        .replace("{,", "{0,")
        .replace("\\0", "\\x00")
}

/// The calls of a whole API description, without anything but facts. A call is a line, or a line a parameter where
/// those are options.
fn trim(text: &str, version: Option<&str>) -> Result<String> {
    let start = text.find("apiSchema").and_then(|at| text[at..].find('[').map(|bracket| at + bracket));
    let json_text = &text[start.filter(|_| !text.trim_start().starts_with('{')).unwrap_or(0)..];
    let api: Value = serde_json::Deserializer::from_str(json_text)
        .into_iter()
        .next()
        .context("the description is empty")?
        .context("the description is not JSON")?;
    let version = version.map(str::to_owned).or_else(|| api["version"].as_str().map(str::to_owned));
    let version = version.context("the description does not say its version; give it")?;
    let mut paths = BTreeMap::new();
    match (api.as_array(), api["paths"].as_object()) {
        (Some(roots), _) => roots.iter().for_each(|root| collect_paths(root, &mut paths)),
        (None, Some(object)) => paths.extend(object.iter().map(|(path, methods)| (path.as_str(), methods))),
        (None, None) => bail!("the description has no paths"),
    }
    let mut lines = Vec::new();
    for (path, methods) in paths {
        let methods = methods.as_object().with_context(|| format!("{path} has no methods"))?;
        let calls: Vec<String> = methods
            .iter()
            .map(|(method, info)| {
                format!("{}: {}", json!(method), trim_call(info, CALLS.contains(&(path, method.as_str()))))
            })
            .collect();
        lines.push(format!("{}: {{{}}}", json!(path), calls.join(",\n")));
    }
    Ok(format!("{{\n\"version\": {},\n\"paths\": {{\n{}\n}}\n}}\n", json!(version), lines.join(",\n")))
}

fn collect_paths<'a>(node: &'a Value, paths: &mut BTreeMap<&'a str, &'a Value>) {
    if let (Some(path), Some(info)) = (node["path"].as_str(), node.get("info")) {
        paths.insert(path, info);
    }
    for child in node["children"].as_array().into_iter().flatten() {
        collect_paths(child, paths);
    }
}

fn trim_call(info: &Value, is_long: bool) -> String {
    let mut parts = Vec::new();
    let mut keep = |name: &str, value: Option<&Value>| {
        parts.extend(value.map(|value| format!("{}: {value}", json!(name))));
    };
    for name in ["allowtoken", "protected", "proxyto"] {
        keep(name, info.get(name));
    }
    let permissions: Option<Value> = info.get("permissions").and_then(Value::as_object).map(|permissions| {
        let facts = permissions.iter().filter(|(name, _)| matches!(name.as_str(), "check" | "user"));
        facts.map(|(name, value)| (name.clone(), value.clone())).collect()
    });
    keep("permissions", permissions.as_ref());
    let parameters = &info["parameters"];
    let properties: Vec<String> = parameters["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, schema)| format!("{}: {}", json!(name), trim_schema(schema)))
        .collect();
    let (between, end) = if is_long { (",\n", "\n") } else { (", ", "") };
    let open = parameters.get("additionalProperties");
    let open = open.map(|open| format!("\"additionalProperties\": {open}, ")).unwrap_or_default();
    parts.push(format!("\"parameters\": {{{open}\"properties\": {{{end}{}{end}}}}}", properties.join(between)));
    format!("{{{}}}", parts.join(", "))
}

fn trim_schema(schema: &Value) -> Value {
    let Some(schema) = schema.as_object() else { return Value::Null };
    let mut kept = Map::new();
    for (name, value) in schema.iter().filter(|(name, _)| KEPT.contains(&name.as_str())) {
        let value = match (name.as_str(), value) {
            ("format", Value::Object(keys)) => {
                Value::Object(keys.iter().map(|(key, schema)| (key.clone(), trim_schema(schema))).collect())
            }
            ("items", items) => trim_schema(items),
            ("oneOf", Value::Array(forms)) => forms.iter().map(trim_schema).collect(),
            // Some defaults are prose; those are no values.
            ("default", Value::String(text)) if text.contains(' ') => continue,
            _ => value.clone(),
        };
        kept.insert(name.clone(), value);
    }
    Value::Object(kept)
}

/// The named formats that options use.
fn trim_formats(text: &str) -> Result<String> {
    let formats: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_str(text)?;
    let used = formats
        .iter()
        .filter(|(name, _)| ["pve-qm-", "pve-qemu-", "pve-vm-"].iter().any(|prefix| name.starts_with(prefix)));
    let lines: Vec<String> = used
        .map(|(name, keys)| {
            let keys: Map<String, Value> =
                keys.iter().map(|(key, schema)| (key.clone(), trim_schema(schema))).collect();
            format!("{}: {}", json!(name), Value::Object(keys))
        })
        .collect();
    Ok(format!("{{\n{}\n}}\n", lines.join(",\n")))
}
