//! Login, passwords, realms, and what somebody may do.

use serde_json::{Map, Value, json};
use sha1::{Digest, Sha1};

use super::super::nothing;
use crate::pve::value::split_list;
use crate::sim::access::normalize_path;
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::route::Call;

/// The realms, and the file that says so on a new installation.
const REALMS: [(&str, &str); 2] =
    [("pam", "Linux PAM standard authentication"), ("pve", "Proxmox VE authentication server")];

pub(in crate::sim) fn domains(_: &mut Cluster, _: &Call) -> Outcome {
    Ok(Answer::from(json!(REALMS.map(|(realm, comment)| json!({
        "comment": comment, "realm": realm, "type": realm
    })))))
}

pub(in crate::sim) fn domain(_: &mut Cluster, call: &Call) -> Outcome {
    let name = call.get("realm").unwrap_or_default();
    let found = REALMS.iter().find(|(realm, _)| *realm == name);
    let (realm, comment) = found.ok_or_else(|| Failure::die(format!("domain '{name}' does not exist")))?;
    let file: String =
        REALMS.iter().map(|(realm, comment)| format!("{realm}: {realm}\n\tcomment {comment}\n\n")).collect();
    let digest: String = Sha1::digest(file).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut data = json!({ "comment": comment, "digest": digest, "type": realm });
    if *realm == "pam" {
        data["plugin"] = json!("PVE::Auth::PAM");
    }
    Ok(Answer::from(data))
}

pub(in crate::sim) fn login_page(_: &mut Cluster, _: &Call) -> Outcome {
    Ok(nothing())
}

/// Makes a ticket for a password or a ticket, or says whether its owner has privileges on a path.
pub(in crate::sim) fn login(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut user = call.get("username").unwrap_or_default().to_owned();
    if let Some(realm) = call.get("realm").filter(|realm| !realm.is_empty()) {
        user = format!("{user}@{realm}");
    }
    // Nobody learns why a login failed.
    let failed = |_| Failure::Refused(401, "authentication failure".to_owned());
    let now = cluster.unix_time();
    let text = |name: &str| call.get(name).filter(|text| !text.is_empty());
    let mut data = match (text("path"), text("privs")) {
        (Some(path), Some(privileges)) => {
            verify(cluster, call, &user, path, privileges).map_err(failed)?;
            json!({ "username": user })
        }
        _ => {
            authenticate(cluster, call, &user, true).map_err(failed)?;
            let (ticket, token) = cluster.access.issue_ticket(&user, now);
            json!({ "username": user, "ticket": ticket, "CSRFPreventionToken": token })
        }
    };
    let summary = cluster.access.summary(&cluster.pools, &user);
    let set = |names: std::collections::BTreeSet<String>| Value::from_iter(names.into_iter().map(|name| (name, 1)));
    data["cap"] = Value::from_iter(summary.into_iter().map(|(kind, names)| (kind, set(names))));
    let audit = cluster.access.holds_any(&cluster.pools, &user, "/", &["Sys.Audit"]);
    if audit && !cluster.spec.standalone {
        data["clustername"] = json!(cluster.spec.name);
    }
    Ok(Answer::from(data))
}

/// Checks the password, which may be a ticket: of the user, or of root where a new ticket is wanted.
fn authenticate(cluster: &Cluster, call: &Call, user: &str, for_ticket: bool) -> Result<(), String> {
    let now = cluster.unix_time();
    cluster.access.check_enabled(user, now).map_err(|failure| failure.text())?;
    let password = call.get("password").unwrap_or_default();
    if for_ticket && call.get("tfa-challenge").is_some() {
        return Err("there are no second factors here".to_owned());
    }
    let owner = cluster.access.ticket_user(password, now);
    if owner.is_some_and(|owner| owner == user || (for_ticket && owner == "root@pam")) {
        return Ok(());
    }
    cluster.access.check_password(user, password)?;
    match call.get("otp") {
        Some(_) => Err("no such challenge".to_owned()),
        None => Ok(()),
    }
}

fn verify(cluster: &Cluster, call: &Call, user: &str, path: &str, privileges: &str) -> Result<(), String> {
    authenticate(cluster, call, user, false)?;
    let path = normalize_path(path).ok_or_else(|| format!("invalid path - {path}"))?;
    let mut wanted = split_list(privileges).peekable();
    let held = |name: &str| cluster.access.holds_any(&cluster.pools, user, &path, &[name]);
    if wanted.peek().is_some() && wanted.all(held) { Ok(()) } else { Err("no permission".to_owned()) }
}

pub(in crate::sim) fn set_password(cluster: &mut Cluster, call: &Call) -> Outcome {
    let user = call.get("userid").unwrap_or_default();
    cluster.access.find_user(user)?;
    let forbidden = || Err(Failure::Permission(String::new()));
    if !call.subject.is_root() {
        if user == "root@pam" {
            return forbidden();
        }
        let name = "confirmation-password";
        let missing = || Failure::parameter(name, "password is required to modify user");
        let own = call.get(name).ok_or_else(missing)?;
        cluster.access.check_password(&call.subject.id, own).map_err(Failure::Die)?;
        if call.subject.id == user {
            cluster.access.check_enabled(user, cluster.unix_time())?;
        } else if user.ends_with("@pam") {
            return forbidden();
        }
    }
    cluster.access.set_password(user, call.get("password").unwrap_or_default()).map_err(Failure::Die)?;
    Ok(nothing())
}

pub(in crate::sim) fn permissions(cluster: &mut Cluster, call: &Call) -> Outcome {
    let asking = &call.subject;
    let who = call.get("userid").unwrap_or(&asking.id);
    let own_token = who.split_once('!').is_some_and(|(user, _)| user == asking.id);
    if who != asking.id && !own_token {
        cluster.check(asking).need("/access", &["Sys.Audit"])?;
    }
    let object = |privileges: crate::sim::access::Privileges| {
        Value::from_iter(privileges.into_iter().map(|(name, below)| (name.to_owned(), u8::from(below))))
    };
    let paths: Map<String, Value> = match call.get("path").and_then(super::kept) {
        Some(path) => {
            let held = cluster.access.privileges(&cluster.pools, who, path);
            Map::from_iter([(path.to_owned(), object(held))])
        }
        None => {
            let effective = cluster.access.effective(&cluster.pools, who);
            effective.into_iter().map(|(path, held)| (path, object(held))).collect()
        }
    };
    Ok(Answer::from(Value::Object(paths)))
}
