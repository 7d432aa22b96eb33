//! Comparison by meaning: two spellings of one value are equal.
//!
//! Proxmox stores most values verbatim, so what was written and what is read back may differ in spelling for ever:
//! order of sub-keys, aliases, `on` for `1`, an explicit default. Only a difference of meaning is a difference.

use std::collections::{BTreeMap, BTreeSet};

use super::http::percent_decode;
use super::property::{self, Properties};
use super::schema::{OptionSpec, PropertyFormat, ValueSpec, ValueType, catalog, split_index};
use super::value::{self, GuestKind, Size};

/// What storages round sizes up to at most: the extent of LVM. A live volume larger by less is as large as asked.
pub const GRANULE: u64 = 4 * Size::MIB;

/// What an option without index stands for: `net3` is a `net`.
pub fn stem(option: &str) -> &str {
    split_index(option).map_or(option, |(stem, _)| stem)
}

/// True for options whose value is a volume with options: drives, `rootfs`, mount points.
pub fn is_drive(kind: GuestKind, option: &str) -> bool {
    match kind {
        GuestKind::Qemu => matches!(stem(option), "ide" | "sata" | "scsi" | "virtio" | "efidisk" | "tpmstate"),
        GuestKind::Lxc => option == "rootfs" || stem(option) == "mp",
    }
}

/// The sub-key that holds the volume: `file` in VMs, `volume` in containers.
pub const fn volume_key(kind: GuestKind) -> &'static str {
    match kind {
        GuestKind::Qemu => "file",
        GuestKind::Lxc => "volume",
    }
}

/// True for sub-keys that Proxmox fills in by itself: unlisted ones are kept, never compared.
pub fn is_assigned(kind: GuestKind, option: &str, key: &str) -> bool {
    match (kind, stem(option)) {
        (GuestKind::Qemu, "net") => key == "macaddr",
        (GuestKind::Lxc, "net") => matches!(key, "hwaddr" | "type"),
        (GuestKind::Qemu, "smbios") => key == "uuid",
        (GuestKind::Qemu, "efidisk") => matches!(key, "file" | "size" | "ms-cert" | "format"),
        _ if is_drive(kind, option) => key == volume_key(kind) || matches!(key, "size" | "format"),
        _ => false,
    }
}

/// True when both texts mean the same for this option.
///
/// `wanted` may leave out what Proxmox assigns (MAC address, volume, uuid), and may ask for an allocation
/// (`local-lvm:32`) that `live` shows as a volume of that storage and size.
pub fn same_value(kind: GuestKind, option: &str, wanted: &str, live: &str) -> bool {
    if wanted == live {
        return true;
    }
    match option {
        "tags" => return value::parse_tags(wanted) == value::parse_tags(live),
        "description" => return wanted.trim_end() == live.trim_end(),
        "sshkeys" => return percent_decode(wanted).trim_end() == percent_decode(live).trim_end(),
        "nameserver" | "searchdomain" => return value::split_list(wanted).eq(value::split_list(live)),
        "hotplug" => return hotplug_classes(wanted) == hotplug_classes(live),
        "startup" => return startup(wanted) == startup(live),
        _ => {}
    }
    let Some(spec) = catalog(kind).find(option) else {
        return false;
    };
    let Some(format) = &spec.value.properties else {
        return same_scalar(&spec.value, wanted, live);
    };
    match (property::split(wanted, format), property::split(live, format)) {
        (Ok(wanted), Ok(live)) => {
            same_sub_keys(kind, option, format, &wanted, &live) && same_volume(kind, option, &wanted, &live)
        }
        _ => false,
    }
}

/// True when every sub-key of either means the same in both.
fn same_sub_keys(
    kind: GuestKind,
    option: &str,
    format: &PropertyFormat,
    wanted: &Properties,
    live: &Properties,
) -> bool {
    let same = |name: &str| {
        !differs(kind, option, format, name, wanted.get(name).map(|text| Some(text.as_str())), live.get(name))
    };
    wanted.keys().all(|name| same(name))
        && live.keys().filter(|name| !wanted.contains_key(*name)).all(|name| same(name))
}

/// True when one sub-key means something else. `wanted` is nothing where it is not listed, and nothing inside where it
/// must not be set.
fn differs(
    kind: GuestKind,
    option: &str,
    format: &PropertyFormat,
    name: &str,
    wanted: Option<Option<&str>>,
    live: Option<&String>,
) -> bool {
    if is_drive(kind, option) && (name == volume_key(kind) || name == "size")
        || wanted.is_none() && is_assigned(kind, option, name)
    {
        return false;
    }
    let default = default_of(kind, option, format, name);
    let wanted = wanted.flatten().or(default);
    let live = live.map(String::as_str).or(default);
    match (wanted, live) {
        (None, None) => false,
        (Some(wanted), Some(live)) => !same_sub_key(format, name, wanted, live),
        _ => true,
    }
}

