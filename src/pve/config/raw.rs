//! The keys of LXC itself that a container's file may hold.

/// What the server says of such a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RawKey {
    /// It is kept.
    Kept,
    /// It is kept, and this is logged.
    Old(String),
    /// It is dropped for this reason.
    Refused(&'static str),
    /// It is not known.
    Unknown,
}

/// Groups in which every key is kept.
const GROUPS: [&str; 3] = ["lxc.cgroup2.", "lxc.prlimit.", "lxc.net."];

const KEPT: &[&str] = &[
    "lxc.apparmor.allow_incomplete",
    "lxc.apparmor.allow_nesting",
    "lxc.apparmor.profile",
    "lxc.apparmor.raw",
    "lxc.arch",
    "lxc.autodev",
    "lxc.cap.drop",
    "lxc.cap.keep",
    "lxc.console.logfile",
    "lxc.console.path",
    "lxc.devtty.dir",
    "lxc.environment",
    "lxc.environment.hooks",
    "lxc.environment.runtime",
    "lxc.group",
    "lxc.hook.autodev",
    "lxc.hook.clone",
    "lxc.hook.destroy",
    "lxc.hook.mount",
    "lxc.hook.post-stop",
    "lxc.hook.pre-mount",
    "lxc.hook.pre-start",
    "lxc.hook.start",
    "lxc.hook.stop",
    "lxc.hook.version",
    "lxc.idmap",
    "lxc.include",
    "lxc.init.cmd",
    "lxc.init.cwd",
    "lxc.init.gid",
    "lxc.init.groups",
    "lxc.init.uid",
    "lxc.kmsg",
    "lxc.log.file",
    "lxc.log.level",
    "lxc.mount.auto",
    "lxc.mount.entry",
    "lxc.mount.fstab",
    "lxc.pty.max",
    "lxc.rootfs.mount",
    "lxc.seccomp.notify.cookie",
    "lxc.seccomp.notify.proxy",
    "lxc.seccomp.profile",
    "lxc.selinux.context",
    "lxc.signal.halt",
    "lxc.signal.reboot",
    "lxc.signal.stop",
    "lxc.start.auto",
    "lxc.start.delay",
    "lxc.start.order",
    "lxc.sysctl.fs.mqueue",
    "lxc.sysctl.kernel.msgmax",
    "lxc.sysctl.kernel.msgmnb",
    "lxc.sysctl.kernel.msgmni",
    "lxc.sysctl.kernel.sem",
    "lxc.sysctl.kernel.shm_rmid_forced",
    "lxc.sysctl.kernel.shmall",
    "lxc.sysctl.kernel.shmmax",
    "lxc.sysctl.kernel.shmmni",
    "lxc.tty.max",
    "lxc.uts.name",
];

/// Keys of old releases of LXC, with their names since.
const RENAMED: &[(&str, &str)] = &[
    ("lxc.aa_allow_incomplete", "lxc.apparmor.allow_incomplete"),
    ("lxc.aa_profile", "lxc.apparmor.profile"),
    ("lxc.console", "lxc.console.path"),
    ("lxc.devttydir", "lxc.tty.dir"),
    ("lxc.haltsignal", "lxc.signal.halt"),
    ("lxc.id_map", "lxc.idmap"),
    ("lxc.init_cmd", "lxc.init.cmd"),
    ("lxc.logfile", "lxc.log.file"),
    ("lxc.loglevel", "lxc.log.level"),
    ("lxc.mount", "lxc.mount.fstab"),
    ("lxc.network.flags", "lxc.net.INDEX.flags"),
    ("lxc.network.hwaddr", "lxc.net.INDEX.hwaddr"),
    ("lxc.network.ipv4", "lxc.net.INDEX.ipv4.address"),
    ("lxc.network.ipv4.gateway", "lxc.net.INDEX.ipv4.gateway"),
    ("lxc.network.ipv6", "lxc.net.INDEX.ipv6.address"),
    ("lxc.network.ipv6.gateway", "lxc.net.INDEX.ipv6.gateway"),
    ("lxc.network.link", "lxc.net.INDEX.link"),
    ("lxc.network.mtu", "lxc.net.INDEX.mtu"),
    ("lxc.network.name", "lxc.net.INDEX.name"),
    ("lxc.network.script.down", "lxc.net.INDEX.script.down"),
    ("lxc.network.script.up", "lxc.net.INDEX.script.up"),
    ("lxc.network.type", "lxc.net.INDEX.type"),
    ("lxc.pts", "lxc.pty.max"),
    ("lxc.rebootsignal", "lxc.signal.reboot"),
    ("lxc.se_context", "lxc.selinux.context"),
    ("lxc.seccomp", "lxc.seccomp.profile"),
    ("lxc.stopsignal", "lxc.signal.stop"),
    ("lxc.tty", "lxc.tty.max"),
    ("lxc.utsname", "lxc.uts.name"),
];

/// Judges a key of container `vmid`.
pub(super) fn judge(vmid: u32, key: &str) -> RawKey {
    if key.starts_with("lxc.limit.") {
        return RawKey::Old(format!("vm {vmid} - {key}: lxc.limit.* was renamed to lxc.prlimit.*\n"));
    }
    if let Some((_, name)) = RENAMED.iter().find(|(old, _)| *old == key) {
        return RawKey::Old(format!("vm {vmid} - {key} is deprecated and was renamed to {name}\n"));
    }
    match key {
        "lxc.rootfs.path" => RawKey::Refused("lxc.rootfs.path is auto generated from rootfs"),
        "lxc.rootfs.options" => {
            RawKey::Refused("lxc.rootfs.options is not supported, please use mount point options in the \"rootfs\" key")
        }
        _ if key.starts_with("lxc.cgroup.") => {
            RawKey::Old(format!("vm {vmid} - {key} is deprecated, this will be a hard error in the future!\n"))
        }
        _ if KEPT.contains(&key) || GROUPS.iter().any(|group| key.starts_with(group)) => RawKey::Kept,
        _ => RawKey::Unknown,
    }
}
