//! What comes of a request beside its answer: faults that it meets, and how long a worker takes over it.

use serde::{Deserialize, Serialize};

use super::cluster::{Cluster, IncomingRequest, Millis, Reply};
use super::faults::{Conditions, Effect, FaultKind};
use super::load::{self, ServiceTimes};
use crate::pve::http::Response;

/// What comes of a request, faults of the connection included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// It is answered.
    Answered(Reply),
    /// It does not arrive.
    Refused,
    /// The connection is cut after this time, without an answer.
    Lost(Millis),
    /// No answer ever comes, and the connection stays open.
    Hangs,
}

/// What a fault does to the first lock, or the first task, that the request under way asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Forced {
    /// The lock is not to be had.
    LockTimeout,
    /// The task ends with this exit status.
    Task {
        /// The exit status.
        exit: String,
        /// Whether it does its work all the same.
        effect: Effect,
    },
}

impl Forced {
    /// A task that does nothing and fails.
    pub(super) const fn task(exit: String) -> Self {
        Self::Task { exit, effect: Effect::None }
    }
}

impl Cluster {
    /// Which node carries a request out, for how many microseconds, and after which time it is answered.
    pub(super) fn serve(&mut self, request: &IncomingRequest, now: Millis, waited: Millis) -> (String, u64, Millis) {
        let target = request.path.strip_prefix("/nodes/").and_then(|rest| rest.split('/').next());
        let target = target.filter(|node| self.node_online(node)).unwrap_or(&request.node).to_owned();
        let mut busy = self.spec.latency.saturating_mul(1000);
        let mut workers = self.spec.workers.unwrap_or(0);
        if self.spec.service_times == ServiceTimes::Measured {
            workers = self.spec.workers.unwrap_or(load::WORKERS);
            let passed_on = target != request.node;
            busy += load::service_time(&request.method, &request.path, self.guests.len() as u64, passed_on);
        }
        // A call that waits inside its handler keeps its worker.
        let delay = self.workers.occupy(&target, workers, now, busy.saturating_add(waited.saturating_mul(1000)));
        (target, busy, delay)
    }

    /// The same, with the faults that were set.
    pub fn exchange(&mut self, request: &IncomingRequest, now: Millis) -> Exchange {
        let met = self.meet_faults(request, now);
        let unanswered = |cluster: &mut Self| {
            cluster.advance(now);
            cluster.record(request, now, 0, false, (request.node.clone(), 0, 0));
        };
        match met {
            None => Exchange::Answered(self.handle(request, now)),
            // Nobody listens on a node that is down.
            Some(FaultKind::Refuse) => Exchange::Refused,
            Some(FaultKind::RequestCut) => {
                unanswered(self);
                Exchange::Lost(0)
            }
            Some(FaultKind::AnswerLost) => Exchange::Lost(self.handle(request, now).delay),
            Some(FaultKind::Hang { effect: Effect::None }) => {
                unanswered(self);
                Exchange::Hangs
            }
            Some(FaultKind::Hang { effect: Effect::Done }) => {
                self.handle(request, now);
                Exchange::Hangs
            }
            Some(FaultKind::Slow(more)) => {
                let mut reply = self.handle(request, now);
                reply.delay = reply.delay.saturating_add(more);
                Exchange::Answered(reply)
            }
            Some(FaultKind::LockTimeout) => {
                self.forced = Some(Forced::LockTimeout);
                Exchange::Answered(self.handle(request, now))
            }
            Some(FaultKind::TaskFailure { exit, effect }) => {
                self.forced = Some(Forced::Task { exit, effect });
                Exchange::Answered(self.handle(request, now))
            }
            Some(FaultKind::TicketExpired) => {
                self.advance(now);
                let token = request.authorization.as_deref().is_some_and(|text| text.starts_with("PVEAPIToken"));
                let reason = if token { "Authentication failed!" } else { "permission denied - invalid PVE ticket" };
                self.record(request, now, 401, false, (request.node.clone(), 0, 0));
                let response = Response { status: 401, reason: reason.to_owned(), body: String::new() };
                Exchange::Answered(Reply { response, delay: self.spec.unauthorized_delay })
            }
            Some(FaultKind::Status { code, text, effect }) => {
                let delay = match effect {
                    Effect::None => {
                        self.advance(now);
                        self.record(request, now, code, false, (request.node.clone(), 0, 0));
                        0
                    }
                    Effect::Done => self.handle(request, now).delay,
                };
                let body = serde_json::json!({ "data": null, "message": format!("{text}\n") }).to_string();
                Exchange::Answered(Reply { response: Response { status: code, reason: text, body }, delay })
            }
            // Conditions are the cluster's, not a request's.
            Some(FaultKind::NodeOffline { .. } | FaultKind::StorageFull { .. } | FaultKind::QuorumLost) => {
                Exchange::Answered(self.handle(request, now))
            }
        }
    }

    /// Brings about what is wrong with the cluster at this request, and says what goes wrong with the request.
    fn meet_faults(&mut self, request: &IncomingRequest, now: Millis) -> Option<FaultKind> {
        if !self.faults.is_empty() || self.conditions != Conditions::default() {
            for at in self.faults.edges(self.clock, now) {
                self.advance(at);
                let conditions = self.faults.conditions(None, at);
                self.suffer(conditions);
            }
            let at = now.max(self.clock);
            let conditions = self.faults.conditions(Some((&request.method, &request.path)), at);
            self.suffer(conditions);
            if let Some(kind) = self.faults.meet(&request.method, &request.path, at) {
                return Some(kind);
            }
        }
        (!self.node_online(&request.node)).then_some(FaultKind::Refuse)
    }

    /// Makes the cluster as wrong as faults want it, and mends what they no longer do.
    pub(super) fn suffer(&mut self, conditions: Conditions) {
        let before = std::mem::replace(&mut self.conditions, conditions);
        for node in before.offline.difference(&self.conditions.offline.clone()) {
            self.set_node_online(node, true);
        }
        for node in self.conditions.offline.clone().difference(&before.offline) {
            self.set_node_online(node, false);
        }
        self.storages.full.clone_from(&self.conditions.full);
    }

    /// True while more than half of the nodes hear each other.
    pub(super) fn has_quorum(&self) -> bool {
        let online = self.spec.nodes.iter().filter(|node| node.online).count();
        self.quorate && !self.conditions.no_quorum && (self.spec.standalone || online * 2 > self.spec.nodes.len())
    }
}
