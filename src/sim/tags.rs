//! The datacenter's rules for tags: which of them somebody may set and remove who may not change the datacenter.
//!
//! Source: pve-guest-common, `GuestHelpers.pm` (`get_allowed_tags`, `assert_tag_permissions`).

use std::collections::BTreeSet;

use super::access::Subject;
use super::answer::Failure;
use super::cluster::Cluster;
use super::guest::sub_key;
use crate::pve::value::split_list;

impl Cluster {
    /// The tags of the options `registered-tags`, which only who may change the datacenter sets.
    fn registered_tags(&self) -> BTreeSet<&str> {
        self.spec.datacenter.get("registered-tags").into_iter().flat_map(|tags| split_list(tags)).collect()
    }

    fn user_tags(&self, key: &str) -> Option<&str> {
        sub_key(self.spec.datacenter.get("user-tag-access")?, key)
    }

    /// The tags that somebody without `Sys.Modify` may set, whatever else he may.
    pub(super) fn allowed_tags(&self, subject: &Subject) -> BTreeSet<&str> {
        let allows = self.user_tags("user-allow").unwrap_or("free");
        let mut allowed = BTreeSet::new();
        if allows != "none" {
            allowed.extend(self.user_tags("user-allow-list").into_iter().flat_map(split_list));
        }
        if matches!(allows, "free" | "existing") {
            let seen = self
                .guests
                .iter()
                .filter(|(vmid, _)| self.check_guest(subject, **vmid).any(&format!("/vms/{vmid}"), &["VM.Audit"]));
            allowed.extend(
                seen.filter_map(|(_, guest)| guest.config.current.get("tags")).flat_map(|tags| split_list(tags)),
            );
        }
        let registered = self.registered_tags();
        allowed.retain(|tag| !registered.contains(tag));
        allowed
    }

    /// True for who may set every tag.
    pub(super) fn sets_every_tag(&self, subject: &Subject) -> bool {
        self.check_for(subject, "/").any("/", &["Sys.Modify"])
    }

    /// Refuses to add or remove a tag that is not allowed.
    pub(super) fn permit_tags(&self, subject: &Subject, old: Option<&str>, new: Option<&str>) -> Result<(), Failure> {
        if self.sets_every_tag(subject) {
            return Ok(());
        }
        let set =
            |text: Option<&'_ str>| split_list(text.unwrap_or_default()).map(str::to_owned).collect::<BTreeSet<_>>();
        let (allowed, registered) = (self.allowed_tags(subject), self.registered_tags());
        let free = self.user_tags("user-allow").unwrap_or("free") == "free";
        for tag in set(old).symmetric_difference(&set(new)) {
            if !allowed.contains(tag.as_str()) && !free || registered.contains(tag.as_str()) {
                return Err(Failure::privilege("/", &format!("Sys.Modify for modifying tag '{tag}'")));
            }
        }
        Ok(())
    }
}
