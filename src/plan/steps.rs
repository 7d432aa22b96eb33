//! From writes to calls, and the calls that a guest's actions are.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Call, Effect, Expect, Step, StepKind};
use super::ha;
use super::options::Write;
use super::template::{Hole, Template};
use crate::desired::Power;
use crate::pve::compare::{is_drive, stem};
use crate::pve::http::Method;
use crate::pve::value::GuestKind;

/// The calls that carry out a guest's writes, by when they go.
#[derive(Debug, Default)]
pub struct Sequence {
    /// While the guest is as it is.
    pub now: Vec<Step>,
    /// While it is off.
    pub off: Vec<Step>,
    /// At the very end.
    pub last: Vec<Step>,
}

/// Where a guest's calls go.
pub struct Target {
    /// VM or container.
    pub kind: GuestKind,
    /// Its id in paths and parameters: text, or the hole for one that the plan chose.
    pub vmid: Template,
    /// It runs when the steps are made.
    pub running: bool,
    /// HA turns it on and off.
    pub by_ha: bool,
    /// It may be stopped hard, where a shutdown would not end.
    pub hard: bool,
}

impl Target {
    /// A guest that turns on and off by its own calls.
    pub fn new(kind: GuestKind, vmid: Template, running: bool) -> Self {
        Self { kind, vmid, running, by_ha: false, hard: false }
    }

    /// A path below the guest, at the node where it is then.
    pub fn path(&self, tail: &str) -> Template {
        let mut path = Template::text("/nodes/").then_hole(Hole::Node).then(&format!("/{}/", self.kind));
        for part in &self.vmid.0 {
            path.0.push(part.clone());
        }
        if tail.is_empty() { path } else { path.then(tail) }
    }

    /// A call of one of the guest's actions.
    pub fn action(&self, kind: StepKind, words: &str, action: &str, effect: Effect, expect: Vec<Expect>) -> Step {
        let call = Call { method: Method::Post, path: self.path(action), params: BTreeMap::new() };
        Step { kind, words: words.to_owned(), call, effect, expect }
    }

    /// The calls that carry out the writes, all in order: of a guest that is off, or is not made yet.
    pub fn steps(&self, writes: Vec<Write>) -> Vec<Step> {
        let Sequence { now, off, last } = self.sequence(writes);
        now.into_iter().chain(off).chain(last).collect()
    }

    /// The calls that carry out the writes, by when they go.
    pub fn sequence(&self, writes: Vec<Write>) -> Sequence {
        // What is destroyed goes last: a number that it leaves free is taken by what is detached before.
        let (destroys, writes): (Vec<Write>, Vec<Write>) =
            writes.into_iter().partition(|write| matches!(write, Write::Destroy { .. }));
        let mut off: BTreeSet<String> = BTreeSet::new();
        for write in writes.iter().filter(|write| self.running && write.needs_off(self.kind)) {
            off.insert(write.option().to_owned());
            if let Write::Rekey { from, .. } = write {
                // The boot order names the key that comes, and may not name the one that goes.
                off.extend([from.clone(), "boot".to_owned()]);
            }
        }
        let (off, now): (Vec<Write>, Vec<Write>) = writes.into_iter().partition(|write| off.contains(write.option()));
        let stopped = Self::new(self.kind, self.vmid.clone(), false);
        let last = destroys.iter().filter_map(|write| self.destroy(write)).collect();
        Sequence { now: self.in_order(now), off: stopped.in_order(off), last }
    }

