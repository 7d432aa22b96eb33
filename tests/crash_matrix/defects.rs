//! Defects, each planted at a seam of a run: between the applier and its clusters, in the plan that it is given, in
//! what it reports. Only tests plant them, and the matrix must notice every one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use pvefleet::apply::{GuestResult, Outcome};
use pvefleet::plan::{Plan, StepKind, Template};
use pvefleet::pve::http::{Method, Request, Response, SendError, Sending, Transport};

use pvefleet::sim::FaultKind;

use crate::runs::Trial;

macro_rules! defects {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// What is done wrongly.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Defect { $($(#[$doc])* $name,)+ }

        impl Defect {
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

defects! {
    /// Every task counts as ended well.
    IgnoreTheExitStatus,
    /// A task that runs counts as ended.
    WaitForNoTask,
    /// A write whose answer was lost is sent again at once.
    ResendAWrite,
    /// Writes go without the digest.
    DropTheDigest,
    /// A read that failed counts as nothing there.
    CountAFailedReadAsAbsent,
    /// Nothing is read twice before the first write.
    SkipTheReRead,
    /// Nobody looks whether a task of an earlier run goes on.
    JoinNothing,
    /// A guest is made without its ownership line.
    MakeWithoutTheLine,
    /// A NIC is written without the MAC address that it has.
    DropTheMac,
    /// Steps promise nothing.
    PromiseNothing,
    /// What failed is told as done.
    TellFailuresAsDone,
    /// A guest that changed meanwhile is told as done.
    TellStaleAsDone,
}

impl Defect {
    /// True for the trials in which this defect may show.
    pub const fn may_show_in(self, trial: &Trial) -> bool {
        match self {
            Self::IgnoreTheExitStatus => matches!(trial, Trial::Fault { kind: FaultKind::TaskFailure { .. }, .. }),
            Self::ResendAWrite => {
                matches!(trial, Trial::Fault { kind: FaultKind::AnswerLost | FaultKind::Hang { .. }, .. })
            }
            Self::CountAFailedReadAsAbsent => matches!(trial, Trial::Fault { kind: FaultKind::Status { .. }, .. }),
            Self::DropTheDigest | Self::TellStaleAsDone => matches!(trial, Trial::Edit { .. }),
            Self::TellFailuresAsDone => matches!(trial, Trial::Fault { .. }),
            Self::SkipTheReRead => matches!(trial, Trial::Crash { .. } | Trial::SecondApply { .. }),
            Self::WaitForNoTask
            | Self::JoinNothing
            | Self::MakeWithoutTheLine
            | Self::DropTheMac
            | Self::PromiseNothing => matches!(trial, Trial::Crash { .. }),
        }
    }

    /// The plan as this defect makes it.
    pub fn in_plan(self, plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        for change in plan.clusters.values_mut().flat_map(|cluster| &mut cluster.changes) {
            for step in &mut change.steps {
                match self {
                    Self::MakeWithoutTheLine if matches!(step.kind, StepKind::Create | StepKind::Clone) => {
                        step.call.params.remove("description");
                    }
                    Self::PromiseNothing => step.expect.clear(),
                    Self::DropTheMac => {
                        for (_, value) in step.call.params.iter_mut().filter(|(name, _)| name.starts_with("net")) {
                            let text = value.to_string();
                            let bridge = text.split(',').find(|part| part.starts_with("bridge=")).unwrap_or_default();
                            *value = Template::text(format!("virtio,{bridge}"));
                        }
                    }
                    _ => {}
                }
            }
        }
        plan
    }

    /// The outcome as this defect tells it.
    pub fn in_outcome(self, outcome: &Outcome) -> Outcome {
        let mut outcome = outcome.clone();
        let lie = match self {
            Self::TellFailuresAsDone => GuestResult::Failed,
            Self::TellStaleAsDone => GuestResult::Stale,
            _ => return outcome,
        };
        for guest in outcome.guests.iter_mut().filter(|guest| guest.result == lie) {
            guest.result = GuestResult::Done;
            guest.left.clear();
        }
        outcome
    }
}

/// A way to a cluster with a defect.
pub struct Defective {
    defect: Defect,
    inner: Arc<dyn Transport>,
    kept: Mutex<BTreeMap<String, Response>>,
    /// Guests that were written to, or that count as gone.
    written: Mutex<BTreeSet<String>>,
}

fn answer(body: &str) -> Response {
    Response { status: 200, reason: "OK".to_owned(), body: body.to_owned() }
}

/// The guest that a path is about: `qemu/100`.
fn guest(path: &str) -> Option<String> {
    let mut parts = path.split('/').skip_while(|part| !matches!(*part, "qemu" | "lxc"));
    Some(format!("{}/{}", parts.next()?, parts.next()?))
}

impl Defective {
    pub fn new(defect: Defect, inner: Arc<dyn Transport>) -> Self {
        Self { defect, inner, kept: Mutex::default(), written: Mutex::default() }
    }
}

impl Transport for Defective {
    fn send<'a>(&'a self, request: &'a Request) -> Sending<'a> {
        Box::pin(async move {
            let reads = request.method == Method::Get;
            let mut request = request.clone();
            let of_task = reads && request.path.contains("/tasks/") && request.path.ends_with("/status");
            let lists_tasks = reads && request.path.ends_with("/tasks");
            let of_guest = guest(&request.path);
            if !reads
                && self.defect == Defect::SkipTheReRead
                && let Some(guest) = &of_guest
            {
                self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(guest.clone());
            }
            match self.defect {
                Defect::DropTheDigest => request.params.retain(|(name, _)| name != "digest"),
                Defect::WaitForNoTask if of_task => {
                    return Ok(answer(r#"{"data":{"status":"stopped","exitstatus":"OK"}}"#));
                }
                Defect::JoinNothing if lists_tasks => return Ok(answer(r#"{"data":[]}"#)),
                Defect::SkipTheReRead if reads => {
                    let untouched = of_guest.as_ref().is_some_and(|guest| {
                        !self.written.lock().unwrap_or_else(PoisonError::into_inner).contains(guest)
                    });
                    let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&request.path).cloned();
                    if let Some(kept) = kept.filter(|_| untouched) {
                        return Ok(kept);
                    }
                }
                _ => {}
            }
            let mut result = self.inner.send(&request).await;
            match (&self.defect, &result) {
                (Defect::SkipTheReRead, Ok(response)) if reads => {
                    let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.insert(request.path.clone(), response.clone());
                }
                (Defect::IgnoreTheExitStatus, Ok(response)) if of_task => {
                    let mut body: serde_json::Value = serde_json::from_str(&response.body).unwrap_or_default();
                    if body["data"]["exitstatus"].is_string() {
                        body["data"]["exitstatus"] = "OK".into();
                    }
                    result = Ok(answer(&body.to_string()));
                }
                (Defect::ResendAWrite, Err(SendError::MaybeApplied(_))) if !reads => {
                    result = self.inner.send(&request).await;
                }
                (Defect::CountAFailedReadAsAbsent, Ok(response)) if reads => {
                    // Who believes it once, believes it of every other source.
                    let mut gone = self.written.lock().unwrap_or_else(PoisonError::into_inner);
                    if response.status >= 400 && of_guest.is_some() {
                        gone.extend(of_guest.clone());
                    }
                    if of_guest.as_ref().is_some_and(|guest| gone.contains(guest)) {
                        let reason = "Configuration file 'nodes/x/qemu-server/1.conf' does not exist".to_owned();
                        result = Ok(Response { status: 500, reason, body: "{\"data\":null}".to_owned() });
                    } else if !gone.is_empty() && request.path == "/cluster/resources" {
                        result = Ok(answer(r#"{"data":[]}"#));
                    }
                }
                _ => {}
            }
            result
        })
    }
}
