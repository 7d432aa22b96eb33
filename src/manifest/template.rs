//! Templates in values: `prod-web-{{ '%02d' | format(n) }}`.
//!
//! Only expressions, evaluated by minijinja: no statements, no loops, no files. What an expression may cost is bounded:
//! its length, its work, and the size of its result.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::LazyLock;

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, ErrorKind, Expression, UndefinedBehavior, filters};

use super::bounded;
use super::source::{Key, Mark, Node, NodeKind};
use crate::pve::schema::nearest;

/// Longest expression, in bytes.
const MAX_EXPRESSION: usize = 256;
/// Most multiplications in one expression: each may make a text a thousand times as long.
const MAX_PRODUCTS: usize = 4;
/// Longest result, in bytes.
const MAX_RESULT: usize = 64 << 10;
/// Most values that one template may make.
const MAX_NODES: usize = 10_000;
/// Work that one expression may do.
const FUEL: u64 = 10_000;

/// The only filters there are.
const FILTERS: [&str; 13] = [
    "default", "first", "format", "int", "join", "last", "length", "lower", "replace", "split", "string", "trim",
    "upper",
];

const NO_VALUE: &str = "a part of this expression has no value";
const OR_DEFAULT: &str = "check its names; {{ x.y | default('z') }} is for a part that may be missing";

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(32);
    environment.add_filter("default", filters::default);
    environment.add_filter("first", filters::first);
    environment.add_filter("format", bounded::format);
    environment.add_filter("int", filters::int);
    environment.add_filter("join", bounded::join);
    environment.add_filter("last", filters::last);
    environment.add_filter("length", filters::length);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("replace", bounded::replace);
    environment.add_filter("split", bounded::split);
    environment.add_filter("string", filters::string);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("upper", filters::upper);
    environment
});

/// The variables that a template can use.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    values: BTreeMap<String, Value>,
    /// Declared without a value.
    empty: Vec<String>,
    root: Value,
}

impl Scope {
    /// Makes a scope of variables; those that are null have no value yet.
    pub fn new(values: BTreeMap<String, Value>) -> Self {
        let empty = values.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.clone()).collect();
        let root = Value::from(values.clone());
        Self { values, empty, root }
    }

    /// The same with one more variable.
    pub fn with(&self, name: &str, value: Value) -> Self {
        let mut values = self.values.clone();
        values.insert(name.to_owned(), value);
        Self::new(values)
    }

    /// True where the variable is declared.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The names declared.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

/// What is wrong with a template, and which characters of its text are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub message: String,
    pub hint: Option<String>,
    pub at: usize,
    pub length: usize,
}

enum Piece {
    Text(String),
    Expression { expression: Expression<'static, 'static>, names: Vec<String>, at: usize, length: usize },
}

/// Templates that were compiled once.
#[derive(Default)]
pub(super) struct Renderer {
    compiled: HashMap<String, Rc<Result<Vec<Piece>, Trouble>>>,
}

/// True for text that holds a template.
pub(super) fn is_template(text: &str) -> bool {
    text.contains("{{")
}

/// True for a value with a template anywhere in it.
pub(super) fn holds_template(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Null | NodeKind::Refused => false,
        NodeKind::Scalar { text, .. } => is_template(text),
        NodeKind::List(items) => items.iter().any(holds_template),
        NodeKind::Map(entries) => entries.iter().any(|(_, node)| holds_template(node)),
    }
}

impl Renderer {
    /// The value with its templates replaced.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them, each with its place.
    pub fn render(&mut self, node: &Node, scope: &Scope, seen: &mut Vec<Mark>) -> Result<Node, Vec<(Trouble, Mark)>> {
        let mut troubles = Vec::new();
        let rendered = self.node(node, scope, seen, &mut troubles);
        if troubles.is_empty() { Ok(rendered) } else { Err(troubles) }
    }

