//! Tasks: workers that run beside the calls, in virtual time, with locks on guests, a log and an end.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::access::Subject;
use super::answer::Answer;
use super::cluster::Cluster;
use super::exchange::Forced;
use super::faults::Effect;
use super::progress::{self, Stage};
use super::{api, backup, lxc, migrate, qemu, snapshot};
use crate::pve::value::{GuestKind, Upid};

/// How long a worker waits for a guest's lock file.
pub(super) const LOCK_WAIT: u64 = 10_000;

/// What a task does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Work {
    /// Something of a VM.
    Qemu(qemu::Work),
    /// Something of a container.
    Lxc(lxc::Work),
    /// A snapshot.
    Snapshot(snapshot::Work),
    /// A move to another node.
    Migrate(migrate::Work),
    /// A command to the HA manager, which acts on it later.
    Ha {
        /// The guest.
        vmid: u32,
        /// What it is to do.
        order: HaOrder,
        /// What the task says.
        text: String,
    },
    /// A backup, or a restore of one.
    Backup(backup::Work),
    /// A node's planned network devices put in force.
    ApplyNetwork,
    /// A volume's removal.
    RemoveVolume {
        /// The volume.
        volid: String,
    },
}

impl Work {
    /// How a worker ends that has made its volumes when it begins, and could not; nothing for the others.
    fn has_made(&self, text: &str) -> Option<String> {
        match self {
            Self::Qemu(work) => qemu::exit_of_making(work, text),
            Self::Lxc(work) => lxc::exit_of_making(work, text),
            _ => None,
        }
    }
}

/// What the HA manager is asked for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum HaOrder {
    /// To see to it that the guest runs.
    Start,
    /// To see to it that it does not.
    Stop,
    /// To bring it to this node.
    Migrate(String),
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum State {
    /// Its worker is not there yet, or waits for a lock since this time.
    Waiting(u64),
    /// It works until this time.
    Running(u64),
    /// It ended at this time.
    Stopped(u64),
}

/// A task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) upid: Upid,
    pub(super) subject: Subject,
    pub(super) node: String,
    pub(super) state: State,
    pub(super) exit: String,
    pub(super) log: Vec<String>,
    /// What it copies; the lines of this stand after those of the log.
    pub(super) progress: Vec<Stage>,
    pub(super) work: Option<Work>,
    /// The guests whose lock files it holds or waits for; true where it wants one for itself alone.
    locks: Vec<(u32, bool)>,
    patience: u64,
    waited: bool,
    /// What a fault does to it.
    fault: Option<Forced>,
    /// After how many volumes it did not get the lock of a storage for the next.
    #[serde(default)]
    refused: Option<usize>,
}

impl Task {
    /// The entry of a list; the archive and the cluster's list differ in details.
    pub(super) fn row(&self) -> Value {
        let mut row = json!({
            "id": self.upid.id,
            "node": self.node,
            "pid": self.upid.pid,
            "pstart": self.upid.pstart,
            "starttime": self.upid.starttime,
            "type": self.upid.kind,
            "upid": self.upid.to_string(),
            "user": self.subject.user(),
        });
        if let Some(token) = self.subject.token() {
            row["tokenid"] = json!(token);
        }
        row
    }

    /// True for a task whose id is this guest's.
    pub(super) fn is_about(&self, vmid: u32) -> bool {
        self.upid.id.parse() == Ok(vmid)
    }

    /// The log at this time, with how far copies have come.
    pub(super) fn log_at(&self, now: u64) -> Vec<String> {
        let mut lines = self.log.clone();
        lines.extend(progress::lines_at(&self.progress, now));
        lines
    }

    pub(super) const fn is_running(&self) -> bool {
        !matches!(self.state, State::Stopped(_))
    }
}

/// What comes next, with its time.
enum Event {
    Begin(usize),
    GiveUp(usize),
    Finish(usize),
    Broadcast,
}

impl Cluster {
    /// Starts a task and answers with its id.
    pub(super) fn start_task(&mut self, subject: &Subject, node: &str, kind: &str, id: &str, work: Work) -> Answer {
        Answer::from(json!(self.spawn(subject, node, kind, id, work)))
    }

    pub(super) fn spawn(&mut self, subject: &Subject, node: &str, kind: &str, id: &str, work: Work) -> String {
        self.next_pid += 7;
        let upid = Upid {
            node: node.to_owned(),
            pid: self.next_pid,
            pstart: 360_000 + self.clock / 10,
            starttime: self.unix_time(),
            kind: kind.to_owned(),
            id: id.to_owned(),
            user: subject.id.clone(),
        };
        let text = upid.to_string();
        let (locks, patience) = self.locks_of(&work);
        self.active.push(self.tasks.len());
        self.tasks.push(Task {
            upid,
            subject: subject.clone(),
            node: node.to_owned(),
            state: State::Waiting(self.clock + self.spec.tasks.fork),
            exit: String::new(),
            log: Vec::new(),
            progress: Vec::new(),
            work: Some(work),
            locks,
            patience,
            waited: false,
            fault: self.forced.take(),
            refused: None,
        });
        text
    }

