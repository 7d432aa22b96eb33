//! The [`Transport`] over HTTPS.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use hyper::ext::ReasonPhrase;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{failure, tls};
use crate::clusters::ClusterSettings;
use crate::pve::http::{Method, Request, Response, SendError, Sending, Transport};

/// No answer is longer. The largest list of a thousand guests is a third of a MiB.
const LONGEST_ANSWER: usize = 64 << 20;

/// Limits of one transport.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// For names, connection and TLS together.
    pub connect_timeout: Duration,
    /// For the whole of a request. Proxmox itself cuts a passed-on request off after 30 s.
    pub timeout: Duration,
    /// Requests under way at once. A node has three workers; more than eight at once gain nothing.
    pub concurrency: usize,
    /// An endpoint that failed is asked last for so long.
    pub rest: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            concurrency: 8,
            rest: Duration::from_secs(30),
        }
    }
}

/// The settings do not make a transport. No text of a secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// Only a user name and a password are set.
    #[error(
        "no API token is set, and this version cannot log in with a user name and a password: set TOKEN_ID and TOKEN_SECRET"
    )]
    NoToken,
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
/// A request that concerns a node goes to that node's own endpoint first, where an address bears its name.
pub struct HttpTransport {
    client: reqwest::Client,
    endpoints: Vec<Endpoint>,
    permits: Semaphore,
    rest: Duration,
}

/// One address of the cluster.
struct Endpoint {
    /// `https://host:8006`.
    base: String,
    /// `host:8006`, for people.
    host: String,
    /// It failed; others are asked first until then.
    rests_until: Mutex<Option<Instant>>,
}

impl Endpoint {
    fn new(base: &str) -> Self {
        let base = base.trim_end_matches('/');
        let host = base.split_once("://").map_or(base, |(_, rest)| rest);
        Self { base: base.to_owned(), host: host.to_owned(), rests_until: Mutex::new(None) }
    }

    /// True where the address begins with the node's name, as `pve1.example:8006` does with `pve1`.
    fn is_node(&self, node: &str) -> bool {
        self.host.split(['.', ':', '/']).next().is_some_and(|label| label.eq_ignore_ascii_case(node))
    }

    fn rests(&self) -> bool {
        let until = *self.rests_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn set_rest(&self, until: Option<Instant>) {
        *self.rests_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = until;
    }
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
        let token = settings.credentials.token.as_ref().ok_or(SetupError::NoToken)?;
        let mut authorization = HeaderValue::from_str(&format!("PVEAPIToken={}={}", token.id, token.secret.expose()))
            .map_err(|_| SetupError::BadToken)?;
        authorization.set_sensitive(true);
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(&settings.tls, ca_pem.as_deref())?)
            .http1_only()
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, authorization)]))
            // A redirect would carry the token to another server.
            .redirect(reqwest::redirect::Policy::none())
            // Only the command line reads the environment.
            .no_proxy()
            .connect_timeout(options.connect_timeout)
            .timeout(options.timeout)
            // Proxmox closes an idle connection after 5 s; a write on one that is just being closed is undetermined.
            .pool_idle_timeout(Duration::from_secs(3))
            .pool_max_idle_per_host(options.concurrency)
            .build()
            .map_err(|error| SetupError::Tls(error.without_url().to_string()))?;
        Ok(Self {
            client,
            endpoints: settings.endpoints.iter().map(|base| Endpoint::new(base)).collect(),
            permits: Semaphore::new(options.concurrency.max(1)),
            rest: options.rest,
        })
    }

    async fn send_anywhere(&self, request: &Request) -> Result<Response, SendError> {
        // The semaphore is never closed; were it, sending without a permit is the harmless way on.
        let _permit = self.permits.acquire().await.ok();
        let node = request.path.strip_prefix("/nodes/").and_then(|rest| rest.split('/').next());
        let mut endpoints: Vec<&Endpoint> = self.endpoints.iter().collect();
        // A node answers for itself four times as fast as another node that has to ask it.
        endpoints.sort_by_key(|endpoint| (endpoint.rests(), !node.is_some_and(|node| endpoint.is_node(node))));
        let mut reasons = Vec::new();
        for endpoint in endpoints {
            let error = match self.send_to(endpoint, request).await {
                Ok(response) => {
                    endpoint.set_rest(None);
                    return Ok(response);
                }
                Err(error) => error,
            };
            endpoint.set_rest(Instant::now().checked_add(self.rest));
            match error {
                SendError::NeverSent(reason) => reasons.push(reason),
                error => return Err(error),
            }
        }
        Err(SendError::NeverSent(reasons.join("; ")))
    }

    async fn send_to(&self, endpoint: &Endpoint, request: &Request) -> Result<Response, SendError> {
        let url = format!("{}/api2/json{}", endpoint.base, request.target());
        let mut builder = match request.method {
            Method::Get => self.client.get(url),
            Method::Post => self.client.post(url),
            Method::Put => self.client.put(url),
            Method::Delete => self.client.delete(url),
        };
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

impl Transport for HttpTransport {
    fn send<'a>(&'a self, request: &'a Request) -> Sending<'a> {
        Box::pin(self.send_anywhere(request))
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<&str> = self.endpoints.iter().map(|endpoint| endpoint.host.as_str()).collect();
        f.debug_struct("HttpTransport").field("endpoints", &hosts).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
