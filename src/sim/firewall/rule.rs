//! One rule: what it may say, and what Proxmox says to the rest.

use std::collections::BTreeMap;

use super::address;
use super::file::Conf;
use super::names;
use crate::sim::answer::Failure;

/// Where a rule stands; what it may say depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Env {
    Cluster,
    Group,
    Host,
    Vm,
    Ct,
}

impl Env {
    const fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Group => "group",
            Self::Host => "host",
            Self::Vm => "vm",
            Self::Ct => "ct",
        }
    }

    pub(super) const fn is_guest(self) -> bool {
        matches!(self, Self::Vm | Self::Ct)
    }

    const fn takes(self, kind: &str) -> bool {
        match kind.as_bytes() {
            b"in" | b"out" => true,
            b"forward" => !self.is_guest(),
            b"group" => !matches!(self, Self::Group),
            _ => false,
        }
    }
}

/// A rule: its properties as texts, and what is wrong with it where it was written by hand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) values: BTreeMap<String, String>,
    pub(super) errors: BTreeMap<String, String>,
}

/// Properties that can be removed from a rule.
pub(super) const PROPERTIES: &[&str] = &[
    "pos",
    "digest",
    "type",
    "action",
    "macro",
    "iface",
    "source",
    "dest",
    "proto",
    "enable",
    "log",
    "sport",
    "dport",
    "comment",
    "icmp-type",
];

/// Protocols that have ports, by name and number.
const WITH_PORTS: &[&str] = &["udp", "17", "udplite", "136", "tcp", "6", "dccp", "33", "sctp", "132"];

fn is_icmp(protocol: &str) -> bool {
    matches!(protocol, "icmp" | "icmpv6" | "ipv6-icmp")
}

fn known(list: &str, name: &str) -> bool {
    list.split_ascii_whitespace().any(|known| known == name)
}

/// Checks a protocol's name or number.
pub(super) fn check_protocol(name: &str) -> Result<(), String> {
    let mut pairs = names::PROTOCOLS.split_ascii_whitespace().filter_map(|pair| pair.split_once('='));
    if name.is_empty() || name == "0" || pairs.any(|(known, number)| name == known || name == number) {
        return Ok(());
    }
    Err(format!("unknown protocol '{name}'"))
}

/// Checks a type of ICMP message.
pub(super) fn check_icmp(name: &str) -> Result<(), String> {
    if name.is_empty() || known(names::ICMP, name) || known(names::ICMP_6, name) {
        return Ok(());
    }
    Err(format!("invalid icmp-type value '{name}'"))
}

/// Checks a list of ports; types of ICMP messages used to be written there, too.
pub(super) fn check_ports(text: &str, icmp: bool) -> Result<(), String> {
    if text.ends_with(',') {
        return Err("extraneous commas in list".to_owned());
    }
    let (mut count, mut has_icmp) = (0, false);
    let number = |text: &str| {
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    for item in text.split(',') {
        let range = item.split_once(':').and_then(|(from, to)| Some((number(from)?, number(to)?, from, to)));
        if let Some((from, to, from_text, to_text)) = range {
            count += 2;
            for (port, text) in [(from, from_text), (to, to_text)] {
                if port > 65535 {
                    return Err(format!("invalid port '{text}'"));
                }
            }
            if from > to {
                return Err(format!(
                    "backwards range '{from_text}:{to_text}' not allowed, did you mean '{to_text}:{from_text}'?"
                ));
            }
        } else if let Some(port) = number(item) {
            count += 1;
            if port > 65535 {
                return Err(format!("invalid port '{item}'"));
            }
        } else if icmp && (known(names::ICMP, item) || known(names::ICMP_6, item)) {
            has_icmp = true;
        } else if !known(names::SERVICES, item) {
            return Err(format!("invalid port '{item}'"));
        }
    }
    if has_icmp && count > 0 {
        return Err("ICMP ports not allowed in port range".to_owned());
    }
    if count > 15 { Err("too many entries in port list (> 15 numbers)".to_owned()) } else { Ok(()) }
}

/// A macro by its name in any case: the name as it is kept, and what it matches.
fn find_macro(name: &str, version: Option<u8>) -> Option<(&'static str, Option<&'static str>)> {
    let find = |list: &'static str| {
        list.lines().filter_map(|line| line.split_once(' ')).find(|(known, _)| known.eq_ignore_ascii_case(name))
    };
    match (find(names::MACROS), find(names::MACROS_6)) {
        (Some((known, _)), Some((_, six))) if version == Some(6) => Some((known, Some(six))),
        (Some((known, four)), _) => Some((known, Some(four))),
        // One for IPv6 alone means nothing in a rule about IPv4.
        (None, Some((known, six))) => Some((known, (version != Some(4)).then_some(six))),
        (None, None) => None,
    }
}

