//! API tokens.

use serde_json::{Value, json};

use super::super::{nothing, rows};
use super::{kept, within};
use crate::pve::value::split_list;
use crate::sim::access::Token;
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::route::Call;

/// What the file of users has of a token.
pub(super) fn row(token: &Token) -> Value {
    let mut row = json!({ "expire": token.expire, "privsep": u8::from(token.privsep) });
    if let Some(comment) = kept(&token.comment) {
        row["comment"] = json!(comment);
    }
    row
}

fn ids(call: &Call) -> (&str, &str) {
    (call.get("userid").unwrap_or_default(), call.get("tokenid").unwrap_or_default())
}

pub(in crate::sim) fn tokens(cluster: &mut Cluster, call: &Call) -> Outcome {
    let user = cluster.access.find_user(ids(call).0)?;
    let list = user.tokens.iter().map(|(name, token)| {
        let mut row = row(token);
        row["tokenid"] = json!(name);
        row
    });
    Ok(rows(list.collect()))
}

pub(in crate::sim) fn token_read(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (user, token) = ids(call);
    Ok(Answer::from(row(cluster.access.find_token(user, token)?)))
}

/// Takes over what the call says of a token, and shows in the answer the values as they were sent: as texts.
fn take_over(token: &mut Token, call: &Call, answer: &mut Value) {
    if let Some(privsep) = call.get("privsep") {
        token.privsep = privsep == "1";
        answer["privsep"] = json!(privsep);
    }
    if let Some(expire) = call.get("expire") {
        token.expire = expire.parse().unwrap_or(0);
        answer["expire"] = json!(expire);
    }
}

pub(in crate::sim) fn token_create(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (user, name) = ids(call);
    if cluster.access.find_user(user)?.tokens.contains_key(name) {
        return Err(Failure::parameter("tokenid", "Token already exists."));
    }
    let secret = cluster.chance.uuid();
    let mut token = Token { privsep: true, secret: secret.clone(), ..Token::default() };
    let mut info = json!({ "privsep": 1 });
    take_over(&mut token, call, &mut info);
    if let Some(comment) = call.get("comment").and_then(kept) {
        comment.clone_into(&mut token.comment);
        info["comment"] = json!(comment);
    }
    if let Some(user) = cluster.access.users.get_mut(user) {
        user.tokens.insert(name.to_owned(), token);
    }
    Ok(Answer::from(json!({ "full-tokenid": format!("{user}!{name}"), "info": info, "value": secret })))
}

pub(in crate::sim) fn token_update(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (user, name) = ids(call);
    let mut token = cluster.access.find_token(user, name)?.clone();
    let mut answer = row(&token);
    take_over(&mut token, call, &mut answer);
    let release = cluster.access.release();
    if let Some(comment) = call.get("comment").filter(|comment| release >= 9 || kept(comment).is_some()) {
        comment.clone_into(&mut token.comment);
    }
    for name in split_list(call.get("delete").unwrap_or_default()) {
        if name != "comment" {
            let failure = Failure::parameter("delete", format!("unknown option '{name}'"));
            return Err(within("updating token info", &failure));
        }
        token.comment.clear();
    }
    if let Some(object) = answer.as_object_mut() {
        object.remove("comment");
    }
    if !token.comment.is_empty() {
        answer["comment"] = json!(token.comment);
    }
    if call.flag("regenerate") {
        token.secret = cluster.chance.uuid();
        answer["value"] = json!(token.secret);
        answer["full-tokenid"] = json!(format!("{user}!{name}"));
    }
    if let Some(user) = cluster.access.users.get_mut(user) {
        user.tokens.insert(name.to_owned(), token);
    }
    Ok(Answer::from(answer))
}

pub(in crate::sim) fn token_delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (user, token) = ids(call);
    cluster.access.find_token(user, token)?;
    cluster.access.remove_token(user, token);
    Ok(nothing())
}
