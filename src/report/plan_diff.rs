//! The plan as a unified diff: each guest's differing options as YAML, as they are and as they will be.

use std::collections::BTreeMap;

use similar::TextDiff;

use super::plan_text::{effect_words, in_order_of_risk, is_made, verb};
use super::style::{Ink, Layout};
use crate::plan::{Action, Change, Effect, FieldChange, Plan};

/// Renders a plan. What git and editors know as a diff, with the effects and refusals as comments.
pub fn plan(plan: &Plan, layout: Layout) -> String {
    let mut text = String::new();
    for (name, cluster) in &plan.clusters {
        for item in &cluster.unread {
            text.push_str(&format!("# {name}: {} could not be read: {}\n", item.what, item.reason));
        }
        for change in in_order_of_risk(&cluster.changes) {
            text.push_str(&guest(change));
        }
    }
    text.push_str(&format!("# {}\n", super::plan_text::summary(plan)));
    if !plan.is_empty() {
        text.push_str(&format!("# plan {}\n", plan.plan_id));
    }
    text.lines().map(|line| format!("{}\n", painted(line, layout))).collect()
}

fn painted(line: &str, layout: Layout) -> String {
    let ink = match line.as_bytes().first() {
        _ if line.starts_with("+++") || line.starts_with("---") => Ink::Strong,
        Some(b'+') => Ink::Add,
        Some(b'-') => Ink::Remove,
        Some(b'@') => Ink::Change,
        Some(b'#') => Ink::Faint,
        _ => return line.to_owned(),
    };
    layout.paint(ink, line)
}

/// One guest: header, what stands in the way, and the hunk.
fn guest(change: &Change) -> String {
    let address = &change.address;
    let made = is_made(change) && change.has_steps();
    let gone = change.action == Action::Delete && change.has_steps();
    let destroyed = change.steps.iter().any(|step| step.effect == Effect::DataLoss);
    let file =
        |there: bool| if there { format!("{}/{}", address.cluster, address.name) } else { "/dev/null".to_owned() };
    let id = address.vmid.map_or_else(String::new, |vmid| format!(" {vmid}"));
    let node = change.node.as_ref().map_or_else(String::new, |node| format!(" on {node}"));
    let place = change.place.as_ref().map_or_else(String::new, |place| format!("  {place}"));
    let mut text = format!("--- {}\n+++ {}{place}\n", file(!made), file(!gone));
    text.push_str(&format!("@@ {} @@\n", format!("{} {}{id}{node}", verb(change), address.kind.noun()).trim_start()));
    if let Some(reason) = &change.reason {
        text.push_str(&comment(&format!("{}: {}", reason.code, reason.words)));
        text.extend(reason.hint.iter().map(|hint| comment(&format!("hint: {hint}"))));
    }
    for volume in &change.destroys {
        text.push_str(&if destroyed {
            format!("-{volume}  # destroyed\n")
        } else {
            comment(&format!("holds {volume}"))
        });
    }
    let told = |field: &&FieldChange| field.blocked.is_none();
    // What a clone brings along is no state of a guest that is not there.
    let before = yaml(change.fields.iter().filter(told), |field| field.before.as_deref().filter(|_| !made));
    let after = yaml(change.fields.iter().filter(told), |field| field.after.as_deref());
    let diff = TextDiff::from_lines(before.as_str(), after.as_str());
    for line in diff.iter_all_changes() {
        text.push_str(&format!("{}{}", line.tag(), line.value()));
    }
    for field in &change.fields {
        let effect = effect_words(change, field);
        if let Some(reason) = &field.blocked {
            let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
            let (name, before, after) = (&field.name, value(&field.before), value(&field.after));
            text.push_str(&comment(&format!("blocked: {name}: {before} → {after}: {}: {}", reason.code, reason.words)));
            text.extend(reason.hint.iter().map(|hint| comment(&format!("hint: {hint}"))));
        } else if !effect.is_empty() && !made {
            text.push_str(&comment(&format!("{}: {effect}", field.name)));
        }
    }
    text
}

fn comment(words: &str) -> String {
    words.lines().map(|line| format!("# {line}\n")).collect()
}

/// Fields as YAML: sub-keys below their option.
fn yaml<'a>(fields: impl Iterator<Item = &'a FieldChange>, value: impl Fn(&FieldChange) -> Option<&str>) -> String {
    let mut options: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    for field in fields {
        let Some(text) = value(field) else { continue };
        let (option, key) = field.name.split_once('.').unwrap_or((&field.name, ""));
        if !order.contains(&option) {
            order.push(option);
        }
        options.entry(option).or_default().push((key, text));
    }
    let mut text = String::new();
    for option in order {
        let keys = options.get(option).map(Vec::as_slice).unwrap_or_default();
        if keys.iter().any(|(key, _)| !key.is_empty()) {
            text.push_str(&format!("{option}:\n"));
        }
        for (key, value) in keys {
            let (indent, name) = if key.is_empty() { ("", option) } else { ("  ", *key) };
            if value.trim_end().contains('\n') {
                text.push_str(&format!("{indent}{name}: |-\n"));
                value.trim_end().lines().for_each(|line| text.push_str(&format!("{indent}  {line}\n")));
            } else {
                text.push_str(&format!("{indent}{name}: {}\n", value.trim_end()));
            }
        }
    }
    text
}
