//! `validate`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use super::arguments::Validate;
use super::failure::{Failure, USAGE};
use super::inputs::{self, SettingsFrom};
use super::output::{self, FindingsFormat};
use super::plan::check_outputs;
use super::snapshot;
use super::terminal::Terminal;
use crate::diagnostics::Diagnostic;
use crate::plan;
use crate::report::{annotations, findings};

/// Checks a manifest and reports every problem.
///
/// # Errors
///
/// Input that cannot be read at all.
pub fn validate(command: &Validate, env_files: &[PathBuf], terminal: &Terminal) -> Result<u8, Failure> {
    check_outputs(&command.output)?;
    let for_people = command.output.iter().all(|output| output.format == FindingsFormat::Text);
    let taken = command.live.as_deref().map(snapshot::load).transpose()?;
    let settings =
        taken.as_ref().map_or(SettingsFrom::VariablesUnconnected, |taken| SettingsFrom::Snapshot(&taken.registry));
    let loaded = inputs::load(&command.path, &command.variables.var, env_files, settings).and_then(|mut inputs| {
        inputs.warn_of_missing_secrets();
        inputs.warnings.extend(taken.iter().flat_map(|taken| plan::lint(&inputs.desired, &taken.live)));
        let is_sound = !inputs.warnings.iter().any(Diagnostic::is_error);
        let problems = inputs.warnings;
        if is_sound {
            return Ok((Some(inputs.desired), problems, inputs.sources));
        }
        Err(Failure::Input { problems, sources: inputs.sources })
    });
    let (resolved, problems, sources) = match loaded {
        Ok(loaded) => loaded,
        // Errors are talk as long as no program reads them.
        Err(failure @ Failure::Input { .. }) if for_people && command.output.iter().all(|one| one.file.is_none()) => {
            return Err(failure);
        }
        Err(Failure::Input { problems, sources }) => (None, problems, sources),
        Err(failure) => return Err(failure),
    };
    let guests: BTreeMap<&str, usize> = resolved
        .iter()
        .flat_map(|desired| &desired.clusters)
        .map(|(name, cluster)| (name.as_str(), cluster.guests.len()))
        .collect();
    output::write(&command.output, |format, to_screen| match format {
        FindingsFormat::Json => Ok(serde_json::to_string_pretty(&match &resolved {
            Some(desired) => json!({"fleet": desired.fleet, "clusters": guests, "problems": problems}),
            None => json!({"problems": problems}),
        })?),
        FindingsFormat::Github => Ok(annotations::github(&problems)),
        FindingsFormat::Sarif => Ok(serde_json::to_string_pretty(&annotations::sarif(&problems))?),
        FindingsFormat::Text => {
            let layout = if to_screen { terminal.out } else { terminal.file() };
            let drawn = findings::text(&problems, &sources, layout.color, layout.width);
            let Some(desired) = &resolved else { return Ok(format!("{drawn}{}", findings::summary(&problems))) };
            let listed: Vec<String> = guests.iter().map(|(name, number)| format!("{name} {number}")).collect();
            let total: usize = guests.values().sum();
            let counted = crate::report::style::count(total, "guest");
            Ok(format!("{drawn}Fleet {}: {counted} ({}). No errors.", desired.fleet, listed.join(", ")))
        }
    })?;
    Ok(if resolved.is_some() { 0 } else { USAGE })
}
