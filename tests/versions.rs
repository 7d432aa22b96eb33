//! Options that a cluster's version of Proxmox VE does not have.

mod support;

use std::sync::{Arc, Mutex};

use pvefleet::plan::{Change, Plan, ReasonCode, State};
use pvefleet::sim::{Cluster, world};
use support::{HEAD, World, text};

fn of_version(version: &str) -> World {
    let mut world = World::production();
    let mut spec = world::builtin("production");
    version.clone_into(&mut spec.version);
    world.clusters.insert("production".to_owned(), Arc::new(Mutex::new(Cluster::new(spec, 1))));
    world
}

fn vm(options: &str) -> String {
    format!(
        "{HEAD}    vms:\n      - name: prod-db-01\n        node: pve3\n        scsi0: {{storage: local-lvm, size: 8GiB}}\n{options}"
    )
}

#[expect(clippy::panic, reason = "a test that cannot go on ends")]
fn only(plan: &Plan) -> &Change {
    match plan.changes().collect::<Vec<_>>().as_slice() {
        [change] => change,
        _ => panic!("{}", text(plan)),
    }
}

#[tokio::test(start_paused = true)]
async fn a_guest_is_not_made_without_an_option_that_it_asks_for() {
    let asked = vm("        allow-ksm: false\n");
    let plan = of_version("8.4.21").plan(&asked).await;
    let change = only(&plan);
    assert_eq!((change.state, change.steps.len()), (State::Blocked, 0));
    let reason = change.reason.as_ref().map(|reason| (reason.code, reason.words.as_str()));
    let words = "Proxmox VE 8.4.21 has no allow-ksm for a VM; it came with 9.1";
    assert_eq!(reason, Some((ReasonCode::Version, words)), "{}", text(&plan));
    of_version("9.1.9").converge(&asked).await;
}

#[tokio::test(start_paused = true)]
async fn an_option_alone_is_blocked_and_the_others_are_changed() {
    let world = of_version("8.4.21");
    world.converge(&vm("        cores: 2\n")).await;
    let plan = world.plan(&vm("        cores: 4\n        machine: {type: q35, aw-bits: 39}\n")).await;
    let change = only(&plan);
    assert_eq!(change.state, State::Ready, "{}", text(&plan));
    let blocked: Vec<&str> =
        change.fields.iter().filter(|field| field.blocked.is_some()).map(|field| field.name.as_str()).collect();
    assert_eq!(blocked, ["machine"], "{}", text(&plan));
    assert!(change.steps.iter().all(|step| !step.call.params.contains_key("machine")));
    assert!(change.steps.iter().any(|step| step.call.params.contains_key("cores")));
}

#[tokio::test(start_paused = true)]
async fn a_sub_key_is_sent_by_the_name_that_the_version_has() {
    for (version, name) in [("8.4.21", "freeze-fs-on-backup"), ("9.2.3", "freeze-fs")] {
        let world = of_version(version);
        let wanted = vm("        agent: {enabled: true, freeze-fs: false}\n");
        world.converge(&wanted).await;
        let file = world.file("production", "prod-db-01");
        assert!(file.contains(&format!("{name}=0")), "{version}: {file}");
    }
}
