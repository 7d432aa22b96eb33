//! The table of calls: every call of Proxmox's API with its parameters, who may make it, and where it runs.
//!
//! Data in `schemas/pve/calls-*.json`, derived from the API description that any node serves
//! (`examples/pve_tables.rs` makes them), for release 8 (8.4) and release 9. What a guest's options are is in
//! [`schema`](super::schema); the calls that take them refer to those.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::http::percent_decode;
use super::schema::{ValueSpec, split_index};
use super::value::GuestKind;

/// The calls of Proxmox VE 9, read once.
static CALLS_9: LazyLock<Calls> = LazyLock::new(|| Calls::read(include_str!("../../schemas/pve/calls-9.json")));

/// The calls of Proxmox VE 8.4, read once.
static CALLS_8: LazyLock<Calls> = LazyLock::new(|| Calls::read(include_str!("../../schemas/pve/calls-8.json")));

/// The call of a release by its path as the table has it: `call(9, "GET", "/nodes/{node}/qemu/{vmid}/config")`.
#[must_use]
pub fn call(release: u32, method: &str, path: &str) -> Option<&'static CallSpec> {
    let calls = calls_of(release);
    let node =
        path.split('/').filter(|part| !part.is_empty()).try_fold(&calls.root, |node, part| match &node.variable {
            Some((name, below)) => (part.strip_prefix('{')?.strip_suffix('}')? == name).then_some(&**below),
            None => node.folders.get(part),
        })?;
    node.methods.get(method).map(|index| &calls.list[*index])
}

/// The call that a release carries out for a path as it was requested, not decoded, without the query.
///
/// A path is decoded before it is taken apart, and empty parts do not count, as on a real server.
#[must_use]
pub fn find(release: u32, method: &str, path: &str) -> Option<Found> {
    let calls = calls_of(release);
    let decoded = percent_decode(path);
    let mut parts = decoded.split('/').filter(|part| !part.is_empty());
    let (mut node, mut variables) = (&calls.root, BTreeMap::new());
    while let Some(part) = parts.next() {
        node = match &node.variable {
            Some((name, below)) => {
                let mut value = part.to_owned();
                if TAKES_THE_REST.contains(&name.as_str()) {
                    for more in parts.by_ref() {
                        value.push('/');
                        value.push_str(more);
                    }
                }
                if value.contains(char::is_whitespace) {
                    return None;
                }
                variables.insert(name.clone(), value);
                below
            }
            None => node.folders.get(part)?,
        };
    }
    node.methods.get(method).map(|index| Found { call: &calls.list[*index], variables })
}

/// Every call of a release, by path.
pub fn all(release: u32) -> impl Iterator<Item = &'static CallSpec> {
    calls_of(release).list.iter()
}

fn calls_of(release: u32) -> &'static Calls {
    if release < 9 { &CALLS_8 } else { &CALLS_9 }
}

/// Variables of a path whose values hold slashes: a volume's name, a network.
///
/// The description does not say it; where Proxmox registers these calls it gives them the rest of the path.
const TAKES_THE_REST: [&str; 2] = ["volume", "cidr"];

/// A call that a path was found to mean.
#[derive(Debug, Clone)]
pub struct Found {
    /// What the table says of it.
    pub call: &'static CallSpec,
    /// The variables of the path, decoded.
    pub variables: BTreeMap<String, String>,
}

/// A call.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallSpec {
    /// `GET`, `POST`, `PUT` or `DELETE`.
    #[serde(skip)]
    pub method: String,
    /// The path below `/api2/json`, with its variables: `/nodes/{node}/qemu/{vmid}/config`.
    #[serde(skip)]
    pub path: String,
    /// Its parameters, the path's variables among them; `link[n]` stands for numbered ones.
    pub parameters: BTreeMap<String, Parameter>,
    /// The guest's options that it takes besides.
    pub options: Option<OptionsOf>,
    /// Options that need a parameter, by name.
    pub requires: BTreeMap<String, String>,
    /// It takes parameters that the table does not know.
    pub open: bool,
    /// Who may make it; nobody but `root@pam` where the table does not say.
    pub permission: Option<Rule>,
    /// The parameter that names the node that it runs on; any node does where there is none.
    pub proxyto: Option<String>,
    /// It runs with the rights of the system's root.
    pub protected: bool,
    /// It needs a ticket: a token is refused.
    pub no_token: bool,
}

impl CallSpec {
    /// The parameter of this name; `link0` finds `link[n]`, with its index checked.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        if let Some(parameter) = self.parameters.get(name) {
            return parameter.index.is_none().then_some(parameter);
        }
        let (stem, index) = split_index(name)?;
        let parameter = self.parameters.get(&format!("{stem}[n]"))?;
        let range = parameter.index?;
        (range[0] <= index && index <= range[1]).then_some(parameter)
    }
}

