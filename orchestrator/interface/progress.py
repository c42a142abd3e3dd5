"""Progress of every host: a few lines that redraw themselves, or plain lines where nothing can be redrawn.

Events come from many threads. The board keeps one row per host; :func:`rows` and :func:`latest` turn them into text.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.core.clock import Clock
from orchestrator.core.errors import StratusError
from orchestrator.core.events import Event
from orchestrator.interface.console import Console
from orchestrator.interface.render.units import columns, duration, last_state, visible

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.text import Text

MANY = 20
"""More hosts than this are summed up: a list that long can neither be read nor redrawn."""

REDRAWS_PER_S = 8
FIRST_SIGN_S = 1.0
"""Calls to AWS come before the first host's row; a shorter wait needs no sign."""

QUIET_S = 15.0
"""In a log, report what is under way after this long without news; CI systems stop what is silent for minutes."""

_COMPLETED = ("done", "unchanged")


_ACTIVE_PHASES = {
    "connect": "connecting",
    "code": "comparing and uploading code",
    "start": "starting the job",
    "pending": "waiting for EC2",
    "boot": "booting",
    "ssh": "waiting for SSH",
    "hostkey": "securing SSH",
    "terminate": "terminating",
    "replace": "replacing",
    "another install": "waiting for another install",
    "same send": "waiting for an earlier call that sends the same",
}
"""Names of phases while they are under way; install steps have names of their own."""

_PHASES = {"hostkey": "securing SSH"}


def _phase(name: str) -> str:
    return _PHASES.get(name, name)


@dataclass
class HostRow:
    """One host: its phase, since when, and its completed phases.

    :param since: clock reading at which the present phase began, seconds.
    :param completed: (phase, seconds); None seconds where there was nothing to do.
    """

    name: str
    since: float
    phase: str = ""
    text: str = ""
    failed: bool = False
    completed: list[tuple[str, float | None]] = field(default_factory=list)

    def update(self, event: Event, now: float) -> None:
        """Bring the row up to date."""
        # A detail of the phase under way: neither its name nor its age changes.
        if event.state == "progress":
            self.text = _one_line(event.text) or self.text
            return
        if event.state == "start":
            self.phase, self.since, self.text = event.phase, now, _one_line(event.text)
        elif event.state == "failed":
            self.phase, self.failed, self.text = event.phase, True, _one_line(event.text) or self.text
        elif event.state in _COMPLETED:
            self.completed.append((_phase(event.phase), event.seconds if event.state == "done" else None))
            self.phase, self.since, self.text = "", now, ""

    def cells(self, now: float) -> Sequence[str]:
        """Return name, present phase, its age, the completed phases, and the last line of detail."""
        completed = "   ".join(
            name if seconds is None else f"{name} {duration(seconds)}" for name, seconds in self.completed
        )
        if self.failed:
            return [self.name, f"{_phase(self.phase)} failed".strip(), "", completed, self.text]
        if not self.phase:
            return [self.name, self.completed[-1][0] if self.completed else "waiting", "", completed, ""]
        phase = _ACTIVE_PHASES.get(self.phase, self.phase)
        return [self.name, phase, duration(now - self.since), completed, self.text and f"| {self.text}"]


def _is_line(event: Event) -> bool:
    """Return True for an event of the whole cluster that is a line of its own, and stays: it has no row."""
    return not event.host and (event.state in ("progress", "warning") or (event.state == "done" and bool(event.text)))


def _one_line(text: str) -> str:
    """Return what a terminal would show of a line, which may come from a host: nothing in it moves the cursor."""
    return visible(last_state(text.rstrip("\n"))).strip()


def rows(hosts: Sequence[HostRow], now: float, began: float) -> list[str]:
    """Return the rows as lines; of many hosts, one line of counts and one about the slowest."""
    if len(hosts) <= MANY:
        return [str(line) for line in columns([host.cells(now) for host in hosts])]
    counts = Counter(_stage(host) for host in hosts)
    summed = "   ".join(f"{count} {stage}" for stage, count in counts.most_common())
    return [f"  {len(hosts)} VMs   {summed}   {duration(now - began)}", *_slowest(hosts, now)]


def _stage(host: HostRow) -> str:
    if host.failed:
        return "failed"
    if host.phase:
        return _ACTIVE_PHASES.get(host.phase, host.phase)
    return f"{host.completed[-1][0]} done" if host.completed else "waiting"


def _slowest(hosts: Sequence[HostRow], now: float) -> list[str]:
    # A failed host waits for nothing.
    busy = [host for host in hosts if host.phase and not host.failed]
    if not busy:
        return []
    # The host to look at when nothing moves: probably the last to finish.
    host = min(busy, key=lambda host: host.since)
    return [f"  longest: {'  '.join(cell for cell in host.cells(now)[:3] if cell)}  {host.text}".rstrip()]


