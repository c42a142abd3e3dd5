"""The scripts that run on the VMs, as they lie in the package, and the envelope they travel in."""

from __future__ import annotations

import io
import shlex
import tarfile
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

RUN_SCRIPTS = (
    *("task.sh", "container.sh", "cancel.sh", "spot.sh", "python.sh", "interface.py"),
    *("dask_main.sh", "dask_gate.py", "torchrun.sh", "mxnet_main.sh", "horovod.sh", "mpi.sh"),
    *("mesh.py", "mesh_lead.py", "mesh_env.sh", "mesh_ssh.sh", "mesh_host.sh", "mesh_main.sh", "rank.sh", "alive.sh"),
    *("mesh_up.sh", "mesh_guard.sh", "mesh_guard.py", "end_main.sh"),
)
INSTALL_SCRIPTS = (
    "install.sh",
    "stage.py",
    *(
        f"steps/{name}.sh"
        for name in ("common", "apt", "python", "requirements", "parcel", "s3", "engine", "gpu", "image")
    ),
)


@cache
def text(name: str) -> str:
    """Return a remote script's text.

    :param name: path below ``orchestrator/remote``.
    """
    return files("orchestrator").joinpath("remote", name).read_text(encoding="utf-8")


def inline_command(name: str, *args: str) -> str:
    """Return the command that runs a self-contained remote script with arguments, the script travelling in it."""
    return shlex.join(["sh", "-c", text(name), name, *args])


def bundle_command(name: str, *args: str) -> str:
    """Return the command that takes a :func:`bundle` on standard input and runs its script ``name`` with arguments.

    The script gets the bundle's folder as its first argument and what follows the bundle as its standard input.
    """
    return shlex.join(["sh", "-c", text("unpack.sh"), name, *args])


def bundle(files: Mapping[str, bytes]) -> bytes:
    """Pack files into what :func:`unpack` reads: a line with a length, then that many bytes of compressed tar."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=6) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o600
            archive.addfile(info, io.BytesIO(data))
    body = packed.getvalue()
    return b"%d\n" % len(body) + body


def scripts(names: tuple[str, ...], *, folder: str = "") -> dict[str, bytes]:
    """Return remote scripts as bundle content, in a folder of the bundle when ``under`` is given."""
    return {f"{folder}{name}": text(name).encode() for name in names}
