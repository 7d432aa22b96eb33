//! The calls that are not about one guest: cluster, nodes, storages, pools, HA, tasks.

pub(super) mod access;
mod capabilities;
mod content;
mod corosync;
mod ha;
mod ha_status;
mod lists;
mod nodes;
mod pools;
mod settings;
mod storage;
mod tasks;

pub(super) use capabilities::{capability_index, cpu_models, machines, qemu_capability_index};
pub(super) use content::{
    check_access, content_create, content_delete, content_read, content_update, remove, storage_content,
};
pub(super) use corosync::{config_index, config_join, config_nodes, config_totem, config_version};
pub(super) use ha::{ha_create, ha_delete, ha_read, ha_resources, ha_update};
pub(super) use ha_status::{ha_manager_status, ha_status};
pub(super) use lists::{cluster_options, cluster_status, next_id, nodes, resources, set_cluster_options, version};
pub(super) use nodes::{node_status, node_time};
pub(super) use pools::{pool_create, pool_delete, pool_read, pool_update, pools};
pub(super) use settings::{
    Settings, apply_network, dns, hosts, network_apply, network_create, network_delete, network_read, network_revert,
    network_update, networks, node_config, set_dns, set_hosts, set_node_config,
};
pub(super) use storage::{node_storages, storage_status};
pub(super) use tasks::{cluster_tasks, node_tasks, task_index, task_log, task_status, task_stop};

use serde_json::Value;

use super::answer::Answer;

/// An answer that holds nothing.
pub(super) fn nothing() -> Answer {
    Answer::from(Value::Null)
}

/// An answer of rows.
fn rows(list: Vec<Value>) -> Answer {
    Answer::from(Value::Array(list))
}
