//! The state machine: requests and the time in, answers out.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::access::{Access, Check, Subject, is_by_token};
use super::answer::{self, Failure, Outcome};
use super::chance::Chance;
use super::config::Config;
use super::exchange::Forced;
use super::faults::{Conditions, Fault, Faults};
use super::guest::{Guest, Running, is_mount, is_unused, sub_key, volume_of};
use super::load::Workers;
use super::params::{self, Given};
use super::quorum;
use super::route::Call;
use super::routes;
use super::task::{State, Task};
use super::volume::{Storages, Volume};
use super::world::ClusterSpec;
use crate::pve::calls::{self, Rule};
use crate::pve::http::Response;
use crate::pve::schema::ValueType;
use crate::pve::value::{GuestKind, Size, Vmid, parse_boolean};

/// Milliseconds of virtual time since the cluster began.
pub type Millis = u64;

/// A request as a node receives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IncomingRequest {
    /// `GET`, `POST`, `PUT`, `DELETE`, or what else was sent.
    pub method: String,
    /// The path below `/api2/json`, not decoded, without the query.
    pub path: String,
    /// The parameters of query and body, decoded; the same name may stand more than once.
    pub params: Vec<(String, String)>,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The `Cookie` header.
    pub cookie: Option<String>,
    /// The `CSRFPreventionToken` header.
    pub csrf_token: Option<String>,
    /// The node that was asked.
    pub node: String,
}

/// An answer, and how long it took the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The answer.
    pub response: Response,
    /// How long after the request it comes.
    pub delay: Millis,
}

/// One line of the access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessEntry {
    /// When the request came.
    pub at: Millis,
    /// The node that was asked.
    pub node: String,
    /// Method.
    pub method: String,
    /// Path below `/api2/json`.
    pub path: String,
    /// The parameters; what stands in passwords is not kept.
    pub params: Vec<(String, String)>,
    /// Status of the answer; zero where none was given.
    pub status: u16,
    /// Proxmox does this and the simulator does not. What Proxmox itself does not know is not marked.
    pub unimplemented: bool,
    /// The node that carried it out.
    pub served_by: String,
    /// Microseconds for which it kept a worker there.
    pub service: u64,
}

/// The longest access log that is kept.
const LOG_LIMIT: usize = 1 << 20;

/// What a path may say for the node that is asked.
const THIS_NODE: &str = "localhost";

/// A pool.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Pool {
    pub(super) comment: String,
    pub(super) guests: BTreeSet<u32>,
    pub(super) storages: BTreeSet<String>,
}

/// A simulated cluster.
///
/// Equal specifications, seeds and requests at equal times give equal answers, to the byte.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cluster {
    pub(super) spec: ClusterSpec,
    pub(super) access: Access,
    pub(super) guests: BTreeMap<u32, Guest>,
    pub(super) storages: Storages,
    pub(super) pools: BTreeMap<String, Pool>,
    pub(super) ha: BTreeMap<String, BTreeMap<String, String>>,
    /// Other files of the cluster, by their path below `/etc/pve`.
    pub(super) files: BTreeMap<String, String>,
    pub(super) settings: BTreeMap<String, super::api::Settings>,
    pub(super) chance: Chance,
    pub(super) clock: Millis,
    pub(super) tasks: Vec<Task>,
    pub(super) active: Vec<usize>,
    pub(super) next_pid: u32,
    pub(super) cached: BTreeMap<u32, Map<String, Value>>,
    pub(super) broadcast_at: Millis,
    /// Since when a node is down, for those that were up.
    down_since: BTreeMap<String, Millis>,
    pub(super) faults: Faults,
    /// What faults make wrong with the cluster just now.
    pub(super) conditions: Conditions,
    pub(super) quorate: bool,
    pub(super) workers: Workers,
    #[serde(skip)]
    pub(super) forced: Option<Forced>,
    /// How often something may have changed that is worth keeping.
    pub(super) changes: u64,
    #[serde(skip)]
    log: Vec<AccessEntry>,
    /// How many entries of the log are no longer kept.
    #[serde(skip)]
    forgotten: usize,
}

