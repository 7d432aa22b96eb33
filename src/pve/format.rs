//! Proxmox's named formats: `dns-name`, `pve-storage-id`, `CIDR` and the others that its schema refers to.
//!
//! Most are a pattern and a text, and stand in one table. What one pattern cannot say has a function of its own.
//! All texts are Proxmox's, with the ends of their lines.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use regex::{Regex, RegexBuilder};

use super::schema::catalog;
use super::value::{self, GuestKind, Size, is_space};

/// Formats that one pattern decides: name, pattern for the whole text, Proxmox's text with the value at `{}`.
const PATTERNS: &[(&str, &str, &str)] = &[
    ("mac-addr", "(?i)[a-f0-9][02468ace](?::[a-f0-9]{2}){5}", "value does not look like a valid unicast MAC address"),
    ("pve-vmid", "[1-9][0-9]{2,8}", "value does not look like a valid VM ID"),
    ("pve-node", "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?", "value does not look like a valid node name"),
    ("pve-configid", "(?i)[a-z][a-z0-9_-]+", "invalid configuration ID '{}'"),
    ("pve-bridge-id", r"[-_.\w\d]+", "invalid bridge ID '{}'"),
    ("pve-iface", r"(?i)[a-z][a-z0-9_]{1,20}(?:[:.]\d+)?", "invalid network interface name '{}'"),
    ("urlencoded", "[-%a-zA-Z0-9_.!~*'()]*", "invalid urlencoded string: {}"),
    (
        "email",
        r"[\w+~-]+(?:\.[\w+~-]+)*@[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*",
        "value does not look like a valid email address",
    ),
    (
        "email-or-username",
        r"[\w+~-]+(?:\.[\w+~-]+)*(?:@[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*)?",
        "value does not look like a valid email address or user name",
    ),
    ("ldap-simple-attr", "[a-zA-Z0-9]+", "value '{}' does not look like a simple ldap attribute name"),
    (
        "pve-storage-path-in-property-string",
        r"(?s)/[^;,=()].*",
        "Value does not look like a valid absolute path. These symbols are currently not allowed in path: ;,=()",
    ),
    ("pve-task-status-type", "(?i)ok|error|warning|unknown", "invalid status '{}'"),
    ("pve-storage-vgname", "(?i)[a-z0-9][a-z0-9_.-]*[a-z0-9]", "lvm name '{}' contains illegal characters"),
    ("pve-phys-bits", "host|0?[89]|[1-5][0-9]|6[0-4]", "value must be an integer between 8 and 64 or 'host'"),
    ("pve-realm", "[A-Za-z][A-Za-z0-9._-]+", "value does not look like a valid realm"),
    (
        "pve-tokenid",
        r"[^\s:/]+@[A-Za-z][A-Za-z0-9._-]+![A-Za-z][A-Za-z0-9._-]+",
        "value '{}' does not look like a valid token ID",
    ),
    ("pve-groupid", "[A-Za-z0-9._-]+", "group name '{}' contains invalid characters"),
    ("pve-roleid", "[A-Za-z0-9._-]+", "role name '{}' contains invalid characters"),
    (
        "mac-prefix",
        "(?i)[a-f0-9][02468ace](?::[a-f0-9]{2}){0,2}(?::[a-f0-9]?)?",
        "value is not a valid unicast MAC address prefix",
    ),
    ("pve-ha-resource-id", r"[a-z]+:\S+", "value does not look like a valid ha resource id"),
    ("pve-ha-resource-or-vm-id", r"[a-z]+:\S+|\d+", "value does not look like a valid ha resource id"),
    ("pve-ha-node", r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?::\d+)?", "value does not look like a valid ha node"),
    ("pve-storage-content", "images|rootdir|vztmpl|iso|backup|snippets|import|none", "invalid content type '{}'"),
    ("pve-storage-format", "raw|qcow2|vmdk|subvol", "invalid format '{}'"),
    ("pve-storage-path", r"(?s)/[^;()].*", "value does not look like a valid absolute path"),
    ("pve-storage-options", r"\S+", "invalid options '{}'"),
    ("pve-day-of-week", "mon|tue|wed|thu|fri|sat|sun", "invalid day '{}'"),
    (
        "graphite-path",
        r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?\.)*[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?",
        "value does not look like a valid graphite path",
    ),
];

