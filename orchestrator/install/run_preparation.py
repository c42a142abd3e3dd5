"""Preparation of a run on a host, in the session in which the run is started and followed: one round trip for all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

from orchestrator.core import remote_scripts
from orchestrator.core.host import Host
from orchestrator.install.installer import SILENCE_TIMEOUT_S, HostInstall, Installer, OutputParser
from orchestrator.jobs.runner import RunFiles
from orchestrator.ssh.line_stream import LineStreams, heartbeat_limits

READY = "@@ready"
SCRIPTS = ("run.sh", "start.sh")


@dataclass(frozen=True)
class RunPreparation:
    """Callable that carries out the steps of a run's beginning on one host; safe to use from many threads.

    :param installer: with those steps.
    :param streams: gets the stream of every host that waits for the start.
    """

    installer: Installer
    run: RunFiles
    streams: LineStreams

    @cached_property
    def _shared(self) -> bytes:
        scripts = remote_scripts.scripts(SCRIPTS)
        run = {f"run/{name}": data for name, data in self.run.shared.items()}
        return self.installer.changes + remote_scripts.bundle_part(self.installer.files | scripts | run)

    def __call__(self, host: Host) -> HostInstall:
        """Prepare one host.

        :raises HostError: with the step that failed and the last line of its output.
        """
        return self.installer.logged(host, self._prepare)

    def _prepare(self, host: Host, parser: OutputParser) -> int:
        limits = heartbeat_limits(SILENCE_TIMEOUT_S, self.installer.timeout_s)
        own = {f"run/{name}": data for name, data in self.run.own[host.name].items()}
        command = remote_scripts.bundle_command("run.sh", *self.run.args)
        bundle = remote_scripts.bundle(own, self._shared)
        stream = self.installer.ssh.open_stream(host, command, limits, stdin=bundle)
        try:
            respond = self.installer.requests(host).respond
            is_ready = stream.read(parser.read_line, respond=respond, until=partial(str.__eq__, READY))
            status = 0 if is_ready else stream.exit_status()
        except BaseException:
            stream.close()
            raise
        if is_ready:
            self.streams.add(host.name, stream)
        else:
            stream.close()
        return status
