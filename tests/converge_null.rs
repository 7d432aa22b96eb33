//! Apply, then plan, is empty: where the manifest wants absent what Proxmox sets by itself when a guest is made.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use pvefleet::plan::{ReasonCode, State};
use pvefleet::pve::schema::catalog_for;
use pvefleet::pve::value::GuestKind;
use pvefleet::sim::world::VolumeSpec;
use support::{World, containers, only, vms};

const BACKUP: &str = "local:backup/vzdump-qemu-500-2025_06_01-02_00_00.vma.zst";

/// How a guest is made.
const VMS: [(&str, &str); 3] = [
    ("from nothing", "        scsi0: {storage: local-lvm, size: 1GiB}\n"),
    ("from a template", "        clone: {from: debian-12}\n"),
    ("from a backup", "        archive: local:backup/vzdump-qemu-500-2025_06_01-02_00_00.vma.zst\n"),
];
const CT: &str = "        ostemplate: local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst
        rootfs: {storage: local-lvm, size: 1GiB}
";

fn world(version: &'static str) -> World {
    World::shaped(&["production"], "", |spec| {
        spec.version = version.to_owned();
        // A template that was made before VMs had such ids.
        for guest in &mut spec.guests {
            guest.config.remove("smbios1");
        }
        spec.volumes.push(VolumeSpec {
            volid: BACKUP.to_owned(),
            node: "pve2".to_owned(),
            size: 1 << 30,
            archive: Some("boot: order=scsi0\nname: old\nscsi0: local-lvm:vm-500-disk-0,size=1G\n".to_owned()),
        });
    })
}

fn guest(lines: &str) -> String {
    format!("      - name: prod-new\n        node: pve2\n        state: running\n{lines}")
}

/// What becomes of a guest with these lines that is not there: it is made as it is wanted, or why it is not.
async fn made(manifest: &str, version: &'static str) -> Result<(), ReasonCode> {
    let world = world(version);
    let plan = world.plan(manifest).await;
    if only(&plan).state == State::Blocked {
        return Err(only(&plan).reason.as_ref().unwrap().code);
    }
    world.converge(manifest).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_proxmox_sets_by_itself_is_gone_before_the_first_start() {
    for version in ["8.4", "9.1"] {
        for (how, lines) in VMS {
            for (option, expected) in
                [("boot", Ok(())), ("smbios1", Ok(())), ("vmgenid", Err(ReasonCode::RootOnly)), ("machine", Ok(()))]
            {
                // A backup without such an id is restored without one.
                let expected = if how == "from a backup" { Ok(()) } else { expected };
                let manifest = vms(&guest(&format!("{lines}        ostype: l26\n        {option}: null\n")));
                assert_eq!(made(&manifest, version).await, expected, "{option} {how} on {version}");
            }
        }
    }
    let world = world("9.1");
    let plan = world.converge(&vms(&guest(&format!("{}        boot: null\n", VMS[0].1)))).await;
    let words: Vec<&str> = only(&plan).steps.iter().map(|step| step.words.as_str()).collect();
    assert_eq!(words, ["create VM prod-new", "set no boot", "start"]);
}

#[tokio::test(start_paused = true)]
async fn every_option_may_be_absent_at_once() {
    for version in ["8.4", "9.1"] {
        for kind in GuestKind::ALL {
            // Other names of options, what has rules of its own, and what cannot be removed.
            let taken = "cdrom smp template lock unused255 name hostname vmgenid ostype rootfs unprivileged arch";
            let taken: Vec<&str> = taken.split(' ').collect();
            let mut lines = String::new();
            for (name, spec) in catalog_for(kind, version).iter().filter(|(_, spec)| spec.update) {
                let name = name.replace("[n]", &spec.index.map_or(0, |[_, last]| last).to_string());
                if !taken.contains(&name.as_str()) {
                    lines.push_str(&format!("        {name}: null\n"));
                }
            }
            match kind {
                GuestKind::Qemu => drop(world(version).converge(&vms(&guest(&lines))).await),
                GuestKind::Lxc => {
                    let lines = format!("{CT}        unprivileged: true\n{lines}");
                    drop(world(version).converge(&containers(&guest(&lines))).await);
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_without_unprivileged_is_a_privileged_one() {
    for version in ["8.4", "9.1"] {
        let world = world(version);
        let manifest = containers(&guest(&format!("{CT}        unprivileged: null\n")));
        world.converge(&manifest).await;
        assert!(!world.file("production", "prod-new").contains("unprivileged"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_removed_again_is_not_begun() {
    let manifest = containers(&guest(&format!("{CT}        ostype: null\n")));
    assert_eq!(made(&manifest, "9.1").await, Err(ReasonCode::NotInPlace));
    for option in ["memory", "swap", "arch"] {
        let manifest = containers(&guest(&format!("{CT}        {option}: null\n")));
        assert_eq!(made(&manifest, "9.1").await, Ok(()), "{option}");
    }
}

/// The board of Windows is pinned to a version when it is made, and that is what was asked for.
#[tokio::test(start_paused = true)]
async fn the_pinned_board_of_windows_is_the_one_that_was_asked_for() {
    for machine in ["null", "pc", "q35", "{type: q35, viommu: virtio}", "pc-q35-9.2"] {
        for more in ["", "        unlisted: remove\n"] {
            let of = |ostype: &str| {
                vms(&guest(&format!("{}        ostype: {ostype}\n        machine: {machine}\n{more}", VMS[0].1)))
            };
            let made = world("9.1");
            made.converge(&of("win11")).await;
            let pinned = made.file("production", "prod-new");
            // So is that of one that becomes Windows.
            let changed = world("9.1");
            changed.converge(&of("l26").replace("running", "stopped")).await;
            changed.converge(&of("win11")).await;
            let version = if machine.contains("9.2") { "-9.2" } else { "-10.1" };
            for file in [&pinned, &changed.file("production", "prod-new")] {
                assert!(file.lines().any(|line| line.starts_with("machine: pc-") && line.contains(version)), "{file}");
            }
            // Another one is a change, and one that is pinned by hand is.
            let other = if machine.contains("q35") { "pc" } else { "q35" };
            let manifest = of("win11").replace(&format!("machine: {machine}"), &format!("machine: {other}"));
            assert!(!made.plan(&manifest).await.is_empty(), "{machine} to {other}");
            let manifest = of("win11").replace(&format!("machine: {machine}"), "machine: pc-q35-8.1");
            assert!(!made.plan(&manifest).await.is_empty(), "{machine} to one by hand");
        }
    }
    let unlisted = format!("{}        ostype: win11\n        unlisted: remove\n", VMS[0].1);
    world("9.1").converge(&vms(&guest(&unlisted))).await;
}
