//! The privileges that a release knows, and the roles that come with it.

use std::collections::{BTreeMap, BTreeSet};

/// Whom a privilege is meant for; the built-in roles follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// Nobody but an administrator of everything.
    Root,
    /// Who runs things of this kind.
    Admin,
    /// Who uses them.
    User,
    /// Who looks at them.
    Audit,
}

use Level::{Admin, Audit, Root, User};

/// Category, level and name of every privilege that both releases know.
const BOTH: &[(&str, Level, &str)] = &[
    ("", Root, "Permissions.Modify"),
    ("VM", Admin, "VM.Allocate"),
    ("VM", Admin, "VM.Clone"),
    ("VM", Admin, "VM.Config.CPU"),
    ("VM", Admin, "VM.Config.Disk"),
    ("VM", Admin, "VM.Config.HWType"),
    ("VM", Admin, "VM.Config.Memory"),
    ("VM", Admin, "VM.Config.Network"),
    ("VM", Admin, "VM.Config.Options"),
    ("VM", Admin, "VM.Migrate"),
    ("VM", Admin, "VM.Snapshot"),
    ("VM", Admin, "VM.Snapshot.Rollback"),
    ("VM", User, "VM.Backup"),
    ("VM", User, "VM.Config.CDROM"),
    ("VM", User, "VM.Config.Cloudinit"),
    ("VM", User, "VM.Console"),
    ("VM", User, "VM.PowerMgmt"),
    ("VM", Audit, "VM.Audit"),
    ("Sys", Root, "Sys.AccessNetwork"),
    ("Sys", Root, "Sys.Incoming"),
    ("Sys", Root, "Sys.Modify"),
    ("Sys", Root, "Sys.PowerMgmt"),
    ("Sys", Admin, "Sys.Console"),
    ("Sys", Admin, "Sys.Syslog"),
    ("Sys", Audit, "Sys.Audit"),
    ("Datastore", Admin, "Datastore.Allocate"),
    ("Datastore", Admin, "Datastore.AllocateTemplate"),
    ("Datastore", User, "Datastore.AllocateSpace"),
    ("Datastore", Audit, "Datastore.Audit"),
    ("SDN", Admin, "SDN.Allocate"),
    ("SDN", User, "SDN.Use"),
    ("SDN", Audit, "SDN.Audit"),
    ("User", Root, "Realm.Allocate"),
    ("User", Admin, "Group.Allocate"),
    ("User", Admin, "Realm.AllocateUser"),
    ("User", Admin, "User.Modify"),
    ("Pool", Admin, "Pool.Allocate"),
    // Meant for users and for auditors alike, which gives the same roles.
    ("Pool", Audit, "Pool.Audit"),
    ("Mapping", Admin, "Mapping.Modify"),
    ("Mapping", User, "Mapping.Use"),
    ("Mapping", Audit, "Mapping.Audit"),
];

/// What release 9 dropped.
const UNTIL_8: &[(&str, Level, &str)] = &[("VM", Admin, "VM.Monitor")];

/// What came with release 9.
const SINCE_9: &[(&str, Level, &str)] = &[
    ("VM", Admin, "VM.GuestAgent.Unrestricted"),
    ("VM", Admin, "VM.Replicate"),
    ("VM", User, "VM.GuestAgent.FileRead"),
    ("VM", User, "VM.GuestAgent.FileSystemMgmt"),
    ("VM", User, "VM.GuestAgent.FileWrite"),
    ("VM", Audit, "VM.GuestAgent.Audit"),
];

/// The categories that have something for users, and so a role for them; each has one for administrators.
const WITH_USERS: &[&str] = &["VM", "Datastore", "SDN", "Pool", "Mapping"];
const CATEGORIES: &[&str] = &["VM", "Sys", "Datastore", "SDN", "User", "Pool", "Mapping"];

fn all(release: u32) -> impl Iterator<Item = (&'static str, Level, &'static str)> {
    BOTH.iter().chain(if release >= 9 { SINCE_9 } else { UNTIL_8 }).copied()
}

/// True for a privilege of the release.
pub(in crate::sim) fn is_privilege(name: &str, release: u32) -> bool {
    all(release).any(|(_, _, known)| known == name)
}

/// True for a role that comes with Proxmox and cannot be changed.
pub(in crate::sim) fn is_special(role: &str, release: u32) -> bool {
    built_in(release).contains_key(role)
}

