//! Answers of real Proxmox VE 9.1.9 and 8.4.21, replayed against the simulator.
//!
//! Status, reason and body must agree, up to what no two servers have in common: digests, MAC addresses, ids of
//! tasks, times, loads. Exchanges that do not agree yet are named in `recorded/known-differences.txt` with the
//! reason; that list can only become shorter, because one that agrees and is still named fails the test.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use pvefleet::pve::value::Vmid;
use pvefleet::sim::{Cluster, ClusterSpec, IncomingRequest};
use regex::Regex;
use serde_json::{Value, json};

const RECORDED: [(&str, &str); 2] =
    [("9.1.9", include_str!("recorded/pve-9.1.9.jsonl")), ("8.4.21", include_str!("recorded/pve-8.4.21.jsonl"))];
const WORLDS: &str = include_str!("recorded/worlds.yaml");
const KNOWN: &str = include_str!("recorded/known-differences.txt");

/// Numbers that differ from server to server, or from moment to moment.
const VOLATILE: &[&str] = &[
    "cpu",
    "mem",
    "memhost",
    "disk",
    "uptime",
    "pid",
    "pstart",
    "starttime",
    "endtime",
    "snaptime",
    "ctime",
    "used",
    "avail",
    "used_fraction",
    "ssl_fingerprint",
    "pve_fp",
    "repoid",
    "time",
    "localtime",
    "cgroup-mode",
    "total",
    "next-run",
];

/// Numbers that are the machine's in rows about nodes and storages, and the guest's in rows about guests.
const OF_THE_HOST: &[&str] = &["maxcpu", "maxdisk", "maxmem", "total", "ip", "size"];

fn normalise(value: &Value) -> Value {
    static PATTERNS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        [
            (r"UPID:[^:]+:[0-9A-F]{8}:[0-9A-F]{8}:[0-9A-F]{8}:", "UPID:"),
            (r"\b[0-9a-f]{40}\b", "<digest>"),
            (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<uuid>"),
            (r"BC:24:11(:[0-9A-F]{2}){3}", "<mac>"),
            (r"ctime=\d+", "ctime=<time>"),
            (r"\$5\$.*", "<hash>"),
            (r"\.tmp\.\d+", ".tmp.<pid>"),
        ]
        .map(|(pattern, text)| (Regex::new(pattern).unwrap(), text))
        .into()
    });
    match value {
        Value::String(text) => {
            let mut text = text.clone();
            for (pattern, with) in PATTERNS.iter() {
                text = pattern.replace_all(&text, *with).into_owned();
            }
            json!(text)
        }
        Value::Array(list) => {
            let mut list: Vec<Value> = list.iter().map(normalise).collect();
            // Most lists come out of hashes there.
            list.sort_by_key(Value::to_string);
            json!(list)
        }
        Value::Object(object) => {
            let about_host = object
                .get("type")
                .is_some_and(|ty| matches!(ty.as_str(), Some("node" | "storage" | "dir" | "cluster")))
                || object.contains_key("volid") && object.get("content") != Some(&json!("images"));
            let entries = object.iter().map(|(key, value)| {
                let volatile = VOLATILE.contains(&key.as_str()) || (about_host && OF_THE_HOST.contains(&key.as_str()));
                let value = match value {
                    Value::Number(_) | Value::Null if volatile => json!("<volatile>"),
                    _ if volatile && (about_host || key != "cpu") => json!("<volatile>"),
                    Value::String(text) if key == "content" => {
                        let mut kinds: Vec<&str> = text.split(',').collect();
                        kinds.sort_unstable();
                        json!(kinds.join(","))
                    }
                    value => normalise(value),
                };
                (key.clone(), value)
            });
            Value::Object(entries.collect())
        }
        other => other.clone(),
    }
}

/// What is compared of an answer.
fn shown(status: u16, reason: &str, body: Option<&Value>) -> String {
    let body = body.map(|body| normalise(body).to_string()).unwrap_or_default();
    format!("{status} {} {body}", normalise(&json!(reason)))
}

struct Replay {
    worlds: BTreeMap<String, ClusterSpec>,
    cluster: Cluster,
    node: String,
    now: u64,
    /// Ids of recorded tasks, and those that the simulator gave.
    tasks: BTreeMap<String, String>,
}

impl Replay {
    fn new() -> Self {
        let mut tree: serde_yaml::Value = serde_yaml::from_str(WORLDS).unwrap();
        tree.apply_merge().unwrap();
        let worlds: BTreeMap<String, ClusterSpec> = serde_yaml::from_value(tree).unwrap();
        let cluster = Cluster::new(worlds["a"].clone(), 0);
        Self { worlds, cluster, node: String::new(), now: 0, tasks: BTreeMap::new() }
    }

    /// What happened between two exchanges.
    fn prepare(&mut self, entry: &Value) {
        if let Some(world) = entry["world"].as_str() {
            let spec = self.worlds[world].clone();
            self.node.clone_from(&spec.nodes[0].name);
            self.cluster = Cluster::new(spec, 0);
            self.now = 0;
        } else if let Some(wait) = entry["wait"].as_u64() {
            self.now += wait;
            self.cluster.advance_to(self.now);
        } else if entry["align"] == json!(true) {
            // Just after the nodes told each other about their guests.
            self.now = self.now / 10_000 * 10_000 + 10_001;
            self.cluster.advance_to(self.now);
        } else if let Some(call) = entry["call"].as_array() {
            self.send(&json!({ "method": call[0], "path": call[1], "as": "root@pam!test" }));
            self.settle();
        } else if let Some(node) = entry["node"].as_str() {
            self.cluster.set_node_online(node, entry["online"] == json!(true));
        } else if let Some(vmid) = entry["edit"].as_u64() {
            let vmid = Vmid::new(u32::try_from(vmid).unwrap()).unwrap();
            let (kind, node, text) = self.cluster.guest_file(vmid).unwrap();
            let (node, mut text) = (node.to_owned(), text.clone());
            for (key, value) in entry["set"].as_object().into_iter().flatten() {
                text = format!("{key}: {}\n{text}", value.as_str().unwrap());
            }
            for key in entry["unset"].as_array().into_iter().flatten() {
                let start = format!("{}: ", key.as_str().unwrap());
                text = text.lines().filter(|line| !line.starts_with(&start)).map(|line| format!("{line}\n")).collect();
            }
            self.cluster.write_guest_file(kind, vmid, &node, &text);
        }
    }

