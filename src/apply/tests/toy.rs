//! A toy of one cluster: enough of Proxmox for the executor's rules, with faults where a test wants them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::client::ClusterClient;
use crate::pve::http::{Method, Request, Response, SendError, Sending, Transport, percent_decode};

/// What goes wrong with a write.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    /// It never arrives, and the connection breaks.
    LostBefore,
    /// It is carried out, and the answer is lost.
    LostAfter,
    /// No connection.
    NeverSent,
    /// It is refused.
    Refused(u16, &'static str),
    /// Its task fails, having done nothing.
    TaskFails(&'static str),
    /// It is not carried out and never answered.
    HangsBefore,
    /// It is carried out and never answered.
    HangsAfter,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct ToyGuest {
    pub(super) kind: &'static str,
    pub(super) node: &'static str,
    pub(super) config: BTreeMap<String, String>,
    pub(super) pending: BTreeMap<String, Option<String>>,
    pub(super) running: bool,
    pub(super) pool: Option<String>,
    pub(super) revision: u32,
}

impl ToyGuest {
    pub(super) fn new(kind: &'static str, config: &[(&str, &str)]) -> Self {
        Self {
            kind,
            node: "pve1",
            config: config.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            pending: BTreeMap::new(),
            running: false,
            pool: None,
            revision: 1,
        }
    }

    fn digest(&self) -> String {
        format!("digest-{}", self.revision)
    }

    pub(super) fn set(&mut self, name: &str, value: Option<&str>, vmid: u32) {
        self.revision += 1;
        let value = value.map(|value| match value.split_once(',').unwrap_or((value, "")) {
            (volume, rest) if crate::pve::value::allocation(volume).is_some() => {
                let (storage, size) = crate::pve::value::allocation(volume).unwrap();
                let rest = if rest.is_empty() { String::new() } else { format!(",{rest}") };
                format!("{storage}:vm-{vmid}-disk-{},size={size}G{rest}", self.revision)
            }
            _ => value.to_owned(),
        });
        let live = ["description", "tags", "name", "hostname"].contains(&name) || name.starts_with("scsi");
        if self.running && !live {
            self.pending.insert(name.to_owned(), value);
        } else if let Some(value) = value {
            self.config.insert(name.to_owned(), value);
        } else {
            self.config.remove(name);
        }
    }

    fn apply_pending(&mut self) {
        for (name, value) in std::mem::take(&mut self.pending) {
            match value {
                Some(value) => self.config.insert(name, value),
                None => self.config.remove(&name),
            };
        }
    }
}

type Effect = Box<dyn FnOnce(&mut World) + Send>;

struct Task {
    ends: Instant,
    exit: String,
    effect: Option<Effect>,
}

#[derive(Default)]
pub(super) struct World {
    pub(super) guests: BTreeMap<u32, ToyGuest>,
    tasks: BTreeMap<String, Task>,
    faults: Vec<(String, usize, Fault)>,
    /// Every write: method, path and form.
    pub(super) writes: Vec<String>,
    pub(super) reads: usize,
    /// Clones that ran at once at most.
    pub(super) clones_at_once: usize,
    task_seconds: u64,
    serial: u32,
}

/// The cluster; one node, `pve1`.
#[derive(Clone)]
pub(super) struct Toy(Arc<Mutex<World>>);

impl Toy {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(World { task_seconds: 5, ..World::default() })))
    }

    pub(super) fn with(self, vmid: u32, guest: ToyGuest) -> Self {
        self.0.lock().unwrap().guests.insert(vmid, guest);
        self
    }

    /// The write that begins with this text, after so many others that do, goes wrong.
    pub(super) fn fault(self, call: &str, after: usize, fault: Fault) -> Self {
        self.0.lock().unwrap().faults.push((call.to_owned(), after, fault));
        self
    }

    pub(super) fn client(&self) -> ClusterClient {
        ClusterClient::new("c1", Arc::new(self.clone()))
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.0.lock().unwrap();
        world.end_tasks();
        change(&mut world)
    }

    pub(super) fn guest(&self, vmid: u32) -> Option<ToyGuest> {
        self.change(|world| world.guests.get(&vmid).cloned())
    }

    pub(super) fn writes(&self) -> Vec<String> {
        self.change(|world| world.writes.clone())
    }
}

