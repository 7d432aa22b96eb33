//! The option tables: every option of VMs and containers with its type, range and sub-keys.
//!
//! The tables are data in `schemas/pve/`, derived from the API description that any node serves
//! (`examples/pve_tables.rs` makes them). They hold facts only: names, types, ranges, defaults.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::facts::{KeyFacts, OptionFacts};
use super::format::{check_format, matches_whole};
use super::property;
use super::value::{self, GuestKind};

/// The tables of Proxmox VE 9, read once.
static TABLES_9: LazyLock<Tables> = LazyLock::new(|| Tables::read(include_str!("../../schemas/pve/options-9.json")));

/// The tables of Proxmox VE 8.4, read once.
static TABLES_8: LazyLock<Tables> = LazyLock::new(|| Tables::read(include_str!("../../schemas/pve/options-8.json")));

/// The options of one kind of guest, in the newest version that is known.
pub fn catalog(kind: GuestKind) -> &'static Catalog {
    TABLES_9.of(kind)
}

/// The options of one kind of guest in this version of Proxmox VE, `8.4.21`: the tables of the nearest one known.
pub fn catalog_for(kind: GuestKind, version: &str) -> &'static Catalog {
    if version_number(version).0 < 9 { TABLES_8.of(kind) } else { TABLES_9.of(kind) }
}

/// The versions of Proxmox VE that the tables were made from, the oldest first.
pub fn known_versions() -> [&'static str; 2] {
    [&TABLES_8.version, &TABLES_9.version]
}

/// Major and minor number of a version such as `9.1.9`; what is no number counts as the newest.
pub fn version_number(version: &str) -> (u32, u32) {
    let mut parts = version.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), minor) => (major, minor.unwrap_or(u32::MAX)),
        (None, _) => (u32::MAX, u32::MAX),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    version: String,
    qemu: Catalog,
    lxc: Catalog,
}

impl Tables {
    fn read(text: &str) -> Self {
        #[expect(clippy::expect_used, reason = "the file is part of the program, and a test reads it")]
        serde_json::from_str(text).expect("the option tables are well formed")
    }

    const fn of(&self, kind: GuestKind) -> &Catalog {
        match kind {
            GuestKind::Qemu => &self.qemu,
            GuestKind::Lxc => &self.lxc,
        }
    }
}

/// All options of one kind of guest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    options: BTreeMap<String, OptionSpec>,
    /// What a GET shows and nobody can set, by name, with what it is.
    pub read_only: BTreeMap<String, String>,
}

impl Catalog {
    /// The option of this name; `net3` finds the entry of `net`, with its index checked.
    pub fn find(&self, name: &str) -> Option<&OptionSpec> {
        if let Some(spec) = self.options.get(name) {
            return spec.index.is_none().then_some(spec);
        }
        let (stem, index) = split_index(name)?;
        // Without making the name `net[n]`: this is asked for every option of every guest.
        let after = self.options.range::<str, _>((Bound::Excluded(stem), Bound::Unbounded));
        let spec = after
            .take_while(|(key, _)| key.starts_with(stem))
            .find_map(|(key, spec)| (key.get(stem.len()..) == Some("[n]")).then_some(spec))?;
        let range = spec.index?;
        (range[0] <= index && index <= range[1]).then_some(spec)
    }

    /// The table name and entry of an option written with or without its index: `net0`, `net`, `net[n]`.
    pub fn entry(&self, name: &str) -> Option<(&str, &OptionSpec)> {
        let indexed = match split_index(name) {
            Some((stem, _)) if self.find(name).is_some() => format!("{stem}[n]"),
            _ => format!("{}[n]", name.trim_end_matches("[n]")),
        };
        let entry = self.options.get_key_value(name).or_else(|| self.options.get_key_value(&indexed))?;
        Some((entry.0.as_str(), entry.1))
    }

