"""Numbers and tables as text: money, times, sizes, columns, wrapping. Every number carries its unit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from orchestrator.core.cost import Amount
from orchestrator.core.next_step import Message, NextStep, Text, Verbatim, as_message
from orchestrator.interface.render.styles import Styled

UNKNOWN = "price unknown"

MONTH_H = 730
"""Hours of a month, as AWS counts them for disks."""

# Control characters but the tab: a terminal would obey them, a reader would not see them. Directional marks and
# overrides reorder the text around them (https://www.unicode.org/reports/tr9/), separators begin lines, tags are
# invisible, and halves of surrogate pairs stand for bytes of file names that are no UTF-8.
_CONTROL = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


# One short word and two blanks: the first cell of a row. The end of a sentence is none.
_LABEL = re.compile(r" *\S{0,15}[^\s.:,;!?] {2,}(?=\S)")


def usd(amount: Decimal | None) -> str:
    """Return dollars and cents: ``$5.84``, ``<$0.01`` for less than a cent, ``price unknown`` for None."""
    if amount is None:
        return UNKNOWN
    # $0.00 would read as free of charge.
    return "<$0.01" if 0 < amount < Decimal("0.005") else f"${_rounded(amount, 2):,}"


def amount(money: Amount) -> str:
    """Return an amount that may not be known exactly: ``$5.84``, ``$5.84 to $6.01``, ``at least $5.84``."""
    if money.at_most is None:
        return f"at least {usd(money.at_least)}" if money.at_least else UNKNOWN
    lowest, highest = usd(money.at_least), usd(money.at_most)
    return highest if lowest == highest else f"{lowest} to {highest}"


def rate(per_hour: Decimal | None) -> str:
    """Return dollars per hour to the cent, ``$0.73/h``; finer where it would vanish."""
    if per_hour is None:
        return UNKNOWN
    return f"${_rounded(per_hour, 3 if 0 < per_hour < Decimal('0.095') else 2):,}/h"


def month_price(per_hour: Decimal | None) -> str:
    """Return the price of a month of something with a price per hour: ``$12.00 a month``."""
    # Per month: disks cost so little by the hour that stopped VMs would look free.
    return UNKNOWN if per_hour is None else f"{usd(per_hour * MONTH_H)} a month"


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
    # Up to two minutes tenths tell more: 61.3 s.
    if seconds < 120:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return _two(whole, 60, "min", 1, "s")
    if whole < 48 * 3600:
        # Rounded before it is split: 2 h 59 min 50 s is 3 h, not 2 h 59 min.
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
    # Day without a leading zero by hand: strftime's %-d does not exist on Windows.
    return f"{local:%H:%M}" if local.date() == today.date() else f"{local:%b} {local.day} {local:%H:%M}"


def ends(moment: datetime, now: datetime) -> str:
    """Return ``at 22:12 (in 7 h 48 min)``, ``on Nov 22 at 02:12 (...)``, or ``any moment now`` for what is due."""
    left = moment - now
    if left <= timedelta(0):
        return "any moment now"
    day, _, time_of_day = clock(moment, now).rpartition(" ")
    return f"{f'on {day} ' if day else ''}at {time_of_day} (in {duration(max(60.0, left.total_seconds()))})"


def size(count: int) -> str:
    """Return bytes in powers of ten, as file managers do: ``14.2 MB``."""
    if count < 1000:
        return f"{count} B"
    number = float(count)
    units = iter(("kB", "MB", "GB", "TB"))
    unit = "B"
    # 999.95 and more would be printed as 1000.0.
    while number >= 999.95 and unit != "TB":
        number, unit = number / 1000, next(units)
    return f"{number:.1f} {unit}"


def number(value: float) -> str:
    """Return a measured number in few digits: ``0.978``, ``20,736``, ``1.2e-05``."""
    # Near 1e16 floats begin to skip whole numbers: all digits would only look exact.
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    if value != value or abs(value) == float("inf"):
        return str(value)
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.3g}"


def count(number: int, noun: str, plural: str = "") -> str:
    """Return ``1 host``, ``2 hosts``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def visible(text: str) -> str:
    """Return a text with its control characters made visible, ``^[[31m`` for a color, so that a terminal obeys none."""
    return _CONTROL.sub(lambda match: _caret(match[0]), text)


def _caret(character: str) -> str:
    code = ord(character)
    # C1 codes as well: 0x9b alone begins a control sequence on 8-bit terminals.
    return f"^{chr(code ^ 0x40)}" if code < 0x80 else ascii(character)[1:-1]


