//! The HTTPS face: clusters on ports of the loopback interface, in real time.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::ext::ReasonPhrase;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::cluster::{AccessEntry, Cluster, Exchange, IncomingRequest};
use super::transport::{SharedCluster, lock};
use crate::pve::http;

/// Requests after which a connection is closed, as `pveproxy` does.
const REQUESTS_PER_CONNECTION: u32 = 100;
/// The largest body that `pveproxy` takes.
const BODY_LIMIT: usize = 512 * 1024;
/// Seconds without a byte after which a connection is closed.
const IDLE: Duration = Duration::from_secs(5);

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The ports, one for each cluster in order; where they end, any free port is taken.
    pub ports: Vec<u16>,
}

/// What a client needs to reach one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The cluster's name.
    pub name: String,
    /// `https://127.0.0.1:PORT`.
    pub url: String,
    /// The certificate of the authority that signed the server's.
    pub ca_pem: String,
    /// An API token.
    pub token_id: String,
    /// Its secret.
    pub token_secret: String,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The port is taken, or there is none.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// No certificate could be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(String),
}

/// Starts simulated clusters.
#[derive(Debug)]
pub struct Server;

/// Clusters that are being served. Dropping it ends them.
#[derive(Debug)]
pub struct Running {
    endpoints: Vec<Endpoint>,
    clusters: Vec<(String, SharedCluster)>,
    stop: watch::Sender<bool>,
    listeners: JoinSet<()>,
}

impl Server {
    /// Serves each cluster on a port of `127.0.0.1`.
    ///
    /// # Errors
    ///
    /// Where a port is taken or no certificate can be made.
    pub async fn start(clusters: Vec<(String, Cluster)>, options: Options) -> Result<Running, ServerError> {
        let identity = Identity::make()?;
        let (stop, stopped) = watch::channel(false);
        let mut running = Running { endpoints: Vec::new(), clusters: Vec::new(), stop, listeners: JoinSet::new() };
        let start = Instant::now();
        for (index, (name, cluster)) in clusters.into_iter().enumerate() {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.ports.get(index).copied().unwrap_or(0)));
            let failed = |error| ServerError::Listen(address, error);
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            let port = listener.local_addr().map_err(failed)?.port();
            let token = cluster.spec().tokens.first().cloned();
            let node = cluster.spec().nodes.first().map(|node| node.name.clone()).unwrap_or_default();
            running.endpoints.push(Endpoint {
                name: name.clone(),
                url: format!("https://127.0.0.1:{port}"),
                ca_pem: identity.ca_pem.clone(),
                token_id: token.as_ref().map(|token| token.id.clone()).unwrap_or_default(),
                token_secret: token.map(|token| token.secret).unwrap_or_default(),
            });
            let shared: SharedCluster = Arc::new(Mutex::new(cluster));
            running.clusters.push((name, Arc::clone(&shared)));
            let face = Arc::new(Face { cluster: shared, node, start });
            let acceptor = TlsAcceptor::from(Arc::clone(&identity.config));
            running.listeners.spawn(listen(listener, acceptor, face, stopped.clone()));
        }
        Ok(running)
    }
}

impl Running {
    /// How to reach the clusters.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// A cluster by name, to look at it or to set faults.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<SharedCluster> {
        self.clusters.iter().find(|(other, _)| other == name).map(|(_, cluster)| Arc::clone(cluster))
    }

    /// The requests that a cluster has had so far.
    #[must_use]
    pub fn access_log(&self, name: &str) -> Vec<AccessEntry> {
        self.cluster(name).map(|cluster| lock(&cluster).access_log().to_vec()).unwrap_or_default()
    }

    /// Closes the ports and every connection.
    pub async fn stop(mut self) {
        // Nobody listens any more where this fails, which is what is wanted.
        let _ = self.stop.send(true);
        while self.listeners.join_next().await.is_some() {}
    }
}

/// An authority made for this run, and a certificate of it for the loopback interface.
struct Identity {
    ca_pem: String,
    config: Arc<ServerConfig>,
}

impl Identity {
    fn make() -> Result<Self, ServerError> {
        Self::try_make().map_err(|error| ServerError::Certificate(error.to_string()))
    }

    fn try_make() -> Result<Self, Box<dyn std::error::Error>> {
        use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        ca.distinguished_name.push(DnType::CommonName, "pvefleet simulator");
        let ca_certificate = ca.self_signed(&ca_key)?;
        let key = KeyPair::generate()?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut leaf = CertificateParams::new(names)?;
        leaf.distinguished_name.push(DnType::CommonName, "localhost");
        let certificate = leaf.signed_by(&key, &Issuer::from_params(&ca, &ca_key))?;
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der())?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { ca_pem: ca_certificate.pem(), config: Arc::new(config) })
    }
}

