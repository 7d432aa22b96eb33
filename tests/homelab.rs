//! The example that the README begins with: it must resolve without a word.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so where it stands")]

use std::path::Path;

use pvefleet::clusters::{Registry, Variables, load};
use pvefleet::desired::{self, Desired, DriveForm, OptionValue, Routing};
use pvefleet::manifest;
use pvefleet::pve::value::Size;

fn registry() -> Registry {
    let text = include_str!("../.env.example.multi").to_owned();
    load(&Variables::merge([], &[(".env.example.multi".to_owned(), text)]), &|_| Err("unused".to_owned())).unwrap()
}

fn homelab() -> Desired {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/homelab");
    let files: Vec<(String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    let (fleet, problems) = manifest::read(&files);
    assert!(problems.is_empty(), "{problems:#?}");
    let (desired, problems) = desired::resolve(&fleet.unwrap(), &registry());
    assert!(problems.is_empty(), "{problems:#?}");
    desired.unwrap()
}

#[test]
fn every_guest_is_where_it_belongs() {
    let desired = homelab();
    let guests: Vec<String> = desired
        .clusters
        .iter()
        .flat_map(|(cluster, settings)| {
            assert!(settings.declared && settings.vmids.is_some());
            settings
                .guests
                .iter()
                .map(move |guest| format!("{cluster} {} {} {:?}", guest.kind, guest.name, guest.routing))
        })
        .collect();
    assert_eq!(
        guests,
        [
            "disaster-recovery qemu disaster-recovery-standby-01 NamePrefix",
            "disaster-recovery lxc dr-vault-01 Named",
            "production qemu prod-db-01 Named",
            "production qemu prod-web-01 Named",
            "production qemu prod-web-02 Named",
            "production lxc prod-dns-01 Named",
            "production lxc prod-proxy-01 Named",
            "staging qemu stg-web-01 Named",
            "staging lxc stg-ci-01 Pattern",
        ]
    );
    assert_eq!(desired.fleet, "homelab");
    assert_eq!(desired.clusters["staging"].guests[1].routing, Routing::Pattern);
}

#[test]
fn layers_are_merged() {
    let desired = homelab();
    let guest = |cluster: &str, name: &str| {
        desired.clusters[cluster].guests.iter().find(|guest| guest.name == name).unwrap().clone()
    };
    let web = guest("staging", "stg-web-01");
    let clone = web.clone.clone().unwrap();
    assert_eq!(
        (clone.from.to_string().as_str(), clone.full, clone.storage.as_deref()),
        ("debian-12", Some(true), Some("local-lvm"))
    );
    let OptionValue::Properties { keys, .. } = &web.options["memory"].value else { panic!() };
    assert_eq!(keys["current"].as_deref(), Some("2048"));
    assert_eq!(web.options["tags"].value, OptionValue::Text("managed;web".to_owned()));
    assert_eq!(web.options["onboot"].layer, "defaults.guest");

    let dns = guest("production", "prod-dns-01");
    let OptionValue::Properties { whole: false, keys } = &dns.options["net0"].value else { panic!() };
    assert_eq!((keys["name"].as_deref(), keys["ip"].as_deref()), (Some("eth0"), Some("10.0.20.53/24")));

    let database = guest("production", "prod-db-01");
    let OptionValue::Drive(disk) = &database.options["scsi0"].value else { panic!() };
    assert_eq!(disk.form, DriveForm::Allocate { storage: "local-lvm".to_owned() });
    assert_eq!((disk.size, disk.keys["discard"].as_deref()), (Some(Size(16 << 30)), Some("on")));
    let OptionValue::Drive(drive) = &database.options["ide2"].value else { panic!() };
    assert_eq!(drive.form, DriveForm::Iso("local:iso/debian-12.iso".to_owned()));
}
