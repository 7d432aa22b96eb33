//! One node of a cluster: its lists, and the guests on it that matter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::rows::{self, Listed, Resource};
use super::{Wanted, assemble, config, get, guest, read};
use crate::client::Reader;
use crate::client::concurrent::{Job, all};
use crate::live::{LiveConfig, LiveGuest, LiveStorage, Read};
use crate::pve::http::{ApiError, Request};
use crate::pve::value::{GuestKind, Vmid};

/// The running tasks of a node are listed up to this many.
const TASKS: &str = "500";

/// What was read of one node.
pub(super) struct Node {
    pub(super) online: bool,
    /// Whether both of its lists of guests are known.
    pub(super) lists: Read<()>,
    pub(super) guests: Vec<LiveGuest>,
    pub(super) storages: Option<Read<BTreeMap<String, LiveStorage>>>,
    pub(super) bridges: Option<Read<BTreeSet<String>>>,
    pub(super) active_tasks: Option<Read<Vec<String>>>,
}

/// What is read of a cluster's nodes.
pub(super) struct Reading<'a> {
    pub(super) client: &'a dyn Reader,
    pub(super) wanted: &'a Wanted,
    pub(super) every_guest: bool,
    /// What the cluster's own list says. It is long, so nothing waits for it that can do without.
    pub(super) resources: OnceCell<Result<Resources, String>>,
}

/// The cluster's own list of guests.
pub(super) type Resources = BTreeMap<Vmid, Resource>;

