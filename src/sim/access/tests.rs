use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::sim::cluster::{IncomingRequest, Pool};

/// Access of a small cluster with what the test adds.
fn access(parts: Value) -> Access {
    let mut spec = json!({
        "name": "test", "nodes": [{ "name": "n" }], "tokens": [],
        "users": [
            { "id": "root@pam", "password": "toor" },
            { "id": "ann@pve", "password": "pa55word", "groups": ["ops"] },
            { "id": "bob@pve", "groups": ["ops", "dev"] },
        ],
        "roles": { "A": ["VM.Audit"], "C": ["VM.Audit", "VM.Console"], "P": ["VM.PowerMgmt"] },
    });
    for (name, value) in parts.as_object().into_iter().flatten() {
        spec[name] = value.clone();
    }
    Access::new(&serde_json::from_value(spec).unwrap(), 9, 1)
}

fn entry(path: &str, role: &str, to: &str, propagate: bool) -> Value {
    json!({ "path": path, "role": role, "to": to, "propagate": propagate })
}

fn pools(lent: &[(&str, &[u32], &[&str])]) -> Pools {
    let pool = |(name, guests, storages): &(&str, &[u32], &[&str])| {
        let storages = storages.iter().map(|name| (*name).to_owned()).collect();
        let guests: BTreeSet<u32> = guests.iter().copied().collect();
        ((*name).to_owned(), Pool { guests, storages, ..Pool::default() })
    };
    lent.iter().map(pool).collect()
}

/// The privileges as `VM.Audit=1 VM.Console=0`, and a check that both ways of asking agree.
fn held(access: &Access, pools: &Pools, who: &str, path: &str) -> String {
    let privileges = access.privileges(pools, who, path);
    for name in access.roles["Administrator"].iter().map(String::as_str) {
        assert_eq!(access.holds_any(pools, who, path, &[name]), privileges.contains_key(name), "{who} {path} {name}");
    }
    let texts: Vec<String> =
        privileges.into_iter().map(|(name, below)| format!("{name}={}", u8::from(below))).collect();
    texts.join(" ")
}

#[test]
fn the_nearest_path_decides() {
    let access = access(json!({ "acl": [
        entry("/", "C", "ann@pve", true),
        entry("/vms", "P", "ann@pve", false),
        entry("/vms/100", "A", "ann@pve", true),
        entry("/vms/101", "NoAccess", "ann@pve", true),
    ] }));
    let none = Pools::new();
    for (path, wanted) in [
        ("/", "VM.Audit=1 VM.Console=1"),
        ("/nodes/n", "VM.Audit=1 VM.Console=1"),
        // What does not reach below counts on its path alone, and only there hides what came from above.
        ("/vms", "VM.PowerMgmt=0"),
        ("/vms/102", "VM.Audit=1 VM.Console=1"),
        ("/vms/100", "VM.Audit=1"),
        ("/vms/101", ""),
        ("vms/102", ""),
    ] {
        assert_eq!(held(&access, &none, "ann@pve", path), wanted, "{path}");
    }
    assert_eq!(held(&access, &none, "nobody@pve", "/"), "");
    assert_eq!(access.privileges(&none, "root@pam", "/vms/101").len(), 47);
}

#[test]
fn users_come_before_their_groups_on_one_path() {
    let access = access(json!({ "acl": [
        entry("/vms", "A", "@ops", true),
        entry("/vms", "P", "@dev", true),
        entry("/vms", "C", "ann@pve", true),
        entry("/vms/100", "P", "@ops", true),
        entry("/vms/100", "C", "ann@pve", false),
        entry("/storage", "NoAccess", "@dev", true),
        entry("/storage", "C", "@ops", true),
    ] }));
    let none = Pools::new();
    for (who, path, wanted) in [
        ("ann@pve", "/vms", "VM.Audit=1 VM.Console=1"),
        ("bob@pve", "/vms", "VM.Audit=1 VM.PowerMgmt=1"),
        ("ann@pve", "/vms/100", "VM.Audit=0 VM.Console=0"),
        ("bob@pve", "/vms/100", "VM.PowerMgmt=1"),
        // Of several groups' roles none counts beside no access.
        ("bob@pve", "/storage/x", ""),
        ("ann@pve", "/storage/x", "VM.Audit=1 VM.Console=1"),
    ] {
        assert_eq!(held(&access, &none, who, path), wanted, "{who} {path}");
    }
}

