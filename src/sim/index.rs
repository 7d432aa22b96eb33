//! The folders of the API: what a call on one of them lists.
//!
//! The lists are Proxmox's own, which are not complete; of them a release shows what it has.

use serde_json::{Value, json};

use super::answer::{Answer, Outcome};
use super::cluster::Cluster;
use super::route::Call;
use crate::pve::calls;

/// A folder: its path in the table of calls, what its rows call a name, the names.
struct Folder {
    path: &'static str,
    key: &'static str,
    names: &'static str,
}

fn list(cluster: &Cluster, folder: &Folder) -> Outcome {
    let exists = |name: &&str| {
        let path = format!("{}/{name}", folder.path);
        let is_below =
            |call: &str| call.strip_prefix(&path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        calls::all(cluster.access.release()).any(|call| is_below(&call.path))
    };
    let rows = folder.names.split_ascii_whitespace().filter(exists).map(|name| json!({ folder.key: name }));
    Ok(Answer::from(rows.collect::<Value>()))
}

macro_rules! folders {
    ($($name:ident: $path:literal, $key:literal, $names:literal;)*) => {$(
        pub(super) fn $name(cluster: &mut Cluster, _: &Call) -> Outcome {
            list(cluster, &Folder { path: $path, key: $key, names: $names })
        }
    )*};
}

folders! {
    root: "", "subdir", "version cluster nodes storage access pools";
    cluster: "/cluster", "name",
        "acme backup backup-info bulk-action ceph config firewall ha jobs log mapping metrics notifications nextid \
        options qemu replication resources status tasks sdn";
    cluster_firewall: "/cluster/firewall", "name", "aliases rules options groups ipset macros refs";
    ha: "/cluster/ha", "id", "status resources groups rules";
    ha_status: "/cluster/ha/status", "name", "current manager_status disarm-ha arm-ha";
    mapping: "/cluster/mapping", "name", "dir pci usb";
    sdn: "/cluster/sdn", "id", "vnets zones controllers ipams dns fabrics";
    node: "/nodes/{node}", "name",
        "aplinfo apt capabilities ceph certificates config disks dns firewall hardware hosts journal lxc migrateall \
        netstat network qemu query-oci-repo-tags query-url-metadata replication report rrd rrddata scan sdn services \
        spiceshell startall status stopall storage subscription suspendall syslog tasks termproxy time version \
        vncshell vzdump wakeonlan";
    node_firewall: "/nodes/{node}/firewall", "name", "rules options log";
    node_storage: "/nodes/{node}/storage/{storage}", "subdir",
        "content download-url file-restore import-metadata identity oci-registry-pull prunebackups rrd rrddata \
        status upload";
    guest_firewall: "/nodes/{node}/qemu/{vmid}/firewall", "name", "rules aliases ipset refs options";
}
