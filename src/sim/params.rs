//! The check of a call's parameters, in Proxmox's words.

use std::collections::BTreeMap;

use super::access::is_privilege;
use crate::pve::calls::{CallSpec, OptionsOf, Parameter};
use crate::pve::schema::{OptionSpec, Spelling, ValueError, ValueSpec, ValueType, catalog_for};
use crate::pve::value::{GuestKind, split_list};

/// Parameters by name; a list holds what was given more than once.
pub(super) type Given = BTreeMap<String, Vec<String>>;

/// What stands between the items of a parameter that is a list, once it is checked: no text can hold it.
pub(super) const BETWEEN_ITEMS: &str = "\0";

/// What a name means to a call.
enum Known<'a> {
    Parameter(&'a Parameter),
    Option(GuestKind, &'static OptionSpec),
    /// The call takes what nobody described.
    Open,
    Not,
}

impl Known<'_> {
    fn of<'a>(call: &'a CallSpec, name: &str, given: &Given, release: u32) -> Known<'a> {
        if let Some(parameter) = call.parameter(name).and_then(|parameter| form(parameter, given)) {
            return Known::Parameter(parameter);
        }
        // A release does not know what came after it, and still knows what was dropped.
        let find = |kind| catalog_for(kind, &release.to_string()).find(name).map(|spec| (kind, spec));
        let option = match call.options {
            None => None,
            Some(OptionsOf::Create(kind)) => find(kind).filter(|(_, spec)| spec.create),
            Some(OptionsOf::Update(kind)) => find(kind).filter(|(_, spec)| spec.update),
        };
        match option {
            Some((kind, spec)) => Known::Option(kind, spec),
            None if call.open => Known::Open,
            None => Known::Not,
        }
    }

    fn value(&self) -> Option<&ValueSpec> {
        match self {
            Self::Parameter(parameter) => Some(&parameter.value),
            Self::Option(_, spec) => Some(&spec.value),
            Self::Open | Self::Not => None,
        }
    }
}

/// Checks everything and joins lists; the errors by parameter.
pub(super) fn check(
    call: &CallSpec,
    given: &Given,
    release: u32,
) -> Result<BTreeMap<String, String>, BTreeMap<String, String>> {
    let mut errors = BTreeMap::new();
    let mut values = BTreeMap::new();
    for (name, list) in given {
        let known = Known::of(call, name, given, release);
        if let Known::Not = known {
            let text = "property is not defined in schema and the schema does not allow additional properties";
            errors.insert(name.clone(), text.to_owned());
            continue;
        }
        if let Known::Parameter(parameter) = known
            && parameter.list
        {
            errors.extend(list.iter().enumerate().filter_map(|(index, item)| {
                Some((format!("{name}[{index}]"), check_value(&parameter.value, item, name)?))
            }));
            values.insert(name.clone(), list.join(BETWEEN_ITEMS));
            continue;
        }
        let is_list = known.value().is_none_or(|value| value.format.as_deref().is_some_and(|f| f.ends_with("-list")));
        if list.len() > 1 && !is_list {
            let ty = known.value().map_or(ValueType::String, |value| value.ty);
            errors.insert(name.clone(), format!("type check ('{}') failed - got ARRAY", ty.name()));
            continue;
        }
        let value = list.join(",");
        let problem = match &known {
            Known::Parameter(parameter) => check_value(&parameter.value, &value, name)
                .or_else(|| check_privileges(&parameter.value, &value, name, release)),
            Known::Option(kind, spec) => check_option(*kind, name, &spec.value, &value),
            Known::Open | Known::Not => None,
        };
        match problem {
            Some(text) => drop(errors.insert(name.clone(), text)),
            None => drop(values.insert(name.clone(), value)),
        }
    }
    // What comes in several forms is needed only in a form that is.
    let needed = |parameter: &Parameter| match form(parameter, given) {
        Some(form) => !form.optional,
        None => false,
    };
    for (name, _) in call.parameters.iter().filter(|(name, spec)| !given.contains_key(*name) && needed(spec)) {
        errors.insert(name.clone(), "property is missing and it is not optional".to_owned());
    }
    for name in given.keys() {
        let needed = call.parameter(name).map_or_else(|| call.requires.get(name), |spec| spec.requires.as_ref());
        if let Some(needed) = needed.filter(|needed| !given.contains_key(*needed)) {
            let text = match release {
                9.. => format!("missing property required by '{name}'"),
                _ => format!("missing property - '{name}' requires this property"),
            };
            errors.insert(needed.clone(), text);
        }
    }
    if errors.is_empty() { Ok(values) } else { Err(errors) }
}