/// One cluster as it is served.
struct Face {
    cluster: SharedCluster,
    node: String,
    start: Instant,
}

async fn listen(listener: TcpListener, acceptor: TlsAcceptor, face: Arc<Face>, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            accepted = listener.accept() => {
                // A connection that failed before it began is the other side's matter.
                let Ok((stream, _)) = accepted else { continue };
                // Nobody listens on a node that is down; the nearest to that is to say nothing and hang up.
                if !lock(&face.cluster).node_online(&face.node) {
                    continue;
                }
                connections.spawn(serve(stream, acceptor.clone(), Arc::clone(&face)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
    connections.shutdown().await;
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, face: Arc<Face>) {
    // Errors of a connection end it; the client sees that, and there is nobody else to tell.
    let Ok(Ok(stream)) = tokio::time::timeout(IDLE, acceptor.accept(stream)).await else { return };
    let served = Arc::new(AtomicU32::new(0));
    let service = service_fn(move |request| {
        let (face, served) = (Arc::clone(&face), Arc::clone(&served));
        async move { face.answer(request, served.fetch_add(1, Ordering::Relaxed) + 1).await }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE);
    drop(builder.serve_connection(TokioIo::new(stream), service).await);
}

/// The connection is cut: hyper closes it when a service fails.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost")]
struct Cut;

impl From<Infallible> for Cut {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl Face {
    async fn answer(&self, request: Request<Incoming>, number: u32) -> Result<Response<Full<Bytes>>, Cut> {
        let head = Head {
            method: request.method().as_str().to_owned(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            content_type: text_of(request.headers().get(header::CONTENT_TYPE)),
            authorization: text_of(request.headers().get(header::AUTHORIZATION)),
            cookie: text_of(request.headers().get(header::COOKIE)),
            csrf_token: text_of(request.headers().get("CSRFPreventionToken")),
            chunked: request.headers().contains_key(header::TRANSFER_ENCODING),
        };
        let body = match Limited::new(request.into_body(), BODY_LIMIT).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return Ok(plain(501, "for data too large", "for data too large", true)),
        };
        let incoming = match head.read(&body, &self.node) {
            Ok(incoming) => incoming,
            Err((status, reason)) => return Ok(plain(status, &reason, &reason, true)),
        };
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let exchange = lock(&self.cluster).exchange(&incoming, now);
        match exchange {
            Exchange::Answered(reply) => {
                tokio::time::sleep(Duration::from_millis(reply.delay)).await;
                let close = reply.response.status >= 400 || number >= REQUESTS_PER_CONNECTION;
                Ok(response(&reply.response, close))
            }
            Exchange::Refused => Err(Cut),
            Exchange::Lost(delay) => {
                tokio::time::sleep(Duration::from_millis(delay)).await;
                Err(Cut)
            }
        }
    }
}

/// A request without its body.
struct Head {
    method: String,
    path: String,
    query: String,
    content_type: Option<String>,
    authorization: Option<String>,
    cookie: Option<String>,
    csrf_token: Option<String>,
    chunked: bool,
}

impl Head {
    /// Reads a request as `pveproxy` does; else the status and the text of its refusal.
    fn read(self, body: &[u8], node: &str) -> Result<IncomingRequest, (u16, String)> {
        let Some(path) = self.path.strip_prefix("/api2/json").filter(|rest| rest.is_empty() || rest.starts_with('/'))
        else {
            return Err((501, format!("no such uri {}", self.path)));
        };
        if self.chunked {
            return Err((501, "chunked transfer encoding not supported".to_owned()));
        }
        let takes_body = matches!(self.method.as_str(), "POST" | "PUT");
        if !body.is_empty() && !takes_body {
            return Err((501, format!("Unexpected content for method '{}'", self.method)));
        }
        let mut params = decode_form(&self.query);
        if !body.is_empty() {
            let declared = self.content_type.unwrap_or_default();
            let kind = declared.split(';').next().unwrap_or_default().trim();
            let from_body = match kind {
                "" | "application/x-www-form-urlencoded" => decode_form(&String::from_utf8_lossy(body)),
                "application/json" => decode_json(body)?,
                _ => return Err((506, format!("upload 'Content-Type '{declared}' not implemented"))),
            };
            // What stands in the query wins.
            let named: Vec<String> = params.iter().map(|(name, _)| name.clone()).collect();
            params.extend(from_body.into_iter().filter(|(name, _)| !named.contains(name)));
        }
        Ok(IncomingRequest {
            method: self.method,
            path: path.to_owned(),
            params,
            authorization: self.authorization,
            cookie: self.cookie,
            csrf_token: self.csrf_token,
            node: node.to_owned(),
        })
    }
}

fn text_of(value: Option<&HeaderValue>) -> Option<String> {
    value.and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Decodes a form by the rules of `pveproxy`: pairs end at `&` and `;`, of `a=b=c` only `b` is kept, and a
/// name without `=` has no value and counts as absent.
pub(super) fn decode_form(text: &str) -> Vec<(String, String)> {
    let decode = |text: &str| http::percent_decode(&text.replace('+', " "));
    text.split(['&', ';'])
        .filter_map(|pair| {
            let mut fields = pair.split('=');
            let (name, value) = (fields.next().filter(|name| !name.is_empty())?, fields.next()?);
            Some((decode(name), decode(value)))
        })
        .collect()
}

/// Decodes a JSON body: numbers become text, truth values 1 and 0, lists repeated names.
fn decode_json(body: &[u8]) -> Result<Vec<(String, String)>, (u16, String)> {
    let at = "at character offset 0 at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line 934.";
    let malformed =
        |_| (500, format!("malformed JSON string, neither tag, array, object, number, string or atom, {at}"));
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body).map_err(malformed)?;
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Bool(truth) => Some(u8::from(truth).to_string()),
        serde_json::Value::Null => None,
        other => Some(other.to_string()),
    };
    let mut params = Vec::new();
    for (name, value) in object {
        match value {
            serde_json::Value::Array(list) => {
                params.extend(list.into_iter().filter_map(text).map(|value| (name.clone(), value)));
            }
            value => params.extend(text(value).map(|value| (name, value))),
        }
    }
    Ok(params)
}

fn response(answer: &http::Response, close: bool) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body.clone())));
    finish(&mut response, answer.status, &answer.reason, close);
    if !answer.body.is_empty() {
        let kind = HeaderValue::from_static("application/json;charset=UTF-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

fn plain(status: u16, reason: &str, body: &str, close: bool) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_owned())));
    finish(&mut response, status, reason, close);
    response
}

