//! Zones, virtual networks and subnets as they are configured.
//!
//! Taking the configuration into use is not simulated, so nothing runs and everything is pending.

use serde_json::{Map, Value, json};

use super::{Kind, Layout, Section, Sections, Values, below};
use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::api::nothing;
use crate::sim::cluster::Cluster;
use crate::sim::guest::sub_key;
use crate::sim::route::{Call, unsupported};

static ZONES: Layout = Layout {
    file: "sdn/zones.cfg",
    bare: false,
    kinds: &[
        Kind { name: "simple", properties: "nodes mtu# dns reversedns dnszone ipam dhcp" },
        Kind {
            name: "vlan",
            properties: "nodes bridge+ bridge-disable-mac-learning# mtu# dns reversedns dnszone ipam",
        },
        Kind {
            name: "qinq",
            properties: "nodes tag+# bridge+ bridge-disable-mac-learning# mtu# vlan-protocol dns reversedns dnszone \
                ipam",
        },
        Kind { name: "vxlan", properties: "nodes peers vxlan-port# mtu# dns reversedns dnszone ipam fabric" },
    ],
};
static VNETS: Layout = Layout {
    file: "sdn/vnets.cfg",
    bare: false,
    kinds: &[Kind { name: "vnet", properties: "zone+ tag# alias vlanaware# isolate-ports#" }],
};
static SUBNETS: Layout = Layout {
    file: "sdn/subnets.cfg",
    bare: false,
    kinds: &[Kind { name: "subnet", properties: "vnet+ gateway snat# dnszoneprefix dhcp-range* dhcp-dns-server" }],
};

/// A section as it stands in an answer, or as a change that nobody took into use yet.
fn object(section: &Section, key: &str, digest: &str, pending: bool) -> Map<String, Value> {
    let values = section.kind.json(&section.values);
    let mut object = Map::new();
    if pending {
        let (apart, here): (Map<String, Value>, Map<String, Value>) =
            values.into_iter().partition(|(name, _)| name != "vnet");
        object.extend(here);
        object.insert("pending".to_owned(), Value::Object(apart));
        object.insert("state".to_owned(), json!("new"));
    } else {
        object.extend(values);
    }
    object.insert("digest".to_owned(), if pending { Value::Null } else { json!(digest) });
    object.insert("type".to_owned(), json!(section.kind.name));
    object.insert(key.to_owned(), json!(section.id));
    object
}

fn sorted(sections: &Sections) -> Vec<&Section> {
    let mut list: Vec<&Section> = sections.list.iter().collect();
    list.sort_by_key(|section| &section.id);
    list
}

/// What nobody took into use does not run.
fn runs(call: &Call) -> bool {
    call.flag("running") && !call.flag("pending")
}

fn may(cluster: &Cluster, call: &Call, path: &str, privileges: &[&str]) -> bool {
    cluster.check_for(&call.subject, path).any(path, privileges)
}

const SEE: &[&str] = &["SDN.Audit", "SDN.Allocate"];

fn no_zone(id: &str) -> Failure {
    Failure::die(format!("sdn '{id}' does not exist"))
}

/// `GET /cluster/sdn/zones`.
pub(in crate::sim) fn zones(cluster: &mut Cluster, call: &Call) -> Outcome {
    let zones = cluster.sections(&ZONES);
    let digest = zones.digest();
    let wanted = |zone: &&Section| {
        !runs(call)
            && call.get("type").is_none_or(|kind| kind == zone.kind.name)
            && may(cluster, call, &format!("/sdn/zones/{}", zone.id), SEE)
    };
    let list = sorted(&zones).into_iter().filter(wanted);
    Ok(Answer::from(
        list.map(|zone| Value::Object(object(zone, "zone", &digest, call.flag("pending")))).collect::<Value>(),
    ))
}

/// `GET /cluster/sdn/zones/{zone}`.
pub(in crate::sim) fn zone_read(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (zones, id) = (cluster.sections(&ZONES), call.get("zone").unwrap_or_default());
    match zones.get(id).filter(|_| !runs(call)) {
        Some(zone) => Ok(Answer::from(Value::Object(object(zone, "zone", &zones.digest(), call.flag("pending"))))),
        None => Err(no_zone(id)),
    }
}

/// The properties among the parameters.
fn given(call: &Call, key: &str) -> Values {
    let own = |name: &str| name != key && !matches!(name, "type" | "digest" | "delete" | "lock-token");
    let form = |name: &str, value: &str| {
        let lines = call.list(name).filter(|_| name == "dhcp-range");
        lines.map_or_else(|| value.to_owned(), |lines| lines.join("\n"))
    };
    let pairs = call.params.iter().filter(|(name, _)| own(name));
    pairs.map(|(name, value)| (name.clone(), form(name, value))).collect()
}

