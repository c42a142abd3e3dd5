"""Use cases on the instances of one cluster: plan, launch, inspect, stop, start, terminate, recover, extend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from orchestrator.aws.ec2.state_changes import InstanceResult
from orchestrator.aws.launch.plan import LaunchPlan
from orchestrator.cluster import lifetime, power, preflight, status
from orchestrator.cluster.inventory import Inventory
from orchestrator.cluster.launcher import Launcher, LaunchReport
from orchestrator.cluster.lifetime import ExtendReport, IdleShutdownReport
from orchestrator.cluster.readiness import wait_until_ready
from orchestrator.cluster.recovery import InterruptedLaunch, RecoverReport, Recovery
from orchestrator.cluster.replacement import Replacer
from orchestrator.cluster.status import ClusterStatus
from orchestrator.cluster.terminate import TerminateReport, Terminator
from orchestrator.cluster.timings import PhaseTimings
from orchestrator.core.errors import CloudRefused
from orchestrator.core.host import Host
from orchestrator.core.next_step import add_advice

T = TypeVar("T")

HOST_NAMES_TTL_S = 30.0
"""For how long the names of hosts, as completion shows them, are not looked up again."""


class ClusterService:
    """The instances of one cluster.

    :param timings: where the phases of a launch are recorded.
    :param job_checks: returns checks on the job that `plan` makes along with its own.
    """

    def __init__(self, inventory: Inventory, timings: PhaseTimings, job_checks: Callable[[], preflight.Checks]) -> None:
        self.inventory = inventory
        self.context = inventory.context
        self.launcher = Launcher(self.context)
        self.recovery = Recovery(inventory, self.launcher)
        self.timings = timings
        self.job_checks = job_checks
        self._names: tuple[float, list[str]] = (float("-inf"), [])

    def status(self) -> ClusterStatus:
        """Return the cluster as it is now."""
        now = status.query(self.inventory)
        self._names = (self.context.clock.monotonic(), [machine.name for machine in now.instances])
        return now

    def host_names(self) -> list[str]:
        """Return the names of the instances, at most 30 s old: completion asks at every key."""
        if self.context.clock.monotonic() - self._names[0] > HOST_NAMES_TTL_S:
            self.status()
        return self._names[1]

    def plan(self, count: int | None = None) -> LaunchPlan:
        """Look up and check what a launch needs, and its price; nothing is changed.

        :param count: how many instances to add; the settings' when None.
        :raises NotReady: several things speak against the launch.
        """
        try:
            return preflight.plan(
                preflight.for_cluster(self.context, self.job_checks()), count or self.context.settings.cluster.count
            )
        except KeyboardInterrupt as error:
            add_advice(error, "Nothing was launched.")
            raise

    def launch(self, plan: LaunchPlan) -> LaunchReport:
        """Launch instances and wait until they answer SSH; one that does not is replaced once, then reported.

        :raises Busy: another process of this computer is launching into the cluster.
        """
        return self.launch_and(plan, lambda host: None)[0]

    def launch_and(self, plan: LaunchPlan, on_ready: Callable[[Host], T]) -> tuple[LaunchReport, list[T]]:
        """Launch instances and call ``on_ready`` for each as soon as it answers SSH.

        :return: the report, and what ``on_ready`` returned for the hosts that are ready.
        """
        began = self.context.clock.monotonic()
        with self.context.lock():
            launched, api_s = self.launcher.launch(plan)
            by_name = {instance.name: instance for instance in launched}
            replacer = Replacer(self.context, plan, by_name, self.launcher.launch_one)
            outcomes = wait_until_ready(self.inventory, launched, on_ready, replacer=replacer)
            # While AWS refuses even to be asked, the launch stays open in the journal for the next start to resolve.
            if not any(isinstance(error, CloudRefused) for error in outcomes.errors.values()):
                self.launcher.record_outcome(
                    plan.launch_id, ready=list(outcomes.succeeded), failed=list(outcomes.failed)
                )
        ready = outcomes.successful_values()
        report = LaunchReport(
            launch_id=plan.launch_id,
            api_s=api_s,
            ready=tuple(host.startup for host in ready),
            failed=outcomes.errors,
            seconds=self.context.clock.monotonic() - began,
        )
        self.timings.record_launch(report)
        return report, [host.result for host in ready]

    def note_spot_reclaims(self, names: Sequence[str]) -> None:
        """Remember that AWS reclaimed these hosts, so that the next launch begins in another pool."""
        self.launcher.note_spot_reclaims(
            [instance for instance in self.inventory.instances() if instance.name in names]
        )

    def stop(self) -> tuple[InstanceResult, ...]:
        """Stop the running instances; their disks stay and are billed."""
        return power.stop(self.inventory)

    def start(self) -> tuple[InstanceResult, ...]:
        """Start the stopped instances and wait until they answer SSH."""
        return power.start(self.inventory)

    def terminate(self) -> TerminateReport:
        """Terminate all instances of the cluster, then its security group and key pair.

        Needs neither SSH nor anything kept on this computer. Everything that is left is in the report; nothing is
        raised for it.
        """
        report = Terminator(self.inventory).terminate_all()
        gone = [result.id for result in report.instances if result.state == "terminated"]
        self.context.known_hosts.remove(gone)
        self.context.ssh.disconnect_all()
        return report

    def interrupted_launches(self) -> tuple[InterruptedLaunch, ...]:
        """Return launches of this computer that were never seen to end; makes no API call when there is none."""
        return self.recovery.find()

    def recover(self, *, terminate: bool) -> RecoverReport:
        """Resume interrupted launches, or terminate them.

        :param end: terminate.
        """
        interrupted = self.recovery.find()
        return self.recovery.terminate(interrupted) if terminate else self.recovery.resume(interrupted)

    def extend(self, hours: float) -> ExtendReport:
        """Postpone the automatic shutdown of the running instances, as far as ``max_dollars`` allows."""
        return lifetime.extend(self.inventory, hours)

    def set_idle_shutdown(self, minutes: int) -> IdleShutdownReport:
        """Have the running instances shut down after some minutes without use; 0 turns it off."""
        return lifetime.set_idle_shutdown(self.inventory, minutes)
