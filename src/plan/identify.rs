//! Which live guest is which manifest guest, and what proves it.

use std::collections::{BTreeMap, HashMap};

use super::document::{Reason, ReasonCode};
use super::mark::{self, Mark, Marked};
use crate::desired::DesiredGuest;
use crate::live::{LiveCluster, LiveGuest, Read};
use crate::pve::value::{GuestKind, Vmid};

/// The marks of a cluster's guests, read once.
pub struct Marks<'a> {
    /// The cluster's name in the settings.
    pub cluster: &'a str,
    /// The owner.
    pub fleet: &'a str,
    /// Part of the fleet.
    pub scope: &'a str,
    by_vmid: &'a ReadMarks,
    bearing: ByName<'a>,
    named: ByName<'a>,
}

/// What the notes of a cluster's guests say about ownership.
pub type ReadMarks = BTreeMap<Vmid, Marked>;

/// Reads the marks of all guests whose configuration is known.
pub fn read_marks(live: &LiveCluster) -> ReadMarks {
    let notes = |guest: &LiveGuest| guest.config.known()?.effective("description").map(mark::read);
    live.guests.iter().filter_map(|(vmid, guest)| Some((*vmid, notes(guest)?))).collect()
}

/// Guests by kind and name, in the order of their ids. It is only asked, never walked: nothing depends on its order.
#[derive(Default)]
struct ByName<'a>(BTreeMap<GuestKind, HashMap<&'a str, Vec<Vmid>>>);

impl<'a> ByName<'a> {
    fn add(&mut self, kind: GuestKind, name: &'a str, vmid: Vmid) {
        // Nearly every name is that of one guest.
        self.0.entry(kind).or_default().entry(name).or_insert_with(|| Vec::with_capacity(1)).push(vmid);
    }

    fn of(&self, kind: GuestKind, name: &str) -> &[Vmid] {
        self.0.get(&kind).and_then(|names| names.get(name)).map_or(&[], Vec::as_slice)
    }
}

/// What a manifest guest is in the cluster.
pub enum Found<'a> {
    /// It is this one, and it is ours.
    Ours(&'a LiveGuest, &'a Mark),
    /// It is this one, it is nobody's, and it may be adopted.
    Unowned(&'a LiveGuest),
    /// It may be this one; whose it is could not be read.
    Unread(&'a LiveGuest, String),
    /// It is not there; whether that is proved is another question.
    Nowhere,
    /// Something stands in the way.
    Refused(Reason),
}

impl<'a> Marks<'a> {
    /// Finds guests by their marks and names.
    pub fn new(
        cluster: &'a str,
        fleet: &'a str,
        scope: &'a str,
        live: &'a LiveCluster,
        by_vmid: &'a ReadMarks,
    ) -> Self {
        let (bearing, named) = (ByName::default(), ByName::default());
        let mut marks = Self { cluster, fleet, scope, by_vmid, bearing, named };
        for (vmid, guest) in &live.guests {
            if let Some(name) = guest.name.known() {
                marks.named.add(guest.kind, name, *vmid);
            }
            if let Some(mark) = marks.ours(guest) {
                marks.bearing.add(mark.kind, &mark.guest, *vmid);
            }
        }
        marks
    }

    /// The mark of a guest, where it is one of ours and proves that the guest is: this cluster, fleet, scope and vmid.
    pub fn ours(&self, guest: &LiveGuest) -> Option<&'a Mark> {
        match self.by_vmid.get(&guest.vmid)? {
            Marked::By(mark) if self.is_ours(mark) && mark.vmid == guest.vmid && mark.kind == guest.kind => Some(mark),
            _ => None,
        }
    }

    /// The guests that bear the line of this guest.
    pub fn bearing(&self, kind: GuestKind, guest: &str) -> &[Vmid] {
        self.bearing.of(kind, guest)
    }

    /// The guests of this name.
    pub fn named(&self, kind: GuestKind, name: &str) -> &[Vmid] {
        self.named.of(kind, name)
    }

    /// The mark whatever it says.
    pub fn any(&self, vmid: Vmid) -> &Marked {
        self.by_vmid.get(&vmid).unwrap_or(&Marked::No)
    }

    fn is_ours(&self, mark: &Mark) -> bool {
        mark.cluster == self.cluster && mark.fleet == self.fleet && mark.scope == self.scope
    }

    /// A guest with a line that does not make it ours, in words.
    fn foreign(&self, guest: &LiveGuest) -> Option<Reason> {
        let words = match self.any(guest.vmid) {
            Marked::Unclear => {
                format!("{} {} bears two ownership lines, or one that cannot be read", guest.kind.noun(), guest.vmid)
            }
            Marked::By(mark) if mark.fleet != self.fleet || mark.scope != self.scope => {
                let scope = if mark.scope.is_empty() { String::new() } else { format!(", scope {}", mark.scope) };
                format!("{} {} belongs to fleet {}{scope}", guest.kind.noun(), guest.vmid, mark.fleet)
            }
            Marked::By(mark) if mark.cluster != self.cluster => format!(
                "{} {} bears the line of cluster {}: a restored or moved copy",
                guest.kind.noun(),
                guest.vmid,
                mark.cluster
            ),
            _ => return None,
        };
        Some(Reason {
            code: ReasonCode::Foreign,
            words,
            hint: Some("remove the `<!-- pvefleet … -->` line from its notes if it should be adopted".to_owned()),
        })
    }
}

