//! Plans as reviewers read them: every format of ten plans, word for word, and what may never be left out.
//! `UPDATE_GOLDEN=1 cargo test --test review` writes the files anew.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use pvefleet::desired::Desired;
use pvefleet::live::{Live, LiveCluster, Read};
use pvefleet::ops::{self, DriftOptions, Envelope, drift_exit};
use pvefleet::plan::{self, Action, Class, Effect, Plan, PlanOptions, Step, StepKind};
use pvefleet::pve::http::Method;
use pvefleet::report::{Layout, annotations, plan_compare, plan_diff, plan_guest, plan_markdown, plan_text};
use pvefleet::sim::transport::lock;
use support::{HEAD, World, assert_golden, resolve};

const NARROW: Layout = Layout { color: false, width: 80 };

/// Every format of a plan.
fn assert_formats(name: &str, plan: &Plan) {
    assert_golden(&format!("plans/{name}.txt"), &plan_text::plan(plan, NARROW));
    assert_golden(&format!("plans/{name}.drift.txt"), &plan_text::drift(plan, NARROW));
    assert_golden(&format!("plans/{name}.diff"), &plan_diff::plan(plan, NARROW));
    assert_golden(&format!("plans/{name}.md"), &plan_markdown::plan(plan, plan_markdown::LIMIT));
    assert_golden(&format!("plans/{name}.github.txt"), &annotations::github_plan(plan));
    assert_golden(&format!("plans/{name}.json"), &(serde_json::to_string_pretty(plan).unwrap() + "\n"));
    assert_schema(plan);
    let all = format!(
        "{}{}{}",
        plan_text::plan(plan, Layout { color: true, width: 200 }),
        plan_diff::plan(plan, NARROW),
        plan_guests(plan)
    );
    assert!(!all.contains(support::CANARY));
}

/// Every document keeps to the published schema.
fn assert_schema(plan: &Plan) {
    static VALIDATOR: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
        let schema = serde_json::from_str(include_str!("../schemas/plan.schema.json")).unwrap();
        assert!(jsonschema::draft7::meta::is_valid(&schema));
        jsonschema::validator_for(&schema).unwrap()
    });
    let document = serde_json::to_value(Envelope::new(plan)).unwrap();
    let errors: Vec<String> =
        VALIDATOR.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

fn plan_guests(plan: &Plan) -> String {
    plan.changes().map(|change| plan_guest::guest(change, NARROW)).collect()
}

const DB: &str = "    vms:
      - name: prod-db-01
        node: pve3
        cores: 2
        memory: 2048
        agent: {enabled: true}
        scsi0: {storage: local-lvm, size: 16GiB}
        scsi1: {storage: shared, size: 20GiB}
        net0: {model: virtio, bridge: vmbr0, tag: 20}
        cipassword: {env: DB_PASSWORD, version: 1}
        description: |
          The database.
          Ask before you stop it.
        unlisted: ignore
        state: running
";

fn manifest(body: &str) -> String {
    format!("{HEAD}{body}")
}

/// A world in which the database is as it should be.
async fn with_database() -> World {
    let world = World::production();
    world.converge(&manifest(DB)).await;
    world
}

#[tokio::test(start_paused = true)]
async fn nothing_to_do() {
    let world = with_database().await;
    assert_formats("01-nothing", &world.plan(&manifest(DB)).await);
}

#[tokio::test(start_paused = true)]
async fn a_guest_is_made() {
    let world = World::production();
    let plan = world.plan(&manifest(DB)).await;
    assert_formats("02-create", &plan);
    let change = plan.changes().next().unwrap();
    assert_golden("plans/02-create.target.txt", &plan_guest::guest(change, NARROW));
}

