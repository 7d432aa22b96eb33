//! Faults, as data: what goes wrong with which request.

use serde::{Deserialize, Serialize};

/// What goes wrong with some requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Only with this method; any where there is none.
    #[serde(default)]
    pub method: Option<String>,
    /// Which paths, below `/api2/json`; `*` stands for any text: `/nodes/*/qemu/*/config`.
    pub path: String,
    /// How many matching requests pass first.
    #[serde(default)]
    pub skip: u32,
    /// How many then fail; nothing for all.
    #[serde(default)]
    pub times: Option<u32>,
    /// What happens to them.
    pub kind: FaultKind,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The connection is refused: nothing arrives.
    Refuse,
    /// The request is carried out, and the answer is lost.
    Cut,
    /// Another answer comes.
    Status {
        /// Its status code.
        code: u16,
        /// Its reason and message.
        text: String,
        /// Whether the request is carried out.
        effect: Effect,
    },
    /// The answer comes late by so many milliseconds.
    Delay(u64),
}

/// Whether a request that is answered wrongly was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It was not.
    None,
    /// It was.
    Done,
}

impl Fault {
    /// A fault of every request with this method whose path fits.
    #[must_use]
    pub fn new(method: &str, path: &str, kind: FaultKind) -> Self {
        Self { method: Some(method.to_owned()), path: path.to_owned(), skip: 0, times: None, kind }
    }

    /// The same for one request: the one after so many that pass.
    #[must_use]
    pub fn once_after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self.times = Some(1);
        self
    }

    fn fits(&self, method: &str, path: &str) -> bool {
        self.method.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method)) && glob(&self.path, path)
    }
}

/// The faults of a cluster, with how often each has met a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Vec<(Fault, u32)>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push((fault, 0));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// What happens to this request; the first fault that fits decides.
    pub(super) fn meet(&mut self, method: &str, path: &str) -> Option<FaultKind> {
        for (fault, seen) in &mut self.0 {
            if fault.fits(method, path) {
                let number = *seen;
                *seen += 1;
                let past = fault.times.is_some_and(|times| number >= fault.skip + times);
                if number >= fault.skip && !past {
                    return Some(fault.kind.clone());
                }
            }
        }
        None
    }
}

/// Matches a text with `*` for any part of it.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    loop {
        if glob(rest, text) {
            return true;
        }
        let Some(first) = text.chars().next() else { return false };
        text = &text[first.len_utf8()..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_meets_the_requests_it_names() {
        let mut faults = Faults::default();
        faults.add(Fault::new("PUT", "/nodes/*/config", FaultKind::Refuse).once_after(1));
        assert_eq!(faults.meet("GET", "/nodes/a/qemu/100/config"), None);
        assert_eq!(faults.meet("PUT", "/nodes/a/qemu/100/config"), None);
        assert_eq!(faults.meet("PUT", "/nodes/a/qemu/100/config"), Some(FaultKind::Refuse));
        assert_eq!(faults.meet("PUT", "/nodes/a/qemu/100/config"), None);
        assert!(glob("*", "") && glob("/a*c", "/abc") && !glob("/a*c", "/abd"));
    }
}
