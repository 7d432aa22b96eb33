//! Proxmox's vocabulary: values, property strings, tables of options and calls, configuration files, requests as data.
//!
//! Nothing here performs input or output. The simulator shares [`value`], [`property`], [`schema`], [`calls`],
//! [`format`], [`text`] and [`http`]; [`compare`] and [`effect`] are closed to it, so that the planner's reading of
//! Proxmox is checked by an independent one.

pub mod calls;
pub mod compare;
pub mod config;
pub mod cpu;
pub mod drive;
pub mod effect;
pub mod facts;
pub mod form;
pub mod format;
pub mod ha;
pub mod http;
pub mod mount;
pub mod nic;
mod pattern;
pub mod pending;
pub mod property;
pub mod root_only;
pub mod schema;
pub mod tags;
pub mod text;
pub mod value;
pub mod volume;
