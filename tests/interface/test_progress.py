"""The board: what hosts are doing, as redrawn lines or as a log."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stdout

import pytest

from orchestrator.core.clock import REAL_CLOCK, Clock
from orchestrator.core.events import Event
from orchestrator.interface import progress
from orchestrator.interface.console import Console
from orchestrator.interface.progress import HostRow, ProgressBoard
from tests.support.interface.screen import Screen


def until(fact: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Wait for a fact; False when it does not come."""
    deadline = time.monotonic() + seconds
    while not fact() and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    return fact()


def row(*events: Event) -> HostRow:
    found = HostRow("ml-0", 0.0)
    for number, event in enumerate(events):
        found.update(event, float(number))
    return found


def test_a_row_says_what_is_under_way_since_when_and_what_is_behind() -> None:
    found = row(
        Event("ml-0", "pending", "start"),
        Event("ml-0", "pending", "done", 2.1),
        Event("ml-0", "python", "unchanged", 0.1),
        Event("ml-0", "requirements", "start"),
        Event("ml-0", "", "progress", text="Collecting\r\x1b[31mdask"),
    )
    assert found.cells(15.4) == ["ml-0", "requirements", "12.4 s", "pending 2.1 s   python", "| ^[[31mdask"]


def test_a_failed_row_keeps_its_reason() -> None:
    found = row(Event("ml-0", "boot", "start"), Event("ml-0", "boot", "failed", 30.0, "ssh: no answer"))

    assert found.cells(99.0) == ["ml-0", "boot failed", "", "", "ssh: no answer"]


def test_many_hosts_are_counted_and_the_slowest_is_named() -> None:
    found = [HostRow(f"ml-{n}", 0.0) for n in range(128)]
    for n, one in enumerate(found):
        one.update(Event(one.name, "boot" if n < 100 else "ssh", "start"), 1.0 if n == 7 else 5.0)

    lines = progress.rows(found, 9.0, 0.0)

    assert lines == ["  128 VMs   100 booting   28 waiting for SSH   9.0 s", "  longest: ml-7  booting  8.0 s"]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Event("ml-0", "boot", "start"), ""),
        (Event("ml-0", "", "progress", text="Collecting dask"), ""),
        (Event("ml-0", "boot", "done", 1.4), "  ml-0  boot  done  1.4 s"),
        (Event("ml-0", "python", "unchanged", 0.1), "  ml-0  python  unchanged"),
        (Event("ml-0", "boot", "failed", 30.0, "no answer"), "  ml-0  boot  failed  no answer"),
        (Event("", "request", "warning", text="asked again"), "  request  warning  asked again"),
    ],
)
def test_a_log_gets_a_line_per_change_of_state(event: Event, line: str) -> None:
    assert progress.latest(event, many=False) == line


def test_a_log_of_many_hosts_tells_only_what_goes_wrong() -> None:
    assert progress.latest(Event("ml-0", "boot", "done", 1.4), many=True) == ""
    assert progress.latest(Event("ml-0", "boot", "failed", text="x"), many=True) == "  ml-0  boot  failed  x"


def test_where_nothing_can_move_the_board_is_lines(capsys: pytest.CaptureFixture[str]) -> None:
    shown = ProgressBoard(Console(), REAL_CLOCK)
    shown.handle(Event("ml-9", "boot", "done", 1.0))
    with shown.shown():
        shown.handle(Event("ml-0", "boot", "start"))
        shown.handle(Event("ml-0", "boot", "done", 1.4))
    shown.handle(Event("ml-9", "boot", "done", 1.0))

    assert capsys.readouterr().out == "  ml-0  boot  done  1.4 s\n"


def test_a_silent_log_says_now_and_then_what_is_still_under_way(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    shown = ProgressBoard(Console(), Clock(monotonic=lambda: now[0]))
    said = threading.Event()

    class Telling(Console):
        def print(self, text: object) -> None:
            super().print(text)  # type: ignore[arg-type]
            said.set()

    shown.console = Telling()
    with shown.shown():
        shown.handle(Event("ml-0", "requirements", "start"))
        now[0] = 40.0
        assert said.wait(5)

    assert capsys.readouterr().out == "  still  ml-0  requirements  40.0 s\n"


def test_on_a_terminal_the_board_redraws_itself_and_leaves_nothing() -> None:
    shown = ProgressBoard(Console(env={"TERM": "xterm"}), REAL_CLOCK)
    with redirect_stdout(Screen()) as screen, shown.shown():
        shown.handle(Event("ml-0", "boot", "start"))
        assert until(lambda: "ml-0  booting" in screen.getvalue())

    # Erased: the last thing written goes up and clears the line.
    assert "\x1b[2K" in screen.getvalue().rsplit("ml-0", 1)[1]


def test_after_the_redraw_has_ended_changes_of_hosts_are_not_printed() -> None:
    board = ProgressBoard(Console(env={"TERM": "xterm"}), REAL_CLOCK)
    with redirect_stdout(Screen()) as screen, board.shown():
        board.handle(Event("ml-0", "boot", "start"))
        assert until(lambda: "ml-0  booting" in screen.getvalue())
        board.end_redraw()
        board.handle(Event("ml-0", "terminate", "done", 1.3))
        board.handle(Event("", "interrupted", "progress", text="fetching"))

    assert "terminate  done" not in screen.text
    assert screen.text.endswith("  interrupted  fetching\n")


@pytest.mark.parametrize("width", [80, 120])
def test_what_is_printed_while_the_board_redraws_itself_is_a_line_of_its_own_that_stays(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = ProgressBoard(Console(env={"TERM": "xterm", "COLUMNS": str(width), "NO_COLOR": "1"}), REAL_CLOCK)
    texts = ["python of proj on ml-0 first: changed since", "proj installed on ml-0 ml-1", "printed by others"]
    with redirect_stdout(Screen()) as screen, shown.shown():
        shown.handle(Event("ml-0", "connect", "start"))
        assert until(lambda: "ml-0  connecting" in screen.getvalue())
        shown.handle(Event("", "install", "progress", text=texts[0]))
        shown.handle(Event("", "install", "done", 12.3, texts[1]))
        shown.handle(Event("", "request", "done", 0.1))
        shown.console.print(f"  {texts[2]}")

    # A step without a text is in the verb's summary.
    assert "request" not in screen.getvalue()
    for text in texts:
        before, _, after = screen.getvalue().partition(text)
        # Erased before it, so that it begins a line; drawn anew below it, so that the next redraw leaves it.
        assert re.search(r"\x1b\[2K(  install)?  $", before)
        assert re.match(r"( in 12.3 s)?\r?\n  ml-0  connecting", after)


def test_a_dumb_terminal_gets_lines() -> None:
    shown = ProgressBoard(Console(env={"TERM": "dumb"}), REAL_CLOCK)
    with redirect_stdout(Screen()) as screen, shown.shown():
        shown.handle(Event("ml-0", "boot", "done", 1.4))

    assert screen.getvalue() == "  ml-0  boot  done  1.4 s\n"
