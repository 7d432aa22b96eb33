//! The simulated cluster by itself: locks, tasks, lists, permissions, chance.

use pvefleet::pve::value::Vmid;
use pvefleet::sim::{Cluster, ClusterSpec, IncomingRequest, Reply, world};
use serde_json::{Value, json};

/// A cluster with a clock that only the test moves.
struct Bench {
    cluster: Cluster,
    now: u64,
    token: String,
}

impl Bench {
    fn of(spec: ClusterSpec) -> Self {
        let token = spec.tokens.first().map(|token| format!("PVEAPIToken={}={}", token.id, token.secret));
        Self { cluster: Cluster::new(spec, 7), now: 0, token: token.unwrap_or_default() }
    }

    fn new(name: &str) -> Self {
        Self::of(world::builtin(name))
    }

    fn send(&mut self, method: &str, path: &str, params: &[(&str, &str)]) -> Reply {
        let node = self.cluster.spec().nodes[0].name.clone();
        let request = IncomingRequest {
            method: method.to_owned(),
            path: path.to_owned(),
            params: params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            authorization: Some(self.token.clone()),
            node,
            ..IncomingRequest::default()
        };
        self.cluster.handle(&request, self.now)
    }

    /// The data of a call that must succeed.
    fn data(&mut self, method: &str, path: &str, params: &[(&str, &str)]) -> Value {
        let reply = self.send(method, path, params);
        assert_eq!(reply.response.status, 200, "{method} {path}: {}", reply.response.reason);
        serde_json::from_str::<Value>(&reply.response.body).map(|body| body["data"].clone()).unwrap_or_default()
    }

    /// The status and the phrase of a call that must fail.
    fn refusal(&mut self, method: &str, path: &str, params: &[(&str, &str)]) -> (u16, String) {
        let reply = self.send(method, path, params);
        assert_ne!(reply.response.status, 200, "{method} {path}");
        (reply.response.status, reply.response.reason)
    }

    /// Lets time pass until nothing runs; how the task ended.
    fn end(&mut self, upid: &Value) -> String {
        while self.cluster.is_busy() {
            self.now += 10;
            self.cluster.advance_to(self.now);
        }
        let upid = upid.as_str().unwrap_or_default().to_owned();
        let node = upid.split(':').nth(1).unwrap_or_default().to_owned();
        let status = self.data("GET", &format!("/nodes/{node}/tasks/{upid}/status"), &[]);
        status["exitstatus"].as_str().unwrap_or_default().to_owned()
    }

    fn done(&mut self, method: &str, path: &str, params: &[(&str, &str)]) {
        let upid = self.data(method, path, params);
        assert_eq!(self.end(&upid), "OK", "{method} {path}");
    }

    fn file(&self, vmid: u32) -> String {
        let file = Vmid::new(vmid).and_then(|vmid| self.cluster.guest_file(vmid));
        file.map(|(_, _, text)| text).unwrap_or_default()
    }

    fn volumes_of(&self, vmid: u32) -> Vec<String> {
        let name = format!("-{vmid}-");
        self.cluster.volume_ids().into_iter().map(|(_, volid)| volid).filter(|volid| volid.contains(&name)).collect()
    }
}

#[test]
fn equal_seeds_and_requests_give_equal_bytes() {
    let run = || {
        let mut bench = Bench::new("production");
        let mut replies = Vec::new();
        for vmid in 101..105 {
            let id = vmid.to_string();
            replies.push(bench.send("POST", "/nodes/pve1/qemu/9001/clone", &[("newid", &id), ("full", "1")]));
            bench.now += 137;
        }
        bench.now += 5000;
        for vmid in 101..105 {
            replies.push(bench.send("GET", &format!("/nodes/pve1/qemu/{vmid}/config"), &[]));
        }
        for path in
            ["/cluster/resources", "/cluster/tasks", "/nodes/pve1/tasks", "/nodes/pve1/storage/local-lvm/content"]
        {
            replies.push(bench.send("GET", path, &[]));
        }
        replies
    };
    assert_eq!(run(), run());
}

#[test]
fn a_template_is_cloned_by_several_at_once_and_an_id_is_taken_once() {
    let mut bench = Bench::new("production");
    let first = bench.data("POST", "/nodes/pve1/qemu/9001/clone", &[("newid", "101")]);
    let second = bench.data("POST", "/nodes/pve1/qemu/9001/clone", &[("newid", "102")]);
    let loser = bench.data("POST", "/nodes/pve1/qemu/9001/clone", &[("newid", "101")]);
    assert_eq!(bench.file(101), "", "the worker takes the id, not the call");
    bench.now += 10;
    let config = bench.data("GET", "/nodes/pve1/qemu/101/config", &[]);
    assert_eq!((&config["lock"], &config["description"]), (&json!("clone"), &json!(" qmclone temporary file")));
    assert_eq!(bench.end(&first), "OK");
    assert_eq!(bench.end(&second), "OK");
    assert!(bench.end(&loser).contains("can't lock file") || bench.end(&loser).contains("already exists"));
    assert_ne!(bench.file(101), bench.file(102));
    assert_eq!(bench.volumes_of(101), ["local-lvm:vm-101-cloudinit", "local-lvm:vm-101-disk-0"]);
}

