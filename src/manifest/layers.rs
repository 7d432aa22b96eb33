//! What defaults, profiles and guests have in common: Proxmox's options, and those of our keys that may be inherited.

use super::decode::Problems;
use super::keys::{self, Level};
use super::model::{CloneFrom, CloneSetting, Defaults, HaSetting, Layer, Setting, Spanned};
use super::references;
use super::source::{Key, Mark, Node, NodeKind};
use super::template::is_template;
use crate::diagnostics::{Diagnostic, Place};
use crate::pve::value::is_tag;

pub(super) fn defaults(problems: &mut Problems, prefix: &str, node: &Node, into: &mut Defaults) {
    for (key, node) in problems.map("defaults", node) {
        if !problems.key(Level::Defaults, key) {
            continue;
        }
        let target = match key.text.as_str() {
            "guest" => &mut into.guest,
            "vm" => &mut into.vm,
            _ => &mut into.container,
        };
        target.name = format!("{prefix}defaults.{}", key.text);
        target.place.get_or_insert_with(|| key.mark.place());
        layer(problems, &key.text, node, target);
    }
}

/// Reads a profile or a block of defaults.
pub(super) fn layer(problems: &mut Problems, what: &str, node: &Node, into: &mut Layer) {
    problems.shared = true;
    for (key, node) in problems.map(what, node) {
        if let Some(spec) = keys::find(Level::Guest, &key.text).filter(|spec| spec.level == Level::Guest) {
            let message = format!("`{}` belongs to a guest itself, not to {}", key.text, into.name);
            let hint = match spec.name {
                "profiles" => "profiles name no profiles; name them in the guest, the weakest first",
                _ => "move it to the guest",
            };
            problems.error_hint("misplaced-key", message, &key.mark, hint);
            continue;
        }
        layer_entry(problems, key, node, into);
    }
    problems.shared = false;
}

/// Reads one key that defaults, profiles and guests have in common.
pub(super) fn layer_entry(problems: &mut Problems, key: &Key, node: &Node, into: &mut Layer) {
    let name = key.text.as_str();
    let Some(spec) = keys::find(Level::Layer, name).filter(|_| !keys::is_option(name, node.text())) else {
        option(problems, key, node, into);
        return;
    };
    let node = &*problems.render(node);
    let texts = |problems: &mut Problems, node: &Node| {
        Some(problems.texts(name, node).into_iter().map(|text| text.value).collect())
    };
    let choice = |problems: &mut Problems, node: &Node| problems.choice(Level::Layer, name, node);
    match spec.name {
        "node" => {
            let value = problems.setting(node, texts);
            once(problems, key, &mut into.node, value);
        }
        "clone" => {
            let value = problems.setting(node, clone);
            once(problems, key, &mut into.clone, value);
        }
        "state" => {
            let value = problems.setting(node, choice);
            once(problems, key, &mut into.state, value);
        }
        "template" => {
            let value = problems.setting(node, |problems, node| problems.boolean(name, node));
            once(problems, key, &mut into.template, value);
        }
        "reboot" => {
            let value = problems.setting(node, choice);
            once(problems, key, &mut into.reboot, value);
        }
        "unlisted" => {
            let value = problems.setting(node, choice);
            once(problems, key, &mut into.unlisted, value);
        }
        "ignore" => {
            let value = problems.setting(node, texts);
            once(problems, key, &mut into.ignore, value);
        }
        "depends_on" => {
            let value = problems.setting(node, texts);
            once(problems, key, &mut into.depends_on, value);
        }
        "pool" => {
            let value = problems.setting(node, |problems, node| problems.text(name, node));
            once(problems, key, &mut into.pool, value);
        }
        "ha" => {
            let value = problems.setting(node, ha);
            once(problems, key, &mut into.ha, value);
        }
        _ => {
            let value = problems.setting(node, |problems, node| problems.number(name, node));
            once(problems, key, &mut into.shutdown_timeout, value);
        }
    }
}

/// Keeps one of Proxmox's options for later, when the guest's kind is known.
fn option(problems: &mut Problems, key: &Key, node: &Node, into: &mut Layer) {
    let name = key.text.as_str();
    // Reported with its file.
    if is_template(name) {
        return;
    }
    if let Some((first, _)) = into.options.iter().find(|(known, _)| known.text == *name) {
        let first = first.mark.place();
        twice(problems, &format!("`{name}` of {}", into.name), &key.mark, Some(first));
        return;
    }
    let is_reference = node.get("env").is_some() || node.get("file").is_some();
    let node = if references::is_secret(name) && !problems.literal(&format!("the secret `{name}`"), node)
        || is_reference && references::takes_files(name) && !problems.literal(&format!("a reference of `{name}`"), node)
    {
        Node { kind: NodeKind::Refused, mark: node.mark.clone() }
    } else {
        problems.render(node).into_owned()
    };
    into.options.push((key.clone(), node));
}

