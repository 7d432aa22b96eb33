//! What happens to guests and their volumes in a simulated cluster, call by call; and that no volume is ever lost.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};

use pvefleet::pve::value::Vmid;
use pvefleet::sim::{Cluster, ClusterSpec, IncomingRequest};
use serde_json::{Value, json};

struct World {
    cluster: Cluster,
    now: u64,
}

fn world() -> World {
    let both = ["images", "rootdir"];
    let spec: ClusterSpec = serde_json::from_value(json!({
        "name": "test", "version": "9.2.3", "standalone": false,
        "nodes": [{ "name": "n1" }, { "name": "n2" }],
        "storages": [
            { "name": "local", "type": "dir", "content": ["iso", "vztmpl", "backup", "import", "images"],
              "files": { "iso/a.iso": 4096, "vztmpl/debian-12.tar.zst": 4096, "import/cloud.qcow2": 2_147_483_648u64 } },
            { "name": "thin", "type": "lvmthin", "content": both },
            { "name": "tank", "type": "zfspool", "content": both, "capacity_gib": 60 },
            { "name": "thick", "type": "lvm", "content": both, "capacity_gib": 10 },
            { "name": "nfs", "type": "nfs", "content": both, "shared": true },
        ],
        "tokens": [{ "id": "root@pam!t", "privsep": false, "secret": "s" }],
    }))
    .unwrap();
    World { cluster: Cluster::new(spec, 5), now: 0 }
}

impl World {
    fn send(&mut self, method: &str, path: &str, params: &[(&str, &str)]) -> (u16, Value) {
        let request = IncomingRequest {
            cookie: None,
            csrf_token: None,
            method: method.to_owned(),
            path: path.to_owned(),
            params: params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            authorization: Some("PVEAPIToken=root@pam!t=s".to_owned()),
            node: "n1".to_owned(),
        };
        let reply = self.cluster.handle(&request, self.now).response;
        self.now += 20;
        (reply.status, serde_json::from_str(&reply.body).unwrap_or(Value::Null))
    }

    fn get(&mut self, path: &str) -> Value {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let params: Vec<(&str, &str)> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let (status, body) = self.send("GET", path, &params);
        assert_eq!(status, 200, "{path}: {body}");
        body["data"].clone()
    }

    fn settle(&mut self) {
        while self.cluster.is_busy() {
            self.now += 50;
            self.cluster.advance_to(self.now);
        }
    }

    /// What a task came to, or the text of the refusal.
    fn run(&mut self, method: &str, path: &str, params: &[(&str, &str)]) -> String {
        let (status, body) = self.send(method, path, params);
        self.settle();
        let Some(upid) = body["data"].as_str().filter(|text| text.starts_with("UPID:")) else {
            let errors = body["errors"].as_object().map(|errors| json!(errors).to_string());
            return if status == 200 { "done".to_owned() } else { errors.unwrap_or_else(|| text(&body["message"])) };
        };
        let node = upid.split(':').nth(1).unwrap().to_owned();
        let upid = upid.to_owned();
        text(&self.get(&format!("/nodes/{node}/tasks/{upid}/status"))["exitstatus"])
    }

    fn ok(&mut self, method: &str, path: &str, params: &[(&str, &str)]) {
        let exit = self.run(method, path, params);
        assert!(matches!(exit.as_str(), "OK" | "done"), "{method} {path} {params:?}: {exit}");
    }

    fn log(&mut self) -> String {
        let tasks = self.get("/nodes/n1/tasks");
        let upid = text(&tasks[0]["upid"]);
        let log = self.get(&format!("/nodes/n1/tasks/{upid}/log?limit=0"));
        log.as_array().unwrap().iter().map(|line| format!("{}\n", text(&line["t"]))).collect()
    }

    fn file(&self, vmid: u32) -> String {
        self.cluster.guest_file(Vmid::new(vmid).unwrap()).map(|(_, _, file)| file).unwrap_or_default()
    }

    fn node(&self, vmid: u32) -> String {
        self.cluster.guest_file(Vmid::new(vmid).unwrap()).unwrap().1.to_owned()
    }

