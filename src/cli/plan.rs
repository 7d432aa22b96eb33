//! `plan` and `drift`: commands that write nothing.

use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::arguments::{DriftCommand, PlanCommand, Selection};
use super::connect;
use super::environment;
use super::failure::Failure;
use super::inputs::{self, Inputs, SettingsFrom};
use super::output::{self, Format, Output};
use super::snapshot;
use super::terminal::Terminal;
use crate::ops;
use crate::plan::{self, Plan, PlanOptions};
use crate::report::plan_text;

/// A plan as a file: the document, and what is not part of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Version of pvefleet that made it.
    pub pvefleet: String,
    /// When it was made, in UTC.
    pub made_at: String,
    /// The document.
    pub plan: Plan,
}

impl Envelope {
    /// Puts a plan into an envelope, now.
    pub fn new(plan: &Plan) -> Self {
        Self {
            pvefleet: env!("CARGO_PKG_VERSION").to_owned(),
            made_at: crate::apply::journal::now(),
            plan: plan.clone(),
        }
    }
}

/// `plan`.
///
/// # Errors
///
/// Wrong input.
pub async fn plan(command: &PlanCommand, env_files: &[PathBuf], terminal: &Terminal) -> Result<u8, Failure> {
    check_outputs(&command.document.output)?;
    let taken = command.live.as_deref().map(snapshot::load).transpose()?;
    let settings = taken.as_ref().map_or(SettingsFrom::Variables, |taken| SettingsFrom::Snapshot(&taken.registry));
    let inputs = inputs::load(&command.path, &command.variables.var, env_files, settings)?;
    inputs.warn(terminal);
    warn_of_missing_secrets(&inputs, terminal);
    let options = plan_options(&command.selection, inputs.partial);
    let live = match taken {
        Some(taken) => {
            terminal.note(&format!("Planned from {}; what changed since is not seen.", taken.words));
            ops::for_fleet(taken.live, &inputs.desired, &options.clusters)
        }
        None => {
            let clients = connect::clients(&inputs.registry, env_files, terminal.log);
            ops::read(&inputs.desired, &connect::readers(&clients), &options.clusters).await
        }
    };
    let plan = plan::plan(&inputs.desired, &live, &options).map_err(Failure::problems)?;
    write_plan(&command.document.output, &plan, terminal)?;
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
    let inputs = inputs::load(&command.path, &command.variables.var, env_files, SettingsFrom::Variables)?;
    inputs.warn(terminal);
    let clients = connect::clients(&inputs.registry, env_files, terminal.log);
    let options = PlanOptions {
        clusters: command.cluster.clone(),
        targets: command.target.clone(),
        partial: inputs.partial,
        ..PlanOptions::default()
    };
    let live = ops::read(&inputs.desired, &connect::readers(&clients), &options.clusters).await;
    let plan = plan::plan(&inputs.desired, &live, &options).map_err(Failure::problems)?;
    output::write(&command.document.output, |format, to_screen| match format {
        Format::Json => Ok(serde_json::to_string_pretty(&Envelope::new(&plan))?),
        Format::Text => {
            let layout = if to_screen { terminal.out } else { terminal.file() };
            Ok(plan_text::drift(&plan, layout))
        }
    })?;
    Ok(ops::drift_exit(&plan))
}

/// Refuses two documents in one place, and files that cannot be written, before anything is read or sent.
pub fn check_outputs<F>(outputs: &[Output<F>]) -> Result<(), Failure> {
    output::check(outputs).and_then(|()| output::probe(outputs)).map_err(|error| Failure::Usage(format!("{error:#}")))
}

/// Writes a plan where it was asked for.
pub fn write_plan(outputs: &[Output], plan: &Plan, terminal: &Terminal) -> Result<()> {
    output::write(outputs, |format, to_screen| match format {
        Format::Json => Ok(serde_json::to_string_pretty(&Envelope::new(plan))?),
        Format::Text => Ok(plan_text::plan(plan, if to_screen { terminal.out } else { terminal.file() })),
    })
}

/// The options of a run as the planner takes them.
pub fn plan_options(selection: &Selection, partial: bool) -> PlanOptions {
    PlanOptions {
        prune: selection.prune,
        accept: selection.accept.clone(),
        clusters: selection.cluster.clone(),
        targets: selection.target.clone(),
        partial,
    }
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
