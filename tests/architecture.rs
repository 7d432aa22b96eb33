//! The rooms of the house: which module may use which, and which may touch the world.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What every module may use.
const COMMON: [&str; 3] = ["diagnostics", "secret", "pve"];

/// What each module may use beyond [`COMMON`].
const MAY_USE: &[(&str, &[&str])] = &[
    ("diagnostics", &[]),
    ("secret", &[]),
    ("pve", &[]),
    ("clusters", &["desired"]),
    ("manifest", &["clusters"]),
    ("desired", &["manifest", "clusters"]),
    ("live", &["desired"]),
    ("client", &["clusters"]),
    ("gather", &["client", "live"]),
    ("plan", &["desired", "live", "clusters"]),
    ("apply", &["plan", "live", "gather", "client", "desired", "clusters"]),
    ("report", &["plan", "apply", "live", "desired", "manifest"]),
    ("sim", &[]),
    ("ops", &["clusters", "manifest", "desired", "live", "client", "gather", "plan", "apply", "report"]),
    ("cli", &["clusters", "manifest", "desired", "live", "client", "gather", "plan", "apply", "report", "ops", "sim"]),
];

/// Modules that perform no input or output, read no clock and roll no dice; the last two name files.
const PURE: [&str; 7] = ["pve", "clusters", "manifest", "desired", "live", "plan", "report"];

/// The simulator's faces, which are not its state machine.
const FACES: [&str; 2] = ["sim/server.rs", "sim/transport.rs"];

/// What a pure module may not name.
const WORLD: [&str; 8] = [
    "tokio",
    "reqwest",
    "std::env",
    "std::fs",
    "std::net",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::process",
];

fn sources() -> BTreeMap<String, String> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<String, String>) {
        let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                walk(&path, root, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeMap::new();
    walk(&root, &root, &mut found);
    found
}

fn module(file: &str) -> &str {
    file.split_once('/').map_or_else(|| file.trim_end_matches(".rs"), |(module, _)| module)
}

/// The code without its tests and comments, which may use what they like.
fn code(text: &str) -> String {
    let tests = text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..tests].lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn modules_use_only_what_they_may() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let module = module(&file);
        if matches!(module, "lib" | "main")
            || file.contains("tests")
            || file.ends_with("testing.rs")
            || file.ends_with("fake.rs")
        {
            continue;
        }
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            panic!("{file}: module {module} is not in the table");
        };
        for (line, words) in code(&text).lines().enumerate() {
            for used in words.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                let known = MAY_USE.iter().any(|(name, _)| *name == used);
                if known && used != module && !COMMON.contains(&used.as_str()) && !allowed.contains(&used.as_str()) {
                    wrong.push(format!("{file}:{}: {module} uses {used}", line + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_modules_do_not_touch_the_world() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let is_machine = module(&file) == "sim" && !FACES.contains(&file.as_str());
        if !PURE.contains(&module(&file)) && !is_machine {
            continue;
        }
        for (line, words) in code(&text).lines().enumerate() {
            for name in WORLD {
                let named = words.match_indices(name).any(|(at, _)| {
                    let before = words[..at].chars().next_back();
                    before.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_' && c != '"' && c != '`')
                });
                if named {
                    wrong.push(format!("{file}:{}: {name}", line + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_simulator_does_not_share_the_planners_reading_of_proxmox() {
    for (file, text) in sources() {
        if module(&file) == "sim" {
            for closed in ["pve::compare", "pve::effect", "pve::facts", ".facts."] {
                assert!(!code(&text).contains(closed), "{file} uses {closed}");
            }
        }
    }
}

#[test]
fn files_stay_readable() {
    let long: Vec<String> = sources()
        .iter()
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|(_, lines)| *lines > 700)
        .map(|(file, lines)| format!("{file}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "split these: {}", long.join(", "));
}
