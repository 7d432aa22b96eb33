//! Scenarios that were run on Proxmox VE 9.2's own request handlers, replayed against the simulator.
//!
//! Each has the configuration files and volumes at its beginning, and requests with their answers, with how their
//! tasks ended, and with the files and volumes that they changed. All must agree, up to digests, MAC addresses,
//! uuids and ids of tasks, which are made by chance. Steps that do not agree yet are named in
//! `recorded/known-scenario-differences.txt`; that list can only become shorter.

//!
//! `PVEFLEET_SCENARIOS=FILE cargo test --test scenarios -- --nocapture` replays another file of such scenarios, as
//! their recorder writes them: differences are printed, and of a hundred steps three may differ.

#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "support/foreign.rs"]
#[expect(dead_code, clippy::panic, reason = "some of it is for recordings, and a test that cannot go on ends")]
mod foreign;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use foreign::values;
use pvefleet::pve::value::Vmid;
use pvefleet::sim::{Cluster, ClusterSpec, IncomingRequest};
use regex::Regex;
use serde_json::{Map, Value, json};

const SCENARIOS: &str = include_str!("recorded/scenarios-9.2.jsonl");
const KNOWN: &str = include_str!("recorded/known-scenario-differences.txt");
const PASSWORD: &str = "pa55word";

fn without_chance(text: &str) -> String {
    static PATTERNS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        [
            (r"UPID:[^:]+:[0-9A-F]{8}:[0-9A-F]{8}:[0-9A-F]{8}:", "UPID:"),
            (r"\b[0-9a-f]{40}\b", "<digest>"),
            (r"\b[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<uuid>"),
            (r"BC:24:11(:[0-9A-F]{2}){3}", "<mac>"),
            (r"ctime=175000000\d", "ctime=<now>"),
        ]
        .map(|(pattern, text)| (Regex::new(pattern).unwrap(), text))
        .into()
    });
    PATTERNS.iter().fold(text.to_owned(), |text, (pattern, with)| pattern.replace_all(&text, *with).into_owned())
}

fn normalise(value: &Value) -> Value {
    match value {
        Value::Array(list) => {
            let mut list: Vec<Value> = list.iter().map(normalise).collect();
            list.sort_by_key(Value::to_string);
            json!(list)
        }
        Value::Object(object) => {
            let sorted = |text: &str| {
                let mut kinds: Vec<&str> = text.split(',').collect();
                kinds.sort_unstable();
                json!(kinds.join(","))
            };
            // What a storage holds comes out of a hash there, too.
            let value = |key: &str, value: &Value| match value {
                Value::String(text) if key == "content" => sorted(text),
                value => normalise(value),
            };
            object.iter().map(|(key, old)| (key.clone(), value(key, old))).collect()
        }
        Value::String(text) => json!(without_chance(text)),
        other => other.clone(),
    }
}

/// The storages where a scenario names none.
const STORAGES: &str = "dir: local\n\tcontent iso,vztmpl,backup,images,rootdir,snippets,import\n\n\
    lvmthin: local-lvm\n\tcontent images,rootdir\n\nzfspool: local-zfs\n\tcontent images,rootdir\n\n\
    lvm: thick\n\tcontent images,rootdir\n\ndir: shared-dir\n\tcontent images,rootdir\n\tshared 1\n";

/// The storages of a `storage.cfg`.
fn storages_of(text: &str) -> Vec<Value> {
    let sections = text.split("\n\n").filter_map(|section| section.trim_start_matches('\n').split_once(": "));
    let storage = |(kind, rest): (&str, &str)| {
        let mut lines = rest.lines();
        let name = lines.next().unwrap_or_default().trim();
        let options: BTreeMap<&str, &str> = lines.filter_map(|line| line.trim().split_once(' ')).collect();
        let list = |key: &str| options.get(key).into_iter().flat_map(|text| text.split(',')).collect::<Vec<_>>();
        let files = if name == "local" {
            json!({ "iso/debian.iso": 4096, "vztmpl/debian-12.tar.zst": 4096, "snippets/hook.sh": 10 })
        } else {
            json!({})
        };
        let own = ["content", "nodes", "shared"];
        let more: BTreeMap<&str, &str> =
            options.iter().filter(|(key, _)| !own.contains(key)).map(|(key, value)| (*key, *value)).collect();
        json!({ "name": name, "type": kind, "options": more, "content": list("content"), "nodes": list("nodes"), "files": files,
                "shared": options.get("shared") == Some(&"1") || matches!(kind, "nfs" | "cifs" | "rbd" | "cephfs") })
    };
    sections.map(storage).collect()
}

