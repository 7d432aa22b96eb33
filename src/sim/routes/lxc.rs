//! Calls about containers.

use super::{Route, route};
use crate::pve::value::GuestKind::Lxc;
use crate::sim::{lxc, migrate, snapshot};

pub(super) static ROUTES: &[Route] = &[
    route("GET", "/nodes/{node}/lxc", lxc::list),
    route("POST", "/nodes/{node}/lxc", lxc::create),
    route("DELETE", "/nodes/{node}/lxc/{vmid}", lxc::destroy),
    route("GET", "/nodes/{node}/lxc/{vmid}/config", lxc::read_config),
    route("PUT", "/nodes/{node}/lxc/{vmid}/config", lxc::update),
    route("GET", "/nodes/{node}/lxc/{vmid}/pending", lxc::read_pending),
    route("GET", "/nodes/{node}/lxc/{vmid}", lxc::index),
    route("GET", "/nodes/{node}/lxc/{vmid}/feature", lxc::feature),
    route("GET", "/nodes/{node}/lxc/{vmid}/interfaces", lxc::interfaces),
    route("GET", "/nodes/{node}/lxc/{vmid}/status", lxc::status_index),
    route("GET", "/nodes/{node}/lxc/{vmid}/status/current", lxc::status),
    route("POST", "/nodes/{node}/lxc/{vmid}/status/start", lxc::start),
    route("POST", "/nodes/{node}/lxc/{vmid}/status/stop", lxc::stop),
    route("POST", "/nodes/{node}/lxc/{vmid}/status/shutdown", lxc::shutdown),
    route("POST", "/nodes/{node}/lxc/{vmid}/status/reboot", lxc::reboot),
    route("PUT", "/nodes/{node}/lxc/{vmid}/resize", lxc::resize),
    route("POST", "/nodes/{node}/lxc/{vmid}/clone", lxc::clone),
    route("GET", "/nodes/{node}/lxc/{vmid}/snapshot", |cluster, call| snapshot::list(cluster, call, Lxc)),
    route("POST", "/nodes/{node}/lxc/{vmid}/snapshot", |cluster, call| snapshot::take(cluster, call, Lxc)),
    route("GET", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}", snapshot::index),
    route("DELETE", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}", |cluster, call| {
        snapshot::delete(cluster, call, Lxc)
    }),
    route("GET", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/config", |cluster, call| {
        snapshot::read(cluster, call, Lxc)
    }),
    route("PUT", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/config", |cluster, call| {
        snapshot::describe(cluster, call, Lxc)
    }),
    route("POST", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/rollback", |cluster, call| {
        snapshot::rollback(cluster, call, Lxc)
    }),
    route("GET", "/nodes/{node}/lxc/{vmid}/migrate", migrate::check_container),
    route("POST", "/nodes/{node}/lxc/{vmid}/migrate", |cluster, call| migrate::migrate(cluster, call, Lxc)),
    route("POST", "/nodes/{node}/lxc/{vmid}/move_volume", lxc::move_volume),
    route("POST", "/nodes/{node}/lxc/{vmid}/template", lxc::template),
];
