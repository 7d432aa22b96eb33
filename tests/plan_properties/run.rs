//! One case from beginning to end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pvefleet::apply::{GuestOutcome, GuestResult};
use pvefleet::client::{ReadOnlyClient, Reader};
use pvefleet::desired::Desired;
use pvefleet::live::Live;
use pvefleet::ops::{self, Readers};
use pvefleet::plan::{self, Acceptance, Action, Address, Change, FieldChange, Plan, PlanOptions, ReasonCode, State};
use pvefleet::pve::http::{Method, Request};
use pvefleet::pve::value::GuestKind;
use pvefleet::sim::transport::lock;
use pvefleet::sim::world::{GrantSpec, TokenSpec, VolumeSpec};

use crate::case::{Case, Owner};
use crate::defects::Defect;
use crate::dice::Dice;
use crate::observer::Snapshot;
use crate::reading::{Answers, Failing, Fault, Keeping, Shuffling};
use crate::support::{World, text};
use crate::wishes::VM_BACKUP;
use crate::{coverage, judge};

/// A change in a few lines.
pub fn brief(change: &Change) -> String {
    let steps: Vec<String> = change
        .steps
        .iter()
        .map(|step| {
            let params: Vec<String> =
                step.call.params.iter().map(|(name, value)| format!("{name}={}", value)).collect();
            format!("  {} {} {}: {}", step.words, step.call.method.as_str(), step.call.path, params.join(" & "))
        })
        .collect();
    let reason =
        change.reason.as_ref().map_or_else(String::new, |reason| format!(" {}: {}", reason.code, reason.words));
    let (address, vmid) = (&change.address, change.address.vmid.map_or(0, |vmid| vmid.get()));
    format!("{address} {vmid} {} {}{reason}\n{}", change.action, change.state, steps.join("\n"))
}

fn failed(guest: &GuestOutcome, plan: &Plan) -> String {
    let change = plan.changes().find(|change| change.address == guest.address).map_or_else(String::new, brief);
    format!(
        "{} {}: {}\n{change}\n{}",
        guest.address,
        guest.result,
        guest.words.as_deref().unwrap_or_default(),
        text(plan)
    )
}

/// A property that does not hold.
#[derive(Debug)]
pub struct Violation {
    pub property: &'static str,
    pub words: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}) {}", self.property, self.words)
    }
}

pub fn violated<T>(property: &'static str, words: impl Into<String>) -> Result<T, Violation> {
    Err(Violation { property, words: words.into() })
}

/// How large a case was.
#[derive(Debug, Default)]
pub struct Stats {
    pub guests: usize,
    pub clusters: usize,
    /// Options that differ between manifest and world.
    pub differing: usize,
}

/// Plans of one case, with the defect that is planted, if any.
struct Planner<'a> {
    case: &'a Case,
    desired: Desired,
    defect: Option<Defect>,
}

impl Planner<'_> {
    fn options(&self, accept: Vec<Acceptance>) -> PlanOptions {
        let unasked = self.defect == Some(Defect::PruneUnasked);
        let partial = self.case.partial && self.defect != Some(Defect::TakeAPartForTheWhole);
        PlanOptions { prune: self.case.prune || unasked, partial, accept, ..PlanOptions::default() }
    }

    fn plan(&self, live: &Live, accept: &[Acceptance], again: bool) -> Result<Plan, String> {
        let (mut desired, mut live) = (self.desired.clone(), live.clone());
        if let Some(defect) = self.defect {
            defect.in_desired(&mut desired);
            defect.in_live(&mut live, &desired);
        }
        let mut plan = plan::plan(&desired, &live, &self.options(accept.to_vec())).map_err(|problems| {
            problems.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("; ")
        })?;
        if let Some(defect) = self.defect {
            defect.in_plan(&mut plan, again);
        }
        coverage::count(&plan);
        Ok(plan)
    }
}

/// The VM in the backup.
const BACKUP: &str = "#Of the old site.\nboot: order=scsi0\ncores: 2\nmemory: 1024\nname: old\n\
                      net0: virtio=BC:24:11:00:05:00,bridge=vmbr0\nscsi0: far:vm-500-disk-0,size=4G\ntags: old\n";

