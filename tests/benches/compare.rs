//! How many property strings are compared by meaning in a second: `cargo bench --bench compare`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pvefleet::pve::compare::same_value;
use pvefleet::pve::value::GuestKind;

/// Pairs of one meaning in two spellings, and pairs that differ.
const PAIRS: [(&str, &str, &str); 5] = [
    ("net0", "model=virtio,bridge=vmbr0,tag=20", "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=20"),
    ("scsi0", "local-lvm:32,discard=on", "local-lvm:vm-100-disk-0,discard=on,size=32G"),
    ("agent", "1", "enabled=1"),
    ("memory", "2048", "current=2048"),
    ("ipconfig0", "gw=10.0.0.1,ip=10.0.0.2/24", "ip=10.0.0.3/24,gw=10.0.0.1"),
];

fn compare(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("same_value");
    group.throughput(Throughput::Elements(PAIRS.len() as u64));
    group.bench_function("two spellings", |bencher| {
        bencher.iter(|| {
            for (option, wanted, live) in PAIRS {
                black_box(same_value(GuestKind::Qemu, black_box(option), black_box(wanted), black_box(live)));
            }
        });
    });
    group.bench_function("the same text", |bencher| {
        bencher.iter(|| {
            for (option, wanted, _) in PAIRS {
                black_box(same_value(GuestKind::Qemu, black_box(option), black_box(wanted), black_box(wanted)));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, compare);
criterion_main!(benches);
