//! One whole cluster.

use std::collections::BTreeMap;

use tokio::sync::OnceCell;

use super::nodes::{self, Node, Reading};
use super::rows::{self, Status};
use super::{Wanted, config, get, guest, read, volumes};
use crate::client::Reader;
use crate::client::concurrent::{Job, all};
use crate::live::{HaRule, Identity, LiveCluster, LiveGuest, LiveNode, Read};
use crate::pve::http::Request;
use crate::pve::schema::version_number;
use crate::pve::value::Vmid;

/// Reads one cluster. Each thing that cannot be read is marked with the reason; only where the nodes or the list of
/// guests cannot be read, the cluster as a whole is unread.
///
/// With N guests that matter and K nodes online that is N + 2K + 6 requests, one more for each id that the manifest
/// names and no visible guest has, and for `preflight` 3K more and one for HA's rules where it has resources. A
/// snapshot that is cloned and a backup that is restored cost one each. Where a guest without an id of its own is to be
/// made, each storage of a node that holds volumes or backups costs one, a shared storage one in all. So does each
/// storage, by content type, that holds what a guest may be made anew of. Where tags are to change, and the token may not
/// change the datacenter, its rules for tags cost one.
pub async fn cluster(client: &dyn Reader, wanted: &Wanted) -> Read<LiveCluster> {
    read_cluster(client, wanted, false).await
}

/// Reads one cluster whole: every guest matters, and every list is read. For a document that is planned with later,
/// by whoever cannot ask.
pub async fn snapshot(client: &dyn Reader, wanted: &Wanted) -> Read<LiveCluster> {
    read_cluster(client, &Wanted { preflight: true, ..wanted.clone() }, true).await
}

async fn read_cluster(client: &dyn Reader, wanted: &Wanted, every_guest: bool) -> Read<LiveCluster> {
    // Alone and first: a cluster that is down, or refuses the token, is asked one thing and not twenty.
    let version = match get(client, &Request::get("/version"), |answer| rows::field(answer, "version")).await {
        Ok(version) => version,
        Err(reason) => return Read::Unread(reason),
    };
    let [pools, ha, permissions] = ["/pools", "/cluster/ha/resources", "/access/permissions"].map(Request::get);
    let of_ha = async {
        let resources = read(get(client, &ha, rows::ha).await);
        let rules = read_ha_rules(client, &resources, &version, wanted.preflight).await;
        (resources, rules)
    };
    let (inside, pools, (ha, ha_rules), permissions) = tokio::join!(
        Inside::read(client, wanted, every_guest),
        get(client, &pools, rows::pools),
        of_ha,
        get(client, &permissions, rows::permissions),
    );
    let Inside { status, nodes, guests, free_ids, archives } = match inside {
        Ok(inside) => inside,
        Err(reason) => return Read::Unread(reason),
    };
    let mut live = LiveCluster {
        identity: status.identity(client.name()),
        version,
        nodes: BTreeMap::new(),
        guests,
        storages: BTreeMap::new(),
        bridges: BTreeMap::new(),
        pools: read(pools),
        ha,
        ha_rules,
        permissions: read(permissions),
        tag_rules: Read::Absent,
        free_ids,
        archives,
        files: BTreeMap::new(),
        volume_ids: BTreeMap::new(),
        active_tasks: BTreeMap::new(),
    };
    for (name, node) in nodes {
        if let Some(storages) = node.storages {
            live.storages.insert(name.clone(), storages);
        }
        if let Some(bridges) = node.bridges {
            live.bridges.insert(name.clone(), bridges);
        }
        if let Some(tasks) = node.active_tasks {
            live.active_tasks.insert(name.clone(), tasks);
        }
        live.nodes.insert(name, LiveNode { online: node.online, lists: node.lists });
    }
    if wanted.preflight && (every_guest || volumes::are_wanted(wanted, &live.guests)) {
        live.volume_ids = volumes::ids(client, &live.storages).await;
    }
    if wanted.preflight && (every_guest || tags_may_be_refused(wanted, &live)) {
        live.tag_rules = read(get(client, &Request::get("/cluster/options"), rows::tag_rules).await);
    }
    if wanted.preflight {
        live.files = volumes::files(client, &wanted.files_anew, &live.storages).await;
    }
    Read::Known(live)
}

/// True where a guest is to have other tags, and the token is one that the datacenter's rules are for.
fn tags_may_be_refused(wanted: &Wanted, live: &LiveCluster) -> bool {
    let Some(root) = live.permissions.known().and_then(|paths| paths.get("/")) else { return false };
    // Who may not look at the datacenter's options is not shown its rules.
    if root.contains_key("Sys.Modify") || !root.contains_key("Sys.Audit") {
        return false;
    }
    let named = live.guests.values().filter_map(|guest| Some(((guest.kind, guest.name.known()?), guest)));
    let named: BTreeMap<_, _> = named.collect();
    wanted.tagged.iter().any(|((kind, name), (tags, others))| {
        let seen = named.get(&(*kind, name)).map(|guest| &guest.tags);
        seen.is_none_or(|seen| if *others { !tags.is_subset(seen) } else { tags != seen })
    })
}

