//! The transport against a small server of its own, with real TLS.

use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::clusters::{Access, Allocations, Credentials, Limits, TicketLogin, Tls, Token};
use crate::pve::http::{ApiError, classify};
use crate::secret::Secret;

const SECRET: &str = "11111111-2222-3333-4444-555555555555";

/// What the server does with a request.
#[derive(Clone)]
enum Does {
    /// Answers with this, byte for byte.
    Answers(String),
    /// Reads it and closes the connection.
    Breaks,
    /// Reads it and says nothing.
    IsSilent,
    /// Answers what is asked, and is this node.
    IsNode(&'static str),
    /// Answers half of what it announced, and closes.
    StopsHalfway,
    /// Answers a long list, packed where that is taken.
    Packs,
    /// Lets so many requests into a connection, and says so with the last one's answer.
    Counts(usize),
}

fn answers(status_line: &str, body: &str) -> Does {
    Does::Answers(format!("HTTP/1.1 {status_line}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

fn fine() -> Does {
    answers("200 OK", r#"{"data":{"version":"9.1.9"}}"#)
}

struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
}

impl Server {
    async fn start(tls: Option<rustls::ServerConfig>, does: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self { port, requests: Arc::default(), connections: Arc::default() };
        let (requests, connections) = (Arc::clone(&server.requests), Arc::clone(&server.connections));
        let acceptor = tls.map(|config| tokio_rustls::TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *connections.lock().unwrap() += 1;
                let (acceptor, requests, does) = (acceptor.clone(), Arc::clone(&requests), does.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, requests, does).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, requests, does).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    /// What was asked, but for the question which node it is.
    fn requests(&self) -> Vec<String> {
        let all = self.requests.lock().unwrap().clone();
        all.into_iter().filter(|request| !request.contains("/cluster/status")).collect()
    }

    fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, requests: Arc<Mutex<Vec<String>>>, does: Does) {
    let mut seen = Vec::new();
    let mut served = 0;
    loop {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => seen.extend_from_slice(&buffer[..length]),
        }
        // A TLS greeting where plain text is spoken: pveproxy's own neighbours answer it with an error.
        if seen[0] == 0x16 {
            return stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        }
        let text = String::from_utf8(seen.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let announced = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        if body.len() < announced.parse().unwrap() {
            continue;
        }
        let takes_packed = head.contains("accept-encoding: gzip");
        requests.lock().unwrap().push(text);
        seen.clear();
        served += 1;
        match &does {
            Does::Packs => {
                let (mut body, mut coding) = (long_list().into_bytes(), "");
                if takes_packed {
                    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                    std::io::Write::write_all(&mut packer, &body).unwrap();
                    (body, coding) = (packer.finish().unwrap(), "Content-Encoding: gzip\r\n");
                    assert!(body.len() < 2000, "{}", body.len());
                }
                let head = format!("HTTP/1.1 200 OK\r\n{coding}Content-Length: {}\r\n\r\n", body.len());
                stream.write_all(&[head.into_bytes(), body].concat()).await.unwrap();
            }
            Does::Counts(limit) => {
                let close = if served == *limit { "Connection: close\r\n" } else { "" };
                let body = r#"{"data":null}"#;
                let answer = format!("HTTP/1.1 200 OK\r\n{close}Content-Length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
                if served == *limit {
                    return;
                }
            }
            Does::Answers(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
            Does::IsNode(name) => {
                let body = format!(r#"{{"data":[{{"type":"node","name":"{name}","local":1}}]}}"#);
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            Does::Breaks => return,
            Does::IsSilent => std::future::pending().await,
            Does::StopsHalfway => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"data\"").await.unwrap();
                return;
            }
        }
    }
}

fn long_list() -> String {
    format!(r#"{{"data":[{}]}}"#, vec![r#"{"key":"cores","value":2}"#; 1000].join(","))
}

/// A CA, and a server certificate that it signed for these names.
struct Pki {
    ca_pem: String,
    server: CertificateDer<'static>,
    key: KeyPair,
}

impl Pki {
    fn new(names: &[&str]) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let server = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
        Self { ca_pem: ca.pem(), server: server.der().clone(), key }
    }

    /// As `openssl req -x509` makes it: its own CA.
    fn self_signed() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let server = params.self_signed(&key).unwrap();
        Self { ca_pem: server.pem(), server: server.der().clone(), key }
    }

    fn config(&self) -> rustls::ServerConfig {
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.server.clone()], key)
            .unwrap()
    }

    fn pin(&self) -> [u8; 32] {
        tls::fingerprint(&self.server)
    }
}

fn settings(endpoints: &[String], tls: Tls) -> ClusterSettings {
    ClusterSettings {
        name: "test".to_owned(),
        endpoints: endpoints.to_vec(),
        credentials: Credentials {
            token: Some(Token { id: "root@pam!t1".to_owned(), secret: Secret::new(SECRET) }),
            login: None,
        },
        tls,
        default_node: None,
        default_storage: None,
        default_bridge: None,
        region: None,
        tier: None,
        access: Access::Apply,
        limits: Limits::default(),
        allocations: Allocations::default(),
    }
}

fn https(server: &Server) -> String {
    format!("https://127.0.0.1:{}", server.port)
}

fn http(server: &Server) -> String {
    format!("http://127.0.0.1:{}", server.port)
}

fn quick() -> HttpOptions {
    HttpOptions {
        connect_timeout: Duration::from_secs(2),
        timeout: Duration::from_millis(300),
        ..HttpOptions::default()
    }
}

fn transport(endpoints: &[String], tls: Tls, ca_pem: Option<&str>) -> HttpTransport {
    HttpTransport::with_options(&settings(endpoints, tls), ca_pem.map(str::to_owned), quick()).unwrap()
}

async fn get(endpoints: &[String], tls: Tls, ca_pem: Option<&str>) -> Result<Response, SendError> {
    let answer = transport(endpoints, tls, ca_pem).send(&Request::get("/version")).await;
    let shown = format!("{answer:?}");
    assert!(!shown.contains(SECRET) && !shown.contains("api2"), "{shown}");
    answer
}

fn refused(answer: Result<Response, SendError>) -> String {
    match answer {
        Err(SendError::Refused(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

fn by_file() -> Tls {
    Tls::CaFile("ca.pem".to_owned())
}

#[tokio::test]
async fn a_certificate_of_the_right_ca_is_taken() {
    let pki = Pki::new(&["127.0.0.1"]);
    let server = Server::start(Some(pki.config()), fine()).await;
    let answer = get(&[https(&server)], by_file(), Some(&pki.ca_pem)).await.unwrap();
    assert_eq!((answer.status, answer.reason.as_str()), (200, "OK"));
    let request = server.requests().remove(0);
    assert!(request.starts_with("GET /api2/json/version HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("authorization: PVEAPIToken=root@pam!t1={SECRET}\r\n")), "{request}");
    assert!(!request.contains("content-length"), "{request}");
}

#[tokio::test]
async fn other_certificates_are_refused_with_what_to_do() {
    let pki = Pki::new(&["127.0.0.1"]);
    let server = Server::start(Some(pki.config()), fine()).await;
    let other = Pki::new(&["127.0.0.1"]);
    for tls in [by_file(), Tls::System] {
        let reason = refused(get(&[https(&server)], tls, Some(&other.ca_pem)).await);
        assert!(reason.contains("no CA that is trusted here"), "{reason}");
        assert!(["CA_FILE", "FINGERPRINT", "clusters trust"].iter().all(|word| reason.contains(word)), "{reason}");
    }
    let pki = Pki::new(&["pve1.example"]);
    let server = Server::start(Some(pki.config()), fine()).await;
    let reason = refused(get(&[https(&server)], by_file(), Some(&pki.ca_pem)).await);
    assert!(reason.contains("made out to another name") && reason.contains("pve1.example"), "{reason}");
    let pki = Pki::self_signed();
    let server = Server::start(Some(pki.config()), fine()).await;
    let reason = refused(get(&[https(&server)], by_file(), Some(&pki.ca_pem)).await);
    assert!(reason.contains("self-signed") && reason.contains("FINGERPRINT"), "{reason}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_pin_takes_its_certificate_and_no_other() {
    let pki = Pki::self_signed();
    let server = Server::start(Some(pki.config()), fine()).await;
    assert!(get(&[https(&server)], Tls::Fingerprint(vec![pki.pin()]), None).await.is_ok());
    assert!(get(&[https(&server)], Tls::Unverified, None).await.is_ok());
    let reason = refused(get(&[https(&server)], Tls::Fingerprint(vec![[0; 32]]), None).await);
    assert!(reason.contains(&tls::print_fingerprint(&pki.pin())), "{reason}");
    assert!(reason.contains("clusters trust"), "{reason}");
    assert_eq!(server.requests().len(), 2);
    let error = classify(Method::Get, Err(SendError::Refused(reason))).unwrap_err();
    assert!(matches!(error, ApiError::Tls(_)));
}

#[tokio::test]
async fn a_pinned_certificate_without_its_key_is_refused() {
    let pki = Pki::self_signed();
    // Somebody shows the right certificate and has another key.
    let key = PrivateKeyDer::try_from(KeyPair::generate().unwrap().serialize_der()).unwrap();
    let provider = rustls::crypto::ring::default_provider();
    let signer = provider.key_provider.load_private_key(key).unwrap();
    let certified = rustls::sign::CertifiedKey::new(vec![pki.server.clone()], signer);
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    let server = Server::start(Some(config), fine()).await;
    let reason = refused(get(&[https(&server)], Tls::Fingerprint(vec![pki.pin()]), None).await);
    assert!(reason.contains("signature"), "{reason}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn what_fails_while_connecting_was_never_sent() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    match get(&[format!("https://127.0.0.1:{port}")], Tls::Unverified, None).await {
        Err(SendError::NeverSent(reason)) => assert!(reason.contains("refuses the connection"), "{reason}"),
        other => panic!("{other:?}"),
    }
    match get(&["https://no-such-host.invalid:8006".to_owned()], Tls::Unverified, None).await {
        Err(SendError::NeverSent(reason)) => {
            assert!(reason.contains("no-such-host.invalid:8006 cannot be resolved"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    let server = Server::start(None, answers("400 Bad Request", "")).await;
    let reason = refused(get(&[https(&server)], Tls::Unverified, None).await);
    assert!(reason.contains("does not speak TLS"), "{reason}");
}

#[tokio::test]
async fn what_fails_after_sending_may_have_been_carried_out() {
    for (does, text) in
        [(Does::Breaks, "broke"), (Does::IsSilent, "did not answer in time"), (Does::StopsHalfway, "broke")]
    {
        let server = Server::start(None, does).await;
        match get(&[http(&server)], Tls::Unverified, None).await {
            Err(SendError::MaybeApplied(reason)) => assert!(reason.contains(text), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn proxmoxs_own_statuses_and_phrases_arrive() {
    let server = Server::start(None, answers("596 Connection timed out", "")).await;
    let answer = get(&[http(&server)], Tls::Unverified, None).await.unwrap();
    assert_eq!((answer.status, answer.reason.as_str(), answer.body.as_str()), (596, "Connection timed out", ""));
    let server = Server::start(None, answers("500 VM is locked (backup)", r#"{"data":null}"#)).await;
    let answer = get(&[http(&server)], Tls::Unverified, None).await;
    assert!(matches!(classify(Method::Put, answer), Err(ApiError::Locked(..))));
    // A redirect is not followed: the token stays here.
    let server = Server::start(None, answers("301 Moved\r\nLocation: http://127.0.0.1:1/", "")).await;
    assert_eq!(get(&[http(&server)], Tls::Unverified, None).await.unwrap().status, 301);
}

#[tokio::test]
async fn parameters_go_where_proxmox_reads_them() {
    let server = Server::start(None, fine()).await;
    let transport = transport(&[http(&server)], Tls::Unverified, None);
    for request in [
        Request::new(Method::Put, "/x").with("scsi0", "a:8,ssd=1"),
        Request::new(Method::Post, "/x"),
        Request::new(Method::Delete, "/x").with("purge", "1"),
    ] {
        transport.send(&request).await.unwrap();
    }
    let requests = server.requests();
    assert!(requests[0].starts_with("PUT /api2/json/x HTTP/1.1"), "{}", requests[0]);
    assert!(requests[0].contains("content-type: application/x-www-form-urlencoded"), "{}", requests[0]);
    assert!(requests[0].ends_with("\r\n\r\nscsi0=a%3A8%2Cssd%3D1"), "{}", requests[0]);
    // Proxmox knows no chunked bodies: an empty one has its length all the same.
    assert!(requests[1].contains("content-length: 0"), "{}", requests[1]);
    assert!(requests[2].starts_with("DELETE /api2/json/x?purge=1 HTTP/1.1"), "{}", requests[2]);
    assert!(!requests[2].contains("content-length"), "{}", requests[2]);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn long_answers_come_packed_and_are_read() {
    let server = Server::start(None, Does::Packs).await;
    let answer = get(&[http(&server)], Tls::Unverified, None).await.unwrap();
    assert_eq!(answer.body, long_list());
    assert!(server.requests()[0].contains("accept-encoding: gzip\r\n"), "{}", server.requests()[0]);
}

#[tokio::test]
async fn a_connection_serves_until_the_servers_last_request() {
    let server = Server::start(None, Does::Counts(100)).await;
    let transport = transport(&[http(&server)], Tls::Unverified, None);
    for number in 0..250 {
        // A write, too: what was not taken by a closing connection was not sent.
        let method = if number % 2 == 0 { Method::Get } else { Method::Put };
        assert_eq!(transport.send(&Request::new(method, "/x")).await.unwrap().status, 200);
    }
    assert_eq!((server.requests().len(), server.connections()), (250, 3));
}

#[tokio::test]
async fn the_next_endpoint_is_asked_only_where_nothing_was_sent() {
    let pki = Pki::self_signed();
    let good = Server::start(Some(pki.config()), fine()).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = format!("https://{}", closed.local_addr().unwrap());
    drop(closed);
    let transport = transport(&[dead, https(&good)], Tls::Fingerprint(vec![pki.pin()]), None);
    transport.send(&Request::get("/version")).await.unwrap();
    assert!(transport.wire.all[0].rests() && !transport.wire.all[1].rests());
    transport.send(&Request::get("/version")).await.unwrap();
    assert_eq!(good.requests().len(), 2);

    let other = Server::start(Some(Pki::self_signed().config()), fine()).await;
    let answer = get(&[https(&other), https(&good)], Tls::Fingerprint(vec![pki.pin()]), None).await;
    refused(answer);
    let broken = Server::start(Some(pki.config()), Does::Breaks).await;
    let endpoints = [https(&broken), https(&good)];
    let transport = self::transport(&endpoints, Tls::Fingerprint(vec![pki.pin()]), None);
    let answer = transport.send(&Request::new(Method::Put, "/x")).await;
    assert!(matches!(answer, Err(SendError::MaybeApplied(_))));
    assert_eq!(good.requests().len(), 2);
    // A read is asked elsewhere, whatever became of it here.
    let transport = self::transport(&endpoints, Tls::Fingerprint(vec![pki.pin()]), None);
    transport.send(&Request::get("/version")).await.unwrap();
    assert_eq!(good.requests().len(), 3);
}

#[tokio::test]
async fn a_node_is_asked_at_its_own_address() {
    let (first, second) = (Server::start(None, fine()).await, Server::start(None, fine()).await);
    let endpoints = [http(&first), format!("http://localhost:{}", second.port)];
    let transport = transport(&endpoints, Tls::Unverified, None);
    for path in ["/version", "/nodes/localhost/qemu", "/nodes/local/qemu", "/nodes/127/lxc"] {
        transport.send(&Request::get(path)).await.unwrap();
    }
    assert_eq!((first.requests().len(), second.requests().len()), (3, 1));
}

#[tokio::test]
async fn a_node_is_asked_at_the_address_that_it_is_behind() {
    let (first, second) = (Server::start(None, Does::IsNode("a")).await, Server::start(None, Does::IsNode("b")).await);
    let transport = transport(&[http(&first), http(&second)], Tls::Unverified, None);
    transport.send(&Request::get("/version")).await.unwrap();
    while !transport.wire.all.iter().all(Endpoint::is_learnt) {
        tokio::task::yield_now().await;
    }
    for path in ["/nodes/b/qemu", "/nodes/a/qemu", "/nodes/b/lxc", "/nodes/c/lxc"] {
        transport.send(&Request::get(path)).await.unwrap();
    }
    assert_eq!((first.requests().len(), second.requests().len()), (3, 2));
    // Each was asked once.
    let all = first.requests.lock().unwrap().len() + second.requests.lock().unwrap().len();
    assert_eq!(all, 7);
}

#[tokio::test]
async fn a_node_that_hangs_holds_back_only_itself() {
    let server = Server::start(None, Does::IsSilent).await;
    let options = HttpOptions { timeout: Duration::from_secs(60), ..quick() };
    let mut settings = settings(&[http(&server)], Tls::Unverified);
    settings.limits = Limits { per_node: 1, in_all: 8 };
    let transport = Arc::new(HttpTransport::with_options(&settings, None, options).unwrap());
    let mut running = tokio::task::JoinSet::new();
    for path in ["/nodes/a/qemu", "/nodes/a/lxc", "/nodes/b/qemu", "/version"] {
        let transport = Arc::clone(&transport);
        running.spawn(async move { transport.send(&Request::get(path)).await });
    }
    while server.requests().len() < 3 {
        tokio::task::yield_now().await;
    }
    let asked = server.requests().concat();
    assert!(asked.contains("/nodes/b/qemu") && asked.contains("/version"), "{asked}");
    assert_eq!(asked.matches("/nodes/a/").count(), 1, "{asked}");
}

#[tokio::test]
async fn each_request_is_told_of_without_anything_secret() {
    let server = Server::start(None, answers("500 no such thing", r#"{"data":null}"#)).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let observer: Observer = {
        let seen = Arc::clone(&seen);
        Arc::new(move |exchange| seen.lock().unwrap().push(format!("{exchange:?}")))
    };
    let options = HttpOptions { observer: Some(observer), ..quick() };
    let mut settings = settings(&[dead, http(&server)], Tls::Unverified);
    settings.credentials.login =
        Some(TicketLogin { username: "root@pam".to_owned(), password: Secret::new("canary-password") });
    let transport = HttpTransport::with_options(&settings, None, options).unwrap();
    let request = Request::new(Method::Put, "/nodes/a/qemu/100/config").with("cipassword", "canary-value");
    observe::counted(transport.send(&request)).await.unwrap();
    // This one is root's, so it begins with a login.
    let _ = transport.send(&request.with("args", "-x")).await;
    let seen = seen.lock().unwrap().join("\n");
    for part in
        ["attempt: 1, status: None", "attempt: 2, status: Some(500)", "no such thing", "cipassword", "/access/ticket"]
    {
        assert!(seen.contains(part), "{part} in {seen}");
    }
    assert!(!seen.contains("canary") && !seen.contains(SECRET), "{seen}");
    let shown = format!("{transport:?} {settings:?} {request:?}", request = Request::get("/x").with("a", "canary"));
    assert!(!shown.contains("canary") && !shown.contains(SECRET), "{shown}");
}

#[tokio::test]
async fn a_password_alone_logs_in_over_the_wire() {
    let ticket = r#"{"data":{"ticket":"PVE:root@pam:6B::a+/b==","CSRFPreventionToken":"6B:c+/d"}}"#;
    let server = Server::start(None, answers("200 OK", ticket)).await;
    let mut settings = settings(&[http(&server)], Tls::Unverified);
    settings.credentials = Credentials {
        token: None,
        login: Some(TicketLogin { username: "root@pam".to_owned(), password: Secret::new("a b;c=d&é") }),
    };
    let transport = HttpTransport::with_options(&settings, None, quick()).unwrap();
    transport.send(&Request::get("/version")).await.unwrap();
    transport.send(&Request::new(Method::Delete, "/nodes/a/qemu/100").with("purge", "1")).await.unwrap();
    let requests = server.requests();
    assert!(requests[0].ends_with("\r\n\r\nusername=root%40pam&password=a%20b%3Bc%3Dd%26%C3%A9"), "{}", requests[0]);
    let cookie = "cookie: PVEAuthCookie=PVE%3Aroot%40pam%3A6B%3A%3Aa%2B%2Fb%3D%3D\r\n";
    assert!(requests[1].contains(cookie) && !requests[1].contains("csrfpreventiontoken"), "{}", requests[1]);
    assert!(
        requests[2].contains(cookie) && requests[2].contains("csrfpreventiontoken: 6B:c+/d\r\n"),
        "{}",
        requests[2]
    );
    assert!(!requests[2].contains("authorization"), "{}", requests[2]);
}

#[tokio::test]
async fn the_fingerprint_that_a_server_shows_can_be_asked_for() {
    let pki = Pki::self_signed();
    let server = Server::start(Some(pki.config()), fine()).await;
    let wait = Duration::from_secs(2);
    assert_eq!(tls::shown_fingerprint(&https(&server), wait).await, Ok(pki.pin()));
    assert!(server.requests().is_empty());
    let pinned = |pin| Tls::Fingerprint(vec![[7; 32], pin]);
    assert_eq!(tls::verdict(&https(&server), &pinned(pki.pin()), None, wait).await, Ok(pki.pin()));
    let reason = tls::verdict(&https(&server), &pinned([8; 32]), None, wait).await.unwrap_err();
    assert!(reason.contains("is not the one that FINGERPRINT names"), "{reason}");
    let plain = Server::start(None, fine()).await;
    let reason = tls::shown_fingerprint(&https(&plain), wait).await.unwrap_err();
    assert!(reason.contains("does not speak TLS"), "{reason}");
    assert!(tls::shown_fingerprint("no address", wait).await.unwrap_err().contains("no address"));
}

#[tokio::test]
async fn no_more_requests_are_under_way_than_allowed() {
    let server = Server::start(None, Does::IsSilent).await;
    let mut settings = settings(&[http(&server)], Tls::Unverified);
    settings.limits = Limits { per_node: 8, in_all: 2 };
    let options = HttpOptions { timeout: Duration::from_millis(200), ..quick() };
    let transport = Arc::new(HttpTransport::with_options(&settings, None, options).unwrap());
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let transport = Arc::clone(&transport);
        running.spawn(async move { transport.send(&Request::get("/version")).await });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.requests().len(), 2);
    running.join_all().await;
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn settings_that_cannot_work_say_so_and_hold_no_secret() {
    let endpoint = ["https://127.0.0.1:8006".to_owned()];
    let make = |settings: &ClusterSettings, pem: Option<&str>| {
        HttpTransport::new(settings, pem.map(str::to_owned)).unwrap_err().to_string()
    };
    let mut without = settings(&endpoint, Tls::Unverified);
    without.credentials.token = None;
    assert!(make(&without, None).contains("no credentials are set"));
    assert!(make(&settings(&[], Tls::Unverified), None).contains("API_URL"));
    let file = settings(&endpoint, by_file());
    assert!(make(&file, None).contains("was not read"));
    assert!(make(&file, Some("no certificate")).contains("holds no certificate"));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(make(&file, Some(broken)).contains("bad certificate"));
    let mut bad = settings(&endpoint, Tls::Unverified);
    bad.credentials.token = Some(Token { id: "root@pam!t1".to_owned(), secret: Secret::new("with\nbreak") });
    let text = make(&bad, None);
    assert!(text.contains("line break") && !text.contains("with\n"), "{text}");
    let shown = format!("{:?}", HttpTransport::new(&settings(&endpoint, Tls::Unverified), None).unwrap());
    assert!(!shown.contains(SECRET), "{shown}");
}
