"""A user of EC2 on one computer, for tests of aws/ against the embedded cloud."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias
from zlib import crc32

import pytest

from orchestrator.aws import client, identity
from orchestrator.aws.ec2 import instances, key_pairs, security_groups, state_changes, waiters
from orchestrator.aws.ec2.instances import Instance
from orchestrator.aws.ec2.ownership import Ownership
from orchestrator.aws.ingress.access import ssh_access
from orchestrator.aws.launch import run_instances
from orchestrator.aws.launch.plan import LaunchPlan
from orchestrator.config.settings import AwsSettings, ClusterSettings, Settings, SshSettings
from orchestrator.core.clock import REAL_CLOCK, Backoff, Clock
from orchestrator.core.journal import Journal
from orchestrator.crypto import ssh_keys
from tests.support.aws import wire
from tests.support.aws.values import look_up_plan

FAST_CLOCK = Clock(backoff=Backoff(first_s=0.02, longest_s=0.2))
HOME_NETWORK = "198.51.100.7/32"


@dataclass
class Ec2User:
    """Clients that count their calls, settings, and a home folder.

    :param cloud: environment of the embedded cloud.
    """

    cloud: dict[str, str]
    home: Path
    settings: Settings
    calls: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.clients = self.clients_at(FAST_CLOCK)
        self.identity = identity.caller_identity(self.clients)
        self.cluster_id = identity.cluster_id(self.clients, self.settings, self.identity)
        self.journal = Journal(self.home, REAL_CLOCK)
        self.key_pair = key_pairs.for_settings(self.settings, self.cluster_id, home=self.home)

    def clients_at(self, clock: Clock) -> client.Clients:
        """Return clients with another clock."""
        session = wire.session(self.cloud["AWS_ACCESS_KEY_ID"], self.cloud["AWS_SECRET_ACCESS_KEY"])
        session.events.register("before-send", self._count)
        return client.Clients(session, region="us-west-2", endpoint_url=self.cloud["AWS_ENDPOINT_URL"], clock=clock)

    def _count(self, event_name: str, **_: Any) -> None:
        self.calls[event_name.rpartition(".")[2]] += 1

    def plan(self, count: int) -> LaunchPlan:
        """Return the plan of a launch."""
        return look_up_plan(self.clients, self.settings, self.cluster_id, count)

    def create_resources(self, plan: LaunchPlan) -> run_instances.LaunchResources:
        """Create security group and key pair of a launch."""
        access = ssh_access(self.settings, plan.placement.vpc_id)
        group_id = security_groups.ensure(self.clients, self.cluster_id, access, journal=self.journal)
        key_pairs.ensure(
            self.clients, self.cluster_id, self.key_pair, journal=self.journal, existing_names=plan.existing_names
        )
        return run_instances.LaunchResources(self.key_pair.key_name, group_id, ssh_keys.generate_host_key())

    def launch(self, count: int) -> list[Instance]:
        """Launch instances."""
        plan = self.plan(count)
        return run_instances.launch(self.clients, plan, resources=self.create_resources(plan), journal=self.journal)

    def instances(self) -> list[Instance]:
        """Return the instances of the cluster."""
        return instances.describe(self.clients, Ownership(self.cluster_id))

    def wait_running(self, launched: list[Instance]) -> list[Instance]:
        """Wait until instances are running."""
        ids = [instance.id for instance in launched]
        return list(waiters.wait_for_state(self.clients, ids, deadline_s=30))

    def terminate_all(self) -> None:
        """Terminate the instances, and delete security group and key pair."""
        existing = self.instances()
        state_changes.terminate(self.clients, existing, ownership=Ownership(self.cluster_id))
        list(waiters.wait_terminated(self.clients, existing, deadline_s=30))
        security_groups.delete(self.clients, self.cluster_id, deadline_s=30)
        key_pairs.delete(self.clients, self.cluster_id, self.key_pair)

    def describe_raw(self, instance_id: str) -> dict[str, Any]:
        """Return an instance as EC2 describes it."""
        response = self.clients.ec2.describe_instances(InstanceIds=[instance_id])
        return dict(response["Reservations"][0]["Instances"][0])


Pair: TypeAlias = tuple[Ec2User, list[Instance]]


def create_user(cloud: dict[str, str], home: Path, cluster: str, **options: Any) -> Ec2User:
    """Return a user of a cluster; options replace sections of the settings."""
    aws = AwsSettings(endpoint_url=cloud["AWS_ENDPOINT_URL"], ssh_from=HOME_NETWORK)
    ssh = SshSettings(port=int(cloud["REHEARSAL_SSH_PORT"]))
    return Ec2User(cloud, home, replace(Settings(cluster=ClusterSettings(name=cluster), aws=aws, ssh=ssh), **options))


@pytest.fixture
def user(cloud: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Ec2User]:
    """Provide a user whose cluster no other test uses; its resources are deleted afterwards."""
    ec2_user = create_user(cloud, tmp_path, f"e{crc32(request.node.name.encode())}")
    yield ec2_user
    ec2_user.terminate_all()


@pytest.fixture(scope="module")
def running_pair(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Provide two running instances for tests that do not change them."""
    ec2_user = create_user(cloud, tmp_path_factory.mktemp("home"), "two")
    yield ec2_user, ec2_user.wait_running(ec2_user.launch(2))
    ec2_user.terminate_all()
