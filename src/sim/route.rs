//! The calls that the simulator knows: method, path, who may, which parameters, what answers.

use std::collections::BTreeMap;

use super::access::Subject;
use super::answer::{Failure, Outcome};
use super::cluster::Cluster;
use super::params::Kind::Format;
use super::params::{Kind, Options, Param};
use super::table;
use crate::pve::http::percent_decode;

/// A call that was understood so far.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) subject: Subject,
    /// The node that carries it out.
    pub(super) node: String,
    /// The variables of the path.
    pub(super) vars: BTreeMap<String, String>,
    /// The checked parameters.
    pub(super) params: BTreeMap<String, String>,
}

impl Call {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.params.get(name).or_else(|| self.vars.get(name)).map(String::as_str)
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.get(name) == Some("1")
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// The guest that the path names; the check of the variables made sure that it is an id.
    pub(super) fn vmid(&self) -> u32 {
        self.vars.get("vmid").and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

/// What a caller needs, as far as it can be said beforehand.
#[derive(Debug, Clone, Copy)]
pub(super) enum Permission {
    /// Not even a credential.
    World,
    /// A credential; the handler looks closer.
    Anyone,
    /// One of these privileges on a path.
    On(&'static str, &'static [&'static str]),
    /// To clone the source and to make the target.
    Clone,
}

/// A call.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) permission: Permission,
    pub(super) params: &'static [Param],
    pub(super) options: Options,
    pub(super) handler: fn(&mut Cluster, &Call) -> Outcome,
}

impl Route {
    pub(super) const fn is_for_all_the_world(&self) -> bool {
        matches!(self.permission, Permission::World)
    }

    /// True where the call is passed on to the node in its path.
    pub(super) fn runs_on_its_node(&self) -> bool {
        self.path.starts_with("/nodes/{node}")
    }
}

/// What a variable of a path takes.
pub(super) fn variable_kind(name: &str) -> Option<Kind> {
    match name {
        "vmid" => Some(Format("pve-vmid")),
        "node" => Some(Format("pve-node")),
        "storage" => Some(Format("pve-storage-id")),
        "poolid" => Some(Format("pve-poolid")),
        "snapname" => Some(Format("pve-configid")),
        _ => None,
    }
}

/// The call for a method and a path, with the variables of the path.
pub(super) fn find(method: &str, path: &str) -> Option<(&'static Route, BTreeMap<String, String>)> {
    let trimmed = path.trim_end_matches('/');
    [table::CLUSTER, table::QEMU, table::LXC]
        .into_iter()
        .flatten()
        .filter(|route| route.method == method)
        .find_map(|route| matches(route.path, trimmed).map(|vars| (route, vars)))
}

fn matches(pattern: &str, path: &str) -> Option<BTreeMap<String, String>> {
    let mut vars = BTreeMap::new();
    let mut rest: Vec<&str> = path.split('/').collect();
    for (position, part) in pattern.split('/').enumerate() {
        let variable = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
        // A volume's name holds slashes; it takes what is left.
        if let Some(name) = variable.and_then(|name| name.strip_suffix("...")) {
            let value = rest.split_off(position).join("/");
            vars.insert(name.to_owned(), percent_decode(&value));
            return (!value.is_empty()).then_some(vars);
        }
        let given = rest.get(position)?;
        match variable {
            Some(name) if !given.is_empty() => drop(vars.insert(name.to_owned(), percent_decode(given))),
            None if part == *given => {}
            _ => return None,
        }
    }
    (pattern.split('/').count() == rest.len()).then_some(vars)
}

/// Refuses what is known and not simulated.
pub(super) fn unsupported<T>() -> Result<T, Failure> {
    Err(Failure::NotImplemented)
}
