//! One write: sent, its task awaited, and what may have come of it found out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::events::Event;
use super::fill;
use super::guest::{Runner, Stop};
use super::journal::{self, CallRecord, Entry, Moment};
use super::outcome::GuestResult;
use super::recover::{self, Trouble, TroubleKind};
use super::state::{self, Held};
use crate::client::{Discover, TaskProgress};
use crate::live::{LiveGuest, Read};
use crate::plan::{Expect, Step, StepKind};
use crate::pve::http::{ApiError, Request};
use crate::pve::value::{TaskEnd, Upid};

/// Lines of a failed task's log that are shown.
const LOG_LINES: usize = 8;
/// What may have been received is given this time to show.
const SETTLE: Duration = Duration::from_secs(1);

impl Runner {
    /// Fills and sends the step, and waits for its task.
    ///
    /// The outer error ends the guest before anything was sent.
    pub(super) async fn attempt(
        &mut self,
        index: usize,
        step: &Step,
        before: &Read<LiveGuest>,
        deadline: Instant,
    ) -> Result<Result<(), Trouble>, Stop> {
        let address = self.change.address.clone();
        let filled = fill::request(&address, step, before, &self.shared.secrets);
        let mut request = filled.map_err(|words| Stop::new(GuestResult::Failed, format!("{}: {words}", step.words)))?;
        self.leave_out_volumes_that_are_there(step, before, &mut request);
        let record = fill::record(&request, step);
        self.note(index, Moment::Before, &record, None, None);
        self.emit(Event::Sending(address.clone()));
        let answer = self.client.write(&request).await;
        if !matches!(answer, Err(ApiError::Connection(_))) {
            self.sent += 1;
        }
        let value = match answer {
            Ok(value) => value,
            Err(error) => {
                let trouble = self.clean(Trouble::of_error(&error));
                self.note(index, Moment::After, &record, None, Some(&trouble.text));
                return Ok(Err(trouble));
            }
        };
        let Some(upid) = value.as_str().and_then(|text| text.parse::<Upid>().ok()) else {
            self.note(index, Moment::After, &record, None, Some("done"));
            return Ok(Ok(()));
        };
        self.note(index, Moment::Task, &record, Some(&upid), None);
        let end = self.task(&upid, deadline).await;
        let outcome = end.as_ref().map_or_else(|trouble| trouble.text.as_str(), |()| "done");
        self.note(index, Moment::After, &record, Some(&upid), Some(outcome));
        Ok(end)
    }

    /// A volume that an earlier try made is used, never made again.
    fn leave_out_volumes_that_are_there(&self, step: &Step, before: &Read<LiveGuest>, request: &mut Request) {
        if step.kind != StepKind::Configure {
            return;
        }
        request.params.retain(|(name, _)| {
            let Some(template) = step.call.params.get(name) else { return true };
            let there = step.expect.iter().any(|expect| {
                matches!(expect, Expect::Option { name: option, .. } if option == name)
                    && state::held(self.change.address.kind, expect, before) == Held::Yes
            });
            !(there && recover::is_allocation(&self.change, name, template))
        });
    }

    /// Waits for a task of this step.
    pub(super) async fn task(&mut self, upid: &Upid, deadline: Instant) -> Result<(), Trouble> {
        self.joined.insert(upid.to_string());
        let address = self.change.address.clone();
        self.emit(Event::TaskStarted { address: address.clone(), upid: upid.to_string() });
        let shared = self.shared.clone();
        let silent = AtomicBool::new(false);
        let progress = move |progress: &TaskProgress| {
            let was_silent = silent.swap(progress.silent.is_some(), Ordering::Relaxed);
            if let Some(why) = &progress.silent {
                // Once for each time that it falls silent.
                if !was_silent {
                    let words = shared.secrets.strike(why);
                    let _ = shared.events.send(Event::Silent { address: address.clone(), words });
                }
                return;
            }
            let _ = shared.events.send(Event::TaskProgress {
                address: address.clone(),
                percent: progress.percent,
                line: progress.line.as_deref().map(|line| shared.secrets.strike(line)),
            });
        };
        let lost = |text: String| Trouble { kind: TroubleKind::TaskLost, text };
        match timeout_at(deadline, self.client.wait_task(upid, &progress)).await {
            Err(_) => Err(lost(format!("the time is used up, and task {upid} still runs"))),
            Ok(Err(error)) => Err(self.clean(lost(error.to_string()))),
            Ok(Ok(TaskEnd::Ok)) => Ok(()),
            Ok(Ok(TaskEnd::Warnings(count))) => {
                let log = self.client.task_log(upid, 200).await.unwrap_or_default();
                let lines: Vec<String> =
                    log.into_iter().filter(|line| line.contains("WARN") && !line.starts_with("TASK ")).collect();
                if lines.is_empty() {
                    self.warnings.push(format!("task {upid} ended with {count} warnings"));
                }
                self.warnings.extend(lines.iter().map(|line| self.shared.secrets.strike(line.trim())));
                Ok(())
            }
            Ok(Ok(TaskEnd::Failed(text))) => {
                let log = self.client.task_log(upid, LOG_LINES).await.unwrap_or_default();
                Err(self.clean(Trouble::of_task(&text, &log)))
            }
        }
    }

