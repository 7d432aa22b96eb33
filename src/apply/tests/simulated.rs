//! Every kind of step over a simulated cluster, in virtual time: whole, with lost answers, and killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::*;
use crate::client::ClusterClient;
use crate::pve::http::{Request, Sending, Transport};
use crate::pve::value::Vmid;
use crate::sim::transport::{SharedCluster, SimTransport, lock};
use crate::sim::world::{ClusterSpec, GuestSpec, builtin};
use crate::sim::{Cluster, Effect, Fault, FaultKind};

const OSTEMPLATE: &str = "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst";
/// Longer than any step of these plans takes.
const LONG: Duration = Duration::from_secs(600);

fn guest(kind: GuestKind, vmid: u32, running: bool, config: &[(&str, &str)]) -> GuestSpec {
    let config = config.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    GuestSpec { kind, vmid, node: "stg1".to_owned(), config, file: None, running, pool: None }
}

/// One node with a VM template (9000), a VM that nobody owns (110), one of ours (111) and a container (120).
fn spec() -> ClusterSpec {
    let mut spec = builtin("staging");
    spec.pools.insert("web".to_owned(), String::new());
    spec.guests.push(guest(
        GuestKind::Qemu,
        111,
        true,
        &[
            ("name", "old"),
            ("memory", "512"),
            ("description", &mark("old", 111)),
            ("scsi0", "local-lvm:vm-111-disk-0,size=4G"),
        ],
    ));
    spec.guests.retain(|guest| guest.vmid != 120);
    spec.guests.push(guest(
        GuestKind::Lxc,
        120,
        false,
        &[
            ("hostname", "base"),
            ("arch", "amd64"),
            ("ostype", "debian"),
            ("memory", "512"),
            ("swap", "512"),
            ("rootfs", "local-lvm:vm-120-disk-0,size=4G"),
            ("unprivileged", "1"),
        ],
    ));
    spec
}

fn container_mark(name: &str, vmid: u32) -> String {
    format!("<!-- pvefleet v1 cluster=c1 fleet=test guest=lxc/{name} vmid={vmid} -->")
}

fn to(method: Method, mut step: Step) -> Step {
    step.call.method = method;
    step
}

fn on_stg1(mut step: Step) -> Step {
    step.call.path = Template::text(step.call.path.to_string().replace("pve1", "stg1"));
    step
}

/// Every kind of step.
fn plan() -> Plan {
    let base = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    let adopted = Change {
        action: Action::Adopt,
        steps: vec![
            configure(110, &[("memory", "2048"), ("cores", "2"), ("description", &mark("scratch", 110))]),
            to(Method::Post, configure(110, &[("scsi1", "local-lvm:8")])),
            resize(110, "scsi0", "24G"),
            configure(110, &[("boot", "order=scsi0;scsi1;net0")]),
            with(
                with(
                    step(StepKind::Pool, Method::Put, Template::text("/pools"), vec![Expect::Pool("web".to_owned())]),
                    "poolid",
                    Template::text("web"),
                ),
                "vms",
                Template::text("110"),
            ),
            power(110, Power::Running),
            configure(110, &[("balloon", "1024"), ("cpu", "x86-64-v2-AES")]),
            reboot(110),
        ],
        base: Base {
            exists: true,
            current: BTreeMap::from([
                base("memory", "1024"),
                base("cores", "1"),
                base("scsi0", "local-lvm:vm-110-disk-0,size=16G"),
                base("boot", "order=scsi0;net0"),
                ("scsi1".to_owned(), None),
                ("description".to_owned(), None),
            ]),
            power: Some(Power::Stopped),
            ..Base::default()
        },
        ..testing::change("c1", "scratch", 110)
    };
    let made = making(
        Action::Create,
        "made",
        200,
        vec![
            on_stg1(create(
                "made",
                200,
                &[("memory", "1024"), ("scsi0", "local-lvm:8"), ("net0", "model=virtio,bridge=vmbr0")],
            )),
            power(200, Power::Running),
        ],
    );
    let mac = Template::text("virtio=")
        .then_hole(Hole::Live { option: "net0".to_owned(), key: "macaddr".to_owned() })
        .then(",bridge=vmbr0,tag=20");
    let mut network = with(configure(201, &[("memory", "4096")]), "net0", mac);
    network.expect.push(option("net0", "model=virtio,bridge=vmbr0,tag=20"));
    let linked = making(
        Action::Clone,
        "linked",
        201,
        vec![
            with(on_stg1(clone(9000, "linked", 201)), "full", Template::text("0")),
            network,
            resize(201, "scsi0", "16G"),
            power(201, Power::Running),
        ],
    );
    let full = making(
        Action::Clone,
        "full",
        202,
        vec![
            with(on_stg1(clone(9000, "full", 202)), "full", Template::text("1")),
            step(StepKind::Template, Method::Post, path(202, "/template"), vec![Expect::Template]),
        ],
    );
    let deleted = Change {
        action: Action::Delete,
        steps: vec![power(111, Power::Stopped), with(delete(111), "purge", Template::text("1"))],
        base: Base {
            exists: true,
            power: Some(Power::Running),
            mark: Some(mark("old", 111)),
            current: [("scsi0".to_owned(), Some("local-lvm:vm-111-disk-0,size=4G".to_owned()))].into(),
            ..Base::default()
        },
        ..testing::change("c1", "old", 111)
    };
    let mut plan = testing::plan("c1", vec![adopted, made, linked, full, deleted]);
    plan.clusters.values_mut().for_each(|cluster| cluster.changes.extend(containers()));
    plan
}