/// A format's name, its check, and Proxmox's text.
type Check = (&'static str, fn(&str) -> bool, &'static str);

/// Formats that a function decides.
const CHECKS: &[Check] = &[
    ("dns-name", value::is_dns_name, "value does not look like a valid DNS name"),
    ("pve-tag", value::is_tag, "invalid characters in tag"),
    ("ipv4", is_ipv4, "value does not look like a valid IPv4 address"),
    ("ipv6", is_ipv6, "value does not look like a valid IPv6 address"),
    ("ip", is_ip, "value does not look like a valid IP address"),
    ("lxc-ip-with-ll-iface", is_ip_with_interface, "value does not look like a valid IP address"),
    ("ipv4mask", is_ipv4_mask, "value does not look like a valid IP netmask"),
    ("CIDRv4", is_cidr4, "value does not look like a valid IPv4 CIDR network"),
    ("CIDRv6", is_cidr6, "value does not look like a valid IPv6 CIDR network"),
    ("CIDR", is_cidr, "value does not look like a valid CIDR network"),
    ("pve-ipv4-config", is_ipv4_config, "value does not look like a valid ipv4 network configuration"),
    ("pve-ipv6-config", is_ipv6_config, "value does not look like a valid ipv6 network configuration"),
    ("IPorCIDR", is_ip_or_network, "value does not look like a valid IP address or CIDR network"),
    ("IPorCIDRorAlias", is_ip_or_alias, "value does not look like a valid IP address or CIDR network"),
    ("pve-storage-server", is_address, "value does not look like a valid server name or IP address"),
    ("address", is_address, "value does not look like a valid address: {}"),
    ("disk-size", is_size, "value does not look like a valid disk size: {}"),
    ("pve-startup-order", is_startup_order, "unable to parse startup options"),
    ("pve-cpuset", is_cpuset, "unable to parse cpuset option"),
    ("pve-volume-id", is_volume, "unable to parse volume ID '{}'"),
    ("pve-volume-id-or-absolute-path", is_volume_or_path, "unable to parse volume ID '{}'"),
    ("pve-volume-id-or-qm-path", is_drive_file, "unable to parse volume ID '{}'"),
    ("pve-lxc-mp-string", is_mount_path, "{} contains illegal character sequences"),
    ("pve-lxc-dev-string", is_device_path, "{} is not a valid device path"),
    ("pve-qm-bootdev", is_boot_device, "invalid boot device '{}'"),
    ("pve-qm-bootdisk", is_boot_disk, "invalid boot disk '{}'"),
    ("timezone", is_time_zone, "invalid time zone '{}'"),
    ("pve-ct-timezone", is_container_time_zone, "invalid time zone '{}'"),
];

/// Checks one of Proxmox's named formats; the error is Proxmox's text, with the end of its line.
///
/// A `-list` format checks each item. Formats that are not known here pass.
///
/// # Errors
///
/// The text is not in the format.
pub fn check_format(format: &str, text: &str) -> Result<(), String> {
    if let Some(item) = format.strip_suffix("-list") {
        return value::split_list(text).try_for_each(|part| check_format(item, part));
    }
    if let Some(item) = format.strip_suffix("-opt") {
        return if matches!(text, "" | "0") { Ok(()) } else { check_format(item, text) };
    }
    for (name, pattern, words) in PATTERNS {
        if *name == format && !matches_whole(pattern, text) {
            return Err(refusal(words, text));
        }
    }
    for (name, holds, words) in CHECKS {
        if *name == format && !holds(text) {
            return Err(refusal(words, text));
        }
    }
    match format {
        "pve-storage-id" => check_id("storage", text),
        "acme-plugin-id" => check_id("ACME plugin", text),
        "pve-poolid" => check_pool(text),
        "pve-userid" => check_user(text),
        "pve-replication-job-id" => check_job(text),
        "pve-hotplug-features" => check_hotplug(text),
        "pve-vlan-id-or-range" => check_vlans(text),
        "storage-pair" => check_pair("pve-storage-id", text),
        "bridge-pair" => check_pair("pve-bridge-id", text),
        _ => Ok(()),
    }
}

