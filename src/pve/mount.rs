//! A container's volume as the server itself reads and prints it: `rootfs`, mount points, unused ones.

use super::property::{self, Properties, Refusal};
use super::schema::{PropertyFormat, catalog};
use super::value::{GuestKind, Size};

/// Where a container's volume comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountSource {
    /// A volume of a storage.
    Volume,
    /// A block device of the node.
    Device,
    /// A directory of the node.
    Bind,
}

impl MountSource {
    /// Proxmox's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::Device => "device",
            Self::Bind => "bind",
        }
    }
}

/// A volume of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The option that holds it: `rootfs`, `mp0`, `unused3`.
    pub option: String,
    /// Where it comes from.
    pub source: MountSource,
    /// The sub-keys; booleans as `1` or `0`, the size as Proxmox prints it. A root has its path, `/`, too.
    pub keys: Properties,
}

impl Mount {
    /// Reads the value of a volume's option.
    ///
    /// # Errors
    ///
    /// What the server does not take for one, in its words.
    pub fn parse(option: &str, text: &str) -> Result<Self, Refusal> {
        let Some(format) = format_of(option) else {
            return Err(Refusal::Whole(format!("parse_volume - unknown type: {option}\n")));
        };
        let mut keys = property::parse(text, format).map_err(|errors| Refusal::of(&errors, ""))?;
        if let Some(size) = keys.get_mut("size") {
            *size = Size::parse_proxmox(size).unwrap_or_default().to_string();
        }
        let source = match keys.get("volume").map(String::as_str).unwrap_or_default() {
            device if device.starts_with("/dev/") => MountSource::Device,
            path if path.starts_with('/') => MountSource::Bind,
            _ => MountSource::Volume,
        };
        if option == "rootfs" {
            keys.insert("mp".to_owned(), "/".to_owned());
        }
        Ok(Self { option: option.to_owned(), source, keys })
    }

    /// The size that is noted with the volume; its own may differ.
    pub fn size(&self) -> Option<Size> {
        self.keys.get("size").and_then(|size| Size::parse_proxmox(size))
    }

    /// The map of ids: each `u` or `g`, the first id in the container, the first on the disk, how many.
    pub fn id_map(&self) -> Option<Vec<[&str; 4]>> {
        let map = self.keys.get("idmap").filter(|map| *map != "passthrough")?;
        map.split(';').map(|entry| entry.split(':').collect::<Vec<_>>().try_into().ok()).collect()
    }

    /// Prints the volume's value: the volume first, then the path, then the sub-keys in order.
    pub fn print(&self) -> String {
        let mut keys = self.keys.clone();
        if self.option == "rootfs" {
            keys.remove("mp");
        }
        format_of(&self.option).map(|format| property::print(&keys, format)).unwrap_or_default()
    }
}

fn format_of(option: &str) -> Option<&'static PropertyFormat> {
    // Any number will do here: which ones there are is asked elsewhere.
    let is_numbered = |stem| {
        option
            .strip_prefix(stem)
            .is_some_and(|index: &str| !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit()))
    };
    let first = match option {
        "rootfs" => "rootfs",
        _ if is_numbered("mp") => "mp0",
        _ if is_numbered("unused") => "unused0",
        _ => return None,
    };
    catalog(GuestKind::Lxc).find(first)?.value.properties.as_ref()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn volumes_are_printed_in_one_form() {
        let mount = Mount::parse("mp0", "mp=/data,size=8192M,backup=yes,volume=lvm:vm-200-disk-1").unwrap();
        assert_eq!(mount.print(), "lvm:vm-200-disk-1,mp=/data,backup=1,size=8G");
        assert_eq!((mount.size(), mount.source), (Some(Size(8 << 30)), MountSource::Volume));
        let root = Mount::parse("rootfs", "/srv/root,idmap=u:0:1000:1;g:0:1000:1").unwrap();
        assert_eq!(root.print(), "/srv/root,idmap=u:0:1000:1;g:0:1000:1");
        assert_eq!(root.id_map().unwrap(), [["u", "0", "1000", "1"], ["g", "0", "1000", "1"]]);
        assert_eq!(Mount::parse("mp1", "/dev/sdb1,mp=/x").unwrap().source, MountSource::Device);
    }

    #[test]
    fn what_is_no_volume_is_refused() {
        let text = |option, value| Mount::parse(option, value).unwrap_err().to_string();
        assert_eq!(text("net0", "x"), "parse_volume - unknown type: net0\n");
        assert_eq!(text("mp", "x"), "parse_volume - unknown type: mp\n");
        assert!(Mount::parse("mp256", "lvm:8,mp=/x").is_ok());
        assert_eq!(text("mp0", "lvm:8"), "format error\nmp: property is missing and it is not optional\n");
    }

    proptest! {
        #[test]
        fn a_printed_volume_is_read_back(
            parts in prop::sample::subsequence(vec!["mp=/a", "size=3G", "ro=1", "acl=off", "quota=0", "mountoptions=noatime;discard"], 1..6),
        ) {
            let text = format!("lvm:vm-200-disk-0,{}", parts.join(","));
            if let Ok(mount) = Mount::parse("mp3", &text) {
                prop_assert_eq!(Mount::parse("mp3", &mount.print()), Ok(mount));
            }
            if let Ok(mount) = Mount::parse("rootfs", &text) {
                prop_assert_eq!(Mount::parse("rootfs", &mount.print()), Ok(mount));
            }
        }

        #[test]
        fn any_text_is_read(option in "(rootfs|mp|unused)?[a-z]{0,2}[0-9]{0,3}", text in "[a-z0-9=,:./ ]{0,60}|.{0,20}") {
            let _ = Mount::parse(&option, &text);
            let _ = Mount::parse("mp0", &text);
        }
    }
}
