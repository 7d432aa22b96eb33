//! Locks, and guests that are being made.

use std::time::Duration;

use pvefleet::plan::State;
use pvefleet::pve::http::Request;
use pvefleet::pve::value::GuestKind;
use pvefleet::sim::transport::lock;

use super::*;

/// The guest's file with a lock in it.
fn hold(world: &World, held: &str) {
    let file = world.file("production", "prod-db-01");
    let vmid = world.vmid("production", "prod-db-01");
    let without: String =
        file.lines().filter(|line| !line.starts_with("lock: ")).map(|line| format!("{line}\n")).collect();
    let file = if held.is_empty() { without } else { format!("{without}lock: {held}\n") };
    lock(&world.clusters["production"]).write_guest_file(GuestKind::Qemu, vmid, "pve3", &file);
}

#[tokio::test(start_paused = true)]
async fn a_lock_held_that_no_task_explains_is_left_to_a_person() {
    let world = World::production();
    world.converge(&vms(DB)).await;
    for held in ["backup", "migrate", "snapshot", "rollback"] {
        hold(&world, held);
        for manifest in [vms(&DB.replace("1024", "2048")), nothing()] {
            let plan = world.plan_with(&world.desired(&manifest), &prune()).await;
            let why = assert_refused(only(&plan), ReasonCode::Locked);
            assert!(why.contains(held) && why.contains("qm unlock 1000") && why.contains("pve3"), "{why}");
        }
    }
    hold(&world, "suspended");
    let why = assert_refused(only(&world.plan(&vms(&DB.replace("1024", "2048"))).await), ReasonCode::Locked);
    assert!(why.contains("suspended") && why.contains("start it by hand"), "{why}");
    hold(&world, "");
    world.converge(&vms(&DB.replace("1024", "2048"))).await;
}

#[tokio::test(start_paused = true)]
async fn a_lock_held_by_a_task_that_runs_is_waited_for() {
    let world = World::production();
    world.converge(&vms(DB)).await;
    let backup = Request::new(Method::Post, "/nodes/pve3/vzdump").with("vmid", "1000").with("storage", "local");
    let upid = world.client("production").write(&backup).await.unwrap();
    let mut waited = 0;
    loop {
        let plan = world.plan(&vms(&DB.replace("1024", "2048"))).await;
        let is_locked = world.file("production", "prod-db-01").contains("lock: ");
        if only(&plan).state == State::Waiting {
            let why = assert_refused(only(&plan), ReasonCode::TaskRunning);
            assert!(why.contains("vzdump"), "{why}");
            waited += 1;
        } else {
            assert!(!is_locked, "{}", text(&plan));
            if waited > 0 {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(upid.as_str().is_some());
    world.converge(&vms(&DB.replace("1024", "2048"))).await;
}

const CLONE: &str = "      - name: prod-web-01
        node: [pve1]
        clone: {from: debian-12, full: true}
        memory: 1024
        unlisted: ignore
";

/// How many guests bear the name, or are half of one.
fn copies(world: &World) -> usize {
    let cluster = lock(&world.clusters["production"]);
    cluster.guest_ids().filter(|id| (1000..2000).contains(&id.get())).count()
}

#[tokio::test(start_paused = true)]
async fn a_clone_interrupted_at_each_moment_is_never_doubled() {
    let (mut moment, mut moments, mut states) = (0, 0, BTreeSet::new());
    loop {
        let world = World::production();
        let plan = world.plan(&vms(CLONE)).await;
        // The call is sent, and whoever sent it is gone.
        let step = &only(&plan).steps[0];
        let mut request = Request::new(step.call.method, "/nodes/pve1/qemu/9001/clone");
        for (name, value) in &step.call.params {
            request = request.with(name, value.to_string().replace("<vmid>", "1000"));
        }
        let upid = world.client("production").write(&request).await.unwrap();
        tokio::time::sleep(Duration::from_millis(moment)).await;
        let plan = world.plan(&vms(CLONE)).await;
        assert!(!only(&plan).steps.iter().any(|step| step.kind.word() == "clone"), "{moment} ms: {}", text(&plan));
        states.insert(only(&plan).state);
        let status = Request::get(format!("/nodes/pve1/tasks/{}/status", upid.as_str().unwrap()));
        let ended = world.client("production").read(&status).await.unwrap()["status"] == "stopped";
        let (plan, outcome) = world.apply(&vms(CLONE)).await;
        assert_eq!(outcome.exit_code(&plan), 0, "{moment} ms: {outcome:#?}");
        assert_nothing_is_sent(&world.plan(&vms(CLONE)).await);
        assert_eq!(copies(&world), 1, "{moment} ms: {}", world.state());
        moments += 1;
        if ended {
            break;
        }
        moment += 25;
    }
    println!("clone: interrupted at {moments} moments");
    assert!(moments > 10, "only {moments}");
    assert_eq!(states.into_iter().collect::<Vec<_>>(), [State::Ready, State::Waiting]);
}

#[tokio::test(start_paused = true)]
async fn a_clone_that_no_task_explains_is_left_with_the_command_that_clears_it() {
    let world = World::production();
    let half = "lock: clone\ndescription: qmclone temporary file\n";
    lock(&world.clusters["production"]).write_guest_file(GuestKind::Qemu, "1000".parse().unwrap(), "pve1", half);
    let why = assert_refused(only(&world.plan(&vms(CLONE)).await), ReasonCode::Unfinished);
    assert!(why.contains("qm unlock 1000 && qm destroy 1000"), "{why}");
    // Not adoptable, and not in the way of a guest with an id of its own.
    let adopting = vms(&CLONE.replace("clone: {from: debian-12, full: true}", "vmid: 1000\n        adopt: true"));
    assert_refused(only(&world.plan(&adopting).await), ReasonCode::Unfinished);
    world.converge(&vms(&CLONE.replace("memory", "vmid: 1001\n        memory"))).await;
    assert_eq!(copies(&world), 2);
}
