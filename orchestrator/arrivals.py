"""Machines as they come up: each goes on to SSH, and to whatever comes next, the moment it runs itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from orchestrator import fleet
from orchestrator.cloud.ec2 import Instance
from orchestrator.errors import HostError
from orchestrator.events import Event, Tell
from orchestrator.hosts import Host
from orchestrator.reports import HostReady

if TYPE_CHECKING:
    from orchestrator.ssh import Links

T = TypeVar("T")

# How long the thread that asks EC2 may take to hand over its last word after its own deadline.
GRACE_S = 30.0


def _as_it_is(host: Host) -> Host:
    return host


@dataclass(frozen=True)
class Arrived(Generic[T]):
    """A host that came up, and what was done on it then."""

    ready: HostReady
    host: Host
    result: T


@dataclass(frozen=True)
class Arrivals:
    """How machines become hosts.

    :param links: opens the SSH sessions.
    :param host_of: turns a running instance into a host.
    :param watch: yields every instance once, as it runs; raises at its deadline or when one dies.
    :param died: asked while SSH is waited for: why the machine of that id died, or nothing while it lives.
    :param running_s: deadline for running, seconds.
    :param ready_s: deadline for SSH after that, seconds.
    :param renew: gives a host its own host key in the first session, and returns it with that key.
    """

    links: Links
    host_of: Callable[[Instance], Host]
    watch: Callable[[], Iterator[Instance]]
    died: Callable[[str], str]
    tell: Tell
    running_s: float
    ready_s: float
    renew: Callable[[Host], Host] = _as_it_is

    def each(self, names: Sequence[str], then: Callable[[Host], T]) -> fleet.Outcomes[Arrived[T]]:
        """Bring up the machines of these names and do ``then`` on each; nobody waits for the slowest.

        :return: every name's outcome.
        """
        began = time.monotonic()
        running: dict[str, Future[tuple[Instance, float]]] = {name: Future() for name in names}
        threading.Thread(target=self._feed, args=(running, began), name="arrivals", daemon=True).start()
        expected = [Host(name, "", "", 0, "", Path(), "", "") for name in names]
        return fleet.each(expected, lambda host: self._one(host.name, running[host.name], then), limit=len(names))

    def _feed(self, running: dict[str, Future[tuple[Instance, float]]], began: float) -> None:
        """Hand every instance to the thread that waits for it; an error goes to those that are left."""
        failure: Exception | None = None
        try:
            for instance in self.watch():
                if instance.name in running:
                    running[instance.name].set_result((instance, time.monotonic() - began))
        except Exception as error:
            failure = error
        for name, future in running.items():
            if not future.done():
                future.set_exception(failure or HostError("it was never seen running", where=name))

    def _one(self, name: str, running: Future[tuple[Instance, float]], then: Callable[[Host], T]) -> Arrived[T]:
        instance, pending = self._phase(name, "pending", lambda: running.result(self.running_s + GRACE_S))
        host = self.host_of(instance)
        boot = self._phase(name, "boot", lambda: self._boot(host))
        ssh = self._phase(
            name, "ssh", lambda: self.links.run(host, "true", timeout=30).check("the first command").seconds
        )
        host = self.renew(host)
        ready = HostReady(name, instance.zone, pending, boot, ssh)
        return Arrived(ready, host, then(host))

    def _boot(self, host: Host) -> float:
        return self.links.wait(host, deadline=self.ready_s, alive=lambda: self.died(host.identity))

    def _phase(self, name: str, phase: str, work: Callable[[], T]) -> T:
        """Do one phase of one host and tell how it went."""
        began = time.monotonic()
        self.tell(Event(name, phase, "start"))
        try:
            result = work()
        except Exception as error:
            self.tell(Event(name, phase, "failed", time.monotonic() - began, str(error).splitlines()[0]))
            raise
        self.tell(Event(name, phase, "done", time.monotonic() - began))
        return result
