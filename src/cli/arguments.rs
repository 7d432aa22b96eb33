//! The arguments as typed.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use super::output::{FindingsFormat, ManifestFormat, OutcomeFormat, Output, PlanFormat};
use crate::plan::Acceptance;
use crate::plan::Class;
use crate::report::plan_markdown;

/// Declarative reconciler for fleets of Proxmox VE clusters.
///
/// A manifest in YAML lists the VMs and containers wanted in each of several clusters. `plan` shows what would change,
/// `apply` does exactly that, `drift` tells a scheduled job whether reality still agrees. There is no state file:
/// what must be remembered is written on the guests.
///
/// New here? `pvefleet demo` shows everything against simulated clusters, in a few seconds.
#[derive(Debug, Parser)]
#[command(
    name = "pvefleet",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// Read cluster settings from this file instead of `.env` in the current folder; may be repeated.
    ///
    /// What the environment sets wins over any file, and an earlier file over a later one.
    #[arg(long, value_name = "FILE", global = true, help_heading = "Global options")]
    pub env_file: Vec<PathBuf>,
    /// When to use colours.
    #[arg(long, value_name = "WHEN", global = true, default_value = "auto", help_heading = "Global options")]
    pub color: ColorChoice,
    /// Say less: no progress, no notes; errors and the document remain.
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub quiet: bool,
    /// Log each request on standard error: method, path, status, time, address, attempt; twice: names of parameters too.
    ///
    /// No value that is sent and no credential is ever logged.
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
    /// How requests are logged.
    #[arg(long, value_name = "FORMAT", global = true, default_value = "text", help_heading = "Global options")]
    pub log_format: LogFormat,
}

