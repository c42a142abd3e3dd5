"""When a fault strikes: ``at call 3``, ``from 10 s to 60 s``, ``40 s after launch``."""

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
    """A duration: a number and its unit, as in ``40 s``, ``1.5 min``, ``500 ms``, ``2 h``.

    :raises ValueError: it is none; the text says how one is written.
    """
    found = re.fullmatch(_TIME, text.strip())
    if found is None:
        raise ValueError(f"{text.strip()!r} is no length of time: write it as in 40 s, 1.5 min, 500 ms or 2 h")
    return round(float(found[1]) * _UNITS[found[2]], 6)


def format_duration(value: float) -> str:
    """Seconds as :func:`seconds` reads them."""
    return f"{value:.6f}".rstrip("0").rstrip(".") + " s"


@dataclass(frozen=True)
class Schedule:
    """A time, or a stretch of it.

    :param form: ``always``; ``calls`` ``first`` to ``last``, counted from 1; the moment ``at`` ``first``; the
        ``window`` from ``first`` to ``last``; or ``first`` seconds ``after`` what ``anchor`` says.
    :param anchor: ``launch`` or ``running``: seconds count for each machine from then on. Else they count from the
        moment when the scenario was loaded.
    """

    form: Form = "always"
    first: float = 0.0
    last: float = math.inf
    anchor: str = ""

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Read it.

        :raises ValueError: it cannot be read; the text says how times are written.
        """
        words = " ".join(text.split())
        for pattern, make in _FORMS:
            if found := re.fullmatch(pattern, words):
                when = make(found)
                if when.last < when.first:
                    raise ValueError(f"{words!r} ends before it begins")
                return when
        raise ValueError(
            f"{words!r} is no time: write always, at call 3, at calls 3 to 5, from call 3, at 40 s, from 10 s, "
            "from 10 s to 60 s, until 60 s, 40 s after launch or 40 s after running"
        )

    def covers_call(self, number: int, time: float) -> bool:
        """Whether the call counted as ``number``, made at ``time``, is meant."""
        return self.first <= number <= self.last if self.form == "calls" else self.covers(time)

    def covers(self, time: float) -> bool:
        """Whether ``time`` is meant, seconds since the scenario was loaded; a moment means all that follows."""
        return self.form in ("always", "after") or (self.form != "calls" and self.first <= time < self.last)

    def __str__(self) -> str:
        if self.form == "calls":
            several = f"from call {self.first:.0f}" if self.last == math.inf else ""
            one = f"at call {self.first:.0f}" if self.first == self.last else ""
            return several or one or f"at calls {self.first:.0f} to {self.last:.0f}"
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
    def make(found: re.Match[str]) -> Schedule:
        first, last = found["first"], found["last"]
        return Schedule(form, parse_duration(first) if first else 0.0, parse_duration(last) if last else math.inf)

    return make


def _calls(found: re.Match[str]) -> Schedule:
    first = int(found["first"])
    last = found.groupdict().get("last", found["first"])
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
        lambda found: Schedule("after", parse_duration(found["first"]), math.inf, found["anchor"]),
    ),
)
