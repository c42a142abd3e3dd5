"""Transform jobs: every object below a prefix is predicted by a server of the model; outputs have ``.out`` appended."""

from __future__ import annotations

import http.client
import logging
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from localcloud.aws.error_responses import ApiError
from localcloud.aws.wsgi import Params
from localcloud.ec2.environment import CloudEnvironment
from localcloud.sagemaker.dispatch import Call, Handler
from localcloud.sagemaker.hosting import quotas, rules, splitting
from localcloud.sagemaker.hosting.interface import ObjectStorage, Server, Site, StartFailed
from localcloud.sagemaker.hosting.models import MODEL, ModelApi
from localcloud.sagemaker.hosting.resources import Registry, Resource
from localcloud.sagemaker.logs import LogStream
from localcloud.sagemaker.storage import S3Url, TransferError

TRANSFORM = "transform-job"
LOG_GROUP = "/aws/sagemaker/TransformJobs"
RUNNING = ("InProgress", "Stopping")
DEFAULT_TIMEOUT_S = 600.0

_log = logging.getLogger(__name__)


class TransformFailed(Exception):
    """A job failed; the message is SageMaker's FailureReason."""


@dataclass
class TransformJob(Resource):
    """A transform job.

    :param server: its container; None before it starts.
    """

    failure: str = ""
    server: Server | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def instance_type(self) -> str:
        """Type of its instances."""
        return str(self.request["TransformResources"]["InstanceType"])

    @property
    def instance_count(self) -> int:
        """Number of its instances."""
        return int(self.request["TransformResources"]["InstanceCount"])

    def summary(self) -> dict[str, Any]:
        """Return the fields that lists have, too."""
        facts = {
            "TransformJobName": self.name,
            "TransformJobArn": self.arn,
            "TransformJobStatus": self.status,
            "CreationTime": self.created_at,
        }
        times = {"TransformStartTime": self.started_at, "TransformEndTime": self.ended_at}
        return {**facts, **{name: time for name, time in times.items() if time}, **self._reason()}

    def describe(self) -> dict[str, Any]:
        """Return the fields of DescribeTransformJob."""
        return {**{name: value for name, value in self.request.items() if name != "Tags"}, **self.summary()}

    def _reason(self) -> dict[str, Any]:
        return {"FailureReason": self.failure} if self.failure else {}


class TransformApi:
    """Transform jobs of all regions."""

    def __init__(self, environment: CloudEnvironment, models: ModelApi, site: Site) -> None:
        self.environment, self.models, self.site = environment, models, site
        self.jobs = Registry[TransformJob]("transform job")

    @property
    def actions(self) -> Mapping[str, Handler]:
        """Handlers by action."""
        return {
            "CreateTransformJob": self.create,
            "DescribeTransformJob": self.describe,
            "ListTransformJobs": self.list,
            "StopTransformJob": self.stop,
        }

    def create(self, call: Call) -> dict[str, Any]:
        """Answer CreateTransformJob."""
        rules.check_transform(call.params)
        now, name = self.environment.clock.utc(), call.params["TransformJobName"]
        job = TransformJob(TRANSFORM, name, call.region, call.params, now, now, "InProgress")
        with self.environment.lock:
            model = self.models.models.named(call.region, call.params["ModelName"], MODEL).request
            if other := self.jobs.find(call.region, name):
                message = (
                    "Job name must be unique within an AWS account and region, and a job with this name already "
                    f"exists ({other.arn})"
                )
                raise ApiError("ResourceInUse", message)
            self._check_quota(job)
            self.jobs.add(job)
        self.site.begin(lambda: self._start(job, model), f"transform {name}")
        return {"TransformJobArn": job.arn}

    def _check_quota(self, job: TransformJob) -> None:
        others = [other for other in self.jobs.all() if other.status in RUNNING and other.region == job.region]
        used = sum(other.instance_count for other in others if other.instance_type == job.instance_type)
        name = f"{job.instance_type} for transform job usage"
        quotas.check(self.environment, job.region, name, used, job.instance_count)

    def describe(self, call: Call) -> dict[str, Any]:
        """Answer DescribeTransformJob."""
        with self.environment.lock:
            return self._named(call).describe()

    def list(self, call: Call) -> dict[str, Any]:
        """Answer ListTransformJobs."""
        with self.environment.lock:
            page: dict[str, Any] = self.jobs.page(
                call.region, call.params, "TransformJobSummaries", TransformJob.summary
            )
        return page

    def stop(self, call: Call) -> dict[str, Any]:
        """Answer StopTransformJob."""
        with self.environment.lock:
            job = self._named(call)
            if job.status not in RUNNING:
                message = f"The request was rejected because the transform job is in status {job.status}."
                raise ApiError("ValidationException", message)
            job.status = "Stopping"
            if job.server is not None:
                # A model that is loaded, or asked, may take many minutes.
                self.site.begin(job.server.stop, f"stop {job.name}")
        return {}

    def close(self) -> None:
        """Ask all jobs to end; their containers end with the engine."""
        for job in self.jobs.all():
            job.status = "Stopping" if job.status in RUNNING else job.status

    def _named(self, call: Call) -> TransformJob:
        job = self.jobs.find(call.region, call.params["TransformJobName"])
        if job is None:
            raise ApiError("ValidationException", "Requested resource not found.")
        return job

    def _start(self, job: TransformJob, model: Params) -> None:
        job.started_at = self.environment.clock.utc()
        self.site.begin(lambda: self._run(job, model), f"transform {job.name}")

    def _run(self, job: TransformJob, model: Params) -> None:
        failure = ""
        stream = LogStream(self.environment, job.region, LOG_GROUP, f"{job.name}/i-{1:017x}")
        server = self.site.server(model, job.region, _variables(job.request), stream.write)
        with self.environment.lock:
            job.server = server
        try:
            server.start()
            _Transfer(self.site.storage(model["ExecutionRoleArn"], job.name, job.region), server, job).run()
        except (StartFailed, TransformFailed, TransferError) as error:
            failure = str(error)
        except Exception:
            _log.exception("transform job %s", job.name)
            failure = "InternalServerError: We encountered an internal error. Please try again."
        server.stop()
        with self.environment.lock:
            job.ended_at = self.environment.clock.utc()
            job.failure = "" if job.status == "Stopping" else failure
            job.status = "Stopped" if job.status == "Stopping" else "Failed" if failure else "Completed"