/// The form in which a parameter counts: where it has several, another parameter says which.
fn form<'a>(parameter: &'a Parameter, given: &Given) -> Option<&'a Parameter> {
    // One that goes with some types only is not known beside another, or none.
    if parameter.forms.is_empty() && parameter.types.is_empty() {
        return Some(parameter);
    }
    if parameter.forms.is_empty() {
        let ty = given.get(parameter.type_property.as_ref()?)?.first()?;
        return parameter.types.contains(ty).then_some(parameter);
    }
    let ty = given.get(parameter.type_property.as_ref()?)?.first()?;
    parameter.forms.iter().find(|form| form.types.contains(ty))
}

/// Checks a value of a call's own parameter; the text of the problem.
fn check_value(spec: &ValueSpec, value: &str, name: &str) -> Option<String> {
    let problem = spec.check(value, Spelling::Parameter).err();
    // Formats that only the simulator needs to know.
    let of_firewall = || super::firewall::check_format(spec.format.as_deref()?, value)?.err();
    let problem = problem.or_else(|| of_firewall().map(|text| ValueError::Format(format!("{text}\n"))));
    problem.map(|error| error.proxmox_text(name))
}

/// Checks the names of privileges, of which each release has its own.
fn check_privileges(spec: &ValueSpec, value: &str, name: &str, release: u32) -> Option<String> {
    spec.format.as_deref().filter(|format| *format == "pve-priv-list")?;
    let unknown = split_list(value).find(|privilege| !is_privilege(privilege, release))?;
    Some(ValueError::Format(format!("invalid privilege '{unknown}'\n")).proxmox_text(name))
}

