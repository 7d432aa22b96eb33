//! What the manifest says of a guest: mostly something else than what is.

use std::fmt::Write as _;

use pvefleet::pve::value::GuestKind;

use crate::case::{Entity, Owner, nodes};
use crate::dice::Dice;

/// A backup of a VM, which production has.
pub const VM_BACKUP: &str = "local:backup/vzdump-qemu-500-2025_06_01-02_00_00.vma.zst";
const OSTEMPLATE: &str = "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst";

/// A guest's entry, indented as below `vms:` of a cluster.
pub fn entry(dice: &mut Dice, entity: &Entity, others: &[Entity]) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut name = entity.name.clone();
    let mut with_vmid = dice.percent(35);
    if entity.owner == Owner::Ours && dice.percent(6) {
        name = format!("{name}-renamed");
        with_vmid = dice.percent(80);
    }
    if with_vmid {
        let vmid = match dice.below(100) {
            // Edited, or another guest's.
            0..5 => entity.vmid + 300,
            5..8 => others.iter().find(|other| other.entry.is_none()).map_or(entity.vmid, |other| other.vmid),
            _ => entity.vmid,
        };
        let is_claimed =
            |other: &Entity| other.entry.as_deref().is_some_and(|entry| entry.contains(&format!("vmid: {vmid}\n")));
        if !others.iter().any(is_claimed) {
            lines.push(format!("vmid: {vmid}"));
        }
    } else if name != entity.name && dice.percent(70) {
        lines.push(format!("renamed_from: {}", entity.name));
    }
    let here = nodes(entity.listed_in);
    match dice.below(100) {
        0..40 => lines.push(format!("node: [{}]", entity.node_in(here))),
        40..50 => lines.push(format!("node: [{}]", here.join(", "))),
        50..56 => lines.push(format!("node: [{}]", here[0])),
        56..58 => lines.push("node: [nowhere]".to_owned()),
        _ => {}
    }
    let absent = entity.owner == Owner::Absent;
    match entity.owner {
        Owner::Absent => {
            if dice.percent(2) {
                lines.push("adopt: true".to_owned());
            }
        }
        Owner::Ours => {
            if dice.percent(5) {
                lines.push("released: true".to_owned());
            }
        }
        _ => {
            if dice.percent(30) {
                lines.push("adopt: true".to_owned());
            }
        }
    }
    match entity.kind {
        GuestKind::Qemu => vm(dice, entity, absent, &mut lines),
        GuestKind::Lxc => container(dice, entity, &mut lines),
    }
    if !lines.iter().any(|line| line.starts_with("template:")) {
        let mut maybe = |chance: usize, line: &str| {
            if dice.percent(chance) {
                lines.push(line.to_owned());
            }
        };
        maybe(30, "state: running");
        if !lines_have(&lines, "state:") && dice.percent(15) {
            lines.push("state: stopped".to_owned());
        }
    }
    // A manifest that wants a template kept running is refused.
    let is_template = lines_have(&lines, "template:");
    if entity.listed_in == "production" && !is_template {
        match dice.below(100) {
            0..5 => {
                lines.retain(|line| !line.starts_with("state:"));
                lines.push(
                    dice.pick(&["ha: {state: started}", "ha: {state: stopped}", "ha: {max_restart: 3}"]).to_owned(),
                );
            }
            5..10 => lines.push("ha: null".to_owned()),
            _ => {}
        }
    }
    let mut maybe = |chance: usize, line: &str| {
        if dice.percent(chance) {
            lines.push(line.to_owned());
        }
    };
    maybe(if entity.kind == GuestKind::Lxc { 30 } else { 10 }, "recreate: true");
    maybe(30, "reboot: allow");
    maybe(40, "tags: [web, blue]");
    maybe(25, "description: What it is for.");
    maybe(30, "onboot: true");
    maybe(8, "protection: false");
    maybe(8, "pool: web");
    maybe(2, "pool: nowhere");
    maybe(6, "shutdown_timeout: 60");
    maybe(5, "ignore: [onboot, \"net*.tag\"]");
    match dice.below(10) {
        0 => lines.push("unlisted: remove".to_owned()),
        1..4 => lines.push("unlisted: ignore".to_owned()),
        _ => {}
    }
    let same = |other: &&Entity| other.entry.is_some() && other.listed_in == entity.listed_in && other.name != name;
    if let Some(other) = others.iter().rfind(same)
        && dice.percent(12)
        && other.entry.as_deref().is_some_and(|entry| entry.contains(&format!("name: {}\n", other.name)))
    {
        lines.push(format!("depends_on: [{}]", other.name));
    }
    let mut text = format!("      - name: {name}\n");
    let mut seen: Vec<String> = Vec::new();
    for line in lines {
        let key = line.split(':').next().unwrap_or_default().to_owned();
        // The first of two wishes counts.
        if !seen.contains(&key) {
            seen.push(key);
            let _ = writeln!(text, "        {line}");
        }
    }
    text
}