impl Cluster {
    /// A cluster as specified; all its chance comes from the seed.
    #[must_use]
    pub fn new(spec: ClusterSpec, seed: u64) -> Self {
        let release = spec.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(9);
        let pools = spec
            .pools
            .iter()
            .map(|(name, comment)| (name.clone(), Pool { comment: comment.clone(), ..Pool::default() }))
            .collect();
        let mut cluster = Self {
            access: Access::new(&spec, release, seed),
            guests: BTreeMap::new(),
            storages: Storages::new(spec.storages.clone()),
            pools,
            ha: spec.ha.clone(),
            files: spec.files.clone(),
            settings: BTreeMap::new(),
            chance: Chance::new(seed),
            clock: 0,
            tasks: Vec::new(),
            active: Vec::new(),
            next_pid: 1000,
            cached: BTreeMap::new(),
            broadcast_at: 0,
            down_since: BTreeMap::new(),
            faults: Faults::new(seed),
            conditions: Conditions::default(),
            quorate: true,
            workers: Workers::default(),
            forced: None,
            changes: 0,
            log: Vec::new(),
            forgotten: 0,
            spec,
        };
        for node in &cluster.spec.nodes {
            let address = cluster.address(&node.name);
            cluster.settings.insert(node.name.clone(), super::api::Settings::new(node, &address));
        }
        cluster.populate();
        cluster.broadcast();
        cluster
    }

    fn populate(&mut self) {
        let ctime = self.spec.epoch;
        // Files are on every node that has the storage.
        for storage in &self.spec.storages {
            let nodes = self.spec.nodes.iter().filter(|node| self.storages.on_node(&storage.name, &node.name));
            let nodes: Vec<&str> = nodes.map(|node| node.name.as_str()).collect();
            for ((name, size), node) in storage.files.iter().flat_map(|file| nodes.iter().map(move |node| (file, node)))
            {
                self.storages.insert(&format!("{}:{name}", storage.name), node, Volume::new(*size, ctime));
            }
        }
        for volume in &self.spec.volumes {
            let mut made = Volume::new(volume.size, ctime);
            made.archive = volume.archive.as_ref().map(|text| Box::new(super::backup::parse(&volume.volid, text)));
            self.storages.insert(&volume.volid, &volume.node, made);
        }
        for guest in self.spec.guests.clone() {
            let config = match &guest.file {
                Some(text) => Config::parse(guest.kind, text),
                None => {
                    let mut config = Config::new(guest.kind);
                    config.current = guest.config.clone();
                    // A file has 1 and 0; who writes a world may say true and false.
                    let options = crate::pve::schema::catalog_for(guest.kind, &self.spec.version);
                    for (key, value) in &mut config.current {
                        let is_boolean = options.find(key).is_some_and(|option| option.value.ty == ValueType::Boolean);
                        if let Some(truth) = parse_boolean(value).filter(|_| is_boolean) {
                            *value = u8::from(truth).to_string();
                        }
                    }
                    config
                }
            };
            // Who writes whole files says which volumes there are.
            for (key, value) in config.current.iter().filter(|_| guest.file.is_none()) {
                let has_volume = super::guest::is_drive(key) || is_mount(key) || is_unused(key);
                if let Some(volid) = volume_of(value).filter(|_| has_volume) {
                    // A drive of cloud-init names no size; it is 4 MiB.
                    let size =
                        sub_key(value, "size").and_then(Size::parse_proxmox).map_or(4 * Size::MIB, |size| size.0);
                    if self.storages.size_of(volid, &guest.node).is_none() {
                        self.storages.insert(volid, &guest.node, Volume::new(size, ctime));
                    }
                }
            }
            self.next_pid += 1;
            let running = guest.running.then_some(Running { since: 0, pid: self.next_pid, paused: false });
            if let Some(pool) = &guest.pool {
                self.pools.entry(pool.clone()).or_default().guests.insert(guest.vmid);
            }
            self.guests.insert(guest.vmid, Guest { node: guest.node, config, running });
        }
    }

