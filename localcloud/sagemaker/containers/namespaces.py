"""User namespaces: file system, host name, /etc/hosts and process table of a container, without root."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from localcloud.sagemaker.containers.spec import ContainerSpec

# --kill-child and the namespace of process ids: whatever a container started ends with it, detached or not.
_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount", "--uts", "--pid", "--fork", "--kill-child=KILL")
# The proc file system cannot be mounted where parts of /proc are covered, as within Docker.
_VARIANTS = ((*_UNSHARE, "--mount-proc"), _UNSHARE)
_PROBE_TIMEOUT_S = 10.0

# $1: folder, $2: host name, $3: read-only folders, $4: hidden paths, $5: paths below them that stay. The folder is
# bound to itself, so that it is writable when the rest is not; entries of /opt stay: interpreters are often there.
_ENTER = """set -e
folder=$1 opt=$1/opt read_only=$3 hidden=$4 shown=$5; hostname "$2"; shift 5
mount --rbind "$folder" "$folder"
mkdir -p "$opt" && mount --rbind /opt "$opt" && mount -t tmpfs none /opt
for entry in "$opt"/*; do
    [ "${entry##*/}" != ml ] && [ -d "$entry" ] || continue
    mkdir "/opt/${entry##*/}" && mount --rbind "$entry" "/opt/${entry##*/}"
done
mkdir /opt/ml /opt/.shown && mount --bind "$folder/ml" /opt/ml && mount --bind "$folder/hosts" /etc/hosts
for name in $read_only; do
    mount --bind "/opt/ml/$name" "/opt/ml/$name" && mount -o remount,bind,ro "/opt/ml/$name"
done
place() { if [ -d "$1" ]; then mkdir -p "$2"; else mkdir -p "${2%/*}" && : >"$2"; fi && mount --rbind "$1" "$2"; }
IFS='
'
number=0
for path in $shown; do number=$((number + 1)); place "$path" "/opt/.shown/$number"; done
for path in $hidden; do
    if [ -d "$path" ]; then mount -t tmpfs -o mode=1777 none "$path"; else mount --bind /dev/null "$path"; fi
done
number=0
for path in $shown; do number=$((number + 1)); place "/opt/.shown/$number" "$path"; done
mount -o remount,bind,ro / || :
cd /opt/ml && exec "$@"
"""


@dataclass(frozen=True)
class Namespaces:
    """Namespaces of containers, and the files that are visible in them.

    :param hidden: paths that are empty in a container: those of the user, and temporary folders.
    :param shown: paths that are visible although they are below hidden ones.
    :param is_wanted: False for containers without namespaces.
    """

    hidden: tuple[Path, ...] = ()
    shown: tuple[Path, ...] = ()
    is_wanted: bool = True

    @cached_property
    def are_available(self) -> bool:
        """True if containers get namespaces: some systems do not allow them."""
        return self.is_wanted and bool(_prefix())

    def command_of(self, spec: ContainerSpec) -> list[str]:
        """Return the command that runs a container in its namespaces; it ends with the thread that started it."""
        hidden = [path for path in _outermost(self.hidden) if path.exists()]
        shown = [
            path
            for path in _outermost((spec.folder, *spec.shown, *self.shown))
            if _is_below(path, hidden) and path.exists()
        ]
        texts = (" ".join(spec.read_only), "\n".join(map(str, hidden)), "\n".join(map(str, shown)))
        enter = ["sh", "-c", _ENTER, "sh", str(spec.folder), spec.host_name, *texts]
        return ["setpriv", "--pdeathsig", "KILL", *_prefix(), *enter, *spec.command]


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Return the paths that are not below another one."""
    unique = sorted({path.resolve() for path in paths})
    return [path for path in unique if not _is_below(path, [other for other in unique if other != path])]


def _is_below(path: Path, folders: Sequence[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


@cache
def _prefix() -> tuple[str, ...]:
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


def write_hosts(spec: ContainerSpec) -> None:
    """Write the container's /etc/hosts: this computer's, and the containers of the job."""
    own = Path("/etc/hosts").read_text(encoding="utf-8", errors="replace")
    names = "".join(f"{address} {name}\n" for name, address in spec.hosts.items())
    (spec.folder / "hosts").write_text(f"{own}\n{names}", encoding="utf-8")
