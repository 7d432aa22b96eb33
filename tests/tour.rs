//! A tour of the product: a plan for every action, effect and reason there is, in the order in which a newcomer meets
//! them. Read `tests/golden/tour` file by file; `UPDATE_GOLDEN=1 cargo test --test tour` writes them anew.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

mod support;

use std::collections::BTreeSet;

use pvefleet::live::{LiveCluster, LiveGuest, Read};
use pvefleet::ops;
use pvefleet::plan::{self, Action, Effect, Plan, PlanOptions, ReasonCode};
use pvefleet::pve::http::Method;
use pvefleet::report::{Layout, plan_text};
use pvefleet::sim::transport::lock;
use pvefleet::sim::world::VolumeSpec;
use support::{HEAD, World, assert_golden};

const WEB: &str = "      - name: prod-web-01
        node: pve1
        memory: 1024
        scsi0: {storage: local-lvm, size: 8GiB}
        net0: {model: virtio, bridge: vmbr0}
";

const DNS: &str = "      - name: prod-dns-01
        node: pve2
        ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst
        rootfs: {storage: local-lvm, size: 2GiB}
        unprivileged: true
";

fn vms(body: &str) -> String {
    format!("{HEAD}    vms:\n{body}")
}

fn containers(body: &str) -> String {
    format!("{HEAD}    containers:\n{body}")
}

/// The web server with one more line.
fn web(line: &str) -> String {
    vms(&format!("{WEB}        {line}\n"))
}

fn nothing() -> String {
    format!("{HEAD}    vms: []\n")
}

/// What a file of the tour is about.
#[derive(Clone, Copy)]
enum About {
    Action(Action),
    Effect(Effect),
    Reason(ReasonCode),
}

impl About {
    /// The name of its file; `none` is a word of two tables.
    fn slug(self) -> &'static str {
        match self {
            Self::Action(Action::None) => "nothing-to-do",
            Self::Effect(Effect::None) => "at-once",
            Self::Action(word) => word.word(),
            Self::Effect(word) => word.word(),
            Self::Reason(word) => word.word(),
        }
    }

    /// True where the plan has it.
    fn is_shown(self, plan: &Plan) -> bool {
        plan.changes().any(|change| match self {
            Self::Action(action) => change.action == action,
            Self::Effect(effect) => {
                let told = change.fields.iter().any(|field| field.effect == effect && field.blocked.is_none());
                change.has_steps() && (told || change.steps.iter().any(|step| step.effect == effect))
            }
            Self::Reason(code) => {
                let fields = change.fields.iter().filter_map(|field| field.blocked.as_ref());
                change.reason.iter().chain(fields).any(|reason| reason.code == code)
            }
        })
    }
}

/// The tour as far as it has come.
#[derive(Default)]
struct Tour {
    names: Vec<String>,
    seen: BTreeSet<&'static str>,
}

impl Tour {
    /// A stop: what `pvefleet plan` says of this manifest in this world.
    async fn stop(&mut self, about: About, heading: &str, world: &World, manifest: &str, options: &str) {
        self.stop_with(about, heading, world, manifest, options, |_| {}).await;
    }

    /// The same where what was read of the cluster is another.
    async fn stop_with(
        &mut self,
        about: About,
        heading: &str,
        world: &World,
        manifest: &str,
        options: &str,
        change: impl Fn(&mut LiveCluster),
    ) {
        let desired = world.desired(manifest);
        let mut live = ops::read(&desired, &world.readers(), &[]).await;
        if let Some(Read::Known(cluster)) = live.clusters.get_mut("production") {
            change(cluster);
        }
        let accept = options.split("--accept ").skip(1).map(|accept| accept.trim().parse().unwrap()).collect();
        let chosen = PlanOptions { prune: options.contains("--prune"), accept, ..PlanOptions::default() };
        let plan = plan::plan(&desired, &live, &chosen).unwrap_or_else(|problems| panic!("{heading}: {problems:#?}"));
        let told = plan_text::plan(&plan, Layout { color: false, width: 80 });
        assert!(about.is_shown(&plan), "{heading}: no {}\n{told}", about.slug());
        let told: Vec<&str> = told.lines().filter(|line| !line.starts_with("plan ")).collect();
        let command = format!("$ pvefleet plan fleet.yaml {options}");
        let text = format!("{heading}\n\n{manifest}\n{}\n\n{}\n", command.trim_end(), told.join("\n").trim_end());
        let name = format!("{:02}-{}.txt", self.names.len() + 1, about.slug());
        assert_golden(&format!("tour/{name}"), &text);
        self.names.push(name);
        assert!(self.seen.insert(about.slug()), "{} has two files", about.slug());
    }
}

