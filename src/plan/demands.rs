//! What a step asks of the credential that sends it: every privilege that Proxmox looks at before it does it.
//!
//! Sources: the rule of each call (`schemas/pve`), and what the calls themselves look at besides: each option that is
//! set or removed, storages that are written to, images that are read, bridges and mappings that are used.
//! The datacenter's rules for tags are looked at in `tags`.

use super::document::{Reason, ReasonCode, Step, StepKind};
use super::drives::{is_cloudinit, volume_of};
use super::planner::Cluster;
use super::preflight::holds;
use super::template::{Part, Template};
use crate::live::{LiveConfig, LiveGuest};
use crate::pve::compare::{is_drive, stem};
use crate::pve::property;
use crate::pve::root_only::is_root_only;
use crate::pve::schema::{catalog, version_number};
use crate::pve::value::{GuestKind, Vmid, allocation, parse_boolean, split_list, storage_of};

/// The guest that steps are for.
pub struct Guest<'a> {
    /// VM or container.
    pub kind: GuestKind,
    /// Its id; nothing where the range gives it.
    pub vmid: Option<Vmid>,
    /// The pool that it is made in, whose privileges count as its own.
    pub pool: Option<&'a str>,
    /// What it is before the steps.
    pub config: Option<&'a LiveConfig>,
}

impl<'a> Guest<'a> {
    /// A guest that is there.
    pub fn of_live(live: &'a LiveGuest) -> Self {
        Self { kind: live.kind, vmid: Some(live.vmid), pool: None, config: live.config.known() }
    }
}

/// Something that is needed: any of these privileges, each on its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand(pub Vec<(String, &'static str)>);

impl Demand {
    fn one(path: impl Into<String>, privilege: &'static str) -> Self {
        Self(vec![(path.into(), privilege)])
    }

