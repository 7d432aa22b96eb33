//! One run of an apply, watched: at one request something happens.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pvefleet::apply::{self, Cancel, Event, Journal, Outcome};
use pvefleet::client::ClusterClient;
use pvefleet::plan::{Address, Plan, StepKind};
use pvefleet::pve::http::{Method, Request, Sending, Transport};
use pvefleet::sim::transport::{SimTransport, lock};
use pvefleet::sim::{Fault, FaultKind};
use tokio::sync::{Notify, watch};

use crate::defects::{Defect, Defective};
use crate::support::{Canary, World};

/// When the process is stopped, around the request that it is stopped at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before it is sent.
    Before,
    /// When it was carried out, and its answer is not there yet.
    AnswerLost,
    /// When its answer was read.
    After,
}

impl Moment {
    pub const ALL: [Self; 3] = [Self::Before, Self::AnswerLost, Self::After];
}

/// What happens at one request.
#[derive(Debug, Clone)]
pub enum Happening {
    Nothing,
    /// The process is stopped.
    Stop(usize, Moment),
    /// Requests meet faults, each once.
    Faults(Vec<(usize, FaultKind)>),
    /// Somebody else writes, before the request is sent.
    Edit(usize, Request),
    /// The same plan is applied by another process, from its beginning to its end, before the request is sent.
    SecondApply(usize),
}

/// A fault that is wrong with the whole cluster lasts so long.
const FAULT_LASTS: u64 = 20_000;

/// A run that is watched.
pub struct Watch {
    pub happening: Happening,
    pub defect: Option<Defect>,
    pub seen: AtomicUsize,
    stopped: Notify,
    /// For each guest that is worked on, its step.
    at_work: Mutex<BTreeMap<Address, StepKind>>,
    steps: BTreeMap<Address, Vec<StepKind>>,
    /// The kinds of steps during which it happened, and the requests that it happened to.
    pub met: Mutex<Vec<StepKind>>,
    pub requests: Mutex<Vec<String>>,
    /// The guest's file when somebody had written to it; nothing where that was refused.
    edited: Mutex<Option<String>>,
    /// Requests when the guest was deleted.
    deleted: Mutex<Option<usize>>,
}

impl Watch {
    pub fn new(plan: &Plan, happening: Happening) -> Arc<Self> {
        Self::with_defect(plan, happening, None)
    }

    pub fn with_defect(plan: &Plan, happening: Happening, defect: Option<Defect>) -> Arc<Self> {
        let kinds = |change: &pvefleet::plan::Change| change.steps.iter().map(|step| step.kind).collect();
        Arc::new(Self {
            happening,
            defect,
            seen: AtomicUsize::new(0),
            stopped: Notify::new(),
            at_work: Mutex::default(),
            steps: plan.changes().map(|change| (change.address.clone(), kinds(change))).collect(),
            met: Mutex::default(),
            requests: Mutex::default(),
            edited: Mutex::default(),
            deleted: Mutex::default(),
        })
    }

    /// The guest's file as the edit left it; nothing where it was refused.
    pub fn edited(&self) -> Option<String> {
        self.edited.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests came since it happened, until the end or until the guest was deleted.
    pub fn seen_since(&self) -> usize {
        let deleted = *self.deleted.lock().unwrap_or_else(PoisonError::into_inner);
        let end = deleted.unwrap_or_else(|| self.seen.load(Ordering::SeqCst));
        end.saturating_sub(self.at().unwrap_or_default())
    }

    /// True where it happened before a guest was deleted.
    pub fn before_the_deletion(&self) -> bool {
        let deleted = *self.deleted.lock().unwrap_or_else(PoisonError::into_inner);
        deleted.is_some_and(|deleted| self.at().is_some_and(|at| at < deleted))
    }

    /// At which request it happens.
    pub const fn at(&self) -> Option<usize> {
        match self.happening {
            Happening::Stop(at, _) | Happening::Edit(at, _) | Happening::SecondApply(at) => Some(at),
            _ => None,
        }
    }

    /// Applies the plan; nothing where the process was stopped.
    pub async fn run(self: &Arc<Self>, world: &World, plan: &Plan) -> Option<Outcome> {
        let clients = world.clusters.keys().map(|name| {
            let inner = SimTransport::first(Arc::clone(&world.clusters[name])).since(world.start);
            let hooked = Hooked {
                inner,
                cluster: name.clone(),
                watch: Arc::clone(self),
                world: world.clone(),
                plan: plan.clone(),
            };
            let transport: Arc<dyn Transport> = match self.defect {
                Some(defect) => Arc::new(Defective::new(defect, Arc::new(hooked))),
                None => Arc::new(hooked),
            };
            (name.clone(), ClusterClient::new(name.clone(), transport))
        });
        let clients = clients.collect();
        let plan = self.defect.map_or_else(|| plan.clone(), |defect| defect.in_plan(plan));
        let (_keep, cancelled) = watch::channel(Cancel::No);
        let (options, journal) = (apply::Options::default(), Journal::none());
        let events = |event: &Event| self.note(event);
        let run = apply::run(&plan, &clients, &Canary, &options, &journal, &events, cancelled);
        let outcome = tokio::select! {
            biased;
            () = self.stopped.notified() => None,
            outcome = run => Some(outcome),
        };
        outcome.map(|outcome| self.defect.map_or_else(|| outcome.clone(), |defect| defect.in_outcome(&outcome)))
    }

    fn note(&self, event: &Event) {
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::StepStarted { address, step, .. } => {
                if let Some(kind) = self.steps.get(address).and_then(|kinds| kinds.get(step - 1)) {
                    at_work.insert(address.clone(), *kind);
                }
            }
            Event::StepDone { address, .. } => drop(at_work.remove(address)),
            Event::GuestDone(guest) => drop(at_work.remove(&guest.address)),
            _ => {}
        }
    }

