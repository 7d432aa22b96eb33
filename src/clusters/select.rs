//! Which cluster a guest belongs to.

use std::collections::BTreeSet;

use super::settings::{ClusterSettings, Registry};
use crate::desired::Routing;
use crate::pve::value::Vmid;

/// A cluster, and the rule that found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The cluster's name.
    pub cluster: String,
    /// The rule.
    pub routing: Routing,
}

impl Selection {
    /// True where no rule named the cluster, so that it is the default one.
    pub fn is_by_default(&self) -> bool {
        self.routing == Routing::Default
    }
}

/// What can go wrong between a guest and its cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// No cluster of this name is configured.
    #[error("Cluster not found: {0}")]
    ClusterNotFound(String),
    /// Patterns send the name to several clusters.
    #[error(
        "Ambiguous cluster selection for '{resource}'. Candidates: {}. Please specify cluster explicitly.",
        candidates.join(", ")
    )]
    AmbiguousClusterSelection {
        /// The guest's name.
        resource: String,
        /// The clusters, sorted.
        candidates: Vec<String>,
    },
}

impl Registry {
    /// The clusters that a selector means: one by its name, or those of `region=NAME` or `tier=NAME`.
    pub fn meant(&self, selector: &str) -> Vec<&str> {
        let is_meant = |cluster: &&ClusterSettings| match selector.split_once('=') {
            Some(("region", region)) => cluster.region.as_deref() == Some(region),
            Some(("tier", tier)) => cluster.tier.as_deref() == Some(tier),
            // No name holds the sign.
            _ => cluster.name == selector,
        };
        self.clusters.iter().filter(is_meant).map(|cluster| cluster.name.as_str()).collect()
    }

    /// Finds the cluster of a guest from whatever is known of it.
    ///
    /// In this order: the cluster named; the patterns that match the name; the longest cluster name that
    /// begins it; the range that holds the id; the default cluster.
    ///
    /// # Errors
    ///
    /// The named cluster is not configured, or patterns disagree.
    pub fn select(
        &self,
        cluster: Option<&str>,
        name: Option<&str>,
        vmid: Option<Vmid>,
    ) -> Result<Selection, SelectError> {
        let found = |cluster: &str, routing| Ok(Selection { cluster: cluster.to_owned(), routing });
        if let Some(cluster) = cluster {
            return match self.get(cluster) {
                Some(_) => found(cluster, Routing::Named),
                None => Err(SelectError::ClusterNotFound(cluster.to_owned())),
            };
        }
        if let Some(name) = name {
            let targets: BTreeSet<&str> = self
                .patterns
                .iter()
                .filter(|pattern| pattern.matches(name))
                .map(|pattern| pattern.cluster.as_str())
                .collect();
            match targets.len() {
                0 => {}
                1 => return found(targets.first().copied().unwrap_or_default(), Routing::Pattern),
                _ => {
                    return Err(SelectError::AmbiguousClusterSelection {
                        resource: name.to_owned(),
                        candidates: targets.into_iter().map(str::to_owned).collect(),
                    });
                }
            }
            let begins =
                |cluster: &str| name.strip_prefix(cluster).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
            let longest = self.clusters.iter().filter(|c| begins(&c.name)).max_by_key(|c| c.name.len());
            if let Some(longest) = longest {
                return found(&longest.name, Routing::NamePrefix);
            }
        }
        if let Some(vmid) = vmid
            && let Some((_, cluster)) = self.ranges.iter().find(|(range, _)| range.contains(vmid))
        {
            return found(cluster, Routing::VmidRange);
        }
        found(self.default_cluster(), Routing::Default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clusters::load::tests::registry;

    const CLUSTERS: &str = "production,staging,disaster-recovery,disaster";

    fn select(clusters: &str, patterns: &str, input: (Option<&str>, Option<&str>, Option<u32>)) -> String {
        let text = format!(
            "PROXMOX_CLUSTERS={clusters}\nPROXMOX_CLUSTER_PATTERNS={patterns}\n\
             PROXMOX_CLUSTER_VMID_RANGES=100-199:staging,200-299:production\n"
        );
        match registry(&text).unwrap().select(input.0, input.1, input.2.and_then(Vmid::new)) {
            Ok(Selection { cluster, routing }) => format!("{cluster} {routing:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_table() {
        let name = |name| (None, Some(name), None);
        let ambiguous = "Ambiguous cluster selection for 'prod-db-1'. Candidates: production, staging. \
                         Please specify cluster explicitly.";
        for (patterns, input, expected) in [
            ("prod-:production,prod-db-:staging", name("prod-db-1"), ambiguous),
            ("prod-:production,prod-db-:production", name("prod-db-1"), "production Pattern"),
            ("", name("disaster-recovery-vm1"), "disaster-recovery NamePrefix"),
            ("", name("disaster-recovery"), "disaster-recovery NamePrefix"),
            ("", name("disaster-recoveryx"), "disaster NamePrefix"),
            ("", name("disasterx"), "production Default"),
            ("disaster-:staging", name("disaster-recovery-vm1"), "staging Pattern"),
            ("prod-:staging", name("PROD-x"), "production Default"),
            ("prod-:staging", (Some("production"), Some("prod-x"), Some(100)), "production Named"),
            ("", (Some("elsewhere"), None, None), "Cluster not found: elsewhere"),
            ("", (Some(""), None, None), "Cluster not found: "),
            ("", (None, None, Some(150)), "staging VmidRange"),
            ("", (None, Some("other"), Some(250)), "production VmidRange"),
            ("", (None, Some("staging-x"), Some(250)), "staging NamePrefix"),
            ("", (None, None, Some(500)), "production Default"),
            ("", (None, None, None), "production Default"),
            ("re:[a-z]+-\\d+$:staging", name("web-12"), "staging Pattern"),
            ("re:web:staging", name("my-web"), "production Default"),
            ("re:a|b:staging", name("xb"), "production Default"),
            (".:staging", name("x"), "production Default"),
        ] {
            assert_eq!(select(CLUSTERS, patterns, input), expected, "{patterns} {input:?}");
        }
    }

    #[test]
    fn selectors_mean_names_regions_and_tiers() {
        let text = "PROXMOX_CLUSTERS=a,b,c\nPROXMOX_CLUSTER_a_REGION=west\nPROXMOX_CLUSTER_b_REGION=west\n\
                    PROXMOX_CLUSTER_b_TIER=gold\nPROXMOX_CLUSTER_c_TIER=west\n";
        let registry = registry(text).unwrap();
        for (selector, expected) in [
            ("a", &["a"][..]),
            ("region=west", &["a", "b"]),
            ("tier=gold", &["b"]),
            ("tier=west", &["c"]),
            ("region=", &[]),
            ("node=a", &[]),
            ("d", &[]),
        ] {
            assert_eq!(registry.meant(selector), expected, "{selector}");
        }
    }

    #[test]
    fn a_single_cluster_is_named_default() {
        let registry = registry("PROXMOX_API_URL=https://pve.example.net:8006\n").unwrap();
        assert_eq!(registry.select(Some("default"), None, None).unwrap().routing, Routing::Named);
        assert_eq!(
            registry.select(Some("production"), None, None),
            Err(SelectError::ClusterNotFound("production".to_owned()))
        );
        assert_eq!(registry.select(None, Some("production-x"), None).unwrap().cluster, "default");
    }
}
