//! All configured clusters: one client each, made when it is asked for, and the rule which cluster a call is for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::http::{HttpOptions, HttpTransport};
use super::{Action, ClientOptions, ClusterClient, Discover, Guest, Params};
use crate::clusters::{ClusterSettings, Registry, SelectError, Selection, Tls};
use crate::pve::http::ApiError;
use crate::pve::value::{GuestKind, Upid, Vmid};

/// Why a call of several clusters failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// No cluster bears this name.
    #[error("Cluster not found: {0}")]
    ClusterNotFound(String),
    /// It is configured, and cannot be connected to.
    #[error("Cannot connect to cluster '{0}': {1}")]
    ClusterConnection(String, String),
    /// What is known of the guest leads to several clusters, or to none for certain.
    #[error(
        "Ambiguous cluster selection for '{resource}'. Candidates: {}. Please specify cluster explicitly.",
        candidates.join(", ")
    )]
    AmbiguousClusterSelection {
        /// The guest.
        resource: String,
        /// The clusters, sorted.
        candidates: Vec<String>,
    },
    /// It was asked, and refused.
    #[error("cluster '{0}': {1}")]
    Api(String, #[source] ApiError),
}

impl ClusterError {
    /// The error of a call to this cluster.
    pub fn of_call(cluster: &str, error: ApiError) -> Self {
        match error {
            ApiError::Connection(reason) | ApiError::Tls(reason) => Self::ClusterConnection(cluster.to_owned(), reason),
            error => Self::Api(cluster.to_owned(), error),
        }
    }
}

impl From<SelectError> for ClusterError {
    fn from(error: SelectError) -> Self {
        match error {
            SelectError::ClusterNotFound(name) => Self::ClusterNotFound(name),
            SelectError::AmbiguousClusterSelection { resource, candidates } => {
                Self::AmbiguousClusterSelection { resource, candidates }
            }
        }
    }
}

/// What is known of the guest that a call is about; the rule of [`Registry::select`] finds its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Target<'a> {
    /// The cluster, where it is known.
    pub cluster: Option<&'a str>,
    /// The guest's name.
    pub name: Option<&'a str>,
    /// The guest's id.
    pub vmid: Option<Vmid>,
}

impl Target<'_> {
    fn resource(&self) -> String {
        self.name.map(str::to_owned).or_else(|| self.vmid.map(|vmid| vmid.to_string())).unwrap_or_default()
    }
}

/// Gives the text of a file.
pub type ReadFile = Box<dyn Fn(&str) -> std::io::Result<String> + Send + Sync>;
/// Gives a cluster's settings as they are now, or says why there are none.
pub type Reload = Box<dyn Fn(&str) -> Result<ClusterSettings, String> + Send + Sync>;

/// How clients are made.
pub struct Connect {
    /// Gives the text of the file that a `CA_FILE` names.
    pub read_file: ReadFile,
    /// Reads a cluster's settings anew, when its client has been used for the time that `CACHE_TTL` gives, or the
    /// server refused its credentials. Without it, the settings stay as they were.
    pub reload: Option<Reload>,
    /// How long each transport waits, and who watches it.
    pub http: HttpOptions,
    /// A cluster may take so long for what [`MultiClusterClient::each`] runs.
    pub deadline: Duration,
}

impl Connect {
    /// Defaults, with this way to read files.
    pub fn new(read_file: impl Fn(&str) -> std::io::Result<String> + Send + Sync + 'static) -> Self {
        Self {
            read_file: Box::new(read_file),
            reload: None,
            http: HttpOptions::default(),
            deadline: Duration::from_secs(120),
        }
    }
}

/// A client for each configured cluster. Cloning is cheap; all clones are the same client.
///
/// A cluster whose settings cannot work is an error only where it is asked for.
#[derive(Clone)]
pub struct MultiClusterClient {
    shared: Arc<Shared>,
}

struct Shared {
    registry: Registry,
    connect: Connect,
    /// Clients that were given, and are never made anew.
    given: bool,
    made: Mutex<BTreeMap<String, Made>>,
}

