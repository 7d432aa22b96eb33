//! Moving a guest to another node: the worker.

use std::collections::BTreeMap;

use super::scan::{self, StorageMap};
use crate::pve::value::GuestKind;
use crate::sim::answer::Failure;
use crate::sim::calendar;
use crate::sim::cluster::Cluster;
use crate::sim::config::Config;
use crate::sim::guest::{check_lock, is_mount, is_unused, sub_key};
use crate::sim::section::mapping;
use crate::sim::volume::{is_base, owner};
use crate::sim::{lxc, task};

/// What a task moves.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(in crate::sim) struct Work {
    pub(in crate::sim) vmid: u32,
    kind: GuestKind,
    target: String,
    storages: StorageMap,
    online: bool,
    with_local_disks: bool,
    restart: bool,
    timeout: u64,
    force: bool,
    begun: u64,
    /// Volumes that were copied: by the name here the name there.
    copied: BTreeMap<String, String>,
    stopped: bool,
}

impl Work {
    pub(super) fn new(vmid: u32, kind: GuestKind, target: &str, storages: StorageMap) -> Self {
        Self {
            vmid,
            kind,
            target: target.to_owned(),
            storages,
            online: false,
            with_local_disks: false,
            restart: false,
            timeout: 180,
            force: false,
            begun: 0,
            copied: BTreeMap::new(),
            stopped: false,
        }
    }

    /// As the HA manager asks for it.
    pub(in crate::sim) fn by_ha(vmid: u32, kind: GuestKind, target: &str) -> Self {
        Self { restart: true, ..Self::new(vmid, kind, target, StorageMap::default()) }.online(true, true)
    }

    pub(super) const fn online(mut self, online: bool, with_local_disks: bool) -> Self {
        (self.online, self.with_local_disks) = (online, with_local_disks);
        self
    }

    pub(super) const fn restarting(mut self, restart: bool, timeout: u64) -> Self {
        (self.restart, self.timeout) = (restart, timeout);
        self
    }

    pub(super) const fn forced(mut self, force: bool) -> Self {
        self.force = force;
        self
    }
}

/// A line with the time before it, as migrations log.
fn log(cluster: &mut Cluster, id: usize, text: &str) {
    let now = calendar::time(cluster.unix_time());
    cluster.log(id, format!("{now} {text}"));
}

/// How long the migration has taken.
fn duration(cluster: &Cluster, work: &Work) -> String {
    calendar::duration((cluster.clock - work.begun) / 1000)
}

fn aborted(cluster: &mut Cluster, id: usize, work: &Work, problem: &str) -> String {
    let text = format!("ERROR: migration aborted (duration {}): {problem}", duration(cluster, work));
    log(cluster, id, &text);
    "migration aborted".to_owned()
}

pub(in crate::sim) fn begin(cluster: &mut Cluster, id: usize, work: &mut Work) -> Result<u64, String> {
    work.begun = cluster.clock;
    let node = cluster.tasks[id].node.clone();
    let prepared = match work.kind {
        GuestKind::Qemu => prepare_vm(cluster, &node, work),
        GuestKind::Lxc => prepare_container(cluster, &node, work),
    };
    if let Err(failure) = prepared {
        return Err(aborted(cluster, id, work, &failure.text()));
    }
    if work.kind == GuestKind::Lxc
        && let Some(guest) = cluster.guests.get_mut(&work.vmid).filter(|guest| guest.running.is_some())
    {
        guest.running = None;
        work.stopped = true;
        log(cluster, id, &format!("shutdown CT {}", work.vmid));
        lxc::apply_pending(cluster, &node, work.vmid);
    }
    mark(cluster, work.vmid, true);
    let noun = if work.kind == GuestKind::Qemu { "VM" } else { "CT" };
    let address = cluster.address(&work.target);
    log(cluster, id, &format!("starting migration of {noun} {} to node '{}' ({address})", work.vmid, work.target));
    if let Err(problem) = copy_volumes(cluster, id, &node, work) {
        log(cluster, id, &format!("ERROR: {problem}"));
        undo(cluster, id, work);
        return Err(aborted(cluster, id, work, &problem));
    }
    let shutdown = if work.stopped { cluster.spec.tasks.shutdown.min(work.timeout * 1000) } else { 0 };
    Ok(cluster.spec.tasks.migrate + shutdown)
}

