"""The scripts of VMs on each distribution of ``distributions.toml``: stub tools have only what its row has."""

from __future__ import annotations

import ast
import subprocess

import pytest

from localcloud.contract import distributions
from localcloud.contract.distributions import ENGINE_PRESENT, Distribution
from orchestrator.aws.ec2.images import login_name
from orchestrator.core import remote_scripts
from tests.support.host_tools import HostWithTools, fix_of, host, run_step, without
from tests.support.paths import REMOTE

__all__ = ["host"]

ROWS = distributions.read()
each_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
RED_HAT = ("red-hat-9", "rocky-9")

# As the package managers word it, in the C locale; and their exit status.
UNKNOWN = {
    "apt-get": 'echo "E: Unable to locate package $name"; exit 100',
    "dnf": 'echo "No match for argument: $name"; echo "Error: Unable to find a match: $name"; exit 1',
}
MANAGER = """echo "$@" >>{home}/calls
case " $* " in *" update "*) exit 0 ;; *" install "*) ;; *) exit 1 ;; esac
while [ "$1" != install ]; do shift; done
shift
for name in "$@"; do
    case " {packages} " in *" $name "*) ;; *) {unknown} ;; esac
done
for name in "$@"; do
    : >{home}/installed-$name
    case $name in
    *-venv | *-pip) ;;
    docker*) ln -s /bin/true {home}/tools/dockerd ;;
    python3*) cp {home}/tools/python3 {home}/tools/$name ;;
    esac
done
"""
UNITS = """case "$*" in
*docker*) : >{home}/started ;;
"reload {ssh}") : >{home}/reloaded ;;
*) exit 5 ;;
esac
"""
PYTHON = """case "$*" in
*ensurepip*) [ -z "{venv}" ] || [ "${{0##*/}}" != python3 ] || [ -e {home}/installed-{venv} ] ;;
*"-m venv"*) for folder; do :; done; mkdir -p "$folder/bin" && cp "$0" "$folder/bin/python" ;;
*) exit 0 ;;
esac
"""


def system(host: HostWithTools, row: Distribution) -> HostWithTools:
    """Return the host with the tools, packages and units of a row."""
    pythons = [f"python3.{minor}" for minor in range(8, 16)]
    plain = without(host, "apt-get", "dnf", "docker", "dockerd", "systemctl", "service", "restorecon", *pythons)
    release = host.home / "os-release"
    release.write_text(f"ID={'rhel' if row.name in RED_HAT else 'other'}\n")
    host.tool(
        row.manager,
        MANAGER.format(home=host.home, packages=" ".join(row.packages), unknown=UNKNOWN[row.manager]),
    )
    host.tool("python3", PYTHON.format(home=host.home, venv=row.venv))
    # The only unit that starts is the engine's, and the only one that reloads is that of the SSH server.
    units = UNITS.format(home=host.home, ssh=row.ssh)
    host.tool("systemctl", units)
    host.tool("service", units)
    host.tool("usermod", "exit 0\n")
    host.tool("docker", f"[ -e {host.home}/started ] && echo amd64\n")
    if row.docker == ENGINE_PRESENT:
        (host.home / "started").touch()
        (host.home / "tools/dockerd").symlink_to("/bin/true")
    return HostWithTools(
        host.home, plain.extra_env | {"STRATUS_UV": "no", "STRATUS_OS_RELEASE": str(release), "STRATUS_SBIN": "/none"}
    )


def installed(host: HostWithTools) -> set[str]:
    """Return the packages that were installed."""
    return {path.name.removeprefix("installed-") for path in host.home.glob("installed-*")}


