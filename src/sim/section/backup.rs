//! Backup jobs.

use serde_json::{Map, Value, json};

use super::calendar::Event;
use super::{Kind, Layout, Section, Values};
use crate::pve::value::split_list;
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::api::nothing;
use crate::sim::cluster::Cluster;
use crate::sim::route::Call;

/// Other types of jobs stand in this file too; no call here is about them.
static LAYOUT: Layout = Layout {
    file: "jobs.cfg",
    bare: false,
    kinds: &[Kind {
        name: "vzdump",
        properties: "schedule+ enabled# comment repeat-missed# vmid node all# stdexcludes# compress pigz# zstd# \
            quiet# mode exclude exclude-path* mailto mailnotification notification-mode notification-policy \
            notification-target tmpdir dumpdir script storage stop# bwlimit# ionice# performance fleecing lockwait# \
            stopwait# maxfiles# prune-backups remove# pool notes-template protected# pbs-change-detection-mode",
    }],
};

/// Options that are texts of several parts, and come back taken apart; with what a part without name is called.
const STRUCTURED: &[(&str, &str)] = &[("performance", ""), ("fleecing", "enabled"), ("prune-backups", "")];

fn row(job: &Section) -> Map<String, Value> {
    let mut row = job.kind.json(&job.values);
    for (name, default) in STRUCTURED {
        if let Some(text) = job.get(name) {
            let parts = text.split(',').filter(|part| !part.is_empty());
            let pairs = parts.map(|part| part.split_once('=').unwrap_or((default, part)));
            let number = |text: &str| text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number));
            let object: Map<String, Value> = pairs.map(|(key, value)| (key.to_owned(), number(value))).collect();
            row.insert((*name).to_owned(), Value::Object(object));
        }
    }
    row.entry("enabled").or_insert_with(|| json!(1));
    row.insert("id".to_owned(), json!(job.id));
    row.insert("type".to_owned(), json!("vzdump"));
    row
}

/// `GET /cluster/backup`.
pub(in crate::sim) fn list(cluster: &mut Cluster, _: &Call) -> Outcome {
    let now = cluster.unix_time();
    let jobs = cluster.sections(&LAYOUT);
    let rows = jobs.list.iter().map(|job| {
        let mut row = row(job);
        if let Some(next) = job.get("schedule").and_then(Event::parse).and_then(|event| event.next_after(now)) {
            row.insert("next-run".to_owned(), json!(next));
        }
        Value::Object(row)
    });
    Ok(Answer::from(rows.collect::<Value>()))
}

/// `GET /cluster/backup/{id}`.
pub(in crate::sim) fn read(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (jobs, id) = (cluster.sections(&LAYOUT), call.get("id").unwrap_or_default());
    match jobs.get(id) {
        Some(job) => Ok(Answer::from(Value::Object(row(job)))),
        None => Err(Failure::parameter("id", format!("No such job '{id}'"))),
    }
}

/// Only root may say where files go and what runs; some options and storages need a privilege.
fn permit(cluster: &Cluster, call: &Call, names: &[&str]) -> Result<(), Failure> {
    if call.subject.is_root() {
        return Ok(());
    }
    if let Some(name) = ["tmpdir", "dumpdir", "script", "job-id"].into_iter().find(|name| names.contains(name)) {
        return Err(Failure::parameter(name, "Only root may set this option."));
    }
    if ["bwlimit", "ionice", "performance"].iter().any(|name| names.contains(name)) {
        cluster.check_for(&call.subject, "/").need("/", &["Sys.Modify"])?;
    }
    let on = |storage: &str, privilege: &str| {
        let path = format!("/storage/{storage}");
        cluster.check_for(&call.subject, &path).need(&path, &[privilege])
    };
    let fleecing = call.get("fleecing").and_then(|text| crate::sim::guest::sub_key(text, "storage"));
    fleecing.map_or(Ok(()), |storage| on(storage, "Datastore.AllocateSpace"))
}

