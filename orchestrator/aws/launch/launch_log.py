"""What the journal knows of one cluster's launches: those nobody knows the end of, and machines EC2 may not show yet.

EC2 may leave a machine out of its answers for a while after it was launched. The journal fills that gap for the
computer that launched it; for all others, and after that while, the tags say everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestrator.aws import client, identity
from orchestrator.aws.ec2 import host_names, instances
from orchestrator.core.clock import Backoff, Clock
from orchestrator.core.errors import StratusError
from orchestrator.core.journal import Journal, JournalEntry

VISIBILITY_LAG_S = 75.0  # for how long a new machine may be left out; more than a minute is not known from anywhere
REQUEST_LIFETIME_S = (
    240.0  # RunInstances is asked for no longer than that after its entry was written, a last answer included
)

LAUNCH, UP, GROUP, KEY = "launch", "up", "group", "key"
"""Kinds of entries: one request for machines; a whole launch, until its machines answer; group and key pair."""


@dataclass(frozen=True)
class LaunchLog:
    """The journal's entries on one cluster.

    :param mine: whose; entries of others in the same journal are passed over.
    """

    journal: Journal
    cluster_id: identity.ClusterId
    clock: Clock

    def entries(self, *kinds: str) -> list[JournalEntry]:
        """Return this cluster's entries of some kinds, oldest first."""
        mine = self.cluster_id.journal_fields.items()
        return [each for each in self.journal.entries() if each.kind in kinds and mine <= each.facts.items()]

    def open_entries(self, launch_id: str = "") -> list[JournalEntry]:
        """Return launches without an end, requests as well as whole ones.

        :param run: only this launch's.
        """
        return [
            each
            for each in self.entries(LAUNCH, UP)
            if each.outcome is None and launch_id in ("", str(each.facts.get("run", "")))
        ]

    def unconfirmed(self, launch_id: str = "") -> list[JournalEntry]:
        """Return the requests of which nobody knows whether they were carried out."""
        return [each for each in self.open_entries(launch_id) if each.kind == LAUNCH]

    def visible_by(self, entry: JournalEntry, since: datetime) -> datetime:
        """Return the time after which machines of a request are shown, or are not.

        :param since: a time at which the request was certainly not being asked for any more.
        """
        return min(since, entry.written_at + timedelta(seconds=REQUEST_LIFETIME_S)) + timedelta(
            seconds=VISIBILITY_LAG_S
        )

    def recent(self, launch_id: str = "") -> dict[str, instances.Instance]:
        """Return machines by id that were launched so lately that EC2 may not show them yet.

        :param run: only this launch's.
        """
        since = self.clock.now() - timedelta(seconds=REQUEST_LIFETIME_S + VISIBILITY_LAG_S)
        recent = [
            each
            for each in self.entries(LAUNCH)
            if each.written_at >= since and launch_id in ("", each.facts.get("run"))
        ]
        return {one.id: one for entry in recent for one in launched_instances(entry)}

    def reserved_names(self) -> set[str]:
        """Return the names that such machines, and those of undecided requests, have or may have."""
        undecided = [name for entry in self.unconfirmed() for name in _names(entry)]
        return {one.name for one in self.recent().values()} | set(undecided)

    def find_by_token(self, clients: client.Clients, entry: JournalEntry) -> list[instances.Instance]:
        """Return what a request is shown to have launched; see the function. It is ours, as its token is."""
        return [
            instances.with_known_tags(each, _machine(entry, each.id, each.index))
            for each in find_by_token(clients, entry)
        ]

    def record_outcome(self, entries: Sequence[JournalEntry], **facts: Any) -> None:
        """Settle entries if the disk allows it: what AWS has answered counts for more than a line about it."""
        with suppress(StratusError):
            for entry in entries:
                self.journal.record_outcome(entry, **facts)

    def record_terminated(self, ids: set[str], launch_id: str = "") -> None:
        """Write down that machines are gone, and that their launches are over.

        :param run: only this launch is over; all are when empty.
        """
        for entry in self.entries(LAUNCH):
            left = [one.id for one in launched_instances(entry) if one.id in ids]
            if left:
                self.record_outcome([entry], ids=(entry.outcome or {}).get("ids", []), ended=True)
        self.record_outcome(self.open_entries(launch_id), ended=True)

    def record_all_deleted(self, ids: set[str]) -> None:
        """Write down that everything of the cluster is gone, these machines included."""
        self.record_terminated(ids | self.recent().keys())
        self.record_outcome([each for each in self.entries(GROUP, KEY) if each.outcome is None], ended=True)


def launched_instances(entry: JournalEntry) -> Iterator[instances.Instance]:
    """Yield what a settled request is known to have launched, as far as the journal tells; none once they are gone."""
    outcome = entry.outcome or {}
    for index, instance_id in enumerate([] if outcome.get("ended") else outcome.get("ids", [])):
        yield _machine(entry, instance_id, index)


def _machine(entry: JournalEntry, instance_id: str, index: int) -> instances.Instance:
    facts, hosts = entry.facts, _names(entry)
    return instances.Instance(
        id=instance_id,
        name=hosts[index] if index < len(hosts) else instance_id,
        cluster=facts["cluster"],
        launch_id=facts["run"],
        owner=facts["owner"],
        type=facts.get("type", ""),
        state="pending",
        reason="",
        zone=facts.get("zone", ""),
        public_address="",
        private_address="",
        host_key="",
        key_name="",
        launched_at=entry.written_at,
        expires_at=None,
        max_hours=0.0,
        image_id="",
        group_ids=(),
    )


def _names(entry: JournalEntry) -> tuple[str, ...]:
    try:
        return host_names.expand(str(entry.facts.get("hosts", "")))
    except ValueError:
        return ()


def find_by_token(clients: client.Clients, entry: JournalEntry) -> list[instances.Instance]:
    """Return the machines that a request has launched, in whatever state, once EC2 shows all of them.

    Fewer, or none, when it has not shown more for as long as it may leave new machines out.
    """
    found: list[instances.Instance] = []
    for _ in clients.clock.attempts(VISIBILITY_LAG_S, Backoff(first_s=1.0, longest_s=10.0, growth=2.0)):
        found = instances.find_by_token(clients, str(entry.facts["token"]))
        if len(found) >= int(entry.facts.get("count", 1)):
            break
    return found
