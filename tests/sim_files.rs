//! The files of `pvefleet sim`: worlds, faults, state, and how others learn where it listens. With the real program.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;

use reqwest::{Client, Method};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

#[expect(dead_code, reason = "the program's own parts are not used here")]
#[path = "../examples/document_schemas.rs"]
mod document_schemas;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pvefleet");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn told(output: &Output) -> (i32, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

fn sim(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("sim").args(arguments).current_dir(folder);
    command
}

/// A simulator that runs, and what it said when it was ready.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    clusters: Vec<Value>,
    runtime: Runtime,
}

impl Running {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child =
            sim(folder, arguments).arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            let mut text = String::new();
            child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
            panic!("{line}{text}")
        });
        assert_eq!(ready["ready"], true);
        Self { child, out, clusters: ready["clusters"].as_array().unwrap().clone(), runtime: Runtime::new().unwrap() }
    }

    fn call(&self, cluster: usize, method: Method, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
        let cluster = &self.clusters[cluster];
        let text = |name: &str| cluster[name].as_str().unwrap().to_owned();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(text("ca_pem").as_bytes()).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Client::builder().tls_backend_preconfigured(config).build().unwrap();
        let token = format!("PVEAPIToken={}={}", text("token_id"), text("token_secret"));
        let request = client.request(method, format!("{}/api2/json{path}", text("url"))).header("Authorization", token);
        let request = if form.is_empty() { request } else { request.form(form) };
        self.runtime.block_on(async {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.json().await.unwrap_or(Value::Null))
        })
    }

    fn data(&self, path: &str) -> Value {
        let (status, body) = self.call(0, Method::GET, path, &[]);
        assert_eq!(status, 200, "{path} {body}");
        body["data"].clone()
    }

    /// Ends it as a service manager would; what it still said.
    fn stop(mut self) -> String {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let status = self.child.wait().unwrap();
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        assert_eq!(status.code(), Some(0), "{rest}");
        rest
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that was stopped is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn examples(wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(root().join("examples/sim"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .filter(|path| wanted(path.file_name().unwrap().to_str().unwrap()))
        .collect();
    found.sort();
    found
}

#[test]
fn the_published_schemas_are_current_and_the_examples_fit_them() {
    for (path, text) in document_schemas::generate().unwrap() {
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == text, "{}: run `cargo run --example document_schemas`", path.display());
    }
    let schema = |name: &str| -> jsonschema::Validator {
        let text = fs::read_to_string(root().join("schemas").join(name)).unwrap();
        jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
    };
    let (world, faults) = (schema("sim-world.schema.json"), schema("sim-faults.schema.json"));
    let printed = Command::new(PROGRAM).args(["sim", "--print-world"]).output().unwrap();
    let mut files: Vec<(String, String)> = vec![("the printed world".to_owned(), told(&printed).1)];
    files.extend(examples(|_| true).iter().map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap())));
    assert!(files.len() >= 4);
    for (name, text) in files {
        let value: Value = serde_yaml::from_str(&text).unwrap();
        let validator = if value.get("faults").is_some() { &faults } else { &world };
        let problems: Vec<String> =
            validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(problems.is_empty(), "{name}: {problems:#?}");
    }
    let wrong = json!({ "clusters": [{ "name": "a", "node": [] }] });
    assert!(!world.is_valid(&wrong) && !faults.is_valid(&json!({ "faults": [{ "kind": "refuze" }] })));
}

#[test]
fn problems_of_a_world_are_shown_where_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    let world = "clusters:
  - name: a
    version: '7.4'
    nodes: [{ name: a1 }, { name: a1 }]
    storages:
      - { name: data, type: zfs, content: [image] }
      - { name: fast, type: lvmthin, content: [images], nodes: [a2] }
    guests:
      - { kind: qemu, vmid: 100, node: a1, config: { memroy: 512, scsi0: 'dta:vm-100-disk-0,size=1G' } }
      - { kind: lxc, vmid: 100, node: b1, pool: web, config: { cores: many, onboot: yes } }
    volumes: [{ volid: nowhere, node: a1, size: 1 }]
    ha: { 'vm:999': {} }
    time_scale: -1
