//! Tasks: lists, status, log, stopping.

use serde_json::{Value, json};

use super::{nothing, rows};
use crate::pve::value::Upid;
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::route::Call;
use crate::sim::task::{State, Task};

/// The task of the path, where the caller may have it.
fn find(cluster: &Cluster, call: &Call, privilege: &str) -> Result<usize, Failure> {
    let text = call.get("upid").unwrap_or_default();
    let upid: Upid = text.parse().map_err(|()| Failure::parameter("upid", "unable to parse worker upid"))?;
    let own = upid.user == call.subject.id;
    if !own {
        let path = format!("/nodes/{}", call.node);
        cluster.check_for(&call.subject, &path).need(&path, &[privilege])?;
    }
    let found = cluster.tasks.iter().position(|task| task.upid == upid && task.node == call.node);
    found.ok_or_else(|| Failure::parameter("upid", "no such task"))
}

pub(in crate::sim) fn task_index(_: &mut Cluster, _: &Call) -> Outcome {
    Ok(Answer::from(json!([{ "name": "log" }, { "name": "status" }])))
}

pub(in crate::sim) fn task_status(cluster: &mut Cluster, call: &Call) -> Outcome {
    let task = &cluster.tasks[find(cluster, call, "Sys.Audit")?];
    let mut row = task.row();
    row["status"] = json!(if task.is_running() { "running" } else { "stopped" });
    if !task.is_running() {
        row["exitstatus"] = json!(task.exit);
    }
    Ok(Answer::from(row))
}

pub(in crate::sim) fn task_log(cluster: &mut Cluster, call: &Call) -> Outcome {
    let task = &cluster.tasks[find(cluster, call, "Sys.Audit")?];
    let start = usize::try_from(call.number("start").unwrap_or(0)).unwrap_or(usize::MAX);
    let limit = match call.number("limit") {
        Some(0) => usize::MAX,
        Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        None => 50,
    };
    let lines = task.log_at(cluster.clock);
    let line = |(index, text): (usize, &String)| json!({ "n": index + 1, "t": text });
    let mut list: Vec<Value> = lines.iter().enumerate().skip(start).take(limit).map(line).collect();
    let total = lines.len();
    if total == 0 {
        list.push(json!({ "n": 1, "t": "no content" }));
    }
    Ok(Answer { total: Some(total.max(1)), ..Answer::from(json!(list)) })
}

pub(in crate::sim) fn task_stop(cluster: &mut Cluster, call: &Call) -> Outcome {
    let id = find(cluster, call, "Sys.Modify")?;
    cluster.abort_task(id);
    Ok(nothing())
}

/// True where the caller may see the task in a list.
fn visible(cluster: &Cluster, call: &Call, task: &Task) -> bool {
    let path = format!("/nodes/{}", task.node);
    task.subject.id == call.subject.id || cluster.check_for(&call.subject, &path).any(&path, &["Sys.Audit"])
}

pub(in crate::sim) fn node_tasks(cluster: &mut Cluster, call: &Call) -> Outcome {
    let source = call.get("source").unwrap_or("archive");
    let mut list = Vec::new();
    for task in cluster.tasks.iter().rev().filter(|task| task.node == call.node) {
        let by_source = match source {
            "archive" => !task.is_running(),
            "active" => task.is_running(),
            _ => true,
        };
        let by_id = call.get("vmid").is_none_or(|vmid| task.upid.id == vmid);
        let by_kind = call.get("typefilter").is_none_or(|kind| task.upid.kind == kind);
        let by_user = call.get("userfilter").is_none_or(|user| task.subject.id.contains(user));
        let by_time = call.number("since").is_none_or(|since| task.upid.starttime >= since)
            && call.number("until").is_none_or(|until| task.upid.starttime <= until);
        let by_end = !call.flag("errors") || (!task.is_running() && task.exit != "OK");
        if !(by_source && by_id && by_kind && by_user && by_time && by_end && visible(cluster, call, task)) {
            continue;
        }
        let mut row = task.row();
        if let State::Stopped(at) = task.state {
            row["endtime"] = json!(cluster.spec.epoch + at / 1000);
            row["status"] = json!(task.exit);
        } else {
            // The list of those that run names the whole caller and has no token of its own.
            row["status"] = json!("RUNNING");
            row["saved"] = json!("0");
            row["user"] = json!(task.subject.id);
            if let Some(object) = row.as_object_mut() {
                object.remove("tokenid");
            }
        }
        list.push(row);
    }
    let total = list.len();
    let start = usize::try_from(call.number("start").unwrap_or(0)).unwrap_or(usize::MAX);
    let limit = usize::try_from(call.number("limit").unwrap_or(50)).unwrap_or(usize::MAX);
    let page: Vec<Value> = list.into_iter().skip(start).take(limit).collect();
    Ok(Answer { total: Some(total), ..Answer::from(json!(page)) })
}

pub(in crate::sim) fn cluster_tasks(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut list = Vec::new();
    for task in cluster.tasks.iter().rev().filter(|task| visible(cluster, call, task)).take(25) {
        let mut row = task.row();
        if let Some(object) = row.as_object_mut() {
            object.remove("pid");
            object.remove("pstart");
        }
        row["saved"] = json!(if task.is_running() { "0" } else { "1" });
        if let State::Stopped(at) = task.state {
            row["endtime"] = json!(cluster.spec.epoch + at / 1000);
            row["status"] = json!(task.exit);
        }
        list.push(row);
    }
    Ok(rows(list))
}
