//! Tickets and the tokens against forged requests that belong to them.
//!
//! They look like Proxmox's, live as long and are refused for the same reasons. The signature is a hash under a key
//! that follows from the cluster's name and seed: equal clusters sign alike, others do not accept it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Seconds that a ticket lives.
const LIFETIME: i64 = 2 * 3600;
/// Seconds by which a ticket may be from the future.
const GRACE: i64 = 300;
/// Bytes of a signature; an RSA key of 2048 bits makes as many.
const SIGNATURE: usize = 256;

/// What signs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Key(Vec<u8>);

impl Key {
    pub(super) fn new(cluster: &str, seed: u64) -> Self {
        Self(Sha256::digest(format!("{seed}:{cluster}")).to_vec())
    }

    fn sign(&self, text: &str, length: usize) -> Vec<u8> {
        let block = |number: u32| {
            Sha256::new()
                .chain_update(&self.0)
                .chain_update(number.to_be_bytes())
                .chain_update(text)
                .finalize()
                .to_vec()
        };
        (0_u32..).flat_map(block).take(length).collect()
    }

    /// A ticket of a user, `PVE:root@pam:684EE180::…`.
    pub(super) fn ticket(&self, user: &str, now: u64) -> String {
        let plain = format!("PVE:{user}:{now:08X}");
        let signature = base64(&self.sign(&plain, SIGNATURE), true);
        format!("{plain}::{signature}")
    }

    /// The user of a ticket that is valid.
    pub(super) fn user_of<'a>(&self, ticket: &'a str, now: u64) -> Option<&'a str> {
        let (plain, signature) = ticket.rsplit_once("::")?;
        let (user, time) = plain.strip_prefix("PVE:")?.rsplit_once(':')?;
        let signed = base64(&self.sign(plain, SIGNATURE), true) == signature;
        (signed && is_young(time, now)).then_some(user)
    }

    /// What a browser must send with a ticket when it changes something.
    pub(super) fn csrf_token(&self, user: &str, now: u64) -> String {
        let time = format!("{now:08X}");
        let signature = base64(&self.sign(&format!("csrf:{time}:{user}"), 32), false);
        format!("{time}:{signature}")
    }

    pub(super) fn is_csrf_token(&self, token: &str, user: &str, now: u64) -> bool {
        let Some((time, signature)) = token.split_once(':') else { return false };
        let signed = base64(&self.sign(&format!("csrf:{time}:{user}"), 32), false) == signature;
        signed && is_young(time, now)
    }
}

fn is_young(time: &str, now: u64) -> bool {
    let age = i64::from_str_radix(time, 16).ok().zip(i64::try_from(now).ok()).map(|(time, now)| now - time);
    time.len() == 8 && age.is_some_and(|age| age > -GRACE && age < LIFETIME)
}

fn base64(bytes: &[u8], pad: bool) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            if place <= three.len() {
                text.push(char::from(DIGITS[(bits >> (18 - 6 * place)) as usize & 63]));
            } else if pad {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes(), true), text);
            assert_eq!(base64(bytes.as_bytes(), false), text.trim_end_matches('='));
        }
    }

    #[test]
    fn tickets_live_two_hours_and_belong_to_one_cluster() {
        let (key, other) = (Key::new("a", 1), Key::new("b", 1));
        let now = 1_750_000_000;
        let ticket = key.ticket("root@pam", now);
        assert!(ticket.starts_with("PVE:root@pam:684EE180::"), "{ticket}");
        assert_eq!(ticket.len(), "PVE:root@pam:684EE180::".len() + 344);
        for (at, valid) in [(now, true), (now + 7199, true), (now + 7200, false), (now - 299, true), (now - 300, false)]
        {
            assert_eq!(key.user_of(&ticket, at), valid.then_some("root@pam"), "{at}");
        }
        assert_eq!(other.user_of(&ticket, now), None);
        for bad in ["", "PVE:", "::", "PVE:root@pam:684EE180::", &ticket.replace("root", "r00t"), &ticket[..90]] {
            assert_eq!(key.user_of(bad, now), None, "{bad}");
        }
        let token = key.csrf_token("root@pam", now);
        assert_eq!(token.len(), 8 + 1 + 43);
        assert!(key.is_csrf_token(&token, "root@pam", now + 7199));
        assert!(!key.is_csrf_token(&token, "root@pam", now + 7200));
        assert!(!key.is_csrf_token(&token, "bob@pve", now) && !key.is_csrf_token("x", "root@pam", now));
    }
}
