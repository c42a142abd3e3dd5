"""Where hosts come from, as seen by everything that only works on hosts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orchestrator.core.host import Host


class HostSource(Protocol):
    """A supplier of hosts: the instances of an EC2 cluster, a list of own machines, an allocation of a scheduler."""

    def hosts(self, names: Sequence[str] = ()) -> list[Host]:
        """Return the hosts that are up, in the order of their names.

        :param names: only these; all when empty.
        :raises UsageError: no host is up, or one of the names is not.
        """
        ...

    def ready(self, host: Host) -> Host:
        """Wait until a host answers SSH, and return it with the host key that it has then.

        Safe to call from many threads at once.

        :raises HostError: it did not answer in time.
        """
        ...

    def all_ready(self) -> None:
        """Finish what `ready` left to be done once for all hosts; call it after the last of them."""
        ...
