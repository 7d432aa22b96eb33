//! A file of the firewall: options, aliases, sets of addresses, rules, and the cluster's groups of rules.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::address;
use super::rule::{Around, Env, Rule};
use crate::sim::section::sha1_hex;

/// An alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alias {
    pub(super) name: String,
    pub(super) cidr: String,
    pub(super) comment: Option<String>,
    pub(super) version: Option<u8>,
}

/// An entry of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) cidr: String,
    pub(super) nomatch: bool,
    pub(super) comment: Option<String>,
    pub(super) errors: BTreeMap<String, String>,
}

/// What stands in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Conf {
    pub(super) options: BTreeMap<String, String>,
    pub(super) aliases: BTreeMap<String, Alias>,
    pub(super) ipsets: BTreeMap<String, Vec<Entry>>,
    pub(super) ipset_comments: BTreeMap<String, String>,
    pub(super) rules: Vec<Rule>,
    pub(super) groups: BTreeMap<String, Vec<Rule>>,
    pub(super) group_comments: BTreeMap<String, String>,
}

const LEVELS: &[&str] = &["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog"];

/// Options of each kind of file that are flags.
const fn flags(env: Env) -> &'static [&'static str] {
    match env {
        Env::Cluster | Env::Group => &["ebtables"],
        Env::Host => &[
            "enable",
            "nosmurfs",
            "tcpflags",
            "ndp",
            "log_nf_conntrack",
            "nf_conntrack_allow_invalid",
            "protection_synflood",
            "nftables",
        ],
        Env::Vm | Env::Ct => &["enable", "dhcp", "ndp", "radv", "macfilter", "ipfilter", "ips"],
    }
}

/// Options of a node that are numbers.
const NUMBERS: &[&str] = &[
    "nf_conntrack_max",
    "nf_conntrack_tcp_timeout_established",
    "nf_conntrack_tcp_timeout_syn_recv",
    "protection_synflood_rate",
    "protection_synflood_burst",
    "protection_limit",
];

/// One line of the options, as it is understood; nothing for one that is not.
fn option(env: Env, line: &str, now: u64) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    let (name, value) = (name.to_ascii_lowercase(), value.trim());
    let number = value.parse::<u64>().ok();
    let level = || {
        (value.is_empty() || LEVELS.contains(&value.to_ascii_lowercase().as_str())).then(|| value.to_ascii_lowercase())
    };
    let policy = || {
        matches!(value.to_ascii_uppercase().as_str(), "ACCEPT" | "DROP" | "REJECT").then(|| value.to_ascii_uppercase())
    };
    let word = || (!value.is_empty() && !value.contains(char::is_whitespace)).then(|| value.to_owned());
    let read = match (env, name.as_str()) {
        (_, name) if flags(env).contains(&name) => number.filter(|flag| *flag <= 1).map(|flag| flag.to_string()),
        // A time instead of a flag: the firewall is on for a minute, unless somebody says it again.
        (Env::Cluster, "enable") => {
            number.map(|time| if time > 1 && now.saturating_sub(time) > 60 { 0 } else { time }.to_string())
        }
        (Env::Cluster, "policy_in" | "policy_out" | "policy_forward") => policy(),
        (Env::Cluster, "log_ratelimit") => word(),
        (Env::Vm | Env::Ct, "policy_in" | "policy_out") => policy(),
        (Env::Vm | Env::Ct, "log_level_in" | "log_level_out") => level(),
        (Env::Vm | Env::Ct, "ips_queues" | "layer2_protocols") => word(),
        (
            Env::Host,
            "log_level_in" | "log_level_out" | "log_level_forward" | "tcp_flags_log_level" | "smurf_log_level",
        ) => level(),
        (Env::Host, "nf_conntrack_helpers") => word().map(|value| value.to_ascii_lowercase()),
        (Env::Host, name) if NUMBERS.contains(&name) => number.map(|number| number.to_string()),
        _ => None,
    };
    read.map(|value| (name, value))
}

/// A text and the comment behind it.
fn split_comment(line: &str) -> (&str, Option<String>) {
    match line.split_once('#') {
        Some((text, comment)) => (text, Some(comment.trim().to_owned())),
        None => (line, None),
    }
}

