//! Proxmox's own parsers, printers and checks against ours: cases that its code answered, as data.
//!
//! `tests/pve/vectors-pure.json` and `vectors-more.json` hold them by set; `meta` says how they were made. Another file
//! of the same form can be named by `PVEFLEET_VECTORS`: then all of that one is counted, and what disagrees is told
//! without failing.
//! `cargo test --test vectors -- --nocapture` prints the counts.

use std::collections::BTreeMap;

use pvefleet::pve::config::{GuestFile, internal_format, spec_of};
use pvefleet::pve::cpu;
use pvefleet::pve::drive::Drive;
use pvefleet::pve::form::{FormValue, credential, decode_form};
use pvefleet::pve::format::check_format;
use pvefleet::pve::mount::Mount;
use pvefleet::pve::nic::Nic;
use pvefleet::pve::pending::{parse_deletes, print_deletes};
use pvefleet::pve::property::{self, Properties, Refusal};
use pvefleet::pve::schema::{PropertyFormat, ValueType};
use pvefleet::pve::tags::TagStyle;
use pvefleet::pve::text::{decode_text, encode_text};
use pvefleet::pve::value::{GuestKind, Size, TaskEnd, Upid, split_list};
use pvefleet::pve::volume::{Backend, Feature};
use serde_json::{Map, Value, json};

/// Cases that are answered differently on purpose: set, input, reason.
const DELIBERATE: &[(&str, &str, &str)] = &[];

/// What one set's cases are compared by: the case to the fields that are computed.
type Answer = fn(&Value) -> Option<Value>;

const SETS: &[(&str, Answer)] = &[
    ("config_roundtrip", config_roundtrip),
    ("decode_text", |case| Some(json!({"output": decode_text(text(case, "input")?)}))),
    ("encode_text", |case| Some(json!({"output": encode_text(text(case, "input")?)}))),
    ("extract_auth", |case| Some(json!({"value": credential(text(case, "header")?, text(case, "key")?)}))),
    ("form_decode", form_decode),
    ("format_check", format_check),
    ("format_size", |case| Some(json!({"output": Size(case["bytes"].as_u64()?).to_string()}))),
    ("lxc_volume", lxc_volume),
    ("parse_size", |case| Some(json!({"bytes": Size::parse_proxmox(text(case, "input")?)}))),
    ("parse_volname", parse_volname),
    ("pending_delete", pending_delete),
    ("property_string", property_string),
    ("qemu_drive", qemu_drive),
    ("qemu_net", qemu_net),
    ("split_list", |case| Some(json!({"output": split_list(text(case, "input")?).collect::<Vec<_>>()}))),
    ("tags_normalise", |case| {
        Some(json!({"output": TagStyle::from_datacenter(text(case, "datacenter")?).normalise(text(case, "input")?)}))
    }),
    ("task_status", task_status),
    ("upid_decode", upid_decode),
    ("volume_has_feature", volume_has_feature),
];

/// Fields that are no answer of the code under test.
const INPUTS: &[&str] = &[
    "input",
    "name",
    "kind",
    "source",
    "note",
    "header",
    "key",
    "format",
    "datacenter",
    "plugin",
    "volname",
    "feature",
    "snapname",
    "exitstatus",
];

/// Fields of an answer that are inputs elsewhere.
const ANSWERS: &[(&str, &str)] = &[("parse_volname", "name"), ("parse_volname", "format")];

/// Sets whose number of bytes is given, not computed.
const GIVEN: &[(&str, &str)] = &[("format_size", "bytes")];

fn text<'a>(case: &'a Value, field: &str) -> Option<&'a str> {
    case[field].as_str()
}

/// The fields of a case that have to be found.
fn expected(set: &str, case: &Value) -> Value {
    let mut answer = case.as_object().cloned().unwrap_or_default();
    answer.retain(|field, _| {
        let is_answer = !INPUTS.contains(&field.as_str()) || ANSWERS.contains(&(set, field.as_str()));
        is_answer && !GIVEN.contains(&(set, field.as_str()))
    });
    // An error leaves no other answer.
    if set == "parse_volname" && answer.contains_key("error") {
        answer.retain(|field, _| field == "error");
    }
    Value::Object(answer)
}

fn format_check(case: &Value) -> Option<Value> {
    Some(match check_format(text(case, "format")?, text(case, "input")?) {
        Ok(()) => json!({"ok": true}),
        Err(error) => json!({"ok": false, "error": error}),
    })
}

fn form_decode(case: &Value) -> Option<Value> {
    let value = |value| match value {
        FormValue::Absent => Value::Null,
        FormValue::One(value) => json!(value),
        FormValue::Many(values) => json!(values),
    };
    let form = decode_form(text(case, "input")?).into_iter().map(|(name, found)| (name, value(found)));
    Some(json!({"output": form.collect::<Map<_, _>>()}))
}

