#!/usr/bin/env bash
# Ansible's community.proxmox against the simulator: bash tests/clients/ansible.sh
#
# Installs Ansible, which brings the collection, and proxmoxer from PyPI into target/tmp; builds the program; plays
# tests/clients/ansible.yaml. The second run of each module must change nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."

home="${CARGO_TARGET_DIR:-$PWD/target}/tmp/clients-ansible"
mkdir -p "$home"
[ -x "$home/venv/bin/ansible-playbook" ] || {
    python3 -m venv "$home/venv"
    "$home/venv/bin/pip" install --quiet --disable-pip-version-check 'ansible>=12' proxmoxer requests
}
export ANSIBLE_LOCAL_TEMP="$home/tmp" ANSIBLE_HOME="$home/home"

program="${PVEFLEET:-}"
[ -n "$program" ] || { cargo build --quiet; program="${CARGO_TARGET_DIR:-$PWD/target}/debug/pvefleet"; }

work="$(mktemp -d)"
"$program" sim --clusters production --time-scale 0.2 --ready-file "$work/ready.json" \
    --access-log "$work/access.log" >/dev/null 2>&1 &
sim=$!
trap 'kill "$sim" 2>/dev/null || true; rm -rf "$work"' EXIT
until [ -s "$work/ready.json" ]; do kill -0 "$sim"; sleep 0.1; done
"$home/venv/bin/python" - "$work" <<'PYTHON'
import json, pathlib, sys
work = pathlib.Path(sys.argv[1])
cluster = json.loads((work / "ready.json").read_text())["clusters"][0]
user, name = cluster["token_id"].split("!")
(work / "ca.pem").write_text(cluster["ca_pem"])
(work / "vars.json").write_text(json.dumps({
    "api_host": cluster["host"], "api_port": cluster["port"], "api_user": user, "api_token_id": name,
    "api_token_secret": cluster["token_secret"],
}))
PYTHON
if ! REQUESTS_CA_BUNDLE="$work/ca.pem" "$home/venv/bin/ansible-playbook" -i localhost, -c local \
    -e "@$work/vars.json" -e "ansible_python_interpreter=$home/venv/bin/python" tests/clients/ansible.yaml; then
    tail -n 40 "$work/access.log"
    exit 1
fi
if grep "not implemented here" "$work/access.log"; then
    echo "calls that the simulator does not know" >&2
    exit 1
fi
echo "ansible: every module did what it said, and nothing the second time"
