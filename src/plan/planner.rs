//! The planner: every cluster's guests identified, compared, ordered and guarded.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::accept::{Acceptance, AcceptanceKind};
use super::document::{
    Action, Address, Change, Class, ClusterPlan, FORMAT_VERSION, Plan, Reason, ReasonCode, State, Unread,
};
use super::identify::{self, Found, Marks, ReadMarks};
use super::mark::{self, Mark, Marked};
use super::vmids::NewIds;
use super::{clone, create, demands, guards, identity, model, order, orphans, preflight, recreate, update};
use crate::clusters::Access;
use crate::desired::{Desired, DesiredCluster, DesiredGuest, Routing};
use crate::diagnostics::Diagnostic;
use crate::live::{Live, LiveCluster, LiveGuest, Read};
use crate::pve::value::{GuestKind, Upid, Vmid};

/// What a run may do and what it is limited to.
#[derive(Debug, Clone, Default)]
pub struct PlanOptions {
    /// Delete orphans, within the guards.
    pub prune: bool,
    /// What was accepted by name.
    pub accept: Vec<Acceptance>,
    /// Only these clusters; empty means all.
    pub clusters: Vec<String>,
    /// Only these guests, by manifest name or `cluster/name`; empty means all.
    pub targets: Vec<String>,
    /// The manifest that was read is part of a fleet (one file of a folder): orphans are not sought.
    pub partial: bool,
}

/// The clusters that each guest of the manifest is routed to. Nothing depends on the order.
type Routed<'a> = HashMap<(GuestKind, &'a str), Vec<&'a str>>;

/// One cluster while it is planned.
pub struct Cluster<'a> {
    /// Its name in the settings.
    pub name: &'a str,
    /// The owner.
    pub fleet: &'a str,
    /// Part of the fleet.
    pub scope: &'a str,
    /// What should be.
    pub desired: &'a DesiredCluster,
    /// What is.
    pub live: &'a LiveCluster,
    /// What the run may do.
    pub options: &'a PlanOptions,
    marks: &'a Marks<'a>,
    /// The marks of every cluster that was read: a guest may live in another one.
    all_marks: &'a BTreeMap<&'a str, Marks<'a>>,
    /// The clusters that each guest of the manifest is routed to.
    routed: &'a Routed<'a>,
    /// Guests that might be one which is not found: unfinished ones, and those whose name or notes are not known.
    doubtful: Vec<&'a LiveGuest>,
    unread: Vec<Unread>,
    pub(super) used: &'a RefCell<BTreeSet<Acceptance>>,
    /// Plans that would not come to an end.
    unstable: &'a RefCell<Vec<Diagnostic>>,
}

