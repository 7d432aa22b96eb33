//! Storages and volumes: naming, allocation, ownership, what a storage type can do.

use std::collections::{BTreeMap, BTreeSet};

use super::answer::Failure;
use super::place::full_text;
use super::section;
use super::storage_lock::Locks;
use super::world::StorageSpec;
use crate::pve::value::{GuestKind, Size};

/// How a storage keeps volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Files in a directory: `dir`, `nfs`, `cifs`, `btrfs`, `cephfs`.
    Files,
    /// Thick logical volumes.
    Lvm,
    /// Thin logical volumes.
    LvmThin,
    /// ZFS volumes and subvolumes.
    Zfs,
    /// Ceph block devices.
    Rbd,
}

/// One volume, or a file: an image, a template, a backup.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Volume {
    pub(super) size: u64,
    /// Unix time of its making.
    pub(super) ctime: u64,
    /// What somebody wrote about it.
    pub(super) notes: Option<String>,
    /// A backup that must not be removed.
    pub(super) protected: bool,
    /// What a backup holds: the guest's file as it was.
    pub(super) archive: Option<Box<Archive>>,
}

/// A backup's content.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Archive {
    pub(super) kind: GuestKind,
    /// The guest's configuration file.
    pub(super) config: String,
    /// The sizes of the volumes in it, by their keys.
    pub(super) sizes: BTreeMap<String, u64>,
}

impl Volume {
    pub(super) const fn new(size: u64, ctime: u64) -> Self {
        Self { size, ctime, notes: None, protected: false, archive: None }
    }
}

/// What is asked for when a volume is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A disk, with the format asked for.
    Disk,
    /// The drive that cloud-init reads.
    CloudInit,
    /// A container's volume.
    Mount,
}

/// What a logical volume grows by.
pub(super) const EXTENT: u64 = 4 * Size::MIB;

/// All storages of a cluster with their volumes.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Storages {
    pub(super) specs: Vec<StorageSpec>,
    /// Those that are not defined any more.
    gone: Vec<StorageSpec>,
    /// By storage, place (a node, or nothing where it is shared) and name.
    #[serde(with = "as_list")]
    volumes: BTreeMap<(String, String, String), Volume>,
    /// Those on which a fault lets nothing more be allocated.
    pub(super) full: BTreeSet<String>,
    /// Who makes volumes on which.
    #[serde(default)]
    pub(super) locks: Locks,
}

/// The last part of a volume's name or id.
pub(super) fn last_part(name: &str) -> &str {
    name.rsplit([':', '/']).next().unwrap_or(name)
}

/// The id that a volume's name carries: `vm-100-disk-0`, `100/base-100-disk-0.qcow2`, `subvol-200-disk-0`.
pub(super) fn owner(name: &str) -> Option<u32> {
    let last = last_part(name);
    let rest = ["vm-", "base-", "subvol-", "basevol-"].iter().find_map(|prefix| last.strip_prefix(prefix))?;
    rest.split('-').next()?.parse().ok()
}

/// True for a base volume.
pub(super) fn is_base(name: &str) -> bool {
    let last = last_part(name);
    last.starts_with("base-") || last.starts_with("basevol-")
}

/// True for a drive of cloud-init, by its name.
pub(super) fn is_cloudinit(volid: &str) -> bool {
    let last = last_part(volid);
    last.strip_prefix("vm-").is_some_and(|rest| {
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        rest == "-cloudinit" || rest.starts_with("-cloudinit.")
    })
}

/// The format of a volume, by its name.
pub(super) fn format_of(name: &str) -> &'static str {
    let last = last_part(name);
    match last.rsplit_once('.').map(|(_, extension)| extension) {
        Some("qcow2") => "qcow2",
        Some("vmdk") => "vmdk",
        _ if last.starts_with("subvol-") || last.starts_with("basevol-") => "subvol",
        _ => "raw",
    }
}

