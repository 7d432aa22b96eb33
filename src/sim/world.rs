//! What a simulated cluster is made of, as data: nodes, storages, guests, tokens, times.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::load::ServiceTimes;
use crate::pve::value::GuestKind;

/// The clusters of a world file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct World {
    /// The clusters, each with an address of its own.
    pub clusters: Vec<ClusterSpec>,
}

/// A cluster before its first request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterSpec {
    /// Name of the cluster.
    pub name: String,
    /// Release of Proxmox VE: `9.1`, or a full one such as `9.1.9`.
    #[serde(default = "default_version")]
    pub version: String,
    /// Release of QEMU on its nodes; new VMs carry it in `meta`.
    #[serde(default = "default_qemu_version")]
    pub qemu_version: String,
    /// The nodes.
    pub nodes: Vec<NodeSpec>,
    /// A single host without a cluster: `/cluster/status` then has no entry for one.
    #[serde(default)]
    pub standalone: bool,
    /// The storages.
    #[serde(default)]
    pub storages: Vec<StorageSpec>,
    /// The guests.
    #[serde(default)]
    pub guests: Vec<GuestSpec>,
    /// Volumes that no guest's configuration names.
    #[serde(default)]
    pub volumes: Vec<VolumeSpec>,
    /// Pools by name, with their comments.
    #[serde(default)]
    pub pools: BTreeMap<String, String>,
    /// Guests that the HA manager looks after, `vm:100`, with their options.
    #[serde(default)]
    pub ha: BTreeMap<String, BTreeMap<String, String>>,
    /// Users. `root@pam` is there without being named; named, it can have a password.
    #[serde(default)]
    pub users: Vec<UserSpec>,
    /// Groups of users by name, with their comments; those that users name are there as well.
    #[serde(default)]
    pub groups: BTreeMap<String, String>,
    /// Roles beside the built-in ones: privileges by name.
    #[serde(default)]
    pub roles: BTreeMap<String, Vec<String>>,
    /// The access control list.
    #[serde(default)]
    pub acl: Vec<AclSpec>,
    /// Files of the cluster as text, by their path below `/etc/pve`: `ha/rules.cfg`, `firewall/cluster.fw`.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// False where nobody runs the daemon that tells the other nodes what this one does: nothing is known then.
    #[serde(default = "yes")]
    pub broadcasts: bool,
    /// False where nobody runs the HA manager: what it is asked for stays in its queue.
    #[serde(default = "yes")]
    pub ha_manager: bool,
    /// API tokens.
    #[serde(default = "default_tokens")]
    pub tokens: Vec<TokenSpec>,
    /// Options of the datacenter: `tag-style`, `mac_prefix`, `next-id`.
    #[serde(default)]
    pub datacenter: BTreeMap<String, String>,
    /// How long tasks take.
    #[serde(default)]
    pub tasks: TaskTimes,
    /// Names, power states and other figures in `/cluster/resources` are up to ten seconds old, as on a real server.
    #[serde(default = "yes")]
    pub list_lag: bool,
    /// Milliseconds by which a refused credential is answered late; a real server takes 3000.
    #[serde(default)]
    pub unauthorized_delay: u64,
    /// Milliseconds that every request takes, beside its service time. Where there are `workers` it keeps one so long.
    #[serde(default)]
    pub latency: u64,
    /// How many requests a node carries out at a time; the others wait. Without it they never wait, unless service
    /// times are simulated: then there are three, as on a real node.
    #[serde(default)]
    #[schemars(range(min = 1, max = 127))]
    pub workers: Option<u32>,
    /// How long calls keep a worker.
    #[serde(default)]
    pub service_times: ServiceTimes,
    /// Tasks take so many times as long as `tasks` says.
    #[serde(default = "one")]
    #[schemars(range(min = 0.0))]
    pub time_scale: f64,
    /// How connections are kept.
    #[serde(default)]
    pub connections: ConnectionRules,
    /// Unix time of the first moment, in seconds.
    #[serde(default = "default_epoch")]
    pub epoch: u64,
}

/// How long a server keeps a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionRules {
    /// Requests after which it is closed.
    #[schemars(range(min = 1))]
    pub requests: u32,
    /// Milliseconds without a byte after which it is closed.
    #[schemars(range(min = 1))]
    pub idle: u64,
    /// It is closed after every answer with a status from 400 on.
    pub close_on_error: bool,
}

impl Default for ConnectionRules {
    fn default() -> Self {
        Self { requests: 100, idle: 5000, close_on_error: true }
    }
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// False for a node that is down.
    #[serde(default = "yes")]
    pub online: bool,
    /// Its address; by default one of the documentation's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its bridges.
    #[serde(default = "default_bridges")]
    pub bridges: Vec<String>,
    /// Its network devices with their options, as `GET /nodes/{node}/network` shows them; by default its bridges,
    /// each on a device of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub interfaces: BTreeMap<String, serde_json::Map<String, serde_json::Value>>,
    /// Its name servers and search domain: `dns1`, `search`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dns: BTreeMap<String, String>,
    /// Its time zone.
    #[serde(default = "default_timezone")]
    pub timezone: String,
    /// Its processors.
    #[serde(default = "default_cpus")]
    pub cpus: u32,
    /// Its memory in GiB.
    #[serde(default = "default_memory")]
    pub memory_gib: u64,
}

