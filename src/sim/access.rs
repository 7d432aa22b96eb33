//! Who asks, and what they may do: tokens, privileges by path.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::answer::Failure;
use super::world::{GrantSpec, TokenSpec};

/// Every privilege that both releases know.
const PRIVILEGES: &[&str] = &[
    "Datastore.Allocate",
    "Datastore.AllocateSpace",
    "Datastore.AllocateTemplate",
    "Datastore.Audit",
    "Group.Allocate",
    "Mapping.Audit",
    "Mapping.Modify",
    "Mapping.Use",
    "Permissions.Modify",
    "Pool.Allocate",
    "Pool.Audit",
    "Realm.Allocate",
    "Realm.AllocateUser",
    "SDN.Allocate",
    "SDN.Audit",
    "SDN.Use",
    "Sys.AccessNetwork",
    "Sys.Audit",
    "Sys.Console",
    "Sys.Incoming",
    "Sys.Modify",
    "Sys.PowerMgmt",
    "Sys.Syslog",
    "User.Modify",
    "VM.Allocate",
    "VM.Audit",
    "VM.Backup",
    "VM.Clone",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Cloudinit",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.Console",
    "VM.Migrate",
    "VM.PowerMgmt",
    "VM.Snapshot",
    "VM.Snapshot.Rollback",
];

/// Those that came with release 9, in place of `VM.Monitor`.
const PRIVILEGES_9: &[&str] = &[
    "VM.GuestAgent.Audit",
    "VM.GuestAgent.FileRead",
    "VM.GuestAgent.FileSystemMgmt",
    "VM.GuestAgent.FileWrite",
    "VM.GuestAgent.Unrestricted",
    "VM.Replicate",
];

