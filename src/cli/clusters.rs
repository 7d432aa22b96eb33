//! `clusters list` and `clusters check`.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::arguments::Clusters;
use super::environment;
use super::failure::Failure;
use super::output::{self, Format};
use super::plan::{check_outputs, readers};
use super::terminal::Terminal;
use crate::client::{MultiClusterClient, tls};
use crate::clusters::{Access, ClusterSettings, Registry, Tls};
use crate::gather::health;
use crate::live::{Health, HealthStatus};
use crate::report::clusters_text;
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
            let mut answered = false;
            for endpoint in &settings.endpoints {
                match tls::shown_fingerprint(endpoint, WAIT).await {
                    Ok(fingerprint) => {
                        answered = true;
                        let shown = tls::print_fingerprint(&fingerprint);
                        output::stdout(&format!(
                            "{endpoint} shows a certificate with the SHA-256 fingerprint\n  {shown}\n\
                             If it is the one that the node itself shows, trust it with this line in .env:\n  \
                             {variable}FINGERPRINT={shown}\n"
                        ))?;
                    }
                    Err(why) => terminal.say(&format!("{endpoint}: {why}\n")),
                }
            }
            Ok(u8::from(!answered))
        }
        Clusters::Check { cluster, document } => {
            check_outputs(&document.output)?;
            let registry = environment::registry(&variables).map_err(Failure::problems)?;
            if let Some(unknown) = cluster.iter().find(|name| registry.get(name).is_none()) {
                return Err(not_found(unknown, &registry));
            }
            let chosen = |settings: &&ClusterSettings| cluster.is_empty() || cluster.contains(&settings.name);
            let multi = MultiClusterClient::connect(&registry, environment::ca_file);
            let readers = readers(&multi);
            let mut running = Vec::new();
            for settings in registry.clusters.iter().filter(chosen) {
                let (name, reader) = (settings.name.clone(), readers.get(&settings.name).cloned());
                running.push(tokio::spawn(async move {
                    match reader {
                        Some(Ok(reader)) => health::check(reader.as_ref()).await,
                        Some(Err(why)) => Health::offline(&name, why),
                        None => Health::offline(&name, "it is not configured".to_owned()),
                    }
                }));
            }
            let mut checked = Vec::new();
            for task in running {
                checked.push(task.await.map_err(anyhow::Error::from)?);
            }
            let all_online = checked.iter().all(|health| health.status == HealthStatus::Online);
            output::write(&document.output, |format, to_screen| match format {
                Format::Json => Ok(serde_json::to_string_pretty(&checked)?),
                Format::Text => {
                    Ok(clusters_text::check(&checked, if to_screen { terminal.out } else { terminal.file() }))
                }
            })?;
            Ok(u8::from(!all_online))
        }
    }
}

/// How long a server may take to show its certificate.
const WAIT: Duration = Duration::from_secs(10);

fn not_found(name: &str, registry: &Registry) -> Failure {
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
