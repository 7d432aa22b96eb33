//! YAML with places, read into data types: every error says where, a misspelt key what it may have meant.

use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};

use crate::diagnostics::{Diagnostic, Place};
use crate::manifest::source::{self, Key, Mark, Node, NodeKind};
use crate::pve::schema::nearest;

/// Reads a file's text, and keeps the tree for problems that are found later.
///
/// # Errors
///
/// The problems of its form, or the first value that does not fit.
pub fn read<T: DeserializeOwned>(file: &str, text: &str) -> Result<(T, Node), Vec<Diagnostic>> {
    let root = source::parse(file, text)?;
    match T::deserialize(Reader(&root)) {
        Ok(value) => Ok((value, root)),
        Err(error) => {
            let place = error.mark.as_ref().unwrap_or(&root.mark).place();
            let problem = Diagnostic::error("value", error.message).at(&place);
            Err(vec![match error.hint {
                Some(hint) => problem.hint(hint),
                None => problem,
            }])
        }
    }
}

/// Where the value at the end of a way stands, or the last thing on the way that is there.
pub fn place_of(root: &Node, path: &[String]) -> Place {
    let mut node = root;
    for (number, step) in path.iter().enumerate() {
        let next = match &node.kind {
            NodeKind::Map(entries) => entries.iter().find(|(key, _)| key.text == *step).map(|(key, value)| {
                // Of a map or a list as a whole, its key is what to look at.
                let whole = number + 1 == path.len() && matches!(value.kind, NodeKind::Map(_) | NodeKind::List(_));
                (value, whole.then(|| key.mark.place()))
            }),
            NodeKind::List(items) => {
                step.parse().ok().and_then(|index: usize| items.get(index)).map(|item| (item, None))
            }
            NodeKind::Null | NodeKind::Scalar { .. } | NodeKind::Refused => None,
        };
        match next {
            Some((_, Some(place))) => return place,
            Some((value, None)) => node = value,
            None => break,
        }
    }
    node.place()
}

/// Why a value does not fit.
#[derive(Debug)]
struct Error {
    message: String,
    hint: Option<String>,
    mark: Option<Mark>,
}

impl Error {
    fn at(mut self, mark: &Mark) -> Self {
        self.mark.get_or_insert_with(|| mark.clone());
        self
    }

    fn choice(what: &str, name: &str, expected: &'static [&'static str]) -> Self {
        let hint = match nearest(name, expected) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there is {}", expected.join(", ")),
        };
        Self { message: format!("{what} `{name}` is not known here"), hint: Some(hint), mark: None }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), hint: None, mark: None }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::choice("the key", field, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::choice("the word", variant, expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format!("the key `{field}` is missing here"))
    }
}

/// One value.
struct Reader<'a>(&'a Node);

impl Reader<'_> {
    fn unfit(&self, expected: &str) -> Error {
        let found = match self.0.text() {
            Some(text) => format!("`{text}`"),
            None => self.0.noun().to_owned(),
        };
        de::Error::custom(format!("{expected} is expected here, not {found}"))
    }

    fn number<T: std::str::FromStr>(&self) -> Result<T, Error> {
        let digits = self.0.text().map(|text| text.replace('_', ""));
        digits.and_then(|text| text.parse().ok()).ok_or_else(|| self.unfit("a number that fits").at(&self.0.mark))
    }
}

/// Numbers of every width, by the same few words.
macro_rules! numbers {
    ($($method:ident $visit:ident $ty:ty),* $(,)?) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let number: $ty = self.number()?;
            visitor.$visit(number).map_err(|error: Error| error.at(&self.0.mark))
        }
    )* };
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = Error;

    numbers! {
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64, deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64,
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.kind {
            NodeKind::Null | NodeKind::Refused => visitor.visit_unit(),
            NodeKind::Scalar { text, .. } => visitor.visit_str(text),
            NodeKind::List(_) => self.deserialize_seq(visitor),
            NodeKind::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.text() {
            Some("true") => visitor.visit_bool(true),
            Some("false") => visitor.visit_bool(false),
            _ => Err(self.unfit("true or false").at(&self.0.mark)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.0.text().ok_or_else(|| self.unfit("a text").at(&self.0.mark))?;
        visitor.visit_str(text).map_err(|error: Error| error.at(&self.0.mark))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let NodeKind::List(items) = &self.0.kind else { return Err(self.unfit("a list").at(&self.0.mark)) };
        visitor.visit_seq(Items(items.iter())).map_err(|error| error.at(&self.0.mark))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let entries = match &self.0.kind {
            NodeKind::Map(entries) => entries.as_slice(),
            // Nothing after a key is as much as an empty map.
            NodeKind::Null => &[],
            _ => return Err(self.unfit("a map").at(&self.0.mark)),
        };
        visitor.visit_map(Entries { rest: entries.iter(), value: None }).map_err(|error| error.at(&self.0.mark))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (name, mark, content) = match &self.0.kind {
            NodeKind::Scalar { text, .. } => (text, &self.0.mark, None),
            NodeKind::Map(entries) if entries.len() == 1 => {
                (&entries[0].0.text, &entries[0].0.mark, Some(&entries[0].1))
            }
            _ => return Err(self.unfit("a word, or a map with one key,").at(&self.0.mark)),
        };
        visitor.visit_enum(Variant { name, mark, content }).map_err(|error| error.at(mark))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

struct Items<'a>(std::slice::Iter<'a, Node>);

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|item| seed.deserialize(Reader(item)).map_err(|error| error.at(&item.mark))).transpose()
    }
}

