"""Recovery after a crash: launches that this computer began and did not complete are resumed or terminated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from orchestrator.aws.ec2 import instances as ec2_instances
from orchestrator.aws.ec2.instances import Instance
from orchestrator.aws.launch import launch_log
from orchestrator.cluster import teardown
from orchestrator.cluster.elsewhere import OtherCluster
from orchestrator.cluster.inventory import Inventory, SameRoleOwner
from orchestrator.cluster.launcher import Launcher
from orchestrator.cluster.readiness import HostStartup, ReadyHost, wait_until_ready
from orchestrator.cluster.status import last_expiry
from orchestrator.core import cost
from orchestrator.core.clock import Clock
from orchestrator.core.file_lock import AlreadyLocked, LockUnavailable
from orchestrator.core.journal import Journal, JournalEntry
from orchestrator.core.next_step import Text
from orchestrator.hosts.parallel import Outcomes


@dataclass(frozen=True)
class InterruptedLaunch:
    """A launch without a recorded outcome: the process crashed, or was left by a second Ctrl-C.

    :param began_at: time of its first request.
    :param instances: names and ids of those that are not terminated.
    :param unconfirmed_count: number of instances that EC2 may still show later.
    :param expires_at: when the last of them shuts down automatically; None if unknown.
    """

    launch_id: str
    began_at: datetime
    instances: tuple[str, ...]
    unconfirmed_count: int
    usd_per_hour: Decimal | None
    spent_usd: Decimal | None
    expires_at: datetime | None

    @property
    def is_empty(self) -> bool:
        """True if no instance is left of it, and none can appear."""
        return not self.instances and not self.unconfirmed_count


@dataclass(frozen=True)
class RecoverReport:
    """Outcome of a recovery.

    :param interrupted: the launches it was about.
    :param ready: hosts that answer SSH, of resumed launches.
    :param failed: host name -> error, of resumed launches.
    :param terminated: True if they were terminated, False if they were resumed or only listed.
    :param remaining: what could not be terminated, in a line each.
    :param elsewhere: what this computer launched under other settings, and is not known to be terminated.
    :param same_role: what was launched with the caller's role, but not as this owner; only when launches are listed.
    """

    interrupted: tuple[InterruptedLaunch, ...]
    ready: tuple[HostStartup, ...] = ()
    failed: Mapping[str, Exception] = field(default_factory=dict)
    terminated: bool = False
    remaining: tuple[Text, ...] = ()
    elsewhere: tuple[OtherCluster, ...] = ()
    same_role: tuple[SameRoleOwner, ...] = ()


def has_open_launches(home: Path, clock: Clock) -> bool:
    """Return True if the journal has launches without an outcome, of any cluster; makes no API call."""
    entries = Journal(home, clock).open_entries()
    return any(entry.kind in (launch_log.LAUNCH, launch_log.UP) for entry in entries)


class Recovery:
    """Finds interrupted launches, and resumes or terminates them."""

    def __init__(self, inventory: Inventory, launcher: Launcher) -> None:
        self.inventory = inventory
        self.context = inventory.context
        self.launcher = launcher

    def find(self) -> tuple[InterruptedLaunch, ...]:
        """Return interrupted launches, oldest first; none while a launch is in progress in another process.

        Makes no API call if the journal has no open launch.
        """
        # The journal is read first without the cluster id, which takes a call to AWS.
        if not has_open_launches(self.context.home, self.context.clock) or not self.context.launch_log.open_entries():
            return ()
        try:
            with self.context.lock():
                return self._find()
        except AlreadyLocked:
            return ()
        except LockUnavailable:
            # Without a lock a launch in progress may be listed, too; to list none would hide what is billed.
            return self._find()

    def resume(self, interrupted: Sequence[InterruptedLaunch]) -> RecoverReport:
        """Wait until the instances of interrupted launches answer SSH; they are then like any others."""
        ready: list[HostStartup] = []
        failed: dict[str, Exception] = {}
        with self.context.lock():
            for launch in interrupted:
                outcomes = self._resume(launch.launch_id)
                ready += [host.startup for host in outcomes.successful_values()]
                failed |= outcomes.errors
        return RecoverReport(tuple(interrupted), ready=tuple(ready), failed=failed)

    def terminate(self, interrupted: Sequence[InterruptedLaunch]) -> RecoverReport:
        """Terminate the instances of interrupted launches, those that EC2 does not show yet included."""
        context, remaining = self.context, list[Text]()
        with context.lock():
            for launch in interrupted:
                remaining += teardown.terminate_launch(
                    context.clients, context.launch_log, launch.launch_id, on_event=context.on_event
                )
            # The group and the key pair are those of the whole cluster, which may have other launches.
            if not remaining and not self.inventory.instances():
                self.launcher.delete_group_and_key()
        return RecoverReport(tuple(interrupted), terminated=True, remaining=tuple(remaining))

    def _resume(self, launch_id: str) -> Outcomes[ReadyHost[None]]:
        alive = self._alive(launch_id)
        outcomes = wait_until_ready(self.inventory, alive, lambda host: None)
        log = self.context.launch_log
        # A request whose instances may still appear stays open, so that a later start or TerminateAll finds them.
        if not self._unconfirmed_count(launch_id, self._alive(launch_id)):
            log.record_outcome(log.unconfirmed(launch_id), ids=[instance.id for instance in alive])
        self.launcher.record_outcome(launch_id, outcomes)
        return outcomes

    def _find(self) -> tuple[InterruptedLaunch, ...]:
        log = self.context.launch_log
        launch_ids = dict.fromkeys(str(entry.facts.get("run", "")) for entry in log.open_entries())
        launches = [self._interrupted(launch_id) for launch_id in launch_ids]
        for launch in launches:
            # Closed in the journal: otherwise every start would look it up again.
            if launch.is_empty:
                log.record_terminated(set(), launch.launch_id)
        return tuple(launch for launch in launches if not launch.is_empty)

    def _interrupted(self, launch_id: str) -> InterruptedLaunch:
        alive, now = self._alive(launch_id), self.context.clock.now()
        rates = [self.inventory.meter.billed_usd_per_hour(instance) for instance in alive]
        spent = sum(self.inventory.meter.costs(alive, now).values(), cost.Amount())
        return InterruptedLaunch(
            launch_id=launch_id,
            began_at=min(entry.written_at for entry in self.context.launch_log.open_entries(launch_id)),
            instances=tuple(f"{instance.name} ({instance.id})" for instance in alive),
            unconfirmed_count=self._unconfirmed_count(launch_id, alive),
            usd_per_hour=cost.total(rates),
            spent_usd=spent.exact,
            expires_at=last_expiry(instance.expires_at for instance in alive),
        )

    def _alive(self, launch_id: str) -> list[Instance]:
        """Return the instances of a launch that are not terminated, those that only the journal lists included."""
        described = ec2_instances.find_by_launch(self.context.clients, self.context.ownership, launch_id)
        shown = {instance.id: instance for instance in described}
        candidates = self.context.launch_log.recent(launch_id) | shown
        return [instance for instance in candidates.values() if instance.is_alive]

    def _unconfirmed_count(self, launch_id: str, alive: Sequence[Instance]) -> int:
        """Return how many instances of requests without an outcome EC2 may still show."""
        log = self.context.launch_log
        requested = sum(
            int(entry.facts.get("count", 1)) for entry in log.open_entries(launch_id) if self._is_undecided(entry)
        )
        of_known_requests = {
            instance.id for entry in log.entries(launch_log.LAUNCH) for instance in launch_log.launched_instances(entry)
        }
        appeared = sum(instance.id not in of_known_requests for instance in alive)
        return max(0, requested - appeared)

    def _is_undecided(self, entry: JournalEntry) -> bool:
        """Return True for a request, of one pool, whose instances may still appear."""
        now = self.context.clock.now()
        return entry.kind == launch_log.LAUNCH and now < self.context.launch_log.visible_by(entry, now)
