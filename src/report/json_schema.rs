//! The JSON Schema of a manifest, for editors: completion, types and a line on every key.
//!
//! Made of the table of our own keys and of Proxmox's option tables. `schemas/fleet.schema.json` holds it;
//! `cargo run --example fleet_schema` writes it.

use serde_json::{Map, Value, json};

use super::explain::is_settable;
use crate::desired::{is_drive, joiner};
use crate::manifest::keys::{self, KeyType, Level};
use crate::pve::schema::{OptionSpec, SubKey, ValueSpec, ValueType, catalog};
use crate::pve::value::GuestKind;

type Object = Map<String, Value>;

/// The sub-keys of a drive that are ours, each with what it says.
const DRIVE_KEYS: [(&str, &str); 9] = [
    ("storage", "Storage for a new volume."),
    ("size", "Size, with its unit: 32GiB or 32G."),
    ("volume", "A volume that exists, STORAGE:NAME; `none` is an empty CD-ROM drive."),
    ("file", "Proxmox's name of `volume`."),
    ("iso", "An ISO image, STORAGE:iso/NAME, in a CD-ROM drive."),
    ("cloudinit", "True for the cloud-init drive."),
    ("new", "True for a new, empty disk, even where a detached one waits."),
    ("import", "The image that fills the disk when it is made."),
    ("moved_from", "The drive of this guest whose disk becomes this one."),
];

/// The schema.
pub fn document() -> Value {
    let mut definitions = Object::new();
    definitions.insert(
        "template".to_owned(),
        json!({"type": "string", "pattern": "\\{\\{", "description": "A template: {{ n }}, {{ '%02d' | format(n) }}."}),
    );
    definitions
        .insert("text".to_owned(), json!({"type": ["string", "number", "boolean"], "description": "A single value."}));
    definitions.insert(
        "size".to_owned(),
        json!({
            "anyOf": [{"type": "string", "pattern": "^[0-9.]+([KMGT]i?B?)?$"}, {"$ref": "#/definitions/template"}],
            "description": "A size with its unit: 32GiB, 512MiB, or Proxmox's 32G.",
        }),
    );
    let both = GuestKind::ALL;
    for kind in both {
        for (name, spec) in catalog(kind).iter().filter(|(_, spec)| is_settable(&spec.facts)) {
            definitions.insert(definition(kind, name), option(kind, name, spec));
        }
        definitions.insert(word(kind).to_owned(), guest(kind));
        definitions.insert(format!("{}-layer", word(kind)), layer(&[kind]));
    }
    definitions.insert("layer".to_owned(), layer(&both));
    definitions.insert(
        "defaults".to_owned(),
        own_map(Level::Defaults, |key| match key {
            "vm" => Some(json!({"$ref": "#/definitions/vm-layer"})),
            "container" => Some(json!({"$ref": "#/definitions/container-layer"})),
            _ => Some(json!({"$ref": "#/definitions/layer"})),
        }),
    );
    definitions.insert("cluster".to_owned(), nullable(own_map(Level::Cluster, |_| None)));
    let mut top = own_map(Level::Top, |key| match key {
        "clusters" => Some(map_of("cluster")),
        "profiles" => Some(map_of("layer")),
        "guards" => Some(own_map(Level::Guards, |_| None)),
        "vars" => Some(json!({"type": "object"})),
        "fleet" | "scope" => Some(json!({"type": "string", "maxLength": 32})),
        _ => None,
    });
    if let Some(top) = top.as_object_mut() {
        top.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
        top.insert("title".to_owned(), json!("A manifest of pvefleet"));
        top.insert("definitions".to_owned(), Value::Object(definitions));
    }
    top
}

fn word(kind: GuestKind) -> &'static str {
    match kind {
        GuestKind::Qemu => "vm",
        GuestKind::Lxc => "container",
    }
}

fn stem(name: &str) -> &str {
    name.trim_end_matches("[n]")
}

/// The definition's name of an option: `vm.numa` is another one than `vm.numaN`.
fn definition(kind: GuestKind, name: &str) -> String {
    format!("{}.{}", word(kind), name.replace("[n]", "N"))
}

fn map_of(definition: &str) -> Value {
    json!({"type": ["object", "null"], "additionalProperties": {"$ref": format!("#/definitions/{definition}")}})
}

fn nullable(mut schema: Value) -> Value {
    schema["type"] = json!(["object", "null"]);
    schema
}

