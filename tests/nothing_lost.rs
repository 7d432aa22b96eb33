//! What a plan must never do: take something that was not read, was renamed or was queued for removal as gone.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use pvefleet::clusters::Access;
use pvefleet::live::{Live, Read};
use pvefleet::plan::{self, Plan, PlanOptions, ReasonCode, State};
use pvefleet::pve::http::Method;
use support::{HEAD, World, cluster, guest, read, text, vms};

const DB: &str = "      - name: prod-db-01
        node: pve3
        scsi0: {storage: local-lvm, size: 16GiB}
        scsi1: {storage: shared, size: 20GiB}
        net0: {model: virtio, bridge: vmbr0}
        unlisted: ignore
";

fn plan_of(world: &World, manifest: &str, live: &Live) -> Plan {
    plan::plan(&world.desired(manifest), live, &PlanOptions::default()).unwrap()
}

fn states(plan: &Plan) -> Vec<State> {
    plan.changes().map(|change| change.state).collect()
}

async fn rename_by_hand(world: &World, name: &str, to: &str) {
    world.by_hand("production", Method::Put, &world.path("production", name, "/config"), &[("name", to)]).await;
}

#[tokio::test(start_paused = true)]
async fn a_guest_whose_vmid_is_rewritten_in_the_manifest_is_no_orphan() {
    let world = World::production();
    world.converge(&vms(DB)).await;
    let manifest = vms(&DB.replace("        node: pve3\n", "        vmid: 1500\n        node: pve3\n"));
    let options = PlanOptions { prune: true, ..PlanOptions::default() };
    let plan = world.plan_with(&world.desired(&manifest), &options).await;
    assert_eq!(states(&plan), [State::Blocked], "{}", text(&plan));
    assert!(plan.is_empty());
}

