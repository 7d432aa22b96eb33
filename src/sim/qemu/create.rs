//! Making a VM.

use std::collections::BTreeMap;

use super::{What, Work, drive, permit, update};
use crate::pve::value::GuestKind;
use crate::sim::answer::{Failure, Outcome};
use crate::sim::backup::restore_vm;
use crate::sim::cluster::Cluster;
use crate::sim::config::Config;
use crate::sim::guest::{Guest, is_drive};
use crate::sim::route::Call;
use crate::sim::task::Work as TaskWork;

/// Parameters of the call that are no options of the VM.
const ASIDE: &[&str] = &[
    "vmid",
    "pool",
    "start",
    "storage",
    "force",
    "archive",
    "unique",
    "bwlimit",
    "live-restore",
    "import-working-storage",
    "ha-managed",
];

pub(in crate::sim) fn create(cluster: &mut Cluster, call: &Call) -> Outcome {
    let vmid = u32::try_from(call.number("vmid").unwrap_or(0)).unwrap_or(0);
    let pool = call.get("pool").map(str::to_owned);
    if let Some(pool) = pool.as_ref().filter(|pool| !cluster.pools.contains_key(*pool)) {
        return Err(Failure::Permission(format!("pool '{pool}' does not exist")));
    }
    if let Some(storage) = call.get("storage") {
        let path = format!("/storage/{storage}");
        cluster.check_for(&call.subject, &path).need(&path, &["Datastore.AllocateSpace"])?;
    }
    if call.flag("ha-managed") {
        cluster.check_for(&call.subject, "/").need("/", &["Sys.Console"])?;
    }
    let path = format!("/vms/{vmid}");
    let check = cluster.check_guest(&call.subject, vmid);
    let by_pool = pool.as_ref().is_some_and(|pool| check.any(&format!("/pool/{pool}"), &["VM.Allocate"]));
    if !check.any(&path, &["VM.Allocate"]) && !by_pool {
        return Err(Failure::Permission(String::new()));
    }
    let mut options: BTreeMap<String, String> = call.params.clone();
    options.retain(|name, _| !ASIDE.contains(&name.as_str()));
    update::unalias(&mut options);
    if call.get("archive").is_some() && options.keys().any(|key| is_drive(key)) {
        return restore_vm(cluster, call, options);
    }
    // Someone who may make VMs in a pool has there what the pool gives.
    let check = crate::sim::access::Check { pool: pool.as_deref(), ..check };
    for (key, value) in &options {
        permit::storage(cluster, check, (key, value))?;
        drive::check_import(cluster, check, call, (key, value))?;
    }
    for (key, value) in &options {
        permit::option(check, vmid, key, Some(value), None)?;
    }
    for (key, value) in &options {
        permit::bridge(check, key, value)?;
    }
    update::check_values(cluster, &call.node, &options)?;
    if call.get("archive").is_some() {
        return restore_vm(cluster, call, options);
    }
    if let Some(text) = cluster.taken_text(vmid) {
        return Err(Failure::die(format!("unable to create VM {vmid} - {text}")));
    }
    let mut config = Config::new(GuestKind::Qemu);
    config.current.insert("lock".to_owned(), "create".to_owned());
    cluster.guests.insert(vmid, Guest { node: call.node.clone(), config, running: None });
    let what = What::Create { options, pool, start: call.flag("start"), ha: call.flag("ha-managed") };
    Ok(cluster.start_task(
        &call.subject,
        &call.node,
        "qmcreate",
        &vmid.to_string(),
        TaskWork::Qemu(Work { vmid, what }),
    ))
}

