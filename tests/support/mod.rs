//! A world for tests: simulated clusters in this process, in virtual time, and the whole program over them.

#![allow(dead_code, clippy::allow_attributes, reason = "each test binary uses its own part of it")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use pvefleet::apply::{self, Cancel, Journal, Outcome, SecretSource};
use pvefleet::client::{ClusterClient, ReadOnlyClient, Reader};
use pvefleet::clusters::{self, Registry, Variables};
use pvefleet::desired::{self, Desired, SecretReference};
use pvefleet::live::{Live, LiveCluster, LiveGuest, Read};
use pvefleet::manifest;
use pvefleet::ops::{self, Readers};
use pvefleet::plan::{self, Change, Plan, PlanOptions};
use pvefleet::secret::Secret;
use pvefleet::sim::transport::{SharedCluster, SimTransport, lock};
use pvefleet::sim::{AccessEntry, Cluster, ClusterSpec, world};
use tokio::sync::watch;

/// The secret that every reference gives; no output may hold it.
pub const CANARY: &str = "canary-7f3a-secret";

/// Simulated clusters by name, and clients for them. A clone is another hand on the same clusters.
#[derive(Clone)]
pub struct World {
    pub clusters: BTreeMap<String, SharedCluster>,
    pub registry: Registry,
    pub start: tokio::time::Instant,
}

pub struct Canary;

impl SecretSource for Canary {
    fn secret(&self, _: &SecretReference) -> Result<Secret, String> {
        Ok(Secret::new(CANARY))
    }
}

impl World {
    /// The built-in worlds of these names.
    pub fn of(names: &[&str]) -> Self {
        Self::with_settings(names, "")
    }

    /// The same with more lines in the settings.
    pub fn with_settings(names: &[&str], settings: &str) -> Self {
        Self::shaped(names, settings, |_| {})
    }

    /// The same with worlds that are changed first.
    pub fn shaped(names: &[&str], settings: &str, shape: impl Fn(&mut ClusterSpec)) -> Self {
        let clusters = names
            .iter()
            .map(|name| {
                let mut spec = world::builtin(name);
                shape(&mut spec);
                ((*name).to_owned(), Arc::new(Mutex::new(Cluster::new(spec, 1))))
            })
            .collect();
        let mut env = format!("PROXMOX_CLUSTERS={}\n", names.join(","));
        env.push_str("PROXMOX_CLUSTER_PATTERNS=");
        let rules = [("prod-", "production"), ("stg-", "staging"), ("dr-", "disaster-recovery")];
        let rules: Vec<String> = rules
            .iter()
            .filter(|(_, cluster)| names.contains(cluster))
            .map(|(prefix, cluster)| format!("{prefix}:{cluster}"))
            .collect();
        env.push_str(&rules.join(","));
        for name in names {
            env.push_str(&format!(
                "\nPROXMOX_CLUSTER_{name}_API_URL=https://{name}.example.net\nPROXMOX_CLUSTER_{name}_TOKEN_ID=a@pve!test\nPROXMOX_CLUSTER_{name}_TOKEN_SECRET=s\n"
            ));
        }
        env.push_str(settings);
        let variables = Variables::merge(Vec::new(), &[(".env".to_owned(), env)]);
        let registry = clusters::load(&variables, &|_| Ok(String::new())).unwrap();
        Self { clusters, registry, start: tokio::time::Instant::now() }
    }

    pub fn production() -> Self {
        Self::of(&["production"])
    }

    pub fn client(&self, name: &str) -> ClusterClient {
        let transport = SimTransport::first(Arc::clone(&self.clusters[name])).since(self.start);
        ClusterClient::new(name, Arc::new(transport))
    }

    pub fn clients(&self) -> BTreeMap<String, ClusterClient> {
        self.clusters.keys().map(|name| (name.clone(), self.client(name))).collect()
    }

    pub fn readers(&self) -> Readers {
        let reader = |name: &String| Arc::new(ReadOnlyClient::from(self.client(name))) as Arc<dyn Reader>;
        self.clusters.keys().map(|name| (name.clone(), Ok(reader(name)))).collect()
    }

