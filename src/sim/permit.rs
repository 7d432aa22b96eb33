//! Who may make a call: the checks of the table of calls, carried out.

use super::access::{Subject, check_user_name, normalize_path};
use super::answer::Failure;
use super::cluster::Cluster;
use super::params::Given;
use crate::pve::calls::{GroupsParam, Perm, Rule, UseridGroup, UseridParam};
use crate::pve::value::split_list;

/// What a check looks at; the parameters are not verified yet.
#[derive(Clone, Copy)]
struct Question<'a> {
    subject: &'a Subject,
    given: &'a Given,
}

impl Question<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.given.get(name)?.first().map(String::as_str)
    }

    fn userid(&self) -> &str {
        self.parameter("userid").unwrap_or_default()
    }

    /// The path with its parameters put in; one that is not given is empty.
    fn path(&self, template: &str) -> String {
        let mut path = String::new();
        let mut rest = template;
        while let Some((before, (name, after))) =
            rest.split_once('{').and_then(|(before, after)| Some((before, after.split_once('}')?)))
        {
            path.push_str(before);
            path.push_str(self.parameter(name).unwrap_or_default());
            rest = after;
        }
        path.push_str(rest);
        normal(&path)
    }
}

/// A path of permissions as Proxmox writes it: one slash before every part, none at the end.
fn normal(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    format!("/{}", parts.join("/"))
}

fn refused() -> Failure {
    Failure::Permission(String::new())
}

impl Cluster {
    /// Refuses the call unless the rule of the table lets the caller.
    pub(super) fn permit(&self, rule: Option<&Rule>, subject: &Subject, given: &Given) -> Result<(), Failure> {
        if subject.is_root() {
            return Ok(());
        }
        let rule = rule.ok_or_else(|| Failure::Permission("user != root@pam".to_owned()))?;
        self.holds(rule, Question { subject, given })
    }

    /// The refusal is that of the first check that fails; of several of which one is enough, nothing is told.
    fn holds(&self, rule: &Rule, question: Question<'_>) -> Result<(), Failure> {
        match rule {
            Rule::World | Rule::All => Ok(()),
            Rule::And(rules) => rules.iter().try_for_each(|rule| self.holds(rule, question)),
            Rule::Or(rules) => {
                for rule in rules {
                    match (self.holds(rule, question), rule) {
                        (Ok(()), _) => return Ok(()),
                        // What fails within these is told at once.
                        (Err(failure), Rule::And(_)) => return Err(failure),
                        // So is a name that can be no user's.
                        (Err(_), Rule::UseridParam(_)) => drop(realm_of(question.userid())?),
                        (Err(_), _) => {}
                    }
                }
                Err(refused())
            }
            Rule::Perm(perm) => self.holds_perm(perm, question),
            Rule::UseridParam(what) => self.holds_userid(*what, question),
            Rule::UseridGroup(group) => self.holds_group(group, question),
            Rule::PermModify(template) => {
                let path = question.path(template);
                // A path that can be none is refused by the call itself.
                if normalize_path(&path).is_none() {
                    return Ok(());
                }
                self.check(question.subject).need(&path, modifiers(&path))
            }
        }
    }

    fn holds_perm(&self, perm: &Perm, question: Question<'_>) -> Result<(), Failure> {
        if perm.require_param.as_ref().is_some_and(|name| question.parameter(name).is_none()) {
            return Err(refused());
        }
        let path = question.path(&perm.path);
        let check = self.check(question.subject);
        let privileges: Vec<&str> = perm.privileges.iter().map(String::as_str).collect();
        if perm.any {
            return check.need(&path, &privileges);
        }
        privileges.iter().try_for_each(|privilege| check.need(&path, &[*privilege]))
    }

    fn holds_userid(&self, what: UseridParam, question: Question<'_>) -> Result<(), Failure> {
        let userid = question.userid();
        let realm = realm_of(userid)?;
        match what {
            // A token is not its user.
            UseridParam::Itself => {
                self.access.find_user(userid)?;
                if question.subject.id == userid { Ok(()) } else { Err(refused()) }
            }
            UseridParam::AllocateUser => {
                let path = format!("/access/realm/{realm}");
                self.check(question.subject).need(&path, &["Realm.AllocateUser"])
            }
        }
    }

    fn holds_group(&self, group: &UseridGroup, question: Question<'_>) -> Result<(), Failure> {
        let userid = question.userid();
        let is_new = group.groups_param == Some(GroupsParam::Create);
        if !is_new {
            self.access.find_user(userid)?;
        }
        let privileges: Vec<&str> = group.privileges.iter().map(String::as_str).collect();
        let check = self.check(question.subject);
        if check.any("/access/groups", &privileges) {
            return Ok(());
        }
        let reached = |name: &str| {
            self.access.groups.contains_key(name) && check.any(&format!("/access/groups/{name}"), &privileges)
        };
        if group.groups_param.is_some() {
            let refused = |path: &str| Err(Failure::privilege(path, &privileges.join("|")));
            let groups = question.parameter("groups").unwrap_or_default();
            if split_list(groups).next().is_none() {
                return refused("/access/groups");
            }
            if let Some(name) = split_list(groups).find(|name| !reached(name)) {
                return refused(&format!("/access/groups/{name}"));
            }
        }
        let member = || self.access.groups.iter().any(|(name, group)| group.members.contains(userid) && reached(name));
        if is_new || member() { Ok(()) } else { Err(refused()) }
    }
}

/// The realm of a user's name, which must be one.
fn realm_of(userid: &str) -> Result<&str, Failure> {
    check_user_name(userid).map_err(Failure::Die)?;
    Ok(userid.rsplit('@').next().unwrap_or_default())
}

/// The privileges of which one is needed to change the access control list on a path.
pub(super) fn modifiers(path: &str) -> &'static [&'static str] {
    let below = |top: &str| path.strip_prefix(top).is_some_and(|rest| !rest.is_empty());
    if below("/storage/") {
        &["Permissions.Modify", "Datastore.Allocate"]
    } else if below("/vms/") {
        &["Permissions.Modify", "VM.Allocate"]
    } else if below("/pool/") {
        &["Permissions.Modify", "Pool.Allocate"]
    } else {
        &["Permissions.Modify"]
    }
}
