//! What a call costs a node: how long it keeps one of its workers, and how long it waits for one.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cluster::Millis;

/// How long calls keep a worker, beside the latency that was set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTimes {
    /// No time at all.
    #[default]
    None,
    /// As long as one client saw it take on a Proxmox VE 9.1.9 node with two shared cores.
    Measured,
}

/// The workers of a node where service times are simulated and no number is set; `pveproxy` has three.
pub(super) const WORKERS: u32 = 3;

/// Passing a call on to the guest's own node: a connection, TLS, and the way back.
const PASSED_ON: u64 = 6_800;

/// Microseconds that a call keeps a worker, by what was measured: `(calls, each, for every guest that is listed)`.
///
/// A call that was not measured counts as the nearest one that was.
pub(super) fn service_time(method: &str, path: &str, guests: u64, passed_on: bool) -> u64 {
    let last = path.rsplit('/').next().unwrap_or_default();
    let parts = path.split('/').count();
    let (fixed, for_each) = match (method, last) {
        ("GET", "resources") => (2_400, 46),
        ("GET", "qemu" | "lxc") if parts == 4 => (50_000, 131),
        ("GET", "current") => (12_700, 0),
        ("GET", "content") => (120_000, 0),
        ("GET", "pending") => (2_200, 0),
        ("GET", _) => (1_700, 0),
        _ => (26_000, 0),
    };
    fixed + for_each * guests + if passed_on { PASSED_ON } else { 0 }
}

/// When each worker of each node is free again, in microseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Workers(BTreeMap<String, Vec<u64>>);

impl Workers {
    /// Takes the worker that is free first; how long after its coming the request is done.
    pub(super) fn occupy(&mut self, node: &str, count: u32, now: Millis, microseconds: u64) -> Millis {
        let now = now.saturating_mul(1000);
        // As many workers as requests: nobody waits.
        if count == 0 || microseconds == 0 {
            return microseconds.div_ceil(1000);
        }
        if !self.0.contains_key(node) {
            self.0.insert(node.to_owned(), Vec::new());
        }
        let Some(workers) = self.0.get_mut(node) else { return 0 };
        workers.resize(usize::try_from(count).unwrap_or(1), 0);
        let Some(free) = workers.iter_mut().min() else { return 0 };
        *free = (*free).max(now).saturating_add(microseconds);
        (*free - now).div_ceil(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_wait_for_a_worker() {
        let mut workers = Workers::default();
        let done: Vec<Millis> = (0..6).map(|_| workers.occupy("a", 3, 100, 10_000)).collect();
        assert_eq!(done, [10, 10, 10, 20, 20, 20]);
        assert_eq!(workers.occupy("b", 3, 100, 10_000), 10, "each node has its own");
        assert_eq!(workers.occupy("a", 3, 500, 1_500), 2, "free again");
        assert_eq!(workers.occupy("a", 0, 500, 1_500), 2, "no limit");
    }

    #[test]
    fn the_measured_times_are_those_that_were_seen() {
        let rounded = |path: &str, guests| service_time("GET", path, guests, false).div_ceil(1000);
        assert_eq!((rounded("/cluster/resources", 100), rounded("/cluster/resources", 1000)), (7, 49));
        assert_eq!((rounded("/nodes/a/qemu", 100), rounded("/nodes/a/qemu", 1000)), (64, 181));
        assert_eq!(rounded("/nodes/a/qemu/100/config", 100), 2);
        assert_eq!(service_time("GET", "/nodes/b/qemu/100/config", 0, true).div_ceil(1000), 9);
        assert_eq!(service_time("PUT", "/nodes/a/qemu/100/config", 0, false), 26_000);
    }
}
