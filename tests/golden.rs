//! What people read, word for word. `UPDATE_GOLDEN=1 cargo test --test golden` writes the files anew.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::path::Path;
use std::process::Command;

use pvefleet::plan::PlanOptions;
use pvefleet::report::{Layout, outcome_text, plan_text};
use support::{World, assert_golden, resolve};

#[test]
fn the_whole_command_line() {
    let commands = [
        "",
        "validate",
        "show",
        "init",
        "plan",
        "snapshot",
        "apply",
        "drift",
        "plan-show",
        "rehearse",
        "journal",
        "journal show",
        "explain",
        "clusters",
        "clusters list",
        "clusters check",
        "clusters trust",
        "guests",
        "guests list",
        "guests show",
        "tasks",
        "tasks list",
        "tasks log",
        "sim",
        "demo",
        "completions",
        "man",
    ];
    let mut text = String::new();
    for command in commands {
        let output = Command::new(env!("CARGO_BIN_EXE_pvefleet"))
            .args(command.split_whitespace())
            .arg("--help")
            .env_clear()
            .output()
            .unwrap();
        text.push_str(&format!("$ pvefleet {command} --help\n{}\n", String::from_utf8_lossy(&output.stdout)));
    }
    assert_golden("help.txt", &text);
}

fn homelab() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/homelab");
    let names = ["disaster-recovery.yaml", "fleet.yaml", "production.yaml", "staging.yaml"];
    names
        .iter()
        .map(|name| (format!("examples/homelab/{name}"), std::fs::read_to_string(folder.join(name)).unwrap()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_example_planned_applied_and_drifted() {
    let world = World::of(&["production", "staging", "disaster-recovery"]);
    let desired = resolve(&homelab(), &world.registry);
    let narrow = Layout { color: false, width: 80 };
    let plan = world.plan_with(&desired, &PlanOptions::default()).await;
    assert_golden("homelab-plan-80.txt", &plan_text::plan(&plan, narrow));
    assert_golden("homelab-plan-color.txt", &plan_text::plan(&plan, Layout { color: true, width: 120 }));
    let outcome = world.carry_out(&plan).await;
    assert_golden("homelab-outcome.txt", &outcome_text::outcome(&outcome, "pvefleet apply examples/homelab", narrow));
    let method = pvefleet::pve::http::Method::Put;
    world
        .by_hand("production", method, &world.path("production", "prod-web-01", "/config"), &[("memory", "1024")])
        .await;
    world
        .by_hand(
            "production",
            method,
            &world.path("production", "prod-db-01", "/resize"),
            &[("disk", "scsi1"), ("size", "+4G")],
        )
        .await;
    let again = world.plan_with(&desired, &PlanOptions::default()).await;
    assert_golden("homelab-drift.txt", &plan_text::drift(&again, narrow));
}

#[tokio::test(start_paused = true)]
async fn equal_inputs_give_equal_bytes() {
    let mut made = Vec::new();
    for shuffled in [false, true] {
        let world = World::of(&["production", "staging", "disaster-recovery"]);
        let mut files = homelab();
        if shuffled {
            files.reverse();
        }
        let plan = world.plan_with(&resolve(&files, &world.registry), &PlanOptions::default()).await;
        made.push(serde_json::to_string(&plan).unwrap());
    }
    assert_eq!(made[0], made[1]);
}
