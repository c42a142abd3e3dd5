"""After a crash: launches that this computer began and never saw the end of, to be finished or ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from orchestrator.aws.ec2 import instances
from orchestrator.aws.ec2.instances import Instance
from orchestrator.aws.launch import launch_log
from orchestrator.cluster import teardown
from orchestrator.cluster.inventory import Inventory
from orchestrator.cluster.launcher import Launcher
from orchestrator.cluster.readiness import HostStartup, wait_until_ready
from orchestrator.core import cost
from orchestrator.core.clock import Clock
from orchestrator.core.file_lock import AlreadyLocked
from orchestrator.core.journal import Journal, JournalEntry
from orchestrator.core.next_step import Text


@dataclass(frozen=True)
class InterruptedLaunch:
    """What is left of a launch that was never seen to end: the program crashed, or was left in haste.

    :param run: id of the launch.
    :param since: when it began.
    :param machines: names and ids of those that live.
    :param may_come: how many more EC2 may still show.
    :param expires: when the last of them ends itself; None when that is unknown.
    """

    launch_id: str
    began_at: datetime
    instances: tuple[str, ...]
    unconfirmed_count: int
    usd_per_hour: Decimal | None
    spent_usd: Decimal | None
    expires_at: datetime | None


@dataclass(frozen=True)
class RecoverReport:
    """What became of leftovers.

    :param ended: whether they were to be ended; otherwise they were finished, or only listed.
    :param left: what could not be ended.
    """

    interrupted: tuple[InterruptedLaunch, ...]
    ready: tuple[HostStartup, ...] = ()
    failed: Mapping[str, Exception] = field(default_factory=dict)
    terminated: bool = False
    remaining: tuple[Text, ...] = ()


def has_open_launches(home: Path, clock: Clock) -> bool:
    """Tell, without asking anybody, whether this computer knows of launches without an end."""
    return any(each.kind in (launch_log.LAUNCH, launch_log.UP) for each in Journal(home, clock).open_entries())


class Recovery:
    """Finds launches that this computer began and never saw the end of, and resumes or terminates them."""

    def __init__(self, inventory: Inventory, launcher: Launcher) -> None:
        self.inventory = inventory
        self.context = inventory.context
        self.launcher = launcher

    def find(self) -> tuple[InterruptedLaunch, ...]:
        """Return interrupted launches, oldest first; none while a launch is under way in another process."""
        if not has_open_launches(self.context.home, self.context.clock) or not self.context.launch_log.open_entries():
            return ()
        try:
            with self.context.lock():
                return self._find()
        except AlreadyLocked:
            return ()

    def resume(self, interrupted: Sequence[InterruptedLaunch]) -> RecoverReport:
        """Wait until the instances of such launches answer SSH; from then on they are like all others."""
        ready: list[HostStartup] = []
        failed: dict[str, Exception] = {}
        with self.context.lock():
            for launch in interrupted:
                alive = self._alive(launch.launch_id)
                outcomes = wait_until_ready(self.inventory, alive, lambda host: None)
                ready += [host.startup for host in outcomes.successful_values()]
                failed |= outcomes.errors
                if not self._interrupted(launch.launch_id).unconfirmed_count:
                    log = self.context.launch_log
                    log.record_outcome(log.unconfirmed(launch.launch_id), ids=[instance.id for instance in alive])
                self.launcher.record_outcome(
                    launch.launch_id, ready=list(outcomes.succeeded), failed=list(outcomes.failed)
                )
        return RecoverReport(tuple(interrupted), ready=tuple(ready), failed=failed)

    def terminate(self, interrupted: Sequence[InterruptedLaunch]) -> RecoverReport:
        """Terminate the instances of such launches, those that EC2 does not show yet included."""
        left: list[Text] = []
        context = self.context
        with context.lock():
            for launch in interrupted:
                left += teardown.terminate_launch(
                    context.clients, context.launch_log, launch.launch_id, on_event=context.on_event
                )
            if not left and not self.inventory.instances():
                self.launcher.delete_group_and_key()
        return RecoverReport(tuple(interrupted), terminated=True, remaining=tuple(left))

    def _find(self) -> tuple[InterruptedLaunch, ...]:
        log = self.context.launch_log
        launch_ids = dict.fromkeys(str(entry.facts.get("run", "")) for entry in log.open_entries())
        launches = [self._interrupted(launch_id) for launch_id in launch_ids]
        for launch in launches:
            if not launch.instances and not launch.unconfirmed_count:
                log.record_terminated(set(), launch.launch_id)
        return tuple(launch for launch in launches if launch.instances or launch.unconfirmed_count)

    def _interrupted(self, launch_id: str) -> InterruptedLaunch:
        alive = self._alive(launch_id)
        log, now = self.context.launch_log, self.context.clock.now()
        entries = log.open_entries(launch_id)
        decided = {
            machine.id for entry in log.entries(launch_log.LAUNCH) for machine in launch_log.launched_instances(entry)
        }
        coming = sum(int(entry.facts.get("count", 1)) for entry in entries if self._may_come(entry))
        came = sum(instance.id not in decided for instance in alive)
        rates = {instance.id: self.inventory.usd_per_hour(instance) for instance in alive}
        return InterruptedLaunch(
            launch_id=launch_id,
            began_at=min(entry.written_at for entry in entries),
            instances=tuple(f"{instance.name} ({instance.id})" for instance in alive),
            unconfirmed_count=max(0, coming - came),
            usd_per_hour=cost.total(rates.values()),
            spent_usd=cost.total(cost.cost_since(rates[instance.id], instance.launched_at, now) for instance in alive),
            expires_at=_last_expiry(alive),
        )

    def _alive(self, launch_id: str) -> list[Instance]:
        """Return the living instances of a launch, those that only the journal knows included."""
        described = instances.find_by_launch(self.context.clients, self.context.cluster_id, launch_id)
        shown = {instance.id: instance for instance in described}
        return [
            instance for instance in (self.context.launch_log.recent(launch_id) | shown).values() if instance.is_alive
        ]

    def _may_come(self, entry: JournalEntry) -> bool:
        if entry.kind != launch_log.LAUNCH:
            return False
        now = self.context.clock.now()
        return now < self.context.launch_log.visible_by(entry, now)


def _last_expiry(alive: Sequence[Instance]) -> datetime | None:
    times = [instance.expires_at for instance in alive]
    return None if None in times or not times else max(time for time in times if time)