#[test]
fn pools_lend_their_roles_to_their_members() {
    let access = access(json!({ "acl": [
        entry("/pool/web", "A", "ann@pve", true),
        entry("/pool/shut", "NoAccess", "ann@pve", true),
        entry("/vms/100", "P", "ann@pve", true),
        entry("/vms/101", "NoAccess", "ann@pve", true),
        entry("/vms/200", "P", "ann@pve", true),
    ] }));
    let pools = pools(&[("web", &[100, 101], &["fast"]), ("web/blue", &[102], &[]), ("shut", &[200], &[])]);
    for (path, wanted) in [
        ("/pool/web", "VM.Audit=1"),
        ("/vms/100", "VM.Audit=0 VM.PowerMgmt=1"),
        ("/vms/101", ""),
        ("/vms/102", "VM.Audit=0"),
        ("/vms/103", ""),
        ("/vms/200", ""),
        ("/storage/fast", "VM.Audit=0"),
        ("/storage/slow", ""),
    ] {
        assert_eq!(held(&access, &pools, "ann@pve", path), wanted, "{path}");
    }
    let paths: Vec<String> = access.effective(&pools, "ann@pve").into_keys().collect();
    let wanted = ["/pool/web", "/storage/fast", "/vms/100", "/vms/102"];
    assert_eq!(paths, wanted);
}

#[test]
fn tokens_have_rights_of_their_own_within_their_users() {
    let token = |id: &str, more: Value| {
        let mut token = json!({ "id": id, "secret": "s", "grants": [] });
        for (name, value) in more.as_object().into_iter().flatten() {
            token[name] = value.clone();
        }
        token
    };
    let access = access(json!({
        "acl": [
            entry("/vms", "C", "ann@pve", true),
            entry("/", "PVEVMUser", "ann@pve!own", false),
            entry("/vms/100", "PVEVMUser", "ann@pve!own", false),
            entry("/vms/100", "PVEVMUser", "root@pam!own", true),
        ],
        "tokens": [
            token("ann@pve!own", json!({})),
            token("ann@pve!same", json!({ "privsep": false })),
            token("root@pam!own", json!({})),
            token("root@pam!same", json!({ "privsep": false })),
            token("eve@pve!ci", json!({ "grants": [{ "path": "/vms/7", "privileges": ["VM.Clone"] }] })),
        ],
    }));
    let none = Pools::new();
    for (who, path, wanted) in [
        ("ann@pve!own", "/vms/100", "VM.Audit=0 VM.Console=0"),
        ("ann@pve!own", "/vms/101", ""),
        ("ann@pve!same", "/vms/101", "VM.Audit=1 VM.Console=1"),
        ("ann@pve!none", "/vms/100", ""),
        ("eve@pve!ci", "/vms/7", "VM.Clone=1"),
        ("eve@pve", "/vms/7", "VM.Clone=1"),
    ] {
        assert_eq!(held(&access, &none, who, path), wanted, "{who} {path}");
    }
    // What root may do is no bound, and a token of root may do everything, and still is not root.
    assert_eq!(access.privileges(&none, "root@pam!own", "/vms/100").len(), 10);
    assert_eq!(access.privileges(&none, "root@pam!same", "/").len(), 47);
    assert!(!Subject { id: "root@pam!same".to_owned() }.is_root());
}

#[test]
fn what_a_login_sums_up() {
    let access = access(json!({ "acl": [
        entry("/", "PVEAuditor", "@ops", false),
        entry("/pool/web", "PVEDatastoreUser", "ann@pve", true),
        entry("/pool/web", "PVEVMUser", "bob@pve", true),
        entry("/access/groups", "PVEUserAdmin", "ann@pve", true),
    ] }));
    let summary = access.summary(&Pools::new(), "ann@pve");
    let texts: Vec<String> = summary
        .into_iter()
        .map(|(kind, names)| format!("{kind}: {}", names.into_iter().collect::<Vec<_>>().join(" ")))
        .collect();
    let wanted = [
        "access: Group.Allocate User.Modify",
        "dc: SDN.Audit Sys.Audit",
        "mapping: ",
        "nodes: ",
        "sdn: ",
        "storage: Datastore.AllocateSpace Datastore.Audit",
        "vms: ",
    ];
    assert_eq!(texts, wanted);
}

