"""Fetch a run's outputs and logs into ``runs/<id>/``, and read what was fetched.

runs/20261120-141203-k3x/
    record.json     settings, hosts, versions, image, timings per phase, cost
    outputs/        the job's outputs (in a folder per host if every host has a main task)
    logs/           every task of every host: ml-0.main.log, ml-1.worker.log ..., and its install.log
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.core.errors import HostError
from orchestrator.core.host import Host
from orchestrator.hosts import parallel
from orchestrator.jobs.runs import LocatedRun, Run

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

OUTPUT_TIMEOUT_S = 3600.0
LOG_TIMEOUT_S = 600.0
STATE_TIMEOUT_S = 60.0
STATE_FILES = ("versions.txt", "image.txt")


def fetch(ssh: SshClient, located: LocatedRun, folder: Path) -> parallel.Outcomes[int]:
    """Fetch a run's outputs and logs from its hosts, all at once.

    :param folder: of this run on this computer; files that exist are replaced.
    :return: bytes received per host.
    :raises HostsFailed: nothing could be fetched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = parallel.for_each(
        located.members, lambda host: _fetch_host(ssh, host, located.run, folder), clock=ssh.clock
    )
    if outcomes and not outcomes.succeeded:
        outcomes.raise_if_failed("nothing could be fetched")
    return outcomes


def _fetch_host(ssh: SshClient, host: Host, run: Run, folder: Path) -> int:
    run_path = f"stratus/runs/{run.run_id}"
    received_bytes = _fetch_logs(ssh, host, run_path, folder / "logs")
    if host.name == run.hosts[0]:
        # One host is enough: InstallDeps reports hosts that differ.
        received_bytes += _fetch_state(ssh, host, run_path, folder)
    if host.name in run.main_hosts:
        target = folder / "outputs" / host.name if len(run.main_hosts) > 1 else folder / "outputs"
        for output in run.outputs:
            several = len(run.outputs) > 1
            received_bytes += _fetch_output(ssh, host, f"{run_path}/workdir/{output}", target, several=several)
    return received_bytes


def _fetch_logs(ssh: SshClient, host: Host, run_path: str, folder: Path) -> int:
    """Fetch a host's logs and put its name before theirs."""
    folder.mkdir(parents=True, exist_ok=True)
    # A scratch folder of its own: hosts arrive at the same time, and their logs have the same names.
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        received_bytes = ssh.fetch(host, f"{run_path}/log", Path(scratch), timeout_s=LOG_TIMEOUT_S)
        for path in Path(scratch).iterdir():
            os.replace(path, folder / f"{host.name}.{path.name}")
    return received_bytes


def _fetch_state(ssh: SshClient, host: Host, run_path: str, folder: Path) -> int:
    """Fetch package versions and image digests of the run."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        received_bytes = ssh.fetch(host, f"{run_path}/state", Path(scratch), timeout_s=STATE_TIMEOUT_S)
        for name in STATE_FILES:
            if (Path(scratch) / name).exists():
                shutil.move(Path(scratch) / name, folder / name)
    return received_bytes


def _fetch_output(ssh: SshClient, host: Host, remote_path: str, folder: Path, *, several: bool) -> int:
    target = folder / Path(remote_path).name if several else folder
    target.mkdir(parents=True, exist_ok=True)
    try:
        return ssh.fetch(host, remote_path, target, timeout_s=OUTPUT_TIMEOUT_S)
    except HostError as error:
        # A job that failed early may not have created its outputs; its logs are worth fetching all the same.
        if "nothing at" in error.message:
            return 0
        raise


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return the job's ``metrics.json``, the first one anywhere below ``outputs``; empty without one."""
    for path in sorted((folder / "outputs").rglob("metrics.json")):
        metrics = json.loads(path.read_text(encoding="utf-8"))
        return metrics if isinstance(metrics, dict) else {}
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
    """Return the output files, relative to the run's folder."""
    top = folder / "outputs"
    return tuple(sorted(str(path.relative_to(folder)) for path in top.rglob("*") if path.is_file()))
