//! What a change of an option costs, by Proxmox's own rules for a running guest.
//!
//! The tables hold the rule of each option. Sources: qemu-server's hotplug of pending changes and pve-container's, as the manual describes them in qm(1)
//! "Hot-Pluggable Virtual Machine Configuration" and pct(1).

use super::facts::TakesHold;
use super::schema::catalog;
use super::value::{GuestKind, split_list};

/// When the new value of an option takes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// At once.
    Now,
    /// Stored at once; the guest reads it when it boots.
    AtBoot,
    /// Waits, pending, until the guest is stopped and started by Proxmox.
    Reboot,
}

/// When a change takes hold in a guest that runs. `hotplug` is the VM's option of that name as it is live.
pub fn takes(kind: GuestKind, option: &str, before: Option<&str>, after: Option<&str>, hotplug: Option<&str>) -> Takes {
    let live_if = |hot: bool| if hot { Takes::Now } else { Takes::Reboot };
    let rule = catalog(kind).find(option).map_or(TakesHold::Reboot, |spec| spec.facts.takes);
    match rule {
        TakesHold::Now => Takes::Now,
        TakesHold::AtBoot => Takes::AtBoot,
        TakesHold::Reboot => Takes::Reboot,
        // The balloon is live unless the device itself comes or goes.
        TakesHold::UnlessZero => live_if(before != Some("0") && after != Some("0")),
        // Memory is built in another way where it can be plugged in.
        TakesHold::UnlessMemory => {
            let has = |text: Option<&str>| text.is_some_and(|text| hotplugs(text, "memory"));
            live_if(!has(before) && !has(after) && !has(hotplug))
        }
        // A new mount point or device is put in; a changed one waits.
        TakesHold::WhenNew => live_if(before.is_none()),
        TakesHold::HotplugDisk
        | TakesHold::HotplugNetwork
        | TakesHold::HotplugUsb
        | TakesHold::HotplugCpu
        | TakesHold::HotplugMemory => {
            live_if(rule.hotplug_class().is_some_and(|class| hotplugs(hotplug.unwrap_or("1"), class)))
        }
    }
}

/// True when the VM's option `hotplug` has the class.
fn hotplugs(hotplug: &str, class: &str) -> bool {
    match hotplug {
        "1" => matches!(class, "network" | "disk" | "usb"),
        list => split_list(list).any(|item| item == class),
    }
}

/// True for a sub-key of a VM's drive that a running guest takes at once; others wait although the drive is
/// hot-pluggable. Source: qemu-server's update of drives, limits and what only backups and replication read.
pub fn is_live_drive_key(key: &str) -> bool {
    ["mbps", "iops", "bps"].iter().any(|limit| key.starts_with(limit)) || matches!(key, "backup" | "replicate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hotplug_classes_decide_in_vms() {
        let vm = |option, hotplug| takes(GuestKind::Qemu, option, Some("1"), Some("2"), hotplug);
        assert_eq!(vm("memory", None), Takes::Reboot);
        assert_eq!(vm("memory", Some("memory,disk")), Takes::Now);
        assert_eq!(vm("net0", None), Takes::Now);
        assert_eq!(vm("net0", Some("0")), Takes::Reboot);
        assert_eq!(vm("ide2", None), Takes::Reboot);
        assert_eq!(vm("ciuser", None), Takes::AtBoot);
        assert_eq!(vm("tags", Some("0")), Takes::Now);
    }

    #[test]
    fn hotplug_itself_is_live_unless_memory_is_involved() {
        let vm = |before, after| takes(GuestKind::Qemu, "hotplug", before, after, before);
        assert_eq!(vm(None, Some("disk")), Takes::Now);
        assert_eq!(vm(Some("disk,usb"), None), Takes::Now);
        assert_eq!(vm(Some("disk"), Some("disk,memory")), Takes::Reboot);
        assert_eq!(vm(Some("memory"), Some("0")), Takes::Reboot);
        assert_eq!(vm(Some("memory"), None), Takes::Reboot);
    }

    #[test]
    fn an_option_is_pending_or_not_as_proxmox_has_it() {
        let vm = |option| takes(GuestKind::Qemu, option, Some("1"), Some("2"), Some("0"));
        // qemu-server's list of what is applied at once, and what it reads when the cloud-init drive is made.
        for option in [
            "description",
            "hookscript",
            "lock",
            "migrate_downtime",
            "migrate_speed",
            "name",
            "onboot",
            "protection",
            "shares",
            "startup",
            "tags",
            "vmstatestorage",
            "cpulimit",
            "cpuunits",
            "unused3",
            "balloon",
        ] {
            assert_eq!(vm(option), Takes::Now, "{option}");
        }
        for option in [
            "cicustom",
            "cipassword",
            "citype",
            "ciupgrade",
            "ciuser",
            "nameserver",
            "searchdomain",
            "sshkeys",
            "ipconfig0",
        ] {
            assert_eq!(vm(option), Takes::AtBoot, "{option}");
        }
        for option in [
            "ide0",
            "sata0",
            "efidisk0",
            "tpmstate0",
            "cpu",
            "machine",
            "bios",
            "ostype",
            "boot",
            "vga",
            "args",
            "serial0",
            "hostpci0",
            "audio0",
            "rng0",
            "cores",
            "scsi0",
            "net0",
            "usb0",
            "memory",
            "vcpus",
            "agent",
        ] {
            assert_eq!(vm(option), Takes::Reboot, "{option}");
        }
        assert_eq!(takes(GuestKind::Qemu, "balloon", Some("0"), Some("512"), None), Takes::Reboot);
        let container = |option| takes(GuestKind::Lxc, option, Some("1"), Some("2"), None);
        for option in [
            "description",
            "onboot",
            "startup",
            "protection",
            "hostname",
            "hookscript",
            "cores",
            "tags",
            "lock",
            "cpulimit",
            "cpuunits",
            "memory",
            "swap",
            "net0",
            "unused0",
        ] {
            assert_eq!(container(option), Takes::Now, "{option}");
        }
        for option in [
            "features",
            "nameserver",
            "searchdomain",
            "timezone",
            "cmode",
            "console",
            "tty",
            "arch",
            "ostype",
            "rootfs",
            "mp0",
            "dev0",
            "entrypoint",
            "env",
            "debug",
        ] {
            assert_eq!(container(option), Takes::Reboot, "{option}");
        }
    }

    #[test]
    fn containers_have_their_own_rules() {
        assert_eq!(takes(GuestKind::Lxc, "memory", Some("1"), Some("2"), None), Takes::Now);
        assert_eq!(takes(GuestKind::Lxc, "features", None, Some("nesting=1"), None), Takes::Reboot);
        assert_eq!(takes(GuestKind::Lxc, "mp0", None, Some("x"), None), Takes::Now);
        assert_eq!(takes(GuestKind::Lxc, "mp0", Some("y"), Some("x"), None), Takes::Reboot);
    }
}
