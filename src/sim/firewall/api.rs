//! The calls. Each stands in several places of the API; the path says whose file is meant.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::address;
use super::file::{Alias, Conf, Entry, is_everything, lines, options_json, with_digest};
use super::rule::{Around, Env, PROPERTIES, Rule};
use crate::pve::value::{GuestKind, split_list};
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::api::nothing;
use crate::sim::cluster::Cluster;
use crate::sim::route::Call;
use crate::sim::section::{check_digest, sha1_hex};

const CLUSTER: &str = "firewall/cluster.fw";

/// The file of a guest.
pub(super) fn guest_file(vmid: u32) -> String {
    format!("firewall/{vmid}.fw")
}

fn host_file(node: &str) -> String {
    format!("nodes/{node}/host.fw")
}

/// Whose file a call is about, and what that file and the cluster's say.
struct Place {
    file: String,
    env: Env,
    /// The group of rules that is meant, in the cluster's file.
    group: Option<String>,
    /// The cluster's file, where it is not the one that is meant.
    cluster: Option<Conf>,
    conf: Conf,
}

impl Place {
    fn load(cluster: &Cluster, call: &Call) -> Self {
        let now = cluster.unix_time();
        let text = |file: &str| cluster.files.get(file).map_or("", String::as_str);
        let whole = || Conf::parse(text(CLUSTER), Env::Cluster, None, now);
        let (file, env) = if call.vars.contains_key("vmid") {
            let kind = cluster.guests.get(&call.vmid()).map(crate::sim::guest::Guest::kind);
            (guest_file(call.vmid()), if kind == Some(GuestKind::Lxc) { Env::Ct } else { Env::Vm })
        } else if call.vars.contains_key("node") {
            (host_file(&call.node), Env::Host)
        } else {
            return Self {
                file: CLUSTER.to_owned(),
                env: Env::Cluster,
                group: call.vars.get("group").cloned(),
                cluster: None,
                conf: whole(),
            };
        };
        let around = whole();
        let conf = Conf::parse(text(&file), env, Some(&around), now);
        Self { file, env, group: None, cluster: Some(around), conf }
    }

    /// Writes the file; an empty one goes.
    fn save(&self, cluster: &mut Cluster) {
        let text = self.conf.render();
        if text.is_empty() {
            cluster.files.remove(&self.file);
        } else {
            cluster.files.insert(self.file.clone(), text);
        }
    }

    fn rules(&mut self) -> Result<&mut Vec<Rule>, Failure> {
        match &self.group {
            Some(group) => {
                let found = self.conf.groups.get_mut(group);
                found.ok_or_else(|| Failure::die(format!("no such security group '{group}'")))
            }
            None => Ok(&mut self.conf.rules),
        }
    }

    fn verify(&self, rule: &mut Rule) -> Result<(), Failure> {
        let env = if self.group.is_some() { Env::Group } else { self.env };
        let around = Around { env, cluster: self.cluster.as_ref(), own: Some(&self.conf) };
        rule.verify(around).map_err(super::rule::Wrong::failure)
    }

    fn set(&mut self, name: &str) -> Result<&mut Vec<Entry>, Failure> {
        self.conf.ipsets.get_mut(name).ok_or_else(|| Failure::die(format!("no such IPSet '{name}'")))
    }
}

fn text<'a>(call: &'a Call, name: &str) -> &'a str {
    call.get(name).unwrap_or_default()
}

fn owned(call: &Call, name: &str) -> Option<String> {
    call.get(name).map(str::to_owned)
}

/// `GET …/firewall/options`.
pub(in crate::sim) fn options(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut object = options_json(&Place::load(cluster, call).conf.options);
    object.insert("digest".to_owned(), json!(sha1_hex(&lines(&object))));
    Ok(Answer::from(Value::Object(object)))
}

/// Options that each kind of file has, for taking one away.
const fn option_names(env: Env) -> &'static [&'static str] {
    match env {
        Env::Cluster | Env::Group => {
            &["enable", "ebtables", "policy_in", "policy_out", "policy_forward", "log_ratelimit"]
        }
        Env::Host => &[
            "enable",
            "log_level_in",
            "log_level_out",
            "log_level_forward",
            "tcp_flags_log_level",
            "smurf_log_level",
            "nosmurfs",
            "tcpflags",
            "nf_conntrack_max",
            "nf_conntrack_tcp_timeout_established",
            "nf_conntrack_tcp_timeout_syn_recv",
            "ndp",
            "nf_conntrack_allow_invalid",
            "nf_conntrack_helpers",
            "protection_synflood",
            "protection_synflood_rate",
            "protection_synflood_burst",
            "log_nf_conntrack",
            "nftables",
        ],
        Env::Vm | Env::Ct => &[
            "enable",
            "macfilter",
            "dhcp",
            "ndp",
            "radv",
            "ipfilter",
            "policy_in",
            "policy_out",
            "log_level_in",
            "log_level_out",
        ],
    }
}