/// The name and the comment of a heading such as `[group web] # for people`.
fn heading(line: &str, word: &str) -> Option<(String, Option<String>)> {
    let (inner, rest) = line.strip_prefix('[')?.split_once(']')?;
    let (kind, name) = inner.split_once(char::is_whitespace)?;
    let comment = rest.trim().strip_prefix('#').map(|comment| comment.trim().to_owned());
    let fits = kind.eq_ignore_ascii_case(word) && (rest.trim().is_empty() || comment.is_some());
    fits.then(|| (name.trim().to_ascii_lowercase(), comment.filter(|text| !text.is_empty())))
}

/// One line of the rules, not checked yet; nothing for one that cannot be read.
fn rule(line: &str) -> Option<Rule> {
    let mut rule = Rule::default();
    let mut set = |name: &str, value: &str| drop(rule.values.insert(name.to_owned(), value.to_owned()));
    let (text, comment) = split_comment(line);
    if let Some(comment) = &comment {
        set("comment", comment);
    }
    let (text, enable) = text.strip_prefix('|').map_or((text, "1"), |text| (text, "0"));
    set("enable", enable);
    let mut words = text.split_whitespace();
    let (kind, action) = (words.next()?.to_ascii_lowercase(), words.next()?);
    let parts = action.strip_suffix(')').and_then(|text| text.split_once('('));
    match parts.filter(|(_, action)| kind != "group" && matches!(*action, "ACCEPT" | "DROP" | "REJECT")) {
        Some((name, action)) => {
            set("macro", name);
            set("action", action);
        }
        None => set("action", action),
    }
    set("type", &kind);
    while let Some(word) = words.next() {
        let name = match word {
            "-i" => "iface",
            _ if kind == "group" => return None,
            "-p" | "-proto" | "--proto" => "proto",
            _ => word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?,
        };
        let known = matches!(name, "iface" | "proto" | "dport" | "sport" | "source" | "dest" | "log" | "icmp-type");
        let value = words.next().filter(|value| known && (name != "log" || LEVELS.contains(value)))?;
        set(name, value);
    }
    Some(rule)
}

/// Where a line belongs.
enum Place {
    Options,
    Aliases,
    Rules,
    Group(String),
    Set(String),
}

