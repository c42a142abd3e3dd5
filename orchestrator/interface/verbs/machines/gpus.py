"""Verbs on broken VMs: find them, and replace them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from orchestrator.core.errors import StratusError, UsageError
from orchestrator.core.next_step import NextStep
from orchestrator.interface.verbs.base import VerbGroup
from orchestrator.interface.verbs.cluster import SHOWS_OR_TERMINATES, STATUS, TERMINATE
from orchestrator.interface.verbs.interaction import confirm_launch, interruptible, raise_if_failed, show, show_plan
from orchestrator.interface.verbs.parameters import Consent, HostName, VerbParameter, whole_number

if TYPE_CHECKING:
    from orchestrator.cluster.launcher import LaunchReport
    from orchestrator.cluster.machines.gpus import GpuReport
    from orchestrator.interface.workspace import Workspace

GROUP = VerbGroup("Health of VMs")

MAX_SECONDS = 600

Seconds = Annotated[int, VerbParameter(metavar="S", parse=whole_number)]


@GROUP.verb("CheckGpus", "check-gpus", examples=(NextStep("CheckGpus"), NextStep("CheckGpus", all_reduce=True)))
def check_gpus(workspace: Workspace, *hosts: HostName, all_reduce: bool = False, seconds: Seconds = 20) -> GpuReport:
    """Check the GPUs of VMs, and their connections.

    Their number, memory errors (ECC) and errors of the hardware that the driver has logged (Xid). Fails if a VM is bad,
    and names the command that replaces it.

    hosts       only these (default: all that are up).
    all_reduce  also measure the bandwidth between the VMs by an all-reduce over all of them; with NCCL where the job's
                environment has torch and all VMs have GPUs.
    seconds     that it may take. Run no job meanwhile.

    Costs  nothing beyond the VMs' time.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 1 <= seconds <= MAX_SECONDS:
        example = NextStep("CheckGpus", all_reduce=True, seconds=20)
        raise UsageError(f"seconds = {seconds!r} is not a whole number from 1 to {MAX_SECONDS}", fix=example)
    session = workspace.session()
    with workspace.progress.shown():
        report = session.cluster.check_gpus(hosts, all_reduce_s=seconds if all_reduce else 0)
    show(workspace, report)
    if report.bad:
        fix = NextStep("Replace", *report.bad) + "  terminates and launches again"
        raise StratusError(f"bad: {' '.join(report.bad)}", fix=fix)
    if report.without_driver:
        without = f"no NVIDIA driver on {' '.join(report.without_driver)}: GPUs not checked"
        raise StratusError(without, fix="set [cluster] image = deep-learning-ubuntu-24.04, then launch again")
    return report


@GROUP.verb("Replace", "replace", changes_cluster=True, examples=(NextStep("Replace", "ml-1"),))
def replace(workspace: Workspace, *hosts: HostName, yes: Consent = False) -> LaunchReport:
    """Terminate VMs, and launch others in their place.

    The new ones have their names, and the type, image and disks of the config as it is now. What is on the old ones
    is deleted.

    hosts  names of the VMs.
    yes    do not ask for confirmation.

    Costs  the price shown, until terminated.
    """
    from orchestrator.interface.render import cluster as rendered
    from orchestrator.interface.render import launch

    if not hosts:
        raise UsageError("name the VMs to replace", fix=NextStep("Replace", "ml-1") + "; " + STATUS + " lists them")
    session = workspace.session()
    cluster = session.cluster
    plan = cluster.plan_replacement(hosts)
    show_plan(workspace, plan)
    not_fetched = session.jobs.not_fetched(plan.replaced_ids)
    workspace.console.print(rendered.not_fetched_yet(not_fetched, session.jobs.started_in(not_fetched)))
    question = f"Terminate {' '.join(plan.names)}, and launch in the same place?"
    confirm_launch(workspace, plan, question, yes=yes, without_asking=NextStep("Replace", *hosts, yes=True))
    with interruptible(workspace, "VMs may be up.", STATUS + "  lists them", TERMINATE + "  terminates them"):
        report = cluster.replace(plan)
    show(workspace, report, launch.launched(report, NextStep("InstallDeps")))
    raise_if_failed(report.failed, "{hosts} did not come up", fix=SHOWS_OR_TERMINATES)
    return report
