"""Evaluation of an IAM policy, as far as the one in docs/ needs it: actions, resources and conditions of each call.

moto enforces actions, but neither resources nor conditions; these are evaluated here, on the recorded calls. The
resources of a call, and the condition keys that EC2 sets for each, are listed in the Service Authorization Reference:
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.aws.wire import session
from tests.support.paths import ROOT

POLICY = ROOT / "docs/iam-policy.json"
SAGEMAKER_POLICY = ROOT / "docs/iam-policy-sagemaker.json"
DISKS_POLICY = ROOT / "docs/iam-policy-disks.json"
AWS = ROOT / "orchestrator/aws"
DISKS = AWS / "disks"
SAGEMAKER = AWS / "sagemaker"

Tags = Mapping[str, str]


@dataclass(frozen=True)
class Claim:
    """One pair of action and resource that a call must be allowed, with the condition keys that AWS sets.

    :param context: lower-cased condition key -> its values.
    """

    action: str
    resource: str
    context: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.action} on {self.resource} with {dict(self.context)}"


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _like(values: Sequence[str], wanted: Sequence[str]) -> bool:
    return bool(values) and all(any(fnmatchcase(value, pattern) for pattern in wanted) for value in values)


OPERATORS: dict[str, Callable[[Sequence[str], Sequence[str]], bool]] = {
    "StringEquals": lambda values, wanted: bool(values) and all(value in wanted for value in values),
    "StringLike": _like,
    "ForAnyValue:StringEquals": lambda values, wanted: any(value in wanted for value in values),
    "ForAllValues:StringEquals": lambda values, wanted: all(value in wanted for value in values),
    "Bool": lambda values, wanted: bool(values) and all(value in wanted for value in values),
}


@dataclass(frozen=True)
class Policy:
    """A policy document."""

    statements: tuple[Mapping[str, Any], ...]

    @classmethod
    def load(cls, *paths: Path) -> Policy:
        """Read policy files that are attached together; by default the one for EC2 alone."""
        documents = [json.loads(path.read_text(encoding="utf-8")) for path in paths or (POLICY,)]
        return cls(tuple(statement for document in documents for statement in document["Statement"]))

    @property
    def actions(self) -> set[str]:
        """All actions in the policy."""
        return {action for one in self.statements for action in _listed(one["Action"])}

    def without_conditions(self, *, but: Sequence[str] = ()) -> str:
        """Return the policy as moto can enforce it: no conditions, all resources, without the actions ``but``."""
        allowed = {"Effect": "Allow", "Action": sorted(self.actions - set(but)), "Resource": "*"}
        return json.dumps({"Version": "2012-10-17", "Statement": [allowed]})

    def allowing(self, claim: Claim) -> list[Mapping[str, Any]]:
        """Return the statements that allow a claim."""
        return [one for one in self.statements if _allows(one, claim)]


def _allows(statement: Mapping[str, Any], claim: Claim) -> bool:
    assert statement["Effect"] == "Allow", "Deny is not evaluated here"
    return (
        claim.action in _listed(statement["Action"])
        and any(fnmatchcase(claim.resource, pattern) for pattern in _listed(statement["Resource"]))
        and all(
            OPERATORS[operator](claim.context.get(key.lower(), []), _listed(wanted))
            for operator, conditions in statement.get("Condition", {}).items()
            for key, wanted in conditions.items()
        )
    )


# -- what a call claims ------------------------------------------------------------------------------------------------

EC2 = "arn:aws:ec2:us-west-2:123456789012"
MAKES = {
    "RunInstances": ("instance", "volume", "network-interface"),
    "CreateSecurityGroup": ("security-group",),
    "ImportKeyPair": ("key-pair",),
    "CreateImage": ("image", "snapshot"),
}
USES = {"CreateSecurityGroup": ("vpc",), "RunInstances": ("image", "subnet", "security-group", "key-pair")}
CHANGES = {
    "InstanceIds": "instance",
    "InstanceId": "instance",
    "GroupId": "security-group",
    "KeyPairId": "key-pair",
    "ImageId": "image",
    "SnapshotId": "snapshot",
}
KINDS = {
    "i": "instance",
    "sg": "security-group",
    "key": "key-pair",
    "vol": "volume",
    "eni": "network-interface",
    "ami": "image",
    "snap": "snapshot",
}
OF_NO_ACCOUNT = ("image", "snapshot")


def arn(kind: str, name: str) -> str:
    """Return the ARN of a resource of EC2; those of images have no account."""
    return f"arn:aws:ec2:us-west-2::{kind}/{name}" if kind in OF_NO_ACCOUNT else f"{EC2}:{kind}/{name}"


# https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html#mpuAndPermissions
S3_ACTIONS = {
    "HeadObject": "GetObject",
    "ListObjectsV2": "ListBucket",
    "ListParts": "ListMultipartUploadParts",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    **dict.fromkeys(("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"), "PutObject"),
}


@dataclass(frozen=True)
class Call:
    """One call as it was made.

    :param tags: of the resources that it names, as they were before it: id -> tags.
    """

    service: str
    operation: str
    parameters: Mapping[str, Any]
    tags: Mapping[str, Tags] = field(default_factory=dict)

    @property
    def action(self) -> str:
        """The action as policies name it."""
        return f"{self.service}:{S3_ACTIONS.get(self.operation, self.operation)}"

    def claims(self) -> Iterator[Claim]:
        """Yield everything that must be allowed for this call."""
        if self.operation == "GetAuthorizationToken":
            # Pulls with the login are authorized as the identity that requested it.
            yield Claim(self.action, "*")
            for action in ("BatchGetImage", "GetDownloadUrlForLayer"):
                yield Claim(f"ecr:{action}", "arn:aws:ecr:us-west-2:123456789012:repository/x")
        elif self.service == "ssm" and "Name" in self.parameters:
            yield Claim(self.action, f"arn:aws:ssm:us-west-2::parameter{self.parameters['Name']}")
        elif self.service == "iam":
            # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html
            kind = "InstanceProfile" if "InstanceProfile" in self.operation else "Role"
            name, resource = self.parameters[f"{kind}Name"], {"Role": "role"}.get(kind, "instance-profile")
            yield Claim(self.action, f"arn:aws:iam::123456789012:{resource}/{name}")
            if "Tags" in self.parameters:
                yield Claim(f"iam:Tag{kind}", f"arn:aws:iam::123456789012:{resource}/{name}")
        elif self.operation == "CreateTags":
            for resource in self.parameters["Resources"]:
                yield self._on(resource, {"aws:tagkeys": [tag["Key"] for tag in self.parameters["Tags"]]})
        elif self.operation in ("CreatePlacementGroup", "DeletePlacementGroup"):
            yield Claim(self.action, arn("placement-group", self.parameters["GroupName"]))
            for given in self.parameters.get("TagSpecifications", []):
                context = {"ec2:createaction": [self.operation]}
                yield Claim("ec2:CreateTags", arn(given["ResourceType"], "*"), context)
        elif self.operation in MAKES:
            yield from self._making()
        elif self.service == "s3":
            parts = [self.parameters[name] for name in ("Bucket", "Key") if name in self.parameters]
            yield Claim(self.action, f"arn:aws:s3:::{'/'.join(parts)}")
        elif self.service == "ec2" and not self.operation.startswith("Describe") and self.named:
            yield from (self._on(resource, {}) for resource in self.named)
        else:
            yield Claim(self.action, "*")

    @property
    def named(self) -> list[str]:
        """Ids of the existing resources that the call changes."""
        return [each for name in CHANGES for each in _listed(self.parameters.get(name, []))]

    def _on(self, resource: str, context: Mapping[str, Sequence[str]]) -> Claim:
        kind = KINDS[resource.partition("-")[0]]
        had = {f"aws:resourcetag/{key.lower()}": [value] for key, value in self.tags.get(resource, {}).items()}
        return Claim(self.action, arn(kind, resource), {**had, **context})

    def _making(self) -> Iterator[Claim]:
        given = {one["ResourceType"]: one["Tags"] for one in self.parameters.get("TagSpecifications", [])}
        metadata = self.parameters.get("MetadataOptions", {}).get("HttpTokens")
        for kind in MAKES[self.operation]:
            wanted = {f"aws:requesttag/{tag['Key'].lower()}": [tag["Value"]] for tag in given.get(kind, [])}
            if kind == "instance" and metadata:
                wanted["ec2:metadatahttptokens"] = [metadata]
            yield Claim(self.action, arn(kind, "*"), wanted)
        for kind, tags in given.items():
            names = {"aws:tagkeys": [tag["Key"] for tag in tags], "ec2:createaction": [self.operation]}
            yield Claim("ec2:CreateTags", arn(kind, "*"), names)
        for kind in USES.get(self.operation, ()):
            yield Claim(self.action, arn(kind, "x"))
        if group := self.parameters.get("Placement", {}).get("GroupName"):
            yield Claim(self.action, arn("placement-group", group))
        if self.operation == "CreateImage":
            yield self._on(self.parameters["InstanceId"], {})
        if profile := self.parameters.get("IamInstanceProfile"):
            role = str(profile.get("Name") or profile.get("Arn", "").rpartition("/")[2])
            yield Claim(
                "iam:PassRole", f"arn:aws:iam::123456789012:role/{role}", {"iam:passedtoservice": ["ec2.amazonaws.com"]}
            )


# -- recording, and what the code can call -----------------------------------------------------------------------------


@dataclass
class Recorder:
    """Records every call of a boto3 session with its parameters.

    :param tags_of: returns the present tags of some resources.
    """

    tags_of: Callable[[Sequence[str]], Mapping[str, Tags]]
    calls: list[Call] = field(default_factory=list)

    def watch(self, session: Any) -> None:
        """Record the calls of a boto3 session."""
        session.events.register("before-parameter-build", self._note)

    def _note(self, params: Mapping[str, Any], model: Any, **_: Any) -> None:
        call = Call(model.service_model.signing_name, model.name, dict(params))
        resources = call.named + list(params.get("Resources", []) if model.name == "CreateTags" else [])
        self.calls.append(Call(call.service, call.operation, call.parameters, self.tags_of(resources)))

    @property
    def actions(self) -> set[str]:
        """All actions called."""
        return {call.action for call in self.calls}


def callable_actions(package: Path = AWS) -> dict[str, str]:
    """Return every API call that the source of a package can make: action -> name of the module.

    The calls to SageMaker, and those for disks, have policies of their own; they are returned for their packages only.

    Calls are read from the syntax tree: an attribute of a client, or the name of a paginator or waiter. A client is the
    result of ``service("name")``, called in place or bound to a local variable, or of a function or property that
    returns it.

    :raises AssertionError: a client is obtained in a way that is not read here.
    """
    shared_paths = {AWS / "schedules.py"}
    others = [other for other in (SAGEMAKER, DISKS) if package != other]
    paths = [path for path in sorted(package.rglob("*.py")) if not any(other in path.parents for other in others)]
    # Of no other package's calls so far.
    paths = sorted({*paths, *shared_paths} if package == SAGEMAKER else {*paths} - shared_paths)
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    has_clients = AWS / "client.py" in trees or package == DISKS
    shared = _providers(ast.parse((AWS / "client.py").read_text(encoding="utf-8"))) if has_clients else {}
    return {
        action: path.name
        for path, tree in trees.items()
        for service, method in _uses(tree, {**shared, **_providers(tree)})
        if (action := _action(service, method))
    }


def _providers(tree: ast.Module) -> dict[str, str]:
    """Return the functions and properties that return a client: name -> service."""
    return {
        node.name: service
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name != "service"
        for inner in ast.walk(node)
        if isinstance(inner, ast.Return) and (service := _service(inner.value, {}))
    }


def _uses(tree: ast.Module, providers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield service and method of every call made with a client."""
    local = {
        target.id: service
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and (service := _service(node.value, providers))
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    known = {**providers, **local}
    _assert_read(tree, known)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (service := _service(node.value, known)):
            yield service, node.attr
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            waits = node.func.attr in ("get_paginator", "get_waiter") and isinstance(node.args[0], ast.Constant)
            if waits and (service := _service(node.func.value, known)):
                yield service, str(ast.literal_eval(node.args[0]))


def _service(node: ast.expr | None, known: Mapping[str, str]) -> str:
    """Return the service whose client an expression is; empty if it is none."""
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr == "service" and node.args:
            return str(ast.literal_eval(node.args[0]))
        return _service(node.func, known)
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return known.get(name, "")


def _assert_read(tree: ast.Module, known: Mapping[str, str]) -> None:
    """Fail if the result of ``service()`` goes where its calls are not read: into an argument, a list, a field."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in parents:
        if isinstance(node, ast.Call) and _service(node, {}):
            parent = parents[node]
            read = isinstance(parent, ast.Attribute | ast.Return) or (
                isinstance(parent, ast.Assign) and all(isinstance(target, ast.Name) for target in parent.targets)
            )
            assert read, f"line {node.lineno}: calls of this client are not read: {ast.unparse(parent)}"


def _action(service: str, method: str) -> str:
    """Return a client method's action as policies name it; empty if it makes no API call."""
    meta = _metadata(service)
    operation = meta.method_to_api_mapping.get(method)
    # CloudWatch signs as another service than policies name.
    prefix = {"monitoring": "cloudwatch"}.get(meta.service_model.signing_name, meta.service_model.signing_name)
    return f"{prefix}:{S3_ACTIONS.get(operation, operation)}" if operation else ""


@cache
def _metadata(service: str) -> Any:
    return session("x", "x").client(service).meta  # type: ignore[call-overload]
