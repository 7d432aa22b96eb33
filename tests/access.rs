//! Users, tokens, groups, roles, the access control list and logins of the simulator: as real servers answered, and
//! where nothing was recorded, as Proxmox's rules say.
//!
//! Of the recordings is left out what failed because second factors were not there, what needs a lost quorum, and one
//! refusal that names whichever option comes first out of a hash.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::LazyLock;

use pvefleet::sim::{Cluster, IncomingRequest};
use regex::Regex;
use serde_json::{Value, json};

const RECORDED: [(&str, &str); 2] =
    [("9.1.9", include_str!("recorded/access-9.1.9.jsonl")), ("8.4.21", include_str!("recorded/access-8.4.21.jsonl"))];

/// Somebody who asks a cluster of one node.
struct Bench {
    cluster: Cluster,
    now: u64,
    /// The cookie and its companion.
    ticket: Option<(String, String)>,
}

/// What is sent along.
enum As<'a> {
    Nobody,
    Token(&'a str),
    Ticket,
    /// A ticket without what goes with it.
    TicketAlone,
}

impl Bench {
    fn new(version: &str, more: Value) -> Self {
        let node = if version.starts_with('8') { "d1" } else { "a1" };
        let mut spec = json!({
            "name": "recorded", "version": version, "qemu_version": "10.0.2", "standalone": true,
            "nodes": [{ "name": node, "bridges": ["vmbr0"] }],
            "storages": [{ "name": "local", "type": "dir", "content": ["images", "iso"] }],
            "users": [{ "id": "root@pam", "password": "toor-toor" }],
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            match (&mut spec[name], value) {
                (Value::Array(list), Value::Array(more)) => list.extend(more.iter().cloned()),
                (place, value) => *place = value.clone(),
            }
        }
        Self { cluster: Cluster::new(serde_json::from_value(spec).unwrap(), 1), now: 0, ticket: None }
    }

    /// The servers of the recordings: what they had before the story began.
    fn recorded(version: &str, world: &str) -> Self {
        let token = |id: &str| json!({ "id": id, "secret": "s", "privsep": false });
        let mut more = json!({
            "users": [{ "id": "audit@pve", "comment": "read only" }, { "id": "none@pve" }],
            "acl": [{ "path": "/", "role": "PVEAuditor", "to": "audit@pve" }],
            "tokens": [token("root@pam!test"), token("audit@pve!ro"), token("none@pve!tok")],
        });
        let list = |more: &mut Value, name: &str, entry: Value| more[name].as_array_mut().unwrap().push(entry);
        if world == "first" {
            // Left behind by an earlier run.
            let bob = json!({ "id": "bob@pve", "enable": false, "comment": "B", "email": "b@x.test" });
            list(&mut more, "users", bob);
            list(&mut more, "tokens", json!({ "id": "bob@pve!t1", "secret": "s", "grants": [] }));
        }
        Self::new(version, more)
    }

    fn send(&mut self, who: As, method: &str, path: &str, params: &[(&str, &str)]) -> (u16, String, Value) {
        let (mut authorization, mut cookie, mut csrf_token) = (None, None, None);
        match who {
            As::Nobody => {}
            As::Token(id) => authorization = Some(format!("PVEAPIToken={id}=s")),
            As::Ticket | As::TicketAlone => {
                let (ticket, token) = self.ticket.clone().unwrap();
                cookie = Some(format!("PVEAuthCookie={ticket}"));
                csrf_token = Some(token).filter(|_| matches!(who, As::Ticket));
            }
        }
        let request = IncomingRequest {
            method: method.to_owned(),
            path: path.to_owned(),
            params: params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            authorization,
            cookie,
            csrf_token,
            ..IncomingRequest::default()
        };
        let node = self.cluster.spec().nodes[0].name.clone();
        let reply = self.cluster.handle(&IncomingRequest { node, ..request }, self.now).response;
        (reply.status, reply.reason, serde_json::from_str(&reply.body).unwrap_or(Value::Null))
    }

    /// Logs in and keeps the ticket.
    fn login(&mut self, user: &str, password: &str) -> Value {
        let params = [("username", user), ("password", password)];
        let (status, _, body) = self.send(As::Nobody, "POST", "/access/ticket", &params);
        let data = &body["data"];
        let text = |name: &str| data[name].as_str().map(str::to_owned);
        self.ticket = text("ticket").zip(text("CSRFPreventionToken"));
        assert_eq!(status == 200, self.ticket.is_some(), "{user}");
        data.clone()
    }

    fn settle(&mut self) {
        while self.cluster.is_busy() {
            self.now += 50;
            self.cluster.advance_to(self.now);
        }
    }

    /// By ticket: the data, or the reason of the refusal.
    fn ask(&mut self, method: &str, path: &str, params: &[(&str, &str)]) -> Value {
        let (status, reason, body) = self.send(As::Ticket, method, path, params);
        match (status, body.get("errors")) {
            (200, _) => body["data"].clone(),
            (_, Some(errors)) => json!({ "status": status, "errors": errors, "message": body["message"] }),
            _ => json!(format!("{status} {reason}")),
        }
    }
}

/// Method, path, parameters, and the data or the refusal.
type Step<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], Value);

