//! Every fault of the simulator against every call of the client: the right kind of error, no write twice, no end
//! later than promised, and the other cluster as it was.
//!
//! The lists are made so that nothing can be left out: faults and actions by matches that have no other arm, the
//! discovery calls against the trait's source. `cargo test --test client_faults -- --nocapture` prints the table.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use pvefleet::client::{Action, ClusterClient, Discover, Guest, MultiClusterClient, Params};
use pvefleet::pve::http::{ApiError, Method, Request};
use pvefleet::pve::value::{GuestKind, TaskEnd, Upid, Vmid};
use pvefleet::sim::transport::lock;
use pvefleet::sim::world::GuestSpec;
use pvefleet::sim::{ClusterSpec, Effect, Fault, FaultKind};
use support::World;
use tokio::time::Instant;

const MET: &str = "production";
const OTHER: &str = "staging";
/// The node that the client asks, and the one that has the guests.
const ASKED: &str = "pve1";
const HOME: &str = "pve2";

/// One step from fault to fault: a new one must be given its place before this compiles.
fn after(kind: Option<&FaultKind>) -> Option<FaultKind> {
    use FaultKind as F;
    let status = |code, text: &str, effect| F::Status { code, text: text.to_owned(), effect };
    let failure = |effect| F::TaskFailure { exit: "it went wrong".to_owned(), effect };
    Some(match kind {
        None => F::Refuse,
        Some(F::Refuse) => F::RequestCut,
        Some(F::RequestCut) => F::AnswerLost,
        Some(F::AnswerLost) => F::Hang { effect: Effect::None },
        Some(F::Hang { effect: Effect::None }) => F::Hang { effect: Effect::Done },
        Some(F::Hang { effect: Effect::Done }) => status(500, "got no worker upid", Effect::None),
        Some(F::Status { code: 500, effect: Effect::None, .. }) => status(403, "Permission check failed", Effect::None),
        Some(F::Status { code: 403, .. }) => status(502, "Bad Gateway", Effect::None),
        Some(F::Status { code: 502, .. }) => status(595, "Connection refused", Effect::None),
        Some(F::Status { code: 595, .. }) => status(596, "Connection timed out", Effect::Done),
        Some(F::Status { .. }) => F::Slow(20_000),
        Some(F::Slow(20_000)) => F::Slow(70_000),
        Some(F::Slow(_)) => F::LockTimeout,
        Some(F::LockTimeout) => failure(Effect::None),
        Some(F::TaskFailure { effect: Effect::None, .. }) => failure(Effect::Done),
        Some(F::TaskFailure { effect: Effect::Done, .. }) => F::TicketExpired,
        Some(F::TicketExpired) => F::NodeOffline { node: ASKED.to_owned() },
        Some(F::NodeOffline { node }) if node == ASKED => F::NodeOffline { node: HOME.to_owned() },
        Some(F::NodeOffline { .. }) => F::StorageFull { storage: "shared".to_owned() },
        Some(F::StorageFull { .. }) => F::QuorumLost,
        Some(F::QuorumLost) => return None,
    })
}

fn faults() -> Vec<FaultKind> {
    std::iter::successors(after(None), |kind| after(Some(kind))).collect()
}

/// One step from action to action.
fn next_action(action: Option<&Action>) -> Option<Action> {
    use Action as A;
    let params = Params::new;
    Some(match action {
        None => A::Start,
        Some(A::Start) => A::Stop,
        Some(A::Stop) => A::Shutdown { timeout: None, force: false },
        Some(A::Shutdown { .. }) => A::Reboot { timeout: None },
        Some(A::Reboot { .. }) => A::Delete { purge: true },
        Some(A::Delete { .. }) => {
            let params = vec![("full".to_owned(), "1".to_owned())];
            A::Clone { vmid: vmid(300), name: Some("copy".to_owned()), params }
        }
        Some(A::Clone { .. }) => A::Migrate { target: "pve3".to_owned(), running: false, params: params() },
        Some(A::Migrate { .. }) => A::Resize { disk: String::new(), size: "+1G".to_owned() },
        Some(A::Resize { .. }) => A::Configure(vec![("cores".to_owned(), "3".to_owned())]),
        Some(A::Configure(_)) => return None,
    })
}

