//! Whose a guest is.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_copy_made_by_hand_with_tag_and_line_is_not_ours() {
    let world = World::production();
    world.converge(&vms(DB)).await;
    for (id, name) in [("1500", "copy"), ("1501", "prod-db-01")] {
        let path = world.path("production", "prod-db-01", "/clone");
        world.by_hand("production", Method::Post, &path, &[("newid", id), ("name", name), ("full", "1")]).await;
    }
    let copy = world.file("production", "copy");
    assert!(copy.contains("pvefleet v1") && copy.contains("fleet-homelab"), "it bears both: {copy}");
    let before = world.state();
    let plan = world.plan_with(&world.desired(&vms(DB)), &prune()).await;
    assert_nothing_is_sent(&plan);
    assert_eq!(only(&plan).address.vmid, "1000".parse().ok(), "{}", text(&plan));
    // Neither is it an orphan when its original goes from the manifest, nor taken for the original under `adopt`.
    let plan = world.plan_with(&world.desired(&nothing()), &prune()).await;
    assert_eq!(only(&plan).address.vmid, "1000".parse().ok(), "{}", text(&plan));
    let (_, outcome) = world.apply_with(&vms(&format!("{DB}        adopt: true\n")), &PlanOptions::default()).await;
    assert!(outcome.guests.iter().all(|guest| guest.address.vmid == "1000".parse().ok()), "{outcome:#?}");
    assert_eq!(world.state(), before);
}

#[tokio::test(start_paused = true)]
async fn a_copy_whose_original_is_gone_is_not_ours_either() {
    let world = World::production();
    world.converge(&vms(DB)).await;
    let path = world.path("production", "prod-db-01", "/clone");
    let params = [("newid", "1500"), ("name", "prod-db-01"), ("full", "1")];
    world.by_hand("production", Method::Post, &path, &params).await;
    world.by_hand("production", Method::Delete, &path.replace("/clone", ""), &[]).await;
    let plan = world.plan_with(&world.desired(&vms(DB)), &prune()).await;
    let why = assert_refused(only(&plan), ReasonCode::NotOwned);
    assert!(why.contains("--accept adopt:production/prod-db-01"), "{why}");
    assert_nothing_is_sent(&world.plan_with(&world.desired(&nothing()), &prune()).await);
}

#[tokio::test(start_paused = true)]
async fn a_restore_with_another_clusters_line_is_foreign() {
    let world = World::of(&["production", "disaster-recovery"]);
    let manifest = "fleet: homelab\nclusters:\n  production:\n    vmids: 1000-1999\n    vms:\n";
    world.converge(&format!("{manifest}{DB}")).await;
    // The backup comes up at the other site, under its own id, with all that stands in its file.
    let file = world.file("production", "prod-db-01");
    let node = {
        let mut site = pvefleet::sim::transport::lock(&world.clusters["disaster-recovery"]);
        let node = site.spec().nodes[0].name.clone();
        site.write_guest_file(pvefleet::pve::value::GuestKind::Qemu, "1000".parse().unwrap(), &node, &file);
        node
    };
    let before = world.state();
    let guest = DB.replace("node: [pve3]", &format!("node: [{node}]"));
    for line in ["", "        adopt: true\n", "        vmid: 1000\n"] {
        let there = format!("fleet: homelab\nclusters:\n  disaster-recovery:\n    vms:\n{guest}{line}");
        let plan = world.plan_with(&world.desired(&there), &prune()).await;
        let why = assert_refused(only(&plan), ReasonCode::Foreign);
        assert!(why.contains("1000") && why.contains("production"), "{why}");
    }
    let none = world.desired("fleet: homelab\nclusters:\n  disaster-recovery: {}\n");
    let plan = world.plan_with(&none, &prune()).await;
    assert_eq!(plan.changes().count(), 0, "no orphan: {}", text(&plan));
    assert_eq!(world.state(), before);
}

