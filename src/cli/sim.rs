//! `sim`: simulated clusters until Ctrl-C, and the settings file that leads to them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::arguments::SimCommand;
use super::failure::Failure;
use super::output;
use super::terminal::Terminal;
use crate::sim::server::{Endpoint, Options, Running, Server};
use crate::sim::{Cluster, Fault, world};

/// The first line of a settings file that `sim` wrote, and so may write again.
const WRITTEN_BY: &str = "# Written by pvefleet sim; it may be replaced at any time.";

/// Rules that a user of these clusters would have: the names begin with the cluster.
const PREFIXES: [(&str, &str); 3] = [("prod-", "production"), ("stg-", "staging"), ("dr-", "disaster-recovery")];

/// `sim`.
///
/// # Errors
///
/// Names that cannot be clusters, a port that is taken, a settings file that is somebody else's.
pub async fn run(command: &SimCommand, terminal: &Terminal) -> Result<u8, Failure> {
    let names = checked_names(&command.clusters)?;
    if let Some(path) = &command.env_out {
        refuse_foreign(path)?;
    }
    let ports = match command.port {
        Some(first) => {
            let last = usize::from(first) + names.len() - 1;
            u16::try_from(last).map_err(|_| Failure::Usage("--port leaves too few ports above it".to_owned()))?;
            (first..).take(names.len()).collect()
        }
        None => Vec::new(),
    };
    let running = start(&names, command.seed, ports, &[]).await?;
    for endpoint in running.endpoints() {
        output::stdout(&format!("{:<20} {}  token {}\n", endpoint.name, endpoint.url, endpoint.token_id))?;
    }
    if let Some(path) = &command.env_out {
        write_env(path, running.endpoints())?;
        terminal.note(&format!(
            "settings: {}; in another terminal: pvefleet clusters check --env-file {0}",
            path.display()
        ));
    } else {
        terminal.note("no settings were written; --env-out FILE writes them");
    }
    terminal.note("Ctrl-C stops the clusters; what they hold is gone then.");
    if command.access_log {
        tokio::select! {
            () = follow(&running, &names) => {}
            result = tokio::signal::ctrl_c() => result.context("Ctrl-C cannot be waited for")?,
        }
    } else {
        tokio::signal::ctrl_c().await.context("Ctrl-C cannot be waited for")?;
    }
    running.stop().await;
    Ok(0)
}

/// Starts clusters by name, each with these faults.
///
/// # Errors
///
/// When they cannot listen.
pub async fn start(names: &[String], seed: u64, ports: Vec<u16>, faults: &[Fault]) -> Result<Running, Failure> {
    let mut clusters = Vec::new();
    for (number, name) in (0u64..).zip(names) {
        let mut cluster = Cluster::new(world::builtin(name), seed.wrapping_add(number));
        for fault in faults {
            cluster.inject(fault.clone());
        }
        clusters.push((name.clone(), cluster));
    }
    let running = Server::start(clusters, Options { ports }).await.map_err(anyhow::Error::from);
    Ok(running.context("the simulated clusters cannot start")?)
}

fn checked_names(names: &[String]) -> Result<Vec<String>, Failure> {
    let mut checked: Vec<String> = Vec::new();
    for name in names.iter().map(|name| name.trim()).filter(|name| !name.is_empty()) {
        let valid = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !valid {
            return Err(Failure::Usage(format!(
                "`{name}` cannot be a cluster: letters, digits and hyphens, a letter first"
            )));
        }
        if checked.iter().any(|known| known == name) {
            return Err(Failure::Usage(format!("cluster {name} is named twice")));
        }
        checked.push(name.to_owned());
    }
    if checked.is_empty() {
        return Err(Failure::Usage("--clusters names no cluster".to_owned()));
    }
    Ok(checked)
}

/// A file that somebody else wrote may hold real credentials.
fn refuse_foreign(path: &Path) -> Result<(), Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) if !text.starts_with(WRITTEN_BY) => {
            let words = format!("{} is there and was not written by `pvefleet sim`; name another file", path.display());
            Err(Failure::Usage(words))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::Usage(format!("{} cannot be read: {error}", path.display()))),
    }
}

