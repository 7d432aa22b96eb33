//! The simulator's locks of storages: who makes a volume waits for others, ten seconds at most.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

use pvefleet::sim::{Cluster, Exchange, IncomingRequest, world};
use serde_json::Value;

/// A cluster on which making a volume takes so long, with a clock that only the test moves.
struct Bench {
    cluster: Cluster,
    now: u64,
}

impl Bench {
    fn new(name: &str, allocate: u64) -> Self {
        let mut spec = world::builtin(name);
        spec.tasks.allocate = allocate;
        Self { cluster: Cluster::new(spec, 1), now: 0 }
    }

    /// Status, reason, delay and data of an answer.
    fn told(&mut self, method: &str, path: &str, params: &[(&str, &str)]) -> (u16, String, u64, Value) {
        let token = &self.cluster.spec().tokens[0];
        let request = IncomingRequest {
            method: method.to_owned(),
            path: path.to_owned(),
            params: params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            authorization: Some(format!("PVEAPIToken={}={}", token.id, token.secret)),
            node: self.cluster.spec().nodes[0].name.clone(),
            ..IncomingRequest::default()
        };
        match self.cluster.exchange(&request, self.now) {
            Exchange::Answered(reply) => {
                let body: Value = serde_json::from_str(&reply.response.body).unwrap_or_default();
                (reply.response.status, reply.response.reason, reply.delay, body["data"].clone())
            }
            other => panic!("{method} {path}: {other:?}"),
        }
    }

    /// Starts a task.
    fn start(&mut self, path: &str, params: &[(&str, &str)]) -> String {
        let (status, reason, _, data) = self.told("POST", path, params);
        assert_eq!(status, 200, "{path}: {reason}");
        data.as_str().unwrap().to_owned()
    }

    /// When each of these tasks ended and how, in steps of a tenth of a second.
    fn ends(&mut self, tasks: &[String]) -> Vec<(u64, String)> {
        let mut ends = vec![None; tasks.len()];
        while ends.contains(&None) {
            self.now += 100;
            for (task, end) in tasks.iter().zip(&mut ends).filter(|(_, end)| end.is_none()) {
                let node = task.split(':').nth(1).unwrap();
                let status = self.told("GET", &format!("/nodes/{node}/tasks/{task}/status"), &[]).3;
                *end = status["exitstatus"].as_str().map(|exit| (self.now, exit.to_owned()));
            }
        }
        ends.into_iter().flatten().collect()
    }

    fn log(&mut self, task: &str) -> Vec<String> {
        let node = task.split(':').nth(1).unwrap();
        let lines = self.told("GET", &format!("/nodes/{node}/tasks/{task}/log"), &[("limit", "0")]).3;
        lines.as_array().unwrap().iter().map(|line| line["t"].as_str().unwrap().to_owned()).collect()
    }

    fn volumes_of(&self, vmid: u32) -> Vec<String> {
        let all = self.cluster.volume_ids().into_iter().map(|(_, volid)| volid);
        all.filter(|volid| volid.contains(&format!("-{vmid}-"))).collect()
    }
}

const LOCAL: &str = "can't lock file '/var/lock/pve-manager/pve-storage-local-lvm' - got timeout";
const SHARED: &str = "cfs-lock 'storage-shared' error: got lock request timeout";
const CLONE: &str = "/nodes/stg1/qemu/9000/clone";
const CONFIG: &str = "/nodes/stg1/qemu/110/config";

#[test]
fn workers_make_their_volumes_one_after_the_other() {
    // A linked clone of the template makes two: its disk, and its drive for cloud-init.
    let mut bench = Bench::new("staging", 2000);
    let tasks: Vec<String> =
        ["101", "102", "103"].iter().map(|id| bench.start(CLONE, &[("newid", id), ("full", "0")])).collect();
    let ok = |at: u64| (at, "OK".to_owned());
    // Each has its two turns in a row, and copies after that.
    assert_eq!(bench.ends(&tasks), [ok(4400), ok(8400), ok(12_400)]);
    assert_eq!(bench.log(&tasks[0]).iter().filter(|line| line.contains("trying to acquire")).count(), 0);
    assert!(bench.log(&tasks[2]).contains(&"trying to acquire lock...".to_owned()));
    assert_eq!(bench.volumes_of(103).len(), 2);
    // Nothing is held any more.
    let later = bench.now;
    let task = bench.start(CLONE, &[("newid", "104"), ("full", "0")]);
    assert_eq!(bench.ends(&[task]), [ok(later + 4400)]);
}