/// A parameter of a call.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameter {
    /// Type and range; of one item, where it is a list.
    pub value: ValueSpec,
    /// It is a list of values.
    pub list: bool,
    /// It may be missing.
    pub optional: bool,
    /// A parameter that must be there too.
    pub requires: Option<String>,
    /// First and last index, for parameters such as `link[n]`.
    pub index: Option<[u32; 2]>,
    /// The parameter whose value says which of [`types`](Self::types) or [`forms`](Self::forms) counts.
    pub type_property: Option<String>,
    /// The values of that parameter with which this one goes.
    pub types: Vec<String>,
    /// What it may be, by type, in place of one value.
    pub forms: Vec<Parameter>,
}

/// The options of a guest that a call takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptionsOf {
    /// Those for making a guest.
    Create(GuestKind),
    /// Those for changing one.
    Update(GuestKind),
}

/// Who may make a call. A path's `{name}` is the parameter of that name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Anybody, without a credential.
    World,
    /// Whoever has a credential; the call itself looks closer.
    All,
    /// Who holds privileges on a path.
    Perm(Perm),
    /// Who fulfils one of these.
    Or(Vec<Rule>),
    /// Who fulfils all of these.
    And(Vec<Rule>),
    /// Who has to do with the user that the parameter `userid` names.
    UseridParam(UseridParam),
    /// Who holds privileges on a group of the user that `userid` names.
    UseridGroup(UseridGroup),
    /// Who may change permissions on the path.
    PermModify(String),
}

/// Privileges on a path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Perm {
    /// `/vms/{vmid}`.
    pub path: String,
    /// All of them are needed, or one.
    pub privileges: Vec<String>,
    /// One is enough.
    #[serde(default)]
    pub any: bool,
    /// It counts only where this parameter is given.
    #[serde(default)]
    pub require_param: Option<String>,
}

/// A relation to the user that the parameter `userid` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum UseridParam {
    /// The caller is that user.
    #[serde(rename = "self")]
    Itself,
    /// The caller may make users in that user's realm.
    #[serde(rename = "Realm.AllocateUser")]
    AllocateUser,
}

/// Privileges, any of which is enough, on a group of the user that the parameter `userid` names.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UseridGroup {
    /// Any of these.
    pub privileges: Vec<String>,
    /// The groups that the parameter `groups` names count as well.
    #[serde(default)]
    pub groups_param: Option<GroupsParam>,
}

/// What the parameter `groups` is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupsParam {
    /// The groups of a user that is made.
    Create,
    /// The groups that a user gets.
    Update,
}

/// The calls of a release: in a row, and as the tree of their paths.
#[derive(Debug)]
struct Calls {
    list: Vec<CallSpec>,
    root: Node,
}

/// A place in the tree. Below it is a variable or fixed names, never both.
#[derive(Debug, Default)]
struct Node {
    folders: BTreeMap<String, Node>,
    variable: Option<(String, Box<Node>)>,
    methods: BTreeMap<String, usize>,
}

