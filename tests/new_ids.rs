//! The ids that new guests get: above the highest, and none that a former guest left volumes or backups under.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pvefleet::apply::{self, Cancel, GuestResult, Journal, Outcome};
use pvefleet::client::ClusterClient;
use pvefleet::ops;
use pvefleet::plan::{self, PlanOptions};
use pvefleet::pve::http::{Method, Request, Sending, Transport};
use pvefleet::pve::value::{GuestKind, Vmid};
use pvefleet::sim::transport::{SharedCluster, SimTransport, lock};
use pvefleet::sim::world::VolumeSpec;
use support::{Canary, World, text};
use tokio::sync::watch;

const MANIFEST: &str = "fleet: homelab
clusters:
  production:
    vmids: 1000-1999
    vms:
      - {name: prod-web-01, scsi0: {storage: local-lvm, size: 1GiB}}
      - {name: prod-web-02, scsi0: {storage: local-lvm, size: 1GiB}}
";

fn with_leftovers(volumes: &'static [(&'static str, &'static str)]) -> World {
    World::shaped(&["production"], "", move |spec| {
        spec.volumes.extend(volumes.iter().map(|(volid, node)| VolumeSpec {
            volid: (*volid).to_owned(),
            node: (*node).to_owned(),
            size: 1 << 30,
            archive: None,
        }));
    })
}

