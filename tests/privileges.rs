//! With exactly the privileges that its steps ask for, a plan is carried out; without any of them it says which, and
//! sends nothing that would be refused.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use pvefleet::apply::{self, Cancel, Journal};
use pvefleet::client::{ClusterClient, ReadOnlyClient, Reader};
use pvefleet::ops::{self, Readers};
use pvefleet::plan::{self, Plan, PlanOptions};
use pvefleet::sim::transport::SimTransport;
use pvefleet::sim::world::VolumeSpec;
use support::{Canary, World, text};
use tokio::sync::watch;

/// What reading takes, and seeing every guest.
const READING: [(&str, &str); 4] =
    [("/", "Sys.Audit"), ("/vms", "VM.Audit"), ("/storage", "Datastore.Audit"), ("/pool", "Pool.Audit")];

/// One change of one guest, and what it takes.
struct Case {
    name: &'static str,
    /// What root applies first.
    before: String,
    /// What the token applies then.
    after: String,
    accept: Option<&'static str>,
    needs: &'static [(&'static str, &'static str)],
}

fn case(name: &'static str, before: &str, after: &str, needs: &'static [(&'static str, &'static str)]) -> Case {
    Case { name, before: fleet(before), after: fleet(after), accept: None, needs }
}

fn fleet(guests: &str) -> String {
    let guests = if guests.is_empty() { "    vms: []\n" } else { guests };
    format!(
        "fleet: homelab\nguards: {{max_delete_percent: 100}}\nclusters:\n  production:\n    vmids: 1000-1999\n{guests}"
    )
}

fn vm(lines: &str) -> String {
    format!("    vms:\n      - name: prod-web-01\n        vmid: 1001\n        node: [pve1]\n{}", indented(lines))
}

fn ct(lines: &str) -> String {
    let head = "    containers:\n      - name: prod-dns-01\n        vmid: 1101\n        node: [pve1]\n";
    let own = "ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst\nunprivileged: true\n";
    format!("{head}{}{}", indented(own), indented(lines))
}

fn indented(lines: &str) -> String {
    lines.lines().map(|line| format!("        {line}\n")).collect()
}

