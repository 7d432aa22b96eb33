//! Cluster settings: what the environment says about each cluster, and which cluster a guest belongs to.

pub mod load;
pub mod select;
pub mod settings;
mod syntax;
pub mod variables;

pub use load::{SecretSource, load};
pub use select::{SelectError, Selection};
pub use settings::{
    Access, Allocations, ClusterSettings, Credentials, Limits, Registry, TicketLogin, Tls, Token, VmidRange,
};
pub use variables::{Origin, Variable, Variables};