/// `PUT …/firewall/options`.
pub(in crate::sim) fn set_options(cluster: &mut Cluster, call: &Call) -> Outcome {
    let now = cluster.unix_time();
    let mut place = Place::load(cluster, call);
    check_digest(call.get("digest"), || sha1_hex(&lines(&options_json(&place.conf.options))))?;
    for name in split_list(text(call, "delete")) {
        if !option_names(place.env).contains(&name) {
            return Err(Failure::parameter("delete", format!("no such option '{name}'")));
        }
        place.conf.options.remove(name);
    }
    for (name, value) in call.params.iter().filter(|(name, _)| !matches!(name.as_str(), "delete" | "digest")) {
        let number = value.parse::<u64>().unwrap_or(0);
        let value = match (name.as_str(), place.env) {
            ("enable", Env::Cluster) if number > 1 => now.to_string(),
            ("enable", Env::Host | Env::Vm | Env::Ct) => number.min(1).to_string(),
            _ => value.clone(),
        };
        place.conf.options.insert(name.clone(), value);
    }
    place.save(cluster);
    Ok(nothing())
}

fn shown(rules: &[Rule]) -> (Vec<Value>, String) {
    with_digest(rules.iter().map(Rule::json).collect())
}

/// `GET …/firewall/rules`, and the rules of a group.
pub(in crate::sim) fn rules(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (mut list, _) = shown(Place::load(cluster, call).rules()?);
    for (position, rule) in list.iter_mut().enumerate() {
        rule["pos"] = json!(position);
    }
    Ok(Answer::from(json!(list)))
}

/// The position that the path names.
fn position(call: &Call, rules: &[Rule]) -> Result<usize, Failure> {
    let given = text(call, "pos");
    let position = given.parse().ok().filter(|position| *position < rules.len());
    position.ok_or_else(|| Failure::die(format!("no rule at position {given}")))
}

/// `GET …/firewall/rules/{pos}`: the position is a text here.
pub(in crate::sim) fn rule_read(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut place = Place::load(cluster, call);
    let rules = place.rules()?;
    let position = position(call, rules)?;
    let mut rule = shown(rules).0.swap_remove(position);
    rule["pos"] = json!(text(call, "pos"));
    Ok(Answer::from(rule))
}

/// Takes over what is given of a rule; an empty text or a dash takes a property away.
fn copy(rule: &mut Rule, call: &Call) {
    for name in PROPERTIES.iter().filter(|name| !matches!(**name, "pos" | "digest")) {
        match call.params.get(*name).map(String::as_str) {
            None => {}
            Some("" | "-") => drop(rule.values.remove(*name)),
            Some(value) => drop(rule.values.insert((*name).to_owned(), value.to_owned())),
        }
    }
}

/// `POST …/firewall/rules`: a new rule comes first, whatever position is given.
pub(in crate::sim) fn rule_create(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut place = Place::load(cluster, call);
    place.rules()?;
    let mut rule = Rule::default();
    copy(&mut rule, call);
    place.verify(&mut rule)?;
    rule.values.entry("enable".to_owned()).or_insert_with(|| "0".to_owned());
    place.rules()?.insert(0, rule);
    place.save(cluster);
    Ok(nothing())
}

/// `PUT …/firewall/rules/{pos}`: moves a rule, or changes it.
pub(in crate::sim) fn rule_update(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut place = Place::load(cluster, call);
    let rules = place.rules()?;
    check_digest(call.get("digest"), || shown(rules).1)?;
    let position = position(call, rules)?;
    let target = call.number("moveto").and_then(|target| usize::try_from(target).ok());
    if let Some(target) = target.filter(|target| *target != position) {
        // It comes before the one that had this number; a number that none has is the end.
        let count = rules.len();
        let rule = rules.remove(position);
        let place = if target > position { target.min(count) - 1 } else { target };
        rules.insert(place, rule);
    } else {
        let mut rule = rules[position].clone();
        copy(&mut rule, call);
        for name in split_list(text(call, "delete")) {
            if !PROPERTIES.contains(&name) {
                return Err(Failure::parameter("delete", format!("no such property ('{name}')")));
            }
            if matches!(name, "type" | "action") {
                return Err(Failure::parameter("delete", format!("unable to delete required property '{name}'")));
            }
            rule.values.remove(name);
        }
        place.verify(&mut rule)?;
        place.rules()?[position] = rule;
    }
    place.save(cluster);
    Ok(nothing())
}

