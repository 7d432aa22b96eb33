//! What the cluster's version of Proxmox VE does not have: options and sub-keys that a newer one brought.

use super::document::{Reason, ReasonCode};
use crate::pve::property::{self, Properties};
use crate::pve::schema::{OptionSpec, PropertyFormat, catalog, catalog_for, known_versions, version_number};
use crate::pve::value::GuestKind;

/// How a value fits the cluster's version.
#[derive(Debug, Clone, PartialEq)]
pub enum Fit {
    /// As it is.
    AsItIs,
    /// In this text, with a sub-key's former name.
    Written(String),
    /// Not at all.
    Refused(Reason),
}

/// How an option with this value fits a cluster of this version.
pub fn fit(kind: GuestKind, option: &str, value: &str, version: &str) -> Fit {
    let Some(spec) = catalog(kind).find(option) else {
        return Fit::AsItIs;
    };
    if is_newer(spec.facts.since.as_deref(), version) || catalog_for(kind, version).find(option).is_none() {
        return Fit::Refused(refusal(kind, option, spec.facts.since.as_deref(), version));
    }
    let Some(format) = &spec.value.properties else {
        return Fit::AsItIs;
    };
    let Ok(keys) = property::split(value, format) else {
        return Fit::AsItIs;
    };
    let mut fitting = Properties::new();
    for (key, text) in &keys {
        let since = format.keys.get(key).and_then(|known| known.facts.since.as_deref());
        if !is_newer(since, version) {
            fitting.insert(key.clone(), text.clone());
        } else if let Some(former) = former_name(kind, option, format, key) {
            fitting.insert(former.to_owned(), text.clone());
        } else {
            return Fit::Refused(refusal(kind, &format!("{option}.{key}"), since, version));
        }
    }
    if fitting == keys { Fit::AsItIs } else { Fit::Written(property::print(&fitting, format)) }
}

/// True when a release is younger than the version.
fn is_newer(since: Option<&str>, version: &str) -> bool {
    since.is_some_and(|since| version_number(since) > version_number(version))
}

/// The name that the oldest known version has for a sub-key whose name is new.
fn former_name<'a>(kind: GuestKind, option: &str, format: &'a PropertyFormat, key: &str) -> Option<&'a str> {
    let [oldest, _] = known_versions();
    let former: &OptionSpec = catalog_for(kind, oldest).find(option)?;
    let former = former.value.properties.as_ref()?;
    let is_former = |name: &str| former.keys.get(name).is_some_and(|known| known.alias.is_none());
    let aliases = format.keys.iter().filter(|(_, other)| other.alias.as_deref() == Some(key));
    aliases.map(|(name, _)| name.as_str()).find(|name| is_former(name))
}

fn refusal(kind: GuestKind, what: &str, since: Option<&str>, version: &str) -> Reason {
    let noun = kind.noun();
    let since = since.map_or_else(String::new, |since| format!("; it came with {since}"));
    Reason {
        code: ReasonCode::Version,
        words: format!("Proxmox VE {version} has no {what} for a {noun}{since}"),
        hint: Some("leave it out for this cluster, or upgrade the cluster".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_version_lacks_is_refused_and_names_are_put_back() {
        let vm = |option, value, version| fit(GuestKind::Qemu, option, value, version);
        let words = |fit| match fit {
            Fit::Refused(reason) => reason.words,
            other => format!("{other:?}"),
        };
        assert_eq!(vm("cores", "4", "8.4.21"), Fit::AsItIs);
        assert_eq!(vm("allow-ksm", "0", "9.1.9"), Fit::AsItIs);
        assert_eq!(
            words(vm("allow-ksm", "0", "8.4.21")),
            "Proxmox VE 8.4.21 has no allow-ksm for a VM; it came with 9.1"
        );
        assert_eq!(
            words(vm("allow-ksm", "0", "9.0.10")),
            "Proxmox VE 9.0.10 has no allow-ksm for a VM; it came with 9.1"
        );
        assert_eq!(
            words(vm("machine", "q35,viommu=intel,aw-bits=39", "8.4.21")),
            "Proxmox VE 8.4.21 has no machine.aw-bits for a VM; it came with 9.0"
        );
        assert_eq!(vm("machine", "q35,viommu=intel,aw-bits=39", "9.0.3"), Fit::AsItIs);
        for older in ["8.4.21", "9.0.3"] {
            assert_eq!(vm("agent", "1,freeze-fs=0", older), Fit::Written("1,freeze-fs-on-backup=0".to_owned()));
        }
        assert_eq!(vm("agent", "1,freeze-fs=0", "9.2.3"), Fit::AsItIs);
        let mount = fit(GuestKind::Lxc, "mp0", "local-lvm:8,mp=/srv,keepattrs=1", "8.4.21");
        assert_eq!(words(mount), "Proxmox VE 8.4.21 has no mp0.keepattrs for a container; it came with 9.1");
    }
}
