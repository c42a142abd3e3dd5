"""Answers of endpoints on the screen, and requests from tables of other libraries."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.aws.managed.resources import ManagedResource, ManagedSurvey
from orchestrator.aws.sagemaker.hosting.invocations import Payload
from orchestrator.aws.sagemaker.hosting.requests import Fleet, check_fleet
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import UsageError
from orchestrator.interface.render.billed import managed
from orchestrator.interface.render.sagemaker.endpoints import prediction_lines
from orchestrator.services.hosting import payloads
from orchestrator.services.hosting.endpoints import Prediction


@pytest.mark.parametrize(
    ("array", "line"),
    [
        (np.array([[0.8], [0.9]]), "  float64 (2, 1): 0.8, 0.9"),
        (np.arange(9), "  int64 (9,): 0, 1, 2, 3, 4, 5, 6, 7 ...; out = FILE writes all"),
        (np.array(3.0), "  float64 (): 3.0"),
    ],
)
def test_an_array_is_shown_with_its_first_values(array: object, line: str) -> None:
    assert prediction_lines(Prediction("k3", Payload(b"", payloads.NPY), array), "") == [line]


class Table:
    """A DataFrame of a library that is not imported."""

    def to_numpy(self) -> object:
        return np.ones((2, 2))


def test_a_data_frame_is_sent_as_an_array() -> None:
    assert payloads.encode(Table()) == payloads.encode(np.ones((2, 2)))


@pytest.mark.parametrize(
    ("mode", "meant"), [("async", "asynchronous"), ("realtime", "real-time"), ("server", "serverless")]
)
def test_a_way_of_hosting_that_is_nearly_right_is_named(mode: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"Did you mean {meant}"):
        check_fleet(Fleet(mode))


def test_status_says_of_a_serverless_endpoint_what_endpoints_says() -> None:
    resource = ManagedResource("endpoint", "k3", "InService", "serverless", 1, None)
    (row,) = managed.listed(ManagedSurvey((resource,)), REAL_CLOCK.now())

    assert str(row).endswith("by requests")