    fn send(&mut self, entry: &Value) -> (u16, String, Option<Value>) {
        let token = |id: &str| Some(format!("PVEAPIToken={id}=s"));
        let authorization = match entry["as"].as_str().unwrap() {
            "nobody" => None,
            "wrong secret" => Some("PVEAPIToken=root@pam!test=wrong".to_owned()),
            "no such user" => token("nobody@pve!test"),
            "no such token" => token("root@pam!nope"),
            id => token(id),
        };
        let mut path = entry["path"].as_str().unwrap().to_owned();
        for (recorded, own) in &self.tasks {
            path = path.replace(recorded, own);
        }
        let pairs = entry["params"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let request = IncomingRequest {
            method: text(&entry["method"]),
            path,
            params: pairs.map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
            authorization,
            node: entry["node"].as_str().unwrap_or(&self.node).to_owned(),
            ..IncomingRequest::default()
        };
        let reply = self.cluster.handle(&request, self.now);
        self.now += reply.delay + 20;
        let body = (!reply.response.body.is_empty()).then(|| serde_json::from_str(&reply.response.body).unwrap());
        (reply.response.status, reply.response.reason, body)
    }

    /// Waits until no task runs.
    fn settle(&mut self) {
        while self.cluster.is_busy() {
            self.now += 50;
            self.cluster.advance_to(self.now);
        }
    }

    /// Waits for the task of an answer and returns how it ended.
    fn end_of(&mut self, upid: &str) -> String {
        self.settle();
        let node = upid.split(':').nth(1).unwrap();
        let path = format!("/nodes/{node}/tasks/{upid}/status");
        let (_, _, body) = self.send(&json!({ "method": "GET", "path": path, "as": "root@pam!test" }));
        body.unwrap()["data"]["exitstatus"].as_str().unwrap().to_owned()
    }

    /// Replays one exchange; the difference, where there is one.
    fn exchange(&mut self, entry: &Value) -> Option<String> {
        let (status, reason, body) = self.send(entry);
        if let (Some(recorded), Some(own)) =
            (entry["body"]["data"].as_str(), body.as_ref().and_then(|b| b["data"].as_str()))
            && recorded.starts_with("UPID:")
        {
            self.tasks.insert(recorded.to_owned(), own.to_owned());
        }
        let wanted_status = u16::try_from(entry["status"].as_u64().unwrap()).unwrap();
        let wanted_reason = entry["reason"].as_str().unwrap();
        let compare = entry.get("cut").is_none();
        let wanted = shown(wanted_status, wanted_reason, entry.get("body").filter(|_| compare));
        let got = shown(status, &reason, body.as_ref().filter(|_| compare));
        if wanted != got {
            return Some(format!("recorded:  {wanted}\n  simulated: {got}"));
        }
        if let (Some(wanted), Some(upid)) = (entry["exit"].as_str(), body.as_ref().and_then(|b| b["data"].as_str())) {
            let upid = upid.to_owned();
            let got = self.end_of(&upid);
            if normalise(&json!(wanted)) != normalise(&json!(got)) {
                return Some(format!("recorded task:  {wanted}\n  simulated task: {got}"));
            }
        }
        None
    }
}

/// The names on the list, without their reasons.
fn known_differences() -> BTreeSet<&'static str> {
    let lines = KNOWN.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once("  — ").map_or(line, |(name, _)| name)).collect()
}

#[test]
fn recorded_exchanges_agree() {
    let known = known_differences();
    let (mut unlisted, mut healed, mut met) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (release, recorded) in RECORDED {
        let mut replay = Replay::new();
        let (mut agreed, mut total) = (0, 0);
        for line in recorded.lines() {
            let entry: Value = serde_json::from_str(line).unwrap();
            let Some(number) = entry.get("n").and_then(Value::as_u64) else {
                replay.prepare(&entry);
                continue;
            };
            total += 1;
            let (method, path) = (entry["method"].as_str().unwrap(), entry["path"].as_str().unwrap());
            let name = format!("{release} {number:03} {method} {path}");
            let listed = known.contains(name.as_str());
            met.insert(name.clone());
            match replay.exchange(&entry) {
                None => {
                    agreed += 1;
                    if listed {
                        healed.push(name);
                    }
                }
                Some(_) if listed => {}
                Some(difference) => unlisted.push(format!("{name} {}\n  {difference}", entry["params"])),
            }
        }
        println!("recorded {release}: agree {agreed} of {total}");
    }
    for name in known.iter().filter(|name| !met.contains(**name)) {
        unlisted.push(format!("{name}: on the list, and not recorded"));
    }
    let text = unlisted.join("\n");
    assert!(unlisted.is_empty(), "{} exchanges differ:\n{text}", unlisted.len());
    assert!(healed.is_empty(), "these agree now and must leave the list: {healed:#?}");
}