    fn node(&mut self, node: &Node, scope: &Scope, seen: &mut Vec<Mark>, troubles: &mut Vec<(Trouble, Mark)>) -> Node {
        let kind = match &node.kind {
            NodeKind::Scalar { text, .. } if is_template(text) => {
                seen.push(node.mark.clone());
                match self.text(text, scope).and_then(|value| to_node(&value, &node.mark, &mut 0)) {
                    Ok(made) => made.kind,
                    Err(trouble) => {
                        let mark = trouble_mark(&node.mark, text, &trouble);
                        troubles.push((trouble, mark));
                        NodeKind::Refused
                    }
                }
            }
            NodeKind::List(items) => {
                NodeKind::List(items.iter().map(|item| self.node(item, scope, seen, troubles)).collect())
            }
            NodeKind::Map(entries) => NodeKind::Map(
                entries.iter().map(|(key, node)| (key.clone(), self.node(node, scope, seen, troubles))).collect(),
            ),
            other => other.clone(),
        };
        Node { kind, mark: node.mark.clone() }
    }

    /// One text: the value itself where it is one whole template, else text.
    fn text(&mut self, text: &str, scope: &Scope) -> Result<Value, Trouble> {
        let compiled = match self.compiled.get(text) {
            Some(compiled) => compiled.clone(),
            None => {
                let compiled = Rc::new(compile(text));
                self.compiled.insert(text.to_owned(), compiled.clone());
                compiled
            }
        };
        let pieces = compiled.as_ref().as_ref().map_err(Clone::clone)?;
        if let [Piece::Expression { expression, names, at, length }] = pieces.as_slice() {
            return evaluate(expression, names, scope, (*at, *length));
        }
        let mut rendered = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => rendered.push_str(text),
                Piece::Expression { expression, names, at, length } => {
                    let value = evaluate(expression, names, scope, (*at, *length))?;
                    let wrong = |message: &str, hint: &str| Trouble {
                        message: message.to_owned(),
                        hint: Some(hint.to_owned()),
                        at: *at,
                        length: *length,
                    };
                    match value.kind() {
                        ValueKind::String | ValueKind::Number | ValueKind::Bool => {
                            rendered.push_str(&written(&value));
                        }
                        ValueKind::None => {
                            return Err(wrong("there is no value here", "`none` can only be the whole of a value"));
                        }
                        _ => {
                            return Err(wrong(
                                "a list or map cannot stand within text",
                                "join it: {{ x | join(',') }}",
                            ));
                        }
                    }
                }
            }
            if rendered.len() > MAX_RESULT {
                return Err(too_long(text));
            }
        }
        Ok(Value::from(rendered))
    }
}

fn too_long(text: &str) -> Trouble {
    let message = format!("the template makes more than {} KiB", MAX_RESULT >> 10);
    Trouble { message, hint: None, at: 0, length: text.chars().count() }
}

/// Where in the file a template's trouble is: exact where the text stands in it as it is.
fn trouble_mark(mark: &Mark, text: &str, trouble: &Trouble) -> Mark {
    let length = text.chars().count();
    match mark.length() as usize {
        written if text.contains('\n') || written < length => mark.clone(),
        written if written == length => mark.part(trouble.at, trouble.length),
        written if written == length + 2 => mark.part(trouble.at + 1, trouble.length),
        _ => mark.clone(),
    }
}