/// Where names are looked up and addresses come from: none of these are simulated beside the built-in one.
fn check_zone(zone: &Section) -> Result<(), Failure> {
    for name in ["dns", "reversedns"] {
        if let Some(server) = zone.get(name) {
            return Err(Failure::parameter(name, format!("{server} don't exist")));
        }
    }
    if zone.get("dnszone").is_some() {
        return Err(Failure::parameter("dnszone", "missing dns server"));
    }
    if let Some(ipam) = zone.get("ipam").filter(|ipam| *ipam != "pve") {
        return Err(Failure::parameter("ipam", format!("{ipam} not existing")));
    }
    if zone.kind.name == "vxlan" && zone.get("peers").is_some() == zone.get("fabric").is_some() {
        let text = "must have exactly one of peers / fabric defined";
        let names = ["peers", "fabric"].map(|name| (name.to_owned(), text.to_owned()));
        return Err(Failure::Parameters(names.into()));
    }
    Ok(())
}

/// `POST /cluster/sdn/zones`.
pub(in crate::sim) fn zone_create(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (id, name) = (call.get("zone").unwrap_or_default(), call.get("type").unwrap_or_default());
    // Zones that need a controller are not simulated.
    if matches!(name, "evpn" | "faucet") {
        return unsupported();
    }
    let (kind, values, mut zones) = (ZONES.kind(name)?, given(call, "zone"), cluster.sections(&ZONES));
    kind.check(&values, true)?;
    let failed = |failure| below("create sdn zone object failed", failure);
    if zones.get(id).is_some() {
        return Err(failed(Failure::die(format!("sdn zone object ID '{id}' already defined"))));
    }
    let zone = Section { id: id.to_owned(), kind, values };
    check_zone(&zone).map_err(failed)?;
    zones.list.push(zone);
    cluster.save(&zones);
    Ok(nothing())
}

/// `PUT /cluster/sdn/zones/{zone}`.
pub(in crate::sim) fn zone_update(cluster: &mut Cluster, call: &Call) -> Outcome {
    zone_change(cluster, call).map_err(|failure| below("update sdn zone object failed", failure))
}

fn zone_change(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (mut zones, id) = (cluster.sections(&ZONES), call.get("zone").unwrap_or_default());
    zones.check_digest(call.get("digest"))?;
    let zone = zones.get_mut(id).ok_or_else(|| no_zone(id))?;
    let values = given(call, "zone");
    zone.kind.check(&values, false)?;
    let before = zone.get("ipam").map(str::to_owned);
    Sections::change(zone, values, call.get("delete"))?;
    let in_zone = format!("{id}-");
    if before.as_deref() != zone.get("ipam")
        && cluster.sections(&SUBNETS).list.iter().any(|subnet| subnet.id.starts_with(&in_zone))
    {
        return Err(Failure::parameter("ipam", "can't change ipam if a subnet is already defined in this zone"));
    }
    check_zone(zone)?;
    cluster.save(&zones);
    Ok(nothing())
}

/// `DELETE /cluster/sdn/zones/{zone}`.
pub(in crate::sim) fn zone_delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (mut zones, id) = (cluster.sections(&ZONES), call.get("zone").unwrap_or_default());
    let failed = |failure| below("delete sdn zone object failed", failure);
    if zones.get(id).is_none() {
        return Err(failed(no_zone(id)));
    }
    if let Some(vnet) = cluster.sections(&VNETS).list.iter().find(|vnet| vnet.get("zone") == Some(id)) {
        // The line where the program stopped is part of its text.
        let place = "at /usr/share/perl5/PVE/Network/SDN/Zones/Plugin.pm line 149.";
        return Err(failed(Failure::die(format!("zone {id} is used by vnet {} {place}", vnet.id))));
    }
    zones.remove(id);
    cluster.save(&zones);
    Ok(nothing())
}

fn no_vnet(id: &str) -> Failure {
    Failure::die(format!("sdn vnet '{id}' does not exist"))
}

/// Refuses who may not see, or not change, a network: the privilege is on its zone.
fn permit(cluster: &Cluster, call: &Call, privileges: &[&str]) -> Result<(), Failure> {
    let id = call.get("vnet").unwrap_or_default();
    let vnets = cluster.sections(&VNETS);
    let zone = vnets.get(id).ok_or_else(|| no_vnet(id))?.get("zone").unwrap_or_default();
    let path = format!("/sdn/zones/{zone}/{id}");
    cluster.check_for(&call.subject, &path).need(&path, privileges)
}

