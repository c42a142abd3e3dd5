"""Text and JSON document of the SSH config, and links that open VMs in an editor."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep
from orchestrator.interface.render.registry import Document, Lines, document, lines
from orchestrator.interface.render.styles import line
from orchestrator.interface.render.units import columns
from orchestrator.services.ssh_config import SshConfigReport

EDITORS = ("vscode", "cursor")


@lines.register(SshConfigReport)
def _(report: SshConfigReport, _now: datetime) -> Lines:
    if not report.hosts:
        return _without_hosts(report)
    table = columns([[host.name, f"{host.user}@{host.address}", f"port {host.port}"] for host in report.hosts])
    if not report.is_included:
        name = report.hosts[0].name
        return [
            *table,
            f"  ssh -F {report.path} {name}  opens a terminal.",
            line("  ", NextStep("SshConfig", install=True), f" lets ssh {name}, scp, rsync and editors find it."),
        ]
    table.append(f"  {_short(report.user_config)} includes {report.path}: ssh, scp and rsync know these names.")
    return [*table, *(text for editor in EDITORS for text in links(_logins(report), editor))]


def _without_hosts(report: SshConfigReport) -> Lines:
    """Return why no VM can be reached; the names that ssh will know are those of VMs that are up later."""
    reason = line("  ", report.problem or "no VM is up")
    if report.is_included:
        return [reason, f"  {_short(report.user_config)} includes {report.path}, which will name VMs once they are up."]
    install = NextStep("SshConfig", install=True)
    return [reason, line("  ", install, " lets ssh, scp, rsync and editors find VMs by name once they are up.")]


def _short(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def _logins(report: SshConfigReport) -> list[tuple[str, str]]:
    return [(host.name, host.user) for host in report.hosts]


def links(logins: Iterable[tuple[str, str]], editor: str) -> Lines:
    """Return links that open the home folders of VMs in an editor, by its Remote-SSH extension.

    :param logins: name of every VM, and the login name there.
    :param editor: scheme of the links: ``vscode`` or ``cursor``.
    """
    return [f"  {_link(name, user, editor)}" for name, user in logins]


def _link(name: str, user: str, editor: str) -> str:
    # https://code.visualstudio.com/docs/configure/command-line#_opening-vs-code-with-urls
    home = "/root" if user == "root" else f"/home/{user}"
    return f"{editor}://vscode-remote/ssh-remote+{name}{home}"


@document.register(SshConfigReport)
def _(report: SshConfigReport) -> Document:
    return {
        "config": document(report.path),
        "hosts": document(report.hosts),
        "user_config": document(report.user_config),
        "included": report.is_included,
    }


@document.register(Host)
def _(host: Host) -> Document:
    return {
        "name": host.name,
        "user": host.user,
        "address": host.address,
        "port": host.port,
    }