fn compile(text: &str) -> Result<Vec<Piece>, Trouble> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        if start > 0 {
            pieces.push(Piece::Text(rest[..start].to_owned()));
        }
        let at = text[..text.len() - rest.len() + start].chars().count();
        let inner = &rest[start + 2..];
        let trouble = |message: String, hint: &str, length: usize| Trouble {
            message,
            hint: (!hint.is_empty()).then(|| hint.to_owned()),
            at,
            length,
        };
        let Some(end) = end_of_expression(inner) else {
            let length = rest[start..].chars().count();
            let hint = "close it; a literal `{{` is written {{ '{{' }}";
            return Err(trouble("this template is not closed by `}}`".to_owned(), hint, length));
        };
        let (source, whole) = (inner[..end].trim(), &rest[start..start + end + 4]);
        let length = whole.chars().count();
        if source.is_empty() {
            return Err(trouble("this template is empty".to_owned(), "write a variable or an expression", length));
        }
        if source.len() > MAX_EXPRESSION {
            let message = format!("an expression has at most {MAX_EXPRESSION} characters");
            return Err(trouble(message, "", length));
        }
        if source.matches('*').count() > MAX_PRODUCTS {
            let message = format!("an expression has at most {MAX_PRODUCTS} multiplications");
            return Err(trouble(message, "", length));
        }
        match ENVIRONMENT.compile_expression_owned(source.to_owned()) {
            Ok(expression) => {
                let mut names: Vec<String> = expression.undeclared_variables(false).into_iter().collect();
                names.sort();
                pieces.push(Piece::Expression { expression, names, at, length });
            }
            Err(error) => {
                let why = error.detail().unwrap_or("it is no expression").to_owned();
                let hint = "such as {{ n }}, {{ 10 + n }} or {{ '%02d' | format(n) }}";
                return Err(trouble(format!("this template cannot be read: {why}"), hint, length));
            }
        }
        rest = &inner[end + 2..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

/// Where the `}}` stands that ends an expression: not within quotes or a map.
fn end_of_expression(text: &str) -> Option<usize> {
    let mut quote: Option<char> = None;
    let mut escaped = false;
    let mut depth = 0_usize;
    for (position, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None => match c {
                '\'' | '"' => quote = Some(c),
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                '}' if text[position..].starts_with("}}") => return Some(position),
                _ => {}
            },
        }
    }
    None
}

fn evaluate(
    expression: &Expression<'_, '_>,
    names: &[String],
    scope: &Scope,
    (at, length): (usize, usize),
) -> Result<Value, Trouble> {
    let trouble = |message: String, hint: Option<String>| Trouble { message, hint, at, length };
    if let Some(name) = names.iter().find(|name| scope.empty.contains(name)) {
        let hint = format!("give it: --var {name}=…");
        return Err(trouble(format!("the variable `{name}` has no value"), Some(hint)));
    }
    if let Some(name) = names.iter().find(|name| !scope.has(name)) {
        let hint = match nearest(name, scope.names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if scope.names().next().is_none() => "define it under `vars:`, or by the guest's `each`".to_owned(),
            None => format!("known here: {}", scope.names().collect::<Vec<_>>().join(", ")),
        };
        return Err(trouble(format!("there is no variable `{name}`"), Some(hint)));
    }
    let value = expression.eval(scope.root.clone()).map_err(|error| {
        let filters = format!("the filters are {}", FILTERS.join(", "));
        match error.kind() {
            ErrorKind::UnknownFilter => trouble("there is no such filter".to_owned(), Some(filters)),
            ErrorKind::UnknownFunction | ErrorKind::UnknownMethod | ErrorKind::UnknownTest => {
                trouble("templates have no functions".to_owned(), Some(filters))
            }
            ErrorKind::OutOfFuel => trouble("this expression takes too long".to_owned(), None),
            ErrorKind::UndefinedError => trouble(NO_VALUE.to_owned(), Some(OR_DEFAULT.to_owned())),
            _ => {
                let why = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
                trouble(format!("this template has no value: {why}"), None)
            }
        }
    })?;
    if value.is_undefined() {
        return Err(trouble(NO_VALUE.to_owned(), Some(OR_DEFAULT.to_owned())));
    }
    if value.as_str().is_some_and(|text| text.len() > MAX_RESULT) {
        return Err(trouble(format!("the template makes more than {} KiB", MAX_RESULT >> 10), None));
    }
    Ok(value)
}

/// A single value as it is written: booleans as in YAML.
fn written(value: &Value) -> String {
    match value.kind() {
        ValueKind::Bool => value.is_true().to_string(),
        _ => value.to_string(),
    }
}

