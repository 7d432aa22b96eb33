//! YAML text as a tree in which everything knows its place.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

use crate::diagnostics::{Diagnostic, Place};

/// Largest file in bytes.
pub const MAX_BYTES: usize = 8 << 20;
/// Deepest nesting.
pub const MAX_DEPTH: usize = 64;
/// Most nodes that aliases may add to one file.
pub const MAX_ALIASED: usize = 100_000;

/// A place that is cheap to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    file: Arc<str>,
    line: u32,
    column: u32,
    length: u32,
}

impl Mark {
    /// The file as the user named it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The first character of a file.
    pub fn start(file: &str) -> Self {
        Self { file: file.into(), line: 1, column: 1, length: 1 }
    }

    /// Its length in characters.
    pub fn length(&self) -> u32 {
        self.length
    }

    /// A part of it: so many characters from there.
    pub fn part(&self, at: usize, length: usize) -> Self {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { column: self.column.saturating_add(number(at)), length: number(length.max(1)), ..self.clone() }
    }

    /// True where the place is this one or a part of it.
    pub fn holds(&self, place: &Place) -> bool {
        let end = |column: u32, length: u32| column.saturating_add(length);
        self.line == place.line
            && self.column <= place.column
            && end(place.column, place.length) <= end(self.column, self.length)
            && *self.file == *place.file
    }

    /// The same as a value of its own.
    pub fn place(&self) -> Place {
        Place { file: Arc::clone(&self.file), line: self.line, column: self.column, length: self.length }
    }
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub kind: NodeKind,
    /// Where it stands; of a map or list, where it begins.
    pub mark: Mark,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    /// Nothing, `null` or `~`.
    Null,
    /// Text, a number, a boolean: always as written.
    Scalar {
        /// The text.
        text: String,
        /// Written without quotes.
        plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file, without doubles.
    Map(Vec<(Key, Node)>),
    /// It was refused, and the problem is reported.
    Refused,
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// The text.
    pub text: String,
    /// Where it stands.
    pub mark: Mark,
}

impl Node {
    /// Where it stands.
    pub fn place(&self) -> Place {
        self.mark.place()
    }

    /// What it is, in words for a message.
    pub fn noun(&self) -> &'static str {
        match &self.kind {
            NodeKind::Null | NodeKind::Refused => "nothing",
            NodeKind::Scalar { .. } => "a single value",
            NodeKind::List(_) => "a list",
            NodeKind::Map(_) => "a map",
        }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// True for null.
    pub fn is_null(&self) -> bool {
        self.kind == NodeKind::Null
    }

    /// The value under a key of a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            NodeKind::Map(entries) => entries.iter().find(|(name, _)| name.text == key).map(|(_, node)| node),
            _ => None,
        }
    }
}

/// Reads one file; an empty one is null.
///
/// # Errors
///
/// All problems of the file's form. Text that is no YAML ends the reading at its first problem.
pub fn parse(file: &str, text: &str) -> Result<Node, Vec<Diagnostic>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = Lines { file: file.into(), lines: text.lines().map(|line| line.chars().count()).collect() };
    let start = lines.mark(1, 0, 1);
    if text.len() > MAX_BYTES {
        let size = format!("the file is larger than {} MiB", MAX_BYTES >> 20);
        return Err(vec![Diagnostic::error("too-large", size).at(&start.place())]);
    }
    if let Some((line, column)) = leading_tab(text) {
        return Err(vec![
            Diagnostic::error("yaml", "a tab indents this line")
                .at(&lines.mark(line, column, 1).place())
                .hint("YAML is indented by spaces only"),
        ]);
    }
    let mut builder = Builder {
        lines,
        open: Vec::new(),
        root: None,
        anchors: HashMap::new(),
        aliased: 0,
        problems: Vec::new(),
        documents: 0,
    };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => {
                if !builder.take(event, span) {
                    return Err(builder.problems);
                }
            }
            Err(error) => {
                let problem = builder.broken(&error, text);
                builder.problems.push(problem);
                return Err(builder.problems);
            }
        }
    }
    if builder.problems.is_empty() {
        Ok(builder.root.unwrap_or(Node { kind: NodeKind::Null, mark: start }))
    } else {
        Err(builder.problems)
    }
}

