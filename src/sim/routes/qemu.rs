//! Calls about virtual machines.

use super::{Route, route};
use crate::pve::value::GuestKind::Qemu;
use crate::sim::{migrate, qemu, snapshot};

pub(super) static ROUTES: &[Route] = &[
    route("GET", "/nodes/{node}/qemu", qemu::list),
    route("POST", "/nodes/{node}/qemu", qemu::create),
    route("GET", "/nodes/{node}/qemu/{vmid}", qemu::index),
    route("DELETE", "/nodes/{node}/qemu/{vmid}", qemu::destroy),
    route("GET", "/nodes/{node}/qemu/{vmid}/config", qemu::read_config),
    route("PUT", "/nodes/{node}/qemu/{vmid}/config", qemu::update),
    route("POST", "/nodes/{node}/qemu/{vmid}/config", qemu::update_in_task),
    route("GET", "/nodes/{node}/qemu/{vmid}/pending", qemu::read_pending),
    route("GET", "/nodes/{node}/qemu/{vmid}/cloudinit", qemu::read_cloudinit),
    route("GET", "/nodes/{node}/qemu/{vmid}/cloudinit/dump", qemu::dump_cloudinit),
    route("PUT", "/nodes/{node}/qemu/{vmid}/cloudinit", qemu::make_cloudinit),
    route("PUT", "/nodes/{node}/qemu/{vmid}/unlink", qemu::unlink),
    route("GET", "/nodes/{node}/qemu/{vmid}/feature", qemu::feature),
    route("GET", "/nodes/{node}/qemu/{vmid}/status", qemu::status_index),
    route("GET", "/nodes/{node}/qemu/{vmid}/status/current", qemu::status),
    route("POST", "/nodes/{node}/qemu/{vmid}/status/start", qemu::start),
    route("POST", "/nodes/{node}/qemu/{vmid}/status/stop", qemu::stop),
    route("POST", "/nodes/{node}/qemu/{vmid}/status/shutdown", qemu::shutdown),
    route("POST", "/nodes/{node}/qemu/{vmid}/status/reboot", qemu::reboot),
    route("POST", "/nodes/{node}/qemu/{vmid}/status/reset", qemu::reset),
    route("POST", "/nodes/{node}/qemu/{vmid}/status/suspend", qemu::suspend),
    route("POST", "/nodes/{node}/qemu/{vmid}/status/resume", qemu::resume),
    route("PUT", "/nodes/{node}/qemu/{vmid}/resize", qemu::resize),
    route("POST", "/nodes/{node}/qemu/{vmid}/clone", qemu::clone),
    route("POST", "/nodes/{node}/qemu/{vmid}/template", qemu::template),
    route("POST", "/nodes/{node}/qemu/{vmid}/move_disk", qemu::move_disk),
    route("GET", "/nodes/{node}/qemu/{vmid}/migrate", migrate::check),
    route("POST", "/nodes/{node}/qemu/{vmid}/migrate", |cluster, call| migrate::migrate(cluster, call, Qemu)),
    route("POST", "/nodes/{node}/qemu/{vmid}/agent/fsfreeze-freeze", qemu::agent),
    route("POST", "/nodes/{node}/qemu/{vmid}/agent/fsfreeze-status", qemu::agent),
    route("POST", "/nodes/{node}/qemu/{vmid}/agent/fsfreeze-thaw", qemu::agent),
    route("POST", "/nodes/{node}/qemu/{vmid}/agent/fstrim", qemu::agent),
    route("POST", "/nodes/{node}/qemu/{vmid}/agent/shutdown", qemu::agent),
    route("POST", "/nodes/{node}/qemu/{vmid}/agent/suspend-disk", qemu::agent),
    route("POST", "/nodes/{node}/qemu/{vmid}/agent/suspend-hybrid", qemu::agent),
    route("POST", "/nodes/{node}/qemu/{vmid}/agent/suspend-ram", qemu::agent),
    route("POST", "/nodes/{node}/qemu/{vmid}/agent/set-user-password", qemu::agent),
    route("POST", "/nodes/{node}/qemu/{vmid}/agent/exec", qemu::agent),
    route("POST", "/nodes/{node}/qemu/{vmid}/agent/file-write", qemu::agent),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/exec-status", qemu::agent),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/file-read", qemu::agent),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/get-fsinfo", qemu::agent),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/get-host-name", qemu::agent),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/get-memory-block-info", qemu::agent),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/get-memory-blocks", qemu::agent),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/get-osinfo", qemu::agent),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/get-time", qemu::agent),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/get-timezone", qemu::agent),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/get-users", qemu::agent),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/get-vcpus", qemu::agent),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/info", qemu::agent),
    route("POST", "/nodes/{node}/qemu/{vmid}/agent/ping", qemu::agent),
    route("GET", "/nodes/{node}/qemu/{vmid}/agent/network-get-interfaces", qemu::agent),
    route("GET", "/nodes/{node}/qemu/{vmid}/snapshot", |cluster, call| snapshot::list(cluster, call, Qemu)),
    route("POST", "/nodes/{node}/qemu/{vmid}/snapshot", |cluster, call| snapshot::take(cluster, call, Qemu)),
    route("GET", "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}", snapshot::index),
    route("DELETE", "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}", |cluster, call| {
        snapshot::delete(cluster, call, Qemu)
    }),
    route("GET", "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/config", |cluster, call| {
        snapshot::read(cluster, call, Qemu)
    }),
    route("PUT", "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/config", |cluster, call| {
        snapshot::describe(cluster, call, Qemu)
    }),
    route("POST", "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/rollback", |cluster, call| {
        snapshot::rollback(cluster, call, Qemu)
    }),
];
