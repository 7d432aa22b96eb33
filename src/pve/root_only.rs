//! What only `root@pam` itself may set: no token can, not even one of root's without privilege separation.
//!
//! The tables hold the rule of each option. Sources: qemu-server's checks of single options when a VM is made or changed, and pve-container's
//! (`pve-docs`, pct(1) and qm(1), name some of them). A session with root's password may.

use super::compare::volume_key;
use super::facts::RootOnly;
use super::property;
use super::schema::catalog;
use super::value::{GuestKind, parse_boolean, storage_of};

/// True when setting the option to this value is refused to every token.
///
/// `unprivileged` says whether a container is; it does not matter for VMs.
pub fn is_root_only(kind: GuestKind, option: &str, value: &str, unprivileged: bool) -> bool {
    let Some(spec) = catalog(kind).find(option) else {
        return false;
    };
    let Some(rule) = spec.facts.root_only else {
        return false;
    };
    let keys = spec.value.properties.as_ref().and_then(|format| property::split(value, format).ok());
    let key = |name: &str| keys.as_ref()?.get(name).map(String::as_str);
    match rule {
        RootOnly::Always => true,
        // A device of the host itself; one that is mapped needs a privilege only.
        RootOnly::UnlessMapped => key("mapping").is_none(),
        RootOnly::UnlessMappedOrSpice => {
            key("mapping").is_none() && !key("host").is_some_and(|host| host.eq_ignore_ascii_case("spice"))
        }
        RootOnly::UnlessSocket => value != "socket",
        RootOnly::Path => key(volume_key(kind)).is_some_and(|volume| match kind {
            GuestKind::Qemu => volume.starts_with('/'),
            GuestKind::Lxc => storage_of(volume).is_none(),
        }),
        RootOnly::Features => {
            let is_on = |text: &str| parse_boolean(text) != Some(false);
            keys.unwrap_or_default().iter().any(|(name, text)| is_on(text) && (name != "nesting" || !unprivileged))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_the_host_are_roots_and_mapped_ones_are_not() {
        let vm = |option, value| is_root_only(GuestKind::Qemu, option, value, false);
        assert!(vm("args", "-x") && vm("hostpci0", "0000:01:00.0,pcie=1") && vm("usb0", "host=1234:abcd"));
        assert!(vm("serial0", "/dev/ttyS0") && vm("scsi0", "/dev/sda"));
        assert!(
            !vm("hostpci0", "mapping=gpu")
                && !vm("usb0", "spice")
                && !vm("serial0", "socket")
                && !vm("scsi0", "local-lvm:32")
        );
        assert!(!vm("cores", "2"));
    }

    #[test]
    fn container_features_beyond_nesting_are_roots() {
        let ct = |value, unprivileged| is_root_only(GuestKind::Lxc, "features", value, unprivileged);
        assert!(
            !ct("nesting=1", true)
                && ct("nesting=1", false)
                && ct("nesting=1,keyctl=1", true)
                && !ct("nesting=1,keyctl=0", true)
        );
        assert!(is_root_only(GuestKind::Lxc, "mp0", "/srv,mp=/srv", true));
        assert!(!is_root_only(GuestKind::Lxc, "mp0", "local-lvm:8,mp=/srv", true));
    }
}
