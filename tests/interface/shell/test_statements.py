"""Statements without a prompt: ``stratus -c``, or through a pipe."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

Stratus = Callable[..., "subprocess.CompletedProcess[str]"]


def test_statements_run_without_a_prompt_and_stop_at_the_first_error(stratus: Stratus) -> None:
    done = stratus("-c", "LaunchInstances(2); InstallDeps(); print(len(Status().instances), 'machines')")
    failed = stratus("-c", "RunSingleVMComputing(); print('not reached')", bad="job-fails")

    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("2 machines\n")
    assert failed.returncode == 1
    assert "not reached" not in failed.stdout


def test_hints_are_python_here(stratus: Stratus) -> None:
    assert 'Ssh("ml-0") opens a terminal on it.  Next: InstallDeps()\n' in stratus("-c", "LaunchInstances(2)").stdout


def test_statements_may_come_through_a_pipe(stratus: Stratus) -> None:
    assert "0 VMs of cluster ml" in stratus(stdin="Status()\n").stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statements", "code", "text"),
    [
        ("LaunchInstances(1, 2, 3)", 2, "LaunchInstances(n=None, *, yes=False): too many positional arguments"),
        ("LaunchInstances(0)", 2, "n = 0 is not a number of VMs"),
        ("f(", 2, "statements line 1: '(' was never closed"),
        ("1/0", 1, "ZeroDivisionError: division by zero"),
        ("Nope()", 2, "statements line 1: Nope: no such verb or name.\n  Help()  lists the verbs\n"),
        ("x = 1\nlaunch(2)", 2, "line 2: launch: no such verb or name. Did you mean LaunchInstances()?"),
        ("launch 2", 2, "line 1: launch 2: not Python. Here a verb is a function, such as LaunchInstances(2)\n"),
        ("Help('Lunch')", 2, "Lunch: no such verb."),
        ("import sys; sys.exit(7)", 7, ""),
        ("Gpus('ml-0')", 2, "no VM is up\n  LaunchInstances()\n"),
    ],
)
def test_mistakes_in_statements_are_reported_as_what_they_are(
    stratus: Stratus, statements: str, code: int, text: str
) -> None:
    done = stratus("-c", statements)

    assert done.returncode == code
    assert text in done.stderr


@pytest.mark.slow
def test_statements_answer_with_the_document_of_the_last_verb(stratus: Stratus) -> None:
    done = stratus("--output", "json", "-c", "LaunchInstances(2); s = Status(); print(len(s.instances))")
    failed = stratus("--output", "json", "-c", "1/0")
    nothing = stratus("--output", "json", "-c", "x = 1")
    mistyped = stratus("--output", "json", "-c", "Nope()")

    assert [machine["name"] for machine in json.loads(done.stdout)["machines"]] == ["ml-0", "ml-1"]
    assert json.loads(failed.stdout) == {"error": "ZeroDivisionError", "what": "division by zero", "exit_code": 1}
    assert json.loads(nothing.stdout) is None
    assert json.loads(mistyped.stdout)["where"] == "statements line 1"


@pytest.mark.parametrize("command", [["manual"], ["completion", "bash"]])
def test_texts_are_values_of_a_document(stratus: Stratus, command: list[str]) -> None:
    text = json.loads(stratus("--output", "json", *command).stdout)["text"]

    assert text.rstrip("\n") == stratus(*command).stdout.rstrip("\n")


@pytest.mark.parametrize("name", ["CheckStatus", "Instances", "Run", "Gpus", "KillAll"])
def test_old_names_still_work(stratus: Stratus, name: str) -> None:
    assert stratus("-c", f"print({name})").returncode == 0
