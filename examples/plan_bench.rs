//! How long it takes to plan a large fleet, and how much memory: `cargo run --release --example plan_bench`.
//!
//! 10,000 guests and 100,000 guests of one cluster, of which 100 differ, planned from a live document in memory; then
//! 10,000 guests that all differ, as text. Each figure is the best of three; the memory is the most that the process
//! had until then, fleet and live document included; `-- --memory` tells what these two took.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot go on ends")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use pvefleet::clusters::{Variables, load};
use pvefleet::desired::{self, Desired};
use pvefleet::live::{Identity, Live, LiveCluster, LiveConfig, LiveGuest, LiveNode, LiveStorage, Power, Read};
use pvefleet::manifest;
use pvefleet::plan::{Plan, PlanOptions, plan};
use pvefleet::pve::value::GuestKind;
use pvefleet::report::{Layout, plan_markdown, plan_text};

/// Guests that one `each` makes.
const BLOCK: usize = 1000;
const NODES: usize = 16;

/// A manifest as a person would write it. Its file is read once; the blocks of a larger fleet are copies of this one,
/// so that reading YAML is no part of any figure.
const MANIFEST: &str = "fleet: bench
defaults:
  guest: {tags: [bench], onboot: true, state: running}
  vm: {ostype: l26, agent: {enabled: true}, scsihw: virtio-scsi-single, cpu: host}
profiles:
  web: {cores: 2, memory: 4GiB, net0: {model: virtio, bridge: vmbr0, tag: 20, firewall: true}}
clusters:
  production:
    vmids: 1000-999999
    vms:
      - name: prod-{{ n }}
        each: {n: 1..1000}
        profiles: [web]
        clone: {from: debian-12, full: true}
        scsi0: {size: 32GiB, discard: on}
        scsi1: {storage: local-lvm, size: 100GiB}
        ipconfig0: {ip: \"10.0.{{ n // 250 }}.{{ n % 250 + 1 }}/8\", gw: 10.0.0.1}
        ciuser: admin
        description: Number {{ n }} of its block.
";

fn fleet(guests: usize) -> Desired {
    let env = "PROXMOX_CLUSTERS=production\nPROXMOX_CLUSTER_production_API_URL=https://pve.example.net:8006\n\
               PROXMOX_CLUSTER_production_TOKEN_ID=a@pve!t\nPROXMOX_CLUSTER_production_TOKEN_SECRET=s\n";
    let variables = Variables::merge([], &[(".env".to_owned(), env.to_owned())]);
    let registry = load(&variables, &|_| Ok(String::new())).unwrap();
    let (fleet, problems) = manifest::read(&[("fleet/bench.yaml".to_owned(), MANIFEST.to_owned())]);
    assert!(problems.is_empty(), "{problems:#?}");
    let (desired, problems) = desired::resolve(&fleet.unwrap(), &registry);
    let mut desired = desired.unwrap_or_else(|| panic!("{problems:#?}"));
    let production = desired.clusters.get_mut("production").unwrap();
    let block = std::mem::take(&mut production.guests);
    for number in 0..guests / BLOCK {
        production.guests.extend(block.iter().cloned().map(|mut guest| {
            guest.name = format!("{}-{number}", guest.name);
            guest
        }));
    }
    production.guests.sort_by(|a, b| a.name.cmp(&b.name));
    desired
}

/// The cluster in which all of the fleet is as it should be, but for the first few, which have other options.
fn live(fleet: &Desired, changed: usize) -> Live {
    let guests = &fleet.clusters["production"].guests;
    let tags: BTreeSet<String> = ["bench".to_owned(), "fleet-bench".to_owned()].into();
    let guests = guests.iter().enumerate().map(|(number, guest)| {
        let vmid = (1000 + number).to_string().parse().unwrap();
        let ipconfig = match &guest.options["ipconfig0"].value {
            desired::OptionValue::Properties { keys, .. } => keys["ip"].clone().unwrap(),
            other => panic!("{other:?}"),
        };
        let text = match &guest.options["description"].value {
            desired::OptionValue::Text(text) => text.clone(),
            other => panic!("{other:?}"),
        };
        let line = format!("<!-- pvefleet v1 cluster=production fleet=bench guest=qemu/{} vmid={vmid} -->", guest.name);
        let (memory, tag) = if number < changed { ("2048", 21) } else { ("4096", 20) };
        let options = [
            ("agent", "enabled=1".to_owned()),
            ("boot", "order=scsi0".to_owned()),
            ("ciuser", "admin".to_owned()),
            ("cores", "2".to_owned()),
            ("cpu", "host".to_owned()),
            ("description", format!("{text}\n{line}")),
            ("ide2", format!("local-lvm:vm-{vmid}-cloudinit,media=cdrom")),
            ("ipconfig0", format!("ip={ipconfig},gw=10.0.0.1")),
            ("memory", memory.to_owned()),
            ("meta", "creation-qemu=10.1.2,ctime=1740000000".to_owned()),
            ("name", guest.name.clone()),
            (
                "net0",
                format!(
                    "virtio=BC:24:11:{:02X}:{:02X}:{:02X},bridge=vmbr0,firewall=1,tag={tag}",
                    number >> 16 & 255,
                    number >> 8 & 255,
                    number & 255
                ),
            ),
            ("onboot", "1".to_owned()),
            ("ostype", "l26".to_owned()),
            ("scsi0", format!("local-lvm:vm-{vmid}-disk-0,discard=on,size=32G")),
            ("scsi1", format!("local-lvm:vm-{vmid}-disk-1,size=100G")),
            ("scsihw", "virtio-scsi-single".to_owned()),
            ("serial0", "socket".to_owned()),
            ("smbios1", format!("uuid=0b5a6cde-9000-4000-8000-{number:012}")),
            ("tags", "bench;fleet-bench".to_owned()),
            ("vmgenid", format!("5d0bfb1c-9000-4000-8000-{number:012}")),
        ];
        let config = LiveConfig {
            current: options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            pending: BTreeMap::new(),
            digest: format!("{number:040x}"),
        };
        let seen = LiveGuest {
            vmid,
            kind: GuestKind::Qemu,
            node: format!("pve{}", number % NODES),
            name: Read::Known(guest.name.clone()),
            power: Read::Known(Power::Running),
            template: false,
            tags: tags.clone(),
            lock: None,
            pool: None,
            ha: None,
            paused: false,
            snapshots: BTreeMap::new(),
            config: Read::Known(config),
        };
        (vmid, seen)
    });
    let nodes: Vec<String> = (0..NODES).map(|number| format!("pve{number}")).collect();
    let storage = LiveStorage {
        kind: "lvmthin".to_owned(),
        content: ["images", "rootdir"].map(str::to_owned).into(),
        shared: false,
        active: true,
        available: None,
    };
    let storages: BTreeMap<String, LiveStorage> = [("local-lvm".to_owned(), storage)].into();
    let each = |node: &String| node.clone();
    let cluster = LiveCluster {
        identity: Identity {
            settings: "production".to_owned(),
            cluster: Some("bench".to_owned()),
            nodes: nodes.clone(),
        },
        version: "9.1.9".to_owned(),
        nodes: nodes.iter().map(|node| (each(node), LiveNode { online: true, lists: Read::Known(()) })).collect(),
        guests: guests.collect(),
        storages: nodes.iter().map(|node| (each(node), Read::Known(storages.clone()))).collect(),
        bridges: nodes.iter().map(|node| (each(node), Read::Known(["vmbr0".to_owned()].into()))).collect(),
        pools: Read::Known(BTreeSet::new()),
        ha: Read::Known(BTreeMap::new()),
        ha_rules: Read::Known(Vec::new()),
        archives: BTreeMap::new(),
        permissions: Read::Known(
            [(
                "/".to_owned(),
                ["VM.Audit", "VM.Allocate", "VM.Config.Memory", "VM.Config.Network", "VM.Config.Options", "SDN.Use"]
                    .map(|name| (name.to_owned(), true))
                    .into(),
            )]
            .into(),
        ),
        tag_rules: Read::Absent,
        free_ids: BTreeMap::new(),
        files: BTreeMap::new(),
        volume_ids: BTreeMap::new(),
        active_tasks: nodes.iter().map(|node| (each(node), Read::Known(Vec::new()))).collect(),
    };
    Live { clusters: [("production".to_owned(), Read::Known(cluster))].into() }
}

/// The most memory that this process had, in megabytes; 0 where the system does not tell.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() * 1024 / 1_000_000
}

