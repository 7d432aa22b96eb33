//! Apply, then plan, is empty: for guests that go to other nodes, and for what high availability keeps.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

mod support;

use std::collections::BTreeMap;

use pvefleet::plan::{Action, Plan, PlanOptions};
use pvefleet::pve::http::Method;
use pvefleet::sim::ClusterSpec;
use pvefleet::sim::transport::lock;
use support::{HEAD, World, containers, only, text, vms, words};

const VM: &str = "      - name: prod-db-01
        vmid: 1001
        node: pve3
        memory: 1024
        scsihw: virtio-scsi-single
        scsi0: {storage: local-lvm, size: 4GiB, discard: on}
        scsi1: {storage: shared, size: 2GiB}
        net0: {model: virtio, bridge: vmbr0}
        state: running
";

const CT: &str = "      - name: prod-dns-01
        vmid: 1101
        node: pve2
        ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst
        rootfs: {storage: local-lvm, size: 2GiB}
        net0: {name: eth0, bridge: vmbr0, ip: dhcp}
        unprivileged: true
        state: running
";

fn blocked(plan: &Plan, field: &str) -> String {
    let found = only(plan).fields.iter().find(|found| found.name == field);
    let found = found.unwrap_or_else(|| panic!("no field {field} in {}", text(plan)));
    found.blocked.as_ref().map(|reason| reason.code.word().to_owned()).unwrap_or_default()
}

fn place(world: &World, name: &str) -> (String, bool) {
    let id = world.vmid("production", name);
    let cluster = lock(&world.clusters["production"]);
    (cluster.guest_file(id).unwrap().1.to_owned(), cluster.is_running(id))
}

fn shaped(shape: impl Fn(&mut ClusterSpec)) -> World {
    World::shaped(&["production"], "", shape)
}

