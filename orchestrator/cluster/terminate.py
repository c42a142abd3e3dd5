"""TerminateAll: the cluster in its own region, and in every other that the settings name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

from orchestrator.aws.ec2 import instances, key_pairs, network
from orchestrator.aws.ec2.state_changes import InstanceResult
from orchestrator.aws.launch import launch_log
from orchestrator.cluster.inventory import Inventory
from orchestrator.cluster.teardown import RegionTeardown
from orchestrator.core import cost
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import StratusError
from orchestrator.core.events import Event
from orchestrator.core.file_lock import AlreadyLocked
from orchestrator.core.next_step import Text

LOCK_TIMEOUT_S = 120.0  # for how long another shell, whose machines were just ended, may take to notice


@dataclass(frozen=True)
class TerminateReport:
    """What a terminate ended.

    :param group: ``gone``, ``none`` (there was none of ours) or why it stays.
    :param key: the same for the key pair.
    :param spent: USD that the instances cost; None when a price is unknown.
    :param unsure: what nobody can say, and what is kept in other regions.
    :param note: what to know besides.
    :param foreign: machines in a cluster of this name that are another owner's, in words: they were left alone.
    """

    instances: tuple[InstanceResult, ...]
    group_state: str
    key_state: str
    spent_usd: Decimal | None
    unconfirmed: tuple[Text, ...] = ()
    caveat: str = ""
    other_owners: tuple[str, ...] = ()

    @property
    def remaining(self) -> tuple[Text, ...]:
        """Everything that is still there, or may be."""
        found = [
            f"{one.id} {one.name}: {one.error or one.state}" for one in self.instances if one.state != "terminated"
        ]
        named = (("security group", self.group_state), ("key pair", self.key_state))
        kept = [f"{what}: {state}" for what, state in named if state not in ("gone", "none")]
        return (*found, *kept, *self.unconfirmed)


class Terminator:
    """Ends everything of one cluster."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.context = inventory.context
        self.patience = inventory.context.clock
        self.unsure: list[Text] = []

    def terminate_all(self) -> TerminateReport:
        """End machines, group and key everywhere; what is left, or may be, is in the report."""
        fresh = not self.context.journal.path.exists()
        here = self._here()
        works = [here, *self._elsewhere()]
        results = tuple(one for work in works for one in work.results.values())
        unsure = [
            *self.unsure,
            *(line for work in works for line in work.unconfirmed),
            *_remaining_resources(works[1:]),
        ]
        seen = [each for work in works for each in work.instances.values()]
        note = ""
        if fresh and not seen and here.group_state == "none":
            note = (
                f"Nothing was found. No launch is known to this computer: one made elsewhere less than "
                f"{launch_log.VISIBILITY_LAG_S:.0f} s ago may not be shown yet."
            )
        return TerminateReport(
            results,
            here.group_state,
            here.key_state,
            self._spent(seen),
            unconfirmed=tuple(unsure),
            caveat=note,
            other_owners=self._foreign(),
        )

    def _foreign(self) -> tuple[str, ...]:
        try:
            return self.inventory.other_owners()
        except StratusError as error:
            self.context.on_event(
                Event("", "terminate", "warning", text=f"not asked whose else: {str(error).splitlines()[0]}")
            )
            return ()

    def _here(self) -> RegionTeardown:
        """End what is in the own region; a launch that goes on in another shell sees its machines end, and stops."""
        work = self._work(self.context.launch_log)
        for waited in self.patience.attempts(LOCK_TIMEOUT_S, Backoff(first_s=1.0, longest_s=5.0)):
            try:
                with self.context.lock():
                    work.run()
                    return work
            except AlreadyLocked as error:
                busy = error
                if not waited:
                    work.run()
                    self._say_busy(busy)
        self.unsure.append(f"{busy.message}: what it launches from now on stays")
        return work

    def _say_busy(self, busy: AlreadyLocked) -> None:
        self.context.on_event(Event("", "terminate", "warning", text=f"{busy.message}; waiting for it to notice"))

    def _elsewhere(self) -> Iterator[RegionTeardown]:
        for region in self._regions():
            books = replace(self.context.launch_log, cluster_id=replace(self.context.cluster_id, region=region))
            work = self._work(books)
            work.run()
            yield work

    def _work(self, books: launch_log.LaunchLog) -> RegionTeardown:
        context, region = self.context, books.cluster_id.region
        here = region == context.cluster_id.region
        clients = context.clients if here else context.clients.in_region(region)
        login = key_pairs.own_key_pair(books.cluster_id, home=context.home)
        return RegionTeardown(
            clients, books, partial(key_pairs.delete, clients, books.cluster_id, login), on_event=context.on_event
        )

    def _regions(self) -> list[str]:
        """Return the other regions to look into."""
        wanted, own = self.context.settings.aws.terminate_regions, self.context.cluster_id.region
        if wanted != "all":
            return [each for each in wanted.replace(",", " ").split() if each != own]
        try:
            return [each for each in network.list_regions(self.context.clients) if each != own]
        except StratusError as error:
            self.unsure.append(f"other regions: {str(error).splitlines()[0]}")
            return []

    def _spent(self, seen: Iterable[instances.Instance]) -> Decimal | None:
        now = self.patience.now()
        costly = [each for each in seen if each.state != "stopped"]
        return cost.total(cost.cost_since(self.inventory.usd_per_hour(each), each.launched_at, now) for each in costly)


def _remaining_resources(works: Iterable[RegionTeardown]) -> Iterator[str]:
    """Yield what other regions keep besides machines."""
    for work in works:
        for what, state in (("security group", work.group_state), ("key pair", work.key_state)):
            if state not in ("gone", "none"):
                yield f"{what} in {work.launch_log.cluster_id.region}: {state}"
