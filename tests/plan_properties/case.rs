//! An arbitrary fleet, and an arbitrary world that it meets.

use std::collections::BTreeMap;

use pvefleet::pve::value::GuestKind;
use pvefleet::sim::world::GuestSpec;

use crate::dice::Dice;
use crate::wishes;

pub const CLUSTERS: [&str; 3] = ["production", "staging", "disaster-recovery"];

/// Whose a guest of the world is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// Line and tag.
    Ours,
    /// The line alone, as after a rollback.
    OursWithoutTag,
    /// Tag and a line with another vmid: a copy made by hand.
    Copy,
    /// The line of another cluster: a restored backup.
    OtherCluster,
    /// Another fleet's.
    OtherFleet,
    /// Two lines that differ.
    Unclear,
    /// Neither line nor tag.
    Nobody,
    /// It is not there.
    Absent,
}

/// One guest: of the world, of the manifest, or of both.
#[derive(Debug, Clone)]
pub struct Entity {
    pub cluster: &'static str,
    pub kind: GuestKind,
    pub name: String,
    pub vmid: u32,
    pub node: String,
    pub owner: Owner,
    /// Its options in the world.
    pub config: BTreeMap<String, String>,
    pub running: bool,
    /// High availability looks after it, in this state.
    pub ha: Option<&'static str>,
    /// Its entry in the manifest, without the cluster's heading.
    pub entry: Option<String>,
    /// The cluster that the manifest has it in.
    pub listed_in: &'static str,
}

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    pub seed: u64,
    pub clusters: Vec<&'static str>,
    pub entities: Vec<Entity>,
    pub prune: bool,
    /// Guards, as lines of the manifest.
    pub guards: &'static str,
    /// Ids that new guests may have, by cluster.
    pub ranges: BTreeMap<&'static str, &'static str>,
    /// More lines in the settings.
    pub settings: String,
    /// A node that is away.
    pub offline: Option<(&'static str, &'static str)>,
    /// Edits by hand to guests that run, before anything is planned: they may wait for a reboot.
    pub edits: Vec<(usize, &'static str, &'static str)>,
    /// A backup of this guest runs while the first plan is made.
    pub backup: Option<usize>,
    /// This cluster's token sees only some guests.
    pub blind: Option<&'static str>,
    /// Only a file of the folder is read.
    pub partial: bool,
}

pub fn nodes(cluster: &str) -> &'static [&'static str] {
    match cluster {
        "production" => &["pve1", "pve2", "pve3"],
        "staging" => &["stg1"],
        _ => &["pve"],
    }
}

const FLEET: &str = "homelab";

impl Case {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let dice = &mut dice;
        let clusters = if dice.percent(10) { CLUSTERS[..1].to_vec() } else { CLUSTERS[..2].to_vec() };
        let count = if dice.percent(15) { 1 + dice.below(4) } else { 5 + dice.below(4) };
        let mut entities: Vec<Entity> = Vec::new();
        for index in 0..count {
            let entity = entity(dice, index, &clusters, &entities);
            entities.push(entity);
        }
        let edits = (0..dice.below(4)).map(|_| {
            let (option, value) = dice.pick(&[
                ("memory", "768"),
                ("cores", "3"),
                ("description", "somebody else's words"),
                ("onboot", "1"),
                ("tags", "by-hand"),
                ("delete", "cores"),
                ("ostype", "other"),
                ("nameserver", "192.0.2.53"),
                ("delete", "tags"),
            ]);
            (dice.below(count), option, value)
        });
        Self {
            seed,
            edits: edits.collect(),
            prune: dice.percent(50),
            guards: dice.pick(&[
                "",
                "",
                "guards: {max_deletes: 5, max_delete_percent: 100}\n",
                "guards: {max_deletes: 0, max_reboots: 0}\n",
            ]),
            ranges: clusters
                .iter()
                .map(|cluster| {
                    let wide = if *cluster == "production" { "1000-1999" } else { "2000-2999" };
                    let full = if *cluster == "production" { "9001-9003" } else { "9000-9000" };
                    (*cluster, if dice.percent(4) { full } else { wide })
                })
                .collect(),
            settings: match dice.below(100) {
                0..4 => "PROXMOX_CLUSTER_staging_ACCESS=read\n".to_owned(),
                4..8 => "PROXMOX_CLUSTER_production_DEFAULT_NODE=pve2\n".to_owned(),
                8..12 => "PROXMOX_CLUSTER_production_DEFAULT_STORAGE=shared\n".to_owned(),
                _ => String::new(),
            },
            offline: dice.percent(7).then(|| ("production", dice.pick(nodes("production")))),
            backup: dice.percent(8).then(|| dice.below(count)),
            blind: dice.percent(5).then(|| dice.pick(&clusters)),
            partial: dice.percent(9),
            clusters,
            entities,
        }
    }

    /// The manifest, with the guests of each cluster in the order that the dice give.
    pub fn manifest(&self, mut order: Option<&mut Dice>) -> String {
        let mut text = format!("fleet: {FLEET}\n{}clusters:\n", self.guards);
        for cluster in &self.clusters {
            text.push_str(&format!("  {cluster}:\n    vmids: {}\n", self.ranges[cluster]));
            for (key, kind) in [("vms", GuestKind::Qemu), ("containers", GuestKind::Lxc)] {
                let mut entries: Vec<&str> = self
                    .entities
                    .iter()
                    .filter(|entity| entity.listed_in == *cluster && entity.kind == kind)
                    .filter_map(|entity| entity.entry.as_deref())
                    .collect();
                if entries.is_empty() {
                    continue;
                }
                if let Some(dice) = order.as_deref_mut() {
                    dice.shuffle(&mut entries);
                }
                text.push_str(&format!("    {key}:\n{}", entries.concat()));
            }
        }
        text
    }

    /// The guests of the world in one cluster.
    pub fn guests(&self, cluster: &str) -> Vec<GuestSpec> {
        self.entities
            .iter()
            .filter(|entity| entity.cluster == cluster && entity.owner != Owner::Absent)
            .map(|entity| GuestSpec {
                kind: entity.kind,
                vmid: entity.vmid,
                node: entity.node.clone(),
                config: entity.config.clone(),
                file: None,
                running: entity.running,
                pool: None,
            })
            .collect()
    }
}

