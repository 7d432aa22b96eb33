//! The datacenter's rules for tags: what a token may not set is told before anything is sent.

mod support;

use pvefleet::plan::{ReasonCode, State};
use pvefleet::pve::http::Method;
use pvefleet::sim::world::GrantSpec;
use support::{World, containers, only, text, vms};

/// A cluster with these rules, and a token of a fleet.
fn world(access: &str, registered: &str, more: &'static str) -> World {
    World::shaped(&["production"], "", |spec| {
        for (name, value) in [("user-tag-access", access), ("registered-tags", registered)] {
            if !value.is_empty() {
                spec.datacenter.insert(name.to_owned(), value.to_owned());
            }
        }
        let grant = |path: &str, role: &str| GrantSpec {
            path: path.to_owned(),
            role: Some(role.to_owned()),
            privileges: Vec::new(),
            propagate: true,
        };
        let mut root = grant("/", "PVEAuditor");
        root.privileges = more.split_whitespace().map(str::to_owned).collect();
        spec.tokens[0].id = "fleet@pve!least".to_owned();
        spec.tokens[0].grants = vec![
            root,
            grant("/vms", "PVEVMAdmin"),
            grant("/storage", "PVEDatastoreUser"),
            grant("/sdn/zones/localnetwork", "PVESDNUser"),
        ];
    })
}

fn vm(tags: &str, how: &str) -> String {
    vms(&format!("      - name: prod-web-01\n        node: pve1\n        tags: [{tags}]\n        {how}\n"))
}

const NEW: &str = "scsi0: {storage: local-lvm, size: 1GiB}";
const CLONE: &str = "clone: {from: debian-12}";

fn asked(world: &World) -> usize {
    world.log("production").iter().filter(|entry| entry.path == "/cluster/options").count()
}

#[tokio::test(start_paused = true)]
async fn what_the_rules_keep_from_the_token_is_blocked_before_it_is_sent() {
    for (access, registered, more, allowed) in [
        ("", "", "", true),
        ("", "gold", "", false),
        ("", "gold", "Sys.Modify", true),
        ("user-allow=none", "", "", false),
        ("user-allow=none", "", "Sys.Modify", true),
        ("user-allow=list,user-allow-list=gold;fleet-homelab", "", "", true),
        ("user-allow=list,user-allow-list=gold", "", "", false),
        ("user-allow=existing", "", "", false),
    ] {
        for how in [NEW, CLONE] {
            let world = world(access, registered, more);
            let wanted = vm("gold", how);
            let plan = world.plan(&wanted).await;
            assert_eq!(only(&plan).state == State::Ready, allowed, "{access} {registered}\n{}", text(&plan));
            if allowed {
                world.converge(&wanted).await;
            } else {
                let code = only(&plan).reason.as_ref().unwrap().code;
                assert_eq!(code, ReasonCode::Permission, "{}", text(&plan));
            }
        }
        let world = world(access, registered, more);
        let container = "      - name: prod-dns-01\n        tags: [gold]\n        unprivileged: true
        ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst
        rootfs: {storage: local-lvm, size: 1GiB}\n";
        assert_eq!(!world.plan(&containers(container)).await.is_empty(), allowed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_is_refused_keeps_nothing_else_back() {
    let world = world("", "gold", "");
    world.converge(&vm("web", NEW)).await;
    let before = asked(&world);
    world.converge(&vm("web", NEW)).await;
    assert_eq!(asked(&world), before, "nothing is asked where no tag changes");
    let (plan, _) = world.apply(&vm("web, gold", &format!("{NEW}\n        memory: 1024"))).await;
    let tags = only(&plan).fields.iter().find(|field| field.name == "tags").unwrap();
    assert_eq!(tags.blocked.as_ref().unwrap().code, ReasonCode::Permission);
    let file = world.file("production", "prod-web-01");
    assert!(file.contains("memory: 1024") && !file.contains("gold"), "{file}");
    assert!(world.plan(&vm("web, gold", &format!("{NEW}\n        memory: 1024"))).await.is_empty());
    // What Proxmox says to whom nobody asked before.
    let path = world.path("production", "prod-web-01", "/config");
    let request = pvefleet::pve::http::Request::new(Method::Put, path).with("tags", "gold");
    let refused = world.client("production").write(&request).await.unwrap_err().to_string();
    assert!(refused.contains("Sys.Modify for modifying tag"), "{refused}");
}
