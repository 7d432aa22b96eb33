//! One run of the matrix: what is done to an apply, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pvefleet::apply::{GuestResult, Outcome};
use pvefleet::plan::{Plan, StepKind};
use pvefleet::pve::http::{Method, Request};
use pvefleet::sim::FaultKind;
use pvefleet::sim::transport::lock;

use crate::coverage;
use crate::defects::Defect;
use crate::dice::Dice;
use crate::mishap::{Happening, Moment, Watch};
use crate::observer::Snapshot;
use crate::stage::{REST, Stage, canonical};
use crate::support::{World, text};

/// No run takes so long.
const AGES: Duration = Duration::from_secs(50_000);

/// How the run goes on after it was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// At once: tasks still run, and lists do not show their guests yet.
    AtOnce,
    /// When everything has ended.
    Later,
    /// At once, stopped a second time at a request that the dice choose, and then at once.
    StoppedAgain,
}

/// What it goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum With {
    ThePlan,
    TheManifest,
}

/// What is tried.
#[derive(Debug, Clone)]
pub enum Trial {
    Crash { at: usize, moment: Moment, then: Then, with: With },
    Fault { at: usize, kind: FaultKind },
    Mixture { seed: u64 },
    Edit { at: usize, edit: usize },
    SecondApply { at: usize },
}

/// What a second person writes meanwhile.
pub const EDITS: &[(&str, &str)] = &[
    ("onboot", "1"),
    ("memory", "640"),
    ("cores", "7"),
    ("tags", "by-hand"),
    ("description", "somebody was here"),
    ("net0", "BRIDGE"),
    ("delete", "scsi1"),
    ("protection", "1"),
    ("scsi5", "local-lvm:1"),
    ("mp5", "local-lvm:1,mp=/by-hand"),
];

/// The faults that a request may meet.
pub fn fault_kinds() -> Vec<FaultKind> {
    use pvefleet::sim::Effect::{Done, None};
    let status = |code, text: &str, effect| FaultKind::Status { code, text: text.to_owned(), effect };
    let task = |effect| FaultKind::TaskFailure { exit: "command failed: exit code 5".to_owned(), effect };
    vec![
        FaultKind::Refuse,
        FaultKind::RequestCut,
        FaultKind::AnswerLost,
        FaultKind::Hang { effect: None },
        FaultKind::Hang { effect: Done },
        status(500, "something broke", None),
        status(500, "something broke", Done),
        status(503, "Service Unavailable", None),
        status(596, "Connection timed out", None),
        status(596, "Connection timed out", Done),
        status(403, "Permission check failed", None),
        status(501, "Not Implemented", None),
        FaultKind::Slow(40_000),
        FaultKind::LockTimeout,
        task(None),
        task(Done),
        FaultKind::TicketExpired,
        FaultKind::NodeOffline { node: "pve3".to_owned() },
        FaultKind::NodeOffline { node: "pve1".to_owned() },
        FaultKind::StorageFull { storage: "local-lvm".to_owned() },
        FaultKind::QuorumLost,
    ]
}

pub fn run(stage: &Stage, trial: &Trial, defect: Option<Defect>) -> Result<(), String> {
    let run = async {
        match trial {
            Trial::Crash { at, moment, then, with } => crash(stage, *at, *moment, *then, *with, defect).await,
            Trial::Fault { at, kind } => faults(stage, vec![(*at, kind.clone())], defect).await,
            Trial::Mixture { seed } => mixture(stage, *seed, defect).await,
            Trial::Edit { at, edit } => edit_by_hand(stage, *at, EDITS[*edit], defect).await,
            Trial::SecondApply { at } => second_apply(stage, *at, defect).await,
        }
    };
    crate::stage::in_virtual_time(async {
        tokio::time::timeout(AGES, run).await.unwrap_or_else(|_| Err("it hangs".to_owned()))
    })
}

