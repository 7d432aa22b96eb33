//! Groups of nodes for the HA manager, up to release 8; since release 9 every call about them is refused.

use serde_json::{Value, json};

use super::{Kind, Layout, Section, Sections, Values, below};
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::api::nothing;
use crate::sim::cluster::Cluster;
use crate::sim::route::Call;

static LAYOUT: Layout = Layout {
    file: "ha/groups.cfg",
    bare: false,
    kinds: &[Kind { name: "group", properties: "nodes+ comment nofailback# restricted#" }],
};

/// Groups became rules.
fn refuse(cluster: &Cluster, what: &str) -> Result<(), Failure> {
    if cluster.access.release() >= 9 {
        return Err(Failure::die(format!("cannot {what}: ha groups have been migrated to rules")));
    }
    Ok(())
}

fn row(groups: &Sections, group: &Section) -> Value {
    let mut row = group.kind.json(&group.values);
    row.insert("digest".to_owned(), json!(groups.digest()));
    row.insert("group".to_owned(), json!(group.id));
    row.insert("type".to_owned(), json!("group"));
    Value::Object(row)
}

/// `GET /cluster/ha/groups`.
pub(in crate::sim) fn list(cluster: &mut Cluster, _: &Call) -> Outcome {
    refuse(cluster, "index groups")?;
    let groups = cluster.sections(&LAYOUT);
    Ok(Answer::from(groups.list.iter().map(|group| row(&groups, group)).collect::<Value>()))
}

/// `GET /cluster/ha/groups/{group}`.
pub(in crate::sim) fn read(cluster: &mut Cluster, call: &Call) -> Outcome {
    refuse(cluster, "read group")?;
    let (groups, id) = (cluster.sections(&LAYOUT), call.get("group").unwrap_or_default());
    match groups.get(id) {
        Some(group) => Ok(Answer::from(row(&groups, group))),
        None => Err(Failure::die(format!("no such ha group '{id}'"))),
    }
}

fn given(call: &Call) -> Result<Values, Failure> {
    if call.get("type").is_some_and(|kind| kind != "group") {
        return Err(Failure::die("types does not match"));
    }
    let own = |name: &str| !matches!(name, "group" | "type" | "digest" | "delete");
    Ok(call.params.iter().filter(|(name, _)| own(name)).map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// `POST /cluster/ha/groups`.
pub(in crate::sim) fn create(cluster: &mut Cluster, call: &Call) -> Outcome {
    refuse(cluster, "create group")?;
    let (mut groups, id) = (cluster.sections(&LAYOUT), call.get("group").unwrap_or_default());
    let (kind, given) = (LAYOUT.kind("group")?, given(call)?);
    kind.check(&given, true)?;
    if groups.get(id).is_some() {
        return Err(Failure::die(format!("create ha group failed: ha group ID '{id}' already defined")));
    }
    groups.push(id, kind, given);
    cluster.save(&groups);
    Ok(nothing())
}

/// `PUT /cluster/ha/groups/{group}`.
pub(in crate::sim) fn update(cluster: &mut Cluster, call: &Call) -> Outcome {
    refuse(cluster, "update group")?;
    let given = given(call)?;
    change(cluster, call, given).map_err(|failure| below("update ha group failed", failure))
}

fn change(cluster: &mut Cluster, call: &Call, given: Values) -> Outcome {
    let (mut groups, id) = (cluster.sections(&LAYOUT), call.get("group").unwrap_or_default());
    groups.check_digest(call.get("digest"))?;
    let Some(group) = groups.get_mut(id) else {
        return Err(Failure::die(format!("no such ha group '{id}'")));
    };
    group.kind.check(&given, false)?;
    Sections::change(group, given, call.get("delete"))?;
    cluster.save(&groups);
    Ok(nothing())
}

/// `DELETE /cluster/ha/groups/{group}`; one that is not there is gone already.
pub(in crate::sim) fn delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    refuse(cluster, "delete group")?;
    let (mut groups, id) = (cluster.sections(&LAYOUT), call.get("group").unwrap_or_default());
    let uses = |options: &&std::collections::BTreeMap<String, String>| options.get("group").is_some_and(|g| g == id);
    if let Some((sid, _)) = cluster.ha.iter().find(|(_, options)| uses(options)) {
        return Err(Failure::die(format!("delete ha group failed: ha group is used by service '{sid}'")));
    }
    groups.remove(id);
    cluster.save(&groups);
    Ok(nothing())
}

/// True for a group that there is.
pub(in crate::sim) fn exists(cluster: &Cluster, id: &str) -> bool {
    cluster.sections(&LAYOUT).get(id).is_some()
}
