//! What is kept: guests of a manifest that lost them all, running guests beyond the guards, what HA knows of a guest
//! that is made anew.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use pvefleet::plan::{Effect, Plan, PlanOptions};
use pvefleet::pve::http::Method;
use pvefleet::sim::world::VolumeSpec;
use support::{World, text};

fn vms(guards: &str, body: &str) -> String {
    format!("fleet: homelab\n{guards}clusters:\n  production:\n    vmids: 1000-1999\n    vms:\n{body}")
}

fn options(prune: bool, accept: &[&str]) -> PlanOptions {
    PlanOptions { prune, accept: accept.iter().map(|text| text.parse().unwrap()).collect(), ..PlanOptions::default() }
}

async fn plan_with(world: &World, manifest: &str, options: &PlanOptions) -> Plan {
    world.plan_with(&world.desired(manifest), options).await
}

fn has_steps(plan: &Plan) -> usize {
    plan.changes().filter(|change| change.has_steps()).count()
}

#[tokio::test(start_paused = true)]
async fn off_and_on_again_is_a_reboot_to_the_guards() {
    let world = World::production();
    let guest =
        |n: u32, disk: &str| format!("      - {{name: prod-web-0{n}, state: running, reboot: allow, {disk}}}\n");
    let both = |disk: &str| format!("{}{}", guest(1, disk), guest(2, disk));
    world.converge(&vms("", &both("scsi0: {storage: local-lvm, size: 1GiB}"))).await;
    let renamed = both("scsi1: {moved_from: scsi0, size: 1GiB}");
    let strict = vms("guards: {max_reboots: 1}\n", &renamed);
    let plan = plan_with(&world, &strict, &options(false, &[])).await;
    assert_eq!(has_steps(&plan), 0, "{}", text(&plan));
    assert!(text(&plan).contains("2 guests would be rebooted"), "{}", text(&plan));
    let plan = plan_with(&world, &strict, &options(false, &["reboot:production/prod-web-01"])).await;
    assert_eq!(has_steps(&plan), 2, "{}", text(&plan));
}

#[tokio::test(start_paused = true)]
async fn an_empty_manifest_prunes_nothing_unless_that_is_accepted() {
    let world = World::production();
    world.converge(&vms("", "      - {name: prod-web-01, scsi0: {storage: local-lvm, size: 1GiB}}\n")).await;
    let empty = "fleet: homelab\nclusters:\n  production: {vms: []}\n";
    let plan = plan_with(&world, empty, &options(true, &[])).await;
    assert_eq!(has_steps(&plan), 0, "{}", text(&plan));
    assert!(text(&plan).contains("--accept empty:homelab"), "{}", text(&plan));
    assert!(!text(&plan).contains("purge"), "{}", text(&plan));
    // By name it is no matter of the whole.
    let plan = plan_with(&world, empty, &options(false, &["delete:production/prod-web-01"])).await;
    assert_eq!(has_steps(&plan), 1, "{}", text(&plan));
    let other = plan_with_problems(&world, empty, &options(true, &["empty:other"])).await;
    assert!(other.contains("matches nothing"), "{other}");
    let accepted = options(true, &["empty:homelab"]);
    let (plan, outcome) = world.apply_with(empty, &accepted).await;
    assert_eq!(outcome.exit_code(&plan), 0, "{}", text(&plan));
    assert!(!world.state().contains("prod-web-01"));
}

async fn plan_with_problems(world: &World, manifest: &str, options: &PlanOptions) -> String {
    let desired = world.desired(manifest);
    let live = pvefleet::ops::read(&desired, &world.readers(), &[]).await;
    format!("{:?}", pvefleet::plan::plan(&desired, &live, options).unwrap_err())
}

fn container(lines: &str) -> String {
    format!(
        "fleet: homelab\nclusters:\n  production:\n    containers:\n      - name: prod-dns-01
        vmid: 1101
        node: pve2
        ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst
        rootfs: {{storage: shared, size: 1GiB}}
{lines}"
    )
}