    async fn happened(&self, request: &Request) {
        // What the run told before comes to be known first.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        let at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        self.met.lock().unwrap_or_else(PoisonError::into_inner).extend(at_work.values());
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push(format!("{} {}", request.method.as_str(), request.path));
    }
}

/// The way to one cluster, past the place where it happens.
struct Hooked {
    inner: SimTransport,
    cluster: String,
    watch: Arc<Watch>,
    world: World,
    plan: Plan,
}

impl Transport for Hooked {
    fn send<'a>(&'a self, request: &'a Request) -> Sending<'a> {
        Box::pin(async move {
            let number = self.watch.seen.fetch_add(1, Ordering::SeqCst);
            if request.method == Method::Delete && request.path.split('/').count() == 5 {
                *self.watch.deleted.lock().unwrap_or_else(PoisonError::into_inner) = Some(number);
            }
            match &self.watch.happening {
                Happening::Stop(at, moment) if *at == number => {
                    self.watch.happened(request).await;
                    match moment {
                        Moment::Before => {}
                        Moment::AnswerLost => self.lose_the_answer(request).await,
                        Moment::After => drop(self.inner.send(request).await),
                    }
                    self.watch.stopped.notify_one();
                    std::future::pending::<()>().await;
                }
                Happening::Faults(faults) => {
                    for (_, kind) in faults.iter().filter(|(at, _)| *at == number) {
                        self.watch.happened(request).await;
                        self.inject(kind);
                    }
                }
                Happening::Edit(at, edit) if *at == number => {
                    self.watch.happened(request).await;
                    // It may be refused: the guest may be locked, or not there.
                    let vmid = edit.path.split('/').nth(4).and_then(|vmid| vmid.parse().ok());
                    if self.world.client("production").write(edit).await.is_ok()
                        && let Some(vmid) = vmid
                    {
                        let file = crate::writers::file(&self.world, vmid);
                        *self.watch.edited.lock().unwrap_or_else(PoisonError::into_inner) = file;
                    }
                }
                Happening::SecondApply(at) if *at == number => {
                    self.watch.happened(request).await;
                    drop(Box::pin(self.world.carry_out(&self.plan)).await);
                }
                _ => {}
            }
            let answer = self.inner.send(request).await;
            if std::env::var_os("PVEFLEET_TRACE").is_some() {
                let answer = answer.as_ref().map(|answer| format!("{} {}", answer.status, answer.reason));
                println!("{number} {} {} {:?}: {answer:?}", request.method.as_str(), request.path, request.params);
            }
            answer
        })
    }
}

impl Hooked {
    /// It is carried out at once; how long the answer would have taken matters to nobody.
    async fn lose_the_answer(&self, request: &Request) {
        let _ = tokio::time::timeout(Duration::from_millis(1), self.inner.send(request)).await;
    }

    fn inject(&self, kind: &FaultKind) {
        let mut cluster = lock(&self.world.clusters[&self.cluster]);
        let now = u64::try_from(self.world.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let lasts =
            matches!(kind, FaultKind::NodeOffline { .. } | FaultKind::StorageFull { .. } | FaultKind::QuorumLost);
        let fault = Fault::always(kind.clone());
        cluster.inject(if lasts { fault.between(now, now + FAULT_LASTS) } else { fault.once_after(0) });
    }
}