impl Conf {
    /// Reads a file. Lines that cannot be read are left out, with a warning in a log that no call shows.
    pub(super) fn parse(text: &str, env: Env, cluster: Option<&Self>, now: u64) -> Self {
        let mut conf = Self::default();
        let (has_sets, has_groups) = (env != Env::Host, env == Env::Cluster);
        let mut place = None;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let named = |place: &mut Option<Place>, name: String, make: fn(String) -> Place| {
                *place = address::is_name(&name).then(|| make(name));
            };
            match line.to_ascii_lowercase().as_str() {
                "[options]" => place = Some(Place::Options),
                "[aliases]" if has_sets => place = Some(Place::Aliases),
                "[rules]" => place = Some(Place::Rules),
                _ => {
                    if let Some((name, comment)) = heading(line, "group").filter(|_| has_groups) {
                        conf.groups.insert(name.clone(), Vec::new());
                        conf.group_comments.extend(comment.map(|comment| (name.clone(), comment)));
                        named(&mut place, name, Place::Group);
                    } else if let Some((name, comment)) = heading(line, "ipset").filter(|_| has_sets) {
                        conf.ipsets.insert(name.clone(), Vec::new());
                        conf.ipset_comments.extend(comment.map(|comment| (name.clone(), comment)));
                        named(&mut place, name, Place::Set);
                    } else if let Some(place) = &place {
                        conf.line(line, place, env, cluster, now);
                    }
                }
            }
        }
        conf
    }

    fn line(&mut self, line: &str, place: &Place, env: Env, cluster: Option<&Self>, now: u64) {
        match place {
            Place::Options => self.options.extend(option(env, line, now)),
            Place::Aliases => {
                let (text, comment) = split_comment(line);
                if let Some((name, cidr)) = text.trim().split_once(char::is_whitespace)
                    && let Ok((cidr, version)) = address::parse_cidr(cidr.trim())
                {
                    let comment = comment.filter(|comment| !comment.is_empty());
                    let alias = Alias { name: name.to_owned(), cidr, comment, version: Some(version) };
                    self.aliases.insert(name.to_ascii_lowercase(), alias);
                }
            }
            Place::Rules => {
                let Some(mut rule) = rule(line) else { return };
                if rule.verify_all(Around { env, cluster, own: Some(self) }).is_ok() {
                    self.rules.push(rule);
                }
            }
            Place::Group(name) => {
                let Some(mut rule) = rule(line) else { return };
                let around = Around { env: Env::Group, cluster: Some(self), own: None };
                if rule.verify_all(around).is_ok() {
                    self.groups.entry(name.clone()).or_default().push(rule);
                }
            }
            Place::Set(name) => {
                let entry = self.entry(line, name, cluster);
                self.ipsets.entry(name.clone()).or_default().push(entry);
            }
        }
    }

    fn entry(&self, line: &str, set: &str, cluster: Option<&Self>) -> Entry {
        let (text, comment) = split_comment(line);
        let nomatch = text.starts_with('!');
        let cidr = text.trim_start_matches('!').trim();
        let mut errors = BTreeMap::new();
        let mut kept = cidr.to_owned();
        if address::alias(cidr).is_some() {
            if self.resolve(cluster, cidr).is_none() {
                let name = cidr.rsplit('/').next().unwrap_or(cidr);
                errors.insert("cidr".to_owned(), format!("no such alias '{name}'"));
            }
        } else {
            match address::parse_cidr(cidr) {
                Ok((cidr, _)) => kept = cidr,
                Err(text) => drop(errors.insert("cidr".to_owned(), text)),
            }
        }
        if errors.is_empty() && self.ipsets.get(set).is_some_and(|list| list.iter().any(|other| other.cidr == kept)) {
            errors.insert("cidr".to_owned(), format!("duplicate ipset entry for '{kept}'"));
        }
        if is_everything(&kept) {
            errors.insert("cidr".to_owned(), "a zero prefix is not allowed in ipset entries\n".to_owned());
        }
        Entry { cidr: kept, nomatch, comment: comment.filter(|comment| !comment.is_empty()), errors }
    }

    /// The alias that a text names, here or in the cluster's file.
    pub(super) fn resolve<'a>(&'a self, cluster: Option<&'a Self>, text: &str) -> Option<&'a Alias> {
        let (scope, name) = address::alias(text)?;
        let name = name.to_ascii_lowercase();
        // The cluster's own file is the cluster's.
        let (own, cluster) = if cluster.is_some() { (Some(self), cluster) } else { (None, Some(self)) };
        let own = own.filter(|_| scope != "dc/").and_then(|conf| conf.aliases.get(&name));
        own.or_else(|| cluster.filter(|_| scope != "guest/").and_then(|conf| conf.aliases.get(&name)))
    }

    /// The file's text; empty for a file that is not there.
    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        if !self.options.is_empty() {
            text.push_str("[OPTIONS]\n\n");
            for (name, value) in &self.options {
                text.push_str(&format!("{name}: {value}\n"));
            }
            text.push('\n');
        }
        if !self.aliases.is_empty() {
            text.push_str("[ALIASES]\n\n");
            for alias in self.aliases.values() {
                let comment = commented(alias.comment.as_deref());
                text.push_str(&format!("{} {}{comment}\n", alias.name, alias.cidr));
            }
            text.push('\n');
        }
        for (name, entries) in &self.ipsets {
            let comment = self.ipset_comments.get(name).filter(|comment| !comment.is_empty());
            let comment = comment.map(|comment| format!(" # {comment}")).unwrap_or_default();
            text.push_str(&format!("[IPSET {name}]{comment}\n\n"));
            // The first of two equal ones stays; they stand in the order of their texts.
            let mut sorted: BTreeMap<&str, &Entry> = BTreeMap::new();
            for entry in entries {
                sorted.entry(&entry.cidr).or_insert(entry);
            }
            for entry in sorted.into_values() {
                let not = if entry.nomatch { "!" } else { "" };
                text.push_str(&format!("{not}{}{}\n", entry.cidr, commented(entry.comment.as_deref())));
            }
            text.push('\n');
        }
        if !self.rules.is_empty() {
            text.push_str("[RULES]\n\n");
            text.extend(self.rules.iter().map(|rule| written(rule, true)));
            text.push('\n');
        }
        for (name, rules) in &self.groups {
            let comment = self.group_comments.get(name).filter(|comment| !comment.is_empty());
            let comment = comment.map(|comment| format!(" # {comment}")).unwrap_or_default();
            text.push_str(&format!("[group {name}]{comment}\n\n"));
            text.extend(rules.iter().map(|rule| written(rule, false)));
            text.push('\n');
        }
        text
    }
}