/// A call of the client.
#[derive(Clone, PartialEq, Eq)]
enum Call {
    /// A discovery call, by its name in the trait.
    Discover(&'static str),
    /// `ClusterClient::read` as it is.
    Read,
    /// `ClusterClient::write` as it is.
    Write,
    WaitTask,
    Act(GuestKind, Action),
    Create(GuestKind),
    /// The same of several clusters: a guest is looked for in all of them.
    Find,
    FindAndAct,
    RouteAndCreate,
}

const DISCOVERY: [&str; 17] = [
    "nodes",
    "node_status",
    "vms",
    "containers",
    "guests",
    "config",
    "storages",
    "node_storages",
    "storage_status",
    "storage_content",
    "bridges",
    "recent_tasks",
    "tasks",
    "task_status",
    "task_log",
    "guest",
    "guests_named",
];

fn lifecycle(kind: GuestKind) -> Vec<Call> {
    let actions = std::iter::successors(next_action(None), |action| next_action(Some(action)));
    actions.map(|action| Call::Act(kind, action)).chain([Call::Create(kind)]).collect()
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discover(name) => f.write_str(name),
            Self::Read => f.write_str("read"),
            Self::Write => f.write_str("write"),
            Self::WaitTask => f.write_str("wait_task"),
            Self::Act(kind, action) => write!(f, "{} {kind}", action.row().word),
            Self::Create(kind) => write!(f, "create {kind}"),
            Self::Find => f.write_str("find"),
            Self::FindAndAct => f.write_str("find and act"),
            Self::RouteAndCreate => f.write_str("route and create"),
        }
    }
}

/// What came of a call, as far as the caller can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Fine,
    TaskFailed,
    Connection,
    Undetermined,
    NodeUnreachable,
    Authentication,
    Permission,
    Busy,
    NotFound,
    Other,
}

impl Kind {
    fn of(error: &ApiError) -> Self {
        match error {
            ApiError::Connection(_) => Self::Connection,
            ApiError::Undetermined(_) => Self::Undetermined,
            ApiError::NodeUnreachable(_) => Self::NodeUnreachable,
            ApiError::Authentication(_) => Self::Authentication,
            ApiError::Permission(_) => Self::Permission,
            ApiError::Busy(_) => Self::Busy,
            ApiError::NotFound(_) => Self::NotFound,
            ApiError::Other(..) => Self::Other,
            ApiError::Tls(_)
            | ApiError::Validation { .. }
            | ApiError::Conflict(_)
            | ApiError::Locked(..)
            | ApiError::Exists(_) => panic!("no fault brings this about: {error}"),
        }
    }

    const fn letter(self) -> char {
        match self {
            Self::Fine => '.',
            Self::TaskFailed => 'T',
            Self::Connection => 'C',
            Self::Undetermined => 'U',
            Self::NodeUnreachable => 'N',
            Self::Authentication => 'A',
            Self::Permission => 'P',
            Self::Busy => 'B',
            Self::NotFound => '0',
            Self::Other => 'O',
        }
    }
}

impl Call {
    fn kind(&self) -> GuestKind {
        match self {
            Self::Act(kind, _) | Self::Create(kind) => *kind,
            _ => GuestKind::Qemu,
        }
    }

    /// How it is sent; a fault of it meets nothing that is sent before or after.
    fn method(&self) -> Method {
        match self {
            Self::Discover(_) | Self::Read | Self::WaitTask | Self::Find => Method::Get,
            Self::Write => Method::Put,
            Self::Act(kind, action) => action.request(&guest(*kind, false)).method,
            Self::Create(_) | Self::FindAndAct | Self::RouteAndCreate => Method::Post,
        }
    }

    /// True where all that it asks for is of the guests' node; a list that also the other nodes give does without it.
    fn is_of_home(&self) -> bool {
        match self {
            Self::Discover(name) => !matches!(
                *name,
                "nodes" | "vms" | "containers" | "guests" | "storages" | "recent_tasks" | "guest" | "guests_named"
            ),
            Self::Read | Self::Find => false,
            _ => true,
        }
    }

    /// No call takes longer, whatever happens: a read's deadline, a write's time-out and its tries before it left, and
    /// the patience with a task and one more look at it.
    fn deadline(&self) -> Duration {
        Duration::from_secs(match self {
            Self::WaitTask => 300 + 90,
            _ if self.method().is_write() => 15 + 60 + 30,
            _ => 90,
        })
    }
}

fn vmid(number: u32) -> Vmid {
    Vmid::new(number).unwrap()
}

