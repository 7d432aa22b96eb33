//! How fast a cluster is read, beside what its nodes allow: `cargo run --release --example read_bench`, six
//! minutes.
//!
//! A simulated cluster is served over HTTPS in this process. Every request keeps one of its node's three workers for
//! 20 ms, so no client can be faster than the bound: the maximum over the nodes of requests served there × service
//! time ÷ workers, by the simulator's own log. A bare load generator shows how close to it the simulator comes. Beside
//! this program's reading, one thread that asks one thing after the other and sixteen threads with one queue send the
//! same requests; they know from the start what there is to ask, and wait only for the lists that say which guests
//! matter.
//!
//! The one thread is measured on a sample of the guests and multiplied; `~` says so. What takes a few seconds is run
//! three times, and the shortest of each client's runs counts.
//!
//! Arguments limit the run: `read_bench 1000 16` is one thousand guests on sixteen nodes alone; two more set how many
//! requests may be under way for a node and in all, which is how their defaults were found; then nothing else is run.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a program for developers ends where it cannot go on"
)]

#[path = "read_bench/plain.rs"]
mod plain;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pvefleet::client::{ClusterClient, HttpTransport, ReadOnlyClient};
use pvefleet::clusters::{Access, ClusterSettings, Credentials, Limits, Tls, Token};
use pvefleet::gather::{self, Wanted};
use pvefleet::live::Read;
use pvefleet::secret::Secret;
use pvefleet::sim::server::{Endpoint, Options, Running, Server};
use pvefleet::sim::transport::lock;
use pvefleet::sim::{Cluster, ClusterSpec, world};
use tokio::runtime::Runtime;

/// Workers of a node; `pveproxy` has three.
const WORKERS: u32 = 3;
/// How long a request keeps one, in milliseconds.
const SERVICE: u64 = 20;
/// How long the one thread is watched: all guests would take it minutes.
const SAMPLE: Duration = Duration::from_secs(6);
/// How long the load generator runs.
const GENERATED: Duration = Duration::from_millis(1500);
const NAME: &str = "bench";

/// The paths of a reading, in the order in which one needs the other.
struct Work {
    first: Vec<String>,
    lists: Vec<String>,
    nodes: Vec<String>,
    guests: Vec<String>,
}

impl Work {
    fn of(nodes: u32, guests: u32) -> Self {
        let text = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        let node = |number: u32| format!("/nodes/n{}", number % nodes + 1);
        Self {
            first: text(&["/version"]),
            lists: text(&[
                "/cluster/status",
                "/cluster/resources?type=vm",
                "/pools",
                "/cluster/ha/resources",
                "/access/permissions",
            ]),
            nodes: (0..nodes).flat_map(|n| ["qemu", "lxc"].map(|kind| format!("{}/{kind}", node(n)))).collect(),
            guests: (0..guests).map(|number| format!("{}/qemu/{}/pending", node(number), 1000 + number)).collect(),
        }
    }

    fn len(&self) -> usize {
        self.first.len() + self.lists.len() + self.nodes.len() + self.guests.len()
    }
}

/// What a client took; `sampled` where most of it is multiplied.
struct Time {
    took: Duration,
    sampled: bool,
}

impl Time {
    fn text(&self) -> String {
        format!("{}{:.2}", if self.sampled { "~" } else { "" }, self.took.as_secs_f64())
    }
}

/// A cluster whose guests all belong to the fleet, spread evenly.
fn spec(nodes: u32, guests: u32) -> ClusterSpec {
    let mut spec = world::builtin("staging");
    let model = spec.guests.pop().expect("the built-in world has guests");
    let node = spec.nodes.pop().expect("and a node");
    spec.name = NAME.to_owned();
    spec.nodes = (1..=nodes).map(|number| world::NodeSpec { name: format!("n{number}"), ..node.clone() }).collect();
    spec.guests = (0..guests)
        .map(|number| {
            let mut guest = model.clone();
            (guest.vmid, guest.node) = (1000 + number, format!("n{}", number % nodes + 1));
            guest.running = number % 2 == 0;
            let disk = format!("local-lvm:vm-{}-disk-0,size=16G", guest.vmid);
            for (option, value) in [("name", format!("guest-{number}")), ("scsi0", disk), ("tags", tag())] {
                guest.config.insert(option.to_owned(), value);
            }
            guest
        })
        .collect();
    (spec.latency, spec.workers) = (SERVICE, Some(WORKERS));
    spec
}

fn tag() -> String {
    "pvefleet-bench".to_owned()
}

/// A simulated cluster that is served, with threads of its own.
struct Served {
    runtime: Runtime,
    running: Running,
    endpoint: Endpoint,
}

impl Served {
    fn start(nodes: u32, guests: u32) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let clusters = vec![(NAME.to_owned(), Cluster::new(spec(nodes, guests), 1))];
        let running = runtime.block_on(Server::start(clusters, Options::default())).unwrap();
        let endpoint = running.endpoints()[0].clone();
        Self { runtime, running, endpoint }
    }

    /// Runs something: how long it took, how many requests came meanwhile, and the bound for them.
    fn measured(&self, run: impl FnOnce()) -> (Duration, usize, Duration) {
        let cluster = self.running.cluster(NAME).unwrap();
        let before = lock(&cluster).access_log().len();
        let started = Instant::now();
        run();
        let took = started.elapsed();
        let cluster = lock(&cluster);
        let log = cluster.access_log_after(before);
        let mut busy: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in log {
            assert_eq!(entry.status, 200, "{} {}", entry.method, entry.path);
            *busy.entry(&entry.served_by).or_default() += entry.service;
        }
        let most = busy.into_values().max().unwrap_or(0);
        (took, log.len(), Duration::from_micros(most / u64::from(WORKERS)))
    }

    fn stop(self) {
        self.runtime.block_on(self.running.stop());
    }
}

