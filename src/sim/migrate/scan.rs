//! What a guest has on its node: volumes with what names them, devices of the host.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::pve::schema::split_index;
use crate::pve::value::{GuestKind, Size};
use crate::sim::cluster::Cluster;
use crate::sim::config::{Config, Section};
use crate::sim::guest::{default_of, is_drive, is_mount, is_unused, sub_key};
use crate::sim::volume::is_cloudinit;

/// What is known of one volume, over all places that name it.
#[derive(Debug, Clone, Default)]
pub(super) struct Named {
    pub(super) cdrom: bool,
    pub(super) cloudinit: bool,
    pub(super) attached: bool,
    pub(super) unused: bool,
    pub(super) vmstate: bool,
    pub(super) tpmstate: bool,
    pub(super) shared: bool,
    replicate: bool,
    pub(super) pending: bool,
    pub(super) snapshots: BTreeSet<String>,
    drive: Option<String>,
    size: Option<u64>,
}

/// The file that the value of a drive, a mount point or a state names: a volume, a path, `none`.
pub(super) fn file_of(value: &str) -> &str {
    default_of(value, "file").or_else(|| sub_key(value, "volume")).unwrap_or_default()
}

/// Every volume or path that a guest's file names.
pub(super) fn named(config: &Config) -> BTreeMap<String, Named> {
    let mut all: BTreeMap<String, Named> = BTreeMap::new();
    let mut take = |section: &Section, pending: bool, snapshot: Option<&str>| {
        let is_volume = |key: &str| match config.kind {
            GuestKind::Qemu => is_drive(key) || key == "vmstate",
            GuestKind::Lxc => is_mount(key),
        };
        for (key, value) in section.iter().filter(|(key, _)| is_volume(key) || is_unused(key)) {
            let file = file_of(value);
            if file.is_empty() {
                continue;
            }
            let cdrom = sub_key(value, "media") == Some("cdrom");
            let known = all.contains_key(file);
            let entry = all.entry(file.to_owned()).or_default();
            entry.cdrom = cdrom && (!known || entry.cdrom);
            entry.cloudinit |= cdrom && is_cloudinit(file);
            entry.replicate |= sub_key(value, "replicate") != Some("0");
            entry.shared |= sub_key(value, "shared") == Some("1");
            entry.unused |= is_unused(key);
            entry.vmstate |= key == "vmstate";
            entry.tpmstate |= key == "tpmstate0";
            entry.pending |= pending;
            match snapshot {
                Some(name) => drop(entry.snapshots.insert(name.to_owned())),
                None => entry.attached |= !pending && !entry.unused,
            }
            if is_drive(key) {
                entry.drive = Some(key.clone());
            }
            entry.size = entry.size.or_else(|| sub_key(value, "size").and_then(Size::parse_proxmox).map(|size| size.0));
        }
    };
    take(&config.current, false, None);
    take(&config.pending, true, None);
    for (name, section) in &config.snapshots {
        take(section, false, Some(name));
    }
    all
}

impl Named {
    /// True for what needs no moving: an empty drive, or a disk that is said to be shared.
    pub(super) fn is_nowhere(&self, file: &str) -> bool {
        self.shared || (self.cdrom && file == "none")
    }

    /// The row of `local_disks`.
    pub(super) fn row(&self, volid: &str, release: u32) -> Value {
        let flag = |value: bool| json!(u8::from(value));
        let mut row = json!({
            "cdrom": flag(self.cdrom), "is_attached": flag(self.attached), "is_tpmstate": flag(self.tpmstate),
            "is_unused": flag(self.unused), "is_vmstate": flag(self.vmstate), "replicate": flag(self.replicate),
            "shared": 0, "volid": volid,
        });
        if release >= 9 {
            row["is_cloudinit"] = flag(self.cloudinit);
        }
        if !self.snapshots.is_empty() {
            row["referenced_in_snapshot"] = self.snapshots.iter().map(|name| (name.clone(), json!(1))).collect();
        }
        if self.pending {
            row["referenced_in_pending"] = json!(1);
        }
        if let Some(drive) = &self.drive {
            row["drivename"] = json!(drive);
        }
        if let Some(size) = self.size {
            row["size"] = json!(size);
        }
        row
    }
}

/// The storage in a volume's id; nothing for a path.
pub(super) fn storage(volid: &str) -> Option<&str> {
    if volid.starts_with('/') { None } else { volid.split_once(':').map(|(storage, _)| storage) }
}

/// What kind of content a volume is, for the storage that is to take it.
pub(super) fn content(kind: GuestKind, volid: &str) -> &'static str {
    match volid.split_once(':').and_then(|(_, name)| name.split_once('/')) {
        Some(("iso", _)) => "iso",
        _ if kind == GuestKind::Lxc => "rootdir",
        _ => "images",
    }
}

/// Devices of the host that a VM uses, with those of them that mappings name.
#[derive(Debug, Default)]
pub(super) struct Devices {
    pub(super) local: Vec<String>,
    pub(super) mapped: BTreeMap<String, String>,
}