fn guest(cluster: &mut LiveCluster) -> &mut LiveGuest {
    cluster.guests.values_mut().find(|guest| guest.vmid.get() == 1000).unwrap()
}

async fn put(world: &World, params: &[(&str, &str)]) {
    world.by_hand("production", Method::Put, &world.path("production", "prod-web-01", "/config"), params).await;
}

/// A VM that somebody made by hand.
async fn by_hand(world: &World, vmid: &str, more: &[(&str, &str)]) {
    let mut params = vec![("vmid", vmid), ("name", "prod-web-01"), ("memory", "1024"), ("scsi0", "local-lvm:8")];
    params.push(("net0", "virtio,bridge=vmbr0"));
    params.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    params.extend(more);
    world.by_hand("production", Method::Post, "/nodes/pve1/qemu", &params).await;
}

/// A world in which this manifest was applied.
async fn applied(manifest: &str) -> World {
    let world = World::production();
    world.converge(manifest).await;
    world
}

#[tokio::test(start_paused = true)]
async fn every_action_effect_and_reason_has_its_stop() {
    let mut tour = Tour::default();
    actions(&mut tour).await;
    effects(&mut tour).await;
    whose_it_is(&mut tour).await;
    what_is_kept(&mut tour).await;
    what_must_end_first(&mut tour).await;
    what_proxmox_refuses(&mut tour).await;
    what_is_not_there(&mut tour).await;
    let all = Action::ALL.iter().map(|word| About::Action(*word));
    let all = all.chain(Effect::ALL.iter().map(|word| About::Effect(*word)));
    let all = all.chain(ReasonCode::ALL.iter().map(|word| About::Reason(*word)));
    let missing: Vec<&str> = all.map(About::slug).filter(|slug| !tour.seen.contains(slug)).collect();
    assert!(missing.is_empty(), "no file of the tour shows {}", missing.join(", "));
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tour");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = files.filter(|name| !tour.names.contains(name)).collect();
    assert!(left.is_empty(), "files of no stop: {}", left.join(", "));
}

