//! The scenarios: what was applied before, what other hands did since, and what is to come.
//!
//! Together they hold every kind of step that the planner makes, for VMs and containers; `coverage.rs` counts.

use pvefleet::plan::{Acceptance, PlanOptions};
use pvefleet::pve::http::Method;
use pvefleet::sim::ClusterSpec;
use pvefleet::sim::world::VolumeSpec;

/// A write by another hand.
pub type Edit = (Method, &'static str, &'static [(&'static str, &'static str)]);

/// One scenario.
pub struct Scenario {
    pub name: &'static str,
    pub clusters: &'static [&'static str],
    pub shape: fn(&mut ClusterSpec),
    /// Applied first, to its end; nothing where it is empty.
    pub before: String,
    pub by_hand: &'static [Edit],
    /// What the run under test applies.
    pub manifest: String,
    pub accept: &'static [&'static str],
    pub prune: bool,
}

impl Scenario {
    fn new(name: &'static str, manifest: String) -> Self {
        let (before, by_hand, accept): (_, &[Edit], &[&str]) = (String::new(), &[], &[]);
        Self { name, clusters: &["production"], shape: |_| {}, before, by_hand, manifest, accept, prune: false }
    }

    /// From one list of guests to another.
    fn change(name: &'static str, before: String, manifest: String) -> Self {
        Self { before, ..Self::new(name, manifest) }
    }

    const fn accepting(mut self, accept: &'static [&'static str]) -> Self {
        self.accept = accept;
        self
    }

    const fn by_hand(mut self, edits: &'static [Edit]) -> Self {
        self.by_hand = edits;
        self
    }

    const fn pruning(mut self) -> Self {
        self.prune = true;
        self
    }

    fn shaped(mut self, shape: fn(&mut ClusterSpec)) -> Self {
        self.shape = shape;
        self
    }

    pub fn options(&self) -> PlanOptions {
        let accept = |text: &&str| text.parse::<Acceptance>().unwrap();
        PlanOptions { prune: self.prune, accept: self.accept.iter().map(accept).collect(), ..PlanOptions::default() }
    }
}

const HEAD: &str = "fleet: homelab\nguards: {max_deletes: 9, max_delete_percent: 100, max_reboots: 9}\nclusters:\n  production:\n    vmids: 1000-1999\n";

fn vms(body: &str) -> String {
    format!("{HEAD}    vms:\n{body}")
}

fn cts(body: &str) -> String {
    format!("{HEAD}    containers:\n{body}")
}

const VM: &str = "      - name: prod-db-01
        vmid: 1001
        node: pve3
        memory: 1024
        scsihw: virtio-scsi-single
        scsi0: {storage: local-lvm, size: 4GiB, discard: on}
        scsi1: {storage: shared, size: 2GiB}
        net0: {model: virtio, bridge: vmbr0}
        ostype: l26
        state: running
";

const CT: &str = "      - name: prod-dns-01
        vmid: 1101
        node: pve2
        ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst
        rootfs: {storage: local-lvm, size: 2GiB}
        mp0: {storage: local-lvm, size: 1GiB, mp: /srv}
        net0: {name: eth0, bridge: vmbr0, ip: dhcp}
        memory: 512
        unprivileged: true
        state: running
";

const CLONE: &str = "      - name: prod-web-01
        vmid: 1002
        node: pve1
        clone: {from: debian-12, full: true}
        cores: 4
        scsi0: {size: 16GiB, ssd: true}
        net0: {bridge: vmbr1, tag: 20}
        ciuser: admin
        cipassword: {env: WEB_PASSWORD, version: 1}
        state: running
";

const OFF: (&str, &str) = ("state: running", "state: stopped");
const MAY_REBOOT: (&str, &str) = ("state: running", "state: running\n        reboot: allow");

/// A text with some of its parts replaced; each must be there.
fn with(text: &str, parts: &[(&str, &str)]) -> String {
    parts.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "no `{from}` in\n{text}");
        text.replace(from, to)
    })
}

pub const VM_BACKUP: &str = "local:backup/vzdump-qemu-500-2025_06_01-02_00_00.vma.zst";
pub const CT_BACKUP: &str = "local:backup/vzdump-lxc-501-2025_06_01-02_00_00.tar.zst";

