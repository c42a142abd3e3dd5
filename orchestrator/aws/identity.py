"""The identity behind the credentials, and the tags that identify a cluster."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core import json_file

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef, TagTypeDef

    from orchestrator.aws.client import Clients
    from orchestrator.config import settings

TAG_CLUSTER = "stratus:cluster"
TAG_OWNER = "stratus:owner"
TAG_OWNER_ID = "stratus:ownerid"  # tells apart the computers and people behind one role

IDENTITIES = "identities.json"
"""Digest of an access key and endpoint -> account, ARN, and the time (s) until which they are used."""

IDENTITY_TTL_S = 12 * 3600.0

_ATTEMPTS = 3  # first call of every session: a wrong region or a missing network must be reported within seconds


@dataclass(frozen=True)
class Identity:
    """Account and principal of the credentials."""

    account: str
    arn: str

    @property
    def owner(self) -> str:
        """Return the ARN without a generated session name, which changes with every session."""
        return re.sub(r"/(botocore-session-\d+|AWSCLI-Session)$", "", self.arn)


def role_of(owner: str) -> str:
    """Return the ARN of a role without the session; empty for a user, a name, or a session that names its person.

    Sessions of IAM Identity Center bear the name of the user, which AWS sets; any other session name is free to choose:
    https://docs.aws.amazon.com/singlesignon/latest/userguide/referencingpermissionsets.html
    """
    match = re.match(r"(arn:[\w-]+:sts::\d*:assumed-role/([^/]+))(/.+)?$", owner)
    if match is None or (match[2].startswith("AWSReservedSSO_") and match[3]):
        return ""
    return match[1]


def caller_identity(clients: Clients) -> Identity:
    """Return the identity of the credentials; one call, which needs no permission.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
    """
    with clients.translate_errors("looking up the AWS identity"):
        response = clients.service("sts", attempts=_ATTEMPTS).get_caller_identity()
    return Identity(account=response["Account"], arn=response["Arn"])


def known_identity(clients: Clients, home: Path) -> Identity:
    """Return the identity of the credentials, from a file of this computer if it was looked up in the last 12 h.

    An access key belongs to one account and one principal for as long as it exists, and a session of a role has an
    access key of its own. Whether the key is still valid is decided by the call that follows.

    :param home: folder of everything that is kept on this computer.
    """
    with clients.translate_errors("looking up the AWS identity"):
        credentials = clients.session.get_credentials()
        access_key = credentials.access_key if credentials else ""
    if not access_key:
        return caller_identity(clients)
    # A rehearsal and AWS may have one key. A digest: the file is no place for a name of credentials.
    digest = sha256(f"{access_key} {clients.endpoint_url}".encode()).hexdigest()
    now = clients.clock.now().timestamp()
    entries = {key: entry for key, entry in json_file.load(home, IDENTITIES).items() if _is_current(entry, now)}
    if digest in entries:
        return Identity(entries[digest]["account"], entries[digest]["arn"])
    identity = caller_identity(clients)
    entries[digest] = {"account": identity.account, "arn": identity.arn, "until": now + IDENTITY_TTL_S}
    # On a full disk, or in a read-only folder, it is looked up again.
    with suppress(OSError):
        json_file.save(home, IDENTITIES, entries)
    return identity


def _is_current(entry: object, now: float) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("until"), float):
        return False
    texts = (entry.get("account"), entry.get("arn"))
    return now < entry["until"] <= now + IDENTITY_TTL_S and all(isinstance(text, str) and text for text in texts)


@dataclass(frozen=True)
class ClusterId:
    """Identity of a cluster: name, owner, account and region.

    :param cluster: name of the cluster.
    :param owner: value of the tag ``stratus:owner``.
    :param account: AWS account number.
    :param region: such as ``us-west-2``.
    :param owner_id: value of the tag ``stratus:ownerid``; empty if the owner alone identifies it.
    :param is_caller: True if the owner is an ARN that AWS reported for this computer, which may change from one session
        to the next; False for a name from the settings or from the user.
    """

    cluster: str
    owner: str
    account: str
    region: str
    owner_id: str = ""
    is_caller: bool = field(default=False, compare=False)

    @property
    def resource_name(self) -> str:
        """Name of the cluster's key pair and security group, unique per owner and account."""
        # Key pair names must be unique in a region, group names in a VPC, and clusters of two owners may share a name.
        # Not the ARN of a role: it would name another key pair in every session.
        unique = self.owner_id if self.owner_id and role_of(self.owner) else self.owner
        return f"stratus-{self.cluster}-{sha256(f'{self.account}/{unique}'.encode()).hexdigest()[:8]}"

    @property
    def journal_fields(self) -> dict[str, str]:
        """The fields as journal entries store them."""
        fields = {"cluster": self.cluster, "owner": self.owner, "account": self.account, "region": self.region}
        return fields | ({"owner_id": self.owner_id} if self.owner_id else {})

    @property
    def tags(self) -> list[TagTypeDef]:
        """Tags of every resource of the cluster."""
        values = {TAG_CLUSTER: self.cluster, TAG_OWNER: self.owner}
        values |= {TAG_OWNER_ID: self.owner_id} if self.owner_id else {}
        return [{"Key": key, "Value": value} for key, value in values.items()]

    @property
    def filters(self) -> list[FilterTypeDef]:
        """Filters of Describe calls for resources in a cluster of this name, of any owner."""
        # Not by owner: two tags can tell it, and filters are combined with AND.
        return [tag_filter(TAG_CLUSTER, self.cluster)]

    def matches(self, tags: Iterable[TagTypeDef]) -> bool:
        """Return True if a resource with these tags belongs to the cluster."""
        values = {tag.get("Key"): tag.get("Value", "") for tag in tags}
        return values.get(TAG_CLUSTER) == self.cluster and self.owns(
            values.get(TAG_OWNER, ""), values.get(TAG_OWNER_ID, "")
        )

    def owns(self, owner: str, owner_id: str) -> bool:
        """Return True if resources with these values of the owner's tags belong to the cluster's owner."""
        if owner_id and owner_id == self.owner_id:
            return True
        # Several people may be behind a role: its ARN counts only when it was named, for what has no id.
        if role_of(owner) and (owner_id or self.is_caller):
            return False
        return bool(owner) and owner == self.owner

    def is_resource_name(self, name: str) -> bool:
        """Return True for the name of a key pair or security group of a cluster of this name, of any owner."""
        return re.fullmatch(rf"stratus-{re.escape(self.cluster)}-[0-9a-f]{{8}}", name) is not None

    def covers(self, recorded: ClusterId) -> bool:
        """Return True if an entry of this computer's journal is about this cluster, whatever the ARN was then."""
        here = (self.cluster, self.account, self.region)
        if here != (recorded.cluster, recorded.account, recorded.region):
            return False
        return (self.is_caller and recorded.is_caller) or self.owns(recorded.owner, recorded.owner_id)


