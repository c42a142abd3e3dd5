"""The fake session has the methods that the verbs call, as the real services declare them."""

from __future__ import annotations

import inspect

import pytest

from orchestrator.services.account import AccountService
from orchestrator.services.cluster import ClusterService
from orchestrator.services.hosts import HostService
from orchestrator.services.jobs import JobService
from orchestrator.session import Session
from tests.support.interface.fake_session import FakeAccount, FakeCluster, FakeHosts, FakeJobs, FakeSession

PAIRS = [
    (FakeCluster, ClusterService),
    (FakeJobs, JobService),
    (FakeHosts, HostService),
    (FakeAccount, AccountService),
    (FakeSession, Session),
]


def parameters(function: object) -> list[tuple[str, object]]:
    return [(item.name, item.kind) for item in inspect.signature(function).parameters.values()]  # type: ignore[arg-type]


@pytest.mark.parametrize(("fake", "real"), PAIRS, ids=lambda service: service.__name__)
def test_a_fake_service_has_the_signatures_of_the_real_one(fake: type, real: type) -> None:
    methods = {name: method for name, method in vars(fake).items() if not name.startswith("_") and callable(method)}

    assert methods
    for name, method in methods.items():
        assert parameters(method) == parameters(getattr(real, name)), name
