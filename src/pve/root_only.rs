//! What only `root@pam` itself may set: no token can, not even one of root's without privilege separation.
//!
//! The tables hold the rule of each option. Sources: qemu-server's checks of single options when a VM is made or changed, and pve-container's
//! (`pve-docs`, pct(1) and qm(1), name some of them). A session with root's password may.

use super::compare::volume_key;
use super::facts::RootOnly;
use super::http::Request;
use super::property;
use super::schema::catalog;
use super::value::{GuestKind, parse_boolean, split_list, storage_of};

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

/// True for a call that makes or changes a guest and that Proxmox takes from `root@pam` alone.
///
/// What is removed counts by its option: whether it is a device of the host is not in the call. A container counts as
/// unprivileged unless the call says otherwise, for that is where most features are nobody else's to set.
pub fn needs_root(request: &Request) -> bool {
    if !request.method.is_write() {
        return false;
    }
    let mut segments = request.path.split('/').skip(1);
    let (Some("nodes"), Some(_), Some(kind)) = (segments.next(), segments.next(), segments.next()) else {
        return false;
    };
    let Some(kind) = GuestKind::ALL.into_iter().find(|known| known.segment() == kind) else { return false };
    let below = segments.nth(1);
    if !matches!(below, None | Some("config")) {
        return false;
    }
    let unprivileged = match request.params.iter().find(|(name, _)| name == "unprivileged") {
        Some((_, text)) => parse_boolean(text) == Some(true),
        None => below.is_some(),
    };
    request.params.iter().any(|(name, value)| match name.as_str() {
        "delete" | "revert" => split_list(value).any(|option| is_of_the_host(kind, option)),
        _ => is_root_only(kind, name, value, unprivileged),
    })
}

/// True for options whose removal may be root's alone.
fn is_of_the_host(kind: GuestKind, option: &str) -> bool {
    let rule = catalog(kind).find(option).and_then(|spec| spec.facts.root_only);
    rule.is_some_and(|rule| !matches!(rule, RootOnly::Path | RootOnly::Features))
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

    #[test]
    fn calls_need_root_by_what_they_carry() {
        use super::super::http::Method::{Delete, Get, Post, Put};
        for (method, path, params, expected) in [
            (Put, "/nodes/a/qemu/100/config", "cores=2", false),
            (Put, "/nodes/a/qemu/100/config", "cores=2 args=-x", true),
            (Post, "/nodes/a/qemu/100/config", "hostpci0=mapping=gpu", false),
            (Post, "/nodes/a/qemu/100/config", "hostpci0=0000:01:00.0", true),
            (Post, "/nodes/a/qemu/100/config", "delete=hostpci0", true),
            (Put, "/nodes/a/qemu/100/config", "delete=scsi0,cores", false),
            (Post, "/nodes/a/qemu", "vmid=100 args=-x", true),
            (Post, "/nodes/a/lxc", "vmid=100 features=nesting=1 unprivileged=1", false),
            (Post, "/nodes/a/lxc", "vmid=100 features=nesting=1", true),
            (Put, "/nodes/a/lxc/100/config", "features=nesting=1", false),
            (Put, "/nodes/a/lxc/100/config", "features=keyctl=1", true),
            (Get, "/nodes/a/qemu/100/config", "args=-x", false),
            (Post, "/nodes/a/qemu/100/clone", "args=-x", false),
            (Delete, "/nodes/a/qemu/100", "purge=1", false),
            (Put, "/pools/x", "args=-x", false),
        ] {
            let mut request = Request::new(method, path);
            for (name, value) in params.split(' ').filter_map(|pair| pair.split_once('=')) {
                request = request.with(name, value);
            }
            assert_eq!(needs_root(&request), expected, "{method} {path} {params}");
        }
    }
}
