//! Apply, then plan, is empty: for disks that go elsewhere.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

mod support;

use pvefleet::plan::{Plan, PlanOptions};
use pvefleet::pve::http::Method;
use support::{World, containers, only, text, vms, words};

const VM: &str = "      - name: prod-db-01
        vmid: 1001
        node: pve3
        memory: 1024
        scsihw: virtio-scsi-single
        scsi0: {storage: local-lvm, size: 4GiB, discard: on}
        virtio1: {storage: shared, size: 2GiB}
        ide2: {cloudinit: true, storage: local-lvm}
        state: running
";

const CT: &str = "      - name: prod-dns-01
        vmid: 1101
        node: pve2
        ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst
        rootfs: {storage: local-lvm, size: 2GiB}
        mp0: {storage: local-lvm, size: 1GiB, mp: /srv}
        unprivileged: true
        state: running
";

/// The reason code that stands at a field.
fn blocked(plan: &Plan, field: &str) -> String {
    let found = only(plan).fields.iter().find(|found| found.name == field);
    let found = found.unwrap_or_else(|| panic!("no field {field} in {}", text(plan)));
    found.blocked.as_ref().map(|reason| reason.code.word().to_owned()).unwrap_or_default()
}

async fn accepting(world: &World, manifest: &str, accept: &str) -> Plan {
    let options = PlanOptions { accept: vec![accept.parse().unwrap()], ..PlanOptions::default() };
    let (plan, outcome) = world.apply_with(manifest, &options).await;
    assert_eq!(outcome.exit_code(&plan), 0, "{}\n{outcome:#?}", text(&plan));
    plan
}

