"""A scripted AWS account, for tests of the checks that Stratus makes besides EC2's filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orchestrator.aws import identity
from orchestrator.aws.ec2 import instance_tags
from tests.support.aws.values import CLUSTER_ID
from tests.support.aws.wire import Request, refusal, state_changes

OURS = {identity.TAG_CLUSTER: CLUSTER_ID.cluster, identity.TAG_OWNER: CLUSTER_ID.owner, instance_tags.LAUNCH: "r"}
INSTANCE_ID = "i-00000000000000001"


@dataclass
class Account:
    """An EC2 that ignores filters: it shows everything it has.

    :param machines: instance id -> state and tags.
    :param group: tags of the security group; None for no group.
    :param key: tags of the key pair; None for no key pair.
    :param in_use: True while the group cannot be deleted.
    """

    machines: Mapping[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)
    group: Mapping[str, str] | None = None
    key: Mapping[str, str] | None = None
    in_use: bool = False
    terminated: set[str] = field(default_factory=set)
    deleted: list[str] = field(default_factory=list)

    def __call__(self, request: Request) -> tuple[int, str]:
        """Return the response to a request."""
        responses: dict[str, Callable[[Request], tuple[int, str]]] = {
            "TerminateInstances": self._terminate,
            "DeleteSecurityGroup": self._delete,
            "DeleteKeyPair": self._delete,
            "DescribeInstances": lambda _: self._instances(),
            "DescribeSecurityGroups": lambda _: self._groups(),
            "DescribeKeyPairs": lambda _: self._keys(),
        }
        return responses[request.action](request)

    def _instances(self) -> tuple[int, str]:
        items = "".join(
            f"<item><instanceId>{key}</instanceId><instanceType>c7i.2xlarge</instanceType><instanceState><code>0</code>"
            f"<name>{'terminated' if key in self.terminated else state}</name></instanceState>"
            f"<launchTime>2026-11-20T14:12:07.000Z</launchTime><placement/>{_tags(tags)}</item>"
            for key, (state, tags) in self.machines.items()
        )
        sets = f"<item><instancesSet>{items}</instancesSet></item>" if items else ""
        return _response("DescribeInstances", f"<reservationSet>{sets}</reservationSet>")

    def _groups(self) -> tuple[int, str]:
        name, tags = CLUSTER_ID.resource_name, _tags(self.group or {})
        item = f"<item><groupId>sg-1</groupId><groupName>{name}</groupName>{tags}</item>"
        return _response(
            "DescribeSecurityGroups", f"<securityGroupInfo>{item if self.group else ''}</securityGroupInfo>"
        )

    def _keys(self) -> tuple[int, str]:
        name, tags = CLUSTER_ID.resource_name, _tags(self.key or {})
        item = f"<item><keyPairId>key-1</keyPairId><keyName>{name}</keyName>{tags}</item>"
        return _response("DescribeKeyPairs", f"<keySet>{item if self.key else ''}</keySet>")

    def _terminate(self, request: Request) -> tuple[int, str]:
        self.terminated |= set(request.ids)
        return state_changes(request.ids, "shutting-down")

    def _delete(self, request: Request) -> tuple[int, str]:
        if self.in_use:
            return refusal("DependencyViolation", "resource sg-1 has a dependent object")
        self.deleted.append(request.action)
        self.group = None
        return _response(request.action, "<return>true</return>")


def _tags(tags: Mapping[str, str]) -> str:
    items = "".join(f"<item><key>{key}</key><value>{value}</value></item>" for key, value in tags.items())
    return f"<tagSet>{items}</tagSet>"


def _response(action: str, body: str) -> tuple[int, str]:
    return 200, f"<{action}Response>{body}</{action}Response>"
