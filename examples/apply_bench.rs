//! How fast an apply is, beside what nodes and storages allow: `cargo run --release --example apply_bench`, ten minutes;
//! `-- --small` is a short run.
//!
//! Simulated clusters are served over HTTPS in this process. Every request keeps one of its node's three workers for
//! 20 ms; making a volume holds its storage's lock for 150 ms, and a linked clone takes half a second beside that. A
//! fleet of 200 new clones, of 1,000 guests of which one option changes, and of both at once, is planned and applied
//! with the defaults. No client can be faster than the bound, the highest of
//!
//! - over the nodes, requests served there × service time ÷ workers;
//! - over the locks, volumes made × the time that each holds it: a local storage has one on each node, a shared one has
//!   one in the whole cluster;
//! - over the gates of `MAX_ALLOCATIONS…`, the time of the clones behind each ÷ how many it lets through;
//!
//! from the simulator's log. Beside it a serial client does the same guest by guest with as few requests as it takes: it
//! reads, writes and reads, and waits for each task. It is measured on a sample and multiplied, `~` says so.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a program for developers ends where it cannot go on")]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pvefleet::apply::{self, Cancel, Event, Journal, SecretSource};
use pvefleet::client::{ClusterClient, HttpTransport, ReadOnlyClient, Reader};
use pvefleet::clusters::{self, Allocations, Registry, Variables};
use pvefleet::desired::{self, SecretReference};
use pvefleet::manifest;
use pvefleet::ops;
use pvefleet::plan::{self, Plan, PlanOptions};
use pvefleet::pve::http::{Method, Request};
use pvefleet::pve::value::Upid;
use pvefleet::secret::Secret;
use pvefleet::sim::server::{Options, Running, Server};
use pvefleet::sim::transport::lock;
use pvefleet::sim::{Cluster, ClusterSpec, world};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Workers of a node, and how long a request keeps one, in milliseconds.
const WORKERS: u32 = 3;
const SERVICE: u64 = 20;
/// How long a volume holds the lock of its storage, and a linked clone takes beside that, in milliseconds.
const ALLOCATE: u64 = 150;
const CLONE: u64 = 500;
/// A clone of the template has its disk and its drive for cloud-init.
const VOLUMES: u64 = 2;
/// How long the serial client is watched.
const SAMPLE: Duration = Duration::from_secs(6);
const NAME: &str = "bench";

/// What is to be done, and where.
#[derive(Clone, Copy)]
struct Shape {
    nodes: u32,
    storage: &'static str,
    clones: u32,
    updates: u32,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:5} {:9} {:6} {:7}", self.nodes, self.storage, self.clones, self.updates)
    }
}

impl Shape {
    /// The node of a guest; they are spread evenly.
    fn node(self, number: u32) -> String {
        format!("n{}", number % self.nodes + 1)
    }

