//! Drives: reading and printing them, making their volumes.

use std::collections::BTreeMap;

use crate::pve::format::check_format;
use crate::pve::property::{self, Properties};
use crate::pve::schema::catalog;
use crate::pve::value::{GuestKind, Size, allocation};
use crate::sim::access::Check;
use crate::sim::answer::Failure;
use crate::sim::cluster::Cluster;
use crate::sim::config::Config;
use crate::sim::guest::{default_of, is_drive, sub_key, volume_of};
use crate::sim::progress;
use crate::sim::route::Call;
use crate::sim::volume::{self, Family, Purpose, is_cloudinit};

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

/// The size of a copy of a drive: that of firmware's variables and of a TPM's state is fixed.
pub(super) fn copied_size(key: &str, size: u64) -> u64 {
    match key {
        "efidisk0" => EFI_VARS,
        "tpmstate0" => FOUR_MIB,
        _ => size,
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
        let made = cluster.storages.allocate(
            (&storage, node),
            vmid,
            Purpose::CloudInit,
            format.as_deref(),
            (FOUR_MIB, ctime),
        )?;
        drive.insert("file".to_owned(), made.clone());
        drive.insert("media".to_owned(), "cdrom".to_owned());
        drive.remove("size");
        let printed = print(key, &drive);
        log.push(format!("{key}: successfully created disk '{printed}'"));
        return Ok((printed, Some(made)));
    }
    if let Some(source) = drive.remove("import-from") {
        let made = import(cluster, (node, &storage), vmid, (key, &source), drive.remove("format"), log)?;
        let made = if config.flag("template") { cluster.storages.make_base(&made, node) } else { made };
        drive.insert("file".to_owned(), made.clone());
        with_size(cluster, node, &mut drive);
        let printed = print(key, &drive);
        log.push(format!("{key}: successfully created disk '{printed}'"));
        return Ok((printed, Some(made)));
    }
    // In a CD-ROM drive a number is the name of an image.
    let is_cdrom = drive.get("media").is_some_and(|media| media == "cdrom");
    if let Some((_, number)) = allocation(&file).filter(|_| !is_cdrom) {
        let size = match key {
            "efidisk0" => EFI_VARS,
            "tpmstate0" => FOUR_MIB,
            _ => Size::parse_proxmox(&format!("{number}G")).map_or(0, |size| size.0 / 1024 * 1024),
        };
        let format = drive.remove("format");
        // A state of a TPM is never anything but raw on files.
        let format = if key == "tpmstate0" { Some("raw".to_owned()) } else { format };
        let other = format.as_deref().filter(|format| *format != "raw");
        if let Some(format) = other.filter(|_| cluster.storages.family(&storage) == Family::LvmThin) {
            let place = "/usr/share/perl5/PVE/Storage/LvmThinPlugin.pm line 102.";
            return Err(Failure::die(format!("unsupported format '{format}' at {place}")));
        }
        let mut made =
            cluster.storages.allocate((&storage, node), vmid, Purpose::Disk, format.as_deref(), (size, ctime))?;
        log.extend(cluster.storages.made_text(&made, size));
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
    if matches!(cluster.storages.family(&storage), Family::Lvm | Family::LvmThin) {
        check_format("pve-storage-vgname", rest).map_err(|text| Failure::die(text.trim_end()))?;
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

/// The storages on which drives that are asked for get new volumes.
pub(super) fn made_on(options: &BTreeMap<String, String>) -> Vec<String> {
    let made = options.iter().filter(|(key, value)| is_drive(key) && !value.contains("media=cdrom"));
    let volumes = made.filter_map(|(_, value)| default_of(value, "file"));
    volumes
        .filter_map(|file| allocation(file).map(|(storage, _)| storage).or_else(|| file.strip_suffix(":cloudinit")))
        .map(str::to_owned)
        .collect()
}

/// Copies a volume or a file into a new disk of a VM; the new volume.
fn import(
    cluster: &mut Cluster,
    (node, storage): (&str, &str),
    vmid: u32,
    (key, source): (&str, &str),
    format: Option<String>,
    log: &mut Vec<String>,
) -> Result<String, Failure> {
    let failed = |text: String| Failure::die(format!("cannot import from '{source}' - {text}"));
    if source.starts_with('/') {
        // There are no files on a simulated node beside those of its storages.
        return Err(Failure::die(format!("volume '{source}' does not exist")));
    }
    if source.contains(".ova/") {
        return Err(Failure::Unsupported);
    }
    cluster.storages.find_on(source.split(':').next().unwrap_or_default(), node)?;
    let size = cluster.storages.size_of(source, node);
    let size = size.ok_or_else(|| failed(format!("could not get size of {source}")))?;
    if is_cloudinit(source) {
        return Err(failed("cannot import from cloudinit disk".to_owned()));
    }
    let owner = volume::owner(source);
    if let Some(guest) = owner.and_then(|owner| cluster.guests.get(&owner))
        && guest.node != node
    {
        return Err(failed(format!("owner VM {} not on local node", owner.unwrap_or(0))));
    }
    let format = format.unwrap_or_else(|| volume::format_of(source).to_owned());
    let size = copied_size(key, size);
    let ctime = cluster.unix_time();
    log.push(format!("create full clone of drive ({source})"));
    let made = cluster.storages.allocate((storage, node), vmid, Purpose::Disk, Some(&format), (size, ctime));
    let made = made.map_err(|failure| failed(failure.text()))?;
    log.extend(cluster.storages.made_text(&made, size));
    if cluster.access.release() >= 9 {
        log.push(format!("allocated target volume '{made}'"));
    }
    log.extend(progress::lines_at(&progress::spread(vec![(Vec::new(), Some(size))], 0, 0), 1));
    Ok(made)
}

/// What is asked of a drive that is imported, before anything is done.
pub(super) fn check_import(
    cluster: &Cluster,
    check: Check,
    call: &Call,
    (key, value): (&str, &str),
) -> Result<(), Failure> {
    let Some(source) = sub_key(value, "import-from").filter(|_| is_drive(key)) else { return Ok(()) };
    let file = default_of(value, "file").unwrap_or_default();
    let zero =
        file.split_once(':').is_some_and(|(_, size)| size.parse::<f64>().is_ok_and(|size| size.abs() < f64::EPSILON));
    if !zero {
        let text = "'import-from' requires special syntax - use <storage ID>:0,import-from=<source>";
        return Err(Failure::parameter(key, text));
    }
    let needed: &[&str] = match key {
        "efidisk0" => &["efitype", "pre-enrolled-keys"],
        "tpmstate0" => &["version"],
        _ => &[],
    };
    if let Some(name) = needed.iter().find(|name| sub_key(value, name).is_none()) {
        return Err(Failure::parameter(key, format!("need to specify '{name}' when using 'import-from'")));
    }
    let Some((storage, name)) = source.split_once(':').filter(|_| !source.starts_with('/')) else {
        if check.subject.is_root() {
            return Ok(());
        }
        let line = if cluster.access.release() >= 9 { 651 } else { 581 };
        return Err(Failure::die(format!(
            "Only root can pass arbitrary filesystem paths. at /usr/share/perl5/PVE/Storage.pm line {line}."
        )));
    };
    cluster.storages.find(storage)?;
    let kind = name.split('/').next().unwrap_or_default();
    if matches!(kind, "iso" | "vztmpl" | "backup" | "snippets") {
        let text = format!("{source} has wrong type '{kind}' - needs to be 'images' or 'import'");
        return Err(Failure::parameter(key, text));
    }
    match volume::owner(source).filter(|_| kind != "import") {
        Some(owner) => cluster.check_guest(check.subject, owner).need(&format!("/vms/{owner}"), &["VM.Clone"]),
        None => crate::sim::api::check_access(cluster, call, None, source),
    }
}
