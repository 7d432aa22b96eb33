//! Guests that are destroyed to be made anew: only where they can be made again.

use std::collections::BTreeMap;

use pvefleet::pve::value::GuestKind;
use pvefleet::sim::world::{GrantSpec, TokenSpec};

use super::*;

const CT: &str = "      - name: prod-dns-01
        vmid: 1000
        node: pve2
        ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst
        rootfs: {storage: local-lvm, size: 2GiB}
        net0: {name: eth0, bridge: vmbr0, ip: dhcp}
        unprivileged: true
";

/// All that making it anew takes, beside what reading takes.
const ENOUGH: [(&str, &str); 11] = [
    ("/", "Sys.Modify"),
    ("/", "Sys.Console"),
    ("/vms", "VM.Allocate"),
    ("/vms", "VM.Config.Disk"),
    ("/vms", "VM.Config.Network"),
    ("/vms", "VM.Config.Options"),
    ("/vms", "VM.Config.Memory"),
    ("/vms", "VM.PowerMgmt"),
    ("/storage/local", "Datastore.Audit"),
    ("/storage/local-lvm", "Datastore.AllocateSpace"),
    ("/sdn/zones/localnetwork/vmbr0", "SDN.Use"),
];

/// The container as it was, and a token that holds these privileges beside reading.
fn with_grants(grants: &[(&str, &str)]) -> World {
    World::shaped(&["production"], "", |spec| {
        let mark = "<!-- pvefleet v1 cluster=production fleet=homelab guest=lxc/prod-dns-01 vmid=1000 -->";
        let mut guest = spec.guests.first().unwrap().clone();
        (guest.kind, guest.vmid, guest.node) = (GuestKind::Lxc, 1000, "pve2".to_owned());
        (guest.running, guest.file) = (false, None);
        let options = [
            ("arch", "amd64"),
            ("hostname", "prod-dns-01"),
            ("ostype", "debian"),
            ("rootfs", "local-lvm:vm-1000-disk-0,size=2G"),
            ("net0", "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:10:00,ip=dhcp,type=veth"),
            ("tags", "fleet-homelab"),
            ("unprivileged", "1"),
            ("description", mark),
        ];
        guest.config = options.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        spec.guests.push(guest);
        let mut by_path: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (path, privilege) in [("/", "Sys.Audit"), ("/vms", "VM.Audit")].iter().chain(grants) {
            by_path.entry(path).or_default().push((*privilege).to_owned());
        }
        let grant = |(path, privileges): (&str, Vec<String>)| GrantSpec {
            path: path.to_owned(),
            role: None,
            privileges,
            propagate: path != "/",
        };
        let mut grants: Vec<GrantSpec> = by_path.into_iter().map(grant).collect();
        // What lies below and is only looked at.
        for path in ["/storage", "/nodes", "/sdn"] {
            let role = Some("PVEAuditor".to_owned());
            grants.push(GrantSpec { path: path.to_owned(), role, privileges: Vec::new(), propagate: true });
        }
        spec.tokens = vec![TokenSpec::new("ci@pve!fleet", "s", grants)];
    })
}

fn changed() -> String {
    let more = "unprivileged: false\n        recreate: true\n        memory: 768\n        ha: {state: started}";
    containers(&CT.replace("unprivileged: true", more))
}

async fn planned(world: &World, manifest: &str) -> Plan {
    world.plan_with(&world.desired(manifest), &accepting(&["recreate:production/prod-dns-01"])).await
}

#[tokio::test(start_paused = true)]
async fn rights_on_the_guest_itself_go_with_it() {
    let mut grants = ENOUGH.to_vec();
    grants.iter_mut().filter(|(path, _)| *path == "/vms").for_each(|grant| grant.0 = "/vms/1000");
    grants.push(("/vms/1000", "VM.Audit"));
    let world = with_grants(&grants);
    let words = assert_refused(only(&planned(&world, &changed()).await), ReasonCode::Permission);
    assert!(words.contains("VM.Allocate on /vms; its rights on the guest itself go"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_destroyed_that_the_token_may_not_make() {
    for missing in ENOUGH {
        let grants: Vec<(&str, &str)> = ENOUGH.into_iter().filter(|grant| *grant != missing).collect();
        let world = with_grants(&grants);
        let (path, privilege) = missing;
        // Looking at a storage is granted to all of them here.
        if privilege != "Datastore.Audit" && (path, privilege) != ("/vms", "VM.PowerMgmt") {
            let plan = planned(&world, &changed()).await;
            assert!(plan.is_empty(), "without {privilege} on {path}: {}", text(&plan));
            let words = assert_refused(only(&plan), ReasonCode::Permission);
            assert!(words.contains(privilege), "without {privilege} on {path}: {words}");
        }
    }
    let world = with_grants(&ENOUGH);
    let plan = planned(&world, &changed()).await;
    let outcome = world.carry_out(&plan).await;
    assert_eq!(outcome.exit_code(&plan), 0, "{}\n{outcome:#?}", text(&plan));
    assert_eq!(only(&plan).action, Action::Recreate);
    assert!(!world.file("production", "prod-dns-01").contains("unprivileged"));
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_goes_with_the_guest_is_not_its_new_one() {
    let world = World::production();
    world.converge(&containers(CT)).await;
    let file = world.file("production", "prod-dns-01");
    let volume = file.split("rootfs: ").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let before = world.state();
    let manifest = changed().replace("{storage: local-lvm, size: 2GiB}", &format!("{{volume: \"{volume}\"}}"));
    let plan = planned(&world, &manifest).await;
    let words = assert_refused(only(&plan), ReasonCode::NotInPlace);
    assert!(words.contains("destroyed with the guest"), "{words}");
    assert_eq!(world.state(), before);
}
