//! What is looked at before a guest is destroyed to be made anew: what cannot be made again must not be taken away.
//! Which privileges its steps take is told by `demands`.

use std::collections::BTreeSet;

use super::document::{Change, Reason, ReasonCode, State};
use super::planner::Cluster;

/// Why the guest cannot be made once it is destroyed, whose steps to make it these are; nothing where it can.
pub fn why_not_anew(cluster: &Cluster<'_>, change: &Change) -> Option<(State, Reason)> {
    let blocked = |reason| Some((State::Blocked, reason));
    if let Some(why) = cluster.live.permissions.unread() {
        let words = format!("what this token may do could not be read ({why}), so it may not be able to make it again");
        return Some((State::Unknown, Reason { code: ReasonCode::Unread, words, hint: None }));
    }
    // Nor is anything destroyed that would not be again as it was asked for.
    if let Some(reason) = change.fields.iter().find_map(|field| field.blocked.clone()) {
        return blocked(reason);
    }
    let own: BTreeSet<&str> = change.destroys.iter().filter_map(|volume| volume.split([' ', ',']).nth(1)).collect();
    let texts = change.steps.iter().flat_map(|step| &step.call.params).map(|(name, text)| (name, text.to_string()));
    for (name, text) in texts {
        if let Some(volume) = text.split([',', '=']).find(|part| own.contains(part)) {
            return blocked(Reason {
                code: ReasonCode::NotInPlace,
                words: format!("{name} is to be {volume}, which is destroyed with the guest"),
                hint: Some("write `storage` and `size` for a new volume, or keep the guest as it is".to_owned()),
            });
        }
    }
    None
}
