//! Equal seeds and equal requests at equal times give equal answers, to the byte; also across a state that was kept.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use pvefleet::sim::state::State;
use pvefleet::sim::{Cluster, Effect, Fault, FaultKind, IncomingRequest, ServiceTimes, World, world};

/// One request, and how long after the one before it comes.
type Step = (u64, &'static str, String, Vec<(&'static str, String)>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let guest =
        (prop::sample::select(vec!["pve1", "pve2", "pve3"]), prop::sample::select(vec![110u32, 120, 9001, 101, 102]));
    let step = (0u64..700, 0usize..22, guest, 0u32..64).prop_map(|(wait, what, (node, vmid), number)| {
        let vm = format!("/nodes/{node}/qemu/{vmid}");
        let ct = format!("/nodes/{node}/lxc/{vmid}");
        let id = (101 + number % 4).to_string();
        let (method, path, params) = match what {
            0 => (
                "POST",
                format!("/nodes/{node}/qemu/9001/clone"),
                vec![("newid", id), ("full", (number % 2).to_string())],
            ),
            1 => ("PUT", format!("{vm}/config"), vec![("cores", (number % 5).to_string())]),
            2 => ("PUT", format!("{vm}/config"), vec![("net1", "virtio,bridge=vmbr0".to_owned())]),
            3 => ("PUT", format!("{vm}/config"), vec![("scsi2", format!("local-lvm:{}", number % 9))]),
            4 => ("PUT", format!("{vm}/config"), vec![("delete", "scsi2,net1".to_owned())]),
            5 => {
                ("POST", format!("/nodes/{node}/qemu"), vec![("vmid", id), ("net0", "virtio,bridge=vmbr0".to_owned())])
            }
            6 => ("DELETE", vm, Vec::new()),
            7 => ("POST", format!("{vm}/status/start"), Vec::new()),
            8 => ("POST", format!("{vm}/status/shutdown"), Vec::new()),
            9 => ("PUT", format!("{vm}/resize"), vec![("disk", "scsi0".to_owned()), ("size", "+1G".to_owned())]),
            10 => ("POST", format!("{vm}/snapshot"), vec![("snapname", format!("s{}", number % 3))]),
            11 => ("POST", format!("{vm}/migrate"), vec![("target", "pve1".to_owned())]),
            12 => ("POST", format!("{ct}/clone"), vec![("newid", id)]),
            13 => ("PUT", format!("{ct}/config"), vec![("memory", (256 + number).to_string())]),
            14 => ("GET", "/cluster/resources".to_owned(), Vec::new()),
            15 => ("GET", "/cluster/tasks".to_owned(), Vec::new()),
            16 => ("GET", format!("/nodes/{node}/tasks"), Vec::new()),
            17 => ("GET", format!("{vm}/pending"), Vec::new()),
            18 => ("GET", format!("{vm}/status/current"), Vec::new()),
            19 => ("GET", format!("/nodes/{node}/storage/local-lvm/content"), Vec::new()),
            20 => ("GET", format!("{ct}/config"), Vec::new()),
            _ => ("GET", format!("{vm}/config"), Vec::new()),
        };
        (wait, method, path, params)
    });
    prop::collection::vec(step, 1..60)
}

fn begin(seed: u64) -> Cluster {
    let mut spec = world::builtin("production");
    (spec.service_times, spec.latency, spec.time_scale) = (ServiceTimes::Measured, 2, 1.5);
    let mut cluster = Cluster::new(spec, seed);
    let chance = |kind, chance| Fault { chance: Some(chance), ..Fault::always(kind) };
    cluster.set_faults(vec![
        chance(FaultKind::AnswerLost, 0.05),
        chance(FaultKind::LockTimeout, 0.05),
        chance(FaultKind::TaskFailure { exit: "it broke".to_owned(), effect: Effect::None }, 0.1),
        chance(FaultKind::NodeOffline { node: "pve3".to_owned() }, 0.1),
        Fault::always(FaultKind::StorageFull { storage: "local-lvm".to_owned() }).between(5000, 9000),
    ]);
    cluster
}

/// Everything that comes of the steps, as text; the cluster is kept and read again before the step of this number.
fn told(seed: u64, steps: &[Step], kept_before: Option<usize>) -> Vec<String> {
    let mut cluster = begin(seed);
    let token = format!("PVEAPIToken={}={}", cluster.spec().tokens[0].id, cluster.spec().tokens[0].secret);
    let mut now = 0;
    let mut all = Vec::new();
    for (number, (wait, method, path, params)) in steps.iter().enumerate() {
        now += wait;
        if kept_before == Some(number) {
            let world = World { clusters: vec![cluster.spec().clone()] };
            let text = State { world, clusters: vec![("production".to_owned(), cluster)] }.to_text().unwrap();
            cluster = State::from_text(&text).unwrap().clusters.remove(0).1;
        }
        let request = IncomingRequest {
            method: (*method).to_owned(),
            path: path.clone(),
            params: params.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            authorization: Some(token.clone()),
            node: "pve1".to_owned(),
            ..IncomingRequest::default()
        };
        all.push(format!("{:?}", cluster.exchange(&request, now)));
    }
    cluster.advance_to(now + 100_000);
    let ids: Vec<_> = cluster.guest_ids().collect();
    all.extend(ids.into_iter().map(|vmid| format!("{:?}", cluster.guest_file(vmid))));
    all.push(format!("{:?}", cluster.volume_ids()));
    all
}

#[test]
fn equal_requests_at_equal_times_give_equal_bytes() {
    let mut runner = TestRunner::new(ProptestConfig { cases: 64, ..ProptestConfig::default() });
    let (mut answered, mut changed) = (0, 0);
    runner
        .run(&(0u64..1000, steps(), 0usize..60), |(seed, steps, kept)| {
            let first = told(seed, &steps, None);
            prop_assert_eq!(&told(seed, &steps, None), &first);
            prop_assert_eq!(&told(seed, &steps, Some(kept % steps.len())), &first, "kept before step {}", kept);
            Ok(())
        })
        .unwrap();
    // The same requests are not all refused, and another seed is seen.
    let many: Vec<Step> = (0..40u32)
        .map(|n| {
            (
                300,
                "PUT",
                "/nodes/pve2/qemu/110/config".to_owned(),
                vec![("net1", format!("virtio,bridge=vmbr{}", n % 2))],
            )
        })
        .collect();
    let (a, b) = (told(1, &many, None), told(2, &many, None));
    answered += a.iter().filter(|text| text.contains("status: 200")).count();
    changed += usize::from(a != b);
    assert!(answered > 20 && changed == 1, "{answered} {changed}");
}
