//! Faults, as data: what goes wrong with which request, and what is wrong with the cluster for a while.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::chance::Chance;
use super::cluster::Millis;

/// Something that goes wrong: with some requests, or with the cluster while some requests come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Only in this cluster; in every one where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Only with this method, `PUT`; any where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Which paths, below `/api2/json`; `*` stands for any text: `/nodes/*/qemu/*/config`.
    #[serde(default = "anything")]
    pub path: String,
    /// How many matching requests pass first.
    #[serde(default)]
    pub skip: u32,
    /// How many are then met; all where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// The chance that a matching request is met, 0 to 1; the seed decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub chance: Option<f64>,
    /// From this time on, in milliseconds since the cluster began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Millis>,
    /// Until this time, in milliseconds since the cluster began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
    /// What happens.
    pub kind: FaultKind,
}

/// The faults of a fault file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultFile {
    /// The faults; of those that fit a request, the first decides.
    pub faults: Vec<Fault>,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The connection is refused: nothing arrives.
    Refuse,
    /// The connection is cut before the request is carried out; the client cannot know.
    RequestCut,
    /// The request is carried out, and the connection is cut before the answer.
    AnswerLost,
    /// No answer ever comes; the connection stays open until the client gives up.
    Hang {
        /// Whether the request is carried out.
        #[serde(default)]
        effect: Effect,
    },
    /// Another answer comes.
    Status {
        /// Its status code.
        #[schemars(range(min = 200, max = 599))]
        code: u16,
        /// Its reason and message.
        text: String,
        /// Whether the request is carried out.
        #[serde(default)]
        effect: Effect,
    },
    /// The answer comes late by so many milliseconds.
    Slow(Millis),
    /// Somebody else holds the guest's lock: the call, or the task that it starts, gives up after ten seconds.
    /// Calls that take no lock of a guest are not met.
    LockTimeout,
    /// The task that the call starts ends with this exit status. Calls that start none are not met.
    TaskFailure {
        /// Its exit status, in Proxmox's words: `clone failed: …`.
        exit: String,
        /// Whether the task had done its work by then; else it cleans up what it had begun.
        #[serde(default)]
        effect: Effect,
    },
    /// The credential counts for nothing: 401.
    TicketExpired,
    /// A node is down while the fault lasts.
    NodeOffline {
        /// The node.
        node: String,
    },
    /// Nothing more can be allocated on a storage while the fault lasts.
    StorageFull {
        /// The storage.
        storage: String,
    },
    /// The cluster has no majority while the fault lasts: it can be read and not be written.
    QuorumLost,
}

/// Whether a request that is answered wrongly was carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It was not.
    #[default]
    None,
    /// It was.
    Done,
}

/// What is wrong with a cluster for the time being.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Conditions {
    pub(super) offline: BTreeSet<String>,
    pub(super) full: BTreeSet<String>,
    pub(super) no_quorum: bool,
}

fn anything() -> String {
    "*".to_owned()
}

impl Fault {
    /// A fault of every request with this method whose path fits.
    #[must_use]
    pub fn new(method: &str, path: &str, kind: FaultKind) -> Self {
        Self { method: Some(method.to_owned()), path: path.to_owned(), ..Self::always(kind) }
    }

    /// A fault of every request, or of the cluster all the time.
    #[must_use]
    pub fn always(kind: FaultKind) -> Self {
        let (cluster, method, times, chance, from, until) = (None, None, None, None, None, None);
        Self { cluster, method, path: anything(), skip: 0, times, chance, from, until, kind }
    }

    /// The same for one request: the one after so many that pass.
    #[must_use]
    pub const fn once_after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self.times = Some(1);
        self
    }

    /// The same between two times.
    #[must_use]
    pub const fn between(mut self, from: Millis, until: Millis) -> Self {
        self.from = Some(from);
        self.until = Some(until);
        self
    }

    fn fits(&self, method: &str, path: &str) -> bool {
        let by_method = self.method.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method));
        by_method && glob(&self.path, path) && self.kind.can_meet(method, path)
    }

    /// True where the request of this number, counted from zero, is met at this time.
    fn holds(&self, number: u32, at: Millis) -> bool {
        let by_number = number >= self.skip && self.times.is_none_or(|times| number - self.skip < times);
        let by_time = self.from.is_none_or(|from| at >= from) && self.until.is_none_or(|until| at < until);
        by_number && by_time
    }
}

impl FaultKind {
    /// True for what is wrong with the cluster and not with one request.
    const fn is_condition(&self) -> bool {
        matches!(self, Self::NodeOffline { .. } | Self::StorageFull { .. } | Self::QuorumLost)
    }

    /// A lock is taken by writes to guests alone, and only writes start tasks.
    fn can_meet(&self, method: &str, path: &str) -> bool {
        match self {
            Self::LockTimeout => method != "GET" && (path.contains("/qemu") || path.contains("/lxc")),
            Self::TaskFailure { .. } => method != "GET",
            _ => true,
        }
    }
}

/// The faults of a cluster, with how many requests each has seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Faults {
    list: Vec<(Fault, u32)>,
    chance: Chance,
}

impl Faults {
    pub(super) const fn new(seed: u64) -> Self {
        // Its own stream: a fault that was rolled for must not change what the cluster makes by chance.
        Self { list: Vec::new(), chance: Chance::new(seed ^ 0xFA17) }
    }

