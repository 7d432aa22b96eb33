//! A snapshot of the clusters, and what is done with it where nobody can ask them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/stage.rs"]
mod stage;

use std::process::Command;

use serde_json::Value;
use stage::Stage;

const MANIFEST: &str = "fleet: t
clusters:
  production:
    vms:
      - name: prod-web
        clone: {from: debian-12}
        memory: 2048
        state: running
    containers:
      - name: prod-a
        vmid: 1100
        ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst
        rootfs: {storage: local-lvm, size: 1GiB}
vms: [{name: staging-db, scsi0: {storage: local-lvm, size: 4GiB}}]
";

/// The program in a folder that holds nothing but a manifest and a snapshot: exit code, output, error output.
fn offline(stage: &Stage, manifest: &str, arguments: &str) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("fleet.yaml"), manifest).unwrap();
    std::fs::copy(stage.folder.path().join("live.json"), folder.path().join("live.json")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvefleet"));
    command.args(arguments.split_whitespace()).current_dir(folder.path()).env_clear();
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn plan_id(out: &str) -> String {
    let document: Value = serde_json::from_str(out).unwrap();
    document["plan"]["plan_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_plan_from_a_snapshot_is_the_plan_from_the_clusters() {
    let stage = Stage::new(MANIFEST);
    let (code, out, err) = stage.run("snapshot -o json=live.json");
    // One of the three clusters is not there, and the document says so.
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("production: Proxmox VE ") && err.contains("gone: not read: "), "{err}");
    let (code, out, _) = stage.run("plan fleet.yaml -o json");
    assert_eq!(code, 0);
    let online = plan_id(&out);
    let (code, out, err) = offline(&stage, MANIFEST, "plan fleet.yaml --live live.json -o json");
    assert_eq!((code, plan_id(&out)), (0, online), "{err}");
    assert!(err.contains("Planned from live.json, taken just now (20"), "{err}");

    // The same with guests that are there and differ, and beside one that is a stranger's.
    assert_eq!(stage.run("apply fleet.yaml --auto-approve").0, 0);
    let edited = MANIFEST.replace("2048", "4096");
    std::fs::write(stage.folder.path().join("fleet.yaml"), &edited).unwrap();
    stage.run("snapshot -o json=live.json");
    let online = plan_id(&stage.run("plan fleet.yaml -o json").1);
    let (_, out, err) = offline(&stage, &edited, "plan fleet.yaml --live live.json -o json");
    assert_eq!(plan_id(&out), online, "{err}");
    let changes = out.matches("\"action\": \"update\"").count();
    assert_eq!(changes, 1, "{out}");
}

#[test]
fn what_no_cluster_has_is_said_at_its_line() {
    let stage = Stage::new(MANIFEST);
    let (code, _, err) = stage.run("snapshot --cluster production --cluster staging -o json=live.json");
    assert_eq!(code, 0, "{err}");
    let (code, out, err) = offline(&stage, MANIFEST, "validate fleet.yaml --live live.json");
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let path = stage.folder.path().join("live.json");
    let mut document: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    document["live"]["clusters"]["staging"]["known"]["version"] = "8.4.21".into();
    std::fs::write(&path, document.to_string()).unwrap();
    let wrong = "fleet: t
clusters:
  production:
    vms:
      - name: prod-web
        node: [pve1, pve9]
        clone: {from: debian-13}
        pool: shop
        net0: {model: virtio, bridge: vmbr7}
        scsi1: {storage: locl-lvm, size: 4GiB}
  staging:
    vms:
      - name: staging-db
        scsi0: {storage: local-lvm, size: 4GiB}
        allow-ksm: false
";
    let (code, out, err) = offline(&stage, wrong, "validate fleet.yaml --live live.json -o json");
    let document: Value = serde_json::from_str(&out).unwrap();
    let problems: Vec<(u64, &str)> = document["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| (problem["place"]["line"].as_u64().unwrap(), problem["message"].as_str().unwrap()))
        .collect();
    assert_eq!(code, 64, "{err}");
    assert_eq!(
        problems,
        [
            (6, "production: there is no node `pve9`"),
            (7, "production: there is no VM `debian-13` to clone"),
            (8, "production: there is no pool `shop`"),
            (9, "production: node pve1 has no bridge vmbr7"),
            (10, "production: node pve1 has no storage locl-lvm"),
            (15, "staging: Proxmox VE 8.4.21 has no allow-ksm for a VM; it came with 9.1"),
        ],
        "{out}"
    );
    let (code, _, err) = offline(&stage, wrong, "validate fleet.yaml --live live.json");
    assert!(code == 64 && err.contains("= help: did you mean `pve1`? there is pve1, pve2, pve3"), "{err}");
}

#[test]
fn a_file_that_is_no_snapshot_is_refused() {
    let stage = Stage::new(MANIFEST);
    let path = stage.folder.path().join("live.json");
    for (text, words) in [
        ("", "it is no snapshot (EOF while parsing"),
        ("{\"format_version\": \"2.0\"}", "it has format 2.0, and this version reads 1.0; take a new one"),
        ("{\"format_version\": \"1.0\"}", "it is damaged (missing field"),
    ] {
        std::fs::write(&path, text).unwrap();
        for command in ["plan fleet.yaml --live live.json", "validate fleet.yaml --live live.json"] {
            let (code, _, err) = offline(&stage, MANIFEST, command);
            assert!(code == 64 && err.contains(words), "{command}: {err}");
        }
    }
}
