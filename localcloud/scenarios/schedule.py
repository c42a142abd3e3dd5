"""Schedules of faults: ``at call 3``, ``from 10 s to 60 s``, ``40 s after launch``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_TIME = r"(-?\d+(?:\.\d+)?) ?(ms|s|min|h)"

Form = Literal["always", "calls", "at", "window", "after"]


def parse_duration(text: str) -> float:
    """Return the seconds of a duration: a number and its unit, as in ``40 s``, ``1.5 min``, ``500 ms``, ``2 h``.

    :raises ValueError: it is not a duration.
    """
    match = re.fullmatch(_TIME, text.strip())
    if match is None:
        raise ValueError(f"{text.strip()!r} is not a duration: write it like 40 s, 1.5 min, 500 ms or 2 h")
    # Rounded, so that a duration reads back as it was written.
    return round(float(match[1]) * _UNITS[match[2]], 6)


def format_duration(value: float) -> str:
    """Return seconds in the form that :func:`parse_duration` reads."""
    return f"{value:.6f}".rstrip("0").rstrip(".") + " s"


@dataclass(frozen=True)
class Schedule:
    """A moment, or a period.

    :param form: ``always``; ``calls`` ``first`` to ``last``, counted from 1; the moment ``at`` ``first``; the
        ``window`` from ``first`` to ``last``; or ``first`` seconds ``after`` the event ``anchor``.
    :param anchor: ``launch`` or ``running``: seconds count for each instance from then on. Otherwise they count from
        the moment when the scenario was loaded.
    """

    form: Form = "always"
    first: float = 0.0
    last: float = math.inf
    anchor: str = ""

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Return the schedule that a text describes.

        :raises ValueError: it is not a schedule.
        """
        normalized = " ".join(text.split())
        for pattern, make in _FORMS:
            if match := re.fullmatch(pattern, normalized):
                schedule = make(match)
                if schedule.last < schedule.first:
                    raise ValueError(f"{normalized!r} ends before it begins")
                return schedule
        raise ValueError(
            f"{normalized!r} is not a time: write always, at call 3, at calls 3 to 5, from call 3, at 40 s, from 10 s, "
            "from 10 s to 60 s, until 60 s, 40 s after launch or 40 s after running"
        )

    def covers_call(self, number: int, time: float) -> bool:
        """Return whether the schedule covers a call, counted as ``number`` and made at ``time``."""
        return self.first <= number <= self.last if self.form == "calls" else self.covers(time)

    def covers(self, time: float) -> bool:
        """Return whether the schedule covers ``time``, in seconds since the scenario was loaded.

        A moment covers everything after it.
        """
        return self.form in ("always", "after") or (self.form != "calls" and self.first <= time < self.last)

    def __str__(self) -> str:
        if self.form == "calls":
            open_range = f"from call {self.first:.0f}" if self.last == math.inf else ""
            single = f"at call {self.first:.0f}" if self.first == self.last else ""
            return open_range or single or f"at calls {self.first:.0f} to {self.last:.0f}"
        if self.form == "at":
            return f"at {format_duration(self.first)}"
        if self.form == "after":
            return f"{format_duration(self.first)} after {self.anchor}"
        if self.form == "window":
            end = "" if self.last == math.inf else f" to {format_duration(self.last)}"
            return f"from {format_duration(self.first)}{end}"
        return "always"


ALWAYS = Schedule()


def _span(form: Form) -> Callable[[re.Match[str]], Schedule]:
    def make(match: re.Match[str]) -> Schedule:
        first, last = match["first"], match["last"]
        return Schedule(form, parse_duration(first) if first else 0.0, parse_duration(last) if last else math.inf)

    return make


def _calls(match: re.Match[str]) -> Schedule:
    first = int(match["first"])
    last = match.groupdict().get("last", match["first"])
    return Schedule("calls", first, int(last) if last else math.inf)


_PLAIN = r"\d+(?:\.\d+)? ?(?:ms|s|min|h)"
_FORMS: tuple[tuple[str, Callable[[re.Match[str]], Schedule]], ...] = (
    ("always", lambda _: Schedule()),
    (r"at call (?P<first>[1-9]\d*)", _calls),
    (r"at calls (?P<first>[1-9]\d*) to (?P<last>[1-9]\d*)", _calls),
    (r"from call (?P<first>[1-9]\d*)(?P<last>)", _calls),
    (rf"at (?P<first>{_PLAIN})(?P<last>)", _span("at")),
    (rf"from (?P<first>{_PLAIN})(?: to (?P<last>{_PLAIN}))?", _span("window")),
    (rf"(?P<first>)until (?P<last>{_PLAIN})", _span("window")),
    (
        rf"(?P<first>{_PLAIN}) after (?P<anchor>launch|running)",
        lambda match: Schedule("after", parse_duration(match["first"]), math.inf, match["anchor"]),
    ),
)