    /// Every option by its table name (`cores`, `net[n]`), sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &OptionSpec)> {
        self.options.iter().map(|(name, spec)| (name.as_str(), spec))
    }

    /// The known name most like this one, for "did you mean".
    pub fn nearest(&self, name: &str) -> Option<String> {
        let index = split_index(name).map(|(_, index)| index);
        let candidates = self.options.keys().map(|key| match key.strip_suffix("[n]") {
            Some(stem) => format!("{stem}{}", index.unwrap_or(0)),
            None => key.clone(),
        });
        nearest(name, candidates)
    }
}

/// The candidate most like `name`, if any is like it at all.
pub fn nearest<S: AsRef<str>>(name: &str, candidates: impl IntoIterator<Item = S>) -> Option<String> {
    let name = name.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            (edit_distance(&name, &candidate.as_ref().to_ascii_lowercase()), candidate.as_ref().to_owned())
        })
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().max(name.len()) / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) between two short words.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

/// `net12` as `("net", 12)`; nothing where there is no index or it is not canonical.
pub fn split_index(name: &str) -> Option<(&str, u32)> {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = &name[stem.len()..];
    if stem.is_empty() || digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    digits.parse().ok().map(|index| (stem, index))
}

/// One option of a guest.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OptionSpec {
    /// The type and range of the whole value.
    pub value: ValueSpec,
    /// First and last index, for options such as `net[n]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<[u32; 2]>,
    /// Accepted when a guest is created.
    #[serde(default)]
    pub create: bool,
    /// Accepted when a guest is changed.
    #[serde(default)]
    pub update: bool,
    /// What else is known of it.
    #[serde(default)]
    pub facts: OptionFacts,
}

/// The type, range and default of a value or sub-key.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValueSpec {
    /// Type of the value.
    #[serde(rename = "type")]
    pub ty: ValueType,
    /// Least number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
    /// Greatest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<f64>,
    /// Least length in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_length: Option<usize>,
    /// Greatest length in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// The only texts allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<String>>,
    /// A regular expression for the whole text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// The name of one of Proxmox's checked formats, `dns-name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// What the text looks like, in our words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<String>,
    /// What an absent value means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// The sub-keys of a property string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub properties: Option<PropertyFormat>,
}

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueType {
    /// Text.
    #[default]
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `0` or `1`; more spellings inside property strings.
    Boolean,
}

/// The sub-keys of a property string.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub struct PropertyFormat {
    /// By name.
    pub keys: BTreeMap<String, SubKey>,
}

impl PropertyFormat {
    /// The sub-key whose name may be left out.
    pub fn default_key(&self) -> Option<&str> {
        self.keys.iter().find(|(_, key)| key.default_key).map(|(name, _)| name.as_str())
    }

    /// The name behind an alias (`volume` is `file`), or the name itself.
    pub fn canonical<'a>(&'a self, name: &'a str) -> &'a str {
        match self.keys.get(name) {
            Some(SubKey { alias: Some(target), key_alias: None, .. }) => target,
            _ => name,
        }
    }
}

/// One sub-key of a property string.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SubKey {
    /// Type and range.
    pub value: ValueSpec,
    /// May be missing.
    pub optional: bool,
    /// Its name may be left out.
    pub default_key: bool,
    /// Another name for this sub-key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The sub-key whose value this *name* is: `virtio=MAC` sets `model` to `virtio`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_alias: Option<String>,
    /// A sub-key that must be there too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requires: Option<String>,
    /// What else is known of it.
    pub facts: KeyFacts,
}

/// Where a value stands: the spellings of a boolean differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// A parameter of the API: booleans are `0` or `1`.
    Parameter,
    /// A sub-key of a property string: `on`, `yes`, `true` as well.
    SubKey,
}

/// Why a value is refused.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueError {
    /// Not of the type.
    Type(ValueType, String),
    /// Below the least number.
    Minimum(f64),
    /// Above the greatest number.
    Maximum(f64),
    /// Too short.
    MinLength(usize),
    /// Too long.
    MaxLength(usize),
    /// Not one of the texts allowed.
    Choice(String, Vec<String>),
    /// Does not match the pattern, which is given.
    Pattern(String),
    /// Not of the named format; Proxmox's own text for it.
    Format(String),
    /// The property string cannot be read.
    Property(Vec<property::PropertyError>),
}

