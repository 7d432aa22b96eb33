//! `validate`, `show` and `init` as a person runs them, without any cluster.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so where it stands")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// A folder to run in.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = folder.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Exit code, standard output, standard error.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        self.run_in("", arguments)
    }

    fn run_in(&self, folder: &str, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_pvefleet"))
            .args(arguments)
            .current_dir(self.0.path().join(folder))
            .env_clear()
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

const FLEET: &str = "fleet: f\nvars: {domain: example.net}\ninclude: [../base.yaml]\nvms:\n  - name: web-{{ n }}\n    \
                     each: {n: 1..2}\n    profiles: [web]\n    description: \"{{ domain }}\"\n";
const BASE: &str = "vars: {cores: 2}\nprofiles:\n  web: {cores: \"{{ cores }}\", net0: {model: virtio}}\n";

#[test]
fn a_fleet_in_folders_is_shown_resolved() {
    let folder = Folder::new(&[("base.yaml", BASE), ("prod/fleet.yaml", FLEET)]);
    let (code, out, err) = folder.run(&["show", "prod", "web-2", "--var", "domain=example.org", "--var", "cores=8"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("- name: web-2") && !out.contains("web-1"), "{out}");
    assert!(out.contains("cores: 8") && out.contains("description: example.org"), "{out}");

    let (code, out, _) = folder.run(&["show", "prod/fleet.yaml", "--origin", "-o", "json"]);
    assert_eq!(code, 0);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["vms"].as_array().unwrap().len(), 2);
    let place = &document["origins"]["default"]["web-1"]["cores"]["place"];
    assert_eq!((place["file"].as_str(), place["line"].as_u64()), (Some("base.yaml"), Some(3)));

    let (code, _, err) = folder.run(&["show", "prod", "wbe-1"]);
    assert_eq!(code, 64);
    assert!(err.contains("no guest `wbe-1`; did you mean `web-1`?"), "{err}");
    let (code, _, err) = folder.run(&["validate", "prod", "--var", "domian=x"]);
    assert_eq!(code, 64);
    assert!(err.contains("--var domian") && err.contains("did you mean `domain`?"), "{err}");
    let (code, _, err) = folder.run(&["validate", "prod", "--var", "domain"]);
    assert_eq!(code, 64);
    assert!(err.contains("NAME=VALUE"), "{err}");
}

#[test]
fn problems_are_written_for_people_and_for_programs() {
    let folder = Folder::new(&[
        ("fleet.yaml", "fleet: f\nvms:\n  - name: a\n    cores: 0\n    onboot: yes\n"),
        ("more.yaml", "vms:\n  - name: a\n    memroy: 1GiB\n"),
    ]);
    let all = ["-o", "text=a.txt", "-o", "json=a.json", "-o", "github=a.github", "-o", "sarif=a.sarif"];
    let (code, out, err) = folder.run(&[&["validate", "."], &all[..]].concat());
    assert_eq!((code, out.as_str(), err.as_str()), (64, "", ""));
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let text = read("a.txt");
    for expected in
        ["`cores`: 0 is too small", "no option `memroy`", "stands twice", "usual spelling of `yes` is `true`"]
    {
        assert!(text.contains(expected), "{text}");
    }
    let json: Value = serde_json::from_str(&read("a.json")).unwrap();
    let problems = json["problems"].as_array().unwrap();
    let annotations = read("a.github");
    assert_eq!(annotations.lines().count(), problems.len());
    let line = annotations.lines().find(|line| line.contains("memroy")).unwrap();
    assert!(line.starts_with("::error file=./more.yaml,line=3,col=5,endColumn=11,title=unknown-option::"), "{line}");
    let sarif: Value = serde_json::from_str(&read("a.sarif")).unwrap();
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), problems.len());

    let good = Folder::new(&[("fleet.yaml", "fleet: f\nvms: [{name: a, onboot: yes}]\n")]);
    let (code, out, _) = good.run(&["validate", "fleet.yaml", "-o", "github"]);
    assert_eq!(code, 0);
    assert!(out.contains("::notice ") && out.contains("::warning "), "{out}");
    let (code, _, err) = good.run(&["validate", "fleet.yaml", "-o", "yaml"]);
    assert_eq!(code, 64);
    assert!(err.contains("text, json, github and sarif are"), "{err}");
}

