//! From nodes to values, with a problem for everything that does not fit.

use super::keys::{self, KeyType, Level};
use super::model::{Setting, Spanned};
use super::source::{Key, Mark, Node, NodeKind};
use crate::diagnostics::Diagnostic;
use crate::pve::schema::nearest;
use crate::pve::value::parse_boolean;

/// Collects the problems of a manifest while it is read.
#[derive(Default)]
pub(super) struct Problems(pub Vec<Diagnostic>);

impl Problems {
    /// Adds an error at a place.
    pub fn error(&mut self, code: &str, message: impl Into<String>, mark: &Mark) {
        self.0.push(Diagnostic::error(code, message).at(&mark.place()));
    }

    /// Adds an error with what to do about it.
    pub fn error_hint(&mut self, code: &str, message: impl Into<String>, mark: &Mark, hint: impl Into<String>) {
        self.0.push(Diagnostic::error(code, message).at(&mark.place()).hint(hint));
    }

    /// The entries of a map; nothing, with a problem, for any other value but null.
    pub fn map<'n>(&mut self, what: &str, node: &'n Node) -> &'n [(Key, Node)] {
        match &node.kind {
            NodeKind::Map(entries) => entries,
            NodeKind::Null => &[],
            _ => {
                self.error("wrong-type", format!("`{what}` is a map, and {} stands here", node.noun()), &node.mark);
                &[]
            }
        }
    }

    /// The items of a list; nothing, with a problem, for any other value but null.
    pub fn list<'n>(&mut self, what: &str, node: &'n Node) -> &'n [Node] {
        match &node.kind {
            NodeKind::List(items) => items,
            NodeKind::Null => &[],
            _ => {
                let message = format!("`{what}` is a list, and {} stands here", node.noun());
                self.error_hint("wrong-type", message, &node.mark, "begin each item with `- `");
                &[]
            }
        }
    }

    /// The text of a scalar that is no template.
    pub fn text(&mut self, what: &str, node: &Node) -> Option<String> {
        match node.text() {
            Some(text) if text.contains("{{") => {
                self.error("unsupported", "templates (`{{ }}`) are not supported by this version", &node.mark);
                None
            }
            Some(text) => Some(text.to_owned()),
            None => {
                self.error("wrong-type", format!("`{what}` is one value, and {} stands here", node.noun()), &node.mark);
                None
            }
        }
    }

    /// A value or a list of values.
    pub fn texts(&mut self, what: &str, node: &Node) -> Vec<Spanned<String>> {
        let items = match &node.kind {
            NodeKind::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let spanned = |item: &Node, value| Spanned { value, place: item.place() };
        items.iter().filter_map(|item| self.text(what, item).map(|value| spanned(item, value))).collect()
    }

    /// True or false, in any of YAML's spellings.
    pub fn boolean(&mut self, what: &str, node: &Node) -> Option<bool> {
        let text = self.text(what, node)?;
        let value = parse_boolean(&text);
        if value.is_none() {
            let message = format!("`{what}`: `{text}` is not a boolean; write true or false");
            self.error("wrong-value", message, &node.mark);
        }
        value
    }

    /// A whole number, written without sign or leading zero.
    pub fn number(&mut self, what: &str, node: &Node) -> Option<u32> {
        let text = self.text(what, node)?;
        let canonical = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
        let value = text.parse().ok().filter(|_| canonical);
        if value.is_none() {
            self.error("wrong-value", format!("`{what}`: `{text}` is not a whole number"), &node.mark);
        }
        value
    }

    /// One of the words that the table allows.
    pub fn choice(&mut self, level: Level, what: &str, node: &Node) -> Option<String> {
        let text = self.text(what, node)?;
        let Some(KeyType::Choice(words)) = keys::find(level, what).map(|spec| spec.ty) else {
            return Some(text);
        };
        if words.contains(&text.as_str()) {
            return Some(text);
        }
        let message = format!("`{what}`: `{text}` is not one of {}", words.join(", "));
        self.error("wrong-value", message, &node.mark);
        None
    }

    /// A setting that `null` takes back.
    pub fn setting<T>(&mut self, node: &Node, read: impl FnOnce(&mut Self, &Node) -> Option<T>) -> Setting<T> {
        if node.is_null() {
            return Some(Spanned { value: None, place: node.place() });
        }
        read(self, node).map(|value| Spanned { value: Some(value), place: node.place() })
    }

    /// Checks a key against the table of its level; true when its value should be read.
    pub fn key(&mut self, level: Level, key: &Key) -> bool {
        match keys::find(level, &key.text) {
            Some(spec) if spec.supported => true,
            Some(_) => {
                self.unsupported(key);
                false
            }
            None => {
                self.unknown(level, key);
                false
            }
        }
    }

    /// Refuses a key that is known and cannot be used yet.
    pub fn unsupported(&mut self, key: &Key) {
        self.error("unsupported", format!("`{}` is not supported by this version", key.text), &key.mark);
    }

    fn unknown(&mut self, level: Level, key: &Key) {
        let near = nearest(&key.text, keys::names(level));
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if keys::find(Level::Guest, &key.text).is_some() => "this key belongs to a guest".to_owned(),
            None => format!("known here: {}", keys::names(level).collect::<Vec<_>>().join(", ")),
        };
        let place = match level {
            Level::Top => "at the top of a manifest",
            Level::Cluster => "of a cluster",
            Level::Guest | Level::Layer => "of a guest",
            Level::Defaults => "of `defaults`",
            Level::Guards => "of `guards`",
            Level::Clone => "of `clone`",
        };
        self.error_hint("unknown-key", format!("there is no key `{}` {place}", key.text), &key.mark, hint);
    }
}