impl World {
    fn end_tasks(&mut self) {
        let now = Instant::now();
        let ended: Vec<String> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.ends <= now && task.effect.is_some())
            .map(|(upid, _)| upid.clone())
            .collect();
        for upid in ended {
            if let Some(effect) = self.tasks.get_mut(&upid).and_then(|task| task.effect.take()) {
                effect(self);
            }
        }
    }

    fn task(&mut self, kind: &str, id: u32, exit: &str, effect: impl FnOnce(&mut Self) + Send + 'static) -> Reply {
        self.serial += 1;
        let upid = format!("UPID:pve1:{:08X}:00000001:60000000:{kind}:{id}:root@pam:", self.serial);
        let ends = Instant::now() + Duration::from_secs(self.task_seconds);
        self.tasks.insert(upid.clone(), Task { ends, exit: exit.to_owned(), effect: Some(Box::new(effect)) });
        if kind.ends_with("clone") {
            let running = self.tasks.iter().filter(|(upid, task)| upid.contains("clone:") && task.effect.is_some());
            self.clones_at_once = self.clones_at_once.max(running.count());
        }
        Ok(json!(upid))
    }

    fn fault(&mut self, call: &str) -> Option<Fault> {
        let found = self.faults.iter_mut().position(|(begin, after, _)| {
            let matches = call.starts_with(begin.as_str());
            let due = matches && *after == 0;
            if matches && *after > 0 {
                *after -= 1;
            }
            due
        })?;
        Some(self.faults.remove(found).2)
    }

    fn read(&self, path: &str) -> Reply {
        let segments: Vec<&str> = path.split(['/', '?']).skip(1).collect();
        match segments.as_slice() {
            ["cluster", "resources", _] => Ok(self
                .guests
                .iter()
                .map(|(vmid, guest)| {
                    json!({"type": guest.kind, "vmid": vmid, "node": guest.node, "pool": guest.pool.clone().unwrap_or_default()})
                })
                .collect()),
            ["cluster", "nextid", query] => {
                let vmid = query.trim_start_matches("vmid=");
                match self.guests.contains_key(&vmid.parse().unwrap()) {
                    true => refuse(400, "Parameter verification failed."),
                    false => Ok(json!(vmid)),
                }
            }
            ["nodes", node, "tasks", _] => {
                let rows = self.tasks.iter().filter(|(upid, _)| upid.contains(&format!(":{node}:"))).map(|(upid, task)| {
                    if task.effect.is_some() {
                        json!({"upid": upid, "status": "RUNNING"})
                    } else {
                        json!({"upid": upid, "status": task.exit, "endtime": 1})
                    }
                });
                Ok(rows.collect())
            }
            ["nodes", _, "tasks", upid, "status"] => match &self.tasks[&percent_decode(upid)] {
                task if task.effect.is_some() => Ok(json!({"status": "running"})),
                task => Ok(json!({"status": "stopped", "exitstatus": task.exit})),
            },
            ["nodes", _, "tasks", _, "log", _] => Ok(json!([{"n": 1, "t": "WARN: the toy's log"}])),
            ["nodes", node, kind, vmid, rest @ ..] => {
                let vmid: u32 = vmid.parse().unwrap();
                let Some(guest) = self.guests.get(&vmid).filter(|guest| guest.kind == *kind && guest.node == *node) else {
                    return refuse(500, &format!("Configuration file 'nodes/{node}/{vmid}.conf' does not exist"));
                };
                if rest[0] == "status" {
                    return Ok(json!({"status": if guest.running { "running" } else { "stopped" }}));
                }
                let mut rows = vec![json!({"key": "digest", "value": guest.digest()})];
                for (key, value) in &guest.config {
                    rows.push(json!({"key": key, "value": value}));
                }
                for (key, value) in &guest.pending {
                    rows.push(match value {
                        Some(value) => json!({"key": key, "pending": value}),
                        None => json!({"key": key, "delete": 1}),
                    });
                }
                Ok(json!(rows))
            }
            _ => refuse(501, "not a call of the toy"),
        }
    }

    fn write(&mut self, request: &Request, task_fails: Option<&str>) -> Reply {
        let params: BTreeMap<String, String> = request.params.iter().cloned().collect();
        let segments: Vec<&str> = request.path.split('/').skip(1).collect();
        if let Some(text) = task_fails {
            let vmid = segments.get(3).or(segments.get(1)).and_then(|text| text.parse().ok()).unwrap_or(0);
            if request.path.contains("/lxc/") && request.path.ends_with("/template") {
                return self.task("vztemplate", vmid, text, |_| {}).map(|_| Value::Null);
            }
            return self.task("toy", vmid, text, |_| {});
        }
        match (request.method, segments.as_slice()) {
            (Method::Post, ["nodes", _, kind]) => self.create(kind, &params),
            (Method::Post, ["nodes", _, _, source, "clone"]) => self.clone_guest(source.parse().unwrap(), &params),
            (Method::Put, ["pools"]) => {
                let vmid = params["vms"].parse().unwrap();
                self.guests.get_mut(&vmid).unwrap().pool = Some(params["poolid"].clone());
                Ok(Value::Null)
            }
            (method, ["nodes", _, _, vmid, rest @ ..]) => {
                let vmid: u32 = vmid.parse().unwrap();
                let Some(guest) = self.guests.get_mut(&vmid) else {
                    return refuse(500, "Configuration file 'x' does not exist");
                };
                if let Some(lock) = guest.config.get("lock") {
                    return refuse(500, &format!("VM is locked ({lock})"));
                }
                if params.get("digest").is_some_and(|digest| *digest != guest.digest()) {
                    return refuse(500, "checksum mismatch (file change by other user?)");
                }
                let running = guest.running;
                match (method, rest) {
                    (Method::Delete, []) if running => refuse(500, &format!("VM {vmid} is running - destroy failed")),
                    (Method::Delete, []) => self.task("qmdestroy", vmid, "OK", move |world| {
                        world.guests.remove(&vmid);
                    }),
                    (Method::Put, ["config"]) => {
                        guest.configure(&params, vmid);
                        Ok(Value::Null)
                    }
                    (Method::Post, ["config"]) => self.task("qmconfig", vmid, "OK", move |world| {
                        world.guests.get_mut(&vmid).unwrap().configure(&params, vmid);
                    }),
                    (Method::Put, ["resize"]) => self.task("resize", vmid, "OK", move |world| {
                        let guest = world.guests.get_mut(&vmid).unwrap();
                        let drive = guest.config.get_mut(&params["disk"]).unwrap();
                        let volume = drive.split(",size=").next().unwrap();
                        *drive = format!("{volume},size={}", params["size"]);
                        guest.revision += 1;
                    }),
                    (Method::Post, ["status", "start"]) if running => {
                        self.task("qmstart", vmid, &format!("VM {vmid} already running"), |_| {})
                    }
                    (Method::Post, ["status", action]) => {
                        let on = *action != "shutdown";
                        self.task("qmpower", vmid, "OK", move |world| {
                            let guest = world.guests.get_mut(&vmid).unwrap();
                            guest.apply_pending();
                            guest.running = on;
                        })
                    }
                    (Method::Post, ["template"]) => {
                        let is_container = guest.kind == "lxc";
                        let answer = self.task("vztemplate", vmid, "OK", move |world| {
                            let guest = world.guests.get_mut(&vmid).unwrap();
                            guest.config.insert("template".to_owned(), "1".to_owned());
                        });
                        if is_container { Ok(Value::Null) } else { answer }
                    }
                    _ => refuse(501, "not a call of the toy"),
                }
            }
            _ => refuse(501, "not a call of the toy"),
        }
    }

    fn create(&mut self, kind: &str, params: &BTreeMap<String, String>) -> Reply {
        let vmid: u32 = params["vmid"].parse().unwrap();
        if self.guests.contains_key(&vmid) {
            return refuse(500, &format!("unable to create VM {vmid} - VM {vmid} already exists on node 'pve1'"));
        }
        let kind = if kind == "lxc" { "lxc" } else { "qemu" };
        self.guests.insert(vmid, ToyGuest::new(kind, &[("lock", "create")]));
        let params = params.clone();
        self.task("qmcreate", vmid, "OK", move |world| {
            let mut guest = ToyGuest::new(kind, &[]);
            guest.pool = params.get("pool").cloned();
            for (name, value) in params.iter().filter(|(name, _)| !["vmid", "pool"].contains(&name.as_str())) {
                guest.set(name, Some(value), vmid);
            }
            world.guests.insert(vmid, guest);
        })
    }

    fn clone_guest(&mut self, source: u32, params: &BTreeMap<String, String>) -> Reply {
        let vmid: u32 = params["newid"].parse().unwrap();
        if self.guests.contains_key(&vmid) {
            return refuse(500, &format!("unable to create VM {vmid}: config file already exists"));
        }
        let kind = self.guests[&source].kind;
        let begun = [("lock", "clone"), ("description", " qmclone temporary file")];
        self.guests.insert(vmid, ToyGuest::new(kind, &begun));
        let params = params.clone();
        self.task("qmclone", source, "OK", move |world| {
            let mut guest = ToyGuest { running: false, ..world.guests[&source].clone() };
            guest.config.remove("template");
            for name in ["name", "hostname", "description"] {
                if let Some(value) = params.get(name) {
                    guest.config.insert(name.to_owned(), value.clone());
                }
            }
            world.guests.insert(vmid, guest);
        })
    }
}

