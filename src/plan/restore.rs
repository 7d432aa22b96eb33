//! Making a guest of a backup: what is in it, on which node and storage, and what is left to change.

use std::collections::{BTreeMap, BTreeSet};

use super::clone::{Likeness, change_after};
use super::create::{Refusal, candidates, choose_id, description, first_fitting, name_option, refuse};
use super::document::{Call, Change, Effect, Expect, FieldChange, Reason, ReasonCode, State, Step, StepKind};
use super::drives::volume_of;
use super::planner::Cluster;
use super::preflight::Needs;
use super::tags;
use super::template::Template;
use super::vmids::NewIds;
use crate::desired::{DesiredGuest, DriveForm, OptionValue, Spanned};
use crate::live::{LiveConfig, Read};
use crate::pve::compare::is_drive;
use crate::pve::http::Method;
use crate::pve::value::{GuestKind, parse_boolean, parse_tags, print_tags, storage_of};

/// Plans restoring a guest that is not there.
pub(super) fn from_backup(
    cluster: &Cluster<'_>,
    guest: &DesiredGuest,
    archive: &Spanned<String>,
    change: &mut Change,
    ids: &mut NewIds,
) -> Result<(), Refusal> {
    let volume = &archive.value;
    let unread = |words: String| Err((State::Unknown, Reason { code: ReasonCode::Unread, words, hint: None }));
    if let Some(reason) = cluster.why_not_restored(volume, guest.vmid) {
        return Err((State::Blocked, reason));
    }
    let inside = match cluster.live.archives.get(volume) {
        Some(Read::Known(inside)) => inside,
        Some(Read::Unread(why)) => return unread(format!("the backup {volume} could not be read: {why}")),
        Some(Read::Absent) | None => return unread(format!("the backup {volume} was not read")),
    };
    let is_vm = inside.keys().any(|name| matches!(name.as_str(), "name" | "scsihw" | "meta" | "smbios1"));
    let is_container = inside.contains_key("rootfs");
    if (guest.kind == GuestKind::Lxc) != is_container || is_container && is_vm {
        let words = format!("{volume} is not a backup of a {}", guest.kind.noun());
        return refuse(ReasonCode::NotFound, words, Some(format!("named at {}", archive.place)));
    }
    if inside.get("template").is_some_and(|text| parse_boolean(text) == Some(true)) && !guest.template {
        let words = format!("{volume} is a backup of a template, which stays one");
        return refuse(ReasonCode::NotInPlace, words, Some("write `template: true`".to_owned()));
    }
    let storage = storage_for(guest, inside);
    let config = foretell(guest, inside, storage.as_deref());
    let mut needs = Needs::of_config(guest.kind, &config);
    needs.extend(Needs::of(guest));
    needs.backup(volume);
    let node = first_fitting(cluster, &candidates(cluster, guest), &needs)?;
    if let Some(pool) = &guest.pool
        && let Some(reason) = cluster.missing_pool(pool)
    {
        return Err((State::Blocked, reason));
    }
    if let Some(reason) = cluster.why_not_copied(guest.kind, &config) {
        return Err((State::Blocked, reason));
    }
    let (vmid, vmid_text) = choose_id(cluster, guest, ids, &mut change.notes)?;
    change.address.vmid = Some(vmid);
    change.node = Some(node.clone());
    let on = storage.as_ref().map_or_else(String::new, |storage| format!(", on {storage}"));
    change.fields.push(FieldChange {
        name: "archive".to_owned(),
        before: None,
        after: Some(format!("{volume}{on}")),
        effect: Effect::None,
        place: Some(archive.place.clone()),
        layer: None,
        blocked: None,
    });
    let inherited = inside.get("description").map_or("", String::as_str);
    let (text, text_expect) = description(cluster, guest, vmid, inherited, BTreeMap::new());
    let live_tags: BTreeSet<String> = inside.get("tags").map(|tags| parse_tags(tags)).unwrap_or_default();
    let tags = print_tags(&tags::wanted(guest, cluster.fleet, &live_tags));
    let mut params = BTreeMap::from([
        ("vmid".to_owned(), vmid_text.clone()),
        (name_option(guest.kind).to_owned(), Template::text(&guest.name)),
        ("description".to_owned(), text),
        ("tags".to_owned(), Template::text(&tags)),
    ]);
    let source = match guest.kind {
        GuestKind::Qemu => "archive",
        GuestKind::Lxc => {
            params.insert("restore".to_owned(), Template::text("1"));
            "ostemplate"
        }
    };
    params.insert(source.to_owned(), Template::text(volume));
    let optional = [("storage", storage.as_ref()), ("pool", guest.pool.as_ref())];
    params.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Template::text(value?)))));
    change.steps.push(Step {
        kind: StepKind::Create,
        words: format!("restore {volume}"),
        call: Call { method: Method::Post, path: Template::text(format!("/nodes/{node}/{}", guest.kind)), params },
        effect: Effect::None,
        expect: vec![
            Expect::Exists,
            Expect::Option { name: name_option(guest.kind).to_owned(), value: guest.name.clone() },
            Expect::Option { name: "description".to_owned(), value: text_expect },
        ],
    });
    change_after(cluster, guest, change, Likeness { config, inherited, vmid, vmid_text, moves_to: None })
}

/// The storage for all disks: the one that the manifest names for its disks, and a container's own.
fn storage_for(guest: &DesiredGuest, inside: &BTreeMap<String, String>) -> Option<String> {
    let named = guest.options.iter().filter(|(name, _)| inside.contains_key(*name)).filter_map(|(_, option)| {
        match &option.value {
            OptionValue::Drive(drive) => match &drive.form {
                DriveForm::Allocate { storage } => Some(storage.clone()),
                _ => None,
            },
            _ => None,
        }
    });
    let named: BTreeSet<String> = named.collect();
    if let [only] = named.iter().collect::<Vec<_>>().as_slice() {
        return Some((*only).clone());
    }
    // Left out, Proxmox puts a container on the storage `local`.
    let root = inside.get("rootfs").filter(|_| guest.kind == GuestKind::Lxc)?;
    storage_of(volume_of(root)).map(str::to_owned)
}

/// The configuration that the restored guest will have.
fn foretell(guest: &DesiredGuest, inside: &BTreeMap<String, String>, storage: Option<&str>) -> LiveConfig {
    let source = LiveConfig { current: inside.clone(), ..LiveConfig::default() };
    let mut config = super::clone::foretell(guest, &source, storage);
    // What a VM leaves out of its backups is not in them.
    let is_left_out = |name: &str, text: &str| {
        guest.kind == GuestKind::Qemu && is_drive(guest.kind, name) && text.split(',').any(|part| part == "backup=0")
    };
    config.current.retain(|name, text| !is_left_out(name, text));
    config
}
