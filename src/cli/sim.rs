//! `sim`: simulated clusters until they are stopped, and how others find them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::arguments::{ServiceTimesArgument, SimCommand};
use super::failure::Failure;
use super::output;
use super::terminal::Terminal;
use super::yaml;
use crate::diagnostics::Diagnostic;
use crate::manifest::source::Node;
use crate::report::findings::Sources;
use crate::sim::check::{self, Problem};
use crate::sim::server::{Endpoint, Options, Running, Server};
use crate::sim::state::State;
use crate::sim::transport::lock;
use crate::sim::{Cluster, Fault, FaultFile, ServiceTimes, World, world};

/// The first line of a settings file that `sim` wrote, and so may write again.
const WRITTEN_BY: &str = "# Written by pvefleet sim; it may be replaced at any time.";

/// Rules that a user of these clusters would have: the names begin with the cluster.
const PREFIXES: [(&str, &str); 3] = [("prod-", "production"), ("stg-", "staging"), ("dr-", "disaster-recovery")];

/// The clusters where none is named.
const DEFAULT: [&str; 3] = ["production", "staging", "disaster-recovery"];

/// How often it is looked whether there is something to print or to keep.
const TICK: Duration = Duration::from_millis(100);

/// `sim`.
///
/// # Errors
///
/// A world or faults that cannot be simulated, a port that is taken, a file that is somebody else's.
pub async fn run(command: &SimCommand, terminal: &Terminal) -> Result<u8, Failure> {
    if command.print_world {
        let names = checked_names(&named(command))?;
        output::stdout(&world::builtin_text(&names))?;
        return Ok(0);
    }
    if let Some(path) = &command.env_out {
        refuse_foreign(path)?;
    }
    let (world, mut clusters) = prepare(command, terminal)?;
    let count = clusters.len();
    let faults = match &command.faults {
        Some(path) => read_faults(path, &world)?,
        None => Vec::new(),
    };
    for (name, cluster) in &mut clusters {
        let own = faults.iter().filter(|fault| fault.cluster.as_ref().is_none_or(|cluster| cluster == name));
        cluster.set_faults(own.cloned().collect());
    }
    let ports = match command.port {
        Some(first) => {
            let last = usize::from(first) + count - 1;
            u16::try_from(last).map_err(|_| Failure::Usage("--port leaves too few ports above it".to_owned()))?;
            (first..).take(count).collect()
        }
        None => Vec::new(),
    };
    let keeper = Keeper::new(command, world);
    let log = AccessLog::open(command.access_log.as_deref())?;
    let running = Server::start(clusters, Options { ports }).await.map_err(anyhow::Error::from);
    let running = running.context("the simulated clusters cannot start")?;
    announce(command, terminal, &running)?;
    let result = attend(&running, keeper, log).await;
    running.stop().await;
    result.map(|()| 0)
}

/// Starts built-in clusters by name, each with these faults.
///
/// # Errors
///
/// When they cannot listen.
pub async fn start(names: &[String], seed: u64, ports: Vec<u16>, faults: &[Fault]) -> Result<Running, Failure> {
    let mut clusters = Vec::new();
    for (number, name) in (0u64..).zip(names) {
        let mut cluster = Cluster::new(world::builtin(name), seed.wrapping_add(number));
        cluster.set_faults(faults.to_vec());
        clusters.push((name.clone(), cluster));
    }
    let running = Server::start(clusters, Options { ports }).await.map_err(anyhow::Error::from);
    Ok(running.context("the simulated clusters cannot start")?)
}

/// The names that were asked for, or those of the built-in clusters.
fn named(command: &SimCommand) -> Vec<String> {
    command.clusters.clone().unwrap_or_else(|| DEFAULT.map(str::to_owned).to_vec())
}

