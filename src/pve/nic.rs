//! A VM's network device as the server itself reads and prints it.

use super::config::spec_of;
use super::property::{self, Properties, Refusal};
use super::schema::PropertyFormat;
use super::value::GuestKind;

/// A network device of a VM, which always has a hardware address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// The sub-keys by canonical name; booleans as `1` or `0`.
    pub keys: Properties,
}

impl Nic {
    /// Reads a device; `new_address` is called where it has no hardware address.
    ///
    /// # Errors
    ///
    /// A text that is none; the error is what the server logs.
    pub fn parse(text: &str, new_address: impl FnOnce() -> String) -> Result<Self, String> {
        let mut keys = match format() {
            Some(format) => property::parse(text, format).map_err(|errors| Refusal::of(&errors, "").to_string())?,
            None => Properties::new(),
        };
        keys.entry("macaddr".to_owned()).or_insert_with(new_address);
        Ok(Self { keys })
    }

    /// Prints the device: `model=ADDRESS` first, then the sub-keys in order.
    pub fn print(&self) -> String {
        format().map(|format| property::print(&self.keys, format)).unwrap_or_default()
    }
}

fn format() -> Option<&'static PropertyFormat> {
    spec_of(GuestKind::Qemu, "net0").and_then(|spec| spec.properties.as_ref())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_device_gets_an_address() {
        let nic = Nic::parse("bridge=vmbr0,model=virtio,firewall=on", || "BC:24:11:00:00:01".to_owned()).unwrap();
        assert_eq!(nic.print(), "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1");
        let error = Nic::parse("bridge=vmbr0", String::new).unwrap_err();
        assert_eq!(error, "format error\nmodel: property is missing and it is not optional\n");
        let error = Nic::parse("virtio=BC:24:11:00:00:01,e1000=BC:24:11:00:00:02", String::new).unwrap_err();
        assert_eq!(error, "key alias 'model' is already defined\n");
    }

    proptest! {
        #[test]
        fn a_printed_device_is_read_back(
            model in prop::sample::select(vec!["virtio", "e1000", "vmxnet3"]),
            parts in prop::sample::subsequence(vec!["bridge=vmbr1", "tag=7", "firewall=yes", "mtu=1", "queues=2", "rate=.5"], 0..6),
        ) {
            let text = [&[model], &parts[..]].concat().join(",");
            let nic = Nic::parse(&text, || "BC:24:11:00:00:09".to_owned()).unwrap();
            prop_assert_eq!(Nic::parse(&nic.print(), || unreachable!()), Ok(nic));
        }

        #[test]
        fn any_text_is_read(text in "[a-z0-9=,:. ]{0,60}|.{0,20}") {
            let _ = Nic::parse(&text, String::new);
        }
    }
}
