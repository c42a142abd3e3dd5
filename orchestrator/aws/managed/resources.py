"""A managed resource, the lists of those that a cluster has, and the outcome of ending them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from orchestrator.core import cost


@dataclass(frozen=True)
class ManagedResource:
    """A resource that is billed now, or will be, and that is no running instance.

    :param kind: such as ``training job``, ``endpoint``, ``volume``.
    :param state: as its service names it.
    :param type: instance or volume type; empty if it has none.
    :param count: number of instances.
    :param usd_per_hour: of all its instances; None if unknown.
    :param ends_at: when it ends by itself at the latest; None if it does not, or if unknown.
    :param is_kept: True for what outlives its cluster on purpose: TerminateAll() ends it only if asked to.
    :param detail: such as size and mount point; empty if there is none.
    :param origin: other settings under which this computer made it: ``cluster ml in us-west-2``; empty for those now.
    """

    kind: str
    name: str
    state: str
    type: str = ""
    count: int = 1
    usd_per_hour: Decimal | None = None
    created_at: datetime | None = None
    ends_at: datetime | None = None
    is_kept: bool = False
    detail: str = ""
    origin: str = ""

    @property
    def full_detail(self) -> str:
        """The detail, with the settings under which it was made if they were others."""
        return ", ".join(filter(None, (self.detail, self.origin and f"of {self.origin}")))

    @property
    def key(self) -> tuple[str, str]:
        """Kind and name: no two resources share both."""
        return (self.kind, self.name)


class ManagedKind(Protocol):
    """One kind of managed resources of a cluster."""

    @property
    def label(self) -> str:
        """Name of the kind: ``training job``."""
        ...

    def find(self) -> Sequence[ManagedResource]:
        """Return the cluster's resources of this kind that are billed, or about to be.

        :raises StratusError: the service refused, or does not answer.
        """
        ...

    def end(self, name: str) -> None:
        """Request the end of a resource; one that has ended already is no error.

        :raises StratusError: the service refused, or does not answer.
        """
        ...


@dataclass(frozen=True)
class ManagedSurvey:
    """Managed resources of a cluster.

    :param problems: service -> why some of its resources, or all, could not be looked up.
    """

    resources: tuple[ManagedResource, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()

    @property
    def usd_per_hour(self) -> Decimal | None:
        """USD per hour of all of them; None if a price is unknown."""
        return cost.total(resource.usd_per_hour for resource in self.resources)

    @property
    def problem(self) -> str:
        """The problems of all services in a line; empty if there is none."""
        return "; ".join(f"{service}: {problem}" for service, problem in self.problems)


NO_MANAGED = ManagedSurvey()


@dataclass(frozen=True)
class ManagedEnd:
    """Outcome of ending one managed resource.

    :param error: why it is not known to have ended; empty if it has.
    """

    resource: ManagedResource
    error: str = ""

    @property
    def remaining(self) -> str:
        """Line on what remains; empty if it has ended."""
        return f"{self.resource.kind} {self.resource.name}: {self.error}" if self.error else ""


@dataclass(frozen=True)
class ManagedEndReport:
    """Outcome of ending all managed resources of a cluster.

    :param unconfirmed: why there may be more; empty if there is no reason.
    :param kept_resources: what was left on purpose.
    """

    ends: tuple[ManagedEnd, ...] = ()
    unconfirmed: tuple[str, ...] = ()
    kept_resources: tuple[ManagedResource, ...] = ()

    @property
    def has_elsewhere(self) -> bool:
        """True if something remains that was made under other settings."""
        return any(end.error and end.resource.origin for end in self.ends)

    @property
    def remaining(self) -> tuple[str, ...]:
        """Everything that still exists, or may, and was not to be kept, in a line each."""
        return (*filter(None, (end.remaining for end in self.ends)), *self.unconfirmed)


NOTHING_ENDED = ManagedEndReport()
