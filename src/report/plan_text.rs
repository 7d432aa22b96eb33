//! The plan as text for people: risk first, field by field, each with what it costs and where it stands.

use std::collections::{BTreeMap, HashMap};

use super::style::{Ink, Layout, count, wrap};
use crate::desired::Routing;
use crate::diagnostics::Place;
use crate::plan::{Action, Change, Class, ClusterPlan, Effect, FieldChange, Plan, Reason, State, StepKind};

/// Columns of the name of a field.
const NAME: usize = 16;

/// Renders a plan.
pub fn plan(plan: &Plan, layout: Layout) -> String {
    let mut out = Page::new(plan, layout);
    let scope = if plan.scope.is_empty() { String::new() } else { format!(", scope {}", plan.scope) };
    out.heading(&format!("Fleet {}{scope}", plan.fleet));
    for (name, cluster) in &plan.clusters {
        out.cluster(name, cluster);
    }
    out.legend();
    out.summary(plan);
    out.text
}

/// Renders a plan as an answer to "has it drifted".
pub fn drift(plan: &Plan, layout: Layout) -> String {
    let mut out = Page::new(plan, layout);
    out.heading(&format!("Drift of fleet {}", plan.fleet));
    for (name, cluster) in &plan.clusters {
        out.cluster(name, cluster);
    }
    out.legend();
    out.line(0, "");
    out.wrapped(0, None, &drift_summary(plan));
    out.text
}

/// The last line of a drift report: how many guests differ, and how.
pub fn drift_summary(plan: &Plan) -> String {
    let mut counts: BTreeMap<Class, usize> = BTreeMap::new();
    for class in plan.changes().filter_map(|change| change.class) {
        *counts.entry(class).or_default() += 1;
    }
    let parts: Vec<String> = counts.iter().map(|(class, number)| format!("{number} {class}")).collect();
    let differs = counts.keys().any(|class| *class != Class::Pending);
    match (plan.complete, differs) {
        (true, false) if parts.is_empty() => "No drift.".to_owned(),
        (true, false) => format!("No drift: {}.", parts.join(", ")),
        (true, true) => format!("Drift: {}.", parts.join(", ")),
        (false, true) => format!("Drift: {}. Not everything could be read.", parts.join(", ")),
        (false, false) => "Not everything could be read, so whether it has drifted is not known.".to_owned(),
    }
}

/// The symbol of what happens to a guest, and what it means.
fn symbol(change: &Change) -> (char, &'static str, Ink) {
    match (change.state, change.action) {
        (State::Unknown, _) => ('?', "could not be read", Ink::Alarm),
        (State::Waiting, _) => ('…', "waits for something else", Ink::Alarm),
        (State::Blocked, _) => ('!', "blocked", Ink::Alarm),
        (State::Ready, Action::Create | Action::Clone | Action::Restore) => ('+', "made", Ink::Add),
        (State::Ready, Action::Delete) if !change.has_steps() => ('o', "not in the manifest, kept", Ink::Faint),
        (State::Ready, Action::Recreate) => ('±', "destroyed and made anew", Ink::Remove),
        (State::Ready, Action::Delete) => ('-', "destroyed", Ink::Remove),
        (State::Ready, Action::Adopt) => ('»', "taken over", Ink::Change),
        (State::Ready, Action::Release) => ('«', "let go", Ink::Change),
        (State::Ready, Action::Update | Action::Migrate) => ('~', "changed", Ink::Change),
        (State::Ready, Action::None) => ('=', "as it should be", Ink::Faint),
    }
}

/// The order of showing: what destroys, what cannot be done, what interrupts, the rest as it would run.
fn risk(change: &Change) -> u8 {
    let worst = change.steps.iter().map(|step| step.effect).max().unwrap_or(Effect::None);
    match (change.action, change.state) {
        (Action::Delete, State::Ready) if !change.has_steps() => 7,
        (Action::Delete | Action::Recreate, State::Ready) => 0,
        (_, State::Unknown) => 1,
        (_, State::Blocked) => 2,
        (_, State::Waiting) => 3,
        _ if worst >= Effect::Downtime => 4,
        _ if is_made(change) => 6,
        _ => 5,
    }
}

