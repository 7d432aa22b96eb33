//! What the simulated cluster keeps for all its nodes: storages, HA, mappings, jobs, the firewall; and what of it
//! reaches the guests.

#![expect(clippy::unwrap_used, reason = "a test")]

use pvefleet::sim::{Cluster, IncomingRequest, world};
use serde_json::{Value, json};

struct Bench {
    cluster: Cluster,
    now: u64,
    token: &'static str,
}

const ROOT: &str = "root@pam!pvefleet=00000000-0000-4000-8000-000000000000";

impl Bench {
    fn new() -> Self {
        let mut spec = world::builtin("production");
        let mut limited = spec.tokens[0].clone();
        limited.id = "ops@pve!t".to_owned();
        limited.secret = "s".to_owned();
        limited.grants = serde_json::from_value(json!([
            { "path": "/vms", "role": "PVEVMAdmin" }, { "path": "/mapping/pci/gpu", "role": "PVEMappingUser" },
        ]))
        .unwrap();
        spec.tokens.push(limited);
        Self { cluster: Cluster::new(spec, 1), now: 0, token: ROOT }
    }

    fn send(&mut self, method: &str, path: &str, params: &[(&str, &str)]) -> (u16, String, Value) {
        let request = IncomingRequest {
            method: method.to_owned(),
            path: path.to_owned(),
            params: params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            authorization: Some(format!("PVEAPIToken={}", self.token)),
            node: "pve1".to_owned(),
            ..IncomingRequest::default()
        };
        let reply = self.cluster.handle(&request, self.now).response;
        let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        (reply.status, reply.reason, body["data"].clone())
    }

    fn data(&mut self, method: &str, path: &str, params: &[(&str, &str)]) -> Value {
        let (status, reason, data) = self.send(method, path, params);
        assert_eq!(status, 200, "{method} {path}: {reason}");
        data
    }

    fn refusal(&mut self, method: &str, path: &str, params: &[(&str, &str)]) -> String {
        let (status, reason, _) = self.send(method, path, params);
        assert_ne!(status, 200, "{method} {path}");
        reason
    }

    /// How a task ends.
    fn end(&mut self, method: &str, path: &str, params: &[(&str, &str)]) -> String {
        let upid = self.data(method, path, params).as_str().unwrap().to_owned();
        while self.cluster.is_busy() {
            self.now += 10;
            self.cluster.advance_to(self.now);
        }
        let node = upid.split(':').nth(1).unwrap();
        self.data("GET", &format!("/nodes/{node}/tasks/{upid}/status"), &[])["exitstatus"].as_str().unwrap().to_owned()
    }

    fn done(&mut self, method: &str, path: &str, params: &[(&str, &str)]) {
        assert_eq!(self.end(method, path, params), "OK", "{method} {path}");
    }

    fn wait(&mut self, time: u64) {
        self.now += time;
        self.cluster.advance_to(self.now);
    }
}

#[test]
fn a_storage_that_is_defined_again_has_what_was_on_it() {
    let mut bench = Bench::new();
    let definition = [("storage", "tank"), ("type", "dir"), ("path", "/tank"), ("content", "images")];
    bench.data("POST", "/storage", &definition);
    bench.done("POST", "/nodes/pve1/qemu", &[("vmid", "700"), ("scsi0", "tank:1")]);
    let volumes =
        |bench: &mut Bench| bench.data("GET", "/nodes/pve1/storage/tank/content", &[]).as_array().unwrap().len();
    assert_eq!(volumes(&mut bench), 1);
    bench.data("PUT", "/storage/tank", &[("disable", "1")]);
    assert_eq!(bench.refusal("GET", "/nodes/pve1/storage/tank/content", &[]), "storage 'tank' is disabled");
    bench.data("DELETE", "/storage/tank", &[]);
    assert_eq!(bench.refusal("GET", "/nodes/pve1/storage/tank/content", &[]), "storage 'tank' does not exist");
    bench.data("POST", "/storage", &definition);
    assert_eq!(volumes(&mut bench), 1);
    bench.data("DELETE", "/storage/tank", &[]);
    let elsewhere = [("storage", "tank"), ("type", "dir"), ("path", "/other"), ("content", "images")];
    bench.data("POST", "/storage", &elsewhere);
    assert_eq!(volumes(&mut bench), 0);
}

