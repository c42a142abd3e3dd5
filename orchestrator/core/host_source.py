"""Interface of a supplier of hosts, for everything that works on hosts without knowing their cloud."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orchestrator.core.host import Host


class HostSource(Protocol):
    """Supplier of hosts: the instances of an EC2 cluster, a list of own machines, an allocation of a scheduler."""

    def hosts(self, names: Sequence[str] = ()) -> list[Host]:
        """Return the hosts that are up, in the order of their names.

        :param names: only these; all when empty.
        :raises UsageError: no host is up, or one of the names is not.
        """
        ...

    def ready(self, host: Host) -> Host:
        """Wait until a host answers SSH, and return it with the host key that it has then.

        Called from several threads at once.

        :raises HostError: it did not answer in time.
        """
        ...

    def all_ready(self) -> None:
        """Complete work of `ready` that is done once for all hosts; called after the last of them."""
        ...