/// Checks an option of a guest: by the tables, and by the rules that only the server's code has.
pub(super) fn check_option(kind: GuestKind, name: &str, spec: &ValueSpec, value: &str) -> Option<String> {
    // An empty text is never taken apart.
    if value.is_empty() && spec.ty == ValueType::String && spec.choices.is_none() && spec.pattern.is_none() {
        return None;
    }
    if let Err(error) = spec.check(value, Spelling::Parameter) {
        return Some(error.proxmox_text(name));
    }
    let format_error = |text: String| Some(ValueError::Format(text).proxmox_text(name));
    match (kind, name) {
        (GuestKind::Qemu, "hotplug") if !matches!(value, "0" | "1") => {
            let bad = split_list(value)
                .find(|part| !matches!(*part, "network" | "disk" | "cpu" | "memory" | "usb" | "cloudinit"))?;
            format_error(format!("invalid hotplug feature '{bad}'"))
        }
        (GuestKind::Qemu, "cpu") => {
            let model = super::guest::default_of(value, "cputype")?;
            if let Some(custom) = model.strip_prefix("custom-") {
                return format_error(format!("Custom cputype '{custom}' not found"));
            }
            let known = spec.properties.as_ref()?.keys.get("reported-model")?.value.choices.as_ref()?;
            let known =
                known.iter().any(|choice| choice == model) || matches!(model, "host" | "max" | "kvm64" | "qemu64");
            if known || model.starts_with("x86-64-v") {
                return None;
            }
            format_error(format!("Built-in cputype '{model}' is not defined (missing 'custom-' prefix?)"))
        }
        (GuestKind::Qemu, _) if super::guest::is_drive(name) || name == "cdrom" => {
            let file = super::guest::volume_of(value)?;
            let is_iso = file.split_once(':').is_some_and(|(_, rest)| rest.starts_with("iso/"));
            let bare = is_iso && name != "cdrom" && super::guest::sub_key(value, "media") != Some("cdrom");
            bare.then(|| "explicit 'media=cdrom' is required for iso images".to_owned())
        }
        (GuestKind::Lxc, "timezone") if value != "host" => {
            let fits = value == "UTC"
                || value.split_once('/').is_some_and(|(area, _)| {
                    matches!(
                        area,
                        "Africa" | "America" | "Asia" | "Atlantic" | "Australia" | "Etc" | "Europe" | "Pacific"
                    )
                });
            if fits { None } else { format_error(format!("invalid time zone '{value}'")) }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pve::calls::call;

    /// What comes of parameters, given as `name=value`: the values, or the errors by name.
    fn checked(release: u32, name: &str, given: &[&str]) -> Result<Vec<String>, Vec<String>> {
        let (method, path) = name.split_once(' ').unwrap();
        let mut parameters = Given::new();
        for (name, value) in given.iter().map(|pair| pair.split_once('=').unwrap()) {
            parameters.entry(name.to_owned()).or_default().push(value.to_owned());
        }
        let told = |pairs: BTreeMap<String, String>, between: &str| {
            pairs.into_iter().map(|(name, text)| format!("{name}{between}{text}")).collect()
        };
        let result = check(call(release, method, path).unwrap(), &parameters, release);
        result.map(|values| told(values, "=")).map_err(|errors| told(errors, ": "))
    }

    fn errors(name: &str, given: &[&str]) -> Vec<String> {
        checked(9, name, given).unwrap_err()
    }

    #[test]
    fn one_value_is_told_from_a_list() {
        let move_disk = ["node=a1", "vmid=100", "disk=scsi0", "digest=a", "digest=b"];
        assert_eq!(
            errors("PUT /nodes/{node}/qemu/{vmid}/resize", &[&move_disk[..], &["size=1G"]].concat()),
            ["digest: type check ('string') failed - got ARRAY"]
        );
        assert_eq!(
            checked(9, "PUT /nodes/{node}/qemu/{vmid}/unlink", &["node=a1", "vmid=100", "idlist=ab", "idlist=cd"]),
            Ok(vec!["idlist=ab,cd".to_owned(), "node=a1".to_owned(), "vmid=100".to_owned()])
        );
        let exec = "POST /nodes/{node}/qemu/{vmid}/agent/exec";
        assert_eq!(
            checked(9, exec, &["node=a1", "vmid=100", "command=echo", "command=a,b"]),
            Ok(vec!["command=echo\0a,b".to_owned(), "node=a1".to_owned(), "vmid=100".to_owned()])
        );
        let start = "POST /cluster/bulk-action/guest/start";
        assert_eq!(
            errors(start, &["vms=100", "vms=7"]),
            ["vms[1]: invalid format - value does not look like a valid VM ID\n"]
        );
    }

    #[test]
    fn the_format_of_a_number_comes_before_its_range() {
        assert_eq!(
            errors("GET /nodes/{node}/qemu/{vmid}/status/current", &["node=a1", "vmid=5"]),
            ["vmid: invalid format - value does not look like a valid VM ID\n"]
        );
    }

    #[test]
    fn one_parameter_may_need_another() {
        let config = "PUT /nodes/{node}/qemu/{vmid}/config";
        let given = ["node=a1", "vmid=100", "force=1"];
        assert_eq!(errors(config, &given), ["delete: missing property required by 'force'"]);
        assert_eq!(
            checked(8, config, &given),
            Err(vec!["delete: missing property - 'force' requires this property".to_owned()])
        );
        // An option may need a parameter, too.
        let create = "POST /nodes/{node}/qemu";
        assert_eq!(
            errors(create, &["node=a1", "vmid=100", "unique=1"]),
            ["archive: missing property required by 'unique'"]
        );
        assert_eq!(errors(create, &["node=a1"]), ["vmid: property is missing and it is not optional"]);
    }

    #[test]
    fn what_nobody_described_is_refused_unless_the_call_is_open() {
        let text = "bogus: property is not defined in schema and the schema does not allow additional properties";
        assert_eq!(errors("GET /version", &["bogus=1"]), [text]);
        assert_eq!(checked(9, "GET /cluster/sdn/fabrics", &["bogus=1"]), Ok(vec!["bogus=1".to_owned()]));
    }

    #[test]
    fn a_form_goes_by_the_type() {
        let update = "PUT /cluster/sdn/fabrics/fabric/{id}";
        let of =
            |protocol: &str| checked(9, update, &["id=f1", &format!("protocol={protocol}"), "delete=redistribute"]);
        assert!(of("bgp").is_ok());
        let refused = of("openfabric").unwrap_err();
        assert!(
            refused[0].starts_with("delete[0]: value 'redistribute' does not have a value in the enum"),
            "{refused:?}"
        );
    }
}
