//! Simulated Proxmox VE clusters: a deterministic state machine, and two faces over it.
//!
//! [`Cluster`] is the machine. It takes a request and the time as values and returns the answer; it has no
//! socket, no thread, no clock and no chance of its own: what is random on a real server comes from one seed.
//! [`transport::SimTransport`] puts it behind the client's transport, in the same process and in virtual
//! time; [`server::Server`] puts it behind HTTPS on the loopback interface.
//!
//! What the machine does not do it refuses with status 501, never with a success that did not happen.
//! It shares the tables of options and calls and the property strings with the rest of this program, and nothing else:
//! normalisation, pending changes and hotplug are its own, because a simulator that shares the planner's
//! code shares its mistakes.

mod access;
mod answer;
mod api;
mod backup;
mod calendar;
mod chance;
pub mod check;
mod cluster;
mod config;
mod exchange;
mod faults;
mod firewall;
mod guest;
mod http;
mod index;
mod load;
mod lxc;
mod migrate;
mod params;
mod permit;
mod place;
mod progress;
mod qemu;
mod quorum;
mod route;
mod routes;
mod section;
mod snapshot;
mod storage_lock;
mod tags;
mod task;
mod volume;

pub mod server;
pub mod state;
pub mod transport;
pub mod world;

pub use cluster::{AccessEntry, Cluster, IncomingRequest, Millis, Reply};
pub use exchange::Exchange;
pub use faults::{Effect, Fault, FaultFile, FaultKind};
pub use load::ServiceTimes;

pub use world::{ClusterSpec, World};
