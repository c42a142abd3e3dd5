"""Verbs on endpoints and batch transforms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep
from orchestrator.interface.verbs.base import VerbGroup
from orchestrator.interface.verbs.interaction import Confirmation, check_number, confirm, interruptible, show
from orchestrator.interface.verbs.parameters import (
    Consent,
    JobOption,
    RunId,
    VerbParameter,
    WholeNumber,
    decimal_number,
    whole_number,
)

if TYPE_CHECKING:
    from orchestrator.interface.workspace import Workspace
    from orchestrator.jobs.scripts.script_job import JobSource
    from orchestrator.services.hosting.endpoints import EndpointEnd, EndpointStatus
    from orchestrator.services.hosting.models import Again
    from orchestrator.services.hosting.planning import DeployChoices, DeployPlan
    from orchestrator.services.hosting.transforms import TransformResult

GROUP = VerbGroup("Endpoints")

LIST = NextStep("Endpoints")
MODES = ("real-time", "serverless", "asynchronous")

Mode = Annotated[str, VerbParameter(choices=MODES)]
InstanceType = Annotated[str, VerbParameter(metavar="TYPE")]
EndpointName = Annotated[str, VerbParameter(metavar="NAME", positional=True)]
Hours = Annotated[float, VerbParameter(metavar="HOURS", parse=decimal_number)]
Target = Annotated[float, VerbParameter(metavar="NUMBER", parse=decimal_number)]
Data = Annotated[Any, VerbParameter(metavar="FILE")]
MediaType = Annotated[str, VerbParameter(metavar="MEDIA-TYPE")]
OutputFile = Annotated[str, VerbParameter(metavar="FILE")]
Location = Annotated[str, VerbParameter(metavar="S3-PREFIX")]
Count = Annotated[int, VerbParameter(metavar="N", parse=whole_number)]


@GROUP.verb(
    "Deploy",
    "deploy",
    changes_cluster=True,
    examples=(
        NextStep("Deploy", "k3"),
        NextStep("Deploy", "k3", mode="serverless"),
        NextStep("Deploy", "k3", instance_type="ml.m5.xlarge", count=2, max_hours=8),
    ),
    next_steps=(NextStep("Predict", "k3", "data.csv"), LIST, NextStep("DeleteEndpoint", "k3")),
)
def deploy(
    workspace: Workspace,
    run: RunId = "",
    *,
    job: JobOption = "",
    name: str = "",
    mode: Mode = "real-time",
    instance_type: InstanceType = "",
    count: Count = 1,
    memory_mb: WholeNumber = 2048,
    concurrency: WholeNumber = 5,
    max_hours: Hours = 0.0,
    yes: Consent = False,
) -> EndpointStatus:
    """Serve the model of a run on SageMaker.

    Shows plan and price, asks, and waits until the endpoint is in service.

    The job's folder has a predict.py with load(folder) and predict(model, data), or a server of its own; see
    docs/endpoints.md.

    run            a fetched run: its id, or the end of it (default: the newest).
    job            its job folder, or a script in it (default: the one that the run was started with).
    name           of the endpoint (default: job and end of the run's id).
    mode           real-time: on instances; serverless: billed by requests; asynchronous: queued, answers in S3.
    instance_type  such as ml.m5.large, the default; not for serverless.
    count          how many instances.
    memory_mb      serverless: 1024 to 6144 in steps of 1024.
    concurrency    serverless: requests that are answered at the same time, at most 200.
    max_hours      AWS deletes the endpoint after this time, also if this computer is off (default: never).
    yes            do not ask for confirmation.

    Costs  the price shown, until it is deleted.
    """
    options = {"job": job, "name": name, "instance_type": instance_type, "max_hours": max_hours}
    options |= {"mode": mode if mode != MODES[0] else "", "count": count if count != 1 else 0}
    if mode == "serverless":
        options |= {"memory_mb": memory_mb, "concurrency": concurrency}
    again = _again("Deploy", {"run": run}, options)
    fleet = _fleet(mode, instance_type or _default_type(), count, memory_mb, concurrency)
    if mode == "serverless" and instance_type:
        text = f"instance_type = {instance_type}: a serverless endpoint runs on memory_mb alone"
        raise UsageError(text, fix=again(instance_type=""))
    for option, value, default in (("memory_mb", memory_mb, 2048), ("concurrency", concurrency, 5)):
        if mode in MODES and mode != "serverless" and value != default:
            fix = again(mode="serverless", instance_type="", count=0, **{option: value})
            raise UsageError(f"{option} = {value}: for mode='serverless' only", fix=fix)
    session = workspace.session()
    plan = session.endpoints.plan(_choices(run, job, fleet, again, name=name, max_hours=max_hours))
    _show_plan(workspace, plan)
    confirm(workspace, Confirmation("Deploy?", again(yes=True), "Nothing was created."), yes=yes)
    end = NextStep("DeleteEndpoint", plan.request.name)
    with interruptible(workspace, "The endpoint may be created nonetheless.", end + "  deletes it"):
        status = session.endpoints.deploy(plan)
    return show(workspace, status)


@GROUP.verb(
    "Predict",
    "predict",
    examples=(NextStep("Predict", "k3", "data.csv"), NextStep("Predict", "k3", "scene.h5", out="planes.npz")),
)
def predict(workspace: Workspace, endpoint: str, data: Data, *, accept: MediaType = "", out: OutputFile = "") -> Any:
    """Ask an endpoint for predictions.

    endpoint  its name, or the end of it.
    data      a file (CSV, JSON, .npy, .npz, HDF5, images); at the prompt a NumPy array, lists or bytes as well.
    accept    type of the answer, such as application/json (default: as the model chooses).
    out       write the answer to this file.

    Costs  nothing beyond the endpoint's price; a serverless one bills the request.
    """
    from orchestrator.interface.render.sagemaker import endpoints
    from orchestrator.services.hosting import payloads

    with interruptible(workspace, "The endpoint stays as it is."):
        prediction = workspace.session().endpoints.predict(endpoint, data, accept)
    if out:
        try:
            Path(out).write_bytes(prediction.content.body)
        except OSError as error:
            raise UsageError(f"cannot be written: {error.strerror}", where=out) from None
    workspace.console.print(endpoints.prediction_lines(prediction, out))
    if workspace.console.document:
        facts = {"endpoint": prediction.endpoint, "content_type": prediction.content.content_type, "file": out}
        return {**facts, "predictions": None if out else payloads.plain(prediction.value)}
    return prediction.value


@GROUP.verb("Endpoints", "endpoints", examples=(LIST,), next_steps=(NextStep("DeleteEndpoint", "k3"),))
def endpoints(workspace: Workspace) -> list[EndpointStatus]:
    """List the endpoints with their price per hour.

    Costs  nothing.
    """
    from orchestrator.interface.render.sagemaker import endpoints

    statuses = workspace.session(files=False).endpoints.list()
    return show(workspace, statuses, endpoints.endpoint_lines(statuses, workspace.clock.now()))


@GROUP.verb(
    "UpdateEndpoint",
    "update-endpoint",
    changes_cluster=True,
    examples=(NextStep("UpdateEndpoint", "k3", "m7"), NextStep("UpdateEndpoint", "k3", "k3", count=2)),
)
def update_endpoint(
    workspace: Workspace,
    endpoint: str,
    run: RunId = "",
    *,
    job: JobOption = "",
    mode: Mode = "",
    instance_type: InstanceType = "",
    count: Count = 0,
    memory_mb: WholeNumber = 0,
    concurrency: WholeNumber = 0,
    yes: Consent = False,
) -> EndpointStatus:
    """Give an endpoint another model, type or size.

    It answers all the time.

    SageMaker allows serverless to become real-time, but not the reverse; asynchronous stays asynchronous.

    endpoint       its name, or the end of it.
    run            a fetched run: its id, or the end of it (default: the newest of the job that it serves).
    job            its job folder, or a script in it (default: the one that the run was started with).
    mode           real-time, serverless or asynchronous (default: as it is).
    instance_type  such as ml.m5.large (default: as it is).
    count          how many instances (default: as it is).
    memory_mb      serverless: 1024 to 6144 in steps of 1024 (default: as it is).
    concurrency    serverless: requests that are answered at the same time, at most 200 (default: as it is).
    yes            do not ask for confirmation.

    Costs  the price shown; while it changes, the old instances are billed as well.
    """
    options = {"job": job, "mode": mode, "instance_type": instance_type, "count": count}
    options |= {"memory_mb": memory_mb, "concurrency": concurrency}
    again = _again("UpdateEndpoint", {"endpoint": endpoint, "run": run}, options)
    fleet = _fleet(mode, instance_type, count, memory_mb, concurrency)
    session = workspace.session()
    plan = session.endpoints.plan_update(endpoint, _choices(run, job, fleet, again))
    _show_plan(workspace, plan)
    confirm(workspace, Confirmation("Update?", again(yes=True), "Nothing was changed."), yes=yes)
    with interruptible(workspace, "The endpoint may change nonetheless.", LIST + "  shows it"):
        status = session.endpoints.update(plan)
    return show(workspace, status)


@GROUP.verb(
    "ScaleEndpoint",
    "scale-endpoint",
    changes_cluster=True,
    examples=(
        NextStep("ScaleEndpoint", "k3", minimum=1, maximum=4, target=100),
        NextStep("ScaleEndpoint", "k3", maximum=0),
    ),
    next_steps=(LIST,),
)
def scale_endpoint(
    workspace: Workspace,
    endpoint: str,
    *,
    minimum: WholeNumber = 1,
    maximum: WholeNumber = 2,
    target: Target = 100.0,
    yes: Consent = False,
) -> EndpointStatus:
    """Let AWS scale the instances of an endpoint.

    Shows the prices of both bounds, and asks.

    endpoint  its name, or the end of it.
    minimum   of instances; 0 for an asynchronous endpoint only, which then starts with a new request.
    maximum   of instances; 0 ends the scaling.
    target    requests per instance and minute; asynchronous: waiting requests per instance.
    yes       do not ask for confirmation.

    Costs  the price of each instance that AWS adds.
    """
    from orchestrator.aws.sagemaker.hosting.autoscaling import Scaling
    from orchestrator.interface.render.sagemaker import endpoints

    for name, number in (("minimum", minimum), ("maximum", maximum)):
        if isinstance(number, bool) or not isinstance(number, int):
            raise UsageError(f"{name} = {number!r} is not a whole number")
    check_number(target, "target", NextStep("ScaleEndpoint", endpoint, maximum=4, target=100))
    service = workspace.session(files=False).endpoints
    if not maximum:
        return show(workspace, service.scale(endpoint, None))
    plan = service.plan_scaling(endpoint, Scaling(minimum, maximum, float(target)))
    workspace.console.print(endpoints.scaling_lines(plan))
    again = NextStep("ScaleEndpoint", endpoint, minimum=minimum, maximum=maximum, target=target, yes=True)
    confirm(workspace, Confirmation("Scale?", again, "Nothing was changed."), yes=yes)
    with interruptible(workspace, "The endpoint may scale nonetheless.", LIST + "  shows it"):
        status = service.scale(plan.name, plan.scaling)
    return show(workspace, status)


@GROUP.verb(
    "DeleteEndpoint",
    "delete-endpoint",
    changes_cluster=True,
    examples=(NextStep("DeleteEndpoint", "k3"),),
    next_steps=(LIST,),
)
def delete_endpoint(workspace: Workspace, endpoint: EndpointName = "") -> EndpointEnd:
    """Delete an endpoint, and wait until it is gone.

    Its configuration, model, scaling and schedule are deleted as well.

    endpoint  its name, or the end of it (default: the only one).

    Costs  nothing; it ends the costs of the endpoint.
    """
    again = NextStep("DeleteEndpoint", *([endpoint] if endpoint else []))
    with interruptible(workspace, "It may not be deleted yet.", again + "  tries again"):
        report = workspace.session(files=False).endpoints.delete(endpoint)
    return show(workspace, report)


@GROUP.verb(
    "BatchTransform",
    "batch-transform",
    changes_cluster=True,
    examples=(NextStep("BatchTransform", "k3", "s3://bucket/scenes"),),
    next_steps=(NextStep("Status"),),
)
def batch_transform(
    workspace: Workspace,
    run: str,
    source: Location,
    *,
    job: JobOption = "",
    instance_type: InstanceType = "",
    count: Count = 1,
    accept: MediaType = "",
    yes: Consent = False,
) -> TransformResult:
    """Predict every object below an S3 prefix.

    Shows plan and price, asks, and waits for the end; at [cluster] max_hours or max_dollars it is stopped.

    CSV and JSON lines are sent in parts of whole lines, other objects as a whole. The predictions of each object are in
    S3, under its name with .out.

    run            a fetched run: its id, or the end of it.
    source         s3://bucket/prefix, with objects of one type.
    job            its job folder, or a script in it (default: the one that the run was started with).
    instance_type  such as ml.m5.large, the default.
    count          how many instances.
    accept         type of the predictions, such as text/csv (default: as the model chooses).
    yes            do not ask for confirmation.

    Costs  the price shown, from the start of its instances to its end.
    """
    from orchestrator.interface.render.sagemaker import endpoints
    from orchestrator.services.hosting.transforms import TransformChoices

    options = {"job": job, "instance_type": instance_type, "accept": accept, "count": count if count != 1 else 0}
    again = _again("BatchTransform", {"run": run, "source": source}, options)
    found_job = _job(job, again)
    choices = TransformChoices(source, run, found_job, instance_type or _default_type(), count, accept, again)
    session = workspace.session()
    plan = session.transforms.plan(choices)
    workspace.console.print(endpoints.transform_plan_lines(plan))
    confirm(workspace, Confirmation("Transform?", again(yes=True), "Nothing was started."), yes=yes)
    afterwards = "It may go on without this computer.", NextStep("Status") + "  shows it"
    with interruptible(workspace, *afterwards):
        result = session.transforms.run(plan)
    return show(workspace, result)


def _again(verb: str, arguments: Mapping[str, str], options: Mapping[str, object]) -> Again:
    """Return a function that returns the same call with other arguments or options; empty ones are left out."""

    def again(**changes: object) -> NextStep:
        positional = {**arguments, **{name: changes.pop(name) for name in arguments if name in changes}}
        chosen = {name: value for name, value in {**options, **changes}.items() if value}
        return NextStep(verb, *filter(None, positional.values()), **chosen)

    return again


def _job(job: str, again: Again) -> JobSource | None:
    """Return the job that a text names; a folder with a predict.py needs no job.ini."""
    from orchestrator.jobs.managed.options import PREDICTOR
    from orchestrator.jobs.scripts import find as scripts

    folder = Path(job.strip())
    if job.strip() and (folder / PREDICTOR).is_file() and not (folder / "job.ini").is_file():
        job = str(folder / PREDICTOR)
    return scripts.find(job, lambda path: again(job=path))


def _default_type() -> str:
    from orchestrator.aws.sagemaker.hosting.requests import DEFAULT_TYPE

    return DEFAULT_TYPE


def _fleet(mode: str, instance_type: str, count: int, memory_mb: int, concurrency: int) -> Any:
    from orchestrator.aws.sagemaker.hosting.requests import Fleet

    for name, number in (("count", count), ("memory_mb", memory_mb), ("concurrency", concurrency)):
        if isinstance(number, bool) or not isinstance(number, int):
            raise UsageError(f"{name} = {number!r} is not a whole number")
    return Fleet(mode, instance_type, count, memory_mb, concurrency)


def _choices(run: str, job: str, fleet: Any, again: Again, *, name: str = "", max_hours: float = 0.0) -> DeployChoices:
    from orchestrator.services.hosting.planning import DeployChoices

    check_number(max_hours, "max_hours", again(max_hours=8))
    return DeployChoices(run, _job(job, again), name, fleet, float(max_hours), again)


def _show_plan(workspace: Workspace, plan: DeployPlan) -> None:
    from orchestrator.interface.render.sagemaker import endpoints

    workspace.console.print(endpoints.plan_lines(plan))
