//! Text with holes: what cannot be known before apply, from a closed list.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::desired::SecretReference;

/// Something that apply fills in from the read made just before the step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hole {
    /// The node that the guest is on now; in paths.
    Node,
    /// The id that the guest got, where the range gave it.
    Vmid,
    /// The digest of the configuration as it was just read.
    Digest,
    /// One sub-key of one option of this same guest: `net0.macaddr`, `scsi0.file`.
    Live {
        /// The option.
        option: String,
        /// The sub-key, by canonical name.
        key: String,
    },
    /// A secret, read just before it is sent.
    Secret(SecretReference),
}

impl Hole {
    fn to_json(&self) -> Value {
        match self {
            Self::Node => json!({"$node": true}),
            Self::Vmid => json!({"$vmid": true}),
            Self::Digest => json!({"$digest": true}),
            Self::Live { option, key } => json!({"$live": format!("{option}.{key}")}),
            Self::Secret(reference) => json!({"$secret": reference}),
        }
    }

    fn from_json(value: &Value) -> Option<Self> {
        let object = value.as_object().filter(|object| object.len() == 1)?;
        let (name, argument) = object.iter().next()?;
        match name.as_str() {
            "$node" => Some(Self::Node),
            "$vmid" => Some(Self::Vmid),
            "$digest" => Some(Self::Digest),
            "$live" => {
                let (option, key) = argument.as_str()?.split_once('.')?;
                Some(Self::Live { option: option.to_owned(), key: key.to_owned() })
            }
            "$secret" => serde_json::from_value(argument.clone()).ok().map(Self::Secret),
            _ => None,
        }
    }
}

impl fmt::Display for Hole {
    /// As people read it in a call: `<node>`, `<net0.macaddr>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node => f.write_str("<node>"),
            Self::Vmid => f.write_str("<vmid>"),
            Self::Digest => f.write_str("<digest>"),
            Self::Live { option, key } => write!(f, "<{option}.{key}>"),
            Self::Secret(reference) => write!(f, "<secret {}>", reference.env),
        }
    }
}

/// A piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Text as it is.
    Text(String),
    /// To be filled in.
    Hole(Hole),
}

/// A text that may have holes. As JSON: a string, or a list of strings and `{"$hole": …}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Template(pub Vec<Part>);

impl Template {
    /// A text without holes.
    pub fn text(text: impl Into<String>) -> Self {
        Self(vec![Part::Text(text.into())])
    }

    /// A single hole.
    pub fn hole(hole: Hole) -> Self {
        Self(vec![Part::Hole(hole)])
    }

    /// The same with more text at the end.
    #[must_use]
    pub fn then(mut self, text: &str) -> Self {
        match self.0.last_mut() {
            Some(Part::Text(last)) => last.push_str(text),
            _ => self.0.push(Part::Text(text.to_owned())),
        }
        self
    }

    /// The same with a hole at the end.
    #[must_use]
    pub fn then_hole(mut self, hole: Hole) -> Self {
        self.0.push(Part::Hole(hole));
        self
    }

    /// All holes, in order.
    pub fn holes(&self) -> impl Iterator<Item = &Hole> {
        self.0.iter().filter_map(|part| match part {
            Part::Hole(hole) => Some(hole),
            Part::Text(_) => None,
        })
    }

    /// The text with every hole filled.
    ///
    /// # Errors
    ///
    /// The first hole that `fill` has nothing for.
    pub fn fill(&self, mut fill: impl FnMut(&Hole) -> Option<String>) -> Result<String, Hole> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Hole(hole) => text.push_str(&fill(hole).ok_or_else(|| hole.clone())?),
            }
        }
        Ok(text)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Hole(hole) => hole.fmt(f),
        })
    }
}

impl JsonSchema for Template {
    fn schema_name() -> Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let reference = generator.subschema_for::<SecretReference>();
        let only = |name: &str, value: Schema| {
            json_schema!({
                "type": "object", "properties": { name: value }, "required": [name], "additionalProperties": false,
            })
        };
        let filled = || json_schema!({ "const": true });
        let live = json_schema!({ "type": "string", "description": "OPTION.KEY of this same guest, as it is then." });
        let holes = [
            only("$node", filled()),
            only("$vmid", filled()),
            only("$digest", filled()),
            only("$live", live),
            only("$secret", reference),
        ];
        json_schema!({
            "description": "A text; or a list of texts and of holes that apply fills from what it reads just before.",
            "oneOf": [
                { "type": "string" },
                { "type": "array", "items": { "oneOf": [
                    { "type": "string" }, holes[0], holes[1], holes[2], holes[3], holes[4],
                ] } },
            ],
        })
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [] => "".serialize(serializer),
            [Part::Text(text)] => text.serialize(serializer),
            parts => {
                let parts: Vec<Value> = parts
                    .iter()
                    .map(|part| match part {
                        Part::Text(text) => json!(text),
                        Part::Hole(hole) => hole.to_json(),
                    })
                    .collect();
                parts.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let part = |value: &Value| match value {
            Value::String(text) => Some(Part::Text(text.clone())),
            other => Hole::from_json(other).map(Part::Hole),
        };
        let parts = match Value::deserialize(deserializer)? {
            Value::Array(values) => values.iter().map(part).collect::<Option<Vec<_>>>(),
            value => part(&value).map(|part| vec![part]),
        };
        parts.map(Self).ok_or_else(|| D::Error::custom("neither text nor a hole that this version knows"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_round_trip_through_json() {
        let template = Template::text("virtio=")
            .then_hole(Hole::Live { option: "net0".to_owned(), key: "macaddr".to_owned() })
            .then(",bridge=vmbr1");
        let json = serde_json::to_string(&template).unwrap();
        assert_eq!(json, r#"["virtio=",{"$live":"net0.macaddr"},",bridge=vmbr1"]"#);
        assert_eq!(serde_json::from_str::<Template>(&json).unwrap(), template);
        assert_eq!(template.to_string(), "virtio=<net0.macaddr>,bridge=vmbr1");
        assert!(serde_json::from_str::<Template>(r#"[{"$shell":"x"}]"#).is_err());
    }

    #[test]
    fn an_unfilled_hole_is_named() {
        let template = Template::hole(Hole::Digest);
        assert_eq!(template.fill(|_| None), Err(Hole::Digest));
        assert_eq!(template.fill(|_| Some("abc".to_owned())).as_deref(), Ok("abc"));
    }
}
