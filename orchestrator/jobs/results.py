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


def fetch(ssh: SshClient, hosts: Sequence[Host], run: Run, folder: Path) -> parallel.Outcomes[int]:
    """Bring a run's outputs and logs from its hosts, all at once.

    :param folder: of this run on the laptop; what is there is replaced file by file.
    :return: bytes received per host.
    """
    return parallel.for_each(hosts, lambda host: _fetch_host(ssh, host, run, folder), clock=ssh.clock)


def _fetch_host(ssh: SshClient, host: Host, run: Run, folder: Path) -> int:
    base = f"stratus/runs/{run.run_id}"
    received = _fetch_logs(ssh, host, base, folder / "logs")
    received += _fetch_state(ssh, host, base, folder, first=host.name == run.hosts[0])
    if host.name in run.main_hosts:
        own = folder / "outputs" / host.name if len(run.main_hosts) > 1 else folder / "outputs"
        for output in run.outputs:
            received += _fetch_output(ssh, host, f"{base}/workdir/{output}", own, several=len(run.outputs) > 1)
    return received


def _fetch_logs(ssh: SshClient, host: Host, run_path: str, folder: Path) -> int:
    """Fetch a host's logs and put its name before theirs."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        received = ssh.fetch(host, f"{run_path}/log", Path(scratch), timeout_s=600)
        for path in Path(scratch).iterdir():
            os.replace(path, folder / f"{host.name}.{path.name}")
    return received


def _fetch_state(ssh: SshClient, host: Host, run_path: str, folder: Path, *, first: bool) -> int:
    """Fetch package versions and image digests of the run; one host speaks for all, InstallDeps made them equal."""
    if not first:
        return 0
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        received = ssh.fetch(host, f"{run_path}/state", Path(scratch), timeout_s=60)
        for name in ("versions.txt", "image.txt"):
            if (Path(scratch) / name).exists():
                shutil.move(Path(scratch) / name, folder / name)
    return received


def _fetch_output(ssh: SshClient, host: Host, remote_path: str, folder: Path, *, several: bool) -> int:
    """Fetch one output folder; a job that failed early may not have made it."""
    target = folder / Path(remote_path).name if several else folder
    target.mkdir(parents=True, exist_ok=True)
    try:
        return ssh.fetch(host, remote_path, target, timeout_s=3600)
    except HostError as error:
        if "nothing at" in error.message:
            return 0
        raise


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return the job's ``metrics.json``, wherever below ``outputs`` it lies; empty without one."""
    for path in sorted((folder / "outputs").rglob("metrics.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def read_versions(folder: Path) -> dict[str, str]:
    """Return the job's packages and their versions, as ``pip freeze`` listed them on the VM."""
    try:
        lines = (folder / "versions.txt").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    return {name: version for name, _, version in (line.partition("==") for line in lines) if version}


def read_image_digests(folder: Path) -> tuple[str, ...]:
    """Return the id and the registry digests of the image that the job ran in; none without one."""
    try:
        return tuple((folder / "image.txt").read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return ()


def list_outputs(folder: Path) -> tuple[str, ...]:
    """List the output files, relative to the run's folder."""
    top = folder / "outputs"
    return tuple(sorted(str(path.relative_to(folder)) for path in top.rglob("*") if path.is_file()))
