//! The privileges that carrying out a manifest takes, held against those that a credential has.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::preflight::{Needs, holds};
use crate::desired::{CloneFrom, DesiredCluster, DesiredGuest, DriveForm, OptionValue};
use crate::live::Read;
use crate::pve::compare::stem;
use crate::pve::schema::catalog;

/// A privilege that is not held, and what it is needed for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lacking {
    /// Where: `/vms/100`; with several, any of them will do.
    pub paths: Vec<String>,
    /// Which; with several, any of them will do.
    pub privileges: Vec<String>,
    /// What for, in words.
    pub needed_for: String,
}

/// What the manifest needs in a cluster and the credential does not hold; nothing where the privileges could not be read.
///
/// As much as a manifest can say: what a change needs besides may depend on what is there.
pub fn lacking(
    cluster: &DesiredCluster,
    permissions: &Read<BTreeMap<String, BTreeMap<String, bool>>>,
) -> Option<Vec<Lacking>> {
    permissions.known()?;
    let held = |need: &Lacking| {
        need.paths.iter().any(|path| {
            // On all guests means on those below.
            let asked = if path == "/vms" { "/vms/100" } else { path };
            need.privileges.iter().any(|privilege| holds(permissions, asked, privilege) == Some(true))
        })
    };
    Some(needed(cluster).into_iter().filter(|need| !held(need)).collect())
}

/// Everything that is needed, the same need for several guests once.
fn needed(cluster: &DesiredCluster) -> Vec<Lacking> {
    let mut needs: BTreeMap<(Vec<String>, Vec<String>), BTreeSet<String>> = BTreeMap::new();
    let mut need = |paths: &[&str], privileges: &[&str], words: String| {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        needs.entry((owned(paths), owned(privileges))).or_default().insert(words);
    };
    need(&["/"], &["Sys.Audit"], "reading the cluster's nodes".to_owned());
    need(&["/vms"], &["VM.Audit"], "seeing every guest, so that one which is not seen is not there".to_owned());
    for guest in &cluster.guests {
        of_guest(guest, &mut need);
    }
    let owned = |((paths, privileges), words): ((Vec<String>, Vec<String>), BTreeSet<String>)| {
        let mut shown: Vec<String> = words.iter().take(3).cloned().collect();
        if words.len() > 3 {
            shown.push(format!("{} more", words.len() - 3));
        }
        Lacking { paths, privileges, needed_for: shown.join(", ") }
    };
    needs.into_iter().map(owned).collect()
}