    fn runs(&self, vmid: u32) -> bool {
        self.cluster.is_running(Vmid::new(vmid).unwrap())
    }

    fn has(&self, volid: &str) -> bool {
        self.cluster.volume_ids().iter().any(|(_, id)| id == volid)
    }

    fn vm(&mut self, vmid: u32, disk: &str) {
        let id = vmid.to_string();
        self.ok("POST", "/nodes/n1/qemu", &[("vmid", &id), ("name", "a"), ("memory", "256"), ("scsi0", disk)]);
    }

    fn container(&mut self, vmid: u32, root: &str) {
        let id = vmid.to_string();
        let template = ("ostemplate", "local:vztmpl/debian-12.tar.zst");
        self.ok("POST", "/nodes/n1/lxc", &[("vmid", &id), template, ("rootfs", root)]);
    }

    /// Every volume of guests is there once, and every volume that bears a guest's id is named by that guest.
    fn check_volumes(&mut self, after: &str) {
        let there = self.cluster.volume_ids();
        let ids: BTreeSet<&String> = there.iter().map(|(_, id)| id).collect();
        assert_eq!(ids.len(), there.len() - self.doubled_files(), "{after}: a volume is on two nodes: {there:?}");
        let mut named: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        for vmid in self.cluster.guest_ids().collect::<Vec<_>>() {
            let (_, node, file) = self.cluster.guest_file(vmid).unwrap();
            let node = node.to_owned();
            for line in file.lines().filter(|line| !line.starts_with('#')) {
                let Some((key, value)) = line.split_once(": ") else { continue };
                let keys =
                    ["scsi", "virtio", "ide", "sata", "unused", "mp", "rootfs", "vmstate", "efidisk", "tpmstate"];
                let is_volume = keys
                    .iter()
                    .any(|stem| key.strip_prefix(stem).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit())));
                let volid = value.split(',').next().unwrap_or_default();
                if !is_volume || !volid.contains(':') || volid.contains("iso/") {
                    continue;
                }
                assert!(
                    there.iter().any(|(place, id)| id == volid && (place.is_empty() || *place == node)),
                    "{after}: {key} of {vmid} names {volid}, which is not on {node}"
                );
                named.entry(volid.to_owned()).or_default().insert(vmid.get());
            }
        }
        for (_, id) in &there {
            let last = id.rsplit(['/', ':']).next().unwrap_or_default();
            let of_guest = ["vm-", "base-", "subvol-", "basevol-"].iter().any(|start| last.starts_with(start));
            assert!(!of_guest || named.contains_key(id), "{after}: nobody names {id}");
        }
        for (volid, guests) in &named {
            assert!(guests.len() == 1, "{after}: {volid} is named by {guests:?}");
        }
        for node in ["n1", "n2"] {
            for row in self.get(&format!("/nodes/{node}/storage")).as_array().unwrap() {
                let (used, avail, total) = (row["used"].as_u64(), row["avail"].as_u64(), row["total"].as_u64());
                assert_eq!(used.unwrap() + avail.unwrap(), total.unwrap(), "{after}: {row}");
            }
        }
    }

    /// Files that both nodes have: images, templates.
    fn doubled_files(&self) -> usize {
        let all = self.cluster.volume_ids();
        all.iter()
            .filter(|(place, id)| place == "n2" && ["iso/", "vztmpl/", "import/"].iter().any(|f| id.contains(f)))
            .count()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().trim_end().to_owned()
}

