//! Apply, then plan, is empty: for every kind of change.

mod support;

use pvefleet::plan::{Action, PlanOptions, State};
use pvefleet::pve::http::Method;
use support::{HEAD, World, containers, only, text, vms};

const VM: &str = "      - name: prod-db-01
        node: pve3
        cores: 2
        memory: 2048
        scsihw: virtio-scsi-single
        scsi0: {storage: local-lvm, size: 16GiB, discard: on}
        scsi1: {storage: shared, size: 20GiB}
        net0: {model: virtio, bridge: vmbr0, firewall: true}
        ostype: l26
        tags: [db]
        description: The database.
        state: running
";

const CLONE: &str = "      - name: prod-web-01
        node: [pve1]
        clone: {from: debian-12, full: false}
        cores: 4
        scsi0: {size: 32GiB, ssd: true}
        net0: {bridge: vmbr1, tag: 20}
        ipconfig0: {ip: 10.0.20.11/24, gw: 10.0.20.1}
        ciuser: admin
        state: running
";

const CT: &str = "      - name: prod-dns-01
        vmid: 1101
        node: pve2
        ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst
        rootfs: {storage: local-lvm, size: 8GiB}
        mp0: {storage: shared, size: 4GiB, mp: /srv}
        net0: {name: eth0, bridge: vmbr0, ip: dhcp}
        memory: 512
        features: {nesting: true}
        unprivileged: true
        state: running
";

#[tokio::test(start_paused = true)]
async fn a_vm_from_nothing() {
    let world = World::production();
    let plan = world.converge(&vms(VM)).await;
    assert_eq!(only(&plan).action, Action::Create);
    let file = world.file("production", "prod-db-01");
    assert!(file.contains("tags: db;fleet-homelab"), "{file}");
    assert!(file.contains("scsi1: shared"), "{file}");
    assert!(file.contains("The database."), "{file}");
}

#[tokio::test(start_paused = true)]
async fn a_linked_clone() {
    let world = World::production();
    let plan = world.converge(&vms(CLONE)).await;
    assert_eq!(only(&plan).action, Action::Clone);
    let file = world.file("production", "prod-web-01");
    assert!(file.contains("bridge=vmbr1") && file.contains("tag=20"), "{file}");
    assert!(file.contains("size=32G"), "{file}");
}

#[tokio::test(start_paused = true)]
async fn a_full_clone_on_another_storage() {
    let world = World::production();
    let manifest = vms(&CLONE.replace("full: false", "full: true, storage: shared"));
    world.converge(&manifest).await;
    assert!(world.file("production", "prod-web-01").contains("scsi0: shared"), "the disk went there");
}

#[tokio::test(start_paused = true)]
async fn a_container() {
    let world = World::production();
    world.converge(&containers(CT)).await;
    assert_eq!(world.vmid("production", "prod-dns-01").get(), 1101);
}

