//! Stopped at any request and run again, an apply ends in the same state, with nothing doubled and nothing lost.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pvefleet::apply::{self, Cancel, Journal};
use pvefleet::client::ClusterClient;
use pvefleet::plan::Plan;
use pvefleet::pve::http::{Request, Sending, Transport};
use pvefleet::sim::transport::SimTransport;
use support::{Canary, World};
use tokio::sync::{Notify, watch};

const MANIFEST: &str = "fleet: homelab
clusters:
  production:
    vms:
      - name: prod-web-01
        vmid: 1001
        node: pve1
        clone: {from: debian-12}
        cores: 4
        scsi0: {size: 16GiB}
        net0: {bridge: vmbr1}
        ciuser: admin
        cipassword: {env: WEB_PASSWORD, version: 1}
        state: running
      - name: prod-db-01
        vmid: 1002
        node: pve3
        memory: 1024
        scsi0: {storage: local-lvm, size: 4GiB}
        scsi1: {storage: shared, size: 1GiB}
        state: running
    containers:
      - name: prod-dns-01
        vmid: 1101
        node: pve2
        ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst
        rootfs: {storage: local-lvm, size: 2GiB}
        net0: {name: eth0, bridge: vmbr0, ip: dhcp}
        unprivileged: true
        state: running
";

/// When the run is stopped, around the request that it is stopped at.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// Before it is sent.
    Before,
    /// When it was carried out, and its answer is not there yet.
    AnswerLost,
}

/// Counts requests, and never comes back from the one at which the run is stopped.
struct Stopping {
    inner: SimTransport,
    seen: Arc<AtomicUsize>,
    at: usize,
    moment: Moment,
    stopped: Arc<Notify>,
}

impl Transport for Stopping {
    fn send<'a>(&'a self, request: &'a Request) -> Sending<'a> {
        Box::pin(async move {
            if self.seen.fetch_add(1, Ordering::SeqCst) == self.at {
                if matches!(self.moment, Moment::AnswerLost) {
                    drop(self.inner.send(request).await);
                }
                self.stopped.notify_one();
                std::future::pending::<()>().await;
            }
            self.inner.send(request).await
        })
    }
}

/// Applies the plan, stopped at a request; tells whether it got that far.
async fn stopped_at(world: &World, plan: &Plan, at: usize, moment: Moment) -> bool {
    let stopped = Arc::new(Notify::new());
    let seen = Arc::new(AtomicUsize::new(0));
    let transport = Stopping {
        inner: SimTransport::first(Arc::clone(&world.clusters["production"])).since(world.start),
        seen,
        at,
        moment,
        stopped: Arc::clone(&stopped),
    };
    let clients = [("production".to_owned(), ClusterClient::new("production", Arc::new(transport)))].into();
    let (_keep, cancelled) = watch::channel(Cancel::No);
    let (options, journal) = (apply::Options::default(), Journal::none());
    let run = apply::run(plan, &clients, &Canary, &options, &journal, &|_: &apply::Event| {}, cancelled);
    tokio::select! {
        biased;
        () = stopped.notified() => true,
        _ = run => false,
    }
}

#[tokio::test(start_paused = true)]
async fn stopped_at_any_request_it_ends_in_the_same_state() {
    let reference = World::production();
    reference.converge(MANIFEST).await;
    let expected = reference.state();
    let mut runs = 0;
    for moment in [Moment::Before, Moment::AnswerLost] {
        for at in 0.. {
            let world = World::production();
            let plan = world.plan(MANIFEST).await;
            if !stopped_at(&world, &plan, at, moment).await {
                break;
            }
            runs += 1;
            let (again, outcome) = world.apply(MANIFEST).await;
            assert_eq!(outcome.exit_code(&again), 0, "{moment:?} request {at}: {outcome:#?}");
            assert!(world.plan(MANIFEST).await.is_empty(), "{moment:?} request {at}");
            assert_eq!(world.state(), expected, "{moment:?} request {at}");
        }
    }
    println!("crash: {runs} runs, each stopped at another request");
    assert!(runs > 60, "only {runs} runs");
}

#[tokio::test(start_paused = true)]
async fn a_saved_plan_goes_on_where_it_was_stopped() {
    let reference = World::production();
    reference.converge(MANIFEST).await;
    let expected = reference.state();
    for at in 0.. {
        let world = World::production();
        let plan = world.plan(MANIFEST).await;
        if !stopped_at(&world, &plan, at, Moment::AnswerLost).await {
            break;
        }
        // What runs ends meanwhile; the file is applied again as it is.
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        let outcome = world.carry_out(&plan).await;
        assert_eq!(outcome.exit_code(&plan), 0, "request {at}: {outcome:#?}");
        assert_eq!(world.state(), expected, "request {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_applies_at_once_double_nothing() {
    let reference = World::production();
    reference.converge(MANIFEST).await;
    let world = World::production();
    let plan = world.plan(MANIFEST).await;
    let (first, second) = tokio::join!(world.carry_out(&plan), world.carry_out(&plan));
    let (again, outcome) = world.apply(MANIFEST).await;
    assert_eq!(outcome.exit_code(&again), 0, "{first:#?}{second:#?}{outcome:#?}");
    assert_eq!(world.state(), reference.state());
}
