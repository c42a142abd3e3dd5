"""Progress of a run: steps read from the job's lines, and one line below them on a terminal."""

from __future__ import annotations

import threading
from contextlib import redirect_stdout
from dataclasses import dataclass

import pytest

from orchestrator.core.clock import REAL_CLOCK, Clock
from orchestrator.core.output_line import OutputLine
from orchestrator.interface.console import Console
from orchestrator.interface.run_progress import RunProgress, clock_text
from orchestrator.interface.verbs.follow import LogPrinter
from tests.support.interface.screen import Screen
from tests.support.waiting import wait_until

TERMINAL = {"TERM": "xterm", "NO_COLOR": "1"}


@dataclass
class Watch:
    """A clock that a test sets."""

    now: float = 0.0

    @property
    def clock(self) -> Clock:
        return Clock(
            monotonic=lambda: self.now,
            sleep=REAL_CLOCK.sleep,
            random=REAL_CLOCK.random,
            now=REAL_CLOCK.now,
            new_id=REAL_CLOCK.new_id,
        )


@pytest.mark.parametrize(
    ("line", "text", "is_hidden"),
    [
        ("scene 3/12", "scene 3/12", True),
        ("Epoch 3 of 10", "Epoch 3/10", True),
        ("step: 30/300 (10%)", "step 30/300   (10%)", True),
        ("[3/12] ", "3/12", True),
        ("epoch 3/10  rmse 0.412", "epoch 3/10   rmse 0.412", True),
        (
            "epoch 3/10: train loss=0.41, lr 1e-3, nan 2 s/it",
            "epoch 3/10   train loss=0.41, lr 1e-3, nan 2 s/it",
            True,
        ),
        ("scene 3/12 b.nc is damaged", "scene 3/12", False),
        ("Warning: 2/10 files are empty", "Warning 2/10", False),
        ("step 3/12" + " 1" * 5000, "step 3/12", False),
        ("  50/100 \r 60/100", "60/100", True),
    ],
)
def test_a_step_is_read_and_only_lines_with_values_alone_are_hidden(line: str, text: str, is_hidden: bool) -> None:
    with redirect_stdout(Screen()):
        progress = RunProgress(Console(env=TERMINAL), Watch().clock)

        assert progress.read_line("ml-0", line) is is_hidden
        assert progress.text() == f"  0:00   {text}"


@pytest.mark.parametrize(
    "line",
    [
        "11/21/2026 start",
        "2026/11/21 12:00",
        "loss 0.5",
        "12/3",
        "ratio 1/2.5",
        "x" * 500 + " 1/2",
        "http://a/1",
        "rank 0 of 2 sum 3",
        "local Rank 1/2",
    ],
)
def test_other_lines_are_no_steps(line: str) -> None:
    progress = RunProgress(Console(env=TERMINAL), Watch().clock)

    assert not progress.read_line("ml-0", line)
    assert progress.text() == "  0:00"


def test_rate_and_time_left_follow_the_last_steps() -> None:
    watch = Watch()
    progress = RunProgress(Console(env=TERMINAL), watch.clock)
    # Together, as after a reconnect: no rate.
    for step in range(1, 51):
        progress.read_line("ml-0", f"step {step}/100")
    assert progress.text() == "  0:00   step 50/100"
    for step in range(51, 61):
        watch.now += 2.0
        progress.read_line("ml-0", f"step {step}/100")
    assert progress.text() == "  0:20   step 60/100   2.0 s each   about 1:20 left"
    watch.now += 1.0
    assert progress.text().endswith("about 1:19 left")
    progress.read_line("ml-0", "step 60/100, loss 0.5")
    assert progress.text().endswith(" left   loss 0.5")
    for step in range(61, 101):
        watch.now += 0.25
        progress.read_line("ml-0", f"step {step}/100")
    assert progress.text() == "  0:31   step 100/100   4.0/s"


def test_of_several_hosts_the_slowest_is_shown() -> None:
    progress = RunProgress(Console(env=TERMINAL), Watch().clock)
    progress.read_line("ml-0", "step 7/9")
    progress.read_line("ml-1", "step 2/9")

    assert progress.text() == "  0:00   ml-1 step 2/9"


def test_a_progress_bar_stands_below_until_its_line_is_complete() -> None:
    with redirect_stdout(Screen()):
        progress = RunProgress(Console(env=TERMINAL), Watch().clock)
        is_hidden = progress.read_line("ml-0", OutputLine(" 50%|##  | 5/10 [00:01<00:01]", b"", ends_line=False))
        shown = progress.text()
        last = OutputLine("100%|####| 10/10 [00:02<00:00]", b"...", ends_line=True)

        assert (is_hidden, shown) == (True, "  0:00   50%|##  | 5/10 [00:01<00:01]")
        assert not progress.read_line("ml-0", last)
        assert progress.text() == "  0:00"


def test_a_terminal_shows_one_line_below_the_output_and_keeps_the_last_state() -> None:
    """Every line in between stands above it, whole."""
    screen = Screen()
    with redirect_stdout(screen):
        console = Console(env=TERMINAL)
        printer = LogPrinter(console, progress=RunProgress(console, Watch().clock))
        on_line = printer.listener()
        with printer.showing_progress():
            wait_until(lambda: "no output yet" in screen.text)
            for line in ("scene 1/3", "loaded", "scene 2/3", "scene 3/3"):
                on_line("ml-0", line)
        console.print("after")

    assert _final(screen.getvalue()) == ["  | loaded", "  | scene 3/3", "after"]
    assert not [thread for thread in threading.enumerate() if thread.name == "run progress"]


def test_where_nothing_can_be_redrawn_every_line_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(env={"TERM": "dumb"})
    printer = LogPrinter(console, progress=RunProgress(console, Watch().clock))
    on_line = printer.listener()
    with printer.showing_progress():
        for line in ("scene 1/2", "scene 2/2"):
            on_line("ml-0", line)

    assert capsys.readouterr().out == "  | scene 1/2\n  | scene 2/2\n"


def test_a_clock_has_hours_when_it_needs_them() -> None:
    assert [clock_text(seconds) for seconds in (7.9, 61, 3723)] == ["0:07", "1:01", "1:02:03"]


def _final(written: str) -> list[str]:
    """Return the lines that a terminal shows at the end."""
    return [line.split("\r\x1b[2K")[-1] for line in written.split("\n") if line.split("\r\x1b[2K")[-1]]
