"""Finds and ends the managed resources of a cluster, whatever services they belong to.

Each kind (training jobs, endpoints, volumes ...) is a `ManagedKind`; kinds of one service form a `ManagedService`. The
session hands a `ManagedSweep` of all services to the cluster's service, for Status and TerminateAll. A service that
this computer has not used is not looked up by Status; TerminateAll looks it up, because another computer may have used
it, but reports only what it finds: an account without the service, or a user without its permissions, notices nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

from orchestrator.aws import error_codes
from orchestrator.aws.managed.log import ManagedLog
from orchestrator.aws.managed.resources import (
    ManagedEnd,
    ManagedEndReport,
    ManagedKind,
    ManagedResource,
    ManagedSurvey,
)
from orchestrator.core.clock import Backoff, Clock
from orchestrator.core.errors import CloudRefused, StratusError, first_line
from orchestrator.core.journal import JournalEntry

LOOKUP_ATTEMPTS, LOOKUP_TIMEOUT_S = 2, 4.0
"""Requests per call, and the read timeout of one, of the clients that kinds are given: a service that does not answer
delays Status, and TerminateAll's requests to others, by seconds."""

END_TIMEOUT_S = 420.0
"""A container gets 120 s between SIGTERM and SIGKILL, then its results are uploaded."""

PROBLEM_TIMEOUT_S = 60.0
"""Time in which a service that could not be looked up is asked again before TerminateAll reports that."""

END_BACKOFF = Backoff(first_s=0.2, longest_s=5.0)

UNSEEN_S = 120.0
"""A resource that was just created may be missing in lists for some time."""


@dataclass(frozen=True)
class ManagedService:
    """Kinds of managed resources behind one endpoint.

    :param name: such as ``SageMaker``.
    :param log: journal entries of its resources.
    :param is_configured: the settings name something of it: it is looked up although the journal names nothing.
    :param origin: other settings under which this computer made its resources; empty for the present ones.
    :param comes_last: its resources are listed only when those of others, which use them, have ended.
    :param end_unseen: kind of journal entries -> requests the end of an entry's resource without looking it up; in
        the order of the requests.
    """

    name: str
    kinds: Sequence[ManagedKind]
    log: ManagedLog
    is_configured: bool = False
    comes_last: bool = False
    origin: str = ""
    end_unseen: Mapping[str, Callable[[JournalEntry], None]] = field(default_factory=dict)

    @property
    def is_used(self) -> bool:
        """True if the settings, or the journal of this computer, name something of it."""
        return self.is_configured or bool(self.log.open_entries())

    def find(self) -> _Lookup:
        """Return the cluster's resources, and why some could not be looked up."""
        resources: list[ManagedResource] = []
        problems: dict[str, str] = {}
        is_transient = True
        for kind in self.kinds:
            try:
                resources += kind.find()
            except CloudRefused as error:
                # One missing permission concerns many kinds: each code is reported once.
                problems.setdefault(error.code, f"{kind.label}s: {first_line(error)}")
                is_transient = is_transient and _may_pass(error)
            except StratusError as error:
                # It does not answer: the other kinds would only wait as long.
                problems.setdefault("", f"{kind.label}s: {first_line(error)}")
                break
        resources = [replace(resource, origin=self.origin) for resource in resources] if self.origin else resources
        return _Lookup(tuple(resources), "; ".join(problems.values()), bool(problems) and is_transient)

    def end(self, resource: ManagedResource) -> ManagedEnd:
        """Request the end of a resource."""
        kind = next(kind for kind in self.kinds if kind.label == resource.kind)
        try:
            kind.end(resource.name)
        except StratusError as error:
            return ManagedEnd(resource, first_line(error))
        return ManagedEnd(resource)

    def close(self, entries: Iterable[JournalEntry]) -> None:
        """Close the entries of resources that are not listed any more, apart from those that may not be listed yet."""
        latest = self.log.clock.now() - timedelta(seconds=UNSEEN_S)
        self.log.record_ended(entry for entry in entries if entry.written_at < latest)


@dataclass(frozen=True)
class _Lookup:
    """Resources of a service; why some could not be looked up, and whether that may pass."""

    resources: tuple[ManagedResource, ...] = ()
    problem: str = ""
    is_transient: bool = False