/// This program's own reading of the cluster, as `plan` does it.
fn ours(endpoint: &Endpoint, guests: usize, limits: Limits) {
    let token = Token { id: endpoint.token_id.clone(), secret: Secret::new(&endpoint.token_secret) };
    let settings = ClusterSettings {
        endpoints: vec![endpoint.url.clone()],
        credentials: Credentials { token: Some(token), login: None },
        tls: Tls::CaFile("ca.pem".to_owned()),
        access: Access::Read,
        limits,
        ..ClusterSettings::named(NAME)
    };
    let wanted = Wanted { fleet_tag: tag(), ..Wanted::default() };
    // As in the command line.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let live = runtime.block_on(async {
        let transport = HttpTransport::new(&settings, Some(endpoint.ca_pem.clone())).unwrap();
        let client = ReadOnlyClient::from(ClusterClient::new(NAME, Arc::new(transport)));
        gather::cluster(&client, &wanted).await
    });
    let Read::Known(live) = live else { panic!("the cluster was not read") };
    let known = live.guests.values().filter(|guest| guest.config.known().is_some()).count();
    assert_eq!(known, guests, "every guest is read");
}

/// The same requests, by so many threads; of the guests, only those that fit into the patience.
fn threads(served: &Served, work: &Work, count: usize, patience: Option<Duration>) -> Time {
    let guests = work.guests.len();
    let sample = patience.map_or(guests, |patience| {
        let each = u128::from(SERVICE) / u128::try_from(count).unwrap();
        guests.min(usize::try_from(patience.as_millis() / each.max(1)).unwrap())
    });
    let started = Instant::now();
    let team = plain::Team::new(&served.endpoint, count);
    team.get(&work.first);
    team.get(&work.lists);
    // Without these nobody knows which guests matter.
    team.get(&work.nodes);
    let head = started.elapsed();
    let started = Instant::now();
    team.get(&work.guests[..sample]);
    let rest = started.elapsed().mul_f64(guests as f64 / sample as f64);
    Time { took: head + rest, sampled: sample < guests }
}

/// How close to the bound the simulator itself comes: eight connections to each node, which do nothing else.
fn generator(served: &Served, nodes: u32, work: &Work) -> f64 {
    let each_node = GENERATED.as_millis() / u128::from(SERVICE) * u128::from(WORKERS);
    let count = usize::try_from(each_node).unwrap() * usize::try_from(nodes).unwrap();
    let paths: Vec<String> = work.guests.iter().cycle().take(count).cloned().collect();
    let (took, requests, bound) =
        served.measured(|| plain::generate(&served.endpoint, &paths, usize::try_from(nodes).unwrap(), 8));
    assert_eq!(requests, count);
    took.as_secs_f64() / bound.as_secs_f64()
}

/// The shortest of some runs of the same.
fn shortest<T>(times: usize, run: impl Fn() -> T, took: impl Fn(&T) -> Duration) -> T {
    (0..times).map(|_| run()).min_by_key(took).expect("at least one run")
}

fn main() {
    let arguments: Vec<u32> = std::env::args().skip(1).map(|text| text.parse().expect("a number")).collect();
    let mut limits = Limits::default();
    limits.per_node = arguments.get(2).map_or(limits.per_node, |limit| *limit as usize);
    limits.in_all = arguments.get(3).map_or(limits.in_all, |limit| *limit as usize);
    let begun = Instant::now();
    println!(
        "guests nodes | requests  wall s  bound s  ratio | generator | 16 threads s  ours/theirs | 1 thread s  \
         ours/theirs"
    );
    let (mut worst, mut against) = (0f64, 0f64);
    for guests in [1_000, 10_000] {
        for nodes in [1, 3, 16] {
            let is_other = |at: usize, own: u32| arguments.get(at).is_some_and(|only| *only != own);
            if is_other(0, guests) || is_other(1, nodes) {
                continue;
            }
            let served = Served::start(nodes, guests);
            let work = Work::of(nodes, guests);
            // A short run is easily disturbed by others on this machine.
            let times = if guests / nodes < 1_000 { 3 } else { 1 };
            let reading = || served.measured(|| ours(&served.endpoint, work.guests.len(), limits));
            let (took, requests, bound) = shortest(times, reading, |(took, ..)| *took);
            assert_eq!(requests, work.len(), "N + 2K + 6 requests");
            let ratio = took.as_secs_f64() / bound.as_secs_f64();
            if arguments.len() > 2 {
                println!("{guests:6} {nodes:5} | {requests:8} {took:?} {bound:?} {ratio:6.3}");
                continue;
            }
            let reached = shortest(times, || generator(&served, nodes, &work), |ratio| Duration::from_secs_f64(*ratio));
            let sixteen = shortest(times, || threads(&served, &work, 16, None), |time| time.took);
            let one = threads(&served, &work, 1, Some(SAMPLE));
            served.stop();
            let beside = |other: &Time| took.as_secs_f64() / other.took.as_secs_f64();
            (worst, against) = (worst.max(ratio), against.max(beside(&sixteen)));
            println!(
                "{guests:6} {nodes:5} | {requests:8} {:7.2} {:8.2} {ratio:6.3} | {reached:9.3} | {:>12} {:12.3} | \
                 {:>10} {:12.3}",
                took.as_secs_f64(),
                bound.as_secs_f64(),
                sixteen.text(),
                beside(&sixteen),
                one.text(),
                beside(&one),
            );
        }
    }
    println!("~: measured on a sample of the guests; the whole took {} s", begun.elapsed().as_secs());
    println!("read_bench: worst ratio to the bound {worst:.3}, to sixteen threads {against:.3}");
}
