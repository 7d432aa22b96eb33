//! Tasks: waiting for their end, and reading their logs.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{ClusterClient, Reader, model};
use crate::pve::http::{ApiError, Request, percent_encode};
use crate::pve::value::{TaskEnd, Upid};

/// Lines of a log that are asked for at once.
const LOG_PAGE: usize = 1000;
/// Pages of a log that are read at most: a task in a loop can write a log without end.
const LOG_PAGES: usize = 100;
/// Looks at a task that stopped without an exit status: its last line may still be on its way to the disk.
const MISSING_EXIT_STATUS_LOOKS: u32 = 3;

/// How far a running task is.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskProgress {
    /// Since waiting began.
    pub waited: Duration,
    /// The last line of its log, once the task runs long enough for it to be read.
    pub line: Option<String>,
    /// The last percentage that the log showed.
    pub percent: Option<f64>,
    /// Why the task cannot be asked for just now; it is waited for all the same, for as long as the options say.
    pub silent: Option<String>,
}

impl ClusterClient {
    /// Waits until a task ended, and says how. It is asked for at its own node, from 100 ms up to every 2 s.
    ///
    /// `on_progress` is called after each look at the task while it runs, also after one that failed.
    ///
    /// # Errors
    ///
    /// [`ApiError::Undetermined`] where the task cannot be read to its end: that is never a success, and never
    /// a failure either.
    pub async fn wait_task(
        &self,
        upid: &Upid,
        on_progress: &(dyn Fn(&TaskProgress) + Send + Sync),
    ) -> Result<TaskEnd, ApiError> {
        let options = self.options();
        let started = Instant::now();
        let mut last_seen = started;
        let mut without_exit_status = 0;
        let mut log = LogTail::default();
        let request = Request::get(task_path(upid, "status"));
        for round in 0.. {
            match self.read(&request).await {
                Ok(status) => {
                    last_seen = Instant::now();
                    match TaskState::of(&status) {
                        TaskState::Ended(end) => return Ok(end),
                        TaskState::Lost(reason) => return Err(undetermined(upid, &reason)),
                        TaskState::NoExitStatus => {
                            without_exit_status += 1;
                            if without_exit_status >= MISSING_EXIT_STATUS_LOOKS {
                                return Err(undetermined(upid, "it stopped without an exit status"));
                            }
                        }
                        TaskState::Runs => {
                            if started.elapsed() >= options.task_log_after {
                                log.read_on(self, upid).await;
                            }
                            on_progress(&TaskProgress {
                                waited: started.elapsed(),
                                line: log.line.clone(),
                                percent: log.percent,
                                silent: None,
                            });
                        }
                    }
                }
                Err(error @ (ApiError::Connection(_) | ApiError::Undetermined(_) | ApiError::NodeUnreachable(_))) => {
                    if last_seen.elapsed() >= options.task_patience {
                        return Err(undetermined(upid, &error.to_string()));
                    }
                    on_progress(&TaskProgress {
                        waited: started.elapsed(),
                        line: log.line.clone(),
                        percent: log.percent,
                        silent: Some(error.to_string()),
                    });
                }
                Err(error) => return Err(undetermined(upid, &error.to_string())),
            }
            sleep(options.poll.wait(round)).await;
        }
        Err(undetermined(upid, "it never ended"))
    }
}

/// The last lines of a task's log.
pub(super) async fn read_log(
    reader: &(impl Reader + ?Sized),
    upid: &Upid,
    last: usize,
) -> Result<Vec<String>, ApiError> {
    let mut kept = VecDeque::new();
    for page in 0..LOG_PAGES {
        let lines = log_page(reader, upid, page * LOG_PAGE).await?;
        let ended = lines.len() < LOG_PAGE;
        for line in lines {
            kept.push_back(line);
            if kept.len() > last {
                kept.pop_front();
            }
        }
        if ended {
            break;
        }
    }
    Ok(kept.into())
}

async fn log_page(reader: &(impl Reader + ?Sized), upid: &Upid, start: usize) -> Result<Vec<String>, ApiError> {
    let request =
        Request::get(task_path(upid, "log")).with("start", start.to_string()).with("limit", LOG_PAGE.to_string());
    let answer = reader.read(&request).await?;
    let rows = answer.as_array().ok_or_else(|| model::unclear(&request))?;
    let lines: Vec<String> =
        rows.iter().filter_map(|row| row.get("t").and_then(Value::as_str)).map(str::to_owned).collect();
    // An empty log, or a start behind its end, is answered with this one line.
    if let [only] = lines.as_slice()
        && only == "no content"
    {
        return Ok(Vec::new());
    }
    Ok(lines)
}

