"""Output of an install, and images that differ between hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.core.clock import Clock
from orchestrator.core.errors import HostError
from orchestrator.core.events import Event
from orchestrator.core.host import Host
from orchestrator.core.next_step import Message, NextStep
from orchestrator.install.installer import HostInstall, Installer, OutputParser, StepResult, image_mismatch
from orchestrator.install.steps import InstallPlan


def parser(events: list[Event], log: list[str], now: float = 0.0) -> OutputParser:
    """Return a parser for which time stands still."""
    return OutputParser("ml-0", Clock(monotonic=lambda: now), events.append, log.append)


def test_hosts_that_pulled_different_images_are_reported() -> None:
    """Built images always differ."""

    def install(host: str, image: str) -> HostInstall:
        return HostInstall(host, (), 0.0, image)

    first, same = install("a", "sha256:1 r/x@sha256:7"), install("b", "sha256:1 r/x@sha256:7")
    assert image_mismatch([first, same]) == ""
    assert image_mismatch([install("a", "sha256:1"), install("b", "sha256:2")]) == ""
    assert "not the same image" in image_mismatch([first, install("b", "sha256:2 r/x@sha256:8")])


def test_plain_output_is_throttled_messages_of_a_step_are_not() -> None:
    """The log has every line."""
    events: list[Event] = []
    log: list[str] = []
    reader = parser(events, log)
    for number in range(1000):
        reader.read_line(f"line {number}")
    reader.read_line("@@say another apt runs here (apt, pid 7): waiting")

    assert len(log) == 1001
    assert [event.text for event in events] == ["line 0", "another apt runs here (apt, pid 7): waiting"]


def test_steps_become_events_and_results() -> None:
    events: list[Event] = []
    reader = parser(events, [])
    for line in (
        "@@step python start 0",
        "out",
        "@@fix set python",
        "@@step python failed 1250",
        "@@beat",
        "@@image i d",
    ):
        reader.read_line(line)

    assert reader.results == [StepResult("python", "failed", 1.25)]
    assert (reader.tail, reader.fix, reader.image) == (["out"], "set python", "i d")
    assert [(event.phase, event.state) for event in events if event.state != "progress"] == [
        ("python", "start"),
        ("python", "failed"),
    ]


def test_a_vm_whose_automatic_shutdown_is_not_armed_is_a_warning() -> None:
    events: list[Event] = []
    parser(events, []).read_line("@@timer missing")

    assert [(event.host, event.state) for event in events] == [("", "warning")]
    assert "no automatic shutdown is armed" in events[0].text


class FailedInstall:
    """An SSH client on which an install prints lines, and fails."""

    clock = Clock(monotonic=lambda: 0.0)

    def __init__(self, *lines: str) -> None:
        self.lines = lines

    def stream(self, *_: object, on_line: Any, **_options: object) -> int:
        for line in ("@@step requirements start 0", *self.lines, "@@step requirements failed 9"):
            on_line(line)
        return 1


def failure(folder: Path, *lines: str) -> HostError:
    """Return the error of an install that prints these lines."""
    again = NextStep("InstallDeps", job="other")
    installer = Installer(cast(Any, FailedInstall(*lines)), InstallPlan(()), folder, again=again)
    with pytest.raises(HostError) as caught:
        installer(Host("ml-0", "192.0.2.1", "10.0.0.1", 22, "me", Path("key"), "", "i-1"))
    return caught.value


def test_advice_of_a_host_is_worded_where_it_is_printed_and_names_the_job(tmp_path: Path) -> None:
    error = failure(tmp_path, "@@fix correct it, then InstallDeps() again; or TerminateAll()", "no such file")
    assert isinstance(error.fix, Message)
    steps = [part for part in error.fix.parts if isinstance(part, NextStep)]

    assert str(error).startswith("ml-0: requirements failed: no such file")
    assert steps == [NextStep("InstallDeps", job="other"), NextStep("TerminateAll")]


def test_the_error_of_pip_is_the_reason_not_the_hint_after_it(tmp_path: Path) -> None:
    error = failure(tmp_path, "Collecting x", "ERROR: Invalid requirement: './nope'", "Hint: It looks like a path.", "")

    assert str(error).startswith("ml-0: requirements failed: ERROR: Invalid requirement: './nope'")


def test_files_of_the_bundle_are_shown_by_their_names_and_logged_with_their_paths() -> None:
    events: list[Event] = []
    log: list[str] = []
    line = "Invalid requirement: 'x' (from line 1 of /home/ubuntu/stratus/.bundle.yyVCoz/requirements.txt)"
    output = parser(events, log)
    output.read_line(line)

    assert log == [line]
    assert output.tail == ["Invalid requirement: 'x' (from line 1 of requirements.txt)"]
    assert [event.text for event in events] == output.tail
