"""Simulated hosts for in-memory clouds: nothing runs, except for the shutdown timers that user data sets.

A host whose user data runs ``shutdown -h +480`` at boot shuts down 480 minutes later. This limits the cost of an
instance that was forgotten, so the simulation must include it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from localcloud.core.clock import Clock
from localcloud.hosts import user_data as hosts_user_data

if TYPE_CHECKING:
    from localcloud.hosts.spec import HostSpec
    from localcloud.hosts.user_data import UserData

_PER_BOOT, _PER_INSTANCE = "var/lib/cloud/scripts/per-boot/", "var/lib/cloud/scripts/per-instance/"
# The last match counts, because each shutdown(8) replaces the one before. Indented lines are skipped: they are
# conditional.
_SHUTDOWN = re.compile(
    rb"^(?:sudo )?(?:/(?:usr/)?sbin/)?shutdown\s+(?:-[a-zA-Z-]*[^c\s]\s+)*"
    rb"(?:(?P<cancel>-c)|(?P<now>now)|\+(?P<minutes>\d+))",
    re.M,
)


@dataclass(frozen=True)
class BootInfo:
    """One boot of a host.

    :param number: number of the boot, from 1.
    :param uptime_s: time that the host was on during earlier boots.
    :param booted_s: time on the cloud's clock at which boot scripts run.
    :param off_s: time that the host was off before; 0 after a reboot.
    """

    user_data: bytes
    number: int
    uptime_s: float = 0.0
    instance_id: str = ""
    booted_s: float = 0.0
    off_s: float = 0.0


ShutdownReader = Callable[[BootInfo], "int | None"]
"""Returns the minutes from a boot to the host's own shutdown; None for no shutdown."""


