//! Cloning a container.

use super::{What, Work, mount, unlock};
use crate::pve::schema::split_index;
use crate::pve::value::{GuestKind, Size};
use crate::sim::answer::{Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::config::{Config, Section};
use crate::sim::guest::{Guest, check_lock, is_mount, is_unused, volume_of};
use crate::sim::route::Call;
use crate::sim::task::Work as TaskWork;
use crate::sim::volume::Purpose;

/// What a clone is to become.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(in crate::sim) struct Plan {
    pub(super) newid: u32,
    pub(super) full: bool,
    target: String,
    hostname: Option<String>,
    description: Option<String>,
    pool: Option<String>,
    storage: Option<String>,
    source: Section,
    raw: Vec<(String, String)>,
}

impl Plan {
    /// The storages of the copies, once for each.
    pub(super) fn made_on(&self) -> Vec<String> {
        let own = mount::volumes_on(&self.source).into_iter();
        own.map(|own| self.storage.clone().unwrap_or(own)).collect()
    }
}

pub(in crate::sim) fn clone(cluster: &mut Cluster, call: &Call) -> Outcome {
    let vmid = call.vmid();
    let newid = u32::try_from(call.number("newid").unwrap_or(0)).unwrap_or(0);
    let node = call.node.clone();
    if let Some(pool) = call.get("pool").filter(|pool| !cluster.pools.contains_key(*pool)) {
        return Err(Failure::Permission(format!("pool '{pool}' does not exist")));
    }
    let target = call.get("target").unwrap_or(&node).to_owned();
    if !cluster.spec.nodes.iter().any(|spec| spec.name == target) {
        return Err(Failure::die(format!("no such cluster node '{target}'")));
    }
    if let Some(storage) = call.get("storage") {
        let path = format!("/storage/{storage}");
        cluster.check_for(&call.subject, &path).need(&path, &["Datastore.AllocateSpace"])?;
        cluster.storages.find(storage)?;
        if target != node && !cluster.storages.is_shared(storage) {
            return Err(Failure::die(format!("can't clone to non-shared storage '{storage}'")));
        }
    }
    // Marking the source takes its lock file.
    let delay = cluster.await_lock(vmid)?;
    let guest = cluster.guest(GuestKind::Lxc, vmid, &node)?;
    check_lock(&guest.config)?;
    let (runs, config) = (guest.running.is_some(), guest.config.reread());
    if let Some(text) = cluster.taken_text(newid) {
        return Err(Failure::die(text));
    }
    let source = match call.get("snapname") {
        Some(name) => {
            let section = config.snapshots.get(name).cloned();
            section.ok_or_else(|| Failure::die(format!("snapshot '{name}' does not exist")))?
        }
        None => config.current.clone(),
    };
    let full = call.get("full").map_or(!config.flag("template"), |full| full == "1");
    if full && runs && call.get("snapname").is_none() {
        return Err(Failure::die("Full clone of a running container is only possible from a snapshot"));
    }
    if !full && call.get("storage").is_some() {
        return Err(Failure::die("parameter 'storage' not allowed for linked clones"));
    }
    for (key, value) in source.iter().filter(|(key, _)| is_mount(key)) {
        if mount::is_bind(value) {
            let text = format!("unable to clone mountpoint '{key}' (type bind)");
            // The source was marked and is unmarked again, so its file is written anew.
            cluster.guest_mut(GuestKind::Lxc, vmid, &node)?.config = config;
            return Err(Failure::die(text));
        }
        let Some(volid) = volume_of(value) else { continue };
        if !full && !cluster.storages.can_link(GuestKind::Lxc, volid) {
            return Err(Failure::die(format!("Linked clone feature for '{volid}' is not available")));
        }
        let storage = call.get("storage").unwrap_or_else(|| volid.split(':').next().unwrap_or(volid));
        if target != node && !cluster.storages.is_shared(storage) {
            return Err(Failure::die(format!("can't clone CT to node '{target}' (CT uses local storage)")));
        }
        let path = format!("/storage/{storage}");
        cluster.check_for(&call.subject, &path).need(&path, &["Datastore.AllocateSpace"])?;
    }
    let text = |name: &str| call.get(name).map(str::to_owned);
    let plan = Plan {
        newid,
        full,
        target,
        hostname: text("hostname"),
        description: text("description"),
        pool: text("pool"),
        storage: text("storage"),
        source,
        raw: config.raw.clone(),
    };
    // Both are marked before the answer, so a second clone of the same source is refused at once.
    let mut locked = config;
    locked.current.insert("lock".to_owned(), "disk".to_owned());
    cluster.guest_mut(GuestKind::Lxc, vmid, &node)?.config = locked;
    let mut config = Config::new(GuestKind::Lxc);
    config.current.insert("lock".to_owned(), "create".to_owned());
    cluster.guests.insert(newid, Guest { node: node.clone(), config, running: None });
    let work = TaskWork::Lxc(Work { vmid, what: What::Clone(Box::new(plan)) });
    let mut answer = cluster.start_task(&call.subject, &node, "vzclone", &vmid.to_string(), work);
    answer.delay = delay;
    Ok(answer)
}

