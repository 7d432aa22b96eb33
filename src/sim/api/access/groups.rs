//! Groups of users.

use serde_json::{Value, json};

use super::super::{nothing, rows};
use super::{kept, within};
use crate::sim::access::Group;
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::route::Call;

fn id(call: &Call) -> &str {
    call.get("groupid").unwrap_or_default()
}

fn missing(group: &str) -> Failure {
    Failure::die(format!("group '{group}' does not exist"))
}

fn with_comment(mut row: Value, group: &Group) -> Value {
    if let Some(comment) = kept(&group.comment) {
        row["comment"] = json!(comment);
    }
    row
}

pub(in crate::sim) fn groups(cluster: &mut Cluster, call: &Call) -> Outcome {
    let check = cluster.check(&call.subject);
    let privileges = ["User.Modify", "Sys.Audit", "Group.Allocate"];
    let visible =
        cluster.access.groups.iter().filter(|(name, _)| check.any(&format!("/access/groups/{name}"), &privileges));
    let list = visible.map(|(name, group)| {
        let users: Vec<&str> = group.members.iter().map(String::as_str).collect();
        with_comment(json!({ "groupid": name, "users": users.join(",") }), group)
    });
    Ok(rows(list.collect()))
}

pub(in crate::sim) fn group_read(cluster: &mut Cluster, call: &Call) -> Outcome {
    let group = cluster.access.groups.get(id(call)).ok_or_else(|| missing(id(call)))?;
    Ok(Answer::from(with_comment(json!({ "members": group.members }), group)))
}

pub(in crate::sim) fn group_create(cluster: &mut Cluster, call: &Call) -> Outcome {
    let groups = &mut cluster.access.groups;
    if groups.contains_key(id(call)) {
        return Err(Failure::die(format!("create group failed: group '{}' already exists", id(call))));
    }
    let comment = call.get("comment").unwrap_or_default().to_owned();
    groups.insert(id(call).to_owned(), Group { comment, ..Group::default() });
    Ok(nothing())
}

pub(in crate::sim) fn group_update(cluster: &mut Cluster, call: &Call) -> Outcome {
    let group = cluster.access.groups.get_mut(id(call));
    let group = group.ok_or_else(|| within("update group", &missing(id(call))))?;
    if let Some(comment) = call.get("comment") {
        comment.clone_into(&mut group.comment);
    }
    Ok(nothing())
}

pub(in crate::sim) fn group_delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    if !cluster.access.groups.contains_key(id(call)) {
        return Err(within("delete group", &missing(id(call))));
    }
    cluster.access.remove_group(id(call));
    Ok(nothing())
}