/// The shortest of three runs, in seconds, and what the last one made.
fn best_of_three<T>(run: impl Fn() -> T) -> (f64, T) {
    let timed = || {
        let begin = Instant::now();
        let made = run();
        (begin.elapsed().as_secs_f64(), made)
    };
    let (first, _) = timed();
    let (second, _) = timed();
    let (third, made) = timed();
    (first.min(second).min(third), made)
}

fn planned(guests: usize, changed: usize) -> (f64, Plan) {
    let fleet = fleet(guests);
    let live = live(&fleet, changed);
    if std::env::args().any(|argument| argument == "--memory") {
        println!("plan_bench: fleet and live document of {guests} guests: {} MB", peak_memory());
    }
    let (seconds, plan) = best_of_three(|| plan(&fleet, &live, &PlanOptions::default()).unwrap());
    let with_steps = plan.changes().filter(|change| change.has_steps()).count();
    assert_eq!((plan.changes().count(), with_steps), (guests, changed), "the bench's own world is wrong");
    (seconds, plan)
}

fn main() {
    for guests in [10_000, 100_000] {
        let (seconds, _) = planned(guests, 100);
        println!("plan_bench: {guests} guests {seconds:.3} seconds {} MB", peak_memory());
    }
    let (_, all) = planned(10_000, 10_000);
    let (seconds, text) = best_of_three(|| plan_text::plan(&all, Layout { color: false, width: 120 }));
    let lines = text.lines().count();
    println!("plan_bench: text of 10000 changed guests, {lines} lines, {seconds:.3} seconds");
    let (seconds, text) = best_of_three(|| plan_markdown::plan(&all, plan_markdown::LIMIT));
    println!("plan_bench: markdown of 10000 changed guests, {} bytes, {seconds:.3} seconds", text.len());
}
