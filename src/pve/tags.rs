//! A guest's tags in the form in which Proxmox stores them, which the datacenter's settings decide.

use super::value::{is_space, parse_boolean, split_list};

/// How Proxmox brings tags into form: `tag-style` of the datacenter's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TagStyle {
    /// Tags stay in the order in which they were given.
    pub keeps_order: bool,
    /// `Web` and `web` are two tags.
    pub case_sensitive: bool,
}

impl TagStyle {
    /// Reads the style from the text of `datacenter.cfg`; what cannot be read is the default.
    pub fn from_datacenter(text: &str) -> Self {
        let line = text.lines().find_map(|line| line.strip_prefix("tag-style:"));
        let mut style = Self::default();
        for (key, value) in line.unwrap_or("").split(',').filter_map(|part| part.trim_matches(is_space).split_once('='))
        {
            match key {
                "ordering" => style.keeps_order = value == "config",
                "case-sensitive" => style.case_sensitive = parse_boolean(value) == Some(true),
                _ => {}
            }
        }
        style
    }

    /// A list of tags as Proxmox stores it: without doubles, joined by semicolons.
    pub fn normalise(self, tags: &str) -> String {
        let mut found: Vec<String> = Vec::new();
        let mut given: Vec<String> =
            split_list(tags).map(|tag| if self.case_sensitive { tag.to_owned() } else { tag.to_lowercase() }).collect();
        if !self.keeps_order {
            given.sort();
        }
        for tag in given {
            if !found.contains(&tag) {
                found.push(tag);
            }
        }
        found.join(";")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_datacenter_decides() {
        let normal = |style: &str, tags: &str| TagStyle::from_datacenter(style).normalise(tags);
        assert_eq!(normal("keyboard: de\n", "Z;b,A b"), "a;b;z");
        assert_eq!(normal("tag-style: ordering=config\n", "Z;b,A b"), "z;b;a");
        assert_eq!(normal("tag-style: shape=full,case-sensitive=1", "B;a;A"), "A;B;a");
        assert_eq!(normal("", ""), "");
    }
}
