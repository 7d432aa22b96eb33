//! Many runs on all processors.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Does it for every number, and gives the results by number.
pub fn all<T: Send>(numbers: Range<u64>, work: impl Fn(u64) -> T + Sync) -> Vec<(u64, T)> {
    let next = AtomicU64::new(numbers.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut results: Vec<(u64, T)> = std::thread::scope(|scope| {
        let worker = || {
            let mut results = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    return results;
                }
                results.push((number, work(number)));
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    results.sort_by_key(|(number, _)| *number);
    results
}
