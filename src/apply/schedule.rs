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
    /// How long it may take, in units that are comparable.
    pub(super) length: u64,
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
    in_all: usize,
    /// The entries that each needs; what the plan does not name is there already.
    needed: Vec<Vec<usize>>,
    /// All entries, those first that should begin first.
    order: Vec<usize>,
}

impl Queue {
    /// A queue in the plan's order, in which the longest chains begin first where several may run at once.
    pub(super) fn new(entries: Vec<Entry>, in_all: usize) -> Self {
        let mut named: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            named.entry((&entry.cluster, &entry.name)).or_default().push(index);
        }
        let needed: Vec<Vec<usize>> = entries
            .iter()
            .enumerate()
            .map(|(index, entry)| {
                let others = entry.after.iter().filter_map(|name| named.get(&(entry.cluster.as_str(), name.as_str())));
                others.flatten().copied().filter(|other| *other != index).collect()
            })
            .collect();
        let chains = chains(&entries, &needed);
        let mut order: Vec<usize> = (0..entries.len()).collect();
        if in_all > 1 {
            // Stable: of equals the plan's first.
            order.sort_by_key(|index| std::cmp::Reverse(chains.get(*index).copied().unwrap_or(0)));
        }
        Self { entries, in_all: in_all.max(1), needed, order }
    }

    /// The next change to begin or to skip. `may` says whether one that could begin finds its gates open, and passes.
    pub(super) fn next(&self, mut may: impl FnMut(usize) -> bool) -> Next {
        let mut running: BTreeMap<&str, usize> = BTreeMap::new();
        for entry in self.entries.iter().filter(|entry| entry.status == Status::Running) {
            *running.entry(&entry.cluster).or_default() += 1;
        }
        let in_all: usize = running.values().sum();
        let mut ready = Vec::new();
        for index in self.order.iter().copied().filter(|index| self.entries[*index].status == Status::Queued) {
            let mut waits = false;
            for other in &self.needed[index] {
                match self.entries[*other].status {
                    Status::Ended(true) => {}
                    Status::Ended(false) => {
                        return Next::Skip(index, format!("'{}' is not done", self.entries[*other].name));
                    }
                    Status::Queued | Status::Running => waits = true,
                }
            }
            if !waits {
                ready.push(index);
            }
        }
        if in_all < self.in_all {
            // Clusters share the places, whatever is to be done in them; the sort is stable.
            ready.sort_by_key(|index| running.get(self.entries[*index].cluster.as_str()).copied().unwrap_or(0));
            if let Some(index) = ready.iter().copied().find(|index| may(*index)) {
                return Next::Begin(index);
            }
        }
        let stuck = if in_all == 0 && ready.is_empty() {
            self.entries.iter().position(|entry| entry.status == Status::Queued)
        } else {
            None
        };
        match stuck {
            Some(index) => Next::Skip(index, "it waits for a guest that waits for it".to_owned()),
            None => Next::Wait,
        }
    }
}

