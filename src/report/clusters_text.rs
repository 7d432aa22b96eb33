//! How clusters are, as text.

use super::style::{Ink, Layout, wrap};
use crate::live::{Health, HealthStatus};

/// How each cluster is.
pub fn check(checked: &[Health], layout: Layout) -> String {
    let width = checked.iter().map(|health| health.cluster.len()).max().unwrap_or(0);
    let mut text = String::new();
    for health in checked {
        let (ink, word) = match health.status {
            HealthStatus::Online => (Ink::Add, "online"),
            HealthStatus::Degraded => (Ink::Change, "degraded"),
            HealthStatus::Unauthorized => (Ink::Alarm, "unauthorized"),
            HealthStatus::Offline => (Ink::Alarm, "offline"),
        };
        let mut parts = Vec::new();
        parts.extend(health.version.as_ref().map(|version| format!("Proxmox VE {version}")));
        if !health.nodes.is_empty() {
            let nodes: Vec<String> = health
                .nodes
                .iter()
                .map(|node| if node.online { node.name.clone() } else { format!("{} (offline)", node.name) })
                .collect();
            parts.push(format!("nodes {}", nodes.join(", ")));
        }
        let counted = [(health.vms, "VM"), (health.containers, "container"), (health.storages, "storage")];
        parts.extend(counted.iter().filter_map(|(number, word)| Some(super::style::count((*number)?, word))));
        parts.extend(health.problems.iter().cloned());
        let name = layout.paint(Ink::Strong, &format!("{:<width$}", health.cluster));
        let status = layout.paint(ink, &format!("{word:<12}"));
        text.push_str(&format!("{name}  {status} {}\n", wrap(&parts.join("; "), layout.width, width + 15, width + 15)));
    }
    text
}
