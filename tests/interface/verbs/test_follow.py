"""A job's output is printed as it is: by run, attach, logs and exec, on the command line and in the shell."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from orchestrator.interface.console import Console
from orchestrator.interface.verbs.follow import LogPrinter
from orchestrator.ssh.channel import LineSplitter
from tests.support.interface.fake_session import FOREIGN_LINES

Stratus = Callable[..., "subprocess.CompletedProcess[str]"]

COMMAND_LINE = [["run"], ["attach"], ["logs", "--host", "ml-0"], ["exec", "--host", "ml-0", "cat log"]]
SHELL = [
    "RunSingleVMComputing()",
    "Attach()",
    'Logs(host="ml-0")',
    'RunCommand("cat log", host="ml-0")',
]


def job_lines(output: str) -> list[str]:
    return [text for text in output.split("\n") if text.startswith("  | ") and "scene" not in text]


@pytest.mark.parametrize("verb", COMMAND_LINE, ids=" ".join)
def test_the_command_line_changes_nothing_of_a_jobs_output(launched: Stratus, verb: list[str]) -> None:
    done = launched(*verb, bad="foreign")

    assert done.returncode == 0, done.stderr
    assert job_lines(done.stdout) == [f"  | {text}" for text in FOREIGN_LINES]


@pytest.mark.parametrize("statement", SHELL)
def test_the_shell_changes_nothing_of_a_jobs_output(launched: Stratus, statement: str) -> None:
    done = launched("-c", statement, bad="foreign")

    assert done.returncode == 0, done.stderr
    assert job_lines(done.stdout) == [f"  | {text}" for text in FOREIGN_LINES]


def test_the_last_lines_of_a_failed_job_are_not_changed(launched: Stratus) -> None:
    done = launched("--output", "json", "run", bad="job-fails foreign")

    assert "  | oh\n" in done.stderr
    assert f"  | {FOREIGN_LINES[0]}\n" in done.stderr


def test_lines_are_named_once_a_second_host_prints(capsys: pytest.CaptureFixture[str]) -> None:
    printer = LogPrinter(Console())
    on_line = printer.listener()
    for host, text in (("ml-0", "a"), ("ml-1", "b"), ("ml-0", "c")):
        on_line(host, text)

    assert capsys.readouterr().out == "  | a\n  ml-1 | b\n  ml-0 | c\n"


def test_lines_are_named_from_the_first_one_on_when_several_hosts_are_followed(launched: Stratus) -> None:
    done = launched("attach", bad="two-hosts")

    assert "  ml-0 | scene 1/3\n" in done.stdout
    assert "  | " not in done.stdout


def test_following_again_skips_what_was_printed_and_earlier_listeners_fall_silent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    printer = LogPrinter(Console())
    first = printer.listener()
    first("ml-0", "1")
    second = printer.listener()
    first("ml-0", "late")
    for text in ("1", "2"):
        second("ml-0", text)
    printer.pause()
    second("ml-0", "3")

    assert capsys.readouterr().out == "  | 1\n  | 2\n"


def test_states_of_a_progress_bar_are_printed_with_their_line_where_a_program_reads(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    splitter, printer = LineSplitter(8), LogPrinter(Console())
    on_line = printer.listener()
    for line in splitter.feed(b"1%\r\xff\r\n" + b"x" * 20 + b"\nend\n"):
        on_line("ml-0", line)

    assert capfdbinary.readouterr().out == b"  | 1%\r\xff\r\n  | " + b"x" * 20 + b"\n  | end\n"