fn permit_storage(cluster: &Cluster, call: &Call, storage: Option<&str>) -> Result<(), Failure> {
    let Some(storage) = storage.filter(|_| !call.subject.is_root()) else { return Ok(()) };
    let path = format!("/storage/{storage}");
    cluster.check_for(&call.subject, &path).need(&path, &["Datastore.Allocate"])
}

fn permit_pool(cluster: &Cluster, call: &Call) -> Result<(), Failure> {
    let Some(pool) = call.get("pool").filter(|pool| !pool.is_empty()) else { return Ok(()) };
    if !cluster.pools.contains_key(pool) {
        return Err(Failure::die(format!("pool '{pool}' does not exist")));
    }
    let path = format!("/pool/{pool}");
    cluster.check_for(&call.subject, &path).need(&path, &["VM.Backup"])
}

/// The options of the job among the parameters; the old way to say when it runs becomes the new one.
fn given(call: &Call, required: bool) -> Result<Values, Failure> {
    let own = |name: &str| !matches!(name, "id" | "delete" | "starttime" | "dow");
    let mut values: Values =
        call.params.iter().filter(|(name, _)| own(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
    if let Some(paths) = call.list("exclude-path") {
        values.insert("exclude-path".to_owned(), paths.join("\n"));
    }
    match (call.get("schedule"), call.get("starttime")) {
        (Some(_), Some(_)) => {
            return Err(Failure::parameter("starttime", "'starttime' and 'schedule' cannot both be set"));
        }
        (Some(schedule), None) if Event::parse(schedule).is_none() => {
            let text =
                format!("invalid format - invalid calendar event '{schedule}' - unable to parse calendar event\n");
            return Err(Failure::parameter("schedule", text));
        }
        (None, None) if required => {
            return Err(Failure::parameter("schedule", "neither 'starttime' nor 'schedule' were set"));
        }
        (None, Some(start)) => {
            let days = split_list(call.get("dow").unwrap_or_default()).collect::<Vec<_>>().join(",");
            let every_day = days.is_empty() || days == "mon,tue,wed,thu,fri,sat,sun";
            let schedule = if every_day { start.to_owned() } else { format!("{days} {start}") };
            values.insert("schedule".to_owned(), schedule);
        }
        _ => {}
    }
    Ok(values)
}

/// What a job may say together.
fn verify(values: &mut Values, complete: bool) -> Result<(), Failure> {
    let is = |values: &Values, name: &str| values.get(name).is_some_and(|value| !matches!(value.as_str(), "" | "0"));
    let refuse = |name: &str, text: &str| Err(Failure::parameter(name, text));
    for name in ["all", "exclude", "pool"] {
        if is(values, name) && is(values, "vmid") {
            return refuse(name, "option conflicts with option 'vmid'");
        }
    }
    if values.contains_key("exclude") && !is(values, "pool") {
        values.insert("all".to_owned(), "1".to_owned());
    }
    let something = ["all", "stop", "pool", "vmid"].iter().any(|name| is(values, name));
    if complete && !something { refuse("vmid", "property is missing") } else { Ok(()) }
}

/// What goes wrong below the lock of the file comes back as a text, whatever it was.
fn flat(failure: Failure) -> Failure {
    match failure {
        Failure::Parameters(errors) => {
            let lines: String = errors.iter().map(|(name, error)| format!("\n{name}: {error}")).collect();
            Failure::Die(format!("400 Parameter verification failed.{lines}"))
        }
        other => other,
    }
}

/// `POST /cluster/backup`.
pub(in crate::sim) fn create(cluster: &mut Cluster, call: &Call) -> Outcome {
    let names: Vec<&str> = call.params.keys().map(String::as_str).collect();
    permit(cluster, call, &names)?;
    permit_storage(cluster, call, call.get("storage").or(Some("local")).filter(|_| call.get("dumpdir").is_none()))?;
    permit_pool(cluster, call)?;
    let mut given = given(call, true)?;
    given.entry("enabled".to_owned()).or_insert_with(|| "1".to_owned());
    let id = call.get("id").map_or_else(|| cluster.chance.uuid(), str::to_owned);
    let (kind, mut jobs) = (LAYOUT.kind("vzdump")?, cluster.sections(&LAYOUT));
    if jobs.get(&id).is_some() {
        return Err(Failure::die(format!("Job '{id}' already exists")));
    }
    verify(&mut given, true).map_err(flat)?;
    kind.check(&given, true)?;
    jobs.push(&id, kind, given);
    cluster.save(&jobs);
    Ok(nothing())
}

/// `PUT /cluster/backup/{id}`.
pub(in crate::sim) fn update(cluster: &mut Cluster, call: &Call) -> Outcome {
    let delete: Vec<&str> = split_list(call.get("delete").unwrap_or_default()).collect();
    let mut names: Vec<&str> = call.params.keys().map(String::as_str).collect();
    names.extend(&delete);
    permit(cluster, call, &names)?;
    let storage = call.get("storage").or_else(|| delete.contains(&"storage").then_some("local"));
    permit_storage(cluster, call, storage)?;
    permit_pool(cluster, call)?;
    let given = given(call, false)?;
    change(cluster, call, given, &delete).map_err(flat)
}

fn change(cluster: &mut Cluster, call: &Call, mut given: Values, delete: &[&str]) -> Outcome {
    let (mut jobs, id) = (cluster.sections(&LAYOUT), call.get("id").unwrap_or_default());
    if given.is_empty() && delete.is_empty() {
        return Err(Failure::die("no options specified"));
    }
    verify(&mut given, false)?;
    LAYOUT.kind("vzdump")?.check(&given, false)?;
    let Some(job) = jobs.get_mut(id) else { return Err(Failure::die("no such vzdump job")) };
    if !call.subject.is_root() && job.get("dumpdir").is_some() {
        let text =
            "only root@pam may edit jobs with a 'dumpdir' option. at /usr/share/perl5/PVE/API2/Backup.pm line 100.";
        return Err(Failure::die(text));
    }
    permit_storage(cluster, call, job.get("storage").or(Some("local")))?;
    for name in delete {
        if !job.kind.knows(name) || matches!(*name, "schedule" | "enabled") {
            return Err(Failure::parameter("delete", format!("unknown option '{name}'")));
        }
        job.values.remove(*name);
    }
    let by_id = given.contains_key("vmid");
    let by_all = given.get("all").is_some_and(|flag| flag == "1");
    job.values.extend(given);
    let values = &mut job.values;
    if values.contains_key("exclude") && !values.contains_key("pool") {
        values.insert("all".to_owned(), "1".to_owned());
    }
    let drop: &[&str] = match () {
        () if by_id => &["all", "exclude", "pool"],
        () if by_all => &["vmid", "pool"],
        () if values.get("pool").is_some_and(|pool| !pool.is_empty()) => &["vmid", "all", "exclude"],
        () => &[],
    };
    for name in drop {
        values.remove(*name);
    }
    verify(values, true)?;
    cluster.save(&jobs);
    Ok(nothing())
}

/// `DELETE /cluster/backup/{id}`.
pub(in crate::sim) fn delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (mut jobs, id) = (cluster.sections(&LAYOUT), call.get("id").unwrap_or_default());
    if !jobs.remove(id) {
        return Err(flat(Failure::parameter("id", format!("No such job '{id}'"))));
    }
    cluster.save(&jobs);
    Ok(nothing())
}

/// Takes a guest out of every job; a job that names no other goes.
pub(in crate::sim) fn purge(cluster: &mut Cluster, vmid: u32) {
    let mut jobs = cluster.sections(&LAYOUT);
    let vmid = vmid.to_string();
    jobs.list.retain_mut(|job| {
        let (name, only) = if job.get("vmid").is_some() { ("vmid", true) } else { ("exclude", false) };
        let Some(list) = job.values.get(name) else { return true };
        let left: Vec<&str> = split_list(list).filter(|id| *id != vmid).collect();
        let left = left.join(",");
        if !left.is_empty() {
            job.values.insert(name.to_owned(), left);
            return true;
        }
        job.values.remove(name);
        !only
    });
    if cluster.files.contains_key(LAYOUT.file) {
        cluster.save(&jobs);
    }
}