fn cases() -> Vec<Case> {
    let disk = "scsi0: {storage: local-lvm, size: 1GiB}\n";
    let off = format!("{disk}state: stopped\n");
    let on = format!("{disk}state: running\n");
    let root = "rootfs: {storage: local-lvm, size: 1GiB}\n";
    let mut adopted = case(
        "a detached disk is destroyed",
        &vm(disk),
        &vm(disk),
        &[("/vms/1001", "VM.Config.Options"), ("/vms/1001", "VM.Config.Disk")],
    );
    adopted.before = fleet(&vm(&format!("{disk}scsi1: {{storage: local-lvm, size: 1GiB}}\n")));
    adopted.after = fleet(&vm(&format!("{disk}scsi1: null\n")));
    adopted.accept = Some("detach:production/prod-web-01/scsi1");
    adopted.name = "a disk is detached";
    let mut gone = case("an orphan is deleted", &vm(disk), "", &[("/vms/1001", "VM.Allocate")]);
    gone.accept = Some("delete:production/prod-web-01");
    let mut kept = case(
        "an orphan that HA keeps is shut down and deleted",
        &vm(&format!("{disk}ha: {{state: started}}\n")),
        "",
        &[("/vms/1001", "VM.Allocate"), ("/vms/1001", "VM.PowerMgmt"), ("/", "Sys.Console")],
    );
    kept.accept = Some("delete:production/prod-web-01");
    let mut anew = case(
        "a container is made anew",
        &ct(root),
        &ct(&format!("{root}recreate: true\n")).replace("unprivileged: true", "unprivileged: false"),
        &[
            ("/vms", "VM.Allocate"),
            ("/vms", "VM.Config.Options"),
            ("/vms", "VM.Config.Network"),
            ("/vms", "VM.Config.Disk"),
            ("/storage/local-lvm", "Datastore.AllocateSpace"),
            ("/", "Sys.Modify"),
        ],
    );
    anew.accept = Some("recreate:production/prod-dns-01");
    vec![
        case(
            "a VM is made",
            "",
            &vm(&format!(
                "{disk}cores: 2\nmemory: 512\nscsihw: virtio-scsi-single\nnet0: {{model: virtio, bridge: vmbr0, tag: 20}}\nide2: {{iso: local:iso/debian-12.iso}}\nide0: {{cloudinit: true, storage: local-lvm}}\nciuser: admin\nstartup: {{order: 1}}\npool: infra\nstate: running\n"
            )),
            &[
                ("/pool/infra", "VM.Allocate"),
                ("/pool/infra", "VM.Config.Options"),
                ("/pool/infra", "VM.Config.CPU"),
                ("/pool/infra", "VM.Config.Memory"),
                ("/pool/infra", "VM.Config.HWType"),
                ("/pool/infra", "VM.Config.Network"),
                ("/pool/infra", "VM.Config.Disk"),
                ("/pool/infra", "VM.Config.CDROM"),
                ("/pool/infra", "VM.Config.Cloudinit"),
                ("/pool/infra", "VM.PowerMgmt"),
                ("/storage/local-lvm", "Datastore.AllocateSpace"),
                ("/sdn/zones/localnetwork/vmbr0/20", "SDN.Use"),
                ("/", "Sys.Modify"),
            ],
        ),
        case(
            "a VM is cloned",
            "",
            &vm("clone: {from: debian-12, full: true, storage: shared}\ncores: 3\n"),
            &[
                ("/vms/9001", "VM.Clone"),
                ("/vms/1001", "VM.Allocate"),
                ("/vms/1001", "VM.Config.Options"),
                ("/vms/1001", "VM.Config.CPU"),
                ("/storage/shared", "Datastore.AllocateSpace"),
                ("/sdn/zones/localnetwork/vmbr0", "SDN.Use"),
            ],
        ),
        case(
            "a VM is restored",
            "",
            &vm("archive: local:backup/vzdump-qemu-500-2025_06_01-02_00_00.vma.zst\n"),
            &[
                ("/vms/1001", "VM.Allocate"),
                ("/vms/1001", "VM.Config.Options"),
                ("/vms/500", "VM.Backup"),
                ("/storage/local", "Datastore.AllocateSpace"),
                ("/storage/local-lvm", "Datastore.AllocateSpace"),
                ("/sdn/zones/localnetwork/vmbr0", "SDN.Use"),
            ],
        ),
        case(
            "disks come, grow and move",
            &vm(&off),
            &vm("scsi0: {storage: shared, size: 2GiB}\nscsi1: {storage: local-lvm, size: 1GiB}\nstate: stopped\n"),
            &[
                ("/vms/1001", "VM.Config.Options"),
                ("/vms/1001", "VM.Config.Disk"),
                ("/storage/shared", "Datastore.AllocateSpace"),
                ("/storage/local-lvm", "Datastore.AllocateSpace"),
            ],
        ),
        case(
            "options of every class",
            &vm(&off),
            &vm(&format!(
                "{off}cores: 2\nmemory: 768\ntablet: false\nonboot: true\nnet0: {{model: virtio, bridge: vmbr1}}\nide2: none,media=cdrom\n"
            )),
            &[
                ("/vms/1001", "VM.Config.Options"),
                ("/vms/1001", "VM.Config.CPU"),
                ("/vms/1001", "VM.Config.Memory"),
                ("/vms/1001", "VM.Config.HWType"),
                ("/vms/1001", "VM.Config.Network"),
                ("/vms/1001", "VM.Config.CDROM"),
                ("/sdn/zones/localnetwork/vmbr1", "SDN.Use"),
            ],
        ),
        case(
            "a guest is rebooted",
            &vm(&on),
            &vm(&format!("{on}bios: seabios\nvga: {{type: serial0}}\nreboot: allow\n")),
            &[("/vms/1001", "VM.Config.Options"), ("/vms/1001", "VM.Config.HWType"), ("/vms/1001", "VM.PowerMgmt")],
        ),
        case(
            "a disk changes its key while the guest is off",
            &vm(&on),
            &vm("scsi1: {moved_from: scsi0, size: 1GiB}\nstate: running\nreboot: allow\n"),
            &[("/vms/1001", "VM.Config.Options"), ("/vms/1001", "VM.Config.Disk"), ("/vms/1001", "VM.PowerMgmt")],
        ),
        case(
            "a guest is turned off",
            &vm(&on),
            &vm(&off),
            &[("/vms/1001", "VM.Config.Options"), ("/vms/1001", "VM.PowerMgmt")],
        ),
        case(
            "a guest moves",
            &vm(&off),
            &vm(&off).replace("[pve1]", "[pve2]"),
            &[("/vms/1001", "VM.Config.Options"), ("/vms/1001", "VM.Migrate")],
        ),
        case(
            "a guest becomes a template",
            &vm(disk),
            &vm(&format!("{disk}template: true\n")),
            &[("/vms/1001", "VM.Config.Options"), ("/vms/1001", "VM.Allocate")],
        ),
        case(
            "a guest comes under HA",
            &vm(&off),
            &vm(&format!("{disk}ha: {{state: stopped}}\n")),
            &[("/vms/1001", "VM.Config.Options"), ("/", "Sys.Console")],
        ),
        case(
            "a guest goes into a pool",
            &vm(&off),
            &vm(&format!("{off}pool: infra\n")),
            &[("/vms/1001", "VM.Config.Options"), ("/vms/1001", "VM.Allocate"), ("/pool/infra", "Pool.Allocate")],
        ),
        case(
            "cloud-init changes while the guest runs",
            &vm(&format!("{on}ide0: {{cloudinit: true, storage: local-lvm}}\n")),
            &vm(&format!("{on}ide0: {{cloudinit: true, storage: local-lvm}}\nciuser: admin\n")),
            &[("/vms/1001", "VM.Config.Options"), ("/vms/1001", "VM.Config.Cloudinit")],
        ),
        case(
            "a container is made",
            "",
            &ct(&format!("{root}net0: {{name: eth0, bridge: vmbr0, ip: dhcp}}\nmemory: 256\ncores: 1\n")),
            &[
                ("/vms/1101", "VM.Allocate"),
                ("/vms/1101", "VM.Config.Options"),
                ("/vms/1101", "VM.Config.CPU"),
                ("/vms/1101", "VM.Config.Memory"),
                ("/vms/1101", "VM.Config.Network"),
                ("/vms/1101", "VM.Config.Disk"),
                ("/storage/local-lvm", "Datastore.AllocateSpace"),
                ("/sdn/zones/localnetwork/vmbr0", "SDN.Use"),
            ],
        ),
        case(
            "a container's volumes come and grow",
            &ct(root),
            &ct("rootfs: {storage: local-lvm, size: 2GiB}\nmp0: {storage: shared, size: 1GiB, mp: /srv}\n"),
            &[
                ("/vms/1101", "VM.Config.Options"),
                ("/vms/1101", "VM.Config.Disk"),
                ("/storage/local-lvm", "Datastore.AllocateSpace"),
                ("/storage/shared", "Datastore.AllocateSpace"),
            ],
        ),
        adopted,
        gone,
        kept,
        anew,
    ]
}

