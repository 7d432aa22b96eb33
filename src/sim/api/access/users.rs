//! Users.

use serde_json::{Map, Value, json};

use super::super::{nothing, rows};
use super::{kept, within};
use crate::pve::value::split_list;
use crate::sim::access::{Access, User, check_user_name};
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::route::Call;

/// What the file of users has of one.
fn row(user: &User) -> Map<String, Value> {
    let mut row = Map::from_iter([
        ("enable".to_owned(), json!(u8::from(user.enable))),
        ("expire".to_owned(), json!(user.expire)),
    ]);
    // The file has the mail address before the comment and the keys: where these are there, so is it.
    let email = user.email.as_str();
    if kept(email).is_some() || kept(&user.comment).is_some() || kept(&user.keys).is_some() {
        row.insert("email".to_owned(), json!(email));
    }
    for (name, text) in
        [("firstname", &user.firstname), ("lastname", &user.lastname), ("comment", &user.comment), ("keys", &user.keys)]
    {
        if let Some(text) = kept(text) {
            row.insert(name.to_owned(), json!(text));
        }
    }
    row
}

fn groups_of<'a>(access: &'a Access, user: &str) -> Vec<&'a str> {
    let of = access.groups.iter().filter(|(_, group)| group.members.contains(user));
    of.map(|(name, _)| name.as_str()).collect()
}

pub(in crate::sim) fn users(cluster: &mut Cluster, call: &Call) -> Outcome {
    let access = &cluster.access;
    let check = cluster.check(&call.subject);
    let privileges = ["User.Modify", "Sys.Audit"];
    let all = check.any("/access/groups", &privileges);
    let mut list = Vec::new();
    for (id, user) in &access.users {
        let groups = groups_of(access, id);
        let by_group = || groups.iter().any(|group| check.any(&format!("/access/groups/{group}"), &privileges));
        let wanted = call.get("enabled").is_none_or(|enabled| (enabled == "1") == user.enable);
        if !wanted || !(all || *id == call.subject.id || by_group()) {
            continue;
        }
        let mut row = row(user);
        if call.flag("full") {
            let tokens = user.tokens.iter().map(|(name, token)| {
                let mut row = super::tokens::row(token);
                row["tokenid"] = json!(name);
                row
            });
            row.insert("groups".to_owned(), json!(groups.join(",")));
            let tokens = if user.tokens.is_empty() { Value::Null } else { json!(tokens.collect::<Vec<_>>()) };
            row.insert("tokens".to_owned(), tokens);
        }
        if let Some((_, realm @ ("pam" | "pve"))) = id.rsplit_once('@') {
            row.insert("realm-type".to_owned(), json!(realm));
        }
        row.insert("userid".to_owned(), json!(id));
        list.push(Value::Object(row));
    }
    Ok(rows(list))
}

pub(in crate::sim) fn user_read(cluster: &mut Cluster, call: &Call) -> Outcome {
    let id = call.get("userid").unwrap_or_default();
    let user = cluster.access.find_user(id)?;
    let mut row = row(user);
    row.insert("groups".to_owned(), json!(groups_of(&cluster.access, id)));
    let tokens = user.tokens.iter().map(|(name, token)| (name.clone(), super::tokens::row(token)));
    let tokens = if user.tokens.is_empty() { Value::Null } else { Value::Object(tokens.collect()) };
    row.insert("tokens".to_owned(), tokens);
    Ok(Answer::from(Value::Object(row)))
}

/// The second factors of a user, of which there are none.
pub(in crate::sim) fn user_tfa(_: &mut Cluster, call: &Call) -> Outcome {
    let id = call.get("userid").unwrap_or_default();
    check_user_name(id).map_err(Failure::Die)?;
    match id.rsplit('@').next() {
        Some("pam" | "pve") if call.flag("multiple") => Ok(Answer::from(json!({ "user": [] }))),
        Some("pam" | "pve") => Ok(Answer::from(json!({}))),
        realm => Err(Failure::die(format!("auth domain '{}' does not exist", realm.unwrap_or_default()))),
    }
}

/// Takes over what the call says of a user; the groups are known to exist.
fn take_over(user: &mut User, call: &Call) {
    if let Some(enable) = call.get("enable") {
        user.enable = enable == "1";
    }
    if let Some(expire) = call.number("expire") {
        user.expire = expire;
    }
    for (name, kept) in [
        ("firstname", &mut user.firstname),
        ("lastname", &mut user.lastname),
        ("email", &mut user.email),
        ("comment", &mut user.comment),
        ("keys", &mut user.keys),
    ] {
        if let Some(text) = call.get(name) {
            text.clone_into(kept);
        }
    }
}

fn check_groups(access: &Access, call: &Call) -> Result<(), String> {
    let mut groups = split_list(call.get("groups").unwrap_or_default());
    match groups.find(|group| !access.groups.contains_key(*group)) {
        Some(group) => Err(format!("no such group '{group}'")),
        None => Ok(()),
    }
}

fn join_groups(access: &mut Access, id: &str, call: &Call) {
    for group in split_list(call.get("groups").unwrap_or_default()) {
        if let Some(group) = access.groups.get_mut(group) {
            group.members.insert(id.to_owned());
        }
    }
}

pub(in crate::sim) fn user_create(cluster: &mut Cluster, call: &Call) -> Outcome {
    let failed = |text: String| within("create user", &Failure::Die(text));
    let id = call.get("userid").unwrap_or_default();
    check_user_name(id).map_err(failed)?;
    let access = &mut cluster.access;
    if access.users.contains_key(id) {
        return Err(failed(format!("user '{id}' already exists")));
    }
    // The password is kept even where what follows fails.
    if let Some(password) = call.get("password") {
        access.set_password(id, password).map_err(failed)?;
    }
    check_groups(access, call).map_err(failed)?;
    let mut user = User { enable: true, ..User::default() };
    take_over(&mut user, call);
    access.users.insert(id.to_owned(), user);
    join_groups(access, id, call);
    Ok(nothing())
}

pub(in crate::sim) fn user_update(cluster: &mut Cluster, call: &Call) -> Outcome {
    let id = call.get("userid").unwrap_or_default();
    check_user_name(id).map_err(Failure::Die)?;
    let access = &mut cluster.access;
    let change = "update user";
    access.find_user(id).map_err(|failure| within(change, &failure))?;
    check_groups(access, call).map_err(|text| within(change, &Failure::Die(text)))?;
    if let Some(user) = access.users.get_mut(id) {
        take_over(user, call);
    }
    if call.get("groups").is_some() && !call.flag("append") {
        for group in access.groups.values_mut() {
            group.members.remove(id);
        }
    }
    join_groups(access, id, call);
    Ok(nothing())
}

/// Removes a user; one that is not there is no error, but who may not do everything is refused before.
pub(in crate::sim) fn user_delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    let id = call.get("userid").unwrap_or_default();
    check_user_name(id).map_err(Failure::Die)?;
    cluster.access.remove_user(id);
    Ok(nothing())
}