#[test]
fn a_container_is_cloned_by_one_at_a_time() {
    let mut bench = Bench::new("staging");
    let create = [
        ("vmid", "200"),
        ("ostemplate", "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"),
        ("rootfs", "local-lvm:4"),
        ("net0", "name=eth0,bridge=vmbr0,ip=dhcp"),
    ];
    bench.done("POST", "/nodes/stg1/lxc", &create);
    assert!(bench.file(200).contains("ostype: debian\nrootfs: local-lvm:vm-200-disk-0,size=4G\n"));
    let clone = bench.data("POST", "/nodes/stg1/lxc/200/clone", &[("newid", "201")]);
    let (status, reason) = bench.refusal("POST", "/nodes/stg1/lxc/200/clone", &[("newid", "202")]);
    assert_eq!((status, reason.as_str()), (500, "CT is locked (disk)"));
    assert_eq!(bench.end(&clone), "OK");
    assert!(!bench.file(200).contains("lock"));
    bench.done("DELETE", "/nodes/stg1/lxc/201", &[]);
    assert!(bench.volumes_of(201).is_empty());
    assert_eq!(bench.data("POST", "/nodes/stg1/lxc/200/template", &[]), Value::Null);
}

#[test]
fn a_change_waits_for_the_lock_and_gives_up_after_ten_seconds() {
    let mut bench = Bench::new("staging");
    bench.data("POST", "/nodes/stg1/qemu/110/clone", &[("newid", "111"), ("full", "1")]);
    bench.now += 10;
    let waited = bench.send("PUT", "/nodes/stg1/qemu/111/config", &[("cores", "2")]);
    assert_eq!((waited.response.status, waited.delay), (200, 795));
    assert!(bench.file(111).contains("cores: 2"));
    bench.now += 1000;
    // 16 GiB of which a tenth is copied with 10 MiB a second.
    let slow = [("newid", "112"), ("full", "1"), ("bwlimit", "10240")];
    let upid = bench.data("POST", "/nodes/stg1/qemu/110/clone", &slow);
    bench.now += 10;
    let refused = bench.send("PUT", "/nodes/stg1/qemu/112/config", &[("cores", "2")]);
    assert_eq!(refused.response.reason, "can't lock file '/var/lock/qemu-server/lock-112.conf' - got timeout");
    assert_eq!(refused.delay, 10_000);
    // A worker that is stopped cleans up.
    bench.now += 10_000;
    let path = format!("/nodes/stg1/tasks/{}", upid.as_str().unwrap_or_default());
    bench.data("DELETE", &path, &[]);
    assert_eq!((bench.file(112).as_str(), bench.volumes_of(112).len()), ("", 0));
    let exit = bench.end(&upid);
    assert!(
        exit.starts_with("clone failed: copy failed: command '/usr/bin/qemu-img convert -p -n -r 10240K"),
        "{exit}"
    );
    assert!(exit.ends_with("failed: interrupted by signal"), "{exit}");
}

#[test]
fn of_two_changes_in_tasks_the_second_finds_the_file_changed() {
    let mut bench = Bench::new("staging");
    let digest = bench.data("GET", "/nodes/stg1/qemu/110/config", &[])["digest"].as_str().unwrap().to_owned();
    let path = "/nodes/stg1/qemu/110/config";
    // Both were checked before either had the lock file.
    let first = bench.data("POST", path, &[("digest", &digest), ("scsi1", "local-lvm:1")]);
    let second = bench.data("POST", path, &[("digest", &digest), ("scsi1", "local-lvm:1")]);
    assert_eq!(bench.end(&first), "OK");
    assert_eq!(bench.end(&second), "checksum mismatch (file change by other user?)");
    assert!(!bench.file(110).contains("unused"), "{}", bench.file(110));
}

#[test]
fn what_fails_midway_leaves_what_was_done() {
    let mut bench = Bench::new("staging");
    let change = [("cores", "4"), ("delete", "onboot"), ("scsi1", "local-lvm:vm-110-disk-9")];
    let (status, reason) = bench.refusal("PUT", "/nodes/stg1/qemu/110/config", &change);
    assert_eq!((status, reason.as_str()), (500, "volume 'local-lvm:vm-110-disk-9' does not exist"));
    let config = bench.data("GET", "/nodes/stg1/qemu/110/config", &[]);
    assert_eq!(config["cores"], 4, "saved, and waiting");
    assert!(bench.file(110).contains("[PENDING]\ncores: 4\n"));
}

