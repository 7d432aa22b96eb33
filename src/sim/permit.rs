//! Who may make a call: the checks of the table of calls, carried out.

use super::access::Subject;
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
                let own = [("/storage/", "Datastore.Allocate"), ("/vms/", "VM.Allocate"), ("/pool/", "Pool.Allocate")]
                    .into_iter()
                    .find(|(below, _)| path.starts_with(below));
                let mut privileges = vec!["Permissions.Modify"];
                privileges.extend(own.map(|(_, privilege)| privilege));
                self.check_for(question.subject, &path).need(&path, &privileges)
            }
        }
    }

    fn holds_perm(&self, perm: &Perm, question: Question<'_>) -> Result<(), Failure> {
        if perm.require_param.as_ref().is_some_and(|name| question.parameter(name).is_none()) {
            return Err(refused());
        }
        let path = question.path(&perm.path);
        let check = self.check_for(question.subject, &path);
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
                self.check_user(userid).and(if question.subject.id == userid { Ok(()) } else { Err(refused()) })
            }
            UseridParam::AllocateUser => {
                let path = format!("/access/realm/{realm}");
                self.check_for(question.subject, &path).need(&path, &["Realm.AllocateUser"])
            }
        }
    }

    fn holds_group(&self, group: &UseridGroup, question: Question<'_>) -> Result<(), Failure> {
        let userid = question.userid();
        let is_new = group.groups_param == Some(GroupsParam::Create);
        if !is_new {
            self.check_user(userid)?;
        }
        let privileges: Vec<&str> = group.privileges.iter().map(String::as_str).collect();
        let may = |path: &str| self.check_for(question.subject, path).any(path, &privileges);
        if may("/access/groups") {
            return Ok(());
        }
        // No world has groups yet, so whoever may not act on all of them acts on none.
        match (group.groups_param, split_list(question.parameter("groups").unwrap_or_default()).next()) {
            (None, _) => Err(refused()),
            (Some(_), None) => Err(Failure::privilege("/access/groups", &privileges.join("|"))),
            (Some(_), Some(name)) => Err(Failure::privilege(&format!("/access/groups/{name}"), &privileges.join("|"))),
        }
    }

    /// Refuses a user that there is not.
    fn check_user(&self, userid: &str) -> Result<(), Failure> {
        realm_of(userid)?;
        if self.access.has_user(userid) { Ok(()) } else { Err(Failure::die(format!("no such user ('{userid}')"))) }
    }
}

