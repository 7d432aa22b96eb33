//! Addresses in rules: single ones, networks, ranges, lists, and the names of aliases and sets.

use core::net::{Ipv4Addr, Ipv6Addr};

/// True for a name as aliases, sets and groups bear it.
pub(super) fn is_name(text: &str) -> bool {
    text.len() >= 2
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

/// The scope and the name of an alias; nothing for what is none.
pub(super) fn alias(text: &str) -> Option<(&str, &str)> {
    let (scope, name) = ["dc/", "guest/"]
        .into_iter()
        .find_map(|scope| text.strip_prefix(scope).map(|name| (&text[..scope.len()], name)))
        .unwrap_or(("", text));
    is_name(name).then_some((scope, name))
}

/// Why a text is no address of IPv4, in the words of the library that Proxmox uses. It takes short ones, too.
fn check_4(text: &str) -> Result<(), String> {
    if !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') || text.is_empty() {
        return Err(format!("Invalid chars in IP {text}"));
    }
    if text.starts_with('.') {
        return Err(format!("Invalid IP {text} - starts with a dot"));
    }
    if text.ends_with('.') {
        return Err(format!("Invalid IP {text} - ends with a dot"));
    }
    let quads: Vec<&str> = text.split('.').collect();
    if quads.len() > 4 {
        return Err(format!("Invalid IP address {text}"));
    }
    if quads.contains(&"") {
        return Err(format!("Empty quad in IP address {text}"));
    }
    match quads.into_iter().find(|quad| quad.parse::<u64>().map_or(true, |quad| quad > 255)) {
        Some(quad) => Err(format!("Invalid quad in IP address {text} - {quad}")),
        None => Ok(()),
    }
}

/// The bits of an address, with how many there are.
fn bits(text: &str) -> Result<(u128, u32), String> {
    if text.contains(':') {
        let address = text.parse::<Ipv6Addr>().map_err(|_| format!("Invalid IP address {text}"))?;
        return Ok((address.to_bits(), 128));
    }
    check_4(text)?;
    let quads = text.split('.').chain(["0"; 3]).take(4);
    Ok((quads.fold(0, |bits, quad| bits << 8 | quad.parse::<u128>().unwrap_or(0)), 32))
}

/// One element of a list: its IP version, and whether it is a range.
fn element(text: &str) -> Result<(u8, bool), String> {
    let version = |length| if length == 32 { 4 } else { 6 };
    if let Some((from, to)) = text.split_once('-') {
        let (from, to) = (bits(from.trim())?, bits(to.trim())?);
        if from.1 != to.1 || from.0 > to.0 {
            return Err(format!("Begin address is greater than End address {text}"));
        }
        return Ok((version(from.1), true));
    }
    let Some((address, prefix)) = text.split_once('/') else { return Ok((version(bits(text)?.1), false)) };
    let (value, length) = bits(address)?;
    let prefix: u32 = prefix.parse().map_err(|_| format!("Invalid prefix length /{prefix}"))?;
    if prefix > length {
        return Err(format!("Prefix length {prefix} is longer than IP address ({length})"));
    }
    let rest = length - prefix;
    if rest > 0 && value.trailing_zeros() < rest && value != 0 {
        let width = length as usize;
        return Err(format!("Invalid prefix {value:0width$b}/{prefix}"));
    }
    Ok((version(length), false))
}

/// Checks what a rule names as source or destination; the IP version, where it shows one.
pub(super) fn check_list(text: &str) -> Result<Option<u8>, String> {
    if let Some(name) = text.strip_prefix('+').filter(|name| !name.is_empty() && !name.contains(char::is_whitespace)) {
        return if name.len() > 64 { Err("ipset name too long".to_owned()) } else { Ok(None) };
    }
    if alias(text).is_some() {
        return if text.len() > 64 { Err("alias name too long".to_owned()) } else { Ok(None) };
    }
    if text.ends_with(',') {
        return Err("extraneous commas in list".to_owned());
    }
    let (mut found, mut count, mut has_range) = (None, 0, false);
    for part in text.split(',') {
        let (version, is_range) = element(part).map_err(|error| format!("invalid IP address: {error}"))?;
        count += 1;
        has_range |= is_range;
        if found.is_some_and(|found| found != version) {
            return Err(format!("detected mixed ipv4/ipv6 addresses in address list '{text}'"));
        }
        found = Some(version);
    }
    if has_range && count > 1 { Err("you can't use a range in a list".to_owned()) } else { Ok(found) }
}