/// Sets or removes the mark of a migration in the guest's file.
fn mark(cluster: &mut Cluster, vmid: u32, set: bool) {
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        let mut config = guest.config.reread();
        match set {
            true => drop(config.current.insert("lock".to_owned(), "migrate".to_owned())),
            false => drop(config.current.remove("lock")),
        }
        guest.config = config;
    }
}

/// Takes back what was copied; a container that ran runs again.
fn undo(cluster: &mut Cluster, id: usize, work: &Work) {
    if work.kind == GuestKind::Qemu {
        log(cluster, id, "aborting phase 1 - cleanup resources");
    }
    for volid in work.copied.values() {
        cluster.storages.remove(volid, &work.target);
    }
    mark(cluster, work.vmid, false);
    if work.stopped {
        let node = cluster.tasks[id].node.clone();
        restart(cluster, id, &node, work.vmid);
    }
}

fn restart(cluster: &mut Cluster, id: usize, node: &str, vmid: u32) {
    let subject = cluster.tasks[id].subject.clone();
    cluster.spawn(&subject, node, "vzstart", &vmid.to_string(), task::Work::Lxc(lxc::Work::start(vmid)));
}

fn check_target(cluster: &Cluster, work: &Work, volid: &str) -> Result<(), Failure> {
    let Some(storage) = scan::storage(volid) else { return Ok(()) };
    let node = cluster.guests.get(&work.vmid).map_or("", |guest| guest.node.as_str());
    cluster.storages.find_on(storage, node)?;
    let target = if cluster.storages.is_shared(storage) { storage } else { work.storages.target(storage) };
    let spec = cluster.storages.find_on(target, &work.target)?;
    let content = scan::content(work.kind, volid);
    if spec.content.iter().any(|kind| kind == content) {
        return Ok(());
    }
    Err(Failure::die(format!("{volid}: content type '{content}' is not available on storage '{target}'")))
}

fn check_reachable(cluster: &Cluster, work: &Work) -> Result<(), Failure> {
    if cluster.node_online(&work.target) {
        return Ok(());
    }
    Err(Failure::die("Can't connect to destination address using public key"))
}

fn prepare_vm(cluster: &Cluster, node: &str, work: &Work) -> Result<(), Failure> {
    let guest = cluster.guest(GuestKind::Qemu, work.vmid, node)?;
    check_lock(&guest.config)?;
    let runs = guest.running.is_some();
    if runs && !work.online {
        return Err(Failure::die("can't migrate running VM without --online"));
    }
    let devices = scan::devices(&guest.config, runs);
    let blocking: Vec<&str> =
        devices.local.iter().filter(|key| !devices.mapped.contains_key(*key)).map(String::as_str).collect();
    if !blocking.is_empty() && (runs || !work.force) {
        return Err(Failure::die(format!("can't migrate VM which uses local devices: {}", blocking.join(", "))));
    }
    let missing = super::missing_mappings(cluster, &devices, &work.target);
    if !missing.is_empty() {
        let text = format!("can't migrate to '{}': missing mapped devices {}", work.target, missing.join(", "));
        return Err(Failure::die(text));
    }
    let stay = devices.mapped.iter().filter(|(key, name)| runs && !mapping::moves_live(cluster, key, name));
    let stay: Vec<String> = stay.map(|(key, name)| format!("{key}:{name}")).collect();
    if !stay.is_empty() {
        let list = stay.join(", ");
        let text = format!("can't live migrate running VM which uses following mapped devices: {list}");
        return Err(Failure::die(text));
    }
    for file in scan::named(&guest.config).keys() {
        check_target(cluster, work, file)?;
    }
    check_reachable(cluster, work)
}

fn prepare_container(cluster: &Cluster, node: &str, work: &Work) -> Result<(), Failure> {
    let guest = cluster.guest(GuestKind::Lxc, work.vmid, node)?;
    check_lock(&guest.config)?;
    if guest.running.is_some() {
        if work.online && !work.restart {
            return Err(Failure::die("lxc live migration is currently not implemented"));
        }
        if !work.restart {
            return Err(Failure::die("running container can only be migrated in restart mode"));
        }
    }
    for (key, value) in guest.config.current.iter().filter(|(key, _)| is_mount(key) || is_unused(key)) {
        let file = scan::file_of(value);
        if file.starts_with('/') {
            if sub_key(value, "shared") == Some("1") {
                continue;
            }
            let what = if file.starts_with("/dev/") { "device" } else { "bind" };
            return Err(Failure::die(format!("cannot migrate local {what} mount point '{key}'")));
        }
        check_target(cluster, work, file)?;
    }
    check_reachable(cluster, work)
}

