//! Small values of Proxmox's vocabulary: guest kinds, ids, sizes, booleans, tags, task ids.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a guest is: a virtual machine or a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GuestKind {
    /// A virtual machine, `qemu` in API paths.
    Qemu,
    /// A container, `lxc` in API paths.
    Lxc,
}

impl GuestKind {
    /// Both kinds, in the order in which plans and lists show them.
    pub const ALL: [Self; 2] = [Self::Qemu, Self::Lxc];

    /// The path segment of the API: `qemu` or `lxc`.
    pub const fn segment(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Lxc => "lxc",
        }
    }

    /// How people call it: `VM` or `container`.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Qemu => "VM",
            Self::Lxc => "container",
        }
    }

    /// The prefix of an HA resource id: `vm:100`, `ct:200`.
    pub const fn ha_prefix(self) -> &'static str {
        match self {
            Self::Qemu => "vm",
            Self::Lxc => "ct",
        }
    }
}

impl fmt::Display for GuestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.segment())
    }
}

/// A guest's id, unique within one cluster: 100 to 999,999,999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Vmid(#[schemars(range(min = 100, max = 999_999_999))] u32);

impl Vmid {
    /// The smallest id that Proxmox accepts.
    pub const MIN: u32 = 100;
    /// The largest id that Proxmox accepts.
    pub const MAX: u32 = 999_999_999;

    /// Makes an id, or nothing where the number is outside Proxmox's range.
    pub const fn new(number: u32) -> Option<Self> {
        if number >= Self::MIN && number <= Self::MAX { Some(Self(number)) } else { None }
    }

    /// The id as a number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Vmid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Vmid {
    type Err = ();

    /// Reads the canonical spelling only: no sign, no leading zero.
    fn from_str(text: &str) -> Result<Self, ()> {
        if text.starts_with('0') || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(());
        }
        text.parse().ok().and_then(Self::new).ok_or(())
    }
}

/// Reads an inclusive range of ids, `100-199`; the error says what is wrong with it.
pub fn parse_vmid_range(text: &str) -> Result<(Vmid, Vmid), String> {
    let Some((first, last)) = text.split_once('-').map(|(first, last)| (first.trim(), last.trim())) else {
        return Err(format!("`{text}` is no range; write first-last, such as 1000-1999"));
    };
    let id = |text: &str| {
        text.parse::<Vmid>()
            .map_err(|()| format!("`{text}` is no guest id; they go from {} to {}", Vmid::MIN, Vmid::MAX))
    };
    let (first, last) = (id(first)?, id(last)?);
    if first > last {
        return Err(format!("`{text}` ends before it begins"));
    }
    Ok((first, last))
}

/// Reads a boolean as property strings and configuration files spell it.
///
/// `1 on yes true` and `0 off no false`, in any case. A parameter of the API itself takes only
/// `0` and `1`; the caller knows which of the two it has.
pub fn parse_boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Some(true),
        "0" | "off" | "no" | "false" => Some(false),
        _ => None,
    }
}

/// An amount of storage in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Size(pub u64);

impl Size {
    /// One KiB.
    pub const KIB: u64 = 1 << 10;
    /// One MiB.
    pub const MIB: u64 = 1 << 20;
    /// One GiB.
    pub const GIB: u64 = 1 << 30;
    /// One TiB.
    pub const TIB: u64 = 1 << 40;

    /// Reads Proxmox's own spelling (`disk-size`): digits, perhaps a fraction, then `K M G T`, `KiB MiB GiB TiB`
    /// or nothing.
    pub fn parse_proxmox(text: &str) -> Option<Self> {
        let (short, is_long) = text.strip_suffix("iB").map_or((text, false), |short| (short, true));
        let unit = |digits: &str, factor| scaled(digits, factor).map(Self);
        match short.as_bytes().last()? {
            b'K' => unit(&short[..short.len() - 1], Self::KIB),
            b'M' => unit(&short[..short.len() - 1], Self::MIB),
            b'G' => unit(&short[..short.len() - 1], Self::GIB),
            b'T' => unit(&short[..short.len() - 1], Self::TIB),
            _ if is_long => None,
            _ => unit(short, 1),
        }
    }

