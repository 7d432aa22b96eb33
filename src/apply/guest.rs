//! One guest: read, compare, and walk the steps.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::events::Event;
use super::fill::{Secrets, has_secret};
use super::gate::{Gates, Passage};
use super::join::Earlier;
use super::journal::Journal;
use super::moved;
use super::outcome::{GuestOutcome, GuestResult, blocked_fields};
use super::recover::{self, Decision, Tries};
use super::state::{self, Held, Standing};
use super::{Cancel, Options};
use crate::client::ClusterClient;
use crate::gather;
use crate::live::{LiveGuest, Read};
use crate::plan::{Change, Expect, Hole, Step, StepKind, Template};
use crate::pve::compare;
use crate::pve::value::{self, GuestKind, Vmid};

/// What all guests of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) plan_id: String,
    pub(super) secrets: Secrets,
    pub(super) journal: Journal,
    pub(super) events: UnboundedSender<Event>,
    pub(super) cancel: watch::Receiver<Cancel>,
    pub(super) options: Options,
    pub(super) gates: Arc<Gates>,
    pub(super) earlier: Earlier,
}

/// Why a guest stops before its last step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) result: GuestResult,
    pub(super) words: String,
    pub(super) hint: Option<&'static str>,
}

impl Stop {
    pub(super) fn new(result: GuestResult, words: impl Into<String>) -> Self {
        let hint = match result {
            GuestResult::Stale => Some("plan again"),
            GuestResult::Undetermined => Some("look at the guest, then plan again"),
            _ => None,
        };
        Self { result, words: words.into(), hint }
    }
}

/// Looks at a guest that is elsewhere than planned, each after its tasks ended.
const LOOKS: u32 = 4;

/// Carries out one change.
pub(super) struct Runner {
    pub(super) shared: Arc<Shared>,
    pub(super) client: ClusterClient,
    pub(super) change: Change,
    pub(super) vmid: Vmid,
    /// Where it was seen last.
    pub(super) node: Option<String>,
    pub(super) steps_done: usize,
    pub(super) sent: u32,
    pub(super) warnings: Vec<String>,
    /// The way through the gates of the first step, which it was begun with.
    passage: Option<Passage>,
    /// Tasks that were waited for.
    pub(super) joined: BTreeSet<String>,
}

impl Runner {
    pub(super) fn new(
        shared: Arc<Shared>,
        client: ClusterClient,
        change: Change,
        vmid: Vmid,
        passage: Option<Passage>,
    ) -> Self {
        let node = change.node.clone();
        Self {
            shared,
            client,
            change,
            vmid,
            node,
            steps_done: 0,
            sent: 0,
            warnings: Vec::new(),
            passage,
            joined: BTreeSet::new(),
        }
    }

    /// Walks all steps, and says how it ended.
    pub(super) async fn run(mut self) -> GuestOutcome {
        let (result, words, hint) = match self.walk().await {
            Ok(result) => (result, None, None),
            Err(stop) => (stop.result, Some(self.shared.secrets.strike(&stop.words)), stop.hint.map(str::to_owned)),
        };
        GuestOutcome {
            address: self.change.address.clone(),
            action: self.change.action,
            result,
            steps_done: self.steps_done,
            steps_total: self.change.steps.len(),
            sent: self.sent,
            words,
            hint,
            warnings: self.warnings,
            blocked: blocked_fields(&self.change),
            left: Vec::new(),
        }
    }

    async fn walk(&mut self) -> Result<GuestResult, Stop> {
        self.emit(Event::GuestStarted(self.change.address.clone()));
        if !self.client.may_write() {
            return Err(Stop::new(GuestResult::Failed, "the settings allow only reading this cluster"));
        }
        self.check_cancel()?;
        let (mut live, done) = self.locate().await?;
        self.steps_done = done;
        if done == self.change.steps.len() {
            return Ok(GuestResult::AlreadyDone);
        }
        self.passage = self.passage.take().filter(|_| done == 0);
        for index in done..self.change.steps.len() {
            live = self.step(index, live).await?;
            self.steps_done = index + 1;
        }
        // Every step was found done: an earlier run, or somebody, was there before.
        Ok(if self.sent == 0 { GuestResult::AlreadyDone } else { GuestResult::Done })
    }