fn number(kind: GuestKind, running: bool) -> u32 {
    match kind {
        GuestKind::Qemu => 200 + u32::from(running),
        GuestKind::Lxc => 210 + u32::from(running),
    }
}

fn guest(kind: GuestKind, running: bool) -> Guest {
    let row = serde_json::json!({ "vmid": number(kind, running), "type": kind.segment(), "node": HOME });
    serde_json::from_value(row).unwrap()
}

/// A VM and a container that run, and one of each that does not.
fn shape(spec: &mut ClusterSpec) {
    if spec.name != MET {
        return;
    }
    for (kind, model) in [(GuestKind::Qemu, 110), (GuestKind::Lxc, 120)] {
        for running in [false, true] {
            let mut guest: GuestSpec = spec.guests.iter().find(|guest| guest.vmid == model).unwrap().clone();
            let vmid = number(kind, running);
            (guest.vmid, guest.node, guest.running) = (vmid, HOME.to_owned(), running);
            guest.config.retain(|option, _| !option.starts_with("scsi") || option == "scsihw");
            let (option, disk) = match kind {
                GuestKind::Qemu => ("scsi0", format!("shared:{vmid}/vm-{vmid}-disk-0.qcow2,size=8G")),
                GuestKind::Lxc => ("rootfs", format!("shared:{vmid}/vm-{vmid}-disk-0.raw,size=8G")),
            };
            guest.config.insert(option.to_owned(), disk);
            spec.guests.push(guest);
        }
    }
}

/// Guests' files, who runs, and the volumes.
fn state(world: &World, name: &str) -> String {
    let cluster = lock(&world.clusters[name]);
    let ids: Vec<Vmid> = cluster.guest_ids().collect();
    let mut text = String::new();
    for id in ids {
        text.push_str(&format!("{:?} {}\n", cluster.guest_file(id), cluster.is_running(id)));
    }
    text + &format!("{:?}", cluster.volume_ids())
}

/// Runs one call; a write's task is waited for, and counts with it.
async fn run(call: &Call, client: &ClusterClient, several: &MultiClusterClient, task: &Upid) -> Kind {
    let kind = call.kind();
    let target = pvefleet::client::Target { vmid: Some(vmid(200)), ..Default::default() };
    let of_several = |error: pvefleet::client::ClusterError| match error {
        pvefleet::client::ClusterError::ClusterConnection(cluster, _) => {
            assert_eq!(cluster, MET);
            Kind::Connection
        }
        pvefleet::client::ClusterError::Api(cluster, error) => {
            assert_eq!(cluster, MET);
            Kind::of(&error)
        }
        error => panic!("{error}"),
    };
    let started: Result<Option<Upid>, ApiError> = match call {
        Call::Discover(name) => {
            return discover(name, client, task).await.map_or_else(|error| Kind::of(&error), |()| Kind::Fine);
        }
        Call::Read => client.read(&Request::get("/version")).await.map(|_| None),
        Call::Write => {
            let request = Request::new(Method::Put, format!("/nodes/{HOME}/qemu/200/config")).with("cores", "3");
            client.write(&request).await.map(|_| None)
        }
        Call::WaitTask => Ok(Some(task.clone())),
        Call::Act(_, action) => {
            let running = matches!(action, Action::Stop | Action::Shutdown { .. } | Action::Reboot { .. });
            let mut action = action.clone();
            if let Action::Resize { disk, .. } = &mut action {
                *disk = if kind == GuestKind::Qemu { "scsi0" } else { "rootfs" }.to_owned();
            }
            client.act(&guest(kind, running), &action).await
        }
        Call::Create(_) => client.create(kind, HOME, vmid(301), disks(kind)).await,
        Call::Find => return several.find(&target).await.map_or_else(of_several, |_| Kind::Fine),
        Call::FindAndAct => match several.act(&target, &Action::Start).await {
            Ok(started) => Ok(started.upid),
            Err(error) => return of_several(error),
        },
        Call::RouteAndCreate => {
            let target = pvefleet::client::Target { cluster: Some(MET), name: Some("new"), vmid: Some(vmid(301)) };
            match several.create(&target, kind, Some(HOME), disks(kind)).await {
                Ok(started) => Ok(started.upid),
                Err(error) => return of_several(error),
            }
        }
    };
    let upid = match started {
        Ok(Some(upid)) => upid,
        Ok(None) => return Kind::Fine,
        Err(error) => return Kind::of(&error),
    };
    match client.wait_task(&upid, &|_| {}).await {
        Ok(TaskEnd::Ok | TaskEnd::Warnings(_)) => Kind::Fine,
        Ok(TaskEnd::Failed(_)) => Kind::TaskFailed,
        Err(error) => Kind::of(&error),
    }
}