impl ToyGuest {
    fn configure(&mut self, params: &BTreeMap<String, String>, vmid: u32) {
        for (name, value) in params {
            match name.as_str() {
                "digest" => {}
                "delete" => value.split(',').for_each(|name| self.set(name, None, vmid)),
                _ => self.set(name, Some(value), vmid),
            }
        }
    }
}

type Reply = Result<Value, (u16, String)>;

fn refuse(status: u16, text: &str) -> Reply {
    Err((status, text.to_owned()))
}

fn respond(reply: Reply) -> Result<Response, SendError> {
    Ok(match reply {
        Ok(data) => Response { status: 200, reason: "OK".to_owned(), body: json!({ "data": data }).to_string() },
        Err((status, text)) => {
            Response { status, reason: text.clone(), body: json!({"data": null, "message": text}).to_string() }
        }
    })
}

impl Transport for Toy {
    fn send<'a>(&'a self, request: &'a Request) -> Sending<'a> {
        Box::pin(async move {
            sleep(Duration::from_millis(5)).await;
            if !request.method.is_write() {
                return respond(self.change(|world| {
                    world.reads += 1;
                    world.read(&request.target())
                }));
            }
            let form = request.params.iter().map(|(name, value)| format!(" {name}={value}")).collect::<String>();
            let call = format!("{} {}{form}", request.method, request.path);
            let lost = || Err(SendError::MaybeApplied("the connection broke".to_owned()));
            let fault = self.change(|world| world.fault(&call));
            if fault == Some(Fault::NeverSent) {
                return Err(SendError::NeverSent("no route to host".to_owned()));
            }
            self.change(|world| world.writes.push(call));
            let carry_out = |text: Option<&str>| self.change(|world| world.write(request, text));
            match fault {
                None | Some(Fault::NeverSent) => respond(carry_out(None)),
                Some(Fault::LostBefore) => lost(),
                Some(Fault::LostAfter) => {
                    let _ = carry_out(None);
                    lost()
                }
                Some(Fault::Refused(status, text)) => respond(refuse(status, text)),
                Some(Fault::TaskFails(text)) => respond(carry_out(Some(text))),
                Some(Fault::HangsBefore) => std::future::pending().await,
                Some(Fault::HangsAfter) => {
                    let _ = carry_out(None);
                    std::future::pending().await
                }
            }
        })
    }
}
