"""Translation of AWS errors: every refusal and failed request becomes a StratusError with a fix."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from typing import Any

import botocore.exceptions
import botocore.session
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.aws import error_codes, errors
from orchestrator.core.errors import CloudRefused, StratusError, UsageError

NOON = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


def refused(
    code: str,
    message: str = "said AWS",
    *,
    status: int = 400,
    operation: str = "RunInstances",
    date: str = "Fri, 20 Nov 2026 12:00:00 GMT",
) -> ClientError:
    metadata: Any = {"HTTPStatusCode": status, "HTTPHeaders": {"date": date}}
    return ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}, operation)


def text_of(error: Exception, profile: str = "lab") -> str:
    return str(errors.translate(error, action="launching 2 x c7i.2xlarge", profile=profile, now=NOON))


REFUSALS = [  # code, message of AWS, expected texts
    (
        "AuthFailure",
        "AWS was not able to validate the provided access credentials",
        "does not accept these keys",
        "--profile lab",
    ),
    ("InvalidClientTokenId", "The security token included in the request is invalid", "does not accept these keys"),
    ("UnrecognizedClientException", "The security token included in the request is invalid", "not accept these keys"),
    ("AuthFailure", "Not authorized for images: [ami-1]", "image is not shared", "[cluster] image"),
    (
        "ExpiredToken",
        "The security token included in the request is expired",
        "session has expired",
        "aws sso login --profile lab",
    ),
    ("ExpiredTokenException", "The security token included in the request is expired", "session has expired"),
    (
        "UnauthorizedOperation",
        "You are not authorized to perform this operation. User: arn:aws:iam::1:user/ada is not "
        "authorized to perform: ec2:RunInstances on resource: arn:aws:ec2:us-west-2:1:instance/*",
        '{"Effect": "Allow", "Action": "ec2:RunInstances", "Resource": "*"}',
    ),
    ("UnauthorizedOperation", "You are not authorized to perform this operation.", '"Action": "ec2:RunInstances"'),
    (
        "AccessDeniedException",
        "User: arn is not authorized to perform: ssm:GetParameter on resource: x with an "
        "explicit deny in a service control policy",
        "explicit deny forbids ssm:GetParameter",
        "organization",
    ),
    ("OptInRequired", "You are not subscribed to this service", "not signed up"),
    ("Blocked", "This account is currently blocked", "has blocked this account"),
    ("PendingVerification", "Your account is currently being verified", "still verifying"),
    (
        "VcpuLimitExceeded",
        "You have requested more vCPU capacity than your current vCPU limit of 0 allows",
        "quota is too small",
        "servicequotas",
    ),
    (
        "InsufficientInstanceCapacity",
        "We currently do not have sufficient g5.xlarge capacity",
        "no capacity for this instance type",
        "another zone",
    ),
    (
        "Unsupported",
        "Your requested instance type (c7i.2xlarge) is not supported in your requested Availability Zone",
        "not supported in your requested",
        "[aws] subnet_id",
    ),
    ("InsufficientFreeAddressesInSubnet", "There are not enough free addresses in subnet", "no free IP addresses"),
    ("InvalidInstanceType", "The following supplied instance types do not exist: [c9i]", "[cluster] instance_type"),
    ("InvalidAMIID.NotFound", "The image id '[ami-1]' does not exist", "[cluster] image"),
    ("InvalidSubnetID.NotFound", "The subnet ID 'subnet-1' does not exist", "[aws] subnet_id"),
    ("InvalidGroup.NotFound", "The security group 'sg-1' does not exist", "[aws] security_group_id"),
    ("InvalidKeyPair.NotFound", "The key pair 'k' does not exist", "[aws] key_name"),
    ("InvalidParameter", "Security group sg-1 and subnet subnet-1 belong to different networks.", "of one VPC"),
    (
        "InvalidParameterValue",
        "Value (x) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name",
        "instance profile does not exist",
    ),
    ("IdempotentParameterMismatch", "the arguments differ", "same token", "Status()"),
    (
        "OperationNotPermitted",
        "The instance 'i-1' may not be terminated. Modify its 'disableApiTermination' instance "
        "attribute and try again.",
        "protected",
        "--no-disable-api-termination",
    ),
    ("DependencyViolation", "resource sg-1 has a dependent object", "still depends on it"),
    ("RequestLimitExceeded", "Request limit exceeded.", "throttling requests"),
    ("InternalError", "An internal error has occurred", "reports an internal error"),
    ("BrandNewError", "words of next year", "launching 2 x c7i.2xlarge: words of next year (BrandNewError)"),
]


@pytest.mark.parametrize("row", REFUSALS, ids=lambda row: row[0])
def test_a_refusal_keeps_message_and_code_of_aws_and_has_a_fix(row: tuple[str, ...]) -> None:
    code, message, *expected = row
    error = errors.translate(refused(code, message), action="launching 2 x c7i.2xlarge", profile="lab", now=NOON)

    assert isinstance(error, CloudRefused)
    assert (error.exit_code, error.code) == (3, code)
    assert message.rstrip(".") in str(error)
    for text in ["launching 2 x c7i.2xlarge", *expected]:
        assert text in str(error)


@pytest.mark.parametrize(
    ("date", "clock"),
    [
        ("Fri, 20 Nov 2026 12:10:00 GMT", "clock is 600 s behind"),
        ("Fri, 20 Nov 2026 11:50:00 GMT", "clock is 600 s ahead"),
    ],
)
def test_an_expired_signature_names_the_clock_difference(date: str, clock: str) -> None:
    assert clock in text_of(refused("RequestExpired", "Request has expired.", date=date))
    assert clock in text_of(refused("SignatureDoesNotMatch", "Signature expired: x is now earlier than y", date=date))


def test_a_correct_clock_is_not_mentioned() -> None:
    assert "computer's clock is" not in text_of(refused("RequestExpired", "Request has expired."))
    assert "computer's clock is" not in text_of(refused("RequestExpired", "Request has expired.", date="whenever"))


@pytest.mark.parametrize(
    ("code", "status", "reaction"),
    [
        ("InsufficientInstanceCapacity", 500, "zone"),
        ("Unsupported", 400, "zone"),
        ("VcpuLimitExceeded", 400, "region"),
        ("RequestLimitExceeded", 503, "retry"),
        ("ThrottlingException", 400, "retry"),
        ("InternalError", 500, "ambiguous"),
        ("NobodyKnowsThis", 502, "ambiguous"),
        ("NobodyKnowsThis", 400, "user_error"),
        ("UnauthorizedOperation", 403, "user_error"),
        ("InvalidInstanceID.NotFound", 400, "wait"),
    ],
)
def test_every_code_has_one_reaction(code: str, status: int, reaction: error_codes.Reaction) -> None:
    assert errors.reaction(refused(code, status=status)) == reaction


@pytest.mark.parametrize(
    ("error", "reaction"),
    [
        (botocore.exceptions.EndpointConnectionError(endpoint_url="u"), "retry"),
        (botocore.exceptions.ConnectTimeoutError(endpoint_url="u"), "retry"),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="u"), "ambiguous"),
        (botocore.exceptions.ConnectionClosedError(endpoint_url="u"), "ambiguous"),
        (botocore.exceptions.SSLError(endpoint_url="u", error=OSError("e")), "user_error"),
        (botocore.exceptions.NoCredentialsError(), "user_error"),
    ],
)
def test_without_an_answer_the_reaction_depends_on_whether_aws_got_the_request(error: Exception, reaction: str) -> None:
    assert errors.reaction(error) == reaction


def test_missing_credentials_name_the_sources_and_are_a_usage_error() -> None:
    error = errors.translate(botocore.exceptions.NoCredentialsError(), action="asking AWS who you are", profile="lab")

    assert isinstance(error, UsageError)
    for place in ("AWS_ACCESS_KEY_ID", "~/.aws/credentials", "instance role", "aws configure"):
        assert place in str(error)


def test_incomplete_credentials_name_the_missing_half() -> None:
    error = botocore.exceptions.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY")

    assert "AWS_SECRET_ACCESS_KEY is missing" in text_of(error)


@pytest.mark.parametrize(
    "error",
    [
        botocore.exceptions.SSOTokenLoadError(error_msg="x"),
        botocore.exceptions.UnauthorizedSSOTokenError(),
        botocore.exceptions.TokenRetrievalError(provider="sso", error_msg="x"),
    ],
)
def test_all_errors_of_an_expired_login_have_the_same_message_and_fix(error: Exception) -> None:
    assert text_of(error) == (
        "AWS profile lab is not logged in, or its login has expired\n  aws sso login --profile lab"
    )


def test_an_unknown_region_is_recognized_by_its_endpoint_and_gets_a_suggestion() -> None:
    error = botocore.exceptions.EndpointConnectionError(endpoint_url="https://ec2.us-wst-2.amazonaws.com/")

    assert "there is no AWS region 'us-wst-2'. Did you mean us-west-2?" in text_of(error)
    assert "there is no AWS region 'us west-2'. Did you mean us-west-2?" in text_of(
        botocore.exceptions.InvalidRegionError(region_name="us west-2")
    )


def test_no_connection_to_an_existing_region_is_a_network_error() -> None:
    error = botocore.exceptions.EndpointConnectionError(endpoint_url="https://ec2.us-west-2.amazonaws.com/")

    assert "no AWS region" not in text_of(error)
    assert "check the network" in text_of(error)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_no_connection_to_this_computer_is_an_embedded_cloud_that_does_not_run(host: str) -> None:
    error = botocore.exceptions.EndpointConnectionError(endpoint_url=f"http://{host}:4566/")

    assert "the embedded cloud is not running at this address" in text_of(error)
    assert "check the network" not in text_of(error)


def every_botocore_error() -> list[type[Exception]]:
    classes = [member for _, member in inspect.getmembers(botocore.exceptions, inspect.isclass)]
    return [cls for cls in classes if issubclass(cls, botocore.exceptions.BotoCoreError)]


@pytest.mark.parametrize("kind", every_botocore_error(), ids=lambda kind: kind.__name__)
def test_every_error_of_botocore_is_translated(kind: type[Exception]) -> None:
    fields = {"endpoint_url", "error", "error_msg", "profile", "provider", "cred_var", "region_name", "msg", "path"}
    error = kind.__new__(kind)
    Exception.__init__(error, "text")
    error.kwargs = dict.fromkeys(fields, "x")  # type: ignore[attr-defined]

    assert isinstance(errors.translate(error, action="launching"), StratusError)


def test_a_stratus_error_passes_unchanged() -> None:
    error = UsageError("x")

    assert errors.translate(error, action="launching") is error
    with pytest.raises(UsageError) as caught, errors.translate_errors("launching"):
        raise error
    assert caught.value is error


@pytest.mark.slow
@given(st.text(max_size=40), st.text(max_size=200))
def test_any_code_and_message_can_be_translated(code: str, said: str) -> None:
    error = errors.translate(refused(code, said), action="launching")

    assert isinstance(error, CloudRefused)
    assert error.code == code


def test_every_row_of_the_table_can_be_reached() -> None:
    for row in error_codes.TABLE:
        for code in row.codes:
            assert error_codes.look_up(code.replace("*", "X"), row.contains) is not error_codes.UNKNOWN


@pytest.mark.parametrize(
    ("service", "operation", "action"),
    [
        ("ec2", "RunInstances", "ec2:RunInstances"),
        ("sagemaker", "CreateTrainingJob", "sagemaker:CreateTrainingJob"),
        ("sagemaker-runtime", "InvokeEndpoint", "sagemaker:InvokeEndpoint"),
        ("efs", "CreateFileSystem", "elasticfilesystem:CreateFileSystem"),
        ("service-quotas", "ListServiceQuotas", "servicequotas:ListServiceQuotas"),
        ("cloudwatch", "PutMetricAlarm", "cloudwatch:PutMetricAlarm"),
        ("application-autoscaling", "PutScalingPolicy", "application-autoscaling:PutScalingPolicy"),
        ("s3", "ListObjectsV2", "s3:ListBucket"),
        ("s3", "UploadPart", "s3:PutObject"),
        ("s3", "GetObject", "s3:GetObject"),
    ],
)
def test_the_policy_to_add_has_the_prefix_of_the_service_that_refused(
    service: str, operation: str, action: str
) -> None:
    model = botocore.session.Session().get_service_model(service).operation_model(operation)
    error = refused("AccessDenied", "Access Denied", operation=operation)
    errors.note_service(model, error.response)

    assert f'"Action": "{action}"' in text_of(error)