impl ValueError {
    /// The text that Proxmox answers under the parameter's name, `option`.
    pub fn proxmox_text(&self, option: &str) -> String {
        match self {
            Self::Type(ty, got) => format!("type check ('{}') failed - got '{got}'", ty.name()),
            Self::Minimum(limit) => format!("value must have a minimum value of {limit}"),
            Self::Maximum(limit) => format!("value must have a maximum value of {limit}"),
            Self::MinLength(limit) => format!("value must be at least {limit} characters long"),
            Self::MaxLength(limit) => format!("value may only be {limit} characters long"),
            Self::Choice(got, allowed) => {
                format!("value '{got}' does not have a value in the enumeration '{}'", allowed.join(", "))
            }
            Self::Pattern(_) => "value does not match the regex pattern".to_owned(),
            Self::Format(text) if text.ends_with('\n') => format!("invalid format - {text}"),
            Self::Format(text) => format!("invalid format - {text}\n"),
            Self::Property(errors) => format!("invalid format - {}", property::Refusal::of(errors, option)),
        }
    }

    /// The reason in this program's words: what is allowed.
    pub fn reason(&self) -> String {
        match self {
            Self::Type(ValueType::Boolean, got) => format!("`{got}` is not a boolean; write true or false"),
            Self::Type(ValueType::Integer, got) => format!("`{got}` is not a whole number"),
            Self::Type(ValueType::Number, got) => format!("`{got}` is not a number"),
            Self::Type(ValueType::String, got) => format!("`{got}` is not text"),
            Self::Minimum(limit) => format!("the least value is {limit}"),
            Self::Maximum(limit) => format!("the greatest value is {limit}"),
            Self::MinLength(limit) => format!("at least {limit} characters are needed"),
            Self::MaxLength(limit) => format!("at most {limit} characters are allowed"),
            Self::Choice(got, allowed) => format!("`{got}` is not one of {}", allowed.join(", ")),
            Self::Pattern(pattern) => format!("does not match Proxmox's pattern {pattern}"),
            Self::Format(text) => text.trim_end().to_owned(),
            Self::Property(errors) => errors.iter().map(property::PropertyError::reason).collect::<Vec<_>>().join("; "),
        }
    }
}

impl ValueType {
    /// Proxmox's name of the type.
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

impl ValueSpec {
    /// What its numbers or lengths may be, in words: `1 to 4094`.
    pub fn range(&self) -> Option<String> {
        let ends = |least: Option<String>, most: Option<String>, unit: &str| match (least, most) {
            (Some(least), Some(most)) => Some(format!("{least} to {most}{unit}")),
            (Some(least), None) => Some(format!("{least}{unit} or more")),
            (None, Some(most)) => Some(format!("at most {most}{unit}")),
            (None, None) => None,
        };
        let number = |limit: Option<f64>| limit.map(|limit| limit.to_string());
        let length = |limit: Option<usize>| limit.map(|limit| limit.to_string());
        ends(number(self.minimum), number(self.maximum), "")
            .or_else(|| ends(length(self.min_length), length(self.max_length), " characters"))
    }

    /// Checks a text as Proxmox's schema does.
    ///
    /// # Errors
    ///
    /// The first rule that the text breaks; for a property string, every rule.
    pub fn check(&self, text: &str, spelling: Spelling) -> Result<(), ValueError> {
        let wrong_type = || ValueError::Type(self.ty, text.to_owned());
        match self.ty {
            ValueType::Boolean => {
                let valid = match spelling {
                    Spelling::Parameter => matches!(text, "0" | "1"),
                    Spelling::SubKey => value::parse_boolean(text).is_some(),
                };
                if !valid {
                    return Err(wrong_type());
                }
            }
            ValueType::Integer => {
                let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(wrong_type());
                }
                self.check_named(text)?;
                self.check_range(text.parse().map_err(|_| wrong_type())?)?;
            }
            ValueType::Number => {
                let plain = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
                let number = text.parse::<f64>().ok().filter(|n| plain && n.is_finite());
                self.check_range(number.ok_or_else(wrong_type)?)?;
            }
            ValueType::String => self.check_text(text)?,
        }
        match &self.choices {
            Some(choices) if !choices.iter().any(|choice| choice == text) => {
                Err(ValueError::Choice(text.to_owned(), choices.clone()))
            }
            _ => Ok(()),
        }
    }