impl Calls {
    fn read(text: &str) -> Self {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            #[expect(dead_code, reason = "says for people which release it was made from")]
            version: String,
            calls: BTreeMap<String, CallSpec>,
        }
        #[expect(clippy::expect_used, reason = "the file is part of the program, and a test reads it")]
        let table: Table = serde_json::from_str(text).expect("the table of calls is well formed");
        let mut list: Vec<CallSpec> = table
            .calls
            .into_iter()
            .filter_map(|(name, call)| {
                let (method, path) = name.split_once(' ')?;
                Some(CallSpec { method: method.to_owned(), path: path.to_owned(), ..call })
            })
            .collect();
        // The description is of what is below the root, and leaves out the root itself.
        list.push(CallSpec {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            permission: Some(Rule::All),
            ..CallSpec::default()
        });
        list.sort_by(|a, b| (&a.path, &a.method).cmp(&(&b.path, &b.method)));
        let mut root = Node::default();
        for (index, call) in list.iter().enumerate() {
            let mut node = &mut root;
            for part in call.path.split('/').filter(|part| !part.is_empty()) {
                node = match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                    Some(name) => &mut node.variable.get_or_insert_with(|| (name.to_owned(), Box::default())).1,
                    None => node.folders.entry(part.to_owned()).or_default(),
                };
            }
            node.methods.insert(call.method.clone(), index);
        }
        Self { list, root }
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::whole;
    use super::*;

    fn found(path: &str) -> Option<(&'static str, Vec<String>)> {
        find(9, "GET", path).map(|found| (found.call.path.as_str(), found.variables.into_values().collect()))
    }

    #[test]
    fn paths_are_taken_apart_as_proxmox_does() {
        assert_eq!(found("/version"), Some(("/version", vec![])));
        assert_eq!(found("//nodes//pve1/"), Some(("/nodes/{node}", vec!["pve1".to_owned()])));
        let volume = "/nodes/{node}/storage/{storage}/content/{volume}";
        let parts = |volume: &str| vec!["pve1".to_owned(), "local".to_owned(), volume.to_owned()];
        assert_eq!(
            found("/nodes/pve1/storage/local/content/local:iso/tiny.iso"),
            Some((volume, parts("local:iso/tiny.iso")))
        );
        assert_eq!(found("/nodes/pve1/storage/local/content/local%3Aiso%2Fa"), Some((volume, parts("local:iso/a"))));
        assert_eq!(
            found("/cluster/firewall/ipset/web/198.51.100.0/24"),
            Some(("/cluster/firewall/ipset/{name}/{cidr}", vec!["198.51.100.0/24".to_owned(), "web".to_owned()]))
        );
        for unknown in ["/nope", "/nodes/pve1/qemu/100/nope", "/version/x", "/nodes/a%20b", "/nodes/a/b"] {
            assert_eq!(found(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn every_call_is_found_by_its_own_path() {
        for release in [8, 9] {
            for spec in all(release) {
                let path = spec.path.replace(['{', '}'], "");
                let found = find(release, &spec.method, &path).map(|found| &found.call.path);
                assert_eq!(found, Some(&spec.path), "{} {path}", spec.method);
                let named = call(release, &spec.method, &spec.path).map(|call| (&call.method, &call.path));
                assert_eq!(named, Some((&spec.method, &spec.path)));
            }
        }
    }

    #[test]
    fn every_release_has_its_own_calls() {
        let has = |release, path| call(release, "GET", path).is_some();
        assert!(has(9, "/cluster/ha/rules") && !has(8, "/cluster/ha/rules"));
        assert!(all(8).count() > 600 && all(9).count() > all(8).count());
        let takes = |release, name| {
            call(release, "POST", "/cluster/ha/resources").is_some_and(|call| call.parameter(name).is_some())
        };
        assert!(takes(9, "failback") && !takes(8, "failback"));
    }

    #[test]
    fn checks_are_data() {
        let permission = |method, path| call(9, method, path).and_then(|call| call.permission.clone());
        assert_eq!(permission("GET", "/version"), Some(Rule::All));
        assert_eq!(permission("GET", "/access/domains"), Some(Rule::World));
        assert_eq!(permission("POST", "/nodes/{node}/execute"), None);
        let perm = |path: &str, privilege: &str, require_param: Option<&str>| {
            Rule::Perm(Perm {
                path: path.to_owned(),
                privileges: vec![privilege.to_owned()],
                any: false,
                require_param: require_param.map(str::to_owned),
            })
        };
        assert_eq!(
            permission("POST", "/nodes/{node}/qemu/{vmid}/clone"),
            Some(Rule::And(vec![
                perm("/vms/{vmid}", "VM.Clone", None),
                Rule::Or(vec![
                    perm("/vms/{newid}", "VM.Allocate", None),
                    perm("/pool/{pool}", "VM.Allocate", Some("pool"))
                ])
            ]))
        );
    }

    #[test]
    fn numbered_parameters_have_a_last_one() {
        let join = call(9, "POST", "/cluster/config/join").unwrap();
        let has = |name| join.parameter(name).is_some();
        assert!(has("link0") && has("link7") && has("nodeid"));
        assert!(!has("link8") && !has("link") && !has("link[n]"));
    }

    #[test]
    fn every_pattern_compiles() {
        fn check(spec: &CallSpec, value: &ValueSpec) {
            if let Some(pattern) = &value.pattern {
                assert!(whole(pattern).is_ok(), "{} {}: {pattern}", spec.method, spec.path);
            }
            for key in value.properties.iter().flat_map(|format| format.keys.values()) {
                check(spec, &key.value);
            }
        }
        for spec in all(8).chain(all(9)) {
            for parameter in spec.parameters.values() {
                check(spec, &parameter.value);
                parameter.forms.iter().for_each(|form| check(spec, &form.value));
            }
        }
    }

    #[test]
    fn what_takes_the_rest_of_a_path_does_so_everywhere() {
        for spec in all(8).chain(all(9)) {
            for name in TAKES_THE_REST {
                let at_end = spec.path.ends_with(&format!("/{{{name}}}"));
                assert!(at_end || !spec.path.contains(&format!("{{{name}}}")), "{}", spec.path);
            }
        }
    }
}
