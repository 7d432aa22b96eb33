//! Work on a container's volumes: growing, making a template, removing everything.

use serde_json::Value;

use super::{What, Work, mount, of_task};
use crate::pve::value::{GuestKind, Size, storage_of};
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::guest::{check_lock, is_mount, is_unused, volume_of};
use crate::sim::qemu::{forget, wanted_size};
use crate::sim::route::Call;
use crate::sim::task::Work as TaskWork;
use crate::sim::volume::owner;

pub(in crate::sim) fn resize(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (vmid, node) = (call.vmid(), call.node.as_str());
    let delay = cluster.await_lock(vmid)?;
    let guest = cluster.guest(GuestKind::Lxc, vmid, node)?;
    check_lock(&guest.config)?;
    if call.get("digest").is_some_and(|digest| digest != guest.config.digest()) {
        return Err(Failure::die("detected modified configuration - file changed by other user? Try again."));
    }
    let disk = call.get("disk").unwrap_or_default();
    let value = guest.config.current.get(disk).ok_or_else(mount::missing)?;
    if mount::is_bind(value) {
        let text = format!("unable to parse volume ID '{}'", volume_of(value).unwrap_or_default());
        return Err(Failure::die(text));
    }
    let volid = volume_of(value).unwrap_or_default().to_owned();
    let path = format!("/storage/{}", volid.split(':').next().unwrap_or_default());
    cluster.check_for(&call.subject, &path).need(&path, &["Datastore.AllocateSpace"])?;
    let now = cluster.storages.size_of(&volid, node);
    let now = now.ok_or_else(|| Failure::die(format!("volume '{volid}' does not exist")))?;
    let size = wanted_size(call.get("size").unwrap_or_default(), now);
    if size < now {
        return Err(Failure::die("unable to shrink disk size"));
    }
    if size == now {
        return Err(Failure::die("disk is already at specified size"));
    }
    let work = TaskWork::Lxc(Work { vmid, what: What::Resize { disk: disk.to_owned(), size } });
    let mut answer = cluster.start_task(&call.subject, node, "resize", &vmid.to_string(), work);
    answer.delay = delay;
    Ok(answer)
}

pub(super) fn finish_resize(
    cluster: &mut Cluster,
    task: usize,
    vmid: u32,
    disk: &str,
    size: u64,
) -> Result<(), String> {
    let guest = of_task(cluster, task, vmid)?;
    let (node, mut config) = (guest.node.clone(), guest.config.reread());
    let Some(mut parsed) = config.current.get(disk).and_then(|value| mount::parse(disk, value)) else {
        return Err("format error".to_owned());
    };
    cluster.storages.resize(&parsed.get("volume").cloned().unwrap_or_default(), &node, size)?;
    parsed.insert("size".to_owned(), Size(size).to_string());
    config.current.insert(disk.to_owned(), mount::print(disk, &parsed));
    cluster.log(task, "Image resized.");
    store(cluster, vmid, config);
    Ok(())
}

fn store(cluster: &mut Cluster, vmid: u32, config: crate::sim::config::Config) {
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        guest.config = config;
    }
}

pub(in crate::sim) fn template(cluster: &mut Cluster, call: &Call) -> Outcome {
    let vmid = call.vmid();
    let delay = cluster.await_lock(vmid)?;
    let guest = cluster.guest(GuestKind::Lxc, vmid, &call.node)?;
    check_lock(&guest.config)?;
    if !guest.config.snapshots.is_empty() {
        return Err(Failure::die("unable to create template, because CT contains snapshots"));
    }
    if guest.config.flag("template") {
        return Err(Failure::die("you can't convert a template to a template"));
    }
    if guest.running.is_some() {
        return Err(Failure::die("you can't convert a CT to template if the CT is running"));
    }
    let work = TaskWork::Lxc(Work { vmid, what: What::Template });
    cluster.spawn(&call.subject, &call.node, "vztemplate", &vmid.to_string(), work);
    // There is a task, and its id is not told.
    Ok(Answer { delay, ..Answer::from(Value::Null) })
}

