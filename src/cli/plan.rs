//! `plan` and `drift`: commands that write nothing.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::arguments::{DriftCommand, PlanCommand, PlanDocument, Selection, Variables};
use super::connect;
use super::environment;
use super::failure::Failure;
use super::inputs::{self, Inputs, SettingsFrom};
use super::output::{self, Output, PlanFormat};
use super::snapshot;
use super::terminal::Terminal;
use crate::live::Live;
use crate::ops::{self, Envelope, Readers};
use crate::plan::{self, Plan, PlanOptions};
use crate::report::{Layout, annotations, plan_diff, plan_markdown, plan_text};

/// `plan`.
///
/// # Errors
///
/// Wrong input.
pub async fn plan(command: &PlanCommand, env_files: &[PathBuf], terminal: &Terminal) -> Result<u8, Failure> {
    check_outputs(&command.document.output)?;
    let (inputs, live, _) =
        read(&command.path, &command.variables, command.live.as_deref(), env_files, terminal, |inputs| {
            meant(&command.selection.cluster, inputs)
        })
        .await?;
    warn_of_missing_secrets(&inputs, terminal);
    let options = plan_options(&command.selection, &inputs);
    let plan = plan::plan(&inputs.desired, &live, &options).map_err(Failure::problems)?;
    write_plan(&command.document, &plan, terminal, plan_text::plan)?;
    if command.document.output.iter().all(|output| output.file.is_some()) {
        terminal.note(&plan_text::summary(&plan));
    }
    Ok(ops::plan_exit(&plan, command.detailed_exitcode))
}

/// `drift`: the same document, from clients that have no method that writes.
///
/// # Errors
///
/// Wrong input.
pub async fn drift(command: &DriftCommand, env_files: &[PathBuf], terminal: &Terminal) -> Result<u8, Failure> {
    check_outputs(&command.document.output)?;
    let options = |inputs: &Inputs| PlanOptions {
        clusters: meant(&command.cluster, inputs),
        targets: command.target.clone(),
        partial: inputs.partial,
        ..PlanOptions::default()
    };
    let (inputs, live, readers) =
        read(&command.path, &command.variables, command.live.as_deref(), env_files, terminal, |inputs| {
            options(inputs).clusters
        })
        .await?;
    let mut plan = plan::plan(&inputs.desired, &live, &options(&inputs)).map_err(Failure::problems)?;
    ops::note_last_tasks(&mut plan, &readers).await;
    write_plan(&command.document, &plan, terminal, plan_text::drift)?;
    let counted = ops::DriftOptions { strict: command.strict, fail_on: command.fail_on.clone() };
    Ok(ops::drift_exit(&plan, &counted))
}

/// Reads a manifest, and the clusters or the snapshot that stands in for them; who read them may be asked more.
async fn read(
    path: &Path,
    variables: &Variables,
    live: Option<&Path>,
    env_files: &[PathBuf],
    terminal: &Terminal,
    clusters: impl Fn(&Inputs) -> Vec<String>,
) -> Result<(Inputs, Live, Readers), Failure> {
    let taken = live.map(snapshot::load).transpose()?;
    let settings = taken.as_ref().map_or(SettingsFrom::Variables, |taken| SettingsFrom::Snapshot(&taken.registry));
    let inputs = inputs::load(path, &variables.var, env_files, settings)?;
    inputs.warn(terminal);
    let only = clusters(&inputs);
    if let Some(taken) = taken {
        terminal.note(&format!("Planned from {}; what changed since is not seen.", taken.words));
        let live = ops::for_fleet(taken.live, &inputs.desired, &only);
        return Ok((inputs, live, Readers::new()));
    }
    let readers = connect::readers(&connect::clients(&inputs.registry, env_files, terminal.log));
    let live = ops::read(&inputs.desired, &readers, &only).await;
    Ok((inputs, live, readers))
}

/// Reads a plan that was saved.
///
/// # Errors
///
/// When the file cannot be read, is no plan, or was changed after it was made.
pub fn saved_plan(file: &Path) -> Result<Plan, Failure> {
    let shown = file.display();
    let text =
        std::fs::read_to_string(file).map_err(|error| Failure::Usage(format!("{shown} cannot be read: {error}")))?;
    let envelope = Envelope::read(&text).map_err(|words| Failure::Usage(format!("{shown} {words}")))?;
    Ok(envelope.plan)
}

/// Refuses two documents in one place, and files that cannot be written, before anything is read or sent.
pub fn check_outputs<F>(outputs: &[Output<F>]) -> Result<(), Failure> {
    output::check(outputs).and_then(|()| output::probe(outputs)).map_err(|error| Failure::Usage(format!("{error:#}")))
}

/// Writes a plan where it was asked for.
pub fn write_plan(
    document: &PlanDocument,
    plan: &Plan,
    terminal: &Terminal,
    text: impl Fn(&Plan, Layout) -> String,
) -> Result<()> {
    output::write(&document.output, |format, to_screen| {
        let layout = if to_screen { terminal.out } else { terminal.file() };
        Ok(match format {
            PlanFormat::Text => text(plan, layout),
            PlanFormat::Diff => plan_diff::plan(plan, layout),
            PlanFormat::Markdown => plan_markdown::plan(plan, document.markdown_limit),
            PlanFormat::Github => annotations::github_plan(plan),
            PlanFormat::Json => serde_json::to_string_pretty(&Envelope::new(plan))?,
        })
    })
}

/// The options of a run as the planner takes them.
pub fn plan_options(selection: &Selection, inputs: &Inputs) -> PlanOptions {
    PlanOptions {
        prune: selection.prune,
        accept: selection.accept.clone(),
        clusters: meant(&selection.cluster, inputs),
        targets: selection.target.clone(),
        partial: inputs.partial,
    }
}

/// The manifest's clusters that are meant. A name or selector that means none of them stays, to be refused as it is
/// written.
fn meant(named: &[String], inputs: &Inputs) -> Vec<String> {
    let of = |selector: &String| -> Vec<String> {
        let meant = inputs.registry.meant(selector).into_iter().map(str::to_owned);
        let meant: Vec<String> = meant.filter(|name| inputs.desired.clusters.contains_key(name)).collect();
        if meant.is_empty() { vec![selector.clone()] } else { meant }
    };
    named.iter().flat_map(of).collect()
}

/// A secret that is not set is no error before apply.
fn warn_of_missing_secrets(inputs: &Inputs, terminal: &Terminal) {
    let secrets = environment::EnvironmentSecrets::new(inputs.variables.clone(), inputs.written.clone());
    let guests = inputs.desired.clusters.values().flat_map(|cluster| &cluster.guests);
    let mut missing: Vec<&str> = guests
        .flat_map(|guest| guest.options.values())
        .filter_map(|option| match &option.value {
            crate::desired::OptionValue::Secret(reference) => Some(reference),
            _ => None,
        })
        .filter(|reference| reference.written_at().is_none() && !secrets.has(&reference.env))
        .map(|reference| reference.env.as_str())
        .collect();
    missing.sort_unstable();
    missing.dedup();
    if !missing.is_empty() {
        let verb = if missing.len() == 1 { "is" } else { "are" };
        terminal.note(&format!("warning: apply will need {}, which {verb} not set here", missing.join(", ")));
    }
}
