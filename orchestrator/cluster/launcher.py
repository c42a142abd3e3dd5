"""One launch from intent to machines: group and key, pool after pool, and back again when it comes to nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.aws import parallel
from orchestrator.aws.capacity import pools
from orchestrator.aws.ec2 import host_names, instances, key_pairs, security_groups
from orchestrator.aws.launch import alternatives, failover, launch_log, run_instances
from orchestrator.cluster import teardown
from orchestrator.cluster.context import ClusterContext
from orchestrator.cluster.readiness import HostStartup
from orchestrator.core import interrupts
from orchestrator.core.errors import CloudRefused, LeftRunning, StratusError
from orchestrator.core.events import Event
from orchestrator.core.next_step import NextStep, add_advice, join
from orchestrator.crypto import ssh_keys

if TYPE_CHECKING:
    from decimal import Decimal

    from orchestrator.aws.launch.plan import LaunchPlan
    from orchestrator.core.interrupts import DeferredInterrupt

ALTERNATIVES_TIMEOUT_S = 8.0  # for what else could be asked for, once a launch has come to nothing


@dataclass(frozen=True)
class LaunchReport:
    """What a launch brought.

    :param launch: id of the launch, ``stratus:run`` in the tags.
    :param api: seconds that the one RunInstances call took.
    :param ready: hosts that answer SSH.
    :param failed: name of every other host -> why.
    :param seconds: wall time of it all.
    """

    launch_id: str
    api_s: float
    ready: tuple[HostStartup, ...]
    failed: Mapping[str, Exception]
    seconds: float


class Launcher:
    """Launches into one cluster; one launch at a time on this computer, see `ClusterContext.lock`."""

    def __init__(self, context: ClusterContext) -> None:
        self.context = context
        self.patience = context.clock

    def launch(self, plan: LaunchPlan) -> tuple[list[instances.Instance], float]:
        """Ask EC2 for the instances of a plan; what was made for a launch that failed is removed again.

        :return: the instances, most of them pending, and the seconds that the request took.
        """
        self.context.on_event(Event("", "request", "start", text=f"{plan.count} x {plan.instance_type}"))
        began = self.patience.monotonic()
        launched = self._request(plan)
        seconds = self.patience.monotonic() - began
        self.context.on_event(Event("", "request", "done", seconds))
        return launched, seconds

    def _request(self, plan: LaunchPlan) -> list[instances.Instance]:
        """Ask EC2 for the machines of a plan, in one pool after the other.

        What was made for a launch that fails, or that Ctrl-C ends, is removed again; a second Ctrl-C leaves at once.

        :raises LeftRunning: something may be left.
        """
        self.context.journal.record_intent(
            launch_log.UP,
            run=plan.launch_id,
            hosts=host_names.compress(plan.names),
            count=plan.count,
            **plan.cluster_id.journal_fields,
        )
        with interrupts.defer_first_interrupt(self._on_first_interrupt) as shield:
            try:
                launch_key = self._ensure_access(plan)
                shield.raise_if_pending()
                instances = self.ask(plan, launch_key, shield)
                shield.raise_if_pending()
                return instances
            except LeftRunning:
                raise
            except (Exception, KeyboardInterrupt) as error:
                if isinstance(error, KeyboardInterrupt) and shield.repeated:
                    raise _interrupted_again(error, plan) from None
                self._roll_back(plan, error)
                if isinstance(error, KeyboardInterrupt):
                    add_advice(error, f"Launch {plan.launch_id} was taken back: nothing of it is left.")
                if isinstance(error, CloudRefused) and pools.is_capacity_error(error.code):
                    raise self._with_alternatives(error, plan) from error
                raise

    def ask(
        self, plan: LaunchPlan, launch_key: run_instances.LaunchResources, shield: DeferredInterrupt
    ) -> list[instances.Instance]:
        """Ask for machines, pool after pool; between two of them a Ctrl-C is given way to."""

        def once(here: LaunchPlan) -> list[instances.Instance]:
            shield.raise_if_pending()
            return run_instances.launch(self.context.clients, here, resources=launch_key, journal=self.context.journal)

        memory = pools.CapacityMemory(self.context.home / "pools.json", plan.cluster_id, self.patience)
        return failover.launch(plan, once, memory=memory, report=partial(self._tell, "progress"))

    def launch_one(self, plan: LaunchPlan) -> instances.Instance:
        """Ask for one machine in place of one that is gone; the group and the key are there already."""
        return self.ask(plan, self._ensure_access(plan), interrupts.DeferredInterrupt())[0]

    def note_spot_reclaims(self, reclaimed: Collection[instances.Instance]) -> None:
        """Remember the pools of spot instances that AWS takes back: the next launch begins elsewhere."""
        memory = pools.CapacityMemory(self.context.home / "pools.json", self.context.cluster_id, self.patience)
        for instance in reclaimed:
            memory.record_key((instance.type, instance.zone, pools.SPOT), "Server.SpotInstanceTermination")

    def record_outcome(self, launch_id: str, **facts: object) -> None:
        """Write down that a launch is over: its machines answer, or their owner was told which do not."""
        books = self.context.launch_log
        books.record_outcome([each for each in books.open_entries(launch_id) if each.kind == launch_log.UP], **facts)

    def _ensure_access(self, plan: LaunchPlan) -> run_instances.LaunchResources:
        """Make sure of the group and the key pair that the machines shall have."""
        context = self.context
        access = security_groups.ssh_access(context.settings, plan.placement.vpc_id)
        make_group = partial(security_groups.ensure, journal=context.journal)
        group, _ = context.clients.in_parallel(
            lambda: make_group(context.clients, context.cluster_id, access),
            lambda: key_pairs.ensure(
                context.clients,
                context.cluster_id,
                context.key_pair,
                journal=context.journal,
                existing_names=plan.existing_names,
            ),
        )
        return run_instances.LaunchResources(context.key_pair.key_name, group, ssh_keys.generate_host_key())

    def _roll_back(self, plan: LaunchPlan, error: BaseException) -> None:
        """Roll a launch back.

        :raises LeftRunning: not all of it can be.
        """
        context = self.context
        why = str(error).splitlines()[0] if str(error) else "interrupted"
        try:
            left = teardown.terminate_launch(
                context.clients, context.launch_log, plan.launch_id, on_event=context.on_event
            )
        except StratusError as second:
            left = [f"launch {plan.launch_id}, {plan.count} x {plan.instance_type}: {str(second).splitlines()[0]}"]
        if left:
            fix = NextStep("TerminateAll") + "  terminates them"
            raise LeftRunning(f"the launch failed ({why}), and could not be undone", left=left, fix=fix) from error
        if not plan.existing_names:
            self.delete_group_and_key()

    def delete_group_and_key(self) -> None:
        """Remove group and key of a launch that came to nothing; the launch's own error is what counts."""
        context = self.context
        try:
            # The group first: EC2 keeps it while a machine has it, be it one that is not shown; then the key stays too.
            security_groups.delete(context.clients, context.cluster_id, deadline_s=30)
            if not context.launch_log.recent():
                key_pairs.delete(context.clients, context.cluster_id, context.key_pair)
        except StratusError as error:
            self._tell("warning", str(error).splitlines()[0])

    def _with_alternatives(self, error: CloudRefused, plan: LaunchPlan) -> CloudRefused:
        """Return a refusal for want of machines with what could be asked next; other types are the user's choice."""
        wanted, ways = self.context.settings.cluster, list[str]()
        if wanted.market == pools.SPOT and not wanted.spot_fallback:
            ways.append(f"[cluster] spot_fallback = yes   takes them on demand{_prices([plan.usd_per_hour_each])}")
        if not wanted.fallback_instance_types:
            look = partial(alternatives.find, self.context.clients, self.context.prices, plan)
            found = (
                parallel.gather(self.context.clients, {"alternatives": look}, timeout_s=ALTERNATIVES_TIMEOUT_S)[
                    "alternatives"
                ].value
                or []
            )
            known = [each for each in found if each.usd_per_hour is not None] or found
            names = ", ".join(each.type for each in known)
            prices = _prices([each.usd_per_hour for each in known])
            ways += [f"[cluster] fallback_instance_types = {names}   asks for those as well{prices}"] if known else []
        return CloudRefused(error.message, where=error.where, code=error.code, fix=join("\n  or ", [*ways, error.fix]))

    def _on_first_interrupt(self) -> None:
        self._tell("warning", "Ctrl-C: what was asked for is taken back first; again leaves at once")

    def _tell(self, state: str, text: str) -> None:
        self.context.on_event(Event("", "request", "warning" if state == "warning" else "progress", text=text))


def _prices(found: Sequence[Decimal | None]) -> str:
    return f" ({', '.join(f'${usd:.3f}/h' for usd in found if usd is not None)})" if any(found) else ""


def _interrupted_again(error: KeyboardInterrupt, plan: LaunchPlan) -> KeyboardInterrupt:
    what = f"Launch {plan.launch_id} ({plan.count} x {plan.instance_type})"
    add_advice(error, f"{what} may have happened: " + NextStep("TerminateAll") + " terminates it.")
    return error