#[tokio::test(start_paused = true)]
async fn a_disk_of_a_vm_moves_while_it_runs() {
    let world = World::production();
    world.converge(&vms(VM)).await;
    let moved = VM.replace(
        "scsi0: {storage: local-lvm, size: 4GiB, discard: on}",
        "scsi0: {storage: shared, size: 6GiB, ssd: true}",
    );
    let moved = moved.replace("storage: local-lvm}", "storage: shared}");
    let plan = world.converge(&vms(&moved)).await;
    assert_eq!(words(&plan)[..2], ["move ide2 to shared", "move scsi0 to shared"], "{}", text(&plan));
    let file = world.file("production", "prod-db-01");
    assert!(file.contains("scsi0: shared:") && file.contains("size=6G"), "{file}");
    assert!(file.contains("ide2: shared:"), "{file}");
    assert!(!file.contains("unused") && !world.state().contains("local-lvm:vm-1001"), "the source went: {file}");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_a_snapshot_holds_stays_as_unused() {
    let world = World::production();
    let local = VM.replace("virtio1: {storage: shared", "virtio1: {storage: local-lvm");
    world.converge(&vms(&local)).await;
    let path = world.path("production", "prod-db-01", "/snapshot");
    world.by_hand("production", Method::Post, &path, &[("snapname", "before")]).await;
    let plan = world.converge(&vms(VM)).await;
    assert!(text(&plan).contains("it stays, detached"), "{}", text(&plan));
    assert!(world.file("production", "prod-db-01").contains("unused0: local-lvm:"));
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_waits_for_a_reboot_is_not_moved() {
    let world = World::production();
    world.converge(&vms(VM)).await;
    world.converge(&vms(&VM.replace("discard: on", "discard: ignore"))).await;
    // It grows all the same, now and when it was rebooted.
    let grown = VM.replace("size: 4GiB, discard: on", "size: 5GiB, discard: ignore");
    world.converge(&vms(&grown)).await;
    let moved = VM.replace("local-lvm, size: 4GiB, discard: on", "shared, size: 5GiB, discard: ignore");
    assert_eq!(blocked(&world.plan(&vms(&moved)).await, "scsi0.file"), "dependency");
    world.converge(&vms(&grown.replace("state: running", "state: stopped"))).await;
    assert!(world.file("production", "prod-db-01").contains("discard=ignore,size=5G"));
    world.converge(&vms(&moved.replace("state: running", "state: stopped"))).await;
}

#[tokio::test(start_paused = true)]
async fn volumes_of_a_container_move_while_it_is_off() {
    let world = World::production();
    world.converge(&containers(CT)).await;
    let moved = CT.replace("storage: local-lvm", "storage: shared").replace("mp: /srv", "mp: /srv, backup: true");
    let plan = world.plan(&containers(&moved)).await;
    assert_eq!(blocked(&plan, "rootfs.volume"), "needs-off", "{}", text(&plan));
    let allowed = containers(&moved.replace("state: running", "state: running\n        reboot: allow"));
    let plan = world.converge(&allowed).await;
    let file = world.file("production", "prod-dns-01");
    assert!(file.contains("rootfs: shared:") && file.contains("mp0: shared:"), "{file}\n{}", text(&plan));
    assert!(file.contains("backup=1") && file.contains("size=2G"), "{file}");
    assert_eq!(words(&plan).first(), Some(&"shut down"));
    assert_eq!(words(&plan).last(), Some(&"start"));
}

#[tokio::test(start_paused = true)]
async fn a_disk_changes_its_key_and_keeps_its_data() {
    let world = World::production();
    world.converge(&vms(VM)).await;
    let path = world.path("production", "prod-db-01", "/config");
    world.by_hand("production", Method::Post, &path, &[("boot", "order=virtio1;scsi0")]).await;
    let before = world.file("production", "prod-db-01");
    let volume =
        before.lines().find_map(|line| line.strip_prefix("virtio1: ")).unwrap().split(',').next().unwrap().to_owned();
    let renamed =
        VM.replace("virtio1: {storage: shared, size: 2GiB}", "scsi1: {moved_from: virtio1, ssd: true, size: 3GiB}");
    assert_eq!(blocked(&world.plan(&vms(&renamed)).await, "scsi1"), "needs-off");
    let renamed = renamed.replace("state: running", "state: running\n        reboot: allow");
    let plan = world.converge(&vms(&renamed)).await;
    let file = world.file("production", "prod-db-01");
    assert!(file.contains(&format!("scsi1: {volume},")) && file.contains("size=3G"), "{file}\n{}", text(&plan));
    assert!(file.contains("boot: order=scsi1;scsi0"), "{file}");
    assert!(!file.contains("virtio1") && !file.contains("unused"), "{file}");
    let again = world.plan(&vms(&renamed)).await;
    assert!(text(&again).contains("`moved_from: virtio1` is no longer needed"), "{}", text(&again));
}

#[tokio::test(start_paused = true)]
async fn a_disk_changes_key_and_storage_at_once() {
    let world = World::production();
    world.converge(&vms(VM)).await;
    let renamed = VM
        .replace(
            "virtio1: {storage: shared, size: 2GiB}",
            "virtio1: null\n        scsi1: {moved_from: virtio1, storage: local-lvm}",
        )
        .replace("state: running", "state: stopped");
    let plan = world.converge(&vms(&renamed)).await;
    let file = world.file("production", "prod-db-01");
    assert!(file.contains("scsi1: local-lvm:vm-1001-disk-1") && !file.contains("unused"), "{file}\n{}", text(&plan));
    assert!(!world.state().contains("shared:1001"), "{}", world.state());
    let world = World::production();
    world.converge(&containers(CT)).await;
    let renamed = CT
        .replace("mp0: {storage: local-lvm, size: 1GiB, mp: /srv}", "mp3: {moved_from: mp0, mp: /data}")
        .replace("state: running", "state: stopped");
    world.converge(&containers(&renamed)).await;
    let file = world.file("production", "prod-dns-01");
    assert!(file.contains("mp3: local-lvm:vm-1101-disk-1") && file.contains("mp=/data"), "{file}");
    assert!(!file.contains("unused") && !file.contains("mp0"), "{file}");
}

#[tokio::test(start_paused = true)]
async fn a_renamed_key_never_becomes_an_empty_disk() {
    let world = World::production();
    world.converge(&vms(VM)).await;
    // The old key is left out: it is unlisted, and just as large.
    let renamed = VM.replace("virtio1: {storage", "scsi7: {storage");
    let plan = world.plan(&vms(&renamed)).await;
    assert_eq!(blocked(&plan, "scsi7"), "detached-disk", "{}", text(&plan));
    assert!(text(&plan).contains("scsi7: {moved_from: virtio1}"), "{}", text(&plan));
    // Said to be new, it is.
    world.converge(&vms(&renamed.replace("size: 2GiB}", "size: 2GiB, new: true}"))).await;
    assert!(world.file("production", "prod-db-01").contains("virtio1: shared"));
}

#[tokio::test(start_paused = true)]
async fn a_detached_disk_is_attached_again_or_destroyed() {
    let world = World::production();
    world.converge(&vms(VM)).await;
    let without = vms(&VM.replace("virtio1: {storage: shared, size: 2GiB}", "virtio1: null"));
    accepting(&world, &without, "detach:production/prod-db-01/virtio1").await;
    let attached = VM.replace("virtio1: {storage: shared, size: 2GiB}", "scsi4: {volume: unused0, ssd: true}");
    let plan = world.converge(&vms(&attached)).await;
    let file = world.file("production", "prod-db-01");
    assert!(
        file.contains("scsi4: shared:1001/vm-1001-disk-0.raw") && !file.contains("unused"),
        "{file}\n{}",
        text(&plan)
    );
    accepting(
        &world,
        &vms(&VM.replace("virtio1: {storage: shared, size: 2GiB}", "scsi4: null")),
        "detach:production/prod-db-01/scsi4",
    )
    .await;
    let plan = accepting(&world, &without, "destroy:production/prod-db-01/unused0").await;
    assert!(text(&plan).contains("destroys unused0 shared:1001/vm-1001-disk-0.raw"), "{}", text(&plan));
    assert!(!world.state().contains("shared:1001"), "{}", world.state());
    let options = PlanOptions {
        accept: vec!["destroy:production/prod-db-01/unused0".parse().unwrap()],
        ..PlanOptions::default()
    };
    let desired = world.desired(&without);
    let live = pvefleet::ops::read(&desired, &world.readers(), &[]).await;
    assert!(pvefleet::plan::plan(&desired, &live, &options).is_err(), "it is gone: nothing is accepted");
}

#[tokio::test(start_paused = true)]
async fn an_image_fills_a_new_disk() {
    let world = World::shaped(&["production"], "", |spec| {
        let local = spec.storages.iter_mut().find(|storage| storage.name == "local").unwrap();
        local.content.push("import".to_owned());
        local.files.insert("import/cloud.qcow2".to_owned(), 3 << 30);
    });
    let manifest = vms(&VM.replace(
        "scsi0: {storage: local-lvm, size: 4GiB, discard: on}",
        "scsi0: {import: \"local:import/cloud.qcow2\", storage: local-lvm, size: 5GiB, discard: on}",
    ));
    let plan = world.converge(&manifest).await;
    let file = world.file("production", "prod-db-01");
    assert!(file.contains("scsi0: local-lvm:vm-1001-disk-0,discard=on,size=5G"), "{file}\n{}", text(&plan));
    // A guest that is there is given one in the same way.
    let more = manifest.replace(
        "        ide2",
        "        scsi3: {import: \"local:import/cloud.qcow2\", storage: shared}\n        ide2",
    );
    world.converge(&more).await;
    assert!(world.file("production", "prod-db-01").contains("scsi3: shared:1001/vm-1001-disk-1.qcow2,size=3G"));
    let plan = world
        .plan(&vms(&VM.replace(
            "        ide2",
            "        scsi4: {import: \"local:import/none.qcow2\", storage: nowhere}\n        ide2",
        )))
        .await;
    assert_eq!(blocked(&plan, "scsi4"), "not-found");
}
