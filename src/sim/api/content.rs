//! What is on a storage: listing, making, describing and removing volumes and files.

use serde_json::{Value, json};

use super::storage::here;
use super::{nothing, rows};
use crate::pve::value::{GuestKind, Size};
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::guest::Guest;
use crate::sim::route::Call;
use crate::sim::task::Work;
use crate::sim::volume::{Family, Volume, format_of, owner};

/// What kind of content a volume or file is, its format, and the guest that it is of.
fn kind_of(cluster: &Cluster, name: &str) -> (&'static str, String, Option<u32>) {
    let last = name.rsplit('/').next().unwrap_or(name);
    let archive = [("txz", ".tar.xz"), ("tzst", ".tar.zst"), ("tgz", ".tar.gz")];
    let packed = archive.iter().find(|(_, end)| last.ends_with(end)).map(|(short, _)| (*short).to_owned());
    let extension = || last.rsplit_once('.').map_or("raw", |(_, extension)| extension).to_owned();
    match name.split('/').next().unwrap_or_default() {
        "iso" => ("iso", "iso".to_owned(), None),
        "vztmpl" => ("vztmpl", packed.unwrap_or_else(extension), None),
        "snippets" => ("snippets", "snippet".to_owned(), None),
        "import" => ("import", extension(), None),
        "backup" => {
            let format = last.split_once('.').map_or("", |(_, format)| format).to_owned();
            let vmid = last.split('-').nth(2).and_then(|text| text.parse().ok());
            ("backup", format, vmid)
        }
        _ => {
            let vmid = owner(name);
            let kind = vmid.and_then(|vmid| cluster.guests.get(&vmid)).map(Guest::kind);
            let subvolume = format_of(name) == "subvol";
            let content = if kind == Some(GuestKind::Lxc) || subvolume { "rootdir" } else { "images" };
            (content, format_of(name).to_owned(), vmid)
        }
    }
}

/// Refuses where the caller may not read a volume.
pub(in crate::sim) fn check_access(
    cluster: &Cluster,
    call: &Call,
    vmid: Option<u32>,
    volid: &str,
) -> Result<(), Failure> {
    let (storage, name) = volid.split_once(':').unwrap_or((volid, ""));
    let (content, _, of) = kind_of(cluster, name);
    let store = format!("/storage/{storage}");
    let check = cluster.check_for(&call.subject, &store);
    if check.any(&store, &["Datastore.Allocate"]) {
        return Ok(());
    }
    let guest = format!("/vms/{}", of.unwrap_or(0));
    let by_guest = cluster.check_guest(&call.subject, of.unwrap_or(0));
    match (content, of) {
        ("iso" | "vztmpl" | "import", _) => {
            if check.any(&store, &["Datastore.AllocateSpace", "Datastore.Audit"]) {
                return Ok(());
            }
            Err(Failure::privilege(&store, "Datastore.AllocateSpace|Datastore.Audit"))
        }
        (_, Some(of)) if vmid == Some(of) => Ok(()),
        ("backup", Some(_)) => {
            check.need(&store, &["Datastore.AllocateSpace"])?;
            by_guest.need(&guest, &["VM.Backup"])
        }
        ("images" | "rootdir", Some(_)) => {
            check.need(&store, &["Datastore.Audit"])?;
            by_guest.need(&guest, &["VM.Config.Disk"])
        }
        _ => Err(Failure::die(format!("missing privileges to access {volid}"))),
    }
}

pub(in crate::sim) fn storage_content(cluster: &mut Cluster, call: &Call) -> Outcome {
    let spec = here(cluster, call)?;
    let is_files = cluster.storages.family(&spec.name) == Family::Files;
    let mut list = Vec::new();
    for (name, volume) in cluster.storages.on(&spec.name, &call.node) {
        let (content, format, vmid) = kind_of(cluster, name);
        let volid = format!("{}:{name}", spec.name);
        let wanted = call.get("content").is_none_or(|wanted| content == wanted)
            && call.number("vmid").is_none_or(|wanted| vmid.map(u64::from) == Some(wanted));
        if !wanted || check_access(cluster, call, None, &volid).is_err() {
            continue;
        }
        let mut row = json!({
            "content": content, "ctime": volume.ctime, "format": format, "size": volume.size, "volid": volid,
        });
        if let Some(vmid) = vmid {
            row["vmid"] = json!(vmid);
        }
        if is_files && matches!(content, "images" | "rootdir") {
            let parent = name
                .rsplit_once('/')
                .and_then(|(path, _)| path.rsplit_once('/'))
                .map(|(parent, _)| format!("../{parent}"));
            row["parent"] = json!(parent);
            row["used"] = json!(4096);
        }
        if content == "backup" {
            let kind = if name.contains("vzdump-lxc-") { "lxc" } else { "qemu" };
            row["subtype"] = json!(kind);
            if volume.protected {
                row["protected"] = json!(1);
            }
        }
        if let Some(notes) = &volume.notes {
            row["notes"] = json!(notes);
        }
        list.push(row);
    }
    Ok(rows(list))
}

