"""The status poller: one request at a time, and never an exception at the prompt."""

from __future__ import annotations

import threading

from orchestrator.cluster.status import ClusterStatus
from orchestrator.core.clock import REAL_CLOCK, Clock
from orchestrator.core.errors import UsageError
from orchestrator.interface.shell.status_poller import StatusPoller
from tests.support.interface.example_machines import machine, status

EMPTY = status()


def test_a_refresh_brings_the_status_and_calls_back() -> None:
    answers: list[StatusPoller] = []
    poller = StatusPoller(lambda: EMPTY, answers.append, REAL_CLOCK)

    assert poller.refresh(wait_s=10.0)
    assert poller.status is EMPTY
    assert poller.error is None
    assert poller.age_s < 60


def test_an_error_is_kept_and_the_last_status_stays() -> None:
    answers: list[ClusterStatus | Exception] = [EMPTY, UsageError("no"), KeyError("x")]

    def request() -> ClusterStatus:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    poller = StatusPoller(request, lambda poller: None, REAL_CLOCK)
    errors = []
    for _ in range(3):
        assert poller.refresh(wait_s=10.0)
        errors.append(str(poller.error))

    assert errors == ["None", "no", "KeyError: 'x'"]
    assert poller.status is EMPTY


def test_a_refresh_during_a_request_makes_one_more_after_it() -> None:
    proceed, requests = threading.Event(), []

    def request() -> ClusterStatus:
        requests.append(1)
        proceed.wait(10)
        return EMPTY

    poller = StatusPoller(request, lambda poller: None, REAL_CLOCK)
    for _ in range(3):
        poller.refresh()
    threading.Timer(0.1, proceed.set).start()

    assert poller.refresh(wait_s=10.0)
    assert len(requests) == 2


def test_the_age_is_read_from_the_clock() -> None:
    now = [100.0]
    poller = StatusPoller(lambda: EMPTY, lambda poller: None, Clock(monotonic=lambda: now[0]))
    assert poller.age_s == float("inf")

    poller.accept(status(machine("ml-0")))
    now[0] = 130.0
    assert poller.age_s == 30.0
