//! Calls about containers.

use super::{Route, route};
use crate::sim::{lxc, migrate, snapshot};

pub(super) static ROUTES: &[Route] = &[
    route("GET", "/nodes/{node}/lxc", lxc::list),
    route("POST", "/nodes/{node}/lxc", lxc::create),
    route("DELETE", "/nodes/{node}/lxc/{vmid}", lxc::destroy),
    route("GET", "/nodes/{node}/lxc/{vmid}/config", lxc::read_config),
    route("PUT", "/nodes/{node}/lxc/{vmid}/config", lxc::update),
    route("GET", "/nodes/{node}/lxc/{vmid}/pending", lxc::read_pending),
    route("GET", "/nodes/{node}/lxc/{vmid}/status/current", lxc::status),
    route("POST", "/nodes/{node}/lxc/{vmid}/status/start", lxc::start),
    route("POST", "/nodes/{node}/lxc/{vmid}/status/stop", lxc::stop),
    route("POST", "/nodes/{node}/lxc/{vmid}/status/shutdown", lxc::shutdown),
    route("POST", "/nodes/{node}/lxc/{vmid}/status/reboot", lxc::reboot),
    route("PUT", "/nodes/{node}/lxc/{vmid}/resize", lxc::resize),
    route("POST", "/nodes/{node}/lxc/{vmid}/clone", lxc::clone),
    route("GET", "/nodes/{node}/lxc/{vmid}/snapshot", snapshot::list),
    route("POST", "/nodes/{node}/lxc/{vmid}/snapshot", snapshot::take),
    route("DELETE", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}", snapshot::delete),
    route("GET", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/config", snapshot::read),
    route("PUT", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/config", snapshot::describe),
    route("POST", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/rollback", snapshot::rollback),
    route("POST", "/nodes/{node}/lxc/{vmid}/migrate", migrate::migrate),
    route("POST", "/nodes/{node}/lxc/{vmid}/move_volume", lxc::move_volume),
    route("POST", "/nodes/{node}/lxc/{vmid}/template", lxc::template),
];
