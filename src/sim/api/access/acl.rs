//! The access control list.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::{nothing, rows};
use super::within;
use crate::pve::value::split_list;
use crate::sim::access::{Member, Privileges, is_known_path, normalize_path};
use crate::sim::answer::{Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::permit::modifiers;
use crate::sim::route::Call;

/// The entries on paths whose entries the caller could change, or all for an auditor.
pub(in crate::sim) fn acl(cluster: &mut Cluster, call: &Call) -> Outcome {
    let check = cluster.check(&call.subject);
    let audit = check.any("/access", &["Sys.Audit"]);
    let mut visible: BTreeMap<&str, bool> = BTreeMap::new();
    let mut list = Vec::new();
    for (path, member, role, propagate) in cluster.access.acl_entries() {
        if *visible.entry(path).or_insert_with(|| audit || check.any(path, modifiers(path))) {
            let (kind, id) = member.parts();
            list.push(json!({
                "path": path, "propagate": u8::from(propagate), "roleid": role, "type": kind, "ugid": id,
            }));
        }
    }
    Ok(rows(list))
}

/// Refuses a role that would give, or take, more than the caller has; who may modify permissions may all.
fn check_role(cluster: &Cluster, held: &Privileges, role: &str, adds: bool, propagate: bool) -> Result<(), Failure> {
    if held.contains_key("Permissions.Modify") {
        return Ok(());
    }
    let verb = if adds { "add" } else { "remove" };
    let refused = |text: &str| {
        let with = if text.starts_with("propagated") { " with propagation" } else { "" };
        let more = if text.is_empty() { String::new() } else { format!(" or {text} of privileges.") };
        Err(Failure::parameter(
            "role",
            format!("Cannot {verb} role '{role}'{with} - requires 'Permissions.Modify'{more}"),
        ))
    };
    for privilege in cluster.access.roles.get(role).into_iter().flatten() {
        match held.get(privilege.as_str()) {
            None => return refused("superset"),
            Some(false) if propagate && adds => return refused("propagated superset"),
            Some(_) => {}
        }
    }
    if role == "NoAccess" { refused("") } else { Ok(()) }
}

pub(in crate::sim) fn set_acl(cluster: &mut Cluster, call: &Call) -> Outcome {
    let text = |name: &str| call.get(name).unwrap_or_default();
    let named = ["users", "groups", "tokens"];
    if named.iter().all(|name| super::kept(text(name)).is_none()) {
        let text = "either 'users', 'groups' or 'tokens' is required.";
        return Err(Failure::Parameters(named.map(|name| (name.to_owned(), text.to_owned())).into()));
    }
    let delete = call.flag("delete");
    let path = normalize_path(text("path")).filter(|path| delete || is_known_path(path));
    let path = path.ok_or_else(|| Failure::parameter("path", format!("invalid ACL path '{}'", text("path"))))?;
    let members = check_members(cluster, call, &path).map_err(|failure| within("ACL update", &failure))?;
    let propagate = call.get("propagate") != Some("0");
    for role in split_list(text("roles")) {
        for member in &members {
            if delete {
                cluster.access.remove_acl(&path, *member, role);
            } else {
                cluster.access.set_acl(&path, *member, role, propagate);
            }
        }
    }
    Ok(nothing())
}

/// For whom the entries are. Everything is checked before anything is written.
fn check_members<'a>(cluster: &Cluster, call: &'a Call, path: &str) -> Result<Vec<Member<'a>>, Failure> {
    let list = |name: &str| split_list(call.get(name).unwrap_or_default());
    let access = &cluster.access;
    let held = access.privileges(&cluster.pools, &call.subject.id, path);
    let mut members = Vec::new();
    for role in list("roles") {
        if !access.roles.contains_key(role) {
            return Err(Failure::die(format!("role '{role}' does not exist")));
        }
        check_role(cluster, &held, role, !call.flag("delete"), call.get("propagate") != Some("0"))?;
        members.clear();
        for group in list("groups") {
            if !access.groups.contains_key(group) {
                return Err(Failure::die(format!("group '{group}' does not exist")));
            }
            members.push(Member::Group(group));
        }
        for user in list("users") {
            if !access.users.contains_key(user) {
                return Err(Failure::die(format!("user '{user}' does not exist")));
            }
            members.push(Member::User(user));
        }
        for id in list("tokens") {
            let (user, token) = id.split_once('!').unwrap_or((id, ""));
            access.find_token(user, token)?;
            members.push(Member::Token(id));
        }
    }
    Ok(members)
}
