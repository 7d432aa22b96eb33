//! The names of volumes, by the kind of storage that gives them, and what can be done with a volume.

use super::pattern::{captures, pattern};

/// How a storage names its volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Files in a directory: `dir`, `nfs`, `cifs`, `cephfs`.
    Directory,
    /// Subvolumes and files of `btrfs`, named as in a directory.
    Btrfs,
    /// Logical volumes: `lvm`.
    Lvm,
    /// Thin logical volumes: `lvmthin`.
    LvmThin,
    /// Volumes and datasets of ZFS: `zfspool`.
    Zfs,
    /// Ceph's block devices: `rbd`.
    Rbd,
    /// LUNs: `iscsi`.
    Iscsi,
}

/// A volume's name taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VolumeName {
    /// What it is: `images`, `iso`, `vztmpl`, `backup`, `snippets`, `import`.
    pub content: String,
    /// The name without what leads to it.
    pub name: String,
    /// The guest that owns it.
    pub owner: Option<String>,
    /// The base volume that it is a linked clone of, and the guest that owns the base.
    pub base: Option<(String, String)>,
    /// It is a base volume, which linked clones may hang on.
    pub is_base: bool,
    /// The format of its data: `raw`, `qcow2`, `subvol`.
    pub format: String,
}

impl VolumeName {
    fn image(name: &str, owner: Option<&str>, format: &str) -> Self {
        Self {
            content: "images".to_owned(),
            name: name.to_owned(),
            owner: owner.map(str::to_owned),
            format: format.to_owned(),
            ..Self::default()
        }
    }

    fn file(content: &str, name: &str, format: &str) -> Self {
        Self { content: content.to_owned(), name: name.to_owned(), format: format.to_owned(), ..Self::default() }
    }

    fn based_on(mut self, base: Option<(&str, &str)>) -> Self {
        self.base = base.map(|(name, owner)| (name.to_owned(), owner.to_owned()));
        self
    }
}

/// What may be asked of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// A snapshot of it.
    Snapshot,
    /// A linked clone.
    Clone,
    /// Turning it into a base volume.
    Template,
    /// A full copy.
    Copy,
    /// Replication to another node.
    Replicate,
    /// Another name, for another owner.
    Rename,
    /// Known to read as zeroes when it is new.
    SparseInit,
}

impl Feature {
    /// The feature by Proxmox's word for it.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "snapshot" => Self::Snapshot,
            "clone" => Self::Clone,
            "template" => Self::Template,
            "copy" => Self::Copy,
            "replicate" => Self::Replicate,
            "rename" => Self::Rename,
            "sparseinit" => Self::SparseInit,
            _ => return None,
        })
    }
}

/// The state of a volume that a feature is asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Current,
    Base,
    Snapshot,
}

impl Backend {
    /// The backend of a storage of this type.
    pub fn of_type(storage_type: &str) -> Option<Self> {
        Some(match storage_type {
            "dir" | "nfs" | "cifs" | "cephfs" => Self::Directory,
            "btrfs" => Self::Btrfs,
            "lvm" => Self::Lvm,
            "lvmthin" => Self::LvmThin,
            "zfspool" => Self::Zfs,
            "rbd" => Self::Rbd,
            "iscsi" => Self::Iscsi,
            _ => return None,
        })
    }

    /// Takes a volume's name apart (what follows `STORAGE:`); the error is Proxmox's text.
    ///
    /// # Errors
    ///
    /// A name that this backend does not give.
    pub fn parse_name(self, name: &str) -> Result<VolumeName, String> {
        match self {
            Self::Directory | Self::Btrfs => parse_path(name),
            Self::Lvm | Self::LvmThin => self.parse_logical(name),
            Self::Zfs => parse_zfs(name).ok_or_else(|| format!("unable to parse zfs volume name '{name}'\n")),
            Self::Rbd => parse_rbd(name).ok_or_else(|| format!("unable to parse rbd volume name '{name}'\n")),
            Self::Iscsi => match captures(&ISCSI, name) {
                Some([Some(lun)]) => Ok(VolumeName::image(lun, None, "raw")),
                _ => Err(format!("unable to parse iscsi volume name '{name}'\n")),
            },
        }
    }

