//! The cluster behind the client's transport, in the same process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, IncomingRequest, Millis};
use super::exchange::Exchange;
use crate::pve::http::{Request, Response, SendError, Sending, Transport};

/// A cluster that several transports and the tests share.
pub type SharedCluster = Arc<Mutex<Cluster>>;

/// Locks a shared cluster; one whose owner panicked is taken as it is.
pub fn lock(cluster: &SharedCluster) -> MutexGuard<'_, Cluster> {
    cluster.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a transport shows with every request.
#[derive(Debug, Clone)]
enum Credential {
    /// The `Authorization` header of an API token.
    Token(String),
    /// The `Cookie` header of a ticket, and the token that goes with it.
    Ticket(String, String),
}

/// Sends requests to a simulated cluster, in tokio's time: under a paused clock nothing really waits.
#[derive(Debug, Clone)]
pub struct SimTransport {
    cluster: SharedCluster,
    credential: Credential,
    node: String,
    start: Instant,
    latency: Duration,
    deadline: Duration,
}

impl SimTransport {
    /// A transport with an API token, asking one node. Virtual time begins now.
    pub fn new(cluster: SharedCluster, token_id: &str, secret: &str, node: &str) -> Self {
        Self {
            cluster,
            credential: Credential::Token(format!("PVEAPIToken={token_id}={secret}")),
            node: node.to_owned(),
            start: Instant::now(),
            latency: Duration::ZERO,
            deadline: Duration::from_secs(60),
        }
    }

    /// A transport with the cluster's first token, asking its first node.
    pub fn first(cluster: SharedCluster) -> Self {
        let (id, secret, node) = {
            let guard = lock(&cluster);
            let token = guard.spec().tokens.first().map(|token| (token.id.clone(), token.secret.clone()));
            let (id, secret) = token.unwrap_or_default();
            (id, secret, guard.spec().nodes.first().map(|node| node.name.clone()).unwrap_or_default())
        };
        Self::new(cluster, &id, &secret, &node)
    }

    /// A transport with a user's ticket, asking one node; nothing where the login fails.
    ///
    /// The ticket is not renewed: after two hours of virtual time it is refused.
    #[must_use]
    pub fn by_password(cluster: SharedCluster, user: &str, password: &str, node: &str) -> Option<Self> {
        let request = IncomingRequest {
            method: "POST".to_owned(),
            path: "/access/ticket".to_owned(),
            params: vec![("username".to_owned(), user.to_owned()), ("password".to_owned(), password.to_owned())],
            node: node.to_owned(),
            ..IncomingRequest::default()
        };
        let reply = lock(&cluster).handle(&request, 0);
        let body: serde_json::Value = serde_json::from_str(&reply.response.body).ok()?;
        let (ticket, csrf) = (body["data"]["ticket"].as_str()?, body["data"]["CSRFPreventionToken"].as_str()?);
        let credential = Credential::Ticket(format!("PVEAuthCookie={ticket}"), csrf.to_owned());
        Some(Self { credential, ..Self::new(cluster, "", "", node) })
    }

    /// The same with time that every request takes on its way.
    #[must_use]
    pub const fn with_latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// The same with another time after which it gives up waiting; a minute, if nothing is said.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same with its time counted from another moment, so that several transports agree.
    #[must_use]
    pub const fn since(mut self, start: Instant) -> Self {
        self.start = start;
        self
    }

    fn now(&self) -> Millis {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Transport for SimTransport {
    fn send<'a>(&'a self, request: &'a Request) -> Sending<'a> {
        Box::pin(async move {
            tokio::time::timeout(self.deadline, self.exchange(request))
                .await
                .unwrap_or_else(|_| Err(SendError::MaybeApplied("no answer in time".to_owned())))
        })
    }
}

impl SimTransport {
    async fn exchange(&self, request: &Request) -> Result<Response, SendError> {
        sleep(self.latency / 2).await;
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let mut params = super::http::decode_form(query);
        params.extend(request.params.iter().cloned());
        let (authorization, cookie, csrf_token) = match &self.credential {
            Credential::Token(header) => (Some(header.clone()), None, None),
            Credential::Ticket(cookie, token) => (None, Some(cookie.clone()), Some(token.clone())),
        };
        let incoming = IncomingRequest {
            method: request.method.as_str().to_owned(),
            path: path.to_owned(),
            params,
            authorization,
            cookie,
            csrf_token,
            node: self.node.clone(),
        };
        let exchange = lock(&self.cluster).exchange(&incoming, self.now());
        match exchange {
            Exchange::Answered(reply) => {
                sleep(Duration::from_millis(reply.delay) + self.latency / 2).await;
                Ok(reply.response)
            }
            Exchange::Refused => Err(SendError::NeverSent("connection refused".to_owned())),
            Exchange::Lost(delay) => {
                sleep(Duration::from_millis(delay)).await;
                Err(SendError::MaybeApplied("connection closed before the answer".to_owned()))
            }
            Exchange::Hangs => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pve::http::{ApiError, Method, classify};
    use crate::sim::{Fault, FaultKind, world};

    async fn call(transport: &SimTransport, request: Request) -> Result<serde_json::Value, ApiError> {
        classify(request.method, transport.send(&request).await)
    }

    #[tokio::test(start_paused = true)]
    async fn a_clone_takes_virtual_time() {
        let cluster = Arc::new(Mutex::new(Cluster::new(world::builtin("staging"), 1)));
        let transport = SimTransport::first(Arc::clone(&cluster));
        let request =
            Request::new(Method::Post, "/nodes/stg1/qemu/9000/clone").with("newid", "101").with("name", "web");
        let upid = call(&transport, request).await.unwrap();
        let status = Request::get(format!("/nodes/stg1/tasks/{}/status", upid.as_str().unwrap()));
        assert_eq!(call(&transport, status.clone()).await.unwrap()["status"], "running");
        let config = Request::get("/nodes/stg1/qemu/101/config");
        assert!(matches!(call(&transport, config.clone()).await, Err(ApiError::NotFound(_))));
        sleep(Duration::from_millis(100)).await;
        assert_eq!(call(&transport, config.clone()).await.unwrap()["lock"], "clone");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(call(&transport, status).await.unwrap()["exitstatus"], "OK");
        let config = call(&transport, config).await.unwrap();
        assert_eq!(config["scsi0"], "local-lvm:vm-101-disk-0,size=8G");
        assert_eq!(config["name"], "web");
    }

    #[tokio::test(start_paused = true)]
    async fn faults_reach_the_client() {
        let cluster = Arc::new(Mutex::new(Cluster::new(world::builtin("staging"), 1)));
        let transport = SimTransport::first(Arc::clone(&cluster));
        lock(&cluster).inject(Fault::new("PUT", "*/config", FaultKind::AnswerLost).once_after(0));
        let request = Request::new(Method::Put, "/nodes/stg1/qemu/110/config").with("cores", "3");
        assert!(matches!(call(&transport, request).await, Err(ApiError::Undetermined(_))));
        let config = call(&transport, Request::get("/nodes/stg1/qemu/110/config")).await.unwrap();
        assert_eq!(config["cores"], json!(3));
        lock(&cluster).set_node_online("stg1", false);
        let refused = call(&transport, Request::get("/version")).await;
        assert!(matches!(refused, Err(ApiError::Connection(_))));
    }
}
