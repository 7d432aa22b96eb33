//! What is printed is read back as it was: property strings of every format, sizes, tags.

use proptest::prelude::*;
use pvefleet::pve::format::check_format;
use pvefleet::pve::property::{self, Properties};
use pvefleet::pve::schema::{PropertyFormat, Spelling, ValueType, catalog};
use pvefleet::pve::tags::TagStyle;
use pvefleet::pve::value::{GuestKind, Size, split_list};

/// Texts of which each sub-key takes some.
const TEXTS: &[&str] = &[
    "1",
    "7",
    "64",
    "100",
    "2000",
    "1.5",
    "a",
    "ab",
    "host",
    "vmbr0",
    "web-1",
    "A1",
    "4G",
    "10.0.0.1",
    "10.0.0.1/24",
    "fd00::1",
    "fd00::1/64",
    "BC:24:11:00:00:01",
    "local:snippets/x.yaml",
    "none",
    "/dev/sdb",
    "/mnt/x",
    "0000:01:00.0",
    "1234:abcd",
    "1-2.3",
    "0x5000c50015ea71aa",
    "0x10de",
    "0660",
    "+aes",
    "1;2",
    "0-3",
    "scsi0;net0",
    "cdn",
    "q35",
    "pc-i440fx-9.0+pve0",
    "u:0:1000:1",
    "noatime;discard",
    "nfs;cifs",
    "00000000-0000-4000-8000-000000000001",
    "QUNNRQ==",
    "PRODUCT",
];

/// Every format of property strings, by kind and option.
fn formats() -> Vec<(GuestKind, String, &'static PropertyFormat)> {
    let of = |kind| {
        let named = catalog(kind).iter().map(move |(name, spec)| (kind, name.to_owned(), spec));
        named.filter_map(|(kind, name, spec)| Some((kind, name, spec.value.properties.as_ref()?)))
    };
    GuestKind::ALL.into_iter().flat_map(of).collect()
}

/// What each sub-key of a format may be: nothing, or a value that it takes.
fn values(format: &'static PropertyFormat) -> impl Strategy<Value = Properties> {
    let sub_keys = format.keys.iter().filter(|(_, key)| key.alias.is_none()).map(|(name, key)| {
        let taken: Vec<String> = match (&key.value.choices, key.value.ty) {
            (Some(choices), _) => choices.clone(),
            (None, ValueType::Boolean) => vec!["0".to_owned(), "1".to_owned()],
            _ => {
                // A value without its name cannot hold what sets a name apart.
                let fits = |text: &&&str| {
                    key.value.check(text, Spelling::SubKey).is_ok() && !(key.default_key && text.contains('='))
                };
                TEXTS.iter().filter(fits).map(|text| (*text).to_owned()).collect()
            }
        };
        assert!(!taken.is_empty(), "{name}: no text is taken");
        let value = prop::sample::select(taken).prop_map(Some);
        let value = if key.optional { prop_oneof![Just(None), value].boxed() } else { value.boxed() };
        value.prop_map(|value| value.map(|value| (name.clone(), value)))
    });
    sub_keys.collect::<Vec<_>>().prop_map(|pairs| pairs.into_iter().flatten().collect())
}

/// The position of a format, and sub-keys for it.
fn any_format() -> impl Strategy<Value = (usize, Properties)> {
    let each = formats()
        .into_iter()
        .enumerate()
        .map(|(position, (_, _, format))| values(format).prop_map(move |values| (position, values)).boxed());
    proptest::strategy::Union::new(each)
}

/// Text like that of property strings, and any other.
const LIKE: &str = "[a-z0-9=,;:. /_-]{0,40}|([a-z]{1,8}=[a-z0-9]{0,8},?){0,5}|.{0,30}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_printed_property_string_is_read_back((position, values) in any_format()) {
        let (kind, option, format) = &formats()[position];
        // A sub-key may need another one that was not drawn.
        let mut checked = values.clone();
        if property::check(&mut checked, format).is_empty() {
            let text = property::print(&values, format);
            prop_assert_eq!(property::parse(&text, format), Ok(values), "{} {}: {}", kind, option, text);
        }
    }
}

proptest! {
    #[test]
    fn a_printed_size_is_read_back(bytes in any::<u64>(), shift in 0u32..50) {
        let size = Size(bytes >> shift << (shift / 2));
        prop_assert_eq!(Size::parse_proxmox(&size.to_string()), Some(size));
    }

    #[test]
    fn tags_are_in_form_for_good(tags in "[a-zA-Z0-9;, ]{0,30}", keeps_order in any::<bool>(), case_sensitive in any::<bool>()) {
        let style = TagStyle { keeps_order, case_sensitive };
        let once = style.normalise(&tags);
        prop_assert_eq!(style.normalise(&once), once);
    }

    #[test]
    fn any_text_is_read(text in LIKE) {
        for (_, _, format) in formats() {
            let _ = property::parse(&text, format);
        }
        Size::parse_proxmox(&text);
        let _ = split_list(&text).count();
        for style in ["", &text] {
            TagStyle::from_datacenter(style).normalise(&text);
        }
    }

    #[test]
    fn any_text_is_checked(text in "[a-z0-9:./%,-]{0,20}|.{0,20}") {
        for format in [
            "address", "CIDR", "disk-size", "ipv4mask", "lxc-ip-with-ll-iface", "pve-cpuset", "pve-ct-timezone",
            "pve-hotplug-features", "pve-lxc-dev-string", "pve-lxc-mp-string", "pve-phys-bits", "pve-poolid",
            "pve-qm-bootdev-list", "pve-startup-order", "pve-storage-id", "pve-vlan-id-or-range", "pve-volume-id",
            "storage-pair-list", "storage-pair", "urlencoded",
        ] {
            let _ = check_format(format, &text);
        }
    }
}

#[test]
fn every_option_with_sub_keys_has_a_round_trip() {
    let formats = formats();
    for option in ["net[n]", "scsi[n]", "cpu", "ipconfig[n]", "efidisk0"] {
        let found = formats.iter().find(|(kind, name, _)| *kind == GuestKind::Qemu && name == option);
        assert!(!found.unwrap().2.keys.is_empty(), "{option}");
    }
}
