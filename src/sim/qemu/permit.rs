//! Who may set which option of a VM, and on which storage and bridge.

use crate::pve::schema::split_index;
use crate::pve::value::allocation;
use crate::sim::access::Check;
use crate::sim::answer::Failure;
use crate::sim::cluster::Cluster;
use crate::sim::guest::{default_of, is_drive, is_unused, sub_key, volume_of};
use crate::sim::section::mapping;
use crate::sim::volume::is_cloudinit;

/// Checks that the storages of drives exist, hold images and may be written to.
pub(super) fn storage(cluster: &Cluster, check: Check, (key, value): (&str, &str)) -> Result<(), Failure> {
    if !is_drive(key) {
        return Ok(());
    }
    let file = default_of(value, "file").or_else(|| sub_key(value, "volume")).unwrap_or_default();
    if file.starts_with('/') {
        if check.subject.is_root() {
            return Ok(());
        }
        // The line where the program stopped is part of its text.
        let line = if cluster.access.release() >= 9 { 651 } else { 581 };
        return Err(Failure::die(format!(
            "Only root can pass arbitrary filesystem paths. at /usr/share/perl5/PVE/Storage.pm line {line}."
        )));
    }
    let Some(volid) = volume_of(value) else { return Ok(()) };
    let storage = volid.split(':').next().unwrap_or(volid);
    let path = format!("/storage/{storage}");
    let makes = allocation(volid).is_some() || volid.ends_with(":cloudinit");
    if makes {
        check.need(&path, &["Datastore.AllocateSpace"])?;
    }
    let spec = cluster.storages.find(storage)?;
    if makes && !spec.content.iter().any(|kind| kind == "images") {
        return Err(Failure::parameter("storage", format!("storage '{storage}' does not support vm images")));
    }
    if makes {
        return Ok(());
    }
    // A volume of this guest or of one that the caller may change, or any where the caller owns the storage.
    let owner = crate::sim::volume::owner(volid).unwrap_or(0);
    let is_image = volid.split_once(':').is_some_and(|(_, name)| name.starts_with("iso/"));
    if is_image {
        let readable = check.any(&path, &["Datastore.Audit", "Datastore.AllocateSpace"]);
        return if readable {
            Ok(())
        } else {
            Err(Failure::privilege(&path, "Datastore.AllocateSpace|Datastore.Audit"))
        };
    }
    let vms = format!("/vms/{owner}");
    if check.any(&path, &["Datastore.Allocate"]) || check.any(&vms, &["VM.Config.Disk"]) {
        Ok(())
    } else {
        Err(Failure::privilege(&vms, "VM.Config.Disk"))
    }
}

/// Checks the privilege for setting or removing one option; `current` is what stands there now.
pub(super) fn option(
    check: Check,
    vmid: u32,
    key: &str,
    value: Option<&str>,
    current: Option<&str>,
) -> Result<(), Failure> {
    if check.subject.is_root() {
        return Ok(());
    }
    let path = format!("/vms/{vmid}");
    let stem = split_index(key).map_or(key, |(stem, _)| stem);
    let need = |privilege: &str| check.need(&path, &[privilege]);
    let root_only = |more: &str| Err(Failure::die(format!("only root can set '{key}' config{more}")));
    let touched = || [value, current].into_iter().flatten();
    match stem {
        "cores" | "sockets" | "vcpus" | "cpu" | "cpulimit" | "cpuunits" | "numa" | "smp" => need("VM.Config.CPU"),
        "memory" | "balloon" | "shares" | "allow-ksm" => need("VM.Config.Memory"),
        "acpi" | "hotplug" | "kvm" | "machine" | "scsihw" | "smbios1" | "tablet" | "vga" | "watchdog" | "audio0"
        | "audio" | "rng0" | "rng" | "smbios" => need("VM.Config.HWType"),
        "startup" => {
            need("VM.Config.Options")?;
            check.need("/", &["Sys.Modify"])
        }
        "agent" | "autostart" | "bios" | "description" | "keyboard" | "localtime" | "migrate_downtime"
        | "migrate_speed" | "name" | "onboot" | "ostype" | "protection" | "reboot" | "startdate" | "tdf"
        | "template" | "tags" => need("VM.Config.Options"),
        "freeze" => need("VM.PowerMgmt"),
        "boot" | "bootdisk" | "vmstatestorage" => need("VM.Config.Disk"),
        "net" => need("VM.Config.Network"),
        "ipconfig" | "ciuser" | "cipassword" | "citype" | "ciupgrade" | "cicustom" | "nameserver" | "searchdomain"
        | "sshkeys" => check.need(&path, &["VM.Config.Cloudinit", "VM.Config.Network"]),
        "usb" => {
            if touched().any(|text| default_of(text, "host").is_some_and(|host| !host.eq_ignore_ascii_case("spice"))) {
                return root_only(" for real devices");
            }
            need("VM.Config.HWType")?;
            touched().try_for_each(|text| mapping::permit(check, key, text))
        }
        "serial" => {
            if touched().any(|text| text != "socket") {
                return Err(Failure::die(format!("only root can modify '{key}' config for real devices")));
            }
            need("VM.Config.HWType")
        }
        "hostpci" => {
            if touched().any(|text| sub_key(text, "mapping").is_none()) {
                return root_only(" for non-mapped devices");
            }
            touched().try_for_each(|text| mapping::permit(check, key, text))?;
            need("VM.Config.HWType")
        }
        "virtiofs" => {
            need("VM.Config.Disk")?;
            touched().try_for_each(|text| mapping::permit(check, key, text))
        }
        _ if is_unused(key) => need("VM.Config.Disk"),
        _ if is_drive(key) => {
            let text = value.or(current).unwrap_or_default();
            let file = default_of(text, "file").unwrap_or_default();
            if file.ends_with(":cloudinit") || volume_of(text).is_some_and(is_cloudinit) {
                need("VM.Config.Cloudinit")?;
                return need("VM.Config.CDROM");
            }
            need(if sub_key(text, "media") == Some("cdrom") || file == "none" {
                "VM.Config.CDROM"
            } else {
                "VM.Config.Disk"
            })
        }
        _ => root_only(""),
    }
}

/// Checks that the bridge of a network device may be used.
pub(super) fn bridge(check: Check, key: &str, value: &str) -> Result<(), Failure> {
    if split_index(key).is_none_or(|(stem, _)| stem != "net") {
        return Ok(());
    }
    let Some(bridge) = sub_key(value, "bridge") else { return Ok(()) };
    let mut path = format!("/sdn/zones/localnetwork/{bridge}");
    if let Some(tag) = sub_key(value, "tag") {
        path.push_str(&format!("/{tag}"));
    }
    check.need(&path, &["SDN.Use"])
}
