//! Guests as written: one list item, or one for each value of its `each`.

use minijinja::value::Value;

use super::decode::Problems;
use super::each;
use super::keys::{self, Level};
use super::layers::layer_entry;
use super::model::{Guest, Instance, Layer, Spanned};
use super::source::{Key, Node, NodeKind};
use crate::diagnostics::{Diagnostic, Place};
use crate::pve::value::{GuestKind, Vmid, is_dns_name};

/// Reads a list of guests.
pub(super) fn guests(
    problems: &mut Problems,
    kind: GuestKind,
    what: &str,
    under: Option<&Key>,
    node: &Node,
    into: &mut Vec<Guest>,
) {
    for item in problems.list(what, node) {
        let NodeKind::Map(entries) = &item.kind else {
            let message = format!("a guest is a map, and {} stands here", item.noun());
            problems.error_hint("wrong-type", message, &item.mark, "write `- name: …`");
            continue;
        };
        let Some(each) = item.get("each") else {
            into.extend(guest(problems, kind, under, item, entries));
            continue;
        };
        let Some((variable, instances)) = each::read(problems, each) else { continue };
        let outer = problems.scope.clone();
        for (instance, value) in instances {
            into.extend(one_of_each(problems, kind, under, item, entries, (&variable, value, instance)));
            problems.scope.clone_from(&outer);
        }
        problems.instance = None;
    }
}

fn one_of_each(
    problems: &mut Problems,
    kind: GuestKind,
    under: Option<&Key>,
    item: &Node,
    entries: &[(Key, Node)],
    (variable, value, instance): (&str, Value, Instance),
) -> Option<Guest> {
    problems.scope = problems.scope.with(variable, value);
    problems.instance = Some(instance.clone());
    problems.rendered.clear();
    let before = problems.list.len();
    let guest = guest(problems, kind, under, item, entries);
    for problem in &mut problems.list[before..] {
        let made = |place: &Place| problems.rendered.iter().any(|mark| mark.holds(place));
        if problem.place.as_ref().is_some_and(made) {
            *problem = problem.clone().with(&instance.place, &instance.words);
        }
    }
    let mut guest = guest?;
    guest.instance = Some(instance);
    guest.rendered = std::mem::take(&mut problems.rendered);
    Some(guest)
}

fn guest(
    problems: &mut Problems,
    kind: GuestKind,
    under: Option<&Key>,
    item: &Node,
    entries: &[(Key, Node)],
) -> Option<Guest> {
    let mut name: Option<Option<Spanned<String>>> = None;
    let cluster = under.map(|key| Spanned { value: key.text.clone(), place: key.mark.place() });
    let mut guest = Guest {
        kind,
        name: Spanned { value: String::new(), place: item.place() },
        vmid: None,
        cluster,
        profiles: Vec::new(),
        adopt: false,
        released: false,
        archive: None,
        recreate: None,
        renamed_from: None,
        instance: None,
        rendered: Vec::new(),
        layer: Layer { name: "guest".to_owned(), place: Some(item.place()), ..Layer::default() },
    };
    for (key, node) in entries {
        let Some(spec) = keys::find(Level::Guest, &key.text).filter(|spec| spec.level == Level::Guest) else {
            layer_entry(problems, key, node, &mut guest.layer);
            continue;
        };
        if spec.name == "profiles" {
            if problems.literal("`profiles`", node) {
                guest.profiles = problems.texts("profiles", node);
            }
            continue;
        }
        if spec.name == "each" {
            continue;
        }
        let node = &*problems.render(node);
        match spec.name {
            "hostname" if kind == GuestKind::Qemu => {
                problems.error_hint("unknown-key", "a VM has no `hostname`", &key.mark, "write `name`");
                name.get_or_insert(None);
            }
            "name" | "hostname" if name.is_some() => {
                let message = "the guest is named twice, by `name` and `hostname`";
                problems.error("duplicate-key", message, &key.mark);
            }
            "name" | "hostname" => name = Some(guest_name(problems, spec.name, node)),
            "vmid" => guest.vmid = vmid(problems, node),
            "cluster" => named_cluster(problems, under, node, &mut guest),
            "adopt" => guest.adopt = problems.boolean("adopt", node).unwrap_or_default(),
            "released" => guest.released = problems.boolean("released", node).unwrap_or_default(),
            "archive" => guest.archive = archive(problems, node),
            "recreate" => {
                let value = problems.boolean("recreate", node);
                guest.recreate = value.map(|value| Spanned { value, place: node.place() });
            }
            "renamed_from" => guest.renamed_from = guest_name(problems, "renamed_from", node),
            _ => {}
        }
    }
    if name.is_none() {
        let key = if kind == GuestKind::Lxc { "hostname" } else { "name" };
        let first = entries.first().map_or(&item.mark, |(key, _)| &key.mark);
        problems.error_hint(
            "no-name",
            format!("this {} has no name", kind.noun()),
            first,
            format!("write `name: …`{}", if key == "name" { "" } else { " or `hostname: …`" }),
        );
    }
    guest.name = name??;
    guest.layer.place = Some(guest.name.place.clone());
    Some(guest)
}

fn guest_name(problems: &mut Problems, what: &str, node: &Node) -> Option<Spanned<String>> {
    let name = problems.spanned(what, node)?;
    if !is_dns_name(&name.value) || name.value.len() > 255 {
        problems.error_hint(
            "wrong-value",
            format!("`{}` cannot be a guest's name", name.value),
            &node.mark,
            "Proxmox takes DNS names: letters, digits and hyphens, in parts joined by dots",
        );
        return None;
    }
    Some(name)
}

fn vmid(problems: &mut Problems, node: &Node) -> Option<Spanned<Vmid>> {
    let text = problems.text("vmid", node)?;
    let value = text.parse::<Vmid>().ok();
    if value.is_none() {
        let message =
            format!("`{text}` is no guest id; they go from {} to {}, without a leading zero", Vmid::MIN, Vmid::MAX);
        problems.error("wrong-value", message, &node.mark);
    }
    value.map(|value| Spanned { value, place: node.place() })
}

fn archive(problems: &mut Problems, node: &Node) -> Option<Spanned<String>> {
    let archive = problems.spanned("archive", node)?;
    if crate::pve::value::storage_of(&archive.value).is_none() {
        let message = format!("`archive`: `{}` names no backup", archive.value);
        let hint = "write STORAGE:backup/FILE, as the storage's list of backups shows it";
        problems.error_hint("wrong-value", message, &node.mark, hint);
        return None;
    }
    Some(archive)
}

fn named_cluster(problems: &mut Problems, under: Option<&Key>, node: &Node, guest: &mut Guest) {
    let Some(name) = problems.spanned("cluster", node) else { return };
    match under {
        Some(key) if key.text != name.value => problems.list.push(
            Diagnostic::error(
                "wrong-cluster",
                format!("the guest names the cluster `{}` and stands under another", name.value),
            )
            .at(&name.place)
            .also(&key.mark.place(), "it stands under this one"),
        ),
        _ => guest.cluster = Some(name),
    }
}