fn with_backups(spec: &mut ClusterSpec) {
    let vm = "#Of the old site.\nboot: order=scsi0\ncores: 2\nmemory: 1024\nname: old-web\n\
              net0: virtio=BC:24:11:00:05:00,bridge=vmbr0\nscsi0: local-lvm:vm-500-disk-0,size=4G\n";
    let ct = "arch: amd64\nhostname: old-dns\nmemory: 512\nmp0: local-lvm:vm-501-disk-1,mp=/srv,backup=1,size=1G\n\
              net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:05:01,ip=dhcp,type=veth\nostype: debian\n\
              rootfs: local-lvm:vm-501-disk-0,size=2G\nswap: 512\nunprivileged: 1\n";
    for (volid, archive) in [(VM_BACKUP, vm), (CT_BACKUP, ct)] {
        let (volid, node, archive) = (volid.to_owned(), "pve2".to_owned(), Some(archive.to_owned()));
        spec.volumes.push(VolumeSpec { volid, node, size: 1 << 30, archive });
    }
}

fn with_image(spec: &mut ClusterSpec) {
    let local = spec.storages.iter_mut().find(|storage| storage.name == "local").unwrap();
    local.files.insert("import/cloud.qcow2".to_owned(), 3 << 30);
}

fn with_pools(spec: &mut ClusterSpec) {
    spec.pools.insert("web".to_owned(), String::new());
    spec.pools.insert("infra".to_owned(), String::new());
}

/// All of them, in the order of a guest's life.
pub fn all() -> Vec<Scenario> {
    let mut all = making();
    all.extend(options_and_power());
    all.extend(disks());
    all.extend(places());
    all.extend(ending());
    all.extend(many());
    all
}

fn making() -> Vec<Scenario> {
    let in_pool = with(VM, &[("memory: 1024", "memory: 1024\n        pool: web")]);
    let image = with(VM, &[("scsi0: {storage", "scsi0: {import: \"local:import/cloud.qcow2\", storage")]);
    let linked = with(CLONE, &[("full: true", "full: false")]);
    let far = with(CLONE, &[("node: pve1", "node: pve2"), ("from: debian-12", "from: 9001")]);
    let golden = with(CT, &[("state: running", "template: true")]);
    let copy = "      - name: prod-ns-02
        vmid: 1102
        node: pve2
        clone: {from: prod-dns-01, full: true}
        memory: 1024
        state: running
";
    let restored = format!(
        "      - name: prod-web-01\n        vmid: 1002\n        node: [pve2]\n        archive: {VM_BACKUP}\n        cores: 4
        scsi0: {{storage: local-lvm, size: 6GiB, ssd: true}}\n        tags: [web]\n        state: running\n"
    );
    let restored_ct = format!(
        "      - name: prod-dns-01\n        vmid: 1101\n        node: [pve2]\n        archive: {CT_BACKUP}\n        memory: 1024
        mp0: {{size: 2GiB, mp: /srv}}\n        unprivileged: true\n        state: running\n"
    );
    let template = with(VM, &[("state: running", "template: true")]);
    let cloud =
        with(VM, &[("ostype", "ide2: {cloudinit: true, storage: local-lvm}\n        ciuser: ann\n        ostype")]);
    vec![
        Scenario::new("create a vm", vms(&cloud)),
        Scenario::new("create a vm in a pool", vms(&in_pool)).shaped(with_pools),
        Scenario::new("create a vm from an image", vms(&image)).shaped(with_image),
        Scenario::new("create a template", vms(&template)),
        Scenario::new("create a container", cts(CT)),
        Scenario::new("clone a vm whole", vms(CLONE)),
        Scenario::new("clone a vm linked", vms(&linked)),
        Scenario::new("clone a vm and move it", vms(&far)),
        Scenario::change("clone a container", cts(&golden), cts(&format!("{golden}{copy}"))),
        Scenario::new("restore a vm", vms(&restored)).shaped(with_backups),
        Scenario::new("restore a container", cts(&restored_ct)).shaped(with_backups),
    ]
}

