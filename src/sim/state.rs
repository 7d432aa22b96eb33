//! Clusters as text, with everything that they hold, to go on with another time.
//!
//! Two lines: what the text is, with a checksum of the rest; and the clusters. What is not meant as a state, or was
//! not written whole, is never taken for one.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::cluster::Cluster;
use super::world::World;

/// What the first line calls the text.
const FORMAT: &str = "pvefleet-simulator-state";

/// Changes whenever a state of before could be read as something else.
const VERSION: u32 = 1;

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
    program: String,
    sha256: String,
}

/// What is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// The world that it began as.
    pub world: World,
    /// The clusters by name, as they are now.
    pub clusters: Vec<(String, Cluster)>,
}

/// Why a text is no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// It is something else.
    #[error("it is no state of simulated clusters")]
    Foreign,
    /// It was written by a program that kept other things.
    #[error("it was written by another version of this program ({0})")]
    Version(String),
    /// It is not as it was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

fn checksum(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl State {
    /// The text to keep.
    ///
    /// # Errors
    ///
    /// None is known; a value that JSON has no word for would be one.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        let body = serde_json::to_string(self)?;
        let head = Head {
            format: FORMAT.to_owned(),
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            sha256: checksum(&body),
        };
        Ok(format!("{}\n{body}\n", serde_json::to_string(&head)?))
    }

    /// Reads what was kept.
    ///
    /// # Errors
    ///
    /// When the text is not a whole state of this version.
    pub fn from_text(text: &str) -> Result<Self, StateError> {
        let (head, body) = text.split_once('\n').ok_or(StateError::Foreign)?;
        let head: Head = serde_json::from_str(head).map_err(|_| StateError::Foreign)?;
        if head.format != FORMAT {
            return Err(StateError::Foreign);
        }
        if head.version != VERSION {
            return Err(StateError::Version(head.program));
        }
        let body = body.strip_suffix('\n').unwrap_or(body);
        if checksum(body) != head.sha256 {
            return Err(StateError::Damaged("its checksum is another".to_owned()));
        }
        serde_json::from_str(body).map_err(|error| {
            // A whole state that cannot be read was made by a program whose clusters hold other things.
            if head.program == env!("CARGO_PKG_VERSION") {
                StateError::Damaged(error.to_string())
            } else {
                StateError::Version(head.program)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::world::builtin;

    #[test]
    fn only_a_whole_state_is_read() {
        let spec = builtin("staging");
        let state = State {
            world: World { clusters: vec![spec.clone()] },
            clusters: vec![("staging".to_owned(), Cluster::new(spec, 1))],
        };
        let text = state.to_text().unwrap();
        assert_eq!(State::from_text(&text).unwrap().to_text().unwrap(), text);
        let error = |text: &str| State::from_text(text).map(drop).unwrap_err();
        assert_eq!(error(""), StateError::Foreign);
        assert_eq!(error("PROXMOX_API_URL=https://pve.example.net\nx\n"), StateError::Foreign);
        assert_eq!(
            error("{\"format\":\"other\",\"version\":1,\"program\":\"\",\"sha256\":\"\"}\n"),
            StateError::Foreign
        );
        assert!(matches!(error(&text[..text.len() / 2]), StateError::Damaged(_)));
        assert!(matches!(error(&text.replace("scratch", "scr4tch")), StateError::Damaged(_)));
        assert!(matches!(error(&text.replacen("\"version\":1", "\"version\":2", 1)), StateError::Version(_)));
    }
}
