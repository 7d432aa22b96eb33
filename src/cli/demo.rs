//! `demo`: the whole way once, against three simulated clusters, every command run as it is printed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::arguments::DemoCommand;
use super::failure::Failure;
use super::terminal::Terminal;
use super::{environment, output, sim};
use crate::client::{ClusterClient, HttpTransport};
use crate::clusters::Variables;
use crate::pve::http::{Method, Request};
use crate::pve::value::Upid;
use crate::sim::Fault;
use crate::sim::server::Running;

/// The clusters, the first the default one.
const CLUSTERS: [&str; 3] = ["production", "staging", "disaster-recovery"];

/// The example that is walked through, as part of the program: a demo needs no checkout.
const EXAMPLE: [(&str, &str); 4] = [
    ("fleet.yaml", include_str!("../../examples/homelab/fleet.yaml")),
    ("production.yaml", include_str!("../../examples/homelab/production.yaml")),
    ("staging.yaml", include_str!("../../examples/homelab/staging.yaml")),
    ("disaster-recovery.yaml", include_str!("../../examples/homelab/disaster-recovery.yaml")),
];

/// Where the example stands in the demo's folder.
const PATH: &str = "examples/homelab";

/// How a demo is walked.
#[derive(Debug, Clone, Default)]
pub struct Walk {
    /// The program that runs the commands.
    pub program: PathBuf,
    /// Wait for Enter between the steps.
    pub pause: bool,
    /// Leave the clusters running at the end.
    pub keep: bool,
    /// What goes wrong in every cluster.
    pub faults: Vec<Fault>,
}

/// `demo`.
pub(super) async fn run(command: &DemoCommand, terminal: &Terminal) -> Result<u8, Failure> {
    let program = std::env::current_exe().context("the program does not know where it is")?;
    let walk = Walk { program, pause: command.pause, keep: command.keep, faults: Vec::new() };
    match self::walk(&walk).await {
        Ok(()) => Ok(0),
        Err(error) => {
            terminal.say(&format!("\nThe demo went wrong: {error:#}\n"));
            Ok(1)
        }
    }
}

/// Walks the demo once, on standard output.
///
/// # Errors
///
/// The first thing that is not as it should be.
pub async fn walk(walk: &Walk) -> Result<()> {
    let folder = DemoFolder::make()?;
    let names: Vec<String> = CLUSTERS.iter().map(|name| (*name).to_owned()).collect();
    let running =
        sim::start(&names, 1, Vec::new(), &walk.faults).await.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
    let mut stage =
        Stage { walk, folder: &folder.0, running: &running, step: 0, commands: 0, by_hand: 0, hand_writes: 0 };
    // Stopped by Ctrl-C, the clusters and the folder go as well.
    let result = tokio::select! {
        result = stage.play() => result,
        stopped = tokio::signal::ctrl_c() => {
            stopped.context("Ctrl-C cannot be waited for").and_then(|()| bail!("it was stopped"))
        }
    };
    if result.is_ok() && walk.keep {
        say(&format!(
            "\nThe clusters go on running. In another terminal:\n  cd {}\n  {} plan {PATH}\nCtrl-C here stops them and removes the folder.",
            folder.0.display(),
            walk.program.display()
        ))?;
        tokio::signal::ctrl_c().await.context("Ctrl-C cannot be waited for")?;
    }
    running.stop().await;
    result
}

/// The demo's own folder, removed at the end.
struct DemoFolder(PathBuf);

impl DemoFolder {
    fn make() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("pvefleet-demo-{}", std::process::id()));
        let example = folder.join(PATH);
        std::fs::create_dir_all(&example).with_context(|| format!("cannot make {}", example.display()))?;
        let made = Self(folder);
        for (name, text) in EXAMPLE {
            let path = example.join(name);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(made)
    }
}

