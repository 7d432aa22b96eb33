//! Writing a configuration file.

use std::collections::BTreeSet;

use super::keys::check_value;
use super::{GuestFile, Section};
use crate::pve::drive::Drive;
use crate::pve::mount::{Mount, MountSource};
use crate::pve::text::encode_text;
use crate::pve::value::{GuestKind, storage_of};

pub(super) fn vm(file: &GuestFile) -> Result<String, String> {
    let mut file = file.clone();
    file.current.values.remove("snapstate");
    replace_old_keys(&mut file.current)?;
    let mut used = BTreeSet::new();
    clean(&mut file.current, Some(&mut used))?;
    clean(&mut file.pending, Some(&mut used))?;
    for snapshot in file.snapshots.values_mut() {
        clean(snapshot, None)?;
    }
    drop_used(&mut file.current, &used);
    let mut text = section_text(&file.current, false);
    if !file.pending.values.is_empty() {
        text.push_str(&format!("\n[PENDING]\n{}", section_text(&file.pending, true)));
    }
    // What cloud-init's drive was made of is of use only while there is one.
    let drives = file.current.values.iter().filter_map(|(key, value)| Drive::parse(key, value).ok());
    let has_cloudinit = drives.filter(|drive| drive.interface != "unused").any(|drive| drive.is_cloudinit());
    for (name, section) in &file.special {
        if name != "cloudinit" || has_cloudinit {
            text.push_str(&format!("\n[special:{name}]\n{}", section_text(section, false)));
        }
    }
    for (name, section) in &file.snapshots {
        text.push_str(&format!("\n[{name}]\n{}", section_text(section, false)));
    }
    Ok(text)
}

/// Brings keys of old releases to those of today.
fn replace_old_keys(section: &mut Section) -> Result<(), String> {
    let values = &mut section.values;
    if let Some(drive) = values.remove("cdrom") {
        if values.contains_key("ide2") {
            return Err("option ide2 conflicts with cdrom\n".to_owned());
        }
        values.insert("ide2".to_owned(), drive);
    }
    let count = values.remove("smp").filter(|count| count != "0");
    if let Some(count) = count.filter(|_| values.get("sockets").is_none_or(|sockets| sockets == "0")) {
        values.remove("cores");
        values.insert("sockets".to_owned(), count);
    }
    Ok(())
}

/// Checks a VM's values, brings them into form, and notes the volumes of its drives.
fn clean(section: &mut Section, mut used: Option<&mut BTreeSet<String>>) -> Result<(), String> {
    for (key, value) in &mut section.values {
        if matches!(key.as_str(), "description" | "snapstate" | "delete") {
            continue;
        }
        *value = check_value(GuestKind::Qemu, key, value)
            .map_err(|text| format!("unable to parse value of '{key}' - {text}"))?;
        let Some(used) = used.as_deref_mut() else { continue };
        if let Ok(mut drive) = Drive::parse(key, value)
            && drive.interface != "unused"
            && let Some(volume) = drive.keys.remove("file")
        {
            used.insert(volume);
        }
    }
    Ok(())
}

/// A volume that is in use is not listed as unused.
fn drop_used(section: &mut Section, used: &BTreeSet<String>) {
    section.values.retain(|key, value| !(key.starts_with("unused") && used.contains(value)));
}

pub(super) fn container(file: &GuestFile) -> String {
    let mut current = file.current.clone();
    current.values.remove("snapstate");
    let mounts = current.values.iter().filter(|(key, _)| !key.starts_with("unused"));
    let volumes = mounts.filter_map(|(key, value)| Mount::parse(key, value).ok());
    let used = volumes
        .filter(|mount| mount.source == MountSource::Volume)
        .filter_map(|mut mount| mount.keys.remove("volume").filter(|volume| storage_of(volume).is_some()))
        .collect();
    drop_used(&mut current, &used);
    let mut text = section_text(&current, false);
    if !file.pending.values.is_empty() || !file.pending.raw.is_empty() {
        text.push_str(&format!("\n[pve:pending]\n{}", section_text(&file.pending, false)));
    }
    for (name, section) in &file.snapshots {
        text.push_str(&format!("\n[{name}]\n{}", section_text(section, false)));
    }
    text
}

/// A section's lines; an empty description that waits is written too, since it takes one away.
fn section_text(section: &Section, waits: bool) -> String {
    let mut text = String::new();
    match section.values.get("description").map(String::as_str) {
        Some("" | "0") if waits => text.push_str("#\n"),
        Some("" | "0") | None => {}
        Some(description) => {
            for line in description
                .trim_end_matches('\n')
                .split('\n')
                .filter(|_| !description.trim_end_matches('\n').is_empty())
            {
                text.push_str(&format!("#{}\n", encode_text(line)));
            }
        }
    }
    let lines = section.values.iter().filter(|(key, _)| !matches!(key.as_str(), "description" | "env"));
    lines.for_each(|(key, value)| text.push_str(&format!("{key}: {value}\n")));
    let env = section.values.get("env").filter(|env| !matches!(env.as_str(), "" | "0"));
    let variables = env.map(|env| env.trim_end_matches('\0')).filter(|env| !env.is_empty()).into_iter();
    // Of variables without a name and a value, only a first one is kept.
    for (_, variable) in
        variables.flat_map(|env| env.split('\0').enumerate()).filter(|(at, one)| *at == 0 || !one.is_empty())
    {
        text.push_str(&format!("lxc.environment.runtime: {variable}\n"));
    }
    for (key, value) in section.raw.iter().filter(|(key, _)| key != "lxc.environment.runtime") {
        text.push_str(&format!("{key}: {value}\n"));
    }
    text
}