    pub fn desired(&self, manifest: &str) -> Desired {
        resolve(&[("fleet.yaml".to_owned(), manifest.to_owned())], &self.registry)
    }

    pub async fn plan_with(&self, desired: &Desired, options: &PlanOptions) -> Plan {
        let live = ops::read(desired, &self.readers(), &options.clusters).await;
        plan::plan(desired, &live, options).unwrap()
    }

    pub async fn plan(&self, manifest: &str) -> Plan {
        self.plan_with(&self.desired(manifest), &PlanOptions::default()).await
    }

    pub async fn carry_out(&self, plan: &Plan) -> Outcome {
        let (_keep, cancelled) = watch::channel(Cancel::No);
        let options = apply::Options::default();
        apply::run(plan, &self.clients(), &Canary, &options, &Journal::none(), &|_: &apply::Event| {}, cancelled).await
    }

    pub async fn apply_with(&self, manifest: &str, options: &PlanOptions) -> (Plan, Outcome) {
        let desired = self.desired(manifest);
        let plan = ops::plan_in_peace(&desired, &self.readers(), &self.clients(), options, &|_| {}).await.unwrap();
        let outcome = self.carry_out(&plan).await;
        (plan, outcome)
    }

    pub async fn apply(&self, manifest: &str) -> (Plan, Outcome) {
        self.apply_with(manifest, &PlanOptions::default()).await
    }

    /// Applies, and asserts that it went well and that planning again gives nothing.
    pub async fn converge(&self, manifest: &str) -> Plan {
        let (plan, outcome) = self.apply(manifest).await;
        let shown = pvefleet::report::plan_text::plan(&plan, pvefleet::report::Layout::default());
        assert_eq!(outcome.exit_code(&plan), 0, "{shown}\n{outcome:#?}");
        let again = self.plan(manifest).await;
        assert!(again.is_empty(), "planning again gives:\n{}", text(&again));
        plan
    }

    /// All guests' configuration files, the volumes and who runs, as the simulator holds them.
    pub fn state(&self) -> String {
        let mut text = String::new();
        for (name, cluster) in &self.clusters {
            let cluster = lock(cluster);
            let ids: Vec<_> = cluster.guest_ids().collect();
            for id in ids {
                if let Some((kind, node, file)) = cluster.guest_file(id) {
                    let running = cluster.is_running(id);
                    text.push_str(&format!(
                        "== {name} {kind} {id} on {node} running={running}\n{}\n",
                        without_chance(&file)
                    ));
                }
            }
            for (volume, owner) in cluster.volume_ids() {
                text.push_str(&format!("{name} {volume} {owner}\n"));
            }
        }
        text
    }

    pub fn log(&self, name: &str) -> Vec<AccessEntry> {
        lock(&self.clusters[name]).access_log().to_vec()
    }

    pub fn vmid(&self, cluster: &str, name: &str) -> pvefleet::pve::value::Vmid {
        let cluster = lock(&self.clusters[cluster]);
        let found = cluster.guest_ids().find(|id| {
            let file = cluster.guest_file(*id).map(|(_, _, file)| file).unwrap_or_default();
            file.lines().any(|line| line == format!("name: {name}") || line == format!("hostname: {name}"))
        });
        found.unwrap_or_else(|| panic!("no guest {name}"))
    }

    /// A guest's configuration file.
    pub fn file(&self, cluster: &str, name: &str) -> String {
        let id = self.vmid(cluster, name);
        lock(&self.clusters[cluster]).guest_file(id).map(|(_, _, file)| file).unwrap_or_default()
    }

    /// Lets the clusters come to the present: they move only when something is asked of them.
    pub fn advance(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap();
        self.clusters.values().for_each(|cluster| lock(cluster).advance_to(now));
    }

    /// A guest's node and its configuration file.
    pub fn guest_file(&self, cluster: &str, id: pvefleet::pve::value::Vmid) -> Option<(String, String)> {
        let cluster = lock(&self.clusters[cluster]);
        cluster.guest_file(id).map(|(_, node, file)| (node.to_owned(), file))
    }

