//! From variables to settings, with every problem reported at once.

use std::collections::BTreeMap;
use std::time::Duration;

use super::settings::{
    Access, Allocations, ClusterSettings, Credentials, Limits, Pattern, Registry, TicketLogin, Tls, Token, VmidRange,
};
use super::syntax;
use super::variables::{Origin, Variable, Variables};
use crate::diagnostics::Diagnostic;
use crate::pve::schema::nearest;
use crate::pve::value::{parse_boolean, parse_vmid_range};
use crate::secret::Secret;

/// Where a token's secret is, when a variable does not hold it itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// `TOKEN_SECRET_FILE`: the content of this file, without the line end.
    File(String),
    /// `TOKEN_SECRET_COMMAND`: what this command prints, without the line end.
    Command(String),
}

/// The suffixes of a cluster's variables.
const SUFFIXES: [&str; 21] = [
    "API_URL",
    "TOKEN_ID",
    "TOKEN_SECRET",
    "TOKEN_SECRET_FILE",
    "TOKEN_SECRET_COMMAND",
    "USERNAME",
    "PASSWORD",
    "VERIFY",
    "CA_FILE",
    "FINGERPRINT",
    "DEFAULT_NODE",
    "DEFAULT_STORAGE",
    "DEFAULT_BRIDGE",
    "REGION",
    "TIER",
    "ACCESS",
    "MAX_REQUESTS_PER_NODE",
    "MAX_REQUESTS",
    "MAX_ALLOCATIONS_PER_STORAGE",
    "MAX_ALLOCATIONS_PER_NODE",
    "MAX_ALLOCATIONS",
];

/// Those without which more is allowed.
const PROTECTS: [&str; 4] = ["VERIFY", "CA_FILE", "FINGERPRINT", "ACCESS"];

/// One of these without a cluster's name means that there is a single cluster.
const SINGLE: [&str; 5] = ["API_URL", "TOKEN_ID", "TOKEN_SECRET", "USERNAME", "PASSWORD"];

const CLUSTERS: &str = "PROXMOX_CLUSTERS";
const PATTERNS: &str = "PROXMOX_CLUSTER_PATTERNS";
const RANGES: &str = "PROXMOX_CLUSTER_VMID_RANGES";
const VALIDATION: &str = "PROXMOX_CLUSTER_VALIDATION";
const CACHE_TTL: &str = "PROXMOX_CLUSTER_CACHE_TTL";

/// Reads the settings of all clusters, and the rules that route guests to them.
///
/// `resolve` fetches a token's secret from a file or command. A caller that will not connect may answer
/// with any text.
///
/// # Errors
///
/// Every problem of every variable. None of them holds a value that may be a secret.
pub fn load(
    variables: &Variables,
    resolve: &dyn Fn(&SecretSource) -> Result<String, String>,
) -> Result<Registry, Vec<Diagnostic>> {
    let mut loader = Loader { variables, resolve, problems: variables.problems().to_vec() };
    let registry = loader.registry();
    if loader.problems.is_empty() { Ok(registry) } else { Err(loader.problems) }
}

struct Loader<'a> {
    variables: &'a Variables,
    resolve: &'a dyn Fn(&SecretSource) -> Result<String, String>,
    problems: Vec<Diagnostic>,
}

/// A variable that is set, with the name that set it.
#[derive(Clone)]
struct Found<'a> {
    name: String,
    text: &'a str,
    variable: &'a Variable,
}

impl<'a> Loader<'a> {
    fn registry(&mut self) -> Registry {
        let declared = self.find(CLUSTERS);
        let names = declared.as_ref().map(|found| self.names(found)).unwrap_or_default();
        let multi = declared.is_some();
        let clusters = if multi {
            self.check_folding(&names, declared.as_ref());
            self.check_spelling(Some(&names));
            names.iter().map(|name| self.cluster(name, true)).collect()
        } else if SINGLE.iter().any(|suffix| self.find(&format!("PROXMOX_{suffix}")).is_some()) {
            self.check_spelling(None);
            vec![self.cluster("default", false)]
        } else {
            self.problems.push(Diagnostic::error("no-cluster", "no cluster is configured").hint(
                "set PROXMOX_CLUSTERS and a block of PROXMOX_CLUSTER_<name>_… variables for each, or \
                 PROXMOX_API_URL for a single cluster; .env.example.multi shows both",
            ));
            Vec::new()
        };
        let known: Vec<String> = clusters.iter().map(|cluster: &ClusterSettings| cluster.name.clone()).collect();
        Registry {
            patterns: self.patterns(&known),
            ranges: self.ranges(&known),
            validation: self.boolean(VALIDATION).unwrap_or(true),
            cache_ttl: self.cache_ttl(),
            multi,
            clusters,
        }
    }

