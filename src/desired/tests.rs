//! What is written, and what it comes to.

use std::fmt::Write as _;

use super::*;
use crate::clusters::{Registry, Variables, load};
use crate::manifest;
use crate::pve::value::Size;

fn registry() -> Registry {
    let text = "PROXMOX_API_URL=https://pve.example.net:8006\nPROXMOX_TOKEN_ID=a@pve!t\nPROXMOX_TOKEN_SECRET=s\n\
                PROXMOX_DEFAULT_STORAGE=tank\n";
    load(&Variables::merge([], &[(".env".to_owned(), text.to_owned())]), &|_| Ok(String::new())).unwrap()
}

fn resolved(text: &str) -> Result<Desired, Vec<String>> {
    let (fleet, problems) = manifest::read(&[("fleet.yaml".to_owned(), text.to_owned())]);
    let said = |problems: Vec<crate::diagnostics::Diagnostic>| {
        let matter = problems.into_iter().filter(crate::diagnostics::Diagnostic::is_error);
        matter.map(|problem| problem.message).collect::<Vec<String>>()
    };
    let mut messages = said(problems);
    let Some(fleet) = fleet else { return Err(messages) };
    let (desired, problems) = resolve(&fleet, &registry());
    messages.extend(said(problems));
    desired.filter(|_| messages.is_empty()).ok_or(messages)
}

/// One option of one VM (or container, for container options) in a line.
fn option(name: &str, layers: &[&str]) -> String {
    let container = matches!(name, "rootfs" | "mp0" | "swap" | "ssh-public-keys" | "password");
    let mut text = "fleet: f\nprofiles:\n".to_owned();
    let (last, weaker) = layers.split_last().unwrap();
    for (number, layer) in weaker.iter().enumerate() {
        writeln!(text, "  p{number}: {{{name}: {layer}}}").unwrap();
    }
    let names: Vec<String> = (0..weaker.len()).map(|number| format!("p{number}")).collect();
    let kind = if container { "containers" } else { "vms" };
    write!(text, "{kind}:\n  - name: a\n    clone: {{from: b}}\n    profiles: [{}]\n", names.join(", ")).unwrap();
    writeln!(text, "    {name}: {last}").unwrap();
    match resolved(&text) {
        Ok(desired) => show(&desired.clusters["default"].guests[0].options[name].value),
        Err(problems) => problems.join(" | "),
    }
}

fn show(value: &OptionValue) -> String {
    let list = |keys: &std::collections::BTreeMap<String, Option<String>>| {
        keys.iter()
            .map(|(key, value)| format!("{key}={}", value.as_deref().unwrap_or("-")))
            .collect::<Vec<_>>()
            .join(",")
    };
    match value {
        OptionValue::Absent => "absent".to_owned(),
        OptionValue::Text(text) => text.clone(),
        OptionValue::Properties { whole, keys } => format!("{}{}", if *whole { "whole " } else { "" }, list(keys)),
        OptionValue::Drive(drive) => {
            let size = drive.size.map(|size| format!(" {size}")).unwrap_or_default();
            let (whole, new) = (if drive.whole { " whole" } else { "" }, if drive.new { " new" } else { "" });
            format!("{:?}{size}{whole}{new} {}", drive.form, list(&drive.keys)).trim_end().to_owned()
        }
        OptionValue::Secret(reference) => format!("secret {} {:?}", reference.env, reference.version),
    }
}

