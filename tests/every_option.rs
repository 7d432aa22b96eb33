//! Every option that a token may set: declared, changed and removed, each time applied until planning again is empty.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/parallel.rs"]
mod parallel;
mod support;

use std::collections::BTreeMap;

use pvefleet::plan::State;
use pvefleet::pve::property;
use pvefleet::pve::root_only::is_root_only;
use pvefleet::pve::schema::{ValueSpec, ValueType, catalog_for};
use pvefleet::pve::value::GuestKind;
use pvefleet::sim::world::GrantSpec;
use support::{World, text};

/// Two values for options whose type alone does not tell what is valid.
const SAMPLES: &[(&str, &str, &str)] = &[
    ("agent", "enabled=1", "enabled=1,fstrim_cloned_disks=1"),
    ("audio0", "device=ich9-intel-hda,driver=none", "device=AC97"),
    ("balloon", "256", "128"),
    ("boot", "order=scsi0", "order=net0;scsi0"),
    ("bootdisk", "scsi0", "scsi0"),
    ("cicustom", "user=local:snippets/a.yaml", "user=local:snippets/a.yaml,vendor=local:snippets/b.yaml"),
    ("ciuser", "admin", "root"),
    ("cpu", "host", "x86-64-v2-AES,flags=+aes"),
    ("cpulimit", "1.5", "2"),
    ("cpuunits", "200", "300"),
    ("description", "One line.", "Two\nlines: ü, 100 %"),
    ("efidisk0", "local-lvm:1,efitype=4m,pre-enrolled-keys=1", ""),
    ("features", "nesting=1", "nesting=0"),
    ("hostpci[n]", "mapping=gpu", "mapping=gpu,rombar=0"),
    ("hotplug", "disk,network", "disk"),
    ("ide[n]", "local-lvm:1", "local-lvm:1,backup=0"),
    ("ipconfig[n]", "ip=10.0.0.2/24,gw=10.0.0.1", "ip=dhcp,ip6=auto"),
    ("machine", "q35", "pc"),
    ("memory", "1024", "2048"),
    ("mp[n]", "local-lvm:1,mp=/srv", "local-lvm:1,mp=/srv,backup=1"),
    ("nameserver", "192.0.2.53", "192.0.2.53 192.0.2.54"),
    ("numa[n]", "cpus=0,memory=512", "cpus=0,memory=256"),
    ("rng0", "source=/dev/urandom", "source=/dev/urandom,max_bytes=512"),
    ("sata[n]", "local-lvm:1", "local-lvm:1,discard=on"),
    ("scsi[n]", "local-lvm:1", "local-lvm:1,ssd=1,iothread=1"),
    ("searchdomain", "example.net", "lab.example.net"),
    ("serial[n]", "socket", "socket"),
    (
        "smbios1",
        "uuid=11111111-1111-4111-8111-111111111111",
        "uuid=11111111-1111-4111-8111-111111111112,base64=1,family=QUJD",
    ),
    ("startdate", "now", "2026-01-02T03:04:05"),
    ("startup", "order=2", "order=2,up=30"),
    ("tags", "one", "one;two"),
    ("timezone", "host", "host"),
    ("tpmstate0", "local-lvm:1,version=v2.0", ""),
    ("usb[n]", "spice", "spice,usb3=1"),
    ("vga", "std", "virtio,memory=32"),
    ("virtio[n]", "local-lvm:1", "local-lvm:1,backup=0"),
    ("virtiofs[n]", "dirid=share", "dirid=share,cache=never"),
    ("vmstatestorage", "local-lvm", "shared"),
    ("watchdog", "model=i6300esb,action=reset", "model=ib700"),
    ("env", "A=b", "A=c"),
    ("entrypoint", "/sbin/init", "/bin/sh"),
    ("ostype", "debian", "ubuntu"),
    ("arch", "amd64", "i386"),
];

/// Options that this test leaves out, with the reason.
const LEFT_OUT: &[(&str, &str)] = &[
    ("cdrom", "another name of ide2; refused"),
    ("smp", "another name of sockets; refused"),
    ("cipassword", "a secret; tested with its versions"),
    ("name", "the guest's own name"),
    ("hostname", "the guest's own name"),
    ("template", "the name is ours"),
    ("lock", "Proxmox's own"),
    ("rootfs", "part of every container here"),
    ("unprivileged", "cannot change"),
    ("sshkeys", "Proxmox checks keys with ssh-keygen; tested by itself"),
];

/// Options that the token of the README may not set, with the reason.
const NEEDS_MORE: &[(&str, &str)] = &[
    ("startup", "needs Sys.Modify on /"),
    ("hostpci[n]", "needs Mapping.Use on the device"),
    ("virtiofs[n]", "needs Mapping.Use on the folder"),
];

