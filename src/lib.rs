//! Declarative reconciler for fleets of Proxmox VE clusters, as a library.

pub mod diagnostics;
pub mod pve;
pub mod secret;