    /// Reads a manifest's spelling: Proxmox's own, with white space around it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_proxmox(text.trim())
    }

    /// This many bytes as people read them: `32 GiB`, `528 KiB`.
    pub fn human(self) -> String {
        for (unit, name) in [(Self::TIB, "TiB"), (Self::GIB, "GiB"), (Self::MIB, "MiB"), (Self::KIB, "KiB")] {
            if self.0 >= unit {
                let whole = self.0 / unit;
                let tenths = (self.0 % unit) * 10 / unit;
                return if self.0.is_multiple_of(unit) {
                    format!("{whole} {name}")
                } else {
                    format!("{whole}.{tenths} {name}")
                };
            }
        }
        format!("{} B", self.0)
    }
}

/// Digits with an optional fraction times a factor, rounded down to whole bytes.
///
/// A fraction is counted with floating point, as Proxmox does: of very large sizes the last byte depends on it.
fn scaled(digits: &str, factor: u64) -> Option<u64> {
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let Some((whole, fraction)) = digits.split_once('.') else {
        return is_digits(digits).then(|| digits.parse::<u64>().ok()?.checked_mul(factor)).flatten();
    };
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let bytes = digits.parse::<f64>().ok()? * factor as f64;
    // From here on it would not fit into 64 bits.
    (bytes < 18_446_744_073_709_551_616.0).then_some(bytes as u64)
}

impl fmt::Display for Size {
    /// Proxmox's own printing: the largest unit that divides exactly, `40G`, `528K`, `512`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, suffix) in [(Self::TIB, 'T'), (Self::GIB, 'G'), (Self::MIB, 'M'), (Self::KIB, 'K')] {
            if self.0.is_multiple_of(unit) {
                return write!(f, "{}{suffix}", self.0 / unit);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// Splits a list as Proxmox does: at commas, semicolons and white space, where no item is empty; with a NUL in it,
/// at NULs only, where items may be empty but for the last ones.
pub fn split_list(text: &str) -> impl Iterator<Item = &str> {
    let by_nul = text.contains('\0');
    let text = if by_nul { text.trim_end_matches('\0') } else { text };
    text.split(move |c: char| if by_nul { c == '\0' } else { matches!(c, ',' | ';') || c.is_whitespace() })
        .filter(move |item| !item.is_empty() || (by_nul && !text.is_empty()))
}

/// White space as Proxmox's patterns have it.
pub(super) const fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0B'
}

/// A guest's tags as a set, by Proxmox's default rules: lower case, without doubles, sorted.
pub fn parse_tags(text: &str) -> BTreeSet<String> {
    split_list(text).map(str::to_lowercase).collect()
}

/// A set of tags in the form in which Proxmox stores it.
pub fn print_tags(tags: &BTreeSet<String>) -> String {
    tags.iter().map(String::as_str).collect::<Vec<_>>().join(";")
}

/// True for text that Proxmox takes as one tag: a letter, digit or underscore, then also `+ - .`.
pub fn is_tag(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"_+-.".contains(&b))
}

/// True for a DNS name as Proxmox checks names and host names: labels joined by dots, no underscore.
pub fn is_dns_name(text: &str) -> bool {
    !text.is_empty()
        && text.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

/// A task's id: `UPID:node:pid:pstart:starttime:type:id:user:`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Upid {
    /// The node that runs the task; only it can answer for it.
    pub node: String,
    /// Process id of the worker.
    pub pid: u32,
    /// Start time of that process in clock ticks; tells two processes of one id apart.
    pub pstart: u64,
    /// Unix time of the start in seconds.
    pub starttime: u64,
    /// Kind of task, `qmcreate`.
    pub kind: String,
    /// What it works on, mostly a vmid; may be empty.
    pub id: String,
    /// Who started it, `root@pam!token`.
    pub user: String,
}