/// What a file of users says, as a world says it.
#[derive(Default)]
struct Access {
    users: BTreeMap<String, Value>,
    groups: BTreeMap<String, String>,
    roles: BTreeMap<String, Vec<String>>,
    acl: Vec<Value>,
    tokens: Vec<Value>,
    pools: BTreeMap<String, String>,
    pool_of: BTreeMap<String, String>,
}

/// Reads a file of users, and adds those who ask in the scenario and are not in it. Everybody has one password.
fn access(text: &str, asking: &BTreeSet<&str>) -> Access {
    let mut access = Access::default();
    let list = |text: &str| text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let user = |id: &str, enable: bool, expire: u64, more: &[&str]| {
        let more = |index: usize| more.get(index).copied().unwrap_or_default();
        json!({
            "id": id, "password": PASSWORD, "enable": enable, "expire": expire, "groups": [],
            "firstname": more(0), "lastname": more(1), "email": more(2), "comment": more(3),
        })
    };
    let token = |id: &str, expire: u64, privsep: bool, comment: &str| json!({ "id": id, "secret": "s", "expire": expire, "privsep": privsep, "comment": comment, "grants": [] });
    for line in text.lines() {
        match line.split(':').collect::<Vec<_>>().as_slice() {
            ["user", id, enable, expire, more @ ..] => {
                let user = user(id, *enable == "1", expire.parse().unwrap(), more);
                access.users.insert((*id).to_owned(), user);
            }
            ["token", id, expire, privsep, comment, ..] => {
                access.tokens.push(token(id, expire.parse().unwrap(), *privsep == "1", comment));
            }
            ["group", name, members, comment, ..] => {
                access.groups.insert((*name).to_owned(), (*comment).to_owned());
                for member in list(members) {
                    let groups = access.users.get_mut(&member).unwrap()["groups"].as_array_mut().unwrap();
                    groups.push(json!(name));
                }
            }
            ["pool", name, comment, guests, ..] => {
                access.pools.insert((*name).to_owned(), (*comment).to_owned());
                access.pool_of.extend(list(guests).into_iter().map(|vmid| (vmid, (*name).to_owned())));
            }
            ["role", name, privileges, ..] => drop(access.roles.insert((*name).to_owned(), list(privileges))),
            ["acl", propagate, path, members, roles, ..] => {
                for (to, role) in
                    list(members).into_iter().flat_map(|to| list(roles).into_iter().map(move |r| (to.clone(), r)))
                {
                    access.acl.push(json!({ "path": path, "role": role, "to": to, "propagate": *propagate == "1" }));
                }
            }
            _ => {}
        }
    }
    for id in asking.iter().chain([&"root@pam"]) {
        let owner = id.split('!').next().unwrap();
        access.users.entry(owner.to_owned()).or_insert_with(|| user(owner, true, 0, &[]));
        if *id != owner && !access.tokens.iter().any(|token| token["id"] == *id) {
            access.tokens.push(token(id, 0, false, ""));
        }
    }
    access
}

