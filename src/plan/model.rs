//! The planner plays its own plan: a guest as it will be after its steps, planned again, must need nothing.
//!
//! It holds for what sets, removes and takes back options, and for power, pool and cloud-init drive, of guests that are
//! there. Not played: steps that make, move, grow, attach or destroy volumes, reboots and templates, moves to other
//! nodes, HA, and guests that are made or deleted; apply reads each of these again after the step.

use super::document::{Action, Change, Expect, State, StepKind};
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
    let again = update::update(cluster, guest, &after, Some(&mark));
    let step = again.steps.first()?;
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
