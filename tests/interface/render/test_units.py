"""Numbers and tables as text: with units, aligned, honest about what is unknown."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from orchestrator.core.next_step import NextStep, as_message
from orchestrator.interface.render import styles, units
from orchestrator.interface.render.styles import Styled, line


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("5.843", "$5.84"),
        ("0.02", "$0.02"),
        ("0.006", "$0.01"),
        ("0.004", "<$0.01"),
        ("0", "$0.00"),
        ("1234.5", "$1,234.50"),
        (None, "price unknown"),
    ],
)
def test_money_is_dollars_and_cents_and_an_unknown_price_is_not_nothing(amount: str | None, text: str) -> None:
    assert units.usd(Decimal(amount) if amount else None) == text


@pytest.mark.parametrize(
    ("per_hour", "text"),
    [("0.7304", "$0.73/h"), ("0.0082", "$0.008/h"), ("110.08", "$110.08/h"), (None, "price unknown")],
)
def test_a_price_says_per_hour_and_keeps_small_ones_visible(per_hour: str | None, text: str) -> None:
    assert units.rate(Decimal(per_hour) if per_hour else None) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (61.3, "61.3 s"),
        (725, "12 min 5 s"),
        (28080, "7 h 48 min"),
        (3600 * 74, "3 d 2 h"),
        (3599.7, "1 h"),
        (720, "12 min"),
        (48 * 3600, "2 d"),
    ],
)
def test_a_stretch_of_time_is_told_in_the_units_that_fit(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999 B"), (14_200_000, "14.2 MB"), (999_960, "1.0 MB"), (5 * 10**15, "5000.0 TB")]
)
def test_sizes_are_in_powers_of_ten(count: int, text: str) -> None:
    assert units.size(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.97843, "0.978"),
        (20736, "20,736"),
        (20736.0, "20,736"),
        (1.23e-5, "1.23e-05"),
        (1234.56, "1,234.6"),
        (float("nan"), "nan"),
    ],
)
def test_measured_numbers_are_short(value: float, text: str) -> None:
    assert units.number(value) == text


def test_control_characters_are_made_visible() -> None:
    assert units.visible("\x1b[2J\x07tab\tend\x9b\x7f") == "^[[2J^Gtab\tend\\x9b^?"


def test_a_name_with_a_line_break_stays_on_its_line() -> None:
    text = line("  ", Styled("x\n  Next: sh evil", "good"), NextStep("Status"), "\u2028")

    shown = units.single_line(text)

    assert str(shown) == "  x^J  Next: sh evilStatus()\\u2028"
    assert [type(part) for part in as_message(shown).parts] == [str, Styled, NextStep, str]


def test_json_holds_no_character_that_a_terminal_obeys() -> None:
    document = {"name": "a\x9b2J\u202eb\U000e0041\x7f", "next": [1]}

    text = units.escaped_json(json.dumps(document, indent=2, ensure_ascii=False))

    assert json.loads(text) == document
    assert text.replace("\n", "").isprintable()


def test_of_a_line_that_carriage_returns_overwrite_the_last_state_is_left() -> None:
    assert units.last_state("epoch 1\repoch 2\r") == "epoch 2"


def test_columns_line_up_and_are_never_cut() -> None:
    lines = units.columns([["ml-0", "x" * 200, "z"], ["ml-10", "y", ""]])

    assert lines == [f"  ml-0   {'x' * 200}  z", "  ml-10  y"]


def test_columns_keep_the_styles_of_their_cells() -> None:
    (line, _) = units.columns([["ml-0", styles.state("ready"), "z"], ["ml-10", "lost?", "y"]])

    assert str(line) == "  ml-0   ready  z"
    assert [part for part in line.parts if isinstance(part, styles.Styled)] == ["ready"]  # type: ignore[union-attr]


def test_a_long_line_breaks_between_words_and_is_indented_further() -> None:
    def wrapped(*pieces: str) -> list[str]:
        return ["".join(row) for row in units.wrapped(pieces, 24)]

    assert wrapped("  Plan   2 x c7i.2xlarge, ubuntu-24.04") == [
        "  Plan   2 x",
        "         c7i.2xlarge,",
        "         ubuntu-24.04",
    ]
    assert wrapped("  Plan   2 x c7", "i.2xlarge, ubu", "ntu-24.04") == [
        "  Plan   2 x",
        "         c7i.2xlarge,",
        "         ubuntu-24.04",
    ]
    assert wrapped(styles.Styled("  Access ", "heading"), "ssh from here only") == [
        "  Access ssh from here",
        "         only",
    ]
    assert wrapped("  One thing. And some others") == ["  One thing. And some", "    others"]
    assert wrapped("  ready 1.2 s   ssh 3.4 s") == ["  ready 1.2 s", "    ssh 3.4 s"]
    assert wrapped("  " + "x" * 50) == ["  " + "x" * 50]


def test_paths_and_commands_are_never_broken_inside() -> None:
    def wrapped(*pieces: str) -> list[str]:
        return ["".join(row) for row in units.wrapped(pieces, 24)]

    path, command = "/runs/logs/install.log", styles.Styled("stratus run train.py", "command")
    assert wrapped(f"    full log: {path}") == ["    full log:", f"  {path}"]
    assert wrapped(f"  log: {path * 2} for more of it all") == ["  log:", path * 2, "    for more of it all"]
    assert wrapped("  Next of it: ", command, " or not") == ["  Next of it:", f"    {command}", "    or not"]


def test_a_styled_piece_that_is_broken_keeps_its_style_on_both_rows() -> None:
    first, second = units.wrapped(["  see ", styles.Styled("stratus terminate now", "good")], 20)

    assert [(str(piece), piece.style) for piece in (*first, *second) if isinstance(piece, styles.Styled)] == [
        ("stratus", "good"),
        ("terminate now", "good"),
    ]


def test_an_end_on_another_day_has_its_date() -> None:
    now = datetime(2026, 11, 20, 14, 24, tzinfo=UTC)

    assert re.fullmatch(r"on Nov 2[12] at \d\d:\d\d \(in 26 h\)", units.ends(now + timedelta(hours=26), now))
    assert units.ends(now, now) == "any moment now"
