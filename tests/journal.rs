//! What a run leaves behind: its journal, its events, its outcome, which all tell the same.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/stage.rs"]
mod stage;

use pvefleet::apply::{Folding, Outcome, journal};
use pvefleet::report::journal_text;
use serde_json::Value;
use stage::Stage;

const MANIFEST: &str = "fleet: t
clusters:
  production:
    vmids: 1000-1999
    vms:
      - {name: prod-web, clone: {from: debian-12}, memory: 1024, cipassword: hunter2-canary, state: running}
    containers: [{name: prod-a, vmid: 1100, ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst, rootfs: {storage: local-lvm, size: 1GiB}}]
";

fn read(stage: &Stage, name: &str) -> String {
    std::fs::read_to_string(stage.folder.path().join(name)).unwrap()
}

#[test]
fn journal_events_and_outcome_tell_the_same() {
    let stage = Stage::new(MANIFEST);
    let (code, out, err) =
        stage.run("apply fleet.yaml --auto-approve --journal j.jsonl -o ndjson -o json=outcome.json");
    assert_eq!(code, 0, "{err}");
    let outcome: Outcome = serde_json::from_str(&read(&stage, "outcome.json")).unwrap();
    let text = read(&stage, "j.jsonl");
    let (lines, cut_off) = journal::read(&text).unwrap();
    assert_eq!((journal_text::outcome(&lines), cut_off), (Some(outcome.clone()), None));
    let mut folding = Folding::default();
    for line in out.lines() {
        let told: journal::Told = serde_json::from_str(line).unwrap();
        folding.event(&told.event);
    }
    assert_eq!(folding.finish(), outcome);
    assert!(!text.contains("hunter2-canary") && !out.contains("hunter2-canary"));

    let (code, shown, err) = stage.run("journal show j.jsonl");
    assert_eq!(code, 0, "{err}");
    for words in [
        "Fleet t, begun 20",
        "production/prod-web: clone debian-12 (9001), linked",
        "POST /nodes/pve1/qemu/9001/clone",
        "task UPID:pve1:",
        "2 done",
    ] {
        assert!(shown.contains(words), "{words} is missing in\n{shown}");
    }
    let (_, shown, _) = stage.run("journal show j.jsonl -o json");
    let document: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(document["outcome"]["plan_id"], outcome.plan_id);
}

#[test]
fn a_journal_of_a_run_that_was_killed_is_shown_as_far_as_it_goes() {
    let stage = Stage::new(MANIFEST);
    assert_eq!(stage.run("apply fleet.yaml --auto-approve --journal j.jsonl").0, 0);
    let text = read(&stage, "j.jsonl");
    // The machine stopped while the line after the first write was written.
    let end = text.find("\"after\"").unwrap();
    std::fs::write(stage.folder.path().join("j.jsonl"), &text[..end]).unwrap();
    let (code, shown, err) = stage.run("journal show j.jsonl");
    assert_eq!(code, 0, "{err}");
    for words in ["no end is written", "The last line was cut off", "The run was left before its end."] {
        assert!(shown.contains(words), "{words} is missing in\n{shown}");
    }
    std::fs::write(stage.folder.path().join("j.jsonl"), "{}\n").unwrap();
    let (code, _, err) = stage.run("journal show j.jsonl");
    assert!(code == 64 && err.contains("j.jsonl is no journal of an apply: line 1"), "{err}");
}
