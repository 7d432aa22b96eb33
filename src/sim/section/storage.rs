//! Definitions of storages: what each type has, and how they are made, changed and removed.

use serde_json::{Map, Value, json};

use super::{Kind, Layout, Section, Sections, Values, below};
use crate::pve::value::split_list;
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::api::nothing;
use crate::sim::cluster::Cluster;
use crate::sim::route::{Call, unsupported};
use crate::sim::world::StorageSpec;

/// The types. Which of them and of their properties a release has is in its description of the call.
static LAYOUT: Layout = Layout {
    file: "storage.cfg",
    bare: false,
    kinds: &[
        Kind {
            name: "dir",
            properties: "path! content-dirs nodes shared# disable# maxfiles# prune-backups max-protected-backups# \
                content format mkdir# create-base-path# create-subdirs# is_mountpoint bwlimit preallocation \
                snapshot-as-volume-chain~#",
        },
        Kind {
            name: "nfs",
            properties: "path! content-dirs server! export! nodes disable# maxfiles# prune-backups \
                max-protected-backups# options content format mkdir# create-base-path# create-subdirs# bwlimit \
                preallocation snapshot-as-volume-chain~#",
        },
        Kind {
            name: "cifs",
            properties: "path! content-dirs server! share! subdir nodes disable# maxfiles# prune-backups \
                max-protected-backups# content format username password domain smbversion mkdir# create-base-path# \
                create-subdirs# bwlimit preallocation options snapshot-as-volume-chain~#",
        },
        Kind {
            name: "lvm",
            properties: "vgname! nodes shared# disable# saferemove# saferemove-stepsize# saferemove_throughput \
                content base~ tagged_only# bwlimit snapshot-as-volume-chain#",
        },
        Kind { name: "lvmthin", properties: "thinpool! vgname! nodes disable# content bwlimit" },
        Kind { name: "zfspool", properties: "pool! blocksize sparse# nodes disable# content bwlimit mountpoint" },
        Kind {
            name: "rbd",
            properties: "nodes disable# monhost pool data-pool namespace username content krbd# keyring bwlimit",
        },
        Kind {
            name: "cephfs",
            properties: "path! content-dirs monhost nodes subdir disable# options username content format mkdir# \
                create-base-path# create-subdirs# fuse# bwlimit maxfiles# keyring prune-backups \
                max-protected-backups# fs-name",
        },
        Kind {
            name: "btrfs",
            properties: "path! nodes shared# disable# maxfiles# prune-backups max-protected-backups# content format \
                is_mountpoint nocow# mkdir# create-base-path# create-subdirs# preallocation",
        },
        Kind {
            name: "pbs",
            properties: "server! datastore! namespace port# nodes disable# content username password encryption-key \
                master-pubkey maxfiles# prune-backups max-protected-backups# fingerprint",
        },
        Kind { name: "iscsi", properties: "portal! target! nodes disable# content bwlimit" },
        Kind { name: "iscsidirect", properties: "portal! target! nodes disable# content bwlimit" },
        Kind {
            name: "esxi",
            properties: "nodes shared# disable# content server+ username+ password skip-cert-verification# port#",
        },
        Kind {
            name: "zfs",
            properties: "nodes disable# portal! target! pool! blocksize! iscsiprovider! nowritecache# sparse# \
                comstar_hg comstar_tg lio_tpg content bwlimit zfs-base-path",
        },
        Kind {
            name: "glusterfs",
            properties: "path! server server2 volume! transport nodes disable# maxfiles# prune-backups \
                max-protected-backups# content format mkdir# create-base-path# create-subdirs# bwlimit preallocation",
        },
    ],
};

/// What is kept in a file of its own and never shown.
const SECRET: &[&str] = &["password", "keyring", "encryption-key", "master-pubkey"];

/// What a type may hold, and what it holds where nothing is said.
fn contents(kind: &str) -> (&'static [&'static str], &'static str) {
    const FILES: &[&str] = &["images", "rootdir", "vztmpl", "iso", "backup", "snippets", "import"];
    const LOCAL: &[&str] = &["images", "rootdir", "vztmpl", "iso", "backup", "snippets", "import", "none"];
    match kind {
        "dir" | "btrfs" => (LOCAL, "images,rootdir"),
        "nfs" | "cifs" => (FILES, "images"),
        "glusterfs" => (&["images", "vztmpl", "iso", "backup", "snippets", "import"], "images"),
        "cephfs" => (&["vztmpl", "iso", "backup", "snippets", "import"], "backup"),
        "lvm" | "rbd" => (&["images", "rootdir"], "images"),
        "lvmthin" | "zfspool" => (&["images", "rootdir"], "images,rootdir"),
        "iscsi" | "iscsidirect" => (&["images", "none"], "images"),
        "esxi" => (&["import"], "import"),
        "pbs" => (&["backup", "none"], "backup"),
        _ => (&["images"], "images"),
    }
}

/// True for a type of which every node sees the same by nature.
fn is_shared_by_nature(kind: &str) -> bool {
    matches!(kind, "iscsi" | "nfs" | "cifs" | "rbd" | "cephfs" | "iscsidirect" | "zfs" | "pbs" | "glusterfs")
}