/// The cluster at the beginning of a scenario.
fn world(setup: &Value, asking: &BTreeSet<&str>) -> Cluster {
    let empty = Map::new();
    let object = |name: &str| setup[name].as_object().unwrap_or(&empty).clone();
    let text = |name: &str| setup[name].as_str().unwrap_or_default().to_owned();
    let running = setup["running"].to_string();
    let who = access(&text("user"), asking);
    let guests = object("files").into_iter().filter_map(|(path, file)| {
        let [_, node, folder, name] = path.split('/').collect::<Vec<_>>().try_into().ok()?;
        let vmid = name.strip_suffix(".conf")?.to_owned();
        Some(json!({
            "kind": if folder == "lxc" { "lxc" } else { "qemu" }, "vmid": vmid.parse::<u32>().unwrap(), "node": node,
            "file": file, "running": running.contains(&format!("\"{vmid}\"")), "pool": who.pool_of.get(&vmid),
        }))
    });
    let guests: Vec<Value> = guests.collect();
    let volumes =
        object("volumes").into_iter().map(|(volid, size)| json!({ "volid": volid, "node": "pve1", "size": size }));
    let datacenter = text("datacenter");
    let options = datacenter.lines().filter_map(|line| line.split_once(": "));
    let ha = text("ha");
    let ha: BTreeMap<String, BTreeMap<String, String>> = ha
        .split("\n\n")
        .filter_map(|section| {
            let (sid, options) = section.split_once('\n')?;
            let options = options.lines().filter_map(|line| line.trim().split_once(' '));
            Some((sid.replace(": ", ":"), options.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()))
        })
        .collect();
    let storages = match setup["storage"].as_str() {
        Some(text) => storages_of(text),
        None => storages_of(STORAGES),
    };
    let spec: ClusterSpec = serde_json::from_value(json!({
        "name": "vectors", "version": "9.2.3", "epoch": 1_750_000_000u64, "pools": who.pools, "ha": ha,
        // Nothing but the handlers of requests ran there.
        "broadcasts": false, "ha_manager": false,
        "datacenter": options.collect::<BTreeMap<_, _>>(),
        "nodes": [{ "name": "pve1", "bridges": ["vmbr0", "vmbr1"] }, { "name": "pve2" }],
        "storages": storages, "guests": guests, "volumes": volumes.collect::<Vec<_>>(),
        "users": who.users.values().collect::<Vec<_>>(), "groups": who.groups, "roles": who.roles, "acl": who.acl,
        "tokens": who.tokens,
    }))
    .unwrap();
    Cluster::new(spec, 1)
}

struct Replay {
    cluster: Cluster,
    now: u64,
    /// Cookies and their companions, by user.
    tickets: BTreeMap<String, (String, String)>,
    /// Files and volumes as they should be.
    files: Map<String, Value>,
    volumes: Map<String, Value>,
}

impl Replay {
    /// The headers of a user's ticket, or of a token: `Authorization`, `Cookie`, and what goes with that.
    fn credential(&mut self, user: &str) -> [Option<String>; 3] {
        if user.contains('!') {
            return [Some(format!("PVEAPIToken={user}=s")), None, None];
        }
        let now = self.now;
        let (cluster, tickets) = (&mut self.cluster, &mut self.tickets);
        let (cookie, token) = tickets.entry(user.to_owned()).or_insert_with(|| {
            let params = [("username", user), ("password", PASSWORD)];
            let request = IncomingRequest {
                method: "POST".to_owned(),
                path: "/access/ticket".to_owned(),
                params: params.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
                node: "pve1".to_owned(),
                ..IncomingRequest::default()
            };
            let body: Value = serde_json::from_str(&cluster.handle(&request, now).response.body).unwrap();
            let text = |name: &str| body["data"][name].as_str().unwrap().to_owned();
            (format!("PVEAuthCookie={}", text("ticket")), text("CSRFPreventionToken"))
        });
        [None, Some(cookie.clone()), Some(token.clone())]
    }

