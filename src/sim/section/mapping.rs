//! Mappings of devices and folders: one name in the cluster for what each node has in another place.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Kind, Layout, Section, Sections, Values, below};
use crate::pve::schema::split_index;
use crate::sim::access::Check;
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::api::nothing;
use crate::sim::cluster::Cluster;
use crate::sim::guest::{default_of, sub_key};
use crate::sim::route::{Call, unsupported};

static PCI: Layout = Layout {
    file: "mapping/pci.cfg",
    bare: true,
    kinds: &[Kind { name: "pci", properties: "description mdev# live-migration-capable# map+*" }],
};
static USB: Layout =
    Layout { file: "mapping/usb.cfg", bare: true, kinds: &[Kind { name: "usb", properties: "description map+*" }] };
static DIR: Layout = Layout {
    file: "mapping/directory.cfg",
    bare: true,
    kinds: &[Kind { name: "dir", properties: "description map+*" }],
};

/// The file of a type of mapping.
fn layout(kind: &str) -> &'static Layout {
    match kind {
        "pci" => &PCI,
        "usb" => &USB,
        _ => &DIR,
    }
}

/// What failures of a change begin with: those of folders have words of their own.
fn failed(what: &str, kind: &str) -> String {
    let name = match (what, kind) {
        ("delete", kind) => format!("{kind} mapping"),
        (_, "dir") => "directory mapping".to_owned(),
        _ => "hardware mapping".to_owned(),
    };
    format!("{what} {name} failed")
}

/// Privileges of which one is enough to see a mapping.
const SEE: &[&str] = &["Mapping.Modify", "Mapping.Use", "Mapping.Audit"];

fn row(mappings: &Sections, mapping: &Section) -> Value {
    let mut row = mapping.kind.json(&mapping.values);
    row.insert("digest".to_owned(), json!(mappings.digest()));
    row.insert("type".to_owned(), json!(mapping.kind.name));
    Value::Object(row)
}

fn list(cluster: &Cluster, call: &Call, kind: &str) -> Outcome {
    // What a node finds when it looks at its devices is not simulated.
    if call.get("check-node").is_some() {
        return unsupported();
    }
    let mappings = cluster.sections(layout(kind));
    let seen = |mapping: &&Section| {
        let path = format!("/mapping/{kind}/{}", mapping.id);
        cluster.check_for(&call.subject, &path).any(&path, SEE)
    };
    let rows = mappings.list.iter().filter(seen).map(|mapping| {
        let mut row = row(&mappings, mapping);
        row["id"] = json!(mapping.id);
        row
    });
    Ok(Answer::from(rows.collect::<Value>()))
}

fn read(cluster: &Cluster, call: &Call, kind: &str) -> Outcome {
    let (mappings, id) = (cluster.sections(layout(kind)), call.get("id").unwrap_or_default());
    match mappings.get(id) {
        Some(mapping) => Ok(Answer::from(row(&mappings, mapping))),
        None => Err(Failure::die(format!("mapping '{id}' not found"))),
    }
}

fn given(call: &Call) -> Values {
    let mut values = Values::new();
    for name in ["description", "mdev", "live-migration-capable"] {
        values.extend(call.get(name).map(|value| (name.to_owned(), value.to_owned())));
    }
    if let Some(lines) = call.list("map") {
        values.insert("map".to_owned(), lines.join("\n"));
    }
    values
}

/// A node has a folder once.
fn check_folders(kind: &str, values: &Values) -> Result<(), Failure> {
    if kind != "dir" {
        return Ok(());
    }
    let lines = || values.get("map").into_iter().flat_map(|lines| lines.lines());
    for node in lines().filter_map(|line| sub_key(line, "node")) {
        let count = lines().filter(|line| sub_key(line, "node") == Some(node)).count();
        if count > 1 {
            return Err(Failure::die(format!("Node '{node}' is specified {count} times.")));
        }
    }
    Ok(())
}

fn create(cluster: &mut Cluster, call: &Call, name: &str) -> Outcome {
    let (layout, id, given) = (layout(name), call.get("id").unwrap_or_default(), given(call));
    let (kind, mut mappings) = (layout.kind(name)?, cluster.sections(layout));
    kind.check(&given, true)?;
    check_folders(name, &given)?;
    if mappings.get(id).is_some() {
        return Err(Failure::die(format!("{}: {name} ID '{id}' already defined", failed("create", name))));
    }
    mappings.push(id, kind, given);
    cluster.save(&mappings);
    Ok(nothing())
}

fn update(cluster: &mut Cluster, call: &Call, name: &str) -> Outcome {
    change(cluster, call, name).map_err(|failure| below(&failed("update", name), failure))
}