";
    fs::write(folder.path().join("w.yaml"), world).unwrap();
    let (code, text) = told(&sim(folder.path(), &["--world", "w.yaml"]).output().unwrap());
    assert_eq!(code, 64, "{text}");
    for words in [
        "w.yaml:3:14",
        "there are two nodes `a1`",
        "there is no type of storage `zfs`",
        "did you mean `nfs`?",
        "did you mean `images`?",
        "there is no node `a2`",
        "a VM has no option `memroy`",
        "did you mean `memory`?",
        "there is no storage `dta`",
        "did you mean `data`?",
        "two guests have the id 100",
        "there is no node `b1`",
        "there is no pool `web`",
        "`nowhere` is no volume",
        "`vm:999` is no guest",
        "from 0 to 1000000",
    ] {
        assert!(text.contains(words), "{words} is missing in\n{text}");
    }
    fs::write(folder.path().join("w.yaml"), "clusters:\n  - name: a\n    nods: []\n").unwrap();
    let (code, text) = told(&sim(folder.path(), &["--world", "w.yaml"]).output().unwrap());
    assert!(code == 64 && text.contains("w.yaml:3:5") && text.contains("did you mean `nodes`?"), "{text}");
    fs::write(folder.path().join("f.yaml"), "faults:\n  - { kind: { node_offline: { node: stg2 } } }\n").unwrap();
    let (code, text) = told(&sim(folder.path(), &["--clusters", "staging", "--faults", "f.yaml"]).output().unwrap());
    assert!(code == 64 && text.contains("f.yaml:2:") && text.contains("did you mean `stg1`?"), "{text}");
}

#[test]
fn example_worlds_with_example_faults_are_served() {
    for path in examples(|name| name != "faults.yaml") {
        let folder = tempfile::tempdir().unwrap();
        let faults = root().join("examples/sim/faults.yaml");
        let path = path.display().to_string();
        let mut arguments = vec!["--world", path.as_str()];
        let faults = faults.display().to_string();
        if path.ends_with("two-sites.yaml") {
            arguments.extend(["--faults", faults.as_str()]);
        }
        let running = Running::start(folder.path(), &arguments);
        let (status, body) = running.call(0, Method::GET, "/nodes", &[]);
        assert_eq!(status, 200, "{path} {body}");
        if let Some(south) = running.clusters.get(1) {
            assert_eq!(south["name"], "south");
            assert_eq!(running.call(1, Method::GET, "/cluster/resources", &[]).0, 200);
            let config = running.data("/nodes/north1/qemu/100/config");
            assert_eq!((&config["onboot"], &config["cores"]), (&json!(1), &json!(2)));
        }
        running.stop();
    }
}

