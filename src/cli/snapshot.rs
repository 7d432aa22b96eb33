//! `snapshot`, and reading one.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::arguments::SnapshotCommand;
use super::failure::Failure;
use super::guests::chosen;
use super::output::{self, Format};
use super::plan::check_outputs;
use super::terminal::Terminal;
use super::{connect, environment};
use crate::apply::journal;
use crate::clusters::Registry;
use crate::live::{Live, LiveCluster, Read};
use crate::ops::{self, SNAPSHOT_VERSION, Settings, Snapshot};
use crate::report::style::count;

/// Reads clusters whole and writes what was read.
///
/// # Errors
///
/// Wrong settings.
pub async fn snapshot(command: &SnapshotCommand, env_files: &[PathBuf], terminal: &Terminal) -> Result<u8, Failure> {
    check_outputs(&command.output)?;
    let variables = environment::variables(env_files).map_err(|error| Failure::Usage(format!("{error:#}")))?;
    let registry = environment::registry(&variables).map_err(Failure::problems)?;
    let names: Vec<String> = chosen(&command.cluster, &registry)?.into_iter().map(str::to_owned).collect();
    let clients = connect::clients(&registry, env_files, terminal.log);
    let live = ops::snapshot(&connect::readers(&clients), &names).await;
    let complete = live.clusters.values().all(|cluster| cluster.known().is_some_and(|seen| unread(seen) == 0));
    let document = Snapshot {
        format_version: SNAPSHOT_VERSION.to_owned(),
        pvefleet: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: journal::now(),
        settings: Settings::of(&registry),
        live,
    };
    output::write(&command.output, |format, _| match format {
        Format::Json => Ok(serde_json::to_string(&document)?),
        Format::Text => Ok(summary(&document.live)),
    })?;
    if command.output.iter().all(|output| output.file.is_some()) {
        terminal.note(&summary(&document.live));
    }
    Ok(u8::from(!complete))
}

/// Guests and nodes of a cluster that could not be read.
fn unread(cluster: &LiveCluster) -> usize {
    cluster.guests.values().filter(|guest| guest.config.unread().is_some()).count()
        + cluster.nodes.values().filter(|node| node.lists.unread().is_some()).count()
}

/// A line for each cluster.
fn summary(live: &Live) -> String {
    let line = |(name, cluster): (&String, &Read<LiveCluster>)| match cluster {
        Read::Known(seen) => {
            let unread = match unread(seen) {
                0 => String::new(),
                number => format!(", {number} of them not read"),
            };
            let (nodes, guests) = (count(seen.nodes.len(), "node"), count(seen.guests.len(), "guest"));
            format!("{name}: Proxmox VE {}, {nodes}, {guests}{unread}", seen.version)
        }
        Read::Unread(why) => format!("{name}: not read: {why}"),
        Read::Absent => format!("{name}: not read"),
    };
    live.clusters.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A snapshot that a command works with in place of the clusters.
pub struct Taken {
    /// What was read.
    pub live: Live,
    /// The settings.
    pub registry: Registry,
    /// `live.json, taken 2 hours ago (2026-11-22T08:45:00Z)`.
    pub words: String,
}

/// Reads a snapshot from a file.
///
/// # Errors
///
/// When it cannot be read, or is none.
pub fn load(path: &Path) -> Result<Taken, Failure> {
    let shown = path.display();
    let wrong = |why: String| Failure::Usage(format!("--live {shown} cannot be used: {why}"));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let version: Versioned = serde_json::from_str(&text)
        .map_err(|error| wrong(format!("it is no snapshot ({error}); `pvefleet snapshot -o json=FILE` makes one")))?;
    let major = |text: &str| text.split('.').next().map(str::to_owned);
    if major(&version.format_version) != major(SNAPSHOT_VERSION) {
        let found = version.format_version;
        return Err(wrong(format!("it has format {found}, and this version reads {SNAPSHOT_VERSION}; take a new one")));
    }
    let snapshot: Snapshot = serde_json::from_str(&text).map_err(|error| wrong(format!("it is damaged ({error})")))?;
    let registry = snapshot.settings.registry().map_err(wrong)?;
    let words = format!("{shown}, taken {} ({})", age(&snapshot.made_at), snapshot.made_at);
    Ok(Taken { live: snapshot.live, registry, words })
}

/// What every version of the document begins with.
#[derive(serde::Deserialize)]
struct Versioned {
    format_version: String,
}

/// How long ago a moment was, in words.
fn age(made_at: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let Some(passed) = journal::seconds(made_at).and_then(|then| now.checked_sub(then)) else {
        return "at a time that lies ahead".to_owned();
    };
    let (number, unit) = match passed {
        0..60 => return "just now".to_owned(),
        60..7200 => (passed / 60, "minute"),
        7200..172_800 => (passed / 3600, "hour"),
        _ => (passed / 86_400, "day"),
    };
    format!("{} ago", count(usize::try_from(number).unwrap_or(usize::MAX), unit))
}
