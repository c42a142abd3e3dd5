"""The identity behind the credentials, and the tags that identify a cluster."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef, TagTypeDef

    from orchestrator.aws.client import Clients
    from orchestrator.config import settings

TAG_CLUSTER = "stratus:cluster"
TAG_OWNER = "stratus:owner"

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


def caller_identity(clients: Clients) -> Identity:
    """Return the identity of the credentials; one call, which needs no permission.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
    """
    with clients.translate_errors("looking up the AWS identity"):
        response = clients.service("sts", attempts=_ATTEMPTS).get_caller_identity()
    return Identity(account=response["Account"], arn=response["Arn"])


@dataclass(frozen=True)
class ClusterId:
    """Identity of a cluster: name, owner, account and region.

    :param cluster: name of the cluster.
    :param owner: value of the tag ``stratus:owner``.
    :param account: AWS account number.
    :param region: such as ``us-west-2``.
    """

    cluster: str
    owner: str
    account: str
    region: str

    @property
    def resource_name(self) -> str:
        """Name of the cluster's key pair and security group, unique per owner and account."""
        # Key pair names must be unique in a region, group names in a VPC, and clusters of two owners may share a name.
        return f"stratus-{self.cluster}-{sha256(f'{self.account}/{self.owner}'.encode()).hexdigest()[:8]}"

    @property
    def journal_fields(self) -> dict[str, str]:
        """The fields as journal entries store them."""
        return asdict(self)

    @property
    def tags(self) -> list[TagTypeDef]:
        """Tags of every resource of the cluster."""
        return [{"Key": TAG_CLUSTER, "Value": self.cluster}, {"Key": TAG_OWNER, "Value": self.owner}]

    @property
    def filters(self) -> list[FilterTypeDef]:
        """Filters of Describe calls for those tags."""
        return [tag_filter(TAG_CLUSTER, self.cluster), tag_filter(TAG_OWNER, self.owner)]

    def matches(self, tags: Iterable[TagTypeDef]) -> bool:
        """Return True if a resource with these tags belongs to the cluster."""
        values = {tag.get("Key"): tag.get("Value") for tag in tags}
        return values.get(TAG_CLUSTER) == self.cluster and values.get(TAG_OWNER) == self.owner


def cluster_id(clients: Clients, settings: settings.Settings, identity: Identity) -> ClusterId:
    """Return the identity of the cluster in the settings; the owner defaults to the caller."""
    owner = settings.cluster.owner or identity.owner
    return ClusterId(cluster=settings.cluster.name, owner=owner, account=identity.account, region=clients.region)


def tag_filter(key: str, value: str) -> FilterTypeDef:
    r"""Return a filter for the exact value of one tag.

    EC2 reads ``*`` and ``?`` in filter values as wildcards, which ``\`` escapes:
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
    """
    return {"Name": f"tag:{key}", "Values": [re.sub(r"([*?\\])", r"\\\1", value)]}
