//! All chance of a simulated cluster: one seed, one stream.

use serde::{Deserialize, Serialize};

/// A small generator (splitmix64); its only virtue here is that equal seeds give equal streams.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0 up to 1, without 1.
    pub(super) fn fraction(&mut self) -> f64 {
        let bits = u32::try_from(self.next() >> 32).unwrap_or(0);
        f64::from(bits) / 4_294_967_296.0
    }

    /// A MAC address below a prefix of one to five octets, `BC:24:11`; upper case, as Proxmox makes them.
    pub(super) fn mac(&mut self, prefix: &str) -> String {
        let mut octets: Vec<String> = prefix.trim_end_matches(':').split(':').map(str::to_ascii_uppercase).collect();
        let bits = self.next().to_be_bytes();
        let mut fresh = bits.iter();
        while octets.len() < 6 {
            octets.push(format!("{:02X}", fresh.next().unwrap_or(&0)));
        }
        octets.join(":")
    }

    /// A version-4 UUID.
    pub(super) fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xFFFF,
            a & 0x0FFF,
            0x8000 | ((b >> 48) & 0x3FFF),
            b & 0xFFFF_FFFF_FFFF
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_values() {
        let (mut a, mut b) = (Chance::new(7), Chance::new(7));
        assert_eq!(a.mac("BC:24:11"), b.mac("BC:24:11"));
        assert_eq!(a.uuid(), b.uuid());
        assert_ne!(a.uuid(), a.uuid());
        assert_eq!(a.uuid().len(), 36);
        assert!(a.mac("bc:24:11").starts_with("BC:24:11:"));
    }
}
