//! Roles.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::{nothing, rows};
use super::within;
use crate::pve::value::split_list;
use crate::sim::access::is_special;
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::route::Call;

fn id(call: &Call) -> &str {
    call.get("roleid").unwrap_or_default()
}

fn missing(role: &str) -> Failure {
    Failure::die(format!("role '{role}' does not exist"))
}

/// The privileges of the call; their names were checked.
fn given(call: &Call) -> BTreeSet<String> {
    split_list(call.get("privs").unwrap_or_default()).map(str::to_owned).collect()
}

/// Refuses to touch a role that comes with Proxmox.
fn own(cluster: &Cluster, call: &Call, what: &str) -> Result<(), Failure> {
    if is_special(id(call), cluster.access.release()) {
        return Err(Failure::die(format!("auto-generated role '{}' cannot be {what}", id(call))));
    }
    Ok(())
}

pub(in crate::sim) fn roles(cluster: &mut Cluster, _: &Call) -> Outcome {
    let release = cluster.access.release();
    let list = cluster.access.roles.iter().map(|(name, privileges)| {
        let names: Vec<&str> = privileges.iter().map(String::as_str).collect();
        json!({ "roleid": name, "privs": names.join(","), "special": u8::from(is_special(name, release)) })
    });
    Ok(rows(list.collect()))
}

pub(in crate::sim) fn role_read(cluster: &mut Cluster, call: &Call) -> Outcome {
    let role = cluster.access.roles.get(id(call)).ok_or_else(|| missing(id(call)))?;
    Ok(Answer::from(Value::from_iter(role.iter().map(|name| (name.clone(), 1)))))
}

pub(in crate::sim) fn role_create(cluster: &mut Cluster, call: &Call) -> Outcome {
    if id(call).get(..3).is_some_and(|start| start.eq_ignore_ascii_case("pve")) {
        let text = "cannot use role ID starting with the (case-insensitive) 'PVE' namespace";
        return Err(Failure::parameter("roleid", text));
    }
    if cluster.access.roles.contains_key(id(call)) {
        return Err(Failure::die(format!("create role failed: role '{}' already exists", id(call))));
    }
    cluster.access.roles.insert(id(call).to_owned(), given(call));
    Ok(nothing())
}

pub(in crate::sim) fn role_update(cluster: &mut Cluster, call: &Call) -> Outcome {
    own(cluster, call, "modified")?;
    let role = cluster.access.roles.get_mut(id(call)).ok_or_else(|| within("update role", &missing(id(call))))?;
    if !call.flag("append") {
        role.clear();
    }
    role.extend(given(call));
    Ok(nothing())
}

pub(in crate::sim) fn role_delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    own(cluster, call, "deleted")?;
    if !cluster.access.roles.contains_key(id(call)) {
        return Err(within("delete role", &missing(id(call))));
    }
    cluster.access.remove_role(id(call));
    Ok(nothing())
}
