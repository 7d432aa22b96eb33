//! Changing a VM's options.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{What, Work, apply, drive, permit};
use crate::pve::property;
use crate::pve::schema::{ValueType, catalog, split_index};
use crate::pve::value::{GuestKind, split_list};
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::config::{Config, is_true};
use crate::sim::guest::{check_lock, default_of, is_drive, is_unused, sub_key, volume_of};
use crate::sim::route::Call;
use crate::sim::task::Work as TaskWork;
use crate::sim::volume;

/// What is to be changed.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(in crate::sim) struct Change {
    set: BTreeMap<String, String>,
    delete: Vec<String>,
    revert: Vec<String>,
    force: bool,
    protected: bool,
    /// What the file must still be when the worker has the lock.
    digest: Option<String>,
    skiplock: bool,
}

impl Change {
    pub(super) const fn set(&self) -> &BTreeMap<String, String> {
        &self.set
    }

    /// That the file is the one the caller read, and that nothing locks the VM; under its lock file.
    fn check(&self, cluster: &Cluster, node: &str, vmid: u32) -> Result<(), Failure> {
        let config = &cluster.guest(GuestKind::Qemu, vmid, node)?.config;
        if self.digest.as_ref().is_some_and(|digest| *digest != config.digest()) {
            return Err(Failure::die("checksum mismatch (file change by other user?)"));
        }
        if self.skiplock { Ok(()) } else { check_lock(config) }
    }

    /// Setting one key.
    pub(super) fn setting(key: &str, value: String) -> Self {
        let set = BTreeMap::from([(key.to_owned(), value)]);
        let (delete, revert) = (Vec::new(), Vec::new());
        Self { set, delete, revert, force: false, protected: true, digest: None, skiplock: false }
    }
}

pub(in crate::sim) fn update(cluster: &mut Cluster, call: &Call) -> Outcome {
    let vmid = call.vmid();
    let change = prepare(cluster, call)?;
    let delay = cluster.await_lock(vmid)?;
    change.check(cluster, &call.node, vmid)?;
    let mut log = Vec::new();
    carry_out(cluster, &call.node, vmid, &change, &mut log)?;
    Ok(Answer { delay, ..Answer::from(Value::Null) })
}

pub(in crate::sim) fn update_in_task(cluster: &mut Cluster, call: &Call) -> Outcome {
    let vmid = call.vmid();
    let change = prepare(cluster, call)?;
    let delay = cluster.await_lock(vmid)?;
    change.check(cluster, &call.node, vmid)?;
    let work = TaskWork::Qemu(Work { vmid, what: What::Change(change) });
    let mut answer = cluster.start_task(&call.subject, &call.node, "qmconfig", &vmid.to_string(), work);
    answer.delay = delay;
    Ok(answer)
}

/// The worker has the lock: another one's may have had it since the call was checked.
pub(super) fn begin(cluster: &Cluster, task: usize, vmid: u32, change: &Change) -> Result<u64, String> {
    change.check(cluster, &cluster.tasks[task].node, vmid).map_err(|failure| failure.text())?;
    Ok(cluster.spec.tasks.config)
}

pub(in crate::sim) fn unlink(cluster: &mut Cluster, call: &Call) -> Outcome {
    let params = BTreeMap::from([
        ("delete".to_owned(), call.get("idlist").unwrap_or_default().to_owned()),
        ("force".to_owned(), if call.flag("force") { "1" } else { "0" }.to_owned()),
    ]);
    let call = Call { subject: call.subject.clone(), node: call.node.clone(), vars: call.vars.clone(), params };
    update(cluster, &call)
}

pub(super) fn finish(cluster: &mut Cluster, task: usize, vmid: u32, change: &Change) -> Result<(), String> {
    let node = cluster.tasks[task].node.clone();
    let mut words = String::new();
    for (key, value) in &change.set {
        let shown = if key == "cipassword" { "<hidden>" } else { value };
        words.push_str(&format!(" -{key} {shown}"));
    }
    if !change.delete.is_empty() {
        words.push_str(&format!(" -delete {}", change.delete.join(",")));
    }
    cluster.log(task, format!("update VM {vmid}:{words}"));
    let mut log = Vec::new();
    let done = carry_out(cluster, &node, vmid, change, &mut log);
    for line in log {
        cluster.log(task, line);
    }
    done.map_err(|failure| failure.text())
}

/// `cdrom` is another name for `ide2`, `smp` one for `sockets`.
pub(super) fn unalias(options: &mut BTreeMap<String, String>) {
    if let Some(value) = options.remove("cdrom") {
        let value = if drive::is_cdrom(&value) { value } else { format!("{value},media=cdrom") };
        options.insert("ide2".to_owned(), value);
    }
    if let Some(value) = options.remove("smp") {
        options.entry("sockets".to_owned()).or_insert(value);
    }
}