/// A value as if it had been written where the template stands.
fn to_node(value: &Value, mark: &Mark, made: &mut usize) -> Result<Node, Trouble> {
    *made += 1;
    let trouble =
        |message: &str| Trouble { message: message.to_owned(), hint: None, at: 0, length: mark.length() as usize };
    if *made > MAX_NODES {
        return Err(trouble("the template makes too many values"));
    }
    let items =
        |value: &Value| value.try_iter().map_err(|_| trouble("this template makes no value that can be written"));
    let kind = match value.kind() {
        ValueKind::None => NodeKind::Null,
        ValueKind::String => NodeKind::Scalar { text: value.to_string(), plain: false },
        ValueKind::Bool | ValueKind::Number => NodeKind::Scalar { text: written(value), plain: true },
        ValueKind::Seq | ValueKind::Iterable => {
            let mut list = Vec::new();
            for item in items(value)? {
                list.push(to_node(&item, mark, made)?);
            }
            NodeKind::List(list)
        }
        ValueKind::Map => {
            let mut entries = Vec::new();
            for key in items(value)? {
                let inner = value.get_item(&key).unwrap_or_default();
                let key = Key { text: key.to_string(), mark: mark.clone() };
                entries.push((key, to_node(&inner, mark, made)?));
            }
            NodeKind::Map(entries)
        }
        _ => return Err(trouble("this template makes no value that can be written")),
    };
    Ok(Node { kind, mark: mark.clone() })
}

/// What is written under a variable, as templates see it.
///
/// Whole numbers and `true` and `false` keep their type where they stand without quotes. All else is text, to the
/// letter: `1.10` stays `1.10` and `no` stays `no`.
pub(super) fn to_value(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Null | NodeKind::Refused => Value::from(()),
        NodeKind::Scalar { text, plain: true } => typed(text),
        NodeKind::Scalar { text, .. } => Value::from(text.as_str()),
        NodeKind::List(items) => items.iter().map(to_value).collect(),
        NodeKind::Map(entries) => {
            entries.iter().map(|(key, node)| (key.text.clone(), to_value(node))).collect::<BTreeMap<_, _>>().into()
        }
    }
}