fn lines_have(lines: &[String], start: &str) -> bool {
    lines.iter().any(|line| line.starts_with(start))
}

impl Entity {
    /// Its node, or the first of a cluster that does not have that one.
    fn node_in(&self, nodes: &[&str]) -> String {
        nodes.iter().find(|node| **node == self.node).unwrap_or(&nodes[0]).to_string()
    }
}

fn vm(dice: &mut Dice, entity: &Entity, absent: bool, lines: &mut Vec<String>) {
    let clone = absent && dice.percent(55);
    let wide = entity.listed_in == "production";
    if clone {
        let from = dice.pick(&["debian-12", "debian-12", "debian-12", "debian-12", "no-such", "g0"]);
        let how = if wide && dice.percent(20) {
            ", full: true, storage: shared"
        } else {
            dice.pick(&["", ", full: true", ", full: false"])
        };
        let from = if from == entity.name { "debian-12" } else { from };
        lines.push(format!("clone: {{from: {from}{how}}}"));
        if dice.percent(50) {
            lines.push(format!("scsi0: {{size: {}GiB}}", dice.pick(&[8, 12, 4])));
        }
    } else if absent && wide && dice.percent(25) {
        lines.push(format!("archive: {VM_BACKUP}"));
    } else {
        let size = dice.pick(&[4, 8, 8, 12]);
        let storage = if wide && dice.percent(6) { "shared" } else { "local-lvm" };
        let more = dice.pick(&["", "", ", discard: on", ", ssd: true", ", discard: ignore, mbps_rd: 10"]);
        if absent || dice.percent(60) {
            lines.push(format!("scsi0: {{storage: {storage}, size: {size}GiB{more}}}"));
        }
        if dice.percent(40) {
            lines.push(
                dice.pick(&[
                    "scsi1: {storage: local-lvm, size: 2GiB}",
                    "scsi1: {storage: local-lvm, size: 3GiB}",
                    "scsi1: null",
                    "scsi1: null",
                ])
                .to_owned(),
            );
        }
    }
    let mut maybe = |chance: usize, values: &[&str]| {
        if dice.percent(chance) {
            lines.push(dice.pick(values).to_owned());
        }
    };
    if entity.config.contains_key("unused0") {
        maybe(50, &["scsi4: {volume: unused0}"]);
    }
    if entity.config.contains_key("scsi1") && !absent {
        maybe(8, &["scsi5: {moved_from: scsi1}"]);
    }
    maybe(14, &["scsi2: {storage: local-lvm, size: 1GiB}", "scsi2: {storage: local-lvm, size: 1GiB, new: true}"]);
    maybe(3, &["scsi3: {storage: nowhere, size: 1GiB}"]);
    maybe(60, &["memory: 512", "memory: 1024", "memory: 2048", "memory: null"]);
    maybe(50, &["cores: 1", "cores: 2", "cores: 4", "cores: null"]);
    if wide {
        maybe(25, &["net0: {model: virtio, bridge: vmbr1, tag: 7}", "net0: {model: virtio, bridge: vmbr1}"]);
        maybe(6, &["net1: {model: virtio, bridge: vmbr1, firewall: true}"]);
    }
    maybe(
        35,
        &[
            "net0: {model: virtio, bridge: vmbr0, tag: 20}",
            "net0: {model: virtio, bridge: vmbr0, firewall: true}",
            "net0: \"virtio,bridge=vmbr0\"",
        ],
    );
    maybe(2, &["net1: {model: virtio, bridge: vmbr77}"]);
    maybe(20, &["agent: {enabled: true}", "agent: {enabled: false}", "agent: null"]);
    maybe(15, &["cpu: host", "cpu: x86-64-v2-AES"]);
    maybe(12, &["balloon: 0", "balloon: 512"]);
    maybe(20, &["ciuser: admin", "ciuser: root"]);
    maybe(12, &["ipconfig0: {ip: 10.0.20.11/24, gw: 10.0.20.1}"]);
    maybe(14, &["cipassword: {env: P, version: 1}", "cipassword: {env: P, version: 2}", "cipassword: {env: P}"]);
    maybe(4, &["args: -no-hpet"]);
    maybe(4, &["allow-ksm: false"]);
    maybe(10, &["boot: order=scsi0;net0", "boot: null"]);
    maybe(10, &["startup: order=2", "startup: null"]);
    maybe(6, &["hotplug: \"disk,network,usb,memory,cpu\"", "numa: true"]);
    maybe(7, &["template: true"]);
    maybe(6, &["vmgenid: null", "smbios1: null"]);
    maybe(6, &["ostype: win11", "ostype: l26", "ostype: null"]);
    maybe(6, &["machine: q35", "machine: null", "machine: {type: pc}"]);
}