/// Puts what every storage of its type has into one that a world names shortly.
pub(in crate::sim) fn complete(mut spec: StorageSpec) -> StorageSpec {
    let name = spec.name.clone();
    let mut default = |option: &str, value: String| {
        spec.options.entry(option.to_owned()).or_insert(value);
    };
    match spec.kind.as_str() {
        "lvm" => default("vgname", name),
        "lvmthin" => {
            default("thinpool", "data".to_owned());
            default("vgname", "pve".to_owned());
        }
        "zfspool" => default("pool", format!("rpool/{name}")),
        "rbd" => default("pool", name),
        "nfs" => {
            default("path", format!("/mnt/pve/{name}"));
            default("export", "/export".to_owned());
            default("server", "192.0.2.200".to_owned());
        }
        "dir" | "btrfs" if name == "local" => default("path", "/var/lib/vz".to_owned()),
        "dir" | "btrfs" => default("path", format!("/var/lib/{name}")),
        "cifs" | "cephfs" | "glusterfs" => default("path", format!("/mnt/pve/{name}")),
        _ => {}
    }
    spec
}

fn values(spec: &StorageSpec) -> Values {
    let mut values = spec.options.clone();
    let content = if spec.content.is_empty() { "none".to_owned() } else { spec.content.join(",") };
    values.insert("content".to_owned(), content);
    if !spec.nodes.is_empty() {
        values.insert("nodes".to_owned(), spec.nodes.join(","));
    }
    if spec.shared && !is_shared_by_nature(&spec.kind) {
        values.insert("shared".to_owned(), "1".to_owned());
    }
    values
}

fn digest(cluster: &Cluster) -> String {
    let section = |spec: &StorageSpec| {
        let kind = LAYOUT.kind(&spec.kind).ok()?;
        Some(Section { id: spec.name.clone(), kind, values: values(spec) })
    };
    Sections { layout: &LAYOUT, list: cluster.storages.specs.iter().filter_map(section).collect() }.digest()
}

/// A definition as it stands in an answer.
fn definition(cluster: &Cluster, spec: &StorageSpec) -> Value {
    let values = values(spec);
    let mut object = LAYOUT.kind(&spec.kind).map_or_else(|_| Map::new(), |kind| kind.json(&values));
    object.insert("digest".to_owned(), json!(digest(cluster)));
    object.insert("storage".to_owned(), json!(spec.name));
    object.insert("type".to_owned(), json!(spec.kind));
    if is_shared_by_nature(&spec.kind) {
        object.insert("shared".to_owned(), json!(1));
    }
    Value::Object(object)
}

/// `GET /storage`.
pub(in crate::sim) fn list(cluster: &mut Cluster, call: &Call) -> Outcome {
    let seen = |spec: &&StorageSpec| {
        let path = format!("/storage/{}", spec.name);
        let wanted = call.get("type").is_none_or(|kind| kind == spec.kind);
        wanted && cluster.check_for(&call.subject, &path).any(&path, &["Datastore.Audit", "Datastore.AllocateSpace"])
    };
    let rows: Vec<Value> = cluster.storages.specs.iter().filter(seen).map(|spec| definition(cluster, spec)).collect();
    Ok(Answer::from(json!(rows)))
}

/// `GET /storage/{storage}`.
pub(in crate::sim) fn read(cluster: &mut Cluster, call: &Call) -> Outcome {
    let spec = cluster.storages.find(call.get("storage").unwrap_or_default())?;
    Ok(Answer::from(definition(cluster, spec)))
}

/// Takes properties over into a definition.
fn apply(spec: &mut StorageSpec, values: Values) -> Result<(), Failure> {
    for (name, value) in values {
        match name.as_str() {
            "content" => {
                let (known, _) = contents(&spec.kind);
                // What a type cannot hold is dropped with a warning in a log that no call shows.
                let mut kinds: Vec<String> =
                    split_list(&value).filter(|kind| known.contains(kind)).map(str::to_owned).collect();
                kinds.sort();
                kinds.dedup();
                if kinds.len() > 1 && kinds.iter().any(|kind| kind == "none") {
                    return Err(Failure::die("unable to combine 'none' with other content types"));
                }
                if kinds.is_empty() && !known.contains(&"none") {
                    return Err(Failure::die("storage does not support content type 'none'"));
                }
                kinds.retain(|kind| kind != "none");
                spec.content = kinds;
            }
            "nodes" => spec.nodes = split_list(&value).map(str::to_owned).collect(),
            "shared" => spec.shared = value == "1",
            _ if SECRET.contains(&name.as_str()) => {}
            // The file can only say that it is.
            "disable" if value == "0" => drop(spec.options.remove("disable")),
            _ => drop(spec.options.insert(name, value)),
        }
    }
    Ok(())
}