/// Why a volume cannot go with a VM.
fn vm_problem(cluster: &Cluster, node: &str, work: &Work, volid: &str, named: &scan::Named) -> Option<String> {
    if volid.starts_with('/') {
        return Some("local file/device".to_owned());
    }
    if named.cdrom {
        return (!named.cloudinit).then(|| "local cdrom image".to_owned());
    }
    if owner(volid) != Some(work.vmid) {
        return Some(match owner(volid) {
            Some(other) => format!("owned by other VM (owner = VM {other})"),
            None => "owned by other VM (owner = VM )".to_owned(),
        });
    }
    if named.vmstate {
        return None;
    }
    let runs = cluster.guests.get(&work.vmid).is_some_and(|guest| guest.running.is_some());
    if !named.snapshots.is_empty() {
        if runs {
            return Some("online storage migration not possible if non-replicated snapshot exists".to_owned());
        }
        if !cluster.storages.sends_snapshots(volid) {
            return Some("non-migratable snapshot exists".to_owned());
        }
    }
    if cluster.storages.is_in_use(volid, node) {
        return Some("referenced by linked clone(s)".to_owned());
    }
    let needs_option = runs && named.attached && !named.tpmstate && !work.with_local_disks;
    needs_option.then(|| "can't live migrate attached local disks without with-local-disks option".to_owned())
}

fn container_problem(cluster: &Cluster, work: &Work, volid: &str, named: &scan::Named) -> Option<String> {
    if owner(volid) != Some(work.vmid) {
        let other = owner(volid).map(|vmid| vmid.to_string()).unwrap_or_default();
        return Some(format!("owned by other guest (owner = {other})"));
    }
    (!named.snapshots.is_empty() && !cluster.storages.sends_container_snapshots(volid))
        .then(|| "non-migratable snapshot exists".to_owned())
}

/// Looks at every volume that only this node has, and copies them; what stands in the way otherwise.
fn copy_volumes(cluster: &mut Cluster, id: usize, node: &str, work: &mut Work) -> Result<(), String> {
    let Some(config) = cluster.guests.get(&work.vmid).map(|guest| guest.config.clone()) else { return Ok(()) };
    let vm = work.kind == GuestKind::Qemu;
    let is_shared = |file: &str| scan::storage(file).is_some_and(|storage| cluster.storages.is_shared(storage));
    let local: BTreeMap<String, scan::Named> = scan::named(&config)
        .into_iter()
        .filter(|(file, named)| !is_shared(file) && !named.is_nowhere(file))
        .filter(|(file, _)| vm || !file.starts_with('/'))
        .collect();
    let mut problems = Vec::new();
    for (volid, named) in &local {
        if vm && volid == "cdrom" {
            problems.push("can't migrate local cdrom drive".to_owned());
            continue;
        }
        let how = match (vm, named) {
            (false, named) if named.attached => " (in current VM config)",
            (true, named) if named.tpmstate || named.cloudinit => "",
            (true, named) if named.attached => " (attached)",
            (true, named) if named.unused => " (unused)",
            (_, named) if !named.snapshots.is_empty() => " (referenced by snapshot(s))",
            (true, named) if named.pending => " (pending change)",
            _ => "",
        };
        let what = match vm {
            true if named.tpmstate || named.cloudinit => {
                format!("found generated disk '{volid}' (in current VM config)")
            }
            true => format!("found local disk '{volid}'{how}"),
            false => format!("found local volume '{volid}'{how}"),
        };
        log(cluster, id, &what);
        let problem = match work.kind {
            GuestKind::Qemu => vm_problem(cluster, node, work, volid, named),
            GuestKind::Lxc => container_problem(cluster, work, volid, named),
        };
        let noun = if vm { "disk" } else { "volume" };
        problems.extend(problem.map(|text| format!("can't migrate local {noun} '{volid}': {text}")));
    }
    let checked = "Problem found while scanning volumes - ";
    let prefix = if vm { checked } else { "" };
    for volid in local.keys() {
        let name = volid.split_once(':').map_or("", |(_, name)| name);
        let storage = scan::storage(volid).unwrap_or_default();
        let family = cluster.storages.find(storage).map_or("", |spec| spec.kind.as_str()).to_owned();
        let movable = matches!(family.as_str(), "dir" | "btrfs" | "zfspool" | "lvmthin" | "lvm");
        let parent = (!is_base(name)).then(|| name.split('/').find(|part| is_base(part))).flatten();
        match (vm, movable, parent) {
            _ if !problems.is_empty() && vm => {}
            (true, false, _) => {
                return Err(format!("{prefix}can't migrate '{volid}' - storage type '{family}' not supported"));
            }
            (true, _, Some(parent)) => {
                return Err(format!("{prefix}can't migrate '{volid}' as it's a clone of '{parent}'"));
            }
            (false, false, _) => {
                problems.push(format!("can't migrate local volume '{volid}': storage type '{family}' not supported"));
            }
            (false, _, Some(parent)) => {
                problems.push(format!("can't migrate local volume '{volid}': clone of '{parent}'"));
            }
            _ => {}
        }
    }
    for problem in &problems {
        log(cluster, id, problem);
    }
    if !problems.is_empty() {
        let noun = if vm { "VM" } else { "CT" };
        return Err(format!("{prefix}can't migrate {noun} - check log"));
    }
    let runs = cluster.guests.get(&work.vmid).is_some_and(|guest| guest.running.is_some());
    if vm && !runs && !local.is_empty() {
        log(cluster, id, "copying local disk images");
    }
    if vm && runs {
        log(cluster, id, &format!("starting VM {} on remote node '{}'", work.vmid, work.target));
    }
    for volid in local.keys() {
        let storage = scan::storage(volid).unwrap_or_default();
        let target = work.storages.target(storage).to_owned();
        let made = cluster.storages.copy_to(volid, (node, &work.target), &target).map_err(|failure| {
            format!("storage migration for '{volid}' to storage '{target}' failed - {}", failure.text())
        })?;
        log(cluster, id, &format!("volume '{volid}' is '{made}' on the target"));
        work.copied.insert(volid.clone(), made);
    }
    if vm && runs {
        log(cluster, id, "start remote tunnel");
        if !local.is_empty() {
            log(cluster, id, "starting storage migration");
        }
        log(cluster, id, &format!("starting online/live migration on unix:/run/qemu-server/{}.migrate", work.vmid));
    }
    Ok(())
}

