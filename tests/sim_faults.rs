//! Faults of the simulator: each does what it says, to the requests it names and to no others.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pvefleet::pve::http::{Method, Request, SendError, Transport};
use pvefleet::sim::transport::{SharedCluster, SimTransport, lock};
use pvefleet::sim::{Cluster, Effect, Exchange, Fault, FaultKind, IncomingRequest, world};
use serde_json::{Value, json};

/// A cluster with faults, and a clock that only the test moves.
struct Bench {
    cluster: Cluster,
    now: u64,
    asked: String,
}

impl Bench {
    fn new(name: &str, faults: Vec<Fault>) -> Self {
        let mut cluster = Cluster::new(world::builtin(name), 1);
        cluster.set_faults(faults);
        let asked = cluster.spec().nodes[0].name.clone();
        Self { cluster, now: 0, asked }
    }

    fn send(&mut self, method: &str, path: &str, params: &[(&str, &str)]) -> Exchange {
        let token = &self.cluster.spec().tokens[0];
        let request = IncomingRequest {
            method: method.to_owned(),
            path: path.to_owned(),
            params: params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            authorization: Some(format!("PVEAPIToken={}={}", token.id, token.secret)),
            node: self.asked.clone(),
            ..IncomingRequest::default()
        };
        self.cluster.exchange(&request, self.now)
    }

    /// Status, reason and delay of an answer.
    fn told(&mut self, method: &str, path: &str, params: &[(&str, &str)]) -> (u16, String, u64) {
        match self.send(method, path, params) {
            Exchange::Answered(reply) => (reply.response.status, reply.response.reason, reply.delay),
            other => panic!("{method} {path}: {other:?}"),
        }
    }

    fn data(&mut self, path: &str) -> Value {
        // A log is read whole; other calls know no limit and are not asked with one.
        let whole: &[(&str, &str)] = if path.ends_with("/log") { &[("limit", "1000")] } else { &[] };
        match self.send("GET", path, whole) {
            Exchange::Answered(reply) => serde_json::from_str::<Value>(&reply.response.body).unwrap()["data"].clone(),
            other => panic!("{path}: {other:?}"),
        }
    }

    /// How the task of a call ends, and its log.
    fn task(&mut self, method: &str, path: &str, params: &[(&str, &str)]) -> (String, Vec<String>) {
        let Exchange::Answered(reply) = self.send(method, path, params) else { panic!("no answer") };
        let body: Value = serde_json::from_str(&reply.response.body).unwrap();
        let upid = body["data"].as_str().unwrap_or_else(|| panic!("{} {body}", reply.response.reason)).to_owned();
        while self.cluster.is_busy() {
            self.now += 50;
            self.cluster.advance_to(self.now);
        }
        let path = format!("/nodes/{}/tasks/{upid}", upid.split(':').nth(1).unwrap());
        let status = self.data(&format!("{path}/status"));
        let log = self.data(&format!("{path}/log"));
        let lines = log.as_array().unwrap().iter().map(|line| line["t"].as_str().unwrap().to_owned()).collect();
        (status["exitstatus"].as_str().unwrap().to_owned(), lines)
    }

    fn cores(&mut self) -> Value {
        self.data("/nodes/stg1/qemu/110/config")["cores"].clone()
    }
}

const CONFIG: &str = "/nodes/stg1/qemu/110/config";

#[test]
fn a_status_comes_with_or_without_the_effect() {
    for (effect, cores) in [(Effect::None, 1), (Effect::Done, 3)] {
        let kind = FaultKind::Status { code: 500, text: "got no worker upid".to_owned(), effect };
        let mut bench = Bench::new("staging", vec![Fault::new("PUT", "*/config", kind).once_after(0)]);
        assert_eq!(bench.told("PUT", CONFIG, &[("cores", "3")]), (500, "got no worker upid".to_owned(), 0));
        assert_eq!(bench.cores(), cores);
        assert_eq!(bench.told("PUT", CONFIG, &[("memory", "512")]).0, 200, "only once");
    }
}