/// True for a network that is all there is.
pub(super) fn is_everything(cidr: &str) -> bool {
    cidr.rsplit_once('/').is_some_and(|(_, prefix)| !prefix.is_empty() && prefix.bytes().all(|b| b == b'0'))
}

fn commented(comment: Option<&str>) -> String {
    comment.filter(|comment| !comment.trim().is_empty()).map(|comment| format!(" # {comment}")).unwrap_or_default()
}

fn written(rule: &Rule, with_iface: bool) -> String {
    let get = |name: &str| rule.get(name);
    let kind = get("type").unwrap_or_default();
    let mut text = String::new();
    if rule.values.get("enable").is_some_and(|flag| flag == "0") {
        text.push('|');
    }
    text.push_str(&kind.to_ascii_uppercase());
    let action = get("action").unwrap_or_default();
    match get("macro") {
        Some(name) => text.push_str(&format!(" {name}({action})")),
        None => text.push_str(&format!(" {action}")),
    }
    if let Some(iface) = get("iface").filter(|_| with_iface) {
        text.push_str(&format!(" -i {iface}"));
    }
    if kind != "group" {
        let named = [
            ("source", "source"),
            ("dest", "dest"),
            ("p", "proto"),
            ("dport", "dport"),
            ("sport", "sport"),
            ("log", "log"),
            ("icmp-type", "icmp-type"),
        ];
        for (flag, name) in named {
            if let Some(value) = get(name) {
                text.push_str(&format!(" -{flag} {value}"));
            }
        }
    }
    text.push_str(&commented(get("comment")));
    text.push('\n');
    text
}

/// Things with a digest over all of them, as lists show them.
pub(super) fn with_digest(mut list: Vec<Map<String, Value>>) -> (Vec<Value>, String) {
    let digest = sha1_hex(&list.iter().map(lines).collect::<String>());
    for object in &mut list {
        object.insert("digest".to_owned(), json!(digest));
    }
    (list.into_iter().map(Value::Object).collect(), digest)
}

/// What the digest is made of: every plain property, in order.
pub(super) fn lines(object: &Map<String, Value>) -> String {
    let mut pairs: Vec<(&String, String)> = object
        .iter()
        .filter_map(|(name, value)| match value {
            Value::String(text) => Some((name, text.clone())),
            Value::Number(number) => Some((name, number.to_string())),
            _ => None,
        })
        .collect();
    pairs.sort();
    pairs.into_iter().map(|(name, value)| format!("{name}:{value}\n")).collect()
}

impl Rule {
    pub(super) fn json(&self) -> Map<String, Value> {
        let shown = |name: &str, value: &str| match name {
            "enable" | "ipversion" => value.parse::<i64>().map_or_else(|_| json!(value), |number| json!(number)),
            _ => json!(value),
        };
        let mut object: Map<String, Value> =
            self.values.iter().map(|(name, value)| (name.clone(), shown(name, value))).collect();
        if !self.errors.is_empty() {
            object.insert("errors".to_owned(), json!(self.errors));
        }
        object
    }
}

