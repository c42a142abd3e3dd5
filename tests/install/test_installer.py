"""Output of an install, and images that differ between hosts."""

from __future__ import annotations

from orchestrator.core.clock import Clock
from orchestrator.core.events import Event
from orchestrator.install.installer import HostInstall, OutputParser, StepResult, image_mismatch


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