/// The map of our keys at a level, with other schemas for some.
fn own_map(level: Level, special: impl Fn(&str) -> Option<Value>) -> Value {
    let mut properties = Object::new();
    for spec in keys::KEYS.iter().filter(|spec| spec.level == level) {
        let mut schema = special(spec.name).unwrap_or_else(|| own_key(spec.name, spec.ty));
        // A reference hides what stands beside it.
        if schema.get("$ref").is_some() {
            schema = json!({"allOf": [schema]});
        }
        schema["description"] = json!(spec.doc);
        properties.insert(spec.name.to_owned(), schema);
    }
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

fn own_key(name: &str, ty: KeyType) -> Value {
    let template = json!({"$ref": "#/definitions/template"});
    let single = json!({"$ref": "#/definitions/text"});
    match (name, ty) {
        ("clone", _) => own_map(Level::Clone, |_| None),
        ("ha", _) => nullable(own_map(Level::Ha, |_| None)),
        ("from", _) => json!({"anyOf": [
            single,
            {
                "type": "object",
                "additionalProperties": false,
                "required": ["tag"],
                "properties": {"tag": {"type": "string", "description": "A tag that the guest bears."}},
            },
            {"type": "null"},
        ]}),
        ("defaults", _) => json!({"$ref": "#/definitions/defaults"}),
        ("vms", _) => guests(GuestKind::Qemu),
        ("containers", _) => guests(GuestKind::Lxc),
        (_, KeyType::Text) => json!({"anyOf": [single, {"type": "null"}]}),
        (_, KeyType::Name) => json!({"type": "string", "maxLength": 255}),
        (_, KeyType::Boolean) => json!({"anyOf": [{"enum": [true, false, 0, 1, null]}, template]}),
        (_, KeyType::Number) => json!({"anyOf": [{"type": ["integer", "null"], "minimum": 0}, template]}),
        (_, KeyType::Choice(words)) => {
            let choices: Vec<Value> = words.iter().map(|word| json!(word)).chain([Value::Null]).collect();
            json!({"anyOf": [{"enum": choices}, template]})
        }
        (_, KeyType::Texts) => json!({"anyOf": [single, {"type": "array", "items": single}, {"type": "null"}]}),
        (_, KeyType::Range) => json!({"anyOf": [{"type": "string", "pattern": "^[0-9]+ *- *[0-9]+$"}, template]}),
        (_, KeyType::Each) => json!({
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": {"anyOf": [
                {"type": "string", "pattern": "^-?[0-9]+ *\\.\\. *-?[0-9]+$"},
                {"type": "array", "items": {"type": ["string", "number", "boolean", "object"]}},
            ]},
        }),
        (_, KeyType::Map | KeyType::Guests) => json!({"type": "object"}),
    }
}

fn guests(kind: GuestKind) -> Value {
    let definition = format!("#/definitions/{}", word(kind));
    json!({"type": ["array", "null"], "items": {"$ref": definition}})
}

/// A guest: all our keys, and the options of its kind.
fn guest(kind: GuestKind) -> Value {
    let mut schema = layer(&[kind]);
    let of_guest = own_map(Level::Guest, |_| None);
    if let (Some(into), Some(from)) = (schema["properties"].as_object_mut(), of_guest["properties"].as_object()) {
        let fits = |name: &str| name != "hostname" || kind == GuestKind::Lxc;
        into.extend(from.iter().filter(|(name, _)| fits(name)).map(|(name, key)| (name.clone(), key.clone())));
    }
    if kind == GuestKind::Qemu {
        schema["required"] = json!(["name"]);
    } else {
        schema["anyOf"] = json!([{"required": ["name"]}, {"required": ["hostname"]}]);
    }
    schema["type"] = json!("object");
    schema
}

/// What defaults, profiles and guests may say.
fn layer(kinds: &[GuestKind]) -> Value {
    let mut properties = Object::new();
    for kind in kinds {
        for (name, spec) in catalog(*kind).iter().filter(|(_, spec)| is_settable(&spec.facts)) {
            let reference = json!({"$ref": format!("#/definitions/{}", definition(*kind, name))});
            let names = match spec.index {
                Some([first, last]) => (first..=last).map(|index| format!("{}{index}", stem(name))).collect(),
                None => vec![name.to_owned()],
            };
            for name in names {
                let other = properties.remove(&name);
                let schema = match other {
                    Some(other) => json!({"anyOf": [other, reference]}),
                    None => reference.clone(),
                };
                properties.insert(name, schema);
            }
        }
    }
    let own = own_map(Level::Layer, |_| None);
    for (name, key) in own["properties"].as_object().into_iter().flatten() {
        let both =
            properties.get(name).map(|option| json!({"anyOf": [key, option], "description": key["description"]}));
        properties.insert(name.clone(), both.unwrap_or_else(|| key.clone()));
    }
    // `name` and `hostname` are a guest's own.
    properties.retain(|name, _| keys::find(Level::Guest, name).is_none_or(|spec| spec.level == Level::Layer));
    json!({"type": ["object", "null"], "additionalProperties": false, "properties": properties})
}

