"""Where assumptions are checked: clients of some cloud, machines of our own there, and the cleaning up."""

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
_GONE_DEADLINE_S = 600.0


class CheckContext:
    """A place for checks; everything that it makes carries its tag.

    :param session: decides which cloud.
    :param kind: instance type of all machines, x86_64.
    :param poll_s: seconds between two looks.
    """

    def __init__(self, session: boto3.Session, *, kind: str = "t3.nano", poll_s: float = _POLL_S) -> None:
        self.session: Any = session
        self.instance_type, self._poll_s = kind, poll_s
        self.region = str(session.region_name)
        self.tag = f"{TAG}-{secrets.token_hex(4)}"
        self._made: list[str] = []

    def client(self, service: str, **options: Any) -> Any:
        """A client that tries once."""
        from botocore.config import Config

        return self.session.client(service, config=Config(retries={"total_max_attempts": 1}), **options)

    @functools.cached_property
    def ec2(self) -> Any:
        """EC2."""
        return self.client("ec2")

    @functools.cached_property
    def image(self) -> str:
        """Ubuntu's image."""
        return str(self.client("ssm").get_parameter(Name=UBUNTU)["Parameter"]["Value"])

    @functools.cached_property
    def host_key(self) -> tuple[str, str]:
        """A host key of the machines': private and public half."""
        from cryptography.hazmat.primitives import serialization as to
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(to.Encoding.PEM, to.PrivateFormat.OpenSSH, to.NoEncryption()).decode()
        return private, key.public_key().public_bytes(to.Encoding.OpenSSH, to.PublicFormat.OpenSSH).decode()

    @functools.cached_property
    def group(self) -> str:
        """A security group of our own, that lets nobody in."""
        vpc = self.subnets()[0]["VpcId"]
        made: str = self.ec2.create_security_group(GroupName=self.tag, Description=TAG, VpcId=vpc)["GroupId"]
        return made

    @functools.cached_property
    def shared_launch(self) -> dict[str, Any]:
        """RunInstances' answer for two machines that most checks share."""
        return self.launch(2, **self.launch_args())

    @property
    def ids(self) -> list[str]:
        """The shared machines."""
        return [one["InstanceId"] for one in self.shared_launch["Instances"]]

    def launch_args(self) -> dict[str, Any]:
        """The arguments of RunInstances for the shared machines."""
        config = {"ssh_keys": {"ed25519_private": self.host_key[0], "ed25519_public": self.host_key[1]}}
        return {
            "ClientToken": self.tag,
            "SecurityGroupIds": [self.group],
            "UserData": "#cloud-config\n" + json.dumps(config),
            "InstanceInitiatedShutdownBehavior": "terminate",
        }

    def account(self) -> str:
        """Who we are."""
        return str(self.client("sts").get_caller_identity()["Arn"])

    def subnets(self) -> list[dict[str, Any]]:
        """The default subnets."""
        filters = [{"Name": "default-for-az", "Values": ["true"]}]
        found: list[dict[str, Any]] = self.ec2.describe_subnets(Filters=filters)["Subnets"]
        return found

    def launch(self, count: int, **order: Any) -> dict[str, Any]:
        """Launch machines with our tag; RunInstances' answer."""
        tags = [{"Key": TAG, "Value": self.tag}]
        specs = [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")]
        base = {"ImageId": self.image, "InstanceType": self.instance_type, "TagSpecifications": specs}
        answer: dict[str, Any] = self.ec2.run_instances(**{**base, "MinCount": count, "MaxCount": count, **order})
        self._made += [one["InstanceId"] for one in answer["Instances"]]
        return answer

    def describe(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Descriptions of machines, once all can be seen."""
        filters = [{"Name": "instance-id", "Values": list(ids)}]
        found = {}
        for page in self.ec2.describe_instances(Filters=filters)["Reservations"]:
            found.update({one["InstanceId"]: one for one in page["Instances"]})
        return [found[one] for one in ids if one in found]

    def wait(self, fact: Callable[[], Any], *, seconds: float = 300.0) -> Any:
        """The first true answer of ``fact``.

        :raises AssertionError: there was none in time.
        """
        end = time.monotonic() + seconds
        while not (answer := fact()):
            assert time.monotonic() < end, f"it did not come about within {seconds:.0f} s"
            time.sleep(self._poll_s)
        return answer

    def wait_for(self, ids: Sequence[str], state: str, *, seconds: float = 300.0) -> list[dict[str, Any]]:
        """Descriptions of machines once all are in ``state``."""

        def all_there() -> list[dict[str, Any]]:
            found = self.describe(ids)
            there = [one for one in found if one["State"]["Name"] == state]
            return found if len(there) == len(ids) else []

        found: list[dict[str, Any]] = self.wait(all_there, seconds=seconds)
        return found

    def tagged_instances(self) -> Iterator[str]:
        """The machines that carry our tag, ended ones not among them; also those whose launch was never answered."""
        filters = [
            {"Name": f"tag:{TAG}", "Values": [self.tag]},
            {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped", "shutting-down"]},
        ]
        for page in self.ec2.get_paginator("describe_instances").paginate(Filters=filters):
            for reservation in page["Reservations"]:
                yield from (one["InstanceId"] for one in reservation["Instances"])

    def clean_up(self) -> list[str]:
        """End and delete all that was made here, waiting for it; the ids of what may be left."""
        try:
            left = self._end_machines()
        except Exception:
            return self._made or [f"whatever carries the tag {TAG}={self.tag}"]
        return [*left, *self._delete("group"), *self._delete("key")]

    def _end_machines(self) -> list[str]:
        end = time.monotonic() + _GONE_DEADLINE_S
        while ours := list(self.tagged_instances()):
            if time.monotonic() > end:
                return ours
            for one in ours:
                self.ec2.modify_instance_attribute(InstanceId=one, DisableApiTermination={"Value": False})
            self.ec2.terminate_instances(InstanceIds=ours)
            time.sleep(self._poll_s)
        return []

    def _delete(self, what: str) -> list[str]:
        try:
            if what == "key":
                self.ec2.delete_key_pair(KeyName=self.tag)
            elif "group" in vars(self):
                self.ec2.delete_security_group(GroupId=self.group)
        except Exception as error:
            # Neither costs anything, but nothing is left behind in silence.
            return [f"{what} {self.tag} ({error})"]
        return []