impl Reading<'_> {
    /// The cluster's own list, asked for once.
    pub(super) async fn resources(&self) -> Result<&Resources, &String> {
        let request = Request::get("/cluster/resources").with("type", "vm");
        let asked = async { get(self.client, &request, rows::resources).await };
        self.resources.get_or_init(|| asked).await.as_ref()
    }

    /// Reads all nodes at once. None waits for another, nor a node's guests for more than the list that they are on:
    /// what is slow, a storage that hangs, holds back only itself.
    pub(super) async fn nodes(&self, online: &BTreeMap<String, bool>) -> BTreeMap<String, Node> {
        let jobs = online.iter().map(|(name, online)| -> Job<'_, (String, Node)> {
            let place = Place::new(name, *online);
            Box::pin(async move { (name.clone(), self.node(place, *online).await) })
        });
        all(jobs.collect()).await.into_iter().collect()
    }

    async fn node(&self, place: Place<'_>, online: bool) -> Node {
        let (client, preflight) = (self.client, self.wanted.preflight);
        let storages = place.request("storage");
        let network = place.request("network").with("type", "any_bridge");
        let active = place.request("tasks").with("source", "active").with("limit", TASKS);
        let (vms, containers, storages, bridges, active_tasks) = tokio::join!(
            self.guests(&place, GuestKind::Qemu),
            self.guests(&place, GuestKind::Lxc),
            place.only_if(preflight, get(client, &storages, rows::storages)),
            place.only_if(preflight, get(client, &network, rows::bridges)),
            async {
                let wanted = preflight || (online && self.has_unfinished(place.name).await);
                place.only_if(wanted, get(client, &active, rows::active_tasks)).await
            },
        );
        let unread = place.lists.values().find_map(|list| list.get()?.unread());
        Node {
            online,
            lists: unread.map_or(Read::Known(()), |reason| Read::Unread(reason.to_owned())),
            guests: vms.into_iter().chain(containers).collect(),
            storages,
            bridges,
            active_tasks,
        }
    }

    /// A guest that is being made is explained by a task of its node, or by none.
    async fn has_unfinished(&self, node: &str) -> bool {
        let resources = self.resources().await;
        resources.is_ok_and(|resources| resources.values().any(|row| row.node == node && is_unfinished(row)))
    }

    /// The guests of one kind on a node.
    async fn guests(&self, place: &Place<'_>, kind: GuestKind) -> Vec<LiveGuest> {
        let list = place.list(self.client, kind).await;
        let silent = place.silent(self.client).await;
        let Ok(resources) = self.resources().await else { return Vec::new() };
        let rows = rows(resources, place.name, kind, list);
        let jobs =
            rows.iter().map(|row| -> Job<'_, Option<LiveGuest>> { Box::pin(self.guest(place, row, list, silent)) });
        all(jobs.collect()).await.into_iter().flatten().collect()
    }

    async fn guest(&self, place: &Place<'_>, row: &Resource, list: &List, silent: Option<&str>) -> Option<LiveGuest> {
        let listed = list.known().and_then(|list| list.get(&row.vmid));
        // Not to be asked for is as much as the lists say.
        let matters = || self.every_guest || self.wanted.matters(&assemble(row, listed, Read::Absent));
        let config = match silent {
            Some(reason) => Config::Read(Read::Unread(reason.to_owned())),
            None if matters() => self.config(place, row).await,
            None => Config::Read(Read::Absent),
        };
        match config {
            Config::Read(config) => {
                let mut guest = assemble(row, listed, config);
                if let (None, Some(reason)) = (listed, list.unread()) {
                    guest.power = Read::Unread(reason.to_owned());
                    if guest.name.unread().is_some() {
                        guest.name = Read::Unread(reason.to_owned());
                    }
                }
                guest.snapshots = read_snapshots(self.client, self.wanted, &guest).await;
                Some(guest)
            }
            Config::Elsewhere => match guest::guest(self.client, row.kind, row.vmid, None, true).await {
                Read::Known(guest) => Some(guest),
                Read::Absent => None,
                Read::Unread(reason) => Some(assemble(row, listed, Read::Unread(reason))),
            },
        }
    }

    async fn config(&self, place: &Place<'_>, row: &Resource) -> Config {
        if let Some(reason) = place.lost() {
            return Config::Read(Read::Unread(reason));
        }
        let request = place.request(&format!("{}/{}/pending", row.kind, row.vmid));
        match self.client.read(&request).await {
            Ok(answer) => Config::Read(match config::config(&answer) {
                Some(config) => Read::Known(config),
                None => Read::Unread(super::unclear(&request)),
            }),
            Err(ApiError::NotFound(_)) => Config::Elsewhere,
            Err(error) => {
                let reason = error.to_string();
                if matches!(error, ApiError::NodeUnreachable(_) | ApiError::Connection(_) | ApiError::Undetermined(_)) {
                    place.lose(&reason);
                }
                Config::Read(Read::Unread(reason))
            }
        }
    }
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

/// Those of the cluster's list, and those that the node lists and the cluster's list did not show yet: they were made
/// in between.
fn rows(resources: &Resources, node: &str, kind: GuestKind, list: &List) -> Vec<Resource> {
    let known = resources.values().filter(|row| row.node == node && row.kind == kind).cloned();
    let listed = list.known().into_iter().flatten().filter(|(vmid, _)| !resources.contains_key(vmid));
    let made = listed.map(|(vmid, listed)| Resource {
        tags: listed.tags.clone(),
        lock: listed.lock.clone(),
        ..Resource::bare(*vmid, kind, node.to_owned())
    });
    known.chain(made).collect()
}

/// A guest of which no node of the cluster can be asked.
pub(super) fn homeless(row: &Resource) -> LiveGuest {
    assemble(row, None, Read::Unread(format!("node {} is not one of the cluster's", row.node)))
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

/// A node's own list of guests of one kind.
type List = Read<BTreeMap<Vmid, Listed>>;

/// A node while it is read.
struct Place<'a> {
    name: &'a str,
    /// Why nothing is asked.
    offline: Option<String>,
    lists: BTreeMap<GuestKind, OnceCell<List>>,
    /// Why it stopped answering while its guests were read. Without this, each of the others would take its
    /// time-outs too.
    lost: Mutex<Option<String>>,
}

impl<'a> Place<'a> {
    fn new(name: &'a str, online: bool) -> Self {
        let offline = (!online).then(|| format!("node {name} is offline"));
        let lists = GuestKind::ALL.into_iter().map(|kind| (kind, OnceCell::new())).collect();
        Self { name, offline, lists, lost: Mutex::default() }
    }

    fn request(&self, what: &str) -> Request {
        Request::get(format!("/nodes/{}/{what}", self.name))
    }

    /// Its list of one kind, asked for once.
    async fn list(&self, client: &dyn Reader, kind: GuestKind) -> &List {
        let request = self.request(kind.segment());
        let asked = async {
            match &self.offline {
                Some(reason) => Read::Unread(reason.clone()),
                None => read(get(client, &request, |answer| rows::listed(answer, kind)).await),
            }
        };
        self.lists[&kind].get_or_init(|| asked).await
    }

    /// Why its guests are not asked for one by one. A node that gives neither list answers for no guest either,
    /// and each question would take its time-out.
    async fn silent(&self, client: &dyn Reader) -> Option<&str> {
        let mut last = None;
        for kind in GuestKind::ALL {
            // One that came already says enough; the other is not waited for.
            if self.lists.values().any(|list| list.get().is_some_and(|list| list.known().is_some())) {
                return None;
            }
            last = self.list(client, kind).await.unread();
        }
        last
    }

    async fn only_if<T>(&self, wanted: bool, reading: impl Future<Output = Result<T, String>>) -> Option<Read<T>> {
        match &self.offline {
            _ if !wanted => None,
            Some(reason) => Some(Read::Unread(reason.clone())),
            None => Some(read(reading.await)),
        }
    }

    fn lost(&self) -> Option<String> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lose(&self, reason: &str) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}