fn containers() -> Vec<Change> {
    let description = container_mark("ct", 300);
    let mut made = step(
        StepKind::Create,
        Method::Post,
        Template::text("/nodes/stg1/lxc"),
        vec![
            Expect::Exists,
            option("hostname", "ct"),
            option("description", &description),
            option("rootfs", "local-lvm:4"),
        ],
    );
    for (name, value) in [
        ("vmid", "300"),
        ("hostname", "ct"),
        ("ostemplate", OSTEMPLATE),
        ("rootfs", "local-lvm:4"),
        ("description", &description),
        ("unprivileged", "1"),
    ] {
        made = with(made, name, Template::text(value));
    }
    let made = making(
        Action::Create,
        "ct",
        300,
        vec![
            made,
            configure(300, &[("memory", "1024"), ("tags", "db")]),
            configure(300, &[("mp0", "local-lvm:2,mp=/srv")]),
            resize(300, "rootfs", "6G"),
            power(300, Power::Running),
        ],
    );
    let copy = |name: &str, vmid: u32| {
        let description = container_mark(name, vmid);
        let expect = vec![Expect::Exists, option("hostname", name), option("description", &description)];
        let copied = step(StepKind::Clone, Method::Post, Template::text("/nodes/stg1/lxc/120/clone"), expect);
        let params = [("newid", vmid.to_string()), ("hostname", name.to_owned()), ("description", description)];
        params.into_iter().fold(with(copied, "full", Template::text("1")), |step, (name, value)| {
            with(step, name, Template::text(value))
        })
    };
    let one = making(Action::Clone, "one", 301, vec![copy("one", 301), power(301, Power::Running)]);
    let template = step(StepKind::Template, Method::Post, path(302, "/template"), vec![Expect::Template]);
    let two = making(Action::Clone, "two", 302, vec![copy("two", 302), template]);
    [made, one, two].into_iter().map(container).collect()
}

fn cluster() -> SharedCluster {
    Arc::new(Mutex::new(Cluster::new(spec(), 7)))
}

/// A transport that falls silent at one write: before it is sent, or after it was carried out.
struct Silent {
    inner: SimTransport,
    writes: AtomicUsize,
    at: usize,
    after: bool,
}

impl Transport for Silent {
    fn send<'a>(&'a self, request: &'a Request) -> Sending<'a> {
        Box::pin(async move {
            let is_last = request.method.is_write() && self.writes.fetch_add(1, Ordering::Relaxed) == self.at;
            if is_last && !self.after {
                std::future::pending::<()>().await;
            }
            let answer = self.inner.send(request).await;
            if is_last {
                std::future::pending::<()>().await;
            }
            answer
        })
    }
}