#[tokio::test(start_paused = true)]
async fn made_anew_a_guest_stays_with_ha_its_rules_and_its_pool() {
    let world = World::shaped(&["production"], "", |spec| {
        spec.pools.insert("infra".to_owned(), String::new());
    });
    let before = "        unprivileged: true\n";
    world.converge(&container(before)).await;
    let ha = [("sid", "ct:1101"), ("state", "started"), ("max_restart", "3")];
    world.by_hand("production", Method::Post, "/cluster/ha/resources", &ha).await;
    let rule = [("rule", "near"), ("type", "node-affinity"), ("resources", "ct:1101"), ("nodes", "pve2:1,pve1")];
    world.by_hand("production", Method::Post, "/cluster/ha/rules", &rule).await;
    world.by_hand("production", Method::Put, "/pools", &[("poolid", "infra"), ("vms", "1101")]).await;
    let anew = container("        unprivileged: false\n        recreate: true\n");
    let (plan, outcome) = world.apply_with(&anew, &options(false, &["recreate:production/prod-dns-01"])).await;
    assert_eq!(outcome.exit_code(&plan), 0, "{}\n{:#?}", text(&plan), outcome.guests);
    let live = pvefleet::ops::snapshot(&world.readers(), &[]).await;
    let live = live.clusters["production"].known().unwrap();
    let options = live.ha.known().unwrap().get("ct:1101").unwrap_or_else(|| panic!("{}", text(&plan)));
    assert_eq!(options.get("max_restart").map(String::as_str), Some("3"));
    assert!(live.ha_rules.known().unwrap().iter().any(|rule| rule.resources.contains("ct:1101")), "the rule lost it");
    assert_eq!(live.guests[&pvefleet::pve::value::Vmid::new(1101).unwrap()].pool.as_deref(), Some("infra"));
}

#[tokio::test(start_paused = true)]
async fn made_anew_a_guest_comes_from_its_backup() {
    const BACKUP: &str = "local:backup/vzdump-lxc-501-2025_06_01-02_00_00.tar.zst";
    let world = World::shaped(&["production"], "", |spec| {
        let ct = "arch: amd64\nhostname: old-dns\nmemory: 512\nostype: debian\n\
                  rootfs: local-lvm:vm-501-disk-0,size=1G\nswap: 512\n";
        spec.volumes.push(VolumeSpec {
            volid: BACKUP.to_owned(),
            node: "pve2".to_owned(),
            size: 1 << 30,
            archive: Some(ct.to_owned()),
        });
    });
    world.converge(&container("        unprivileged: true\n")).await;
    let restored =
        container(&format!("        unprivileged: false\n        recreate: true\n        archive: {BACKUP}\n"));
    let restored = restored.replace("        ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst\n", "");
    let accepted = options(false, &["recreate:production/prod-dns-01"]);
    let (plan, outcome) = world.apply_with(&restored, &accepted).await;
    assert_eq!(outcome.exit_code(&plan), 0, "{}\n{:#?}", text(&plan), outcome.guests);
    assert!(text(&plan).contains(BACKUP), "{}", text(&plan));
    let again = world.plan(&restored).await;
    assert!(again.is_empty(), "{}", text(&again));
    assert!(!world.file("production", "prod-dns-01").contains("unprivileged: 1"));
}

#[tokio::test(start_paused = true)]
async fn hotplug_itself_is_live_unless_memory_is_involved() {
    let world = World::production();
    let guest = |hotplug: &str| {
        vms(
            "",
            &format!(
                "      - {{name: prod-web-01, state: running, numa: true, scsi0: {{storage: local-lvm, size: 1GiB}}, hotplug: '{hotplug}'}}\n"
            ),
        )
    };
    world.converge(&guest("network,disk")).await;
    let plan = world.converge(&guest("disk")).await;
    let effect = |plan: &Plan| plan.changes().flat_map(|change| &change.fields).map(|field| field.effect).max();
    assert_eq!(effect(&plan), Some(Effect::None), "{}", text(&plan));
    assert!(world.file("production", "prod-web-01").contains("hotplug: disk\n"));
    let plan = world.converge(&guest("disk,memory")).await;
    assert_eq!(effect(&plan), Some(Effect::Reboot), "{}", text(&plan));
}

/// Proxmox looks at the protection that was before the call: the disk is refused once, and the plan says so.
#[tokio::test(start_paused = true)]
async fn what_protection_keeps_back_comes_once_it_is_taken_away() {
    let world = World::production();
    let container = |more: &str| {
        format!(
            "fleet: homelab\nclusters:\n  production:\n    vmids: 1000-1999\n    containers:\n      - name: prod-dns-01\n        \
             ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst\n        \
             rootfs: {{storage: local-lvm, size: 1GiB}}\n        unprivileged: true\n{more}"
        )
    };
    world.converge(&container("        protection: true\n")).await;
    let disk = container("        mp0: {storage: local-lvm, size: 1GiB, mp: /srv}\n        protection: false\n");
    let (plan, outcome) = world.apply(&disk).await;
    assert_eq!(outcome.exit_code(&plan), 3, "{}", text(&plan));
    assert!(text(&plan).contains("`protection: false` first, then plan again"), "{}", text(&plan));
    world.converge(&disk).await;
    assert!(world.file("production", "prod-dns-01").contains("mp0: local-lvm:"));
}
