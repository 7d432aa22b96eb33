//! `each: {n: 1..3}`: one guest for each value of a variable.

use std::collections::BTreeMap;

use minijinja::value::Value;

use super::decode::Problems;
use super::model::Instance;
use super::source::{Node, NodeKind};
use super::template;

/// Most guests that one `each` makes.
const MAX_INSTANCES: u64 = 10_000;

/// The variable and its values, each with the words for it; nothing where that cannot be read.
pub(super) fn read(problems: &mut Problems, node: &Node) -> Option<(String, Vec<(Instance, Value)>)> {
    if !problems.literal("`each`", node) {
        return None;
    }
    let hint = "write `each: {n: 1..3}`, or `each: {h: [{name: a}, {name: b}]}`";
    let entries = match &node.kind {
        NodeKind::Map(entries) => entries.as_slice(),
        _ => &[],
    };
    let [(key, values)] = entries else {
        let message = match entries.len() {
            0 => "`each` is a map of one variable to its values".to_owned(),
            several => format!("`each` has exactly one variable, and {several} stand here"),
        };
        problems.error_hint("each", message, &node.mark, hint);
        return None;
    };
    let name = key.text.as_str();
    if !is_variable(name) {
        let message = format!("`{name}` cannot be the name of a variable");
        problems.error_hint("each", message, &key.mark, "letters, digits and `_`, no digit first");
        return None;
    }
    if problems.scope.has(name) {
        let message = format!("`{name}` is a variable of `vars` already");
        problems.error_hint("each", message, &key.mark, "give one of them another name");
        return None;
    }
    let instance = |words: String, node: &Node| Instance { words, place: node.place() };
    let instances: Vec<(Instance, Value)> = match &values.kind {
        NodeKind::Scalar { text, .. } => {
            let Some((first, last)) = range(text) else {
                let message = format!("`{text}` is no range of whole numbers");
                problems.error_hint("each", message, &values.mark, "write 1..3, or a list of values");
                return None;
            };
            if first > last || last.abs_diff(first) >= MAX_INSTANCES {
                let (message, hint) = if first > last {
                    (format!("`{text}` ends before it begins"), "write the smaller number first")
                } else {
                    (format!("`{text}` makes more than {MAX_INSTANCES} guests"), "split it")
                };
                problems.error_hint("each", message, &values.mark, hint);
                return None;
            }
            (first..=last).map(|n| (instance(format!("{name} = {n}"), values), Value::from(n))).collect()
        }
        NodeKind::List(items) if items.len() as u64 <= MAX_INSTANCES => {
            let mut instances = Vec::new();
            for item in items {
                let words = match &item.kind {
                    NodeKind::Scalar { text, .. } => format!("{name} = {text}"),
                    NodeKind::Map(entries) => match entries.iter().find_map(|(key, node)| Some((key, node.text()?))) {
                        Some((key, text)) => format!("{name}.{} = {text}", key.text),
                        None => format!("{name} number {}", instances.len() + 1),
                    },
                    _ => {
                        let message =
                            format!("a value of `each` is one value or a map, and {} stands here", item.noun());
                        problems.error_hint("each", message, &item.mark, hint);
                        return None;
                    }
                };
                instances.push((instance(words, item), template::to_value(item)));
            }
            instances
        }
        _ => {
            let message = format!("the values of `{name}` are a list or a range, and {} stands here", values.noun());
            problems.error_hint("each", message, &values.mark, hint);
            return None;
        }
    };
    Some((name.to_owned(), instances))
}

/// `1..3` as its ends.
fn range(text: &str) -> Option<(i64, i64)> {
    let (first, last) = text.split_once("..")?;
    let number = |text: &str| text.parse::<i64>().ok().filter(|number| number.to_string() == text);
    Some((number(first.trim())?, number(last.trim())?))
}

/// True for a name that templates can speak of.
pub(super) fn is_variable(name: &str) -> bool {
    const WORDS: [&str; 12] = ["true", "false", "none", "True", "False", "None", "not", "and", "or", "in", "is", "if"];
    let fits = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    fits && name != "else" && !WORDS.contains(&name)
}

/// Reads `vars` of one file over what is known already.
///
/// A stronger file's value wins; two files of the same rank must agree.
pub(super) fn variables(problems: &mut Problems, node: &Node, rank: u8, known: &mut BTreeMap<String, (Node, u8)>) {
    for (key, value) in problems.map("vars", node) {
        let name = key.text.as_str();
        if !is_variable(name) {
            let message = format!("`{name}` cannot be the name of a variable");
            problems.error_hint("wrong-value", message, &key.mark, "letters, digits and `_`, no digit first");
            continue;
        }
        if !problems.literal("a variable", value) {
            continue;
        }
        match known.get(name) {
            Some((first, other)) if *other == rank && template::to_value(first) != template::to_value(value) => {
                let problem = crate::diagnostics::Diagnostic::error(
                    "disagreement",
                    format!("the variable `{name}` is given twice, and differs"),
                );
                problems.list.push(problem.at(&value.place()).also(&first.place(), "first given here"));
            }
            _ => {
                known.insert(name.to_owned(), (value.clone(), rank));
            }
        }
    }
}
