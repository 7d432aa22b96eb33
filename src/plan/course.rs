//! The course of a change: its steps in order around what interrupts the guest.

use super::document::Step;
use super::steps::Target;
use crate::desired::Power;

/// What a change is made of.
pub struct Course<'a> {
    /// Where the calls go.
    pub target: &'a Target,
    /// What goes while the guest is as it is.
    pub now: Vec<Step>,
    /// What goes while it is off.
    pub off: Vec<Step>,
    /// What goes at the very end.
    pub last: Vec<Step>,
    /// Making a template of it.
    pub template: Option<Step>,
    /// The power state that it is to be turned to; nothing where it has it.
    pub turns: Option<Power>,
    /// Something waits for a reboot, and the guest may be rebooted.
    pub reboots: bool,
    /// Seconds that a shutdown may take.
    pub timeout: Option<u32>,
}

impl Course<'_> {
    /// The steps, in order.
    pub fn steps(self) -> Vec<Step> {
        let Self { target, now, off, last, template, turns, reboots, timeout } = self;
        let running = target.running;
        let is_switched_off = running && (turns == Some(Power::Stopped) || !off.is_empty());
        let mut steps = now;
        if is_switched_off {
            steps.push(target.power(Power::Stopped, timeout));
        } else if reboots {
            steps.push(target.reboot(timeout));
        }
        let comes_back = running && !off.is_empty() && turns.is_none();
        steps.extend(off);
        if comes_back || turns == Some(Power::Running) {
            steps.push(target.power(Power::Running, None));
        }
        steps.extend(template);
        steps.extend(last);
        steps
    }
}
