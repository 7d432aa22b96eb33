//! The guest's notes, which are people's and hold our line.

use super::*;

const LINE: &str = "<!-- pvefleet v1 cluster=production fleet=homelab guest=qemu/prod-db-01 vmid=1000 -->";

/// People's notes and ours, as Proxmox gives them.
async fn notes(world: &World) -> String {
    let mut live = read(world, &vms(DB)).await;
    let config = guest(&mut live, "prod-db-01").config.known().cloned().unwrap();
    config.current.get("description").cloned().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn notes_edited_around_our_line_are_kept_to_the_letter() {
    let world = World::production();
    world.converge(&vms(DB)).await;
    for edited in [
        format!("Call Ann first.\n\n{LINE}\n\n* below\n*  and ünïcode"),
        format!("{LINE}\nbelow only"),
        format!("  {LINE}  "),
        format!("above\n{LINE}\nbetween\n{LINE}"),
    ] {
        put(&world, "prod-db-01", &[("description", &edited)]).await;
        let before = notes(&world).await;
        assert_nothing_is_sent(&world.plan(&vms(DB)).await);
        // A write that has to change the line changes the line alone.
        world.converge(&vms(&format!("{DB}        cipassword: {{env: P, version: 3}}\n"))).await;
        let after = notes(&world).await;
        assert!(after.contains("secrets=cipassword:3"), "{after}");
        assert_eq!(after.replace(" secrets=cipassword:3", "").replace("  ", ""), before.replace("  ", ""), "{edited}");
        world.converge(&vms(DB)).await;
    }
    // A line that is taken away makes the guest nobody's: it is asked about, not marked again.
    put(&world, "prod-db-01", &[("description", "all mine now")]).await;
    assert_refused(only(&world.plan(&vms(DB)).await), ReasonCode::NotOwned);
    // Two lines that differ prove nothing.
    let two = format!("{LINE}\n{}", LINE.replace("vmid=1000", "vmid=1001"));
    put(&world, "prod-db-01", &[("description", &two)]).await;
    assert_refused(only(&world.plan(&vms(DB)).await), ReasonCode::Foreign);
}

#[tokio::test(start_paused = true)]
async fn a_description_near_the_limit_leaves_room_for_our_line() {
    let world = World::production();
    // In the manifest, it is an error when it is read.
    let long = |length: usize| vms(&format!("{DB}        description: '{}'\n", "x".repeat(length)));
    let read = |manifest: &str| pvefleet::manifest::read(&[("fleet.yaml".to_owned(), manifest.to_owned())]);
    let refused = |length: usize| {
        let (fleet, problems) = read(&long(length));
        let problems = fleet.map_or(problems, |fleet| pvefleet::desired::resolve(&fleet, &world.registry).1);
        problems.iter().any(|problem| problem.code == "wrong-value")
    };
    let most = (7000..8192).rev().find(|length| !refused(*length)).unwrap();
    assert!(refused(8192) && most > 7500, "{most}");
    world.converge(&long(most)).await;
    assert!(notes(&world).await.contains(LINE));
    assert_nothing_is_sent(&world.plan(&long(most)).await);
    // In a guest that is adopted, its own notes are never cut: where the line does not fit, it is refused.
    let put_notes = async |length: usize| {
        world
            .by_hand("production", Method::Put, "/nodes/pve2/qemu/110/config", &[("description", &"é".repeat(length))])
            .await;
    };
    let adopting = vms("      - name: legacy-nas\n        vmid: 110\n        adopt: true\n        unlisted: ignore\n");
    let adopting = format!("{adopting}{DB}        description: '{}'\n", "x".repeat(most));
    put_notes(8192).await;
    let plan = world.plan(&adopting).await;
    let change = named(&plan, "legacy-nas");
    assert!(!change.has_steps(), "{}", text(&plan));
    assert!(change.reason.as_ref().unwrap().words.contains("8192"), "{change:#?}");
    // The same for notes that a clone would inherit.
    let clone = "      - name: prod-a\n        clone: {from: legacy-nas, full: true}\n        unlisted: ignore\n";
    let plan = world.plan(&vms(clone)).await;
    assert!(assert_refused(named(&plan, "prod-a"), ReasonCode::NotInPlace).contains("8192"), "{}", text(&plan));
    put_notes(8000).await;
    world.converge(&adopting).await;
    assert!(world.file("production", "legacy-nas").contains("fleet=homelab"));
}