pub(super) fn finish(cluster: &mut Cluster, task: usize, vmid: u32, plan: &Plan) -> Result<(), String> {
    let node = cluster.tasks[task].node.clone();
    unlock(cluster, vmid);
    cluster.log(task, format!("creating a clone of container {vmid} with ID {}", plan.newid));
    let mut made = Vec::new();
    let mut config = match copy(cluster, task, &node, plan, &mut made) {
        Ok(config) => config,
        Err(failure) => {
            for volid in made {
                cluster.storages.remove(&volid, &node);
            }
            cluster.guests.remove(&plan.newid);
            return Err(format!("clone failed: {}", failure.text()));
        }
    };
    if let Some(hostname) = &plan.hostname {
        config.current.insert("hostname".to_owned(), hostname.clone());
    }
    if let Some(description) = &plan.description {
        config.current.insert("description".to_owned(), description.clone());
    }
    cluster.clone_firewall(vmid, plan.newid);
    cluster.guests.insert(plan.newid, Guest { node: plan.target.clone(), config, running: None });
    if let Some(pool) = plan.pool.as_ref().and_then(|pool| cluster.pools.get_mut(pool)) {
        pool.guests.insert(plan.newid);
    }
    Ok(())
}

/// The configuration of the clone; its volumes are made by the way.
fn copy(
    cluster: &mut Cluster,
    task: usize,
    node: &str,
    plan: &Plan,
    made: &mut Vec<String>,
) -> Result<Config, Failure> {
    let mut config = Config::new(GuestKind::Lxc);
    config.raw.clone_from(&plan.raw);
    for (key, value) in &plan.source {
        if is_unused(key) || matches!(key.as_str(), "parent" | "template" | "lock" | "snaptime" | "snapstate") {
            continue;
        }
        let stem = split_index(key).map_or("", |(stem, _)| stem);
        let copied = match (stem, mount::parse(key, value)) {
            ("net", Some(mut net)) => {
                net.insert("hwaddr".to_owned(), cluster.fresh_mac());
                mount::print(key, &net)
            }
            (_, Some(mut copy)) if is_mount(key) => {
                let volid = volume_of(value).unwrap_or_default().to_owned();
                let ctime = cluster.unix_time();
                let volume = if plan.full {
                    cluster.log(task, format!("create full clone of mountpoint {key} ({volid})"));
                    let own = volid.split(':').next().unwrap_or_default();
                    let storage = plan.storage.clone().unwrap_or_else(|| own.to_owned());
                    let size = cluster.storages.size_of(&volid, node);
                    let size = size.ok_or_else(|| Failure::die(format!("volume '{volid}' does not exist")))?;
                    cluster.storages.allocate((&storage, node), plan.newid, Purpose::Mount, None, (size, ctime))?
                } else {
                    cluster.storages.admit(volid.split(':').next().unwrap_or_default(), node)?;
                    cluster.log(task, format!("create linked clone of mountpoint {key} ({volid})"));
                    cluster.storages.link(&volid, node, plan.newid, ctime)
                };
                made.push(volume.clone());
                let size = cluster.storages.size_of(&volume, node).unwrap_or(0);
                copy.insert("volume".to_owned(), volume);
                copy.insert("size".to_owned(), Size(size).to_string());
                mount::print(key, &copy)
            }
            _ => value.clone(),
        };
        config.current.insert(key.clone(), copied);
    }
    Ok(config)
}
