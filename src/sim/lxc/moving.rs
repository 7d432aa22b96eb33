//! Moving a container's volume: to another storage, or to another container.

use super::{What, Work, mount, of_task, unlock, update};
use crate::pve::value::{GuestKind, Size};
use crate::sim::answer::{Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::config::{Config, Section};
use crate::sim::guest::{check_lock, is_mount, is_unused, volume_of};
use crate::sim::route::Call;
use crate::sim::task::Work as TaskWork;
use crate::sim::volume::Purpose;

/// Where a volume goes.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(in crate::sim) struct Plan {
    key: String,
    storage: String,
    delete: bool,
    /// The volume that the worker made.
    made: Option<String>,
}

impl Plan {
    pub(super) fn storage(&self) -> &str {
        &self.storage
    }
}

/// Which container a volume is given to, and under which key.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(in crate::sim) struct Reassign {
    key: String,
    pub(super) target: u32,
    target_key: String,
    digest: Option<String>,
    target_digest: Option<String>,
}

const MODIFIED: &str = "detected modified configuration - file changed by other user? Try again.";

pub(in crate::sim) fn move_volume(cluster: &mut Cluster, call: &Call) -> Outcome {
    let both = |text: &str| {
        let names = ["storage", "target-vmid"].map(|name| (name.to_owned(), text.to_owned()));
        Err(Failure::Parameters(names.into()))
    };
    match (call.get("storage"), call.get("target-vmid")) {
        (None, None) => both("both 'storage' and 'target-vmid' missing, either needs to be set"),
        (Some(_), Some(_)) => Err(Failure::die("either set storage or target-vmid, but not both")),
        (None, Some(_)) => reassign(cluster, call),
        (Some(_), None) => to_storage(cluster, call),
    }
}

/// True where a snapshot names the volume.
fn in_snapshot(config: &Config, volid: &str) -> bool {
    let names = |section: &Section| section.iter().any(|(key, value)| is_mount(key) && volume_of(value) == Some(volid));
    config.snapshots.values().any(names)
}

fn to_storage(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (vmid, node) = (call.vmid(), call.node.as_str());
    let storage = call.get("storage").unwrap_or_default();
    let path = format!("/storage/{storage}");
    cluster.check_for(&call.subject, &path).need(&path, &["Datastore.AllocateSpace"])?;
    let delay = cluster.await_lock(vmid)?;
    let guest = cluster.guest(GuestKind::Lxc, vmid, node)?;
    check_lock(&guest.config)?;
    if guest.running.is_some() {
        return Err(Failure::die("cannot move volumes of a running container"));
    }
    let key = call.get("volume").unwrap_or_default();
    if is_unused(key) {
        let text = format!("cannot move volume '{key}', only configured volumes can be moved to another storage");
        return Err(Failure::die(text));
    }
    let value = guest.config.current.get(key).filter(|_| is_mount(key));
    let value = value.ok_or_else(mount::missing)?;
    if mount::is_bind(value) {
        return Err(Failure::die(format!("unable to move mountpoint '{key}' (type bind)")));
    }
    let volid = volume_of(value).unwrap_or_default();
    if call.flag("delete") && in_snapshot(&guest.config, volid) {
        return Err(Failure::die("you can't move a volume with snapshots and delete the source"));
    }
    if call.get("digest").is_some_and(|digest| digest != guest.config.digest()) {
        return Err(Failure::die(MODIFIED));
    }
    let plan = Plan { key: key.to_owned(), storage: storage.to_owned(), delete: call.flag("delete"), made: None };
    let mut config = guest.config.reread();
    config.current.insert("lock".to_owned(), "disk".to_owned());
    cluster.guest_mut(GuestKind::Lxc, vmid, node)?.config = config;
    let work = TaskWork::Lxc(Work { vmid, what: What::Move(plan) });
    let mut answer = cluster.start_task(&call.subject, node, "move_volume", &vmid.to_string(), work);
    answer.delay = delay;
    Ok(answer)
}

