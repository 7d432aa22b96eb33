//! The answer of `…/pending` as a [`LiveConfig`].

use std::collections::BTreeMap;

use serde_json::Value;

use super::rows::{field, rows, text};
use crate::live::LiveConfig;
use crate::pve::http::percent_decode;

/// Reads a `pending` list; nothing where it is not one: a configuration without a digest was not read whole.
pub(super) fn config(answer: &Value) -> Option<LiveConfig> {
    let mut config = LiveConfig::default();
    for row in rows(answer)? {
        let Some(key) = field(row, "key") else { continue };
        if key == "digest" {
            config.digest = field(row, "value")?;
            continue;
        }
        if let Some(value) = row.get("value").and_then(text) {
            config.current.insert(key.clone(), value);
        }
        // 1 is a plain removal, 2 one that destroys the volume.
        let removed = field(row, "delete").is_some_and(|delete| delete != "0");
        if removed {
            config.pending.insert(key, None);
        } else if let Some(value) = row.get("pending").and_then(text) {
            config.pending.insert(key, Some(value));
        }
    }
    (!config.digest.is_empty()).then_some(config)
}

/// The options in the text of a configuration file, up to its snapshots; its notes as `description`.
pub(super) fn in_backup(text: &str) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    let mut notes = Vec::new();
    for line in text.lines().take_while(|line| !line.starts_with('[')) {
        if let Some(note) = line.strip_prefix('#') {
            notes.push(percent_decode(note));
        } else if let Some((name, value)) = line.split_once(':') {
            options.insert(name.trim().to_owned(), value.trim().to_owned());
        }
    }
    if !notes.is_empty() {
        options.insert("description".to_owned(), notes.join("\n"));
    }
    options
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pending_list_becomes_current_and_pending_values() {
        let answer = json!([
            {"key": "memory", "pending": "768", "value": "512"},
            {"key": "cores", "pending": 1, "value": 2},
            {"delete": 1, "key": "vga", "value": "std"},
            {"delete": 2, "key": "tablet"},
            {"key": "nameserver", "pending": "192.0.2.53"},
            {"key": "cpulimit", "value": "1.50"},
            {"key": "clipboard", "value": null},
            {"value": "a row without a key"},
            {"key": "digest", "value": "83b55da188d2421acfeafa1de54b55307438c39b"},
        ]);
        let config = config(&answer).unwrap();
        let current: Vec<_> = config.current.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(current, [("cores", "2"), ("cpulimit", "1.50"), ("memory", "512"), ("vga", "std")]);
        let pending: Vec<_> = config.pending.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        let expected =
            [("cores", Some("1")), ("memory", Some("768")), ("nameserver", Some("192.0.2.53")), ("tablet", None)];
        assert_eq!(pending[..4], expected);
        assert_eq!(pending[4], ("vga", None));
        assert_eq!(config.digest, "83b55da188d2421acfeafa1de54b55307438c39b");
        assert_eq!((config.effective("vga"), config.effective("cores")), (None, Some("1")));
    }

    #[test]
    fn half_an_answer_is_no_configuration() {
        assert_eq!(config(&json!([{"key": "cores", "value": 2}])), None);
        assert_eq!(config(&json!({"digest": "x"})), None);
    }
}
