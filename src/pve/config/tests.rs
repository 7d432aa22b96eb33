use proptest::prelude::*;

use super::*;

fn remarks(kind: GuestKind, text: &str) -> Vec<String> {
    GuestFile::parse(kind, 100, text).1.into_iter().map(|remark| remark.text).collect()
}

fn rewritten(kind: GuestKind, text: &str) -> String {
    GuestFile::parse(kind, 100, text).0.print().unwrap()
}

#[test]
fn values_are_brought_into_form() {
    let text = "onboot: yes\ncores: 007\nname: a\nargs: \"x\"\nfoo: 1\ncpulimit: .5\n";
    assert_eq!(rewritten(GuestKind::Qemu, text), "args: x\ncores: 7\nname: a\nonboot: 1\n");
    assert_eq!(
        remarks(GuestKind::Qemu, text),
        [
            "vm 100 - unable to parse value of 'foo' - unknown setting 'foo'\n",
            "vm 100 - unable to parse value of 'cpulimit' - type check ('number') failed - got '.5'\n"
        ]
    );
    assert_eq!(rewritten(GuestKind::Lxc, "foo: 1\nonboot: maybe\n"), "foo: 1\nonboot: maybe\n");
    assert_eq!(remarks(GuestKind::Lxc, "lxc.utsname: a\n").len(), 1);
    assert!(GuestFile::parse_strict(GuestKind::Lxc, 100, "lxc.utsname: a\n").is_ok());
}

#[test]
fn sections_are_known_by_their_heads() {
    let text = "[a]\nx\n[snap]\ncores: 1\n[snap]\n[pending]\n[PENDING]\ndelete: a\n[special:cloudinit]\nfoo: bar\n";
    assert_eq!(
        remarks(GuestKind::Qemu, text),
        [
            "vm 100 - skipping unknown section: 'a'\n",
            "vm 100 - duplicate snapshot section: snap\n",
            "vm 100 - duplicate section: pending\n"
        ]
    );
    assert_eq!(rewritten(GuestKind::Qemu, text), "\n[PENDING]\ndelete: a\n\n[snap]\n");
    assert_eq!(
        remarks(GuestKind::Lxc, "delete: a\n"),
        ["vm 100 - property 'delete' is only allowed in [pve:pending]\n"]
    );
    assert!(GuestFile::parse(GuestKind::Lxc, 100, "[pending]\n").0.snapshots.contains_key("pending"));
}

#[test]
fn volumes_in_use_are_not_unused() {
    let text = "scsi0: lvm:vm-100-disk-0,size=1G\nunused0: lvm:vm-100-disk-0\nunused1: lvm:vm-100-disk-1\n";
    assert_eq!(rewritten(GuestKind::Qemu, text), "scsi0: lvm:vm-100-disk-0,size=1G\nunused1: lvm:vm-100-disk-1\n");
    let pending = "unused0: lvm:vm-100-disk-0\n[PENDING]\nscsi0: lvm:vm-100-disk-0\n";
    assert_eq!(rewritten(GuestKind::Qemu, pending), "\n[PENDING]\nscsi0: lvm:vm-100-disk-0\n");
}

#[test]
fn a_cloudinit_section_needs_a_drive() {
    let text = "ide2: lvm:vm-100-cloudinit,media=cdrom\n\n[special:cloudinit]\nname: a\n";
    assert_eq!(rewritten(GuestKind::Qemu, text), text);
    assert_eq!(rewritten(GuestKind::Qemu, "[special:cloudinit]\nname: a\n"), "");
}

#[test]
fn old_keys_are_replaced() {
    assert_eq!(rewritten(GuestKind::Qemu, "smp: 2\ncores: 4\n"), "sockets: 2\n");
    assert_eq!(rewritten(GuestKind::Qemu, "smp: 2\nsockets: 3\n"), "sockets: 3\n");
    assert_eq!(rewritten(GuestKind::Qemu, "cdrom: none\n"), "ide2: none\n");
}

#[test]
fn the_ends_of_descriptions() {
    let read = |kind, text| GuestFile::parse(kind, 100, text).0.current.values.get("description").cloned();
    assert_eq!(read(GuestKind::Qemu, "#a\n#\n").as_deref(), Some("a"));
    assert_eq!(read(GuestKind::Lxc, "#a\n#\n").as_deref(), Some("a\n\n"));
    assert_eq!(read(GuestKind::Qemu, "#\n").as_deref(), Some(""));
    assert_eq!(rewritten(GuestKind::Qemu, "#\n[PENDING]\n#\n"), "\n[PENDING]\n#\n");
    assert_eq!(rewritten(GuestKind::Qemu, "description: 0\n"), "");
}

/// Sections that a server could have written.
fn sections(kind: GuestKind) -> impl Strategy<Value = Section> {
    let lines = match kind {
        GuestKind::Qemu => vec![
            ("cores", "4"),
            ("cpu", "host,flags=+aes"),
            ("memory", "2048"),
            ("name", "web1"),
            ("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0"),
            ("onboot", "0"),
            ("parent", "snap1"),
            ("scsi0", "lvm:vm-100-disk-0,size=4G"),
            ("tags", " "),
            ("unused0", "lvm:vm-100-disk-1"),
        ],
        GuestKind::Lxc => vec![
            ("cores", "4"),
            ("env", "A=1\0B=2"),
            ("foo", "kept"),
            ("hostname", "ct1"),
            ("memory", "512"),
            ("mp0", "lvm:vm-100-disk-1,mp=/a"),
            ("rootfs", "lvm:vm-100-disk-0,size=4G"),
            ("unprivileged", "1"),
        ],
    };
    let raw = if kind == GuestKind::Lxc { 0..3usize } else { 0..1 };
    let entry = ("lxc\\.(cgroup2|net)\\.[a-z]{1,6}", "[a-z0-9 =:]{0,10}");
    (
        prop::sample::subsequence(lines, 0..8),
        prop::option::of("[a-zé:%# ]{1,20}(\n[ -~]{1,10}z){0,2}z"),
        prop::collection::vec(entry, raw),
    )
        .prop_map(move |(lines, description, raw)| {
            let mut values: BTreeMap<String, String> =
                lines.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            if let Some(text) = description {
                let end = if kind == GuestKind::Lxc { "\n" } else { "" };
                values.insert("description".to_owned(), text + end);
            }
            Section { values, raw: raw.into_iter().map(|(key, value)| (key, value.trim().to_owned())).collect() }
        })
}

fn files(kind: GuestKind) -> impl Strategy<Value = GuestFile> {
    let snapshots = prop::collection::btree_map("snap[0-9]", sections(kind), 0..3);
    (sections(kind), sections(kind), snapshots).prop_map(move |(current, pending, snapshots)| GuestFile {
        kind,
        current,
        pending,
        special: BTreeMap::new(),
        snapshots,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_written_file_is_read_back(vm in files(GuestKind::Qemu), container in files(GuestKind::Lxc)) {
        for file in [vm, container] {
            let text = file.print().unwrap();
            prop_assert_eq!(GuestFile::parse(file.kind, 100, &text).0, file);
        }
    }

    #[test]
    fn any_text_is_read(text in "([a-z#\\[:]{0,8}[a-z0-9:\\] ,=%.]{0,20}\n){0,6}|.{0,60}") {
        for kind in GuestKind::ALL {
            let (file, _) = GuestFile::parse(kind, 100, &text);
            let _ = file.print();
            file.to_json();
        }
    }
}
