//! Calls about a node and its tasks.

use super::{Route, route};
use crate::sim::api;

pub(super) static ROUTES: &[Route] = &[
    route("GET", "/nodes", api::nodes),
    route("GET", "/nodes/{node}/version", api::version),
    route("GET", "/nodes/{node}/status", api::node_status),
    route("GET", "/nodes/{node}/time", api::node_time),
    route("GET", "/nodes/{node}/network", api::networks),
    route("GET", "/nodes/{node}/tasks", api::node_tasks),
    route("GET", "/nodes/{node}/tasks/{upid}", api::task_index),
    route("DELETE", "/nodes/{node}/tasks/{upid}", api::task_stop),
    route("GET", "/nodes/{node}/tasks/{upid}/status", api::task_status),
    route("GET", "/nodes/{node}/tasks/{upid}/log", api::task_log),
];
