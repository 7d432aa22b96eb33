//! Rules about where the HA manager runs what, since release 9.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Kind, Layout, Section, Sections, Values, below};
use crate::pve::value::split_list;
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::api::nothing;
use crate::sim::cluster::Cluster;
use crate::sim::route::Call;

static LAYOUT: Layout = Layout {
    file: "ha/rules.cfg",
    bare: false,
    kinds: &[
        Kind { name: "node-affinity", properties: "resources+ nodes+ strict# disable# comment" },
        Kind { name: "resource-affinity", properties: "resources+ affinity+ disable# comment" },
    ],
};

/// The resources, or the nodes with their priorities, in order and without repetition.
fn normalised(name: &str, value: &str) -> String {
    if name != "nodes" {
        return split_list(value).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",");
    }
    let shown = |(node, priority): (&str, u64)| match priority {
        0 => node.to_owned(),
        _ => format!("{node}:{priority}"),
    };
    nodes_of(value).into_iter().map(shown).collect::<Vec<_>>().join(",")
}

fn nodes_of(value: &str) -> BTreeMap<&str, u64> {
    let node = |entry| str::split_once(entry, ':').unwrap_or((entry, "0"));
    split_list(value).map(node).map(|(node, priority)| (node, priority.parse().unwrap_or(0))).collect()
}

fn resources(rule: &Section) -> BTreeSet<&str> {
    split_list(rule.get("resources").unwrap_or_default()).collect()
}

/// Why rules cannot hold together, by the id of the rule. All are about its resources.
type Errors = BTreeMap<String, Vec<String>>;

/// The checks in Proxmox's order: those of one type of rule, then those between the types.
fn infeasible(rules: &Sections, nodes: usize) -> Errors {
    let mut errors = Errors::new();
    let mut add = |rule: &Section, text: String| errors.entry(rule.id.clone()).or_default().push(text);
    let enabled = |kind: &str| -> Vec<&Section> {
        let mut list: Vec<&Section> =
            rules.list.iter().filter(|rule| rule.kind.name == kind && !rule.flag("disable")).collect();
        list.sort_by_key(|rule| &rule.id);
        list
    };
    let (located, related) = (enabled("node-affinity"), enabled("resource-affinity"));
    let with = |affinity: &str| -> Vec<&Section> {
        related.iter().copied().filter(|rule| rule.get("affinity") == Some(affinity)).collect()
    };
    let (positive, negative) = (groups(&with("positive")), with("negative"));
    let share = |a: &BTreeSet<&str>, b: &Section| !a.is_disjoint(&resources(b));

    for rule in &located {
        for sid in resources(rule) {
            if located.iter().filter(|other| resources(other).contains(sid)).count() > 1 {
                add(rule, format!("resource '{sid}' is already used in another node affinity rule"));
            }
        }
    }
    for rule in related.iter().filter(|rule| resources(rule).len() < 2) {
        add(rule, "rule is ineffective as there are less than two resources".to_owned());
    }
    for rule in negative.iter().filter(|rule| resources(rule).len() > nodes) {
        add(rule, "rule defines more resources than available nodes".to_owned());
    }
    for (together, of) in &positive {
        for apart in &negative {
            if resources(apart).intersection(together).count() >= 2 {
                let text =
                    |kind: &str| format!("rule shares two or more resources with a {kind} resource affinity rule");
                add(apart, text("positive"));
                for rule in of {
                    add(rule, text("negative"));
                }
            }
        }
    }
    for rule in &related {
        let paired: Vec<&&Section> = located.iter().filter(|other| share(&resources(rule), other)).collect();
        let many = |other: &&&Section| {
            nodes_of(other.get("nodes").unwrap_or_default()).into_values().collect::<BTreeSet<_>>().len() > 1
        };
        if paired.iter().any(many) {
            add(rule, "resources are in node affinity rules with multiple priorities".to_owned());
            for other in paired {
                let text = "resources are in a resource affinity rule and cannot be in a node affinity rule with \
                    multiple priorities";
                add(other, text.to_owned());
            }
        }
    }
    for (together, of) in &positive {
        let paired: Vec<&&Section> = located.iter().filter(|other| share(together, other)).collect();
        if paired.len() > 1 {
            for rule in of {
                add(rule, "resources are in multiple node affinity rules".to_owned());
            }
            for other in paired {
                let text = "at least one resource is in a positive resource affinity rule and there are other \
                    resources in at least one other node affinity rule already";
                add(other, text.to_owned());
            }
        }
    }
    for rule in &negative {
        let paired: Vec<&&Section> = located.iter().filter(|other| share(&resources(rule), other)).collect();
        let (mut bound, mut allowed) = (BTreeSet::new(), BTreeSet::new());
        for other in &paired {
            bound.extend(resources(rule).intersection(&resources(other)).map(|sid| (*sid).to_owned()));
            allowed.extend(nodes_of(other.get("nodes").unwrap_or_default()).into_keys());
        }
        if allowed.len() < bound.len() {
            let text = "two or more resources are restricted to less nodes than available to the resources";
            add(rule, text.to_owned());
            for other in paired {
                let text = "at least one resource is in a negative resource affinity rule and this rule would \
                    restrict these to less nodes than available to the resources";
                add(other, text.to_owned());
            }
        }
    }
    errors
}