class SimulatedHosts:
    """Records operations on hosts, and shuts hosts down at the time that their user data sets.

    :param on_shutdown: called with the instance id when a host shut itself down.
    :param read_shutdown: reads user data; by default with ``shutdown_minutes``.
    """

    def __init__(
        self, clock: Clock, on_shutdown: Callable[[str], None], read_shutdown: ShutdownReader | None = None
    ) -> None:
        self._clock, self._on_shutdown = clock, on_shutdown
        self._read_shutdown = read_shutdown or (
            lambda boot: shutdown_minutes(boot.user_data, first_boot=boot.number == 1)
        )
        # Time of the current boot of each host that is on, and its uptime before that.
        self._booted_at: dict[str, float] = {}
        self._uptime_s: dict[str, float] = {}
        self._shutdown_at: dict[str, float] = {}
        self._off_since: dict[str, float] = {}
        # Number of the timer in force: each shutdown replaces the one before, and the end of a boot voids it.
        self._timers: dict[str, int] = {}
        self._frozen: set[str] = set()
        self._boots: dict[str, tuple[int, HostSpec]] = {}
        #: All operations in their order: verb and instance id.
        self.operations: list[tuple[str, str]] = []

    def start(self, spec: HostSpec) -> None:
        """Start a host; boots are counted over stop and start."""
        self.operations.append(("start", spec.instance_id))
        self._boot(spec)

    def stop(self, instance_id: str) -> None:
        """Stop a host."""
        self.operations.append(("stop", instance_id))
        self._add_uptime(instance_id)
        self._void_timer(instance_id)

    def destroy(self, instance_id: str) -> None:
        """Remove a host."""
        self.operations.append(("destroy", instance_id))
        self._add_uptime(instance_id)
        self._void_timer(instance_id)
        self._boots.pop(instance_id, None)

    def reboot(self, instance_id: str) -> None:
        """Reboot a host, whose boot scripts then set its shutdown timer again."""
        self.operations.append(("reboot", instance_id))
        if instance_id in self._boots:
            self._boot(self._boots[instance_id][1])

    def open_at(self, instance_id: str, addresses: Collection[str]) -> None:
        """Do nothing: a simulated host has no ports."""

    def freeze(self, instance_id: str) -> None:
        """Make a host silent; its shutdown timer continues, as it would behind a dead network."""
        self.operations.append(("freeze", instance_id))
        self._frozen.add(instance_id)

    def thaw(self, instance_id: str) -> None:
        """Make a frozen host answer again."""
        self.operations.append(("thaw", instance_id))
        self._frozen.discard(instance_id)

    def ssh_fault(self, instance_id: str) -> str:
        """Return why a host does not answer SSH, ``silent`` or ``refused``; empty if it does."""
        booted_at = self._booted_at.get(instance_id)
        if booted_at is None or self._clock.now() - booted_at < self._boots[instance_id][1].boot_seconds:
            return "refused"
        return "silent" if instance_id in self._frozen else ""

    def shutdown_in_s(self, instance_id: str) -> float | None:
        """Return the seconds until a host shuts itself down, as set at its last boot; None for no shutdown."""
        shutdown_at = self._shutdown_at.get(instance_id)
        return None if shutdown_at is None else shutdown_at - self._clock.now()

    def set_shutdown(self, instance_id: str, seconds: float) -> None:
        """Replace a host's shutdown timer, as a command on the host does.

        :param seconds: from now to the shutdown.
        """
        timer = self._void_timer(instance_id)
        self._shutdown_at[instance_id] = self._clock.now() + seconds
        self._clock.after(seconds, lambda: self._expire(instance_id, timer))

    def _boot(self, spec: HostSpec) -> None:
        number = self._boots.get(spec.instance_id, (0, spec))[0] + 1
        self._boots[spec.instance_id] = (number, spec)
        self._add_uptime(spec.instance_id)
        now = self._booted_at[spec.instance_id] = self._clock.now()
        boot = BootInfo(
            spec.user_data,
            number,
            self._uptime_s.get(spec.instance_id, 0.0),
            spec.instance_id,
            now + spec.boot_seconds,
            now - self._off_since.get(spec.instance_id, now),
        )
        minutes = self._read_shutdown(boot)
        self._void_timer(spec.instance_id)
        if minutes is not None:
            self.set_shutdown(spec.instance_id, spec.boot_seconds + 60.0 * minutes)

    def _void_timer(self, instance_id: str) -> int:
        """Void a host's shutdown timer, and return the number of the next one."""
        self._shutdown_at.pop(instance_id, None)
        self._timers[instance_id] = self._timers.get(instance_id, 0) + 1
        return self._timers[instance_id]

    def _add_uptime(self, instance_id: str) -> None:
        """Add the boot that ends now to a host's uptime."""
        booted_at = self._booted_at.pop(instance_id, None)
        if booted_at is not None:
            self._uptime_s[instance_id] = self._uptime_s.get(instance_id, 0.0) + self._clock.now() - booted_at
            self._off_since[instance_id] = self._clock.now()

    def _expire(self, instance_id: str, timer: int) -> None:
        if self._timers.get(instance_id) == timer:
            self._on_shutdown(instance_id)


@lru_cache(maxsize=64)
def shutdown_minutes(user_data: bytes, *, first_boot: bool) -> int | None:
    """Return the minutes from a boot to the shutdown that user data sets; None for no shutdown.

    Only ``shutdown`` commands with literal times at the beginning of a line are recognized.
    """
    minutes = None
    for script in _scripts(hosts_user_data.parse(user_data), first_boot=first_boot):
        for match in _SHUTDOWN.finditer(script):
            minutes = None if match["cancel"] else int(match["minutes"] or 0)
    return minutes


def _scripts(data: UserData, *, first_boot: bool) -> Iterator[bytes]:
    """Yield the scripts of a boot in their order."""
    yield data.bootcmd.encode()
    yield from (file.content for file in data.files if file.path.startswith(_PER_BOOT) and file.mode & 0o111)
    if first_boot:
        yield from (file.content for file in data.files if file.path.startswith(_PER_INSTANCE) and file.mode & 0o111)
        yield data.runcmd.encode()
        yield from data.scripts
