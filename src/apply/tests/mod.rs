//! The executor over a toy cluster, in virtual time.

mod end_to_end;
mod rules;
mod simulated;
mod toy;

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::sync::watch;

use self::toy::{Toy, ToyGuest};
use super::testing::{self, option, step, with};
use super::{Cancel, Event, GuestOutcome, GuestResult, Journal, Options, Outcome, SecretSource, run};
use crate::desired::SecretReference;
use crate::live::Power;
use crate::plan::{Action, Base, Change, Expect, Hole, Plan, Step, StepKind, Template};
use crate::pve::http::Method;
use crate::pve::value::GuestKind;
use crate::secret::Secret;

pub(super) struct NoSecrets;

impl SecretSource for NoSecrets {
    fn secret(&self, reference: &SecretReference) -> Result<Secret, String> {
        match reference.env.as_str() {
            "PASSWORD" => Ok(Secret::new("hunter2")),
            other => Err(format!("{other} is not set")),
        }
    }
}

const MARK: &str = "<!-- pvefleet v1 cluster=c1 fleet=test guest=qemu/web vmid=100 -->";

fn mark(name: &str, vmid: u32) -> String {
    format!("<!-- pvefleet v1 cluster=c1 fleet=test guest=qemu/{name} vmid={vmid} -->")
}

fn path(vmid: u32, tail: &str) -> Template {
    Template::text("/nodes/").then_hole(Hole::Node).then(&format!("/qemu/{vmid}{tail}"))
}

fn configure(vmid: u32, options: &[(&str, &str)]) -> Step {
    let expect = options.iter().map(|(name, value)| option(name, value)).collect();
    let mut step = step(StepKind::Configure, Method::Put, path(vmid, "/config"), expect);
    for (name, value) in options {
        step = with(step, name, Template::text(*value));
    }
    with(step, "digest", Template::hole(Hole::Digest))
}

fn resize(vmid: u32, disk: &str, size: &str) -> Step {
    let expect = vec![Expect::Size { drive: disk.to_owned(), size: size.to_owned() }];
    let step = step(StepKind::Resize, Method::Put, path(vmid, "/resize"), expect);
    with(with(step, "disk", Template::text(disk)), "size", Template::text(size))
}

fn power(vmid: u32, power: Power) -> Step {
    let (kind, action) = match power {
        Power::Running => (StepKind::Start, "/status/start"),
        Power::Stopped => (StepKind::Shutdown, "/status/shutdown"),
    };
    step(kind, Method::Post, path(vmid, action), vec![Expect::Power(power)])
}

fn reboot(vmid: u32) -> Step {
    let expect = vec![Expect::Power(Power::Running), Expect::NothingPending];
    step(StepKind::Reboot, Method::Post, path(vmid, "/status/reboot"), expect)
}

fn delete(vmid: u32) -> Step {
    step(StepKind::Delete, Method::Delete, path(vmid, ""), vec![Expect::Gone])
}

fn create(name: &str, vmid: u32, options: &[(&str, &str)]) -> Step {
    let mut expect = vec![Expect::Exists, option("name", name), option("description", &mark(name, vmid))];
    expect.extend(options.iter().map(|(name, value)| option(name, value)));
    let mut step = step(StepKind::Create, Method::Post, Template::text("/nodes/pve1/qemu"), expect);
    for (name, value) in options {
        step = with(step, name, Template::text(*value));
    }
    let step = with(step, "vmid", Template::hole(Hole::Vmid));
    let step = with(step, "name", Template::text(name));
    with(step, "description", Template::text(mark(name, vmid)))
}

fn clone(source: u32, name: &str, vmid: u32) -> Step {
    let expect = vec![Expect::Exists, option("name", name), option("description", &mark(name, vmid))];
    let path = Template::text(format!("/nodes/pve1/qemu/{source}/clone"));
    let step = step(StepKind::Clone, Method::Post, path, expect);
    let step = with(step, "newid", Template::text(vmid.to_string()));
    let step = with(step, "name", Template::text(name));
    with(step, "description", Template::text(mark(name, vmid)))
}

/// A change of the guest `web`, 100, as [`web`] is.
fn update(steps: Vec<Step>) -> Change {
    let base = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    Change {
        steps,
        base: Base {
            exists: true,
            current: BTreeMap::from([
                base("name", "web"),
                base("memory", "1024"),
                base("scsi0", "local-lvm:vm-100-disk-0,size=32G"),
                ("cores".to_owned(), None),
            ]),
            power: Some(Power::Stopped),
            mark: Some(MARK.to_owned()),
            ..Base::default()
        },
        ..testing::change("c1", "web", 100)
    }
}

fn web() -> ToyGuest {
    ToyGuest::new(
        "qemu",
        &[("name", "web"), ("memory", "1024"), ("description", MARK), ("scsi0", "local-lvm:vm-100-disk-0,size=32G")],
    )
}

fn making(action: Action, name: &str, vmid: u32, steps: Vec<Step>) -> Change {
    Change { action, steps, base: Base::default(), ..testing::change("c1", name, vmid) }
}

/// One run over the toy.
struct Run {
    options: Options,
    journal: Journal,
    cancel: watch::Receiver<Cancel>,
    events: Mutex<Vec<Event>>,
    _keep: Option<watch::Sender<Cancel>>,
}

impl Run {
    fn new() -> Self {
        let (sender, cancel) = watch::channel(Cancel::No);
        Self {
            options: Options::default(),
            journal: Journal::none(),
            cancel,
            events: Mutex::default(),
            _keep: Some(sender),
        }
    }

    async fn apply(&self, toy: &Toy, plan: &Plan) -> Outcome {
        let clients = BTreeMap::from([("c1".to_owned(), toy.client())]);
        let events = |event: &Event| self.events.lock().unwrap().push(event.clone());
        run(plan, &clients, &NoSecrets, &self.options, &self.journal, &events, self.cancel.clone()).await
    }
}

async fn apply(toy: &Toy, changes: Vec<Change>) -> Outcome {
    Run::new().apply(toy, &testing::plan("c1", changes)).await
}

async fn apply_one(toy: &Toy, change: Change) -> GuestOutcome {
    apply(toy, vec![change]).await.guests.remove(0)
}

#[track_caller]
fn assert_result(outcome: &GuestOutcome, result: GuestResult) {
    assert_eq!(outcome.result, result, "{:?}", outcome.words);
}

fn container(mut change: Change) -> Change {
    change.address.kind = GuestKind::Lxc;
    for step in &mut change.steps {
        for part in &mut step.call.path.0 {
            if let crate::plan::Part::Text(text) = part {
                *text = text.replace("/qemu", "/lxc");
            }
        }
    }
    change
}