/// Looks a manifest guest up by vmid, by mark, and by name where it has neither.
pub fn find<'a>(
    guest: &DesiredGuest,
    is_listed: &dyn Fn(GuestKind, &str) -> bool,
    live: &'a LiveCluster,
    marks: &'a Marks<'_>,
) -> Found<'a> {
    let bearing: Vec<(&LiveGuest, &Mark)> = marks
        .bearing(guest.kind, &guest.name)
        .iter()
        .filter_map(|vmid| live.guests.get(vmid))
        .filter_map(|seen| Some((seen, marks.ours(seen)?)))
        .collect();
    if let [first, second, ..] = bearing.as_slice() {
        return Found::Refused(Reason {
            code: ReasonCode::Conflict,
            words: format!("{} and {} both bear the line of {}", first.0.vmid, second.0.vmid, guest.name),
            hint: Some("remove the line from the notes of the one that is the copy".to_owned()),
        });
    }
    match guest.vmid {
        Some(vmid) => find_by_vmid(guest, vmid, is_listed, live, marks, bearing.first().copied()),
        None => match bearing.first() {
            Some((seen, mark)) => Found::Ours(seen, mark),
            None => {
                find_by_former_name(guest, is_listed, live, marks).unwrap_or_else(|| find_by_name(guest, live, marks))
            }
        },
    }
}

fn find_by_vmid<'a>(
    guest: &DesiredGuest,
    vmid: Vmid,
    is_listed: &dyn Fn(GuestKind, &str) -> bool,
    live: &'a LiveCluster,
    marks: &'a Marks<'_>,
    bearing: Option<(&'a LiveGuest, &Mark)>,
) -> Found<'a> {
    if let Some((seen, _)) = bearing.filter(|(seen, _)| seen.vmid != vmid) {
        return Found::Refused(Reason {
            code: ReasonCode::Immutable,
            words: format!("{} is {}; the id of a guest cannot change", guest.name, seen.vmid),
            hint: Some(format!("write `vmid: {}`, or leave vmid out", seen.vmid)),
        });
    }
    let Some(seen) = live.guests.get(&vmid) else {
        return match live.free_ids.get(&vmid) {
            Some(Read::Known(false)) => Found::Refused(Reason {
                code: ReasonCode::VmidTaken,
                words: format!("{vmid} is taken by a guest that this token cannot see"),
                hint: Some("choose another vmid, or let the token see it (VM.Audit)".to_owned()),
            }),
            _ => Found::Nowhere,
        };
    };
    let taken = |words: String| {
        let hint = Some("choose another vmid, or leave it out".to_owned());
        Found::Refused(Reason { code: ReasonCode::VmidTaken, words, hint })
    };
    let named = seen.name.known().map_or_else(|| vmid.to_string(), |name| format!("{vmid} ({name})"));
    if seen.kind != guest.kind {
        return taken(format!("{named} is a {}", seen.kind.noun()));
    }
    if let Some(mark) = marks.ours(seen) {
        let is_other = mark.guest != guest.name && is_listed(mark.kind, &mark.guest);
        if is_other {
            return taken(format!("{named} is {} of this manifest", mark.guest));
        }
        return Found::Ours(seen, mark);
    }
    if is_unfinished(seen) {
        return Found::Unowned(seen);
    }
    if let Some(why) = unread(seen) {
        return Found::Unread(seen, why);
    }
    if let Some(reason) = marks.foreign(seen) {
        return Found::Refused(reason);
    }
    match &seen.name {
        Read::Known(name) if *name == guest.name => Found::Unowned(seen),
        Read::Unread(why) => Found::Refused(Reason {
            code: ReasonCode::Unread,
            words: format!("{vmid} is there, and its name could not be read: {why}"),
            hint: None,
        }),
        Read::Known(name) => taken(format!("{vmid} is the id of {name}, which is another guest")),
        Read::Absent => match &seen.config {
            // A VM whose restore failed keeps an empty configuration, and nothing on it says whose it was.
            Read::Known(config) if config.current.is_empty() => Found::Refused(Reason {
                code: ReasonCode::VmidTaken,
                words: format!("{vmid} has an empty configuration: a restore that failed leaves one behind"),
                hint: Some(format!("if it is nobody's, on {}: qm destroy {vmid}", seen.node)),
            }),
            _ => taken(format!("{vmid} is the id of another guest")),
        },
    }
}

