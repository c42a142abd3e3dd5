"""JupyterLab on a host: start it, or find the one that runs; end it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.errors import UsageError
from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep
from orchestrator.hosts.commands import marked_lines, script_error

if TYPE_CHECKING:
    from orchestrator.ssh import CommandResult, SshClient

START_TIMEOUT_S = 120.0
"""For the first start, which compiles JupyterLab's modules: 10 s on an idle VM."""

STOP_TIMEOUT_S = 60.0
CONNECT_S = 30.0

# What the host prints is untrusted input: it becomes a part of an address that a browser opens.
_KERNEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,80}")
_ADDRESS = re.compile(r"([1-9][0-9]{0,4}) ([0-9a-f]{48})")


@dataclass(frozen=True)
class JupyterServer:
    """A JupyterLab that runs on a host.

    :param port: on the host's loopback address.
    :param token: secret that gives access to it.
    """

    port: int
    token: str


def start(ssh: SshClient, host: Host, *, job: str = "", is_needed: bool = False) -> JupyterServer:
    """Start JupyterLab on a host, or find the one that runs there.

    :param job: the job whose environment is a new notebook's kernel, where it is installed; ``own`` for none.
    :param is_needed: raise an error if it is not installed.
    :raises UsageError: the host has no such kernel.
    :raises HostError: it did not start.
    """
    # Imported when needed: paramiko takes a third of a second.
    from orchestrator.ssh import LOOPBACK

    check_kernel(job)
    args = ("start", LOOPBACK, str(round(START_TIMEOUT_S)), "" if job == "own" else job, "yes" if is_needed else "")
    result = _run(ssh, host, *args, timeout_s=START_TIMEOUT_S + CONNECT_S)
    for line in marked_lines(result.stdout, "@@nokernel"):
        raise _no_kernel(host, job, [name for name in line.split() if _KERNEL.fullmatch(name)])
    for line in marked_lines(result.stdout, "@@jupyter"):
        if match := _ADDRESS.fullmatch(line):
            return JupyterServer(int(match[1]), match[2])
    raise script_error(result, "JupyterLab was not started")


def check_kernel(job: str) -> None:
    """Refuse what cannot be the name of a kernel.

    :raises UsageError: it cannot.
    """
    if not _KERNEL.fullmatch(job or "own"):
        raise UsageError(f"kernel {job!r}: not the name of a job", fix=NextStep("Jupyter", kernel="own"))


def _no_kernel(host: Host, job: str, installed: Sequence[str]) -> UsageError:
    return UsageError(
        f"no kernel {job}; there: {', '.join(installed) or 'none of a job'}",
        where=host.name,
        fix=NextStep("InstallDeps") + "  installs the job; " + NextStep("Jupyter", kernel="own") + " needs none",
    )


def stop(ssh: SshClient, host: Host) -> bool:
    """End a host's JupyterLab and its kernels; return False if none ran.

    :raises HostError: it did not end.
    """
    result = _run(ssh, host, "stop", timeout_s=STOP_TIMEOUT_S)
    answers = marked_lines(result.stdout, "@@stopped")
    if not answers:
        raise script_error(result, "JupyterLab was not ended")
    return answers[-1] == "yes"


def _run(ssh: SshClient, host: Host, *args: str, timeout_s: float) -> CommandResult:
    bundle = remote_scripts.bundle(remote_scripts.scripts(("jupyter.sh", "jupyter_use.py", "notebooks/host_client.py")))
    return ssh.run(host, remote_scripts.bundle_command("jupyter.sh", *args), stdin=bundle, timeout_s=timeout_s)
