//! What the cluster's own configuration says: its nodes, and what a new one needs to join.

use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use super::rows;
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::route::Call;

fn check_clustered(cluster: &Cluster) -> Result<(), Failure> {
    if cluster.spec.standalone {
        return Err(Failure::Empty(424, "node is not in a cluster, no join info available!".to_owned()));
    }
    Ok(())
}

fn node_row(cluster: &Cluster, index: usize) -> Value {
    let node = &cluster.spec.nodes[index].name;
    json!({
        "name": node, "nodeid": (index + 1).to_string(), "quorum_votes": "1", "ring0_addr": cluster.address(node),
    })
}

pub(in crate::sim) fn config_nodes(cluster: &mut Cluster, _: &Call) -> Outcome {
    if cluster.spec.standalone {
        return Ok(rows(Vec::new()));
    }
    let all = (0..cluster.spec.nodes.len()).map(|index| {
        let mut row = node_row(cluster, index);
        row["node"] = row["name"].clone();
        row
    });
    Ok(rows(all.collect()))
}

fn totem(cluster: &Cluster) -> Value {
    json!({
        "cluster_name": cluster.spec.name, "config_version": cluster.spec.nodes.len().to_string(),
        "interface": { "0": { "linknumber": "0" } }, "ip_version": "ipv4", "link_mode": "passive", "secauth": "on",
        "version": "2",
    })
}

pub(in crate::sim) fn config_totem(cluster: &mut Cluster, _: &Call) -> Outcome {
    if cluster.spec.standalone {
        return Ok(Answer::from(json!({})));
    }
    Ok(Answer::from(totem(cluster)))
}

pub(in crate::sim) fn config_join(cluster: &mut Cluster, call: &Call) -> Outcome {
    check_clustered(cluster)?;
    let wanted = call.get("node").unwrap_or(&call.node);
    if !cluster.spec.nodes.iter().any(|node| node.name == wanted) {
        return Err(Failure::parameter("node", format!("no such node '{wanted}'")));
    }
    let list = (0..cluster.spec.nodes.len()).map(|index| {
        let mut row = node_row(cluster, index);
        row["pve_addr"] = row["ring0_addr"].clone();
        row["pve_fp"] = json!(super::lists::fingerprint(index));
        row
    });
    let list: Vec<Value> = list.collect();
    let digest = Sha1::digest(json!(list).to_string().as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Answer::from(json!({
        "config_digest": digest, "nodelist": list, "preferred_node": wanted, "totem": totem(cluster),
    })))
}

pub(in crate::sim) fn config_index(_: &mut Cluster, _: &Call) -> Outcome {
    let names = ["nodes", "totem", "join", "qdevice", "apiversion"];
    Ok(rows(names.iter().map(|name| json!({ "name": name })).collect()))
}

pub(in crate::sim) fn config_version(_: &mut Cluster, _: &Call) -> Outcome {
    Ok(Answer::from(json!(1)))
}