    fn send(&mut self, step: &Value) -> (u16, String, Value) {
        let text = |name: &str| step[name].as_str().unwrap_or_default().to_owned();
        let params = step["params"].as_object().into_iter().flatten();
        let [authorization, cookie, csrf_token] = self.credential(step["user"].as_str().unwrap_or("root@pam"));
        let request = IncomingRequest {
            method: text("method"),
            path: text("path"),
            params: params.flat_map(|(name, value)| values(value).into_iter().map(|v| (name.clone(), v))).collect(),
            authorization,
            cookie,
            csrf_token,
            node: "pve1".to_owned(),
        };
        let reply = self.cluster.handle(&request, self.now).response;
        while self.cluster.is_busy() {
            self.now += 50;
            self.cluster.advance_to(self.now);
        }
        (reply.status, reply.reason, serde_json::from_str(&reply.body).unwrap_or(Value::Null))
    }

    /// Replays one step; what differs.
    fn step(&mut self, step: &Value) -> Vec<String> {
        let (status, reason, body) = self.send(step);
        let mut differences = Vec::new();
        let mut compare = |what: &str, wanted: String, got: String| {
            if wanted != got {
                differences.push(format!("{what}\n    recorded:  {wanted}\n    simulated: {got}"));
            }
        };
        compare("status", step["status"].to_string(), status.to_string());
        compare("body", normalise(&step["body"]).to_string(), normalise(&body).to_string());
        if let Some(wanted) = step["reason"].as_str() {
            compare("reason", without_chance(wanted), without_chance(&reason));
        }
        if let (Some(wanted), Some(upid)) = (step["exit"][0].as_str(), body["data"].as_str()) {
            let path = format!("/nodes/pve1/tasks/{upid}/status");
            let (_, _, ended) = self.send(&json!({ "method": "GET", "path": path }));
            compare("task", wanted.to_owned(), ended["data"]["exitstatus"].as_str().unwrap_or_default().to_owned());
        }
        for (expected, changed) in [(&mut self.files, &step["files"]), (&mut self.volumes, &step["volumes"])] {
            for (name, value) in changed.as_object().into_iter().flatten() {
                expected.insert(name.clone(), value.clone());
            }
        }
        for (path, wanted) in step["cluster"].as_object().into_iter().flatten() {
            compare(path, wanted.to_string(), json!(self.cluster.cluster_file(path).unwrap_or_default()).to_string());
        }
        for (path, wanted) in &self.files {
            // Only guests have files that can be read from outside.
            let vmid = path.rsplit('/').next().and_then(|name| name.strip_suffix(".conf")?.parse().ok());
            let Some(vmid) = vmid.and_then(Vmid::new) else { continue };
            let file = self.cluster.guest_file(vmid);
            let got = file.filter(|(_, node, _)| path.split('/').nth(1) == Some(*node)).map(|(_, _, text)| text);
            let wanted = wanted.as_str().map(without_chance);
            compare(path, format!("{wanted:?}"), format!("{:?}", got.as_deref().map(without_chance)));
        }
        // Files of directories are not among the recorded volumes.
        let in_table = |volid: &String| !volid.starts_with("local:") && !volid.starts_with("shared-dir:");
        let wanted: BTreeSet<String> =
            self.volumes.iter().filter(|(_, v)| !v.is_null()).map(|(k, _)| k.clone()).collect();
        let got =
            self.cluster.volume_ids().into_iter().map(|(_, volid)| volid).filter(in_table).collect::<BTreeSet<_>>();
        compare("volumes", format!("{wanted:?}"), format!("{got:?}"));
        differences
    }
}

/// Replays scenarios; their steps by name, each with what differs.
fn replay_all(scenarios: &[Value]) -> Vec<(String, Vec<String>)> {
    let mut steps = Vec::new();
    for scenario in scenarios {
        let object = |name: &str| scenario["setup"][name].as_object().cloned().unwrap_or_default();
        let list: Vec<&Value> = scenario["steps"].as_array().into_iter().flatten().collect();
        let cluster = world(&scenario["setup"], &list.iter().filter_map(|step| step["user"].as_str()).collect());
        let mut replay =
            Replay { cluster, now: 0, tickets: BTreeMap::new(), files: object("files"), volumes: object("volumes") };
        for (index, step) in list.into_iter().enumerate() {
            let name = format!("{} {}", scenario["name"].as_str().unwrap_or("?"), index + 1);
            let mut differences = replay.step(step);
            if let Some(first) = differences.first_mut() {
                *first = format!("{} {} {}\n  {first}", step["method"], step["path"], step["params"]);
            }
            steps.push((name, differences));
        }
    }
    steps
}

