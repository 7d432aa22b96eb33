//! What must hold when somebody else writes to a guest while an apply goes on: no edit is silently overwritten.

use pvefleet::apply::{GuestResult, Outcome};
use pvefleet::plan::{Expect, StepKind};
use pvefleet::pve::value::Vmid;
use pvefleet::sim::transport::lock;

use crate::mishap::Watch;
use crate::stage::Stage;
use crate::support::World;

/// Requests that one reading of a guest may take: an edit that comes while it is read may not be seen any more, which
/// is the window that remains for calls without a digest.
const ONE_READING: usize = 6;

/// A guest's file.
pub fn file(world: &World, vmid: Vmid) -> Option<String> {
    let cluster = lock(&world.clusters["production"]);
    cluster.guest_file(vmid).map(|(_, _, file)| file)
}

/// An option as it is now or will be: of the guest itself, not of its snapshots.
fn value(file: &str, option: &str) -> Option<String> {
    let find = |section: &str| {
        let line = section.lines().find_map(|line| line.strip_prefix(&format!("{option}: ")));
        line.map(str::to_owned)
    };
    let mut sections = file.split("\n[");
    let current = sections.next().unwrap_or_default();
    let pending = sections.find(|section| section.starts_with("PENDING]"));
    if option == "description" {
        let notes: Vec<&str> = current.lines().filter_map(|line| line.strip_prefix('#')).collect();
        return Some(notes.join("\n"));
    }
    pending.and_then(find).or_else(|| find(current))
}

/// Judges a run into which somebody wrote.
pub fn judge(
    stage: &Stage,
    world: &World,
    watch: &Watch,
    outcome: &Outcome,
    vmid: Vmid,
    (option, written): (&str, &str),
) -> Result<(), String> {
    let Some(after_edit) = watch.edited() else { return Ok(()) };
    let guest = outcome.guests.iter().find(|guest| guest.address.vmid == Some(vmid)).ok_or("it is not told of")?;
    let change = stage.plan.changes().find(|change| change.address == guest.address).ok_or("no change")?;
    let Some(now) = file(world, vmid) else {
        let ends = change.steps.iter().any(|step| step.kind == StepKind::Delete);
        // A disk that came meanwhile must not go with its guest; other edits of what is deleted anyway do.
        let matters = matches!(option, "scsi5" | "mp5" | "protection");
        return match () {
            () if !ends => Err("the guest is gone".to_owned()),
            () if matters && watch.seen_since() > ONE_READING && watch.before_the_deletion() => {
                Err(format!("it was destroyed with {option}: {written}"))
            }
            () => Ok(()),
        };
    };
    if change.steps.iter().any(|step| step.kind == StepKind::Delete) {
        return Ok(());
    }
    // Proxmox splits and completes some values: what counts is what stood there when the edit was done.
    let (key, wanted) = match option {
        "delete" => (written, None),
        _ => (option, value(&after_edit, option)),
    };
    let seen = value(&now, key);
    let survived = match option {
        // Our line may be added to it, or be taken out.
        "description" => seen.as_deref().is_some_and(|seen| seen.contains("somebody was here")),
        // Converting and moving rename it.
        "scsi5" | "mp5" => seen.is_some(),
        "tags" => seen.as_deref().is_some_and(|seen| seen.contains("by-hand")),
        _ => seen == wanted || seen.as_deref().is_some_and(|seen| same_volume(seen, wanted.as_deref())),
    };
    if !survived {
        return Err(format!(
            "{key} was {wanted:?} after the edit and is {seen:?} now; {}: {}",
            guest.result,
            guest.words.as_deref().unwrap_or("-")
        ));
    }
    let promises = |expect: &Expect| expect.option() == Some(key);
    let is_ours = change.steps.iter().flat_map(|step| &step.expect).any(promises);
    if !is_ours {
        return Ok(());
    }
    if guest.result == GuestResult::Stale {
        let words = guest.words.as_deref().unwrap_or_default();
        let names = words.contains(key) || key == "description" && words.contains("ownership");
        return if names { Ok(()) } else { Err(format!("told as stale, without a word of {key}: {words}")) };
    }
    let differs = change.steps.iter().flat_map(|step| &step.expect).rfind(|expect| promises(expect));
    let overwritten = matches!(differs, Some(Expect::Option { value, .. }) if !now.contains(value.as_str()));
    // Somebody who writes after the last look is not seen.
    let in_time = watch.at().is_some_and(|at| at + 2 * ONE_READING < stage.requests);
    if guest.result.is_good() && guest.left.is_empty() && overwritten && in_time {
        return Err(format!("told as {}, and {key} is {seen:?}", guest.result));
    }
    Ok(())
}

/// True for a drive that was only grown or moved since.
fn same_volume(now: &str, then: Option<&str>) -> bool {
    let volume = |text: &str| text.split(',').next().unwrap_or_default().to_owned();
    then.is_some_and(|then| volume(then) == volume(now) && now.contains(':'))
}
