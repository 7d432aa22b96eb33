//! High availability: whether a guest is one of its resources, how it is kept, and who turns it on and off.

use std::collections::BTreeMap;

use super::demands;
use super::document::{Call, Effect, Expect, FieldChange, Reason, ReasonCode, Step, StepKind};
use super::planner::Cluster;
use super::steps::Target;
use super::template::Template;
use super::update::plain_field;
use crate::desired::{DesiredGuest, HaState, Power};
use crate::live::{LiveGuest, Read};
use crate::pve::ha;
use crate::pve::http::Method;
use crate::pve::schema::version_number;
use crate::pve::value::{GuestKind, Vmid};

/// A resource's options by name.
pub type Options = BTreeMap<String, String>;

/// What a change does with a guest's HA resource.
#[derive(Debug, Default)]
pub struct HaChange {
    /// What people read.
    pub fields: Vec<FieldChange>,
    /// Taking the resource away: before anything else.
    pub leaves: Option<Step>,
    /// Making it or changing its options: when the guest is as it should be.
    pub joins: Option<Step>,
    /// It is a resource while the other steps run, and HA turns it on and off.
    pub manages: bool,
    /// The state that HA keeps it in now.
    pub state: Option<String>,
    /// The power state that the manifest's `ha` asks for.
    pub power: Option<Power>,
}

/// The id of a guest's resource.
pub fn sid(kind: GuestKind, vmid: Vmid) -> String {
    format!("{}:{vmid}", kind.ha_prefix())
}

/// The power state that a resource's state stands for; nothing where HA leaves the guest alone.
pub fn power_of(state: &str) -> Option<Power> {
    ha::runs(state).map(|runs| if runs { Power::Running } else { Power::Stopped })
}

/// The path of a resource.
fn path(target: &Target) -> Template {
    let mut path = Template::text(format!("/cluster/ha/resources/{}:", target.kind.ha_prefix()));
    path.0.extend(target.vmid.0.iter().cloned());
    path
}

/// Takes a resource away; the guest stays as it is.
pub fn remove(target: &Target) -> Step {
    Step {
        kind: StepKind::Ha,
        words: "end its high availability".to_owned(),
        call: Call { method: Method::Delete, path: path(target), params: BTreeMap::new() },
        effect: Effect::None,
        expect: vec![Expect::Ha(None)],
    }
}

/// Asks HA for another state, and waits for what that means.
pub fn turn(target: &Target, state: &str) -> Step {
    let power = power_of(state);
    let (words, effect) = match power {
        Some(Power::Running) => ("have HA start it", Effect::None),
        Some(Power::Stopped) => ("have HA shut it down", Effect::Downtime),
        None => ("have HA leave it alone", Effect::None),
    };
    let options = BTreeMap::from([("state".to_owned(), state.to_owned())]);
    change(target, words.to_owned(), effect, &options, power)
}

fn change(target: &Target, words: String, effect: Effect, options: &Options, power: Option<Power>) -> Step {
    let params = options.iter().map(|(name, value)| (name.clone(), Template::text(value))).collect();
    Step {
        kind: StepKind::Ha,
        words,
        call: Call { method: Method::Put, path: path(target), params },
        effect,
        expect: [Expect::Ha(Some(options.clone()))].into_iter().chain(power.map(Expect::Power)).collect(),
    }
}

fn make(target: &Target, options: &Options) -> Step {
    let mut sid = Template::text(format!("{}:", target.kind.ha_prefix()));
    sid.0.extend(target.vmid.0.iter().cloned());
    let mut params: BTreeMap<String, Template> =
        options.iter().map(|(name, value)| (name.clone(), Template::text(value))).collect();
    params.insert("sid".to_owned(), sid);
    let power = power_of(options.get("state").map_or("started", String::as_str));
    Step {
        kind: StepKind::Ha,
        words: "make it highly available".to_owned(),
        call: Call { method: Method::Post, path: Template::text("/cluster/ha/resources"), params },
        effect: Effect::None,
        expect: [Expect::Ha(Some(options.clone()))].into_iter().chain(power.map(Expect::Power)).collect(),
    }
}

/// What the manifest's `ha` asks for, each option that it lists. Its state may come from `state`.
fn wanted(guest: &DesiredGuest) -> Option<Option<Options>> {
    let HaState::Managed { state, max_restart, max_relocate, group } = &guest.ha.as_ref()?.value else {
        return Some(None);
    };
    let by_power = guest.state.map(|power| if power == Power::Running { "started" } else { "stopped" }.to_owned());
    let listed = [
        ("state", state.clone().or(by_power)),
        ("max_restart", max_restart.map(|number| number.to_string())),
        ("max_relocate", max_relocate.map(|number| number.to_string())),
        ("group", group.clone()),
    ];
    Some(Some(listed.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()))
}

