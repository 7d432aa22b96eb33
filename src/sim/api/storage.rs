//! Storages and what is on them.

use serde_json::{Value, json};

use super::rows;
use crate::pve::value::{GuestKind, Size, split_list};
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::route::Call;
use crate::sim::task::Work;
use crate::sim::volume::{Family, Volume, format_of, owner};
use crate::sim::world::StorageSpec;

/// The path below which a storage of files keeps them.
fn directory(spec: &StorageSpec) -> &str {
    spec.options.get("path").map_or("/mnt", String::as_str)
}

fn may_see(cluster: &Cluster, call: &Call, storage: &str, privileges: &[&str]) -> bool {
    let path = format!("/storage/{storage}");
    cluster.check_for(&call.subject, &path).any(&path, privileges)
}

fn figures(cluster: &Cluster, spec: &StorageSpec, node: &str) -> Value {
    let enabled = cluster.storages.on_node(&spec.name, node);
    let (used, total) =
        if enabled { (cluster.storages.used(&spec.name, node), spec.capacity_gib * Size::GIB) } else { (0, 0) };
    json!({
        "active": u8::from(enabled), "avail": total.saturating_sub(used), "content": spec.content.join(","),
        "enabled": u8::from(enabled), "shared": u8::from(spec.shared), "total": total, "type": spec.kind,
        "used": used,
    })
}

pub(in crate::sim) fn node_storages(cluster: &mut Cluster, call: &Call) -> Outcome {
    let on = |spec: &StorageSpec, node: &str| spec.nodes.is_empty() || spec.nodes.iter().any(|name| name == node);
    let mut list = Vec::new();
    for spec in &cluster.storages.specs {
        let enabled = cluster.storages.on_node(&spec.name, &call.node);
        let fits = call.get("storage").is_none_or(|name| name == spec.name)
            && call
                .get("content")
                .is_none_or(|wanted| enabled && split_list(wanted).any(|kind| spec.content.iter().any(|c| c == kind)));
        let disabled = spec.options.get("disable").is_some_and(|flag| flag == "1");
        // A target that is this node itself asks for nothing more.
        let reaches = call
            .get("target")
            .filter(|node| *node != call.node)
            .is_none_or(|node| spec.shared && on(spec, &call.node) && on(spec, node));
        if fits
            && reaches
            && !(call.flag("enabled") && disabled)
            && may_see(cluster, call, &spec.name, &["Datastore.Audit", "Datastore.AllocateSpace"])
        {
            let mut row = figures(cluster, spec, &call.node);
            row["storage"] = json!(spec.name);
            if let Some(total) = row["total"].as_u64().filter(|total| *total > 0) {
                #[expect(clippy::cast_precision_loss, reason = "a fraction for people to read")]
                let fraction = row["used"].as_u64().unwrap_or(0) as f64 / total as f64;
                row["used_fraction"] = json!(fraction);
            }
            list.push(row);
        }
    }
    Ok(rows(list))
}

/// The storage of the path, where this node has it.
fn here<'a>(cluster: &'a Cluster, call: &Call) -> Result<&'a StorageSpec, Failure> {
    cluster.storages.find_on(call.get("storage").unwrap_or_default(), &call.node)
}

pub(in crate::sim) fn storage_status(cluster: &mut Cluster, call: &Call) -> Outcome {
    let spec = cluster.storages.find(call.get("storage").unwrap_or_default());
    let spec = spec.map_err(|_| Failure::parameter("storage", "No such storage."))?;
    Ok(Answer::from(figures(cluster, spec, &call.node)))
}

/// What kind of content a file is, and its format.
fn kind_of(cluster: &Cluster, name: &str) -> (&'static str, String) {
    let extension = |name: &str| {
        if let Some(rest) = name.strip_suffix(".tar.xz").map(|_| "txz") {
            return rest.to_owned();
        }
        if name.ends_with(".tar.zst") {
            return "tzst".to_owned();
        }
        if name.ends_with(".tar.gz") {
            return "tgz".to_owned();
        }
        name.rsplit_once('.').map_or("raw", |(_, extension)| extension).to_owned()
    };
    match name.split('/').next().unwrap_or_default() {
        "iso" => ("iso", extension(name)),
        "vztmpl" => ("vztmpl", extension(name)),
        "snippets" => ("snippets", "snippet".to_owned()),
        "backup" => ("backup", extension(name)),
        "import" => ("import", extension(name)),
        _ => {
            let kind = owner(name).and_then(|vmid| cluster.guests.get(&vmid)).map(crate::sim::guest::Guest::kind);
            let content = if kind == Some(GuestKind::Lxc) { "rootdir" } else { "images" };
            (content, format_of(name).to_owned())
        }
    }
}

