//! Whether a live value is what a plan expects.

use crate::pve::compare;
use crate::pve::property;
use crate::pve::schema::catalog;
use crate::pve::value::{GuestKind, Size};

/// True when the live value is what it was when planned; the size of a drive counts.
pub(super) fn as_planned(kind: GuestKind, option: &str, planned: &str, live: &str) -> bool {
    let same_size = !compare::is_drive(kind, option)
        || size_of(planned) == size_of(live)
        || compare::size_matches(size_of(planned), size_of(live));
    same_size && compare::same_value(kind, option, planned, live)
}

/// True when a drive has this size, or is larger by less than a storage rounds up.
pub(super) fn has_size(live: &str, size: &str) -> bool {
    compare::size_matches(Size::parse_proxmox(size), size_of(live))
}

fn size_of(text: &str) -> Option<Size> {
    text.split(',').find_map(|part| part.strip_prefix("size=")).and_then(Size::parse_proxmox)
}

/// One sub-key of a live option by its canonical name.
pub(super) fn sub_key(kind: GuestKind, option: &str, key: &str, live: &str) -> Option<String> {
    let format = catalog(kind).find(option)?.value.properties.as_ref()?;
    let mut found = property::parse(live, format).ok()?;
    found.remove(format.canonical(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_was_grown_is_not_as_planned() {
        let planned = "local-lvm:vm-100-disk-0,size=32G";
        assert!(!as_planned(GuestKind::Qemu, "scsi0", planned, "local-lvm:vm-100-disk-0,size=33G"));
        assert!(as_planned(GuestKind::Qemu, "scsi0", planned, "file=local-lvm:vm-100-disk-0,size=32G"));
        assert!(!as_planned(GuestKind::Qemu, "scsi0", planned, "local-lvm:vm-100-disk-0,size=48G"));
        assert!(!as_planned(GuestKind::Qemu, "scsi0", planned, "local-lvm:vm-100-disk-1,size=32G"));
        assert!(has_size("local-lvm:vm-100-disk-0,size=32770M", "32G"));
        assert!(!has_size("local-lvm:vm-100-disk-0", "32G"));
    }

    #[test]
    fn sub_keys_are_found_by_any_of_their_names() {
        let net = "virtio=AA:BB:CC:DD:EE:0F,bridge=vmbr0";
        assert_eq!(sub_key(GuestKind::Qemu, "net0", "macaddr", net).as_deref(), Some("AA:BB:CC:DD:EE:0F"));
        let disk = "local-lvm:vm-100-disk-0,size=8G";
        assert_eq!(sub_key(GuestKind::Qemu, "scsi0", "volume", disk).as_deref(), Some("local-lvm:vm-100-disk-0"));
        assert_eq!(sub_key(GuestKind::Qemu, "scsi0", "ssd", disk), None);
    }
}
