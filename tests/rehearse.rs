//! A rehearsal: what would happen, on simulated clusters that hold what the real ones hold.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/stage.rs"]
mod stage;

use std::path::Path;

use serde_json::Value;
use stage::Stage;

fn homelab() -> Stage {
    let stage = Stage::of(&["production", "staging", "disaster-recovery"], &[]);
    let folder = stage.folder.path().join("homelab");
    std::fs::create_dir(&folder).unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/homelab");
    for entry in std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap()) {
        std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    stage
}

/// Replaces text in a file of the manifest.
fn edit(stage: &Stage, file: &str, from: &str, to: &str) {
    let path = stage.folder.path().join("homelab").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn what_would_happen_is_told_and_nothing_is_sent() {
    let stage = homelab();
    let (code, out, err) = stage.run("rehearse homelab");
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains(" s  production/prod-web-01: clone debian-12 (9001), linked\n"), "{out}");
    assert!(out.contains("Planned again, nothing is left to do.\n"), "{out}");
    assert!(stage.methods().iter().all(|method| method == "GET"));

    // With guests that are there, of which one waits for a reboot.
    assert_eq!(stage.run("apply homelab --auto-approve").0, 0);
    edit(&stage, "fleet.yaml", "4GiB", "5GiB");
    assert_eq!(stage.run("apply homelab --auto-approve --cluster production").0, 0);
    edit(&stage, "production.yaml", "cores: 4", "cores: 6");
    let writes = || stage.methods().iter().filter(|method| *method != "GET").count();
    let before = writes();
    let (code, out, err) = stage.run("rehearse homelab -o json");
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let document: Value = serde_json::from_str(&out).unwrap();
    let steps: Vec<&str> =
        document["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert!(steps.contains(&"production/prod-db-01: set cores"), "{steps:?}");
    assert_eq!(document["converges"], true);
    assert!(document["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(writes(), before);
}

#[test]
fn a_saved_plan_is_rehearsed_with_faults() {
    let stage = homelab();
    assert_eq!(stage.run("plan homelab -o json=plan.json").0, 0);
    assert_eq!(stage.run("snapshot -o json=live.json").0, 0);
    let faults = "faults:\n  - {cluster: production, method: POST, path: /nodes/*/qemu/*/clone, kind: {status: {code: 500, text: no luck}}}\n";
    std::fs::write(stage.folder.path().join("faults.yaml"), faults).unwrap();
    let (code, out, err) = stage.run("rehearse --plan plan.json --live live.json --faults faults.yaml");
    assert_eq!(code, 5, "{out}{err}");
    assert!(out.contains("failed        clone    production/prod-web-01") && out.contains("no luck"), "{out}");
    assert!(out.contains("done          clone    staging/stg-web-01"), "{out}");
    std::fs::write(stage.folder.path().join("faults.yaml"), faults.replace("production", "produktion")).unwrap();
    let (code, _, err) = stage.run("rehearse --plan plan.json --live live.json --faults faults.yaml");
    assert!(code == 64 && err.contains("there is no cluster `produktion`"), "{err}");
}
