//! Who there is, who asks, and what they may do: users, groups, roles, the access control list, tokens, tickets.

mod acl;
mod credentials;
mod effective;
mod roles;
mod ticket;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use acl::{Member, is_known_path, normalize_path};
pub(super) use credentials::is_by_token;
pub(super) use effective::{Pools, Privileges};
pub(super) use roles::{is_privilege, is_special};

use serde::{Deserialize, Serialize};

use super::answer::Failure;
use super::world::{ClusterSpec, GrantSpec};
use crate::pve::format::check_format;

/// Who asks: a user's name, or a token's such as `root@pam!pvefleet`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subject {
    /// The name.
    pub(super) id: String,
}

impl Subject {
    /// `root@pam` itself: what it asks is not checked. A token of root is not root.
    pub(super) fn root() -> Self {
        Self { id: "root@pam".to_owned() }
    }

    pub(super) fn is_root(&self) -> bool {
        self.id == "root@pam"
    }

    /// The user without the token's name.
    pub(super) fn user(&self) -> &str {
        self.id.split('!').next().unwrap_or(&self.id)
    }

    /// The token's name, where it is one.
    pub(super) fn token(&self) -> Option<&str> {
        self.id.split_once('!').map(|(_, token)| token)
    }
}

/// A user.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct User {
    pub(super) enable: bool,
    /// Unix time; zero for never.
    pub(super) expire: u64,
    pub(super) firstname: String,
    pub(super) lastname: String,
    pub(super) email: String,
    pub(super) comment: String,
    pub(super) keys: String,
    pub(super) tokens: BTreeMap<String, Token>,
}

/// An API token.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Token {
    /// It has rights of its own within those of its user.
    pub(super) privsep: bool,
    /// Unix time; zero for never.
    pub(super) expire: u64,
    pub(super) comment: String,
    pub(super) secret: String,
}

/// A group of users.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) comment: String,
    pub(super) members: BTreeSet<String>,
}

/// Everything about access that the cluster keeps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Access {
    release: u32,
    pub(super) users: BTreeMap<String, User>,
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) roles: BTreeMap<String, BTreeSet<String>>,
    acl: acl::Acl,
    /// Passwords by user. In the realm `pam` they are those of the nodes' own accounts, and outlive the user.
    passwords: BTreeMap<String, String>,
    key: ticket::Key,
}

impl Access {
    pub(super) fn new(spec: &ClusterSpec, release: u32, seed: u64) -> Self {
        let mut access = Self {
            release,
            users: BTreeMap::from([("root@pam".to_owned(), User { enable: true, ..User::default() })]),
            groups: BTreeMap::new(),
            roles: roles::built_in(release),
            acl: acl::Acl::default(),
            passwords: BTreeMap::new(),
            key: ticket::Key::new(&spec.name, seed),
        };
        access.populate(spec);
        access
    }

    fn populate(&mut self, spec: &ClusterSpec) {
        for (name, comment) in &spec.groups {
            self.groups.insert(name.clone(), Group { comment: comment.clone(), members: BTreeSet::new() });
        }
        for user in &spec.users {
            for group in &user.groups {
                self.groups.entry(group.clone()).or_default().members.insert(user.id.clone());
            }
            if let Some(password) = &user.password {
                self.passwords.insert(user.id.clone(), password.clone());
            }
            let kept = User {
                enable: user.enable,
                expire: user.expire,
                firstname: user.firstname.clone(),
                lastname: user.lastname.clone(),
                email: user.email.clone(),
                comment: user.comment.clone(),
                ..User::default()
            };
            self.users.insert(user.id.clone(), kept);
        }
        for (name, privileges) in &spec.roles {
            self.add_role(name, privileges);
        }
        for entry in &spec.acl {
            if let Some(path) = normalize_path(&entry.path).filter(|_| self.roles.contains_key(&entry.role)) {
                self.acl.set(&path, Member::read(&entry.to), &entry.role, entry.propagate);
            }
        }
        for token in &spec.tokens {
            let Some((user, name)) = token.id.split_once('!') else { continue };
            let declared = user == "root@pam" || spec.users.iter().any(|spec| spec.id == user);
            let owner = self.users.entry(user.to_owned()).or_insert(User { enable: true, ..User::default() });
            let kept = Token {
                privsep: token.privsep,
                expire: token.expire,
                comment: token.comment.clone(),
                secret: token.secret.clone(),
            };
            owner.tokens.insert(name.to_owned(), kept);
            // A user who is there for the token's sake may do what the token may.
            for grant in token.grants.iter().filter(|_| token.privsep) {
                self.grant(Member::Token(&token.id), grant);
                if !declared {
                    self.grant(Member::User(user), grant);
                }
            }
        }
    }