/// Rules that share resources, joined: what must be together, and which rules say so.
fn groups<'a>(rules: &[&'a Section]) -> Vec<(BTreeSet<&'a str>, Vec<&'a Section>)> {
    let mut joined: Vec<(BTreeSet<&str>, Vec<&Section>)> = Vec::new();
    for rule in rules {
        let mut one = (resources(rule), vec![*rule]);
        let (touching, apart) = joined.into_iter().partition(|(set, _)| !set.is_disjoint(&one.0));
        joined = apart;
        for (set, of) in Vec::from_iter(touching) as Vec<(BTreeSet<&str>, Vec<&Section>)> {
            one.0.extend(set);
            one.1.extend(of);
        }
        joined.push(one);
    }
    joined
}

/// The nodes that the manager knows.
fn known_nodes(cluster: &Cluster) -> usize {
    if cluster.spec.ha_manager { cluster.spec.nodes.len() } else { 0 }
}

fn row(rules: &Sections, position: usize, errors: &Errors) -> Value {
    let rule = &rules.list[position];
    let mut row = rule.kind.json(&rule.values);
    row.insert("digest".to_owned(), json!(rules.digest()));
    row.insert("order".to_owned(), json!(position + 1));
    row.insert("rule".to_owned(), json!(rule.id));
    row.insert("type".to_owned(), json!(rule.kind.name));
    if let Some(errors) = errors.get(&rule.id) {
        row.insert("errors".to_owned(), json!({ "resources": errors }));
    }
    Value::Object(row)
}

/// `GET /cluster/ha/rules`.
pub(in crate::sim) fn list(cluster: &mut Cluster, call: &Call) -> Outcome {
    let rules = cluster.sections(&LAYOUT);
    let errors = infeasible(&rules, known_nodes(cluster));
    let wanted = |rule: &Section| {
        call.get("type").is_none_or(|kind| kind == rule.kind.name)
            && call.get("resource").is_none_or(|sid| resources(rule).contains(sid))
    };
    let positions = (0..rules.list.len()).filter(|position| wanted(&rules.list[*position]));
    Ok(Answer::from(positions.map(|position| row(&rules, position, &errors)).collect::<Value>()))
}

/// `GET /cluster/ha/rules/{rule}`.
pub(in crate::sim) fn read(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (rules, id) = (cluster.sections(&LAYOUT), call.get("rule").unwrap_or_default());
    let position = rules.list.iter().position(|rule| rule.id == id);
    let position = position.ok_or_else(|| Failure::die(format!("no such ha rule '{id}'")))?;
    Ok(Answer::from(row(&rules, position, &infeasible(&rules, known_nodes(cluster)))))
}

/// The properties among the parameters, in the form in which they are kept.
fn given(call: &Call) -> Values {
    let own = |name: &str, value: &str| match name {
        "rule" | "type" | "digest" | "delete" => false,
        "disable" => value == "1",
        _ => true,
    };
    let form = |name: &str, value: &str| match name {
        "resources" | "nodes" => normalised(name, value),
        _ => value.to_owned(),
    };
    let pairs = call.params.iter().filter(|(name, value)| own(name, value));
    pairs.map(|(name, value)| (name.clone(), form(name, value))).collect()
}

/// The resources must be managed, the nodes must be there.
fn check_members(cluster: &Cluster, values: &Values) -> Result<(), Failure> {
    let refuse = |text: String| Err(Failure::die(text));
    if let Some(resources) = values.get("resources") {
        if resources.is_empty() {
            return refuse("no resources were specified".to_owned());
        }
        let unmanaged: Vec<&str> = resources.split(',').filter(|sid| !cluster.ha.contains_key(*sid)).collect();
        if !unmanaged.is_empty() {
            return refuse(format!("cannot use unmanaged resource(s) {}.", unmanaged.join(", ")));
        }
    }
    if let Some(nodes) = values.get("nodes") {
        let nodes = nodes_of(nodes);
        if nodes.is_empty() {
            return refuse("no nodes were specified".to_owned());
        }
        let known = |node: &str| cluster.spec.nodes.iter().any(|spec| spec.name == node);
        let unknown: Vec<&str> = nodes.into_keys().filter(|node| !known(node)).collect();
        if !unknown.is_empty() {
            return refuse(format!("cannot use non-existent node(s) {}.", unknown.join(", ")));
        }
    }
    Ok(())
}

