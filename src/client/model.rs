//! What clusters answer, as types: the fields that are stable over releases, read leniently.
//!
//! Perl has one kind of scalar, so a number may come as text and the other way round, and a truth value as either.
//! Fields that are not known here are left out, fields that are missing are `None`, and a row that cannot be read is
//! left out without failing its list.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::pve::http::{ApiError, Request};
use crate::pve::value::{GuestKind, TaskEnd, Upid, Vmid, parse_tags};

/// A node of a cluster, as `/nodes` lists it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    #[serde(rename = "node")]
    pub name: String,
    /// `online`, `offline` or `unknown`.
    #[serde(default)]
    pub status: String,
    /// Share of its CPUs in use, 0 to 1.
    #[serde(default, deserialize_with = "lenient::number")]
    pub cpu: Option<f64>,
    /// CPUs.
    #[serde(default, deserialize_with = "lenient::number")]
    pub maxcpu: Option<u64>,
    /// Bytes of memory in use.
    #[serde(default, deserialize_with = "lenient::number")]
    pub mem: Option<u64>,
    /// Bytes of memory.
    #[serde(default, deserialize_with = "lenient::number")]
    pub maxmem: Option<u64>,
    /// Seconds since it started.
    #[serde(default, deserialize_with = "lenient::number")]
    pub uptime: Option<u64>,
}

/// Used and free bytes of something.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "UsageRow")]
pub struct Usage {
    /// All.
    pub total: Option<u64>,
    /// In use.
    pub used: Option<u64>,
    /// Free; of a file system, what is left for others than root.
    pub free: Option<u64>,
}

/// A file system has both figures of what is free, and memory another one besides.
#[derive(Deserialize)]
struct UsageRow {
    #[serde(default, deserialize_with = "lenient::number")]
    total: Option<u64>,
    #[serde(default, deserialize_with = "lenient::number")]
    used: Option<u64>,
    #[serde(default, deserialize_with = "lenient::number")]
    free: Option<u64>,
    #[serde(default, deserialize_with = "lenient::number")]
    avail: Option<u64>,
}

impl From<UsageRow> for Usage {
    fn from(row: UsageRow) -> Self {
        Self { total: row.total, used: row.used, free: row.avail.or(row.free) }
    }
}

/// How a node is, as `/nodes/N/status` tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// `pve-manager/9.1.9/…`.
    #[serde(default)]
    pub pveversion: String,
    /// The kernel.
    #[serde(default)]
    pub kversion: String,
    /// Seconds since it started.
    #[serde(default, deserialize_with = "lenient::number")]
    pub uptime: Option<u64>,
    /// Share of its CPUs in use, 0 to 1.
    #[serde(default, deserialize_with = "lenient::number")]
    pub cpu: Option<f64>,
    /// Memory.
    #[serde(default)]
    pub memory: Usage,
    /// The root file system.
    #[serde(default)]
    pub rootfs: Usage,
}

/// A guest in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guest {
    /// Its id.
    #[serde(deserialize_with = "lenient::parsed")]
    pub vmid: Vmid,
    /// VM or container.
    #[serde(rename = "type")]
    pub kind: GuestKind,
    /// Where it is.
    pub node: String,
    /// Its name; a guest need not have one.
    #[serde(default)]
    pub name: Option<String>,
    /// `running` or `stopped`.
    #[serde(default)]
    pub status: Option<String>,
    /// True for a template.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub template: bool,
    /// Its tags, sorted.
    #[serde(default, deserialize_with = "lenient::tags")]
    pub tags: Vec<String>,
    /// The pool that it is in.
    #[serde(default)]
    pub pool: Option<String>,
    /// The lock that it bears.
    #[serde(default)]
    pub lock: Option<String>,
    /// CPUs.
    #[serde(default, deserialize_with = "lenient::number")]
    pub maxcpu: Option<f64>,
    /// Bytes of memory.
    #[serde(default, deserialize_with = "lenient::number")]
    pub maxmem: Option<u64>,
    /// Bytes of its root or boot disk.
    #[serde(default, deserialize_with = "lenient::number")]
    pub maxdisk: Option<u64>,
    /// Seconds since it started.
    #[serde(default, deserialize_with = "lenient::number")]
    pub uptime: Option<u64>,
}