/// The changes that are worth a word, the riskiest first.
pub(super) fn in_order_of_risk(changes: &[Change]) -> Vec<&Change> {
    let shown = |change: &&Change| {
        change.state != State::Ready || change.has_steps() || change.reason.is_some() || !change.notes.is_empty()
    };
    let mut changes: Vec<&Change> = changes.iter().filter(shown).collect();
    changes.sort_by_key(|change| risk(change));
    changes
}

/// True for a guest that the plan makes.
pub(super) const fn is_made(change: &Change) -> bool {
    change.action.makes()
}

/// What happens to a guest, in words: `update`, `orphan`, `blocked: create`; nothing where nothing does.
pub(super) fn verb(change: &Change) -> String {
    match (change.state, change.action) {
        (State::Ready, Action::Delete) if !change.has_steps() => "orphan".to_owned(),
        (State::Ready, Action::None) => String::new(),
        (State::Ready, action) => action.to_string(),
        (state, Action::None) => state.to_string(),
        (state, action) => format!("{state}: {action}"),
    }
}

/// True where the plan shuts a guest down and starts it again.
fn is_off_and_on(change: &Change) -> bool {
    let mut kinds = change.steps.iter().map(|step| step.kind);
    kinds.any(|kind| kind == StepKind::Shutdown) && kinds.any(|kind| kind == StepKind::Start)
}

/// What a field costs, in words; nothing where it takes hold at once.
pub(super) fn effect_words(change: &Change, field: &FieldChange) -> &'static str {
    match field.effect {
        _ if field.blocked.is_some() => "blocked",
        Effect::None => "",
        Effect::NextBoot => "read at the next boot",
        Effect::Reboot if change.steps.iter().any(|step| step.kind == StepKind::Reboot) => "with the reboot",
        Effect::Reboot if is_off_and_on(change) => "while it is off",
        Effect::Reboot => "waits for a reboot",
        Effect::Downtime => "downtime",
        Effect::Migration => "moves",
        Effect::DataLoss => "destroys data",
    }
}

/// From so many guests on, changes that are the same are told once.
const ALIKE: usize = 3;

/// Changes that are the same but for the guest, together, in the order of the first of each kind.
fn folded_changes<'a>(changes: impl Iterator<Item = &'a Change>) -> Vec<Vec<&'a Change>> {
    let mut groups: Vec<Vec<&Change>> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for change in changes {
        // What is destroyed is told guest by guest.
        let group = if change.destroys.is_empty() { known.get(&likeness(change)).copied() } else { None };
        match group.and_then(|index| groups.get_mut(index)) {
            Some(group) => group.push(change),
            None => {
                known.insert(likeness(change), groups.len());
                groups.push(vec![change]);
            }
        }
    }
    let few = |group: Vec<&'a Change>| match group.len() < ALIKE {
        true => group.into_iter().map(|change| vec![change]).collect(),
        false => vec![group],
    };
    groups.into_iter().flat_map(few).collect()
}

/// Everything that is shown of a change but for which guest it is, and where.
fn likeness(change: &Change) -> String {
    let fields: Vec<_> = change
        .fields
        .iter()
        .map(|field| (&field.name, &field.before, &field.after, field.effect, &field.blocked))
        .collect();
    let steps: Vec<_> = change.steps.iter().map(|step| step.kind).collect();
    let of_guest = (change.action, change.state, change.address.kind, &change.reason, change.routing, risk(change));
    format!("{:?}", (of_guest, fields, steps, &change.pending, &change.unlisted, &change.notes))
}

struct Page {
    layout: Layout,
    text: String,
    used: Vec<(char, &'static str, Ink)>,
    /// The folder of all places, named once at the top instead of in every line.
    folder: String,
}

/// The folder that all places of a plan are in, with its slash; empty where there is none.
fn common_folder(plan: &Plan) -> String {
    let changes = plan.changes();
    let places = changes
        .flat_map(|change| change.place.iter().chain(change.fields.iter().filter_map(|field| field.place.as_ref())));
    let mut folder: Option<&str> = None;
    for place in places {
        let here = place.file.rfind('/').map_or("", |slash| &place.file[..=slash]);
        match folder {
            None => folder = Some(here),
            Some(known) if known == here => {}
            Some(_) => return String::new(),
        }
    }
    folder.unwrap_or_default().to_owned()
}

impl Page {
    fn new(plan: &Plan, layout: Layout) -> Self {
        Self { layout, text: String::new(), used: Vec::new(), folder: common_folder(plan) }
    }