    fn parse_logical(self, name: &str) -> Result<VolumeName, String> {
        if !LOGICAL_CHARACTERS.is_match(name) {
            return Err(format!("lvm name '{name}' contains illegal characters\n"));
        }
        match (self, captures(&LOGICAL, name)) {
            (Self::LvmThin, Some([Some(kind), Some(owner)])) => {
                Ok(VolumeName { is_base: kind == "base", ..VolumeName::image(name, Some(owner), "raw") })
            }
            (_, Some([Some("vm"), Some(owner)])) => {
                let format = if name.ends_with(".qcow2") { "qcow2" } else { "raw" };
                Ok(VolumeName::image(name, Some(owner), format))
            }
            _ => Err(format!("unable to parse lvm volume name '{name}'\n")),
        }
    }

    /// True where the storage can do this with the volume, or with this snapshot of it.
    ///
    /// # Errors
    ///
    /// A name that this backend does not give; the error is Proxmox's text.
    pub fn has_feature(self, feature: Feature, name: &str, snapshot: Option<&str>) -> Result<bool, String> {
        use Feature::{Clone, Copy, Rename, Replicate, Snapshot, SparseInit, Template};
        use State::{Base, Current};
        let volume = self.parse_name(name)?;
        let state = match snapshot {
            Some(name) if !matches!(name, "" | "0") => State::Snapshot,
            _ if volume.is_base => Base,
            _ => Current,
        };
        let format = volume.format.as_str();
        let is_image = matches!(format, "raw" | "qcow2" | "vmdk");
        Ok(match (self, feature) {
            (Self::Directory, Snapshot) => state != Base && format == "qcow2",
            (Self::Directory, Clone) => state == Base && is_image,
            (Self::Directory | Self::Btrfs, Template) => state == Current && (is_image || format == "subvol"),
            (Self::Directory, Copy) => {
                if state == State::Snapshot {
                    format == "qcow2"
                } else {
                    is_image
                }
            }
            (Self::Directory | Self::Btrfs, Rename) => state == Current && is_image,
            (Self::Directory | Self::Btrfs, SparseInit) => state != State::Snapshot && is_image,
            (Self::Btrfs, Snapshot) => state != Base && matches!(format, "qcow2" | "raw" | "subvol"),
            (Self::Btrfs, Clone) => {
                if state == Base {
                    is_image || format == "subvol"
                } else {
                    format == "raw"
                }
            }
            (Self::Btrfs, Copy) => {
                if state == State::Snapshot {
                    matches!(format, "qcow2" | "raw" | "subvol")
                } else {
                    is_image || format == "subvol"
                }
            }
            (Self::Lvm, Snapshot) => state != Base && format == "qcow2",
            (Self::Lvm, Copy) => state != State::Snapshot || format == "qcow2",
            (Self::Lvm | Self::LvmThin | Self::Zfs | Self::Rbd, Rename) => state == Current,
            (Self::LvmThin, Snapshot) => state == Current,
            (Self::Zfs | Self::Rbd, Snapshot) => state != Base,
            (Self::LvmThin | Self::Rbd, Clone) => state != Current,
            (Self::Zfs, Clone) => state == Base,
            (Self::LvmThin | Self::Zfs | Self::Rbd, Template) => state == Current,
            (Self::LvmThin | Self::Rbd, Copy) => true,
            (Self::Zfs, Copy | Replicate) => state != State::Snapshot,
            (Self::LvmThin | Self::Zfs | Self::Rbd, SparseInit) => state != State::Snapshot,
            (Self::Iscsi, Copy) => state == Current,
            (Self::Iscsi | Self::Lvm, _) | (_, Replicate) => false,
        })
    }
}

