//! Which guest it is.

use pvefleet::plan::State;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_vmid_edited_in_the_manifest_is_refused() {
    let world = World::production();
    world.converge(&vms(DB)).await;
    let edited = vms(&DB.replace("        node: [pve3]\n", "        node: [pve3]\n        vmid: 1500\n"));
    let plan = world.plan_with(&world.desired(&edited), &prune()).await;
    let why = assert_refused(only(&plan), ReasonCode::Immutable);
    assert!(why.contains("1000"), "it says which id it has: {why}");
}

#[tokio::test(start_paused = true)]
async fn a_name_edited_in_the_manifest_is_a_rename_where_the_vmid_proves_it() {
    let world = World::production();
    let with_id = DB.replace("        node: [pve3]\n", "        node: [pve3]\n        vmid: 1007\n");
    world.converge(&vms(&with_id)).await;
    let plan = world.converge(&vms(&with_id.replace("prod-db-01", "prod-sql-01"))).await;
    assert_eq!((only(&plan).action, only(&plan).fields[0].name.as_str()), (Action::Update, "name"));
    assert_eq!(world.vmid("production", "prod-sql-01").get(), 1007);
}

#[tokio::test(start_paused = true)]
async fn a_name_edited_in_the_manifest_never_costs_the_guest_under_the_old_name() {
    let world = World::production();
    world.converge(&vms(DB)).await;
    let renamed = vms(&DB.replace("prod-db-01", "prod-sql-01"));
    let (plan, _) = world.apply_with(&renamed, &prune()).await;
    let why = assert_refused(named(&plan, "prod-db-01"), ReasonCode::Guard);
    assert!(why.contains("under a new name"), "{why}");
    assert_eq!(world.vmid("production", "prod-db-01").get(), 1000);
}

#[tokio::test(start_paused = true)]
async fn two_guests_of_one_name_are_a_conflict() {
    let world = World::production();
    for id in ["1500", "1501"] {
        world.by_hand("production", Method::Post, "/nodes/pve1/qemu", &[("vmid", id), ("name", "prod-db-01")]).await;
    }
    for line in ["", "        adopt: true\n"] {
        let plan = world.plan(&vms(&format!("{DB}{line}"))).await;
        let why = assert_refused(only(&plan), ReasonCode::Conflict);
        assert!(why.contains("1500") && why.contains("1501"), "{why}");
    }
    // Ours beside two strangers of its name is still ours.
    let ours = vms(&DB.replace("prod-db-01", "prod-db-02"));
    world.converge(&ours).await;
    put(&world, "prod-db-01", &[("name", "prod-db-02")]).await;
    assert_nothing_is_sent(&world.plan(&ours).await);
}

#[tokio::test(start_paused = true)]
async fn a_vmid_taken_by_another_kind_is_taken() {
    let world = World::production();
    let id = |id: &str| DB.replace("        node: [pve3]\n", &format!("        node: [pve3]\n        vmid: {id}\n"));
    for (name, id) in [("prod-db-01", id("120")), ("old-wiki", id("120").replace("prod-db-01", "old-wiki"))] {
        for line in ["", "        adopt: true\n"] {
            let plan = world.plan(&vms(&format!("{id}{line}"))).await;
            let why = assert_refused(named(&plan, name), ReasonCode::VmidTaken);
            assert!(why.contains("container"), "{why}");
        }
    }
    // Chosen by the range, the id steps over what is there, of whatever kind.
    let other = "      - name: prod-a\n        memory: 512\n";
    let manifest = vms(other).replace("vmids: 1000-1999", "vmids: 120-125");
    let plan = world.converge(&manifest).await;
    assert_eq!(only(&plan).address.vmid, "121".parse().ok());
}

#[tokio::test(start_paused = true)]
async fn templates_of_one_name_on_each_node_are_chosen_by_place() {
    let world = World::production();
    let clone = |name: &str, node: &str| {
        format!("      - name: {name}\n        node: [{node}]\n        clone: {{from: debian-12, full: false}}\n")
    };
    let manifest = vms(&["pve1", "pve2", "pve3"].map(|node| clone(&format!("prod-on-{node}"), node)).concat());
    let plan = world.converge(&manifest).await;
    let sources: Vec<&str> =
        plan.changes().map(|change| change.fields[0].after.as_deref().unwrap_or_default()).collect();
    assert!(sources[0].contains("9001") && sources[1].contains("9002") && sources[2].contains("9003"), "{sources:?}");
    for node in ["pve1", "pve2", "pve3"] {
        assert!(world.path("production", &format!("prod-on-{node}"), "").contains(node));
    }
}

#[tokio::test(start_paused = true)]
async fn a_template_and_its_clone_in_one_manifest_are_made_one_after_the_other() {
    let world = World::production();
    let template = DB.replace("prod-db-01", "prod-golden").replace("unlisted: ignore", "template: true");
    let clone = "      - name: prod-a-clone\n        clone: {from: prod-golden}\n        unlisted: ignore\n";
    let both = vms(&format!("{clone}{template}"));
    let (plan, outcome) = world.apply(&both).await;
    assert_eq!(named(&plan, "prod-a-clone").state, State::Waiting, "{}", text(&plan));
    assert_eq!(outcome.exit_code(&plan), 3);
    let plan = world.converge(&both).await;
    let order: Vec<&str> = plan.changes().map(|change| change.address.name.as_str()).collect();
    assert_eq!(order, ["prod-golden", "prod-a-clone"]);
    assert_eq!(named(&plan, "prod-a-clone").action, Action::Clone);
    // The clone inherits its template's line, and is its own guest all the same.
    assert!(world.file("production", "prod-a-clone").contains("guest=qemu/prod-a-clone"));
}

#[tokio::test(start_paused = true)]
async fn a_clone_waits_for_the_changes_of_its_source() {
    let world = World::production();
    let source = DB.replace("prod-db-01", "prod-base");
    world.converge(&vms(&source)).await;
    let clone = "      - {name: prod-db-02, clone: {from: prod-base, full: true}, memory: null}\n";
    let both = vms(&format!("{clone}{}", source.replace("1024", "2048").replace("tags: [db]", "tags: [base]")));
    let plan = world.plan(&both).await;
    let words = assert_refused(named(&plan, "prod-db-02"), ReasonCode::Dependency);
    assert!(words.starts_with("prod-base is changed by this plan"), "{words}");
    assert!(named(&plan, "prod-base").has_steps());
    let (plan, outcome) = world.apply(&both).await;
    assert_eq!(named(&plan, "prod-db-02").action, Action::Clone, "{outcome:#?}");
    world.converge(&both).await;
    assert!(!world.file("production", "prod-db-02").contains("memory"));
    // Tags and notes are written with the clone: for them alone, nothing waits.
    let third = clone.replace("prod-db-02", "prod-db-03");
    world.converge(&format!("{both}{third}").replace("tags: [base]", "tags: [base, more]")).await;
}