#[test]
fn what_a_type_of_storage_has_not_is_refused() {
    let mut bench = Bench::new();
    let lvm = [("storage", "vg"), ("type", "lvm"), ("vgname", "vg"), ("export", "/x")];
    assert_eq!(bench.refusal("POST", "/storage", &lvm), "unexpected property 'export'");
    bench.data("POST", "/storage", &lvm[..3]);
    assert_eq!(
        bench.refusal("PUT", "/storage/vg", &[("delete", "vgname")]),
        "update storage failed: unable to delete required option 'vgname'"
    );
    let shared = bench.data("GET", "/storage/shared", &[]);
    assert_eq!((&shared["shared"], &shared["path"]), (&json!(1), &json!("/mnt/pve/shared")));
    bench.token = "ops@pve!t=s";
    assert_eq!(bench.data("GET", "/storage", &[]), json!([]));
    assert!(
        bench.refusal("POST", "/storage", &lvm).starts_with("Permission check failed (/storage, Datastore.Allocate")
    );
}

#[test]
fn the_ha_manager_starts_what_it_is_given_and_shows_it() {
    let mut bench = Bench::new();
    bench.done("POST", "/nodes/pve2/qemu", &[("vmid", "700")]);
    assert_eq!(bench.data("GET", "/cluster/ha/status/current", &[]).as_array().unwrap().len(), 2);
    bench.data("POST", "/cluster/ha/resources", &[("sid", "vm:700")]);
    let service = |bench: &mut Bench| {
        let rows = bench.data("GET", "/cluster/ha/status/current", &[]);
        let row = rows.as_array().unwrap().iter().find(|row| row["type"] == "service").unwrap().clone();
        (row["state"].as_str().unwrap().to_owned(), row["node"].as_str().unwrap().to_owned())
    };
    assert_eq!(service(&mut bench), ("starting".to_owned(), "pve2".to_owned()));
    bench.wait(15_000);
    assert_eq!(service(&mut bench).0, "started");
    let status = bench.data("GET", "/cluster/ha/status/manager_status", &[]);
    assert_eq!(status["manager_status"]["service_status"]["vm:700"]["state"], "started");
    assert_eq!(status["lrm_status"]["pve2"]["state"], "active");
    bench.data("PUT", "/cluster/ha/resources/700", &[("state", "stopped")]);
    assert_eq!(service(&mut bench).0, "stopping");
    bench.wait(15_000);
    assert_eq!(service(&mut bench).0, "stopped");
    bench.data("PUT", "/cluster/ha/resources/700", &[("state", "ignored")]);
    assert_eq!(service(&mut bench).0, "ignored");
}

#[test]
fn a_guest_that_goes_is_taken_out_of_what_names_it() {
    let mut bench = Bench::new();
    for vmid in ["700", "701"] {
        bench.done("POST", "/nodes/pve1/qemu", &[("vmid", vmid)]);
        bench.data("POST", "/cluster/ha/resources", &[("sid", vmid), ("state", "stopped")]);
    }
    let rule =
        [("rule", "apart"), ("type", "resource-affinity"), ("affinity", "negative"), ("resources", "vm:701,vm:700")];
    bench.data("POST", "/cluster/ha/rules", &rule);
    let alone = [("rule", "alone"), ("type", "node-affinity"), ("nodes", "pve1"), ("resources", "vm:700")];
    bench.data("POST", "/cluster/ha/rules", &alone);
    bench.data("POST", "/cluster/backup", &[("id", "j1"), ("schedule", "daily"), ("vmid", "700,701")]);
    bench.data("POST", "/cluster/backup", &[("id", "j2"), ("schedule", "daily"), ("vmid", "700")]);
    bench.data("PUT", "/nodes/pve1/qemu/700/firewall/options", &[("enable", "1")]);
    bench.done("POST", "/nodes/pve1/qemu/700/clone", &[("newid", "702")]);
    assert_eq!(bench.cluster.cluster_file("firewall/702.fw"), Some("[OPTIONS]\n\nenable: 1\n\n"));
    bench.done("DELETE", "/nodes/pve1/qemu/700", &[("purge", "1")]);
    assert_eq!(bench.cluster.cluster_file("firewall/700.fw"), None);
    assert_eq!(
        bench.cluster.cluster_file("ha/rules.cfg"),
        Some("resource-affinity: apart\n\taffinity negative\n\tresources vm:701\n\n")
    );
    let jobs = bench.data("GET", "/cluster/backup", &[]);
    assert_eq!((jobs.as_array().unwrap().len(), &jobs[0]["vmid"]), (1, &json!("701")));
    // What is left of the rule keeps one resource apart from none.
    let text = "400 Rule 'apart' is invalid.";
    assert!(
        bench
            .refusal("PUT", "/cluster/ha/rules/apart", &[("type", "resource-affinity"), ("comment", "x")])
            .ends_with(text)
    );
}

