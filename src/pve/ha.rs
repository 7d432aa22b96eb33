//! High availability: what its resources' options mean, and what their states ask for.

/// The value of a resource's option that is left out. Source: the API leaves defaults out of its answers.
pub fn default_of(option: &str) -> Option<&'static str> {
    match option {
        "state" => Some("started"),
        "max_restart" | "max_relocate" | "failback" => Some("1"),
        _ => None,
    }
}

/// True when two values of an option mean the same; `enabled` is the old word for `started`.
pub fn same(option: &str, one: Option<&str>, other: Option<&str>) -> bool {
    let canonical =
        |value: Option<&str>| match value.map(str::to_owned).or_else(|| default_of(option).map(str::to_owned)) {
            Some(value) if option == "state" && value == "enabled" => Some("started".to_owned()),
            value => value,
        };
    canonical(one) == canonical(other)
}

/// Whether a state asks for the guest to run; nothing where the manager leaves it alone.
pub fn runs(state: &str) -> Option<bool> {
    match state {
        "started" | "enabled" => Some(true),
        "stopped" | "disabled" => Some(false),
        _ => None,
    }
}

/// Nodes with their priorities, `pve1:2,pve2`.
pub fn nodes(text: &str) -> std::collections::BTreeMap<String, u32> {
    super::value::split_list(text)
        .map(|entry| entry.split_once(':').unwrap_or((entry, "0")))
        .map(|(node, priority)| (node.to_owned(), priority.parse().unwrap_or(0)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_defaults_are_compared_by_meaning() {
        assert!(same("state", Some("enabled"), None) && same("max_restart", None, Some("1")));
        assert!(!same("state", Some("stopped"), None) && !same("group", Some("a"), None));
        assert_eq!((runs("enabled"), runs("disabled"), runs("ignored")), (Some(true), Some(false), None));
        assert_eq!(
            nodes("pve1:2,pve2").into_iter().collect::<Vec<_>>(),
            [("pve1".to_owned(), 2), ("pve2".to_owned(), 0)]
        );
    }
}
