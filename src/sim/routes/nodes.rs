//! Calls about a node and its tasks.

use super::{Route, route};
use crate::sim::{api, backup};

pub(super) static ROUTES: &[Route] = &[
    route("GET", "/nodes", api::nodes),
    route("GET", "/nodes/{node}/version", api::version),
    route("GET", "/nodes/{node}/status", api::node_status),
    route("GET", "/nodes/{node}/time", api::node_time),
    route("GET", "/nodes/{node}/network", api::networks),
    route("POST", "/nodes/{node}/network", api::network_create),
    route("PUT", "/nodes/{node}/network", api::network_apply),
    route("DELETE", "/nodes/{node}/network", api::network_revert),
    route("GET", "/nodes/{node}/network/{iface}", api::network_read),
    route("PUT", "/nodes/{node}/network/{iface}", api::network_update),
    route("DELETE", "/nodes/{node}/network/{iface}", api::network_delete),
    route("GET", "/nodes/{node}/config", api::node_config),
    route("PUT", "/nodes/{node}/config", api::set_node_config),
    route("GET", "/nodes/{node}/dns", api::dns),
    route("PUT", "/nodes/{node}/dns", api::set_dns),
    route("GET", "/nodes/{node}/hosts", api::hosts),
    route("POST", "/nodes/{node}/hosts", api::set_hosts),
    route("GET", "/nodes/{node}/capabilities", api::capability_index),
    route("GET", "/nodes/{node}/capabilities/qemu", api::qemu_capability_index),
    route("GET", "/nodes/{node}/capabilities/qemu/machines", api::machines),
    route("GET", "/nodes/{node}/capabilities/qemu/cpu", api::cpu_models),
    route("POST", "/nodes/{node}/vzdump", backup::vzdump),
    route("GET", "/nodes/{node}/vzdump/defaults", backup::defaults),
    route("GET", "/nodes/{node}/vzdump/extractconfig", backup::extract_config),
    route("GET", "/nodes/{node}/tasks", api::node_tasks),
    route("GET", "/nodes/{node}/tasks/{upid}", api::task_index),
    route("DELETE", "/nodes/{node}/tasks/{upid}", api::task_stop),
    route("GET", "/nodes/{node}/tasks/{upid}/status", api::task_status),
    route("GET", "/nodes/{node}/tasks/{upid}/log", api::task_log),
];
