//! Plans for tests, with as little written as possible.

use std::collections::BTreeMap;

use crate::plan::{
    Action, Address, Base, Call, Change, ClusterPlan, Effect, Expect, FieldChange, Plan, Reason, ReasonCode, State,
    Step, StepKind, Template,
};
use crate::pve::http::Method;
use crate::pve::value::{GuestKind, Vmid};

pub(crate) fn address(cluster: &str, name: &str, vmid: u32) -> Address {
    Address { cluster: cluster.to_owned(), kind: GuestKind::Qemu, name: name.to_owned(), vmid: Vmid::new(vmid) }
}

pub(crate) fn change(cluster: &str, name: &str, vmid: u32) -> Change {
    Change {
        address: address(cluster, name, vmid),
        action: Action::Update,
        state: State::Ready,
        reason: None,
        class: None,
        node: Some("pve1".to_owned()),
        place: None,
        routing: None,
        fields: Vec::new(),
        steps: Vec::new(),
        base: Base { exists: true, ..Base::default() },
        unlisted: BTreeMap::new(),
        pending: Vec::new(),
        destroys: Vec::new(),
        notes: Vec::new(),
        after: Vec::new(),
    }
}

pub(crate) fn plan(cluster: &str, changes: Vec<Change>) -> Plan {
    let cluster_plan =
        ClusterPlan { cluster_id: String::new(), identity: None, unread: Vec::new(), changes, unmanaged: 0 };
    Plan {
        format_version: crate::plan::FORMAT_VERSION.to_owned(),
        fleet: "test".to_owned(),
        scope: String::new(),
        plan_id: "p1".to_owned(),
        complete: true,
        clusters: BTreeMap::from([(cluster.to_owned(), cluster_plan)]),
        warnings: Vec::new(),
    }
}

pub(crate) fn blocked_field(name: &str) -> FieldChange {
    FieldChange {
        name: name.to_owned(),
        before: None,
        after: None,
        effect: Effect::None,
        place: None,
        layer: None,
        blocked: Some(Reason { code: ReasonCode::Shrink, words: "smaller".to_owned(), hint: None }),
    }
}

pub(crate) fn step(kind: StepKind, method: Method, path: Template, expect: Vec<Expect>) -> Step {
    let call = Call { method, path, params: BTreeMap::new() };
    Step { kind, words: kind.word().to_owned(), call, effect: Effect::None, expect }
}

/// The step with one more parameter.
pub(crate) fn with(mut step: Step, name: &str, value: Template) -> Step {
    step.call.params.insert(name.to_owned(), value);
    step
}

pub(crate) fn option(name: &str, value: &str) -> Expect {
    Expect::Option { name: name.to_owned(), value: value.to_owned() }
}
