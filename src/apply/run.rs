//! The run: begins guests as the queue allows, passes their events on, and folds the outcome.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};

use super::events::{Event, Events, Folding};
use super::fill::{SecretSource, Secrets};
use super::gate::{Facts, Gates, Needs, Passage};
use super::guest::{Runner, Shared};
use super::join::Earlier;
use super::journal::Journal;
use super::outcome::{GuestOutcome, GuestResult, Outcome, blocked_fields};
use super::schedule::{Entry, Next, Queue, Status};
use super::{Cancel, Options, state};
use crate::client::ClusterClient;
use crate::plan::{Address, Change, Plan, State, Unread};

/// Applies a plan.
///
/// Dropping the future stops at once, wherever it is: what was sent goes on in Proxmox, and the next run finds it.
/// `cancel` is the polite way. Only changes that are ready are run; the others are reported as they are.
pub async fn run(
    plan: &Plan,
    clients: &BTreeMap<String, ClusterClient>,
    secrets: &dyn SecretSource,
    options: &Options,
    journal: &Journal,
    events: &dyn Events,
    cancel: watch::Receiver<Cancel>,
) -> Outcome {
    let mut teller = Teller { events, journal, folding: Folding::default() };
    let changes: Vec<&Change> = plan.changes().collect();
    let begins = |change: &&&Change| idle_result(change).is_none();
    teller.tell(&Event::RunStarted {
        plan_id: plan.plan_id.clone(),
        fleet: plan.fleet.clone(),
        order: changes.iter().map(|change| change.address.clone()).collect(),
        unread: unread(plan),
        guests: changes.iter().filter(begins).count(),
        steps: changes.iter().filter(begins).map(|change| change.steps.len()).sum(),
    });
    match Secrets::read(plan, secrets) {
        Ok(secrets) => {
            let (sender, receiver) = mpsc::unbounded_channel();
            let facts = facts(plan, clients, options, cancel.clone()).await;
            let first = changes.iter().map(|change| facts.first(change)).collect();
            let queue = queue(&changes, options, &facts);
            let shared = Arc::new(Shared {
                plan_id: plan.plan_id.clone(),
                secrets,
                journal: journal.clone(),
                events: sender,
                cancel: cancel.clone(),
                options: options.clone(),
                gates: Gates::new(facts),
                earlier: Earlier::default(),
            });
            let dispatcher = Dispatcher {
                queue,
                first,
                changes,
                clients,
                shared,
                receiver,
                cancel,
                tasks: JoinSet::new(),
                running: BTreeMap::new(),
                by_id: HashMap::new(),
                stopped_by: None,
                touched: Vec::new(),
            };
            dispatcher.dispatch(&mut teller).await;
        }
        Err(words) => {
            teller.tell(&Event::Refused(words));
            for change in &changes {
                let result = idle_result(change).unwrap_or(GuestResult::Skipped);
                teller.tell(&Event::GuestDone(Box::new(idle(change, result, None))));
            }
        }
    }
    teller.tell(&Event::RunDone);
    teller.folding.finish()
}

/// Tells and folds every event.
struct Teller<'a> {
    events: &'a dyn Events,
    journal: &'a Journal,
    folding: Folding,
}

impl Teller<'_> {
    fn tell(&mut self, event: &Event) {
        if event.is_folded()
            && let Err(error) = self.journal.event(event)
        {
            self.events.event(&Event::Warning(format!("the journal cannot be written: {error}")));
        }
        self.folding.event(event);
        self.events.event(event);
    }
}

fn unread(plan: &Plan) -> BTreeMap<String, Vec<Unread>> {
    let of_cluster = plan.clusters.iter().filter(|(_, cluster)| !cluster.unread.is_empty());
    of_cluster.map(|(name, cluster)| (name.clone(), cluster.unread.clone())).collect()
}

/// What a change that is not run comes to; nothing where it is run.
fn idle_result(change: &Change) -> Option<GuestResult> {
    match change.state {
        State::Ready if change.has_steps() => None,
        State::Ready => Some(GuestResult::NoChange),
        State::Blocked => Some(GuestResult::Blocked),
        State::Waiting => Some(GuestResult::Waiting),
        State::Unknown => Some(GuestResult::Unknown),
    }
}

