//! `apply`: plan, approval, run, outcome.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;

use super::arguments::{ApplyCommand, Selection};
use super::connect;
use super::environment::{self, EnvironmentSecrets};
use super::failure::Failure;
use super::inputs::{self, SettingsFrom};
use super::output::{self, OutcomeFormat, Output};
use super::plan::{check_outputs, plan_options, saved_plan};
use super::progress::Progress;
use super::terminal::Terminal;
use crate::apply::{self, Cancel, Events, Journal};
use crate::client::{ClusterClient, MultiClusterClient};
use crate::clusters::{Allocations, Registry};
use crate::ops;
use crate::plan::{self, Plan};
use crate::report::{outcome_text, plan_text};

/// `apply`.
///
/// # Errors
///
/// Wrong input, or approval that is missing.
pub async fn apply(command: &ApplyCommand, env_files: &[PathBuf], terminal: &Terminal) -> Result<u8, Failure> {
    check_outputs(&command.output)?;
    match (&command.plan, &command.path) {
        (Some(file), _) => saved(command, file, env_files, terminal).await,
        (None, Some(path)) => manifest(command, path, env_files, terminal).await,
        (None, None) => Err(Failure::Usage("name a manifest, or a plan with --plan".to_owned())),
    }
}

async fn manifest(
    command: &ApplyCommand,
    path: &Path,
    env_files: &[PathBuf],
    terminal: &Terminal,
) -> Result<u8, Failure> {
    let inputs = inputs::load(path, &command.variables.var, env_files, SettingsFrom::Variables)?;
    inputs.warn(terminal);
    let multi = connect::clients(&inputs.registry, env_files, terminal.log);
    let mut clients = usable(&multi);
    let options = plan_options(&command.selection, &inputs);
    let readers = connect::readers(&multi);
    let tell = |words: &str| terminal.note(words);
    let plan = ops::plan_in_peace(&inputs.desired, &readers, &clients, &options, &tell).await;
    let plan = plan.map_err(Failure::problems)?;
    if let Some(wanted) = &command.plan_id
        && *wanted != plan.plan_id
    {
        terminal.say(&plan_text::plan(&plan, terminal.err));
        terminal.say(&format!("\nStale: the plan is {} now, not {wanted}. Nothing was sent.\n", plan.plan_id));
        return Ok(4);
    }
    if !plan.is_empty() && command.plan_id.is_none() {
        if !command.auto_approve || !terminal.quiet {
            terminal.say(&plan_text::plan(&plan, terminal.err));
            terminal.say("\n");
        }
        if !command.auto_approve {
            if !terminal.can_ask() {
                let words =
                    "nothing was sent: there is no terminal to ask on; approve with --auto-approve or --plan-id";
                return Err(Failure::Usage(words.to_owned()));
            }
            if !terminal.ask("Apply this plan? Only `yes` is yes:") {
                terminal.say("Nothing was sent.\n");
                return Ok(1);
            }
        }
    } else if plan.is_empty() {
        terminal.note(plan_text::plan(&plan, terminal.err).trim_end());
    }
    leave_out(&multi, &plan, &mut clients, terminal).await;
    let again = format!("pvefleet apply {}{}", path.display(), flags(&command.selection, &command.variables.var));
    let secrets = EnvironmentSecrets::new(inputs.variables, inputs.written);
    run(command, &plan, &clients, secrets, (&again, &inputs.registry), terminal).await
}

/// Carries out a plan that was saved and reviewed.
async fn saved(command: &ApplyCommand, file: &Path, env_files: &[PathBuf], terminal: &Terminal) -> Result<u8, Failure> {
    let shown = file.display();
    let plan = saved_plan(file)?;
    let variables = environment::variables(env_files).map_err(|error| Failure::Usage(format!("{error:#}")))?;
    let registry = environment::registry(&variables).map_err(Failure::problems)?;
    let multi = connect::clients(&registry, env_files, terminal.log);
    let mut clients = usable(&multi);
    for (name, part) in plan.clusters.iter().filter(|(_, part)| part.changes.iter().any(plan::Change::has_steps)) {
        let Some(client) = clients.get(name) else {
            return Err(Failure::Usage(format!("the plan is for cluster {name}, which is not configured here")));
        };
        let identity = crate::gather::identity(client).await;
        if let Some(found) = identity.known().filter(|found| Some(*found) != part.identity.as_ref()) {
            let nodes = found.nodes.join(", ");
            let words = format!(
                "cluster {name} is not the one that the plan was made for (its nodes are {nodes}); nothing was sent"
            );
            return Err(Failure::Usage(words));
        }
    }
    leave_out(&multi, &plan, &mut clients, terminal).await;
    let again = format!("pvefleet apply --plan {shown}");
    let secrets = EnvironmentSecrets::new(variables, BTreeMap::new());
    run(command, &plan, &clients, secrets, (&again, &registry), terminal).await
}