    /// Adds privileges that the release knows as a role.
    fn add_role(&mut self, name: &str, privileges: &[String]) {
        let known = privileges.iter().filter(|privilege| is_privilege(privilege, self.release)).cloned().collect();
        if !is_special(name, self.release) {
            self.roles.insert(name.to_owned(), known);
        }
    }

    fn grant(&mut self, member: Member, grant: &GrantSpec) {
        let Some(path) = normalize_path(&grant.path) else { return };
        if let Some(role) = grant.role.as_deref().filter(|role| self.roles.contains_key(*role)) {
            self.acl.set(&path, member, role, grant.propagate);
        }
        if !grant.privileges.is_empty() {
            let wanted: BTreeSet<String> = grant.privileges.iter().cloned().collect();
            let found = self.roles.iter().find(|(_, held)| **held == wanted).map(|(name, _)| name.clone());
            let role = found.unwrap_or_else(|| {
                let name = format!("granted-{}", self.roles.len());
                self.add_role(&name, &grant.privileges);
                name
            });
            self.acl.set(&path, member, &role, grant.propagate);
        }
    }

    pub(super) const fn release(&self) -> u32 {
        self.release
    }

    pub(super) fn has_entry(&self, path: &str) -> bool {
        self.acl.get(path).is_some()
    }

    /// Every entry of the access control list.
    pub(super) fn acl_entries(&self) -> impl Iterator<Item = (&str, Member<'_>, &str, bool)> {
        self.acl.entries()
    }

    pub(super) fn set_acl(&mut self, path: &str, member: Member, role: &str, propagate: bool) {
        self.acl.set(path, member, role, propagate);
    }

    pub(super) fn remove_acl(&mut self, path: &str, member: Member, role: &str) {
        self.acl.remove(path, member, role);
    }

    /// Refuses a user who is not there, in Proxmox's words.
    pub(super) fn find_user(&self, user: &str) -> Result<&User, Failure> {
        check_user_name(user).map_err(Failure::Die)?;
        self.users.get(user).ok_or_else(|| Failure::die(format!("no such user ('{user}')")))
    }

    /// Refuses a user who is not there or may not come in.
    pub(super) fn check_enabled(&self, user: &str, now: u64) -> Result<(), Failure> {
        let found = self.find_user(user)?;
        if !found.enable {
            return Err(Failure::die(format!("user '{user}' is disabled")));
        }
        if found.expire != 0 && found.expire < now {
            return Err(Failure::die(format!("user '{user}' access expired")));
        }
        Ok(())
    }

    /// Refuses a token that is not there.
    pub(super) fn find_token(&self, user: &str, token: &str) -> Result<&Token, Failure> {
        let missing = || Failure::die(format!("no such token '{token}' for user '{user}'"));
        self.find_user(user)?.tokens.get(token).ok_or_else(missing)
    }

    /// Refuses a password that is not the user's; the text is the realm's.
    pub(super) fn check_password(&self, user: &str, password: &str) -> Result<(), String> {
        let realm = user.rsplit('@').next().unwrap_or_default();
        if password.is_empty() && matches!(realm, "pam" | "pve") {
            return Err("no password".to_owned());
        }
        match (realm, self.passwords.get(user)) {
            ("pam" | "pve", Some(kept)) if kept == password => Ok(()),
            ("pam", _) => Err("Authentication failure".to_owned()),
            ("pve", Some(_)) => Err("invalid credentials".to_owned()),
            ("pve", None) => Err("no password set".to_owned()),
            _ => Err(format!("auth domain '{realm}' does not exist")),
        }
    }