/// One storage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StorageSpec {
    /// Its name.
    pub name: String,
    /// Its type: `dir`, `nfs`, `cifs`, `lvm`, `lvmthin`, `zfspool`, `rbd`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it may hold: `images`, `rootdir`, `iso`, `vztmpl`, ….
    pub content: Vec<String>,
    /// All nodes see the same volumes.
    #[serde(default)]
    pub shared: bool,
    /// Only these nodes have it; empty for all.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// Files on it, on every node, with their sizes in bytes: `iso/debian-12.iso`.
    #[serde(default)]
    pub files: BTreeMap<String, u64>,
    /// Its size in GiB.
    #[serde(default = "default_capacity")]
    pub capacity_gib: u64,
    /// What else is said of it: `path`, `vgname`, `disable`; by its type where nothing is.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

impl Default for StorageSpec {
    fn default() -> Self {
        Self {
            name: String::new(),
            kind: String::new(),
            content: Vec::new(),
            shared: false,
            nodes: Vec::new(),
            files: BTreeMap::new(),
            capacity_gib: default_capacity(),
            options: BTreeMap::new(),
        }
    }
}

/// One guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuestSpec {
    /// VM or container.
    pub kind: GuestKind,
    /// Its id.
    pub vmid: u32,
    /// Where it is.
    pub node: String,
    /// Its options, as in its file; its volumes are made from them.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Scalar>")]
    pub config: BTreeMap<String, String>,
    /// Its configuration file as text, instead of `config`; then its volumes are those of `volumes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// True for one that runs.
    #[serde(default)]
    pub running: bool,
    /// The pool that it is in.
    #[serde(default)]
    pub pool: Option<String>,
}

/// A value as it may stand in a world file.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is only described, never made")]
enum Scalar {
    Text(String),
    Number(f64),
    Boolean(bool),
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeSpec {
    /// Its name, `local-lvm:vm-100-disk-0`.
    pub volid: String,
    /// The node that has it; ignored for a shared storage.
    pub node: String,
    /// Its size in bytes.
    pub size: u64,
    /// For a backup: the configuration file of the guest in it. What its disks say of their sizes is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
}

/// One user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserSpec {
    /// The name with its realm, `bob@pve`; the realms are `pam` and `pve`.
    pub id: String,
    /// The password; without one there is no login. A simulated cluster guards nothing; this one is no secret.
    #[serde(default)]
    pub password: Option<String>,
    /// False for one who may not come in.
    #[serde(default = "yes")]
    pub enable: bool,
    /// Until when the user may come in, in seconds of Unix time; zero for ever.
    #[serde(default)]
    pub expire: u64,
    /// The groups that the user is in.
    #[serde(default)]
    pub groups: Vec<String>,
    /// First name.
    #[serde(default)]
    pub firstname: String,
    /// Last name.
    #[serde(default)]
    pub lastname: String,
    /// Mail address.
    #[serde(default)]
    pub email: String,
    /// A comment.
    #[serde(default)]
    pub comment: String,
}

/// One entry of the access control list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AclSpec {
    /// `/`, `/vms/100`, `/storage/local`.
    pub path: String,
    /// A role, built-in or one of `roles`.
    pub role: String,
    /// Whom it is for: a user `bob@pve`, a group `@ops`, a token `bob@pve!ci`.
    pub to: String,
    /// It holds below the path too.
    #[serde(default = "yes")]
    pub propagate: bool,
}

/// One API token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenSpec {
    /// Its name with its user's: `root@pam!pvefleet`.
    pub id: String,
    /// Its secret. A simulated cluster guards nothing; this one is no secret.
    pub secret: String,
    /// What it may do, beside what `acl` says of it; where `privsep` is off, it may what its user may instead.
    ///
    /// A user who is not among `users`, and there only as the token's owner, may do the same.
    #[serde(default = "default_grants")]
    pub grants: Vec<GrantSpec>,
    /// It has rights of its own, as far as its user has them too; off, it has its user's.
    #[serde(default = "yes")]
    pub privsep: bool,
    /// Until when it is good, in seconds of Unix time; zero for ever.
    #[serde(default)]
    pub expire: u64,
    /// A comment.
    #[serde(default)]
    pub comment: String,
}

impl TokenSpec {
    /// A token with rights of its own.
    #[must_use]
    pub fn new(id: &str, secret: &str, grants: Vec<GrantSpec>) -> Self {
        let (id, secret) = (id.to_owned(), secret.to_owned());
        Self { id, secret, grants, privsep: true, expire: 0, comment: String::new() }
    }
}

/// A role, or privileges, on a path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantSpec {
    /// `/`, `/vms/100`, `/storage/local`.
    pub path: String,
    /// A built-in role, `Administrator`, `PVEAuditor`.
    #[serde(default)]
    pub role: Option<String>,
    /// Single privileges.
    #[serde(default)]
    pub privileges: Vec<String>,
    /// It holds below the path too.
    #[serde(default = "yes")]
    pub propagate: bool,
}

