//! What a guest is after the steps of its change, as far as they say it.

use std::collections::BTreeMap;

use super::document::{Change, Expect, Step, StepKind};
use super::drives::{holds_data, volume_of};
use super::mark::{self, Mark, Marked};
use super::template::Hole;
use crate::desired::{DesiredGuest, Power};
use crate::live::{LiveConfig, LiveGuest, Read};
use crate::pve::compare::{is_drive, stem, volume_key};
use crate::pve::property;
use crate::pve::schema::catalog;
use crate::pve::value::{GuestKind, Size, allocation, parse_tags, storage_of};

/// The guest and its mark after the steps; nothing where they do not say what it is then.
pub fn play(live: &LiveGuest, change: &Change) -> Option<(LiveGuest, Mark)> {
    let mut after = live.clone();
    for step in &change.steps {
        step_of(&mut after, step)?;
    }
    let config = after.config.known()?;
    let tags = config.effective("tags").map(parse_tags).unwrap_or_default();
    let marked = mark::read(config.effective("description").unwrap_or_default());
    after.tags = tags;
    match marked {
        Marked::By(mark) => Some((after, mark)),
        _ => None,
    }
}

/// The same of a guest that the steps make from nothing.
pub fn made(guest: &DesiredGuest, change: &Change) -> Option<(LiveGuest, Mark)> {
    let position = change.steps.iter().position(|step| step.kind == StepKind::Create)?;
    let (create, rest) = change.steps.get(position..)?.split_first()?;
    let params = &create.call.params;
    if params.contains_key("archive") || params.contains_key("restore") {
        return None;
    }
    let kind = change.address.kind;
    let mut config = LiveConfig::default();
    // What Proxmox sets by itself is removed by steps where it is not wanted.
    let given: &[(&str, &str)] = match kind {
        GuestKind::Qemu => &[("boot", "order=net0"), ("smbios1", "uuid=0"), ("vmgenid", "0")],
        GuestKind::Lxc => &[("arch", "amd64"), ("memory", "512"), ("ostype", "unmanaged"), ("swap", "512")],
    };
    config.current.extend(given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    for (name, value) in params {
        let is_option = catalog(kind).find(name).is_some_and(|spec| spec.update || spec.facts.unchanged);
        if is_option && !is_drive(kind, name) && value.holes().next().is_none() {
            config.current.insert(name.clone(), value.to_string());
        }
    }
    let mut after = LiveGuest {
        vmid: change.address.vmid?,
        kind,
        node: change.node.clone()?,
        name: Read::Known(guest.name.clone()),
        power: Read::Known(Power::Stopped),
        template: false,
        tags: Default::default(),
        lock: None,
        pool: params.get("pool").map(ToString::to_string),
        snapshots: BTreeMap::new(),
        paused: false,
        ha: Some(Read::Absent),
        config: Read::Known(config),
    };
    step_of(&mut after, create)?;
    play(&after, &Change { steps: rest.to_vec(), ..change.clone() })
}

fn step_of(after: &mut LiveGuest, step: &Step) -> Option<()> {
    let kind = after.kind;
    let Read::Known(config) = &mut after.config else { return None };
    // A secret is not read back; that there is one is.
    for (name, value) in &step.call.params {
        let is_secret = value.holes().any(|hole| matches!(hole, Hole::Secret(_)));
        if is_secret && catalog(kind).find(name).is_some_and(|spec| spec.update) {
            config.current.insert(name.clone(), "(secret)".to_owned());
        }
    }
    let is_volume = |name: &str| is_drive(kind, name) || stem(name) == "unused";
    let held: Vec<String> =
        config.current.iter().filter(|(name, _)| is_volume(name)).map(|(_, text)| volume_of(text).to_owned()).collect();
    let volumes: Vec<&str> = step.expect.iter().filter_map(set_volume).collect();
    for expect in &step.expect {
        match expect {
            Expect::Option { name, value } => {
                let text = if is_drive(kind, name) { drive(kind, config, &held, name, value)? } else { value.clone() };
                let volume = volume_of(&text).to_owned();
                config.current.retain(|other, text| stem(other) != "unused" || volume_of(text) != volume);
                config.current.insert(name.clone(), text);
                config.pending.remove(name);
            }
            Expect::NoOption { name } => {
                let text = config.current.remove(name);
                config.pending.remove(name);
                // What is detached waits, unless it has another key now.
                if let Some(text) = text.filter(|text| {
                    stem(name) != "unused" && holds_data(kind, name, text) && !volumes.contains(&volume_of(text))
                }) {
                    detach(config, volume_of(&text));
                }
            }
            Expect::Size { drive, size } => {
                config.effective(drive)?;
                let texts = [config.current.get_mut(drive), config.pending.get_mut(drive).and_then(Option::as_mut)];
                for text in texts.into_iter().flatten() {
                    *text = with_key(kind, drive, text, "size", size)?;
                }
            }
            Expect::Storage { drive, storage } => {
                let before = config.current.get(drive)?.clone();
                let (_, path) = volume_of(&before).split_once(':')?;
                let text = with_key(kind, drive, &before, volume_key(kind), &format!("{storage}:{path}"))?;
                config.current.insert(drive.clone(), text);
                if !step.call.params.contains_key("delete") {
                    detach(config, volume_of(&before));
                }
            }
            Expect::NothingPending => {
                for (name, value) in std::mem::take(&mut config.pending) {
                    match value {
                        Some(value) => drop(config.current.insert(name, value)),
                        None => drop(config.current.remove(&name)),
                    }
                }
            }
            Expect::Power(power) => after.power = Read::Known(*power),
            Expect::Pool(pool) => after.pool = Some(pool.clone()),
            Expect::Node(node) => after.node.clone_from(node),
            Expect::Template => after.template = true,
            Expect::Ha(None) => after.ha = Some(Read::Absent),
            Expect::Ha(Some(options)) => {
                let mut resource = match after.ha.take() {
                    Some(Read::Known(resource)) => resource,
                    _ => BTreeMap::new(),
                };
                resource.extend(options.clone());
                after.ha = Some(Read::Known(resource));
            }
            Expect::Exists => {}
            Expect::Gone => return None,
        }
    }
    Some(())
}

/// The volume that a step sets, where it names one.
fn set_volume(expect: &Expect) -> Option<&str> {
    match expect {
        Expect::Option { value, .. } => Some(volume_of(value)),
        _ => None,
    }
}

/// A drive as it is once it is set to this; nothing where its volume cannot be told. The guest holds these until then.
fn drive(kind: GuestKind, config: &LiveConfig, held: &[String], name: &str, value: &str) -> Option<String> {
    let key = volume_key(kind);
    let format = catalog(kind).find(name)?.value.properties.as_ref()?;
    let mut keys = property::split(value, format).ok()?;
    let volume = keys.get(key).cloned();
    match volume.as_deref() {
        // What it holds until then.
        None => {
            let now = property::split(config.effective(name)?, format).ok()?;
            for own in [key, "size"] {
                if let Some(value) = now.get(own) {
                    keys.entry(own.to_owned()).or_insert_with(|| value.clone());
                }
            }
        }
        Some(volume) if volume.ends_with(":cloudinit") => {
            keys.insert(key.to_owned(), format!("{}:vm-0-cloudinit", storage_of(volume)?));
        }
        Some(volume) => match allocation(volume) {
            Some((storage, gib)) if !matches!(stem(name), "efidisk" | "tpmstate") => {
                let size = Size((gib.parse::<f64>().ok()? * Size::GIB as f64) as u64);
                keys.insert(key.to_owned(), format!("{storage}:vm-0-disk-{name}"));
                keys.insert("size".to_owned(), size.to_string());
            }
            Some((storage, _)) => {
                keys.insert(key.to_owned(), format!("{storage}:vm-0-disk-{name}"));
            }
            None if volume == "none" || keys.get("media").is_some_and(|media| media == "cdrom") => {}
            None if held.iter().any(|held| held == volume) => {}
            None => return None,
        },
    }
    Some(property::print(&keys, format))
}

/// The same value with one sub-key set.
fn with_key(kind: GuestKind, name: &str, text: &str, key: &str, value: &str) -> Option<String> {
    let format = catalog(kind).find(name)?.value.properties.as_ref()?;
    let mut keys = property::split(text, format).ok()?;
    keys.insert(key.to_owned(), value.to_owned());
    Some(property::print(&keys, format))
}

/// Keeps a volume under the lowest free number.
fn detach(config: &mut LiveConfig, volume: &str) {
    let free = (0..256).map(|number| format!("unused{number}")).find(|key| !config.current.contains_key(key));
    config.current.extend(free.map(|key| (key, volume.to_owned())));
}