#[test]
fn names_and_states_in_the_list_are_late_and_tags_are_not() {
    let mut bench = Bench::new("staging");
    let row = |bench: &mut Bench| {
        let rows = bench.data("GET", "/cluster/resources", &[("type", "vm")]);
        rows.as_array().into_iter().flatten().find(|row| row["vmid"] == 110).cloned().unwrap_or_default()
    };
    bench.data("PUT", "/nodes/stg1/qemu/110/config", &[("name", "renamed"), ("tags", "b;a")]);
    bench.done("POST", "/nodes/stg1/qemu/110/status/start", &[]);
    let seen = row(&mut bench);
    assert_eq!((&seen["name"], &seen["status"], &seen["tags"]), (&json!("scratch"), &json!("stopped"), &json!("a;b")));
    bench.now += 10_000;
    let seen = row(&mut bench);
    assert_eq!((&seen["name"], &seen["status"]), (&json!("renamed"), &json!("running")));
    bench.data("POST", "/nodes/stg1/qemu", &[("vmid", "150")]);
    let rows = bench.data("GET", "/cluster/resources", &[("type", "vm")]);
    let fresh = rows.as_array().into_iter().flatten().find(|row| row["vmid"] == 150).cloned().unwrap_or_default();
    assert_eq!(
        fresh,
        json!({ "id": "qemu/150", "lock": "create", "node": "stg1", "status": "unknown", "type": "qemu", "vmid": 150 })
    );
}

#[test]
fn a_node_that_is_down_answers_with_595() {
    let mut bench = Bench::new("production");
    bench.cluster.set_node_online("pve3", false);
    assert_eq!(bench.refusal("GET", "/nodes/pve3/lxc/120/config", &[]), (595, "Connection refused".to_owned()));
    let (status, reason) = bench.refusal("GET", "/nodes/pve9/qemu", &[]);
    assert_eq!(status, 500);
    assert!(reason.starts_with("hostname lookup 'pve9' failed"));
    let nodes = bench.data("GET", "/nodes", &[]);
    let down = nodes.as_array().into_iter().flatten().find(|node| node["node"] == "pve3").cloned().unwrap_or_default();
    assert_eq!((&down["status"], down.get("uptime")), (&json!("offline"), None));
    bench.now += 20_000;
    let rows = bench.data("GET", "/cluster/resources", &[("type", "vm")]);
    let lost = rows.as_array().into_iter().flatten().find(|row| row["vmid"] == 120).cloned().unwrap_or_default();
    assert_eq!(lost["status"], "unknown");
}

#[test]
fn a_limited_token_sees_and_does_what_it_may() {
    let mut spec = world::builtin("production");
    spec.tokens[0].grants = serde_json::from_value(json!([
        { "path": "/vms/110", "privileges": ["VM.Audit", "VM.Config.Options"] },
        { "path": "/vms/120", "privileges": ["VM.Audit"] },
    ]))
    .unwrap_or_default();
    let mut bench = Bench::of(spec);
    let rows = bench.data("GET", "/cluster/resources", &[("type", "vm")]);
    let ids: Vec<u64> = rows.as_array().into_iter().flatten().filter_map(|row| row["vmid"].as_u64()).collect();
    assert_eq!(ids, [110, 120]);
    bench.data("PUT", "/nodes/pve2/qemu/110/config", &[("description", "by a limited token")]);
    let denied = [
        ("PUT", "/nodes/pve2/qemu/110/config", ("cores", "2"), "(/vms/110, VM.Config.CPU)"),
        (
            "PUT",
            "/nodes/pve2/qemu/110/config",
            ("scsi2", "local-lvm:1"),
            "(/storage/local-lvm, Datastore.AllocateSpace)",
        ),
        ("PUT", "/nodes/pve2/qemu/110/config", ("startup", "order=1"), "(/, Sys.Modify)"),
        ("POST", "/nodes/pve2/qemu/110/clone", ("newid", "111"), "(/vms/110, VM.Clone)"),
        // Who may not see a guest does not learn whether it is there.
        ("GET", "/nodes/pve2/qemu/999/config", ("current", "1"), "(/vms/999, VM.Audit)"),
    ];
    for (method, path, param, text) in denied {
        assert_eq!(bench.refusal(method, path, &[param]), (403, format!("Permission check failed {text}")));
    }
    let (status, reason) = bench.refusal("PUT", "/nodes/pve2/qemu/110/config", &[("args", "-no-reboot")]);
    assert_eq!((status, reason.as_str()), (500, "only root can set 'args' config"));
}

