//! All configured clusters.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::http::HttpTransport;
use super::{ClientOptions, ClusterClient};
use crate::clusters::{Registry, Tls};
use crate::pve::http::ApiError;

/// Why a cluster cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// No cluster bears this name.
    #[error("Cluster not found: {0}")]
    ClusterNotFound(String),
    /// It is configured, and cannot be connected to.
    #[error("Cannot connect to cluster '{0}': {1}")]
    ClusterConnection(String, String),
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

/// A client for each configured cluster.
///
/// A cluster whose settings cannot work is an error only where it is asked for.
#[derive(Debug, Clone, Default)]
pub struct MultiClusterClient {
    clusters: BTreeMap<String, Result<ClusterClient, String>>,
}

impl MultiClusterClient {
    /// Builds the clients; nothing is sent. `read_file` gives the text of the file that a `CA_FILE` names.
    pub fn connect(registry: &Registry, read_file: impl Fn(&str) -> std::io::Result<String>) -> Self {
        let clusters = registry.clusters.iter().map(|settings| {
            let ca_pem = match &settings.tls {
                Tls::CaFile(path) => {
                    read_file(path).map(Some).map_err(|error| format!("CA_FILE {path} cannot be read: {error}"))
                }
                Tls::System | Tls::Fingerprint(_) | Tls::Unverified => Ok(None),
            };
            let client = ca_pem.and_then(|pem| {
                let transport = HttpTransport::new(settings, pem).map_err(|error| error.to_string())?;
                let options = ClientOptions { access: settings.access, ..ClientOptions::default() };
                Ok(ClusterClient::with_options(&settings.name, Arc::new(transport), options))
            });
            (settings.name.clone(), client)
        });
        Self { clusters: clusters.collect() }
    }

    /// Takes clients as they are: over simulated clusters, say.
    pub fn from_clients(clients: impl IntoIterator<Item = ClusterClient>) -> Self {
        Self { clusters: clients.into_iter().map(|client| (client.name().to_owned(), Ok(client))).collect() }
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.clusters.keys().map(String::as_str)
    }

    /// The client of a cluster.
    ///
    /// # Errors
    ///
    /// An unknown name, or settings that cannot work.
    pub fn get(&self, name: &str) -> Result<&ClusterClient, ClusterError> {
        match self.clusters.get(name) {
            None => Err(ClusterError::ClusterNotFound(name.to_owned())),
            Some(Err(reason)) => Err(ClusterError::ClusterConnection(name.to_owned(), reason.clone())),
            Some(Ok(client)) => Ok(client),
        }
    }

    /// Runs the same on every cluster at once; each result stands for itself.
    pub async fn each<T: Send + 'static, F>(
        &self,
        run: impl Fn(ClusterClient) -> F,
    ) -> BTreeMap<String, Result<T, ClusterError>>
    where
        F: Future<Output = Result<T, ApiError>> + Send + 'static,
    {
        let mut results = BTreeMap::new();
        let mut running = tokio::task::JoinSet::new();
        for name in self.clusters.keys() {
            match self.get(name) {
                Err(error) => {
                    results.insert(name.clone(), Err(error));
                }
                Ok(client) => {
                    let (name, work) = (name.clone(), run(client.clone()));
                    // Replaced when the work ends; what remains is work that ended in a panic.
                    let lost = ClusterError::ClusterConnection(name.clone(), "its task ended early".to_owned());
                    results.insert(name.clone(), Err(lost));
                    running.spawn(async move { (name, work.await) });
                }
            }
        }
        while let Some(ended) = running.join_next().await {
            if let Ok((name, result)) = ended {
                let result = result.map_err(|error| ClusterError::of_call(&name, error));
                results.insert(name, result);
            }
        }
        results
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap as Map;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::client::fake::{Fake, data, never_sent, refusal};
    use crate::clusters::{Access, ClusterSettings, Credentials, Token};
    use crate::pve::http::Request;
    use crate::secret::Secret;

    fn settings(name: &str, tls: Tls) -> ClusterSettings {
        let token = Token { id: "root@pam!t1".to_owned(), secret: Secret::new("s") };
        ClusterSettings {
            name: name.to_owned(),
            endpoints: vec!["https://127.0.0.1:1".to_owned()],
            credentials: Credentials { token: Some(token), login: None },
            tls,
            default_node: None,
            default_storage: None,
            default_bridge: None,
            region: None,
            tier: None,
            access: Access::Read,
        }
    }

    #[test]
    fn settings_that_cannot_work_hurt_only_their_own_cluster() {
        let registry = Registry {
            clusters: vec![settings("good", Tls::Unverified), settings("bad", Tls::CaFile("ca.pem".to_owned()))],
            patterns: vec![],
            ranges: vec![],
            validation: true,
            cache_ttl: Duration::ZERO,
            multi: true,
        };
        let clients = MultiClusterClient::connect(&registry, |_| Err(std::io::ErrorKind::NotFound.into()));
        assert_eq!(clients.names().collect::<Vec<_>>(), ["bad", "good"]);
        assert_eq!(clients.get("good").unwrap().options().access, Access::Read);
        let texts: Vec<String> = ["bad", "none"].map(|name| clients.get(name).unwrap_err().to_string()).into();
        assert_eq!(
            texts,
            [
                "Cannot connect to cluster 'bad': CA_FILE ca.pem cannot be read: entity not found",
                "Cluster not found: none"
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_is_down_costs_only_itself() {
        let client = |name: &str, answer| {
            let fake: Arc<dyn crate::pve::http::Transport> = Arc::new(Fake::default().on("GET /version", answer));
            ClusterClient::new(name, fake)
        };
        let clients = MultiClusterClient::from_clients([
            client("a", data(json!("9.1.9"))),
            client("b", never_sent()),
            client("c", refusal(401, "No ticket")),
        ]);
        let versions = clients
            .each(|client| async move { client.read(&Request::get("/version")).await.map(|value| value.to_string()) })
            .await;
        let shown: Map<&str, String> = versions
            .iter()
            .map(|(name, result)| (name.as_str(), result.as_ref().map_or_else(ToString::to_string, Clone::clone)))
            .collect();
        assert_eq!(shown["a"], "\"9.1.9\"");
        assert_eq!(shown["b"], "Cannot connect to cluster 'b': pve1:8006 refuses the connection");
        assert_eq!(
            shown["c"],
            "cluster 'c': authentication failed: No ticket (check TOKEN_ID and TOKEN_SECRET, or USERNAME and PASSWORD, of this cluster)"
        );
    }
}
