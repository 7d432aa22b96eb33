//! Runs many reads at once, but not too many.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Reads under way at once. The transport has its own limit, for each node too; this one keeps polling cheap.
const WINDOW: usize = 16;

/// A read that borrows the client.
pub(crate) type Job<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Runs the jobs, at most [`WINDOW`] at a time, and gives their results in the order of the jobs.
///
/// They come as a list: an iterator with a closure that borrows, held over an await, would keep the whole from
/// being spawned.
pub(crate) async fn all<T>(jobs: Vec<Job<'_, T>>) -> Vec<T> {
    let mut waiting = jobs.into_iter().enumerate();
    let mut running: Vec<(usize, Job<'_, T>)> = Vec::new();
    let mut results: Vec<(usize, T)> = Vec::new();
    poll_fn(|context| {
        loop {
            while running.len() < WINDOW
                && let Some(job) = waiting.next()
            {
                running.push(job);
            }
            let before = running.len();
            running.retain_mut(|(index, job)| match job.as_mut().poll(context) {
                Poll::Ready(result) => {
                    results.push((*index, result));
                    false
                }
                Poll::Pending => true,
            });
            if running.is_empty() && running.len() == before {
                return Poll::Ready(());
            }
            // Where nothing ended and nothing can begin, every job has this task's waker.
            if running.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await;
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn jobs_overlap_within_the_window_and_keep_their_order() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let started = tokio::time::Instant::now();
        let jobs = (0..40u64).map(|number| -> Job<'_, u64> {
            let (now, most) = (&now, &most);
            Box::pin(async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                number
            })
        });
        assert_eq!(all(jobs.collect()).await, (0..40).collect::<Vec<_>>());
        assert_eq!(most.load(Ordering::SeqCst), WINDOW);
        assert_eq!(started.elapsed().as_millis(), 30);
        assert!(all(Vec::<Job<'_, ()>>::new()).await.is_empty());
    }
}
