//! The plan as Markdown for the comment of a merge request: what is destroyed first, and within a size.

use super::plan_text::{effect_words, in_order_of_risk, is_made, summary, verb};
use super::style::count;
use crate::plan::{Action, Change, ClusterPlan, Effect, Plan, Reason, State};
use crate::pve::value::Vmid;

/// What a comment of GitHub holds, in bytes; GitLab takes more, others half of it.
pub const LIMIT: usize = 65_536;

/// The smallest limit that makes sense: headline, what is destroyed as ranges of ids, and the table.
pub const LEAST: usize = 4_096;

/// Renders a plan in at most so many bytes. Where it would not fit, details go first, then whole changes, which are
/// counted; what destroys is always told.
pub fn plan(plan: &Plan, limit: usize) -> String {
    let (foot, table) = (foot(plan), table(plan));
    let mut head = head(plan, Detail::Full);
    let rest = foot.len() + table.len();
    for detail in [Detail::Line, Detail::Ids] {
        // Half of the room is for the changes themselves.
        if head.len() + rest > limit / 2 {
            head = self::head(plan, detail);
        }
    }
    let mut room = limit.saturating_sub(head.len() + rest);
    let sections: Vec<Section> = plan.clusters.iter().map(|(name, part)| Section::of(name, part)).collect();
    room = room.saturating_sub(sections.iter().map(Section::frame).sum());
    let text = fill(&sections, room);
    format!("{head}{table}{text}{foot}")
}

/// How much is told of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// Every field.
    Full,
    /// One line.
    Line,
    /// Its id, in ranges.
    Ids,
}

/// What is destroyed, and the sum of it all.
fn head(plan: &Plan, detail: Detail) -> String {
    let scope = if plan.scope.is_empty() { String::new() } else { format!(" scope={}", plan.scope) };
    let mut text = format!("<!-- pvefleet plan fleet={}{scope} -->\n", plan.fleet);
    let words = summary(plan);
    text.push_str(&format!(
        "### Fleet {}: {}\n\n",
        plan.fleet,
        words.trim_start_matches("Plan: ").trim_end_matches('.')
    ));
    let destroying: Vec<&Change> = plan.changes().filter(|change| destroys(change)).collect();
    if destroying.is_empty() {
        return text;
    }
    text.push_str(&format!("**Destroys data of {}:**\n\n", count(destroying.len(), "guest")));
    if detail == Detail::Ids {
        for (name, part) in &plan.clusters {
            let ids = part.changes.iter().filter(|change| destroys(change)).filter_map(|change| change.address.vmid);
            let ranges = ranges(ids.collect());
            if !ranges.is_empty() {
                text.push_str(&format!("- {name}: {ranges}\n"));
            }
        }
    } else {
        for change in &destroying {
            let volumes = match detail {
                Detail::Full if !change.destroys.is_empty() => {
                    format!(": {}", change.destroys.iter().map(|volume| code(volume)).collect::<Vec<_>>().join(", "))
                }
                _ => String::new(),
            };
            text.push_str(&format!("- {}: {}{volumes}\n", change.address.cluster, title(change)));
        }
    }
    text.push('\n');
    text
}

fn destroys(change: &Change) -> bool {
    change.steps.iter().any(|step| step.effect == Effect::DataLoss)
        || change.action == Action::Delete && change.has_steps()
}

/// `1000, 1002–1005`.
fn ranges(mut ids: Vec<Vmid>) -> String {
    ids.sort_unstable();
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for id in ids.into_iter().map(Vmid::get) {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == id => *last = id,
            _ => runs.push((id, id)),
        }
    }
    let run = |(first, last): &(u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}–{last}"),
    };
    runs.iter().map(run).collect::<Vec<_>>().join(", ")
}

/// The counts by cluster.
fn table(plan: &Plan) -> String {
    let mut text = "| cluster | create | change | destroy | blocked | unknown | as it should be |\n".to_owned();
    text.push_str("|---|--:|--:|--:|--:|--:|--:|\n");
    for (name, part) in &plan.clusters {
        let number = |fits: &dyn Fn(&Change) -> bool| part.changes.iter().filter(|change| fits(change)).count();
        let refused = |change: &Change| matches!(change.state, State::Blocked | State::Waiting);
        let row = [
            number(&|change| change.has_steps() && is_made(change)),
            number(&|change| change.has_steps() && !is_made(change) && change.action != Action::Delete),
            number(&|change| change.has_steps() && change.action == Action::Delete),
            number(&|change| refused(change) || change.fields.iter().any(|field| field.blocked.is_some())),
            number(&|change| change.state == State::Unknown),
            number(&|change| change.state == State::Ready && !change.has_steps() && change.action != Action::Delete),
        ];
        let cells: Vec<String> = row.iter().map(|n| if *n == 0 { String::new() } else { n.to_string() }).collect();
        text.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
    }
    text.push('\n');
    text
}

fn foot(plan: &Plan) -> String {
    let mut text = String::new();
    for warning in &plan.warnings {
        text.push_str(&format!("\nWarning: {}\n", line(&warning.message)));
    }
    if !plan.is_empty() {
        text.push_str(&format!("\nplan `{}`\n", plan.plan_id));
    }
    text
}

/// One cluster's changes, each in full and as a line.
struct Section {
    name: String,
    unread: Vec<String>,
    changes: Vec<(String, String)>,
}

