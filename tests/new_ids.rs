//! The ids that new guests get: above the highest, and none that a former guest left volumes or backups under.

mod support;

use pvefleet::ops;
use pvefleet::plan::{self, PlanOptions};
use pvefleet::sim::world::VolumeSpec;
use support::{World, text};

const MANIFEST: &str = "fleet: homelab
clusters:
  production:
    vmids: 1000-1999
    vms:
      - {name: prod-web-01, scsi0: {storage: local-lvm, size: 1GiB}}
      - {name: prod-web-02, scsi0: {storage: local-lvm, size: 1GiB}}
";

fn with_leftovers(volumes: &'static [(&'static str, &'static str)]) -> World {
    World::shaped(&["production"], "", move |spec| {
        spec.volumes.extend(volumes.iter().map(|(volid, node)| VolumeSpec {
            volid: (*volid).to_owned(),
            node: (*node).to_owned(),
            size: 1 << 30,
            archive: None,
        }));
    })
}

#[tokio::test(start_paused = true)]
async fn an_id_that_volumes_or_backups_bear_is_not_given_again() {
    let world = with_leftovers(&[
        ("local-lvm:vm-1000-disk-0", "pve2"),
        ("shared:vm-1001-disk-0", "pve1"),
        ("local:backup/vzdump-qemu-1003-2025_06_01-02_00_00.vma.zst", "pve3"),
    ]);
    let plan = world.converge(MANIFEST).await;
    let ids: Vec<u32> = plan.changes().filter_map(|change| Some(change.address.vmid?.get())).collect();
    assert_eq!(ids, [1002, 1004], "{}", text(&plan));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_the_cluster_gives_the_same_ids() {
    let world = with_leftovers(&[("local-lvm:vm-1000-disk-0", "pve2")]);
    let desired = world.desired(MANIFEST);
    let direct = world.plan(MANIFEST).await;
    let whole = ops::snapshot(&world.readers(), &[]).await;
    let document = serde_json::to_string(&whole).unwrap();
    let live = ops::for_fleet(serde_json::from_str(&document).unwrap(), &desired, &[]);
    let later = plan::plan(&desired, &live, &PlanOptions::default()).unwrap();
    assert_eq!(direct.plan_id, later.plan_id, "{}\n{}", text(&direct), text(&later));
    assert!(text(&later).contains("1001"), "{}", text(&later));
}

#[tokio::test(start_paused = true)]
async fn storages_are_looked_through_only_for_a_guest_that_is_not_there() {
    let world = World::production();
    let asks = |from: usize| {
        world.log("production").iter().skip(from).filter(|entry| entry.path.ends_with("/content")).count()
    };
    world.converge(MANIFEST).await;
    assert!(asks(0) > 0);
    let before = world.log("production").len();
    assert!(world.plan(MANIFEST).await.is_empty());
    assert_eq!(asks(before), 0);
}