/// A client, and when its credentials were read.
struct Made {
    client: ClusterClient,
    since: Instant,
}

impl MultiClusterClient {
    /// Takes the settings; nothing is sent. `read_file` gives the text of the file that a `CA_FILE` names.
    pub fn connect(
        registry: &Registry,
        read_file: impl Fn(&str) -> std::io::Result<String> + Send + Sync + 'static,
    ) -> Self {
        Self::connect_with(registry, Connect::new(read_file))
    }

    /// The same with options.
    pub fn connect_with(registry: &Registry, connect: Connect) -> Self {
        let shared = Shared { registry: registry.clone(), connect, given: false, made: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Takes clients as they are: over simulated clusters, say. The first one's cluster is the default.
    pub fn from_clients(clients: impl IntoIterator<Item = ClusterClient>) -> Self {
        let clients: Vec<ClusterClient> = clients.into_iter().collect();
        let registry = Registry::of_names(clients.iter().map(|client| client.name().to_owned()));
        Self::from_parts(registry, clients)
    }

    /// The same with rules that route guests.
    pub fn from_parts(registry: Registry, clients: impl IntoIterator<Item = ClusterClient>) -> Self {
        let made = clients.into_iter().map(|client| (client.name().to_owned(), Made { client, since: Instant::now() }));
        let connect = Connect::new(|_| Err(std::io::ErrorKind::Unsupported.into()));
        let shared = Shared { registry, connect, given: true, made: Mutex::new(made.collect()) };
        Self { shared: Arc::new(shared) }
    }

    /// The settings.
    pub fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// The names, in the order of the settings.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.shared.registry.clusters.iter().map(|settings| settings.name.as_str())
    }

    /// The client of a cluster: the one that was made before, unless its credentials are to be read anew.
    ///
    /// # Errors
    ///
    /// An unknown name, or settings that cannot work.
    pub fn get(&self, name: &str) -> Result<ClusterClient, ClusterError> {
        let shared = &self.shared;
        let Some(settings) = shared.registry.get(name) else {
            return Err(ClusterError::ClusterNotFound(name.to_owned()));
        };
        let failed = |reason| ClusterError::ClusterConnection(name.to_owned(), reason);
        let lock = || shared.made.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = {
            let made = lock();
            match made.get(name) {
                Some(known) if shared.given => return Ok(known.client.clone()),
                None if shared.given => return Err(failed("there is no client for it".to_owned())),
                Some(known) if known.since.elapsed() < shared.registry.cache_ttl && !known.client.is_unauthorized() => {
                    return Ok(known.client.clone());
                }
                known => known.is_none(),
            }
        };
        let fresh = match shared.connect.reload.as_ref().filter(|_| !is_first) {
            Some(reload) => Some(reload(name).map_err(failed)?),
            None => None,
        };
        let client = shared.connect.client(fresh.as_ref().unwrap_or(settings)).map_err(failed)?;
        lock().insert(name.to_owned(), Made { client: client.clone(), since: Instant::now() });
        Ok(client)
    }

    /// The cluster of a guest, for a read: what no rule routes goes to the default cluster.
    ///
    /// # Errors
    ///
    /// An unknown cluster, patterns that disagree, or settings that cannot work.
    pub fn route(&self, target: &Target<'_>) -> Result<ClusterClient, ClusterError> {
        self.get(&self.select(target)?.cluster)
    }

    /// The cluster of a guest and the rule that found it.
    ///
    /// # Errors
    ///
    /// An unknown cluster, or patterns that disagree.
    pub fn select(&self, target: &Target<'_>) -> Result<Selection, ClusterError> {
        Ok(self.shared.registry.select(target.cluster, target.name, target.vmid)?)
    }

    /// The cluster in which a guest is to be made. The default cluster never takes it silently where there are others.
    ///
    /// # Errors
    ///
    /// As [`MultiClusterClient::route`]; ambiguous where no rule names a cluster and there are several.
    pub fn route_new(&self, target: &Target<'_>) -> Result<ClusterClient, ClusterError> {
        let selection = self.select(target)?;
        if selection.is_by_default() && self.shared.registry.clusters.len() > 1 {
            return Err(ambiguous(target, self.names().map(str::to_owned)));
        }
        self.get(&selection.cluster)
    }

    /// Finds a guest, VM or container, by id or name: in the cluster that a rule names, else in all of them, where it
    /// must have a single owner and every cluster must have answered.
    ///
    /// # Errors
    ///
    /// As [`MultiClusterClient::route`]; ambiguous where several clusters have it; [`ApiError::NotFound`] where none
    /// shows it; the error of a cluster that did not answer and may have it too.
    pub async fn find(&self, target: &Target<'_>) -> Result<(ClusterClient, Guest), ClusterError> {
        let selection = self.select(target)?;
        let everywhere = selection.is_by_default();
        let (name, vmid) = (target.name.map(str::to_owned), target.vmid);
        let search = move |client: ClusterClient| {
            let name = name.clone();
            async move {
                let mut guests = client.guests().await?;
                guests.retain(|guest| is_meant(guest, name.as_deref(), vmid));
                Ok(guests)
            }
        };
        let found = if everywhere {
            self.each(search).await
        } else {
            let cluster = selection.cluster;
            self.each_of(&[&cluster], search).await
        };
        let mut owners = Vec::new();
        for (cluster, guests) in found {
            owners.extend(guests?.into_iter().map(|guest| (cluster.clone(), guest)));
        }
        let mut clusters: Vec<String> = owners.iter().map(|(cluster, _)| cluster.clone()).collect();
        clusters.dedup();
        match owners.len() {
            1 => {}
            0 => {
                let asked: Vec<&str> = if everywhere { self.names().collect() } else { Vec::new() };
                let cluster = if everywhere { asked.join(", ") } else { self.select(target)?.cluster };
                let words = format!("there is no guest {}, or it cannot be seen", target.resource());
                return Err(ClusterError::Api(cluster, ApiError::NotFound(words)));
            }
            _ if clusters.len() > 1 => return Err(ambiguous(target, clusters.into_iter())),
            _ => {
                let ids: Vec<String> = owners.iter().map(|(_, guest)| guest.vmid.to_string()).collect();
                let words = format!("{} guests are named {}: {}", ids.len(), target.resource(), ids.join(", "));
                let error = ApiError::Validation { message: words, errors: BTreeMap::new() };
                return Err(ClusterError::Api(clusters.remove(0), error));
            }
        }
        let (cluster, guest) = owners.remove(0);
        Ok((self.get(&cluster)?, guest))
    }

    /// Finds a guest and does something with it, once: see [`ClusterClient::act`].
    ///
    /// # Errors
    ///
    /// As [`MultiClusterClient::find`], and what the cluster says.
    pub async fn act(&self, target: &Target<'_>, action: &Action) -> Result<Started, ClusterError> {
        let (client, guest) = self.find(target).await?;
        let upid = client.act(&guest, action).await;
        let upid = upid.map_err(|error| ClusterError::of_call(client.name(), error))?;
        Ok(Started { cluster: client.name().to_owned(), node: guest.node, vmid: guest.vmid, upid })
    }

    /// Makes a guest, once: see [`ClusterClient::create`]. Without a node, the cluster's `DEFAULT_NODE` takes it;
    /// the target's id and name become the guest's.
    ///
    /// # Errors
    ///
    /// As [`MultiClusterClient::route_new`]; a missing id or node; what the cluster says.
    pub async fn create(
        &self,
        target: &Target<'_>,
        kind: GuestKind,
        node: Option<&str>,
        mut params: Params,
    ) -> Result<Started, ClusterError> {
        let client = self.route_new(target)?;
        let cluster = client.name().to_owned();
        let missing = |what: &str| {
            let error = ApiError::Validation { message: format!("{what} is missing"), errors: BTreeMap::new() };
            ClusterError::Api(cluster.clone(), error)
        };
        let settings = self.shared.registry.get(&cluster);
        let node = node.or_else(|| settings?.default_node.as_deref()).ok_or_else(|| missing("a node"))?.to_owned();
        let vmid = target.vmid.ok_or_else(|| missing("a vmid"))?;
        if let Some(name) = target.name {
            let option = if kind == GuestKind::Qemu { "name" } else { "hostname" };
            params.push((option.to_owned(), name.to_owned()));
        }
        let upid = client.create(kind, &node, vmid, params).await;
        let upid = upid.map_err(|error| ClusterError::of_call(&cluster, error))?;
        Ok(Started { cluster, node, vmid, upid })
    }

    /// Runs the same on every cluster at once, each within the deadline; each result stands for itself.
    pub async fn each<T: Send + 'static, F>(
        &self,
        run: impl Fn(ClusterClient) -> F,
    ) -> BTreeMap<String, Result<T, ClusterError>>
    where
        F: Future<Output = Result<T, ApiError>> + Send + 'static,
    {
        let names: Vec<&str> = self.names().collect();
        self.each_of(&names, run).await
    }