/// The options of a selection as they were typed.
fn flags(selection: &Selection, vars: &[(String, String)]) -> String {
    let mut text = String::new();
    vars.iter().for_each(|(name, value)| text.push_str(&format!(" --var {name}={value}")));
    if selection.prune {
        text.push_str(" --prune");
    }
    let repeated = [("cluster", &selection.cluster), ("target", &selection.target)];
    for (name, values) in repeated {
        values.iter().for_each(|value| text.push_str(&format!(" --{name} {value}")));
    }
    selection.accept.iter().for_each(|accept| text.push_str(&format!(" --accept {accept}")));
    text
}

/// The clients that could be set up.
fn usable(multi: &MultiClusterClient) -> BTreeMap<String, ClusterClient> {
    multi.names().filter_map(|name| Some((name.to_owned(), multi.get(name).ok()?))).collect()
}

/// Asks the clusters that are to be written to how they are, unless `VALIDATION` says not to. One that cannot be written
/// to is left out and reported; its guests count as not done, and the other clusters go on.
async fn leave_out(
    multi: &MultiClusterClient,
    plan: &Plan,
    clients: &mut BTreeMap<String, ClusterClient>,
    terminal: &Terminal,
) {
    if !multi.registry().validation {
        return;
    }
    let has_steps = |part: &plan::ClusterPlan| part.changes.iter().any(plan::Change::has_steps);
    let parts = plan.clusters.iter().filter(|(name, part)| has_steps(part) && clients.contains_key(*name));
    let names: Vec<&str> = parts.map(|(name, _)| name.as_str()).collect();
    for (name, valid) in multi.validate_of(&names).await {
        if let Err(why) = valid {
            clients.remove(&name);
            terminal.say(&format!("cluster {name} is left out: {why}\n"));
        }
    }
}

/// How much each cluster's settings let run at once.
pub(super) fn allocations(registry: &Registry) -> BTreeMap<String, Allocations> {
    registry.clusters.iter().map(|cluster| (cluster.name.clone(), cluster.allocations)).collect()
}

async fn run(
    command: &ApplyCommand,
    plan: &Plan,
    clients: &BTreeMap<String, ClusterClient>,
    secrets: EnvironmentSecrets,
    (again, registry): (&str, &Registry),
    terminal: &Terminal,
) -> Result<u8, Failure> {
    let allocations = allocations(registry);
    let journal =
        if plan.is_empty() { Journal::none() } else { open_journal(command.journal.as_deref(), plan, terminal)? };
    let options = apply::Options {
        parallel: command.parallel.map(usize::from),
        stop_on_error: command.stop_on_error,
        timeout: Duration::from_secs(command.timeout),
        allocations,
    };
    let progress = Arc::new(Progress::new(terminal.quiet, terminal.log.verbosity > 0, terminal.err.width));
    let (cancel, cancelled) = watch::channel(Cancel::No);
    let signals = Signals::catch().context("signals cannot be caught")?;
    let listener = tokio::spawn(listen(signals, cancel, Arc::clone(&progress)));
    let stream = Stream::of(&command.output);
    let events = |event: &apply::Event| {
        stream.event(event);
        progress.event(event);
    };
    let outcome = apply::run(plan, clients, &secrets, &options, &journal, &events, cancelled).await;
    listener.abort();
    progress.finish();
    // What was printed as it happened is not printed again.
    let rest: Vec<Output<OutcomeFormat>> = command.output.iter().filter(|one| !is_stream(one)).cloned().collect();
    let written = output::write(&rest, |format, to_screen| match format {
        OutcomeFormat::Ndjson => Ok(stream.text()),
        OutcomeFormat::Json => Ok(serde_json::to_string_pretty(&outcome)?),
        OutcomeFormat::Text => {
            Ok(outcome_text::outcome(&outcome, again, if to_screen { terminal.out } else { terminal.file() }))
        }
    });
    if let Err(error) = written {
        // What happened must be told, and the exit code tells of it and not of the file.
        terminal.say(&outcome_text::outcome(&outcome, again, terminal.err));
        terminal.say(&format!("error: {error:#}\n"));
    }
    Ok(outcome.exit_code(plan))
}