impl Storages {
    pub(super) fn new(specs: Vec<StorageSpec>) -> Self {
        let specs = specs.into_iter().map(section::storage::complete).collect();
        Self { specs, gone: Vec::new(), volumes: BTreeMap::new(), full: BTreeSet::new(), locks: Locks::default() }
    }

    /// Adds a definition. One that points to where an earlier one of this name pointed finds what was there.
    pub(super) fn define(&mut self, mut spec: StorageSpec) {
        let place = |spec: &StorageSpec| {
            let options = ["path", "vgname", "thinpool", "pool", "server", "export", "share", "datastore", "volume"];
            options.map(|name| spec.options.get(name).cloned())
        };
        if let Some(position) = self.gone.iter().position(|gone| gone.name == spec.name) {
            let gone = self.gone.remove(position);
            if gone.kind == spec.kind && place(&gone) == place(&spec) {
                (spec.files, spec.capacity_gib) = (gone.files, gone.capacity_gib);
            } else {
                self.volumes.retain(|(storage, _, _), _| *storage != spec.name);
            }
        }
        self.specs.push(spec);
    }

    /// Puts a changed definition in the place of the old one.
    pub(super) fn redefine(&mut self, spec: StorageSpec) {
        if let Some(old) = self.specs.iter_mut().find(|old| old.name == spec.name) {
            *old = spec;
        }
    }

    /// Forgets a definition; what is on the storage stays where it is.
    pub(super) fn undefine(&mut self, name: &str) {
        if let Some(position) = self.specs.iter().position(|spec| spec.name == name) {
            self.gone.push(self.specs.remove(position));
        }
    }

    /// The storage of this name.
    pub(super) fn find(&self, name: &str) -> Result<&StorageSpec, Failure> {
        self.specs
            .iter()
            .find(|spec| spec.name == name)
            .ok_or_else(|| Failure::die(format!("storage '{name}' does not exist")))
    }

    pub(super) fn family(&self, name: &str) -> Family {
        match self.find(name).map(|spec| spec.kind.as_str()) {
            Ok("lvm") => Family::Lvm,
            Ok("lvmthin") => Family::LvmThin,
            Ok("zfspool") => Family::Zfs,
            Ok("rbd") => Family::Rbd,
            _ => Family::Files,
        }
    }

    pub(super) fn is_shared(&self, name: &str) -> bool {
        self.find(name).is_ok_and(|spec| spec.shared)
    }

    /// True where this node has the storage, and may use it.
    pub(super) fn on_node(&self, name: &str, node: &str) -> bool {
        self.find_on(name, node).is_ok()
    }

    /// The storage of this name, where this node has it and may use it.
    pub(super) fn find_on(&self, name: &str, node: &str) -> Result<&StorageSpec, Failure> {
        let spec = self.find(name)?;
        if spec.options.get("disable").is_some_and(|flag| flag == "1") {
            return Err(Failure::die(format!("storage '{name}' is disabled")));
        }
        if !spec.nodes.is_empty() && !spec.nodes.iter().any(|n| n == node) {
            return Err(Failure::die(format!("storage '{name}' is not available on node '{node}'")));
        }
        Ok(spec)
    }

    fn key(&self, volid: &str, node: &str) -> (String, String, String) {
        let (storage, name) = volid.split_once(':').unwrap_or((volid, ""));
        let place = if self.is_shared(storage) { String::new() } else { node.to_owned() };
        (storage.to_owned(), place, name.to_owned())
    }

    pub(super) fn get(&self, volid: &str, node: &str) -> Option<&Volume> {
        self.volumes.get(&self.key(volid, node))
    }

    pub(super) fn get_mut(&mut self, volid: &str, node: &str) -> Option<&mut Volume> {
        let key = self.key(volid, node);
        self.volumes.get_mut(&key)
    }

    /// The size of a volume or of a file on the storage.
    pub(super) fn size_of(&self, volid: &str, node: &str) -> Option<u64> {
        self.get(volid, node).map(|volume| volume.size)
    }

