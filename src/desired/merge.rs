//! Laying the layers of one guest over each other, option by option.

use std::collections::BTreeMap;

use super::values::Draft;
use crate::diagnostics::Place;
use crate::pve::value::{parse_tags, print_tags};

/// One option with the strongest layer that spoke of it.
#[derive(Debug, Clone)]
pub(super) struct Merged {
    pub draft: Draft,
    pub place: Place,
    pub layer: String,
}

/// Lays one option of a stronger layer over what weaker ones said.
pub(super) fn lay(options: &mut BTreeMap<String, Merged>, name: &str, stronger: Merged) {
    let draft = match (options.remove(name).map(|weaker| weaker.draft), stronger.draft) {
        (Some(Draft::Refused), _) => Draft::Refused,
        (Some(Draft::Text(weak)), Draft::Text(strong)) if name == "tags" => {
            let mut tags = parse_tags(&weak);
            tags.extend(parse_tags(&strong));
            Draft::Text(print_tags(&tags))
        }
        (Some(Draft::Properties { whole, keys: weak }), Draft::Properties { whole: false, keys: strong })
            if !another_device(&weak, &strong) =>
        {
            let mut keys = weak;
            keys.extend(strong);
            Draft::Properties { whole, keys }
        }
        (Some(Draft::Drive(weak)), Draft::Drive(strong)) => Draft::Drive(weak.under(strong)),
        (_, strong) => strong,
    };
    options.insert(name.to_owned(), Merged { draft, ..stronger });
}

/// True for a NIC of another model: nothing of the weaker one is meant any more.
fn another_device(weak: &BTreeMap<String, Option<String>>, strong: &BTreeMap<String, Option<String>>) -> bool {
    match (weak.get("model"), strong.get("model")) {
        (Some(Some(weak)), Some(Some(strong))) => weak != strong,
        _ => false,
    }
}