fn refusal(words: &str, text: &str) -> String {
    format!("{}\n", words.replace("{}", text))
}

/// True when the whole text matches; the patterns of the tables are compiled once. One that does not compile passes.
pub(super) fn matches_whole(pattern: &str, text: &str) -> bool {
    static COMPILED: LazyLock<Mutex<BTreeMap<String, Option<Regex>>>> = LazyLock::new(Default::default);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if !compiled.contains_key(pattern) {
        compiled.insert(pattern.to_owned(), whole(pattern).ok());
    }
    compiled.get(pattern).and_then(Option::as_ref).is_none_or(|regex| regex.is_match(text))
}

/// The expression for a whole text. A word's letter up to 256 times takes more than the crate allows by itself.
pub(super) fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(1 << 26).build()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Digits as a number; so many that they are none count as the largest.
fn number(digits: &str) -> u64 {
    digits.parse().unwrap_or(u64::MAX)
}

fn is_ipv4(text: &str) -> bool {
    let octets: Vec<&str> = text.split('.').collect();
    let is_octet =
        |octet: &&str| is_number(octet) && (octet.len() == 1 || !octet.starts_with('0')) && number(octet) < 256;
    octets.len() == 4 && octets.iter().all(is_octet)
}

fn is_ipv6(text: &str) -> bool {
    // The standard library's parser lives under `std::net`, which the pure modules may not name.
    let Some((head, tail)) = text.split_once("::") else {
        return ipv6_groups(text, true) == Some(8);
    };
    let count = |part: &str, last| if part.is_empty() { Some(0) } else { ipv6_groups(part, last) };
    matches!((count(head, false), count(tail, true)), (Some(a), Some(b)) if a + b < 8)
}

/// How many groups of 16 bits these are; the last two may be an IPv4 address where nothing follows.
fn ipv6_groups(text: &str, is_end: bool) -> Option<usize> {
    let mut groups = 0;
    let parts: Vec<&str> = text.split(':').collect();
    for (position, part) in parts.iter().enumerate() {
        if is_end && position + 1 == parts.len() && is_ipv4(part) {
            groups += 2;
        } else if (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit()) {
            groups += 1;
        } else {
            return None;
        }
    }
    Some(groups)
}

fn is_ip(text: &str) -> bool {
    is_ipv4(text) || is_ipv6(text)
}

fn is_ip_with_interface(text: &str) -> bool {
    let local = text.split_once('%').filter(|_| text.starts_with("fe80:"));
    is_ip(text)
        || local.is_some_and(|(address, interface)| is_ip(address) && check_format("pve-iface", interface).is_ok())
}

fn is_ipv4_mask(text: &str) -> bool {
    let bits = text.split('.').fold(0u32, |bits, octet| bits << 8 | u32::from(octet.parse::<u8>().unwrap_or(0)));
    is_ipv4(text) && bits.leading_ones() + bits.trailing_zeros() >= 32
}

/// An address and a length of 8 or more.
fn is_network(text: &str, bits: u64, is_address: fn(&str) -> bool) -> bool {
    text.split_once('/').is_some_and(|(address, prefix)| {
        is_address(address) && is_number(prefix) && number(prefix) > 7 && number(prefix) <= bits
    })
}

fn is_cidr4(text: &str) -> bool {
    is_network(text, 32, is_ipv4)
}

fn is_cidr6(text: &str) -> bool {
    is_network(text, 128, is_ipv6)
}

fn is_cidr(text: &str) -> bool {
    is_cidr4(text) || is_cidr6(text)
}

fn is_ipv4_config(text: &str) -> bool {
    matches!(text, "dhcp" | "manual") || is_cidr4(text)
}

fn is_ipv6_config(text: &str) -> bool {
    matches!(text, "auto" | "dhcp" | "manual") || is_cidr6(text)
}

