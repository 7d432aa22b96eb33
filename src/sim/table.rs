//! The table of calls: the cluster's, those of virtual machines, those of containers.

use super::answer::Outcome;
use super::cluster::Cluster;
use super::params::Kind::{Bool, Choice, Disk, Format, Int, Number, Pattern, Text};
use super::params::{Kind, Options, Param, may, need};
use super::route::Permission::{self, Anyone};
use super::route::{Call, Route};
use super::{api, lxc, migrate, qemu, snapshot};
use crate::pve::value::GuestKind::{Lxc, Qemu};

const AUDIT: Permission = Permission::On("/vms/{vmid}", &["VM.Audit"]);
const POWER: Permission = Permission::On("/vms/{vmid}", &["VM.PowerMgmt"]);
const ALLOCATE: Permission = Permission::On("/vms/{vmid}", &["VM.Allocate"]);
const DISK: Permission = Permission::On("/vms/{vmid}", &["VM.Config.Disk"]);
const MIGRATE: Permission = Permission::On("/vms/{vmid}", &["VM.Migrate"]);
const SNAPSHOT: Permission = Permission::On("/vms/{vmid}", &["VM.Snapshot"]);
const ROLLBACK: Permission = Permission::On("/vms/{vmid}", &["VM.Snapshot", "VM.Snapshot.Rollback"]);
const SNAPSHOT_READ: Permission = Permission::On("/vms/{vmid}", &["VM.Snapshot", "VM.Snapshot.Rollback", "VM.Audit"]);
const POOL: Permission = Permission::On("/pool/{poolid}", &["Pool.Allocate"]);
const SYS_AUDIT: Permission = Permission::On("/", &["Sys.Audit"]);
const SYS_CONSOLE: Permission = Permission::On("/", &["Sys.Console"]);
const NODE_AUDIT: Permission = Permission::On("/nodes/{node}", &["Sys.Audit"]);
const STORE: Permission = Permission::On("/storage/{storage}", &["Datastore.Audit", "Datastore.AllocateSpace"]);
const CONFIG_QEMU: Permission = Permission::On(
    "/vms/{vmid}",
    &[
        "VM.Config.Disk",
        "VM.Config.CDROM",
        "VM.Config.CPU",
        "VM.Config.Memory",
        "VM.Config.Network",
        "VM.Config.HWType",
        "VM.Config.Options",
        "VM.Config.Cloudinit",
    ],
);
const CONFIG_LXC: Permission = Permission::On(
    "/vms/{vmid}",
    &["VM.Config.Disk", "VM.Config.CPU", "VM.Config.Memory", "VM.Config.Network", "VM.Config.Options"],
);

const DIGEST: Param = may("digest", Text(64));
const VMID: Kind = Format("pve-vmid");
const NODE: Kind = Format("pve-node");
const STORAGE: Kind = Format("pve-storage-id");
const NAMES: Kind = Format("pve-configid-list");
const BIG: i64 = 1 << 40;
const SIZE: Kind = Pattern(r"\+?\d+(\.\d+)?[KMGT]?");
const HA_STATE: Kind = Choice(&["started", "stopped", "enabled", "disabled", "ignored"]);
const UPDATE: &[Param] =
    &[DIGEST, may("delete", NAMES), may("revert", NAMES), may("force", Bool), may("skiplock", Bool)];
const UPDATE_TASK: &[Param] = &[
    DIGEST,
    may("delete", NAMES),
    may("revert", NAMES),
    may("force", Bool),
    may("skiplock", Bool),
    may("background_delay", Int(1, 30)),
];

const fn route(
    method: &'static str,
    path: &'static str,
    permission: Permission,
    params: &'static [Param],
    handler: fn(&mut Cluster, &Call) -> Outcome,
) -> Route {
    Route { method, path, permission, params, options: Options::No, handler }
}

const fn with(options: Options, mut route: Route) -> Route {
    route.options = options;
    route
}

