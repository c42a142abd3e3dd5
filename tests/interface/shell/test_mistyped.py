"""Mistyped words: the verb that was probably meant, and no guess at the names of Python code."""

from __future__ import annotations

import pytest

from orchestrator.interface.shell import mistyped
from orchestrator.interface.verbs.registry import default_registry

REGISTRY = default_registry()


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("exti", "exit"),
        ("launch", "LaunchInstances()"),
        ("Launch", "LaunchInstances()"),
        ("LaunchInstnces", "LaunchInstances()"),
        ("statsu", "Status()"),
        ("term", "TerminateAll()"),
        ("killall", "CancelAllJobs()"),
        ("run", "RunSingleVMComputing()"),
        ("help", "Help()"),
    ],
)
def test_a_word_that_resembles_a_verb_is_answered_with_it(word: str, meant: str) -> None:
    assert mistyped.suggestion(word, REGISTRY) == f" Did you mean {meant}?"


@pytest.mark.parametrize("word", ["x", "df", "data", "model", "np", "of_ones_own", "Nope"])
def test_names_of_python_code_are_no_verbs(word: str) -> None:
    assert mistyped.suggestion(word, REGISTRY) == ""


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("launch", "launch(2)", "launch: no such verb. Did you mean LaunchInstances()?"),
        ("launch", "x = launch + 1", ""),
        ("Launch", "for n in (1, 2): Launch(n)", "Launch: no such verb. Did you mean LaunchInstances()?"),
        ("Nope", "Nope()", "Nope: no such verb or name.  Help()  lists the verbs"),
        ("Nope", "x = Nope()", ""),
        ("nope", "nope", ""),
        (
            "train",
            "RunMultiVMComputing(train.py)",
            'train: not a name in Python; a text is in quotes: RunMultiVMComputing("train.py")',
        ),
        ("ml", "Logs(ml-0)", 'ml: not a name in Python; a text is in quotes: Logs("ml-0")'),
        ("ml", "Logs(host=ml-0)", 'ml: not a name in Python; a text is in quotes: Logs(host="ml-0")'),
        ("data", "print(data)", ""),
        ("data", "Extend(data[0])", ""),
    ],
)
def test_within_code_only_capitalized_names_can_be_verbs(name: str, text: str, line: str) -> None:
    assert mistyped.unknown_name(name, text, REGISTRY) == line


@pytest.mark.parametrize("text", ["launch -n 2", "stratus launch -n 2", "LaunchInstances 2"])
def test_a_command_at_the_prompt_is_answered_with_the_call(text: str) -> None:
    expected = f"{text}: not Python. Here a verb is a function, such as LaunchInstances(2)"
    assert mistyped.command_at_prompt(text, REGISTRY) == expected


@pytest.mark.parametrize("text", ["", "for x", "x y", "launch 2\nx = 1"])
def test_other_mistakes_in_python_are_left_to_python(text: str) -> None:
    assert mistyped.command_at_prompt(text, REGISTRY) == ""
