"""Use cases on the instances of one cluster: plan, launch, inspect, stop, start, terminate, recover, extend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from orchestrator.aws.ec2.state_changes import InstanceResult
from orchestrator.aws.launch.plan import LaunchPlan
from orchestrator.aws.managed.resources import ManagedEndReport
from orchestrator.aws.managed.sweep import ManagedSweep
from orchestrator.cluster import elsewhere, lifetime, power, preflight, status
from orchestrator.cluster.elsewhere import OtherCluster
from orchestrator.cluster.inventory import Inventory, SameRoleOwner
from orchestrator.cluster.launcher import Launcher, LaunchReport, PhaseTimings
from orchestrator.cluster.lifetime import ExtendReport, IdleShutdownReport, KeptLaunch
from orchestrator.cluster.machines import gpus, replacing
from orchestrator.cluster.machines.gpus import GpuReport
from orchestrator.cluster.recovery import InterruptedLaunch, RecoverReport, Recovery
from orchestrator.cluster.status import ClusterStatus
from orchestrator.cluster.terminate import TerminateReport, Terminator
from orchestrator.core.errors import StratusError
from orchestrator.core.events import Event
from orchestrator.core.host import Host
from orchestrator.core.next_step import add_advice
from orchestrator.hosts.disk_room import FullDisks

T = TypeVar("T")

HOST_NAMES_TTL_S = 30.0
"""Age at which cached host names are looked up again: completion needs them at every key that is pressed."""


class ClusterService:
    """The instances of one cluster.

    :param timings: where the phases of a launch are recorded.
    :param job_checks: returns the checks of the job that `plan` makes beside its own.
    :param on_change: called after the running instances or their addresses may have changed.
    :param managed: finds and ends what SageMaker bills for the cluster.
    """

    def __init__(
        self,
        inventory: Inventory,
        timings: PhaseTimings,
        job_checks: Callable[[], preflight.Checks],
        on_change: Callable[[], None],
        managed: ManagedSweep,
    ) -> None:
        self.inventory = inventory
        self.context = inventory.context
        self.launcher = Launcher(inventory)
        self.recovery = Recovery(inventory, self.launcher)
        self.timings = timings
        self._full_disks = FullDisks(lambda: self.context.folder / "logs", self.context.clock.now)
        self.job_checks = job_checks
        self.on_change = on_change
        self.managed = managed
        # One tuple, replaced as a whole: the prompt's poller asks for the status in a thread of its own.
        self._names: tuple[float, list[str]] = (float("-inf"), [])

    def status(self) -> ClusterStatus:
        """Return the cluster as it is now."""
        current = status.query(self.inventory)
        self._names = (self.context.clock.monotonic(), [instance.name for instance in current.instances])
        up = [(instance.name, instance.id) for instance in current.up]
        return replace(current, managed=self.managed.survey(), full_disks=self._full_disks.of(up))

    def host_names(self) -> list[str]:
        """Return the names of the instances, at most 30 s old."""
        looked_up_s, _ = self._names
        if self.context.clock.monotonic() - looked_up_s > HOST_NAMES_TTL_S:
            self.status()
        return self._names[1]

    def plan(self, count: int | None = None, checks: preflight.Checks | None = None) -> LaunchPlan:
        """Look up and check what a launch needs, and its price; nothing is changed.

        :param count: number of instances to add; None for the setting of that name.
        :param checks: of the job; None for those of the job in the settings.
        :raises NotReady: several problems prevent the launch.
        """
        try:
            checks = self.job_checks() if checks is None else checks
            return preflight.plan(self.context, count or self.context.settings.cluster.count, checks)
        except KeyboardInterrupt as error:
            # Planning makes API calls for seconds; a Ctrl-C during them must not leave doubt about costs.
            add_advice(error, "Nothing was launched.")
            raise

    def launch(self, plan: LaunchPlan) -> LaunchReport:
        """Launch instances and wait until they answer SSH; one that does not is replaced once, then reported.

        :raises AlreadyLocked: another process of this computer is launching into the cluster.
        """
        return self.launch_and(plan, lambda host: None)[0]

    def launch_and(self, plan: LaunchPlan, on_ready: Callable[[Host], T]) -> tuple[LaunchReport, list[T]]:
        """Launch instances and call ``on_ready`` for each as soon as it answers SSH.

        :return: the report, and what ``on_ready`` returned for the hosts that are ready.
        """
        report, results = self.launcher.launch(plan, on_ready)
        self.timings.record_launch(report)
        self.on_change()
        return report, results

    def check_gpus(self, names: Sequence[str] = (), *, all_reduce_s: int = 0) -> GpuReport:
        """Check the GPUs of running instances, then the connections between them by an all-reduce.

        :param names: only these; all when empty.
        :param all_reduce_s: seconds of the all-reduce; 0 for none.
        """
        return gpus.check(self.inventory, names, all_reduce_s)

    def plan_replacement(self, names: Sequence[str]) -> LaunchPlan:
        """Return the plan of a launch in the place of some instances, which `replace` carries out; nothing is changed.

        :param names: of the instances.
        """
        replaced = replacing.find(self.inventory, names)
        plan = preflight.plan(self.context, len(replaced), self.job_checks(), replaced)
        return replacing.as_replacement(plan, replaced)

    def replace(self, plan: LaunchPlan) -> LaunchReport:
        """Terminate instances, then launch others of the same names; wait until they answer SSH.

        :param plan: of `plan_replacement`.
        :raises LeftRunning: one is not terminated; nothing was launched then.
        """
        ids = replacing.terminate(self.inventory, plan.names)
        self.context.known_hosts.remove(ids)
        return self.launch(plan)

    def record_spot_reclaims(self, names: Sequence[str]) -> None:
        """Record which hosts AWS reclaimed, so that the next launch begins with other pools."""
        instances = [instance for instance in self.inventory.instances() if instance.name in names]
        self.launcher.record_spot_reclaims(instances)

    def stop(self) -> tuple[InstanceResult, ...]:
        """Stop the running instances; their disks remain and are billed."""
        results = power.stop(self.inventory)
        self.on_change()
        return results

    def start(self) -> tuple[InstanceResult, ...]:
        """Start the stopped instances and wait until they answer SSH."""
        results = power.start(self.inventory)
        self.on_change()
        return results

    def terminate(self, *, everywhere: bool = False, owner: str = "", kept: bool = False) -> TerminateReport:
        """Terminate all instances of the cluster, then delete its security group and key pair, and managed resources.

        Needs neither SSH nor any file of this computer. The report lists everything that remains; no error is raised
        for it.

        :param everywhere: also everything that this computer launched under other settings.
        :param owner: instead, everything of another owner in a cluster of this name: an owner id, ARN or name.
        :param kept: also what outlives the cluster on purpose.
        :raises UsageError: the owner has nothing there.
        """
        if owner:
            report = Terminator(self.inventory).terminate_owner(owner)
        else:
            report = self._terminate_own(everywhere=everywhere, kept=kept)
        self._forget_terminated(report)
        self.context.ssh.disconnect_all()
        return report

    def _terminate_own(self, *, everywhere: bool, kept: bool) -> TerminateReport:
        ending = self.managed.ending(include_kept=kept, everywhere=everywhere)
        # Once the end of the instances is requested: a service that does not answer must not delay that. Before they
        # have ended: a training job takes up to some minutes to end, in which the instances end as well.
        terminator = Terminator(self.inventory, on_requested=ending.request)
        try:
            report = terminator.terminate_all(everywhere=everywhere)
        except StratusError:
            ending.request()
            raise
        return replace(report, managed=ending.complete())

    def terminate_launch(self, launch_id: str) -> TerminateReport:
        """Terminate the instances of one launch; the cluster's other instances, and what they need, stay.

        The report lists everything of the launch that remains, and managed resources of the cluster, such as a file
        system that was made with it; no error is raised for it.

        :param launch_id: of its plan.
        """
        report = Terminator(self.inventory).terminate_launch(launch_id)
        self._forget_terminated(report)
        return replace(report, managed=ManagedEndReport(kept_resources=self.managed.survey().resources))

    def _forget_terminated(self, report: TerminateReport) -> None:
        # Only those: an instance that could not be terminated is still checked against its pinned host key.
        try:
            # Instance ids are never used again: without this the file would only grow.
            self.context.known_hosts.remove(report.terminated_ids)
        except OSError as error:
            text = f"{self.context.known_hosts.path}: cannot be written: {error.strerror or error}"
            self.context.on_event(Event("", "terminate", "warning", text=text))
        self.on_change()

    def interrupted_launches(self) -> tuple[InterruptedLaunch, ...]:
        """Return the launches of this computer without an outcome; makes no API call if the journal has none."""
        return self.recovery.find()

    def elsewhere(self) -> tuple[OtherCluster, ...]:
        """Return what this computer launched under other settings, and is not known to be terminated."""
        return elsewhere.find(self.context)

    def same_role(self) -> tuple[SameRoleOwner, ...]:
        """Return what was launched with the caller's role, but not as this owner."""
        return self.inventory.survey().same_role

    def recover(self, *, terminate: bool) -> RecoverReport:
        """Resume interrupted launches, or terminate them.

        :param terminate: True to terminate their instances, False to wait until they answer SSH.
        """
        interrupted = self.recovery.find()
        report = self.recovery.terminate(interrupted) if terminate else self.recovery.resume(interrupted)
        self.on_change()
        return report

    def extend(self, hours: float) -> ExtendReport:
        """Postpone the automatic shutdown of the running instances, as far as ``max_dollars`` allows."""
        return lifetime.extend(self.inventory, hours)

    def keep_for(self, launch_id: str, minutes: int) -> KeptLaunch:
        """Have the instances of a launch shut down some minutes from now: time for a look at a failed job."""
        return lifetime.keep_for(self.inventory, launch_id, minutes)

    def set_idle_shutdown(self, minutes: int) -> IdleShutdownReport:
        """Have the running instances shut down after some minutes without use; 0 turns it off."""
        return lifetime.set_idle_shutdown(self.inventory, minutes)
