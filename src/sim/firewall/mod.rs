//! The firewall's configuration: files of options, rules, aliases and sets, of the cluster, its nodes and guests.
//!
//! Every call reads a file, changes it and writes it, as Proxmox's own calls do: what its writer writes and its
//! reader does not understand is lost in between. What the rules do to packets is not simulated.

mod address;
mod api;
mod file;
mod names;
mod rule;

pub(super) use api::{
    alias_create, alias_delete, alias_read, alias_update, aliases, group_create, group_delete, groups, ip_create,
    ip_delete, ip_read, ip_update, ips, options, refs, rule_create, rule_delete, rule_read, rule_update, rules,
    set_create, set_delete, set_options, sets,
};

use super::cluster::Cluster;

/// Checks the formats that only the firewall's calls have; nothing for another format.
pub(super) fn check_format(format: &str, value: &str) -> Option<Result<(), String>> {
    if value.is_empty() {
        return None;
    }
    Some(match format {
        "pve-fw-addr-spec" => address::check_list(value).map(drop),
        "pve-fw-sport-spec" => rule::check_ports(value, false),
        "pve-fw-dport-spec" => rule::check_ports(value, true),
        "pve-fw-protocol-spec" => rule::check_protocol(value),
        "pve-fw-icmp-type-spec" => rule::check_icmp(value),
        "IPorCIDR" => address::check_cidr(value),
        "IPorCIDRorAlias" if address::alias(value).is_some() => Ok(()),
        "IPorCIDRorAlias" => address::check_cidr(value),
        _ => return None,
    })
}

impl Cluster {
    /// A guest that goes takes its file along.
    pub(super) fn forget_firewall(&mut self, vmid: u32) {
        self.files.remove(&api::guest_file(vmid));
    }

    /// A clone gets a copy of the file.
    pub(super) fn clone_firewall(&mut self, vmid: u32, newid: u32) {
        self.files.remove(&api::guest_file(newid));
        if let Some(text) = self.files.get(&api::guest_file(vmid)).cloned() {
            self.files.insert(api::guest_file(newid), text);
        }
    }
}