#[test]
fn credentials_are_refused_in_proxmoxs_words() {
    let access = access(json!({
        "users": [
            { "id": "ann@pve", "password": "pa55word" },
            { "id": "off@pve", "password": "pa55word", "enable": false },
            { "id": "old@pve", "password": "pa55word", "expire": 1000 },
        ],
        "tokens": [
            { "id": "ann@pve!t1", "secret": "s" },
            { "id": "ann@pve!old", "secret": "s", "expire": 1000 },
            { "id": "off@pve!t1", "secret": "s" },
            { "id": "old@pve!t1", "secret": "s" },
        ],
    }));
    let (no_ticket, failed) = ("No ticket", "Authentication failed!");
    let reason = |method: &str, headers: [Option<&str>; 3], now: u64| {
        let [authorization, cookie, csrf_token] = headers.map(|header| header.map(str::to_owned));
        let method = method.to_owned();
        let request = IncomingRequest { method, authorization, cookie, csrf_token, ..IncomingRequest::default() };
        match access.authenticate(&request, now) {
            Ok(subject) => subject.id,
            Err(Failure::Empty(401, reason)) => reason,
            Err(other) => format!("{other:?}"),
        }
    };
    for (header, now, wanted) in [
        ("PVEAPIToken=ann@pve!t1=s", 1, "ann@pve!t1"),
        ("PVEAPIToken=ann@pve!t1=x", 1, failed),
        ("PVEAPIToken=ann@pve!t2=s", 1, failed),
        ("PVEAPIToken=eve@pve!t1=s", 1, failed),
        ("PVEAPIToken=ann@pve=s", 1, failed),
        ("PVEAPIToken=nonsense", 1, failed),
        ("PVEAPIToken=ann@pve!old=s", 1000, "ann@pve!old"),
        ("PVEAPIToken=ann@pve!old=s", 1001, failed),
        ("PVEAPIToken=old@pve!t1=s", 1000, "old@pve!t1"),
        ("PVEAPIToken=old@pve!t1=s", 1001, failed),
        ("PVEAPIToken=off@pve!t1=s", 1, failed),
        ("Basic YTpi", 1, no_ticket),
        ("PVEAuthCookie=PVE:ann@pve:00000001::x", 1, failed),
    ] {
        assert_eq!(reason("POST", [Some(header), None, None], now), wanted, "{header}");
    }
    assert_eq!(reason("GET", [None, None, None], 1), no_ticket);
    let (ticket, csrf) = access.issue_ticket("ann@pve", 5000);
    let cookie = format!("PVEAuthCookie={}", ticket.replace(':', "%3A").replace('=', "%3D").replace('+', "%2B"));
    let bad_csrf = "Permission denied - invalid csrf token";
    // The cookie comes before the token.
    assert_eq!(reason("GET", [Some("PVEAPIToken=nonsense"), Some(&cookie), None], 5000), "ann@pve");
    assert_eq!(reason("GET", [Some(&format!("PVEAuthCookie={ticket}")), None, None], 5000), "ann@pve");
    assert_eq!(reason("PUT", [None, Some(&cookie), None], 5000), bad_csrf);
    assert_eq!(reason("PUT", [None, Some(&cookie), Some("00001388:x")], 5000), bad_csrf);
    assert_eq!(reason("PUT", [None, Some(&cookie), Some(&csrf)], 5000), "ann@pve");
    assert_eq!(reason("PUT", [None, Some(&cookie), Some(&csrf)], 5000 + 7200), failed);
    let (ticket, _) = access.issue_ticket("off@pve", 5000);
    assert_eq!(reason("GET", [None, Some(&format!("PVEAuthCookie={ticket}")), None], 5000), failed);
}

#[test]
fn passwords_are_the_realms_matter() {
    let mut access = access(json!({}));
    let text = |access: &Access, user: &str, password: &str| access.check_password(user, password).err();
    for (user, password, wanted) in [
        ("root@pam", "toor", None),
        ("ann@pve", "pa55word", None),
        ("ann@pve", "wrong", Some("invalid credentials")),
        ("ann@pve", "", Some("no password")),
        ("bob@pve", "x", Some("no password set")),
        ("root@pam", "wrong", Some("Authentication failure")),
        ("ann@ldap", "x", Some("auth domain 'ldap' does not exist")),
    ] {
        assert_eq!(text(&access, user, password).as_deref(), wanted, "{user} {password}");
    }
    assert_eq!(access.set_password("bob@pve", "longer12"), Ok(()));
    assert_eq!(text(&access, "bob@pve", "longer12"), None);
    let missing = "change password failed: user 'bob' does not exist";
    assert_eq!(access.set_password("bob@pam", "longer12"), Err(missing.to_owned()));
    // The account on the nodes outlives the user, the password of the realm `pve` does not.
    access.remove_user("bob@pve");
    access.remove_user("root@pam");
    assert_eq!(text(&access, "bob@pve", "longer12").as_deref(), Some("no password set"));
    assert_eq!(text(&access, "root@pam", "toor"), None);
    assert!(access.users["root@pam"].enable);
}

#[test]
fn user_names_have_a_form() {
    for (name, wanted) in [
        ("ann@pve", None),
        ("ann@example.net@pve", None),
        ("a@", Some("user name 'a@' is too short")),
        ("ann", Some("value 'ann' does not look like a valid user name")),
        ("ann@p", Some("value 'ann@p' does not look like a valid user name")),
        ("a n@pve", Some("value 'a n@pve' does not look like a valid user name")),
    ] {
        assert_eq!(check_user_name(name).err().as_deref(), wanted, "{name}");
    }
    let long = format!("{}@pve", "x".repeat(61));
    assert_eq!(check_user_name(&long), Err(format!("user name '{long}' is too long (65 > 64)")));
}