/// The line and column of the first tab used as indentation, outside of block texts' content.
fn leading_tab(text: &str) -> Option<(usize, usize)> {
    let mut block_indent: Option<usize> = None;
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start_matches(' ').len();
        let rest = &line[indent..];
        if block_indent.is_some_and(|limit| indent > limit || rest.trim().is_empty()) {
            continue;
        }
        block_indent = None;
        if rest.starts_with('\t') && !rest.trim().is_empty() && !rest.trim_start().starts_with('#') {
            return Some((number + 1, indent));
        }
        let before_comment = rest.split(" #").next().unwrap_or_default().trim_end();
        let header = before_comment.trim_end_matches(|c: char| c.is_ascii_digit() || c == '+' || c == '-');
        if header.ends_with(": |") || header.ends_with(": >") || header.ends_with("- |") || header.ends_with("- >") {
            block_indent = Some(indent);
        }
    }
    None
}

/// The file's name, and its lines' lengths in characters.
struct Lines {
    file: Arc<str>,
    lines: Vec<usize>,
}

impl Lines {
    fn mark(&self, line: usize, column: usize, length: usize) -> Mark {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Mark { file: self.file.clone(), line: number(line), column: number(column + 1), length: number(length.max(1)) }
    }

    /// A place from here to there, but not beyond the line's end.
    fn between(&self, start: &Marker, end: &Marker) -> Mark {
        let length = if start.line() == end.line() {
            end.col().saturating_sub(start.col())
        } else {
            let line = self.lines.get(start.line().saturating_sub(1)).copied().unwrap_or_default();
            line.saturating_sub(start.col())
        };
        self.mark(start.line(), start.col(), length)
    }
}

/// A map or list that is not closed yet.
struct Open {
    node: Node,
    /// The key of a map whose value comes next; the inner option is empty for a key that was refused.
    key: Option<Option<Key>>,
    anchor: usize,
    flow: bool,
}

struct Builder {
    lines: Lines,
    open: Vec<Open>,
    root: Option<Node>,
    /// Anchored values with their number of nodes and depth.
    anchors: HashMap<usize, (Node, usize, usize)>,
    aliased: usize,
    problems: Vec<Diagnostic>,
    documents: usize,
}