#[test]
fn connections_are_refused_cut_and_lost() {
    for (kind, ends, cores) in [
        (FaultKind::Refuse, Exchange::Refused, 1),
        (FaultKind::RequestCut, Exchange::Lost(0), 1),
        (FaultKind::AnswerLost, Exchange::Lost(0), 3),
        (FaultKind::Hang { effect: Effect::None }, Exchange::Hangs, 1),
        (FaultKind::Hang { effect: Effect::Done }, Exchange::Hangs, 3),
    ] {
        let mut bench = Bench::new("staging", vec![Fault::new("put", "*/config", kind.clone()).once_after(1)]);
        assert_eq!(bench.told("PUT", CONFIG, &[("memory", "512")]).0, 200, "the first one passes");
        assert_eq!(bench.send("PUT", CONFIG, &[("cores", "3")]), ends, "{kind:?}");
        assert_eq!(bench.cores(), cores, "{kind:?}");
    }
}

#[test]
fn slow_answers_are_late_and_right() {
    let mut bench = Bench::new("staging", vec![Fault::new("PUT", "*/config", FaultKind::Slow(1500))]);
    assert_eq!(bench.told("PUT", CONFIG, &[("cores", "3")]), (200, "OK".to_owned(), 1500));
    assert_eq!(bench.cores(), 3);
}

#[test]
fn a_lock_is_not_to_be_had_by_calls_and_by_tasks() {
    let fault = Fault::new("PUT", "*/config", FaultKind::LockTimeout).once_after(0);
    let started = Fault::new("POST", "*/status/start", FaultKind::LockTimeout).once_after(0);
    let mut bench = Bench::new("staging", vec![fault, started]);
    let text = "can't lock file '/var/lock/qemu-server/lock-110.conf' - got timeout";
    assert_eq!(bench.told("PUT", CONFIG, &[("cores", "3")]), (500, text.to_owned(), 10_000));
    assert_eq!(bench.cores(), 1);
    bench.now += 10_000;
    let (exit, log) = bench.task("POST", "/nodes/stg1/qemu/110/status/start", &[]);
    assert_eq!((exit.as_str(), log[0].as_str()), (text, "trying to acquire lock..."));
    assert_eq!(bench.task("POST", "/nodes/stg1/qemu/110/status/start", &[]).0, "OK", "the next one has it");
    // What takes no lock is not met and does not use the fault up.
    let mut bench = Bench::new("staging", vec![Fault::always(FaultKind::LockTimeout).once_after(0)]);
    assert_eq!(bench.cores(), 1);
    assert_eq!(bench.told("PUT", CONFIG, &[("cores", "3")]).0, 500);
}

#[test]
fn a_task_fails_with_or_without_its_effect() {
    for (effect, exists) in [(Effect::None, 500), (Effect::Done, 200)] {
        let kind = FaultKind::TaskFailure { exit: "clone failed: it broke".to_owned(), effect };
        let mut bench = Bench::new("staging", vec![Fault::new("POST", "*/clone", kind).once_after(0)]);
        let volumes = bench.cluster.volume_ids().len();
        let (exit, log) = bench.task("POST", "/nodes/stg1/qemu/9000/clone", &[("newid", "101")]);
        assert_eq!(exit, "clone failed: it broke");
        assert_eq!(log.last().unwrap(), "TASK ERROR: clone failed: it broke");
        assert_eq!(bench.told("GET", "/nodes/stg1/qemu/101/config", &[]).0, exists, "{effect:?}");
        assert_eq!(bench.cluster.volume_ids().len() > volumes, effect == Effect::Done, "{effect:?}");
        assert_eq!(bench.task("POST", "/nodes/stg1/qemu/9000/clone", &[("newid", "102")]).0, "OK");
    }
    let kind = FaultKind::TaskFailure { exit: "WARNINGS: 1".to_owned(), effect: Effect::Done };
    let mut bench = Bench::new("staging", vec![Fault::new("POST", "*/start", kind)]);
    let (exit, log) = bench.task("POST", "/nodes/stg1/qemu/110/status/start", &[]);
    assert_eq!((exit.as_str(), log.last().unwrap().as_str()), ("WARNINGS: 1", "TASK WARNINGS: 1"));
}

