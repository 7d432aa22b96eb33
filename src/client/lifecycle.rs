//! What can be done with guests: one table of actions, one way to send them.

use super::{ClusterClient, Guest};
use crate::pve::http::{ApiError, Method, Request};
use crate::pve::value::{GuestKind, Upid, Vmid};

/// Parameters of a call, by Proxmox's own names.
pub type Params = Vec<(String, String)>;

/// Something to do with a guest that is there, VM or container.
#[derive(Clone, PartialEq, Eq)]
pub enum Action {
    /// Start it.
    Start,
    /// Take its power away.
    Stop,
    /// Ask it to shut down.
    Shutdown {
        /// Seconds to wait for it.
        timeout: Option<u32>,
        /// Take its power away where it does not.
        force: bool,
    },
    /// Shut it down and start it again, with the changes that wait.
    Reboot {
        /// Seconds to wait for the shutdown.
        timeout: Option<u32>,
    },
    /// Delete it with its volumes.
    Delete {
        /// Take it out of backup jobs, replication and HA, too.
        purge: bool,
    },
    /// Copy it.
    Clone {
        /// Id of the copy.
        vmid: Vmid,
        /// Name of the copy.
        name: Option<String>,
        /// More, `full`, `storage`, `target`, `pool`.
        params: Params,
    },
    /// Move it to another node.
    Migrate {
        /// The node.
        target: String,
        /// While it runs; a container is stopped and started for it.
        running: bool,
        /// More, `targetstorage`, `with-local-disks`.
        params: Params,
    },
    /// Make a volume larger.
    Resize {
        /// `scsi0`, `rootfs`.
        disk: String,
        /// `32G`, or `+8G`.
        size: String,
    },
    /// Change options. Carry the `digest` of what was read, so that it fails where somebody was faster.
    Configure(Params),
}

/// One row of the table: the API's call and the privilege on `/vms/ID` that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The action's word.
    pub word: &'static str,
    /// How.
    pub method: Method,
    /// Below `/nodes/N/{qemu|lxc}/ID`.
    pub path: &'static str,
    /// Privilege on `/vms/ID`.
    pub privilege: &'static str,
}

const fn row(word: &'static str, method: Method, path: &'static str, privilege: &'static str) -> Row {
    Row { word, method, path, privilege }
}

/// Every action, in the order of [`Action`]. Proxmox may ask for more, by what is set: `Datastore.AllocateSpace` for a
/// new volume, `SDN.Use` for a NIC, `VM.Allocate` on the copy of a clone.
pub const ACTIONS: [Row; 9] = [
    row("start", Method::Post, "/status/start", "VM.PowerMgmt"),
    row("stop", Method::Post, "/status/stop", "VM.PowerMgmt"),
    row("shutdown", Method::Post, "/status/shutdown", "VM.PowerMgmt"),
    row("reboot", Method::Post, "/status/reboot", "VM.PowerMgmt"),
    row("delete", Method::Delete, "", "VM.Allocate"),
    row("clone", Method::Post, "/clone", "VM.Clone"),
    row("migrate", Method::Post, "/migrate", "VM.Migrate"),
    row("resize", Method::Put, "/resize", "VM.Config.Disk"),
    row("configure", Method::Put, "/config", "VM.Config.*"),
];

impl Action {
    /// Its row of the table.
    pub const fn row(&self) -> &'static Row {
        &ACTIONS[match self {
            Self::Start => 0,
            Self::Stop => 1,
            Self::Shutdown { .. } => 2,
            Self::Reboot { .. } => 3,
            Self::Delete { .. } => 4,
            Self::Clone { .. } => 5,
            Self::Migrate { .. } => 6,
            Self::Resize { .. } => 7,
            Self::Configure(_) => 8,
        }]
    }

    /// The call for a guest.
    pub fn request(&self, guest: &Guest) -> Request {
        let row = self.row();
        // A VM's change is a task: a `PUT` that is passed on between nodes is cut off after 30 s while it goes on.
        let in_task = matches!(self, Self::Configure(_)) && guest.kind == GuestKind::Qemu;
        let method = if in_task { Method::Post } else { row.method };
        let mut request =
            Request::new(method, format!("/nodes/{}/{}/{}{}", guest.node, guest.kind, guest.vmid, row.path));
        let mut set = |name: &str, value: String| request.params.push((name.to_owned(), value));
        let flag = |is_set: bool| is_set.then(|| "1".to_owned());
        let (name, running) = match guest.kind {
            GuestKind::Qemu => ("name", "online"),
            GuestKind::Lxc => ("hostname", "restart"),
        };
        match self {
            Self::Start | Self::Stop | Self::Configure(_) => {}
            Self::Shutdown { timeout, force } => {
                timeout.iter().for_each(|seconds| set("timeout", seconds.to_string()));
                flag(*force).into_iter().for_each(|one| set("forceStop", one));
            }
            Self::Reboot { timeout } => timeout.iter().for_each(|seconds| set("timeout", seconds.to_string())),
            Self::Delete { purge } => flag(*purge).into_iter().for_each(|one| set("purge", one)),
            Self::Clone { vmid, name: copy, .. } => {
                set("newid", vmid.to_string());
                copy.iter().for_each(|copy| set(name, copy.clone()));
            }
            Self::Migrate { target, running: wanted, .. } => {
                set("target", target.clone());
                flag(*wanted).into_iter().for_each(|one| set(running, one));
            }
            Self::Resize { disk, size } => {
                set("disk", disk.clone());
                set("size", size.clone());
            }
        }
        if let Self::Clone { params, .. } | Self::Migrate { params, .. } | Self::Configure(params) = self {
            request.params.extend(params.iter().cloned());
        }
        request
    }
}

