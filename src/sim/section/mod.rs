//! Files of sections: the form in which Proxmox keeps what it defines for the whole cluster.
//!
//! Storages, HA rules and groups, mappings, backup jobs, replication jobs and networks are all sections with
//! an id, a type and properties. [`Layout`] says which types a file knows and which properties a type has;
//! [`Sections`] reads such a file, changes it as Proxmox's code for all of them does, and writes it. What is
//! particular to one file is in the modules below.

pub(super) mod backup;
pub(super) mod calendar;
pub(super) mod ha_groups;
pub(super) mod ha_rules;
pub(super) mod mapping;
pub(super) mod sdn;
pub(super) mod storage;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha1::{Digest, Sha1};

use super::answer::Failure;
use super::cluster::Cluster;
use crate::pve::value::{GuestKind, split_list};

/// What a changed configuration is refused with.
pub(super) const MODIFIED: &str = "detected modified configuration - file changed by other user? Try again.";

/// Properties of one section. A list's values stand in lines of their own.
pub(super) type Values = BTreeMap<String, String>;

/// One type of section.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// Its properties, separated by spaces. `!` follows one that must be given and stays, `+` one that must be
    /// there, `~` one that may be given and stays; then `#` one that is a number, `*` one that is a list.
    pub(super) properties: &'static str,
}

/// One property of a type.
#[derive(Debug, Clone, Copy, Default)]
struct Property {
    required: bool,
    fixed: bool,
    number: bool,
    list: bool,
}

impl Kind {
    fn iter(&self) -> impl Iterator<Item = (&'static str, Property)> {
        self.properties.split_ascii_whitespace().map(|word| {
            let name = word.trim_end_matches(['!', '+', '~', '#', '*']);
            let marks = &word[name.len()..];
            let property = Property {
                required: marks.contains(['!', '+']),
                fixed: marks.contains(['!', '~']),
                number: marks.contains('#'),
                list: marks.contains('*'),
            };
            (name, property)
        })
    }

    fn find(&self, name: &str) -> Option<Property> {
        self.iter().find(|(known, _)| *known == name).map(|(_, property)| property)
    }

    /// True for a property of this type.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Checks the properties of a new section, or the changed ones of an old one.
    pub(super) fn check(&self, values: &Values, create: bool) -> Result<(), Failure> {
        for (name, value) in values {
            let property = self.find(name);
            if !create && property.is_some_and(|property| property.fixed) {
                return Err(Failure::die(format!("can't change value of fixed parameter '{name}'")));
            }
            let property = property.ok_or_else(|| Failure::die(format!("unexpected property '{name}'")))?;
            if !property.list && value.contains(['\n', '\r']) {
                return Err(Failure::die("property contains a line feed"));
            }
        }
        let missing = self.iter().find(|(name, property)| create && property.required && !values.contains_key(*name));
        missing.map_or(Ok(()), |(name, _)| Err(Failure::die(format!("missing value for required option '{name}'"))))
    }

