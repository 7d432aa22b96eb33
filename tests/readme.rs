//! Every manifest in the README is a good one.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so where it stands")]

use pvefleet::clusters::{Variables, load};
use pvefleet::manifest::{self, Outside};
use pvefleet::{desired, report::json_schema};

/// The blocks of YAML with what stands behind the word `yaml`.
fn blocks(text: &str) -> Vec<(&str, &str)> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("```yaml") {
        let (kind, body) = rest[start + "```yaml".len()..].split_once('\n').unwrap();
        let (block, after) = body.split_once("```").unwrap();
        blocks.push((kind.trim(), block));
        rest = after;
    }
    blocks
}

#[test]
fn its_manifests_resolve_without_a_word() {
    let env = include_str!("../.env.example.multi").to_owned();
    let registry = load(&Variables::merge([], &[(".env".to_owned(), env)]), &|_| Err("unused".to_owned())).unwrap();
    let schema = jsonschema::validator_for(&json_schema::document()).unwrap();
    let blocks = blocks(include_str!("../README.md"));
    assert!(blocks.len() >= 4);
    let include = |_: &str| Ok("profiles: {shared: {cores: 2}}\n".to_owned());
    let mut guests = 0;
    for (kind, block) in blocks {
        let text = match kind {
            "" => block.to_owned(),
            // A part of a guest.
            "guest" => {
                let name = if block.contains("each:") { "prod-{{ host.name }}" } else { "prod-a" };
                let lines: String = block.lines().map(|line| format!("    {line}\n")).collect();
                format!("fleet: f\nvms:\n  - name: \"{name}\"\n    clone: {{from: debian-12}}\n{lines}")
            }
            other => panic!("```yaml {other}"),
        };
        let files = [("README.md".to_owned(), text.clone())];
        let (fleet, problems) = manifest::read_with(&files, &Outside { include: &include, ..Outside::default() });
        assert!(problems.is_empty(), "{text}\n{problems:#?}");
        let (desired, problems) = desired::resolve(&fleet.unwrap(), &registry);
        assert!(problems.is_empty(), "{text}\n{problems:#?}");
        guests += desired.unwrap().clusters.values().map(|cluster| cluster.guests.len()).sum::<usize>();
        let value: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        let errors: Vec<String> = schema.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{text}\n{errors:#?}");
    }
    assert_eq!(guests, 9);
}