#[test]
fn values_by_their_own_type() {
    for (name, written, expected) in [
        ("onboot", "yes", "1"),
        ("onboot", "OFF", "0"),
        ("onboot", "\"1\"", "1"),
        ("cores", "4", "4"),
        ("cpulimit", "1.50", "1.50"),
        ("keyboard", "no", "no"),
        ("ciuser", "on", "on"),
        ("memory", "4GiB", "whole current=4096"),
        ("memory", "2048", "whole current=2048"),
        ("memory", "{current: 1G}", "current=1024"),
        ("balloon", "1GiB", "1024"),
        ("swap", "512MiB", "512"),
        ("tags", "[Web, db]", "db;web"),
        ("tags", "b;a", "a;b"),
        ("nameserver", "[1.1.1.1, 9.9.9.9]", "1.1.1.1 9.9.9.9"),
        ("boot", "{order: [scsi0, net0]}", "order=scsi0;net0"),
        ("agent", "true", "whole enabled=1"),
        ("agent", "{enabled: yes, guest-fsfreeze: 0}", "enabled=1,freeze-fs=0"),
        ("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0", "whole bridge=vmbr0,macaddr=BC:24:11:00:00:01,model=virtio"),
        ("net0", "{virtio: \"BC:24:11:00:00:01\"}", "macaddr=BC:24:11:00:00:01,model=virtio"),
        ("net0", "{trunks: [10, 20]}", "trunks=10;20"),
        ("net0", "null", "absent"),
        ("sshkeys", "\"ssh-ed25519 AA+/ me\"", "ssh-ed25519%20AA%2B%2F%20me"),
        ("sshkeys", "ssh-ed25519%20AA%2B%2F%20me", "ssh-ed25519%20AA%2B%2F%20me"),
        ("cipassword", "{env: WEB, version: 2}", "secret WEB Some(2)"),
        ("password", "{env: WEB}", "secret WEB None"),
    ] {
        assert_eq!(option(name, &[written]), expected, "{name}: {written}");
    }
}

