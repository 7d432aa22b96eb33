//! The commands that look at clusters, against simulated ones over HTTPS.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/stage.rs"]
mod stage;

use std::process::Command;

use pvefleet::sim::server::{Options, Server};
use pvefleet::sim::transport::lock;
use pvefleet::sim::{Cluster, Fault, FaultKind, world};
use serde_json::Value;
use stage::Stage;
use tokio::runtime::Runtime;

const MANIFEST: &str = "fleet: t
clusters:
  production:
    containers: [{name: prod-a, vmid: 1100, ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst, rootfs: {storage: local-lvm, size: 1GiB}}]
";

#[test]
fn guests_of_all_clusters_are_listed_and_shown() {
    let stage = Stage::new(MANIFEST);
    let (code, out, err) = stage.run("guests list");
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("Cannot connect to cluster 'gone'"), "{err}");
    let head = out.lines().next().unwrap();
    assert!(head.starts_with("CLUSTER") && head.contains("STATUS"), "{out}");
    assert!(out.lines().any(|line| line.starts_with("production") && line.contains(" 9001 ")), "{out}");
    assert!(out.lines().any(|line| line.starts_with("staging") && line.contains("template")), "{out}");
    let (code, out, _) = stage.run("guests list --cluster staging -o json");
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 0);
    let guests = document["clusters"]["staging"]["guests"].as_array().unwrap();
    assert!(guests.iter().any(|guest| guest["vmid"] == 9000 && guest["template"] == true), "{out}");
    assert_eq!(document["clusters"].as_object().unwrap().len(), 1);

    let (code, out, err) = stage.run("guests show staging/9000");
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("staging/debian-12  VM 9000 on stg1") && out.contains("scsi0"), "{out}");
    let (code, out, _) = stage.run("guests show staging/debian-12 -o json");
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &document["guest"]["vmid"], &document["cluster"]), (0, &9000.into(), &"staging".into()));
    assert!(document["digest"].is_string() && document["config"]["scsi0"].is_string());
    // Without a cluster every one must answer, and one does not.
    let (code, _, err) = stage.run("guests show 9000");
    assert_eq!(code, 1, "{err}");
    let (code, _, err) = stage.run("guests show staging/4711");
    assert!(code == 1 && err.contains("there is no guest 4711"), "{err}");
    let (code, _, err) = stage.run("guests show nowhere/1");
    assert!(code == 64 && err.contains("Cluster not found: nowhere"), "{err}");
}

#[test]
fn tasks_are_listed_and_their_logs_read() {
    let stage = Stage::new(MANIFEST);
    let (code, out, err) = stage.run("tasks list --cluster production");
    assert_eq!((code, out.as_str()), (0, "No tasks that can be seen.\n"), "{err}");
    let (code, _, err) = stage.run("apply fleet.yaml --auto-approve");
    assert_eq!(code, 0, "{err}");
    let (code, out, _) = stage.run("tasks list --cluster production --cluster staging -o json");
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 0);
    let task = &document["clusters"]["production"]["tasks"][0];
    assert_eq!(task["status"], "OK", "{out}");
    let (_, out, _) = stage.run("tasks list --cluster production");
    assert!(out.contains("vzcreate") && out.contains("done"), "{out}");
    let (_, out, _) = stage.run("tasks list --running --cluster production");
    assert_eq!(out, "No tasks that can be seen.\n");
    let upid = task["upid"].as_str().unwrap();
    for cluster in ["", " --cluster production"] {
        let (code, out, err) = stage.run(&format!("tasks log {upid}{cluster}"));
        assert!(code == 0 && out.contains("TASK OK"), "{out}{err}");
    }
    let (code, _, err) = stage.run("tasks log UPID:nonsense");
    assert!(code == 64 && err.contains("no task id"), "{err}");
}

#[test]
fn a_check_tells_all_that_matters() {
    let stage = Stage::new(MANIFEST);
    let (code, out, err) = stage.run("clusters check --for fleet.yaml");
    assert_eq!(code, 1, "{err}");
    for words in
        ["production  ", "certificate trusted", "as          token ", "Proxmox VE ", "quorate", "gone  offline"]
    {
        assert!(out.contains(words), "{words} is missing in\n{out}");
    }
    assert!(out.contains("privileges  all that the manifest needs are held"), "{out}");
    let (_, out, _) = stage.run("clusters check --cluster production --for fleet.yaml -o json");
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document[0]["cluster"], "production");
    assert_eq!(
        (&document[0]["lacking"], &document[0]["endpoints"][0]["certificate"]),
        (&Value::Array(vec![]), &"trusted".into())
    );
    assert!(document[0]["clock_ahead"].is_i64(), "{out}");
}