fn disks(kind: GuestKind) -> Params {
    let pairs: &[(&str, &str)] = match kind {
        GuestKind::Qemu => &[("scsi0", "shared:4")],
        GuestKind::Lxc => {
            &[("ostemplate", "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"), ("rootfs", "shared:4")]
        }
    };
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn discover(name: &str, client: &ClusterClient, task: &Upid) -> Result<(), ApiError> {
    match name {
        "nodes" => drop(client.nodes().await?),
        "node_status" => drop(client.node_status(HOME).await?),
        "vms" => drop(client.vms().await?),
        "containers" => drop(client.containers().await?),
        "guests" => drop(client.guests().await?),
        "config" => drop(client.config(&guest(GuestKind::Qemu, false)).await?),
        "storages" => drop(client.storages().await?),
        "node_storages" => drop(client.node_storages(HOME).await?),
        "storage_status" => drop(client.storage_status(HOME, "shared").await?),
        "storage_content" => drop(client.storage_content(HOME, "shared").await?),
        "bridges" => drop(client.bridges(HOME).await?),
        "recent_tasks" => drop(client.recent_tasks().await?),
        "tasks" => drop(client.tasks(HOME, 10).await?),
        "task_status" => drop(client.task_status(task).await?),
        "task_log" => drop(client.task_log(task, 10).await?),
        "guest" => drop(client.guest(vmid(200)).await?),
        "guests_named" => drop(client.guests_named("legacy-nas").await?),
        other => panic!("{other} is not called here"),
    }
    Ok(())
}

/// What the caller must be told. `once`: only the first request is met.
fn expected(call: &Call, fault: &FaultKind, once: bool) -> Kind {
    use FaultKind as F;
    let write = call.method().is_write();
    // A look at a task that fails is not the task's end; what else is said of it is nothing to go by.
    if *call == Call::WaitTask {
        return match fault {
            F::Slow(20_000) | F::LockTimeout | F::TaskFailure { .. } | F::StorageFull { .. } | F::QuorumLost => {
                Kind::Fine
            }
            F::Status { code: 500 | 403, .. } | F::TicketExpired => Kind::Undetermined,
            _ if once => Kind::Fine,
            _ => Kind::Undetermined,
        };
    }
    match fault {
        // Never sent: whatever it is, it is tried again.
        F::Refuse if once => Kind::Fine,
        F::NodeOffline { node } if node == ASKED && once => Kind::Fine,
        F::Refuse => Kind::Connection,
        F::NodeOffline { node } if node == ASKED => Kind::Connection,
        // Perhaps carried out: a read is tried again where there is time, a write never.
        F::RequestCut | F::AnswerLost | F::Status { code: 502, .. } if !write && once => Kind::Fine,
        F::RequestCut | F::AnswerLost | F::Hang { .. } | F::Status { code: 502, .. } | F::Slow(70_000) => {
            if write {
                Kind::Undetermined
            } else {
                Kind::Connection
            }
        }
        F::Status { code: 596, .. } if write => Kind::Undetermined,
        F::Status { code: 595 | 596, .. } if !write && once => Kind::Fine,
        F::Status { code: 595 | 596, .. } => Kind::NodeUnreachable,
        F::Status { code: 403, .. } => Kind::Permission,
        F::Status { .. } => Kind::Other,
        F::Slow(_) => Kind::Fine,
        F::TicketExpired => Kind::Authentication,
        F::NodeOffline { .. } if !call.is_of_home() || (once && !write) => Kind::Fine,
        F::NodeOffline { .. } => Kind::NodeUnreachable,
        F::LockTimeout | F::TaskFailure { .. } | F::StorageFull { .. } | F::QuorumLost if !write => Kind::Fine,
        F::LockTimeout if call.locks_before_its_task() => Kind::Busy,
        F::LockTimeout => Kind::TaskFailed,
        F::TaskFailure { .. } if call.is_without_task() => Kind::Fine,
        F::TaskFailure { .. } => Kind::TaskFailed,
        // It is full while the first request comes; its task comes later.
        F::StorageFull { .. } if call.allocates() && !once => Kind::TaskFailed,
        F::StorageFull { .. } => Kind::Fine,
        F::QuorumLost => call.without_quorum(),
    }
}

impl Call {
    fn word(&self) -> &'static str {
        match self {
            Self::Act(_, action) => action.row().word,
            Self::FindAndAct => "start",
            Self::Create(_) | Self::RouteAndCreate => "create",
            Self::Write => "configure",
            Self::Discover(_) | Self::Read | Self::WaitTask | Self::Find => "",
        }
    }

    /// Done when it is answered.
    fn is_without_task(&self) -> bool {
        *self == Self::Write || (self.word() == "configure" && self.kind() == GuestKind::Lxc)
    }

    /// The lock file is taken before the answer, not by the task.
    fn locks_before_its_task(&self) -> bool {
        let container = self.kind() == GuestKind::Lxc;
        self.word() == "configure" || (container && matches!(self.word(), "clone" | "resize"))
    }

    fn allocates(&self) -> bool {
        matches!(self.word(), "clone" | "resize" | "create")
    }

    /// Processes can be ended without a majority; what writes is refused, or its task fails when it does.
    fn without_quorum(&self) -> Kind {
        match self.word() {
            "stop" | "shutdown" | "reboot" => Kind::Fine,
            "delete" | "resize" => Kind::TaskFailed,
            "configure" if !self.is_without_task() => Kind::TaskFailed,
            _ => Kind::Other,
        }
    }

    /// Whether the guests or volumes must have changed when all has come to its end; nothing is said where a task
    /// failed half-way: a guest that is being deleted may have lost its volumes, one that is being made stays locked.
    fn changes(&self, told: Kind, fault: &FaultKind) -> Option<bool> {
        let halfway = told == Kind::TaskFailed && matches!(self.word(), "delete" | "create");
        (!halfway || is_done(fault)).then_some(told == Kind::Fine || is_done(fault))
    }
}