#[test]
fn who_waits_too_long_fails_and_leaves_nothing() {
    let mut bench = Bench::new("staging", 6000);
    let root = [("ostemplate", "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"), ("rootfs", "local-lvm:4")];
    let before = bench.cluster.volume_ids();
    let tasks = [
        // Twelve seconds of the lock.
        bench.start(CLONE, &[("newid", "101"), ("full", "0")]),
        bench.start(CLONE, &[("newid", "102"), ("full", "1")]),
        bench.start("/nodes/stg1/qemu", &[("vmid", "103"), ("scsi0", "local-lvm:4")]),
        bench.start("/nodes/stg1/lxc", &[("vmid", "104"), root[0], root[1]]),
        bench.start("/nodes/stg1/qemu", &[("vmid", "105"), ("cores", "2")]),
        bench.start(CONFIG, &[("scsi1", "local-lvm:4"), ("cores", "3")]),
    ];
    // While a clone waits it looks as any clone does.
    bench.now = 5000;
    assert_eq!(bench.told("GET", "/nodes/stg1/qemu/102/config", &[]).3["lock"], "clone");
    let ends = bench.ends(&tasks);
    let exits: Vec<&str> = ends.iter().map(|(_, exit)| exit.as_str()).collect();
    assert_eq!(
        exits,
        [
            "OK",
            &format!("clone failed: {LOCAL}"),
            &format!("unable to create VM 103 - {LOCAL}"),
            &format!("unable to create CT 104 - {LOCAL}"),
            "OK",
            LOCAL,
        ]
    );
    assert!(ends[1..4].iter().all(|(at, _)| (10_000..=10_100).contains(at)), "{ends:?}");
    assert!(ends[4].0 < 6000, "who makes no volume does not wait");
    let ids: Vec<u32> = bench.cluster.guest_ids().map(|id| id.get()).collect();
    assert_eq!(ids, [101, 105, 110, 9000]);
    assert_eq!(bench.cluster.volume_ids().len(), before.len() + 2, "those of the first");
    // As with every change: what came before the disk waits to be applied.
    let config = bench.told("GET", CONFIG, &[]).3;
    assert_eq!((&config["cores"], &config["scsi1"]), (&Value::from(3), &Value::Null), "{config}");
}

#[test]
fn a_call_waits_with_its_answer_and_gives_up_as_workers_do() {
    let mut bench = Bench::new("staging", 6000);
    let begin = bench.now;
    assert_eq!(bench.told("PUT", CONFIG, &[("scsi1", "local-lvm:4")]).2, 6000, "it makes one itself");
    let task = bench.start("/nodes/stg1/qemu", &[("vmid", "103"), ("scsi0", "local-lvm:4")]);
    bench.now += 1500;
    let (status, reason, delay, _) = bench.told("PUT", CONFIG, &[("scsi2", "local-lvm:4")]);
    assert_eq!((status, reason.as_str(), delay), (500, LOCAL, 10_000), "the lock is held for another 10.5 s");
    assert_eq!(bench.told("PUT", CONFIG, &[("cores", "2")]).2, 0, "nothing is made");
    assert!(bench.volumes_of(110).len() == 2, "{:?}", bench.volumes_of(110));
    bench.now += 1000;
    assert_eq!(bench.told("PUT", CONFIG, &[("scsi2", "local-lvm:4")]).2, 9500 + 6000);
    assert_eq!(bench.ends(&[task])[0].0 - begin, 12_300);
}

#[test]
fn a_shared_lock_holds_in_the_whole_cluster_and_a_local_one_on_its_node() {
    for (storage, fails) in [("shared", true), ("local-lvm", false)] {
        let mut bench = Bench::new("production", 11_000);
        let drive = format!("{storage}:4");
        let tasks: Vec<String> = [("pve1", "501"), ("pve2", "502")]
            .map(|(node, id)| bench.start(&format!("/nodes/{node}/qemu"), &[("vmid", id), ("scsi0", &drive)]))
            .into();
        let ends = bench.ends(&tasks);
        assert_eq!(ends[0].1, "OK");
        let second = if fails { format!("unable to create VM 502 - {SHARED}") } else { "OK".to_owned() };
        assert_eq!(ends[1].1, second);
        if fails {
            let line = "trying to acquire cfs lock 'storage-shared' ...".to_owned();
            assert!(bench.log(&tasks[1]).contains(&line));
        }
    }
}

#[test]
fn a_template_waits_for_its_disks_and_bears_its_mark_without_them() {
    let mut bench = Bench::new("staging", 11_000);
    let tasks = [
        bench.start("/nodes/stg1/qemu", &[("vmid", "103"), ("scsi0", "local-lvm:4")]),
        bench.start("/nodes/stg1/qemu/110/template", &[]),
    ];
    assert_eq!(bench.ends(&tasks).into_iter().map(|(_, exit)| exit).collect::<Vec<_>>(), ["OK", LOCAL]);
    let config = bench.told("GET", CONFIG, &[]).3;
    assert_eq!((&config["template"], &config["scsi0"]), (&1.into(), &"local-lvm:vm-110-disk-0,size=16G".into()));
}

#[test]
fn locks_are_kept_with_the_state_and_times_are_scaled() {
    let mut bench = Bench::new("staging", 2000);
    bench.cluster.set_service(|spec| spec.time_scale = 0.5);
    bench.told("PUT", CONFIG, &[("scsi1", "local-lvm:4")]);
    let text = serde_json::to_string(&bench.cluster).unwrap();
    bench.cluster = serde_json::from_str(&text).unwrap();
    assert_eq!(bench.told("PUT", CONFIG, &[("scsi2", "local-lvm:4")]).2, 2000, "waited for one, made one");
}