    /// A cluster with a template on each node, and the guests that are to be changed.
    fn spec(self) -> ClusterSpec {
        let mut spec = world::builtin("production");
        let template = spec.guests.iter().find(|guest| guest.config.contains_key("template"));
        let template = template.expect("the built-in world has a template").clone();
        let node = spec.nodes.pop().expect("and a node");
        spec.name = NAME.to_owned();
        spec.nodes = (1..=self.nodes).map(|n| world::NodeSpec { name: format!("n{n}"), ..node.clone() }).collect();
        let templates = (0..self.nodes).map(|number| {
            let mut guest = template.clone();
            (guest.vmid, guest.node) = (9000 + number, self.node(number));
            let (disk, seed) = match self.storage {
                "shared" => (
                    format!("shared:{0}/base-{0}-disk-0.qcow2,size=8G", guest.vmid),
                    format!("shared:{0}/vm-{0}-cloudinit.qcow2,media=cdrom", guest.vmid),
                ),
                storage => (
                    format!("{storage}:base-{}-disk-0,size=8G", guest.vmid),
                    format!("{storage}:vm-{}-cloudinit,media=cdrom", guest.vmid),
                ),
            };
            for (option, value) in
                [("name", format!("golden-{number}")), ("scsi0", disk), ("ide2", seed), ("tags", "golden".to_owned())]
            {
                guest.config.insert(option.to_owned(), value);
            }
            guest
        });
        let guests = (0..self.updates).map(|number| {
            let (vmid, name) = (1000 + number, format!("guest-{number:04}"));
            let mark = format!("<!-- pvefleet v1 cluster={NAME} fleet={NAME} guest=qemu/{name} vmid={vmid} -->");
            let config = [
                ("description", mark),
                ("memory", "2048".to_owned()),
                ("name", name),
                ("scsi0", format!("local-lvm:vm-{vmid}-disk-0,size=8G")),
                ("tags", format!("pvefleet-{NAME}")),
            ];
            let config = config.map(|(option, value)| (option.to_owned(), value)).into();
            let running = number % 2 == 0;
            world::GuestSpec { vmid, node: self.node(number), running, config, pool: None, ..template.clone() }
        });
        spec.guests = templates.chain(guests).collect();
        (spec.latency, spec.workers) = (SERVICE, Some(WORKERS));
        (spec.tasks.allocate, spec.tasks.clone_linked) = (ALLOCATE, CLONE);
        spec
    }

    /// The fleet as it is to be: the new guests, and one option of the others set.
    fn manifest(self) -> String {
        let mut text = format!("fleet: {NAME}\nclusters:\n  {NAME}:\n    vmids: 3000-4999\n    vms:\n");
        for number in 0..self.clones {
            let (node, from) = (self.node(number), "{tag: golden}");
            text.push_str(&format!("      - {{name: new-{number:04}, node: {node}, clone: {{from: {from}}}}}\n"));
        }
        for number in 0..self.updates {
            let vmid = 1000 + number;
            text.push_str(&format!("      - {{name: guest-{number:04}, vmid: {vmid}, onboot: true}}\n"));
        }
        text
    }
}

/// A simulated cluster that is served, with threads of its own.
struct Served {
    runtime: Runtime,
    running: Running,
    registry: Registry,
}

impl Served {
    fn start(shape: Shape) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let clusters = vec![(NAME.to_owned(), Cluster::new(shape.spec(), 1))];
        let running = runtime.block_on(Server::start(clusters, Options::default())).unwrap();
        let endpoint = &running.endpoints()[0];
        let env = format!(
            "PROXMOX_CLUSTERS={NAME}\nPROXMOX_CLUSTER_{NAME}_API_URL={}\nPROXMOX_CLUSTER_{NAME}_TOKEN_ID={}\n\
             PROXMOX_CLUSTER_{NAME}_TOKEN_SECRET={}\nPROXMOX_CLUSTER_{NAME}_CA_FILE=ca.pem\n",
            endpoint.url, endpoint.token_id, endpoint.token_secret
        );
        let variables = Variables::merge(Vec::new(), &[(".env".to_owned(), env)]);
        let registry = clusters::load(&variables, &|_| Ok(String::new())).unwrap();
        Self { runtime, running, registry }
    }

    fn client(&self) -> ClusterClient {
        let authority = self.running.endpoints()[0].ca_pem.clone();
        let transport = HttpTransport::new(&self.registry.clusters[0], Some(authority)).unwrap();
        ClusterClient::new(NAME, Arc::new(transport))
    }

    fn stop(self) {
        self.runtime.block_on(self.running.stop());
    }
}

/// A runtime as the command line has it.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

struct NoSecrets;

impl SecretSource for NoSecrets {
    fn secret(&self, reference: &SecretReference) -> Result<Secret, String> {
        Err(format!("{} is not set", reference.env))
    }
}

/// How an apply went.
struct Applied {
    took: Duration,
    bound: Duration,
    /// Which of the bounds is the highest.
    by: &'static str,
    requests: usize,
    timeouts: usize,
}

impl Applied {
    fn ratio(&self) -> f64 {
        self.took.as_secs_f64() / self.bound.as_secs_f64()
    }
}

