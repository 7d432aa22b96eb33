//! From a step with holes to the request that is sent, and to its record without secrets.

use std::collections::BTreeMap;

use super::journal::CallRecord;
use super::meaning::sub_key;
use crate::desired::SecretReference;
use crate::live::{LiveGuest, Read};
use crate::plan::{Address, Hole, Part, Plan, State, Step, Template};
use crate::pve::http::Request;
use crate::secret::Secret;

/// Gives secrets by reference.
pub trait SecretSource: Send + Sync {
    /// The secret.
    ///
    /// # Errors
    ///
    /// Why there is none, in words that hold no secret.
    fn secret(&self, reference: &SecretReference) -> Result<Secret, String>;
}

/// Secrets that were read before the first write.
#[derive(Debug, Default)]
pub(super) struct Secrets(BTreeMap<SecretReference, Secret>);

impl Secrets {
    /// Reads every secret that a ready change of the plan needs.
    ///
    /// # Errors
    ///
    /// Every secret that is missing, in words.
    pub(super) fn read(plan: &Plan, source: &dyn SecretSource) -> Result<Self, String> {
        let mut found = BTreeMap::new();
        let mut missing = Vec::new();
        let ready = plan.changes().filter(|change| change.state == State::Ready);
        let templates = ready
            .flat_map(|change| &change.steps)
            .flat_map(|step| std::iter::once(&step.call.path).chain(step.call.params.values()));
        for hole in templates.flat_map(Template::holes) {
            let Hole::Secret(reference) = hole else { continue };
            if found.contains_key(reference) {
                continue;
            }
            match source.secret(reference) {
                Ok(secret) => {
                    found.insert(reference.clone(), secret);
                }
                Err(reason) if !missing.contains(&reason) => missing.push(reason),
                Err(_) => {}
            }
        }
        if missing.is_empty() { Ok(Self(found)) } else { Err(missing.join("; ")) }
    }

    /// The text with every secret struck out: an answer of Proxmox may quote what it refuses.
    pub(super) fn strike(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in self.0.values().filter(|secret| !secret.is_empty()) {
            if clean.contains(secret.expose()) {
                clean = clean.replace(secret.expose(), "(secret)");
            }
        }
        clean
    }
}

/// The request that a step is, filled from the read made just before it.
///
/// # Errors
///
/// The hole that nothing is known for, in words.
pub(super) fn request(
    address: &Address,
    step: &Step,
    live: &Read<LiveGuest>,
    secrets: &Secrets,
) -> Result<Request, String> {
    let mut fill = |hole: &Hole| one(address, hole, live, secrets);
    let unfilled = |hole: Hole| format!("{hole} cannot be filled in: the guest as it was just read has no such thing");
    let path = step.call.path.fill(&mut fill).map_err(unfilled)?;
    let mut request = Request::new(step.call.method, path);
    for (name, template) in &step.call.params {
        request.params.push((name.clone(), template.fill(&mut fill).map_err(unfilled)?));
    }
    Ok(request)
}

fn one(address: &Address, hole: &Hole, live: &Read<LiveGuest>, secrets: &Secrets) -> Option<String> {
    let guest = live.known();
    let config = || guest?.config.known();
    match hole {
        Hole::Vmid => address.vmid.map(|vmid| vmid.to_string()),
        Hole::Node => guest.map(|guest| guest.node.clone()),
        Hole::Digest => config().map(|config| config.digest.clone()).filter(|digest| !digest.is_empty()),
        Hole::Live { option, key } => sub_key(address.kind, option, key, config()?.effective(option)?),
        Hole::Secret(reference) => secrets.0.get(reference).map(|secret| secret.expose().to_owned()),
    }
}

/// The call as it may be shown and kept: filled, with names in place of secrets.
pub(super) fn record(request: &Request, step: &Step) -> CallRecord {
    let shown = |(name, value): &(String, String)| {
        let secret = step.call.params.get(name).filter(|template| has_secret(template));
        (name.clone(), secret.map_or_else(|| value.clone(), ToString::to_string))
    };
    CallRecord {
        method: request.method,
        path: request.path.clone(),
        params: request.params.iter().map(shown).collect(),
    }
}

/// True when a secret is part of it.
pub(super) fn has_secret(template: &Template) -> bool {
    template.0.iter().any(|part| matches!(part, Part::Hole(Hole::Secret(_))))
}