async fn actions(tour: &mut Tour) {
    let about = About::Action;
    let world = World::production();
    tour.stop(about(Action::Create), "A VM that is not there is created.", &world, &vms(WEB), "").await;
    let clone = vms("      - name: prod-web-01
        clone: {from: debian-12, full: true}
        scsi0: {size: 12GiB}
        memory: 2048
        state: running
");
    tour.stop(
        about(Action::Clone),
        "A VM is cloned from a template, its disk grown, then started.",
        &world,
        &clone,
        "",
    )
    .await;
    let volid = "local:backup/vzdump-qemu-500-2025_06_01-02_00_00.vma.zst";
    let with_backup = World::shaped(&["production"], "", |spec| {
        let archive = "boot: order=scsi0\ncores: 2\nmemory: 1024\nname: old-web\n\
                       net0: virtio=BC:24:11:00:05:00,bridge=vmbr0\nscsi0: local-lvm:vm-500-disk-0,size=4G\n";
        let (volid, node) = (volid.to_owned(), "pve2".to_owned());
        spec.volumes.push(VolumeSpec { volid, node, size: 1 << 30, archive: Some(archive.to_owned()) });
    });
    let restored =
        vms(&format!("      - name: prod-web-01\n        node: pve2\n        archive: {volid}\n        cores: 4\n"));
    tour.stop(about(Action::Restore), "A VM is restored from a backup, then changed.", &with_backup, &restored, "")
        .await;
    let world = applied(&vms(WEB)).await;
    tour.stop(about(Action::None), "Applied and planned again, nothing is left to do.", &world, &vms(WEB), "").await;
    let more = vms(&WEB.replace("1024", "2048"));
    tour.stop(about(Action::Update), "An option is changed in the manifest: the VM follows.", &world, &more, "").await;
    let world = World::production();
    by_hand(&world, "700", &[]).await;
    tour.stop(about(Action::Adopt), "A VM that was made by hand is taken over.", &world, &web("adopt: true"), "").await;
    let world = applied(&vms(WEB)).await;
    let moved = vms(&WEB.replace("node: pve1", "node: [pve2, pve3]"));
    tour.stop(about(Action::Migrate), "The VM is on a node that is not listed: it moves.", &world, &moved, "").await;
    let heading = "The VM is let go: the mark of ownership is removed, nothing else.";
    tour.stop(about(Action::Release), heading, &world, &web("released: true"), "").await;
    let heading =
        "The VM is not in the manifest any more, and --prune deletes it. It was the last one: that is accepted.";
    tour.stop(about(Action::Delete), heading, &world, &nothing(), "--prune --accept empty:homelab").await;
    let world = applied(&containers(DNS)).await;
    let anew = containers(&DNS.replace("unprivileged: true", "unprivileged: false\n        recreate: true"));
    let heading = "What Proxmox cannot change takes a new container; both sides must say so.";
    tour.stop(about(Action::Recreate), heading, &world, &anew, "--accept recreate:production/prod-dns-01").await;
}

async fn effects(tour: &mut Tour) {
    let about = About::Effect;
    let running = web("state: running");
    let world = applied(&running).await;
    let change = |line: &str| running.replace("state: running", &format!("state: running\n        {line}"));
    let heading = "Some options take hold at once, although the VM runs.";
    tour.stop(about(Effect::None), heading, &world, &change("onboot: true"), "").await;
    let cloud = change("ide2: {cloudinit: true, storage: local-lvm}\n        ciuser: admin");
    let booted = applied(&cloud).await;
    let heading = "What cloud-init is given is read when the VM boots.";
    tour.stop(about(Effect::NextBoot), heading, &booted, &cloud.replace("admin", "ann"), "").await;
    let heading = "Other options wait for a reboot, which nobody allowed.";
    tour.stop(about(Effect::Reboot), heading, &world, &change("cores: 4"), "").await;
    let heading = "The same where the manifest allows the reboot.";
    tour.stop(about(Effect::Downtime), heading, &world, &change("cores: 4\n        reboot: allow"), "").await;
    let heading = "A VM that runs moves to another node while it runs.";
    let moved = running.replace("node: pve1", "node: pve2");
    tour.stop(about(Effect::Migration), heading, &world, &moved, "").await;
    let two = web("scsi1: {storage: local-lvm, size: 2GiB}");
    let world = applied(&two).await;
    put(&world, &[("delete", "scsi1")]).await;
    let heading = "A detached disk is destroyed only when it is named.";
    tour.stop(about(Effect::DataLoss), heading, &world, &vms(WEB), "--accept destroy:production/prod-web-01/unused0")
        .await;
}

async fn whose_it_is(tour: &mut Tour) {
    let about = About::Reason;
    let world = World::production();
    by_hand(&world, "700", &[]).await;
    let heading = "A VM of this name was made by hand: nothing shows that it is ours.";
    tour.stop(about(ReasonCode::NotOwned), heading, &world, &vms(WEB), "").await;
    put(
        &world,
        &[("description", "<!-- pvefleet v1 cluster=production fleet=other guest=qemu/prod-web-01 vmid=700 -->")],
    )
    .await;
    let heading = "It bears the mark of another fleet.";
    tour.stop(about(ReasonCode::Foreign), heading, &world, &vms(WEB), "").await;
    let world = World::production();
    by_hand(&world, "700", &[]).await;
    by_hand(&world, "701", &[]).await;
    let heading = "Two VMs have the name that the manifest names.";
    tour.stop(about(ReasonCode::Conflict), heading, &world, &vms(WEB), "").await;
    let world = World::production();
    by_hand(&world, "1000", &[("name", "other")]).await;
    let heading = "The id of the manifest belongs to another VM.";
    tour.stop(about(ReasonCode::VmidTaken), heading, &world, &web("vmid: 1000"), "").await;
    let world = applied(&vms(WEB)).await;
    let heading = "The id was edited in the manifest: a VM keeps the one that it has.";
    tour.stop(about(ReasonCode::Immutable), heading, &world, &web("vmid: 1500"), "").await;
    let world = World::of(&["production", "staging"]);
    let both = |cluster: &str| {
        format!(
            "fleet: homelab\nclusters:\n  production:\n  staging:\nvms:\n  - name: prod-web-01\n    cluster: {cluster}\n    memory: 1024\n"
        )
    };
    world.converge(&both("staging")).await;
    let heading = "The VM lives in another cluster than the manifest says.";
    tour.stop(about(ReasonCode::LivesElsewhere), heading, &world, &both("production"), "").await;
}

async fn what_is_kept(tour: &mut Tour) {
    let about = About::Reason;
    let world = applied(&vms(WEB)).await;
    let heading = "A VM that is not in the manifest any more is kept until somebody says otherwise.";
    tour.stop(about(ReasonCode::NeedsPrune), heading, &world, &nothing(), "").await;
    let second = WEB.replace("prod-web-01", "prod-web-02");
    let two = applied(&vms(&format!("{WEB}{second}"))).await;
    let heading = "More would be deleted than the guards allow: nothing is.";
    tour.stop(about(ReasonCode::Guard), heading, &two, &nothing(), "--prune").await;
    let world = applied(&web("protection: true")).await;
    let heading = "A protected VM is not deleted.";
    tour.stop(about(ReasonCode::Protected), heading, &world, &nothing(), "--prune").await;
    let world = applied(&web("scsi1: {storage: local-lvm, size: 2GiB}")).await;
    let heading = "A disk is detached only when that is accepted by name.";
    tour.stop(about(ReasonCode::NeedsAccept), heading, &world, &web("scsi1: null"), "").await;
    put(&world, &[("delete", "scsi1")]).await;
    let heading = "A new disk waits while a detached one may be the one that is meant.";
    let renamed = web("scsi2: {storage: local-lvm, size: 2GiB}");
    tour.stop(about(ReasonCode::DetachedDisk), heading, &world, &renamed, "").await;
    let smaller = vms(&WEB.replace("8GiB", "4GiB").replace("1024", "2048"));
    let heading = "A disk does not shrink; the rest of the VM goes on.";
    tour.stop(about(ReasonCode::Shrink), heading, &world, &smaller, "").await;
}

async fn what_must_end_first(tour: &mut Tour) {
    let about = About::Reason;
    let world = applied(&vms(WEB)).await;
    let more = vms(&WEB.replace("1024", "2048"));
    let heading = "A backup works on the VM; a later run goes on.";
    let task = "UPID:pve1:00001234:00005678:683BD000:vzdump:1000:root@pam:";
    tour.stop_with(about(ReasonCode::TaskRunning), heading, &world, &more, "", |cluster| {
        guest(cluster).lock = Some("backup".to_owned());
        cluster.active_tasks.insert("pve1".to_owned(), Read::Known(vec![task.to_owned()]));
    })
    .await;
    let heading = "A lock was left behind by something that runs no more.";
    tour.stop_with(about(ReasonCode::Locked), heading, &world, &more, "", |cluster| {
        guest(cluster).lock = Some("backup".to_owned());
    })
    .await;
    let heading = "A clone was never finished.";
    tour.stop_with(about(ReasonCode::Unfinished), heading, &world, &more, "", |cluster| {
        guest(cluster).lock = Some("clone".to_owned());
    })
    .await;
    let heading = "The VM could not be read: nothing is planned for it.";
    tour.stop_with(about(ReasonCode::Unread), heading, &world, &more, "", |cluster| {
        guest(cluster).config = Read::Unread("timed out".to_owned());
    })
    .await;
    let needs = vms("      - {name: prod-app-01, memory: 1024, depends_on: [prod-db-01]}
      - {name: prod-db-01, memory: 1024, scsi0: {storage: nowhere, size: 8GiB}}
");
    let heading = "A VM waits for another one that it needs and that cannot be made.";
    tour.stop(about(ReasonCode::Dependency), heading, &World::production(), &needs, "").await;
}

async fn what_proxmox_refuses(tour: &mut Tour) {
    let about = About::Reason;
    let running = web("state: running");
    let world = applied(&running).await;
    let heading = "A VM that runs cannot become a template.";
    tour.stop(about(ReasonCode::NeedsOff), heading, &world, &web("template: true"), "").await;
    let heading = "Some options are only for root with a password, for no token.";
    tour.stop(about(ReasonCode::RootOnly), heading, &world, &web("args: -no-hpet"), "").await;
    let containers_world = applied(&containers(DNS)).await;
    let privileged = containers(&DNS.replace("unprivileged: true", "unprivileged: false"));
    let heading = "Some options are for ever.";
    tour.stop(about(ReasonCode::NotInPlace), heading, &containers_world, &privileged, "").await;
    let older = World::shaped(&["production"], "", |spec| spec.version = "8.4".to_owned());
    let heading = "An option is newer than the cluster.";
    tour.stop(about(ReasonCode::Version), heading, &older, &web("allow-ksm: false"), "").await;
    let heading = "The settings allow this cluster to be read and not to be changed.";
    let read_only = World::with_settings(&["production"], "PROXMOX_CLUSTER_production_ACCESS=read\n");
    tour.stop(about(ReasonCode::ReadOnly), heading, &read_only, &vms(WEB), "").await;
    let world = applied(&vms(WEB)).await;
    let without = |privilege: &'static str| {
        move |cluster: &mut LiveCluster| {
            let Read::Known(paths) = &mut cluster.permissions else { panic!("they were read") };
            paths.values_mut().for_each(|privileges| privileges.retain(|name, _| name != privilege));
        }
    };
    let heading = "The token may not change the VM; the hint grants it.";
    let more = vms(&WEB.replace("1024", "2048"));
    tour.stop_with(about(ReasonCode::Permission), heading, &world, &more, "", without("VM.Config.Options")).await;
    let heading = "A token that does not see every guest cannot tell that one is missing.";
    let world = World::production();
    tour.stop_with(about(ReasonCode::AbsenceUnproved), heading, &world, &vms(WEB), "", without("VM.Audit")).await;
}

async fn what_is_not_there(tour: &mut Tour) {
    let about = About::Reason;
    let world = World::production();
    let heading = "The node has no storage of this name.";
    let nowhere = vms(&WEB.replace("local-lvm", "local-zfs"));
    tour.stop(about(ReasonCode::NotFound), heading, &world, &nowhere, "").await;
    let heading = "The only node that the VM may live on is away.";
    let away = World::production();
    lock(&away.clusters["production"]).set_node_online("pve3", false);
    let fixed = web("vmid: 1000").replace("pve1", "pve3");
    tour.stop(about(ReasonCode::NoNode), heading, &away, &fixed, "").await;
    let narrow = vms(WEB).replace("1000-1999", "9001-9001");
    let heading = "All ids that new guests may have are taken.";
    tour.stop(about(ReasonCode::NoFreeVmid), heading, &world, &narrow, "").await;
}
