//! From a path to the resolved fleet, with every problem of every file at once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::environment;
use super::failure::Failure;
use super::terminal::Terminal;
use crate::clusters::{Access, Registry, Variables};
use crate::desired::{self, Desired};
use crate::diagnostics::Diagnostic;
use crate::manifest::{self, Fleet};
use crate::report::findings::{self, Sources};

/// Everything a command needs to begin with.
pub struct Inputs {
    /// The resolved fleet.
    pub desired: Desired,
    /// The cluster settings.
    pub registry: Registry,
    /// The variables that they came from.
    pub variables: Variables,
    /// What should be looked at.
    pub warnings: Vec<Diagnostic>,
    /// The texts that warnings point into.
    pub sources: Sources,
    /// The path is one file of a folder that holds more of the fleet.
    pub partial: bool,
}

/// Largest manifest file, in bytes; whoever has more has split it by mistake.
const MAX_FILE: u64 = 8 << 20;

/// Reads and resolves the manifest at a path.
///
/// # Errors
///
/// Problems of the manifest, of the settings, or of both.
pub fn load(path: &Path, env_files: &[PathBuf], offline: bool) -> Result<Inputs, Failure> {
    let variables = environment::variables(env_files).map_err(|error| Failure::Usage(format!("{error:#}")))?;
    let (files, partial) = read_files(path)?;
    let sources: Sources = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let registry = if offline { environment::registry_offline(&variables) } else { environment::registry(&variables) };
    let (fleet, mut problems) = manifest::read_with(&files, &referenced);
    let registry = match registry {
        Ok(registry) => Some(registry),
        // Without any settings a manifest can still be checked, but for the rules that route by name.
        Err(more) if offline && fleet.is_some() && !variables.names().any(|name| name.starts_with("PROXMOX_")) => {
            drop(more);
            problems.push(
                Diagnostic::warning(
                    "no-settings",
                    "no cluster is configured, so the clusters that the manifest names are taken for granted",
                )
                .hint("with the settings at hand, routing by name and the settings themselves are checked too"),
            );
            fleet.as_ref().map(stand_in)
        }
        Err(more) => {
            problems.extend(more);
            None
        }
    };
    let mut resolved = None;
    if let (Some(fleet), Some(registry)) = (&fleet, &registry) {
        let (desired, more) = desired::resolve(fleet, registry);
        problems.extend(more);
        resolved = desired;
    }
    if resolved.as_ref().is_some_and(|desired| desired.clusters.is_empty()) {
        problems.push(
            Diagnostic::warning(
                "empty",
                "the manifest has neither a guest nor a cluster, so nothing is read or compared",
            )
            .hint("name a cluster under `clusters:` to have its orphans sought there"),
        );
    }
    match (resolved, registry) {
        (Some(desired), Some(registry)) if !problems.iter().any(Diagnostic::is_error) => {
            Ok(Inputs { desired, registry, variables, warnings: problems, sources, partial })
        }
        _ => Err(Failure::Input { problems, sources }),
    }
}

/// Settings with the clusters that a manifest names, good for checking it and for nothing else.
fn stand_in(fleet: &Fleet) -> Registry {
    let named = fleet.guests.iter().filter_map(|guest| guest.cluster.as_ref()).map(|cluster| cluster.value.clone());
    let mut names: BTreeSet<String> = fleet.clusters.keys().cloned().chain(named).collect();
    if names.is_empty() {
        names.insert("default".to_owned());
    }
    let mut registry = Registry::of_names(names);
    for cluster in &mut registry.clusters {
        // A disk that names no storage may have one by settings that are not here.
        cluster.default_storage = Some("default".to_owned());
        cluster.access = Access::Read;
    }
    registry
}

impl Inputs {
    /// Prints the warnings.
    pub fn warn(&self, terminal: &Terminal) {
        if !self.warnings.is_empty() && !terminal.quiet {
            terminal.say(&findings::text(&self.warnings, &self.sources, terminal.err.color, terminal.err.width));
        }
    }
}

/// The files that a path means, as name and text, and whether the path is only a part of a folder's fleet.
fn read_files(path: &Path) -> Result<(Vec<(String, String)>, bool), Failure> {
    let shown = path.display();
    let metadata =
        std::fs::metadata(path).map_err(|error| Failure::Usage(format!("{shown} cannot be read: {error}")))?;
    if metadata.is_dir() {
        let files = read_folder(path)?;
        if files.is_empty() {
            return Err(Failure::Usage(format!("{shown} holds no manifest: no *.yaml or *.yml directly in it")));
        }
        return Ok((files, false));
    }
    let text = read_file(path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    // Other manifests beside it may hold more of this fleet.
    let others = read_folder(parent).unwrap_or_default();
    let partial = others
        .iter()
        .any(|(name, text)| Path::new(name).file_name() != path.file_name() && manifest::is_manifest(text));
    Ok((vec![(shown.to_string(), text)], partial))
}

fn read_folder(folder: &Path) -> Result<Vec<(String, String)>, Failure> {
    let shown = folder.display();
    let entries =
        std::fs::read_dir(folder).map_err(|error| Failure::Usage(format!("{shown} cannot be read: {error}")))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"))
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    paths.into_iter().map(|path| Ok((path.display().to_string(), read_file(&path)?))).collect()
}

/// The text of a file that a manifest refers to; a link may not lead out of the manifest's folder.
fn referenced(manifest: &str, path: &str) -> Result<String, String> {
    let folder = Path::new(manifest).parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new(".")).canonicalize().map_err(|error| error.to_string())?;
    let target = folder.join(path).canonicalize().map_err(|error| error.to_string())?;
    if !target.starts_with(&folder) {
        return Err("a link leads out of the manifest's folder".to_owned());
    }
    read_file(&target).map_err(|failure| match failure {
        Failure::Usage(words) => words,
        _ => "it cannot be read".to_owned(),
    })
}

fn read_file(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let length = std::fs::metadata(path).map(|metadata| metadata.len());
    if length.is_ok_and(|length| length > MAX_FILE) {
        return Err(Failure::Usage(format!("{shown} is larger than 8 MiB; a manifest is not")));
    }
    let bytes = std::fs::read(path).map_err(|error| Failure::Usage(format!("{shown} cannot be read: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        Failure::Usage(format!("{shown}:{line} is not UTF-8 text"))
    })
}
