//! Nodes: guests that moved, nodes that are away.

use pvefleet::plan::State;
use pvefleet::pve::http::Request;
use pvefleet::sim::transport::lock;

use super::*;

/// The guest is on another node than the one it was made on, as after a fail-over.
async fn move_away(world: &World, to: &str) {
    let path = world.path("production", "prod-db-01", "/migrate");
    world.by_hand("production", Method::Post, &path, &[("target", to)]).await;
    // The HA manager takes its time.
    for _ in 0..20 {
        tokio::time::sleep(std::time::Duration::from_secs(10)).await;
        world.client("production").read(&Request::get("/version")).await.unwrap();
    }
    assert!(world.path("production", "prod-db-01", "").contains(to));
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_ha_moved_is_not_made_again() {
    let world = World::production();
    world.converge(&vms(DB)).await;
    let id = world.vmid("production", "prod-db-01");
    world.by_hand("production", Method::Post, "/cluster/ha/resources", &[("sid", &format!("vm:{id}"))]).await;
    move_away(&world, "pve1").await;
    let before = volumes(&world);
    // The list of nodes says where it may live, and it may live there.
    let anywhere = vms(&DB.replace("[pve3]", "[pve3, pve1]"));
    assert_nothing_is_sent(&world.plan_with(&world.desired(&anywhere), &prune()).await);
    // The list does not have the node: it is never deleted there and made here.
    let plan = world.plan_with(&world.desired(&vms(DB)), &prune()).await;
    assert_kept(&plan);
    let change = only(&plan);
    assert_eq!(change.address.vmid, Some(id));
    let node = change.fields.iter().find(|field| field.name == "node").unwrap();
    assert_eq!((node.before.as_deref(), node.after.as_deref()), (Some("pve1"), Some("pve3")));
    // Its options are still looked after, where it is now.
    let (plan, outcome) = world.apply(&vms(&DB.replace("[pve3]", "[pve3, pve1]").replace("1024", "2048"))).await;
    assert_eq!(outcome.exit_code(&plan), 0, "{outcome:#?}");
    assert!(world.file("production", "prod-db-01").contains("memory: 2048"));
    assert_eq!(volumes(&world), before);
}

#[tokio::test(start_paused = true)]
async fn a_node_offline_makes_its_guests_unknown_and_nothing_else() {
    let world = World::production();
    let other = DB.replace("prod-db-01", "prod-db-02").replace("pve3", "pve1");
    world.converge(&vms(&format!("{DB}{other}"))).await;
    let before = world.state();
    lock(&world.clusters["production"]).set_node_online("pve3", false);
    let more = DB.replace("prod-db-01", "prod-db-03").replace("pve3", "pve1");
    let manifest = vms(&format!("{DB}{}{more}", other.replace("1024", "2048")));
    for options in [PlanOptions::default(), prune()] {
        let plan = world.plan_with(&world.desired(&manifest), &options).await;
        assert_eq!(named(&plan, "prod-db-01").state, State::Unknown, "{}", text(&plan));
        assert!(named(&plan, "prod-db-02").has_steps(), "its node answers: {}", text(&plan));
        assert_eq!(named(&plan, "prod-db-03").state, State::Unknown, "it might be there: {}", text(&plan));
        assert!(!plan.complete);
    }
    // Neither does anything go: what could not be read might be what the manifest means.
    let plan = world.plan_with(&world.desired(&vms(DB)), &prune()).await;
    assert_refused(named(&plan, "prod-db-02"), ReasonCode::Unread);
    let (plan, outcome) = world.apply_with(&vms(DB), &prune()).await;
    assert_ne!(outcome.exit_code(&plan), 0, "nothing unread is called done: {}", text(&plan));
    assert_eq!(world.state(), before);
    // Back again, all goes on.
    lock(&world.clusters["production"]).set_node_online("pve3", true);
    world.converge(&manifest).await;
}
