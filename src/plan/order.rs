//! The order of changes: what others need comes first, deletions last and in reverse.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Action, Change};
use crate::pve::value::GuestKind;

/// Sorts by kind and name, then so that everything in a change's `after` stands before it.
///
/// Dependencies were checked for cycles when the manifest was read; should one be left, its members keep their order.
pub fn sort(changes: &mut Vec<Change>) {
    fn key(change: &Change) -> (bool, GuestKind, &str) {
        (change.action == Action::Delete, change.address.kind, &change.address.name)
    }
    // They come in the manifest's order, which mostly is this one.
    if !changes.is_sorted_by_key(key) {
        changes.sort_by(|one, other| key(one).cmp(&key(other)));
    }
    if changes.iter().all(|change| change.after.is_empty()) {
        return;
    }
    let names: BTreeMap<String, usize> = changes
        .iter()
        .enumerate()
        .filter(|(_, change)| change.action != Action::Delete)
        .map(|(index, change)| (change.address.name.clone(), index))
        .collect();
    let mut order = Vec::with_capacity(changes.len());
    let mut placed = BTreeSet::new();
    for index in 0..changes.len() {
        place(index, changes, &names, &mut placed, &mut order);
    }
    let mut slots: Vec<Option<Change>> = changes.drain(..).map(Some).collect();
    changes.extend(order.into_iter().filter_map(|index| slots[index].take()));
}

fn place(
    index: usize,
    changes: &[Change],
    names: &BTreeMap<String, usize>,
    placed: &mut BTreeSet<usize>,
    order: &mut Vec<usize>,
) {
    // An explicit stack: a long chain of dependencies must not be a deep recursion.
    let mut stack = vec![(index, false)];
    while let Some((index, needs_done)) = stack.pop() {
        if needs_done {
            order.push(index);
        } else if placed.insert(index) {
            stack.push((index, true));
            let needs = changes[index].after.iter().rev().filter_map(|name| names.get(name));
            stack.extend(needs.filter(|need| !placed.contains(need)).map(|need| (*need, false)));
        }
    }
}
