//! One whole cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use super::rows::{self, Listed, Resource, Status};
use super::{Wanted, assemble, config, get, guest, read};
use crate::client::Reader;
use crate::client::concurrent::{Job, all};
use crate::live::{HaRule, Identity, LiveCluster, LiveConfig, LiveGuest, LiveNode, LiveStorage, Read};
use crate::pve::http::{ApiError, Request};
use crate::pve::schema::version_number;
use crate::pve::value::{GuestKind, Vmid};

/// The running tasks of a node are listed up to this many.
const TASKS: &str = "500";

/// Reads one cluster. Each thing that cannot be read is marked with the reason; only where the nodes or the list of
/// guests cannot be read, the cluster as a whole is unread.
///
/// With N guests that matter and K nodes online that is N + 2K + 6 requests, one more for each id that the manifest
/// names and no visible guest has, and for `preflight` 3K more and one for HA's rules where it has resources. A
/// snapshot that is cloned and a backup that is restored cost one each.
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
    let top = Top::read(client).await;
    let (status, resources) = match (top.status, top.resources) {
        (Ok(status), Ok(resources)) => (status, resources),
        (Err(reason), _) | (_, Err(reason)) => return Read::Unread(reason),
    };
    let mut nodes = read_nodes(client, &status, &resources, wanted.preflight).await;
    let guests = read_guests(client, wanted, every_guest, &nodes, resources).await;
    let free_ids = read_free_ids(client, wanted, &guests).await;
    let archives = read_archives(client, wanted, &nodes, &guests).await;
    let ha_rules = read_ha_rules(client, &top.ha, &version, wanted.preflight).await;
    let mut live = LiveCluster {
        identity: Identity {
            settings: client.name().to_owned(),
            cluster: status.cluster,
            nodes: status.nodes.keys().cloned().collect(),
        },
        version,
        nodes: BTreeMap::new(),
        guests,
        storages: BTreeMap::new(),
        bridges: BTreeMap::new(),
        pools: top.pools,
        ha: top.ha,
        ha_rules,
        permissions: top.permissions,
        free_ids,
        archives,
        active_tasks: BTreeMap::new(),
    };
    for (name, node) in std::mem::take(&mut nodes) {
        if let Some(storages) = node.storages {
            live.storages.insert(name.clone(), storages);
        }
        if let Some(bridges) = node.bridges {
            live.bridges.insert(name.clone(), bridges);
        }
        if let Some(tasks) = node.active_tasks {
            live.active_tasks.insert(name.clone(), tasks);
        }
        let lists = node.lists.values().find_map(Read::unread);
        let lists = lists.map_or(Read::Known(()), |reason| Read::Unread(reason.to_owned()));
        live.nodes.insert(name, LiveNode { online: node.online, lists });
    }
    Read::Known(live)
}