#[test]
fn older_releases_do_not_know_what_came_later() {
    let mut spec = world::builtin("staging");
    spec.version = "8.4".to_owned();
    let mut bench = Bench::of(spec);
    assert_eq!(bench.data("GET", "/version", &[])["release"], "8.4");
    assert_eq!(bench.refusal("PUT", "/nodes/stg1/qemu/110/config", &[("allow-ksm", "0")]).0, 400);
    assert_eq!(bench.refusal("GET", "/cluster/ha/rules", &[]).0, 501);
    let status = bench.data("GET", "/nodes/stg1/qemu/110/status/current", &[]);
    assert_eq!(status.get("memhost"), None);
    let create = [
        ("vmid", "200"),
        ("ostemplate", "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"),
        ("rootfs", "local-lvm:4"),
    ];
    bench.done("POST", "/nodes/stg1/lxc", &create);
    assert!(!bench.file(200).contains("unprivileged"), "privileged unless said otherwise");
}

#[test]
fn a_guest_moves_with_its_volumes() {
    let mut bench = Bench::new("production");
    let (status, reason) = bench.refusal("POST", "/nodes/pve2/qemu/110/migrate", &[("target", "pve1")]);
    assert_eq!((status, reason.as_str()), (500, "can't migrate running VM without --online"));
    bench.done(
        "POST",
        "/nodes/pve2/qemu/110/migrate",
        &[("target", "pve1"), ("online", "1"), ("with-local-disks", "1")],
    );
    assert_eq!(bench.refusal("GET", "/nodes/pve2/qemu/110/config", &[]).0, 500);
    assert_eq!(bench.data("GET", "/nodes/pve1/qemu/110/status/current", &[])["status"], "running");
    let volumes = bench.cluster.volume_ids();
    assert!(volumes.contains(&("pve1".to_owned(), "local-lvm:vm-110-disk-0".to_owned())));
    assert!(volumes.contains(&(String::new(), "shared:110/vm-110-disk-0.qcow2".to_owned())));
}

#[test]
fn a_volume_of_a_container_moves_while_it_is_stopped() {
    let mut bench = Bench::new("production");
    let volume = [("volume", "rootfs"), ("storage", "shared")];
    let (_, reason) = bench.refusal("POST", "/nodes/pve3/lxc/120/move_volume", &volume);
    assert_eq!(reason, "cannot move volumes of a running container");
    bench.done("POST", "/nodes/pve3/lxc/120/status/shutdown", &[]);
    bench.done("POST", "/nodes/pve3/lxc/120/move_volume", &volume);
    let config = bench.data("GET", "/nodes/pve3/lxc/120/config", &[]);
    assert_eq!(config["rootfs"], "shared:120/vm-120-disk-0.raw,size=16G");
    assert_eq!(config["unused0"], "local-lvm:vm-120-disk-0");
    assert_eq!(config.get("lock"), None);
}

#[test]
fn what_is_not_simulated_is_marked_and_what_proxmox_has_not_is_refused_in_its_words() {
    let mut bench = Bench::new("staging");
    let mut answer = |method: &str, path: &str, params: &[(&str, &str)]| {
        let (status, reason) = bench.refusal(method, path, params);
        (status, reason, bench.cluster.access_log().last().is_some_and(|entry| entry.unimplemented))
    };
    let known = |reason: &str| (501, reason.to_owned(), true);
    assert_eq!(
        answer("GET", "/cluster/metrics/server", &[]),
        known("The simulator does not do this: GET /cluster/metrics/server")
    );
    // Of a call that is only known the parameters are checked all the same.
    let parameters = (400, "Parameter verification failed.".to_owned(), false);
    assert_eq!(answer("GET", "/cluster/metrics/server", &[("bogus", "1")]), parameters);
    let unknown = |call: &str| (501, format!("Method '{call}' not implemented"), false);
    assert_eq!(answer("GET", "/nope", &[]), unknown("GET /nope"));
    assert_eq!(answer("DELETE", "/version", &[]), unknown("DELETE /version"));
    let mut spec = world::builtin("staging");
    spec.version = "8.4.21".to_owned();
    let mut older = Bench::of(spec);
    assert_eq!(bench.send("GET", "/cluster/ha/rules", &[]).response.status, 200);
    assert_eq!(
        older.refusal("GET", "/cluster/ha/rules", &[]),
        (501, "Method 'GET /cluster/ha/rules' not implemented".to_owned())
    );
}

#[test]
fn the_node_that_is_asked_may_be_called_localhost() {
    let mut bench = Bench::new("staging");
    let node = bench.cluster.spec().nodes[0].name.clone();
    let by_name = bench.data("GET", &format!("/nodes/{node}/storage"), &[]);
    assert_eq!(bench.data("GET", "/nodes/localhost/storage", &[]), by_name);
}
