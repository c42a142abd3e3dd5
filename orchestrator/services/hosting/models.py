"""Models of fetched runs: the run, its job, its archive in S3, and the image that serves it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from orchestrator.aws.sagemaker import artifacts, registry, roles
from orchestrator.cluster.context import ClusterContext
from orchestrator.core import json_file
from orchestrator.core.errors import CloudRefused, UsageError
from orchestrator.core.events import Event
from orchestrator.core.next_step import NextStep
from orchestrator.install import local_image, model_archive
from orchestrator.jobs import record
from orchestrator.jobs.managed.options import PREDICTOR
from orchestrator.jobs.records import job_places
from orchestrator.jobs.scripts.script_job import JobSource
from orchestrator.jobs.spec import JobSpec, job_name

Again: TypeAlias = Callable[..., NextStep]
"""Returns a verb as it was typed; keywords replace what was typed, and empty ones are left out."""


@dataclass(frozen=True)
class RunModel:
    """A run that can be served.

    :param folder: of the run on this computer.
    :param creates_bucket: True if the bucket does not exist yet.
    """

    run_id: str
    folder: Path
    job: JobSpec
    image: str
    role_arn: str
    bucket: str
    prefix: str
    creates_bucket: bool

    @property
    def short_id(self) -> str:
        """End of the run's id."""
        return self.run_id.rpartition("-")[2]

    def url(self, name: str) -> str:
        """Return the S3 URL of a name below the cluster's prefix."""
        return f"s3://{self.bucket}/{self.prefix}/{name}"


@dataclass(frozen=True)
class RunModels:
    """Models of the runs in a folder.

    :param load_job: reads a job; of the settings when None.
    """

    context: ClusterContext
    runs_folder: Path
    load_job: Callable[[JobSource | None], JobSpec]

    def find(self, run: str, job: JobSource | None, again: Again, *, of_job: str = "") -> RunModel:
        """Return the model of a run, after all checks that cost nothing.

        :param run: its id, or the end of it; the newest that was fetched when empty.
        :param job: its job; None for the one that the run was started with.
        :param again: returns the verb as it was typed, with other options.
        :param of_job: name of the job whose newest run is meant when ``run`` is empty; empty for any.
        :raises StratusError: the run cannot be served.
        """
        past = self._past_run(run, of_job)
        spec = self._job(past, job, again)
        model_archive.check(spec, past.folder)
        settings, clients = self.context.settings.sagemaker, self.context.clients
        image = self._image(spec)
        registry.check_image(clients, image, local_image.missing_fix(spec))
        account = self.context.identity.account
        bucket = settings.sagemaker_bucket or artifacts.default_bucket(account, clients.region)
        problem = artifacts.bucket_problem(clients, bucket)
        # 403 is also the answer for a bucket that may be written to, but not listed: the upload decides.
        is_missing = problem in ("404", "NoSuchBucket")
        if problem not in ("", "403") and not is_missing:
            raise CloudRefused("the bucket cannot be used", where=bucket, code=problem)
        return RunModel(
            past.run_id,
            past.folder,
            spec,
            image,
            roles.execution_role_arn(clients, settings.role, self.context.cluster_id),
            bucket,
            f"stratus/{self.context.cluster_id.cluster}",
            creates_bucket=is_missing,
        )

    def job_of(self, run_id: str) -> str:
        """Return the name of a run's job; empty if this computer has no record of the run."""
        return next((past.job for past in record.past_runs(self.runs_folder) if past.run_id == run_id), "")

    def _past_run(self, run: str, of_job: str) -> record.PastRun:
        fetched = [past for past in record.past_runs(self.runs_folder) if past.is_fetched]
        matching = [past for past in fetched if past.run_id.endswith(run) and of_job in ("", past.job)]
        if run and len(matching) > 1:
            ids = ", ".join(past.run_id for past in matching)
            raise UsageError(f"{run!r} is the end of several runs: {ids}", fix="write more of the id")
        if not matching:
            raise self._not_fetched(run)
        return matching[-1]

    def _not_fetched(self, run: str) -> UsageError:
        if not run:
            return UsageError("no run was fetched here", fix=NextStep("FetchResults") + "  fetches one")
        text = f"no run {run!r} was fetched to {self.runs_folder}/"
        known = [past.run_id for past in record.past_runs(self.runs_folder) if past.run_id.endswith(run)]
        if known:
            return UsageError(text, fix=NextStep("FetchResults", known[-1]) + "  fetches it")
        return UsageError(text, fix=NextStep("Runs") + "  lists yours")

    def _job(self, past: record.PastRun, job: JobSource | None, again: Again) -> JobSpec:
        """Return the job of a run: the one that is named, else where the run was started from, else of the settings."""
        if job is not None:
            spec = self.load_job(job)
            if past.job in ("", spec.name):
                return spec
            problem = f"run {past.run_id} is of the job {past.job}, not of {spec.name}"
            raise UsageError(problem, fix=again(job="") + f"  takes {past.job}")
        if source := job_places.recorded(json_file.load(past.folder, record.FILE), past.job):
            return self.load_job(source)
        own = Path(self.context.settings.job.run)
        if past.job in ("", job_name(own if own.suffix == ".ini" else own / "job.ini")):
            return self.load_job(None)
        known = job_places.nearby(past.job)
        text = job_places.text(known) if known else f"PATH/{past.job}/{PREDICTOR}"
        problem = f"run {past.run_id} is of the job {past.job}, whose folder its record does not have"
        raise UsageError(problem, fix=again(job=text))

    def _image(self, job: JobSpec) -> str:
        settings, region = self.context.settings.sagemaker, self.context.clients.region
        name = local_image.managed_name(job, self.context.settings.install)
        pushed = registry.pushed_image(self.context.journal, self.context.cluster_id, name)
        if image := pushed or job.options.image or settings.training_image:
            return image
        if not (job.folder / "Dockerfile").is_file():
            # AWS's own image, in which such a job trains, cannot serve it: it has no program `serve` of the job.
            fix = "FROM python:3.12-slim and RUN pip install ... in a Dockerfile there; then "
            raise UsageError(
                "the job has no image to be served from: no Dockerfile in its folder, and no image in job.ini",
                where=str(job.folder),
                fix=fix + NextStep("PushImage", *([job.named] if job.named else [])),
            )
        return f"{self.context.identity.account}.dkr.ecr.{region}.amazonaws.com/{name}"

    def upload(self, model: RunModel) -> str:
        """Upload the archive of a run, unless it is there, and return its S3 URL.

        :raises StratusError: S3 refused.
        """
        clients = self.context.clients
        if model.creates_bucket:
            artifacts.create_bucket(clients, model.bucket)
        with tempfile.TemporaryDirectory() as folder:
            archive = model_archive.pack(model.job, model.folder, Path(folder) / "model.tar.gz")
            url = model.url(f"models/{model.run_id}-{archive.digest[:16]}/model.tar.gz")
            if not artifacts.first_keys(clients, url, 1):
                text = f"uploading the model, {archive.size_bytes / (1 << 20):.1f} MiB"
                self.context.on_event(Event("", "model", "progress", text=text))
                artifacts.upload(clients, url.rpartition("/")[0], {"model.tar.gz": archive.path})
        return url