/// Text without quotes.
pub(super) fn typed(text: &str) -> Value {
    let number = text.parse::<i64>().ok().filter(|number| number.to_string() == text);
    match (number, text) {
        (Some(number), _) => Value::from(number),
        (None, "true") => Value::from(true),
        (None, "false") => Value::from(false),
        (None, _) => Value::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::source::parse;

    fn scope() -> Scope {
        let node =
            parse("f", "n: 3\nversion: 1.10\nflag: true\ntags: [a, b]\nh: {ip: 10.0.0.1, port: 22}\nunset:\n").unwrap();
        let NodeKind::Map(entries) = &node.kind else { panic!("no map") };
        Scope::new(entries.iter().map(|(key, node)| (key.text.clone(), to_value(node))).collect())
    }

    fn render(text: &str) -> Result<String, (String, String, usize, usize)> {
        let node = Node { kind: NodeKind::Scalar { text: text.to_owned(), plain: false }, mark: Mark::start("f") };
        let mut seen = Vec::new();
        match Renderer::default().render(&node, &scope(), &mut seen) {
            Ok(node) => Ok(match node.kind {
                NodeKind::Scalar { text, plain } => format!("{}{text}", if plain { "" } else { "text " }),
                NodeKind::Null => "null".to_owned(),
                NodeKind::List(items) => format!("{} items", items.len()),
                NodeKind::Map(entries) => format!("{} entries", entries.len()),
                NodeKind::Refused => "refused".to_owned(),
            }),
            Err(mut troubles) => {
                let (trouble, _) = troubles.remove(0);
                Err((trouble.message, trouble.hint.unwrap_or_default(), trouble.at, trouble.length))
            }
        }
    }

    #[test]
    fn expressions_have_values() {
        for (text, expected) in [
            ("{{ n }}", "3"),
            ("{{ n + 1 }}", "4"),
            ("{{ 1100 + n }}", "1103"),
            ("{{ n * 2 - 1 }}", "5"),
            ("{{ 7 // 2 }}", "3"),
            ("{{ n % 250 + 1000 }}", "1003"),
            ("{{ '%05.1f%%' | format(n) }}", "text 003.0%"),
            ("{{ '%(a)s-%(b)03d' | format(a='x', b=n) }}", "text x-003"),
            ("{{ 'a-b' | replace('-', '+') }}", "text a+b"),
            ("{{ 'a,b' | split(',') | last }}", "text b"),
            ("{{ flag }}", "true"),
            ("{{ version }}", "text 1.10"),
            ("prod-web-{{ '%02d' | format(n) }}", "text prod-web-03"),
            ("10.0.20.{{ 10 + n }}/24", "text 10.0.20.13/24"),
            ("{{ h.ip }}:{{ h.port }}", "text 10.0.0.1:22"),
            ("{{ tags }}", "2 items"),
            ("{{ h }}", "2 entries"),
            ("{{ tags | join('+') | upper }}", "text A+B"),
            ("{{ 'a' if n > 2 else 'b' }}", "text a"),
            ("{{ none }}", "null"),
            ("{{ h.name | default('x') }}", "text x"),
            ("{{ '{{' }} and {{ '}}' }}", "text {{ and }}"),
            ("{{ {'a': 1}.a }}", "1"),
            ("{{ \"it's\" }}", "text it's"),
        ] {
            assert_eq!(render(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_has_no_value_is_said_at_its_place() {
        for (text, message, hint, at, length) in [
            ("a {{ m }}", "there is no variable `m`", "did you mean `h`?", 2, 7),
            ("{{ nodes }}", "there is no variable `nodes`", "known here: ", 0, 11),
            ("{{ unset }}", "the variable `unset` has no value", "give it: --var unset=…", 0, 11),
            ("{{ h.name }}", "a part of this expression has no value", "", 0, 12),
            ("{{ n", "this template is not closed by `}}`", "close it", 0, 4),
            ("{{ '}}", "this template is not closed by `}}`", "close it", 0, 6),
            ("{{ }}", "this template is empty", "write", 0, 5),
            ("{{ n + }}", "this template cannot be read: ", "such as", 0, 9),
            ("{{ n | shout }}", "there is no such filter", "the filters are", 0, 15),
            ("{{ range(3) }}", "there is no variable `range`", "known", 0, 14),
            ("{{ n.foo() }}", "templates have no functions", "", 0, 13),
            ("a {{ tags }}", "a list or map cannot stand within text", "join it", 2, 10),
            ("a {{ none }}", "there is no value here", "`none`", 2, 10),
            ("{{ 'a' * 99999999 }}", "the template makes more than 64 KiB", "", 0, 20),
            ("{{ 'a' * 9 * 9 * 9 * 9 * 9 }}", "an expression has at most 4 multiplications", "", 0, 29),
            ("{{ '%09999d' | format(n) }}", "this template has no value: a width", "", 0, 27),
            ("{{ ('%' ~ 99999999999999999999 ~ 'd') | format(n) }}", "this template has no value: a width", "", 0, 52),
            ("{{ '%*d' | format(99999999999, n) }}", "this template has no value: a width", "", 0, 36),
            ("{{ '%(n)9999d' | format(n=3) }}", "this template has no value: a width", "", 0, 31),
            ("{{ ('a' * 99999) | replace('a', 'b' * 99999) }}", "this template has no value: the text", "", 0, 47),
            ("{{ 'abc' | replace('', 'b' * 999999) }}", "this template has no value: the text", "", 0, 39),
            ("{{ ([0] * 9999) | join('b' * 9999) }}", "this template has no value: the text", "", 0, 37),
            ("{{ ('a,' * 9999999) | split(',') }}", "this template has no value: the text", "", 0, 35),
            ("{{ [0] * 99999 }}", "the template makes too many values", "", 0, 1),
            ("{{ n / 0 }}", "this template has no value: ", "", 0, 11),
        ] {
            let (said, help, position, long) = render(text).unwrap_err();
            assert!(said.starts_with(message), "{text}: {said}");
            assert!(help.starts_with(hint), "{text}: {help}");
            assert_eq!((position, long), (at, length), "{text}");
        }
        assert!(render(&format!("{{{{ {} }}}}", "n+".repeat(200))).is_err());
    }
}
