"""Execution role of SageMaker's containers: its documents, creation, and the wait until SageMaker may assume it.

https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.aws import errors
from orchestrator.aws.identity import ClusterId
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import CloudRefused, UsageError
from orchestrator.core.next_step import NextStep

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import TagTypeDef

    from orchestrator.aws.client import Clients
    from orchestrator.core.clock import Clock

POLICY_NAME = "stratus"
PREFIX = "stratus"
"""Prefix of all objects of Stratus in the bucket."""
PROPAGATION_S = 60.0
"""Longest wait for a new role; usually seconds: https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_general.html"""
_READ = "ReadInput"
_ATTEMPTS = 3
_BACKOFF = Backoff(first_s=2.0, longest_s=10.0)

Document = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class RoleScope:
    """Resources that the containers of a project may use.

    :param partition: first part of ARNs after ``arn``: ``aws``, ``aws-cn``.
    :param bucket: for code, results and checkpoints; read and written.
    :param inputs: further data that is only read: ``s3://bucket/prefix``.
    :param in_vpc: True if jobs run in subnets of the user's, for EFS and FSx.
    """

    account: str
    region: str
    bucket: str
    inputs: tuple[str, ...] = ()
    in_vpc: bool = False
    partition: str = "aws"


@dataclass(frozen=True)
class RoleDocuments:
    """A role as it is to be.

    :param trust: allows SageMaker to assume it, on behalf of this account only.
    :param permissions: inline policy.
    """

    name: str
    trust: Document
    permissions: Document


def role_name(own: ClusterId) -> str:
    """Return the name of the role that Stratus creates for a cluster; 64 characters at most."""
    return f"stratus-sagemaker-{own.cluster}-{own.region}"


def role_arn(account: str, name: str, partition: str = "aws") -> str:
    """Return the ARN of a role without a path."""
    return f"arn:{partition}:iam::{account}:role/{name}"


def find_arn(clients: Clients, name: str) -> str:
    """Return the ARN of a role; empty if it does not exist.

    :raises StratusError: IAM refused, or does not answer.
    """
    with clients.translate_errors(f"looking up the role {name}"):
        try:
            return str(_iam(clients).get_role(RoleName=name)["Role"]["Arn"])
        except errors.error_types() as error:
            if errors.code_of(error) != "NoSuchEntity":
                raise
            return ""


def execution_role_arn(clients: Clients, setting: str, own: ClusterId) -> str:
    """Return the ARN of the role that SageMaker's containers are to have.

    :param setting: ``[sagemaker] role``: a name or an ARN; empty for the role that Stratus has created.
    :raises UsageError: there is no such role.
    """
    if setting.startswith("arn:"):
        return setting
    name = setting or role_name(own)
    if arn := find_arn(clients, name):
        return arn
    raise UsageError(
        f"SageMaker needs an execution role, and the role {name} does not exist",
        fix=NextStep("SageMakerRole") + "  creates one with the least permissions"
        if not setting
        else f"correct [sagemaker] role, or leave it empty: {role_name(own)} is then used",
    )


def current_permissions(clients: Clients, name: str) -> Document | None:
    """Return the inline policy that Stratus gave to a role; None if the role has none of that name.

    :raises StratusError: IAM refused, or does not answer.
    """
    with clients.translate_errors(f"reading the policy of the role {name}"):
        try:
            policy = _iam(clients).get_role_policy(RoleName=name, PolicyName=POLICY_NAME)["PolicyDocument"]
        except errors.error_types() as error:
            if errors.code_of(error) != "NoSuchEntity":
                raise
            return None
    return dict(policy)


def create(clients: Clients, role: RoleDocuments, tags: Sequence[TagTypeDef]) -> str:
    """Create a role, or give the permissions to one that exists; return its ARN.

    :raises StratusError: IAM refused, or does not answer.
    """
    iam = _iam(clients)
    with clients.translate_errors(f"creating the role {role.name}"):
        try:
            arn = iam.create_role(RoleName=role.name, AssumeRolePolicyDocument=json.dumps(role.trust), Tags=list(tags))[
                "Role"
            ]["Arn"]
        except errors.error_types() as error:
            if errors.code_of(error) != "EntityAlreadyExists":
                raise
            arn = iam.get_role(RoleName=role.name)["Role"]["Arn"]
        iam.put_role_policy(RoleName=role.name, PolicyName=POLICY_NAME, PolicyDocument=json.dumps(role.permissions))
    return str(arn)


def when_assumable(clock: Clock, call: Callable[[], T]) -> T:
    """Return the result of a call that names a role; IAM may need seconds until SageMaker can assume a new one.

    :raises CloudRefused: SageMaker refused the call, or cannot assume the role after a minute.
    """
    for waited_s in clock.attempts(PROPAGATION_S, _BACKOFF):
        try:
            return call()
        except CloudRefused as refusal:
            if not _is_unassumable(refusal) or waited_s >= PROPAGATION_S:
                raise
            last = refusal
    raise last


def _is_unassumable(refusal: CloudRefused) -> bool:
    # SageMaker: "Could not assume role arn:...". EventBridge Scheduler: "The execution role you provide must allow AWS
    # EventBridge Scheduler to assume the role."
    text = refusal.message.lower()
    return "could not assume role" in text or "to assume the role" in text


def documents(name: str, scope: RoleScope) -> RoleDocuments:
    """Return the documents of an execution role with the least permissions.

    https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html#sagemaker-roles-createtrainingjob-perms
    """
    statements = [
        *_storage(scope),
        *_image(scope),
        *_output(scope),
        *(_network() if scope.in_vpc else ()),
    ]
    permissions = {"Version": "2012-10-17", "Statement": statements}
    return RoleDocuments(name, _trust("sagemaker.amazonaws.com", scope.account), permissions)


def inputs_of(permissions: Document) -> list[str]:
    """Return the data that permissions allow to be read besides the project's own: ``s3://bucket/prefix``."""
    statements = [item for item in permissions.get("Statement", ()) if str(item.get("Sid", "")).startswith(_READ)]
    resources = [[item["Resource"]] if isinstance(item["Resource"], str) else item["Resource"] for item in statements]
    # Of two, the first is the name itself, the second what is below it.
    return [f"s3://{first.partition(':::')[2].removesuffix('*')}" for first, *_ in resources]