#[test]
fn a_disk_moves_between_storages_and_guests() {
    let mut world = world();
    world.vm(100, "thin:4");
    world.vm(101, "thin:1");
    world.ok("POST", "/nodes/n1/qemu/100/move_disk", &[("disk", "scsi0"), ("storage", "local"), ("format", "qcow2")]);
    assert!(world.file(100).contains("scsi0: local:100/vm-100-disk-0.qcow2,size=4G"));
    assert!(world.file(100).contains("unused0: thin:vm-100-disk-0"));
    assert!(world.log().contains("transferred 4.0 GiB of 4.0 GiB (100.00%)"));
    let to = [("disk", "scsi0"), ("target-vmid", "101"), ("target-disk", "scsi3")];
    world.ok("POST", "/nodes/n1/qemu/100/move_disk", &to);
    assert!(world.file(101).contains("scsi3: local:101/vm-101-disk-0.qcow2,size=4G"));
    assert!(!world.file(100).contains("order=scsi0"));
    let unused = [("disk", "unused0"), ("target-vmid", "101"), ("target-disk", "scsi0")];
    let exit = world.run("POST", "/nodes/n1/qemu/100/move_disk", &unused);
    assert_eq!(exit, "Target disk key 'scsi0' is already in use for VM '101'");
    world.ok("POST", "/nodes/n1/qemu/101/status/start", &[]);
    let exit = world.run("POST", "/nodes/n1/qemu/101/move_disk", &[("disk", "scsi3"), ("target-vmid", "100")]);
    assert_eq!(exit, "Cannot move disk to another VM while the source VM is running - detach first");
    world.ok("POST", "/nodes/n1/qemu/101/move_disk", &[("disk", "scsi3"), ("storage", "thin"), ("delete", "1")]);
    assert!(world.log().contains("mirror"));
    world.check_volumes("moving");
}

#[test]
fn a_containers_volume_moves_too() {
    let mut world = world();
    world.container(200, "thin:2");
    world.container(201, "thin:2");
    world.ok("PUT", "/nodes/n1/lxc/200/config", &[("mp0", "tank:1,mp=/srv")]);
    let to = [("volume", "mp0"), ("target-vmid", "201"), ("target-volume", "mp3")];
    world.ok("POST", "/nodes/n1/lxc/200/move_volume", &to);
    assert!(world.file(201).contains("mp3: tank:subvol-201-disk-0,mp=/srv,size=1G"), "{}", world.file(201));
    let root = [("volume", "rootfs"), ("target-vmid", "201")];
    assert_eq!(world.run("POST", "/nodes/n1/lxc/200/move_volume", &root), "Cannot move to/from 'rootfs'");
    world.ok("POST", "/nodes/n1/lxc/201/move_volume", &[("volume", "mp3"), ("storage", "thin"), ("delete", "1")]);
    assert!(world.file(201).contains("mp3: thin:vm-201-disk-1,mp=/srv,size=1G"), "{}", world.file(201));
    world.check_volumes("moving");
}

#[test]
fn guests_migrate_with_what_they_have() {
    let mut world = world();
    world.vm(100, "thin:4");
    let go = |more: &[(&'static str, &'static str)]| [&[("target", "n2")], more].concat();
    world.ok("POST", "/nodes/n1/qemu/100/status/start", &[]);
    assert_eq!(world.run("POST", "/nodes/n1/qemu/100/migrate", &go(&[])), "can't migrate running VM without --online");
    let exit = world.run("POST", "/nodes/n1/qemu/100/migrate", &go(&[("online", "1")]));
    assert_eq!(exit, "migration aborted");
    assert!(world.log().contains("can't live migrate attached local disks without with-local-disks option"));
    assert_eq!(world.node(100), "n1");
    let online = [("online", "1"), ("with-local-disks", "1"), ("targetstorage", "thin:tank")];
    world.ok("POST", "/nodes/n1/qemu/100/migrate", &go(&online));
    assert_eq!((world.node(100).as_str(), world.runs(100)), ("n2", true));
    assert!(world.file(100).contains("scsi0: tank:vm-100-disk-0,size=4G") && !world.file(100).contains("lock"));
    world.check_volumes("online");
    world.vm(102, "thin:1");
    world.ok("PUT", "/nodes/n1/qemu/102/config", &[("ide2", "local:iso/a.iso,media=cdrom")]);
    assert_eq!(world.run("POST", "/nodes/n1/qemu/102/migrate", &go(&[])), "migration aborted");
    assert!(world.log().contains("can't migrate local disk 'local:iso/a.iso': local cdrom image"));
    let both = go(&[("targetstorage", "thin,tank")]);
    let exit = world.run("POST", "/nodes/n1/qemu/102/migrate", &both);
    assert!(exit.contains("failed to parse storage map: default target ID can only be provided once"), "{exit}");
    world.container(200, "thin:2");
    world.ok("POST", "/nodes/n1/lxc/200/status/start", &[]);
    let exit = world.run("POST", "/nodes/n1/lxc/200/migrate", &go(&[]));
    assert_eq!(exit, "can't migrate running container without --online or --restart");
    world.ok("POST", "/nodes/n1/lxc/200/migrate", &go(&[("restart", "1")]));
    assert_eq!((world.node(200).as_str(), world.runs(200)), ("n2", true));
    world.check_volumes("containers");
}

