//! Why a value is refused, in words: the rule that it breaks, what is allowed, and what may have been meant.

use crate::pve::schema::{ValueError, ValueSpec, ValueType, nearest};

/// More names than these are not listed in a message.
const MOST_CHOICES: usize = 30;

/// A value that is refused.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refused {
    /// The rule, and what is allowed.
    pub reason: String,
    /// What may have been meant.
    pub hint: Option<String>,
}

impl From<String> for Refused {
    fn from(reason: String) -> Self {
        Self { reason, hint: None }
    }
}

impl Refused {
    /// The same, said of a sub-key.
    pub fn of_sub_key(mut self, name: &str) -> Self {
        self.reason = format!("`{name}`: {}", self.reason);
        self
    }
}

/// Why the text is refused.
pub(super) fn refused(spec: &ValueSpec, text: &str, error: &ValueError) -> Refused {
    let allowed = spec.range().map_or_else(String::new, |range| format!("; {range} is allowed"));
    let form = spec.form.as_deref().map(|form| format!("; allowed: {form}"));
    let reason = match error {
        ValueError::Type(ValueType::Integer, _) => format!("`{text}` is not a whole number{allowed}"),
        ValueError::Type(ValueType::Number, _) => format!("`{text}` is not a number{allowed}"),
        ValueError::Minimum(_) => format!("{text} is too small{allowed}"),
        ValueError::Maximum(_) => format!("{text} is too large{allowed}"),
        ValueError::Choice(..) => return wrong_choice(spec, text),
        ValueError::Pattern(pattern) => match form {
            Some(form) => format!("`{text}` is not of the form that Proxmox takes{form}"),
            None => format!("`{text}` does not match Proxmox's pattern {pattern}"),
        },
        ValueError::Format(_) => match spec.format.as_deref() {
            Some("pve-ipv4-config") => format!("`{text}` is no address; write 10.0.0.5/24, dhcp or manual"),
            Some("pve-ipv6-config") => format!("`{text}` is no address; write fd00::5/64, auto, dhcp or manual"),
            Some("ipv4") => format!("`{text}` is no IPv4 address"),
            Some("ipv6") => format!("`{text}` is no IPv6 address"),
            Some("mac-addr") => format!("`{text}` is no MAC address of one device; write BC:24:11:00:00:01"),
            Some("pve-bridge-id") => format!("`{text}` is no bridge's name, such as vmbr0"),
            Some("pve-volume-id") => format!("`{text}` is no volume; write STORAGE:PATH"),
            Some("dns-name") => format!("`{text}` is no DNS name; labels of letters, digits and `-`, joined by dots"),
            _ => format!("Proxmox refuses `{text}`{}", form.unwrap_or_default()),
        },
        _ => error.reason(),
    };
    reason.into()
}

fn wrong_choice(spec: &ValueSpec, text: &str) -> Refused {
    let choices = spec.choices.as_deref().unwrap_or_default();
    let near = nearest(text, choices).filter(|near| near != text);
    let hint = near.map(|near| format!("did you mean `{near}`?"));
    let reason = if choices.len() > MOST_CHOICES {
        format!("`{text}` is not one of the {} names allowed", choices.len())
    } else {
        format!("`{text}` is not one of {}", choices.join(", "))
    };
    Refused { reason, hint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pve::schema::{Spelling, catalog};
    use crate::pve::value::GuestKind;

    #[test]
    fn a_refusal_says_what_is_allowed() {
        let said = |option: &str, key: Option<&str>, text: &str| {
            let spec = catalog(GuestKind::Qemu).find(option).unwrap();
            let value = match key {
                Some(key) => &spec.value.properties.as_ref().unwrap().keys[key].value,
                None => &spec.value,
            };
            let refused = refused(value, text, &value.check(text, Spelling::SubKey).unwrap_err());
            (refused.reason, refused.hint.unwrap_or_default())
        };
        let reason = |option, key, text| said(option, key, text).0;
        assert_eq!(reason("cores", None, "0"), "0 is too small; 1 or more is allowed");
        assert_eq!(reason("net0", Some("tag"), "5000"), "5000 is too large; 1 to 4094 is allowed");
        assert_eq!(reason("net0", Some("tag"), "x"), "`x` is not a whole number; 1 to 4094 is allowed");
        assert_eq!(said("bios", None, "omvf").1, "did you mean `ovmf`?");
        let (why, hint) = said("cpu", Some("reported-model"), "haswel");
        assert_eq!(
            (why.as_str(), hint.as_str()),
            ("`haswel` is not one of the 101 names allowed", "did you mean `Haswell`?")
        );
        assert_eq!(
            reason("hostpci0", Some("host"), "gpu"),
            "`gpu` is not of the form that Proxmox takes; allowed: PCI address, 0000:01:00.0"
        );
    }
}
