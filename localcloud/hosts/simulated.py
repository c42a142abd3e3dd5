"""Hosts on paper, for clouds in memory: nothing runs, but the clock that user data sets for a machine does.

A machine whose user data says ``shutdown -h +480`` at boot shuts down 480 minutes after it: that is what ends a machine
when nobody comes back for it, so it must hold where no real machine is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from localcloud.core.clock import Clock
from localcloud.hosts import user_data as hosts_user_data

if TYPE_CHECKING:
    from localcloud.hosts.spec import HostSpec
    from localcloud.hosts.user_data import UserData

_PER_BOOT, _PER_INSTANCE = "var/lib/cloud/scripts/per-boot/", "var/lib/cloud/scripts/per-instance/"
# The last one counts, as on a real machine: each replaces the one before. What is indented depends on something.
_SHUTDOWN = re.compile(
    rb"^(?:sudo )?(?:/(?:usr/)?sbin/)?shutdown\s+(?:-[a-zA-Z-]*[^c\s]\s+)*"
    rb"(?:(?P<cancel>-c)|(?P<now>now)|\+(?P<minutes>\d+))",
    re.M,
)


@dataclass(frozen=True)
class BootInfo:
    """One boot of a machine.

    :param number: of the machine's boots, from 1.
    :param lived: seconds that the machine was on, over all boots before.
    """

    user_data: bytes
    number: int
    uptime_s: float = 0.0


# After how many minutes from a boot a machine shuts itself down; None for never.
ShutdownReader = Callable[[BootInfo], "int | None"]


class SimulatedHosts:
    """Remembers what was ordered, and shuts machines down when their user data says so.

    :param on_shutdown: called with the instance's id when a machine shut itself down.
    :param life: reads the user data; by default as far as ``minutes_to_live`` understands it.
    """

    def __init__(
        self, clock: Clock, on_shutdown: Callable[[str], None], read_shutdown: ShutdownReader | None = None
    ) -> None:
        self._clock, self._on_shutdown = clock, on_shutdown
        self._read_shutdown = read_shutdown or (
            lambda boot: shutdown_minutes(boot.user_data, first_boot=boot.number == 1)
        )
        # When each machine that is on was switched on, and how long it was on before.
        self._booted_at: dict[str, float] = {}
        self._uptime_s: dict[str, float] = {}
        self._shutdown_at: dict[str, float] = {}
        self._frozen: set[str] = set()
        self._boots: dict[str, tuple[int, HostSpec]] = {}
        #: Every order in turn: what, and to which instance.
        self.operations: list[tuple[str, str]] = []

    def start(self, spec: HostSpec) -> None:
        """Switch a machine on: its first boot, unless it was on before."""
        self.operations.append(("start", spec.instance_id))
        self._boot(spec)

    def stop(self, instance_id: str) -> None:
        """Switch a machine off."""
        self.operations.append(("stop", instance_id))
        self._add_uptime(instance_id)
        if instance_id in self._boots:
            self._boots[instance_id] = (self._boots[instance_id][0] + 1, self._boots[instance_id][1])

    def destroy(self, instance_id: str) -> None:
        """Take a machine away."""
        self.operations.append(("destroy", instance_id))
        self._add_uptime(instance_id)
        self._boots.pop(instance_id, None)

    def reboot(self, instance_id: str) -> None:
        """Boot a machine again: its timer begins anew."""
        self.operations.append(("reboot", instance_id))
        if instance_id in self._boots:
            self._boot(self._boots[instance_id][1])

    def freeze(self, instance_id: str) -> None:
        """Nothing is there to be frozen; a frozen machine's timer goes on, as it would behind a dead network."""
        self.operations.append(("freeze", instance_id))
        self._frozen.add(instance_id)

    def thaw(self, instance_id: str) -> None:
        """The end of ``freeze``."""
        self.operations.append(("thaw", instance_id))
        self._frozen.discard(instance_id)

    def ssh_fault(self, instance_id: str) -> str:
        """What keeps a machine from answering SSH now, ``silent`` or ``refused``; empty when nothing does."""
        since = self._booted_at.get(instance_id)
        if since is None or self._clock.now() - since < self._boots[instance_id][1].boot_seconds:
            return "refused"
        return "silent" if instance_id in self._frozen else ""

    def shutdown_in_s(self, instance_id: str) -> float | None:
        """After how many seconds a machine shuts itself down, as it was set at its last boot; None for never."""
        end = self._shutdown_at.get(instance_id)
        return None if end is None else end - self._clock.now()

    def _boot(self, spec: HostSpec) -> None:
        boot = self._boots.get(spec.instance_id, (0, spec))[0] + 1
        self._boots[spec.instance_id] = (boot, spec)
        self._add_uptime(spec.instance_id)
        self._booted_at[spec.instance_id] = self._clock.now()
        minutes = self._read_shutdown(BootInfo(spec.user_data, boot, self._uptime_s.get(spec.instance_id, 0.0)))
        self._shutdown_at.pop(spec.instance_id, None)
        if minutes is not None:
            self._shutdown_at[spec.instance_id] = self._clock.now() + spec.boot_seconds + 60.0 * minutes
            self._clock.after(spec.boot_seconds + 60.0 * minutes, lambda: self._expire(spec.instance_id, boot))

    def _add_uptime(self, instance_id: str) -> None:
        """Add the boot that ends now to the time that a machine was on."""
        since = self._booted_at.pop(instance_id, self._clock.now())
        self._uptime_s[instance_id] = self._uptime_s.get(instance_id, 0.0) + self._clock.now() - since

    def _expire(self, instance_id: str, boot: int) -> None:
        if self._boots.get(instance_id, (0, None))[0] == boot:
            self._on_shutdown(instance_id)


@lru_cache(maxsize=64)
def shutdown_minutes(user_data: bytes, *, first_boot: bool) -> int | None:
    """After how many minutes from a boot a machine shuts itself down; None for never.

    Only ``shutdown`` commands with literal times are understood, at the beginning of a line of whatever runs at boot.
    """
    last = None
    for script in _scripts(hosts_user_data.parse(user_data), first_boot=first_boot):
        for found in _SHUTDOWN.finditer(script):
            last = None if found["cancel"] else int(found["minutes"] or 0)
    return last


def _scripts(data: UserData, *, first_boot: bool) -> Iterator[bytes]:
    """What runs at a boot, in its order."""
    yield data.bootcmd.encode()
    yield from (file.content for file in data.files if file.path.startswith(_PER_BOOT) and file.mode & 0o111)
    if first_boot:
        yield from (file.content for file in data.files if file.path.startswith(_PER_INSTANCE) and file.mode & 0o111)
        yield data.runcmd.encode()
        yield from data.scripts
