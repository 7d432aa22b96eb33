//! Pools.

use serde_json::{Value, json};

use super::{nothing, rows};
use crate::pve::value::{GuestKind, split_list};
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::{Cluster, Pool};
use crate::sim::route::Call;

fn missing(name: &str) -> Failure {
    Failure::die(format!("pool '{name}' does not exist"))
}

/// A pool with its members, as far as the caller may see them.
fn detail(cluster: &Cluster, name: &str, pool: &Pool, call: &Call) -> Value {
    let mut members = Vec::new();
    for (vmid, guest) in &cluster.guests {
        let kind = call.get("type").is_none_or(|wanted| wanted == guest.kind().segment());
        if pool.guests.contains(vmid) && kind {
            let mut row = cluster.resource_row(*vmid, guest);
            if let Some(object) = row.as_object_mut() {
                object.remove("pool");
            }
            members.push(row);
        }
    }
    for storage in &pool.storages {
        if call.get("type").is_none_or(|wanted| wanted == "storage") {
            let id = format!("storage/{}/{storage}", call.node);
            members.push(json!({ "id": id, "node": call.node, "storage": storage, "type": "storage" }));
        }
    }
    let mut object = json!({ "members": members, "poolid": name });
    if !pool.comment.is_empty() {
        object["comment"] = json!(pool.comment);
    }
    object
}

pub(in crate::sim) fn pools(cluster: &mut Cluster, call: &Call) -> Outcome {
    if let Some(name) = call.get("poolid") {
        let path = format!("/pool/{name}");
        cluster.check_for(&call.subject, &path).need(&path, &["Pool.Audit"])?;
        let pool = cluster.pools.get(name).ok_or_else(|| missing(name))?;
        let mut object = detail(cluster, name, pool, call);
        object["poolid"] = json!(name);
        return Ok(rows(vec![object]));
    }
    let mut list = Vec::new();
    for (name, pool) in &cluster.pools {
        let path = format!("/pool/{name}");
        if cluster.check_for(&call.subject, &path).any(&path, &["Pool.Audit"]) {
            let mut row = json!({ "poolid": name });
            if !pool.comment.is_empty() {
                row["comment"] = json!(pool.comment);
            }
            list.push(row);
        }
    }
    Ok(rows(list))
}

pub(in crate::sim) fn pool_read(cluster: &mut Cluster, call: &Call) -> Outcome {
    let name = call.get("poolid").unwrap_or_default();
    let pool = cluster.pools.get(name).ok_or_else(|| missing(name))?;
    Ok(Answer::from(detail(cluster, name, pool, call)))
}

pub(in crate::sim) fn pool_create(cluster: &mut Cluster, call: &Call) -> Outcome {
    let name = call.get("poolid").unwrap_or_default().to_owned();
    if cluster.pools.contains_key(&name) {
        return Err(Failure::die(format!("create pool failed: pool '{name}' already exists")));
    }
    if let Some((parent, _)) = name.rsplit_once('/')
        && !cluster.pools.contains_key(parent)
    {
        return Err(Failure::die(format!("create pool failed: parent '{parent}' of pool '{name}' does not exist")));
    }
    let comment = call.get("comment").unwrap_or_default().to_owned();
    cluster.pools.insert(name, Pool { comment, ..Pool::default() });
    Ok(nothing())
}

pub(in crate::sim) fn pool_update(cluster: &mut Cluster, call: &Call) -> Outcome {
    let failed = |text: String| Failure::die(format!("update pools failed: {text}"));
    let name = call.get("poolid").unwrap_or_default().to_owned();
    let mut pool = cluster.pools.get(&name).cloned().ok_or_else(|| failed(format!("pool '{name}' does not exist")))?;
    if let Some(comment) = call.get("comment") {
        comment.clone_into(&mut pool.comment);
    }
    let mut leaving = Vec::new();
    for vmid in split_list(call.get("vms").unwrap_or_default()).filter_map(|text| text.parse::<u32>().ok()) {
        let path = format!("/vms/{vmid}");
        if !cluster.check_guest(&call.subject, vmid).any(&path, &["Pool.Allocate", "VM.Allocate"]) {
            return Err(Failure::privilege(&path, "VM.Allocate"));
        }
        if call.flag("delete") {
            if !pool.guests.remove(&vmid) {
                return Err(failed(format!("VM {vmid} is not a pool member")));
            }
            continue;
        }
        match cluster.pool_of(vmid) {
            Some(other) if other == name => return Err(failed(format!("VM {vmid} is already a pool member"))),
            Some(other) if !call.flag("allow-move") => {
                let text = format!("VM {vmid} belongs already to pool '{other}' and 'allow-move' is not set");
                return Err(failed(text));
            }
            Some(other) => leaving.push((other.to_owned(), vmid)),
            None => {}
        }
        pool.guests.insert(vmid);
    }
    for storage in split_list(call.get("storage").unwrap_or_default()) {
        if call.flag("delete") {
            if !pool.storages.remove(storage) {
                return Err(failed(format!("Storage '{storage}' is not a pool member")));
            }
        } else if !pool.storages.insert(storage.to_owned()) {
            return Err(failed(format!("Storage '{storage}' is already a pool member")));
        }
    }
    for (other, vmid) in leaving {
        if let Some(other) = cluster.pools.get_mut(&other) {
            other.guests.remove(&vmid);
        }
    }
    cluster.pools.insert(name, pool);
    Ok(nothing())
}

pub(in crate::sim) fn pool_delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    let failed = |text: String| Failure::die(format!("delete pool failed: {text}"));
    let name = call.get("poolid").unwrap_or_default().to_owned();
    let pool = cluster.pools.get(&name).ok_or_else(|| failed(format!("pool '{name}' does not exist")))?;
    let not_empty = |what: String| failed(format!("pool '{name}' is not empty (contains {what})"));
    if let Some(child) = cluster.pools.keys().find(|other| other.starts_with(&format!("{name}/"))) {
        return Err(not_empty(format!("pool '{child}'")));
    }
    if let Some(vmid) = pool.guests.iter().find(|vmid| cluster.guests.contains_key(vmid)) {
        let kind = cluster.guests.get(vmid).map(crate::sim::guest::Guest::kind);
        let what = if kind == Some(GuestKind::Lxc) { "CT" } else { "VM" };
        return Err(not_empty(format!("{what} {vmid}")));
    }
    if let Some(storage) = pool.storages.first() {
        return Err(not_empty(format!("storage '{storage}'")));
    }
    cluster.access.forget_path(&format!("/pool/{name}"));
    cluster.pools.remove(&name);
    Ok(nothing())
}
