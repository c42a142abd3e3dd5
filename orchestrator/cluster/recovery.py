"""After a crash: launches that this computer began and never saw the end of, to be finished or ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.aws.ec2 import instances
from orchestrator.aws.launch import launch_log
from orchestrator.cluster import teardown
from orchestrator.cluster.readiness import HostReady
from orchestrator.core import cost
from orchestrator.core.clock import Clock
from orchestrator.core.file_lock import AlreadyLocked
from orchestrator.core.journal import Journal, JournalEntry
from orchestrator.core.next_step import Text

if TYPE_CHECKING:
    from orchestrator.services.cluster import Cluster


def has_open_launches(home: Path, clock: Clock) -> bool:
    """Tell, without asking anybody, whether this computer knows of launches without an end."""
    return any(each.kind in (launch_log.LAUNCH, launch_log.UP) for each in Journal(home, clock).open_entries())


def find_interrupted(cluster: Cluster) -> tuple[InterruptedLaunch, ...]:
    """Return the launches that were never seen to end, oldest first; none while a launch goes on in another shell."""
    if not has_open_launches(cluster.home, cluster.runtime.patience) or not cluster.launch_log.open_entries():
        return ()
    try:
        with cluster.launcher.lock():
            return _found(cluster)
    except AlreadyLocked:
        return ()


def resume(cluster: Cluster, found: Sequence[InterruptedLaunch]) -> RecoverReport:
    """Wait until the machines of such launches answer SSH; they are the cluster's as any others then."""
    ready: list[HostReady] = []
    failed: dict[str, Exception] = {}
    with cluster.launcher.lock():
        for one in found:
            machines = _machines(cluster, one.run)
            outcomes = cluster.wait_until_ready(machines, lambda host: None)
            ready += [arrived.ready for arrived in outcomes.successful_values()]
            failed |= outcomes.errors
            if not _leftover(cluster, one.run).may_come:
                cluster.launch_log.record_outcome(
                    cluster.launch_log.unconfirmed(one.run), ids=[each.id for each in machines]
                )
            cluster.launcher.record_outcome(one.run, ready=list(outcomes.succeeded), failed=list(outcomes.failed))
    return RecoverReport(tuple(found), ready=tuple(ready), failed=failed)


def terminate(cluster: Cluster, found: Sequence[InterruptedLaunch]) -> RecoverReport:
    """End the machines of such launches, those that EC2 does not show yet included."""
    left: list[Text] = []
    with cluster.launcher.lock():
        for one in found:
            left += teardown.terminate_launch(cluster.clients, cluster.launch_log, one.run, tell=cluster.tell)
        if not left and not cluster.instances():
            cluster.launcher.delete_group_and_key()
    return RecoverReport(tuple(found), ended=True, left=tuple(left))


def _found(cluster: Cluster) -> tuple[InterruptedLaunch, ...]:
    books = cluster.launch_log
    runs = dict.fromkeys(str(each.facts.get("run", "")) for each in books.open_entries())
    every = [_leftover(cluster, run) for run in runs]
    for one in every:
        if not one.machines and not one.may_come:
            books.record_terminated(set(), one.run)
    return tuple(one for one in every if one.machines or one.may_come)


def _leftover(cluster: Cluster, run: str) -> InterruptedLaunch:
    machines = _machines(cluster, run)
    entries = cluster.launch_log.open_entries(run)
    decided = {
        one.id for each in cluster.launch_log.entries(launch_log.LAUNCH) for one in launch_log.launched_instances(each)
    }
    coming = sum(int(each.facts.get("count", 1)) for each in entries if _may_come(cluster, each))
    came = sum(each.id not in decided for each in machines)
    now = cluster.runtime.patience.now()
    return InterruptedLaunch(
        run=run,
        since=min(each.written_at for each in entries),
        machines=tuple(f"{each.name} ({each.id})" for each in machines),
        may_come=max(0, coming - came),
        per_hour=cost.total(cluster.per_hour(each) for each in machines),
        spent=cost.total(cost.cost_since(cluster.per_hour(each), each.launched_at, now) for each in machines),
        expires=_last(machines),
    )


def _machines(cluster: Cluster, run: str) -> list[instances.Instance]:
    """Return the living machines of a launch, those that only the journal knows included."""
    shown = {each.id: each for each in instances.find_by_launch(cluster.clients, cluster.cluster_id, run)}
    known = cluster.launch_log.recent(run)
    return [each for each in (known | shown).values() if each.is_alive]


def _may_come(cluster: Cluster, entry: JournalEntry) -> bool:
    if entry.kind != launch_log.LAUNCH:
        return False
    now = cluster.runtime.patience.now()
    return now < cluster.launch_log.visible_by(entry, now)


def _last(machines: Sequence[instances.Instance]) -> datetime | None:
    times = [each.expires_at for each in machines]
    return None if None in times or not times else max(time for time in times if time)


@dataclass(frozen=True)
class InterruptedLaunch:
    """What is left of a launch that was never seen to end: the program crashed, or was left in haste.

    :param run: id of the launch.
    :param since: when it began.
    :param machines: names and ids of those that live.
    :param may_come: how many more EC2 may still show.
    :param expires: when the last of them ends itself; None when that is unknown.
    """

    run: str
    since: datetime
    machines: tuple[str, ...]
    may_come: int
    per_hour: Decimal | None
    spent: Decimal | None
    expires: datetime | None


@dataclass(frozen=True)
class RecoverReport:
    """What became of leftovers.

    :param ended: whether they were to be ended; otherwise they were finished, or only listed.
    :param left: what could not be ended.
    """

    leftovers: tuple[InterruptedLaunch, ...]
    ready: tuple[HostReady, ...] = ()
    failed: Mapping[str, Exception] = field(default_factory=dict)
    ended: bool = False
    left: tuple[Text, ...] = ()
