//! Work on a VM's volumes: growing, making a template, removing everything.

use super::{What, Work, apply, drive, of_task};
use crate::pve::value::{GuestKind, Size, storage_of};
use crate::sim::answer::{Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::guest::{check_lock, is_drive, is_unused, volume_of};
use crate::sim::route::Call;
use crate::sim::task::Work as TaskWork;
use crate::sim::volume::owner;

pub(in crate::sim) fn resize(cluster: &mut Cluster, call: &Call) -> Outcome {
    let vmid = call.vmid();
    if call.flag("skiplock") && !call.subject.is_root() {
        return Err(Failure::parameter("skiplock", "Only root may use this option."));
    }
    cluster.guest(GuestKind::Qemu, vmid, &call.node)?;
    let text = |name: &str| call.get(name).unwrap_or_default().to_owned();
    let digest = call.get("digest").map(str::to_owned);
    let what = What::Resize { disk: text("disk"), size: text("size"), digest };
    let work = TaskWork::Qemu(Work { vmid, what });
    Ok(cluster.start_task(&call.subject, &call.node, "resize", &vmid.to_string(), work))
}

/// The size that is asked for, in bytes; with a sign it is added.
pub(in crate::sim) fn wanted_size(size: &str, now: u64) -> u64 {
    match size.strip_prefix('+') {
        Some(more) => now.saturating_add(Size::parse_proxmox(more).map_or(0, |size| size.0)),
        None => Size::parse_proxmox(size).map_or(0, |size| size.0),
    }
}

/// All that is checked is checked by the worker.
pub(super) fn check_resize(
    cluster: &mut Cluster,
    task: usize,
    vmid: u32,
    disk: &str,
    size: &str,
    digest: Option<&str>,
) -> Result<u64, String> {
    let guest = of_task(cluster, task, vmid)?;
    if digest.is_some_and(|digest| digest != guest.config.digest()) {
        return Err("checksum mismatch (file change by other user?)".to_owned());
    }
    check_lock(&guest.config).map_err(super::text)?;
    let value = guest.config.current.get(disk).ok_or_else(|| format!("disk '{disk}' does not exist"))?;
    if drive::is_cdrom(value) {
        return Err("you can't resize a cdrom".to_owned());
    }
    let (node, subject) = (guest.node.clone(), cluster.tasks[task].subject.clone());
    let volid = volume_of(value).unwrap_or_default().to_owned();
    let storage = volid.split(':').next().unwrap_or_default();
    let path = format!("/storage/{storage}");
    cluster.check_for(&subject, &path).need(&path, &["Datastore.AllocateSpace"]).map_err(super::text)?;
    let now = cluster.storages.size_of(&volid, &node).ok_or_else(|| format!("volume '{volid}' does not exist"))?;
    if wanted_size(size, now) < now {
        return Err("shrinking disks is not supported".to_owned());
    }
    Ok(cluster.spec.tasks.resize)
}

pub(super) fn finish_resize(
    cluster: &mut Cluster,
    task: usize,
    vmid: u32,
    disk: &str,
    size: &str,
) -> Result<(), String> {
    let guest = of_task(cluster, task, vmid)?;
    let (node, mut config) = (guest.node.clone(), guest.config.reread());
    let Some(mut parsed) = config.current.get(disk).and_then(|value| drive::parse(disk, value)) else {
        return Err(format!("disk '{disk}' does not exist"));
    };
    let volid = parsed.get("file").cloned().unwrap_or_default();
    let now = cluster.storages.size_of(&volid, &node).unwrap_or(0);
    let wanted = wanted_size(size, now);
    if wanted != now {
        cluster.storages.resize(&volid, &node, wanted)?;
        // The size that was asked for is written, whatever the storage made of it.
        parsed.insert("size".to_owned(), Size(wanted).to_string());
        config.current.insert(disk.to_owned(), drive::print(disk, &parsed));
        apply::store(cluster, vmid, config);
        cluster.log(task, "Image resized.");
    }
    Ok(())
}

pub(in crate::sim) fn template(cluster: &mut Cluster, call: &Call) -> Outcome {
    let vmid = call.vmid();
    let delay = cluster.await_lock(vmid)?;
    let guest = cluster.guest(GuestKind::Qemu, vmid, &call.node)?;
    check_lock(&guest.config)?;
    if !guest.config.snapshots.is_empty() {
        return Err(Failure::die("unable to create template, because VM contains snapshots"));
    }
    let disk = call.get("disk").map(str::to_owned);
    if guest.config.flag("template") && disk.is_none() {
        return Err(Failure::die("you can't convert a template to a template"));
    }
    if guest.running.is_some() {
        return Err(Failure::die("you can't convert a VM to template if VM is running"));
    }
    let work = TaskWork::Qemu(Work { vmid, what: What::Template { disk } });
    let mut answer = cluster.start_task(&call.subject, &call.node, "qmtemplate", &vmid.to_string(), work);
    answer.delay = delay;
    Ok(answer)
}

pub(super) fn finish_template(cluster: &mut Cluster, task: usize, vmid: u32, disk: Option<&str>) -> Result<(), String> {
    let guest = of_task(cluster, task, vmid)?;
    let (node, mut config) = (guest.node.clone(), guest.config.reread());
    let mut refused = Ok(());
    for (key, value) in config.current.iter_mut() {
        if !is_drive(key) || drive::is_cdrom(value) || disk.is_some_and(|disk| disk != key) {
            continue;
        }
        let Some(mut parsed) = drive::parse(key, value) else { continue };
        let volid = parsed.get("file").cloned().unwrap_or_default();
        if let Err(failure) = cluster.storages.admit(storage_of(&volid).unwrap_or_default(), &node) {
            refused = Err(failure.text());
            break;
        }
        parsed.insert("file".to_owned(), cluster.storages.make_base(&volid, &node));
        *value = drive::print(key, &parsed);
    }
    // The flag is written first, and every disk as soon as it is a base.
    config.current.insert("template".to_owned(), "1".to_owned());
    apply::store(cluster, vmid, config);
    refused
}

/// The storages of the disks that become bases, once for each.
pub(super) fn bases_on(cluster: &Cluster, vmid: u32, disk: Option<&str>) -> Vec<String> {
    let Some(guest) = cluster.guests.get(&vmid) else { return Vec::new() };
    let drives =
        drive::of(&guest.config).filter(|(key, value)| !drive::is_cdrom(value) && disk.is_none_or(|disk| disk == *key));
    drives.filter_map(|(_, value)| storage_of(volume_of(value)?)).map(str::to_owned).collect()
}

pub(in crate::sim) fn destroy(cluster: &mut Cluster, call: &Call) -> Outcome {
    let vmid = call.vmid();
    if call.flag("skiplock") && !call.subject.is_root() {
        return Err(Failure::parameter("skiplock", "Only root may use this option."));
    }
    let guest = cluster.guest(GuestKind::Qemu, vmid, &call.node)?;
    if guest.config.flag("protection") {
        return Err(Failure::die(format!("can't remove VM {vmid} - protection mode enabled")));
    }
    if cluster.ha.contains_key(&format!("vm:{vmid}")) && !call.flag("purge") {
        let text = format!("unable to remove VM {vmid} - used in HA resources and purge parameter not set.");
        return Err(Failure::die(text));
    }
    if guest.running.is_some() {
        return Err(Failure::die(format!("VM {vmid} is running - destroy failed")));
    }
    let what = What::Destroy { purge: call.flag("purge"), unreferenced: call.flag("destroy-unreferenced-disks") };
    let work = TaskWork::Qemu(Work { vmid, what });
    Ok(cluster.start_task(&call.subject, &call.node, "qmdestroy", &vmid.to_string(), work))
}

/// The checks again, under the lock, and those of the volumes.
pub(super) fn begin_destroy(cluster: &mut Cluster, task: usize, vmid: u32) -> Result<u64, String> {
    let guest = of_task(cluster, task, vmid)?;
    if guest.config.flag("protection") {
        return Err(format!("can't remove VM {vmid} - protection mode enabled"));
    }
    check_lock(&guest.config).map_err(super::text)?;
    if guest.running.is_some() {
        return Err(format!("VM {vmid} is running - destroy failed"));
    }
    let (node, config) = (guest.node.clone(), guest.config.clone());
    for (_, value) in drive::of(&config) {
        if let Some(volid) = volume_of(value).filter(|volid| cluster.storages.is_in_use(volid, &node)) {
            return Err(format!("base volume '{volid}' is still in use by linked cloned"));
        }
    }
    let mut locked = config.reread();
    locked.current.insert("lock".to_owned(), "destroyed".to_owned());
    apply::store(cluster, vmid, locked);
    Ok(cluster.spec.tasks.destroy)
}

pub(super) fn finish_destroy(
    cluster: &mut Cluster,
    task: usize,
    vmid: u32,
    purge: bool,
    unreferenced: bool,
) -> Result<(), String> {
    let guest = of_task(cluster, task, vmid)?;
    let (node, config) = (guest.node.clone(), guest.config.clone());
    let sections = [&config.current, &config.pending].into_iter().chain(config.snapshots.values());
    for value in sections.flat_map(|section| {
        section.iter().filter(|(k, _)| is_drive(k) || is_unused(k) || *k == "vmstate").map(|(_, v)| v)
    }) {
        if let Some(volid) = volume_of(value).filter(|volid| owner(volid) == Some(vmid)) {
            cluster.storages.remove(volid, &node);
        }
    }
    if purge {
        cluster.log(task, format!("purging VM {vmid} from related configurations.."));
        cluster.purge(GuestKind::Qemu, vmid);
    }
    forget(cluster, vmid, &node, unreferenced);
    Ok(())
}

/// Takes a guest out of everything that names it.
pub(in crate::sim) fn forget(cluster: &mut Cluster, vmid: u32, node: &str, unreferenced: bool) {
    if unreferenced {
        let all: Vec<String> = cluster
            .storages
            .all()
            .filter(|(place, volid)| (place.is_empty() || *place == node) && owner(volid) == Some(vmid))
            .map(|(_, volid)| volid)
            .collect();
        for volid in all {
            cluster.storages.remove(&volid, node);
        }
    }
    for pool in cluster.pools.values_mut() {
        pool.guests.remove(&vmid);
    }
    cluster.access.forget_path(&format!("/vms/{vmid}"));
    cluster.forget_firewall(vmid);
    cluster.guests.remove(&vmid);
}

/// Brings the sizes of a VM's drives up to date with their volumes, as a migration does.
pub(in crate::sim) fn refresh_sizes(cluster: &mut Cluster, vmid: u32) {
    let Some(guest) = cluster.guests.get(&vmid) else { return };
    let (node, mut config) = (guest.node.clone(), guest.config.reread());
    for (key, value) in config.current.iter_mut().filter(|(key, value)| is_drive(key) && !drive::is_cdrom(value)) {
        let volid = volume_of(value).unwrap_or_default();
        if cluster.storages.is_shared(volid.split(':').next().unwrap_or_default()) {
            continue;
        }
        let Some(size) = cluster.storages.size_of(volid, &node) else { continue };
        let Some(mut parsed) = drive::parse(key, value) else { continue };
        parsed.insert("size".to_owned(), Size(drive::copied_size(key, size)).to_string());
        *value = drive::print(key, &parsed);
    }
    apply::store(cluster, vmid, config);
}