/// The file with the volumes' names as they are on the target.
fn renamed(config: &Config, names: &BTreeMap<String, String>) -> Config {
    let mut config = config.reread();
    let sections = [&mut config.current, &mut config.pending].into_iter().chain(config.snapshots.values_mut());
    for section in sections {
        for value in section.values_mut() {
            if let Some(new) = names.get(scan::file_of(value)) {
                let old = scan::file_of(value).to_owned();
                *value = value.replacen(&old, new, 1);
            }
        }
    }
    config
}

pub(in crate::sim) fn finish(cluster: &mut Cluster, id: usize, work: &Work) -> Result<(), String> {
    let node = cluster.tasks[id].node.clone();
    if !cluster.node_online(&work.target) {
        undo(cluster, id, work);
        return Err(aborted(cluster, id, work, "tunnel replied '' to command 'quit' - connection lost"));
    }
    let Ok(guest) = cluster.guest(work.kind, work.vmid, &node) else {
        return Err(aborted(cluster, id, work, "the guest is gone"));
    };
    let runs = guest.running.is_some();
    let mut config = renamed(&guest.config, &work.copied);
    config.current.remove("lock");
    for volid in work.copied.keys() {
        cluster.storages.remove(volid, &node);
    }
    if let Some(guest) = cluster.guests.get_mut(&work.vmid) {
        guest.config = config;
        guest.node.clone_from(&work.target);
    }
    if work.kind == GuestKind::Qemu {
        super::super::qemu::refresh_sizes(cluster, work.vmid);
        if runs {
            log(cluster, id, "migration status: completed");
        }
    } else {
        log(cluster, id, "start final cleanup");
        if work.stopped {
            log(cluster, id, "start container on target node");
            restart(cluster, id, &work.target, work.vmid);
        }
    }
    let text = format!("migration finished successfully (duration {})", duration(cluster, work));
    log(cluster, id, &text);
    Ok(())
}

/// A migration that is stopped leaves the guest where it was, without its lock.
pub(in crate::sim) fn abort(cluster: &mut Cluster, id: usize, work: &Work) -> String {
    log(cluster, id, "ERROR: received interrupt - delayed");
    undo(cluster, id, work);
    aborted(cluster, id, work, "interrupted by signal")
}