#[test]
fn a_missing_secret_is_a_warning() {
    let guests = "fleet: f\nvms:\n  - {name: a, cipassword: {env: WEB}}\n  - {name: b, cipassword: {env: WEB}}\n";
    let folder = Folder::new(&[("fleet.yaml", guests), ("with.env", "WEB=hunter2\n")]);
    let (code, out, _) = folder.run(&["validate", "fleet.yaml"]);
    assert_eq!(code, 0, "{out}");
    assert_eq!(out.matches("warning[missing-secret]: the variable WEB is not set here").count(), 1, "{out}");
    let (code, out, _) = folder.run(&["validate", "fleet.yaml", "--env-file", "with.env"]);
    assert_eq!(code, 0, "{out}");
    assert!(!out.contains("missing-secret") && !out.contains("hunter2"), "{out}");
}

#[test]
fn every_file_that_cannot_be_read_is_told_with_the_rest() {
    let folder = Folder::new(&[("b.yaml", "fleet: f\nvms:\n  - name: a\n    cores: 0\n    profiles: [gone]\n")]);
    fs::write(folder.path().join("a.yaml"), b"vms: \xff\n").unwrap();
    let (code, _, err) = folder.run(&["validate", "."]);
    assert_eq!(code, 64);
    assert!(err.contains("error[encoding]") && err.contains("./a.yaml:1:6"), "{err}");
    assert!(err.contains("`cores`: 0 is too small"), "{err}");
    // The profile may stand in the file that cannot be read.
    assert!(!err.contains("gone`") && err.contains("2 errors"), "{err}");
}

#[test]
fn what_init_writes_is_valid_and_nothing_is_overwritten() {
    let folder = Folder::new(&[]);
    let arguments = ["init", "Home Lab", "--cluster", "production", "--cluster", "disaster-recovery"];
    let (code, out, err) = folder.run(&arguments);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    assert!(err.contains("pvefleet clusters check"), "{err}");
    let manifest = fs::read_to_string(folder.path().join("Home Lab/fleet.yaml")).unwrap();
    assert!(manifest.contains("fleet: home-lab "), "{manifest}");
    let (code, out, err) = folder.run_in("Home Lab", &["validate", "."]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert_eq!(out, "Fleet home-lab: 0 guests (disaster-recovery 0, production 0). No errors.\n");
    let (code, out, err) = folder.run_in("Home Lab", &["clusters", "list"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("production") && out.contains("disaster-recovery"), "{out}");

    // The guests in its comments are good ones.
    let live =
        manifest.replace("    vms: []\n    #", "    vms:\n    #").replace("    containers: []\n", "    containers:\n");
    let live: String = live.lines().map(|line| line.replacen("    #  ", "      ", 1) + "\n").collect();
    fs::write(folder.path().join("Home Lab/fleet.yaml"), &live).unwrap();
    let (code, out, err) = folder.run_in("Home Lab", &["validate", "."]);
    assert_eq!(code, 0, "{live}\n{err}");
    assert!(out.contains("4 guests") && out.contains("No errors"), "{out}");

    for left in ["fleet.yaml", ".env"] {
        let (code, _, err) = folder.run(&arguments);
        assert_eq!(code, 64);
        assert!(err.contains("exists already"), "{err}");
        fs::remove_file(folder.path().join("Home Lab").join(left)).unwrap();
    }
    for wrong in
        [&["init", "x", "--cluster", "a b"][..], &["init", "x", "--cluster", "a-b", "--cluster", "A_B"], &["init", "x"]]
    {
        assert_eq!(folder.run(wrong).0, 64, "{wrong:?}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let (code, _, err) = folder.run(&arguments);
        assert_eq!(code, 0, "{err}");
        let mode = fs::metadata(folder.path().join("Home Lab/.env")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