/// The privileges of a built-in role; nothing for an unknown one.
fn role(name: &str, release: u32) -> BTreeSet<String> {
    let all = PRIVILEGES.iter().chain(if release >= 9 { PRIVILEGES_9 } else { &["VM.Monitor"] }).copied();
    let only = |keep: &dyn Fn(&str) -> bool| all.clone().filter(|name| keep(name)).map(str::to_owned).collect();
    match name {
        "Administrator" => only(&|_| true),
        "PVEAuditor" => only(&|name| name.ends_with(".Audit")),
        "PVEVMAdmin" => only(&|name| name.starts_with("VM.")),
        "PVEVMUser" => only(&|name| {
            matches!(
                name,
                "VM.Audit" | "VM.Backup" | "VM.Config.CDROM" | "VM.Config.Cloudinit" | "VM.Console" | "VM.PowerMgmt"
            ) || (name.starts_with("VM.GuestAgent.") && name != "VM.GuestAgent.Unrestricted")
        }),
        "PVETemplateUser" => only(&|name| matches!(name, "VM.Audit" | "VM.Clone")),
        "PVEDatastoreAdmin" => only(&|name| name.starts_with("Datastore.")),
        "PVEDatastoreUser" => only(&|name| matches!(name, "Datastore.AllocateSpace" | "Datastore.Audit")),
        "PVEPoolAdmin" => only(&|name| name.starts_with("Pool.")),
        "PVEPoolUser" => only(&|name| name == "Pool.Audit"),
        "PVESDNUser" => only(&|name| matches!(name, "SDN.Audit" | "SDN.Use")),
        "PVESDNAdmin" => only(&|name| name.starts_with("SDN.")),
        "PVEMappingUser" => only(&|name| matches!(name, "Mapping.Audit" | "Mapping.Use")),
        _ => BTreeSet::new(),
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Subject {
    /// `root@pam!pvefleet`, or a user's name alone.
    pub(super) id: String,
    grants: Vec<Grant>,
}

#[derive(Debug, Clone, PartialEq)]
struct Grant {
    path: String,
    privileges: BTreeSet<String>,
    propagate: bool,
}

impl Subject {
    /// `root@pam` itself: what it asks is not checked. A token of root is not root.
    pub(super) fn root() -> Self {
        Self { id: "root@pam".to_owned(), grants: Vec::new() }
    }

    fn of(token: &TokenSpec, release: u32) -> Self {
        let grant = |spec: &GrantSpec| Grant {
            path: spec.path.clone(),
            privileges: spec
                .role
                .iter()
                .flat_map(|name| role(name, release))
                .chain(spec.privileges.iter().cloned())
                .collect(),
            propagate: spec.propagate,
        };
        Self { id: token.id.clone(), grants: token.grants.iter().map(grant).collect() }
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

    /// The privileges on a path, each with whether it holds below too: the nearest grant above decides.
    fn privileges(&self, path: &str) -> BTreeMap<&str, bool> {
        let covers = |grant: &&Grant| {
            let above = grant.path == "/" || path.strip_prefix(&grant.path).is_some_and(|rest| rest.starts_with('/'));
            grant.path == path || (grant.propagate && above)
        };
        let nearest = self.grants.iter().filter(covers).map(|grant| grant.path.len()).max();
        self.grants
            .iter()
            .filter(covers)
            .filter(|grant| Some(grant.path.len()) == nearest)
            .flat_map(|grant| grant.privileges.iter().map(|name| (name.as_str(), grant.propagate)))
            .collect()
    }

    fn holds(&self, path: &str, privilege: &str) -> bool {
        self.is_root() || self.privileges(path).contains_key(privilege)
    }

    /// The answer of `GET /access/permissions`.
    pub(super) fn permissions_json(&self, path: Option<&str>, release: u32) -> Value {
        let mut paths: BTreeSet<&str> =
            ["/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms"].into();
        paths.extend(self.grants.iter().map(|grant| grant.path.as_str()));
        if let Some(path) = path {
            paths = BTreeSet::from([path]);
        }
        let all = role("Administrator", release);
        let mut object = Map::new();
        for each in paths {
            let held = if self.is_root() {
                all.iter().map(|name| (name.as_str(), true)).collect()
            } else {
                self.privileges(each)
            };
            if !held.is_empty() || path.is_some() {
                let entries = held.into_iter().map(|(name, below)| (name.to_owned(), json!(u8::from(below))));
                object.insert(each.to_owned(), Value::Object(entries.collect()));
            }
        }
        Value::Object(object)
    }
}

/// The tokens, and the pools that lend their guests privileges.
#[derive(Debug, Clone)]
pub(super) struct Access {
    tokens: Vec<TokenSpec>,
    release: u32,
}

impl Access {
    pub(super) fn new(tokens: Vec<TokenSpec>, release: u32) -> Self {
        Self { tokens, release }
    }

    /// Reads an `Authorization` header.
    pub(super) fn authenticate(&self, header: Option<&str>) -> Result<Subject, Failure> {
        let refused = |reason: &str| Failure::Empty(401, reason.to_owned());
        let value =
            header.and_then(|text| text.strip_prefix("PVEAPIToken")).and_then(|rest| rest.strip_prefix(['=', ' ']));
        let value = value.ok_or_else(|| refused("No ticket"))?;
        let decoded = crate::pve::http::percent_decode(value.split(';').next().unwrap_or(value).trim());
        let (id, secret) = decoded.split_once('=').ok_or_else(|| refused("No ticket"))?;
        let token = self.tokens.iter().find(|token| token.id == id && token.secret == secret);
        token.map(|token| Subject::of(token, self.release)).ok_or_else(|| refused("Authentication failed!"))
    }

    /// True for a user that there is: root, and those that have tokens.
    pub(super) fn has_user(&self, userid: &str) -> bool {
        userid == "root@pam" || self.tokens.iter().any(|token| token.id.split('!').next() == Some(userid))
    }

    pub(super) const fn release(&self) -> u32 {
        self.release
    }
}

/// One check: privileges on a path, where the pool of a guest counts for the guest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check<'a> {
    pub(super) subject: &'a Subject,
    pub(super) pool: Option<&'a str>,
}

impl Check<'_> {
    /// True where one of the privileges is held.
    pub(super) fn any(&self, path: &str, privileges: &[&str]) -> bool {
        let on = |path: &str| privileges.iter().any(|name| self.subject.holds(path, name));
        on(path) || self.pool.is_some_and(|pool| on(&format!("/pool/{pool}")))
    }

    /// Refuses unless one of the privileges is held.
    pub(super) fn need(&self, path: &str, privileges: &[&str]) -> Result<(), Failure> {
        if self.any(path, privileges) { Ok(()) } else { Err(Failure::privilege(path, &privileges.join("|"))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(grants: &str) -> Subject {
        let grants: Vec<GrantSpec> = serde_json::from_str(grants).unwrap();
        Subject::of(&TokenSpec { id: "a@pve!t".to_owned(), secret: "s".to_owned(), grants }, 9)
    }

    #[test]
    fn the_nearest_grant_decides() {
        let subject = token(
            r#"[{"path":"/","role":"PVEAuditor"},{"path":"/vms/120","privileges":["VM.Config.Options"]},
                {"path":"/storage","privileges":["Datastore.Audit"],"propagate":false}]"#,
        );
        assert!(subject.holds("/vms/121", "VM.Audit") && !subject.holds("/vms/120", "VM.Audit"));
        assert!(subject.holds("/vms/120", "VM.Config.Options"));
        assert!(subject.holds("/storage/local", "VM.Audit"));
        let json = subject.permissions_json(Some("/vms/120"), 9);
        assert_eq!(json, json!({ "/vms/120": { "VM.Config.Options": 1 } }));
    }

    #[test]
    fn credentials() {
        let access = Access::new(
            vec![TokenSpec { id: "root@pam!x1".to_owned(), secret: "s".to_owned(), grants: Vec::new() }],
            9,
        );
        let id = |header: Option<&str>| access.authenticate(header).map(|subject| subject.id);
        assert_eq!(id(Some("PVEAPIToken=root@pam!x1=s")), Ok("root@pam!x1".to_owned()));
        assert_eq!(id(Some("PVEAPIToken root%40pam!x1=s;x")), Ok("root@pam!x1".to_owned()));
        assert_eq!(id(None), Err(Failure::Empty(401, "No ticket".to_owned())));
        assert_eq!(
            id(Some("PVEAPIToken=root@pam!x1=bad")),
            Err(Failure::Empty(401, "Authentication failed!".to_owned()))
        );
        assert!(!access.authenticate(Some("PVEAPIToken=root@pam!x1=s")).unwrap().is_root());
    }
}
