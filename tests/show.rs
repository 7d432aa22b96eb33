//! `show`: what it prints is a manifest for the same fleet.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should say so where it stands")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;
use pvefleet::clusters::{Registry, Variables, load};
use pvefleet::desired::{self, CloneSource, Desired, OptionValue, Routing};
use pvefleet::diagnostics::{Diagnostic, Place};
use pvefleet::manifest;
use pvefleet::report::show::{self, Show};
use pvefleet::report::yaml::{self, Tree};

fn registry() -> Registry {
    let text = include_str!("../.env.example.multi").to_owned();
    load(&Variables::merge([], &[(".env".to_owned(), text)]), &|_| Err("unused".to_owned())).unwrap()
}

fn resolve(files: &[(String, String)]) -> Result<Desired, Vec<Diagnostic>> {
    let (fleet, mut problems) = manifest::read(files);
    let Some(fleet) = fleet else { return Err(problems) };
    let (desired, more) = desired::resolve(&fleet, &registry());
    problems.extend(more);
    desired.ok_or(problems)
}

fn one(text: &str) -> Vec<(String, String)> {
    vec![("fleet.yaml".to_owned(), text.to_owned())]
}

/// The fleet without the places where things stand, and the ways they came there.
fn bare(mut desired: Desired) -> Desired {
    let nowhere = || Place { file: "".into(), line: 0, column: 0, length: 0 };
    for guest in desired.clusters.values_mut().flat_map(|cluster| &mut cluster.guests) {
        guest.routing = Routing::Named;
        guest.place = nowhere();
        guest.origins = BTreeMap::new();
        if let Some(clone) = &mut guest.clone {
            *clone = CloneSource { place: nowhere(), ..clone.clone() };
        }
        for option in guest.options.values_mut() {
            let option = std::sync::Arc::make_mut(option);
            option.place = nowhere();
            option.layer = String::new();
            if let OptionValue::Drive(drive) = &mut option.value {
                assert!(drive.import.is_none() && drive.moved_from.is_none());
            }
        }
    }
    desired
}

fn shown(desired: &Desired, origin: bool) -> String {
    yaml::text(&show::entries(desired, Show { guest: None, origin }).unwrap())
}

fn assert_comes_back(desired: Desired) {
    for origin in [false, true] {
        let text = shown(&desired, origin);
        match resolve(&one(&text)) {
            Ok(again) => {
                let (before, after) = (bare(desired.clone()), bare(again));
                assert!(before == after, "{text}\n{before:#?}\n{after:#?}");
            }
            Err(problems) => panic!("{text}\n{problems:#?}"),
        }
    }
}

#[test]
fn the_examples_come_back() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/homelab");
    let files: Vec<(String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    assert_comes_back(resolve(&files).unwrap());
}

/// Values in every form that the language has; `|` separates weaker layers from stronger ones.
const VALUES: &[(&str, &str)] = &[
    ("cores", "2"),
    ("onboot", "true"),
    ("onboot", "0"),
    ("protection", "null"),
    ("cpulimit", "1.50"),
    ("memory", "4GiB"),
    ("memory", "{current: 1G}"),
    ("balloon", "512MiB"),
    ("keyboard", "no"),
    ("description", "\"two\\nlines: {{ '{{' }} #x\""),
    ("description", "12:30"),
    ("tags", "[web, db]"),
    ("tags", "null"),
    ("nameserver", "[1.1.1.1, 9.9.9.9]"),
    ("sshkeys", "\"ssh-ed25519 AA+/ me\\nssh-rsa BB you\""),
    ("boot", "{order: [scsi0, net0]}"),
    ("agent", "true"),
    ("agent", "{enabled: yes, guest-fsfreeze: 0}"),
    ("agent", "enabled=1,fstrim_cloned_disks=1"),
    ("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0"),
    ("net0", "{virtio: \"BC:24:11:00:00:01\"}"),
    ("net0", "{tag: null, trunks: [10, 20], firewall: on}"),
    ("net0", "{}"),
    ("net0", "null"),
    ("cpu", "{cputype: host, flags: \"+aes;-pcid\"}"),
    ("ipconfig0", "{ip: 10.0.0.5/24, gw: 10.0.0.1}"),
    ("cipassword", "{env: WEB, version: 2}"),
    ("cipassword", "{env: WEB}"),
    ("scsi0", "{storage: local-lvm, size: 8GiB, discard: on}"),
    ("scsi0", "{size: 32G}"),
    ("scsi0", "{ssd: true}"),
    ("scsi0", "{new: true, size: 1536MiB}"),
    ("scsi0", "\"local-lvm:32,discard=on\""),
    ("scsi0", "\"local-lvm:0.5,ssd=1\""),
    ("scsi0", "\"local-lvm:vm-100-disk-0,size=8G\""),
    ("scsi0", "{volume: \"local-lvm:vm-100-disk-0\"}"),
    ("ide2", "\"local:iso/x.iso,media=cdrom\""),
    ("ide2", "{iso: \"local:iso/x.iso\"}"),
    ("ide2", "none,media=cdrom"),
    ("ide2", "{volume: none}"),
    ("ide2", "\"local-lvm:cloudinit\""),
    ("ide2", "{cloudinit: true, storage: ssd}"),
    ("efidisk0", "{storage: ssd, efitype: 4m}"),
    ("efidisk0", "\"ssd:1,efitype=4m\""),
    ("tpmstate0", "{storage: ssd, version: v2.0}"),
    ("node", "[pve1, pve2]"),
    ("node", "pve1"),
    ("state", "running"),
    ("state", "null"),
    ("reboot", "allow"),
    ("reboot", "false"),
    ("startup", "{order: 1, up: 30}"),
    ("startup", "order=2"),
    ("agent", "\"1\""),
    ("unlisted", "remove"),
    ("ignore", "[\"net*.rate\", description]"),
    ("pool", "infra"),
    ("pool", "null"),
    ("shutdown_timeout", "120"),
];

