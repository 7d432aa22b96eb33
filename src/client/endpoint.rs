//! The addresses of one cluster: which rests, which node is behind it, who is asked first.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::backoff::Schedule;

/// One address of the cluster.
pub(crate) struct Endpoint {
    /// `https://host:8006`.
    pub(crate) base: String,
    /// `host:8006`, for people.
    pub(crate) host: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Failures in a row.
    failures: u32,
    /// It failed; others are asked first until then.
    rests_until: Option<Instant>,
    behind: Behind,
}

/// The node that answers at an address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Behind {
    #[default]
    Unknown,
    /// It is being asked.
    Asked,
    Node(String),
    /// It was asked, and does not say.
    Untold,
}

impl Endpoint {
    pub(crate) fn new(base: &str) -> Self {
        let base = base.trim_end_matches('/');
        let host = base.split_once("://").map_or(base, |(_, rest)| rest);
        Self { base: base.to_owned(), host: host.to_owned(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True where this node answers here, as it said itself; before it was asked, where the address begins with the
    /// node's name, as `pve1.example:8006` does with `pve1`.
    pub(crate) fn is_node(&self, node: &str) -> bool {
        if let Behind::Node(known) = &self.state().behind {
            return known == node;
        }
        self.host.split(['.', ':', '/']).next().is_some_and(|label| label.eq_ignore_ascii_case(node))
    }

    #[cfg(test)]
    pub(crate) fn rests(&self) -> bool {
        self.state().rests_until.is_some_and(|until| Instant::now() < until)
    }

    /// It failed: it rests, longer each time.
    pub(crate) fn failed(&self, rest: Schedule) {
        let mut state = self.state();
        let wait = rest.wait(state.failures);
        state.failures = state.failures.saturating_add(1);
        state.rests_until = Instant::now().checked_add(wait);
    }

    /// It answered.
    pub(crate) fn answered(&self) {
        let mut state = self.state();
        (state.failures, state.rests_until) = (0, None);
    }

    /// True once: whoever gets it asks for the node behind.
    pub(crate) fn begin_asking(&self) -> bool {
        let mut state = self.state();
        let free = state.behind == Behind::Unknown && state.rests_until.is_none();
        if free {
            state.behind = Behind::Asked;
        }
        free
    }

    /// What asking gave: an answer of `/cluster/status`, or nothing where none came and it is worth asking again.
    pub(crate) fn learn(&self, answer: Option<&Value>) {
        self.state().behind = match answer {
            None => Behind::Unknown,
            Some(answer) => local_node(answer).map_or(Behind::Untold, Behind::Node),
        };
    }

    /// True where nothing is to be learnt any more.
    #[cfg(test)]
    pub(crate) fn is_learnt(&self) -> bool {
        !matches!(self.state().behind, Behind::Unknown | Behind::Asked)
    }
}

/// The endpoints in the order in which they are asked: those that do not rest, the node's own before others.
///
/// A node answers for itself four times as fast as another node that has to ask it.
pub(crate) fn in_order<'a>(endpoints: &'a [Endpoint], node: Option<&str>) -> Vec<&'a Endpoint> {
    let mut ordered: Vec<&Endpoint> = endpoints.iter().collect();
    ordered.sort_by_cached_key(|endpoint| {
        let until = endpoint.state().rests_until.filter(|until| Instant::now() < *until);
        (until, !node.is_some_and(|node| endpoint.is_node(node)))
    });
    ordered
}

/// The node that answered `/cluster/status`: its row says that it is the local one.
fn local_node(answer: &Value) -> Option<String> {
    let is_local = |row: &&Value| {
        row["type"] == "node" && row.get("local").is_some_and(|local| *local == 1 || *local == "1" || *local == true)
    };
    answer.as_array()?.iter().find(is_local)?.get("name")?.as_str().map(str::to_owned)
}

/// The waits of an endpoint that fails again and again.
pub(crate) const REST: Schedule = Schedule { first: Duration::from_secs(5), longest: Duration::from_secs(300) };

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hosts(endpoints: &[Endpoint], node: Option<&str>) -> Vec<String> {
        in_order(endpoints, node).iter().map(|endpoint| endpoint.host.clone()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_is_asked_last_and_longer_each_time() {
        let endpoints = ["https://a:1", "https://b:1", "https://c:1"].map(Endpoint::new);
        assert_eq!(hosts(&endpoints, None), ["a:1", "b:1", "c:1"]);
        endpoints[1].failed(REST);
        endpoints[0].failed(REST);
        endpoints[0].failed(REST);
        // Where all but one rest, the one that rests shortest comes next.
        assert_eq!(hosts(&endpoints, Some("a")), ["c:1", "b:1", "a:1"]);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(hosts(&endpoints, None), ["b:1", "c:1", "a:1"]);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(hosts(&endpoints, None), ["a:1", "b:1", "c:1"]);
        endpoints[0].answered();
        endpoints[0].failed(REST);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(!endpoints[0].rests());
    }

    #[test]
    fn the_node_behind_an_address_is_what_it_says() {
        let endpoint = Endpoint::new("https://PVE1.example:8006/");
        assert!(endpoint.is_node("pve1") && !Endpoint::new("https://[::1]:8006").is_node("pve1"));
        assert!(endpoint.begin_asking() && !endpoint.begin_asking());
        endpoint.learn(None);
        assert!(endpoint.begin_asking());
        endpoint.learn(Some(&json!([
            {"type": "cluster", "name": "c"}, {"type": "node", "name": "pve1", "local": 0},
            {"type": "node", "name": "pve7", "local": "1"},
        ])));
        assert!(endpoint.is_node("pve7") && !endpoint.is_node("pve1") && !endpoint.begin_asking());
    }
}