/// The realm of a user's name, which must be one.
fn realm_of(userid: &str) -> Result<&str, Failure> {
    let length = userid.chars().count();
    if length < 3 {
        return Err(Failure::die(format!("user name '{userid}' is too short")));
    }
    if length > 64 {
        return Err(Failure::die(format!("user name '{userid}' is too long ({length} > 64)")));
    }
    let is_name = |name: &str| !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || ":/".contains(c));
    let is_realm = |realm: &str| {
        realm.len() > 1
            && realm.starts_with(|c: char| c.is_ascii_alphabetic())
            && realm.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
    };
    match userid.rsplit_once('@') {
        Some((name, realm)) if is_name(name) && is_realm(realm) => Ok(realm),
        _ => Err(Failure::die(format!("value '{userid}' does not look like a valid user name"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pve::calls::call;

    /// What a call comes to for `tester@pve!t` with these privileges on this path: the text, or nothing.
    fn refusal(grant: (&str, &[&str]), name: &str, given: &[(&str, &str)]) -> Option<String> {
        let grants = json!([{ "path": grant.0, "privileges": grant.1 }]);
        let spec = json!({
            "name": "test", "version": "9.1.9", "nodes": [{ "name": "pve1" }],
            "tokens": [{ "id": "tester@pve!t", "secret": "s", "grants": grants }],
        });
        let cluster = Cluster::new(serde_json::from_value(spec).unwrap(), 1);
        let subject = cluster.access.authenticate(Some("PVEAPIToken=tester@pve!t=s")).unwrap();
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()])).collect();
        let (method, path) = name.split_once(' ').unwrap();
        let rule = call(9, method, path).unwrap().permission.as_ref();
        cluster.permit(rule, &subject, &given).err().map(|failure| failure.text())
    }

    const NOTHING: (&str, &[&str]) = ("/nowhere", &[]);

    #[test]
    fn of_several_privileges_one_or_all_are_needed() {
        let config = [("node", "pve1"), ("vmid", "100")];
        let rollback = "POST /nodes/{node}/qemu/{vmid}/snapshot/{snapname}/rollback";
        assert_eq!(
            refusal(NOTHING, rollback, &config).as_deref(),
            Some("Permission check failed (/vms/100, VM.Snapshot|VM.Snapshot.Rollback)")
        );
        assert_eq!(refusal(("/vms", &["VM.Snapshot.Rollback"]), rollback, &config), None);
        let all = Rule::Perm(Perm {
            path: "/vms/{vmid}".to_owned(),
            privileges: vec!["VM.Audit".to_owned(), "VM.Clone".to_owned()],
            any: false,
            require_param: None,
        });
        let spec = json!({
            "name": "test", "nodes": [{ "name": "pve1" }],
            "tokens": [{ "id": "a@pve!t", "secret": "s", "grants": [{ "path": "/", "privileges": ["VM.Audit"] }] }],
        });
        let cluster = Cluster::new(serde_json::from_value(spec).unwrap(), 1);
        let subject = cluster.access.authenticate(Some("PVEAPIToken=a@pve!t=s")).unwrap();
        let given = Given::from([("vmid".to_owned(), vec!["7".to_owned()])]);
        assert_eq!(cluster.permit(Some(&all), &subject, &given), Err(Failure::privilege("/vms/7", "VM.Clone")));
    }

    #[test]
    fn where_one_of_several_is_enough_no_path_is_told() {
        let clone = "POST /nodes/{node}/qemu/{vmid}/clone";
        let given = [("vmid", "100"), ("newid", "200")];
        assert_eq!(refusal(NOTHING, clone, &given).as_deref(), Some("Permission check failed (/vms/100, VM.Clone)"));
        let may_clone: (&str, &[&str]) = ("/vms/100", &["VM.Clone"]);
        assert_eq!(refusal(may_clone, clone, &given).as_deref(), Some("Permission check failed"));
        assert_eq!(refusal(("/", &["VM.Clone", "VM.Allocate"]), clone, &given), None);
    }

    #[test]
    fn what_the_table_gives_nobody_is_for_root_alone() {
        assert_eq!(
            refusal(("/", &["Sys.Modify"]), "POST /nodes/{node}/execute", &[]).as_deref(),
            Some("Permission check failed (user != root@pam)")
        );
    }

    #[test]
    fn users_are_looked_at() {
        let read = "GET /access/users/{userid}/token";
        let told = |userid: &str| refusal(NOTHING, read, &[("userid", userid)]);
        // A token is not the user whose it is.
        assert_eq!(told("tester@pve").as_deref(), Some("Permission check failed"));
        assert_eq!(told("nobody@pve").as_deref(), Some("Permission check failed"));
        assert_eq!(told("nobody").as_deref(), Some("value 'nobody' does not look like a valid user name"));
        assert_eq!(told("a").as_deref(), Some("user name 'a' is too short"));
        assert_eq!(refusal(("/access/groups", &["User.Modify"]), read, &[("userid", "tester@pve")]), None);
        let change = "PUT /access/users/{userid}";
        assert_eq!(
            refusal(NOTHING, change, &[("userid", "nobody@pve")]).as_deref(),
            Some("no such user ('nobody@pve')")
        );
        assert_eq!(
            refusal(NOTHING, change, &[("userid", "tester@pve"), ("groups", "ops,web")]).as_deref(),
            Some("Permission check failed (/access/groups/ops, User.Modify)")
        );
        let create = "POST /access/users";
        assert_eq!(
            refusal(NOTHING, create, &[("userid", "new@pve")]).as_deref(),
            Some("Permission check failed (/access/realm/pve, Realm.AllocateUser)")
        );
    }

    #[test]
    fn the_path_decides_who_may_change_permissions_on_it() {
        let acl = "PUT /access/acl";
        let told = |path: &str| refusal(("/vms", &["VM.Allocate"]), acl, &[("path", path)]);
        assert_eq!(told("/vms/100"), None);
        assert_eq!(
            told("/storage/local").as_deref(),
            Some("Permission check failed (/storage/local, Permissions.Modify|Datastore.Allocate)")
        );
        assert_eq!(told("//").as_deref(), Some("Permission check failed (/, Permissions.Modify)"));
    }
}
