//! The locks of storages: who makes a volume holds one, and others wait for it, ten seconds at most.
//!
//! Making a volume, linking one to a base and turning one into a base take the lock of their storage, local ones for
//! their node and shared ones in the whole cluster (`PVE::Storage`: `vdisk_alloc`, `vdisk_clone`, `vdisk_create_base`);
//! copying what is in it does not. How long it is held is known beforehand, so a turn is given out as soon as it is
//! asked for: the first gap that is long enough.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::answer::Failure;
use super::cluster::{Cluster, Millis};
use super::task::{LOCK_WAIT, Work};
use super::volume::Storages;
use super::{backup, lxc, qemu};

/// The turns that were given out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Locks {
    /// By storage and place (a node, or nothing where it is shared): from when until when it is held, in order.
    held: BTreeMap<String, BTreeMap<String, Vec<(Millis, Millis)>>>,
    /// How far a call has come that waits for its turns itself.
    #[serde(skip)]
    caller: Option<Caller>,
    /// How many turns a worker has had that did not get the next.
    #[serde(skip)]
    refused_after: Option<usize>,
}

/// A call that waits for its turns.
#[derive(Debug, Clone, Copy)]
struct Caller {
    now: Millis,
    hold: Millis,
}

impl Locks {
    /// The turn of somebody who asks at a time: when it ends, or nothing where the wait for it is too long.
    fn turn(&mut self, storage: &str, place: &str, at: Millis, hold: Millis) -> Option<Millis> {
        let held = self.held.entry(storage.to_owned()).or_default().entry(place.to_owned()).or_default();
        let mut begin = at;
        let mut position = 0;
        for (index, (from, until)) in held.iter().enumerate() {
            if begin + hold <= *from {
                break;
            }
            begin = begin.max(*until);
            position = index + 1;
        }
        if begin > at + LOCK_WAIT {
            return None;
        }
        held.insert(position, (begin, begin + hold));
        Some(begin + hold)
    }

    /// Forgets what was over before a time.
    fn forget(&mut self, now: Millis) {
        for held in self.held.values_mut().flat_map(BTreeMap::values_mut) {
            held.retain(|(_, until)| *until > now);
        }
    }
}

impl Storages {
    /// Somebody makes a volume: waits for the storage's lock where that is not done yet.
    pub(super) fn admit(&mut self, storage: &str, node: &str) -> Result<(), Failure> {
        if let Some(left) = self.locks.refused_after.as_mut() {
            if *left == 0 {
                return Err(Failure::die(self.timeout_text(storage)));
            }
            *left -= 1;
        }
        let Some(caller) = self.locks.caller.filter(|caller| caller.hold > 0) else { return Ok(()) };
        let place = if self.is_shared(storage) { "" } else { node };
        let turn = self.locks.turn(storage, place, caller.now, caller.hold);
        let now = turn.unwrap_or(caller.now + LOCK_WAIT);
        self.locks.caller = Some(Caller { now, ..caller });
        turn.map(drop).ok_or_else(|| Failure::die(self.timeout_text(storage)))
    }

    /// Proxmox's words where a storage's lock is not to be had.
    fn timeout_text(&self, storage: &str) -> String {
        if self.is_shared(storage) {
            format!("cfs-lock 'storage-{storage}' error: got lock request timeout")
        } else {
            format!("can't lock file '/var/lock/pve-manager/pve-storage-{storage}' - got timeout")
        }
    }
}

/// What came of a worker's waiting for storages, before it does anything.
pub(super) struct Waited {
    /// How long it took.
    pub(super) time: Millis,
    /// How many turns it had, and why it did not get the next.
    pub(super) refused: Option<(usize, String)>,
    /// What the log says.
    pub(super) lines: Vec<String>,
}

impl Cluster {
    /// From here on the call under way waits for storages as it makes volumes.
    pub(super) fn begin_waiting(&mut self) {
        self.storages.locks.forget(self.clock);
        let hold = self.scaled(self.spec.tasks.allocate);
        self.storages.locks.caller = Some(Caller { now: self.clock, hold });
    }

    /// How long the call waited for storages, and held them.
    pub(super) fn end_waiting(&mut self) -> Millis {
        self.storages.locks.caller.take().map_or(0, |caller| caller.now.saturating_sub(self.clock))
    }

    /// Something else happens before the call goes on: workers have waited for their turns when they began.
    pub(super) fn aside(&mut self, happens: impl FnOnce(&mut Self)) {
        let caller = self.storages.locks.caller.take();
        happens(self);
        self.storages.locks.caller = caller.map(|caller| Caller { now: caller.now.max(self.clock), ..caller });
    }

    /// Lets a worker wait for all volumes that it will make.
    pub(super) fn wait_for_storages(&mut self, node: &str, work: &Work) -> Waited {
        let mut waited = Waited { time: 0, refused: None, lines: Vec::new() };
        let hold = self.scaled(self.spec.tasks.allocate);
        if hold == 0 {
            return waited;
        }
        self.storages.locks.forget(self.clock);
        for (count, storage) in self.made_by(work).into_iter().enumerate() {
            let at = self.clock + waited.time;
            let shared = self.storages.is_shared(&storage);
            let turn = self.storages.locks.turn(&storage, if shared { "" } else { node }, at, hold);
            if turn != Some(at + hold) {
                waited.lines.push(match shared {
                    true => format!("trying to acquire cfs lock 'storage-{storage}' ..."),
                    false => "trying to acquire lock...".to_owned(),
                });
            }
            let Some(until) = turn else {
                waited.time += LOCK_WAIT;
                waited.refused = Some((count, self.storages.timeout_text(&storage)));
                return waited;
            };
            waited.time = until - self.clock;
        }
        waited
    }

    /// Carries out what a worker does that did not get all its turns: the volume after so many is refused.
    pub(super) fn refusing<T>(&mut self, after: Option<usize>, happens: impl FnOnce(&mut Self) -> T) -> T {
        self.storages.locks.refused_after = after;
        let result = happens(self);
        self.storages.locks.refused_after = None;
        result
    }

    /// The storages on which a work makes volumes, once for each volume.
    fn made_by(&self, work: &Work) -> Vec<String> {
        match work {
            Work::Qemu(work) => qemu::made_on(self, work),
            Work::Lxc(work) => lxc::made_on(self, work),
            Work::Backup(work) => backup::made_on(self, work),
            Work::Snapshot(_) | Work::Migrate(_) | Work::Ha { .. } | Work::ApplyNetwork | Work::RemoveVolume { .. } => {
                Vec::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_taken_one_after_the_other_in_the_first_gap() {
        let mut locks = Locks::default();
        let mut turn = |at, hold| locks.turn("s", "a", at, hold);
        assert_eq!(turn(0, 4000), Some(4000));
        assert_eq!(turn(1000, 4000), Some(8000));
        assert_eq!(turn(20_000, 4000), Some(24_000), "asked for in the future");
        assert_eq!(turn(1000, 4000), Some(12_000), "before it");
        assert_eq!(turn(1500, 4000), None, "ten and a half seconds");
        assert_eq!(turn(2000, 4000), Some(16_000), "ten seconds");
        assert_eq!(turn(9000, 4000), Some(20_000), "the gap is just long enough");
        assert_eq!(locks.turn("s", "b", 0, 4000), Some(4000), "another node has its own");
        locks.forget(16_000);
        assert_eq!(locks.held["s"]["a"], [(16_000, 20_000), (20_000, 24_000)]);
    }
}