/// The clusters as they begin: new ones, or those that were kept.
fn prepare(command: &SimCommand, terminal: &Terminal) -> Result<(World, Vec<(String, Cluster)>), Failure> {
    let given = match (&command.world, &command.clusters) {
        (Some(path), _) => Some(read_world(path)?),
        (None, Some(names)) => Some(builtin_world(names)?),
        (None, None) => None,
    };
    let kept = command.state.as_deref().map(read_state).transpose()?.flatten();
    let (world, mut clusters) = match kept {
        Some(state) => {
            if given.as_ref().is_some_and(|given| *given != state.world) {
                let path = command.state.as_deref().unwrap_or(Path::new("")).display();
                return Err(Failure::Usage(format!(
                    "{path} began as another world than the one that is named now; name another file, or remove it to begin anew"
                )));
            }
            terminal.note("going on from what was kept");
            (state.world, state.clusters)
        }
        None => {
            let world = match given {
                Some(world) => world,
                None => builtin_world(&named(command))?,
            };
            let seeds = (0u64..).map(|number| command.seed.wrapping_add(number));
            let clusters = world.clusters.iter().zip(seeds);
            let clusters = clusters.map(|(spec, seed)| (spec.name.clone(), Cluster::new(spec.clone(), seed)));
            let clusters = clusters.collect();
            (world, clusters)
        }
    };
    for (_, cluster) in &mut clusters {
        cluster.set_service(|spec| {
            spec.latency = command.latency.unwrap_or(spec.latency);
            spec.workers = command.workers.or(spec.workers);
            spec.time_scale = command.time_scale.unwrap_or(spec.time_scale);
            spec.service_times = match command.service_times {
                Some(ServiceTimesArgument::Measured) => ServiceTimes::Measured,
                Some(ServiceTimesArgument::None) => ServiceTimes::None,
                None => spec.service_times,
            };
        });
    }
    Ok((world, clusters))
}

fn builtin_world(names: &[String]) -> Result<World, Failure> {
    Ok(World { clusters: checked_names(names)?.iter().map(|name| world::builtin(name)).collect() })
}

/// Problems, shown where they stand.
fn placed(file: &str, text: &str, root: &Node, problems: Vec<Problem>) -> Failure {
    let draw = |problem: Problem| {
        let place = yaml::place_of(root, &problem.path);
        let drawn = Diagnostic::error("world", problem.message).at(&place);
        match problem.hint {
            Some(hint) => drawn.hint(hint),
            None => drawn,
        }
    };
    let sources: Sources = std::iter::once((file, text)).collect();
    Failure::Input { problems: problems.into_iter().map(draw).collect(), sources }
}

/// A file's text, with the name that problems give it.
fn text_of(path: &Path) -> Result<(String, String), Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("{} cannot be read: {error}", path.display())))?;
    Ok((path.display().to_string(), text))
}

fn read_world(path: &Path) -> Result<World, Failure> {
    let (file, text) = text_of(path)?;
    let sources = || std::iter::once((file.as_str(), text.as_str())).collect();
    let (world, root) =
        yaml::read::<World>(&file, &text).map_err(|problems| Failure::Input { problems, sources: sources() })?;
    let problems = check::world(&world);
    if problems.is_empty() { Ok(world) } else { Err(placed(&file, &text, &root, problems)) }
}

pub(super) fn read_faults(path: &Path, world: &World) -> Result<Vec<Fault>, Failure> {
    let (file, text) = text_of(path)?;
    let sources = || std::iter::once((file.as_str(), text.as_str())).collect();
    let (read, root) =
        yaml::read::<FaultFile>(&file, &text).map_err(|problems| Failure::Input { problems, sources: sources() })?;
    let problems = check::faults(&read.faults, &world.clusters);
    if problems.is_empty() { Ok(read.faults) } else { Err(placed(&file, &text, &root, problems)) }
}

/// What was kept in a file; nothing where there is none yet.
fn read_state(path: &Path) -> Result<Option<State>, Failure> {
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::Usage(format!("{} cannot be read: {error}", path.display()))),
    };
    let refused = |error| format!("{}: {error}; it is left as it is, name another file", path.display());
    State::from_text(&text).map(Some).map_err(|error| Failure::Usage(refused(error)))
}

/// Keeps the clusters in a file, where one is named.
struct Keeper {
    path: Option<PathBuf>,
    every: Duration,
    world: World,
    /// What the file holds already.
    kept: Option<u64>,
}

impl Keeper {
    fn new(command: &SimCommand, world: World) -> Self {
        let every = Duration::from_secs(command.save_every.max(1));
        Self { path: command.state.clone(), every, world, kept: None }
    }