#[test]
fn a_vm_gets_a_device_by_the_name_that_its_node_has() {
    let mut bench = Bench::new();
    let maps = ["id=1234:abcd,node=pve1,path=1-2", "id=1234:abcd,node=pve2,path=1-2"];
    bench.data("POST", "/cluster/mapping/usb", &[("id", "key"), ("map", maps[0]), ("map", maps[1])]);
    let shown = bench.data("GET", "/cluster/mapping/usb/key", &[]);
    assert_eq!(shown["map"], json!(maps));
    bench.done("POST", "/nodes/pve3/qemu", &[("vmid", "700"), ("usb0", "mapping=key"), ("hostpci0", "mapping=gpu")]);
    let start = bench.end("POST", "/nodes/pve3/qemu/700/status/start", &[]);
    assert_eq!(start, "USB device mapping not found for 'key'");
    bench.data("PUT", "/nodes/pve3/qemu/700/config", &[("usb0", "mapping=nokey"), ("delete", "hostpci0")]);
    assert_eq!(bench.end("POST", "/nodes/pve3/qemu/700/status/start", &[]), "USB device mapping not found for 'nokey'");
    bench.data("PUT", "/nodes/pve3/qemu/700/config", &[("delete", "usb0"), ("virtiofs0", "dirid=nodir")]);
    assert_eq!(bench.end("POST", "/nodes/pve3/qemu/700/status/start", &[]), "Directory ID nodir does not exist.");
    bench.token = "ops@pve!t=s";
    bench.data("PUT", "/nodes/pve3/qemu/700/config", &[("hostpci0", "mapping=gpu")]);
    assert_eq!(
        bench.refusal("PUT", "/nodes/pve3/qemu/700/config", &[("usb0", "mapping=key")]),
        "Permission check failed (/mapping/usb/key, Mapping.Use)"
    );
    assert_eq!(
        bench.refusal("PUT", "/nodes/pve3/qemu/700/config", &[("virtiofs1", "dirid=share")]),
        "Permission check failed (/mapping/dir/share, Mapping.Use)"
    );
}

#[test]
fn groups_of_nodes_are_for_release_8() {
    let mut spec = world::builtin("production");
    spec.version = "8.4".to_owned();
    let mut bench = Bench { cluster: Cluster::new(spec, 1), now: 0, token: ROOT };
    bench.done("POST", "/nodes/pve1/qemu", &[("vmid", "700")]);
    bench.data("POST", "/cluster/ha/groups", &[("group", "front"), ("nodes", "pve1:2,pve2"), ("restricted", "1")]);
    bench.data("POST", "/cluster/ha/resources", &[("sid", "700"), ("group", "front"), ("state", "stopped")]);
    assert_eq!(bench.data("GET", "/cluster/ha/groups/front", &[])["restricted"], 1);
    assert_eq!(
        bench.refusal("DELETE", "/cluster/ha/groups/front", &[]),
        "delete ha group failed: ha group is used by service 'vm:700'"
    );
    assert_eq!(
        bench.refusal("PUT", "/cluster/ha/resources/700", &[("group", "back")]),
        "HA group 'back' does not exist"
    );
    let mut nine = Bench::new();
    assert_eq!(
        nine.refusal("GET", "/cluster/ha/groups", &[]),
        "cannot index groups: ha groups have been migrated to rules"
    );
}