#[tokio::test(start_paused = true)]
async fn options_change_on_a_stopped_vm() {
    let world = World::production();
    let stopped = VM.replace("state: running", "state: stopped");
    world.converge(&vms(&stopped)).await;
    let changed = stopped
        .replace("memory: 2048", "memory: 4096")
        .replace("firewall: true", "firewall: false, tag: 7")
        .replace("discard: on", "discard: on, ssd: true")
        .replace("        cores: 2\n", "        cores: null\n")
        .replace("ostype: l26", "ostype: l26\n        onboot: true\n        boot: order=scsi0;net0")
        .replace("The database.", "Another text.");
    let plan = world.converge(&vms(&changed)).await;
    let fields: Vec<&str> = only(&plan).fields.iter().map(|field| field.name.as_str()).collect();
    for name in ["memory", "net0.tag", "scsi0.ssd", "onboot", "description"] {
        assert!(fields.contains(&name), "{name} in {fields:?}");
    }
    // The MAC address was kept through the rewriting of net0.
    let before = plan.changes().next().unwrap().base.current["net0"].clone().unwrap();
    let mac = before.split([',', '=']).nth(1).unwrap().to_owned();
    assert!(world.file("production", "prod-db-01").contains(&mac), "{mac} was lost");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_waits_for_a_reboot_is_no_difference() {
    let world = World::production();
    world.converge(&vms(VM)).await;
    let changed = vms(&VM.replace("memory: 2048", "memory: 4096"));
    world.converge(&changed).await;
    let again = world.plan(&changed).await;
    assert_eq!(only(&again).pending, ["memory"]);
    assert!(again.is_empty());
    // Allowed to reboot, it is rebooted, and nothing waits any more.
    let rebooting = vms(&VM.replace("memory: 2048", "memory: 4096\n        reboot: allow"));
    world.converge(&rebooting).await;
    assert!(only(&world.plan(&rebooting).await).pending.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_queued_value_of_somebody_else_is_taken_back() {
    let world = World::production();
    world.converge(&vms(VM)).await;
    let path = world.path("production", "prod-db-01", "/config");
    world.by_hand("production", Method::Put, &path, &[("memory", "1024")]).await;
    world.converge(&vms(VM)).await;
    assert!(!world.file("production", "prod-db-01").contains("1024"));
    world.by_hand("production", Method::Put, &path, &[("delete", "ostype")]).await;
    world.converge(&vms(VM)).await;
    assert!(world.file("production", "prod-db-01").contains("ostype: l26"));
}

#[tokio::test(start_paused = true)]
async fn options_of_a_clone_that_runs() {
    let world = World::production();
    world.converge(&vms(CLONE)).await;
    let changed =
        CLONE.replace("tag: 20", "tag: 21").replace("ciuser: admin", "ciuser: root").replace("cores: 4", "cores: 2");
    world.converge(&vms(&changed)).await;
    assert!(world.file("production", "prod-web-01").contains("tag=21"));
}

#[tokio::test(start_paused = true)]
async fn options_of_a_container_that_runs() {
    let world = World::production();
    world.converge(&containers(CT)).await;
    let changed = CT
        .replace("memory: 512", "memory: 1024\n        cores: 2\n        onboot: true\n        tags: [dns, net]")
        .replace("ip: dhcp", "ip: 10.0.0.53/24, gw: 10.0.0.1");
    world.converge(&containers(&changed)).await;
    assert!(world.file("production", "prod-dns-01").contains("ip=10.0.0.53/24"));
}

#[tokio::test(start_paused = true)]
async fn disks_grow_and_do_not_shrink() {
    let world = World::production();
    world.converge(&vms(VM)).await;
    world.converge(&vms(&VM.replace("size: 20GiB", "size: 24GiB"))).await;
    assert!(world.file("production", "prod-db-01").contains("size=24G"));
    let plan = world.plan(&vms(VM)).await;
    let field = only(&plan).fields.iter().find(|field| field.name == "scsi1.size").unwrap();
    assert_eq!(field.blocked.as_ref().unwrap().code.word(), "shrink");
    let world = World::production();
    world.converge(&containers(CT)).await;
    world.converge(&containers(&CT.replace("size: 8GiB", "size: 10GiB"))).await;
    assert!(world.file("production", "prod-dns-01").contains("size=10G"));
}

#[tokio::test(start_paused = true)]
async fn a_disk_is_added() {
    let world = World::production();
    world.converge(&vms(VM)).await;
    world
        .converge(&vms(&VM.replace("        net0", "        scsi2: {storage: local-lvm, size: 1GiB}\n        net0")))
        .await;
    assert!(world.file("production", "prod-db-01").contains("scsi2: local-lvm"));
    let world = World::production();
    world.converge(&containers(CT)).await;
    let more =
        CT.replace("        net0", "        mp1: {storage: local-lvm, size: 2GiB, mp: /var/cache}\n        net0");
    world.converge(&containers(&more)).await;
    assert!(world.file("production", "prod-dns-01").contains("mp1: local-lvm"));
}

#[tokio::test(start_paused = true)]
async fn a_disk_is_detached_only_when_accepted_and_not_replaced_by_an_empty_one() {
    let world = World::production();
    world.converge(&vms(VM)).await;
    let without = vms(&VM.replace("scsi1: {storage: shared, size: 20GiB}", "scsi1: null"));
    let plan = world.plan(&without).await;
    assert_eq!(only(&plan).state, State::Blocked);
    assert_eq!(
        only(&plan).reason.as_ref().unwrap().hint.as_deref(),
        Some("--accept detach:production/prod-db-01/scsi1")
    );
    let renamed = vms(&VM.replace(
        "scsi1: {storage: shared, size: 20GiB}",
        "scsi1: null\n        scsi5: {storage: shared, size: 20GiB}",
    ));
    let field = only(&world.plan(&renamed).await).fields.iter().find(|field| field.name == "scsi5").cloned().unwrap();
    assert_eq!(field.blocked.unwrap().code.word(), "detached-disk");
    let options =
        PlanOptions { accept: vec!["detach:production/prod-db-01/scsi1".parse().unwrap()], ..PlanOptions::default() };
    let (plan, outcome) = world.apply_with(&without, &options).await;
    assert_eq!(outcome.exit_code(&plan), 0, "{outcome:#?}");
    assert!(world.file("production", "prod-db-01").contains("unused0: shared"));
    // And now a new disk must not be taken for the old one.
    let field = only(&world.plan(&renamed).await).fields.iter().find(|field| field.name == "scsi5").cloned().unwrap();
    assert_eq!(field.blocked.unwrap().code.word(), "detached-disk");
}

#[tokio::test(start_paused = true)]
async fn tags_are_united_and_the_fleet_tag_comes_back() {
    let world = World::production();
    world.converge(&vms(VM)).await;
    let path = world.path("production", "prod-db-01", "/config");
    world.by_hand("production", Method::Put, &path, &[("tags", "mine")]).await;
    world.converge(&vms(VM)).await;
    assert!(world.file("production", "prod-db-01").contains("tags: db;fleet-homelab;mine"));
    world.by_hand("production", Method::Put, &path, &[("delete", "tags")]).await;
    world.converge(&vms(VM)).await;
    assert!(world.file("production", "prod-db-01").contains("tags: db;fleet-homelab\n"));
}

#[tokio::test(start_paused = true)]
async fn power_follows_the_manifest() {
    let world = World::production();
    world.converge(&vms(VM)).await;
    world.converge(&vms(&VM.replace("state: running", "state: stopped"))).await;
    world.converge(&vms(VM)).await;
    let world = World::production();
    world.converge(&containers(CT)).await;
    world.converge(&containers(&CT.replace("state: running", "state: stopped"))).await;
}

#[tokio::test(start_paused = true)]
async fn a_rename_keeps_the_guest() {
    let world = World::production();
    let manifest = containers(CT);
    world.converge(&manifest).await;
    let plan = world.converge(&manifest.replace("prod-dns-01", "prod-ns-01")).await;
    assert_eq!(only(&plan).action, Action::Update);
    assert_eq!(world.vmid("production", "prod-ns-01").get(), 1101);
}

#[tokio::test(start_paused = true)]
async fn a_guest_deleted_by_hand_is_made_again() {
    let world = World::production();
    world.converge(&containers(CT)).await;
    world.by_hand("production", Method::Post, &world.path("production", "prod-dns-01", "/status/stop"), &[]).await;
    world.by_hand("production", Method::Delete, &world.path("production", "prod-dns-01", ""), &[]).await;
    let plan = world.converge(&containers(CT)).await;
    assert_eq!(only(&plan).action, Action::Create);
}

#[tokio::test(start_paused = true)]
async fn an_orphan_is_deleted_with_prune_alone() {
    let world = World::production();
    let both = format!("{}    containers:\n{CT}", vms(VM));
    world.converge(&both).await;
    let one = vms(VM);
    let plan = world.plan(&one).await;
    let orphan = plan.changes().find(|change| change.action == Action::Delete).unwrap();
    assert_eq!(orphan.reason.as_ref().unwrap().code.word(), "needs-prune");
    assert!(plan.is_empty());
    let prune = PlanOptions { prune: true, ..PlanOptions::default() };
    let (plan, outcome) = world.apply_with(&one, &prune).await;
    assert_eq!(outcome.exit_code(&plan), 0, "{}{outcome:#?}", text(&plan));
    assert!(!world.state().contains("prod-dns-01"));
    // Nobody else's guest went with it.
    assert!(world.state().contains("legacy-nas") && world.state().contains("old-wiki"));
}

#[tokio::test(start_paused = true)]
async fn the_guards_block_all_or_nothing() {
    let world = World::production();
    let two = containers(&format!("{CT}{}", CT.replace("1101", "1102").replace("dns-01", "dns-02")));
    world.converge(&two).await;
    let prune = PlanOptions { prune: true, ..PlanOptions::default() };
    let none = format!("{HEAD}    vms: []\n");
    let plan = world.plan_with(&world.desired(&none), &prune).await;
    let reasons: Vec<&str> = plan.changes().filter_map(|change| Some(change.reason.as_ref()?.code.word())).collect();
    assert_eq!(reasons, ["guard", "guard"], "{}", text(&plan));
    let accept = ["delete:production/prod-dns-01", "empty:homelab"].map(|text| text.parse().unwrap()).to_vec();
    let named = PlanOptions { accept, ..prune };
    let plan = world.plan_with(&world.desired(&none), &named).await;
    assert_eq!(plan.changes().filter(|change| change.has_steps()).count(), 2, "one by name, one within the guards");
}

#[tokio::test(start_paused = true)]
async fn a_guest_of_somebody_else_is_adopted_only_when_said() {
    let world = World::production();
    let adopting = containers("      - name: old-wiki\n        vmid: 120\n        onboot: true\n        adopt: true\n");
    let manifest = adopting
        .replace("adopt: true", "ostemplate: local:vztmpl/x.tar.zst\n        rootfs: {storage: local-lvm, size: 8GiB}");
    let plan = world.plan(&manifest).await;
    assert_eq!(only(&plan).reason.as_ref().unwrap().code.word(), "not-owned", "{}", text(&plan));
    let plan = world.converge(&adopting).await;
    assert_eq!(only(&plan).action, Action::Adopt);
    // Once ours, it stays ours without the word.
    assert!(world.plan(&manifest).await.is_empty());
    let plan = world.converge(&manifest.replace("onboot: true", "released: true")).await;
    assert_eq!(only(&plan).action, Action::Release);
    assert!(!world.file("production", "old-wiki").contains("pvefleet"));
}

#[tokio::test(start_paused = true)]
async fn secrets_are_written_by_version_and_never_shown() {
    let world = World::production();
    let with = |version: u32| {
        vms(&CLONE.replace(
            "ciuser: admin",
            &format!("ciuser: admin\n        cipassword: {{env: WEB_PASSWORD, version: {version}}}"),
        ))
    };
    let plan = world.converge(&with(1)).await;
    let json = serde_json::to_string(&plan).unwrap();
    assert!(!json.contains(support::CANARY) && !text(&plan).contains(support::CANARY));
    assert!(world.file("production", "prod-web-01").contains("secrets=cipassword%3A1"));
    let plan = world.converge(&with(2)).await;
    assert!(text(&plan).contains("(secret, version 1) → (secret, version 2)"), "{}", text(&plan));
    assert!(!world.file("production", "prod-web-01").contains(support::CANARY), "stored hashed");
}

#[tokio::test(start_paused = true)]
async fn a_template_is_made_last() {
    let world = World::production();
    let manifest = vms(&VM.replace("state: running", "template: true"));
    world.converge(&manifest).await;
    assert!(world.file("production", "prod-db-01").contains("template: 1"));
}

#[tokio::test(start_paused = true)]
async fn unlisted_options_are_reported_or_removed() {
    let world = World::production();
    world.converge(&vms(VM)).await;
    let path = world.path("production", "prod-db-01", "/config");
    world.by_hand("production", Method::Put, &path, &[("onboot", "1"), ("startup", "order=3")]).await;
    let plan = world.plan(&vms(VM)).await;
    assert!(plan.is_empty());
    assert!(only(&plan).unlisted.contains_key("onboot") && only(&plan).unlisted.contains_key("startup"));
    world.converge(&vms(&VM.replace("ostype: l26", "ostype: l26\n        unlisted: remove"))).await;
    let file = world.file("production", "prod-db-01");
    assert!(!file.contains("onboot") && !file.contains("startup") && file.contains("boot:"), "{file}");
}

#[tokio::test(start_paused = true)]
async fn what_is_needed_is_made_first() {
    let world = World::production();
    let proxy = CT
        .replace("1101", "1102")
        .replace("prod-dns-01", "prod-a-proxy")
        .replace("memory: 512", "memory: 512\n        depends_on: [prod-dns-01]");
    let plan = world.converge(&containers(&format!("{proxy}{CT}"))).await;
    let order: Vec<&str> = plan.changes().map(|change| change.address.name.as_str()).collect();
    assert_eq!(order, ["prod-dns-01", "prod-a-proxy"]);
}

#[tokio::test(start_paused = true)]
async fn the_settings_defaults_serve_new_devices_alone() {
    let settings = "PROXMOX_CLUSTER_production_DEFAULT_NODE=pve3\nPROXMOX_CLUSTER_production_DEFAULT_STORAGE=shared\n\
                    PROXMOX_CLUSTER_production_DEFAULT_BRIDGE=vmbr1\n";
    let manifest = vms("      - name: prod-a
        vmid: 1001
        scsi0: {size: 1GiB}
        net0: {model: virtio}
");
    let world = World::with_settings(&["production"], settings);
    let plan = world.converge(&manifest).await;
    assert_eq!(only(&plan).node.as_deref(), Some("pve3"));
    let file = world.file("production", "prod-a");
    assert!(file.contains("scsi0: shared") && file.contains("bridge=vmbr1"), "{file}");
    // Another default later moves nothing.
    let path = world.path("production", "prod-a", "/config");
    world.by_hand("production", Method::Put, &path, &[("net0", "virtio,bridge=vmbr0")]).await;
    assert!(world.plan(&manifest).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn settings_that_only_read_block_every_change() {
    let world = World::with_settings(&["production"], "PROXMOX_CLUSTER_production_ACCESS=read\n");
    let plan = world.plan(&vms(VM)).await;
    assert_eq!(only(&plan).reason.as_ref().unwrap().code.word(), "read-only");
    assert!(plan.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_only_root_may_set_is_refused_before_anything_is_sent() {
    let world = World::production();
    let plan = world.plan(&vms(&VM.replace("cores: 2", "args: -no-reboot"))).await;
    assert_eq!(only(&plan).reason.as_ref().unwrap().code.word(), "root-only", "{}", text(&plan));
    world.converge(&vms(VM)).await;
    let plan = world.plan(&vms(&VM.replace("cores: 2", "args: -no-reboot\n        onboot: true"))).await;
    assert_eq!(only(&plan).state, State::Ready, "the rest of the guest goes on");
    assert!(text(&plan).contains("root@pam"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_change_in_place_is_blocked_and_the_rest_goes_on() {
    let world = World::production();
    world.converge(&containers(CT)).await;
    let changed = containers(&CT.replace("unprivileged: true", "unprivileged: false\n        onboot: true"));
    let plan = world.plan(&changed).await;
    let field = only(&plan).fields.iter().find(|field| field.name == "unprivileged").unwrap();
    assert_eq!(field.blocked.as_ref().unwrap().code.word(), "not-in-place");
    assert_eq!((only(&plan).state, only(&plan).steps.len()), (State::Ready, 1));
}

#[tokio::test(start_paused = true)]
async fn a_template_and_its_clone_in_one_manifest() {
    let world = World::production();
    let template = VM.replace("prod-db-01", "prod-golden").replace("state: running", "template: true");
    let clone = "      - name: prod-a-clone\n        clone: {from: prod-golden, full: true}\n        memory: 1024\n";
    let both = vms(&format!("{clone}{template}"));
    let (plan, outcome) = world.apply(&both).await;
    assert_eq!(outcome.exit_code(&plan), 3, "the clone waits for its source: {}", text(&plan));
    let plan = world.converge(&both).await;
    let order: Vec<&str> = plan.changes().map(|change| change.address.name.as_str()).collect();
    assert_eq!(order, ["prod-golden", "prod-a-clone"]);
}

#[tokio::test(start_paused = true)]
async fn one_name_in_two_clusters_is_two_guests() {
    let world = World::of(&["production", "staging"]);
    let guest = |cluster: &str| format!("  {cluster}:\n    vms: [{{name: mon, memory: 512}}]\n");
    let first = format!("fleet: t\nclusters:\n{}", guest("production"));
    world.converge(&first).await;
    // Production's is accounted for by its own entry, so staging's is made.
    world.converge(&format!("{first}{}", guest("staging"))).await;
    // Routed elsewhere, it is neither made there nor an orphan here.
    let plan = world.plan("fleet: t\nclusters: {production: {}}\nvms: [{name: mon, cluster: staging}]\n").await;
    assert!(plan.is_empty(), "{}", text(&plan));
}

#[tokio::test(start_paused = true)]
async fn what_is_to_be_adopted_and_is_not_there_is_not_made() {
    let world = World::production();
    let plan = world.plan(&vms("      - {name: legacy-nas, vmid: 111, adopt: true}\n")).await;
    assert_eq!(only(&plan).reason.as_ref().unwrap().code.word(), "not-found");
    assert!(text(&plan).contains("110 has the name"), "{}", text(&plan));
}

#[tokio::test(start_paused = true)]
async fn a_plan_shows_all_that_it_writes() {
    let world = World::production();
    let plan = world.converge(&vms(VM)).await;
    assert!(text(&plan).contains("The database."), "the description of a new guest");
    let with = vms(&CLONE.replace("ciuser: admin", "cipassword: {env: X, version: 1}"));
    let world = World::production();
    world.converge(&with).await;
    let plan = world.converge(&with.replace(", version: 1", "")).await;
    assert!(text(&plan).contains("cipassword version 1 →"), "{}", text(&plan));
    let path = world.path("production", "prod-web-01", "/config");
    world.by_hand("production", Method::Put, &path, &[("cores", "8")]).await;
    let plan = world.plan(&with.replace(", version: 1", "")).await;
    assert!(text(&plan).contains("4 (8 queued) → 4"), "{}", text(&plan));
}

#[tokio::test(start_paused = true)]
async fn selections_that_cannot_be_meant_are_refused_or_warned_of() {
    let world = World::of(&["production", "staging"]);
    let manifest = "fleet: t\nclusters:\n  production:\n    vms: [{name: a}]\n  staging:\n    vms: [{name: b}]\n";
    let desired = world.desired(manifest);
    let live = pvefleet::ops::read(&desired, &world.readers(), &[]).await;
    let options =
        PlanOptions { clusters: vec!["staging".to_owned()], targets: vec!["a".to_owned()], ..PlanOptions::default() };
    assert!(pvefleet::plan::plan(&desired, &live, &options).is_err());
    let options = PlanOptions { prune: true, targets: vec!["a".to_owned()], ..PlanOptions::default() };
    let plan = pvefleet::plan::plan(&desired, &live, &options).unwrap();
    assert!(plan.warnings.iter().any(|warning| warning.code == "prune-ignored"));
}

#[tokio::test(start_paused = true)]
async fn a_drive_option_that_waits_says_so() {
    let world = World::production();
    world.converge(&vms(VM)).await;
    let plan = world.converge(&vms(&VM.replace("discard: on", "discard: on, ssd: true"))).await;
    assert!(text(&plan).contains("waits for a reboot"), "{}", text(&plan));
    let plan = world.converge(&vms(&VM.replace("discard: on", "discard: on, ssd: true, mbps_rd: 10"))).await;
    assert!(!text(&plan).contains("scsi0.mbps_rd   (none) → 10                        waits"), "{}", text(&plan));
}

#[tokio::test(start_paused = true)]
async fn keys_are_written_plainly_and_compared_decoded() {
    let world = World::production();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@example.net";
    let encoded = pvefleet::pve::http::percent_encode(key);
    let with = |key: &str| vms(&CLONE.replace("ciuser: admin", &format!("sshkeys: \"{key}\"")));
    world.converge(&with(&encoded)).await;
    assert!(world.file("production", "prod-web-01").contains("sshkeys: ssh-ed25519%20"));
}

#[tokio::test(start_paused = true)]
async fn a_nic_written_as_text_keeps_its_mac_address_too() {
    let mac = |file: &str| {
        let line = file.lines().find(|line| line.starts_with("net0:")).unwrap_or_default().to_owned();
        line.split([',', '=', ' ']).find(|part| part.matches(':').count() == 5).map(str::to_owned)
    };
    let as_text = |bridge: &str| {
        VM.replace("{model: virtio, bridge: vmbr0, firewall: true}", &format!("\"virtio,bridge={bridge}\""))
    };
    let world = World::production();
    world.converge(&vms(&as_text("vmbr0"))).await;
    let before = mac(&world.file("production", "prod-db-01"));
    world.converge(&vms(&as_text("vmbr1"))).await;
    let file = world.file("production", "prod-db-01");
    assert!(before.is_some() && file.contains("bridge=vmbr1"), "{file}");
    assert_eq!(mac(&file), before);
    let ct =
        |ip: &str| CT.replace("{name: eth0, bridge: vmbr0, ip: dhcp}", &format!("\"name=eth0,bridge=vmbr0,ip={ip}\""));
    let world = World::production();
    world.converge(&containers(&ct("dhcp"))).await;
    let before = mac(&world.file("production", "prod-dns-01"));
    world.converge(&containers(&ct("10.0.0.53/24"))).await;
    let file = world.file("production", "prod-dns-01");
    assert!(before.is_some() && file.contains("ip=10.0.0.53/24"), "{file}");
    assert_eq!(mac(&file), before);
}