    /// Somebody edits by hand: one write, and its task waited for.
    pub async fn by_hand(
        &self,
        cluster: &str,
        method: pvefleet::pve::http::Method,
        path: &str,
        params: &[(&str, &str)],
    ) {
        let client = self.client(cluster);
        let request = params.iter().fold(pvefleet::pve::http::Request::new(method, path), |request, (name, value)| {
            request.with(*name, *value)
        });
        let answer = client.write(&request).await.unwrap();
        if let Some(upid) = answer.as_str().and_then(|text| text.parse().ok()) {
            let end = client.wait_task(&upid, &|_| {}).await.unwrap();
            assert!(end.is_success(), "{end:?}");
        }
    }

    /// The path of a guest, for edits by hand.
    pub fn path(&self, cluster: &str, name: &str, tail: &str) -> String {
        let id = self.vmid(cluster, name);
        let cluster = lock(&self.clusters[cluster]);
        let (kind, node, _) = cluster.guest_file(id).unwrap();
        format!("/nodes/{node}/{kind}/{id}{tail}")
    }
}

/// Holds a text against a file of `tests/golden`; `UPDATE_GOLDEN=1` writes the file anew.
pub fn assert_golden(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let diff = similar::TextDiff::from_lines(expected.as_str(), text);
    assert!(expected == text, "{name} differs:\n{}", diff.unified_diff().context_radius(2));
}

/// Resolves a manifest that has no problems.
pub fn resolve(files: &[(String, String)], registry: &Registry) -> Desired {
    let (fleet, problems) = manifest::read(files);
    let fleet = fleet.unwrap_or_else(|| panic!("{problems:#?}"));
    let (desired, problems) = desired::resolve(&fleet, registry);
    desired.unwrap_or_else(|| panic!("{problems:#?}"))
}

/// A plan as people read it.
pub fn text(plan: &Plan) -> String {
    pvefleet::report::plan_text::plan(plan, pvefleet::report::Layout::default())
}

/// A configuration file without MAC addresses, uuids and times of making.
fn without_chance(file: &str) -> String {
    let patterns = ["[0-9A-F]{2}(:[0-9A-F]{2}){5}", "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ctime=[0-9]+"];
    patterns
        .iter()
        .fold(file.to_owned(), |text, pattern| regex::Regex::new(pattern).unwrap().replace_all(&text, "…").into_owned())
}

/// The head of a manifest whose guests are all in one cluster.
pub const HEAD: &str = "fleet: homelab\nclusters:\n  production:\n    vmids: 1000-1999\n";

/// A manifest of VMs.
pub fn vms(body: &str) -> String {
    format!("{HEAD}    vms:\n{body}")
}

/// A manifest of containers.
pub fn containers(body: &str) -> String {
    format!("{HEAD}    containers:\n{body}")
}

/// The one change of a plan.
pub fn only(plan: &Plan) -> &Change {
    let changes: Vec<_> = plan.changes().collect();
    assert_eq!(changes.len(), 1, "{}", text(plan));
    changes[0]
}

/// The steps of the one change, in words.
pub fn words(plan: &Plan) -> Vec<&str> {
    only(plan).steps.iter().map(|step| step.words.as_str()).collect()
}

/// What is read for a manifest.
pub async fn read(world: &World, manifest: &str) -> Live {
    ops::read(&world.desired(manifest), &world.readers(), &[]).await
}

/// The cluster `production` as it was read.
pub fn cluster(live: &mut Live) -> &mut LiveCluster {
    match live.clusters.get_mut("production") {
        Some(Read::Known(cluster)) => cluster,
        _ => panic!("production was not read"),
    }
}

/// A guest of it, by name.
pub fn guest<'a>(live: &'a mut Live, name: &str) -> &'a mut LiveGuest {
    let named = |guest: &&mut LiveGuest| guest.name.known().map(String::as_str) == Some(name);
    cluster(live).guests.values_mut().find(named).unwrap()
}