pub(super) fn task_path(upid: &Upid, what: &str) -> String {
    format!("/nodes/{}/tasks/{}/{what}", upid.node, percent_encode(&upid.to_string()))
}

fn undetermined(upid: &Upid, reason: &str) -> ApiError {
    ApiError::Undetermined(format!("the end of task {upid} is not known: {reason}"))
}

/// What one look at a task showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// It runs.
    Runs,
    /// It ended, and says how.
    Ended(TaskEnd),
    /// It stopped, and does not say how: its last line may still be on its way to the disk.
    NoExitStatus,
    /// Nobody knows what was done: the worker was killed, or the node went down.
    Lost(String),
}

impl TaskState {
    /// Reads the answer of `/nodes/N/tasks/UPID/status`.
    pub(super) fn of(status: &Value) -> Self {
        match status.get("status").and_then(Value::as_str) {
            Some("running") => TaskState::Runs,
            Some("stopped") => match status.get("exitstatus").and_then(Value::as_str) {
                None => TaskState::NoExitStatus,
                // The worker was killed or the node went down: the log has no last line, and nobody knows what was done.
                Some(text) if text == "unexpected status" || text.starts_with("unable to get last line") => {
                    TaskState::Lost(text.to_owned())
                }
                Some(text) => TaskState::Ended(TaskEnd::parse(text)),
            },
            other => TaskState::Lost(format!("its status reads '{}'", other.unwrap_or_default())),
        }
    }
}

/// The end of a log that is being written.
#[derive(Default)]
struct LogTail {
    lines: usize,
    line: Option<String>,
    percent: Option<f64>,
}

impl LogTail {
    /// Reads the lines that are new. The log only serves the display: a failure is left for the next time.
    async fn read_on(&mut self, client: &ClusterClient, upid: &Upid) {
        let Ok(lines) = log_page(client, upid, self.lines).await else { return };
        self.lines += lines.len();
        if let Some(percent) = lines.iter().rev().find_map(|line| percent_in(line)) {
            self.percent = Some(percent);
        }
        if let Some(line) = lines.into_iter().next_back() {
            self.line = Some(line);
        }
    }
}