pub(super) fn devices(config: &Config, runs: bool) -> Devices {
    let mut found = Devices::default();
    if runs {
        for key in ["amd-sev", "intel-tdx"].into_iter().filter(|key| config.current.contains_key(*key)) {
            found.local.push(key.to_owned());
        }
        if config.current.keys().any(|key| split_index(key).is_some_and(|(stem, _)| stem == "virtiofs")) {
            found.local.push("virtiofs".to_owned());
        }
    }
    if config.current.contains_key("ivshmem") {
        found.local.push("ivshmem".to_owned());
    }
    for (key, value) in &config.current {
        let Some((stem, _)) = split_index(key) else { continue };
        let host = default_of(value, "host").unwrap_or_default();
        match stem {
            "usb" if host.eq_ignore_ascii_case("spice") => continue,
            "serial" if value == "socket" => continue,
            "usb" | "hostpci" | "serial" | "parallel" | "virtiofs" => {}
            _ => continue,
        }
        let mapping = match stem {
            "virtiofs" => default_of(value, "dirid"),
            "usb" | "hostpci" => sub_key(value, "mapping"),
            _ => None,
        };
        if let Some(name) = mapping {
            found.mapped.insert(key.clone(), name.to_owned());
            // A mapped PCI device stands in the way of what runs only.
            if stem == "hostpci" && !runs {
                continue;
            }
        }
        found.local.push(key.clone());
    }
    found
}

/// Which storage takes what is on another one, `a:b,c:d`, a name for all, or `1` for each its own.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct StorageMap {
    pub(super) identity: bool,
    pub(super) entries: BTreeMap<String, String>,
    pub(super) default: Option<String>,
}

impl StorageMap {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut map = Self::default();
        for entry in crate::pve::value::split_list(text) {
            if entry == "1" {
                map.identity = true;
                continue;
            }
            let check = |id: &str| {
                let fits = id.len() >= 2
                    && id.starts_with(|c: char| c.is_ascii_alphabetic())
                    && id.ends_with(|c: char| c.is_ascii_alphanumeric())
                    && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
                let text =
                    || format!("entry '{entry}' contains invalid ID - storage ID '{id}' contains illegal characters\n");
                if fits { Ok(id.to_owned()) } else { Err(text()) }
            };
            match entry.split_once(':') {
                Some((from, to)) => {
                    let (from, to) = (check(from)?, check(to)?);
                    if map.entries.contains_key(&from) {
                        return Err(format!("duplicate mapping for source '{from}'\n"));
                    }
                    map.entries.insert(from, to);
                }
                None if map.default.is_some() => return Err("default target ID can only be provided once\n".to_owned()),
                None => map.default = Some(check(entry)?),
            }
        }
        if map.identity && (map.default.is_some() || !map.entries.is_empty()) {
            return Err("identity mapping cannot be combined with other mappings\n".to_owned());
        }
        Ok(map)
    }

    /// Where what is on this storage goes.
    pub(super) fn target<'a>(&'a self, storage: &'a str) -> &'a str {
        self.entries.get(storage).or(self.default.as_ref()).map_or(storage, String::as_str)
    }

    /// Every storage that it names as a target.
    pub(super) fn targets(&self) -> impl Iterator<Item = &str> {
        self.entries.values().chain(&self.default).map(String::as_str)
    }
}

/// Storages of a guest's volumes that this node lacks.
pub(super) fn lacking(cluster: &Cluster, config: &Config, node: &str) -> Vec<String> {
    let drives = config.current.iter().filter(|(key, _)| is_drive(key)).map(|(_, value)| file_of(value));
    let storages: BTreeSet<&str> = drives.filter_map(storage).collect();
    storages.into_iter().filter(|name| !cluster.storages.on_node(name, node)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read() {
        let map = StorageMap::parse("a1:b1,c1:d1,e1").unwrap();
        assert_eq!((map.target("a1"), map.target("c1"), map.target("x1")), ("b1", "d1", "e1"));
        assert!(StorageMap::parse("1").unwrap().identity);
        assert_eq!(StorageMap::parse("").unwrap().target("a1"), "a1");
        for (text, error) in [
            ("aa:bb,aa:cc", "duplicate mapping for source 'aa'\n"),
            ("aa,bb", "default target ID can only be provided once\n"),
            ("1,aa", "identity mapping cannot be combined with other mappings\n"),
        ] {
            assert_eq!(StorageMap::parse(text).unwrap_err(), error);
        }
        assert!(StorageMap::parse("a:b").is_err());
    }

    #[test]
    fn a_volume_that_two_places_name_is_one() {
        let text = "ide2: none,media=cdrom\nscsi0: a:vm-1-disk-0,size=1G\nserial0: socket\nusb0: host=1234:5678\n\
                    hostpci0: mapping=gpu\n\n[s1]\nscsi0: a:vm-1-disk-0,size=1G\nvmstate: a:vm-1-state-s1\n";
        let config = Config::parse(GuestKind::Qemu, text);
        let all = named(&config);
        assert!(all["a:vm-1-disk-0"].attached && all["a:vm-1-disk-0"].snapshots.contains("s1"));
        assert!(all["a:vm-1-state-s1"].vmstate && !all["a:vm-1-state-s1"].attached);
        assert_eq!(devices(&config, false).local, ["usb0"]);
        assert_eq!(devices(&config, true).local, ["hostpci0", "usb0"]);
    }
}
