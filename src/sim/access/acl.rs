//! The access control list: which role on which path for whom.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

/// Roles by name, each with whether it holds below the path too.
pub(super) type Roles = BTreeMap<String, bool>;

/// Whom an entry is for, in the spelling of `user.cfg`: `bob@pve`, `@ops`, `bob@pve!ci`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sim) enum Member<'a> {
    User(&'a str),
    Group(&'a str),
    Token(&'a str),
}

impl<'a> Member<'a> {
    pub(super) fn read(text: &'a str) -> Self {
        match text.strip_prefix('@') {
            Some(group) => Self::Group(group),
            None if text.contains('!') => Self::Token(text),
            None => Self::User(text),
        }
    }

    /// How the list calls this kind, and the name.
    pub(in crate::sim) const fn parts(self) -> (&'static str, &'a str) {
        match self {
            Self::User(name) => ("user", name),
            Self::Group(name) => ("group", name),
            Self::Token(name) => ("token", name),
        }
    }
}

/// What stands on one path.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Node {
    pub(super) users: BTreeMap<String, Roles>,
    pub(super) groups: BTreeMap<String, Roles>,
    pub(super) tokens: BTreeMap<String, Roles>,
}

impl Node {
    fn members(&mut self, member: Member) -> &mut BTreeMap<String, Roles> {
        match member {
            Member::User(_) => &mut self.users,
            Member::Group(_) => &mut self.groups,
            Member::Token(_) => &mut self.tokens,
        }
    }

    fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty() && self.tokens.is_empty()
    }
}

/// All entries, by path.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Acl(BTreeMap<String, Node>);

impl Acl {
    pub(super) fn get(&self, path: &str) -> Option<&Node> {
        self.0.get(path)
    }

    pub(super) fn set(&mut self, path: &str, member: Member, role: &str, propagate: bool) {
        // What root may do is not in the list.
        if member == Member::User("root@pam") {
            return;
        }
        let members = self.0.entry(path.to_owned()).or_default().members(member);
        members.entry(member.parts().1.to_owned()).or_default().insert(role.to_owned(), propagate);
    }

    pub(super) fn remove(&mut self, path: &str, member: Member, role: &str) {
        self.retain(|at, other, name| (at, other, name) != (path, member, role));
    }

    /// Keeps the entries of which this holds: path, for whom, role.
    pub(super) fn retain(&mut self, keep: impl Fn(&str, Member, &str) -> bool) {
        type Read = for<'a> fn(&'a str) -> Member<'a>;
        for (path, node) in &mut self.0 {
            let kinds: [(&mut BTreeMap<String, Roles>, Read); 3] = [
                (&mut node.users, |name| Member::User(name)),
                (&mut node.groups, |name| Member::Group(name)),
                (&mut node.tokens, |name| Member::Token(name)),
            ];
            for (members, member) in kinds {
                members.retain(|name, roles| {
                    roles.retain(|role, _| keep(path, member(name), role));
                    !roles.is_empty()
                });
            }
        }
        self.0.retain(|_, node| !node.is_empty());
    }

    /// Every entry: path, for whom, role, whether it holds below.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, Member<'_>, &str, bool)> {
        self.0.iter().flat_map(|(path, node)| {
            let users = node.users.iter().map(|(name, roles)| (Member::User(name), roles));
            let groups = node.groups.iter().map(|(name, roles)| (Member::Group(name), roles));
            let tokens = node.tokens.iter().map(|(name, roles)| (Member::Token(name), roles));
            users.chain(groups).chain(tokens).flat_map(move |(member, roles)| {
                roles.iter().map(move |(role, propagate)| (path.as_str(), member, role.as_str(), *propagate))
            })
        })
    }

    /// The paths that have entries, and those above them.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().flat_map(|path| {
            let above = path.match_indices('/').skip(1).map(|(end, _)| &path[..end]);
            std::iter::once("/").chain(above).chain(std::iter::once(path.as_str()))
        })
    }
}

/// A path as Proxmox keeps it, `/vms/100` for `vms//100/`; nothing for one that cannot be any.
pub(in crate::sim) fn normalize_path(path: &str) -> Option<String> {
    if path.is_empty() || path == "0" {
        return None;
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let fits = |part: &&str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    parts.iter().all(fits).then(|| format!("/{}", parts.join("/")))
}

/// True for a path on which an entry can be made.
pub(in crate::sim) fn is_known_path(path: &str) -> bool {
    static KNOWN: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let name = r"[A-Za-z0-9.\-_]+";
        let word = "[A-Za-z0-9]+";
        let pattern = format!(
            "^(?:/|/access(?:/groups(?:/{name})?|/realm(?:/{name})?)?|/nodes(?:/{name})?|/pool(?:/{name}){{0,3}}\
             |/sdn(?:/controllers(?:/[A-Za-z0-9_\\-]+)?\
             |/(?:dns|fabrics|ipams|prefix-lists|route-maps)(?:/{word})?\
             |/zones(?:/{name}(?:/{name}(?:/[1-9][0-9]{{0,3}})?)?)?)?\
             |/storage(?:/{name})?|/vms(?:/[1-9][0-9]{{2,}})?|/mapping(?:/{name}){{0,2}})$"
        );
        Regex::new(&pattern).ok()
    });
    KNOWN.as_ref().is_some_and(|known| known.is_match(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_brought_into_one_form() {
        for (given, kept) in [
            ("/vms/100/", Some("/vms/100")),
            ("vms//100", Some("/vms/100")),
            ("//", Some("/")),
            ("/", Some("/")),
            ("", None),
            ("0", None),
            ("/vms/1 0", None),
            ("/vms/ä", None),
        ] {
            assert_eq!(normalize_path(given).as_deref(), kept, "{given}");
        }
    }

    #[test]
    fn only_known_paths_take_entries() {
        for path in [
            "/",
            "/access",
            "/access/groups/ops",
            "/access/realm/pve",
            "/nodes/pve1",
            "/pool/a/b/c",
            "/sdn",
            "/sdn/zones/localnetwork/vmbr0/42",
            "/sdn/fabrics/f1",
            "/storage/local-lvm",
            "/vms/100",
            "/mapping/pci/gpu",
        ] {
            assert!(is_known_path(path), "{path}");
        }
        for path in
            ["/x", "/vms/99", "/vms/100/x", "/pool/a/b/c/d", "/access/users", "/sdn/zones/a/b/0", "/mapping/a/b/c"]
        {
            assert!(!is_known_path(path), "{path}");
        }
    }

    #[test]
    fn entries_come_and_go() {
        let mut acl = Acl::default();
        acl.set("/vms/100", Member::read("bob@pve"), "R", true);
        acl.set("/vms/100", Member::read("@ops"), "R", false);
        acl.set("/vms/100", Member::read("bob@pve!ci"), "S", true);
        acl.set("/", Member::read("root@pam"), "NoAccess", true);
        assert_eq!(acl.entries().count(), 3);
        assert_eq!(acl.paths().collect::<std::collections::BTreeSet<_>>().len(), 3);
        acl.remove("/vms/100", Member::User("bob@pve"), "R");
        acl.retain(|_, member, _| member != Member::Group("ops"));
        let left: Vec<_> = acl.entries().collect();
        assert_eq!(left, [("/vms/100", Member::Token("bob@pve!ci"), "S", true)]);
        acl.retain(|_, _, _| false);
        assert_eq!(acl, Acl::default());
    }
}
