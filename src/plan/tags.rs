//! Which tags a guest should bear.

use std::collections::BTreeSet;

use super::mark;
use super::options::is_ignored;
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
