//! Several clusters at once: routing, single owners, credentials read anew.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::client::fake::{Answer, Fake, data, never_sent, refusal};
use crate::clusters::settings::Pattern;
use crate::clusters::{Access, Credentials, Token, VmidRange};
use crate::pve::http::{Request, Transport};
use crate::secret::Secret;

fn settings(name: &str, tls: Tls) -> ClusterSettings {
    let token = Token { id: "root@pam!t1".to_owned(), secret: Secret::new("s") };
    ClusterSettings {
        endpoints: vec!["https://127.0.0.1:1".to_owned()],
        credentials: Credentials { token: Some(token), login: None },
        tls,
        access: Access::Read,
        ..ClusterSettings::named(name)
    }
}

fn registry(clusters: Vec<ClusterSettings>) -> Registry {
    Registry { clusters, ..Registry::of_names([]) }
}

#[test]
fn settings_that_cannot_work_hurt_only_their_own_cluster() {
    let registry = registry(vec![settings("good", Tls::Unverified), settings("bad", Tls::CaFile("ca.pem".to_owned()))]);
    let clients = MultiClusterClient::connect(&registry, |_| Err(std::io::ErrorKind::NotFound.into()));
    assert_eq!(clients.names().collect::<Vec<_>>(), ["good", "bad"]);
    assert_eq!(clients.get("good").unwrap().options().access, Access::Read);
    let texts: Vec<String> = ["bad", "none"].map(|name| clients.get(name).unwrap_err().to_string()).into();
    assert_eq!(
        texts,
        ["Cannot connect to cluster 'bad': CA_FILE ca.pem cannot be read: entity not found", "Cluster not found: none"]
    );
}

