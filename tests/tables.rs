//! The option tables: made from what is checked in, and true to what else is known.

use std::fs;
use std::path::Path;

use pvefleet::pve::schema::{Spelling, catalog, catalog_for, known_versions, version_number};
use pvefleet::pve::value::GuestKind;

#[expect(dead_code, reason = "the program's own parts are not used here")]
#[path = "../examples/pve_tables.rs"]
mod pve_tables;

#[test]
fn the_tables_are_those_that_the_sources_give() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/pve");
    for (name, text) in pve_tables::generate(&folder).unwrap() {
        let kept = fs::read_to_string(folder.join(name)).unwrap();
        let differs = kept.lines().zip(text.lines()).find(|(kept, made)| kept != made);
        assert!(kept == text, "schemas/pve/{name}: run `cargo run --example pve_tables`; first at {differs:?}");
    }
}

#[test]
fn every_version_has_its_own_options() {
    assert_eq!(known_versions().map(|version| version_number(version).0), [8, 9]);
    let has = |kind, version, option: &str| catalog_for(kind, version).find(option).is_some();
    for (option, kind) in [("allow-ksm", GuestKind::Qemu), ("intel-tdx", GuestKind::Qemu), ("env", GuestKind::Lxc)] {
        assert!(has(kind, "9.1.9", option) && !has(kind, "8.4.21", option), "{option}");
    }
    let key = |version, option: &str, key: &str| {
        let spec = catalog_for(GuestKind::Qemu, version).find(option).unwrap();
        spec.value.properties.as_ref().unwrap().keys.contains_key(key)
    };
    for (option, name) in [("machine", "aw-bits"), ("cpu", "guest-phys-bits"), ("hostpci0", "driver")] {
        assert!(key("9.1.9", option, name) && !key("8.4.21", option, name), "{option}.{name}");
    }
    assert!(key("8.4.21", "scsi0", "cyls") && !key("9.0", "scsi0", "cyls"));
    // What nobody can tell the version of is taken for the newest.
    assert!(has(GuestKind::Qemu, "unknown", "allow-ksm") && has(GuestKind::Qemu, "10.0.1", "allow-ksm"));
}

#[test]
fn facts_fit_their_options() {
    let mut wrong = Vec::new();
    for kind in GuestKind::ALL {
        for (name, spec) in catalog(kind).iter() {
            let facts = &spec.facts;
            if let Some(example) = facts.example.as_ref().filter(|_| !facts.secret)
                && let Err(error) = spec.value.check(example, Spelling::Parameter)
            {
                wrong.push(format!("{kind} {name}: the example is refused: {}", error.reason()));
            }
            let settable = facts.instead.is_none() && (!facts.call || facts.example.is_some());
            if settable && facts.example.is_none() && spec.value.default.is_none() && spec.value.choices.is_none() {
                wrong.push(format!("{kind} {name}: has no example"));
            }
            if !facts.call && facts.privilege.is_empty() && facts.root_only.is_none() {
                wrong.push(format!("{kind} {name}: who may set it?"));
            }
            if facts.call && spec.update {
                wrong.push(format!("{kind} {name}: is no parameter of one call"));
            }
            let line = |text: &str| text.chars().count() <= 110;
            let keys = spec.value.properties.iter().flat_map(|format| &format.keys);
            if !line(&facts.is) || keys.into_iter().any(|(_, key)| !line(&key.facts.is)) {
                wrong.push(format!("{kind} {name}: a line is too long"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
