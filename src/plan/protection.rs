//! What `protection` keeps Proxmox from doing to the disks of a guest that stays.

use super::document::{FieldChange, Reason, ReasonCode};
use super::drives::holds_data;
use super::options::Write;
use crate::live::LiveConfig;
use crate::pve::compare::is_drive;
use crate::pve::value::{GuestKind, parse_boolean};

/// Blocks what a protected guest would refuse: of a container every change of a drive, of a VM the removal of one.
///
/// What counts is the value before the call, so taking the protection away in the same plan does not help.
///
/// True where the guest is protected.
pub fn block(kind: GuestKind, config: &LiveConfig, fields: &mut [FieldChange], writes: &mut Vec<Write>) -> bool {
    let protection = config.current.get("protection").map(String::as_str);
    if protection.and_then(parse_boolean) != Some(true) {
        return false;
    }
    writes.retain(|write| {
        let option = write.option();
        let live = config.current.get(option).map(String::as_str).unwrap_or_default();
        let refused = match (kind, write) {
            (_, Write::Destroy { .. } | Write::Rekey { .. }) => true,
            (GuestKind::Lxc, Write::Set { .. } | Write::Delete { .. }) => is_drive(kind, option),
            (GuestKind::Qemu, Write::Delete { .. }) => holds_data(kind, option, live),
            _ => false,
        };
        let own = |field: &&mut FieldChange| field.name.split('.').next() == Some(option);
        for field in fields.iter_mut().filter(own).filter(|_| refused) {
            field.blocked = Some(Reason {
                code: ReasonCode::Protected,
                words: format!("the {} is protected, so Proxmox leaves {option} as it is", kind.noun()),
                hint: Some("apply `protection: false` first, then plan again".to_owned()),
            });
        }
        !refused
    });
    true
}
