//! Problems as people read them: the file, the line, the text meant underlined, and what to do.

use std::collections::BTreeMap;

use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};

use crate::diagnostics::{Diagnostic, Place, Severity};

/// The texts of the files that diagnostics speak of, by name.
///
/// Give manifests only: the lines of an `.env` file hold secrets, and its problems are complete without
/// them. Values of fields that hold a secret are masked.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    texts: BTreeMap<String, String>,
}

impl Sources {
    /// Adds a file.
    pub fn add(&mut self, name: &str, text: &str) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        self.texts.insert(name.to_owned(), mask_secrets(text));
    }
}

impl<N: AsRef<str>, T: AsRef<str>> FromIterator<(N, T)> for Sources {
    fn from_iter<I: IntoIterator<Item = (N, T)>>(files: I) -> Self {
        let mut sources = Self::default();
        for (name, text) in files {
            sources.add(name.as_ref(), text.as_ref());
        }
        sources
    }
}

/// Draws all diagnostics, each followed by an empty line; nothing for none.
pub fn text(diagnostics: &[Diagnostic], sources: &Sources, color: bool, width: usize) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() }.term_width(width.max(40));
    let mut text = String::new();
    for diagnostic in diagnostics {
        let drawn = renderer.render(&draw(diagnostic, sources));
        for line in drawn.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

/// One line that counts them: `2 errors, 1 warning`.
pub fn summary(diagnostics: &[Diagnostic]) -> String {
    let count = |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    let kinds = [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "note")];
    let parts: Vec<String> = kinds
        .iter()
        .map(|(severity, noun)| (diagnostics.iter().filter(|one| one.severity == *severity).count(), noun))
        .filter(|(number, _)| *number > 0)
        .map(|(number, noun)| count(number, noun))
        .collect();
    if parts.is_empty() { "no problems".to_owned() } else { parts.join(", ") }
}

fn draw<'a>(diagnostic: &'a Diagnostic, sources: &'a Sources) -> Vec<Group<'a>> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.as_str());
    let mut places: Vec<(&Place, Option<&str>)> = diagnostic.place.iter().map(|place| (place, None)).collect();
    places.extend(diagnostic.related.iter().map(|(place, words)| (place, Some(words.as_str()))));

    // One drawing a file, so that places of the same file stand in one.
    let mut drawn: Vec<(&str, Snippet<'a, _>)> = Vec::new();
    let mut unseen: Vec<Element<'a>> = Vec::new();
    for (place, words) in places {
        let Some((source, span)) = sources.texts.get(&*place.file).and_then(|text| Some((text, span(text, place)?)))
        else {
            unseen.push(match words {
                None => {
                    let origin = Origin::path(&*place.file).line(place.line as usize);
                    origin.char_column(place.column as usize).into()
                }
                Some(words) => {
                    let at = format!("{}:{}:{}: {words}", place.file, place.line, place.column);
                    Level::NOTE.with_name("see").message(at).into()
                }
            });
            continue;
        };
        let annotation = match words {
            None => AnnotationKind::Primary.span(span),
            Some(words) => AnnotationKind::Context.span(span).label(words),
        };
        if let Some(index) = drawn.iter().position(|(file, _)| *file == &*place.file) {
            let (file, snippet) = drawn.remove(index);
            drawn.insert(index, (file, snippet.annotation(annotation)));
        } else {
            let snippet = Snippet::source(source.as_str()).path(&*place.file).annotation(annotation);
            drawn.push((&*place.file, snippet));
        }
    }
    let mut group = if drawn.is_empty() && unseen.is_empty() && diagnostic.hint.is_none() {
        Group::with_title(title)
    } else {
        title.elements(drawn.into_iter().map(|(_, snippet)| snippet)).elements(unseen)
    };
    if let Some(hint) = &diagnostic.hint {
        group = group.element(Level::HELP.message(hint.as_str()));
    }
    vec![group]
}

/// The bytes that a place means, or nothing where the text has no such line.
fn span(text: &str, place: &Place) -> Option<std::ops::Range<usize>> {
    let mut start = 0;
    for _ in 1..place.line {
        start += text[start..].find('\n')? + 1;
    }
    let line = text[start..].split('\n').next()?.trim_end_matches('\r');
    let byte =
        |characters: u32| line.char_indices().nth(characters as usize).map_or(line.len(), |(position, _)| position);
    let first = byte(place.column.saturating_sub(1));
    let last = byte(place.column.saturating_sub(1).saturating_add(place.length.max(1)));
    Some(start + first..start + last.max(first))
}

