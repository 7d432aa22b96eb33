//! The rules for a VM's `cpu` that no table of sub-keys can say.

use super::property::Properties;
use super::schema::PropertyFormat;

/// Models that Proxmox defines itself; those of QEMU are the choices of `reported-model`.
const OWN_MODELS: [&str; 4] = ["x86-64-v2", "x86-64-v2-AES", "x86-64-v3", "x86-64-v4"];

/// Flags that a single VM may set, sorted.
const FLAGS: [&str; 13] = [
    "aes",
    "amd-no-ssb",
    "amd-ssbd",
    "hv-evmcs",
    "hv-tlbflush",
    "ibpb",
    "md-clear",
    "nested-virt",
    "pcid",
    "pdpe1gb",
    "spec-ctrl",
    "ssbd",
    "virt-ssbd",
];

/// Checks a VM's `cpu` beyond its sub-keys; the error is Proxmox's text.
///
/// `custom` are the cluster's own models, where they are known: without them, each `custom-…` passes.
///
/// # Errors
///
/// No model or an unknown one, a flag that a single VM may not set, a reported model.
pub fn check(cpu: &Properties, format: &PropertyFormat, custom: Option<&[&str]>) -> Result<(), String> {
    let model = cpu.get("cputype").filter(|model| !matches!(model.as_str(), "" | "0"));
    let Some(model) = model else {
        return Err("CPU is missing cputype\n".to_owned());
    };
    if let Some(name) = model.strip_prefix("custom-") {
        if custom.is_some_and(|known| !known.contains(&name)) {
            return Err(format!("Custom cputype '{name}' not found\n"));
        }
    } else {
        let choices = format.keys.get("reported-model").and_then(|key| key.value.choices.as_ref());
        let is_known = OWN_MODELS.contains(&model.as_str()) || choices.is_some_and(|known| known.contains(model));
        if !is_known {
            return Err(format!("Built-in cputype '{model}' is not defined (missing 'custom-' prefix?)\n"));
        }
    }
    let mut flags = cpu.get("flags").map(String::as_str).unwrap_or_default().split(';').filter(|flag| !flag.is_empty());
    if flags.any(|flag| !FLAGS.contains(&flag.trim_start_matches(['+', '-']))) {
        return Err(format!("VM-specific CPU flags must be a subset of: {}\n", FLAGS.join(", ")));
    }
    if cpu.contains_key("reported-model") {
        return Err("Property 'reported-model' not allowed in VM-specific CPU config.\n".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pve::property;
    use crate::pve::schema::catalog;
    use crate::pve::value::GuestKind;

    #[test]
    fn models_and_flags() {
        let format = catalog(GuestKind::Qemu).find("cpu").unwrap().value.properties.as_ref().unwrap();
        let check = |text: &str, custom| check(&property::parse(text, format).unwrap(), format, custom);
        assert_eq!(check("host,flags=+aes;-pcid", None), Ok(()));
        assert_eq!(check("x86-64-v2-AES", None), Ok(()));
        assert_eq!(check("custom-a", None), Ok(()));
        assert_eq!(check("custom-a", Some(&[])), Err("Custom cputype 'a' not found\n".to_owned()));
        assert!(check("foo", None).unwrap_err().starts_with("Built-in cputype 'foo' is not defined"));
        assert!(check("host,flags=+foo", None).unwrap_err().contains("subset of: aes, amd-no-ssb"));
        assert!(check("host,reported-model=host", None).is_err() && check("hidden=1", None).is_err());
    }
}
