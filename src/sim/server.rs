//! The HTTPS face: clusters on ports of the loopback interface, in real time.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::ext::ReasonPhrase;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::cluster::{AccessEntry, Cluster, Millis};
use super::exchange::Exchange;
use super::http::{self, Head};
use super::transport::{SharedCluster, lock};
use crate::pve::http as pve;

/// The longest that a client may take over its side of TLS.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Bodies up to this length are never packed.
const PACK_FROM: usize = 1024;

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
        // Who comes in over the network has a clock of its own.
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs());
        for (index, (name, mut cluster)) in clusters.into_iter().enumerate() {
            cluster.spec.epoch = epoch.as_ref().copied().unwrap_or(cluster.spec.epoch);
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
            // A cluster that was kept goes on from its own time.
            let begun = cluster.now();
            let shared: SharedCluster = Arc::new(Mutex::new(cluster));
            running.clusters.push((name, Arc::clone(&shared)));
            let face = Arc::new(Face { cluster: shared, node, start, begun });
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

    /// All clusters by name.
    #[must_use]
    pub fn clusters(&self) -> &[(String, SharedCluster)] {
        &self.clusters
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
    begun: Millis,
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

async fn serve(mut stream: TcpStream, acceptor: TlsAcceptor, face: Arc<Face>) {
    let mut first = [0u8];
    // Errors of a connection end it; the client sees that, and there is nobody else to tell.
    let Ok(Ok(1)) = tokio::time::timeout(HANDSHAKE, stream.peek(&mut first)).await else { return };
    // The first byte of TLS is 22; anything else is HTTP without it.
    if first[0] != 22 {
        drop(tokio::time::timeout(HANDSHAKE, send_to_https(&mut stream)).await);
        return;
    }
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
    let rules = lock(&face.cluster).spec().connections.clone();
    let idle = Duration::from_millis(rules.idle);
    let served = Arc::new(AtomicU32::new(0));
    let service = service_fn(move |request| {
        let (face, served, rules) = (Arc::clone(&face), Arc::clone(&served), rules.clone());
        async move {
            let last = served.fetch_add(1, Ordering::Relaxed) + 1 >= rules.requests;
            face.answer(request, last, rules.close_on_error).await
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(idle);
    // The empty line at the end counts there too.
    builder.max_headers(http::HEADER_LINES - 2).max_buf_size(http::HEADER_BYTES);
    drop(builder.serve_connection(TokioIo::new(stream), service).await);
}

/// Answers a request without TLS as `pveproxy` does: the same address, with it.
async fn send_to_https(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < http::HEADER_BYTES {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&head);
    let mut lines = text.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or("/"));
    let named = |line: &str| {
        line.split_once(':')
            .filter(|(name, _)| name.eq_ignore_ascii_case("host"))
            .map(|(_, host)| host.trim().to_owned())
    };
    let answer = match lines.find_map(named) {
        Some(host) => {
            let status =
                if matches!(method, "GET" | "HEAD") { "301 Moved Permanently" } else { "308 Permanent Redirect" };
            format!("HTTP/1.1 {status}\r\nLocation: https://{host}{path}\r\nConnection: close\r\n\r\n")
        }
        None => "HTTP/1.1 400 bad request\r\nConnection: close\r\n\r\n".to_owned(),
    };
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
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
    async fn answer(
        &self,
        request: Request<Incoming>,
        last: bool,
        close_on_error: bool,
    ) -> Result<Response<Full<Bytes>>, Cut> {
        let text = |name: header::HeaderName| {
            request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let head = Head {
            method: request.method().as_str().to_owned(),
            path: pve::percent_decode(request.uri().path()),
            query: request.uri().query().unwrap_or_default().to_owned(),
            content_type: text(header::CONTENT_TYPE),
            authorization: text(header::AUTHORIZATION),
            cookie: text(header::COOKIE),
            csrf_token: text(header::HeaderName::from_static("csrfpreventiontoken")),
            transfer_encoding: text(header::TRANSFER_ENCODING),
            length: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        };
        let accepted = text(header::ACCEPT_ENCODING).unwrap_or_default();
        let raw_path = request.uri().path().to_owned();
        let refused = |(status, reason, told): http::Refusal| {
            // Whatever is left of a body that nobody reads, the connection does not outlive it.
            let body = if told { reason.clone() } else { String::new() };
            Ok(finish(pve::Response { status, reason, body }, None, "", true))
        };
        let (format, _) = match head.check().and_then(|()| head.format()) {
            Ok((format, path)) => (format, path),
            Err(refusal) => return refused(refusal),
        };
        let Ok(body) = Limited::new(request.into_body(), http::BODY_LIMIT).collect().await else { return Err(Cut) };
        let mut incoming = match head.read(&body.to_bytes(), &self.node) {
            Ok(incoming) => incoming,
            Err(refusal) => return refused(refusal),
        };
        // Variables of a path are decoded one by one: a volume's name may hold an escaped slash.
        if let Some(at) = raw_path.strip_prefix("/api2/json").or_else(|| raw_path.strip_prefix("/api2/extjs")) {
            at.clone_into(&mut incoming.path);
        }
        let now = self.begun + u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let exchange = lock(&self.cluster).exchange(&incoming, now);
        match exchange {
            Exchange::Answered(reply) => {
                tokio::time::sleep(Duration::from_millis(reply.delay)).await;
                let close = last || (close_on_error && reply.response.status >= 400);
                let answer = http::in_format(format, reply.response);
                let kind = (!answer.body.is_empty()).then_some("application/json;charset=UTF-8");
                Ok(finish(answer, kind, &accepted, close))
            }
            Exchange::Refused => Err(Cut),
            Exchange::Lost(delay) => {
                tokio::time::sleep(Duration::from_millis(delay)).await;
                Err(Cut)
            }
            Exchange::Hangs => std::future::pending().await,
        }
    }
}

/// Packs a long body where the client takes that.
fn packed(body: &[u8], accepted: &str) -> io::Result<Option<(Vec<u8>, &'static str)>> {
    if body.len() <= PACK_FROM {
        return Ok(None);
    }
    let level = flate2::Compression::default();
    if accepted.contains("gzip") {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
        encoder.write_all(body)?;
        return Ok(Some((encoder.finish()?, "gzip")));
    }
    if accepted.contains("deflate") {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
        encoder.write_all(body)?;
        return Ok(Some((encoder.finish()?, "deflate")));
    }
    Ok(None)
}

fn finish(answer: pve::Response, kind: Option<&'static str>, accepted: &str, close: bool) -> Response<Full<Bytes>> {
    // Packing into memory does not fail; if it did, the body would go as it is.
    let (body, coding) = match packed(answer.body.as_bytes(), accepted) {
        Ok(Some((body, coding))) => (body, Some(coding)),
        Ok(None) | Err(_) => (answer.body.into_bytes(), None),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    // Proxmox's own statuses go up to 599, all of which hyper takes.
    *response.status_mut() =
        hyper::StatusCode::from_u16(answer.status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    // The phrase on the wire is bytes; what cannot stand in it would end the line.
    let phrase: String = answer.reason.chars().filter(|c| !c.is_control()).collect();
    if let Ok(phrase) = ReasonPhrase::try_from(phrase.into_bytes()) {
        response.extensions_mut().insert(phrase);
    }
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    let headers = response.headers_mut();
    let mut set = |name: header::HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
    set(header::SERVER, "pve-api-daemon/3.0");
    set(header::CACHE_CONTROL, "max-age=0");
    set(header::PRAGMA, "no-cache");
    set(header::CONNECTION, if close { "close" } else { "Keep-Alive" });
    for (name, value) in [(header::CONTENT_TYPE, kind), (header::CONTENT_ENCODING, coding)] {
        if let Some(value) = value {
            set(name, value);
        }
    }
    if let Ok(date) = HeaderValue::try_from(date) {
        headers.insert(header::EXPIRES, date);
    }
    response
}