/// Calls about the cluster, its nodes, storages, pools, tasks.
pub(super) static CLUSTER: &[Route] = &[
    route("GET", "/version", Anyone, &[], api::version),
    route("GET", "/access/permissions", Anyone, &[may("path", Text(0)), may("userid", Text(0))], api::permissions),
    route("GET", "/access/domains", Permission::World, &[], api::domains),
    route("GET", "/cluster/status", SYS_AUDIT, &[], api::cluster_status),
    route(
        "GET",
        "/cluster/resources",
        Anyone,
        &[may("type", Choice(&["vm", "storage", "node", "sdn"]))],
        api::resources,
    ),
    route("GET", "/cluster/nextid", Anyone, &[may("vmid", VMID)], api::next_id),
    route("GET", "/cluster/tasks", Anyone, &[], api::cluster_tasks),
    route("GET", "/cluster/options", Anyone, &[], api::cluster_options),
    route(
        "PUT",
        "/cluster/options",
        Permission::On("/", &["Sys.Modify"]),
        &[
            may("bwlimit", Text(0)),
            may("console", Choice(&["applet", "vv", "html5", "xtermjs"])),
            may("crs", Text(0)),
            may("delete", Text(0)),
            may("description", Text(64 * 1024)),
            may("email_from", Text(0)),
            may("ha", Text(0)),
            may("keyboard", Text(0)),
            may("language", Text(0)),
            may("mac_prefix", Format("mac-prefix")),
            may("max_workers", Int(1, BIG)),
            may("migration", Text(0)),
            may("next-id", Text(0)),
            may("registered-tags", Text(0)),
            may("tag-style", Text(0)),
            may("user-tag-access", Text(0)),
        ],
        api::set_cluster_options,
    ),
    route("GET", "/cluster/ha/resources", SYS_AUDIT, &[may("type", Choice(&["ct", "vm"]))], api::ha_resources),
    route(
        "POST",
        "/cluster/ha/resources",
        SYS_CONSOLE,
        &[
            need("sid", Text(0)),
            may("state", HA_STATE),
            may("comment", Text(4096)),
            may("max_restart", Int(0, BIG)),
            may("max_relocate", Int(0, BIG)),
            may("failback", Bool),
            may("group", Format("pve-configid")),
            may("type", Choice(&["ct", "vm"])),
        ],
        api::ha_create,
    ),
    route("GET", "/cluster/ha/resources/{sid}", SYS_AUDIT, &[], api::ha_read),
    route(
        "PUT",
        "/cluster/ha/resources/{sid}",
        SYS_CONSOLE,
        &[
            may("state", HA_STATE),
            may("comment", Text(4096)),
            may("max_restart", Int(0, BIG)),
            may("max_relocate", Int(0, BIG)),
            may("failback", Bool),
            may("group", Format("pve-configid")),
            may("delete", NAMES),
            DIGEST,
        ],
        api::ha_update,
    ),
    route("DELETE", "/cluster/ha/resources/{sid}", SYS_CONSOLE, &[may("purge", Bool)], api::ha_delete),
    route(
        "GET",
        "/cluster/ha/rules",
        SYS_AUDIT,
        &[may("resource", Text(0)), may("type", Choice(&["node-affinity", "resource-affinity"]))],
        api::ha_rules,
    ),
    route("GET", "/cluster/ha/groups", SYS_AUDIT, &[], api::ha_groups),
    route("GET", "/cluster/ha/status/current", SYS_AUDIT, &[], api::ha_status),
    route(
        "GET",
        "/pools",
        Anyone,
        &[may("poolid", Format("pve-poolid")), may("type", Choice(&["qemu", "lxc", "storage"]))],
        api::pools,
    ),
    route("POST", "/pools", POOL, &[need("poolid", Format("pve-poolid")), may("comment", Text(0))], api::pool_create),
    route(
        "PUT",
        "/pools",
        POOL,
        &[
            need("poolid", Format("pve-poolid")),
            may("comment", Text(0)),
            may("vms", Format("pve-vmid-list")),
            may("storage", Format("pve-storage-id-list")),
            may("delete", Bool),
            may("allow-move", Bool),
        ],
        api::pool_update,
    ),
    route("DELETE", "/pools", POOL, &[need("poolid", Format("pve-poolid"))], api::pool_delete),
    route(
        "GET",
        "/pools/{poolid}",
        Permission::On("/pool/{poolid}", &["Pool.Audit"]),
        &[may("type", Text(0))],
        api::pool_read,
    ),
    route(
        "PUT",
        "/pools/{poolid}",
        POOL,
        &[
            may("comment", Text(0)),
            may("vms", Format("pve-vmid-list")),
            may("storage", Format("pve-storage-id-list")),
            may("delete", Bool),
            may("allow-move", Bool),
        ],
        api::pool_update,
    ),
    route("DELETE", "/pools/{poolid}", POOL, &[], api::pool_delete),
    route("GET", "/storage", Anyone, &[may("type", Text(0))], api::storages),
    route(
        "GET",
        "/storage/{storage}",
        Permission::On("/storage/{storage}", &["Datastore.Allocate"]),
        &[],
        api::storage_read,
    ),
    route("GET", "/nodes", Anyone, &[], api::nodes),
    route("GET", "/nodes/{node}/version", Anyone, &[], api::version),
    route("GET", "/nodes/{node}/status", NODE_AUDIT, &[], api::node_status),
    route("GET", "/nodes/{node}/time", NODE_AUDIT, &[], api::node_time),
    route("GET", "/nodes/{node}/network", Anyone, &[may("type", Text(0))], api::networks),
    route(
        "GET",
        "/nodes/{node}/storage",
        Anyone,
        &[
            may("storage", STORAGE),
            may("content", Text(0)),
            may("enabled", Bool),
            may("target", NODE),
            may("format", Bool),
        ],
        api::node_storages,
    ),
    route("GET", "/nodes/{node}/storage/{storage}/status", STORE, &[], api::storage_status),
    route(
        "GET",
        "/nodes/{node}/storage/{storage}/content",
        STORE,
        &[may("content", Text(0)), may("vmid", VMID)],
        api::storage_content,
    ),
    route(
        "POST",
        "/nodes/{node}/storage/{storage}/content",
        Permission::On("/storage/{storage}", &["Datastore.AllocateSpace"]),
        &[
            need("vmid", VMID),
            need("filename", Text(0)),
            need("size", Pattern(r"\d+[MG]?")),
            may("format", Choice(&["raw", "qcow2", "subvol", "vmdk"])),
        ],
        api::content_create,
    ),
    route("GET", "/nodes/{node}/storage/{storage}/content/{volume...}", Anyone, &[], api::content_read),
    route(
        "DELETE",
        "/nodes/{node}/storage/{storage}/content/{volume...}",
        Anyone,
        &[may("delay", Int(1, 30))],
        api::content_delete,
    ),
    route(
        "GET",
        "/nodes/{node}/tasks",
        Anyone,
        &[
            may("start", Int(0, BIG)),
            may("limit", Int(0, BIG)),
            may("userfilter", Text(0)),
            may("typefilter", Text(0)),
            may("statusfilter", Text(0)),
            may("vmid", VMID),
            may("errors", Bool),
            may("source", Choice(&["archive", "active", "all"])),
            may("since", Int(0, BIG)),
            may("until", Int(0, BIG)),
        ],
        api::node_tasks,
    ),
    route("GET", "/nodes/{node}/tasks/{upid}", Anyone, &[], api::task_index),
    route("DELETE", "/nodes/{node}/tasks/{upid}", Anyone, &[], api::task_stop),
    route("GET", "/nodes/{node}/tasks/{upid}/status", Anyone, &[], api::task_status),
    route(
        "GET",
        "/nodes/{node}/tasks/{upid}/log",
        Anyone,
        &[may("start", Int(0, BIG)), may("limit", Int(0, BIG)), may("download", Bool)],
        api::task_log,
    ),
];