#[test]
fn the_line_that_trust_shows_is_the_one_that_trusts() {
    let stage = Stage::new(MANIFEST);
    let (code, out, err) = stage.run("clusters trust production");
    assert_eq!(code, 0, "{err}");
    let line = out.lines().find(|line| line.contains("FINGERPRINT=")).unwrap().trim();
    assert!(line.starts_with("PROXMOX_CLUSTER_production_FINGERPRINT="), "{out}");
    let with = |line: &str| {
        let (before, after) = stage.env.split_once("PROXMOX_CLUSTER_production_CA_FILE=").unwrap();
        stage.write(".env", &format!("{before}{line}\n{}", after.split_once('\n').unwrap().1));
    };
    with(line);
    let (code, out, err) = stage.run("clusters check --cluster production");
    assert!(code == 0 && out.contains("pinned"), "{out}{err}");
    with(&format!("PROXMOX_CLUSTER_production_FINGERPRINT={}", "00:".repeat(32).trim_end_matches(':')));
    let (code, out, _) = stage.run("clusters check --cluster production");
    assert!(code == 1 && out.contains("is not the one that FINGERPRINT names"), "{out}");
    let (code, _, err) = stage.run("clusters trust gone");
    assert!(code == 1 && err.contains("onnection refused"), "{err}");
}

const TWO: &str = "fleet: t
clusters:
  production: {vms: [{name: prod-a, vmid: 1100, memory: 512}]}
  staging: {vms: [{name: stg-a, vmid: 2100, memory: 512}]}
";

#[test]
fn a_cluster_that_cannot_be_written_to_is_left_out_and_the_others_go_on() {
    for (validation, is_left_out) in [("true", true), ("false", false)] {
        let stage = Stage::new(TWO);
        stage.set(&format!("PROXMOX_CLUSTER_VALIDATION={validation}\n"));
        lock(&stage.cluster("staging")).inject(Fault::always(FaultKind::QuorumLost));
        let (code, out, err) = stage.run("apply fleet.yaml --auto-approve");
        assert_eq!(code, 5, "{out}{err}");
        assert_eq!(err.contains("cluster staging is left out: the cluster has no quorum"), is_left_out, "{err}");
        let writes = |name: &str| {
            let cluster = stage.cluster(name);
            let cluster = lock(&cluster);
            cluster.access_log().iter().filter(|entry| entry.method != "GET").count()
        };
        assert!(writes("production") > 0, "{out}{err}");
        assert_eq!(writes("staging") == 0, is_left_out, "{out}{err}");
    }
}

#[test]
fn clusters_are_meant_by_name_region_or_tier() {
    let stage = Stage::new(TWO);
    stage.set(
        "PROXMOX_CLUSTER_production_TIER=gold\nPROXMOX_CLUSTER_production_REGION=west\n\
         PROXMOX_CLUSTER_staging_REGION=west\n",
    );
    let read = |arguments: &str| {
        let (code, out, err) = stage.run(arguments);
        assert!(code == 0 && err.is_empty(), "{arguments}: {out}{err}");
        ["production", "staging"].map(|name| out.contains(name))
    };
    assert_eq!(read("guests list --cluster region=west"), [true, true]);
    assert_eq!(read("guests list --cluster tier=gold"), [true, false]);
    assert_eq!(read("clusters check --cluster tier=gold --cluster staging"), [true, true]);
    assert_eq!(read("plan fleet.yaml --cluster tier=gold"), [true, false]);
    // `gone` is no cluster of the manifest's, and is not asked.
    assert_eq!(read("plan fleet.yaml --cluster region=west"), [true, true]);
    for arguments in ["guests list --cluster tier=silver", "plan fleet.yaml --cluster tier=silver"] {
        let (code, _, err) = stage.run(arguments);
        assert!(code == 64 && err.contains("tier=silver"), "{err}");
    }
}