impl Section {
    fn of(name: &str, part: &ClusterPlan) -> Self {
        let unread =
            part.unread.iter().map(|item| format!("- {} could not be read: {}\n", item.what, line(&item.reason)));
        let whole = part.unread.iter().any(|item| item.what == "cluster");
        let changes = in_order_of_risk(&part.changes).into_iter().filter(|_| !whole);
        Self {
            name: name.to_owned(),
            unread: unread.collect(),
            changes: changes.map(|change| (full(change), format!("- {}\n", title(change)))).collect(),
        }
    }

    /// Bytes that it takes beside its changes: the frame, what could not be read, and a line for what is left out.
    fn frame(&self) -> usize {
        const FRAME: usize = 140;
        self.name.len() + FRAME + self.unread.iter().map(String::len).sum::<usize>()
    }

    fn text(&self, details: &[Option<Detail>]) -> String {
        if self.changes.is_empty() && self.unread.is_empty() {
            return String::new();
        }
        let what = match self.changes.len() {
            0 => "could not be read".to_owned(),
            number => count(number, "change"),
        };
        let mut text = format!("<details><summary><b>{}</b>: {what}</summary>\n\n", self.name);
        self.unread.iter().for_each(|item| text.push_str(item));
        let mut left_out = 0;
        for ((full, line), detail) in self.changes.iter().zip(details) {
            match detail {
                Some(Detail::Full) => text.push_str(full),
                Some(_) => text.push_str(line),
                None => left_out += 1,
            }
        }
        if left_out > 0 {
            text.push_str(&format!("\n… and {} that would not fit here\n", count(left_out, "change")));
        }
        text.push_str("\n</details>\n");
        text
    }
}

/// Tells as much as there is room for: a line of each change first, the riskiest before the others, then details.
fn fill(sections: &[Section], mut room: usize) -> String {
    let mut details: Vec<Vec<Option<Detail>>> =
        sections.iter().map(|section| vec![None; section.changes.len()]).collect();
    for (section, details) in sections.iter().zip(&mut details) {
        for ((_, line), detail) in section.changes.iter().zip(details) {
            if line.len() <= room {
                room -= line.len();
                *detail = Some(Detail::Line);
            }
        }
    }
    for (section, details) in sections.iter().zip(&mut details) {
        for ((full, line), detail) in section.changes.iter().zip(details) {
            let more = full.len().saturating_sub(line.len());
            if detail.is_some() && more <= room {
                room -= more;
                *detail = Some(Detail::Full);
            }
        }
    }
    sections.iter().zip(&details).map(|(section, details)| section.text(details)).collect()
}

/// `update VM prod-web-01 (1103) on pve1`, with its place.
fn title(change: &Change) -> String {
    let id = change.address.vmid.map_or_else(String::new, |vmid| format!(" ({vmid})"));
    let node = change.node.as_ref().map_or_else(String::new, |node| format!(" on {node}"));
    let place = change.place.as_ref().map_or_else(String::new, |place| format!(" — {}", code(&place.to_string())));
    let name = code(&change.address.name);
    format!("{} {} {name}{id}{node}{place}", verb(change), change.address.kind.noun()).trim_start().to_owned()
}

/// A change with everything that is known of it.
fn full(change: &Change) -> String {
    let mut text = format!("- **{}**\n", title(change));
    let mut item = |words: &str| text.push_str(&format!("  - {words}\n"));
    if let Some(reason) = &change.reason {
        item(&refusal(reason));
    }
    let fate = if change.has_steps() { "destroys" } else { "holds" };
    change.destroys.iter().for_each(|volume| item(&format!("{fate} {}", code(volume))));
    for field in &change.fields {
        let value = match (&field.before, &field.after) {
            (None, Some(after)) => code(after),
            (Some(before), Some(after)) => format!("{} → {}", code(before), code(after)),
            (Some(before), None) => format!("{} → removed", code(before)),
            (None, None) => String::new(),
        };
        let effect = match (&field.blocked, effect_words(change, field)) {
            (Some(reason), _) => format!(" — **{}**", refusal(reason)),
            (None, "") => String::new(),
            (None, words) => format!(" — *{words}*"),
        };
        item(&format!("{}: {value}{effect}", field.name));
    }
    if !change.pending.is_empty() {
        item(&format!("waits for a reboot: {}", change.pending.join(", ")));
    }
    change.notes.iter().for_each(|note| item(&line(note)));
    text
}

fn refusal(reason: &Reason) -> String {
    let hint = reason.hint.as_ref().map_or_else(String::new, |hint| format!(" ({})", line(hint)));
    format!("{}: {}{hint}", reason.code, line(&reason.words))
}

/// Text on one line, with nothing that Markdown or HTML takes for its own.
fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        match c {
            '\n' => out.push('⏎'),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '*' | '_' | '[' | ']' | '|' | '~' | '\\' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// Text as code: as it is, whatever stands in it.
fn code(text: &str) -> String {
    let text = text.trim_end().replace('\n', "⏎ ");
    let (mut longest, mut run) = (0, 0);
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest + 1);
    let pad = if text.is_empty() || text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_markdown_stays_text() {
        assert_eq!(code("a `b` |c|"), "``a `b` |c|``");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!(line("<b>*x*</b>\n[y](z)"), "&lt;b&gt;\\*x\\*&lt;/b&gt;⏎\\[y\\](z)");
    }

    #[test]
    fn ids_are_told_in_ranges() {
        let ids = [105, 100, 101, 102].map(|id| Vmid::new(id).unwrap());
        assert_eq!(ranges(ids.to_vec()), "100–102, 105");
        assert_eq!(ranges(Vec::new()), "");
    }
}