#[test]
fn a_mapped_device_says_where_its_vm_may_go() {
    let mut world = world();
    world.vm(100, "nfs:1");
    let map = [("id", "stick"), ("map", "node=n1,id=1234:5678")];
    world.ok("POST", "/cluster/mapping/usb", &map);
    world.ok("PUT", "/nodes/n1/qemu/100/config", &[("usb0", "mapping=stick")]);
    let answer = world.get("/nodes/n1/qemu/100/migrate");
    assert_eq!(answer["not_allowed_nodes"]["n2"], json!({ "unavailable-resources": ["usb0"] }));
    assert_eq!(world.run("POST", "/nodes/n1/qemu/100/migrate", &[("target", "n2")]), "migration aborted");
    assert!(world.log().contains("can't migrate to 'n2': missing mapped devices usb0"));
    let map = [("map", "node=n1,id=1234:5678"), ("map", "node=n2,id=1234:5678")];
    world.ok("PUT", "/cluster/mapping/usb/stick", &map);
    assert_eq!(world.get("/nodes/n1/qemu/100/migrate")["allowed_nodes"], json!(["n2"]));
    world.ok("POST", "/nodes/n1/qemu/100/migrate", &[("target", "n2")]);
    assert_eq!(world.node(100), "n2");
}

#[test]
fn nothing_answers_for_an_agent() {
    let mut world = world();
    world.vm(100, "thin:1");
    let path = "/nodes/n1/qemu/100/agent/get-osinfo";
    assert_eq!(world.run("GET", path, &[]), "No QEMU guest agent configured");
    world.ok("PUT", "/nodes/n1/qemu/100/config", &[("agent", "1")]);
    assert_eq!(world.run("GET", path, &[]), "VM 100 is not running");
    world.ok("POST", "/nodes/n1/qemu/100/status/start", &[]);
    assert_eq!(world.run("GET", path, &[]), "QEMU guest agent is not running");
}

#[test]
fn what_ha_manages_is_moved_by_its_manager() {
    let mut world = world();
    world.vm(100, "nfs:1");
    world.ok("POST", "/cluster/ha/resources", &[("sid", "vm:100"), ("state", "started")]);
    world.ok("POST", "/nodes/n1/qemu/100/status/start", &[]);
    assert!(world.runs(100));
    let (_, body) = world.send("POST", "/nodes/n1/qemu/100/migrate", &[("target", "n2"), ("online", "1")]);
    assert!(text(&body["data"]).contains(":hamigrate:100:"), "{body}");
    world.settle();
    assert_eq!((world.node(100).as_str(), world.runs(100)), ("n2", true));
}

