//! Whole runs, killed anywhere and run again.

use super::toy::Fault;
use super::*;

fn plan() -> Plan {
    let mut clone_change = making(
        Action::Clone,
        "copy",
        104,
        vec![
            clone(100, "copy", 104),
            configure(104, &[("memory", "768")]),
            resize(104, "scsi0", "40G"),
            power(104, Power::Running),
        ],
    );
    clone_change.after.push("web".to_owned());
    testing::plan(
        "c1",
        vec![
            update(vec![
                configure(100, &[("memory", "2048"), ("cores", "4")]),
                configure(100, &[("scsi1", "local-lvm:8")]),
                resize(100, "scsi0", "48G"),
            ]),
            making(
                Action::Create,
                "new",
                103,
                vec![create("new", 103, &[("memory", "512"), ("scsi0", "local-lvm:4")]), power(103, Power::Running)],
            ),
            clone_change,
            Change {
                action: Action::Delete,
                steps: vec![power(105, Power::Stopped), delete(105)],
                base: Base {
                    exists: true,
                    power: Some(Power::Running),
                    mark: Some(mark("old", 105)),
                    ..Base::default()
                },
                ..testing::change("c1", "old", 105)
            },
        ],
    )
}

fn world() -> Toy {
    let mut old = ToyGuest::new("qemu", &[("name", "old"), ("description", &mark("old", 105))]);
    old.running = true;
    Toy::new().with(100, web()).with(105, old)
}

/// What the toy holds, without digests and volume numbers.
fn shape(toy: &Toy) -> Vec<String> {
    toy.change(|world| {
        let mut shape: Vec<String> = Vec::new();
        for (vmid, guest) in &world.guests {
            let config = guest.config.iter().map(|(name, value)| {
                let value: String = value
                    .split("disk-")
                    .enumerate()
                    .map(|(at, part)| {
                        if at == 0 {
                            part.to_owned()
                        } else {
                            part.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned()
                        }
                    })
                    .collect();
                format!("{name}={value}")
            });
            shape.push(format!("{vmid} {} {:?}", guest.running, config.collect::<Vec<_>>()));
        }
        shape
    })
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_write_the_next_run_ends_in_the_same_place() {
    let toy = world();
    let outcome = Run::new().apply(&toy, &plan()).await;
    assert_eq!(outcome.exit_code(&plan()), 0, "{outcome:#?}");
    let (end, writes) = (shape(&toy), toy.writes());
    assert_eq!(writes.len(), 11, "{writes:#?}");
    for index in 0..writes.len() {
        for fault in [Fault::HangsBefore, Fault::HangsAfter, Fault::LostBefore, Fault::LostAfter] {
            let toy = world().fault("", index, fault);
            let killed = std::time::Duration::from_secs(180);
            let first = tokio::time::timeout(killed, Run::new().apply(&toy, &plan())).await;
            let hangs = matches!(fault, Fault::HangsBefore | Fault::HangsAfter);
            assert_eq!(first.is_err(), hangs, "write {index}, {fault:?}");
            let second = Run::new().apply(&toy, &plan()).await;
            assert_eq!(second.exit_code(&plan()), 0, "write {index}, {fault:?}: {second:#?}");
            assert_eq!(shape(&toy), end, "write {index}, {fault:?}");
            let count = |call: &str| toy.writes().iter().filter(|write| write.contains(call)).count();
            let twice = usize::from(matches!(fault, Fault::HangsBefore | Fault::LostBefore)) + 1;
            for call in ["POST /nodes/pve1/qemu ", "/clone", "scsi1=local-lvm:8", "DELETE"] {
                assert!(count(call) <= twice, "write {index}, {fault:?}: {call} {:#?}", toy.writes());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_at_any_moment_the_next_run_ends_in_the_same_place() {
    let toy = world();
    Run::new().apply(&toy, &plan()).await;
    let end = shape(&toy);
    for tenths in (0..320).step_by(7) {
        let toy = world();
        let moment = std::time::Duration::from_millis(tenths * 100 + 3);
        let _ = tokio::time::timeout(moment, Run::new().apply(&toy, &plan())).await;
        let outcome = Run::new().apply(&toy, &plan()).await;
        assert_eq!(outcome.exit_code(&plan()), 0, "after {moment:?}: {outcome:#?}");
        assert_eq!(shape(&toy), end, "after {moment:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn applied_again_nothing_is_sent() {
    let toy = world();
    Run::new().apply(&toy, &plan()).await;
    let sent = toy.writes().len();
    let again = Run::new().apply(&toy, &plan()).await;
    assert_eq!(again.count(GuestResult::AlreadyDone), 4, "{again:#?}");
    assert_eq!((toy.writes().len(), again.exit_code(&plan())), (sent, 0));
}
