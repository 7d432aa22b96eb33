//! The tables of calls: parameters, permissions, and where a call runs.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::{Maker, flags, is_of_the_call, is_set};

/// The calls that take a guest's options, and the table that holds those: kind, and create or update.
const OPTION_CALLS: [(&str, &str, &str, &str); 5] = [
    ("POST", "/nodes/{node}/lxc", "lxc", "create"),
    ("POST", "/nodes/{node}/qemu", "qemu", "create"),
    ("POST", "/nodes/{node}/qemu/{vmid}/config", "qemu", "update"),
    ("PUT", "/nodes/{node}/lxc/{vmid}/config", "lxc", "update"),
    ("PUT", "/nodes/{node}/qemu/{vmid}/config", "qemu", "update"),
];

/// The last index of parameters that are numbered; the description says only that they are.
const LAST_INDEX: [(&str, u32); 2] = [("acmedomain[n]", 5), ("link[n]", 7)];

/// One line a call, so that a new version's difference reads well.
pub(super) fn table(maker: &Maker<'_>) -> Result<String> {
    let paths = maker.api["paths"].as_object().context("the description has no paths")?;
    let mut lines = Vec::new();
    for (path, methods) in paths {
        for (method, info) in methods.as_object().into_iter().flatten() {
            let call = call(maker, method, path, info).with_context(|| format!("{method} {path}"))?;
            lines.push(format!("{}: {call}", json!(format!("{method} {path}"))));
        }
    }
    ensure!(lines.len() > 500, "this is not a whole description; trim one anew");
    Ok(format!("{{\n\"version\": {},\n\"calls\": {{\n{}\n}}\n}}\n", maker.api["version"], lines.join(",\n")))
}

fn call(maker: &Maker<'_>, method: &str, path: &str, info: &Value) -> Result<Value> {
    let mut call = Map::new();
    let mut put = |name: &str, value: Value| drop(call.insert(name.to_owned(), value));
    if let Some(permissions) = info.get("permissions") {
        put("permission", permission(permissions)?);
    }
    if let Some(parameter) = info["proxyto"].as_str() {
        put("proxyto", json!(parameter));
    }
    if is_set(info, "protected") {
        put("protected", json!(true));
    }
    if !is_set(info, "allowtoken") {
        put("no_token", json!(true));
    }
    let schema = &info["parameters"];
    // Proxmox forbids what it does not know only where a call says so.
    if schema.get("additionalProperties").is_none_or(|_| is_set(schema, "additionalProperties")) {
        put("open", json!(true));
    }
    let options = OPTION_CALLS.iter().find(|known| (known.0, known.1) == (method, path));
    let mut parameters = Map::new();
    let mut requires = Map::new();
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        // What a call must have is its own, although it is among the options.
        let is_option = options.is_some() && is_set(schema, "optional") && !is_of_the_call(name);
        if is_option {
            requires.extend(schema.get("requires").map(|needed| (name.clone(), needed.clone())));
            continue;
        }
        parameters.insert(name.clone(), parameter(maker, name, schema).with_context(|| name.clone())?);
    }
    if let Some((.., kind, mode)) = options {
        put("options", json!({ *mode: kind }));
        if !requires.is_empty() {
            put("requires", Value::Object(requires));
        }
    }
    if !parameters.is_empty() {
        put("parameters", Value::Object(parameters));
    }
    Ok(Value::Object(call))
}

fn parameter(maker: &Maker<'_>, name: &str, schema: &Value) -> Result<Value> {
    let mut parameter = Map::new();
    let mut put = |name: &str, value: Value| drop(parameter.insert(name.to_owned(), value));
    if let Some(property) = schema.get("type-property") {
        put("type_property", property.clone());
    }
    if let Some(types) = schema.get("instance-types") {
        put("types", types.clone());
    }
    if name.ends_with("[n]") {
        let last = LAST_INDEX.iter().find(|(known, _)| *known == name).context("what is its last index?")?.1;
        put("index", json!([0, last]));
    }
    if let Some(forms) = schema["oneOf"].as_array() {
        put("forms", forms.iter().map(|form| self::parameter(maker, "", form)).collect::<Result<_>>()?);
    } else if schema["type"] == "array" {
        put("list", json!(true));
        put("value", Value::Object(maker.value(&schema["items"], None)?));
    } else {
        put("value", Value::Object(maker.value(schema, None)?));
    }
    flags(schema, &mut parameter);
    Ok(Value::Object(parameter))
}

/// Who may: the check, or what stands in its place.
fn permission(permissions: &Value) -> Result<Value> {
    match permissions["user"].as_str() {
        Some(user @ ("all" | "world")) => Ok(json!(user)),
        Some(other) => bail!("what is user {other}?"),
        None => rule(&permissions["check"]),
    }
}

/// Proxmox's check, `["perm", PATH, [PRIVILEGE…], "any", 1]`, with names.
fn rule(check: &Value) -> Result<Value> {
    let parts = check.as_array().context("a check is a list")?;
    let what = parts.first().and_then(Value::as_str).context("a check begins with its name")?;
    let rest = &parts[1..];
    let mut rule = Map::new();
    let mut named = |from: usize, known: &[&str]| -> Result<()> {
        for pair in rest.get(from..).unwrap_or_default().chunks(2) {
            let (name, value) = (pair[0].as_str().unwrap_or_default(), pair.get(1).context("a pair")?);
            ensure!(known.contains(&name), "what is {name}?");
            let value = if name == "any" { json!(value == 1 || value == "1") } else { value.clone() };
            rule.insert(name.to_owned(), value);
        }
        Ok(())
    };
    Ok(match what {
        "perm" => {
            named(2, &["any", "require_param"])?;
            rule.insert("path".to_owned(), rest[0].clone());
            rule.insert("privileges".to_owned(), rest[1].clone());
            json!({ "perm": rule })
        }
        "userid-group" => {
            named(1, &["groups_param"])?;
            rule.insert("privileges".to_owned(), rest[0].clone());
            json!({ "userid-group": rule })
        }
        "userid-param" | "perm-modify" => json!({ what: rest[0] }),
        "and" | "or" => json!({ what: rest.iter().map(self::rule).collect::<Result<Vec<_>>>()? }),
        other => bail!("what is the check {other}?"),
    })
}
