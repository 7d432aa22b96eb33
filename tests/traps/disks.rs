//! Disks: never an empty one in the place of one that holds data.

use super::*;

const TWO: &str = "      - name: prod-db-01
        node: [pve3]
        scsi0: {storage: shared, size: 8GiB}
        scsi1: {storage: local-lvm, size: 4GiB}
        unlisted: ignore
";

#[tokio::test(start_paused = true)]
async fn a_disk_key_renamed_is_no_new_disk() {
    let world = World::production();
    world.converge(&vms(TWO)).await;
    let before = volumes(&world);
    for old in ["        scsi1: null\n", ""] {
        let renamed = vms(&TWO.replace(
            "        scsi1: {storage: local-lvm, size: 4GiB}\n",
            &format!("{old}        scsi2: {{storage: local-lvm, size: 4GiB}}\n"),
        ));
        if old.is_empty() {
            // The old key is still there and not listed: this is a second disk, and nothing is lost by it.
            let plan = world.plan(&renamed).await;
            assert_kept(&plan);
            continue;
        }
        // Even with the old one's detaching accepted, in the same plan.
        for options in [PlanOptions::default(), accepting(&["detach:production/prod-db-01/scsi1"])] {
            let plan = world.plan_with(&world.desired(&renamed), &options).await;
            let why = assert_field_refused(only(&plan), "scsi2", ReasonCode::DetachedDisk);
            assert!(why.contains("vm-1000-disk-0") && why.contains("new: true"), "{why}");
        }
    }
    assert_eq!(volumes(&world), before);
}

#[tokio::test(start_paused = true)]
async fn a_disk_removed_and_put_back_is_not_made_anew() {
    let world = World::production();
    world.converge(&vms(TWO)).await;
    let before = volumes(&world);
    let without = vms(&TWO.replace("{storage: local-lvm, size: 4GiB}", "null"));
    let why = assert_field_refused(only(&world.plan(&without).await), "scsi1", ReasonCode::NeedsAccept);
    assert!(why.contains("--accept detach:production/prod-db-01/scsi1"), "{why}");
    let (plan, outcome) = world.apply_with(&without, &accepting(&["detach:production/prod-db-01/scsi1"])).await;
    assert_eq!(outcome.exit_code(&plan), 0, "{outcome:#?}");
    assert!(world.file("production", "prod-db-01").contains("unused0: local-lvm:vm-1000-disk-0"));
    // Put back by taking the edit back: the detached one waits, and a new one would be empty.
    let why = assert_field_refused(only(&world.plan(&vms(TWO)).await), "scsi1", ReasonCode::DetachedDisk);
    assert!(why.contains("local-lvm:vm-1000-disk-0"), "{why}");
    // As the message says.
    let back = TWO.replace("{storage: local-lvm, size: 4GiB}", "{volume: 'local-lvm:vm-1000-disk-0', size: 4GiB}");
    world.converge(&vms(&back)).await;
    assert!(!world.file("production", "prod-db-01").contains("unused0"));
    assert_nothing_is_sent(&world.plan(&vms(TWO)).await);
    assert_eq!(volumes(&world), before);
}

#[tokio::test(start_paused = true)]
async fn a_disk_asked_as_storage_and_size_is_the_live_volume() {
    let world = World::production();
    let spelt = |disk: &str| vms(&TWO.replace("{storage: shared, size: 8GiB}", disk));
    world.converge(&spelt("'shared:8'")).await;
    let before = volumes(&world);
    for disk in ["'shared:8'", "'shared:8,ssd=0'", "{storage: shared, size: 8GiB}", "{storage: shared, size: 8G}"] {
        let plan = world.plan(&spelt(disk)).await;
        assert_nothing_is_sent(&plan);
        assert!(only(&plan).fields.is_empty(), "{disk}: {}", text(&plan));
    }
    // Another option of it is written with the volume that it has, never as an allocation.
    world.converge(&spelt("'shared:8,ssd=1,discard=on'")).await;
    let more = spelt("{storage: shared, size: 9GiB, ssd: false}");
    let plan = world.converge(&more).await;
    let sent: Vec<String> = only(&plan).steps.iter().map(|step| format!("{:?}", step.call.params)).collect();
    assert!(sent.iter().all(|params| !params.contains("shared:9") && !params.contains("shared:8")), "{sent:?}");
    assert_eq!(volumes(&world), before);
    let root = "      - name: prod-dns-01
        vmid: 1101
        node: pve2
        ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst
        rootfs: 'local-lvm:8'
        unprivileged: true
        unlisted: ignore
";
    world.converge(&containers(root)).await;
    let before = volumes(&world);
    assert_nothing_is_sent(&world.plan(&containers(root)).await);
    world.converge(&containers(&root.replace("local-lvm:8", "local-lvm:8,mountoptions=noatime"))).await;
    assert_eq!(volumes(&world), before);
}
