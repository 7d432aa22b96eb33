//! How an apply ended, as text for people: a line a guest, what failed with what to do, and the sum.

use super::style::{Ink, Layout, count, wrap};
use crate::apply::{GuestOutcome, GuestResult, Outcome};
use crate::plan::Action;

/// Renders an outcome. `again` is the command that goes on.
pub fn outcome(outcome: &Outcome, again: &str, layout: Layout) -> String {
    let mut text = String::new();
    if let Some(refused) = &outcome.refused {
        text.push_str(&layout.paint(Ink::Alarm, &wrap(&format!("Nothing was begun: {refused}"), layout.width, 0, 2)));
        text.push('\n');
        return text;
    }
    let shown: Vec<&GuestOutcome> =
        outcome.guests.iter().filter(|guest| guest.result != GuestResult::NoChange).collect();
    let name_width = shown.iter().map(|guest| guest.address.to_string().chars().count()).max().unwrap_or(0);
    for guest in &shown {
        text.push_str(&row(guest, name_width, layout));
    }
    for (cluster, items) in &outcome.unread {
        for item in items {
            let line = format!("  {:<13} {cluster}: {} could not be read: {}", "unknown", item.what, item.reason);
            text.push_str(&layout.paint(Ink::Alarm, &wrap(&line, layout.width, 0, 16)));
            text.push('\n');
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&wrap(&summary(outcome, again), layout.width, 0, 0));
    text.push('\n');
    text
}

fn row(guest: &GuestOutcome, name_width: usize, layout: Layout) -> String {
    let ink = match guest.result {
        GuestResult::Done => Ink::Add,
        GuestResult::AlreadyDone | GuestResult::NoChange => Ink::Faint,
        GuestResult::Blocked | GuestResult::Waiting => Ink::Change,
        _ => Ink::Alarm,
    };
    let steps = if guest.result.is_good() {
        count(guest.steps_total, "step")
    } else {
        format!("{} of {}", guest.steps_done, count(guest.steps_total, "step"))
    };
    let result = format!("{:<13}", guest.result.word());
    let steps = if guest.steps_total == 0 { String::new() } else { format!("  {steps}") };
    let mut text =
        format!("  {} {} {:<name_width$}{steps}\n", layout.paint(ink, &result), verb(guest), guest.address.to_string());
    let mut detail = |words: &str| {
        text.push_str(&format!("{}{}\n", " ".repeat(16), wrap(words, layout.width, 16, 18)));
    };
    if let Some(words) = &guest.words {
        detail(words);
    }
    if let Some(hint) = &guest.hint {
        detail(&format!("hint: {hint}"));
    }
    for warning in &guest.warnings {
        detail(&format!("warning: {warning}"));
    }
    for blocked in &guest.blocked {
        detail(&format!("blocked: {blocked}"));
    }
    for left in &guest.left {
        detail(&format!("still differs: {left}"));
    }
    text
}

fn verb(guest: &GuestOutcome) -> String {
    let word = if guest.action == Action::None { "" } else { guest.action.word() };
    format!("{word:<8}")
}

/// The last line: how many ended how, and what goes on.
pub fn summary(outcome: &Outcome, again: &str) -> String {
    let counts: Vec<String> = GuestResult::ALL
        .iter()
        .filter(|result| **result != GuestResult::NoChange)
        .map(|result| (outcome.count(*result), result.word()))
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {}", word.replace('-', " ")))
        .collect();
    let steps: usize = outcome.guests.iter().map(|guest| guest.sent as usize).sum();
    if counts.is_empty() {
        return "Nothing to do.".to_owned();
    }
    // What is blocked stays blocked; what went wrong may go better.
    let goes_on = |guest: &GuestOutcome| {
        use GuestResult as R;
        let again = matches!(guest.result, R::Failed | R::Skipped | R::Undetermined | R::Interrupted | R::Waiting);
        again || !guest.left.is_empty()
    };
    let next = if outcome.guests.iter().any(goes_on) { format!(" To go on: {again}") } else { String::new() };
    let verb = if steps == 0 { "Nothing was sent" } else { "Applied" };
    format!("{verb}: {}; {}.{next}", counts.join(", "), count(steps, "write"))
}