    /// The variable, unless it is unset or blank.
    fn find(&self, name: &str) -> Option<Found<'a>> {
        let variable = self.variables.get(name)?;
        let text = variable.value.expose().trim();
        (!text.is_empty()).then(|| Found { name: name.to_owned(), text, variable })
    }

    /// A cluster's variable under its name as written, or folded to what a shell can export.
    fn setting(&mut self, cluster: &str, multi: bool, suffix: &str) -> Option<Found<'a>> {
        if !multi {
            return self.find(&format!("PROXMOX_{suffix}"));
        }
        let written = format!("PROXMOX_CLUSTER_{cluster}_{suffix}");
        let folded = format!("PROXMOX_CLUSTER_{}_{suffix}", fold(cluster));
        let first = self.find(&written);
        if written == folded {
            return first;
        }
        let second = self.find(&folded);
        // What the environment sets wins over any file, under whichever name.
        let is_process = |found: &Found<'_>| matches!(found.variable.origin, Origin::Process);
        if let (Some(first), Some(second)) = (&first, &second)
            && is_process(first) != is_process(second)
        {
            return Some(if is_process(first) { first.clone() } else { second.clone() });
        }
        if let (Some(first), Some(second)) = (&first, &second)
            && first.text != second.text
        {
            self.report("settings-conflict", first, format!("{written} and {folded} are both set, and differ"));
            let problem = self.problems.pop().map(|problem| match &second.variable.origin {
                Origin::File(place) => problem.also(place, "the other one"),
                Origin::Process => problem,
            });
            self.problems.extend(problem.map(|problem| problem.hint("remove one of the two")));
        }
        first.or(second)
    }

    /// Adds a problem of one variable; `message` follows its name where it does not begin with it.
    fn report(&mut self, code: &str, found: &Found<'_>, message: String) {
        let message = if message.starts_with(&found.name) { message } else { format!("{}: {message}", found.name) };
        let problem = match &found.variable.origin {
            Origin::File(place) => Diagnostic::error(code, message).at(place),
            Origin::Process => Diagnostic::error(code, format!("{message} (set in the process environment)")),
        };
        self.problems.push(problem);
    }

    fn names(&mut self, found: &Found<'a>) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in items(found.text) {
            if !syntax::is_cluster_name(name) {
                self.report(
                    "cluster-name",
                    found,
                    format!(
                        "`{name}` is no cluster name; letters, digits, `.`, `_` and `-` are allowed, not `-` first"
                    ),
                );
            } else if names.iter().any(|known| known == name) {
                self.report("cluster-twice", found, format!("`{name}` is named twice"));
            } else {
                names.push(name.to_owned());
            }
        }
        if names.is_empty() && self.problems.is_empty() {
            self.report("no-cluster", found, "no cluster is named".to_owned());
        }
        names
    }

    fn check_folding(&mut self, names: &[String], declared: Option<&Found<'a>>) {
        let mut folded: BTreeMap<String, &str> = BTreeMap::new();
        for name in names {
            if let (Some(other), Some(declared)) = (folded.insert(fold(name), name), declared) {
                let message = format!("`{other}` and `{name}` share the variables PROXMOX_CLUSTER_{}_…", fold(name));
                self.report("cluster-twice", declared, message);
            }
        }
    }

    /// Finds variables that begin with a cluster's prefix and end in a misspelled setting.
    ///
    /// `…_ACESS=read` passed over in silence would let a run write where it may only read. Without clusters' names the
    /// prefix is every Proxmox tool's, and only what protects is looked at.
    fn check_spelling(&mut self, names: Option<&[String]>) {
        let ends_well = |name: &str| SUFFIXES.iter().any(|suffix| name.ends_with(&format!("_{suffix}")));
        let prefixes: Vec<String> = match names {
            Some(names) => names
                .iter()
                .flat_map(|name| [name.clone(), fold(name)])
                .map(|name| format!("PROXMOX_CLUSTER_{name}_"))
                .collect(),
            None => vec!["PROXMOX_".to_owned()],
        };
        for name in self.variables.names().filter(|name| !ends_well(name)) {
            let rest = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix));
            let Some((rest, found)) = rest.zip(self.find(name)) else { continue };
            let meant = nearest(rest, SUFFIXES).filter(|meant| names.is_some() || PROTECTS.contains(&meant.as_str()));
            if let Some(meant) = meant {
                self.report("unknown-setting", &found, format!("there is no setting `{rest}`"));
                if let Some(problem) = self.problems.pop() {
                    self.problems.push(problem.hint(format!("did you mean `{meant}`?")));
                }
            }
        }
    }

    fn cluster(&mut self, name: &str, multi: bool) -> ClusterSettings {
        let mut plain = |suffix: &str| self.setting(name, multi, suffix).map(|found| found.text.to_owned());
        let [default_node, default_storage, default_bridge] =
            ["DEFAULT_NODE", "DEFAULT_STORAGE", "DEFAULT_BRIDGE"].map(&mut plain);
        let [region, tier] = ["REGION", "TIER"].map(&mut plain);
        ClusterSettings {
            name: name.to_owned(),
            endpoints: self.endpoints(name, multi),
            credentials: self.credentials(name, multi),
            tls: self.tls(name, multi),
            default_node,
            default_storage,
            default_bridge,
            region,
            tier,
            access: self.access(name, multi),
            limits: self.limits(name, multi),
            allocations: self.allocations(name, multi),
        }
    }

    fn endpoints(&mut self, name: &str, multi: bool) -> Vec<String> {
        let Some(found) = self.setting(name, multi, "API_URL") else {
            self.missing(name, multi, "API_URL", "the address of its API, https://host:8006");
            return Vec::new();
        };
        let mut endpoints = Vec::new();
        for url in items(found.text) {
            match syntax::endpoint(url) {
                Ok(url) if endpoints.contains(&url) => {}
                Ok(url) => endpoints.push(url),
                Err(reason) => self.report("api-url", &found, reason),
            }
        }
        endpoints
    }

    fn missing(&mut self, name: &str, multi: bool, suffix: &str, what: &str) {
        let variable = if multi { format!("PROXMOX_CLUSTER_{name}_{suffix}") } else { format!("PROXMOX_{suffix}") };
        let mut problem = Diagnostic::error("missing-variable", format!("{variable} is not set"));
        problem.hint = Some(match self.find(CLUSTERS) {
            Some(found) if multi => {
                if let Origin::File(place) = &found.variable.origin {
                    problem = problem.at(place);
                }
                format!("cluster `{name}` of PROXMOX_CLUSTERS needs {what}")
            }
            _ => format!("the cluster needs {what}"),
        });
        self.problems.push(problem);
    }

    fn credentials(&mut self, name: &str, multi: bool) -> Credentials {
        let id = self.setting(name, multi, "TOKEN_ID");
        let secret = self.token_secret(name, multi);
        let username = self.setting(name, multi, "USERNAME");
        let password = self.setting(name, multi, "PASSWORD");
        let nothing = id.is_none() && secret.is_none() && username.is_none() && password.is_none();
        if nothing {
            self.missing(name, multi, "TOKEN_ID", "an API token: TOKEN_ID and TOKEN_SECRET");
            return Credentials::default();
        }
        if let Some(id) = id.as_ref().filter(|id| !syntax::is_token_id(id.text)) {
            // The value is not shown: a secret pasted behind the id is the usual slip.
            self.report("token-id", id, "is not of the form user@realm!name".to_owned());
        }
        if let Some(user) = username.as_ref().filter(|user| !syntax::is_user(user.text)) {
            self.report("username", user, format!("`{}` is not of the form user@realm, such as root@pam", user.text));
        }
        let token = match (id, secret) {
            (Some(id), Some(Some(secret))) => Some(Token { id: id.text.to_owned(), secret }),
            (None, Some(_)) => {
                self.missing(name, multi, "TOKEN_ID", "the id of the token whose secret is set");
                None
            }
            (Some(_), None) => {
                let what = "the token's secret; TOKEN_SECRET_FILE and TOKEN_SECRET_COMMAND also give it";
                self.missing(name, multi, "TOKEN_SECRET", what);
                None
            }
            _ => None,
        };
        let login = match (username, password) {
            (Some(user), Some(password)) => Some(TicketLogin {
                username: user.text.to_owned(),
                password: Secret::new(password.variable.value.expose()),
            }),
            (Some(_), None) => {
                self.missing(name, multi, "PASSWORD", "the password of its USERNAME");
                None
            }
            (None, Some(_)) => {
                self.missing(name, multi, "USERNAME", "the user of its PASSWORD");
                None
            }
            (None, None) => None,
        };
        Credentials { token, login }
    }

    /// The token's secret; `Some(None)` where it is set and cannot be had, which is reported.
    fn token_secret(&mut self, name: &str, multi: bool) -> Option<Option<Secret>> {
        let given: Vec<Found<'a>> = ["TOKEN_SECRET", "TOKEN_SECRET_FILE", "TOKEN_SECRET_COMMAND"]
            .iter()
            .filter_map(|suffix| self.setting(name, multi, suffix))
            .collect();
        let first = given.first()?;
        if let Some(second) = given.get(1) {
            self.report("settings-conflict", second, format!("{} is set too; keep one of the two", first.name));
            return Some(None);
        }
        let source = if first.name.ends_with("_FILE") {
            SecretSource::File(first.text.to_owned())
        } else if first.name.ends_with("_COMMAND") {
            SecretSource::Command(first.text.to_owned())
        } else {
            return Some(Some(Secret::new(first.text)));
        };
        let (code, problem) = match (self.resolve)(&source) {
            Ok(text) if text.trim().is_empty() => ("secret-source", "gives no secret".to_owned()),
            Ok(text) => return Some(Some(Secret::new(text.trim()))),
            Err(reason) => ("secret-source", reason),
        };
        self.report(code, first, problem);
        Some(None)
    }

    fn tls(&mut self, name: &str, multi: bool) -> Tls {
        let verify = self.setting(name, multi, "VERIFY");
        let ca = self.setting(name, multi, "CA_FILE");
        let fingerprint = self.setting(name, multi, "FINGERPRINT");
        let verified = verify.as_ref().and_then(|found| self.boolean_of(found)).unwrap_or(true);
        if let Some(found) = ca.as_ref().or(fingerprint.as_ref()).filter(|_| !verified) {
            self.report(
                "settings-conflict",
                found,
                "says how to check the server's certificate, and VERIFY turns the check off".to_owned(),
            );
        }
        if let (Some(ca), Some(fingerprint)) = (&ca, &fingerprint) {
            self.report("settings-conflict", fingerprint, format!("{} is set too; keep one of the two", ca.name));
        }
        if let Some(found) = fingerprint {
            let read: Option<Vec<_>> = items(found.text).map(syntax::fingerprint).collect();
            return match read.filter(|pins| !pins.is_empty()) {
                Some(pins) => Tls::Fingerprint(pins),
                None => {
                    let message = "is not a SHA-256 fingerprint: 32 pairs of hexadecimal digits, joined by colons";
                    self.report("fingerprint", &found, message.to_owned());
                    Tls::System
                }
            };
        }
        match ca {
            _ if !verified => Tls::Unverified,
            Some(found) => Tls::CaFile(found.text.to_owned()),
            None => Tls::System,
        }
    }

    fn access(&mut self, name: &str, multi: bool) -> Access {
        match self.setting(name, multi, "ACCESS") {
            Some(found) if found.text.eq_ignore_ascii_case("read") => Access::Read,
            Some(found) if found.text.eq_ignore_ascii_case("apply") => Access::Apply,
            Some(found) => {
                self.report("access", &found, format!("`{}` is neither `read` nor `apply`", found.text));
                Access::Read
            }
            None => Access::default(),
        }
    }

    fn limits(&mut self, name: &str, multi: bool) -> Limits {
        let Limits { per_node, in_all } = Limits::default();
        Limits {
            per_node: self.limit(name, multi, "MAX_REQUESTS_PER_NODE", (per_node, Limits::MOST_PER_NODE)),
            in_all: self.limit(name, multi, "MAX_REQUESTS", (in_all, Limits::MOST)),
        }
    }

    fn allocations(&mut self, name: &str, multi: bool) -> Allocations {
        let Allocations { per_storage, per_node, in_all } = Allocations::default();
        let most = Allocations::MOST_PER_PLACE;
        Allocations {
            per_storage: self.limit(name, multi, "MAX_ALLOCATIONS_PER_STORAGE", (per_storage, most)),
            per_node: self.limit(name, multi, "MAX_ALLOCATIONS_PER_NODE", (per_node, most)),
            in_all: self.limit(name, multi, "MAX_ALLOCATIONS", (in_all, Allocations::MOST)),
        }
    }

    fn limit(&mut self, name: &str, multi: bool, suffix: &str, (default, most): (usize, usize)) -> usize {
        let Some(found) = self.setting(name, multi, suffix) else { return default };
        match found.text.parse() {
            Ok(limit) if (1..=most).contains(&limit) => limit,
            _ => {
                let what = if suffix.starts_with("MAX_REQUESTS") { "requests" } else { "allocations" };
                let message = format!("`{}` is not a number of {what}, 1 to {most}", found.text);
                self.report("number", &found, message);
                default
            }
        }
    }

    fn boolean(&mut self, name: &str) -> Option<bool> {
        let found = self.find(name)?;
        self.boolean_of(&found)
    }

    fn boolean_of(&mut self, found: &Found<'_>) -> Option<bool> {
        let value = match found.text.to_ascii_lowercase().as_str() {
            "y" => Some(true),
            "n" => Some(false),
            other => parse_boolean(other),
        };
        if value.is_none() {
            let message = format!("`{}` is not a boolean; write true or false", found.text);
            self.report("boolean", found, message);
        }
        value
    }

    fn cache_ttl(&mut self) -> Duration {
        let default = Registry::CACHE_TTL;
        let Some(found) = self.find(CACHE_TTL) else { return default };
        let digits = found.text.bytes().all(|b| b.is_ascii_digit());
        match found.text.parse::<u32>() {
            Ok(seconds) if digits => Duration::from_secs(seconds.into()),
            _ => {
                self.report("number", &found, format!("`{}` is not a number of seconds", found.text));
                default
            }
        }
    }

    fn patterns(&mut self, known: &[String]) -> Vec<Pattern> {
        let Some(found) = self.find(PATTERNS) else { return Vec::new() };
        let mut patterns: Vec<Pattern> = Vec::new();
        for item in items(found.text) {
            let Some((text, cluster)) = self.pair(&found, item, known) else { continue };
            let pattern = match syntax::pattern(text, cluster) {
                Ok(pattern) => pattern,
                Err(reason) => {
                    self.report("pattern", &found, reason);
                    continue;
                }
            };
            let same = |known: &Pattern| known.text == pattern.text && known.regex.is_some() == pattern.regex.is_some();
            if patterns.iter().any(same) {
                self.report("pattern", &found, format!("`{}` stands twice", pattern.text));
            } else {
                patterns.push(pattern);
            }
        }
        patterns
    }

    fn ranges(&mut self, known: &[String]) -> Vec<(VmidRange, String)> {
        let Some(found) = self.find(RANGES) else { return Vec::new() };
        let mut ranges: Vec<(VmidRange, String)> = Vec::new();
        for item in items(found.text) {
            let Some((text, cluster)) = self.pair(&found, item, known) else { continue };
            let range = match parse_vmid_range(text) {
                Ok((first, last)) => VmidRange { first, last },
                Err(reason) => {
                    self.report("vmid-range", &found, reason);
                    continue;
                }
            };
            let overlap = ranges.iter().find(|(other, _)| range.first <= other.last && other.first <= range.last);
            if let Some((other, owner)) = overlap {
                let message = format!("`{item}` overlaps with {}-{}:{owner}", other.first, other.last);
                self.report("vmid-range", &found, message);
            } else {
                ranges.push((range, cluster.to_owned()));
            }
        }
        ranges
    }

    /// Splits `what:cluster` at the last colon, and reports what is wrong with it.
    fn pair<'b>(&mut self, found: &Found<'_>, item: &'b str, known: &[String]) -> Option<(&'b str, &'b str)> {
        let Some((text, cluster)) = item.rsplit_once(':').map(|(text, cluster)| (text.trim(), cluster.trim())) else {
            self.report("pattern", found, format!("`{item}` has no `:`; write what:cluster"));
            return None;
        };
        if text.is_empty() {
            self.report("pattern", found, format!("`{item}` has nothing before the `:`"));
        } else if cluster.is_empty() {
            self.report("pattern", found, format!("`{item}` names no cluster"));
        } else if !known.iter().any(|name| name == cluster) {
            let message = format!("`{item}` names the cluster `{cluster}`, which is not configured");
            self.report("unknown-cluster", found, message);
            if let Some(problem) = self.problems.pop() {
                self.problems.push(problem.hint(format!("configured: {}", known.join(", "))));
            }
        } else {
            return Some((text, cluster));
        }
        None
    }
}

/// The name as a POSIX shell can export it.
fn fold(name: &str) -> String {
    name.to_ascii_uppercase().replace(['-', '.'], "_")
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
#[path = "load_tests.rs"]
pub(crate) mod tests;
