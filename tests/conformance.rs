//! Answers of real Proxmox VE 9.1.9 and 8.4.21, replayed against the simulator.
//!
//! Status, reason and body must agree, up to what no two servers have in common: digests, MAC addresses, ids of
//! tasks, times, loads. Exchanges that do not agree yet are named in `recorded/known-differences.txt` with the
//! reason; that list can only become shorter, because one that agrees and is still named fails the test.

//!
//! `PVEFLEET_RECORDED=FILE cargo test --test conformance -- --nocapture` replays another recording, as its recorder
//! writes it: differences are printed, and of a hundred exchanges three may differ. Which server it came from is told
//! by the names of its nodes.

#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "support/foreign.rs"]
#[expect(dead_code, clippy::panic, reason = "some of it is for scenarios, and a test that cannot go on ends")]
mod foreign;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use pvefleet::pve::value::{GuestKind, Vmid};
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

/// The password of whoever logs in.
const PASSWORD: &str = "secret";

/// The cluster that a recording is of, and where its story stands.
struct Replay {
    worlds: BTreeMap<String, ClusterSpec>,
    world: String,
    cluster: Cluster,
    node: String,
    now: u64,
    /// Ids of recorded tasks, and those that the simulator gave.
    tasks: BTreeMap<String, String>,
    /// The clusters that the story left, to come back to.
    left: BTreeMap<String, (Cluster, u64)>,
    /// The guests that somebody locked by hand.
    locked: BTreeSet<u32>,
    /// The guests that there ever were, by world.
    known: BTreeSet<(String, u32)>,
}

impl Replay {
    fn new() -> Self {
        let mut tree: serde_yaml::Value = serde_yaml::from_str(WORLDS).unwrap();
        tree.apply_merge().unwrap();
        let mut worlds: BTreeMap<String, ClusterSpec> = serde_yaml::from_value(tree).unwrap();
        for spec in worlds.values_mut().filter(|spec| spec.users.iter().all(|user| user.id != "root@pam")) {
            spec.users.push(serde_json::from_value(json!({ "id": "root@pam", "password": PASSWORD })).unwrap());
        }
        let cluster = Cluster::new(worlds["a"].clone(), 0);
        let node = worlds["a"].nodes[0].name.clone();
        let (tasks, left, locked, known) = Default::default();
        Self { worlds, world: "a".to_owned(), cluster, node, now: 0, tasks, left, locked, known }
    }

    /// Goes over to another world, or back to one.
    fn enter(&mut self, world: &str) {
        let spec = self.worlds[world].clone();
        let (cluster, now) = self.left.remove(world).unwrap_or_else(|| (Cluster::new(spec.clone(), 0), 0));
        self.node.clone_from(&spec.nodes[0].name);
        let old = (std::mem::replace(&mut self.cluster, cluster), std::mem::replace(&mut self.now, now));
        self.left.insert(std::mem::replace(&mut self.world, world.to_owned()), old);
    }

    fn has_node(&self, world: &str, node: &str) -> bool {
        self.worlds.get(world).is_some_and(|spec| spec.nodes.iter().any(|spec| spec.name == node))
    }

    /// Finds the server of a recording that does not say so, and what was done to it beside the requests.
    fn find_world(&mut self, entries: &[Value]) {
        let node_of =
            |entry: &Value| entry["path"].as_str()?.strip_prefix("/nodes/")?.split('/').next().map(str::to_owned);
        let known = |node: &String| self.worlds.keys().any(|world| self.has_node(world, node));
        let Some(node) = entries.iter().filter(|entry| entry["status"] == 200).find_map(node_of) else { return };
        let release = entries.iter().find_map(|entry| entry["body"]["data"]["version"].as_str());
        if !known(&node) {
            // A server that nobody described: like the one of its release, by another name.
            let like = if release.is_some_and(|version| version.starts_with('8')) { "d" } else { "a" };
            let mut spec = self.worlds[like].clone();
            spec.nodes[0].name.clone_from(&node);
            spec.volumes.clear();
            if let Some(version) = release {
                version.clone_into(&mut spec.version);
            }
            self.worlds.insert("unknown".to_owned(), spec);
        }
        self.enter_node(&node);
    }

