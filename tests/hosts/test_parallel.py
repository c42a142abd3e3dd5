"""Parallelism over hosts: what is done, what is known afterwards, and what happens on the way out."""

from __future__ import annotations

import _thread
import threading
from functools import partial
from pathlib import Path

import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import HostError, HostsFailed
from orchestrator.core.host import Host
from orchestrator.hosts import parallel
from orchestrator.hosts.parallel import HostInterrupted, HostsInterrupted, HostUnfinished, Outcome

for_each = partial(parallel.for_each, clock=REAL_CLOCK)


def fleet(count: int) -> list[Host]:
    return [Host(f"ml-{i}", f"10.0.0.{i}", f"10.1.0.{i}", 22, "dev", Path("key"), "", f"i-{i}") for i in range(count)]


def test_every_host_has_an_outcome_in_the_order_asked() -> None:
    hosts = fleet(5)

    outcomes = for_each(hosts, lambda host: host.address)

    assert list(outcomes) == [host.name for host in hosts]
    assert outcomes.successful_values() == [host.address for host in hosts]
    assert all(outcome.ok and outcome.error is None for outcome in outcomes.values())
    assert outcomes.raise_if_failed("asking failed") is outcomes


def test_hosts_are_worked_on_at_the_same_time() -> None:
    meeting = threading.Barrier(20)

    outcomes = for_each(fleet(20), lambda _: meeting.wait(timeout=10))

    assert len(outcomes.succeeded) == 20


def test_no_more_hosts_than_the_limit_are_worked_on_at_once() -> None:
    lock, now, most, meeting = threading.Lock(), [0], [0], threading.Barrier(3)

    def work(_: Host) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        meeting.wait(timeout=10)
        with lock:
            now[0] -= 1

    outcomes = for_each(fleet(12), work, max_workers=3)

    assert len(outcomes.succeeded) == 12
    assert most[0] == 3


def test_one_failure_hides_no_other_outcome_and_check_tells_all_failures() -> None:
    def work(host: Host) -> int:
        if host.name in ("ml-1", "ml-3"):
            raise HostError(f"broke {host.address}", where=host.name)
        return 7

    outcomes = for_each(fleet(4), work)

    assert list(outcomes.failed) == ["ml-1", "ml-3"]
    assert list(outcomes.succeeded) == ["ml-0", "ml-2"]
    assert outcomes.successful_values() == [7, 7]
    with pytest.raises(HostsFailed) as caught:
        outcomes.raise_if_failed("install failed")
    assert list(caught.value.errors) == ["ml-1", "ml-3"]
    assert caught.value.__cause__ is outcomes["ml-1"].error
    assert str(caught.value).splitlines() == [
        "install failed on 2 of 4 VMs",
        "  ml-1: broke 10.0.0.1",
        "  ml-3: broke 10.0.0.3",
    ]


def test_an_outcome_gives_its_value_or_raises_its_error() -> None:
    outcomes = for_each(fleet(2), lambda host: 10 / int(host.name[-1]))

    assert outcomes["ml-1"].unwrap() == 10
    with pytest.raises(ZeroDivisionError):
        outcomes["ml-0"].unwrap()


def test_even_a_thread_that_exits_leaves_an_outcome() -> None:
    def work(_: Host) -> None:
        raise SystemExit(3)

    error = for_each(fleet(1), work)["ml-0"].error

    assert isinstance(error, HostError)
    assert "SystemExit" in str(error)


def test_outcomes_are_told_as_they_come_and_in_the_callers_thread() -> None:
    release, told = threading.Event(), []

    def work(host: Host) -> str:
        if host.name == "ml-0":
            release.wait(10)
        return host.name

    def done(outcome: Outcome[str]) -> None:
        told.append((outcome.host.name, threading.current_thread()))
        release.set()

    for_each(fleet(2), work, on_done=done)

    assert told == [("ml-1", threading.current_thread()), ("ml-0", threading.current_thread())]


def test_a_host_that_never_returns_is_unfinished_at_the_deadline() -> None:
    stuck = threading.Event()

    outcomes = for_each(fleet(3), lambda host: stuck.wait(20) if host.name == "ml-1" else True, timeout_s=0.3)

    stuck.set()
    assert list(outcomes.failed) == ["ml-1"]
    assert isinstance(outcomes["ml-1"].error, HostUnfinished)
    assert str(outcomes["ml-1"].error) == "ml-1: not done after 0.3 s"
    assert 0.2 < outcomes["ml-1"].seconds < 5


def test_no_further_host_is_begun_after_the_deadline() -> None:
    stuck, begun = threading.Event(), []

    def work(host: Host) -> None:
        begun.append(host.name)
        stuck.wait(20)

    outcomes = for_each(fleet(3), work, max_workers=1, timeout_s=0.2)
    stuck.set()

    assert begun == ["ml-0"]
    assert "before it began" in str(outcomes["ml-2"].error)
    assert outcomes["ml-2"].seconds == 0


def test_ctrl_c_ends_the_waiting_and_keeps_what_is_known() -> None:
    stuck = threading.Event()

    def work(host: Host) -> str:
        if host.name == "ml-0":
            return "done"
        stuck.wait(20)
        return "late"

    with pytest.raises(HostsInterrupted) as caught:
        for_each(fleet(3), work, on_done=lambda _: _thread.interrupt_main())
    stuck.set()

    assert isinstance(caught.value, KeyboardInterrupt)
    assert caught.value.outcomes["ml-0"].value == "done"
    assert [type(error) for error in caught.value.outcomes.errors.values()] == [HostInterrupted, HostInterrupted]


def test_no_hosts_give_no_outcomes() -> None:
    assert dict(for_each([], lambda host: host.name)) == {}


def test_two_hosts_of_one_name_are_refused_before_anything_is_done() -> None:
    host = fleet(1)[0]

    with pytest.raises(ValueError, match="same name"):
        for_each([host, host], lambda host: host.name)