/// True for events that go to standard output as they happen.
fn is_stream(output: &Output<OutcomeFormat>) -> bool {
    output.format == OutcomeFormat::Ndjson && output.file.is_none()
}

/// The events as lines of JSON.
struct Stream {
    lines: Mutex<String>,
    wanted: bool,
    prints: bool,
}

impl Stream {
    fn of(outputs: &[Output<OutcomeFormat>]) -> Self {
        let wanted = outputs.iter().any(|output| output.format == OutcomeFormat::Ndjson);
        Self { lines: Mutex::default(), wanted, prints: outputs.iter().any(is_stream) }
    }

    fn event(&self, event: &apply::Event) {
        if !self.wanted {
            return;
        }
        let told = apply::journal::Told { at: apply::journal::now(), event: event.clone() };
        let Ok(line) = serde_json::to_string(&told) else { return };
        if self.prints {
            // That nobody reads it is no reason to stop.
            drop(output::stdout(&format!("{line}\n")));
        }
        if let Ok(mut lines) = self.lines.lock() {
            lines.push_str(&line);
            lines.push('\n');
        }
    }

    fn text(&self) -> String {
        self.lines.lock().map(|lines| lines.clone()).unwrap_or_default()
    }
}

/// Ctrl-C or SIGTERM once: nothing new is sent, what runs is waited for. Twice: leave.
async fn listen(mut signals: Signals, cancel: watch::Sender<Cancel>, progress: Arc<Progress>) {
    let mut wanted = Cancel::No;
    while signals.next().await {
        wanted = if wanted == Cancel::No { Cancel::Finish } else { Cancel::Leave };
        let words = match wanted {
            Cancel::Leave => "leaving at once; the tasks that run go on in Proxmox",
            _ => "stopping: nothing new is sent, what runs is waited for (once more to leave at once)",
        };
        progress.say(words);
        if cancel.send(wanted).is_err() {
            return;
        }
    }
}

/// The signals that stop a run. They are caught from the moment this is made, so that none is lost between two.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Waits for one; false when there will be no more.
    async fn next(&mut self) -> bool {
        #[cfg(unix)]
        {
            tokio::select! {
                signal = self.interrupt.recv() => signal.is_some(),
                signal = self.terminate.recv() => signal.is_some(),
            }
        }
        #[cfg(not(unix))]
        tokio::signal::ctrl_c().await.is_ok()
    }
}

/// A file whose lines are on disk before the call that they tell of is sent.
struct Synced(std::fs::File);

impl Write for Synced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// The journal that was asked for; else one in the state folder, where that can be.
fn open_journal(named: Option<&Path>, plan: &Plan, terminal: &Terminal) -> Result<Journal, Failure> {
    if let Some(path) = named {
        let file = output::append_private(path);
        let file = file.with_context(|| format!("the journal {} cannot be written", path.display()))?;
        return Ok(Journal::new(Synced(file)));
    }
    let Some(folder) = environment::state_folder() else {
        return Ok(Journal::none());
    };
    let stamp = crate::apply::journal::now().replace(':', "");
    let short = plan.plan_id.get(..8).unwrap_or(&plan.plan_id);
    // The process id tells two runs of one second apart.
    let path = folder.join(format!("{stamp}-{short}-{}.jsonl", std::process::id()));
    match std::fs::create_dir_all(&folder).and_then(|()| output::private_file(&path)) {
        Ok(file) => {
            terminal.note(&format!("journal: {}", path.display()));
            Ok(Journal::new(Synced(file)))
        }
        Err(error) => {
            terminal.note(&format!("warning: no journal is kept: {} cannot be written: {error}", path.display()));
            Ok(Journal::none())
        }
    }
}
