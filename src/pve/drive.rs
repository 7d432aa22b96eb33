//! A VM's drive as the server itself reads and prints it, which is stricter and odder than its table of sub-keys.

use super::format::matches_whole;
use super::property::{self, Properties};
use super::schema::{catalog, split_index};
use super::value::{GuestKind, Size};

/// The keys of drives, without their numbers.
const INTERFACES: [&str; 7] = ["ide", "sata", "scsi", "virtio", "efidisk", "tpmstate", "unused"];

/// Sub-keys of old releases, which are passed over.
const DROPPED: [&str; 4] = ["cyls", "heads", "secs", "trans"];

/// Each of the first needs the second.
const NEEDS: [(&str, &str); 9] = [
    ("mbps_max", "mbps"),
    ("mbps_rd_max", "mbps_rd"),
    ("mbps_wr_max", "mbps_wr"),
    ("bps_max_length", "mbps_max"),
    ("bps_rd_max_length", "mbps_rd_max"),
    ("bps_wr_max_length", "mbps_wr_max"),
    ("iops_max_length", "iops_max"),
    ("iops_rd_max_length", "iops_rd_max"),
    ("iops_wr_max_length", "iops_wr_max"),
];

/// Limits that may not stand together.
const EXCLUSIVE: [(&str, &str); 4] =
    [("mbps_rd", "mbps"), ("mbps_wr", "mbps"), ("iops_rd", "iops"), ("iops_wr", "iops")];

/// A drive of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    /// `scsi`, `unused`.
    pub interface: String,
    /// Its number.
    pub index: u32,
    /// The sub-keys by canonical name; booleans as `1` or `0`, the size as Proxmox prints it.
    pub keys: Properties,
}

impl Drive {
    /// Reads the value of a drive's option.
    ///
    /// # Errors
    ///
    /// What the server does not take for a drive, with the texts that it logs about it, which may be none.
    pub fn parse(option: &str, text: &str) -> Result<Self, Vec<String>> {
        let stem = option.trim_end_matches(|c: char| c.is_ascii_digit());
        if stem.is_empty() || stem.len() == option.len() || stem.contains(|c: char| c.is_ascii_digit()) {
            return Err(Vec::new());
        }
        let spec = catalog(GuestKind::Qemu).find(option).filter(|_| INTERFACES.contains(&stem));
        let (Some(spec), Some((_, index))) = (spec, split_index(option)) else {
            return Err(vec![format!("invalid drive key: {option}\n")]);
        };
        let unreadable = |_| Vec::new();
        let format = spec.value.properties.as_ref().ok_or_else(Vec::new)?;
        let mut keys = property::split_without(text, format, &DROPPED).map_err(unreadable)?;
        // Only a request may ask for an import.
        if !property::check(&mut keys, format).is_empty() || keys.contains_key("import-from") {
            return Err(Vec::new());
        }
        check_limits(&mut keys)?;
        let is = |key: &str| keys.get(key).is_some_and(|value| is_true(value));
        let clashes = EXCLUSIVE.iter().any(|(one, other)| is(one) && is(other));
        let is_cdrom = keys.get("media").is_some_and(|media| media == "cdrom");
        if clashes || is_cdrom && (is("snapshot") || is("format") || stem == "virtio") {
            return Err(Vec::new());
        }
        if let Some(size) = keys.get_mut("size") {
            *size = Size::parse_proxmox(size).ok_or_else(Vec::new)?.to_string();
        }
        Ok(Self { interface: stem.to_owned(), index, keys })
    }

    /// The size that is noted with the drive; the volume's own may differ.
    pub fn size(&self) -> Option<Size> {
        self.keys.get("size").and_then(|size| Size::parse_proxmox(size))
    }

    /// Prints the drive's value: the volume first, then the sub-keys in order.
    pub fn print(&self) -> String {
        let option = format!("{}{}", self.interface, self.index);
        let format = catalog(GuestKind::Qemu).find(&option).and_then(|spec| spec.value.properties.as_ref());
        format.map(|format| property::print(&self.keys, format)).unwrap_or_default()
    }

    /// True for a drive that cloud-init reads.
    pub fn is_cloudinit(&self) -> bool {
        let file = self.keys.get("file").map(String::as_str).unwrap_or_default();
        matches_whole(r".*[:/](?:vm-\d+-)?cloudinit(?:\.(?:raw|qcow|qcow2|qed|vmdk|cloop))?", file)
    }
}