/// An address alone or with a length of any size.
fn is_ip_or_network(text: &str) -> bool {
    let (address, length) = text.split_once('/').map_or((text, "0"), |(address, length)| (address, length));
    let bits = if is_ipv4(address) { 32 } else { 128 };
    is_ip(address) && is_number(length) && number(length) <= bits
}

/// The same, or the name of an alias of the firewall.
fn is_ip_or_alias(text: &str) -> bool {
    let name = text.strip_prefix("dc/").or_else(|| text.strip_prefix("guest/")).unwrap_or(text);
    matches_whole("[A-Za-z][A-Za-z0-9_-]+", name) || is_ip_or_network(text)
}

fn is_address(text: &str) -> bool {
    // A lone `0` counts as nothing found.
    is_ip(text) || (text != "0" && value::is_dns_name(text))
}

fn is_size(text: &str) -> bool {
    Size::parse_proxmox(text).is_some()
}

/// `order=2,up=30,down=60`, the order with or without its name. A lone `0` counts as nothing given.
fn is_startup_order(text: &str) -> bool {
    let is_part = |part: &str| {
        let digits = ["order=", "up=", "down="].iter().find_map(|key| part.strip_prefix(key)).unwrap_or(part);
        is_number(digits)
    };
    !matches!(text, "" | "0") && text.split(',').all(|part| part.chars().all(is_space) || is_part(part))
}

/// `0-3,7`: ranges that do not run backwards, with white space around them.
fn is_cpuset(text: &str) -> bool {
    text.trim_end_matches(',').split(',').all(|part| {
        let part = part.trim_matches(is_space);
        match part.split_once('-') {
            Some((first, last)) => is_number(first) && is_number(last) && number(first) <= number(last),
            None => is_number(part),
        }
    }) || text.trim_end_matches(',').is_empty()
}

fn is_volume(text: &str) -> bool {
    value::storage_of(text).is_some()
}

fn is_volume_or_path(text: &str) -> bool {
    text.starts_with('/') || is_volume(text)
}

fn is_drive_file(text: &str) -> bool {
    matches!(text, "none" | "cdrom") || is_volume_or_path(text)
}

/// No step that stays or goes up: neither `/./` and `/../`, nor at the end, nor `../` at the start.
fn is_mount_path(text: &str) -> bool {
    !text.starts_with("../") && !text.split('/').skip(1).any(|step| matches!(step, "." | ".."))
}

fn is_device_path(text: &str) -> bool {
    text.starts_with("/dev/") && !text.split('/').skip(1).any(|step| matches!(step, "." | ".."))
}

fn is_boot_disk(text: &str) -> bool {
    ["ide", "sata", "scsi", "virtio", "efidisk", "tpmstate"].iter().any(|stem| is_device(stem, text))
}

fn is_boot_device(text: &str) -> bool {
    ["ide", "sata", "scsi", "virtio", "net", "usb", "hostpci"].iter().any(|stem| is_device(stem, text))
}

fn is_device(stem: &str, name: &str) -> bool {
    name.strip_prefix(stem).is_some_and(is_number) && catalog(GuestKind::Qemu).find(name).is_some()
}

/// A zone of the table that every node has; which zones an area has is not known here.
fn is_time_zone(text: &str) -> bool {
    let areas =
        ["Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"];
    let is_place = |place: &str| {
        place.starts_with(|c: char| c.is_ascii_uppercase())
            && place.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-/".contains(&b))
    };
    text == "UTC" || text.split_once('/').is_some_and(|(area, place)| areas.contains(&area) && is_place(place))
}

fn is_container_time_zone(text: &str) -> bool {
    text == "host" || is_time_zone(text)
}

fn check_id(what: &str, text: &str) -> Result<(), String> {
    if text.chars().count() < 2 {
        return Err(format!("{what} ID '{text}' cannot be shorter than 2 characters\n"));
    }
    if !matches_whole("(?i)[a-z][a-z0-9_.-]*[a-z0-9]", text) {
        return Err(format!("{what} ID '{text}' contains illegal characters\n"));
    }
    Ok(())
}

