"""A teardown of a scripted account."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.aws.launch import launch_log
from orchestrator.cluster.teardown import RegionTeardown
from orchestrator.core.events import Event
from orchestrator.core.journal import Journal, JournalEntry
from tests.support.aws.account import INSTANCE_ID, OURS, Account
from tests.support.aws.values import CLUSTER_ID
from tests.support.aws.wire import Request, Time, Wire, clients, described


@dataclass
class Scene:
    """A teardown of a scripted account, with a simulated clock.

    :param appears_s: time from which EC2 shows the instance.
    :param answers: action, or value of a filter -> answer in place of the account's, from ``answers_begin_s`` until
        ``answers_end_s``.
    :param shows_ids_only: True if lookups by tags show nothing.
    """

    folder: Path
    account: Account
    appears_s: float
    answers: dict[str, tuple[int, str] | Exception] = field(default_factory=dict)
    answers_begin_s: float = 0.0
    answers_end_s: float = float("inf")
    shows_ids_only: bool = False

    def __post_init__(self) -> None:
        self.time, self.events = Time(), list[Event]()
        cluster_id = replace(CLUSTER_ID, is_caller=True)
        self.launch_log = launch_log.LaunchLog(Journal(self.folder, clock=self.time.clock), cluster_id, self.time.clock)

    def record_request(self, **changes: str) -> JournalEntry:
        """Record a request for one instance without an outcome."""
        facts = {"run": "r", "token": "t", "zone": "us-west-2a", "count": 1, "type": "c7i.2xlarge", "hosts": "ml-0"}
        return self.launch_log.journal.record_intent(launch_log.LAUNCH, **facts, **CLUSTER_ID.journal_fields | changes)

    def new(self, *deleted_keys: str) -> RegionTeardown:
        """Return a teardown that has not begun.

        :param deleted_keys: names of the key pairs that it deletes.
        """
        self.wire = Wire(self._answer)
        connected = clients(self.wire, self.time, sequential=True)
        return RegionTeardown(connected, self.launch_log, lambda: list(deleted_keys), self.events.append)

    def tear_down(self) -> RegionTeardown:
        teardown = self.new()
        teardown.run()
        return teardown

    def _answer(self, request: Request) -> tuple[int, str]:
        if self.time.seconds >= self.appears_s:
            self.account.machines = {INSTANCE_ID: ("running", OURS)}
        if self.account.terminated:
            self.account.in_use = False
        is_by_tag = any(value.startswith("tag:") for value in request.arguments.values())
        if self.shows_ids_only and request.action == "DescribeInstances" and is_by_tag:
            return described({})
        answers = self.answers if self.answers_begin_s <= self.time.seconds < self.answers_end_s else {}
        values = request.arguments.values()
        account = self.account
        if "instance-state-name" in values:
            alive = {key: machine for key, machine in account.machines.items() if machine[0] != "terminated"}
            account = replace(account, machines=alive)
        answer = next((answers[key] for key in (request.action, *values) if key in answers), None) or account(request)
        if isinstance(answer, Exception):
            raise answer
        return answer
