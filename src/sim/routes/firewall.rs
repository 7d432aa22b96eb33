//! Calls about the firewall: the cluster's, the nodes', the guests'.

use super::{Route, route};
use crate::sim::{firewall, index};

pub(super) static ROUTES: &[Route] = &[
    route("GET", "/cluster/firewall", index::cluster_firewall),
    route("GET", "/cluster/firewall/options", firewall::options),
    route("PUT", "/cluster/firewall/options", firewall::set_options),
    route("GET", "/cluster/firewall/rules", firewall::rules),
    route("POST", "/cluster/firewall/rules", firewall::rule_create),
    route("GET", "/cluster/firewall/rules/{pos}", firewall::rule_read),
    route("PUT", "/cluster/firewall/rules/{pos}", firewall::rule_update),
    route("DELETE", "/cluster/firewall/rules/{pos}", firewall::rule_delete),
    route("GET", "/cluster/firewall/aliases", firewall::aliases),
    route("POST", "/cluster/firewall/aliases", firewall::alias_create),
    route("GET", "/cluster/firewall/aliases/{name}", firewall::alias_read),
    route("PUT", "/cluster/firewall/aliases/{name}", firewall::alias_update),
    route("DELETE", "/cluster/firewall/aliases/{name}", firewall::alias_delete),
    route("GET", "/cluster/firewall/ipset", firewall::sets),
    route("POST", "/cluster/firewall/ipset", firewall::set_create),
    route("GET", "/cluster/firewall/ipset/{name}", firewall::ips),
    route("POST", "/cluster/firewall/ipset/{name}", firewall::ip_create),
    route("DELETE", "/cluster/firewall/ipset/{name}", firewall::set_delete),
    route("GET", "/cluster/firewall/ipset/{name}/{cidr}", firewall::ip_read),
    route("PUT", "/cluster/firewall/ipset/{name}/{cidr}", firewall::ip_update),
    route("DELETE", "/cluster/firewall/ipset/{name}/{cidr}", firewall::ip_delete),
    route("GET", "/cluster/firewall/groups", firewall::groups),
    route("POST", "/cluster/firewall/groups", firewall::group_create),
    route("GET", "/cluster/firewall/groups/{group}", firewall::rules),
    route("POST", "/cluster/firewall/groups/{group}", firewall::rule_create),
    route("DELETE", "/cluster/firewall/groups/{group}", firewall::group_delete),
    route("GET", "/cluster/firewall/groups/{group}/{pos}", firewall::rule_read),
    route("PUT", "/cluster/firewall/groups/{group}/{pos}", firewall::rule_update),
    route("DELETE", "/cluster/firewall/groups/{group}/{pos}", firewall::rule_delete),
    route("GET", "/cluster/firewall/refs", firewall::refs),
    route("GET", "/nodes/{node}/firewall", index::node_firewall),
    route("GET", "/nodes/{node}/firewall/options", firewall::options),
    route("PUT", "/nodes/{node}/firewall/options", firewall::set_options),
    route("GET", "/nodes/{node}/firewall/rules", firewall::rules),
    route("POST", "/nodes/{node}/firewall/rules", firewall::rule_create),
    route("GET", "/nodes/{node}/firewall/rules/{pos}", firewall::rule_read),
    route("PUT", "/nodes/{node}/firewall/rules/{pos}", firewall::rule_update),
    route("DELETE", "/nodes/{node}/firewall/rules/{pos}", firewall::rule_delete),
];

/// The same calls for both kinds of guests.
macro_rules! of_guests {
    ($name:ident, $guest:literal) => {
        pub(super) static $name: &[Route] = &[
            route("GET", concat!($guest, "/firewall"), index::guest_firewall),
            route("GET", concat!($guest, "/firewall/options"), firewall::options),
            route("PUT", concat!($guest, "/firewall/options"), firewall::set_options),
            route("GET", concat!($guest, "/firewall/rules"), firewall::rules),
            route("POST", concat!($guest, "/firewall/rules"), firewall::rule_create),
            route("GET", concat!($guest, "/firewall/rules/{pos}"), firewall::rule_read),
            route("PUT", concat!($guest, "/firewall/rules/{pos}"), firewall::rule_update),
            route("DELETE", concat!($guest, "/firewall/rules/{pos}"), firewall::rule_delete),
            route("GET", concat!($guest, "/firewall/aliases"), firewall::aliases),
            route("POST", concat!($guest, "/firewall/aliases"), firewall::alias_create),
            route("GET", concat!($guest, "/firewall/aliases/{name}"), firewall::alias_read),
            route("PUT", concat!($guest, "/firewall/aliases/{name}"), firewall::alias_update),
            route("DELETE", concat!($guest, "/firewall/aliases/{name}"), firewall::alias_delete),
            route("GET", concat!($guest, "/firewall/ipset"), firewall::sets),
            route("POST", concat!($guest, "/firewall/ipset"), firewall::set_create),
            route("GET", concat!($guest, "/firewall/ipset/{name}"), firewall::ips),
            route("POST", concat!($guest, "/firewall/ipset/{name}"), firewall::ip_create),
            route("DELETE", concat!($guest, "/firewall/ipset/{name}"), firewall::set_delete),
            route("GET", concat!($guest, "/firewall/ipset/{name}/{cidr}"), firewall::ip_read),
            route("PUT", concat!($guest, "/firewall/ipset/{name}/{cidr}"), firewall::ip_update),
            route("DELETE", concat!($guest, "/firewall/ipset/{name}/{cidr}"), firewall::ip_delete),
            route("GET", concat!($guest, "/firewall/refs"), firewall::refs),
        ];
    };
}

of_guests!(OF_VMS, "/nodes/{node}/qemu/{vmid}");
of_guests!(OF_CONTAINERS, "/nodes/{node}/lxc/{vmid}");