fn check_pool(text: &str) -> Result<(), String> {
    if text.trim_end_matches('/').split('/').count() > 3 {
        return Err(format!("pool name '{text}' nested too deeply (max levels = 3)\n"));
    }
    if !matches_whole("[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+){0,2}", text) {
        return Err(format!("pool name '{text}' contains invalid characters\n"));
    }
    Ok(())
}

fn check_user(text: &str) -> Result<(), String> {
    let text = if text == "0" { "" } else { text };
    match text.chars().count() {
        0..3 => Err(format!("user name '{text}' is too short\n")),
        length @ 65.. => Err(format!("user name '{text}' is too long ({length} > 64)\n")),
        _ if !matches_whole(r"[^\s:/]+@[A-Za-z][A-Za-z0-9._-]+", text) => {
            Err(format!("value '{text}' does not look like a valid user name\n"))
        }
        _ => Ok(()),
    }
}

fn check_job(text: &str) -> Result<(), String> {
    match text.split_once('-').filter(|(guest, job)| is_number(guest) && is_number(job)) {
        None => Err(format!("invalid replication job id '{text}'\n")),
        Some((guest, _)) if number(guest) < 100 => {
            Err(format!("invalid replication job id '{text}' (guest IDs < 100 are reserved)\n"))
        }
        Some(_) => Ok(()),
    }
}

fn check_hotplug(text: &str) -> Result<(), String> {
    if matches!(text, "0" | "1") {
        return Ok(());
    }
    let known = ["network", "disk", "cpu", "memory", "usb", "cloudinit"];
    match value::split_list(text).find(|feature| !known.contains(feature)) {
        Some(feature) => Err(format!("invalid hotplug feature '{feature}'\n")),
        None => Ok(()),
    }
}

fn check_vlans(text: &str) -> Result<(), String> {
    let (first, last) = text.split_once('-').map_or((text, None), |(first, last)| (first, Some(last)));
    if !is_number(first) || !last.is_none_or(is_number) {
        return Err(format!("invalid VLAN configuration '{text}'\n"));
    }
    // An end of `0` counts as none.
    let last = last.filter(|last| *last != "0");
    for tag in [Some(first), last].into_iter().flatten() {
        if !(2..=4094).contains(&number(tag)) {
            return Err(format!("invalid VLAN tag '{tag}'\n"));
        }
    }
    if last.is_some_and(|last| number(first) >= number(last)) {
        return Err(format!("VLAN range must go from lower to higher tag '{text}'\n"));
    }
    Ok(())
}

