//! Regular expressions that are part of the program.

use regex::Regex;

/// Names a pattern that is compiled once, at its first use.
macro_rules! pattern {
    ($name:ident, $text:expr) => {
        static $name: std::sync::LazyLock<regex::Regex> =
            std::sync::LazyLock::new(|| crate::pve::pattern::compiled($text));
    };
}

pub(super) use pattern;

/// Compiles a pattern that stands in this program's text.
pub(super) fn compiled(text: &str) -> Regex {
    #[expect(clippy::expect_used, reason = "the pattern is part of the program, and a test uses it")]
    Regex::new(text).expect("a pattern of this program compiles")
}

/// The groups of a match, in order.
pub(super) fn captures<'a, const N: usize>(pattern: &Regex, text: &'a str) -> Option<[Option<&'a str>; N]> {
    let found = pattern.captures(text)?;
    Some(std::array::from_fn(|group| found.get(group + 1).map(|part| part.as_str())))
}
