//! Calls about who may do what.

use super::{Route, route};
use crate::sim::api::access as api;

pub(super) static ROUTES: &[Route] = &[
    route("GET", "/access", api::index),
    route("GET", "/access/ticket", api::login_page),
    route("POST", "/access/ticket", api::login),
    route("PUT", "/access/password", api::set_password),
    route("GET", "/access/permissions", api::permissions),
    route("GET", "/access/domains", api::domains),
    route("GET", "/access/domains/{realm}", api::domain),
    route("GET", "/access/users", api::users),
    route("POST", "/access/users", api::user_create),
    route("GET", "/access/users/{userid}", api::user_read),
    route("PUT", "/access/users/{userid}", api::user_update),
    route("DELETE", "/access/users/{userid}", api::user_delete),
    route("GET", "/access/users/{userid}/tfa", api::user_tfa),
    route("GET", "/access/users/{userid}/token", api::tokens),
    route("GET", "/access/users/{userid}/token/{tokenid}", api::token_read),
    route("POST", "/access/users/{userid}/token/{tokenid}", api::token_create),
    route("PUT", "/access/users/{userid}/token/{tokenid}", api::token_update),
    route("DELETE", "/access/users/{userid}/token/{tokenid}", api::token_delete),
    route("GET", "/access/groups", api::groups),
    route("POST", "/access/groups", api::group_create),
    route("GET", "/access/groups/{groupid}", api::group_read),
    route("PUT", "/access/groups/{groupid}", api::group_update),
    route("DELETE", "/access/groups/{groupid}", api::group_delete),
    route("GET", "/access/roles", api::roles),
    route("POST", "/access/roles", api::role_create),
    route("GET", "/access/roles/{roleid}", api::role_read),
    route("PUT", "/access/roles/{roleid}", api::role_update),
    route("DELETE", "/access/roles/{roleid}", api::role_delete),
    route("GET", "/access/acl", api::acl),
    route("PUT", "/access/acl", api::set_acl),
];