def pass_role_statement(arn: str) -> Document:
    """Return the statement that a user needs to hand the role to SageMaker."""
    return {
        "Effect": "Allow",
        "Action": "iam:PassRole",
        "Resource": arn,
        "Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
    }


def _trust(service: str, account: str) -> Document:
    # Without the condition, SageMaker could be made to use the role for another account (confused deputy).
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceAccount": account}},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def _storage(scope: RoleScope) -> list[Document]:
    own = f"arn:{scope.partition}:s3:::{scope.bucket}"
    statements = [
        _allow("OwnObjects", ["s3:GetObject", "s3:PutObject"], f"{own}/{PREFIX}/*"),
        # SageMaker keeps the prefix of checkpoints equal to the container's folder.
        _allow("EndOldCheckpoints", "s3:DeleteObject", f"{own}/{PREFIX}/*/checkpoints/*"),
        _allow("ListOwnObjects", "s3:ListBucket", own, {"StringLike": {"s3:prefix": [f"{PREFIX}/*"]}}),
    ]
    for number, url in enumerate(scope.inputs):
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        other = f"arn:{scope.partition}:s3:::{bucket}"
        # A pattern is a beginning of text: x* would allow xyz/ as well.
        patterns = [f"{prefix}*"] if prefix.endswith("/") or not prefix else [prefix, f"{prefix}/*"]
        condition = {"StringLike": {"s3:prefix": patterns}}
        readable = [f"{other}/{pattern}" for pattern in patterns]
        statements += [
            _allow(f"{_READ}{number}", "s3:GetObject", readable if len(readable) > 1 else readable[0]),
            _allow(f"ListInput{number}", "s3:ListBucket", other, condition),
        ]
    return statements


def _image(scope: RoleScope) -> list[Document]:
    pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    repositories = f"arn:{scope.partition}:ecr:{scope.region}:*:repository/*"
    return [
        _allow("LogInToRegistry", "ecr:GetAuthorizationToken", "*"),
        # Of any account: AWS's own images lie in accounts of AWS, and their policies allow the pull.
        _allow("PullImage", pull, repositories),
    ]


def _output(scope: RoleScope) -> list[Document]:
    logs = f"arn:{scope.partition}:logs:{scope.region}:{scope.account}:log-group:/aws/sagemaker/*"
    write = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    metrics = {"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}}
    return [_allow("WriteLogs", write, logs), _allow("WriteMetrics", "cloudwatch:PutMetricData", "*", metrics)]


def _network() -> list[Document]:
    interfaces = ["CreateNetworkInterface", "CreateNetworkInterfacePermission"]
    interfaces += ["DeleteNetworkInterface", "DeleteNetworkInterfacePermission"]
    described = ["NetworkInterfaces", "Vpcs", "DhcpOptions", "Subnets", "SecurityGroups"]
    # EC2 limits none of the Describe calls to a resource.
    actions = [f"ec2:{call}" for call in interfaces] + [f"ec2:Describe{kind}" for kind in described]
    return [_allow("JoinSubnets", actions, "*")]


def _iam(clients: Clients) -> Any:
    return clients.service("iam", attempts=_ATTEMPTS)


def _allow(sid: str, action: str | list[str], resource: str | list[str], condition: Document | None = None) -> Document:
    statement = {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": resource}
    return {**statement, "Condition": condition} if condition else statement