    /// Reads the guest and finds where it stands in the change.
    async fn locate(&mut self) -> Result<(Read<LiveGuest>, usize), Stop> {
        let deadline = Instant::now() + self.shared.options.timeout;
        self.join_earlier(deadline).await;
        let mut looks = 0;
        loop {
            let live = self.read().await;
            let (stop, patience) = match state::standing(&self.change, &live) {
                Standing::After(done) => return Ok((live, done)),
                Standing::Unread(_) if self.is_taken().await => {
                    let words = format!("vmid {} was taken meanwhile by another guest", self.vmid);
                    return Err(Stop::new(GuestResult::Stale, words));
                }
                Standing::Unread(reason) => {
                    return Err(Stop::new(GuestResult::Failed, format!("it could not be read: {reason}")));
                }
                Standing::Stale(words) => (Stop::new(GuestResult::Stale, words.join("; ")), 1),
                Standing::Unfinished(lock) => (Stop::new(GuestResult::Failed, recover::unfinished(&lock)), 2),
            };
            // An earlier run may be at it: its task may have begun another since.
            let mut joined = 0;
            for node in self.nodes() {
                joined += self.join_tasks(&node, 0, deadline).await.len();
            }
            looks += 1;
            if looks >= LOOKS || joined == 0 && looks >= patience {
                return Err(stop);
            }
            if joined == 0 {
                sleep(Duration::from_secs(1)).await;
            }
        }
    }

    /// True where somebody else has the id of a guest that this change makes: one of the other kind, or one that this
    /// token cannot see.
    async fn is_taken(&self) -> bool {
        !self.change.base.exists && gather::is_free(&self.client, self.vmid).await == Read::Known(false)
    }

    /// Carries out one step from the guest as it was just read; gives the guest as it is then.
    async fn step(&mut self, index: usize, before: Read<LiveGuest>) -> Result<Read<LiveGuest>, Stop> {
        let step = self.change.steps[index].clone();
        let address = self.change.address.clone();
        let (number, of) = (index + 1, self.change.steps.len());
        self.emit(Event::StepStarted { address: address.clone(), step: number, of, words: step.words.clone() });
        let done = |note: Option<&str>| Event::StepDone {
            address: address.clone(),
            step: number,
            note: note.map(str::to_owned),
        };
        let passage = self.passage.take();
        if is_done_already(&self.change, index, &before) {
            self.emit(done(Some("was so already")));
            return Ok(before);
        }
        let mut before = before;
        let (passage, waited) = match passage {
            Some(passage) => (Some(passage), false),
            None => self.shared.gates.pass(&self.change, &step, &before).await,
        };
        if waited {
            let now = self.read().await;
            let seen = moved::moved(&self.change, index, &before, &now, false);
            if !seen.is_empty() {
                let words = format!("while this step waited for its turn: {}", seen.join("; "));
                return Err(Stop::new(GuestResult::Stale, words));
            }
            before = now;
        }
        if step.kind == StepKind::Delete {
            self.check_delete(&before)?;
        }
        let deadline = Instant::now() + self.shared.options.timeout;
        let mut tries = Tries::default();
        loop {
            self.check_cancel()?;
            // HA was asked already, and does it in its own time.
            let is_asked = step.kind == StepKind::Ha && state::ha_held(&step, &before);
            let attempt = if is_asked { Ok(()) } else { self.attempt(index, &step, &before, deadline).await? };
            let trouble = match attempt {
                Ok(()) => {
                    drop(passage);
                    let live = self.verify(index, &before, deadline).await?;
                    self.emit(done(None));
                    let meddled = moved::meddled(&self.change, index, &before, &live);
                    if !meddled.is_empty() && index + 1 < of {
                        self.steps_done = index + 1;
                        let words = format!("somebody changed it during: {}: {}", step.words, meddled.join("; "));
                        return Err(Stop::new(GuestResult::Stale, words));
                    }
                    return Ok(live);
                }
                Err(trouble) => trouble,
            };
            let (now, trouble) = self.settle(index, &step, trouble, deadline).await;
            if step.kind == StepKind::Ha && state::ha_held(&step, &now) {
                before = now;
                continue;
            }
            match recover::decide(&self.change, index, &before, &now, &trouble, tries) {
                Decision::Done(note) => {
                    self.emit(done(Some(note)));
                    return Ok(now);
                }
                Decision::Stop(result, words) => return Err(Stop::new(result, format!("{}: {words}", step.words))),
                Decision::Again(wait) => {
                    if trouble.kind == recover::TroubleKind::Busy {
                        tries.busy += 1;
                    } else {
                        tries.other += 1;
                    }
                    self.emit(Event::Repeating { address: address.clone(), words: trouble.text.clone() });
                    self.wait(wait).await;
                    if Instant::now() >= deadline {
                        let words = format!("{}: {}; the time is used up", step.words, trouble.text);
                        return Err(Stop::new(GuestResult::Failed, words));
                    }
                    self.check_cancel()?;
                    before = self.fresh(index, now).await?;
                }
            }
        }
    }

    /// Waits before a repetition; told to stop, there is nothing to wait for.
    async fn wait(&self, wait: Duration) {
        let mut cancel = self.shared.cancel.clone();
        let told = async {
            if cancel.wait_for(|cancel| *cancel != Cancel::No).await.is_err() {
                // Nobody can tell any more.
                std::future::pending::<()>().await;
            }
        };
        // The error is the end of the wait.
        let _ = timeout_at(Instant::now() + wait, told).await;
    }