/// Replaces the characters of literal secrets by `*`, each by one, so that positions stay true.
fn mask_secrets(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut deeper_than: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start_matches([' ', '-']).len();
        if deeper_than.is_some_and(|limit| indent > limit && !line.trim().is_empty()) {
            masked.extend(line.chars().map(star));
            continue;
        }
        deeper_than = None;
        let mut rest = line;
        while let Some(position) = rest.find("password") {
            let (before, after) = rest.split_at(position + "password".len());
            masked.push_str(before);
            rest = after;
            let value = after.trim_start_matches(['"', '\'', ' ']);
            let Some(value) = value.strip_prefix(':') else { continue };
            if value.trim_start().starts_with("{env:") || value.trim_start().starts_with("{ env:") {
                continue;
            }
            if value.trim().is_empty() || value.trim_start().starts_with(['|', '>', '"', '\'']) {
                deeper_than = Some(indent);
            }
            masked.push_str(&after[..after.len() - value.len()]);
            masked.extend(value.chars().map(star));
            rest = "";
        }
        masked.push_str(rest);
    }
    masked
}

fn star(c: char) -> char {
    if c.is_whitespace() { c } else { '*' }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(file: &str, line: u32, column: u32, length: u32) -> Place {
        Place { file: file.into(), line, column, length }
    }

    fn check(diagnostic: Diagnostic, text_of_file: &str, expected: &str) {
        let sources: Sources = [("fleet.yaml", text_of_file)].into_iter().collect();
        let drawn = text(&[diagnostic], &sources, false, 100);
        assert_eq!(drawn.trim_end(), expected.trim_matches('\n'), "\n{drawn}");
    }

    #[test]
    fn the_text_meant_is_underlined() {
        check(
            Diagnostic::error("unknown-option", "a VM has no option `memroy`")
                .at(&place("fleet.yaml", 3, 5, 6))
                .hint("did you mean `memory`?"),
            "vms:\n  - name: größe\n    memroy: 4GiB\n",
            "
error[unknown-option]: a VM has no option `memroy`
 --> fleet.yaml:3:5
  |
3 |     memroy: 4GiB
  |     ^^^^^^
  |
  = help: did you mean `memory`?",
        );
    }

    #[test]
    fn related_places_stand_in_one_drawing() {
        check(
            Diagnostic::error("same-guest", "`web` stands twice")
                .at(&place("fleet.yaml", 4, 9, 3))
                .also(&place("fleet.yaml", 2, 9, 3), "first here")
                .also(&place("other.yaml", 7, 1, 1), "and here"),
            "vms:\n- name: web\n  cores: 1\n- name: web\n",
            "
error[same-guest]: `web` stands twice
 --> fleet.yaml:4:9
  |
2 | - name: web
  |         --- first here
3 |   cores: 1
4 | - name: web
  |         ^^^
  |
  = see: other.yaml:7:1: and here",
        );
    }

    #[test]
    fn without_the_text_the_place_is_still_said() {
        check(
            Diagnostic::warning("env-line", "PROXMOX_X: wrong").at(&place(".env", 3, 1, 9)).hint("set it"),
            "",
            "
warning[env-line]: PROXMOX_X: wrong
--> .env:3:1
 = help: set it",
        );
        check(Diagnostic::error("no-cluster", "no cluster"), "", "error[no-cluster]: no cluster");
    }

    #[test]
    fn places_beyond_the_text_do_no_harm() {
        for (line, column, length) in [(1, 500, 500), (99, 1, 1), (1, 1, 0), (2, 1, 1)] {
            let sources: Sources = [("fleet.yaml", "é\n")].into_iter().collect();
            let problem = Diagnostic::error("x", "y").at(&place("fleet.yaml", line, column, length));
            assert!(text(&[problem], &sources, false, 80).starts_with("error[x]: y\n"));
        }
    }

    #[test]
    fn colour_is_asked_for() {
        let problems = [Diagnostic::error("x", "y")];
        assert!(text(&problems, &Sources::default(), true, 80).contains('\u{1b}'));
        assert!(!text(&problems, &Sources::default(), false, 80).contains('\u{1b}'));
    }

    #[test]
    fn literal_secrets_are_masked() {
        for (text, shown) in [
            ("cipassword: hunter2\ncores: 1\n", "cipassword: *******\ncores: 1\n"),
            ("  - {name: a, password: hunter2}\n", "  - {name: a, password: ********\n"),
            ("cipassword: |\n  hunter2\nb: 1\n", "cipassword: *\n  *******\nb: 1\n"),
            ("cipassword: {env: WEB, version: 1}\n", "cipassword: {env: WEB, version: 1}\n"),
            ("cipassword:\n  env: WEB\nb: 1\n", "cipassword:\n  ********\nb: 1\n"),
            ("no: secret\n", "no: secret\n"),
        ] {
            let masked = mask_secrets(text);
            assert!(!masked.contains("hunter2"), "{masked}");
            if !text.contains("  env") {
                assert_eq!(masked, shown);
            }
        }
    }

    #[test]
    fn problems_are_counted() {
        let (error, warning) = (Diagnostic::error("x", "y"), Diagnostic::warning("x", "y"));
        assert_eq!(summary(&[error.clone(), error, warning]), "2 errors, 1 warning");
        assert_eq!(summary(&[]), "no problems");
    }
}