/// True where the request of a write gets to the cluster's log.
fn arrives(fault: &FaultKind, once: bool) -> bool {
    let asked_is_off = matches!(fault, FaultKind::NodeOffline { node } if node == ASKED);
    once || !(matches!(fault, FaultKind::Refuse) || asked_is_off)
}

/// True where the request is carried out although the caller is told something else.
fn is_done(fault: &FaultKind) -> bool {
    match fault {
        FaultKind::AnswerLost | FaultKind::Slow(_) => true,
        FaultKind::Hang { effect } | FaultKind::Status { effect, .. } | FaultKind::TaskFailure { effect, .. } => {
            *effect == Effect::Done
        }
        FaultKind::Refuse
        | FaultKind::RequestCut
        | FaultKind::LockTimeout
        | FaultKind::TicketExpired
        | FaultKind::NodeOffline { .. }
        | FaultKind::StorageFull { .. }
        | FaultKind::QuorumLost => false,
    }
}

/// One call, one fault: what the caller was told, and what is wrong with that.
async fn cell(prototype: &World, call: &Call, kind: &FaultKind, once: bool) -> (Kind, Vec<String>) {
    let clusters = prototype.clusters.iter().map(|(name, cluster)| {
        let copy = lock(cluster).clone();
        (name.clone(), std::sync::Arc::new(std::sync::Mutex::new(copy)))
    });
    let world = World { clusters: clusters.collect(), registry: prototype.registry.clone(), start: Instant::now() };
    let (client, other) = (world.client(MET), world.client(OTHER));
    let several = MultiClusterClient::from_clients([client.clone(), other.clone()]);
    // A task to ask for, which still runs when it is asked for.
    let task = if matches!(call, Call::WaitTask | Call::Discover("task_status" | "task_log")) {
        let shutdown = Action::Shutdown { timeout: None, force: false };
        client.act(&guest(GuestKind::Qemu, true), &shutdown).await.unwrap().unwrap()
    } else {
        "UPID:pve2:00000001:00000001:66000000:qmstart:200:root@pam:".parse().unwrap()
    };
    let before = (state(&world, MET), state(&world, OTHER), world.log(MET).len());
    let is_condition =
        matches!(kind, FaultKind::NodeOffline { .. } | FaultKind::StorageFull { .. } | FaultKind::QuorumLost);
    let mut fault = match is_condition && !once {
        true => Fault::always(kind.clone()),
        false => Fault::new(call.method().as_str(), "*", kind.clone()),
    };
    fault.times = once.then_some(1);
    lock(&world.clusters[MET]).inject(fault);

    let started = Instant::now();
    let version = Request::get("/version");
    let beside = async { (other.read(&version).await.is_ok(), started.elapsed()) };
    let (told, (answered, late)) = tokio::join!(run(call, &client, &several, &task), beside);
    let took = started.elapsed();

    let mut wrong = Vec::new();
    let mut holds = |is: bool, text: String| wrong.extend((!is).then_some(text));
    let wanted = expected(call, kind, once);
    holds(told == wanted, format!("told {told:?}, not {wanted:?}"));
    holds(took <= call.deadline(), format!("took {} s", took.as_secs()));
    holds(answered && late < Duration::from_secs(1), "the other cluster did not answer at once".to_owned());
    holds(state(&world, OTHER) == before.1, "the other cluster changed".to_owned());
    holds(world.log(OTHER).iter().all(|entry| entry.method == "GET"), "the other cluster was written to".to_owned());
    let writes = world.log(MET).iter().skip(before.2).filter(|entry| entry.method != "GET").count();
    let due = usize::from(call.method().is_write() && arrives(kind, once));
    holds(writes == due, format!("{writes} writes came, not {due}"));
    if call.method().is_write() && !matches!(kind, FaultKind::NodeOffline { .. }) {
        // What was begun comes to its end.
        lock(&world.clusters[MET]).clear_faults();
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(client.read(&version).await);
        let changed = state(&world, MET) != before.0;
        let due = call.changes(told, kind).unwrap_or(changed);
        // A guest that was started again looks as it did.
        let reboots = call.word() == "reboot";
        holds(changed == due || (reboots && due), format!("changed: {changed}, not {due}"));
    }
    (told, wrong)
}

