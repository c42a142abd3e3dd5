"""Verbs on SageMaker: tune the hyper-parameters of a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

from orchestrator.core.errors import StratusError
from orchestrator.core.next_step import NextStep
from orchestrator.interface.verbs.base import VerbGroup
from orchestrator.interface.verbs.follow import ask_after_interrupt
from orchestrator.interface.verbs.interaction import (
    Confirmation,
    Interrupted,
    check_vm_count,
    confirm,
    interruptible,
    show,
)
from orchestrator.interface.verbs.parameters import Consent, JobName, VerbParameter, instance_count, whole_number

if TYPE_CHECKING:
    from orchestrator.interface.workspace import Workspace
    from orchestrator.services.managed.tuning_runs import TuningOutcome, TuningTrial

GROUP = VerbGroup("SageMaker: tuning")

Ranges = Annotated[str | Mapping[str, object], VerbParameter(metavar="RANGES")]
Objective = Annotated[str, VerbParameter(metavar="TEXT")]
Strategy = Annotated[str, VerbParameter(metavar="NAME")]
Count = Annotated[int | None, VerbParameter(metavar="N", parse=instance_count)]
Jobs = Annotated[int | None, VerbParameter(metavar="N", parse=whole_number)]
InstanceType = Annotated[str, VerbParameter(metavar="TYPE")]

EXAMPLE = NextStep("Tune", "examples/first", ranges="lr=0.001:0.1:log batch=16,32", objective="minimize loss")


def _document(trials: Sequence[TuningTrial]) -> dict[str, object]:
    return {"trials": trials}


@GROUP.verb(
    "Tune",
    "tune",
    changes_cluster=True,
    document=_document,
    examples=(EXAMPLE,),
    next_steps=(NextStep("FetchResults"),),
)
def tune(
    workspace: Workspace,
    job: JobName = "",
    *,
    ranges: Ranges = "",
    objective: Objective = "",
    jobs: Jobs = None,
    parallel: Jobs = None,
    strategy: Strategy = "Bayesian",
    count: Count = None,
    instance_type: InstanceType = "",
    spot: bool = False,
    yes: Consent = False,
) -> Sequence[TuningTrial] | None:
    """Tune the job's hyper-parameters on SageMaker.

    Starts training jobs with different values, prints each one's objective when it ends, and fetches the best run.
    Attach, Logs, CancelJob and FetchResults take its id as any run's. The image needs the command train: PushImage
    builds one. At the prompt, Tune(...).to_pandas() is a table.

    job            folder of a job (default: [job] run in the config file).
    ranges         "lr=0.001:0.1:log layers=1:4 optimizer=adam,sgd": bounds or values of each hyper-parameter; at the
                   prompt also {"lr": (0.001, 0.1, "log"), "layers": (1, 4), "optimizer": ["adam", "sgd"]}.
    objective      "minimize loss" or "maximize accuracy": a metric of [metrics] in job.ini.
    jobs           how many training jobs (default: 20; of a grid, all combinations).
    parallel       how many of them at the same time (default: 4, or jobs if that is less).
    strategy       Bayesian, Random, Grid (values only), or Hyperband (the job prints the objective after each epoch,
                   and has epochs among its hyper-parameters).
    count          instances of each training job (default: [sagemaker] training_instances).
    instance_type  their type (default: [sagemaker] training_instance_type).
    spot           on spot instances.
    yes            do not ask for confirmation.

    Costs  the sum of its training jobs; the most that it can be is shown.
    """
    from orchestrator.aws.sagemaker.tuning_request import OBJECTIVE, RANGES
    from orchestrator.interface.render.sagemaker import tuning
    from orchestrator.jobs.scripts import find as scripts
    from orchestrator.services.managed.tuning import TuningChoices, planned_values
    from orchestrator.services.sagemaker import TrainingChoices

    session = workspace.session()
    source = scripts.find(job, partial(NextStep, "Tune"))
    options = {"jobs": jobs, "parallel": parallel, "strategy": strategy if strategy != "Bayesian" else None}
    options |= {"count": count, "instance_type": instance_type or None, "spot": spot or None}
    chosen = {name: value for name, value in options.items() if value is not None}

    def again(**changed: object) -> NextStep:
        named = {"ranges": ranges or RANGES, "objective": objective or OBJECTIVE}
        return NextStep("Tune", *([job] if job else []), **{**named, **chosen, **changed})

    values, instances = planned_values(ranges, again), check_vm_count(count, "count", "instances")
    definition = session.sagemaker.plan(
        TrainingChoices(source, instances, instance_type, True if spot else None, values)
    )
    plan = session.tuning.plan(definition, TuningChoices(ranges, objective, jobs, parallel, strategy, again))
    workspace.console.print(tuning.plan_lines(plan))
    confirm(workspace, Confirmation("Tune?", again(yes=True), "Nothing was started."), yes=yes)
    with interruptible(workspace, "It may have started.", NextStep("Runs") + "  lists all runs"):
        run_id = session.tuning.start(plan)
    workspace.console.print(tuning.started(plan))
    return attach(workspace, run_id)


def attach(workspace: Workspace, run_id: str) -> Sequence[TuningTrial] | None:
    """Show a tuning job until it ends, or is left or stopped after Ctrl-C; fetch its best run.

    :param run_id: its full id.
    """
    outcome = _watch(workspace, run_id)
    return None if outcome is None else _finish(workspace, outcome)


def _watch(workspace: Workspace, run_id: str) -> TuningOutcome | None:
    """Print each training job that ends, until all have; None if the tuning job was left."""
    from orchestrator.interface.render import runs
    from orchestrator.interface.render.sagemaker import tuning

    session, told = workspace.session(), set[str]()

    def print_trial(trial: TuningTrial) -> None:
        if trial.name not in told:
            told.add(trial.name)
            workspace.console.print(tuning.trial_line(trial))

    while True:
        try:
            with workspace.progress.shown():
                return session.tuning_runs.watch(run_id, print_trial)
        except KeyboardInterrupt:
            pass
        # Outside the except clause: errors of what follows would otherwise carry the Ctrl-C as their context.
        answer = ask_after_interrupt(workspace.console)
        if answer == "c":
            # The table of what has ended comes after it.
            session.runs.cancel(run_id)
        if answer == "l":
            workspace.console.print(runs.left_running(run_id.rsplit("-", 1)[-1]))
            if not workspace.console.is_interactive:
                raise Interrupted
            return None


def _finish(workspace: Workspace, outcome: TuningOutcome) -> Sequence[TuningTrial]:
    from orchestrator.interface.render.sagemaker import tuning

    show(workspace, list(outcome.trials), tuning.table(outcome))
    if outcome.has_best:
        record = workspace.session().runs.fetch(outcome.run_id)
        show(workspace, record)
        # Belongs to the JSON document: that of the trials.
        workspace.last_answer = list(outcome.trials)
    if outcome.state == "Failed":
        fix = NextStep("Logs", outcome.run_id.rsplit("-", 1)[-1]) + "  shows the lines of its training jobs"
        raise StratusError(f"failed: {outcome.reason}", where=outcome.name, fix=fix)
    return list(outcome.trials)
