//! From a path to the resolved fleet, with every problem of every file at once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::environment;
use super::failure::Failure;
use super::terminal::Terminal;
use crate::clusters::{Access, Registry, Variables};
use crate::desired::{self, Desired, OptionValue, SecretReference};
use crate::diagnostics::{Diagnostic, Place};
use crate::manifest::{self, Fleet, Outside};
use crate::report::findings::{self, Sources};
use crate::secret::Secret;

/// Everything a command needs to begin with.
pub struct Inputs {
    /// The resolved fleet.
    pub desired: Desired,
    /// The cluster settings.
    pub registry: Registry,
    /// The variables that they came from.
    pub variables: Variables,
    /// The secrets that stand in the manifest itself.
    pub written: BTreeMap<SecretReference, Secret>,
    /// What should be looked at.
    pub warnings: Vec<Diagnostic>,
    /// The texts that warnings point into.
    pub sources: Sources,
    /// The path is one file of a folder that holds more of the fleet.
    pub partial: bool,
}

/// Largest manifest file, in bytes; whoever has more has split it by mistake.
const MAX_FILE: u64 = 8 << 20;

/// Where the settings of the clusters come from.
#[derive(Debug, Clone, Copy)]
pub enum SettingsFrom<'a> {
    /// From the variables, to connect with.
    Variables,
    /// From the variables, to check a manifest with: no secret is fetched, and there may be none.
    VariablesUnconnected,
    /// From a snapshot.
    Snapshot(&'a Registry),
}