/// `DELETE …/firewall/rules/{pos}`.
pub(in crate::sim) fn rule_delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut place = Place::load(cluster, call);
    let rules = place.rules()?;
    check_digest(call.get("digest"), || shown(rules).1)?;
    let position = position(call, rules)?;
    rules.remove(position);
    place.save(cluster);
    Ok(nothing())
}

fn aliases_shown(conf: &Conf) -> (Vec<Value>, String) {
    with_digest(conf.aliases.values().map(Alias::json).collect())
}

/// `GET …/firewall/aliases`.
pub(in crate::sim) fn aliases(cluster: &mut Cluster, call: &Call) -> Outcome {
    Ok(Answer::from(json!(aliases_shown(&Place::load(cluster, call).conf).0)))
}

/// `GET …/firewall/aliases/{name}`.
pub(in crate::sim) fn alias_read(cluster: &mut Cluster, call: &Call) -> Outcome {
    let place = Place::load(cluster, call);
    match place.conf.aliases.get(&text(call, "name").to_ascii_lowercase()) {
        Some(alias) => Ok(Answer::from(Value::Object(alias.json()))),
        None => Err(Failure::parameter("name", "no such alias")),
    }
}

fn alias(call: &Call) -> Alias {
    let comment = owned(call, "comment").filter(|comment| !comment.is_empty());
    Alias { name: text(call, "name").to_owned(), cidr: text(call, "cidr").to_owned(), comment, version: None }
}

/// `POST …/firewall/aliases`.
pub(in crate::sim) fn alias_create(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut place = Place::load(cluster, call);
    let name = text(call, "name");
    if place.conf.aliases.contains_key(&name.to_ascii_lowercase()) {
        return Err(Failure::parameter("name", format!("alias '{name}' already exists")));
    }
    place.conf.aliases.insert(name.to_ascii_lowercase(), alias(call));
    place.save(cluster);
    Ok(nothing())
}

/// `PUT …/firewall/aliases/{name}`.
pub(in crate::sim) fn alias_update(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut place = Place::load(cluster, call);
    check_digest(call.get("digest"), || aliases_shown(&place.conf).1)?;
    let name = text(call, "name").to_ascii_lowercase();
    let aliases = &mut place.conf.aliases;
    if aliases.remove(&name).is_none() {
        return Err(Failure::parameter("name", "no such alias"));
    }
    let mut alias = alias(call);
    let mut key = name;
    if let Some(new) = call.get("rename").filter(|new| new.to_ascii_lowercase() != key) {
        key = new.to_ascii_lowercase();
        if aliases.contains_key(&key) {
            return Err(Failure::parameter("name", format!("alias '{new}' already exists")));
        }
        new.clone_into(&mut alias.name);
    }
    aliases.insert(key, alias);
    place.save(cluster);
    Ok(nothing())
}

/// `DELETE …/firewall/aliases/{name}`; one that is not there is gone already.
pub(in crate::sim) fn alias_delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut place = Place::load(cluster, call);
    check_digest(call.get("digest"), || aliases_shown(&place.conf).1)?;
    place.conf.aliases.remove(&text(call, "name").to_ascii_lowercase());
    place.save(cluster);
    Ok(nothing())
}

/// Names with their comments, as the lists of sets and groups show them.
fn named<T>(key: &str, things: &BTreeMap<String, T>, comments: &BTreeMap<String, String>) -> (Vec<Value>, String) {
    let row = |name: &String| {
        let mut row = Map::from_iter([(key.to_owned(), json!(name))]);
        let comment = comments.get(name).filter(|comment| !comment.is_empty());
        row.extend(comment.map(|comment| ("comment".to_owned(), json!(comment))));
        row
    };
    with_digest(things.keys().map(row).collect())
}

/// `GET …/firewall/ipset`.
pub(in crate::sim) fn sets(cluster: &mut Cluster, call: &Call) -> Outcome {
    let conf = Place::load(cluster, call).conf;
    Ok(Answer::from(json!(named("name", &conf.ipsets, &conf.ipset_comments).0)))
}