/// Names of the sub-keys whose meaning differs; `whole` also counts live ones that are not wanted.
///
/// The volume of a drive and its size are not among them: see [`same_volume`] and the planner's rules for sizes.
pub fn differing_keys(
    kind: GuestKind,
    option: &str,
    format: &PropertyFormat,
    wanted: &BTreeMap<String, Option<String>>,
    whole: bool,
    live: &Properties,
) -> Vec<String> {
    let names: BTreeSet<&String> =
        if whole { wanted.keys().chain(live.keys()).collect() } else { wanted.keys().collect() };
    let is_other = |name: &&&String| {
        let wanted = wanted.get(name.as_str()).map(|value| value.as_deref());
        differs(kind, option, format, name, wanted, live.get(name.as_str()))
    };
    names.iter().filter(is_other).map(|name| (*name).clone()).collect()
}

/// True when the wanted volume is the live one: the same name, or an allocation that the live volume answers.
fn same_volume(kind: GuestKind, option: &str, wanted: &Properties, live: &Properties) -> bool {
    if !is_drive(kind, option) {
        return true;
    }
    let key = volume_key(kind);
    let (Some(volume), Some(live_volume)) = (wanted.get(key), live.get(key)) else {
        return true;
    };
    if volume == live_volume {
        return true;
    }
    let live_size = live.get("size").and_then(|size| Size::parse_proxmox(size));
    if let Some((storage, gib)) = value::allocation(volume) {
        let asked = Size::parse_proxmox(&format!("{gib}G"));
        // Nothing is as large as the image that fills it.
        let fixed = matches!(stem(option), "efidisk" | "tpmstate") || gib == "0";
        return value::storage_of(live_volume) == Some(storage) && (fixed || size_matches(asked, live_size));
    }
    // `local-lvm:cloudinit` becomes a volume of its own name.
    volume
        .strip_suffix(":cloudinit")
        .is_some_and(|storage| value::storage_of(live_volume) == Some(storage) && live_volume.contains("cloudinit"))
}

/// True when a live size answers the size asked: the same, or larger by less than a storage's granule.
pub fn size_matches(asked: Option<Size>, live: Option<Size>) -> bool {
    match (asked, live) {
        (Some(Size(asked)), Some(Size(live))) => live >= asked && live - asked < GRANULE,
        (None, _) => true,
        (Some(_), None) => false,
    }
}

fn same_sub_key(format: &PropertyFormat, name: &str, wanted: &str, live: &str) -> bool {
    let Some(key) = format.keys.get(name) else {
        return wanted == live;
    };
    if name == "flags" || name == "mountoptions" || name == "trunks" {
        let set = |text: &str| text.split(';').map(str::to_owned).collect::<BTreeSet<_>>();
        return set(wanted) == set(live);
    }
    if name == "macaddr" || name == "hwaddr" {
        return wanted.eq_ignore_ascii_case(live);
    }
    same_scalar(&key.value, wanted, live)
}

fn same_scalar(spec: &ValueSpec, wanted: &str, live: &str) -> bool {
    if wanted == live {
        return true;
    }
    match spec.ty {
        ValueType::Boolean => match (value::parse_boolean(wanted), value::parse_boolean(live)) {
            (Some(wanted), Some(live)) => wanted == live,
            _ => false,
        },
        ValueType::Integer | ValueType::Number => match (wanted.parse::<f64>(), live.parse::<f64>()) {
            (Ok(wanted), Ok(live)) => wanted.total_cmp(&live).is_eq(),
            _ => false,
        },
        ValueType::String if spec.format.as_deref() == Some("disk-size") => {
            matches!((Size::parse_proxmox(wanted), Size::parse_proxmox(live)), (Some(a), Some(b)) if a == b)
        }
        ValueType::String => false,
    }
}

/// What an absent sub-key means: the table's default, or off for a boolean.
fn default_of<'a>(kind: GuestKind, option: &str, format: &'a PropertyFormat, name: &str) -> Option<&'a str> {
    let key = format.keys.get(name)?;
    if let Some(default) = &key.value.default {
        return Some(default);
    }
    if key.value.ty != ValueType::Boolean {
        return None;
    }
    // A VM's drive is part of backups unless it says no; qm.conf(5), `backup`.
    let on = kind == GuestKind::Qemu && is_drive(kind, option) && name == "backup";
    Some(if on { "1" } else { "0" })
}

