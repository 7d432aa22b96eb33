//! Guests that bear our mark and are not in the manifest.

use std::collections::BTreeMap;

use super::accept::AcceptanceKind;
use super::demands::Guest;
use super::document::{Action, Base, Call, Change, Class, Effect, Expect, Reason, ReasonCode, State, Step, StepKind};
use super::drives::volume_of;
use super::ha;
use super::mark::Mark;
use super::planner::Cluster;
use super::steps::Target;
use super::template::Template;
use crate::desired::Power;
use crate::live::{LiveGuest, Read};
use crate::pve::compare::{is_drive, stem};
use crate::pve::http::Method;
use crate::pve::value::{GuestKind, Vmid, storage_of};

/// What goes with a guest besides its volumes.
pub const PURGES: &str = "purge also removes its backup jobs, replication jobs and HA resource";

/// Plans the deletion of an orphan, or says what it needs.
///
/// A name that another guest bears too says nothing: then only the vmid accepts the deletion.
pub fn orphan(
    cluster: &Cluster<'_>,
    live: &LiveGuest,
    mark: &Mark,
    creates: &[GuestKind],
    bears_a_shared_name: bool,
) -> Change {
    let name = live.name.known().cloned().unwrap_or_else(|| mark.guest.clone());
    let mut change = Change {
        address: super::document::Address {
            cluster: cluster.name.to_owned(),
            kind: live.kind,
            name,
            vmid: Some(live.vmid),
        },
        action: Action::Delete,
        state: State::Ready,
        reason: None,
        class: Some(Class::Orphan),
        node: Some(live.node.clone()),
        place: None,
        routing: None,
        fields: Vec::new(),
        steps: Vec::new(),
        base: Base { exists: true, lock: live.lock.clone(), mark: Some(mark.line()), ..Base::default() },
        unlisted: BTreeMap::new(),
        pending: Vec::new(),
        destroys: Vec::new(),
        notes: Vec::new(),
        after: Vec::new(),
    };
    let (Read::Known(config), Read::Known(power)) = (&live.config, &live.power) else {
        return cluster.unread(change, "its configuration or power state was not read");
    };
    change.destroys = volumes(live.kind, &config.current);
    change.base.power = Some(*power);
    // Every volume that would go is part of what was agreed to.
    change.base.current = agreed(live.kind, &config.current);
    let named = cluster.is_accepted(AcceptanceKind::Delete, &change.address);
    let by_name = cluster
        .options
        .accept
        .iter()
        .any(|accept| accept.kind == AcceptanceKind::Delete && accept.guest == change.address.name);
    if named && by_name && bears_a_shared_name {
        change.state = State::Blocked;
        change.reason = Some(Reason {
            code: ReasonCode::Conflict,
            words: format!("{} is not the only guest of that name", change.address.name),
            hint: Some(format!("--accept delete:{}/{}", cluster.name, live.vmid)),
        });
        return change;
    }
    if let Some((state, reason)) = why_kept(cluster, live, &change, named, creates) {
        // Nobody asked for its deletion: it is reported, and nothing is refused.
        let is_asked_for = reason.code != ReasonCode::NeedsPrune;
        change.state = if is_asked_for { state } else { State::Ready };
        change.reason = Some(reason);
        return change;
    }
    let hard = cluster.is_accepted(AcceptanceKind::Stop, &change.address);
    let steps = removal(cluster, live, *power, true, hard);
    if let Some(reason) = cluster.why_not_sent(&Guest::of_live(live), &steps) {
        change.state = State::Blocked;
        change.reason = Some(reason);
        return change;
    }
    change.steps = steps;
    change.notes.push(PURGES.to_owned());
    change
}

/// The call that destroys a guest, as a step.
fn destroy(target: &Target, vmid: Vmid, call: Call) -> Step {
    Step {
        kind: StepKind::Delete,
        words: format!("destroy {} {vmid} and its volumes", target.kind.noun()),
        call,
        effect: Effect::DataLoss,
        expect: vec![Expect::Gone],
    }
}

