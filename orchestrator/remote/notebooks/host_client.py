"""A Dask client in a notebook of a VM, of the cluster of a run there; jupyter.sh installs it as the module ``stratus``.

    import stratus

    client = stratus.client()  # of the newest run that works; stratus.client("k3") of another one

It takes the scheduler's address and the certificates from the folder of the run, ~/stratus/runs/RUN: the scheduler may
run on another VM.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

__all__ = ["client"]

PACKAGES = ("python", "dask", "distributed", "cloudpickle")
"""Tasks are pickled here and loaded there: these versions must agree."""

TIMEOUT_S = 30
_VERSION = re.compile(r"distributed==([0-9][0-9A-Za-z.]{0,30})$", re.MULTILINE)


class NoClient(RuntimeError):
    """The reason why there is no client, with what to do; a notebook shows it without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"stratus.client: {self}"]


def client(run: str = "", *, check: bool = True) -> Any:
    """Return a ``distributed.Client`` of the Dask cluster of a run that works.

    :param run: its id, or the end of it; the newest with a Dask cluster when empty.
    :param check: refuse a cluster whose versions of Python and Dask differ from those here.
    """
    folder = _find(run)
    try:
        from distributed import Client, Security
    except ImportError:
        raise NoClient(f"distributed is not installed in this kernel: {_advice(folder)}") from None
    tls = folder / "tls"
    security = Security(  # type: ignore[no-untyped-call, unused-ignore]
        tls_ca_file=str(tls / "ca.pem"),
        tls_client_cert=str(tls / "cert.pem"),
        tls_client_key=str(tls / "key.pem"),
        require_encryption=True,
    )
    try:
        dask = Client(_scheduler(folder), security=security, timeout=TIMEOUT_S, set_as_default=True)  # type: ignore[no-untyped-call, unused-ignore]
    except (OSError, TimeoutError) as error:
        raise NoClient(f"the scheduler of {folder.name} does not answer: {error}") from None
    if check:
        versions: Any = dask.get_versions()
        if differences := version_differences(versions["client"], versions["scheduler"]):
            dask.close()
            text = f"versions differ: {', '.join(differences)}: {_advice(folder)}; check=False connects all the same"
            raise NoClient(text)
    return dask


def version_differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Return the packages whose versions differ, with both: ``dask 2026.8.0 here, 2025.1.0 there``."""
    pairs = [(package, _version(here, package), _version(there, package)) for package in PACKAGES]
    return [f"{package} {own} here, {other} there" for package, own, other in pairs if own != other]


def _version(process: Mapping[str, Any], package: str) -> str:
    known = {**process.get("host", {}), **process.get("packages", {})}
    version = str(known.get(package))
    # Bytecode depends on the minor version alone.
    return ".".join(version.split(".")[:2]) if package == "python" else version


def _find(run: str) -> Path:
    """Return the folder of a run whose Dask cluster works."""
    folders = [folder for folder in _runs() if folder.name.endswith(run)]
    of_dask = [folder for folder in folders if _scheduler(folder)]
    for folder in of_dask:
        if _is_running(folder):
            return folder
    if run and not folders:
        raise NoClient(f"there is no run {run} on this VM; on your computer, Runs() lists all")
    if run and not of_dask:
        raise NoClient(f"{folders[0].name} has no Dask cluster; on your computer, Runs() lists all runs")
    text = (
        f"{of_dask[0].name} has ended, and its Dask cluster with it" if of_dask else "there is no Dask run on this VM"
    )
    raise NoClient(f"{text}; on your computer, RunMultiVMComputing(detach=True) of a dask job starts one")


def _runs() -> Iterator[Path]:
    """Yield the folders of the runs on this VM, newest first."""
    root = Path.home() / "stratus/runs"
    for folder in sorted(root.glob("*"), reverse=True):
        if (folder / "job.json").is_file():
            yield folder


def _scheduler(folder: Path) -> str:
    """Return the address of a run's scheduler; empty if it has none."""
    for file in (folder / "task").glob("*.env"):
        for line in file.read_text(errors="replace").splitlines():
            name, _, value = line.partition("=")
            if name == "SCHEDULER" and value.startswith("tls://"):
                return shlex.split(value)[0]
    return ""


def _is_running(folder: Path) -> bool:
    """Return True if the scheduler of a run, or its worker, runs on this VM."""
    for role in ("scheduler", "worker"):
        state = folder / "state"
        try:
            os.kill(int((state / f"{role}.pid").read_text()), 0)
        except (OSError, ValueError):
            continue
        if not (state / f"{role}.rc").exists():
            return True
    return False


def _advice(folder: Path) -> str:
    """Return how a notebook gets the packages of a run."""
    try:
        name = str(json.loads((folder / "job.json").read_text())["start"][1])
        # The kernels that jupyter.sh made.
        if (Path(__file__).parents[1] / "data/kernels" / name / "kernel.json").is_file():
            return f"choose the kernel {name} (menu Kernel, Change Kernel)"
        versions = (folder / "state/versions.txt").read_text(errors="replace")
    except (OSError, ValueError, LookupError):
        versions = ""
    version = _VERSION.search(versions)
    return f"%pip install distributed{f'=={version[1]}' if version else ''}  and restart the kernel"
