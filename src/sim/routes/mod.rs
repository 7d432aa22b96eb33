//! The calls that the simulator carries out, by area.
//!
//! A row is method, path as the table of calls has it, and what answers. Parameters, privileges and the node that a
//! call runs on come from [`pve::calls`](crate::pve::calls), for the release of the cluster; what a release has not, it
//! refuses in Proxmox's words, and what has no row here is refused as not simulated.

mod access;
mod cluster;
mod firewall;
mod lxc;
mod nodes;
mod qemu;
mod sections;
mod storage;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::answer::Outcome;
use super::cluster::Cluster;
use super::route::Call;
use crate::pve::calls::CallSpec;

/// What answers a call.
pub(super) type Handler = fn(&mut Cluster, &Call) -> Outcome;

/// A call that is carried out.
#[derive(Debug)]
pub(super) struct Route {
    method: &'static str,
    path: &'static str,
    handler: Handler,
}

const fn route(method: &'static str, path: &'static str, handler: Handler) -> Route {
    Route { method, path, handler }
}

static AREAS: &[&[Route]] = &[
    access::ROUTES,
    cluster::ROUTES,
    sections::ROUTES,
    nodes::ROUTES,
    storage::ROUTES,
    qemu::ROUTES,
    lxc::ROUTES,
    firewall::ROUTES,
    firewall::OF_VMS,
    firewall::OF_CONTAINERS,
];

/// What answers the call, where the simulator does.
pub(super) fn handler(call: &CallSpec) -> Option<Handler> {
    static BY_NAME: LazyLock<BTreeMap<(&str, &str), Handler>> = LazyLock::new(|| {
        AREAS.iter().copied().flatten().map(|route| ((route.path, route.method), route.handler)).collect()
    });
    BY_NAME.get(&(call.path.as_str(), call.method.as_str())).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pve::calls;

    #[test]
    fn every_route_is_one_call_of_proxmox() {
        let mut seen = BTreeMap::new();
        for route in AREAS.iter().copied().flatten() {
            let known = [8, 9].iter().any(|release| calls::call(*release, route.method, route.path).is_some());
            assert!(known, "{} {} is no call of Proxmox", route.method, route.path);
            assert!(seen.insert((route.method, route.path), ()).is_none(), "{} {} twice", route.method, route.path);
        }
    }
}
