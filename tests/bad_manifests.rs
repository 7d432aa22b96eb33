//! Manifests that are refused, each with what is said about it in a file beside.
//!
//! A case is `NAME.yaml`, or a folder of files that are read together; its first line may give variables,
//! `# --var NAME=VALUE`. `UPDATE=1 cargo test --test bad_manifests` writes what is said now; read the difference before
//! keeping it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so where it stands")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pvefleet::clusters::{Registry, Variables, load};
use pvefleet::diagnostics::{CODES, Diagnostic};
use pvefleet::manifest::{self, Outside};
use pvefleet::report::findings::{self, Sources};
use pvefleet::{desired, manifest::Fleet};

fn registry() -> Registry {
    let text = include_str!("../.env.example.multi")
        .replace("dr-:disaster-recovery", "dr-:disaster-recovery,x-:staging,x-y-:production");
    load(&Variables::merge([], &[(".env".to_owned(), text)]), &|_| Err("unused".to_owned())).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests/bad")
}

/// The problems of a case and the texts that they point into.
fn problems(files: &[(String, String)]) -> (Vec<Diagnostic>, Sources) {
    let sources = RefCell::new(files.iter().map(|(name, text)| (name, text)).collect::<Sources>());
    let include = |name: &str| {
        let text = fs::read_to_string(root().join(name)).map_err(|_| "no such file".to_owned())?;
        sources.borrow_mut().add(name, &text);
        Ok(text)
    };
    let vars: Vec<(String, String)> = files[0]
        .1
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("# --var "))
        .and_then(|given| given.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .collect();
    let outside = Outside { vars: &vars, include: &include, ..Outside::default() };
    let (fleet, mut problems): (Option<Fleet>, _) = manifest::read_with(files, &outside);
    if let Some(fleet) = fleet {
        let (desired, more) = desired::resolve(&fleet, &registry());
        problems.extend(more);
        assert_eq!(desired.is_none(), problems.iter().any(Diagnostic::is_error));
    }
    (problems, sources.into_inner())
}

/// Every case: its name, and its files.
fn cases() -> Vec<(String, Vec<(String, String)>)> {
    let mut cases = Vec::new();
    for path in fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let is_yaml = |path: &Path| path.extension().is_some_and(|extension| extension == "yaml");
        if path.is_dir() {
            let mut files: Vec<(String, String)> = fs::read_dir(&path)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| is_yaml(path))
                .map(|path| {
                    (
                        format!("{name}/{}", path.file_name().unwrap().to_str().unwrap()),
                        fs::read_to_string(path).unwrap(),
                    )
                })
                .collect();
            files.sort();
            cases.push((name, files));
        } else if is_yaml(&path) {
            let text = fs::read_to_string(&path).unwrap();
            cases.push((name.trim_end_matches(".yaml").to_owned(), vec![(name, text)]));
        }
    }
    cases.sort();
    cases
}

#[test]
fn each_is_refused_in_the_words_beside_it() {
    let cases = cases();
    assert!(cases.len() >= 80, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for (name, files) in cases {
        let (problems, sources) = problems(&files);
        assert!(!problems.is_empty(), "{name} is accepted");
        let said = findings::text(&problems, &sources, false, 100) + &findings::summary(&problems) + "\n";
        assert!(!said.contains("hunter2"), "{name}: a secret is shown");
        let beside = root().join(format!("{name}.txt"));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&beside, said).unwrap();
        } else if fs::read_to_string(&beside).unwrap_or_default() != said {
            wrong.push(format!("── {name}\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "said otherwise than the files beside:\n\n{}", wrong.join("\n"));
}

#[test]
fn no_file_is_left_over() {
    let names: BTreeSet<String> = cases().into_iter().map(|(name, _)| name).collect();
    for path in fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path()) {
        if path.extension().is_some_and(|extension| extension == "txt") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            assert!(names.contains(&name), "{name}.txt has no case");
        }
    }
}

/// Codes of problems that no text of a manifest alone can have; the traps below have them.
const ELSEWHERE: [&str; 3] = ["encoding", "too-large", "unreadable"];

#[test]
fn every_code_is_in_the_table_and_has_a_case() {
    let call = r#"(?:Diagnostic::(?:error|warning|note)|\berror(?:_hint)?|\breport)\(\s*"([a-z]+(?:-[a-z]+)*)""#;
    let literal = regex::Regex::new(&format!(r#"{call}|Err\(\(\s*"([a-z-]+)""#)).unwrap();
    let mut used: BTreeSet<String> = BTreeSet::new();
    let mut of_manifests: BTreeSet<String> = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let shown = path.display().to_string().replace('\\', "/");
            // Files of worlds and faults for the simulator have words of their own.
            if shown.contains("/src/sim/") || shown.ends_with("/cli/yaml.rs") || shown.ends_with("/cli/sim.rs") {
                continue;
            }
            for found in literal.captures_iter(code) {
                let name = found.get(1).or_else(|| found.get(2)).unwrap().as_str().to_owned();
                if shown.contains("/src/manifest/") || shown.contains("/src/desired/") {
                    of_manifests.insert(name.clone());
                }
                used.insert(name);
            }
        }
    }
    let known: BTreeSet<String> = CODES.iter().map(|(code, _)| (*code).to_owned()).collect();
    assert!(CODES.windows(2).all(|pair| pair[0].0 < pair[1].0), "sort the table of codes");
    let missing: Vec<_> = used.difference(&known).collect();
    assert!(missing.is_empty(), "not in the table of codes: {missing:?}");
    assert!(of_manifests.len() > 35, "the codes are not found: {of_manifests:?}");

    let seen: BTreeSet<String> =
        cases().iter().flat_map(|(_, files)| problems(files).0).map(|problem| problem.code).collect();
    let untested: Vec<_> =
        of_manifests.iter().filter(|code| !seen.contains(*code) && !ELSEWHERE.contains(&code.as_str())).collect();
    assert!(untested.is_empty(), "codes without a bad manifest: {untested:?}");
}

/// What the program says of a file of bytes.
fn validate(bytes: &[u8]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("fleet.yaml"), bytes).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_pvefleet"))
        .args(["validate", "fleet.yaml"])
        .current_dir(folder.path())
        .env_clear()
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    (output.status.code().unwrap(), said)
}

