//! The ids of a plan: hashes over everything that would be sent and what it rests on.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::document::{Action, Address, Base, Change, FORMAT_VERSION, ReasonCode, Step};
use crate::live::Identity;

#[derive(Serialize)]
struct HashedCluster<'a> {
    identity: Option<&'a Identity>,
    changes: Vec<HashedChange<'a>>,
}

#[derive(Serialize)]
struct HashedChange<'a> {
    address: &'a Address,
    action: Action,
    reason: Option<ReasonCode>,
    base: &'a Base,
    steps: &'a [Step],
}

#[derive(Serialize)]
struct HashedPlan<'a> {
    format_major: &'a str,
    fleet: &'a str,
    clusters: BTreeMap<&'a str, &'a str>,
}

/// The id of one cluster's part: changes that do nothing and have no reason are left out.
pub fn cluster_id(identity: Option<&Identity>, changes: &[Change]) -> String {
    let changes = changes
        .iter()
        .filter(|change| change.has_steps() || change.reason.is_some())
        .map(|change| HashedChange {
            address: &change.address,
            action: change.action,
            reason: change.reason.as_ref().map(|reason| reason.code),
            base: &change.base,
            steps: &change.steps,
        })
        .collect();
    hash(&HashedCluster { identity, changes })
}

/// The id of the whole plan.
pub fn plan_id<'a>(fleet: &str, clusters: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let format_major = FORMAT_VERSION.split('.').next().unwrap_or(FORMAT_VERSION);
    hash(&HashedPlan { format_major, fleet, clusters: clusters.collect() })
}

/// SHA-256 of the RFC 8785 form, in lower-case hex.
fn hash(value: &impl Serialize) -> String {
    // Our own types have string keys and finite numbers only, so this cannot fail; an empty text would still hash.
    let canonical = serde_json_canonicalizer::to_vec(value).unwrap_or_default();
    Sha256::digest(&canonical).iter().map(|byte| format!("{byte:02x}")).collect()
}