#[tokio::test(start_paused = true)]
async fn of_two_that_bear_one_line_neither_is_an_orphan() {
    let world = World::production();
    world.converge(&vms(DB)).await;
    let mut live = read(&world, &vms(DB)).await;
    let mut copy = guest(&mut live, "prod-db-01").clone();
    copy.vmid = "1001".parse().unwrap();
    if let Read::Known(config) = &mut copy.config {
        let line = config.current.get_mut("description").unwrap();
        *line = line.replace("vmid=1000", "vmid=1001");
    }
    cluster(&mut live).guests.insert(copy.vmid, copy);
    let options = PlanOptions { prune: true, ..PlanOptions::default() };
    let plan = plan::plan(&world.desired(&vms(DB)), &live, &options).unwrap();
    assert_eq!(states(&plan), [State::Blocked], "{}", text(&plan));
    assert!(plan.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_guest_is_not_made_while_one_with_the_fleets_tag_could_not_be_read() {
    let world = World::production();
    world.converge(&vms(DB)).await;
    rename_by_hand(&world, "prod-db-01", "other").await;
    let mut live = read(&world, &vms(DB)).await;
    guest(&mut live, "other").config = Read::Unread("timed out".to_owned());
    let plan = plan_of(&world, &vms(DB), &live);
    assert_eq!(states(&plan), [State::Unknown], "{}", text(&plan));
    assert!(plan.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_guest_whose_notes_could_not_be_read_is_not_called_somebody_elses() {
    let world = World::production();
    world.converge(&vms(DB)).await;
    for manifest in [vms(DB), vms(&DB.replace("        node: pve3\n", "        vmid: 1000\n"))] {
        let mut live = read(&world, &manifest).await;
        guest(&mut live, "prod-db-01").config = Read::Unread("timed out".to_owned());
        let plan = plan_of(&world, &manifest, &live);
        assert_eq!(states(&plan), [State::Unknown], "{}", text(&plan));
        assert!(!text(&plan).contains("--accept adopt"), "{}", text(&plan));
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_taken_apart_is_not_written_over() {
    let world = World::production();
    let manifest = vms(&DB.replace("vmbr0", "vmbr1").replace("size: 16GiB", "size: 32GiB"));
    world.converge(&vms(DB)).await;
    let mut live = read(&world, &manifest).await;
    if let Read::Known(config) = &mut guest(&mut live, "prod-db-01").config {
        for option in ["net0", "scsi0"] {
            config.current.get_mut(option).unwrap().push_str(",new=1,new=0");
        }
    }
    let plan = plan_of(&world, &manifest, &live);
    assert!(plan.is_empty(), "{}", text(&plan));
    assert_eq!(states(&plan), [State::Blocked]);
}

#[tokio::test(start_paused = true)]
async fn a_device_queued_for_removal_is_kept_with_its_volume_and_mac_address() {
    let world = World::production();
    let manifest = vms(&format!("{DB}        hotplug: '0'\n        state: running\n"));
    world.converge(&manifest).await;
    let mac = |file: &str| file.split("virtio=").nth(1).unwrap()[..17].to_owned();
    let before = mac(&world.file("production", "prod-db-01"));
    let volumes = || {
        world.state().lines().filter(|line| line.starts_with("production ") && line.contains("vm-1000-disk")).count()
    };
    let count = volumes();
    for change in [("20GiB", "20GiB", "vmbr0"), ("20GiB", "40GiB", "vmbr1"), ("20GiB}", "40GiB, ssd: true}", "vmbr1")] {
        let path = world.path("production", "prod-db-01", "/config");
        world.by_hand("production", Method::Post, &path, &[("delete", "scsi1,net0")]).await;
        assert!(world.file("production", "prod-db-01").contains("delete: "), "the removal waits");
        let wanted = manifest.replace(change.0, change.1).replace("vmbr0", change.2);
        world.converge(&wanted).await;
        let file = world.file("production", "prod-db-01");
        assert!(!file.contains("delete: "), "{file}");
        assert!(file.split("virtio=").skip(1).all(|net| net.starts_with(&before)), "{before} was lost: {file}");
        assert_eq!(volumes(), count, "{}", world.state());
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_two_orphans_bear_accepts_no_deletion() {
    let world = World::production();
    let second = DB.replace("prod-db-01", "prod-db-02");
    world.converge(&vms(&format!("{DB}{second}"))).await;
    rename_by_hand(&world, "prod-db-01", "twin").await;
    let other = world.path("production", "prod-db-02", "/config");
    world.by_hand("production", Method::Put, &other, &[("name", "twin")]).await;
    let empty = world.desired(&format!("{HEAD}    vms: []\n"));
    for prune in [false, true] {
        let accept = vec!["delete:production/twin".parse().unwrap()];
        let plan = world.plan_with(&empty, &PlanOptions { accept, prune, ..PlanOptions::default() }).await;
        assert!(plan.is_empty(), "{}", text(&plan));
    }
    let accept = vec!["delete:production/1001".parse().unwrap()];
    let plan = world.plan_with(&empty, &PlanOptions { accept, ..PlanOptions::default() }).await;
    let deleted: Vec<_> =
        plan.changes().filter(|change| change.has_steps()).map(|change| change.address.vmid).collect();
    assert_eq!(deleted, ["1001".parse().ok()], "{}", text(&plan));
}

#[tokio::test(start_paused = true)]
async fn settings_that_only_read_block_letting_go_too() {
    let world = World::production();
    world.converge(&vms(DB)).await;
    let manifest = vms(&DB.replace("        node: pve3\n", "        released: true\n"));
    let live = read(&world, &manifest).await;
    let mut desired = world.desired(&manifest);
    desired.clusters.get_mut("production").unwrap().access = Access::Read;
    let plan = plan::plan(&desired, &live, &PlanOptions::default()).unwrap();
    assert!(plan.is_empty(), "{}", text(&plan));
    assert_eq!(plan.changes().next().and_then(|change| change.reason.clone()).unwrap().code, ReasonCode::ReadOnly);
}

#[tokio::test(start_paused = true)]
async fn peoples_text_stays_around_the_ownership_line() {
    let world = World::production();
    world.converge(&vms(DB)).await;
    let path = world.path("production", "prod-db-01", "/config");
    let line = "<!-- pvefleet v1 cluster=production fleet=homelab guest=qemu/prod-db-01 vmid=1000 -->";
    let notes = format!("above\n\n{line}\n\nbelow");
    world.by_hand("production", Method::Put, &path, &[("description", &notes)]).await;
    let plan = world.plan(&vms(DB)).await;
    assert!(plan.is_empty(), "{}", text(&plan));
    // A new secret version changes the line, and nothing but the line.
    world.converge(&vms(&format!("{DB}        cipassword: {{env: WEB_PASSWORD, version: 2}}\n"))).await;
    let file = world.file("production", "prod-db-01");
    assert!(file.starts_with("#above\n#\n#<!-- pvefleet") && file.contains("-->\n#\n#below\n"), "{file}");
}

#[tokio::test(start_paused = true)]
async fn ignored_notes_and_tags_are_left_alone() {
    let world = World::production();
    world.converge(&vms(&format!("{DB}        description: Precious.\n"))).await;
    let ignored = "        description: null\n        tags: [x]\n        ignore: [description, tags]\n";
    let plan = world.plan(&vms(&format!("{DB}{ignored}"))).await;
    assert!(plan.is_empty(), "{}", text(&plan));
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_runs_is_not_sent_a_conversion_that_fails() {
    let world = World::production();
    world.converge(&vms(&format!("{DB}        state: running\n"))).await;
    let plan = world.plan(&vms(&format!("{DB}        template: true\n"))).await;
    assert!(plan.is_empty(), "{}", text(&plan));
    assert_eq!(states(&plan), [State::Blocked]);
}

#[tokio::test(start_paused = true)]
async fn a_storage_or_bridge_that_is_not_there_blocks_its_device_alone() {
    let world = World::production();
    world.converge(&vms(DB)).await;
    let more =
        "        scsi2: {storage: nope, size: 4GiB}\n        net1: {model: virtio, bridge: vmbr77}\n        cores: 3\n";
    let plan = world.plan(&vms(&format!("{DB}{more}"))).await;
    let change = plan.changes().next().unwrap();
    let blocked: Vec<&str> =
        change.fields.iter().filter(|field| field.blocked.is_some()).map(|f| f.name.as_str()).collect();
    assert_eq!(blocked, ["net1", "scsi2"], "{}", text(&plan));
    assert_eq!(change.steps.len(), 1, "{}", text(&plan));
    assert!(change.steps[0].call.params.contains_key("cores"));
}

#[tokio::test(start_paused = true)]
async fn a_full_clone_takes_its_cloud_init_drive_to_the_storage_too() {
    let world = World::production();
    let clone = "      - name: prod-web-01
        node: [pve1]
        clone: {from: debian-12, full: true, storage: shared}
        ide2: {cloudinit: true, storage: shared}
        ciuser: admin
";
    world.converge(&vms(clone)).await;
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_unprivileged_needs_not_say_so_again() {
    let world = World::production();
    let head = format!("{HEAD}    containers:\n");
    let container = "      - name: prod-dns-01
        node: pve2
        ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst
        rootfs: {storage: local-lvm, size: 8GiB}
        net0: {name: eth0, bridge: vmbr0, ip: dhcp}
";
    world.converge(&format!("{head}{container}        unprivileged: true\n")).await;
    world.converge(&format!("{head}{container}        features: {{nesting: true}}\n")).await;
}

#[tokio::test(start_paused = true)]
async fn what_only_waits_in_a_container_is_taken_back() {
    let world = World::production();
    let container = format!(
        "{HEAD}    containers:
      - name: prod-dns-01
        node: pve2
        ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst
        rootfs: {{storage: local-lvm, size: 8GiB}}
        net0: {{name: eth0, bridge: vmbr0, ip: dhcp}}
        unprivileged: true
        state: running
"
    );
    world.converge(&container).await;
    for (option, remove) in [("nameserver: 1.1.1.1", "nameserver: null"), ("tty: 1", "unlisted: remove")] {
        world.converge(&format!("{container}        {option}\n")).await;
        assert!(world.file("production", "prod-dns-01").contains("[pve:pending]"), "it waits");
        world.converge(&format!("{container}        {remove}\n")).await;
        assert!(!world.file("production", "prod-dns-01").contains(option), "it is gone");
    }
}

#[tokio::test(start_paused = true)]
async fn what_only_root_may_remove_is_refused_before_anything_is_sent() {
    let world = World::production();
    world.converge(&vms(DB)).await;
    let plan = world.plan(&vms(&format!("{DB}        vmgenid: null\n"))).await;
    assert!(plan.is_empty(), "{}", text(&plan));
    assert_eq!(plan.changes().next().and_then(|change| change.reason.clone()).unwrap().code, ReasonCode::RootOnly);
    // What is unlisted is not removed at the price of everything else in the same call.
    let manifest = vms(&DB.replace("unlisted: ignore", "unlisted: remove"));
    let mut live = read(&world, &manifest).await;
    if let Read::Known(config) = &mut guest(&mut live, "prod-db-01").config {
        config.current.insert("args".to_owned(), "-no-hpet".to_owned());
    }
    let plan = plan_of(&world, &manifest, &live);
    assert!(plan.is_empty(), "{}", text(&plan));
    assert!(plan.changes().next().unwrap().unlisted.contains_key("args"));
}

/// Ten times the guests may take twenty times as long, never a hundred times.
#[tokio::test(start_paused = true)]
async fn planning_time_grows_with_the_guests_and_not_with_their_square() {
    let world = World::production();
    let prototype = "      - name: prod-db-02\n        node: pve3\n        net0: {model: virtio, bridge: vmbr0}\n";
    world.converge(&vms(prototype)).await;
    let measure = async |count: u32| {
        let mut live = read(&world, &vms(prototype)).await;
        let prototype = guest(&mut live, "prod-db-02").clone();
        let mut desired = world.desired(&vms(
            "      - name: prod-first\n        node: nowhere\n      - name: prod-x\n        node: pve3\n        depends_on: [prod-first]\n",
        ));
        let production = desired.clusters.get_mut("production").unwrap();
        production.vmids = None;
        let guests = &mut production.guests;
        let wanted = guests.iter().find(|guest| guest.name == "prod-x").unwrap().clone();
        for number in 0..count {
            let mut guest = wanted.clone();
            guest.name = format!("prod-x-{number}");
            guest.vmid = None;
            guests.push(guest);
            // Every other one is there.
            if number % 2 == 0 {
                let mut found = prototype.clone();
                found.vmid = (10_000 + number).to_string().parse().unwrap();
                found.name = Read::Known(format!("prod-x-{number}"));
                if let Read::Known(config) = &mut found.config {
                    let vmid = found.vmid;
                    let line = format!(
                        "<!-- pvefleet v1 cluster=production fleet=homelab guest=qemu/prod-x-{number} vmid={vmid} -->"
                    );
                    config.current.insert("name".to_owned(), format!("prod-x-{number}"));
                    config.current.insert("description".to_owned(), line);
                }
                cluster(&mut live).guests.insert(found.vmid, found);
            }
        }
        let begin = std::time::Instant::now();
        let plan = plan::plan(&desired, &live, &PlanOptions { prune: true, ..PlanOptions::default() }).unwrap();
        assert_eq!(plan.changes().filter(|change| change.state == State::Waiting).count(), count as usize / 2 + 1);
        begin.elapsed()
    };
    let (few, many) = (measure(500).await, measure(5000).await);
    assert!(many < few * 35, "500 guests take {few:?}, 5000 take {many:?}");
}