/// The roles that come with a release.
pub(super) fn built_in(release: u32) -> BTreeMap<String, BTreeSet<String>> {
    let only = |keep: &dyn Fn(&str, Level, &str) -> bool| -> BTreeSet<String> {
        all(release)
            .filter(|(kind, level, name)| keep(kind, *level, name))
            .map(|(_, _, name)| name.to_owned())
            .collect()
    };
    let mut roles = BTreeMap::from([
        ("NoAccess".to_owned(), BTreeSet::new()),
        ("Administrator".to_owned(), only(&|_, _, _| true)),
        ("PVEAdmin".to_owned(), only(&|_, level, name| level != Root && name != "Mapping.Modify")),
        ("PVEAuditor".to_owned(), only(&|_, level, _| level == Audit)),
        ("PVETemplateUser".to_owned(), only(&|_, _, name| matches!(name, "VM.Audit" | "VM.Clone"))),
    ]);
    for category in CATEGORIES {
        roles.insert(format!("PVE{category}Admin"), only(&|kind, level, _| kind == *category && level != Root));
    }
    for category in WITH_USERS {
        let role = only(&|kind, level, _| kind == *category && matches!(level, User | Audit));
        roles.insert(format!("PVE{category}User"), role);
    }
    roles
}

#[cfg(test)]
mod tests {
    use super::*;

    fn privileges(role: &str, release: u32) -> String {
        built_in(release)[role].iter().cloned().collect::<Vec<_>>().join(",")
    }

    #[test]
    fn built_in_roles_are_those_of_real_servers() {
        for (role, release, wanted) in [
            ("NoAccess", 9, ""),
            ("PVEVMUser", 8, "VM.Audit,VM.Backup,VM.Config.CDROM,VM.Config.Cloudinit,VM.Console,VM.PowerMgmt"),
            (
                "PVEVMUser",
                9,
                "VM.Audit,VM.Backup,VM.Config.CDROM,VM.Config.Cloudinit,VM.Console,VM.GuestAgent.Audit,\
                 VM.GuestAgent.FileRead,VM.GuestAgent.FileSystemMgmt,VM.GuestAgent.FileWrite,VM.PowerMgmt",
            ),
            (
                "PVEVMAdmin",
                9,
                "VM.Allocate,VM.Audit,VM.Backup,VM.Clone,VM.Config.CDROM,VM.Config.CPU,VM.Config.Cloudinit,\
                 VM.Config.Disk,VM.Config.HWType,VM.Config.Memory,VM.Config.Network,VM.Config.Options,VM.Console,\
                 VM.GuestAgent.Audit,VM.GuestAgent.FileRead,VM.GuestAgent.FileSystemMgmt,VM.GuestAgent.FileWrite,\
                 VM.GuestAgent.Unrestricted,VM.Migrate,VM.PowerMgmt,VM.Replicate,VM.Snapshot,VM.Snapshot.Rollback",
            ),
            (
                "PVEAdmin",
                8,
                "Datastore.Allocate,Datastore.AllocateSpace,Datastore.AllocateTemplate,Datastore.Audit,Group.Allocate,\
                 Mapping.Audit,Mapping.Use,Pool.Allocate,Pool.Audit,Realm.AllocateUser,SDN.Allocate,SDN.Audit,SDN.Use,\
                 Sys.Audit,Sys.Console,Sys.Syslog,User.Modify,VM.Allocate,VM.Audit,VM.Backup,VM.Clone,VM.Config.CDROM,\
                 VM.Config.CPU,VM.Config.Cloudinit,VM.Config.Disk,VM.Config.HWType,VM.Config.Memory,VM.Config.Network,\
                 VM.Config.Options,VM.Console,VM.Migrate,VM.Monitor,VM.PowerMgmt,VM.Snapshot,VM.Snapshot.Rollback",
            ),
            (
                "PVEAuditor",
                9,
                "Datastore.Audit,Mapping.Audit,Pool.Audit,SDN.Audit,Sys.Audit,VM.Audit,VM.GuestAgent.Audit",
            ),
            ("PVEUserAdmin", 9, "Group.Allocate,Realm.AllocateUser,User.Modify"),
            ("PVEMappingAdmin", 8, "Mapping.Audit,Mapping.Modify,Mapping.Use"),
            ("PVEPoolUser", 8, "Pool.Audit"),
            ("PVEPoolAdmin", 8, "Pool.Allocate,Pool.Audit"),
            ("PVESDNUser", 8, "SDN.Audit,SDN.Use"),
            ("PVETemplateUser", 9, "VM.Audit,VM.Clone"),
        ] {
            assert_eq!(privileges(role, release), wanted, "{role} of {release}");
        }
        let names: Vec<String> = built_in(9).into_keys().collect();
        assert_eq!(names.len(), 17, "{names:?}");
        assert_eq!(built_in(9)["Administrator"].len(), 47);
    }
}