#[test]
fn scenarios_agree() {
    let named = foreign::named_by("PVEFLEET_SCENARIOS");
    let scenarios = match &named {
        Some(text) => foreign::scenarios(text),
        None => SCENARIOS.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
    };
    let steps = replay_all(&scenarios);
    let differing: BTreeMap<&str, String> = steps
        .iter()
        .filter(|(_, differences)| !differences.is_empty())
        .map(|(name, differences)| (name.as_str(), differences.join("\n  ")))
        .collect();
    let total = steps.len();
    let agreed = steps.iter().filter(|(_, differences)| differences.is_empty()).count();
    if named.is_some() {
        for (name, text) in &differing {
            println!("{name}  — {text}");
        }
        println!("scenarios: agree {agreed} of {total} steps");
        assert!(total > 0, "the file holds no scenario");
        return;
    }
    println!("scenarios: agree {agreed} of {total} steps");
    let lines = KNOWN.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let known: BTreeSet<&str> = lines.map(|line| line.split_once("  — ").map_or(line, |(name, _)| name)).collect();
    let unlisted: Vec<String> = differing
        .iter()
        .filter(|(name, _)| !known.contains(*name))
        .map(|(name, text)| format!("{name}  — {text}"))
        .collect();
    assert!(unlisted.is_empty(), "{} steps differ:\n{}", unlisted.len(), unlisted.join("\n"));
    let healed: Vec<&&str> = known.iter().filter(|name| !differing.contains_key(**name)).collect();
    assert!(healed.is_empty(), "these agree now, or are not recorded, and must leave the list: {healed:#?}");
}

/// The recorder's form of the checked-in scenarios gives the same steps with the same answers.
#[test]
fn scenarios_in_their_recorders_form_are_read() {
    let text = json!({ "meta": {}, "scenarios": [{
        "name": "create-and-remove", "setup": { "files": {}, "running": [], "volumes": {} },
        "steps": [
            { "request": { "method": "POST", "path": "/nodes/pve1/qemu", "params": { "vmid": 100, "scsi0": "thick:1", "boot": "order=scsi0" } },
              "response": { "status": 200, "reason": "OK", "body": { "data": "UPID:pve1:000003EA:00001234:684EE180:qmcreate:100:root@pam:" } },
              "tasks": [{ "exitstatus": "OK" }],
              "files_after": { "nodes/pve1/qemu-server/100.conf": "boot: order=scsi0\nmeta: creation-qemu=10.1.2,ctime=1750000000\nscsi0: thick:vm-100-disk-0,size=1G\nsmbios1: uuid=00000000-0000-4000-8000-000000000001\nvmgenid: 00000000-0000-4000-8000-000000000002\n" },
              "volumes_after": { "thick:vm-100-disk-0": 1073741824 } },
            { "request": { "method": "DELETE", "path": "/nodes/pve1/qemu/100", "params": {} },
              "response": { "status": 200, "reason": "OK", "body": { "data": "UPID:pve1:000003EA:00001234:684EE180:qmdestroy:100:root@pam:" } },
              "tasks": [{ "exitstatus": "OK" }], "files_after": {}, "volumes_after": {} },
        ],
    }] });
    let steps = replay_all(&foreign::scenarios(&text.to_string()));
    assert_eq!(steps, [("create-and-remove 1".to_owned(), Vec::new()), ("create-and-remove 2".to_owned(), Vec::new())]);
    let mut changed = text.clone();
    changed["scenarios"][0]["steps"][1]["files_after"] = text["scenarios"][0]["steps"][0]["files_after"].clone();
    let differing = replay_all(&foreign::scenarios(&changed.to_string()));
    assert!(!differing[1].1.is_empty(), "a file that should still be there is missed");
}
