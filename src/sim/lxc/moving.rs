//! Moving a container's volume to another storage.

use super::{What, Work, mount, of_task, unlock};
use crate::pve::value::{GuestKind, Size};
use crate::sim::answer::{Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::guest::{check_lock, is_mount, volume_of};
use crate::sim::route::{Call, unsupported};
use crate::sim::task::Work as TaskWork;
use crate::sim::volume::{Purpose, owner};

/// Where a volume goes.
#[derive(Debug, Clone)]
pub(in crate::sim) struct Plan {
    key: String,
    storage: String,
    delete: bool,
}

pub(in crate::sim) fn move_volume(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (vmid, node) = (call.vmid(), call.node.as_str());
    let both = |text: &str| {
        let names = ["storage", "target-vmid"].map(|name| (name.to_owned(), text.to_owned()));
        Err(Failure::Parameters(names.into()))
    };
    let storage = match (call.get("storage"), call.get("target-vmid")) {
        (None, None) => return both("either 'storage' or 'target-vmid' must be set"),
        (Some(_), Some(_)) => return both("either set 'storage' or 'target-vmid', but not both"),
        (None, Some(_)) => return unsupported(),
        (Some(storage), None) => storage,
    };
    let path = format!("/storage/{storage}");
    cluster.check_for(&call.subject, &path).need(&path, &["Datastore.AllocateSpace"])?;
    let delay = cluster.await_lock(vmid)?;
    let guest = cluster.guest(GuestKind::Lxc, vmid, node)?;
    check_lock(&guest.config)?;
    if guest.running.is_some() {
        return Err(Failure::die("cannot move volumes of a running container"));
    }
    let key = call.get("volume").unwrap_or_default();
    let value = guest.config.current.get(key).filter(|_| is_mount(key));
    let value = value.ok_or_else(|| Failure::die(format!("volume '{key}' does not exist")))?;
    if mount::is_bind(value) {
        return Err(Failure::die(format!("unable to move mountpoint '{key}' (type bind)")));
    }
    if call.get("digest").is_some_and(|digest| digest != guest.config.digest()) {
        return Err(Failure::die("detected modified configuration - file changed by other user? Try again."));
    }
    let spec = cluster.storages.find(storage)?;
    if !spec.content.iter().any(|kind| kind == "rootdir") {
        let text = format!("storage '{storage}' does not support container directories");
        return Err(Failure::parameter("storage", text));
    }
    let plan = Plan { key: key.to_owned(), storage: storage.to_owned(), delete: call.flag("delete") };
    let mut config = guest.config.reread();
    config.current.insert("lock".to_owned(), "disk".to_owned());
    cluster.guest_mut(GuestKind::Lxc, vmid, node)?.config = config;
    let work = TaskWork::Lxc(Work { vmid, what: What::Move(plan) });
    let mut answer = cluster.start_task(&call.subject, node, "move_volume", &vmid.to_string(), work);
    answer.delay = delay;
    Ok(answer)
}

pub(super) fn finish(cluster: &mut Cluster, task: usize, vmid: u32, plan: &Plan) -> Result<(), String> {
    unlock(cluster, vmid);
    let guest = of_task(cluster, task, vmid)?;
    let (node, mut config) = (guest.node.clone(), guest.config.reread());
    let Some(old) = config.current.get(&plan.key).cloned() else {
        return Err(format!("volume '{}' does not exist", plan.key));
    };
    let Some(mut moved) = mount::parse(&plan.key, &old) else { return Err("format error".to_owned()) };
    let volid = volume_of(&old).unwrap_or_default().to_owned();
    let size = cluster.storages.size_of(&volid, &node);
    let size = size.ok_or_else(|| format!("volume '{volid}' does not exist"))?;
    let ctime = cluster.unix_time();
    let made = cluster.storages.allocate((&plan.storage, &node), vmid, Purpose::Mount, None, (size, ctime));
    moved.insert("volume".to_owned(), made);
    moved.insert("size".to_owned(), Size(size).to_string());
    config.current.insert(plan.key.clone(), mount::print(&plan.key, &moved));
    if !plan.delete {
        mount::register_unused(vmid, &mut config, &plan.key, &old);
    } else if owner(&volid) == Some(vmid) {
        cluster.storages.remove(&volid, &node);
    }
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        guest.config = config;
    }
    Ok(())
}
