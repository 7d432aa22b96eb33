//! Where volumes lie on a node, and what the tools say that make, copy and refuse them.

use super::volume::{EXTENT, Family, Storages, format_of, last_part, owner};
use super::world::StorageSpec;

/// Where volumes lie on a node, and the words of the tools that make and copy them.
impl Storages {
    /// The path of a volume or file.
    pub(super) fn path(&self, volid: &str) -> String {
        let (storage, name) = volid.split_once(':').unwrap_or((volid, ""));
        let last = last_part(name);
        match self.family(storage) {
            Family::Files => {
                let base = self.find(storage).map(directory).unwrap_or_default();
                let mut parts = name.splitn(2, '/');
                match (parts.next().unwrap_or_default(), parts.next().unwrap_or_default()) {
                    ("iso", file) => format!("{base}/template/iso/{file}"),
                    ("vztmpl", file) => format!("{base}/template/cache/{file}"),
                    ("backup", file) => format!("{base}/dump/{file}"),
                    (kind @ ("snippets" | "import"), file) => format!("{base}/{kind}/{file}"),
                    _ => format!("{base}/images/{}/{last}", owner(name).unwrap_or(0)),
                }
            }
            Family::Lvm => format!("/dev/{storage}/{last}"),
            Family::LvmThin => format!("/dev/pve/{last}"),
            Family::Zfs if format_of(last) == "subvol" => format!("/rpool/{storage}/{last}"),
            Family::Zfs => format!("/dev/zvol/rpool/{storage}/{last}"),
            Family::Rbd => format!("/dev/rbd-pve/{storage}/{last}"),
        }
    }

    /// What the tool says that makes a volume.
    pub(super) fn made_text(&self, volid: &str, size: u64) -> Option<String> {
        let (storage, name) = volid.split_once(':')?;
        match (self.family(storage), format_of(name)) {
            (Family::Files, "raw") => {
                Some(format!("Formatting '{}', fmt=raw size={size} preallocation=off", self.path(volid)))
            }
            (Family::Files, format) => Some(format!(
                "Formatting '{}', fmt={format} cluster_size=65536 extended_l2=off preallocation=metadata \
                 compression_type=zlib size={size} lazy_refcounts=off refcount_bits=16",
                self.path(volid)
            )),
            (Family::Lvm | Family::LvmThin, _) => Some(format!("  Logical volume \"{}\" created.", last_part(name))),
            _ => None,
        }
    }

    /// The command that copies one volume into another.
    pub(super) fn convert_command(&self, from: &str, to: &str, limit: Option<u64>) -> String {
        let limit = limit.map(|limit| format!(" -r {limit}K")).unwrap_or_default();
        let sparse = !matches!(self.family(to.split(':').next().unwrap_or_default()), Family::Lvm);
        format!(
            "/usr/bin/qemu-img convert -p -n{limit} -f {} -O {} {} {}{}",
            format_of(from),
            format_of(to),
            self.path(from),
            if sparse { "zeroinit:" } else { "" },
            self.path(to)
        )
    }
}

/// The path below which a storage of files keeps them.
pub(super) fn directory(spec: &StorageSpec) -> String {
    match (spec.kind.as_str(), spec.name.as_str()) {
        _ if spec.options.contains_key("path") => spec.options["path"].clone(),
        ("dir", "local") => "/var/lib/vz".to_owned(),
        ("dir", name) => format!("/var/lib/{name}"),
        (_, name) => format!("/mnt/pve/{name}"),
    }
}

/// What is said where a storage is full.
pub(super) fn full_text(family: Family, (storage, name): (&str, &str), takes: u64, free: u64) -> String {
    match family {
        Family::Lvm => format!(
            "lvcreate '{storage}/{name}' error:   Volume group \"{storage}\" has insufficient free space \
             ({} extents): {} required.",
            free / EXTENT,
            takes / EXTENT
        ),
        Family::LvmThin => format!(
            "lvcreate 'pve/{name}' error:   Cannot create new thin volume, free space in thin pool pve/data reached \
             threshold."
        ),
        Family::Zfs => format!("zfs error: cannot create 'rpool/{storage}/{name}': out of space"),
        Family::Rbd => format!("rbd create '{name}' error: rbd: create error: (28) No space left on device"),
        Family::Files => {
            format!(
                "unable to create image: qemu-img: {storage}:{name}: Could not resize file: No space left on device"
            )
        }
    }
}
