//! `guests list` and `guests show`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::json;

use super::arguments::Guests;
use super::clusters::not_found;
use super::failure::Failure;
use super::output::{self, Format};
use super::plan::check_outputs;
use super::terminal::Terminal;
use super::{connect, environment};
use crate::client::{ClusterError, Discover, Guest, MultiClusterClient, Target};
use crate::clusters::Registry;
use crate::pve::value::Size;
use crate::report::style::columns;

/// `guests`.
///
/// # Errors
///
/// Wrong settings, a cluster or guest that is not there.
pub async fn run(command: &Guests, env_files: &[PathBuf], terminal: &Terminal) -> Result<u8, Failure> {
    let variables = environment::variables(env_files).map_err(|error| Failure::Usage(format!("{error:#}")))?;
    let registry = environment::registry(&variables).map_err(Failure::problems)?;
    let clients = connect::clients(&registry, env_files, terminal.log);
    match command {
        Guests::List { cluster, document } => {
            check_outputs(&document.output)?;
            let names = chosen(cluster, &registry)?;
            let found = clients.each_of(&names, |client| async move { client.guests().await }).await;
            let rows: Vec<(&str, &Guest)> = found
                .iter()
                .filter_map(|(name, guests)| Some((name.as_str(), guests.as_ref().ok()?)))
                .flat_map(|(name, guests)| guests.iter().map(move |guest| (name, guest)))
                .collect();
            output::write(&document.output, |format, _| match format {
                Format::Json => {
                    let of = |result: &Result<Vec<Guest>, ClusterError>| match result {
                        Ok(guests) => json!({ "guests": guests }),
                        Err(error) => json!({ "error": error.to_string() }),
                    };
                    let clusters: serde_json::Map<_, _> =
                        found.iter().map(|(name, result)| (name.clone(), of(result))).collect();
                    Ok(serde_json::to_string_pretty(&json!({ "clusters": clusters }))?)
                }
                Format::Text => Ok(list(&rows)),
            })?;
            Ok(failures(&found, terminal))
        }
        Guests::Show { guest, document } => {
            check_outputs(&document.output)?;
            let (cluster, guest) = match guest.split_once('/') {
                Some((cluster, guest)) => (Some(cluster), guest),
                None => (None, guest.as_str()),
            };
            let target = match guest.parse() {
                Ok(vmid) => Target { cluster, vmid: Some(vmid), name: None },
                Err(()) => Target { cluster, vmid: None, name: Some(guest) },
            };
            let shown = show(&clients, &target).await.map_err(refused)?;
            output::write(&document.output, |format, _| match format {
                Format::Json => Ok(serde_json::to_string_pretty(&shown)?),
                Format::Text => Ok(details(&shown)),
            })?;
            Ok(0)
        }
    }
}

/// What went wrong with a cluster, as this command's end: a name that leads nowhere is wrong input.
pub fn refused(error: ClusterError) -> Failure {
    match error {
        ClusterError::ClusterNotFound(_) | ClusterError::AmbiguousClusterSelection { .. } => {
            Failure::Usage(error.to_string())
        }
        error => Failure::Error(anyhow::anyhow!("{error}")),
    }
}

/// The clusters that were named, or all, in the order of the settings.
pub fn chosen<'a>(named: &[String], registry: &'a Registry) -> Result<Vec<&'a str>, Failure> {
    let mut meant = BTreeSet::new();
    for selector in named {
        match registry.meant(selector) {
            none if none.is_empty() => return Err(not_found(selector, registry)),
            some => meant.extend(some),
        }
    }
    let all = registry.clusters.iter().map(|settings| settings.name.as_str());
    Ok(all.filter(|name| named.is_empty() || meant.contains(name)).collect())
}

/// Says which clusters could not be read; the exit code.
pub fn failures<T>(found: &std::collections::BTreeMap<String, Result<T, ClusterError>>, terminal: &Terminal) -> u8 {
    let errors: Vec<&ClusterError> = found.values().filter_map(|result| result.as_ref().err()).collect();
    errors.iter().for_each(|error| terminal.say(&format!("error: {error}\n")));
    u8::from(!errors.is_empty())
}

fn list(rows: &[(&str, &Guest)]) -> String {
    if rows.is_empty() {
        return "No guests that can be seen.\n".to_owned();
    }
    let head = ["CLUSTER", "VMID", "KIND", "NAME", "NODE", "STATUS", "MEMORY", "POOL", "TAGS"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    for (cluster, guest) in rows {
        let mut status = guest.status.clone().unwrap_or_else(|| "unknown".to_owned());
        if guest.template {
            status = "template".to_owned();
        }
        status.extend(guest.lock.as_ref().map(|lock| format!(" ({lock})")));
        table.push(vec![
            (*cluster).to_owned(),
            guest.vmid.to_string(),
            guest.kind.noun().to_owned(),
            guest.name.clone().unwrap_or_else(|| "-".to_owned()),
            guest.node.clone(),
            status,
            guest.maxmem.map_or_else(|| "-".to_owned(), |bytes| Size(bytes).human()),
            guest.pool.clone().unwrap_or_else(|| "-".to_owned()),
            guest.tags.join(" "),
        ]);
    }
    columns(&table)
}

async fn show(clients: &MultiClusterClient, target: &Target<'_>) -> Result<serde_json::Value, ClusterError> {
    let (client, guest) = clients.find(target).await?;
    let config = client.config(&guest).await.map_err(|error| ClusterError::of_call(client.name(), error))?;
    Ok(json!({ "cluster": client.name(), "guest": guest, "config": config.options, "digest": config.digest }))
}

fn details(shown: &serde_json::Value) -> String {
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let guest = &shown["guest"];
    let kind = if guest["type"] == "qemu" { "VM" } else { "container" };
    let name = guest["name"].as_str().unwrap_or("without a name");
    let mut lines = format!(
        "{}/{name}  {kind} {} on {}, {}\n",
        text(&shown["cluster"]),
        guest["vmid"],
        text(&guest["node"]),
        guest["status"].as_str().unwrap_or("unknown"),
    );
    let options = shown["config"].as_object().into_iter().flatten();
    let rows: Vec<Vec<String>> = options
        .map(|(name, value)| vec![format!("  {name}"), text(value).trim_end().replace('\n', "\n    ")])
        .collect();
    lines.push_str(&columns(&rows));
    lines
}
