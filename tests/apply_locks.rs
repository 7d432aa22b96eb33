//! What an apply begins at once: as much as the storages' locks take, in as few requests as it needs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::collections::BTreeMap;
use std::sync::Mutex;

use pvefleet::apply::{self, Cancel, Event, Journal, Outcome};
use pvefleet::clusters::Allocations;
use support::{Canary, World};
use tokio::sync::watch;

/// Applies a manifest; the outcome, how often something was repeated, and after how many seconds it was done.
async fn applied(world: &World, manifest: &str, allocations: Option<Allocations>) -> (Outcome, Vec<String>, u64) {
    let plan = world.plan(manifest).await;
    let repeated = Mutex::new(Vec::new());
    let events = |event: &Event| {
        if let Event::Repeating { words, .. } = event {
            repeated.lock().unwrap().push(words.clone());
        }
    };
    let mut options = apply::Options::default();
    if let Some(allocations) = allocations {
        options.allocations = world.clusters.keys().map(|name| (name.clone(), allocations)).collect();
    }
    let (_keep, cancel) = watch::channel(Cancel::No);
    let begun = tokio::time::Instant::now();
    let outcome = apply::run(&plan, &world.clients(), &Canary, &options, &Journal::none(), &events, cancel).await;
    let took = begun.elapsed().as_secs();
    assert_eq!(outcome.exit_code(&plan), 0, "{outcome:#?}");
    (outcome, repeated.into_inner().unwrap(), took)
}

fn world(name: &str, allocate: u64) -> World {
    World::shaped(&[name], "", |spec| spec.tasks.allocate = allocate)
}

/// So many linked clones of the template, which has a disk and a drive for cloud-init.
fn clones(cluster: &str, prefix: &str, source: &str, count: usize) -> String {
    let names: Vec<String> = (0..count)
        .map(|n| format!("      - {{name: {prefix}{n:02}, clone: {{from: {source}}}, memory: 2GiB}}\n"))
        .collect();
    format!("fleet: t\nclusters:\n  {cluster}:\n    vmids: 1000-1999\n    vms:\n{}", names.concat())
}

#[tokio::test(start_paused = true)]
async fn no_clone_waits_too_long_for_the_lock_of_its_storage() {
    let manifest = clones("staging", "stg-", "debian-12", 20);
    let (outcome, repeated, took) = applied(&world("staging", 1000), &manifest, None).await;
    assert_eq!((outcome.guests.len(), repeated.len()), (20, 0), "{repeated:?}");
    // Forty volumes of a second each: the lock is hardly ever idle.
    assert!((40..=44).contains(&took), "{took} s");
    // Twenty at once wait for each other at the server, and give up.
    let all = Allocations { per_storage: 64, per_node: 64, in_all: 64 };
    let (_, repeated, _) = applied(&world("staging", 1000), &manifest, Some(all)).await;
    assert!(repeated.iter().any(|words| words.contains("got timeout")), "{repeated:?}");
    // One at a time leaves the lock idle.
    let one = Allocations { per_storage: 1, per_node: 64, in_all: 64 };
    let (_, repeated, took) = applied(&world("staging", 1000), &manifest, Some(one)).await;
    assert!(repeated.is_empty() && took > 46, "{took} s");
}

#[tokio::test(start_paused = true)]
async fn each_node_has_its_own_local_storages_and_all_share_the_others() {
    for (storage, seconds) in [("local-lvm", 8..=10), ("shared", 24..=27)] {
        let vms: Vec<String> = (0..24)
            .map(|n| {
                let node = format!("pve{}", n % 3 + 1);
                format!("      - {{name: prod-{n:02}, node: {node}, scsi0: {{storage: {storage}, size: 1GiB}}}}\n")
            })
            .collect();
        let manifest = format!("fleet: t\nclusters:\n  production:\n    vmids: 1000-1999\n    vms:\n{}", vms.concat());
        let (_, repeated, took) = applied(&world("production", 1000), &manifest, None).await;
        assert!(repeated.is_empty() && seconds.contains(&took), "{storage}: {took} s, {repeated:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn options_are_set_beside_clones_that_wait() {
    let world = world("staging", 1000);
    let mut manifest = clones("staging", "stg-", "debian-12", 40);
    world.converge(&clones("staging", "stg-", "debian-12", 20)).await;
    // Twenty more to clone, and twenty to change: these do not wait for those.
    manifest = manifest.replace("2GiB", "3GiB");
    let plan = world.plan(&manifest).await;
    assert!(plan.changes().any(|change| change.action == pvefleet::plan::Action::Clone));
    let ended = Mutex::new(Vec::new());
    let events = |event: &Event| {
        if let Event::GuestDone(outcome) = event {
            ended.lock().unwrap().push(outcome.action);
        }
    };
    let (_keep, cancel) = watch::channel(Cancel::No);
    let options = apply::Options { parallel: Some(8), ..apply::Options::default() };
    let outcome = apply::run(&plan, &world.clients(), &Canary, &options, &Journal::none(), &events, cancel).await;
    assert_eq!(outcome.exit_code(&plan), 0, "{outcome:#?}");
    let ended = ended.into_inner().unwrap();
    let last_update = ended.iter().rposition(|action| *action == pvefleet::plan::Action::Update).unwrap();
    let clones_after = ended[last_update..].iter().filter(|action| **action == pvefleet::plan::Action::Clone).count();
    assert!(clones_after > 10, "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn the_number_of_requests_for_a_guest_is_as_promised() {
    let world = world("staging", 0);
    let manifest = clones("staging", "stg-", "debian-12", 10);
    let plain = |entry: &pvefleet::sim::AccessEntry| {
        let parts = entry
            .path
            .split('/')
            .map(|part| if part.starts_with("UPID") || part.parse::<u32>().is_ok() { "*" } else { part });
        format!("{} {}", entry.method, parts.collect::<Vec<_>>().join("/"))
    };
    let sent = |from: usize| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        world.log("staging").iter().skip(from).for_each(|entry| *counts.entry(plain(entry)).or_default() += 1);
        counts
    };
    world.converge(&manifest).await;
    let plan = world.plan(&manifest.replace("2GiB", "3GiB")).await;
    let before = world.log("staging").len();
    world.carry_out(&plan).await;
    // Read, write, read, and once more at the end; nothing about the whole cluster, and what runs on a node once.
    let expected = [
        ("GET /nodes/stg1/qemu/*/pending", 30),
        ("GET /nodes/stg1/qemu/*/status/current", 30),
        ("GET /nodes/stg1/tasks", 1),
        ("PUT /nodes/stg1/qemu/*/config", 10),
    ];
    assert_eq!(sent(before), expected.map(|(call, count)| (call.to_owned(), count)).into());
}
