//! A guest that cannot be changed in place, deleted and made anew: only where the manifest asks for it and the person
//! at the terminal accepts it.

use super::accept::AcceptanceKind;
use super::create;
use super::demands::Guest;
use super::document::{Action, Base, Change, Class, Effect, FieldChange, Reason, ReasonCode, State, Step, StepKind};
use super::ha;
use super::making;
use super::orphans::{agreed, removal, volumes};
use super::planner::Cluster;
use super::template::Template;
use super::vmids::NewIds;
use crate::desired::{DesiredGuest, HaState, Spanned};
use crate::live::{LiveGuest, Read};
use crate::pve::http::Method;
use crate::pve::schema::version_number;
use crate::pve::value::parse_boolean;

/// True for a difference that Proxmox takes only when a guest is made.
fn needs_making(field: &FieldChange) -> bool {
    let in_place = field.blocked.as_ref().is_none_or(|reason| reason.code != ReasonCode::NotInPlace);
    !in_place && field.after.is_some() && field.name != "node"
}

/// Taken away for a moment, its resource stays in the rules that name it.
fn keep_rules(cluster: &Cluster<'_>, steps: &mut [Step]) {
    if version_number(&cluster.live.version) < version_number("9.0") {
        return;
    }
    for step in steps.iter_mut().filter(|step| step.kind == StepKind::Ha && step.call.method == Method::Delete) {
        step.call.params.insert("purge".to_owned(), Template::text("0"));
    }
}

/// What HA keeps and the manifest does not list is kept: it is put back as it was, or nothing is begun.
fn keep_ha(cluster: &Cluster<'_>, anew: &mut DesiredGuest, live: &LiveGuest) -> Result<(), Reason> {
    let resources = match &cluster.live.ha {
        Read::Known(resources) => resources,
        Read::Unread(why) => {
            let words = format!("whether HA keeps it could not be read: {why}");
            return Err(Reason { code: ReasonCode::Unread, words, hint: None });
        }
        Read::Absent => return Ok(()),
    };
    let Some(options) = resources.get(&ha::sid(live.kind, live.vmid)).filter(|_| anew.ha.is_none()) else {
        return Ok(());
    };
    let get = |name: &str| options.get(name).cloned();
    let number = |name: &str| get(name).and_then(|text| text.parse().ok());
    let known = ["sid", "type", "digest", "state", "max_restart", "max_relocate", "group"];
    let lost = options
        .iter()
        .find(|(name, value)| !known.contains(&name.as_str()) && !crate::pve::ha::same(name, Some(value), None));
    if let Some((name, value)) = lost {
        let words = format!("its HA resource has {name} {value}, which would be lost when it is made anew");
        let hint = Some("remove that by hand, and set it again afterwards".to_owned());
        return Err(Reason { code: ReasonCode::NotInPlace, words, hint });
    }
    let value = HaState::Managed {
        state: get("state"),
        max_restart: number("max_restart"),
        max_relocate: number("max_relocate"),
        group: get("group"),
    };
    anew.ha = Some(Spanned { value, place: anew.place.clone() });
    Ok(())
}

/// Replaces the change of a guest by its deletion and its making, where something needs that and it is accepted.
pub fn recreate(
    cluster: &Cluster<'_>,
    guest: &DesiredGuest,
    live: &LiveGuest,
    update: Change,
    ids: &mut NewIds,
) -> Change {
    if !update.fields.iter().any(needs_making) {
        return update;
    }
    let (Read::Known(config), Read::Known(power)) = (&live.config, &live.power) else { return update };
    let mut update = update;
    if !cluster.is_accepted(AcceptanceKind::Recreate, &update.address) {
        for field in update.fields.iter_mut().filter(|field| needs_making(field)) {
            let words = format!("changing {} needs the guest to be destroyed and made anew", field.name);
            let hint = Some(format!("--accept recreate:{}", update.address));
            field.blocked = Some(Reason { code: ReasonCode::NeedsAccept, words, hint });
        }
        if update.reason.as_ref().is_some_and(|reason| reason.code == ReasonCode::NotInPlace) {
            update.reason = update.fields.iter().find_map(|field| field.blocked.clone());
        }
        return update;
    }
    let mut change = cluster.change(cluster.address(guest, Some(live.vmid)), guest);
    change.action = Action::Recreate;
    change.class = Some(Class::Changed);
    change.node = Some(live.node.clone());
    change.base = Base {
        exists: true,
        lock: live.lock.clone(),
        mark: update.base.mark.clone(),
        power: Some(*power),
        current: agreed(live.kind, &config.current),
        ..Base::default()
    };
    change.destroys = volumes(live.kind, &config.current);
    let reasons = update.fields.iter().filter(|field| needs_making(field));
    let because: Vec<FieldChange> =
        reasons.map(|field| FieldChange { effect: Effect::DataLoss, blocked: None, ..field.clone() }).collect();
    // Made anew, it is another guest: the same plan applied once more must not destroy that one.
    for field in &because {
        change.base.current.insert(field.name.clone(), config.current.get(&field.name).cloned());
    }
    // It keeps its id, and its pool where the manifest names none.
    let pool = guest.pool.clone().or_else(|| live.pool.clone());
    let mut anew = DesiredGuest { vmid: Some(live.vmid), pool, ..guest.clone() };
    let is_protected = config.effective("protection").is_some_and(|text| parse_boolean(text) == Some(true));
    let refused = if is_protected {
        let hint = Some("remove its `protection` by hand first".to_owned());
        Some(Reason {
            code: ReasonCode::Protected,
            words: "it is protected: Proxmox does not destroy it".to_owned(),
            hint,
        })
    } else {
        cluster.read_only().or_else(|| keep_ha(cluster, &mut anew, live).err())
    };
    let made = match refused {
        Some(reason) => Err((State::Blocked, reason)),
        None => create::make(cluster, &anew, &mut change, ids),
    };
    // What is destroyed must be sure to be made again.
    let made = made.and_then(|()| making::why_not_anew(cluster, &anew, &change).map_or(Ok(()), Err));
    match made {
        Ok(()) => {
            let hard = cluster.is_accepted(AcceptanceKind::Stop, &change.address);
            let mut steps = removal(cluster, live, *power, false, hard);
            keep_rules(cluster, &mut steps);
            // With the guest goes what was allowed on it alone, and its place in a pool (`remove_vm_access`).
            let to_be = Guest { kind: live.kind, vmid: None, pool: anew.pool.as_deref(), config: None };
            let refused = cluster.why_not_sent(&Guest::of_live(live), &steps);
            let may_not_make = || {
                let mut reason = cluster.why_not_sent(&to_be, &change.steps)?;
                if reason.words.ends_with(" on /vms") {
                    reason.words.push_str("; its rights on the guest itself go when that is destroyed");
                }
                Some(reason)
            };
            match refused.or_else(may_not_make) {
                None => {
                    steps.append(&mut change.steps);
                    change.steps = steps;
                }
                Some(reason) => {
                    change.state = State::Blocked;
                    change.reason = Some(reason);
                    change.steps.clear();
                }
            }
        }
        Err((state, reason)) => {
            change.state = state;
            change.reason = Some(reason);
            change.steps.clear();
        }
    }
    change.fields.retain(|field| !because.iter().any(|other| other.name == field.name));
    change.fields.splice(0..0, because);
    change
}
