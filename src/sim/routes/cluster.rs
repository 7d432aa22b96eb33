//! Calls about the whole cluster: version, resources, options, high availability, pools.

use super::{Route, route};
use crate::sim::api;

pub(super) static ROUTES: &[Route] = &[
    route("GET", "/cluster/config", api::config_index),
    route("GET", "/cluster/config/nodes", api::config_nodes),
    route("GET", "/cluster/config/totem", api::config_totem),
    route("GET", "/cluster/config/join", api::config_join),
    route("GET", "/cluster/config/apiversion", api::config_version),
    route("GET", "/version", api::version),
    route("GET", "/cluster/status", api::cluster_status),
    route("GET", "/cluster/resources", api::resources),
    route("GET", "/cluster/nextid", api::next_id),
    route("GET", "/cluster/tasks", api::cluster_tasks),
    route("GET", "/cluster/options", api::cluster_options),
    route("PUT", "/cluster/options", api::set_cluster_options),
    route("GET", "/cluster/ha/resources", api::ha_resources),
    route("POST", "/cluster/ha/resources", api::ha_create),
    route("GET", "/cluster/ha/resources/{sid}", api::ha_read),
    route("PUT", "/cluster/ha/resources/{sid}", api::ha_update),
    route("DELETE", "/cluster/ha/resources/{sid}", api::ha_delete),
    route("GET", "/pools", api::pools),
    route("POST", "/pools", api::pool_create),
    route("PUT", "/pools", api::pool_update),
    route("DELETE", "/pools", api::pool_delete),
    route("GET", "/pools/{poolid}", api::pool_read),
    route("PUT", "/pools/{poolid}", api::pool_update),
    route("DELETE", "/pools/{poolid}", api::pool_delete),
];