/// How requests are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A line of JSON each.
    Json,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a manifest without asking any cluster.
    ///
    /// Reads the manifest and the cluster settings, and reports every problem of every file at once, each with its
    /// line and what to do. Exit code 0 when it can be planned with, 64 when not.
    #[command(
        after_help = "Examples:\n  pvefleet validate examples/homelab\n  pvefleet validate . -o github -o sarif=findings.sarif"
    )]
    Validate(Validate),
    /// Show a manifest resolved: routed, merged, each template replaced.
    ///
    /// What is printed is a manifest again, for the same fleet. Secrets that stand in the manifest are left out. Asks no
    /// cluster. Exit code 64 when the manifest has errors.
    #[command(
        after_help = "Examples:\n  pvefleet show examples/homelab\n  pvefleet show examples/homelab prod-web-01 --origin"
    )]
    Show(ShowCommand),
    /// Write a manifest and settings to start from.
    ///
    /// Makes DIR/fleet.yaml, with comments that say what can stand there, and DIR/.env with a place for the address and
    /// the token of each cluster. Nothing that exists is overwritten.
    #[command(after_help = "Example:\n  pvefleet init homelab --cluster production --cluster staging")]
    Init(InitCommand),
    /// Show what would change. Sends nothing but reads.
    ///
    /// Reads the clusters that the manifest names, compares them with it, and prints the changes: what is made,
    /// changed or destroyed, field by field, what each costs, and what stands in the way.
    ///
    /// Exit code: 0; 1 when something could not be read (the plan is still printed); 3 when a change is blocked; with
    /// --detailed-exitcode 2 when there are changes; 64 when the input is wrong.
    #[command(
        after_help = "Examples:\n  pvefleet plan examples/homelab\n  pvefleet plan examples/homelab -o json=plan.json --detailed-exitcode"
    )]
    Plan(PlanCommand),
    /// Show a saved plan in any format, one guest of it whole, or what another plan does differently.
    ///
    /// Exit code 0; with OTHER 2 when the plans differ; 64 when a file is no plan.
    #[command(
        after_help = "Examples:\n  pvefleet plan-show plan.json -o markdown\n  pvefleet plan-show plan.json --target prod-web-01\n  pvefleet plan-show reviewed.json plan.json"
    )]
    PlanShow(PlanShowCommand),
    /// Make the clusters as the manifest says.
    ///
    /// Plans, shows the plan, asks, and carries it out: each guest's steps in order, several guests at once, every
    /// guest read before and after each write. Run it again after any interruption: it goes on where it was.
    ///
    /// After Ctrl-C or SIGTERM nothing new is sent, and what runs is waited for; after a second one it leaves at once and
    /// names the tasks that go on, which the next run joins. A reader that goes away, as in `| head`, stops nothing.
    ///
    /// Exit code: 0 done or nothing to do; 1 an error, or you said no; 3 all that is left is blocked; 4 the plan is
    /// stale (--plan-id); 5 something of the plan is not done; 6 applied, and differences are left; 64 the input is
    /// wrong or approval is missing.
    #[command(
        after_help = "Examples:\n  pvefleet apply examples/homelab\n  pvefleet apply examples/homelab --auto-approve\n  pvefleet apply --plan plan.json"
    )]
    Apply(ApplyCommand),
    /// Carry a plan out against simulated clusters that hold what the real ones hold.
    ///
    /// Reads the clusters whole, then says what apply would do, in which order, about how long it would take, and
    /// whether anything would be left to do. No write reaches a cluster. Files such as images and templates are taken
    /// to be there. --faults shows what a failure in the middle would leave.
    ///
    /// Exit code: that which apply would have.
    #[command(
        after_help = "Examples:\n  pvefleet rehearse examples/homelab\n  pvefleet rehearse --plan plan.json --faults faults.yaml"
    )]
    Rehearse(RehearseCommand),
    /// Tell whether the clusters still are as the manifest says. Sends nothing but reads.
    ///
    /// The same comparison as `plan`, for a scheduled job.
    ///
    /// Exit code: 0 no drift; 1 something could not be read; 2 drift; 3 drift that a plan could not mend, because
    /// something is blocked; 64 the input is wrong.
    #[command(after_help = "Example:\n  pvefleet drift examples/homelab || notify-send 'the fleet has drifted'")]
    Drift(DriftCommand),
    /// Write what the clusters hold to a file, to plan with where nobody may ask them.
    ///
    /// Reads every guest that the credentials see and every list that a plan checks against. The document holds no
    /// credentials, and the settings that route guests; it does hold the guests' configurations. `plan --live` and
    /// `validate --live` take it in place of the clusters.
    ///
    /// Exit code: 0; 1 when something could not be read (the document says what); 64 when the settings are wrong.
    #[command(
        after_help = "Example:\n  pvefleet snapshot -o json=live.json\n  pvefleet plan examples/homelab --live live.json"
    )]
    Snapshot(SnapshotCommand),
    /// Say what an option of a guest is, what it may be, and what a change of it costs.
    ///
    /// Proxmox's options by their own names, with or without index (`net`, `net0`, `net0.tag`), and pvefleet's own keys.
    /// Without a name, all of them are listed.
    #[command(
        after_help = "Examples:\n  pvefleet explain vm\n  pvefleet explain vm scsi0\n  pvefleet explain container mp0.backup"
    )]
    Explain(ExplainCommand),
    /// Look at the configured clusters.
    #[command(subcommand)]
    Clusters(Clusters),
    /// Look at the guests of all clusters, whoever made them.
    #[command(subcommand)]
    Guests(Guests),
    /// Look at the tasks of all clusters.
    #[command(subcommand)]
    Tasks(Tasks),
    /// Look at the journal of an apply.
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Run simulated Proxmox VE clusters on this machine.
    ///
    /// Each answers like a real one, over HTTPS on a port of 127.0.0.1, until Ctrl-C. `production` has three nodes,
    /// every other name one. All have a VM template `debian-12`, a container template, and guests of somebody else.
    #[command(
        after_help = "Example:\n  pvefleet sim --clusters production,staging,disaster-recovery --env-out .env\nthen, in another terminal in the same folder:\n  pvefleet plan examples/homelab"
    )]
    Sim(SimCommand),
    /// See the whole way once, against three simulated clusters.
    ///
    /// Plans and applies an example, edits the clusters by hand, finds the drift and heals it. Every command shown is
    /// run as shown. Takes a few seconds, needs no Proxmox, leaves nothing behind.
    Demo(DemoCommand),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  pvefleet completions bash > /etc/bash_completion.d/pvefleet")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    #[command(after_help = "Example:\n  pvefleet man | man -l -")]
    Man,
}

