//! What can be asked of one cluster, as typed calls on everything that reads.

use std::collections::{BTreeMap, BTreeSet};

use super::concurrent::{Job, all};
use super::model::{self, Bridge, Config, Content, Guest, Listed, Node, NodeStatus, Storage, Task};
use super::task;
use super::{Reader, TaskState};
use crate::pve::http::{ApiError, Request, percent_encode};
use crate::pve::value::{GuestKind, Upid, Vmid};

/// The discovery calls. Each names the call of the API and the privilege that it needs; a list without the privilege
/// is shorter, not an error, where Proxmox does it so.
pub trait Discover: Reader {
    /// The nodes: `GET /nodes`; figures need `Sys.Audit` on `/nodes/N`.
    fn nodes(&self) -> impl Future<Output = Result<Vec<Node>, ApiError>> + Send {
        list(self, Request::get("/nodes"))
    }

    /// How a node is: `GET /nodes/N/status`, `Sys.Audit` on `/nodes/N`.
    fn node_status(&self, node: &str) -> impl Future<Output = Result<NodeStatus, ApiError>> + Send {
        one(self, of_node(node, "status"))
    }

    /// The VMs: see [`Discover::guests`].
    fn vms(&self) -> impl Future<Output = Result<Vec<Guest>, ApiError>> + Send {
        guests(self, &[GuestKind::Qemu])
    }

    /// The containers: see [`Discover::guests`].
    fn containers(&self) -> impl Future<Output = Result<Vec<Guest>, ApiError>> + Send {
        guests(self, &[GuestKind::Lxc])
    }

    /// VMs and containers by id: `GET /cluster/resources?type=vm`, and each node's own `GET /nodes/N/qemu` and
    /// `GET /nodes/N/lxc`, for what the cluster's list says of names and states is ten seconds old. Shows the guests
    /// on which `VM.Audit` is held. Where a node does not answer, the cluster's list is believed.
    fn guests(&self) -> impl Future<Output = Result<Vec<Guest>, ApiError>> + Send {
        guests(self, &GuestKind::ALL)
    }

    /// A guest's configuration as it will be at its next start: `GET /nodes/N/{qemu|lxc}/ID/config`, `VM.Audit` on
    /// `/vms/ID`.
    fn config(&self, guest: &Guest) -> impl Future<Output = Result<Config, ApiError>> + Send {
        let request = Request::get(format!("/nodes/{}/{}/{}/config", guest.node, guest.kind, guest.vmid));
        async move {
            let answer = self.read(&request).await?;
            Config::of(&answer).ok_or_else(|| model::unclear(&request))
        }
    }

    /// The cluster's storages: `GET /storage`; shows those with `Datastore.Audit` or `Datastore.AllocateSpace`.
    fn storages(&self) -> impl Future<Output = Result<Vec<Storage>, ApiError>> + Send {
        list(self, Request::get("/storage"))
    }

    /// A node's storages with their figures: `GET /nodes/N/storage`, as [`Discover::storages`].
    fn node_storages(&self, node: &str) -> impl Future<Output = Result<Vec<Storage>, ApiError>> + Send {
        list(self, of_node(node, "storage"))
    }

    /// One storage on a node: `GET /nodes/N/storage/S/status`, `Datastore.Audit` or `Datastore.AllocateSpace` on
    /// `/storage/S`.
    fn storage_status(&self, node: &str, storage: &str) -> impl Future<Output = Result<Storage, ApiError>> + Send {
        let request = of_node(node, &format!("storage/{}/status", percent_encode(storage)));
        let storage = storage.to_owned();
        async move {
            let mut answer = self.read(&request).await?;
            // This answer leaves the name to the path.
            if let Some(object) = answer.as_object_mut() {
                object.entry("storage").or_insert(storage.into());
            }
            model::one(&request, answer)
        }
    }

    /// The volumes of a storage: `GET /nodes/N/storage/S/content`, `Datastore.Audit` or `Datastore.AllocateSpace` on
    /// `/storage/S`; shows those that may be read, for guests' disks with `VM.Audit` or `Datastore.Allocate`.
    fn storage_content(
        &self,
        node: &str,
        storage: &str,
    ) -> impl Future<Output = Result<Vec<Content>, ApiError>> + Send {
        list(self, of_node(node, &format!("storage/{}/content", percent_encode(storage))))
    }

    /// What a NIC can be plugged into: `GET /nodes/N/network?type=any_bridge`; shows those with `SDN.Audit` or
    /// `SDN.Use`, all of them with `Sys.Audit` on the node.
    fn bridges(&self, node: &str) -> impl Future<Output = Result<Vec<Bridge>, ApiError>> + Send {
        list(self, of_node(node, "network").with("type", "any_bridge"))
    }

