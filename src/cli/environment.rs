//! The only reader of the process environment and of `.env` files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::apply::SecretSource;
use crate::clusters::{self, Registry, SecretSource as TokenSource, Variables};
use crate::desired::SecretReference;
use crate::diagnostics::Diagnostic;
use crate::secret::Secret;

/// Variables of the process and of `.env` files.
///
/// # Errors
///
/// A file that was named and cannot be read. That there is no `.env` is no error.
pub fn variables(env_files: &[PathBuf]) -> Result<Variables> {
    let mut files = Vec::new();
    for path in env_files {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("--env-file {} cannot be read", path.display()))?;
        files.push((path.display().to_string(), text));
    }
    if env_files.is_empty() {
        match std::fs::read_to_string(".env") {
            Ok(text) => files.push((".env".to_owned(), text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(".env cannot be read"),
        }
    }
    // A variable that is not UTF-8 is none of ours.
    let process =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Ok(Variables::merge(process, &files))
}

/// The cluster settings, or everything that is wrong with them.
pub fn registry(variables: &Variables) -> Result<Registry, Vec<Diagnostic>> {
    clusters::load(variables, &token_secret)
}

/// The cluster settings without fetching secrets from files or commands, for commands that connect to nothing.
pub fn registry_offline(variables: &Variables) -> Result<Registry, Vec<Diagnostic>> {
    clusters::load(variables, &|_| Ok("not fetched".to_owned()))
}

fn token_secret(source: &TokenSource) -> Result<String, String> {
    let text = match source {
        TokenSource::File(path) => {
            std::fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))?
        }
        TokenSource::Command(command) => {
            let output = Command::new("sh").arg("-c").arg(command).stdin(std::process::Stdio::null()).output();
            let output = output.map_err(|error| format!("the command cannot be run: {error}"))?;
            if !output.status.success() {
                // Its error output may hold anything, so it is left where the command put it: nowhere.
                return Err(format!("the command failed ({})", output.status));
            }
            String::from_utf8(output.stdout).map_err(|_| "the command printed no text".to_owned())?
        }
    };
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Reads the file that a `CA_FILE` names.
///
/// # Errors
///
/// When it cannot be read.
pub fn ca_file(path: &str) -> std::io::Result<String> {
    std::fs::read_to_string(path)
}

/// Secrets of the manifest: from the variables, or written in it.
pub struct EnvironmentSecrets {
    variables: Variables,
    written: BTreeMap<SecretReference, Secret>,
}

impl EnvironmentSecrets {
    /// Takes the variables that the run has, and the secrets that its manifest holds itself.
    pub fn new(variables: Variables, written: BTreeMap<SecretReference, Secret>) -> Self {
        Self { variables, written }
    }

    /// True where the variable is set.
    pub fn has(&self, name: &str) -> bool {
        self.variables.get(name).is_some()
    }
}

impl SecretSource for EnvironmentSecrets {
    fn secret(&self, reference: &SecretReference) -> Result<Secret, String> {
        if let Some(place) = reference.written_at() {
            let found = self.written.get(reference).cloned();
            let words = format!("the secret at {place} stands in the manifest, and a saved plan holds none");
            return found.ok_or_else(|| format!("{words}: write it as {{env: NAME}} and plan again"));
        }
        match self.variables.get(&reference.env) {
            Some(variable) => Ok(variable.value.clone()),
            None => Err(format!("the environment variable {} is not set", reference.env)),
        }
    }
}

/// The folder for journals: `$XDG_STATE_HOME/pvefleet`, else `~/.local/state/pvefleet`.
pub fn state_folder() -> Option<PathBuf> {
    let from_home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
    std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(from_home)
        .map(|folder| folder.join("pvefleet"))
}

/// True unless NO_COLOR is set to something.
pub fn color_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