/// Where the manifest is, and where the document goes.
#[derive(Debug, Args)]
pub struct Document {
    /// Write the document as text or json, to standard output or to FILE; may be repeated.
    ///
    /// A file is written whole or not at all, readable by you alone.
    #[arg(short, long = "output", value_name = "FORMAT[=FILE]", default_value = "text")]
    pub output: Vec<Output>,
}

/// Where a plan goes.
#[derive(Debug, Args)]
pub struct PlanDocument {
    /// Write the plan as text, diff, markdown, json or github, to standard output or to FILE; may be repeated.
    ///
    /// `markdown` is for the comment of a merge request, `github` prints annotations of a workflow, `json` is what
    /// `apply --plan` carries out. A file is written whole or not at all, readable by you alone.
    #[arg(short, long = "output", value_name = "FORMAT[=FILE]", default_value = "text")]
    pub output: Vec<Output<PlanFormat>>,
    /// Bytes that the markdown may have; details are left out first, and what destroys never.
    #[arg(long, value_name = "BYTES", default_value_t = plan_markdown::LIMIT, value_parser = markdown_limit)]
    pub markdown_limit: usize,
}

fn markdown_limit(text: &str) -> Result<usize, String> {
    let limit: usize = text.parse().map_err(|_| "write a number of bytes".to_owned())?;
    if limit < plan_markdown::LEAST {
        return Err(format!("at least {} bytes are needed", plan_markdown::LEAST));
    }
    Ok(limit)
}