    /// Goes to the world that has the node, where it is another one.
    fn enter_node(&mut self, node: &str) {
        if !self.has_node(&self.world, node)
            && let Some(world) = self.worlds.keys().find(|world| self.has_node(world, node)).cloned()
        {
            self.enter(&world);
        }
    }

    /// What a recording without remarks shows of what was done by other means than its requests.
    fn infer(&mut self, entry: &Value, later: &[Value]) {
        let path = entry["path"].as_str().unwrap_or_default();
        let parts: Vec<&str> = path.split('/').collect();
        let rows = || entry["body"]["data"].as_array().into_iter().flatten();
        if let ["", "nodes", node, ..] = parts.as_slice() {
            self.enter_node(node);
        } else {
            let named = rows().flat_map(|row| [row["node"].as_str(), row["name"].as_str()]).flatten();
            let known = |node: &&str| self.worlds.keys().any(|world| self.has_node(world, node));
            if let Some(node) = named.filter(|_| entry["status"] == 200).find(known) {
                self.enter_node(node);
            }
        }
        let told = format!("{} {}", entry["reason"], entry["exit"]);
        let concurrent =
            ["got timeout", "is locked", "interrupt", "no such task"].iter().any(|text| told.contains(text));
        // The script waited for what was under way where it went on as if nothing was.
        if entry["method"] != "GET" && !path.contains("/tasks/") && !concurrent && entry["exit"] == "OK" {
            self.settle();
        }
        self.clean_up(entry, &parts, &told);
        let known: Vec<(String, u32)> = self.cluster.guest_ids().map(|vmid| (self.world.clone(), vmid.get())).collect();
        self.known.extend(known);
        let ["", "nodes", node, kind, vmid, rest @ ..] = parts.as_slice() else { return };
        let (kind, vmid) = match (*kind, vmid.parse().ok().and_then(Vmid::new)) {
            ("qemu", Some(vmid)) => (GuestKind::Qemu, vmid),
            ("lxc", Some(vmid)) => (GuestKind::Lxc, vmid),
            _ => return,
        };
        if self.cluster.is_busy() {
            return;
        }
        let Some((_, _, file)) = self.cluster.guest_file(vmid) else {
            // One that was there and went is not there again.
            if self.known.contains(&(self.world.clone(), vmid.get())) {
                return;
            }
            self.take_over(kind, vmid, node, entry, later);
            return;
        };
        // A lock that no request set was set by hand, and went by hand.
        let wanted = entry["body"]["data"]["lock"].as_str();
        let is_config = entry["method"] == "GET" && *rest == ["config"] && entry["status"] == 200;
        let has = file.lines().any(|line| line.starts_with("lock: "));
        if let Some(lock) = wanted.filter(|_| is_config && !has) {
            self.locked.insert(vmid.get());
            self.cluster.write_guest_file(kind, vmid, node, &format!("lock: {lock}\n{file}"));
        } else if self.locked.contains(&vmid.get())
            && ((is_config && wanted.is_none())
                || (entry["method"] != "GET" && entry["status"] == 200 && !told.contains("locked")))
        {
            self.locked.remove(&vmid.get());
            let text: String =
                file.lines().filter(|line| !line.starts_with("lock: ")).map(|line| format!("{line}\n")).collect();
            self.cluster.write_guest_file(kind, vmid, node, &text);
        }
    }

