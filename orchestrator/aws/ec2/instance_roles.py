"""The role of a cluster's VMs and its instance profile: least permissions on S3, creation and deletion.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/iam-roles-for-amazon-ec2.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from orchestrator.aws import errors
from orchestrator.aws.identity import ClusterId
from orchestrator.aws.storage.locations import S3Url
from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import TagTypeDef

    from orchestrator.aws.client import Clients

POLICY_NAME = "stratus"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_READ, _WRITE = "Read", "Write"
_ATTEMPTS = 3

Document = Mapping[str, Any]


@dataclass(frozen=True)
class InstanceRoleDocuments:
    """A role of VMs as it is to be; its instance profile has the same name.

    :param trust: allows EC2 to assume it.
    :param permissions: inline policy.
    """

    name: str
    trust: Document
    permissions: Document


def role_name(own: ClusterId) -> str:
    """Return the name of the role that Stratus creates for the VMs of a cluster; 64 characters at most."""
    # Roles belong to the account, clusters to a region and an owner.
    digest = sha256(f"{own.resource_name}/{own.region}".encode()).hexdigest()[:8]
    return f"stratus-vm-{own.cluster}-{digest}"


def documents(name: str, reads: Iterable[str], writes: Iterable[str], partition: str = "aws") -> InstanceRoleDocuments:
    """Return the documents of a role with the least permissions.

    :param reads: data that is only read: ``s3://bucket/prefix``.
    :param writes: folders of S3 whose objects are read, written and deleted.
    :param partition: first part of ARNs after ``arn``: ``aws``, ``aws-cn``.
    """
    statements = [
        *(item for number, url in enumerate(reads) for item in _read(number, S3Url.parse(url), partition)),
        *(item for number, url in enumerate(writes) for item in _write(number, S3Url.parse(url), partition)),
    ]
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    return InstanceRoleDocuments(
        name,
        {"Version": "2012-10-17", "Statement": [trust]},
        {"Version": "2012-10-17", "Statement": statements},
    )


def urls_in(permissions: Document) -> tuple[list[str], list[str]]:
    """Return the places that permissions allow to be read, and those to be written, as `documents` takes them."""
    return _urls(permissions, _READ), _urls(permissions, _WRITE)


def _urls(permissions: Document, sid: str) -> list[str]:
    statements = [item for item in permissions.get("Statement", ()) if str(item.get("Sid", "")).startswith(sid)]
    places = (str(item["Resource"][0]).partition(":::")[2] for item in statements)
    keys = (re.sub(r"\$\{([*?$])\}", r"\1", _without_wildcard(place)) for place in places)
    return [f"s3://{key}" for key in keys]


def _without_wildcard(place: str) -> str:
    return place.removesuffix("/*")


def _read(number: int, url: S3Url, partition: str) -> list[Document]:
    # The prefix may itself be the key of an object.
    key, bucket = _literal(url.key.rstrip("/")), f"arn:{partition}:s3:::{_bucket(url)}"
    names = [key, f"{key}/*"] if key else ["*"]
    objects = [f"{bucket}/{name}" for name in names]
    return [_allow(f"{_READ}{number}", ["s3:GetObject"], objects), *_list(f"ListInput{number}", bucket, names)]


def _write(number: int, url: S3Url, partition: str) -> list[Document]:
    key, bucket = _literal(url.key.rstrip("/")), f"arn:{partition}:s3:::{_bucket(url)}"
    name = f"{key}/*" if key else "*"
    actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    return [
        _allow(f"{_WRITE}{number}", actions, [f"{bucket}/{name}"]),
        *_list(f"ListOutput{number}", bucket, [name]),
    ]


def _bucket(url: S3Url) -> str:
    """Return the name of a bucket.

    :raises UsageError: it is none, such as *, which a policy takes for all buckets.
    """
    if not _BUCKET.fullmatch(url.bucket):
        raise UsageError(f"{url.bucket!r} is not the name of a bucket", where=str(url))
    return url.bucket


def _literal(key: str) -> str:
    """Return a key as policies name it: there *, ? and $ have a meaning.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-specialchars
    """
    return re.sub(r"[*?$]", r"${\g<0>}", key)


def _list(sid: str, bucket: str, names: Sequence[str]) -> list[Document]:
    return [{**_allow(sid, ["s3:ListBucket"], [bucket]), "Condition": {"StringLike": {"s3:prefix": list(names)}}}]


def _allow(sid: str, actions: list[str], resources: list[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}


def find(clients: Clients, name: str, own: ClusterId) -> tuple[str, Document]:
    """Return ARN and permissions of a role; both empty if it does not exist.

    :raises StratusError: IAM refused, or the role belongs to another cluster.
    """
    iam = _iam(clients)
    with clients.translate_errors(f"looking up the role {name}"):
        role = _unless_missing(lambda: iam.get_role(RoleName=name)["Role"])
        if role is None:
            return "", {}
        if not own.matches(role.get("Tags", ())):
            raise UsageError(f"the role {name} was not created for this cluster", fix="delete or rename it in IAM")
        policy = _unless_missing(lambda: iam.get_role_policy(RoleName=name, PolicyName=POLICY_NAME)["PolicyDocument"])
        profile = _unless_missing(lambda: iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"])
    # A creation that was interrupted is completed by the next one.
    is_complete = profile is not None and bool(profile["Roles"])
    return str(role["Arn"]), dict(policy) if policy and is_complete else {}


def create(clients: Clients, role: InstanceRoleDocuments, tags: Sequence[TagTypeDef]) -> str:
    """Create a role and its instance profile, or give the permissions to those that exist; return the role's ARN.

    :raises StratusError: IAM refused, or does not answer.
    """
    iam = _iam(clients)
    name = role.name
    with clients.translate_errors(f"creating the role {name}"):
        trust = json.dumps(role.trust)
        _unless(
            "EntityAlreadyExists",
            lambda: iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust, Tags=list(tags)),
        )
        iam.put_role_policy(RoleName=name, PolicyName=POLICY_NAME, PolicyDocument=json.dumps(role.permissions))
        _unless("EntityAlreadyExists", lambda: iam.create_instance_profile(InstanceProfileName=name, Tags=list(tags)))
        # A profile has one role at most.
        _unless("LimitExceeded", lambda: iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name))
        return str(iam.get_role(RoleName=name)["Role"]["Arn"])


def delete(clients: Clients, name: str) -> None:
    """Delete a role and its instance profile; what is missing already counts as deleted.

    :raises StratusError: IAM refused, or does not answer.
    """
    iam = _iam(clients)
    with clients.translate_errors(f"deleting the role {name}"):
        for call in (
            lambda: iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=name),
            lambda: iam.delete_instance_profile(InstanceProfileName=name),
            lambda: iam.delete_role_policy(RoleName=name, PolicyName=POLICY_NAME),
            lambda: iam.delete_role(RoleName=name),
        ):
            _unless_missing(call)


def missing_role(name: str) -> UsageError:
    """Return the error for a role that is to be deleted and does not exist."""
    return UsageError(f"there is no role {name}", fix=NextStep("InstanceRole") + "  shows what it would be")


def _unless_missing(call: Callable[[], Any]) -> Any:
    return _unless("NoSuchEntity", call)


def _unless(code: str, call: Callable[[], Any]) -> Any:
    """Return the result of a call; None if AWS refused it with a code."""
    try:
        return call()
    except errors.error_types() as error:
        if errors.code_of(error) != code:
            raise
        return None


def _iam(clients: Clients) -> Any:
    return clients.service("iam", attempts=_ATTEMPTS)