#[tokio::test(start_paused = true)]
async fn options_are_changed_with_every_effect() {
    let world = with_database().await;
    let edited = DB
        .replace("cores: 2", "cores: 4")
        .replace("tag: 20", "tag: 30")
        .replace("size: 16GiB", "size: 24GiB")
        .replace("agent: {enabled: true}", "agent: null")
        .replace("Ask before", "Ask Anna before")
        .replace("version: 1", "version: 2");
    let plan = world.plan(&manifest(&edited)).await;
    assert_formats("03-update", &plan);
    let change = plan.changes().next().unwrap();
    assert_golden("plans/03-update.target.txt", &plan_guest::guest(change, NARROW));
}

#[tokio::test(start_paused = true)]
async fn a_field_is_blocked_and_the_others_go_on() {
    let world = with_database().await;
    let edited = DB.replace("size: 16GiB", "size: 8GiB").replace("memory: 2048", "memory: 4096");
    assert_formats("04-blocked", &world.plan(&manifest(&edited)).await);
}

#[tokio::test(start_paused = true)]
async fn a_guest_is_destroyed() {
    let world = with_database().await;
    let options = PlanOptions { prune: true, accept: vec!["empty:homelab".parse().unwrap()], ..PlanOptions::default() };
    let plan = world.plan_with(&world.desired(HEAD), &options).await;
    assert_formats("05-delete", &plan);
    // The same without the permission is an orphan that stays.
    assert_formats("06-orphan", &world.plan(HEAD).await);
}