/// Makes the new volume.
pub(super) fn begin(cluster: &mut Cluster, task: usize, vmid: u32, plan: &mut Plan) -> Result<u64, String> {
    match make(cluster, task, vmid, plan) {
        Ok(made) => plan.made = Some(made),
        Err(failure) => {
            unlock(cluster, vmid);
            return Err(failure.text());
        }
    }
    Ok(cluster.spec.tasks.move_volume)
}

fn make(cluster: &mut Cluster, task: usize, vmid: u32, plan: &Plan) -> Result<String, Failure> {
    let node = cluster.tasks[task].node.clone();
    let guest = cluster.guest(GuestKind::Lxc, vmid, &node)?;
    let volid = guest.config.current.get(&plan.key).and_then(|value| volume_of(value)).unwrap_or_default().to_owned();
    let size = cluster.storages.size_of(&volid, &node);
    let size = size.ok_or_else(|| Failure::die(format!("volume '{volid}' does not exist")))?;
    let storage = plan.storage.as_str();
    let spec = cluster.storages.find_on(storage, &node)?;
    if !spec.content.iter().any(|kind| kind == "rootdir") {
        return Err(Failure::die(format!("storage '{storage}' does not support content type 'rootdir'")));
    }
    let ctime = cluster.unix_time();
    cluster.storages.allocate((storage, &node), vmid, Purpose::Mount, None, (size, ctime))
}

/// A move that is stopped leaves nothing.
pub(super) fn abort(cluster: &mut Cluster, node: &str, vmid: u32, plan: &Plan) -> String {
    if let Some(made) = &plan.made {
        cluster.storages.remove(made, node);
    }
    unlock(cluster, vmid);
    "received interrupt".to_owned()
}

pub(super) fn finish(cluster: &mut Cluster, task: usize, vmid: u32, plan: &Plan) -> Result<(), String> {
    let node = cluster.tasks[task].node.clone();
    unlock(cluster, vmid);
    let mut config = of_task(cluster, task, vmid)?.config.reread();
    let made = plan.made.clone().unwrap_or_default();
    let parsed = config.current.get(&plan.key).and_then(|old| Some((old.clone(), mount::parse(&plan.key, old)?)));
    let Some((old, mut moved)) = parsed else {
        cluster.storages.remove(&made, &node);
        return Err(format!("volume '{}' does not exist", plan.key));
    };
    let volid = volume_of(&old).unwrap_or_default().to_owned();
    let size = cluster.storages.size_of(&made, &node).unwrap_or(0);
    let made = if config.flag("template") { cluster.storages.make_base(&made, &node) } else { made };
    moved.insert("volume".to_owned(), made);
    moved.insert("size".to_owned(), Size(size).to_string());
    config.current.insert(plan.key.clone(), mount::print(&plan.key, &moved));
    if plan.delete && !cluster.storages.is_in_use(&volid, &node) {
        cluster.storages.remove(&volid, &node);
    } else {
        mount::add_unused(&mut config, &volid);
    }
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        guest.config = config;
    }
    Ok(())
}

fn reassign(cluster: &mut Cluster, call: &Call) -> Outcome {
    let vmid = call.vmid();
    let target = u32::try_from(call.number("target-vmid").unwrap_or(0)).unwrap_or(0);
    let key = call.get("volume").unwrap_or_default().to_owned();
    let plan = Reassign {
        target,
        target_key: call.get("target-volume").map_or_else(|| key.clone(), str::to_owned),
        key,
        digest: call.get("digest").map(str::to_owned),
        target_digest: call.get("target-digest").map(str::to_owned),
    };
    cluster.check_guest(&call.subject, target).need(&format!("/vms/{target}"), &["VM.Config.Disk"])?;
    let value = check_reassign(cluster, &call.node, vmid, &plan)?;
    let path = format!("/storage/{}", value.split(':').next().unwrap_or_default());
    cluster.check_for(&call.subject, &path).need(&path, &["Datastore.AllocateSpace"])?;
    let id = format!("{vmid}-{}>{target}-{}", plan.key, plan.target_key);
    let work = TaskWork::Lxc(Work { vmid, what: What::Reassign(plan) });
    Ok(cluster.start_task(&call.subject, &call.node, "move_volume", &id, work))
}

