//! The schema for editors: current, complete, and right about every manifest that is shown to people.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so where it stands")]

use std::fs;
use std::path::{Path, PathBuf};

use pvefleet::manifest::keys::{KEYS, Level};
use pvefleet::pve::schema::catalog;
use pvefleet::pve::value::GuestKind;
use pvefleet::report::{explain, json_schema};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn problems(validator: &jsonschema::Validator, text: &str) -> Vec<String> {
    let value: Value = serde_yaml::from_str(text).unwrap();
    validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn the_committed_schema_is_current() {
    let text = fs::read_to_string(root().join("schemas/fleet.schema.json")).unwrap_or_default();
    let committed: Value = serde_json::from_str(&text).unwrap_or_default();
    assert!(committed == json_schema::document(), "run `cargo run --example fleet_schema`");
}

#[test]
fn every_option_and_key_is_there_with_a_line_on_it() {
    let schema = json_schema::document();
    assert!(jsonschema::draft7::meta::is_valid(&schema));
    for (kind, word) in [(GuestKind::Qemu, "vm"), (GuestKind::Lxc, "container")] {
        let properties = schema["definitions"][word]["properties"].as_object().unwrap();
        for (name, spec) in catalog(kind).iter() {
            let first = name.replace("[n]", &spec.index.map_or(String::new(), |[first, _]| first.to_string()));
            let own = KEYS.iter().any(|key| key.name == first && matches!(key.level, Level::Guest | Level::Layer));
            assert_eq!(properties.contains_key(&first), own || explain::is_settable(&spec.facts), "{word} {name}");
            let definition = &schema["definitions"][format!("{word}.{}", name.replace("[n]", "N"))];
            if explain::is_settable(&spec.facts) && !own {
                let is = &spec.facts.is;
                assert!(!is.is_empty() && definition["description"].as_str().unwrap().starts_with(is), "{word} {name}");
            }
        }
        for key in explain::own_keys(kind) {
            assert!(properties[key.name]["description"].is_string(), "{}", key.name);
        }
    }
    let mut undescribed = Vec::new();
    walk(&schema, "", &mut undescribed);
    assert!(undescribed.is_empty(), "{undescribed:?}");
}

/// Every property has a description, its own or that of what it refers to.
fn walk(schema: &Value, path: &str, undescribed: &mut Vec<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let refers = property.get("$ref").is_some() || property.to_string().contains("$ref");
        if property["description"].as_str().is_none() && !refers {
            undescribed.push(format!("{path}/{name}"));
        }
    }
    match schema {
        Value::Object(entries) => {
            entries.iter().for_each(|(key, inner)| walk(inner, &format!("{path}/{key}"), undescribed))
        }
        Value::Array(items) => items.iter().for_each(|inner| walk(inner, path, undescribed)),
        _ => {}
    }
}

#[test]
fn every_example_is_valid() {
    let validator = jsonschema::validator_for(&json_schema::document()).unwrap();
    let mut seen = 0;
    let mut folders: Vec<PathBuf> = vec![root().join("examples")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            // The simulator's worlds and faults have schemas of their own.
            if path.is_dir() && path.file_name().is_some_and(|name| name == "sim") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                let found = problems(&validator, &fs::read_to_string(&path).unwrap());
                assert!(found.is_empty(), "{}: {found:#?}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen >= 4);
}

#[test]
fn mistakes_are_seen_by_editors_too() {
    let validator = jsonschema::validator_for(&json_schema::document()).unwrap();
    for text in [
        "flet: x",
        "fleet: x\nvms: {name: a}",
        "fleet: x\nvms: [{cores: 1}]",
        "fleet: x\nvms: [{name: a, memroy: 1}]",
        "fleet: x\nvms: [{name: a, cores: many}]",
        "fleet: x\nvms: [{name: a, cores: 0}]",
        "fleet: x\nvms: [{name: a, bios: omvf}]",
        "fleet: x\nvms: [{name: a, onboot: perhaps}]",
        "fleet: x\nvms: [{name: a, net0: {tag: 5000}}]",
        "fleet: x\nvms: [{name: a, net99: {tag: 5}}]",
        "fleet: x\nvms: [{name: a, state: on}]",
        "fleet: x\nvms: [{name: a, hostname: a}]",
        "fleet: x\nvms: [{name: a, each: {n: 1..3, m: 1..3}}]",
        "fleet: x\nvms: [{name: a, start: true}]",
        "fleet: x\nprofiles: {p: {vmid: 100}}",
        "fleet: x\nguards: {max_deletes: -1}",
        "fleet: x\nclusters: {a: {vm: []}}",
    ] {
        assert!(!problems(&validator, text).is_empty(), "{text}");
    }
    for text in [
        "fleet: x\nvms: [{name: \"a-{{ n }}\", each: {n: 1..3}, cores: \"{{ n }}\", vmid: \"{{ 100 + n }}\"}]",
        "fleet: x\nvms: [{name: a, net0: null, memory: 4GiB, balloon: 1GiB, tags: [a, b], cipassword: {env: A}}]",
        "fleet: x\ncontainers: [{hostname: a, memory: 512, rootfs: {storage: a, size: 8GiB}, features: {nesting: true}}]",
    ] {
        let found = problems(&validator, text);
        assert!(found.is_empty(), "{text}: {found:#?}");
    }
}