    /// The last tasks of the whole cluster, a few for each node: `GET /cluster/tasks`; shows one's own, all with
    /// `Sys.Audit` on the node.
    fn recent_tasks(&self) -> impl Future<Output = Result<Vec<Task>, ApiError>> + Send {
        list(self, Request::get("/cluster/tasks"))
    }

    /// The last tasks of a node, running ones too, newest first: `GET /nodes/N/tasks?source=all`; shows one's own, all
    /// with `Sys.Audit` on the node.
    fn tasks(&self, node: &str, limit: u32) -> impl Future<Output = Result<Vec<Task>, ApiError>> + Send {
        list(self, of_node(node, "tasks").with("source", "all").with("limit", limit.to_string()))
    }

    /// How a task is: `GET /nodes/N/tasks/UPID/status`; one's own, others with `Sys.Audit` on the node.
    fn task_status(&self, upid: &Upid) -> impl Future<Output = Result<TaskState, ApiError>> + Send {
        let request = Request::get(task::task_path(upid, "status"));
        async move { Ok(TaskState::of(&self.read(&request).await?)) }
    }

    /// The last lines of a task's log: `GET /nodes/N/tasks/UPID/log`, as [`Discover::task_status`].
    fn task_log(&self, upid: &Upid, last: usize) -> impl Future<Output = Result<Vec<String>, ApiError>> + Send {
        task::read_log(self, upid, last)
    }

    /// The guest of an id, VM or container: `GET /cluster/resources?type=vm` and its node's list.
    ///
    /// [`ApiError::NotFound`] where this token does not see it, which is no proof that it is not there.
    fn guest(&self, vmid: Vmid) -> impl Future<Output = Result<Guest, ApiError>> + Send {
        async move {
            let found = self.guests().await?.into_iter().find(|guest| guest.vmid == vmid);
            found.ok_or_else(|| ApiError::NotFound(format!("there is no guest {vmid}, or it cannot be seen")))
        }
    }

    /// The guests of a name, VMs and containers: names are not unique in a cluster.
    fn guests_named(&self, name: &str) -> impl Future<Output = Result<Vec<Guest>, ApiError>> + Send {
        async move {
            let all = self.guests().await?;
            Ok(all.into_iter().filter(|guest| guest.name.as_deref() == Some(name)).collect())
        }
    }
}

impl<R: Reader + ?Sized> Discover for R {}

fn of_node(node: &str, what: &str) -> Request {
    Request::get(format!("/nodes/{}/{what}", percent_encode(node)))
}

async fn list<T: serde::de::DeserializeOwned>(
    reader: &(impl Reader + ?Sized),
    request: Request,
) -> Result<Vec<T>, ApiError> {
    let answer = reader.read(&request).await?;
    model::rows(&request, answer)
}

async fn one<T: serde::de::DeserializeOwned>(reader: &(impl Reader + ?Sized), request: Request) -> Result<T, ApiError> {
    let answer = reader.read(&request).await?;
    model::one(&request, answer)
}

async fn guests(reader: &(impl Reader + ?Sized), kinds: &[GuestKind]) -> Result<Vec<Guest>, ApiError> {
    let mut found: Vec<Guest> = list(reader, Request::get("/cluster/resources").with("type", "vm")).await?;
    found.retain(|guest| kinds.contains(&guest.kind));
    let places: BTreeSet<(String, GuestKind)> = found.iter().map(|guest| (guest.node.clone(), guest.kind)).collect();
    let jobs = places.into_iter().map(|(node, kind)| -> Job<'_, ((String, GuestKind), Vec<Listed>)> {
        Box::pin(async move {
            let listed = list(reader, of_node(&node, kind.segment())).await.unwrap_or_default();
            ((node, kind), listed)
        })
    });
    let lists: BTreeMap<(String, GuestKind), Vec<Listed>> = all(jobs.collect()).await.into_iter().collect();
    for guest in &mut found {
        let listed = lists.get(&(guest.node.clone(), guest.kind)).into_iter().flatten();
        if let Some(listed) = listed.into_iter().find(|listed| listed.vmid == guest.vmid) {
            // A VM without a name is listed under a made-up one, which no VM can bear: it has a blank in it.
            guest.name = listed.name.clone().filter(|name| !name.contains(' '));
            guest.status = listed.status.clone().or_else(|| guest.status.take());
            guest.template = listed.template;
            guest.lock.clone_from(&listed.lock);
            guest.uptime = listed.uptime.or(guest.uptime);
        }
    }
    found.sort_by_key(|guest| guest.vmid);
    Ok(found)
}

#[cfg(test)]
#[path = "discover_tests.rs"]
mod tests;