@dataclass(frozen=True)
class _Transfer:
    """The work of one job: read, ask, write."""

    storage: ObjectStorage
    server: Server
    job: TransformJob

    def run(self) -> None:
        """Transform every object.

        :raises TransformFailed: an answer was an error, or a record is too large.
        """
        source = S3Url.parse(self.job.request["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"])
        keys = self.storage.keys(source)
        if not keys:
            url = f"s3://{source.bucket}/{source.key}"
            raise TransformFailed(f"ClientError: No S3 objects found under S3 URL {url}.")
        with tempfile.TemporaryDirectory() as folder:
            for key in keys:
                if self.job.status == "Stopping":
                    return
                self._transform(S3Url(source.bucket, key), source, Path(folder) / "object")

    def _transform(self, url: S3Url, source: S3Url, file: Path) -> None:
        self.storage.download(url.bucket, url.key, file)
        try:
            bodies = list(splitting.payloads(file.read_bytes(), self.job.request))
        except splitting.TooLarge as error:
            payload_mb = self.job.request.get("MaxPayloadInMB", 6)
            message = f"ClientError: {url.key}: a record is larger than MaxPayloadInMB, {payload_mb} MB."
            raise TransformFailed(message) from error
        with ThreadPoolExecutor(max(1, self.job.request.get("MaxConcurrentTransforms", 1))) as pool:
            answers = list(pool.map(lambda body: self._ask(url, body), bodies))
        file.write_bytes(splitting.assemble(answers, self.job.request))
        self.storage.upload(file, self._target(url, source))

    def _target(self, url: S3Url, source: S3Url) -> S3Url:
        folder = source.key.rpartition("/")[0]
        name = url.key[len(folder) + 1 :] if folder else url.key
        output = self.job.request["TransformOutput"]["S3OutputPath"].rstrip("/")
        return S3Url.parse(f"{output}/{name}.out")

    def _ask(self, url: S3Url, body: bytes) -> bytes:
        request = self.job.request
        headers = {"Content-Type": request["TransformInput"].get("ContentType", "application/octet-stream")}
        if accept := request["TransformOutput"].get("Accept"):
            headers["Accept"] = accept
        client = request.get("ModelClientConfig", {})
        timeout_s = float(client.get("InvocationsTimeoutInSeconds", DEFAULT_TIMEOUT_S))
        try:
            answer = self.server.request("POST", "/invocations", body, headers, timeout_s)
        except (OSError, http.client.HTTPException) as error:
            raise TransformFailed(f"AlgorithmError: {url.key}: the container does not answer: {error}") from error
        if answer.status != 200:
            text = answer.body.decode("utf-8", "replace").strip()
            raise TransformFailed(f"ClientError: {url.key}: the container answered {answer.status}: {text}")
        return answer.body


def _variables(params: Params) -> Mapping[str, str]:
    strategy = "MULTI_RECORD" if params.get("BatchStrategy", "MultiRecord") == "MultiRecord" else "SINGLE_RECORD"
    return {
        "SAGEMAKER_BATCH": "true",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": str(params.get("MaxPayloadInMB", 6)),
        "SAGEMAKER_BATCH_STRATEGY": strategy,
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": str(params.get("MaxConcurrentTransforms", 1)),
        **params.get("Environment", {}),
    }
