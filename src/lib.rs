//! Declarative reconciler for fleets of Proxmox VE clusters, as a library.

pub mod apply;
pub mod client;
pub mod clusters;
pub mod desired;
pub mod diagnostics;
pub mod gather;
pub mod live;
pub mod manifest;
pub mod ops;
pub mod plan;
pub mod pve;
pub mod report;
pub mod secret;
pub mod sim;