pub(in crate::sim) fn content_create(cluster: &mut Cluster, call: &Call) -> Outcome {
    let storage = here(cluster, call)?.name.clone();
    let (name, vmid) = (call.get("filename").unwrap_or_default(), call.number("vmid").unwrap_or(0));
    let size = call.get("size").unwrap_or_default();
    let factor = match size.bytes().last() {
        Some(b'G') => Size::GIB,
        Some(b'M') => Size::MIB,
        _ => Size::KIB,
    };
    let bytes = size.trim_end_matches(['G', 'M']).parse::<u64>().unwrap_or(0).saturating_mul(factor);
    let named = name.rsplit_once('.').map(|(_, end)| end).filter(|end| matches!(*end, "raw" | "qcow2" | "vmdk"));
    if let (Some(named), Some(format)) = (named, call.get("format"))
        && named != format
    {
        return Err(Failure::parameter("format", format!("different storage formats ({format} != {named})")));
    }
    let format = named.or(call.get("format")).unwrap_or("raw");
    let family = cluster.storages.family(&storage);
    if family == Family::Files {
        if named != Some(format) && format != "subvol" {
            let text = format!(
                "illegal name '{name}' - wrong extension for format ('{}' != '{format}')",
                named.unwrap_or("raw")
            );
            return Err(Failure::die(if named.is_none() {
                format!("unable to parse volume filename '{name}'")
            } else {
                text
            }));
        }
        if owner(name).map(u64::from) != Some(vmid) && !name.starts_with("vm-") {
            return Err(Failure::die(format!("illegal name '{name}' - should be 'vm-{vmid}-*'")));
        }
    } else {
        let (prefix, wanted) = if format == "subvol" { ("subvol", "subvol") } else { ("vm", "vm") };
        if !name.starts_with(&format!("{prefix}-{vmid}-")) {
            return Err(Failure::die(format!("illegal name '{name}' - should be '{wanted}-{vmid}-*'")));
        }
        if format != "raw" && format != "subvol" {
            return Err(Failure::die(format!("unsupported format '{format}'")));
        }
    }
    let volid = match family {
        Family::Files => format!("{storage}:{vmid}/{name}"),
        _ => format!("{storage}:{name}"),
    };
    if cluster.storages.get(&volid, &call.node).is_some() {
        return Err(Failure::die(match family {
            Family::Files => format!("disk image '{}' already exists", cluster.storages.path(&volid)),
            Family::Zfs => {
                format!("zfs error: cannot create 'rpool/{storage}/{name}': dataset already exists")
            }
            _ => {
                format!("lvcreate '{storage}/{name}' error:   Logical Volume \"{name}\" already exists in volume group")
            }
        }));
    }
    let ctime = cluster.unix_time();
    cluster.storages.make(&volid, &call.node, Volume::new(bytes, ctime))?;
    Ok(Answer::from(json!(volid)))
}

/// The volume of the path: with its storage's name before it, or without.
fn volid(call: &Call) -> Result<String, Failure> {
    let (storage, volume) = (call.get("storage").unwrap_or_default(), call.get("volume").unwrap_or_default());
    match volume.split_once(':') {
        Some((own, _)) if own != storage => {
            Err(Failure::parameter("volume", format!("storage ID mismatch ({own} != {storage})\n")))
        }
        Some(_) => Ok(volume.to_owned()),
        None => Ok(format!("{storage}:{volume}")),
    }
}

pub(in crate::sim) fn content_read(cluster: &mut Cluster, call: &Call) -> Outcome {
    here(cluster, call)?;
    let volid = volid(call)?;
    check_access(cluster, call, None, &volid)?;
    let name = volid.split_once(':').map_or("", |(_, name)| name);
    let (content, format, _) = kind_of(cluster, name);
    let volume = cluster.storages.get(&volid, &call.node);
    let volume = volume.ok_or_else(|| Failure::die(format!("volume '{volid}' does not exist")))?;
    let path = cluster.storages.path(&volid);
    let mut row = json!({ "format": format, "path": path, "size": volume.size, "used": volume.size });
    if content == "backup" {
        row["protected"] = json!(u8::from(volume.protected));
    }
    if let Some(notes) = &volume.notes {
        row["notes"] = json!(notes);
    }
    Ok(Answer::from(row))
}

