//! Apply, then plan, is empty: for guests that are restored, made anew, or called otherwise.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use pvefleet::plan::{Action, PlanOptions, State};
use pvefleet::pve::http::Method;
use pvefleet::sim::transport::lock;
use pvefleet::sim::world::VolumeSpec;
use pvefleet::sim::{Effect, Fault, FaultKind};
use support::{World, containers, only, text, vms, words};

const CT: &str = "      - name: prod-dns-01
        node: pve2
        ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst
        rootfs: {storage: local-lvm, size: 2GiB}
        net0: {name: eth0, bridge: vmbr0, ip: dhcp}
        unprivileged: true
        state: running
";

fn accepting(accept: &str) -> PlanOptions {
    PlanOptions { accept: vec![accept.parse().unwrap()], ..PlanOptions::default() }
}

const VM_BACKUP: &str = "local:backup/vzdump-qemu-500-2025_06_01-02_00_00.vma.zst";
const CT_BACKUP: &str = "local:backup/vzdump-lxc-501-2025_06_01-02_00_00.tar.zst";

fn with_backups() -> World {
    let mark = "<!-- pvefleet v1 cluster=elsewhere fleet=homelab guest=qemu/prod-web-01 vmid=500 -->";
    let mark = pvefleet::pve::http::percent_encode(mark);
    World::shaped(&["production"], "", move |spec| {
        let vm = format!(
            "#Of the old site.\n#{mark}\nboot: order=scsi0\ncores: 2\nmemory: 1024\nname: old-web\n\
             net0: virtio=BC:24:11:00:05:00,bridge=vmbr0\nscsi0: far:vm-500-disk-0,size=4G\n\
             scsi1: far:vm-500-disk-1,backup=0,size=9G\ntags: old\n\n[snap]\ncores: 9\n"
        );
        let ct = "arch: amd64\nhostname: old-dns\nmemory: 512\nmp0: local-lvm:vm-501-disk-1,mp=/srv,backup=1,size=1G\n\
                  net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:05:01,ip=dhcp,type=veth\nostype: debian\n\
                  rootfs: local-lvm:vm-501-disk-0,size=2G\nswap: 512\nunprivileged: 1\n";
        for (volid, archive) in [(VM_BACKUP, vm.as_str()), (CT_BACKUP, ct)] {
            spec.volumes.push(VolumeSpec {
                volid: volid.to_owned(),
                node: "pve2".to_owned(),
                size: 1 << 30,
                archive: Some(archive.to_owned()),
            });
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_vm_is_restored_and_brought_up_to_date() {
    let world = with_backups();
    let restored = format!(
        "      - name: prod-web-01
        node: [pve2]
        archive: {VM_BACKUP}
        cores: 4
        scsi0: {{storage: local-lvm, size: 6GiB, ssd: true}}
        tags: [web]
        state: running
"
    );
    let plan = world.converge(&vms(&restored)).await;
    assert_eq!(only(&plan).action, Action::Restore);
    let file = world.file("production", "prod-web-01");
    assert!(file.contains("cores: 4") && file.contains("scsi0: local-lvm:vm-1000-disk-0,size=6G,ssd=1"), "{file}");
    assert!(file.contains("tags: fleet-homelab;old;web") && file.contains("Of the old site."), "{file}");
    assert!(!file.contains("elsewhere") && !file.contains("scsi1"), "{file}");
    let none = world.plan(&vms(&restored.replace("web-01", "web-02").replace("qemu-500", "qemu-777"))).await;
    let change = none.changes().find(|change| change.address.name == "prod-web-02").unwrap();
    assert_eq!(change.state, State::Unknown, "{}", text(&none));
}

#[tokio::test(start_paused = true)]
async fn a_container_is_restored_on_its_storages() {
    let world = with_backups();
    let restored = format!(
        "      - name: prod-dns-01
        node: [pve2]
        archive: {CT_BACKUP}
        memory: 1024
        mp0: {{size: 2GiB, mp: /srv}}
        unprivileged: true
        state: running
"
    );
    let plan = world.converge(&containers(&restored)).await;
    let file = world.file("production", "prod-dns-01");
    assert!(file.contains("rootfs: local-lvm:vm-1000-disk") && file.contains("size=2G"), "{file}\n{}", text(&plan));
    let wrong = world
        .plan(&vms(&restored
            .replace("prod-dns-01", "prod-web-09")
            .replace("unprivileged: true", "cores: 1")
            .replace("        mp0: {size: 2GiB, mp: /srv}\n", "")))
        .await;
    let change = wrong.changes().find(|change| change.address.name == "prod-web-09").unwrap();
    assert_eq!(change.reason.as_ref().unwrap().code.word(), "not-found", "{}", text(&wrong));
}

#[tokio::test(start_paused = true)]
async fn a_guest_is_made_anew_only_when_asked_and_accepted() {
    let world = World::production();
    world.converge(&containers(CT)).await;
    let id = world.vmid("production", "prod-dns-01");
    let changed = containers(&CT.replace("unprivileged: true", "unprivileged: false\n        recreate: true"));
    let plan = world.plan(&changed).await;
    let field = only(&plan).fields.iter().find(|field| field.name == "unprivileged").unwrap();
    let hint = field.blocked.as_ref().unwrap().hint.clone();
    assert_eq!(hint.as_deref(), Some("--accept recreate:production/prod-dns-01"), "{}", text(&plan));
    assert!(plan.is_empty());
    let (plan, outcome) = world.apply_with(&changed, &accepting("recreate:production/prod-dns-01")).await;
    assert_eq!(outcome.exit_code(&plan), 0, "{}\n{outcome:#?}", text(&plan));
    assert_eq!(only(&plan).action, Action::Recreate);
    assert_eq!(words(&plan)[..2], ["shut down", &format!("destroy container {id} and its volumes")]);
    assert!(text(&plan).contains("destroys rootfs local-lvm:"), "{}", text(&plan));
    assert_eq!(world.vmid("production", "prod-dns-01"), id);
    assert!(world.plan(&changed).await.is_empty());
    assert!(!world.file("production", "prod-dns-01").contains("unprivileged"));
    // Without the word in the manifest, nothing that is accepted replaces a guest.
    let back = containers(CT);
    let desired = world.desired(&back);
    let live = pvefleet::ops::read(&desired, &world.readers(), &[]).await;
    assert!(pvefleet::plan::plan(&desired, &live, &accepting("recreate:production/prod-dns-01")).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_protected_guest_is_not_made_anew() {
    let world = World::production();
    let protected = CT.replace("unprivileged: true", "unprivileged: true\n        protection: true");
    world.converge(&containers(&protected)).await;
    let changed = protected.replace("unprivileged: true", "unprivileged: false\n        recreate: true");
    let desired = world.desired(&containers(&changed));
    let plan = world.plan_with(&desired, &accepting("recreate:production/prod-dns-01")).await;
    assert_eq!(only(&plan).reason.as_ref().unwrap().code.word(), "protected", "{}", text(&plan));
}

#[tokio::test(start_paused = true)]
async fn a_guest_is_found_under_its_former_name() {
    let world = World::production();
    world.converge(&containers(CT)).await;
    let id = world.vmid("production", "prod-dns-01");
    let renamed = CT.replace("name: prod-dns-01", "name: prod-ns-01\n        renamed_from: prod-dns-01");
    let plan = world.converge(&containers(&renamed)).await;
    assert_eq!(only(&plan).action, Action::Update, "{}", text(&plan));
    assert_eq!(world.vmid("production", "prod-ns-01"), id);
    assert!(text(&world.plan(&containers(&renamed)).await).contains("no longer needed"));
    // The former name is another guest's now.
    let both = format!("{}{CT}", renamed.replace("prod-ns-01", "prod-xs-01").replace("prod-dns-01", "prod-ns-01"));
    let both = both.replace("prod-dns-01", "prod-ns-01");
    let plan = world.plan(&containers(&both)).await;
    let change = plan.changes().find(|change| change.address.name == "prod-xs-01").unwrap();
    assert_eq!(change.reason.as_ref().unwrap().code.word(), "conflict", "{}", text(&plan));
    // A copy that somebody made and called so is not in its way, and not taken for it.
    let path = world.path("production", "prod-ns-01", "/config");
    world.by_hand("production", Method::Put, &path, &[("hostname", "prod-else")]).await;
    world.converge(&containers(&renamed)).await;
}

const TEMPLATE: &str = "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst";

/// What becomes of a container whose template is changed by this before it is made anew.
async fn anew_after(change: impl AsyncFn(&World)) -> (String, Option<State>) {
    let world = World::production();
    world.converge(&containers(CT)).await;
    change(&world).await;
    let before = world.state();
    let changed = containers(&CT.replace("unprivileged: true", "unprivileged: false\n        recreate: true"));
    let (plan, _) = world.apply_with(&changed, &accepting("recreate:production/prod-dns-01")).await;
    let same = world.state() == before;
    assert_eq!(same, plan.is_empty());
    (text(&plan).split_whitespace().collect::<Vec<_>>().join(" "), same.then(|| only(&plan).state))
}

#[tokio::test(start_paused = true)]
async fn nothing_is_destroyed_whose_template_is_gone_or_not_known_to_be_there() {
    let (shown, state) = anew_after(async |_| {}).await;
    assert_eq!(state, None, "{shown}");
    let gone = async |world: &World| {
        let path = format!("/nodes/pve2/storage/local/content/{TEMPLATE}");
        world.by_hand("production", Method::Delete, &path, &[]).await;
    };
    let (shown, state) = anew_after(gone).await;
    assert_eq!(state, Some(State::Blocked), "{shown}");
    assert!(shown.contains(&format!("{TEMPLATE} is not on pve2, or this token does not see it")), "{shown}");
    let silent = async |world: &World| {
        let hangs = Fault::new(
            "GET",
            "/nodes/pve2/storage/local/content",
            FaultKind::Status { code: 500, text: "storage hangs".to_owned(), effect: Effect::None },
        );
        lock(&world.clusters["production"]).inject(hangs);
    };
    let (shown, state) = anew_after(silent).await;
    assert_eq!(state, Some(State::Unknown), "{shown}");
    assert!(shown.contains(&format!("whether {TEMPLATE} is on pve2 could not be read")), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn images_of_a_vm_that_is_made_anew_must_be_there() {
    let image =
        |volid: &str| VolumeSpec { volid: volid.to_owned(), node: "pve2".to_owned(), size: 1 << 30, archive: None };
    let import =
        |name: &str| format!("        scsi0: {{storage: local-lvm, size: 2GiB, import: \"local:import/{name}\"}}\n");
    let iso = |name: &str| format!("        ide2: {{iso: \"local:iso/{name}\"}}\n");
    for (lines, is_there) in [
        (import("debian.qcow2"), true),
        (import("debian.qcow2") + &iso("rescue.iso"), true),
        (import("gone.qcow2"), false),
        (import("debian.qcow2") + &iso("gone.iso"), false),
    ] {
        let world = World::shaped(&["production"], "", |spec| {
            spec.volumes.extend(["local:import/debian.qcow2", "local:iso/rescue.iso"].map(image));
        });
        let head = "      - name: prod-web-01\n        node: pve2\n";
        world
            .converge(&vms(&format!(
                "{head}        scsi0: {{storage: local-lvm, size: 2GiB}}\n        template: true\n"
            )))
            .await;
        let anew = world.desired(&vms(&format!("{head}{lines}        recreate: true\n")));
        let asked =
            |world: &World| world.log("production").iter().filter(|entry| entry.path.ends_with("/content")).count();
        let before = asked(&world);
        let plan = world.plan_with(&anew, &accepting("recreate:production/prod-web-01")).await;
        assert_eq!((only(&plan).action, plan.is_empty()), (Action::Recreate, !is_there), "{}", text(&plan));
        assert_eq!(asked(&world) - before, lines.lines().count());
    }
}