/// What a rule says must not contradict its macro.
fn check_macro(matched: &str, values: &BTreeMap<String, String>) -> Result<(), (String, String)> {
    for part in matched.split(' ') {
        let mut fields = part.split('/');
        for name in ["proto", "dport", "sport"] {
            if let (Some(own), Some(given)) = (fields.next(), values.get(name))
                && own != given
            {
                let text = format!("parameter '{name}' already define in macro (value = '{own}')");
                return Err((name.to_owned(), text));
            }
        }
    }
    Ok(())
}

/// What a check needs to know beside the rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) env: Env,
    /// The cluster's file, where it is not the rule's own.
    pub(super) cluster: Option<&'a Conf>,
    /// The file that the rule stands in.
    pub(super) own: Option<&'a Conf>,
}

impl Around<'_> {
    fn has_ipset(&self, name: &str) -> bool {
        [self.cluster, self.own].into_iter().flatten().any(|conf| conf.ipsets.contains_key(name))
    }

    /// The IP version of an alias; nothing where there is no such alias.
    fn alias(&self, scope: &str, name: &str) -> Option<Option<u8>> {
        let find =
            |conf: Option<&Conf>| conf.and_then(|conf| conf.aliases.get(&name.to_ascii_lowercase())).map(|a| a.version);
        let (own, cluster) = (find(self.own), find(self.cluster));
        own.or(cluster)?;
        Some(own.filter(|_| scope != "dc/").or_else(|| cluster.filter(|_| scope != "guest/")).flatten())
    }
}

/// One wrong property, or a failure that names none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    Property(String, String),
    Rule(String),
}

impl Wrong {
    pub(super) fn failure(self) -> Failure {
        match self {
            Self::Property(name, text) => Failure::parameter(&name, text),
            Self::Rule(text) => Failure::Die(text),
        }
    }
}

/// Collects what is wrong, or stops at the first.
struct Report {
    all: bool,
    found: BTreeMap<String, String>,
}

impl Report {
    fn add(&mut self, name: &str, text: impl Into<String>) -> Result<(), Wrong> {
        if !self.all {
            return Err(Wrong::Property(name.to_owned(), text.into()));
        }
        self.found.entry(name.to_owned()).or_insert_with(|| text.into());
        Ok(())
    }

    fn check(&mut self, name: &str, result: Result<(), String>) -> Result<(), Wrong> {
        result.map_or_else(|text| self.add(name, text), Ok)
    }
}