pub(in crate::sim) fn content_update(cluster: &mut Cluster, call: &Call) -> Outcome {
    let kind = here(cluster, call)?.kind.clone();
    let volid = volid(call)?;
    check_access(cluster, call, None, &volid)?;
    let name = volid.split_once(':').map_or("", |(_, name)| name);
    let (content, ..) = kind_of(cluster, name);
    let files = cluster.storages.family(call.get("storage").unwrap_or_default()) == Family::Files;
    let (notes, protected) = (call.get("notes").map(str::to_owned), call.get("protected").map(|value| value == "1"));
    for attribute in ["notes", "protected"].into_iter().filter(|name| call.get(name).is_some()) {
        if !files {
            let text = match attribute {
                "notes" => format!("volume notes are not supported for {kind}"),
                _ => format!("attribute '{attribute}' is not supported for storage type '{kind}'"),
            };
            return Err(Failure::die(text));
        }
        if content != "backup" {
            return Err(Failure::die(format!("only backups support attribute '{attribute}'")));
        }
    }
    let volume = cluster.storages.get_mut(&volid, &call.node);
    let volume = volume.ok_or_else(|| Failure::die(format!("volume '{volid}' does not exist")))?;
    if let Some(notes) = notes {
        volume.notes = (!notes.is_empty()).then_some(notes);
    }
    if let Some(protected) = protected {
        volume.protected = protected;
    }
    Ok(nothing())
}

pub(in crate::sim) fn content_delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (storage, volid) = (here(cluster, call)?.name.clone(), volid(call)?);
    let name = volid.split_once(':').map_or("", |(_, name)| name);
    let (content, _, vmid) = kind_of(cluster, name);
    let (path, store) = (format!("/vms/{}", vmid.unwrap_or(0)), format!("/storage/{storage}"));
    let check = cluster.check_guest(&call.subject, vmid.unwrap_or(0));
    if content == "backup" && vmid.is_some() {
        check.need(&store, &["Datastore.AllocateSpace"])?;
        check.need(&path, &["VM.Backup"])?;
    } else {
        check.need(&store, &["Datastore.Allocate"])?;
    }
    let id = vmid.map_or_else(|| storage.clone(), |vmid| format!("{vmid}@{storage}"));
    let begun = cluster.clock;
    let task = cluster.tasks.len();
    let mut answer = cluster.start_task(&call.subject, &call.node, "imgdel", &id, Work::RemoveVolume { volid });
    // A caller who waits is told nothing where it went well in time.
    if let Some(delay) = call.number("delay") {
        cluster.advance(begun + delay * 1000);
        let task = &cluster.tasks[task];
        if !task.is_running() {
            if task.exit != "OK" {
                return Err(Failure::DieAfter(1000, task.exit.clone()));
            }
            answer.data = Value::Null;
        }
        answer.delay = delay * 1000;
    }
    Ok(answer)
}

/// What the task of a removal does.
pub(in crate::sim) fn remove(cluster: &mut Cluster, task: usize, volid: &str) -> Result<(), String> {
    let node = cluster.tasks[task].node.clone();
    let (storage, name) = volid.split_once(':').unwrap_or((volid, ""));
    if cluster.storages.is_in_use(volid, &node) {
        return Err(format!("base volume '{name}' is still in use by linked clones"));
    }
    if cluster.storages.get(volid, &node).is_some_and(|volume| volume.protected) {
        return Err(format!("cannot remove protected volume '{name}' on '{storage}'"));
    }
    if cluster.storages.remove(volid, &node).is_none() {
        let path = cluster.storages.path(volid);
        match cluster.storages.family(storage) {
            Family::Files => cluster.log(task, format!("disk image '{path}' does not exist")),
            Family::Zfs => {}
            _ => {
                let volume = path.trim_start_matches("/dev/").to_owned();
                return Err(format!("lvremove '{volume}' error:   Failed to find logical volume \"{volume}\""));
            }
        }
    }
    cluster.log(task, format!("Removed volume '{volid}'"));
    Ok(())
}