fn world(case: &Case) -> World {
    let grant = |path: &str, role: &str, propagate| GrantSpec {
        path: path.to_owned(),
        role: Some(role.to_owned()),
        privileges: Vec::new(),
        propagate,
    };
    let world = World::shaped(&case.clusters, &case.settings, |spec| {
        let name = case.clusters.iter().find(|name| **name == spec.name).copied().unwrap();
        spec.guests.extend(case.guests(name));
        spec.pools.insert("web".to_owned(), String::new());
        for entity in case.entities.iter().filter(|entity| entity.cluster == name) {
            if let Some(state) = entity.ha {
                let prefix = if entity.kind == GuestKind::Qemu { "vm" } else { "ct" };
                let options = [("state".to_owned(), state.to_owned())].into();
                spec.ha.insert(format!("{prefix}:{}", entity.vmid), options);
            }
        }
        if name == "production" {
            spec.volumes.push(VolumeSpec {
                volid: VM_BACKUP.to_owned(),
                node: "pve2".to_owned(),
                size: 1 << 30,
                archive: Some(BACKUP.to_owned()),
            });
        }
        if name == "staging" && case.seed.is_multiple_of(3) {
            spec.version = "8.4".to_owned();
        }
        if case.blind == Some(name) {
            let mut grants = vec![grant("/", "PVEAuditor", false), grant("/nodes", "PVEAuditor", true)];
            grants.extend([grant("/storage", "PVEDatastoreAdmin", true), grant("/sdn", "PVESDNAdmin", true)]);
            let seen = case.entities.iter().filter(|entity| entity.cluster == name && entity.vmid % 4 != 0);
            grants.extend(seen.map(|entity| {
                grant(
                    &format!("/vms/{}", entity.vmid),
                    if entity.vmid % 4 == 1 { "PVEAuditor" } else { "PVEVMAdmin" },
                    true,
                )
            }));
            spec.tokens = vec![TokenSpec::new("ci@pve!fleet", "s", grants)];
        }
    });
    if let Some((cluster, node)) = case.offline {
        lock(&world.clusters[cluster]).set_node_online(node, false);
    }
    world
}