    /// Takes away the guests that a recording no longer has, though no request of it says why.
    fn clean_up(&mut self, entry: &Value, parts: &[&str], told: &str) {
        let ids = |list: &Value| -> BTreeSet<u64> {
            list.as_array().into_iter().flatten().filter_map(|row| row["vmid"].as_u64()).collect()
        };
        let params: BTreeMap<&str, &str> = entry["params"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?)))
            .collect();
        let all_seen = entry["status"] == 200 && entry["as"] == "root@pam!test" && entry["body"]["data"].is_array();
        let of_node = |node: &str| {
            self.cluster
                .guest_ids()
                .filter(|vmid| self.cluster.guest_file(*vmid).is_some_and(|(_, other, _)| other == node))
                .collect::<Vec<Vmid>>()
        };
        let gone: Vec<Vmid> = match (entry["method"].as_str().unwrap_or_default(), parts) {
            ("GET", ["", "nodes", node, kind @ ("qemu" | "lxc")]) if all_seen => {
                let seen = ids(&entry["body"]["data"]);
                let kind_of = |vmid: &Vmid| self.cluster.guest_file(*vmid).map(|(kind, _, _)| kind.segment());
                of_node(node)
                    .into_iter()
                    .filter(|vmid| kind_of(vmid) == Some(*kind) && !seen.contains(&u64::from(vmid.get())))
                    .collect()
            }
            ("GET", ["", "cluster", "resources"]) if all_seen && params.get("type").is_none_or(|ty| *ty == "vm") => {
                let seen = ids(&entry["body"]["data"]);
                self.cluster.guest_ids().filter(|vmid| !seen.contains(&u64::from(vmid.get()))).collect()
            }
            ("POST", ["", "nodes", _, "qemu" | "lxc"] | ["", "nodes", _, "qemu" | "lxc", _, "clone"])
                if entry["status"] == 200 && !told.contains("already exists") =>
            {
                let id = params.get("vmid").or(params.get("newid")).and_then(|id| id.parse().ok()).and_then(Vmid::new);
                id.filter(|id| self.cluster.guest_file(*id).is_some()).into_iter().collect()
            }
            (_, ["", "nodes", _, "qemu" | "lxc", vmid, ..]) => {
                let id = vmid.parse().ok().and_then(Vmid::new);
                let missing = |id: &Vmid| {
                    self.cluster.guest_file(*id).is_some_and(|(kind, node, _)| {
                        let folder = if kind == GuestKind::Qemu { "qemu-server" } else { "lxc" };
                        told.contains(&format!("'nodes/{node}/{folder}/{}.conf' does not exist", id.get()))
                    })
                };
                id.filter(missing).into_iter().collect()
            }
            _ => Vec::new(),
        };
        for vmid in gone {
            self.settle();
            let Some((kind, node, _)) = self.cluster.guest_file(vmid) else { continue };
            let path = format!("/nodes/{node}/{}/{}", kind.segment(), vmid.get());
            for (method, path) in [("POST", format!("{path}/status/stop")), ("DELETE", path)] {
                self.send(&json!({ "method": method, "path": path, "as": "root@pam!test" }));
                self.settle();
            }
        }
    }

    /// Makes a guest that was there before the recording began, as it was first read.
    fn take_over(&mut self, kind: GuestKind, vmid: Vmid, node: &str, entry: &Value, later: &[Value]) {
        let config = format!("/nodes/{node}/{}/{}/config", kind.segment(), vmid.get());
        let first = later.iter().find(|later| later["path"] == config.as_str() && later["method"] == "GET");
        let first = first.filter(|_| entry["status"] == 200).and_then(|first| first["body"]["data"].as_object());
        let Some(config) = first else { return };
        if config.contains_key("lock") {
            self.locked.insert(vmid.get());
        }
        let mut file = String::new();
        for (key, value) in config.iter().filter(|(key, _)| *key != "digest") {
            let text = foreign::values(value).join(",");
            if key == "description" {
                let lines: String = text.lines().map(|line| format!("#{line}\n")).collect();
                file.insert_str(0, &lines);
            } else {
                file.push_str(&format!("{key}: {text}\n"));
            }
        }
        self.cluster.write_guest_file(kind, vmid, node, &file);
    }

    /// Replays an exchange of a recording that does not say how long its script waited before it: what a read shows
    /// otherwise, it may show when the next broadcast was, or what was under way is over.
    fn patient_exchange(&mut self, entry: &Value) -> Option<String> {
        let before = (self.cluster.clone(), self.now);
        let difference = self.exchange(entry)?;
        if entry["method"] != "GET" {
            // What failed there has not happened, or all that follows would differ as well.
            let failed =
                entry["status"].as_u64() >= Some(400) || entry["exit"].as_str().is_some_and(|exit| exit != "OK");
            if failed {
                (self.cluster, self.now) = before;
            }
            return Some(difference);
        }
        let (cluster, now) = (self.cluster.clone(), self.now);
        for wait in [10_000, 30_000] {
            self.now += wait;
            self.cluster.advance_to(self.now);
            self.exchange(entry)?;
        }
        (self.cluster, self.now) = (cluster, now);
        Some(difference)
    }

    /// What happened between two exchanges.
    fn prepare(&mut self, entry: &Value) {
        if let Some(world) = entry["world"].as_str() {
            self.left.clear();
            self.enter(world);
        } else if let Some(world) = entry["enter"].as_str() {
            if self.has_node("c", &self.node) || self.has_node("a", &self.node) {
                self.enter(world);
            }
        } else if let Some(quorate) = entry["quorate"].as_bool() {
            self.cluster.set_quorate(quorate);
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
        // A user who is no token has logged in.
        let login = entry["as"].as_str().filter(|id| id.contains('@') && !id.contains('!') && !id.contains(' '));
        let ticket = login.and_then(|user| self.ticket(user));
        let (cookie, csrf_token) = ticket.unzip();
        let authorization = match entry["as"].as_str().unwrap_or("root@pam!test") {
            "nobody" => None,
            "wrong secret" => Some("PVEAPIToken=root@pam!test=wrong".to_owned()),
            "no such user" => token("nobody@pve!test"),
            "no such token" => token("root@pam!nope"),
            id => token(id).filter(|_| login.is_none()),
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
            cookie,
            csrf_token,
            node: entry["node"].as_str().unwrap_or(&self.node).to_owned(),
        };
        let reply = self.cluster.handle(&request, self.now);
        self.now += reply.delay + 20;
        let body = (!reply.response.body.is_empty()).then(|| serde_json::from_str(&reply.response.body).unwrap());
        (reply.response.status, reply.response.reason, body)
    }

    /// A user's ticket as a cookie, and what goes with it.
    fn ticket(&mut self, user: &str) -> Option<(String, String)> {
        let params = [("username", user), ("password", PASSWORD)];
        let request = IncomingRequest {
            method: "POST".to_owned(),
            path: "/access/ticket".to_owned(),
            params: params.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            node: self.node.clone(),
            ..IncomingRequest::default()
        };
        let body = self.cluster.handle(&request, self.now).response.body;
        let data = &serde_json::from_str::<Value>(&body).ok()?["data"];
        let (ticket, csrf) = (data["ticket"].as_str()?, data["CSRFPreventionToken"].as_str()?);
        Some((format!("PVEAuthCookie={ticket}"), csrf.to_owned()))
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
        let wanted_status = entry["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(0);
        let wanted_reason = entry["reason"].as_str().unwrap_or_default();
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

/// What differs of one recording, by the exchange's name, and how many exchanges it has.
fn replay_all(release: &str, entries: &[Value], foreign: bool) -> (BTreeMap<String, Option<String>>, Replay) {
    let mut replay = Replay::new();
    let mut met = BTreeMap::new();
    if foreign {
        replay.find_world(entries);
    }
    for (index, entry) in entries.iter().enumerate() {
        let Some(number) = entry.get("n").and_then(Value::as_u64) else {
            replay.prepare(entry);
            continue;
        };
        if foreign {
            replay.infer(entry, &entries[index..]);
        }
        let (method, path) = (entry["method"].as_str().unwrap_or("?"), entry["path"].as_str().unwrap_or("?"));
        let name = format!("{release} {number:03} {method} {path}");
        let difference = if foreign { replay.patient_exchange(entry) } else { replay.exchange(entry) };
        met.insert(name, difference.map(|text| format!("{}\n  {text}", entry["params"])));
    }
    (met, replay)
}

/// Prints how many exchanges agree.
fn count(of: &str, met: &BTreeMap<String, Option<String>>) -> (usize, usize) {
    let agreed = met.values().filter(|difference| difference.is_none()).count();
    println!("recorded{of}: agree {agreed} of {}", met.len());
    (agreed, met.len())
}

#[test]
fn recorded_exchanges_agree() {
    if let Some(text) = foreign::named_by("PVEFLEET_RECORDED") {
        let (met, _) = replay_all("recorded", &foreign::recorded(&text), true);
        for (name, difference) in met.iter().filter_map(|(name, text)| text.as_ref().map(|text| (name, text))) {
            println!("{name} {difference}");
        }
        let (_, total) = count("", &met);
        assert!(total > 0, "the file holds no exchange");
        return;
    }
    let known = known_differences();
    let mut all = BTreeMap::new();
    for (release, recorded) in RECORDED {
        let (met, _) = replay_all(release, &foreign::recorded(recorded), false);
        count(&format!(" {release}"), &met);
        all.extend(met);
    }
    count("", &all);
    let differing = |name: &str| all.get(name).is_some_and(Option::is_some);
    let unlisted: Vec<String> = all
        .iter()
        .filter(|(name, _)| !known.contains(name.as_str()))
        .filter_map(|(name, difference)| difference.as_ref().map(|text| format!("{name} {text}")))
        .collect();
    assert!(unlisted.is_empty(), "{} exchanges differ:\n{}", unlisted.len(), unlisted.join("\n"));
    let healed: Vec<&&str> = known.iter().filter(|name| !differing(name)).collect();
    assert!(healed.is_empty(), "these agree now, or are not recorded, and must leave the list: {healed:#?}");
}

/// A recording in its recorder's form, of a server that nobody described, whose first section has no name that is known.
#[test]
fn a_recording_of_an_unknown_server_is_replayed() {
    let line = |n: u32, method: &str, path: &str, more: Value| {
        let mut line = json!({ "n": n, "section": "Something new", "method": method, "path": path, "headers": {},
            "status": 200, "reason": "OK", "ms": 5 });
        for (key, value) in more.as_object().unwrap() {
            line[key] = value.clone();
        }
        line.to_string()
    };
    let config = json!({ "boot": " ", "cores": 2, "digest": "0123456789012345678901234567890123456789", "lock": "backup", "memory": "512", "name": "old" });
    let locked = json!({ "status": 500, "reason": "VM is locked (backup)", "params": { "cores": 3 },
        "body": { "data": null, "message": "VM is locked (backup)\n" } });
    let text = [
        line(
            0,
            "GET",
            "/version",
            json!({ "body": { "data": { "release": "8.4", "repoid": "x", "version": "8.4.21" } } }),
        ),
        line(1, "PUT", "/nodes/e1/qemu/150/config", locked),
        line(2, "GET", "/nodes/e1/qemu/150/config?current=1", json!({ "body": { "data": config } })),
        line(3, "PUT", "/nodes/e1/qemu/150/config", json!({ "params": { "cores": 4 }, "body": { "data": null } })),
        line(4, "GET", "/nodes/e1/qemu/150/config", json!({ "body_cut": "{..." })),
    ]
    .join("\n");
    let (met, replay) = replay_all("e", &foreign::recorded(&text), true);
    let differing: Vec<_> = met.iter().filter(|(_, difference)| difference.is_some()).collect();
    // The lock is first seen after it already refused something.
    assert_eq!((met.len(), differing.len()), (5, 1), "{differing:#?}");
    assert_eq!(replay.node, "e1");
}