    fn heading(&mut self, words: &str) {
        let folder = if self.folder.is_empty() { String::new() } else { format!("  ({})", self.folder) };
        let line = self.layout.paint(Ink::Strong, words) + &self.layout.paint(Ink::Faint, &folder);
        self.line(0, &line);
    }

    fn place(&self, place: Option<&Place>) -> String {
        let shown = place.map_or_else(String::new, ToString::to_string);
        shown.strip_prefix(self.folder.as_str()).map(str::to_owned).unwrap_or(shown)
    }

    fn line(&mut self, indent: usize, text: &str) {
        self.text.push_str(&" ".repeat(indent));
        self.text.push_str(text);
        self.text.truncate(self.text.trim_end_matches(' ').len());
        self.text.push('\n');
    }

    fn wrapped(&mut self, indent: usize, ink: Option<Ink>, text: &str) {
        let text = wrap(text, self.layout.width, indent, indent + 2);
        let text = ink.map_or_else(|| text.clone(), |ink| self.layout.paint(ink, &text));
        self.line(indent, &text);
    }

    fn cluster(&mut self, name: &str, cluster: &ClusterPlan) {
        let nodes = cluster.identity.as_ref().map_or_else(String::new, |identity| {
            let listed = identity.nodes.join(", ");
            if listed == *name { String::new() } else { format!("  ({listed})") }
        });
        self.line(0, "");
        let heading = self.layout.paint(Ink::Strong, name) + &self.layout.paint(Ink::Faint, &nodes);
        self.line(0, &heading);
        for item in &cluster.unread {
            let words = format!("? {} could not be read: {}", item.what, item.reason);
            self.wrapped(2, Some(Ink::Alarm), &words);
        }
        let whole_cluster = cluster.unread.iter().any(|item| item.what == "cluster");
        let changes = in_order_of_risk(&cluster.changes).into_iter().filter(|_| !whole_cluster);
        for alike in folded_changes(changes) {
            self.change(&alike);
        }
        let unchanged = cluster
            .changes
            .iter()
            .filter(|change| change.state == State::Ready && !change.has_steps() && change.class != Some(Class::Orphan))
            .count();
        let mut rest = Vec::new();
        if unchanged > 0 {
            let it = if unchanged == 1 { "it" } else { "they" };
            rest.push(format!("{} as {it} should be", count(unchanged, "guest")));
        }
        let waiting: Vec<&str> = cluster
            .changes
            .iter()
            .filter(|change| change.class == Some(Class::Pending))
            .map(|change| change.address.name.as_str())
            .collect();
        if !waiting.is_empty() {
            rest.push(format!("a reboot is due for {}", waiting.join(", ")));
        }
        if cluster.unmanaged > 0 {
            rest.push(format!("{} not in the manifest, left alone", count(cluster.unmanaged as usize, "guest")));
        }
        if whole_cluster && !cluster.changes.is_empty() {
            rest = vec![format!("{} of the manifest not planned", count(cluster.changes.len(), "guest"))];
        }
        if !rest.is_empty() {
            self.wrapped(2, Some(Ink::Faint), &rest.join("; "));
        }
    }

