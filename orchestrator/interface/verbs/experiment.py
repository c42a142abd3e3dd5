"""Verbs on experiments: from nothing to fetched results, and back to nothing; and where the time of a run went."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from orchestrator.core.errors import JobFailed, LeftRunning, UsageError
from orchestrator.core.next_step import NextStep
from orchestrator.interface import notice
from orchestrator.interface.run_progress import RunProgress
from orchestrator.interface.verbs.base import VerbGroup
from orchestrator.interface.verbs.cluster import STATUS, TRIES_AGAIN
from orchestrator.interface.verbs.follow import LogPrinter
from orchestrator.interface.verbs.interaction import (
    check_vm_count,
    confirm_launch,
    interruptible,
    raise_if_failed,
    show,
    show_plan,
)
from orchestrator.interface.verbs.job_files import confirm_upload
from orchestrator.interface.verbs.parameters import Consent, RunId, VerbParameter, VmCount

if TYPE_CHECKING:
    from orchestrator.aws.launch.plan import LaunchPlan
    from orchestrator.cluster.terminate import TerminateReport
    from orchestrator.interface.workspace import Workspace
    from orchestrator.jobs.record import RunRecord
    from orchestrator.jobs.records.waterfall import Waterfall
    from orchestrator.jobs.runs import RunHandle
    from orchestrator.jobs.scripts.script_job import JobSource

GROUP = VerbGroup("Experiments")

SvgFile = Annotated[str, VerbParameter(metavar="FILE")]
# RunExperiment(True, 2): earlier versions took multi first.
JobOrMulti = Annotated[str | bool, VerbParameter(metavar="JOB", positional=True, also_option=True, completes="job")]


def _experiment_document(answer: tuple[RunRecord, TerminateReport]) -> dict[str, object]:
    return {"run": answer[0], "terminated": answer[1]}


@GROUP.verb(
    "RunExperiment",
    "experiment",
    changes_cluster=True,
    document=_experiment_document,
    examples=(NextStep("RunExperiment", multi=True, n=2), NextStep("RunExperiment", "train.py", n=2)),
)
def experiment(
    workspace: Workspace, job: JobOrMulti = "", multi: bool | int = False, n: VmCount = None, *, yes: Consent = False
) -> tuple[RunRecord, TerminateReport]:
    """Launch, install, run, fetch and terminate in one step.

    It terminates what it launched even when a step fails; other VMs of the cluster are not used and stay up. Ctrl-C
    cancels the run, fetches what it has written and terminates; a second Ctrl-C skips the fetch. SIGTERM (a canceled CI
    job) and a closed terminal do the same.

    job    folder of a job, or a script with its arguments (default: [job] run in the config file).
    multi  run on all of its VMs together (default: on one; a script with n above 1 runs on all).
    n      how many VMs (default: [cluster] count; for a script on one VM: 1).
    yes    do not ask for confirmation.

    Costs  the price shown, until it has terminated.
    """
    session = workspace.session()
    request = _request(workspace, job, multi, n)
    # Before the plan: a job that cannot run needs no price.
    session.jobs.check(multi=request.multi, count=request.count, folder=request.source)
    plan = session.plan_experiment(request.count, request.source)
    show_plan(workspace, plan)
    confirm_upload(workspace, request.source, ask=False)
    _confirm(workspace, plan, yes=yes, without_asking=_step(job, multi=multi, n=n))
    answer = _carry_out(workspace, request, plan)
    show(workspace, answer)
    record, terminated = answer
    raise_if_failed(record.failed, "not everything was received from {hosts}")
    if terminated.remaining:
        raise LeftRunning("Still there:", left=terminated.remaining, fix=TRIES_AGAIN)
    return answer


def _carry_out(workspace: Workspace, request: _Request, plan: LaunchPlan) -> tuple[RunRecord, TerminateReport]:
    """Carry out an experiment, showing its steps and the job's output, and give notice of its end."""
    began = workspace.clock.monotonic()

    def give_notice(run_id: str, state: str) -> None:
        notice.give(workspace, notice.EndOfRun(run_id, state, workspace.clock.monotonic() - began))

    progress = RunProgress(workspace.console, workspace.clock)
    printer = LogPrinter(workspace.console, with_host=request.multi, progress=progress)
    names = " ".join(plan.names)
    with interruptible(workspace, f"{names} may still be up.", STATUS + "  shows the VMs"), ExitStack() as output:

        def show_start(handle: RunHandle) -> None:
            # The table of the hosts gives way to the job's own lines.
            workspace.progress.end_redraw()
            show(workspace, handle)
            output.enter_context(printer.showing_progress())

        try:
            answer = workspace.session().experiment(
                multi=request.multi,
                plan=plan,
                job=request.source,
                on_line=printer.listener(),
                on_start=show_start,
            )
        except JobFailed as error:
            give_notice(error.run_id, error.state)
            raise
    give_notice(answer[0].run_id, answer[0].state)
    return answer


@dataclass(frozen=True)
class _Request:
    source: JobSource | None
    multi: bool
    count: int


@GROUP.verb("Waterfall", "waterfall", examples=(NextStep("Waterfall"), NextStep("Waterfall", "k3", svg="time.svg")))
def waterfall(workspace: Workspace, run: RunId = "", *, svg: SvgFile = "") -> Waterfall:
    """Show where the time of a run went.

    For every VM: the launch, the installs of the job, the start, the time to the first line of output, the job, and
    the fetch. Time between two verbs is left out.

    run  its id, or the end of it (default: the newest, or the last launch if there is none).
    svg  also write the chart to this file, as a drawing for a browser.

    Costs  nothing.
    """
    shown = workspace.session(files=False).waterfalls.waterfall(run)
    if svg:
        from orchestrator.interface.render import waterfall as drawing

        try:
            Path(svg).expanduser().write_text(drawing.svg(shown), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{svg}: {error.strerror}", fix=NextStep("Waterfall", run, svg="waterfall.svg")) from error
    return show(workspace, shown)


def _request(workspace: Workspace, job: str | bool, multi: bool | int, n: int | None) -> _Request:
    """Return what the arguments of an experiment mean."""
    from orchestrator.jobs.scripts import find as scripts
    from orchestrator.jobs.scripts.script_job import ScriptJob

    if isinstance(job, bool):
        count = n if isinstance(multi, bool) else multi
        return _Request(None, job, check_vm_count(count) or workspace.settings().cluster.count)
    count, source = check_vm_count(n), scripts.find(job, partial(NextStep, "RunExperiment"))
    if isinstance(source, ScriptJob):
        # One VM is enough for a script on one VM, whatever the config file says.
        multi, count = multi or (count or 1) > 1, count or (None if multi else 1)
    return _Request(source, bool(multi), count or workspace.settings().cluster.count)


def _step(job: str | bool, *, multi: bool | int, n: int | None) -> NextStep:
    """Return the same call with its confirmation."""
    options: dict[str, object] = {"multi": multi} if multi else {}
    options |= {"n": n} if n is not None else {}
    return NextStep("RunExperiment", *([job] if job else []), **options, yes=True)


def _confirm(workspace: Workspace, plan: LaunchPlan, *, yes: bool, without_asking: NextStep) -> None:
    """Ask whether to go on, naming the VMs that are not part of the experiment."""
    others, names = " ".join(plan.existing_names), " ".join(plan.names)
    question = "Launch, run and terminate?"
    if others:
        workspace.console.print(f"  Not part of it, neither used nor terminated: {others}.")
        question = f"Launch {names}, run there and terminate {names}?"
    confirm_launch(workspace, plan, question, yes=yes, without_asking=without_asking)