/// How long tasks take, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TaskTimes {
    /// From the answer to the start of the worker.
    pub fork: u64,
    /// Creating a VM.
    pub create: u64,
    /// Creating a container.
    pub create_container: u64,
    /// A full clone.
    pub clone_full: u64,
    /// A linked clone.
    pub clone_linked: u64,
    /// Starting.
    pub start: u64,
    /// Shutting down.
    pub shutdown: u64,
    /// Stopping at once.
    pub stop: u64,
    /// Resizing a volume.
    pub resize: u64,
    /// Removing a guest.
    pub destroy: u64,
    /// Moving a volume.
    pub move_volume: u64,
    /// Moving a guest.
    pub migrate: u64,
    /// Making a template.
    pub template: u64,
    /// Changing options in a task.
    pub config: u64,
    /// A snapshot, its removal, going back to it.
    pub snapshot: u64,
    /// Making one volume, beside all that: for so long it holds the lock of its storage, and others wait for it, ten
    /// seconds at most.
    pub allocate: u64,
}

impl Default for TaskTimes {
    fn default() -> Self {
        Self {
            fork: 5,
            create: 300,
            create_container: 600,
            clone_full: 800,
            clone_linked: 300,
            start: 200,
            shutdown: 500,
            stop: 150,
            resize: 150,
            destroy: 200,
            move_volume: 600,
            migrate: 800,
            template: 200,
            config: 50,
            snapshot: 200,
            allocate: 0,
        }
    }
}

const fn yes() -> bool {
    true
}

fn default_version() -> String {
    "9.1".to_owned()
}

fn default_qemu_version() -> String {
    "10.1.2".to_owned()
}

fn default_bridges() -> Vec<String> {
    vec!["vmbr0".to_owned()]
}

const fn one() -> f64 {
    1.0
}

fn default_timezone() -> String {
    "UTC".to_owned()
}

const fn default_cpus() -> u32 {
    16
}

const fn default_memory() -> u64 {
    64
}

const fn default_capacity() -> u64 {
    512
}

const fn default_epoch() -> u64 {
    1_750_000_000
}

fn default_grants() -> Vec<GrantSpec> {
    vec![GrantSpec {
        path: "/".to_owned(),
        role: Some("Administrator".to_owned()),
        privileges: Vec::new(),
        propagate: true,
    }]
}

fn default_tokens() -> Vec<TokenSpec> {
    vec![TokenSpec::new("root@pam!pvefleet", "00000000-0000-4000-8000-000000000000", default_grants())]
}

/// The built-in cluster of a name, as text of a world file: one that can be edited.
#[must_use]
pub fn builtin_text(names: &[String]) -> String {
    let mut text = "# yaml-language-server: $schema=sim-world.schema.json\nclusters:\n".to_owned();
    for name in names {
        text.push_str(&format!("  - name: {name}\n"));
        let lines = source(name);
        for line in lines.lines().filter(|line| !line.starts_with('#') && !line.starts_with("name:")) {
            text.push_str(&format!("    {line}\n"));
        }
    }
    text
}

/// A cluster for trying things out, by name.
///
/// `production` has three nodes, `staging` and `disaster-recovery` one each; any other name is a cluster of
/// one node that is called after it. All have storages, bridges, a container template, an ISO image and a VM
/// template, and the first two some guests that were made by hand.
#[must_use]
pub fn builtin(name: &str) -> ClusterSpec {
    let text = source(name);
    #[expect(clippy::expect_used, reason = "the files are part of the program, and a test reads every one")]
    let mut spec: ClusterSpec = serde_yaml::from_str(&text).expect("the built-in worlds are well formed");
    name.clone_into(&mut spec.name);
    spec
}

/// The text of the built-in cluster of a name.
fn source(name: &str) -> String {
    let known = match name {
        "production" => include_str!("worlds/production.yaml"),
        "staging" => include_str!("worlds/staging.yaml"),
        _ => include_str!("worlds/single.yaml"),
    };
    // A DNS label, whatever the cluster is called.
    let node = match name {
        "disaster-recovery" => "dr1".to_owned(),
        _ => {
            let label: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
            format!("{}1", if label.is_empty() { "pve" } else { label.trim_matches('-') })
        }
    };
    known.replace("NODE", &node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_world_is_read() {
        for (name, nodes, first) in [
            ("production", 3, "pve1"),
            ("staging", 1, "stg1"),
            ("disaster-recovery", 1, "dr1"),
            ("edge", 1, "edge1"),
            ("§", 1, "pve1"),
        ] {
            let spec = builtin(name);
            assert_eq!((spec.name.as_str(), spec.nodes.len()), (name, nodes));
            assert_eq!(spec.nodes[0].name, first);
            assert!(spec.guests.iter().any(|guest| guest.config.get("name").is_some_and(|name| name == "debian-12")));
            let again: ClusterSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
            assert_eq!(again, spec);
        }
    }
}