    /// Carries out a request at a time and answers it. Time never runs backwards: an earlier one counts as now.
    pub fn handle(&mut self, request: &IncomingRequest, now: Millis) -> Reply {
        self.advance(now);
        self.begin_waiting();
        let outcome = self.dispatch(request);
        let waited = self.end_waiting();
        self.forced = None;
        if request.method != "GET" {
            self.changes += 1;
        }
        let unimplemented = matches!(outcome, Err(Failure::Unsupported));
        let (response, delay) = answer::response(&outcome, &request.method, &request.path);
        let served = self.serve(request, now, delay + waited);
        // A refused credential waits for a timer, not with a worker.
        let delay = if response.status == 401 { self.spec.unauthorized_delay } else { served.2 };
        self.record(request, now, response.status, unimplemented, served);
        Reply { response, delay }
    }

    pub(super) fn record(
        &mut self,
        request: &IncomingRequest,
        at: Millis,
        status: u16,
        unimplemented: bool,
        (served_by, service, _): (String, u64, Millis),
    ) {
        let kept = |(name, value): &(String, String)| {
            let secret = matches!(
                name.as_str(),
                "cipassword" | "confirmation-password" | "otp" | "password" | "sshkeys" | "ssh-public-keys"
            );
            (name.clone(), if secret { "**********".to_owned() } else { value.clone() })
        };
        // A server that runs for weeks keeps the newer half.
        if self.log.len() >= LOG_LIMIT {
            self.log.drain(..LOG_LIMIT / 2);
            self.forgotten += LOG_LIMIT / 2;
        }
        self.log.push(AccessEntry {
            at,
            node: request.node.clone(),
            method: request.method.clone(),
            path: request.path.clone(),
            params: request.params.iter().map(kept).collect(),
            status,
            unimplemented,
            served_by,
            service,
        });
    }

    /// The order of the checks is Proxmox's: who asks, whether there is such a call, whether they may, where it
    /// runs, whether its parameters are right.
    fn dispatch(&mut self, request: &IncomingRequest) -> Outcome {
        let method = request.method.as_str();
        if !matches!(method, "GET" | "POST" | "PUT" | "DELETE") {
            return Err(Failure::Empty(501, format!("method '{method}' not available")));
        }
        let found = calls::find(self.access.release(), method, &request.path);
        let world = found.as_ref().is_some_and(|found| found.call.permission == Some(Rule::World));
        let subject = match self.access.authenticate(request, self.unix_time()) {
            // Nobody is asked who they are there.
            _ if world => Subject::root(),
            other => other?,
        };
        let found = found.ok_or(Failure::NotImplemented)?;
        let mut given = Given::new();
        for (name, value) in request.params.iter().filter(|(name, _)| name != "_dc") {
            given.entry(name.clone()).or_default().push(value.clone());
        }
        for (name, value) in &found.variables {
            let value = vec![value.clone()];
            if given.insert(name.clone(), value.clone()).is_some_and(|other| other != value) {
                let text = "duplicate parameter (already defined in URI) with conflicting values!";
                return Err(Failure::parameter(name, text));
            }
        }
        if found.call.no_token && is_by_token(request) {
            let path = crate::pve::http::percent_decode(&request.path);
            return Err(Failure::Permission(format!(
                "URI '{path}' not available with API token, need proper ticket.\n"
            )));
        }
        self.permit(found.call.permission.as_ref(), &subject, &given)?;
        if let Some(name) = &found.call.proxyto {
            let node = given.get(name).and_then(|list| list.first());
            let node = node.ok_or_else(|| Failure::parameter(name, "proxyto parameter does not exists"))?;
            self.check_reachable(node, &request.node)?;
        }
        let mut params = params::check(found.call, &given, self.access.release()).map_err(Failure::Parameters)?;
        params.retain(|name, _| !found.variables.contains_key(name));
        let handler = routes::handler(found.call).ok_or(Failure::Unsupported)?;
        let node = found.variables.get("node").filter(|node| *node != THIS_NODE).unwrap_or(&request.node).clone();
        let call = Call { subject, node, vars: found.variables, params };
        if !self.has_quorum()
            && let Some(refusal) = quorum::refusal(self, &found.call.method, &found.call.path, &call)
        {
            return Err(refusal);
        }
        handler(self, &call)
    }

    /// A request for another node is passed on: the node must exist and be up.
    fn check_reachable(&self, node: &str, asked: &str) -> Result<(), Failure> {
        if node == asked || node == THIS_NODE || self.node_online(node) {
            return Ok(());
        }
        if self.spec.nodes.iter().any(|spec| spec.name == node) {
            return Err(Failure::Empty(595, "Connection refused".to_owned()));
        }
        Err(Failure::die(format!(
            "hostname lookup '{node}' failed - failed to get address info for: {node}: Name or service not known"
        )))
    }

