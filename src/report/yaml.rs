//! A small YAML writer: what it writes is read the same by every YAML reader, old or new.

use serde_json::{Map, Value, json};

/// A value to be written.
#[derive(Debug, Clone, PartialEq)]
pub enum Tree {
    /// Nothing.
    Null,
    /// Text.
    Text(String),
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Number(u64),
    /// A list on one line.
    List(Vec<Tree>),
    /// A list of maps, one below the other.
    Items(Vec<Tree>),
    /// A map on one line.
    Inline(Vec<Entry>),
    /// A map, a key a line.
    Map(Vec<Entry>),
}

/// One entry of a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value; an entry without one is only told of in a comment.
    pub value: Option<Tree>,
    /// A comment at the line's end.
    pub comment: Option<String>,
}

impl Entry {
    /// An entry without a comment.
    pub fn new(key: &str, value: Tree) -> Self {
        Self { key: key.to_owned(), value: Some(value), comment: None }
    }
}

/// The text of a map.
pub fn text(entries: &[Entry]) -> String {
    let mut text = String::new();
    write_map(&mut text, entries, 0, false);
    text
}

/// The same for programs.
pub fn json(tree: &Tree) -> Value {
    match tree {
        Tree::Null => Value::Null,
        Tree::Text(text) => json!(text),
        Tree::Boolean(value) => json!(value),
        Tree::Number(number) => json!(number),
        Tree::List(items) | Tree::Items(items) => items.iter().map(json).collect(),
        Tree::Inline(entries) | Tree::Map(entries) => {
            let pairs = entries.iter().filter_map(|entry| Some((entry.key.clone(), json(entry.value.as_ref()?))));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
    }
}

fn write_map(text: &mut String, entries: &[Entry], indent: usize, mut begun: bool) {
    for entry in entries {
        if !std::mem::take(&mut begun) {
            text.push_str(&" ".repeat(indent));
        }
        let comment = entry.comment.as_deref().map(|comment| format!("  # {comment}")).unwrap_or_default();
        match &entry.value {
            None => text.push_str(&format!("# {}{}\n", entry.key, entry.comment.as_deref().unwrap_or_default())),
            Some(Tree::Map(inner)) if !inner.is_empty() => {
                text.push_str(&format!("{}:{comment}\n", scalar(&entry.key)));
                write_map(text, inner, indent + 2, false);
            }
            Some(Tree::Items(items)) if !items.is_empty() => {
                text.push_str(&format!("{}:{comment}\n", scalar(&entry.key)));
                for item in items {
                    text.push_str(&format!("{}- ", " ".repeat(indent + 2)));
                    match item {
                        Tree::Map(inner) if !inner.is_empty() => write_map(text, inner, indent + 4, true),
                        other => text.push_str(&format!("{}\n", inline(other))),
                    }
                }
            }
            Some(value) => text.push_str(&format!("{}: {}{comment}\n", scalar(&entry.key), inline(value))),
        }
    }
}

fn inline(tree: &Tree) -> String {
    match tree {
        Tree::Null => "null".to_owned(),
        Tree::Text(text) => scalar(text),
        Tree::Boolean(value) => value.to_string(),
        Tree::Number(number) => number.to_string(),
        Tree::List(items) | Tree::Items(items) => {
            format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", "))
        }
        Tree::Inline(entries) | Tree::Map(entries) => {
            let pair = |entry: &Entry| Some(format!("{}: {}", scalar(&entry.key), inline(entry.value.as_ref()?)));
            format!("{{{}}}", entries.iter().filter_map(pair).collect::<Vec<_>>().join(", "))
        }
    }
}

/// Text, in quotes wherever some YAML reader could take it for anything else.
pub fn scalar(text: &str) -> String {
    const WORDS: [&str; 12] = ["", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan"];
    let lower = text.to_ascii_lowercase();
    let digits = |more: &[u8]| text.bytes().all(|b| b.is_ascii_digit() || more.contains(&b));
    let date = digits(b"-") && text.matches('-').count() == 2;
    let number = text.starts_with(|c: char| c.is_ascii_digit())
        && (digits(b"._+eExXoO") || date || text.contains(['e', 'E']) && digits(b".+-eE"));
    let plain_number = text.len() < 16 && text.parse::<u64>().is_ok_and(|number| number.to_string() == text);
    let plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._/+-".contains(&b))
        && !WORDS.contains(&lower.as_str())
        && (!number || plain_number);
    if plain {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                quoted.push_str(&format!("\\U{:08x}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::source::parse;

    #[test]
    fn what_is_written_is_read_again() {
        for value in [
            "web",
            "",
            "no",
            "null",
            "~",
            "0100",
            "1.10",
            "12:30",
            "1e3",
            "a: b",
            "- a",
            "#x",
            "a\nb\tc",
            "\"",
            "\\",
            "{a}",
            "[a]",
            "é\u{1f600}",
            "\u{7}\u{85}\u{2028}",
            " a ",
            "100",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "0x10",
        ] {
            let entries = [
                Entry::new("a", Tree::Text(value.to_owned())),
                Entry::new("b", Tree::Inline(vec![Entry::new(value, Tree::List(vec![Tree::Text(value.to_owned())]))])),
            ];
            let written = text(&entries);
            let root = parse("f", &written).unwrap_or_else(|problems| panic!("{written}: {problems:?}"));
            assert_eq!(root.get("a").unwrap().text(), Some(value), "{written}");
            let inner = root.get("b").unwrap().get(value).unwrap_or_else(|| panic!("{written}"));
            let crate::manifest::source::NodeKind::List(items) = &inner.kind else { panic!("{written}") };
            assert_eq!(items[0].text(), Some(value), "{written}");
            let other: serde_json::Value = serde_yaml::from_str(&written).unwrap();
            assert!(other["a"] == json!(value) || value.parse::<u64>().is_ok(), "{written}");
        }
    }

    #[test]
    fn maps_and_lists_are_laid_out() {
        let guest = Tree::Map(vec![
            Entry::new("name", Tree::Text("a".to_owned())),
            Entry { comment: Some("why".to_owned()), ..Entry::new("cores", Tree::Number(2)) },
            Entry { key: "secret".to_owned(), value: None, comment: Some(": not shown".to_owned()) },
        ]);
        let entries = [
            Entry::new("vms", Tree::Items(vec![guest.clone(), guest])),
            Entry::new("empty", Tree::Map(Vec::new())),
            Entry::new("deep", Tree::Map(vec![Entry::new("x", Tree::Null)])),
        ];
        assert_eq!(
            text(&entries),
            "vms:\n  - name: a\n    cores: 2  # why\n    # secret: not shown\n  - name: a\n    cores: 2  # why\n    \
             # secret: not shown\nempty: {}\ndeep:\n  x: null\n"
        );
    }
}