/// The ownership line of a guest.
fn line(cluster: &str, fleet: &str, kind: GuestKind, name: &str, vmid: u32) -> String {
    format!("<!-- pvefleet v1 cluster={cluster} fleet={fleet} guest={kind}/{name} vmid={vmid} -->")
}

fn entity(dice: &mut Dice, index: usize, clusters: &[&'static str], others: &[Entity]) -> Entity {
    let cluster = dice.pick(clusters);
    let kind = if dice.percent(68) { GuestKind::Qemu } else { GuestKind::Lxc };
    let name = format!("g{index}");
    let vmid = if cluster == "production" { 1000 } else { 2000 } + index as u32;
    let node = dice.pick(nodes(cluster)).to_owned();
    let owner = match dice.below(100) {
        0..48 => Owner::Ours,
        48..53 => Owner::OursWithoutTag,
        53..57 => Owner::Copy,
        57..61 => Owner::OtherCluster,
        61..64 => Owner::OtherFleet,
        64..66 => Owner::Unclear,
        66..77 => Owner::Nobody,
        _ => Owner::Absent,
    };
    let mut config = match kind {
        GuestKind::Qemu => vm(dice, vmid),
        GuestKind::Lxc => container(dice, vmid),
    };
    let name_option = if kind == GuestKind::Qemu { "name" } else { "hostname" };
    config.insert(name_option.to_owned(), name.clone());
    let mut tags: Vec<&str> = Vec::new();
    if matches!(owner, Owner::Ours | Owner::Copy | Owner::OtherCluster | Owner::Unclear) {
        tags.push("fleet-homelab");
    }
    if owner == Owner::OtherFleet {
        tags.push("fleet-other");
    }
    if dice.percent(30) {
        tags.push("Blue");
    }
    if !tags.is_empty() {
        config.insert("tags".to_owned(), tags.join(";"));
    }
    let own = line(cluster, FLEET, kind, &name, vmid);
    let line = match owner {
        Owner::Ours | Owner::OursWithoutTag => own,
        Owner::Copy => line(cluster, FLEET, kind, &name, vmid + 500),
        Owner::OtherCluster => line("elsewhere", FLEET, kind, &name, vmid),
        Owner::OtherFleet => line(cluster, "other", kind, &name, vmid),
        Owner::Unclear => format!("{own}\n{}", line(cluster, FLEET, kind, &name, vmid + 1)),
        Owner::Nobody | Owner::Absent => String::new(),
    };
    let notes = dice.pick(&["", "", "People's notes.\n", "Several\n\nlines.\n"]);
    let description = format!("{notes}{line}");
    if !description.is_empty() {
        config.insert("description".to_owned(), description);
    }
    let mut entity = Entity {
        cluster,
        kind,
        name,
        vmid,
        node,
        owner,
        running: dice.percent(45),
        ha: None,
        config,
        entry: None,
        listed_in: cluster,
    };
    entity.running &= !entity.config.contains_key("template");
    if cluster == "production" && entity.owner != Owner::Absent && dice.percent(8) {
        entity.ha = Some(if entity.running { "started" } else { "stopped" });
    }
    if let Some(other) = others.last()
        && entity.owner == Owner::Nobody
        && other.owner == Owner::Nobody
        && (other.cluster, other.kind) == (cluster, kind)
    {
        entity.name = other.name.clone();
        entity.config.insert(name_option.to_owned(), other.name.clone());
        return entity;
    }
    if dice.percent(78) {
        let routed_away = dice.percent(3).then(|| dice.pick(clusters));
        entity.listed_in = routed_away.unwrap_or(cluster);
        entity.entry = Some(wishes::entry(dice, &entity, others));
    }
    entity
}

fn vm(dice: &mut Dice, vmid: u32) -> BTreeMap<String, String> {
    let size = dice.pick(&[4, 8]);
    let discard = dice.pick(&["", ",discard=on"]);
    let mut options = vec![
        ("boot", "order=scsi0".to_owned()),
        ("memory", dice.pick(&["512", "1024", "2048"]).to_owned()),
        ("net0", format!("virtio=BC:24:11:00:{:02X}:{:02X},bridge=vmbr0", vmid >> 8 & 255, vmid & 255)),
        ("ostype", "l26".to_owned()),
        ("scsi0", format!("local-lvm:vm-{vmid}-disk-0{discard},size={size}G")),
        ("scsihw", "virtio-scsi-single".to_owned()),
        ("smbios1", format!("uuid=0b5a6cde-9000-4000-8000-{vmid:012}")),
        ("vmgenid", format!("5d0bfb1c-9000-4000-8000-{vmid:012}")),
    ];
    let mut maybe = |chance: usize, option: &'static str, values: &[&str]| {
        if dice.percent(chance) {
            options.push((option, dice.pick(values).replace("ID", &vmid.to_string())));
        }
    };
    maybe(50, "cores", &["1", "2", "4"]);
    maybe(30, "scsi1", &["local-lvm:vm-ID-disk-1,size=2G"]);
    maybe(6, "unused0", &["local-lvm:vm-ID-disk-7"]);
    maybe(30, "onboot", &["1", "0"]);
    maybe(12, "protection", &["1"]);
    maybe(25, "agent", &["enabled=1", "1,fstrim_cloned_disks=1"]);
    maybe(20, "cpu", &["host", "x86-64-v2-AES"]);
    maybe(15, "balloon", &["256"]);
    maybe(4, "lock", &["backup", "migrate", "clone", "create"]);
    maybe(10, "hotplug", &["0", "disk,network,usb,cpu,memory"]);
    maybe(15, "ciuser", &["admin"]);
    maybe(20, "ide2", &["local-lvm:vm-ID-cloudinit,media=cdrom"]);
    maybe(10, "startup", &["order=2,up=30"]);
    maybe(5, "template", &["1"]);
    let mut config: BTreeMap<String, String> =
        options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    if config.contains_key("template") {
        let disk = config.get("scsi0").cloned().unwrap_or_default();
        config.insert("scsi0".to_owned(), disk.replace(":vm-", ":base-"));
        config.remove("scsi1");
        config.remove("unused0");
        config.remove("ide2");
    }
    config
}

