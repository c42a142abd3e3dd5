"""Progress of a run that is watched: a clock and, from the lines of the job, step, rate and time left.

A job reports progress by printing lines such as ``scene 3/12`` or ``Epoch 3 of 10  loss 0.41``. On a terminal that can
redraw, one line at the bottom shows them; lines with nothing but a step and values are not printed one by one there.
"""

from __future__ import annotations

import math
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from orchestrator.core.clock import Clock
from orchestrator.core.output_line import OutputLine, as_output_line
from orchestrator.interface.console import Console
from orchestrator.interface.render.units import last_state

_STEP = re.compile(
    r"\s*(?P<label>[A-Za-z][\w -]{0,30}?)?[\s:=]*[\[(]?"
    r"(?P<done>\d{1,9})(?:\s?/\s?| of )(?P<total>\d{1,9})(?![\d/.])[\])]?(?P<rest>.*)"
)
_NAME = r"(?:[A-Za-z][\w.@-]{0,30}\s){0,1}[A-Za-z][\w.@-]{0,30}\s?[:=]?\s?"
_NUMBER = r"(?:[-+]?\d[\d.:]{0,20}(?:e[-+]?\d{1,3})?|nan|-?inf)\s?(?:%|(?:ms|s|it|min)\b(?:/\w{1,6})?)?"
_VALUES = re.compile(rf"[\s.,:;|(\[-]*(?:(?:{_NAME})?{_NUMBER}(?:[\s,;|)\](-]+|$)){{0,12}}[\s.]*")
"""The rest of a line of progress: values such as ``loss 0.41``, ``lr=1e-3`` or ``(30%)``."""

_MEMBERS = ("rank", "process", "worker", "node", "host", "instance", "replica", "device", "gpu", "vm")
"""``rank 0 of 2`` numbers a member of a group, each of which prints lines of its own: it is no step."""

MAX_VALUES_CHARS = 200
"""A longer rest is no list of values; also bounds the time that matching takes."""

MAX_LINE_CHARS = 400
"""Of a line, as much is looked at; as above: a host may send 64 KiB of blanks."""

INTERVAL_S = 1.0
MERGED_S = 0.2
"""Lines that come together, as after a reconnect, are one sample: their rate is the connection's, not the job's."""

JOIN_TIMEOUT_S = 2.0
SAMPLES = 30
"""The rate is that of the last steps: the first ones often load data or compile."""


@dataclass
class StepCounter:
    """Steps of one host's task.

    :param samples: (clock reading in seconds, steps done), oldest first.
    :param values: rest of the last line, if it was nothing but values.
    """

    label: str
    done: int
    total: int
    values: str = ""
    samples: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    def update(self, done: int, now: float) -> None:
        """Note how many steps are done."""
        self.done = done
        if self.samples and now - self.samples[-1][0] < MERGED_S:
            now, _ = self.samples.pop()
        self.samples.append((now, done))

    @property
    def fraction(self) -> float:
        """Share of the steps that are done."""
        return self.done / self.total

    @property
    def steps_per_s(self) -> float | None:
        """Steps per second; None while that is not known."""
        (first_s, first), (last_s, last) = self.samples[0], self.samples[-1]
        return (last - first) / (last_s - first_s) if last > first and last_s > first_s else None

    def text(self, now: float) -> str:
        """Return step, rate, time left and values."""
        # Values last: a narrow terminal cuts the line's end.
        values = f"   {self.values}" if self.values else ""
        return self._pace(now) + values

    def _pace(self, now: float) -> str:
        step = f"{self.label} {self.done}/{self.total}".strip()
        rate = self.steps_per_s
        if not rate:
            return step
        # Of the step under way, some time has passed already.
        left_s = max(0.0, (self.total - self.done) / rate - (now - self.samples[-1][0]))
        pace = f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
        return f"{step}   {pace}" + (f"   about {clock_text(math.ceil(left_s))} left" if self.done < self.total else "")