    fn check_range(&self, number: f64) -> Result<(), ValueError> {
        if let Some(maximum) = self.maximum.filter(|limit| number > *limit) {
            return Err(ValueError::Maximum(maximum));
        }
        match self.minimum.filter(|limit| number < *limit) {
            Some(minimum) => Err(ValueError::Minimum(minimum)),
            None => Ok(()),
        }
    }

    fn check_named(&self, text: &str) -> Result<(), ValueError> {
        self.format.as_ref().map_or(Ok(()), |format| check_format(format, text).map_err(ValueError::Format))
    }

    /// The rules in Proxmox's order: of those that are broken, the first is told.
    fn check_text(&self, text: &str) -> Result<(), ValueError> {
        // A format with a reader of its own decides alone; its sub-keys are for writing it as a map.
        if self.format.is_some() {
            self.check_named(text)?;
        } else if let Some(format) = &self.properties {
            property::parse(text, format).map(drop).map_err(ValueError::Property)?;
        }
        if let Some(pattern) = &self.pattern
            && !matches_whole(pattern, text)
        {
            return Err(ValueError::Pattern(pattern.clone()));
        }
        let length = text.chars().count();
        if let Some(limit) = self.max_length.filter(|limit| length > *limit) {
            return Err(ValueError::MaxLength(limit));
        }
        match self.min_length.filter(|limit| length < *limit) {
            Some(limit) => Err(ValueError::MinLength(limit)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn indexed_options_are_found_within_their_range() {
        let vm = catalog(GuestKind::Qemu);
        assert!(vm.find("net0").is_some() && vm.find("net31").is_some() && vm.find("scsi30").is_some());
        for unknown in ["net", "net[n]", "net32", "net00", "scsi31", "bogus", ""] {
            assert!(vm.find(unknown).is_none(), "{unknown}");
        }
        assert!(vm.find("scsi31").is_none());
    }

    #[test]
    fn every_pattern_of_the_tables_compiles() {
        for kind in GuestKind::ALL {
            for (name, spec) in catalog(kind).iter() {
                let subkeys = spec.value.properties.iter().flat_map(|format| format.keys.values());
                for value in std::iter::once(&spec.value).chain(subkeys.map(|key| &key.value)) {
                    if let Some(pattern) = &value.pattern {
                        assert!(Regex::new(&format!("^(?:{pattern})$")).is_ok(), "{name}: {pattern}");
                    }
                }
            }
        }
    }

    #[test]
    fn values_are_checked_in_proxmox_words() {
        let vm = catalog(GuestKind::Qemu);
        let text = |name: &str, value: &str| {
            vm.find(name).unwrap().value.check(value, Spelling::Parameter).unwrap_err().proxmox_text(name)
        };
        assert_eq!(text("cores", "0"), "value must have a minimum value of 1");
        assert_eq!(text("cores", "x"), "type check ('integer') failed - got 'x'");
        assert_eq!(text("onboot", "yes"), "type check ('boolean') failed - got 'yes'");
        assert_eq!(text("name", "bad name!"), "invalid format - value does not look like a valid DNS name\n");
        assert_eq!(
            text("net0", "virtio,bridge=vmbr0,tag=5000"),
            "invalid format - format error\nnet0.tag: value must have a maximum value of 4094\n"
        );
    }

    #[test]
    fn near_names_are_offered() {
        let vm = catalog(GuestKind::Qemu);
        assert_eq!(vm.nearest("memroy").as_deref(), Some("memory"));
        assert_eq!(vm.nearest("ent0").as_deref(), Some("net0"));
        assert_eq!(vm.nearest("zzzzzz"), None);
    }
}
