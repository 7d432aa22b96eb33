//! Making a container.

use std::collections::BTreeMap;

use super::{What, Work, mount, root_only, update};
use crate::pve::schema::split_index;
use crate::pve::value::{GuestKind, storage_of};
use crate::sim::access::Check;
use crate::sim::answer::{Failure, Outcome};
use crate::sim::backup::restore_container;
use crate::sim::cluster::Cluster;
use crate::sim::config::Config;
use crate::sim::guest::{Guest, is_mount};
use crate::sim::route::Call;
use crate::sim::task::Work as TaskWork;

const ASIDE: &[&str] = &[
    "vmid",
    "ostemplate",
    "pool",
    "start",
    "storage",
    "force",
    "restore",
    "unique",
    "bwlimit",
    "password",
    "ssh-public-keys",
    "ignore-unpack-errors",
    "ha-managed",
];

pub(in crate::sim) fn create(cluster: &mut Cluster, call: &Call) -> Outcome {
    let vmid = u32::try_from(call.number("vmid").unwrap_or(0)).unwrap_or(0);
    let restores = call.flag("restore");
    if call.flag("ha-managed") {
        cluster.check_for(&call.subject, "/").need("/", &["Sys.Console"])?;
    }
    let pool = call.get("pool").map(str::to_owned);
    if let Some(pool) = pool.as_ref().filter(|pool| !cluster.pools.contains_key(*pool)) {
        return Err(Failure::Permission(format!("pool '{pool}' does not exist")));
    }
    let path = format!("/vms/{vmid}");
    let check = cluster.check_guest(&call.subject, vmid);
    let check = Check { pool: pool.as_deref(), ..check };
    if !check.any(&path, &["VM.Allocate"]) {
        return Err(Failure::Permission(String::new()));
    }
    let mut options: BTreeMap<String, String> = call.params.clone();
    options.retain(|name, _| !ASIDE.contains(&name.as_str()));
    let unprivileged = call.get("unprivileged").map_or(cluster.access.release() >= 9, |value| value == "1");
    options.remove("unprivileged");
    if unprivileged {
        options.insert("unprivileged".to_owned(), "1".to_owned());
    } else if cluster.access.release() >= 9 && !restores {
        check.need("/", &["Sys.Modify"])?;
    }
    for (key, value) in &options {
        update::permit(check, vmid, key, Some(value), unprivileged)?;
    }
    cluster.permit_tags(&call.subject, None, options.get("tags").map(String::as_str))?;
    if restores {
        options.remove("unprivileged");
        if options.keys().any(|key| is_mount(key)) && !options.contains_key("rootfs") {
            return Err(Failure::die("mount points configured, but 'rootfs' not set - aborting"));
        }
        for (key, value) in options.iter().filter(|(key, _)| is_mount(key)) {
            update::check_storage(cluster, check, key, value)?;
        }
        return restore_container(cluster, call, options);
    }
    let template = call.get("ostemplate").unwrap_or_default().to_owned();
    if template.starts_with('/') && !call.subject.is_root() {
        return root_only("using an absolute path as a template");
    }
    let name = template.split_once(':').map_or("", |(_, name)| name);
    if !name.starts_with("vztmpl/") {
        return Err(Failure::die(format!("unable to use volume {template} - content type needs to be 'vztmpl'")));
    }
    let storage = storage_of(&template).unwrap_or_default();
    let store = format!("/storage/{storage}");
    cluster.storages.find(storage)?;
    if !check.any(&store, &["Datastore.Audit", "Datastore.AllocateSpace"]) {
        return Err(Failure::privilege(&store, "Datastore.AllocateSpace|Datastore.Audit"));
    }
    let has_mounts = options.keys().any(|key| is_mount(key) && key != "rootfs");
    if !options.contains_key("rootfs") {
        if has_mounts {
            return Err(Failure::die("mount points configured, but 'rootfs' not set - aborting"));
        }
        let storage = call.get("storage").unwrap_or("local");
        options.insert("rootfs".to_owned(), format!("{storage}:4"));
    }
    for (key, value) in options.iter().filter(|(key, _)| is_mount(key)) {
        update::check_storage(cluster, check, key, value)?;
    }
    for (key, value) in &options {
        update::check_bridge(check, key, value)?;
    }
    if let Some(text) = cluster.taken_text(vmid) {
        return Err(Failure::die(text));
    }
    let mut config = Config::new(GuestKind::Lxc);
    config.current.insert("lock".to_owned(), "create".to_owned());
    cluster.guests.insert(vmid, Guest { node: call.node.clone(), config, running: None });
    let what = What::Create { options, template, pool, start: call.flag("start"), ha: call.flag("ha-managed") };
    Ok(cluster.start_task(&call.subject, &call.node, "vzcreate", &vmid.to_string(), TaskWork::Lxc(Work { vmid, what })))
}

