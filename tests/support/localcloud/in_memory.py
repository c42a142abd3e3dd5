"""In-memory clouds for tests: a fixture that opens them, and calls without retries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.config import Config

from localcloud.core.clock import VirtualClock
from localcloud.scenarios.scenario import Fault, Scenario
from localcloud.simulation.cloud import InMemoryCloud
from tests.support.localcloud.clients import TYPE, UBUNTU

OpenCloud = Callable[..., InMemoryCloud]


@pytest.fixture
def open_cloud() -> Iterator[OpenCloud]:
    """Open clouds with faults; all of them are closed after the test."""
    clouds: list[InMemoryCloud] = []

    def open_with(*faults: Fault, seed: int = 7) -> InMemoryCloud:
        clouds.append(InMemoryCloud(seed, Scenario(seed, faults), VirtualClock()))
        return clouds[-1]

    yield open_with
    for cloud in clouds:
        cloud.close()


def client_without_retries(cloud: InMemoryCloud) -> Any:
    """Return an EC2 client that makes one attempt per call."""
    return cloud.session().client("ec2", config=Config(retries={"total_max_attempts": 1}))


def launch_in(cloud: InMemoryCloud, count: int = 1, **arguments: Any) -> list[str]:
    """Launch instances with a new session, and return their ids."""
    session = cloud.session()
    ubuntu = session.client("ssm").get_parameter(Name=UBUNTU)["Parameter"]["Value"]
    defaults = {"ImageId": ubuntu, "InstanceType": TYPE, "MinCount": count, "MaxCount": count}
    return [instance["InstanceId"] for instance in _run(session.client("ec2"), {**defaults, **arguments})]


def _run(ec2: Any, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    instances: list[dict[str, Any]] = ec2.run_instances(**arguments)["Instances"]
    return instances


def states(cloud: InMemoryCloud) -> list[str]:
    """Return the states of all instances that are not terminated, in the order of launches."""
    return [instance.state for instance in cloud.live_instances()]