/// The last percentage in a line: `transferred 20.5 MiB of 1.0 GiB (2.00%)` gives 2.
fn percent_in(line: &str) -> Option<f64> {
    let before = line.rsplit_once('%')?.0;
    let digits = before.rfind(|c: char| !c.is_ascii_digit() && c != '.').map_or(before, |at| &before[at + 1..]);
    digits.parse().ok().filter(|percent| (0.0..=100.0).contains(percent))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;

    use super::*;
    use crate::client::Discover;
    use crate::client::fake::{Answer, Fake, data, invalid, never_sent, refusal};

    const UPID: &str = "UPID:a1:000002FC:0005D906:6B02949B:qmclone:111:root@pam!test:";
    const STATUS: &str =
        "GET /nodes/a1/tasks/UPID%3Aa1%3A000002FC%3A0005D906%3A6B02949B%3Aqmclone%3A111%3Aroot%40pam%21test%3A/status";

    fn log_call(start: usize) -> String {
        STATUS.replace("/status", &format!("/log?start={start}&limit=1000"))
    }

    fn running() -> Answer {
        data(json!({"status": "running", "type": "qmclone"}))
    }

    fn stopped(exitstatus: &str) -> Answer {
        data(json!({"status": "stopped", "exitstatus": exitstatus}))
    }

    async fn wait(fake: Fake) -> (Result<TaskEnd, ApiError>, Vec<TaskProgress>) {
        let (client, _) = fake.client();
        let seen = Mutex::new(Vec::new());
        let on_progress = |progress: &TaskProgress| seen.lock().unwrap().push(progress.clone());
        let end = client.wait_task(&UPID.parse().unwrap(), &on_progress).await;
        (end, seen.into_inner().unwrap())
    }

    async fn wait_for(answers: Vec<Answer>) -> Result<TaskEnd, ApiError> {
        wait(Fake::default().on_each(STATUS, answers)).await.0
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_ends_as_its_exit_status_says() {
        assert_eq!(wait_for(vec![running(), stopped("OK")]).await, Ok(TaskEnd::Ok));
        assert_eq!(wait_for(vec![stopped("WARNINGS: 2")]).await, Ok(TaskEnd::Warnings(2)));
        let failed = "unable to create VM 100 - VM 100 already exists on node 'pve1'";
        assert_eq!(wait_for(vec![stopped(failed)]).await, Ok(TaskEnd::Failed(failed.to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_cannot_be_read_to_its_end_is_undetermined() {
        let unreadable = [
            vec![running(), stopped("unexpected status")],
            vec![data(json!({"status": "stopped"}))],
            vec![data(json!({}))],
            vec![running(), invalid("upid", "no such task")],
            vec![refusal(403, "Permission check failed (/nodes/a1, Sys.Audit)")],
            vec![running(), refusal(401, "")],
            vec![running(), refusal(595, "No route to host")],
            vec![never_sent()],
        ];
        for answers in unreadable {
            let end = wait_for(answers.clone()).await;
            assert!(matches!(end, Err(ApiError::Undetermined(_))), "{answers:?} gave {end:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_starts_again_is_waited_for() {
        let mut answers = vec![running()];
        answers.extend((0..40).map(|_| refusal(595, "No route to host")));
        answers.push(stopped("OK"));
        let (end, seen) = wait(Fake::default().on_each(STATUS, answers)).await;
        assert_eq!(end, Ok(TaskEnd::Ok));
        // Whoever waits is told why.
        assert!(seen[0].silent.is_none() && seen[1].silent.as_ref().unwrap().contains("No route to host"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_exit_status_is_waited_for() {
        assert_eq!(wait_for(vec![data(json!({"status": "stopped"})), stopped("OK")]).await, Ok(TaskEnd::Ok));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_task_shows_its_log() {
        let mut looks: Vec<Answer> = (0..8).map(|_| running()).collect();
        looks.push(stopped("OK"));
        let line = |n: usize, text: &str| json!({"n": n, "t": text});
        let fake = Fake::default()
            .on_each(STATUS, looks)
            .on(
                &log_call(0),
                data(json!([line(1, "create full clone"), line(2, "transferred 20.5 MiB of 1.0 GiB (2.00%)")])),
            )
            .on(&log_call(2), data(json!([line(3, "transferred 0.5 GiB of 1.0 GiB (50.00%)"), line(4, "hm")])))
            .on(&log_call(4), data(json!([line(1, "no content")])));
        let (end, seen) = wait(fake).await;
        assert_eq!(end, Ok(TaskEnd::Ok));
        let waits: Vec<u128> = seen.iter().map(|progress| progress.waited.as_millis()).collect();
        assert_eq!(waits, [0, 100, 300, 700, 1500, 3100, 5100, 7100]);
        let shown: Vec<_> = seen.iter().map(|progress| (progress.percent, progress.line.as_deref())).collect();
        let first = (Some(2.0), Some("transferred 20.5 MiB of 1.0 GiB (2.00%)"));
        assert_eq!(shown[4..], [(None, None), first, (Some(50.0), Some("hm")), (Some(50.0), Some("hm"))]);
    }

    #[tokio::test]
    async fn the_end_of_a_log_is_read_page_by_page() {
        let page = |from: usize, count: usize| {
            data(Value::from_iter((from..from + count).map(|n| json!({"n": n + 1, "t": format!("line {n}")}))))
        };
        let fake = Fake::default().on(&log_call(0), page(0, 1000)).on(&log_call(1000), page(1000, 3));
        let lines = fake.client().0.task_log(&UPID.parse().unwrap(), 5).await.unwrap();
        assert_eq!(lines, ["line 998", "line 999", "line 1000", "line 1001", "line 1002"]);
    }

    #[test]
    fn percentages_are_found_in_lines() {
        assert_eq!(percent_in("transferred 20.5 MiB of 1.0 GiB (2.00%)"), Some(2.0));
        assert_eq!(percent_in("mirror-scsi0: transferred 1 GiB of 4 GiB (25.00%) in 3s"), Some(25.0));
        assert_eq!(percent_in("100%"), Some(100.0));
        for line in ["", "%", "no number", "200% of nothing", "1.2.3%"] {
            assert_eq!(percent_in(line), None, "{line}");
        }
    }
}