#[test]
fn drives_in_all_forms() {
    for (name, written, expected) in [
        (
            "scsi0",
            "{storage: local-lvm, size: 8GiB, discard: on}",
            r#"Allocate { storage: "local-lvm" } 8G discard=on"#,
        ),
        ("scsi0", "{size: 32G}", "Inherited 32G"),
        ("scsi0", "{ssd: true}", "Inherited ssd=1"),
        ("scsi0", "{new: true, size: 1GiB}", r#"Allocate { storage: "tank" } 1G new"#),
        ("scsi0", "{file: \"local-lvm:vm-100-disk-0\"}", r#"Volume("local-lvm:vm-100-disk-0")"#),
        ("scsi0", "\"local-lvm:32,discard=on\"", r#"Allocate { storage: "local-lvm" } 32G whole discard=on"#),
        ("scsi0", "\"local-lvm:0.5\"", r#"Allocate { storage: "local-lvm" } 512M whole"#),
        ("scsi0", "\"local-lvm:vm-100-disk-0,size=8G\"", r#"Volume("local-lvm:vm-100-disk-0") 8G whole"#),
        ("ide2", "\"local:iso/x.iso,media=cdrom\"", r#"Iso("local:iso/x.iso") whole"#),
        ("ide2", "{iso: \"local:iso/x.iso\"}", r#"Iso("local:iso/x.iso")"#),
        ("ide2", "{volume: \"local:iso/x.iso\", media: cdrom}", r#"Iso("local:iso/x.iso")"#),
        ("ide2", "none,media=cdrom", "Empty whole"),
        ("ide2", "{volume: none}", "Empty"),
        ("ide2", "\"local-lvm:cloudinit\"", r#"CloudInit { storage: "local-lvm" } whole"#),
        ("ide2", "{cloudinit: true}", r#"CloudInit { storage: "tank" }"#),
        ("ide2", "{cloudinit: true, storage: ssd}", r#"CloudInit { storage: "ssd" }"#),
        ("efidisk0", "{storage: ssd, efitype: 4m}", r#"Allocate { storage: "ssd" } efitype=4m"#),
        ("tpmstate0", "{storage: ssd, version: v2.0}", r#"Allocate { storage: "ssd" } version=v2.0"#),
        ("rootfs", "{storage: ssd, size: 8GiB}", r#"Allocate { storage: "ssd" } 8G"#),
        ("rootfs", "\"ssd:8\"", r#"Allocate { storage: "ssd" } 8G whole"#),
        ("mp0", "{volume: /srv/data, mp: /data}", r#"Volume("/srv/data") mp=/data"#),
        (
            "mp0",
            "{storage: ssd, size: 1G, mp: /a, mountoptions: [noatime, nodev]}",
            r#"Allocate { storage: "ssd" } 1G mountoptions=noatime;nodev,mp=/a"#,
        ),
        ("scsi0", "null", "absent"),
    ] {
        assert_eq!(option(name, &[written]), expected, "{name}: {written}");
    }
    assert_eq!(Size(512 << 20).to_string(), "512M");
}

#[test]
fn layers_lie_over_each_other() {
    for (name, layers, expected) in [
        ("cores", &["2", "4"][..], "4"),
        ("cores", &["2", "null"], "absent"),
        ("cores", &["2", "null", "1"], "1"),
        ("tags", &["[a, b]", "[b, c]"], "a;b;c"),
        ("tags", &["a", "null", "c"], "c"),
        ("nameserver", &["[1.1.1.1]", "[9.9.9.9]"], "9.9.9.9"),
        ("net0", &["{model: virtio, bridge: vmbr0, tag: 5}", "{tag: 6}"], "bridge=vmbr0,model=virtio,tag=6"),
        ("net0", &["{model: virtio, tag: 5}", "{tag: null}"], "model=virtio,tag=-"),
        ("net0", &["{model: virtio, tag: 5}", "{model: e1000}"], "model=e1000"),
        ("net0", &["\"virtio,bridge=vmbr0\"", "{tag: 6}"], "whole bridge=vmbr0,model=virtio,tag=6"),
        ("net0", &["{model: virtio, tag: 5}", "\"virtio,bridge=vmbr1\""], "whole bridge=vmbr1,model=virtio"),
        ("scsi0", &["{storage: a1, size: 8GiB, ssd: true}", "{size: 9GiB}"], r#"Allocate { storage: "a1" } 9G ssd=1"#),
        ("scsi0", &["{size: 8GiB}", "{storage: a1}"], r#"Allocate { storage: "a1" } 8G"#),
        ("scsi0", &["{storage: a1, size: 8GiB, ssd: true}", "{volume: \"a1:x\"}"], r#"Volume("a1:x")"#),
        ("scsi0", &["\"a1:8,ssd=1\"", "{size: 9GiB}"], r#"Allocate { storage: "a1" } 9G whole ssd=1"#),
        ("ide2", &["{cloudinit: true}", "{iso: \"a1:iso/x.iso\"}"], r#"Iso("a1:iso/x.iso")"#),
    ] {
        assert_eq!(option(name, layers), expected, "{name}: {layers:?}");
    }
}

#[test]
fn our_own_settings_are_merged_too() {
    let text = "fleet: f\ndefaults:\n  guest: {state: running, node: [n1, n2], pool: infra}\n\
        clusters:\n  default:\n    vmids: 500-600\n    defaults: {vm: {state: stopped}}\n    vms:\n\
        \x20     - name: a\n        node: n3\n        pool: null\n        ignore: [\"net*.rate\"]\n        unlisted: remove\n\
        \x20     - {name: b, reboot: allow, shutdown_timeout: 60, depends_on: a}\n\
        containers:\n  - {name: c, adopt: true}\n";
    let desired = resolved(text).unwrap();
    let cluster = &desired.clusters["default"];
    let [a, b, c] = cluster.guests.as_slice() else { panic!("three guests") };
    assert_eq!((a.state, a.nodes.as_slice(), &a.pool), (Some(Power::Stopped), &["n3".to_owned()][..], &None));
    assert_eq!((a.unlisted, a.ignore.as_slice()), (Unlisted::Remove, &["net*.rate".to_owned()][..]));
    assert_eq!((b.reboot, b.shutdown_timeout, b.depends_on.as_slice()), (true, Some(60), &["a".to_owned()][..]));
    assert_eq!((c.state, c.nodes.len(), c.pool.as_deref()), (Some(Power::Running), 2, Some("infra")));
    assert_eq!(cluster.vmids.unwrap().first.get(), 500);
    assert_eq!(desired.guards, Guards::default());
}

#[test]
fn a_refused_option_is_reported_once() {
    let one = |text: &str| resolved(text).unwrap_err();
    assert_eq!(
        one("fleet: f\nprofiles: {p: {net0: {tag: 0}}}\nvms: [{name: a, profiles: [p], net0: {bridge: vmbr0}}]\n")
            .len(),
        1
    );
    assert_eq!(
        one("fleet: f\ncontainers: [{name: a, ostemplate: \"local:vztmpl/x\", rootfs: {storage: a1, size: 8}}]\n")
            .len(),
        1
    );
    assert_eq!(
        one("fleet: f\nprofiles: {p: {cores: x}}\nvms: [{name: a, profiles: [p]}, {name: b, profiles: [p]}]\n").len(),
        1
    );
}
