//! Progress of an apply: bars and a line for each running step on a terminal, else a plain line per event.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::apply::{Event, Events, GuestOutcome, GuestResult};
use crate::plan::Address;
use crate::report::style::count;

/// Shows events on standard error.
pub struct Progress {
    view: Mutex<View>,
}

enum View {
    Quiet,
    Lines(Counted),
    Bars(Bars),
}

#[derive(Default)]
struct Counted {
    done: usize,
    steps: usize,
    guests: usize,
}

struct Bars {
    all: MultiProgress,
    whole: ProgressBar,
    running: BTreeMap<Address, ProgressBar>,
}

impl Progress {
    /// Bars where standard error is a terminal, lines elsewhere, nothing when quiet.
    ///
    /// Lines also where requests are logged: bars would be drawn over them.
    pub fn new(quiet: bool, logged: bool) -> Self {
        let view = if quiet {
            View::Quiet
        } else if !logged && std::io::stderr().is_terminal() {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            let whole = all.add(ProgressBar::new(0));
            whole.set_style(style("{bar:24} {pos}/{len} steps  {elapsed}"));
            View::Bars(Bars { all, whole, running: BTreeMap::new() })
        } else {
            View::Lines(Counted::default())
        };
        Self { view: Mutex::new(view) }
    }
}

impl Progress {
    /// Says something above the bars.
    pub fn say(&self, words: &str) {
        match &*self.view.lock().unwrap_or_else(PoisonError::into_inner) {
            View::Bars(bars) => bars.whole.suspend(|| say(words)),
            View::Quiet | View::Lines(_) => say(words),
        }
    }

    /// Takes the bars away, whatever they showed last.
    pub fn finish(&self) {
        if let View::Bars(bars) = &mut *self.view.lock().unwrap_or_else(PoisonError::into_inner) {
            bars.clear();
        }
    }
}

/// A style from one of this file's own patterns; should one be wrong, the plain style serves.
fn style(pattern: &str) -> ProgressStyle {
    ProgressStyle::with_template(pattern).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Events for Progress {
    fn event(&self, event: &Event) {
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *view {
            View::Quiet => {}
            View::Lines(counted) => counted.event(event),
            View::Bars(bars) => bars.event(event),
        }
    }
}

/// A line to standard error; that nobody reads it is no reason to stop.
fn say(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

fn silent(address: &Address, words: &str) -> String {
    format!("{address}: waiting for cluster {}, which does not tell how its task is: {words}", address.cluster)
}

fn ending(guest: &GuestOutcome) -> String {
    let words = guest.words.as_ref().map_or_else(String::new, |words| format!(": {words}"));
    format!("{} {}{words}", guest.address, guest.result.word().replace('-', " "))
}

impl Counted {
    fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted { guests, steps, .. } => {
                (self.guests, self.steps) = (*guests, *steps);
            }
            Event::StepStarted { address, words, .. } => {
                if self.done == 0 {
                    say(&format!("applying {} on {}", count(self.steps, "step"), count(self.guests, "guest")));
                }
                self.done += 1;
                say(&format!("[{:>width$}/{}] {address}: {words}", self.done, self.steps, width = digits(self.steps)));
            }
            Event::Silent { address, words } => say(&silent(address, words)),
            Event::Repeating { address, words } => say(&format!("{address}: tried again: {words}")),
            Event::StepDone { address, note: Some(note), .. } => say(&format!("{address}: {note}")),
            Event::GuestDone(guest) if is_worth_a_line(guest) => say(&ending(guest)),
            Event::Warning(words) => say(&format!("warning: {words}")),
            _ => {}
        }
    }
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

/// The end of what went well is in the table; what went otherwise is told at once.
fn is_worth_a_line(guest: &GuestOutcome) -> bool {
    matches!(
        guest.result,
        GuestResult::Failed
            | GuestResult::Stale
            | GuestResult::Undetermined
            | GuestResult::Skipped
            | GuestResult::Interrupted
    )
}

impl Bars {
    fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted { steps, .. } => {
                self.whole.set_length(*steps as u64);
                self.whole.enable_steady_tick(Duration::from_millis(200));
            }
            Event::StepStarted { address, words, step, of } => {
                let bar = self.running.entry(address.clone()).or_insert_with(|| {
                    let bar = self.all.add(ProgressBar::new_spinner());
                    bar.set_style(style("  {spinner} {msg}  {prefix:.dim}"));
                    bar.enable_steady_tick(Duration::from_millis(120));
                    bar
                });
                bar.set_message(format!("{address}: {words} ({step}/{of})"));
            }
            Event::TaskProgress { address, percent, line } => {
                if let Some(bar) = self.running.get(address) {
                    let told =
                        percent.map(|percent| format!("{percent:.0} %")).or_else(|| line.clone()).unwrap_or_default();
                    bar.set_prefix(told);
                }
            }
            Event::Silent { address, words } => {
                self.whole.suspend(|| say(&silent(address, words)));
                if let Some(bar) = self.running.get(address) {
                    bar.set_prefix("no answer");
                }
            }
            Event::StepDone { .. } => self.whole.inc(1),
            Event::GuestDone(guest) => {
                if let Some(bar) = self.running.remove(&guest.address) {
                    bar.finish_and_clear();
                }
                if is_worth_a_line(guest) {
                    self.whole.suspend(|| say(&ending(guest)));
                }
            }
            Event::Warning(words) => self.whole.suspend(|| say(&format!("warning: {words}"))),
            Event::RunDone => self.clear(),
            _ => {}
        }
    }

    fn clear(&mut self) {
        for bar in std::mem::take(&mut self.running).into_values() {
            bar.finish_and_clear();
        }
        self.whole.finish_and_clear();
    }
}
