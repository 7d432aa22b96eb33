//! Problems for machines that show them to people: GitHub's annotations, and SARIF.

use serde_json::{Value, json};

use super::plan_text::{effect_words, in_order_of_risk, is_made, verb};
use crate::diagnostics::{CODES, Diagnostic, Place, Severity};
use crate::plan::{Change, Effect, FieldChange, Plan, State};

/// Workflow commands, one a line, that GitHub shows at the lines they speak of.
pub fn github(diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        let command = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "notice",
        };
        let mut properties = Vec::new();
        if let Some(place) = &diagnostic.place {
            properties.push(format!("file={}", property(&place.file)));
            properties.push(format!("line={}", place.line));
            properties.push(format!("col={}", place.column));
            properties.push(format!("endColumn={}", place.column.saturating_add(place.length)));
        }
        properties.push(format!("title={}", property(&diagnostic.code)));
        text.push_str(&format!("::{command} {}::{}\n", properties.join(","), data(&message(diagnostic))));
    }
    text
}

/// What is wrong, what belongs to it, and what to do, a line each.
fn message(diagnostic: &Diagnostic) -> String {
    let mut lines = vec![diagnostic.message.clone()];
    lines.extend(diagnostic.related.iter().map(|(place, words)| format!("{words}: {place}")));
    lines.extend(diagnostic.hint.iter().map(|hint| format!("help: {hint}")));
    lines.join("\n")
}

/// The changes of a plan, the riskiest first: what destroys, what cannot be done, then the rest, each at the line of its
/// guest or field.
pub fn github_plan(plan: &Plan) -> String {
    let mut text = String::new();
    let mut write = |command: &str, place: Option<&Place>, title: &str, message: &str| {
        let mut properties: Vec<String> = Vec::new();
        if let Some(place) = place {
            properties.push(format!("file={}", property(&place.file)));
            properties.push(format!("line={}", place.line));
        }
        properties.push(format!("title={}", property(title.trim_start())));
        text.push_str(&format!("::{command} {}::{}\n", properties.join(","), data(message)));
    };
    for (name, part) in &plan.clusters {
        for item in &part.unread {
            write("error", None, name, &format!("{} could not be read: {}", item.what, item.reason));
        }
        if part.unread.iter().any(|item| item.what == "cluster") {
            continue;
        }
        for change in in_order_of_risk(&part.changes) {
            let destroys = change.steps.iter().any(|step| step.effect == Effect::DataLoss);
            let command = match change.state {
                State::Blocked | State::Unknown => "error",
                State::Waiting => "warning",
                State::Ready if destroys || change.steps.iter().any(|step| step.effect >= Effect::Downtime) => {
                    "warning"
                }
                State::Ready => "notice",
            };
            let mut lines: Vec<String> = Vec::new();
            if let Some(reason) = &change.reason {
                lines.push(format!("{}: {}", reason.code, reason.words));
                lines.extend(reason.hint.clone());
            }
            let fate = if change.has_steps() { "destroys" } else { "holds" };
            lines.extend(change.destroys.iter().map(|volume| format!("{fate} {volume}")));
            let is_plain = |field: &&FieldChange| field.blocked.is_none();
            lines.extend(change.fields.iter().filter(is_plain).map(|field| changed(change, field)));
            let title = format!("{} {} {}", verb(change), change.address.kind.noun(), change.address);
            write(command, change.place.as_ref(), &title, &lines.join("\n"));
            for field in &change.fields {
                let Some(reason) = &field.blocked else { continue };
                let hint = reason.hint.as_ref().map_or_else(String::new, |hint| format!("\n{hint}"));
                let title = format!("blocked: {} of {}", field.name, change.address);
                let message = format!("{}: {}{hint}", reason.code, reason.words);
                write("error", field.place.as_ref().or(change.place.as_ref()), &title, &message);
            }
        }
    }
    text
}

fn changed(change: &Change, field: &FieldChange) -> String {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
    let effect = match effect_words(change, field) {
        "" => String::new(),
        words => format!(" ({words})"),
    };
    match &field.before {
        None if is_made(change) => format!("{}: {}", field.name, value(&field.after)),
        _ => format!("{}: {} → {}{effect}", field.name, value(&field.before), value(&field.after)),
    }
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// SARIF 2.1.0, as code scanning reads it.
pub fn sarif(diagnostics: &[Diagnostic]) -> Value {
    let known = |code: &str| CODES.iter().find(|(name, _)| *name == code).map(|(_, is)| *is);
    let mut codes: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    let rules: Vec<Value> = codes
        .iter()
        .map(|code| json!({"id": code, "shortDescription": {"text": known(code).unwrap_or(code)}}))
        .collect();
    let results: Vec<Value> = diagnostics
        .iter()
        .map(|diagnostic| {
            let level = match diagnostic.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            };
            let mut result = json!({
                "ruleId": diagnostic.code,
                "level": level,
                "message": {"text": message(diagnostic)},
            });
            if let Some(place) = &diagnostic.place {
                result["locations"] = json!([location(place)]);
            }
            if !diagnostic.related.is_empty() {
                let related = diagnostic.related.iter().map(|(place, words)| {
                    let mut location = location(place);
                    location["message"] = json!({"text": words});
                    location
                });
                result["relatedLocations"] = related.collect();
            }
            result
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "pvefleet", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn location(place: &Place) -> Value {
    // A space or another special character makes no valid reference.
    let uri: String = place
        .file
        .replace('\\', "/")
        .bytes()
        .map(|byte| match byte {
            b if b.is_ascii_alphanumeric() || b"-._~/".contains(&b) => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect();
    json!({"physicalLocation": {
        "artifactLocation": {"uri": uri},
        "region": {
            "startLine": place.line,
            "startColumn": place.column,
            "endColumn": place.column.saturating_add(place.length),
        },
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> Diagnostic {
        let place = |line| Place { file: "a b/f,1.yaml".into(), line, column: 5, length: 3 };
        Diagnostic::error("wrong-value", "50% is\nwrong").at(&place(7)).also(&place(2), "first here").hint("write 5")
    }

    #[test]
    fn annotations_are_escaped() {
        assert_eq!(
            github(&[problem(), Diagnostic::note("spelling", "x"), Diagnostic::warning("empty", "y")]),
            "::error file=a b/f%2C1.yaml,line=7,col=5,endColumn=8,title=wrong-value::50%25 is%0Awrong%0A\
             first here: a b/f,1.yaml:2%0Ahelp: write 5\n\
             ::notice title=spelling::x\n::warning title=empty::y\n"
        );
    }

    #[test]
    fn sarif_has_rules_and_places() {
        let document = sarif(&[problem(), problem()]);
        assert_eq!(document["version"], "2.1.0");
        let run = &document["runs"][0];
        assert_eq!(run["tool"]["driver"]["rules"].as_array().unwrap().len(), 1);
        assert_eq!(run["results"][1]["ruleId"], "wrong-value");
        let location = &run["results"][0]["locations"][0]["physicalLocation"];
        assert_eq!(location["artifactLocation"]["uri"], "a%20b/f%2C1.yaml");
        assert_eq!(location["region"], json!({"startLine": 7, "startColumn": 5, "endColumn": 8}));
        assert_eq!(run["results"][0]["relatedLocations"][0]["message"]["text"], "first here");
    }
}