async fn apply_over(transport: Arc<dyn Transport>, plan: &Plan) -> Outcome {
    let clients = BTreeMap::from([("c1".to_owned(), ClusterClient::new("c1", transport))]);
    let (_keep, cancel) = watch::channel(Cancel::No);
    run(plan, &clients, &NoSecrets, &Options::default(), &Journal::none(), &|_: &Event| {}, cancel).await
}

async fn apply_to(cluster: &SharedCluster, start: Instant) -> Outcome {
    apply_over(Arc::new(SimTransport::first(cluster.clone()).since(start)), &plan()).await
}

fn writes(cluster: &SharedCluster) -> Vec<String> {
    let cluster = lock(cluster);
    let writes = cluster.access_log().iter().filter(|entry| entry.method != "GET");
    writes.map(|entry| format!("{} {}", entry.method, entry.path)).collect()
}

/// What is there, without what chance or the order of events decides.
fn shape(cluster: &SharedCluster) -> String {
    let cluster = lock(cluster);
    let mut text = String::new();
    for id in cluster.guest_ids() {
        if let Some((kind, node, file)) = cluster.guest_file(id) {
            text.push_str(&format!("== {kind} {id} on {node}, running {}\n{file}\n", cluster.is_running(id)));
        }
    }
    text.push_str(&format!("{:?}", cluster.volume_ids()));
    let patterns = ["[0-9A-F]{2}(:[0-9A-F]{2}){5}", "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ctime=[0-9]+"];
    patterns.iter().fold(text, |text, pattern| regex::Regex::new(pattern).unwrap().replace_all(&text, "…").into_owned())
}