def clock_text(seconds: float) -> str:
    """Return a stretch of time as a clock shows it: ``0:07``, ``1:02:03``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _are_values(rest: str) -> bool:
    """Return True if the rest of a line of progress holds nothing but values: no message that has to stay visible."""
    return len(rest) <= MAX_VALUES_CHARS and bool(_VALUES.fullmatch(rest))


class RunProgress:
    """Progress of one run, read from its lines and shown below them; safe to use from many threads."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self.console = console
        self._now = clock.monotonic
        self._began = self._now()
        self._lock, self._drawing = threading.Lock(), threading.Lock()
        self._counters: dict[str, StepCounter] = {}
        self._has_output = self._is_shown = False
        self._drawn_at = float("-inf")
        # Host -> present state of its progress bar.
        self._bars: dict[str, str] = {}
        # Host -> its last line that was shown below only.
        self._unprinted: dict[str, str] = {}

    def read_line(self, host: str, line: str) -> bool:
        """Read a line of the job; return True if it is shown below and need not be printed."""
        is_hidden = self._take_line(host, line)
        # Before the line is printed, which redraws what is below; a job may print thousands of lines a second.
        if self._is_shown and self._now() - self._drawn_at >= MERGED_S:
            self._draw()
        return is_hidden

    def _take_line(self, host: str, line: str) -> bool:
        if self._is_bar(host, as_output_line(line)):
            return True
        match = _STEP.fullmatch(last_state(line).lstrip()[:MAX_LINE_CHARS])
        done, total = (int(match["done"]), int(match["total"])) if match else (0, 0)
        with self._lock:
            self._has_output = True
            self._unprinted.pop(host, None)
            # 11/21 is a step, 11/21/2026 and 2026/11 are none.
            if match is None or not 0 <= done <= total or total < 2:
                return False
            label = (match["label"] or "").strip()
            if label.lower().split(" ")[-1] in _MEMBERS:
                return False
            self._count(host, label, done, total)
            self._counters[host].values = match["rest"].strip(" \t:,;|") if _are_values(match["rest"]) else ""
            is_hidden = self.console.supports_redraw and _are_values(match["rest"])
            if is_hidden:
                self._unprinted[host] = line
        return is_hidden

    def _is_bar(self, host: str, line: OutputLine) -> bool:
        """Note a state of a progress bar, such as tqdm's; return False for a line. Its last state comes as a line."""
        is_state = not line.ends_line and not line.raw and self.console.supports_redraw
        with self._lock:
            if is_state:
                self._bars[host] = last_state(line).strip()
            else:
                self._bars.pop(host, None)
        return is_state

    def _count(self, host: str, label: str, done: int, total: int) -> None:
        counter = self._counters.get(host)
        # Another count has begun: a second epoch, or another stage.
        if counter is None or (counter.label, counter.total) != (label, total) or done < counter.done:
            counter = self._counters[host] = StepCounter(label, done, total)
        counter.update(done, self._now())

    def take_unprinted(self) -> list[tuple[str, str]]:
        """Return (host, line) of the last lines that were not printed, once."""
        with self._lock:
            lines, self._unprinted = list(self._unprinted.items()), {}
        return lines

    def text(self) -> str:
        """Return the line that is shown below."""
        now = self._now()
        elapsed = f"  {clock_text(now - self._began)}"
        with self._lock:
            if self._bars:
                host, bar = next(iter(self._bars.items()))
                return f"{elapsed}   {f'{host} ' if len(self._bars) > 1 else ''}{bar}"
            if not self._counters:
                return elapsed if self._has_output else f"{elapsed}   no output yet"
            host, counter = min(self._counters.items(), key=lambda item: item[1].fraction)
            # All hosts wait for the slowest one.
            slowest = f"{host} " if len(self._counters) > 1 else ""
            return f"{elapsed}   {slowest}{counter.text(now)}"

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the line while the block runs, where the terminal can redraw it; nothing of it is left afterwards."""
        if not self.console.supports_redraw:
            yield
            return
        finished = threading.Event()
        self._is_shown = True
        thread = threading.Thread(target=self._redraw, args=(finished,), name="run progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with self._drawing:
                self._is_shown = False
                self.console.set_footer("")
            finished.set()
            # Bounded: a terminal that takes nothing more must not hold up the end of a verb.
            thread.join(JOIN_TIMEOUT_S)

    def _draw(self) -> None:
        # Threads of hosts may still deliver lines when the block has ended: then nothing may be drawn.
        with self._drawing:
            if self._is_shown:
                self._drawn_at = self._now()
                self.console.set_footer(self.text())

    def _redraw(self, finished: threading.Event) -> None:
        self._draw()
        # Not the clock's sleep: the end of the run interrupts this at once.
        while not finished.wait(INTERVAL_S):
            self._draw()