    pub(super) fn add(&mut self, fault: Fault) {
        self.list.push((fault, 0));
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
    }

    /// Replaces the faults; what was there already goes on counting where it was.
    pub(super) fn replace(&mut self, faults: Vec<Fault>) {
        let mut old = std::mem::take(&mut self.list);
        for fault in faults {
            let known = old.iter().position(|(other, _)| *other == fault).map(|index| old.swap_remove(index));
            self.list.push(known.unwrap_or((fault, 0)));
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The times between two at which a condition begins or ends.
    pub(super) fn edges(&self, after: Millis, until: Millis) -> Vec<Millis> {
        let conditions = self.list.iter().filter(|(fault, _)| fault.kind.is_condition());
        let mut edges: Vec<Millis> = conditions
            .flat_map(|(fault, _)| [fault.from, fault.until])
            .flatten()
            .filter(|at| *at > after && *at <= until)
            .collect();
        edges.sort_unstable();
        edges.dedup();
        edges
    }

    /// What is wrong at a time, for a request or between two.
    pub(super) fn conditions(&mut self, request: Option<(&str, &str)>, at: Millis) -> Conditions {
        let mut now = Conditions::default();
        for (fault, seen) in self.list.iter_mut().filter(|(fault, _)| fault.kind.is_condition()) {
            let number = *seen;
            match request {
                Some((method, path)) if !fault.fits(method, path) => continue,
                Some(_) => *seen = seen.saturating_add(1),
                None => {}
            }
            if !fault.holds(number, at) || !rolled(&mut self.chance, fault) {
                continue;
            }
            match &fault.kind {
                FaultKind::NodeOffline { node } => drop(now.offline.insert(node.clone())),
                FaultKind::StorageFull { storage } => drop(now.full.insert(storage.clone())),
                FaultKind::QuorumLost => now.no_quorum = true,
                _ => {}
            }
        }
        now
    }

    /// What happens to this request; the first fault that meets it decides.
    pub(super) fn meet(&mut self, method: &str, path: &str, at: Millis) -> Option<FaultKind> {
        for (fault, seen) in self.list.iter_mut().filter(|(fault, _)| !fault.kind.is_condition()) {
            if fault.fits(method, path) {
                let number = *seen;
                *seen = seen.saturating_add(1);
                if fault.holds(number, at) && rolled(&mut self.chance, fault) {
                    return Some(fault.kind.clone());
                }
            }
        }
        None
    }
}

fn rolled(chance: &mut Chance, fault: &Fault) -> bool {
    fault.chance.is_none_or(|wanted| chance.fraction() < wanted)
}

/// Matches a text with `*` for any part of it, in time that grows with both lengths and no faster.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|head| text.strip_prefix(head)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(list: &[Fault]) -> Faults {
        let mut faults = Faults::new(1);
        faults.replace(list.to_vec());
        faults
    }

    #[test]
    fn a_fault_meets_the_requests_it_names() {
        let mut faults = faults(&[Fault::new("PUT", "/nodes/*/config", FaultKind::Refuse).once_after(1)]);
        assert_eq!(faults.meet("GET", "/nodes/a/qemu/100/config", 0), None);
        assert_eq!(faults.meet("PUT", "/nodes/a/qemu/100/config", 0), None);
        assert_eq!(faults.meet("PUT", "/nodes/a/qemu/100/config", 0), Some(FaultKind::Refuse));
        assert_eq!(faults.meet("PUT", "/nodes/a/qemu/100/config", 0), None);
        for (pattern, text, fits) in [
            ("*", "", true),
            ("/a*c", "/abc", true),
            ("/a*c", "/abd", false),
            ("/a*c*e", "/abcbcde", true),
            ("/a", "/ab", false),
            ("*/config", "/nodes/a/qemu/1/config/config", true),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn a_window_of_time_and_a_chance_are_kept() {
        let timed = Fault::always(FaultKind::QuorumLost).between(1000, 2000);
        let mut faults = faults(&[timed]);
        assert_eq!(faults.edges(0, 5000), [1000, 2000]);
        let lost = |faults: &mut Faults, at| faults.conditions(Some(("GET", "/version")), at).no_quorum;
        assert!(!lost(&mut faults, 999) && lost(&mut faults, 1000) && !lost(&mut faults, 2000));
        let half = Fault { chance: Some(0.5), ..Fault::always(FaultKind::Refuse) };
        let met = |seed| {
            let mut faults = Faults::new(seed);
            faults.add(half.clone());
            (0..1000).map(|_| faults.meet("GET", "/version", 0).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(met(1), met(1));
        assert_ne!(met(1), met(2));
        let often = met(3).into_iter().filter(|met| *met).count();
        assert!((400..600).contains(&often), "{often}");
    }

    #[test]
    fn what_was_counted_goes_on_when_faults_are_given_again() {
        let fault = Fault::new("GET", "*", FaultKind::Refuse).once_after(1);
        let mut faults = faults(std::slice::from_ref(&fault));
        assert_eq!(faults.meet("GET", "/version", 0), None);
        faults.replace(vec![fault]);
        assert_eq!(faults.meet("GET", "/version", 0), Some(FaultKind::Refuse));
    }
}