/// What a storage of Proxmox Backup Server shows of its key: the fingerprint that stands in it.
fn key_fingerprint(key: &str) -> Result<String, Failure> {
    if key == "autogen" {
        return unsupported();
    }
    let decoded: Value = serde_json::from_str(key).unwrap_or(Value::Null);
    if decoded.get("data").is_none() {
        return Err(Failure::die("Value does not seems like a valid, JSON formatted encryption key!"));
    }
    Ok(decoded["fingerprint"].as_str().unwrap_or("1").to_owned())
}

/// Keeps what is shown of the secret properties; what the answer says of them.
fn keep_secrets(spec: &mut StorageSpec, call: &Call) -> Result<Option<Value>, Failure> {
    if spec.kind != "pbs" {
        return Ok(None);
    }
    let mut shown = Map::new();
    if let Some(key) = call.get("encryption-key") {
        spec.options.insert("encryption-key".to_owned(), key_fingerprint(key)?);
        shown.insert("encryption-key".to_owned(), json!(key));
    }
    if call.get("master-pubkey").is_some() {
        if !spec.options.contains_key("encryption-key") {
            return Err(Failure::die("'master-pubkey' can only be used together with 'encryption-key'"));
        }
        spec.options.insert("master-pubkey".to_owned(), "1".to_owned());
    }
    Ok(Some(Value::Object(shown)))
}

fn answer(spec: &StorageSpec, config: Option<Value>) -> Answer {
    let mut object = json!({ "storage": spec.name, "type": spec.kind });
    if let Some(config) = config {
        object["config"] = config;
    }
    Answer::from(object)
}

/// `POST /storage`. What the storage points at is taken to be there.
pub(in crate::sim) fn create(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (name, kind) = (call.get("storage").unwrap_or_default(), LAYOUT.kind(call.get("type").unwrap_or_default())?);
    let mut given = given(call);
    if given.get("nodes").is_some_and(String::is_empty) {
        given.remove("nodes");
    }
    if kind.knows("path") && !matches!(kind.name, "dir" | "btrfs") {
        given.entry("path".to_owned()).or_insert_with(|| format!("/mnt/pve/{name}"));
    }
    kind.check(&given, true)?;
    if let Some(path) = given.get_mut("path") {
        let fits = path.starts_with('/') && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-/_.@".contains(&b));
        if !fits || path.len() < 2 {
            return Err(Failure::die(format!("illegal path for directory storage: {path}")));
        }
        *path = format!("/{}", path.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/"));
    }
    let mut spec = StorageSpec {
        name: name.to_owned(),
        kind: kind.name.to_owned(),
        shared: is_shared_by_nature(kind.name),
        content: split_list(contents(kind.name).1).map(str::to_owned).collect(),
        ..StorageSpec::default()
    };
    apply(&mut spec, given)?;
    let failed = |failure| below("create storage failed", failure);
    if cluster.storages.find(name).is_ok() {
        return Err(failed(Failure::die(format!("storage ID '{name}' already defined"))));
    }
    if kind.name == "esxi" && call.get("password").is_none() {
        return Err(failed(Failure::die("missing password")));
    }
    let config = keep_secrets(&mut spec, call).map_err(failed)?;
    let answer = answer(&spec, config);
    cluster.storages.define(spec);
    Ok(answer)
}

/// The properties of the storage among the parameters.
fn given(call: &Call) -> Values {
    let own = |name: &str| !matches!(name, "storage" | "type" | "digest" | "delete");
    call.params.iter().filter(|(name, _)| own(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// `PUT /storage/{storage}`.
pub(in crate::sim) fn update(cluster: &mut Cluster, call: &Call) -> Outcome {
    change(cluster, call).map_err(|failure| below("update storage failed", failure))
}

fn change(cluster: &mut Cluster, call: &Call) -> Outcome {
    super::check_digest(call.get("digest"), || digest(cluster))?;
    let name = call.get("storage").unwrap_or_default();
    let mut spec = cluster.storages.find(name)?.clone();
    let (kind, given, delete) = (LAYOUT.kind(&spec.kind)?, given(call), call.get("delete").unwrap_or_default());
    kind.check(&given, false)?;
    kind.check_delete(delete, &given)?;
    let config = keep_secrets(&mut spec, call)?;
    for name in split_list(delete) {
        match name {
            "content" => spec.content = split_list(contents(kind.name).1).map(str::to_owned).collect(),
            "nodes" => spec.nodes.clear(),
            "shared" => spec.shared = false,
            name => drop(spec.options.remove(name)),
        }
    }
    apply(&mut spec, given)?;
    let answer = answer(&spec, config);
    cluster.storages.redefine(spec);
    Ok(answer)
}

/// `DELETE /storage/{storage}`: the definition goes, what is on the storage stays.
pub(in crate::sim) fn delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    let name = call.get("storage").unwrap_or_default();
    let failed = |failure| below("delete storage failed", failure);
    cluster.storages.find(name).map_err(failed)?;
    let base = format!("{name}:");
    let is_base = |spec: &StorageSpec| spec.options.get("base").is_some_and(|volume| volume.starts_with(&base));
    if cluster.storages.specs.iter().any(is_base) {
        return Err(failed(Failure::die("can't remove storage - storage is used as base of another storage")));
    }
    cluster.storages.undefine(name);
    Ok(nothing())
}