#[tokio::test(start_paused = true)]
async fn tags_lost_by_a_rollback_come_back_and_cost_nothing() {
    let world = World::production();
    let guest_with_thin_disk = DB.replace("shared", "local-lvm");
    let manifest = vms(&guest_with_thin_disk);
    world.converge(&manifest).await;
    put(&world, "prod-db-01", &[("delete", "tags")]).await;
    let snapshot = world.path("production", "prod-db-01", "/snapshot");
    world.by_hand("production", Method::Post, &snapshot, &[("snapname", "before")]).await;
    world.converge(&manifest).await;
    assert!(world.file("production", "prod-db-01").starts_with('#'), "the line comes first");
    world.by_hand("production", Method::Post, &format!("{snapshot}/before/rollback"), &[]).await;
    let current = world.file("production", "prod-db-01");
    let current = current.split("[before]").next().unwrap();
    assert!(!current.contains("fleet-homelab") && current.contains("pvefleet v1"), "{current}");
    // Without the tag nothing is deleted, only shown, in a run that meets it as an orphan.
    let mut live = read(&world, &manifest).await;
    assert!(guest(&mut live, "prod-db-01").config.known().is_some(), "its name brought its notes");
    let plan = plan_of(&world, &nothing(), &live, &prune());
    let why = assert_refused(only(&plan), ReasonCode::NotOwned);
    assert!(why.contains("fleet-homelab"), "{why}");
    // In the manifest, it is ours, and adding the tag is an ordinary step.
    let plan = world.converge(&manifest).await;
    assert_eq!((only(&plan).action, only(&plan).fields[0].name.as_str()), (Action::Update, "tags"));
}

#[tokio::test(start_paused = true)]
async fn adopt_left_in_the_manifest_takes_no_successor_of_the_vmid() {
    let world = World::production();
    let manifest = vms("      - name: legacy-nas\n        vmid: 110\n        adopt: true\n        unlisted: ignore\n");
    world.converge(&manifest).await;
    world.by_hand("production", Method::Post, &world.path("production", "legacy-nas", "/status/stop"), &[]).await;
    destroy(&world, "legacy-nas").await;
    // Gone, it is not made from nothing: there is nothing to adopt.
    assert_refused(only(&world.plan(&manifest).await), ReasonCode::NotFound);
    let make = |name: &'static str| [("vmid", "110"), ("name", name), ("memory", "512")];
    world.by_hand("production", Method::Post, "/nodes/pve1/qemu", &make("somebody-elses")).await;
    let why = assert_refused(only(&world.plan(&manifest).await), ReasonCode::VmidTaken);
    assert!(why.contains("somebody-elses"), "{why}");
    // Under the old name, and with another fleet's line, it is that fleet's.
    let line = "<!-- pvefleet v1 cluster=production fleet=other guest=qemu/legacy-nas vmid=110 -->";
    put(&world, "somebody-elses", &[("name", "legacy-nas"), ("description", line)]).await;
    assert_refused(only(&world.plan(&manifest).await), ReasonCode::Foreign);
}

#[tokio::test(start_paused = true)]
async fn two_folders_of_one_fleet_with_scopes_leave_each_other_alone() {
    let world = World::production();
    let folder = |scope: &str, guests: &str| {
        format!("fleet: homelab\nscope: {scope}\nclusters:\n  production:\n    vmids: 1000-1999\n    vms:\n{guests}")
    };
    let (web, db) = (folder("web", &DB.replace("prod-db-01", "prod-web-01")), folder("db", DB));
    world.converge(&web).await;
    world.converge(&db).await;
    assert_nothing_is_sent(&world.plan_with(&world.desired(&web), &prune()).await);
    assert_nothing_is_sent(&world.plan_with(&world.desired(&db), &prune()).await);
    // Each finds its own orphans and no others.
    let plan = world.plan_with(&world.desired(&folder("db", "").replace("    vms:\n", "")), &prune()).await;
    assert_eq!(only(&plan).address.name, "prod-db-01", "{}", text(&plan));
    // And a guest that one folder has is not taken over by naming it in the other.
    let both = folder("db", &format!("{DB}{}", DB.replace("prod-db-01", "prod-web-01")));
    assert_refused(named(&world.plan(&both).await, "prod-web-01"), ReasonCode::Foreign);
}