    /// The same on some clusters.
    pub async fn each_of<T: Send + 'static, F>(
        &self,
        names: &[&str],
        run: impl Fn(ClusterClient) -> F,
    ) -> BTreeMap<String, Result<T, ClusterError>>
    where
        F: Future<Output = Result<T, ApiError>> + Send + 'static,
    {
        let deadline = self.shared.connect.deadline;
        let mut results = BTreeMap::new();
        let mut running = tokio::task::JoinSet::new();
        for name in names.iter().map(|name| (*name).to_owned()) {
            match self.get(&name) {
                Err(error) => {
                    results.insert(name, Err(error));
                }
                Ok(client) => {
                    let work = run(client);
                    // Replaced when the work ends; what remains is work that ended in a panic.
                    let lost = ClusterError::ClusterConnection(name.clone(), "its task ended early".to_owned());
                    results.insert(name.clone(), Err(lost));
                    running.spawn(async move { (name, timeout(deadline, work).await) });
                }
            }
        }
        while let Some(ended) = running.join_next().await {
            if let Ok((name, result)) = ended {
                let late = |_| ApiError::Connection(format!("it did not answer within {} s", deadline.as_secs()));
                let result = result.map_err(late).and_then(|result| result);
                let result = result.map_err(|error| ClusterError::of_call(&name, error));
                results.insert(name, result);
            }
        }
        results
    }
}