/// Plans the whole fleet.
///
/// # Errors
///
/// Input that cannot be planned with: two settings that are one cluster, an acceptance, cluster or target that matches
/// nothing.
pub fn plan(desired: &Desired, live: &Live, options: &PlanOptions) -> Result<Plan, Vec<Diagnostic>> {
    let mut problems = same_cluster_twice(live);
    problems.extend(unknown_selections(desired, options));
    if !problems.is_empty() {
        return Err(problems);
    }
    let known = || live.clusters.iter().filter_map(|(name, cluster)| Some((name.as_str(), cluster.known()?)));
    let read: BTreeMap<&str, ReadMarks> =
        known().map(|(name, cluster)| (name, identify::read_marks(cluster))).collect();
    let marks: BTreeMap<&str, Marks<'_>> = known()
        .filter_map(|(name, cluster)| {
            Some((name, Marks::new(name, &desired.fleet, &desired.scope, cluster, read.get(name)?)))
        })
        .collect();
    let mut routed = Routed::new();
    for (name, cluster) in &desired.clusters {
        for guest in &cluster.guests {
            routed.entry((guest.kind, guest.name.as_str())).or_insert_with(|| Vec::with_capacity(1)).push(name);
        }
    }
    let used = RefCell::new(BTreeSet::new());
    let unstable = RefCell::new(Vec::new());
    let mut clusters = BTreeMap::new();
    let mut warnings = Vec::new();
    for (name, wanted) in
        desired.clusters.iter().filter(|(name, _)| options.clusters.is_empty() || options.clusters.contains(name))
    {
        let part = match live.clusters.get(name) {
            Some(Read::Known(seen)) => {
                let Some(own) = marks.get(name.as_str()) else { continue };
                let cluster = Cluster {
                    name,
                    fleet: &desired.fleet,
                    scope: &desired.scope,
                    desired: wanted,
                    live: seen,
                    options,
                    doubtful: doubtful(own, seen),
                    marks: own,
                    all_marks: &marks,
                    routed: &routed,
                    unread: unread_items(seen),
                    used: &used,
                    unstable: &unstable,
                };
                cluster.plan(desired)
            }
            Some(Read::Unread(why)) => unreachable_cluster(name, wanted, options, why),
            Some(Read::Absent) | None => unreachable_cluster(name, wanted, options, "it was not read"),
        };
        let by_default: Vec<&str> = wanted
            .guests
            .iter()
            .filter(|guest| guest.routing == Routing::Default && is_target(options, name, &guest.name))
            .map(|guest| guest.name.as_str())
            .collect();
        if !by_default.is_empty() {
            let words = format!("no rule routes {}; the default cluster {name} is used", by_default.join(", "));
            let hint = "name the cluster in the manifest, or add a pattern to PROXMOX_CLUSTER_PATTERNS";
            warnings.push(Diagnostic::warning("default-cluster", words).hint(hint));
        }
        clusters.insert(name.clone(), part);
    }
    if !unstable.borrow().is_empty() {
        return Err(unstable.into_inner());
    }
    let emptied = guards::of_nothing(desired, options, &mut clusters);
    used.borrow_mut().extend(emptied);
    guards::over_all(desired.guards, options, &mut clusters);
    if options.prune && (options.partial || !options.targets.is_empty()) {
        let why =
            if options.partial { "other files of this folder hold more of the fleet" } else { "--target was given" };
        warnings.push(
            Diagnostic::warning(
                "prune-ignored",
                format!("--prune does nothing here: no orphans are sought, because {why}"),
            )
            .hint("plan the whole folder without --target"),
        );
    }
    let unused: Vec<Diagnostic> = options
        .accept
        .iter()
        .filter(|acceptance| !used.borrow().contains(acceptance))
        .map(|acceptance| {
            Diagnostic::error("unused-acceptance", format!("--accept {acceptance} matches nothing in this plan"))
                .hint("leave it out, or correct cluster, guest or device")
        })
        .collect();
    let complete = clusters.values().all(|cluster| cluster.unread.is_empty());
    // What could not be read may be just what was accepted.
    if !unused.is_empty() && complete {
        return Err(unused);
    }
    warnings.extend(unused.into_iter().map(|mut problem| {
        problem.severity = crate::diagnostics::Severity::Warning;
        problem
    }));
    for cluster in clusters.values_mut() {
        cluster.cluster_id = identity::cluster_id(cluster.identity.as_ref(), &cluster.changes);
    }
    let ids = clusters.iter().map(|(name, cluster)| (name.as_str(), cluster.cluster_id.as_str()));
    Ok(Plan {
        format_version: FORMAT_VERSION.to_owned(),
        fleet: desired.fleet.clone(),
        scope: desired.scope.clone(),
        plan_id: identity::plan_id(&desired.fleet, ids),
        complete,
        clusters,
        warnings,
    })
}

/// Two settings that lead to one cluster would each see the other's guests.
fn same_cluster_twice(live: &Live) -> Vec<Diagnostic> {
    let mut seen: BTreeMap<(&Option<String>, &Vec<String>), &str> = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, cluster) in &live.clusters {
        let Read::Known(cluster) = cluster else { continue };
        // Standalone nodes have no cluster name, and many are called `pve`: nothing is concluded from that.
        if cluster.identity.cluster.is_none() {
            continue;
        }
        if let Some(other) = seen.insert((&cluster.identity.cluster, &cluster.identity.nodes), name) {
            let words = format!("{other} and {name} are the same cluster");
            problems.push(Diagnostic::error("same-cluster", words).hint("keep one of them in PROXMOX_CLUSTERS"));
        }
    }
    problems
}