    /// Moves, sizes of what is there, plain options in one call, each new disk in one with its size, the boot order.
    fn in_order(&self, writes: Vec<Write>) -> Vec<Step> {
        let allocates = |write: &Write| matches!(write, Write::Set { allocates: true, .. });
        let any_allocation = writes.iter().any(allocates);
        let comes: BTreeSet<String> = writes
            .iter()
            .filter(|write| allocates(write) || matches!(write, Write::Rekey { .. }))
            .map(|write| write.option().to_owned())
            .collect();
        let grows: BTreeSet<String> = writes
            .iter()
            .filter(|write| matches!(write, Write::Resize { .. }))
            .map(|write| write.option().to_owned())
            .collect();
        let mut kept = Vec::new();
        let (mut moves, mut sizes, mut first) = (Vec::new(), Vec::new(), Vec::new());
        let (mut single, mut new_sizes, mut last) = (Vec::new(), Vec::new(), Vec::new());
        for write in writes {
            match &write {
                Write::Move { .. } => moves.push(write),
                // What is on its way out does not grow.
                Write::Revert { option, .. } if grows.contains(option) => kept.push(write),
                Write::Resize { option, .. } if comes.contains(option) => new_sizes.push(write),
                Write::Resize { .. } => sizes.push(write),
                _ if allocates(&write) => single.push(write),
                // `boot` may name a device only after it exists.
                _ if any_allocation && write.option() == "boot" => last.push(write),
                _ => first.push(write),
            }
        }
        let mut steps: Vec<Step> = moves.into_iter().filter_map(|write| self.move_volume(&write)).collect();
        steps.extend(self.configure(kept));
        steps.extend(sizes.iter().filter_map(|write| self.resize(write)));
        steps.extend(self.configure(first));
        for write in single {
            steps.extend(self.configure(vec![write]));
        }
        steps.extend(new_sizes.iter().filter_map(|write| self.resize(write)));
        steps.extend(self.configure(last));
        steps
    }

    fn configure(&self, writes: Vec<Write>) -> Option<Step> {
        if writes.is_empty() {
            return None;
        }
        let (mut params, mut expect, mut effect) = (BTreeMap::new(), Vec::new(), Effect::None);
        let (mut delete, mut revert, mut words) = (Vec::new(), Vec::new(), Vec::new());
        // A PUT that is passed on between nodes is cut off after 30 s while it goes on; what may take longer is a task.
        let mut long = false;
        for write in writes {
            effect = effect.max(write.effect());
            long |= matches!(&write, Write::Set { allocates: true, .. })
                || self.running && (is_drive(self.kind, write.option()) || stem(write.option()) == "net");
            match write {
                Write::Set { option, value, expect: text, .. } => {
                    words.push(option.clone());
                    if !text.is_empty() {
                        expect.push(Expect::Option { name: option.clone(), value: text });
                    }
                    params.insert(option, value);
                }
                Write::Delete { option, .. } => {
                    words.push(format!("no {option}"));
                    expect.push(Expect::NoOption { name: option.clone() });
                    delete.push(option);
                }
                Write::Revert { option, expect: text } => {
                    if text.is_empty() {
                        words.push(format!("no {option}"));
                        expect.push(Expect::NoOption { name: option.clone() });
                    } else {
                        words.push(format!("keep {option}"));
                        expect.push(Expect::Option { name: option.clone(), value: text });
                    }
                    revert.push(option);
                }
                Write::Rekey { from, option, value, expect: text } => {
                    words.push(format!("the disk of {from} as {option}"));
                    expect.push(Expect::NoOption { name: from.clone() });
                    expect.push(Expect::Option { name: option.clone(), value: text });
                    params.insert(option, value);
                    delete.push(from);
                }
                Write::Resize { .. } | Write::Move { .. } | Write::Destroy { .. } => {}
            }
        }
        for (name, list) in [("delete", delete), ("revert", revert)] {
            if !list.is_empty() {
                params.insert(name.to_owned(), Template::text(list.join(",")));
            }
        }
        params.insert("digest".to_owned(), Template::hole(Hole::Digest));
        let method = if long && self.kind == GuestKind::Qemu { Method::Post } else { Method::Put };
        Some(Step {
            kind: StepKind::Configure,
            words: format!("set {}", words.join(", ")),
            call: Call { method, path: self.path("/config"), params },
            effect,
            expect,
        })
    }

    fn resize(&self, write: &Write) -> Option<Step> {
        let Write::Resize { option, size } = write else {
            return None;
        };
        let params = BTreeMap::from([
            ("disk".to_owned(), Template::text(option)),
            ("size".to_owned(), Template::text(size.to_string())),
            ("digest".to_owned(), Template::hole(Hole::Digest)),
        ]);
        Some(Step {
            kind: StepKind::Resize,
            words: format!("grow {option} to {}", size.human()),
            call: Call { method: Method::Put, path: self.path("/resize"), params },
            effect: Effect::None,
            expect: vec![Expect::Size { drive: option.clone(), size: size.to_string() }],
        })
    }

