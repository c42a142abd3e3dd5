"""Verbs at the prompt: one line for every mistake, and every answer shown once."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.aws.managed.resources import ManagedResource, ManagedSurvey
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep, add_advice
from orchestrator.interface.console import Console
from orchestrator.interface.shell import prompt_verbs
from orchestrator.interface.shell.prompt_verbs import DisplayFilter, ExitStatus, PromptVerb, Rows
from orchestrator.interface.shell.status_poller import StatusPoller
from orchestrator.interface.verbs.base import Verb, VerbGroup
from orchestrator.interface.verbs.interaction import Interrupted
from orchestrator.interface.verbs.parameters import UNSET, VerbParameter
from orchestrator.interface.verbs.registry import VerbRegistry, default_registry
from orchestrator.interface.workspace import Workspace
from orchestrator.jobs.runs import RunResult
from tests.support.interface.example_machines import machine, status
from tests.support.paths import ROOT

RESULT = RunResult("r", "j", 61.3)
GROUP = VerbGroup("Examples")


@GROUP.verb("Answer", "answer")
def answer(workspace: Workspace, value: object = None) -> object:
    """Return a value, or raise it."""
    if isinstance(value, BaseException):
        raise value
    return value


@GROUP.verb("Change", "change", changes_cluster=True)
def change(workspace: Workspace) -> None:
    """Change the cluster."""


def workspace(folder: Path) -> Workspace:
    return Workspace(None, Console(), REAL_CLOCK, home=folder)


def names(folder: Path, **options: Any) -> dict[str, Any]:
    return prompt_verbs.namespace(workspace(folder), VerbRegistry([GROUP]), **options)


def test_answers_are_what_the_prompt_can_show(tmp_path: Path) -> None:
    verb = names(tmp_path)["Answer"]

    assert verb(RESULT) is RESULT
    assert isinstance(verb([RESULT]), Rows)
    assert isinstance(verb(3), ExitStatus)
    assert verb() is None


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    verb = names(tmp_path)["Answer"]

    with pytest.raises(UsageError, match=r"Answer\(value=None\): too many positional arguments"):
        verb(1, 2)
    with pytest.raises(UsageError, match="train_instance_count of SageMaker's SDK is here: count=2"):
        verb(train_instance_count=2)
    with pytest.raises(Exception, match=r"KeyError: 'x' \(a bug in Stratus\)"):
        verb(KeyError("x"))
    interrupt = KeyboardInterrupt()
    add_advice(interrupt, "VMs may be up.", "Status() lists them")
    with pytest.raises(Interrupted) as caught:
        verb(interrupt)
    assert str(caught.value) == "Interrupted. VMs may be up.\n  Status() lists them"


VALUES = [(verb, parameter) for verb in default_registry() for parameter in verb.parameters]


@pytest.mark.parametrize(
    ("verb", "parameter"), VALUES, ids=[f"{verb.name}-{parameter.name}" for verb, parameter in VALUES]
)
@pytest.mark.parametrize("value", [3.5j, ["ml-0"]])
def test_values_of_another_type_are_one_line(
    verb: Verb, parameter: VerbParameter, value: object, tmp_path: Path
) -> None:
    """Each argument is checked by itself: the others are empty, or of a type that fits."""
    needed = [
        3 if other.types == (float,) or other.types == (int,) else ""
        for other in verb.parameters
        if other.default is UNSET and not other.is_variadic and other.name != parameter.name
    ]
    call = PromptVerb(verb, workspace(tmp_path), lambda _verb, _answer: None)
    arguments = [*needed, value] if parameter.is_variadic else needed
    options = {} if parameter.is_variadic else {parameter.name: value}

    with pytest.raises(UsageError) as caught:
        call(*arguments, **options)
    assert "\n" not in caught.value.message


def test_a_number_for_a_run_is_answered_with_the_text(tmp_path: Path) -> None:
    verbs = prompt_verbs.namespace(workspace(tmp_path), default_registry())

    with pytest.raises(UsageError, match="run = 3 is not a text") as caught:
        verbs["Logs"](3)
    assert caught.value.fix == NextStep("Logs", "3")
    with pytest.raises(UsageError, match="host = 1 is not a text") as caught:
        verbs["RunSingleVMComputing"](host=1)
    assert caught.value.fix == NextStep("RunSingleVMComputing", host="1")
    with pytest.raises(UsageError, match="yes = 'no' is neither True nor False"):
        verbs["LaunchInstances"](2, yes="no")


def test_a_list_of_vms_is_answered_with_how_the_verb_takes_several(tmp_path: Path) -> None:
    verbs, names = prompt_verbs.namespace(workspace(tmp_path), default_registry()), ["ml-0", "ml-1"]
    fixes = []
    for verb, arguments in (("Send", ("data", names)), ("Usage", (names,)), ("RunCommand", ("ls",))):
        with pytest.raises(UsageError, match="is not a text") as caught:
            verbs[verb](*arguments, **({"host": names} if verb == "RunCommand" else {}))
        fixes.append(caught.value.fix)

    assert fixes[:2] == [NextStep("Send", "data", host="ml-0 ml-1"), NextStep("Usage", "ml-0", "ml-1")]
    assert fixes[2] == "RunCommand?  explains it"


@pytest.mark.parametrize("empty", ["", " "])
def test_an_argument_that_is_typed_is_not_empty(tmp_path: Path, empty: str) -> None:
    verbs = prompt_verbs.namespace(workspace(tmp_path), default_registry())

    with pytest.raises(UsageError, match=f"owner = '{empty}' is empty: give it a value, or leave it out") as caught:
        verbs["TerminateAll"](owner=empty)
    assert caught.value.fix == "TerminateAll?  explains it"
    for name in ("CancelJob", "RunSingleVMComputing", "FetchResults", "InstallDeps", "RunCommand"):
        with pytest.raises(UsageError, match="is empty"):
            verbs[name](empty)


def test_an_answer_is_shown_once_and_again_when_it_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classes: list[type] = []
    display = DisplayFilter(workspace(tmp_path), classes.append)
    verb = names(tmp_path, after=lambda _verb, answer: display.note(answer))["Answer"]

    result = verb(RESULT)
    display.display(result)
    assert capsys.readouterr().out == ""
    display.forget()
    display.display(result)
    assert capsys.readouterr().out == "  j done in 61.3 s.  Next: FetchResults()\n"
    verb([RESULT])
    verb("text")
    assert classes == [RunResult, Rows]


def test_verbs_keep_the_prompt_fresh(tmp_path: Path) -> None:
    requests: list[int] = []

    def request() -> Any:
        requests.append(1)
        return status()

    poller = StatusPoller(request, lambda poller: None, REAL_CLOCK)
    display = DisplayFilter(workspace(tmp_path), lambda _class: None)
    verbs = names(tmp_path, after=prompt_verbs.after_verb(poller, display))

    up = status(machine("ml-0"))
    verbs["Answer"](up)
    assert poller.status is up
    assert requests == []
    verbs["Answer"](1)
    assert requests == []
    verbs["Change"]()
    assert requests == [1]
    # What ends by itself, such as a training job, is looked up after every verb.
    verbs["Answer"](replace(up, managed=ManagedSurvey((ManagedResource("training job", "t", "InProgress"),))))
    verbs["Answer"](1)
    assert poller.refresh(wait_s=10.0)
    assert len(requests) > 1


def test_records_become_a_data_frame(tmp_path: Path) -> None:
    import pandas  # here: it takes a second

    frame = names(tmp_path)["Answer"]([RESULT, RESULT]).to_pandas()

    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["seconds"]) == [RESULT.seconds] * 2


def test_without_pandas_a_line_names_what_to_install() -> None:
    """In a process of its own, in which the import fails whether pandas is installed or not."""
    code = """
import sys
sys.modules["pandas"] = None
from orchestrator.core.errors import UsageError
from orchestrator.interface.shell.prompt_verbs import Rows
try:
    Rows([]).to_pandas()
except UsageError as error:
    print(error, error.fix, sep="|")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.startswith("pandas is not installed here")
    assert done.stdout.endswith("|pip install pandas\n")
