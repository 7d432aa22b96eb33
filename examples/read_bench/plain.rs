//! Clients without any cleverness, to compare with.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pvefleet::sim::server::Endpoint;
use reqwest::Client;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// What every client here sends with.
#[derive(Clone)]
struct Asker {
    client: Client,
    base: String,
    token: String,
}

impl Asker {
    fn new(endpoint: &Endpoint) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(endpoint.ca_pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            client: Client::builder().no_proxy().tls_backend_preconfigured(tls).build().unwrap(),
            base: format!("{}/api2/json", endpoint.url),
            token: format!("PVEAPIToken={}={}", endpoint.token_id, endpoint.token_secret),
        }
    }

    async fn get(&self, path: &str) {
        let request = self.client.get(format!("{}{path}", self.base)).header("Authorization", &self.token);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        let body = answer.text().await.unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok(), "{path}");
    }
}

/// Threads with a connection each, which take paths from one queue.
pub(crate) struct Team(Vec<(Asker, Runtime)>);

impl Team {
    pub(crate) fn new(endpoint: &Endpoint, count: usize) -> Self {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self((0..count).map(|_| (Asker::new(endpoint), runtime())).collect())
    }

    /// Asks for all of these, and ends when the last answer is there.
    pub(crate) fn get(&self, paths: &[String]) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for (asker, runtime) in &self.0 {
                let next = &next;
                scope.spawn(move || {
                    while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                        runtime.block_on(asker.get(path));
                    }
                });
            }
        });
    }
}

/// Asks for all paths, which go round the nodes, with so many connections for each node.
pub(crate) fn generate(endpoint: &Endpoint, paths: &[String], nodes: usize, connections: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let asker = Asker::new(endpoint);
    runtime.block_on(async {
        let mut running = JoinSet::new();
        for node in 0..nodes {
            let own: Arc<Vec<String>> = Arc::new(paths.iter().skip(node).step_by(nodes).cloned().collect());
            let next = Arc::new(AtomicUsize::new(0));
            for _ in 0..connections {
                let (asker, own, next) = (asker.clone(), Arc::clone(&own), Arc::clone(&next));
                running.spawn(async move {
                    while let Some(path) = own.get(next.fetch_add(1, Ordering::Relaxed)) {
                        asker.get(path).await;
                    }
                });
            }
        }
        running.join_all().await;
    });
}