/// A guest of ours that bore the line of the former name; nothing where there is none.
fn find_by_former_name<'a>(
    guest: &DesiredGuest,
    is_listed: &dyn Fn(GuestKind, &str) -> bool,
    live: &'a LiveCluster,
    marks: &'a Marks<'_>,
) -> Option<Found<'a>> {
    let former = guest.renamed_from.as_ref()?;
    let conflict = |words: String, hint: &str| {
        Some(Found::Refused(Reason { code: ReasonCode::Conflict, words, hint: Some(hint.to_owned()) }))
    };
    let bearing = marks.bearing(guest.kind, &former.value);
    let first = bearing.first()?;
    if is_listed(guest.kind, &former.value) {
        let words = format!("{} is {} of this manifest, so {} cannot be it", first, former.value, guest.name);
        return conflict(words, "take `renamed_from` away, or the entry of the former name");
    }
    if bearing.len() > 1 {
        let ids: Vec<String> = bearing.iter().map(ToString::to_string).collect();
        let words = format!("{} bear the line of {}", ids.join(" and "), former.value);
        return conflict(words, "give the guest a vmid in the manifest");
    }
    if let Some(other) = marks.named(guest.kind, &guest.name).iter().find(|vmid| *vmid != first) {
        let words = format!("{first} was {}, and {other} is called {} already", former.value, guest.name);
        return conflict(words, "choose another name, or rename the other one by hand");
    }
    let seen = live.guests.get(first)?;
    Some(Found::Ours(seen, marks.ours(seen)?))
}

fn find_by_name<'a>(guest: &DesiredGuest, live: &'a LiveCluster, marks: &Marks<'_>) -> Found<'a> {
    let mut same: Vec<&LiveGuest> = marks
        .named(guest.kind, &guest.name)
        .iter()
        .filter_map(|vmid| live.guests.get(vmid))
        // A guest of this fleet under another name is that other guest, whatever it is called now.
        .filter(|seen| marks.ours(seen).is_none())
        .collect();
    match same.len() {
        0 => Found::Nowhere,
        1 => {
            let seen = same.remove(0);
            if let Some(why) = unread(seen) {
                return Found::Unread(seen, why);
            }
            marks.foreign(seen).map_or(Found::Unowned(seen), Found::Refused)
        }
        _ => {
            let ids: Vec<String> = same.iter().map(|seen| seen.vmid.to_string()).collect();
            Found::Refused(Reason {
                code: ReasonCode::Conflict,
                words: format!("{} guests are called {}: {}", same.len(), guest.name, ids.join(", ")),
                hint: Some("give the guest a vmid in the manifest".to_owned()),
            })
        }
    }
}

/// Why nothing can be said about whose guest this is.
fn unread(guest: &LiveGuest) -> Option<String> {
    match &guest.config {
        Read::Known(_) => None,
        Read::Absent => Some("its configuration was not read".to_owned()),
        Read::Unread(why) => Some(why.clone()),
    }
}

/// A create or clone that has not ended: only its lock, or the text that Proxmox shows meanwhile.
pub fn is_unfinished(guest: &LiveGuest) -> bool {
    let making = matches!(guest.lock.as_deref(), Some("create" | "clone"));
    let text = guest.config.known().and_then(|config| config.effective("description")).unwrap_or_default();
    making || text.trim() == mark::CLONE_IN_PROGRESS
}
