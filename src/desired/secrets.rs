//! Secrets that stand in the manifest itself.

use std::collections::BTreeMap;

use super::model::SecretReference;
use super::options::is_secret;
use crate::manifest::Fleet;
use crate::manifest::source::NodeKind;
use crate::pve::value::GuestKind;
use crate::secret::Secret;

/// Every secret that the manifest holds itself, by the reference that plans have in its place.
pub fn written_secrets(fleet: &Fleet) -> BTreeMap<SecretReference, Secret> {
    let blocks = fleet.included.iter().chain([&fleet.defaults]);
    let blocks = blocks.chain(fleet.clusters.values().map(|cluster| &cluster.defaults));
    let layers = blocks.flat_map(|block| [&block.guest, &block.vm, &block.container]);
    let layers = layers.chain(fleet.profiles.values()).chain(fleet.guests.iter().map(|guest| &guest.layer));
    layers
        .flat_map(|layer| &layer.options)
        .filter(|(key, _)| GuestKind::ALL.iter().any(|kind| is_secret(*kind, &key.text)))
        .filter_map(|(_, node)| match &node.kind {
            NodeKind::Scalar { text, .. } => Some((SecretReference::written(&node.place()), Secret::new(text.clone()))),
            _ => None,
        })
        .collect()
}
