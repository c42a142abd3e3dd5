"""Launch of instances: security group and key pair, pool after pool, wait for SSH; roll back what fails; durations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.aws.capacity import pools
from orchestrator.aws.ec2 import guard_groups, host_names, key_pairs, security_groups
from orchestrator.aws.ec2.instances import VISIBILITY_LAG_S, Instance
from orchestrator.aws.ingress.access import ssh_access
from orchestrator.aws.launch import failover, launch_log, run_instances
from orchestrator.aws.machines import reservations
from orchestrator.cluster import readiness, teardown
from orchestrator.cluster.context import ClusterContext
from orchestrator.cluster.disks import shared
from orchestrator.cluster.inventory import Inventory
from orchestrator.cluster.machines import capacity_advice, placement
from orchestrator.cluster.readiness import HostStartup, ReadyHost
from orchestrator.cluster.replacement import Replacer
from orchestrator.core import interrupts, json_file
from orchestrator.core.errors import CloudRefused, LeftRunning, StratusError, first_line
from orchestrator.core.events import Event, State
from orchestrator.core.next_step import NextStep, add_advice
from orchestrator.crypto import ssh_keys
from orchestrator.hosts.parallel import Outcomes

if TYPE_CHECKING:
    from orchestrator.aws.launch.plan import LaunchPlan
    from orchestrator.aws.launch.run_instances import LaunchResources
    from orchestrator.core.host import Host
    from orchestrator.core.interrupts import DeferredInterrupt

T = TypeVar("T")

WITHOUT_GUARD = (
    "launched without a security group that proves later that no VM is left; terminating will take up to "
    f"{VISIBILITY_LAG_S / 60:.0f} min longer"
)


@dataclass(frozen=True)
class LaunchReport:
    """Outcome of a launch.

    :param launch_id: the tag ``stratus:run`` of its instances.
    :param api_s: seconds that the requests to EC2 took.
    :param ready: hosts that answer SSH.
    :param failed: host name -> error, of all others.
    :param seconds: from the first request until every host was ready or failed, without the work that followed.
    """

    launch_id: str
    api_s: float
    ready: tuple[HostStartup, ...]
    failed: Mapping[str, Exception]
    seconds: float


class Launcher:
    """Launches instances into one cluster."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.context = inventory.context

    def launch(self, plan: LaunchPlan, on_ready: Callable[[Host], T]) -> tuple[LaunchReport, list[T]]:
        """Launch instances, and call ``on_ready`` for each as soon as it answers SSH.

        :return: the report, and what ``on_ready`` returned for the hosts that are ready.
        :raises AlreadyLocked: another process of this computer is launching into the cluster.
        """
        clock = self.context.clock
        began = ready_at = clock.monotonic()

        def note_ready(host: Host) -> T:
            nonlocal ready_at
            # Called by one thread per host: the last one to be ready wins, whatever its own work takes.
            ready_at = clock.monotonic()
            return on_ready(host)

        with self.context.lock():
            launched, api_s = self.request(plan)
            outcomes = self._wait_until_ready(plan, launched, note_ready)
        ready = outcomes.successful_values()
        ended = clock.monotonic() if outcomes.failed else ready_at
        report = LaunchReport(
            launch_id=plan.launch_id,
            api_s=api_s,
            ready=tuple(host.startup for host in ready),
            failed=outcomes.errors,
            seconds=ended - began,
        )
        return report, [host.result for host in ready]

    def record_spot_reclaims(self, reclaimed: Collection[Instance]) -> None:
        """Record the pools of reclaimed spot instances, so that the next launch begins with other pools."""
        memory = self._capacity_memory()
        for instance in reclaimed:
            memory.record_key((instance.type, instance.zone, pools.SPOT), "Server.SpotInstanceTermination")

    def record_outcome(self, launch_id: str, outcomes: Outcomes[ReadyHost[T]]) -> None:
        """Record in the journal which hosts of a launch are ready and which failed: the launch is complete."""
        # While AWS refuses even lookups, the launch stays open in the journal for the next start to resolve.
        if any(isinstance(error, CloudRefused) for error in outcomes.errors.values()):
            return
        log = self.context.launch_log
        entries = [entry for entry in log.open_entries(launch_id) if entry.kind == launch_log.UP]
        log.record_outcome(entries, ready=list(outcomes.succeeded), failed=list(outcomes.failed))

    def delete_group_and_key(self) -> None:
        """Delete the security group and key pair of a launch that was rolled back; an error is only reported."""
        context = self.context
        placement.delete_unused(context)
        try:
            # The group first: EC2 refuses to delete it while an instance uses it, even one that no lookup shows yet.
            # The key pair then stays too, as that instance may be reached with it.
            security_groups.delete(context.clients, context.cluster_id, deadline_s=teardown.GROUP_TIMEOUT_S)
            if not context.launch_log.recent():
                key_pairs.delete(context.clients, context.cluster_id, context.key_pair)
        except StratusError as error:
            self._report("warning", first_line(error))

    # -- until SSH is up

    def _wait_until_ready(
        self, plan: LaunchPlan, launched: Sequence[Instance], on_ready: Callable[[Host], T]
    ) -> Outcomes[ReadyHost[T]]:
        by_name = {instance.name: instance for instance in launched}
        replacer = Replacer(self.context, plan, by_name, self._launch_replacement)
        outcomes = readiness.wait_until_ready(self.inventory, launched, on_ready, replacer=replacer)
        self.record_outcome(plan.launch_id, outcomes)
        return outcomes

    def _launch_replacement(self, plan: LaunchPlan) -> Instance:
        # No handler for Ctrl-C: this runs in a host's thread, and signals reach the main thread only.
        return self._request_instances(plan, self._ensure_access(plan), interrupts.DeferredInterrupt())[0]

    # -- the request

    def request(self, plan: LaunchPlan) -> tuple[list[Instance], float]:
        """Return the launched instances, most of them pending, and the seconds that the requests took."""
        clock = self.context.clock
        if plan.reservation and plan.reservation.state != reservations.ACTIVE:
            # Before anything is recorded or created: a Ctrl-C during these hours leaves nothing behind.
            report = partial(self._report, "progress")
            plan = replace(plan, reservation=reservations.wait_active(self.context.clients, plan.reservation, report))
        self._report("start", f"{plan.count} x {plan.instance_type}")
        began = clock.monotonic()
        launched = self._request_or_roll_back(plan)
        seconds = clock.monotonic() - began
        self._report("done", seconds=seconds)
        return launched, seconds

    def _request_or_roll_back(self, plan: LaunchPlan) -> list[Instance]:
        """Return the launched instances; delete what a failed launch, or one that Ctrl-C ends, has created.

        A second Ctrl-C leaves at once, without a rollback.

        :raises LeftRunning: something may still be running.
        """
        # On disk before the first request: after a crash, the next start knows what to look for.
        self._record_intent(plan)
        with interrupts.defer_first_interrupt(self._on_first_interrupt) as interrupt:
            try:
                resources = self._ensure_access(plan)
                interrupt.raise_if_pending()
                launched = self._request_instances(plan, resources, interrupt)
                interrupt.raise_if_pending()
                return launched
            except LeftRunning:
                # The outcome of a request is unknown. The journal keeps it open; a rollback could miss its instances.
                raise
            except (Exception, KeyboardInterrupt) as error:
                # Pressed twice: leave now. The launch stays open in the journal, for the next start to resolve.
                if isinstance(error, KeyboardInterrupt) and interrupt.repeated:
                    raise _without_rollback(error, plan) from None
                left = self._roll_back(plan, error) or "nothing of it is left."
                if isinstance(error, KeyboardInterrupt):
                    add_advice(error, f"Launch {plan.launch_id} was rolled back: {left}")
                if isinstance(error, CloudRefused) and pools.is_capacity_error(error.code):
                    raise capacity_advice.with_alternatives(self.context, error, plan) from error
                raise

    def _record_intent(self, plan: LaunchPlan) -> None:
        self.context.journal.record_intent(
            launch_log.UP,
            run=plan.launch_id,
            hosts=host_names.compress(plan.names),
            count=plan.count,
            **plan.cluster_id.journal_fields,
        )

    def _request_instances(
        self, plan: LaunchPlan, resources: LaunchResources, interrupt: DeferredInterrupt
    ) -> list[Instance]:
        """Request instances from one pool after another; a pending Ctrl-C takes effect between two of them."""

        def request(pool_plan: LaunchPlan) -> list[Instance]:
            interrupt.raise_if_pending()
            return run_instances.launch(
                self.context.clients, pool_plan, resources=resources, journal=self.context.journal
            )

        report = partial(self._report, "progress")
        return failover.launch(plan, request, memory=self._capacity_memory(), report=report)

    def _capacity_memory(self) -> pools.CapacityMemory:
        return pools.CapacityMemory(self.context.home / "pools.json", self.context.cluster_id, self.context.clock)

    def _ensure_access(self, plan: LaunchPlan) -> LaunchResources:
        """Create the security group and key pair that the instances need, unless they exist."""
        context = self.context
        access = ssh_access(context.settings, plan.placement.vpc_id)
        # Independent of each other: in parallel, a launch waits for the slowest of them instead of all.
        group_id, guard_id, (files_group_id, shared_mounts), placement_group, _ = context.clients.in_parallel(
            partial(security_groups.ensure, context.clients, context.cluster_id, access, journal=context.journal),
            partial(self._ensure_guard, plan, access.user_group_id),
            partial(shared.ensure, context, plan),
            partial(placement.ensure, context, plan),
            partial(
                key_pairs.ensure,
                context.clients,
                context.cluster_id,
                context.key_pair,
                journal=context.journal,
                existing_names=plan.names_of_key,
            ),
        )
        placement.ensure_rules(context, plan, group_id)
        return run_instances.LaunchResources(
            context.key_pair.key_name,
            group_id,
            ssh_keys.generate_host_key(),
            guard_id=guard_id,
            is_guarded=bool(guard_id) or not access.user_group_id,
            files_group_id=files_group_id,
            mounts=shared_mounts,
            placement_group=placement_group,
        )

    def _ensure_guard(self, plan: LaunchPlan, user_group_id: str) -> str:
        """Return the guard group beside the user's own group; empty if there is no such group, or AWS refuses."""
        if not user_group_id:
            return ""
        clients, journal, vpc_id = self.context.clients, self.context.journal, plan.placement.vpc_id

        def check(guard_id: str) -> None:
            run_instances.check(clients, plan, group_id=user_group_id, guard_id=guard_id)

        try:
            return guard_groups.ensure(clients, plan.cluster_id, vpc_id, journal=journal, check=check)
        except CloudRefused as error:
            if not guard_groups.is_refusal(error):
                raise
            guard_groups.mark_unguarded(clients, plan.cluster_id, vpc_id, journal=journal)
            self._report("warning", f"{first_line(error)}: {WITHOUT_GUARD}")
            return ""

    # -- when it fails

    def _roll_back(self, plan: LaunchPlan, error: BaseException) -> str:
        """Delete what a launch has created, with group and key pair if unused; return why disks of it remain.

        :raises LeftRunning: an instance may be left.
        """
        cause = "interrupted" if isinstance(error, KeyboardInterrupt) else first_line(error)
        if left := self._terminate_launch(plan):
            raise LeftRunning(
                f"the launch failed ({cause}), and could not be rolled back",
                left=left,
                fix=NextStep("TerminateAll") + "  terminates them",
            ) from error
        disks_left = shared.roll_back(self.context, plan)
        if not plan.existing_names:  # earlier instances of the cluster would use both
            self.delete_group_and_key()
        return disks_left

    def _terminate_launch(self, plan: LaunchPlan) -> list[str]:
        context = self.context
        try:
            return teardown.terminate_launch(
                context.clients, context.launch_log, plan.launch_id, on_event=context.on_event
            )
        except StratusError as error:
            return [f"launch {plan.launch_id}, {plan.count} x {plan.instance_type}: {first_line(error)}"]

    def _on_first_interrupt(self) -> None:
        signal = interrupts.ending_signal()
        leaving = "" if signal else "; press Ctrl-C again to leave at once"
        self._report("warning", f"{signal or 'Ctrl-C'}: rolling back the launch{leaving}")

    def _report(self, state: State, text: str = "", seconds: float | None = None) -> None:
        self.context.on_event(Event("", "request", state, seconds, text))