#[test]
fn snapshots_keep_the_memory_and_lose_no_volume() {
    let mut world = world();
    world.vm(100, "thin:4");
    world.ok("POST", "/nodes/n1/qemu/100/status/start", &[]);
    world.ok("POST", "/nodes/n1/qemu/100/snapshot", &[("snapname", "s1"), ("vmstate", "1")]);
    assert!(world.has("thin:vm-100-state-s1"));
    let rows = world.get("/nodes/n1/qemu/100/snapshot");
    assert!(rows.as_array().unwrap().iter().any(|row| row["name"] == "s1" && row["vmstate"] == 1));
    world.ok("POST", "/nodes/n1/qemu/100/status/stop", &[]);
    world.ok("PUT", "/nodes/n1/qemu/100/config", &[("scsi1", "thin:1")]);
    world.ok("POST", "/nodes/n1/qemu/100/snapshot/s1/rollback", &[]);
    // It runs again, out of the saved memory; the disk that came later is kept aside.
    assert!(world.runs(100));
    assert!(world.file(100).contains("unused0: thin:vm-100-disk-1"), "{}", world.file(100));
    world.check_volumes("rollback");
    world.ok("POST", "/nodes/n1/qemu/100/status/stop", &[]);
    world.ok("PUT", "/nodes/n1/qemu/100/config", &[("delete", "scsi0")]);
    world.ok("DELETE", "/nodes/n1/qemu/100/snapshot/s1", &[]);
    assert!(world.file(100).contains("unused1: thin:vm-100-disk-0"), "{}", world.file(100));
    assert!(!world.has("thin:vm-100-state-s1"));
    world.check_volumes("removal");
    world.container(200, "tank:1");
    world.ok("POST", "/nodes/n1/lxc/200/snapshot", &[("snapname", "s1")]);
    world.now += 5000;
    world.ok("POST", "/nodes/n1/lxc/200/snapshot", &[("snapname", "s2")]);
    let exit = world.run("POST", "/nodes/n1/lxc/200/snapshot/s1/rollback", &[]);
    assert_eq!(exit, "can't rollback, 's1' is not most recent snapshot on 'tank:subvol-200-disk-0'");
}

#[test]
fn a_vm_hibernates_and_comes_back() {
    let mut world = world();
    world.vm(100, "thin:4");
    let hibernate = [("todisk", "1")];
    assert_eq!(world.run("POST", "/nodes/n1/qemu/100/status/suspend", &hibernate), "VM 100 not running");
    world.ok("POST", "/nodes/n1/qemu/100/status/start", &[]);
    world.ok("POST", "/nodes/n1/qemu/100/status/suspend", &hibernate);
    assert!(!world.runs(100) && world.file(100).contains("lock: suspended"));
    assert!(world.file(100).contains("vmstate: thin:vm-100-state-suspend-2025-06-15"), "{}", world.file(100));
    world.check_volumes("hibernation");
    world.ok("POST", "/nodes/n1/qemu/100/status/resume", &[]);
    assert!(world.runs(100) && !world.file(100).contains("vmstate") && !world.file(100).contains("lock"));
    world.check_volumes("resuming");
}

#[test]
fn backups_are_made_restored_and_protected() {
    let mut world = world();
    world.vm(100, "thin:4");
    world.ok("PUT", "/nodes/n1/qemu/100/config", &[("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0")]);
    let dump = [
        ("vmid", "100"),
        ("storage", "local"),
        ("compress", "zstd"),
        ("notes-template", "{{guestname}}"),
        ("protected", "1"),
    ];
    world.ok("POST", "/nodes/n1/vzdump", &dump);
    let backups = world.get("/nodes/n1/storage/local/content?content=backup");
    let row = backups.as_array().unwrap().iter().find(|row| row["content"] == "backup").unwrap().clone();
    assert_eq!((&row["notes"], &row["protected"], &row["vmid"]), (&json!("a"), &json!(1), &json!(100)));
    let volid = text(&row["volid"]);
    assert!(volid.starts_with("local:backup/vzdump-qemu-100-2025_06_15-") && volid.ends_with(".vma.zst"), "{volid}");
    let restore = |id: &'static str, more: &[(&'static str, &'static str)]| [&[("vmid", id)], more].concat();
    let archive = ("archive", volid.as_str());
    let with =
        |list: Vec<(&'static str, &'static str)>| -> Vec<(&str, &str)> { list.into_iter().chain([archive]).collect() };
    let exit = world.run("POST", "/nodes/n1/qemu", &with(restore("100", &[])));
    assert_eq!(exit, "unable to restore VM 100 - VM 100 already exists on node 'n1'");
    world.ok("POST", "/nodes/n1/qemu", &with(restore("101", &[("unique", "1"), ("storage", "tank"), ("name", "b")])));
    let file = world.file(101);
    assert!(file.contains("scsi0: tank:vm-101-disk-0,size=4G") && file.contains("name: b"), "{file}");
    assert!(!file.contains("BC:24:11:00:00:01"));
    world.ok("POST", "/nodes/n1/qemu", &with(restore("100", &[("force", "1")])));
    assert!(world.file(100).contains("BC:24:11:00:00:01") && !world.file(100).contains("lock"));
    world.check_volumes("restoring");
    let path = format!("/nodes/n1/storage/local/content/{volid}");
    let exit = world.run("DELETE", &path, &[]);
    assert!(exit.starts_with("cannot remove protected volume"), "{exit}");
    world.ok("PUT", &path, &[("protected", "0")]);
    world.ok("DELETE", &path, &[]);
    assert!(!world.has(&volid));
    world.container(200, "thin:2");
    world.ok("POST", "/nodes/n1/vzdump", &[("vmid", "200")]);
    let backups = world.get("/nodes/n1/storage/local/content");
    let volid = backups.as_array().unwrap().iter().find(|row| row["content"] == "backup").unwrap()["volid"].clone();
    let volid = text(&volid);
    let params = [("vmid", "201"), ("restore", "1"), ("ostemplate", volid.as_str()), ("storage", "tank")];
    world.ok("POST", "/nodes/n1/lxc", &params);
    assert!(world.file(201).contains("rootfs: tank:subvol-201-disk-0,size=2G"), "{}", world.file(201));
    world.check_volumes("containers");
}

