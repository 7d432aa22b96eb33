//! The [`Transport`] over HTTPS.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::ext::ReasonPhrase;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::backoff::Schedule;
use super::endpoint::{self, Endpoint};
use super::observe::{self, Observer};
use super::session::{Session, Wire};
use super::{failure, tls};
use crate::clusters::ClusterSettings;
use crate::pve::http::{Method, Request, Response, SendError, Sending, Transport, classify};

/// No answer is longer. The largest list of a thousand guests is a third of a MiB.
const LONGEST_ANSWER: usize = 64 << 20;

/// How long one transport waits, and who watches it.
#[derive(Clone)]
pub struct HttpOptions {
    /// For names, connection and TLS together.
    pub connect_timeout: Duration,
    /// For the whole of a request. Proxmox itself cuts a passed-on request off after 30 s.
    pub timeout: Duration,
    /// An endpoint that failed is asked last for so long, longer each time.
    pub rest: Schedule,
    /// Is told of each request that was sent.
    pub observer: Option<Observer>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            rest: endpoint::REST,
            observer: None,
        }
    }
}

/// The settings do not make a transport. No text of a secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// Neither token nor password.
    #[error("no credentials are set: TOKEN_ID and TOKEN_SECRET, or USERNAME and PASSWORD")]
    NoCredentials,
    /// The token cannot be sent in a header.
    #[error("the token holds a character that cannot be sent: look for a line break in TOKEN_SECRET")]
    BadToken,
    /// No endpoint.
    #[error("no API_URL is set")]
    NoEndpoint,
    /// Something about TLS.
    #[error("{0}")]
    Tls(String),
}

/// Sends to one cluster over HTTPS, to the first of its endpoints that takes the request.
///
/// A request that concerns a node goes to that node's own endpoint first, where it is known. Which node is behind each
/// of several endpoints is asked once, beside the first requests.
pub struct HttpTransport {
    session: Session,
    wire: Arc<Endpoints>,
    in_all: Arc<Semaphore>,
    by_node: Mutex<HashMap<String, Arc<Semaphore>>>,
    per_node: usize,
}

/// The wire itself: a connection pool and the addresses.
struct Endpoints {
    cluster: String,
    client: reqwest::Client,
    all: Vec<Endpoint>,
    rest: Schedule,
    observer: Option<Observer>,
}

impl HttpTransport {
    /// A transport with default limits. `ca_pem` is the text of the file that `CA_FILE` names.
    ///
    /// # Errors
    ///
    /// Settings that cannot work, whatever the server answers.
    pub fn new(settings: &ClusterSettings, ca_pem: Option<String>) -> Result<Self, SetupError> {
        Self::with_options(settings, ca_pem, HttpOptions::default())
    }

    /// A transport with limits of one's own.
    ///
    /// # Errors
    ///
    /// Settings that cannot work, whatever the server answers.
    pub fn with_options(
        settings: &ClusterSettings,
        ca_pem: Option<String>,
        options: HttpOptions,
    ) -> Result<Self, SetupError> {
        if settings.endpoints.is_empty() {
            return Err(SetupError::NoEndpoint);
        }
        let limits = settings.limits;
        let session = Session::new(&settings.credentials)?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(&settings.tls, ca_pem.as_deref())?)
            .http1_only()
            // A redirect would carry the token to another server.
            .redirect(reqwest::redirect::Policy::none())
            // Only the command line reads the environment.
            .no_proxy()
            .connect_timeout(options.connect_timeout)
            .timeout(options.timeout)
            // Proxmox closes an idle connection after 5 s; a write on one that is just being closed is undetermined.
            .pool_idle_timeout(Duration::from_secs(3))
            .pool_max_idle_per_host(limits.in_all)
            .build()
            .map_err(|error| SetupError::Tls(error.without_url().to_string()))?;
        let wire = Endpoints {
            cluster: settings.name.clone(),
            client,
            all: settings.endpoints.iter().map(|base| Endpoint::new(base)).collect(),
            rest: options.rest,
            observer: options.observer,
        };
        Ok(Self {
            session,
            wire: Arc::new(wire),
            in_all: Arc::new(Semaphore::new(limits.in_all.max(1))),
            by_node: Mutex::default(),
            per_node: limits.per_node.max(1),
        })
    }

    /// Waits until another request may be under way, for its node first: a node that hangs holds back only itself.
    async fn admit(&self, request: &Request) -> [Option<OwnedSemaphorePermit>; 2] {
        let node = {
            let mut by_node = self.by_node.lock().unwrap_or_else(PoisonError::into_inner);
            let node = node_of(request).unwrap_or_default().to_owned();
            Arc::clone(by_node.entry(node).or_insert_with(|| Arc::new(Semaphore::new(self.per_node))))
        };
        // The semaphores are never closed; were they, sending without a permit is the harmless way on.
        let node = node.acquire_owned().await.ok();
        [node, Arc::clone(&self.in_all).acquire_owned().await.ok()]
    }
}