/// The outcome of a change for which nothing was begun.
fn idle(change: &Change, result: GuestResult, words: Option<String>) -> GuestOutcome {
    let reason = change.reason.as_ref();
    GuestOutcome {
        address: change.address.clone(),
        action: change.action,
        result,
        steps_done: 0,
        steps_total: change.steps.len(),
        sent: 0,
        words: words.or_else(|| reason.map(|reason| reason.words.clone())),
        hint: reason.and_then(|reason| reason.hint.clone()),
        warnings: Vec::new(),
        blocked: if result == GuestResult::Blocked { Vec::new() } else { blocked_fields(change) },
        left: Vec::new(),
    }
}

/// How many guests are worked on at once.
fn places(changes: &[&Change], options: &Options) -> usize {
    let of_nodes = || {
        let begin = changes.iter().filter(|change| idle_result(change).is_none());
        let nodes: BTreeSet<_> = begin.map(|change| (&change.address.cluster, &change.node)).collect();
        let (least, most) = Options::PARALLEL.into_inner();
        (nodes.len() * Options::PER_NODE).clamp(least, most)
    };
    options.parallel.unwrap_or_else(of_nodes)
}

/// What gates depend on; told to stop, nothing more is asked.
async fn facts(
    plan: &Plan,
    clients: &BTreeMap<String, ClusterClient>,
    options: &Options,
    mut cancel: watch::Receiver<Cancel>,
) -> Facts {
    let told = async {
        if cancel.wait_for(|cancel| *cancel != Cancel::No).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        () = told => Facts::default(),
        facts = Facts::read(plan, clients, &options.allocations) => facts,
    }
}

fn queue(changes: &[&Change], options: &Options, facts: &Facts) -> Queue {
    let entry = |change: &&Change| Entry {
        cluster: change.address.cluster.clone(),
        name: change.address.name.clone(),
        after: change.after.clone(),
        status: match idle_result(change) {
            None => Status::Queued,
            // The plan itself holds back what needs a guest that is not there. One that is there, and for which
            // nothing can be done now, is in nobody's way.
            Some(result) => Status::Ended(result.is_good() || !change.action.makes()),
        },
        length: facts.length(change),
    };
    Queue::new(changes.iter().map(entry).collect(), places(changes, options))
}

/// What is known of a guest that runs, in case the run leaves without it.
#[derive(Debug, Default)]
struct Running {
    steps_done: usize,
    sent: u32,
    step: Option<String>,
    task: Option<String>,
}

struct Dispatcher<'a> {
    queue: Queue,
    /// What the first step of each passes.
    first: Vec<Needs>,
    changes: Vec<&'a Change>,
    clients: &'a BTreeMap<String, ClusterClient>,
    shared: Arc<Shared>,
    receiver: mpsc::UnboundedReceiver<Event>,
    cancel: watch::Receiver<Cancel>,
    tasks: JoinSet<GuestOutcome>,
    running: BTreeMap<usize, Running>,
    by_id: HashMap<Id, usize>,
    /// Why no other guest is begun.
    stopped_by: Option<(GuestResult, String)>,
    touched: Vec<usize>,
}