#[test]
fn disks_are_imported_and_storages_fill_up() {
    let mut world = world();
    world.vm(100, "thin:0,import-from=local:import/cloud.qcow2");
    assert!(world.file(100).contains("scsi0: thin:vm-100-disk-0,size=2G"), "{}", world.file(100));
    let wrong = [("vmid", "101"), ("scsi0", "thin:1,import-from=local:import/cloud.qcow2")];
    assert!(world.run("POST", "/nodes/n1/qemu", &wrong).contains("requires special syntax"));
    let iso = [("vmid", "101"), ("scsi0", "thin:0,import-from=local:iso/a.iso")];
    assert!(world.run("POST", "/nodes/n1/qemu", &iso).contains("has wrong type 'iso'"));
    let full = [("vmid", "101"), ("scsi0", "thick:8"), ("scsi1", "thick:8")];
    let exit = world.run("POST", "/nodes/n1/qemu", &full);
    assert!(exit.starts_with("unable to create VM 101 - lvcreate 'thick/vm-101-disk-1' error:"), "{exit}");
    assert!(exit.ends_with("has insufficient free space (512 extents): 2048 required."), "{exit}");
    world.check_volumes("a full storage");
    let (_, body) = world.send("GET", "/nodes/n1/storage/thick/status", &[]);
    assert_eq!(body["data"]["used"], 0);
}

#[test]
fn a_nodes_network_is_planned_and_put_in_force() {
    let mut world = world();
    let bridge = [("iface", "vmbr9"), ("type", "bridge"), ("autostart", "1"), ("cidr", "192.0.2.9/24")];
    world.ok("POST", "/nodes/n1/network", &bridge);
    assert!(world.run("POST", "/nodes/n1/network", &bridge).contains("interface already exists"));
    let (_, body) = world.send("GET", "/nodes/n1/network", &[]);
    assert!(text(&body["changes"]).contains("+iface vmbr9 inet static"), "{body}");
    let read = world.get("/nodes/n1/network/vmbr9");
    assert_eq!((&read["address"], &read["netmask"]), (&json!("192.0.2.9"), &json!("24")));
    world.ok("DELETE", "/nodes/n1/network", &[]);
    assert!(world.run("GET", "/nodes/n1/network/vmbr9", &[]).contains("interface does not exist"));
    world.ok("POST", "/nodes/n1/network", &bridge);
    world.ok("PUT", "/nodes/n1/network", &[]);
    let (_, body) = world.send("GET", "/nodes/n1/network", &[]);
    assert!(body.get("changes").is_none());
    let port = [("iface", "vmbr8"), ("type", "bridge"), ("bridge_ports", "eno1")];
    assert!(world.run("POST", "/nodes/n1/network", &port).contains("eno1 is already used on interface 'vmbr0'."));
}