fn unknown_selections(desired: &Desired, options: &PlanOptions) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for name in options.clusters.iter().filter(|name| !desired.clusters.contains_key(*name)) {
        let known: Vec<&str> = desired.clusters.keys().map(String::as_str).collect();
        let hint = format!("the manifest has {}", known.join(", "));
        problems
            .push(Diagnostic::error("unknown-cluster", format!("--cluster {name} is not in the manifest")).hint(hint));
    }
    for target in &options.targets {
        let matches = desired
            .clusters
            .iter()
            .filter(|(cluster, _)| options.clusters.is_empty() || options.clusters.contains(cluster))
            .any(|(cluster, wanted)| wanted.guests.iter().any(|guest| names(target, cluster, &guest.name)));
        if !matches {
            let all = desired.clusters.values().flat_map(|cluster| cluster.guests.iter().map(|guest| &guest.name));
            let near = crate::pve::schema::nearest(target, all);
            let hint =
                near.map_or_else(|| "name a guest of the manifest".to_owned(), |near| format!("did you mean {near}?"));
            problems
                .push(Diagnostic::error("unknown-target", format!("--target {target} matches no guest")).hint(hint));
        }
    }
    problems
}

fn names(target: &str, cluster: &str, guest: &str) -> bool {
    target == guest || target.split_once('/') == Some((cluster, guest))
}

fn is_target(options: &PlanOptions, cluster: &str, guest: &str) -> bool {
    options.targets.is_empty() || options.targets.iter().any(|target| names(target, cluster, guest))
}

/// Guests of a cluster that might be a guest of the manifest which is not found.
fn doubtful<'a>(marks: &Marks<'_>, live: &'a LiveCluster) -> Vec<&'a LiveGuest> {
    let tag = mark::fleet_tag(marks.fleet);
    live.guests
        .values()
        .filter(|guest| {
            identify::is_unfinished(guest)
                || guest.name.unread().is_some()
                || guest.config.unread().is_some() && guest.tags.contains(&tag)
        })
        .collect()
}

fn unread_items(live: &LiveCluster) -> Vec<Unread> {
    let mut items = Vec::new();
    let mut push = |what: String, why: &str| items.push(Unread { what, reason: why.to_owned() });
    for (name, node) in &live.nodes {
        if let Some(why) = node.lists.unread() {
            push(format!("node {name}"), why);
        }
    }
    for (node, storages) in &live.storages {
        let listed = live.nodes.get(node).is_some_and(|node| node.lists.unread().is_none());
        if let Some(why) = storages.unread().filter(|_| listed) {
            push(format!("storages of {node}"), why);
        }
    }
    for guest in live.guests.values() {
        let on_read_node = || live.nodes.get(&guest.node).is_some_and(|node| node.lists.unread().is_none());
        if let Some(why) = guest.config.unread().filter(|_| on_read_node()) {
            push(format!("{} {}", guest.kind.noun(), guest.vmid), why);
        }
    }
    items
}

fn unreachable_cluster(name: &str, wanted: &DesiredCluster, options: &PlanOptions, why: &str) -> ClusterPlan {
    let changes = wanted
        .guests
        .iter()
        .filter(|guest| is_target(options, name, &guest.name))
        .map(|guest| Change {
            address: Address { cluster: name.to_owned(), kind: guest.kind, name: guest.name.clone(), vmid: guest.vmid },
            action: Action::None,
            state: State::Unknown,
            reason: Some(Reason {
                code: ReasonCode::Unread,
                words: "its cluster could not be read".to_owned(),
                hint: None,
            }),
            class: Some(Class::Unknown),
            node: None,
            place: Some(guest.place.clone()),
            routing: Some(guest.routing),
            fields: Vec::new(),
            steps: Vec::new(),
            base: super::document::Base::default(),
            unlisted: BTreeMap::new(),
            pending: Vec::new(),
            destroys: Vec::new(),
            notes: Vec::new(),
            after: Vec::new(),
        })
        .collect();
    ClusterPlan {
        cluster_id: String::new(),
        identity: None,
        unread: vec![Unread { what: "cluster".to_owned(), reason: why.to_owned() }],
        changes,
        unmanaged: 0,
    }
}

/// True when an acceptance names this guest.
pub(super) fn matches_address(acceptance: &Acceptance, address: &Address) -> bool {
    acceptance.cluster == address.cluster
        && (acceptance.guest == address.name || address.vmid.is_some_and(|vmid| acceptance.guest == vmid.to_string()))
}

impl<'a> Cluster<'a> {
    /// The visible guests of this name or id, by vmid.
    pub fn named(&self, kind: GuestKind, name: &str) -> Vec<&'a LiveGuest> {
        let by_id = name.parse().ok().and_then(|vmid: Vmid| self.live.guests.get(&vmid));
        let by_id = by_id.filter(|live| live.kind == kind && live.vmid.to_string() == name);
        let vmids: BTreeSet<Vmid> =
            self.marks.named(kind, name).iter().copied().chain(by_id.map(|live| live.vmid)).collect();
        vmids.into_iter().filter_map(|vmid| self.live.guests.get(&vmid)).collect()
    }
}

