//! `rehearse`: the same apply, against simulated clusters that hold what the real ones hold.

mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::apply::allocations;
use super::arguments::RehearseCommand;
use super::failure::Failure;
use super::inputs::SettingsFrom;
use super::output::{self, Format};
use super::plan::{check_outputs, plan_options, saved_plan};
use super::terminal::Terminal;
use super::{connect, environment, inputs, sim, snapshot};
use crate::apply::{self, Cancel, Event, Journal, Outcome, SecretSource};
use crate::client::{ClusterClient, ReadOnlyClient, Reader};
use crate::clusters::Allocations;
use crate::desired::{Desired, SecretReference};
use crate::live::{Live, Read};
use crate::ops::{self, Readers};
use crate::plan::{self, Plan, PlanOptions};
use crate::report::{outcome_text, plan_compare, plan_text};
use crate::secret::Secret;
use crate::sim::Fault;
use crate::sim::transport::{SharedCluster, SimTransport};

/// Rehearses a plan. No write reaches a cluster.
///
/// # Errors
///
/// Wrong input.
pub async fn run(command: &RehearseCommand, env_files: &[PathBuf], terminal: &Terminal) -> Result<u8, Failure> {
    check_outputs(&command.document.output)?;
    let stage = Stage::read(command, env_files, terminal).await?;
    let faults = match &command.faults {
        Some(path) => sim::read_faults(path, &world::names(&stage.live)?)?,
        None => Vec::new(),
    };
    let parallel = command.parallel.map(usize::from);
    // Virtual time needs a runtime of its own: in it nothing really waits.
    let rehearsed = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
        anyhow::Ok(runtime.block_on(rehearse(stage, faults, parallel)))
    });
    let rehearsed = rehearsed.await.map_err(anyhow::Error::from)??.map_err(Failure::Usage)?;
    if !rehearsed.otherwise.is_empty() {
        let lines: Vec<String> = rehearsed.otherwise.iter().map(|line| format!("  {line}\n")).collect();
        let words = "warning: the simulated clusters do not hold all that the real ones do; their plan differs:";
        terminal.say(&format!("{words}\n{}", lines.concat()));
    }
    output::write(&command.document.output, |format, to_screen| {
        let layout = if to_screen { terminal.out } else { terminal.file() };
        Ok(match format {
            Format::Json => serde_json::to_string_pretty(&json!({
                "seconds": rehearsed.took.as_secs_f64(), "converges": rehearsed.left.is_none(), "outcome": rehearsed.outcome,
                "steps": rehearsed.steps.iter().map(|(at, words)| json!({"at": at.as_secs_f64(), "step": words})).collect::<Vec<_>>(),
            }))?,
            Format::Text => {
                let mut text = String::new();
                for (at, words) in &rehearsed.steps {
                    text.push_str(&format!("{:>8.1} s  {words}\n", at.as_secs_f64()));
                }
                text.push('\n');
                text.push_str(&outcome_text::outcome(&rehearsed.outcome, "pvefleet apply", layout));
                text.push_str(&format!(
                    "It took {:.1} s there; disks that are copied take as long as their size and your storage want.\n",
                    rehearsed.took.as_secs_f64()
                ));
                match &rehearsed.left {
                    None => text.push_str("Planned again, nothing is left to do.\n"),
                    Some(left) => {
                        text.push_str(&format!("Planned again, this is left:\n\n{}", plan_text::plan(left, layout)))
                    }
                }
                text
            }
        })
    })?;
    let left = rehearsed.left.is_some();
    Ok(match rehearsed.outcome.exit_code(&rehearsed.plan) {
        0 if left => 6,
        code => code,
    })
}

/// What is rehearsed, and with what.
struct Stage {
    plan: Plan,
    live: Live,
    /// The fleet, to plan again with; a saved plan has none.
    fleet: Option<(Desired, PlanOptions)>,
    as_root: Vec<String>,
    /// How much each cluster's settings let run at once.
    allocations: BTreeMap<String, Allocations>,
}