fn change(cluster: &mut Cluster, call: &Call, name: &str) -> Outcome {
    let (mut mappings, id) = (cluster.sections(layout(name)), call.get("id").unwrap_or_default());
    mappings.check_digest(call.get("digest"))?;
    let Some(mapping) = mappings.get_mut(id) else {
        return Err(Failure::die(format!("{name} ID '{id}' does not exist")));
    };
    let given = given(call);
    // A change is checked as if it were new: it must name the map again.
    mapping.kind.check(&given, true)?;
    check_folders(name, &given)?;
    Sections::change(mapping, given, call.get("delete"))?;
    cluster.save(&mappings);
    Ok(nothing())
}

fn delete(cluster: &mut Cluster, call: &Call, kind: &str) -> Outcome {
    let mut mappings = cluster.sections(layout(kind));
    mappings.remove(call.get("id").unwrap_or_default());
    cluster.save(&mappings);
    Ok(nothing())
}

/// The type of mapping that an option of a VM names, with its id.
fn named<'a>(key: &str, value: &'a str) -> Option<(&'static str, &'a str)> {
    match split_index(key)?.0 {
        "hostpci" => Some(("pci", sub_key(value, "mapping")?)),
        "usb" => Some(("usb", sub_key(value, "mapping")?)),
        "virtiofs" => Some(("dir", default_of(value, "dirid")?)),
        _ => None,
    }
}

/// Who gives a VM what a mapping names needs a privilege on the mapping.
pub(in crate::sim) fn permit(check: Check, key: &str, value: &str) -> Result<(), Failure> {
    match named(key, value) {
        Some((kind, id)) => check.need(&format!("/mapping/{kind}/{id}"), &["Mapping.Use"]),
        None => Ok(()),
    }
}

/// The kind of mapping that a key of a guest takes.
fn kind_of(key: &str) -> &'static str {
    match key.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "hostpci" => "pci",
        "usb" => "usb",
        _ => "dir",
    }
}

/// True where the mapping that a key of a guest names says something about a node.
pub(in crate::sim) fn is_on(cluster: &Cluster, key: &str, id: &str, node: &str) -> bool {
    let mappings = cluster.sections(layout(kind_of(key)));
    let map = mappings.get(id).and_then(|mapping| mapping.get("map")).unwrap_or_default();
    map.lines().any(|line| sub_key(line, "node") == Some(node))
}

/// True for a mapped device that moves while the VM runs.
pub(in crate::sim) fn moves_live(cluster: &Cluster, key: &str, id: &str) -> bool {
    let mappings = cluster.sections(layout(kind_of(key)));
    let mapping = mappings.get(id).filter(|_| kind_of(key) == "pci");
    mapping.and_then(|mapping| mapping.get("live-migration-capable")) == Some("1")
}

/// A VM starts only where its node has what the mappings in its configuration name.
pub(in crate::sim) fn check_start(
    cluster: &Cluster,
    node: &str,
    config: &BTreeMap<String, String>,
) -> Result<(), String> {
    for (kind, id) in config.iter().filter_map(|(key, value)| named(key, value)) {
        let mappings = cluster.sections(layout(kind));
        let mapping = mappings.get(id);
        let lines = mapping.and_then(|mapping| mapping.get("map")).unwrap_or_default().lines();
        let here = lines.filter(|line| sub_key(line, "node") == Some(node)).count();
        match (kind, here) {
            ("pci", 0) => return Err(format!("PCI device mapping not found for '{id}'")),
            ("usb", 0) => return Err(format!("USB device mapping not found for '{id}'")),
            ("usb", 2..) => return Err("More than one USB mapping per host not supported".to_owned()),
            ("dir", 0) if mapping.is_none() => return Err(format!("Directory ID {id} does not exist.")),
            ("dir", 0) => return Err(format!("No directory mapping for node {node}.")),
            _ => {}
        }
    }
    Ok(())
}

/// The five calls of each type.
macro_rules! calls {
    ($($module:ident)*) => {$(
        pub(in crate::sim) mod $module {
            use super::{Call, Cluster, Outcome};

            pub(in crate::sim) fn list(cluster: &mut Cluster, call: &Call) -> Outcome {
                super::list(cluster, call, stringify!($module))
            }
            pub(in crate::sim) fn read(cluster: &mut Cluster, call: &Call) -> Outcome {
                super::read(cluster, call, stringify!($module))
            }
            pub(in crate::sim) fn create(cluster: &mut Cluster, call: &Call) -> Outcome {
                super::create(cluster, call, stringify!($module))
            }
            pub(in crate::sim) fn update(cluster: &mut Cluster, call: &Call) -> Outcome {
                super::update(cluster, call, stringify!($module))
            }
            pub(in crate::sim) fn delete(cluster: &mut Cluster, call: &Call) -> Outcome {
                super::delete(cluster, call, stringify!($module))
            }
        }
    )*};
}

calls!(pci usb dir);
