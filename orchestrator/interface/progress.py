"""What every host is doing right now: a few lines that redraw themselves, or plain lines where nothing can move.

Events come from many threads. The board keeps one row per host; :func:`rows` and :func:`news` turn them into text.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.core.events import Event
from orchestrator.interface.console import Console
from orchestrator.interface.render.units import columns, duration, plain

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.text import Text

MANY = 20
"""More hosts than this are summed up: a list that long can neither be read nor redrawn."""

REDRAWS_PER_S = 8
QUIET_S = 15.0
"""In a log, say what is still going on after this long without news; CI systems end what says nothing for minutes."""

_OVER = ("done", "unchanged")


@dataclass
class Row:
    """One host: what it is at, since when, and what it has behind it.

    :param since: clock reading at which the present phase began.
    :param behind: (phase, seconds) of what is done; None seconds where there was nothing to do.
    """

    name: str
    since: float
    phase: str = ""
    text: str = ""
    failed: bool = False
    behind: list[tuple[str, float | None]] = field(default_factory=list)

    def take(self, event: Event, now: float) -> None:
        """Bring the row up to date."""
        if event.state == "progress":
            self.text = plain(event.text).strip() or self.text
            return
        if event.state == "start":
            self.phase, self.since, self.text = event.phase, now, event.text
        elif event.state == "failed":
            self.phase, self.failed, self.text = event.phase, True, plain(event.text) or self.text
        elif event.state in _OVER:
            self.behind.append((event.phase, event.seconds if event.state == "done" else None))
            self.phase, self.since, self.text = "", now, ""

    def cells(self, now: float) -> Sequence[str]:
        """Return name, present phase, its age, what is behind, and the last words."""
        behind = "   ".join(name if took is None else f"{name} {duration(took)}" for name, took in self.behind)
        if self.failed:
            return [self.name, f"{self.phase} failed".strip(), "", behind, self.text]
        if not self.phase:
            return [self.name, self.behind[-1][0] if self.behind else "waiting", "", behind, ""]
        return [self.name, self.phase, duration(now - self.since), behind, self.text and f"| {self.text}"]


def rows(found: Sequence[Row], now: float, began: float) -> list[str]:
    """Return the board as lines; many hosts in one line of counts and one about the last of them."""
    if len(found) <= MANY:
        return columns([row.cells(now) for row in found])
    counts = Counter(_stage(row) for row in found)
    summed = "   ".join(f"{count} {stage}" for stage, count in counts.most_common())
    return [f"  {len(found)} hosts   {summed}   {duration(now - began)}", *_slowest(found, now)]


def _stage(row: Row) -> str:
    if row.failed:
        return "failed"
    return row.phase or (f"{row.behind[-1][0]} done" if row.behind else "waiting")


def _slowest(found: Sequence[Row], now: float) -> list[str]:
    busy = [row for row in found if row.phase and not row.failed]
    if not busy:
        return []
    row = min(busy, key=lambda row: row.since)
    return [f"  longest: {'  '.join(cell for cell in row.cells(now)[:3] if cell)}  {row.text}".rstrip()]


def news(event: Event, *, many: bool) -> str:
    """Return the line that a log gets for an event; empty for none.

    :param many: so many hosts that only what goes wrong is worth a line each.
    """
    subject = f"  {'  '.join(word for word in (event.host, event.phase) if word)}"
    if event.state in ("failed", "warning"):
        return f"{subject}  {event.state}  {plain(event.text)}".rstrip()
    if event.state == "progress" and not event.host:
        return f"{subject}  {plain(event.text)}"  # of everybody: which pool is asked next, and why
    if many or event.state not in _OVER:
        return ""
    took = "" if event.seconds is None or event.state == "unchanged" else f"  {duration(event.seconds)}"
    return f"{subject}  {event.state}{took}"


class Board:
    """Listens to events (:meth:`tell`) and keeps the user informed while :meth:`shown`."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self._clock = clock
        self._lock = threading.Lock()
        self._rows: dict[str, Row] = {}
        self._shown = self._live = False
        self._began = self._said = clock()

    def tell(self, event: Event) -> None:
        """Take an event, from any thread; before :meth:`shown` and after it only what is waited for is said."""
        now = self._clock()
        with self._lock:
            if not self._shown and (event.host or event.state != "progress"):
                return
            if event.host:
                self._rows.setdefault(event.host, Row(event.host, now)).take(event, now)
            line = "" if self._live else news(event, many=len(self._rows) > MANY)
            if not event.host and event.state in ("warning", "progress"):
                line = news(event, many=False)
            self._said = now if line else self._said
        if line:
            self.console.say(line)

    @contextmanager
    def shown(self, *, redraw: bool = True) -> Iterator[None]:
        """Show the board while the block runs; a terminal has nothing left of it afterwards.

        :param redraw: False: one line per change even on a terminal, because others write there at the same time.
        """
        self._rows.clear()
        self._began = self._said = self._clock()
        self._live = redraw and self.console.moves
        self._shown = True
        try:
            with self._redrawn() if self._live else self._murmuring():
                yield
        finally:
            self._shown = False

    def lines(self) -> list[str]:
        """Return the board as it stands."""
        with self._lock:
            return rows(list(self._rows.values()), self._clock(), self._began)

    @contextmanager
    def _redrawn(self) -> Iterator[None]:
        from rich.console import Console as RichConsole
        from rich.live import Live

        screen = RichConsole(
            file=self.console.stream, highlight=False, force_terminal=True, _environ=dict(self.console.env)
        )
        with Live(
            get_renderable=lambda: self._drawing(screen),
            console=screen,
            refresh_per_second=REDRAWS_PER_S,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            yield

    def _drawing(self, screen: RichConsole) -> Text:
        from rich.text import Text

        lines = self.lines()
        room = max(3, screen.height - 2)
        if len(lines) > room:
            lines = [*lines[: room - 1], f"  and {len(lines) - room + 1} more"]
        # One line per host whatever the width, or the redraw would lose count of its lines.
        width = screen.width - 1
        return Text("\n".join(line if len(line) <= width else line[: width - 1] + "…" for line in lines), no_wrap=True)

    @contextmanager
    def _murmuring(self) -> Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=self._murmur, args=(over,), name="board", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _murmur(self, over: threading.Event) -> None:
        while not over.wait(1.0):
            with self._lock:
                due = self._clock() - self._said >= QUIET_S
                busy = [row for row in self._rows.values() if row.phase and not row.failed]
                self._said = self._clock() if due else self._said
            if due and busy:
                self.console.say([f"  still{line}" for line in rows(busy, self._clock(), self._began)])
