//! Which tags a guest should bear, and whether the token may change them.

use std::collections::BTreeSet;

use super::demands::lacking;
use super::document::{Reason, ReasonCode};
use super::mark;
use super::options::is_ignored;
use super::planner::Cluster;
use crate::desired::{DesiredGuest, OptionValue, Unlisted};
use crate::pve::value;

/// True where the guest bears the tags that it should bear. That it is false says nothing.
pub fn are_there(guest: &DesiredGuest, fleet: &str, live: &str) -> bool {
    let bears = |tag: &str| value::split_list(live).any(|own| own == tag);
    let is_own = |tag: &str| tag.strip_prefix("fleet-") == Some(fleet);
    let listed = match guest.options.get("tags").map(|option| &option.value) {
        Some(OptionValue::Text(text)) => text.as_str(),
        Some(_) => return false,
        None => "",
    };
    guest.unlisted != Unlisted::Remove && value::split_list(live).any(is_own) && value::split_list(listed).all(bears)
}

/// The tags that a guest should bear: what is listed and the fleet's own, and what others added.
pub fn wanted(guest: &DesiredGuest, fleet: &str, live: &BTreeSet<String>) -> BTreeSet<String> {
    let ignored = is_ignored(&guest.ignore, "tags");
    let mut tags = match guest.options.get("tags").map(|option| &option.value) {
        Some(OptionValue::Text(text)) if !ignored => value::parse_tags(text),
        _ => BTreeSet::new(),
    };
    let exact = guest.unlisted == Unlisted::Remove
        || guest.options.get("tags").is_some_and(|option| option.value == OptionValue::Absent);
    if !exact || ignored {
        tags.extend(live.iter().cloned());
    }
    tags.insert(mark::fleet_tag(fleet));
    tags
}

/// The tags that the manifest has a guest bear, and whether it may bear others besides.
pub fn wanted_tags(guest: &DesiredGuest, fleet: &str) -> (BTreeSet<String>, bool) {
    if guest.released {
        return (BTreeSet::new(), false);
    }
    let other = BTreeSet::from(["other".to_owned()]);
    let keeps_others = wanted(guest, fleet, &other).is_superset(&other);
    (wanted(guest, fleet, &BTreeSet::new()), keeps_others)
}

impl Cluster<'_> {
    /// Why the token may not change these tags to those: the datacenter's rules keep some to who may change them.
    pub fn why_not_tagged(&self, old: &BTreeSet<String>, new: &BTreeSet<String>) -> Option<Reason> {
        let rules = self.live.tag_rules.known().filter(|_| self.lacks("/", "Sys.Modify"))?;
        let is_refused =
            |tag: &&String| rules.registered.contains(*tag) || !rules.free && !rules.allowed.contains(*tag);
        let tag = old.symmetric_difference(new).find(is_refused)?;
        let hint = lacking("/", "Sys.Modify").hint.unwrap_or_default();
        Some(Reason {
            code: ReasonCode::Permission,
            words: format!("the datacenter's rules for tags keep {tag} from this token, which lacks Sys.Modify on /"),
            hint: Some(format!("allow it in `user-tag-access` and leave it out of `registered-tags`; or {hint}")),
        })
    }
}