async fn crash(
    stage: &Stage,
    at: usize,
    moment: Moment,
    then: Then,
    with: With,
    defect: Option<Defect>,
) -> Result<(), String> {
    let world = stage.world().await;
    let watch = Watch::with_defect(&stage.plan, Happening::Stop(at, moment), defect);
    if watch.run(&world, &stage.plan).await.is_some() {
        return Err(format!("it ended before request {at}"));
    }
    coverage::stopped(&watch);
    if then == Then::Later {
        tokio::time::sleep(REST).await;
    }
    if then == Then::StoppedAgain {
        let mut dice = Dice::new(at as u64 * 31 + moment as u64);
        let second = Happening::Stop(dice.below(stage.requests), Moment::ALL[dice.below(3)]);
        let watch = Watch::with_defect(&stage.plan, second, defect);
        drop(watch.run(&world, &stage.plan).await);
    }
    let (plan, outcome) = match with {
        With::ThePlan => {
            let watch = Watch::with_defect(&stage.plan, Happening::Nothing, defect);
            let outcome = watch.run(&world, &stage.plan).await.ok_or("it did not end")?;
            (stage.plan.clone(), outcome)
        }
        With::TheManifest => stage.again(&world).await,
    };
    coverage::outcome(&outcome);
    if outcome.exit_code(&plan) != 0 {
        return Err(format!("exit code {}\n{}", outcome.exit_code(&plan), told(&plan, &outcome)));
    }
    stage.at_its_end(&world).await
}

/// The guests that ended otherwise than well, in words.
fn told(plan: &Plan, outcome: &Outcome) -> String {
    let guests = outcome.guests.iter().filter(|guest| !guest.result.is_good() || !guest.left.is_empty());
    let lines: Vec<String> = guests
        .map(|guest| {
            format!("{} {}: {} {:?}", guest.address, guest.result, guest.words.as_deref().unwrap_or("-"), guest.left)
        })
        .collect();
    format!("{}\n{}", lines.join("\n"), text(plan))
}

async fn faults(stage: &Stage, faults: Vec<(usize, FaultKind)>, defect: Option<Defect>) -> Result<(), String> {
    let world = stage.world().await;
    let is_one = faults.len() == 1;
    let kinds: Vec<FaultKind> = faults.iter().map(|(_, kind)| kind.clone()).collect();
    let watch = Watch::with_defect(&stage.plan, Happening::Faults(faults), defect);
    let outcome = watch.run(&world, &stage.plan).await.ok_or("it did not end")?;
    for kind in &kinds {
        coverage::faulted(&watch, kind);
    }
    coverage::outcome(&outcome);
    nothing_is_sent_blindly(&world)?;
    world.clusters.values().for_each(|cluster| lock(cluster).clear_faults());
    tokio::time::sleep(REST).await;
    nothing_is_lost(stage, &world, None)?;
    told_truly(stage, &world, &outcome)?;
    if is_one {
        stays_inside(&kinds[0], &outcome)?;
        quotes_its_task(&kinds[0], &outcome)?;
    }
    heals(stage, &world).await
}

async fn mixture(stage: &Stage, seed: u64, defect: Option<Defect>) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let world = stage.world().await;
    let kinds = fault_kinds();
    for _ in 0..2 {
        let many = 1 + dice.below(5);
        let faults = (0..many).map(|_| (dice.below(stage.requests), dice.pick(&kinds).clone())).collect();
        let watch = Watch::with_defect(&stage.plan, Happening::Faults(faults), defect);
        let outcome = watch.run(&world, &stage.plan).await.ok_or("it did not end")?;
        nothing_is_lost(stage, &world, None)?;
        if dice.percent(50) {
            tokio::time::sleep(REST).await;
            told_truly(stage, &world, &outcome)?;
        }
    }
    world.clusters.values().for_each(|cluster| lock(cluster).clear_faults());
    tokio::time::sleep(REST).await;
    nothing_is_lost(stage, &world, None)?;
    heals(stage, &world).await
}

/// Once nothing goes wrong any more, the same command comes to the end. Locks that Proxmox leaves behind when a task of
/// its own breaks are for a person to remove, and the plan says how.
async fn heals(stage: &Stage, world: &World) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..5 {
        let (plan, outcome) = stage.again(world).await;
        if outcome.exit_code(&plan) == 0 {
            return stage.at_its_end(world).await;
        }
        tokio::time::sleep(REST).await;
        last = told(&plan, &outcome);
        by_the_hint(world, &plan).await;
    }
    Err(format!("it does not heal:\n{last}"))
}