/// Runs every fault against these calls, prints the table, and fails with all that is wrong.
async fn matrix(calls: Vec<Call>) {
    let prototype = World::shaped(&[MET, OTHER], "", shape);
    let faults = faults();
    let mut wrong = Vec::new();
    let mut told_of: BTreeMap<usize, BTreeSet<Kind>> = BTreeMap::new();
    println!("each fault always, then once; . fine, else the first letter of the error, T for a failed task");
    for (index, fault) in faults.iter().enumerate() {
        println!("{index:>3} {fault:?}");
    }
    let numbers: Vec<String> = (0..faults.len()).map(|index| format!("{index:>2}")).collect();
    println!("{:<18} {}", "", numbers.join(" "));
    for call in &calls {
        let mut line = format!("{:<18}", call.to_string());
        for (index, fault) in faults.iter().enumerate() {
            line.push(' ');
            for once in [false, true] {
                let (told, troubles) = cell(&prototype, call, fault, once).await;
                line.push(told.letter());
                told_of.entry(index).or_default().insert(told);
                wrong.extend(troubles.iter().map(|text| format!("{call}, {fault:?}, once {once}: {text}")));
            }
        }
        println!("{line}");
        assert!(line.chars().filter(|letter| letter.is_ascii_uppercase()).count() > 10, "{call} is hardly met");
    }
    println!("{} calls x {} faults x 2", calls.len(), faults.len());
    assert_eq!(told_of.len(), faults.len());
    if calls.iter().any(|call| call.method().is_write()) {
        for (index, kinds) in told_of {
            let slow = matches!(faults[index], FaultKind::Slow(20_000));
            assert!(slow || kinds != BTreeSet::from([Kind::Fine]), "{:?} meets no call", faults[index]);
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn discovery() {
    let source = include_str!("../src/client/discover.rs");
    let (_, source) = source.split_once("pub trait Discover").unwrap();
    let (source, _) = source.split_once("\n}\n").unwrap();
    let named: Vec<&str> = source.lines().filter_map(|line| line.strip_prefix("    fn ")?.split('(').next()).collect();
    assert_eq!(named, DISCOVERY, "each call of the trait has its row");
    matrix(DISCOVERY.into_iter().map(Call::Discover).chain([Call::Read]).collect()).await;
}

#[tokio::test(start_paused = true)]
async fn lifecycle_of_vms() {
    matrix(lifecycle(GuestKind::Qemu)).await;
}

#[tokio::test(start_paused = true)]
async fn lifecycle_of_containers() {
    matrix(lifecycle(GuestKind::Lxc)).await;
}

#[tokio::test(start_paused = true)]
async fn tasks_plain_writes_and_several_clusters() {
    matrix(vec![Call::Write, Call::WaitTask, Call::Find, Call::FindAndAct, Call::RouteAndCreate]).await;
}