pub(super) fn finish_template(cluster: &mut Cluster, task: usize, vmid: u32) -> Result<(), String> {
    let guest = of_task(cluster, task, vmid)?;
    let (node, mut config) = (guest.node.clone(), guest.config.reread());
    for (key, value) in config.current.iter_mut().filter(|(key, _)| is_mount(key)) {
        let (Some(volid), Some(mut parsed)) = (volume_of(value).map(str::to_owned), mount::parse(key, value)) else {
            continue;
        };
        // The file is written at the end: what was renamed by then is not in it where the next cannot be.
        cluster.storages.admit(storage_of(&volid).unwrap_or_default(), &node).map_err(|failure| failure.text())?;
        parsed.insert("volume".to_owned(), cluster.storages.make_base(&volid, &node));
        *value = mount::print(key, &parsed);
    }
    config.current.insert("template".to_owned(), "1".to_owned());
    store(cluster, vmid, config);
    Ok(())
}

pub(in crate::sim) fn destroy(cluster: &mut Cluster, call: &Call) -> Outcome {
    let vmid = call.vmid();
    let guest = cluster.guest(GuestKind::Lxc, vmid, &call.node)?;
    check_lock(&guest.config)?;
    if guest.config.flag("protection") {
        return Err(Failure::die(format!("can't remove CT {vmid} - protection mode enabled")));
    }
    if cluster.ha.contains_key(&format!("ct:{vmid}")) && !call.flag("purge") {
        let text = format!("unable to remove CT {vmid} - used in HA resources and purge parameter not set.");
        return Err(Failure::die(text));
    }
    if guest.running.is_some() && !call.flag("force") {
        return Err(Failure::die(format!("unable to destroy CT {vmid} - container is running")));
    }
    let what = What::Destroy {
        purge: call.flag("purge"),
        unreferenced: call.flag("destroy-unreferenced-disks"),
        forced: guest.running.is_some(),
    };
    let work = TaskWork::Lxc(Work { vmid, what });
    Ok(cluster.start_task(&call.subject, &call.node, "vzdestroy", &vmid.to_string(), work))
}

pub(super) fn begin_destroy(cluster: &mut Cluster, task: usize, vmid: u32) -> Result<u64, String> {
    let guest = of_task(cluster, task, vmid)?;
    check_lock(&guest.config).map_err(|failure| failure.text())?;
    let (node, mut config) = (guest.node.clone(), guest.config.reread());
    for (_, value) in config.current.iter().filter(|(key, _)| is_mount(key)) {
        if let Some(volid) = volume_of(value).filter(|volid| cluster.storages.is_in_use(volid, &node)) {
            return Err(format!("base volume '{volid}' is still in use by linked clones"));
        }
    }
    config.current.insert("lock".to_owned(), "destroyed".to_owned());
    store(cluster, vmid, config);
    Ok(cluster.spec.tasks.destroy)
}

pub(super) fn finish_destroy(
    cluster: &mut Cluster,
    task: usize,
    vmid: u32,
    purge: bool,
    unreferenced: bool,
    forced: bool,
) -> Result<(), String> {
    let guest = of_task(cluster, task, vmid)?;
    let (node, config) = (guest.node.clone(), guest.config.clone());
    if forced {
        cluster.log(task, format!("forced to stop CT {vmid} before destroying!"));
    }
    let sections = [&config.current, &config.pending].into_iter().chain(config.snapshots.values());
    for value in
        sections.flat_map(|section| section.iter().filter(|(k, _)| is_mount(k) || is_unused(k)).map(|(_, v)| v))
    {
        if let Some(volid) = volume_of(value).filter(|volid| owner(volid) == Some(vmid)) {
            cluster.storages.remove(volid, &node);
        }
    }
    if purge {
        cluster.log(task, format!("purging CT {vmid} from related configurations.."));
        cluster.purge(GuestKind::Lxc, vmid);
    }
    forget(cluster, vmid, &node, unreferenced);
    Ok(())
}