#[tokio::test(start_paused = true)]
async fn an_id_that_volumes_or_backups_bear_is_not_given_again() {
    let world = with_leftovers(&[
        ("local-lvm:vm-1000-disk-0", "pve2"),
        ("shared:vm-1001-disk-0", "pve1"),
        ("local:backup/vzdump-qemu-1003-2025_06_01-02_00_00.vma.zst", "pve3"),
    ]);
    let plan = world.converge(MANIFEST).await;
    let ids: Vec<u32> = plan.changes().filter_map(|change| Some(change.address.vmid?.get())).collect();
    assert_eq!(ids, [1002, 1004], "{}", text(&plan));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_the_cluster_gives_the_same_ids() {
    let world = with_leftovers(&[("local-lvm:vm-1000-disk-0", "pve2")]);
    let desired = world.desired(MANIFEST);
    let direct = world.plan(MANIFEST).await;
    let whole = ops::snapshot(&world.readers(), &[]).await;
    let document = serde_json::to_string(&whole).unwrap();
    let live = ops::for_fleet(serde_json::from_str(&document).unwrap(), &desired, &[]);
    let later = plan::plan(&desired, &live, &PlanOptions::default()).unwrap();
    assert_eq!(direct.plan_id, later.plan_id, "{}\n{}", text(&direct), text(&later));
    assert!(text(&later).contains("1001"), "{}", text(&later));
}

#[tokio::test(start_paused = true)]
async fn storages_are_looked_through_only_for_a_guest_that_is_not_there() {
    let world = World::production();
    let asks = |from: usize| {
        world.log("production").iter().skip(from).filter(|entry| entry.path.ends_with("/content")).count()
    };
    world.converge(MANIFEST).await;
    assert!(asks(0) > 0);
    let before = world.log("production").len();
    assert!(world.plan(MANIFEST).await.is_empty());
    assert_eq!(asks(before), 0);
}

/// Somebody who takes an id between the last read and the first write.
struct Snatcher {
    inner: SimTransport,
    cluster: SharedCluster,
    node: &'static str,
    done: AtomicBool,
}

impl Transport for Snatcher {
    fn send<'a>(&'a self, request: &'a Request) -> Sending<'a> {
        if request.method == Method::Post && !self.done.swap(true, Ordering::Relaxed) {
            take(&self.cluster, GuestKind::Qemu, self.node);
        }
        self.inner.send(request)
    }
}

fn take(cluster: &SharedCluster, kind: GuestKind, node: &str) {
    let name = if kind == GuestKind::Qemu { "name" } else { "hostname" };
    lock(cluster).write_guest_file(kind, Vmid::new(1000).unwrap(), node, &format!("{name}: stranger\ncores: 1\n"));
}

async fn run(world: &World, plan: &plan::Plan, client: ClusterClient) -> Outcome {
    let (_keep, cancel) = watch::channel(Cancel::No);
    let clients = BTreeMap::from([("production".to_owned(), client)]);
    let options = apply::Options::default();
    let outcome = apply::run(plan, &clients, &Canary, &options, &Journal::none(), &|_: &apply::Event| {}, cancel).await;
    let stranger = lock(&world.clusters["production"]).guest_file(Vmid::new(1000).unwrap()).unwrap().2;
    assert!(stranger.contains("stranger") && stranger.lines().count() == 2, "{stranger}");
    outcome
}

/// The one guest of a fleet, with an id of the range or of its own, made anew or from another.
fn manifests() -> [String; 3] {
    let head = "fleet: homelab\nclusters:\n  production:\n    vmids: 1000-1999\n    vms:\n      - ";
    [
        "{name: prod-web-01, node: pve1, scsi0: {storage: local-lvm, size: 1GiB}}",
        "{name: prod-web-01, clone: {from: debian-12}}",
        "{name: prod-web-01, vmid: 1000, clone: {from: debian-12}}",
    ]
    .map(|guest| format!("{head}{guest}\n"))
}

#[tokio::test(start_paused = true)]
async fn an_id_that_was_taken_since_the_plan_makes_the_guest_stale() {
    for (manifest, kind, words) in manifests().into_iter().flat_map(|manifest| {
        let by_name = "vmid 1000 was taken meanwhile by 'stranger'";
        let by_kind = "vmid 1000 was taken meanwhile by another guest";
        [(GuestKind::Qemu, by_name), (GuestKind::Lxc, by_kind)].map(|(kind, words)| (manifest.clone(), kind, words))
    }) {
        let world = World::production();
        let plan = world.plan(&manifest).await;
        take(&world.clusters["production"], kind, "pve2");
        let outcome = run(&world, &plan, world.client("production")).await;
        let guest = &outcome.guests[0];
        assert_eq!((guest.result, guest.sent, guest.words.as_deref()), (GuestResult::Stale, 0, Some(words)));
        assert_eq!(guest.hint.as_deref(), Some("plan again"));
        assert_eq!(outcome.exit_code(&plan), 4, "{outcome:#?}");
        // Planned again, a range gives the next; an id that the manifest names is somebody else's.
        let again = world.plan(&manifest).await;
        if manifest.contains("vmid: 1000,") {
            assert!(again.is_empty() && text(&again).contains("1000"), "{}", text(&again));
        } else {
            world.converge(&manifest).await;
            assert_eq!(world.vmid("production", "prod-web-01").get(), 1001);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_taken_at_the_last_moment_is_not_taken_over() {
    for (manifest, node) in
        manifests().into_iter().flat_map(|manifest| ["pve1", "pve2"].map(|node| (manifest.clone(), node)))
    {
        let world = World::production();
        let plan = world.plan(&manifest).await;
        let cluster = Arc::clone(&world.clusters["production"]);
        let inner = SimTransport::first(Arc::clone(&cluster)).since(world.start);
        let snatcher = Snatcher { inner, cluster, node, done: AtomicBool::new(false) };
        let before = lock(&world.clusters["production"]).volume_ids();
        let outcome = run(&world, &plan, ClusterClient::new("production", Arc::new(snatcher))).await;
        let guest = &outcome.guests[0];
        assert_eq!((guest.result, guest.sent), (GuestResult::Stale, 1), "{guest:#?}");
        assert!(guest.words.as_ref().unwrap().contains("vmid 1000 was taken meanwhile by 'stranger'"), "{guest:#?}");
        assert_eq!(lock(&world.clusters["production"]).volume_ids(), before, "nothing is left behind");
    }
}