/// Does what the plan's hints say of guests that are locked for ever: `qm unlock`, `qm destroy`.
async fn by_the_hint(world: &World, plan: &Plan) {
    for change in plan.changes() {
        let Some((reason, vmid)) = change.reason.as_ref().zip(change.address.vmid) else { continue };
        let hint = reason.hint.as_deref().unwrap_or_default();
        let (cluster, kind) = (&change.address.cluster, change.address.kind);
        let Some((node, file)) = world.guest_file(cluster, vmid) else { continue };
        if hint.contains(&format!("unlock {vmid}")) {
            let unlocked: String =
                file.lines().filter(|line| !line.starts_with("lock: ")).map(|line| format!("{line}\n")).collect();
            lock(&world.clusters[cluster]).write_guest_file(kind, vmid, &node, &unlocked);
        }
        if hint.contains(&format!("destroy {vmid}")) {
            let request = Request::new(Method::Delete, format!("/nodes/{node}/{kind}/{vmid}"));
            drop(world.client(cluster).write(&request).await);
            tokio::time::sleep(REST).await;
        }
    }
}

/// Guests and volumes that the plan keeps are there, those of others are as they were, and none is there twice.
///
/// One guest may have been edited by hand: then it is judged elsewhere.
fn nothing_is_lost(stage: &Stage, world: &World, edited: Option<u32>) -> Result<(), String> {
    world.advance();
    let now = Snapshot::of(world);
    let remade = |vmid: u32| {
        let changes = stage.plan.changes().filter(|change| change.address.vmid.is_some_and(|id| id.get() == vmid));
        changes.flat_map(|change| &change.steps).any(|step| step.kind == StepKind::Delete)
    };
    for (key, guest) in stage.before.guests.iter().filter(|(key, _)| Some(key.1) != edited) {
        let kept = stage.after.guests.get(key);
        match (kept, now.guests.get(key)) {
            (Some(_), None) if !remade(key.1) => return Err(format!("guest {key:?} is lost")),
            (Some(kept), Some(now)) if kept == guest && now.without_lock() != guest.without_lock() => {
                return Err(format!("guest {key:?} is none of the plan's, and was changed:\n{}", now.file));
            }
            (Some(_), Some(now)) if !remade(key.1) => {
                for (nic, mac) in guest.macs() {
                    let other = now.macs().get(&nic).is_some_and(|other| *other != mac);
                    if other {
                        return Err(format!("{nic} of {key:?} has another MAC address"));
                    }
                }
            }
            _ => {}
        }
    }
    if let Some(key) =
        now.guests.keys().find(|key| !stage.before.guests.contains_key(*key) && !stage.after.guests.contains_key(*key))
    {
        return Err(format!("guest {key:?} is one too many"));
    }
    for volume in stage.before.volumes.intersection(&stage.after.volumes) {
        let vmid = volume.1.split("vm-").nth(1).and_then(|rest| rest.split('-').next()?.parse().ok());
        if !now.volumes.contains(volume) && !vmid.is_some_and(remade) {
            return Err(format!("volume {volume:?} is lost"));
        }
    }
    Ok(())
}

/// What is told as done is done, and what is not done says why.
fn told_truly(stage: &Stage, world: &World, outcome: &Outcome) -> Result<(), String> {
    let state = canonical(world);
    if outcome.exit_code(&stage.plan) == 0 && state != stage.end {
        let diff = similar::TextDiff::from_lines(&stage.end, &state).unified_diff().context_radius(1).to_string();
        return Err(format!("exit code 0, and it is not at its end:\n{diff}"));
    }
    let now = Snapshot::of(world);
    for guest in outcome.guests.iter().filter(|guest| !guest.result.is_good()) {
        let Some(words) = &guest.words else {
            return Err(format!("{} is {} and nobody knows why", guest.address, guest.result));
        };
        let vmid = guest.address.vmid.map_or(0, |vmid| vmid.get());
        if words.contains("the guest is gone") && now.guests.contains_key(&(guest.address.cluster.clone(), vmid)) {
            return Err(format!("{} is told as gone, and it is there", guest.address));
        }
    }
    Ok(())
}

/// A task that failed is quoted where its guest failed.
fn quotes_its_task(kind: &FaultKind, outcome: &Outcome) -> Result<(), String> {
    let FaultKind::TaskFailure { exit, .. } = kind else { return Ok(()) };
    let failed = outcome.guests.iter().find(|guest| guest.result == GuestResult::Failed);
    match failed.and_then(|guest| guest.words.as_ref()).filter(|words| !words.contains(exit)) {
        Some(words) => Err(format!("its task ended with `{exit}`, and it says: {words}")),
        None => Ok(()),
    }
}