#[test]
fn a_credential_expires_for_a_while() {
    let mut bench = Bench::new("staging", vec![Fault::always(FaultKind::TicketExpired).between(1000, 2000)]);
    assert_eq!(bench.told("GET", "/version", &[]).0, 200);
    bench.now = 1000;
    assert_eq!(bench.told("GET", "/version", &[]), (401, "Authentication failed!".to_owned(), 0));
    bench.now = 2000;
    assert_eq!(bench.told("GET", "/version", &[]).0, 200);
}

#[test]
fn a_node_is_down_for_a_time_and_comes_back() {
    let down = FaultKind::NodeOffline { node: "pve3".to_owned() };
    let mut bench = Bench::new("production", vec![Fault::always(down.clone()).between(5000, 40_000)]);
    let config = "/nodes/pve3/lxc/120/config";
    assert_eq!(bench.told("GET", config, &[]).0, 200);
    bench.now = 20_000;
    assert_eq!(bench.told("GET", config, &[]), (595, "Connection refused".to_owned(), 0));
    let rows = bench.data("/cluster/resources");
    let lost = rows.as_array().unwrap().iter().find(|row| row["vmid"] == 120).unwrap().clone();
    assert_eq!(lost["status"], "unknown", "it went at its time, not when somebody looked");
    bench.now = 60_000;
    assert_eq!(bench.told("GET", config, &[]).0, 200);
    let rows = bench.data("/cluster/resources");
    assert_eq!(rows.as_array().unwrap().iter().find(|row| row["vmid"] == 120).unwrap()["status"], "running");

    // By count of requests, and the node that is asked itself.
    let mut fault = Fault::always(FaultKind::NodeOffline { node: "pve1".to_owned() });
    (fault.skip, fault.times) = (2, Some(2));
    let mut bench = Bench::new("production", vec![fault]);
    let answered: Vec<bool> =
        (0..6).map(|_| matches!(bench.send("GET", "/version", &[]), Exchange::Answered(_))).collect();
    assert_eq!(answered, [true, true, false, false, true, true]);
    bench.cluster.inject(Fault::always(down));
    assert_eq!(bench.told("GET", config, &[]).0, 595);
    bench.cluster.clear_faults();
    assert_eq!(bench.told("GET", config, &[]).0, 200, "what a fault did ends with it");
}

#[test]
fn a_full_storage_takes_nothing_more_and_leaves_nothing_behind() {
    let full = FaultKind::StorageFull { storage: "local-lvm".to_owned() };
    let mut bench = Bench::new("staging", vec![Fault::always(full).between(0, 100_000)]);
    let volumes = bench.cluster.volume_ids();
    let text = "Cannot create new thin volume, free space in thin pool pve/data reached threshold.";
    let (status, reason, _) = bench.told("PUT", CONFIG, &[("scsi1", "local-lvm:4")]);
    assert_eq!(status, 500);
    assert!(reason.contains(text), "{reason}");
    for (path, params) in [
        ("/nodes/stg1/qemu/110/clone", vec![("newid", "111"), ("full", "1")]),
        ("/nodes/stg1/qemu", vec![("vmid", "112"), ("scsi0", "local-lvm:4")]),
        (
            "/nodes/stg1/lxc",
            vec![
                ("vmid", "113"),
                ("ostemplate", "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"),
                ("rootfs", "local-lvm:4"),
            ],
        ),
    ] {
        let (exit, _) = bench.task("POST", path, &params);
        assert!(exit.contains(text), "{path}: {exit}");
    }
    assert_eq!(bench.cluster.volume_ids(), volumes);
    assert_eq!(bench.cluster.guest_ids().count(), 2, "no half guests");
    bench.now = 100_000;
    assert_eq!(bench.told("PUT", CONFIG, &[("scsi1", "local-lvm:4")]).0, 200);
}

