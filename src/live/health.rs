//! How a cluster is.

use serde::{Deserialize, Serialize};

/// The state of a cluster in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Everything that was asked was answered, every node is there.
    Online,
    /// It answers, and something is not as it should be: see [`Health::problems`].
    Degraded,
    /// It answers, and does not take the credentials.
    Unauthorized,
    /// It does not answer, or is not to be trusted.
    Offline,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeHealth {
    /// Its name.
    pub name: String,
    /// As the cluster says.
    pub online: bool,
}

/// One address of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointHealth {
    /// `https://host:8006`.
    pub url: String,
    /// What was found: `trusted`, `pinned`, `unchecked`, or nothing where it cannot be used.
    pub certificate: Option<String>,
    /// SHA-256 of the certificate that was shown.
    pub fingerprint: Option<String>,
    /// Why it cannot be used.
    pub problem: Option<String>,
}

/// How a cluster is, and what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Its name in our settings.
    pub cluster: String,
    /// In one word.
    pub status: HealthStatus,
    /// `9.1.9`.
    pub version: Option<String>,
    /// Whether more than half of the votes are there; a standalone node does not say.
    pub quorate: Option<bool>,
    /// Its nodes, sorted by name.
    pub nodes: Vec<NodeHealth>,
    /// VMs that the token sees.
    pub vms: Option<usize>,
    /// Containers that the token sees.
    pub containers: Option<usize>,
    /// Storages that the token sees, a shared one once.
    pub storages: Option<usize>,
    /// Its addresses, where they were tried one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointHealth>,
    /// As whom it was asked, `token fleet@pve!pvefleet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Seconds by which its clock is ahead of ours, where it may be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead: Option<i64>,
    /// What is not as it should be, in words.
    pub problems: Vec<String>,
    /// The kind of the first error: `connection`, `permission`, …
    pub error_kind: Option<String>,
    /// The first error in words.
    pub error: Option<String>,
}

impl Health {
    /// A cluster that is well, as far as is known.
    pub fn online(cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            status: HealthStatus::Online,
            version: None,
            quorate: None,
            nodes: Vec::new(),
            vms: None,
            containers: None,
            storages: None,
            endpoints: Vec::new(),
            credential: None,
            clock_ahead: None,
            problems: Vec::new(),
            error_kind: None,
            error: None,
        }
    }

    /// Whether it can be written to; if not, why.
    ///
    /// # Errors
    ///
    /// It does not answer, does not know us, or has no quorum.
    pub fn is_writable(&self) -> Result<(), String> {
        let is_cut_off = matches!(self.status, HealthStatus::Offline | HealthStatus::Unauthorized);
        match self.quorate {
            _ if is_cut_off => Err(self.error.clone().unwrap_or_else(|| self.problems.join("; "))),
            Some(false) => Err("the cluster has no quorum: nothing can be changed".to_owned()),
            _ => Ok(()),
        }
    }

    /// Something is not as it should be.
    pub fn degrade(&mut self) {
        if self.status == HealthStatus::Online {
            self.status = HealthStatus::Degraded;
        }
    }

    /// A cluster that could not even be asked.
    pub fn offline(cluster: &str, why: String) -> Self {
        let error_kind = Some("connection".to_owned());
        let (status, problems) = (HealthStatus::Offline, vec![why.clone()]);
        Self { status, problems, error_kind, error: Some(why), ..Self::online(cluster) }
    }
}
