//! What the settings give a new device that names no storage or bridge. Never a reason to move anything.

use crate::desired::{DesiredCluster, DesiredGuest, DriveForm, OptionValue};
use crate::live::LiveConfig;
use crate::pve::compare::stem;

/// The guest with the cluster's default storage and bridge in devices that are not there yet and name none.
pub fn fill(guest: &DesiredGuest, cluster: &DesiredCluster, live: &LiveConfig) -> DesiredGuest {
    let mut filled = guest.clone();
    for (name, option) in &mut filled.options {
        if live.effective(name).is_some_and(|text| !text.trim().is_empty()) {
            continue;
        }
        match &mut option.value {
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
    filled
}
