//! Declarative reconciler for fleets of Proxmox VE clusters, as a library.
//!
//! ```text
//! manifest files ─▶ manifest ─▶ Fleet ─┐
//! .env ─▶ clusters (settings, routing) ┴▶ desired ─▶ Desired ─┐
//! clusters ◀─▶ client ─▶ gather ─▶ Live ──────────────────────┴▶ plan ─▶ Plan ─▶ report
//!                                                                └▶ apply ─▶ client ─▶ clusters
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`diagnostics`], [`secret`] | a problem with its code, place and hint, as a value; a string that cannot be printed |
//! | [`pve`] | Proxmox's vocabulary: tables of options and calls, property strings; requests as data; comparison by meaning |
//! | [`manifest`] | YAML to a typed fleet, with the place of everything |
//! | [`clusters`] | settings from variables, and which cluster a guest belongs to |
//! | [`desired`] | the fleet resolved: routed, merged, with defaults, each value with its origin |
//! | [`live`] | what was read: known, absent, or unread with the reason |
//! | [`client`] | a cluster over any transport: what may be repeated, what is allowed, how a task ends |
//! | [`gather`] | reads clusters into [`live`] |
//! | [`plan`] | the planner, a pure function, and the plan document |
//! | [`apply`] | carries a plan out, and says what came of it |
//! | [`report`] | documents to text |
//! | [`sim`] | simulated clusters: a deterministic state machine, and an HTTPS face over it |
//! | [`ops`] | the use cases, as a program that embeds this library calls them |
//! | [`cli`] | arguments, terminal, exit codes; the only reader of the process environment |
//!
//! `pve`, `clusters`, `manifest`, `desired`, `live`, `plan`, `report` and the state machine of `sim` perform no input
//! or output and read no clock; a test asserts it, and which module may use which.

pub mod apply;
pub mod cli;
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