impl Drop for DemoFolder {
    fn drop(&mut self) {
        // A folder that cannot be removed is no reason to fail at the end of a demo.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

struct Stage<'a> {
    walk: &'a Walk,
    folder: &'a Path,
    running: &'a Running,
    step: u32,
    commands: u32,
    /// Requests that the edits by hand took.
    by_hand: usize,
    /// Those of them that were writes.
    hand_writes: usize,
}

impl Stage<'_> {
    async fn play(&mut self) -> Result<()> {
        self.title("Three simulated Proxmox VE clusters start on this machine: production (three nodes), staging, disaster-recovery.").await?;
        sim::write_env(&self.folder.join(".env"), self.running.endpoints())?;
        self.title("The settings in .env lead there; each cluster is asked how it is.").await?;
        self.pvefleet("clusters check", 0, true).await?;
        self.title("What would change? A plan only reads; this one is saved as well.").await?;
        self.pvefleet(&format!("plan {PATH} -o text -o json=plan.json"), 0, true).await?;
        self.title(
            "Make it so, exactly as planned: several guests at once, every guest read before and after each write.",
        )
        .await?;
        self.pvefleet("apply --plan plan.json", 0, false).await?;
        self.title("Planning again finds nothing to do; with --detailed-exitcode, 2 would mean changes.").await?;
        self.pvefleet(&format!("plan {PATH} --detailed-exitcode"), 0, true).await?;
        self.title("Now somebody edits the clusters by hand.").await?;
        self.edit_by_hand().await?;
        self.title(
            "A scheduled job would notice. Exit code 2 is drift, 3 drift that needs a decision: disks do not shrink.",
        )
        .await?;
        self.pvefleet(&format!("drift {PATH}"), 3, true).await?;
        self.title("The larger disk is kept, so the manifest follows.").await?;
        self.follow_the_disk()?;
        self.title(
            "Everything else is put back as the manifest says. (Without --auto-approve, apply asks under the plan.)",
        )
        .await?;
        self.pvefleet(&format!("apply {PATH} --auto-approve"), 0, false).await?;
        self.title("And nothing is left to do.").await?;
        self.pvefleet(&format!("plan {PATH} --detailed-exitcode"), 0, true).await?;
        let all = self.since(&BTreeMap::new());
        let (requests, writes) = (all.len(), all.iter().filter(|method| *method != "GET").count());
        say(&format!(
            "\nDone: {} commands. The simulators logged {} requests from them, {} of them writes; the edits by hand took {} more.",
            self.commands,
            requests - self.by_hand,
            writes - self.hand_writes,
            self.by_hand
        ))
    }

    async fn title(&mut self, words: &str) -> Result<()> {
        if self.walk.pause && self.step > 0 {
            say("\n(Enter goes on)")?;
            // On a thread of its own, so that Ctrl-C is heard meanwhile.
            let read = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
            read.await?.context("cannot read from the terminal")?;
        }
        self.step += 1;
        say(&format!("\n{}. {words}", self.step))
    }

    /// Runs a command as printed, and checks its exit code and, where it should only read, the simulators' logs.
    async fn pvefleet(&mut self, arguments: &str, expected: i32, only_reads: bool) -> Result<()> {
        say(&format!("\n$ pvefleet {arguments}"))?;
        let before = self.marks();
        let mut command = Command::new(&self.walk.program);
        command.args(arguments.split_whitespace()).current_dir(self.folder).stdin(Stdio::null());
        // The demo's clusters alone, whatever is configured here; and no journal outside of the demo's folder.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PROXMOX_")) {
            command.env_remove(name);
        }
        command.env("XDG_STATE_HOME", self.folder.join("state"));
        let status =
            command.status().await.with_context(|| format!("{} cannot be run", self.walk.program.display()))?;
        self.commands += 1;
        let entries = self.since(&before);
        let writes = entries.iter().filter(|method| *method != "GET").count();
        let code = status.code().map_or_else(|| "none".to_owned(), |code| code.to_string());
        let kinds = if writes == 0 { "all of them GET".to_owned() } else { format!("{writes} of them writes") };
        say(&format!("  exit code {code}; the simulators logged {} requests, {kinds}", entries.len()))?;
        if status.code() != Some(expected) {
            bail!("`pvefleet {arguments}` ended with exit code {code} instead of {expected}");
        }
        if only_reads && writes > 0 {
            bail!("`pvefleet {arguments}` wrote");
        }
        if !only_reads && writes == 0 {
            bail!("`pvefleet {arguments}` wrote nothing");
        }
        Ok(())
    }

    /// How long each cluster's log is.
    fn marks(&self) -> BTreeMap<&'static str, usize> {
        CLUSTERS.iter().map(|name| (*name, self.running.access_log(name).len())).collect()
    }

    /// The methods of the requests since then.
    fn since(&self, marks: &BTreeMap<&'static str, usize>) -> Vec<String> {
        let of_cluster = |name: &&'static str| {
            let skip = marks.get(*name).copied().unwrap_or(0);
            self.running.access_log(name).into_iter().skip(skip).map(|entry| entry.method).collect::<Vec<_>>()
        };
        CLUSTERS.iter().flat_map(of_cluster).collect()
    }

    async fn edit_by_hand(&mut self) -> Result<()> {
        let before = self.marks();
        let hands = Hands::of(self.running, self.folder)?;
        let web = hands.find("production", "prod-web-01").await?;
        hands.change(&web, Method::Put, "/config", &[("memory", "1024")]).await?;
        say(&format!("   production: somebody sets the memory of prod-web-01 ({}) to 1 GiB", web.vmid))?;
        let db = hands.find("production", "prod-db-01").await?;
        hands.change(&db, Method::Put, "/resize", &[("disk", GROWN.0), ("size", "+4G")]).await?;
        say(&format!("   production: somebody grows {} of prod-db-01 ({}) by 4 GiB", GROWN.0, db.vmid))?;
        let ci = hands.find("staging", "stg-ci-01").await?;
        hands.change(&ci, Method::Post, "/status/stop", &[]).await?;
        hands.change(&ci, Method::Delete, "", &[]).await?;
        say(&format!("   staging: somebody stops and deletes stg-ci-01 ({})", ci.vmid))?;
        let vault = hands.find("disaster-recovery", "dr-vault-01").await?;
        hands.change(&vault, Method::Put, "/config", &[("delete", "tags")]).await?;
        say(&format!("   disaster-recovery: somebody removes the tags of dr-vault-01 ({})", vault.vmid))?;
        let methods = self.since(&before);
        self.by_hand = methods.len();
        self.hand_writes = methods.iter().filter(|method| *method != "GET").count();
        Ok(())
    }

    fn follow_the_disk(&self) -> Result<()> {
        let path = self.folder.join(PATH).join("production.yaml");
        let text = std::fs::read_to_string(&path)?;
        let (_, before, after) = GROWN;
        if text.matches(before).count() != 1 {
            bail!("the example does not have `{before}` once");
        }
        std::fs::write(&path, text.replace(before, after))?;
        say(&format!("   {PATH}/production.yaml: `{before}` becomes `{after}`"))
    }
}

