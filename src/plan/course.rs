//! The course of a change: its steps in order around what interrupts the guest.

use super::document::{Expect, Step};
use super::migrate::{self, Move};
use super::steps::Target;
use crate::desired::Power;

/// What a change is made of.
pub struct Course<'a> {
    /// Where the calls go.
    pub target: &'a Target,
    /// Taking its HA resource away.
    pub leaves: Option<Step>,
    /// The node that it is moved to.
    pub moves_to: Option<&'a Move>,
    /// What goes while the guest is as it is.
    pub now: Vec<Step>,
    /// What goes while it is off.
    pub off: Vec<Step>,
    /// Making or changing its HA resource.
    pub joins: Option<Step>,
    /// What goes at the very end.
    pub last: Vec<Step>,
    /// Making a template of it.
    pub template: Option<Step>,
    /// The power state that it is to be turned to; nothing where it has it.
    pub turns: Option<Power>,
    /// Something waits for a reboot, and the guest may be rebooted.
    pub reboots: bool,
    /// Options of cloud-init change while it runs.
    pub reads_cloud_init: bool,
    /// Seconds that a shutdown may take.
    pub timeout: Option<u32>,
}

impl Course<'_> {
    /// The steps, in order.
    pub fn steps(self) -> Vec<Step> {
        let Self { target, turns, timeout, joins, .. } = self;
        let running = target.running;
        let joins_to = |power| joins.as_ref().is_some_and(|step| step.expect.contains(&Expect::Power(power)));
        let pauses = running && !self.off.is_empty();
        let mut steps: Vec<Step> = self.leaves.into_iter().collect();
        if pauses {
            // Off anyway, it is moved while it is.
            steps.push(target.power(Power::Stopped, timeout));
        }
        let runs = running && !pauses;
        steps.extend(self.moves_to.map(|to| migrate::step(target, to, target.kind, runs, timeout)));
        steps.extend(self.now);
        if !pauses && turns == Some(Power::Stopped) {
            // HA does it, where all that differs is what HA is asked for.
            if !(target.by_ha && joins_to(Power::Stopped)) {
                steps.push(target.power(Power::Stopped, timeout));
            }
        } else if !pauses && self.reboots {
            steps.push(target.reboot(timeout));
        } else if !pauses && self.reads_cloud_init {
            steps.push(target.cloud_init());
        }
        steps.extend(self.off);
        let comes_back = pauses && turns.is_none() || turns == Some(Power::Running);
        if comes_back && !joins_to(Power::Running) {
            steps.push(target.power(Power::Running, None));
        }
        steps.extend(joins);
        steps.extend(self.template);
        steps.extend(self.last);
        steps
    }
}