fn pending_delete(case: &Value) -> Option<Value> {
    let deletes = parse_deletes(text(case, "input")?);
    let parsed: BTreeMap<_, _> = deletes.iter().map(|(key, force)| (key, json!({"force": u8::from(*force)}))).collect();
    Some(json!({"parsed": parsed, "printed": print_deletes(&deletes)}))
}

fn task_status(case: &Value) -> Option<Value> {
    let end = TaskEnd::parse(text(case, "exitstatus")?);
    Some(json!({"is_error": !end.is_success(), "type": end.status_type()}))
}

fn upid_decode(case: &Value) -> Option<Value> {
    Some(match Upid::decode(text(case, "input")?) {
        Ok(upid) => json!({"decoded": {
            "id": upid.id, "node": upid.node, "pid": upid.pid, "pstart": upid.pstart,
            "starttime": upid.starttime, "type": upid.kind, "user": upid.user,
        }}),
        Err(error) => json!({"error": error}),
    })
}

/// The backend of a storage plugin, by its name in Proxmox's code.
fn backend(case: &Value) -> Option<Backend> {
    Some(match text(case, "plugin")? {
        "DirPlugin" | "NFSPlugin" | "CIFSPlugin" | "CephFSPlugin" => Backend::Directory,
        "BTRFSPlugin" => Backend::Btrfs,
        "LVMPlugin" => Backend::Lvm,
        "LvmThinPlugin" => Backend::LvmThin,
        "ZFSPoolPlugin" => Backend::Zfs,
        "RBDPlugin" => Backend::Rbd,
        "ISCSIPlugin" => Backend::Iscsi,
        _ => return None,
    })
}

fn parse_volname(case: &Value) -> Option<Value> {
    Some(match backend(case)?.parse_name(text(case, "volname")?) {
        Ok(volume) => {
            let (base, base_owner) = volume.base.unzip();
            json!({
                "vtype": volume.content, "name": volume.name, "vmid": volume.owner, "basename": base,
                "basevmid": base_owner, "isBase": u8::from(volume.is_base), "format": volume.format,
            })
        }
        Err(error) => json!({"error": error}),
    })
}

fn volume_has_feature(case: &Value) -> Option<Value> {
    let feature = Feature::parse(text(case, "feature")?)?;
    Some(match backend(case)?.has_feature(feature, text(case, "volname")?, text(case, "snapname")) {
        Ok(has) => json!({"result": u8::from(has)}),
        Err(error) => json!({"error": error}),
    })
}

/// Sub-keys as Proxmox's code holds them: booleans are numbers.
fn parsed(keys: &Properties, format: &PropertyFormat) -> Map<String, Value> {
    let value = |key: &str, value: &str| match format.keys.get(key).map(|key| key.value.ty) {
        Some(ValueType::Boolean) => json!(u8::from(value == "1")),
        _ => json!(value),
    };
    keys.iter().map(|(key, found)| (key.clone(), value(key, found))).collect()
}

fn refused(refusal: Refusal) -> Value {
    match refusal {
        Refusal::Whole(text) => json!({"error": text}),
        Refusal::Keys(errors) => json!({"error": {"msg": "format error\n", "errors": errors}}),
    }
}

fn option_format(kind: GuestKind, option: &str) -> Option<&'static PropertyFormat> {
    spec_of(kind, option).or_else(|| spec_of(kind, &format!("{option}0")))?.properties.as_ref()
}

fn property_string(case: &Value) -> Option<Value> {
    let (name, input) = (text(case, "format")?, text(case, "input")?);
    let format = internal_format(name).or_else(|| match name.split_once('_') {
        Some(("lxc", option)) => option_format(GuestKind::Lxc, option),
        Some(("qemu", option)) => option_format(GuestKind::Qemu, option),
        _ if name == "numa" => option_format(GuestKind::Qemu, "numa0"),
        _ => option_format(GuestKind::Qemu, name),
    })?;
    let keys = match property::parse(input, format) {
        Ok(keys) => keys,
        Err(errors) => return Some(refused(Refusal::of(&errors, ""))),
    };
    if name == "cpu"
        && let Err(error) = cpu::check(&keys, format, Some(&[]))
    {
        return Some(json!({"error": error}));
    }
    Some(json!({"parsed": parsed(&keys, format), "printed": property::print(&keys, format)}))
}

fn qemu_drive(case: &Value) -> Option<Value> {
    let option = text(case, "key")?;
    let drive = match Drive::parse(option, text(case, "input")?) {
        Ok(drive) => drive,
        Err(texts) if texts.is_empty() => return Some(json!({"parsed": null})),
        Err(texts) => return Some(json!({"parsed": null, "warnings": texts})),
    };
    let mut keys = parsed(&drive.keys, option_format(GuestKind::Qemu, option)?);
    keys.insert("interface".to_owned(), json!(drive.interface));
    keys.insert("index".to_owned(), json!(drive.index.to_string()));
    if let Some(Size(bytes)) = drive.size() {
        // What counts as false is not converted there.
        keys.insert("size".to_owned(), if bytes == 0 { json!("0") } else { json!(bytes) });
    }
    Some(json!({"parsed": keys, "printed": drive.print()}))
}