    /// Reads once more after a wait: a write goes out only on a fresh read.
    async fn fresh(&mut self, index: usize, before: Read<LiveGuest>) -> Result<Read<LiveGuest>, Stop> {
        let now = self.read().await;
        if let Read::Unread(reason) = &now {
            return Err(Stop::new(GuestResult::Failed, format!("it could not be read: {reason}")));
        }
        let partly = self.change.steps[index].kind == StepKind::Configure;
        let seen = moved::moved(&self.change, index, &before, &now, partly);
        if seen.is_empty() {
            return Ok(now);
        }
        let words = format!("while this step waited to be repeated: {}", seen.join("; "));
        Err(Stop::new(GuestResult::Stale, words))
    }

    /// Deleting needs the ownership that the plan saw, read just before.
    fn check_delete(&self, live: &Read<LiveGuest>) -> Result<(), Stop> {
        let Read::Known(guest) = live else { return Ok(()) };
        if let Some(lock) = guest.lock.as_deref().filter(|_| guest.lock != self.change.base.lock) {
            return Err(Stop::new(GuestResult::Stale, format!("it bears the lock '{lock}' now; it is not deleted")));
        }
        let unplanned = guest.config.known().into_iter().flat_map(|config| config.current.keys()).find(|option| {
            let holds = compare::is_drive(guest.kind, option) || compare::stem(option) == "unused";
            holds && !self.change.base.current.contains_key(*option)
        });
        if let Some(option) = unplanned {
            let words =
                format!("{option} came since it was planned, and would be destroyed with it; it is not deleted");
            return Err(Stop::new(GuestResult::Stale, words));
        }
        if self.change.base.mark.is_some() && state::bears(guest, self.change.base.mark.as_deref()) {
            return Ok(());
        }
        Err(Stop::new(GuestResult::Stale, "its ownership line is not the one of the plan; it is not deleted"))
    }

    /// Reads until what the step promises holds. A call that succeeded may take hold a little later.
    async fn verify(
        &mut self,
        index: usize,
        before: &Read<LiveGuest>,
        deadline: Instant,
    ) -> Result<Read<LiveGuest>, Stop> {
        let step = self.change.steps[index].clone();
        let words = step.words.clone();
        if step.kind == StepKind::Template && self.change.address.kind == GuestKind::Lxc {
            // The answer of a container's conversion does not name the task that it started.
            let node = self.node.clone().unwrap_or_default();
            let ends = self.join_tasks(&node, index, deadline).await;
            if let Some(trouble) = ends.into_iter().find_map(|(_, end)| end.err()) {
                return Err(Stop::new(trouble.result(), format!("{words}: {}", trouble.text)));
            }
        }
        let mut until = (Instant::now() + patience(step.kind)).min(deadline);
        let mut wait = Duration::from_millis(250);
        loop {
            let live = self.read().await;
            let held = state::step_held(&self.change, index, &live);
            if held == Held::Yes {
                return Ok(live);
            }
            if matches!(step.kind, StepKind::Migrate | StepKind::Ha) {
                // The task of the call only asks HA; what HA does then is a task of its own.
                let node = self.node.clone().unwrap_or_default();
                let ends = self.join_tasks(&node, index, deadline).await;
                if let Some(trouble) = ends.iter().find_map(|(_, end)| end.as_ref().err()) {
                    return Err(Stop::new(trouble.result(), format!("{words}: {}", trouble.text)));
                }
                if !ends.is_empty() {
                    until = (Instant::now() + patience(step.kind)).min(deadline);
                    wait = Duration::from_millis(250);
                    continue;
                }
            }
            if Instant::now() + wait > until {
                return Err(match held {
                    Held::Unread(reason) => {
                        let words = format!("{words}: sent, and the guest could not be read since: {reason}");
                        Stop::new(GuestResult::Undetermined, words)
                    }
                    Held::No(seen) if moved::unmoved(&self.change, index, before, &live, false) => {
                        Stop::new(GuestResult::Failed, format!("{words}: Proxmox reported success, but {seen}"))
                    }
                    Held::No(seen) => Stop::new(GuestResult::Undetermined, format!("{words}: sent, but {seen}")),
                    Held::Yes => Stop::new(GuestResult::Undetermined, words),
                });
            }
            sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(2));
        }
    }

    /// Reads the guest where it was seen last, or wherever it is.
    pub(super) async fn read(&mut self) -> Read<LiveGuest> {
        let live = read(&self.client, &self.change, self.vmid, self.node.as_deref()).await;
        if let Read::Known(guest) = &live {
            self.node = Some(guest.node.clone());
        }
        live
    }

    pub(super) fn check_cancel(&self) -> Result<(), Stop> {
        if *self.shared.cancel.borrow() == Cancel::No {
            return Ok(());
        }
        Err(Stop::new(GuestResult::Interrupted, "the run was told to stop"))
    }

    pub(super) fn emit(&self, event: Event) {
        // Nobody listens any more only when the run itself was dropped.
        let _ = self.shared.events.send(event);
    }
}

