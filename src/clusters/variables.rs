//! Variables of the process environment and of `.env` files, each with its source.

use std::collections::BTreeMap;
use std::fmt;

use crate::diagnostics::{Diagnostic, Place};
use crate::secret::Secret;

/// Where a variable was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the environment of the process.
    Process,
    /// In a file; the place is that of the variable's name.
    File(Place),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process => f.write_str("the process environment"),
            Self::File(place) => place.fmt(f),
        }
    }
}

/// One variable.
#[derive(Debug, Clone)]
pub struct Variable {
    /// Its value; any of them may be a secret.
    pub value: Secret,
    /// Where it was set.
    pub origin: Origin,
}

/// All variables, and the problems met while reading the files.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    entries: BTreeMap<String, Variable>,
    problems: Vec<Diagnostic>,
}

impl Variables {
    /// Joins the process environment and `.env` files, given as name and text.
    ///
    /// The process environment wins over the files, an earlier file over a later one. Lines that cannot
    /// be read are kept as [`Variables::problems`].
    pub fn merge(process: impl IntoIterator<Item = (String, String)>, files: &[(String, String)]) -> Self {
        let mut variables = Self::default();
        for (name, value) in process {
            variables.entries.insert(name, Variable { value: Secret::new(value), origin: Origin::Process });
        }
        for (file, text) in files {
            variables.read_file(file, text);
        }
        variables
    }

    /// The variable of exactly this name.
    pub fn get(&self, name: &str) -> Option<&Variable> {
        self.entries.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Lines of the files that could not be read.
    pub fn problems(&self) -> &[Diagnostic] {
        &self.problems
    }

    fn read_file(&mut self, file: &str, text: &str) {
        let mut seen: BTreeMap<String, Place> = BTreeMap::new();
        for entry in entries(text) {
            let place = |length: usize| Place {
                file: file.into(),
                line: entry.line,
                column: entry.column,
                length: u32::try_from(length.max(1)).unwrap_or(u32::MAX),
            };
            let Some((name, value)) = entry.read() else {
                self.problems.push(
                    Diagnostic::error("env-line", "this line cannot be read")
                        .at(&place(1))
                        .hint("write NAME=value; put a value with spaces or quotes in single quotes"),
                );
                continue;
            };
            let here = place(name.chars().count());
            if let Some(first) = seen.get(&name) {
                let same = self.entries.get(&name).is_some_and(|known| known.value.expose() == value);
                let settled = self.entries.get(&name).is_some_and(|known| known.origin == Origin::Process);
                if name.starts_with("PROXMOX_") && !same && !settled {
                    self.problems.push(
                        Diagnostic::error("env-twice", format!("{name} is set twice in {file}, to different values"))
                            .at(&here)
                            .also(first, "first set here"),
                    );
                }
                continue;
            }
            seen.insert(name.clone(), here.clone());
            self.entries
                .entry(name)
                .or_insert_with(|| Variable { value: Secret::new(value), origin: Origin::File(here) });
        }
    }
}

/// One assignment of a file, which may span lines where a quote does.
struct Entry<'a> {
    line: u32,
    column: u32,
    text: &'a str,
}

/// Splits a file into assignments; blank lines and comments are left out.
fn entries(text: &str) -> Vec<Entry<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    let mut rest = text;
    let mut line = 1u32;
    while !rest.is_empty() {
        let length = entry_length(rest);
        let (entry, after) = rest.split_at(length);
        let trimmed = entry.trim_start();
        if !trimmed.is_empty() && !trimmed.starts_with('#') {
            let body = trimmed.strip_prefix("export ").map_or(trimmed, str::trim_start);
            let column = entry.chars().count() - body.chars().count() + 1;
            found.push(Entry { line, column: u32::try_from(column).unwrap_or(u32::MAX), text: body.trim_end() });
        }
        line += u32::try_from(entry.matches('\n').count()).unwrap_or(0);
        rest = after;
    }
    found
}

/// The length of the next assignment with its line end; a quote that never closes takes its line only.
fn entry_length(text: &str) -> usize {
    let first_line = text.find('\n').map_or(text.len(), |end| end + 1);
    if text[..first_line].trim_start().starts_with('#') {
        return first_line;
    }
    let Some(equals) = text[..first_line].find('=') else {
        return first_line;
    };
    // Only a value that begins with a quote may go on in the next line: `A=don't` is a slip, not a start.
    let may_span = text[equals + 1..].trim_start_matches([' ', '\t']).starts_with(['"', '\'']);
    let mut quote = None;
    let mut escaped = false;
    let mut before = ' ';
    for (position, c) in text[equals + 1..].char_indices() {
        match quote {
            _ if c == '\n' && !may_span => return first_line,
            _ if escaped => escaped = false,
            Some('\'') if c == '\'' => quote = None,
            Some('\'') => {}
            _ if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '\n' => return equals + 1 + position + 1,
            None if c == '#' && before.is_whitespace() => return first_line_after(text, equals + 1 + position),
            None if c == '"' || c == '\'' => quote = Some(c),
            None => {}
        }
        before = c;
    }
    if quote.is_some() || escaped { first_line } else { text.len() }
}

/// The end of the line that holds this position, with its line end.
fn first_line_after(text: &str, position: usize) -> usize {
    text[position..].find('\n').map_or(text.len(), |end| position + end + 1)
}

