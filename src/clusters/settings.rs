//! The settings as values, after reading and checking.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pve::value::Vmid;
use crate::secret::Secret;

/// Every configured cluster, and the rules that route guests to them.
#[derive(Debug, Clone)]
pub struct Registry {
    /// In the order of `PROXMOX_CLUSTERS`; the first is the default cluster. Never empty.
    pub clusters: Vec<ClusterSettings>,
    /// `PROXMOX_CLUSTER_PATTERNS`, in order.
    pub patterns: Vec<Pattern>,
    /// `PROXMOX_CLUSTER_VMID_RANGES`, in order.
    pub ranges: Vec<(VmidRange, String)>,
    /// `PROXMOX_CLUSTER_VALIDATION`.
    pub validation: bool,
    /// `PROXMOX_CLUSTER_CACHE_TTL`.
    pub cache_ttl: Duration,
    /// False where the single-cluster variables made one cluster named `default`.
    pub multi: bool,
}

/// One pair of `PROXMOX_CLUSTER_PATTERNS`.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// The prefix as written, or the regular expression after `re:`.
    pub text: String,
    /// Compiled, for `re:` patterns; anchored at the start.
    pub regex: Option<regex::Regex>,
    /// The cluster it routes to.
    pub cluster: String,
}

/// An inclusive range of guest ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmidRange {
    /// First id.
    pub first: Vmid,
    /// Last id.
    pub last: Vmid,
}

impl VmidRange {
    /// True when the id lies in the range.
    pub fn contains(self, vmid: Vmid) -> bool {
        self.first <= vmid && vmid <= self.last
    }
}

/// One cluster's settings.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// Its name in our files.
    pub name: String,
    /// `https://host:8006`, without a trailing slash; at least one, all of the same cluster.
    pub endpoints: Vec<String>,
    /// How to log in.
    pub credentials: Credentials,
    /// How the server's certificate is checked.
    pub tls: Tls,
    /// Node for a new guest that names none.
    pub default_node: Option<String>,
    /// Storage for a new disk that names none.
    pub default_storage: Option<String>,
    /// Bridge for a new NIC that names none.
    pub default_bridge: Option<String>,
    /// Shown, and usable in selectors.
    pub region: Option<String>,
    /// Shown, and usable in selectors.
    pub tier: Option<String>,
    /// What this tool may do there.
    pub access: Access,
    /// How many requests may be under way at once.
    pub limits: Limits,
    /// How many steps that make or destroy volumes may be under way at once.
    pub allocations: Allocations,
}

/// How many steps that make or destroy volumes may be under way at once. Each takes its storage's lock, and who waits for
/// that gives up after ten seconds: more than the storage takes are slower, and fail.
///
/// The defaults were measured with `examples/apply_bench.rs`: with fewer the lock is idle while tasks are begun and
/// awaited, and with more they wait at the server in place of here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocations {
    /// `MAX_ALLOCATIONS_PER_STORAGE`: on one storage; of a local one, on one node.
    pub per_storage: usize,
    /// `MAX_ALLOCATIONS_PER_NODE`: on one node.
    pub per_node: usize,
    /// `MAX_ALLOCATIONS`: in the whole cluster.
    pub in_all: usize,
}

impl Allocations {
    /// The highest that `MAX_ALLOCATIONS_PER_STORAGE` and `MAX_ALLOCATIONS_PER_NODE` take.
    pub const MOST_PER_PLACE: usize = 64;
    /// The highest that `MAX_ALLOCATIONS` takes.
    pub const MOST: usize = 256;
}

impl Default for Allocations {
    fn default() -> Self {
        Self { per_storage: 6, per_node: 6, in_all: 24 }
    }
}

/// How many requests may be under way at once. More than a node has workers for only wait there, and keep it from
/// others; fewer leave it idle between an answer and the next request.
///
/// The defaults were measured with `examples/read_bench.rs`: for one node four are too few and twelve no faster than
/// eight; in all, each connection costs its TLS handshake, so that for sixteen nodes 96 are faster than 64 and than 128.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `MAX_REQUESTS_PER_NODE`: for one node. Proxmox has three workers there; more than eight at once gain nothing.
    pub per_node: usize,
    /// `MAX_REQUESTS`: in the whole cluster.
    pub in_all: usize,
}

