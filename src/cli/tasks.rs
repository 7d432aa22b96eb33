//! `tasks list` and `tasks log`.

use std::path::PathBuf;

use serde_json::json;

use super::arguments::Tasks;
use super::failure::Failure;
use super::guests::{chosen, failures, refused};
use super::output::{self, Format};
use super::plan::check_outputs;
use super::terminal::Terminal;
use super::{connect, environment};
use crate::client::{ClusterError, Discover, MultiClusterClient, Task};
use crate::pve::value::{TaskEnd, Upid};
use crate::report::style::columns;

/// `tasks`.
///
/// # Errors
///
/// Wrong settings, a cluster or task that is not there.
pub async fn run(command: &Tasks, env_files: &[PathBuf], terminal: &Terminal) -> Result<u8, Failure> {
    let variables = environment::variables(env_files).map_err(|error| Failure::Usage(format!("{error:#}")))?;
    let registry = environment::registry(&variables).map_err(Failure::problems)?;
    let clients = connect::clients(&registry, env_files, terminal.log);
    match command {
        Tasks::List { cluster, running, document } => {
            check_outputs(&document.output)?;
            let names = chosen(cluster, &registry)?;
            let mut found = clients.each_of(&names, |client| async move { client.recent_tasks().await }).await;
            for tasks in found.values_mut().filter_map(|result| result.as_mut().ok()) {
                tasks.retain(|task| !running || task.endtime.is_none());
                tasks.sort_by_key(|task| std::cmp::Reverse((task.upid.starttime, task.upid.to_string())));
            }
            output::write(&document.output, |format, _| match format {
                Format::Json => {
                    let of = |result: &Result<Vec<Task>, ClusterError>| match result {
                        Ok(tasks) => json!({ "tasks": tasks }),
                        Err(error) => json!({ "error": error.to_string() }),
                    };
                    let clusters: serde_json::Map<_, _> =
                        found.iter().map(|(name, result)| (name.clone(), of(result))).collect();
                    Ok(serde_json::to_string_pretty(&json!({ "clusters": clusters }))?)
                }
                Format::Text => {
                    let of_each = found.iter().filter_map(|(name, tasks)| Some((name, tasks.as_ref().ok()?)));
                    let rows = of_each.flat_map(|(name, tasks)| tasks.iter().map(move |task| row(name, task)));
                    let rows: Vec<Vec<String>> = rows.collect();
                    Ok(if rows.is_empty() { "No tasks that can be seen.\n".to_owned() } else { columns(&rows) })
                }
            })?;
            Ok(failures(&found, terminal))
        }
        Tasks::Log { upid, cluster, lines } => {
            let upid: Upid = upid.parse().map_err(|()| Failure::Usage(format!("`{upid}` is no task id (UPID:…)")))?;
            let names = chosen(cluster.as_slice(), &registry)?;
            let owner = owner(&clients, &names, &upid).await?;
            let client = clients.get(&owner).map_err(refused)?;
            let log = client.task_log(&upid, *lines as usize).await;
            let log = log.map_err(|error| refused(ClusterError::of_call(&owner, error)))?;
            output::stdout(&log.iter().map(|line| format!("{line}\n")).collect::<String>())?;
            Ok(0)
        }
    }
}

/// The cluster that has the node of a task.
async fn owner(clients: &MultiClusterClient, names: &[&str], upid: &Upid) -> Result<String, Failure> {
    if let [only] = names {
        return Ok((*only).to_owned());
    }
    let found = clients.each_of(names, |client| async move { client.nodes().await }).await;
    let has = |result: &Result<Vec<crate::client::Node>, ClusterError>| {
        result.as_ref().is_ok_and(|nodes| nodes.iter().any(|node| node.name == upid.node))
    };
    let owners: Vec<String> = found.iter().filter(|(_, nodes)| has(nodes)).map(|(name, _)| name.clone()).collect();
    match owners.as_slice() {
        [only] => Ok(only.clone()),
        [] => match found.into_values().find_map(Result::err) {
            Some(error) => Err(refused(error)),
            None => Err(Failure::Usage(format!("no cluster has the node {}", upid.node))),
        },
        _ => {
            let resource = upid.to_string();
            Err(refused(ClusterError::AmbiguousClusterSelection { resource, candidates: owners }))
        }
    }
}

fn row(cluster: &str, task: &Task) -> Vec<String> {
    let end = match task.end() {
        None => "running".to_owned(),
        Some(TaskEnd::Ok) => "done".to_owned(),
        Some(TaskEnd::Warnings(count)) => format!("done, {}", crate::report::style::count(count as usize, "warning")),
        Some(TaskEnd::Failed(text)) => format!("failed: {text}"),
    };
    let seconds = task.endtime.map(|end| format!("{} s", end.saturating_sub(task.upid.starttime)));
    vec![
        cluster.to_owned(),
        task.upid.kind.clone(),
        if task.upid.id.is_empty() { "-".to_owned() } else { task.upid.id.clone() },
        task.upid.user.clone(),
        seconds.unwrap_or_else(|| "-".to_owned()),
        task.upid.to_string(),
        end,
    ]
}
