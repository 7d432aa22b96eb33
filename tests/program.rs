//! The real program against simulated clusters over HTTPS: exit codes, messages, what is sent and what is not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/stage.rs"]
mod stage;

use std::path::Path;
use std::process::{Command, Output};

use pvefleet::cli::demo::{self, Walk};
use pvefleet::sim::{Effect, Fault, FaultKind};
use stage::Stage;

const ALL: [&str; 3] = ["production", "staging", "disaster-recovery"];

/// All three clusters are configured, and these are served.
fn serving(names: &[&str]) -> Stage {
    let missing: Vec<&str> = ALL.into_iter().filter(|name| !names.contains(name)).collect();
    Stage::of(names, &missing)
}

fn told(output: &Output) -> (i32, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

fn example() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/homelab").display().to_string()
}

const ONE_EACH: &str = "fleet: t
clusters:
  production:
    containers: [{name: prod-a, vmid: 1100, ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst, rootfs: {storage: local-lvm, size: 1GiB}}]
  staging:
    containers: [{name: stg-a, vmid: 1100, ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst, rootfs: {storage: local-lvm, size: 1GiB}}]
";

#[test]
fn the_demo_goes_well_and_says_what_was_logged() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvefleet"));
    let (code, text) = told(&command.arg("demo").current_dir(folder.path()).output().unwrap());
    assert_eq!(code, 0, "{text}");
    for words in ["$ pvefleet drift examples/homelab", "exit code 3", "Nothing to do.", "The simulators logged"] {
        assert!(text.contains(words), "{words} is missing in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "colours where no terminal is");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it left something behind");
}

#[test]
fn the_demo_fails_when_the_clusters_do_not_take_changes() {
    let refused = FaultKind::Status { code: 500, text: "the handler is broken".to_owned(), effect: Effect::None };
    let faults = vec![Fault::new("PUT", "/nodes/*/config", refused)];
    let walk = Walk { program: env!("CARGO_BIN_EXE_pvefleet").into(), faults, ..Walk::default() };
    let result = tokio::runtime::Runtime::new().unwrap().block_on(demo::walk(&walk));
    let words = result.unwrap_err().to_string();
    assert!(words.contains("instead of 0"), "{words}");
}

#[test]
fn plan_and_drift_send_only_get() {
    let stage = serving(&ALL);
    let (code, text) = stage.told(&format!("plan {} --detailed-exitcode", example()));
    assert_eq!(code, 2, "{text}");
    let (code, text) = stage.told(&format!("drift {}", example()));
    assert_eq!(code, 2, "{text}");
    let methods = stage.methods();
    assert!(methods.len() > 20 && methods.iter().all(|method| method == "GET"), "{methods:?}");
}

#[test]
fn a_cluster_that_is_down_hurts_only_itself() {
    let stage = serving(&["production", "disaster-recovery"]);
    stage.write("fleet.yaml", ONE_EACH);
    let (code, text) = stage.told("plan fleet.yaml");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("prod-a") && text.contains("cluster could not be read"), "{text}");
    let (code, text) = stage.told("apply fleet.yaml --auto-approve");
    assert_eq!(code, 5, "others had changes: {text}");
    assert!(text.contains("done"), "{text}");
    let (code, text) = stage.told("apply fleet.yaml --auto-approve");
    assert_eq!(code, 1, "nothing was left to send: {text}");
    let (code, text) = stage.told("clusters check");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("offline") && text.contains("online"), "{text}");
}

#[test]
fn a_wrong_token_says_so() {
    let stage = serving(&ALL);
    stage.write("fleet.yaml", ONE_EACH);
    let wrong: String = stage
        .env
        .lines()
        .map(|line| {
            if line.contains("production_TOKEN_SECRET") {
                "PROXMOX_CLUSTER_production_TOKEN_SECRET=wrong"
            } else {
                line
            }
        })
        .map(|line| format!("{line}\n"))
        .collect();
    stage.write(".env", &wrong);
    let (code, text) = stage.told("plan fleet.yaml");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("authentication failed") && text.contains("stg-a"), "{text}");
    let (_, text) = stage.told("clusters check");
    assert!(text.contains("unauthorized") && text.contains("TOKEN_SECRET"), "{text}");
}