/// Reads all of a guest that a change is about; its HA resource only where a step promises something of it.
pub(super) async fn read(client: &ClusterClient, change: &Change, vmid: Vmid, node: Option<&str>) -> Read<LiveGuest> {
    let mut expects = change.steps.iter().flat_map(|step| &step.expect);
    let with_pool = expects.any(|expect| matches!(expect, Expect::Pool(_)));
    let mut live = gather::guest(client, change.address.kind, vmid, node, with_pool).await;
    let asks = |expect: &Expect| matches!(expect, Expect::Ha(_));
    if let Read::Known(guest) = &mut live
        && change.steps.iter().flat_map(|step| &step.expect).any(asks)
    {
        let sid = format!("{}:{}", guest.kind.ha_prefix(), guest.vmid);
        guest.ha = Some(match gather::ha_resources(client).await {
            Read::Known(mut all) => all.remove(&sid).map_or(Read::Absent, Read::Known),
            Read::Absent => Read::Absent,
            Read::Unread(reason) => Read::Unread(reason),
        });
    }
    live
}

/// How long a call that succeeded may take to show.
fn patience(step: StepKind) -> Duration {
    match step {
        // High availability carries out power changes in rounds of some ten seconds.
        StepKind::Start | StepKind::Shutdown | StepKind::Reboot => Duration::from_secs(120),
        StepKind::Migrate => Duration::from_secs(120),
        // Its manager turns the guest on and off some time after it was asked.
        StepKind::Ha => Duration::from_secs(120),
        StepKind::Create | StepKind::Clone | StepKind::Delete | StepKind::Pool | StepKind::Template => {
            Duration::from_secs(15)
        }
        StepKind::Configure | StepKind::Resize | StepKind::Move | StepKind::Destroy | StepKind::CloudInit => {
            Duration::from_secs(3)
        }
    }
}

/// True when the guest already is as the step leaves it, and the step has no effect that does not show.
fn is_done_already(change: &Change, index: usize, live: &Read<LiveGuest>) -> bool {
    let Some(step) = change.steps.get(index) else { return true };
    let promises = |wanted: fn(&Expect) -> bool| step.expect.iter().any(wanted);
    let shows = match step.kind {
        StepKind::Create | StepKind::Clone | StepKind::CloudInit => false,
        StepKind::Ha => promises(|expect| matches!(expect, Expect::Ha(_))),
        StepKind::Reboot => promises(|expect| *expect == Expect::NothingPending),
        StepKind::Start | StepKind::Shutdown => promises(|expect| matches!(expect, Expect::Power(_))),
        StepKind::Template => promises(|expect| *expect == Expect::Template),
        StepKind::Pool => promises(|expect| matches!(expect, Expect::Pool(_))),
        StepKind::Migrate => promises(|expect| matches!(expect, Expect::Node(_))),
        StepKind::Delete => promises(|expect| *expect == Expect::Gone),
        StepKind::Move => promises(|expect| matches!(expect, Expect::Storage { .. })),
        StepKind::Configure | StepKind::Resize | StepKind::Destroy => {
            let mut params = step.call.params.iter();
            params.all(|(name, template)| shows_in_promise(step, name, &template.to_string()))
        }
    };
    shows && !step.expect.is_empty() && state::step_held(change, index, live) == Held::Yes
}

/// True for a drive that is written with the size that it has then.
fn rewrites_size(template: &Template) -> bool {
    template.holes().any(|hole| matches!(hole, Hole::Live { key, .. } if key == "size"))
}

/// True when a promise of the step tells whether this parameter was carried out.
fn shows_in_promise(step: &Step, name: &str, text: &str) -> bool {
    let unset = |option: &str| step.expect.contains(&Expect::NoOption { name: option.to_owned() });
    let set = |option: &str| step.expect.iter().any(|expect| expect.option() == Some(option)) && !unset(option);
    match name {
        "digest" | "background_delay" => true,
        "delete" | "idlist" => value::split_list(text).all(unset),
        "revert" => value::split_list(text).all(|option| set(option) || unset(option)),
        "disk" if step.kind == StepKind::Resize => set(text),
        "size" if step.kind == StepKind::Resize => true,
        // A secret is not read back, and what is written for the sake of a drive's size alone promises no other value.
        _ => set(name) && !step.call.params.get(name).is_some_and(|text| has_secret(text) || rewrites_size(text)),
    }
}
