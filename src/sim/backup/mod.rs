//! Backups: making them, and making guests of them.

mod restore;

pub(super) use restore::{restore_container, restore_vm};

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::answer::{Answer, Failure, Outcome};
use super::calendar;
use super::cluster::Cluster;
use super::config::Config;
use super::guest::{is_drive, is_mount, is_unused, sub_key, volume_of};
use super::route::{Call, unsupported};
use super::task;
use super::volume::{Archive, Volume};
use crate::pve::value::{GuestKind, Size, split_list};

/// What a task does with backups.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) enum Work {
    /// Backs guests up.
    Dump(Dump),
    /// Makes a guest of a backup.
    Restore(Box<restore::Plan>),
}

/// Which guests, where to, and what is written about it.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Dump {
    vmids: Vec<u32>,
    storage: String,
    compress: String,
    mode: String,
    notes: Option<String>,
    protected: bool,
    /// The locks that were set by this worker.
    marked: Vec<u32>,
}

/// Parameters that mean something here; one that is given beside them is refused.
const KNOWN: &[&str] = &[
    "vmid",
    "all",
    "pool",
    "exclude",
    "storage",
    "compress",
    "mode",
    "notes-template",
    "protected",
    "remove",
    "prune-backups",
    "quiet",
    "zstd",
    "bwlimit",
    "ionice",
    "pigz",
    "lockwait",
    "stopwait",
    "mailto",
    "mailnotification",
    "notification-mode",
    "fleecing",
    "performance",
    "job-id",
    "node",
];

/// The storages on which a worker makes volumes of guests, once for each.
pub(super) fn made_on(cluster: &Cluster, work: &Work) -> Vec<String> {
    match work {
        Work::Dump(_) => Vec::new(),
        Work::Restore(plan) => plan.made_on(cluster),
    }
}

pub(super) fn vzdump(cluster: &mut Cluster, call: &Call) -> Outcome {
    if call.params.keys().any(|name| !KNOWN.contains(&name.as_str())) {
        return unsupported();
    }
    if call.get("bwlimit").is_some() || call.get("ionice").is_some() || call.get("performance").is_some() {
        cluster.check_for(&call.subject, "/").need("/", &["Sys.Modify"])?;
    }
    let selected = [call.get("vmid").is_some(), call.flag("all"), call.get("pool").is_some()];
    match selected.iter().filter(|given| **given).count() {
        0 => return Err(Failure::parameter("vmid", "property is missing and it is not optional")),
        1 => {}
        _ if selected[1] && selected[0] => {
            return Err(Failure::parameter("all", "option conflicts with option 'vmid'"));
        }
        _ => return Err(Failure::parameter("pool", "option conflicts with option 'vmid'")),
    }
    let excluded: Vec<u32> =
        split_list(call.get("exclude").unwrap_or_default()).filter_map(|id| id.parse().ok()).collect();
    let mut vmids: Vec<u32> = match (call.get("vmid"), call.get("pool")) {
        (Some(list), _) => split_list(list).filter_map(|id| id.parse().ok()).collect(),
        (None, Some(pool)) => match cluster.pools.get(pool) {
            Some(pool) => pool.guests.iter().copied().collect(),
            None => return Err(Failure::die(format!("no such pool '{pool}'"))),
        },
        (None, None) => cluster.guests.keys().copied().collect(),
    };
    // Guests that are elsewhere are no concern of this node; ids that nobody has fail here, visibly.
    vmids.retain(|vmid| {
        !excluded.contains(vmid) && cluster.guests.get(vmid).is_none_or(|guest| guest.node == call.node)
    });
    if vmids.is_empty() && !call.flag("all") {
        return Ok(Answer::from(json!("OK")));
    }
    let storage = call.get("storage").unwrap_or("local").to_owned();
    let path = format!("/storage/{storage}");
    cluster.check_for(&call.subject, &path).need(&path, &["Datastore.AllocateSpace"])?;
    let id = if let [vmid] = vmids[..] { vmid.to_string() } else { String::new() };
    let dump = Dump {
        vmids,
        storage,
        compress: call.get("compress").unwrap_or("0").to_owned(),
        mode: call.get("mode").unwrap_or("snapshot").to_owned(),
        notes: call.get("notes-template").map(str::to_owned),
        protected: call.flag("protected"),
        marked: Vec::new(),
    };
    Ok(cluster.start_task(&call.subject, &call.node, "vzdump", &id, task::Work::Backup(Work::Dump(dump))))
}

