"""Answers to what hosts request during an install."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core.clock import Clock
from orchestrator.core.errors import HostError
from orchestrator.core.events import Event
from orchestrator.core.host import Host
from orchestrator.install.parcel import Parcel
from orchestrator.install.requests import HostRequests, UploadProgress
from orchestrator.install.upload import scan

HOST = Host("ml-0", "192.0.2.1", "10.0.0.1", 22, "ubuntu", Path("key"), "", "i-0")


def requests(folder: Path) -> HostRequests:
    """Return the requests of a host whose install has one upload."""
    (folder / "a").write_text("content")
    parcel = Parcel(scan("job.code", folder, "x"), folder)
    return HostRequests(HOST, {"job.code": parcel}, {}, None, Clock(monotonic=lambda: 0.0), lambda event: None)


@pytest.mark.parametrize(
    "line",
    ["@@want login", "@@want other", "@@want", "@@want ../../etc", "@@missing other AQ==", "@@missing job.code !"],
)
def test_a_request_outside_the_plan_is_an_error(tmp_path: Path, line: str) -> None:
    """No byte is sent for it."""
    with pytest.raises(HostError, match="ml-0: it requests"):
        requests(tmp_path).respond(line)


@pytest.mark.parametrize("line", ["@@want job.code", "@@missing job.code AQ=="])
def test_a_repeated_request_is_an_error(tmp_path: Path, line: str) -> None:
    """A host could otherwise have the same bytes sent without end."""
    host = requests(tmp_path)
    assert host.respond(line) is not None
    with pytest.raises(HostError, match="not part of the install"):
        host.respond(line)


def test_other_lines_are_no_requests(tmp_path: Path) -> None:
    assert requests(tmp_path).respond("@@wanted nothing") is None
    assert requests(tmp_path).respond("output") is None


def test_progress_has_amounts_rate_and_time_left_and_is_rare() -> None:
    """Small uploads have none."""
    now, events = [100.0], list[Event]()
    progress = UploadProgress("ml-0", 200_000_000, Clock(monotonic=lambda: now[0]), events.append)
    small = UploadProgress("ml-0", 7_000_000, Clock(monotonic=lambda: now[0]), events.append)
    for _ in range(100):
        now[0] += 0.125
        progress.add(1_250_000)
        small.add(10_000)

    assert len(events) == 25
    assert events[-1].text == "uploaded 125 of 200 MB   10.0 MB/s   about 0:08 left"