async fn planned(served: &Served, shape: Shape, client: &ClusterClient) -> Plan {
    let (fleet, _) = manifest::read(&[("fleet.yaml".to_owned(), shape.manifest())]);
    let (desired, _) = desired::resolve(&fleet.expect("the manifest is read"), &served.registry);
    let desired = desired.expect("the manifest resolves");
    let reader = Arc::new(ReadOnlyClient::from(client.clone())) as Arc<dyn Reader>;
    let live = ops::read(&desired, &BTreeMap::from([(NAME.to_owned(), Ok(reader))]), &[]).await;
    plan::plan(&desired, &live, &PlanOptions::default()).unwrap()
}

/// Plans and applies; only the applying counts.
fn applied(served: &Served, shape: Shape, parallel: Option<usize>) -> Applied {
    let timeouts = AtomicUsize::new(0);
    let (took, seen) = runtime().block_on(async {
        let client = served.client();
        let plan = planned(served, shape, &client).await;
        let changes = plan.changes().filter(|change| change.has_steps()).count();
        assert_eq!(changes, (shape.clones + shape.updates) as usize);
        let events = |event: &Event| {
            if let Event::Repeating { words, .. } = event {
                assert!(words.contains("got"), "{words}");
                timeouts.fetch_add(1, Ordering::Relaxed);
            }
        };
        let clients = BTreeMap::from([(NAME.to_owned(), client)]);
        let options = apply::Options { parallel, ..apply::Options::default() };
        let (_keep, cancel) = watch::channel(Cancel::No);
        let seen = lock(&served.running.cluster(NAME).unwrap()).requests();
        let started = Instant::now();
        let outcome = apply::run(&plan, &clients, &NoSecrets, &options, &Journal::none(), &events, cancel).await;
        let took = started.elapsed();
        assert_eq!(outcome.exit_code(&plan), 0, "{:#?}", outcome.guests.iter().find(|guest| !guest.result.is_good()));
        (took, seen)
    });
    let (bound, by, requests) = bound(served, shape, seen);
    Applied { took, bound, by, requests, timeouts: timeouts.into_inner() }
}

/// What no client can be faster than, from the requests that were served, the volumes that were made and the clones.
fn bound(served: &Served, shape: Shape, seen: usize) -> (Duration, &'static str, usize) {
    let cluster = served.running.cluster(NAME).unwrap();
    let cluster = lock(&cluster);
    let log = cluster.access_log_after(seen);
    let mut busy: BTreeMap<&str, u64> = BTreeMap::new();
    let mut clones: BTreeMap<&str, u64> = BTreeMap::new();
    for entry in log {
        *busy.entry(&entry.served_by).or_default() += entry.service;
        if entry.path.ends_with("/clone") {
            *clones.entry(&entry.served_by).or_default() += 1;
        }
    }
    let workers = Duration::from_micros(busy.into_values().max().unwrap_or(0) / u64::from(WORKERS));
    let most = clones.values().max().copied().unwrap_or(0);
    let all: u64 = clones.values().sum();
    assert_eq!(all, u64::from(shape.clones), "nothing was cloned twice");
    let is_shared = shape.storage == "shared";
    let on_a_storage = if is_shared { all } else { most };
    let locks = Duration::from_millis(on_a_storage * VOLUMES * ALLOCATE);
    let each = VOLUMES * ALLOCATE + CLONE;
    let open = Allocations::default();
    let gates = [(on_a_storage * each, open.per_storage), (most * each, open.per_node), (all * each, open.in_all)];
    let gates = gates.map(|(time, open)| Duration::from_millis(time / open as u64)).into_iter().max();
    let bounds = [(workers, "workers"), (locks, "locks"), (gates.unwrap_or_default(), "gates")];
    let (bound, by) = bounds.into_iter().max().expect("three bounds");
    (bound, by, log.len())
}

