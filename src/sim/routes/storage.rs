//! Calls about storages and what is on them.

use super::{Route, route};
use crate::sim::api;

pub(super) static ROUTES: &[Route] = &[
    route("GET", "/nodes/{node}/storage", api::node_storages),
    route("GET", "/nodes/{node}/storage/{storage}/status", api::storage_status),
    route("GET", "/nodes/{node}/storage/{storage}/content", api::storage_content),
    route("POST", "/nodes/{node}/storage/{storage}/content", api::content_create),
    route("GET", "/nodes/{node}/storage/{storage}/content/{volume}", api::content_read),
    route("PUT", "/nodes/{node}/storage/{storage}/content/{volume}", api::content_update),
    route("DELETE", "/nodes/{node}/storage/{storage}/content/{volume}", api::content_delete),
];