/// `POST …/firewall/ipset`: makes a set, or renames one.
pub(in crate::sim) fn set_create(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut place = Place::load(cluster, call);
    let name = text(call, "name");
    let conf = &mut place.conf;
    if let Some(old) = call.get("rename").filter(|old| !old.is_empty()) {
        check_digest(call.get("digest"), || named("name", &conf.ipsets, &conf.ipset_comments).1)?;
        if !conf.ipsets.contains_key(old) {
            return Err(Failure::parameter("name", format!("IPSet '{old}' does not exist")));
        }
        if name != old && conf.ipsets.contains_key(name) {
            return Err(Failure::parameter("name", format!("IPSet '{name}' does already exist")));
        }
        let (entries, comment) = (conf.ipsets.remove(old), conf.ipset_comments.remove(old));
        conf.ipsets.insert(name.to_owned(), entries.unwrap_or_default());
        conf.ipset_comments.extend(comment.map(|comment| (name.to_owned(), comment)));
    } else if conf.ipsets.contains_key(name) {
        return Err(Failure::parameter("name", format!("IPSet '{name}' already exists")));
    } else {
        conf.ipsets.insert(name.to_owned(), Vec::new());
    }
    conf.ipset_comments.extend(owned(call, "comment").map(|comment| (name.to_owned(), comment)));
    place.save(cluster);
    Ok(nothing())
}

/// `DELETE …/firewall/ipset/{name}`.
pub(in crate::sim) fn set_delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut place = Place::load(cluster, call);
    let name = text(call, "name");
    if !place.set(name)?.is_empty() && !call.flag("force") {
        return Err(Failure::die(format!("IPSet '{name}' is not empty")));
    }
    place.conf.ipsets.remove(name);
    place.save(cluster);
    Ok(nothing())
}

fn entries_shown(entries: &[Entry]) -> (Vec<Value>, String) {
    with_digest(entries.iter().map(Entry::json).collect())
}

/// `GET …/firewall/ipset/{name}`.
pub(in crate::sim) fn ips(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut place = Place::load(cluster, call);
    Ok(Answer::from(json!(entries_shown(place.set(text(call, "name"))?).0)))
}

/// `POST …/firewall/ipset/{name}`.
pub(in crate::sim) fn ip_create(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut place = Place::load(cluster, call);
    place.set(text(call, "name"))?;
    let given = text(call, "cidr");
    let cidr = if address::alias(given).is_some() {
        if place.conf.resolve(place.cluster.as_ref(), given).is_none() {
            let name = given.rsplit('/').next().unwrap_or(given);
            return Err(Failure::die(format!("no such alias '{name}'")));
        }
        given.to_owned()
    } else {
        address::parse_cidr(&address::clean(given)).map_err(Failure::Die)?.0
    };
    let entries = place.set(text(call, "name"))?;
    if entries.iter().any(|entry| entry.cidr == cidr) {
        return Err(Failure::parameter("cidr", format!("address '{cidr}' already exists")));
    }
    if is_everything(&cidr) {
        return Err(Failure::parameter("cidr", "a zero prefix is not allowed in ipset entries"));
    }
    let comment = owned(call, "comment").filter(|comment| !comment.is_empty());
    entries.insert(0, Entry { cidr, nomatch: call.flag("nomatch"), comment, errors: BTreeMap::new() });
    place.save(cluster);
    Ok(nothing())
}

/// `GET …/firewall/ipset/{name}/{cidr}`.
pub(in crate::sim) fn ip_read(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut place = Place::load(cluster, call);
    let (list, _) = entries_shown(place.set(text(call, "name"))?);
    let found = list.into_iter().find(|entry| entry["cidr"] == json!(text(call, "cidr")));
    found.map(Answer::from).ok_or_else(|| Failure::parameter("cidr", "no such IP/Network"))
}

/// `PUT …/firewall/ipset/{name}/{cidr}`.
pub(in crate::sim) fn ip_update(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut place = Place::load(cluster, call);
    let entries = place.set(text(call, "name"))?;
    check_digest(call.get("digest"), || entries_shown(entries).1)?;
    let Some(entry) = entries.iter_mut().find(|entry| entry.cidr == text(call, "cidr")) else {
        return Err(Failure::parameter("cidr", "no such IP/Network"));
    };
    entry.nomatch = call.flag("nomatch");
    entry.comment = owned(call, "comment");
    place.save(cluster);
    Ok(nothing())
}

/// `DELETE …/firewall/ipset/{name}/{cidr}`; one that is not there is gone already.
pub(in crate::sim) fn ip_delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut place = Place::load(cluster, call);
    let entries = place.set(text(call, "name"))?;
    check_digest(call.get("digest"), || entries_shown(entries).1)?;
    entries.retain(|entry| entry.cidr != text(call, "cidr"));
    place.save(cluster);
    Ok(nothing())
}