impl FromStr for Upid {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::decode(text).map_err(drop)
    }
}

impl Upid {
    /// True for a task that makes a guest; of a clone, its id names the source.
    pub fn makes_guest(&self) -> bool {
        matches!(self.kind.as_str(), "qmcreate" | "qmclone" | "qmrestore" | "vzcreate" | "vzclone" | "vzrestore")
    }

    /// True for a task that changes a guest and ends by itself; a console or a backup may run for hours.
    pub fn changes_guest(&self) -> bool {
        let of_guests = ["qm", "vz", "ha", "resize", "move_volume"].iter().any(|begin| self.kind.starts_with(begin));
        of_guests && self.kind != "vzdump"
    }

    /// Reads a task's id; the error is Proxmox's text.
    ///
    /// # Errors
    ///
    /// Any text that is not in the form of a task's id.
    pub fn decode(text: &str) -> Result<Self, String> {
        Self::read(text).map_err(|()| format!("unable to parse worker upid '{text}'\n"))
    }

    fn read(text: &str) -> Result<Self, ()> {
        let rest = text.strip_prefix("UPID:").ok_or(())?.strip_suffix(':').ok_or(())?;
        let parts: Vec<&str> = rest.split(':').collect();
        let [node, pid, pstart, starttime, kind, id, user] = parts.as_slice() else {
            return Err(());
        };
        let hex = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
            if !lengths.contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(());
            }
            u64::from_str_radix(text, 16).map_err(|_| ())
        };
        let is_node = is_dns_name(node) && !node.contains('.');
        let is_word = |text: &str| !text.contains(|c: char| is_space(c) || c == '/');
        if !is_node || kind.is_empty() || user.is_empty() || ![kind, id, user].into_iter().all(|text| is_word(text)) {
            return Err(());
        }
        Ok(Self {
            node: (*node).to_owned(),
            pid: u32::try_from(hex(pid, 8..=8)?).map_err(|_| ())?,
            pstart: hex(pstart, 8..=9)?,
            starttime: hex(starttime, 8..=8)?,
            kind: (*kind).to_owned(),
            id: (*id).to_owned(),
            user: (*user).to_owned(),
        })
    }
}

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, pid, pstart, starttime, kind, id, user } = self;
        write!(f, "UPID:{node}:{pid:08X}:{pstart:08X}:{starttime:08X}:{kind}:{id}:{user}:")
    }
}

impl TryFrom<String> for Upid {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|()| format!("not a task id: {text}"))
    }
}

impl From<Upid> for String {
    fn from(upid: Upid) -> Self {
        upid.to_string()
    }
}

/// How a task ended, by its `exitstatus`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskEnd {
    /// `OK`.
    Ok,
    /// `WARNINGS: n`: done, with warnings in the log.
    Warnings(u32),
    /// Anything else; the text is Proxmox's.
    Failed(String),
}

impl TaskEnd {
    /// Reads the `exitstatus` of a stopped task.
    pub fn parse(exitstatus: &str) -> Self {
        if exitstatus == "OK" {
            return Self::Ok;
        }
        let count = exitstatus.strip_prefix("WARNINGS: ");
        match count.filter(|count| !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit())) {
            Some(count) => Self::Warnings(count.parse().unwrap_or(u32::MAX)),
            None => Self::Failed(exitstatus.to_owned()),
        }
    }

    /// Proxmox's word for it, by which its task lists are filtered.
    pub fn status_type(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warnings(_) => "warning",
            Self::Failed(text) if matches!(text.as_str(), "" | "0" | "unexpected status") => "unknown",
            Self::Failed(_) => "error",
        }
    }

    /// True when the work was done.
    pub const fn is_success(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}