/// True when the live text of an absent option means nothing but the default: explicit default, empty text.
pub fn is_default(kind: GuestKind, option: &str, spec: &OptionSpec, live: &str) -> bool {
    if live.trim().is_empty() {
        return true;
    }
    let default = match (kind, option) {
        (GuestKind::Qemu, "name") | (_, "description" | "tags") => return false,
        // What an absent option means where the API description names no default; qm.conf(5).
        (GuestKind::Qemu, "memory") => Some("512"),
        (GuestKind::Qemu, "balloon") => None,
        // What is not said in a container's file is privileged, whatever a new one is made as.
        (GuestKind::Lxc, "unprivileged") => Some("0"),
        (GuestKind::Qemu, "numa" | "localtime" | "freeze") => Some("0"),
        _ => spec.value.default.as_deref(),
    };
    default.is_some_and(|default| same_value(kind, option, default, live))
}

fn hotplug_classes(text: &str) -> BTreeSet<String> {
    match text {
        "1" => hotplug_classes("network,disk,usb"),
        "0" => BTreeSet::new(),
        list => value::split_list(list).map(str::to_owned).collect(),
    }
}

/// `order=2,up=30` and `2,up=30` as pairs.
fn startup(text: &str) -> BTreeMap<String, String> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or(("order", part));
            (key.to_owned(), value.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(option: &str, wanted: &str, live: &str) -> bool {
        same_value(GuestKind::Qemu, option, wanted, live)
    }

    #[test]
    fn spellings_of_one_value() {
        assert!(vm("net0", "virtio,bridge=vmbr0,tag=20", "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=20"));
        assert!(vm(
            "net0",
            "model=virtio,macaddr=bc:24:11:00:00:01,bridge=vmbr0",
            "virtio=BC:24:11:00:00:01,bridge=vmbr0"
        ));
        assert!(vm("agent", "1", "enabled=1"));
        assert!(vm("agent", "enabled=1,freeze-fs=1", "1"));
        assert!(vm("memory", "2048", "current=2048"));
        assert!(vm("onboot", "1", "on"));
        assert!(vm("tags", "b;A", "a;b"));
        assert!(vm("cpu", "host,flags=+aes;-pcid", "cputype=host,flags=-pcid;+aes"));
        assert!(vm("hotplug", "1", "usb,disk,network"));
        assert!(vm("startup", "order=2,up=30", "up=30,order=2"));
        assert!(same_value(
            GuestKind::Lxc,
            "net0",
            "name=eth0,bridge=vmbr0,ip=dhcp",
            "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:23:70:22,ip=dhcp,type=veth"
        ));
    }

    #[test]
    fn differences_of_meaning() {
        assert!(!vm("net0", "virtio,bridge=vmbr1", "virtio=BC:24:11:00:00:01,bridge=vmbr0"));
        assert!(!vm("net0", "virtio,bridge=vmbr0", "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=20"));
        assert!(!vm("net0", "virtio=BC:24:11:00:00:02,bridge=vmbr0", "virtio=BC:24:11:00:00:01,bridge=vmbr0"));
        assert!(!vm("cores", "2", "4"));
        assert!(!vm("boot", "order=scsi0;net0", "order=net0;scsi0"));
    }

    #[test]
    fn an_allocation_and_its_volume_are_one_disk() {
        assert!(vm("scsi0", "local-lvm:32", "local-lvm:vm-100-disk-0,size=32G"));
        assert!(vm("scsi0", "local-lvm:32,discard=on", "local-lvm:vm-100-disk-0,discard=on,size=32G"));
        assert!(!vm("scsi0", "local-lvm:32", "local-lvm:vm-100-disk-0,size=16G"));
        assert!(!vm("scsi0", "local-lvm:32", "shared:vm-100-disk-0,size=32G"));
        assert!(vm("ide2", "local-lvm:cloudinit,media=cdrom", "local-lvm:vm-100-cloudinit,media=cdrom,size=4M"));
        assert!(vm("scsi0", "local-lvm:0.001", "local-lvm:vm-100-disk-0,size=4M"));
    }

    #[test]
    fn explicit_defaults_are_no_difference() {
        assert!(vm("net0", "virtio,bridge=vmbr0", "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=0"));
        assert!(vm("scsi0", "local-lvm:32,backup=1", "local-lvm:vm-100-disk-0,size=32G"));
        let spec = catalog(GuestKind::Qemu).find("cores").unwrap();
        assert!(is_default(GuestKind::Qemu, "cores", spec, "1") && !is_default(GuestKind::Qemu, "cores", spec, "2"));
    }
}
