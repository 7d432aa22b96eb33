//! The commands of the README's section on pipelines, run in its order against simulated clusters.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/stage.rs"]
mod stage;

use std::path::Path;

use stage::Stage;

/// The lines of the section that are commands of the program, without what a comment says of them.
fn commands() -> Vec<String> {
    let readme = include_str!("../README.md");
    let section = readme.split("\n## In a pipeline\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let lines = section.lines().filter_map(|line| line.strip_prefix("pvefleet "));
    lines.map(|line| line.split(" #").next().unwrap().trim().to_owned()).collect()
}

#[test]
fn the_commands_do_what_is_said_of_them() {
    let stage = Stage::of(&["production", "staging", "disaster-recovery"], &[]);
    let folder = stage.folder.path();
    let homelab = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/homelab");
    std::fs::create_dir(folder.join("homelab")).unwrap();
    for entry in std::fs::read_dir(homelab).unwrap().map(|entry| entry.unwrap()) {
        std::fs::copy(entry.path(), folder.join("homelab").join(entry.file_name())).unwrap();
    }
    let commands = commands();
    let [validate, plan, by_id, saved, drift, rehearse, snapshot, offline] = commands.as_slice() else {
        unreachable!("{commands:#?}")
    };
    assert_eq!(stage.run(validate).0, 0);
    let (code, out, err) = stage.run(plan);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    let comment = std::fs::read_to_string(folder.join("comment.md")).unwrap();
    assert!(comment.starts_with("<!-- pvefleet plan fleet=homelab -->\n"), "{comment}");
    let document: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("plan.json")).unwrap()).unwrap();
    let id = document["plan"]["plan_id"].as_str().unwrap();
    assert!(comment.trim_end().ends_with(&format!("plan `{id}`")), "{comment}");

    let (code, _, err) = stage.run(&by_id.replace("\"$PLAN_ID\"", id));
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = stage.run(&by_id.replace("\"$PLAN_ID\"", id));
    assert_eq!(code, 4, "a plan id is spent: {err}");
    let (code, out, err) = stage.run(saved);
    assert!(code == 0 && out.contains("already done"), "{out}{err}");

    assert_eq!(stage.run(drift).0, 0);
    let memory = folder.join("homelab/fleet.yaml");
    let text = std::fs::read_to_string(&memory).unwrap();
    assert!(text.contains("4GiB"));
    std::fs::write(&memory, text.replace("4GiB", "5GiB")).unwrap();
    assert_eq!(stage.run(drift).0, 2);
    let report = std::fs::read_to_string(folder.join("drift.md")).unwrap();
    assert!(report.contains("- memory: `4096` → `5120`"), "{report}");

    let (code, out, err) = stage.run(rehearse);
    assert!(code == 0 && out.contains("Planned again, nothing is left to do."), "{out}{err}");
    let (code, _, err) = stage.run(snapshot);
    assert_eq!(code, 0, "{err}");
    std::fs::remove_file(folder.join(".env")).unwrap();
    let (code, _, err) = stage.run(offline);
    assert_eq!(code, 0, "{err}");
    let comment = std::fs::read_to_string(folder.join("comment.md")).unwrap();
    assert!(comment.contains("- memory: `4096` → `5120`"), "{comment}");
}