fn options_and_power() -> Vec<Scenario> {
    let cloud = with(CLONE, &[("cipassword: {env: WEB_PASSWORD, version: 1}", "ipconfig0: {ip: dhcp}")]);
    let bare =
        "      - name: legacy-nas\n        vmid: 110\n        onboot: true\n        cores: 4\n        adopt: true\n";
    vec![
        Scenario::change(
            "options of a running vm",
            vms(VM),
            vms(&with(
                VM,
                &[
                    ("memory: 1024", "memory: 2048\n        onboot: true\n        tags: [db]"),
                    ("bridge: vmbr0", "bridge: vmbr1"),
                ],
            )),
        ),
        Scenario::change(
            "options and a reboot",
            vms(VM),
            vms(&with(VM, &[("memory: 1024", "memory: 2048\n        cores: 3"), MAY_REBOOT])),
        ),
        Scenario::change(
            "options of a container",
            cts(CT),
            cts(&with(
                CT,
                &[
                    ("memory: 512", "memory: 768\n        onboot: true\n        cores: 2"),
                    ("ip: dhcp", "ip: 10.0.0.53/24"),
                ],
            )),
        ),
        Scenario::change(
            "a secret of a next version",
            vms(CLONE),
            vms(&with(CLONE, &[("version: 1", "version: 2"), ("ciuser: admin", "ciuser: ann")])),
        ),
        Scenario::change(
            "cloud-init of a running vm",
            vms(&cloud),
            vms(&with(&cloud, &[("ciuser: admin", "ciuser: ann")])),
        ),
        Scenario::change(
            "off",
            format!("{}    containers:\n{CT}", vms(VM)),
            format!("{}    containers:\n{}", vms(&with(VM, &[OFF])), with(CT, &[OFF])),
        ),
        Scenario::change(
            "on",
            format!("{}    containers:\n{}", vms(&with(VM, &[OFF])), with(CT, &[OFF])),
            format!("{}    containers:\n{CT}", vms(&with(VM, &[("memory: 1024", "memory: 2048")]))),
        ),
        Scenario::change(
            "another pool",
            vms(&with(VM, &[("memory: 1024", "memory: 1024\n        pool: web")])),
            vms(&with(VM, &[("memory: 1024", "memory: 1024\n        pool: infra")])),
        )
        .shaped(with_pools),
        Scenario::change(
            "a template of a vm",
            vms(&with(VM, &[OFF])),
            vms(&with(VM, &[("state: running", "template: true")])),
        ),
        Scenario::change(
            "a template of a container",
            cts(&with(CT, &[OFF])),
            cts(&with(CT, &[("state: running", "template: true")])),
        ),
        Scenario::new("adopt", vms(bare)),
        Scenario::change(
            "rename",
            cts(CT),
            cts(&with(CT, &[("name: prod-dns-01", "name: prod-ns-01\n        renamed_from: prod-dns-01")])),
        ),
        Scenario::change("release", vms(VM), vms(&with(VM, &[("memory: 1024", "released: true")]))),
    ]
}

fn disks() -> Vec<Scenario> {
    let scsi1 = "scsi1: {storage: shared, size: 2GiB}";
    let grown = with(
        VM,
        &[("size: 4GiB", "size: 6GiB"), (scsi1, &format!("{scsi1}\n        virtio2: {{storage: shared, size: 1GiB}}"))],
    );
    let moved = with(VM, &[("storage: local-lvm, size: 4GiB", "storage: shared, size: 5GiB")]);
    let renamed = with(VM, &[(scsi1, "virtio1: {moved_from: scsi1, size: 3GiB}"), MAY_REBOOT]);
    let mounts = with(
        CT,
        &[
            ("rootfs: {storage: local-lvm, size: 2GiB}", "rootfs: {storage: shared, size: 3GiB}"),
            ("mp: /srv}", "mp: /srv, backup: true}\n        mp1: {storage: shared, size: 1GiB, mp: /data}"),
            MAY_REBOOT,
        ],
    );
    let without = with(VM, &[(scsi1, "scsi1: null")]);
    vec![
        Scenario::change("grow and add disks", vms(VM), vms(&grown)),
        Scenario::change("move a disk", vms(VM), vms(&moved)),
        Scenario::change("another key for a disk", vms(VM), vms(&renamed)),
        Scenario::change("volumes of a container", cts(CT), cts(&mounts)),
        Scenario::change("detach a disk", vms(VM), vms(&without)).accepting(&["detach:production/prod-db-01/scsi1"]),
        Scenario::change("attach a disk", vms(VM), vms(&with(VM, &[(scsi1, "scsi4: {volume: unused0, ssd: true}")])))
            .by_hand(&[(Method::Put, "/nodes/pve3/qemu/1001/config", &[("delete", "scsi1")])]),
        Scenario::change("destroy a disk", vms(VM), vms(&without))
            .by_hand(&[(Method::Put, "/nodes/pve3/qemu/1001/config", &[("delete", "scsi1")])])
            .accepting(&["destroy:production/prod-db-01/unused0"]),
    ]
}