fn normalise(value: &Value) -> Value {
    static CHANCE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"[0-9a-f]{40}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|ctime=\d+|UPID:\w+:\w+:\w+:\w+").unwrap()
    });
    match value {
        Value::Array(list) => {
            let mut list: Vec<Value> = list.iter().map(normalise).collect();
            list.sort_by_key(Value::to_string);
            json!(list)
        }
        Value::Object(object) => {
            // The kernel's, not the cluster's.
            let kept = object.iter().filter(|(key, _)| *key != "cgroup-mode");
            kept.map(|(key, value)| (key.clone(), normalise(value))).collect()
        }
        Value::String(text) => json!(CHANCE.replace_all(text, "<by chance>")),
        other => other.clone(),
    }
}

#[test]
fn recorded_exchanges_agree() {
    let mut differences = Vec::new();
    for (version, lines) in RECORDED {
        let (mut bench, mut agreed, mut total) = (Bench::recorded(version, "first"), 0, 0);
        for line in lines.lines() {
            let entry: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| entry[name].as_str().unwrap_or_default();
            if let Some(world) = entry["world"].as_str() {
                bench = Bench::recorded(version, world);
                bench.login("root@pam", "toor-toor");
                continue;
            }
            let params: Vec<(&str, &str)> = entry["params"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
                .collect();
            let who = match text("as") {
                "nobody" => As::Nobody,
                "ticket" => As::Ticket,
                "ticket alone" => As::TicketAlone,
                id => As::Token(id),
            };
            let (status, reason, body) = bench.send(who, text("method"), text("path"), &params);
            bench.settle();
            let shown = |status: &Value, reason: &str, body: &Value| {
                let body = if entry.get("cut").is_some() { Value::Null } else { normalise(body) };
                format!("{status} {reason} {body}")
            };
            let wanted = shown(&entry["status"], text("reason"), &entry["body"]);
            let got = shown(&json!(status), &reason, &body);
            total += 1;
            if wanted == got {
                agreed += 1;
            } else {
                differences.push(format!("{version} {line}\n  recorded:  {wanted}\n  simulated: {got}"));
            }
        }
        println!("access {version}: agree {agreed} of {total}");
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn a_login_says_what_one_may_do() {
    let acl = json!([{ "path": "/vms", "role": "PVEVMUser", "to": "@ops" }]);
    let users = json!([
        { "id": "ann@pve", "password": "pa55word", "groups": ["ops"] },
        { "id": "off@pve", "password": "pa55word", "enable": false },
        { "id": "old@pve", "password": "pa55word", "expire": 1 },
    ]);
    let mut bench = Bench::new("9.2.3", json!({ "users": users, "acl": acl, "standalone": false }));
    let root = bench.login("root@pam", "toor-toor");
    assert_eq!((&root["username"], &root["clustername"]), (&json!("root@pam"), &json!("recorded")));
    assert_eq!(root["cap"]["dc"]["Sys.Modify"], 1);
    let of_root = bench.ticket.clone().unwrap();
    let ann = bench.login("ann@pve", "pa55word");
    assert_eq!((ann.get("clustername"), &ann["cap"]["dc"]), (None, &json!({})));
    assert_eq!(ann["cap"]["vms"]["VM.Console"], 1);
    let ticket = bench.ticket.clone().unwrap().0;
    let mut attempt = |more: &[(&str, &str)]| {
        let (status, reason, body) = bench.send(As::Nobody, "POST", "/access/ticket", more);
        if status == 200 { body["data"]["username"].as_str().unwrap().to_owned() } else { format!("{status} {reason}") }
    };
    let failed = "401 authentication failure";
    for (params, wanted) in [
        (vec![("username", "ann"), ("realm", "pve"), ("password", "pa55word")], "ann@pve"),
        (vec![("username", "ann@pve"), ("password", "pa55word"), ("new-format", "1")], "ann@pve"),
        // A ticket renews itself, root's makes one for anybody, nobody else's does.
        (vec![("username", "ann@pve"), ("password", &ticket)], "ann@pve"),
        (vec![("username", "ann@pve"), ("password", &of_root.0)], "ann@pve"),
        (vec![("username", "root@pam"), ("password", &ticket)], failed),
        (vec![("username", "ann@pve"), ("password", "pa55word"), ("otp", "123456")], failed),
        (vec![("username", "ann@pve"), ("password", "x"), ("tfa-challenge", "x")], failed),
        (vec![("username", "ann"), ("password", "pa55word")], failed),
        (vec![("username", "off@pve"), ("password", "pa55word")], failed),
        (vec![("username", "old@pve"), ("password", "pa55word")], failed),
        (vec![("username", "eve@pve"), ("password", "pa55word")], failed),
        (vec![("username", "ann@pve"), ("password", "pa55word"), ("path", "/vms/1"), ("privs", "VM.Audit")], "ann@pve"),
        (vec![("username", "ann@pve"), ("password", "pa55word"), ("path", "/vms/1"), ("privs", "VM.Clone")], failed),
    ] {
        assert_eq!(attempt(&params), wanted, "{params:?}");
    }
    let (status, reason, _) = bench.send(As::Token("root@pam!pvefleet"), "POST", "/access/ticket", &[]);
    let wanted = "Permission check failed (URI '/access/ticket' not available with API token, need proper ticket.";
    assert_eq!((status, reason.as_str()), (403, wanted));
    // Two hours later the ticket is refused, for reading too.
    bench.now += 2 * 3600 * 1000;
    assert_eq!(bench.ask("GET", "/version", &[]), "401 Authentication failed!");
}

#[test]
fn what_is_made_can_be_changed_and_removed() {
    let mut bench = Bench::new("9.2.3", json!({ "tokens": [] }));
    bench.login("root@pam", "toor-toor");
    let steps: &[Step] = &[
        ("POST", "/access/groups", &[("groupid", "ops")], Value::Null),
        ("POST", "/access/groups", &[("groupid", "ops")], json!("500 create group failed: group 'ops' already exists")),
        ("POST", "/access/roles", &[("roleid", "Own"), ("privs", "VM.Audit VM.Console")], Value::Null),
        ("PUT", "/access/roles/Own", &[("privs", "VM.Clone"), ("append", "1")], Value::Null),
        ("GET", "/access/roles/Own", &[], json!({ "VM.Audit": 1, "VM.Clone": 1, "VM.Console": 1 })),
        ("PUT", "/access/roles/PVEAdmin", &[], json!("500 auto-generated role 'PVEAdmin' cannot be modified")),
        ("DELETE", "/access/roles/NoAccess", &[], json!("500 auto-generated role 'NoAccess' cannot be deleted")),
        ("POST", "/access/users", &[("userid", "ann@pve"), ("password", "pa55word"), ("groups", "ops")], Value::Null),
        (
            "POST",
            "/access/users",
            &[("userid", "ann@ldap"), ("password", "pa55word")],
            json!("500 create user failed: auth domain 'ldap' does not exist"),
        ),
        ("PUT", "/access/acl", &[("path", "/vms//100/"), ("roles", "Own"), ("groups", "ops")], Value::Null),
        (
            "GET",
            "/access/acl",
            &[],
            json!([{ "path": "/vms/100", "propagate": 1, "roleid": "Own", "type": "group", "ugid": "ops" }]),
        ),
        (
            "PUT",
            "/access/acl",
            &[("path", "/vms"), ("roles", "Nope"), ("groups", "ops")],
            json!("500 ACL update failed: role 'Nope' does not exist"),
        ),
        ("POST", "/access/users/ann@pve/token/ci", &[("expire", "0")], json!("secret")),
        ("PUT", "/access/users/ann@pve/token/ci", &[("regenerate", "1")], json!("secret")),
        (
            "PUT",
            "/access/users/ann@pve/token/ci",
            &[("delete", "expire")],
            json!("500 updating token info failed: 400 Parameter verification failed."),
        ),
        ("DELETE", "/access/roles/Own", &[], Value::Null),
        ("GET", "/access/acl", &[], json!([])),
        ("DELETE", "/access/users/ann@pve", &[], Value::Null),
        ("GET", "/access/groups/ops", &[], json!({ "members": [] })),
        ("GET", "/access/users/ann@pve", &[], json!("500 no such user ('ann@pve')")),
    ];
    for (method, path, params, wanted) in steps {
        let got = bench.ask(method, path, params);
        if *wanted == json!("secret") {
            assert_eq!(got["full-tokenid"], "ann@pve!ci", "{got}");
            assert_eq!(got["value"].as_str().map(str::len), Some(36), "{got}");
        } else {
            assert_eq!(got, *wanted, "{method} {path} {params:?}");
        }
    }
}

#[test]
fn nobody_hands_out_more_than_they_have() {
    let acl = json!([
        { "path": "/vms/100", "role": "PVEVMAdmin", "to": "ann@pve", "propagate": false },
        { "path": "/access/groups/ops", "role": "PVEUserAdmin", "to": "ann@pve" },
    ]);
    let users = json!([
        { "id": "ann@pve", "password": "pa55word" },
        { "id": "bob@pve", "groups": ["ops"] },
        { "id": "eve@pve" },
    ]);
    let mut bench = Bench::new("9.2.3", json!({ "users": users, "acl": acl }));
    bench.login("ann@pve", "pa55word");
    let users: Vec<Value> = bench.ask("GET", "/access/users", &[]).as_array().unwrap().clone();
    let ids: Vec<&str> = users.iter().filter_map(|user| user["userid"].as_str()).collect();
    assert_eq!(ids, ["ann@pve", "bob@pve"]);
    assert_eq!(bench.ask("PUT", "/access/users/bob@pve", &[("comment", "x"), ("groups", "ops")]), Value::Null);
    let bare = "403 Permission check failed";
    assert_eq!(bench.ask("GET", "/access/users/eve@pve", &[]), bare);
    assert_eq!(bench.ask("GET", "/access/users/eve@pve/token", &[]), bare);
    assert_eq!(bench.ask("GET", "/access/users/ann@pve/token", &[]), json!([]));
    let role = |role: &'static str, propagate: &'static str| {
        [("path", "/vms/100"), ("roles", role), ("users", "bob@pve"), ("propagate", propagate)]
    };
    assert_eq!(bench.ask("PUT", "/access/acl", &role("PVEVMUser", "0")), Value::Null);
    for (name, propagate, more) in [
        ("PVEVMUser", "1", " with propagation - requires 'Permissions.Modify' or propagated superset of privileges."),
        ("PVEDatastoreUser", "0", " - requires 'Permissions.Modify' or superset of privileges."),
        ("NoAccess", "0", " - requires 'Permissions.Modify'"),
    ] {
        let (status, _, body) = bench.send(As::Ticket, "PUT", "/access/acl", &role(name, propagate));
        let text =
            format!("ACL update failed: 400 Parameter verification failed.\nrole: Cannot add role '{name}'{more}\n");
        assert_eq!((status, &body["message"]), (500, &json!(text)));
    }
    // A password is changed by its owner, who must know it.
    let password = [("userid", "ann@pve"), ("password", "another1")];
    let missing = bench.ask("PUT", "/access/password", &password);
    assert_eq!(missing["errors"]["confirmation-password"], "password is required to modify user");
    let with = |own: &'static str| [password[0], password[1], ("confirmation-password", own)];
    assert_eq!(bench.ask("PUT", "/access/password", &with("wrong")), "500 invalid credentials");
    assert_eq!(bench.ask("PUT", "/access/password", &with("pa55word")), Value::Null);
    bench.login("ann@pve", "another1");
}
