"""Endpoints and transform jobs for tests of the embedded cloud: a model whose predictions are known, and waits."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.install import model_archive
from orchestrator.jobs import spec
from tests.support.jobs.served_job import PREDICT, write_job, write_run
from tests.support.localcloud.clients import boto, wait_until
from tests.support.localcloud.training_lab import BUCKET, IMAGE, TrainingLab

TYPE = "ml.m5.large"
MODEL_KEY = "models/line.tar.gz"
_NAMES = itertools.count(1)


class HostingLab:
    """Models, endpoints and transform jobs of one cloud.

    :param lab: its role and bucket.
    :param folder: for the model's archive.
    """

    def __init__(self, env: Mapping[str, str], lab: TrainingLab, folder: Path) -> None:
        self.lab, self.sagemaker, self.s3 = lab, lab.sagemaker, lab.s3
        self.runtime = boto(env, "sagemaker-runtime")
        self.upload(MODEL_KEY, folder)

    def upload(self, key: str, folder: Path, predict: str = PREDICT) -> str:
        """Upload a model, and return its URL."""
        job = spec.load(write_job(folder / "line", predict=predict), {})
        archive = model_archive.pack(job, write_run(folder / "runs", "line"), folder / "model.tar.gz")
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=archive.path.read_bytes())
        return f"s3://{BUCKET}/{key}"

    def name(self) -> str:
        """Return a name that is not in use."""
        return f"lab-{next(_NAMES)}"

    def create_model(self, url: str = f"s3://{BUCKET}/{MODEL_KEY}") -> str:
        """Create a model and return its name."""
        name = self.name()
        container = {"Image": IMAGE, "ModelDataUrl": url}
        self.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=self.lab.role)
        return name

    def create_config(self, model: str, *, variant: Mapping[str, Any] | None = None, **arguments: Any) -> str:
        """Create an endpoint configuration and return its name."""
        name, instances = self.name(), {"InstanceType": TYPE, "InitialInstanceCount": 1}
        variants = [{"VariantName": "AllTraffic", "ModelName": model, **(variant or instances)}]
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants, **arguments)
        return name

    def create(self, config: str) -> str:
        """Create an endpoint and return its name."""
        name = self.name()
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
        return name

    def describe(self, endpoint: str) -> dict[str, Any]:
        """Return an endpoint's description."""
        answer: dict[str, Any] = self.sagemaker.describe_endpoint(EndpointName=endpoint)
        return answer

    def wait(self, endpoint: str, status: str = "InService") -> dict[str, Any]:
        """Wait for a status, and return the description."""
        wait_until(lambda: self.describe(endpoint)["EndpointStatus"] == status)
        return self.describe(endpoint)

    def endpoint(self, variant: Mapping[str, Any] | None = None, **arguments: Any) -> str:
        """Create an endpoint of the line's model that is in service, and return its name."""
        name = self.create(self.create_config(self.create_model(), variant=variant, **arguments))
        self.wait(name)
        return name

    def predict(self, endpoint: str, body: bytes, **arguments: Any) -> Any:
        """Return what a JSON request is answered with."""
        answer = self.runtime.invoke_endpoint(
            EndpointName=endpoint, Body=body, ContentType="application/json", **arguments
        )
        return json.loads(answer["Body"].read())

    def read(self, url: str) -> bytes | None:
        """Return an object; None as long as there is none."""
        bucket, _, key = url.removeprefix("s3://").partition("/")
        if key not in self.lab_keys(bucket, key):
            return None
        body: bytes = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def lab_keys(self, bucket: str, prefix: str) -> list[str]:
        """Return the keys with a prefix."""
        return [item["Key"] for item in self.s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]

    def transform(self, prefix: str, **arguments: Any) -> str:
        """Start a transform job over a prefix of the bucket, and return its name."""
        name, source = self.name(), {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{prefix}"}
        request: dict[str, Any] = {
            "TransformJobName": name,
            "ModelName": arguments.pop("ModelName", "") or self.create_model(),
            "TransformInput": {
                "DataSource": {"S3DataSource": source},
                "ContentType": "text/csv",
                **arguments.pop("input", {}),
            },
            "TransformOutput": {"S3OutputPath": f"s3://{BUCKET}/out/{name}", **arguments.pop("output", {})},
            "TransformResources": {"InstanceType": TYPE, "InstanceCount": 1},
        }
        self.sagemaker.create_transform_job(**{**request, **arguments})
        return name

    def wait_for_transform(self, name: str) -> dict[str, Any]:
        """Wait for the end of a transform job, and return its description."""

        def describe() -> dict[str, Any]:
            answer: dict[str, Any] = self.sagemaker.describe_transform_job(TransformJobName=name)
            return answer

        wait_until(lambda: describe()["TransformJobStatus"] not in ("InProgress", "Stopping"))
        return describe()


def archive_of(files: Mapping[str, bytes]) -> bytes:
    """Return a model.tar.gz."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
