"""Execution role: its documents, as IAM would evaluate them, and its creation in the embedded cloud."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from orchestrator.aws.sagemaker import roles
from orchestrator.aws.sagemaker.roles import RoleScope
from orchestrator.core.errors import CloudRefused, UsageError
from tests.support.aws.iam_policy import Claim, Policy
from tests.support.simulated_project import SimulatedProject

Simulate = Callable[..., SimulatedProject]

SCOPE = RoleScope("123456789012", "us-west-2", "own-bucket", ("s3://data/cifar/",))
LOGS = "arn:aws:logs:us-west-2:123456789012:log-group"


@pytest.mark.parametrize(
    ("action", "resource", "context", "is_allowed"),
    [
        ("s3:PutObject", "arn:aws:s3:::own-bucket/stratus/ml/run/output/model.tar.gz", {}, True),
        ("s3:PutObject", "arn:aws:s3:::own-bucket/other", {}, False),
        ("s3:GetObject", "arn:aws:s3:::data/cifar/train/1.npz", {}, True),
        ("s3:GetObject", "arn:aws:s3:::data/cifar2/1.npz", {}, False),
        ("s3:PutObject", "arn:aws:s3:::data/cifar/train/1.npz", {}, False),
        ("s3:DeleteObject", "arn:aws:s3:::own-bucket/stratus/ml/run/checkpoints/1", {}, True),
        ("s3:DeleteObject", "arn:aws:s3:::own-bucket/stratus/ml/run/output/model.tar.gz", {}, False),
        ("s3:ListBucket", "arn:aws:s3:::own-bucket", {"s3:prefix": ["stratus/ml/"]}, True),
        ("s3:ListBucket", "arn:aws:s3:::own-bucket", {"s3:prefix": ["private/"]}, False),
        ("ecr:BatchGetImage", "arn:aws:ecr:us-west-2:763104351884:repository/pytorch-training", {}, True),
        ("ecr:PutImage", "arn:aws:ecr:us-west-2:123456789012:repository/x", {}, False),
        ("logs:PutLogEvents", f"{LOGS}:/aws/sagemaker/TrainingJobs:log-stream:x", {}, True),
        ("logs:PutLogEvents", f"{LOGS}:/aws/lambda/x", {}, False),
        ("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": ["/aws/sagemaker/TrainingJobs"]}, True),
        ("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": ["AWS/EC2"]}, False),
        ("ec2:CreateNetworkInterface", "*", {}, False),
        ("iam:PassRole", "*", {}, False),
    ],
)
def test_the_role_may_use_the_projects_own_and_nothing_else(
    action: str, resource: str, context: dict[str, list[str]], is_allowed: bool
) -> None:
    policy = Policy(tuple(roles.documents("x", SCOPE).permissions["Statement"]))

    assert bool(policy.allowing(Claim(action, resource, context))) == is_allowed


def test_jobs_in_subnets_may_join_them() -> None:
    scope = RoleScope("123456789012", "us-west-2", "own-bucket", in_vpc=True)
    policy = Policy(tuple(roles.documents("x", scope).permissions["Statement"]))

    assert policy.allowing(Claim("ec2:CreateNetworkInterface", "*"))


def test_a_role_is_created_once_with_its_documents_and_trusts_one_account(simulate: Simulate) -> None:
    context = simulate().session().context
    name = roles.role_name(context.cluster_id)
    with pytest.raises(UsageError, match="the role stratus-sagemaker-ml-us-west-2 does not exist") as caught:
        roles.execution_role_arn(context.clients, "", context.cluster_id)
    assert "SageMakerRole()" in str(caught.value)

    documents = roles.documents(name, SCOPE)
    arns = {roles.create(context.clients, documents, context.cluster_id.tags) for _ in range(2)}
    role = context.clients.service("iam").get_role(RoleName=name)["Role"]

    assert arns == {role["Arn"]} == {roles.role_arn("123456789012", name)}
    assert roles.execution_role_arn(context.clients, "", context.cluster_id) == role["Arn"]
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}
    assert roles.current_permissions(context.clients, name) == json.loads(json.dumps(documents.permissions))
    assert {"Key": "stratus:cluster", "Value": "ml"} in role["Tags"]


def test_a_new_role_is_waited_for_and_other_refusals_are_not(simulate: Simulate) -> None:
    clock = simulate().clock
    late = CloudRefused("Could not assume role arn:aws:iam::1:role/x", code="ValidationException")
    answers: Iterator[CloudRefused | str] = iter([late, late, "made"])

    def call() -> str:
        answer = next(answers)
        if not isinstance(answer, str):
            raise answer
        return answer

    def refuse(refusal: CloudRefused) -> Callable[[], str]:
        def raise_it() -> str:
            raise refusal

        return raise_it

    start = clock.monotonic()
    assert roles.when_assumable(clock, call) == "made"
    assert 2 <= clock.monotonic() - start < 20
    start = clock.monotonic()
    with pytest.raises(CloudRefused, match="Could not assume"):
        roles.when_assumable(clock, refuse(late))
    assert clock.monotonic() - start == pytest.approx(60)
    with pytest.raises(CloudRefused, match="bad name"):
        roles.when_assumable(clock, refuse(CloudRefused("bad name", code="ValidationException")))
    assert clock.monotonic() - start == pytest.approx(60)