impl Alias {
    pub(super) fn json(&self) -> Map<String, Value> {
        let mut object = Map::from_iter([("cidr".to_owned(), json!(self.cidr)), ("name".to_owned(), json!(self.name))]);
        object.extend(self.comment.as_ref().map(|comment| ("comment".to_owned(), json!(comment))));
        object.extend(self.version.map(|version| ("ipversion".to_owned(), json!(version))));
        object
    }
}

impl Entry {
    pub(super) fn json(&self) -> Map<String, Value> {
        let mut object = Map::from_iter([("cidr".to_owned(), json!(self.cidr))]);
        object.extend(self.nomatch.then(|| ("nomatch".to_owned(), json!(1))));
        object.extend(self.comment.as_ref().map(|comment| ("comment".to_owned(), json!(comment))));
        if !self.errors.is_empty() {
            object.insert("errors".to_owned(), json!(self.errors));
        }
        object
    }
}

/// Options as an answer shows them, without the digest.
pub(super) fn options_json(options: &BTreeMap<String, String>) -> Map<String, Value> {
    let shown = |name: &str, value: &str| match value.parse::<u64>() {
        Ok(number) if name != "ips_queues" => json!(number),
        _ => json!(value),
    };
    options.iter().map(|(name, value)| (name.clone(), shown(name, value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(text: &str, env: Env) -> String {
        Conf::parse(text, env, None, 1000).render()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = "[OPTIONS]\n\nenable: 1\npolicy_in: DROP\n\n[ALIASES]\n\nWeb 192.0.2.5 # x\n\n\
            [IPSET set1] # of them\n\n!192.0.2.0/24\n198.51.100.1 # one\n\n\
            [RULES]\n\n|IN HTTP(ACCEPT) -i net0 -source dc/web -log info # ssh\nGROUP web -i net1\n\
            OUT DROP -dest +set1 -p tcp -dport 80,443 -sport 1:2\n\n\
            [group web] # rules\n\nIN ACCEPT -p icmp -icmp-type any\n\n";
        assert_eq!(again(text, Env::Cluster), text);
        assert_eq!(again("", Env::Vm), "");
        assert_eq!(
            again("[OPTIONS]\nenable: 2\nnonsense\nENABLE: 1\n[x]\nIN DROP\n", Env::Vm),
            "[OPTIONS]\n\nenable: 1\n\n"
        );
        assert_eq!(
            again("[RULES]\nIN ACCEPT -p tcp # multi\nline\nIN\nIN DROP -q\n", Env::Vm),
            "[RULES]\n\nIN ACCEPT -p tcp # multi\n\n"
        );
        // Being on for a minute ends.
        assert_eq!(again("[OPTIONS]\nenable: 900\n", Env::Cluster), "[OPTIONS]\n\nenable: 0\n\n");
        assert_eq!(again("[OPTIONS]\nenable: 990\n", Env::Cluster), "[OPTIONS]\n\nenable: 990\n\n");
    }

    #[test]
    fn digests_are_proxmoxs() {
        let text = "[OPTIONS]\n\nenable: 0\npolicy_in: DROP\n\n[RULES]\n\nIN ACCEPT -p tcp -dport 80,443 # c\n\n";
        let conf = Conf::parse(text, Env::Cluster, None, 0);
        assert_eq!(sha1_hex(&lines(&options_json(&conf.options))), "b0fb1c1b9a22ace2455acb1c9ce3c90eae0b6897");
        let (_, digest) = with_digest(conf.rules.iter().map(Rule::json).collect());
        assert_eq!(digest, "ce287c4433ebb55a13421495854864411acb26ed");
    }

    #[test]
    fn what_is_wrong_in_a_file_is_shown() {
        let conf = Conf::parse("[RULES]\nIN DROP -source nope\n[IPSET s1]\n0.0.0.0/0\nnope\n", Env::Vm, None, 0);
        assert_eq!(conf.rules[0].json()["errors"], json!({ "source": "no such alias 'nope'" }));
        let errors: Vec<&String> = conf.ipsets["s1"].iter().map(|entry| &entry.errors["cidr"]).collect();
        assert_eq!(errors, ["a zero prefix is not allowed in ipset entries\n", "no such alias 'nope'"]);
    }
}