/// Writes settings for these clusters, and the certificate authority beside them.
///
/// # Errors
///
/// When a file cannot be written.
pub fn write_env(path: &Path, endpoints: &[Endpoint]) -> anyhow::Result<()> {
    let ca_file = ca_path(path)?;
    let pem = endpoints.first().map_or("", |endpoint| endpoint.ca_pem.as_str());
    output::write_whole(&ca_file, pem).with_context(|| format!("cannot write {}", ca_file.display()))?;
    output::write_whole(path, &env_text(endpoints, &ca_file))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// `.env` → `.env.ca.pem`, as an absolute path: settings may be read from another folder.
fn ca_path(path: &Path) -> anyhow::Result<PathBuf> {
    let mut name = path.file_name().context("the settings need a file name")?.to_owned();
    name.push(".ca.pem");
    let beside = path.with_file_name(name);
    std::path::absolute(&beside).with_context(|| format!("{} has no absolute path", beside.display()))
}

fn env_text(endpoints: &[Endpoint], ca_file: &Path) -> String {
    let names: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    let patterns: Vec<String> = PREFIXES
        .iter()
        .filter(|(_, cluster)| names.contains(cluster))
        .map(|(prefix, cluster)| format!("{prefix}:{cluster}"))
        .collect();
    let mut text = format!("{WRITTEN_BY}\nPROXMOX_CLUSTERS={}\n", names.join(","));
    if !patterns.is_empty() {
        text.push_str(&format!("PROXMOX_CLUSTER_PATTERNS={}\n", patterns.join(",")));
    }
    for Endpoint { name, url, token_id, token_secret, .. } in endpoints {
        let ca_file = ca_file.display();
        text.push_str(&format!(
            "\nPROXMOX_CLUSTER_{name}_API_URL={url}\nPROXMOX_CLUSTER_{name}_TOKEN_ID={token_id}\n\
             PROXMOX_CLUSTER_{name}_TOKEN_SECRET={token_secret}\nPROXMOX_CLUSTER_{name}_CA_FILE={ca_file}\n"
        ));
    }
    text
}

/// Prints each request as it is answered.
async fn follow(running: &Running, names: &[String]) {
    let mut printed = vec![0usize; names.len()];
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tick.tick().await;
        for (name, printed) in names.iter().zip(&mut printed) {
            let log = running.access_log(name);
            for entry in log.iter().skip(*printed) {
                let unknown = if entry.unimplemented { "  not implemented here" } else { "" };
                let line =
                    format!("{:>9} {name} {} {} {}{unknown}\n", entry.at, entry.status, entry.method, entry.path);
                if output::stdout(&line).is_err() {
                    return;
                }
            }
            *printed = log.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let names = |text: &str| checked_names(&text.split(',').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(names("a1, b2,").unwrap(), ["a1", "b2"]);
        for bad in ["", "a,a", "a b", "1a", "a_b"] {
            assert!(names(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn somebody_elses_settings_are_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        assert!(refuse_foreign(&path).is_ok());
        std::fs::write(&path, "PROXMOX_API_URL=https://pve.example.net\n").unwrap();
        assert!(refuse_foreign(&path).is_err());
        let endpoint = Endpoint {
            name: "disaster-recovery".to_owned(),
            url: "https://127.0.0.1:1".to_owned(),
            ca_pem: "pem".to_owned(),
            token_id: "root@pam!x".to_owned(),
            token_secret: "s".to_owned(),
        };
        std::fs::remove_file(&path).unwrap();
        write_env(&path, &[endpoint]).unwrap();
        assert!(refuse_foreign(&path).is_ok());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("PROXMOX_CLUSTER_PATTERNS=dr-:disaster-recovery"), "{text}");
        assert!(folder.path().join(".env.ca.pem").exists());
    }
}