@dataclass
class _ServiceEnding:
    """End of the resources of one service: what was requested, and what the last lookup said.

    :param is_left: its resources are looked up and named, not ended.
    :param entries: open entries when it began: if there are any, resources must be accounted for.
    :param unseen: name of a resource that may not be looked up -> why its end was not requested; empty if it was.
    """

    service: ManagedService
    include_kept: bool
    is_left: bool
    entries: list[JournalEntry]
    ends: dict[tuple[str, str], ManagedEnd] = field(default_factory=dict)
    last: _Lookup = _Lookup()
    unseen: dict[str, str] = field(default_factory=dict)

    def look(self) -> None:
        """Look the resources up, and request the end of those whose end was not requested yet."""
        self.last = self.service.find()
        for resource in self.ending:
            if self.is_left:
                self.ends[resource.key] = ManagedEnd(
                    resource, f"made from here under other settings: {resource.origin}"
                )
            elif resource.key not in self.ends or self.ends[resource.key].error:
                self.ends[resource.key] = self.service.end(resource)
        if self.last.problem and not self.last.is_transient and not self.is_left:
            self._end_unseen()

    def _end_unseen(self) -> None:
        """Request the end of what this computer has created and may not look up: what may not be seen is billed on."""
        done = {name for _, name in self.ends} | self.unseen.keys()
        for kind, end in self.service.end_unseen.items():
            for entry in self.entries:
                name = str(entry.facts.get("name", ""))
                if entry.kind == kind and name not in done:
                    self.unseen[name] = _refusal(partial(end, entry))

    @property
    def ending(self) -> list[ManagedResource]:
        """The resources that the last lookup listed and that are to end."""
        return [resource for resource in self.last.resources if self.include_kept or not resource.is_kept]

    @property
    def is_expected(self) -> bool:
        """True if there were resources, or may be: only then is a lookup that failed a problem."""
        return bool(self.entries or self.ends) or self.service.is_configured

    def is_pending(self, waited_s: float) -> bool:
        """Return True if another lookup may show an end that the last one did not.

        :param waited_s: seconds since the first lookup.
        """
        if self.ending:
            return not self.is_left
        return self.is_expected and self.last.is_transient and waited_s < PROBLEM_TIMEOUT_S

    def finish(self) -> ManagedEndReport:
        """Return the outcome; close the journal entries of what is gone."""
        present = {resource.key for resource in self.last.resources}
        # A lookup that failed proves no end.
        outcomes = [_outcome(end, is_present=key in present) for key, end in self.ends.items()]
        if not self.last.problem and not self.last.resources:
            self.service.close(self.entries)
        left = tuple(resource for resource in self.last.resources if resource.key not in self.ends)
        return ManagedEndReport(tuple(outcomes), self._unconfirmed(), left)

    def _unconfirmed(self) -> tuple[str, ...]:
        if not self.last.problem or not self.is_expected:
            return ()
        recorded = [str(entry.facts.get("name", "")) for entry in self.entries]
        names = " ".join(dict.fromkeys([*recorded, *(name for _, name in self.ends)]))
        requested = [name for name, refusal in self.unseen.items() if not refusal]
        refused = [f"{name}: {refusal}" for name, refusal in self.unseen.items() if refusal]
        ended = [f"the end of {' '.join(requested)} was requested unseen"] if requested else []
        problem = "; ".join([self.last.problem, *ended, *refused])
        return (": ".join(filter(None, (self.service.name, names, problem))),)


@dataclass
class ManagedEnding:
    """End of all managed resources of a cluster, in two steps: the requests, then the wait."""

    services: Sequence[_ServiceEnding]
    clock: Clock

    def request(self) -> None:
        """Look everything up and request its end, once, without waiting."""
        for service in self.services:
            service.look()

    def complete(self) -> ManagedEndReport:
        """Request what was not requested yet, and wait until no service lists any of it."""
        pending = list(self.services)
        for waited_s in self.clock.attempts(END_TIMEOUT_S, END_BACKOFF):
            for service in pending:
                service.look()
            pending = [service for service in pending if service.is_pending(waited_s)]
            if not pending:
                break
            pending += [item for item in self.services if item.service.comes_last and item not in pending]
        reports = [service.finish() for service in self.services]
        return ManagedEndReport(
            tuple(end for report in reports for end in report.ends),
            tuple(line for report in reports for line in report.unconfirmed),
            tuple(resource for report in reports for resource in report.kept_resources),
        )


@dataclass
class ManagedSweep:
    """The managed resources of a cluster, of all services.

    :param find_elsewhere: returns the services with what this computer made under other settings.
    """

    services: Sequence[ManagedService]
    clock: Clock
    find_elsewhere: Callable[[], Sequence[ManagedService]] = tuple

    def survey(self) -> ManagedSurvey:
        """Return what is billed now; makes no API call to a service that this computer has not used."""
        resources: list[ManagedResource] = []
        problems: list[tuple[str, str]] = []
        for service in (*self.services, *self.find_elsewhere()):
            entries = service.log.open_entries()
            if not entries and not service.is_configured:
                continue
            lookup = service.find()
            resources += lookup.resources
            if lookup.problem:
                problems.append((service.name, lookup.problem))
            elif not lookup.resources:
                service.close(entries)
        return ManagedSurvey(tuple(resources), tuple(problems))

    def ending(self, *, include_kept: bool = False, everywhere: bool = False) -> ManagedEnding:
        """Return the end of everything that is billed, which begins with its `request`.

        :param include_kept: also what outlives its cluster on purpose.
        :param everywhere: also what this computer made under other settings, which is named otherwise.
        """
        services = [
            _ServiceEnding(service, include_kept, bool(service.origin) and not everywhere, service.log.open_entries())
            for service in (*self.services, *self.find_elsewhere())
        ]
        return ManagedEnding(services, self.clock)


def _refusal(end: Callable[[], None]) -> str:
    """Request an end; return why it was refused, empty if it was not."""
    try:
        end()
    except StratusError as error:
        return first_line(error)
    return ""


def _may_pass(error: CloudRefused) -> bool:
    return error_codes.look_up(error.code, error.message).reaction in ("retry", "ambiguous", "wait")


def _outcome(end: ManagedEnd, *, is_present: bool) -> ManagedEnd:
    if not is_present:
        return ManagedEnd(end.resource)
    return end if end.error else ManagedEnd(end.resource, f"is still {end.resource.state} after {END_TIMEOUT_S:.0f} s")
