//! Free text in configuration files: a description's lines, percent-encoded.

use super::http::percent_decode;

/// Encodes one line: control characters, `%`, `:` and all beyond ASCII.
pub fn encode_text(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if !(0x20..0x7F).contains(&byte) || matches!(byte, b'%' | b':') {
            encoded.push_str(&format!("%{byte:02X}"));
        } else {
            encoded.push(char::from(byte));
        }
    }
    encoded
}

/// Decodes one line; what is no escape stays as it is.
pub fn decode_text(text: &str) -> String {
    percent_decode(text)
}

/// Percent-encodes SSH keys as Proxmox stores them; text that is encoded already stays.
pub fn encode_keys(text: &str) -> String {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    if text.contains("%20") && text.bytes().all(|b| unreserved(b) || b == b'%') {
        return text.to_owned();
    }
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if unreserved(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_comes_back(text in any::<String>()) {
            let encoded = encode_text(&text);
            prop_assert!(encoded.bytes().all(|b| (0x20..0x7F).contains(&b)), "{encoded:?}");
            prop_assert_eq!(decode_text(&encoded), text);
        }

        #[test]
        fn any_text_is_decoded(text in any::<String>()) {
            decode_text(&text);
        }
    }

    #[test]
    fn a_line_is_encoded_as_proxmox_does() {
        assert_eq!(encode_text("a: 100% ü~"), "a%3A 100%25 %C3%BC~");
        assert_eq!(decode_text("%zz%3a"), "%zz:");
    }
}
