//! Rows of Proxmox's lists, read leniently: a number may come as text and the other way round, a field may be
//! `null`, and a bad row is left out without failing its list.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::live::{HaRule, Identity, LiveStorage, Power, TagRules};
use crate::pve::ha;
use crate::pve::value::{GuestKind, Vmid, parse_boolean, parse_tags, split_list};

/// A scalar as text: `2`, `"2"` and `true` become `2`, `2` and `1`.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(u8::from(*flag).to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

pub(super) fn field(row: &Value, name: &str) -> Option<String> {
    text(row.get(name)?)
}

fn filled(row: &Value, name: &str) -> Option<String> {
    field(row, name).filter(|text| !text.is_empty())
}

pub(super) fn flag(row: &Value, name: &str) -> Option<bool> {
    parse_boolean(&field(row, name)?)
}

fn vmid(row: &Value) -> Option<Vmid> {
    field(row, "vmid")?.parse().ok()
}

/// The options in an answer of `config`; nothing where it is none.
pub(super) fn options(answer: &Value) -> Option<BTreeMap<String, String>> {
    let options = answer.as_object()?.iter();
    Some(options.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect())
}

/// The rows of a list; nothing where the answer is not a list.
pub(super) fn rows(answer: &Value) -> Option<&[Value]> {
    answer.as_array().map(Vec::as_slice)
}

/// What `/cluster/status` says.
#[derive(Debug, Default)]
pub(super) struct Status {
    pub(super) cluster: Option<String>,
    pub(super) quorate: Option<bool>,
    /// By name: online or not.
    pub(super) nodes: BTreeMap<String, bool>,
}

impl Status {
    /// Who the cluster is, under its name in our settings.
    pub(super) fn identity(&self, settings: &str) -> Identity {
        Identity {
            settings: settings.to_owned(),
            cluster: self.cluster.clone(),
            nodes: self.nodes.keys().cloned().collect(),
        }
    }
}

/// Reads `/cluster/status`; nothing where it names no node.
pub(super) fn status(answer: &Value) -> Option<Status> {
    let mut status = Status::default();
    for row in rows(answer)? {
        match row.get("type").and_then(Value::as_str) {
            Some("cluster") => {
                status.cluster = filled(row, "name");
                status.quorate = flag(row, "quorate");
            }
            Some("node") => {
                if let Some(name) = filled(row, "name") {
                    status.nodes.insert(name, flag(row, "online").unwrap_or(false));
                }
            }
            _ => {}
        }
    }
    (!status.nodes.is_empty()).then_some(status)
}

/// A guest in `/cluster/resources`: only what is live there. Its name and state are ten seconds old, missing, or
/// those of a predecessor with the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resource {
    pub(super) vmid: Vmid,
    pub(super) kind: GuestKind,
    pub(super) node: String,
    pub(super) tags: BTreeSet<String>,
    pub(super) lock: Option<String>,
    pub(super) pool: Option<String>,
    /// Frozen, up to ten seconds ago.
    pub(super) paused: bool,
}

impl Resource {
    /// A guest of which no more is known than where it is.
    pub(super) fn bare(vmid: Vmid, kind: GuestKind, node: String) -> Self {
        Self { vmid, kind, node, tags: BTreeSet::new(), lock: None, pool: None, paused: false }
    }
}

fn resource(row: &Value) -> Option<Resource> {
    let kind = match row.get("type")?.as_str()? {
        "qemu" => GuestKind::Qemu,
        "lxc" => GuestKind::Lxc,
        _ => return None,
    };
    Some(Resource {
        vmid: vmid(row)?,
        kind,
        node: filled(row, "node")?,
        tags: tags(row),
        lock: filled(row, "lock"),
        pool: filled(row, "pool"),
        paused: field(row, "status").is_some_and(|status| matches!(status.as_str(), "paused" | "suspended")),
    })
}

/// Reads `/cluster/resources?type=vm`, by vmid.
pub(super) fn resources(answer: &Value) -> Option<BTreeMap<Vmid, Resource>> {
    Some(rows(answer)?.iter().filter_map(resource).map(|resource| (resource.vmid, resource)).collect())
}

fn tags(row: &Value) -> BTreeSet<String> {
    field(row, "tags").map(|tags| parse_tags(&tags)).unwrap_or_default()
}

/// A guest in its own node's list: live at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: Option<String>,
    pub(super) power: Option<Power>,
    pub(super) template: bool,
    pub(super) tags: BTreeSet<String>,
    pub(super) lock: Option<String>,
}

/// Reads `/nodes/N/qemu` or `/nodes/N/lxc`, by vmid.
pub(super) fn listed(answer: &Value, kind: GuestKind) -> Option<BTreeMap<Vmid, Listed>> {
    let row = |row: &Value| {
        let vmid = vmid(row)?;
        // A VM without a name is listed under a made-up one, which no VM can bear: it has a blank in it.
        let made_up = format!("VM {vmid}");
        let name = filled(row, "name").filter(|name| kind != GuestKind::Qemu || *name != made_up);
        let listed = Listed {
            name,
            power: power(row),
            template: flag(row, "template").unwrap_or(false),
            tags: tags(row),
            lock: filled(row, "lock"),
        };
        Some((vmid, listed))
    };
    Some(rows(answer)?.iter().filter_map(row).collect())
}

