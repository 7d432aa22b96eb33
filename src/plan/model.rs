//! The planner plays its own plan: a guest as it will be after its steps, planned again, must need nothing.
//!
//! It holds for what sets, removes and takes back options, and for power, pool and cloud-init drive, of guests that are
//! there. Not played: steps that make, move, grow, attach or destroy volumes, reboots and templates, moves to other
//! nodes, HA, and guests that are made or deleted; apply reads each of these again after the step.

use super::document::{Action, Change, Expect, FieldChange, State, StepKind};
use super::drives::volume_of;
use super::mark::{self, Mark, Marked};
use super::planner::Cluster;
use super::template::Hole;
use super::update;
use crate::desired::DesiredGuest;
use crate::diagnostics::Diagnostic;
use crate::live::{LiveConfig, LiveGuest, Read};
use crate::pve::compare::is_drive;
use crate::pve::value::{allocation, parse_tags};

/// The code of the diagnostic for a plan that would not come to an end: a bug of the planner, not of its input.
pub const NOT_STABLE: &str = "plan-not-stable";

/// A bug, where planning the guest again after its steps would change it again.
pub fn check(cluster: &Cluster<'_>, guest: &DesiredGuest, live: &LiveGuest, change: &Change) -> Option<Diagnostic> {
    let is_played = matches!(change.action, Action::Update | Action::Adopt) && change.state == State::Ready;
    if !is_played || !change.has_steps() {
        return None;
    }
    let (after, mark) = play(live, change)?;
    verdict(change, &update::update(cluster, guest, &after, Some(&mark)))
}

fn verdict(change: &Change, again: &Change) -> Option<Diagnostic> {
    let step = again.steps.first()?;
    // What this very plan takes out of the way of another field is done by the next one, as its reason says.
    let was_blocked =
        |field: &FieldChange| change.fields.iter().any(|before| before.name == field.name && before.blocked.is_some());
    let mut comes = again.fields.iter().filter(|field| field.blocked.is_none()).peekable();
    if comes.peek().is_some() && comes.all(was_blocked) {
        return None;
    }
    let words = format!("the plan for {} does not come to an end: it would {} again", change.address, step.words);
    let hint = "this is a bug of pvefleet; nothing is planned. Take what it names out of the manifest, and report it";
    Some(Diagnostic::error(NOT_STABLE, words).hint(hint))
}

/// The guest and its mark after the steps; nothing where one of them is not played.
fn play(live: &LiveGuest, change: &Change) -> Option<(LiveGuest, Mark)> {
    let mut after = live.clone();
    let Read::Known(config) = &mut after.config else { return None };
    for step in &change.steps {
        let is_played = matches!(
            step.kind,
            StepKind::Configure | StepKind::Start | StepKind::Shutdown | StepKind::Pool | StepKind::CloudInit
        );
        if !is_played {
            return None;
        }
        // A secret is not read back; that there is one is.
        for (name, value) in &step.call.params {
            if value.holes().any(|hole| matches!(hole, Hole::Secret(_))) {
                config.current.insert(name.clone(), "(secret)".to_owned());
            }
        }
        for expect in &step.expect {
            match expect {
                Expect::Option { name, value } => set(live, config, name, value)?,
                Expect::NoOption { name } if !is_drive(live.kind, name) => {
                    config.current.remove(name);
                    config.pending.remove(name);
                }
                Expect::Power(power) => after.power = Read::Known(*power),
                Expect::Pool(pool) => after.pool = Some(pool.clone()),
                Expect::Exists => {}
                _ => return None,
            }
        }
    }
    after.tags = config.effective("tags").map(parse_tags).unwrap_or_default();
    match mark::read(config.effective("description").unwrap_or_default()) {
        Marked::By(mark) => Some((after, mark)),
        _ => None,
    }
}

/// An option is set; nothing for a drive whose volume is not known before.
fn set(live: &LiveGuest, config: &mut LiveConfig, name: &str, value: &str) -> Option<()> {
    if is_drive(live.kind, name) {
        let volume = volume_of(value);
        let is_there = config.effective(name).is_some_and(|text| volume_of(text) == volume);
        if !is_there || allocation(volume).is_some() {
            return None;
        }
    }
    config.current.insert(name.to_owned(), value.to_owned());
    config.pending.remove(name);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Base;

    fn guest() -> LiveGuest {
        serde_json::from_value(serde_json::json!({
            "vmid": 100, "kind": "qemu", "node": "a", "name": {"known": "web"}, "power": {"known": "stopped"},
            "template": false, "tags": [], "lock": null, "pool": null,
            "config": {"known": {"current": {"scsi0": "fast:vm-100-disk-0,size=1G"}, "pending": {}, "digest": "d"}},
        }))
        .unwrap()
    }

    fn change(expect: serde_json::Value) -> Change {
        let call = serde_json::json!({"method": "PUT", "path": "/x", "params": {}});
        serde_json::from_value(serde_json::json!({
            "address": {"cluster": "c", "kind": "qemu", "name": "web", "vmid": 100},
            "action": "update", "state": "ready", "fields": [], "unlisted": {}, "pending": [], "destroys": [],
            "notes": [], "after": [],
            "steps": [{"kind": "configure", "words": "set cores", "call": call, "effect": "none", "expect": expect}],
            "base": Base { exists: true, ..Base::default() },
        }))
        .unwrap()
    }

    fn option(name: &str, value: &str) -> serde_json::Value {
        serde_json::to_value(Expect::Option { name: name.to_owned(), value: value.to_owned() }).unwrap()
    }

    const LINE: &str = "<!-- pvefleet v1 cluster=c fleet=t guest=qemu/web vmid=100 -->";

    #[test]
    fn steps_are_played_and_unknown_volumes_are_not_guessed() {
        let marked = option("description", LINE);
        let (after, mark) = play(&guest(), &change(serde_json::json!([option("cores", "2"), marked]))).unwrap();
        assert_eq!(after.config.known().and_then(|config| config.effective("cores")), Some("2"));
        assert_eq!(mark.guest, "web");
        for expect in [option("scsi1", "fast:8"), option("scsi0", "other:vm-100-disk-0")] {
            assert!(play(&guest(), &change(serde_json::json!([expect, option("description", LINE)]))).is_none());
        }
    }

    #[test]
    fn what_would_be_done_again_is_refused() {
        let again = change(serde_json::json!([]));
        let problem = verdict(&again, &again).unwrap();
        assert_eq!(problem.code, NOT_STABLE);
        assert!(problem.message.contains("would set cores again"), "{}", problem.message);
        assert!(verdict(&again, &Change { steps: Vec::new(), ..again.clone() }).is_none());
    }
}
