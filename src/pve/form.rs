//! What a request carries, read as Proxmox's server reads it: forms and credentials.

use std::collections::BTreeMap;

use super::http::percent_decode;
use super::value::is_space;

/// What a form holds under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormValue {
    /// The name stands without `=`; Proxmox takes it for absent.
    Absent,
    /// One value.
    One(String),
    /// The name is repeated: an array, in which a last name without `=` replaces all before it.
    Many(Vec<String>),
}

/// Reads a form: the query of a request or its body.
///
/// Pairs end at `&` and at `;`. Of a pair, the second field between `=` is the value, and what follows a second
/// `=` is lost. Values are UTF-8, names are not decoded further than to bytes.
pub fn decode_form(text: &str) -> BTreeMap<String, FormValue> {
    let mut form = BTreeMap::new();
    // A form that counts as false is none.
    if text == "0" {
        return form;
    }
    // Separators at the end are none; others have an empty pair between them.
    let text = text.trim_end_matches(['&', ';']);
    for pair in text.split(['&', ';']).filter(|_| !text.is_empty()) {
        let mut fields = pair.split('=');
        let name = decode_bytes(fields.next().unwrap_or(""));
        let Some(value) = fields.next().map(|value| percent_decode(&value.replace('+', " "))) else {
            form.insert(name, FormValue::Absent);
            continue;
        };
        let value = match form.remove(&name) {
            Some(FormValue::One(first)) => FormValue::Many(vec![first, value]),
            Some(FormValue::Many(mut values)) => {
                values.push(value);
                FormValue::Many(values)
            }
            Some(FormValue::Absent) | None => FormValue::One(value),
        };
        form.insert(name, value);
    }
    form
}

/// Decodes a name: each escape is one character.
fn decode_bytes(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let escape = rest.strip_prefix('%').and_then(|hex| hex.get(..2));
        match escape.filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())).map(|hex| u8::from_str_radix(hex, 16)) {
            Some(Ok(byte)) => {
                decoded.push(char::from(byte));
                rest = &rest[3..];
            }
            _ => {
                decoded.push(if c == '+' { ' ' } else { c });
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    decoded
}

/// The credential of this kind (`PVEAuthCookie`, `PVEAPIToken`) in a `Cookie` or `Authorization` header.
///
/// It stands at the start or after white space, with `=` or a blank behind its name, and ends at `;`.
pub fn credential(header: &str, kind: &str) -> Option<String> {
    let value = header.match_indices(kind).find_map(|(at, _)| {
        let starts = header[..at].chars().next_back().is_none_or(is_space);
        header[at + kind.len()..].strip_prefix(['=', ' ']).filter(|_| starts)
    })?;
    Some(percent_decode(value.split(';').next().unwrap_or(value)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str) -> FormValue {
        FormValue::One(text.to_owned())
    }

    #[test]
    fn pairs_are_read_as_proxmox_reads_them() {
        let form = decode_form("a=b=c;d=%C3%BC+x&e&a=2&&f=&");
        let expected = [
            ("", FormValue::Absent),
            ("a", FormValue::Many(vec!["b".to_owned(), "2".to_owned()])),
            ("d", one("ü x")),
            ("e", FormValue::Absent),
            ("f", one("")),
        ];
        assert_eq!(form, expected.map(|(name, value)| (name.to_owned(), value)).into_iter().collect());
        assert!(decode_form("").is_empty() && decode_form("0").is_empty() && decode_form("&").is_empty());
        assert_eq!(decode_form("a=1&a"), [("a".to_owned(), FormValue::Absent)].into_iter().collect());
    }

    #[test]
    fn credentials_are_found_by_their_name() {
        let token = |header| credential(header, "PVEAPIToken");
        assert_eq!(token("PVEAPIToken=a@b!c=d;e").as_deref(), Some("a@b!c=d"));
        assert_eq!(token("x PVEAPIToken a@b!c%3Dd").as_deref(), Some("a@b!c=d"));
        assert_eq!(token("xPVEAPIToken=a"), None);
        assert_eq!(token("PVEAPITokens=a PVEAPIToken=b").as_deref(), Some("b"));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in any::<String>()) {
            decode_form(&text);
            credential(&text, "a");
        }

        #[test]
        fn what_a_request_sends_is_read(value in any::<String>()) {
            let request = super::super::http::Request::new(super::super::http::Method::Post, "/").with("k", &value);
            let form = decode_form(&request.body().unwrap_or_default());
            prop_assert_eq!(&form["k"], &FormValue::One(value));
        }
    }
}