pub(super) fn finish(
    cluster: &mut Cluster,
    task: usize,
    vmid: u32,
    options: BTreeMap<String, String>,
    template: &str,
    pool: Option<String>,
    (start, ha): (bool, bool),
) -> Result<(), String> {
    let (node, subject) = (cluster.tasks[task].node.clone(), cluster.tasks[task].subject.clone());
    let mut made = Vec::new();
    match build(cluster, &node, vmid, options, template, &mut made) {
        Ok(config) => drop(cluster.guests.insert(vmid, Guest { node: node.clone(), config, running: None })),
        Err(failure) => {
            for volid in made {
                cluster.storages.remove(&volid, &node);
            }
            cluster.guests.remove(&vmid);
            return Err(format!("unable to create CT {vmid} - {}", failure.text()));
        }
    }
    cluster.log(task, format!("extracting archive '{template}'"));
    cluster.log(task, "Detected container architecture: amd64");
    if let Some(pool) = pool.and_then(|pool| cluster.pools.get_mut(&pool)) {
        pool.guests.insert(vmid);
    }
    if ha {
        cluster.log(task, "Add as HA resource");
        let state = if start { "started" } else { "stopped" };
        cluster.ha.insert(format!("ct:{vmid}"), BTreeMap::from([("state".to_owned(), state.to_owned())]));
    }
    if start {
        cluster.spawn(&subject, &node, "vzstart", &vmid.to_string(), TaskWork::Lxc(Work::start(vmid)));
    }
    Ok(())
}

fn build(
    cluster: &mut Cluster,
    node: &str,
    vmid: u32,
    options: BTreeMap<String, String>,
    template: &str,
    made: &mut Vec<String>,
) -> Result<Config, Failure> {
    let mut config = Config::new(GuestKind::Lxc);
    // The root comes first, whatever the names of the others.
    let mut mounts: Vec<(&String, &String)> = options.iter().filter(|(key, _)| is_mount(key)).collect();
    mounts.sort_by_key(|(key, _)| (*key != "rootfs", split_index(key).map(|(_, index)| index)));
    for (key, value) in mounts {
        let stored = mount::place(cluster, node, vmid, (key, value), made)?;
        config.current.insert(key.clone(), stored);
    }
    if cluster.storages.size_of(template, node).is_none() {
        return Err(Failure::die(format!("volume '{template}' does not exist")));
    }
    for (key, value) in options.iter().filter(|(key, _)| !is_mount(key)) {
        let stored = update::normalised(cluster, key, value)?;
        config.current.insert(key.clone(), stored);
    }
    let file = template.rsplit('/').next().unwrap_or(template);
    let family = file.split(['-', '_']).next().unwrap_or("unmanaged");
    let known =
        ["debian", "devuan", "ubuntu", "centos", "fedora", "opensuse", "archlinux", "alpine", "gentoo", "nixos"];
    let ostype = match family {
        "almalinux" | "rockylinux" => "centos",
        _ => known.into_iter().find(|name| *name == family).unwrap_or("unmanaged"),
    };
    let hostname = format!("CT{vmid}");
    for (key, value) in
        [("arch", "amd64"), ("hostname", hostname.as_str()), ("memory", "512"), ("ostype", ostype), ("swap", "512")]
    {
        config.current.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
    Ok(config)
}
