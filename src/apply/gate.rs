//! What really contends in Proxmox, and how much of it is begun at once.
//!
//! Whoever makes or destroys a volume takes its storage's lock: a local one's on its node, a shared one's in the whole
//! cluster. Who waits for it gives up after ten seconds, so that too many at once fail where fewer would be faster. A
//! container that is cloned is locked until the end, and so is a VM that runs; a stopped VM serves many.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::fill;
use crate::client::ClusterClient;
use crate::clusters::Allocations;
use crate::gather;
use crate::live::{LiveGuest, Power, Read};
use crate::plan::{Change, Plan, State, Step, StepKind};
use crate::pve::compare;
use crate::pve::value::{self, GuestKind, Size, Vmid};

/// Something of which only a few may be under way at once, in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Gate {
    /// Clones of a guest that is locked while it is cloned.
    Source(String),
    /// Volumes on a storage; of a local one, on a node.
    Storage(String, Option<String>),
    /// What is made or moved on a node.
    Node(String),
    /// The same in the whole cluster.
    All,
}

/// What a step passes, and how many each of these is open for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Needs(BTreeMap<(String, Gate), usize>);

/// A guest that others are cloned from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    storages: BTreeSet<String>,
    bytes: u64,
    /// Only one clone of it at a time.
    alone: bool,
}

/// What the plan does not say and its gates depend on, read once before anything is sent.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The storages of each cluster that are not shared. One of which nothing is known counts as shared: that is slower
    /// at worst.
    local: BTreeMap<String, BTreeSet<String>>,
    /// By cluster and path.
    sources: BTreeMap<(String, String), Source>,
    allocations: BTreeMap<String, Allocations>,
}

impl Facts {
    /// Reads them: for each cluster in which volumes are made one list, and each source of clones. What cannot be read
    /// is taken to contend.
    pub(super) async fn read(
        plan: &Plan,
        clients: &BTreeMap<String, ClusterClient>,
        allocations: &BTreeMap<String, Allocations>,
    ) -> Self {
        let mut facts = Self { allocations: allocations.clone(), ..Self::default() };
        let mut storages = JoinSet::new();
        let mut sources = JoinSet::new();
        for (name, part) in &plan.clusters {
            let Some(client) = clients.get(name) else { continue };
            let ready = part.changes.iter().filter(|change| change.state == State::Ready);
            let steps: Vec<(&Change, &Step)> =
                ready.flat_map(|change| change.steps.iter().map(move |step| (change, step))).collect();
            if steps.iter().any(|(change, step)| contends(change, step)) {
                let (name, client) = (name.clone(), client.clone());
                storages.spawn(async move { (name, gather::local_storages(&client).await) });
            }
            let clones = steps.iter().filter(|(_, step)| step.kind == StepKind::Clone);
            for path in clones.map(|(_, step)| step.call.path.to_string()).collect::<BTreeSet<_>>() {
                let Some((kind, vmid, node)) = source_of(&path) else { continue };
                let (name, client) = (name.clone(), client.clone());
                sources.spawn(async move {
                    let live = gather::guest(&client, kind, vmid, Some(&node), false).await;
                    (name, path, live)
                });
            }
        }
        while let Some(read) = storages.join_next().await {
            if let Ok((cluster, Read::Known(local))) = read {
                facts.local.insert(cluster, local);
            }
        }
        while let Some(read) = sources.join_next().await {
            if let Ok((cluster, path, Read::Known(guest))) = read {
                facts.sources.insert((cluster, path), source(&guest));
            }
        }
        facts
    }

    /// What the first step of a change passes, as far as the plan alone tells.
    pub(super) fn first(&self, change: &Change) -> Needs {
        change.steps.first().map(|step| self.needs(change, step, None)).unwrap_or_default()
    }