impl Cluster<'_> {
    fn plan(&self, desired: &Desired) -> ClusterPlan {
        let mut ids = NewIds::new(self.desired, self.live);
        let mut changes = Vec::with_capacity(self.desired.guests.len());
        let mut claimed: BTreeSet<Vmid> = BTreeSet::new();
        for guest in &self.desired.guests {
            let change = self.guest(guest, &mut ids, &mut claimed);
            if is_target(self.options, self.name, &guest.name) {
                changes.push(change);
            }
        }
        let owned: Vec<&LiveGuest> = self.live.guests.values().filter(|live| self.marks.ours(live).is_some()).collect();
        if self.desired.declared && !self.options.partial && self.options.targets.is_empty() {
            let creates: Vec<GuestKind> =
                changes.iter().filter(|change| change.action.makes()).map(|change| change.address.kind).collect();
            // What the manifest names is no orphan: routed to another cluster now, it is blocked there; and where it
            // was refused here (another vmid, two that bear one line), that refusal must not cost it its disks.
            let is_listed = |mark: &Mark| self.routed.contains_key(&(mark.kind, mark.guest.as_str()));
            let orphans: Vec<(&LiveGuest, &Mark)> = owned
                .iter()
                .filter(|live| !claimed.contains(&live.vmid))
                .filter_map(|live| Some((*live, self.marks.ours(live)?)))
                .filter(|(_, mark)| !is_listed(mark))
                .collect();
            let mut names: BTreeMap<&String, usize> = BTreeMap::new();
            for name in orphans.iter().filter_map(|(live, _)| live.name.known()) {
                *names.entry(name).or_default() += 1;
            }
            for (live, mark) in &orphans {
                let bears_a_shared_name = live.name.known().is_some_and(|name| {
                    names.get(name).is_some_and(|count| *count > 1)
                        || GuestKind::ALL.into_iter().any(|kind| self.is_listed(kind, name))
                });
                changes.push(orphans::orphan(self, live, mark, &creates, bears_a_shared_name));
            }
        }
        guards::of_cluster(self, desired.guards, owned.len(), &mut changes);
        clone::wait_for_sources(&mut changes);
        self.wait_for_needs(&mut changes);
        order::sort(&mut changes);
        let unmanaged = self.live.guests.keys().filter(|vmid| !claimed.contains(vmid)).count();
        let orphaned = changes.iter().filter(|change| change.class == Some(Class::Orphan)).count();
        ClusterPlan {
            cluster_id: String::new(),
            identity: Some(self.live.identity.clone()),
            unread: self.unread.clone(),
            changes,
            unmanaged: u32::try_from(unmanaged.saturating_sub(orphaned)).unwrap_or(u32::MAX),
        }
    }

    fn guest(&self, guest: &DesiredGuest, ids: &mut NewIds, claimed: &mut BTreeSet<Vmid>) -> Change {
        match identify::find(guest, &|kind, name| self.is_listed(kind, name), self.live, self.marks) {
            Found::Ours(live, mark) => {
                claimed.insert(live.vmid);
                if guest.released {
                    return update::release(self, guest, live, mark);
                }
                let mut change = update::update(self, guest, live, Some(mark));
                self.unstable.borrow_mut().extend(model::check(self, guest, live, &change));
                if guest.recreate.as_ref().is_some_and(|recreate| recreate.value) {
                    change = recreate::recreate(self, guest, live, change, ids);
                    self.unstable.borrow_mut().extend(model::check_made(self, guest, &change));
                }
                if guest.adopt {
                    change.notes.push("it is adopted; `adopt` is no longer needed".to_owned());
                }
                if let Some(former) = guest.renamed_from.as_ref().filter(|_| mark.guest == guest.name) {
                    let words = format!("it is renamed; `renamed_from: {}` is no longer needed", former.value);
                    change.notes.push(words);
                }
                change
            }
            Found::Unowned(live) => {
                claimed.insert(live.vmid);
                self.unowned(guest, live)
            }
            Found::Unread(live, why) => {
                claimed.insert(live.vmid);
                let mut change = self.change(self.address(guest, Some(live.vmid)), guest);
                change.node = Some(live.node.clone());
                self.unread(change, &format!("whose it is could not be read: {why}"))
            }
            Found::Nowhere if guest.released => {
                let mut change = self.change(self.address(guest, guest.vmid), guest);
                change.notes.push("it is let go; the entry can be removed".to_owned());
                change
            }
            Found::Nowhere => {
                let change = create::create(self, guest, ids);
                self.unstable.borrow_mut().extend(model::check_made(self, guest, &change));
                change
            }
            Found::Refused(reason) => {
                claimed.extend(guest.vmid);
                let mut change = self.change(self.address(guest, guest.vmid), guest);
                change.state = if reason.code == ReasonCode::Unread { State::Unknown } else { State::Blocked };
                change.class = Some(Class::Unknown);
                change.reason = Some(reason);
                change
            }
        }
    }

    /// True when another entry of the manifest accounts for the guest of this name there.
    fn is_routed_to(&self, guest: &DesiredGuest, cluster: &str) -> bool {
        self.routed.get(&(guest.kind, guest.name.as_str())).is_some_and(|clusters| clusters.contains(&cluster))
    }

    /// True when the manifest has this guest in this cluster.
    pub fn is_listed(&self, kind: GuestKind, name: &str) -> bool {
        self.routed.get(&(kind, name)).is_some_and(|clusters| clusters.contains(&self.name))
    }

    fn unowned(&self, guest: &DesiredGuest, live: &LiveGuest) -> Change {
        let address = self.address(guest, Some(live.vmid));
        let mut change = self.change(address.clone(), guest);
        change.node = Some(live.node.clone());
        change.class = Some(Class::Unknown);
        if guest.released {
            change.class = None;
            change.notes.push("it is let go; the entry can be removed".to_owned());
            return change;
        }
        if identify::is_unfinished(live) {
            let (state, reason) = self.unfinished(live);
            change.state = state;
            change.reason = Some(reason);
            return change;
        }
        let accepted = self.is_accepted(AcceptanceKind::Adopt, &address);
        if guest.adopt || accepted {
            let change = update::update(self, guest, live, None);
            self.unstable.borrow_mut().extend(model::check(self, guest, live, &change));
            return change;
        }
        change.state = State::Blocked;
        change.reason = Some(Reason {
            code: ReasonCode::NotOwned,
            words: format!("{} {} has this name and bears no mark of this fleet", guest.kind.noun(), live.vmid),
            hint: Some(format!("--accept adopt:{address}, or `adopt: true`, takes it over; else choose another name")),
        });
        change
    }

    fn unfinished(&self, live: &LiveGuest) -> (State, Reason) {
        let lock = live.lock.as_deref().unwrap_or("clone");
        if let Some(task) = self.creations_running().first() {
            let words = format!("{} is being made: {} runs on {}", live.vmid, task.kind, task.node);
            return (State::Waiting, Reason { code: ReasonCode::TaskRunning, words, hint: None });
        }
        let tool = match live.kind {
            GuestKind::Qemu => "qm",
            GuestKind::Lxc => "pct",
        };
        let words = format!("{} was never finished: it bears the lock `{lock}`, and no task explains it", live.vmid);
        let hint = Some(format!("on {}: {tool} unlock {vmid} && {tool} destroy {vmid}", live.node, vmid = live.vmid));
        (State::Blocked, Reason { code: ReasonCode::Unfinished, words, hint })
    }

    /// A change whose needs are not done waits with them.
    fn wait_for_needs(&self, changes: &mut [Change]) {
        let is_stuck = |change: &Change| change.action.makes() && !change.has_steps();
        let mut waiting: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, change) in changes.iter().enumerate() {
            for need in &change.after {
                waiting.entry(need.clone()).or_default().push(index);
            }
        }
        let stuck = changes.iter().filter(|change| is_stuck(change));
        let mut stuck: BTreeSet<String> = stuck.map(|change| change.address.name.clone()).collect();
        while let Some(need) = stuck.pop_first() {
            for index in waiting.remove(&need).unwrap_or_default() {
                let Some(change) = changes.get_mut(index).filter(|change| change.has_steps()) else { continue };
                change.steps.clear();
                change.state = State::Waiting;
                let words = format!("it needs {need}, which is not there yet and is not made by this plan");
                change.reason = Some(Reason { code: ReasonCode::Dependency, words, hint: None });
                if is_stuck(change) {
                    stuck.insert(change.address.name.clone());
                }
            }
        }
    }

    /// The first thing of this cluster that could not be read, in words.
    pub fn anything_unread(&self) -> Option<String> {
        self.unread.first().map(|item| item.what.clone())
    }

    /// Why a guest that is nowhere to be seen is not made.
    pub fn why_not_created(&self, guest: &DesiredGuest) -> Option<(State, Reason)> {
        let reason = |state, code, words: String, hint: Option<String>| Some((state, Reason { code, words, hint }));
        if let Some(reason) = self.read_only() {
            return Some((State::Blocked, reason));
        }
        let elsewhere = self.all_marks.iter().filter(|(cluster, _)| **cluster != self.name);
        let mut elsewhere =
            elsewhere.filter_map(|(cluster, marks)| Some((*cluster, *marks.bearing(guest.kind, &guest.name).first()?)));
        if let Some((cluster, vmid)) = elsewhere.find(|(cluster, _)| !self.is_routed_to(guest, cluster)) {
            let words = format!("it lives in {cluster} as {vmid}, and is routed to {}", self.name);
            let hint = Some(format!("write `cluster: {cluster}`, or let it go there first"));
            return reason(State::Blocked, ReasonCode::LivesElsewhere, words, hint);
        }
        if let Some(task) = self.creations_running().first() {
            let words = format!("{} runs on {}; what it makes is not visible yet", task.kind, task.node);
            return reason(
                State::Waiting,
                ReasonCode::TaskRunning,
                words,
                Some("run again when it has ended".to_owned()),
            );
        }
        let mut proved = false;
        if let Some(vmid) = guest.vmid {
            proved = self.live.free_ids.get(&vmid) == Some(&Read::Known(true));
            if let Some(Read::Unread(why)) = self.live.free_ids.get(&vmid) {
                let words = format!("whether {vmid} is free could not be read: {why}");
                return reason(State::Unknown, ReasonCode::Unread, words, None);
            }
        }
        if guest.vmid.is_none() {
            let mine = |live: &&&LiveGuest| {
                live.kind == guest.kind && self.desired.vmids.is_none_or(|range| range.contains(live.vmid))
            };
            if let Some(live) = self.doubtful.iter().filter(mine).find(|live| identify::is_unfinished(live)) {
                let (state, mut why) = self.unfinished(live);
                why.words.push_str("; it might be this guest");
                return Some((state, why));
            }
            let of_kind = || self.doubtful.iter().filter(|live| live.kind == guest.kind);
            if let Some(live) = of_kind().find(|live| live.name.unread().is_some()) {
                let words = format!("the name of {} could not be read; it might be this guest", live.vmid);
                return reason(State::Unknown, ReasonCode::Unread, words, None);
            }
            // It bears the fleet's tag, and its line may name this guest whatever it is called now.
            if let Some((live, why)) = of_kind().find_map(|live| Some((live, live.config.unread()?))) {
                let words = format!("whose {} is could not be read ({why}); it might be this guest", live.vmid);
                return reason(State::Unknown, ReasonCode::Unread, words, None);
            }
        }
        if let Some(node) = self.live.nodes.iter().find(|(_, node)| node.lists.unread().is_some()).map(|(name, _)| name)
            && guest.vmid.is_none()
        {
            let words = format!("node {node} could not be read; the guest might be there");
            return reason(State::Unknown, ReasonCode::Unread, words, None);
        }
        if !proved && !preflight::sees_every_guest(self.live) {
            let words = "this token does not see every guest, so it cannot tell that this one is not there".to_owned();
            let hint = Some(
                "pveum acl modify /vms --tokens 'USER@REALM!TOKEN' --roles PVEAuditor, or give the guest a vmid"
                    .to_owned(),
            );
            return reason(State::Blocked, ReasonCode::AbsenceUnproved, words, hint);
        }
        let pool = guest.pool.as_ref().map(|pool| format!("/pool/{pool}"));
        let vms = guest.vmid.map_or_else(|| "/vms/new".to_owned(), |vmid| format!("/vms/{vmid}"));
        if self.lacks(&vms, "VM.Allocate") && pool.as_ref().is_none_or(|pool| self.lacks(pool, "VM.Allocate")) {
            return Some((State::Blocked, demands::lacking("/vms", "VM.Allocate")));
        }
        None
    }

    /// Why a guest that bears a lock is left alone.
    pub fn locked(&self, live: &LiveGuest) -> Option<Reason> {
        let lock = live.lock.as_ref()?;
        if identify::is_unfinished(live) {
            // A container bears its line from the first moment; unlocked by hand, half a copy would look whole.
            return Some(self.unfinished(live).1);
        }
        let id = live.vmid.to_string();
        let task = self.tasks().find(|task| task.id == id);
        if task.is_none() && lock == "suspended" {
            return Some(Reason {
                code: ReasonCode::Locked,
                words: "it is suspended to disk; nothing is changed until it is resumed".to_owned(),
                hint: Some("start it by hand, which brings it back, then plan again".to_owned()),
            });
        }
        Some(match task {
            Some(task) => Reason {
                code: ReasonCode::TaskRunning,
                words: format!("it is locked ({lock}) by {}, which runs on {}", task.kind, task.node),
                hint: Some("run again when it has ended".to_owned()),
            },
            None => Reason {
                code: ReasonCode::Locked,
                words: format!("it is locked ({lock}), and no running task explains it"),
                hint: Some(format!(
                    "see what left it there; on {}: {} unlock {id}",
                    live.node,
                    if live.kind == GuestKind::Qemu { "qm" } else { "pct" }
                )),
            },
        })
    }

    fn tasks(&self) -> impl Iterator<Item = Upid> {
        self.live.active_tasks.values().filter_map(Read::known).flatten().filter_map(|text| text.parse().ok())
    }

    fn creations_running(&self) -> Vec<Upid> {
        self.tasks().filter(Upid::makes_guest).collect()
    }

    /// Why nothing may be written here.
    pub fn read_only(&self) -> Option<Reason> {
        (self.desired.access == Access::Read).then(|| Reason {
            code: ReasonCode::ReadOnly,
            words: format!("the settings allow only reading in {}", self.name),
            hint: Some(format!("set PROXMOX_CLUSTER_{}_ACCESS=apply", self.name)),
        })
    }

    /// Why a guest that is there may not be changed, whatever would change.
    pub fn may_change(&self, vmid: Vmid) -> Option<Reason> {
        if let Some(reason) = self.read_only() {
            return Some(reason);
        }
        let path = format!("/vms/{vmid}");
        self.lacks(&path, "VM.Config.Options").then(|| demands::lacking(&path, "VM.Config.Options"))
    }

    /// True when the token provably lacks a privilege.
    pub fn lacks(&self, path: &str, privilege: &str) -> bool {
        preflight::holds(&self.live.permissions, path, privilege) == Some(false)
    }

    /// Why a pool cannot be used.
    pub fn missing_pool(&self, pool: &str) -> Option<Reason> {
        let pools = self.live.pools.known()?;
        (!pools.contains(pool)).then(|| Reason {
            code: ReasonCode::NotFound,
            words: format!("there is no pool {pool} in {}", self.name),
            hint: Some(format!("pveum pool add {pool}")),
        })
    }

    /// True when this was accepted by name; that it was is remembered.
    pub fn is_accepted(&self, kind: AcceptanceKind, address: &Address) -> bool {
        let found = self.options.accept.iter().find(|accept| accept.kind == kind && matches_address(accept, address));
        self.used.borrow_mut().extend(found.cloned());
        found.is_some()
    }

    /// The devices of a guest for which this was accepted. That detaching was is remembered at once: asked for what
    /// is detached already, it is nothing to stumble over.
    pub fn accepted_devices(&self, kind: AcceptanceKind, address: &Address) -> BTreeSet<String> {
        let accepted =
            self.options.accept.iter().filter(|accept| accept.kind == kind && matches_address(accept, address));
        let devices: BTreeSet<String> = accepted.filter_map(|accept| accept.device.clone()).collect();
        if kind == AcceptanceKind::Detach {
            devices.iter().for_each(|device| self.uses(kind, address, device));
        }
        devices
    }

    /// Remembers that an acceptance for a device was used.
    pub fn uses(&self, kind: AcceptanceKind, address: &Address, device: &str) {
        let of_device = |accept: &&Acceptance| {
            accept.kind == kind && matches_address(accept, address) && accept.device.as_deref() == Some(device)
        };
        self.used.borrow_mut().extend(self.options.accept.iter().filter(of_device).cloned());
    }

    /// What a guest's notes say about ownership, for those who explain a plan.
    pub fn marked(&self, vmid: Vmid) -> &Marked {
        self.marks.any(vmid)
    }
}