/// Values for the variables of a manifest.
#[derive(Debug, Args)]
pub struct Variables {
    /// Give a variable of the manifest this value; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub var: Vec<(String, String)>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// What a run covers and what it may do.
#[derive(Debug, Args)]
pub struct Selection {
    /// Delete guests that bear this fleet's mark and are not in the manifest, within the guards.
    #[arg(long)]
    pub prune: bool,
    /// Accept one thing that is refused otherwise, as the refusal words it; may be repeated.
    ///
    /// KIND is delete (a guest), detach (a drive), adopt (a guest that is not ours) or reboot (beyond the guards).
    #[arg(long, value_name = "KIND:CLUSTER/GUEST[/DRIVE]")]
    pub accept: Vec<Acceptance>,
    /// Only this cluster, or those of region=NAME or tier=NAME; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub cluster: Vec<String>,
    /// Only this guest, GUEST or CLUSTER/GUEST; may be repeated.
    #[arg(long, value_name = "GUEST")]
    pub target: Vec<String>,
}

/// `validate`.
#[derive(Debug, Args)]
pub struct Validate {
    /// A manifest file, or a folder of them.
    pub path: PathBuf,
    /// Check also against this snapshot of the clusters: nodes, storages, bridges, pools, clone sources, versions.
    #[arg(long, value_name = "FILE")]
    pub live: Option<PathBuf>,
    /// Variables.
    #[command(flatten)]
    pub variables: Variables,
    /// Write the problems as text, json, github or sarif, to standard output or to FILE; may be repeated.
    ///
    /// `github` prints annotations of a GitHub workflow, `sarif` a file for code scanning.
    #[arg(short, long = "output", value_name = "FORMAT[=FILE]", default_value = "text")]
    pub output: Vec<Output<FindingsFormat>>,
}

/// `snapshot`.
#[derive(Debug, Args)]
pub struct SnapshotCommand {
    /// Only this cluster, or those of region=NAME or tier=NAME; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub cluster: Vec<String>,
    /// Write the document as json, or a line for each cluster as text, to standard output or to FILE; may be repeated.
    ///
    /// A file is written whole or not at all, readable by you alone.
    #[arg(short, long = "output", value_name = "FORMAT[=FILE]", default_value = "json")]
    pub output: Vec<Output>,
}

/// `show`.
#[derive(Debug, Args)]
pub struct ShowCommand {
    /// A manifest file, or a folder of them.
    pub path: PathBuf,
    /// Only this guest, GUEST or CLUSTER/GUEST.
    pub guest: Option<String>,
    /// Say of each value which layer it came from, and where that stands.
    #[arg(long)]
    pub origin: bool,
    /// Variables.
    #[command(flatten)]
    pub variables: Variables,
    /// Write the manifest as yaml or json, to standard output or to FILE; may be repeated.
    #[arg(short, long = "output", value_name = "FORMAT[=FILE]", default_value = "yaml")]
    pub output: Vec<Output<ManifestFormat>>,
}

/// `init`.
#[derive(Debug, Args)]
pub struct InitCommand {
    /// The folder to write to; it is made where it does not exist.
    pub dir: PathBuf,
    /// A cluster to have a place for; may be repeated, and the first is the default one.
    #[arg(long, value_name = "NAME", required = true)]
    pub cluster: Vec<String>,
}

/// `plan`.
#[derive(Debug, Args)]
pub struct PlanCommand {
    /// A manifest file, or a folder of them.
    pub path: PathBuf,
    /// Plan with this snapshot in place of the clusters; needs neither network nor credentials.
    #[arg(long, value_name = "FILE")]
    pub live: Option<PathBuf>,
    /// Variables.
    #[command(flatten)]
    pub variables: Variables,
    /// Selection.
    #[command(flatten)]
    pub selection: Selection,
    /// Output.
    #[command(flatten)]
    pub document: PlanDocument,
    /// Exit with 2 when there are changes.
    #[arg(long)]
    pub detailed_exitcode: bool,
}

/// `drift`.
#[derive(Debug, Args)]
pub struct DriftCommand {
    /// A manifest file, or a folder of them.
    pub path: PathBuf,
    /// Variables.
    #[command(flatten)]
    pub variables: Variables,
    /// Only this cluster, or those of region=NAME or tier=NAME; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub cluster: Vec<String>,
    /// Only this guest, GUEST or CLUSTER/GUEST; may be repeated.
    #[arg(long, value_name = "GUEST")]
    pub target: Vec<String>,
    /// Output.
    #[command(flatten)]
    pub document: PlanDocument,
    /// Also count what waits for a reboot, and options that are set and not listed.
    #[arg(long)]
    pub strict: bool,
    /// Exit with 2 or 3 only for this class of difference; may be repeated.
    ///
    /// CLASS is changed, missing, orphan, pending or unlisted. What could not be read is exit code 1 in any case.
    #[arg(long, value_name = "CLASS", value_parser = class)]
    pub fail_on: Vec<Class>,
    /// Compare with this snapshot in place of the clusters.
    #[arg(long, value_name = "FILE")]
    pub live: Option<PathBuf>,
}

fn class(text: &str) -> Result<Class, String> {
    let known = Class::ALL.iter().filter(|class| **class != Class::Unknown);
    known.clone().find(|class| class.word() == text).copied().ok_or_else(|| {
        let words: Vec<&str> = known.map(|class| class.word()).collect();
        format!("write {}", words.join(", "))
    })
}

/// `rehearse`.
#[derive(Debug, Args)]
pub struct RehearseCommand {
    /// A manifest file, or a folder of them.
    #[arg(required_unless_present = "plan", conflicts_with = "plan")]
    pub path: Option<PathBuf>,
    /// Variables.
    #[command(flatten)]
    pub variables: Variables,
    /// Rehearse this saved plan.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["var", "prune", "accept", "cluster", "target"])]
    pub plan: Option<PathBuf>,
    /// Selection.
    #[command(flatten)]
    pub selection: Selection,
    /// Begin with this snapshot in place of the clusters as they are now.
    #[arg(long, value_name = "FILE")]
    pub live: Option<PathBuf>,
    /// Let these faults happen, as `sim --faults` does.
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,
    /// Guests worked on at once, over all clusters; by default 12 for each of their nodes, and 16 to 256.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub parallel: Option<u16>,
    /// Output.
    #[command(flatten)]
    pub document: Document,
}

/// `plan-show`.
#[derive(Debug, Args)]
pub struct PlanShowCommand {
    /// A saved plan: `plan -o json=FILE`.
    pub file: PathBuf,
    /// Another one: say in words what it does differently.
    #[arg(conflicts_with_all = ["target", "output"])]
    pub other: Option<PathBuf>,
    /// Tell everything about one guest, GUEST or CLUSTER/GUEST: each field with its origin, each call, what it rests on.
    #[arg(long, value_name = "GUEST", conflicts_with = "output")]
    pub target: Option<String>,
    /// Output.
    #[command(flatten)]
    pub document: PlanDocument,
}

/// `apply`.
#[derive(Debug, Args)]
pub struct ApplyCommand {
    /// A manifest file, or a folder of them.
    #[arg(required_unless_present = "plan", conflicts_with = "plan")]
    pub path: Option<PathBuf>,
    /// Variables.
    #[command(flatten)]
    pub variables: Variables,
    /// Carry out this saved plan (`plan -o json=FILE`); it is the approval.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["var", "prune", "accept", "cluster", "target", "plan_id", "auto_approve"])]
    pub plan: Option<PathBuf>,
    /// Go on only if planning gives this very plan; it is the approval.
    #[arg(long, value_name = "ID")]
    pub plan_id: Option<String>,
    /// Selection.
    #[command(flatten)]
    pub selection: Selection,
    /// Do not ask.
    #[arg(long)]
    pub auto_approve: bool,
    /// Guests worked on at once, over all clusters; by default 12 for each of their nodes, and 16 to 256.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub parallel: Option<u16>,
    /// Begin nothing new after the first failure.
    #[arg(long)]
    pub stop_on_error: bool,
    /// Give up waiting for one step after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
    /// Write a line of JSON before and after each call to this file; by default to one in the state folder.
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// Write what came of it as text, json or ndjson, to standard output or to FILE; may be repeated.
    ///
    /// `ndjson` is a line of JSON for each event, on standard output as they happen.
    #[arg(short, long = "output", value_name = "FORMAT[=FILE]", default_value = "text")]
    pub output: Vec<Output<OutcomeFormat>>,
}

/// `explain`.
#[derive(Debug, Args)]
pub struct ExplainCommand {
    /// The kind of guest.
    pub kind: GuestWord,
    /// An option or key, or one of an option's sub-keys.
    pub option: Option<String>,
    /// Output.
    #[command(flatten)]
    pub document: Document,
}

/// A kind of guest, as a person calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GuestWord {
    /// A virtual machine.
    #[value(aliases = ["vms", "qemu"])]
    Vm,
    /// A container.
    #[value(aliases = ["containers", "ct", "lxc"])]
    Container,
}

