//! Filters whose result may be far longer than what they are given, with a limit on it.

use minijinja::value::{Rest, Value, ValueOrKwargs};
use minijinja::{Error, ErrorKind, State, filters};

/// Longest text that a filter takes or makes, in bytes.
const MAX_TEXT: usize = 1 << 20;
/// Most items that are joined.
const MAX_ITEMS: usize = 10_000;

fn refused(why: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}

fn too_long() -> Error {
    refused("the text is too long for this filter")
}

/// As printf does, with widths below 1000.
pub(super) fn format(state: &mut State, text: String, arguments: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let wide = text.split('%').skip(1).any(|after| {
        let spec = match after.strip_prefix('(').and_then(|named| named.split_once(')')) {
            Some((_, spec)) => spec,
            None => after,
        };
        let spec = spec.split(|c: char| c.is_ascii_alphabetic()).next().unwrap_or_default();
        spec.contains('*') || spec.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 3)
    });
    if wide {
        return Err(refused("a width in a format has at most three digits"));
    }
    if text.len() > MAX_TEXT {
        return Err(too_long());
    }
    filters::format(state, &Value::from(text), arguments)
}

/// Every occurrence replaced.
pub(super) fn replace(text: String, from: String, to: String) -> Result<String, Error> {
    let most = (text.len() / from.len().max(1)).saturating_add(1);
    if most.saturating_mul(to.len()).saturating_add(text.len()) > MAX_TEXT {
        return Err(too_long());
    }
    Ok(text.replace(&from, &to))
}

/// The items as one text.
pub(super) fn join(items: Value, between: Option<String>) -> Result<String, Error> {
    let between = between.unwrap_or_default();
    let mut joined = String::new();
    for (index, item) in items.try_iter()?.enumerate() {
        if index > 0 {
            joined.push_str(&between);
        }
        match item.as_str() {
            Some(text) => joined.push_str(text),
            None => joined.push_str(&item.to_string()),
        }
        if joined.len() > MAX_TEXT || index > MAX_ITEMS {
            return Err(too_long());
        }
    }
    Ok(joined)
}

/// The parts between separators.
pub(super) fn split(text: String, separator: String) -> Result<Vec<String>, Error> {
    if text.len() > MAX_TEXT {
        return Err(too_long());
    }
    if separator.is_empty() {
        return Err(refused("the separator is empty"));
    }
    Ok(text.split(&separator).map(str::to_owned).collect())
}