/// Reads who a cluster is, and nothing else.
pub async fn identity(client: &dyn Reader) -> Read<Identity> {
    let status = get(client, &Request::get("/cluster/status"), rows::status).await;
    read(status.map(|status| status.identity(client.name())))
}

/// Where HA keeps its resources; asked only where there are any.
async fn read_ha_rules(
    client: &dyn Reader,
    resources: &Read<BTreeMap<String, BTreeMap<String, String>>>,
    version: &str,
    preflight: bool,
) -> Read<Vec<HaRule>> {
    match resources {
        Read::Unread(reason) => Read::Unread(reason.clone()),
        Read::Known(resources) if preflight && !resources.is_empty() => {
            // Proxmox VE 9 made rules of the groups.
            if version_number(version) >= version_number("9.0") {
                return read(get(client, &Request::get("/cluster/ha/rules"), rows::ha_rules).await);
            }
            let groups = |answer: &serde_json::Value| rows::ha_groups(answer, resources);
            read(get(client, &Request::get("/cluster/ha/groups"), groups).await)
        }
        _ => Read::Known(Vec::new()),
    }
}

/// Reads the HA resources, by id.
pub async fn ha_resources(client: &dyn Reader) -> Read<BTreeMap<String, BTreeMap<String, String>>> {
    read(get(client, &Request::get("/cluster/ha/resources"), rows::ha).await)
}

/// Reads this credential's privileges, by path.
pub async fn permissions(client: &dyn Reader) -> Read<BTreeMap<String, BTreeMap<String, bool>>> {
    read(get(client, &Request::get("/access/permissions"), rows::permissions).await)
}

/// The nodes and what is on them.
struct Inside {
    status: Status,
    nodes: BTreeMap<String, Node>,
    guests: BTreeMap<Vmid, LiveGuest>,
    free_ids: BTreeMap<Vmid, Read<bool>>,
    archives: BTreeMap<String, Read<BTreeMap<String, String>>>,
}

impl Inside {
    /// Nothing of a node can be said where the nodes or the list of guests cannot be read.
    async fn read(client: &dyn Reader, wanted: &Wanted, every_guest: bool) -> Result<Self, String> {
        let reading = Reading { client, wanted, every_guest, resources: OnceCell::new() };
        let of_nodes = async {
            let status = get(client, &Request::get("/cluster/status"), rows::status).await?;
            let nodes = reading.nodes(&status.nodes).await;
            Ok::<_, String>((status, nodes))
        };
        let (of_nodes, resources) = tokio::join!(of_nodes, reading.resources());
        let (status, mut nodes) = of_nodes?;
        let resources = resources.map_err(Clone::clone)?;
        let homeless = resources.values().filter(|row| !nodes.contains_key(&row.node)).map(nodes::homeless);
        let mut guests: BTreeMap<Vmid, LiveGuest> = homeless.map(|guest| (guest.vmid, guest)).collect();
        for node in nodes.values_mut() {
            for guest in std::mem::take(&mut node.guests) {
                guests.entry(guest.vmid).or_insert(guest);
            }
        }
        let (free_ids, archives) =
            tokio::join!(read_free_ids(client, wanted, &guests), read_archives(client, wanted, &nodes, &guests),);
        Ok(Self { status, nodes, guests, free_ids, archives })
    }
}

/// Reads the configurations in backups of guests that are not there. A backup may be on one node's own storage.
async fn read_archives(
    client: &dyn Reader,
    wanted: &Wanted,
    nodes: &BTreeMap<String, Node>,
    guests: &BTreeMap<Vmid, LiveGuest>,
) -> BTreeMap<String, Read<BTreeMap<String, String>>> {
    let mut found = BTreeMap::new();
    for (volume, (name, vmid)) in &wanted.archives {
        let is_there = |guest: &LiveGuest| Some(guest.vmid) == *vmid || guest.name.known() == Some(name);
        if guests.values().any(is_there) && !wanted.archives_anew.contains(volume) {
            continue;
        }
        let mut read = Read::Unread("no node that is online could be asked".to_owned());
        for node in nodes.iter().filter(|(_, node)| node.online).map(|(node, _)| node) {
            let request = Request::get(format!("/nodes/{node}/vzdump/extractconfig")).with("volume", volume.as_str());
            let text = get(client, &request, |answer| answer.as_str().map(config::in_backup)).await;
            read = text.map_or_else(Read::Unread, Read::Known);
            if read.known().is_some() {
                break;
            }
        }
        found.insert(volume.clone(), read);
    }
    found
}

async fn read_free_ids(
    client: &dyn Reader,
    wanted: &Wanted,
    guests: &BTreeMap<Vmid, LiveGuest>,
) -> BTreeMap<Vmid, Read<bool>> {
    let unseen = wanted.vmids.iter().filter(|vmid| !guests.contains_key(vmid));
    let jobs = unseen.map(|&vmid| -> Job<'_, (Vmid, Read<bool>)> {
        Box::pin(async move { (vmid, guest::is_free(client, vmid).await) })
    });
    all(jobs.collect()).await.into_iter().collect()
}