/// Plans a guest's HA resource. A guest that is not there yet has none.
pub fn plan(cluster: &Cluster<'_>, guest: &DesiredGuest, live: Option<&LiveGuest>, target: &Target) -> HaChange {
    let mut out = HaChange::default();
    let present = match (live.map(|live| (live, &live.ha)), &cluster.live.ha) {
        // What is known of this guest alone comes first.
        (Some((_, Some(own))), _) => own.known(),
        (Some((live, None)), Read::Known(resources)) if !resources.is_empty() => {
            resources.get(&sid(live.kind, live.vmid))
        }
        _ => None,
    };
    out.state = present.map(|options| options.get("state").map_or("started", String::as_str).to_owned());
    out.manages = out.state.as_deref().is_some_and(|state| power_of(state).is_some());
    let Some(wanted) = wanted(guest) else { return out };
    let place = guest.ha.as_ref().map(|ha| ha.place.clone());
    let mut field = |name: &str, before: Option<&str>, after: Option<&str>, blocked: Option<&Reason>| {
        let mut field = plain_field(name, before.map(str::to_owned), after.map(str::to_owned), Effect::None, guest);
        field.place = place.clone().or(field.place);
        field.blocked = blocked.cloned();
        out.fields.push(field);
    };
    let is_template = live.is_some_and(|live| live.template) && wanted.is_some();
    let refused = if is_template { Some(template()) } else { refusal(cluster, wanted.as_ref()) };
    let get = |options: Option<&Options>, name: &str| options.and_then(|options| options.get(name)).cloned();
    match (present, wanted) {
        (None, None) => {}
        (Some(_), None) => {
            field("ha", out.state.as_deref(), None, refused.as_ref());
            if refused.is_none() {
                out.leaves = Some(remove(target));
                out.manages = false;
            }
        }
        (None, Some(options)) => {
            let state = options.get("state").map_or("started", String::as_str);
            field("ha", None, Some(state), refused.as_ref());
            for (name, value) in options.iter().filter(|(name, _)| *name != "state") {
                field(&format!("ha.{name}"), None, Some(value), refused.as_ref());
            }
            out.power = power_of(state);
            if refused.is_none() {
                out.joins = Some(make(target, &options));
            }
        }
        (Some(present), Some(options)) => {
            let state = options.get("state").or_else(|| present.get("state")).map_or("started", String::as_str);
            out.power = power_of(state);
            let differs =
                |(name, value): &(&String, &String)| !ha::same(name, Some(value), get(Some(present), name).as_deref());
            let changed: Options =
                options.iter().filter(differs).map(|(name, value)| (name.clone(), value.clone())).collect();
            for (name, value) in &changed {
                let before = get(Some(present), name).or_else(|| ha::default_of(name).map(str::to_owned));
                field(&format!("ha.{name}"), before.as_deref(), Some(value), refused.as_ref());
            }
            if refused.is_none() && !changed.is_empty() {
                let names: Vec<&str> = changed.keys().map(String::as_str).collect();
                let words = format!("set {} of its high availability", names.join(", "));
                let effect = if out.power == Some(Power::Stopped) { Effect::Downtime } else { Effect::None };
                let power = if changed.contains_key("state") { out.power } else { None };
                out.joins = Some(change(target, words, effect, &changed, power));
            }
        }
    }
    out
}

fn template() -> Reason {
    Reason {
        code: ReasonCode::NotInPlace,
        words: "it is a template, which never runs: HA has nothing to keep of it".to_owned(),
        hint: Some("take `ha` away, or make a clone of it under another name".to_owned()),
    }
}

/// Why the HA resource cannot be changed.
fn refusal(cluster: &Cluster<'_>, wanted: Option<&Options>) -> Option<Reason> {
    if let Some(why) = cluster.live.ha.unread() {
        let words = format!("its HA resource could not be read: {why}");
        return Some(Reason { code: ReasonCode::Unread, words, hint: None });
    }
    if wanted.is_some_and(|options| options.contains_key("group"))
        && version_number(&cluster.live.version) >= version_number("9.0")
    {
        return Some(Reason {
            code: ReasonCode::Version,
            words: format!("Proxmox VE {} has HA rules in place of groups", cluster.live.version),
            hint: Some("leave `group` out, and name the guest in a node-affinity rule".to_owned()),
        });
    }
    cluster.lacks("/", "Sys.Console").then(|| demands::lacking("/", "Sys.Console"))
}

/// The nodes that HA keeps a guest on, with the rule that says so; nothing where no rule does.
pub fn kept_on<'a>(cluster: &Cluster<'a>, kind: GuestKind, vmid: Vmid) -> Option<(&'a str, Vec<&'a str>)> {
    let sid = sid(kind, vmid);
    let rule = cluster.live.ha_rules.known()?.iter().find(|rule| rule.resources.contains(&sid))?;
    let online = |node: &&String| cluster.live.nodes.get(*node).is_some_and(|state| state.online);
    let highest = rule.nodes.iter().filter(|(node, _)| online(node)).map(|(_, priority)| priority).max()?;
    let nodes = rule.nodes.iter().filter(|(node, priority)| online(node) && *priority == highest);
    Some((rule.name.as_str(), nodes.map(|(node, _)| node.as_str()).collect()))
}