fn container(dice: &mut Dice, _: &Entity, lines: &mut Vec<String>) {
    lines.push(format!("ostemplate: {OSTEMPLATE}"));
    let size = dice.pick(&[4, 4, 6, 2]);
    lines.push(format!("rootfs: {{storage: local-lvm, size: {size}GiB}}"));
    let mut maybe = |chance: usize, values: &[&str]| {
        if dice.percent(chance) {
            lines.push(dice.pick(values).to_owned());
        }
    };
    let unprivileged = ["unprivileged: true", "unprivileged: false", "unprivileged: null"];
    maybe(80, &[unprivileged[0], unprivileged[0], unprivileged[0], unprivileged[0], unprivileged[1], unprivileged[2]]);
    maybe(50, &["memory: 512", "memory: 1024", "memory: 2048", "memory: null"]);
    maybe(30, &["swap: 512", "swap: 256", "swap: null"]);
    maybe(40, &["cores: 1", "cores: 3", "cores: null"]);
    maybe(30, &["features: {nesting: true}", "features: null"]);
    maybe(
        30,
        &[
            "net0: {name: eth0, bridge: vmbr0, ip: dhcp}",
            "net0: {name: eth0, bridge: vmbr0, ip: 10.0.0.53/24, gw: 10.0.0.1}",
        ],
    );
    maybe(20, &["nameserver: 192.0.2.1", "nameserver: 192.0.2.2", "nameserver: null"]);
    maybe(14, &["mp0: {storage: local-lvm, size: 3GiB, mp: /srv}", "mp0: null"]);
    maybe(10, &["mp1: {storage: local-lvm, size: 1GiB, mp: /var/cache}"]);
    maybe(5, &["template: true"]);
    maybe(10, &["tty: 1", "timezone: Europe/Vienna"]);
    maybe(6, &["password: {env: P, version: 1}"]);
    maybe(6, &["arch: null", "ostype: null", "hookscript: null", "tags: null"]);
}