#[test]
fn traps_of_files_and_of_yaml_have_one_clear_message() {
    let guest = |option: &str| format!("fleet: f\nvms:\n  - name: a\n    {option}\n").into_bytes();
    let one = "1 error";
    for (what, bytes, line) in [
        (
            "binary",
            vec![0x7f, b'E', b'L', b'F', 0, 0xff, 0xfe],
            "error[encoding]: this file is not UTF-8 text from line 1 on",
        ),
        ("invalid UTF-8", b"fleet: f\nvms:\n  - name: \xff\n".to_vec(), "--> fleet.yaml:3:11"),
        ("UTF-16", b"\xff\xfef\0l\0".to_vec(), "= help: save it as UTF-8"),
        ("NUL", b"fleet: \0f\n".to_vec(), "error[yaml]: a control character stands here"),
        ("50 MB", vec![b'#'; 50 << 20], "error[too-large]: this file is larger than 8 MiB; a manifest is not"),
        ("empty", Vec::new(), "error[no-fleet]: the manifest does not say which fleet it is"),
        ("comments alone", b"# nothing\n".to_vec(), "error[no-fleet]: the manifest does not say which fleet it is"),
        (
            "no map",
            b"just text\n".to_vec(),
            "error[wrong-type]: a manifest is a map, and this file holds a single value",
        ),
        ("a list", b"- a\n- b\n".to_vec(), "error[wrong-type]: a manifest is a map, and this file holds a list"),
        (
            "several documents",
            b"fleet: f\n---\nfleet: g\n".to_vec(),
            "error[several-documents]: a second document begins here",
        ),
        (
            "deep nesting",
            [b"fleet: f\nx: ".to_vec(), vec![b'['; 200_000]].concat(),
            "error[too-deep]: nested deeper than 64 levels",
        ),
        ("deep blocks", deep_blocks(), "error[too-deep]: nested deeper than 64 levels"),
        ("anchors without end", laughs(), "error[alias]: aliases expand to too much here"),
        ("an anchor in itself", guest("tags: &x [*x]"), "error[alias]: this alias stands inside its own anchor"),
        ("a tab", guest("\tcores: 2"), "error[yaml]: a tab "),
        (
            "no",
            guest("keyboard: no\n    cores: no"),
            "error[wrong-value]: `cores`: `no` is not a whole number; 1 or more is allowed",
        ),
        (
            "0100",
            guest("vmid: 0100"),
            "error[wrong-value]: `0100` is no guest id; they go from 100 to 999999999, without a leading zero",
        ),
        (
            "1.10",
            guest("cores: 1.10"),
            "error[wrong-value]: `cores`: `1.10` is not a whole number; 1 or more is allowed",
        ),
        (
            "12:30",
            guest("vcpus: 12:30"),
            "error[wrong-value]: `vcpus`: `12:30` is not a whole number; 1 or more is allowed",
        ),
        (
            "0x10",
            guest("cores: 0x10"),
            "error[wrong-value]: `cores`: `0x10` is not a whole number; 1 or more is allowed",
        ),
        (
            "1e3",
            guest("memory: 1e3"),
            "error[wrong-value]: `memory`: `1e3` is not a whole number; 16 or more is allowed",
        ),
    ] {
        let (code, said) = validate(&bytes);
        assert_eq!(code, 64, "{what}: {said}");
        let errors = said.matches("\nerror[").count() + usize::from(said.starts_with("error["));
        assert_eq!(errors, 1, "{what}: {said}");
        assert!(said.lines().any(|found| found.trim_start().starts_with(line)), "{what}: {said}");
        assert!(said.trim_end().ends_with(one) || said.contains("1 error,"), "{what}: {said}");
    }
}

fn deep_blocks() -> Vec<u8> {
    let mut text = "fleet: f\n".to_owned();
    for depth in 0..100 {
        text.push_str(&format!("{}a:\n", " ".repeat(depth)));
    }
    text.into_bytes()
}

fn laughs() -> Vec<u8> {
    let mut text = "fleet: f\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    text.into_bytes()
}

#[test]
fn what_is_no_mistake_is_accepted() {
    for (what, bytes) in [
        ("BOM", b"\xef\xbb\xbffleet: f\nvms: []\n".to_vec()),
        ("CRLF", b"fleet: f\r\nvms:\r\n  - name: a\r\n    description: |\r\n      two\r\n      lines\r\n".to_vec()),
        ("no last newline", b"fleet: f".to_vec()),
        ("no and 12:30 as text", b"fleet: f\nvms: [{name: a, keyboard: no, description: 12:30}]\n".to_vec()),
        ("1.10 as text", b"fleet: f\nvars: {v: 1.10}\nvms: [{name: a, description: \"{{ v }}\"}]\n".to_vec()),
    ] {
        let (code, said) = validate(&bytes);
        assert_eq!(code, 0, "{what}: {said}");
    }
}