impl Entry<'_> {
    /// Name and value, or nothing where the line cannot be read.
    ///
    /// `dotenvy` reads the value, under a stand-in for the name, which may hold hyphens here.
    fn read(&self) -> Option<(String, String)> {
        let (name, value) = self.text.split_once('=')?;
        let name = name.trim_end();
        let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if !valid {
            return None;
        }
        let line = format!("X={}\n", literal(value));
        let mut read = dotenvy::from_read_iter(line.as_bytes());
        // The library's error holds the whole line, a secret perhaps: it goes no further than here.
        let (_, value) = read.next()?.ok()?;
        read.next().is_none().then(|| (name.to_owned(), value))
    }
}

/// Rewrites a value so that `dotenvy` reads it to the letter.
///
/// `$` is escaped, for nothing is expanded; text in single quotes becomes text in double quotes, for the
/// library takes a backslash before a closing single quote as an escape in one place and not in another.
fn literal(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 8);
    let mut quote = None;
    let value = value.trim_start();
    // Blanks within a value that has no quotes belong to it, as other readers of such files have it.
    let keeps_blanks = !value.contains(['"', '\'']);
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some('\''), '\'') => {
                quote = None;
                text.push('"');
            }
            (Some('\''), '"' | '\\' | '$') => text.extend(['\\', c]),
            (Some('\''), _) => text.push(c),
            (_, '\\') => match characters.next() {
                Some(next @ ('\\' | '\'' | '"' | '$' | ' ' | 'n')) => text.extend([c, next]),
                // No escape of the library's: both characters are meant.
                Some(next) => text.extend([c, c, next]),
                None => text.extend([c, c]),
            },
            (_, '$') => text.push_str("\\$"),
            (None, ' ' | '\t') if keeps_blanks => {
                let rest = characters.as_str().trim_start_matches([' ', '\t', '\r', '\n']);
                match rest.is_empty() || rest.starts_with('#') {
                    true => text.push(c),
                    false => text.extend(['"', c, '"']),
                }
            }
            (None, '\'') => {
                quote = Some('\'');
                text.push('"');
            }
            (None, '"') => {
                quote = Some('"');
                text.push('"');
            }
            (Some('"'), '"') => {
                quote = None;
                text.push('"');
            }
            _ => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Variables {
        Variables::merge([], &[(".env".to_owned(), text.to_owned())])
    }

    fn value<'a>(variables: &'a Variables, name: &str) -> &'a str {
        variables.get(name).unwrap().value.expose()
    }

    #[test]
    fn values_are_literal() {
        for (line, expected) in [
            ("A=pa$$word", "pa$$word"),
            ("A=\"pa$HOME\"", "pa$HOME"),
            ("A='pa$x\\'", "pa$x\\"),
            ("A='say \"x\"'", "say \"x\""),
            ("A=plain # comment", "plain"),
            ("A=two words # no comment", "two words"),
            ("A=a:b , c:d  ,", "a:b , c:d  ,"),
            ("A=tab\tbed", "tab\tbed"),
            ("A='x' y", ""),
            ("A=pla#in", "pla#in"),
            ("A=", ""),
            ("A= # nothing", ""),
            ("export A = spaced", "spaced"),
            ("A=\"two\\nlines\"", "two\nlines"),
            ("A='two\nlines'", "two\nlines"),
            ("A=\\$x", "$x"),
            ("A=re:\\d+$:x", "re:\\d+$:x"),
            ("A=crlf\r", "crlf"),
            ("A=trailing   ", "trailing"),
            ("A=don't # isn't read on", ""),
        ] {
            let variables = read(line);
            match variables.get("A") {
                Some(found) => assert_eq!(found.value.expose(), expected, "{line}"),
                None => assert!(expected.is_empty() && variables.problems().len() == 1, "{line}"),
            }
        }
    }

    #[test]
    fn hyphens_are_allowed_in_names_and_lines_are_counted() {
        let variables =
            read("\u{feff}# comment\n\nPROXMOX_CLUSTER_disaster-recovery_API_URL=https://dr\nB='x\ny'\n  C=1");
        assert_eq!(value(&variables, "PROXMOX_CLUSTER_disaster-recovery_API_URL"), "https://dr");
        let Origin::File(place) = &variables.get("C").unwrap().origin else { panic!("not of the file") };
        assert_eq!((place.line, place.column), (6, 3));
    }

    #[test]
    fn earlier_sources_win() {
        let variables = Variables::merge(
            [("A".to_owned(), "process".to_owned())],
            &[("one".to_owned(), "A=1\nB=1".to_owned()), ("two".to_owned(), "B=2\nC=2".to_owned())],
        );
        let values: Vec<_> = ["A", "B", "C"].iter().map(|name| value(&variables, name)).collect();
        assert_eq!(values, ["process", "1", "2"]);
        assert_eq!(variables.get("B").unwrap().origin.to_string(), "one:2");
    }

    #[test]
    fn a_bad_line_costs_only_itself_and_shows_no_value() {
        let variables = read("A=1\nPASSWORD = 'two' words\nB=2\n=x\nD='never closed\nE=5\nF=6\nno assignment");
        for (name, expected) in [("A", "1"), ("B", "2"), ("E", "5"), ("F", "6")] {
            assert_eq!(value(&variables, name), expected);
        }
        let lines: Vec<u32> = variables.problems().iter().map(|p| p.place.as_ref().unwrap().line).collect();
        assert_eq!(lines, [2, 4, 5, 8]);
        assert!(!format!("{variables:?}").contains("words"));
    }

    #[test]
    fn the_same_variable_twice_must_agree() {
        let variables = read("PROXMOX_A=1\nPROXMOX_A=1\nPROXMOX_B=1\nPROXMOX_B=2");
        assert_eq!(variables.problems().len(), 1);
        assert_eq!(variables.problems()[0].related[0].0.line, 3);
    }
}
