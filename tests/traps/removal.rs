//! Guests that go from the manifest.

use super::*;

/// Reads the same files as one manifest, as the command line does.
fn dns(number: u32) -> String {
    DB.replace("prod-db-01", &format!("prod-db-{number:02}"))
}

#[tokio::test(start_paused = true)]
async fn the_last_guest_removed_is_shown_and_kept() {
    let world = World::production();
    world.converge(&vms(DB)).await;
    let plan = world.plan(&nothing()).await;
    let why = assert_refused(only(&plan), ReasonCode::NeedsPrune);
    assert!(why.contains("--accept delete:production/prod-db-01"), "{why}");
    assert_eq!(only(&plan).class.map(|class| class.word()), Some("orphan"));
    // By name it goes, and nothing else does.
    let others: Vec<String> = volumes(&world).into_iter().filter(|volume| !volume.contains("1000")).collect();
    let (plan, outcome) = world.apply_with(&nothing(), &accepting(&["delete:production/prod-db-01"])).await;
    assert_eq!(outcome.exit_code(&plan), 0, "{outcome:#?}");
    assert_eq!(volumes(&world).into_iter().collect::<Vec<_>>(), others);
}

#[tokio::test(start_paused = true)]
async fn an_empty_manifest_empties_no_cluster() {
    let world = World::production();
    let all: String = (1..=8).map(dns).collect();
    world.converge(&vms(&all)).await;
    let before = world.state();
    for manifest in [nothing(), format!("{HEAD}    containers: []\n"), HEAD.to_owned()] {
        for options in [PlanOptions::default(), prune()] {
            let (plan, _) = world.apply_with(&manifest, &options).await;
            assert_eq!(plan.changes().count(), 8, "{}", text(&plan));
            assert_nothing_is_sent(&plan);
        }
    }
    // A manifest without the cluster says nothing about it.
    let plan = world.plan_with(&world.desired("fleet: homelab\n"), &prune()).await;
    assert_eq!(plan.changes().count(), 0, "{}", text(&plan));
    assert_eq!(world.state(), before);
}

#[tokio::test(start_paused = true)]
async fn half_a_folder_with_prune_deletes_nothing() {
    let world = World::production();
    world.converge(&vms(&format!("{}{}", dns(1), dns(2)))).await;
    let half = world.desired(&vms(&dns(1)));
    for options in [
        PlanOptions { partial: true, ..prune() },
        PlanOptions { targets: vec!["prod-db-01".to_owned()], ..prune() },
        PlanOptions { targets: vec!["production/prod-db-01".to_owned()], ..prune() },
    ] {
        let plan = world.plan_with(&half, &options).await;
        assert_eq!(only(&plan).address.name, "prod-db-01");
        assert_nothing_is_sent(&plan);
        assert!(plan.warnings.iter().any(|warning| warning.code == "prune-ignored"), "{:?}", plan.warnings);
    }
    // The whole folder, read in any order, has no orphan.
    let part = |number: u32| (format!("{number}.yaml"), vms(&dns(number)));
    let whole = support::resolve(&[part(2), part(1)], &world.registry);
    assert_nothing_is_sent(&world.plan_with(&whole, &prune()).await);
}

#[tokio::test(start_paused = true)]
async fn a_routing_rule_changed_moves_and_deletes_nothing() {
    let world = World::of(&["production", "staging"]);
    let guest =
        DB.replace("        node: [pve3]\n", "").replace("shared", "local-lvm").replace("prod-db-01", "stg-mon");
    let head = "fleet: homelab\nclusters: {production: {}, staging: {}}\nvms:\n";
    let manifest = |cluster: &str| format!("{head}{guest}        cluster: {cluster}\n");
    world.converge(&manifest("production")).await;
    let before = world.state();
    // Named there now, or sent there by a pattern of the settings.
    for moved in [manifest("staging"), format!("{head}{guest}")] {
        let (plan, _) = world.apply_with(&moved, &prune()).await;
        let why = assert_refused(only(&plan), ReasonCode::LivesElsewhere);
        assert!(why.contains("lives in production") && why.contains("routed to staging"), "{why}");
        assert_eq!(world.state(), before);
    }
}
