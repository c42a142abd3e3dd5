"""User namespaces: /opt/ml, host name, /etc/hosts and process table of a container, without root."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

from localcloud.sagemaker.containers.spec import ContainerSpec

# --kill-child and the namespace of process ids: whatever a container started ends with it, detached or not.
_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount", "--uts", "--pid", "--fork", "--kill-child=KILL")
# The proc file system cannot be mounted where parts of /proc are covered, as within Docker.
_VARIANTS = ((*_UNSHARE, "--mount-proc"), _UNSHARE)
_PROBE_TIMEOUT_S = 10.0

# Entries of /opt stay: interpreters and toolkits are often there. $1: folder, $2: host name, $3: read-only folders.
_ENTER = """set -e
folder=$1 opt=$1/opt read_only=$3; hostname "$2"; shift 3
mkdir -p "$opt" && mount --rbind /opt "$opt" && mount -t tmpfs none /opt
for entry in "$opt"/*; do
    [ "${entry##*/}" != ml ] && [ -d "$entry" ] || continue
    mkdir "/opt/${entry##*/}" && mount --rbind "$entry" "/opt/${entry##*/}"
done
mkdir /opt/ml && mount --bind "$folder/ml" /opt/ml && mount --bind "$folder/hosts" /etc/hosts
for name in $read_only; do
    mount --bind "/opt/ml/$name" "/opt/ml/$name" && mount -o remount,bind,ro "/opt/ml/$name"
done
cd /opt/ml && exec "$@"
"""


@cache
def prefix() -> tuple[str, ...]:
    """Return the command that enters new namespaces; empty if this system does not allow them."""
    if not all(map(shutil.which, ("unshare", "setpriv"))):
        return ()
    return next((variant for variant in _VARIANTS if _works(variant)), ())


def _works(variant: tuple[str, ...]) -> bool:
    command = [*variant, "sh", "-c", "mount -t tmpfs none /opt && hostname probe"]
    try:
        return subprocess.run(command, capture_output=True, timeout=_PROBE_TIMEOUT_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def command_of(spec: ContainerSpec) -> list[str]:
    """Return the command that runs a container in namespaces of its own; it ends with the thread that started it."""
    enter = ["sh", "-c", _ENTER, "sh", str(spec.folder), spec.host_name, " ".join(spec.read_only)]
    return ["setpriv", "--pdeathsig", "KILL", *prefix(), *enter, *spec.command]


def write_hosts(spec: ContainerSpec) -> None:
    """Write the container's /etc/hosts: this computer's, and the containers of the job."""
    own = Path("/etc/hosts").read_text(encoding="utf-8", errors="replace")
    names = "".join(f"{address} {name}\n" for name, address in spec.hosts.items())
    (spec.folder / "hosts").write_text(f"{own}\n{names}", encoding="utf-8")
