//! The journal of a run as text for people: every write with its call, its task, how it ended and how long it took.

use super::outcome_text;
use super::style::{Ink, Layout, count, wrap};
use crate::apply::journal::{self, Entry, Line, Moment};
use crate::apply::{Event, Folding, Outcome};

/// Renders a journal. `cut_off` is what is left of a line that was not written whole.
pub fn text(lines: &[Line], cut_off: Option<&str>, layout: Layout) -> String {
    let mut text = String::new();
    let mut number = 0;
    for (index, line) in lines.iter().enumerate() {
        match line {
            Line::Told(told) => {
                if let Event::RunStarted { plan_id, fleet, .. } = &told.event {
                    let heading = format!("Fleet {fleet}, begun {}", told.at);
                    text.push_str(&format!("{}\nplan {plan_id}\n\n", layout.paint(Ink::Strong, &heading)));
                }
            }
            Line::Write(entry) if entry.moment == Moment::Before => {
                number += 1;
                text.push_str(&write(entry, &lines[index + 1..], layout));
            }
            Line::Write(_) => {}
        }
    }
    if cut_off.is_some() {
        text.push_str("The last line was cut off while it was written.\n");
    }
    text.push_str(&format!("\n{} sent.\n", count(number, "write")));
    match outcome(lines) {
        Some(outcome) => text.push_str(&format!("\n{}", outcome_text::outcome(&outcome, "pvefleet apply", layout))),
        None => {
            let words = "The run was left before its end. Run the same apply again: it waits for what still runs, and \
                         finds what is done done.";
            text.push_str(&format!("{}\n", wrap(words, layout.width, 0, 0)));
        }
    }
    text
}

/// The outcome that the run told of; nothing where it did not come to its end.
pub fn outcome(lines: &[Line]) -> Option<Outcome> {
    let mut folding = Folding::default();
    let mut ended = false;
    for line in lines {
        if let Line::Told(told) = line {
            folding.event(&told.event);
            ended |= told.event == Event::RunDone;
        }
    }
    ended.then(|| folding.finish())
}

/// One write, with what the lines after it say of it.
fn write(entry: &Entry, later: &[Line], layout: Layout) -> String {
    let of_it = |line: &&Line| match line {
        Line::Write(other) => other.guest == entry.guest && other.step == entry.step,
        Line::Told(_) => false,
    };
    let mut rest = later.iter().filter(of_it).filter_map(|line| match line {
        Line::Write(other) => Some(other),
        Line::Told(_) => None,
    });
    let (mut task, mut end) = (None, None);
    for other in rest.by_ref() {
        match other.moment {
            Moment::Before => break,
            Moment::Task => task.clone_from(&other.upid),
            Moment::After => {
                end = Some(other);
                break;
            }
        }
    }
    let time = entry.at.split('T').nth(1).unwrap_or(&entry.at).trim_end_matches('Z');
    let took = end.and_then(|end| journal::seconds(&end.at)?.checked_sub(journal::seconds(&entry.at)?));
    let (words, ink) = match (end.and_then(|end| end.outcome.as_deref()), took) {
        (Some(outcome), Some(took)) if took > 0 => (format!("{outcome}, after {took} s"), Ink::Faint),
        (Some(outcome), _) => (outcome.to_owned(), Ink::Faint),
        (None, _) => ("no end is written: it may have been carried out or not".to_owned(), Ink::Alarm),
    };
    let mut text = format!("{time}  {}: {}\n", entry.guest, entry.words);
    let mut detail = |words: &str, ink| {
        text.push_str(&format!("          {}\n", layout.paint(ink, &wrap(words, layout.width, 10, 12))));
    };
    detail(&format!("{} {}", entry.call.method, entry.call.path), Ink::Faint);
    if let Some(upid) = &task {
        detail(&format!("task {upid}"), Ink::Faint);
    }
    detail(&words, ink);
    text
}
