"""The identity behind the credentials, and the tags that identify a cluster."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from orchestrator.aws.client import Clients

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef, TagTypeDef

    from orchestrator.config import settings


TAG_CLUSTER = "stratus:cluster"


TAG_OWNER = "stratus:owner"


@dataclass(frozen=True)
class Identity:
    """Who AWS says we are."""

    account: str
    arn: str

    @property
    def owner(self) -> str:
        """The ARN as it stays from one session to the next: a session name that botocore made up is left out."""
        return re.sub(r"/(botocore-session-\d+|AWSCLI-Session)$", "", self.arn)


def caller_identity(clients: Clients) -> Identity:
    """Ask AWS who we are: one call, needs no permission, and finds bad credentials before anything else is asked."""
    with clients.translate_errors("asking AWS who you are"):
        answer = clients.sts.get_caller_identity()
    return Identity(account=answer["Account"], arn=answer["Arn"])


@dataclass(frozen=True)
class ClusterId:
    """Whose cluster: all that tells our things in an account from everybody else's.

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
        """Name of this cluster's own things: a rehearsal's and a colleague's differ, even in one cluster's name."""
        return f"stratus-{self.cluster}-{sha256(f'{self.account}/{self.owner}'.encode()).hexdigest()[:8]}"

    @property
    def journal_fields(self) -> dict[str, str]:
        """The form that the journal keeps."""
        return asdict(self)

    @property
    def tags(self) -> list[TagTypeDef]:
        """The tags that every thing of ours carries."""
        return [{"Key": TAG_CLUSTER, "Value": self.cluster}, {"Key": TAG_OWNER, "Value": self.owner}]

    @property
    def filters(self) -> list[FilterTypeDef]:
        """Describe filters for those tags."""
        return [tag_filter(TAG_CLUSTER, self.cluster), tag_filter(TAG_OWNER, self.owner)]

    def matches(self, tags: Iterable[TagTypeDef]) -> bool:
        """Whether tags say that a thing is ours."""
        found = {tag.get("Key"): tag.get("Value") for tag in tags}
        return found.get(TAG_CLUSTER) == self.cluster and found.get(TAG_OWNER) == self.owner


def cluster_id(clients: Clients, settings: settings.Settings, identity: Identity) -> ClusterId:
    """Return whose cluster the settings mean: the owner they name, else the caller."""
    owner = settings.cluster.owner or identity.owner
    return ClusterId(cluster=settings.cluster.name, owner=owner, account=identity.account, region=clients.region)


def tag_filter(key: str, value: str) -> FilterTypeDef:
    """Return a filter for one tag's exact value; EC2 reads ``*`` and ``?`` in filters as wildcards."""
    return {"Name": f"tag:{key}", "Values": [re.sub(r"([*?\\])", r"\\\1", value)]}
