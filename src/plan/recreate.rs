//! A guest that cannot be changed in place, deleted and made anew: only where the manifest asks for it and the person
//! at the terminal accepts it.

use super::accept::AcceptanceKind;
use super::create;
use super::demands::Guest;
use super::document::{Action, Base, Change, Class, Effect, FieldChange, Reason, ReasonCode, State};
use super::making;
use super::orphans::{agreed, removal, volumes};
use super::planner::Cluster;
use super::vmids::NewIds;
use crate::desired::DesiredGuest;
use crate::live::{LiveGuest, Read};
use crate::pve::value::parse_boolean;

/// True for a difference that Proxmox takes only when a guest is made.
fn needs_making(field: &FieldChange) -> bool {
    let in_place = field.blocked.as_ref().is_none_or(|reason| reason.code != ReasonCode::NotInPlace);
    !in_place && field.after.is_some() && field.name != "node"
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
    let is_protected = config.effective("protection").is_some_and(|text| parse_boolean(text) == Some(true));
    let refused = if is_protected {
        let hint = Some("remove its `protection` by hand first".to_owned());
        Some(Reason {
            code: ReasonCode::Protected,
            words: "it is protected: Proxmox does not destroy it".to_owned(),
            hint,
        })
    } else {
        cluster.read_only()
    };
    // It keeps its id, and its pool where the manifest names none.
    let pool = guest.pool.clone().or_else(|| live.pool.clone());
    let anew = DesiredGuest { vmid: Some(live.vmid), pool, ..guest.clone() };
    let made = match refused {
        Some(reason) => Err((State::Blocked, reason)),
        None => create::make(cluster, &anew, &mut change, ids),
    };
    // What is destroyed must be sure to be made again.
    let made = made.and_then(|()| making::why_not_anew(cluster, &change).map_or(Ok(()), Err));
    match made {
        Ok(()) => {
            let hard = cluster.is_accepted(AcceptanceKind::Stop, &change.address);
            let mut steps = removal(cluster, live, *power, false, hard);
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
