//! Runs many reads at once, but not too many.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::task::coop;

/// Jobs of one list under way at once. The transport has its own limits, which count; this one keeps reads from
/// waiting for their turn there so long that their deadline passes.
const WINDOW: usize = 16;

/// A read that borrows the client.
pub(crate) type Job<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Runs the jobs, at most [`WINDOW`] at a time, and gives their results in the order of the jobs.
///
/// They come as a list: an iterator with a closure that borrows, held over an await, would keep the whole from
/// being spawned.
pub(crate) async fn all<T>(jobs: Vec<Job<'_, T>>) -> Vec<T> {
    let mut running = Running::of(jobs);
    poll_fn(|context| running.poll(context)).await;
    running.results.into_iter().flatten().collect()
}

struct Running<'a, T> {
    /// By their number; empty once they ended.
    jobs: Vec<Option<Job<'a, T>>>,
    results: Vec<Option<T>>,
    /// The first job that has not begun.
    next: usize,
    left: usize,
    woken: Arc<Woken>,
}

impl<'a, T> Running<'a, T> {
    fn of(list: Vec<Job<'a, T>>) -> Self {
        let left = list.len();
        let next = left.min(WINDOW);
        let is_queued = (0..left).map(|number| number < next).collect();
        let woken = Arc::new(Woken(Mutex::new(State { jobs: (0..next).collect(), is_queued, task: None })));
        Self {
            jobs: list.into_iter().map(Some).collect(),
            results: (0..left).map(|_| None).collect(),
            next,
            left,
            woken,
        }
    }

    /// Polls only those that were woken: where lists run within lists, polling all of them at each answer costs more
    /// than the answers. Those that wake themselves meanwhile, and those for which this task has no budget left, wait
    /// for its next turn.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut turns = {
            let mut state = self.woken.state();
            state.task = Some(context.waker().clone());
            state.jobs.len()
        };
        while turns > 0 && coop::has_budget_remaining() {
            turns -= 1;
            let Some(number) = self.woken.state().take() else { break };
            let Some(Some(job)) = self.jobs.get_mut(number) else { continue };
            let waker = Waker::from(Arc::new(Bell { number, woken: Arc::clone(&self.woken) }));
            if let Poll::Ready(result) = job.as_mut().poll(&mut Context::from_waker(&waker)) {
                self.jobs[number] = None;
                self.results[number] = Some(result);
                self.left -= 1;
                if self.next < self.jobs.len() {
                    self.woken.state().add(self.next);
                    self.next += 1;
                    turns += 1;
                }
            }
        }
        if self.left == 0 {
            return Poll::Ready(());
        }
        if !self.woken.state().jobs.is_empty() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// The jobs to be polled, and the task that does it.
struct Woken(Mutex<State>);

struct State {
    /// In the order in which they were woken, each at most once: without budget, each timer of a job wakes it anew.
    jobs: VecDeque<usize>,
    is_queued: Vec<bool>,
    task: Option<Waker>,
}

impl Woken {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next job to be polled. It may be woken again from now on.
    fn take(&mut self) -> Option<usize> {
        let number = self.jobs.pop_front()?;
        self.is_queued[number] = false;
        Some(number)
    }

    fn add(&mut self, number: usize) {
        if !std::mem::replace(&mut self.is_queued[number], true) {
            self.jobs.push_back(number);
        }
    }
}

/// Wakes one job.
struct Bell {
    number: usize,
    woken: Arc<Woken>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let task = {
            let mut state = self.woken.state();
            state.add(self.number);
            state.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;

    /// More timers end at once than a task may see in one turn.
    #[tokio::test(start_paused = true)]
    async fn a_crowd_of_timers_is_got_through() {
        let polls = AtomicUsize::new(0);
        let polls = &polls;
        let lists = (0..WINDOW).map(|_| -> Job<'_, ()> {
            let jobs = (0..WINDOW).map(move |_| -> Job<'_, ()> {
                let nap = || async {
                    polls.fetch_add(1, Ordering::SeqCst);
                    sleep(Duration::from_millis(1)).await;
                };
                Box::pin(async move {
                    tokio::join!(nap(), nap(), nap(), nap(), nap(), nap(), nap(), nap());
                })
            });
            let jobs = jobs.collect();
            Box::pin(async move { drop(all(jobs).await) })
        });
        all(lists.collect()).await;
        assert_eq!(polls.load(Ordering::SeqCst), WINDOW * WINDOW * 8);
    }

    #[tokio::test(start_paused = true)]
    async fn jobs_overlap_within_the_window_and_keep_their_order() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let started = Instant::now();
        let jobs = (0..40u64).map(|number| -> Job<'_, u64> {
            let (now, most) = (&now, &most);
            Box::pin(async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(Duration::from_millis(10)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                number
            })
        });
        assert_eq!(all(jobs.collect()).await, (0..40).collect::<Vec<_>>());
        assert_eq!(most.load(Ordering::SeqCst), WINDOW);
        assert_eq!(started.elapsed().as_millis(), 30);
        assert!(all(Vec::<Job<'_, ()>>::new()).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_within_a_list_holds_back_only_itself() {
        let started = Instant::now();
        let lists = [100u64, 10].map(|wait| -> Job<'_, u128> {
            Box::pin(async move {
                let sleeps = || async move { sleep(Duration::from_millis(wait)).await };
                let jobs = (0..100).map(|_| -> Job<'_, ()> { Box::pin(sleeps()) });
                all(jobs.collect()).await;
                started.elapsed().as_millis()
            })
        });
        assert_eq!(all(lists.into()).await, [700, 70]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_is_polled_when_it_is_woken_and_a_greedy_one_yields() {
        let polls = AtomicUsize::new(0);
        let jobs = (0..WINDOW).map(|number| -> Job<'_, ()> {
            let polls = &polls;
            let mut inner = Box::pin(async move {
                sleep(Duration::from_millis(10 * u64::try_from(number).unwrap())).await;
                for _ in 0..1000 {
                    tokio::task::consume_budget().await;
                }
            });
            Box::pin(poll_fn(move |context| {
                polls.fetch_add(1, Ordering::SeqCst);
                inner.as_mut().poll(context)
            }))
        });
        all(jobs.collect()).await;
        // Once at the beginning, once when it slept, and once for each budget that it used up.
        let most = WINDOW * (2 + 1000 / 128 + 2);
        assert!((WINDOW..most).contains(&polls.load(Ordering::SeqCst)), "{polls:?}");
    }
}
