"""Quotas of SageMaker's instances, found by name in the embedded cloud."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from localcloud.scenarios.scenario import make_fault
from orchestrator.aws.client import Clients
from orchestrator.aws.sagemaker import quotas
from orchestrator.aws.sagemaker.quotas import SageMakerQuota
from orchestrator.aws.sagemaker.uses import Use, check_instance_type
from orchestrator.core.errors import CloudRefused, UsageError
from tests.support.simulated_project import SimulatedProject

Simulate = Callable[..., SimulatedProject]

SPOT = "ml.g5.xlarge for spot training job usage"


def clients_of(project: SimulatedProject) -> Clients:
    """Return the clients of a session in the embedded cloud."""
    return project.session().context.clients


def test_a_quota_is_found_by_name_and_counts_instances(simulate: Simulate) -> None:
    clients = clients_of(simulate(make_fault("quota", quota=SPOT, vcpus=3)))
    quota = quotas.query(clients, "ml.g5.xlarge", 2, Use.TRAINING, spot=True, in_use=2)

    assert (quota.name, quota.limit, quota.shortfall) == (SPOT, 3, 1)
    with pytest.raises(CloudRefused, match=f"quota too small in us-west-2: {SPOT} is 3, 2 in use, 2 needed") as caught:
        quota.check("us-west-2")
    assert f'RequestLimitIncrease(4, quota="{SPOT}")' in str(caught.value)
    assert quotas.query(clients, "ml.g5.xlarge", 20, Use.HOSTING).shortfall == 0


def test_an_increase_is_requested_once(simulate: Simulate) -> None:
    clients = clients_of(simulate(make_fault("quota", quota=SPOT, vcpus=0)))
    quota = quotas.find(clients, SPOT, 2)
    first, second = (quotas.request_increase(clients, quota) for _ in range(2))

    assert (first.status, first.requested_limit, first.is_existing) == ("PENDING", 2, False)
    assert (second.status, second.is_existing) == ("PENDING", True)
    enough = quotas.find(clients, "ml.g5.xlarge for endpoint usage", 2)
    assert quotas.request_increase(clients, enough).status == "not needed"
    with pytest.raises(UsageError, match="no quota named"):
        quotas.request_increase(clients, quotas.find(clients, "ml.x9.large for endpoint usage", 1))


def test_a_quota_that_aws_does_not_tell_is_unknown_and_refuses_nothing(simulate: Simulate) -> None:
    clients = clients_of(simulate(make_fault("denied", action="servicequotas:ListServiceQuotas")))
    quota = quotas.query(clients, "ml.g5.xlarge", 2, Use.TRAINING)

    assert quota == SageMakerQuota("ml.g5.xlarge for training job usage", 2)
    quota.check("us-west-2")


@pytest.mark.parametrize(
    ("instance_type", "use", "message"),
    [
        ("ml.p3.2xlarge", Use.TRAINING, "retired: ml.g6.xlarge is its nearest successor"),
        ("ml.m4.xlarge", Use.TRANSFORM, "retired: ml.m5.xlarge"),
        ("g5.xlarge", Use.TRAINING, "types begin with ml.\n  use ml.g5.xlarge"),
        ("ml.g5.xlarg", Use.HOSTING, "not an instance type for hosting\n  use ml.g5.xlarge"),
        ("ml.p5.48xlarge", Use.TRANSFORM, "not an instance type for transform"),
    ],
)
def test_a_type_that_does_not_serve_names_the_nearest(
    simulate: Simulate, instance_type: str, use: Use, message: str
) -> None:
    clients = clients_of(simulate())
    with pytest.raises(UsageError) as caught:
        check_instance_type(clients, instance_type, use)
    assert message in str(caught.value)
    check_instance_type(clients, "ml.m5.xlarge", use)