def latest(event: Event, *, many: bool) -> str:
    """Return the line that a log gets for an event; empty for none.

    :param many: True if there are so many hosts that only failures and warnings are worth a line each.
    """
    subject = f"  {'  '.join(word for word in (event.host, _phase(event.phase)) if word)}"
    if event.state in ("failed", "warning"):
        return f"{subject}  {event.state}  {_one_line(event.text)}".rstrip()
    if event.text and event.state == "done" and not event.host:
        return f"{subject}  {_one_line(event.text)} in {duration(event.seconds or 0.0)}"
    if event.state == "progress" and not event.host:
        return f"{subject}  {_one_line(event.text)}"  # of the whole cluster: which pool is tried next, and why
    if many or event.state not in _COMPLETED:
        return ""
    seconds = "" if event.seconds is None or event.state == "unchanged" else f"  {duration(event.seconds)}"
    return f"{subject}  {event.state}{seconds}"


def _print_above(screen: RichConsole, text: str) -> None:
    """Print finished lines above what is redrawn; they were wrapped before."""
    from rich.text import Text

    screen.print(Text.from_ansi(text), soft_wrap=True)


class ProgressBoard:
    """Receives events (:meth:`handle`) and shows progress while :meth:`shown`."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self.console = console
        self._now = clock.monotonic
        self._lock = threading.Lock()
        self._rows: dict[str, HostRow] = {}
        self._is_shown = self._is_live = False
        self._display = ExitStack()
        self._began = self._last_line = self._now()

    def handle(self, event: Event) -> None:
        """Take an event, from any thread; outside :meth:`shown` only what concerns the whole cluster is printed."""
        now = self._now()
        with self._lock:
            # Events of earlier work may still arrive when a verb has ended.
            if not self._is_shown and not _is_line(event):
                return
            if event.host:
                self._rows.setdefault(event.host, HostRow(event.host, now)).update(event, now)
            line = "" if self._is_live else latest(event, many=len(self._rows) > MANY)
            if _is_line(event):
                line = latest(event, many=False)
            self._last_line = now if line else self._last_line
        # Printed without the lock: a slow terminal must not hold up the threads that work.
        if line:
            self._print(line)

    def _print(self, text: str | list[str]) -> None:
        # Output that cannot be written must not stop the work, the end of VMs for one. The verb's own report names it.
        with suppress(OSError, StratusError):
            self.console.print(text)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show progress while the block runs; a terminal has nothing left of it afterwards."""
        self._rows.clear()
        self._began = self._last_line = self._now()
        self._is_live = self.console.supports_redraw
        self._is_shown = True
        try:
            # Exactly one of them writes: a heartbeat between two redraws would leave its lines on the screen.
            with ExitStack() as self._display:
                self._display.enter_context(self._redrawn() if self._is_live else self._with_heartbeat())
                yield
        finally:
            self._is_shown = False

    def end_redraw(self) -> None:
        """Erase what is redrawn, for the rest of :meth:`shown`; a log continues."""
        if self._is_live:
            # In this order: between the two, an event would be printed as a line.
            self._is_shown = False
            self._display.close()

    def lines(self) -> list[str]:
        """Return the rows as they are now; before the first one, the time that has passed."""
        now = self._now()
        with self._lock:
            if not self._rows and now - self._began >= FIRST_SIGN_S:
                return [f"  working   {duration(now - self._began)}"]
            return rows(list(self._rows.values()), now, self._began)

    @contextmanager
    def _redrawn(self) -> Iterator[None]:
        # Imported here, because only a terminal needs rich.
        from rich.console import Console as RichConsole
        from rich.live import Live

        # Forced: supports_redraw has decided already, by the console's own environment.
        screen = RichConsole(
            file=self.console.stream, highlight=False, force_terminal=True, _environ=dict(self.console.env)
        )
        live = Live(
            get_renderable=lambda: self._drawing(screen),
            console=screen,
            refresh_per_second=REDRAWS_PER_S,
            # Erased at the end: the verb's summary says the same, and stays.
            transient=True,
            # rich would exchange sys.stdout, which IPython has exchanged already.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        with live, self.console.printing_above(lambda text: _print_above(screen, text)):
            yield

    def _drawing(self, screen: RichConsole) -> Text:
        from rich.text import Text

        lines = self.lines()
        # Rows that have scrolled off the top of the screen can no longer be erased.
        room = max(3, screen.height - 2)
        if len(lines) > room:
            lines = [*lines[: room - 1], f"  and {len(lines) - room + 1} more"]
        # One line per host whatever the width, or the redraw would lose count of its lines.
        width = screen.width - 1
        return Text("\n".join(line if len(line) <= width else line[: width - 1] + "…" for line in lines), no_wrap=True)

    @contextmanager
    def _with_heartbeat(self) -> Iterator[None]:
        finished = threading.Event()
        thread = threading.Thread(target=self._heartbeat, args=(finished,), name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            finished.set()
            # So that no heartbeat follows the verb's answer.
            thread.join()

    def _heartbeat(self, finished: threading.Event) -> None:
        """Report now and then what is under way, where nothing else was printed for a while."""
        # Not the clock's sleep: the end of the work interrupts this at once.
        while not finished.wait(1.0):
            with self._lock:
                due = self._now() - self._last_line >= QUIET_S
                busy = [row for row in self._rows.values() if row.phase and not row.failed]
                self._last_line = self._now() if due else self._last_line
            if due and busy:
                self._print([f"  still{line}" for line in rows(busy, self._now(), self._began)])
