//! What somebody may do on a path: roles by user, group, token and pool, and the privileges of these.

use std::collections::{BTreeMap, BTreeSet};

use super::Access;
use super::acl::{Node, Roles};
use crate::sim::cluster::Pool;

/// The pools, which lend their roles to their members.
pub(in crate::sim) type Pools = BTreeMap<String, Pool>;

/// Privileges by name, each with whether it holds below the path too.
pub(in crate::sim) type Privileges<'a> = BTreeMap<&'a str, bool>;

type RolesHere<'a> = BTreeMap<&'a str, bool>;

/// The paths that `GET /access/permissions` always looks at.
const TOP_LEVEL: &[&str] = &["/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms"];

/// The paths that the summary of a login always looks at.
const SUMMARY: &[&str] = &["/", "/nodes", "/access/groups", "/vms", "/storage", "/sdn", "/mapping"];

impl Access {
    /// True where this user or token may do everything.
    fn is_root(who: &str) -> bool {
        who == "root@pam"
    }

    /// The roles on a path, pools aside. What stands nearest to the path counts; on one path what is said of a
    /// token or a user comes before what is said of their groups.
    fn roles_on<'a>(&'a self, who: &str, path: &str) -> RolesHere<'a> {
        let mut roles = RolesHere::new();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let mut at = "/".to_owned();
        for depth in 0..=parts.len() {
            if let Some(part) = depth.checked_sub(1).and_then(|index| parts.get(index)) {
                if depth > 1 {
                    at.push('/');
                }
                at.push_str(part);
            } else if !path.starts_with('/') {
                continue;
            }
            let last = depth == parts.len();
            let Some(node) = self.acl.get(&at) else { continue };
            let found = self.roles_in(node, who, last);
            if !found.is_empty() {
                roles = found;
            }
        }
        // No access beats every other role.
        if roles.contains_key("NoAccess") {
            roles.retain(|role, _| *role == "NoAccess");
        }
        roles
    }

    fn roles_in<'a>(&'a self, node: &'a Node, who: &str, last: bool) -> RolesHere<'a> {
        let reaching = |roles: &'a Roles| {
            roles.iter().filter(move |(_, below)| last || **below).map(|(role, below)| (role.as_str(), *below))
        };
        for own in [node.tokens.get(who), node.users.get(who)].into_iter().flatten() {
            let found: RolesHere = reaching(own).collect();
            if !found.is_empty() {
                return found;
            }
        }
        let member = |group: &str| self.groups.get(group).is_some_and(|group| group.members.contains(who));
        node.groups.iter().filter(|(group, _)| member(group)).flat_map(|(_, roles)| reaching(roles)).collect()
    }

    /// The roles on a path, with those that come from pools.
    fn roles_with_pools<'a>(&'a self, pools: &Pools, who: &str, path: &str) -> RolesHere<'a> {
        let mut roles = self.roles_on(who, path);
        let vmid: Option<u32> = path.strip_prefix("/vms/").and_then(|rest| rest.parse().ok());
        let storage = path.strip_prefix("/storage/");
        if (vmid.is_none() && storage.is_none()) || roles.contains_key("NoAccess") {
            return roles;
        }
        let holds = |pool: &Pool| {
            vmid.is_some_and(|vmid| pool.guests.contains(&vmid))
                || storage.is_some_and(|storage| pool.storages.contains(storage))
        };
        let mut lent = RolesHere::new();
        for (name, _) in pools.iter().filter(|(_, pool)| holds(pool)) {
            lent.extend(self.roles_on(who, &format!("/pool/{name}")));
        }
        if lent.contains_key("NoAccess") {
            return RolesHere::from([("NoAccess", false)]);
        }
        for role in lent.into_keys() {
            roles.entry(role).or_insert(false);
        }
        roles
    }

    fn own_privileges<'a>(&'a self, pools: &Pools, who: &str, path: &str) -> Privileges<'a> {
        let mut privileges = Privileges::new();
        for (role, below) in self.roles_with_pools(pools, who, path) {
            for privilege in self.roles.get(role).into_iter().flatten() {
                *privileges.entry(privilege).or_default() |= below;
            }
        }
        privileges
    }

    /// The privileges of a user or a token on a path.
    pub(in crate::sim) fn privileges<'a>(&'a self, pools: &Pools, who: &str, path: &str) -> Privileges<'a> {
        if Self::is_root(who) {
            return self.roles.get("Administrator").into_iter().flatten().map(|name| (name.as_str(), true)).collect();
        }
        let Some((user, token)) = who.split_once('!') else { return self.own_privileges(pools, who, path) };
        match self.users.get(user).and_then(|user| user.tokens.get(token)) {
            None => Privileges::new(),
            Some(token) if !token.privsep => self.privileges(pools, user, path),
            // What root may do is no bound.
            Some(_) if Self::is_root(user) => self.own_privileges(pools, who, path),
            Some(_) => {
                let of_user = self.own_privileges(pools, user, path);
                let own = self.own_privileges(pools, who, path);
                let both = |(name, below): (&'a str, bool)| of_user.get(name).map(|other| (name, *other && below));
                own.into_iter().filter_map(both).collect()
            }
        }
    }

    /// True where one of the privileges is held; what [`Self::privileges`] says, without gathering them all.
    pub(in crate::sim) fn holds_any(&self, pools: &Pools, who: &str, path: &str, wanted: &[&str]) -> bool {
        if Self::is_root(who) {
            return true;
        }
        let gives = |who: &str, wanted: &[&str]| -> Vec<String> {
            let roles = self.roles_with_pools(pools, who, path);
            let held =
                |name: &&&str| roles.keys().any(|role| self.roles.get(*role).is_some_and(|set| set.contains(**name)));
            wanted.iter().filter(held).map(|name| (*name).to_owned()).collect()
        };
        let Some((user, token)) = who.split_once('!') else { return !gives(who, wanted).is_empty() };
        match self.users.get(user).and_then(|user| user.tokens.get(token)) {
            None => false,
            Some(token) if !token.privsep => self.holds_any(pools, user, path, wanted),
            Some(_) => {
                let own = gives(who, wanted);
                let own: Vec<&str> = own.iter().map(String::as_str).collect();
                !own.is_empty() && (Self::is_root(user) || !gives(user, &own).is_empty())
            }
        }
    }

    /// The privileges by path, on every path of which something is said; paths without any are left out.
    pub(in crate::sim) fn effective<'a>(&'a self, pools: &Pools, who: &str) -> BTreeMap<String, Privileges<'a>> {
        let mut paths: BTreeSet<String> = TOP_LEVEL.iter().map(|path| (*path).to_owned()).collect();
        paths.extend(self.acl.paths().map(str::to_owned));
        for pool in pools.values() {
            paths.extend(pool.guests.iter().map(|vmid| format!("/vms/{vmid}")));
            paths.extend(pool.storages.iter().map(|storage| format!("/storage/{storage}")));
        }
        let entries = paths.into_iter().map(|path| {
            let privileges = self.privileges(pools, who, &path);
            (path, privileges)
        });
        entries.filter(|(_, privileges)| !privileges.is_empty()).collect()
    }

    /// What the answer to a login says that one may do, by kind of thing.
    pub(in crate::sim) fn summary(&self, pools: &Pools, who: &str) -> BTreeMap<&'static str, BTreeSet<String>> {
        const KINDS: [&str; 7] = ["access", "dc", "mapping", "nodes", "sdn", "storage", "vms"];
        let mut summary: BTreeMap<&'static str, BTreeSet<String>> = KINDS.map(|kind| (kind, BTreeSet::new())).into();
        let paths: BTreeSet<&str> = SUMMARY.iter().copied().chain(self.acl.paths()).collect();
        for path in paths {
            let top = path.split('/').nth(1).filter(|part| !part.is_empty());
            let about = |kind: &str| match top {
                None => kind == "dc",
                Some("pool") => matches!(kind, "vms" | "storage"),
                Some(top) => kind == top,
            };
            for name in self.privileges(pools, who, path).into_keys() {
                for (_, held) in summary.iter_mut().filter(|(kind, _)| about(kind) && concerns(kind, name)) {
                    held.insert(name.to_owned());
                }
            }
        }
        summary
    }
}

/// True where a privilege says something about a kind of thing.
fn concerns(kind: &str, privilege: &str) -> bool {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| privilege.starts_with(prefix));
    match kind {
        "dc" => starts(&["Sys.Audit", "Sys.Modify", "SDN."]),
        "vms" => starts(&["VM.", "Permissions.Modify"]),
        "access" => starts(&["User.", "Group.", "Permissions.Modify"]),
        "storage" => starts(&["Datastore.", "Permissions.Modify"]),
        "nodes" => starts(&["Sys.", "Permissions.Modify"]),
        "sdn" => starts(&["SDN.", "Permissions.Modify"]),
        "mapping" => starts(&["Mapping.", "Permissions.Modify"]),
        _ => false,
    }
}