/// Calls about virtual machines.
pub(super) static QEMU: &[Route] = &[
    route("GET", "/nodes/{node}/qemu", Anyone, &[may("full", Bool)], qemu::list),
    with(
        Options::Create(Qemu),
        route("POST", "/nodes/{node}/qemu", Anyone, &[need("vmid", VMID), may("force", Bool)], qemu::create),
    ),
    route("GET", "/nodes/{node}/qemu/{vmid}", Anyone, &[], qemu::index),
    route(
        "DELETE",
        "/nodes/{node}/qemu/{vmid}",
        ALLOCATE,
        &[may("purge", Bool), may("destroy-unreferenced-disks", Bool), may("skiplock", Bool)],
        qemu::destroy,
    ),
    route(
        "GET",
        "/nodes/{node}/qemu/{vmid}/config",
        AUDIT,
        &[may("current", Bool), may("snapshot", Format("pve-configid"))],
        qemu::read_config,
    ),
    with(Options::Update(Qemu), route("PUT", "/nodes/{node}/qemu/{vmid}/config", CONFIG_QEMU, UPDATE, qemu::update)),
    with(
        Options::Update(Qemu),
        route("POST", "/nodes/{node}/qemu/{vmid}/config", CONFIG_QEMU, UPDATE_TASK, qemu::update_in_task),
    ),
    route("GET", "/nodes/{node}/qemu/{vmid}/pending", AUDIT, &[], qemu::read_pending),
    route("GET", "/nodes/{node}/qemu/{vmid}/cloudinit", AUDIT, &[], qemu::read_cloudinit),
    route(
        "PUT",
        "/nodes/{node}/qemu/{vmid}/cloudinit",
        Permission::On("/vms/{vmid}", &["VM.Config.Cloudinit"]),
        &[],
        qemu::make_cloudinit,
    ),
    route("PUT", "/nodes/{node}/qemu/{vmid}/unlink", DISK, &[need("idlist", NAMES), may("force", Bool)], qemu::unlink),
    route(
        "GET",
        "/nodes/{node}/qemu/{vmid}/feature",
        AUDIT,
        &[need("feature", Choice(&["snapshot", "clone", "copy"])), may("snapname", Format("pve-configid"))],
        qemu::feature,
    ),
    route("GET", "/nodes/{node}/qemu/{vmid}/status", Anyone, &[], qemu::status_index),
    route("GET", "/nodes/{node}/qemu/{vmid}/status/current", AUDIT, &[], qemu::status),
    route(
        "POST",
        "/nodes/{node}/qemu/{vmid}/status/start",
        POWER,
        &[
            may("skiplock", Bool),
            may("timeout", Int(0, BIG)),
            may("machine", Text(40)),
            may("force-cpu", Text(0)),
            may("stateuri", Text(128)),
            may("targetstorage", Text(0)),
            may("migratedfrom", NODE),
            may("migration_type", Text(0)),
            may("migration_network", Text(0)),
        ],
        qemu::start,
    ),
    route(
        "POST",
        "/nodes/{node}/qemu/{vmid}/status/stop",
        POWER,
        &[
            may("skiplock", Bool),
            may("timeout", Int(0, BIG)),
            may("keepActive", Bool),
            may("overrule-shutdown", Bool),
            may("migratedfrom", NODE),
        ],
        qemu::stop,
    ),
    route(
        "POST",
        "/nodes/{node}/qemu/{vmid}/status/shutdown",
        POWER,
        &[may("skiplock", Bool), may("timeout", Int(0, BIG)), may("forceStop", Bool), may("keepActive", Bool)],
        qemu::shutdown,
    ),
    route("POST", "/nodes/{node}/qemu/{vmid}/status/reboot", POWER, &[may("timeout", Int(0, BIG))], qemu::reboot),
    route("POST", "/nodes/{node}/qemu/{vmid}/status/reset", POWER, &[may("skiplock", Bool)], qemu::reset),
    route(
        "POST",
        "/nodes/{node}/qemu/{vmid}/status/suspend",
        POWER,
        &[may("skiplock", Bool), may("todisk", Bool), may("statestorage", STORAGE)],
        qemu::suspend,
    ),
    route(
        "POST",
        "/nodes/{node}/qemu/{vmid}/status/resume",
        POWER,
        &[may("skiplock", Bool), may("nocheck", Bool)],
        qemu::resume,
    ),
    route(
        "PUT",
        "/nodes/{node}/qemu/{vmid}/resize",
        DISK,
        &[need("disk", Disk(Qemu)), need("size", SIZE), DIGEST, may("skiplock", Bool)],
        qemu::resize,
    ),
    route(
        "POST",
        "/nodes/{node}/qemu/{vmid}/clone",
        Permission::Clone,
        &[
            need("newid", VMID),
            may("name", Format("dns-name")),
            may("description", Text(0)),
            may("pool", Format("pve-poolid")),
            may("snapname", Format("pve-configid")),
            may("storage", STORAGE),
            may("format", Choice(&["raw", "qcow2", "vmdk"])),
            may("full", Bool),
            may("target", NODE),
            may("bwlimit", Int(0, BIG)),
        ],
        qemu::clone,
    ),
    route("POST", "/nodes/{node}/qemu/{vmid}/template", ALLOCATE, &[may("disk", Disk(Qemu))], qemu::template),
    route(
        "POST",
        "/nodes/{node}/qemu/{vmid}/move_disk",
        DISK,
        &[
            need("disk", Text(0)),
            may("storage", STORAGE),
            may("format", Choice(&["raw", "qcow2", "vmdk"])),
            may("delete", Bool),
            DIGEST,
            may("bwlimit", Int(0, BIG)),
            may("target-vmid", VMID),
            may("target-disk", Text(0)),
            may("target-digest", Text(64)),
        ],
        qemu::move_disk,
    ),
    route("GET", "/nodes/{node}/qemu/{vmid}/migrate", MIGRATE, &[may("target", NODE)], migrate::check),
    route(
        "POST",
        "/nodes/{node}/qemu/{vmid}/migrate",
        MIGRATE,
        &[
            need("target", NODE),
            may("online", Bool),
            may("force", Bool),
            may("migration_type", Choice(&["secure", "insecure"])),
            may("migration_network", Text(0)),
            may("with-local-disks", Bool),
            may("targetstorage", Text(0)),
            may("bwlimit", Int(0, BIG)),
            may("with-conntrack-state", Bool),
        ],
        migrate::migrate,
    ),
    route(
        "POST",
        "/nodes/{node}/qemu/{vmid}/agent/ping",
        Permission::On("/vms/{vmid}", &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted", "VM.Monitor"]),
        &[],
        qemu::agent,
    ),
    route(
        "GET",
        "/nodes/{node}/qemu/{vmid}/agent/network-get-interfaces",
        Permission::On("/vms/{vmid}", &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted", "VM.Monitor"]),
        &[],
        qemu::agent,
    ),
    route("GET", "/nodes/{node}/qemu/{vmid}/snapshot", AUDIT, &[], snapshot::list),
    route(
        "POST",
        "/nodes/{node}/qemu/{vmid}/snapshot",
        SNAPSHOT,
        &[need("snapname", Format("pve-configid")), may("description", Text(0)), may("vmstate", Bool)],
        snapshot::take,
    ),
    route("DELETE", "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}", SNAPSHOT, &[may("force", Bool)], snapshot::delete),
    route("GET", "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/config", SNAPSHOT_READ, &[], snapshot::read),
    route(
        "PUT",
        "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/config",
        SNAPSHOT,
        &[may("description", Text(0))],
        snapshot::describe,
    ),
    route(
        "POST",
        "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/rollback",
        ROLLBACK,
        &[may("start", Bool)],
        snapshot::rollback,
    ),
];

/// Calls about containers.
pub(super) static LXC: &[Route] = &[
    route("GET", "/nodes/{node}/lxc", Anyone, &[], lxc::list),
    with(
        Options::Create(Lxc),
        route(
            "POST",
            "/nodes/{node}/lxc",
            Anyone,
            &[need("vmid", VMID), need("ostemplate", Text(255)), may("force", Bool), may("bwlimit", Number)],
            lxc::create,
        ),
    ),
    route(
        "DELETE",
        "/nodes/{node}/lxc/{vmid}",
        ALLOCATE,
        &[may("purge", Bool), may("force", Bool), may("destroy-unreferenced-disks", Bool)],
        lxc::destroy,
    ),
    route(
        "GET",
        "/nodes/{node}/lxc/{vmid}/config",
        AUDIT,
        &[may("current", Bool), may("snapshot", Format("pve-configid"))],
        lxc::read_config,
    ),
    with(
        Options::Update(Lxc),
        route(
            "PUT",
            "/nodes/{node}/lxc/{vmid}/config",
            CONFIG_LXC,
            &[DIGEST, may("delete", NAMES), may("revert", NAMES)],
            lxc::update,
        ),
    ),
    route("GET", "/nodes/{node}/lxc/{vmid}/pending", AUDIT, &[], lxc::read_pending),
    route("GET", "/nodes/{node}/lxc/{vmid}/status/current", AUDIT, &[], lxc::status),
    route(
        "POST",
        "/nodes/{node}/lxc/{vmid}/status/start",
        POWER,
        &[may("skiplock", Bool), may("debug", Bool)],
        lxc::start,
    ),
    route(
        "POST",
        "/nodes/{node}/lxc/{vmid}/status/stop",
        POWER,
        &[may("skiplock", Bool), may("overrule-shutdown", Bool)],
        lxc::stop,
    ),
    route(
        "POST",
        "/nodes/{node}/lxc/{vmid}/status/shutdown",
        POWER,
        &[may("timeout", Int(0, BIG)), may("forceStop", Bool)],
        lxc::shutdown,
    ),
    route("POST", "/nodes/{node}/lxc/{vmid}/status/reboot", POWER, &[may("timeout", Int(0, BIG))], lxc::reboot),
    route(
        "PUT",
        "/nodes/{node}/lxc/{vmid}/resize",
        DISK,
        &[need("disk", Disk(Lxc)), need("size", SIZE), DIGEST],
        lxc::resize,
    ),
    route(
        "POST",
        "/nodes/{node}/lxc/{vmid}/clone",
        Permission::Clone,
        &[
            need("newid", VMID),
            may("hostname", Format("dns-name")),
            may("description", Text(0)),
            may("pool", Format("pve-poolid")),
            may("snapname", Format("pve-configid")),
            may("storage", STORAGE),
            may("full", Bool),
            may("target", NODE),
            may("bwlimit", Number),
        ],
        lxc::clone,
    ),
    route("GET", "/nodes/{node}/lxc/{vmid}/snapshot", AUDIT, &[], snapshot::list),
    route(
        "POST",
        "/nodes/{node}/lxc/{vmid}/snapshot",
        SNAPSHOT,
        &[need("snapname", Format("pve-configid")), may("description", Text(0))],
        snapshot::take,
    ),
    route("DELETE", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}", SNAPSHOT, &[may("force", Bool)], snapshot::delete),
    route("GET", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/config", SNAPSHOT_READ, &[], snapshot::read),
    route(
        "PUT",
        "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/config",
        SNAPSHOT,
        &[may("description", Text(0))],
        snapshot::describe,
    ),
    route(
        "POST",
        "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/rollback",
        ROLLBACK,
        &[may("start", Bool)],
        snapshot::rollback,
    ),
    route(
        "POST",
        "/nodes/{node}/lxc/{vmid}/migrate",
        MIGRATE,
        &[
            need("target", NODE),
            may("online", Bool),
            may("restart", Bool),
            may("timeout", Int(1, BIG)),
            may("target-storage", Text(0)),
            may("bwlimit", Number),
        ],
        migrate::migrate,
    ),
    route(
        "POST",
        "/nodes/{node}/lxc/{vmid}/move_volume",
        DISK,
        &[
            need("volume", Text(0)),
            may("storage", STORAGE),
            may("delete", Bool),
            DIGEST,
            may("bwlimit", Number),
            may("target-vmid", VMID),
            may("target-volume", Text(0)),
            may("target-digest", Text(64)),
        ],
        lxc::move_volume,
    ),
    route("POST", "/nodes/{node}/lxc/{vmid}/template", ALLOCATE, &[], lxc::template),
];
