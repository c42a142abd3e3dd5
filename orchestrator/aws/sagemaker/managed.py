"""Managed resources: what SageMaker bills for a cluster besides instances. Found by name and tags, priced, ended.

Each kind (training jobs, endpoints ...) is a `ManagedKind`; the session hands a `ManagedSweep` of all of them to the
cluster's service, for Status and TerminateAll. SageMaker is called only if this computer has used it: an account
without it, or a user without its permissions, notices nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from orchestrator.aws.identity import ClusterId, recorded_cluster_id
from orchestrator.core import cost
from orchestrator.core.clock import Backoff, Clock
from orchestrator.core.errors import CloudRefused, StratusError, first_line
from orchestrator.core.journal import Journal, JournalEntry

JOURNAL_KINDS = ("training", "tuning", "endpoint", "transform")
"""Kinds of journal entries: an intent to create a managed resource. Its facts: ``name`` and those of its cluster."""

END_TIMEOUT_S = 420.0
"""A container gets 120 s between SIGTERM and SIGKILL, then its results are uploaded."""

END_BACKOFF = Backoff(first_s=0.2, longest_s=5.0)

_REFUSALS = frozenset(("AccessDenied", "AccessDeniedException", "ResourceLimitExceeded", "ValidationException"))
"""Codes with which nothing was created. Others, such as internal errors, may follow a creation."""

UNSEEN_S = 120.0
"""A resource that was just created may be missing in lists for some time."""


@dataclass(frozen=True)
class ManagedResource:
    """A resource of SageMaker that is billed by the hour now, or will be.

    :param kind: such as ``training job``, ``endpoint``.
    :param state: as SageMaker names it.
    :param type: instance type; empty if it has none.
    :param count: number of instances.
    :param usd_per_hour: of all its instances; None if unknown.
    :param ends_at: when it ends by itself at the latest; None if it does not, or if unknown.
    """

    kind: str
    name: str
    state: str
    type: str = ""
    count: int = 1
    usd_per_hour: Decimal | None = None
    created_at: datetime | None = None
    ends_at: datetime | None = None


class ManagedKind(Protocol):
    """One kind of managed resources of a cluster."""

    @property
    def label(self) -> str:
        """Name of the kind: ``training job``."""
        ...

    def find(self) -> Sequence[ManagedResource]:
        """Return the cluster's resources of this kind that are billed, or about to be.

        :raises StratusError: SageMaker refused, or does not answer.
        """
        ...

    def end(self, name: str) -> None:
        """Request the end of a resource; one that has ended already is no error.

        :raises StratusError: SageMaker refused, or does not answer.
        """
        ...


@dataclass(frozen=True)
class ManagedSurvey:
    """Managed resources of a cluster.

    :param problem: why some, or all, could not be looked up; empty if they could.
    """

    resources: tuple[ManagedResource, ...] = ()
    problem: str = ""

    @property
    def usd_per_hour(self) -> Decimal | None:
        """USD per hour of all of them; None if a price is unknown."""
        return cost.total(resource.usd_per_hour for resource in self.resources)


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
    """

    ends: tuple[ManagedEnd, ...] = ()
    unconfirmed: tuple[str, ...] = ()

    @property
    def remaining(self) -> tuple[str, ...]:
        """Everything that still exists, or may, in a line each."""
        return (*filter(None, (end.remaining for end in self.ends)), *self.unconfirmed)

    def including(self, earlier: ManagedEndReport) -> ManagedEndReport:
        """Return the report with what earlier requests have ended before this one looked."""
        present = {_key(end.resource) for end in self.ends}
        gone = [ManagedEnd(end.resource) for end in earlier.ends if _key(end.resource) not in present]
        # What could not be looked up may still be there.
        return self if self.unconfirmed else replace(self, ends=(*gone, *self.ends))


NOTHING_ENDED = ManagedEndReport()


@dataclass(frozen=True)
class ManagedLog:
    """Journal entries of one cluster's managed resources."""

    journal: Journal
    cluster_id: Callable[[], ClusterId]
    clock: Clock

    def open_entries(self) -> list[JournalEntry]:
        """Return the intents whose resource is not known to have ended, oldest first; makes no API call without any."""
        # Without reading the identity, which takes a call, as long as there is no such entry.
        entries = [
            entry
            for entry in self.journal.entries()
            if entry.kind in JOURNAL_KINDS and not (entry.outcome or {}).get("ended")
        ]
        return [entry for entry in entries if self._is_own(entry)] if entries else []

    def _is_own(self, entry: JournalEntry) -> bool:
        # A damaged disk may have changed any field.
        with suppress(KeyError, TypeError, AttributeError):
            return self.cluster_id().covers(recorded_cluster_id(entry.facts))
        return False

    def record_intent(self, kind: str, name: str, **facts: object) -> JournalEntry:
        """Record that a resource is about to be created.

        :param kind: one of `JOURNAL_KINDS`.
        :raises StratusError: it could not be written, so the request must not be sent.
        """
        return self.journal.record_intent(kind, name=name, **facts, **self.cluster_id().journal_fields)

    def create(self, entry: JournalEntry, create: Callable[[], str], find: Callable[[], str]) -> None:
        """Create the resource of an intent; one whose creation was answered with an error, but that is there, counts.

        :param create: creates it and returns its ARN.
        :param find: returns its ARN; empty if there is none of its name, which no other resource has.
        :raises StratusError: it was not created; the intent stays open if that is not certain.
        """
        try:
            arn = create()
        except StratusError as error:
            arn = ""
            # The error that matters is that of the creation.
            with suppress(StratusError):
                arn = find()
            if not arn:
                if isinstance(error, CloudRefused) and error.code in _REFUSALS:
                    self.record_ended([entry])
                raise
        self.record_created(entry, arn)

    def record_created(self, entry: JournalEntry, arn: str) -> None:
        """Record that a resource was created."""
        self.journal.record_outcome(entry, arn=arn)

    def record_ended(self, entries: Iterable[JournalEntry]) -> None:
        """Record that resources have ended, or were never created."""
        for entry in entries:
            # Only the next Status() would look again: a full disk must not hide an outcome.
            with suppress(StratusError):
                self.journal.record_outcome(entry, **{**(entry.outcome or {}), "ended": True})

    def record_ended_name(self, name: str) -> None:
        """Record that the resource of a name has ended."""
        self.record_ended(entry for entry in self.open_entries() if entry.facts.get("name") == name)


