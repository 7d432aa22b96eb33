//! New guest ids: the smallest free one above the highest in use.

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
}

impl NewIds {
    /// Everything that is in use, named by the manifest, or known to be taken is never handed out.
    pub fn new(desired: &DesiredCluster, live: &LiveCluster) -> Self {
        let range = desired.vmids.map(|VmidRange { first, last }| (first.get(), last.get()));
        let (first, last) = range.unwrap_or((Vmid::MIN, Vmid::MAX));
        let mut taken: BTreeSet<u32> = live.guests.keys().map(|vmid| vmid.get()).collect();
        taken.extend(desired.guests.iter().filter_map(|guest| guest.vmid).map(Vmid::get));
        taken.extend(live.free_ids.iter().filter(|(_, free)| **free == Read::Known(false)).map(|(vmid, _)| vmid.get()));
        Self { first, last, taken }
    }

    /// The next id; nothing when the range is full.
    pub fn next(&mut self) -> Option<Vmid> {
        let highest = self.taken.range(self.first..=self.last).next_back().copied();
        let above =
            highest.map_or(Some(self.first), |highest| highest.checked_add(1)).filter(|next| *next <= self.last);
        let next = above.or_else(|| (self.first..=self.last).find(|id| !self.taken.contains(id)))?;
        self.taken.insert(next);
        Vmid::new(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(first: u32, last: u32, taken: &[u32]) -> NewIds {
        NewIds { first, last, taken: taken.iter().copied().collect() }
    }

    #[test]
    fn above_the_highest_and_around_only_when_full() {
        let mut ids = ids(1000, 1004, &[100, 1002, 9000]);
        let next: Vec<u32> = std::iter::from_fn(|| ids.next()).map(Vmid::get).collect();
        assert_eq!(next, [1003, 1004, 1000, 1001]);
    }

    #[test]
    fn an_empty_range_begins_at_its_start() {
        assert_eq!(ids(1000, 1999, &[]).next().map(Vmid::get), Some(1000));
    }
}