def recorded_cluster_id(fields: Mapping[str, str]) -> ClusterId:
    """Return the cluster of a journal entry; entries of earlier versions have no owner id."""
    return ClusterId(
        cluster=fields["cluster"],
        owner=fields["owner"],
        account=fields["account"],
        region=fields["region"],
        owner_id=fields.get("owner_id", ""),
        is_caller=fields["owner"].startswith("arn:"),
    )


def cluster_id(
    clients: Clients, settings: settings.Settings, identity: Identity, find_owner_id: Callable[[], str] = str
) -> ClusterId:
    """Return the identity of the cluster in the settings; the owner defaults to the caller.

    :param find_owner_id: returns the owner id that is kept on this computer, or none; called only for a role.
    """
    name, account, region = settings.cluster.name, identity.account, clients.region
    if settings.cluster.owner:
        return ClusterId(name, settings.cluster.owner, account, region)
    owner_id = settings.cluster.owner_id or (find_owner_id() if role_of(identity.owner) else "")
    return ClusterId(name, identity.owner, account, region, owner_id, is_caller=True)


def named_cluster_id(own: ClusterId, owner: str) -> ClusterId:
    """Return the cluster of another owner, of the same name, account and region.

    :param owner: its owner id, its ARN, or its name.
    """
    # An id has no colon, so that it cannot be an ARN.
    owner_id = "" if owner.startswith("arn:") else owner
    return ClusterId(own.cluster, owner, own.account, own.region, owner_id)


def tag_filter(key: str, value: str) -> FilterTypeDef:
    r"""Return a filter for the exact value of one tag.

    EC2 reads ``*`` and ``?`` in filter values as wildcards, which ``\`` escapes:
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
    """
    return {"Name": f"tag:{key}", "Values": [re.sub(r"([*?\\])", r"\\\1", value)]}
