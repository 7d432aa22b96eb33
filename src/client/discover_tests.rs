//! Each discovery call alone: what it asks, what it reads, and that the API knows the call.

use serde_json::{Value, json};

use super::*;
use crate::client::ClusterClient;
use crate::client::fake::{Answer, Fake, data, refusal};
use crate::pve::calls::{self, Rule};

const UPID: &str = "UPID:a:000002FC:0005D906:6B02949B:qmclone:111:root@pam!test:";

fn shown(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

/// A call by its name in the trait, as the JSON of what it gives.
async fn call(name: &str, client: &ClusterClient) -> Result<Value, ApiError> {
    let guest = || serde_json::from_value::<Guest>(json!({"vmid": 100, "type": "lxc", "node": "a"})).unwrap();
    let upid: Upid = UPID.parse().unwrap();
    Ok(match name {
        "nodes" => shown(client.nodes().await?),
        "node_status" => shown(client.node_status("a").await?),
        "vms" => shown(client.vms().await?),
        "containers" => shown(client.containers().await?),
        "guests" => shown(client.guests().await?),
        "config" => shown(client.config(&guest()).await?),
        "storages" => shown(client.storages().await?),
        "node_storages" => shown(client.node_storages("a").await?),
        "storage_status" => shown(client.storage_status("a", "tank/x").await?),
        "storage_content" => shown(client.storage_content("a", "tank").await?),
        "bridges" => shown(client.bridges("a").await?),
        "recent_tasks" => shown(client.recent_tasks().await?),
        "tasks" => shown(client.tasks("a", 7).await?),
        "task_status" => json!(format!("{:?}", client.task_status(&upid).await?)),
        "task_log" => json!(client.task_log(&upid, 2).await?),
        "guest" => shown(client.guest(Vmid::new(101).unwrap()).await?),
        "guests_named" => shown(client.guests_named("web").await?),
        other => panic!("{other} is not called here"),
    })
}

struct Row {
    name: &'static str,
    /// The call as the API names it, and who may make it.
    api: &'static str,
    privileges: &'static str,
    /// What is asked, and answered.
    asked: Vec<(&'static str, Value)>,
    /// What a caller must find in the result, by pointer.
    found: Vec<(&'static str, Value)>,
}

fn lists() -> Vec<(&'static str, Value)> {
    let resources = json!([
        {"vmid": 102, "type": "lxc", "node": "b", "name": "old", "status": "running"},
        {"vmid": "100", "type": "qemu", "node": "a", "name": "before", "status": "stopped", "tags": "x;a", "pool": "p"},
        {"vmid": 101, "type": "qemu", "node": "a", "status": "unknown", "uptime": 5},
        {"vmid": 7, "type": "qemu", "node": "a"},
        {"id": "storage/a/local", "type": "storage", "node": "a"},
    ]);
    let of_a = json!([
        {"vmid": 100, "name": "web", "status": "running", "uptime": "12", "lock": "backup"},
        {"vmid": 101, "name": "VM 101", "status": "stopped", "template": 1},
    ]);
    let of_b = json!([{"vmid": "102", "name": "web", "status": "stopped"}]);
    vec![("GET /cluster/resources?type=vm", resources), ("GET /nodes/a/qemu", of_a), ("GET /nodes/b/lxc", of_b)]
}

fn rows() -> Vec<Row> {
    let row = |name, api, privileges, asked, found| Row { name, api, privileges, asked, found };
    let one = |target: &'static str, answer: Value| vec![(target, answer)];
    let upid = json!([{"upid": UPID, "starttime": 1, "endtime": 2, "status": "OK", "user": "root@pam"}, {"upid": "x"}]);
    let storage = json!([
        {"storage": "tank", "type": "zfspool", "content": "images,rootdir", "shared": 0, "active": 1, "avail": "12"},
        {"type": "without a name"},
    ]);
    let of_resources = "GET /cluster/resources";
    vec![
        row(
            "nodes",
            "GET /nodes",
            "all",
            one("GET /nodes", json!([{"node": "a", "status": "online", "cpu": "0.5", "maxmem": 9}, {"status": "?"}])),
            vec![(
                "",
                json!([{"node": "a", "status": "online", "cpu": 0.5, "maxcpu": null, "mem": null, "maxmem": 9,
                "uptime": null}]),
            )],
        ),
        row(
            "node_status",
            "GET /nodes/{node}/status",
            "Sys.Audit on /nodes/{node}",
            one(
                "GET /nodes/a/status",
                json!({
                    "pveversion": "pve-manager/9.1.9", "cpu": 0.02, "uptime": "7", "loadavg": ["0.10", "0.12"],
                    "memory": {"total": 3, "free": 2, "used": 1, "available": 2},
                    "rootfs": {"total": 9, "free": 5, "avail": 4, "used": 4},
                }),
            ),
            vec![
                ("/pveversion", json!("pve-manager/9.1.9")),
                ("/uptime", json!(7)),
                ("/memory", json!({"total": 3, "used": 1, "free": 2})),
                ("/rootfs", json!({"total": 9, "used": 4, "free": 4})),
            ],
        ),
        row(
            "vms",
            of_resources,
            "all",
            lists().into_iter().take(2).collect(),
            vec![
                ("/0/vmid", json!(100)),
                ("/0/name", json!("web")),
                ("/0/status", json!("running")),
                ("/0/lock", json!("backup")),
                ("/0/tags", json!(["a", "x"])),
                ("/0/pool", json!("p")),
                ("/0/uptime", json!(12)),
                ("/1/name", Value::Null),
                ("/1/template", json!(true)),
                ("/2", Value::Null),
            ],
        ),
        row(
            "containers",
            of_resources,
            "all",
            vec![lists().remove(0), lists().remove(2)],
            vec![
                ("/0/vmid", json!(102)),
                ("/0/name", json!("web")),
                ("/0/status", json!("stopped")),
                ("/1", json!(null)),
            ],
        ),
        row("guests", of_resources, "all", lists(), vec![("/2/vmid", json!(102)), ("/2/type", json!("lxc"))]),
        row(
            "config",
            "GET /nodes/{node}/lxc/{vmid}/config",
            "VM.Audit on /vms/{vmid}",
            one("GET /nodes/a/lxc/100/config", json!({"cores": 2, "digest": "d", "lxc": [["a", "b"]]})),
            vec![("", json!({"options": {"cores": "2"}, "digest": "d"}))],
        ),
        row(
            "storages",
            "GET /storage",
            "all",
            one("GET /storage", storage.clone()),
            vec![("/0/storage", json!("tank")), ("/0/avail", json!(12)), ("/1", json!(null))],
        ),
        row(
            "node_storages",
            "GET /nodes/{node}/storage",
            "all",
            one("GET /nodes/a/storage", storage),
            vec![("/0/active", json!(true)), ("/0/shared", json!(false))],
        ),
        row(
            "storage_status",
            "GET /nodes/{node}/storage/{storage}/status",
            "Datastore.Audit or Datastore.AllocateSpace on /storage/{storage}",
            one("GET /nodes/a/storage/tank%2Fx/status", json!({"type": "dir", "total": 5})),
            vec![("/storage", json!("tank/x")), ("/total", json!(5))],
        ),
        row(
            "storage_content",
            "GET /nodes/{node}/storage/{storage}/content",
            "Datastore.Audit or Datastore.AllocateSpace on /storage/{storage}",
            one(
                "GET /nodes/a/storage/tank/content",
                json!([{"volid": "tank:vm-1-disk-0", "vmid": "1", "size": 8}, {}]),
            ),
            vec![("/0/vmid", json!(1)), ("/0/size", json!(8)), ("/1", json!(null))],
        ),
        row(
            "bridges",
            "GET /nodes/{node}/network",
            "all",
            one("GET /nodes/a/network?type=any_bridge", json!([{"iface": "vmbr0", "type": "bridge", "active": 1}])),
            vec![("/0/iface", json!("vmbr0")), ("/0/active", json!(true))],
        ),
        row(
            "recent_tasks",
            "GET /cluster/tasks",
            "all",
            one("GET /cluster/tasks", upid.clone()),
            vec![("/0/upid", json!(UPID)), ("/0/endtime", json!(2)), ("/1", json!(null))],
        ),
        row(
            "tasks",
            "GET /nodes/{node}/tasks",
            "all",
            one("GET /nodes/a/tasks?source=all&limit=7", upid),
            vec![("/0/status", json!("OK"))],
        ),
        row(
            "task_status",
            "GET /nodes/{node}/tasks/{upid}/status",
            "all",
            one(STATUS, json!({"status": "stopped", "exitstatus": "OK"})),
            vec![("", json!("Ended(Ok)"))],
        ),
        row(
            "task_log",
            "GET /nodes/{node}/tasks/{upid}/log",
            "all",
            one(LOG, json!([{"n": 1, "t": "one"}, {"n": 2, "t": "two"}, {"n": 3, "t": "TASK OK"}])),
            vec![("", json!(["two", "TASK OK"]))],
        ),
        row("guest", of_resources, "all", lists(), vec![("/vmid", json!(101)), ("/template", json!(true))]),
        row("guests_named", of_resources, "all", lists(), vec![("/0/vmid", json!(100)), ("/1/vmid", json!(102))]),
    ]
}

const STATUS: &str =
    "GET /nodes/a/tasks/UPID%3Aa%3A000002FC%3A0005D906%3A6B02949B%3Aqmclone%3A111%3Aroot%40pam%21test%3A/status";
const LOG: &str = "GET /nodes/a/tasks/UPID%3Aa%3A000002FC%3A0005D906%3A6B02949B%3Aqmclone%3A111%3Aroot%40pam%21test%3A/\
                   log?start=0&limit=1000";

fn fake(asked: &[(&'static str, Value)], but: Option<Answer>) -> Fake {
    let mut fake = Fake::default();
    for (number, (target, answer)) in asked.iter().enumerate() {
        let first = (number == 0).then(|| but.clone()).flatten();
        fake = fake.on(target, first.unwrap_or_else(|| data(answer.clone())));
    }
    fake
}

#[tokio::test(start_paused = true)]
async fn each_call_asks_what_it_says_and_reads_it_leniently() {
    for row in rows() {
        let (client, fake) = fake(&row.asked, None).client();
        let result = call(row.name, &client).await.unwrap_or_else(|error| panic!("{}: {error}", row.name));
        for (pointer, expected) in &row.found {
            let found = result.pointer(pointer).cloned().unwrap_or_default();
            assert_eq!(found, *expected, "{} {pointer} of {result}", row.name);
        }
        let mut log = fake.log();
        let mut expected: Vec<String> = row.asked.iter().map(|(target, _)| (*target).to_owned()).collect();
        log.sort();
        expected.sort();
        assert_eq!(log, expected, "{}", row.name);
    }
}

#[tokio::test(start_paused = true)]
async fn each_call_says_why_it_failed() {
    for row in rows() {
        // An answer of another form: a list where an object is due, and the other way round.
        let other = if row.asked[0].1.is_array() { json!({"x": 1}) } else { json!([1]) };
        for (answer, kind) in [
            (refusal(403, "Permission check failed"), "permission"),
            (refusal(401, "No ticket"), "authentication"),
            (refusal(595, "No route to host"), "node-unreachable"),
            (data(other), "other"),
        ] {
            let (client, _) = fake(&row.asked, Some(answer.clone())).client();
            let told = call(row.name, &client).await;
            // A task whose state cannot be read is lost, which is a state.
            match (row.name, kind) {
                ("task_status", "other") => assert!(told.unwrap().to_string().contains("Lost"), "{answer:?}"),
                _ => assert_eq!(told.unwrap_err().kind(), kind, "{} {answer:?}", row.name),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_answer_leaves_the_clusters_list() {
    let (client, _) = fake(&lists(), None).on("GET /nodes/a/qemu", refusal(595, "No route to host")).client();
    let guests = client.guests().await.unwrap();
    let shown: Vec<_> = guests.iter().map(|guest| (guest.name.as_deref(), guest.status.as_deref())).collect();
    assert_eq!(shown, [(Some("before"), Some("stopped")), (None, Some("unknown")), (Some("web"), Some("stopped"))]);
    let (client, _) = fake(&lists(), None).client();
    let error = client.guest(Vmid::new(999).unwrap()).await.unwrap_err();
    assert_eq!(error, ApiError::NotFound("there is no guest 999, or it cannot be seen".to_owned()));
    assert!(client.guests_named("before").await.unwrap().is_empty());
}

/// Who may make a call, in words.
fn words(rule: &Rule) -> String {
    match rule {
        Rule::All => "all".to_owned(),
        Rule::Perm(perm) => {
            format!("{} on {}", perm.privileges.join(if perm.any { " or " } else { " and " }), perm.path)
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn the_api_has_each_call_with_these_parameters_and_privileges() {
    for release in [8, 9] {
        for row in rows() {
            let targets = row.asked.iter().map(|(target, _)| target.strip_prefix("GET ").unwrap());
            for (number, target) in targets.enumerate() {
                let (path, query) = target.split_once('?').unwrap_or((target, ""));
                let found = calls::find(release, "GET", &path.replace("%2F", "-")).unwrap();
                if number == 0 {
                    assert_eq!(format!("GET {}", found.call.path), row.api);
                    assert_eq!(words(found.call.permission.as_ref().unwrap()), row.privileges, "{}", row.name);
                }
                for pair in query.split('&').filter(|pair| !pair.is_empty()) {
                    let name = pair.split('=').next().unwrap();
                    assert!(found.call.parameter(name).is_some(), "{release} {target}: {name}");
                }
            }
        }
    }
}

#[test]
fn each_call_of_the_trait_has_its_row() {
    let source = include_str!("discover.rs");
    let (_, source) = source.split_once("pub trait Discover").unwrap();
    let (source, _) = source.split_once("\n}\n").unwrap();
    let named: Vec<&str> = source.lines().filter_map(|line| line.strip_prefix("    fn ")?.split('(').next()).collect();
    assert_eq!(named, rows().iter().map(|row| row.name).collect::<Vec<_>>());
}