#[test]
fn no_sequence_of_calls_loses_or_doubles_a_volume() {
    let mut world = world();
    world.vm(100, "thin:1");
    world.vm(101, "local:1,format=qcow2");
    world.container(200, "thin:1");
    world.container(201, "tank:1");
    let mut seed: u64 = 11;
    let mut roll = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let (storages, snaps) = (["thin", "tank", "local", "nfs"], ["s1", "s2"]);
    let mut done = BTreeMap::<String, usize>::new();
    for step in 0..900 {
        let vm = roll(4) != 0;
        let ids: &[u32] = if vm { &[100, 101, 102, 103] } else { &[200, 201, 202, 203] };
        let (id, other) = (ids[roll(4)], ids[roll(4)].to_string());
        let segment = if vm { "qemu" } else { "lxc" };
        let exists = !world.file(id).is_empty();
        let node = if exists { world.node(id) } else { "n1".to_owned() };
        let target = if node == "n1" { "n2" } else { "n1" };
        let base = format!("/nodes/{node}/{segment}/{id}");
        let key = if vm {
            ["scsi0", "scsi1", "unused0", "unused1"][roll(4)]
        } else {
            ["mp0", "rootfs", "unused0", "mp1"][roll(4)]
        };
        let (storage, snap) = (storages[roll(4)], snaps[roll(2)]);
        let (disk, move_call) = if vm { ("disk", "move_disk") } else { ("volume", "move_volume") };
        let delete = ["0", "1"][roll(2)];
        let new = format!("{storage}:1{}", if vm { "" } else { ",mp=/srv" });
        let online = [("target", target), ("online", "1"), ("with-local-disks", "1")];
        let restart = [("target", target), ("restart", "1")];
        let call: (&str, String, Vec<(&str, &str)>) = match roll(16) {
            0 => ("POST", format!("{base}/{move_call}"), vec![(disk, key), ("storage", storage), ("delete", delete)]),
            1 => ("POST", format!("{base}/{move_call}"), vec![(disk, key), ("target-vmid", &other)]),
            2 => ("POST", format!("{base}/snapshot"), vec![("snapname", snap)]),
            3 if vm => ("POST", format!("{base}/snapshot"), vec![("snapname", snap), ("vmstate", "1")]),
            4 => ("POST", format!("{base}/snapshot/{snap}/rollback"), vec![]),
            5 => ("DELETE", format!("{base}/snapshot/{snap}"), vec![]),
            6 | 7 => ("POST", format!("{base}/clone"), vec![("newid", &other), ("full", "1")]),
            8 => ("POST", format!("{base}/migrate"), if vm { online.to_vec() } else { restart.to_vec() }),
            9 => ("PUT", format!("{base}/config"), vec![("delete", key)]),
            10 => ("PUT", format!("{base}/config"), vec![(if vm { "scsi1" } else { "mp0" }, &new)]),
            11 => ("POST", format!("{base}/status/start"), vec![]),
            12 => ("POST", format!("{base}/status/stop"), vec![]),
            13 if vm => ("POST", format!("{base}/status/suspend"), vec![("todisk", "1")]),
            14 if roll(3) == 0 => ("DELETE", base.clone(), vec![]),
            15 => {
                ("PUT", format!("{base}/resize"), vec![("disk", if vm { "scsi0" } else { "rootfs" }), ("size", "+1M")])
            }
            _ => continue,
        };
        if !exists {
            // Half of the ids are for clones alone.
            match id {
                100 | 101 => world.vm(id, "thin:1"),
                200 | 201 => world.container(id, "thin:1"),
                _ => {}
            }
            continue;
        }
        let exit = world.run(call.0, &call.1, &call.2);
        if matches!(exit.as_str(), "OK" | "done") {
            *done.entry(call.1.rsplit('/').next().unwrap_or_default().to_owned()).or_default() += 1;
        }
        world.check_volumes(&format!("step {step}, {} {} {:?}: {exit}", call.0, call.1, call.2));
    }
    println!("{done:?}");
    for call in ["move_disk", "move_volume", "snapshot", "rollback", "clone", "migrate", "config", "suspend", "resize"]
    {
        assert!(done.get(call).is_some_and(|count| *count > 0), "{call} never went well: {done:?}");
    }
}