    /// The guests that a work locks, and how long it waits for them.
    fn locks_of(&self, work: &Work) -> (Vec<(u32, bool)>, u64) {
        match work {
            Work::Qemu(work) => qemu::locks(self, work),
            Work::Lxc(work) => lxc::locks(work),
            Work::Snapshot(work) => (vec![(work.vmid, true)], LOCK_WAIT),
            Work::Migrate(work) => (vec![(work.vmid, true)], LOCK_WAIT),
            Work::Backup(work) => (backup::locks(work), LOCK_WAIT),
            Work::Ha { .. } | Work::RemoveVolume { .. } | Work::ApplyNetwork => (Vec::new(), LOCK_WAIT),
        }
    }

    /// True where a task other than this one holds the lock in a way that excludes.
    fn is_excluded(&self, me: usize) -> bool {
        if matches!(self.tasks[me].fault, Some(Forced::LockTimeout)) {
            return !self.tasks[me].locks.is_empty();
        }
        self.tasks[me].locks.iter().any(|(vmid, alone)| {
            self.active.iter().any(|other| {
                *other != me
                    && matches!(self.tasks[*other].state, State::Running(_))
                    && self.tasks[*other].locks.iter().any(|(v, a)| v == vmid && (*a || *alone))
            })
        })
    }

    /// When the last of the tasks that hold a guest's lock now will let go of it.
    pub(super) fn lock_held_until(&self, vmid: u32) -> Option<u64> {
        self.active
            .iter()
            .filter(|id| self.tasks[**id].locks.iter().any(|(v, _)| *v == vmid))
            .filter_map(|id| match self.tasks[*id].state {
                State::Running(until) => Some(until),
                _ => None,
            })
            .max()
    }

    fn next_event(&self) -> Option<(u64, Event)> {
        let mut next: Option<(u64, Event)> = None;
        for id in &self.active {
            let task = &self.tasks[*id];
            let (at, event) = match task.state {
                State::Waiting(since) if since > self.clock || !self.is_excluded(*id) => {
                    (since.max(self.clock), Event::Begin(*id))
                }
                State::Waiting(since) => (since + task.patience, Event::GiveUp(*id)),
                State::Running(until) => (until, Event::Finish(*id)),
                State::Stopped(_) => continue,
            };
            // Ties go to the task that came first.
            if next.as_ref().is_none_or(|(time, _)| at < *time) {
                next = Some((at, event));
            }
        }
        let due = self.broadcast_at + super::guest::BROADCAST_EVERY;
        if next.as_ref().is_none_or(|(time, _)| due < *time) { Some((due, Event::Broadcast)) } else { next }
    }

    /// Lets everything happen whose time has come.
    pub(super) fn advance(&mut self, now: u64) {
        while let Some((at, event)) = self.next_event().filter(|(at, _)| *at <= now) {
            self.clock = self.clock.max(at);
            if !matches!(event, Event::Broadcast) {
                self.changes += 1;
            }
            match event {
                Event::Broadcast => {
                    // Of a long silence only the last broadcast matters.
                    let until = if self.active.is_empty() { now } else { at };
                    let every = super::guest::BROADCAST_EVERY;
                    self.broadcast_at += (until - self.broadcast_at) / every * every;
                    self.broadcast();
                    self.ha_round();
                }
                Event::Begin(id) if self.is_excluded(id) => {
                    // The worker is there, and the lock is not: it says so and waits.
                    self.tasks[id].waited = true;
                    self.tasks[id].log.push("trying to acquire lock...".to_owned());
                    self.tasks[id].state = State::Waiting(self.clock);
                }
                Event::Begin(id) => self.begin(id),
                Event::GiveUp(id) => {
                    let vmid = self.tasks[id].locks.first().map_or(0, |(vmid, _)| *vmid);
                    let text = self.lock_timeout_text(vmid);
                    self.finish_with(id, Err(text));
                }
                Event::Finish(id) => {
                    self.keep_progress(id);
                    let outcome = match (self.tasks[id].work.take(), self.tasks[id].fault.take()) {
                        (Some(work), Some(Forced::Task { exit, effect: Effect::None })) => {
                            self.abandon(id, work);
                            Err(exit)
                        }
                        (Some(work), Some(Forced::Task { exit, effect: Effect::Done })) => {
                            self.finish_work(id, work).and(Err(exit))
                        }
                        (Some(work), _) => {
                            let refused = self.tasks[id].refused.take();
                            self.refusing(refused, |cluster| cluster.finish_work(id, work))
                        }
                        (None, _) => Ok(()),
                    };
                    self.finish_with(id, outcome);
                }
            }
        }
        self.clock = self.clock.max(now);
    }

    /// What was copied so far becomes part of the log, which goes on after it.
    fn keep_progress(&mut self, id: usize) {
        let now = self.clock;
        let task = &mut self.tasks[id];
        task.log.extend(progress::lines_at(&std::mem::take(&mut task.progress), now));
    }