    /// What a step passes, with the guest as it was just read where that is known.
    fn needs(&self, change: &Change, step: &Step, live: Option<&LiveGuest>) -> Needs {
        let cluster = &change.address.cluster;
        let path = step.call.path.to_string();
        let node = match fill::target(&path).map(|target| target.node) {
            // A hole: the guest's own node.
            Some(node) if !node.starts_with('<') => Some(node.to_owned()),
            _ => live.map(|guest| guest.node.clone()).or_else(|| change.node.clone()),
        };
        let source = self.sources.get(&(cluster.clone(), path.clone()));
        let storages = storages(change, step, live, source);
        if storages.is_empty() && !matches!(step.kind, StepKind::Clone | StepKind::Migrate) {
            return Needs::default();
        }
        let open = self.allocations.get(cluster).copied().unwrap_or_default();
        let mut needs = BTreeMap::from([((cluster.clone(), Gate::All), open.in_all)]);
        if step.kind == StepKind::Clone && source.is_none_or(|source| source.alone) {
            needs.insert((cluster.clone(), Gate::Source(path)), 1);
        }
        for storage in storages {
            let is_local = self.local.get(cluster).is_some_and(|local| local.contains(&storage));
            let place = node.clone().filter(|_| is_local);
            needs.insert((cluster.clone(), Gate::Storage(storage, place)), open.per_storage);
        }
        if let Some(node) = node {
            needs.insert((cluster.clone(), Gate::Node(node)), open.per_node);
        }
        Needs(needs)
    }

    /// How long a change may take, beside others: a guess in seconds, good enough to begin the longest first.
    pub(super) fn length(&self, change: &Change) -> u64 {
        let of = |step: &Step| match step.kind {
            StepKind::Clone => {
                let path = step.call.path.to_string();
                let is_full = step.call.params.get("full").is_some_and(|full| full.to_string() == "1");
                let source = self.sources.get(&(change.address.cluster.clone(), path));
                3 + if is_full { source.map_or(8, |source| source.bytes / Size::GIB) } else { 0 }
            }
            StepKind::Migrate | StepKind::Move => 20,
            StepKind::Create | StepKind::Ha | StepKind::Reboot | StepKind::Shutdown => 5,
            StepKind::Delete | StepKind::Start | StepKind::Template => 3,
            StepKind::Configure | StepKind::Resize | StepKind::Destroy | StepKind::Pool | StepKind::CloudInit => 1,
        };
        change.steps.iter().map(of).sum()
    }
}

/// True for a step that makes or destroys volumes.
fn contends(change: &Change, step: &Step) -> bool {
    matches!(step.kind, StepKind::Clone | StepKind::Template | StepKind::Destroy | StepKind::Delete)
        || !storages(change, step, None, None).is_empty()
}

/// The guest that a clone's path names.
fn source_of(path: &str) -> Option<(GuestKind, Vmid, String)> {
    let kind = if path.contains("/lxc/") { GuestKind::Lxc } else { GuestKind::Qemu };
    let target = fill::target(path)?;
    Some((kind, target.id?.parse().ok()?, target.node.to_owned()))
}

fn source(guest: &LiveGuest) -> Source {
    let alone = guest.kind == GuestKind::Lxc || (!guest.template && guest.power != Read::Known(Power::Stopped));
    let sizes = drives(guest).filter_map(|text| text.split(',').find_map(|part| part.strip_prefix("size=")));
    let bytes = sizes.filter_map(Size::parse_proxmox).map(|size| size.0).sum();
    Source { storages: volumes_on(drives(guest)), bytes, alone }
}

/// The drives of a guest, without what is in a CD-ROM drive and is nobody's own.
fn drives(guest: &LiveGuest) -> impl Iterator<Item = &str> {
    let current = guest.config.known().into_iter().flat_map(|config| &config.current);
    let drives = current.filter(|(option, value)| {
        let is_own = compare::is_drive(guest.kind, option) || compare::stem(option) == "unused";
        is_own && (!value.contains("media=cdrom") || value.contains("cloudinit"))
    });
    drives.map(|(_, value)| value.as_str())
}

/// The volume in a drive's text: its first part, with its name or without.
fn volume(text: &str) -> &str {
    let first = text.split(',').next().unwrap_or_default();
    first.split_once('=').map_or(first, |(_, volume)| volume)
}

fn volumes_on<'a>(drives: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    drives.filter_map(|text| value::storage_of(volume(text))).map(str::to_owned).collect()
}