/// Other hands change guests, and begin a backup.
async fn others(case: &Case, world: &World) -> Result<(), Violation> {
    for (index, option, value) in &case.edits {
        let entity = &case.entities[*index];
        let path = format!("/nodes/{}/{}/{}/config", entity.node, entity.kind, entity.vmid);
        // It may be locked, or not there: then nothing happens.
        drop(world.client(entity.cluster).write(&Request::new(Method::Put, path).with(*option, *value)).await);
    }
    if let Some(index) = case.backup {
        let entity = &case.entities[index];
        let path = format!("/nodes/{}/vzdump", entity.node);
        let request = Request::new(Method::Post, path).with("vmid", entity.vmid.to_string()).with("storage", "local");
        drop(world.client(entity.cluster).write(&request).await);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    Ok(())
}

/// The readers of all clusters, each changed.
fn readers(world: &World, change: impl Fn(&str, Arc<dyn Reader>) -> Arc<dyn Reader>) -> Readers {
    let reader = |name: &String| Arc::new(ReadOnlyClient::from(world.client(name))) as Arc<dyn Reader>;
    world.clusters.keys().map(|name| (name.clone(), Ok(change(name, reader(name))))).collect()
}

/// The acceptances that a plan's own words offer.
fn offered(plan: &Plan) -> BTreeSet<String> {
    let reasons = plan
        .changes()
        .flat_map(|change| change.reason.iter().chain(change.fields.iter().filter_map(|field| field.blocked.as_ref())));
    let hints: Vec<String> = reasons.filter_map(|reason| reason.hint.clone()).collect();
    let words = hints.iter().flat_map(|hint| hint.split("--accept ").skip(1));
    words.map(|rest| rest.split([' ', ',', ';', ')', '`']).next().unwrap_or_default().to_owned()).collect()
}

pub async fn check(case: &Case, defect: Option<Defect>) -> Result<Stats, Violation> {
    let world = world(case);
    others(case, &world).await?;
    let desired = world.desired(&case.manifest(None));
    let planner = Planner { case, desired, defect };
    let keeping = ByCluster::new(case, &world);
    let live = ops::read(&planner.desired, &keeping.readers, &[]).await;
    let before = Snapshot::of(&world);
    let first = match planner.plan(&live, &[], false) {
        Ok(plan) => plan,
        Err(words) => return violated("plan", words),
    };
    // Of what the plan offers to accept, some is accepted.
    let mut dice = Dice::new(case.seed ^ 0xACCE);
    let all = defect == Some(Defect::DetachUnasked);
    let chosen: Vec<String> =
        offered(&first).into_iter().filter(|offer| dice.percent(40) || all && offer.starts_with("detach:")).collect();
    let mut chosen = chosen;
    let owned = |entity: &&crate::case::Entity| {
        entity.owner == Owner::Ours && entity.entry.is_some() && entity.config.contains_key("unused0")
    };
    // Nothing offers to destroy a volume: who wants it says so.
    for entity in case.entities.iter().filter(owned).filter(|_| dice.percent(30)) {
        let offer = format!("destroy:{}/{}/unused0", entity.cluster, entity.vmid);
        if planner.plan(&live, &[offer.parse().unwrap()], false).is_ok() {
            chosen.push(offer);
        }
    }
    let accept: Vec<Acceptance> = chosen.iter().filter_map(|text| text.parse().ok()).collect();
    let plan = match planner.plan(&live, &accept, false) {
        Ok(plan) => plan,
        Err(words) => return violated("a: an acceptance that is offered counts", format!("{chosen:?}: {words}")),
    };
    // What the defect accepted, nobody did.
    let asked: Vec<Acceptance> =
        accept.iter().filter(|accept| !all || accept.kind != plan::AcceptanceKind::Detach).cloned().collect();
    let judged = judge::Judge { case, before: &before, accept: &asked };
    judged.plan(&plan)?;
    in_another_order(case, &world, &planner, &keeping, &accept, &plan).await?;
    unreadable(case, &world, &planner, &before).await?;

    let outcome = world.carry_out(&plan).await;
    for guest in &outcome.guests {
        let bad = !guest.result.is_good()
            && !matches!(guest.result, GuestResult::Blocked | GuestResult::Waiting | GuestResult::Unknown);
        // A backup that runs keeps others from its guest.
        if bad && case.backup.is_none() {
            return violated("a: a plan can be carried out", failed(guest, &plan));
        }
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    let readers = world.readers();
    let read = async || ops::read(&planner.desired, &readers, &[]).await;
    let mut live = read().await;
    let after = Snapshot::of(&world);
    judged.done(&plan, &after)?;
    judge::expectations(&plan, &outcome, &live, &world)?;
    let mut last = plan;
    for round in 0..6 {
        let again = match planner.plan(&live, &[], false) {
            Ok(plan) => plan,
            Err(words) => return violated("a", words),
        };
        let now = Snapshot::of(&world);
        judge::Judge { case, before: &now, accept: &[] }.plan(&again)?;
        if again.is_empty() {
            explained(&again)?;
            return Ok(stats(case, &last));
        }
        only_what_waited(case, &last, &again)?;
        if round == 5 {
            return violated("a: planning again ends", text(&again));
        }
        let outcome = world.carry_out(&again).await;
        if let Some(guest) = outcome.guests.iter().find(|guest| guest.result == GuestResult::Failed) {
            return violated("a: a plan can be carried out", failed(guest, &again));
        }
        live = read().await;
        last = again;
    }
    Ok(stats(case, &last))
}

/// The readers of a case, whose answers are kept by cluster.
struct ByCluster {
    readers: Readers,
    answers: BTreeMap<String, Answers>,
}

impl ByCluster {
    fn new(case: &Case, world: &World) -> Self {
        let answers: BTreeMap<String, Answers> =
            case.clusters.iter().map(|name| ((*name).to_owned(), Answers::default())).collect();
        let readers = readers(world, |name, inner| Arc::new(Keeping { inner, answers: Arc::clone(&answers[name]) }));
        Self { readers, answers }
    }
}

/// (c)
async fn in_another_order(
    case: &Case,
    world: &World,
    planner: &Planner<'_>,
    kept: &ByCluster,
    accept: &[Acceptance],
    plan: &Plan,
) -> Result<(), Violation> {
    let seed = case.seed ^ 0x05FF;
    let shuffled =
        readers(world, |name, inner| Arc::new(Shuffling { inner, answers: Arc::clone(&kept.answers[name]), seed }));
    let live = ops::read(&planner.desired, &shuffled, &[]).await;
    let manifest = case.manifest(Some(&mut Dice::new(seed)));
    let other = Planner { case, desired: world.desired(&manifest), defect: planner.defect };
    let again = other.plan(&live, accept, true).map_err(|words| Violation { property: "c", words })?;
    // Lines of the manifest are other ones: they are no part of what is compared.
    let bytes = |plan: &Plan| {
        let mut plan = plan.clone();
        for change in plan.clusters.values_mut().flat_map(|cluster| &mut cluster.changes) {
            change.place = None;
            change.fields.iter_mut().for_each(|field| field.place = None);
        }
        let text = serde_json::to_string_pretty(&plan).unwrap();
        regex::Regex::new(r"fleet\.yaml:\d+").unwrap().replace_all(&text, "fleet.yaml").into_owned()
    };
    let (one, two) = (bytes(plan), bytes(&again));
    if one != two {
        let diff = similar::TextDiff::from_lines(&one, &two).unified_diff().to_string();
        return violated("c: the same answers in another order give the same bytes", diff);
    }
    Ok(())
}

/// (d)
async fn unreadable(case: &Case, world: &World, planner: &Planner<'_>, before: &Snapshot) -> Result<(), Violation> {
    let mut dice = Dice::new(case.seed ^ 0xFA17);
    let cluster = dice.pick(&case.clusters);
    let node = dice.pick(crate::case::nodes(cluster));
    let there: Vec<&(String, u32)> = before.guests.keys().filter(|(name, _)| name == cluster).collect();
    let (_, vmid) = dice.pick(&there);
    let guest = &before.guests[&(cluster.to_owned(), *vmid)];
    let (start, end) = dice.pick(&[
        ("/cluster/status".to_owned(), ""),
        ("/cluster/resources".to_owned(), ""),
        (format!("/nodes/{node}/qemu"), "qemu"),
        (format!("/nodes/{node}/lxc"), "lxc"),
        (format!("/nodes/{node}/"), ""),
        (format!("/nodes/{}/{}/{vmid}/pending", guest.node, guest.kind), ""),
        (format!("/nodes/{}/{}/{vmid}/pending", guest.node, guest.kind), ""),
        ("/nodes/".to_owned(), "/pending"),
        ("/access/permissions".to_owned(), ""),
        ("/cluster/nextid".to_owned(), ""),
        (format!("/nodes/{node}/storage"), ""),
    ]);
    let fault = Fault { start, end, kind: dice.below(4) };
    let failing =
        readers(
            world,
            |name, inner| {
                if name == cluster { Arc::new(Failing { inner, fault: fault.clone() }) } else { inner }
            },
        );
    let live = ops::read(&planner.desired, &failing, &[]).await;
    let plan = planner.plan(&live, &[], false).map_err(|words| Violation { property: "d", words })?;
    judge::Judge { case, before, accept: &[] }.unread(&plan, cluster, node, &fault)?;
    judge::Judge { case, before, accept: &[] }.plan(&plan)
}

fn key(address: &Address) -> (String, String, String) {
    (address.cluster.clone(), address.kind.to_string(), address.name.clone())
}

/// What could be done in the second plan was put off in the first, for a reason that the first run lifted.
fn only_what_waited(case: &Case, first: &Plan, again: &Plan) -> Result<(), Violation> {
    let put_off: BTreeMap<_, _> = first.changes().map(|change| (key(&change.address), change)).collect();
    for change in again.changes().filter(|change| change.has_steps()) {
        let lifted = [
            ReasonCode::Guard,
            ReasonCode::Dependency,
            ReasonCode::TaskRunning,
            ReasonCode::Unread,
            ReasonCode::NoFreeVmid,
            ReasonCode::Protected,
        ];
        let was_put_off = put_off.get(&key(&change.address)).is_some_and(|before| {
            // What was accepted once is not accepted again.
            before.action == Action::Recreate
                || before.state == State::Waiting
                || before.fields.iter().any(was_in_the_way)
                || before.reason.as_ref().is_some_and(|reason| lifted.contains(&reason.code))
        });
        // A guest that lost its name to another is an orphan under another address.
        let is_orphan = change.action == Action::Delete;
        if !was_put_off && !is_orphan && case.backup.is_none() {
            let before = put_off.get(&key(&change.address));
            return violated(
                "a: planning again is empty",
                format!(
                    "before {}\nagain {}\nfirst:\n{}again:\n{}",
                    before.map_or_else(String::new, |change| brief(change)),
                    brief(change),
                    text(first),
                    text(again)
                ),
            );
        }
    }
    Ok(())
}

/// True for a field that another one of the same guest held back.
fn was_in_the_way(field: &FieldChange) -> bool {
    let codes = [ReasonCode::DetachedDisk, ReasonCode::Protected, ReasonCode::NeedsOff];
    field.blocked.as_ref().is_some_and(|why| codes.contains(&why.code))
}

/// Whatever is left undone says why.
fn explained(plan: &Plan) -> Result<(), Violation> {
    for change in plan.changes() {
        let has_reason = change.reason.is_some() || change.fields.iter().any(|field| field.blocked.is_some());
        let is_told = has_reason || !change.pending.is_empty();
        if (change.state != State::Ready || change.class.is_some()) && !is_told {
            return violated("a: what is left says why", format!("{}\n{}", brief(change), text(plan)));
        }
    }
    Ok(())
}

fn stats(case: &Case, plan: &Plan) -> Stats {
    let differing = |entity: &crate::case::Entity| {
        let entry = entity.entry.as_deref().unwrap_or_default();
        entry
            .lines()
            .filter(|line| {
                line.split(':').next().is_some_and(|key| {
                    let key = key.trim();
                    pvefleet::pve::schema::catalog(entity.kind).find(key).is_some()
                        && !entity.config.get(key).is_some_and(|value| line.ends_with(&format!(": {value}")))
                })
            })
            .count()
    };
    Stats {
        guests: case.entities.len(),
        clusters: plan.clusters.len(),
        differing: case.entities.iter().map(differing).sum(),
    }
}