/// The node that a request is about.
fn node_of(request: &Request) -> Option<&str> {
    request.path.strip_prefix("/nodes/").and_then(|rest| rest.split('/').next())
}

impl Endpoints {
    /// Sends to one endpoint after the other, as long as that is safe: where nothing left, and for reads where no
    /// answer came. A certificate that is not to be trusted ends it.
    async fn send(&self, request: &Request, headers: &HeaderMap) -> Result<Response, SendError> {
        let mut last = SendError::NeverSent(String::new());
        let mut reasons = Vec::new();
        for endpoint in endpoint::in_order(&self.all, node_of(request)) {
            let error = match self.send_to(endpoint, request, headers).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            match &error {
                SendError::NeverSent(reason) => reasons.push(reason.clone()),
                SendError::MaybeApplied(reason) if !request.method.is_write() => reasons.push(reason.clone()),
                SendError::MaybeApplied(_) | SendError::Refused(_) => return Err(error),
            }
            last = error;
        }
        Err(match last {
            SendError::MaybeApplied(_) => SendError::MaybeApplied(reasons.join("; ")),
            _ => SendError::NeverSent(reasons.join("; ")),
        })
    }

    async fn send_to(
        &self,
        endpoint: &Endpoint,
        request: &Request,
        headers: &HeaderMap,
    ) -> Result<Response, SendError> {
        let (attempt, started) = (observe::next_attempt(), Instant::now());
        let outcome = self.try_to(endpoint, request, headers).await;
        let told = (self.cluster.as_str(), endpoint.host.as_str());
        observe::tell(self.observer.as_ref(), told, request, (attempt, started.elapsed()), &outcome);
        match &outcome {
            Ok(_) => endpoint.answered(),
            Err(_) => endpoint.failed(self.rest),
        }
        outcome
    }

    /// Asks each endpoint that was not asked yet which node is behind it, beside what else is under way.
    fn learn(self: &Arc<Self>, headers: &HeaderMap) {
        if self.all.len() < 2 {
            return;
        }
        for index in 0..self.all.len() {
            if self.all[index].begin_asking() {
                let (this, headers) = (Arc::clone(self), headers.clone());
                tokio::spawn(async move {
                    let endpoint = &this.all[index];
                    let request = Request::get("/cluster/status");
                    let answer = this.send_to(endpoint, &request, &headers).await;
                    let came = answer.is_ok();
                    let value = classify(Method::Get, answer).unwrap_or_default();
                    endpoint.learn(came.then_some(&value));
                });
            }
        }
    }

    async fn try_to(&self, endpoint: &Endpoint, request: &Request, headers: &HeaderMap) -> Result<Response, SendError> {
        let url = format!("{}/api2/json{}", endpoint.base, request.target());
        let mut builder = match request.method {
            Method::Get => self.client.get(url),
            Method::Post => self.client.post(url),
            Method::Put => self.client.put(url),
            Method::Delete => self.client.delete(url),
        };
        builder = builder.headers(headers.clone());
        builder = match request.body() {
            None => builder,
            // The library would leave the length out, and what stands between may insist on it.
            Some(body) if body.is_empty() => builder.header(CONTENT_LENGTH, 0),
            Some(body) => builder.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body),
        };
        let failed = |error: reqwest::Error| failure::send_error(&error.without_url(), &endpoint.host);
        // A request that cannot even be built has not left.
        let built = builder.build().map_err(|error| SendError::Refused(error.without_url().to_string()))?;
        let mut answer = self.client.execute(built).await.map_err(failed)?;
        let status = answer.status();
        let reason = match answer.extensions().get::<ReasonPhrase>() {
            Some(phrase) => String::from_utf8_lossy(phrase.as_bytes()).into_owned(),
            // The library keeps the phrase only where it is not the usual one.
            None => status.canonical_reason().unwrap_or_default().to_owned(),
        };
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                return Err(SendError::MaybeApplied(format!("the answer of {} has no end", endpoint.host)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status: status.as_u16(), reason, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

impl Wire for Arc<Endpoints> {
    fn exchange<'a>(&'a self, request: &'a Request, headers: &'a HeaderMap) -> Sending<'a> {
        Box::pin(async move {
            // A login has no credential that asking could use.
            if !headers.is_empty() {
                self.learn(headers);
            }
            self.send(request, headers).await
        })
    }
}

impl Transport for HttpTransport {
    fn send<'a>(&'a self, request: &'a Request) -> Sending<'a> {
        Box::pin(async move {
            let _permits = self.admit(request).await;
            self.session.send(&self.wire, request).await
        })
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<&str> = self.wire.all.iter().map(|endpoint| endpoint.host.as_str()).collect();
        f.debug_struct("HttpTransport").field("endpoints", &hosts).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