/// A volume's name: `STORAGE:PATH`, or a request to allocate one, `STORAGE:GIB`.
pub fn storage_of(volume: &str) -> Option<&str> {
    let (storage, name) = volume.split_once(':')?;
    let valid = !name.is_empty()
        && !name.contains('\n')
        && storage.len() >= 2
        && storage.starts_with(|c: char| c.is_ascii_alphabetic())
        && storage.ends_with(|c: char| c.is_ascii_alphanumeric())
        && storage.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    valid.then_some(storage)
}

/// The storage and the number of GiB of an allocation request (`local-lvm:32`), else nothing.
pub fn allocation(volume: &str) -> Option<(&str, &str)> {
    let storage = storage_of(volume)?;
    let number = &volume[storage.len() + 1..];
    scaled(number, Size::GIB).map(|_| (storage, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_print_in_the_largest_exact_unit() {
        for (bytes, text) in
            [(42_949_672_960, "40G"), (540_672, "528K"), (512, "512"), (1 << 40, "1T"), (42_497 << 20, "42497M")]
        {
            assert_eq!(Size(bytes).to_string(), text);
            assert_eq!(Size::parse_proxmox(&Size(bytes).to_string()), Some(Size(bytes)));
        }
        assert_eq!(Size(0).to_string(), "0T");
    }

    #[test]
    fn manifest_sizes_take_binary_units_and_refuse_decimal_ones() {
        assert_eq!(Size::parse("32GiB"), Some(Size(32 << 30)));
        assert_eq!(Size::parse("1.5G"), Some(Size(3 << 29)));
        assert_eq!(Size::parse_proxmox("2KiB"), Some(Size(2048)));
        for bad in ["", "GiB", "32iB", "32GB", "32 G", "-1G", "1.G", ".5G", "1e3", "99999999999999999999T"] {
            assert_eq!(Size::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn upids_round_trip() {
        let text = "UPID:pve1:0000015B:0005BE05:6B029456:qmstop:112:root@pam!test:";
        let upid: Upid = text.parse().unwrap();
        assert_eq!((upid.node.as_str(), upid.kind.as_str(), upid.id.as_str()), ("pve1", "qmstop", "112"));
        assert_eq!(upid.to_string(), text);
        for bad in
            ["", "UPID:", "UPID:a:b:c:d:e:f:g:", "garbage", "UPID:pve1:0000015B:0005BE05:6B029456:qmstop:112:root@pam"]
        {
            assert!(bad.parse::<Upid>().is_err(), "{bad}");
        }
    }

    #[test]
    fn vmids_are_canonical() {
        assert_eq!("100".parse(), Ok(Vmid(100)));
        for bad in ["99", "0100", "+100", "1000000000", "", "x"] {
            assert!(bad.parse::<Vmid>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_are_a_set() {
        assert_eq!(print_tags(&parse_tags("Zeta,alpha;BETA alpha")), "alpha;beta;zeta");
        assert!(is_tag("fleet-homelab") && !is_tag("c!") && !is_tag("-a"));
    }

    #[test]
    fn allocations_are_told_from_volumes() {
        assert_eq!(allocation("local-lvm:32"), Some(("local-lvm", "32")));
        assert_eq!(allocation("local:vm-100-disk-0"), None);
        assert_eq!(storage_of("none"), None);
    }

    #[test]
    fn lists_are_split_at_nul_where_there_is_one() {
        let list = |text| split_list(text).collect::<Vec<_>>();
        assert_eq!(list(" a,;b\x0Bc "), ["a", "b", "c"]);
        assert_eq!(list("a,b\0\0c\0\0"), ["a,b", "", "c"]);
        assert_eq!(list("\0"), Vec::<&str>::new());
    }

    #[test]
    fn task_ends() {
        assert_eq!(TaskEnd::parse("WARNINGS: 2"), TaskEnd::Warnings(2));
        assert_eq!(TaskEnd::parse("WARNINGS: 99999999999").status_type(), "warning");
        assert!(!TaskEnd::parse("unexpected status").is_success());
        assert_eq!(TaskEnd::parse("unexpected status").status_type(), "unknown");
        assert_eq!(TaskEnd::parse("WARNINGS: +3").status_type(), "error");
    }
}