/// No write follows the same write without a look at its guest in between.
fn nothing_is_sent_blindly(world: &World) -> Result<(), String> {
    for cluster in world.clusters.values() {
        // Writes since their guest was looked at; the list of all guests is a look at each.
        let mut sent: BTreeMap<String, Vec<_>> = BTreeMap::new();
        let cluster = lock(cluster);
        for entry in cluster.access_log() {
            let param = |name: &str| entry.params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
            // `vm:100` among the HA resources.
            let in_path = entry.path.split('/').nth(4).and_then(|part| part.rsplit(':').next());
            let guest = param("newid").or_else(|| param("vmid")).or(in_path).unwrap_or_default().to_owned();
            if entry.method == "GET" {
                sent.remove(&guest);
                if entry.path == "/cluster/resources" {
                    sent.clear();
                }
                continue;
            }
            let write = (&entry.method, &entry.path, &entry.params);
            let since = sent.entry(guest).or_default();
            if since.contains(&write) {
                return Err(format!("sent twice without a look: {} {}", entry.method, entry.path));
            }
            since.push(write);
        }
    }
    Ok(())
}

/// What one request met is the matter of one guest, or of one cluster.
fn stays_inside(kind: &FaultKind, outcome: &Outcome) -> Result<(), String> {
    let is_bad = |result: GuestResult| !result.is_good() && result != GuestResult::Skipped;
    let bad: Vec<_> = outcome.guests.iter().filter(|guest| is_bad(guest.result)).collect();
    let of_cluster =
        matches!(kind, FaultKind::NodeOffline { .. } | FaultKind::StorageFull { .. } | FaultKind::QuorumLost);
    let clusters: BTreeSet<&str> = bad.iter().map(|guest| guest.address.cluster.as_str()).collect();
    if clusters.len() > 1 || bad.len() > 1 && !of_cluster {
        let names: Vec<String> = bad.iter().map(|guest| guest.address.to_string()).collect();
        return Err(format!("one fault, and {} did not end well", names.join(", ")));
    }
    Ok(())
}

async fn second_apply(stage: &Stage, at: usize, defect: Option<Defect>) -> Result<(), String> {
    let world = stage.world().await;
    let watch = Watch::with_defect(&stage.plan, Happening::SecondApply(at), defect);
    let outcome = watch.run(&world, &stage.plan).await.ok_or("it did not end")?;
    coverage::doubled(&watch);
    coverage::outcome(&outcome);
    tokio::time::sleep(REST).await;
    nothing_is_lost(stage, &world, None)?;
    told_truly(stage, &world, &outcome)?;
    heals(stage, &world).await
}

async fn edit_by_hand(stage: &Stage, at: usize, edit: (&str, &str), defect: Option<Defect>) -> Result<(), String> {
    let world = stage.world().await;
    // The guest that the plan is about, where it is just now or will be.
    let Some(change) = stage.plan.changes().find(|change| change.address.cluster == "production" && change.has_steps())
    else {
        return Ok(());
    };
    let Some(vmid) = change.address.vmid else { return Ok(()) };
    let before = |world: &World| {
        let cluster = lock(&world.clusters["production"]);
        cluster.guest_file(vmid).map(|(_, node, file)| (node.to_owned(), file))
    };
    let kind = change.address.kind;
    let node = before(&world).map(|(node, _)| node).or_else(|| change.node.clone()).unwrap_or_default();
    let (option, value) = edit;
    let value = if value == "BRIDGE" {
        let Some((_, file)) = before(&world) else { return Ok(()) };
        let Some(line) = file.lines().find_map(|line| line.strip_prefix("net0: ")) else { return Ok(()) };
        line.replace("bridge=vmbr0", "bridge=vmbr1")
    } else {
        value.to_owned()
    };
    let request = Request::new(Method::Put, format!("/nodes/{node}/{kind}/{vmid}/config")).with(option, &value);
    let happening = Happening::Edit(at, request);
    let watch = Watch::with_defect(&stage.plan, happening, defect);
    let outcome = watch.run(&world, &stage.plan).await.ok_or("it did not end")?;
    coverage::edited(&watch);
    coverage::outcome(&outcome);
    tokio::time::sleep(REST).await;
    crate::writers::judge(stage, &world, &watch, &outcome, vmid, (option, &value))?;
    nothing_is_lost(stage, &world, Some(vmid.get()))
}