    /// Writes the file where anything changed since it was last written.
    fn keep(&mut self, running: &Running) -> anyhow::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let clusters: Vec<(String, Cluster)> =
            running.clusters().iter().map(|(name, cluster)| (name.clone(), lock(cluster).without_log())).collect();
        let revision = clusters.iter().map(|(_, cluster)| cluster.revision()).sum();
        if self.kept == Some(revision) {
            return Ok(());
        }
        let text = State { world: self.world.clone(), clusters }.to_text()?;
        output::write_whole(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
        self.kept = Some(revision);
        Ok(())
    }
}

/// Where requests are written down.
struct AccessLog {
    file: Option<std::fs::File>,
    wanted: bool,
    printed: Vec<usize>,
}

impl AccessLog {
    fn open(target: Option<&Path>) -> Result<Self, Failure> {
        let file = match target.filter(|path| *path != Path::new("-")) {
            Some(path) => {
                let opened = output::append_private(path);
                Some(opened.map_err(|error| Failure::Usage(format!("{} cannot be written: {error}", path.display())))?)
            }
            None => None,
        };
        Ok(Self { file, wanted: target.is_some(), printed: Vec::new() })
    }

    /// Writes down what came since the last time.
    fn follow(&mut self, running: &Running) -> anyhow::Result<()> {
        use std::io::Write;
        if !self.wanted {
            return Ok(());
        }
        self.printed.resize(running.clusters().len(), 0);
        let mut text = String::new();
        for ((name, cluster), printed) in running.clusters().iter().zip(&mut self.printed) {
            let cluster = lock(cluster);
            for entry in cluster.access_log_after(*printed) {
                let unknown = if entry.unimplemented { "  not implemented here" } else { "" };
                text.push_str(&format!(
                    "{:>9} {name} {} {} {} {}{unknown}\n",
                    entry.at, entry.served_by, entry.status, entry.method, entry.path
                ));
            }
            *printed = cluster.requests();
        }
        match &mut self.file {
            _ if text.is_empty() => Ok(()),
            Some(file) => file.write_all(text.as_bytes()).context("the access log cannot be written"),
            None => output::stdout(&text),
        }
    }
}

/// Looks after the clusters until somebody stops them.
async fn attend(running: &Running, mut keeper: Keeper, mut log: AccessLog) -> Result<(), Failure> {
    let mut tick = tokio::time::interval(TICK);
    let mut save = tokio::time::interval(keeper.every);
    let stopped = stopped();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            result = &mut stopped => {
                result.context("signals cannot be waited for")?;
                break;
            }
            _ = tick.tick() => log.follow(running)?,
            _ = save.tick() => keeper.keep(running)?,
        }
    }
    log.follow(running)?;
    keeper.kept = None;
    Ok(keeper.keep(running)?)
}

/// Comes back when the program is asked to end.
async fn stopped() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// Says where the clusters are, in every way that was asked for, once they answer.
fn announce(command: &SimCommand, terminal: &Terminal, running: &Running) -> Result<(), Failure> {
    if let Some(path) = &command.env_out {
        write_env(path, running.endpoints())?;
        terminal.note(&format!(
            "settings: {}; in another terminal: pvefleet clusters check --env-file {0}",
            path.display()
        ));
    }
    let line = ready_line(running.endpoints());
    if let Some(path) = &command.ready_file {
        output::write_whole(path, &line).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if command.json {
        output::stdout(&line)?;
        return Ok(());
    }
    for endpoint in running.endpoints() {
        output::stdout(&format!("{:<20} {}  token {}\n", endpoint.name, endpoint.url, endpoint.token_id))?;
    }
    output::stdout("ready\n")?;
    if command.env_out.is_none() {
        terminal.note("no settings were written; --env-out FILE writes them");
    }
    terminal.note(match command.state {
        Some(_) => "Ctrl-C stops the clusters; what they hold is kept.",
        None => "Ctrl-C stops the clusters; what they hold is gone then.",
    });
    Ok(())
}

/// What a program needs to use the clusters, as one line of JSON.
fn ready_line(endpoints: &[Endpoint]) -> String {
    let clusters = endpoints.iter().map(|endpoint| {
        serde_json::json!({
            "name": endpoint.name, "url": endpoint.url, "host": "127.0.0.1",
            "port": endpoint.url.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()),
            "token_id": endpoint.token_id, "token_secret": endpoint.token_secret, "ca_pem": endpoint.ca_pem,
        })
    });
    format!("{}\n", serde_json::json!({ "ready": true, "clusters": clusters.collect::<Vec<_>>() }))
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