fn check_feasible(cluster: &Cluster, rules: &Sections, id: &str) -> Result<(), Failure> {
    match infeasible(rules, known_nodes(cluster)).get(id) {
        Some(errors) => Err(Failure::die(format!("400 Rule '{id}' is invalid.\nresources: {}", errors.join(", ")))),
        None => Ok(()),
    }
}

/// `POST /cluster/ha/rules`.
pub(in crate::sim) fn create(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (id, kind) = (call.get("rule").unwrap_or_default(), LAYOUT.kind(call.get("type").unwrap_or_default())?);
    let given = given(call);
    kind.check(&given, true)?;
    insert(cluster, id, kind, given).map_err(|failure| below("create ha rule failed", failure))
}

fn insert(cluster: &mut Cluster, id: &str, kind: &'static Kind, given: Values) -> Outcome {
    let mut rules = cluster.sections(&LAYOUT);
    if rules.get(id).is_some() {
        return Err(Failure::die(format!("HA rule '{id}' already defined")));
    }
    check_members(cluster, &given)?;
    // The number of a new rule is one more than the lowest, and so it comes second.
    let position = rules.list.len().min(2);
    rules.list.insert(position, Section { id: id.to_owned(), kind, values: given });
    check_feasible(cluster, &rules, id)?;
    cluster.save(&rules);
    Ok(nothing())
}

/// `PUT /cluster/ha/rules/{rule}`.
pub(in crate::sim) fn update(cluster: &mut Cluster, call: &Call) -> Outcome {
    change(cluster, call).map_err(|failure| below("update HA rules failed", failure))
}

fn change(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (mut rules, id) = (cluster.sections(&LAYOUT), call.get("rule").unwrap_or_default());
    rules.check_digest(call.get("digest"))?;
    let Some(rule) = rules.get_mut(id) else {
        return Err(Failure::die(format!("HA rule '{id}' does not exist")));
    };
    let given = given(call);
    rule.kind.check(&given, false)?;
    check_members(cluster, &given)?;
    Sections::change(rule, given, call.get("delete"))?;
    check_feasible(cluster, &rules, id)?;
    cluster.save(&rules);
    Ok(nothing())
}

/// `DELETE /cluster/ha/rules/{rule}`; one that is not there is gone already.
pub(in crate::sim) fn delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    let mut rules = cluster.sections(&LAYOUT);
    rules.remove(call.get("rule").unwrap_or_default());
    cluster.save(&rules);
    Ok(nothing())
}

/// Takes a resource out of every rule; a rule without any goes.
pub(in crate::sim) fn purge(cluster: &mut Cluster, sid: &str) {
    let mut rules = cluster.sections(&LAYOUT);
    for rule in &mut rules.list {
        let kept: Vec<&str> = rule.values.get("resources").into_iter().flat_map(|list| split_list(list)).collect();
        let kept = kept.into_iter().filter(|other| *other != sid).collect::<Vec<_>>().join(",");
        rule.values.insert("resources".to_owned(), kept);
    }
    rules.list.retain(|rule| rule.get("resources").is_some_and(|list| !list.is_empty()));
    cluster.save(&rules);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> String {
        let found = infeasible(&Sections::parse(&LAYOUT, text), 2);
        found.into_iter().map(|(id, list)| format!("{id}: {}", list.join("; "))).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn rules_that_cannot_hold_together() {
        assert_eq!(errors("node-affinity: a\n\tresources vm:1\n\tnodes n1:2,n2\n\n"), "");
        let twice =
            "node-affinity: a\n\tresources vm:1\n\tnodes n1\n\nnode-affinity: b\n\tresources vm:1\n\tnodes n2\n\n";
        assert_eq!(
            errors(twice),
            "a: resource 'vm:1' is already used in another node affinity rule\n\
             b: resource 'vm:1' is already used in another node affinity rule"
        );
        let both = "resource-affinity: a\n\tresources vm:1,vm:2\n\taffinity positive\n\n\
            resource-affinity: b\n\tresources vm:1,vm:2\n\taffinity negative\n\n";
        assert_eq!(
            errors(both),
            "a: rule shares two or more resources with a negative resource affinity rule\n\
             b: rule shares two or more resources with a positive resource affinity rule"
        );
        assert_eq!(errors(&both.replace("\taffinity negative", "\taffinity negative\n\tdisable")), "");
        let narrow = "resource-affinity: a\n\tresources vm:1,vm:2\n\taffinity negative\n\n\
            node-affinity: b\n\tresources vm:1,vm:2\n\tnodes n1\n\n";
        assert!(errors(narrow).starts_with("a: two or more resources are restricted"), "{}", errors(narrow));
        let three = "resource-affinity: a\n\tresources vm:1,vm:2,vm:3\n\taffinity negative\n\n";
        assert_eq!(errors(three), "a: rule defines more resources than available nodes");
    }
}