/// The guests whose lock files a work takes.
pub(super) fn locks(work: &Work) -> Vec<(u32, bool)> {
    match work {
        Work::Dump(_) => Vec::new(),
        Work::Restore(plan) => vec![(plan.vmid(), true)],
    }
}

pub(super) fn begin(cluster: &mut Cluster, task: usize, work: &mut Work) -> Result<u64, String> {
    match work {
        Work::Dump(dump) => begin_dump(cluster, task, dump),
        Work::Restore(plan) => restore::begin(cluster, task, plan),
    }
}

pub(super) fn finish(cluster: &mut Cluster, task: usize, work: Work) -> Result<(), String> {
    match work {
        Work::Dump(dump) => finish_dump(cluster, task, &dump),
        Work::Restore(plan) => restore::finish(cluster, task, *plan),
    }
}

pub(super) fn abort(cluster: &mut Cluster, task: usize, work: Work) -> String {
    match work {
        Work::Dump(dump) => {
            unmark(cluster, &dump.marked);
            "interrupted by signal".to_owned()
        }
        Work::Restore(plan) => restore::abort(cluster, task, &plan),
    }
}

fn begin_dump(cluster: &mut Cluster, task: usize, dump: &mut Dump) -> Result<u64, String> {
    let node = cluster.tasks[task].node.clone();
    let spec = cluster.storages.find_on(&dump.storage, &node);
    let spec = spec
        .map_err(|failure| format!("could not get storage information for '{}': {}", dump.storage, failure.text()))?;
    if !spec.content.iter().any(|kind| kind == "backup") {
        return Err(format!("can't use storage '{}' for backups - wrong content type", dump.storage));
    }
    let list: Vec<String> = dump.vmids.iter().map(u32::to_string).collect();
    cluster.log(task, format!("INFO: starting new backup job: vzdump {} --storage {}", list.join(" "), dump.storage));
    for vmid in dump.vmids.clone() {
        let Some(guest) = cluster.guests.get_mut(&vmid) else { continue };
        let mut config = guest.config.reread();
        if config.lock().is_some() {
            continue;
        }
        config.current.insert("lock".to_owned(), "backup".to_owned());
        guest.config = config;
        dump.marked.push(vmid);
    }
    Ok(cluster.spec.tasks.clone_full)
}

fn unmark(cluster: &mut Cluster, vmids: &[u32]) {
    for vmid in vmids {
        let Some(guest) = cluster.guests.get_mut(vmid) else { continue };
        let mut config = guest.config.reread();
        if config.lock() == Some("backup") {
            config.current.remove("lock");
            guest.config = config;
        }
    }
}

/// The file of a guest as a backup keeps it, with the sizes of the volumes that go into it.
fn archive(cluster: &Cluster, node: &str, kind: GuestKind, config: &Config) -> Archive {
    let mut kept = Config::new(kind);
    kept.raw.clone_from(&config.raw);
    kept.current.clone_from(&config.current);
    kept.current.remove("lock");
    kept.current.remove("parent");
    let mut sizes = BTreeMap::new();
    for (key, value) in &config.current {
        // Of a container only the root and what says so is backed up.
        let included = match kind {
            GuestKind::Qemu => {
                is_drive(key) && sub_key(value, "media") != Some("cdrom") && sub_key(value, "backup") != Some("0")
            }
            GuestKind::Lxc => key == "rootfs" || (is_mount(key) && sub_key(value, "backup") == Some("1")),
        };
        if let Some(size) =
            volume_of(value).filter(|_| included).and_then(|volid| cluster.storages.size_of(volid, node))
        {
            sizes.insert(key.clone(), size);
        }
    }
    kept.current.retain(|key, _| !is_unused(key));
    Archive { kind, config: kept.render(), sizes }
}

fn finish_dump(cluster: &mut Cluster, task: usize, dump: &Dump) -> Result<(), String> {
    let node = cluster.tasks[task].node.clone();
    let mut failed = 0;
    for vmid in &dump.vmids {
        let done = dump_one(cluster, task, &node, dump, *vmid);
        if let Err(text) = done {
            failed += 1;
            cluster.log(task, format!("ERROR: Backup of VM {vmid} failed - {text}"));
        }
    }
    unmark(cluster, &dump.marked);
    if failed > 0 {
        cluster.log(task, "INFO: Backup job finished with errors");
        return Err("job errors".to_owned());
    }
    cluster.log(task, "INFO: Backup job finished successfully");
    Ok(())
}

