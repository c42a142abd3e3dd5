"""Verbs on hosts, whichever run they work on: usage, commands, tunnels, SSH."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING, Annotated, Any

from orchestrator.core.errors import StratusError, UsageError
from orchestrator.core.next_step import NextStep
from orchestrator.interface.verbs.base import VerbGroup
from orchestrator.interface.verbs.cluster import STATUS
from orchestrator.interface.verbs.follow import LogPrinter
from orchestrator.interface.verbs.interaction import check_number, show, show_open
from orchestrator.interface.verbs.parameters import CommandWords, HostName, VerbParameter, decimal_number, whole_number

if TYPE_CHECKING:
    from orchestrator.hosts.commands import CommandReport
    from orchestrator.hosts.tunnels import PortTunnel
    from orchestrator.hosts.usage import UsageReport
    from orchestrator.interface.workspace import Workspace
    from orchestrator.services.ssh_config import SshConfigReport

GROUP = VerbGroup("Hosts")

COMMAND_TIMEOUT_S = 600.0

SshHost = Annotated[str, VerbParameter(metavar="HOST", completes="host")]
PortNumber = Annotated[int, VerbParameter(metavar="PORT", parse=whole_number)]
Seconds = Annotated[float, VerbParameter(metavar="S", parse=decimal_number)]


@GROUP.verb("Usage", "usage", aliases=("Gpus",), command_aliases=("gpus",), examples=(NextStep("Usage"),))
def usage(workspace: Workspace, *hosts: HostName) -> UsageReport:
    """Show GPUs, cores, memory and processes of each VM.

    hosts  only these (default: all that are up).

    Costs  nothing.
    """
    report = workspace.session().hosts.usage(hosts)
    show(workspace, report)
    if report.failed:
        raise StratusError(f"{' '.join(report.failed)} did not answer", fix=STATUS + " shows whether they are up")
    return report


@GROUP.verb(
    "RunCommand",
    "exec",
    aliases=("Run",),
    examples=(NextStep("RunCommand", "nvidia-smi"), NextStep("RunCommand", "df -h /", host="ml-1")),
)
def run_command(
    workspace: Workspace, *command: CommandWords, host: HostName = "", timeout: Seconds = COMMAND_TIMEOUT_S
) -> CommandReport:
    """Run a command on every VM and show its output.

    On all VMs at the same time.

    command  one text for the shell, or a program and its arguments.
    host     only on this VM.
    timeout  seconds that it may take.

    Costs  nothing beyond the VMs' time.
    """
    if not command:
        raise UsageError("no command was given", fix=NextStep("RunCommand", "nvidia-smi"))
    check_number(timeout, "timeout", NextStep("RunCommand", "nvidia-smi", timeout=600))
    # One text is a line for the shell, pipes included; several words are a program with its arguments.
    text = command[0] if len(command) == 1 else shlex.join(command)
    printer = LogPrinter(workspace.console, with_host=not host)
    names = (host,) if host else ()
    report = workspace.session().hosts.run_command(text, names=names, timeout_s=timeout, on_line=printer.listener())
    show(workspace, report)
    # Named without their output: it stands above, line by line.
    failed = [result.host for result in report.hosts if result.exit_status] + list(report.failed)
    if failed:
        raise StratusError(f"{text.splitlines()[0]}: failed on {' '.join(failed)}")
    return report


@GROUP.verb(
    "Tunnel", "tunnel", stays_open=True, examples=(NextStep("Tunnel", "ml-0", 6006), NextStep("Tunnel", "ml-1", 8787))
)
def tunnel(workspace: Workspace, host: SshHost, port: PortNumber) -> PortTunnel:
    """Open a tunnel to a port of a VM.

    For a server there that listens on its loopback address, such as TensorBoard. The tunnel is open on the loopback
    address of this computer until you exit the shell; as a command, until Ctrl-C.

    host  its name.
    port  port on the VM; the same here if it is free.

    Costs  nothing.
    """
    check_number(port, "port", NextStep("Tunnel", host, 6006))
    if not 0 < port < 65536 or port != int(port):
        raise UsageError(f"{port}: a port is a whole number from 1 to 65535", fix=NextStep("Tunnel", host, 6006))
    return show_open(workspace, workspace.session().hosts.tunnel(host, port))


def _exit_status(status: int, options: dict[str, Any]) -> int:  # noqa: ARG001 - the signature of all exit codes
    return status


@GROUP.verb("SshConfig", "ssh-config", examples=(NextStep("SshConfig", install=True),))
def ssh_config(workspace: Workspace, *, install: bool = False, remove: bool = False) -> SshConfigReport:
    """Let ssh, scp, rsync and editors reach the VMs by name.

    Writes an SSH config of Stratus' own, which launching, starting, stopping and terminating VMs then keep up to date.
    `ssh ml-0` finds it once ~/.ssh/config includes it; that file is changed only on request.

    install  add one Include line to ~/.ssh/config.
    remove   remove that line again.

    Costs  nothing.
    """
    if install and remove:
        raise UsageError("install and remove exclude each other", fix=NextStep("SshConfig", install=True))
    service = workspace.session(files=False).ssh_config
    return show(workspace, service.install() if install else service.remove() if remove else service.write())


@GROUP.verb(
    "Ssh",
    "ssh",
    document=None,
    exit_code=_exit_status,
    examples=(NextStep("Ssh", "ml-0"), NextStep("Ssh", "ml-0", "nvidia-smi")),
)
def ssh(workspace: Workspace, host: SshHost, *command: CommandWords) -> int:
    """Open a terminal on a VM, or run one command there.

    The VM's host key is checked. Returns the exit status.

    host     its name.
    command  what to run there.
    """
    if any("\0" in word for word in (host, *command)):
        raise UsageError("a NUL character cannot be part of a command", fix=NextStep("Ssh", "ml-0", "nvidia-smi"))
    argv = workspace.session().hosts.ssh_command(host)
    try:
        # OpenSSH itself: it handles terminals, window sizes and escape keys as users expect.
        return subprocess.call([*argv, *command])
    except FileNotFoundError:
        raise UsageError(f"{argv[0]}: no such program here", fix="install the OpenSSH client") from None