/// Reads and resolves the manifest at a path.
///
/// # Errors
///
/// Problems of the manifest, of the settings, or of both.
pub fn load(
    path: &Path,
    vars: &[(String, String)],
    env_files: &[PathBuf],
    settings: SettingsFrom<'_>,
) -> Result<Inputs, Failure> {
    let variables = environment::variables(env_files).map_err(|error| Failure::Usage(format!("{error:#}")))?;
    let Files { texts, partial, mut problems } = read_files(path)?;
    let sources = RefCell::new(texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect::<Sources>());
    let offline = matches!(settings, SettingsFrom::VariablesUnconnected);
    let registry = match settings {
        SettingsFrom::Variables => environment::registry(&variables),
        SettingsFrom::VariablesUnconnected => environment::registry_offline(&variables),
        SettingsFrom::Snapshot(registry) => Ok(registry.clone()),
    };
    let include = |name: &str| {
        let text = included(name)?;
        sources.borrow_mut().add(name, &text);
        Ok(text)
    };
    let outside = Outside { vars, file: &referenced, include: &include };
    let unread = problems.iter().any(Diagnostic::is_error);
    let (mut fleet, more) = manifest::read_with(&texts, &outside);
    // What a file that cannot be read would have said is not missed as well.
    problems.extend(more.into_iter().filter(|problem| !(unread && problem.code == "no-fleet")));
    if let Some(fleet) = fleet.as_mut().filter(|_| unread) {
        fleet.complete = false;
    }
    let sources = sources.into_inner();
    let registry = match registry {
        Ok(registry) => Some(registry),
        // Without any settings a manifest can still be checked, but for the rules that route by name.
        Err(more) if offline && !variables.names().any(|name| name.starts_with("PROXMOX_")) => {
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
            let written = fleet.as_ref().map(desired::written_secrets).unwrap_or_default();
            Ok(Inputs { desired, registry, variables, written, warnings: problems, sources, partial })
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
    /// Adds a warning for each variable that apply will need and that is not set here.
    pub fn warn_of_missing_secrets(&mut self) {
        let mut told = BTreeSet::new();
        let guests = self.desired.clusters.values().flat_map(|cluster| &cluster.guests);
        for option in guests.flat_map(|guest| guest.options.values()) {
            let OptionValue::Secret(reference) = &option.value else { continue };
            let is_set = reference.written_at().is_some() || self.variables.get(&reference.env).is_some();
            if is_set || !told.insert(&reference.env) {
                continue;
            }
            let message = format!("the variable {} is not set here; apply needs it", reference.env);
            let problem = Diagnostic::warning("missing-secret", message).at(&option.place);
            self.warnings.push(problem.hint("set it, or put a line for it into `.env`, where apply runs"));
        }
    }

    /// Prints the warnings; notes are for `validate` alone.
    pub fn warn(&self, terminal: &Terminal) {
        let warnings: Vec<Diagnostic> = self.warnings.iter().filter(|problem| !problem.is_note()).cloned().collect();
        if !warnings.is_empty() && !terminal.quiet {
            terminal.say(&findings::text(&warnings, &self.sources, terminal.err.color, terminal.err.width));
        }
    }
}

/// The files that a path means.
struct Files {
    /// Name and text of each that can be read.
    texts: Vec<(String, String)>,
    /// The path is only a part of a folder's fleet.
    partial: bool,
    /// Why others cannot.
    problems: Vec<Diagnostic>,
}

fn read_files(path: &Path) -> Result<Files, Failure> {
    let shown = path.display();
    let metadata =
        std::fs::metadata(path).map_err(|error| Failure::Usage(format!("{shown} cannot be read: {error}")))?;
    if metadata.is_dir() {
        let files = read_folder(path).map_err(|error| Failure::Usage(format!("{shown} cannot be read: {error}")))?;
        if files.texts.is_empty() && files.problems.is_empty() {
            return Err(Failure::Usage(format!("{shown} holds no manifest: no *.yaml or *.yml directly in it")));
        }
        return Ok(files);
    }
    let mut files = Files { texts: Vec::new(), partial: false, problems: Vec::new() };
    files.read(path);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    // Other manifests beside it may hold more of this fleet.
    let others = read_folder(parent).map(|files| files.texts).unwrap_or_default();
    files.partial = others
        .iter()
        .any(|(name, text)| Path::new(name).file_name() != path.file_name() && manifest::is_manifest(text));
    Ok(files)
}

fn read_folder(folder: &Path) -> std::io::Result<Files> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"))
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    let mut files = Files { texts: Vec::new(), partial: false, problems: Vec::new() };
    paths.iter().for_each(|path| files.read(path));
    Ok(files)
}

impl Files {
    fn read(&mut self, path: &Path) {
        match read_file(path) {
            Ok(text) => self.texts.push((path.display().to_string(), text)),
            Err(Unread { code, reason, line, column }) => {
                let place = Place { file: path.display().to_string().into(), line, column, length: 1 };
                let problem = Diagnostic::error(code, format!("this file {reason}")).at(&place);
                self.problems.push(match code {
                    "encoding" => problem.hint("save it as UTF-8"),
                    _ => problem,
                });
            }
        }
    }
}

/// The text of a file that a manifest refers to; a link may not lead out of the manifest's folder.
fn referenced(manifest: &str, path: &str) -> Result<String, String> {
    let folder = Path::new(manifest).parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new(".")).canonicalize().map_err(|error| error.to_string())?;
    let target = folder.join(path).canonicalize().map_err(|error| error.to_string())?;
    if !target.starts_with(&folder) {
        return Err("a link leads out of the manifest's folder".to_owned());
    }
    read_file(&target).map_err(|unread| format!("it {}", unread.reason))
}

/// The text of a file that a manifest includes.
fn included(name: &str) -> Result<String, String> {
    read_file(Path::new(name)).map_err(|unread| format!("it {}", unread.reason))
}

/// Why a file cannot be read, and where that shows.
struct Unread {
    code: &'static str,
    reason: String,
    line: u32,
    column: u32,
}

fn read_file(path: &Path) -> Result<String, Unread> {
    let unread = |code, reason: String| Unread { code, reason, line: 1, column: 1 };
    let failed = |error: std::io::Error| unread("unreadable", format!("cannot be read: {error}"));
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > MAX_FILE {
        return Err(unread("too-large", "is larger than 8 MiB; a manifest is not".to_owned()));
    }
    String::from_utf8(std::fs::read(path).map_err(failed)?).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = valid.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let reason = format!("is not UTF-8 text from line {line} on");
        Unread { code: "encoding", reason, line: number(line), column: number(column) }
    })
}