    pub(super) fn insert(&mut self, volid: &str, node: &str, volume: Volume) {
        let key = self.key(volid, node);
        self.volumes.insert(key, volume);
    }

    pub(super) fn remove(&mut self, volid: &str, node: &str) -> Option<Volume> {
        let key = self.key(volid, node);
        self.volumes.remove(&key)
    }

    pub(super) fn resize(&mut self, volid: &str, node: &str, size: u64) -> Result<(), String> {
        let (key, rounded) = (self.key(volid, node), self.rounded(volid, size));
        let (storage, name) = volid.split_once(':').unwrap_or((volid, ""));
        let more = rounded.saturating_sub(self.size_of(volid, node).unwrap_or(rounded));
        if self.takes(volid, more) > self.free(storage, node) {
            return Err(match self.family(storage) {
                Family::Lvm => format!(
                    "lvextend '/dev/{storage}/{name}' error:   Insufficient free space: {} extents needed, but only {} available",
                    more / EXTENT,
                    self.free(storage, node) / EXTENT
                ),
                _ => full_text(self.family(storage), (storage, name), more, self.free(storage, node)),
            });
        }
        if let Some(volume) = self.volumes.get_mut(&key) {
            volume.size = rounded;
        }
        Ok(())
    }

    /// Every volume that a node sees on a storage, by name.
    pub(super) fn on(&self, storage: &str, node: &str) -> Vec<(&str, &Volume)> {
        let place = if self.is_shared(storage) { "" } else { node };
        self.volumes
            .iter()
            .filter(|((s, p, _), _)| s == storage && p == place)
            .map(|((_, _, name), volume)| (name.as_str(), volume))
            .collect()
    }

