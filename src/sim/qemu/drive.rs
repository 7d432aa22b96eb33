//! Drives: reading and printing them, making their volumes.

use crate::pve::property::{self, Properties};
use crate::pve::schema::catalog;
use crate::pve::value::{GuestKind, Size, allocation};
use crate::sim::answer::Failure;
use crate::sim::cluster::Cluster;
use crate::sim::config::Config;
use crate::sim::guest::{is_drive, sub_key, volume_of};
use crate::sim::volume::{Family, Purpose, is_cloudinit};

/// Bytes of the variables of UEFI firmware.
const EFI_VARS: u64 = 528 * Size::KIB;
const FOUR_MIB: u64 = 4 * Size::MIB;

/// A drive's value as sub-keys, or nothing where it cannot be read.
pub(super) fn parse(key: &str, value: &str) -> Option<Properties> {
    property::parse(value, catalog(GuestKind::Qemu).find(key)?.value.properties.as_ref()?).ok()
}

/// The value that is stored for the sub-keys of a drive.
pub(super) fn print(key: &str, drive: &Properties) -> String {
    let format = catalog(GuestKind::Qemu).find(key).and_then(|spec| spec.value.properties.as_ref());
    format.map(|format| property::print(drive, format)).unwrap_or_default()
}

/// True for a CD-ROM drive; one of cloud-init is one too.
pub(super) fn is_cdrom(value: &str) -> bool {
    sub_key(value, "media") == Some("cdrom")
}

/// True for a drive of cloud-init.
pub(super) fn is_cloudinit_drive(value: &str) -> bool {
    is_cdrom(value) && volume_of(value).is_some_and(is_cloudinit)
}

/// The keys of drives with their values, in the order of their names.
pub(super) fn of(config: &Config) -> impl Iterator<Item = (&String, &String)> {
    config.current.iter().filter(|(key, _)| is_drive(key))
}

/// The size of a volume as it stands in a drive's value.
pub(super) fn with_size(cluster: &Cluster, node: &str, drive: &mut Properties) {
    let volid = drive.get("file").cloned().unwrap_or_default();
    match cluster.storages.size_of(&volid, node) {
        Some(size) => drop(drive.insert("size".to_owned(), Size(size).to_string())),
        None => drop(drive.remove("size")),
    }
}

/// A drive as asked for, turned into one that is stored: its volume made where one is asked for.
///
/// The second part is the volume that was made.
pub(super) fn place(
    cluster: &mut Cluster,
    node: &str,
    vmid: u32,
    (key, value): (&str, &str),
    config: &Config,
    log: &mut Vec<String>,
) -> Result<(String, Option<String>), Failure> {
    let Some(mut drive) = parse(key, value) else { return Ok((value.to_owned(), None)) };
    let file = drive.get("file").cloned().unwrap_or_default();
    if file == "none" || file == "cdrom" {
        drive.insert("media".to_owned(), "cdrom".to_owned());
        return Ok((print(key, &drive), None));
    }
    if file.starts_with('/') {
        return Ok((print(key, &drive), None));
    }
    let (storage, rest) = file.split_once(':').unwrap_or((&file, ""));
    let storage = cluster.storages.find(storage)?.name.clone();
    let ctime = cluster.unix_time();
    if rest == "cloudinit" {
        let other = of(config).chain(config.pending.iter().filter(|(key, _)| is_drive(key)));
        let other =
            other.filter(|(other, value)| *other != key && is_cloudinit_drive(value)).map(|(key, _)| key).next();
        if let Some(other) = other {
            return Err(Failure::die(format!("{key} - cloud-init drive is already attached at '{other}'")));
        }
        let format = drive.remove("format");
        let made =
            cluster.storages.allocate((&storage, node), vmid, Purpose::CloudInit, format.as_deref(), (FOUR_MIB, ctime));
        drive.insert("file".to_owned(), made.clone());
        drive.insert("media".to_owned(), "cdrom".to_owned());
        drive.remove("size");
        let printed = print(key, &drive);
        log.push(format!("{key}: successfully created disk '{printed}'"));
        return Ok((printed, Some(made)));
    }
    if let Some((_, number)) = allocation(&file) {
        let size = match key {
            "efidisk0" => EFI_VARS,
            "tpmstate0" => FOUR_MIB,
            _ => Size::parse_proxmox(&format!("{number}G")).map_or(0, |size| size.0 / 1024 * 1024),
        };
        let format = drive.remove("format");
        // A state of a TPM is never anything but raw on files.
        let format = if key == "tpmstate0" { Some("raw".to_owned()) } else { format };
        let mut made =
            cluster.storages.allocate((&storage, node), vmid, Purpose::Disk, format.as_deref(), (size, ctime));
        if cluster.storages.family(&storage) == Family::Files {
            let name = made.split_once(':').map_or("", |(_, name)| name);
            log.push(format!("Formatting '/var/lib/{storage}/images/{name}', size={size}"));
        }
        if config.flag("template") {
            made = cluster.storages.make_base(&made, node);
        }
        drive.insert("file".to_owned(), made.clone());
        with_size(cluster, node, &mut drive);
        if key == "efidisk0"
            && drive.get("pre-enrolled-keys").is_some_and(|set| set == "1")
            && cluster.is_at_least(9, 2)
        {
            drive.entry("ms-cert".to_owned()).or_insert_with(|| "2023k".to_owned());
        }
        let printed = print(key, &drive);
        log.push(format!("{key}: successfully created disk '{printed}'"));
        return Ok((printed, Some(made)));
    }
    if cluster.storages.size_of(&file, node).is_none() {
        return Err(Failure::die(format!("volume '{file}' does not exist")));
    }
    drive.remove("format");
    if is_cloudinit(&file) {
        drive.remove("size");
    } else {
        with_size(cluster, node, &mut drive);
    }
    Ok((print(key, &drive), None))
}
