"""Hints as values: they carry a verb with its arguments, and are worded where they are printed."""

from __future__ import annotations

from orchestrator.core.errors import HostsFailed, JobFailed, LeftRunning, UsageError
from orchestrator.core.next_step import Message, NextStep, Verbatim, add_advice, advice_of, join


def test_a_hint_is_python_by_itself() -> None:
    assert str(NextStep("InstallDeps")) == "InstallDeps()"
    assert str(NextStep("Ssh", "ml-0", 'echo "x"')) == 'Ssh("ml-0", "echo \\"x\\"")'
    assert str(NextStep("LaunchInstances", 2, yes=True)) == "LaunchInstances(2, yes=True)"


def test_hints_and_text_are_joined_with_plus() -> None:
    message = "see " + NextStep("Status") + " or " + NextStep("Runs")

    assert str(message) == "see Status() or Runs()"
    assert message.parts == ("see ", NextStep("Status"), " or ", NextStep("Runs"))
    assert str("a " + message + "!") == "a see Status() or Runs()!"
    assert str(join(", ", ["x", NextStep("Runs"), "y"])) == "x, Runs(), y"


def test_an_empty_message_is_false() -> None:
    assert not Message()
    assert not Message(("",))
    assert NextStep("Status") + ""


def test_a_message_is_split_at_line_breaks_of_its_text() -> None:
    lines = ("a\nb " + NextStep("Status") + "\n").lines()

    assert [str(line) for line in lines] == ["a", "b Status()", ""]
    assert NextStep("Status") in lines[1].parts


def test_only_plain_text_is_changed() -> None:
    message = ("{x} " + NextStep("Ssh", "{x}")).map_text(lambda text: text.format(x=1))

    assert str(message) == '1 Ssh("{x}")'


def test_errors_keep_hints_and_read_as_before() -> None:
    left = LeftRunning("Still there:", left=["i-1"], fix=NextStep("TerminateAll") + " tries again")
    several = HostsFailed(
        "2 failed", {"ml-0": UsageError("x", where="ml-0", fix=NextStep("Status")), "b": OSError("y")}
    )

    assert str(left) == "Still there:\n  i-1\n  TerminateAll() tries again"
    assert str(several) == "2 failed\n  ml-0: x\n    Status()\n  b: y"
    assert any(NextStep("TerminateAll") in line.parts for line in left.lines() if isinstance(line, Message))


def test_the_last_lines_of_a_job_stay_what_they_are() -> None:
    error = JobFailed("failed", exit_status=3, tail=["Status() failed"], fix=NextStep("Logs", "k3"))

    assert error.lines()[1] == Message((Verbatim("  | Status() failed"),))
    assert str(error).splitlines() == ["failed", "  | Status() failed", '  Logs("k3")']


def test_advice_is_attached_to_any_exception() -> None:
    error = KeyboardInterrupt()
    add_advice(error, "x", NextStep("Status") + " shows it")

    assert [str(line) for line in advice_of(error)] == ["x", "Status() shows it"]
    assert advice_of(KeyboardInterrupt()) == []


def test_an_error_ends_with_what_is_left_behind() -> None:
    error = UsageError("x", fix="y")
    add_advice(error, NextStep("TerminateAll") + " ends it")

    assert str(error) == "x\n  y\n  TerminateAll() ends it"