    /// Sets a password where the realm can.
    pub(super) fn set_password(&mut self, user: &str, password: &str) -> Result<(), String> {
        let (name, realm) = user.rsplit_once('@').unwrap_or((user, ""));
        match realm {
            // Accounts of the nodes are those that the world gave a password, and root.
            "pam" if name != "root" && !self.passwords.contains_key(user) => {
                return Err(format!("change password failed: user '{name}' does not exist"));
            }
            "pam" | "pve" => {}
            _ => return Err(format!("auth domain '{realm}' does not exist")),
        }
        self.passwords.insert(user.to_owned(), password.to_owned());
        Ok(())
    }

    /// A ticket and what must be sent with it when something is changed.
    pub(super) fn issue_ticket(&self, user: &str, now: u64) -> (String, String) {
        (self.key.ticket(user, now), self.key.csrf_token(user, now))
    }

    /// The user of a valid ticket.
    pub(super) fn ticket_user<'a>(&self, ticket: &'a str, now: u64) -> Option<&'a str> {
        self.key.user_of(ticket, now)
    }

    /// Removes a user, with what was said of them and their tokens. Root comes back at once, and empty.
    pub(super) fn remove_user(&mut self, user: &str) {
        self.users.remove(user);
        for group in self.groups.values_mut() {
            group.members.remove(user);
        }
        let own = format!("{user}!");
        self.acl.retain(|_, member, _| match member {
            Member::User(name) => name != user,
            Member::Token(name) => !name.starts_with(&own),
            Member::Group(_) => true,
        });
        if user.ends_with("@pve") {
            self.passwords.remove(user);
        }
        if user == "root@pam" {
            self.users.insert(user.to_owned(), User { enable: true, ..User::default() });
        }
    }

    /// Removes a token, with what was said of it.
    pub(super) fn remove_token(&mut self, user: &str, token: &str) {
        if let Some(user) = self.users.get_mut(user) {
            user.tokens.remove(token);
        }
        let id = format!("{user}!{token}");
        self.acl.retain(|_, member, _| member != Member::Token(&id));
    }

    /// Removes a group, with what was said of it.
    pub(super) fn remove_group(&mut self, group: &str) {
        self.groups.remove(group);
        self.acl.retain(|_, member, _| member != Member::Group(group));
    }

    /// Removes a role; entries that name it no longer count.
    pub(super) fn remove_role(&mut self, role: &str) {
        self.roles.remove(role);
        self.acl.retain(|_, _, name| name != role);
    }

    /// Forgets what was said of a path and of those below it: of a guest or a pool that is gone.
    pub(super) fn forget_path(&mut self, path: &str) {
        let under = format!("{path}/");
        self.acl.retain(|at, _, _| at != path && !at.starts_with(&under));
    }
}

/// Checks the form of a user's name with its realm; the text of the problem.
pub(super) fn check_user_name(user: &str) -> Result<(), String> {
    check_format("pve-userid", user).map_err(|text| text.trim_end().to_owned())
}

/// One check: privileges on a path, where a pool that was named counts for the guest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check<'a> {
    pub(super) subject: &'a Subject,
    /// A pool that the guest will be in; the pools that it is in count anyway.
    pub(super) pool: Option<&'a str>,
    pub(super) access: &'a Access,
    pub(super) pools: &'a Pools,
}

impl Check<'_> {
    /// True where one of the privileges is held.
    pub(super) fn any(&self, path: &str, privileges: &[&str]) -> bool {
        let on = |path: &str| self.access.holds_any(self.pools, &self.subject.id, path, privileges);
        let by_pool = self.pool.filter(|_| path.starts_with("/vms/"));
        on(path) || by_pool.is_some_and(|pool| on(&format!("/pool/{pool}")))
    }

    /// Refuses unless one of the privileges is held.
    pub(super) fn need(&self, path: &str, privileges: &[&str]) -> Result<(), Failure> {
        if self.any(path, privileges) { Ok(()) } else { Err(Failure::privilege(path, &privileges.join("|"))) }
    }
}

#[cfg(test)]
mod tests;
