"""Journal entries of one cluster's launches, including requests whose outcome is unknown.

EC2 may omit a new instance from its answers for some time. Meanwhile the journal knows the instances launched by this
computer; afterwards, and for other computers, the tags are the only state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from orchestrator.aws import client, identity
from orchestrator.aws.ec2 import host_names, instances
from orchestrator.aws.ec2.instances import VISIBILITY_LAG_S
from orchestrator.aws.ec2.ownership import Ownership
from orchestrator.core.clock import Backoff, Clock
from orchestrator.core.cost import Amount
from orchestrator.core.errors import StratusError
from orchestrator.core.journal import Journal, JournalEntry

REQUEST_LIFETIME_S = 240.0
"""Longest time from the entry of a request to its last attempt: `run_instances.RETRY_TIMEOUT_S` and one answer."""

LAUNCH, UP, GROUP, KEY = "launch", "up", "group", "key"
"""Kinds of entries: one RunInstances request; a whole launch until its hosts are ready; security group; key pair."""

RUNNING, ENDED = "running", "ended"
"""Kinds of entries that record facts for the meter, and have no outcome."""

_BACKOFF = Backoff(first_s=1.0, longest_s=10.0, growth=2.0)


@dataclass(frozen=True)
class EndedInstance:
    """An instance that was terminated.

    :param cost: from its launch to its end.
    """

    launch_id: str
    cost: Amount


@dataclass(frozen=True)
class LaunchLog:
    """The journal's view of one cluster.

    :param cluster_id: entries of other clusters in the same journal are ignored.
    """

    journal: Journal
    cluster_id: identity.ClusterId
    clock: Clock

    def entries(self, *kinds: str) -> list[JournalEntry]:
        """Return this cluster's entries of some kinds, oldest first."""
        entries = [entry for entry in self.journal.entries() if entry.kind in kinds and _is_valid(entry)]
        return [entry for entry in entries if self.cluster_id.covers(identity.recorded_cluster_id(entry.facts))]

    @property
    def ownership(self) -> Ownership:
        """The cluster's owner with the instances in the journal that are not known to be terminated."""
        launched = (instance.id for entry in self.entries(LAUNCH) for instance in launched_instances(entry))
        return Ownership(self.cluster_id, frozenset(launched))

    def open_entries(self, launch_id: str = "") -> list[JournalEntry]:
        """Return the entries of requests and launches without an outcome.

        :param launch_id: only of this launch; empty for all.
        """
        return [entry for entry in self.entries(LAUNCH, UP) if entry.outcome is None and _is_of(entry, launch_id)]

    def unconfirmed(self, launch_id: str = "") -> list[JournalEntry]:
        """Return the requests whose outcome is unknown."""
        return [entry for entry in self.open_entries(launch_id) if entry.kind == LAUNCH]

    def requests(self, launch_id: str) -> list[JournalEntry]:
        """Return the requests of a launch, those whose instances are terminated excluded."""
        entries = [entry for entry in self.entries(LAUNCH) if _is_of(entry, launch_id)]
        return [entry for entry in entries if not (entry.outcome or {}).get("ended")]

    def visible_by(self, entry: JournalEntry, since: datetime) -> datetime:
        """Return the time from which EC2 shows the instances of a request, if there are any.

        :param since: a time after the last attempt of the request, as far as known.
        """
        return _visible_by(entry, since)

    def recent(self, launch_id: str = "") -> dict[str, instances.Instance]:
        """Return the instances by id that were launched so recently that EC2 may not show them yet.

        :param launch_id: only of this launch; empty for all.
        """
        since = self.clock.now() - timedelta(seconds=REQUEST_LIFETIME_S + VISIBILITY_LAG_S)
        entries = [entry for entry in self.entries(LAUNCH) if entry.written_at >= since and _is_of(entry, launch_id)]
        return {instance.id: instance for entry in entries for instance in launched_instances(entry)}

    def reserved_names(self) -> set[str]:
        """Return the names of recent instances, and those that unconfirmed requests may have given."""
        unconfirmed = {name for entry in self.unconfirmed() for name in _names(entry)}
        return {instance.name for instance in self.recent().values()} | unconfirmed

    def find_by_token(self, clients: client.Clients, entry: JournalEntry) -> list[instances.Instance]:
        """Return the instances of a request, as the function of this name; tags that do not show yet are filled in."""
        return [
            instances.with_known_tags(instance, _recorded(entry, instance.id, instance.index))
            for instance in find_by_token(clients, entry)
        ]

    def record_outcome(self, entries: Sequence[JournalEntry], **facts: Any) -> None:
        """Record the outcome of entries; a full disk is ignored: the answer of AWS stands without the entry."""
        with suppress(StratusError):
            for entry in entries:
                self.journal.record_outcome(entry, **facts)

    def record_terminated(self, ids: set[str], launch_id: str = "") -> None:
        """Record that instances are terminated, and that their launches are over.

        :param launch_id: only this launch is over; empty for all.
        """
        # Every entry, not only this launch's: terminating a cluster ends instances of several launches.
        for entry in self.entries(LAUNCH):
            left = {instance.id for instance in launched_instances(entry)}
            if left & ids:
                # One of several: the others are found by this entry, should the settings change.
                terminated = sorted(left & ids | set((entry.outcome or {}).get("terminated", [])))
                self.record_outcome([entry], ids=_ids(entry), ended=left <= ids, terminated=terminated)
        self.record_outcome(self.open_entries(launch_id), ended=True)

    def close_entries(self, entries: Sequence[JournalEntry]) -> None:
        """Record that all instances of requests are terminated."""
        for entry in entries:
            self.record_outcome([entry], ids=_ids(entry), ended=True)

    def record_all_deleted(self, ids: set[str]) -> None:
        """Record that all resources of the cluster are deleted, including some instances."""
        self.record_terminated(ids | self.recent().keys())
        # Also those that shut down by themselves long ago, which EC2 shows no longer.
        self.close_entries([entry for entry in self.entries(LAUNCH) if any(launched_instances(entry))])
        self.record_outcome([entry for entry in self.entries(GROUP, KEY) if entry.outcome is None], ended=True)

    # -- facts for the meter, which are best effort: costs are shown without them, too

    def record_running(self, since: Mapping[str, datetime]) -> None:
        """Record when instances, by id, were last seen pending: EC2 bills them from running on."""
        self._record(RUNNING, since={key: time.isoformat() for key, time in since.items()})

    def running_since(self) -> dict[str, datetime]:
        """Return when instances, by id, were last seen pending."""
        times: dict[str, datetime] = {}
        for entry in self._facts(RUNNING):
            with suppress(KeyError, TypeError, ValueError, AttributeError):
                times |= {key: datetime.fromisoformat(time) for key, time in entry.facts["since"].items()}
        return times

    def record_ended(self, ended: Mapping[str, EndedInstance]) -> None:
        """Record instances, by id, that were terminated."""
        self._record(ENDED, instances={key: _ended_facts(instance) for key, instance in ended.items()})

    def ended(self) -> dict[str, EndedInstance]:
        """Return the terminated instances by id."""
        instances_by_id: dict[str, EndedInstance] = {}
        for entry in self._facts(ENDED):
            with suppress(KeyError, TypeError, InvalidOperation, AttributeError):
                instances_by_id |= {key: _read_ended(facts) for key, facts in entry.facts["instances"].items()}
        return instances_by_id

    def last_ended_cost(self) -> Amount | None:
        """Return the cost of the launches whose instances were terminated last; None if none is recorded."""
        ended = list(self.ended().values())
        entries = self._facts(ENDED)
        if not ended or not entries:
            return None
        with suppress(KeyError, TypeError, AttributeError):
            launch_ids = {facts["run"] for facts in entries[-1].facts["instances"].values()}
            return sum((item.cost for item in ended if item.launch_id in launch_ids), Amount())
        return None

    def _record(self, kind: str, **facts: Any) -> None:
        with suppress(StratusError):
            self.journal.record_intent(kind, **facts, **self.cluster_id.journal_fields)

    def _facts(self, kind: str) -> list[JournalEntry]:
        try:
            return self.entries(kind)
        except OSError:
            return []