/// One of Proxmox's options.
fn option(kind: GuestKind, name: &str, spec: &OptionSpec) -> Value {
    let name = name.replace("[n]", "0");
    let mut forms = vec![json!({"type": "null"})];
    if let Some(format) = &spec.value.properties {
        // A map of sub-keys, or Proxmox's own text.
        let mut properties: Object =
            format.keys.iter().map(|(key, sub_key)| (key.clone(), self::sub_key(sub_key))).collect();
        if is_drive(kind, &name) {
            properties.extend(DRIVE_KEYS.iter().map(|(key, is)| ((*key).to_owned(), drive_key(key, is))));
        }
        forms.push(json!({"type": "object", "additionalProperties": false, "properties": properties}));
        forms.push(json!({"$ref": "#/definitions/text"}));
    } else if spec.facts.secret {
        forms.push(json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["env"],
            "properties": {
                "env": {"type": "string", "description": "The environment variable that holds the secret."},
                "version": {"type": "integer", "minimum": 0, "description": "Raised by hand when the secret changed."},
            },
        }));
        forms.push(json!({"type": "string"}));
    } else {
        forms.extend(plain(&spec.value));
        if joiner(kind, &name).is_some() {
            forms.push(json!({"type": "array", "items": {"$ref": "#/definitions/text"}}));
        }
        forms.push(json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["file"],
            "properties": {"file": {"type": "string", "description": "A file beside the manifest that holds the text."}},
        }));
    }
    described(json!({"anyOf": forms}), &spec.facts.is, &spec.value)
}

fn drive_key(key: &str, is: &str) -> Value {
    let mut schema = match key {
        "size" => json!({"allOf": [{"$ref": "#/definitions/size"}]}),
        "cloudinit" | "new" => json!({"anyOf": [{"enum": [true, false, 0, 1]}, {"$ref": "#/definitions/template"}]}),
        _ => json!({"type": "string"}),
    };
    schema["description"] = json!(is);
    schema
}

fn sub_key(sub_key: &SubKey) -> Value {
    if let Some(target) = &sub_key.alias {
        let schema = json!({"anyOf": [{"$ref": "#/definitions/text"}, {"type": "null"}]});
        return described(schema, &format!("Another name of `{target}`."), &ValueSpec::default());
    }
    let mut forms = vec![json!({"type": "null"})];
    forms.extend(plain(&sub_key.value));
    if sub_key.value.ty == ValueType::String {
        forms.push(json!({"type": "array", "items": {"$ref": "#/definitions/text"}}));
    }
    described(json!({"anyOf": forms}), &sub_key.facts.is, &sub_key.value)
}

fn described(mut schema: Value, is: &str, value: &ValueSpec) -> Value {
    let mut words: Vec<String> = Some(is.to_owned()).filter(|is| !is.is_empty()).into_iter().collect();
    words.extend(value.form.as_ref().map(|form| format!("Value: {form}.")));
    words.extend(value.range().filter(|_| value.form.is_none()).map(|range| format!("Allowed: {range}.")));
    words.extend(value.default.as_ref().filter(|default| !default.is_empty()).map(|text| format!("Default: {text}.")));
    if !words.is_empty() {
        schema["description"] = json!(words.join(" "));
    }
    schema
}

/// The ways to write a value without sub-keys.
fn plain(spec: &ValueSpec) -> Vec<Value> {
    let template = json!({"$ref": "#/definitions/template"});
    let mut number = Object::new();
    number.extend(spec.minimum.map(|least| ("minimum".to_owned(), whole(least))));
    number.extend(spec.maximum.map(|most| ("maximum".to_owned(), whole(most))));
    match spec.ty {
        ValueType::Boolean => vec![json!({"enum": [true, false, 0, 1]}), template],
        ValueType::Integer | ValueType::Number => {
            number.insert("type".to_owned(), json!(spec.ty.name()));
            let mut forms = vec![Value::Object(number), template];
            if spec.form.as_deref().is_some_and(|form| form.starts_with("MiB")) {
                forms.push(json!({"$ref": "#/definitions/size"}));
            }
            forms
        }
        ValueType::String => match &spec.choices {
            Some(choices) => {
                let mut all: Vec<Value> = choices.iter().map(|choice| json!(choice)).collect();
                // A choice that looks like a number is one to YAML.
                all.extend(choices.iter().filter_map(|choice| choice.parse::<i64>().ok()).map(|number| json!(number)));
                vec![json!({"enum": all}), template]
            }
            None => vec![json!({"$ref": "#/definitions/text"})],
        },
    }
}

/// A limit without a fraction that says nothing.
fn whole(limit: f64) -> Value {
    // Exact: limits are far below 2^53.
    if limit.fract() == 0.0 { json!(limit as i64) } else { json!(limit) }
}