/// Reads who a cluster is, and nothing else.
pub async fn identity(client: &dyn Reader) -> Read<Identity> {
    let status = get(client, &Request::get("/cluster/status"), rows::status).await;
    read(status.map(|status| Identity {
        settings: client.name().to_owned(),
        cluster: status.cluster,
        nodes: status.nodes.keys().cloned().collect(),
    }))
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

/// The lists that there is one of in a cluster.
struct Top {
    status: Result<Status, String>,
    resources: Result<BTreeMap<Vmid, Resource>, String>,
    pools: Read<BTreeSet<String>>,
    ha: Read<BTreeMap<String, BTreeMap<String, String>>>,
    permissions: Read<BTreeMap<String, BTreeMap<String, bool>>>,
}

impl Top {
    async fn read(client: &dyn Reader) -> Self {
        let resources = Request::get("/cluster/resources").with("type", "vm");
        let [status, pools, ha, permissions] =
            ["/cluster/status", "/pools", "/cluster/ha/resources", "/access/permissions"].map(Request::get);
        let (status, resources, pools, ha, permissions) = tokio::join!(
            get(client, &status, rows::status),
            get(client, &resources, rows::resources),
            get(client, &pools, rows::pools),
            get(client, &ha, rows::ha),
            get(client, &permissions, rows::permissions),
        );
        Self { status, resources, pools: read(pools), ha: read(ha), permissions: read(permissions) }
    }
}

/// What was read of one node.
struct Node {
    online: bool,
    /// Its guests by kind.
    lists: BTreeMap<GuestKind, Read<BTreeMap<Vmid, Listed>>>,
    storages: Option<Read<BTreeMap<String, LiveStorage>>>,
    bridges: Option<Read<BTreeSet<String>>>,
    active_tasks: Option<Read<Vec<String>>>,
}

impl Node {
    /// A node that is not asked: every list is unread.
    fn offline(name: &str, preflight: bool) -> Self {
        let reason = format!("node {name} is offline");
        Self {
            online: false,
            lists: GuestKind::ALL.into_iter().map(|kind| (kind, Read::Unread(reason.clone()))).collect(),
            storages: preflight.then(|| Read::Unread(reason.clone())),
            bridges: preflight.then(|| Read::Unread(reason.clone())),
            active_tasks: preflight.then(|| Read::Unread(reason.clone())),
        }
    }

    /// Why its guests are not asked for one by one. A node that gives neither list answers for no guest either,
    /// and each question would take its time-out.
    fn silent(&self) -> Option<&str> {
        self.lists.values().map(Read::unread).reduce(Option::and).flatten()
    }

    async fn read(client: &dyn Reader, name: &str, preflight: bool, tasks: bool) -> Self {
        let path = |list: &str| Request::get(format!("/nodes/{name}/{list}"));
        let (vms, containers, storages) = (path("qemu"), path("lxc"), path("storage"));
        let network = path("network").with("type", "any_bridge");
        let active = path("tasks").with("source", "active").with("limit", TASKS);
        let (vms, containers, storages, bridges, active_tasks) = tokio::join!(
            get(client, &vms, |answer| rows::listed(answer, GuestKind::Qemu)),
            get(client, &containers, |answer| rows::listed(answer, GuestKind::Lxc)),
            only_if(preflight, get(client, &storages, rows::storages)),
            only_if(preflight, get(client, &network, rows::bridges)),
            only_if(tasks, get(client, &active, rows::active_tasks)),
        );
        Self {
            online: true,
            lists: BTreeMap::from([(GuestKind::Qemu, read(vms)), (GuestKind::Lxc, read(containers))]),
            storages,
            bridges,
            active_tasks,
        }
    }
}

async fn only_if<T>(wanted: bool, reading: impl Future<Output = Result<T, String>>) -> Option<Read<T>> {
    if wanted { Some(read(reading.await)) } else { None }
}

async fn read_nodes(
    client: &dyn Reader,
    status: &Status,
    resources: &BTreeMap<Vmid, Resource>,
    preflight: bool,
) -> BTreeMap<String, Node> {
    // A guest that is being made is explained by a task of its node, or by none.
    let unfinished: BTreeSet<&str> =
        resources.values().filter(|row| is_unfinished(row)).map(|row| row.node.as_str()).collect();
    let jobs = status.nodes.iter().map(|(name, online)| -> Job<'_, (String, Node)> {
        let tasks = preflight || unfinished.contains(name.as_str());
        let online = *online;
        Box::pin(async move {
            let node = match online {
                true => Node::read(client, name, preflight, tasks).await,
                false => Node::offline(name, preflight),
            };
            (name.clone(), node)
        })
    });
    all(jobs.collect()).await.into_iter().collect()
}

fn is_unfinished(row: &Resource) -> bool {
    matches!(row.lock.as_deref(), Some("create" | "clone"))
}

/// What reading one guest's configuration gave.
enum Config {
    Read(Read<LiveConfig>),
    /// The node of the list does not have it: it moved or went away meanwhile.
    Elsewhere,
}

