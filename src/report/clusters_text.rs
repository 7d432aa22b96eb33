//! How clusters are, as text.

use serde::Serialize;

use super::style::{Ink, Layout, wrap};
use crate::live::{Health, HealthStatus};
use crate::plan::privileges::Lacking;

/// What was found of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// How it is.
    #[serde(flatten)]
    pub health: Health,
    /// Privileges that a manifest needs and the credential does not hold; nothing where that was not asked, or could not
    /// be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lacking: Option<Vec<Lacking>>,
}

impl Checked {
    /// Nothing is to be done.
    pub fn is_well(&self) -> bool {
        self.health.status == HealthStatus::Online && self.lacking.as_ref().is_none_or(Vec::is_empty)
    }
}

/// How a cluster is: a line of what it is, and below it what is found, one thing a line.
pub fn check(checked: &Checked, layout: Layout) -> String {
    let health = &checked.health;
    let (ink, word) = match health.status {
        HealthStatus::Online => (Ink::Add, "online"),
        HealthStatus::Degraded => (Ink::Change, "degraded"),
        HealthStatus::Unauthorized => (Ink::Alarm, "unauthorized"),
        HealthStatus::Offline => (Ink::Alarm, "offline"),
    };
    let mut text = format!("{}  {}\n", layout.paint(Ink::Strong, &health.cluster), layout.paint(ink, word));
    let mut line = |label: &str, words: &str| {
        text.push_str(&format!("  {label:<11} {}\n", wrap(words, layout.width, 14, 14)));
    };
    let mut what = Vec::new();
    what.extend(health.version.as_ref().map(|version| format!("Proxmox VE {version}")));
    let counted = [(health.vms, "VM"), (health.containers, "container"), (health.storages, "storage")];
    what.extend(counted.iter().filter_map(|(number, word)| Some(super::style::count((*number)?, word))));
    if !what.is_empty() {
        line("runs", &what.join("; "));
    }
    if !health.nodes.is_empty() {
        let name = |node: &crate::live::NodeHealth| match node.online {
            true => node.name.clone(),
            false => format!("{} (offline)", node.name),
        };
        let mut words = health.nodes.iter().map(name).collect::<Vec<_>>().join(", ");
        words.push_str(match health.quorate {
            Some(true) => "; quorate",
            Some(false) => "; without quorum",
            None => "",
        });
        line("nodes", &words);
    }
    for endpoint in &health.endpoints {
        let words = match (&endpoint.certificate, &endpoint.problem) {
            (_, Some(problem)) => format!("{}: {problem}", endpoint.url),
            (Some(certificate), None) => format!("{}: certificate {certificate}", endpoint.url),
            (None, None) => format!("{}: without TLS", endpoint.url),
        };
        line("address", &words);
    }
    if let Some(credential) = &health.credential {
        line("as", credential);
    }
    if let Some(ahead) = health.clock_ahead {
        line("clock", &if ahead == 0 { "the same".to_owned() } else { format!("{ahead:+} s") });
    }
    for problem in &health.problems {
        line("problem", problem);
    }
    match &checked.lacking {
        Some(lacking) if lacking.is_empty() => line("privileges", "all that the manifest needs are held"),
        Some(lacking) => {
            for lack in lacking {
                let words = format!(
                    "lacks {} on {} (for {})",
                    lack.privileges.join(" or "),
                    lack.paths.join(" or "),
                    lack.needed_for
                );
                line("privileges", &words);
            }
        }
        None => {}
    }
    text
}