/// A world where a token holds just these privileges.
fn world(held: &[(&str, &str)]) -> World {
    let mut by_path: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, privilege) in held {
        by_path.entry((*path).to_owned()).or_default().push((*privilege).to_owned());
    }
    World::shaped(&["production"], "", move |spec| {
        spec.users.push(serde_json::from_value(serde_json::json!({ "id": "ci@pve" })).unwrap());
        let token = serde_json::json!({ "id": "ci@pve!least", "secret": "s", "grants": [], "privsep": false });
        spec.tokens.push(serde_json::from_value(token).unwrap());
        spec.pools.insert("infra".to_owned(), String::new());
        for (index, (path, privileges)) in by_path.iter().enumerate() {
            // What stands nearer to a path takes the place of what stands above it.
            let mut all = privileges.clone();
            for (above, more) in &by_path {
                let below = path.strip_prefix(above.as_str()).is_some_and(|rest| rest.starts_with('/') || above == "/");
                if below && path != above {
                    all.extend(more.clone());
                }
            }
            let role = format!("Role{index}");
            spec.roles.insert(role.clone(), all);
            let entry = serde_json::json!({ "path": path, "role": role, "to": "ci@pve" });
            spec.acl.push(serde_json::from_value(entry).unwrap());
        }
        let archive = "boot: order=scsi0\ncores: 1\nmemory: 512\nname: old-web\n\
                       net0: virtio=BC:24:11:00:05:00,bridge=vmbr0\nscsi0: local-lvm:vm-500-disk-0,size=1G\n";
        spec.volumes.push(VolumeSpec {
            volid: "local:backup/vzdump-qemu-500-2025_06_01-02_00_00.vma.zst".to_owned(),
            node: "pve1".to_owned(),
            size: 1 << 30,
            archive: Some(archive.to_owned()),
        });
    })
}