impl std::fmt::Debug for Action {
    /// The word: a value that is set may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.row().word)
    }
}

impl ClusterClient {
    /// Does something with a guest, once. Where it starts a task, the task's id comes back at once: its end is for
    /// [`ClusterClient::wait_task`]. Calls and privileges are in [`ACTIONS`].
    ///
    /// # Errors
    ///
    /// Every refusal; [`ApiError::Undetermined`] where it may have been carried out.
    pub async fn act(&self, guest: &Guest, action: &Action) -> Result<Option<Upid>, ApiError> {
        Ok(started(&self.write(&action.request(guest)).await?))
    }

    /// Makes a guest: `POST /nodes/N/{qemu|lxc}`, `VM.Allocate` on `/vms/ID` or on the pool that is named, and what
    /// the options need.
    ///
    /// # Errors
    ///
    /// As [`ClusterClient::act`].
    pub async fn create(
        &self,
        kind: GuestKind,
        node: &str,
        vmid: Vmid,
        params: Params,
    ) -> Result<Option<Upid>, ApiError> {
        let mut request = Request::new(Method::Post, format!("/nodes/{node}/{kind}")).with("vmid", vmid.to_string());
        request.params.extend(params);
        Ok(started(&self.write(&request).await?))
    }
}

fn started(answer: &serde_json::Value) -> Option<Upid> {
    answer.as_str().and_then(|text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::fake::{Fake, data, maybe_applied, refusal};
    use crate::pve::calls::{self, Found, OptionsOf, Perm, Rule};
    use crate::pve::schema::catalog;

    const UPID: &str = "UPID:a:000002FC:0005D906:6B02949B:qmstart:100:root@pam!test:";

    fn guest(kind: &str) -> Guest {
        serde_json::from_value(json!({"vmid": 100, "type": kind, "node": "a"})).unwrap()
    }

    fn pairs(text: &str) -> Params {
        vec![(text.to_owned(), "1".to_owned())]
    }

    /// Each action, and what is sent for a VM and for a container, below the guest's path.
    fn table() -> Vec<(Action, &'static str, &'static str)> {
        let vmid = Vmid::new(101).unwrap();
        vec![
            (Action::Start, "POST /status/start", "POST /status/start"),
            (Action::Stop, "POST /status/stop", "POST /status/stop"),
            (
                Action::Shutdown { timeout: Some(60), force: true },
                "POST /status/shutdown timeout=60&forceStop=1",
                "POST /status/shutdown timeout=60&forceStop=1",
            ),
            (Action::Reboot { timeout: None }, "POST /status/reboot", "POST /status/reboot"),
            (Action::Delete { purge: true }, "DELETE ?purge=1", "DELETE ?purge=1"),
            (
                Action::Clone { vmid, name: Some("x".to_owned()), params: pairs("full") },
                "POST /clone newid=101&name=x&full=1",
                "POST /clone newid=101&hostname=x&full=1",
            ),
            (
                Action::Migrate { target: "b".to_owned(), running: true, params: Vec::new() },
                "POST /migrate target=b&online=1",
                "POST /migrate target=b&restart=1",
            ),
            (
                Action::Resize { disk: "scsi0".to_owned(), size: "+8G".to_owned() },
                "PUT /resize disk=scsi0&size=%2B8G",
                "PUT /resize disk=scsi0&size=%2B8G",
            ),
            (Action::Configure(pairs("cores")), "POST /config cores=1", "PUT /config cores=1"),
        ]
    }

    #[test]
    fn each_action_is_the_api_s_own_call() {
        for (action, vm, container) in table() {
            for (kind, expected) in [("qemu", vm), ("lxc", container)] {
                let request = action.request(&guest(kind));
                let target = request.target().replace(&format!("/nodes/a/{kind}/100"), "");
                let shown = format!("{} {target} {}", request.method, request.body().unwrap_or_default());
                assert_eq!(shown.trim_end(), expected, "{kind}");
            }
        }
        assert_eq!(format!("{:?}", Action::Configure(pairs("cipassword"))), "configure");
    }

    fn knows(found: &Found, name: &str) -> bool {
        let options = match found.call.options {
            Some(OptionsOf::Create(kind) | OptionsOf::Update(kind)) => catalog(kind).find(name).is_some(),
            None => false,
        };
        options || found.call.parameter(name).is_some()
    }

    /// The privileges on the guest itself that a call needs; one of several where it says so.
    fn on_the_guest(rule: &Rule) -> Vec<&str> {
        match rule {
            Rule::Perm(Perm { path, privileges, .. }) if path == "/vms/{vmid}" => {
                privileges.iter().map(String::as_str).collect()
            }
            Rule::And(rules) => rules.iter().flat_map(on_the_guest).collect(),
            // On something else: a clone's copy.
            _ => Vec::new(),
        }
    }

    #[test]
    fn the_api_has_each_action_with_these_parameters_and_privileges() {
        for release in [8, 9] {
            for ((action, ..), row) in table().into_iter().zip(ACTIONS) {
                assert_eq!(action.row(), &row);
                for kind in ["qemu", "lxc"] {
                    let request = action.request(&guest(kind));
                    let found = calls::find(release, request.method.as_str(), &request.path).unwrap();
                    for (name, _) in &request.params {
                        assert!(knows(&found, name), "{release} {kind} {}: {name}", row.word);
                    }
                    let needed = on_the_guest(found.call.permission.as_ref().unwrap());
                    match row.privilege.strip_suffix('*') {
                        Some(family) => {
                            assert!(!needed.is_empty() && needed.iter().all(|name| name.starts_with(family)))
                        }
                        None => assert_eq!(needed, [row.privilege], "{release} {kind} {}", row.word),
                    }
                }
            }
        }
        assert_eq!(table().len(), ACTIONS.len());
    }

    #[tokio::test(start_paused = true)]
    async fn an_action_gives_its_task_at_once_and_is_sent_once() {
        for (action, ..) in table() {
            for kind in ["qemu", "lxc"] {
                let request = action.request(&guest(kind));
                let target = format!("{} {}", request.method, request.target());
                let outcome = |answer| {
                    let (client, fake) = Fake::default().on(&target, answer).client();
                    let action = action.clone();
                    async move { (client.act(&guest(kind), &action).await, fake.log().len()) }
                };
                assert_eq!(outcome(data(json!(UPID))).await, (Ok(Some(UPID.parse().unwrap())), 1), "{target}");
                assert_eq!(outcome(data(json!(null))).await, (Ok(None), 1), "{target}");
                for (answer, told) in [
                    (refusal(403, "Permission check failed"), "permission"),
                    (refusal(500, "VM is locked (backup)"), "locked"),
                    (refusal(596, "Connection timed out"), "undetermined"),
                    (maybe_applied(), "undetermined"),
                ] {
                    let (result, sent) = outcome(answer).await;
                    assert_eq!((result.unwrap_err().kind(), sent), (told, 1), "{target}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_guest_is_made_by_one_call() {
        for (kind, path) in [(GuestKind::Qemu, "/nodes/a/qemu"), (GuestKind::Lxc, "/nodes/a/lxc")] {
            let (client, fake) = Fake::default().on(&format!("POST {path}"), data(json!(UPID))).client();
            let made = client.create(kind, "a", Vmid::new(101).unwrap(), pairs("onboot")).await;
            assert_eq!((made, fake.log().len()), (Ok(Some(UPID.parse().unwrap())), 1));
            for release in [8, 9] {
                let found = calls::find(release, "POST", path).unwrap();
                assert!(["vmid", "onboot", "start", "pool"].iter().all(|name| knows(&found, name)), "{release} {path}");
                // The call itself looks at what the options need.
                assert_eq!(found.call.permission, Some(Rule::All));
            }
        }
    }
}