impl Stage {
    async fn read(command: &RehearseCommand, env_files: &[PathBuf], terminal: &Terminal) -> Result<Self, Failure> {
        let taken = command.live.as_deref().map(snapshot::load).transpose()?;
        let saved = command.plan.as_deref().map(saved_plan).transpose()?;
        let settings = taken.as_ref().map_or(SettingsFrom::Variables, |taken| SettingsFrom::Snapshot(&taken.registry));
        let inputs = match &command.path {
            Some(path) => Some(inputs::load(path, &command.variables.var, env_files, settings)?),
            None => None,
        };
        let registry = match (&inputs, &taken) {
            (Some(inputs), _) => inputs.registry.clone(),
            (None, Some(taken)) => taken.registry.clone(),
            (None, None) => {
                let variables =
                    environment::variables(env_files).map_err(|error| Failure::Usage(format!("{error:#}")))?;
                environment::registry(&variables).map_err(Failure::problems)?
            }
        };
        let as_root = registry.clusters.iter().filter(|cluster| cluster.credentials.as_root());
        let as_root = as_root.map(|cluster| cluster.name.clone()).collect();
        let names: Vec<String> = match (&saved, &inputs) {
            (Some(plan), _) => plan.clusters.keys().cloned().collect(),
            (None, Some(inputs)) => inputs.desired.clusters.keys().cloned().collect(),
            (None, None) => Vec::new(),
        };
        let live = match taken {
            Some(taken) => taken.live,
            None => {
                let clients = connect::clients(&registry, env_files, terminal.log);
                ops::snapshot(&connect::readers(&clients), &names).await
            }
        };
        let fleet = inputs.map(|inputs| {
            inputs.warn(terminal);
            let options = plan_options(&command.selection, &inputs);
            (inputs.desired, options)
        });
        let plan = match (saved, &fleet) {
            (Some(plan), _) => plan,
            (None, Some((desired, options))) => {
                let seen = ops::for_fleet(live.clone(), desired, &options.clusters);
                plan::plan(desired, &seen, options).map_err(Failure::problems)?
            }
            (None, None) => return Err(Failure::Usage("name a manifest, or a plan with --plan".to_owned())),
        };
        Ok(Self { plan, live, fleet, as_root, allocations: allocations(&registry) })
    }
}

/// How a rehearsal went.
struct Rehearsed {
    plan: Plan,
    /// When each step began.
    steps: Vec<(Duration, String)>,
    outcome: Outcome,
    took: Duration,
    /// What planning again gives, where it is not nothing.
    left: Option<Plan>,
    /// In what the plan for the simulated clusters differs from that for the real ones.
    otherwise: Vec<String>,
}

async fn rehearse(stage: Stage, faults: Vec<Fault>, parallel: Option<usize>) -> Result<Rehearsed, String> {
    let start = Instant::now();
    let mut clients: BTreeMap<String, ClusterClient> = BTreeMap::new();
    for (name, part) in &stage.plan.clusters {
        let Some(Read::Known(live)) = stage.live.clusters.get(name) else { continue };
        let mut cluster = world::simulated(live, part)?;
        cluster.set_faults(
            faults.iter().filter(|fault| fault.cluster.as_ref().is_none_or(|of| of == name)).cloned().collect(),
        );
        let node = live.nodes.iter().find(|(_, node)| node.online).map(|(node, _)| node.clone()).unwrap_or_default();
        let shared: SharedCluster = Arc::new(Mutex::new(cluster));
        let transport = match stage.as_root.contains(name) {
            true => SimTransport::by_password(shared, "root@pam", world::SECRET, &node).ok_or("no login")?,
            false => SimTransport::new(shared, world::TOKEN, world::SECRET, &node),
        };
        clients.insert(name.clone(), ClusterClient::new(name, Arc::new(transport.since(start))));
    }
    let readers: Readers = clients
        .iter()
        .map(|(name, client)| (name.clone(), Ok(Arc::new(ReadOnlyClient::from(client.clone())) as Arc<dyn Reader>)))
        .collect();
    let again = async |plan: &Plan| match &stage.fleet {
        Some((desired, options)) => {
            // What was accepted is done, and would match nothing any more.
            let options = PlanOptions { accept: Vec::new(), ..options.clone() };
            let live = ops::read(desired, &readers, &options.clusters).await;
            plan::plan(desired, &live, &options).ok().filter(|left| left.plan_id != plan.plan_id)
        }
        None => None,
    };
    let otherwise = match &stage.fleet {
        Some((desired, options)) => {
            let live = ops::read(desired, &readers, &options.clusters).await;
            let simulated = plan::plan(desired, &live, options).ok();
            simulated.map(|simulated| plan_compare::differences(&stage.plan, &simulated)).unwrap_or_default()
        }
        None => Vec::new(),
    };
    let began = Instant::now();
    let steps: Arc<Mutex<Vec<(Duration, String)>>> = Arc::default();
    let events = {
        let steps = Arc::clone(&steps);
        move |event: &Event| {
            if let Event::StepStarted { address, words, .. } = event
                && let Ok(mut steps) = steps.lock()
            {
                steps.push((began.elapsed(), format!("{address}: {words}")));
            }
        }
    };
    let (_keep, cancel) = watch::channel(Cancel::No);
    let allocations = stage.allocations.clone();
    let options = apply::Options { parallel, allocations, ..apply::Options::default() };
    let outcome = apply::run(&stage.plan, &clients, &Stand, &options, &Journal::none(), &events, cancel).await;
    let took = began.elapsed();
    let left = again(&stage.plan).await.filter(|left| !left.is_empty());
    let steps = steps.lock().map(|steps| steps.clone()).unwrap_or_default();
    Ok(Rehearsed { plan: stage.plan, steps, outcome, took, left, otherwise })
}

/// Secrets are not needed to see what would happen.
struct Stand;

impl SecretSource for Stand {
    fn secret(&self, _: &SecretReference) -> Result<Secret, String> {
        Ok(Secret::new("rehearsal"))
    }
}
