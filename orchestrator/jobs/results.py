"""The run record: everything to understand a run and to run it again, in ``runs/<id>/`` on the laptop.

runs/20261120-1412-k3/
    record.json     settings, hosts, versions, image, timings per phase, cost
    outputs/        what the job wrote (from every host, in folders of their names, when every host has a main task)
    logs/           every task of every host: ml-0.main.log, ml-1.worker.log ..., and its install.log
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.core.errors import HostError
from orchestrator.core.host import Host
from orchestrator.hosts import parallel
from orchestrator.jobs.runs import Run

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient


def fetch(links: SshClient, hosts: Sequence[Host], run: Run, folder: Path) -> parallel.Outcomes[int]:
    """Bring a run's outputs and logs from its hosts, all at once.

    :param folder: of this run on the laptop; what is there is replaced file by file.
    :return: bytes received per host.
    """
    return parallel.for_each(hosts, lambda host: _fetch_one(links, host, run, folder), clock=links.clock)


def _fetch_one(links: SshClient, host: Host, run: Run, folder: Path) -> int:
    base = f"stratus/runs/{run.run}"
    received = _logs(links, host, base, folder / "logs")
    received += _state(links, host, base, folder, first=host.name == run.hosts[0])
    if host.name in run.main_hosts:
        own = folder / "outputs" / host.name if len(run.main_hosts) > 1 else folder / "outputs"
        for output in run.outputs:
            received += _output(links, host, f"{base}/workdir/{output}", own, several=len(run.outputs) > 1)
    return received


def _logs(links: SshClient, host: Host, base: str, folder: Path) -> int:
    """Fetch a host's logs and put its name before theirs."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        received = links.fetch(host, f"{base}/log", Path(scratch), timeout_s=600)
        for path in Path(scratch).iterdir():
            os.replace(path, folder / f"{host.name}.{path.name}")
    return received


def _state(links: SshClient, host: Host, base: str, folder: Path, *, first: bool) -> int:
    """Fetch package versions and image digests of the run; one host speaks for all, InstallDeps made them equal."""
    if not first:
        return 0
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        received = links.fetch(host, f"{base}/state", Path(scratch), timeout_s=60)
        for name in ("versions.txt", "image.txt"):
            if (Path(scratch) / name).exists():
                shutil.move(Path(scratch) / name, folder / name)
    return received


def _output(links: SshClient, host: Host, remote: str, folder: Path, *, several: bool) -> int:
    """Fetch one output folder; a job that failed early may not have made it."""
    target = folder / Path(remote).name if several else folder
    target.mkdir(parents=True, exist_ok=True)
    try:
        return links.fetch(host, remote, target, timeout_s=3600)
    except HostError as error:
        if "nothing at" in error.message:
            return 0
        raise


def metrics_of(folder: Path) -> dict[str, Any]:
    """Return the job's ``metrics.json``, wherever below ``outputs`` it lies; empty without one."""
    for path in sorted((folder / "outputs").rglob("metrics.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def versions_of(folder: Path) -> dict[str, str]:
    """Return the job's packages and their versions, as ``pip freeze`` listed them on the VM."""
    try:
        lines = (folder / "versions.txt").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    return {name: version for name, _, version in (line.partition("==") for line in lines) if version}


def image_of(folder: Path) -> tuple[str, ...]:
    """Return the id and the registry digests of the image that the job ran in; none without one."""
    try:
        return tuple((folder / "image.txt").read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return ()


def files_of(folder: Path) -> tuple[str, ...]:
    """List the output files, relative to the run's folder."""
    top = folder / "outputs"
    return tuple(sorted(str(path.relative_to(folder)) for path in top.rglob("*") if path.is_file()))
