//! Gathering from canned answers in the recorded shapes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::client::fake::{Answer, Fake, data, invalid, never_sent, refusal};
use crate::live::{LiveCluster, Power};

fn vmid(number: u32) -> Vmid {
    Vmid::new(number).unwrap()
}

fn wanted(vmids: &[u32], names: &[&str]) -> Wanted {
    Wanted {
        fleet_tag: "fleet-home".to_owned(),
        vmids: vmids.iter().copied().map(vmid).collect(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Wanted::default()
    }
}

fn pending(rows: &[(&str, Value)]) -> Answer {
    let mut list: Vec<Value> = rows.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
    list.push(json!({"key": "digest", "value": "39a1341bac3dac8a63f2ce177d9cd714dde472c8"}));
    data(Value::from(list))
}

fn missing(node: &str, number: u32) -> Answer {
    refusal(500, &format!("Configuration file 'nodes/{node}/qemu-server/{number}.conf' does not exist"))
}

fn lists() -> [&'static str; 4] {
    ["/nodes/b1/qemu", "/nodes/b1/lxc", "/nodes/b2/qemu", "/nodes/b2/lxc"]
}

/// Two nodes. 100 bears the fleet's tag, 101 is a stranger, 200 a container.
fn fake() -> Fake {
    let mut fake = Fake::default()
        .on("GET /version", data(json!({"release": "9.1", "repoid": "f4", "version": "9.1.9"})))
        .on(
            "GET /cluster/status",
            data(json!([
                {"id": "cluster", "name": "bcluster", "nodes": 2, "quorate": 1, "type": "cluster", "version": 3},
                {"id": "node/b2", "ip": "127.0.0.22", "local": 0, "name": "b2", "nodeid": 2, "online": 1, "type": "node"},
                {"id": "node/b1", "ip": "127.0.0.21", "local": 1, "name": "b1", "nodeid": 1, "online": "1", "type": "node"},
            ])),
        )
        .on(
            "GET /cluster/resources?type=vm",
            data(json!([
                // Its name and state are those of ten seconds ago.
                {"id": "qemu/100", "name": "old", "node": "b1", "status": "stopped", "tags": "Fleet-Home;prod",
                 "type": "qemu", "vmid": 100, "pool": "p1"},
                {"id": "qemu/101", "node": "b1", "status": "unknown", "type": "qemu", "vmid": "101"},
                {"id": "lxc/200", "node": "b2", "status": "unknown", "tags": "a;b", "type": "lxc", "vmid": 200},
                {"id": "qemu/7", "node": "b2", "type": "qemu", "vmid": "seven"},
                {"id": "qemu/8"},
            ])),
        )
        .on("GET /pools", data(json!([{"comment": "x", "poolid": "p1"}, {"comment": "no id"}])))
        .on("GET /cluster/ha/resources", data(json!([{"sid": "vm:100", "type": "vm"}, {"sid": "ct:200", "state": "stopped"}])))
        .on("GET /access/permissions", data(json!({"/vms": {"VM.Audit": 1, "VM.Allocate": 0}, "/": {}})));
    for list in lists() {
        fake = fake.on(&format!("GET {list}"), data(json!([])));
    }
    fake.on(
        "GET /nodes/b1/qemu",
        data(json!([
            {"name": "web-1", "status": "running", "tags": "Fleet-Home;prod", "vmid": 100},
            {"name": "stranger", "status": "stopped", "vmid": "101", "template": 1},
            "not a row", {"vmid": null},
        ])),
    )
    .on(
        "GET /nodes/b2/lxc",
        data(json!([{"name": "ct200", "status": "stopped", "tags": "a;b", "type": "lxc", "vmid": "200"}])),
    )
    .on(
        "GET /nodes/b1/qemu/100/pending",
        pending(&[("name", json!("web-1")), ("cores", json!(2)), ("tags", json!("fleet-home;prod"))]),
    )
    .on("GET /nodes/b2/lxc/200/pending", pending(&[("hostname", json!("ct200")), ("lock", json!("backup"))]))
}

async fn known(fake: Fake, wanted: &Wanted) -> LiveCluster {
    let (client, _) = fake.client();
    match cluster(&client, wanted).await {
        Read::Known(live) => live,
        other => panic!("{other:?}"),
    }
}

fn reason<T: std::fmt::Debug>(read: &Read<T>) -> &str {
    read.unread().unwrap_or_else(|| panic!("{read:?}"))
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_read() {
    let live = known(fake(), &wanted(&[], &["ct200"])).await;
    assert_eq!(live.identity.cluster.as_deref(), Some("bcluster"));
    assert_eq!((live.identity.settings.as_str(), live.version.as_str()), ("test", "9.1.9"));
    assert_eq!(live.identity.nodes, ["b1", "b2"]);
    assert_eq!(live.guests.keys().map(|vmid| vmid.get()).collect::<Vec<_>>(), [100, 101, 200]);
    let web = &live.guests[&vmid(100)];
    assert_eq!((web.name.known().unwrap().as_str(), web.power.clone()), ("web-1", Read::Known(Power::Running)));
    assert_eq!((web.node.as_str(), web.pool.as_deref()), ("b1", Some("p1")));
    assert_eq!(web.config.known().unwrap().current["cores"], "2");
    let stranger = &live.guests[&vmid(101)];
    assert_eq!((&stranger.config, stranger.template), (&Read::Absent, true));
    let container = &live.guests[&vmid(200)];
    assert_eq!((container.kind, container.lock.as_deref()), (GuestKind::Lxc, Some("backup")));
    assert_eq!(
        live.ha,
        Read::Known(BTreeMap::from([
            ("ct:200".into(), BTreeMap::from([("state".into(), "stopped".into())])),
            ("vm:100".into(), BTreeMap::from([("state".into(), "started".into())])),
        ]))
    );
    assert_eq!(live.pools, Read::Known(BTreeSet::from(["p1".to_owned()])));
    let permissions = live.permissions.known().unwrap();
    assert_eq!((permissions["/vms"]["VM.Audit"], permissions["/vms"]["VM.Allocate"]), (true, false));
}

#[tokio::test(start_paused = true)]
async fn reading_can_be_spawned() {
    let client = fake().client().0;
    let spawned = tokio::spawn(async move {
        let reader: std::sync::Arc<dyn Reader> = std::sync::Arc::new(client);
        let live = cluster(reader.as_ref(), &wanted(&[], &[])).await;
        (live, guest(reader.as_ref(), GuestKind::Qemu, vmid(100), None, true).await)
    });
    assert!(spawned.await.unwrap().0.known().is_some());
}

#[tokio::test(start_paused = true)]
async fn the_number_of_requests_is_as_promised() {
    let (nodes, mattering) = (2, 2);
    let (client, fake_log) = fake().client();
    cluster(&client, &wanted(&[200], &[])).await;
    assert_eq!(fake_log.log().len(), mattering + 2 * nodes + 6, "{:#?}", fake_log.log());
    let (client, fake_log) = fake().client();
    cluster(&client, &Wanted { preflight: true, ..wanted(&[200, 300, 301], &[]) }).await;
    assert_eq!(fake_log.log().len(), mattering + 5 * nodes + 6 + 2 + 1, "{:#?}", fake_log.log());
}

#[tokio::test(start_paused = true)]
async fn ids_that_volumes_bear_are_read_where_a_guest_gets_one() {
    let storage = |name: &str, shared: u8, content: &str| json!({"storage": name, "type": "dir", "shared": shared, "active": 1, "enabled": 1, "content": content});
    let list =
        || data(json!([storage("own", 0, "images"), storage("all", 1, "backup,iso"), storage("media", 1, "iso")]));
    let served = || {
        let volumes = data(json!([{"volid": "own:vm-1001-disk-0", "vmid": 1001}, {"volid": "own:x"}]));
        fake()
            .on("GET /nodes/b1/storage", list())
            .on("GET /nodes/b2/storage", list())
            .on("GET /nodes/b1/storage/own/content", volumes)
            .on("GET /nodes/b2/storage/own/content", refusal(500, "gone"))
            .on("GET /nodes/b1/storage/all/content", data(json!([{"volid": "all:backup/x", "vmid": "1002"}])))
    };
    let name = |name: &str| BTreeSet::from([(GuestKind::Qemu, name.to_owned())]);
    let wanted = |unnumbered| Wanted { unnumbered, preflight: true, ..wanted(&[], &[]) };
    let (client, log) = served().client();
    let live = cluster(&client, &wanted(name("new"))).await;
    let ids = &live.known().unwrap().volume_ids;
    let places: Vec<&str> = ids.keys().map(String::as_str).collect();
    assert_eq!(places, ["all", "b1/own", "b2/own"]);
    assert_eq!(ids["b1/own"], Read::Known(BTreeSet::from([vmid(1001)])));
    assert_eq!(ids["all"], Read::Known(BTreeSet::from([vmid(1002)])));
    assert!(ids["b2/own"].unread().is_some());
    let with = log.log().len();
    let (client, log) = served().client();
    let live = cluster(&client, &wanted(BTreeSet::new())).await;
    assert!(live.known().unwrap().volume_ids.is_empty());
    assert_eq!(with, log.log().len() + 3);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_holds_every_guest_and_list() {
    let (client, _) = fake().on("GET /nodes/b1/qemu/101/pending", pending(&[("name", json!("stranger"))])).client();
    let live = snapshot(&client, &wanted(&[], &[])).await;
    let live = live.known().unwrap();
    assert!(live.guests.values().all(|guest| guest.config.known().is_some()));
    assert_eq!((live.storages.len(), live.bridges.len(), live.active_tasks.len()), (2, 2, 2));
}

#[tokio::test(start_paused = true)]
async fn without_nodes_or_guests_the_whole_cluster_is_unread() {
    for (call, answer) in [
        ("GET /version", refusal(401, "No ticket")),
        ("GET /version", never_sent()),
        ("GET /cluster/status", refusal(403, "Permission check failed (/, Sys.Audit)")),
        ("GET /cluster/status", data(json!([]))),
        ("GET /cluster/resources?type=vm", refusal(500, "x")),
        ("GET /cluster/resources?type=vm", data(json!({}))),
    ] {
        let (client, _) = fake().on(call, answer).client();
        let live = cluster(&client, &wanted(&[], &[])).await;
        assert!(live.unread().is_some(), "{call}: {live:?}");
    }
    // One that is down is asked one thing.
    let (client, log) = fake().on("GET /version", refusal(401, "No ticket")).client();
    assert_eq!(
        reason(&cluster(&client, &wanted(&[], &[])).await),
        "authentication failed: No ticket (check TOKEN_ID and TOKEN_SECRET, or USERNAME and PASSWORD, of this cluster)"
    );
    assert_eq!(log.log().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn each_failure_stays_at_its_own_item() {
    let denied = || refusal(403, "Permission check failed (/, Sys.Audit)");
    let fake = fake()
        .on("GET /pools", denied())
        .on("GET /cluster/ha/resources", denied())
        .on("GET /access/permissions", data(json!([])))
        .on("GET /nodes/b1/qemu/100/pending", denied())
        .on("GET /nodes/b2/storage", refusal(596, "Connection timed out"))
        .on("GET /nodes/b1/storage", data(json!([{"active": 1, "avail": "75", "content": "images,rootdir", "enabled": 1, "shared": 0, "storage": "data", "type": "dir"}, {"type": "dir"}])))
        .on("GET /nodes/b1/network?type=any_bridge", data(json!([{"iface": "vmbr0", "type": "bridge"}, {"iface": "eth0", "type": "eth"}, {"iface": "v", "type": "vnet"}])))
        .on("GET /nodes/b1/tasks?source=active&limit=500", data(json!([
            {"upid": "UPID:b1:000002FC:0005D906:6B02949B:qmclone:111:root@pam!test:", "status": "RUNNING"},
            {"upid": "UPID:b1:000002FC:0005D906:6B02949B:qmstop:111:root@pam!test:", "status": "OK", "endtime": 1795331227},
        ])))
        .on("GET /cluster/nextid?vmid=300", data(json!("300")))
        .on("GET /cluster/nextid?vmid=301", invalid("vmid", "VM 301 already exists"))
        .on("GET /cluster/nextid?vmid=302", invalid("vmid", "something else"));
    let live = known(fake, &Wanted { preflight: true, ..wanted(&[300, 301, 302], &[]) }).await;
    assert!(reason(&live.pools).contains("/pools: permission denied"));
    assert!(reason(&live.ha).contains("Sys.Audit"));
    assert!(reason(&live.permissions).contains("not understood"));
    let web = &live.guests[&vmid(100)];
    assert!(reason(&web.config).contains("permission denied"));
    assert_eq!(web.name, Read::Known("web-1".to_owned()));
    let data = &live.storages["b1"].known().unwrap()["data"];
    assert_eq!((data.active, data.available, data.content.len()), (true, Some(75), 2));
    assert!(reason(&live.storages["b2"]).contains("596"));
    assert_eq!(live.bridges["b1"], Read::Known(BTreeSet::from(["v".to_owned(), "vmbr0".to_owned()])));
    assert!(live.bridges["b2"].unread().is_some());
    assert_eq!(live.active_tasks["b1"].known().unwrap().len(), 1);
    assert_eq!((&live.free_ids[&vmid(300)], &live.free_ids[&vmid(301)]), (&Read::Known(true), &Read::Known(false)));
    assert!(live.free_ids[&vmid(302)].unread().is_some());
}

#[tokio::test(start_paused = true)]
async fn an_offline_node_makes_its_guests_unread_and_is_not_asked() {
    let status = json!([
        {"name": "b1", "online": 0, "type": "node"}, {"name": "b2", "online": 1, "type": "node"},
    ]);
    let (client, log) = fake().on("GET /cluster/status", data(status)).client();
    let live = cluster(&client, &Wanted { preflight: true, ..wanted(&[], &[]) }).await;
    let live = live.known().unwrap();
    assert_eq!(live.identity.cluster, None);
    assert!(!live.nodes["b1"].online && live.nodes["b2"].lists == Read::Known(()));
    for number in [100, 101] {
        let guest = &live.guests[&vmid(number)];
        for reason in [reason(&guest.name), reason(&guest.power), reason(&guest.config)] {
            assert_eq!(reason, "node b1 is offline");
        }
    }
    assert!(live.storages["b1"].unread().is_some() && live.active_tasks["b1"].unread().is_some());
    assert!(log.log().iter().all(|call| !call.contains("/nodes/b1/")), "{:?}", log.log());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_answer_is_not_asked_for_each_guest() {
    let gone = || refusal(595, "No route to host");
    let (client, log) = fake().on("GET /nodes/b1/qemu", gone()).on("GET /nodes/b1/lxc", gone()).client();
    let live = cluster(&client, &wanted(&[], &[])).await;
    let live = live.known().unwrap();
    assert!(reason(&live.nodes["b1"].lists).contains("node unreachable"));
    assert!(reason(&live.guests[&vmid(100)].config).contains("node unreachable"));
    assert!(!log.log().iter().any(|call| call.contains("pending")), "{:?}", log.log());
    // With one of the two lists, the guests of the other are asked for: their names are not known.
    let live = known(fake().on("GET /nodes/b1/qemu", refusal(500, "x")), &wanted(&[], &[])).await;
    let web = &live.guests[&vmid(100)];
    assert_eq!(web.name, Read::Known("web-1".to_owned()));
    assert!(reason(&web.power).contains("/nodes/b1/qemu"));
    assert!(reason(&live.guests[&vmid(101)].config).contains("not implemented"));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_dies_meanwhile_does_not_cost_a_time_out_for_each_guest() {
    let rows = (100..200).map(|vmid| json!({"node": "b1", "type": "qemu", "vmid": vmid, "tags": "fleet-home"}));
    let mut fake = fake().on("GET /cluster/resources?type=vm", data(Value::from_iter(rows)));
    for vmid in 100..200 {
        fake = fake.on(&format!("GET /nodes/b1/qemu/{vmid}/pending"), never_sent());
    }
    let (client, log) = fake.client();
    let live = cluster(&client, &wanted(&[], &[])).await;
    let guests = &live.known().unwrap().guests;
    assert!((100..200).all(|number| reason(&guests[&vmid(number)].config).contains("cannot connect")));
    let asked: BTreeSet<String> = log.log().into_iter().filter(|call| call.ends_with("/pending")).collect();
    assert!(asked.len() < 40, "{}", asked.len());
}

#[tokio::test(start_paused = true)]
async fn guests_of_unknown_name_and_unfinished_ones_matter() {
    let fake = fake()
        .on(
            "GET /cluster/resources?type=vm",
            data(json!([
                {"node": "b1", "type": "qemu", "vmid": 110},
                {"node": "b1", "type": "qemu", "vmid": 112, "lock": "clone"},
            ])),
        )
        .on("GET /nodes/b1/qemu", data(json!([{"name": "VM 112", "status": "stopped", "vmid": 112, "lock": "clone"}])))
        .on("GET /nodes/b1/qemu/110/pending", pending(&[("name", json!("late")), ("template", json!(1))]))
        .on("GET /nodes/b1/qemu/112/pending", pending(&[("lock", json!("clone"))]))
        .on("GET /nodes/b1/tasks?source=active&limit=500", data(json!([])));
    let live = known(fake, &wanted(&[], &[])).await;
    let late = &live.guests[&vmid(110)];
    assert_eq!((late.name.clone(), late.template), (Read::Known("late".to_owned()), true));
    assert!(reason(&late.power).contains("does not show it"));
    let clone = &live.guests[&vmid(112)];
    assert_eq!((&clone.name, clone.lock.as_deref()), (&Read::Absent, Some("clone")));
    // The tasks of the node say whether somebody is at it; other nodes are not asked.
    assert_eq!(live.active_tasks.keys().collect::<Vec<_>>(), ["b1"]);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_moves_or_goes_away_meanwhile_is_followed() {
    let row = |node: &str| json!([{"node": node, "type": "qemu", "vmid": 100, "tags": "fleet-home"}]);
    let moved = fake()
        .on_each("GET /cluster/resources?type=vm", [data(row("b1")), data(row("b2"))])
        .on("GET /nodes/b1/qemu/100/pending", missing("b1", 100))
        .on("GET /nodes/b2/qemu/100/pending", pending(&[("name", json!("web-1"))]))
        .on("GET /nodes/b2/qemu/100/status/current", data(json!({"status": "running"})));
    let live = known(moved, &wanted(&[100], &[])).await;
    assert_eq!(live.guests[&vmid(100)].node, "b2");
    let gone = fake()
        .on_each("GET /cluster/resources?type=vm", [data(row("b1")), data(json!([]))])
        .on("GET /nodes/b1/qemu", data(json!([])))
        .on("GET /nodes/b2/lxc", data(json!([])))
        .on("GET /nodes/b1/qemu/100/pending", missing("b1", 100))
        .on("GET /cluster/nextid?vmid=100", data(json!("100")));
    let live = known(gone, &wanted(&[100], &[])).await;
    assert!(live.guests.is_empty());
    assert_eq!(live.free_ids[&vmid(100)], Read::Known(true));
}

#[tokio::test(start_paused = true)]
async fn a_guest_made_between_the_lists_is_there() {
    let fake = fake().on("GET /cluster/resources?type=vm", data(json!([])));
    let live = known(fake, &wanted(&[], &[])).await;
    assert_eq!(live.guests[&vmid(100)].node, "b1");
    assert!(live.guests[&vmid(100)].config.known().is_some());
}

mod one_guest {
    use super::*;

    fn one() -> Fake {
        fake().on("GET /nodes/b1/qemu/100/status/current", data(json!({"status": "stopped", "qmpstatus": "stopped"})))
    }

    async fn ask(fake: Fake, number: u32, hint: Option<&str>) -> (Read<LiveGuest>, usize) {
        ask_for(fake, number, hint, true).await
    }

    async fn ask_for(fake: Fake, number: u32, hint: Option<&str>, with_pool: bool) -> (Read<LiveGuest>, usize) {
        let (client, log) = fake.client();
        let guest = guest(&client, GuestKind::Qemu, vmid(number), hint, with_pool).await;
        (guest, log.log().len())
    }

    #[tokio::test(start_paused = true)]
    async fn is_asked_for_at_its_node_alone_where_its_pool_does_not_matter() {
        for (hint, requests) in [(Some("b1"), 2), (None, 3), (Some("b2"), 5)] {
            let fake = one().on("GET /nodes/b2/qemu/100/pending", missing("b2", 100));
            let (guest, sent) = ask_for(fake, 100, hint, false).await;
            let guest = guest.known().unwrap().clone();
            assert_eq!((guest.node.as_str(), guest.power), ("b1", Read::Known(Power::Stopped)));
            assert_eq!(
                guest.tags,
                BTreeSet::from(["fleet-home".to_owned(), "prod".to_owned()]),
                "of its configuration"
            );
            assert_eq!(sent, requests, "{hint:?}");
        }
        // That it is not there is proven by the list all the same, and a node that does not answer proves nothing.
        let gone = || one().on("GET /nodes/b1/qemu/300/pending", missing("b1", 300));
        assert_eq!(ask_for(gone(), 300, Some("b1"), false).await, (Read::Absent, 3));
        let unlisted = gone().on("GET /cluster/resources?type=vm", refusal(500, "x"));
        assert!(reason(&ask_for(unlisted, 300, Some("b1"), false).await.0).contains("/cluster/resources"));
        let down = one().on("GET /nodes/b1/qemu/100/pending", refusal(595, "x"));
        assert!(reason(&ask_for(down, 100, Some("b1"), false).await.0).contains("node unreachable"));
        let there = one().on("GET /nodes/b1/qemu/100/pending", missing("b1", 100));
        assert!(reason(&ask_for(there, 100, Some("b1"), false).await.0).contains("does not have it"));
    }

    #[tokio::test(start_paused = true)]
    async fn is_found_with_and_without_a_hint() {
        for (hint, requests) in [(Some("b1"), 3), (None, 3), (Some("b2"), 5)] {
            let fake = one().on("GET /nodes/b2/qemu/100/pending", missing("b2", 100));
            let (guest, sent) = ask(fake, 100, hint).await;
            let guest = guest.known().unwrap().clone();
            assert_eq!((guest.node.as_str(), guest.pool.as_deref()), ("b1", Some("p1")));
            assert_eq!((guest.power, guest.name), (Read::Known(Power::Stopped), Read::Known("web-1".to_owned())));
            assert_eq!(sent, requests, "{hint:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn is_absent_only_with_proof() {
        let free = || data(json!("300"));
        let taken = || invalid("vmid", "VM 300 already exists");
        let next = "GET /cluster/nextid?vmid=300";
        let denied = || refusal(403, "Permission check failed (/vms/300, VM.Audit)");
        let config = "GET /nodes/b1/qemu/300/pending";
        assert_eq!(ask(one().on(config, missing("b1", 300)), 300, Some("b1")).await.0, Read::Absent);
        assert_eq!(ask(one().on(next, free()), 300, None).await.0, Read::Absent);
        assert_eq!(ask(one().on(next, free()).on(config, denied()), 300, Some("b1")).await.0, Read::Absent);
        let (guest, _) = ask(one().on(next, taken()), 300, None).await;
        assert!(reason(&guest).contains("cannot see"));
        let (guest, _) = ask(one().on(next, taken()).on(config, denied()), 300, Some("b1")).await;
        assert!(reason(&guest).contains("VM.Audit"));
        let (guest, _) = ask(one(), 300, None).await;
        assert!(reason(&guest).contains("not implemented"));
    }

    #[tokio::test(start_paused = true)]
    async fn is_unread_where_anything_is_unclear() {
        let resources = "GET /cluster/resources?type=vm";
        let (guest, _) = ask(one().on(resources, refusal(500, "x")), 100, Some("b1")).await;
        assert!(reason(&guest).contains("/cluster/resources"));
        let (guest, _) = ask(one().on("GET /nodes/b1/qemu/100/pending", refusal(595, "x")), 100, Some("b1")).await;
        assert!(reason(&guest).contains("node unreachable"));
        let (guest, _) = ask(one().on("GET /nodes/b1/qemu/100/pending", missing("b1", 100)), 100, Some("b1")).await;
        assert!(reason(&guest).contains("does not have it"));
        let (guest, _) = ask(one(), 200, None).await;
        assert_eq!(reason(&guest), "200 is a container, not a VM");
        let (guest, _) = ask(one().on("GET /nodes/b1/qemu/100/status/current", refusal(500, "x")), 100, None).await;
        assert!(guest.known().unwrap().power.unread().is_some());
    }
}