pattern!(CLONE_PATH, r"^(\d+)/(\S+)/(\d+)/(\S+)$");
pattern!(IMAGE_PATH, r"^(\d+)/(\S+)$");
pattern!(IMAGE_FILE, r"^(?:vm-|(base-)|subvol-)\d+-[^/\s]+\.(raw|qcow2|vmdk|subvol)$");
pattern!(SNAPSHOT_FILE, r"^snap-.*\.qcow2$");
pattern!(OTHER_FILE, r"^(base-)?[^/\s]+\.(raw|qcow2|vmdk|subvol)$");
pattern!(ISO, r"^iso/([^/]+\.(?i:iso|img))$");
pattern!(TEMPLATE, r"^vztmpl/([^/]+\.(?i:tar|tar\.(?:gz|xz|zst|bz2)))$");
pattern!(BACKUP, r"^backup/([^/]+\.(?:tgz|(?:tar|vma)(?:\.(?:gz|lzo|zst|bz2))?))$");
pattern!(BACKUP_OWNER, r"^vzdump-(?:openvz|lxc|qemu)-(\d+)-.+");
pattern!(SNIPPET, r"^snippets/([^/]+)$");
pattern!(PACKED, r"^import/([ a-zA-Z0-9.+=_-]+\.ova/[ a-zA-Z0-9.+=_-]+\.(qcow2|raw|vmdk))$");
pattern!(IMPORT, r"^import/([ a-zA-Z0-9.+=_-]+\.(ova|ovf|qcow2|raw|vmdk))$");
pattern!(LOGICAL_CHARACTERS, "^(?i)[a-z0-9][a-z0-9_.-]*[a-z0-9]$");
pattern!(LOGICAL, r"^(vm|base)-(\d+)-\S+$");
pattern!(ZFS, r"^(?:((?:base|basevol)-(\d+)-\S+)/)?((base|basevol|vm|subvol)-(\d+)-\S+)$");
pattern!(RBD, r"^(?:(base-(\d+)-\S+)/)?((base)?(?:vm)?-(\d+)-\S+)$");
pattern!(ISCSI, r"^\d+\.\d+\.\d+\.([^/\s]+)$");

fn parse_path(path: &str) -> Result<VolumeName, String> {
    if let Some([Some(base_owner), Some(base), Some(owner), Some(name)]) = captures(&CLONE_PATH, path) {
        parse_file(base)?;
        let (format, is_base) = parse_file(name)?;
        let volume = VolumeName::image(name, Some(owner), format).based_on(Some((base, base_owner)));
        return Ok(VolumeName { is_base, ..volume });
    }
    if let Some([Some(owner), Some(name)]) = captures(&IMAGE_PATH, path) {
        let (format, is_base) = parse_file(name)?;
        return Ok(VolumeName { is_base, ..VolumeName::image(name, Some(owner), format) });
    }
    for (content, pattern) in [("iso", &ISO), ("vztmpl", &TEMPLATE), ("snippets", &SNIPPET)] {
        if let Some([Some(name)]) = captures(pattern, path) {
            return Ok(VolumeName::file(content, name, "raw"));
        }
    }
    if let Some([Some(name)]) = captures(&BACKUP, path) {
        let owner = captures(&BACKUP_OWNER, name).and_then(|[owner]| owner.map(str::to_owned));
        return Ok(VolumeName { owner, ..VolumeName::file("backup", name, "raw") });
    }
    if let Some([Some(name), Some(format)]) = captures(&PACKED, path) {
        return Ok(VolumeName::file("import", name, &format!("ova+{format}")));
    }
    if let Some([Some(name), Some(format)]) = captures(&IMPORT, path) {
        return Ok(VolumeName::file("import", name, format));
    }
    Err(format!("unable to parse directory volume name '{path}'\n"))
}