/// What a guest's own node says about it at once.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Listed {
    #[serde(deserialize_with = "lenient::parsed")]
    pub(super) vmid: Vmid,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) status: Option<String>,
    #[serde(default, deserialize_with = "lenient::flag")]
    pub(super) template: bool,
    #[serde(default)]
    pub(super) lock: Option<String>,
    #[serde(default, deserialize_with = "lenient::number")]
    pub(super) uptime: Option<u64>,
}

/// A storage, as `/storage` (the cluster's) or `/nodes/N/storage` (a node's, with figures) lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// Its name.
    #[serde(rename = "storage")]
    pub name: String,
    /// Plugin, `lvmthin`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Content types, separated by commas.
    #[serde(default)]
    pub content: String,
    /// On every node the same.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub shared: bool,
    /// The nodes that have it, separated by commas; nothing means all.
    #[serde(default)]
    pub nodes: Option<String>,
    /// Usable now; a node's list says.
    #[serde(default, deserialize_with = "lenient::maybe_flag")]
    pub active: Option<bool>,
    /// Switched on; a node's list says.
    #[serde(default, deserialize_with = "lenient::maybe_flag")]
    pub enabled: Option<bool>,
    /// Bytes.
    #[serde(default, deserialize_with = "lenient::number")]
    pub total: Option<u64>,
    /// Bytes in use.
    #[serde(default, deserialize_with = "lenient::number")]
    pub used: Option<u64>,
    /// Bytes free.
    #[serde(default, deserialize_with = "lenient::number")]
    pub avail: Option<u64>,
}

/// A volume on a storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// `local-lvm:vm-100-disk-0`.
    pub volid: String,
    /// `images`, `rootdir`, `iso`, `vztmpl`, `backup`, …
    #[serde(default)]
    pub content: String,
    /// `raw`, `qcow2`, `iso`, …
    #[serde(default)]
    pub format: String,
    /// Bytes.
    #[serde(default, deserialize_with = "lenient::number")]
    pub size: Option<u64>,
    /// The guest that it belongs to.
    #[serde(default, deserialize_with = "lenient::number")]
    pub vmid: Option<u32>,
}

/// What a NIC can be plugged into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// `vmbr0`.
    #[serde(rename = "iface")]
    pub name: String,
    /// `bridge`, `OVSBridge` or `vnet`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// It is up.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub active: bool,
    /// Its address with the length of the prefix.
    #[serde(default)]
    pub cidr: Option<String>,
    /// Its ports, separated by blanks.
    #[serde(default)]
    pub bridge_ports: Option<String>,
    /// It takes VLAN tags.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub bridge_vlan_aware: bool,
}

/// A task in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its id, which names node, kind, guest and user.
    pub upid: Upid,
    /// Unix time of its end; nothing while it runs.
    #[serde(default, deserialize_with = "lenient::number")]
    pub endtime: Option<u64>,
    /// How it ended; nothing while it runs, though the list of running tasks says `RUNNING`.
    #[serde(default)]
    pub status: Option<String>,
}

impl Task {
    /// How it ended; nothing while it runs.
    pub fn end(&self) -> Option<TaskEnd> {
        self.endtime?;
        self.status.as_deref().map(TaskEnd::parse)
    }
}

/// A guest's configuration in Proxmox's own text, numbers too.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Config {
    /// Values by option.
    pub options: BTreeMap<String, String>,
    /// The digest that a write can carry, so that it fails where somebody was faster.
    pub digest: Option<String>,
}

impl Config {
    /// Reads an object of options.
    pub(super) fn of(answer: &Value) -> Option<Self> {
        let mut options: BTreeMap<String, String> = answer
            .as_object()?
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), lenient::text(value)?)))
            .collect();
        let digest = options.remove("digest");
        Some(Self { options, digest })
    }
}

/// Reads one object.
pub(super) fn one<T: DeserializeOwned>(request: &Request, answer: Value) -> Result<T, ApiError> {
    serde_json::from_value(answer).map_err(|_| unclear(request))
}

