//! Everything that a plan says of one guest: each field with its origin, each call with what must be true before and
//! after it, and what would unblock it.

use super::plan_text::effect_words;
use super::style::{Ink, Layout, wrap};
use crate::plan::{Change, Expect, Reason};

/// Renders one change whole.
pub fn guest(change: &Change, layout: Layout) -> String {
    let mut page = Page { layout, text: String::new() };
    page.head(change);
    page.fields(change);
    page.base(change);
    page.steps(change);
    page.rest(change);
    page.text
}

struct Page {
    layout: Layout,
    text: String,
}

impl Page {
    fn line(&mut self, indent: usize, words: &str) {
        let words = wrap(words, self.layout.width, indent, indent + 2);
        self.text.push_str(&format!("{}{words}\n", " ".repeat(indent)));
    }

    fn heading(&mut self, words: &str) {
        let painted = self.layout.paint(Ink::Strong, words);
        self.text.push_str(&format!("\n{painted}\n"));
    }

    fn reason(&mut self, indent: usize, reason: &Reason) {
        self.line(indent, &format!("{}: {}", reason.code, reason.words));
        if let Some(hint) = &reason.hint {
            self.line(indent, &format!("would unblock it: {hint}"));
        }
    }

    fn head(&mut self, change: &Change) {
        let id = change.address.vmid.map_or_else(String::new, |vmid| format!(" {vmid}"));
        let title = format!("{} {}{id}", change.address.kind.noun(), change.address);
        let title = self.layout.paint(Ink::Strong, &title);
        self.text.push_str(&format!("{title}\n"));
        let class = change.class.map_or_else(String::new, |class| format!(", for drift: {class}"));
        self.line(2, &format!("{}, {}{class}", change.action, change.state));
        if let Some(place) = &change.place {
            self.line(2, &format!("declared at {place}"));
        }
        if let Some(node) = &change.node {
            self.line(2, &format!("on node {node}"));
        }
        if let Some(reason) = &change.reason {
            self.reason(2, reason);
        }
        for need in &change.after {
            self.line(2, &format!("after {need}"));
        }
    }

    fn fields(&mut self, change: &Change) {
        if change.fields.is_empty() {
            return;
        }
        self.heading("Fields");
        for field in &change.fields {
            self.line(2, &field.name);
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
            self.line(4, &format!("is {}", text(&field.before).replace('\n', "⏎ ")));
            self.line(4, &format!("becomes {}", text(&field.after).replace('\n', "⏎ ")));
            let layer = field.layer.as_ref().map_or_else(String::new, |layer| format!(", from {layer}"));
            if let Some(place) = &field.place {
                self.line(4, &format!("at {place}{layer}"));
            }
            match (&field.blocked, effect_words(change, field)) {
                (Some(reason), _) => self.reason(4, reason),
                (None, "") => self.line(4, "takes hold at once"),
                (None, words) => self.line(4, words),
            }
        }
    }

    fn base(&mut self, change: &Change) {
        if !change.has_steps() {
            return;
        }
        self.heading("Rests on");
        let base = &change.base;
        if !base.exists {
            self.line(2, "it is not there");
            return;
        }
        for (option, value) in &base.current {
            let value = value.clone().unwrap_or_else(|| "(none)".to_owned());
            self.line(2, &format!("{option} is {}", value.replace('\n', "⏎ ")));
        }
        for (option, value) in &base.pending {
            let value = value.clone().unwrap_or_else(|| "its removal".to_owned());
            self.line(2, &format!("{option} has {} pending", value.replace('\n', "⏎ ")));
        }
        if let Some(power) = base.power {
            self.line(2, &format!("it is {}", word(&power)));
        }
        self.line(2, &base.lock.as_ref().map_or_else(|| "it bears no lock".to_owned(), |lock| format!("lock {lock}")));
    }

    fn steps(&mut self, change: &Change) {
        if !change.has_steps() {
            return;
        }
        self.heading("Steps");
        for (number, step) in change.steps.iter().enumerate() {
            let effect =
                if step.effect == crate::plan::Effect::None { String::new() } else { format!(" ({})", step.effect) };
            self.line(2, &format!("{}. {}{effect}", number + 1, step.words));
            self.line(5, &format!("{} {}", step.call.method, step.call.path));
            for (name, value) in &step.call.params {
                self.line(7, &format!("{name}={}", value.to_string().replace('\n', "⏎ ")));
            }
            for expect in &step.expect {
                self.line(5, &format!("then: {}", expected(expect)));
            }
        }
    }

    fn rest(&mut self, change: &Change) {
        let lists = [
            ("Destroys", change.destroys.clone()),
            ("Waits for a reboot", change.pending.clone()),
            (
                "Not managed",
                change.unlisted.iter().map(|(name, value)| format!("{name}: {}", value.replace('\n', "⏎ "))).collect(),
            ),
            ("Notes", change.notes.clone()),
        ];
        for (heading, lines) in lists.into_iter().filter(|(_, lines)| !lines.is_empty()) {
            self.heading(heading);
            lines.iter().for_each(|line| self.line(2, line));
        }
    }
}

/// A value's own word in documents.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn expected(expect: &Expect) -> String {
    match expect {
        Expect::Exists => "it is there".to_owned(),
        Expect::Gone => "it is gone".to_owned(),
        Expect::Option { name, value } => format!("{name} is {}", value.replace('\n', "⏎ ")),
        Expect::NoOption { name } => format!("{name} is not set"),
        Expect::Size { drive, size } => format!("{drive} has {size}"),
        Expect::Power(power) => format!("it is {}", word(power)),
        Expect::NothingPending => "nothing is pending".to_owned(),
        Expect::Template => "it is a template".to_owned(),
        Expect::Pool(pool) => format!("it is in pool {pool}"),
        Expect::Node(node) => format!("it is on {node}"),
        Expect::Storage { drive, storage } => format!("{drive} is on {storage}"),
        Expect::Ha(None) => "it is no HA resource".to_owned(),
        Expect::Ha(Some(options)) => {
            let options: Vec<String> = options.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("it is an HA resource ({})", options.join(", "))
        }
    }
}
