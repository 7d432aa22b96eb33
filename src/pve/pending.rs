//! The list of removals that wait: `delete: balloon,!scsi1` in a guest's section of pending changes.

use std::collections::BTreeMap;

use super::value::is_space;

/// Reads the list: by key, true where a volume goes with it (`!`).
pub fn parse_deletes(text: &str) -> BTreeMap<String, bool> {
    // A text that counts as false is an empty list.
    let entries = text.split(|c: char| matches!(c, ',' | ';') || is_space(c)).filter(|entry| !entry.is_empty());
    let deletes = entries.filter(|_| text != "0").map(|entry| match entry.strip_prefix('!') {
        Some(key) => (key.to_owned(), true),
        None => (entry.to_owned(), false),
    });
    deletes.collect()
}

/// Prints the list in the order of the keys.
pub fn print_deletes(deletes: &BTreeMap<String, bool>) -> String {
    let entries = deletes.iter().map(|(key, force)| if *force { format!("!{key}") } else { key.clone() });
    entries.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn removals_are_read_and_sorted() {
        assert_eq!(print_deletes(&parse_deletes(" b;!c a,")), "a,b,!c");
        assert!(parse_deletes("0").is_empty() && parse_deletes("").is_empty());
    }

    proptest! {
        #[test]
        fn every_list_comes_back(deletes in proptest::collection::btree_map("[a-z]{1,8}[0-9]{0,2}", any::<bool>(), 0..6)) {
            prop_assert_eq!(parse_deletes(&print_deletes(&deletes)), deletes);
        }
    }
}
