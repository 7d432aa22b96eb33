"""A guest's life through proxmoxer: create, clone, resize, snapshot, migrate, delete.

Called with the simulator's ready file and how to log in: token, or a user and a password.
Any answer that a user of proxmoxer would stumble over ends it.
"""

import json
import sys
import tempfile

from proxmoxer import ProxmoxAPI, ResourceException
from proxmoxer.tools import Tasks


def connect(cluster, ca_file, login):
    place = f"{cluster['host']}:{cluster['port']}"
    if login[0] == "token":
        user, name = cluster["token_id"].split("!")
        return ProxmoxAPI(place, user=user, token_name=name, token_value=cluster["token_secret"], verify_ssl=ca_file)
    return ProxmoxAPI(place, user=login[1], password=login[2], verify_ssl=ca_file)


def story(api):
    def done(upid):
        status = Tasks.blocking_status(api, upid, timeout=60, polling_interval=0.05)
        assert status is not None, f"{upid} does not end"
        assert status["exitstatus"] == "OK", status
        log = Tasks.blocking_status(api, upid, timeout=60, polling_interval=0.05)
        assert Tasks.decode_upid(upid)["node"] == log["node"]
        return status

    nodes = sorted(node["node"] for node in api.nodes.get())
    assert nodes == ["pve1", "pve2", "pve3"], nodes
    assert api.version.get()["release"] == "9.1"
    first = api.nodes("pve1")
    vmid = int(api.cluster.nextid.get())
    done(first.qemu.create(vmid=vmid, name="made", memory=1024, cores=2, scsihw="virtio-scsi-single",
                           scsi0="local-lvm:8,discard=on", net0="virtio,bridge=vmbr0", ostype="l26", tags="b;a"))
    config = first.qemu(vmid).config.get()
    assert config["name"] == "made" and config["cores"] == 2 and set(config["tags"].split(";")) == {"a", "b"}, config
    assert config["scsi0"] == f"local-lvm:vm-{vmid}-disk-0,discard=on,size=8G", config

    first.qemu(vmid).config.put(cores=4, description="by proxmoxer\nsecond line")
    assert first.qemu(vmid).config.get()["cores"] == 4
    done(first.qemu(vmid).resize.put(disk="scsi0", size="+2G"))
    assert "size=10G" in first.qemu(vmid).config.get()["scsi0"]

    copy = vmid + 1
    done(first.qemu(vmid).clone.post(newid=copy, name="copied", full=1))
    done(first.qemu(copy).snapshot.post(snapname="before", description="x"))
    names = {snapshot["name"] for snapshot in first.qemu(copy).snapshot.get()}
    assert names == {"before", "current"}, names
    first.qemu(copy).config.put(memory=2048)
    done(first.qemu(copy).snapshot("before").rollback.post())
    assert first.qemu(copy).config.get()["memory"] == "1024"
    done(first.qemu(copy).snapshot("before").delete())

    done(first.qemu(vmid).status.start.post())
    assert first.qemu(vmid).status.current.get()["status"] == "running"
    done(first.qemu(vmid).status.shutdown.post(timeout=30))
    assert first.qemu(vmid).status.current.get()["status"] == "stopped"

    second = api.nodes("pve2")
    done(first.qemu(copy).migrate.post(**{"target": "pve2", "with-local-disks": 1}))
    assert second.qemu(copy).config.get()["name"] == "copied"

    container = vmid + 2
    done(first.lxc.create(vmid=container, hostname="ct", memory=256, unprivileged=1, rootfs="local-lvm:4",
                          ostemplate="local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst",
                          net0="name=eth0,bridge=vmbr0,ip=dhcp"))
    first.lxc(container).config.put(memory=512)
    done(first.lxc(container).status.start.post())
    done(first.lxc(container).status.stop.post())

    try:
        first.qemu(999999).config.get()
        raise AssertionError("a guest that is not there was read")
    except ResourceException as error:
        assert error.status_code == 500 and "does not exist" in str(error), error
    try:
        first.qemu(vmid).config.put(cores="many")
        raise AssertionError("a wrong value was taken")
    except ResourceException as error:
        assert error.status_code == 400 and "cores" in (error.errors or {}), (error, error.errors)

    done(first.qemu(vmid).delete(purge=1))
    done(second.qemu(copy).delete())
    done(first.lxc(container).delete())
    left = {row["vmid"] for row in api.cluster.resources.get(type="vm")}
    assert not left & {vmid, copy, container}, left


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        cluster = json.load(file)["clusters"][0]
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as ca_file:
        ca_file.write(cluster["ca_pem"])
        ca_file.flush()
        api = connect(cluster, ca_file.name, sys.argv[2:])
        story(api)
    print("the story is told")


main()