/// The disk that is grown by hand, its size in the example, and the size that it has then.
const GROWN: (&str, &str, &str) = ("scsi1", "size: 20GiB", "size: 24GiB");

/// A guest as a person finds it.
struct Found {
    cluster: &'static str,
    node: String,
    kind: String,
    vmid: u64,
}

/// Somebody who edits the clusters through their API, as the web page does.
struct Hands(BTreeMap<&'static str, ClusterClient>);

impl Hands {
    fn of(running: &Running, folder: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(folder.join(".env"))?;
        let variables = Variables::merge(Vec::new(), &[(".env".to_owned(), text)]);
        let registry = environment::registry(&variables).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
        let pem = running.endpoints().first().map(|endpoint| endpoint.ca_pem.clone());
        let mut clients = BTreeMap::new();
        for name in CLUSTERS {
            let settings = registry.get(name).with_context(|| format!("no settings for {name}"))?;
            let transport = HttpTransport::new(settings, pem.clone())?;
            clients.insert(name, ClusterClient::new(name, Arc::new(transport)));
        }
        Ok(Self(clients))
    }

    fn client(&self, cluster: &str) -> Result<&ClusterClient> {
        self.0.get(cluster).with_context(|| format!("no client for {cluster}"))
    }

    async fn find(&self, cluster: &'static str, name: &str) -> Result<Found> {
        let client = self.client(cluster)?;
        let nodes = client.read(&Request::get("/nodes")).await?;
        for node in nodes.as_array().into_iter().flatten().filter_map(|row| row["node"].as_str()) {
            for kind in ["qemu", "lxc"] {
                let guests = client.read(&Request::get(format!("/nodes/{node}/{kind}"))).await?;
                let found = guests.as_array().into_iter().flatten().find(|row| row["name"] == name);
                if let Some(vmid) = found.and_then(|row| row["vmid"].as_u64()) {
                    return Ok(Found { cluster, node: node.to_owned(), kind: kind.to_owned(), vmid });
                }
            }
        }
        bail!("{cluster} has no {name} to edit")
    }

    async fn change(&self, guest: &Found, method: Method, tail: &str, parameters: &[(&str, &str)]) -> Result<()> {
        let client = self.client(guest.cluster)?;
        let path = format!("/nodes/{}/{}/{}{tail}", guest.node, guest.kind, guest.vmid);
        let request =
            parameters.iter().fold(Request::new(method, path), |request, (name, value)| request.with(*name, *value));
        let answer = client.write(&request).await?;
        if let Some(upid) = answer.as_str().and_then(|text| text.parse::<Upid>().ok()) {
            let end = client.wait_task(&upid, &|_| {}).await?;
            if !end.is_success() {
                bail!("{method} {tail} of {} failed: {end:?}", guest.vmid);
            }
        }
        Ok(())
    }
}

fn say(text: &str) -> Result<()> {
    output::stdout(&format!("{text}\n"))
}