/// `GET /cluster/sdn/vnets`.
pub(in crate::sim) fn vnets(cluster: &mut Cluster, call: &Call) -> Outcome {
    let vnets = cluster.sections(&VNETS);
    let digest = vnets.digest();
    let wanted = |vnet: &&Section| {
        let path = format!("/sdn/zones/{}/{}", vnet.get("zone").unwrap_or_default(), vnet.id);
        !runs(call) && may(cluster, call, &path, SEE)
    };
    let list = sorted(&vnets).into_iter().filter(wanted);
    Ok(Answer::from(
        list.map(|vnet| Value::Object(object(vnet, "vnet", &digest, call.flag("pending")))).collect::<Value>(),
    ))
}

/// `GET /cluster/sdn/vnets/{vnet}`.
pub(in crate::sim) fn vnet_read(cluster: &mut Cluster, call: &Call) -> Outcome {
    permit(cluster, call, SEE)?;
    let (vnets, id) = (cluster.sections(&VNETS), call.get("vnet").unwrap_or_default());
    let vnet = vnets.get(id).filter(|_| !runs(call)).ok_or_else(|| no_vnet(id))?;
    Ok(Answer::from(Value::Object(object(vnet, "vnet", &vnets.digest(), call.flag("pending")))))
}

/// What the zone of a network says to it, and the subnets in it.
fn check_vnet(cluster: &Cluster, vnets: &Sections, id: &str) -> Result<(), Failure> {
    let vnet = vnets.get(id).ok_or_else(|| no_vnet(id))?;
    let zones = cluster.sections(&ZONES);
    let zone_id = vnet.get("zone").unwrap_or_default();
    let zone = zones.get(zone_id).ok_or_else(|| Failure::die("cannot lookup undefined type!"))?;
    let refuse = |text: String| Err(Failure::parameter("tag", text));
    let tag = vnet.get("tag").and_then(|tag| tag.parse::<u32>().ok());
    let others = || vnets.list.iter().filter(|other| other.id != id);
    let beside = || others().filter(|other| other.get("zone") == Some(zone_id));
    let same = |other: &&Section| other.get("tag").is_some() && other.get("tag") == vnet.get("tag");
    match (zone.kind.name, tag) {
        ("simple", Some(_)) => return refuse("vlan tag is not allowed on simple zone".to_owned()),
        ("vlan", None) => return refuse("missing vlan tag".to_owned()),
        ("vxlan", None) => return refuse("missing vxlan tag".to_owned()),
        ("vlan", Some(4097..)) => return refuse("vlan tag max value is 4096".to_owned()),
        ("qinq", Some(4097..)) => return refuse("VLAN tag maximal value is 4096".to_owned()),
        ("vlan", Some(tag)) => {
            if let Some(other) = beside().find(same) {
                return refuse(format!("tag {tag} already exist in vnet {}", other.id));
            }
        }
        ("qinq", Some(tag)) => {
            if let Some(other) = beside().find(same) {
                return refuse(format!("tag {tag} already exist in zone {zone_id} vnet {}", other.id));
            }
        }
        ("qinq", None) => {
            if let Some(other) = beside().find(|other| other.get("tag").is_none()) {
                return refuse(format!("tag-less vnet already exists in zone {zone_id} vnet {}", other.id));
            }
        }
        ("vxlan", Some(tag)) => {
            let is_vxlan = |other: &&Section| {
                other.get("zone").and_then(|zone| zones.get(zone)).is_some_and(|zone| zone.kind.name == "vxlan")
            };
            if let Some(other) = others().filter(is_vxlan).find(same) {
                let zone = other.get("zone").unwrap_or_default();
                return refuse(format!("vxlan tag {tag} already exist in vnet {} in zone {zone} ", other.id));
            }
        }
        _ => {}
    }
    if vnet.flag("vlanaware") && has_subnets(cluster, id) {
        return Err(Failure::parameter("vlanaware", "vlanaware vnet is not compatible with subnets"));
    }
    Ok(())
}

fn has_subnets(cluster: &Cluster, vnet: &str) -> bool {
    cluster.sections(&SUBNETS).list.iter().any(|subnet| subnet.get("vnet") == Some(vnet))
}

/// `POST /cluster/sdn/vnets`.
pub(in crate::sim) fn vnet_create(cluster: &mut Cluster, call: &Call) -> Outcome {
    vnet_insert(cluster, call).map_err(|failure| below("create sdn vnet object failed", failure))
}