fn of_guest(guest: &DesiredGuest, need: &mut impl FnMut(&[&str], &[&str], String)) {
    let own = guest.vmid.map_or_else(|| "/vms".to_owned(), |vmid| format!("/vms/{vmid}"));
    let pool = guest.pool.as_ref().map(|pool| format!("/pool/{pool}"));
    let paths: Vec<&str> = [Some(own.as_str()), pool.as_deref()].into_iter().flatten().collect();
    let words = |what: &str| format!("{} {what}", guest.name);
    need(&paths, &["VM.Allocate"], words("made"));
    if guest.state.is_some() {
        need(&paths, &["VM.PowerMgmt"], words("switched"));
    }
    if let Some(source) = &guest.clone {
        // A source by name or tag may be any guest.
        let from = match &source.from {
            CloneFrom::Named(name) if name.bytes().all(|b| b.is_ascii_digit()) => format!("/vms/{name}"),
            _ => "/vms".to_owned(),
        };
        need(&[&from], &["VM.Clone"], words("cloned"));
    }
    if guest.ha.is_some() {
        need(&["/"], &["Sys.Console"], words("highly available"));
    }
    if !guest.nodes.is_empty() {
        need(&paths, &["VM.Migrate"], words("moved to a node that is listed"));
    }
    if let Some(pool) = pool.as_deref() {
        need(&[pool], &["Pool.Allocate"], words("in its pool"));
    }
    // The mark, the name and the tags stand on every guest.
    need(&paths, &["VM.Config.Options"], words("marked"));
    for (name, option) in &guest.options {
        let Some(spec) = catalog(guest.kind).find(name) else { continue };
        let privileges: Vec<&str> = match &option.value {
            OptionValue::Drive(drive) if matches!(drive.form, DriveForm::Iso(_) | DriveForm::Empty) => {
                vec!["VM.Config.CDROM"]
            }
            OptionValue::Drive(drive) if matches!(drive.form, DriveForm::CloudInit { .. }) => {
                need(&paths, &["VM.Config.CDROM"], words(name));
                vec!["VM.Config.Cloudinit"]
            }
            OptionValue::Drive(_) => vec!["VM.Config.Disk"],
            _ => spec.facts.privilege.iter().map(String::as_str).collect(),
        };
        if !privileges.is_empty() {
            need(&paths, &privileges, words(stem(name)));
        }
    }
    let needs = Needs::of(guest);
    for (storage, content) in &needs.storages {
        // An image that is only read need not be allowed to grow.
        let privileges: &[&str] = match *content {
            "iso" | "vztmpl" => &["Datastore.AllocateSpace", "Datastore.Audit"],
            _ => &["Datastore.AllocateSpace"],
        };
        need(&[&format!("/storage/{storage}")], privileges, words("on its storage"));
    }
    for bridge in &needs.bridges {
        need(&[&format!("/sdn/zones/localnetwork/{bridge}")], &["SDN.Use"], words("in its network"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clusters::Registry;
    use crate::{desired, manifest};

    const MANIFEST: &str = "fleet: t
clusters:
  c:
    vms:
      - {name: a, vmid: 100, pool: web, cores: 2, state: running, scsi0: {storage: fast, size: 1GiB}, net0: {model: virtio, bridge: vmbr1}, ide2: {iso: local:iso/x.iso}}
      - {name: b, memory: 512, clone: {from: 9000}}
";

    fn found(permissions: &[(&str, &[&str])]) -> Vec<String> {
        let (fleet, problems) = manifest::read(&[("f.yaml".to_owned(), MANIFEST.to_owned())]);
        let fleet = fleet.unwrap_or_else(|| panic!("{problems:?}"));
        let (desired, problems) = desired::resolve(&fleet, &Registry::of_names(["c".to_owned()]));
        let desired = desired.unwrap_or_else(|| panic!("{problems:?}"));
        let held = permissions
            .iter()
            .map(|(path, names)| ((*path).to_owned(), names.iter().map(|name| ((*name).to_owned(), true)).collect()));
        let lacking = lacking(&desired.clusters["c"], &Read::Known(held.collect())).unwrap();
        lacking
            .into_iter()
            .map(|lack| format!("{} {}: {}", lack.paths.join("|"), lack.privileges.join("|"), lack.needed_for))
            .collect()
    }

    #[test]
    fn what_is_lacking_is_told_with_what_it_is_for() {
        let all = found(&[]);
        for line in [
            "/ Sys.Audit: reading the cluster's nodes",
            "/vms VM.Audit: seeing every guest, so that one which is not seen is not there",
            "/vms/100|/pool/web VM.Allocate: a made",
            "/vms/100|/pool/web VM.PowerMgmt: a switched",
            "/vms/100|/pool/web VM.Config.CPU: a cores",
            "/vms/100|/pool/web VM.Config.Disk: a scsi",
            "/vms/100|/pool/web VM.Config.CDROM: a ide",
            "/vms VM.Config.Memory: b memory",
            "/vms/9000 VM.Clone: b cloned",
            "/storage/fast Datastore.AllocateSpace: a on its storage",
            "/storage/local Datastore.AllocateSpace|Datastore.Audit: a on its storage",
            "/sdn/zones/localnetwork/vmbr1 SDN.Use: a in its network",
            "/pool/web Pool.Allocate: a in its pool",
        ] {
            assert!(all.iter().any(|found| found == line), "{line} is missing in {all:#?}");
        }
        let names = ["VM.Allocate", "VM.PowerMgmt", "VM.Config.CPU", "VM.Config.Disk", "VM.Config.CDROM"];
        let rest = found(&[("/pool/web", &names), ("/vms/9000", &["VM.Clone"]), ("/", &["Sys.Audit"])]);
        assert!(!rest.iter().any(|line| line.contains("VM.Config.CPU") || line.contains("Sys.Audit")), "{rest:#?}");
        assert!(rest.iter().any(|line| line == "/vms VM.Config.Memory: b memory"), "{rest:#?}");
        let unread = Read::Unread("x".to_owned());
        assert!(lacking(&desired_of_nothing(), &unread).is_none());
    }

    fn desired_of_nothing() -> DesiredCluster {
        DesiredCluster {
            declared: true,
            vmids: None,
            default_node: None,
            default_storage: None,
            default_bridge: None,
            access: crate::clusters::Access::Apply,
            as_root: false,
            guests: Vec::new(),
        }
    }
}
