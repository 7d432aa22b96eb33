//! A run that is killed, or loses an answer, at any write: it ends in the same place, with nothing doubled and
//! nothing lost.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pvefleet::apply::{self, Cancel, Event, Journal, Outcome};
use pvefleet::client::ClusterClient;
use pvefleet::plan::{Plan, PlanOptions};
use pvefleet::pve::http::{Request, SendError, Sending, Transport};
use pvefleet::sim::transport::SimTransport;
use support::{Canary, World};
use tokio::sync::watch;

/// Ids are given: a plan made after a kill would choose others for what is not there yet.
const FIRST: &str = "fleet: homelab
clusters:
  production:
    vmids: 1000-1999
    vms:
      - name: prod-db-01
        vmid: 1000
        node: pve3
        memory: 2048
        scsihw: virtio-scsi-single
        scsi0: {storage: local-lvm, size: 16GiB}
        net0: {model: virtio, bridge: vmbr0}
        ostype: l26
        state: running
      - name: prod-web-01
        vmid: 1001
        node: [pve1]
        clone: {from: debian-12, full: false}
        cores: 4
        scsi0: {size: 32GiB, ssd: true}
        net0: {bridge: vmbr1, tag: 20}
        cipassword: {env: PASSWORD, version: 1}
        state: running
      - name: prod-old-01
        vmid: 1002
        node: [pve1]
        clone: {from: debian-12, full: true}
        state: running
    containers:
      - name: prod-dns-01
        vmid: 1003
        node: pve2
        ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst
        rootfs: {storage: local-lvm, size: 8GiB}
        net0: {name: eth0, bridge: vmbr0, ip: dhcp}
        memory: 512
        unprivileged: true
        state: running
";

/// What the second run changes: options, a new disk, a grown one, a reboot, a secret, power; one guest goes.
fn second() -> String {
    FIRST
        .replace("memory: 2048", "memory: 4096\n        cores: 2\n        reboot: allow")
        .replace("size: 16GiB}", "size: 20GiB}\n        scsi1: {storage: local-lvm, size: 4GiB}")
        .replace("version: 1", "version: 2")
        .replace("tag: 20", "tag: 30")
        .replace(
            "      - name: prod-old-01\n        vmid: 1002\n        node: [pve1]\n        clone: {from: debian-12, full: true}\n        state: running\n",
            "",
        )
        .replace("memory: 512", "memory: 1024")
        .replace("rootfs: {storage: local-lvm, size: 8GiB}", "rootfs: {storage: local-lvm, size: 10GiB}")
}

/// What happens to one write.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mishap {
    /// It is not sent, and nothing comes back ever.
    SilentBefore,
    /// It is carried out, and nothing comes back ever.
    SilentAfter,
    /// It is lost on its way, and the connection breaks.
    LostBefore,
    /// It is carried out, and the connection breaks.
    LostAfter,
}

/// A transport to which that happens at one write.
struct Unlucky {
    inner: SimTransport,
    writes: AtomicUsize,
    at: usize,
    mishap: Mishap,
    /// Path of the write that it happened to.
    met: Mutex<String>,
}

impl Transport for Unlucky {
    fn send<'a>(&'a self, request: &'a Request) -> Sending<'a> {
        Box::pin(async move {
            if !request.method.is_write() || self.writes.fetch_add(1, Ordering::Relaxed) != self.at {
                return self.inner.send(request).await;
            }
            self.met.lock().unwrap().clone_from(&request.path);
            if matches!(self.mishap, Mishap::SilentAfter | Mishap::LostAfter) {
                let _ = self.inner.send(request).await;
            }
            if matches!(self.mishap, Mishap::SilentBefore | Mishap::SilentAfter) {
                std::future::pending::<()>().await;
            }
            Err(SendError::MaybeApplied("the connection broke".to_owned()))
        })
    }
}

/// A world with its transport, whose time begins with it.
fn world() -> (World, SimTransport) {
    let world = World::production();
    let transport = SimTransport::first(Arc::clone(&world.clusters["production"]));
    (world, transport)
}

/// Runs the plan with a mishap; the outcome, where there is one, and the path of the write that met it.
async fn run(transport: SimTransport, plan: &Plan, at: usize, mishap: Mishap) -> (Option<Outcome>, String) {
    let met = Mutex::default();
    let unlucky = Arc::new(Unlucky { inner: transport, writes: AtomicUsize::new(0), at, mishap, met });
    let client = ClusterClient::new("production", Arc::<Unlucky>::clone(&unlucky));
    let clients = BTreeMap::from([("production".to_owned(), client)]);
    let (_keep, cancel) = watch::channel(Cancel::No);
    let (options, journal) = (apply::Options::default(), Journal::none());
    let run = apply::run(plan, &clients, &Canary, &options, &journal, &|_: &Event| {}, cancel);
    let outcome = tokio::time::timeout(Duration::from_secs(900), run).await.ok();
    let met = unlucky.met.lock().unwrap().clone();
    assert!(!met.is_empty(), "write {at} is beyond the plan");
    (outcome, met)
}

fn options() -> PlanOptions {
    PlanOptions { prune: true, ..PlanOptions::default() }
}

/// Kills the run that leads from one manifest to the next at each of its writes, and goes on in both ways: with the
/// same plan, and with a new one.
async fn killed_everywhere(before: Option<&str>, manifest: &str) {
    let (whole, _) = world();
    if let Some(before) = before {
        whole.converge(before).await;
    }
    let (plan, outcome) = whole.apply_with(manifest, &options()).await;
    assert_eq!(outcome.exit_code(&plan), 0, "{}\n{outcome:#?}", support::text(&plan));
    let end = whole.state();
    let steps: usize = plan.changes().map(|change| change.steps.len()).sum();
    assert!(steps >= 8, "{}", support::text(&plan));
    for at in 0..steps {
        for (mishap, same_plan) in [
            (Mishap::SilentBefore, true),
            (Mishap::SilentAfter, true),
            (Mishap::SilentBefore, false),
            (Mishap::SilentAfter, false),
            (Mishap::LostBefore, true),
            (Mishap::LostAfter, true),
        ] {
            let context = format!("write {at}, {mishap:?}, same plan {same_plan}");
            let (world, transport) = world();
            if let Some(before) = before {
                world.converge(before).await;
            }
            let desired = world.desired(manifest);
            let first = world.plan_with(&desired, &options()).await;
            let (ended, met) = run(transport, &first, at, mishap).await;
            if let Some(outcome) = ended {
                // Whether a reboot took place cannot be seen, and it is not repeated on suspicion.
                let code = if mishap == Mishap::LostBefore && met.ends_with("/reboot") { 5 } else { 0 };
                assert_eq!(outcome.exit_code(&first), code, "{context}, {met}: {outcome:#?}");
            }
            let (plan, outcome) = if same_plan {
                let outcome = world.carry_out(&first).await;
                (first, outcome)
            } else {
                world.apply_with(manifest, &options()).await
            };
            assert_eq!(outcome.exit_code(&plan), 0, "{context}: {}\n{outcome:#?}", support::text(&plan));
            assert_eq!(world.state(), end, "{context}");
            let again = world.plan_with(&desired, &options()).await;
            assert!(again.is_empty(), "{context}: {}", support::text(&again));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn while_guests_are_made() {
    killed_everywhere(None, FIRST).await;
}

#[tokio::test(start_paused = true)]
async fn while_guests_are_changed() {
    killed_everywhere(Some(FIRST), &second()).await;
}