/// The power state in a row of a node's list, or in the answer of `status/current`.
pub(super) fn power(row: &Value) -> Option<Power> {
    match row.get("status")?.as_str()? {
        "running" => Some(Power::Running),
        "stopped" => Some(Power::Stopped),
        _ => None,
    }
}

/// Reads `/nodes/N/storage`, by name.
pub(super) fn storages(answer: &Value) -> Option<BTreeMap<String, LiveStorage>> {
    let row = |row: &Value| {
        let name = filled(row, "storage")?;
        let content = field(row, "content").unwrap_or_default();
        let storage = LiveStorage {
            kind: field(row, "type").unwrap_or_default(),
            content: split_list(&content).map(str::to_owned).collect(),
            shared: flag(row, "shared").unwrap_or(false),
            active: flag(row, "active").unwrap_or(false) && flag(row, "enabled").unwrap_or(true),
            available: field(row, "avail").and_then(|bytes| bytes.parse().ok()),
        };
        Some((name, storage))
    };
    Some(rows(answer)?.iter().filter_map(row).collect())
}

/// Reads `/nodes/N/network`: what a NIC can be plugged into.
pub(super) fn bridges(answer: &Value) -> Option<BTreeSet<String>> {
    let is_bridge =
        |row: &&Value| field(row, "type").is_none_or(|kind| matches!(kind.as_str(), "bridge" | "OVSBridge" | "vnet"));
    Some(rows(answer)?.iter().filter(is_bridge).filter_map(|row| filled(row, "iface")).collect())
}

/// Reads `/pools`.
pub(super) fn pools(answer: &Value) -> Option<BTreeSet<String>> {
    Some(rows(answer)?.iter().filter_map(|row| filled(row, "poolid")).collect())
}

/// Reads `/cluster/ha/resources`: options by id. The default state is left out by some versions.
pub(super) fn ha(answer: &Value) -> Option<BTreeMap<String, BTreeMap<String, String>>> {
    let row = |row: &Value| {
        let known = ["state", "max_restart", "max_relocate", "failback", "group"];
        let mut options: BTreeMap<String, String> =
            known.iter().filter_map(|name| Some(((*name).to_owned(), filled(row, name)?))).collect();
        options.entry("state".to_owned()).or_insert_with(|| "started".to_owned());
        Some((filled(row, "sid")?, options))
    };
    Some(rows(answer)?.iter().filter_map(row).collect())
}

/// Reads `/cluster/options`: what it says of tags.
pub(super) fn tag_rules(answer: &Value) -> Option<TagRules> {
    let options = answer.as_object()?;
    let list = |name: &str| -> BTreeSet<String> {
        let tags = options.get(name).and_then(Value::as_array).into_iter().flatten();
        tags.filter_map(Value::as_str).map(str::to_lowercase).collect()
    };
    let allows = options.get("user-tag-access").and_then(|access| filled(access, "user-allow"));
    let free = allows.is_none_or(|allows| allows == "free");
    Some(TagRules { free, allowed: list("allowed-tags"), registered: list("registered-tags") })
}

/// Reads `/cluster/ha/rules`: where resources are kept. Rules about each other say nothing of nodes.
pub(super) fn ha_rules(answer: &Value) -> Option<Vec<HaRule>> {
    let row = |row: &Value| {
        let counts =
            field(row, "type").is_some_and(|kind| kind == "node-affinity") && !flag(row, "disable").unwrap_or(false);
        let list = |name: &str| filled(row, name).filter(|_| counts);
        Some(HaRule {
            name: filled(row, "rule")?,
            resources: split_list(&list("resources")?).map(str::to_owned).collect(),
            nodes: ha::nodes(&list("nodes")?),
        })
    };
    Some(rows(answer)?.iter().filter_map(row).collect())
}

/// Reads `/cluster/ha/groups` of Proxmox VE 8, with the resources that name them.
pub(super) fn ha_groups(answer: &Value, resources: &BTreeMap<String, BTreeMap<String, String>>) -> Option<Vec<HaRule>> {
    let row = |row: &Value| {
        let name = filled(row, "group")?;
        let members = resources.iter().filter(|(_, options)| options.get("group") == Some(&name));
        let members = members.map(|(sid, _)| sid.clone()).collect();
        Some(HaRule { resources: members, nodes: ha::nodes(&filled(row, "nodes")?), name })
    };
    Some(rows(answer)?.iter().filter_map(row).collect())
}

/// Reads `/access/permissions`: by path and privilege whether it is passed on to what lies below.
pub(super) fn permissions(answer: &Value) -> Option<BTreeMap<String, BTreeMap<String, bool>>> {
    let privileges = |privileges: &Value| -> BTreeMap<String, bool> {
        let names = privileges.as_object().into_iter().flatten();
        names.map(|(name, _)| (name.clone(), flag(privileges, name).unwrap_or(false))).collect()
    };
    Some(answer.as_object()?.iter().map(|(path, value)| (path.clone(), privileges(value))).collect())
}

/// Reads `/nodes/N/tasks?source=active`. The list keeps some tasks that ended.
pub(super) fn active_tasks(answer: &Value) -> Option<Vec<String>> {
    let runs = |row: &&Value| row.get("endtime").is_none_or(Value::is_null);
    let mut tasks: Vec<String> = rows(answer)?.iter().filter(runs).filter_map(|row| filled(row, "upid")).collect();
    tasks.sort();
    Some(tasks)
}