/// Checks of values that come after the permissions.
pub(super) fn check_values(cluster: &Cluster, node: &str, options: &BTreeMap<String, String>) -> Result<(), Failure> {
    if let Some(keys) = options.get("sshkeys").filter(|keys| !keys.is_empty()) {
        let text = crate::pve::http::percent_decode(keys);
        let is_key = |line: &str| {
            let mut words = line.split_whitespace();
            let (kind, blob) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            // ssh-keygen reads the whole key; the least that a key is is enough here.
            (kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-")) && blob.len() >= 20
        };
        if !text.lines().filter(|line| !line.trim().is_empty()).all(is_key) || text.trim().is_empty() {
            return Err(Failure::die("SSH public key validation error"));
        }
    }
    if let Some(script) = options.get("hookscript")
        && cluster.storages.size_of(script, node).is_none()
    {
        return Err(Failure::parameter("hookscript", format!("script '{script}' does not exist\n")));
    }
    Ok(())
}

/// What is checked before the VM's lock is asked for.
fn prepare(cluster: &mut Cluster, call: &Call) -> Result<Change, Failure> {
    let vmid = call.vmid();
    let list = |name: &str| split_list(call.get(name).unwrap_or_default()).map(str::to_owned).collect::<Vec<_>>();
    let (delete, revert) = (list("delete"), list("revert"));
    let aside = ["digest", "delete", "revert", "force", "skiplock", "background_delay"];
    let mut set: BTreeMap<String, String> = call.params.clone();
    set.retain(|name, _| !aside.contains(&name.as_str()));
    if call.flag("skiplock") && !call.subject.is_root() {
        return Err(Failure::parameter("skiplock", "Only root may use this option."));
    }
    if set.is_empty() && delete.is_empty() && revert.is_empty() {
        return Err(Failure::die("no options specified"));
    }
    unalias(&mut set);
    check_values(cluster, &call.node, &set)?;
    for name in &revert {
        if catalog(GuestKind::Qemu).find(name).is_none() {
            return Err(Failure::parameter("revert", format!("unknown option '{name}'")));
        }
        if set.contains_key(name) {
            let text = format!("you can't use '-{name}' and '-revert {name}' at the same time");
            return Err(Failure::parameter("revert", text));
        }
    }
    for name in &delete {
        if set.contains_key(name) {
            let text = format!("you can't use '-{name}' and -delete {name}' at the same time");
            return Err(Failure::parameter("delete", text));
        }
        if catalog(GuestKind::Qemu).find(name).is_none_or(|spec| !spec.update) {
            return Err(Failure::parameter("delete", format!("unknown option '{name}'")));
        }
    }
    let current = cluster.guests.get(&vmid).map(|guest| guest.config.current.clone()).unwrap_or_default();
    let check = cluster.check_guest(&call.subject, vmid);
    for (key, value) in &set {
        permit::storage(cluster, check, (key, value))?;
        drive::check_import(cluster, check, call, (key, value))?;
    }
    for (key, value) in &set {
        permit::option(check, vmid, key, Some(value), current.get(key).map(String::as_str))?;
    }
    if set.contains_key("tags") || delete.iter().any(|key| key == "tags") {
        cluster.permit_tags(
            &call.subject,
            current.get("tags").map(String::as_str),
            set.get("tags").map(String::as_str),
        )?;
    }
    for key in delete.iter().chain(&revert) {
        permit::option(check, vmid, key, None, current.get(key).map(String::as_str))?;
    }
    for (key, value) in &set {
        permit::bridge(check, key, value)?;
    }
    let config = &cluster.guest(GuestKind::Qemu, vmid, &call.node)?.config;
    check_balloon(config, &set)?;
    let (digest, skiplock) = (call.get("digest").map(str::to_owned), call.flag("skiplock"));
    Ok(Change { set, delete, revert, force: call.flag("force"), protected: true, digest, skiplock })
}

fn check_balloon(config: &Config, set: &BTreeMap<String, String>) -> Result<(), Failure> {
    if !set.contains_key("memory") && !set.contains_key("balloon") {
        return Ok(());
    }
    let value = |key: &str| set.get(key).or_else(|| config.pending.get(key)).or_else(|| config.current.get(key));
    let memory = value("memory").and_then(|text| default_of(text, "current")).and_then(|text| text.parse().ok());
    let balloon: u64 = value("balloon").and_then(|text| text.parse().ok()).unwrap_or(0);
    if balloon > memory.unwrap_or(512) {
        return Err(Failure::die("balloon value too large (must be smaller than assigned memory)"));
    }
    Ok(())
}

/// Removes and sets, each step written at once: what fails leaves what was done before it.
pub(super) fn carry_out(
    cluster: &mut Cluster,
    node: &str,
    vmid: u32,
    change: &Change,
    log: &mut Vec<String>,
) -> Result<(), Failure> {
    let runs = cluster.guest(GuestKind::Qemu, vmid, node)?.running.is_some();
    let load = |cluster: &Cluster| cluster.guest(GuestKind::Qemu, vmid, node).map(|guest| guest.config.reread());
    if !change.revert.is_empty() {
        let mut config = load(cluster)?;
        for key in &change.revert {
            config.pending.remove(key);
            config.deletes.remove(key);
        }
        apply::store(cluster, vmid, config);
    }
    let mut order = boot_order(&load(cluster)?);
    let names_boot = change.delete.iter().any(|key| key == "boot") || change.set.contains_key("boot");
    for key in &change.delete {
        let mut config = load(cluster)?;
        let known = config.current.get(key).or_else(|| config.pending.get(key)).cloned();
        let Some(value) = known else {
            log.push(format!("cannot delete '{key}' - not set in current configuration!"));
            continue;
        };
        let protected = change.protected && config.flag("protection");
        if is_unused(key) {
            if protected {
                return Err(Failure::die(format!("can't remove unused disk '{value}' - protection mode enabled")));
            }
            apply::destroy_volume(cluster, node, vmid, &config, key, &value);
            config.current.remove(key);
            apply::store(cluster, vmid, config);
            continue;
        }
        if is_drive(key) && protected && !drive::is_cdrom(&value) {
            return Err(Failure::die(format!("can't remove drive '{key}' - protection mode enabled")));
        }
        if let Some(list) = order.as_mut().filter(|list| list.contains(key) && !names_boot) {
            list.retain(|other| other != key);
            config.set_pending("boot", print_order(list));
        }
        // The volume of a drive that only waited is kept as unused; one that waited to replace another is forgotten.
        let waited = config.pending.remove(key);
        if let Some(waited) = waited.filter(|_| is_drive(key) && !config.current.contains_key(key)) {
            apply::register_unused(cluster, node, vmid, &mut config, key, &waited);
        }
        config.deletes.insert(key.clone(), change.force);
        apply::store(cluster, vmid, config);
    }
    for (key, value) in &change.set {
        let mut config = load(cluster)?;
        let stored = if is_drive(key) {
            let (printed, _) = drive::place(cluster, node, vmid, (key, value), &config, log)?;
            if let Some(pending) = config.pending.remove(key) {
                apply::register_unused(cluster, node, vmid, &mut config, key, &pending);
            }
            let is_new_cdrom = drive::is_cdrom(&printed);
            if let Some(list) = order.as_mut().filter(|list| is_new_cdrom && !list.contains(key) && !names_boot) {
                list.push(key.clone());
                config.set_pending("boot", print_order(list));
            }
            printed
        } else {
            if key == "boot" {
                check_boot(&config, change, value)?;
            }
            normalised(cluster, key, value)?
        };
        if key == "description" && !is_true(&stored) {
            // Nothing would be written of it, so there is nothing to wait: the old one goes.
            config.pending.remove(key);
            config.deletes.insert(key.clone(), false);
        } else {
            config.set_pending(key, stored);
        }
        let mut applied = config.clone();
        applied.current.extend(applied.pending.clone());
        // Whoever names the board, or takes it away in the same call, has it so (qemu-server 8.3.4 and later).
        let says_so = change.set.contains_key("machine")
            || config.pending.contains_key("machine")
            || config.deletes.contains_key("machine");
        if key == "ostype"
            && !says_so
            && let Some(pinned) = pinned_machine(cluster, &applied)
        {
            log.push(format!("pinning machine type to '{pinned}' for Windows guest OS"));
            config.set_pending("machine", pinned);
        }
        apply::store(cluster, vmid, config);
    }
    let mut config = load(cluster)?;
    config.clean_pending();
    apply::store(cluster, vmid, config);
    let touched: BTreeSet<String> = change.delete.iter().chain(change.set.keys()).cloned().collect();
    if runs { apply::hotplug(cluster, node, vmid, &touched) } else { apply::apply_pending(cluster, node, vmid) }
}

/// The devices of `boot`, where it has the form with an order.
pub(super) fn boot_order(config: &Config) -> Option<Vec<String>> {
    let order = sub_key(config.current.get("boot")?, "order")?;
    Some(order.split(';').filter(|key| !key.is_empty()).map(str::to_owned).collect())
}

pub(super) fn print_order(list: &[String]) -> String {
    if list.is_empty() { String::new() } else { format!("order={}", list.join(";")) }
}

fn check_boot(config: &Config, change: &Change, value: &str) -> Result<(), Failure> {
    let mut devices: BTreeSet<&str> = config.current.keys().chain(config.pending.keys()).map(String::as_str).collect();
    for key in &change.delete {
        devices.remove(key.as_str());
    }
    devices.extend(change.set.keys().map(String::as_str));
    let order = sub_key(value, "order").unwrap_or_default();
    match order.split(';').find(|key| !key.is_empty() && !devices.contains(key)) {
        Some(key) => Err(Failure::die(format!("invalid bootorder: device '{key}' does not exist'"))),
        None => Ok(()),
    }
}

/// The value that is stored for an option that is no drive.
pub(in crate::sim) fn normalised(cluster: &mut Cluster, key: &str, value: &str) -> Result<String, Failure> {
    let spec = catalog(GuestKind::Qemu).find(key);
    let unreadable = |ty: &str| {
        Err(Failure::die(format!("unable to parse value of '{key}' - type check ('{ty}') failed - got '{value}'")))
    };
    // The file's own checks are narrower than those of the parameters.
    match spec.map(|spec| spec.value.ty) {
        Some(ValueType::Integer) if !value.bytes().all(|b| b.is_ascii_digit()) => return unreadable("integer"),
        Some(ValueType::Integer) => {
            let number = value.trim_start_matches('0');
            let number = if number.is_empty() { "0" } else { number };
            // The kernel's weights go from 1 to 10000.
            let clamped = key == "cpuunits" && number.parse::<u64>().is_ok_and(|units| units > 10_000);
            return Ok(if clamped { "10000" } else { number }.to_owned());
        }
        Some(ValueType::Number) => {
            let (whole, fraction) = value.split_once('.').unwrap_or((value, "0"));
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            return if digits(whole) && digits(fraction) { Ok(value.to_owned()) } else { unreadable("number") };
        }
        _ => {}
    }
    if key != "description" && value.contains('\n') {
        return Err(Failure::die(format!("unable to parse value of '{key}' - property contains a line feed")));
    }
    let stem = split_index(key).map_or(key, |(stem, _)| stem);
    Ok(match stem {
        "tags" => tags(cluster, value),
        "net" => net(cluster, key, value),
        "vmgenid" if value == "1" => cluster.chance.uuid(),
        "cipassword" if !value.starts_with("$5$") && !value.starts_with("$6$") => "$5$SALTSALT$HASHED".to_owned(),
        _ => value.to_owned(),
    })
}

/// Tags as they are stored: without doubles, in lower case and sorted unless the datacenter says otherwise.
pub(in crate::sim) fn tags(cluster: &Cluster, value: &str) -> String {
    let style = cluster.spec.datacenter.get("tag-style").map_or("", String::as_str);
    let keep_case = sub_key(style, "case-sensitive").is_some_and(is_true);
    let mut list: Vec<String> = Vec::new();
    for tag in split_list(value) {
        let tag = if keep_case { tag.to_owned() } else { tag.to_lowercase() };
        if !list.contains(&tag) {
            list.push(tag);
        }
    }
    if sub_key(style, "ordering") != Some("config") {
        list.sort();
    }
    list.join(";")
}

/// A network device as it is stored: with a MAC address, a new one where none was given.
fn net(cluster: &mut Cluster, key: &str, value: &str) -> String {
    let format = catalog(GuestKind::Qemu).find(key).and_then(|spec| spec.value.properties.as_ref());
    let Some((format, mut net)) = format.and_then(|format| Some((format, property::parse(value, format).ok()?))) else {
        return value.to_owned();
    };
    if !net.contains_key("macaddr") {
        net.insert("macaddr".to_owned(), cluster.fresh_mac());
    }
    property::print(&net, format)
}

/// The versioned machine that a Windows guest without one is given.
pub(super) fn pinned_machine(cluster: &Cluster, config: &Config) -> Option<String> {
    let ostype = config.current.get("ostype")?;
    let windows = ostype.starts_with("win") || ostype.starts_with("w2k") || matches!(ostype.as_str(), "wxp" | "wvista");
    let machine = config.current.get("machine").map_or("", String::as_str);
    let ty = default_of(machine, "type").unwrap_or_default();
    if !windows || !matches!(ty, "" | "pc" | "q35") {
        return None;
    }
    let version: Vec<&str> = cluster.spec.qemu_version.split('.').take(2).collect();
    let family = if ty == "q35" { "q35" } else { "i440fx" };
    let rest: Vec<&str> = machine
        .split(',')
        .filter(|part| !part.is_empty() && part.contains('=') && !part.starts_with("type="))
        .collect();
    let mut pinned = format!("pc-{family}-{}", version.join("."));
    for part in rest {
        pinned.push_str(&format!(",{part}"));
    }
    Some(pinned)
}

/// True where the VM itself owns the volume that a value names.
pub(super) fn owns(vmid: u32, value: &str) -> bool {
    volume_of(value).is_some_and(|volid| volume::owner(volid) == Some(vmid))
}
