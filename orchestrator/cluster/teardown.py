"""Termination of all resources of one cluster in one region, confirmed as far as EC2 allows.

EC2 is eventually consistent: it may not show an instance for some time after its launch. Two facts make up for that.
The journal lists recent instances and requests whose outcome is unknown; and EC2 refuses to delete a security group
that an instance uses, whether lookups show the instance or not. Where instances may run without a group of the cluster,
lookups go on until EC2 shows every instance launched before. What stays uncertain is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from orchestrator.aws import client, error_codes, identity
from orchestrator.aws.ec2 import guard_groups, security_groups, state_changes, waiters
from orchestrator.aws.ec2 import instances as ec2_instances
from orchestrator.aws.ec2.instances import VISIBILITY_LAG_S
from orchestrator.aws.ec2.state_changes import InstanceResult
from orchestrator.aws.launch.launch_log import LAUNCH
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import CloudRefused, LeftRunning, StratusError, first_line
from orchestrator.core.events import Event, EventHandler, ignore_event
from orchestrator.core.next_step import Text, join

if TYPE_CHECKING:
    from orchestrator.aws.ec2.instances import Instance
    from orchestrator.aws.launch.launch_log import LaunchLog
    from orchestrator.core.journal import JournalEntry

TIMEOUT_S = VISIBILITY_LAG_S + 60.0
"""For lookups until nothing more can appear; instances that shut down slowly have their own timeout on top."""

GROUP_TIMEOUT_S = 30.0
"""For the deletion of the security group after one launch; TerminateAll waits longer."""

BACKOFF = Backoff(first_s=1.0, longest_s=5.0)
DELETED, NONE = "gone", "none"
"""States of the security group and of the key pair: deleted just now; there was none of this cluster."""

KEPT = "kept: VMs are left"

_LAG = timedelta(seconds=VISIBILITY_LAG_S)


@dataclass
class RegionTeardown:
    """Termination of what one cluster has in one region.

    :param clients: of the region.
    :param launch_log: of the cluster in the region.
    :param delete_key: deletes the cluster's key pair and returns the names of what was deleted.
    :param user_group_id: security group of the settings, which is not the cluster's; empty for none.
    :param on_requested: called once, when the first request is answered, or failed, and before anything is waited for.
    :param instances: every instance of the cluster that was seen, by id.
    :param results: outcome of each, by id.
    :param requested_ids: of the instances of this computer's requests without an outcome, whatever their tags.
    :param ended: each instance that shuts down for good, as it was before, and the time since when; by id.
    :param group_state: ``gone``, ``none`` (the cluster has none) or why it remains; empty until that is known.
    :param key_state: the same for the key pair.
    :param unconfirmed: what may still exist, in a line each.
    """

    clients: client.Clients
    launch_log: LaunchLog
    delete_key: Callable[[], list[str]]
    on_event: EventHandler = ignore_event
    user_group_id: str = ""
    on_requested: Callable[[], None] = lambda: None
    instances: dict[str, Instance] = field(default_factory=dict)
    results: dict[str, InstanceResult] = field(default_factory=dict)
    requested_ids: set[str] = field(default_factory=set)
    ended: dict[str, tuple[Instance, datetime]] = field(default_factory=dict)
    group_state: str = ""
    key_state: str = ""
    unconfirmed: list[Text] = field(default_factory=list)
    _may_be_unguarded: bool | None = None
    _is_group_deleted: bool = False
    _is_requested: bool = False

    def run(self) -> None:
        """Terminate everything; the fields say what remains, or may. Raises nothing but KeyboardInterrupt."""
        began = self.clients.clock.now()
        failure: StratusError | None = None
        for _ in self.clients.clock.attempts(TIMEOUT_S, BACKOFF):
            try:
                self.terminate(self.find())
                is_over = bool(self.remaining) or self._is_confirmed(began)
                failure = None  # a later round without an error counts
                if is_over:
                    break
            except StratusError as error:
                failure = error
                self._note_requested()
                if not _is_transient(error):
                    break
        self._note_requested()
        self._note_unconfirmed(began)
        self._finish(failure)

    def run_launch(self, launch_id: str) -> None:
        """Terminate the instances of one launch, those that EC2 does not show yet included.

        :raises StratusError: a lookup failed.
        """
        log = self.launch_log
        unconfirmed = log.unconfirmed(launch_id)
        # Waits until EC2 shows the instances of requests whose outcome is unknown, or can be expected to.
        instances = {
            instance.id: instance for entry in unconfirmed for instance in log.find_by_token(self.clients, entry)
        }
        self.requested_ids |= set(instances)
        # Not only recent requests: an experiment terminates its launch hours after the request.
        if log.requests(launch_id):
            described = ec2_instances.find_by_launch(self.clients, log.ownership, launch_id)
            instances |= log.recent(launch_id) | {instance.id: instance for instance in described}
        self.terminate([instance for instance in instances.values() if instance.state != "terminated"])
        if not self.remaining:
            log.record_terminated(set(instances), launch_id)

    def delete_group_and_key(self, timeout_s: float) -> None:
        """Delete the security group and key pair of a cluster that has no instance; an error is noted.

        :param timeout_s: seconds that EC2 may take to release the group.
        """
        try:
            deleted = security_groups.delete(self.clients, self.launch_log.cluster_id, deadline_s=timeout_s)
        except StratusError as error:
            # In use by an instance that no lookup shows yet: the key pair stays too, as that one may need it.
            self.group_state, self.key_state = first_line(error), KEPT
            return
        self.group_state, self.key_state = DELETED if deleted else NONE, self._delete_key_pair()
        self.launch_log.record_all_deleted(set(self.instances))

    @property
    def remaining(self) -> list[InstanceResult]:
        """The instances that are not terminated."""
        return [result for result in self.results.values() if result.state != "terminated"]

    @property
    def _is_complete(self) -> bool:
        """True if no instance and no group remains, and nothing is unconfirmed."""
        return not (self.remaining or self.unconfirmed) and self.group_state in (DELETED, NONE)

    # -- instances

    def find(self) -> list[Instance]:
        """Return the cluster's instances that are not terminated, those that only the journal lists included."""
        described = [*ec2_instances.describe(self.clients, self.launch_log.ownership), *self._find_by_token()]
        shown = {instance.id: instance for instance in described}
        return [*shown.values(), *self._find_untagged(shown)]

    def _find_by_token(self) -> list[Instance]:
        """Return the instances of requests without an outcome that were made under another ARN."""
        log = self.launch_log
        recorded = [(entry, identity.recorded_cluster_id(entry.facts)) for entry in log.unconfirmed()]
        instances = [
            instance
            for entry, cluster_id in recorded
            if not log.cluster_id.owns(cluster_id.owner, cluster_id.owner_id)
            for instance in ec2_instances.find_by_token(self.clients, str(entry.facts["token"]))
        ]
        self.requested_ids |= {instance.id for instance in instances}
        return [instance for instance in instances if instance.state != "terminated"]

    def _find_untagged(self, shown: Iterable[str]) -> list[Instance]:
        """Return recent instances that a lookup by tags does not show: a lookup by id may."""
        recent = self.launch_log.recent().items()
        hidden = {key: instance for key, instance in recent if key not in shown and not self._is_terminated(key)}
        by_id = ec2_instances.describe_ids(self.clients, hidden) if hidden else []
        described = {instance.id: instance for instance in by_id}
        candidates = [
            ec2_instances.with_known_tags(described[key], instance) if key in described else instance
            for key, instance in hidden.items()
        ]
        return [instance for instance in candidates if instance.state != "terminated"]

    def terminate(self, instances: Sequence[Instance]) -> None:
        """Terminate instances and wait until they are gone; each gets a result of its own."""
        pending = [instance for instance in instances if not self._is_terminated(instance.id)]
        # Recorded before the request: if that fails, they still count as remaining.
        for instance in pending:
            if instance.id not in self.instances:
                self.on_event(Event(instance.name, "terminate", "start"))
            self.instances[instance.id] = instance
            self.results[instance.id] = InstanceResult(instance.name, instance.id, instance.state)
        if not pending:
            return
        changes = state_changes.terminate(
            self.clients, pending, ownership=self.launch_log.ownership.with_ids(self.requested_ids)
        )
        now = self.clients.clock.now()
        for instance in pending:
            change = changes[instance.id]
            self.results[instance.id] = InstanceResult(instance.name, instance.id, change.state, change.error)
            if change.is_ok:
                # EC2 bills nothing more from here on; a repeated request does not change that.
                self.ended.setdefault(instance.id, (instance, instance.ended_at or now))
        self._note_requested()
        self._wait_terminated([instance for instance in pending if changes[instance.id].is_ok])

    def _note_requested(self) -> None:
        if not self._is_requested:
            self._is_requested = True
            self.on_requested()

    def _wait_terminated(self, instances: Sequence[Instance]) -> None:
        clock, began = self.clients.clock, self.clients.clock.monotonic()
        try:
            for instance in waiters.wait_terminated(self.clients, instances):
                # The name of the launch: EC2 drops the tags of a terminated instance some time later.
                name = self.instances[instance.id].name
                self.results[instance.id] = InstanceResult(name, instance.id, "terminated")
                self.on_event(Event(name, "terminate", "done", clock.monotonic() - began))
        except LeftRunning:
            pass  # the results list them

    def _is_terminated(self, instance_id: str) -> bool:
        return instance_id in self.results and self.results[instance_id].state == "terminated"

    # -- confirmation

    def _is_confirmed(self, began: datetime) -> bool:
        """Delete the security group; return True if no instance can appear any more."""
        # Before the deletion: a guard group with rules is what tells the next TerminateAll of such instances.
        if self.clients.clock.now() < began + _LAG and self._has_unguarded(began):
            return False
        try:
            deleted = security_groups.delete(self.clients, self.launch_log.cluster_id, deadline_s=0)
        except CloudRefused as error:
            self.group_state = first_line(error)
            if error.code == "DependencyViolation":
                return False  # possibly by an instance that EC2 does not show yet: look again
            raise
        self.group_state = DELETED if deleted or self.group_state not in ("", NONE) else NONE
        self._is_group_deleted = self._is_group_deleted or bool(deleted)
        return not self._undecided(began)

    def _has_unguarded(self, began: datetime) -> bool:
        """Return True if instances may exist that no deletion of a group proves to be gone."""
        if self._may_be_unguarded is None:
            log = self.launch_log
            self._may_be_unguarded = guard_groups.is_missing(self.clients, log.cluster_id, self.user_group_id)
            if self._may_be_unguarded:
                until = (began + _LAG).astimezone().strftime("%H:%M:%S")
                text = f"no security group proves that no VM is left: looking for VMs until {until}"
                self.on_event(Event("", "terminate", "warning", text=text))
        return self._may_be_unguarded

    def _undecided(self, began: datetime) -> list[JournalEntry]:
        """Return the requests whose instances may still appear."""
        now = self.clients.clock.now()
        # A group that could be deleted proves that no instance uses it. Without one, only time does.
        recent = [
            entry
            for entry in self.launch_log.unconfirmed()
            if now < self.launch_log.visible_by(entry, began)
            and not (self._is_group_deleted and entry.facts.get("guarded", True))
        ]
        return [entry for entry in recent if self._expected(entry.facts["run"]) > self._count(entry.facts["run"])]

    def _expected(self, launch_id: str) -> int:
        """Return how many instances all requests of a launch together may have launched."""
        requests = [entry for entry in self.launch_log.entries(LAUNCH) if entry.facts.get("run") == launch_id]
        return sum(
            int(entry.facts.get("count", 1)) if entry.outcome is None else len(entry.outcome.get("ids", ()))
            for entry in requests
        )

    def _count(self, launch_id: str) -> int:
        return sum(instance.launch_id == launch_id for instance in self.instances.values())

    def _note_unconfirmed(self, began: datetime) -> None:
        zones = {entry.facts["run"]: entry.facts.get("zone") for entry in self._undecided(began)}
        self.unconfirmed += [f"launch {key} in {zone}: its VMs may still appear" for key, zone in zones.items()]
        # A group that could be deleted proves that there are no more instances.
        if self.remaining or self.group_state not in (DELETED, NONE):
            self.unconfirmed += self._hidden(zones)

    def _hidden(self, noted: Container[str]) -> Iterator[str]:
        """Yield the other recent launches of which EC2 shows fewer instances than their tags say."""
        now = self.clients.clock.now()
        recent = [instance for instance in self.instances.values() if instance.may_be_hidden(now)]
        sizes = {item.launch_id: item.launch_size for item in recent if item.launch_id not in noted}
        for launch_id, size in sizes.items():
            if self._count(launch_id) < size and (shown := self._count_shown(launch_id)) < size:
                yield f"launch {launch_id} requested {size} VMs and EC2 shows {shown}: the others may still appear"

    def _count_shown(self, launch_id: str) -> int:
        """Return how many instances of a launch were seen, those included that ended before."""
        ids = {instance.id for instance in self.instances.values() if instance.launch_id == launch_id}
        with suppress(StratusError):
            described = ec2_instances.find_by_launch(self.clients, self.launch_log.ownership, launch_id)
            ids |= {instance.id for instance in described}
        return len(ids)

    # -- the rest

    def _finish(self, failure: StratusError | None) -> None:
        """Delete the key pair once no instance can need it, and complete the journal if everything is deleted."""
        if failure is not None:
            self.unconfirmed.append(self._failure_text(failure))
        if not self._is_complete:
            self.group_state = self.group_state if self.group_state and not self.remaining else KEPT
            self.key_state = KEPT
            return
        self.key_state = self._delete_key_pair()
        self.launch_log.record_all_deleted({instance.id for instance in self.instances.values()})

    def _failure_text(self, failure: StratusError) -> Text:
        cluster_id = self.launch_log.cluster_id
        cause = f"cluster {cluster_id.cluster} in {cluster_id.region}: {first_line(failure)}"
        return join("; ", [cause, failure.fix] if failure.fix else [cause])

    def _delete_key_pair(self) -> str:
        try:
            return DELETED if self.delete_key() else NONE
        except StratusError as error:
            return first_line(error)


def _is_transient(error: StratusError) -> bool:
    """Return True if a later attempt may succeed."""
    if not isinstance(error, CloudRefused):
        return False
    return error_codes.look_up(error.code, error.message).reaction in ("retry", "ambiguous", "wait")


def terminate_launch(
    clients: client.Clients, log: LaunchLog, launch_id: str, *, on_event: EventHandler = ignore_event
) -> list[str]:
    """Terminate the instances of one launch, those that EC2 does not show yet included.

    :return: the instances that may be left, in a line each.
    :raises StratusError: a lookup failed.
    """
    teardown = RegionTeardown(clients, log, delete_key=list, on_event=on_event)
    teardown.run_launch(launch_id)
    return [f"{result.name} ({result.id}): {result.error or result.state}" for result in teardown.remaining]
