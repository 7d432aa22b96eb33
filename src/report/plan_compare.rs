//! What two plans do differently, in words.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::plan_text::in_order_of_risk;
use crate::plan::{Base, Change, FieldChange, Plan, Step, Template};

/// The differences between two plans, a line each; what belongs to a guest is indented below it. None where they
/// would do the same to the same.
pub fn differences(first: &Plan, second: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    if first.fleet != second.fleet || first.scope != second.scope {
        let name = |plan: &Plan| match plan.scope.as_str() {
            "" => plan.fleet.clone(),
            scope => format!("{}, scope {scope}", plan.fleet),
        };
        lines.push(format!("they are of different fleets: {} and {}", name(first), name(second)));
    }
    let names: BTreeSet<&String> = first.clusters.keys().chain(second.clusters.keys()).collect();
    for name in names {
        match (first.clusters.get(name), second.clusters.get(name)) {
            (Some(_), None) => lines.push(format!("{name}: only the first plan is for it")),
            (None, Some(_)) => lines.push(format!("{name}: only the second plan is for it")),
            (Some(one), Some(other)) => {
                if one.identity != other.identity {
                    lines.push(format!("{name}: it is another cluster, or has other nodes"));
                }
                let said = |unread: &[crate::plan::Unread]| -> BTreeSet<String> {
                    unread.iter().map(|item| item.what.clone()).collect()
                };
                let (before, after) = (said(&one.unread), said(&other.unread));
                lines.extend(before.difference(&after).map(|what| format!("{name}: {what} can be read now")));
                lines.extend(after.difference(&before).map(|what| format!("{name}: {what} could not be read now")));
                lines.extend(changes(&one.changes, &other.changes));
            }
            (None, None) => {}
        }
    }
    lines
}

fn changes(first: &[Change], second: &[Change]) -> Vec<String> {
    // An id that a plan chose is no part of who a guest is.
    let key = |change: &Change| {
        let is_nameless = change.address.name.is_empty();
        (change.address.kind, change.address.name.clone(), change.address.vmid.filter(|_| is_nameless))
    };
    let worth_telling = |changes: &[Change]| -> BTreeMap<_, Change> {
        in_order_of_risk(changes).into_iter().map(|change| (key(change), change.clone())).collect()
    };
    let (before, after) = (worth_telling(first), worth_telling(second));
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).cloned().collect();
    let mut lines = Vec::new();
    for key in keys {
        match (before.get(&key), after.get(&key)) {
            (Some(one), None) => lines.push(format!("{}: only the first plan would {}", title(one), does(one))),
            (None, Some(other)) => lines.push(format!("{}: only the second plan would {}", title(other), does(other))),
            (Some(one), Some(other)) => {
                let told = guest(one, other);
                if !told.is_empty() {
                    lines.push(format!("{}:", title(other)));
                    lines.extend(told.into_iter().map(|line| format!("  {line}")));
                }
            }
            (None, None) => {}
        }
    }
    lines
}

fn title(change: &Change) -> String {
    let id = change.address.vmid.map_or_else(String::new, |vmid| format!(" {vmid}"));
    format!("{}: {} {}{id}", change.address.cluster, change.address.kind.noun(), change.address.name)
}

/// What a plan does with a guest, after "would".
fn does(change: &Change) -> String {
    if change.has_steps() {
        return format!("{} it", change.action);
    }
    match &change.reason {
        Some(reason) => format!("leave it {} ({})", change.state, reason.code),
        None => "leave it as it is".to_owned(),
    }
}

fn guest(one: &Change, other: &Change) -> Vec<String> {
    let mut lines = Vec::new();
    if does(one) != does(other) {
        lines.push(format!("the first would {}, the second would {}", does(one), does(other)));
    }
    if one.address.vmid != other.address.vmid {
        let id = |change: &Change| change.address.vmid.map_or_else(|| "none".to_owned(), |vmid| vmid.to_string());
        lines.push(format!("its id: {}, then {}", id(one), id(other)));
    }
    let fields = |change: &Change| -> BTreeMap<String, FieldChange> {
        change.fields.iter().map(|field| (field.name.clone(), field.clone())).collect()
    };
    let (before, after) = (fields(one), fields(other));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let words = (before.get(name).map(value), after.get(name).map(value));
        match words {
            (Some(first), Some(second)) if first != second => lines.push(format!("{name}: {first}, then {second}")),
            (Some(first), None) => lines.push(format!("{name}: {first} in the first alone")),
            (None, Some(second)) => lines.push(format!("{name}: {second} in the second alone")),
            _ => {}
        }
    }
    lines.extend(base(&one.base, &other.base));
    if lines.is_empty() && one.steps != other.steps {
        lines.extend(steps(&one.steps, &other.steps));
    }
    lines
}

/// `2048 → 4096`, and whether it is blocked.
fn value(field: &FieldChange) -> String {
    let text =
        |value: &Option<String>| value.as_ref().map_or_else(|| "(none)".to_owned(), |text| text.replace('\n', "⏎"));
    let blocked = field.blocked.as_ref().map_or_else(String::new, |reason| format!(" blocked ({})", reason.code));
    format!("{} → {}{blocked}", text(&field.before), text(&field.after))
}

/// What was read otherwise.
fn base(one: &Base, other: &Base) -> Vec<String> {
    let flat = |base: &Base| {
        let mut found = BTreeMap::new();
        flatten("", &serde_json::to_value(base).unwrap_or_default(), &mut found);
        found
    };
    let (before, after) = (flat(one), flat(other));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let shown = |found: &BTreeMap<String, String>, name: &str| {
        found.get(name).map_or_else(|| "(none)".to_owned(), |text| text.replace('\n', "⏎"))
    };
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| format!("read live: {name}: {}, then {}", shown(&before, name), shown(&after, name)))
        .collect()
}

fn flatten(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                // Current values are what is meant where nothing else is said.
                let name = match path {
                    "" | "current" => key.clone(),
                    path => format!("{path} {key}"),
                };
                flatten(&name, value, found);
            }
        }
        Value::Null => {}
        Value::String(text) => drop(found.insert(path.to_owned(), text.clone())),
        other => drop(found.insert(path.to_owned(), other.to_string())),
    }
}

/// Calls that differ though no field does.
fn steps(one: &[Step], other: &[Step]) -> Vec<String> {
    let call = |step: &Step| {
        let params: Vec<String> =
            step.call.params.iter().map(|(name, value)| format!("{name}={}", shown(value))).collect();
        format!("{} {} {}", step.call.method, shown(&step.call.path), params.join(" "))
    };
    let (before, after): (Vec<String>, Vec<String>) =
        (one.iter().map(call).collect(), other.iter().map(call).collect());
    let only = |these: &[String], those: &[String], which: &str| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).map(|line| format!("{which} alone sends: {line}")).collect()
    };
    let mut lines = only(&before, &after, "the first");
    lines.extend(only(&after, &before, "the second"));
    if lines.is_empty() {
        lines.push("the same calls, in another order".to_owned());
    }
    lines
}

/// A text with its holes, as people read them.
fn shown(template: &Template) -> String {
    template.to_string()
}
