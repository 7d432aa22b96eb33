//! A cluster without a majority: what can still be done, and in which words the rest is refused.

use super::answer::Failure;
use super::cluster::Cluster;
use super::exchange::Forced;
use super::route::Call;
use crate::pve::value::GuestKind;

/// The text of calls that ask for a majority first.
const NOT_READY: &str = "cluster not ready - no quorum?";

/// What a call, by its method and the pattern of its path, comes to without a majority; nothing where it works all
/// the same.
pub(super) fn refusal(cluster: &mut Cluster, method: &str, pattern: &str, call: &Call) -> Option<Failure> {
    if method == "GET" {
        return None;
    }
    let locked = |what: &str, file: &str| Some(Failure::die(format!("{what}cfs-lock '{file}' error: no quorum!")));
    let verb = match method {
        "POST" => "create",
        "PUT" => "update",
        _ => "delete",
    };
    let parts: Vec<&str> = pattern.split('/').skip(1).collect();
    match parts.as_slice() {
        ["access", "ticket"] => None,
        ["access", "users", ..] => locked(&format!("{verb} user failed: "), "file-user_cfg"),
        ["access", "groups", ..] => locked(&format!("{verb} group failed: "), "file-user_cfg"),
        ["access", "roles", ..] => locked(&format!("{verb} role failed: "), "file-user_cfg"),
        ["access", "acl"] => locked("ACL update failed: ", "file-user_cfg"),
        ["access", ..] => locked("", "file-user_cfg"),
        ["pools", ..] if verb == "update" => locked("update pools failed: ", "file-user_cfg"),
        ["pools", ..] => locked(&format!("{verb} pool failed: "), "file-user_cfg"),
        ["storage", ..] => locked(&format!("{verb} storage failed: "), "file-storage_cfg"),
        ["cluster", "options"] => locked("", "file-datacenter_cfg"),
        ["cluster", "ha", ..] if verb != "create" => locked("", "domain-ha"),
        ["nodes", _, kind @ ("qemu" | "lxc"), rest @ ..] => guest_refusal(cluster, kind, rest, method, call),
        // Volumes, tasks and the like are the node's own matter.
        ["nodes", ..] => None,
        _ => Some(Failure::die(NOT_READY)),
    }
}

fn guest_refusal(cluster: &mut Cluster, kind: &str, rest: &[&str], method: &str, call: &Call) -> Option<Failure> {
    let (kind, folder) = if kind == "qemu" { (GuestKind::Qemu, "qemu-server") } else { (GuestKind::Lxc, "lxc") };
    let unwritable = |vmid: u32, pid: u32| {
        let node = &call.node;
        format!("unable to open file '/etc/pve/nodes/{node}/{folder}/{vmid}.conf.tmp.{pid}' - Permission denied")
    };
    let pid = cluster.next_pid;
    match rest {
        [] if kind == GuestKind::Qemu => {
            let vmid = call.number("vmid").and_then(|vmid| u32::try_from(vmid).ok()).unwrap_or(0);
            Some(Failure::die(format!("unable to create VM {vmid} - {}", unwritable(vmid, pid))))
        }
        [] | [_, "clone" | "migrate" | "remote_migrate"] | [_, "status", "start"] => Some(Failure::die(NOT_READY)),
        // Processes can be ended without writing anything.
        [_, "status" | "agent" | "monitor" | "vncproxy" | "termproxy" | "spiceproxy", ..] => None,
        [_, "config"] if method == "PUT" => Some(Failure::die(unwritable(call.vmid(), pid))),
        // The rest is done by a task, which fails as soon as it writes.
        _ => {
            cluster.forced = Some(Forced::task(unwritable(call.vmid(), pid)));
            None
        }
    }
}
