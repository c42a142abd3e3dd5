"""Preparation of a host for an image of its disk: secrets and traces are taken away for a moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.errors import HostError, UsageError
from orchestrator.core.events import Event, EventHandler
from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep, Text
from orchestrator.hosts.commands import marked_lines, script_error

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

RESTORE_AFTER_S = 300
"""After so long a host restores itself: this computer may lose its connection before it has asked for that."""

TIMEOUT_S = 240.0

_STOP = {
    "jupyter": NextStep("StopJupyter"),
    "tensorboard": NextStep("StopTensorBoard"),
}


@dataclass
class Preparation:
    """A host that is prepared for an image.

    :param has_ended_early: set at its end if the host may have come back before, so that secrets were on its disk.
    """

    has_ended_early: bool = False


def check(ssh: SshClient, host: Host, *, owner: str, remove_runs: bool) -> None:
    """Check that a host can be prepared, without changing it; arguments and errors as for :func:`prepared`."""
    _check(host, _request(ssh, host, "check", ssh.clock.new_id(), owner, remove_runs=remove_runs))


@contextmanager
def prepared(
    ssh: SshClient, host: Host, *, owner: str, remove_runs: bool, on_event: EventHandler
) -> Iterator[Preparation]:
    """Prepare a host, and restore it afterwards.

    :param owner: names this computer: a preparation that a shell of it has left behind is replaced.
    :param remove_runs: delete ended runs with their outputs, for good.
    :raises UsageError: something works on the host, or it has runs that are to stay.
    :raises HostError: it cannot be prepared.
    """
    token, began = ssh.clock.new_id(), ssh.clock.now()
    _check(host, _request(ssh, host, "prepare", token, owner, remove_runs=remove_runs))
    preparation = Preparation()
    try:
        yield preparation
    finally:
        try:
            output = _run(ssh, host, "restore", token)
            problems = marked_lines(output, "@@cannot")
            # Such as after the sleep of this computer.
            preparation.has_ended_early = bool(marked_lines(output, "@@late"))
        except HostError as error:
            problems = [f"{error}; it restores itself within {RESTORE_AFTER_S // 60} min"]
            preparation.has_ended_early = (ssh.clock.now() - began).total_seconds() >= RESTORE_AFTER_S
        for problem in problems:
            on_event(Event(host.name, "restore", "warning", text=problem))


def _request(ssh: SshClient, host: Host, mode: str, token: str, owner: str, *, remove_runs: bool) -> str:
    return _run(ssh, host, mode, token, owner, str(RESTORE_AFTER_S), *(["drop"] if remove_runs else []))


def _run(ssh: SshClient, host: Host, *args: str) -> str:
    bundle = remote_scripts.bundle({"bake.sh": remote_scripts.text("bake.sh").encode()})
    command = remote_scripts.bundle_command("bake.sh", *args)
    result = ssh.run(host, command, stdin=bundle, timeout_s=TIMEOUT_S)
    if not any(line.startswith("@@") for line in result.stdout.splitlines()):
        raise script_error(result, "it could not be prepared for an image")
    return result.stdout


def _check(host: Host, output: str) -> None:
    for problem in marked_lines(output, "@@cannot"):
        raise HostError(f"no image was made: {problem}", where=host.name)
    if busy := marked_lines(output, "@@busy"):
        raise UsageError(f"no image was made: {_busy(busy)}", where=host.name, fix=_how_to_end(busy))
    if runs := marked_lines(output, "@@run"):
        names = ", ".join(run.rpartition("-")[2] for run in runs[:6]) + ("..." if len(runs) > 6 else "")
        raise UsageError(
            f"no image was made: an image has no runs, and here are {len(runs)} ({names})",
            where=host.name,
            fix=NextStep("FetchResults")
            + ", then "
            + NextStep("BakeImage", host.name, remove_runs=True)
            + "  deletes them here",
        )


def _busy(busy: Sequence[str]) -> str:
    names = [item.rpartition("-")[2] if item.startswith("run ") else item for item in busy]
    names = ["another BakeImage" if name == "image" else name for name in names]
    return f"{', '.join(dict.fromkeys(names))} works on it"


def _how_to_end(busy: Sequence[str]) -> Text:
    if "image" in busy:
        return (
            f"wait for the image that another computer makes; at the latest in {RESTORE_AFTER_S // 60} min it is over"
        )
    for program in busy:
        if program in _STOP:
            return _STOP[program] + "  ends it"
    return NextStep("Runs") + "  lists the runs; wait, or cancel them"
