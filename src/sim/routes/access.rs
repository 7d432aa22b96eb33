//! Calls about who may do what.

use super::{Route, route};
use crate::sim::api;

pub(super) static ROUTES: &[Route] =
    &[route("GET", "/access/permissions", api::permissions), route("GET", "/access/domains", api::domains)];
