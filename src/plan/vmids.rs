//! New guest ids: the smallest free one above the highest in use that no volume and no backup bears.

use std::collections::BTreeSet;

use crate::clusters::VmidRange;
use crate::desired::DesiredCluster;
use crate::live::{LiveCluster, Read};
use crate::pve::value::Vmid;

/// Hands out ids of one cluster, each once.
pub struct NewIds {
    first: u32,
    last: u32,
    taken: BTreeSet<u32>,
    /// Free, but volumes or backups of a guest that is gone bear them.
    left_over: BTreeSet<u32>,
    /// Storages whose volumes could not be seen, with the reason.
    unseen: Vec<(String, String)>,
}

impl NewIds {
    /// Everything that is in use, named by the manifest, or known to be taken is never handed out.
    pub fn new(desired: &DesiredCluster, live: &LiveCluster) -> Self {
        let range = desired.vmids.map(|VmidRange { first, last }| (first.get(), last.get()));
        let (first, last) = range.unwrap_or((Vmid::MIN, Vmid::MAX));
        let mut taken: BTreeSet<u32> = live.guests.keys().map(|vmid| vmid.get()).collect();
        taken.extend(desired.guests.iter().filter_map(|guest| guest.vmid).map(Vmid::get));
        taken.extend(live.free_ids.iter().filter(|(_, free)| **free == Read::Known(false)).map(|(vmid, _)| vmid.get()));
        let left_over = live.volume_ids.values().filter_map(Read::known).flatten().map(|vmid| vmid.get()).collect();
        let unread = live.volume_ids.iter().filter_map(|(place, ids)| Some((place.clone(), ids.unread()?.to_owned())));
        Self { first, last, taken, left_over, unseen: unread.collect() }
    }

    /// What those who read the plan should know of an id that was handed out.
    pub fn doubt(&self) -> Option<String> {
        let (place, why) = self.unseen.first()?;
        Some(format!("whether volumes of a former guest bear its id could not be seen on {place}: {why}"))
    }

    /// The next id; nothing when the range is full.
    pub fn next(&mut self) -> Option<Vmid> {
        let highest = self.taken.range(self.first..=self.last).next_back().copied();
        let above = highest.map_or(self.first, |highest| highest.saturating_add(1));
        let is_free = |id: &u32| !self.taken.contains(id) && !self.left_over.contains(id);
        let next = (above..=self.last).find(is_free).or_else(|| (self.first..=self.last).find(is_free))?;
        self.taken.insert(next);
        Vmid::new(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(first: u32, last: u32, taken: &[u32]) -> NewIds {
        let taken = taken.iter().copied().collect();
        NewIds { first, last, taken, left_over: BTreeSet::new(), unseen: Vec::new() }
    }

    #[test]
    fn above_the_highest_and_around_only_when_full() {
        let mut ids = ids(1000, 1004, &[100, 1002, 9000]);
        let next: Vec<u32> = std::iter::from_fn(|| ids.next()).map(Vmid::get).collect();
        assert_eq!(next, [1003, 1004, 1000, 1001]);
    }

    #[test]
    fn ids_that_volumes_bear_are_skipped() {
        let mut ids = ids(1000, 1004, &[1001]);
        ids.left_over = BTreeSet::from([1000, 1002]);
        let next: Vec<u32> = std::iter::from_fn(|| ids.next()).map(Vmid::get).collect();
        assert_eq!(next, [1003, 1004]);
    }

    #[test]
    fn an_empty_range_begins_at_its_start() {
        assert_eq!(ids(1000, 1999, &[]).next().map(Vmid::get), Some(1000));
    }
}