#[test]
fn requests_are_logged_and_nothing_secret_is() {
    let stage = Stage::new(MANIFEST);
    let (_, _, err) = stage.run("guests list --cluster staging -v");
    assert!(err.lines().any(|line| line.starts_with("staging: GET /cluster/resources 200 ")), "{err}");
    assert!(err.contains("attempt 1") && err.contains("127.0.0.1:"), "{err}");
    let (_, _, err) = stage.run("guests list --cluster gone -vv --log-format json");
    let lines: Vec<Value> = err.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(lines.last().unwrap()["attempt"], 5, "{err}");
    assert_eq!((&lines[0]["cluster"], &lines[0]["status"]), (&"gone".into(), &Value::Null));
    assert_eq!(lines[0]["parameters"], serde_json::json!(["type"]));
}

#[test]
fn a_file_of_settings_that_is_named_must_be_there() {
    let stage = Stage::new(MANIFEST);
    let (code, _, err) = stage.run("--env-file nowhere.env clusters list");
    assert!(code == 64 && err.contains("--env-file nowhere.env cannot be read"), "{err}");
    std::fs::write(stage.folder.path().join("more.env"), "PROXMOX_CLUSTERS=other\n").unwrap();
    // An earlier file wins over a later one.
    let (code, out, err) = stage.run("--env-file .env --env-file more.env clusters list");
    assert!(code == 0 && out.contains("production"), "{out}{err}");
}

const ROOTS: &str = "fleet: t
clusters:
  only:
    vms: [{name: only-a, vmid: 1200, memory: 512, cores: 1, args: -no-fd-bootchk}]
";

/// A cluster whose root has a password, and a settings file with a token beside it or without.
fn apply_with(credentials: &str, with_token: bool) -> (i32, String, Vec<String>) {
    let runtime = Runtime::new().unwrap();
    let mut spec = world::builtin("only");
    spec.users.push(serde_json::from_str(r#"{"id": "root@pam", "password": "pa;ss w=rd"}"#).unwrap());
    let clusters = vec![("only".to_owned(), Cluster::new(spec, 1))];
    let running = runtime.block_on(Server::start(clusters, Options::default())).unwrap();
    let endpoint = running.endpoints()[0].clone();
    let folder = tempfile::tempdir().unwrap();
    let mut env = format!(
        "PROXMOX_CLUSTERS=only\nPROXMOX_CLUSTER_only_API_URL={}\nPROXMOX_CLUSTER_only_CA_FILE=ca.pem\n{credentials}",
        endpoint.url
    );
    if with_token {
        env.push_str(&format!(
            "PROXMOX_CLUSTER_only_TOKEN_ID={}\nPROXMOX_CLUSTER_only_TOKEN_SECRET={}\n",
            endpoint.token_id, endpoint.token_secret
        ));
    }
    for (name, text) in [("ca.pem", endpoint.ca_pem.as_str()), (".env", &env), ("fleet.yaml", ROOTS)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvefleet"));
    command.args(["apply", "fleet.yaml", "--auto-approve", "-v"]).current_dir(folder.path());
    let output = command.env_clear().env("HOME", folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let log = running.access_log("only");
    runtime.block_on(running.stop());
    assert!(!text.contains("pa;ss"), "{text}");
    let writes =
        log.iter().filter(|entry| entry.method != "GET").map(|entry| format!("{} {}", entry.method, entry.path));
    (output.status.code().unwrap_or(-1), text, writes.collect())
}

#[test]
fn what_only_root_may_set_is_set_with_roots_password() {
    let root = "PROXMOX_CLUSTER_only_USERNAME=root@pam\nPROXMOX_CLUSTER_only_PASSWORD='pa;ss w=rd'\n";
    for with_token in [true, false] {
        let (code, text, writes) = apply_with(root, with_token);
        assert_eq!(code, 0, "{text}");
        // One login, whatever it served for.
        assert_eq!(writes.iter().filter(|write| write.contains("/access/ticket")).count(), 1, "{writes:?}");
    }
    let (code, text, writes) = apply_with("", true);
    assert!(code == 3 && text.contains("USERNAME=root@pam") && writes.is_empty(), "{code} {text} {writes:?}");
    let (code, text, _) = apply_with(&root.replace("w=rd", "wrong"), false);
    assert!(code == 1 && text.contains("authentication fail"), "{code} {text}");
}
