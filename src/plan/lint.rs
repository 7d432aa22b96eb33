//! What of a manifest the clusters, as they were read, could never take: said at the line where it stands, for guests
//! that are there and for those that are not.

use super::create::creation_value;
use super::document::Reason;
use super::preflight::Needs;
use super::versions::{self, Fit};
use crate::desired::{CloneFrom, Desired, DesiredCluster, DesiredGuest};
use crate::diagnostics::{Diagnostic, Place};
use crate::live::{Live, LiveCluster, LiveGuest, Read};
use crate::pve::schema::nearest;

/// Everything that names what its cluster does not have: nodes, storages, bridges, pools, clone sources, options of
/// a newer version. What was not read is passed over with a warning, once a cluster.
pub fn lint(desired: &Desired, live: &Live) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for (name, wanted) in &desired.clusters {
        match live.clusters.get(name) {
            Some(Read::Known(seen)) => {
                for guest in &wanted.guests {
                    Linter { cluster: name, wanted, seen, guest, problems: &mut problems }.guest();
                }
            }
            Some(Read::Unread(why)) => problems.push(not_checked(name, why)),
            Some(Read::Absent) | None => problems.push(not_checked(name, "it was not read")),
        }
    }
    problems.sort_by(|a, b| (&a.place, &a.message).cmp(&(&b.place, &b.message)));
    problems.dedup();
    problems
}

fn not_checked(cluster: &str, why: &str) -> Diagnostic {
    let message = format!("nothing is checked against {cluster}: {why}");
    Diagnostic::warning("cluster-unread", message).hint("take a snapshot in which it could be read")
}

struct Linter<'a> {
    cluster: &'a str,
    wanted: &'a DesiredCluster,
    seen: &'a LiveCluster,
    guest: &'a DesiredGuest,
    problems: &'a mut Vec<Diagnostic>,
}

impl Linter<'_> {
    fn guest(&mut self) {
        self.nodes();
        self.pool();
        self.source();
        let nodes = self.candidates();
        let guest = self.guest;
        for (name, option) in &guest.options {
            let needs = Needs::of_option(guest.kind, name, &option.value);
            if let Some(reason) = nowhere(&needs, &nodes, self.seen) {
                self.report("not-found", reason, &option.place);
            }
            let text = creation_value(guest.kind, name, option).map(|(_, text)| text).unwrap_or_default();
            if let Fit::Refused(reason) = versions::fit(guest.kind, name, &text, &self.seen.version) {
                self.report("version", reason, &option.place);
            }
        }
    }

    fn report(&mut self, code: &'static str, reason: Reason, place: &Place) {
        let problem = Diagnostic::error(code, format!("{}: {}", self.cluster, reason.words)).at(place);
        self.problems.push(match reason.hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        });
    }

    fn missing(&mut self, what: &str, name: &str, known: &[&str], key: &str) {
        let guest = self.guest;
        let place = guest.origins.get(key).map_or(&guest.place, |origin| &origin.place);
        let hint = match nearest(name, known) {
            Some(near) => format!("did you mean `{near}`? there is {}", known.join(", ")),
            None if known.is_empty() => format!("there is no {what} at all"),
            None => format!("there is {}", known.join(", ")),
        };
        let problem = Diagnostic::error("not-found", format!("{}: there is no {what} `{name}`", self.cluster));
        self.problems.push(problem.at(place).hint(hint));
    }

    fn nodes(&mut self) {
        let known: Vec<&str> = self.seen.nodes.keys().map(String::as_str).collect();
        for node in self.guest.nodes.iter().filter(|node| !self.seen.nodes.contains_key(*node)) {
            self.missing("node", node, &known, "node");
        }
    }

    fn pool(&mut self) {
        let (Some(pool), Some(pools)) = (&self.guest.pool, self.seen.pools.known()) else { return };
        if !pools.contains(pool) {
            let known: Vec<&str> = pools.iter().map(String::as_str).collect();
            self.missing("pool", pool, &known, "pool");
        }
    }

    fn source(&mut self) {
        let guest = self.guest;
        let Some(source) = &guest.clone else { return };
        let from = match &source.from {
            CloneFrom::Named(name) | CloneFrom::Tagged(name) => name.as_str(),
        };
        let is_tag = matches!(source.from, CloneFrom::Tagged(_));
        let of_kind = || self.seen.guests.values().filter(|live| live.kind == guest.kind);
        let is_planned =
            !is_tag && self.wanted.guests.iter().any(|other| other.kind == guest.kind && other.name == from);
        let is_it = |live: &LiveGuest| match is_tag {
            true => live.tags.contains(from),
            false => live.vmid.to_string() == from || live.name.known().is_some_and(|name| name.as_str() == from),
        };
        let is_there = of_kind().any(is_it);
        // One whose name is not known may be it.
        if is_planned || is_there || !is_tag && of_kind().any(|live| live.name.unread().is_some()) {
            return;
        }
        let noun = guest.kind.noun();
        if is_tag {
            let words = format!("{}: no {noun} bears the tag `{from}`", self.cluster);
            self.problems.push(Diagnostic::error("not-found", words).at(&source.place));
            return;
        }
        let templates: Vec<&str> =
            of_kind().filter(|live| live.template).filter_map(|live| live.name.known()).map(String::as_str).collect();
        let problem = Diagnostic::error("not-found", format!("{}: there is no {noun} `{from}` to clone", self.cluster));
        self.problems.push(problem.at(&source.place).hint(match templates.as_slice() {
            [] => format!("there is no template of a {noun} that the token sees"),
            templates => format!("templates: {}", templates.join(", ")),
        }));
    }

    /// The nodes that the guest may live on and that are there.
    fn candidates(&self) -> Vec<String> {
        let is_there = |node: &&String| self.seen.nodes.get(*node).is_some_and(|node| node.online);
        let listed: Vec<&String> = match (&*self.guest.nodes, &self.wanted.default_node) {
            ([], Some(node)) => vec![node],
            ([], None) => self.seen.nodes.keys().collect(),
            (nodes, _) => nodes.iter().collect(),
        };
        listed.into_iter().filter(is_there).cloned().collect()
    }
}

/// Why none of the nodes has what is needed; nothing where one has, or where no node is known.
fn nowhere(needs: &Needs, nodes: &[String], live: &LiveCluster) -> Option<Reason> {
    let reasons: Option<Vec<Reason>> = nodes.iter().map(|node| needs.missing_on(node, live)).collect();
    // What could not be read may be there.
    let reasons = reasons?;
    if reasons.iter().any(|reason| reason.code == super::document::ReasonCode::Unread) {
        return None;
    }
    let words: Vec<&str> = reasons.iter().map(|reason| reason.words.as_str()).collect();
    let first = reasons.first()?;
    Some(Reason { words: words.join("; "), ..first.clone() })
}