/// A client that does one thing after the other: how long it would take for all.
fn serial(shape: Shape) -> Duration {
    let served = Served::start(shape);
    let took = runtime().block_on(async {
        let client = served.client();
        let mut took = Duration::ZERO;
        if shape.clones > 0 {
            took += sampled(shape.clones, |number| {
                let client = client.clone();
                async move { clone(&client, shape, number).await }
            })
            .await;
        }
        if shape.updates > 0 {
            took += sampled(shape.updates, |number| {
                let client = client.clone();
                async move {
                    let path = format!("/nodes/{}/qemu/{}/config", shape.node(number), 1000 + number);
                    let read = Request::get(path.clone());
                    client.read(&read).await.unwrap();
                    client.write(&Request::new(Method::Put, path).with("onboot", "1")).await.unwrap();
                    assert_eq!(client.read(&read).await.unwrap()["onboot"], 1);
                }
            })
            .await;
        }
        took
    });
    served.stop();
    took
}

/// Does something for one guest after the other for a while; the time for all.
async fn sampled<F: Future<Output = ()>>(count: u32, mut one: impl FnMut(u32) -> F) -> Duration {
    let started = Instant::now();
    let mut done = 0;
    while done < count && started.elapsed() < SAMPLE {
        one(done).await;
        done += 1;
    }
    started.elapsed().mul_f64(f64::from(count) / f64::from(done))
}

/// Clones, looks four times a second whether it is done, sets the tags and reads the guest.
async fn clone(client: &ClusterClient, shape: Shape, number: u32) {
    let (node, newid) = (shape.node(number), 3000 + number);
    let source = 9000 + number % shape.nodes;
    let request = Request::new(Method::Post, format!("/nodes/{node}/qemu/{source}/clone"));
    let request = request.with("newid", newid.to_string()).with("name", format!("new-{number:04}"));
    let upid: Upid = client.write(&request).await.unwrap().as_str().unwrap().parse().unwrap();
    let status = Request::get(format!("/nodes/{node}/tasks/{upid}/status"));
    loop {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let answer = client.read(&status).await.unwrap();
        if answer["status"] == "stopped" {
            assert_eq!(answer["exitstatus"], "OK");
            break;
        }
    }
    let tags = Request::new(Method::Put, format!("/nodes/{node}/qemu/{newid}/config")).with("tags", "x");
    client.write(&tags).await.unwrap();
    client.read(&Request::get(format!("/nodes/{node}/qemu/{newid}/config"))).await.unwrap();
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let small = arguments.iter().any(|argument| argument == "--small");
    // How the default of `--parallel` was found.
    let parallel = arguments.iter().find_map(|argument| argument.parse().ok());
    let (clones, updates) = if small { (20, 100) } else { (200, 1000) };
    let begun = Instant::now();
    println!(
        "nodes storage   clones updates |  wall s  bound s of        ratio | requests for each  lock time-outs | \
         serial client s  ours/its"
    );
    let (mut worst, mut timeouts) = (0f64, 0);
    for (nodes, storage) in [(1, "local-lvm"), (3, "local-lvm"), (3, "shared")] {
        for (clones, updates) in [(clones, 0), (0, updates), (clones, updates)] {
            let shape = Shape { nodes, storage, clones, updates };
            let served = Served::start(shape);
            let run = applied(&served, shape, parallel);
            served.stop();
            let other = serial(shape);
            (worst, timeouts) = (worst.max(run.ratio()), timeouts + run.timeouts);
            println!(
                "{shape} | {:7.2} {:8.2} {:8} {:6.3} | {:8} {:8.1} {:15} | {:>15} {:9.3}",
                run.took.as_secs_f64(),
                run.bound.as_secs_f64(),
                run.by,
                run.ratio(),
                run.requests,
                run.requests as f64 / f64::from(clones + updates),
                run.timeouts,
                format!("~{:.1}", other.as_secs_f64()),
                run.took.as_secs_f64() / other.as_secs_f64(),
            );
        }
    }
    println!("~: measured on a sample of the guests; the whole took {} s", begun.elapsed().as_secs());
    println!("lock time-outs: {timeouts}");
    println!("apply_bench: worst ratio to the bound {worst:.3}");
}