pub(super) fn finish(
    cluster: &mut Cluster,
    task: usize,
    vmid: u32,
    options: BTreeMap<String, String>,
    pool: Option<String>,
    (start, ha): (bool, bool),
) -> Result<(), String> {
    let (node, subject) = (cluster.tasks[task].node.clone(), cluster.tasks[task].subject.clone());
    let mut made = Vec::new();
    let permitted = cluster.permit_tags(&subject, None, options.get("tags").map(String::as_str));
    match permitted.and_then(|()| build(cluster, task, vmid, &node, options, &mut made)) {
        Ok(config) => {
            cluster.guests.insert(vmid, Guest { node: node.clone(), config, running: None });
        }
        Err(failure) => {
            for volid in made {
                cluster.storages.remove(&volid, &node);
            }
            cluster.guests.remove(&vmid);
            return Err(format!("unable to create VM {vmid} - {}", failure.text()));
        }
    }
    if let Some(pool) = pool.and_then(|pool| cluster.pools.get_mut(&pool)) {
        pool.guests.insert(vmid);
    }
    if ha {
        cluster.log(task, "Add as HA resource");
        let state = if start { "started" } else { "stopped" };
        cluster.ha.insert(format!("vm:{vmid}"), BTreeMap::from([("state".to_owned(), state.to_owned())]));
    }
    if start {
        cluster.spawn(&subject, &node, "qmstart", &vmid.to_string(), TaskWork::Qemu(Work::start(vmid)));
    }
    Ok(())
}

fn build(
    cluster: &mut Cluster,
    task: usize,
    vmid: u32,
    node: &str,
    options: BTreeMap<String, String>,
    made: &mut Vec<String>,
) -> Result<Config, Failure> {
    let mut config = Config::new(GuestKind::Qemu);
    let normalise = cluster.is_at_least(9, 2);
    for (key, value) in options.iter().filter(|(key, _)| !is_drive(key)) {
        let value = match key.as_str() {
            // Until release 9.2 only a change puts tags in order.
            "tags" if !normalise => value.clone(),
            // A password that comes with the VM is kept as it came; only a change hashes it.
            "cipassword" => value.clone(),
            _ => update::normalised(cluster, key, value)?,
        };
        config.current.insert(key.clone(), value);
    }
    // All drives of cloud-init that are asked for count, not only those made so far.
    let mut wanted = config.clone();
    wanted.pending = options
        .iter()
        .filter(|(key, value)| is_drive(key) && value.contains(":cloudinit"))
        .map(|(k, v)| (k.clone(), format!("{},media=cdrom", v.replace(":cloudinit", &format!(":vm-{vmid}-cloudinit")))))
        .collect();
    let mut log = Vec::new();
    for (key, value) in options.iter().filter(|(key, _)| is_drive(key)) {
        let (printed, volume) = drive::place(cluster, node, vmid, (key, value), &wanted, &mut log)?;
        made.extend(volume);
        config.current.insert(key.clone(), printed);
    }
    if !config.current.contains_key("boot") {
        config.current.insert("boot".to_owned(), default_boot(&config));
    }
    if !config.current.contains_key("smbios1") {
        let uuid = cluster.chance.uuid();
        config.current.insert("smbios1".to_owned(), format!("uuid={uuid}"));
    }
    if !config.current.contains_key("vmgenid") {
        let uuid = cluster.chance.uuid();
        config.current.insert("vmgenid".to_owned(), uuid);
    }
    if let Some(pinned) = update::pinned_machine(cluster, &config) {
        log.push(format!("pinning machine type to '{pinned}' for Windows guest OS"));
        config.current.insert("machine".to_owned(), pinned);
    }
    let meta = format!("creation-qemu={},ctime={}", cluster.spec.qemu_version, cluster.unix_time());
    config.current.insert("meta".to_owned(), meta);
    for line in log {
        cluster.log(task, line);
    }
    Ok(config)
}

/// The first disk, the first CD-ROM, the first network device.
fn default_boot(config: &Config) -> String {
    let drives = |cdrom: bool| {
        ["ide", "scsi", "virtio", "sata"].into_iter().find_map(|bus| {
            (0..31)
                .map(|n| format!("{bus}{n}"))
                .find(|key| config.current.get(key).is_some_and(|value| drive::is_cdrom(value) == cdrom))
        })
    };
    let net = (0..32).map(|n| format!("net{n}")).find(|key| config.current.contains_key(key));
    let order: Vec<String> = [drives(false), drives(true), net].into_iter().flatten().collect();
    if order.is_empty() { String::new() } else { format!("order={}", order.join(";")) }
}
