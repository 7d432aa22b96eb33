//! How long 20,000 guests take to be read, routed, merged and checked, and how much memory: `cargo bench --bench manifest`.
//!
//! Half of them stand there one by one, half are made by `each`; all have profiles, defaults and templates. Ends with an
//! error beyond 1.5 s or 400 MB.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use pvefleet::clusters::{Variables, load};
use pvefleet::{desired, manifest};

const GUESTS: usize = 20_000;
const MOST_TIME: Duration = Duration::from_millis(1500);
const MOST_MEMORY: u64 = 400_000_000;

fn files() -> Vec<(String, String)> {
    let common = "fleet: bench\nvars: {domain: example.net}\ndefaults:\n  guest: {tags: [bench], onboot: true, state: running}\n  \
                  vm: {ostype: l26, agent: {enabled: true}, scsihw: virtio-scsi-single, searchdomain: \"{{ domain }}\"}\nprofiles:\n  \
                  web: {cores: 2, memory: 4GiB, net0: {model: virtio, bridge: vmbr0, tag: 20, firewall: true}}\n  \
                  small: {cores: 1, memory: 1GiB}\nclusters: {production: {vmids: 100-99999}, staging: {}}\n";
    let mut files = vec![("fleet/common.yaml".to_owned(), common.to_owned())];
    for part in 0..10 {
        let mut text = "vms:\n".to_owned();
        for n in 0..GUESTS / 20 {
            let number = part * GUESTS / 20 + n;
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "  - name: prod-web-{number}\n    profiles: [web]\n    node: [pve1, pve2]\n    clone: {{from: debian-12, full: true}}\n    \
                 scsi0: {{size: 32GiB, discard: on}}\n    scsi1: {{storage: local-lvm, size: 100GiB}}\n    \
                 ipconfig0: {{ip: 10.{}.{}.{}/8, gw: 10.0.0.1}}\n    description: \"number {number}\"",
                number >> 16,
                number >> 8 & 255,
                number & 255
            );
        }
        let _ = writeln!(
            text,
            "  - name: stg-{part}-{{{{ '%04d' | format(n) }}}}\n    each: {{n: 1..{}}}\n    profiles: [small, web]\n    \
             clone: {{from: debian-12}}\n    scsi0: {{size: 32GiB}}\n    ipconfig0: {{ip: \"10.{part}.{{{{ n // 250 }}}}.{{{{ n % 250 + 1 }}}}/8\"}}\n    \
             description: \"number {{{{ n }}}} of {{{{ domain }}}}\"",
            GUESTS / 20
        );
        files.push((format!("fleet/part-{part}.yaml"), text));
    }
    files
}

/// The most memory that this process had, in bytes; 0 where the system does not tell.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() * 1024
}

fn main() -> ExitCode {
    let env = include_str!("../../.env.example.multi").to_owned();
    let Ok(registry) = load(&Variables::merge([], &[(".env".to_owned(), env)]), &|_| Ok(String::new())) else {
        eprintln!("the settings cannot be read");
        return ExitCode::FAILURE;
    };
    let files = files();
    let bytes: usize = files.iter().map(|(_, text)| text.len()).sum();
    let start = Instant::now();
    let (fleet, problems) = manifest::read(&files);
    let read = start.elapsed();
    let resolved = fleet.as_ref().map(|fleet| desired::resolve(fleet, &registry));
    let all = start.elapsed();
    let Some((Some(desired), more)) = resolved else {
        eprintln!("the manifest has problems: {:?}", problems.first());
        return ExitCode::FAILURE;
    };
    let guests: usize = desired.clusters.values().map(|cluster| cluster.guests.len()).sum();
    let memory = peak_memory();
    println!(
        "{guests} guests in {} KiB of YAML: read in {read:.2?}, routed, merged and checked in {:.2?}, together {all:.2?} \
         (at most {MOST_TIME:.1?}); {} MB at most (limit {} MB)",
        bytes >> 10,
        all - read,
        memory / 1_000_000,
        MOST_MEMORY / 1_000_000,
    );
    let good = guests == GUESTS && problems.is_empty() && more.is_empty() && all < MOST_TIME && memory < MOST_MEMORY;
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