def single_line(text: Text) -> Text:
    """Return a line of a record with all that its parts contain made visible, line breaks included.

    Names of files and jobs come from hosts: one with a line break would look like a line of this program.
    """
    return Message(tuple(_visible_part(part) for part in as_message(text).parts))


def _visible_part(part: str | NextStep) -> str | NextStep:
    if isinstance(part, NextStep | Verbatim):
        return part
    return Styled(visible(part), part.style) if isinstance(part, Styled) else visible(part)


def escaped_json(text: str) -> str:
    """Return a JSON text with the control characters in its strings escaped; line breaks between values stay."""
    return _CONTROL.sub(lambda match: match[0] if match[0] == "\n" else json.dumps(match[0])[1:-1], text)


def last_state(line: str) -> str:
    """Return what a terminal would leave of a line that carriage returns overwrite, such as a progress bar."""
    return line.rstrip("\r").rsplit("\r", 1)[-1]


def columns(rows: Iterable[Sequence[str]], *, indent: str = "  ", gap: str = "  ") -> list[Text]:
    """Return rows of cells as lines, left-aligned; nothing is cut, nothing trails, styles of cells are kept."""
    table = [list(row) for row in rows]
    widths = [max((len(cell) for cell in column), default=0) for column in _transposed(table)]
    return [_row(row, widths, indent, gap) for row in table]


def _row(cells: Sequence[str], widths: Sequence[int], indent: str, gap: str) -> Text:
    # Trailing blanks would count towards the width, and wrap a line in a narrow terminal.
    filled_cells = len(cells) - next((n for n, cell in enumerate(reversed(cells)) if cell.strip()), len(cells))
    parts = [indent]
    for cell, width in zip(cells[: filled_cells - 1], widths, strict=False):
        parts += [cell, " " * (width - len(cell)) + gap]
    last = cells[filled_cells - 1] if filled_cells else ""
    parts.append(last if isinstance(last, Styled) else last.rstrip())
    return Message(tuple(parts)) if any(isinstance(part, Styled) for part in parts) else "".join(parts)


def _transposed(table: Sequence[Sequence[str]]) -> Iterable[list[str]]:
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


def wrapped(pieces: Sequence[str], width: int, *, hang: int | None = None) -> list[list[str]]:
    """Return a line, given in pieces, broken between words; further rows are indented, styles of pieces are kept.

    :param hang: indentation of further rows; None: under the text after a label, else two more than the line's own.
    """
    # Paths and commands stay whole, on a row of their own or longer than the row: broken, they could not be copied.
    text = "".join(_unbreakable(piece) for piece in pieces)
    indent = " " * (_hang(pieces) if hang is None else hang)
    rows: list[list[str]] = []
    start, prefix = 0, ""
    while len(prefix) + len(text) - start > width:
        at = _break(prefix + text[start:], len(prefix if rows else indent) + 1, width)
        if at < 0:
            break
        end = start + at - len(prefix)
        rows.append([prefix, *_slice(pieces, start, start + len(text[start:end].rstrip(" ")))])
        start = end + len(text[end:]) - len(text[end:].lstrip(" "))
        word = text[start:].partition(" ")[0]
        # A terminal would break what its indentation alone makes too long.
        prefix = indent[: max(0, width - len(word))]
    return [*rows, [prefix, *_slice(pieces, start, len(text))]]


def _hang(pieces: Sequence[str]) -> int:
    first, text = pieces[0] if pieces else "", "".join(pieces)
    if isinstance(first, Styled) and first.style == "heading":
        return len(first)
    label = _LABEL.match(text)
    return len(label[0]) if label else len(text) - len(text.lstrip()) + 2


def _break(line: str, first: int, width: int) -> int:
    """Return where to break a line: between sentences or cells rather than words, unless that leaves a short row."""
    sentence = line.rfind("  ", max(first, width // 2), width)
    if sentence > 0:
        return sentence
    within = line.rfind(" ", first, width)
    return within if within >= 0 else line.find(" ", max(first, width))


def _unbreakable(piece: str) -> str:
    """Return a piece for the search of places to break: a command has none."""
    return piece.replace(" ", "\xa0") if isinstance(piece, Styled) and piece.style == "command" else piece


def _slice(pieces: Sequence[str], start: int, end: int) -> list[str]:
    rows, at = [], 0
    for piece in pieces:
        part = piece[max(0, start - at) : max(0, end - at)]
        # Slicing a Styled gives a plain str.
        rows.append(Styled(part, piece.style) if isinstance(piece, Styled) else part)
        at += len(piece)
    return [part for part in rows if part]
