//! The simulator's HTTPS face, as a client sees it.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use pvefleet::sim::server::{Endpoint, Options, Server};
use pvefleet::sim::transport::lock;
use pvefleet::sim::{Cluster, Effect, Fault, FaultKind, world};
use reqwest::{Client, Method};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

/// A client that trusts the server's authority and nobody else.
fn client(endpoint: &Endpoint) -> Client {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(endpoint.ca_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    // What is packed shall be seen as it came.
    Client::builder().no_gzip().tls_backend_preconfigured(config).build().unwrap()
}

struct Caller {
    client: Client,
    endpoint: Endpoint,
}

impl Caller {
    async fn send(&self, method: Method, path: &str, body: &str, kind: &str) -> Result<(u16, String), reqwest::Error> {
        let token = format!("PVEAPIToken={}={}", self.endpoint.token_id, self.endpoint.token_secret);
        let request = self.client.request(method, format!("{}/api2/json{path}", self.endpoint.url));
        let mut request = request.header("Authorization", token);
        if !body.is_empty() {
            request = request.header("Content-Type", kind).body(body.to_owned());
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        Ok((status, text))
    }

    async fn form(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        let (status, text) = self.send(method, path, body, "application/x-www-form-urlencoded").await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

#[tokio::test]
async fn clusters_are_served_with_their_own_authority() {
    let clusters =
        ["production", "staging"].map(|name| (name.to_owned(), Cluster::new(world::builtin(name), 1))).into();
    let running = Server::start(clusters, Options::default()).await.unwrap();
    let caller = |index: usize| {
        let endpoint = running.endpoints()[index].clone();
        Caller { client: client(&endpoint), endpoint }
    };
    let production = caller(0);
    let (status, body) = production.form(Method::GET, "/cluster/status", "").await;
    assert_eq!((status, &body["data"][0]["name"]), (200, &Value::from("production")));
    let (status, body) = production.form(Method::GET, "/cluster/resources?type=vm", "").await;
    assert_eq!((status, body["data"].as_array().unwrap().len()), (200, 5));

    let staging = caller(1);
    let (status, _) = staging.form(Method::PUT, "/nodes/stg1/qemu/110/config", "cores=3&tags=b%3Ba").await;
    assert_eq!(status, 200);
    let (_, body) = staging.form(Method::GET, "/nodes/stg1/qemu/110/config", "").await;
    assert_eq!((&body["data"]["cores"], &body["data"]["tags"]), (&Value::from(3), &Value::from("a;b")));
    let json = r#"{"cores": 2, "onboot": true}"#;
    let (status, _) = staging.send(Method::PUT, "/nodes/stg1/qemu/110/config", json, "application/json").await.unwrap();
    assert_eq!(status, 200);
    let (status, text) = staging.send(Method::DELETE, "/nodes/stg1/qemu/110", "purge=1", "text/plain").await.unwrap();
    assert_eq!((status, text.as_str()), (501, "Unexpected content for method 'DELETE'"));
    let (status, text) =
        staging.send(Method::PUT, "/nodes/stg1/qemu/110/config", "cores=2", "text/plain").await.unwrap();
    assert_eq!((status, text.as_str()), (506, "upload 'Content-Type 'text/plain' not implemented"));

    // The reason phrase carries the text of an error, and the connection ends.
    let url = format!("{}/api2/json/nodes/stg1/qemu/999/config", staging.endpoint.url);
    let token = format!("PVEAPIToken={}={}", staging.endpoint.token_id, staging.endpoint.token_secret);
    let response = staging.client.get(url).header("Authorization", token).send().await.unwrap();
    let reason = response.extensions().get::<hyper::ext::ReasonPhrase>().unwrap();
    assert_eq!(reason.as_bytes(), b"Configuration file 'nodes/stg1/qemu-server/999.conf' does not exist");
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!(response.headers()["server"], "pve-api-daemon/3.0");

    // Nobody else's authority is trusted, and no credential is a refusal without a word.
    let stranger = Caller { client: client(&running.endpoints()[0]), endpoint: staging.endpoint.clone() };
    assert_eq!(stranger.form(Method::GET, "/version", "").await.0, 200);
    let bare = staging.client.get(format!("{}/api2/json/version", staging.endpoint.url)).send().await.unwrap();
    assert_eq!((bare.status().as_u16(), bare.text().await.unwrap()), (401, String::new()));
    let log = running.access_log("staging");
    assert_eq!(log.last().unwrap().status, 401);
    assert!(log.iter().all(|entry| !entry.unimplemented));
    running.stop().await;
}

#[tokio::test]
async fn faults_are_seen_over_https() {
    let cluster = Cluster::new(world::builtin("staging"), 1);
    let running = Server::start(vec![("staging".to_owned(), cluster)], Options::default()).await.unwrap();
    let endpoint = running.endpoints()[0].clone();
    let caller = Caller { client: client(&endpoint), endpoint };
    let shared = running.cluster("staging").unwrap();
    let broken = FaultKind::Status { code: 500, text: "got no worker upid".to_owned(), effect: Effect::None };
    lock(&shared).inject(Fault::new("PUT", "*/config", broken));
    let (status, body) = caller.form(Method::PUT, "/nodes/stg1/qemu/110/config", "cores=3").await;
    assert_eq!((status, &body["message"]), (500, &Value::from("got no worker upid\n")));
    lock(&shared).clear_faults();
    lock(&shared).inject(Fault::new("PUT", "*/config", FaultKind::AnswerLost).once_after(0));
    let lost = caller.send(Method::PUT, "/nodes/stg1/qemu/110/config", "cores=4", "application/x-www-form-urlencoded");
    assert!(lost.await.is_err());
    let (_, body) = caller.form(Method::GET, "/nodes/stg1/qemu/110/config", "").await;
    assert_eq!(body["data"]["cores"], 4);
    lock(&shared).set_node_online("stg1", false);
    let fresh = Caller { client: client(&caller.endpoint), endpoint: caller.endpoint.clone() };
    assert!(fresh.send(Method::GET, "/version", "", "").await.unwrap_err().is_connect());
    running.stop().await;
}

/// A cluster that is served, with a client for it that unpacks nothing.
async fn served(spec: pvefleet::sim::ClusterSpec) -> (pvefleet::sim::server::Running, Caller) {
    let name = spec.name.clone();
    let running = Server::start(vec![(name, Cluster::new(spec, 1))], Options::default()).await.unwrap();
    let endpoint = running.endpoints()[0].clone();
    (running, Caller { client: client(&endpoint), endpoint })
}

impl Caller {
    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let token = format!("PVEAPIToken={}={}", self.endpoint.token_id, self.endpoint.token_secret);
        self.client.request(method, format!("{}{path}", self.endpoint.url)).header("Authorization", token)
    }
}

#[tokio::test]
async fn connections_are_kept_by_the_worlds_rules() {
    let mut spec = world::builtin("staging");
    (spec.connections.requests, spec.connections.close_on_error) = (3, false);
    let (running, caller) = served(spec).await;
    let mut kept = Vec::new();
    for path in ["/version", "/nodes/stg1/qemu/999/config", "/version", "/version"] {
        let response = caller.request(Method::GET, &format!("/api2/json{path}")).send().await.unwrap();
        kept.push(response.headers()["connection"].to_str().unwrap().to_owned());
        assert!(response.headers().contains_key("expires") && response.headers()["pragma"] == "no-cache");
        response.text().await.unwrap();
    }
    assert_eq!(kept, ["Keep-Alive", "Keep-Alive", "close", "Keep-Alive"]);
    running.stop().await;
}

#[tokio::test]
async fn what_is_asked_for_is_packed() {
    use std::io::Read;
    let (running, caller) = served(world::builtin("production")).await;
    let resources = || caller.request(Method::GET, "/api2/json/cluster/resources");
    let plain = resources().header("Accept-Encoding", "identity").send().await.unwrap();
    assert!(!plain.headers().contains_key("content-encoding"));
    let plain = plain.bytes().await.unwrap();
    for (asked, coding) in [("gzip, deflate", "gzip"), ("deflate", "deflate")] {
        let packed = resources().header("Accept-Encoding", asked).send().await.unwrap();
        assert_eq!(packed.headers()["content-encoding"], coding);
        let packed = packed.bytes().await.unwrap();
        let mut body = Vec::new();
        if coding == "gzip" {
            flate2::read::GzDecoder::new(packed.as_ref()).read_to_end(&mut body).unwrap();
        } else {
            flate2::read::ZlibDecoder::new(packed.as_ref()).read_to_end(&mut body).unwrap();
        }
        assert!(packed.len() < plain.len() && body == plain);
    }
    let short =
        caller.request(Method::GET, "/api2/json/version").header("Accept-Encoding", "gzip").send().await.unwrap();
    assert!(!short.headers().contains_key("content-encoding"), "not worth it");
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_call_of_the_api_is_answered_as_there() {
    let (running, caller) = served(world::builtin("staging")).await;
    for (method, path, status, body) in [
        (Method::HEAD, "/api2/json/version", 501, ""),
        (Method::OPTIONS, "/api2/json/version", 501, ""),
        (Method::PATCH, "/api2/json/version", 501, ""),
        (Method::GET, "/api2/html/nodes", 501, "format 'html' is not simulated; use /api2/json"),
        (Method::GET, "/api2/", 501, "no such uri"),
        (Method::GET, "/", 501, "the web interface is not simulated"),
        (Method::GET, "/x", 500, "no such file '/x'"),
    ] {
        let response = caller.request(method.clone(), path).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.headers()["connection"].to_str().unwrap()), (status, "close"));
        assert_eq!(response.text().await.unwrap(), body, "{method} {path}");
    }
    let large = caller.request(Method::PUT, "/api2/json/nodes/stg1/qemu/110/config");
    let large = large.header("Content-Type", "application/x-www-form-urlencoded").body("a=".repeat(300_000));
    // The answer may come while the body is still being sent, which some clients take for a broken connection.
    if let Ok(response) = large.send().await {
        assert_eq!((response.status().as_u16(), response.text().await.unwrap().as_str()), (501, "for data too large"));
    }
    let inside = caller.request(Method::GET, "/api2/extjs/nodes/stg1/qemu/999/config").send().await.unwrap();
    assert_eq!(inside.status(), 200);
    let inside: Value = inside.json().await.unwrap();
    assert_eq!((&inside["success"], &inside["status"]), (&Value::from(0), &Value::from(500)));
    // Without TLS it says where to go.
    let plain = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let plain = plain.tls_backend_preconfigured(config).build().unwrap();
    let url = format!("{}/api2/json/version", caller.endpoint.url.replace("https", "http"));
    let moved = plain.get(&url).send().await.unwrap();
    assert_eq!(moved.status(), 301);
    assert_eq!(moved.headers()["location"].to_str().unwrap(), format!("{}/api2/json/version", caller.endpoint.url));
    assert_eq!(plain.post(&url).send().await.unwrap().status(), 308);
    running.stop().await;
}

#[tokio::test]
async fn a_request_that_hangs_ends_with_its_client_and_a_cut_one_was_not_done() {
    let (running, caller) = served(world::builtin("staging")).await;
    let shared = running.cluster("staging").unwrap();
    let hang = Fault::new("PUT", "*/config", FaultKind::Hang { effect: Effect::Done }).once_after(0);
    lock(&shared).set_faults(vec![hang, Fault::new("PUT", "*/config", FaultKind::RequestCut).once_after(0)]);
    let put = |cores: &str| {
        let request = caller.request(Method::PUT, "/api2/json/nodes/stg1/qemu/110/config");
        request.form(&[("cores", cores)]).timeout(std::time::Duration::from_millis(300))
    };
    assert!(put("3").send().await.unwrap_err().is_timeout());
    let cores = async || caller.form(Method::GET, "/nodes/stg1/qemu/110/config", "").await.1["data"]["cores"].clone();
    assert_eq!(cores().await, 3);
    let cut = put("4").send().await.unwrap_err();
    assert!(!cut.is_timeout() && !cut.is_connect(), "{cut:?}");
    assert_eq!(cores().await, 3);
    assert_eq!(put("5").send().await.unwrap().status(), 200);
    lock(&shared).set_faults(vec![Fault::always(FaultKind::TicketExpired).once_after(0)]);
    assert_eq!(put("6").send().await.unwrap().status(), 401);
    running.stop().await;
}