    /// One change, or several that are alike.
    fn change(&mut self, alike: &[&Change]) {
        let Some((change, others)) = alike.split_first() else { return };
        let (sign, words, ink) = symbol(change);
        if !self.used.iter().any(|(used, ..)| *used == sign) {
            self.used.push((sign, words, ink));
        }
        let id = change.address.vmid.map_or_else(String::new, |vmid| format!(" {vmid}"));
        let node = change.node.as_ref().map_or_else(String::new, |node| format!(" on {node}"));
        let verb = match change.action {
            Action::None => String::new(),
            Action::Delete if !change.has_steps() => "orphan ".to_owned(),
            action => format!("{action} "),
        };
        let routed = if change.routing == Some(Routing::Default) { "  [default cluster]" } else { "" };
        let noun = change.address.kind.noun();
        let title = match others {
            [] => format!("{sign} {verb}{noun} {}{id}{node}{routed}", change.address.name),
            _ => format!("{sign} {verb}{}, alike{routed}", count(alike.len(), noun)),
        };
        let same_place = others.iter().all(|other| other.place == change.place);
        let place = if same_place { self.place(change.place.as_ref()) } else { String::new() };
        let gap = self.layout.width.saturating_sub(2 + title.chars().count() + place.chars().count()).max(2);
        let title = self.layout.paint(ink, &title);
        let place = self.layout.paint(Ink::Faint, &place);
        self.line(2, &format!("{title}{}{place}", " ".repeat(gap)));
        if !others.is_empty() {
            self.wrapped(6, Some(Ink::Faint), &listed(alike));
        }
        // A reason of a single field stands at that field.
        let of_field = change.fields.iter().any(|field| field.blocked.is_some() && field.blocked == change.reason);
        if let Some(reason) = change.reason.as_ref().filter(|_| !of_field) {
            self.reason(6, reason);
        }
        for volume in &change.destroys {
            let verb = if change.has_steps() { "destroys" } else { "holds" };
            let ink = if change.has_steps() { Ink::Remove } else { Ink::Faint };
            self.wrapped(6, Some(ink), &format!("{verb} {volume}"));
        }
        for field in &change.fields {
            self.field(change, field);
        }
        // Where the field `state` tells of it, the step need not.
        let is_asked = change.fields.iter().any(|field| field.name == "state" && field.blocked.is_none());
        let told = |kind| kind == StepKind::Reboot || kind == StepKind::Shutdown && !is_asked;
        for step in change.steps.iter().filter(|step| told(step.kind)) {
            let again = if is_off_and_on(change) { ", then started again" } else { "" };
            let words = self.layout.paint(Ink::Alarm, &format!("{}{again} (downtime)", step.words));
            self.line(6, &words);
        }
        if !change.pending.is_empty() {
            self.wrapped(6, Some(Ink::Faint), &format!("waits for a reboot: {}", change.pending.join(", ")));
        }
        if !change.unlisted.is_empty() {
            self.wrapped(6, Some(Ink::Faint), &format!("not managed: {}", folded(&change.unlisted)));
        }
        for note in &change.notes {
            self.wrapped(6, Some(Ink::Faint), &format!("note: {note}"));
        }
    }

    fn reason(&mut self, indent: usize, reason: &Reason) {
        self.wrapped(indent, None, &format!("{}: {}", reason.code, reason.words));
        if let Some(hint) = &reason.hint {
            self.wrapped(indent, None, &format!("hint: {hint}"));
        }
    }