/// The HA resource, as the API tells of it.
async fn resource(world: &World, sid: &str) -> BTreeMap<String, String> {
    let read = pvefleet::gather::ha_resources(&world.client("production")).await;
    read.known().unwrap().get(sid).cloned().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_vm_moves_while_it_runs_and_while_it_is_off() {
    let world = World::production();
    world.converge(&vms(VM)).await;
    let moved = VM.replace("node: pve3", "node: [pve1, pve2]");
    let plan = world.converge(&vms(&moved)).await;
    assert_eq!(only(&plan).action, Action::Migrate);
    assert_eq!(words(&plan), ["move it to pve1"], "{}", text(&plan));
    assert!(only(&plan).steps[0].call.params.contains_key("with-local-disks"), "{}", text(&plan));
    assert_eq!(place(&world, "prod-db-01"), ("pve1".to_owned(), true));
    // A node of the list is as good as another.
    assert!(world.plan(&vms(&moved.replace("[pve1, pve2]", "[pve2, pve1]"))).await.is_empty());
    let stopped = VM.replace("node: pve3", "node: pve2").replace("discard: on", "discard: on, ssd: true, size: 5GiB");
    let stopped = stopped.replace("size: 4GiB, ", "").replace("state: running", "state: stopped");
    let plan = world.converge(&vms(&stopped)).await;
    assert_eq!(place(&world, "prod-db-01"), ("pve2".to_owned(), false), "{}", text(&plan));
    assert!(world.file("production", "prod-db-01").contains("size=5G,ssd=1"));
}

#[tokio::test(start_paused = true)]
async fn a_container_is_shut_down_moved_and_started() {
    let world = World::production();
    world.converge(&containers(CT)).await;
    let plan = world.converge(&containers(&CT.replace("node: pve2", "node: pve3\n        memory: 1024"))).await;
    assert_eq!(place(&world, "prod-dns-01"), ("pve3".to_owned(), true), "{}", text(&plan));
    assert!(text(&plan).contains("downtime"), "{}", text(&plan));
    // Off anyway, it is moved while it is.
    let both = CT
        .replace("node: pve2", "node: pve1")
        .replace("rootfs: {storage: local-lvm", "rootfs: {storage: shared")
        .replace("state: running", "state: running\n        reboot: allow");
    let plan = world.converge(&containers(&both)).await;
    assert_eq!(words(&plan)[..3], ["shut down", "move it to pve1", "move rootfs to shared"], "{}", text(&plan));
    assert_eq!(place(&world, "prod-dns-01"), ("pve1".to_owned(), true));
}

#[tokio::test(start_paused = true)]
async fn what_only_its_node_has_keeps_a_guest_there() {
    let world = World::production();
    let with_iso = VM.replace("        net0", "        ide2: {iso: \"local:iso/debian-12.iso\"}\n        net0");
    world.converge(&vms(&with_iso)).await;
    let plan = world.plan(&vms(&with_iso.replace("pve3", "pve1"))).await;
    assert_eq!(blocked(&plan, "node"), "not-in-place", "{}", text(&plan));
    let plan = world.plan(&vms(&with_iso.replace("pve3", "pve9"))).await;
    assert_eq!(blocked(&plan, "node"), "not-found", "{}", text(&plan));
    let world = shaped(|spec| {
        spec.storages.iter_mut().find(|storage| storage.name == "local-lvm").unwrap().nodes =
            vec!["pve2".to_owned(), "pve3".to_owned()];
        spec.guests.retain(|guest| guest.node != "pve1");
    });
    world.converge(&vms(VM)).await;
    // The first node of the list lacks a storage, the second has it.
    world.converge(&vms(&VM.replace("node: pve3", "node: [pve1, pve2]"))).await;
    assert_eq!(place(&world, "prod-db-01").0, "pve2");
}

#[tokio::test(start_paused = true)]
async fn local_disks_are_cloned_where_they_are_and_moved() {
    let world = World::production();
    let clone = "      - name: prod-web-01
        node: pve2
        clone: {from: 9001, full: true}
        scsi0: {size: 10GiB, ssd: true}
        net0: {bridge: vmbr1}
        state: running
";
    let plan = world.converge(&vms(clone)).await;
    assert_eq!(words(&plan)[..2], ["clone debian-12 (9001), full", "move it to pve2"], "{}", text(&plan));
    assert_eq!(place(&world, "prod-web-01"), ("pve2".to_owned(), true));
    assert!(world.file("production", "prod-web-01").contains("size=10G,ssd=1"));
    let linked = world.plan(&vms(&clone.replace("prod-web-01", "prod-web-02").replace(", full: true", ""))).await;
    let change = linked.changes().find(|change| change.address.name == "prod-web-02").unwrap();
    assert_eq!(change.reason.as_ref().unwrap().code.word(), "no-node", "{}", text(&linked));
}

#[tokio::test(start_paused = true)]
async fn a_source_is_found_by_its_tag_and_as_of_a_snapshot() {
    let world = World::production();
    let path = "/nodes/pve2/qemu/9002/config";
    world.by_hand("production", Method::Put, path, &[("tags", "golden")]).await;
    let clone = "      - name: prod-web-01
        node: pve2
        clone: {from: {tag: golden}}
        state: stopped
";
    let plan = world.converge(&vms(clone)).await;
    assert!(words(&plan)[0].contains("(9002)"), "{}", text(&plan));
    let plan = world.plan(&vms(&clone.replace("golden", "silver").replace("web-01", "web-02"))).await;
    assert!(text(&plan).contains("bears the tag silver"), "{}", text(&plan));
    // The source went on since its snapshot.
    let path = world.path("production", "prod-web-01", "");
    world.by_hand("production", Method::Post, &format!("{path}/snapshot"), &[("snapname", "clean")]).await;
    world.by_hand("production", Method::Put, &format!("{path}/config"), &[("cores", "7")]).await;
    let second = format!(
        "{clone}      - name: prod-web-02
        node: pve2
        clone: {{from: prod-web-01, snapname: clean, full: true}}
        cores: 2
        net0: {{bridge: vmbr1}}
"
    );
    let plan = world.converge(&vms(&second)).await;
    let file = world.file("production", "prod-web-02");
    assert!(file.contains("cores: 2") && file.contains("bridge=vmbr1"), "{file}\n{}", text(&plan));
    let plan =
        world.plan(&vms(&second.replace("snapname: clean", "snapname: other").replace("web-02", "web-03"))).await;
    assert!(text(&plan).contains("has no snapshot other"), "{}", text(&plan));
}

#[tokio::test(start_paused = true)]
async fn high_availability_is_begun_changed_and_ended() {
    let world = World::production();
    let with = |ha: &str| vms(&VM.replace("state: running", &format!("ha: {ha}")));
    let plan = world.converge(&with("{state: started, max_restart: 2}")).await;
    assert_eq!(words(&plan).last(), Some(&"make it highly available"), "{}", text(&plan));
    assert_eq!(resource(&world, "vm:1001").await["max_restart"], "2");
    assert!(place(&world, "prod-db-01").1, "HA started it");
    let plan = world.converge(&with("{state: stopped, max_restart: 3}")).await;
    assert!(!place(&world, "prod-db-01").1, "{}", text(&plan));
    assert_eq!(resource(&world, "vm:1001").await["max_restart"], "3");
    // The power of what HA keeps is HA's state, whoever manages that.
    world.converge(&vms(VM)).await;
    assert!(place(&world, "prod-db-01").1);
    assert_eq!(resource(&world, "vm:1001").await["state"], "started");
    // Left out, it is not managed; null ends it.
    world.converge(&vms(&VM.replace("memory: 1024", "memory: 1024\n        onboot: true"))).await;
    assert!(!resource(&world, "vm:1001").await.is_empty());
    let plan = world.converge(&vms(&VM.replace("state: running", "state: running\n        ha: null"))).await;
    assert_eq!(words(&plan).first(), Some(&"end its high availability"));
    assert!(resource(&world, "vm:1001").await.is_empty());
    let plan = world.plan(&with("{state: started, group: a}")).await;
    assert_eq!(blocked(&plan, "ha"), "version", "{}", text(&plan));
}

#[tokio::test(start_paused = true)]
async fn what_ha_keeps_is_moved_by_ha_and_only_where_its_rules_let_it() {
    let world = shaped(|spec| {
        spec.files.insert(
            "ha/rules.cfg".to_owned(),
            "node-affinity: db\n\tnodes pve3:2,pve2:1\n\tresources vm:1001\n".to_owned(),
        );
    });
    let with = |node: &str| {
        vms(&VM.replace("node: pve3", &format!("node: {node}")).replace("state: running", "ha: {state: started}"))
    };
    world.converge(&with("pve3")).await;
    let plan = world.plan(&with("pve2")).await;
    assert_eq!(blocked(&plan, "node"), "no-node", "{}", text(&plan));
    assert!(text(&plan).contains("HA rule db keeps it on pve3"), "{}", text(&plan));
    let world = World::production();
    world.converge(&with("pve3")).await;
    let plan = world.converge(&with("pve1")).await;
    assert_eq!(place(&world, "prod-db-01"), ("pve1".to_owned(), true), "{}", text(&plan));
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_goes_leaves_high_availability_first() {
    let world = World::production();
    world.converge(&vms(&VM.replace("state: running", "ha: {state: started}"))).await;
    let prune = PlanOptions { prune: true, accept: vec!["empty:homelab".parse().unwrap()], ..PlanOptions::default() };
    let (plan, outcome) = world.apply_with(&format!("{HEAD}    vms: []\n"), &prune).await;
    assert_eq!(outcome.exit_code(&plan), 0, "{}\n{outcome:#?}", text(&plan));
    assert_eq!(words(&plan)[..2], ["end its high availability", "shut down"], "{}", text(&plan));
    assert!(!world.state().contains("1001"), "{}", world.state());
}

#[tokio::test(start_paused = true)]
async fn groups_are_those_of_release_8() {
    let world = shaped(|spec| {
        spec.version = "8.4.21".to_owned();
        spec.files.insert("ha/groups.cfg".to_owned(), "group: near\n\tnodes pve3,pve2\n\tnofailback 0\n".to_owned());
    });
    let with = |node: &str| {
        let ha = "ha: {state: started, group: near}";
        vms(&VM.replace("node: pve3", &format!("node: {node}")).replace("state: running", ha))
    };
    world.converge(&with("pve3")).await;
    world.converge(&with("pve2")).await;
    let plan = world.plan(&with("pve1")).await;
    assert!(text(&plan).contains("HA rule near keeps it on pve2, pve3"), "{}", text(&plan));
}

#[tokio::test(start_paused = true)]
async fn the_cloud_init_drive_of_a_guest_that_runs_is_made_anew() {
    let world = World::production();
    let clone = "      - name: prod-web-01
        node: pve1
        clone: {from: debian-12}
        ciuser: admin
        state: running
";
    world.converge(&vms(clone)).await;
    let plan = world.converge(&vms(&clone.replace("ciuser: admin", "ciuser: ann"))).await;
    assert_eq!(words(&plan), ["set ciuser", "make its cloud-init drive anew"], "{}", text(&plan));
    // A reboot makes it anew by itself.
    let changed = clone.replace("ciuser: admin", "ciuser: bob\n        cores: 3\n        reboot: allow");
    let plan = world.converge(&vms(&changed)).await;
    assert_eq!(words(&plan).len(), 2, "{}", text(&plan));
    // So does a start.
    let stopped = changed.replace("ciuser: bob", "ciuser: eve").replace("state: running", "state: stopped");
    let plan = world.converge(&vms(&stopped)).await;
    assert!(!text(&plan).contains("anew"), "{}", text(&plan));
}

#[tokio::test(start_paused = true)]
async fn a_paused_guest_is_left_alone_and_said() {
    let world = World::production();
    world.converge(&vms(VM)).await;
    world.by_hand("production", Method::Post, &world.path("production", "prod-db-01", "/status/suspend"), &[]).await;
    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    let plan = world.plan(&vms(&VM.replace("state: running", "state: stopped"))).await;
    assert_eq!(blocked(&plan, "state"), "needs-off", "{}", text(&plan));
    assert!(text(&plan).contains("it is paused"), "{}", text(&plan));
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_does_not_shut_down_is_stopped_hard_when_accepted() {
    let world = World::production();
    world.converge(&vms(VM)).await;
    let options = PlanOptions { accept: vec!["stop:production/prod-db-01".parse().unwrap()], ..PlanOptions::default() };
    let (plan, outcome) = world.apply_with(&vms(&VM.replace("state: running", "state: stopped")), &options).await;
    assert_eq!(outcome.exit_code(&plan), 0, "{outcome:#?}");
    assert_eq!(words(&plan), ["stop it hard"]);
}
