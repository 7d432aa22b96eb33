//! One test a rule.

use std::time::Duration;

use super::toy::Fault;
use super::*;
use crate::clusters::Allocations;

#[tokio::test(start_paused = true)]
async fn an_update_sends_the_digest_and_ends_as_planned() {
    let toy = Toy::new().with(100, web());
    let outcome =
        apply_one(&toy, update(vec![configure(100, &[("memory", "2048")]), resize(100, "scsi0", "48G")])).await;
    assert_result(&outcome, GuestResult::Done);
    assert_eq!((outcome.steps_done, outcome.sent), (2, 2));
    assert_eq!(
        toy.writes(),
        [
            "PUT /nodes/pve1/qemu/100/config digest=digest-1 memory=2048",
            "PUT /nodes/pve1/qemu/100/resize disk=scsi0 size=48G"
        ]
    );
    assert!(outcome.left.is_empty(), "{:?}", outcome.left);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_was_changed_by_hand_is_stale() {
    let mut guest = web();
    guest.set("memory", Some("4096"), 100);
    guest.set("cores", Some("2"), 100);
    let toy = Toy::new().with(100, guest);
    let outcome = apply_one(&toy, update(vec![configure(100, &[("memory", "2048")])])).await;
    assert_result(&outcome, GuestResult::Stale);
    let words = "cores was not set when planned and is '2' now; memory was '1024' when planned and is '4096' now";
    assert_eq!(outcome.words.as_deref(), Some(words));
    assert!(toy.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn lock_power_and_mark_belong_to_the_base() {
    for (name, value) in [("lock", "backup"), ("description", "somebody else's")] {
        let mut guest = web();
        guest.set(name, Some(value), 100);
        let outcome =
            apply_one(&Toy::new().with(100, guest), update(vec![configure(100, &[("memory", "2048")])])).await;
        assert_result(&outcome, GuestResult::Stale);
    }
    let running = ToyGuest { running: true, ..web() };
    let outcome = apply_one(&Toy::new().with(100, running), update(vec![configure(100, &[("memory", "2048")])])).await;
    assert_eq!(outcome.words.as_deref(), Some("power was 'stopped' when planned and is 'running' now"));
    let outcome = apply_one(&Toy::new(), update(vec![configure(100, &[("memory", "2048")])])).await;
    assert_eq!(outcome.words.as_deref(), Some("the guest is gone"));
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_run_goes_on_with_the_next_step() {
    let steps = || vec![configure(100, &[("memory", "2048")]), resize(100, "scsi0", "48G"), power(100, Power::Running)];
    let toy = Toy::new().with(100, web());
    toy.change(|world| world.guests.get_mut(&100).unwrap().set("memory", Some("2048"), 100));
    let outcome = apply_one(&toy, update(steps())).await;
    assert_result(&outcome, GuestResult::Done);
    assert_eq!((outcome.steps_done, outcome.sent), (3, 2));
    let outcome = apply_one(&toy, update(steps())).await;
    assert_result(&outcome, GuestResult::AlreadyDone);
    assert_eq!((outcome.steps_done, outcome.sent), (3, 0));
    // Somebody touched what the plan has already done, and what it rests on.
    toy.change(|world| world.guests.get_mut(&100).unwrap().set("name", Some("other"), 100));
    assert_result(&apply_one(&toy, update(steps())).await, GuestResult::Stale);
}

#[tokio::test(start_paused = true)]
async fn a_taken_id_is_stale() {
    let toy = Toy::new().with(103, ToyGuest::new("qemu", &[("name", "alien")]));
    let change = making(Action::Create, "new", 103, vec![create("new", 103, &[("memory", "512")])]);
    let outcome = apply_one(&toy, change).await;
    assert_result(&outcome, GuestResult::Stale);
    assert_eq!(outcome.words.as_deref(), Some("vmid 103 was taken meanwhile by 'alien'"));
    assert_eq!(outcome.hint.as_deref(), Some("plan again"));
    assert!(toy.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_missing_secret_stops_everything_before_the_first_write() {
    let toy = Toy::new().with(100, web());
    let reference = SecretReference { env: "NOWHERE".to_owned(), version: None };
    let secret = with(configure(100, &[]), "cipassword", Template::hole(Hole::Secret(reference)));
    let other = making(Action::Create, "new", 103, vec![create("new", 103, &[])]);
    let plan = testing::plan("c1", vec![update(vec![secret]), other]);
    let outcome = Run::new().apply(&toy, &plan).await;
    assert_eq!(outcome.refused.as_deref(), Some("NOWHERE is not set"));
    assert_eq!(outcome.count(GuestResult::Skipped), 2);
    assert_eq!(outcome.exit_code(&plan), 64);
    assert!(toy.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn secrets_are_sent_and_never_told() {
    #[derive(Clone, Default)]
    struct Lines(std::sync::Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let refused = Fault::Refused(400, "cipassword: 'hunter2' is too weak");
    let toy = Toy::new().with(100, web()).fault("PUT", 0, refused);
    let reference = SecretReference { env: "PASSWORD".to_owned(), version: Some(1) };
    let secret = with(configure(100, &[]), "cipassword", Template::hole(Hole::Secret(reference)));
    let mut run = Run::new();
    run.journal = Journal::new(lines.clone());
    let outcome = run.apply(&toy, &testing::plan("c1", vec![update(vec![secret])])).await;
    assert!(toy.writes()[0].contains("cipassword=hunter2"));
    assert_result(&outcome.guests[0], GuestResult::Failed);
    let journal = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(journal.contains("\"cipassword\":\"<secret PASSWORD>\""), "{journal}");
    let moments: Vec<&str> =
        ["\"before\"", "\"after\""].into_iter().filter(|moment| journal.contains(moment)).collect();
    assert_eq!(moments.len(), 2, "{journal}");
    let told = format!("{outcome:?} {:?} {journal}", run.events.lock().unwrap());
    assert!(!told.contains("hunter2"), "{told}");
    assert!(told.contains("'(secret)' is too weak"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_found_out_by_looking() {
    for fault in [Fault::LostAfter, Fault::LostBefore] {
        let toy = Toy::new().with(100, web()).fault("PUT", 0, fault);
        let outcome = apply_one(&toy, update(vec![configure(100, &[("memory", "2048")])])).await;
        assert_result(&outcome, GuestResult::Done);
        assert_eq!(toy.writes().len(), if fault == Fault::LostAfter { 1 } else { 2 });
        assert_eq!(toy.guest(100).unwrap().config["memory"], "2048");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_create_or_clone_is_joined_and_never_doubled() {
    for (call, after) in [("POST /nodes/pve1/qemu ", true), ("POST /nodes/pve1/qemu/100/clone", true)] {
        for fault in [Fault::LostAfter, Fault::LostBefore] {
            let toy = Toy::new().with(100, web()).fault(call, 0, fault);
            let step =
                if call.contains("clone") { clone(100, "new", 103) } else { create("new", 103, &[("memory", "512")]) };
            let outcome =
                apply_one(&toy, making(Action::Create, "new", 103, vec![step, power(103, Power::Running)])).await;
            assert_result(&outcome, GuestResult::Done);
            let makes = toy.writes().iter().filter(|write| write.starts_with(call)).count();
            assert_eq!(makes, if (fault == Fault::LostAfter) == after { 1 } else { 2 }, "{call} {fault:?}");
            assert!(toy.guest(103).unwrap().running);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_that_cannot_be_repeated_safely_is_undetermined() {
    let running = ToyGuest { running: true, pending: [("memory".to_owned(), Some("2048".to_owned()))].into(), ..web() };
    let toy = Toy::new().with(100, running).fault("POST", 0, Fault::LostBefore);
    let mut change = update(vec![reboot(100)]);
    change.base.power = Some(Power::Running);
    change.base.pending.insert("memory".to_owned(), Some("2048".to_owned()));
    let outcome = apply_one(&toy, change).await;
    assert_result(&outcome, GuestResult::Undetermined);
    assert_eq!(toy.writes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reboot_is_left_out_where_nothing_waits_for_it() {
    let running = ToyGuest { running: true, ..web() };
    let toy = Toy::new().with(100, running);
    let change = || {
        let mut change = update(vec![configure(100, &[("memory", "2048")]), reboot(100)]);
        change.base.power = Some(Power::Running);
        change
    };
    assert_result(&apply_one(&toy, change()).await, GuestResult::Done);
    assert_eq!(toy.writes().len(), 2);
    assert_eq!(toy.guest(100).unwrap().config["memory"], "2048");
    let again = apply_one(&toy, change()).await;
    assert_eq!((again.result, again.sent), (GuestResult::AlreadyDone, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lock_time_out_is_tried_again() {
    let busy = "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout";
    let toy =
        Toy::new().with(100, web()).fault("PUT", 0, Fault::Refused(500, busy)).fault("PUT", 0, Fault::TaskFails(busy));
    let outcome = apply_one(&toy, update(vec![resize(100, "scsi0", "48G")])).await;
    assert_result(&outcome, GuestResult::Done);
    assert_eq!(toy.writes().len(), 3);
    let mut toy = Toy::new().with(100, web());
    for _ in 0..9 {
        toy = toy.fault("PUT", 0, Fault::Refused(500, busy));
    }
    let outcome = apply_one(&toy, update(vec![configure(100, &[("memory", "2048")])])).await;
    assert_result(&outcome, GuestResult::Failed);
    assert_eq!(toy.writes().len(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_digest_conflict_is_repeated_only_where_nothing_that_matters_changed() {
    let conflict = Fault::Refused(500, "checksum mismatch (file change by other user?)");
    let toy = Toy::new().with(100, web()).fault("PUT", 0, conflict);
    let outcome = apply_one(&toy, update(vec![configure(100, &[("memory", "2048")])])).await;
    assert_result(&outcome, GuestResult::Done);
    assert_eq!(toy.writes().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_task_shows_its_log_and_stops_what_depends_on_it() {
    let toy = Toy::new().with(100, web()).fault("PUT", 0, Fault::TaskFails("disk 'scsi0' does not exist"));
    let mut dependent = making(Action::Create, "app", 104, vec![create("app", 104, &[])]);
    dependent.after.push("web".to_owned());
    let other = making(Action::Create, "new", 103, vec![create("new", 103, &[])]);
    let plan = testing::plan("c1", vec![update(vec![resize(100, "scsi0", "48G")]), dependent, other]);
    let outcome = Run::new().apply(&toy, &plan).await;
    assert_result(&outcome.guests[0], GuestResult::Failed);
    let words = "resize: disk 'scsi0' does not exist; the task's last lines: WARN: the toy's log";
    assert_eq!(outcome.guests[0].words.as_deref(), Some(words));
    assert_result(&outcome.guests[1], GuestResult::Skipped);
    assert_eq!(outcome.guests[1].words.as_deref(), Some("'web' is not done"));
    assert_result(&outcome.guests[2], GuestResult::Done);
    assert_eq!(outcome.exit_code(&plan), 5);
    assert_eq!(outcome.guests[0].left, ["scsi0 is 'local-lvm:vm-100-disk-0,size=32G'; its size should be 48G"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_with_warnings_is_done_and_they_are_kept() {
    let toy = Toy::new().with(100, web()).fault("POST", 0, Fault::TaskFails("WARNINGS: 1"));
    toy.change(|world| world.guests.get_mut(&100).unwrap().running = false);
    let mut change =
        update(vec![step(StepKind::Start, Method::Post, path(100, "/status/start"), vec![Expect::Exists])]);
    change.base.power = None;
    let outcome = apply_one(&toy, change).await;
    assert_result(&outcome, GuestResult::Done);
    assert_eq!(outcome.warnings, ["WARN: the toy's log"]);
}

#[tokio::test(start_paused = true)]
async fn already_running_is_done_after_a_look() {
    let toy = Toy::new().with(100, web()).fault("POST", 0, Fault::TaskFails("VM 100 already running"));
    let outcome = apply_one(&toy, update(vec![power(100, Power::Running)])).await;
    // The toy lies: the guest is stopped.
    assert_result(&outcome, GuestResult::Failed);
    let toy = Toy::new().with(100, web()).fault("POST", 0, Fault::LostAfter);
    assert_result(&apply_one(&toy, update(vec![power(100, Power::Running)])).await, GuestResult::Done);
    assert_eq!(toy.writes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_success_that_does_not_show_is_a_failure() {
    let toy = Toy::new().with(100, web()).fault("PUT", 0, Fault::TaskFails("OK"));
    let outcome = apply_one(&toy, update(vec![resize(100, "scsi0", "48G")])).await;
    assert_result(&outcome, GuestResult::Failed);
    assert!(outcome.words.unwrap().contains("Proxmox reported success, but scsi0 is"));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_cannot_be_reached_sends_nothing() {
    let toy = Toy::new().with(100, web());
    let mut toy = toy;
    for _ in 0..9 {
        toy = toy.fault("PUT", 0, Fault::NeverSent);
    }
    let plan = testing::plan("c1", vec![update(vec![configure(100, &[("memory", "2048")])])]);
    let outcome = Run::new().apply(&toy, &plan).await;
    assert_result(&outcome.guests[0], GuestResult::Failed);
    assert_eq!((outcome.sent(), outcome.exit_code(&plan)), (false, 1));
}

#[tokio::test(start_paused = true)]
async fn a_change_to_a_cluster_without_client_fails_alone() {
    let toy = Toy::new().with(100, web());
    let mut plan = testing::plan("c1", vec![update(vec![configure(100, &[("memory", "2048")])])]);
    plan.clusters.extend(
        testing::plan("c2", vec![Change { steps: vec![delete(7)], ..testing::change("c2", "x", 107) }]).clusters,
    );
    let outcome = Run::new().apply(&toy, &plan).await;
    assert_result(&outcome.guests[0], GuestResult::Done);
    assert_result(&outcome.guests[1], GuestResult::Failed);
}

#[tokio::test(start_paused = true)]
async fn deleting_looks_at_the_mark_once_more() {
    let toy = Toy::new().with(100, ToyGuest { running: true, ..web() });
    let mut change = update(vec![power(100, Power::Stopped), delete(100)]);
    change.base.power = Some(Power::Running);
    let outcome = apply_one(&toy, change.clone()).await;
    assert_result(&outcome, GuestResult::Done);
    assert_eq!(toy.guest(100), None);
    assert_result(&apply_one(&toy, change).await, GuestResult::AlreadyDone);
    // Without a mark in the plan nothing is deleted.
    let toy = Toy::new().with(100, web());
    let mut change = update(vec![delete(100)]);
    change.base.mark = None;
    assert_result(&apply_one(&toy, change).await, GuestResult::Stale);
    assert!(toy.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_a_lost_call_made_is_used() {
    let toy = Toy::new().with(100, web()).fault("PUT", 0, Fault::LostAfter);
    let mut step = configure(100, &[("scsi1", "local-lvm:8")]);
    step = with(step, "onboot", Template::text("1"));
    let outcome = apply_one(&toy, update(vec![step])).await;
    assert_result(&outcome, GuestResult::Done);
    assert_eq!(toy.writes().iter().filter(|write| write.contains("scsi1=local-lvm:8")).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_container_is_a_template_when_its_task_has_ended() {
    let mut guest = ToyGuest::new("lxc", &[("hostname", "web"), ("description", MARK)]);
    guest.revision = 3;
    let toy = Toy::new().with(100, guest);
    let step = step(StepKind::Template, Method::Post, path(100, "/template"), vec![Expect::Template]);
    let base = Base { exists: true, mark: Some(MARK.to_owned()), ..Base::default() };
    let change = container(Change { steps: vec![step], base, ..testing::change("c1", "web", 100) });
    let started = tokio::time::Instant::now();
    assert_result(&apply_one(&toy, change).await, GuestResult::Done);
    assert!(started.elapsed() >= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn clones_and_guests_keep_to_their_limits() {
    // A stopped VM serves as many as its node may make at once; one that runs, one after the other.
    for (running, per_node, most) in [(false, None, 6), (false, Some(3), 3), (true, Some(3), 1)] {
        let toy = Toy::new().with(100, ToyGuest { running, ..web() });
        let clones = (110..120).map(|vmid| {
            let name = format!("n{vmid}");
            making(Action::Clone, &name, vmid, vec![clone(100, &name, vmid)])
        });
        let mut run = Run::new();
        if let Some(per_node) = per_node {
            let allocations = Allocations { per_node, ..Allocations::default() };
            run.options.allocations.insert("c1".to_owned(), allocations);
        }
        let outcome = run.apply(&toy, &testing::plan("c1", clones.collect())).await;
        assert_eq!(outcome.count(GuestResult::Done), 10, "{outcome:?}");
        assert_eq!(toy.change(|world| world.clones_at_once), most, "{running} {per_node:?}");
    }

    let toy = Toy::new().with(100, ToyGuest { kind: "lxc", ..ToyGuest::new("lxc", &[("hostname", "web")]) });
    let clones = (110..114).map(|vmid| {
        let name = format!("n{vmid}");
        let mut step = clone(100, &name, vmid);
        step.expect.retain(|expect| expect.option() != Some("name"));
        container(making(Action::Clone, &name, vmid, vec![step]))
    });
    let outcome = apply(&toy, clones.collect()).await;
    assert_eq!(outcome.count(GuestResult::Done), 4, "{outcome:?}");
    assert_eq!(toy.change(|world| world.clones_at_once), 1);
}

#[tokio::test(start_paused = true)]
async fn stop_on_error_begins_nothing_more() {
    let toy = Toy::new().with(100, web()).fault("PUT", 0, Fault::Refused(500, "no"));
    let mut run = Run::new();
    run.options.stop_on_error = true;
    run.options.parallel = Some(1);
    let other = making(Action::Create, "new", 103, vec![create("new", 103, &[])]);
    let outcome = run.apply(&toy, &testing::plan("c1", vec![update(vec![resize(100, "scsi0", "48G")]), other])).await;
    assert_result(&outcome.guests[0], GuestResult::Failed);
    assert_result(&outcome.guests[1], GuestResult::Skipped);
    assert_eq!(toy.writes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn told_to_finish_it_waits_for_what_runs_and_sends_nothing_new() {
    let toy = Toy::new().with(100, web());
    let (sender, cancel) = watch::channel(Cancel::No);
    let mut run = Run::new();
    run.cancel = cancel;
    run.options.parallel = Some(1);
    let other = making(Action::Create, "new", 103, vec![create("new", 103, &[])]);
    let steps = vec![resize(100, "scsi0", "48G"), power(100, Power::Running)];
    let plan = testing::plan("c1", vec![update(steps), other]);
    let told = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        sender.send(Cancel::Finish).unwrap();
    };
    let (outcome, ()) = tokio::join!(run.apply(&toy, &plan), told);
    assert_result(&outcome.guests[0], GuestResult::Interrupted);
    assert_eq!(outcome.guests[0].steps_done, 1);
    assert_result(&outcome.guests[1], GuestResult::Interrupted);
    assert_eq!(toy.writes().len(), 1);
    assert_eq!(outcome.exit_code(&plan), 5);
}

#[tokio::test(start_paused = true)]
async fn told_to_leave_it_names_the_task_that_runs() {
    let toy = Toy::new().with(100, web());
    let (sender, cancel) = watch::channel(Cancel::No);
    let mut run = Run::new();
    run.cancel = cancel;
    let plan = testing::plan("c1", vec![update(vec![resize(100, "scsi0", "48G")])]);
    let told = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        sender.send(Cancel::Leave).unwrap();
    };
    let (outcome, ()) = tokio::join!(run.apply(&toy, &plan), told);
    assert_result(&outcome.guests[0], GuestResult::Interrupted);
    let words = outcome.guests[0].words.clone().unwrap();
    assert!(words.contains("task UPID:pve1:") && words.ends_with("may still run"), "{words}");
    assert_eq!(outcome.guests[0].sent, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ready_is_told_as_it_is() {
    use crate::plan::State;
    let toy = Toy::new().with(100, web());
    let states = [
        (State::Blocked, GuestResult::Blocked),
        (State::Waiting, GuestResult::Waiting),
        (State::Unknown, GuestResult::Unknown),
    ];
    for (state, result) in states {
        let change = Change { state, ..update(vec![configure(100, &[("memory", "2048")])]) };
        assert_result(&apply_one(&toy, change).await, result);
    }
    assert_result(&apply_one(&toy, update(Vec::new())).await, GuestResult::NoChange);
    assert!(toy.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn events_tell_the_whole_run() {
    let toy = Toy::new().with(100, web());
    let run = Run::new();
    run.apply(&toy, &testing::plan("c1", vec![update(vec![resize(100, "scsi0", "48G")])])).await;
    let events = run.events.lock().unwrap();
    let kinds: Vec<String> = events
        .iter()
        .map(|event| format!("{event:?}").split(['(', ' ', '{']).next().unwrap_or_default().to_owned())
        .filter(|kind| kind != "TaskProgress")
        .collect();
    let expected = [
        "RunStarted",
        "GuestStarted",
        "StepStarted",
        "Sending",
        "TaskStarted",
        "StepDone",
        "GuestDone",
        "Checked",
        "RunDone",
    ];
    assert_eq!(kinds, expected);
    assert!(events.iter().any(|event| matches!(event, Event::TaskProgress { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_outlasts_the_time_is_undetermined() {
    let toy = Toy::new().with(100, web());
    let mut run = Run::new();
    run.options.timeout = Duration::from_secs(2);
    let outcome = run.apply(&toy, &testing::plan("c1", vec![update(vec![resize(100, "scsi0", "48G")])])).await;
    assert_result(&outcome.guests[0], GuestResult::Undetermined);
    let words = outcome.guests[0].words.clone().unwrap();
    assert!(
        words.contains("the time is used up, and task UPID:pve1:") && words.contains("size should be 48G"),
        "{words}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_is_moved_is_followed() {
    let toy = Toy::new().with(100, web());
    let plan =
        testing::plan("c1", vec![update(vec![resize(100, "scsi0", "48G"), configure(100, &[("memory", "2048")])])]);
    let run = Run::new();
    let moves = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        toy.change(|world| world.guests.get_mut(&100).unwrap().node = "pve2");
    };
    let (outcome, ()) = tokio::join!(run.apply(&toy, &plan), moves);
    assert_result(&outcome.guests[0], GuestResult::Done);
    assert!(toy.writes()[1].starts_with("PUT /nodes/pve2/qemu/100/config"), "{:?}", toy.writes());
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_is_there_and_blocked_is_in_nobodys_way() {
    use crate::plan::State;
    let toy = Toy::new().with(100, web());
    let mut needs = making(Action::Create, "new", 103, vec![create("new", 103, &[])]);
    needs.after.push("web".to_owned());
    let blocked = Change { state: State::Blocked, ..update(Vec::new()) };
    let plan = testing::plan("c1", vec![blocked, needs.clone()]);
    let outcome = Run::new().apply(&toy, &plan).await;
    assert_result(&outcome.guests[1], GuestResult::Done);
    assert_eq!(outcome.exit_code(&plan), 3);
    needs.after = vec!["missing".to_owned()];
    let missing = Change { state: State::Blocked, ..making(Action::Create, "missing", 104, Vec::new()) };
    let outcome = apply(&toy, vec![missing, needs]).await;
    assert_result(&outcome.guests[1], GuestResult::Skipped);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_is_locked_meanwhile_is_stale() {
    let toy = Toy::new().with(100, web());
    let plan =
        testing::plan("c1", vec![update(vec![resize(100, "scsi0", "48G"), configure(100, &[("memory", "2048")])])]);
    let run = Run::new();
    let locks = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        toy.change(|world| world.guests.get_mut(&100).unwrap().set("lock", Some("backup"), 100));
    };
    let (outcome, ()) = tokio::join!(run.apply(&toy, &plan), locks);
    assert!(!outcome.guests[0].result.is_good());
    assert!(outcome.guests[0].words.clone().unwrap().contains("backup"), "{:?}", outcome.guests[0].words);
    assert_eq!(toy.guest(100).unwrap().config["memory"], "1024");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_does_not_become_a_template_is_not_waited_for_long() {
    let guest = ToyGuest::new("lxc", &[("hostname", "web"), ("description", MARK)]);
    let toy = Toy::new().with(100, guest).fault("POST", 0, Fault::TaskFails("no space left"));
    let step = step(StepKind::Template, Method::Post, path(100, "/template"), vec![Expect::Template]);
    let base = Base { exists: true, mark: Some(MARK.to_owned()), ..Base::default() };
    let change = container(Change { steps: vec![step], base, ..testing::change("c1", "web", 100) });
    let outcome = apply_one(&toy, change).await;
    assert_result(&outcome, GuestResult::Failed);
    assert!(outcome.words.unwrap().contains("no space left"));
}