    fn field(&mut self, change: &Change, field: &FieldChange) {
        let made = is_made(change);
        let one_line = |text: &str| text.trim_end().replace('\n', "⏎ ");
        let value = match (&field.before, &field.after) {
            (None, Some(after)) if made => one_line(after),
            (None, Some(after)) => format!("(none) → {}", one_line(after)),
            (Some(before), Some(after)) => format!("{} → {}", one_line(before), one_line(after)),
            (Some(before), None) => format!("{} → (removed)", one_line(before)),
            (None, None) => String::new(),
        };
        let blocked = field.blocked.is_some();
        let effect = effect_words(change, field);
        let mark = if blocked { "! " } else { "" };
        let same_place = field.place.is_none() || field.place == change.place;
        let place = self.place(field.place.as_ref().filter(|_| !same_place));
        let left = format!("{mark}{:<width$} {value}", field.name, width = NAME.saturating_sub(mark.len()));
        let right = [effect, place.as_str()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ");
        let room = self.layout.width.saturating_sub(6);
        let (left_width, right_width) = (left.chars().count(), right.chars().count());
        let (effect_ink, faint) = (if blocked { Ink::Alarm } else { Ink::Change }, Ink::Faint);
        let painted = [(effect, effect_ink), (place.as_str(), faint)]
            .into_iter()
            .filter(|(part, _)| !part.is_empty())
            .map(|(part, ink)| self.layout.paint(ink, part))
            .collect::<Vec<_>>()
            .join("  ");
        if right.is_empty() || left_width + 2 + right_width <= room {
            let gap = if right.is_empty() { 0 } else { room - left_width - right_width };
            self.line(6, &format!("{left}{}{painted}", " ".repeat(gap)));
        } else {
            self.line(6, &wrap(&left, self.layout.width, 6, 6 + NAME + 1));
            self.line(6 + NAME + 1, &painted);
        }
        if let Some(reason) = &field.blocked {
            self.reason(8, reason);
        }
    }

    fn legend(&mut self) {
        if self.used.is_empty() {
            return;
        }
        let mut parts = Vec::new();
        for (sign, words, ink) in self.used.clone() {
            parts.push(format!("{} {words}", self.layout.paint(ink, &sign.to_string())));
        }
        self.line(0, "");
        self.line(0, &parts.join("   "));
    }

    fn summary(&mut self, plan: &Plan) {
        self.line(0, "");
        for warning in &plan.warnings {
            let hint = warning.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
            self.wrapped(0, None, &format!("warning: {}{hint}", warning.message));
        }
        self.wrapped(0, None, &summary(plan));
        if !plan.is_empty() {
            let id = self.layout.paint(Ink::Faint, &format!("plan {}", plan.plan_id));
            self.line(0, &id);
        }
    }
}

/// Guests with their ids, up to a number that can still be read.
fn listed(changes: &[&Change]) -> String {
    const MOST: usize = 40;
    let guest = |change: &&Change| {
        let id = change.address.vmid.map_or_else(String::new, |vmid| format!(" {vmid}"));
        format!("{}{id}", change.address.name)
    };
    let mut names: Vec<String> = changes.iter().take(MOST).map(guest).collect();
    if changes.len() > MOST {
        names.push(format!("and {} more", changes.len() - MOST));
    }
    names.join(", ")
}

/// The last line: how many of what.
pub fn summary(plan: &Plan) -> String {
    let mut counts: BTreeMap<Action, usize> = BTreeMap::new();
    for change in plan.changes().filter(|change| change.has_steps()) {
        *counts.entry(change.action).or_default() += 1;
    }
    let of_state = |state| plan.changes().filter(|change| change.state == state).count();
    // A guest whose other fields go on is not a blocked guest, but the field is.
    let fields = plan
        .changes()
        .filter(|change| change.state != State::Blocked)
        .flat_map(|change| &change.fields)
        .filter(|field| field.blocked.is_some())
        .count();
    let mut parts: Vec<String> = counts.iter().map(|(action, number)| format!("{number} to {action}")).collect();
    let states = [(State::Blocked, "blocked"), (State::Waiting, "waiting"), (State::Unknown, "unknown")];
    parts.extend(
        states
            .iter()
            .map(|(state, word)| (of_state(*state), word))
            .filter(|(n, _)| *n > 0)
            .map(|(n, word)| format!("{n} {word}")),
    );
    let is_orphan = |change: &&crate::plan::Change| {
        change.class == Some(Class::Orphan) && change.state == State::Ready && !change.has_steps()
    };
    let orphans = plan.changes().filter(is_orphan).count();
    if orphans > 0 {
        parts.push(format!("{} kept", count(orphans, "orphan")));
    }
    if fields > 0 {
        parts.push(format!("{} blocked", count(fields, "field")));
    }
    let incomplete = if plan.complete { "" } else { " Not everything could be read, so this plan is incomplete." };
    if parts.is_empty() {
        let verdict = if plan.complete { "Nothing to do." } else { "Nothing to do in what could be read." };
        return format!("{verdict}{incomplete}");
    }
    format!("Plan: {}.{incomplete}", parts.join(", "))
}

/// The first names of a long list: `boot, vga, +6`.
fn folded(options: &BTreeMap<String, String>) -> String {
    const SHOWN: usize = 6;
    let mut names: Vec<String> = options.keys().take(SHOWN).cloned().collect();
    if options.len() > SHOWN {
        names.push(format!("+{}", options.len() - SHOWN));
    }
    names.join(", ")
}