def _ended_facts(ended: EndedInstance) -> dict[str, str | None]:
    at_most = ended.cost.at_most
    return {
        "run": ended.launch_id,
        "usd_at_least": str(ended.cost.at_least),
        "usd_at_most": None if at_most is None else str(at_most),
    }


def _read_ended(facts: Mapping[str, Any]) -> EndedInstance:
    at_most = facts["usd_at_most"]
    amount = Amount(Decimal(facts["usd_at_least"]), None if at_most is None else Decimal(at_most))
    return EndedInstance(str(facts["run"]), amount)


def unended(journal: Journal) -> dict[identity.ClusterId, list[JournalEntry]]:
    """Return the requests, of any cluster, whose instances are not known to be terminated."""
    by_cluster: dict[identity.ClusterId, list[JournalEntry]] = {}
    for entry in journal.entries():
        if entry.kind == LAUNCH and _is_valid(entry) and (entry.outcome is None or any(launched_instances(entry))):
            recorded = identity.recorded_cluster_id(entry.facts)
            # One cluster under several ARNs is listed once.
            known = next((cluster for cluster in by_cluster if cluster.covers(recorded)), recorded)
            by_cluster.setdefault(known, []).append(entry)
    return by_cluster


def earlier_cluster_ids(log: LaunchLog) -> list[identity.ClusterId]:
    """Return the cluster under the other ARNs of this computer that have instances in the journal.

    They name a security group and a key pair of their own, which the cluster's tags do not identify.
    """
    own, by_name = log.cluster_id, dict[str, identity.ClusterId]()
    for entry in log.entries(LAUNCH):
        recorded = replace(identity.recorded_cluster_id(entry.facts), is_caller=False)
        if (entry.outcome is None or any(launched_instances(entry))) and not own.matches(recorded.tags):
            by_name[recorded.resource_name] = recorded
    return list(by_name.values())


