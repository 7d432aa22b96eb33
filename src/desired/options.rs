//! Which of Proxmox's options a manifest may name, and what stands in the others' way.

use crate::pve::schema::{OptionSpec, catalog};
use crate::pve::value::GuestKind;

/// Why an option cannot be used.
pub(super) enum Refusal {
    /// There is no such option; the nearest name, and whether the other kind of guest has it.
    Unknown(Option<String>, bool),
    /// It exists, and a manifest does not set it; what to do.
    NotSettable(&'static str),
}

/// The option's table entry, or why a manifest cannot set it.
pub(super) fn find(kind: GuestKind, name: &str) -> Result<&'static OptionSpec, Refusal> {
    if let Some(hint) = not_settable(name) {
        return Err(Refusal::NotSettable(hint));
    }
    catalog(kind).find(name).ok_or_else(|| {
        let other = if kind == GuestKind::Qemu { GuestKind::Lxc } else { GuestKind::Qemu };
        Refusal::Unknown(catalog(kind).nearest(name), catalog(other).find(name).is_some())
    })
}

/// What to do instead, for parameters of single calls and for what only Proxmox itself writes.
fn not_settable(name: &str) -> Option<&'static str> {
    Some(match name {
        "start" => "write `state: running`",
        "storage" => "name the storage at each disk, `{storage: …, size: …}`",
        "cdrom" => "it is another name of `ide2`; write `ide2`",
        "smp" => "it is another name of `sockets`; write `sockets`",
        "lock"
        | "digest"
        | "parent"
        | "meta"
        | "vmstate"
        | "snaptime"
        | "snapstate"
        | "runningmachine"
        | "runningcpu"
        | "running-nets-host-mtu" => "Proxmox itself writes it; leave it out",
        "force"
        | "delete"
        | "revert"
        | "skiplock"
        | "background_delay"
        | "bwlimit"
        | "unique"
        | "restore"
        | "live-restore"
        | "ignore-unpack-errors"
        | "import-working-storage"
        | "ha-managed" => "it is a parameter of one call and not part of a guest's configuration; leave it out",
        _ if name.starts_with("lxc.") => "raw lxc lines can only be written on the node itself, not by the API",
        _ if is_unused(name) => "detached volumes cannot be declared; attach one with `volume:` at a disk",
        _ => return None,
    })
}

fn is_unused(name: &str) -> bool {
    name.strip_prefix("unused").is_some_and(|index| !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit()))
}

/// The option without its index: `scsi` of `scsi0`.
pub(super) fn stem(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit())
}

/// The first and last index of an option that has some: `scsi31` is beyond them.
pub(super) fn index_range(kind: GuestKind, name: &str) -> Option<[u32; 2]> {
    let indexed = format!("{}[n]", stem(name));
    let is_indexed = stem(name) != name;
    catalog(kind).iter().find(|(option, _)| is_indexed && *option == indexed).and_then(|(_, spec)| spec.index)
}

/// True for a drive, `rootfs` or mount point.
pub(crate) fn is_drive(kind: GuestKind, name: &str) -> bool {
    let stem = stem(name);
    match kind {
        GuestKind::Qemu => matches!(stem, "ide" | "sata" | "scsi" | "virtio" | "efidisk" | "tpmstate"),
        GuestKind::Lxc => matches!(stem, "rootfs" | "mp"),
    }
}

/// True for a drive whose size Proxmox gives.
pub(super) fn is_sizeless_drive(name: &str) -> bool {
    matches!(name, "efidisk0" | "tpmstate0")
}

/// True for a field that holds a secret and cannot be read back.
pub(super) fn is_secret(kind: GuestKind, name: &str) -> bool {
    catalog(kind).find(name).is_some_and(|spec| spec.facts.secret)
}

/// True for amounts that Proxmox counts in MiB.
pub(super) fn is_mebibytes(kind: GuestKind, name: &str, sub_key: Option<&str>) -> bool {
    matches!(
        (kind, stem(name), sub_key),
        (GuestKind::Qemu, "memory", None | Some("current"))
            | (GuestKind::Qemu, "balloon", None)
            | (GuestKind::Qemu, "ivshmem", Some("size"))
            | (GuestKind::Qemu, "numa" | "vga", Some("memory"))
            | (GuestKind::Lxc, "memory" | "swap", None)
    )
}

/// What joins the items of a list, for options that are one.
pub(crate) fn joiner(kind: GuestKind, name: &str) -> Option<&'static str> {
    match (kind, name) {
        (_, "tags") => Some(";"),
        (_, "nameserver" | "searchdomain") => Some(" "),
        (GuestKind::Qemu, "hotplug" | "affinity") => Some(","),
        (GuestKind::Qemu, "sshkeys") | (GuestKind::Lxc, "ssh-public-keys") => Some("\n"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::keys::{Level, find as find_key};

    #[test]
    fn the_tables_agree_on_what_a_manifest_cannot_set() {
        for kind in GuestKind::ALL {
            for (name, spec) in catalog(kind).iter() {
                let name = name.replace("[n]", "0");
                // Our own keys stand in the way of these.
                if find_key(Level::Guest, &name).is_some() {
                    continue;
                }
                let facts = &spec.facts;
                let settable = facts.instead.is_none() && (!facts.call || facts.example.is_some());
                assert_eq!(not_settable(&name).is_none(), settable, "{kind} {name}");
            }
            for name in catalog(kind).read_only.keys().filter(|name| *name != "lxc") {
                assert!(not_settable(name).is_some(), "{kind} {name}");
            }
        }
    }

    #[test]
    fn amounts_in_mib_are_those_that_the_tables_call_so() {
        for kind in GuestKind::ALL {
            for (name, spec) in catalog(kind).iter() {
                let name = name.replace("[n]", "0");
                let says = |form: &Option<String>| form.as_deref().is_some_and(|form| form.starts_with("MiB"));
                let keys = spec.value.properties.iter().flat_map(|format| &format.keys);
                for (key, sub_key) in keys {
                    assert_eq!(is_mebibytes(kind, &name, Some(key)), says(&sub_key.value.form), "{kind} {name}.{key}");
                }
                assert_eq!(is_mebibytes(kind, &name, None), says(&spec.value.form), "{kind} {name}");
            }
        }
    }
}