/// `GET /cluster/firewall/groups`.
pub(in crate::sim) fn groups(cluster: &mut Cluster, call: &Call) -> Outcome {
    let conf = Place::load(cluster, call).conf;
    Ok(Answer::from(json!(named("group", &conf.groups, &conf.group_comments).0)))
}

/// `POST /cluster/firewall/groups`: makes a group, or renames one, wherever it is used.
pub(in crate::sim) fn group_create(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut place = Place::load(cluster, call);
    let name = text(call, "group").to_owned();
    let conf = &mut place.conf;
    let comment = owned(call, "comment").map(|comment| (name.clone(), comment));
    let Some(old) = owned(call, "rename").filter(|old| !old.is_empty()) else {
        if conf.groups.contains_key(&name) {
            return Err(Failure::parameter("group", format!("Security group '{name}' already exists")));
        }
        conf.groups.insert(name, Vec::new());
        conf.group_comments.extend(comment);
        place.save(cluster);
        return Ok(nothing());
    };
    check_digest(call.get("digest"), || named("group", &conf.groups, &conf.group_comments).1)?;
    if !conf.groups.contains_key(&old) {
        return Err(Failure::parameter("group", format!("Security group '{old}' does not exist")));
    }
    if name != old && conf.groups.contains_key(&name) {
        return Err(Failure::parameter("group", format!("Security group '{name}' does already exist")));
    }
    let (rules, old_comment) = (conf.groups.remove(&old), conf.group_comments.remove(&old));
    conf.groups.insert(name.clone(), rules.unwrap_or_default());
    conf.group_comments.extend(old_comment.map(|comment| (name.clone(), comment)));
    conf.group_comments.extend(comment);
    rename(&mut conf.rules, &old, &name);
    place.save(cluster);
    if name != old {
        rename_everywhere(cluster, &place.conf, &old, &name);
    }
    Ok(nothing())
}

fn rename(rules: &mut [Rule], old: &str, new: &str) {
    for rule in rules.iter_mut().filter(|rule| rule.get("type") == Some("group") && rule.get("action") == Some(old)) {
        rule.values.insert("action".to_owned(), new.to_owned());
    }
}

/// Renames a group in the files of nodes and guests.
fn rename_everywhere(cluster: &mut Cluster, whole: &Conf, old: &str, new: &str) {
    let now = cluster.unix_time();
    let hosts = cluster.spec.nodes.iter().map(|node| (host_file(&node.name), Env::Host));
    let guests = cluster
        .guests
        .iter()
        .map(|(vmid, guest)| (guest_file(*vmid), if guest.kind() == GuestKind::Lxc { Env::Ct } else { Env::Vm }));
    for (file, env) in hosts.chain(guests).collect::<Vec<_>>() {
        if let Some(text) = cluster.files.get_mut(&file) {
            let mut conf = Conf::parse(text, env, Some(whole), now);
            rename(&mut conf.rules, old, new);
            *text = conf.render();
        }
    }
}

/// `DELETE /cluster/firewall/groups/{group}`.
pub(in crate::sim) fn group_delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut place = Place::load(cluster, call);
    let name = text(call, "group");
    if !place.rules()?.is_empty() {
        return Err(Failure::die(format!("Security group '{name}' is not empty")));
    }
    place.conf.groups.remove(name);
    place.save(cluster);
    Ok(nothing())
}

fn refs_of(conf: &Conf, kind: Option<&str>, scope: &str) -> Vec<Value> {
    let row = |kind: &str, name: &str, reference: String, comment: Option<&String>| {
        let mut row = json!({ "name": name, "ref": reference, "scope": scope, "type": kind });
        if let Some(comment) = comment.filter(|comment| !comment.is_empty()) {
            row["comment"] = json!(comment);
        }
        row
    };
    let wants = |wanted: &str| kind.is_none_or(|kind| kind == wanted);
    let sets = conf.ipsets.keys().filter(|_| wants("ipset"));
    let sets = sets.map(|name| row("ipset", name, format!("+{name}"), conf.ipset_comments.get(name)));
    let aliases = conf.aliases.iter().filter(|_| wants("alias"));
    sets.chain(aliases.map(|(name, alias)| row("alias", name, name.clone(), alias.comment.as_ref()))).collect()
}

/// `GET …/firewall/refs`: what rules may name as source and destination.
pub(in crate::sim) fn refs(cluster: &mut Cluster, call: &Call) -> Outcome {
    let place = Place::load(cluster, call);
    let kind = call.get("type");
    let list = match &place.cluster {
        None => refs_of(&place.conf, kind, "dc"),
        Some(whole) => [refs_of(whole, kind, "dc"), refs_of(&place.conf, kind, "guest")].concat(),
    };
    Ok(Answer::from(json!(list)))
}
