//! Storages and what is on them.

use serde_json::{Value, json};

use super::rows;
use crate::pve::value::{Size, split_list};
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::route::Call;
use crate::sim::world::StorageSpec;

fn may_see(cluster: &Cluster, call: &Call, storage: &str, privileges: &[&str]) -> bool {
    let path = format!("/storage/{storage}");
    cluster.check_for(&call.subject, &path).any(&path, privileges)
}

fn figures(cluster: &Cluster, spec: &StorageSpec, node: &str) -> Value {
    let enabled = cluster.storages.on_node(&spec.name, node);
    let (used, total) =
        if enabled { (cluster.storages.used(&spec.name, node), spec.capacity_gib * Size::GIB) } else { (0, 0) };
    json!({
        "active": u8::from(enabled), "avail": total.saturating_sub(used), "content": spec.content.join(","),
        "enabled": u8::from(enabled), "shared": u8::from(spec.shared), "total": total, "type": spec.kind,
        "used": used,
    })
}

pub(in crate::sim) fn node_storages(cluster: &mut Cluster, call: &Call) -> Outcome {
    let on = |spec: &StorageSpec, node: &str| spec.nodes.is_empty() || spec.nodes.iter().any(|name| name == node);
    let mut list = Vec::new();
    for spec in &cluster.storages.specs {
        let enabled = cluster.storages.on_node(&spec.name, &call.node);
        let fits = call.get("storage").is_none_or(|name| name == spec.name)
            && call
                .get("content")
                .is_none_or(|wanted| enabled && split_list(wanted).any(|kind| spec.content.iter().any(|c| c == kind)));
        let disabled = spec.options.get("disable").is_some_and(|flag| flag == "1");
        // A target that is this node itself asks for nothing more.
        let reaches = call
            .get("target")
            .filter(|node| *node != call.node)
            .is_none_or(|node| spec.shared && on(spec, &call.node) && on(spec, node));
        if fits
            && reaches
            && !(call.flag("enabled") && disabled)
            && may_see(cluster, call, &spec.name, &["Datastore.Audit", "Datastore.AllocateSpace"])
        {
            let mut row = figures(cluster, spec, &call.node);
            row["storage"] = json!(spec.name);
            if let Some(total) = row["total"].as_u64().filter(|total| *total > 0) {
                #[expect(clippy::cast_precision_loss, reason = "a fraction for people to read")]
                let fraction = row["used"].as_u64().unwrap_or(0) as f64 / total as f64;
                row["used_fraction"] = json!(fraction);
            }
            list.push(row);
        }
    }
    Ok(rows(list))
}

/// The storage of the path, where this node has it.
pub(super) fn here<'a>(cluster: &'a Cluster, call: &Call) -> Result<&'a StorageSpec, Failure> {
    cluster.storages.find_on(call.get("storage").unwrap_or_default(), &call.node)
}

pub(in crate::sim) fn storage_status(cluster: &mut Cluster, call: &Call) -> Outcome {
    let spec = cluster.storages.find(call.get("storage").unwrap_or_default());
    let spec = spec.map_err(|_| Failure::parameter("storage", "No such storage."))?;
    Ok(Answer::from(figures(cluster, spec, &call.node)))
}
