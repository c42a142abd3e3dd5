"""Verbs on SageMaker: train a job there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from orchestrator.core.next_step import NextStep
from orchestrator.interface.verbs.base import VerbGroup
from orchestrator.interface.verbs.follow import LogPrinter
from orchestrator.interface.verbs.interaction import Confirmation, check_vm_count, confirm, interruptible, show
from orchestrator.interface.verbs.job_files import confirm_upload, offering_own_script
from orchestrator.interface.verbs.jobs import FETCH, outcome_exit_code, run_progress, watch
from orchestrator.interface.verbs.parameters import Consent, JobName, VerbParameter, instance_count
from orchestrator.interface.verbs.sagemaker import hyperparameter_values

if TYPE_CHECKING:
    from orchestrator.interface.workspace import Workspace
    from orchestrator.jobs.runner import CancelReport
    from orchestrator.jobs.runs import RunHandle, RunResult

GROUP = VerbGroup("SageMaker")

Instances = Annotated[int | None, VerbParameter(metavar="N", parse=instance_count)]
InstanceType = Annotated[str, VerbParameter(metavar="TYPE")]
Hyperparameters = Annotated[Mapping[str, object] | str | None, VerbParameter(metavar="NAME=VALUE,...")]


@GROUP.verb(
    "TrainOnSageMaker",
    "train-on-sagemaker",
    changes_cluster=True,
    exit_code=outcome_exit_code,
    examples=(
        NextStep("TrainOnSageMaker"),
        NextStep("TrainOnSageMaker", "examples/hello_dask", count=2, instance_type="ml.m5.xlarge"),
    ),
    next_steps=(FETCH,),
)
def train(
    workspace: Workspace,
    job: JobName = "",
    *,
    count: Instances = None,
    instance_type: InstanceType = "",
    spot: bool = False,
    detach: bool = False,
    hyperparameters: Hyperparameters = None,
    yes: Consent = False,
) -> RunResult | RunHandle | CancelReport | None:
    """Train the job on SageMaker; shows the price first.

    The job folder is the one that runs on VMs, unchanged: on 1 instance its command `single`, on several `multi`. It
    runs without this computer; Attach, Logs, CancelJob, FetchResults and Runs take its id as any other run's.

    job              folder of a job, or a script with its arguments (default: [job] run in the config file).
    count            how many instances (default: [sagemaker] training_instances).
    instance_type    their type, such as ml.m5.xlarge (default: [sagemaker] training_instance_type).
    spot             on spot instances, which cost less and may be interrupted.
    detach           start it and return at once.
    hyperparameters  options that are added to the job's command: epochs=3,lr=0.1 adds --epochs 3 --lr 0.1; also as a
                     dictionary, {"epochs": 3, "lr": 0.1}.
    yes              do not ask for confirmation.

    Costs  the price shown, from the start of its instances to its end.
    """
    from orchestrator.interface.render.sagemaker import training
    from orchestrator.jobs.scripts import find as scripts
    from orchestrator.services.sagemaker import TrainingChoices

    trains = partial(NextStep, "TrainOnSageMaker")
    source = scripts.find(job, trains)
    values = hyperparameter_values.read(hyperparameters, again=partial(trains, *filter(None, [job])))
    instances = check_vm_count(count, "count", "instances")
    choices = TrainingChoices(source, instances, instance_type, True if spot else None, values)
    session = workspace.session()
    with offering_own_script(job, trains):
        plan = session.sagemaker.plan(choices)
    workspace.console.print(training.plan_lines(plan))
    confirm_upload(workspace, source, ask=False)
    typed = hyperparameter_values.as_text(values)
    again = _again(job, count=count, instance_type=instance_type, spot=spot, hyperparameters=typed)
    confirm(workspace, Confirmation("Train?", again, "Nothing was started."), yes=yes)
    afterwards = "It may have started.", NextStep("Runs") + "  lists all runs"
    with interruptible(workspace, *afterwards):
        handle = session.sagemaker.start(plan)
    show(workspace, handle)
    if detach:
        from orchestrator.interface.render import runs

        workspace.console.print(runs.left_running(handle.short_id))
        return handle
    printer = LogPrinter(workspace.console, progress=run_progress(workspace))
    return watch(workspace, handle.run_id, printer, handle)


def _again(job: str, **options: Any) -> NextStep:
    """Return the same call with its confirmation."""
    chosen = {name: value for name, value in options.items() if value}
    return NextStep("TrainOnSageMaker", *([job] if job else []), **chosen, yes=True)
