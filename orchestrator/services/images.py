"""Use cases on container images: a job's image in ECR, from where SageMaker pulls it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.aws.sagemaker import registry
from orchestrator.cluster.context import ClusterContext
from orchestrator.core.errors import UsageError
from orchestrator.core.events import Event
from orchestrator.install import steps, upload
from orchestrator.install.local_image import LocalEngine, managed_name
from orchestrator.install.registry_login import RegistryLogin

if TYPE_CHECKING:
    from orchestrator.jobs.scripts.script_job import JobSource
    from orchestrator.jobs.spec import JobSpec


@dataclass(frozen=True)
class ImagePlan:
    """An image that is built and pushed.

    :param base: what it is built from: the name of an image, or ``Dockerfile``.
    :param name: in the registry: ``stratus/job:tag``.
    :param is_new_repository: True if the repository has to be created.
    """

    job: JobSpec
    base: str
    registry: str
    name: str
    is_new_repository: bool = False

    @property
    def repository(self) -> str:
        """Name without the tag."""
        return self.name.rpartition(":")[0]


@dataclass(frozen=True)
class PushedImage:
    """An image in the registry.

    :param job: name of the job.
    :param image: its name with the digest: ``HOST/stratus/job@sha256:...``.
    :param tag: its tag, which follows from the input of the build.
    """

    job: str
    image: str
    tag: str


class ImageService:
    """Images of the jobs of one cluster.

    :param load_job: reads a job, with the files that must not, or may, be uploaded.
    """

    def __init__(self, context: ClusterContext, load_job: Callable[[JobSource | None], JobSpec]) -> None:
        self.context = context
        self._load_job = load_job

    def plan(self, folder: JobSource | None = None) -> ImagePlan:
        """Return what is going to be built and pushed.

        :param folder: of another job than the one in the settings.
        :raises UsageError: this computer has no engine, or the job has neither image nor Dockerfile.
        """
        job = self._in_container(self._load_job(folder))
        self._engine.check()
        access = registry.log_in(self.context.clients)
        name = managed_name(job, self.context.settings.install)
        plan = ImagePlan(job, job.options.image or "Dockerfile", access.host, name)
        return replace(plan, is_new_repository=not registry.exists(self.context.clients, plan.repository))

    def push(self, plan: ImagePlan) -> PushedImage:
        """Build a job's image and push it; the repository is created if it is missing.

        :raises StratusError: the build failed, or the registry refused.
        """
        own = self.context.cluster_id
        base, managed = plan.job.options.image, f"{plan.name}-managed"
        if not base:
            self._build(plan.job)
            base = plan.job.built_image
        self._engine.add_commands(base, managed)
        # A repository bills what is in it.
        entry = self.context.journal.record_intent(registry.PUSH, name=plan.name, **own.journal_fields)
        registry.create(self.context.clients, plan.repository, own.tags)
        # After the build, which may take longer than a token of a short session is valid.
        access = registry.log_in(self.context.clients)
        login = RegistryLogin(access.host, access.user, lambda: access.password)
        digest = self._engine.push(managed, plan.name, login)
        image = f"{access.host}/{plan.repository}@{digest}"
        self.context.journal.record_outcome(entry, image=image)
        return PushedImage(plan.job.name, image, plan.name.rpartition(":")[2])

    def _build(self, job: JobSpec) -> None:
        settings = self.context.settings.install
        code = upload.scan(
            "code",
            job.folder,
            job.code_path,
            excluded=job.excluded_names,
            allowed=job.allowed_files,
            withheld=job.withheld_files,
        )
        files = {"ca.pem": steps.read_user_file(settings.ca_bundle)} if settings.ca_bundle else {}
        self._engine.build(code, job.built_image, steps.build_arguments(settings), files)

    def _in_container(self, job: JobSpec) -> JobSpec:
        if not job.options.image and not (job.folder / "Dockerfile").is_file():
            raise UsageError(
                "the job has no image: no Dockerfile in its folder, and no image in job.ini",
                where=str(job.folder),
                fix="add a Dockerfile, as in examples/cloud_retrieval, or image = ... under [job]",
            )
        digest = steps.build_digest(self.context.settings.install)
        return replace(job, options=replace(job.options, runtime="docker"), build_digest=digest)

    @property
    def _engine(self) -> LocalEngine:
        def report(step: str) -> None:
            self.context.on_event(Event("", "image", "progress", text=step))

        return LocalEngine(os.environ, report, self.context.settings.install.timeout)