impl Limits {
    /// The highest that `MAX_REQUESTS_PER_NODE` takes: five times as many as there are workers.
    pub const MOST_PER_NODE: usize = 16;
    /// The highest that `MAX_REQUESTS` takes.
    pub const MOST: usize = 1024;
}

impl Default for Limits {
    fn default() -> Self {
        Self { per_node: 8, in_all: 96 }
    }
}

/// API token, ticket login, or both; at least one is there.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// The token, used for everything it can do.
    pub token: Option<Token>,
    /// User and password, for options that only `root@pam` may set, or for everything without a token.
    pub login: Option<TicketLogin>,
}

/// An API token.
#[derive(Debug, Clone)]
pub struct Token {
    /// `user@realm!name`.
    pub id: String,
    /// The secret.
    pub secret: Secret,
}

/// User name and password.
#[derive(Debug, Clone)]
pub struct TicketLogin {
    /// `user@realm`.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// How the server's certificate is checked.
#[derive(Debug, Clone)]
pub enum Tls {
    /// Against the system's roots.
    System,
    /// Against the certificates of this PEM file, read by whoever connects.
    CaFile(String),
    /// By the SHA-256 of the server's own certificate; several where each endpoint shows its own.
    Fingerprint(Vec<[u8; 32]>),
    /// Not at all (`VERIFY=false`).
    Unverified,
}

/// What this tool may do in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Read only: every change there is blocked.
    Read,
    /// Read and write.
    #[default]
    Apply,
}

impl ClusterSettings {
    /// A name and nothing else: it cannot be connected to.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            endpoints: Vec::new(),
            credentials: Credentials::default(),
            tls: Tls::System,
            default_node: None,
            default_storage: None,
            default_bridge: None,
            region: None,
            tier: None,
            access: Access::default(),
            limits: Limits::default(),
            allocations: Allocations::default(),
        }
    }
}

impl Credentials {
    /// True where `root@pam` itself can log in, which some options need.
    pub fn as_root(&self) -> bool {
        self.login.as_ref().is_some_and(TicketLogin::is_root)
    }
}

impl TicketLogin {
    /// True for the one user whom no privilege binds.
    pub fn is_root(&self) -> bool {
        self.username == "root@pam"
    }
}

impl Registry {
    /// Clusters by name alone, without rules: the longest name that begins a guest's name routes it.
    pub fn of_names(names: impl IntoIterator<Item = String>) -> Self {
        Self {
            clusters: names.into_iter().map(ClusterSettings::named).collect(),
            patterns: Vec::new(),
            ranges: Vec::new(),
            validation: true,
            cache_ttl: Self::CACHE_TTL,
            multi: true,
        }
    }

    /// How long a client is reused where nothing else is set.
    pub const CACHE_TTL: Duration = Duration::from_secs(3600);

    /// The settings of a cluster by name.
    pub fn get(&self, name: &str) -> Option<&ClusterSettings> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    /// The default cluster's name.
    pub fn default_cluster(&self) -> &str {
        self.clusters.first().map_or("", |cluster| cluster.name.as_str())
    }

    /// The settings by name.
    pub fn by_name(&self) -> BTreeMap<&str, &ClusterSettings> {
        self.clusters.iter().map(|cluster| (cluster.name.as_str(), cluster)).collect()
    }
}

impl Pattern {
    /// A pattern as it is written: a prefix, or a regular expression after `re:`.
    ///
    /// # Errors
    ///
    /// When it is no regular expression.
    pub fn read(text: &str, cluster: &str) -> Result<Self, String> {
        super::syntax::pattern(text, cluster)
    }

    /// True when a guest of this name belongs to the pattern's cluster.
    pub fn matches(&self, name: &str) -> bool {
        match &self.regex {
            Some(regex) => regex.is_match(name),
            None => name.starts_with(&self.text),
        }
    }
}
