"""Numbers as people read them: money, times, sizes, and columns that line up. Every number carries its unit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

UNKNOWN = "price unknown"

# What a terminal would obey instead of show: colours and cursor moves, and other control characters but the tab.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_QUOTED = re.compile(r"\s*(?:\S+ )?\| ")


def usd(amount: Decimal | None) -> str:
    """Return dollars and cents: ``$5.84``, ``<$0.01`` for less than a cent, ``price unknown`` for None."""
    if amount is None:
        return UNKNOWN
    return "<$0.01" if 0 < amount < Decimal("0.005") else f"${_rounded(amount, 2):,}"


def rate(per_hour: Decimal | None) -> str:
    """Return dollars per hour to the cent, ``$0.73/h``; finer where it would vanish."""
    if per_hour is None:
        return UNKNOWN
    return f"${_rounded(per_hour, 3 if 0 < per_hour < Decimal('0.095') else 2):,}/h"


def unit_price(per_hour: Decimal | None) -> str:
    """Return the price of one thing as price lists give it: ``$0.357/h``, three decimals."""
    if per_hour is None:
        return UNKNOWN
    return f"${_rounded(per_hour, 3 if per_hour < 10 else 2):,}/h"


def _rounded(amount: Decimal, digits: int) -> Decimal:
    # Half a cent is a cent: Python's own formatting would round 0.365 down.
    return amount.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)


def duration(seconds: float) -> str:
    """Return a stretch of time: ``2.1 s``, ``12 min 5 s``, ``7 h 48 min``, ``3 d 2 h``."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return _two(whole, 60, "min", 1, "s")
    if whole < 48 * 3600:
        return _two(round(whole / 60) * 60, 3600, "h", 60, "min")
    return _two(round(whole / 3600) * 3600, 86400, "d", 3600, "h")


def _two(whole: int, large: int, large_unit: str, small: int, small_unit: str) -> str:
    rest = whole % large // small
    return f"{whole // large} {large_unit} {rest} {small_unit}" if rest else f"{whole // large} {large_unit}"


def hours(number: float) -> str:
    """Return a number of hours without needless decimals: ``8 h``, ``0.5 h``."""
    return f"{number:g} h"


def clock(moment: datetime, now: datetime) -> str:
    """Return when something will be, or was, on the reader's own clock: ``22:12``, ``Nov 21 02:12`` on another day."""
    local, today = moment.astimezone(), now.astimezone()
    return f"{local:%H:%M}" if local.date() == today.date() else f"{local:%b} {local.day} {local:%H:%M}"


def ends(moment: datetime, now: datetime) -> str:
    """Return ``at 22:12 (in 7 h 48 min)``, or ``any moment now`` for what is due."""
    left = moment - now
    if left <= timedelta(0):
        return "any moment now"
    return f"at {clock(moment, now)} (in {duration(max(60.0, left.total_seconds()))})"


def size(count: int) -> str:
    """Return bytes in powers of ten, as file managers do: ``14.2 MB``."""
    if count < 1000:
        return f"{count} B"
    number = float(count)
    units = iter(("kB", "MB", "GB", "TB"))
    unit = "B"
    while number >= 999.95 and unit != "TB":
        number, unit = number / 1000, next(units)
    return f"{number:.1f} {unit}"


def number(value: float) -> str:
    """Return a measured number in few digits: ``0.978``, ``20,736``, ``1.2e-05``."""
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    if value != value or abs(value) == float("inf"):
        return str(value)
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.3g}"


def count(number: int, noun: str, plural: str = "") -> str:
    """Return ``1 host``, ``2 hosts``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def plain(text: str) -> str:
    """Return a line of somebody else's output with nothing in it that a terminal obeys.

    After a carriage return only the last state of the line counts, as on a screen.
    """
    shown = text.rstrip("\r\n").rsplit("\r", 1)[-1]
    return _CONTROL.sub("", shown)


def columns(rows: Iterable[Sequence[str]], *, indent: str = "  ", gap: str = "  ") -> list[str]:
    """Line up rows of cells, left-aligned; never cut, nothing trailing."""
    table = [list(row) for row in rows]
    widths = [max((len(cell) for cell in column), default=0) for column in _turned(table)]
    return [
        (indent + gap.join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False))).rstrip()
        for row in table
    ]


def _turned(table: Sequence[Sequence[str]]) -> Iterable[list[str]]:
    most = max((len(row) for row in table), default=0)
    return ([row[column] for row in table if column < len(row)] for column in range(most))


def filled(words: Iterable[str], gap: str, width: int) -> list[str]:
    """Put words on as few lines of a width as will hold them; no word is broken."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(gap) + len(word) < width:
            lines[-1] += gap + word
        else:
            lines.append(word.strip())
    return lines


def wrapped(line: str, width: int) -> list[str]:
    """Break a line of ours between words, the rest further in than its beginning; others' output stays as it is."""
    if len(line) <= width or _QUOTED.match(line):
        return [line]
    inside = " " * (len(line) - len(line.lstrip()) + 2)
    lines, rest = [], line
    while len(rest) > width and (at := _gap(rest, len(inside) + 1, width)) > 0:
        lines.append(rest[:at].rstrip())
        rest = inside + rest[at:].lstrip()
    return [*lines, rest]


def _gap(line: str, first: int, width: int) -> int:
    """Return where to break a line: between sentences rather than words, as long as that leaves no short line."""
    sentence = line.rfind("  ", max(first, width * 2 // 3), width)
    return sentence if sentence > 0 else line.rfind(" ", first, width)