/// The length of each entry with the longest chain of those that need it.
fn chains(entries: &[Entry], needed: &[Vec<usize>]) -> Vec<u64> {
    let mut chains: Vec<u64> = entries.iter().map(|entry| entry.length).collect();
    // Each round carries lengths one link further; in a ring they would go round for ever.
    for _ in 0..entries.len() {
        let mut changed = false;
        for (index, others) in needed.iter().enumerate() {
            for other in others {
                let through = entries[*other].length.saturating_add(chains[index]);
                if through > chains[*other] {
                    chains[*other] = through;
                    changed = true;
                }
            }
        }
        if !changed {
            break;
        }
    }
    chains
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
            length: 1,
        }
    }

    /// Begins all that may begin; their names.
    fn begin(queue: &mut Queue, may: impl Fn(&str) -> bool) -> Vec<String> {
        let mut begun = Vec::new();
        while let Next::Begin(index) = queue.next(|index| may(&queue.entries[index].name)) {
            queue.entries[index].status = Status::Running;
            begun.push(queue.entries[index].name.clone());
        }
        begun
    }

    fn end(queue: &mut Queue, name: &str) {
        let ended = queue.entries.iter_mut().find(|entry| entry.name == name);
        ended.unwrap().status = Status::Ended(true);
    }

    #[test]
    fn a_guest_begins_when_what_it_needs_is_done() {
        let mut queue = Queue::new(vec![entry("a", "db", &[]), entry("a", "web", &["db", "not in the plan"])], 8);
        assert_eq!(queue.next(|_| true), Next::Begin(0));
        queue.entries[0].status = Status::Running;
        assert_eq!(queue.next(|_| true), Next::Wait);
        queue.entries[0].status = Status::Ended(true);
        assert_eq!(queue.next(|_| true), Next::Begin(1));
        queue.entries[0].status = Status::Ended(false);
        assert_eq!(queue.next(|_| true), Next::Skip(1, "'db' is not done".to_owned()));
    }

    #[test]
    fn clusters_share_the_places() {
        let mut entries: Vec<Entry> = (0..6).map(|n| entry("a", &n.to_string(), &[])).collect();
        entries.extend([entry("b", "x", &["0"]), entry("b", "y", &[])]);
        let mut queue = Queue::new(entries, 5);
        assert_eq!(begin(&mut queue, |_| true), ["0", "x", "1", "y", "2"]);
        assert_eq!(queue.next(|_| true), Next::Wait);
        end(&mut queue, "x");
        assert_eq!(begin(&mut queue, |_| true), ["3"]);
    }

    #[test]
    fn the_longest_chain_begins_first_and_never_before_what_it_needs() {
        let mut entries = vec![
            entry("a", "small", &[]),
            entry("a", "large", &[]),
            entry("a", "base", &[]),
            entry("a", "on-base", &["base"]),
            entry("a", "on-that", &["on-base"]),
        ];
        for (entry, length) in entries.iter_mut().zip([1, 30, 2, 20, 20]) {
            entry.length = length;
        }
        let mut queue = Queue::new(entries.clone(), 2);
        assert_eq!(begin(&mut queue, |_| true), ["base", "large"]);
        end(&mut queue, "base");
        assert_eq!(begin(&mut queue, |_| true), ["on-base"]);
        end(&mut queue, "large");
        assert_eq!(begin(&mut queue, |_| true), ["small"]);
        // One after the other the whole takes as long in any order: that of the plan is kept.
        let mut queue = Queue::new(entries, 1);
        let mut all = Vec::new();
        while let [one] = &begin(&mut queue, |_| true)[..] {
            end(&mut queue, one);
            all.push(one.clone());
        }
        assert_eq!(all, ["small", "large", "base", "on-base", "on-that"]);
    }

    #[test]
    fn who_finds_a_gate_closed_is_in_nobodys_way() {
        let mut queue = Queue::new(["clone-1", "clone-2", "set"].map(|name| entry("a", name, &[])).into(), 8);
        assert_eq!(begin(&mut queue, |name| name != "clone-2"), ["clone-1", "set"]);
        assert_eq!(queue.next(|_| false), Next::Wait);
        end(&mut queue, "clone-1");
        end(&mut queue, "set");
        assert_eq!(queue.next(|_| false), Next::Wait, "somebody is on the way through it yet");
        assert_eq!(begin(&mut queue, |_| true), ["clone-2"]);
    }

    #[test]
    fn a_ring_ends() {
        let queue = Queue::new(vec![entry("a", "x", &["y"]), entry("a", "y", &["x"]), entry("a", "z", &["z"])], 8);
        assert_eq!(queue.next(|_| true), Next::Begin(2), "nobody waits for itself");
        let queue = Queue::new(vec![entry("a", "x", &["y"]), entry("a", "y", &["x"])], 8);
        assert!(matches!(queue.next(|_| true), Next::Skip(0, _)));
    }
}