impl Builder {
    fn report(&mut self, code: &str, message: impl Into<String>, mark: &Mark) -> &mut Diagnostic {
        self.problems.push(Diagnostic::error(code, message).at(&mark.place()));
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    /// Takes one event; false ends the reading.
    fn take(&mut self, event: Event<'_>, span: Span) -> bool {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let mark = self.lines.mark(span.start.line(), span.start.col(), 3);
                    self.report("several-documents", "a second document begins here", &mark).hint =
                        Some("one file holds one document; put the rest into a file of its own".to_owned());
                    return false;
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let mark = self.lines.between(&span.start, &span.end);
                let plain = style == ScalarStyle::Plain;
                let mut quoted = false;
                if let Some(tag) = tag {
                    quoted = tag.is_yaml_core_schema() && tag.suffix == "str";
                    if !quoted {
                        self.refuse_tag(&mark);
                    }
                }
                let plain = plain && !quoted;
                let kind = match text.as_ref() {
                    "" | "~" | "null" | "Null" | "NULL" if plain => NodeKind::Null,
                    _ => NodeKind::Scalar { text: text.into_owned(), plain },
                };
                return self.close(Node { kind, mark }, anchor);
            }
            Event::SequenceStart(anchor, tag) => {
                return self.begin(NodeKind::List(Vec::new()), anchor, tag.is_some(), &span);
            }
            Event::MappingStart(anchor, tag) => {
                return self.begin(NodeKind::Map(Vec::new()), anchor, tag.is_some(), &span);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(mut open) = self.open.pop() {
                    if open.flow {
                        let start = Marker::new(0, open.node.mark.line as usize, open.node.mark.column as usize - 1);
                        open.node.mark = self.lines.between(&start, &span.end);
                    }
                    return self.close(open.node, open.anchor);
                }
            }
            Event::Alias(anchor) => {
                let mark = self.lines.between(&span.start, &span.end);
                let Some((node, size, depth)) = self.anchors.get(&anchor) else {
                    self.report("alias", "this alias stands inside its own anchor", &mark);
                    return false;
                };
                self.aliased += size;
                if self.aliased > MAX_ALIASED || self.open.len() + depth > MAX_DEPTH {
                    self.report("alias", "aliases expand to too much here", &mark);
                    return false;
                }
                let node = node.clone();
                return self.close(node, 0);
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        true
    }

    fn refuse_tag(&mut self, mark: &Mark) {
        self.report("yaml-tag", "YAML tags (`!…`) have no meaning in a manifest", mark).hint =
            Some("remove the tag".to_owned());
    }

    fn begin(&mut self, kind: NodeKind, anchor: usize, tagged: bool, span: &Span) -> bool {
        let mark = self.lines.between(&span.start, &span.end);
        if self.open.len() >= MAX_DEPTH {
            self.report("too-deep", format!("nested deeper than {MAX_DEPTH} levels"), &mark);
            return false;
        }
        if tagged {
            self.refuse_tag(&mark);
        }
        let flow = !span.is_empty();
        self.open.push(Open { node: Node { kind, mark }, key: None, anchor, flow });
        true
    }

    /// Hands a complete value to the map or list around it.
    fn close(&mut self, node: Node, anchor: usize) -> bool {
        if anchor != 0 {
            let (size, depth) = measure(&node);
            self.anchors.insert(anchor, (node.clone(), size, depth));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return true;
        };
        match &mut open.node.kind {
            NodeKind::List(items) => items.push(node),
            NodeKind::Map(entries) => match open.key.take() {
                Some(Some(key)) => entries.push((key, node)),
                Some(None) => {}
                None => {
                    let key = match node.kind {
                        NodeKind::Scalar { text, .. } => Ok(Key { text, mark: node.mark }),
                        // A key may well be called `null`.
                        NodeKind::Null => Err(("yaml-key", "a key is missing here", "write key: value", node.mark)),
                        _ => Err((
                            "unquoted-template",
                            "a key cannot be a map or list; this looks like a template without quotes",
                            "quote the template: \"{{ … }}\"",
                            node.mark,
                        )),
                    };
                    let first = key.as_ref().ok().and_then(|key| {
                        entries.iter().find(|(known, _)| known.text == key.text).map(|(known, _)| known.mark.clone())
                    });
                    match key {
                        Err((code, message, hint, mark)) => {
                            open.key = Some(None);
                            self.report(code, message, &mark).hint = Some(hint.to_owned());
                        }
                        Ok(key) if key.text == "<<" => {
                            open.key = Some(None);
                            self.report("merge-key", "`<<` does not merge here", &key.mark).hint = Some(
                                "put the shared options into `profiles:` and name the profile in the guest".to_owned(),
                            );
                        }
                        Ok(key) => match first {
                            Some(first) => {
                                open.key = Some(None);
                                let message = format!("the key `{}` stands twice", key.text);
                                self.report("duplicate-key", message, &key.mark)
                                    .related
                                    .push((first.place(), "first here".to_owned()));
                            }
                            None => open.key = Some(Some(key)),
                        },
                    }
                }
            },
            NodeKind::Null | NodeKind::Scalar { .. } | NodeKind::Refused => {}
        }
        true
    }

    /// The library's error in words that help.
    fn broken(&self, error: &ScanError, text: &str) -> Diagnostic {
        let info = error.info();
        let at = error.marker();
        let here = self.lines.mark(at.line(), at.col(), 1);
        if info.contains("recursion limit") {
            return Diagnostic::error("too-deep", format!("nested deeper than {MAX_DEPTH} levels"))
                .at(&self.inside(&here));
        }
        if let Some(open) = self.open.iter().rev().find(|open| open.flow) {
            let bracket = if matches!(open.node.kind, NodeKind::Map(_)) { '{' } else { '[' };
            let close = if bracket == '{' { '}' } else { ']' };
            return Diagnostic::error("yaml", format!("`{bracket}` is not closed by a `{close}`"))
                .at(&Mark { length: 1, ..open.node.mark.clone() }.place())
                .also(&self.inside(&here), "the text breaks here");
        }
        let line = text.lines().nth(at.line().saturating_sub(1)).unwrap_or_default();
        let character = line.chars().nth(at.col());
        let (message, hint) = if character.is_some_and(|c| c.is_control() && c != '\t') {
            ("a control character stands here", "remove it, or write it as an escape in double quotes")
        } else if info.contains("tab") {
            ("a tab stands where only spaces may", "YAML is indented by spaces only")
        } else if info.contains("quoted scalar") {
            ("a quote is not closed", "close it with the same quote")
        } else if info.contains("unknown anchor") {
            ("this alias names an anchor that does not exist", "define it before, as &name")
        } else if info.contains("mapping values are not allowed") {
            ("a `:` makes no sense here", "quote the text if the colon belongs to it, and check the indentation")
        } else if info.contains("indent") || info.contains("block mapping") || info.contains("block collection") {
            ("this line does not fit what stands above it", "check its indentation")
        } else if info.contains("simple key") {
            ("a key without its `:`", "write key: value, and check the indentation")
        } else if line.contains('%') && info.contains("directive") {
            ("a line that begins with `%` is a YAML directive", "quote the text")
        } else {
            (info, "")
        };
        let problem = Diagnostic::error("yaml", message).at(&self.inside(&here));
        if hint.is_empty() { problem } else { problem.hint(hint) }
    }

    /// The place, or the end of the last line that holds text where it lies beyond.
    fn inside(&self, mark: &Mark) -> Place {
        let mut place = mark.place();
        if place.line as usize > self.lines.lines.len() {
            let last = self.lines.lines.iter().rposition(|length| *length > 0).unwrap_or_default();
            let length = self.lines.lines.get(last).copied().unwrap_or_default();
            place = self.lines.mark(last + 1, length.saturating_sub(1), 1).place();
        }
        place
    }
}

/// How many nodes a value has, and how deep it is.
fn measure(node: &Node) -> (usize, usize) {
    let fold = |sums: (usize, usize), (size, depth): (usize, usize)| (sums.0 + size, sums.1.max(depth + 1));
    match &node.kind {
        NodeKind::Null | NodeKind::Scalar { .. } | NodeKind::Refused => (1, 0),
        NodeKind::List(items) => items.iter().map(measure).fold((1, 1), fold),
        NodeKind::Map(entries) => entries.iter().map(|(_, node)| measure(node)).fold((1, 1), fold),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        parse("f", text).err().unwrap_or_default().iter().map(show).collect()
    }

    fn show(problem: &Diagnostic) -> String {
        let place = problem.place.as_ref().unwrap();
        format!("{}:{}+{} {}", place.line, place.column, place.length, problem.message)
    }

    fn at(node: &Node) -> (u32, u32, u32) {
        (node.mark.line, node.mark.column, node.mark.length)
    }

    #[test]
    fn everything_has_a_place() {
        let root =
            parse("f", "\u{feff}a: größe  # x\nb: {c: 1, d: \"x y\"}\ne:\n  - 'q'\n  - [1, 2]\nt: |\n  text\n  more\n")
                .unwrap();
        assert_eq!(at(root.get("a").unwrap()), (1, 4, 5));
        let b = root.get("b").unwrap();
        assert_eq!(at(b), (2, 4, 16));
        assert_eq!(at(b.get("c").unwrap()), (2, 8, 1));
        assert_eq!(at(b.get("d").unwrap()), (2, 14, 5));
        let NodeKind::List(items) = &root.get("e").unwrap().kind else { panic!("no list") };
        assert_eq!((at(&items[0]), at(&items[1])), ((4, 5, 3), (5, 5, 6)));
        assert_eq!(root.get("t").unwrap().text(), Some("text\nmore\n"));
    }

    #[test]
    fn scalars_stay_as_written() {
        let root = parse("f", "a: 0100\nb: 1.10\nc: no\nd: 'null'\ne: null\nf:\ng: !!str 12\n").unwrap();
        let text = |key: &str| root.get(key).unwrap().text();
        assert_eq!(
            (text("a"), text("b"), text("c"), text("d")),
            (Some("0100"), Some("1.10"), Some("no"), Some("null"))
        );
        assert!(root.get("e").unwrap().is_null() && root.get("f").unwrap().is_null());
        assert_eq!(root.get("g").unwrap().kind, NodeKind::Scalar { text: "12".to_owned(), plain: false });
    }

    #[test]
    fn aliases_are_expanded_within_bounds() {
        let root = parse("f", "a: &x {b: 1}\nc: *x\n").unwrap();
        assert_eq!(root.get("c").unwrap().get("b").unwrap().text(), Some("1"));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        assert!(problems(&bomb)[0].contains("aliases expand to too much"));
        assert!(problems("a: &x [*x]\n")[0].contains("inside its own anchor"));
        assert!(problems("a: *nowhere\n")[0].contains("anchor that does not exist"));
    }

    #[test]
    fn what_yaml_allows_and_a_manifest_does_not() {
        for (text, expected) in [
            ("a: 1\nb: 2\na: 3\n", "3:1+1 the key `a` stands twice"),
            ("a: {<<: 1}\n", "1:5+2 `<<` does not merge here"),
            ("a: 1\n---\nb: 2\n", "2:1+3 a second document begins here"),
            ("a: !include x\n", "1:4+10 YAML tags"),
            ("a: {{ n }}\n", "1:5+5 a key cannot be a map or list"),
            ("a:\n\tb: 1\n", "2:1+1 a tab indents this line"),
            ("a:\n  b: 1\n \tc: 2\n", "3:2+1 a tab indents this line"),
            ("a: [1, 2\nb: 3\n", "1:4+1 `[` is not closed"),
            ("a: {b: 1\n", "1:4+1 `{` is not closed"),
            ("a: \"x\nb: 1\n", "a quote is not closed"),
            ("a: b: c\n", "1:5+1 a `:` makes no sense here"),
            ("a: 1\n   b: 2\n", ""),
            ("a:\n  - 1\n b: 2\n", ""),
            ("- a\nb: 1\n", ""),
        ] {
            let found = problems(text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].contains(expected), "{text}: {found:?}");
        }
        assert_eq!(problems("a: 1\na: 2\nb: {c: 1, c: 2}\n").len(), 2);
    }

    #[test]
    fn limits_hold() {
        assert!(problems(&"[".repeat(100))[0].contains("nested deeper than 64"));
        assert!(problems(&"[".repeat(10_000))[0].contains("nested deeper than 64"));
        assert!(problems(&" ".repeat(MAX_BYTES + 1))[0].contains("larger than 8 MiB"));
        assert!(parse("f", "").unwrap().is_null() && parse("f", "# only\n").unwrap().is_null());
        assert!(parse("f", "a: |\n  \ttext\n\nb: 1\n").is_ok());
    }
}