fn dump_one(cluster: &mut Cluster, task: usize, node: &str, dump: &Dump, vmid: u32) -> Result<(), String> {
    let Some(guest) = cluster.guests.get(&vmid).filter(|guest| guest.node == node) else {
        return Err(format!("unable to find VM '{vmid}'"));
    };
    if !dump.marked.contains(&vmid) {
        let what = if guest.kind() == GuestKind::Qemu { "VM" } else { "CT" };
        return Err(format!("{what} is locked ({})", guest.config.lock().unwrap_or_default()));
    }
    let (kind, config) = (guest.kind(), guest.config.reread());
    let segment = kind.segment();
    cluster.log(task, format!("INFO: Starting Backup of VM {vmid} ({segment})"));
    let now = cluster.unix_time();
    let begun = calendar::time(now);
    cluster.log(task, format!("INFO: Backup started at {begun}"));
    cluster.log(task, format!("INFO: backup mode: {}", dump.mode));
    let stamp = begun.replace('-', "_").replace(' ', "-").replace(':', "_");
    let packed = match dump.compress.as_str() {
        "zstd" => ".zst",
        "gzip" | "1" => ".gz",
        "lzo" => ".lzo",
        _ => "",
    };
    let kept = if kind == GuestKind::Qemu { "vma" } else { "tar" };
    let volid = format!("{}:backup/vzdump-{segment}-{vmid}-{stamp}.{kept}{packed}", dump.storage);
    let path = cluster.storages.path(&volid);
    cluster.log(task, format!("INFO: creating vzdump archive '{path}'"));
    let archive = archive(cluster, node, kind, &config);
    // Disks are a tenth full here.
    let size = archive.sizes.values().sum::<u64>() / 10;
    let name = config.current.get(if kind == GuestKind::Qemu { "name" } else { "hostname" });
    let notes = dump.notes.as_ref().map(|text| {
        let pairs = [
            ("{{guestname}}", name.cloned().unwrap_or_default()),
            ("{{vmid}}", vmid.to_string()),
            ("{{node}}", node.to_owned()),
            ("{{cluster}}", cluster.spec.name.clone()),
        ];
        pairs.iter().fold(text.clone(), |text, (pattern, value)| text.replace(pattern, value))
    });
    let mut volume = Volume::new(size, now);
    (volume.notes, volume.protected, volume.archive) = (notes, dump.protected, Some(Box::new(archive)));
    cluster.storages.make(&volid, node, volume).map_err(|failure| failure.text())?;
    cluster.log(task, format!("INFO: Finished Backup of VM {vmid} (00:00:01)"));
    cluster.log(task, format!("INFO: Backup finished at {begun}"));
    Ok(())
}

/// What a backup holds, as the interface shows it before a restore.
pub(super) fn extract_config(cluster: &mut Cluster, call: &Call) -> Outcome {
    let volid = call.get("volume").unwrap_or_default();
    super::api::check_access(cluster, call, None, volid)?;
    let volume = cluster.storages.get(volid, &call.node);
    let volume = volume.ok_or_else(|| Failure::die(format!("volume '{volid}' does not exist")))?;
    match &volume.archive {
        Some(archive) => Ok(Answer::from(json!(archive.config))),
        None => Err(Failure::die(format!("unable to extract configuration from '{volid}'"))),
    }
}

/// The defaults of backups.
pub(super) fn defaults(_: &mut Cluster, call: &Call) -> Outcome {
    Ok(Answer::from(match call.get("storage") {
        Some(storage) => json!({ "storage": storage }),
        None => Value::from_iter([("storage", "local")]),
    }))
}

/// A backup out of a guest's file, with the sizes that its disks say they have.
pub(super) fn parse(volid: &str, text: &str) -> Archive {
    let kind = if volid.contains("vzdump-lxc-") { GuestKind::Lxc } else { GuestKind::Qemu };
    let config = Config::parse(kind, text);
    let sizes = config
        .current
        .iter()
        .filter(|(key, value)| (is_drive(key) && sub_key(value, "media") != Some("cdrom")) || is_mount(key))
        // A VM's disk that says so is not in its backups.
        .filter(|(key, value)| kind == GuestKind::Lxc || !is_drive(key) || sub_key(value, "backup") != Some("0"));
    let sizes =
        sizes.filter_map(|(key, value)| Some((key.clone(), Size::parse_proxmox(sub_key(value, "size")?)?.0))).collect();
    Archive { kind, config: text.to_owned(), sizes }
}