/// Reads the rows of a list that can be read.
pub(super) fn rows<T: DeserializeOwned>(request: &Request, answer: Value) -> Result<Vec<T>, ApiError> {
    let Value::Array(rows) = answer else { return Err(unclear(request)) };
    Ok(rows.into_iter().filter_map(|row| serde_json::from_value(row).ok()).collect())
}

/// An answer of another form than the API's own description says.
pub(super) fn unclear(request: &Request) -> ApiError {
    ApiError::Other(200, format!("the answer of {} is not understood", request.path))
}

/// Perl's scalars.
mod lenient {
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, de::Error};
    use serde_json::Value;

    use crate::pve::value::parse_boolean;

    pub(super) fn text(value: &Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(u8::from(*flag).to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// A number, or nothing where there is none: a figure that cannot be read is no reason to lose a guest.
    pub(super) fn number<'de, D: Deserializer<'de>, T: FromStr>(source: D) -> Result<Option<T>, D::Error> {
        let value = Value::deserialize(source)?;
        let Some(text) = text(&value) else { return Ok(None) };
        // What is a whole number may be written as 3.0 or 3e9.
        let whole =
            || text.parse::<f64>().ok().filter(|number| number.fract() == 0.0).map(|number| format!("{number:.0}"));
        Ok(text.trim().parse().ok().or_else(|| whole()?.parse().ok()))
    }

    pub(super) fn parsed<'de, D: Deserializer<'de>, T: FromStr>(source: D) -> Result<T, D::Error> {
        let value = Value::deserialize(source)?;
        text(&value).and_then(|text| text.parse().ok()).ok_or_else(|| D::Error::custom("not of its form"))
    }

    pub(super) fn maybe_flag<'de, D: Deserializer<'de>>(source: D) -> Result<Option<bool>, D::Error> {
        Ok(text(&Value::deserialize(source)?).and_then(|text| parse_boolean(&text)))
    }

    pub(super) fn flag<'de, D: Deserializer<'de>>(source: D) -> Result<bool, D::Error> {
        Ok(maybe_flag(source)?.unwrap_or(false))
    }

    pub(super) fn tags<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<String>, D::Error> {
        match Value::deserialize(source)? {
            // Our own form, read back.
            Value::Array(tags) => Ok(tags.iter().filter_map(text).collect()),
            value => Ok(text(&value).map(|tags| super::parse_tags(&tags)).unwrap_or_default().into_iter().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_of_perl_are_read_and_one_bad_row_fails_no_list() {
        let answer = json!([
            {"vmid": "100", "type": "qemu", "node": "a", "maxmem": "2147483648", "template": "1", "tags": "b;a", "new": {}},
            {"vmid": 101, "type": "lxc", "node": "a", "maxcpu": 0.5, "uptime": 3.0, "maxdisk": "much", "name": null},
            {"vmid": 7, "type": "qemu", "node": "a"},
            {"vmid": 102, "type": "storage", "node": "a"},
            {"type": "qemu", "node": "a"},
            "no row",
        ]);
        let guests: Vec<Guest> = rows(&Request::get("/x"), answer).unwrap();
        assert_eq!(guests.len(), 2);
        assert_eq!((guests[0].vmid.get(), guests[0].maxmem, guests[0].template), (100, Some(2 << 30), true));
        assert_eq!(guests[0].tags, ["a", "b"]);
        assert_eq!((guests[1].maxcpu, guests[1].uptime, guests[1].maxdisk), (Some(0.5), Some(3), None));
        let again: Vec<Guest> = rows(&Request::get("/x"), serde_json::to_value(&guests).unwrap()).unwrap();
        assert_eq!(again, guests);
        assert!(rows::<Guest>(&Request::get("/x"), json!({})).is_err());
        let config = Config::of(&json!({"cores": 2, "onboot": true, "digest": "d", "list": []})).unwrap();
        let shown: Vec<_> = config.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!((shown, config.digest.as_deref()), (vec!["cores=2".to_owned(), "onboot=1".to_owned()], Some("d")));
    }
}