    fn any(path: &str, privileges: &[&'static str]) -> Self {
        Self(privileges.iter().map(|privilege| (path.to_owned(), *privilege)).collect())
    }

    fn or(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

/// The built-in role that holds a privilege and little else; nothing where only an administrator's does.
fn role_with(privilege: &str) -> Option<&'static str> {
    const ROLES: [(&str, &str); 9] = [
        ("VM.PowerMgmt", "PVEVMUser"),
        ("VM.Backup", "PVEVMUser"),
        ("VM.Config.C", "PVEVMUser"),
        ("VM.", "PVEVMAdmin"),
        ("Datastore.AllocateSpace", "PVEDatastoreUser"),
        ("Datastore.", "PVEDatastoreAdmin"),
        ("SDN.Use", "PVESDNUser"),
        ("Mapping.Use", "PVEMappingUser"),
        ("Pool.Allocate", "PVEPoolAdmin"),
    ];
    match privilege {
        "Sys.Console" => Some("PVESysAdmin"),
        "VM.Config.CPU" => Some("PVEVMAdmin"),
        _ if privilege.ends_with(".Audit") => Some("PVEAuditor"),
        _ => ROLES.iter().find(|(prefix, _)| privilege.starts_with(prefix)).map(|(_, role)| *role),
    }
}

/// A refusal for a privilege that the token lacks, with the line that would grant it.
pub fn lacking(path: &str, privilege: &str) -> Reason {
    let grant = |role: &str| format!("pveum acl modify {path} --tokens 'USER@REALM!TOKEN' --roles {role}");
    let hint = role_with(privilege).map_or_else(
        || {
            let own: String = privilege.chars().filter(char::is_ascii_alphanumeric).collect();
            format!("pveum role add {own} --privs {privilege} && {}", grant(&own))
        },
        grant,
    );
    Reason { code: ReasonCode::Permission, words: format!("the token lacks {privilege} on {path}"), hint: Some(hint) }
}

impl Cluster<'_> {
    /// Why the token may not send these steps; nothing where it may, or where its privileges could not be read.
    pub fn why_not_sent(&self, guest: &Guest<'_>, steps: &[Step]) -> Option<Reason> {
        self.live.permissions.known()?;
        steps.iter().find_map(|step| {
            // Such a call is not the token's to send.
            if self.desired.as_root && has_root_only(guest.kind, step) {
                return None;
            }
            let mut demands = Vec::new();
            self.of_step(guest, step, &mut demands);
            demands.iter().find_map(|demand| self.unmet(demand))
        })
    }

    /// Why the token may not make a copy of this: a clone, or what a backup holds.
    pub fn why_not_copied(&self, kind: GuestKind, copy: &LiveConfig) -> Option<Reason> {
        self.live.permissions.known()?;
        let mut demands = Vec::new();
        for (name, text) in &copy.current {
            let volume = volume_of(text);
            if is_drive(kind, name) && (is_cloudinit(volume) || !text.contains("media=cdrom")) {
                demands.extend(storage_of(volume).map(space));
            } else if kind == GuestKind::Qemu {
                demands.extend(self.bridge(kind, name, text));
                demands.extend(mapping(kind, name, text));
            }
        }
        demands.iter().find_map(|demand| self.unmet(demand))
    }

    /// Why the token may not read a backup.
    pub fn why_not_restored(&self, volume: &str, vmid: Option<Vmid>) -> Option<Reason> {
        self.live.permissions.known()?;
        let mut demands = Vec::new();
        backup(volume, vmid, &mut demands);
        demands.iter().find_map(|demand| self.unmet(demand))
    }

    /// Why the token may not turn a guest on and off.
    pub fn why_not_turned(&self, vmid: Vmid, by_ha: bool) -> Option<Reason> {
        self.live.permissions.known()?;
        let demand =
            if by_ha { Demand::one("/", "Sys.Console") } else { Demand::one(format!("/vms/{vmid}"), "VM.PowerMgmt") };
        self.unmet(&demand)
    }

    fn unmet(&self, demand: &Demand) -> Option<Reason> {
        let has = |(path, privilege): &(String, &str)| holds(&self.live.permissions, path, privilege) != Some(false);
        if demand.0.iter().any(has) {
            return None;
        }
        demand.0.first().map(|(path, privilege)| lacking(path.strip_suffix("/new").unwrap_or(path), privilege))
    }

    fn of_step(&self, guest: &Guest<'_>, step: &Step, out: &mut Vec<Demand>) {
        let Guest { kind, vmid, pool, config } = *guest;
        let path = vmid.map_or_else(|| "/vms/new".to_owned(), |vmid| format!("/vms/{vmid}"));
        let own = |privileges: &[&'static str]| {
            let lent = pool.map(|pool| Demand::any(&format!("/pool/{pool}"), privileges));
            let demand = Demand::any(&path, privileges);
            lent.into_iter().fold(demand, Demand::or)
        };
        let text = |name: &str| step.call.params.get(name).map(Template::to_string);
        match step.kind {
            StepKind::Clone => {
                // Its path names the source.
                let source = source_of(&step.call.path);
                out.extend(source.map(|source| Demand::one(format!("/vms/{source}"), "VM.Clone")));
                out.push(own(&["VM.Allocate"]));
                out.extend(text("storage").as_deref().map(space));
            }
            StepKind::Create => {
                out.push(own(&["VM.Allocate"]));
                out.extend(text("storage").as_deref().map(space));
                let restores = step.call.params.contains_key("restore");
                let archive = text("archive").or_else(|| text("ostemplate").filter(|_| restores));
                if let Some(archive) = archive {
                    backup(&archive, vmid, out);
                } else if let Some(template) = text("ostemplate") {
                    out.extend(storage_of(&template).map(reading));
                }
                let privileged = text("unprivileged").is_some_and(|text| parse_boolean(&text) == Some(false));
                if kind == GuestKind::Lxc
                    && privileged
                    && !restores
                    && version_number(&self.live.version) >= version_number("9.0")
                {
                    out.push(Demand::one("/", "Sys.Modify"));
                }
            }
            StepKind::Resize => {
                out.push(own(&["VM.Config.Disk"]));
                let drive = text("disk").and_then(|drive| config?.effective(&drive));
                out.extend(drive.and_then(|drive| storage_of(volume_of(drive))).map(space));
            }
            StepKind::Move => {
                out.push(own(&["VM.Config.Disk"]));
                out.extend(text("storage").as_deref().map(space));
            }
            StepKind::Migrate => out.push(own(&["VM.Migrate"])),
            StepKind::Start | StepKind::Shutdown | StepKind::Reboot => out.push(own(&["VM.PowerMgmt"])),
            StepKind::CloudInit => out.push(own(&["VM.Config.Cloudinit"])),
            StepKind::Template | StepKind::Delete => out.push(own(&["VM.Allocate"])),
            StepKind::Ha => out.push(Demand::one("/", "Sys.Console")),
            StepKind::Pool => {
                out.extend(text("poolid").map(|pool| Demand::one(format!("/pool/{pool}"), "Pool.Allocate")));
                out.push(own(&["VM.Allocate", "Pool.Allocate"]));
            }
            StepKind::Configure | StepKind::Destroy => {}
        }
        if !matches!(step.kind, StepKind::Create | StepKind::Configure | StepKind::Destroy) {
            return;
        }
        let live = |name: &str| config.and_then(|config| config.effective(name));
        for (name, value) in &step.call.params {
            if matches!(name.as_str(), "delete" | "revert") {
                for name in split_list(&value.to_string()) {
                    self.of_option(kind, &own, name, None, live(name), out);
                }
            } else {
                self.of_option(kind, &own, name, Some(&value.to_string()), live(name), out);
            }
        }
    }

    /// What setting or removing one option takes.
    fn of_option(
        &self,
        kind: GuestKind,
        own: &impl Fn(&[&'static str]) -> Demand,
        name: &str,
        value: Option<&str>,
        current: Option<&str>,
        out: &mut Vec<Demand>,
    ) {
        let text = value.or(current).unwrap_or_default();
        if stem(name) == "unused" {
            out.push(own(&["VM.Config.Disk"]));
            return;
        }
        if is_drive(kind, name) {
            let volume = volume_of(text);
            if volume.ends_with(":cloudinit") || is_cloudinit(volume) {
                out.extend([own(&["VM.Config.Cloudinit"]), own(&["VM.Config.CDROM"])]);
            } else if text.contains("media=cdrom") || volume == "none" {
                out.push(own(&["VM.Config.CDROM"]));
            } else {
                out.push(own(&["VM.Config.Disk"]));
            }
            out.extend(value.and_then(|value| volume_of_new(kind, value)));
            let import = value.and_then(|value| value.split(',').find_map(|part| part.strip_prefix("import-from=")));
            out.extend(import.and_then(|import| match owner(import) {
                Some(owner) if !import.contains(":import/") => Some(Demand::one(format!("/vms/{owner}"), "VM.Clone")),
                _ => storage_of(import).map(reading),
            }));
            return;
        }
        let Some(spec) = catalog(kind).find(name) else { return };
        let privileges: Vec<&'static str> = spec.facts.privilege.iter().map(String::as_str).collect();
        if !privileges.is_empty() {
            out.push(own(&privileges));
        }
        if name == "startup" {
            out.push(Demand::one("/", "Sys.Modify"));
        }
        out.extend(value.and_then(|value| self.bridge(kind, name, value)));
        out.extend([value, current].into_iter().flatten().filter_map(|text| mapping(kind, name, text)));
    }

    /// Using the bridge of a network device. One that belongs to another zone may be allowed there: which zone that
    /// is, nothing that was read says.
    fn bridge(&self, kind: GuestKind, name: &str, text: &str) -> Option<Demand> {
        if stem(name) != "net" {
            return None;
        }
        let bridge = sub_key(kind, name, text, "bridge")?;
        let tag = sub_key(kind, name, text, "tag").map_or_else(String::new, |tag| format!("/{tag}"));
        let zones = self.live.permissions.known()?.keys().filter_map(|path| {
            let zone = path.strip_prefix("/sdn/zones/")?.split('/').next()?;
            (zone != "localnetwork").then(|| (format!("/sdn/zones/{zone}/{bridge}{tag}"), "SDN.Use"))
        });
        let local = (format!("/sdn/zones/localnetwork/{bridge}{tag}"), "SDN.Use");
        Some(Demand(std::iter::once(local).chain(zones).collect()))
    }
}

/// True for a call that carries what only `root@pam` itself may set.
fn has_root_only(kind: GuestKind, step: &Step) -> bool {
    step.call.params.iter().any(|(name, value)| is_root_only(kind, name, &value.to_string(), true))
}

/// The id in the path of a call to clone: `/nodes/pve1/qemu/9000/clone`.
fn source_of(path: &Template) -> Option<String> {
    let Some(Part::Text(text)) = path.0.first() else { return None };
    text.split('/').nth(4).map(str::to_owned)
}

/// Making volumes on a storage.
fn space(storage: &str) -> Demand {
    Demand::one(format!("/storage/{storage}"), "Datastore.AllocateSpace")
}

/// Reading an image from a storage.
fn reading(storage: &str) -> Demand {
    Demand::any(&format!("/storage/{storage}"), &["Datastore.Audit", "Datastore.AllocateSpace", "Datastore.Allocate"])
}

/// Reading a backup: of another guest, who may make backups of it.
fn backup(volume: &str, vmid: Option<Vmid>, out: &mut Vec<Demand>) {
    let Some(storage) = storage_of(volume) else { return };
    let whole = Demand::one(format!("/storage/{storage}"), "Datastore.Allocate");
    match owner(volume) {
        Some(owner) if vmid.is_some_and(|vmid| vmid.to_string() == owner) => {}
        Some(owner) => {
            out.push(space(storage).or(whole.clone()));
            out.push(Demand::one(format!("/vms/{owner}"), "VM.Backup").or(whole));
        }
        None => out.push(space(storage).or(whole)),
    }
}

/// What the volume of a drive takes when it is set: a place for a new one, the right to read an image.
fn volume_of_new(kind: GuestKind, value: &str) -> Option<Demand> {
    let volume = volume_of(value);
    let storage = storage_of(volume)?;
    if allocation(volume).is_some() || volume.ends_with(":cloudinit") {
        return Some(space(storage));
    }
    (kind == GuestKind::Qemu && volume.contains(":iso/")).then(|| reading(storage))
}

/// Using a mapped device of the host.
fn mapping(kind: GuestKind, name: &str, text: &str) -> Option<Demand> {
    let (of, key) = match stem(name) {
        "hostpci" => ("pci", "mapping"),
        "usb" => ("usb", "mapping"),
        "virtiofs" => ("dir", "dirid"),
        _ => return None,
    };
    let id = sub_key(kind, name, text, key)?;
    Some(Demand::one(format!("/mapping/{of}/{id}"), "Mapping.Use"))
}

fn sub_key(kind: GuestKind, name: &str, text: &str, key: &str) -> Option<String> {
    let format = catalog(kind).find(name)?.value.properties.as_ref()?;
    property::split(text, format).ok()?.remove(key)
}

/// The guest that a volume belongs to, as its name says.
fn owner(volume: &str) -> Option<&str> {
    let path = volume.split_once(':').map_or(volume, |(_, path)| path);
    let digits = |text: &'static str| {
        let rest = path.rsplit('/').find_map(|part| part.strip_prefix(text)).or_else(|| path.strip_prefix(text))?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..end).filter(|digits| !digits.is_empty())
    };
    const FORMS: [&str; 7] = ["vm-", "base-", "subvol-", "vzdump-qemu-", "vzdump-lxc-", "backup/vm/", "backup/ct/"];
    FORMS.into_iter().find_map(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_a_role_that_fits() {
        let hint = |path, privilege| lacking(path, privilege).hint.unwrap_or_default();
        for (path, privilege, role) in [
            ("/vms/100", "VM.Allocate", "PVEVMAdmin"),
            ("/vms/100", "VM.Config.CPU", "PVEVMAdmin"),
            ("/vms/100", "VM.Config.CDROM", "PVEVMUser"),
            ("/vms/100", "VM.PowerMgmt", "PVEVMUser"),
            ("/storage/fast", "Datastore.AllocateSpace", "PVEDatastoreUser"),
            ("/storage/fast", "Datastore.Allocate", "PVEDatastoreAdmin"),
            ("/pool/web", "Pool.Allocate", "PVEPoolAdmin"),
            ("/", "Sys.Console", "PVESysAdmin"),
            ("/", "Sys.Audit", "PVEAuditor"),
            ("/sdn/zones/localnetwork/vmbr0", "SDN.Use", "PVESDNUser"),
        ] {
            let expected = format!("pveum acl modify {path} --tokens 'USER@REALM!TOKEN' --roles {role}");
            assert_eq!(hint(path, privilege), expected, "{privilege}");
        }
        assert!(
            hint("/", "Sys.Modify").starts_with("pveum role add SysModify --privs Sys.Modify && pveum acl modify / ")
        );
    }

    #[test]
    fn volumes_say_whose_they_are() {
        for (volume, expected) in [
            ("local-lvm:vm-100-disk-0", Some("100")),
            ("local:100/vm-100-disk-0.qcow2", Some("100")),
            ("local:9000/base-9000-disk-0.qcow2/101/vm-101-disk-0.qcow2", Some("101")),
            ("local:backup/vzdump-qemu-500-2025_06_01-02_00_00.vma.zst", Some("500")),
            ("pbs:backup/vm/500/2025-06-01T02:00:00Z", Some("500")),
            ("local:import/debian.qcow2", None),
            ("local:iso/vm-tools.iso", None),
        ] {
            assert_eq!(owner(volume), expected, "{volume}");
        }
    }
}