/// A map from one storage or bridge to another: `a:b`, one for all that are not named, or `1` for each to itself.
fn check_pair(ids: &str, text: &str) -> Result<(), String> {
    let check = |id: &str| check_format(ids, id);
    let (mut sources, mut default, mut identity) = (Vec::new(), false, false);
    for entry in value::split_list(text).filter(|_| text != "0") {
        let invalid = |error: String| format!("entry '{entry}' contains invalid ID - {error}\n\n");
        let pair = entry.split_once(':').filter(|(from, to)| !from.is_empty() && !to.is_empty() && !to.contains(':'));
        if entry == "1" {
            identity = true;
        } else if let Some((from, to)) = pair {
            check(from).and_then(|()| check(to)).map_err(invalid)?;
            if sources.contains(&from) {
                return Err(format!("duplicate mapping for source '{from}'\n\n"));
            }
            sources.push(from);
        } else {
            check(entry).map_err(invalid)?;
            if default {
                return Err("default target ID can only be provided once\n\n".to_owned());
            }
            default = true;
        }
    }
    if identity && (default || !sources.is_empty()) {
        return Err("identity mapping cannot be combined with other mappings\n\n".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(format: &str, text: &str) -> bool {
        check_format(format, text).is_ok()
    }

    #[test]
    fn every_pattern_compiles_and_stands_once() {
        for (name, pattern, _) in PATTERNS {
            assert!(Regex::new(&format!("^(?:{pattern})$")).is_ok(), "{name}");
            assert_eq!(PATTERNS.iter().filter(|(other, ..)| other == name).count(), 1, "{name}");
        }
    }

    #[test]
    fn addresses() {
        assert!(is_ipv4("10.0.0.1") && !is_ipv4("10.0.0.256") && !is_ipv4("10.0.0") && !is_ipv4("+1.0.0.1"));
        assert!(is_ipv6("fe80::1") && is_ipv6("::") && is_ipv6("1:2:3:4:5:6:7:8") && is_ipv6("::ffff:10.0.0.1"));
        assert!(is_ipv6("1:2:3:4:5:6:7::") && !is_ipv6("1:2:3:4:5:6:7:8::") && !is_ipv6("10.0.0.1::1"));
        assert!(!is_ipv6("1:2:3") && !is_ipv6("1::2::3") && !is_ipv6("g::") && !is_ipv6(":::"));
        assert!(!fits("pve-ipv4-config", "10.0.0.5") && !fits("pve-ipv4-config", "10.0.0.5/7"));
        assert!(fits("CIDR", "10.0.0.0/08") && !fits("CIDR", "10.0.0.0/+8"));
        assert!(fits("lxc-ip-with-ll-iface", "fe80::1%eth0") && !fits("lxc-ip-with-ll-iface", "2001::1%eth0"));
        assert!(fits("ipv4mask", "255.255.252.0") && fits("ipv4mask", "0.0.0.0") && !fits("ipv4mask", "255.0.255.0"));
    }

    #[test]
    fn names() {
        assert!(
            fits("pve-storage-id", "local-lvm") && !fits("pve-storage-id", "local_") && !fits("pve-storage-id", "a")
        );
        assert!(fits("pve-poolid", "a/b/c") && !fits("pve-poolid", "a//b") && !fits("pve-poolid", ""));
        assert!(fits("pve-qm-bootdev-list", "scsi0;net0") && !fits("pve-qm-bootdev", "efidisk0"));
        assert!(
            !fits("pve-qm-bootdev", "net01")
                && !fits("pve-qm-bootdev", "unused0")
                && fits("pve-qm-bootdisk", "efidisk0")
        );
        assert!(
            fits("pve-ct-timezone", "host") && fits("pve-ct-timezone", "Europe/Vienna") && !fits("timezone", "Vienna")
        );
    }

    #[test]
    fn texts_are_those_of_proxmox() {
        let text = |format, value| check_format(format, value).unwrap_err();
        assert_eq!(text("pve-userid", "ab"), "user name 'ab' is too short\n");
        assert_eq!(text("pve-userid", "a:b@pam"), "value 'a:b@pam' does not look like a valid user name\n");
        let reserved = "invalid replication job id '99-0' (guest IDs < 100 are reserved)\n";
        assert_eq!(text("pve-replication-job-id", "99-0"), reserved);
        assert_eq!(text("pve-hotplug-features", "disk,foo"), "invalid hotplug feature 'foo'\n");
        assert_eq!(text("storage-pair", "ab:cd,ab:ef"), "duplicate mapping for source 'ab'\n\n");
        assert_eq!(text("pve-vlan-id-or-range", "1"), "invalid VLAN tag '1'\n");
        assert_eq!(text("pve-lxc-dev-string", "/dev/../x"), "/dev/../x is not a valid device path\n");
    }

    #[test]
    fn numbers_and_orders() {
        assert!(
            fits("pve-cpuset", "0-3,7")
                && fits("pve-cpuset", "")
                && !fits("pve-cpuset", "3-1")
                && !fits("pve-cpuset", ",1")
        );
        assert!(
            fits("pve-startup-order", "up=3, ,7")
                && !fits("pve-startup-order", "0")
                && !fits("pve-startup-order", "up=x")
        );
        assert!(fits("pve-phys-bits", "host") && fits("pve-phys-bits", "8") && !fits("pve-phys-bits", "65"));
        assert!(fits("pve-lxc-mp-string", "./a") && !fits("pve-lxc-mp-string", "/a/."));
    }
}