impl Rule {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !matches!(*value, "" | "0"))
    }

    /// Checks a rule and stops at the first thing that is wrong.
    pub(super) fn verify(&mut self, around: Around) -> Result<(), Wrong> {
        self.run(around, &mut Report { all: false, found: BTreeMap::new() })
    }

    /// Checks a rule that stands in a file; what is wrong with it stays with it.
    pub(super) fn verify_all(&mut self, around: Around) -> Result<(), Wrong> {
        let mut report = Report { all: true, found: BTreeMap::new() };
        self.run(around, &mut report)?;
        self.errors = report.found;
        Ok(())
    }

    fn run(&mut self, around: Around, report: &mut Report) -> Result<(), Wrong> {
        self.run_type(around.env, report)?;
        if let Some(iface) = self.get("iface").map(str::to_owned) {
            if around.env == Env::Group {
                report.add("type", "parameter -i not allowed for this rule type")?;
            }
            let digits = iface.strip_prefix("net").filter(|rest| !rest.is_empty());
            if around.env.is_guest() && !digits.is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit())) {
                report.add("iface", "value does not match the regex pattern 'net\\d+'")?;
            }
        }
        if let Some(name) = self.get("macro") {
            match find_macro(name, None) {
                Some((known, _)) => drop(self.values.insert("macro".to_owned(), known.to_owned())),
                None => report.add("macro", format!("unknown macro '{name}'"))?,
            }
        }
        let mut version = self.run_protocol(report)?;
        for name in ["source", "dest"] {
            self.run_address(name, around, &mut version, report)?;
        }
        if let Some(version) = version {
            self.values.insert("ipversion".to_owned(), version.to_string());
        }
        if let Some(name) = self.get("macro").filter(|_| report.found.is_empty())
            && let Some((_, Some(matched))) = find_macro(name, version)
            && let Err((name, text)) = check_macro(matched, &self.values)
        {
            report.add(&name, text)?;
        }
        Ok(())
    }

    fn run_type(&self, env: Env, report: &mut Report) -> Result<(), Wrong> {
        let (kind, action) = (self.get("type"), self.get("action"));
        if kind.is_none() {
            report.add("type", "missing property")?;
        }
        if action.is_none() {
            report.add("action", "missing property")?;
        }
        let (Some(kind), action) = (kind, action.unwrap_or_default()) else { return Ok(()) };
        if !env.takes(kind) {
            report.add("type", format!("invalid rule type '{kind}' for rule_env '{}'", env.name()))?;
        }
        match kind {
            "in" | "out" | "forward" => {
                if kind == "forward" && action == "REJECT" {
                    report.add("action", "cannot define REJECT rules on forward chain")?;
                }
                if !matches!(action, "ACCEPT" | "DROP" | "REJECT" | "") {
                    report.add("action", format!("unknown action '{action}'"))?;
                }
            }
            "group" => {
                if env == Env::Group {
                    report.add("type", "security groups not allowed")?;
                }
                if !action.is_empty() && !address::is_name(action) {
                    report.add("action", "invalid characters in security group name")?;
                }
            }
            _ => report.add("type", format!("unknown rule type '{kind}'"))?,
        }
        Ok(())
    }

    /// Checks protocol and ports; the IP version that the protocol means.
    fn run_protocol(&self, report: &mut Report) -> Result<Option<u8>, Wrong> {
        let protocol = self.get("proto");
        if let Some(protocol) = protocol {
            report.check("proto", check_protocol(protocol))?;
        }
        let icmp = protocol.is_some_and(is_icmp);
        let has_ports = protocol.is_some_and(|protocol| WITH_PORTS.contains(&protocol));
        let needs = |name: &str| format!("missing property - '{name}' requires this property");
        let shown = protocol.unwrap_or_default();
        if let Some(ports) = self.get("dport") {
            report.check("dport", check_ports(ports, icmp))?;
            if protocol.is_none() {
                report.add("proto", needs("dport"))?;
            }
            if !has_ports && !icmp {
                report.add("dport", format!("protocol '{shown}' does not support ports"))?;
            }
        }
        if let Some(kind) = self.get("icmp-type") {
            if !icmp {
                report.add("proto", needs("icmp-type"))?;
            }
            if self.get("dport").is_some() {
                report.add("icmp-type", "'icmp-type' cannot be specified together with 'dport'")?;
            }
            let list = if shown == "icmp" { names::ICMP } else { names::ICMP_6 };
            if icmp && !known(list, kind) {
                report.add("icmp-type", format!("invalid icmp-type '{kind}' for proto '{shown}'"))?;
            }
        }
        if let Some(ports) = self.get("sport") {
            report.check("sport", check_ports(ports, false))?;
            if protocol.is_none() {
                report.add("proto", needs("sport"))?;
            }
            if !has_ports {
                report.add("sport", format!("protocol '{shown}' does not support ports"))?;
            }
        }
        Ok(match shown {
            "icmp" => Some(4),
            "icmpv6" | "ipv6-icmp" => Some(6),
            _ => None,
        })
    }

    fn run_address(
        &self,
        name: &str,
        around: Around,
        version: &mut Option<u8>,
        report: &mut Report,
    ) -> Result<(), Wrong> {
        const MIXED: &str = "detected mixed ipv4/ipv6 addresses in rule";
        let Some(value) = self.get(name) else { return Ok(()) };
        match address::check_list(value) {
            Err(text) => report.add(name, text)?,
            Ok(Some(own)) if version.is_some_and(|version| version != own) => report.add(name, MIXED)?,
            Ok(own) => *version = version.or(own),
        }
        if let Some(set) = value.strip_prefix('+') {
            let bare = ["guest/", "dc/", "sdn/"].iter().find_map(|scope| set.strip_prefix(scope)).unwrap_or(set);
            if !address::is_name(bare) {
                report.add(name, format!("invalid ipset name '{value}'"))?;
            } else if !around.has_ipset(bare) {
                report.add(name, format!("no such ipset '{bare}'"))?;
            }
        } else if let Some((scope, alias)) = address::alias(value) {
            match around.alias(scope, alias) {
                None => report.add(name, format!("no such alias '{value}'"))?,
                Some(Some(own)) if version.is_some_and(|version| version != own) => {
                    return Err(Wrong::Rule(MIXED.to_owned()));
                }
                Some(own) => *version = version.or(own),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(env: Env, text: &str) -> String {
        let values = text.split(' ').filter_map(|pair| pair.split_once('='));
        let mut rule = Rule { values: values.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(), ..Rule::default() };
        match rule.verify(Around { env, cluster: None, own: None }) {
            Ok(()) => String::new(),
            Err(Wrong::Property(name, text)) => format!("{name}: {text}"),
            Err(Wrong::Rule(text)) => text,
        }
    }

    #[test]
    fn what_a_rule_may_say() {
        let vm = |text| wrong(Env::Vm, text);
        for fine in [
            "type=in action=ACCEPT",
            "type=in action=DROP proto=tcp dport=80,443,8000:8080,ssh source=10.0.0.0/8",
            "type=group action=web iface=net0",
            "type=out action=REJECT macro=ping proto=icmp",
            "type=in action=ACCEPT proto=icmp icmp-type=echo-request dest=192.0.2.1-192.0.2.9",
        ] {
            assert_eq!(vm(fine), "", "{fine}");
        }
        assert_eq!(vm("type=in"), "action: missing property");
        assert_eq!(vm("type=forward action=DROP"), "type: invalid rule type 'forward' for rule_env 'vm'");
        assert_eq!(vm("type=in action=FOO"), "action: unknown action 'FOO'");
        assert_eq!(vm("type=in action=DROP iface=eth0"), "iface: value does not match the regex pattern 'net\\d+'");
        assert_eq!(vm("type=in action=DROP macro=nope"), "macro: unknown macro 'nope'");
        assert_eq!(vm("type=in action=DROP dport=22"), "proto: missing property - 'dport' requires this property");
        assert_eq!(vm("type=in action=DROP proto=gre dport=22"), "dport: protocol 'gre' does not support ports");
        assert_eq!(
            vm("type=in action=DROP macro=HTTP proto=tcp dport=81"),
            "dport: parameter 'dport' already define in macro (value = '80')"
        );
        assert_eq!(
            vm("type=in action=DROP source=10.0.0.1 dest=2001:db8::1"),
            "dest: detected mixed ipv4/ipv6 addresses in rule"
        );
        assert_eq!(vm("type=in action=DROP source=+set"), "source: no such ipset 'set'");
        assert_eq!(vm("type=in action=DROP source=dc/web"), "source: no such alias 'dc/web'");
        assert_eq!(wrong(Env::Group, "type=group action=web"), "type: invalid rule type 'group' for rule_env 'group'");
        assert_eq!(
            wrong(Env::Host, "type=forward action=REJECT"),
            "action: cannot define REJECT rules on forward chain"
        );
    }

    #[test]
    fn ports() {
        assert_eq!(check_ports("70000", false).unwrap_err(), "invalid port '70000'");
        assert_eq!(check_ports("x", false).unwrap_err(), "invalid port 'x'");
        assert_eq!(check_ports("80,", false).unwrap_err(), "extraneous commas in list");
        assert_eq!(check_ports("9:8", false).unwrap_err(), "backwards range '9:8' not allowed, did you mean '8:9'?");
        assert!(check_ports("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16", false).is_err());
        assert!(check_ports("echo-request", false).is_err() && check_ports("echo-request", true).is_ok());
    }
}