    /// A check of privileges, for a call that looks at one path.
    pub(super) const fn check_for<'a>(&'a self, subject: &'a Subject, _path: &str) -> Check<'a> {
        self.check(subject)
    }

    /// A check of privileges, for a call that looks at one guest.
    pub(super) const fn check_guest<'a>(&'a self, subject: &'a Subject, _vmid: u32) -> Check<'a> {
        self.check(subject)
    }

    /// A check of what somebody may do.
    pub(super) const fn check<'a>(&'a self, subject: &'a Subject) -> Check<'a> {
        Check { subject, pool: None, access: &self.access, pools: &self.pools }
    }

    /// Waits for a guest's lock file as a call does; how long that took.
    ///
    /// What the holder does until then happens before this call goes on, so the clock runs ahead.
    pub(super) fn await_lock(&mut self, vmid: u32) -> Result<u64, Failure> {
        if matches!(self.forced, Some(Forced::LockTimeout)) {
            return Err(Failure::DieAfter(super::task::LOCK_WAIT, self.lock_timeout_text(vmid)));
        }
        let begin = self.clock;
        while let Some(until) = self.lock_held_until(vmid) {
            if until > begin + super::task::LOCK_WAIT {
                return Err(Failure::DieAfter(super::task::LOCK_WAIT, self.lock_timeout_text(vmid)));
            }
            self.aside(|cluster| cluster.advance(until));
        }
        Ok(self.clock - begin)
    }

    /// The address of a node.
    pub(super) fn address(&self, node: &str) -> String {
        let index = self.spec.nodes.iter().position(|spec| spec.name == node).unwrap_or(0);
        let own = self.spec.nodes.get(index).and_then(|spec| spec.address.clone());
        own.unwrap_or_else(|| format!("192.0.2.{}", 11 + index))
    }

    pub(super) const fn unix_time(&self) -> u64 {
        self.spec.epoch + self.clock / 1000
    }

    pub(super) fn node_online(&self, node: &str) -> bool {
        self.spec.nodes.iter().any(|spec| spec.name == node && spec.online)
    }

    /// True while what a node last said of its storages still counts: for five minutes after it went.
    pub(super) fn is_remembered(&self, node: &str) -> bool {
        self.spec.broadcasts
            && (self.node_online(node) || self.down_since.get(node).is_some_and(|since| self.clock - since < 300_000))
    }

    /// The prefix of the MAC addresses that are made here.
    pub(super) fn fresh_mac(&mut self) -> String {
        let prefix = self.spec.datacenter.get("mac_prefix").cloned();
        self.chance.mac(prefix.as_deref().unwrap_or("BC:24:11"))
    }

    /// The version as `major.minor.patch`.
    pub(super) fn full_version(&self) -> String {
        let version = &self.spec.version;
        if version.split('.').count() < 3 { format!("{version}.1") } else { version.clone() }
    }

    /// True for a release that has what came with qemu-server 9.1.17.
    pub(super) fn is_at_least(&self, major: u32, minor: u32) -> bool {
        let mut parts = self.spec.version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        (parts.next().unwrap_or(9), parts.next().unwrap_or(0)) >= (major, minor)
    }

    /// The id after which the name of an existing guest stands, with what Proxmox calls it.
    pub(super) fn taken_text(&self, vmid: u32) -> Option<String> {
        self.guests.get(&vmid).map(|guest| {
            let what = if guest.kind() == GuestKind::Qemu { "VM" } else { "CT" };
            format!("{what} {vmid} already exists on node '{}'", guest.node)
        })
    }
}

/// What tests and the server's owner may see and do beside the API.
impl Cluster {
    /// What it was made of; the parts that requests change are as they were.
    #[must_use]
    pub const fn spec(&self) -> &ClusterSpec {
        &self.spec
    }

    /// The requests so far, or the newer of very many.
    #[must_use]
    pub fn access_log(&self) -> &[AccessEntry] {
        &self.log
    }

    /// The requests after the first so many of all that there were; what is no longer kept is left out.
    #[must_use]
    pub fn access_log_after(&self, seen: usize) -> &[AccessEntry] {
        self.log.get(seen.saturating_sub(self.forgotten)..).unwrap_or_default()
    }

