//! `clusters list` and `clusters check`.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::arguments::Clusters;
use super::failure::Failure;
use super::guests::chosen;
use super::inputs::{self, SettingsFrom};
use super::output::{self, Format};
use super::plan::check_outputs;
use super::terminal::Terminal;
use super::{connect, environment};
use crate::client::{ClusterClient, ClusterError, ReadOnlyClient, tls};
use crate::clusters::{Access, ClusterSettings, Registry, Tls};
use crate::desired::DesiredCluster;
use crate::gather::{self, health};
use crate::live::{EndpointHealth, Health, HealthStatus};
use crate::plan::privileges;
use crate::report::clusters_text::{self, Checked};
use crate::report::style::{Ink, Layout, wrap};

/// `clusters`.
///
/// # Errors
///
/// Wrong settings.
pub async fn run(command: &Clusters, env_files: &[PathBuf], terminal: &Terminal) -> Result<u8, Failure> {
    let variables = environment::variables(env_files).map_err(|error| Failure::Usage(format!("{error:#}")))?;
    match command {
        Clusters::List { document } => {
            check_outputs(&document.output)?;
            let registry = environment::registry_offline(&variables).map_err(Failure::problems)?;
            output::write(&document.output, |format, to_screen| match format {
                Format::Json => Ok(serde_json::to_string_pretty(&described(&registry))?),
                Format::Text => Ok(list(&registry, if to_screen { terminal.out } else { terminal.file() })),
            })?;
            Ok(0)
        }
        Clusters::Trust { name } => {
            let registry = environment::registry_offline(&variables).map_err(Failure::problems)?;
            let settings = registry.get(name).ok_or_else(|| not_found(name, &registry))?;
            let variable = if registry.multi { format!("PROXMOX_CLUSTER_{name}_") } else { "PROXMOX_".to_owned() };
            let mut pins: Vec<String> = Vec::new();
            for endpoint in &settings.endpoints {
                match tls::shown_fingerprint(endpoint, WAIT).await {
                    Ok(fingerprint) => {
                        let shown = tls::print_fingerprint(&fingerprint);
                        output::stdout(&format!(
                            "{endpoint} shows a certificate with the SHA-256 fingerprint\n  {shown}\n"
                        ))?;
                        if !pins.contains(&shown) {
                            pins.push(shown);
                        }
                    }
                    Err(why) => terminal.say(&format!("{endpoint}: {why}\n")),
                }
            }
            if !pins.is_empty() {
                let (it, shows) = if pins.len() == 1 {
                    ("it is the one", "node itself shows, trust it")
                } else {
                    ("they are the ones", "nodes themselves show, trust them")
                };
                output::stdout(&format!(
                    "If {it} that the {shows} with this line in .env:\n  {variable}FINGERPRINT={}\n",
                    pins.join(",")
                ))?;
            }
            Ok(u8::from(pins.is_empty()))
        }
        Clusters::Check { manifest, cluster, document } => {
            check_outputs(&document.output)?;
            let registry = environment::registry(&variables).map_err(Failure::problems)?;
            let names = chosen(cluster, &registry)?;
            let desired = match manifest {
                Some(path) => Some(inputs::load(path, &[], env_files, SettingsFrom::Variables)?.desired),
                None => None,
            };
            let clients = connect::clients(&registry, env_files, terminal.log);
            let mut running = tokio::task::JoinSet::new();
            for settings in registry.clusters.iter().filter(|settings| names.contains(&settings.name.as_str())) {
                let (settings, client) = (settings.clone(), clients.get(&settings.name));
                let wanted = desired.as_ref().map(|desired| desired.clusters.get(&settings.name).cloned());
                running.spawn(async move { check(&settings, client, wanted).await });
            }
            let mut checked = Vec::new();
            while let Some(ended) = running.join_next().await {
                checked.push(ended.map_err(anyhow::Error::from)?);
            }
            checked.sort_by_key(|checked| names.iter().position(|name| *name == checked.health.cluster));
            let is_well = checked.iter().all(Checked::is_well);
            output::write(&document.output, |format, to_screen| match format {
                Format::Json => Ok(serde_json::to_string_pretty(&checked)?),
                Format::Text => {
                    let layout = if to_screen { terminal.out } else { terminal.file() };
                    Ok(checked.iter().map(|checked| clusters_text::check(checked, layout)).collect())
                }
            })?;
            Ok(u8::from(!is_well))
        }
    }
}