@dataclass
class ManagedSweep:
    """Finds and ends the managed resources of a cluster, of all kinds.

    :param is_configured: the settings name something of SageMaker: it is called although the journal names nothing.
    """

    kinds: Sequence[ManagedKind]
    log: ManagedLog
    clock: Clock
    is_configured: bool = False

    @property
    def is_used(self) -> bool:
        """True if SageMaker is called: the journal, or the settings, name something of it."""
        return self.is_configured or bool(self.log.open_entries())

    def survey(self) -> ManagedSurvey:
        """Return what is billed now; makes no API call if this computer has not used SageMaker."""
        entries = self.log.open_entries()
        if not entries and not self.is_configured:
            return NO_MANAGED
        survey = self._find()
        if not survey.resources and not survey.problem:
            self._close(entries)
        return survey

    def end_all(self, timeout_s: float = END_TIMEOUT_S) -> ManagedEndReport:
        """End everything that is billed, and wait until SageMaker lists none of it any more.

        :param timeout_s: seconds to wait; 0 requests the ends only.
        """
        entries = self.log.open_entries()
        if not entries and not self.is_configured:
            return NOTHING_ENDED
        ends: dict[str, ManagedEnd] = {}
        survey = ManagedSurvey()
        for _ in self.clock.attempts(timeout_s, END_BACKOFF):
            survey = self._find()
            for resource in survey.resources:
                self._end(resource, ends)
            present = {_key(resource) for resource in survey.resources}
            if survey.problem or not present:
                break
        present = {_key(resource) for resource in survey.resources}
        outcomes = tuple(_outcome(end, is_present=key in present) for key, end in ends.items())
        unconfirmed = self._unconfirmed(survey, entries)
        if not survey.problem and not present:
            self._close(entries)
        return ManagedEndReport(outcomes, unconfirmed)

    def _unconfirmed(self, survey: ManagedSurvey, entries: Sequence[JournalEntry]) -> tuple[str, ...]:
        if not survey.problem:
            return ()
        names = " ".join(str(entry.facts.get("name", "")) for entry in entries)
        # Without an entry nothing of this computer can be there; other kinds may still be refused.
        return (f"SageMaker: {names}: {survey.problem}",) if names else ()

    def _end(self, resource: ManagedResource, ends: dict[str, ManagedEnd]) -> None:
        key, kind = _key(resource), next(kind for kind in self.kinds if kind.label == resource.kind)
        if key in ends and not ends[key].error:
            return
        try:
            kind.end(resource.name)
            ends[key] = ManagedEnd(resource)
        except StratusError as error:
            ends[key] = ManagedEnd(resource, first_line(error))

    def _find(self) -> ManagedSurvey:
        resources: list[ManagedResource] = []
        problems: dict[str, str] = {}
        for kind in self.kinds:
            try:
                resources += kind.find()
            except CloudRefused as error:
                # One missing permission concerns many kinds: each code is reported once.
                problems.setdefault(error.code, f"{kind.label}s: {first_line(error)}")
            except StratusError as error:
                problems.setdefault("", f"{kind.label}s: {first_line(error)}")
        return ManagedSurvey(tuple(resources), "; ".join(problems.values()))

    def _close(self, entries: Sequence[JournalEntry]) -> None:
        """Close the entries of resources that are not listed any more, apart from those that may not be listed yet."""
        latest = self.clock.now() - timedelta(seconds=UNSEEN_S)
        self.log.record_ended(entry for entry in entries if entry.written_at < latest)


def _key(resource: ManagedResource) -> str:
    return f"{resource.kind} {resource.name}"


def _outcome(end: ManagedEnd, *, is_present: bool) -> ManagedEnd:
    if not is_present:
        return ManagedEnd(end.resource)
    return end if end.error else ManagedEnd(end.resource, f"is still {end.resource.state} after {END_TIMEOUT_S:.0f} s")