    /// The same cluster, with the requests so far forgotten.
    #[must_use]
    pub fn without_log(&mut self) -> Self {
        // They may be many times as large as all the rest.
        let log = std::mem::take(&mut self.log);
        let copy = self.clone();
        self.log = log;
        copy
    }

    /// How many requests there were.
    #[must_use]
    pub const fn requests(&self) -> usize {
        self.forgotten + self.log.len()
    }

    /// Grows whenever something may have changed that is worth keeping.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.changes
    }

    /// The time that it has come to.
    #[must_use]
    pub const fn now(&self) -> Millis {
        self.clock
    }

    /// Adds a fault.
    pub fn inject(&mut self, fault: Fault) {
        self.faults.add(fault);
    }

    /// Removes every fault; what they made wrong ends with them.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
        self.suffer(Conditions::default());
    }

    /// Replaces all faults. Those that were there already go on counting where they were.
    pub fn set_faults(&mut self, faults: Vec<Fault>) {
        self.faults.replace(faults);
    }

    /// Changes how it is served; what it holds stays.
    pub fn set_service(&mut self, change: impl FnOnce(&mut ClusterSpec)) {
        let mut spec = self.spec.clone();
        change(&mut spec);
        self.spec.latency = spec.latency;
        self.spec.workers = spec.workers;
        self.spec.service_times = spec.service_times;
        self.spec.time_scale = spec.time_scale;
        self.spec.connections = spec.connections;
        self.spec.unauthorized_delay = spec.unauthorized_delay;
    }

    /// Takes the majority away, or gives it back; with half of its nodes down there is none in any case.
    pub fn set_quorate(&mut self, quorate: bool) {
        self.quorate = quorate;
    }

    /// Takes a node down, or brings it back.
    pub fn set_node_online(&mut self, node: &str, online: bool) {
        if online {
            self.down_since.remove(node);
        } else {
            self.down_since.insert(node.to_owned(), self.clock);
        }
        for spec in self.spec.nodes.iter_mut().filter(|spec| spec.name == node) {
            spec.online = online;
        }
    }

    /// Lets virtual time pass without a request.
    pub fn advance_to(&mut self, now: Millis) {
        self.advance(now);
    }

    /// Lets every task that works end now, as if it had taken no longer.
    pub fn end_tasks(&mut self) {
        for id in &self.active {
            if let State::Running(until) = &mut self.tasks[*id].state {
                *until = (*until).min(self.clock);
            }
        }
        self.advance(self.clock);
    }

    /// The ids of all guests.
    pub fn guest_ids(&self) -> impl Iterator<Item = Vmid> {
        self.guests.keys().filter_map(|vmid| Vmid::new(*vmid))
    }

    /// A guest's configuration file, as text, with its kind and node.
    #[must_use]
    pub fn guest_file(&self, vmid: Vmid) -> Option<(GuestKind, &str, String)> {
        self.guests.get(&vmid.get()).map(|guest| (guest.kind(), guest.node.as_str(), guest.config.render()))
    }

    /// A file of the whole cluster as text, by its path below `/etc/pve`: `ha/rules.cfg`, `firewall/100.fw`.
    #[must_use]
    pub fn cluster_file(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// True while the guest runs.
    #[must_use]
    pub fn is_running(&self, vmid: Vmid) -> bool {
        self.guests.get(&vmid.get()).is_some_and(|guest| guest.running.is_some())
    }

    /// Every volume: its node (empty on a shared storage) and its id.
    #[must_use]
    pub fn volume_ids(&self) -> Vec<(String, String)> {
        self.storages.all().map(|(place, volid)| (place.to_owned(), volid)).collect()
    }

    /// True while a task runs or waits.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.active.is_empty()
    }

    /// Writes a guest's file by hand, as somebody on the node would; makes no volumes.
    pub fn write_guest_file(&mut self, kind: GuestKind, vmid: Vmid, node: &str, text: &str) {
        let config = Config::parse(kind, text);
        let running = self.guests.get(&vmid.get()).and_then(|guest| guest.running.clone());
        self.guests.insert(vmid.get(), Guest { node: node.to_owned(), config, running });
    }
}
