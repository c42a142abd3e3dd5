"""Scripts that run on the VMs, and the commands and bundles that carry them there."""

from __future__ import annotations

import gzip
import re
import shlex
import tarfile
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

RUN_SCRIPTS = (
    "task.sh",
    "container.sh",
    "cancel.sh",
    "spot.sh",
    "follow.sh",
    "python.sh",
    "limit.sh",
    "notify.sh",
    "results.sh",
    "checkpoints.sh",
    "checkpoints.py",
    "stage.py",
    "runs.sh",
    "run_notebook.py",
)
"""Scripts of every run; each framework names its own."""

STEPS = "common apt packages python conda setup requirements parcel place s3 engine gpu image present"

_STEP_SCRIPTS = tuple(f"steps/{name}.sh" for name in STEPS.split())
_PROGRAMS = ("parcel", "pieces", "peers", "image_share", "place", "stage", "uv_install")
INSTALL_SCRIPTS = ("install.sh", *(f"{name}.py" for name in _PROGRAMS), *_STEP_SCRIPTS)
_REFERENCE = re.compile(r"STRATUS_BUNDLE/(steps/\w+\.sh|\w+\.py)|^ *(?:import|from) (\w+)", re.MULTILINE)


@cache
def text(name: str) -> str:
    """Return the text of a remote script.

    :param name: path below ``orchestrator/remote``.
    """
    return files("orchestrator").joinpath("remote", name).read_text(encoding="utf-8")


@cache
def text_without_comments(name: str) -> str:
    """Return the text of a remote script without indentation and lines that are only a comment; the line ``#!`` stays.

    For user data, whose size EC2 limits. The script must contain no text of several lines.

    :param name: path below ``orchestrator/remote``.
    """
    first, *lines = text(name).splitlines(keepends=True)
    stripped = (line.lstrip(" ") for line in lines)
    return first + "".join(line for line in stripped if not line.startswith("#"))


def inline_command(name: str, *args: str) -> str:
    """Return a command that contains a self-contained remote script and runs it with arguments."""
    return shlex.join(["sh", "-c", text(name), name, *args])


def bundle_command(name: str, *args: str) -> str:
    """Return a command that reads a :func:`bundle` from standard input and runs its script ``name`` with arguments.

    The script's first argument is the folder of the bundle; its standard input is what follows the bundle.
    """
    return shlex.join(["sh", "-c", text("unpack.sh"), name, *args])


def bundle(files: Mapping[str, bytes], *parts: bytes) -> bytes:
    """Return files in the format of :func:`bundle_command`: a line with a length, then a gzip tar of that length.

    :param parts: further files, as of :func:`bundle_part`.
    """
    body = b"".join((*parts, bundle_part(files), gzip.compress(bytes(2 * tarfile.BLOCKSIZE), mtime=0)))
    # The length comes first, because standard input continues after the bundle.
    return b"%d\n" % len(body) + body


def bundle_part(files: Mapping[str, bytes]) -> bytes:
    """Return files as a part of bundles: what several hosts get is compressed once."""
    # For the owner only: bundles contain keys and environments of jobs.
    return bundle_copies((name, data, 0o700 if "/bin/" in name else 0o600, 0) for name, data in files.items())


def bundle_copies(files: Iterable[tuple[str, bytes, int, int]]) -> bytes:
    """Return files as a part of bundles, each with its name, content, mode and time of change in ns, or 0 for none."""
    blocks: list[bytes] = []
    for name, data, mode, mtime_ns in files:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), mode
        info.pax_headers = {"mtime": f"{mtime_ns // 10**9}.{mtime_ns % 10**9:09}"} if mtime_ns else {}
        header = info.tobuf(tarfile.PAX_FORMAT) if mtime_ns else info.tobuf(tarfile.GNU_FORMAT)
        blocks += [header, data, bytes(-len(data) % tarfile.BLOCKSIZE)]
    # A gzip file may have several members, and a tar several parts, as long as only the last one has the end mark.
    return gzip.compress(b"".join(blocks), compresslevel=6, mtime=0)


def scripts(names: tuple[str, ...], *, folder: str = "") -> dict[str, bytes]:
    """Return remote scripts as content of a bundle, in a folder of the bundle if given."""
    return {f"{folder}{name}": text(name).encode() for name in names}


@cache
def install_scripts(steps: frozenset[str]) -> tuple[str, ...]:
    """Return the names of those INSTALL_SCRIPTS that an install needs, which every host unpacks.

    :param steps: scripts of its steps.
    """
    needed, names = set[str](), ["install.sh", *(f"steps/{step}" for step in steps)]
    while names:
        if (name := names.pop()) in needed or name not in INSTALL_SCRIPTS:
            continue
        needed.add(name)
        names += [script or f"{module}.py" for script, module in _REFERENCE.findall(text(name))]
    return tuple(name for name in INSTALL_SCRIPTS if name in needed)