async fn read_guests(
    client: &dyn Reader,
    wanted: &Wanted,
    every_guest: bool,
    nodes: &BTreeMap<String, Node>,
    mut resources: BTreeMap<Vmid, Resource>,
) -> BTreeMap<Vmid, LiveGuest> {
    add_newcomers(nodes, &mut resources);
    let lost = Lost::default();
    let lost = &lost;
    let fleet_tag = wanted.fleet_tag.to_lowercase();
    let jobs = resources.values().map(|row| -> Job<'_, Option<(Vmid, LiveGuest)>> {
        let node = nodes.get(&row.node);
        let list = node.and_then(|node| node.lists.get(&row.kind));
        let listed = list.and_then(Read::known).and_then(|list| list.get(&row.vmid));
        let name = listed.and_then(|listed| listed.name.as_deref());
        let matters = every_guest
            || row.tags.contains(&fleet_tag)
            || wanted.vmids.contains(&row.vmid)
            || wanted.tags.iter().any(|tag| row.tags.contains(tag))
            || is_unfinished(row)
            || name.is_none_or(|name| wanted.names.contains(name));
        let unread = match node {
            None => Some(format!("node {} is not one of the cluster's", row.node)),
            Some(node) => node.silent().map(str::to_owned),
        };
        Box::pin(async move {
            let config = match unread {
                Some(reason) => Config::Read(Read::Unread(reason)),
                None if matters => read_config(client, row, lost).await,
                None => Config::Read(Read::Absent),
            };
            match config {
                Config::Read(config) => {
                    let mut guest = assemble(row, listed, config);
                    if let (None, Some(reason)) = (listed, list.and_then(Read::unread)) {
                        guest.power = Read::Unread(reason.to_owned());
                        if guest.name.unread().is_some() {
                            guest.name = Read::Unread(reason.to_owned());
                        }
                    }
                    guest.snapshots = read_snapshots(client, wanted, &guest).await;
                    Some((row.vmid, guest))
                }
                Config::Elsewhere => match guest::guest(client, row.kind, row.vmid, None).await {
                    Read::Known(guest) => Some((row.vmid, guest)),
                    Read::Absent => None,
                    Read::Unread(reason) => Some((row.vmid, assemble(row, listed, Read::Unread(reason)))),
                },
            }
        })
    });
    all(jobs.collect()).await.into_iter().flatten().collect()
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
        if guests.values().any(is_there) {
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

/// Reads what a guest was at snapshots that are cloned. One that has none is not asked.
async fn read_snapshots(
    client: &dyn Reader,
    wanted: &Wanted,
    guest: &LiveGuest,
) -> BTreeMap<String, Read<BTreeMap<String, String>>> {
    let mut found = BTreeMap::new();
    let has_any = guest.config.known().is_some_and(|config| config.current.contains_key("parent"));
    for name in wanted.snapshots.iter().filter(|_| has_any) {
        let path = format!("/nodes/{}/{}/{}/config", guest.node, guest.kind, guest.vmid);
        let request = Request::get(path).with("snapshot", name.as_str());
        let config = match client.read(&request).await {
            Ok(answer) => rows::options(&answer).map_or_else(|| Read::Unread(super::unclear(&request)), Read::Known),
            Err(ApiError::NotFound(_)) => Read::Absent,
            Err(error) => Read::Unread(error.to_string()),
        };
        found.insert(name.clone(), config);
    }
    found
}

/// Adds guests that a node lists and the cluster's list did not show yet: they were made in between.
fn add_newcomers(nodes: &BTreeMap<String, Node>, resources: &mut BTreeMap<Vmid, Resource>) {
    for (name, node) in nodes {
        for (kind, list) in &node.lists {
            for (vmid, listed) in list.known().into_iter().flatten() {
                resources.entry(*vmid).or_insert_with(|| Resource {
                    tags: listed.tags.clone(),
                    lock: listed.lock.clone(),
                    ..Resource::bare(*vmid, *kind, name.clone())
                });
            }
        }
    }
}

/// Nodes that stopped answering while their guests were read, with the reason. Without this, each of their other
/// guests would take its time-outs too.
#[derive(Default)]
struct Lost(Mutex<BTreeMap<String, String>>);

impl Lost {
    fn reason(&self, node: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(node).cloned()
    }

    fn add(&self, node: &str, reason: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(node.to_owned(), reason.to_owned());
    }
}

async fn read_config(client: &dyn Reader, row: &Resource, lost: &Lost) -> Config {
    if let Some(reason) = lost.reason(&row.node) {
        return Config::Read(Read::Unread(reason));
    }
    let request = Request::get(format!("/nodes/{}/{}/{}/pending", row.node, row.kind, row.vmid));
    match client.read(&request).await {
        Ok(answer) => Config::Read(match config::config(&answer) {
            Some(config) => Read::Known(config),
            None => Read::Unread(super::unclear(&request)),
        }),
        Err(ApiError::NotFound(_)) => Config::Elsewhere,
        Err(error) => {
            let reason = error.to_string();
            if matches!(error, ApiError::NodeUnreachable(_) | ApiError::Connection(_) | ApiError::Undetermined(_)) {
                lost.add(&row.node, &reason);
            }
            Config::Read(Read::Unread(reason))
        }
    }
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
