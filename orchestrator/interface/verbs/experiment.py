"""The verb on experiments: from nothing to fetched results, and back to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.core.errors import LeftRunning
from orchestrator.core.next_step import NextStep
from orchestrator.interface.verbs.base import VerbGroup
from orchestrator.interface.verbs.cluster import STATUS, TRIES_AGAIN
from orchestrator.interface.verbs.follow import LogPrinter
from orchestrator.interface.verbs.interaction import (
    check_vm_count,
    confirm_cost,
    interruptible,
    raise_if_failed,
    show,
    show_plan,
)
from orchestrator.interface.verbs.parameters import Consent, VmCount

if TYPE_CHECKING:
    from orchestrator.aws.launch.plan import LaunchPlan
    from orchestrator.cluster.terminate import TerminateReport
    from orchestrator.interface.workspace import Workspace
    from orchestrator.jobs.record import RunRecord

GROUP = VerbGroup("Experiments")


def _experiment_document(answer: tuple[RunRecord, TerminateReport]) -> dict[str, object]:
    return {"run": answer[0], "terminated": answer[1]}


@GROUP.verb(
    "RunExperiment",
    "experiment",
    changes_cluster=True,
    document=_experiment_document,
    examples=(NextStep("RunExperiment", multi=True, n=2),),
)
def experiment(
    workspace: Workspace, multi: bool = False, n: VmCount = None, *, yes: Consent = False
) -> tuple[RunRecord, TerminateReport]:
    """Launch, install, run, fetch and terminate in one step.

    It terminates what it launched even when a step fails; other VMs of the cluster are not used and stay up.

    multi  run on all of its VMs together (default: on one).
    n      how many VMs (default: [cluster] count).
    yes    do not ask for confirmation.

    Costs  the price shown, until it has terminated.
    """
    session = workspace.session()
    count = check_vm_count(n) or workspace.settings().cluster.count
    # Before the plan: a job that cannot run needs no price.
    session.jobs.check(multi=multi, count=count)
    plan = session.cluster.plan(count)
    show_plan(workspace, plan)
    _confirm_experiment(workspace, plan, yes=yes)
    names = " ".join(plan.names)
    # Not redrawn: the job's own lines are printed in between.
    with interruptible(workspace, f"{names} were to be terminated.", STATUS + "  shows the VMs", redraw=False):
        on_line = LogPrinter(workspace.console, with_host=multi).listener()
        record, terminated = session.experiment(multi=multi, plan=plan, on_line=on_line)
    show(workspace, (record, terminated))
    raise_if_failed(record.failed, "not everything was received from {hosts}")
    if terminated.remaining:
        raise LeftRunning("Still there:", left=terminated.remaining, fix=TRIES_AGAIN)
    return record, terminated


def _confirm_experiment(workspace: Workspace, plan: LaunchPlan, *, yes: bool) -> None:
    """Ask whether to go on, naming the VMs that are not part of the experiment."""
    others, names = " ".join(plan.existing_names), " ".join(plan.names)
    question = "  Launch, run and terminate? [Y/n] "
    if others:
        workspace.console.print(f"  Not part of it, neither used nor terminated: {others}.")
        question = f"  Launch {names}, run there and terminate {names}? [Y/n] "
    confirm_cost(workspace, question, yes=yes, without_asking=NextStep("RunExperiment", yes=True))
