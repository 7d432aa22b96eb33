//! The files that cloud-init reads, as they follow from a VM's options.

use serde_json::json;
use sha1::{Digest, Sha1};

use crate::pve::http::percent_decode;
use crate::pve::schema::split_index;
use crate::pve::value::{GuestKind, parse_boolean};
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::config::{Section, is_true};
use crate::sim::guest::sub_key;
use crate::sim::route::Call;

pub(in crate::sim) fn dump(cluster: &mut Cluster, call: &Call) -> Outcome {
    let vmid = call.vmid();
    let config = cluster.guest(GuestKind::Qemu, vmid, &call.node)?.config.reread().current;
    let check = cluster.check_guest(&call.subject, vmid);
    let masked = !check.any(&format!("/vms/{vmid}"), &["VM.Config.Cloudinit"]);
    let (search, servers) = cluster.resolver(&call.node);
    let names =
        Names { search: words(&config, "searchdomain", search), servers: words(&config, "nameserver", servers) };
    let nocloud = match config.get("citype").map(String::as_str) {
        Some(kind) => kind == "nocloud",
        None => !config.get("ostype").is_some_and(|ostype| ostype.starts_with('w')),
    };
    let network = || if nocloud { network_config(&config, &names) } else { interfaces(&config, &names) };
    let text = match call.get("type") {
        Some("user") => user_data(&config, vmid, masked),
        Some("network") => network()?,
        _ => {
            let both = format!("{}{}", user_data(&config, vmid, false), network()?);
            let id: String = Sha1::digest(both.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
            if nocloud {
                format!("instance-id: {id}\n")
            } else {
                format!(
                    "{{\n     \"uuid\": \"{id}\",\n     \"network_config\": {{ \"content_path\": \"/content/0000\" }}\n}}\n"
                )
            }
        }
    };
    Ok(Answer::from(json!(text)))
}

/// Search domains and name servers.
struct Names {
    search: Vec<String>,
    servers: Vec<String>,
}

/// The words of an option, or what the node uses itself.
fn words(config: &Section, key: &str, or: Vec<String>) -> Vec<String> {
    config.get(key).map_or(or, |text| text.split_whitespace().map(str::to_owned).collect())
}

fn user_data(config: &Section, vmid: u32, masked: bool) -> String {
    let name = config.get("name").cloned().unwrap_or_else(|| format!("VM{vmid}"));
    let (host, full) = match (name.split_once('.'), config.get("searchdomain")) {
        (Some((host, _)), _) => (host.to_owned(), name.clone()),
        (None, Some(search)) => (name.clone(), format!("{name}.{search}")),
        (None, None) => (name.clone(), name.clone()),
    };
    let mut text = format!("#cloud-config\nhostname: {host}\nmanage_etc_hosts: true\nfqdn: {full}\n");
    let user = config.get("ciuser");
    if let Some(user) = user {
        text.push_str(&format!("user: {user}\n"));
        if user == "root" {
            text.push_str("disable_root: False\n");
        }
    }
    if let Some(password) = config.get("cipassword") {
        text.push_str(&format!("password: {}\n", if masked { "**********" } else { password }));
    }
    if let Some(keys) = config.get("sshkeys") {
        text.push_str("ssh_authorized_keys:\n");
        for key in percent_decode(keys).lines().filter(|line| !line.trim().is_empty()) {
            text.push_str(&format!("  - {key}\n"));
        }
    }
    text.push_str("chpasswd:\n  expire: False\n");
    if user.is_none_or(|user| user != "root") {
        text.push_str("users:\n  - default\n");
    }
    if config.get("ciupgrade").is_none_or(|value| parse_boolean(value).unwrap_or_else(|| is_true(value))) {
        text.push_str("package_upgrade: true\n");
    }
    text
}

/// Network devices with an address, by name: number, MAC address, `ipconfig`.
fn devices(config: &Section) -> Vec<(String, String, String)> {
    let nets = config.iter().filter_map(|(key, value)| {
        let (_, index) = split_index(key).filter(|(stem, _)| *stem == "net")?;
        let ip = config.get(&format!("ipconfig{index}"))?;
        let mac = value.split(',').find_map(|part| {
            part.split_once('=').map(|(_, value)| value).filter(|value| value.matches(':').count() == 5)
        });
        Some((index.to_string(), mac.unwrap_or_default().to_owned(), ip.clone()))
    });
    nets.collect()
}

/// Address and mask of a CIDR.
fn split(cidr: &str) -> Result<(String, String), Failure> {
    let (address, bits) = cidr.split_once('/').ok_or_else(|| Failure::die(format!("not a CIDR: {cidr}")))?;
    let bits: u32 = bits.parse().unwrap_or(0);
    let mask = u32::MAX.checked_shl(32 - bits.min(32)).unwrap_or(0);
    let octets: Vec<String> = mask.to_be_bytes().iter().map(u8::to_string).collect();
    Ok((address.to_owned(), octets.join(".")))
}

/// The form that `nocloud` takes.
fn network_config(config: &Section, names: &Names) -> Result<String, Failure> {
    let mut text = "version: 1\nconfig:\n".to_owned();
    for (index, mac, ip) in devices(config) {
        let mac = mac.to_lowercase();
        text.push_str(&format!(
            "    - type: physical\n      name: eth{index}\n      mac_address: '{mac}'\n      subnets:\n"
        ));
        match sub_key(&ip, "ip") {
            Some("dhcp") => text.push_str("      - type: dhcp4\n"),
            Some(cidr) => {
                let (address, mask) = split(cidr)?;
                text.push_str(&format!(
                    "      - type: static\n        address: '{address}'\n        netmask: '{mask}'\n"
                ));
                if let Some(gateway) = sub_key(&ip, "gw") {
                    text.push_str(&format!("        gateway: '{gateway}'\n"));
                }
            }
            None => {}
        }
        match sub_key(&ip, "ip6") {
            Some("dhcp") => text.push_str("      - type: dhcp6\n"),
            Some("auto") => text.push_str("      - type: ipv6_slaac\n"),
            Some(cidr) => {
                text.push_str(&format!("      - type: static6\n        address: '{cidr}'\n"));
                if let Some(gateway) = sub_key(&ip, "gw6") {
                    text.push_str(&format!("        gateway: '{gateway}'\n"));
                }
            }
            None => {}
        }
    }
    text.push_str("    - type: nameserver\n");
    for (word, list) in [("address", &names.servers), ("search", &names.search)] {
        if !list.is_empty() {
            text.push_str(&format!("      {word}:\n"));
            text.push_str(&list.iter().map(|name| format!("      - '{name}'\n")).collect::<String>());
        }
    }
    Ok(text)
}

/// The form that a configuration drive takes.
fn interfaces(config: &Section, names: &Names) -> Result<String, Failure> {
    let mut text = "auto lo\niface lo inet loopback\n\n".to_owned();
    if !names.servers.is_empty() {
        text.push_str(&format!("        dns_nameservers {}\n", names.servers.join(" ")));
    }
    if !names.search.is_empty() {
        text.push_str(&format!("        dns_search {}\n", names.search.join(" ")));
    }
    for (index, _, ip) in devices(config) {
        text.push_str(&format!("auto eth{index}\n"));
        match sub_key(&ip, "ip") {
            Some("dhcp") => text.push_str(&format!("iface eth{index} inet dhcp\n")),
            Some(cidr) => {
                let (address, mask) = split(cidr)?;
                text.push_str(&format!(
                    "iface eth{index} inet static\n        address {address}\n        netmask {mask}\n"
                ));
                if let Some(gateway) = sub_key(&ip, "gw") {
                    text.push_str(&format!("        gateway {gateway}\n"));
                }
            }
            None => {}
        }
        match sub_key(&ip, "ip6") {
            Some(way @ ("auto" | "dhcp")) => text.push_str(&format!("iface eth{index} inet6 {way}\n")),
            Some(cidr) => {
                let (address, bits) = cidr.split_once('/').unwrap_or((cidr, ""));
                text.push_str(&format!(
                    "iface eth{index} inet6 static\n        address {address}\n        netmask {bits}\n"
                ));
                if let Some(gateway) = sub_key(&ip, "gw6") {
                    text.push_str(&format!("        gateway {gateway}\n"));
                }
            }
            None => {}
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(pairs: &[(&str, &str)]) -> Section {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn files_follow_from_the_options() {
        let config = section(&[
            ("name", "web1.example.net"),
            ("ciuser", "root"),
            ("sshkeys", "ssh-ed25519%20AAAA%20me%0A"),
            ("ciupgrade", "0"),
            ("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0"),
            ("ipconfig0", "ip=192.0.2.7/24,gw=192.0.2.1,ip6=auto"),
        ]);
        assert_eq!(
            user_data(&config, 100, true),
            "#cloud-config\nhostname: web1\nmanage_etc_hosts: true\nfqdn: web1.example.net\nuser: root\n\
             disable_root: False\nssh_authorized_keys:\n  - ssh-ed25519 AAAA me\nchpasswd:\n  expire: False\n"
        );
        let names = Names { search: vec![], servers: vec!["192.0.2.53".to_owned()] };
        let network = network_config(&config, &names).unwrap();
        assert!(network.contains("mac_address: 'bc:24:11:00:00:01'") && network.contains("netmask: '255.255.255.0'"));
        assert!(network.contains("- type: ipv6_slaac") && network.ends_with("address:\n      - '192.0.2.53'\n"));
        assert!(interfaces(&config, &names).unwrap().contains("iface eth0 inet static\n        address 192.0.2.7\n"));
    }
}