/// The node and, for a clone, the source that a path names: `/nodes/pve1/qemu/100/clone`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) node: &'a str,
    pub(super) id: Option<&'a str>,
}

/// Takes a path below `/nodes` apart.
pub(super) fn target(path: &str) -> Option<Target<'_>> {
    let mut segments = path.strip_prefix("/nodes/")?.split('/');
    let node = segments.next()?;
    let id = segments.nth(1);
    Some(Target { node, id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::testing::{self, with};
    use crate::live::{LiveConfig, Power};
    use crate::plan::StepKind;
    use crate::pve::http::Method;
    use crate::pve::value::{GuestKind, Vmid};

    struct Env;

    impl SecretSource for Env {
        fn secret(&self, reference: &SecretReference) -> Result<Secret, String> {
            match reference.env.as_str() {
                "PW" => Ok(Secret::new("hunter2")),
                other => Err(format!("{other} is not set")),
            }
        }
    }

    fn secret(env: &str) -> Template {
        Template::hole(Hole::Secret(SecretReference { env: env.to_owned(), version: None }))
    }

    fn live() -> Read<LiveGuest> {
        let config = LiveConfig {
            current: [("net0".to_owned(), "virtio=AA:BB:CC:DD:EE:0F,bridge=vmbr0".to_owned())].into(),
            pending: BTreeMap::new(),
            digest: "d1".to_owned(),
        };
        Read::Known(LiveGuest {
            vmid: Vmid::new(100).unwrap(),
            kind: GuestKind::Qemu,
            node: "pve2".to_owned(),
            name: Read::Known("web".to_owned()),
            power: Read::Known(Power::Running),
            template: false,
            tags: Default::default(),
            lock: None,
            pool: None,
            snapshots: Default::default(),
            paused: false,
            ha: None,
            config: Read::Known(config),
        })
    }

    fn step() -> Step {
        let path = Template::text("/nodes/").then_hole(Hole::Node).then("/qemu/100/config");
        let net = Template::text("virtio=")
            .then_hole(Hole::Live { option: "net0".to_owned(), key: "macaddr".to_owned() })
            .then(",bridge=vmbr1");
        let step = testing::step(StepKind::Configure, Method::Put, path, Vec::new());
        with(with(with(step, "net0", net), "digest", Template::hole(Hole::Digest)), "cipassword", secret("PW"))
    }

    #[test]
    fn holes_are_filled_and_records_hold_no_secret() {
        let mut change = testing::change("c1", "web", 100);
        change.steps.push(step());
        let plan = testing::plan("c1", vec![change.clone()]);
        let secrets = Secrets::read(&plan, &Env).unwrap();
        let request = request(&change.address, &change.steps[0], &live(), &secrets).unwrap();
        assert_eq!(request.path, "/nodes/pve2/qemu/100/config");
        let params: BTreeMap<_, _> = request.params.iter().cloned().collect();
        assert_eq!(params["net0"], "virtio=AA:BB:CC:DD:EE:0F,bridge=vmbr1");
        assert_eq!(params["digest"], "d1");
        assert_eq!(params["cipassword"], "hunter2");
        let record = record(&request, &change.steps[0]);
        assert_eq!(record.params["cipassword"], "<secret PW>");
        assert_eq!(secrets.strike("got 'hunter2'"), "got '(secret)'");
        assert_eq!(target(&request.path), Some(Target { node: "pve2", id: Some("100") }));
    }

    #[test]
    fn a_hole_without_a_filling_is_named() {
        let address = testing::address("c1", "web", 100);
        let error = request(&address, &step(), &Read::Absent, &Secrets::default()).unwrap_err();
        assert!(error.starts_with("<node> cannot be filled in"), "{error}");
    }

    #[test]
    fn missing_secrets_are_all_named() {
        let mut change = testing::change("c1", "web", 100);
        let one = testing::step(StepKind::Configure, Method::Put, Template::text("/x"), Vec::new());
        change.steps.push(with(with(one, "a", secret("A")), "b", secret("B")));
        let plan = testing::plan("c1", vec![change.clone()]);
        assert_eq!(Secrets::read(&plan, &Env).unwrap_err(), "A is not set; B is not set");
        change.state = State::Blocked;
        assert!(Secrets::read(&testing::plan("c1", vec![change]), &Env).is_ok());
    }
}