    /// Every volume: its place (empty where it is shared) and its id.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, String)> {
        self.volumes.keys().map(|(storage, place, name)| (place.as_str(), format!("{storage}:{name}")))
    }

    /// The size that a storage really gives.
    fn rounded(&self, volid: &str, size: u64) -> u64 {
        let storage = volid.split(':').next().unwrap_or(volid);
        match self.family(storage) {
            Family::Lvm | Family::LvmThin => size.next_multiple_of(EXTENT),
            Family::Zfs => size.next_multiple_of(Size::MIB),
            Family::Files | Family::Rbd => size,
        }
    }

    /// Makes a volume for a guest and returns its id.
    pub(super) fn allocate(
        &mut self,
        (storage, node): (&str, &str),
        vmid: u32,
        purpose: Purpose,
        format: Option<&str>,
        (size, ctime): (u64, u64),
    ) -> Result<String, Failure> {
        self.admit(storage, node)?;
        let family = self.family(storage);
        let volid = if purpose == Purpose::CloudInit {
            match family {
                Family::Files => format!("{storage}:{vmid}/vm-{vmid}-cloudinit.{}", format.unwrap_or("qcow2")),
                _ => format!("{storage}:vm-{vmid}-cloudinit"),
            }
        } else {
            let number = self.free_number(storage, node, vmid);
            match (family, purpose) {
                (Family::Files, Purpose::Mount) if size == 0 => {
                    format!("{storage}:{vmid}/subvol-{vmid}-disk-{number}.subvol")
                }
                (Family::Files, _) => {
                    format!("{storage}:{vmid}/vm-{vmid}-disk-{number}.{}", format.unwrap_or("raw"))
                }
                (Family::Zfs, Purpose::Mount) => format!("{storage}:subvol-{vmid}-disk-{number}"),
                _ => format!("{storage}:vm-{vmid}-disk-{number}"),
            }
        };
        self.make(&volid, node, Volume::new(size, ctime))?;
        Ok(volid)
    }

    /// Makes a volume of this name, where there is room for it.
    pub(super) fn make(&mut self, volid: &str, node: &str, mut volume: Volume) -> Result<(), Failure> {
        let (storage, name) = volid.split_once(':').unwrap_or((volid, ""));
        volume.size = self.rounded(volid, volume.size);
        let (takes, free) = (self.takes(volid, volume.size), self.free(storage, node));
        if takes > free {
            return Err(Failure::die(full_text(self.family(storage), (storage, name), takes, free)));
        }
        self.insert(volid, node, volume);
        Ok(())
    }

    /// What so many bytes of a volume take of their storage. Disks count as a tenth full where space is only
    /// taken as it is written; thick ones and files take all.
    fn takes(&self, volid: &str, size: u64) -> u64 {
        let (storage, name) = volid.split_once(':').unwrap_or((volid, ""));
        let thick = matches!(self.family(storage), Family::Lvm | Family::Zfs) || owner(name).is_none();
        if thick { size } else { size / 10 }
    }

    /// What is free on a storage.
    pub(super) fn free(&self, storage: &str, node: &str) -> u64 {
        if self.full.contains(storage) {
            return 0;
        }
        let capacity = self.find(storage).map_or(0, |spec| spec.capacity_gib * Size::GIB);
        capacity.saturating_sub(self.used(storage, node))
    }

    /// The lowest number that no volume of this guest on this storage bears, of any kind.
    fn free_number(&self, storage: &str, node: &str, vmid: u32) -> u32 {
        let taken: Vec<u32> = self
            .on(storage, node)
            .into_iter()
            .filter(|(name, _)| owner(name) == Some(vmid))
            .filter_map(|(name, _)| {
                let digits: String = name.rsplit_once("-disk-")?.1.chars().take_while(char::is_ascii_digit).collect();
                digits.parse().ok()
            })
            .collect();
        (0..).find(|number| !taken.contains(number)).unwrap_or(0)
    }

    /// True where a volume can be given to another guest.
    pub(super) fn can_rename(&self, volid: &str) -> bool {
        let name = volid.split_once(':').map_or("", |(_, name)| name);
        let subvolume =
            self.family(volid.split(':').next().unwrap_or_default()) == Family::Files && format_of(name) == "subvol";
        owner(name).is_some() && !is_base(name) && !subvolume
    }

    /// Gives a volume to another guest, under the lowest name that is free there.
    pub(super) fn give(&mut self, volid: &str, node: &str, vmid: u32) -> String {
        let Some((storage, name)) = volid.split_once(':') else { return volid.to_owned() };
        let number = self.free_number(storage, node, vmid);
        let last = last_part(name);
        let prefix = if last.starts_with("subvol-") { "subvol" } else { "vm" };
        // Below a base volume it stays below it.
        let parent = name.rsplit('/').skip(1 + usize::from(self.family(storage) == Family::Files)).collect::<Vec<_>>();
        let parent: String = parent.into_iter().rev().map(|part| format!("{part}/")).collect();
        let given = match self.family(storage) {
            Family::Files => {
                format!("{storage}:{parent}{vmid}/{prefix}-{vmid}-disk-{number}.{}", format_of(name))
            }
            _ => format!("{storage}:{parent}{prefix}-{vmid}-disk-{number}"),
        };
        if let Some(volume) = self.remove(volid, node) {
            self.insert(&given, node, volume);
        }
        given
    }

    /// Copies a volume to another node, by the same name where that is free, else by the next.
    pub(super) fn copy_to(
        &mut self,
        volid: &str,
        (node, target): (&str, &str),
        storage: &str,
    ) -> Result<String, Failure> {
        let (own, name) = volid.split_once(':').unwrap_or((volid, ""));
        let missing = || Failure::die(format!("volume '{volid}' does not exist"));
        let volume = self.get(volid, node).cloned().ok_or_else(missing)?;
        let (vmid, format) = (owner(name).unwrap_or(0), format_of(name));
        let (from, to) = (self.family(own), self.family(storage));
        let same = format!("{storage}:{name}");
        let made = if from == to && self.get(&same, target).is_none() {
            self.make(&same, target, volume)?;
            same
        } else {
            let purpose = match (is_cloudinit(volid), last_part(name).starts_with("subvol-")) {
                (true, _) => Purpose::CloudInit,
                (_, true) => Purpose::Mount,
                _ => Purpose::Disk,
            };
            let format = (to == Family::Files).then_some(format);
            self.allocate((storage, target), vmid, purpose, format, (volume.size, volume.ctime))?
        };
        Ok(made)
    }

    /// Renames a volume to its base form, where the storage can; else it stays as it is.
    pub(super) fn make_base(&mut self, volid: &str, node: &str) -> String {
        let Some((storage, name)) = volid.split_once(':') else { return volid.to_owned() };
        if self.family(storage) == Family::Lvm || is_base(name) || is_cloudinit(volid) {
            return volid.to_owned();
        }
        // A clone that becomes a base has no parent any more in its name's last part; Proxmox keeps the path.
        let (path, last) = name.rsplit_once('/').map_or(("", name), |(path, last)| (path, last));
        let renamed = match (last.strip_prefix("vm-"), last.strip_prefix("subvol-")) {
            (Some(rest), _) => format!("base-{rest}"),
            (_, Some(rest)) => format!("basevol-{rest}"),
            _ => return volid.to_owned(),
        };
        let base = if path.is_empty() { format!("{storage}:{renamed}") } else { format!("{storage}:{path}/{renamed}") };
        if let Some(volume) = self.remove(volid, node) {
            self.insert(&base, node, volume);
        }
        base
    }

    /// True where a linked clone of this volume can be made.
    pub(super) fn can_link(&self, kind: GuestKind, volid: &str) -> bool {
        let Some((storage, name)) = volid.split_once(':') else { return false };
        if !is_base(name) {
            return false;
        }
        match self.family(storage) {
            Family::LvmThin | Family::Zfs | Family::Rbd => true,
            // Containers have no overlay on files.
            Family::Files => kind == GuestKind::Qemu,
            Family::Lvm => false,
        }
    }

    /// True where a linked clone of a snapshot of this volume can be made.
    pub(super) fn can_link_snapshot(&self, volid: &str) -> bool {
        matches!(self.family(volid.split(':').next().unwrap_or_default()), Family::LvmThin | Family::Rbd)
    }

    /// Makes a linked clone of a base volume.
    pub(super) fn link(&mut self, volid: &str, node: &str, vmid: u32, ctime: u64) -> String {
        let (storage, name) = volid.split_once(':').unwrap_or((volid, ""));
        let number = self.free_number(storage, node, vmid);
        let subvolume = last_part(name).starts_with("basevol-");
        let prefix = if subvolume { "subvol" } else { "vm" };
        let clone = match self.family(storage) {
            Family::Files => format!("{storage}:{name}/{vmid}/vm-{vmid}-disk-{number}.qcow2"),
            Family::Zfs | Family::Rbd => format!("{storage}:{name}/{prefix}-{vmid}-disk-{number}"),
            Family::Lvm | Family::LvmThin => format!("{storage}:vm-{vmid}-disk-{number}"),
        };
        let size = self.size_of(volid, node).unwrap_or(0);
        self.insert(&clone, node, Volume::new(size, ctime));
        clone
    }

    /// True where linked clones hang on this base volume, as far as their names say so.
    pub(super) fn is_in_use(&self, volid: &str, node: &str) -> bool {
        let Some((storage, name)) = volid.split_once(':') else { return false };
        is_base(name) && self.on(storage, node).iter().any(|(other, _)| other.starts_with(&format!("{name}/")))
    }

    /// True where a snapshot of this volume can be made.
    pub(super) fn can_snapshot(&self, volid: &str) -> bool {
        let Some((storage, name)) = volid.split_once(':') else { return false };
        match self.family(storage) {
            Family::LvmThin | Family::Zfs | Family::Rbd => true,
            Family::Files => format_of(name) == "qcow2",
            Family::Lvm => false,
        }
    }

    /// True where a VM's volume can be sent to another node with its snapshots.
    pub(super) fn sends_snapshots(&self, volid: &str) -> bool {
        let (storage, name) = volid.split_once(':').unwrap_or((volid, ""));
        self.family(storage) == Family::Zfs || format_of(name) == "qcow2"
    }

    /// The same for a container's volume.
    pub(super) fn sends_container_snapshots(&self, volid: &str) -> bool {
        self.family(volid.split(':').next().unwrap_or_default()) == Family::Zfs
    }

    /// Bytes used on a storage.
    pub(super) fn used(&self, storage: &str, node: &str) -> u64 {
        let on = self.on(storage, node).into_iter();
        on.map(|(name, volume)| self.takes(&format!("{storage}:{name}"), volume.size)).sum()
    }
}