/// The storages on which a step makes or destroys volumes.
fn storages(change: &Change, step: &Step, live: Option<&LiveGuest>, source: Option<&Source>) -> BTreeSet<String> {
    let kind = change.address.kind;
    let param = |name: &str| step.call.params.get(name).map(ToString::to_string);
    let named = || {
        let params = step.call.params.iter().filter(|(name, _)| compare::is_drive(kind, name));
        let texts = params.map(|(_, template)| template.to_string());
        texts.filter_map(|text| {
            let volume = volume(&text);
            let made = value::allocation(volume).map(|(storage, _)| storage);
            made.or_else(|| volume.strip_suffix(":cloudinit")).map(str::to_owned)
        })
    };
    // What goes is known by its key alone.
    let gone = |keys: &str| -> BTreeSet<String> {
        let current = live.and_then(|guest| guest.config.known()).map(|config| &config.current);
        let unused = value::split_list(keys).filter(|key| compare::stem(key) == "unused");
        volumes_on(unused.filter_map(|key| current?.get(key)).map(String::as_str))
    };
    match step.kind {
        StepKind::Create => named().chain(param("storage")).collect(),
        StepKind::Clone => match param("storage") {
            Some(storage) => BTreeSet::from([storage]),
            None => source.map(|source| source.storages.clone()).unwrap_or_default(),
        },
        StepKind::Move => param("storage").into_iter().collect(),
        StepKind::Configure | StepKind::Destroy => {
            let keys = ["delete", "idlist"].into_iter().filter_map(param);
            keys.flat_map(|keys| gone(&keys)).chain(named()).collect()
        }
        StepKind::Template | StepKind::Delete => live.map(|guest| volumes_on(drives(guest))).unwrap_or_default(),
        StepKind::Resize
        | StepKind::Start
        | StepKind::Shutdown
        | StepKind::Reboot
        | StepKind::Pool
        | StepKind::Migrate
        | StepKind::Ha
        | StepKind::CloudInit => BTreeSet::new(),
    }
}

/// How many are under way behind each gate.
#[derive(Debug, Default)]
struct Occupied(BTreeMap<(String, Gate), usize>);

impl Occupied {
    /// Passes all gates, or none: nobody who holds one waits for another.
    fn pass(&mut self, needs: &Needs) -> bool {
        let is_open = |(gate, open): (&(String, Gate), &usize)| self.0.get(gate).is_none_or(|now| now < open);
        if !needs.0.iter().all(is_open) {
            return false;
        }
        for gate in needs.0.keys() {
            *self.0.entry(gate.clone()).or_default() += 1;
        }
        true
    }

    fn leave(&mut self, needs: &Needs) {
        for gate in needs.0.keys() {
            if let Some(now) = self.0.get_mut(gate) {
                *now -= 1;
            }
        }
    }
}

/// Gates that steps pass, each open for a few at once.
#[derive(Debug)]
pub(super) struct Gates {
    pub(super) facts: Facts,
    occupied: Mutex<Occupied>,
    /// Told whenever a step is through.
    left: watch::Sender<()>,
}

/// A step on its way through its gates; dropped, it is through.
#[derive(Debug)]
pub(super) struct Passage {
    gates: Arc<Gates>,
    needs: Needs,
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.gates.occupied.lock().unwrap_or_else(PoisonError::into_inner).leave(&self.needs);
        self.gates.left.send_replace(());
    }
}

impl Gates {
    pub(super) fn new(facts: Facts) -> Arc<Self> {
        Arc::new(Self { facts, occupied: Mutex::default(), left: watch::Sender::new(()) })
    }

    /// Hears of every step that is through from now on.
    pub(super) fn listen(&self) -> watch::Receiver<()> {
        self.left.subscribe()
    }

    /// Passes at once or not at all.
    pub(super) fn try_pass(self: &Arc<Self>, needs: &Needs) -> Option<Passage> {
        let passed = self.occupied.lock().unwrap_or_else(PoisonError::into_inner).pass(needs);
        passed.then(|| Passage { gates: Arc::clone(self), needs: needs.clone() })
    }

