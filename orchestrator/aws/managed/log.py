"""Journal entries of managed resources: an intent is written before a creation, and closed once it has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.aws.identity import ClusterId, recorded_cluster_id
from orchestrator.core.clock import Clock
from orchestrator.core.errors import CloudRefused, StratusError
from orchestrator.core.journal import Journal, JournalEntry

_REFUSALS = frozenset(("AccessDenied", "AccessDeniedException", "ResourceLimitExceeded", "ValidationException"))
"""Codes with which nothing was created. Others, such as internal errors, may follow a creation."""


@dataclass(frozen=True)
class ManagedLog:
    """Journal entries of one cluster's managed resources of a service.

    :param kinds: kinds of its entries: each is an intent to create a resource. Its facts: ``name`` and those of its
        cluster.
    """

    journal: Journal
    cluster_id: Callable[[], ClusterId]
    clock: Clock
    kinds: tuple[str, ...]

    def open_entries(self) -> list[JournalEntry]:
        """Return the intents whose resource is not known to have ended, oldest first; makes no API call without any."""
        # Without reading the identity, which takes a call, as long as there is no such entry.
        entries = [
            entry
            for entry in self.journal.entries()
            if entry.kind in self.kinds and not (entry.outcome or {}).get("ended")
        ]
        return [entry for entry in entries if self._is_own(entry)] if entries else []

    def _is_own(self, entry: JournalEntry) -> bool:
        # A damaged disk may have changed any field.
        with suppress(KeyError, TypeError, AttributeError):
            return self.cluster_id().covers(recorded_cluster_id(entry.facts))
        return False

    def record_intent(self, kind: str, name: str, **facts: object) -> JournalEntry:
        """Record that a resource is about to be created.

        :param kind: one of `kinds`.
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
