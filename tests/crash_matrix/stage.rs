//! A scenario made ready: the world as it is before, the plan, and where an undisturbed run ends. Every run begins with
//! a copy of it, in a runtime and a virtual time of its own, so that each is the same whenever and wherever it is run.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pvefleet::apply::Outcome;
use pvefleet::clusters::Registry;
use pvefleet::desired::Desired;
use pvefleet::ops;
use pvefleet::plan::{self, Plan, PlanOptions};
use pvefleet::sim::Cluster;
use pvefleet::sim::transport::{SharedCluster, lock};

use crate::mishap::{Happening, Watch};
use crate::observer::Snapshot;
use crate::scenarios::Scenario;
use crate::support::{World, text};

/// Everything that works in Proxmox has ended by then.
pub const REST: Duration = Duration::from_secs(600);

/// What one run needs to know.
pub struct Stage {
    pub name: &'static str,
    clusters: BTreeMap<String, Cluster>,
    /// What the clock of the clusters shows.
    clock: Duration,
    registry: Registry,
    pub desired: Desired,
    pub options: PlanOptions,
    pub plan: Plan,
    /// The world before, and as an undisturbed run leaves it.
    pub before: Snapshot,
    pub after: Snapshot,
    pub end: String,
    /// Requests of an undisturbed run.
    pub requests: usize,
}

/// The state of a world, as far as no order of events decides: which of a guest's volumes has which number does not
/// count, nor does it whether a cloud-init drive is made anew now or, by Proxmox itself, at the next start.
pub fn canonical(world: &World) -> String {
    world.advance();
    let state = world.state();
    let volumes = regex::Regex::new(r"(vm|base)-(\d+)-disk-\d+").unwrap();
    let state = volumes.replace_all(&state, "$1-$2-disk-…");
    let waiting = regex::Regex::new(r"\n\[special:cloudinit\]\n(.+\n)*").unwrap();
    waiting.replace_all(&state, "").into_owned()
}

/// Runs in virtual time.
pub fn in_virtual_time<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(run)
}

impl Stage {
    pub fn new(scenario: &Scenario) -> Self {
        in_virtual_time(Self::prepare(scenario))
    }

    async fn prepare(scenario: &Scenario) -> Self {
        let world = World::shaped(scenario.clusters, "", scenario.shape);
        if !scenario.before.is_empty() {
            world.converge(&scenario.before).await;
        }
        for (method, path, params) in scenario.by_hand {
            world.by_hand("production", *method, path, params).await;
        }
        tokio::time::sleep(REST).await;
        let (desired, options) = (world.desired(&scenario.manifest), scenario.options());
        let live = ops::read(&desired, &world.readers(), &[]).await;
        let plan =
            plan::plan(&desired, &live, &options).unwrap_or_else(|problems| panic!("{}: {problems:#?}", scenario.name));
        let before = Snapshot::of(&world);
        let clusters =
            world.clusters.iter().map(|(name, cluster)| (name.clone(), lock(cluster).without_log())).collect();
        let mut stage = Self {
            name: scenario.name,
            clusters,
            clock: world.start.elapsed(),
            registry: world.registry.clone(),
            desired,
            options,
            plan,
            before: before.clone(),
            after: before,
            end: String::new(),
            requests: 0,
        };
        let world = stage.clone_world();
        let watch = Watch::new(&stage.plan, Happening::Nothing);
        let outcome = watch.run(&world, &stage.plan).await.unwrap();
        assert_eq!(outcome.exit_code(&stage.plan), 0, "{}: {}\n{outcome:#?}", stage.name, text(&stage.plan));
        tokio::time::sleep(REST).await;
        let again = world.plan_with(&stage.desired, &PlanOptions::default()).await;
        assert!(again.is_empty(), "{}: planned again: {}", stage.name, text(&again));
        stage.requests = watch.seen.load(Ordering::Relaxed);
        stage.end = canonical(&world);
        stage.after = Snapshot::of(&world);
        stage
    }

    /// The world before, in the time that it had come to.
    pub async fn world(&self) -> World {
        tokio::time::advance(self.clock).await;
        let mut world = self.clone_world();
        world.start = tokio::time::Instant::now() - self.clock;
        world
    }

    fn clone_world(&self) -> World {
        let share = |cluster: &Cluster| -> SharedCluster { Arc::new(Mutex::new(cluster.clone())) };
        let clusters = self.clusters.iter().map(|(name, cluster)| (name.clone(), share(cluster))).collect();
        World { clusters, registry: self.registry.clone(), start: tokio::time::Instant::now() - self.clock }
    }

    /// The same command once more: planned anew and applied, after what an earlier run left running.
    ///
    /// What was accepted for the first run may have been done by it.
    pub async fn again(&self, world: &World) -> (Plan, Outcome) {
        let plan = async |options: &PlanOptions| {
            ops::plan_in_peace(&self.desired, &world.readers(), &world.clients(), options, &|_| {}).await
        };
        let plan = match plan(&self.options).await {
            Ok(plan) => plan,
            Err(_) => plan(&PlanOptions { accept: Vec::new(), ..self.options.clone() }).await.unwrap(),
        };
        let outcome = world.carry_out(&plan).await;
        (plan, outcome)
    }

    /// The end is the end of an undisturbed run, and planning again gives nothing.
    pub async fn at_its_end(&self, world: &World) -> Result<(), String> {
        tokio::time::sleep(REST).await;
        if std::env::var_os("PVEFLEET_TRACE").is_some() {
            for entry in world.log("production") {
                println!("{} {} {} {:?}: {}", entry.at, entry.method, entry.path, entry.params, entry.status);
            }
        }
        let state = canonical(world);
        if state != self.end {
            let diff = similar::TextDiff::from_lines(&self.end, &state).unified_diff().context_radius(1).to_string();
            return Err(format!("another end than that of an undisturbed run:\n{diff}"));
        }
        let again = world.plan_with(&self.desired, &PlanOptions::default()).await;
        if again.is_empty() { Ok(()) } else { Err(format!("planned again: {}", text(&again))) }
    }
}
