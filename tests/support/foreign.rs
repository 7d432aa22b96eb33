//! Recordings and scenarios in the forms in which the recorders write them, as the checked-in data has them.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// The text of the file that a variable names, where it names one.
pub fn named_by(variable: &str) -> Option<String> {
    let path = std::env::var_os(variable)?;
    Some(std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// Parameters of any form as a form would carry them.
pub fn values(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Bool(truth) => vec![u8::from(*truth).to_string()],
        Value::Array(list) => list.iter().flat_map(values).collect(),
        Value::Null => Vec::new(),
        other => vec![other.to_string()],
    }
}

/// What a later state changed of an earlier one; what went is null.
fn changes(before: &Value, after: &Value) -> Map<String, Value> {
    let empty = Map::new();
    let (before, after) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
    let new = after.iter().filter(|(name, value)| before.get(*name) != Some(value));
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    new.map(|(name, value)| (name.clone(), value.clone())).chain(gone.map(|name| (name.clone(), Value::Null))).collect()
}

/// The scenarios of a document with the key `scenarios`, one line each of whose steps says what it changed.
pub fn scenarios(text: &str) -> Vec<Value> {
    let document: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("no JSON: {error}"));
    document["scenarios"].as_array().into_iter().flatten().map(scenario).collect()
}

fn scenario(recorded: &Value) -> Value {
    let setup = &recorded["setup"];
    let (mut files, mut volumes) = (setup["files"].clone(), setup["volumes"].clone());
    let mut steps = Vec::new();
    for step in recorded["steps"].as_array().into_iter().flatten() {
        let (request, response) = (&step["request"], &step["response"]);
        let exits = step["tasks"].as_array().into_iter().flatten().map(|task| task["exitstatus"].clone());
        let mut own = json!({
            "method": request["method"], "path": request["path"], "params": request["params"],
            "status": response["status"], "reason": response["reason"], "body": response["body"],
            "exit": exits.collect::<Vec<_>>(),
            "files": changes(&files, &step["files_after"]), "volumes": changes(&volumes, &step["volumes_after"]),
        });
        // Of the cluster's other files, those that the simulator keeps as text.
        let kept = ["firewall/", "ha/rules.cfg", "jobs.cfg", "mapping/", "sdn/"];
        let files_of_cluster = step["cluster_files_changed"].as_object().into_iter().flatten();
        own["cluster"] = files_of_cluster
            .filter(|(path, _)| kept.iter().any(|kept| path.starts_with(kept)))
            .map(|(path, text)| (path.clone(), text.clone()))
            .collect();
        for name in ["user", "headers"] {
            if let Some(value) = request.get(name) {
                own[name] = value.clone();
            }
        }
        (files, volumes) = (step["files_after"].clone(), step["volumes_after"].clone());
        steps.push(own);
    }
    json!({ "name": recorded["name"], "setup": setup, "steps": steps })
}

/// Who asked, in the short words of the checked-in recordings.
fn who(text: &str) -> &str {
    match text {
        "no Authorization header" => "nobody",
        "nonexistent token" => "no such token",
        "nonexistent user" => "no such user",
        "root token, sent to b2" => "root@pam!test",
        text if text.contains("wrong secret") => "wrong secret",
        text => text.split_whitespace().next().unwrap_or(text),
    }
}

/// A path without its query, and the pairs of the query.
fn split_query(target: &str) -> (&str, Vec<Value>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let decoded = |text: &str| pvefleet::pve::http::percent_decode(&text.replace('+', " "));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    (path, pairs.map(|(name, value)| json!([decoded(name), decoded(value)])).collect())
}

/// The body that a note tells of: a request whose body was JSON has no parameters beside it.
fn noted_params(entry: &Value) -> Vec<Value> {
    let notes = entry["notes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let body = notes.filter_map(|note| note.strip_prefix("JSON body: `")?.strip_suffix('`')).next();
    let body: Value = body.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    pairs(&body)
}

fn pairs(params: &Value) -> Vec<Value> {
    let named = params.as_object().into_iter().flatten();
    named.flat_map(|(name, value)| values(value).into_iter().map(move |value| json!([name, value]))).collect()
}

/// The lines of a recording, each an exchange or something that happened between two of them.
///
/// Lines that are in the checked-in form already stay as they are.
pub fn recorded(text: &str) -> Vec<Value> {
    let mut entries = Vec::new();
    let mut section = String::new();
    let mut down: BTreeSet<String> = BTreeSet::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON: {error}: {line}"));
        if entry.get("section").is_none() || entry.get("method").is_none() {
            entries.push(entry);
            continue;
        }
        let name = entry["section"].as_str().unwrap_or_default();
        if name != section {
            name.clone_into(&mut section);
            entries.push(json!({ "section": name }));
            if let Some(world) = name.contains("CT 210").then_some("c") {
                entries.push(json!({ "enter": world }));
            }
            if name.starts_with("Quorum lost") {
                entries.push(json!({ "quorate": false }));
            }
        }
        // A node is down from the first request that it does not get to the first one that it gets again.
        let target = entry["path"].as_str().and_then(|path| path.strip_prefix("/nodes/")?.split('/').next());
        if let Some(node) = target {
            let gone = entry["status"] == 595;
            let changed = if gone { down.insert(node.to_owned()) } else { down.remove(node) };
            if changed {
                entries.push(json!({ "node": node, "online": !gone }));
            }
        }
        let (path, mut params) = split_query(entry["path"].as_str().unwrap_or_default());
        params.extend(pairs(&entry["params"]));
        params.extend(noted_params(&entry));
        let asked = entry["as"].as_str().unwrap_or("root@pam!test");
        let mut own = json!({
            "n": entry["n"], "method": entry["method"], "path": path, "params": params, "as": who(asked),
            "status": entry["status"], "reason": entry["reason"], "ms": entry["ms"],
        });
        for (name, value) in [("body", entry.get("body")), ("exit", entry["task"].get("exitstatus"))] {
            if let Some(value) = value.filter(|value| !value.is_null()) {
                own[name] = value.clone();
            }
        }
        if entry.get("body_cut").is_some() || entry.get("body_text").is_some() {
            own["cut"] = json!(true);
        }
        if let Some(node) = asked.strip_prefix("root token, sent to ") {
            own["node"] = json!(node);
        }
        entries.push(own);
        let notes = entry["notes"].as_array().into_iter().flatten().filter_map(Value::as_str);
        if notes.into_iter().any(|note| note.contains("come back")) {
            entries.push(json!({ "quorate": true }));
            entries.extend(std::mem::take(&mut down).into_iter().map(|node| json!({ "node": node, "online": true })));
        }
    }
    entries
}
