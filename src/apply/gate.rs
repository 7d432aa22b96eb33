//! What really contends in Proxmox: clones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fill;
use crate::plan::{Step, StepKind};

/// A container that is cloned bears the lock `disk` until the end: another clone of it is refused.
const CLONES_OF_A_CONTAINER: usize = 1;
/// A template VM serves many at once, and its node copies their disks.
const CLONES_ON_A_NODE: usize = 2;

/// Gates that steps pass, each open for a few at once.
#[derive(Debug, Default)]
pub(super) struct Gates(Mutex<BTreeMap<String, Arc<Semaphore>>>);

impl Gates {
    /// Waits for the step's turn; true where it had to wait. The permit is given back when it is dropped.
    pub(super) async fn pass(&self, cluster: &str, step: &Step) -> (Option<OwnedSemaphorePermit>, bool) {
        if step.kind != StepKind::Clone {
            return (None, false);
        }
        let path = step.call.path.to_string();
        let Some(source) = fill::target(&path) else { return (None, false) };
        let (key, open) = if path.contains("/lxc/") {
            (format!("{cluster} container {}", source.id.unwrap_or_default()), CLONES_OF_A_CONTAINER)
        } else {
            (format!("{cluster} node {}", source.node), CLONES_ON_A_NODE)
        };
        let gate = {
            let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            gates.entry(key).or_insert_with(|| Arc::new(Semaphore::new(open))).clone()
        };
        if let Ok(permit) = gate.clone().try_acquire_owned() {
            return (Some(permit), false);
        }
        // Gates are never closed.
        (gate.acquire_owned().await.ok(), true)
    }
}