/// Maps whose keys are no text, as lists of pairs.
mod as_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<K, V>, D::Error> {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storages() -> Storages {
        let spec = |name: &str, kind: &str| StorageSpec {
            name: name.to_owned(),
            kind: kind.to_owned(),
            content: vec!["images".to_owned()],
            ..StorageSpec::default()
        };
        Storages::new(vec![spec("thin", "lvmthin"), spec("data", "dir"), spec("tank", "zfspool"), spec("thick", "lvm")])
    }

    #[test]
    fn names_follow_the_storage() {
        let mut all = storages();
        let mut make =
            |storage: &str, purpose, format| all.allocate((storage, "n"), 100, purpose, format, (Size::GIB + 1, 0));
        let mut make = |storage: &str, purpose, format| make(storage, purpose, format).unwrap();
        assert_eq!(make("thin", Purpose::Disk, None), "thin:vm-100-disk-0");
        assert_eq!(make("thin", Purpose::Disk, None), "thin:vm-100-disk-1");
        assert_eq!(make("data", Purpose::Disk, Some("qcow2")), "data:100/vm-100-disk-0.qcow2");
        assert_eq!(make("data", Purpose::CloudInit, None), "data:100/vm-100-cloudinit.qcow2");
        assert_eq!(make("tank", Purpose::Mount, None), "tank:subvol-100-disk-0");
        assert_eq!(all.size_of("thin:vm-100-disk-0", "n"), Some(Size::GIB + 4 * Size::MIB));
        assert_eq!(all.size_of("thin:vm-100-disk-0", "other"), None);
    }

