"""Ending for certain: all machines of a cluster, those that EC2 does not show yet included, then its group and key.

What makes it certain: the journal names the machines of the last minutes and the requests whose end nobody knows; and
EC2 deletes no group that a machine still has, whether it shows the machine or not. What stays uncertain is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from orchestrator.aws import client, error_codes
from orchestrator.aws.ec2 import instances, security_groups, state_changes, waiters
from orchestrator.aws.ec2.state_changes import InstanceResult
from orchestrator.aws.launch import launch_log
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import CloudRefused, LeftRunning, StratusError
from orchestrator.core.events import Event, EventHandler, ignore_event
from orchestrator.core.next_step import Text, join

if TYPE_CHECKING:
    from orchestrator.aws.ec2.instances import Instance
    from orchestrator.aws.launch.launch_log import LaunchLog
    from orchestrator.core.journal import JournalEntry

TIMEOUT_S = 240.0  # for everything; machines that go down slowly have their own on top
BACKOFF = Backoff(first_s=1.0, longest_s=5.0)
KEPT = "kept: machines are left"


@dataclass
class RegionTeardown:
    """Ends what one cluster has in one region.

    :param clients: of the region.
    :param books: what the journal knows of the cluster there.
    :param delete_key: deletes the cluster's key pair and returns the names of what was deleted.
    :param seen: every machine of ours that was found, by id.
    :param results: what became of each.
    :param group: ``gone``, ``none`` (there was none of ours) or why it stays; empty before that is known.
    :param key: the same for the key pair.
    :param unsure: what nobody can say.
    """

    clients: client.Clients
    launch_log: LaunchLog
    delete_key: Callable[[], list[str]]
    on_event: EventHandler = ignore_event
    instances: dict[str, Instance] = field(default_factory=dict)
    results: dict[str, InstanceResult] = field(default_factory=dict)
    group_state: str = ""
    key_state: str = ""
    unconfirmed: list[Text] = field(default_factory=list)

    def run(self) -> None:
        """End everything; what is left, or may be, is in the fields. Only a Ctrl-C gets out of here."""
        began = self.clients.clock.now()
        trouble: StratusError | None = None
        for _ in self.clients.clock.attempts(TIMEOUT_S, BACKOFF):
            try:
                self.terminate(self.find())
                if self.remaining or self._is_confirmed(began):
                    break
                trouble = None
            except StratusError as error:
                trouble = error
                if not _is_transient(error):
                    break
        else:
            self._note_unconfirmed(began)
        self._finish(trouble)

    @property
    def remaining(self) -> list[InstanceResult]:
        """The machines that were found and are not gone."""
        return [one for one in self.results.values() if one.state != "terminated"]

    def find(self) -> list[Instance]:
        """Return our machines that are not gone: those that EC2 shows, and those that the journal alone knows."""
        mine = self.launch_log.cluster_id
        shown = {each.id: each for each in instances.describe(self.clients, cluster=mine.cluster, owner=mine.owner)}
        known = {
            key: each
            for key, each in self.launch_log.recent().items()
            if key not in shown and not self._is_terminated(key)
        }
        looked = {each.id: each for each in instances.describe_ids(self.clients, known)} if known else {}
        hidden = [
            instances.with_known_tags(looked[key], each) if key in looked else each for key, each in known.items()
        ]
        return [*shown.values(), *(each for each in hidden if each.state != "terminated")]

    def terminate(self, machines: Sequence[Instance]) -> None:
        """End machines and wait until they are gone; each gets its own result."""
        todo = [each for each in machines if not self._is_terminated(each.id)]
        for each in todo:
            if each.id not in self.instances:
                self.on_event(Event(each.name, "terminate", "start"))
            self.instances[each.id] = each
            self.results[each.id] = InstanceResult(each.name, each.id, each.state)
        if not todo:
            return
        ended = state_changes.terminate(self.clients, todo, cluster_id=self.launch_log.cluster_id)
        for each in todo:
            self.results[each.id] = InstanceResult(each.name, each.id, ended[each.id].state, ended[each.id].error)
        self._await([each for each in todo if ended[each.id].is_ok])

    def _await(self, machines: Sequence[Instance]) -> None:
        patience, began = self.clients.clock, self.clients.clock.monotonic()
        try:
            for each in waiters.wait_terminated(self.clients, machines):
                name = self.instances[each.id].name
                self.results[each.id] = InstanceResult(name, each.id, "terminated")
                self.on_event(Event(name, "terminate", "done", patience.monotonic() - began))
        except LeftRunning:
            pass  # the results say which

    def _is_terminated(self, instance_id: str) -> bool:
        return instance_id in self.results and self.results[instance_id].state == "terminated"

    def _is_confirmed(self, began: datetime) -> bool:
        """Tell whether nothing can turn up any more, deleting the group on the way."""
        try:
            deleted = security_groups.delete(self.clients, self.launch_log.cluster_id, deadline_s=0)
        except CloudRefused as error:
            self.group_state = str(error).splitlines()[0]
            if error.code == "DependencyViolation":
                return False  # a machine that EC2 does not show may be what uses it
            raise
        self.group_state = "gone" if deleted or self.group_state not in ("", "none") else "none"
        return bool(deleted) or not self._pending(began)

    def _pending(self, began: datetime) -> list[JournalEntry]:
        """Return the requests whose machines may still turn up."""
        now = self.clients.clock.now()
        waiting = [each for each in self.launch_log.unconfirmed() if now < self.launch_log.visible_by(each, began)]
        return [each for each in waiting if self._expected(each.facts["run"]) > self._count_found(each.facts["run"])]

    def _expected(self, run: str) -> int:
        """Return how many machines all requests of a launch can have brought."""
        requests = [each for each in self.launch_log.entries(launch_log.LAUNCH) if each.facts.get("run") == run]
        return sum(
            int(each.facts.get("count", 1)) if each.outcome is None else len(each.outcome.get("ids", ()))
            for each in requests
        )

    def _count_found(self, run: str) -> int:
        return sum(each.launch_id == run for each in self.instances.values())

    def _note_unconfirmed(self, began: datetime) -> None:
        self.unconfirmed += [
            f"launch {each.facts['run']} in {each.facts.get('zone')}: its machines may still turn up"
            for each in self._pending(began)
        ]

    def _finish(self, trouble: StratusError | None) -> None:
        """Delete the key once nothing can need it, and close the books when all is certain."""
        mine = self.launch_log.cluster_id
        if trouble is not None:
            reason = f"cluster {mine.cluster} in {mine.region}: {str(trouble).splitlines()[0]}"
            self.unconfirmed.append(join("; ", [reason, trouble.fix] if trouble.fix else [reason]))
        if self.remaining or self.unconfirmed or self.group_state not in ("gone", "none"):
            self.group_state = self.group_state if self.group_state and not self.remaining else KEPT
            self.key_state = KEPT
        else:
            self.key_state = self._delete_key_pair()
        if not (self.remaining or self.unconfirmed or self.group_state not in ("gone", "none")):
            self.launch_log.record_all_deleted({each.id for each in self.instances.values()})

    def _delete_key_pair(self) -> str:
        try:
            return "gone" if self.delete_key() else "none"
        except StratusError as error:
            return str(error).splitlines()[0]


def _is_transient(error: StratusError) -> bool:
    """Tell whether asking again may help."""
    if not isinstance(error, CloudRefused):
        return False
    return error_codes.look_up(error.code, error.message).reaction in ("retry", "ambiguous", "wait")


def terminate_launch(
    clients: client.Clients, log: LaunchLog, launch_id: str, *, on_event: EventHandler = ignore_event
) -> list[str]:
    """End the machines of one launch, whether EC2 shows them yet or not, and return those that may be left.

    :raises StratusError: EC2 cannot be asked.
    """
    open_entries = log.unconfirmed(launch_id)
    machines = {one.id: one for entry in open_entries for one in log.find_by_token(clients, entry)}
    if not machines and not open_entries and not log.recent(launch_id):
        log.record_terminated(set(), launch_id)
        return []
    known = log.recent(launch_id)
    machines |= known | {each.id: each for each in instances.find_by_launch(clients, log.cluster_id, launch_id)}
    work = RegionTeardown(clients, log, delete_key=list, on_event=on_event)
    work.terminate([each for each in machines.values() if each.state != "terminated"])
    if not work.remaining:
        log.record_terminated(set(machines), launch_id)
    return [f"{one.name} ({one.id}): {one.error or one.state}" for one in work.remaining]
