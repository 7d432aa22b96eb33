//! What the token may not do is found out before anything is sent.

use super::*;

/// The same without this privilege anywhere.
fn without(live: &mut Live, privilege: &str) {
    let Read::Known(permissions) = &mut cluster(live).permissions else { panic!("they were read") };
    permissions.values_mut().for_each(|privileges| privileges.retain(|name, _| name != privilege));
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_ha_keeps_is_turned_only_by_who_may_ask_ha() {
    let world = World::production();
    let off = DB.replace("memory: 1024", "memory: 1024\n        state: stopped");
    world.converge(&vms(&off)).await;
    let id = world.vmid("production", "prod-db-01");
    let resource = [("sid", format!("vm:{id}")), ("state", "stopped".to_owned())];
    let resource: Vec<(&str, &str)> = resource.iter().map(|(name, value)| (*name, value.as_str())).collect();
    world.by_hand("production", Method::Post, "/cluster/ha/resources", &resource).await;
    let on = vms(&off.replace("state: stopped", "state: running").replace("memory: 1024", "memory: 2048"));
    let mut live = read(&world, &on).await;
    without(&mut live, "Sys.Console");
    let plan = plan_of(&world, &on, &live, &PlanOptions::default());
    let words = assert_field_refused(only(&plan), "state", ReasonCode::Permission);
    assert!(words.starts_with("the token lacks Sys.Console on /"), "{words}");
    let kinds: Vec<&str> = only(&plan).steps.iter().map(|step| step.kind.word()).collect();
    assert_eq!(kinds, ["configure"], "the rest goes on: {}", text(&plan));
    // With the privilege, HA is asked.
    world.converge(&on).await;
}