fn finish(response: &mut Response<Full<Bytes>>, status: u16, reason: &str, close: bool) {
    // Proxmox's own statuses go up to 599, all of which hyper takes.
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    // The phrase on the wire is bytes; what cannot stand in it would end the line.
    let phrase: String = reason.chars().filter(|c| !c.is_control()).collect();
    if let Ok(phrase) = ReasonPhrase::try_from(phrase.into_bytes()) {
        response.extensions_mut().insert(phrase);
    }
    let headers = response.headers_mut();
    headers.insert(header::SERVER, HeaderValue::from_static("pve-api-daemon/3.0"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=0"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    if close {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_as_proxmox_reads_them() {
        let pairs = |text: &str| decode_form(text).into_iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>();
        assert_eq!(pairs("a=b=c;d=e+f&g&h=%C3%A9%3D"), ["a=b", "d=e f", "h=é="]);
        let body = br#"{"cores":"2","memory":1024,"onboot":true,"tags":["b","a"],"x":null}"#;
        let mut pairs = decode_json(body).unwrap();
        pairs.sort();
        let text: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(text, ["cores=2", "memory=1024", "onboot=1", "tags=a", "tags=b"]);
    }

    #[test]
    fn bodies_are_refused_where_proxmox_refuses_them() {
        let head = |method: &str, path: &str, content_type: &str| Head {
            method: method.to_owned(),
            path: path.to_owned(),
            query: String::new(),
            content_type: Some(content_type.to_owned()),
            authorization: None,
            cookie: None,
            csrf_token: None,
            chunked: false,
        };
        let status =
            |head: Head, body: &[u8]| head.read(body, "a").map_err(|(status, _)| status).map(|r| r.params.len());
        assert_eq!(status(head("DELETE", "/api2/json/x", ""), b"purge=1"), Err(501));
        assert_eq!(status(head("PUT", "/api2/json/x", "text/plain"), b"a=1"), Err(506));
        assert_eq!(status(head("PUT", "/api2/json/x", "application/json"), b"{bad"), Err(500));
        assert_eq!(status(head("PUT", "/api2/json/x", "application/json; charset=utf-8"), b"{\"a\":1}"), Ok(1));
        assert_eq!(status(head("GET", "/other", ""), b""), Err(501));
    }
}