#[test]
fn without_a_majority_a_cluster_is_read_and_not_written() {
    let mut bench = Bench::new("production", vec![Fault::always(FaultKind::QuorumLost)]);
    let status = bench.data("/cluster/status");
    assert_eq!(status.as_array().unwrap()[0]["quorate"], 0);
    assert_eq!(bench.told("GET", "/cluster/resources", &[]).0, 200);
    let file = |vmid: u32, reason: &str| {
        reason.starts_with(&format!("unable to open file '/etc/pve/nodes/pve2/qemu-server/{vmid}.conf.tmp."))
            && reason.ends_with("' - Permission denied")
    };
    let (code, reason, _) = bench.told("PUT", "/nodes/pve2/qemu/110/config", &[("cores", "3")]);
    assert!(code == 500 && file(110, &reason), "{reason}");
    let (_, reason, _) = bench.told("POST", "/nodes/pve2/qemu", &[("vmid", "105")]);
    let rest = reason.strip_prefix("unable to create VM 105 - ").unwrap();
    assert!(file(105, rest), "{reason}");
    let no_quorum = "create pool failed: cfs-lock 'file-user_cfg' error: no quorum!";
    assert_eq!(bench.told("POST", "/pools", &[("poolid", "q1")]).1, no_quorum);
    let clone = bench.told("POST", "/nodes/pve1/qemu/9001/clone", &[("newid", "101")]);
    assert_eq!(clone.1, "cluster not ready - no quorum?");
    let (exit, _) = bench.task("PUT", "/nodes/pve2/qemu/110/resize", &[("disk", "scsi0"), ("size", "+1G")]);
    assert!(file(110, &exit), "{exit}");
    assert_eq!(bench.task("POST", "/nodes/pve2/qemu/110/status/stop", &[]).0, "OK", "a process can be ended");
    bench.cluster.clear_faults();
    assert_eq!(bench.told("PUT", "/nodes/pve2/qemu/110/config", &[("cores", "3")]).0, 200);
    // Two of three nodes down are as bad.
    bench.cluster.set_node_online("pve2", false);
    bench.cluster.set_node_online("pve3", false);
    assert_eq!(bench.told("POST", "/pools", &[("poolid", "q1")]).1, no_quorum);
}

#[test]
fn a_fault_may_be_of_one_cluster_and_equal_seeds_roll_alike() {
    let text = json!({ "path": "/version", "chance": 0.5, "kind": "refuse" });
    let fault: Fault = serde_json::from_value(text).unwrap();
    let met = |seed: u64| {
        let mut cluster = Cluster::new(world::builtin("staging"), seed);
        cluster.set_faults(vec![fault.clone()]);
        let mut bench = Bench { cluster, now: 0, asked: "stg1".to_owned() };
        (0..100).map(|_| bench.send("GET", "/version", &[]) == Exchange::Refused).collect::<Vec<_>>()
    };
    assert_eq!(met(7), met(7));
    assert_ne!(met(7), met(8));
    assert!(met(7).contains(&true) && met(7).contains(&false));
}

#[tokio::test(start_paused = true)]
async fn a_client_in_the_same_process_waits_in_virtual_time() {
    let cluster: SharedCluster = Arc::new(Mutex::new(Cluster::new(world::builtin("staging"), 1)));
    let transport = SimTransport::first(Arc::clone(&cluster)).with_deadline(Duration::from_secs(30));
    lock(&cluster).inject(Fault::new("PUT", "*/config", FaultKind::Hang { effect: Effect::Done }));
    lock(&cluster).inject(Fault::new("POST", "*", FaultKind::RequestCut));
    let begin = tokio::time::Instant::now();
    let put = Request::new(Method::Put, CONFIG).with("cores", "3");
    assert!(matches!(transport.send(&put).await, Err(SendError::MaybeApplied(_))));
    assert_eq!(begin.elapsed(), Duration::from_secs(30));
    let post = Request::new(Method::Post, "/nodes/stg1/qemu/110/status/start");
    assert!(matches!(transport.send(&post).await, Err(SendError::MaybeApplied(_))));
    let config = transport.send(&Request::get(CONFIG)).await.unwrap();
    assert!(config.body.contains("\"cores\":3"), "{}", config.body);
    assert!(!lock(&cluster).is_busy(), "the cut request was not carried out");
}
