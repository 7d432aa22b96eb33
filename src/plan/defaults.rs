//! What the settings give a new device that names no storage or bridge. Never a reason to move anything.

use std::borrow::Cow;
use std::sync::Arc;

use crate::desired::{DesiredCluster, DesiredGuest, DriveForm, OptionValue};
use crate::live::LiveConfig;
use crate::pve::compare::stem;

/// The guest with the cluster's default storage and bridge in devices that are not there yet and name none.
///
/// Most guests have none, and are borrowed as they are.
pub fn fill<'a>(guest: &'a DesiredGuest, cluster: &DesiredCluster, live: &LiveConfig) -> Cow<'a, DesiredGuest> {
    let is_new = |name: &str| live.effective(name).is_none_or(|text| text.trim().is_empty());
    let lacks = |name: &str, value: &OptionValue| match value {
        OptionValue::Drive(drive) => {
            cluster.default_storage.is_some() && drive.form == DriveForm::Inherited && drive.size.is_some()
        }
        OptionValue::Properties { whole: false, keys } => {
            cluster.default_bridge.is_some() && stem(name) == "net" && !keys.contains_key("bridge")
        }
        _ => false,
    };
    if !guest.options.iter().any(|(name, option)| lacks(name, &option.value) && is_new(name)) {
        return Cow::Borrowed(guest);
    }
    let mut filled = guest.clone();
    for (name, option) in &mut filled.options {
        if !is_new(name) {
            continue;
        }
        match &mut Arc::make_mut(option).value {
            OptionValue::Drive(drive) if drive.form == DriveForm::Inherited && drive.size.is_some() => {
                if let Some(storage) = &cluster.default_storage {
                    drive.form = DriveForm::Allocate { storage: storage.clone() };
                }
            }
            OptionValue::Properties { whole: false, keys } if stem(name) == "net" => {
                if let Some(bridge) = &cluster.default_bridge {
                    keys.entry("bridge".to_owned()).or_insert_with(|| Some(bridge.clone()));
                }
            }
            _ => {}
        }
    }
    Cow::Owned(filled)
}