pub(in crate::sim) fn storage_content(cluster: &mut Cluster, call: &Call) -> Outcome {
    let spec = here(cluster, call)?;
    let is_files = cluster.storages.family(&spec.name) == Family::Files;
    let mut list = Vec::new();
    for (name, volume) in cluster.storages.on(&spec.name, &call.node) {
        let (content, format) = kind_of(cluster, name);
        let vmid = owner(name);
        let path = format!("/vms/{}", vmid.unwrap_or(0));
        let check = cluster.check_guest(&call.subject, vmid.unwrap_or(0));
        let storage = format!("/storage/{}", spec.name);
        if !check.any(&path, &["VM.Audit", "VM.Config.Disk"]) && !check.any(&storage, &["Datastore.Allocate"]) {
            continue;
        }
        let mut row = json!({
            "content": content, "ctime": volume.ctime, "format": format, "size": volume.size,
            "volid": format!("{}:{name}", spec.name),
        });
        if let Some(vmid) = vmid {
            row["vmid"] = json!(vmid);
        }
        if is_files {
            let parent = name
                .rsplit_once('/')
                .and_then(|(path, _)| path.rsplit_once('/'))
                .map(|(parent, _)| format!("../{parent}"));
            row["parent"] = json!(parent);
            row["used"] = json!(4096);
        }
        list.push(row);
    }
    for (name, size) in &spec.files {
        let (content, format) = kind_of(cluster, name);
        list.push(json!({
            "content": content, "ctime": cluster.spec.epoch, "format": format, "size": size,
            "volid": format!("{}:{name}", spec.name),
        }));
    }
    list.retain(|row| {
        let content = call.get("content").is_none_or(|wanted| row["content"] == json!(wanted));
        content && call.number("vmid").is_none_or(|vmid| row["vmid"] == json!(vmid))
    });
    Ok(rows(list))
}

pub(in crate::sim) fn content_create(cluster: &mut Cluster, call: &Call) -> Outcome {
    let storage = here(cluster, call)?.name.clone();
    let (filename, vmid) = (call.get("filename").unwrap_or_default(), call.number("vmid").unwrap_or(0));
    if !filename.starts_with(&format!("vm-{vmid}-")) && !filename.starts_with(&format!("subvol-{vmid}-")) {
        return Err(Failure::die(format!("illegal name '{filename}' - should be 'vm-{vmid}-*'")));
    }
    let size = call.get("size").unwrap_or_default();
    let factor = match size.bytes().last() {
        Some(b'G') => Size::GIB,
        Some(b'M') => Size::MIB,
        _ => Size::KIB,
    };
    let bytes = size.trim_end_matches(['G', 'M']).parse::<u64>().unwrap_or(0).saturating_mul(factor);
    let volid = match cluster.storages.family(&storage) {
        Family::Files => format!("{storage}:{vmid}/{filename}"),
        _ => format!("{storage}:{filename}"),
    };
    if cluster.storages.get(&volid, &call.node).is_some() {
        return Err(Failure::die(format!("disk image '{filename}' already exists")));
    }
    let ctime = cluster.unix_time();
    cluster.storages.insert(&volid, &call.node, Volume { size: bytes, ctime });
    Ok(Answer::from(json!(volid)))
}

/// The volume of the path: with its storage's name before it, or without.
fn volid(call: &Call) -> String {
    let (storage, volume) = (call.get("storage").unwrap_or_default(), call.get("volume").unwrap_or_default());
    if volume.contains(':') { volume.to_owned() } else { format!("{storage}:{volume}") }
}

pub(in crate::sim) fn content_read(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (spec, volid) = (here(cluster, call)?, volid(call));
    let size = cluster.storages.size_of(&volid, &call.node);
    let size = size.ok_or_else(|| Failure::die(format!("volume '{volid}' does not exist")))?;
    let name = volid.split_once(':').map_or("", |(_, name)| name);
    let path = match cluster.storages.family(&spec.name) {
        Family::Files if name.starts_with("iso/") => format!("{}/template/{name}", directory(spec)),
        Family::Files => format!("{}/images/{name}", directory(spec)),
        _ => format!("/dev/{}/{name}", spec.name),
    };
    Ok(Answer::from(json!({ "format": format_of(name), "path": path, "size": size, "used": size })))
}

pub(in crate::sim) fn content_delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (storage, volid) = (here(cluster, call)?.name.clone(), volid(call));
    let vmid = owner(&volid).unwrap_or(0);
    let (path, store) = (format!("/vms/{vmid}"), format!("/storage/{storage}"));
    let check = cluster.check_guest(&call.subject, vmid);
    if !check.any(&store, &["Datastore.Allocate"]) {
        check.need(&store, &["Datastore.AllocateSpace"])?;
        check.need(&path, &["VM.Config.Disk"])?;
    }
    if cluster.storages.is_in_use(&volid, &call.node) {
        return Err(Failure::die(format!("base volume '{}' is still in use by linked clones", volid)));
    }
    let id = if vmid == 0 {
        format!("{}@{storage}", volid.rsplit('/').next().unwrap_or(""))
    } else {
        format!("{vmid}@{storage}")
    };
    Ok(cluster.start_task(&call.subject, &call.node, "imgdel", &id, Work::RemoveVolume { volid }))
}