/// `clusters`.
#[derive(Debug, Subcommand)]
pub enum Clusters {
    /// List the configured clusters, without asking them.
    List {
        /// Output.
        #[command(flatten)]
        document: Document,
    },
    /// Show the certificate that a cluster's server shows, and the line for `.env` that trusts it.
    ///
    /// Nothing is sent but the greeting. Compare the fingerprint with the one that Proxmox shows under System /
    /// Certificates, on the node itself, before you trust it.
    Trust {
        /// The cluster.
        name: String,
    },
    /// Ask each cluster who it is and whether it is well.
    ///
    /// Tries every address with its certificate, the credential, the version, the quorum and the clock; with --for also
    /// whether the credential holds the privileges that a manifest needs.
    ///
    /// Exit code 0 when all are online and nothing is lacking, 1 when not, 64 when the settings are wrong.
    #[command(after_help = "Examples:\n  pvefleet clusters check\n  pvefleet clusters check --for examples/homelab")]
    Check {
        /// Also hold the privileges against those that this manifest needs.
        #[arg(long = "for", value_name = "PATH")]
        manifest: Option<PathBuf>,
        /// Only this cluster, or those of region=NAME or tier=NAME; may be repeated.
        #[arg(long, value_name = "NAME")]
        cluster: Vec<String>,
        /// Output.
        #[command(flatten)]
        document: Document,
    },
}

/// `guests`.
#[derive(Debug, Subcommand)]
pub enum Guests {
    /// List every guest that the credentials see.
    ///
    /// Exit code 0; 1 when a cluster could not be read (the others are listed); 64 when the settings are wrong.
    #[command(after_help = "Example:\n  pvefleet guests list --cluster production")]
    List {
        /// Only this cluster, or those of region=NAME or tier=NAME; may be repeated.
        #[arg(long, value_name = "NAME")]
        cluster: Vec<String>,
        /// Output.
        #[command(flatten)]
        document: Document,
    },
    /// Show one guest with its configuration.
    ///
    /// A bare name or id is sought by the rules that route guests, and in every cluster where none of them applies.
    #[command(after_help = "Examples:\n  pvefleet guests show prod-web-01\n  pvefleet guests show production/100")]
    Show {
        /// A name or an id, or CLUSTER/GUEST.
        guest: String,
        /// Output.
        #[command(flatten)]
        document: Document,
    },
}