impl Dispatcher<'_> {
    async fn dispatch(mut self, teller: &mut Teller<'_>) {
        for change in &self.changes {
            if let Some(result) = idle_result(change) {
                teller.tell(&Event::GuestDone(Box::new(idle(change, result, None))));
            }
        }
        let mut listens = true;
        let mut gates = self.shared.gates.listen();
        loop {
            let wanted = *self.cancel.borrow();
            if wanted == Cancel::Leave {
                self.leave(teller).await;
                return;
            }
            if wanted == Cancel::Finish && self.stopped_by.is_none() {
                self.stopped_by = Some((GuestResult::Interrupted, "the run was told to stop".to_owned()));
            }
            gates.mark_unchanged();
            self.begin_what_may(teller);
            if self.tasks.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                changed = self.cancel.changed(), if listens => listens = changed.is_ok(),
                Some(event) = self.receiver.recv() => self.pass_on(&event, teller),
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended, teller),
                // A gate may be open now for one that waits for it.
                Ok(()) = gates.changed() => {}
            }
        }
        self.check(teller).await;
    }

    /// Begins or skips until nothing more can begin.
    fn begin_what_may(&mut self, teller: &mut Teller<'_>) {
        if let Some((result, words)) = self.stopped_by.clone() {
            for index in 0..self.changes.len() {
                if self.queue.entries[index].status == Status::Queued {
                    self.end(index, idle(self.changes[index], result, Some(words.clone())), teller);
                }
            }
            return;
        }
        loop {
            let mut passage = None;
            let next = self.queue.next(|index| {
                passage = self.shared.gates.try_pass(&self.first[index]);
                passage.is_some()
            });
            match next {
                Next::Begin(index) => self.begin(index, passage, teller),
                Next::Skip(index, words) => {
                    self.end(index, idle(self.changes[index], GuestResult::Skipped, Some(words)), teller);
                }
                Next::Wait => return,
            }
        }
    }

    fn begin(&mut self, index: usize, passage: Option<Passage>, teller: &mut Teller<'_>) {
        let change = self.changes[index];
        let Some(client) = self.clients.get(&change.address.cluster) else {
            let words = format!("there is no connection to cluster '{}'", change.address.cluster);
            return self.end(index, idle(change, GuestResult::Failed, Some(words)), teller);
        };
        let Some(vmid) = change.address.vmid else {
            let words = "the plan gives it no id".to_owned();
            return self.end(index, idle(change, GuestResult::Failed, Some(words)), teller);
        };
        let runner = Runner::new(self.shared.clone(), client.clone(), change.clone(), vmid, passage);
        let handle = self.tasks.spawn(runner.run());
        self.by_id.insert(handle.id(), index);
        self.running.insert(index, Running::default());
        self.queue.entries[index].status = Status::Running;
    }

    fn pass_on(&mut self, event: &Event, teller: &mut Teller<'_>) {
        let address = match event {
            Event::StepStarted { address, .. }
            | Event::Sending(address)
            | Event::TaskStarted { address, .. }
            | Event::StepDone { address, .. } => Some(address),
            _ => None,
        };
        let index = address.and_then(|address| self.index_of(address));
        if let Some(running) = index.and_then(|index| self.running.get_mut(&index)) {
            match event {
                Event::StepStarted { words, step, .. } => {
                    running.step = Some(words.clone());
                    running.steps_done = step - 1;
                }
                Event::Sending(_) => running.sent += 1,
                Event::TaskStarted { upid, .. } => running.task = Some(upid.clone()),
                Event::StepDone { step, .. } => {
                    *running = Running { steps_done: *step, sent: running.sent, ..Running::default() }
                }
                _ => {}
            }
        }
        teller.tell(event);
    }

    fn index_of(&self, address: &Address) -> Option<usize> {
        self.changes.iter().position(|change| change.address == *address)
    }

    fn ended(&mut self, ended: Result<(Id, GuestOutcome), JoinError>, teller: &mut Teller<'_>) {
        // What the guest told before its end comes before its end.
        while let Ok(event) = self.receiver.try_recv() {
            self.pass_on(&event, teller);
        }
        match ended {
            Ok((id, outcome)) => {
                if let Some(index) = self.by_id.remove(&id) {
                    self.end(index, outcome, teller);
                }
            }
            Err(error) => {
                if let Some(index) = self.by_id.remove(&error.id()) {
                    let words = format!("a fault in this program: {error}");
                    let outcome = self.abandoned(index, GuestResult::Undetermined, &words);
                    self.end(index, outcome, teller);
                }
            }
        }
    }

    fn end(&mut self, index: usize, outcome: GuestOutcome, teller: &mut Teller<'_>) {
        self.running.remove(&index);
        self.queue.entries[index].status = Status::Ended(outcome.result.is_good());
        if outcome.sent > 0 {
            self.touched.push(index);
        }
        let is_error = matches!(outcome.result, GuestResult::Failed | GuestResult::Stale | GuestResult::Undetermined);
        if is_error && self.shared.options.stop_on_error && self.stopped_by.is_none() {
            let words = format!("the run stopped at an error, that of '{}'", outcome.address);
            self.stopped_by = Some((GuestResult::Skipped, words));
        }
        teller.tell(&Event::GuestDone(Box::new(outcome)));
    }

    /// The outcome of a guest that nobody waits for any more.
    fn abandoned(&self, index: usize, result: GuestResult, words: &str) -> GuestOutcome {
        let mut outcome = idle(self.changes[index], result, Some(words.to_owned()));
        if let Some(running) = self.running.get(&index) {
            outcome.steps_done = running.steps_done;
            outcome.sent = running.sent;
            outcome.words = Some(match (&running.step, &running.task) {
                (_, Some(task)) => format!("{words}; task {task} may still run"),
                (Some(step), None) if running.sent > 0 => format!("{words} during: {step}"),
                _ => words.to_owned(),
            });
        }
        outcome
    }

    async fn leave(&mut self, teller: &mut Teller<'_>) {
        self.tasks.shutdown().await;
        while let Ok(event) = self.receiver.try_recv() {
            self.pass_on(&event, teller);
        }
        for index in 0..self.changes.len() {
            match self.queue.entries[index].status {
                Status::Ended(_) => {}
                Status::Queued | Status::Running => {
                    let outcome = self.abandoned(index, GuestResult::Interrupted, "the run was left");
                    self.end(index, outcome, teller);
                }
            }
        }
    }

    /// Reads every guest that was written to once more, and tells what differs from the plan's end.
    async fn check(&mut self, teller: &mut Teller<'_>) {
        let mut reads = JoinSet::new();
        let places = places(&self.changes, &self.shared.options);
        let mut waiting = std::mem::take(&mut self.touched).into_iter();
        loop {
            while reads.len() < places.max(1) {
                let Some(index) = waiting.next() else { break };
                let change = self.changes[index].clone();
                let (Some(client), Some(vmid)) =
                    (self.clients.get(&change.address.cluster).cloned(), change.address.vmid)
                else {
                    continue;
                };
                reads.spawn(async move {
                    let live = super::guest::read(&client, &change, vmid, change.node.as_deref()).await;
                    (index, state::left(&change, &live))
                });
            }
            let mut cancel = self.cancel.clone();
            let told = async {
                if cancel.wait_for(|cancel| *cancel == Cancel::Leave).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                biased;
                () = told => return,
                read = reads.join_next() => match read {
                    None => return,
                    Some(Err(_)) => {}
                    Some(Ok((index, left))) => {
                        let left = left.iter().map(|words| self.shared.secrets.strike(words)).collect();
                        teller.tell(&Event::Checked { address: self.changes[index].address.clone(), left });
                    }
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::testing;
    use crate::plan::{StepKind, Template};
    use crate::pve::http::Method;

    #[test]
    fn places_grow_with_the_nodes_on_which_something_is_done() {
        let on = |node: u32, steps: bool| {
            let mut change = testing::change("a", "web", 100);
            change.node = Some(format!("n{node}"));
            if steps {
                let path = Template::text("/nodes/n1/qemu/100/config");
                change.steps.push(testing::step(StepKind::Configure, Method::Put, path, Vec::new()));
            }
            change
        };
        let of = |nodes: u32, parallel: Option<usize>| {
            let changes: Vec<Change> = (0..nodes * 3).map(|n| on(n % nodes, true)).chain([on(999, false)]).collect();
            let options = Options { parallel, ..Options::default() };
            places(&changes.iter().collect::<Vec<_>>(), &options)
        };
        assert_eq!([1, 3, 16, 99].map(|nodes| of(nodes, None)), [16, 36, 192, 256]);
        assert_eq!(of(16, Some(2)), 2);
    }
}
