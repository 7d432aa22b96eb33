//! Values that look different and are not, or wait.

use super::*;

#[tokio::test(start_paused = true)]
async fn tags_in_other_order_and_case_are_the_same_tags() {
    let world = World::production();
    world.converge(&vms(&DB.replace("tags: [db]", "tags: [db, Blue, web]"))).await;
    put(&world, "prod-db-01", &[("tags", "WEB;fleet-homelab,blue DB")]).await;
    let file = world.file("production", "prod-db-01");
    for tags in ["[db, Blue, web]", "[web, blue, DB]", "'BLUE; db;web'"] {
        let plan = world.plan(&vms(&DB.replace("[db]", tags))).await;
        assert_nothing_is_sent(&plan);
        assert!(only(&plan).fields.is_empty(), "{}", text(&plan));
    }
    assert_eq!(world.file("production", "prod-db-01"), file);
}

#[tokio::test(start_paused = true)]
async fn a_value_pending_a_reboot_is_no_difference() {
    let world = World::production();
    let running = format!("{DB}        state: running\n");
    world.converge(&vms(&running)).await;
    let more = running.replace("memory: 1024", "memory: 2048");
    world.converge(&vms(&more)).await;
    assert!(world.file("production", "prod-db-01").contains("[PENDING]"), "it waits");
    let plan = world.plan(&vms(&more)).await;
    assert_nothing_is_sent(&plan);
    assert_eq!(only(&plan).pending, ["memory"]);
    assert_eq!(only(&plan).class.map(|class| class.word()), Some("pending"));
    // With leave to reboot, one reboot carries it out, and then nothing waits.
    let plan = world.converge(&vms(&format!("{more}        reboot: allow\n"))).await;
    assert_eq!(only(&plan).steps.iter().map(|step| step.kind.word()).collect::<Vec<_>>(), ["reboot"]);
    assert!(!world.file("production", "prod-db-01").contains("[PENDING]"));
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_pending_value_is_taken_back() {
    let world = World::production();
    let running = vms(&format!("{DB}        state: running\n        ostype: l26\n"));
    world.converge(&running).await;
    for queued in [("memory", "4096"), ("delete", "ostype"), ("cores", "7")] {
        put(&world, "prod-db-01", &[queued]).await;
        assert!(world.file("production", "prod-db-01").contains("[PENDING]"), "{queued:?} waits");
        let plan = world.plan(&running).await;
        if queued.0 == "cores" {
            // Not listed: not ours to take back.
            assert_nothing_is_sent(&plan);
            continue;
        }
        assert_eq!(only(&plan).action, Action::Update, "{}", text(&plan));
        world.converge(&running).await;
        assert!(!world.file("production", "prod-db-01").contains("[PENDING]"), "{queued:?} is gone");
    }
}

#[tokio::test(start_paused = true)]
async fn a_live_size_larger_by_rounding_is_the_size_asked_for() {
    let world = World::production();
    // LVM allocates by extents of 4 MiB.
    let odd = vms(&DB.replace("{storage: shared, size: 8GiB}", "{storage: local-lvm, size: 4097MiB}"));
    world.converge(&odd).await;
    let mut live = read(&world, &odd).await;
    for (size, same) in [("4097M", true), ("4100M", true), ("4198400K", true), ("4101M", false), ("4096M", false)] {
        if let Read::Known(config) = &mut guest(&mut live, "prod-db-01").config {
            config.current.insert("scsi0".to_owned(), format!("local-lvm:vm-1000-disk-0,size={size}"));
        }
        let plan = plan_of(&world, &odd, &live, &PlanOptions::default());
        assert_eq!(only(&plan).fields.is_empty(), same, "{size}: {}", text(&plan));
        // Larger by more is somebody's growing: never shrunk.
        if size == "4101M" {
            assert_field_refused(only(&plan), "scsi0.size", ReasonCode::Shrink);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn high_availability_has_nothing_to_keep_of_a_template() {
    let world = World::production();
    world.converge(&vms(&DB.replace("unlisted: ignore", "template: true"))).await;
    // Somebody took `template` away and asks HA for what is a template all the same.
    let plan = world.plan(&vms(&DB.replace("unlisted: ignore", "ha: {state: started}"))).await;
    assert_nothing_is_sent(&plan);
    let words = assert_field_refused(only(&plan), "ha", ReasonCode::NotInPlace);
    assert!(words.starts_with("it is a template, which never runs"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn memory_is_plugged_in_only_with_numa() {
    let world = World::production();
    let more = "hotplug: \"disk,network,usb,memory,cpu\"\n        state: running\n        reboot: allow";
    let hot = vms(&DB.replace("unlisted: ignore", more));
    world.converge(&hot).await;
    let plan = world.converge(&hot.replace("memory: 1024", "memory: 2048")).await;
    let kinds: Vec<&str> = only(&plan).steps.iter().map(|step| step.kind.word()).collect();
    assert_eq!(kinds, ["configure", "reboot"], "{}", text(&plan));
    let with_numa =
        DB.replace("prod-db-01", "prod-db-02").replace("unlisted: ignore", &format!("{more}\n        numa: true"));
    world.converge(&vms(&with_numa)).await;
    let plan = world.converge(&vms(&with_numa.replace("memory: 1024", "memory: 2048"))).await;
    let kinds: Vec<&str> = named(&plan, "prod-db-02").steps.iter().map(|step| step.kind.word()).collect();
    assert_eq!(kinds, ["configure"], "{}", text(&plan));
}