/// `journal`.
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Show what was sent, when, and what came of it.
    ///
    /// Also of a run that was killed: a write without an end is named, and the plan that goes on from there.
    #[command(after_help = "Example:\n  pvefleet journal show ~/.local/state/pvefleet/*.jsonl")]
    Show {
        /// A file that `apply` wrote; see its note, or --journal.
        file: PathBuf,
        /// Output.
        #[command(flatten)]
        document: Document,
    },
}

/// `tasks`.
#[derive(Debug, Subcommand)]
pub enum Tasks {
    /// List the last tasks of the clusters, newest first.
    ///
    /// Exit code 0; 1 when a cluster could not be read (the others are listed); 64 when the settings are wrong.
    #[command(after_help = "Example:\n  pvefleet tasks list --running")]
    List {
        /// Only this cluster, or those of region=NAME or tier=NAME; may be repeated.
        #[arg(long, value_name = "NAME")]
        cluster: Vec<String>,
        /// Only tasks that run now.
        #[arg(long)]
        running: bool,
        /// Output.
        #[command(flatten)]
        document: Document,
    },
    /// Print the log of a task.
    #[command(after_help = "Example:\n  pvefleet tasks log UPID:pve1:000002FC:0005D906:6B02949B:qmclone:111:root@pam:")]
    Log {
        /// The task's id.
        upid: String,
        /// Its cluster; by default the one that has the task's node.
        #[arg(long, value_name = "NAME")]
        cluster: Option<String>,
        /// So many lines from its end.
        #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        lines: u32,
    },
}

/// `sim`.
#[derive(Debug, Args)]
pub struct SimCommand {
    /// Names of built-in clusters, separated by commas; production,staging,disaster-recovery if nothing is said.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with = "world")]
    pub clusters: Option<Vec<String>>,
    /// Clusters of your own: a file as `--print-world` prints one.
    #[arg(long, value_name = "FILE")]
    pub world: Option<PathBuf>,
    /// Print the built-in clusters as a world file, and end.
    #[arg(long, action = ArgAction::SetTrue)]
    pub print_world: bool,
    /// Keep what the clusters hold in this file, and go on from it the next time.
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Seconds between two looks whether there is something new to keep.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, requires = "state")]
    pub save_every: u64,
    /// What goes wrong: a file of faults.
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,
    /// Milliseconds that every request takes.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(..=3_600_000))]
    pub latency: Option<u64>,
    /// Requests that a node carries out at a time; the others wait for one of so many workers.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=127))]
    pub workers: Option<u32>,
    /// Let calls keep a worker as long as measured on a small real node, or no time at all.
    #[arg(long, value_name = "WHICH")]
    pub service_times: Option<ServiceTimesArgument>,
    /// Let tasks take so many times as long; 0 for no time at all.
    #[arg(long, value_name = "FACTOR", value_parser = factor)]
    pub time_scale: Option<f64>,
    /// Write settings for pvefleet to this file, and the certificate authority beside it.
    #[arg(long, value_name = "FILE")]
    pub env_out: Option<PathBuf>,
    /// Once the clusters answer, print one line of JSON with addresses, tokens and certificate authority.
    #[arg(long, action = ArgAction::SetTrue)]
    pub json: bool,
    /// Write the same line to this file.
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// First port; each further cluster takes the next. By default the system chooses.
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Write each request down as it is answered, to FILE or to standard output.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub access_log: Option<PathBuf>,
    /// Seed of all chance: MAC addresses, uuids.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// How long calls take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ServiceTimesArgument {
    /// No time at all.
    None,
    /// As measured.
    Measured,
}

/// A factor that makes times longer or shorter.
fn factor(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if number.is_finite() && (0.0..=1e6).contains(&number) {
        Ok(number)
    } else {
        Err("it is not from 0 to 1000000".to_owned())
    }
}

/// `demo`.
#[derive(Debug, Args)]
pub struct DemoCommand {
    /// Wait for Enter between the steps.
    #[arg(long)]
    pub pause: bool,
    /// Leave the clusters running at the end, and say how to go on by hand.
    #[arg(long)]
    pub keep: bool,
}
