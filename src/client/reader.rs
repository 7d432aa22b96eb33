//! The half of a client that cannot write.

use std::future::Future;
use std::pin::Pin;

use serde_json::Value;

use super::ClusterClient;
use crate::pve::http::{ApiError, Request};

/// A future that a [`Reader`] returns.
pub type Reading<'a> = Pin<Box<dyn Future<Output = Result<Value, ApiError>> + Send + 'a>>;

/// Something that reads one cluster. What takes a reader cannot change anything: there is no method for it.
pub trait Reader: Send + Sync {
    /// The cluster's name in our settings.
    fn name(&self) -> &str;

    /// Sends a `GET`; anything else is refused before the wire.
    fn read<'a>(&'a self, request: &'a Request) -> Reading<'a>;
}

impl Reader for ClusterClient {
    fn name(&self) -> &str {
        Self::name(self)
    }

    fn read<'a>(&'a self, request: &'a Request) -> Reading<'a> {
        Box::pin(Self::read(self, request))
    }
}

/// A client without any method that writes, for commands that must never change anything.
#[derive(Debug, Clone)]
pub struct ReadOnlyClient(ClusterClient);

impl From<ClusterClient> for ReadOnlyClient {
    fn from(client: ClusterClient) -> Self {
        Self(client)
    }
}

impl Reader for ReadOnlyClient {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn read<'a>(&'a self, request: &'a Request) -> Reading<'a> {
        Reader::read(&self.0, request)
    }
}