/// The steps that take a guest away: out of HA, which would start it again, shut down, destroyed.
pub fn removal(cluster: &Cluster<'_>, live: &LiveGuest, power: Power, purge: bool, hard: bool) -> Vec<Step> {
    let mut target = Target::new(live.kind, Template::text(live.vmid.to_string()), power == Power::Running);
    target.hard = hard;
    let mut steps = Vec::new();
    if is_resource(cluster, live) {
        steps.push(ha::remove(&target));
    }
    if power == Power::Running {
        steps.push(target.power(Power::Stopped, None));
    }
    let params = if purge { BTreeMap::from([("purge".to_owned(), Template::text("1"))]) } else { BTreeMap::new() };
    steps.push(destroy(&target, live.vmid, Call { method: Method::Delete, path: target.path(""), params }));
    steps
}

/// True for a guest that HA looks after.
fn is_resource(cluster: &Cluster<'_>, live: &LiveGuest) -> bool {
    cluster.live.ha.known().is_some_and(|resources| resources.contains_key(&ha::sid(live.kind, live.vmid)))
}

/// What a deletion destroys and is agreed to: every volume, whether the guest is protected, and what tells it from one
/// that is made in its place under the same id and name: its ids, the time of its making, its MAC addresses.
pub fn agreed(kind: GuestKind, options: &BTreeMap<String, String>) -> BTreeMap<String, Option<String>> {
    let is_own = |option: &str| matches!(option, "protection" | "vmgenid" | "smbios1" | "meta");
    options
        .iter()
        .filter(|(option, _)| is_drive(kind, option) || matches!(stem(option), "unused" | "net") || is_own(option))
        .map(|(option, text)| (option.clone(), Some(text.clone())))
        .collect()
}

fn why_kept(
    cluster: &Cluster<'_>,
    live: &LiveGuest,
    change: &Change,
    named: bool,
    creates: &[GuestKind],
) -> Option<(State, Reason)> {
    let by_name = format!("--accept delete:{}", change.address);
    let blocked = |code, words: String, hint: Option<String>| Some((State::Blocked, Reason { code, words, hint }));
    if let Some(reason) = cluster.locked(live) {
        let state = if reason.code == ReasonCode::TaskRunning { State::Waiting } else { State::Blocked };
        return Some((state, reason));
    }
    let Read::Known(config) = &live.config else {
        return None;
    };
    let protected =
        config.effective("protection").is_some_and(|text| crate::pve::value::parse_boolean(text) == Some(true));
    if protected {
        let hint = Some("remove its `protection` by hand first".to_owned());
        return blocked(ReasonCode::Protected, "it is protected: Proxmox does not destroy it".to_owned(), hint);
    }
    if !cluster.options.prune && !named {
        let hint = Some(format!("--prune, or {by_name}"));
        return blocked(
            ReasonCode::NeedsPrune,
            "it bears this fleet's mark and is not in the manifest".to_owned(),
            hint,
        );
    }
    if !named && !live.tags.contains(&super::mark::fleet_tag(cluster.fleet)) {
        let words = format!(
            "its tag {} is missing, so it may be a copy or a rolled-back guest",
            super::mark::fleet_tag(cluster.fleet)
        );
        return blocked(ReasonCode::NotOwned, words, Some(by_name));
    }
    if !named && let Some(what) = cluster.anything_unread() {
        return blocked(
            ReasonCode::Unread,
            format!("{what} could not be read, so nothing is deleted in this cluster"),
            None,
        );
    }
    if !named && creates.contains(&live.kind) {
        let words = format!("this plan also makes a {}; it might be this one under a new name", live.kind.noun());
        return blocked(ReasonCode::Guard, words, Some(by_name));
    }
    cluster.read_only().map(|reason| (State::Blocked, reason))
}

/// The volumes that go with a guest, with their sizes.
pub fn volumes(kind: GuestKind, options: &BTreeMap<String, String>) -> Vec<String> {
    let mut volumes: Vec<String> = options
        .iter()
        .filter(|(name, text)| {
            let holds = is_drive(kind, name) || stem(name) == "unused";
            holds && storage_of(volume_of(text)).is_some() && !text.contains(":iso/")
        })
        .map(|(name, text)| {
            let size = text.split(',').find_map(|part| part.strip_prefix("size="));
            let size = size.map_or_else(String::new, |size| format!(", {size}"));
            format!("{name} {}{size}", volume_of(text))
        })
        .collect();
    volumes.sort();
    volumes
}
