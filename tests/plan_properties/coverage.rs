//! How often each word of the plan document was met.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use pvefleet::plan::{Action, Class, Effect, Plan, ReasonCode, State, StepKind};

/// Counts by table and word.
static MET: Mutex<BTreeMap<(&str, &str), usize>> = Mutex::new(BTreeMap::new());

pub fn count(plan: &Plan) {
    let mut met = MET.lock().unwrap_or_else(PoisonError::into_inner);
    let mut add = |table: &'static str, word: &'static str| *met.entry((table, word)).or_default() += 1;
    for change in plan.changes() {
        add("action", change.action.word());
        add("state", change.state.word());
        // A guest that has unlisted options alone is of no class of its own.
        let unlisted = (!change.unlisted.is_empty()).then_some(Class::Unlisted);
        if let Some(class) = change.class.or(unlisted) {
            add("class", class.word());
        }
        for reason in change.reason.iter().chain(change.fields.iter().filter_map(|field| field.blocked.as_ref())) {
            add("reason", reason.code.word());
        }
        for step in &change.steps {
            add("step", step.kind.word());
            add("effect", step.effect.word());
        }
        for field in &change.fields {
            add("effect", field.effect.word());
        }
    }
}

/// The whole table, and the words that were never met.
pub fn table() -> (String, Vec<String>) {
    let met = MET.lock().unwrap_or_else(PoisonError::into_inner);
    let words = [
        ("action", Action::ALL.iter().map(|word| word.word()).collect::<Vec<_>>()),
        ("step", StepKind::ALL.iter().map(|word| word.word()).collect()),
        ("effect", Effect::ALL.iter().map(|word| word.word()).collect()),
        ("reason", ReasonCode::ALL.iter().map(|word| word.word()).collect()),
        ("state", State::ALL.iter().map(|word| word.word()).collect()),
        ("class", Class::ALL.iter().map(|word| word.word()).collect()),
    ];
    let (mut text, mut missed) = (String::new(), Vec::new());
    for (table, words) in words {
        text.push_str(&format!("{table}\n"));
        for word in words {
            let count = met.get(&(table, word)).copied().unwrap_or_default();
            text.push_str(&format!("  {word:<18} {count}\n"));
            if count == 0 {
                missed.push(format!("{table} {word}"));
            }
        }
    }
    (text, missed)
}