fn client(world: &World) -> ClusterClient {
    let transport = SimTransport::new(Arc::clone(&world.clusters["production"]), "ci@pve!least", "s", "pve1");
    ClusterClient::new("production", Arc::new(transport.since(world.start)))
}

/// Plans and applies as the token.
async fn run(world: &World, case: &Case) -> (Plan, apply::Outcome) {
    let options = PlanOptions {
        accept: case.accept.iter().map(|accept| accept.parse().unwrap()).collect(),
        ..PlanOptions::default()
    };
    let desired = world.desired(&case.after);
    let reader = Arc::new(ReadOnlyClient::from(client(world))) as Arc<dyn Reader>;
    let readers: Readers = BTreeMap::from([("production".to_owned(), Ok(reader))]);
    let live = ops::read(&desired, &readers, &[]).await;
    let plan = plan::plan(&desired, &live, &options).unwrap();
    let (_keep, cancelled) = watch::channel(Cancel::No);
    let clients = BTreeMap::from([("production".to_owned(), client(world))]);
    let settings = apply::Options::default();
    let outcome =
        apply::run(&plan, &clients, &Canary, &settings, &Journal::none(), &|_: &apply::Event| {}, cancelled).await;
    (plan, outcome)
}

#[tokio::test(start_paused = true)]
async fn exactly_what_is_named_is_needed() {
    let mut wrong = Vec::new();
    for case in cases() {
        let name = case.name;
        let held: Vec<_> = READING.iter().chain(case.needs).copied().collect();
        let stage = world(&held);
        stage.converge(&case.before).await;
        let (plan, outcome) = run(&stage, &case).await;
        let blocked = plan.changes().flat_map(|change| &change.fields).any(|field| field.blocked.is_some());
        let does = plan.changes().any(|change| change.has_steps());
        if !does || blocked || outcome.exit_code(&plan) != 0 {
            let guests = &outcome.guests;
            wrong.push(format!("{name}:\n{}\n{guests:#?}", text(&plan)));
            continue;
        }
        for (left_out, need) in case.needs.iter().enumerate() {
            let mut less: Vec<_> = case.needs.to_vec();
            less.remove(left_out);
            let held: Vec<_> = READING.iter().copied().chain(less).collect();
            let stage = world(&held);
            stage.converge(&case.before).await;
            let before = stage.log("production").len();
            let (plan, outcome) = run(&stage, &case).await;
            let shown = text(&plan);
            if !shown.contains(&format!("lacks {} on ", need.1)) {
                wrong.push(format!("{name} without {need:?}:\n{shown}"));
            }
            let log = stage.log("production");
            let refused = log.iter().skip(before).find(|entry| entry.method != "GET" && entry.status != 200);
            if refused.is_some() || format!("{outcome:?}").contains("Permission check failed") {
                wrong.push(format!("{name} without {need:?} sends {refused:#?}\n{shown}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