fn samples(kind: GuestKind, name: &str, spec: &ValueSpec) -> Option<(String, String)> {
    if LEFT_OUT.iter().any(|(left, _)| *left == name) || name.starts_with("unused") {
        return None;
    }
    if name == "net[n]" {
        return Some(match kind {
            GuestKind::Qemu => ("virtio,bridge=vmbr0".to_owned(), "virtio,bridge=vmbr1,tag=5,firewall=1".to_owned()),
            GuestKind::Lxc => {
                ("name=eth5,bridge=vmbr0,ip=dhcp".to_owned(), "name=eth5,bridge=vmbr1,ip=10.0.0.2/24".to_owned())
            }
        });
    }
    if name == "ostype" && kind == GuestKind::Qemu {
        return Some(("l26".to_owned(), "l24".to_owned()));
    }
    if let Some((_, first, second)) = SAMPLES.iter().find(|(sample, ..)| *sample == name) {
        return Some(((*first).to_owned(), (*second).to_owned()));
    }
    if let Some(choices) = &spec.choices {
        return Some((choices.first()?.clone(), choices.last()?.clone()));
    }
    match spec.ty {
        ValueType::Boolean => Some(("1".to_owned(), "0".to_owned())),
        ValueType::Integer | ValueType::Number => {
            let least = spec.minimum.unwrap_or(0.0).max(1.0);
            Some((format!("{least}"), format!("{}", least + 1.0)))
        }
        ValueType::String => None,
    }
}

fn yaml(value: &str) -> String {
    serde_json::to_string(value).unwrap()
}

/// The same property string as a map of its sub-keys.
fn as_map(spec: &ValueSpec, value: &str) -> Option<String> {
    let keys = property::split(value, spec.properties.as_ref()?).ok()?;
    // A volume has words of its own in a map.
    if keys.keys().any(|key| key == "file" || key == "volume") {
        return None;
    }
    let parts: Vec<String> = keys.iter().map(|(key, value)| format!("{key}: {}", yaml(value))).collect();
    Some(format!("{{{}}}", parts.join(", ")))
}

fn manifest(kind: GuestKind, running: bool, line: &str) -> String {
    let state = if running { "running" } else { "stopped" };
    let (list, body) = match kind {
        GuestKind::Qemu => (
            "vms",
            "        scsi0: {storage: local-lvm, size: 1GiB}\n        net0: {model: virtio, bridge: vmbr0}\n".to_owned(),
        ),
        GuestKind::Lxc => (
            "containers",
            "        ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst\n        rootfs: {storage: local-lvm, size: 1GiB}\n        unprivileged: true\n"
                .to_owned(),
        ),
    };
    // The option may be one that the body has: there it takes its place.
    let key = line.trim_start().split(':').next().unwrap_or_default();
    let body: String = body
        .lines()
        .filter(|kept| !kept.trim_start().starts_with(&format!("{key}:")))
        .map(|kept| format!("{kept}\n"))
        .collect();
    format!(
        "fleet: t\nclusters:\n  production:\n    {list}:\n      - name: guest\n        vmid: 1001\n        node: pve1\n        state: {state}\n{body}{line}"
    )
}

/// Where an option goes through its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Setting {
    running: bool,
    version: &'static str,
    /// A token that may do what the README asks for, and no more.
    least: bool,
}

impl Setting {
    fn world(self) -> World {
        let grant = |path: &str, role: &str| GrantSpec {
            path: path.to_owned(),
            role: Some(role.to_owned()),
            privileges: Vec::new(),
            propagate: true,
        };
        World::shaped(&["production"], "", |spec| {
            spec.version = self.version.to_owned();
            if self.least {
                spec.tokens[0].id = "fleet@pve!least".to_owned();
                spec.tokens[0].grants = vec![
                    grant("/", "PVEAuditor"),
                    grant("/vms", "PVEVMAdmin"),
                    grant("/storage", "PVEDatastoreUser"),
                    grant("/sdn/zones/localnetwork", "PVESDNUser"),
                ];
            }
        })
    }
}