/// Brings limits in bytes to those in megabytes and checks what they need.
fn check_limits(keys: &mut Properties) -> Result<(), Vec<String>> {
    let mut texts = Vec::new();
    for (bytes, megabytes) in [("bps", "mbps"), ("bps_rd", "mbps_rd"), ("bps_wr", "mbps_wr")] {
        if keys.remove(bytes).is_none() {
            continue;
        }
        if keys.contains_key(megabytes) {
            texts.push(format!("both {bytes} and {megabytes} specified\n"));
        } else {
            // The server converts the fact that there is a limit, one byte, and not the limit.
            keys.insert(megabytes.to_owned(), "0.000".to_owned());
        }
    }
    let is = |key: &str| keys.get(key).is_some_and(|value| is_true(value));
    let lacking = NEEDS.iter().filter(|(key, needed)| is(key) && !is(needed));
    texts.extend(lacking.map(|(key, needed)| format!("{key} requires {needed}\n")));
    if texts.is_empty() { Ok(()) } else { Err(texts) }
}

/// The server's idea of truth.
fn is_true(value: &str) -> bool {
    !matches!(value, "" | "0")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(option: &str, text: &str) -> Option<String> {
        Drive::parse(option, text).ok().map(|drive| drive.print())
    }

    #[test]
    fn drives_are_printed_in_one_form() {
        assert_eq!(
            printed("scsi0", "size=1024M,ssd=yes,volume=lvm:vm-100-disk-0").as_deref(),
            Some("lvm:vm-100-disk-0,size=1G,ssd=1")
        );
        assert_eq!(printed("ide0", "lvm:x1,cyls=1,heads=2").as_deref(), Some("lvm:x1"));
        assert_eq!(printed("scsi0", "lvm:x1,bps=1048576").as_deref(), Some("lvm:x1,mbps=0.000"));
        assert_eq!(printed("scsi0", "lvm:x1,size=0").as_deref(), Some("lvm:x1,size=0T"));
    }

    #[test]
    fn what_is_no_drive_is_refused() {
        assert_eq!(Drive::parse("sata6", "lvm:x1"), Err(vec!["invalid drive key: sata6\n".to_owned()]));
        assert_eq!(Drive::parse("net0", "lvm:x1"), Err(vec!["invalid drive key: net0\n".to_owned()]));
        assert_eq!(Drive::parse("scsi", "lvm:x1"), Err(Vec::new()));
        let texts = Drive::parse("scsi0", "lvm:x1,bps=1,mbps=1,iops_max_length=3").unwrap_err();
        assert_eq!(texts, ["both bps and mbps specified\n", "iops_max_length requires iops_max\n"]);
        for bad in ["lvm:x1,import-from=lvm:x2", "lvm:x1,media=cdrom,format=raw", "lvm:x1,iops=1,iops_rd=1", "x"] {
            assert_eq!(Drive::parse("scsi0", bad), Err(Vec::new()), "{bad}");
        }
    }

    #[test]
    fn drives_of_cloudinit_are_known_by_name() {
        let is = |file: &str| Drive::parse("ide2", file).unwrap().is_cloudinit();
        assert!(
            is("lvm:vm-120-cloudinit,media=cdrom") && is("local:120/vm-120-cloudinit.qcow2") && is("lvm:cloudinit")
        );
        assert!(!is("local:iso/cloudinit.iso,media=cdrom") && !is("none,media=cdrom"));
    }

    fn drives() -> impl Strategy<Value = String> {
        let parts = prop::sample::subsequence(
            vec![
                "ssd=1",
                "size=3G",
                "cache=none",
                "discard=on",
                "iothread=1",
                "mbps=1.5",
                "iops_rd=7",
                "backup=0",
                "serial=a%20b",
            ],
            0..9,
        );
        (parts, "[a-z][a-z0-9]{1,5}:[a-z0-9/-]{1,12}")
            .prop_map(|(parts, file)| [&[file.as_str()], &parts[..]].concat().join(","))
    }

    proptest! {
        #[test]
        fn a_printed_drive_is_read_back(text in drives()) {
            let drive = Drive::parse("scsi3", &text).unwrap();
            prop_assert_eq!(Drive::parse("scsi3", &drive.print()), Ok(drive));
        }

        #[test]
        fn any_text_is_read(option in "[a-z]{0,8}[0-9]{0,3}", text in "[a-z0-9=,:._/ -]{0,60}|.{0,20}") {
            let _ = Drive::parse(&option, &text);
            let _ = Drive::parse("scsi0", &text);
        }
    }
}
