//! `show`.

use std::path::PathBuf;

use super::arguments::ShowCommand;
use super::failure::Failure;
use super::inputs::{self, SettingsFrom};
use super::output::{self, ManifestFormat};
use super::plan::check_outputs;
use super::terminal::Terminal;
use crate::pve::schema::nearest;
use crate::report::show::{self, Show};
use crate::report::yaml::{self, Tree};

/// Shows a manifest resolved.
///
/// # Errors
///
/// Wrong input, or a guest that is not in it.
pub fn show(command: &ShowCommand, env_files: &[PathBuf], terminal: &Terminal) -> Result<u8, Failure> {
    check_outputs(&command.output)?;
    let inputs = inputs::load(&command.path, &command.variables.var, env_files, SettingsFrom::VariablesUnconnected)?;
    inputs.warn(terminal);
    let which = Show { guest: command.guest.as_deref(), origin: command.origin };
    let Some(entries) = show::entries(&inputs.desired, which) else {
        let wanted = command.guest.as_deref().unwrap_or_default();
        let clusters = &inputs.desired.clusters;
        let names = clusters.values().flat_map(|cluster| &cluster.guests).map(|guest| &guest.name);
        let near = nearest(wanted, names).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        return Err(Failure::Usage(format!("the manifest has no guest `{wanted}`{near}")));
    };
    output::write(&command.output, |format, _| match format {
        ManifestFormat::Yaml => Ok(yaml::text(&entries)),
        ManifestFormat::Json => {
            let mut document = yaml::json(&Tree::Map(entries.clone()));
            if command.origin {
                document["origins"] = show::origins(&inputs.desired, which);
            }
            Ok(serde_json::to_string_pretty(&document)?)
        }
    })?;
    Ok(0)
}
