//! What is looked at before a guest is destroyed to be made anew: what cannot be made again must not be taken away.
//! Which privileges its steps take is told by `demands`.

use std::collections::BTreeSet;

use super::document::{Change, Reason, ReasonCode, State};
use super::planner::Cluster;
use super::preflight::Needs;
use crate::desired::DesiredGuest;
use crate::live::Read;

/// The images, templates and disks that a guest is made of, each with its content type.
pub fn made_of(guest: &DesiredGuest) -> BTreeSet<(String, &'static str)> {
    Needs::of(guest).volumes
}

/// Why the guest cannot be made once it is destroyed, whose steps to make it these are; nothing where it can.
pub fn why_not_anew(cluster: &Cluster<'_>, guest: &DesiredGuest, change: &Change) -> Option<(State, Reason)> {
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
    let node = change.node.as_deref().unwrap_or_default();
    made_of(guest).into_iter().find_map(|(volume, _)| why_not_found(cluster, node, &volume))
}

/// Why it is not certain that a file is on a node.
fn why_not_found(cluster: &Cluster<'_>, node: &str, volume: &str) -> Option<(State, Reason)> {
    let why = match cluster.live.files.get(volume).and_then(|nodes| nodes.get(node)) {
        Some(Read::Known(true)) => return None,
        Some(Read::Known(false)) => {
            let words = format!("{volume} is not on {node}, or this token does not see it");
            let hint = Some("put it there, or keep the guest as it is".to_owned());
            return Some((State::Blocked, Reason { code: ReasonCode::NotFound, words, hint }));
        }
        Some(Read::Unread(why)) => why.as_str(),
        Some(Read::Absent) | None => "it was not asked",
    };
    let words = format!("whether {volume} is on {node} could not be read: {why}");
    Some((State::Unknown, Reason { code: ReasonCode::Unread, words, hint: None }))
}