struct Entries<'a> {
    rest: std::slice::Iter<'a, (Key, Node)>,
    value: Option<&'a Node>,
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        let text: de::value::StrDeserializer<'_, Error> = key.text.as_str().into_deserializer();
        seed.deserialize(text).map(Some).map_err(|error| error.at(&key.mark))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let value = self.value.take().ok_or_else(|| de::Error::custom("a value without its key"))?;
        seed.deserialize(Reader(value)).map_err(|error: Error| error.at(&value.mark))
    }
}

struct Variant<'a> {
    name: &'a str,
    mark: &'a Mark,
    content: Option<&'a Node>,
}

impl<'de, 'a> de::EnumAccess<'de> for Variant<'a> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: de::value::StrDeserializer<'_, Error> = self.name.into_deserializer();
        let value = seed.deserialize(name).map_err(|error| error.at(self.mark))?;
        Ok((value, self))
    }
}

impl Variant<'_> {
    fn missing(&self) -> Error {
        Error::at(de::Error::custom(format!("`{0}` needs its details: `{0}: …`", self.name)), self.mark)
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.content {
            Some(node) if !node.is_null() => {
                Err(Error::at(de::Error::custom(format!("`{}` has no details", self.name)), &node.mark))
            }
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        let node = self.content.ok_or_else(|| self.missing())?;
        seed.deserialize(Reader(node)).map_err(|error| error.at(&node.mark))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_seq(Reader(self.content.ok_or_else(|| self.missing())?), visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_map(Reader(self.content.ok_or_else(|| self.missing())?), visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{FaultFile, FaultKind, World};

    fn told<T: DeserializeOwned + std::fmt::Debug>(text: &str) -> String {
        let problems = read::<T>("f.yaml", text).unwrap_err();
        let place = problems[0].place.as_ref().unwrap();
        let hint = problems[0].hint.as_deref().unwrap_or_default();
        format!("{}:{} {} {hint}", place.line, place.column, problems[0].message)
    }

    #[test]
    fn errors_say_where_and_what_was_meant() {
        let world = |rest: &str| told::<World>(&format!("clusters:\n  - name: a\n{rest}"));
        assert_eq!(world("    node: []\n"), "3:5 the key `node` is not known here did you mean `nodes`?");
        assert_eq!(
            world("    nodes: [{name: a, cpus: many}]\n"),
            "3:29 a number that fits is expected here, not `many` "
        );
        assert_eq!(world("    nodes: {}\n"), "3:12 a list is expected here, not a map ");
        assert_eq!(world("    version: 9.1\n"), "2:5 the key `nodes` is missing here ");
        assert_eq!(
            world("    nodes: [{name: a}]\n    guests: [{kind: vm, vmid: 1, node: a}]\n"),
            "4:21 the word `vm` is not known here there is qemu, lxc"
        );
        assert_eq!(
            told::<FaultFile>("faults:\n  - kind: refuze\n"),
            "2:11 the word `refuze` is not known here did you mean `refuse`?"
        );
        assert_eq!(told::<FaultFile>("faults:\n  - kind: slow\n"), "2:11 `slow` needs its details: `slow: …` ");
        assert_eq!(
            told::<FaultFile>("faults:\n  - kind: {status: {code: 99999, text: x}}\n"),
            "2:27 a number that fits is expected here, not `99999` "
        );
    }

    #[test]
    fn values_are_read_as_written() {
        let text = "clusters:\n  - name: a\n    version: 9.10\n    nodes: [{name: n}]\n    standalone: true\n    \
                    guests: [{kind: qemu, vmid: 1_00, node: n, config: {cores: 007, name: no}}]\n    pools:\n";
        let (world, root) = read::<World>("f", text).unwrap();
        let cluster = &world.clusters[0];
        assert_eq!((cluster.version.as_str(), cluster.guests[0].vmid, cluster.standalone), ("9.10", 100, true));
        assert_eq!(
            (cluster.guests[0].config["cores"].as_str(), cluster.guests[0].config["name"].as_str()),
            ("007", "no")
        );
        let at = |path: &str| {
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            let place = place_of(&root, &path);
            (place.line, place.column)
        };
        assert_eq!(
            (at("clusters.0.guests.0.vmid"), at("clusters.0.nodes"), at("clusters.0.tokens.3")),
            ((6, 33), (4, 5), (2, 5))
        );
        let (file, _) =
            read::<FaultFile>("f", "faults: [{kind: {hang: {}}}, {kind: {slow: 5}}, {kind: refuse}]").unwrap();
        let kinds: Vec<FaultKind> = file.faults.into_iter().map(|fault| fault.kind).collect();
        assert_eq!(kinds[1..], [FaultKind::Slow(5), FaultKind::Refuse]);
    }
}