fn vnet_insert(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (mut vnets, id) = (cluster.sections(&VNETS), call.get("vnet").unwrap_or_default());
    let (kind, values) = (VNETS.kind("vnet")?, given(call, "vnet"));
    kind.check(&values, true)?;
    if vnets.get(id).is_some() {
        return Err(Failure::die(format!("sdn vnet object ID '{id}' already defined")));
    }
    vnets.push(id, kind, values);
    check_vnet(cluster, &vnets, id)?;
    cluster.save(&vnets);
    Ok(nothing())
}

/// `PUT /cluster/sdn/vnets/{vnet}`.
pub(in crate::sim) fn vnet_update(cluster: &mut Cluster, call: &Call) -> Outcome {
    permit(cluster, call, &["SDN.Allocate"])?;
    vnet_change(cluster, call).map_err(|failure| below("update sdn vnet object failed", failure))
}

fn vnet_change(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (mut vnets, id) = (cluster.sections(&VNETS), call.get("vnet").unwrap_or_default());
    vnets.check_digest(call.get("digest"))?;
    let vnet = vnets.get_mut(id).ok_or_else(|| no_vnet(id))?;
    let values = given(call, "vnet");
    vnet.kind.check(&values, false)?;
    let before = vnet.get("zone").map(str::to_owned);
    Sections::change(vnet, values, call.get("delete"))?;
    if before.as_deref() != vnet.get("zone") && has_subnets(cluster, id) {
        return Err(Failure::parameter("zone", "can't change zone if subnets exist"));
    }
    check_vnet(cluster, &vnets, id)?;
    cluster.save(&vnets);
    Ok(nothing())
}

/// `DELETE /cluster/sdn/vnets/{vnet}`.
pub(in crate::sim) fn vnet_delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    permit(cluster, call, &["SDN.Allocate"])?;
    let id = call.get("vnet").unwrap_or_default();
    if has_subnets(cluster, id) {
        let failure = Failure::parameter("vnet", "Can't delete vnet if subnets exists");
        return Err(below("delete sdn vnet object failed", failure));
    }
    let mut vnets = cluster.sections(&VNETS);
    vnets.remove(id);
    cluster.save(&vnets);
    Ok(nothing())
}

