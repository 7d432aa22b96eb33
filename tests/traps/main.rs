//! The traps that a reconciler of Proxmox VE falls into, each a test that bears its name.
//!
//! Each makes the situation in a simulated cluster the way it comes about in a real one, then asserts what the plan
//! does, and where it changes something, that planning again finds nothing left.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

mod disks;
mod identity;
mod lists;
mod notes;
mod ownership;
mod places;
mod recreating;
mod removal;
mod rights;
#[path = "../support/mod.rs"]
mod support;
mod unfinished;
mod values;

use std::collections::BTreeSet;

use pvefleet::live::{Live, Read};
use pvefleet::plan::{self, Action, Change, Plan, PlanOptions, ReasonCode};
use pvefleet::pve::http::Method;
use support::{HEAD, World, cluster, containers, guest, only, read, text, vms};

/// A VM with its disks on shared storage, so that it can live anywhere.
const DB: &str = "      - name: prod-db-01
        node: [pve3]
        memory: 1024
        scsi0: {storage: shared, size: 8GiB}
        net0: {model: virtio, bridge: vmbr0}
        tags: [db]
        unlisted: ignore
";

/// The manifest with nothing in it.
fn nothing() -> String {
    format!("{HEAD}    vms: []\n")
}

fn prune() -> PlanOptions {
    PlanOptions { prune: true, ..PlanOptions::default() }
}

fn accepting(what: &[&str]) -> PlanOptions {
    PlanOptions { accept: what.iter().map(|text| text.parse().unwrap()).collect(), ..PlanOptions::default() }
}

#[track_caller]
fn named<'a>(plan: &'a Plan, name: &str) -> &'a Change {
    plan.changes().find(|change| change.address.name == name).unwrap_or_else(|| panic!("no {name}: {}", text(plan)))
}

#[track_caller]
fn assert_nothing_is_sent(plan: &Plan) {
    assert!(plan.is_empty(), "{}", text(plan));
}

/// Nothing of it is made, destroyed or made anew.
#[track_caller]
fn assert_kept(plan: &Plan) {
    let makes_or_destroys = |change: &&Change| {
        change.has_steps() && !matches!(change.action, Action::Update | Action::Migrate | Action::Adopt | Action::None)
    };
    assert!(plan.changes().find(makes_or_destroys).is_none(), "{}", text(plan));
}

#[track_caller]
fn assert_refused(change: &Change, code: ReasonCode) -> String {
    let reason = change.reason.as_ref().unwrap_or_else(|| panic!("no reason: {change:#?}"));
    assert_eq!(reason.code, code, "{}", reason.words);
    assert!(!change.has_steps(), "{change:#?}");
    format!("{} ({})", reason.words, reason.hint.as_deref().unwrap_or_default())
}

/// Why one field is not done.
#[track_caller]
fn assert_field_refused(change: &Change, name: &str, code: ReasonCode) -> String {
    let field = change.fields.iter().find(|field| field.name == name);
    let reason = field.and_then(|field| field.blocked.as_ref()).unwrap_or_else(|| panic!("{name}: {change:#?}"));
    assert_eq!(reason.code, code, "{}", reason.words);
    format!("{} ({})", reason.words, reason.hint.as_deref().unwrap_or_default())
}

fn plan_of(world: &World, manifest: &str, live: &Live, options: &PlanOptions) -> Plan {
    plan::plan(&world.desired(manifest), live, options).unwrap()
}

async fn put(world: &World, name: &str, params: &[(&str, &str)]) {
    world.by_hand("production", Method::Put, &world.path("production", name, "/config"), params).await;
}

async fn destroy(world: &World, name: &str) {
    world.by_hand("production", Method::Delete, &world.path("production", name, ""), &[]).await;
}

/// The volumes of production.
fn volumes(world: &World) -> BTreeSet<String> {
    let cluster = pvefleet::sim::transport::lock(&world.clusters["production"]);
    cluster.volume_ids().into_iter().map(|(_, volume)| volume).collect()
}