    /// Copies a disk to another storage. The source goes with it, unless snapshots hold it.
    fn move_volume(&self, write: &Write) -> Option<Step> {
        let Write::Move { option, storage, keeps_source } = write else {
            return None;
        };
        let (key, action) = match self.kind {
            GuestKind::Qemu => ("disk", "/move_disk"),
            GuestKind::Lxc => ("volume", "/move_volume"),
        };
        let mut params = BTreeMap::from([
            (key.to_owned(), Template::text(option)),
            ("storage".to_owned(), Template::text(storage)),
            ("digest".to_owned(), Template::hole(Hole::Digest)),
        ]);
        if !keeps_source {
            params.insert("delete".to_owned(), Template::text("1"));
        }
        Some(Step {
            kind: StepKind::Move,
            words: format!("move {option} to {storage}"),
            call: Call { method: Method::Post, path: self.path(action), params },
            effect: Effect::None,
            expect: vec![Expect::Storage { drive: option.clone(), storage: storage.clone() }],
        })
    }

    /// Destroys a detached volume.
    fn destroy(&self, write: &Write) -> Option<Step> {
        let Write::Destroy { option } = write else {
            return None;
        };
        let params = BTreeMap::from([
            ("delete".to_owned(), Template::text(option)),
            ("digest".to_owned(), Template::hole(Hole::Digest)),
        ]);
        Some(Step {
            kind: StepKind::Destroy,
            words: format!("destroy the volume of {option}"),
            call: Call { method: Method::Put, path: self.path("/config"), params },
            effect: Effect::DataLoss,
            expect: vec![Expect::NoOption { name: option.clone() }],
        })
    }

    /// Starts or shuts down, then waits for that state.
    pub fn power(&self, wanted: Power, timeout: Option<u32>) -> Step {
        match wanted {
            _ if self.by_ha => ha::turn(self, if wanted == Power::Running { "started" } else { "stopped" }),
            Power::Stopped if self.hard => {
                let expect = vec![Expect::Power(Power::Stopped)];
                self.action(StepKind::Shutdown, "stop it hard", "/status/stop", Effect::Downtime, expect)
            }
            Power::Running => self.action(
                StepKind::Start,
                "start",
                "/status/start",
                Effect::None,
                vec![Expect::Power(Power::Running)],
            ),
            Power::Stopped => {
                let expect = vec![Expect::Power(Power::Stopped)];
                let mut step =
                    self.action(StepKind::Shutdown, "shut down", "/status/shutdown", Effect::Downtime, expect);
                if let Some(seconds) = timeout {
                    step.call.params.insert("timeout".to_owned(), Template::text(seconds.to_string()));
                }
                step
            }
        }
    }

    /// Makes its cloud-init drive anew, which the guest reads when it boots.
    pub fn cloud_init(&self) -> Step {
        let call = Call { method: Method::Put, path: self.path("/cloudinit"), params: BTreeMap::new() };
        Step {
            kind: StepKind::CloudInit,
            words: "make its cloud-init drive anew".to_owned(),
            call,
            effect: Effect::NextBoot,
            expect: vec![Expect::Exists],
        }
    }

    /// Makes a template of it.
    pub fn template(&self) -> Step {
        self.action(StepKind::Template, "make it a template", "/template", Effect::None, vec![Expect::Template])
    }

    /// Reboots it through Proxmox: from inside, nothing that waits would take hold.
    pub fn reboot(&self, timeout: Option<u32>) -> Step {
        let expect = vec![Expect::Power(Power::Running), Expect::NothingPending];
        let words = "reboot, so that pending changes take hold";
        let mut step = self.action(StepKind::Reboot, words, "/status/reboot", Effect::Downtime, expect);
        if let Some(seconds) = timeout {
            step.call.params.insert("timeout".to_owned(), Template::text(seconds.to_string()));
        }
        step
    }

    /// Puts the guest into a pool.
    pub fn pool(&self, pool: &str) -> Step {
        let params = BTreeMap::from([
            ("poolid".to_owned(), Template::text(pool)),
            ("vms".to_owned(), self.vmid.clone()),
            ("allow-move".to_owned(), Template::text("1")),
        ]);
        Step {
            kind: StepKind::Pool,
            words: format!("put into pool {pool}"),
            call: Call { method: Method::Put, path: Template::text("/pools"), params },
            effect: Effect::None,
            expect: vec![Expect::Pool(pool.to_owned())],
        }
    }
}