    /// Checks the names of properties that are to be removed, beside those that are set.
    pub(super) fn check_delete(&self, names: &str, set: &Values) -> Result<(), Failure> {
        for name in split_list(names) {
            let refuse = |text: String| Err(Failure::die(text));
            match self.find(name) {
                None => return refuse(format!("no such option '{name}'")),
                Some(property) if property.required => {
                    return refuse(format!("unable to delete required option '{name}'"));
                }
                Some(property) if property.fixed => return refuse(format!("unable to delete fixed option '{name}'")),
                Some(_) if set.contains_key(name) => {
                    return refuse(format!("cannot set and delete property '{name}' at the same time!"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The properties as they stand in an answer.
    pub(super) fn json(&self, values: &Values) -> Map<String, Value> {
        let shown = |name: &str, value: &str| {
            let property = self.find(name).unwrap_or_default();
            if property.list {
                return json!(value.lines().collect::<Vec<_>>());
            }
            match value.parse::<i64>() {
                Ok(number) if property.number => json!(number),
                _ => json!(value),
            }
        };
        values.iter().map(|(name, value)| (name.clone(), shown(name, value))).collect()
    }

    /// The lines of the properties: the comment first, then those that must be there, then the others.
    fn lines(&self, values: &Values) -> String {
        let mut text = String::new();
        let mut write = |name: &str| {
            for line in values.get(name).into_iter().flat_map(|value| value.split('\n')) {
                text.push_str(&if name == "disable" { "\tdisable\n".to_owned() } else { format!("\t{name} {line}\n") });
            }
        };
        let mut names: Vec<(&str, bool)> = self.iter().map(|(name, property)| (name, property.required)).collect();
        let place = |name: &str, required: bool| match (name, required) {
            ("comment", _) => 0,
            ("disable", _) => 1,
            (_, true) => 2,
            _ => 3,
        };
        names.sort_by_key(|(name, required)| (place(name, *required), *name));
        for (name, _) in names {
            write(name);
        }
        text
    }
}

/// The form of one file.
#[derive(Debug)]
pub(super) struct Layout {
    /// Where it is below `/etc/pve`.
    pub(super) file: &'static str,
    pub(super) kinds: &'static [Kind],
    /// A file of one type may leave it out of the headings.
    pub(super) bare: bool,
}

impl Layout {
    /// The type of this name; one that the parameters' check let through is there.
    pub(super) fn kind(&self, name: &str) -> Result<&'static Kind, Failure> {
        let kinds: &'static [Kind] = self.kinds;
        let found = kinds.iter().find(|kind| kind.name == name);
        found.ok_or_else(|| Failure::die(format!("unknown section type '{name}'")))
    }
}

/// One section.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Section {
    pub(super) id: String,
    pub(super) kind: &'static Kind,
    pub(super) values: Values,
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Section {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// True for a flag that is set.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.get(name) == Some("1")
    }
}

/// The sections of one file, in its order.
#[derive(Debug, Clone)]
pub(super) struct Sections {
    pub(super) layout: &'static Layout,
    pub(super) list: Vec<Section>,
}

impl Sections {
    /// Reads a file. What no version of Proxmox could have written is left out, as Proxmox does with a warning.
    pub(super) fn parse(layout: &'static Layout, text: &str) -> Self {
        let mut list: Vec<Section> = Vec::new();
        let mut open = false;
        for line in text.lines() {
            if line.trim().is_empty() {
                open = false;
            } else if let Some(line) = line.strip_prefix(['\t', ' ']).filter(|_| open) {
                let (name, value) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), "1"));
                let Some(section) = list.last_mut() else { continue };
                let Some(property) = section.kind.find(name) else { continue };
                let value = value.trim();
                let values = &mut section.values;
                match values.get_mut(name).filter(|_| property.list) {
                    Some(lines) => lines.push_str(&format!("\n{value}")),
                    None => drop(values.insert(name.to_owned(), value.to_owned())),
                }
            } else {
                let (kind, id) = if layout.bare {
                    (layout.kinds.first(), line.trim())
                } else {
                    let (name, id) = line.split_once(':').unwrap_or((line, ""));
                    (layout.kinds.iter().find(|kind| kind.name == name.trim()), id.trim())
                };
                open = kind.is_some() && !id.is_empty();
                if let Some(kind) = kind.filter(|_| open) {
                    list.push(Section { id: id.to_owned(), kind, values: Values::new() });
                }
            }
        }
        Self { layout, list }
    }

    /// The file's text.
    pub(super) fn render(&self) -> String {
        let heading = |section: &Section| {
            if self.layout.bare { section.id.clone() } else { format!("{}: {}", section.kind.name, section.id) }
        };
        let text = |section: &Section| format!("{}\n{}\n", heading(section), section.kind.lines(&section.values));
        self.list.iter().map(text).collect()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Section> {
        self.list.iter().find(|section| section.id == id)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Section> {
        self.list.iter_mut().find(|section| section.id == id)
    }

    /// Removes a section; false where there was none.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        let before = self.list.len();
        self.list.retain(|section| section.id != id);
        self.list.len() < before
    }

    pub(super) fn push(&mut self, id: &str, kind: &'static Kind, values: Values) {
        self.list.push(Section { id: id.to_owned(), kind, values });
    }

    pub(super) fn digest(&self) -> String {
        sha1_hex(&self.render())
    }

    /// Refuses where the file is not the one that the caller saw.
    pub(super) fn check_digest(&self, given: Option<&str>) -> Result<(), Failure> {
        check_digest(given, || self.digest())
    }

    /// Takes new and removed properties over.
    pub(super) fn change(section: &mut Section, set: Values, delete: Option<&str>) -> Result<(), Failure> {
        let delete = delete.unwrap_or_default();
        section.kind.check_delete(delete, &set)?;
        for name in split_list(delete) {
            section.values.remove(name);
        }
        section.values.extend(set);
        Ok(())
    }
}

/// Refuses where what was seen is not what there is.
pub(super) fn check_digest(given: Option<&str>, current: impl FnOnce() -> String) -> Result<(), Failure> {
    match given.filter(|given| !given.is_empty()) {
        Some(given) if given != current() => Err(Failure::die(MODIFIED)),
        _ => Ok(()),
    }
}

/// The digest of a text as Proxmox shows it.
pub(super) fn sha1_hex(text: &str) -> String {
    Sha1::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A failure below a lock carries what the lock was taken for before its text.
pub(super) fn below(what: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Die(text) => Failure::Die(format!("{what}: {text}")),
        Failure::Parameters(errors) => {
            let lines: String = errors.iter().map(|(name, error)| format!("\n{name}: {error}")).collect();
            Failure::Die(format!("{what}: 400 Parameter verification failed.{lines}"))
        }
        other => other,
    }
}

impl Cluster {
    /// The sections of a file.
    pub(super) fn sections(&self, layout: &'static Layout) -> Sections {
        Sections::parse(layout, self.files.get(layout.file).map_or("", String::as_str))
    }

    /// Takes a guest that goes out of what names it: HA resources and rules, backup jobs.
    pub(super) fn purge(&mut self, kind: GuestKind, vmid: u32) {
        let sid = format!("{}:{vmid}", kind.ha_prefix());
        if self.ha.remove(&sid).is_some() {
            ha_rules::purge(self, &sid);
        }
        backup::purge(self, vmid);
    }

    /// Writes the sections of a file.
    pub(super) fn save(&mut self, sections: &Sections) {
        self.files.insert(sections.layout.file.to_owned(), sections.render());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static LAYOUT: Layout = Layout {
        file: "x.cfg",
        bare: false,
        kinds: &[Kind { name: "t", properties: "b a+ path! comment disable# count# map* once~" }],
    };

    fn values(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut sections = Sections::parse(&LAYOUT, "");
        let all =
            values(&[("b", "2"), ("a", "x y"), ("path", "/p"), ("comment", "c"), ("disable", "1"), ("map", "m\nn")]);
        sections.push("one", LAYOUT.kind("t").unwrap(), all.clone());
        sections.push("two", LAYOUT.kind("t").unwrap(), values(&[("a", "1")]));
        let text = sections.render();
        assert_eq!(
            text,
            "t: one\n\tcomment c\n\tdisable\n\ta x y\n\tpath /p\n\tb 2\n\tmap m\n\tmap n\n\nt: two\n\ta 1\n\n"
        );
        let again = Sections::parse(&LAYOUT, &text);
        assert_eq!(again.list, sections.list);
        assert_eq!(again.get("one").unwrap().values, all);
        assert_eq!(Sections::parse(&LAYOUT, "u: what\n\ta 1\n\n\tb 2\n").list, []);
    }

    #[test]
    fn properties_are_checked() {
        let kind = LAYOUT.kind("t").unwrap();
        let refused = |given: &[(&str, &str)], create| match kind.check(&values(given), create) {
            Err(Failure::Die(text)) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(&[("z", "1")], true), "unexpected property 'z'");
        assert_eq!(refused(&[("a", "1")], true), "missing value for required option 'path'");
        assert_eq!(refused(&[("path", "1")], false), "can't change value of fixed parameter 'path'");
        assert_eq!(refused(&[("a", "1\n2")], false), "property contains a line feed");
        assert!(kind.check(&values(&[("a", "1"), ("path", "/"), ("map", "1\n2")]), true).is_ok());
        let refused = |names: &str| match kind.check_delete(names, &values(&[("b", "1")])) {
            Err(Failure::Die(text)) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused("count,z"), "no such option 'z'");
        assert_eq!(refused("a"), "unable to delete required option 'a'");
        assert_eq!(refused("once"), "unable to delete fixed option 'once'");
        assert_eq!(refused("b"), "cannot set and delete property 'b' at the same time!");
    }

    #[test]
    fn numbers_and_lists_are_shown_as_such() {
        let kind = LAYOUT.kind("t").unwrap();
        let shown = kind.json(&values(&[("b", "2"), ("count", "3"), ("map", "m\nn")]));
        assert_eq!(Value::Object(shown), json!({ "b": "2", "count": 3, "map": ["m", "n"] }));
    }
}
