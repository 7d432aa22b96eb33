//! What a manifest may say and this version cannot carry out: refused here, and nowhere else.

use super::model::DesiredGuest;
use crate::diagnostics::{Diagnostic, Place};

/// Refuses what the planner does not do yet.
pub(super) fn refuse(guest: &DesiredGuest, problems: &mut Vec<Diagnostic>) {
    let mut asked: Vec<(&str, &Place)> = Vec::new();
    asked.extend(guest.archive.as_ref().map(|archive| ("archive", &archive.place)));
    asked.extend(
        guest.recreate.as_ref().filter(|recreate| recreate.value).map(|recreate| ("recreate", &recreate.place)),
    );
    asked.extend(guest.renamed_from.as_ref().map(|name| ("renamed_from", &name.place)));
    asked.retain(|(_, place)| !problems.iter().any(|problem| problem.place.as_ref() == Some(place)));
    problems.extend(asked.into_iter().map(|(what, place)| {
        Diagnostic::error("unsupported", format!("`{what}` is understood, and this version cannot carry it out"))
            .at(place)
            .hint("do it by hand and leave it out here")
    }));
}