#[test]
fn a_wrong_certificate_says_what_to_do() {
    let stage = serving(&ALL);
    let other = serving(&["production"]);
    stage.write("fleet.yaml", ONE_EACH);
    std::fs::copy(other.folder.path().join("ca.pem"), stage.folder.path().join("ca.pem")).unwrap();
    let (code, text) = stage.told("plan fleet.yaml");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("certificate") && text.contains("FINGERPRINT"), "{text}");
    assert!(stage.methods().is_empty(), "nothing was sent to a server that is not trusted");
}

#[test]
fn a_misspelt_option_is_shown_where_it_stands() {
    let stage = serving(&ALL);
    stage.write(
        "fleet.yaml",
        "fleet: t\nclusters:\n  production:\n    vms:\n      - name: prod-a\n        memroy: 2048\n",
    );
    for command in ["validate fleet.yaml", "plan fleet.yaml", "apply fleet.yaml --auto-approve"] {
        let (code, text) = stage.told(command);
        assert_eq!(code, 64, "{text}");
        assert!(text.contains("fleet.yaml:6:9") && text.contains("memory"), "{text}");
    }
    assert!(stage.methods().is_empty());
}

#[test]
fn a_manifest_is_checked_without_any_settings() {
    let stage = serving(&["production"]);
    std::fs::remove_file(stage.folder.path().join(".env")).unwrap();
    let (code, text) = stage.told(&format!("validate {}", example()));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("9 guests") && text.contains("no cluster is configured"), "{text}");
    let (code, _) = stage.told(&format!("plan {}", example()));
    assert_eq!(code, 64);
}

#[test]
fn a_missing_variable_is_named() {
    let stage = serving(&ALL);
    stage.write("fleet.yaml", ONE_EACH);
    stage.write(
        ".env",
        "PROXMOX_CLUSTERS=production,staging\nPROXMOX_CLUSTER_production_API_URL=https://pve.example.net:8006\n",
    );
    let (code, text) = stage.told("plan fleet.yaml");
    assert_eq!(code, 64, "{text}");
    for name in ["PROXMOX_CLUSTER_production_TOKEN_ID", "PROXMOX_CLUSTER_staging_API_URL"] {
        assert!(text.contains(name), "{name} is missing in {text}");
    }
}

#[test]
fn a_plan_is_saved_reviewed_and_applied_as_it_is() {
    let stage = serving(&ALL);
    stage.write("fleet.yaml", ONE_EACH);
    let (code, text) = stage.told("apply fleet.yaml");
    assert_eq!(code, 64, "without a terminal there is nobody to ask: {text}");
    let (code, text) = stage.told("plan fleet.yaml -o json=plan.json");
    assert_eq!((code, text.as_str()), (0, "Plan: 2 to create.\n"));
    let path = stage.folder.path().join("plan.json");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let plan = std::fs::read_to_string(&path).unwrap();
    stage.write("changed.json", &plan.replacen("\"prod-a\"", "\"prod-b\"", 1));
    let (code, text) = stage.told("apply --plan changed.json");
    assert_eq!(code, 64, "{text}");
    assert!(text.contains("was changed after it was made"), "{text}");
    let (code, text) = stage.told("apply fleet.yaml --plan-id 0000");
    assert_eq!(code, 4, "{text}");
    assert!(!stage.methods().contains(&"POST".to_owned()));
    let (code, text) = stage.told("apply --plan plan.json");
    assert_eq!(code, 0, "{text}");
    let (code, text) = stage.told("plan fleet.yaml --detailed-exitcode");
    assert_eq!(code, 0, "{text}");
    // Carried out once, the file is found done.
    let (code, text) = stage.told("apply --plan plan.json");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("already"), "{text}");
    // Planned for one cluster, it is not applied to another.
    let swapped = stage.env.replace("production_API_URL", "x_API_URL").replace("staging_API_URL", "production_API_URL");
    stage.write(".env", &swapped.replace("x_API_URL", "staging_API_URL"));
    let (code, text) = stage.told("apply --plan plan.json");
    assert_eq!(code, 64, "{text}");
    assert!(text.contains("is not the one that the plan was made for"), "{text}");
}