def _without_rollback(error: KeyboardInterrupt, plan: LaunchPlan) -> KeyboardInterrupt:
    launch = f"Launch {plan.launch_id} ({plan.count} x {plan.instance_type})"
    add_advice(error, f"{launch} may have been carried out: " + NextStep("TerminateAll") + " terminates it.")
    return error


PHASES = ("pending", "boot", "ssh")
_INSTALLS = "installs"  # job -> seconds
_HOSTS = "hosts"  # name -> seconds by phase, and by job of its installs


@dataclass(frozen=True)
class PhaseTimings:
    """Durations by phase, in ``timings.json`` of the cluster's folder; for the record of a run, and nothing else."""

    context: ClusterContext

    def read(self, job: str) -> dict[str, float]:
        """Return seconds per phase of the last launch, and of a job's installs since.

        :param job: its name.
        """
        timings = self._load()
        installs = timings.pop(_INSTALLS, {})
        timings.pop(_HOSTS, None)
        timings.pop("install", None)  # of earlier versions: the sum over all jobs
        return timings | ({"install": installs[job]} if job in installs else {})

    def record_launch(self, report: LaunchReport) -> None:
        """Record a launch, each phase with the duration of its slowest host."""
        slowest = {phase: max((host.phases[phase] for host in report.ready), default=0.0) for phase in PHASES}
        # The report's own duration may include an install that followed on each host.
        startup_s = report.api_s + max((sum(host.phases.values()) for host in report.ready), default=report.seconds)
        hosts = {host.name: {"api": report.api_s, **host.phases} for host in report.ready}
        self._save({"api": report.api_s, **slowest, "launch": min(report.seconds, startup_s), _HOSTS: hosts})

    def record_install(self, job: str, seconds: float, by_host: Mapping[str, float] = MappingProxyType({})) -> None:
        """Add the duration of an install of a job.

        :param job: its name.
        :param by_host: seconds on each host.
        """
        timings = self._load()
        installs, hosts = timings.get(_INSTALLS, {}), timings.get(_HOSTS, {})
        for host, host_s in by_host.items():
            phases = hosts.setdefault(host, {})
            phases[_INSTALLS] = phases.get(_INSTALLS, {})
            phases[_INSTALLS][job] = phases[_INSTALLS].get(job, 0.0) + host_s
        self._save(timings | {_INSTALLS: installs | {job: installs.get(job, 0.0) + seconds}, _HOSTS: hosts})

    def by_host(self, job: str = "") -> dict[str, dict[str, float]]:
        """Return host -> seconds per phase of the last launch, and of a job's installs since.

        :param job: its name.
        """
        result: dict[str, dict[str, float]] = {}
        for host, recorded in self._load().get(_HOSTS, {}).items():
            phases = dict(recorded)
            installs = phases.pop(_INSTALLS, {})
            result[host] = phases | ({"install": installs[job]} if job in installs else {})
        return result

    def _load(self) -> dict[str, Any]:
        return json_file.load(self.context.folder, "timings.json")

    def _save(self, timings: dict[str, Any]) -> None:
        # A full disk: the launch, or the install, stands without them.
        with suppress(OSError):
            json_file.save(self.context.folder, "timings.json", timings)