/// Asks one cluster everything.
async fn check(
    settings: &ClusterSettings,
    client: Result<ClusterClient, ClusterError>,
    wanted: Option<Option<DesiredCluster>>,
) -> Checked {
    let endpoints = endpoints(settings).await;
    let mut lacking = None;
    let mut health = match client {
        Err(error) => Health::offline(&settings.name, error.to_string()),
        Ok(client) => {
            let reader = ReadOnlyClient::from(client);
            let mut health = health::check(&reader).await;
            health::check_clock(&reader, &mut health, health::now()).await;
            if let Some(wanted) = wanted {
                let permissions = gather::permissions(&reader).await;
                if let Some(why) = permissions.unread() {
                    health.problems.push(format!("the privileges could not be read: {why}"));
                    health.degrade();
                }
                // A cluster that the manifest does not name needs nothing.
                lacking = match wanted {
                    Some(cluster) => privileges::lacking(&cluster, &permissions),
                    None => Some(Vec::new()),
                };
            }
            health
        }
    };
    for endpoint in endpoints.iter().filter_map(|endpoint| Some((&endpoint.url, endpoint.problem.as_ref()?))) {
        // What is wrong with the only address was said already.
        if settings.endpoints.len() > 1 && health.status != HealthStatus::Offline {
            health.problems.push(format!("{}: {}", endpoint.0, endpoint.1));
            health.degrade();
        }
    }
    health.endpoints = endpoints;
    let token = settings.credentials.token.as_ref().map(|token| format!("token {}", token.id));
    let login = settings.credentials.login.as_ref().map(|login| format!("user {}", login.username));
    health.credential = Some([token, login].into_iter().flatten().collect::<Vec<_>>().join(", "));
    Checked { health, lacking }
}

/// Tries every address: is anybody there, and is the certificate the right one.
async fn endpoints(settings: &ClusterSettings) -> Vec<EndpointHealth> {
    let ca_pem = match &settings.tls {
        Tls::CaFile(path) => environment::ca_file(path).ok(),
        _ => None,
    };
    let word = match settings.tls {
        Tls::System | Tls::CaFile(_) => "trusted",
        Tls::Fingerprint(_) => "pinned",
        Tls::Unverified => "unchecked",
    };
    let mut found = Vec::new();
    for url in &settings.endpoints {
        let mut health = EndpointHealth { url: url.clone(), certificate: None, fingerprint: None, problem: None };
        // On this machine it may be without TLS.
        if url.starts_with("https://") {
            match tls::verdict(url, &settings.tls, ca_pem.as_deref(), WAIT).await {
                Ok(shown) => {
                    health.certificate = Some(word.to_owned());
                    health.fingerprint = Some(tls::print_fingerprint(&shown));
                }
                Err(why) => health.problem = Some(why),
            }
        }
        found.push(health);
    }
    found
}

/// How long a server may take to show its certificate.
const WAIT: Duration = Duration::from_secs(10);

/// A name that no cluster bears.
pub fn not_found(name: &str, registry: &Registry) -> Failure {
    let known: Vec<&str> = registry.clusters.iter().map(|settings| settings.name.as_str()).collect();
    Failure::Usage(format!("Cluster not found: {name} (configured: {})", known.join(", ")))
}

/// The settings without anything secret.
fn described(registry: &Registry) -> serde_json::Value {
    let cluster = |settings: &ClusterSettings| {
        json!({
            "cluster_name": settings.name,
            "api_urls": settings.endpoints,
            "token_id": settings.credentials.token.as_ref().map(|token| &token.id),
            "username": settings.credentials.login.as_ref().map(|login| &login.username),
            "tls": match &settings.tls {
                Tls::System => "system",
                Tls::CaFile(_) => "ca-file",
                Tls::Fingerprint(_) => "fingerprint",
                Tls::Unverified => "unverified",
            },
            "default_node": settings.default_node,
            "default_storage": settings.default_storage,
            "default_bridge": settings.default_bridge,
            "region": settings.region,
            "tier": settings.tier,
            "access": match settings.access { Access::Read => "read", Access::Apply => "apply" },
            "default": registry.default_cluster() == settings.name,
        })
    };
    json!(registry.clusters.iter().map(cluster).collect::<Vec<_>>())
}

/// The configured clusters, one a line.
fn list(registry: &Registry, layout: Layout) -> String {
    let width = registry.clusters.iter().map(|cluster| cluster.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for cluster in &registry.clusters {
        let mut parts = vec![cluster.endpoints.join(", ")];
        parts.extend(cluster.credentials.token.as_ref().map(|token| format!("token {}", token.id)));
        parts.extend(cluster.credentials.login.as_ref().map(|login| format!("user {}", login.username)));
        parts.push(match &cluster.tls {
            Tls::System => "certificate checked".to_owned(),
            Tls::CaFile(path) => format!("certificate checked with {path}"),
            Tls::Fingerprint(_) => "certificate pinned".to_owned(),
            Tls::Unverified => "certificate NOT checked".to_owned(),
        });
        if cluster.access == Access::Read {
            parts.push("read only".to_owned());
        }
        parts.extend([&cluster.region, &cluster.tier].into_iter().flatten().cloned());
        if registry.default_cluster() == cluster.name {
            parts.push("default".to_owned());
        }
        let name = layout.paint(Ink::Strong, &format!("{:<width$}", cluster.name));
        text.push_str(&format!("{name}  {}\n", wrap(&parts.join("; "), layout.width, width + 2, width + 2)));
    }
    text
}