/// The format of a disk's file, and whether it is a base volume.
fn parse_file(name: &str) -> Result<(&str, bool), String> {
    if let Some([base, Some(format)]) = captures(&IMAGE_FILE, name) {
        return Ok((format, base.is_some()));
    }
    if SNAPSHOT_FILE.is_match(name) {
        return Err(format!("'{name}' is a snapshot filename, not a volume!\n"));
    }
    match captures(&OTHER_FILE, name) {
        Some([base, Some(format)]) => Ok((format, base.is_some())),
        _ => Err(format!("unable to parse volume filename '{name}'\n")),
    }
}

fn parse_zfs(path: &str) -> Option<VolumeName> {
    let [base, base_owner, name, kind, owner] = captures(&ZFS, path)?;
    let format = if matches!(kind, Some("subvol" | "basevol")) { "subvol" } else { "raw" };
    let volume = VolumeName::image(name?, owner, format).based_on(base.zip(base_owner));
    Some(VolumeName { is_base: matches!(kind, Some("base" | "basevol")), ..volume })
}

fn parse_rbd(path: &str) -> Option<VolumeName> {
    let [base, base_owner, name, kind, owner] = captures(&RBD, path)?;
    let volume = VolumeName::image(name?, owner, "raw").based_on(base.zip(base_owner));
    Some(VolumeName { is_base: kind.is_some(), ..volume })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Backend; 7] = [
        Backend::Directory,
        Backend::Btrfs,
        Backend::Lvm,
        Backend::LvmThin,
        Backend::Zfs,
        Backend::Rbd,
        Backend::Iscsi,
    ];

    #[test]
    fn linked_clones_name_their_base() {
        let clone = Backend::Directory.parse_name("9000/base-9000-disk-0.qcow2/100/vm-100-disk-0.qcow2").unwrap();
        assert_eq!(clone.base, Some(("base-9000-disk-0.qcow2".to_owned(), "9000".to_owned())));
        assert_eq!((clone.owner.as_deref(), clone.format.as_str(), clone.is_base), (Some("100"), "qcow2", false));
        let clone = Backend::Zfs.parse_name("basevol-200-disk-0/subvol-201-disk-0").unwrap();
        assert_eq!((clone.name.as_str(), clone.format.as_str()), ("subvol-201-disk-0", "subvol"));
        assert!(Backend::Rbd.parse_name("base-100-disk-0").unwrap().is_base);
    }

    #[test]
    fn texts_are_those_of_proxmox() {
        let error = |backend: Backend, name: &str| backend.parse_name(name).unwrap_err();
        assert_eq!(
            error(Backend::Directory, "100/snap-x.qcow2"),
            "'snap-x.qcow2' is a snapshot filename, not a volume!\n"
        );
        assert_eq!(error(Backend::Directory, "100/x"), "unable to parse volume filename 'x'\n");
        assert_eq!(error(Backend::Lvm, "base-100-disk-0"), "unable to parse lvm volume name 'base-100-disk-0'\n");
    }

    #[test]
    fn features_follow_the_storage() {
        let has = |backend: Backend, feature, name, snapshot| backend.has_feature(feature, name, snapshot).unwrap();
        assert!(has(Backend::LvmThin, Feature::Clone, "base-100-disk-0", None));
        assert!(!has(Backend::Zfs, Feature::Copy, "vm-100-disk-0", Some("s")));
        assert!(has(Backend::Btrfs, Feature::Clone, "100/vm-100-disk-0.raw", Some("s")));
        assert!(!has(Backend::Directory, Feature::Snapshot, "100/vm-100-disk-0.raw", None));
        assert_eq!(Feature::parse("sparseinit"), Some(Feature::SparseInit));
        assert_eq!((Backend::of_type("nfs"), Backend::of_type("pbs")), (Some(Backend::Directory), None));
    }

    proptest! {
        #[test]
        fn any_name_is_read(name in "(vm-|base-|subvol-|[0-9]+/|snap-|iso/)?.{0,40}") {
            for backend in ALL {
                let _ = backend.parse_name(&name);
            }
        }
    }
}
