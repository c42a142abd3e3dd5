"""Endpoints and transform jobs of the embedded cloud: real servers, real predictions, refusals as AWS words them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.localcloud.clients import error_of, wait_until
from tests.support.localcloud.hosting_lab import TYPE, HostingLab, archive_of
from tests.support.localcloud.training_lab import BUCKET

pytestmark = pytest.mark.local

SERVERLESS = {"ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 5}}
EXPECTED = [[0.1 * 1.0 + 0.7], [0.1 * 2.0 + 0.7]]
ROWS = b"[[1.0], [2.0]]"


@pytest.fixture(scope="module")
def endpoint(hosting: HostingLab) -> str:
    return hosting.endpoint()


@pytest.fixture(scope="module")
def async_endpoint(hosting: HostingLab) -> str:
    output = {"S3OutputPath": f"s3://{BUCKET}/async", "S3FailurePath": f"s3://{BUCKET}/async-failed/"}
    return hosting.endpoint(AsyncInferenceConfig={"OutputConfig": output})


def test_an_endpoint_answers_with_the_models_predictions_and_its_headers(hosting: HostingLab, endpoint: str) -> None:
    answer = hosting.runtime.invoke_endpoint(
        EndpointName=endpoint, Body=b"1\n2\n", ContentType="text/csv", CustomAttributes="trace=1"
    )

    assert hosting.predict(endpoint, ROWS) == EXPECTED
    assert [[float(text)] for text in answer["Body"].read().split()] == EXPECTED
    assert (answer["ContentType"], answer["CustomAttributes"]) == ("text/csv", "trace=1")
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    assert hosting.describe(endpoint)["ProductionVariants"][0]["CurrentInstanceCount"] == 1


def test_an_error_of_the_container_is_a_model_error(hosting: HostingLab, endpoint: str) -> None:
    with pytest.raises(ClientError) as caught:
        hosting.predict(endpoint, b"[1")
    response: Any = caught.value.response

    assert response["Error"]["Code"] == "ModelError"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == 400
    assert response["OriginalMessage"].startswith("not JSON: ")
    assert response["Error"]["Message"].startswith('Received client error (400) from primary with message "not JSON')
    assert response["LogStreamArn"].endswith(f"/aws/sagemaker/Endpoints/{endpoint}")


def test_what_cannot_be_invoked_is_refused_as_aws_does(hosting: HostingLab, endpoint: str, async_endpoint: str) -> None:
    def invoke(name: str, body: bytes = b"1") -> tuple[str, int, str]:
        return error_of(hosting.runtime.invoke_endpoint, EndpointName=name, Body=body, ContentType="text/csv")

    def invoke_async(name: str) -> tuple[str, int, str]:
        source = f"s3://{BUCKET}/x"
        return error_of(hosting.runtime.invoke_endpoint_async, EndpointName=name, InputLocation=source)

    assert invoke("nowhere") == ("ValidationError", 400, "Endpoint nowhere of account 123456789012 not found.")
    too_large = "Member must have length less than or equal to 6291456"
    assert invoke(endpoint, b"1" * 6_291_457)[2].endswith(too_large)
    assert "use InvokeEndpointAsync" in invoke(async_endpoint)[2]
    assert "is not for asynchronous inference" in invoke_async(endpoint)[2]


def test_an_asynchronous_request_writes_its_answer_or_its_failure(hosting: HostingLab, async_endpoint: str) -> None:
    hosting.lab.put({"async-in/good": ROWS.decode(), "async-in/bad": "[1"})
    answers = {
        name: hosting.runtime.invoke_endpoint_async(
            EndpointName=async_endpoint, InputLocation=f"s3://{BUCKET}/async-in/{name}", ContentType="application/json"
        )
        for name in ("good", "bad")
    }

    good, bad = answers["good"], answers["bad"]
    assert json.loads(wait_until(lambda: hosting.read(good["OutputLocation"]))) == EXPECTED
    failure = json.loads(wait_until(lambda: hosting.read(bad["FailureLocation"])))
    assert (failure["originalStatusCode"], hosting.read(bad["OutputLocation"])) == (400, None)


@pytest.mark.slow
def test_a_serverless_endpoint_becomes_one_with_instances_but_not_back(hosting: HostingLab) -> None:
    name = hosting.endpoint(SERVERLESS)
    instances, serverless = (
        hosting.create_config(hosting.create_model(), variant=variant) for variant in (None, SERVERLESS)
    )

    assert "CurrentServerlessConfig" in hosting.describe(name)["ProductionVariants"][0]
    assert hosting.predict(name, ROWS) == EXPECTED
    hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=instances)
    assert hosting.wait(name)["EndpointConfigName"] == instances
    assert hosting.predict(name, ROWS) == EXPECTED
    code, _, message = error_of(hosting.sagemaker.update_endpoint, EndpointName=name, EndpointConfigName=serverless)
    assert (code, message) == (
        "ValidationException",
        "Cannot update an instance-based endpoint to a serverless endpoint.",
    )


@pytest.mark.slow
def test_a_model_that_does_not_start_fails_and_can_be_deleted(hosting: HostingLab, tmp_path: Path) -> None:
    predict = "def load(folder): raise ValueError('no weights')\ndef predict(model, data): return 0\n"
    broken = hosting.create_model(hosting.upload("models/broken.tar.gz", tmp_path, predict))
    name = hosting.create(hosting.create_config(broken))

    assert "did not pass the ping health check" in hosting.wait(name, "Failed")["FailureReason"]
    group = f"/aws/sagemaker/Endpoints/{name}"
    (stream,) = hosting.lab.logs.describe_log_streams(logGroupName=group)["logStreams"]
    events = hosting.lab.logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])["events"]
    assert events[-1]["message"] == "serve: predict.py cannot load the model: no weights"
    hosting.sagemaker.delete_endpoint(EndpointName=name)
    wait_until(lambda: name not in endpoint_names(hosting))


@pytest.mark.slow
def test_an_update_to_a_broken_model_leaves_the_earlier_one_in_service(hosting: HostingLab) -> None:
    name = hosting.endpoint()
    hosting.s3.put_object(Bucket=BUCKET, Key="models/empty.tar.gz", Body=archive_of({"readme": b"x"}))
    config = hosting.create_config(hosting.create_model(f"s3://{BUCKET}/models/empty.tar.gz"))

    hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config)

    assert "ping" in hosting.wait(name)["FailureReason"]
    assert hosting.predict(name, ROWS) == EXPECTED
    hosting.sagemaker.delete_endpoint(EndpointName=name)


def endpoint_names(hosting: HostingLab) -> list[str]:
    pages = hosting.sagemaker.get_paginator("list_endpoints").paginate()
    return [item["EndpointName"] for page in pages for item in page["Endpoints"]]


def test_names_that_are_taken_or_missing_are_refused(hosting: HostingLab, endpoint: str) -> None:
    sagemaker, arn = hosting.sagemaker, "arn:aws:sagemaker:us-west-2:123456789012"
    config = hosting.describe(endpoint)["EndpointConfigName"]
    again = error_of(sagemaker.create_endpoint, EndpointName=endpoint, EndpointConfigName=config)
    missing = error_of(sagemaker.create_endpoint, EndpointName="x", EndpointConfigName="none")

    assert again[2] == f'Cannot create already existing endpoint "{arn}:endpoint/{endpoint}".'
    assert missing[2] == f'Could not find endpoint configuration "{arn}:endpoint-config/none".'
    assert error_of(sagemaker.describe_endpoint, EndpointName="x")[2] == f'Could not find endpoint "{arn}:endpoint/x".'
    assert error_of(sagemaker.delete_model, ModelName="x")[2] == f'Could not find model "{arn}:model/x".'


@pytest.mark.parametrize(
    ("variant", "arguments", "message"),
    [
        ({"InstanceType": "ml.p3.2xlarge", "InitialInstanceCount": 1}, {}, "ml.p3.2xlarge is not supported"),
        ({"InstanceType": "ml.x9.large", "InitialInstanceCount": 1}, {}, "failed to satisfy constraint"),
        ({"InstanceType": TYPE}, {}, "needs InstanceType and InitialInstanceCount"),
        ({"ServerlessConfig": {"MemorySizeInMB": 1500, "MaxConcurrency": 5}}, {}, "1024, 2048, 3072"),
        ({"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 500}}, {}, "failed to satisfy constraint"),
        (
            {"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 5, "ProvisionedConcurrency": 6}},
            {},
            "ProvisionedConcurrency must be less than or equal to MaxConcurrency",
        ),
        ({**SERVERLESS, "InstanceType": TYPE}, {}, "exclude each other"),
        (
            SERVERLESS,
            {"AsyncInferenceConfig": {"OutputConfig": {"S3OutputPath": "s3://b/o"}}},
            "AsyncInferenceConfig is not supported for serverless endpoints",
        ),
    ],
)
def test_a_configuration_that_sagemaker_refuses_names_its_rule(
    hosting: HostingLab, variant: dict[str, Any], arguments: dict[str, Any], message: str
) -> None:
    model = hosting.create_model()
    code, _, text = error_of(hosting.create_config, model=model, variant=variant, **arguments)

    assert code == "ValidationException"
    assert message in text


def test_more_instances_than_the_quota_are_refused(hosting: HostingLab) -> None:
    config = hosting.create_config(
        hosting.create_model(), variant={"InstanceType": "ml.g5.xlarge", "InitialInstanceCount": 21}
    )
    code, _, message = error_of(hosting.create, config=config)

    assert code == "ResourceLimitExceeded"
    assert message.startswith("The account-level service limit 'ml.g5.xlarge for endpoint usage' is 20 Instances")


def test_tags_are_kept(hosting: HostingLab, endpoint: str) -> None:
    arn = hosting.describe(endpoint)["EndpointArn"]
    hosting.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    hosting.sagemaker.delete_tags(ResourceArn=arn, TagKeys=["a"])

    assert hosting.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "b", "Value": "2"}]


@pytest.mark.slow
def test_a_transform_writes_one_output_for_each_object(hosting: HostingLab) -> None:
    hosting.lab.put({"batch/a.csv": "1\n2\n", "batch/deep/b.csv": "3\n"})
    name = hosting.transform(
        "batch/", input={"SplitType": "Line"}, output={"AssembleWith": "Line"}, BatchStrategy="SingleRecord"
    )

    assert hosting.wait_for_transform(name)["TransformJobStatus"] == "Completed"
    assert hosting.lab.keys(f"out/{name}/") == ["a.csv.out", "deep/b.csv.out"]
    lines = hosting.read(f"s3://{BUCKET}/out/{name}/a.csv.out")
    assert lines is not None
    assert [[float(line)] for line in lines.split()] == EXPECTED


@pytest.mark.slow
def test_a_transform_fails_with_the_containers_words_and_without_input(hosting: HostingLab) -> None:
    hosting.lab.put({"bad-batch/a.csv": "x\n"})
    bad, empty = (hosting.wait_for_transform(hosting.transform(prefix)) for prefix in ("bad-batch/", "no-batch/"))

    assert bad["FailureReason"].endswith("the container answered 400: line 1: 'x' is not a number")
    assert (empty["TransformJobStatus"], "No S3 objects found" in empty["FailureReason"]) == ("Failed", True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"MaxConcurrentTransforms": 4, "MaxPayloadInMB": 50}, "must not exceed 100 MB"),
        ({"BatchStrategy": "MultiRecord"}, "needs a SplitType other than None"),
        ({"TransformResources": {"InstanceType": "ml.p2.xlarge", "InstanceCount": 1}}, "ml.p2.xlarge is not supported"),
        ({"ModelName": "none"}, "Could not find model"),
    ],
)
def test_a_transform_that_sagemaker_refuses_names_its_rule(
    hosting: HostingLab, arguments: dict[str, Any], message: str
) -> None:
    assert message in error_of(hosting.transform, prefix="batch/", **arguments)[2]
