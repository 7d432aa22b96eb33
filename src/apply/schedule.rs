//! Which change may begin next: a pure queue over the plan's order, its dependencies and the limits.

use std::collections::BTreeMap;

/// One change that takes part.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) cluster: String,
    pub(super) name: String,
    /// Names of guests of the same cluster that must be done before.
    pub(super) after: Vec<String>,
    pub(super) status: Status,
}

/// How far a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Queued,
    Running,
    /// Ended; true when others may build on it.
    Ended(bool),
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Begin this one.
    Begin(usize),
    /// This one will never begin; why.
    Skip(usize, String),
    /// Nothing before something ends.
    Wait,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) entries: Vec<Entry>,
    /// Guests at once in all.
    pub(super) in_all: usize,
    /// Guests at once in one cluster.
    pub(super) per_cluster: usize,
}

impl Queue {
    /// The next change to begin or to skip.
    pub(super) fn next(&self) -> Next {
        let mut running: BTreeMap<&str, usize> = BTreeMap::new();
        for entry in self.entries.iter().filter(|entry| entry.status == Status::Running) {
            *running.entry(&entry.cluster).or_default() += 1;
        }
        let in_all: usize = running.values().sum();
        for (index, entry) in self.entries.iter().enumerate().filter(|(_, entry)| entry.status == Status::Queued) {
            let mut waits = false;
            for needed in &entry.after {
                // What the plan does not name is there already.
                let others = self.entries.iter().enumerate().filter(|(other, candidate)| {
                    *other != index && candidate.cluster == entry.cluster && candidate.name == *needed
                });
                for (_, other) in others {
                    match other.status {
                        Status::Ended(true) => {}
                        Status::Ended(false) => return Next::Skip(index, format!("'{needed}' is not done")),
                        Status::Queued | Status::Running => waits = true,
                    }
                }
            }
            let here = running.get(entry.cluster.as_str()).copied().unwrap_or_default();
            if !waits && in_all < self.in_all.max(1) && here < self.per_cluster.max(1) {
                return Next::Begin(index);
            }
        }
        let stuck =
            if in_all == 0 { self.entries.iter().position(|entry| entry.status == Status::Queued) } else { None };
        match stuck {
            Some(index) => Next::Skip(index, "it waits for a guest that waits for it".to_owned()),
            None => Next::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(cluster: &str, name: &str, after: &[&str]) -> Entry {
        Entry {
            cluster: cluster.to_owned(),
            name: name.to_owned(),
            after: after.iter().map(|name| (*name).to_owned()).collect(),
            status: Status::Queued,
        }
    }

    fn queue(entries: Vec<Entry>) -> Queue {
        Queue { entries, in_all: 8, per_cluster: 4 }
    }

    #[test]
    fn a_guest_begins_when_what_it_needs_is_done() {
        let mut queue = queue(vec![entry("a", "db", &[]), entry("a", "web", &["db", "not in the plan"])]);
        assert_eq!(queue.next(), Next::Begin(0));
        queue.entries[0].status = Status::Running;
        assert_eq!(queue.next(), Next::Wait);
        queue.entries[0].status = Status::Ended(true);
        assert_eq!(queue.next(), Next::Begin(1));
        queue.entries[0].status = Status::Ended(false);
        assert_eq!(queue.next(), Next::Skip(1, "'db' is not done".to_owned()));
    }

    #[test]
    fn clusters_are_independent_and_limited() {
        let mut queue = queue((0..6).map(|n| entry("a", &n.to_string(), &[])).collect());
        queue.entries.push(entry("b", "x", &["0"]));
        for begun in [0, 1, 2, 3, 6] {
            assert_eq!(queue.next(), Next::Begin(begun));
            queue.entries[begun].status = Status::Running;
        }
        assert_eq!(queue.next(), Next::Wait);
        queue.in_all = 5;
        queue.entries[0].status = Status::Ended(true);
        assert_eq!(queue.next(), Next::Begin(4));
        queue.entries[4].status = Status::Running;
        queue.entries[1].status = Status::Ended(true);
        queue.in_all = 4;
        assert_eq!(queue.next(), Next::Wait);
    }

    #[test]
    fn a_ring_ends() {
        let queue = queue(vec![entry("a", "x", &["y"]), entry("a", "y", &["x"])]);
        assert!(matches!(queue.next(), Next::Skip(0, _)));
    }
}