#[test]
fn killed_in_the_middle_and_run_again_it_ends_in_the_same_state() {
    let stage = serving(&ALL);
    let mut child = stage.command(&format!("apply {} --auto-approve --quiet", example())).spawn().unwrap();
    // Until something is under way, and not until everything is.
    let writes = || stage.methods().iter().filter(|method| *method != "GET").count();
    while writes() < 5 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let (code, text) = stage.told(&format!("apply {} --auto-approve", example()));
    assert_eq!(code, 0, "{text}");
    let (code, text) = stage.told(&format!("plan {} --detailed-exitcode", example()));
    assert_eq!(code, 0, "{text}");
    let count = |name: &str| {
        let cluster = stage.running.as_ref().unwrap().cluster(name).unwrap();
        let cluster = pvefleet::sim::transport::lock(&cluster);
        cluster.guest_ids().count()
    };
    // Five, two and one guests were there; five, two and two were made.
    assert_eq!((count("production"), count("staging"), count("disaster-recovery")), (10, 4, 3));
}

#[test]
fn a_file_that_cannot_be_written_is_found_before_anything_is_sent() {
    let stage = serving(&ALL);
    stage.write("fleet.yaml", ONE_EACH);
    let (code, text) = stage.told("apply fleet.yaml --auto-approve -o json=nowhere/out.json");
    assert_eq!(code, 64, "{text}");
    assert!(text.contains("nowhere/out.json"), "{text}");
    assert!(stage.methods().is_empty());
}

#[test]
fn usage_errors_are_64_and_help_is_0() {
    let stage = serving(&["production"]);
    for wrong in ["plan", "plan a b", "bogus", "plan x --accept delete:a/*", "plan x -o yaml", "sim --clusters a_b"] {
        let (code, text) = stage.told(wrong);
        assert_eq!(code, 64, "{wrong}: {text}");
    }
    for help in [
        "--help",
        "--version",
        "plan --help",
        "apply --help",
        "drift --help",
        "sim --help",
        "demo --help",
        "clusters check --help",
    ] {
        let (code, text) = stage.told(help);
        assert_eq!(code, 0, "{help}: {text}");
    }
}

#[test]
fn a_secret_in_the_manifest_is_sent_and_never_shown() {
    let stage = serving(&["production"]);
    stage.write(
        "fleet.yaml",
        "fleet: s\nclusters:\n  production:\n    vms:\n      - name: prod-s\n        clone: {from: debian-12}\n        \
         cipassword: hunter2\n",
    );
    let (code, text) = stage.told("plan fleet.yaml -o json=plan.json");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("literal-secret") && !text.contains("hunter2"), "{text}");
    let saved = std::fs::read_to_string(stage.folder.path().join("plan.json")).unwrap();
    assert!(saved.contains("manifest:fleet.yaml:7:21") && !saved.contains("hunter2"), "{saved}");
    // A saved plan does not hold it, and says where it stands.
    let (code, text) = stage.told("apply --plan plan.json");
    assert_eq!(code, 64, "{text}");
    assert!(text.contains("fleet.yaml:7:21") && text.contains("{env: NAME}"), "{text}");
    assert!(!stage.methods().contains(&"POST".to_owned()));
    let (code, text) = stage.told("apply fleet.yaml --auto-approve");
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let cluster = stage.running.as_ref().unwrap().cluster("production").unwrap();
    let cluster = pvefleet::sim::transport::lock(&cluster);
    let set = cluster.guest_ids().any(|id| format!("{:?}", cluster.guest_file(id)).contains("cipassword"));
    assert!(set, "the password was not sent");
}