/// What a call of several clusters began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The cluster that it is in.
    pub cluster: String,
    /// The node that was asked.
    pub node: String,
    /// The guest.
    pub vmid: Vmid,
    /// The task that does it; nothing where it is done.
    pub upid: Option<Upid>,
}

fn is_meant(guest: &Guest, name: Option<&str>, vmid: Option<Vmid>) -> bool {
    (name.is_some() || vmid.is_some())
        && name.is_none_or(|name| guest.name.as_deref() == Some(name))
        && vmid.is_none_or(|vmid| guest.vmid == vmid)
}

fn ambiguous(target: &Target<'_>, candidates: impl Iterator<Item = String>) -> ClusterError {
    let mut candidates: Vec<String> = candidates.collect();
    candidates.sort();
    ClusterError::AmbiguousClusterSelection { resource: target.resource(), candidates }
}

impl Connect {
    fn client(&self, settings: &ClusterSettings) -> Result<ClusterClient, String> {
        let ca_pem = match &settings.tls {
            Tls::CaFile(path) => {
                let text = (self.read_file)(path);
                Some(text.map_err(|error| format!("CA_FILE {path} cannot be read: {error}"))?)
            }
            Tls::System | Tls::Fingerprint(_) | Tls::Unverified => None,
        };
        let transport = HttpTransport::with_options(settings, ca_pem, self.http.clone());
        let transport = transport.map_err(|error| error.to_string())?;
        let options = ClientOptions { access: settings.access, ..ClientOptions::default() };
        Ok(ClusterClient::with_options(&settings.name, Arc::new(transport), options))
    }
}

impl fmt::Debug for MultiClusterClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

#[cfg(test)]
#[path = "multi_tests.rs"]
mod tests;