fn qemu_net(case: &Value) -> Option<Value> {
    // The stand-in for a random address is told in a note.
    let address = text(case, "note").and_then(|note| note.rsplit(' ').next()).unwrap_or_default();
    Some(match Nic::parse(text(case, "input")?, || address.to_owned()) {
        Ok(nic) => {
            let keys = parsed(&nic.keys, option_format(GuestKind::Qemu, "net0")?);
            json!({"parsed": keys, "printed": nic.print()})
        }
        Err(error) => json!({"parsed": null, "warnings": [error]}),
    })
}

fn lxc_volume(case: &Value) -> Option<Value> {
    let option = text(case, "key")?;
    let mount = match Mount::parse(option, text(case, "input")?) {
        Ok(mount) => mount,
        Err(refusal) => return Some(refused(refusal)),
    };
    let mut keys = parsed(&mount.keys, option_format(GuestKind::Lxc, option)?);
    keys.insert("type".to_owned(), json!(mount.source.as_str()));
    if let Some(size) = mount.size() {
        keys.insert("size".to_owned(), json!(size));
    }
    if let Some(map) = mount.id_map() {
        keys.insert("idmap".to_owned(), json!(map));
    }
    Some(json!({"parsed": keys, "printed": mount.print()}))
}

fn config_roundtrip(case: &Value) -> Option<Value> {
    let input = text(case, "input")?;
    let (kind, vmid) = if text(case, "kind")? == "lxc" { (GuestKind::Lxc, 200) } else { (GuestKind::Qemu, 100) };
    let (file, remarks) = GuestFile::parse(kind, vmid, input);
    let mut answer = Map::from_iter([("parsed".to_owned(), file.to_json())]);
    match file.print() {
        Ok(text) => answer.insert("rewritten".to_owned(), json!(text)),
        Err(text) => answer.insert("rewrite_error".to_owned(), json!(text)),
    };
    if let Err(text) = GuestFile::parse_strict(kind, vmid, input) {
        answer.insert("strict_error".to_owned(), json!(text));
    }
    if !remarks.is_empty() {
        let texts: Vec<_> = remarks.into_iter().map(|remark| remark.text).collect();
        answer.insert("warnings".to_owned(), json!(texts));
    }
    Some(Value::Object(answer))
}

/// What a case is known by: the first of its inputs.
fn input_of(case: &Value) -> String {
    let given = ["input", "header", "volname", "bytes", "exitstatus"].iter().map(|field| &case[*field]);
    given
        .filter(|value| !value.is_null())
        .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        .next()
        .unwrap_or_default()
}

#[test]
fn proxmox_and_we_read_and_print_alike() {
    let named = std::env::var_os("PVEFLEET_VECTORS");
    let files = match &named {
        Some(path) => vec![std::fs::read_to_string(path).unwrap()],
        None => {
            vec![include_str!("pve/vectors-pure.json").to_owned(), include_str!("pve/vectors-more.json").to_owned()]
        }
    };
    let mut sets = BTreeMap::<String, Vec<Value>>::new();
    for file in files {
        let file: Value = serde_json::from_str(&file).unwrap();
        for (set, cases) in file["pure"].as_object().unwrap() {
            sets.entry(set.clone()).or_default().extend(cases.as_array().unwrap().iter().cloned());
        }
    }
    let (mut agreed, mut total, mut wrong) = (0, 0, Vec::new());
    for (set, cases) in &sets {
        let answer = SETS.iter().find(|(name, _)| name == set).map(|(_, answer)| *answer);
        let mut agree = 0;
        for case in cases {
            let (expected, found) = (expected(set, case), answer.and_then(|answer| answer(case)));
            let input = input_of(case);
            if found.as_ref() == Some(&expected) {
                agree += 1;
            } else if let Some((.., reason)) = DELIBERATE.iter().find(|(name, text, _)| name == set && *text == input) {
                println!("vectors: {set} {input:?} differs on purpose: {reason}");
            } else {
                let found = found.map_or_else(|| "not known here".to_owned(), |found| found.to_string());
                wrong.push(format!("{set} {case}\n  expected {expected}\n  found    {found}"));
            }
        }
        let unknown = if answer.is_none() { " (a set that is not known here)" } else { "" };
        println!("vectors: {set} agree {agree} of {}{unknown}", cases.len());
        agreed += agree;
        total += cases.len();
    }
    for case in &wrong {
        println!("vectors: differs: {case}");
    }
    println!("vectors: agree {agreed} of {total}");
    assert!(wrong.is_empty() || named.is_some(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}