    /// Reads the guest after trouble; where something may still be under way, waits for that first.
    ///
    /// A task that is found and failed tells more than the lost answer did.
    pub(super) async fn settle(
        &mut self,
        index: usize,
        step: &Step,
        trouble: Trouble,
        deadline: Instant,
    ) -> (Read<LiveGuest>, Trouble) {
        if matches!(trouble.kind, TroubleKind::NotSent | TroubleKind::Refused | TroubleKind::TaskLost) {
            let now = if trouble.kind == TroubleKind::TaskLost { self.read().await } else { Read::Absent };
            return (now, trouble);
        }
        if trouble.kind == TroubleKind::AnswerLost {
            sleep(SETTLE).await;
        }
        let mut now = self.read().await;
        let being_made = now.known().is_some_and(|guest| state::is_being_made(guest.lock.as_deref()));
        let unfinished = being_made && state::makes(&self.change);
        if trouble.kind != TroubleKind::AnswerLost && !unfinished {
            return (now, trouble);
        }
        let path = step.call.path.to_string();
        let in_path = fill::target(&path).map(|target| target.node.to_owned()).filter(|node| !node.starts_with('<'));
        let nodes = [in_path, self.node.clone()];
        let mut ends = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            let Some(node) = node else { continue };
            if at == 0 || nodes[0].as_ref() != Some(node) {
                ends.extend(self.join_tasks(node, index, deadline).await);
            }
        }
        if ends.is_empty() {
            return (now, trouble);
        }
        now = self.read().await;
        // A task of another guest with the same source says nothing about this one.
        let vmid = self.vmid.to_string();
        let own = ends.into_iter().filter(|(upid, _)| upid.id == vmid && is_of(step.kind, &upid.kind));
        let failed = own.filter_map(|(_, end)| end.err()).next();
        match failed.filter(|_| state::step_held(&self.change, index, &now) != Held::Yes) {
            Some(failed) => (now, failed),
            None => (now, trouble),
        }
    }

    fn clean(&self, trouble: Trouble) -> Trouble {
        Trouble { text: self.shared.secrets.strike(&trouble.text), ..trouble }
    }

    /// Writes a line of the journal. One that cannot be written is said, and holds nothing up.
    fn note(&mut self, index: usize, moment: Moment, call: &CallRecord, upid: Option<&Upid>, outcome: Option<&str>) {
        let entry = Entry {
            at: journal::now(),
            moment,
            plan_id: self.shared.plan_id.clone(),
            guest: self.change.address.clone(),
            step: index + 1,
            words: self.change.steps.get(index).map(|step| step.words.clone()).unwrap_or_default(),
            call: call.clone(),
            upid: upid.map(ToString::to_string),
            outcome: outcome.map(str::to_owned),
        };
        if let Err(error) = self.shared.journal.line(&entry) {
            self.emit(Event::Warning(format!("the journal cannot be written: {error}")));
        }
    }
}

/// True for a task that such a step starts.
fn is_of(step: StepKind, task: &str) -> bool {
    let verbs: &[&str] = match step {
        StepKind::Create => &["create", "restore"],
        StepKind::Clone => &["clone"],
        StepKind::Configure | StepKind::Destroy => &["config"],
        StepKind::Move => &["move", "move_volume"],
        StepKind::Resize => return task == "resize",
        StepKind::Start => &["start"],
        StepKind::Shutdown => &["shutdown", "stop"],
        StepKind::Reboot => &["reboot"],
        StepKind::Template => &["template"],
        StepKind::Pool | StepKind::CloudInit => &[],
        StepKind::Ha => &["start", "stop", "shutdown"],
        StepKind::Migrate => &["igrate"],
        StepKind::Delete => &["destroy"],
    };
    verbs.iter().any(|verb| task.ends_with(verb))
}