/// An address or a network as it is kept, with its IP version.
pub(super) fn parse_cidr(text: &str) -> Result<(String, u8), String> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let is_number = prefix.is_none_or(|prefix| !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit()));
    let six = address.parse::<Ipv6Addr>().is_ok();
    if !is_number || !(six || address.parse::<Ipv4Addr>().is_ok()) {
        return Err("value does not look like a valid IP address or CIDR network".to_owned());
    }
    let whole = if six { "128" } else { "32" };
    let kept = if prefix == Some(whole) { address } else { text };
    Ok((kept.to_owned(), if six { 6 } else { 4 }))
}

/// The same, as a format checks it: a prefix may not be longer than the address.
pub(super) fn check_cidr(text: &str) -> Result<(), String> {
    parse_cidr(text)?;
    element(&clean(text)).map(drop)
}

/// A network without the bits behind its prefix.
pub(super) fn clean(text: &str) -> String {
    let Some((address, prefix)) = text.split_once('/') else { return text.to_owned() };
    let Ok(length) = prefix.parse::<u32>() else { return text.to_owned() };
    if let Ok(four) = address.parse::<Ipv4Addr>() {
        let mask = u32::MAX.checked_shl(32u32.saturating_sub(length)).unwrap_or(0);
        return format!("{}/{length}", Ipv4Addr::from_bits(four.to_bits() & mask));
    }
    let Ok(six) = address.parse::<Ipv6Addr>() else { return text.to_owned() };
    let mask = u128::MAX.checked_shl(128u32.saturating_sub(length)).unwrap_or(0);
    format!("{}/{length}", Ipv6Addr::from_bits(six.to_bits() & mask))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_addresses() {
        for (text, version) in [
            ("192.0.2.1", Some(4)),
            ("192.0.2.0/24,198.51.100.7", Some(4)),
            ("192.0.2.1-192.0.2.9", Some(4)),
            ("2001:db8::/32", Some(6)),
            ("0.0.0.0/0", Some(4)),
            ("+guest/set", None),
            ("dc/alias", None),
        ] {
            assert_eq!(check_list(text), Ok(version), "{text}");
        }
        let wrong = |text: &str| check_list(text).unwrap_err();
        assert_eq!(wrong("999.1.1.1"), "invalid IP address: Invalid quad in IP address 999.1.1.1 - 999");
        assert_eq!(wrong("1.2.3.4.5"), "invalid IP address: Invalid IP address 1.2.3.4.5");
        assert_eq!(wrong("1..2"), "invalid IP address: Empty quad in IP address 1..2");
        assert_eq!(wrong("a b"), "invalid IP address: Invalid chars in IP a b");
        assert_eq!(wrong("192.0.2.1/24"), "invalid IP address: Invalid prefix 11000000000000000000001000000001/24");
        assert_eq!(wrong("192.0.2.1/33"), "invalid IP address: Prefix length 33 is longer than IP address (32)");
        assert_eq!(wrong("192.0.2.1,"), "extraneous commas in list");
        assert_eq!(wrong("192.0.2.1-192.0.2.2,192.0.2.4"), "you can't use a range in a list");
        assert_eq!(
            wrong("192.0.2.1,2001:db8::1"),
            "detected mixed ipv4/ipv6 addresses in address list '192.0.2.1,2001:db8::1'"
        );
    }

    #[test]
    fn networks_are_cleaned() {
        assert_eq!(clean("192.0.2.77/24"), "192.0.2.0/24");
        assert_eq!(clean("2001:db8::1/32"), "2001:db8::/32");
        assert_eq!(clean("192.0.2.1/0"), "0.0.0.0/0");
        assert_eq!(parse_cidr("192.0.2.1/32"), Ok(("192.0.2.1".to_owned(), 4)));
        assert!(parse_cidr("192.0.2").is_err() && parse_cidr("192.0.2.1/x").is_err());
        assert!(check_cidr("192.0.2.1/24").is_ok() && check_cidr("192.0.2.1/40").is_err());
    }
}