#[test]
fn what_clusters_hold_is_kept_until_the_next_time() {
    let folder = tempfile::tempdir().unwrap();
    let first = ["--clusters", "staging", "--state", "kept", "--time-scale", "20"];
    let running = Running::start(folder.path(), &first);
    let (status, _) =
        running.call(0, Method::PUT, "/nodes/stg1/qemu/110/config", &[("cores", "3"), ("net1", "virtio,bridge=vmbr0")]);
    assert_eq!(status, 200);
    let before = running.data("/nodes/stg1/qemu/110/config");
    // A task that takes sixteen seconds is under way when the simulator ends.
    let (_, body) = running.call(0, Method::POST, "/nodes/stg1/qemu/110/clone", &[("newid", "111"), ("full", "1")]);
    let task = format!("/nodes/stg1/tasks/{}/status", body["data"].as_str().unwrap());
    running.stop();
    let text = fs::read_to_string(folder.path().join("kept")).unwrap();

    let running = Running::start(folder.path(), &["--state", "kept", "--latency", "1"]);
    assert_eq!(running.data("/nodes/stg1/qemu/110/config"), before);
    assert_eq!(running.data(&task)["status"], "running", "time stands still while nobody serves it");
    running.stop();

    // Another world, something damaged, something else: refused, and left as it is.
    for (arguments, content, words) in [
        (vec!["--clusters", "production", "--state", "kept"], text.clone(), "began as another world"),
        (vec!["--state", "kept"], text.replacen("stg1", "stg2", 1), "damaged"),
        (vec!["--state", "kept"], text[..text.len() - 100].to_owned(), "damaged"),
        (vec!["--state", "kept"], "PROXMOX_API_URL=x\n".to_owned(), "no state of simulated clusters"),
        (vec!["--state", "kept"], String::new(), "no state of simulated clusters"),
    ] {
        fs::write(folder.path().join("kept"), &content).unwrap();
        let (code, said) = told(&sim(folder.path(), &arguments).output().unwrap());
        assert!(code == 64 && said.contains(words), "{arguments:?}: {said}");
        assert_eq!(fs::read_to_string(folder.path().join("kept")).unwrap(), content);
    }
}

#[test]
fn settings_the_ready_file_and_the_access_log_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--clusters", "staging", "--env-out", ".env", "--ready-file", "ready.json", "--access-log", "log"];
    let running = Running::start(folder.path(), &arguments);
    let ready: Value = serde_json::from_str(&fs::read_to_string(folder.path().join("ready.json")).unwrap()).unwrap();
    assert_eq!(ready["clusters"], json!(running.clusters));
    assert!(fs::read_to_string(folder.path().join(".env")).unwrap().contains("PROXMOX_CLUSTERS=staging"));
    assert_eq!(running.data("/version")["release"], "9.1");
    assert_eq!(running.call(0, Method::GET, "/cluster/ceph/status", &[]).0, 501);
    running.stop();
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    let lines: Vec<Vec<&str>> = log.lines().map(|line| line.split_whitespace().skip(1).collect()).collect();
    assert_eq!(lines[0], ["staging", "stg1", "200", "GET", "/version"]);
    assert_eq!(lines[1][2..], ["501", "GET", "/cluster/ceph/status", "not", "implemented", "here"]);
    let running = Running::start(folder.path(), &["--clusters", "staging", "--access-log"]);
    running.data("/version");
    assert!(running.stop().contains("GET /version"));
}

/// Every block of commands of the simulator's description, in a folder of its own.
#[test]
fn the_commands_of_the_description_work() {
    let text = fs::read_to_string(root().join("examples/sim/README.md")).unwrap();
    let mut blocks: BTreeMap<usize, (&str, String)> = BTreeMap::new();
    let mut open: Option<(usize, &str)> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), open) {
            (Some(_), Some(_)) => open = None,
            (Some(language), None) => open = Some((number, language)),
            (None, Some((begin, language))) => {
                let block = blocks.entry(begin).or_insert((language, String::new()));
                block.1.push_str(line);
                block.1.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(blocks.len() >= 6);
    let mut path = std::ffi::OsString::from(Path::new(PROGRAM).parent().unwrap());
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    for (line, (language, block)) in blocks {
        let folder: TempDir = tempfile::tempdir().unwrap();
        let mut command = match language {
            "sh" => Command::new("bash"),
            "python" => Command::new("python3"),
            other => panic!("line {line}: nobody tries a block of {other}"),
        };
        if language == "sh" {
            command.arg("-em");
        }
        let output = command.arg("-c").arg(&block).env("PATH", &path).current_dir(folder.path()).output();
        let output = match output {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                println!("line {line}: skipped, there is no {language} here");
                continue;
            }
            other => other.unwrap(),
        };
        assert!(output.status.success(), "line {line}: {}", told(&output).1);
        if language == "python" {
            assert_eq!(told(&output).1.trim(), "9.1");
        }
    }
}
