//! The small grammars of the settings: URLs, ids, fingerprints, patterns, ranges.

use super::settings::Pattern;

/// True for a cluster's name: a letter or digit, then also `.`, `_` and `-`.
pub(super) fn is_cluster_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// True for `user@realm`.
pub(super) fn is_user(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(user, realm)| {
        let refused = |c: char| c.is_whitespace() || ":/!=".contains(c);
        !user.is_empty() && !user.contains(refused) && is_identifier(realm)
    })
}

/// True for `user@realm!name`.
pub(super) fn is_token_id(text: &str) -> bool {
    text.split_once('!').is_some_and(|(user, name)| is_user(user) && is_identifier(name))
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
}

/// The port that Proxmox listens on.
const PORT: u16 = 8006;

/// An API address in its canonical form: `https://host:8006`, without a trailing slash or `/api2/json`.
///
/// An address without a port means Proxmox's own, also where a path follows; a proxy on 443 needs `:443` written.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let (scheme, rest) = if lower.starts_with("https://") {
        ("https", &text["https://".len()..])
    } else if lower.starts_with("http://") {
        ("http", &text["http://".len()..])
    } else {
        return Err(format!("`{}` is no URL; write https://host:8006", without_user(text)));
    };
    if rest.contains('@') {
        return Err("the URL holds a user or password; TOKEN_ID and TOKEN_SECRET are the place for them".to_owned());
    }
    if rest.contains(['?', '#', '\\']) || rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("a host, a port and a path are all that the URL may hold".to_owned());
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = match authority.strip_prefix('[') {
        Some(inner) => {
            let Some((address, after)) = inner.split_once(']') else {
                return Err(format!("`{text}`: the bracket of the address is not closed"));
            };
            (format!("[{}]", address.to_ascii_lowercase()), after.strip_prefix(':').or(after.is_empty().then_some("")))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host.to_ascii_lowercase(), Some(port).filter(|port| !port.is_empty())),
            None => (authority.to_ascii_lowercase(), Some("")),
        },
    };
    let is_host = |host: &str| {
        let inner = host.trim_start_matches('[').trim_end_matches(']');
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:%".contains(&b);
        !inner.is_empty() && inner.bytes().all(allowed)
    };
    if !is_host(&host) {
        return Err(format!("`{text}` names no host; write https://host:8006"));
    }
    let port = match port {
        Some("") => format!(":{PORT}"),
        Some(port) => match port.parse::<u16>() {
            Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => format!(":{number}"),
            _ => return Err(format!("`{text}`: `{port}` is no port")),
        },
        None => return Err(format!("`{text}`: the port is missing after the `:`")),
    };
    let loopback = host == "localhost" || host == "[::1]" || (host.starts_with("127.") && is_ipv4(&host));
    if scheme == "http" && !loopback {
        return Err(format!("`{text}` would send credentials in clear; https is required beyond this machine"));
    }
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix("api2/json").unwrap_or(path).trim_end_matches('/');
    let path = if path.is_empty() { String::new() } else { format!("/{path}") };
    Ok(format!("{scheme}://{host}{port}{path}"))
}

/// A URL in a message must not show what stands before an `@`.
fn without_user(text: &str) -> &str {
    text.rsplit_once('@').map_or(text, |(_, rest)| rest)
}

fn is_ipv4(text: &str) -> bool {
    text.split('.').count() == 4 && text.split('.').all(|octet| octet.parse::<u8>().is_ok())
}

/// The 32 bytes of a SHA-256 fingerprint, with colons as Proxmox prints it or without.
pub(super) fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let digits: String = if text.contains(':') {
        let pairs: Vec<&str> = text.split(':').collect();
        if pairs.iter().any(|pair| pair.len() != 2) {
            return None;
        }
        pairs.concat()
    } else {
        text.to_owned()
    };
    if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0u8; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

/// A pattern from what stands before the last colon.
pub(super) fn pattern(text: &str, cluster: &str) -> Result<Pattern, String> {
    let Some(expression) = text.strip_prefix("re:") else {
        return Ok(Pattern { text: text.to_owned(), regex: None, cluster: cluster.to_owned() });
    };
    if expression.is_empty() {
        return Err(format!("`{text}` holds no regular expression"));
    }
    match regex::Regex::new(&format!("^(?:{expression})")) {
        Ok(regex) => Ok(Pattern { text: expression.to_owned(), regex: Some(regex), cluster: cluster.to_owned() }),
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Err(format!("`{expression}` is no regular expression: {reason}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_canonical() {
        for (text, expected) in [
            ("https://PVE.example.net:8006/", "https://pve.example.net:8006"),
            ("https://pve.example.net", "https://pve.example.net:8006"),
            ("HTTPS://pve:8006/api2/json", "https://pve:8006"),
            ("https://proxy/pve/", "https://proxy:8006/pve"),
            ("https://proxy:443/pve", "https://proxy:443/pve"),
            ("https://[::1]", "https://[::1]:8006"),
            ("https://[2001:DB8::1]:8006", "https://[2001:db8::1]:8006"),
            ("http://127.0.0.1:8006", "http://127.0.0.1:8006"),
            ("http://localhost:1", "http://localhost:1"),
            ("http://[::1]:80", "http://[::1]:80"),
        ] {
            assert_eq!(endpoint(text), Ok(expected.to_owned()));
        }
        for bad in [
            "pve.example.net",
            "https://",
            "https://:8006",
            "https://host:",
            "https://host:0",
            "https://host:99999",
            "https://user:pass@host",
            "https://host?x=1",
            "https://ho st",
            "ftp://host",
            "http://pve.example.net:8006",
            "http://127.evil.net",
            "https://[::1",
        ] {
            let error = endpoint(bad).unwrap_err();
            assert!(!error.contains("pass@"), "{error}");
        }
    }

    #[test]
    fn ids_and_fingerprints() {
        assert!(is_token_id("root@pam!fleet") && is_token_id("a.b@my-realm!x1"));
        for bad in ["root@pam", "root!x", "root@pam!", "root@pam!a=b", "root@pam!a!b", "@pam!abc"] {
            assert!(!is_token_id(bad), "{bad}");
        }
        let hex = "AB:".repeat(31) + "cd";
        assert_eq!(fingerprint(&hex).unwrap()[31], 0xcd);
        assert_eq!(fingerprint(&hex.replace(':', "")), fingerprint(&hex));
        assert!(fingerprint("AB:CD").is_none() && fingerprint(&"é".repeat(32)).is_none());
    }
}
