//! Talks to clusters: one client a cluster, over any [`Transport`](crate::pve::http::Transport).
//!
//! [`ClusterClient`] adds to a transport what is safe to repeat, what is allowed, and how a task ends.
//! [`Reader`] is the half of it that cannot write, and [`ReadOnlyClient`] a client that has no other half.

mod backoff;
pub mod cluster;
pub(crate) mod concurrent;
pub mod discover;
mod endpoint;
mod failure;
#[cfg(test)]
pub(crate) mod fake;
pub mod http;
pub mod lifecycle;
pub mod model;
pub mod multi;
pub mod observe;
pub mod reader;
mod session;
pub mod task;
pub mod tls;

pub use cluster::{ClientOptions, ClusterClient, Schedule};
pub use discover::Discover;
pub use http::HttpTransport;
pub use lifecycle::{Action, Params};
pub use model::{Bridge, Config, Content, Guest, Node, NodeStatus, Storage, Task};
pub use multi::{ClusterError, Connect, MultiClusterClient, Started, Target};
pub use observe::{Exchange, Observer};
pub use reader::{ReadOnlyClient, Reader, Reading};
pub use task::{TaskProgress, TaskState};