#[track_caller]
fn assert_all_done(outcome: &Outcome, context: &str) {
    let bad = outcome.guests.iter().filter(|guest| !guest.result.is_good() || !guest.left.is_empty());
    let bad: Vec<String> = bad
        .map(|guest| {
            format!("{} {} at {}: {:?} {:?}", guest.address, guest.result, guest.steps_done, guest.words, guest.left)
        })
        .collect();
    assert!(bad.is_empty(), "{context}: {bad:#?}");
    assert_eq!(outcome.exit_code(&plan()), 0, "{context}");
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_step_is_carried_out_and_a_second_run_sends_nothing() {
    let (cluster, start) = (cluster(), Instant::now());
    let outcome = apply_to(&cluster, start).await;
    assert_all_done(&outcome, "whole");
    let sent = writes(&cluster);
    assert_eq!(sent.len(), plan().changes().map(|change| change.steps.len()).sum::<usize>(), "{sent:#?}");
    let shape_then = shape(&cluster);
    for piece in [
        "tag=20",
        "scsi0: local-lvm:vm-201-disk-0,size=16G",
        "rootfs: local-lvm:vm-300-disk-0,size=6G",
        "mp0: local-lvm:",
    ] {
        assert!(shape_then.contains(piece), "{piece} in {shape_then}");
    }
    let vmid = |number| Vmid::new(number).unwrap();
    assert_eq!(lock(&cluster).guest_file(vmid(111)), None);
    assert!([110, 200, 201, 300, 301].into_iter().all(|number| lock(&cluster).is_running(vmid(number))));
    let again = apply_to(&cluster, start).await;
    assert_eq!(again.count(GuestResult::AlreadyDone), 8, "{again:#?}");
    assert_eq!(writes(&cluster).len(), sent.len());
    assert_eq!(shape(&cluster), shape_then);
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_write_nothing_is_doubled_and_nothing_lost() {
    let (whole, start) = (cluster(), Instant::now());
    assert_all_done(&apply_to(&whole, start).await, "whole");
    let (end, number) = (shape(&whole), writes(&whole).len());
    for at in 0..number {
        for after in [false, true] {
            let context = format!("write {at}, after {after}");
            let (cluster, start) = (cluster(), Instant::now());
            let inner = SimTransport::first(cluster.clone()).since(start);
            let silent = Arc::new(Silent { inner, writes: AtomicUsize::new(0), at, after });
            let first = timeout(LONG, apply_over(silent, &plan())).await;
            assert!(first.is_err(), "{context}: {first:#?}");
            assert_all_done(&apply_to(&cluster, start).await, &context);
            assert_eq!(shape(&cluster), end, "{context}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_while_tasks_run_the_next_run_joins_them() {
    let (whole, start) = (cluster(), Instant::now());
    assert_all_done(&apply_to(&whole, start).await, "whole");
    let (end, took) = (shape(&whole), start.elapsed());
    let mut moment = Duration::from_millis(3);
    while moment < took {
        let (cluster, start) = (cluster(), Instant::now());
        let _ = timeout(moment, apply_to(&cluster, start)).await;
        assert_all_done(&apply_to(&cluster, start).await, &format!("dropped after {moment:?}"));
        assert_eq!(shape(&cluster), end, "dropped after {moment:?}");
        moment += Duration::from_millis(97);
    }
}

#[tokio::test(start_paused = true)]
async fn lost_answers_and_cut_off_calls_end_in_the_same_place() {
    let (whole, start) = (cluster(), Instant::now());
    assert_all_done(&apply_to(&whole, start).await, "whole");
    let (end, sent) = (shape(&whole), writes(&whole));
    let cut_off = |effect| FaultKind::Status { code: 596, text: "Connection timed out".to_owned(), effect };
    for kind in [FaultKind::AnswerLost, cut_off(Effect::Done), cut_off(Effect::None), FaultKind::Refuse] {
        for write in &sent {
            let (method, path) = write.split_once(' ').unwrap();
            // A reboot that shows in nothing must not be repeated: there the run stops and says so.
            if path.ends_with("/reboot") && kind == cut_off(Effect::None) {
                continue;
            }
            let (cluster, start) = (cluster(), Instant::now());
            lock(&cluster).inject(Fault::new(method, path, kind.clone()).once_after(0));
            let context = format!("{write}, {kind:?}");
            assert_all_done(&apply_to(&cluster, start).await, &context);
            assert_eq!(shape(&cluster), end, "{context}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lock_time_outs_are_waited_out() {
    let (whole, start) = (cluster(), Instant::now());
    assert_all_done(&apply_to(&whole, start).await, "whole");
    let end = shape(&whole);
    let (cluster, start) = (cluster(), Instant::now());
    for (method, path, text) in [
        ("PUT", "*/config", "can't lock file '/var/lock/qemu-server/lock-110.conf' - got timeout"),
        ("POST", "*/clone", "cfs-lock 'storage-local-lvm' error: got lock request timeout"),
        ("POST", "/nodes/stg1/lxc", "can't lock file '/run/lock/lxc/pve-config-300.lock' - got timeout"),
    ] {
        let kind = FaultKind::Status { code: 500, text: text.to_owned(), effect: Effect::None };
        lock(&cluster).inject(Fault { times: Some(3), ..Fault::new(method, path, kind) });
    }
    assert_all_done(&apply_to(&cluster, start).await, "busy");
    assert_eq!(shape(&cluster), end);
}

#[tokio::test(start_paused = true)]
async fn a_hand_edit_after_planning_makes_that_guest_stale_alone() {
    let (cluster, start) = (cluster(), Instant::now());
    let client = ClusterClient::new("c1", Arc::new(SimTransport::first(cluster.clone()).since(start)));
    client.write(&Request::new(Method::Put, "/nodes/stg1/qemu/110/config").with("cores", "8")).await.unwrap();
    let before = writes(&cluster).len();
    let outcome = apply_to(&cluster, start).await;
    assert_result(&outcome.guests[0], GuestResult::Stale);
    assert_eq!(outcome.guests[0].words.as_deref(), Some("cores was '1' when planned and is '8' now"));
    assert_eq!(outcome.count(GuestResult::Done), 7, "{outcome:#?}");
    assert_eq!(outcome.exit_code(&plan()), 5);
    assert!(!writes(&cluster)[before..].iter().any(|write| write.contains("/110/")));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_off_hurts_only_itself() {
    let (cluster, start) = (cluster(), Instant::now());
    lock(&cluster).set_node_online("stg1", false);
    let outcome = apply_to(&cluster, start).await;
    assert_eq!(outcome.count(GuestResult::Failed), 8, "{outcome:#?}");
    assert_eq!(outcome.exit_code(&plan()), 1);
}
