//! The ownership mark: one HTML comment line in a guest's description.
//!
//! It is invisible on the web page, survives clones and restores (which is why it names cluster and vmid: a copy
//! names the original and proves nothing), and is the only memory this program has.

use std::collections::BTreeMap;

use crate::pve::value::{GuestKind, Vmid};

const OPEN: &str = "<!-- pvefleet v1 ";
const CLOSE: &str = " -->";

/// The text that PVE shows while a clone is being made.
pub const CLONE_IN_PROGRESS: &str = "qmclone temporary file";

/// What the ownership line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The cluster's name in the settings.
    pub cluster: String,
    /// The owner.
    pub fleet: String,
    /// Part of the fleet; mostly empty.
    pub scope: String,
    /// VM or container.
    pub kind: GuestKind,
    /// The guest's name in the manifest.
    pub guest: String,
    /// The id of the guest that bears it.
    pub vmid: Vmid,
    /// Versions of the secrets that were written, by option.
    pub secrets: BTreeMap<String, u32>,
}

/// What a description says about ownership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marked {
    /// No line.
    No,
    /// One line (or the same one several times).
    By(Mark),
    /// Two lines that differ, or one that cannot be read.
    Unclear,
}

impl Mark {
    /// The line, with another text for the vmid.
    pub fn line_with(&self, vmid: &str) -> String {
        let secrets: Vec<String> = self.secrets.iter().map(|(option, version)| format!("{option}:{version}")).collect();
        let mut line = format!("{OPEN}cluster={} fleet={}", self.cluster, self.fleet);
        if !self.scope.is_empty() {
            line.push_str(&format!(" scope={}", self.scope));
        }
        line.push_str(&format!(" guest={}/{} vmid={vmid}", self.kind, self.guest));
        if !secrets.is_empty() {
            line.push_str(&format!(" secrets={}", secrets.join(",")));
        }
        line + CLOSE
    }

    /// What it records, as people read it.
    pub fn words(&self) -> String {
        let secrets: Vec<String> =
            self.secrets.iter().map(|(option, version)| format!(", {option} version {version}")).collect();
        format!("fleet {} as {}{}", self.fleet, self.guest, secrets.concat())
    }

    /// The line.
    pub fn line(&self) -> String {
        self.line_with(&self.vmid.to_string())
    }

    fn parse(line: &str) -> Option<Self> {
        let words = line.trim().strip_prefix(OPEN)?.strip_suffix(CLOSE)?;
        let mut fields = words.split_ascii_whitespace().map(|word| word.split_once('='));
        if fields.any(|field| field.is_none()) {
            return None;
        }
        let field = |name: &str| {
            let mut fields = words.split_ascii_whitespace().rev().filter_map(|word| word.split_once('='));
            fields.find(|(other, _)| *other == name).map(|(_, value)| value)
        };
        let (kind, guest) = field("guest")?.split_once('/')?;
        let kind = GuestKind::ALL.into_iter().find(|known| known.segment() == kind)?;
        let mut secrets = BTreeMap::new();
        for pair in field("secrets").into_iter().flat_map(|list| list.split(',')) {
            let (option, version) = pair.split_once(':')?;
            secrets.insert(option.to_owned(), version.parse().ok()?);
        }
        Some(Self {
            cluster: field("cluster")?.to_owned(),
            fleet: field("fleet")?.to_owned(),
            scope: field("scope").unwrap_or_default().to_owned(),
            kind,
            guest: guest.to_owned(),
            vmid: field("vmid")?.parse().ok()?,
            secrets,
        })
    }
}

/// Reads the ownership line out of a description.
pub fn read(description: &str) -> Marked {
    let mut lines = description.lines().filter(|line| is_mark_line(line)).map(Mark::parse);
    let Some(first) = lines.next() else {
        return Marked::No;
    };
    match first {
        Some(mark) if lines.all(|other| other.as_ref() == Some(&mark)) => Marked::By(mark),
        _ => Marked::Unclear,
    }
}

fn is_mark_line(line: &str) -> bool {
    line.trim_start().starts_with("<!-- pvefleet ")
}

/// The description without ownership lines: people's own text.
pub fn strip(description: &str) -> String {
    if !description.lines().any(is_mark_line) {
        return description.trim_end().to_owned();
    }
    let kept: Vec<&str> = description.lines().filter(|line| !is_mark_line(line)).collect();
    kept.join("\n").trim_end().to_owned()
}

/// Characters that Proxmox takes in a description.
const MOST: usize = 8192;

/// By how many characters a description is too long for Proxmox.
pub fn excess(description: &str) -> usize {
    description.chars().count().saturating_sub(MOST)
}

/// People's text with an ownership line at its end.
pub fn embed(text: &str, line: &str) -> String {
    let text = text.trim_end();
    if text.is_empty() { line.to_owned() } else { format!("{text}\n{line}") }
}

/// The same description with another ownership line where one stands: people's text is kept to the letter.
///
/// Nothing where no line stands.
pub fn exchange(description: &str, line: &str) -> Option<String> {
    let mut found = false;
    let lines: Vec<&str> = description
        .split('\n')
        .map(|text| {
            if is_mark_line(text) {
                found = true;
                line
            } else {
                text
            }
        })
        .collect();
    found.then(|| lines.join("\n"))
}

/// The tag that shows ownership in lists; it proves nothing.
pub fn fleet_tag(fleet: &str) -> String {
    format!("fleet-{fleet}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark {
            cluster: "production".to_owned(),
            fleet: "homelab".to_owned(),
            scope: String::new(),
            kind: GuestKind::Qemu,
            guest: "prod-web-01".to_owned(),
            vmid: "1001".parse().unwrap(),
            secrets: BTreeMap::from([("cipassword".to_owned(), 2)]),
        }
    }

    #[test]
    fn the_line_round_trips_and_people_keep_their_text() {
        let line = mark().line();
        assert_eq!(
            line,
            "<!-- pvefleet v1 cluster=production fleet=homelab guest=qemu/prod-web-01 vmid=1001 secrets=cipassword:2 -->"
        );
        let text = embed("Web server.\n\nCall Ann.  ", &line);
        assert_eq!(read(&text), Marked::By(mark()));
        assert_eq!(strip(&text), "Web server.\n\nCall Ann.");
        assert_eq!(strip(&format!("{line}\nbelow")), "below");
        assert_eq!(embed("", &line), line);
        assert_eq!(exchange(&format!("above\r\n\n{line}\nbelow "), "L").as_deref(), Some("above\r\n\nL\nbelow "));
        assert_eq!(exchange("none", "L"), None);
    }

    #[test]
    fn two_different_lines_or_a_broken_one_prove_nothing() {
        let other = mark().line_with("1002");
        assert_eq!(read(&format!("{}\n{other}", mark().line())), Marked::Unclear);
        assert_eq!(read("<!-- pvefleet v1 cluster= -->"), Marked::Unclear);
        assert_eq!(read("<!-- pvefleet v9 x=y -->"), Marked::Unclear);
        assert_eq!(read("plain"), Marked::No);
    }
}
