"""Training jobs for tests of the embedded cloud: a role, a bucket, code as a channel, and waits for statuses."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from collections.abc import Mapping
from typing import Any

from tests.support.localcloud.clients import boto, wait_until

BUCKET = "training-lab"
IMAGE = "123456789012.dkr.ecr.us-west-2.amazonaws.com/lab:1"
ENDED = ("Completed", "Failed", "Stopped")
_NAMES = itertools.count(1)


class TrainingLab:
    """Training jobs of one cloud."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.sagemaker, self.s3, self.logs = (boto(env, name) for name in ("sagemaker", "s3", "logs"))
        self.role = _role(boto(env, "iam"))
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})

    def put(self, objects: Mapping[str, str]) -> None:
        """Write objects to the bucket."""
        for key, text in objects.items():
            self.s3.put_object(Bucket=BUCKET, Key=key, Body=text.encode())

    def keys(self, prefix: str) -> list[str]:
        """Return the keys below a prefix, without it."""
        pages = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return sorted(item["Key"].removeprefix(prefix) for item in pages)

    def create(self, code: str, *channels: dict[str, Any], algorithm: Any = None, **arguments: Any) -> str:
        """Create a job that runs Python code, and return its name; arguments replace those of the request."""
        name = arguments.get("TrainingJobName") or f"lab-{next(_NAMES)}"
        self.sagemaker.create_training_job(**self.request(name, code, *channels, algorithm=algorithm, **arguments))
        return str(name)

    def request(
        self, name: str, code: str, *channels: dict[str, Any], algorithm: Any = None, **arguments: Any
    ) -> dict[str, Any]:
        """Return the parameters of CreateTrainingJob for code that is in the bucket from now on."""
        self.put({f"code/{name}/main.py": code})
        specification = {
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python", "/opt/ml/input/data/code/main.py"],
            **(algorithm or {}),
        }
        request = {
            "TrainingJobName": name,
            "RoleArn": self.role,
            "AlgorithmSpecification": specification,
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        }
        return {**request, "InputDataConfig": [channel("code", f"code/{name}/"), *channels], **arguments}

    def describe(self, name: str) -> dict[str, Any]:
        """Return a job's description."""
        answer: dict[str, Any] = self.sagemaker.describe_training_job(TrainingJobName=name)
        return answer

    def wait(self, name: str, *statuses: str) -> dict[str, Any]:
        """Wait for one of the secondary statuses, by default for the job's end, and return the description."""

        def is_there() -> bool:
            job = self.describe(name)
            return job["SecondaryStatus"] in statuses if statuses else job["TrainingJobStatus"] in ENDED

        wait_until(is_there)
        return self.describe(name)

    def wait_for_line(self, name: str, line: str) -> None:
        """Wait until a host of a job has written a line."""

        def is_there() -> bool:
            # The log group exists from the first line of the first job on.
            if self.describe(name)["SecondaryStatus"] != "Training":
                return False
            return any(line in lines for lines in self.lines(name).values())

        wait_until(is_there)

    def lines(self, name: str) -> dict[str, list[str]]:
        """Return the log lines of each host of a job."""
        group = "/aws/sagemaker/TrainingJobs"
        streams = self.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")["logStreams"]
        names = [stream["logStreamName"] for stream in streams]
        return {stream.partition("/")[2].rpartition("-")[0]: self._read(group, stream) for stream in names}

    def _read(self, group: str, stream: str) -> list[str]:
        events = self.logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)["events"]
        return [event["message"] for event in events]

    def archive(self, name: str, kind: str = "model") -> dict[str, str]:
        """Return the files of a job's model or output."""
        body = self.s3.get_object(Bucket=BUCKET, Key=f"out/{name}/output/{kind}.tar.gz")["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            return {item.name: tar.extractfile(item).read().decode() for item in tar if item.isfile()}  # type: ignore[union-attr]


def channel(name: str, prefix: str, *, mode: str = "", distribution: str = "FullyReplicated") -> dict[str, Any]:
    """Return a channel with the objects below a prefix of the bucket."""
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{prefix}", "S3DataDistributionType": distribution}
    fields = {"ChannelName": name, "DataSource": {"S3DataSource": source}}
    return {**fields, **({"InputMode": mode} if mode else {})}


def statuses(job: Mapping[str, Any]) -> list[str]:
    """Return the secondary statuses of a job in their order."""
    return [transition["Status"] for transition in job["SecondaryStatusTransitions"]]


def _role(iam: Any) -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    role = iam.create_role(RoleName="training-lab", AssumeRolePolicyDocument=trust)["Role"]
    allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_role_policy(RoleName="training-lab", PolicyName="s3", PolicyDocument=policy)
    return str(role["Arn"])