    /// Waits for the step's turn; true where it had to wait.
    pub(super) async fn pass(
        self: &Arc<Self>,
        change: &Change,
        step: &Step,
        live: &Read<LiveGuest>,
    ) -> (Option<Passage>, bool) {
        let needs = self.facts.needs(change, step, live.known());
        if needs == Needs::default() {
            return (None, false);
        }
        let mut waited = false;
        let mut left = self.listen();
        loop {
            if let Some(passage) = self.try_pass(&needs) {
                return (Some(passage), waited);
            }
            waited = true;
            if left.changed().await.is_err() {
                return (None, waited);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::testing::{self, with};
    use crate::live::LiveConfig;
    use crate::plan::{Hole, Template};
    use crate::pve::http::Method;

    const TEMPLATE: &str = "/nodes/pve1/qemu/9001/clone";

    fn facts() -> Facts {
        let source =
            |alone| Source { storages: BTreeSet::from(["local-lvm".to_owned()]), bytes: 32 * Size::GIB, alone };
        Facts {
            local: BTreeMap::from([("a".to_owned(), BTreeSet::from(["local-lvm".to_owned()]))]),
            sources: [(TEMPLATE, false), ("/nodes/pve1/lxc/200/clone", true)]
                .into_iter()
                .map(|(path, alone)| (("a".to_owned(), path.to_owned()), source(alone)))
                .collect(),
            allocations: BTreeMap::from([("a".to_owned(), Allocations { per_storage: 2, per_node: 3, in_all: 4 })]),
        }
    }

    fn step(kind: StepKind, path: &str, params: &[(&str, &str)]) -> Step {
        let bare = testing::step(kind, Method::Post, Template::text(path), Vec::new());
        params.iter().fold(bare, |step, (name, value)| with(step, name, Template::text(*value)))
    }

    /// What a step passes, in words.
    fn gates(kind: StepKind, path: &str, params: &[(&str, &str)]) -> String {
        shown(&step(kind, path, params), GuestKind::Qemu, None)
    }

    fn shown(step: &Step, kind: GuestKind, live: Option<&LiveGuest>) -> String {
        let mut change = testing::change("a", "web", 100);
        change.address.kind = kind;
        let needs = facts().needs(&change, step, live);
        let word = |((_, gate), open): (&(String, Gate), &usize)| match gate {
            Gate::Source(path) => format!("source {path}:{open}"),
            Gate::Storage(name, Some(node)) => format!("{name}@{node}:{open}"),
            Gate::Storage(name, None) => format!("{name}:{open}"),
            Gate::Node(node) => format!("{node}:{open}"),
            Gate::All => format!("all:{open}"),
        };
        needs.0.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_step_passes_what_it_contends_for() {
        use StepKind as S;
        let local = "local-lvm@pve1:2 pve1:3 all:4";
        for (kind, path, params, expected) in [
            (S::Clone, TEMPLATE, vec![], local),
            (S::Clone, TEMPLATE, vec![("full", "1"), ("storage", "ceph")], "ceph:2 pve1:3 all:4"),
            // Of a source of which nothing is known one at a time.
            (S::Clone, "/nodes/pve2/qemu/1/clone", vec![], "source /nodes/pve2/qemu/1/clone:1 pve2:3 all:4"),
            (S::Create, "/nodes/pve1/qemu", vec![("scsi0", "local-lvm:8,ssd=1"), ("cores", "2")], local),
            (
                S::Create,
                "/nodes/pve2/qemu",
                vec![("efidisk0", "file=local-lvm:1"), ("ide2", "ceph:cloudinit")],
                "ceph:2 local-lvm@pve2:2 pve2:3 all:4",
            ),
            (S::Create, "/nodes/pve1/qemu", vec![("scsi0", "local-lvm:0,import-from=local:import/x.qcow2")], local),
            (S::Create, "/nodes/pve1/qemu", vec![("ide2", "local:iso/x.iso,media=cdrom")], ""),
            (S::Configure, "/nodes/pve1/qemu/100/config", vec![("scsi1", "local-lvm:8")], local),
            (S::Configure, "/nodes/pve1/qemu/100/config", vec![("scsi1", "local-lvm:vm-100-disk-1,ssd=1")], ""),
            (S::Configure, "/nodes/pve1/qemu/100/config", vec![("cores", "2"), ("delete", "net1")], ""),
            (S::Move, "/nodes/pve1/qemu/100/move_disk", vec![("disk", "scsi0"), ("storage", "local-lvm")], local),
            (S::Resize, "/nodes/pve1/qemu/100/resize", vec![("disk", "scsi0"), ("size", "8G")], ""),
            (S::Migrate, "/nodes/pve1/qemu/100/migrate", vec![("target", "pve2")], "pve1:3 all:4"),
            (S::Start, "/nodes/pve1/qemu/100/status/start", vec![], ""),
        ] {
            let sorted = |text: &str| text.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
            assert_eq!(sorted(&gates(kind, path, &params)), sorted(expected), "{kind:?} {path} {params:?}");
        }
        let container = step(S::Clone, "/nodes/pve1/lxc/200/clone", &[]);
        assert!(
            shown(&container, GuestKind::Lxc, None).starts_with("source /nodes/pve1/lxc/200/clone:1 local-lvm@pve1")
        );
        let rootfs = step(S::Create, "/nodes/pve1/lxc", &[("rootfs", "volume=local-lvm:8")]);
        assert_eq!(shown(&rootfs, GuestKind::Lxc, None), "local-lvm@pve1:2 pve1:3 all:4");
    }

    #[test]
    fn what_goes_is_known_once_the_guest_was_read() {
        let options = [
            ("scsi0", "local-lvm:vm-100-disk-0,size=8G"),
            ("unused0", "ceph:vm-100-disk-1"),
            ("ide2", "local:iso/x.iso,media=cdrom"),
            ("net0", "virtio=AA:BB:CC:DD:EE:0F"),
        ];
        let current = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let live = LiveGuest {
            vmid: Vmid::new(100).unwrap(),
            kind: GuestKind::Qemu,
            node: "pve2".to_owned(),
            name: Read::Absent,
            power: Read::Known(Power::Stopped),
            template: false,
            tags: BTreeSet::new(),
            lock: None,
            pool: None,
            snapshots: BTreeMap::new(),
            paused: false,
            ha: None,
            config: Read::Known(LiveConfig { current, pending: BTreeMap::new(), digest: "d".to_owned() }),
        };
        let path = Template::text("/nodes/").then_hole(Hole::Node).then("/qemu/100");
        let delete = testing::step(StepKind::Delete, Method::Delete, path.clone(), Vec::new());
        assert_eq!(shown(&delete, GuestKind::Qemu, None), "");
        assert_eq!(shown(&delete, GuestKind::Qemu, Some(&live)), "ceph:2 local-lvm@pve2:2 pve2:3 all:4");
        let unlink = testing::step(StepKind::Destroy, Method::Put, path, Vec::new());
        let unlink = with(unlink, "idlist", Template::text("unused0"));
        assert_eq!(shown(&unlink, GuestKind::Qemu, Some(&live)), "ceph:2 pve2:3 all:4");
        assert!(!source(&live).alone && source(&live).bytes == 8 * Size::GIB);
        let running = LiveGuest { power: Read::Known(Power::Running), ..live };
        assert!(source(&running).alone);
        assert!(!source(&LiveGuest { template: true, ..running }).alone);
    }

    #[test]
    fn all_gates_are_passed_or_none() {
        let facts = facts();
        let change = testing::change("a", "web", 100);
        let needs =
            |path: &str, params: &[(&str, &str)]| facts.needs(&change, &step(StepKind::Create, path, params), None);
        let (local, other) =
            (needs("/nodes/pve1/qemu", &[("scsi0", "local-lvm:8")]), needs("/nodes/pve2/qemu", &[("scsi0", "ceph:8")]));
        let mut occupied = Occupied::default();
        assert!(occupied.pass(&local) && occupied.pass(&local));
        assert!(!occupied.pass(&local), "the storage is full on this node");
        assert!(occupied.pass(&other) && occupied.pass(&other));
        assert!(!occupied.pass(&needs("/nodes/pve3/qemu", &[("scsi0", "nfs:8")])), "four in all");
        occupied.leave(&other);
        assert!(!occupied.pass(&local));
        occupied.leave(&local);
        assert!(occupied.pass(&local), "nothing was taken by those that did not pass");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_goes_on_when_another_is_through() {
        let gates = Gates::new(facts());
        let change = testing::change("a", "web", 100);
        let clone = step(StepKind::Clone, "/nodes/pve1/lxc/200/clone", &[]);
        let (first, waited) = gates.pass(&change, &clone, &Read::Absent).await;
        assert!(first.is_some() && !waited);
        let second = tokio::spawn({
            let (gates, change, clone) = (Arc::clone(&gates), change.clone(), clone.clone());
            async move { gates.pass(&change, &clone, &Read::Absent).await.1 }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        assert!(second.await.unwrap(), "it waited");
    }

    #[test]
    fn longer_changes_are_known_as_such() {
        let facts = facts();
        let length = |steps: Vec<Step>| {
            let mut change = testing::change("a", "web", 100);
            change.steps = steps;
            facts.length(&change)
        };
        let full = length(vec![step(StepKind::Clone, TEMPLATE, &[("full", "1")])]);
        let linked = length(vec![step(StepKind::Clone, TEMPLATE, &[("full", "0")])]);
        let set = length(vec![step(StepKind::Configure, "/nodes/pve1/qemu/100/config", &[])]);
        assert!(full > linked && linked > set, "{full} {linked} {set}");
    }
}