fn layer(indent: &str, picks: &[usize]) -> String {
    let mut text = String::new();
    let mut seen = Vec::new();
    for (name, value) in picks.iter().map(|pick| VALUES[pick % VALUES.len()]) {
        if !seen.contains(&name) {
            seen.push(name);
            writeln!(text, "{indent}{name}: {value}").unwrap();
        }
    }
    text
}

fn manifest_of(layers: &[Vec<usize>], routed: bool) -> String {
    let [defaults, profile, guest, of_each] = layers else { panic!("four layers") };
    let cluster = if routed {
        "vms:\n".to_owned()
    } else {
        "clusters:\n  staging: {vms: []}\n  production:\n    vms:\n".to_owned()
    };
    let pad = if routed { "" } else { "    " };
    format!(
        "fleet: f\nscope: s\nguards: {{max_deletes: 3}}\ndefaults:\n  vm:\n    acpi: true\n{}profiles:\n  p:\n    acpi: true\n{}{cluster}\
         {pad}  - name: prod-a\n{pad}    profiles: [p]\n{pad}    clone: {{from: base, full: true, storage: x}}\n{}\
         {pad}  - name: prod-b-{{{{ n }}}}\n{pad}    each: {{n: 1..2}}\n{pad}    vmid: \"{{{{ 100 + n }}}}\"\n{pad}    adopt: true\n\
         {pad}    depends_on: [prod-a]\n{}",
        layer("    ", defaults),
        layer("    ", profile),
        layer(&format!("{pad}    "), guest),
        layer(&format!("{pad}    "), of_each),
    )
}

#[test]
fn every_form_of_a_value_comes_back() {
    for pick in 0..VALUES.len() {
        let text = manifest_of(&[vec![], vec![], vec![pick], vec![]], pick % 2 == 0);
        let desired = resolve(&one(&text)).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"));
        assert_comes_back(desired);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_shown_is_the_same_fleet(
        layers in proptest::collection::vec(proptest::collection::vec(0..VALUES.len(), 0..12), 4),
        routed in any::<bool>(),
    ) {
        if let Ok(desired) = resolve(&one(&manifest_of(&layers, routed))) {
            assert_comes_back(desired);
        }
    }
}

const FLEET: &str = "fleet: f
vars: {domain: example.net}
defaults:
  vm: {cores: 1, cipassword: hunter2}
profiles:
  web: {cores: 2, net0: {model: virtio, bridge: vmbr0}}
clusters:
  production:
    vms:
      - name: prod-web-{{ n }}
        each: {n: 1..2}
        profiles: [web]
        clone: {from: base}
        description: \"{{ n }} of {{ domain }}\"
";

#[test]
fn one_guest_is_shown_with_the_origin_of_its_values() {
    let desired = resolve(&one(FLEET)).unwrap();
    let show = Show { guest: Some("prod-web-2"), origin: true };
    let text = yaml::text(&show::entries(&desired, show).unwrap());
    assert_eq!(
        text,
        "fleet: f
guards: {max_deletes: 1, max_delete_percent: 10, max_reboots: 5}
clusters:
  production:
    vmids: 1000-1999
    vms:
      - name: prod-web-2  # guest, fleet.yaml:10
        clone: {from: base}  # guest, fleet.yaml:13
        # cipassword: a secret that stands in the manifest
        cores: 2  # profile web, fleet.yaml:6
        description: \"2 of example.net\"  # guest, fleet.yaml:14
        net0: {bridge: vmbr0, model: virtio}  # profile web, fleet.yaml:6
"
    );
    let none = Show { guest: Some("staging/prod-web-2"), origin: false };
    assert!(show::entries(&desired, none).is_none());
    let document = yaml::json(&Tree::Map(show::entries(&desired, show).unwrap()));
    assert_eq!(document["clusters"]["production"]["vms"][0]["cores"], "2");
    assert!(!document.to_string().contains("hunter2") && !format!("{desired:?}").contains("hunter2"));
    let origins = show::origins(&desired, show);
    assert_eq!(origins["production"]["prod-web-2"]["cores"]["layer"], "profile web");
    assert_eq!(origins["production"]["prod-web-2"]["cores"]["place"]["line"], 6);
    assert!(origins["production"].get("prod-web-1").is_none());
}
