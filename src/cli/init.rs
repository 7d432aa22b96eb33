//! `init`: a manifest and settings to start from.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context;

use super::arguments::InitCommand;
use super::failure::Failure;
use super::output;
use super::terminal::Terminal;

/// The name that a fleet gets from its folder.
fn fleet_name(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = folder.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let letters: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name: String = letters.trim_matches('-').chars().take(32).collect();
    if name.is_empty() { "fleet".to_owned() } else { name }
}

/// Writes the two files.
///
/// # Errors
///
/// A file that exists, a cluster's name that cannot be one, a folder that cannot be written.
pub fn init(command: &InitCommand, terminal: &Terminal) -> Result<u8, Failure> {
    let mut seen = BTreeSet::new();
    for name in &command.cluster {
        let fits = name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if !fits {
            return Err(Failure::Usage(format!("`{name}` cannot be a cluster's name: letters, digits, `-` and `_`")));
        }
        if !seen.insert(name.to_ascii_lowercase().replace('-', "_")) {
            return Err(Failure::Usage(format!("the cluster `{name}` is named twice")));
        }
    }
    let (manifest, settings) = (command.dir.join("fleet.yaml"), command.dir.join(".env"));
    for path in [&manifest, &settings] {
        if path.symlink_metadata().is_ok() {
            return Err(Failure::Usage(format!("{} exists already, and is left as it is", path.display())));
        }
    }
    let shown = command.dir.display();
    fs::create_dir_all(&command.dir).with_context(|| format!("cannot make {shown}"))?;
    let texts = [
        (&manifest, manifest_text(&fleet_name(&command.dir), &command.cluster)),
        (&settings, settings_text(&command.cluster)),
    ];
    for (path, text) in texts {
        output::write_whole(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    terminal.note(&format!(
        "Written: {} and {}. Next:\n  1. in {}, fill in the address and the token of each cluster, and keep the file out of version \
         control\n  2. cd {shown} && pvefleet clusters check\n  3. pvefleet validate . && pvefleet plan .",
        manifest.display(),
        settings.display(),
        settings.display(),
    ));
    Ok(0)
}

fn manifest_text(fleet: &str, clusters: &[String]) -> String {
    let mut text = format!(
        "# A fleet of VMs and containers. `pvefleet explain vm` and `pvefleet explain container` list every option.
fleet: {fleet}            # written on every guest that this manifest owns

# Values for templates such as \"{{{{ domain }}}}\"; `--var domain=…` overrides them.
vars:
  domain: example.net

# Under every guest, the weakest first.
defaults:
  guest:                  # VMs and containers
    onboot: true
    tags: [{fleet}]
  vm:
    ostype: l26
    agent: {{enabled: true}}

# Partial guests, which a guest names.
profiles:
  web:
    cores: 2
    memory: 2GiB
    searchdomain: \"{{{{ domain }}}}\"

# What one run may destroy or interrupt.
guards: {{max_deletes: 1, max_delete_percent: 10, max_reboots: 5}}

clusters:
"
    );
    for (index, cluster) in clusters.iter().enumerate() {
        text.push_str(&format!("  {cluster}:\n"));
        if index > 0 {
            text.push_str("    vms: []\n");
            continue;
        }
        let guests = "    # Take a guest away from the comments to have it planned.
    vms: []
    #  - name: web-{{ '%02d' | format(n) }}
    #    each: {n: 1..3}                    # one guest for each value
    #    profiles: [web]
    #    clone: {from: debian-12}           # a template of this cluster
    #    scsi0: {size: 32GiB}               # the disk that the clone brings, grown
    #    ipconfig0: {ip: dhcp}
    #    state: running
    containers: []
    #  - name: dns-01
    #    ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst
    #    rootfs: {storage: local-lvm, size: 8GiB}
    #    net0: {name: eth0, bridge: vmbr0, ip: dhcp}
";
        text.push_str(guests);
    }
    text
}

fn settings_text(clusters: &[String]) -> String {
    let mut text = format!(
        "# Settings of the clusters. Never commit this file: it holds secrets.
# The first cluster takes the guests that no rule routes elsewhere.
PROXMOX_CLUSTERS={}
",
        clusters.join(",")
    );
    for cluster in clusters {
        text.push_str(&format!(
            "
# ── {cluster}
# Several addresses of one cluster are separated by commas.
PROXMOX_CLUSTER_{cluster}_API_URL=https://{}.example.net:8006
# Made by: pveum user token add fleet@pve pvefleet
PROXMOX_CLUSTER_{cluster}_TOKEN_ID=fleet@pve!pvefleet
PROXMOX_CLUSTER_{cluster}_TOKEN_SECRET=00000000-0000-0000-0000-000000000000
# `read` lets this tool look and plan; `apply` lets it change the cluster too.
PROXMOX_CLUSTER_{cluster}_ACCESS=read
# For new disks and NICs that name none.
#PROXMOX_CLUSTER_{cluster}_DEFAULT_STORAGE=local-lvm
#PROXMOX_CLUSTER_{cluster}_DEFAULT_BRIDGE=vmbr0
# A certificate of your own: its fingerprint, as `pvefleet clusters trust {cluster}` shows it.
#PROXMOX_CLUSTER_{cluster}_FINGERPRINT=
",
            cluster.to_ascii_lowercase().replace('_', "-")
        ));
    }
    text
}