#[tokio::test(start_paused = true)]
async fn credentials_are_read_anew_when_their_time_is_over() {
    for (ttl, expected) in [(3600, [0, 0, 1, 1]), (0, [0, 1, 2, 3])] {
        let registry =
            Registry { cache_ttl: Duration::from_secs(ttl), ..registry(vec![settings("a", Tls::Unverified)]) };
        let reloads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reloads);
        let reload = move |name: &str| {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(settings(name, Tls::Unverified))
        };
        let connect =
            Connect { reload: Some(Box::new(reload)), ..Connect::new(|_| Err(std::io::ErrorKind::NotFound.into())) };
        let clients = MultiClusterClient::connect_with(&registry, connect);
        for (wait, expected) in [0, 3599, 1, 0].into_iter().zip(expected) {
            tokio::time::advance(Duration::from_secs(wait)).await;
            clients.get("a").unwrap();
            assert_eq!(reloads.load(Ordering::SeqCst), expected, "{ttl} {wait}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_credentials_were_refused_is_dropped_at_once() {
    let (client, _) = Fake::default().on("GET /version", refusal(401, "No ticket")).client();
    assert!(!client.is_unauthorized());
    client.read(&Request::get("/version")).await.unwrap_err();
    assert!(client.is_unauthorized());
}

fn client(name: &str, fake: Fake) -> (ClusterClient, Arc<Fake>) {
    let fake = Arc::new(fake);
    let transport: Arc<dyn Transport> = Arc::<Fake>::clone(&fake);
    (ClusterClient::new(name, transport), fake)
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_down_costs_only_itself() {
    let one = |name: &str, answer| client(name, Fake::default().on("GET /version", answer)).0;
    let hangs = client("d", Fake::slow(Duration::from_secs(36_000))).0;
    let options = ClientOptions { read_deadline: Duration::from_secs(36_000), ..ClientOptions::default() };
    let (hangs_long, _) = Fake::slow(Duration::from_secs(36_000)).client_with(options);
    let clients = MultiClusterClient::from_clients([
        one("a", data(json!("9.1.9"))),
        one("b", never_sent()),
        one("c", refusal(401, "No ticket")),
        hangs,
        hangs_long,
    ]);
    let started = Instant::now();
    let versions = clients
        .each(|client| async move { client.read(&Request::get("/version")).await.map(|value| value.to_string()) })
        .await;
    let shown: BTreeMap<&str, String> = versions
        .iter()
        .map(|(name, result)| (name.as_str(), result.as_ref().map_or_else(ToString::to_string, Clone::clone)))
        .collect();
    assert_eq!(shown["a"], "\"9.1.9\"");
    assert_eq!(shown["b"], "Cannot connect to cluster 'b': pve1:8006 refuses the connection");
    assert!(shown["c"].starts_with("cluster 'c': authentication failed: No ticket (check TOKEN_ID"), "{}", shown["c"]);
    assert_eq!(shown["d"], "Cannot connect to cluster 'd': no answer within 90 s");
    assert_eq!(shown["test"], "Cannot connect to cluster 'test': it did not answer within 120 s");
    assert_eq!(started.elapsed().as_secs(), 120);
}

/// A cluster of one node with these VMs.
fn having(guests: &[(u32, &str)]) -> Fake {
    let rows: Vec<Value> =
        guests.iter().map(|(vmid, name)| json!({"vmid": vmid, "name": name, "type": "qemu", "node": "n"})).collect();
    let done = data(json!("UPID:n:000002FC:0005D906:6B02949B:qmstop:100:root@pam!test:"));
    let mut fake = Fake::default()
        .on("GET /cluster/resources?type=vm", data(json!(rows)))
        .on("GET /nodes/n/qemu", data(json!(rows)))
        .on("POST /nodes/n/qemu", done.clone());
    for (vmid, _) in guests {
        fake = fake.on(&format!("POST /nodes/n/qemu/{vmid}/status/stop"), done.clone());
    }
    fake
}

fn three(down: Option<Answer>) -> (MultiClusterClient, BTreeMap<&'static str, Arc<Fake>>) {
    let mut registry = Registry::of_names(["a", "b", "c"].map(str::to_owned));
    registry.patterns.push(Pattern { text: "web-".to_owned(), regex: None, cluster: "a".to_owned() });
    registry.patterns.push(Pattern { text: "web-x".to_owned(), regex: None, cluster: "b".to_owned() });
    let id = |number| Vmid::new(number).unwrap();
    registry.ranges.push((VmidRange { first: id(500), last: id(599) }, "b".to_owned()));
    registry.clusters[0].default_node = Some("n".to_owned());
    let (a, fake_a) = client("a", having(&[(100, "web-1"), (101, "twin"), (102, "twin"), (500, "x")]));
    let (b, fake_b) = client("b", having(&[(100, "db"), (500, "y"), (300, "alone")]));
    let third = match down {
        Some(answer) => Fake::default().on("GET /cluster/resources?type=vm", answer),
        None => having(&[(300, "c-300")]),
    };
    let (c, fake_c) = client("c", third);
    let fakes = BTreeMap::from([("a", fake_a), ("b", fake_b), ("c", fake_c)]);
    (MultiClusterClient::from_parts(registry, [a, b, c]), fakes)
}

/// `cluster name vmid`, with `-` for what is not given.
fn target(text: &str) -> Target<'_> {
    let parts: Vec<Option<&str>> = text.split(' ').map(|part| (part != "-").then_some(part)).collect();
    Target { cluster: parts[0], name: parts[1], vmid: parts[2].map(|vmid| vmid.parse().unwrap()) }
}

#[tokio::test(start_paused = true)]
async fn a_write_reaches_the_cluster_that_is_meant_and_no_other() {
    let stop = Action::Stop;
    for (meant, expected) in [
        ("b - 100", "b 100"),
        ("- web-1 -", "a 100"),
        ("- web-1 100", "a 100"),
        ("- - 500", "b 500"),
        ("- db -", "b 100"),
        ("- alone -", "b 300"),
        ("- - 101", "a 101"),
        ("- - 100", "Ambiguous cluster selection for '100'. Candidates: a, b. Please specify cluster explicitly."),
        ("- - 300", "Ambiguous cluster selection for '300'. Candidates: b, c. Please specify cluster explicitly."),
        ("- web-x -", "Ambiguous cluster selection for 'web-x'. Candidates: a, b. Please specify cluster explicitly."),
        ("d - 100", "Cluster not found: d"),
        ("- twin -", "cluster 'a': 2 guests are named twin: 101, 102"),
        ("a - 300", "cluster 'a': there is no guest 300, or it cannot be seen"),
        ("- nobody -", "cluster 'a, b, c': there is no guest nobody, or it cannot be seen"),
        ("- - -", "cluster 'a, b, c': there is no guest , or it cannot be seen"),
    ] {
        let (clients, fakes) = three(None);
        let shown = match clients.act(&target(meant), &stop).await {
            Ok(started) => {
                assert!(started.upid.is_some());
                format!("{} {}", started.cluster, started.vmid)
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected, "{meant}");
        let writes: Vec<String> = fakes
            .iter()
            .flat_map(|(name, fake)| fake.log().into_iter().map(move |call| format!("{name} {call}")))
            .filter(|call| !call.contains("GET"))
            .collect();
        let sent = expected.split_once(' ').filter(|(cluster, _)| cluster.len() == 1);
        let sent = sent.map(|(cluster, vmid)| format!("{cluster} POST /nodes/n/qemu/{vmid}/status/stop"));
        assert_eq!(writes, sent.into_iter().collect::<Vec<_>>(), "{meant}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_owner_is_certain_only_where_every_cluster_answered() {
    let (clients, _) = three(Some(never_sent()));
    let error = clients.act(&target("- - 101"), &Action::Stop).await.unwrap_err();
    assert!(matches!(&error, ClusterError::ClusterConnection(name, _) if name == "c"), "{error}");
    assert!(clients.act(&target("a - 101"), &Action::Stop).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_new_guest_needs_a_cluster_a_node_and_an_id() {
    for (meant, expected) in [
        ("- web-9 900", "a"),
        ("b web-9 900", "cluster 'b': a node is missing"),
        ("a web-9 -", "cluster 'a': a vmid is missing"),
        ("- new 900", "Ambiguous cluster selection for 'new'. Candidates: a, b, c. Please specify cluster explicitly."),
    ] {
        let (clients, _) = three(None);
        let made = clients.create(&target(meant), GuestKind::Qemu, None, Vec::new()).await;
        let shown = made.map_or_else(|error| error.to_string(), |started| started.cluster);
        assert_eq!(shown, expected, "{meant}");
    }
    // Where there is one cluster, there is no doubt.
    let clients = MultiClusterClient::from_clients([client("only", having(&[])).0]);
    assert!(clients.create(&target("- new 900"), GuestKind::Qemu, Some("n"), Vec::new()).await.is_ok());
}

#[test]
fn a_read_falls_through_to_the_default_cluster() {
    let (clients, _) = three(None);
    for (meant, expected) in [("- - 100", "a"), ("- - 500", "b"), ("- c-7 -", "c"), ("c web-1 -", "c"), ("- - -", "a")]
    {
        assert_eq!(clients.route(&target(meant)).unwrap().name(), expected, "{meant}");
    }
}
