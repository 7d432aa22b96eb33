//! Progress of an apply: bars and a line for each running step on a terminal, else a plain line per event.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::apply::{Event, Events, GuestOutcome, GuestResult};
use crate::plan::Address;
use crate::report::style::{count, wrap};

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
    /// Columns of the terminal.
    width: usize,
}

/// The longest word about a task beside its step.
const ASIDE: usize = 20;

impl Progress {
    /// Bars where standard error is a terminal, lines elsewhere, nothing when quiet.
    ///
    /// Lines also where requests are logged: bars would be drawn over them.
    pub fn new(quiet: bool, logged: bool, width: usize) -> Self {
        let view = if quiet {
            View::Quiet
        } else if !logged && std::io::stderr().is_terminal() {
            View::Bars(Bars::new(ProgressDrawTarget::stderr_with_hz(10), width))
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
            View::Bars(bars) => bars.say(words),
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

/// A text of so many characters at most.
fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
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
    fn new(target: ProgressDrawTarget, width: usize) -> Self {
        let all = MultiProgress::with_draw_target(target);
        let whole = all.add(ProgressBar::new(0));
        whole.set_style(style("{bar:16} {pos}/{len} steps  {elapsed}"));
        Self { all, whole, running: BTreeMap::new(), width }
    }

    /// Says something above the bars.
    fn say(&self, words: &str) {
        self.whole.suspend(|| say(&wrap(words, self.width, 0, 2)));
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted { steps, .. } => {
                self.whole.set_length(*steps as u64);
                self.whole.enable_steady_tick(Duration::from_millis(200));
            }
            Event::StepStarted { address, words, step, of } => {
                let bar = self.running.entry(address.clone()).or_insert_with(|| {
                    let bar = self.all.add(ProgressBar::new_spinner());
                    bar.set_style(style("  {spinner} {wide_msg} {prefix:.dim}"));
                    bar.enable_steady_tick(Duration::from_millis(120));
                    bar
                });
                bar.set_message(format!("{address}: {words} ({step}/{of})"));
            }
            Event::TaskProgress { address, percent, line } => {
                if let Some(bar) = self.running.get(address) {
                    let told =
                        percent.map(|percent| format!("{percent:.0} %")).or_else(|| line.clone()).unwrap_or_default();
                    bar.set_prefix(shortened(&told, ASIDE));
                }
            }
            Event::Silent { address, words } => {
                self.say(&silent(address, words));
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
                    self.say(&ending(guest));
                }
            }
            Event::Warning(words) => self.say(&format!("warning: {words}")),
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use indicatif::TermLike;

    use super::*;
    use crate::apply::outcome::GuestResult;
    use crate::plan::Action;
    use crate::pve::value::{GuestKind, Vmid};

    /// A terminal that keeps what is written on each line.
    #[derive(Debug, Clone, Default)]
    struct Screen(Arc<Mutex<Vec<String>>>);

    const WIDTH: u16 = 60;

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            WIDTH
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().extend(text.lines().map(str::to_owned));
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn address(name: &str) -> Address {
        let cluster = "disaster-recovery".to_owned();
        Address { cluster, kind: GuestKind::Qemu, name: name.to_owned(), vmid: Vmid::new(100) }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let screen = Screen::default();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 255);
        let mut bars = Bars::new(target, usize::from(WIDTH));
        let started = Event::RunStarted {
            plan_id: String::new(),
            fleet: String::new(),
            order: Vec::new(),
            unread: BTreeMap::new(),
            guests: 1200,
            steps: 12_000,
        };
        bars.event(&started);
        let words = "set description, memory, cores, net0, scsihw, tags and everything else that there is".to_owned();
        let line = "transferred 4.1 GiB of 32.0 GiB (12.81%) with all that a log may say beside that".to_owned();
        for name in ["dr-web-01", "dr-with-a-name-that-is-as-long-as-names-of-guests-may-ever-be-in-dns"] {
            let address = address(name);
            bars.event(&Event::StepStarted { address: address.clone(), step: 1, of: 2, words: words.clone() });
            for (percent, line) in [(Some(12.8), None), (None, Some(line.clone()))] {
                bars.event(&Event::TaskProgress { address: address.clone(), percent, line });
                bars.running[&address].tick();
            }
            bars.event(&Event::StepDone { address, step: 1, note: None });
        }
        bars.event(&Event::RunDone);
        let lines = screen.0.lock().unwrap().clone();
        assert!(lines.iter().any(|line| line.contains("disaster-recovery/dr-web-01: set")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains("/12000 steps")), "{lines:#?}");
        for line in lines {
            assert!(plain(&line).chars().count() <= usize::from(WIDTH), "{line}");
        }
    }

    /// Without colours.
    fn plain(line: &str) -> String {
        let mut parts = line.split('\u{1b}');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
    }

    #[test]
    fn what_is_said_above_the_bars_is_broken_at_its_edge() {
        let guest = GuestOutcome {
            address: address("dr-web-01"),
            action: Action::Update,
            result: GuestResult::Stale,
            steps_done: 0,
            steps_total: 1,
            sent: 0,
            words: Some(
                "memory was '2048' when planned and is '4096' now; cores was not set and is '2' now".to_owned(),
            ),
            hint: None,
            warnings: Vec::new(),
            blocked: Vec::new(),
            left: Vec::new(),
        };
        let text = wrap(&ending(&guest), usize::from(WIDTH), 0, 2);
        assert!(text.lines().count() > 1 && text.lines().all(|line| line.chars().count() <= 60), "{text}");
        assert_eq!(shortened("transferred 4.1 GiB of 32.0 GiB", 20), "transferred 4.1 GiB…");
    }
}
