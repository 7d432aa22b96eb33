//! What lists do not show, show late, or show of somebody else.

use pvefleet::plan::State;
use pvefleet::pve::http::Request;
use pvefleet::sim::world::{GrantSpec, TokenSpec};

use super::*;

/// A guest's row in `/cluster/resources`, as it is now.
async fn row(world: &World, vmid: u64) -> serde_json::Value {
    let rows = world.client("production").read(&Request::get("/cluster/resources").with("type", "vm")).await.unwrap();
    rows.as_array().unwrap().iter().find(|row| row["vmid"] == vmid).cloned().unwrap_or_default()
}

async fn make(world: &World, vmid: &str, name: &str) {
    world.by_hand("production", Method::Post, "/nodes/pve1/qemu", &[("vmid", vmid), ("name", name)]).await;
}

/// Time enough for every list to be fresh.
async fn settle() {
    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
}

#[tokio::test(start_paused = true)]
async fn the_guest_list_with_a_predecessors_name_is_not_believed() {
    let world = World::production();
    make(&world, "1000", "prod-db-01").await;
    settle().await;
    row(&world, 1000).await;
    destroy(&world, "prod-db-01").await;
    make(&world, "1000", "somebody-elses").await;
    assert_eq!(row(&world, 1000).await["name"], "prod-db-01", "the list shows who had the id before");
    // The guest is not there: it is made, and the other is left alone, `adopt` or not.
    assert_refused(only(&world.plan(&vms(&format!("{DB}        adopt: true\n"))).await), ReasonCode::NotFound);
    let plan = world.converge(&vms(DB)).await;
    assert_eq!((only(&plan).action, only(&plan).address.vmid), (Action::Create, "1001".parse().ok()));
    assert!(!world.file("production", "somebody-elses").contains("pvefleet"));
}

#[tokio::test(start_paused = true)]
async fn the_guest_list_without_names_hides_nobody() {
    let world = World::production();
    make(&world, "1000", "prod-db-01").await;
    assert!(row(&world, 1000).await["name"].is_null(), "the list shows no name yet");
    let why = assert_refused(only(&world.plan(&vms(DB)).await), ReasonCode::NotOwned);
    assert!(why.contains("1000"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_guest_whose_name_is_nowhere_known_holds_a_creation_back() {
    let world = World::production();
    make(&world, "1000", "prod-db-01").await;
    let mut live = read(&world, &vms(DB)).await;
    let guest = guest(&mut live, "prod-db-01");
    guest.name = Read::Unread("the list of node pve1 does not show it".to_owned());
    guest.config = Read::Unread("timed out".to_owned());
    let plan = plan_of(&world, &vms(DB), &live, &PlanOptions::default());
    assert_eq!(only(&plan).state, State::Unknown);
    assert_nothing_is_sent(&plan);
    // One that has an id of its own does not wait for it.
    let with_id = vms(&DB.replace("        node: [pve3]\n", "        node: [pve3]\n        vmid: 1007\n"));
    world.converge(&with_id).await;
}

#[tokio::test(start_paused = true)]
async fn the_guest_list_with_old_power_state_starts_and_stops_nobody() {
    let world = World::production();
    let running = vms(&format!("{DB}        state: running\n"));
    let stopped = vms(&format!("{DB}        state: stopped\n"));
    for (manifest, action, shown) in [(&running, "start", "stopped"), (&stopped, "shutdown", "running")] {
        if action == "start" {
            world.converge(&vms(DB)).await;
        }
        settle().await;
        row(&world, 1000).await;
        let path = world.path("production", "prod-db-01", &format!("/status/{action}"));
        world.by_hand("production", Method::Post, &path, &[]).await;
        assert_eq!(row(&world, 1000).await["status"], shown, "the list is behind");
        assert_nothing_is_sent(&world.plan(manifest).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_see_a_guest_makes_none_in_its_place() {
    let grant = |path: &str, role: &str| GrantSpec {
        path: path.to_owned(),
        role: Some(role.to_owned()),
        privileges: Vec::new(),
        propagate: true,
    };
    let world = World::shaped(&["production"], "", |spec| {
        let mut grants = vec![grant("/nodes", "PVEAuditor"), grant("/storage", "PVEDatastoreAdmin")];
        grants.push(grant("/sdn", "PVESDNAdmin"));
        grants.push(GrantSpec { propagate: false, ..grant("/", "PVEAuditor") });
        // All of its own ids, and nobody else's.
        grants.extend((1000..1010).map(|id| grant(&format!("/vms/{id}"), "PVEVMAdmin")));
        spec.tokens = vec![TokenSpec::new("ci@pve!fleet", "s", grants)];
    });
    let with_id =
        |id: &str| vms(&DB.replace("        node: [pve3]\n", &format!("        node: [pve3]\n        vmid: {id}\n")));
    // It might be among those that are hidden.
    let why = assert_refused(only(&world.plan(&vms(DB)).await), ReasonCode::AbsenceUnproved);
    assert!(why.contains("pveum acl modify /vms"), "{why}");
    // The id itself can be asked about.
    let why = assert_refused(only(&world.plan(&with_id("110")).await), ReasonCode::VmidTaken);
    assert!(why.contains("cannot see"), "{why}");
    let plan = world.converge(&with_id("1003")).await;
    assert_eq!(only(&plan).action, Action::Create);
}
