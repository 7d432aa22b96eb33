//! The planner plays its own plan: a guest as it will be after its steps, planned again, must need nothing.
//!
//! It holds for guests that are there, and for those that are made from nothing, the making again of one that was
//! destroyed among them; `played` says what steps lead to. Clones and restored guests are as what they are made of, which
//! their steps do not say: apply reads them again after each step.

use super::document::{Action, Change, FieldChange, State};
use super::mark::Mark;
use super::planner::Cluster;
use super::played::{made, play};
use super::update;
use crate::desired::DesiredGuest;
use crate::diagnostics::Diagnostic;
use crate::live::LiveGuest;

/// The code of the diagnostic for a plan that would not come to an end: a bug of the planner, not of its input.
pub const NOT_STABLE: &str = "plan-not-stable";

/// A bug, where planning the guest again after its steps would change it again.
pub fn check(cluster: &Cluster<'_>, guest: &DesiredGuest, live: &LiveGuest, change: &Change) -> Option<Diagnostic> {
    let is_played =
        matches!(change.action, Action::Update | Action::Adopt | Action::Migrate) && change.state == State::Ready;
    if !is_played || !change.has_steps() {
        return None;
    }
    again(cluster, guest, change, play(live, change)?)
}

/// The same for a guest that is made.
pub fn check_made(cluster: &Cluster<'_>, guest: &DesiredGuest, change: &Change) -> Option<Diagnostic> {
    if !matches!(change.action, Action::Create | Action::Recreate) || !change.has_steps() {
        return None;
    }
    again(cluster, guest, change, made(guest, change)?)
}

fn again(
    cluster: &Cluster<'_>,
    guest: &DesiredGuest,
    change: &Change,
    (after, mark): (LiveGuest, Mark),
) -> Option<Diagnostic> {
    // What is accepted counts for the plan itself alone.
    let used = cluster.used.borrow().clone();
    let again = update::update(cluster, guest, &after, Some(&mark));
    cluster.used.replace(used);
    verdict(change, &again)
}

fn verdict(change: &Change, again: &Change) -> Option<Diagnostic> {
    let step = again.steps.first()?;
    // What this very plan takes out of the way of another field is done by the next one, as its reason says.
    let was_blocked =
        |field: &FieldChange| change.fields.iter().any(|before| before.name == field.name && before.blocked.is_some());
    let mut comes = again.fields.iter().filter(|field| field.blocked.is_none()).peekable();
    if comes.peek().is_some() && comes.all(was_blocked) {
        return None;
    }
    let words = format!("the plan for {} does not come to an end: it would {} again", change.address, step.words);
    let hint = "this is a bug of pvefleet; nothing is planned. Take what it names out of the manifest, and report it";
    Some(Diagnostic::error(NOT_STABLE, words).hint(hint))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::{Base, Expect};

    fn guest() -> LiveGuest {
        serde_json::from_value(serde_json::json!({
            "vmid": 100, "kind": "qemu", "node": "a", "name": {"known": "web"}, "power": {"known": "stopped"},
            "template": false, "tags": [], "lock": null, "pool": null,
            "config": {"known": {"current": {"scsi0": "fast:vm-100-disk-0,size=1G"}, "pending": {}, "digest": "d"}},
        }))
        .unwrap()
    }

    fn change(expect: serde_json::Value) -> Change {
        let call = serde_json::json!({"method": "PUT", "path": "/x", "params": {}});
        serde_json::from_value(serde_json::json!({
            "address": {"cluster": "c", "kind": "qemu", "name": "web", "vmid": 100},
            "action": "update", "state": "ready", "fields": [], "unlisted": {}, "pending": [], "destroys": [],
            "notes": [], "after": [],
            "steps": [{"kind": "configure", "words": "set cores", "call": call, "effect": "none", "expect": expect}],
            "base": Base { exists: true, ..Base::default() },
        }))
        .unwrap()
    }

    fn option(name: &str, value: &str) -> serde_json::Value {
        serde_json::to_value(Expect::Option { name: name.to_owned(), value: value.to_owned() }).unwrap()
    }

    const LINE: &str = "<!-- pvefleet v1 cluster=c fleet=t guest=qemu/web vmid=100 -->";

    fn after(change: &Change) -> Option<BTreeMap<String, String>> {
        Some(play(&guest(), change)?.0.config.known()?.current.clone())
    }

    #[test]
    fn steps_are_played_and_unknown_volumes_are_not_guessed() {
        let marked = || option("description", LINE);
        let (_, mark) = play(&guest(), &change(serde_json::json!([marked()]))).unwrap();
        assert_eq!(mark.guest, "web");
        let size = Expect::Size { drive: "scsi0".to_owned(), size: "2G".to_owned() };
        let storage = Expect::Storage { drive: "scsi0".to_owned(), storage: "slow".to_owned() };
        let gone = Expect::NoOption { name: "scsi0".to_owned() };
        for (expects, key, expected) in [
            (vec![option("cores", "2")], "cores", Some("2")),
            (vec![option("scsi1", "fast:8,ssd=1")], "scsi1", Some("fast:vm-0-disk-scsi1,size=8G,ssd=1")),
            (vec![option("scsi0", "ssd=1")], "scsi0", Some("fast:vm-100-disk-0,size=1G,ssd=1")),
            (vec![serde_json::to_value(size).unwrap()], "scsi0", Some("fast:vm-100-disk-0,size=2G")),
            // Without `delete`, the source stays.
            (vec![serde_json::to_value(&storage).unwrap()], "scsi0", Some("slow:vm-100-disk-0,size=1G")),
            (vec![serde_json::to_value(&storage).unwrap()], "unused0", Some("fast:vm-100-disk-0")),
            (vec![serde_json::to_value(&gone).unwrap()], "unused0", Some("fast:vm-100-disk-0")),
            (vec![serde_json::to_value(&gone).unwrap(), option("virtio0", "fast:vm-100-disk-0")], "unused0", None),
        ] {
            let expects = expects.into_iter().chain([marked()]).collect();
            let expects = serde_json::Value::Array(expects);
            let now = after(&change(expects.clone())).unwrap_or_else(|| panic!("{expects}"));
            assert_eq!(now.get(key).map(String::as_str), expected, "{now:?}");
        }
        assert!(after(&change(serde_json::json!([option("scsi0", "other:vm-100-disk-0"), marked()]))).is_none());
    }

    #[test]
    fn what_would_be_done_again_is_refused() {
        let again = change(serde_json::json!([]));
        let problem = verdict(&again, &again).unwrap();
        assert_eq!(problem.code, NOT_STABLE);
        assert!(problem.message.contains("would set cores again"), "{}", problem.message);
        assert!(verdict(&again, &Change { steps: Vec::new(), ..again.clone() }).is_none());
    }
}
