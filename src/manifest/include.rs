//! Files that a manifest includes: found by relative paths, each read once, in no circle.

use std::collections::{BTreeMap, BTreeSet};

use super::decode::Problems;
use super::files::is_yaml_name;
use super::model::Spanned;
use super::source::{self, Node};
use crate::diagnostics::Diagnostic;

/// Fetches the text of an included file by its name, which is that of the including file with the path applied.
pub type ReadInclude<'a> = dyn Fn(&str) -> Result<String, String> + 'a;

/// Most files that one manifest may include.
const MAX_INCLUDED: usize = 64;

/// A file by name.
pub(super) type File = (String, Node);

/// The included files, the weakest first, and the manifest's own.
pub(super) struct Loaded {
    pub included: Vec<File>,
    pub own: Vec<File>,
    /// An included file is no YAML.
    pub broken: bool,
}

/// Follows every `include`.
pub(super) fn load(own: Vec<File>, read: &ReadInclude<'_>, problems: &mut Problems) -> Loaded {
    let names: Vec<String> = own.iter().map(|(name, _)| name.clone()).collect();
    let mut loader = Loader {
        read,
        own: own.into_iter().map(|(name, root)| (normal(&name), (name, root))).collect(),
        included: Vec::new(),
        seen: BTreeSet::new(),
        broken: false,
    };
    for name in names {
        let key = normal(&name);
        // One that another file included is that file's.
        if let Some((_, root)) = loader.own.get(&key).cloned() {
            loader.follow(&mut vec![key], &name, &root, problems);
        }
    }
    Loaded { included: loader.included, own: loader.own.into_values().collect(), broken: loader.broken }
}

struct Loader<'a> {
    read: &'a ReadInclude<'a>,
    own: BTreeMap<String, File>,
    included: Vec<File>,
    seen: BTreeSet<String>,
    broken: bool,
}

impl Loader<'_> {
    fn follow(&mut self, path: &mut Vec<String>, name: &str, root: &Node, problems: &mut Problems) {
        let Some(node) = root.get("include") else { return };
        if !problems.literal("`include`", node) {
            return;
        }
        for Spanned { value, place } in problems.texts("include", node) {
            let wrong = |message: String| Diagnostic::error("include", message).at(&place);
            if let Some(hint) = refuse(&value) {
                problems.list.push(wrong(format!("`{value}` cannot be included")).hint(hint));
                continue;
            }
            let target = normal(&join(name, &value));
            if let Some(begin) = path.iter().position(|file| *file == target) {
                let mut circle: Vec<&str> = path[begin..].iter().map(String::as_str).collect();
                circle.push(&target);
                let message = format!("files include each other in a circle: {}", circle.join(" → "));
                problems.list.push(Diagnostic::error("include-cycle", message).at(&place));
                continue;
            }
            if !self.seen.insert(target.clone()) {
                continue;
            }
            if self.seen.len() > MAX_INCLUDED {
                problems.list.push(wrong(format!("more than {MAX_INCLUDED} files are included")));
                return;
            }
            let file = match self.own.remove(&target) {
                Some(file) => file,
                None => match (self.read)(&target) {
                    Err(reason) => {
                        problems.list.push(wrong(format!("`{value}` cannot be read: {reason}")));
                        continue;
                    }
                    Ok(text) => match source::parse(&target, &text) {
                        Ok(root) => (target.clone(), root),
                        Err(more) => {
                            self.broken = true;
                            problems.list.extend(more);
                            continue;
                        }
                    },
                },
            };
            path.push(target);
            self.follow(path, &file.0, &file.1, problems);
            path.pop();
            self.included.push(file);
        }
    }
}

/// Why a path is not included.
fn refuse(path: &str) -> Option<&'static str> {
    if path.starts_with(['/', '~']) || path.contains(['\\', ':', '\0']) {
        return Some("write a path relative to this file, such as ../base.yaml");
    }
    (!is_yaml_name(path)).then_some("an included file is YAML, and its name ends in .yaml or .yml")
}

/// A path beside a file.
fn join(file: &str, path: &str) -> String {
    match file.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/{path}"),
        None => path.to_owned(),
    }
}

/// A path without `.` and, where they can be applied, without `..`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Outside, read_with};

    fn read(files: &[(&str, &str)], others: &[(&str, &str)]) -> Result<Vec<String>, Vec<String>> {
        let files: Vec<(String, String)> =
            files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let include = |name: &str| {
            let found = others.iter().find(|(other, _)| *other == name);
            found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| "no such file".to_owned())
        };
        let (fleet, problems) = read_with(&files, &Outside { include: &include, ..Outside::default() });
        match (fleet, problems.as_slice()) {
            (Some(fleet), []) => Ok(fleet
                .included
                .iter()
                .map(|defaults| {
                    let value = &defaults.guest.options[0].1;
                    format!("{}={}", value.mark.file(), value.text().unwrap_or_default())
                })
                .collect()),
            (_, problems) => Err(problems.iter().map(|problem| problem.message.clone()).collect()),
        }
    }

    #[test]
    fn files_are_included_once_the_weakest_first() {
        let fleet = ("envs/prod/fleet.yaml", "fleet: f\ninclude: [../base.yaml, ./more.yaml]\n");
        let base = ("envs/base.yaml", "include: deep/root.yml\ndefaults: {guest: {cores: 1}}\n");
        let more = ("envs/prod/more.yaml", "include: ../deep/root.yml\ndefaults: {guest: {cores: 2}}\n");
        let root = ("envs/deep/root.yml", "defaults: {guest: {cores: 3}}\n");
        let expected = ["envs/deep/root.yml=3", "envs/base.yaml=1", "envs/prod/more.yaml=2"];
        assert_eq!(read(&[fleet], &[base, more, root]).unwrap(), expected);
        // A file of the folder that another one includes is an included one.
        assert_eq!(read(&[fleet, more], &[base, root]).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_included_is_said() {
        let one = |text: &str, others: &[(&str, &str)]| read(&[("a.yaml", text)], others).unwrap_err().join(" | ");
        for (text, expected) in [
            ("fleet: f\ninclude: gone.yaml\n", "`gone.yaml` cannot be read: no such file"),
            ("fleet: f\ninclude: /etc/base.yaml\n", "`/etc/base.yaml` cannot be included"),
            ("fleet: f\ninclude: base.txt\n", "`base.txt` cannot be included"),
            ("fleet: f\ninclude: a.yaml\n", "files include each other in a circle: a.yaml → a.yaml"),
            ("fleet: f\ninclude: \"{{ x }}.yaml\"\n", "`include` takes no template"),
        ] {
            assert_eq!(one(text, &[]), expected);
        }
        let circle = [("b.yaml", "include: c.yaml\n"), ("c.yaml", "include: b.yaml\n")];
        assert_eq!(
            one("fleet: f\ninclude: b.yaml\n", &circle),
            "files include each other in a circle: b.yaml → c.yaml → b.yaml"
        );
        assert_eq!(
            one("fleet: f\ninclude: b.yaml\n", &[("b.yaml", "fleet: g\nvms: []\n")]),
            "`fleet` cannot stand in an included file | `vms` cannot stand in an included file"
        );
    }

    #[test]
    fn paths_are_joined() {
        assert_eq!(normal(&join("a/b/c.yaml", "../../../x.yaml")), "../x.yaml");
        assert_eq!(normal(&join("/a/b.yaml", "./c/../d.yaml")), "/a/d.yaml");
        assert_eq!(normal("../../x.yaml"), "../../x.yaml");
    }
}