fn clone(problems: &mut Problems, node: &Node) -> Option<CloneSetting> {
    let mut clone = CloneSetting::default();
    let before = problems.list.len();
    for (key, node) in own_map(problems, "clone", node, "write `clone: {from: NAME}`")? {
        if !problems.key(Level::Clone, key) {
            continue;
        }
        match key.text.as_str() {
            "from" => clone.from = clone_from(problems, node),
            "full" => clone.full = problems.boolean("full", node),
            "snapname" => clone.snapname = problems.spanned("snapname", node),
            _ => clone.storage = problems.spanned("storage", node),
        }
    }
    clone.refused = problems.list[before..].iter().any(Diagnostic::is_error);
    Some(clone)
}

/// A name, an id, or `{tag: …}`.
fn clone_from(problems: &mut Problems, node: &Node) -> Option<Spanned<CloneFrom>> {
    let NodeKind::Map(entries) = &node.kind else {
        let Spanned { value, place } = problems.spanned("from", node)?;
        return Some(Spanned { value: CloneFrom::Named(value), place });
    };
    match entries.as_slice() {
        [(key, node)] if key.text == "tag" => {
            let Spanned { value, place } = problems.spanned("tag", node)?;
            if is_tag(&value) {
                return Some(Spanned { value: CloneFrom::Tagged(value.to_lowercase()), place });
            }
            problems.error_hint(
                "wrong-value",
                format!("`{value}` is no tag"),
                &node.mark,
                "letters, digits, -, _, +, .",
            );
            None
        }
        _ => {
            let message = "`from` is a guest's id or name, or a map with `tag` alone".to_owned();
            problems.error_hint("wrong-type", message, &node.mark, "write `from: {tag: web-template}`");
            None
        }
    }
}

fn ha(problems: &mut Problems, node: &Node) -> Option<HaSetting> {
    let mut ha = HaSetting::default();
    for (key, node) in own_map(problems, "ha", node, "write `ha: {state: started}`; `ha: null` ends it")? {
        if !problems.key(Level::Ha, key) {
            continue;
        }
        let name = key.text.as_str();
        let number = |problems: &mut Problems, node: &Node| problems.number(name, node);
        match name {
            "state" => ha.state = problems.setting(node, |problems, node| problems.choice(Level::Ha, name, node)),
            "max_restart" => ha.max_restart = problems.setting(node, number),
            "max_relocate" => ha.max_relocate = problems.setting(node, number),
            _ => ha.group = problems.setting(node, |problems, node| problems.text(name, node)),
        }
    }
    Some(ha)
}

fn own_map<'n>(problems: &mut Problems, what: &str, node: &'n Node, hint: &str) -> Option<&'n [(Key, Node)]> {
    match &node.kind {
        NodeKind::Map(entries) => Some(entries),
        NodeKind::Refused => None,
        _ => {
            let message = format!("`{what}` is a map, and {} stands here", node.noun());
            problems.error_hint("wrong-type", message, &node.mark, hint);
            None
        }
    }
}

/// Stores a setting that another file may have given already.
fn once<T>(problems: &mut Problems, key: &Key, slot: &mut Setting<T>, value: Setting<T>) {
    match slot {
        Some(first) => {
            let first = first.place.clone();
            twice(problems, &format!("`{}`", key.text), &key.mark, Some(first));
        }
        None => *slot = value,
    }
}

/// Stores a value of which several files may speak as long as they agree.
pub(super) fn agree<T: PartialEq>(
    problems: &mut Problems,
    what: &str,
    slot: &mut Option<Spanned<T>>,
    value: Spanned<T>,
) {
    match slot {
        Some(first) if first.value != value.value => problems.list.push(
            Diagnostic::error("disagreement", format!("`{what}` is given twice, and differs"))
                .at(&value.place)
                .also(&first.place, "first given here"),
        ),
        Some(_) => {}
        None => *slot = Some(value),
    }
}

pub(super) fn twice(problems: &mut Problems, what: &str, mark: &Mark, first: Option<Place>) {
    let mut problem = Diagnostic::error("duplicate-key", format!("{what} is given twice")).at(&mark.place());
    if let Some(first) = first {
        problem = problem.also(&first, "first given here");
    }
    problems.list.push(problem);
}
