"""Context of the checks: clients of some cloud, shared instances, and cleanup."""

from __future__ import annotations

import functools
import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import boto3

UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
TAG = "stratus-contract"
_POLL_S = 0.5
_TERMINATED_TIMEOUT_S = 600.0


class CheckContext:
    """Clients and resources for checks; every resource has the context's tag.

    :param session: decides which cloud is used.
    :param instance_type: type of all instances, x86_64.
    :param poll_s: seconds between two polls.
    :param endpoint_url: endpoint of all services; None for that of the environment.
    """

    def __init__(
        self,
        session: boto3.Session,
        *,
        instance_type: str = "t3.nano",
        poll_s: float = _POLL_S,
        endpoint_url: str | None = None,
    ) -> None:
        self.session: Any = session
        self._endpoint_url = endpoint_url
        self.instance_type, self._poll_s = instance_type, poll_s
        self.region = str(session.region_name)
        self.tag = f"{TAG}-{secrets.token_hex(4)}"
        self._launched: list[str] = []
        #: Of the shared instances that were stopped.
        self.public_addresses_before_stop: list[str] = []

    def of_tag(self, tag: str) -> CheckContext:
        """Return the context of an earlier run, whose resources have another tag; for cleaning up."""
        context = CheckContext(
            self.session, instance_type=self.instance_type, poll_s=self._poll_s, endpoint_url=self._endpoint_url
        )
        context.tag = tag
        filters = [{"Name": "group-name", "Values": [tag]}]
        for group in self.ec2.describe_security_groups(Filters=filters)["SecurityGroups"]:
            # The value of the cached property.
            vars(context)["group"] = group["GroupId"]
        return context

    def client(self, service: str, **options: Any) -> Any:
        """Return a client that makes one attempt per call."""
        from botocore.config import Config

        return self.session.client(
            service, endpoint_url=self._endpoint_url, config=Config(retries={"total_max_attempts": 1}), **options
        )

    @functools.cached_property
    def ec2(self) -> Any:
        """Client of EC2."""
        return self.client("ec2")

    @functools.cached_property
    def image(self) -> str:
        """AMI id of Ubuntu 24.04."""
        return str(self.client("ssm").get_parameter(Name=UBUNTU)["Parameter"]["Value"])

    @functools.cached_property
    def host_key(self) -> tuple[str, str]:
        """Host key of the instances: private and public part."""
        from cryptography.hazmat.primitives import serialization as to
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(to.Encoding.PEM, to.PrivateFormat.OpenSSH, to.NoEncryption()).decode()
        return private, key.public_key().public_bytes(to.Encoding.OpenSSH, to.PublicFormat.OpenSSH).decode()

    @functools.cached_property
    def group(self) -> str:
        """Security group of this context, which allows no access."""
        vpc = self.subnets()[0]["VpcId"]
        group_id: str = self.ec2.create_security_group(GroupName=self.tag, Description=TAG, VpcId=vpc)["GroupId"]
        return group_id

    @functools.cached_property
    def shared_launch(self) -> dict[str, Any]:
        """Answer of RunInstances for the two instances that most checks share."""
        return self.launch(2, **self.launch_args())

    @property
    def ids(self) -> list[str]:
        """Ids of the shared instances."""
        return [instance["InstanceId"] for instance in self.shared_launch["Instances"]]

    def launch_args(self) -> dict[str, Any]:
        """Return the arguments of RunInstances for the shared instances."""
        config = {"ssh_keys": {"ed25519_private": self.host_key[0], "ed25519_public": self.host_key[1]}}
        return {
            "ClientToken": self.tag,
            "SecurityGroupIds": [self.group],
            "UserData": "#cloud-config\n" + json.dumps(config),
            "InstanceInitiatedShutdownBehavior": "terminate",
        }

    def account(self) -> str:
        """Return the caller's ARN."""
        return str(self.client("sts").get_caller_identity()["Arn"])

    def subnets(self) -> list[dict[str, Any]]:
        """Return the default subnets."""
        filters = [{"Name": "default-for-az", "Values": ["true"]}]
        subnets: list[dict[str, Any]] = self.ec2.describe_subnets(Filters=filters)["Subnets"]
        return subnets

    def launch(self, count: int, **arguments: Any) -> dict[str, Any]:
        """Launch instances with the context's tag, and return RunInstances' answer."""
        tags = [{"Key": TAG, "Value": self.tag}]
        specs = [{"ResourceType": resource_type, "Tags": tags} for resource_type in ("instance", "volume")]
        base = {"ImageId": self.image, "InstanceType": self.instance_type, "TagSpecifications": specs}
        answer: dict[str, Any] = self.ec2.run_instances(**{**base, "MinCount": count, "MaxCount": count, **arguments})
        self._launched += [instance["InstanceId"] for instance in answer["Instances"]]
        return answer

    def describe(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return the descriptions of instances that are visible already, in the order of ``ids``."""
        filters = [{"Name": "instance-id", "Values": list(ids)}]
        instances = {}
        for page in self.ec2.describe_instances(Filters=filters)["Reservations"]:
            instances.update({instance["InstanceId"]: instance for instance in page["Instances"]})
        return [instances[instance] for instance in ids if instance in instances]

    def wait(self, fact: Callable[[], Any], *, seconds: float = 300.0) -> Any:
        """Return the first true value of ``fact``.

        :raises AssertionError: there was none in time.
        """
        deadline = time.monotonic() + seconds
        while not (value := fact()):
            assert time.monotonic() < deadline, f"not true within {seconds:.0f} s"
            time.sleep(self._poll_s)
        return value

    def wait_for(self, ids: Sequence[str], state: str, *, seconds: float = 300.0) -> list[dict[str, Any]]:
        """Return the descriptions of instances once all are in ``state``."""

        def all_in_state() -> list[dict[str, Any]]:
            instances = self.describe(ids)
            matching = [instance for instance in instances if instance["State"]["Name"] == state]
            return instances if len(matching) == len(ids) else []

        instances: list[dict[str, Any]] = self.wait(all_in_state, seconds=seconds)
        return instances

    def tagged_instances(self) -> Iterator[str]:
        """Yield the ids of tagged instances that are not terminated, also of launches whose answer was lost."""
        filters = [
            {"Name": f"tag:{TAG}", "Values": [self.tag]},
            {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped", "shutting-down"]},
        ]
        for page in self.ec2.get_paginator("describe_instances").paginate(Filters=filters):
            for reservation in page["Reservations"]:
                yield from (instance["InstanceId"] for instance in reservation["Instances"])

    def clean_up(self) -> list[str]:
        """Terminate and delete everything, and wait for it; return what may be left."""
        try:
            leftovers = self._terminate_instances()
        except Exception:
            # Without the API nothing is known to be gone.
            return self._launched or [f"everything with the tag {TAG}={self.tag}"]
        return [*leftovers, *self._delete("group"), *self._delete("key")]

    def _terminate_instances(self) -> list[str]:
        deadline = time.monotonic() + _TERMINATED_TIMEOUT_S
        while instance_ids := list(self.tagged_instances()):
            if time.monotonic() > deadline:
                return instance_ids
            for instance_id in instance_ids:
                # A check may have failed between setting and removing the protection.
                self.ec2.modify_instance_attribute(InstanceId=instance_id, DisableApiTermination={"Value": False})
            self.ec2.terminate_instances(InstanceIds=instance_ids)
            time.sleep(self._poll_s)
        return []

    def _delete(self, kind: str) -> list[str]:
        try:
            if kind == "key":
                self.ec2.delete_key_pair(KeyName=self.tag)
            # A cached property: present only if a check created the group.
            elif "group" in vars(self):
                self.ec2.delete_security_group(GroupId=self.group)
        except Exception as error:
            # Neither costs anything, but what is left behind is always reported.
            return [f"{kind} {self.tag} ({error})"]
        return []