def launched_instances(entry: JournalEntry) -> Iterator[instances.Instance]:
    """Yield the instances of a request as far as its entry knows them; none once they are terminated."""
    outcome = entry.outcome or {}
    for index, instance_id in enumerate([] if outcome.get("ended") else outcome.get("ids", [])):
        if instance_id not in outcome.get("terminated", []):
            yield _recorded(entry, instance_id, index)


def _visible_by(entry: JournalEntry, since: datetime) -> datetime:
    last_attempt = min(since, entry.written_at + timedelta(seconds=REQUEST_LIFETIME_S))
    return last_attempt + timedelta(seconds=VISIBILITY_LAG_S)


def _ids(entry: JournalEntry) -> list[str]:
    return list((entry.outcome or {}).get("ids", []))


def find_by_token(clients: client.Clients, entry: JournalEntry) -> list[instances.Instance]:
    """Return the instances of a request, in any state, once EC2 shows all of them.

    Fewer, or none, if EC2 has not shown more after the longest time that it may omit new instances.
    """
    matches: list[instances.Instance] = []
    now = clients.clock.now()
    wait_s = (_visible_by(entry, now) - now).total_seconds()
    for _ in clients.clock.attempts(max(0.0, wait_s), _BACKOFF):
        matches = instances.find_by_token(clients, str(entry.facts["token"]))
        if len(matches) >= int(entry.facts.get("count", 1)):  # EC2 may show some instances of a request before others
            break
    return matches


def _is_valid(entry: JournalEntry) -> bool:
    """Return True if an entry has the facts of its kind; a damaged disk may have changed any of them."""
    for name in ("ids", "terminated"):
        ids = (entry.outcome or {}).get(name, [])
        if not isinstance(ids, list) or not all(isinstance(instance_id, str) for instance_id in ids):
            return False
    if not all(isinstance(entry.facts.get(name), str) for name in ("cluster", "owner", "account", "region")):
        return False
    if not isinstance(entry.facts.get("owner_id", ""), str):
        return False
    if entry.kind not in (LAUNCH, UP):
        return True
    names = ("run", "token") if entry.kind == LAUNCH else ("run",)
    # bool is an int in Python.
    return all(isinstance(entry.facts.get(name), str) for name in names) and type(entry.facts.get("count", 1)) is int


def _is_of(entry: JournalEntry, launch_id: str) -> bool:
    return launch_id in ("", str(entry.facts.get("run", "")))


def _recorded(entry: JournalEntry, instance_id: str, index: int) -> instances.Instance:
    facts, names = entry.facts, _names(entry)
    return instances.Instance(
        id=instance_id,
        name=names[index] if index < len(names) else instance_id,
        cluster=facts["cluster"],
        launch_id=facts["run"],
        owner=facts["owner"],
        owner_id=facts.get("owner_id", ""),
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
