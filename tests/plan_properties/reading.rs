//! Readers that go wrong, or give their rows in another order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use pvefleet::client::{Reader, Reading};
use pvefleet::pve::http::{ApiError, Request};
use serde_json::Value;

use crate::dice::Dice;

/// What reads fail, by a part of their path, and how.
#[derive(Debug, Clone)]
pub struct Fault {
    pub start: String,
    pub end: &'static str,
    pub kind: usize,
}

impl Fault {
    pub fn meets(&self, path: &str) -> bool {
        path.starts_with(&self.start) && path.ends_with(self.end)
    }

    fn error(&self) -> ApiError {
        match self.kind % 4 {
            0 => ApiError::Other(500, "got timeout".to_owned()),
            1 => ApiError::Permission("Permission check failed".to_owned()),
            2 => ApiError::Undetermined("connection closed before the answer".to_owned()),
            _ => ApiError::NodeUnreachable("No route to host".to_owned()),
        }
    }
}

/// Fails some reads.
pub struct Failing {
    pub inner: Arc<dyn Reader>,
    pub fault: Fault,
}

impl Reader for Failing {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn read<'a>(&'a self, request: &'a Request) -> Reading<'a> {
        if self.fault.meets(&request.path) {
            return Box::pin(async { Err(self.fault.error()) });
        }
        self.inner.read(request)
    }
}

/// What was answered, by request.
pub type Answers = Arc<Mutex<BTreeMap<String, Value>>>;

fn key(request: &Request) -> String {
    format!("{} {:?}", request.path, request.params)
}

/// Keeps every answer.
pub struct Keeping {
    pub inner: Arc<dyn Reader>,
    pub answers: Answers,
}

impl Reader for Keeping {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn read<'a>(&'a self, request: &'a Request) -> Reading<'a> {
        Box::pin(async move {
            let answer = self.inner.read(request).await?;
            self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(key(request), answer.clone());
            Ok(answer)
        })
    }
}

/// Gives the kept answers once more, the rows of every list in another order.
pub struct Shuffling {
    pub inner: Arc<dyn Reader>,
    pub answers: Answers,
    pub seed: u64,
}

impl Reader for Shuffling {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn read<'a>(&'a self, request: &'a Request) -> Reading<'a> {
        Box::pin(async move {
            let kept = self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(&key(request)).cloned();
            let Some(mut answer) = kept else { return self.inner.read(request).await };
            if let Value::Array(rows) = &mut answer {
                Dice::new(self.seed).shuffle(rows);
            }
            Ok(answer)
        })
    }
}
