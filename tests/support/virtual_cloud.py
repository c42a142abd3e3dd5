"""What tests on the cloud in memory share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from localcloud.scenarios.scenario import Fault, Scenario
from localcloud.simulation.cloud import InMemoryCloud, VirtualClock
from tests.support.embedded_cloud import TYPE, UBUNTU

Open = Callable[..., InMemoryCloud]


@pytest.fixture
def sky() -> Iterator[Open]:
    """Makes clouds with faults; the last one is closed after the test."""
    made: list[InMemoryCloud] = []

    def make(*faults: Fault, seed: int = 7) -> InMemoryCloud:
        made.append(InMemoryCloud(seed, Scenario(seed, faults), VirtualClock()))
        return made[-1]

    yield make
    for cloud in made:
        cloud.close()


def once(cloud: InMemoryCloud) -> Any:
    """An EC2 client that never tries again."""
    return cloud.session().client("ec2", config=Config(retries={"total_max_attempts": 1}))


def launch(cloud: InMemoryCloud, count: int = 1, **order: Any) -> list[str]:
    """Launch machines on a new session; their ids."""
    session = cloud.session()
    ubuntu = session.client("ssm").get_parameter(Name=UBUNTU)["Parameter"]["Value"]
    order = {"ImageId": ubuntu, "InstanceType": TYPE, "MinCount": count, "MaxCount": count, **order}
    return [one["InstanceId"] for one in session.client("ec2").run_instances(**order)["Instances"]]


def code(call: Callable[..., Any], **arguments: Any) -> str:
    """The code of the error that a call gets."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    found: str = caught.value.response["Error"]["Code"]
    return found


def states(cloud: InMemoryCloud) -> list[str]:
    """The states of all instances that have not ended, in the order of launches."""
    return [one.state for one in cloud.live_instances()]
