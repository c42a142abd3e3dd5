"""Verbs that prepare an account for SageMaker: its role, and images of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from orchestrator.core.next_step import NextStep
from orchestrator.interface.verbs.base import VerbGroup
from orchestrator.interface.verbs.interaction import Confirmation, confirm, interruptible, show
from orchestrator.interface.verbs.parameters import Consent, JobName, VerbParameter

if TYPE_CHECKING:
    from orchestrator.interface.workspace import Workspace
    from orchestrator.services.images import PushedImage
    from orchestrator.services.roles import RolePlan

GROUP = VerbGroup("SageMaker: role and images")

Urls = Annotated[str, VerbParameter(metavar="URL")]


@GROUP.verb(
    "SageMakerRole",
    "sagemaker-role",
    examples=(NextStep("SageMakerRole"), NextStep("SageMakerRole", data="s3://bucket/prefix/")),
)
def sagemaker_role(workspace: Workspace, *, data: Urls = "", yes: Consent = False) -> RolePlan:
    """Create the role of SageMaker's containers.

    Shows its permissions and asks. They are the least that jobs need: objects below stratus/ in the project's bucket,
    pulling images, logs and metrics. A role that [sagemaker] role names is shown, and never changed.

    data  further data on S3 that jobs may read; several between blanks.
    yes   do not ask for confirmation.

    Costs  nothing.
    """
    roles = workspace.session(files=False).roles
    plan = roles.plan(data.split())
    show(workspace, plan)
    if plan.is_current:
        return plan
    question = "Change it?" if plan.arn else "Create it?"
    again = NextStep("SageMakerRole", **({"data": data} if data else {}), yes=True)
    confirm(workspace, Confirmation(question, again, "No role was created or changed."), yes=yes)
    return show(workspace, roles.create(plan))


@GROUP.verb(
    "PushImage", "push-image", examples=(NextStep("PushImage"), NextStep("PushImage", "examples/cloud_retrieval"))
)
def push_image(workspace: Workspace, job: JobName = "", *, yes: Consent = False) -> PushedImage:
    """Build the job's image here and push it to ECR.

    From there SageMaker pulls it: the next TrainOnSageMaker() of the job uses it. Built by this computer's Docker, from
    image in job.ini or else from the folder's Dockerfile, without files that look like credentials. The repository
    stratus/JOB is created if it is missing.

    job  folder of a job (default: [job] run in the config file).
    yes  do not ask for confirmation.

    Costs  $0.10 per GB and month in ECR, until it is deleted there.
    """
    from orchestrator.interface.render.sagemaker import setup
    from orchestrator.jobs.scripts import find as scripts

    images = workspace.session().images
    plan = images.plan(scripts.find(job, lambda *words, **options: NextStep("PushImage", *words, **options)))
    workspace.console.print(setup.image_plan(plan))
    again = NextStep("PushImage", *([job] if job else []), yes=True)
    confirm(workspace, Confirmation("Build and push it?", again, "Nothing was pushed."), yes=yes)
    with interruptible(workspace, "Nothing was pushed, or a part of it.", again + "  goes on"):
        image = images.push(plan)
    return show(workspace, image)
