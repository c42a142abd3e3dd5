"""The console: hints are worded, everything else is printed as it is."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

from orchestrator.core.next_step import NextStep
from orchestrator.interface.console import CannotAsk, Console
from orchestrator.interface.render.styles import Styled, job_line, line
from tests.support.interface.fake_session import FOREIGN_LINES
from tests.support.interface.screen import Screen

COLOR = {"TERM": "xterm"}


def as_command(step: NextStep) -> str:
    return f"stratus {step.verb.lower()}"


def printed(*lines: object, screen: io.StringIO | None = None, env: dict[str, str] | None = None) -> str:
    stream = screen or io.StringIO()
    with redirect_stdout(stream):
        Console(word=as_command, env=env or {}).print(list(lines))  # type: ignore[arg-type]
    return stream.getvalue()


def test_a_hint_is_worded_and_text_that_looks_like_one_is_not() -> None:
    text = line("Next: ", NextStep("Status"), "  (not Status() or stratus status)")

    assert printed(text) == "Next: stratus status  (not Status() or stratus status)\n"


@pytest.mark.parametrize("text", FOREIGN_LINES)
def test_a_jobs_line_is_not_changed_where_no_terminal_is(text: str) -> None:
    assert printed(job_line(text)) == f"  | {text}\n"
    assert printed(job_line(text, "ml-0")) == f"  ml-0 | {text}\n"


@pytest.mark.parametrize("text", FOREIGN_LINES[:2])
def test_a_jobs_line_gets_no_colors_and_no_line_breaks_on_a_terminal(text: str) -> None:
    assert printed(job_line(text), screen=Screen(), env=COLOR) == f"\x1b[2m  | \x1b[0m{text}\n"


def test_control_characters_are_made_visible_on_a_terminal() -> None:
    assert printed(job_line(FOREIGN_LINES[2]), screen=Screen(), env=COLOR) == (
        "\x1b[2m  | \x1b[0m  | 100% ^[[31mred^[[0m^G\n"
    )
    assert printed("provider: \x1b[2J", screen=Screen(), env=COLOR) == "provider: ^[[2J\n"
    assert printed("provider: \x1b[2J") == "provider: ^[[2J\n"


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("\x1b]0;title\x07", "^[]0;title^G"),
        ("\x9b2J", r"\x9b2J"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("\u2066x\u2069", r"\u2066x\u2069"),
        ("a\u2028b", r"a\u2028b"),
        ("\U000e0041", r"\U000e0041"),
        ("caf\udce9", r"caf\udce9"),
        ("\ttab and \u00fcber \U0001f468\u200d\U0001f469", "\ttab and \u00fcber \U0001f468\u200d\U0001f469"),
    ],
)
@pytest.mark.parametrize("stream", [io.StringIO, Screen])
def test_text_of_hosts_reaches_no_screen_and_no_log_unseen(foreign: str, shown: str, stream: type[io.StringIO]) -> None:
    env = {"NO_COLOR": "1", "TERM": "xterm"}

    assert printed(line("name ", Styled(foreign, "good")), screen=stream(), env=env) == f"name {shown}\n"
    assert printed(NextStep("Attach", foreign), screen=stream(), env=env) == "stratus attach\n"
    # A job's own output is changed for a terminal only.
    changed = shown if stream is Screen else foreign.replace("\udce9", "?")
    assert printed(job_line(foreign), screen=stream(), env=env) == f"  | {changed}\n"


def test_colors_are_stated_and_never_guessed() -> None:
    text = line("  ml-0 ready $0.73/h ", Styled("ready", "good"), "  Next: ", NextStep("Status"))

    colored = printed(text, screen=Screen(), env=COLOR)
    assert colored == "  ml-0 ready $0.73/h \x1b[32mready\x1b[0m  Next: \x1b[1;36mstratus status\x1b[0m\n"
    plain = "  ml-0 ready $0.73/h ready  Next: stratus status\n"
    assert printed(text) == plain
    assert printed(text, screen=Screen(), env=COLOR | {"NO_COLOR": "1"}) == plain
    assert printed(text, screen=Screen(), env={"TERM": "dumb"}) == plain


def test_the_tools_own_lines_are_wrapped_on_a_terminal_only() -> None:
    long = "  " + "word " * 60

    assert printed(long) == f"{long}\n"
    assert max(len(row) for row in printed(long, screen=Screen(), env={"TERM": "dumb"}).splitlines()) <= 80


def test_line_breaks_in_a_text_are_lines_and_an_end_is_no_further_line() -> None:
    assert printed("a\nb\n", "", "c") == "a\nb\n\nc\n"


def test_with_a_document_on_stdout_all_else_goes_to_stderr() -> None:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        console = Console(document=True)
        console.print("words")
        console.print_error("errors")
        console.print_raw('{"a": 1}')

    assert out.getvalue() == '{"a": 1}\n'
    assert err.getvalue() == "words\nerrors\n"


def test_a_question_where_nothing_can_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """input() raises a RuntimeError there, and so does a notebook without stdin."""
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CannotAsk):
        Console(can_ask=True).ask("Launch? ", "y")