/// A subnet with what its id says: zone, network, length of the prefix.
fn subnet_row(subnet: &Section, digest: &str, pending: bool) -> Value {
    let mut object = object(subnet, "subnet", digest, pending);
    let mut parts = subnet.id.splitn(2, '-');
    let (zone, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (network, mask) = rest.rsplit_once('-').unwrap_or((rest, ""));
    let ranges = subnet.get("dhcp-range").unwrap_or_default().lines().filter(|_| !pending).map(|range| {
        let part = |name: &str| sub_key(range, name).unwrap_or_default();
        json!({ "end-address": part("end-address"), "start-address": part("start-address") })
    });
    object.insert("dhcp-range".to_owned(), ranges.collect());
    object.insert("cidr".to_owned(), json!(format!("{network}/{mask}")));
    for (name, value) in [("id", subnet.id.as_str()), ("mask", mask), ("network", network), ("zone", zone)] {
        object.insert(name.to_owned(), json!(value));
    }
    Value::Object(object)
}

/// `GET /cluster/sdn/vnets/{vnet}/subnets`.
pub(in crate::sim) fn subnets(cluster: &mut Cluster, call: &Call) -> Outcome {
    permit(cluster, call, SEE)?;
    let subnets = cluster.sections(&SUBNETS);
    let digest = subnets.digest();
    let list = sorted(&subnets).into_iter().filter(|subnet| !runs(call) && subnet.get("vnet") == call.get("vnet"));
    Ok(Answer::from(list.map(|subnet| subnet_row(subnet, &digest, call.flag("pending"))).collect::<Value>()))
}

fn no_subnet(id: &str) -> Failure {
    Failure::die(format!("sdn subnet '{id}' does not exist"))
}

/// `GET /cluster/sdn/vnets/{vnet}/subnets/{subnet}`.
pub(in crate::sim) fn subnet_read(cluster: &mut Cluster, call: &Call) -> Outcome {
    permit(cluster, call, SEE)?;
    let (subnets, id) = (cluster.sections(&SUBNETS), call.get("subnet").unwrap_or_default());
    let subnet = subnets.get(id).filter(|_| !runs(call)).ok_or_else(|| no_subnet(id))?;
    if subnet.get("vnet") != call.get("vnet") {
        return Err(Failure::parameter("vnet", "wrong vnet"));
    }
    Ok(Answer::from(subnet_row(subnet, &subnets.digest(), call.flag("pending"))))
}

/// A gateway is in its subnet, and the subnet in a network without VLANs.
fn check_subnet(cluster: &Cluster, subnet: &Section) -> Result<(), Failure> {
    let vnets = cluster.sections(&VNETS);
    let vnet = subnet.get("vnet").unwrap_or_default();
    match vnets.get(vnet) {
        None => return Err(Failure::parameter("vnet", format!("{vnet} don't exist"))),
        Some(vnet) if vnet.flag("vlanaware") => {
            return Err(Failure::parameter("vnet", "you can't add a subnet on a vlanaware vnet"));
        }
        Some(_) => {}
    }
    let cidr = subnet.id.split_once('-').map_or("", |(_, rest)| rest);
    let (network, mask) = cidr.rsplit_once('-').unwrap_or((cidr, ""));
    if let Some(gateway) = subnet.get("gateway")
        && !contains(network, mask, gateway)
        && (mask != "32" || gateway.contains(':'))
    {
        return Err(Failure::parameter("gateway", format!("{gateway} is not in subnet {network}/{mask}")));
    }
    Ok(())
}

/// True for an address in a network.
fn contains(network: &str, mask: &str, address: &str) -> bool {
    use core::net::IpAddr;
    let bits = |address: IpAddr| match address {
        IpAddr::V4(four) => (u128::from(four.to_bits()), 32),
        IpAddr::V6(six) => (six.to_bits(), 128),
    };
    let (Ok(network), Ok(address), Ok(mask)) = (network.parse(), address.parse(), mask.parse::<u32>()) else {
        return false;
    };
    let ((network, length), (address, other)) = (bits(network), bits(address));
    let shift = length - mask.min(length);
    length == other && network.checked_shr(shift).unwrap_or(0) == address.checked_shr(shift).unwrap_or(0)
}

/// `POST /cluster/sdn/vnets/{vnet}/subnets`.
pub(in crate::sim) fn subnet_create(cluster: &mut Cluster, call: &Call) -> Outcome {
    permit(cluster, call, &["SDN.Allocate"])?;
    subnet_insert(cluster, call).map_err(|failure| below("create sdn subnet object failed", failure))
}

/// The properties of a subnet; the network that it is in stands in the path.
fn subnet_given(call: &Call) -> Values {
    let mut values = given(call, "subnet");
    values.extend(call.get("vnet").map(|vnet| ("vnet".to_owned(), vnet.to_owned())));
    values
}

fn subnet_insert(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (mut subnets, values, kind) = (cluster.sections(&SUBNETS), subnet_given(call), SUBNETS.kind("subnet")?);
    let vnets = cluster.sections(&VNETS);
    let zone = vnets.get(call.get("vnet").unwrap_or_default()).and_then(|vnet| vnet.get("zone")).unwrap_or_default();
    let id = format!("{zone}-{}", call.get("subnet").unwrap_or_default().replacen('/', "-", 1));
    kind.check(&values, true)?;
    if subnets.get(&id).is_some() {
        return Err(Failure::die(format!("sdn subnet object ID '{id}' already defined")));
    }
    let subnet = Section { id, kind, values };
    check_subnet(cluster, &subnet)?;
    subnets.list.push(subnet);
    cluster.save(&subnets);
    Ok(nothing())
}

/// `PUT /cluster/sdn/vnets/{vnet}/subnets/{subnet}`.
pub(in crate::sim) fn subnet_update(cluster: &mut Cluster, call: &Call) -> Outcome {
    permit(cluster, call, &["SDN.Allocate"])?;
    subnet_change(cluster, call).map_err(|failure| below("update sdn subnet object failed", failure))
}

fn subnet_change(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (mut subnets, id) = (cluster.sections(&SUBNETS), call.get("subnet").unwrap_or_default());
    if subnets.get(id).is_none() {
        return Err(no_subnet(id));
    }
    subnets.check_digest(call.get("digest"))?;
    let subnet = subnets.get_mut(id).ok_or_else(|| no_subnet(id))?;
    let values = subnet_given(call);
    subnet.kind.check(&values, false)?;
    Sections::change(subnet, values, call.get("delete"))?;
    check_subnet(cluster, subnet)?;
    cluster.save(&subnets);
    Ok(nothing())
}

/// `DELETE /cluster/sdn/vnets/{vnet}/subnets/{subnet}`; one that is not there is gone already.
pub(in crate::sim) fn subnet_delete(cluster: &mut Cluster, call: &Call) -> Outcome {
    permit(cluster, call, &["SDN.Allocate"])?;
    let mut subnets = cluster.sections(&SUBNETS);
    subnets.remove(call.get("subnet").unwrap_or_default());
    cluster.save(&subnets);
    Ok(nothing())
}
