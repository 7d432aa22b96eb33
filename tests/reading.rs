//! Reading simulated clusters, in process and over HTTPS.

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use pvefleet::client::{
        ClusterClient, ClusterError, Connect, Discover, HttpTransport, MultiClusterClient, ReadOnlyClient, Reader,
    };
    use pvefleet::clusters::{ClusterSettings, Credentials, Registry, Tls, Token};
    use pvefleet::gather::health;
    use pvefleet::gather::{self, Wanted};
    use pvefleet::live::HealthStatus;
    use pvefleet::live::{LiveCluster, Power, Read};
    use pvefleet::pve::http::{ApiError, Method, Request};
    use pvefleet::pve::value::{GuestKind, TaskEnd, Upid, Vmid};
    use pvefleet::secret::Secret;
    use pvefleet::sim::server::{Endpoint, Options, Running, Server};
    use pvefleet::sim::transport::{SharedCluster, SimTransport, lock};
    use pvefleet::sim::world::{GrantSpec, NodeSpec, TokenSpec, builtin};
    use pvefleet::sim::{Cluster, Fault, FaultKind};

    fn simulated(world: &str) -> (ClusterClient, SharedCluster) {
        let cluster = Arc::new(Mutex::new(Cluster::new(builtin(world), 1)));
        let transport = SimTransport::first(Arc::clone(&cluster)).with_latency(Duration::from_millis(8));
        (ClusterClient::new(world, Arc::new(transport)), cluster)
    }

    fn vmid(number: u32) -> Vmid {
        Vmid::new(number).unwrap()
    }

    fn wanted(vmids: &[u32]) -> Wanted {
        Wanted {
            fleet_tag: "pvefleet-home".to_owned(),
            vmids: vmids.iter().copied().map(vmid).collect(),
            names: BTreeSet::from(["debian-12".to_owned()]),
            preflight: true,
            ..Wanted::default()
        }
    }

    async fn read(client: &ClusterClient, vmids: &[u32]) -> LiveCluster {
        match gather::cluster(client, &wanted(vmids)).await {
            Read::Known(live) => live,
            other => panic!("{other:?}"),
        }
    }

    async fn clone(client: &ClusterClient, new: u32) -> Upid {
        let request = Request::new(Method::Post, "/nodes/stg1/qemu/9000/clone").with("newid", new.to_string());
        client.write(&request.with("name", "web")).await.unwrap().as_str().unwrap().parse().unwrap()
    }

    fn everything_is_known(live: &LiveCluster) {
        let text = serde_json::to_string(live).unwrap();
        assert!(!text.contains("\"unread\""), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_cluster_is_read_without_a_gap() {
        let (client, cluster) = simulated("production");
        let spec = builtin("production");
        let live = gather::snapshot(&ReadOnlyClient::from(client), &wanted(&[150])).await;
        let live = live.known().unwrap();
        everything_is_known(live);
        assert_eq!(live.identity.cluster.as_deref(), Some("production"));
        assert_eq!(live.nodes.len(), spec.nodes.len());
        assert_eq!(live.guests.len(), spec.guests.len());
        for guest in &spec.guests {
            let read = &live.guests[&vmid(guest.vmid)];
            let name = guest.config.get("name").or(guest.config.get("hostname"));
            assert_eq!((read.name.known(), &read.node, read.kind), (name, &guest.node, guest.kind));
            let power = if guest.running { Power::Running } else { Power::Stopped };
            assert_eq!(read.power, Read::Known(power));
            let config = read.config.known().unwrap();
            for (option, value) in &guest.config {
                assert!(config.current.contains_key(option), "{} lacks {option}: {value}", guest.vmid);
            }
        }
        assert_eq!(live.free_ids[&vmid(150)], Read::Known(true));
        assert!(live.bridges["pve1"].known().unwrap().contains("vmbr1"));
        assert!(live.storages["pve2"].known().unwrap()["shared"].shared);
        let unknown: Vec<String> = lock(&cluster)
            .access_log()
            .iter()
            .filter(|entry| entry.unimplemented || entry.status != 200)
            .map(|entry| format!("{} {}: {}", entry.method, entry.path, entry.status))
            .collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    /// A cluster of so many nodes with so many guests of the fleet, and so many of others.
    fn crowd(nodes: u32, own: u32, others: u32) -> (ClusterClient, SharedCluster) {
        let mut spec = builtin("staging");
        let (model, node) = (spec.guests.pop().unwrap(), spec.nodes.pop().unwrap());
        spec.nodes = (1..=nodes).map(|n| NodeSpec { name: format!("n{n}"), ..node.clone() }).collect();
        spec.guests = (0..own + others)
            .map(|number| {
                let mut guest = model.clone();
                (guest.vmid, guest.node) = (1000 + number, format!("n{}", number % nodes + 1));
                let tag = if number < own { "pvefleet-home" } else { "other" };
                let disk = format!("local-lvm:vm-{}-disk-0,size=1G", guest.vmid);
                for (option, value) in [("tags", tag.to_owned()), ("name", format!("g{number}")), ("scsi0", disk)] {
                    guest.config.insert(option.to_owned(), value);
                }
                guest
            })
            .collect();
        let cluster = Arc::new(Mutex::new(Cluster::new(spec, 1)));
        let transport = SimTransport::first(Arc::clone(&cluster)).with_latency(Duration::from_millis(8));
        (ClusterClient::new("crowd", Arc::new(transport)), cluster)
    }

    #[tokio::test(start_paused = true)]
    async fn the_price_is_a_request_for_each_guest_that_matters_and_two_for_each_node() {
        for (nodes, own, others) in
            [(1, 0, 0), (1, 1, 0), (1, 100, 0), (3, 100, 0), (16, 100, 0), (16, 100, 500), (3, 0, 500)]
        {
            let requests = |wanted: Wanted| async move {
                let (client, cluster) = crowd(nodes, own, others);
                let live = gather::cluster(&client, &wanted).await;
                let live = live.known().unwrap();
                assert_eq!(live.guests.len(), usize::try_from(own + others).unwrap());
                let known = live.guests.values().filter(|guest| guest.config.known().is_some()).count();
                assert_eq!(known, usize::try_from(own).unwrap(), "who does not matter is not asked for");
                u32::try_from(lock(&cluster).access_log().len()).unwrap()
            };
            let plain = Wanted { preflight: false, ..wanted(&[]) };
            assert_eq!(requests(plain).await, own + 2 * nodes + 6, "{nodes} {own} {others}");
            // A plan's checks beforehand: storages, bridges and tasks of each node, and ids that are to be free.
            assert_eq!(requests(wanted(&[900, 901])).await, own + 5 * nodes + 6 + 2, "{nodes} {own} {others}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clone_that_runs_is_seen_and_waited_for() {
        let (client, _) = simulated("staging");
        let upid = clone(&client, 101).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let live = read(&client, &[101]).await;
        assert_eq!(live.guests[&vmid(101)].lock.as_deref(), Some("clone"));
        assert_eq!(live.active_tasks["stg1"], Read::Known(vec![upid.to_string()]));
        assert_eq!(client.wait_task(&upid, &|_| {}).await, Ok(TaskEnd::Ok));
        assert!(client.task_log(&upid, 1).await.unwrap()[0].contains("TASK OK"));
        let guest = gather::guest(&client, GuestKind::Qemu, vmid(101), None, false).await;
        let guest = guest.known().unwrap();
        assert_eq!((guest.name.known().map(String::as_str), &guest.lock), (Some("web"), &None));
        let live = read(&client, &[101]).await;
        everything_is_known(&live);
        assert_eq!(live.active_tasks["stg1"], Read::Known(vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deleted_guest_is_absent_with_and_without_a_hint() {
        let (client, _) = simulated("staging");
        for hint in [None, Some("stg1")] {
            assert!(gather::guest(&client, GuestKind::Qemu, vmid(101), hint, false).await == Read::Absent);
        }
        let request = Request::new(Method::Delete, "/nodes/stg1/qemu/110");
        let upid: Upid = client.write(&request).await.unwrap().as_str().unwrap().parse().unwrap();
        assert_eq!(client.wait_task(&upid, &|_| {}).await, Ok(TaskEnd::Ok));
        assert!(gather::guest(&client, GuestKind::Qemu, vmid(110), Some("stg1"), false).await == Read::Absent);
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_is_followed_to_its_node() {
        let (client, _) = simulated("production");
        let guest = gather::guest(&client, GuestKind::Qemu, vmid(9003), Some("pve1"), false).await;
        assert_eq!(guest.known().unwrap().node, "pve3");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_down_makes_its_guests_unread() {
        let (client, cluster) = simulated("production");
        lock(&cluster).set_node_online("pve3", false);
        let live = read(&client, &[]).await;
        assert!(!live.nodes["pve3"].online);
        let lost = &live.guests[&vmid(9003)];
        assert!(lost.config.unread().is_some() && lost.name.unread().is_some() && lost.power.unread().is_some());
        assert!(live.guests[&vmid(9001)].config.known().is_some());
        assert!(matches!(gather::guest(&client, GuestKind::Qemu, vmid(9003), None, false).await, Read::Unread(_)));
        let health = health::check(&client).await;
        assert_eq!((health.status, health.problems.len()), (HealthStatus::Degraded, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_answer_is_not_followed_by_a_second_write() {
        let (client, cluster) = simulated("staging");
        lock(&cluster).inject(Fault::new("POST", "*/clone", FaultKind::AnswerLost));
        let request = Request::new(Method::Post, "/nodes/stg1/qemu/9000/clone").with("newid", "101");
        assert!(matches!(client.write(&request).await, Err(ApiError::Undetermined(_))));
        let sent = lock(&cluster).access_log().iter().filter(|entry| entry.method == "POST").count();
        assert_eq!(sent, 1);
        lock(&cluster).inject(Fault::new("GET", "/version", FaultKind::Refuse).once_after(0));
        assert!(client.read(&Request::get("/version")).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_token_may_not_see_is_not_absent() {
        let mut spec = builtin("staging");
        let grant = |path: &str, privileges: &[&str]| GrantSpec {
            path: path.to_owned(),
            role: None,
            privileges: privileges.iter().map(|name| (*name).to_owned()).collect(),
            propagate: false,
        };
        let grants = vec![grant("/", &["Sys.Audit"]), grant("/vms/9000", &["VM.Audit"])];
        spec.tokens = vec![TokenSpec::new("ops@pve!narrow", "s", grants)];
        let cluster = Arc::new(Mutex::new(Cluster::new(spec, 1)));
        let client = ClusterClient::new("staging", Arc::new(SimTransport::first(cluster)));
        let live = read(&client, &[110, 150]).await;
        assert_eq!(live.guests.keys().collect::<Vec<_>>(), [&vmid(9000)]);
        assert_eq!(live.free_ids[&vmid(110)], Read::Known(false));
        assert_eq!(live.free_ids[&vmid(150)], Read::Known(true));
        for hint in [None, Some("stg1")] {
            assert!(matches!(gather::guest(&client, GuestKind::Qemu, vmid(110), hint, false).await, Read::Unread(_)));
            assert!(gather::guest(&client, GuestKind::Qemu, vmid(150), hint, false).await == Read::Absent);
        }
    }

    fn settings(endpoint: &Endpoint, secret: &str) -> ClusterSettings {
        let token = Token { id: endpoint.token_id.clone(), secret: Secret::new(secret) };
        ClusterSettings {
            endpoints: vec![endpoint.url.clone()],
            credentials: Credentials { token: Some(token), login: None },
            tls: Tls::CaFile("ca.pem".to_owned()),
            ..ClusterSettings::named(&endpoint.name)
        }
    }

    async fn served() -> Running {
        let cluster = Cluster::new(builtin("production"), 1);
        Server::start(vec![("production".to_owned(), cluster)], Options::default()).await.unwrap()
    }

    #[tokio::test]
    async fn credentials_that_were_refused_are_read_anew_at_once() {
        let server = served().await;
        let endpoint = server.endpoints()[0].clone();
        let registry = Registry { clusters: vec![settings(&endpoint, "changed")], ..Registry::of_names([]) };
        let ca_pem = endpoint.ca_pem.clone();
        let mut connect = Connect::new(move |_| Ok(ca_pem.clone()));
        connect.reload = Some(Box::new(move |_| Ok(settings(&endpoint, &endpoint.token_secret))));
        let clients = MultiClusterClient::connect_with(&registry, connect);
        let nodes = || async { clients.each(|client| async move { client.nodes().await }).await.remove("production") };
        let first = nodes().await.unwrap();
        assert!(matches!(first, Err(ClusterError::Api(_, ApiError::Authentication(_)))), "{first:?}");
        assert_eq!(nodes().await.unwrap().unwrap().len(), 3);
        // Those are kept.
        assert!(nodes().await.unwrap().is_ok());
        let status = clients.get("production").unwrap().node_status("pve1").await.unwrap();
        assert!(status.pveversion.starts_with("pve-manager/") && status.rootfs.free.is_some(), "{status:?}");
        server.stop().await;
    }

    #[tokio::test]
    async fn the_same_over_https() {
        let server = served().await;
        let endpoint = &server.endpoints()[0];
        let client = |secret: &str| {
            let settings = settings(endpoint, secret);
            let transport = HttpTransport::new(&settings, Some(endpoint.ca_pem.clone())).unwrap();
            ClusterClient::new("production", Arc::new(transport))
        };
        let good = client(&endpoint.token_secret);
        let live = read(&good, &[150]).await;
        everything_is_known(&live);
        assert_eq!(health::check(&good).await.status, HealthStatus::Online);
        let (in_process, _) = simulated("production");
        assert_eq!(live.guests, read(&in_process, &[150]).await.guests);
        // A refusal keeps its text, which Proxmox puts into the reason phrase.
        let locked = Request::get("/nodes/pve1/qemu/999/config");
        assert!(matches!(good.read(&locked).await, Err(ApiError::NotFound(_))));
        let bad = client("wrong");
        assert_eq!(health::check(&bad).await.status, HealthStatus::Unauthorized);
        assert_eq!(Reader::name(&bad), "production");
        server.stop().await;
    }
}
