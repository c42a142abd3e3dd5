"""Choice of the host that another one gets its data from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.core.clock import Clock
from orchestrator.core.errors import HostError
from orchestrator.core.events import Event
from orchestrator.core.host import Host
from orchestrator.install.fan_out import CHAIN_HOSTS, MAX_REQUESTS, SLOW_BYTES, FanOutOptions, Tree

HOST = Host("", "192.0.2.1", "10.0.0.1", 22, "ubuntu", Path("key"), "", "i-0")
MB = 1_000_000


class Lab:
    """A tree whose hosts are numbers.

    :ivar now: seconds.
    """

    def __init__(self, count: int) -> None:
        self.now = 0.0
        self.events: list[Event] = []
        clock = Clock(monotonic=lambda: self.now)
        self.tree = Tree("job.data", count, FanOutOptions(), clock, self.events.append)
        self.hosts = [replace(HOST, name=f"ml-{number}") for number in range(count)]

    def source(self, number: int, lost: int | None = None, why: str = "closed", port: int = 5000) -> str:
        """Return the name of a host's source; empty for this computer."""
        left = ("-", "-") if lost is None else (f"ml-{lost}", why)
        source = self.tree.source(self.hosts[number], port, *left)
        return source.name if source else ""

    def report(self, number: int, done: int, *, complete: bool = False) -> bool:
        """Report progress."""
        return self.tree.report(self.hosts[number], done, is_complete=complete)

    @property
    def texts(self) -> list[str]:
        """Warnings."""
        return [event.text for event in self.events]


def test_few_hosts_form_a_chain() -> None:
    lab = Lab(CHAIN_HOSTS)

    assert [lab.source(number) for number in range(4)] == ["", "ml-0", "ml-1", "ml-2"]


def test_many_hosts_form_a_binary_tree() -> None:
    lab = Lab(CHAIN_HOSTS + 1)

    assert [lab.source(number) for number in range(7)] == ["", "ml-0", "ml-0", "ml-1", "ml-2", "ml-1", "ml-2"]


def test_a_late_host_gets_data_from_a_complete_one() -> None:
    lab = Lab(3)
    lab.source(0)
    lab.report(0, 10 * MB, complete=True)
    lab.tree.leave(lab.hosts[2])

    assert lab.source(1) == "ml-0"


def test_when_the_first_host_is_lost_one_other_replaces_it() -> None:
    """The others get their data from that one, whichever asks first, and in no circle."""
    lab = Lab(9)
    for number in range(7):
        lab.source(number)

    assert lab.source(2, lost=0) == ""
    assert lab.source(1, lost=0) in {"ml-2", "ml-4", "ml-6"}
    assert lab.texts == [
        f"ml-{number} does not get job.data from ml-0 any more: the connection ended" for number in (2, 1)
    ]


def test_a_host_that_works_for_others_stays_in_use() -> None:
    lab = Lab(9)
    for number in range(3):
        lab.source(number)
    assert lab.source(1, lost=0) == ""
    lab.report(0, MB)

    assert lab.source(3) in {"ml-0", "ml-1"}


def test_a_host_whose_install_failed_is_no_source() -> None:
    lab = Lab(9)
    lab.source(0)
    lab.source(1)
    lab.tree.leave(lab.hosts[0])

    assert lab.source(2) == ""


def test_two_accusers_are_believed_one_may_lie() -> None:
    lab = Lab(9)
    lab.source(0)
    for number in (1, 2):
        lab.source(number)
    for number, later in ((1, "ml-0"), (2, "")):
        lab.source(number, lost=0, why="wrong", port=0)
        lab.report(0, MB)
        assert lab.source(number + 2) == later


def test_where_hosts_cannot_connect_all_get_data_from_this_computer() -> None:
    """Two attempts show it, as long as none has worked."""
    lab = Lab(9)
    lab.source(0)
    lab.source(1)
    lab.source(2)

    assert lab.source(1, lost=0, why="unreachable") == ""
    assert lab.source(2, lost=0, why="unreachable") == ""
    assert lab.source(3) == ""
    assert "VMs cannot connect to each other: each gets job.data from this computer" in lab.texts[-1]


def test_a_slow_host_passes_nothing_on_any_more() -> None:
    """Compared with others that get their data from hosts; those behind it are not blamed."""
    lab = Lab(9)
    for number in range(7):
        lab.source(number)
    lab.now = 10.0
    lab.report(0, 20 * SLOW_BYTES)
    lab.report(2, 10 * SLOW_BYTES)
    lab.report(1, SLOW_BYTES)

    assert not lab.report(4, 9 * SLOW_BYTES)
    assert lab.report(3, SLOW_BYTES)
    assert lab.report(5, SLOW_BYTES)
    assert lab.source(3, lost=1, why="moved") not in {"ml-1", "ml-5"}
    assert lab.source(7) != "ml-1"
    assert lab.texts == ["ml-1 is slow: it does not pass job.data on to other VMs any more"]


def test_a_host_that_asks_without_end_is_an_error() -> None:
    lab = Lab(9)
    for _ in range(MAX_REQUESTS):
        lab.source(0)

    with pytest.raises(HostError, match="it left 20 sources"):
        lab.source(0)


def test_two_hosts_get_no_certificates() -> None:
    """Their upload is direct."""
    assert Lab(2).tree.membership(HOST) == b""
    assert b"PRIVATE KEY" in Lab(3).tree.membership(HOST)
