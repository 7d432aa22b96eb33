//! `explain`: what is said of an option stands in `tests/explain`; run with `UPDATE=1` to write it anew, and read the
//! difference before keeping it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::fs;
use std::path::Path;
use std::process::Command;

use pvefleet::clusters::{self, Registry, Variables};
use pvefleet::desired::{self, DesiredOption, OptionValue};
use pvefleet::manifest;
use pvefleet::pve::schema::catalog;
use pvefleet::pve::value::GuestKind;
use pvefleet::report::{Layout, explain, explain_text};

const PAGES: [(GuestKind, Option<&str>); 18] = [
    (GuestKind::Qemu, None),
    (GuestKind::Lxc, None),
    (GuestKind::Qemu, Some("agent")),
    (GuestKind::Qemu, Some("args")),
    (GuestKind::Qemu, Some("balloon")),
    (GuestKind::Qemu, Some("cipassword")),
    (GuestKind::Qemu, Some("cpu")),
    (GuestKind::Qemu, Some("digest")),
    (GuestKind::Qemu, Some("efidisk0")),
    (GuestKind::Qemu, Some("intel-tdx")),
    (GuestKind::Qemu, Some("net")),
    (GuestKind::Qemu, Some("net0.tag")),
    (GuestKind::Qemu, Some("scsi0")),
    (GuestKind::Qemu, Some("state")),
    (GuestKind::Lxc, Some("clone")),
    (GuestKind::Lxc, Some("features")),
    (GuestKind::Lxc, Some("mp0")),
    (GuestKind::Lxc, Some("unprivileged")),
];

#[test]
fn pages_are_as_written_down() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain");
    let mut wrong = Vec::new();
    for (kind, name) in PAGES {
        let said = explain_text::text(explain::find(kind, name).unwrap(), Layout::default());
        let too_wide = said.lines().find(|line| line.chars().count() > 100);
        assert!(too_wide.is_none() || said.contains("Example"), "{too_wide:?}");
        let file = folder.join(format!("{kind}-{}.txt", name.unwrap_or("all")));
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&file, said).unwrap();
        } else if fs::read_to_string(&file).unwrap_or_default() != said {
            wrong.push(format!("── {}\n{said}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn everything_can_be_explained() {
    for kind in GuestKind::ALL {
        let names = catalog(kind).iter().map(|(name, _)| name.to_owned());
        for name in names.chain(explain::own_keys(kind).map(|spec| spec.name.to_owned())) {
            let found = explain::find(kind, Some(&name)).unwrap();
            for width in [40, 100] {
                let text = explain_text::text(found, Layout { color: true, width });
                assert!(text.contains(name.trim_end_matches("[n]")), "{text}");
            }
            assert!(explain::document(found).is_object());
        }
    }
}

#[test]
fn unknown_names_lead_to_known_ones() {
    let why = |kind, name| explain::find(kind, Some(name)).unwrap_err();
    assert_eq!(why(GuestKind::Qemu, "memroy"), "a VM has no option `memroy`; did you mean `memory`?");
    assert_eq!(why(GuestKind::Qemu, "sate"), "a VM has no option `sate`; did you mean `state`?");
    assert_eq!(why(GuestKind::Qemu, "rootfs"), "a VM has no option `rootfs`; a container has it");
    assert_eq!(
        why(GuestKind::Lxc, "net0.bridgee"),
        "`net0` of a container has no sub-key `bridgee`; did you mean `net0.bridge`?"
    );
    assert_eq!(
        why(GuestKind::Lxc, "zzzzzzzz"),
        "a container has no option `zzzzzzzz`; `pvefleet explain container` lists what there is"
    );
}

#[test]
fn the_program_explains_and_refuses() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_pvefleet")).args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, _) = run(&["explain", "ct", "mp0", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &document["option"]["index"]), (0, &serde_json::json!([0, 255])));
    assert_eq!(document["option"]["example"]["text"], "mp0: local-lvm:8,mp=/srv,backup=1");
    let (code, out, err) = run(&["explain", "vm", "memroy"]);
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (64, "", "error: a VM has no option `memroy`; did you mean `memory`?\n")
    );
    assert_eq!(run(&["explain", "guest"]).0, 64);
    // A reader of help finds it.
    assert!(run(&["--help"]).1.contains("explain"));
}

fn registry() -> Registry {
    let env = "PROXMOX_CLUSTERS=production\nPROXMOX_CLUSTER_production_API_URL=https://p.example.net\n\
               PROXMOX_CLUSTER_production_TOKEN_ID=a@pve!t\nPROXMOX_CLUSTER_production_TOKEN_SECRET=s\n";
    let variables = Variables::merge(Vec::new(), &[(".env".to_owned(), env.to_owned())]);
    clusters::load(&variables, &|_| Ok(String::new())).unwrap()
}

/// One option as a manifest with this line has it.
fn resolved(registry: &Registry, kind: GuestKind, name: &str, line: &str) -> Result<DesiredOption, String> {
    let guest = match kind {
        GuestKind::Qemu => "vms:\n  - name: a\n    cluster: production\n    clone: {from: debian-12}\n",
        GuestKind::Lxc => "containers:\n  - name: a\n    cluster: production\n    clone: {from: debian-12}\n",
    };
    let text = format!("fleet: test\n{guest}    {line}\n");
    let (fleet, problems) = manifest::read(&[("fleet.yaml".to_owned(), text)]);
    let (wanted, more) = fleet.map(|fleet| desired::resolve(&fleet, registry)).unwrap_or_default();
    let found = wanted.and_then(|wanted| wanted.clusters["production"].guests[0].options.get(name).cloned());
    found
        .map(|option| (*option).clone())
        .ok_or_else(|| format!("{line}: {:?}", problems.iter().chain(&more).map(|p| &p.message).collect::<Vec<_>>()))
}

/// What an option means, however it is written.
fn meaning(option: &DesiredOption) -> String {
    match &option.value {
        OptionValue::Properties { keys, .. } => format!("{keys:?}"),
        // The number in `STORAGE:1` of these says nothing.
        OptionValue::Drive(drive) if drive.keys.contains_key("efitype") || drive.keys.contains_key("version") => {
            format!("{:?} {:?}", drive.form, drive.keys)
        }
        OptionValue::Drive(drive) => format!("{:?} {:?} {:?}", drive.form, drive.size, drive.keys),
        other => format!("{other:?}"),
    }
}

#[test]
fn examples_are_accepted_and_both_forms_mean_the_same() {
    let registry = registry();
    let mut wrong = Vec::new();
    let mut count = 0;
    for kind in GuestKind::ALL {
        for (table_name, spec) in catalog(kind).iter() {
            let Some(example) = explain::example(kind, table_name, spec) else { continue };
            let name = explain::first_name(table_name);
            // The guest's name, and what only a container made from a template takes.
            if matches!(name.as_str(), "name" | "hostname" | "ostemplate" | "password" | "ssh-public-keys") {
                continue;
            }
            count += 1;
            let forms: Result<Vec<DesiredOption>, String> = std::iter::once(&example.yaml)
                .chain(&example.text)
                .map(|line| resolved(&registry, kind, &name, line))
                .collect();
            match forms.as_deref() {
                Ok([map, text]) if meaning(map) != meaning(text) => {
                    wrong.push(format!("{kind} {name}: {} and {}", meaning(map), meaning(text)));
                }
                Ok(_) => {}
                Err(problem) => wrong.push(format!("{kind} {problem}")),
            }
        }
    }
    assert!(wrong.is_empty() && count > 90, "{count}\n{}", wrong.join("\n"));
}