    #[test]
    fn bases_and_their_clones() {
        let mut all = storages();
        for storage in ["thin", "data", "tank", "thick"] {
            all.allocate((storage, "n"), 100, Purpose::Disk, Some("qcow2"), (Size::GIB, 0)).unwrap();
        }
        assert_eq!(all.make_base("thick:vm-100-disk-0", "n"), "thick:vm-100-disk-0");
        let base = all.make_base("data:100/vm-100-disk-0.qcow2", "n");
        assert_eq!(base, "data:100/base-100-disk-0.qcow2");
        assert_eq!(all.link(&base, "n", 101, 0), "data:100/base-100-disk-0.qcow2/101/vm-101-disk-0.qcow2");
        assert!(all.is_in_use(&base, "n"));
        let base = all.make_base("tank:vm-100-disk-0", "n");
        assert_eq!(all.link(&base, "n", 101, 0), "tank:base-100-disk-0/vm-101-disk-0");
        let base = all.make_base("thin:vm-100-disk-0", "n");
        assert_eq!(all.link(&base, "n", 101, 0), "thin:vm-101-disk-0");
        assert!(!all.is_in_use(&base, "n"));
        assert_eq!(owner("100/base-100-disk-0.qcow2/101/vm-101-disk-0.qcow2"), Some(101));
        assert_eq!(owner("thin:vm-101-disk-0"), Some(101));
        assert!(is_cloudinit("data:100/vm-100-cloudinit.qcow2") && !is_cloudinit("data:iso/cloudinit.iso"));
    }
}