#[tokio::test(start_paused = true)]
async fn a_node_is_offline() {
    let world = with_database().await;
    lock(&world.clusters["production"]).set_node_online("pve3", false);
    let plan = world.plan(&manifest(DB)).await;
    assert_formats("07-unread", &plan);
    assert!(!plan_text::drift_summary(&plan).starts_with("No drift"));
    assert_eq!(drift_exit(&plan, &DriftOptions::default()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_not_there() {
    let world = World::of(&["production", "staging"]);
    let desired = world.desired(&format!("{HEAD}  staging: {{vms: [{{name: stg-a, memory: 512}}]}}\n"));
    let mut live = ops::read(&desired, &world.readers(), &[]).await;
    live.clusters.insert("staging".to_owned(), Read::Unread("cannot connect: it is down".to_owned()));
    assert_formats("08-cluster-down", &plan::plan(&desired, &live, &PlanOptions::default()).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_guest_is_taken_over_and_another_let_go() {
    let world = with_database().await;
    let body = DB.replace("        state: running\n", "        released: true\n")
        + "      - {name: debian-12, vmid: 9001, adopt: true, unlisted: ignore}\n";
    assert_formats("09-adopt-release", &world.plan(&manifest(&body)).await);
}

fn homelab(world: &World) -> Desired {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/homelab");
    let names = ["disaster-recovery.yaml", "fleet.yaml", "production.yaml", "staging.yaml"];
    let read = |name: &&str| (format!("examples/homelab/{name}"), std::fs::read_to_string(folder.join(name)).unwrap());
    resolve(&names.iter().map(read).collect::<Vec<_>>(), &world.registry)
}

#[tokio::test(start_paused = true)]
async fn the_example_of_three_clusters() {
    let world = World::of(&["production", "staging", "disaster-recovery"]);
    let plan = world.plan_with(&homelab(&world), &PlanOptions::default()).await;
    assert_formats("10-homelab", &plan);
}

/// Format 1.0 is read for ever: this file is never written anew.
#[test]
fn a_plan_that_was_saved_by_the_first_version_is_read() {
    let plan = Envelope::read(include_str!("saved/plan-1.0.json")).unwrap().plan;
    assert_schema(&plan);
    assert_golden("plans/saved-1.0.txt", &plan_text::plan(&plan, NARROW));
}

/// A plan that makes so many guests.
async fn large(guests: usize) -> Plan {
    let world = World::production();
    let each = format!("each: {{n: 1..{guests}}}");
    let body = DB.replace("prod-db-01", "prod-{{ n }}").replace("        node: pve3\n", &format!("        {each}\n"));
    world.plan(&manifest(&body).replace("1000-1999", "1000-99999")).await
}

#[tokio::test(start_paused = true)]
async fn a_comment_fits_and_tells_of_everything_that_is_destroyed() {
    let whole = large(5000).await;
    assert_eq!(whole.changes().filter(|change| change.has_steps()).count(), 5000);
    let ids = regex::Regex::new(r"\b(\d{4,5})(?:–(\d+))?\b").unwrap();
    for destroyed in [0, 1, 40, 2500, 5000] {
        let mut plan = whole.clone();
        let changes = &mut plan.clusters.get_mut("production").unwrap().changes;
        for change in changes.iter_mut().rev().take(destroyed) {
            change.action = Action::Delete;
            change.destroys = vec![format!("local-lvm:vm-{}-disk-0 (16 GiB)", change.address.vmid.unwrap())];
            let step: &Step = &change.steps[0];
            change.steps = vec![Step { kind: StepKind::Delete, effect: Effect::DataLoss, ..step.clone() }];
        }
        for limit in [plan_markdown::LEAST, 32_768, 65_536] {
            let text = plan_markdown::plan(&plan, limit);
            assert!(text.len() <= limit, "{destroyed} destroyed: {} of {limit} bytes", text.len());
            assert!(text.starts_with("<!-- pvefleet plan fleet=homelab -->\n### Fleet homelab: "), "{text}");
            assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
            if destroyed > 0 {
                assert!(text.contains("**Destroys data of "), "{text}");
            }
            let destroyed_part = text.split("| cluster |").next().unwrap();
            let mut told: BTreeSet<u32> = BTreeSet::new();
            for found in ids.captures_iter(destroyed_part) {
                let first: u32 = found[1].parse().unwrap();
                told.extend(first..=found.get(2).map_or(first, |last| last.as_str().parse().unwrap()));
            }
            for change in plan.changes().filter(|change| change.action == Action::Delete) {
                let vmid = change.address.vmid.unwrap().get();
                assert!(told.contains(&vmid), "{vmid} of {destroyed} is not told of in {limit} bytes:\n{text}");
            }
        }
    }
    assert_golden("plans/11-large.txt", &plan_text::plan(&whole, NARROW));
    assert_golden("plans/11-large.md", &plan_markdown::plan(&whole, plan_markdown::LEAST));
}

fn production(live: &mut Live) -> &mut LiveCluster {
    match live.clusters.get_mut("production") {
        Some(Read::Known(cluster)) => cluster,
        other => unreachable!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_changes_with_what_would_be_sent_and_with_nothing_else() {
    let world = with_database().await;
    let edited = manifest(&DB.replace("cores: 2", "cores: 4"));
    let desired = world.desired(&edited);
    let live = ops::read(&desired, &world.readers(), &[]).await;
    let id = |desired: &Desired, live: &Live| plan::plan(desired, live, &PlanOptions::default()).unwrap().plan_id;
    let first = id(&desired, &live);

    // A comment, other places, and other words in the manifest.
    assert_eq!(id(&world.desired(&format!("# a comment\n\n{edited}")), &live), first);
    assert_eq!(id(&world.desired(&edited.replace("memory: 2048", "memory: 2GiB")), &live), first);
    // A snapshot gives another digest; a guest of somebody else comes, or another cluster is edited.
    let mut other = live.clone();
    let cluster = production(&mut other);
    for guest in cluster.guests.values_mut() {
        if let Read::Known(config) = &mut guest.config {
            config.digest = "0".repeat(40);
            config.current.insert("parent".to_owned(), "before-upgrade".to_owned());
        }
    }
    cluster.guests.retain(|vmid, _| vmid.get() != 9002);
    assert_eq!(id(&desired, &other), first);

    // What would be sent, or what it rests on.
    assert_ne!(id(&world.desired(&edited.replace("cores: 4", "cores: 3")), &live), first);
    let mut other = live.clone();
    let guest = production(&mut other)
        .guests
        .values_mut()
        .find(|guest| guest.name.known().is_some_and(|name| name == "prod-db-01"));
    if let Some(Read::Known(config)) = guest.map(|guest| &mut guest.config) {
        config.current.insert("cores".to_owned(), "3".to_owned());
    }
    assert_ne!(id(&desired, &other), first);
}

#[tokio::test(start_paused = true)]
async fn two_plans_are_compared_in_words() {
    let world = with_database().await;
    let plan = async |body: &str| world.plan(&manifest(body)).await;
    let first = plan(&DB.replace("cores: 2", "cores: 4")).await;
    assert_eq!(plan_compare::differences(&first, &first), Vec::<String>::new());
    let second = plan(&DB.replace("cores: 2", "cores: 8").replace("memory: 2048", "memory: 4096")).await;
    let vmid = world.vmid("production", "prod-db-01");
    assert_eq!(
        plan_compare::differences(&first, &second),
        [
            format!("production: VM prod-db-01 {vmid}:"),
            "  cores: 2 → 4, then 2 → 8".to_owned(),
            "  memory: 2048 → 4096 in the second alone".to_owned(),
        ]
    );
    assert_eq!(
        plan_compare::differences(&plan(DB).await, &first),
        [format!("production: VM prod-db-01 {vmid}: only the second plan would update it")]
    );
    // Somebody edits meanwhile.
    let path = world.path("production", "prod-db-01", "/config");
    world.by_hand("production", Method::Put, &path, &[("cores", "3")]).await;
    let third = plan(&DB.replace("cores: 2", "cores: 4")).await;
    let told = plan_compare::differences(&first, &third).join("\n");
    assert!(told.contains("cores: 2 → 4, then "), "{told}");
}

#[tokio::test(start_paused = true)]
async fn drift_tells_who_touched_a_guest_last() {
    let world = with_database().await;
    let path = world.path("production", "prod-db-01", "/config");
    world.by_hand("production", Method::Post, &path, &[("cores", "3")]).await;
    let before = world.log("production").len();
    let mut plan = world.plan(&manifest(DB)).await;
    let id = plan.plan_id.clone();
    ops::note_last_tasks(&mut plan, &world.readers()).await;
    assert!(world.log("production")[before..].iter().all(|entry| entry.method == "GET"));
    let notes = &plan.changes().next().unwrap().notes;
    assert_eq!(notes.len(), 1);
    assert!(notes[0].starts_with("last task: qmconfig by ") && notes[0].ends_with('Z'), "{notes:?}");
    assert!(plan.is_genuine() && plan.plan_id == id);
}

#[tokio::test(start_paused = true)]
async fn drift_counts_what_it_is_told_to_count() {
    let world = with_database().await;
    let exit = |plan: &Plan, strict: bool, fail_on: &[Class]| {
        drift_exit(plan, &DriftOptions { strict, fail_on: fail_on.to_vec() })
    };
    let clean = world.plan(&manifest(DB)).await;
    assert_eq!((exit(&clean, false, &[]), exit(&clean, true, &[])), (0, 0));
    // Options that nobody listed.
    let reported = world.plan(&manifest(&DB.replace("        unlisted: ignore\n", ""))).await;
    assert_eq!((exit(&reported, false, &[]), exit(&reported, true, &[])), (0, 2));
    assert_eq!(exit(&reported, false, &[Class::Unlisted]), 2);
    assert_eq!(exit(&reported, false, &[Class::Missing]), 0);
    let changed = world.plan(&manifest(&DB.replace("cores: 2", "cores: 4"))).await;
    assert_eq!((exit(&changed, false, &[]), exit(&changed, false, &[Class::Orphan])), (2, 0));
    let orphan = world.plan(HEAD).await;
    assert_eq!((exit(&orphan, false, &[]), exit(&orphan, false, &[Class::Orphan])), (2, 2));
    assert_eq!(exit(&orphan, false, &[Class::Changed, Class::Missing]), 0);
    let blocked = world.plan(&manifest(&DB.replace("size: 16GiB", "size: 8GiB"))).await;
    assert_eq!(exit(&blocked, false, &[]), 3);
}