    fn begin(&mut self, id: usize) {
        if self.tasks[id].waited {
            self.tasks[id].log.push(" OK".to_owned());
        }
        let Some(mut work) = self.tasks[id].work.take() else { return };
        let begun = match &mut work {
            Work::Qemu(work) => qemu::begin(self, id, work),
            Work::Lxc(work) => lxc::begin(self, id, work),
            Work::Snapshot(work) => snapshot::begin(self, id, work),
            Work::Migrate(work) => migrate::begin(self, id, work),
            Work::Backup(work) => backup::begin(self, id, work),
            Work::Ha { .. } | Work::RemoveVolume { .. } | Work::ApplyNetwork => Ok(self.spec.tasks.config),
        };
        match begun {
            Ok(duration) => {
                let lasts = self.wait_to_make(id, &work, duration);
                self.tasks[id].work = Some(work);
                self.tasks[id].state = State::Running(self.clock.saturating_add(lasts));
            }
            Err(text) => self.finish_with(id, Err(text)),
        }
    }

    /// How long a work takes with its waiting for storages; one that does not get their locks ends there.
    fn wait_to_make(&mut self, id: usize, work: &Work, duration: u64) -> u64 {
        let node = self.tasks[id].node.clone();
        let waited = self.wait_for_storages(&node, work);
        self.tasks[id].log.extend(waited.lines);
        let Some((count, text)) = waited.refused else { return waited.time + self.scaled(duration) };
        match work.has_made(&text) {
            // Its volumes are there already, in the state in which others see them: they are taken away at the end.
            Some(exit) if self.tasks[id].fault.is_none() => self.tasks[id].fault = Some(Forced::task(exit)),
            _ => self.tasks[id].refused = Some(count),
        }
        waited.time
    }

    fn finish_work(&mut self, id: usize, work: Work) -> Result<(), String> {
        match work {
            Work::Qemu(work) => qemu::finish(self, id, work),
            Work::Lxc(work) => lxc::finish(self, id, work),
            Work::Snapshot(work) => snapshot::finish(self, id, &work),
            Work::Migrate(work) => migrate::finish(self, id, &work),
            Work::Backup(work) => backup::finish(self, id, work),
            Work::Ha { vmid, order, text } => {
                self.tasks[id].log.push(text);
                self.ha_request(vmid, &order);
                Ok(())
            }
            Work::RemoveVolume { volid } => api::remove(self, id, &volid),
            Work::ApplyNetwork => {
                let node = self.tasks[id].node.clone();
                api::apply_network(self, &node);
                Ok(())
            }
        }
    }

    fn finish_with(&mut self, id: usize, outcome: Result<(), String>) {
        self.keep_progress(id);
        let task = &mut self.tasks[id];
        let (line, exit) = match outcome {
            Ok(()) => ("TASK OK".to_owned(), "OK".to_owned()),
            Err(text) if text.starts_with("WARNINGS: ") => (format!("TASK {text}"), text),
            Err(text) => (format!("TASK ERROR: {text}"), text.replace('\n', " ")),
        };
        task.log.push(line);
        task.exit = exit;
        task.state = State::Stopped(self.clock);
        task.work = None;
        self.active.retain(|active| *active != id);
    }

    /// Stops a task that runs; what it had begun is cleaned up as its worker would.
    pub(super) fn abort_task(&mut self, id: usize) {
        let Some(work) = self.tasks[id].work.take() else { return };
        let text = self.abandon(id, work);
        self.finish_with(id, Err(text));
    }

    /// Cleans up what a work had begun; how its worker would end.
    fn abandon(&mut self, id: usize, work: Work) -> String {
        let node = self.tasks[id].node.clone();
        match work {
            Work::Qemu(work) => qemu::abort(self, &node, work),
            Work::Lxc(work) => lxc::abort(self, &node, work),
            Work::Snapshot(work) => snapshot::abort(&work),
            Work::Migrate(work) => migrate::abort(self, id, &work),
            Work::Backup(work) => backup::abort(self, id, work),
            Work::Ha { .. } | Work::RemoveVolume { .. } | Work::ApplyNetwork => "received interrupt".to_owned(),
        }
    }

    /// How long something takes here that takes so long elsewhere.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a factor that is never negative; the cast keeps within the type's limits"
    )]
    pub(super) fn scaled(&self, duration: u64) -> u64 {
        if self.spec.time_scale == 1.0 { duration } else { (duration as f64 * self.spec.time_scale).round() as u64 }
    }

    pub(super) fn log(&mut self, task: usize, line: impl Into<String>) {
        self.tasks[task].log.push(line.into());
    }

    /// Proxmox's words where a guest's lock file is not to be had.
    pub(super) fn lock_timeout_text(&self, vmid: u32) -> String {
        let file = match self.guests.get(&vmid).map(|guest| guest.config.kind) {
            Some(GuestKind::Lxc) => format!("/run/lock/lxc/pve-config-{vmid}.lock"),
            _ => format!("/var/lock/qemu-server/lock-{vmid}.conf"),
        };
        format!("can't lock file '{file}' - got timeout")
    }
}