/// What is checked before the answer and again by the worker; the mount point's value.
fn check_reassign(cluster: &Cluster, node: &str, vmid: u32, plan: &Reassign) -> Result<String, Failure> {
    let die = |text: String| Err(Failure::die(text));
    let Reassign { key, target, target_key, .. } = plan;
    if key == "rootfs" || target_key == "rootfs" {
        return die("Cannot move to/from 'rootfs'".to_owned());
    }
    if is_unused(key) && !is_unused(target_key) {
        return die("Moving an unused volume to a used one is not possible".to_owned());
    }
    let place = |id: u32| cluster.guests.get(&id).map(|guest| guest.node.as_str());
    let Some(source_node) = place(vmid) else { return die(format!("could not find CT {vmid}")) };
    let Some(target_node) = place(*target) else { return die(format!("could not find CT {target}")) };
    if source_node != target_node {
        return die(format!("Both containers need to be on the same node ({source_node} != {target_node})"));
    }
    let guest = cluster.guest(GuestKind::Lxc, vmid, node)?;
    check_lock(&guest.config)?;
    let other = cluster.guest(GuestKind::Lxc, *target, node)?;
    check_lock(&other.config)?;
    if guest.config.flag("template") || other.config.flag("template") {
        return die("Can't move volumes from or to template CT".to_owned());
    }
    for (id, digest, config) in [(vmid, &plan.digest, &guest.config), (*target, &plan.target_digest, &other.config)] {
        if digest.as_ref().is_some_and(|digest| *digest != config.digest()) {
            return die(format!("Container {id}: {MODIFIED}"));
        }
    }
    let Some(value) = guest.config.current.get(key) else {
        return die(format!("volume '{key}' for container '{vmid}' does not exist"));
    };
    if other.config.current.contains_key(target_key) {
        return die(format!("Target volume key '{target_key}' is already in use for container '{target}'"));
    }
    let volid = volume_of(value).unwrap_or_default();
    if in_snapshot(&guest.config, volid) {
        return die("Cannot move volume used by a snapshot to another container".to_owned());
    }
    if !cluster.storages.can_rename(volid) {
        return die("Storage does not support moving of this disk to another container".to_owned());
    }
    if guest.running.is_some() && !is_unused(key) {
        let text = "Cannot move in-use volume while the source CT is running - detach or shutdown first";
        return die(text.to_owned());
    }
    Ok(value.clone())
}

pub(super) fn finish_reassign(cluster: &mut Cluster, task: usize, vmid: u32, plan: &Reassign) -> Result<(), String> {
    let node = cluster.tasks[task].node.clone();
    let value = check_reassign(cluster, &node, vmid, plan).map_err(|failure| failure.text())?;
    let Reassign { key, target, target_key, .. } = plan;
    cluster.log(task, format!("moving volume '{key}' from container '{vmid}' to '{target}'"));
    let volid = volume_of(&value).unwrap_or_default().to_owned();
    let given = cluster.storages.give(&volid, &node, *target);
    let load = |cluster: &Cluster, id: u32| {
        let guest = cluster.guest(GuestKind::Lxc, id, &node).map_err(|failure| failure.text())?;
        Ok::<_, String>((guest.running.is_some(), guest.config.reread()))
    };
    let (_, mut config) = load(cluster, vmid)?;
    config.current.remove(key);
    cluster.log(task, format!("removing volume '{key}' from container '{vmid}' config"));
    store(cluster, vmid, config);
    let (runs, mut config) = load(cluster, *target)?;
    if is_unused(target_key) {
        config.current.insert(target_key.clone(), given);
    } else {
        let mut parsed = mount::parse(key, &value).unwrap_or_default();
        parsed.insert("volume".to_owned(), given);
        config.set_pending(target_key, mount::print(target_key, &parsed));
        if let Some(text) = update::apply_one(cluster, &node, *target, &mut config, target_key, runs) {
            cluster.log(task, format!("WARN: {text}"));
        }
    }
    store(cluster, *target, config);
    cluster.log(task, format!("target container '{target}' updated with '{target_key}'"));
    Ok(())
}

fn store(cluster: &mut Cluster, vmid: u32, config: Config) {
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        guest.config = config;
    }
}