@each_row
def test_an_engine_is_installed_where_the_distribution_has_one(host: HostWithTools, row: Distribution) -> None:
    tools = system(host, row)
    if run_step(tools, "engine.sh", "check")[0] == 0:
        assert row.docker == ENGINE_PRESENT
        return
    status, lines = run_step(tools, "engine.sh", "apply")

    assert installed(host) == ({row.docker} if row.docker else set())
    if row.docker:
        assert (status, run_step(tools, "engine.sh", "check")[0]) == (0, 0), lines
    else:
        assert lines[-1] == "this distribution has no package of a Docker engine (it has podman)"
        assert fix_of(lines).startswith("set runtime = venv in job.ini")


@each_row
def test_an_environment_takes_the_packages_that_it_needs(host: HostWithTools, row: Distribution) -> None:
    status, lines = run_step(system(host, row), "python.sh", "apply", "job", "python3", "no")

    assert status == 0, lines
    assert installed(host) == ({row.venv} if row.venv else set())


@each_row
def test_newer_versions_of_python_are_installed_where_there_are_any(host: HostWithTools, row: Distribution) -> None:
    tools = system(host, row)
    for python in row.pythons:
        status, lines = run_step(tools, "python.sh", "apply", "job", python, "no")
        assert (status, python in installed(host)) == (0, True), lines
    status, lines = run_step(tools, "python.sh", "apply", "job", "python3.99", "no")

    assert (status, lines[-1]) == (1, "no python3.99 on this VM: set python in job.ini")


@each_row
def test_sshd_reloads_its_new_host_key_with_its_label(host: HostWithTools, row: Distribution) -> None:
    """Under SELinux a key without its label locks the VM."""
    tools = system(host, row)
    key = host.home / "etc/ssh_host_ed25519_key"
    key.parent.mkdir()
    for name in ("ssh_host_ed25519_key", "ssh_host_ed25519_key.stratus-1"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key.with_name(name)], check=True)
    public = [key.with_name(f"{key.name}{suffix}.pub").read_text() for suffix in ("", ".stratus-1")]
    boot, new = (" ".join(text.split()[:2]) for text in public)
    host.tool("sshd", f"echo hostkey {key}\necho pidfile {host.home}/none\n")
    if row.selinux != "disabled":
        host.tool("restorecon", f'echo "$@" >{host.home}/labels\n')
    answer = tools.run(f"sh -s adopt {boot!r} {new!r}", remote_scripts.text("rotate.sh").encode())

    assert answer == f"@@current {new}\n"
    assert (host.home / "reloaded").exists()
    labels = host.home / "labels"
    assert (labels.read_text().split() if labels.exists() else []) == (
        [str(key), f"{key}.pub"] if row.selinux != "disabled" else []
    )


def test_temporary_files_of_an_install_are_on_the_disk(host: HostWithTools) -> None:
    """Where /tmp is in memory, a large package does not fit."""
    assert any(row.tmp == "memory" for row in ROWS.values())
    venv = host.home / "stratus/venvs/job/bin"
    venv.mkdir(parents=True)
    (venv / "python").write_text(f'#!/bin/sh\necho "$TMPDIR" >{host.home}/folder\n')
    (venv / "python").chmod(0o755)
    plan = [["requirements", "requirements.sh", "job", "d1", "requirements.txt"]]
    HostWithTools(host.home, {"STRATUS_UV": "no"}).install(plan, None, **{"requirements.txt": b"torch\n"})

    assert (host.home / "folder").read_text() == "/var/tmp\n"


def test_what_runs_on_vms_in_python_is_valid_for_the_oldest_version() -> None:
    """Best effort: the parser knows the grammar of older versions, not their library."""
    oldest = min(tuple(map(int, row.python.split("."))) for row in ROWS.values())
    assert oldest == (3, 9)
    for file in REMOTE.rglob("*.py"):
        ast.parse(file.read_text(encoding="utf-8"), feature_version=oldest)


@each_row
def test_an_image_has_its_login_name(row: Distribution) -> None:
    title = row.name.replace("-", " ").replace("deep learning", "Deep Learning Base OSS Nvidia Driver GPU AMI")

    assert login_name(title) == row.user
    assert row.sources
    assert all(source.startswith("https://") for source in row.sources)