fn container(dice: &mut Dice, vmid: u32) -> BTreeMap<String, String> {
    let mut options = vec![
        ("arch", "amd64".to_owned()),
        ("memory", dice.pick(&["512", "1024"]).to_owned()),
        ("ostype", "debian".to_owned()),
        ("rootfs", format!("local-lvm:vm-{vmid}-disk-0,size=4G")),
        ("swap", "512".to_owned()),
        (
            "net0",
            format!(
                "name=eth0,bridge=vmbr0,hwaddr=BC:24:12:00:{:02X}:{:02X},ip=dhcp,type=veth",
                vmid >> 8 & 255,
                vmid & 255
            ),
        ),
    ];
    let mut maybe = |chance: usize, option: &'static str, values: &[&str]| {
        if dice.percent(chance) {
            options.push((option, dice.pick(values).replace("ID", &vmid.to_string())));
        }
    };
    maybe(85, "unprivileged", &["1"]);
    maybe(40, "cores", &["1", "2"]);
    maybe(30, "features", &["nesting=1"]);
    maybe(25, "mp0", &["local-lvm:vm-ID-disk-1,mp=/srv,size=2G"]);
    maybe(25, "onboot", &["1"]);
    maybe(12, "protection", &["1"]);
    maybe(15, "nameserver", &["192.0.2.1"]);
    maybe(4, "lock", &["backup", "snapshot", "create"]);
    options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
