//! From nodes to values, with a problem for everything that does not fit.

use std::borrow::Cow;

use super::keys::{self, KeyType, Level};
use super::model::{Instance, Setting, Spanned};
use super::source::{Key, Mark, Node, NodeKind};
use super::template::{Renderer, Scope, holds_template, is_template};
use crate::diagnostics::Diagnostic;
use crate::pve::schema::nearest;
use crate::pve::value::parse_boolean;

/// Collects the problems of a manifest while it is read, and knows what its templates mean.
#[derive(Default)]
pub(super) struct Problems {
    /// All of them.
    pub list: Vec<Diagnostic>,
    /// The variables of the place that is read.
    pub scope: Scope,
    /// Which of the guests of one `each` is read.
    pub instance: Option<Instance>,
    /// A profile or defaults are read, which many guests share.
    pub shared: bool,
    /// Where that guest's templates stand.
    pub rendered: Vec<Mark>,
    renderer: Renderer,
}

impl Problems {
    /// Adds an error at a place.
    pub fn error(&mut self, code: &str, message: impl Into<String>, mark: &Mark) {
        self.list.push(Diagnostic::error(code, message).at(&mark.place()));
    }

    /// Adds an error with what to do about it.
    pub fn error_hint(&mut self, code: &str, message: impl Into<String>, mark: &Mark, hint: impl Into<String>) {
        self.list.push(Diagnostic::error(code, message).at(&mark.place()).hint(hint));
    }

    /// The value with its templates replaced, or refused.
    pub fn render<'n>(&mut self, node: &'n Node) -> Cow<'n, Node> {
        if !holds_template(node) {
            return Cow::Borrowed(node);
        }
        match self.renderer.render(node, &self.scope, &mut self.rendered) {
            Ok(rendered) => Cow::Owned(rendered),
            Err(troubles) => {
                for (trouble, mark) in troubles {
                    let mut problem = Diagnostic::error("template", trouble.message).at(&mark.place());
                    problem.hint = trouble.hint;
                    let unknown = problem.message.starts_with("there is no variable");
                    if self.shared && unknown && !problem.hint.as_ref().is_some_and(|hint| hint.starts_with("did you"))
                    {
                        problem.hint = Some(
                            "profiles and defaults know `vars` alone; what `each` varies stands in the guest"
                                .to_owned(),
                        );
                    }
                    self.list.push(problem);
                }
                Cow::Owned(Node { kind: NodeKind::Refused, mark: node.mark.clone() })
            }
        }
    }

    /// False, with a problem, for a value with a template where none may stand.
    pub fn literal(&mut self, what: &str, node: &Node) -> bool {
        let wrong = holds_template(node);
        if wrong {
            let message = format!("{what} takes no template");
            self.error_hint("misplaced-template", message, &node.mark, "write the value itself");
        }
        !wrong
    }

    /// Reports every key below that is written as a template.
    pub fn literal_keys(&mut self, node: &Node) {
        match &node.kind {
            NodeKind::List(items) => items.iter().for_each(|item| self.literal_keys(item)),
            NodeKind::Map(entries) => {
                for (key, node) in entries {
                    if is_template(&key.text) {
                        let hint = "templates stand in values; `each` makes several guests";
                        self.error_hint("misplaced-template", "a key is no template", &key.mark, hint);
                    }
                    self.literal_keys(node);
                }
            }
            _ => {}
        }
    }

    fn wrong_type(&mut self, what: &str, expected: &str, node: &Node, hint: &str) {
        // What was refused has been reported.
        if node.kind == NodeKind::Refused {
            return;
        }
        let message = format!("`{what}` is {expected}, and {} stands here", node.noun());
        let problem = Diagnostic::error("wrong-type", message).at(&node.place());
        self.list.push(if hint.is_empty() { problem } else { problem.hint(hint) });
    }

    /// The entries of a map; nothing, with a problem, for any other value but null.
    pub fn map<'n>(&mut self, what: &str, node: &'n Node) -> &'n [(Key, Node)] {
        match &node.kind {
            NodeKind::Map(entries) => entries,
            NodeKind::Null => &[],
            _ => {
                self.wrong_type(what, "a map", node, "");
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
                self.wrong_type(what, "a list", node, "begin each item with `- `");
                &[]
            }
        }
    }

    /// The text of a scalar.
    pub fn text(&mut self, what: &str, node: &Node) -> Option<String> {
        if node.text().is_none() {
            self.wrong_type(what, "one value", node, "");
        }
        node.text().map(str::to_owned)
    }

    /// The text of a scalar, with its place.
    pub fn spanned(&mut self, what: &str, node: &Node) -> Option<Spanned<String>> {
        self.text(what, node).map(|value| Spanned { value, place: node.place() })
    }

    /// A value or a list of values.
    pub fn texts(&mut self, what: &str, node: &Node) -> Vec<Spanned<String>> {
        let items = match &node.kind {
            NodeKind::List(items) => items.as_slice(),
            NodeKind::Map(_) => {
                self.wrong_type(what, "a value or a list of values", node, "");
                &[]
            }
            _ => std::slice::from_ref(node),
        };
        items.iter().filter_map(|item| self.spanned(what, item)).collect()
    }

    /// True or false, in any of YAML's spellings.
    pub fn boolean(&mut self, what: &str, node: &Node) -> Option<bool> {
        let text = self.text(what, node)?;
        let value = parse_boolean(&text);
        match value {
            None => {
                let message = format!("`{what}`: `{text}` is not a boolean; write true or false");
                self.error("wrong-value", message, &node.mark);
            }
            Some(value) if !matches!(text.as_str(), "true" | "false" | "0" | "1") => {
                let message = format!("`{what}`: the usual spelling of `{text}` is `{value}`");
                self.list.push(Diagnostic::note("spelling", message).at(&node.place()));
            }
            Some(_) => {}
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
        let problem = Diagnostic::error("wrong-value", message).at(&node.place());
        self.list.push(match nearest(&text, words) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem,
        });
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
        let known = keys::find(level, &key.text).is_some();
        // A key that is a template was reported with its file.
        if !known && !is_template(&key.text) {
            self.unknown(level, key);
        }
        known
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
            Level::Ha => "of `ha`",
        };
        self.error_hint("unknown-key", format!("there is no key `{}` {place}", key.text), &key.mark, hint);
    }
}