fn places() -> Vec<Scenario> {
    let ha = |state: &str| with(VM, &[("state: running", &format!("ha: {{state: {state}, max_restart: 2}}"))]);
    vec![
        Scenario::change("migrate a running vm", vms(VM), vms(&with(VM, &[("node: pve3", "node: pve1")]))),
        Scenario::change(
            "migrate a stopped vm and change it",
            vms(&with(VM, &[OFF])),
            vms(&with(
                VM,
                &[OFF, ("node: pve3", "node: pve1"), ("size: 4GiB", "size: 6GiB"), ("memory: 1024", "memory: 2048")],
            )),
        ),
        Scenario::change(
            "migrate a container",
            cts(CT),
            cts(&with(CT, &[("node: pve2", "node: pve3\n        cores: 1")])),
        ),
        Scenario::change("begin high availability", vms(&with(VM, &[OFF])), vms(&ha("started"))),
        Scenario::change(
            "change high availability",
            vms(&ha("started")),
            vms(&with(&ha("stopped"), &[("max_restart: 2", "max_restart: 3")])),
        ),
        Scenario::change(
            "end high availability",
            vms(&ha("started")),
            vms(&with(VM, &[MAY_REBOOT, ("state: running", "state: running\n        ha: null")])),
        ),
        Scenario::change(
            "migrate what is highly available",
            vms(&ha("started")),
            vms(&with(&ha("started"), &[("node: pve3", "node: pve1")])),
        ),
    ]
}

fn ending() -> Vec<Scenario> {
    let ha = with(VM, &[("state: running", "ha: {state: started}")]);
    let none = format!("{HEAD}    vms: []\n");
    let anew = with(CT, &[("unprivileged: true", "unprivileged: false\n        recreate: true")]);
    vec![
        Scenario::change("delete a vm and a container", format!("{}    containers:\n{CT}", vms(VM)), none.clone())
            .pruning()
            .accepting(&["empty:homelab"]),
        Scenario::change("delete what is highly available", vms(&ha), none).pruning().accepting(&["empty:homelab"]),
        Scenario::change("recreate a container", cts(CT), cts(&anew)).accepting(&["recreate:production/prod-dns-01"]),
        Scenario::change("stop hard", vms(VM), vms(&with(VM, &[OFF]))).accepting(&["stop:production/prod-db-01"]),
    ]
}

fn many() -> Vec<Scenario> {
    let proxy = with(
        CT,
        &[
            ("1101", "1102"),
            ("prod-dns-01", "prod-a-proxy"),
            ("memory: 512", "memory: 512\n        depends_on: [prod-db-01]"),
        ],
    );
    let mut two_clusters = Scenario::new(
        "two clusters",
        format!(
            "{}  staging:\n    vms:\n      - {{name: stg-web-01, vmid: 101, node: stg1, clone: {{from: 9000}}, cores: 1, state: running}}\n",
            vms(&with(VM, &[("        scsi1: {storage: shared, size: 2GiB}\n", "")]))
        ),
    );
    two_clusters.clusters = &["production", "staging"];
    vec![
        Scenario::new("guests that need each other", format!("{}    containers:\n{proxy}", vms(VM))),
        Scenario::change(
            "make, change and delete at once",
            format!("{}    containers:\n{CT}", vms(VM)),
            vms(&format!("{}{CLONE}", with(VM, &[("memory: 1024", "memory: 2048"), MAY_REBOOT]))),
        )
        .pruning(),
        two_clusters,
    ]
}