/// What goes wrong when the option goes through this life; nothing when all is well.
async fn life(kind: GuestKind, setting: Setting, option: &str, values: &[String], removable: bool) -> Option<String> {
    let (world, running) = (setting.world(), setting.running);
    let line = |value: &str| format!("        {option}: {value}\n");
    for value in values {
        let wanted = manifest(kind, running, &line(value));
        let (plan, outcome) = world.apply(&wanted).await;
        // A map that says the same as the text before it is no change; everything else is.
        if plan.is_empty() && !value.starts_with('{') && values.iter().filter(|other| *other == value).count() == 1 {
            return Some(format!("{value} is taken for no change:\n{}", text(&plan)));
        }
        if outcome.exit_code(&plan) != 0 {
            return Some(format!("{value} is not applied:\n{}{outcome:#?}", text(&plan)));
        }
        let again = world.plan(&wanted).await;
        if !again.is_empty() {
            return Some(format!("{value}: planning again gives\n{}", text(&again)));
        }
    }
    let without = manifest(kind, running, &line("null"));
    let plan = world.plan(&without).await;
    let change = plan.changes().next()?;
    if change.state == State::Blocked {
        return removable.then(|| format!("null is blocked:\n{}", text(&plan)));
    }
    let (plan, outcome) = world.apply(&without).await;
    if outcome.exit_code(&plan) != 0 {
        return Some(format!("null is not applied:\n{}{outcome:#?}", text(&plan)));
    }
    let again = world.plan(&without).await;
    (!again.is_empty()).then(|| format!("null: planning again gives\n{}", text(&again)))
}

/// Options of a kind with their values, each at the indexes to be tried.
fn cases(kind: GuestKind, version: &str, every_index: bool) -> Vec<(String, Vec<String>, Vec<String>, bool)> {
    let mut cases = Vec::new();
    for (name, spec) in catalog_for(kind, version).iter().filter(|(_, spec)| spec.update) {
        let Some((first, second)) = samples(kind, name, &spec.value) else { continue };
        if is_root_only(kind, &name.replace("[n]", "0"), &first, true) {
            continue;
        }
        let last = spec.index.map_or(0, |[_, last]| last);
        let options: Vec<String> = match name.strip_suffix("[n]") {
            Some(stem) if every_index => (0..=last).map(|index| format!("{stem}{index}")).collect(),
            Some(stem) if last > 1 => vec![format!("{stem}1"), format!("{stem}{last}")],
            Some(stem) => vec![format!("{stem}0")],
            None => vec![name.to_owned()],
        };
        let mut values = vec![yaml(&first)];
        values.extend(as_map(&spec.value, &first));
        if !second.is_empty() {
            values.push(yaml(&second));
        }
        // Disks go only when accepted; what a container cannot be without never.
        let removable = !pvefleet::pve::compare::is_drive(kind, &options[0]) && spec.facts.kept.is_none();
        cases.push((name.to_owned(), options, values, removable));
    }
    cases
}

/// One life of one option.
struct Life {
    kind: GuestKind,
    setting: Setting,
    option: String,
    values: Vec<String>,
    removable: bool,
}

/// Lives all of them, on all processors; what went wrong.
fn live(lives: &[Life]) -> Vec<String> {
    let one = |number: u64| {
        let Life { kind, setting, option, values, removable } = &lives[usize::try_from(number).unwrap()];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let words = runtime.block_on(life(*kind, *setting, option, values, *removable))?;
        Some(format!("── {kind} {option}, {setting:?}: {words}"))
    };
    parallel::all(0..lives.len() as u64, one).into_iter().filter_map(|(_, wrong)| wrong).collect()
}

#[test]
fn every_option_converges() {
    let mut lives = Vec::new();
    let both = [false, true];
    let settings = ["8.4", "9.1"].into_iter().flat_map(|version| {
        both.map(|least| both.map(|running| Setting { running, version, least })).into_iter().flatten()
    });
    for setting in settings {
        for kind in GuestKind::ALL {
            for (name, options, values, removable) in cases(kind, setting.version, false) {
                if setting.least && NEEDS_MORE.iter().any(|(needs, _)| *needs == name) {
                    continue;
                }
                lives.extend(options.into_iter().map(|option| Life {
                    kind,
                    setting,
                    option,
                    values: values.clone(),
                    removable,
                }));
            }
        }
    }
    let mut counted: BTreeMap<(String, Setting), usize> = BTreeMap::new();
    for life in &lives {
        *counted.entry((life.kind.to_string(), life.setting)).or_default() += 1;
    }
    for ((kind, setting), number) in &counted {
        println!("every_option: {kind} {setting:?}: {number} lives");
    }
    let wrong = live(&lives);
    println!("every_option: {} lives, {} wrong", lives.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_index_converges() {
    let setting = Setting { running: false, version: "9.1", least: false };
    let mut lives = Vec::new();
    for kind in GuestKind::ALL {
        for (_, options, values, removable) in cases(kind, setting.version, true) {
            for option in options.iter().filter(|_| options.len() > 1) {
                let (option, values) = (option.clone(), values[..1].to_vec());
                lives.push(Life { kind, setting, option, values, removable });
            }
        }
    }
    let wrong = live(&lives);
    println!("every_index: {} lives, {} wrong", lives.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
